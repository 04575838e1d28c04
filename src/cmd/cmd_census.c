#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_writer.h"
#include "cmd/census_snapshot.h"
#include "cmd/no_etcd.h"
#include "cmd/present.h"

#define CENSUS_JSON_MAX (64u << 20)
#define NOTE_MAX 1024

static int one_object(struct command_context *context, const struct session *session, struct error **err)
{
	const char *word = context->options.arguments[0], *slash = strchr(word, '/');
	if (!slash || context->options.argument_count > 1)
		return error_set(err, ERROR_USAGE,
				 "census takes one object as RESOURCE/NAME, such as secret/app -n default");
	_cleanup_free_ char *name = xstrndup(word, (size_t)(slash - word));
	const struct kube_resource *resource = kube_resources_find(&session->cluster->resources, name);
	if (!resource)
		return error_set(err, ERROR_INPUT, "the API server serves no resource %s", name);
	if (context->options.namespaces.count > 1)
		return error_set(err, ERROR_USAGE, "one object has one namespace");
	const char *namespace_ = !resource->namespaced               ? NULL
				 : context->options.namespaces.count ? context->options.namespaces.items[0]
								     : kube_access_namespace(session->cluster->access);
	struct census_options options = present_census_options(context, session);
	_cleanup_free_ char *line = NULL;
	_cleanup_(present_kms_free) struct present_kms kms = {0};
	struct census_key *key = NULL;
	int rc = present_ask_kms(session, &options, &kms, err);
	if (rc < 0)
		return rc;
	rc = census_one(&options, resource, namespace_, slash + 1, &line, &key, err);
	if (rc < 0)
		return rc;
	if (context->options.json) {
		struct json_writer w = JSON_WRITER_INIT(CENSUS_JSON_MAX);
		json_object_begin(&w);
		json_member_string(&w, "kind", "CensusObject");
		json_member_string(&w, "resource", resource->resource);
		json_member_string(&w, "namespace", namespace_ ? namespace_ : "");
		json_member_string(&w, "name", slash + 1);
		json_member_string(&w, "provider", provider_name(key->provider));
		json_member_string(&w, "key", key->name);
		json_member_string(&w, "keyID", key->key_id);
		json_member_u64(&w, "revision", key->newest_revision);
		json_member_bool(&w, "writeKey", key->write_key);
		json_object_end(&w);
		puts(json_text(&w));
		json_writer_free(&w);
	} else {
		puts(line);
	}
	context->printed_document = true;
	bool stale = session->config && !key->write_key;
	census_key_free(key);
	return stale ? error_set(err, ERROR_FINDING, "%s is not under the write key", word) : 0;
}

static void note_silent(struct census *census, const struct present_kms *kms)
{
	for (size_t i = 0; i < kms->count; i++) {
		_cleanup_free_ char *note = xasprintf("kms/%s: %s: which key ID is the write key's is not known",
						      kms->looks[i].name, kms->looks[i].flaw ? kms->looks[i].flaw : "");
		_cleanup_free_ char *clean = text_printable(note, strlen(note), NOTE_MAX);
		if (kms->looks[i].flaw)
			strings_add(&census->notes, clean);
	}
}

static int whole(struct command_context *context, const struct session *session, struct error **err)
{
	struct census_options options = present_census_options(context, session);
	options.ask_plugins = context->options.open;
	_cleanup_(present_kms_free) struct present_kms kms = {0};
	_cleanup_(census_freep) struct census *census = NULL;
	int rc = present_ask_kms(session, &options, &kms, err);
	if (rc == 0)
		rc = census_take(&options, &census, err);
	screen_clear(&context->screen);
	if (rc == 0 && context->options.probe)
		rc = census_probe_lost(census, &session->cluster->kube, err);
	if (rc < 0)
		return rc;
	note_silent(census, &kms);
	if (context->options.json) {
		struct json_writer w = JSON_WRITER_INIT(CENSUS_JSON_MAX);
		census_write_json(census, &w);
		const char *text = json_text(&w);
		if (text)
			puts(text);
		json_writer_free(&w);
	} else {
		_cleanup_free_ char *table = census_table(census, context->screen.width, context->screen.color);
		fputs(table, stdout);
	}
	fflush(stdout);
	context->printed_document = true;
	rc = census_verdict(census, err);
	return rc == 0 && context->options.open ? census_opened(census, err) : rc;
}

int cmd_census(struct command_context *context, struct error **err)
{
	_cleanup_session_ session = {0};
	if (context->options.no_etcd)
		return no_etcd_census(context, err);
	const char *const paced[] = {"--qps", "--concurrency", "--deadline"};
	for (size_t i = 0; i < ELEMENTS(paced); i++)
		if (options_given(&context->options, paced[i]))
			return error_set(err, ERROR_USAGE, "%s goes with --no-etcd: etcd is read as fast as it answers",
					 paced[i]);
	if (context->options.snapshot)
		return census_snapshot(context, err);
	if (context->options.argument_count == 0 && context->options.namespaces.count > 0)
		return error_set(
			err, ERROR_USAGE,
			"a census reads all namespaces; -n goes with one object, such as secret/app -n default");
	if (context->options.argument_count > 0 && (context->options.open || context->options.probe))
		return error_set(err, ERROR_USAGE, "--open and --probe are for all values, not for one object");
	/* With nothing to open by, nothing would be opened. */
	int rc = session_open(context, SESSION_ETCD | (context->options.open ? SESSION_CONFIG : 0), &session, err);
	if (rc < 0)
		return rc;
	return context->options.argument_count > 0 ? one_object(context, &session, err) : whole(context, &session, err);
}
