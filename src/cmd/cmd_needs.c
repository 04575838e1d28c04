/* Who still needs a key, in one answer: the cluster and its backups, before somebody destroys it. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/json_writer.h"
#include "cmd/present.h"
#include "engine/kms_look.h"
#include "engine/old_keys.h"
#include "engine/snapshot.h"

#define NEEDS_JSON_MAX (16u << 20)
#define EXAMPLE_MAX 256 /* bytes of a path that are shown */

/* One cluster or one backup. */
struct source {
	char *name; /* "https://10.0.0.1:6443", "/backups/monday.db" */
	bool backup;
	uint64_t revision;
	uint64_t newest, history; /* values that need the key; of a cluster's history nothing is known */
	uint64_t nameless;        /* under KMS v1, where a key ID is asked for */
	char *example;
};
struct needs {
	const char *key;
	bool by_name; /* "aescbc/key1", "kms/vault", "plaintext"; else the key ID of a KMS */
	struct source *sources;
	size_t count;
	struct strings found; /* labels of all keys that were found */
	const char *writes;   /* why it is needed though nothing may be stored under it yet; NULL */
	bool cluster_asked;
};

static bool is_name(const char *key)
{
	enum provider_type type;
	const char *name;
	if (key_label_split(key, &type, &name))
		return type != PROVIDER_IDENTITY;
	return text_equal(key, "plaintext");
}

static bool is_asked_for(const struct needs *needs, const struct census_key *key)
{
	if (!needs->by_name)
		return key->provider == PROVIDER_KMS && text_equal(key->key_id, needs->key);
	const struct config_key as_configured = {.type = key->provider, .name = key->name};
	_cleanup_free_ char *label = config_key_label(&as_configured);
	return text_equal(label, needs->key);
}

/* Values under KMS v1 name no key ID: which of them need one cannot be told. */
static uint64_t count(struct needs *needs, const struct census_key *keys, size_t key_count, struct source *source)
{
	uint64_t values = 0;
	for (size_t i = 0; i < key_count; i++) {
		_cleanup_free_ char *label = census_key_label(&keys[i]);
		if (!strings_has(&needs->found, label))
			strings_add(&needs->found, label);
		if (!needs->by_name && keys[i].provider == PROVIDER_KMS && text_empty(keys[i].key_id))
			source->nameless += keys[i].objects;
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
	*source = (struct source){.name = text_printable(name, strlen(name), EXAMPLE_MAX)};
	return source;
}

static int judge(const struct source *source, uint64_t unclear, struct error **err)
{
	if (unclear > 0)
		return error_set(
			err, ERROR_FINDING,
			"%s: %llu values are of no known form, or lie where nobody looks: what they need is not "
			"known",
			source->name, (unsigned long long)unclear);
	if (source->nameless == 0)
		return 0;
	int rc = error_set(err, ERROR_FINDING, "%s: %llu values are under KMS v1, which names no key ID", source->name,
			   (unsigned long long)source->nameless);
	error_set_hint(err, "ask by the provider's name: kube-rekey needs kms/NAME");
	return rc;
}

/* --- a cluster --- */

/* What the next write is under, whatever is stored. */
static int ask_configuration(const struct session *session, struct needs *needs, struct error **err)
{
	const struct config_shape *shape = session->config ? encryption_config_shape(session->config) : NULL;
	struct kms_look *looks = NULL;
	size_t count = 0;
	for (size_t r = 0; shape && r < shape->rule_count; r++) {
		_cleanup_free_ char *label = config_key_label(&shape->rules[r].keys[0]);
		if (needs->by_name && text_equal(label, needs->key))
			needs->writes = "the configuration writes with it";
	}
	if (!shape || needs->by_name)
		return 0;
	int rc = kms_look(session->cluster->loop, shape, &looks, &count, err);
	for (size_t i = 0; rc == 0 && i < count; i++) {
		if (looks[i].flaw)
			rc = error_set(err, ERROR_FINDING, "kms/%s: %s: which key it encrypts with is not known",
				       looks[i].name, looks[i].flaw);
		else if (text_equal(looks[i].status.key_id, needs->key))
			needs->writes = "a KMS plugin encrypts with it";
	}
	kms_look_free(looks, count);
	return rc;
}

static int ask_cluster(struct command_context *context, struct needs *needs, struct error **err)
{
	_cleanup_session_ session = {0};
	_cleanup_(census_freep) struct census *census = NULL;
	int rc = session_open(context, SESSION_ETCD, &session, err);
	if (rc == 0)
		rc = ask_configuration(&session, needs, err);
	if (rc < 0)
		return rc;
	needs->cluster_asked = true;
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
	return judge(source, census->unknown + census->outside_unknown, err);
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
	return judge(source,
		     census->unknown + census->history_unknown + census->outside_encrypted + census->too_many_keys,
		     err);
}

static int is_entry(const struct dirent *entry)
{
	return !text_equal(entry->d_name, ".") && !text_equal(entry->d_name, "..");
}

/* What is there and is no backup that can be read says nothing good. */
static int ask_entry(struct command_context *context, struct needs *needs, const char *path, struct error **err)
{
	struct stat status;
	if (stat(path, &status) < 0)
		return error_set_errno(err, ERROR_IO, errno, "%s", path);
	if (S_ISREG(status.st_mode))
		return ask_backup(context, needs, path, err);
	int rc = error_set(err, ERROR_INPUT, "%s is no file", path);
	error_set_hint(err, "--snapshots DIR takes a directory of backups and nothing else");
	return rc;
}

static int ask_backups(struct command_context *context, struct needs *needs, struct error **err)
{
	const char *folder = context->options.snapshots;
	struct dirent **entries = NULL;
	int listed = scandir(folder, &entries, is_entry, alphasort), rc = 0;
	if (listed < 0)
		return error_set_errno(err, ERROR_INPUT, errno, "--snapshots %s", folder);
	for (int i = 0; i < listed; i++) {
		_cleanup_free_ char *path = xasprintf("%s/%s", folder, entries[i]->d_name);
		free(entries[i]);
		if (rc == 0)
			rc = ask_entry(context, needs, path, err);
	}
	free(entries);
	if (listed == 0)
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
	json_member_string(&w, "writes", needs->writes);
	json_member_bool(&w, "clusterAsked", needs->cluster_asked);
	json_member_strings(&w, "found", &needs->found);
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
		       (unsigned long long)source->revision, values, needs->key,
		       source->backup ? ", and in history " : "", source->backup ? history : "",
		       source->example ? " (" : "", source->example ? source->example : "", source->example ? ")" : "");
	}
	/* A name with a typing error is needed by nobody. */
	_cleanup_free_ char *found = strings_join(&needs->found, ", ");
	printf("Keys that were found: %s.%s\n", *found ? found : "none",
	       needs->cluster_asked ? "" : " No cluster was asked.");
}

