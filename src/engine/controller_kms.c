/* KMS v2: what the plugins beside all API servers say, held against one another; which key IDs there were, kept in the
 * KeyRotation whoever leads; and since when every server's canaries have been under the one that they name. */
#include "engine/controller_internal.h"

#include <stdlib.h>

#include "engine/fleet_kms.h"
#include "engine/kms_follow.h"
#include "engine/rotation_internal.h"

static bool follows(const struct controller *c)
{
	return c->rotation->spec.follow_kms && !key_rotation_goes_back(c->rotation);
}

/* Nothing is under a key that nobody knows. */
void controller_kms_take_path(struct controller *c)
{
	struct config_shape *shape = c->path->steps[0];
	for (size_t r = 0; follows(c) && r < shape->rule_count; r++)
		if (kms_writes(shape, shape->rules[r].keys[0].name))
			kms_set_key_id(shape, shape->rules[r].keys[0].name, "");
}

/* --- the key IDs that there were --- */

static struct rotation_key_id *known(const struct key_rotation_status *status, const char *name, const char *key_id)
{
	for (size_t i = 0; i < status->key_id_count; i++)
		if (text_equal(status->key_ids[i].name, name) && text_equal(status->key_ids[i].key_id, key_id))
			return &status->key_ids[i];
	return NULL;
}

/* A plugin that names others all the time is known by the first so many. */
static void remember(struct controller *c, const char *name, const char *key_id)
{
	struct key_rotation_status *status = &c->rotation->status;
	if (known(status, name, key_id) || status->key_id_count == ROTATION_KEY_IDS_MAX)
		return;
	status->key_ids = xreallocarray(status->key_ids, status->key_id_count + 1, sizeof(*status->key_ids));
	status->key_ids[status->key_id_count++] =
		(struct rotation_key_id){.name = xstrdup(name), .key_id = xstrdup(key_id)};
	c->kms_news = true;
}

/* The key of one provider was another one at some time since the rotation was asked for, or values were under another. */
static bool moved(const struct controller *c)
{
	const struct key_rotation_status *status = &c->rotation->status;
	for (size_t i = 0; i < status->key_id_count; i++)
		for (size_t k = 0; k < i; k++)
			if (text_equal(status->key_ids[i].name, status->key_ids[k].name) &&
			    kms_writes(c->path->steps[0], status->key_ids[i].name))
				return true;
	return false;
}

static bool has_provider(const struct config_shape *shape, const char *name)
{
	for (size_t r = 0; r < shape->rule_count; r++)
		for (size_t k = 0; k < shape->rules[r].key_count; k++)
			if (shape->rules[r].keys[k].type == PROVIDER_KMS &&
			    text_equal(shape->rules[r].keys[k].name, name))
				return true;
	return false;
}

/* By the last census. Where no KMS is followed it counts providers. */
static void count_values(struct controller *c)
{
	const struct census_observation *census = &c->census.seen;
	struct key_rotation_status *status = &c->rotation->status;
	if (!census->complete)
		return;
	for (size_t g = 0; follows(c) && g < census->group_count; g++) {
		const struct census_group *group = &census->groups[g];
		if (group->type == PROVIDER_KMS && group->kms_version == 2 && group->key_id && group->values > 0)
			remember(c, group->name, group->key_id);
	}
	for (size_t i = 0; i < status->key_id_count; i++) {
		struct rotation_key_id *key = &status->key_ids[i];
		key->objects = 0;
		for (size_t g = 0; g < census->group_count; g++) {
			const struct census_group *group = &census->groups[g];
			bool same = group->type == PROVIDER_KMS && group->kms_version == 2 &&
				    text_equal(group->name, key->name) &&
				    (!group->key_id || text_equal(group->key_id, key->key_id));
			key->objects += same ? group->values : 0;
		}
	}
}

/* --- what the plugins say --- */

