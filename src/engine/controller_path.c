/* Where the rotation goes: once all servers run the same configuration, one agent makes the new keys and seals them, and
 * the path follows from both. */
#include "engine/controller_internal.h"

#include <string.h>

#include "base/clock.h"
#include "engine/asked.h"
#include "engine/intent.h"

#define KEYS_INTERVAL (10 * NS_PER_S) /* before what failed is ordered again */

/* All agents have reported, of one configuration that is loaded, and with one trust key; else who stands in the way. */
static char *not_ready(const struct controller *c)
{
	const struct key_server_status *first = NULL;
	for (size_t i = 0; i < c->server_count; i++) {
		const char *name = c->servers[i].name;
		const struct server_observation *seen = &c->seen.servers[i];
		const struct key_server_status *status = controller_status(c, i);
		if (!seen->answering && c->servers[i].scraped) /* its agent is what is missing */
			return xasprintf("%s: %s", name, seen->why ? seen->why : "it does not answer its agent");
		if (!seen->answering)
			return xasprintf(
				"%s: %s; bring it back, or forget it if it is gone for good (kubectl rekey forget %s "
				"--yes)",
				name, seen->why ? seen->why : "it does not answer", name);
		/* What only a write of ours will prove is asked for by the path's first step. */
		bool proved_later = seen->loaded == FACT_UNKNOWN && seen->needs_second_nonce;
		bool loaded = seen->loaded == FACT_KNOWN && seen->loaded_is_file;
		if (!status->configuration || (!loaded && !proved_later))
			return xasprintf("%s has not loaded its file: %s", name, seen->why ? seen->why : "not known");
		if (!first)
			first = status;
		if (!config_shape_equal(first->configuration, status->configuration))
			return xasprintf("%s has another configuration than %s", name, c->servers[0].name);
		if (!text_equal(first->trust_key, status->trust_key))
			return xasprintf("%s has another trust key than %s: sealed keys would not open there", name,
					 c->servers[0].name);
	}
	return c->seen.servers_known == FACT_KNOWN ? NULL : xstrdup(c->set_why ? c->set_why : "no API server is known");
}

static void add_keys(const struct config_shape *of, const struct config_shape *other, struct object_key **ret,
		     size_t *ret_count)
{
	_cleanup_strings_ labels = {0};
	intent_old_keys(of, other, &labels);
	for (size_t r = 0; r < of->rule_count; r++)
		for (size_t k = 0; k < of->rules[r].key_count; k++) {
			const struct config_key *key = &of->rules[r].keys[k];
			_cleanup_free_ char *label = config_key_label(key);
			bool known = false;
			for (size_t i = 0; i < *ret_count; i++)
				known = known || (text_equal((*ret)[i].name, key->name) &&
						  text_equal((*ret)[i].provider, provider_name(key->type)));
			if (known || !strings_has(&labels, label))
				continue;
			*ret = xreallocarray(*ret, *ret_count + 1, sizeof(**ret));
			(*ret)[(*ret_count)++] = (struct object_key){
				.provider = xstrdup(provider_name(key->type)),
				.name = xstrdup(key->name),
				.fingerprint = key->fingerprint[0] ? xstrdup(key->fingerprint) : NULL,
				.kms_version = key->kms_version};
		}
}

/* Takes the steps out of the path. */
static int set_path(struct controller *c, struct path *path, struct error **err)
{
	struct key_rotation_status *status = &c->rotation->status;
	const struct config_shape *from = path->steps[0], *to = path->steps[path->count - 1];
	/* Followed once it is written there: agents go by nothing else. */
	add_keys(from, to, &status->old_keys, &status->old_key_count);
	add_keys(to, from, &status->new_keys, &status->new_key_count);
	status->steps = steal(path->steps);
	status->step_count = path->count;
	path->count = 0;
	controller_trouble(c, NULL);
	return controller_apply(c, err);
}

/* What the agent reports goes into the rotation, where the others find it. */
static int take_made_keys(struct controller *c, const struct key_server_status *made, struct error **err)
{
	struct key_rotation_status *status = &c->rotation->status;
	for (size_t i = 0; i < made->sealed_key_count; i++) {
		const struct object_sealed_key *key = &made->sealed_keys[i];
		if (key->epoch != c->fence.epoch)
			continue;
		status->sealed_keys =
			xreallocarray(status->sealed_keys, status->sealed_key_count + 1, sizeof(*status->sealed_keys));
		status->sealed_keys[status->sealed_key_count++] =
			(struct object_sealed_key){xstrdup(key->provider), xstrdup(key->name),
						   xstrdup(key->fingerprint), xstrdup(key->text), key->epoch};
	}
	return controller_apply(c, err);
}

