/* The API servers by their own addresses, and what agents report from their nodes. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "client/kube/custom.h"
#include "engine/check_gather_internal.h"
#include "format/kms_status.h"

#define TRANSFORMATIONS "apiserver_storage_transformation_operations_total"
#define SEEN "apiserver_envelope_encryption_key_id_hash_status_last_timestamp_seconds"
#define CALLS "apiserver_envelope_encryption_kms_operations_latency_seconds"
#define ROTATIONS_MAX 1000
#define AGENT_SILENCE (60 * NS_PER_S) /* one reports every 3 s */

/* --- samples --- */

static void add_writes(struct check_scrape *scrape, const struct prometheus_sample *sample)
{
	const char *prefix = prometheus_label(sample, "transformer_prefix");
	if (!text_equal(prometheus_label(sample, "transformation_type"), "to_storage") ||
	    !text_equal(prometheus_label(sample, "status"), "OK") || !prefix || !(sample->value >= 1) ||
	    sample->value > 1e15)
		return;
	size_t at = 0;
	while (at < scrape->writes_with.count && !text_equal(scrape->writes_with.items[at], prefix))
		at++;
	if (at == scrape->writes_with.count) {
		strings_add(&scrape->writes_with, prefix);
		scrape->writes = xreallocarray(scrape->writes, at + 1, sizeof(*scrape->writes));
		scrape->writes[at] = 0;
	}
	scrape->writes[at] += (uint64_t)sample->value;
}

void check_add_kms(struct check_facts *f, const char *provider, char *where, const char *flaw, const char *key_id_hash,
		   uint64_t took)
{
	f->kms = xreallocarray(f->kms, f->kms_count + 1, sizeof(*f->kms));
	f->kms[f->kms_count++] = (struct check_kms){.provider = xstrdup(provider),
						    .where = where,
						    .flaw = flaw ? xstrdup(flaw) : NULL,
						    .key_id_hash = key_id_hash ? xstrdup(key_id_hash) : NULL,
						    .took = took};
}

/* The key ID that a provider named last, but for this one; NULL: there is none. */
static const struct prometheus_sample *last_named(const struct prometheus_reader *reader, const char *provider,
						  const char *but)
{
	const struct prometheus_sample *last = NULL;
	for (size_t i = 0; i < prometheus_count(reader); i++) {
		const struct prometheus_sample *sample = prometheus_at(reader, i);
		const char *hash = prometheus_label(sample, "key_id_hash");
		if (text_equal(sample->name, SEEN) && hash && !text_equal(hash, but) &&
		    text_equal(prometheus_label(sample, "provider_name"), provider) &&
		    (!last || sample->value > last->value))
			last = sample;
	}
	return last;
}

/* A server keeps the times of key IDs from before: the newest of each provider is what it goes by. */
static void add_seen(struct check_facts *f, const struct check_scrape *scrape, const struct prometheus_reader *reader)
{
	for (size_t i = 0; i < prometheus_count(reader); i++) {
		const struct prometheus_sample *sample = prometheus_at(reader, i);
		const char *provider = prometheus_label(sample, "provider_name");
		if (!text_equal(sample->name, SEEN) || !provider || last_named(reader, provider, NULL) != sample)
			continue;
		const char *hash = prometheus_label(sample, "key_id_hash");
		const struct prometheus_sample *before = last_named(reader, provider, hash);
		check_add_kms(f, provider, xstrdup(check_scrape_name(scrape)), NULL, hash, 0);
		struct check_kms *kms = &f->kms[f->kms_count - 1];
		kms->named_at = sample->value;
		kms->before_at = before ? before->value : 0;
		kms->before_hash = before ? xstrdup(prometheus_label(before, "key_id_hash")) : NULL;
	}
}

void check_take_samples(struct check_facts *f, struct check_scrape *scrape, const struct prometheus_reader *reader)
{
	for (size_t i = 0; i < prometheus_count(reader); i++) {
		const struct prometheus_sample *sample = prometheus_at(reader, i);
		if (text_equal(sample->name, TRANSFORMATIONS))
			add_writes(scrape, sample);
		else if (text_equal(sample->name, CALLS "_sum") && sample->value > 0)
			scrape->kms_seconds += sample->value;
		else if (text_equal(sample->name, CALLS "_count") && sample->value >= 1 && sample->value < 1e15)
			scrape->kms_calls += (uint64_t)sample->value;
	}
	add_seen(f, scrape, reader);
}

