/* Keys whose bytes nobody here ever had: which key IDs plugins name, and which ones values are under. */
#include <stdlib.h>
#include <string.h>

#include "engine/key_word.h"
#include "engine/kms_follow.h"
#include "engine/kms_look.h"
#include "engine/rotation_internal.h"

#define KMS_ASK (10 * NS_PER_S) /* between questions to the plugins */

/* --- following --- */

/* The first one that is not known to the journal is what everything is compared with. */
static void remember(struct rotation *r, const char *name, const char *key_id)
{
	_cleanup_free_ char *both = xasprintf("%s\n%s", name, key_id), *head = xasprintf("%s\n", name);
	struct strings *known = &r->journal->key_ids;
	if (strings_has(known, both))
		return;
	if (known->count >= ROTATION_KEY_IDS_MAX) {
		r->journal->kms_moved = true; /* a plugin that names others all the time */
		return;
	}
	for (size_t i = 0; i < known->count; i++)
		r->journal->kms_moved = r->journal->kms_moved || text_starts(known->items[i], head);
	strings_add(known, both);
	r->kms_news = true;
}

/* The server may have written under any key of its plugin: what it writes under is proved again, and all that follows. */
static void doubt(struct rotation *r)
{
	r->kms_adopted_at = r->history_ended_at = 0;
	r->kms_lacked = false;
	free(steal(r->kms_named));
}

/* Nothing that was proved of another key counts. */
static void begin_again(struct rotation *r)
{
	doubt(r);
	r->settled_began = r->settled_ended = 0;
	r->look.canary_at = 0;
	r->sweep = (struct sweep_observation){.step = STEP_NONE};
	r->reads_checked_at = 0;
	census_observation_free(&r->census_seen);
	r->seen.census = r->census_seen;
}

static void take_key_id(struct rotation *r, const char *name, const char *key_id)
{
	struct config_shape *shape = r->journal->path->steps[0];
	const char *before = kms_key_id(shape, name);
	if (text_equal(before, key_id))
		return;
	if (before) {
		rotation_note(r, "kms/%s encrypts with another key ID than before: %s", name, key_id);
		kms_changes_add(&r->kms_changes, loop_now(r->cluster->loop));
		begin_again(r);
		r->journal->kms_moved = true;
	}
	kms_set_key_id(shape, name, key_id);
	remember(r, name, key_id);
}

/* Those of plugins that only read are needed, too: their servers do not become ready without. */
static void take_named(struct rotation *r, const struct kms_look *looks, size_t count)
{
	strings_free(&r->kms_named_ids);
	strings_free(&r->kms_named_by);
	free(steal(r->kms_untold));
	for (size_t i = 0; i < count; i++) {
		if (!looks[i].flaw) {
			strings_add(&r->kms_named_ids, looks[i].status.key_id);
			strings_add(&r->kms_named_by, looks[i].name);
		} else if (!r->kms_untold) {
			r->kms_untold = xasprintf("kms/%s: %s", looks[i].name, looks[i].flaw);
		}
	}
}

void rotation_kms_take(struct rotation *r, const struct kms_look *looks, size_t count)
{
	take_named(r, looks, count);
	free(steal(r->kms_why));
	for (size_t i = 0; i < count; i++) {
		if (!kms_writes(r->journal->path->steps[0], looks[i].name))
			continue;
		if (!looks[i].flaw) {
			take_key_id(r, looks[i].name, looks[i].status.key_id);
			if (!r->kms_why)
				r->kms_why = kms_changes_why(&r->kms_changes, loop_now(r->cluster->loop));
			continue;
		}
		if (kms_look_lacks(&looks[i], kms_key_id(r->journal->path->steps[0], looks[i].name)))
			r->kms_lacked = true;
		else
			doubt(r);
		if (!r->kms_why)
			r->kms_why = xasprintf("kms/%s: %s", looks[i].name, looks[i].flaw);
	}
}

