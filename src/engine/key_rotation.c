#include "engine/key_rotation.h"

#include "base/clock.h"
#include "base/error.h"
#include "kube-rekey/next_action.h"

#define KIND "KeyRotation"

/* --- spec ------------------------------------------------------------------------------------------------------- */

static const struct object_field rule_fields[] = {
	OBJECT_TEXTS(struct key_rotation_rule, resources, "resources", 64, KEY_NAME_MAX),
	OBJECT_LIST(struct key_rotation_rule, keys, key_count, "keys", 16, &object_key_record),
};
static const struct object_record rule_record = {rule_fields, ELEMENTS(rule_fields), sizeof(struct key_rotation_rule)};

#define SPEC struct key_rotation_spec
static const struct object_field to_fields[] = {
	OBJECT_LIST(SPEC, to_rules, to_rule_count, "rules", 32, &rule_record),
};
static const struct object_record to_record = {to_fields, ELEMENTS(to_fields), 0};

static const struct object_field kms_fields[] = {
	OBJECT_TEXT(SPEC, kms.name, "name", KEY_NAME_MAX),
	OBJECT_TEXT(SPEC, kms.endpoint, "endpoint", 512),
	OBJECT_NUMBER(SPEC, kms.timeout, "timeoutNs", OBJECT_NUMBER_MAX, 0),
};
static const struct object_record kms_record = {kms_fields, ELEMENTS(kms_fields), 0};

static const struct object_field spec_fields[] = {
	OBJECT_TEXT(SPEC, provider, "provider", 16),
	OBJECT_WITHIN("kms", &kms_record),
	OBJECT_WITHIN("to", &to_record),
	OBJECT_BOOL(SPEC, renew_dek, "renewDek"),
	OBJECT_BOOL(SPEC, follow_kms, "followKMS"),
	OBJECT_TEXTS(SPEC, drop_keys, "dropKeys", 16, KEY_NAME_MAX),
	OBJECT_BOOL(SPEC, drop_identity, "dropIdentity"),
	OBJECT_CHOICE(SPEC, old_key, "oldKey", 16, "keep"),
	OBJECT_TEXT(SPEC, old_key_cert, "oldKeyCert", 16384),
	OBJECT_CHOICE(SPEC, mode, "mode", 16, "replace"),
	OBJECT_BOOL(SPEC, compact, "compact"),
	OBJECT_BOOL(SPEC, allow_aesgcm, "allowAesgcm"),
	OBJECT_TEXTS(SPEC, foreign_prefixes, "foreignPrefixes", 16, 512),
	OBJECT_NUMBER(SPEC, settle_seconds, "settleSeconds", 86400, 0),
	OBJECT_NUMBER(SPEC, deadline_seconds, "deadlineSeconds", 31536000, 0),
	OBJECT_NUMBER(SPEC, servers, "servers", KEY_SERVERS_MAX, 0),
	OBJECT_NUMBER(SPEC, qps, "qps", 1000000, KEY_ROTATION_QPS),
	OBJECT_NUMBER(SPEC, concurrency, "concurrency", 64, KEY_ROTATION_CONCURRENCY),
	OBJECT_BOOL(SPEC, paused, "paused"),
	OBJECT_BOOL(SPEC, aborted, "aborted"),
	OBJECT_BOOL(SPEC, promote_old_key, "promoteOldKey"),
};
#undef SPEC
const struct object_record key_rotation_spec_record = {spec_fields, ELEMENTS(spec_fields),
						       sizeof(struct key_rotation_spec)};

/* --- status ----------------------------------------------------------------------------------------------------- */

static const struct object_field server_fields[] = {
	OBJECT_NAME(struct key_rotation_server, name, "name", KEY_NAME_MAX),
	OBJECT_TEXT(struct key_rotation_server, identity, "identity", KEY_NAME_MAX),
	OBJECT_TEXT(struct key_rotation_server, loaded, "loaded", KEY_HASH_MAX),
	OBJECT_BOOL(struct key_rotation_server, forgotten, "forgotten"),
	OBJECT_WORDS(struct key_rotation_server, forgotten_by, "forgottenBy", 253),
	OBJECT_TEXT(struct key_rotation_server, forgotten_at, "forgottenAt", 64),
};
const struct object_record key_rotation_server_record = {server_fields, ELEMENTS(server_fields),
							 sizeof(struct key_rotation_server)};

