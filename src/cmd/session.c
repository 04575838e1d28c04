#include "cmd/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "client/kube/custom.h"
#include "cmd/session_node.h"
#include "engine/key_api.h"
#include "engine/same_etcd.h"

#define DEFAULT_KUBECONFIG "/etc/kubernetes/admin.conf"
#define DEFAULT_REQUEST_TIMEOUT (60 * NS_PER_S) /* kube-apiserver's own defaults */
#define DEFAULT_COMPACTION_INTERVAL (300 * NS_PER_S)
#define PEM_MAX (1u << 20)
#define PATIENCE (2 * NS_PER_S)
#define REFUSALS_OF_A_START 15

/* --- the API server --- */

struct kubeconfig_options session_kubeconfig(const struct command_context *context)
{
	const struct options *o = &context->options;
	return (struct kubeconfig_options){
		.explicit_path = o->kubeconfig,
		.kubeconfig_env = context->kubeconfig_env,
		.home = context->home,
		.service_host = context->service_host,
		.service_port = context->service_port,
		.fallback_path = DEFAULT_KUBECONFIG,
		.context = o->context,
		.server = o->server,
		.cluster = o->cluster,
		.user = o->user,
		.as = o->as,
		.as_groups = &o->as_groups,
		.request_timeout = o->request_timeout,
		.environment = context->environment,
		.interactive = isatty(STDIN_FILENO),
	};
}

static int open_api(struct command_context *context, struct cluster *cluster, struct error **err)
{
	const struct options *o = &context->options;
	const struct kubeconfig_options kubeconfig = session_kubeconfig(context);
	int rc = kube_access_load(&kubeconfig, &cluster->access, err);
	/* More connections than writers: lists, looks, the Lease and the watch over silence must not wait for a
	 * write. */
	if (rc == 0)
		rc = kube_access_client(cluster->access, cluster->loop, NULL, (unsigned)o->concurrency + 4,
					&cluster->http, err);
	if (rc < 0)
		return rc;
	cluster->kube = (struct kube){
		.loop = cluster->loop, .http = cluster->http, .name = kube_access_server(cluster->access)};
	rc = kube_version(&cluster->kube, &cluster->version, err);
	if (rc == 0)
		rc = kube_discover(&cluster->kube, &cluster->resources, &cluster->missing_groups, err);
	return rc;
}

/* --- etcd --- */

struct pems {
	struct secret *ca, *cert, *key;
};

static int read_pems(const char *ca, const char *cert, const char *key, struct pems *ret, struct error **err)
{
	int rc = ca ? file_read(ca, PEM_MAX, &ret->ca, err) : 0;
	if (rc == 0 && cert)
		rc = file_read(cert, PEM_MAX, &ret->cert, err);
	if (rc == 0 && key)
		rc = file_read(key, PEM_MAX, &ret->key, err);
	return rc < 0 ? error_wrap(err, rc, "etcd's certificates") : 0;
}

static int add_etcd(struct cluster *cluster, const struct strings *endpoints, const struct pems *pems,
		    struct error **err)
{
	struct etcd_options options = {.endpoints = (const char *const *)endpoints->items,
				       .endpoint_count = endpoints->count,
				       .ca_pem = pems->ca,
				       .cert_pem = pems->cert,
				       .key_pem = pems->key};
	struct etcd *etcd = NULL;
	int rc = etcd_new(cluster->loop, &options, &etcd, err);
	if (rc < 0)
		return rc;
	cluster->etcds = xreallocarray(cluster->etcds, cluster->etcd_count + 1, sizeof(struct etcd *));
	cluster->etcds[cluster->etcd_count++] = etcd;
	return etcd_connect(etcd, err);
}

static int add_etcd_text(struct cluster *cluster, const char *list, char separator, const struct pems *pems,
			 struct error **err)
{
	_cleanup_strings_ endpoints = {0};
	strings_split(&endpoints, list, separator);
	return add_etcd(cluster, &endpoints, pems, err);
}

/* The server's own flags: --etcd-servers, and "/group/resource#url;url" for resources in an etcd of their own. */
static int etcds_of_node(struct cluster *cluster, const struct pems *pems, struct error **err)
{
	struct strings servers = {cluster->node.etcd_servers, cluster->node.etcd_server_count};
	int rc = servers.count > 0 ? add_etcd(cluster, &servers, pems, err) : 0;
	_cleanup_strings_ seen = {0};
	for (size_t i = 0; rc == 0 && i < cluster->node.etcd_override_count; i++) {
		const char *urls = strchr(cluster->node.etcd_overrides[i], '#');
		if (!urls || strings_has(&seen, urls))
			continue;
		strings_add(&seen, urls);
		rc = add_etcd_text(cluster, urls + 1, ';', pems, err);
	}
	return rc;
}