static int ask(struct rotation *r, struct error **err)
{
	struct kms_look *looks = NULL;
	size_t count = 0;
	int rc = kms_look(r->cluster->loop, r->journal->path->steps[0], &looks, &count, err);
	if (rc == 0)
		rotation_kms_take(r, looks, count);
	kms_look_free(looks, count);
	r->kms_asked = loop_now(r->cluster->loop);
	return rc;
}

int rotation_kms_follow(struct rotation *r, struct error **err)
{
	int rc = kms_can_follow(r->journal->path->steps[0], err);
	if (rc == 0)
		rc = ask(r, err);
	return rc == 0 && r->kms_why ? error_set(err, ERROR_REFUSED, "%s", r->kms_why) : rc;
}

void rotation_kms_observe(struct rotation *r)
{
	_cleanup_error_ interrupted = NULL; /* seen by whoever decides */
	if (path_follows_kms(r->journal->path) &&
	    (r->kms_asked == 0 || loop_now(r->cluster->loop) >= r->kms_asked + KMS_ASK))
		(void)!ask(r, &interrupted);
}

/* What was sealed a moment before it adopted the key may land long after. */
const char *rotation_kms_canary(struct rotation *r, bool shown)
{
	/* Of the look before the canary: what it was about to adopt then it may have written under since. */
	if (!shown || r->look.may_adopt_another) {
		doubt(r);
		rotation_kms_hurry(r);
		return shown ? "the API server " KMS_MAY_ADOPT_ANOTHER : "the API server " KMS_NOT_ADOPTED;
	}
	if (r->kms_adopted_at == 0) {
		r->kms_adopted_at = loop_now(r->cluster->loop);
		r->kms_lacked = false;
		free(r->kms_named);
		r->kms_named = xstrdup_or_null(r->look.named_others);
		quiet_again(r->quiet);
	}
	return NULL;
}

void rotation_kms_compare(struct rotation *r)
{
	bool answers = r->seen.server_count > 0 && r->seen.servers[0].answering;
	bool told = r->kms_named && r->look.named_others;
	if (!path_follows_kms(r->journal->path) || r->kms_adopted_at == 0 || !answers)
		return;
	if (r->look.may_adopt_another || (told && !text_equal(r->kms_named, r->look.named_others))) {
		rotation_note(r, KMS_NAMED_ANOTHER);
		doubt(r);
	} else if (r->kms_lacked && !r->kms_why) {
		r->kms_lacked = false;
		if (!told)
			doubt(r);
	}
}

void rotation_kms_take_history(struct rotation *r, const struct observation *seen)
{
	if (!path_follows_kms(r->journal->path) ||
	    kms_take_history(r->journal->path->steps[0], seen, loop_now(r->cluster->loop), &r->history_ended_at))
		return;
	rotation_note(r, KMS_CAME_AND_WENT);
	doubt(r);
}

void rotation_kms_hurry(struct rotation *r)
{
	if (kms_hurry_is_due(&r->kms_hurried, loop_now(r->cluster->loop)))
		kms_hurry(&r->cluster->kube);
}

/* --- counting --- */

static struct rotation_key_id *find_or_add(struct rotation_report *report, const char *name, const char *key_id)
{
	for (size_t i = 0; i < report->key_id_count; i++)
		if (text_equal(report->key_ids[i].name, name) && text_equal(report->key_ids[i].key_id, key_id))
			return &report->key_ids[i];
	if (report->key_id_count == ROTATION_KEY_IDS_MAX)
		return NULL;
	report->key_ids = xreallocarray(report->key_ids, report->key_id_count + 1, sizeof(*report->key_ids));
	report->key_ids[report->key_id_count] = (struct rotation_key_id){xstrdup(name), xstrdup(key_id), 0};
	return &report->key_ids[report->key_id_count++];
}

