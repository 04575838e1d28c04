#include <stdio.h>
#include <stdlib.h>

#include "base/json_writer.h"
#include "cmd/fleet_status.h"
#include "cmd/no_etcd.h"
#include "cmd/present.h"
#include "cmd/rotating.h"

#define STATUS_JSON_MAX (64u << 20)

/* What a status is made of: a census, a look at the server and its KMS plugins, and a rotation that was begun. */
struct status {
	struct present_kms kms;
	struct census *census;
	struct journal *journal; /* of a rotation under way; NULL */
	bool of_another;         /* and that of another cluster */
	struct server_observation server;
	uint64_t members, answering;
};

static void count_members(const struct session *session, struct status *status)
{
	for (size_t e = 0; e < session->cluster->etcd_count; e++)
		for (size_t m = 0; m < etcd_member_count(session->cluster->etcds[e]); m++) {
			status->members++;
			status->answering += etcd_member(session->cluster->etcds[e], m)->answered;
		}
}

static const char *loaded_words(const struct server_observation *server)
{
	if (server->loaded == FACT_CONTRADICTORY)
		return "contradictory";
	if (server->loaded != FACT_KNOWN)
		return "not known";
	return server->loaded_is_file ? "the file" : "not the file";
}

static void print_rules(const struct session *session, const struct status *status)
{
	const struct config_shape *shape = encryption_config_shape(session->config);
	for (size_t r = 0; r < shape->rule_count; r++) {
		const struct config_rule *rule = &shape->rules[r];
		struct strings names = {rule->resources, rule->resource_count};
		_cleanup_free_ char *resources = strings_join(&names, ","), *write = config_key_label(&rule->keys[0]);
		_cleanup_strings_ reads = {0};
		for (size_t k = 1; k < rule->key_count; k++) {
			_cleanup_free_ char *label = config_key_label(&rule->keys[k]);
			strings_add(&reads, label);
		}
		_cleanup_free_ char *read = strings_join(&reads, ", ");
		printf("rule       %s: written with %s%s%s\n", resources, write,
		       reads.count ? ", also readable with " : "", read);
	}
	printf("server     %s %s runs %s%s%s%s\n", status->server.name,
	       status->server.version ? status->server.version : "", loaded_words(&status->server),
	       status->server.loaded_hash ? " (" : "", status->server.loaded_hash ? status->server.loaded_hash : "",
	       status->server.loaded_hash ? ")" : "");
	if (status->server.why)
		printf("           %s\n", status->server.why);
}

/* Values under the key that a plugin encrypts with now, and under other ones of its. */
struct kms_share {
	uint64_t current, other;
};

static struct kms_share share_of(const struct census *census, const struct kms_look *look)
{
	struct kms_share share = {0};
	for (size_t i = 0; i < census->resource_count; i++)
		for (size_t k = 0; k < census->resources[i].key_count; k++) {
			const struct census_key *key = &census->resources[i].keys[k];
			if (key->provider != PROVIDER_KMS || key->kms_version != 2 ||
			    !text_equal(key->name, look->name))
				continue;
			if (text_equal(key->key_id, look->status.key_id))
				share.current += key->objects;
			else
				share.other += key->objects;
		}
	return share;
}

static void print_kms(const struct status *status)
{
	for (size_t i = 0; i < status->kms.count; i++) {
		const struct kms_look *look = &status->kms.looks[i];
		if (look->flaw) {
			printf("kms        %s: %s\n", look->name, look->flaw);
			continue;
		}
		struct kms_share share = share_of(status->census, look);
		_cleanup_free_ char *id =
			text_printable(look->status.key_id, strlen(look->status.key_id), KMS_KEY_ID_MAX);
		_cleanup_free_ char *current = text_human_count(share.current), *other = text_human_count(share.other);
		printf("kms        %s: ok, encrypts with key ID %s: %s values are under it, %s under other key IDs\n",
		       look->name, id, current, other);
	}
}