static int open_etcds(const struct options *o, struct cluster *cluster, struct error **err)
{
	const struct node_facts *node = cluster->has_node ? &cluster->node : NULL;
	struct pems pems = {0};
	bool flags = o->etcd_endpoints.count > 0;
	int rc = read_pems(o->etcd_cacert   ? o->etcd_cacert
			   : node && !flags ? node->etcd_cacert
					    : NULL,
			   o->etcd_cert     ? o->etcd_cert
			   : node && !flags ? node->etcd_cert
					    : NULL,
			   o->etcd_key      ? o->etcd_key
			   : node && !flags ? node->etcd_key
					    : NULL,
			   &pems, err);
	for (size_t i = 0; rc == 0 && i < o->etcd_endpoints.count; i++)
		rc = add_etcd_text(cluster, o->etcd_endpoints.items[i], ',', &pems, err);
	if (rc == 0 && !flags && node)
		rc = etcds_of_node(cluster, &pems, err);
	secret_free(pems.ca);
	secret_free(pems.cert);
	secret_free(pems.key);
	return rc;
}

static void name_silent_members(const struct cluster *cluster, struct error **err)
{
	_cleanup_strings_ silent = {0};
	for (size_t e = 0; e < cluster->etcd_count; e++)
		for (size_t m = 0; m < etcd_member_count(cluster->etcds[e]); m++)
			if (!etcd_member(cluster->etcds[e], m)->answered)
				strings_add(&silent, etcd_member(cluster->etcds[e], m)->name);
	_cleanup_free_ char *names = strings_join(&silent, ", ");
	if (silent.count > 0)
		error_set_hint(err, "etcd does not answer either: %s", names);
}

/* --- the API by another server --- */

/* What the cluster serves, whichever server tells it; that it is this cluster, the etcd here shows. */
static int ask_other(struct cluster *cluster, struct error **err)
{
	struct kube other = {.loop = cluster->loop, .name = cluster->other};
	int rc = kube_access_client(cluster->access, cluster->loop, cluster->other, 1, &other.http, err);
	if (rc == 0)
		rc = kube_discover(&other, &cluster->resources, &cluster->missing_groups, err);
	if (rc == 0)
		rc = same_etcd_check(&other, cluster->etcds, cluster->etcd_count, cluster->etcd_prefix,
				     &cluster->resources, NULL, err);
	http_client_free(other.http);
	return rc;
}

/* After the server itself was asked, with `rc`. It may be down for want of what this very process is to do. Which file it
 * reads no other server knows: where nothing on this machine tells that, it is waited for. */
static int open_by_other(struct cluster *cluster, int rc, struct error **err)
{
	const char *named = cluster->access ? kube_access_named(cluster->access) : NULL;
	_cleanup_error_ own = NULL;
	_cleanup_error_ why = NULL;
	cluster->other = text_equal(named, cluster->kube.name) ? NULL : named;
	if (!cluster->other || !cluster->has_node || (rc != -ERROR_NETWORK && rc != -ERROR_BUSY && rc != -ERROR_AUTH))
		return rc;
	own = steal(*err);
	rc = ask_other(cluster, &why);
	if (rc == 0)
		fprintf(stderr, "%s; begun by %s\n", error_message(own), cluster->other);
	else if (rc == -ERROR_INTERRUPTED)
		*err = steal(why);
	else
		rc = error_set(err, error_code(own), "%s; %s", error_message(own), error_message(why));
	return rc;
}

/* --- all of it --- */

static int take_times(const struct options *o, struct cluster *cluster, struct error **err)
{
	cluster->request_timeout = cluster->has_node ? cluster->node.request_timeout : DEFAULT_REQUEST_TIMEOUT;
	cluster->request_timeout_assumed = !cluster->has_node && !o->request_timeout_text;
	cluster->compaction_interval =
		cluster->has_node ? cluster->node.compaction_interval : DEFAULT_COMPACTION_INTERVAL;
	if (o->request_timeout_text && text_to_duration(o->request_timeout_text, &cluster->request_timeout) < 0)
		return error_set(err, ERROR_USAGE, "--apiserver-request-timeout %s: not a duration such as 60s",
				 o->request_timeout_text);
	return 0;
}