static void count(struct rotation_report *report, const struct census_key *keys, size_t key_count)
{
	for (size_t k = 0; k < key_count; k++) {
		struct rotation_key_id *seen = keys[k].provider == PROVIDER_KMS && *keys[k].key_id
						       ? find_or_add(report, keys[k].name, keys[k].key_id)
						       : NULL;
		if (seen)
			seen->objects += keys[k].objects;
		else if (keys[k].provider == PROVIDER_KMS)
			report->without_key_id += keys[k].objects;
	}
}

void rotation_kms_report_begin(const struct journal *journal, struct rotation_report *report)
{
	const struct config_shape *shape = journal->path->steps[0];
	for (size_t i = 0; path_follows_kms(journal->path) && i < shape->rule_count; i++) {
		_cleanup_free_ char *label = config_key_label(&shape->rules[i].keys[0]);
		if (shape->rules[i].keys[0].kms_key_id && !strings_has(&report->new_keys, label))
			strings_add(&report->new_keys, label);
	}
	for (size_t i = 0; i < journal->key_ids.count; i++) {
		const char *both = journal->key_ids.items[i], *end = strchr(both, '\n');
		_cleanup_free_ char *name = end ? xstrndup(both, (size_t)(end - both)) : NULL;
		if (name)
			find_or_add(report, name, end + 1);
	}
}

void rotation_kms_seen(struct rotation *r)
{
	const struct census *census = r->census;
	for (size_t i = 0; i < r->report->key_id_count; i++)
		r->report->key_ids[i].objects = 0;
	r->report->without_key_id = 0;
	count(r->report, census->foreign_keys, census->foreign_key_count);
	for (size_t i = 0; i < census->resource_count; i++)
		count(r->report, census->resources[i].keys, census->resources[i].key_count);
	count(r->report, census->outside_keys, census->outside_key_count);
	for (size_t i = 0; path_follows_kms(r->journal->path) && i < r->report->key_id_count; i++) {
		const struct rotation_key_id *key = &r->report->key_ids[i];
		if (key->objects > 0 && kms_writes(r->journal->path->steps[0], key->name))
			remember(r, key->name, key->key_id);
	}
}

/* NULL: no value is under this key any more, whatever the provider's name and the key's; of what may be it, as `match` says. */
static const char *in_use_as(const struct rotation_report *report, const char *key_id, enum key_ids match)
{
	for (size_t i = 0; i < report->key_id_count; i++)
		if (report->key_ids[i].objects > 0 && key_ids_compare(report->key_ids[i].key_id, key_id) == match)
			return report->key_ids[i].name;
	return NULL;
}

char *rotation_kms_left_text(const struct rotation_report *report, const struct strings *new_keys,
			     const struct rotation_key_id *key, const struct kms_named *named)
{
	const char *other = in_use_as(report, key->key_id, KEY_IDS_ONE);
	const char *alias = in_use_as(report, key->key_id, KEY_IDS_MAY_BE_ONE);
	_cleanup_free_ char *label = xasprintf("kms/%s", key->name);
	_cleanup_free_ char *id = kms_key_id_shown(key->key_id);
	_cleanup_free_ char *other_label = other ? xasprintf("kms/%s", other) : NULL;
	_cleanup_free_ char *silent =
		report->without_key_id ? xasprintf(" (but for %llu values under KMS that are not told by key ID)",
						   (unsigned long long)report->without_key_id)
				       : xstrdup("");
	if (other && strings_has(new_keys, other_label))
		return xasprintf(
			"key ID %s stays in use, as %s: of its material only what the DEKs drawn since %s are "
			"under; what its KMS no longer encrypted with by then, this cluster's etcd needs for "
			"nothing at revision %llu%s. That the material had changed before, nobody here can see",
			id, other_label, report->started, (unsigned long long)report->revision, silent);
	if (other)
		return xasprintf("key ID %s is still needed: values are under it as %s", id, other_label);
	if (named->by)
		return xasprintf(
			"key ID %s is still needed: kms/%s of the configuration names it, and an API server asks for "
			"that at its start",
			id, named->by);
	if (alias || named->perhaps_by)
		return xasprintf(
			"whether key ID %s is still needed is not known: the key of kms/%s may be the same by another "
			"name, which only its KMS knows (aws kms describe-key --key-id alias/NAME tells what an alias "
			"leads "
			"to)",
			id, alias ? alias : named->perhaps_by);
	return xasprintf("this cluster's etcd " KMS_NEEDED_FOR_NOTHING " at revision %llu%s; backups made before %s, "
			 "and other clusters that use it, still do",
			 label, id, (unsigned long long)report->revision, silent, report->finished);
}