static const struct object_field condition_fields[] = {
	OBJECT_TEXT(struct key_rotation_condition, type, "type", 64),
	OBJECT_TEXT(struct key_rotation_condition, status, "status", 16),
	OBJECT_TEXT(struct key_rotation_condition, reason, "reason", 128),
	OBJECT_WORDS(struct key_rotation_condition, message, "message", KEY_WORDS_MAX),
	OBJECT_TEXT(struct key_rotation_condition, last_transition_time, "lastTransitionTime", 64),
	OBJECT_NUMBER(struct key_rotation_condition, observed_generation, "observedGeneration", OBJECT_NUMBER_MAX, 0),
};
static const struct object_record condition_record = {condition_fields, ELEMENTS(condition_fields),
						      sizeof(struct key_rotation_condition)};

static const struct object_field quarantined_fields[] = {
	OBJECT_TEXT(struct key_rotation_quarantined, resource, "resource", KEY_NAME_MAX),
	OBJECT_TEXT(struct key_rotation_quarantined, namespace_, "namespace", KEY_NAME_MAX),
	OBJECT_TEXT(struct key_rotation_quarantined, name, "name", KEY_NAME_MAX),
	OBJECT_WORDS(struct key_rotation_quarantined, why, "why", KEY_WORDS_MAX),
};
const struct object_record key_rotation_quarantined_record = {quarantined_fields, ELEMENTS(quarantined_fields),
							      sizeof(struct key_rotation_quarantined)};

static const struct object_field key_id_fields[] = {
	OBJECT_TEXT(struct rotation_key_id, name, "name", KEY_NAME_MAX),
	OBJECT_TEXT(struct rotation_key_id, key_id, "keyID", 1024),
	OBJECT_NUMBER(struct rotation_key_id, objects, "values", OBJECT_NUMBER_MAX, 0),
};
static const struct object_record key_id_record = {key_id_fields, ELEMENTS(key_id_fields),
						   sizeof(struct rotation_key_id)};

static const struct object_field value_fields[] = {
	OBJECT_TEXT(struct key_rotation_value, resource, "resource", KEY_NAME_MAX),
	OBJECT_TEXT(struct key_rotation_value, provider, "provider", 16),
	OBJECT_NUMBER(struct key_rotation_value, kms_version, "kmsVersion", 2, 0),
	OBJECT_TEXT(struct key_rotation_value, name, "name", KEY_NAME_MAX),
	OBJECT_TEXT(struct key_rotation_value, key_id, "keyID", 1024),
	OBJECT_TEXT(struct key_rotation_value, class, "class", 16),
	OBJECT_NUMBER(struct key_rotation_value, values, "values", OBJECT_NUMBER_MAX, 0),
};
static const struct object_record value_record = {value_fields, ELEMENTS(value_fields),
						  sizeof(struct key_rotation_value)};

static const struct object_field values_fields[] = {
	OBJECT_TEXT(struct key_rotation_values, at, "at", 64),
	OBJECT_NUMBER(struct key_rotation_values, revision, "revision", OBJECT_NUMBER_MAX, 0),
	OBJECT_LIST(struct key_rotation_values, items, count, "groups", KEY_ROTATION_VALUES_MAX, &value_record),
};
const struct object_record key_rotation_values_record = {values_fields, ELEMENTS(values_fields), 0};

#define STATUS struct key_rotation_status
static const struct object_field keys_fields[] = {
	OBJECT_LIST(STATUS, old_keys, old_key_count, "old", 32, &object_key_record),
	OBJECT_LIST(STATUS, new_keys, new_key_count, "new", 32, &object_key_record),
};
static const struct object_record keys_record = {keys_fields, ELEMENTS(keys_fields), 0};

static const struct object_field progress_fields[] = {
	OBJECT_NUMBER(STATUS, progress.total, "total", OBJECT_NUMBER_MAX, 0),
	OBJECT_NUMBER(STATUS, progress.done, "done", OBJECT_NUMBER_MAX, 0),
	OBJECT_NUMBER(STATUS, progress.per_second, "perSecond", OBJECT_NUMBER_MAX, 0),
	OBJECT_NUMBER(STATUS, progress.eta_seconds, "etaSeconds", OBJECT_NUMBER_MAX, 0),
	OBJECT_TEXT(STATUS, progress.namespace_, "namespace", KEY_NAME_MAX),
};
static const struct object_record progress_record = {progress_fields, ELEMENTS(progress_fields), 0};