int session_read_config(const char *path, struct encryption_config **ret, char **ret_hash, struct error **err)
{
	_cleanup_secret_ text = NULL;
	int rc = file_read(path, ENCRYPTION_CONFIG_MAX, &text, err);
	if (rc == 0)
		rc = encryption_config_parse(path, text, ret, err);
	if (rc == 0 && ret_hash)
		*ret_hash = text_sha256_tagged(secret_data(text), secret_len(text));
	return rc;
}

static int open_api_alone(struct command_context *context, struct cluster *cluster, struct error **err)
{
	int rc = take_times(&context->options, cluster, err);
	cluster->etcd_prefix = xstrdup("/registry");
	return rc == 0 ? open_api(context, cluster, err) : rc;
}

static char *prefix_of(const struct options *o, const struct cluster *cluster)
{
	return xstrdup(o->etcd_prefix                                   ? o->etcd_prefix
		       : cluster->has_node && cluster->node.etcd_prefix ? cluster->node.etcd_prefix
									: "/registry");
}

static void know_config_path(const struct options *o, struct session *session)
{
	const struct cluster *cluster = session->cluster;
	const char *found = cluster->has_node ? cluster->node.encryption_config_host : NULL;
	session->config_path = o->encryption_config ? xstrdup(o->encryption_config) : found ? xstrdup(found) : NULL;
}

/* What is wrong here is what is looked for: only a signal, or a command line that is wrong, ends it. */
static int open_survey(struct command_context *context, struct session *session, struct error **err)
{
	const struct options *o = &context->options;
	struct cluster *cluster = session->cluster;
	int rc = session_find_node(context, cluster, &session->node_error);
	know_config_path(o, session);
	if (session->config_path)
		rc = session_read_config(session->config_path, &session->config, NULL, &session->config_error);
	rc = take_times(o, cluster, err);
	if (rc < 0)
		return rc;
	cluster->etcd_prefix = prefix_of(o, cluster);
	for (size_t i = 0; i < o->foreign_prefixes.count; i++)
		strings_add(&cluster->foreign_prefixes, o->foreign_prefixes.items[i]);
	rc = open_etcds(o, cluster, &session->etcd_error);
	if (rc == -ERROR_INTERRUPTED) {
		*err = steal(session->etcd_error);
		return rc;
	}
	/* Half an etcd would make half a census. */
	while (rc < 0 && cluster->etcd_count > 0)
		etcd_free(cluster->etcds[--cluster->etcd_count]);
	return open_api(context, cluster, err);
}

static int open_all(struct command_context *context, unsigned needs, struct session *session, struct error **err)
{
	const struct options *o = &context->options;
	struct cluster *cluster = session->cluster;
	int rc = loop_new(&cluster->loop, err);
	if (rc == 0 && (needs & SESSION_API))
		return open_api_alone(context, cluster, err);
	if (rc == 0 && (needs & SESSION_SURVEY))
		return open_survey(context, session, err);
	if (rc == 0)
		rc = session_find_node(context, cluster, err);
	if (rc < 0)
		return rc;
	know_config_path(o, session);
	if ((needs & SESSION_CONFIG) && !session->config_path) {
		rc = error_set(err, ERROR_USAGE, "the server's EncryptionConfiguration was not found on this machine");
		error_set_hint(err, "say --encryption-config FILE");
		return rc;
	}
	/* Before anything is asked over the network: a broken file is the likeliest mistake. */
	if (session->config_path)
		rc = session_read_config(session->config_path, &session->config, &session->config_hash, err);
	if (rc == 0)
		rc = take_times(o, cluster, err);
	cluster->etcd_prefix = prefix_of(o, cluster);
	for (size_t i = 0; i < o->foreign_prefixes.count; i++)
		strings_add(&cluster->foreign_prefixes, o->foreign_prefixes.items[i]);
	/* etcd first: an API server whose etcd is down only says that it is busy. */
	if (rc == 0)
		rc = open_etcds(o, cluster, err);
	if (rc == 0 && (needs & SESSION_ETCD) && cluster->etcd_count == 0) {
		rc = error_set(err, ERROR_USAGE, "no etcd is known");
		error_set_hint(err, "say --etcd-endpoints URL,... (and --etcd-cacert, --etcd-cert, --etcd-key)");
	}
	if (rc == 0) {
		rc = open_api(context, cluster, err);
		if (needs & SESSION_OTHER)
			rc = open_by_other(cluster, rc, err);
		if (rc < 0)
			name_silent_members(cluster, err);
	}
	return rc;
}

/* --- one server or several --- */