static void take_key_id(struct controller *c, const char *name, const char *key_id)
{
	struct config_shape *shape = c->path->steps[0];
	const char *before = kms_key_id(shape, name);
	if (text_equal(before, key_id))
		return;
	if (!text_empty(before)) {
		controller_note(c, "kms/%s encrypts with another key ID than before: %s", name, key_id);
		kms_changes_add(&c->kms_changes, clock_monotonic());
		controller_forget_proofs(c);
	}
	kms_set_key_id(shape, name, key_id);
}

static struct kms_witness *witnesses_of(const struct controller *c,
					bool (*speaking)(const struct fleet_server *server, uint64_t now))
{
	struct kms_witness *witnesses = xcalloc(c->server_count + 1, sizeof(*witnesses));
	uint64_t now = clock_monotonic();
	for (size_t i = 0; i < c->server_count; i++) {
		const struct fleet_server *server = fleet_find(&c->fleet, c->servers[i].name);
		witnesses[i] = (struct kms_witness){c->servers[i].name,
						    speaking(server, now) ? controller_status(c, i) : NULL};
	}
	return witnesses;
}

/* As fleet_kms_doubt, by reports that are `speaking`. Who is silent says nothing: his plugin may name another key meanwhile. */
static char *doubt(const struct controller *c, const struct config_key *key,
		   bool (*speaking)(const struct fleet_server *server, uint64_t now), const char **ret_key_id)
{
	_cleanup_free_ struct kms_witness *witnesses = witnesses_of(c, speaking);
	return fleet_kms_doubt(witnesses, c->server_count, key->name, key->kms_endpoint, ret_key_id);
}

void controller_kms_doubt(struct controller *c)
{
	c->kms_adopted_at = c->history_ended_at = c->kms_lacked_at = 0;
}

/* That reports are not known to be fresh yet is waited for, and is no doubt: each sweep that takes longer than they stay fresh
 * would begin the proof again, for ever. What came and went meanwhile is left to the canaries and the census at the end. */
static bool only_late(const struct controller *c, const struct config_key *key)
{
	const char *key_id = NULL;
	_cleanup_free_ char *why = doubt(c, key, fleet_may_be_fresh, &key_id);
	return !why;
}

/* At any time, however long ago. */
static bool has_reported(const struct fleet_server *server, uint64_t now)
{
	(void)now;
	return server && server->last->status.beat > 0;
}

/* A plugin that gives no answer, or says that it is not well, or an agent that is silent, is waited for, where the same key ID is
 * named before and after: nothing is said to be done meanwhile. That alone would not do. The server may be answered while its
 * agent is not; by a plugin that names the key of before for a moment, as one does behind which another replica takes over, it
 * adopts that one and writes under it for as long as it remembers the answer. The last census finds what has landed of that, and the last canary that it is
 * over; but not what was sealed so and lands after them, nor what stood only in history that nobody waits for any more. So in
 * every phase the server itself is asked, which counts each answer to Status before it adopts anything by it (kms_named_others):
 * where it was told of no other key ID since its canary showed this one, by the same process, it wrote under no other, and what
 * was proved holds. Where it was, or where it does not tell, all is proved again. */
static bool only_lacking(const struct controller *c, const struct config_key *key)
{
	_cleanup_free_ struct kms_witness *witnesses = witnesses_of(c, has_reported);
	return fleet_kms_lacks(witnesses, c->server_count, key->name, key->kms_endpoint,
			       kms_key_id(c->path->steps[0], key->name));
}

static void take_doubt(struct controller *c, const struct config_key *key)
{
	if (only_late(c, key))
		return;
	if (!only_lacking(c, key)) {
		controller_kms_doubt(c);
		return;
	}
	c->kms_lacked_at = clock_monotonic();
	controller_forget_canaries(c); /* an agent without an answer finds none under its key */
}

static void ask(struct controller *c, const struct config_key *key, bool counts)
{
	const char *key_id = NULL;
	char *why = doubt(c, key, fleet_is_fresh, &key_id);
	if (!why) {
		remember(c, key->name, key_id);
		if (follows(c) && counts)
			take_key_id(c, key->name, key_id);
		if (follows(c) && counts && !c->seen.kms_why)
			c->seen.kms_why = kms_changes_why(&c->kms_changes, clock_monotonic());
		return;
	}
	if (counts && follows(c))
		take_doubt(c, key);
	if (counts && !c->seen.kms_why)
		c->seen.kms_why = steal(why);
	free(why);
}

