#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json_writer.h"
#include "cmd/plan_without.h"
#include "cmd/rotating.h"
#include "engine/kms_calls.h"
#include "engine/old_keys.h"

#define PLAN_JSON_MAX (4u << 20)

struct estimate {
	uint64_t objects, bytes;           /* to be rewritten */
	uint64_t sweep_ns, sweep_twice_ns; /* at this --qps, and at twice that; 0: unknown (full speed) */
	uint64_t settle_ns, compaction_ns; /* compaction: longest wait */
	bool drops;
	struct kms_calls kms;
};

static uint64_t time_at(uint64_t objects, uint64_t qps)
{
	return qps ? objects * NS_PER_S / qps : 0;
}

/* Everything under rules that change is rewritten once. */
static struct estimate estimate(const struct command_context *context, const struct session *session,
				const struct rotation *rotation, uint64_t servers)
{
	const struct path *path = rotation_path(rotation);
	const struct census *census = rotation_census(rotation);
	struct estimate e = {.settle_ns = rotation_settle_time(rotation)};
	for (size_t i = 0; i < census->resource_count; i++) {
		const char *resource = census->resources[i].entry->storage;
		if (!config_shape_rule(path->steps[path->count - 1], resource) &&
		    !config_shape_rule(path->steps[0], resource))
			continue;
		e.objects += census->resources[i].objects;
		e.bytes += census->resources[i].bytes;
	}
	for (size_t i = 0; i + 1 < path->count; i++)
		e.drops = e.drops || path_drops(path, i);
	e.kms = kms_calls_of(path, census, (unsigned)context->options.concurrency, servers);
	e.sweep_ns = time_at(e.objects, context->options.qps);
	e.sweep_twice_ns = time_at(e.objects, context->options.qps * 2);
	if (e.drops && !context->options.compact)
		e.compaction_ns = 2 * session->cluster->compaction_interval;
	return e;
}

static void write_json(const struct rotation *rotation, const struct estimate *e, const struct decision *d)
{
	const struct path *path = rotation_path(rotation);
	const struct journal *journal = rotation_journal(rotation);
	struct json_writer w = JSON_WRITER_INIT(PLAN_JSON_MAX);
	json_object_begin(&w);
	json_member_string(&w, "kind", "Plan");
	json_member_u64(&w, "version", 1);
	json_key(&w, "path");
	json_array_begin(&w);
	for (size_t i = 0; i < path->count; i++)
		config_shape_write_json(path->steps[i], &w);
	json_array_end(&w);
	json_key(&w, "position");
	json_i64(&w, rotation_position(rotation));
	json_member_string(&w, "next", action_name(d->action));
	json_member_string(&w, "reason", reason_name(d->reason));
	json_member_strings(&w, "oldKeys", &journal->old_keys);
	json_member_bool(&w, "newKeyInOnePlaceOnly", rotation_new_key_is_alone(rotation));
	json_member_u64(&w, "objects", e->objects);
	json_member_u64(&w, "bytes", e->bytes);
	json_key(&w, "seconds");
	json_object_begin(&w);
	json_member_u64(&w, "reencrypt", e->sweep_ns / NS_PER_S);
	json_member_u64(&w, "reencryptAtTwiceTheQPS", e->sweep_twice_ns / NS_PER_S);
	json_member_u64(&w, "settle", e->settle_ns / NS_PER_S);
	json_member_u64(&w, "compactionAtMost", e->compaction_ns / NS_PER_S);
	json_object_end(&w);
	json_key(&w, "kmsCalls");
	json_object_begin(&w);
	json_member_u64(&w, "encryptPerServer", e->kms.encrypt);
	json_member_u64(&w, "decryptPerServerAtMost", e->kms.decrypt);
	json_member_u64(&w, "decryptToOpen", e->kms.opening);
	json_member_u64(&w, "dekSources", e->kms.dek_sources);
	json_member_bool(&w, "dekSourcesMore", e->kms.more);
	json_member_u64(&w, "v1Values", e->kms.v1_values);
	json_object_end(&w);
	json_object_end(&w);
	const char *text = json_text(&w);
	if (text)
		puts(text);
	json_writer_free(&w);
}

static void print_times(const struct command_context *context, const struct estimate *e)
{
	_cleanup_free_ char *objects = text_human_count(e->objects), *bytes = text_human_bytes(e->bytes);
	_cleanup_free_ char *slow = text_human_duration(e->sweep_ns), *fast = text_human_duration(e->sweep_twice_ns);
	_cleanup_free_ char *settle = text_human_duration(e->settle_ns),
			    *compaction = text_human_duration(e->compaction_ns);
	uint64_t qps = context->options.qps;
	if (qps)
		printf("     re-encrypt %s objects (%s): %s at %llu/s; %s at --qps %llu\n", objects, bytes, slow,
		       (unsigned long long)qps, fast, (unsigned long long)qps * 2);
	else
		printf("     re-encrypt %s objects (%s) at full speed\n", objects, bytes);
	printf("     settle %s, read all of etcd%s%s%s\n", settle,
	       !e->drops                  ? ""
	       : context->options.compact ? ", compact etcd"
					  : ", wait for compaction (at most ",
	       !e->drops || context->options.compact ? "" : compaction,
	       !e->drops || context->options.compact ? "" : "; --compact: at once)");
}