/* --- one server --- */

static void name_scrape(const struct check_facts *f, struct check_scrape *scrape)
{
	for (size_t i = 0; i < f->identities.count; i++)
		if (scrape->metrics.id_hash_count == 1 &&
		    text_equal(scrape->metrics.id_hashes[0], f->identities.items[i].id_hash))
			scrape->name = xstrdup(kube_identity_name(&f->identities.items[i]));
	/* Alone, it can be no other. */
	if (!scrape->name && f->identities.count == 1 && f->scrape_count == 1)
		scrape->name = xstrdup(kube_identity_name(&f->identities.items[0]));
}

static int ask_ready(struct kube *kube, struct check_scrape *scrape, struct error **err)
{
	_cleanup_error_ failed = NULL;
	int rc = kube_ready(kube, &failed);
	/* Refused to us, it may be ready all the same, or not. */
	return check_keep_why(rc, &failed, rc == -ERROR_AUTH ? &scrape->ready_why : &scrape->not_ready, err);
}

static int ask(struct check_facts *f, struct kube *kube, struct check_scrape *scrape, struct error **err)
{
	_cleanup_(prometheus_reader_freep) struct prometheus_reader *reader = NULL;
	_cleanup_error_ failed = NULL;
	int rc = kube_version(kube, &scrape->version, &failed);
	if (rc < 0)
		return check_keep_why(rc, &failed, &scrape->why, err);
	/* First, for it makes the server ask its KMS plugins, unless it did so in the last 20 s. */
	rc = ask_ready(kube, scrape, err);
	if (rc < 0)
		return rc;
	rc = kube_scrape(kube, &scrape->metrics, &reader, &failed);
	scrape->forbidden = rc == -ERROR_AUTH;
	if (rc == 0) {
		name_scrape(f, scrape);
		check_take_samples(f, scrape, reader);
		storage_metrics_collect(reader, &scrape->storage);
	}
	return check_keep_why(rc, &failed, &scrape->why, err);
}

static int ask_at(const struct check_sources *in, struct check_facts *f, struct check_scrape *scrape,
		  struct error **err)
{
	struct cluster *cluster = in->cluster;
	struct http_client *http = NULL;
	_cleanup_error_ failed = NULL;
	int rc = kube_access_client(cluster->access, cluster->loop, scrape->url, 2, &http, &failed);
	if (rc < 0)
		return check_keep_why(rc, &failed, &scrape->why, err);
	struct kube kube = {.loop = cluster->loop, .http = http, .name = scrape->url};
	rc = ask(f, &kube, scrape, err);
	http_client_free(http);
	return rc;
}

/* --- whom to ask --- */

/* All are asked at once: where nobody answers, that takes no longer than for one. */
struct knocks {
	struct knock *items;
	size_t count, open;
	bool done;
};
struct knock {
	struct knocks *all;
	struct http_client *http;
	struct error *error;
	int rc;
};

static void knocks_free(struct knocks *all)
{
	for (size_t i = 0; i < all->count; i++) {
		http_client_free(all->items[i].http);
		error_free(all->items[i].error);
	}
	free(all->items);
}

static void on_knocked(void *arg, struct http_result *result)
{
	struct knock *knock = arg;
	knock->rc = result->rc;
	knock->error = steal(result->error);
	knock->all->done = --knock->all->open == 0;
}

/* `why` of those at whose address nothing answers. */
static int knock_at_all(const struct check_sources *in, struct check_facts *f, struct error **err)
{
	struct cluster *cluster = in->cluster;
	_cleanup_(knocks_free) struct knocks all = {.items = xcalloc(f->scrape_count + 1, sizeof(struct knock)),
						    .count = f->scrape_count};
	for (size_t i = 0; i < all.count; i++) {
		struct knock *knock = &all.items[i];
		const struct http_request request = {
			.method = "GET", .path = "/version", .on_done = on_knocked, .arg = knock};
		knock->all = &all;
		/* Whatever is wrong with the address itself is said when the server is asked. */
		if (kube_access_client(cluster->access, cluster->loop, f->scrapes[i].url, 1, &knock->http, NULL) < 0)
			continue;
		all.open++;
		http_start(knock->http, &request);
	}
	all.done = all.open == 0;
	int rc = loop_run_until(cluster->loop, &all.done, 0, err);
	for (size_t i = 0; rc == 0 && i < all.count; i++)
		if (all.items[i].rc == -ERROR_NETWORK)
			f->scrapes[i].why = xstrdup(error_message(all.items[i].error));
	return rc;
}