static void ask_step(struct controller *c, size_t step)
{
	const struct config_shape *shape = c->path->steps[step];
	for (size_t r = 0; r < shape->rule_count; r++)
		for (size_t k = 0; k < shape->rules[r].key_count; k++) {
			const struct config_key *key = &shape->rules[r].keys[k];
			bool counts = follows(c) ? k == 0 : path_brings_kms(c->path, step, key);
			if (key->type == PROVIDER_KMS && key->kms_version == 2)
				ask(c, key, counts);
		}
}

void controller_kms_look(struct controller *c)
{
	const struct config_shape *shape = c->path->steps[0];
	for (size_t r = 0; follows(c) && r < shape->rule_count; r++) {
		const struct config_key *key = &shape->rules[r].keys[0];
		const char *key_id = NULL;
		if (key->type != PROVIDER_KMS || key->kms_version != 2)
			continue;
		_cleanup_free_ char *why = doubt(c, key, fleet_is_fresh, &key_id);
		if (why)
			take_doubt(c, key);
		else if (!text_equal(key_id, key->kms_key_id))
			controller_kms_doubt(c);
	}
}

/* --- what the servers say that their plugins named to them --- */

static char *named_to(const struct controller *c, const struct directed *server)
{
	return server->metrics ? kms_named_others(c->path->steps[0], server->metrics) : NULL;
}

static bool may_adopt_another(const struct controller *c, const struct directed *server)
{
	return server->metrics && kms_may_adopt_another(c->path->steps[0], server->metrics);
}

void controller_kms_before_canaries(struct controller *c)
{
	for (size_t i = 0; follows(c) && i < c->server_count; i++) {
		free(c->servers[i].named_put);
		c->servers[i].named_put = named_to(c, &c->servers[i]);
		c->servers[i].adopts_put = may_adopt_another(c, &c->servers[i]);
	}
}

static void take_adopted(struct controller *c)
{
	c->kms_adopted_at = clock_monotonic();
	c->kms_lacked_at = 0;
	for (size_t i = 0; i < c->server_count; i++) {
		free(c->servers[i].named);
		c->servers[i].named = steal(c->servers[i].named_put);
		c->servers[i].adopted = true;
	}
}

/* Since then a server has joined. It may have written under another key until its canary, just as those before it. */
static bool joined(const struct controller *c)
{
	for (size_t i = 0; i < c->server_count; i++)
		if (!c->servers[i].adopted)
			return true;
	return false;
}

/* The key ID is the one that it was, so nothing else shows why. */
static void begin_again(struct controller *c, char *why)
{
	controller_note(c, "%s", why);
	free(c->kms_again);
	c->kms_again = why;
	controller_kms_doubt(c);
}

/* Of a server that was not scraped nothing goes on in this turn. */
static void compare(struct controller *c)
{
	bool all_tell = true, looked = true;
	for (size_t i = 0; c->kms_adopted_at && i < c->server_count; i++) {
		const struct directed *server = &c->servers[i];
		_cleanup_free_ char *now = named_to(c, server);
		bool told = server->named && now;
		if (may_adopt_another(c, server) || (told && !text_equal(server->named, now))) {
			begin_again(c, xasprintf("%s: " KMS_NAMED_ANOTHER, server->name));
			return;
		}
		looked = looked && server->metrics && server->scraped_at > c->kms_lacked_at;
		all_tell = all_tell && told;
	}
	if (c->kms_lacked_at == 0 || c->seen.kms_why)
		return;
	if (!looked)
		c->seen.kms_why =
			xstrdup("what plugins named to their API servers while one of them lacked an answer is "
				"not looked at yet");
	else if (all_tell)
		c->kms_lacked_at = 0;
	else
		controller_kms_doubt(c);
}

