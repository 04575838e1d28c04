/* Who still needs a key, in one answer: the cluster and its backups, before somebody destroys it. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/json_writer.h"
#include "cmd/present.h"
#include "engine/snapshot.h"

#define NEEDS_JSON_MAX (16u << 20)
#define EXAMPLE_MAX 256 /* bytes of a path that are shown */

/* One cluster or one backup. */
struct source {
	char *name; /* "https://10.0.0.1:6443", "/backups/monday.db" */
	bool backup;
	uint64_t revision;
	uint64_t newest, history; /* values that need the key; of a cluster's history nothing is known */
	char *example;
};
struct needs {
	const char *key;
	struct source *sources;
	size_t count;
};

/* "aescbc/key1", "kms/vault", "plaintext"; or a key ID of a KMS, whatever the provider's name. */
static bool is_asked_for(const struct needs *needs, const struct census_key *key)
{
	if (key->provider == PROVIDER_KMS && !text_empty(key->key_id) && text_equal(key->key_id, needs->key))
		return true;
	const struct config_key as_configured = {.type = key->provider, .name = key->name};
	_cleanup_free_ char *label = config_key_label(&as_configured);
	return text_equal(label, needs->key);
}

static uint64_t count(const struct needs *needs, const struct census_key *keys, size_t key_count, struct source *source)
{
	uint64_t values = 0;
	for (size_t i = 0; i < key_count; i++) {
		if (!is_asked_for(needs, &keys[i]))
			continue;
		values += keys[i].objects;
		if (!source->example && keys[i].example)
			source->example = text_printable(keys[i].example, strlen(keys[i].example), EXAMPLE_MAX);
	}
	return values;
}

static struct source *add(struct needs *needs, const char *name)
{
	needs->sources = xreallocarray(needs->sources, needs->count + 1, sizeof(*needs->sources));
	struct source *source = &needs->sources[needs->count++];
	*source = (struct source){.name = xstrdup(name)};
	return source;
}

/* --- a cluster --- */

static int ask_cluster(struct command_context *context, struct needs *needs, struct error **err)
{
	_cleanup_session_ session = {0};
	_cleanup_(census_freep) struct census *census = NULL;
	int rc = session_open(context, SESSION_ETCD, &session, err);
	if (rc < 0)
		return rc;
	struct census_options options = present_census_options(context, &session);
	rc = census_take(&options, &census, err);
	screen_clear(&context->screen);
	if (rc < 0)
		return rc;
	if (!census->complete)
		return error_set(err, ERROR_REFUSED, "%s: the census is not complete: %s", session.cluster->kube.name,
				 census->why ? census->why : "unknown");
	struct source *source = add(needs, session.cluster->kube.name);
	source->revision = census->revision;
	for (size_t i = 0; i < census->resource_count; i++)
		source->newest += count(needs, census->resources[i].keys, census->resources[i].key_count, source);
	source->newest += count(needs, census->outside_keys, census->outside_key_count, source);
	source->newest += count(needs, census->foreign_keys, census->foreign_key_count, source);
	return census->unknown + census->outside_unknown == 0
		       ? 0
		       : error_set(err, ERROR_FINDING, "%s: %llu values are of no known form: what they need is not known",
				   source->name, (unsigned long long)(census->unknown + census->outside_unknown));
}

/* --- backups --- */

static int ask_backup(struct command_context *context, struct needs *needs, const char *path, struct error **err)
{
	_cleanup_(snapshot_census_freep) struct snapshot_census *census = NULL;
	const struct snapshot_options options = {
		.path = path, .etcd_prefix = context->options.etcd_prefix ? context->options.etcd_prefix : "/registry"};
	int rc = snapshot_census_take(&options, &census, err);
	if (rc < 0)
		return rc;
	struct source *source = add(needs, path);
	source->backup = true;
	source->revision = census->revision;
	source->newest = count(needs, census->newest, census->newest_count, source);
	source->history = count(needs, census->history, census->history_count, source);
	uint64_t unclear = census->unknown + census->history_unknown + census->outside_encrypted;
	return unclear == 0 && !census->too_many_keys
		       ? 0
		       : error_set(err, ERROR_FINDING,
				   "%s: %llu values are of no known form or outside of %s: what they need is not known", path,
				   (unsigned long long)unclear, options.etcd_prefix);
}