static void keep_local(const struct strings *labels, struct strings *ret)
{
	for (size_t i = 0; i < labels->count; i++)
		if (key_label_is_local(labels->items[i]))
			strings_add(ret, labels->items[i]);
}

static void print_warnings(const struct command_context *context, const struct rotation *rotation,
			   const struct estimate *e)
{
	_cleanup_free_ char *space = text_human_bytes(2 * e->bytes);
	const struct journal *journal = rotation_journal(rotation);
	_cleanup_strings_ old_local = {0};
	_cleanup_strings_ new_local = {0};
	keep_local(&journal->old_keys, &old_local);
	keep_local(&journal->new_keys, &new_local);
	_cleanup_free_ char *old_keys = strings_join(&old_local, ", ");
	if (e->kms.encrypt + e->kms.opening > 0)
		printf("Calls of the KMS: %llu Encrypt and at most %llu Decrypt by each API server; %llu Decrypt by "
		       "kube-rekey, to open values (under %llu data encryption keys%s).\n",
		       (unsigned long long)e->kms.encrypt, (unsigned long long)e->kms.decrypt,
		       (unsigned long long)e->kms.opening, (unsigned long long)e->kms.dek_sources,
		       e->kms.more ? " and more" : "");
	if (e->kms.v1_values > 0)
		printf("Of KMS v1 besides, an Encrypt by each write and up to a Decrypt by each read of %llu values.\n",
		       (unsigned long long)e->kms.v1_values);
	_cleanup_free_ char *plain = rotating_plaintext_text(rotation_path(rotation));
	if (plain)
		printf("%s\n", plain);
	printf("Needs about %s in etcd until the next compaction and defragmentation.\n", space);
	if (e->drops && *old_keys) {
		printf("Afterwards %s is %s.\n", old_keys,
		       text_equal(context->options.old_key, "destroy") ? "destroyed (--old-key destroy)"
		       : context->options.old_key && !text_equal(context->options.old_key, "keep")
			       ? "sealed (--old-key)"
			       : "kept, mode 0600, under --state-dir (--old-key seal:CERT or destroy)");
		printf("Backups made before the last step still need %s.\n", old_keys);
	}
	if (new_local.count > 0 &&
	    (!context->options.new_key_copy || text_equal(context->options.new_key_copy, "none")))
		printf("The new key will be in the configuration file alone: losing this disk will lose etcd's backups "
		       "too, and an older file put over it afterwards all that etcd holds (--new-key-copy "
		       "seal:CERT).\n");
}

static void print_text(const struct command_context *context, const struct rotation *rotation, const struct estimate *e,
		       const struct observation *seen, const struct decision *d)
{
	printf("Path\n");
	rotating_print_path(stdout, rotation_path(rotation), rotation_position(rotation));
	print_times(context, e);
	print_warnings(context, rotation, e);
	if (d->action == ACTION_BLOCKED || d->action == ACTION_WAIT) {
		_cleanup_free_ char *text = rotation_decision_text(rotation, d);
		_cleanup_free_ char *hint = decision_hint(d, seen);
		printf("Right now: %s%s%s\n", text, hint ? "\n  " : "", hint ? hint : "");
	}
	_cleanup_free_ char *least = text_human_duration(e->sweep_ns + e->settle_ns);
	_cleanup_free_ char *most =
		text_human_duration(e->sweep_ns + e->settle_ns + e->compaction_ns + 3 * 60 * NS_PER_S);
	printf("%s to %s in all. Nothing was changed.\n", least, most);
}

int cmd_plan(struct command_context *context, struct error **err)
{
	_cleanup_session_ session = {0};
	_cleanup_(rotation_freep) struct rotation *rotation = NULL;
	const struct observation *seen;
	struct decision decision;
	if (context->options.without_key)
		return plan_without(context, err);
	int rc = session_open(context, SESSION_ETCD | SESSION_CONFIG, &session, err);
	if (rc < 0)
		return rc;
	struct rotation_options options = rotating_options(context, &session);
	rc = rotation_open(&options, &rotation, err);
	if (rc == 0)
		rc = rotation_take_census(rotation, err);
	if (rc == 0)
		rc = rotation_look(rotation, &seen, &decision, err);
	if (rc == 0)
		rc = rotation_try_canary(rotation, err);
	screen_clear(&context->screen);
	if (rc < 0)
		return rc;
	struct estimate e = estimate(context, &session, rotation, seen->server_count);
	if (context->options.json)
		write_json(rotation, &e, &decision);
	else
		print_text(context, rotation, &e, seen, &decision);
	context->printed_document = true;
	if (decision.action != ACTION_BLOCKED)
		return 0;
	_cleanup_free_ char *text = rotation_decision_text(rotation, &decision), *hint = decision_hint(&decision, seen);
	rc = error_set(err, ERROR_REFUSED, "a rotation cannot begin like this: %s", text);
	if (hint)
		error_set_hint(err, "%s", hint);
	return rc;
}
