/* Who still needs a key, in one answer: the cluster and its backups, before somebody destroys it. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/json_writer.h"
#include "cmd/present.h"
#include "cmd/session_node.h"
#include "engine/key_word.h"
#include "engine/key_writers.h"
#include "engine/quiet.h"
#include "engine/same_etcd.h"
#include "engine/snapshot.h"

#define NEEDS_JSON_MAX (16u << 20)
#define EXAMPLE_MAX 256 /* bytes of a path that are shown */
#define UNKNOWN_MAX 1024
#define NAMES_MAX 100u /* paths that are named of a cluster; all are counted */
#define NAMES_SHOWN 3u

/* One cluster or one backup. */
struct source {
	char *name; /* "https://10.0.0.1:6443", "/backups/monday.db" */
	bool backup;
	uint64_t revision;
	uint64_t newest, history; /* values that need the key; of a cluster's history nothing is known */
	uint64_t nameless;        /* under KMS v1, where a key ID is asked for */
	uint64_t unclear;         /* under a key ID that may be another name of the key */
	char *example;
	struct strings names; /* of a cluster: paths of the first values that need the key */
	char *unknown;        /* why it could not be asked; NULL */
	char *writes_unknown; /* of a cluster: whom nobody can tell of, whether it writes with the key; NULL */
};
struct needs {
	struct key_word key;
	struct source *sources;
	size_t count;
	struct strings found;   /* labels of all keys that were found */
	struct strings key_ids; /* of values in clusters */
	char *writes;           /* why it is needed though nothing may be stored under it yet; NULL */
	bool cluster_asked;
	struct error *first_unknown;
};

