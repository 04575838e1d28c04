/* Where the rotation goes: once all servers run the same configuration, one agent makes the new keys and seals them, and
 * the path follows from both. */
#include "engine/controller_internal.h"

#include <string.h>

#include "base/clock.h"
#include "engine/intent.h"

/* All agents have reported, of one configuration that is loaded, and with one trust key; else who stands in the way. */
static char *not_ready(const struct controller *c)
{
	const struct key_server_status *first = NULL;
	for (size_t i = 0; i < c->server_count; i++) {
		const char *name = c->servers[i].name;
		const struct server_observation *seen = &c->seen.servers[i];
		const struct key_server_status *status = controller_status(c, i);
		if (!seen->answering)
			return xasprintf("%s: %s", name, seen->why ? seen->why : "it does not answer");
		/* What only a write or a restart of ours will prove is asked for by the path's first step. */
		bool proved_later = seen->loaded == FACT_UNKNOWN && (seen->needs_second_nonce || seen->restarts);
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

static int find_target(const struct controller *c, struct config_shape **ret, struct strings *ret_new,
		       struct error **err)
{
	const struct key_rotation_spec *spec = &c->rotation->spec;
	bool same = text_equal(spec->provider, "same");
	_cleanup_keys_ unused = {0}; /* an agent makes the real ones: of these only their kinds and places count */
	const struct intent intent = {same ? NULL : spec->provider, &spec->drop_keys, spec->drop_identity,
				      clock_wall()};
	return intent_target(controller_status(c, 0)->configuration, &intent, &unused, ret, ret_new, err);
}

static const struct object_sealed_key *made_key(const struct controller *c, enum provider_type type)
{
	const struct key_rotation_status *status = &c->rotation->status;
	for (size_t i = 0; i < status->sealed_key_count; i++)
		if (text_equal(status->sealed_keys[i].provider, provider_name(type)))
			return &status->sealed_keys[i];
	return NULL;
}

/* The keys that were made take the places of the unused ones. */
static bool put_made_keys(const struct controller *c, const struct strings *labels, struct config_shape *to)
{
	for (size_t r = 0; r < to->rule_count; r++)
		for (size_t k = 0; k < to->rules[r].key_count; k++) {
			struct config_key *key = &to->rules[r].keys[k];
			_cleanup_free_ char *label = config_key_label(key);
			if (!strings_has(labels, label))
				continue;
			const struct object_sealed_key *made = made_key(c, key->type);
			if (!made || strlen(made->fingerprint) >= sizeof(key->fingerprint))
				return false;
			free(key->name);
			key->name = xstrdup(made->name);
			memcpy(key->fingerprint, made->fingerprint, strlen(made->fingerprint) + 1);
		}
	return true;
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

static int set_path(struct controller *c, const struct config_shape *to, struct error **err)
{
	struct key_rotation_status *status = &c->rotation->status;
	const struct config_shape *from = controller_status(c, 0)->configuration;
	_cleanup_(path_freep) struct path *path = NULL;
	int rc = path_make(from, to, &path, err);
	if (rc < 0)
		return rc;
	/* Followed once it is written there: agents go by nothing else. */
	status->steps = steal(path->steps);
	status->step_count = path->count;
	path->count = 0;
	add_keys(from, to, &status->old_keys, &status->old_key_count);
	add_keys(to, from, &status->new_keys, &status->new_key_count);
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

static int order_keys(struct controller *c, const struct strings *labels, struct error **err)
{
	_cleanup_free_ char *action = xstrdup(order_action_name(ORDER_MAKE_KEY));
	struct key_server_spec spec = {
		.action = action, .epoch = c->fence.epoch, .step = STEP_NONE, .from_step = STEP_NONE};
	const struct key_server_spec *sent = &c->servers[0].sent;
	if (controller_awaits(c, 0, ORDER_MAKE_KEY, c->fence.epoch, sent->sequence))
		return 0; /* it is at it */
	if (sent->epoch == c->fence.epoch && text_equal(sent->action, action) &&
	    controller_outcome(c, 0, ORDER_MAKE_KEY, sent->epoch, sent->sequence) == OUTCOME_OK)
		return take_made_keys(c, controller_status(c, 0), err);
	for (size_t i = 0; i < labels->count; i++) {
		_cleanup_free_ char *provider =
			xstrndup(labels->items[i], (size_t)(strchr(labels->items[i], '/') - labels->items[i]));
		if (!strings_has(&spec.providers, provider))
			strings_add(&spec.providers, provider);
	}
	spec.sequence = ++c->fence.sequence;
	int rc = controller_send(c, 0, &spec, err);
	strings_free(&spec.providers);
	return rc;
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

int controller_find_path(struct controller *c, struct error **err)
{
	_cleanup_(config_shape_freep) struct config_shape *to = NULL;
	_cleanup_strings_ labels = {0};
	if (c->path)
		return 0;
	const struct key_rotation_status *status = &c->rotation->status;
	if (status->step_count > 0) {
		c->path = path_of_steps(status->steps, status->step_count);
		return 0;
	}
	_cleanup_free_ char *why = not_ready(c);
	controller_trouble(c, why);
	if (why)
		return 0;
	if (c->fence.epoch == 0)
		return claim_epoch(c, err);
	int rc = find_target(c, &to, &labels, err);
	if (rc < 0)
		return rc;
	if (!put_made_keys(c, &labels, to))
		return order_keys(c, &labels, err);
	return set_path(c, to, err);
}