static void write_kms(struct json_writer *w, const struct status *status)
{
	json_key(w, "kms");
	json_array_begin(w);
	for (size_t i = 0; i < status->kms.count; i++) {
		const struct kms_look *look = &status->kms.looks[i];
		struct kms_share share = share_of(status->census, look);
		json_object_begin(w);
		json_member_string(w, "name", look->name);
		json_member_string(w, "version", look->status.version);
		json_member_string(w, "healthz", look->status.healthz);
		json_member_string(w, "keyID", look->status.key_id);
		json_member_string(w, "flaw", look->flaw);
		if (!look->flaw) {
			json_member_u64(w, "current", share.current);
			json_member_u64(w, "other", share.other);
		}
		json_object_end(w);
	}
	json_array_end(w);
}

/* What the rules of a step write with. */
static char *write_keys(const struct config_shape *shape)
{
	_cleanup_strings_ labels = {0};
	for (size_t r = 0; r < shape->rule_count; r++) {
		_cleanup_free_ char *label = config_key_label(&shape->rules[r].keys[0]);
		if (!strings_has(&labels, label))
			strings_add(&labels, label);
	}
	return labels.count > 0 ? strings_join(&labels, ", ") : xstrdup("plaintext");
}

/* Where it leads: new string. */
static char *where_it_leads(const struct journal *journal)
{
	const struct path *path = journal->path;
	_cleanup_free_ char *from = write_keys(path->steps[0]), *to = write_keys(path->steps[path->count - 1]);
	_cleanup_free_ char *old_keys = strings_join(&journal->old_keys, ", ");
	if (path_follows_kms(path))
		return xasprintf("it follows the KMS behind %s", from);
	if (!text_equal(from, to))
		return xasprintf("%s -> %s", from, to);
	return *old_keys ? xasprintf("%s leaves", old_keys) : xstrdup("keys that only read change");
}

static void print_rotation(const struct session *session, const struct status *status)
{
	const struct journal *journal = status->journal;
	if (!journal)
		return;
	if (status->of_another) {
		printf("\nRotation %s of another cluster is half done: its journal lies here, and none of this one is "
		       "under way. rotate says what to remove.\n",
		       journal->rotation);
		return;
	}
	_cleanup_free_ char *words = where_it_leads(journal);
	int here = path_find(journal->path, encryption_config_shape(session->config));
	printf("\nRotation %s is half done: %s\n", journal->rotation, words);
	rotating_print_path(stdout, journal->path, here);
	if (here == STEP_NONE)
		printf("The present file is none of its steps: somebody changed it.\n");
	else if (path_follows_kms(journal->path))
		printf("Next: re-encrypt what is under another key ID than the KMS names, and prove it. Go on with the "
		       "command that began it.\n");
	else if ((size_t)here + 1 < journal->path->count)
		printf("Next: %s. Go on with the command that began it; it is safe to leave it like this.\n",
		       path_drops(journal->path, (size_t)here) ? "re-encrypt, prove, and drop the old key"
							       : "the next configuration");
	else
		printf("Next: the last proof, and retiring the old key. Go on with the command that began it.\n");
}

static void write_json(const struct session *session, const struct status *status)
{
	struct json_writer w = JSON_WRITER_INIT(STATUS_JSON_MAX);
	json_object_begin(&w);
	json_member_string(&w, "kind", "Status");
	json_member_u64(&w, "version", 1);
	json_member_string(&w, "strength", "etcd");
	json_key(&w, "configuration");
	if (session->config)
		config_shape_write_json(encryption_config_shape(session->config), &w);
	else
		json_null(&w);
	json_key(&w, "server");
	json_object_begin(&w);
	json_member_string(&w, "name", status->server.name);
	json_member_string(&w, "version", status->server.version);
	json_member_string(&w, "file", status->server.file_hash);
	json_member_string(&w, "loaded", status->server.loaded_hash);
	json_member_bool(&w, "runsTheFile", status->server.loaded == FACT_KNOWN && status->server.loaded_is_file);
	json_member_string(&w, "why", status->server.why);
	json_object_end(&w);
	write_kms(&w, status);
	json_key(&w, "rotation");
	if (status->journal) {
		json_object_begin(&w);
		json_member_string(&w, "name", status->journal->rotation);
		json_member_string(&w, "started", status->journal->started);
		json_key(&w, "step");
		json_i64(&w, session->config
				     ? path_find(status->journal->path, encryption_config_shape(session->config))
				     : STEP_NONE);
		json_member_u64(&w, "steps", status->journal->path->count);
		json_member_bool(&w, "ofAnotherCluster", status->of_another);
		json_object_end(&w);
	} else {
		json_null(&w);
	}
	json_key(&w, "census");
	census_write_json(status->census, &w);
	json_object_end(&w);
	const char *text = json_text(&w);
	if (text)
		puts(text);
	json_writer_free(&w);
}

