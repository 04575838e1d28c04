#include <stdio.h>

#include "cmd/monitor.h"
#include "cmd/session.h"
#include "cmd/trust_key_file.h"
#include "engine/agent.h"

static void say(void *arg, const char *text)
{
	(void)arg;
	fprintf(stderr, "%s\n", text);
}

struct shown {
	struct monitor *monitor;
	const struct kube *kube;
};

static void show(void *arg, const struct agent_view *view)
{
	const struct shown *shown = arg;
	struct metrics_text text = METRICS_TEXT_INIT;
	const struct request_source source = {"work", shown->kube->name, http_client_counts(shown->kube->http)};
	agent_metrics_write(&text, view);
	request_metrics_write(&text, &source, 1);
	monitor_publish(shown->monitor, &text, view->not_ready);
	metrics_text_free(&text);
}

static int check(const struct options *o, struct error **err)
{
	if (!o->node_name)
		return error_set(err, ERROR_USAGE, "an agent stands for a node: --node-name NAME");
	if (o->apiservers.count > 1)
		return error_set(err, ERROR_USAGE, "an agent stands beside one API server: one --apiserver URL");
	return 0;
}

/* What the kubelet reads, and says that this server reads this file. */
static int find_manifest(const struct options *o, const struct node_facts *node, const char **ret, struct error **err)
{
	int rc;
	if (!text_equal(o->apply, "static-pod"))
		return 0;
	if (!node->from_manifest) {
		rc = error_set(err, ERROR_REFUSED, "no static-pod manifest of this node's API server was found");
		error_set_hint(err, "say --apiserver-manifest FILE");
		return rc;
	}
	if (node->automatic_reload) {
		rc = error_set(err, ERROR_REFUSED,
			       "the API server loads a new file by itself, says %s: it need not be "
			       "restarted",
			       node->source);
		error_set_hint(err, "leave --apply static-pod out");
		return rc;
	}
	*ret = node->source;
	return 0;
}

int cmd_agent(struct command_context *context, struct error **err)
{
	struct options *o = &context->options;
	_cleanup_session_ session = {0};
	_cleanup_(web_stopp) struct web *web = NULL; /* its one thread watches, and serves */
	_cleanup_(monitor_closep) struct monitor *monitor = NULL;
	_cleanup_(trust_key_freep) struct trust_key *trust = NULL;
	const char *manifest = NULL;
	unsigned needs = SESSION_ETCD | SESSION_CONFIG | (o->server ? 0 : SESSION_OTHER);
	int rc = check(o, err);
	if (rc < 0)
		return rc;
	if (o->apiservers.count == 1)
		o->server = o->apiservers.items[0];
	rc = session_open_patiently(context, needs, &session, err);
	if (rc == 0)
		rc = trust_key_of_node(o, &session.cluster->node, &trust, err);
	if (rc == 0)
		rc = web_start(session.cluster->loop, &web, err);
	if (rc == 0)
		rc = monitor_open(o, web, &monitor, err);
	if (rc == 0)
		rc = find_manifest(o, &session.cluster->node, &manifest, err);
	if (rc < 0)
		return rc;
	struct shown shown = {monitor, &session.cluster->kube};
	/* The agent has its own copies of keys. */
	encryption_config_free(steal(session.config));
	const struct agent_options options = {.cluster = session.cluster,
					      .web = web,
					      .config_path = session.config_path,
					      .node_name = o->node_name,
					      .state_directory = o->state_dir ? o->state_dir : DEFAULT_STATE_DIRECTORY,
					      .manifest = manifest,
					      .trust = trust,
					      .on_note = say,
					      .on_view = monitor ? show : NULL,
					      .arg = &shown};
	return agent_run(&options, err);
}
