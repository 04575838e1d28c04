#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json_writer.h"
#include "cmd/no_etcd.h"
#include "cmd/present.h"
#include "cmd/rotating.h"
#include "cmd/session.h"
#include "cmd/sweep_show.h"
#include "engine/kms_adopted.h"
#include "engine/kms_follow.h"
#include "engine/kms_look.h"
#include "engine/sweep.h"

#define REENCRYPT_JSON_MAX (16u << 20)

/* What -o and --resource say, else what the configuration encrypts, else secrets and configmaps. */
static int choose(const struct options *o, const struct session *session, const struct kube_resource ***ret,
		  size_t *ret_count, struct error **err)
{
	const struct kube_resources *served = &session->cluster->resources;
	if (o->resources.count == 0 && session->config) {
		*ret = sweep_resources(encryption_config_shape(session->config), served, ret_count);
		return 0;
	}
	const char *const usual[] = {"secrets", "configmaps"};
	size_t count = o->resources.count ? o->resources.count : ELEMENTS(usual);
	_cleanup_free_ const struct kube_resource **chosen = xcalloc(count, sizeof(*chosen));
	for (size_t i = 0; i < count; i++) {
		const char *name = o->resources.count ? o->resources.items[i] : usual[i];
		chosen[i] = kube_resources_find(served, name);
		if (!chosen[i])
			return error_set(err, ERROR_INPUT, "the API server serves no resource %s", name);
	}
	*ret = steal(chosen);
	*ret_count = count;
	return 0;
}

static void write_json(const struct sweep_result *result, const char *outcome)
{
	struct json_writer w = JSON_WRITER_INIT(REENCRYPT_JSON_MAX);
	json_object_begin(&w);
	json_member_string(&w, "kind", "ReencryptReport");
	json_member_u64(&w, "version", 1);
	json_member_string(&w, "outcome", outcome);
	json_member_string(&w, "strength", "etcd");
	sweep_show_json(&w, result);
	json_object_end(&w);
	const char *text = json_text(&w);
	if (text)
		puts(text);
	json_writer_free(&w);
}

/* A server that still runs an older file calls every object current that this one would have rewritten. Where nobody may
 * read what it runs, rewriting does no harm: that is told, and a census says what came of it. */
static int check_server(const struct session *session, struct error **err)
{
	_cleanup_(journal_freep) struct journal *begun = NULL;
	struct server_observation server = {0};
	_cleanup_error_ why_not = NULL;
	bool of_another = false;
	int rc = present_look(session, session->config_path, &begun, &of_another, &server, err);
	if (rc < 0)
		return rc;
	bool is_told = server.answering || server.loaded == FACT_CONTRADICTORY;
	if (is_told && present_verdict(session, &server, &why_not) < 0) {
		rc = error_set(err, ERROR_REFUSED, "%s: what is current would be judged by another configuration",
			       error_message(why_not));
		error_set_hint(err, "wait until it does (kube-rekey status says so)");
	} else if (server.loaded != FACT_KNOWN) {
		fprintf(stderr,
			"note: what %s has loaded is not known%s%s; it judges what is current by that, not by %s\n",
			server.name, server.why ? ": " : "", server.why ? server.why : "", session->config_path);
	}
	server_observation_free(&server);
	return rc;
}

/* Nor is one current for long that is under a key which the KMS has replaced. */
static int check_kms(const struct session *session, const struct kube_resource *const *resources, size_t count,
		     struct error **err)
{
	const struct config_shape *shape = session->config ? encryption_config_shape(session->config) : NULL;
	struct kms_adopted_options options = {
		.kube = &session->cluster->kube, .shape = shape, .resources = resources, .resource_count = count};
	_cleanup_error_ failed = NULL;
	struct kms_look *looks = NULL;
	if (shape && !kms_writes(shape, NULL))
		return 0;
	int rc = shape ? kms_look(session->cluster->loop, shape, &looks, &options.look_count, &failed) : 0;
	options.looks = looks;
	if (rc == 0)
		rc = kms_check_adopted(&options, &failed);
	kms_look_free(looks, options.look_count);
	if (rc == 0 || rc == -ERROR_INTERRUPTED || rc == -ERROR_REFUSED) {
		*err = steal(failed);
		if (rc == -ERROR_REFUSED && !error_hint(*err))
			error_set_hint(err, "an API server adopts another key within two minutes; kube-rekey rotate "
					    "--follow-kms waits for it");
		return rc;
	}
	fprintf(stderr, "note: whether %s writes with the key that its KMS names is not known: %s\n",
		session->cluster->kube.name, error_message(failed));
	return 0;
}

int cmd_reencrypt(struct command_context *context, struct error **err)
{
	const struct options *o = &context->options;
	_cleanup_session_ session = {0};
	_cleanup_(sweep_result_freep) struct sweep_result *result = NULL;
	_cleanup_free_ const struct kube_resource **resources = NULL;
	size_t count = 0;
	if (o->no_etcd)
		return no_etcd_reencrypt(context, err);
	int rc = session_open(context, 0, &session, err);
	if (rc == 0)
		rc = choose(o, &session, &resources, &count, err);
	if (rc == 0 && session.config)
		rc = check_server(&session, err);
	if (rc == 0)
		rc = check_kms(&session, resources, count, err);
	if (rc < 0)
		return rc;
	struct sweep_options options = {
		.loop = session.cluster->loop,
		.kube = &session.cluster->kube,
		.resources = resources,
		.resource_count = count,
		.namespaces = &o->namespaces,
		.mode = rotating_mode(o),
		.speed = {.qps = o->qps, .concurrency = (unsigned)o->concurrency},
		.deadline = session_deadline(context, &session),
		.etcds = session.cluster->etcds,
		.etcd_count = session.cluster->etcd_count,
		.watch_kms = session.config && config_shape_has_kms(encryption_config_shape(session.config)),
		.on_progress = rotating_show_sweep,
		.on_note = rotating_show_note,
		.arg = context,
	};
	rc = sweep_run(&options, &result, err);
	screen_clear(&context->screen);
	if (result) {
		context->outcome = sweep_text(result);
		if (o->json)
			write_json(result, rc == 0 ? "Done" : "Stopped");
		else
			fputs(context->outcome, stdout);
		context->printed_document = true;
	}
	if (rc == 0 && result->quarantined > 0)
		return error_set(err, ERROR_FINDING, "%llu objects could not be rewritten",
				 (unsigned long long)result->quarantined);
	return rc;
}