static void print_text(const struct command_context *context, const struct session *session,
		       const struct status *status)
{
	if (session->config)
		print_rules(session, status);
	print_kms(status);
	printf("etcd       revision %llu, %llu of %llu members answer\n\n",
	       (unsigned long long)status->census->revision, (unsigned long long)status->answering,
	       (unsigned long long)status->members);
	_cleanup_free_ char *table = census_table(status->census, context->screen.width, context->screen.color);
	fputs(table, stdout);
	print_rotation(session, status);
	if ((!status->journal || status->of_another) && status->census->stale > 0)
		printf("\n%llu values are not under the write key. To rewrite them: %s reencrypt\n",
		       (unsigned long long)status->census->stale, context->invoked_as);
}

static void status_free(struct status *status)
{
	present_kms_free(&status->kms);
	server_observation_free(&status->server);
	census_free(status->census);
	journal_free(status->journal);
}

/* Which file a rotation writes, and has its journal beside: the server's, or what a pipeline takes. */
static char *rotating_file(const struct command_context *context, const struct session *session)
{
	const struct options *o = &context->options;
	if (!session->config_path)
		return NULL;
	const char *slash = strrchr(session->config_path, '/');
	const char *name = slash ? slash + 1 : session->config_path;
	if (!text_equal(o->target, "manual") || !o->out)
		return xstrdup(session->config_path);
	return o->out_seal ? xasprintf("%s/manual/%s", o->state_dir ? o->state_dir : DEFAULT_STATE_DIRECTORY, name)
			   : xasprintf("%s/%s", o->out, name);
}

static int status_of_one(struct command_context *context, struct session *session, struct error **err)
{
	_cleanup_free_ char *rotating = rotating_file(context, session);
	_cleanup_(status_free) struct status status = {0};
	struct census_options options = present_census_options(context, session);
	int rc = present_ask_kms(session, &options, &status.kms, err);
	if (rc == 0)
		rc = census_take(&options, &status.census, err);
	if (rc == 0 && session->config)
		rc = present_look(session, rotating, &status.journal, &status.of_another, &status.server, err);
	screen_clear(&context->screen);
	if (rc < 0)
		return rc;
	count_members(session, &status);
	if (context->options.json)
		write_json(session, &status);
	else
		print_text(context, session, &status);
	context->printed_document = true;
	rc = census_verdict(status.census, err);
	if (rc == 0 && session->config)
		rc = present_verdict(session, &status.server, err);
	for (size_t i = 0; rc == 0 && i < status.kms.count; i++)
		if (status.kms.looks[i].flaw)
			rc = error_set(err, ERROR_FINDING, "KMS provider %s: %s", status.kms.looks[i].name,
				       status.kms.looks[i].flaw);
	return rc;
}

int cmd_status(struct command_context *context, struct error **err)
{
	const struct options *o = &context->options;
	_cleanup_session_ session = {0};
	if (o->no_etcd)
		return no_etcd_status(context, err);
	if (o->argument_count > 1)
		return error_set(err, ERROR_USAGE, "status takes the name of one KeyRotation");
	int rc = session_open(context, SESSION_ETCD | SESSION_AGENTS, &session, err);
	if (rc < 0)
		return rc;
	if (!session.agents && o->argument_count)
		return error_set(err, ERROR_USAGE, "status %s: no KeyServer exists, so no KeyRotation either",
				 o->arguments[0]);
	session_tell_target(&session);
	if (session.agents)
		return fleet_status(context, &session, err);
	return status_of_one(context, &session, err);
}