static int verdict(struct command_context *context, const struct needs *needs, struct error **err)
{
	size_t who = 0;
	for (size_t i = 0; i < needs->count; i++)
		who += needs->sources[i].newest > 0 || needs->sources[i].history > 0;
	if (context->options.json)
		write_json(needs, who > 0 || needs->writes);
	else
		print(needs);
	fflush(stdout);
	context->printed_document = true;
	if (who == 0 && needs->writes)
		return error_set(err, ERROR_FINDING, "%s is still needed: %s", needs->key, needs->writes);
	return who == 0 ? 0
			: error_set(err, ERROR_FINDING, "%s is still needed by %zu of %zu", needs->key, who,
				    needs->count);
}

/* Only backups where nothing else is named: a laptop may have no cluster. */
static bool cluster_is_asked(const struct options *options)
{
	static const char *const of_backups[] = {"--snapshots", "--etcd-prefix", "--output"};
	if (options_given_beside(options, of_backups, ELEMENTS(of_backups)))
		return true;
	return !options->snapshots;
}

/* "key1" alone, or a label with the key ID in it, would be a key ID that nobody has. */
static int check_form(const struct needs *needs, struct error **err)
{
	for (size_t i = 0; !needs->by_name && i < needs->found.count; i++) {
		const char *slash = strchr(needs->found.items[i], '/');
		size_t len = strlen(needs->key);
		bool same = text_equal(needs->found.items[i], needs->key);
		if (same || (slash && strncmp(slash + 1, needs->key, len) == 0 &&
			     (slash[1 + len] == '\0' || slash[1 + len] == ' ')))
			return error_set(
				err, ERROR_USAGE,
				"%s: say aescbc/NAME, aesgcm/NAME, secretbox/NAME or kms/NAME, or the key ID of a "
				"KMS alone (%s was found)",
				needs->key, needs->found.items[i]);
	}
	return 0;
}

int cmd_needs(struct command_context *context, struct error **err)
{
	if (context->options.argument_count != 1)
		return error_set(err, ERROR_USAGE,
				 "needs takes one key: aescbc/key1, kms/vault, or the key ID of a KMS, such as an ARN");
	struct needs needs = {.key = context->options.arguments[0]};
	needs.by_name = is_name(needs.key);
	int rc = cluster_is_asked(&context->options) ? ask_cluster(context, &needs, err) : 0;
	if (rc == 0 && context->options.snapshots)
		rc = ask_backups(context, &needs, err);
	if (rc == 0)
		rc = check_form(&needs, err);
	if (rc == 0)
		rc = verdict(context, &needs, err);
	for (size_t i = 0; i < needs.count; i++) {
		free(needs.sources[i].name);
		free(needs.sources[i].example);
	}
	free(needs.sources);
	strings_free(&needs.found);
	return rc;
}