/* From outside of the control plane's network nothing answers at the addresses by which it knows its own servers, and they may
 * be well: then there is the kubeconfig's server, which may be any of them. */
static void look_from_afar(const struct check_sources *in, struct check_facts *f)
{
	const char *any = in->cluster->kube.name;
	_cleanup_strings_ urls = {0};
	for (size_t i = 0; i < f->scrape_count; i++) {
		if (!f->scrapes[i].why || text_equal(f->scrapes[i].url, any))
			return;
		strings_add(&urls, f->scrapes[i].url);
	}
	_cleanup_free_ char *all = strings_join(&urls, ", ");
	f->from_afar =
		xasprintf("nothing answers from here at the addresses of the EndpointSlice (%s; %s), so %s of the "
			  "kubeconfig was asked instead, which may be any of the servers: name those that are "
			  "reached from here by --apiserver URL",
			  all, f->scrapes[0].why, any);
	for (size_t i = 0; i < f->scrape_count; i++)
		check_scrape_free(&f->scrapes[i]);
	f->scrapes[0] = (struct check_scrape){.url = xstrdup(any)};
	f->scrape_count = 1;
}

/* Without an EndpointSlice there is the kubeconfig's server, which may be any of several. */
static int find_urls(const struct check_sources *in, struct check_facts *f, struct strings *ret, bool *ret_by_slice,
		     struct error **err)
{
	_cleanup_error_ failed = NULL;
	*ret_by_slice = false;
	for (size_t i = 0; in->servers && i < in->servers->count; i++)
		if (!strings_has(ret, in->servers->items[i]))
			strings_add(ret, in->servers->items[i]);
	if (ret->count > 0)
		return 0;
	int rc = kube_endpoint_urls_fetch(&in->cluster->kube, ret, &failed);
	*ret_by_slice = rc == 0 && ret->count > 0;
	if (*ret_by_slice)
		return 0;
	if (rc == 0 || rc == -ERROR_NOT_FOUND || rc == -ERROR_AUTH) {
		strings_add(ret, in->cluster->kube.name);
		return 0;
	}
	return check_keep_why(rc, &failed, &f->scrapes_why, err);
}

/* --- agents --- */

/* The time of the cluster, by the clocks that write heartbeats and Leases: ours is not theirs. */
static uint64_t cluster_now(const struct check_facts *f)
{
	uint64_t newest = kube_identities_newest(&f->identities);
	return newest ? newest : f->wall_now;
}

static bool has_reported(struct check_facts *f, const struct key_server *server)
{
	uint64_t beat = 0, now = cluster_now(f);
	if (server->status.beat == 0 || clock_parse(server->status.heartbeat, &beat) < 0) {
		check_add(&f->silent_agents, "no agent has ever reported from %s", server->meta.name);
		return false;
	}
	if (beat + AGENT_SILENCE >= now)
		return true;
	_cleanup_free_ char *age = text_human_duration(now - beat);
	check_add(&f->silent_agents, "the agent on %s has not reported for %s", server->meta.name, age);
	return false;
}

/* What an agent that is gone said once is no fact any more. */
static void forget_silent(struct check_facts *f)
{
	size_t kept = 0;
	for (size_t i = 0; i < f->fleet.count; i++) {
		if (has_reported(f, f->fleet.servers[i].last))
			f->fleet.servers[kept++] = f->fleet.servers[i];
		else
			key_server_free(f->fleet.servers[i].last);
	}
	f->fleet.count = kept;
}

static char *or_empty(char *text)
{
	return text ? text : (char *)"";
}