static const struct object_field quarantine_fields[] = {
	OBJECT_NUMBER(STATUS, quarantined.count, "count", OBJECT_NUMBER_MAX, 0),
	OBJECT_LIST(STATUS, quarantined.items, quarantined.item_count, "items", KEY_ROTATION_QUARANTINE_MAX,
		    &key_rotation_quarantined_record),
};
static const struct object_record quarantine_record = {quarantine_fields, ELEMENTS(quarantine_fields), 0};

static const struct object_field status_fields[] = {
	OBJECT_TEXT(STATUS, phase, "phase", 32),
	OBJECT_STEP(STATUS, step, "step"),
	OBJECT_SHAPES(STATUS, steps, step_count, "steps", OBJECT_STEPS_MAX),
	OBJECT_STEP(STATUS, back_from, "backFrom"),
	OBJECT_NUMBER(STATUS, epoch, "epoch", OBJECT_NUMBER_MAX, 0),
	OBJECT_NUMBER(STATUS, rescues, "rescues", OBJECT_NUMBER_MAX, 0),
	OBJECT_NUMBER(STATUS, observed_generation, "observedGeneration", OBJECT_NUMBER_MAX, 0),
	OBJECT_TEXT(STATUS, started_at, "startedAt", 64),
	OBJECT_TEXT(STATUS, completed_at, "completedAt", 64),
	OBJECT_TEXT(STATUS, outcome, "outcome", 32),
	OBJECT_BOOL(STATUS, retired, "retired"),
	OBJECT_LIST(STATUS, conditions, condition_count, "conditions", 8, &condition_record),
	OBJECT_WITHIN("keys", &keys_record),
	OBJECT_LIST(STATUS, servers, server_count, "servers", KEY_SERVERS_MAX, &key_rotation_server_record),
	OBJECT_LIST(STATUS, key_ids, key_id_count, "keyIDs", ROTATION_KEY_IDS_MAX, &key_id_record),
	OBJECT_LIST(STATUS, sealed_keys, sealed_key_count, "sealedKeys", 16, &object_sealed_key_record),
	OBJECT_WITHIN("progress", &progress_record),
	OBJECT_WITHIN("quarantined", &quarantine_record),
	{.name = "before", .kind = FIELD_RECORD, .at = offsetof(STATUS, before), .record = &key_rotation_values_record},
	{.name = "after", .kind = FIELD_RECORD, .at = offsetof(STATUS, after), .record = &key_rotation_values_record},
	OBJECT_SENTENCES(STATUS, evidence, "evidence", KEY_ROTATION_EVIDENCE_MAX, KEY_WORDS_MAX),
	OBJECT_SENTENCES(STATUS, remains, "remains", KEY_ROTATION_REMAINS_MAX, KEY_WORDS_MAX),
};
#undef STATUS
const struct object_record key_rotation_status_record = {status_fields, ELEMENTS(status_fields),
							 sizeof(struct key_rotation_status)};

/* --- the object ------------------------------------------------------------------------------------------------- */

void key_rotation_free(struct key_rotation *rotation)
{
	if (!rotation)
		return;
	object_meta_release(&rotation->meta);
	object_release(&key_rotation_spec_record, &rotation->spec);
	object_release(&key_rotation_status_record, &rotation->status);
	free(rotation);
}

void key_rotation_freep(struct key_rotation **rotation)
{
	key_rotation_free(*rotation);
}

int key_rotation_parse(const cJSON *json, struct key_rotation **ret, struct error **err)
{
	_cleanup_(key_rotation_freep) struct key_rotation *rotation = xcalloc(1, sizeof(*rotation));
	int rc = object_read_whole(json, KIND, &rotation->meta, &key_rotation_spec_record, &rotation->spec,
				   &key_rotation_status_record, &rotation->status, err);
	if (rc < 0)
		return rc;
	*ret = steal(rotation);
	return 0;
}

struct key_rotation *key_rotation_new(const char *name)
{
	struct key_rotation *rotation = xcalloc(1, sizeof(*rotation));
	rotation->meta.name = xstrdup(name);
	object_defaults(&key_rotation_spec_record, &rotation->spec);
	object_defaults(&key_rotation_status_record, &rotation->status);
	return rotation;
}