static void take_history(struct controller *c)
{
	if (!follows(c) || kms_take_history(c->path->steps[0], &c->seen, clock_monotonic(), &c->history_ended_at))
		return;
	begin_again(c, xstrdup(KMS_CAME_AND_WENT));
}

/* What another leader, or this one before the key moved, said of the old key is said again. */
static bool is_retired(const struct controller *c)
{
	return c->rotation->status.retired && c->kms_retired_at && c->kms_retired_at == c->kms_adopted_at;
}

bool controller_kms_outdates(const struct controller *c, uint64_t told_at)
{
	bool proves = follows(c) && (told_at <= c->canaries_put_at || is_retired(c));
	return told_at <= c->kms_lacked_at || proves;
}

void controller_kms_observe(struct controller *c)
{
	ask_step(c, 0);
	if (c->path->count > 1)
		ask_step(c, c->path->count - 1);
	count_values(c);
	if (follows(c))
		compare(c);
	take_history(c);
	c->seen.kms_moved = follows(c) && moved(c);
	c->seen.kms_adopted_at = c->kms_adopted_at;
	c->seen.history_ended_at = c->history_ended_at;
	if (follows(c))
		c->seen.retired = is_retired(c);
}

int controller_kms_keep(struct controller *c, struct error **err)
{
	int rc = c->kms_news ? controller_apply(c, err) : 0;
	c->kms_news = c->kms_news && rc < 0;
	return rc;
}

/* --- canaries --- */

/* Of a step that the canary was found under: the plugin that wrote it, where the rotation brings or follows that; else NULL. */
static const struct config_key *plugin_of(const struct controller *c, const struct key_server_canary *canary)
{
	size_t step = (size_t)canary->step;
	const struct config_rule *rule = config_shape_rule(c->path->steps[step], canary->resource);
	const struct config_key *key = rule ? &rule->keys[0] : NULL;
	if (!key || key->type != PROVIDER_KMS || key->kms_version != 2)
		return NULL;
	return follows(c) || path_brings_kms(c->path, step, key) ? key : NULL;
}

static bool is_found(const struct controller *c, const struct key_server_canary *canary)
{
	return canary->step != STEP_NONE && (size_t)canary->step < c->path->count && canary->resource && canary->name;
}

/* Whether the plugins say what they do is seen here: one that names the others' key and encrypts with another is found before
 * anything is rewritten and before any key leaves. */
bool controller_kms_shows(const struct controller *c, const struct key_server_canary *canary)
{
	const char *key_id = NULL;
	const struct config_key *key = is_found(c, canary) ? plugin_of(c, canary) : NULL;
	if (!key)
		return is_found(c, canary);
	_cleanup_free_ char *why = doubt(c, key, fleet_is_fresh, &key_id);
	return !why && text_equal(key_id, canary->key_id);
}

/* By its last canary, and by what it had been told just before that. */
static bool has_adopted(const struct directed *server)
{
	return server->canary_step == 0 && !server->adopts_put;
}

/* Of a server that has not adopted the key yet: it looks at once, where its memory is old enough. */
static void hurry(struct controller *c)
{
	if (!kms_hurry_is_due(&c->kms_hurried, clock_monotonic()))
		return;
	for (size_t i = 0; i < c->server_count; i++)
		if (c->servers[i].kube && !has_adopted(&c->servers[i]))
			kms_hurry(c->servers[i].kube);
}

void controller_kms_take_canaries(struct controller *c)
{
	const struct directed *other = NULL; /* the first one that has not */
	if (!follows(c) || c->server_count == 0)
		return;
	for (size_t i = 0; !other && i < c->server_count; i++)
		other = has_adopted(&c->servers[i]) ? NULL : &c->servers[i];
	if (other) {
		controller_kms_doubt(c);
		hurry(c);
	} else if (c->kms_adopted_at == 0 || joined(c)) {
		take_adopted(c);
	}
	_cleanup_free_ char *why = other ? xasprintf("%s %s", other->name,
						     other->canary_step == 0 ? KMS_MAY_ADOPT_ANOTHER : KMS_NOT_ADOPTED)
					 : NULL;
	controller_trouble(c, why);
}