static int any_key_server(struct cluster *cluster, bool *ret, struct error **err)
{
	_cleanup_json_ list = NULL;
	const struct kube_custom_request request = {.verb = CUSTOM_LIST, .collection = KEY_SERVERS_PATH, .limit = 1};
	*ret = false;
	if (!kube_resources_find(&cluster->resources, "keyservers." KEY_GROUP))
		return 0;
	int rc = kube_custom_fetch(&cluster->kube, &request, &list, err);
	if (rc < 0) {
		rc = error_wrap(err, rc, "one API server or several?");
		error_set_hint(err, "--target file or --target agents says it");
		return rc;
	}
	*ret = cJSON_GetArraySize(json_at(list, "items", NULL)) > 0;
	return 0;
}

/* A person need not be on a node, nor reach etcd, where agents are and do. */
static int open_either(struct command_context *context, unsigned needs, struct session *session, struct error **err)
{
	_cleanup_error_ first = NULL;
	_cleanup_error_ second = NULL;
	struct cluster *cluster = session->cluster;
	int rc = open_all(context, needs, session, &first);
	if (rc == 0)
		return any_key_server(cluster, &session->agents, err);
	/* Where the API was not asked yet, or could not answer for want of what it needs itself, nothing is known. */
	bool asked = !cluster->loop || cluster->access || rc == -ERROR_INTERRUPTED;
	if (!asked && open_api(context, cluster, &second) == 0 &&
	    any_key_server(cluster, &session->agents, &second) == 0 && session->agents)
		return 0;
	*err = steal(first);
	return rc;
}

static int open_for_target(struct command_context *context, unsigned needs, struct session *session, struct error **err)
{
	const char *target = context->options.target;
	if (text_equal(target, "agents") && !(needs & SESSION_AGENTS))
		return error_set(err, ERROR_USAGE, "--target agents is for rotate and status");
	session->agents = text_equal(target, "agents");
	if (session->agents)
		return open_all(context, SESSION_API, session, err);
	if ((needs & SESSION_AGENTS) && (!target || text_equal(target, "auto")))
		return open_either(context, needs, session, err);
	return open_all(context, needs, session, err);
}

int session_open(struct command_context *context, unsigned needs, struct session *ret, struct error **err)
{
	*ret = (struct session){.context = context, .cluster = xcalloc(1, sizeof(struct cluster))};
	int rc = open_for_target(context, needs, ret, err);
	if (rc < 0)
		session_close(ret);
	return rc;
}

void session_tell_target(const struct session *session)
{
	struct screen *screen = &session->context->screen;
	const char *asked = session->context->options.target;
	if (session->agents)
		screen_line(screen, "target agents: the API servers that KeyServers name");
	else
		screen_line(screen, "target %s: one API server%s", text_equal(asked, "manual") ? "manual" : "file",
			    !asked || text_equal(asked, "auto") ? ", for no KeyServer exists" : "");
}

void session_close(struct session *session)
{
	/* Which signal it was decides the exit code, and the loop alone knows. */
	if (session->cluster && session->cluster->loop)
		session->context->signal = loop_signal(session->cluster->loop);
	encryption_config_free(session->config);
	error_free(session->node_error);
	error_free(session->config_error);
	error_free(session->etcd_error);
	free(session->config_path);
	free(session->config_hash);
	cluster_free(session->cluster);
	*session = (struct session){0};
}

/* With nothing open. */
static int pause_for(struct command_context *context, uint64_t time, struct error **err)
{
	struct loop *loop = NULL;
	int rc = loop_new(&loop, err);
	if (rc < 0)
		return rc;
	rc = loop_pause(loop, time, err);
	context->signal = loop_signal(loop);
	loop_free(loop);
	return rc;
}

int session_open_patiently(struct command_context *context, unsigned needs, struct session *ret, struct error **err)
{
	_cleanup_free_ char *told = NULL;
	unsigned refusals = 0;
	for (;;) {
		int rc = session_open(context, needs, ret, err);
		/* A server that has just started refuses everything until it has read who may do what. */
		bool passes = rc == -ERROR_AUTH && told && ++refusals <= REFUSALS_OF_A_START;
		if (rc != -ERROR_NETWORK && rc != -ERROR_BUSY && !passes)
			return rc;
		if (!text_equal(told, error_message(*err))) {
			free(told);
			told = xstrdup(error_message(*err));
			fprintf(stderr, "waiting: %s\n", told);
		}
		error_clear(err);
		rc = pause_for(context, PATIENCE, err);
		if (rc < 0)
			return rc;
	}
}

uint64_t session_deadline(const struct command_context *context, const struct session *session)
{
	return context->options.deadline ? loop_now(session->cluster->loop) + context->options.deadline : 0;
}