static bool is_left(const struct rotation *r, const struct rotation_key_id *key)
{
	_cleanup_free_ char *label = xasprintf("kms/%s", key->name);
	if (key->objects > 0)
		return false;
	if (path_follows_kms(r->journal->path))
		return kms_writes(r->journal->path->steps[0], key->name) &&
		       !strings_has(&r->kms_named_ids, key->key_id);
	return strings_has(&r->report->old_keys, label);
}

void kms_named_take(struct kms_named *named, const char *key_id, const char *name, const char *named_id)
{
	enum key_ids match = key_ids_compare(key_id, named_id);
	if (match == KEY_IDS_ONE && !named->by)
		named->by = name;
	if (match == KEY_IDS_MAY_BE_ONE && !named->perhaps_by)
		named->perhaps_by = name;
}

/* By providers that stay in the configuration, if only to read. */
static struct kms_named named_by(const struct rotation *r, const char *key_id)
{
	struct kms_named named = {0};
	for (size_t i = 0; i < r->kms_named_ids.count; i++)
		kms_named_take(&named, key_id, r->kms_named_by.items[i], r->kms_named_ids.items[i]);
	return named;
}

void rotation_kms_ask_last(struct rotation *r)
{
	struct kms_look *looks = NULL;
	size_t count = 0;
	const struct config_shape *last = r->journal->path->steps[r->journal->path->count - 1];
	_cleanup_error_ failed = NULL;
	if (r->report->key_id_count == 0 || path_follows_kms(r->journal->path) || !config_shape_has_kms(last))
		return;
	int rc = r->options.manual ? error_set(&failed, ERROR_REFUSED,
					       "with --target manual no plugin is asked; kube-rekey needs KEY-ID on a "
					       "control-plane node does")
				   : kms_look(r->cluster->loop, last, &looks, &count, &failed);
	take_named(r, looks, rc == 0 ? count : 0);
	if (rc < 0)
		r->kms_untold = xstrdup(error_message(failed));
	kms_look_free(looks, count);
}

void rotation_kms_tell_left(struct rotation *r)
{
	struct rotation_report *report = r->report;
	const char *named = r->journal->path->steps[0]->rules[0].keys[0].kms_key_id;
	for (size_t i = 0; !named && i < r->journal->path->steps[0]->rule_count; i++)
		named = r->journal->path->steps[0]->rules[i].keys[0].kms_key_id;
	report->named_key_id = named ? xstrdup(named) : NULL;
	if (!r->census || !r->census->complete)
		return;
	const char *untold = report->key_id_count == 0 ? NULL : r->kms_untold;
	if (untold) {
		_cleanup_free_ char *line = xasprintf(KMS_LEFT_UNKNOWN "%s", untold);
		strings_add(&report->remains, line);
	}
	for (size_t i = 0; !untold && i < report->key_id_count; i++) {
		const struct rotation_key_id *key = &report->key_ids[i];
		if (!is_left(r, key))
			continue;
		const struct kms_named by = named_by(r, key->key_id);
		_cleanup_free_ char *line = rotation_kms_left_text(report, &r->journal->new_keys, key, &by);
		strings_add(&report->remains, line);
	}
}