static int order_keys(struct controller *c, struct error **err)
{
	_cleanup_free_ char *action = xstrdup(order_action_name(ORDER_MAKE_KEY));
	struct key_server_spec spec = {
		.action = action, .epoch = c->fence.epoch, .step = STEP_NONE, .from_step = STEP_NONE};
	const struct key_server_spec *sent = &c->servers[0].sent;
	bool was_sent = sent->epoch == c->fence.epoch && text_equal(sent->action, action);
	enum outcome outcome = controller_outcome(c, 0, ORDER_MAKE_KEY, sent->epoch, sent->sequence);
	if (was_sent && outcome == OUTCOME_OPEN)
		return 0; /* it is at it */
	if (was_sent && outcome == OUTCOME_OK)
		return take_made_keys(c, controller_status(c, 0), err);
	bool failed = was_sent && (outcome == OUTCOME_FAILED || outcome == OUTCOME_REFUSED);
	if (failed)
		controller_tell_results(c);
	else
		controller_trouble(c, NULL);
	if (failed && clock_monotonic() < c->keys_asked_at + KEYS_INTERVAL)
		return 0;
	spec.sequence = ++c->fence.sequence;
	c->keys_asked_at = clock_monotonic();
	return controller_send(c, 0, &spec, err);
}

static int claim_epoch(struct controller *c, struct error **err)
{
	_cleanup_free_ struct agent_report *reports = controller_reports(c);
	uint64_t epoch = epoch_next(reports, c->server_count, c->rotation->status.epoch);
	c->rotation->status.epoch = epoch;
	int rc = controller_apply(c, err);
	if (rc == 0)
		c->fence = (struct fence){.rotation = c->fence_rotation, .epoch = epoch, .to_step = STEP_NONE};
	return rc;
}

static bool was_begun(const struct controller *c)
{
	bool begun = false;
	for (size_t i = 0; i < c->seen.server_count; i++) {
		const struct server_observation *seen = &c->seen.servers[i];
		begun = begun || seen->written_step > 0 || seen->file_step > 0 || seen->loaded_step > 0;
	}
	return begun;
}

static bool is_made_anew(const struct controller *c, const struct census_group *group)
{
	const struct key_rotation_status *status = &c->rotation->status;
	bool local = group->type != PROVIDER_KMS && group->type != PROVIDER_IDENTITY;
	for (size_t i = 0; local && i < status->new_key_count; i++)
		if (text_equal(status->new_keys[i].provider, provider_name(group->type)) &&
		    text_equal(status->new_keys[i].name, group->name))
			return true;
	return false;
}

char *controller_lost_key(const struct controller *c)
{
	if (key_rotation_goes_back(c->rotation) || was_begun(c))
		return NULL;
	for (size_t i = 0; i < c->seen.census.group_count; i++) {
		const struct census_group *group = &c->seen.census.groups[i];
		if (group->values > 0 && !group->unknown && !group->foreign && is_made_anew(c, group))
			return xasprintf(
				"%llu values are under %s/%s already, and the key of that name that was made for "
				"this rotation has other bytes: give it up (kubectl rekey abort %s), put the lost "
				"key into each server's file by hand, to read with, and ask again",
				(unsigned long long)group->values, provider_name(group->type), group->name,
				c->rotation->meta.name);
	}
	return NULL;
}

/* Told, and nothing is begun until a person asks for something else. What a server or the network said is no refusal of
 * ours, so this takes over errors of what was worked out here alone. */
static int refuse(struct controller *c, struct error **err)
{
	_cleanup_free_ char *why = error_with_hint(*err), *text = xasprintf("refused: %s", why);
	c->refused = true;
	controller_trouble(c, text);
	error_clear(err);
	return 0;
}

/* One small step towards a path, or onto it. */
static int go_on(struct controller *c, struct error **err)
{
	_cleanup_(config_shape_freep) struct config_shape *to = NULL;
	_cleanup_(path_freep) struct path *path = NULL;
	_cleanup_strings_ labels = {0};
	const struct config_shape *from = controller_status(c, 0)->configuration;
	const struct key_rotation_spec *spec = &c->rotation->spec;
	const struct key_rotation_status *status = &c->rotation->status;
	int rc = asked_target(spec, key_rotation_created(c->rotation), from, &to, &labels, err);
	if (rc == 0)
		rc = asked_path(from, to, &path, err); /* as far as there is one without them, before keys are made */
	if (rc < 0)
		return refuse(c, err);
	if (c->fence.epoch == 0)
		return claim_epoch(c, err);
	if (!asked_put_made(spec, status->sealed_keys, status->sealed_key_count, &labels, to))
		return order_keys(c, err);
	path_free(steal(path));
	rc = asked_path(from, to, &path, err);
	return rc < 0 ? refuse(c, err) : set_path(c, path, err);
}

int controller_find_path(struct controller *c, struct error **err)
{
	const struct key_rotation_status *status = &c->rotation->status;
	if (c->path)
		return 0;
	if (status->step_count > 0) {
		int rc = key_rotation_path(c->rotation, &c->path, err);
		if (rc == 0)
			controller_kms_take_path(c);
		return rc;
	}
	c->refused = false;
	if (asked_check(&c->rotation->spec, err) < 0)
		return refuse(c, err);
	_cleanup_free_ char *why = not_ready(c);
	if (!why)
		return go_on(c, err);
	controller_trouble(c, why);
	return 0;
}