static int not_hidden(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

static int ask_backups(struct command_context *context, struct needs *needs, struct error **err)
{
	const char *folder = context->options.snapshots;
	struct dirent **entries = NULL;
	size_t found = 0;
	int listed = scandir(folder, &entries, not_hidden, alphasort), rc = 0;
	if (listed < 0)
		return error_set_errno(err, ERROR_INPUT, errno, "--snapshots %s", folder);
	for (int i = 0; i < listed; i++) {
		_cleanup_free_ char *path = xasprintf("%s/%s", folder, entries[i]->d_name);
		struct stat status;
		free(entries[i]);
		if (rc < 0 || stat(path, &status) < 0 || !S_ISREG(status.st_mode))
			continue;
		found++;
		rc = ask_backup(context, needs, path, err);
	}
	free(entries);
	if (rc == 0 && found == 0)
		return error_set(err, ERROR_INPUT, "--snapshots %s: no file is there", folder);
	return rc;
}

/* --- all of it --- */

static void write_json(const struct needs *needs, bool needed)
{
	struct json_writer w = JSON_WRITER_INIT(NEEDS_JSON_MAX);
	json_object_begin(&w);
	json_member_string(&w, "kind", "Needs");
	json_member_string(&w, "key", needs->key);
	json_member_bool(&w, "needed", needed);
	json_key(&w, "sources");
	json_array_begin(&w);
	for (size_t i = 0; i < needs->count; i++) {
		const struct source *source = &needs->sources[i];
		json_object_begin(&w);
		json_member_string(&w, source->backup ? "snapshot" : "cluster", source->name);
		json_member_u64(&w, "revision", source->revision);
		json_member_u64(&w, "values", source->newest);
		if (source->backup)
			json_member_u64(&w, "history", source->history);
		json_member_string(&w, "example", source->example);
		json_object_end(&w);
	}
	json_array_end(&w);
	json_object_end(&w);
	const char *text = json_text(&w);
	if (text)
		puts(text);
	json_writer_free(&w);
}

static void print(const struct needs *needs)
{
	for (size_t i = 0; i < needs->count; i++) {
		const struct source *source = &needs->sources[i];
		_cleanup_free_ char *values = text_human_count(source->newest),
				    *history = text_human_count(source->history);
		printf("%s at revision %llu: %s values need %s%s%s%s%s%s\n", source->name,
		       (unsigned long long)source->revision, values, needs->key, source->backup ? ", and in history " : "",
		       source->backup ? history : "", source->example ? " (" : "", source->example ? source->example : "",
		       source->example ? ")" : "");
	}
}

static int verdict(struct command_context *context, const struct needs *needs, struct error **err)
{
	size_t who = 0;
	for (size_t i = 0; i < needs->count; i++)
		who += needs->sources[i].newest > 0 || needs->sources[i].history > 0;
	if (context->options.json)
		write_json(needs, who > 0);
	else
		print(needs);
	fflush(stdout);
	context->printed_document = true;
	return who == 0 ? 0
			: error_set(err, ERROR_FINDING, "%s is still needed by %zu of %zu", needs->key, who, needs->count);
}

/* Only backups where only those are named: a laptop may have no cluster. */
static bool cluster_is_asked(const struct options *options)
{
	return !options->snapshots || options_given(options, "--kubeconfig") || options_given(options, "--context") ||
	       options_given(options, "--server") || options_given(options, "--etcd-endpoints");
}

int cmd_needs(struct command_context *context, struct error **err)
{
	if (context->options.argument_count != 1)
		return error_set(err, ERROR_USAGE,
				 "needs takes one key: aescbc/key1, kms/vault, or the key ID of a KMS, such as an ARN");
	struct needs needs = {.key = context->options.arguments[0]};
	int rc = cluster_is_asked(&context->options) ? ask_cluster(context, &needs, err) : 0;
	if (rc == 0 && context->options.snapshots)
		rc = ask_backups(context, &needs, err);
	if (rc == 0)
		rc = verdict(context, &needs, err);
	for (size_t i = 0; i < needs.count; i++) {
		free(needs.sources[i].name);
		free(needs.sources[i].example);
	}
	free(needs.sources);
	return rc;
}