/* --- the end --- */

/* The key IDs that the plugins name, those included that only read: their servers do not become ready without. New string: why one
 * of them is not known; NULL. */
static char *take_named(const struct controller *c, struct strings *ret)
{
	const struct config_shape *shape = c->path->steps[c->path->count - 1];
	for (size_t r = 0; r < shape->rule_count; r++)
		for (size_t k = 0; k < shape->rules[r].key_count; k++) {
			const struct config_key *key = &shape->rules[r].keys[k];
			const char *key_id = NULL;
			if (key->type != PROVIDER_KMS || key->kms_version != 2)
				continue;
			char *why = doubt(c, key, fleet_is_fresh, &key_id);
			if (why)
				return why;
			strings_add(ret, key_id);
		}
	return NULL;
}

static bool is_left(const struct controller *c, const struct strings *named, const struct rotation_key_id *key)
{
	const struct config_shape *last = c->path->steps[c->path->count - 1];
	if (key->objects > 0)
		return false;
	return follows(c) ? kms_writes(last, key->name) && !strings_has(named, key->key_id)
			  : !has_provider(last, key->name);
}

/* By the plugins of all nodes, of providers that stay in the configuration, if only to read. */
static struct kms_named named_by(const struct controller *c, const char *key_id)
{
	const struct config_shape *last = c->path->steps[c->path->count - 1];
	struct kms_named named = {0};
	for (size_t i = 0; i < c->server_count; i++) {
		const struct key_server_status *status = controller_status(c, i);
		for (size_t k = 0; status && k < status->kms_count; k++)
			if (text_equal(status->kms[k].healthz, "ok") && status->kms[k].key_id &&
			    has_provider(last, status->kms[k].name))
				kms_named_take(&named, key_id, status->kms[k].name, status->kms[k].key_id);
	}
	return named;
}

/* Values under KMS v1; and, where providers are counted and not key IDs, what is under those of somebody else. */
static bool names_no_key(const struct controller *c, const struct census_group *group)
{
	if (group->type != PROVIDER_KMS)
		return false;
	return group->kms_version == 1 || (!group->key_id && !has_provider(c->path->steps[0], group->name) &&
					   !has_provider(c->path->steps[c->path->count - 1], group->name));
}

void controller_kms_tell_left(struct controller *c)
{
	struct key_rotation_status *status = &c->rotation->status;
	const struct census_observation *census = &c->census.seen;
	_cleanup_strings_ new_keys = {0}, named = {0};
	_cleanup_free_ char *untold = status->key_id_count > 0 ? take_named(c, &named) : NULL;
	char now[28];
	clock_format(clock_wall(), 0, now);
	struct rotation_report report = {.started = status->started_at,
					 .finished = now,
					 .key_ids = status->key_ids,
					 .key_id_count = status->key_id_count,
					 .revision = census->revision};
	for (size_t g = 0; g < census->group_count; g++)
		if (names_no_key(c, &census->groups[g]))
			report.without_key_id += census->groups[g].values;
	for (size_t i = 0; i < status->new_key_count; i++) {
		_cleanup_free_ char *label = xasprintf("%s/%s", status->new_keys[i].provider, status->new_keys[i].name);
		strings_add(&new_keys, label);
	}
	if (untold) {
		_cleanup_free_ char *line = xasprintf(KMS_LEFT_UNKNOWN "%s", untold);
		strings_add(&status->remains, line);
		return;
	}
	for (size_t i = 0; census->complete && i < status->key_id_count; i++) {
		const struct kms_named by = named_by(c, status->key_ids[i].key_id);
		_cleanup_free_ char *line =
			is_left(c, &named, &status->key_ids[i])
				? rotation_kms_left_text(&report, &new_keys, &status->key_ids[i], &by)
				: NULL;
		if (line)
			strings_add(&status->remains, line);
	}
}