/* Values under KMS v1 name no key ID: which of them need one cannot be told, nor where one is an alias. */
static uint64_t count(struct needs *needs, const struct census_key *keys, size_t key_count, struct source *source)
{
	uint64_t values = 0;
	for (size_t i = 0; i < key_count; i++) {
		_cleanup_free_ char *label = census_key_label(&keys[i]);
		if (!strings_has(&needs->found, label))
			strings_add(&needs->found, label);
		if (key_word_unclear(&needs->key, &keys[i]))
			*(text_empty(keys[i].key_id) ? &source->nameless : &source->unclear) += keys[i].objects;
		if (!key_word_means(&needs->key, &keys[i]))
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

/* The first one decides, where nobody needs the key. */
static void keep_unknown(struct needs *needs, struct error **unknown)
{
	if (!needs->first_unknown)
		needs->first_unknown = steal(*unknown);
}

/* Whoever else may need it is asked all the same: a key that one needs is needed. `before`: so many sources there were before
 * this one was asked. */
static int go_on(struct needs *needs, const char *name, size_t before, int rc, struct error **failed,
		 struct error **err)
{
	if (rc == -ERROR_INTERRUPTED || rc == -ERROR_USAGE) {
		*err = steal(*failed);
		return rc;
	}
	if (rc == 0)
		return 0;
	struct source *source = needs->count > before ? &needs->sources[needs->count - 1] : add(needs, name);
	const char *words = error_message(*failed);
	source->unknown = text_printable(words, strlen(words), UNKNOWN_MAX);
	keep_unknown(needs, failed);
	return 0;
}

static int judge(struct needs *needs, const struct source *source, uint64_t formless, struct error **err)
{
	if (source->unclear > 0) {
		_cleanup_error_ unknown = NULL;
		(void)error_set(
			&unknown, ERROR_REFUSED,
			"%s: %llu values are under a key ID that may be another name of it, or of a version of it: "
			"what it stands for only its KMS knows",
			source->name, (unsigned long long)source->unclear);
		error_set_hint(
			&unknown,
			"ask it (aws kms describe-key --key-id alias/NAME tells what an alias leads to), then ask "
			"by that name, too");
		keep_unknown(needs, &unknown);
	}
	if (formless > 0)
		return error_set(
			err, ERROR_FINDING,
			"%s: %llu values are of no known form, or lie where nobody looks: what they need is not "
			"known",
			source->name, (unsigned long long)formless);
	if (source->nameless == 0)
		return 0;
	int rc = error_set(err, ERROR_FINDING, "%s: %llu values are under KMS v1, which names no key ID", source->name,
			   (unsigned long long)source->nameless);
	error_set_hint(err, "ask by the provider's name: kube-rekey needs kms/NAME");
	return rc;
}

/* --- a cluster --- */

static void add_ids(const struct census_key *keys, size_t count, struct strings *ret)
{
	for (size_t i = 0; i < count; i++)
		if (keys[i].provider == PROVIDER_KMS && !text_empty(keys[i].key_id) &&
		    !strings_has(ret, keys[i].key_id))
			strings_add(ret, keys[i].key_id);
}

/* Where values are that need the key. */
struct taking {
	const struct key_word *key;
	struct strings names;
};

static void take_value(void *arg, const struct map_entry *entry, const struct census_key *key, const char *path)
{
	struct taking *taking = arg;
	(void)entry;
	if (taking->names.count == NAMES_MAX || !key_word_means(taking->key, key))
		return;
	_cleanup_free_ char *clean = text_printable(path, strlen(path), EXAMPLE_MAX);
	strings_add(&taking->names, clean);
}

static void forget_values(void *arg)
{
	struct taking *taking = arg;
	strings_free(&taking->names);
}

static void collect_ids(struct needs *needs, const struct census *census)
{
	for (size_t i = 0; i < census->resource_count; i++)
		add_ids(census->resources[i].keys, census->resources[i].key_count, &needs->key_ids);
	add_ids(census->outside_keys, census->outside_key_count, &needs->key_ids);
}

/* `own`: whether what was found on this machine is of this cluster. */
static struct key_writers_sources sources_of(const struct command_context *context, const struct session *session,
					     bool own, const struct needs *needs)
{
	return (struct key_writers_sources){
		.cluster = session->cluster,
		.config_path = own ? session->config_path : NULL,
		.config_hash = own ? session->config_hash : NULL,
		.settle = quiet_settle_time(session->cluster->request_timeout, false),
		.shape = own && session->config ? encryption_config_shape(session->config) : NULL,
		.node_was_asked = own && session_node_reads(session->cluster, session->config_path),
		.servers = &context->options.apiservers,
		.key_ids = &needs->key_ids};
}

/* What the next write is under, whatever is stored; `before`: the census began. */
static int ask_writers(const struct key_writers_sources *sources, const struct key_writers_seen *before,
		       struct needs *needs, struct source *source, struct error **err)
{
	struct key_writers writers = {0};
	int rc = key_writers_ask(&needs->key, sources, before, &writers, err);
	if (rc < 0)
		return rc;
	if (writers.writes && !needs->writes)
		needs->writes = steal(writers.writes);
	if (writers.unknown) {
		_cleanup_error_ unknown = NULL;
		source->writes_unknown = text_printable(writers.unknown, strlen(writers.unknown), UNKNOWN_MAX);
		(void)error_set(&unknown, ERROR_REFUSED, "%s: %s", source->name, source->writes_unknown);
		keep_unknown(needs, &unknown);
	}
	key_writers_free(&writers);
	return 0;
}

static int ask_session(struct command_context *context, const struct session *session, const char *name, bool own,
		       struct needs *needs, struct error **err)
{
	_cleanup_(census_freep) struct census *census = NULL;
	struct census_options options = present_census_options(context, session);
	const struct key_writers_sources sources = sources_of(context, session, own, needs);
	_cleanup_(key_writers_seen_freep) struct key_writers_seen *before = NULL;
	struct taking taking = {.key = &needs->key};
	options.open_with = NULL; /* names are enough */
	options.on_value = take_value;
	options.value_arg = &taking;
	options.on_again = forget_values;
	options.again_arg = &taking;
	needs->cluster_asked = true;
	int rc = key_writers_look(&needs->key, &sources, &before, err);
	if (rc == 0)
		rc = census_take(&options, &census, err);
	screen_clear(&context->screen);
	if (rc == 0 && !census->complete)
		rc = error_set(err, ERROR_REFUSED, "%s: the census is not complete: %s", name,
			       census->why ? census->why : "unknown");
	if (rc < 0) {
		strings_free(&taking.names);
		return rc;
	}
	struct source *source = add(needs, name);
	source->names = taking.names;
	source->revision = census->revision;
	for (size_t i = 0; i < census->resource_count; i++)
		source->newest += count(needs, census->resources[i].keys, census->resources[i].key_count, source);
	source->newest += count(needs, census->outside_keys, census->outside_key_count, source);
	source->newest += count(needs, census->foreign_keys, census->foreign_key_count, source);
	collect_ids(needs, census);
	rc = judge(needs, source, census->unknown + census->outside_unknown, err);
	return rc == 0 ? ask_writers(&sources, before, needs, source, err) : rc;
}

static int ask_cluster(struct command_context *context, struct needs *needs, struct error **err)
{
	_cleanup_session_ session = {0};
	_cleanup_error_ failed = NULL;
	size_t before = needs->count;
	int rc = session_open(context, SESSION_ETCD, &session, &failed);
	if (rc == 0)
		rc = ask_session(context, &session, session.cluster->kube.name, true, needs, &failed);
	return go_on(needs, "the cluster", before, rc, &failed, err);
}

/* --- clusters by their contexts --- */

/* Whether the session's etcd is the one behind its API server. */
static int is_its_etcd(const struct session *session, struct error **err)
{
	const struct cluster *cluster = session->cluster;
	return same_etcd_check(&session->cluster->kube, cluster->etcds, cluster->etcd_count, cluster->etcd_prefix,
			       &cluster->resources, NULL, err);
}

/* With one etcd of those that were named, for another context's may not answer. */
static int ask_beside(struct command_context *context, const char *name, char *endpoints, struct needs *needs,
		      bool *ret_proved, struct error **err)
{
	_cleanup_session_ session = {0};
	struct strings all = context->options.etcd_endpoints;
	context->options.etcd_endpoints = (struct strings){&endpoints, 1};
	int rc = session_open(context, SESSION_ETCD, &session, err);
	context->options.etcd_endpoints = all;
	if (rc == 0)
		rc = is_its_etcd(&session, err);
	if (rc < 0)
		return rc;
	*ret_proved = true;
	return ask_session(context, &session, name, false, needs, err);
}

/* Only an etcd tells what is stored: an API server shows no key of what it reads. */
static int ask_context(struct command_context *context, const char *name, struct needs *needs, struct error **err)
{
	const struct strings *etcds = &context->options.etcd_endpoints;
	bool proved = false;
	int rc = 0;
	context->options.context = name;
	for (size_t i = 0; i < etcds->count && !proved; i++) {
		error_clear(err);
		rc = ask_beside(context, name, etcds->items[i], needs, &proved, err);
		if (rc == -ERROR_INTERRUPTED || rc == -ERROR_USAGE)
			return rc;
	}
	if (proved)
		return rc;
	if (etcds->count > 0)
		return error_wrap(err, rc, "context %s: none of the %zu etcds that were named is its API server's",
				  name, etcds->count);
	rc = error_set(err, ERROR_REFUSED, "context %s: what is stored is not known without its etcd", name);
	error_set_hint(err, "say --etcd-endpoints URL,... of each cluster; or ask on a control-plane node of it, or "
			    "--snapshots of a backup made now");
	return rc;
}

static int ask_contexts(struct command_context *context, struct needs *needs, struct error **err)
{
	_cleanup_strings_ names = {0};
	int rc = 0;
	strings_split(&names, context->options.contexts, ',');
	for (size_t i = 0; rc == 0 && i < names.count; i++) {
		_cleanup_error_ failed = NULL;
		size_t before = needs->count;
		rc = ask_context(context, names.items[i], needs, &failed);
		rc = go_on(needs, names.items[i], before, rc, &failed, err);
	}
	context->options.context = NULL;
	return rc;
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
	return judge(needs, source,
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

/* `failed`: one of them, or the folder itself. */
static int go_on_with_backups(struct needs *needs, const char *path, size_t before, int rc, struct error **failed,
			      struct error **err)
{
	rc = go_on(needs, path, before, rc, failed, err);
	if (needs->count > before)
		needs->sources[needs->count - 1].backup = true;
	return rc;
}

static int ask_backups(struct command_context *context, struct needs *needs, struct error **err)
{
	const char *folder = context->options.snapshots;
	struct dirent **entries = NULL;
	_cleanup_error_ none = NULL;
	int listed = scandir(folder, &entries, is_entry, alphasort), rc = 0;
	if (listed < 0)
		rc = error_set_errno(&none, ERROR_INPUT, errno, "--snapshots %s", folder);
	else if (listed == 0)
		rc = error_set(&none, ERROR_INPUT, "--snapshots %s: no file is there", folder);
	rc = go_on_with_backups(needs, folder, needs->count, rc, &none, err);
	for (int i = 0; i < listed; i++) {
		_cleanup_free_ char *path = xasprintf("%s/%s", folder, entries[i]->d_name);
		_cleanup_error_ failed = NULL;
		size_t before = needs->count;
		free(entries[i]);
		if (rc == 0)
			rc = go_on_with_backups(needs, path, before, ask_entry(context, needs, path, &failed), &failed,
						err);
	}
	free(entries);
	return rc;
}

/* --- all of it --- */

static void write_json(const struct needs *needs, bool needed)
{
	struct json_writer w = JSON_WRITER_INIT(NEEDS_JSON_MAX);
	json_object_begin(&w);
	json_member_string(&w, "kind", "Needs");
	json_member_string(&w, "key", needs->key.text);
	json_member_bool(&w, "needed", needed);
	json_member_bool(&w, "known", needed || !needs->first_unknown);
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
		if (!source->backup)
			json_member_strings(&w, "names", &source->names);
		json_member_u64(&w, "unclear", source->nameless + source->unclear);
		json_member_string(&w, "unknown", source->unknown);
		if (!source->backup)
			json_member_string(&w, "writesUnknown", source->writes_unknown);
		json_object_end(&w);
	}
	json_array_end(&w);
	json_object_end(&w);
	const char *text = json_text(&w);
	if (text)
		puts(text);
	json_writer_free(&w);
}

/* " (/registry/secrets/default/a, ...)"; new string. */
static char *places(const struct source *source)
{
	_cleanup_strings_ shown = {0};
	for (size_t i = 0; i < source->names.count && i < NAMES_SHOWN; i++)
		strings_add(&shown, source->names.items[i]);
	if (shown.count == 0 && source->example)
		strings_add(&shown, source->example);
	if (shown.count == 0)
		return xstrdup("");
	_cleanup_free_ char *all = strings_join(&shown, ", ");
	return xasprintf(" (%s%s)", all, source->names.count > shown.count ? ", ..." : "");
}

static void print(const struct needs *needs)
{
	for (size_t i = 0; i < needs->count; i++) {
		const struct source *source = &needs->sources[i];
		if (source->unknown)
			printf("%s: NOT KNOWN: %s\n", source->name, source->unknown);
		if (source->unknown && source->newest == 0 && source->history == 0)
			continue;
		_cleanup_free_ char *values = text_human_count(source->newest),
				    *history = text_human_count(source->history), *where = places(source);
		printf("%s at revision %llu: %s values need %s%s%s%s\n", source->name,
		       (unsigned long long)source->revision, values, needs->key.text,
		       source->backup ? ", and in history " : "", source->backup ? history : "", where);
		if (source->writes_unknown)
			printf("%s: NOT KNOWN whether it is written with: %s\n", source->name, source->writes_unknown);
	}
	/* A name with a typing error is needed by nobody. */
	_cleanup_free_ char *found = strings_join(&needs->found, ", ");
	printf("Keys that were found: %s.%s\n", *found ? found : "none",
	       needs->cluster_asked ? "" : " No cluster was asked.");
}

static int verdict(struct command_context *context, struct needs *needs, struct error **err)
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
		return error_set(err, ERROR_FINDING, "%s is still needed: %s", needs->key.text, needs->writes);
	if (who == 0 && needs->first_unknown) {
		*err = steal(needs->first_unknown);
		return error_wrap(err, -(int)error_code(*err), "keep it: not known whether %s is needed",
				  needs->key.text);
	}
	return who == 0 ? 0
			: error_set(err, ERROR_FINDING, "%s is still needed by %zu of %zu", needs->key.text, who,
				    needs->count);
}

/* Only backups where nothing else is named: a laptop may have no cluster. */
static bool cluster_is_asked(const struct options *options)
{
	static const char *const of_backups[] = {"--snapshots", "--etcd-prefix", "--output"};
	if (options->contexts)
		return false;
	if (options_given_beside(options, of_backups, ELEMENTS(of_backups)))
		return true;
	return !options->snapshots;
}

/* What a file or a node says is of one cluster. */
static int check_contexts(const struct options *options, struct error **err)
{
	static const char *const of_one[] = {
		"--context", "--cluster", "--server", "--encryption-config", "--apiserver-manifest", "--apiserver"};
	for (size_t i = 0; options->contexts && i < ELEMENTS(of_one); i++)
		if (options_given(options, of_one[i]))
			return error_set(err, ERROR_USAGE, "%s is of one cluster: it does not go with --contexts",
					 of_one[i]);
	return 0;
}

int cmd_needs(struct command_context *context, struct error **err)
{
	if (context->options.argument_count != 1)
		return error_set(err, ERROR_USAGE,
				 "needs takes one key: aescbc/key1, kms/vault, or the key ID of a KMS, such as an ARN");
	struct needs needs = {.key = key_word(context->options.arguments[0])};
	int rc = check_contexts(&context->options, err);
	if (rc == 0 && context->options.contexts)
		rc = ask_contexts(context, &needs, err);
	if (rc == 0 && cluster_is_asked(&context->options))
		rc = ask_cluster(context, &needs, err);
	if (rc == 0 && context->options.snapshots)
		rc = ask_backups(context, &needs, err);
	if (rc == 0)
		rc = key_word_check(&needs.key, &needs.found, err);
	if (rc == 0)
		rc = verdict(context, &needs, err);
	for (size_t i = 0; i < needs.count; i++) {
		free(needs.sources[i].name);
		free(needs.sources[i].example);
		strings_free(&needs.sources[i].names);
		free(needs.sources[i].unknown);
		free(needs.sources[i].writes_unknown);
	}
	free(needs.sources);
	strings_free(&needs.found);
	strings_free(&needs.key_ids);
	free(needs.writes);
	error_free(needs.first_unknown);
	return rc;
}