/* An agent puts what is wrong where "ok" would stand. NULL: nothing is. New string. */
static char *flaw_of(const struct key_server_kms *kms)
{
	const struct kms_status status = {or_empty(kms->version), or_empty(kms->healthz), or_empty(kms->key_id)};
	if (text_empty(kms->healthz))
		return xstrdup("it does not answer");
	return text_equal(kms->healthz, "ok") ? kms_status_flaw(&status) : xstrdup(kms->healthz);
}

static void take_kms(struct check_facts *f, const struct key_server *server)
{
	for (size_t k = 0; k < server->status.kms_count; k++) {
		const struct key_server_kms *kms = &server->status.kms[k];
		_cleanup_free_ char *flaw = flaw_of(kms),
				    *hash = text_empty(kms->key_id)
						    ? NULL
						    : text_sha256_tagged(kms->key_id, strlen(kms->key_id));
		check_add_kms(f, kms->name, xasprintf("plugin on %s", server->meta.name), flaw, hash, 0);
	}
}

static int read_fleet(const struct check_sources *in, struct check_facts *f, struct error **err)
{
	_cleanup_error_ failed = NULL;
	if (!kube_resources_find(&in->cluster->resources, "keyservers." KEY_GROUP))
		return 0;
	/* Who may not read them has the servers' own words. */
	int rc = fleet_read(&f->fleet, &in->cluster->kube, &failed);
	if (rc == -ERROR_INTERRUPTED)
		*err = steal(failed);
	if (rc < 0)
		return rc == -ERROR_INTERRUPTED ? rc : 0;
	forget_silent(f);
	for (size_t i = 0; i < f->fleet.count; i++) {
		const struct key_server *server = f->fleet.servers[i].last;
		take_kms(f, server);
		if (server->status.configuration && !f->shape) {
			f->shape = server->status.configuration;
			f->shape_source = xasprintf("KeyServer %s", server->meta.name);
		}
	}
	return 0;
}

static int take_rotation(void *arg, const cJSON *item, struct error **err)
{
	struct check_facts *f = arg;
	struct key_rotation *rotation = NULL;
	int rc = key_rotation_parse(item, &rotation, err);
	if (rc < 0)
		return rc;
	key_seen_add(&f->keys_seen, rotation);
	key_rotation_free(rotation);
	return 0;
}

/* What cannot be read is as if no census had seen any key. */
static int read_rotations(const struct check_sources *in, struct check_facts *f, struct error **err)
{
	_cleanup_error_ failed = NULL;
	if (!kube_resources_find(&in->cluster->resources, "keyrotations." KEY_GROUP))
		return 0;
	int rc = kube_custom_list(&in->cluster->kube, KEY_ROTATIONS_PATH, ROTATIONS_MAX, take_rotation, f, NULL,
				  &failed);
	if (rc < 0)
		key_seen_free(&f->keys_seen); /* with some left out a key may look younger than it is */
	if (rc == -ERROR_INTERRUPTED)
		*err = steal(failed);
	return rc == -ERROR_INTERRUPTED ? rc : 0;
}

int check_gather_servers(const struct check_sources *in, struct check_facts *ret, struct error **err)
{
	struct kube *kube = &in->cluster->kube;
	_cleanup_error_ failed = NULL;
	_cleanup_strings_ troubles = {0}, urls = {0};
	bool by_slice;
	int rc = kube_identities_fetch(kube, &ret->identities, &failed);
	rc = check_keep_why(rc, &failed, &ret->identities_why, err);
	if (rc < 0)
		return rc;
	ret->set.looks_once = true;
	server_set_look(&ret->set, kube, &troubles);
	rc = find_urls(in, ret, &urls, &by_slice, err);
	if (rc < 0)
		return rc;
	ret->scrapes = xcalloc(urls.count + 1, sizeof(*ret->scrapes));
	ret->scrape_count = urls.count;
	for (size_t i = 0; i < urls.count; i++)
		ret->scrapes[i].url = xstrdup(urls.items[i]);
	rc = knock_at_all(in, ret, err);
	if (rc == 0 && by_slice)
		look_from_afar(in, ret);
	for (size_t i = 0; rc == 0 && i < ret->scrape_count; i++)
		if (!ret->scrapes[i].why)
			rc = ask_at(in, ret, &ret->scrapes[i], err);
	if (rc == 0)
		rc = read_fleet(in, ret, err);
	return rc == 0 ? read_rotations(in, ret, err) : rc;
}