int key_rotation_spec_body(const struct key_rotation *rotation, char **ret, struct error **err)
{
	return object_body(KIND, &rotation->meta, "spec", &key_rotation_spec_record, &rotation->spec, ret, err);
}

int key_rotation_status_body(const struct key_rotation *rotation, char **ret, struct error **err)
{
	return object_body(KIND, &rotation->meta, "status", &key_rotation_status_record, &rotation->status, ret, err);
}

const char *census_group_class(const struct census_group *group)
{
	return group->unknown ? "unknown" : group->foreign ? "foreign" : group->expected ? "expected" : "known";
}

static struct key_rotation_value value_of(const struct census_group *group)
{
	return (struct key_rotation_value){.resource = group->resource ? xstrdup(group->resource) : NULL,
					   .provider = xstrdup(provider_name(group->type)),
					   .name = text_empty(group->name) ? NULL : xstrdup(group->name),
					   .key_id = text_empty(group->key_id) ? NULL : xstrdup(group->key_id),
					   .class = xstrdup(census_group_class(group)),
					   .kms_version = group->kms_version,
					   .values = group->values};
}

void key_rotation_take_values(struct key_rotation_values *ret, const struct census_observation *census, uint64_t wall)
{
	char at[28];
	clock_format(wall, 0, at);
	object_release(&key_rotation_values_record, ret);
	*ret = (struct key_rotation_values){.at = xstrdup(at),
					    .revision = census->revision,
					    .items = xcalloc(census->group_count + 1, sizeof(*ret->items))};
	for (size_t i = 0; i < census->group_count && i < KEY_ROTATION_VALUES_MAX; i++)
		ret->items[ret->count++] = value_of(&census->groups[i]);
}

const char *key_rotation_not_carried_out(const struct key_rotation_spec *spec)
{
	if (text_equal(spec->mode, "force"))
		return "this version has no spec.mode force: it is for managed clusters, whose key ID never changes";
	return NULL;
}

uint64_t key_rotation_created(const struct key_rotation *rotation)
{
	uint64_t wall = 0;
	return rotation->meta.created && clock_parse(rotation->meta.created, &wall) == 0 ? wall : 0;
}

bool key_rotation_goes_back(const struct key_rotation *rotation)
{
	return rotation->status.back_from != STEP_NONE;
}

unsigned key_rotation_rescues(const struct key_rotation_status *status)
{
	uint64_t share = 0;
	for (size_t i = 0; i < status->server_count; i++)
		share += status->servers[i].forgotten ? RESCUES_MAX : 0;
	return status->rescues > share ? (unsigned)(status->rescues - share) : 0;
}

size_t key_rotation_steps(const struct key_rotation_status *status)
{
	return status->back_from == STEP_NONE ? status->step_count : (size_t)status->back_from + 1;
}

int key_rotation_step(const struct key_rotation *rotation, int step)
{
	return step == STEP_NONE || !key_rotation_goes_back(rotation) ? step : rotation->status.back_from - step;
}

int key_rotation_path(const struct key_rotation *rotation, struct path **ret, struct error **err)
{
	const struct key_rotation_status *status = &rotation->status;
	_cleanup_(path_freep) struct path *path = path_of_steps(status->steps, status->step_count);
	if (!key_rotation_goes_back(rotation)) {
		*ret = steal(path);
		return 0;
	}
	if ((size_t)status->back_from >= path->count)
		return error_set(err, ERROR_INPUT, "KeyRotation %s: status.backFrom is none of its steps",
				 rotation->meta.name);
	/* By a person's word, which a controller cannot give. */
	if (!rotation->spec.aborted)
		return error_set(err, ERROR_REFUSED, "KeyRotation %s goes back, and nobody asked for that",
				 rotation->meta.name);
	return path_abort(path, (size_t)status->back_from, rotation->spec.promote_old_key, ret, err);
}

struct key_rotation_condition *key_rotation_condition(const struct key_rotation_status *status, const char *type)
{
	for (size_t i = 0; i < status->condition_count; i++)
		if (text_equal(status->conditions[i].type, type))
			return &status->conditions[i];
	return NULL;
}

bool key_rotation_holds(const struct key_rotation *rotation, const char *type)
{
	const struct key_rotation_condition *condition = key_rotation_condition(&rotation->status, type);
	return condition && text_equal(condition->status, "True");
}
