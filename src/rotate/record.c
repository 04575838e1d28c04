#include "rotate/record.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_read.h"
#include "base/text.h"

#define VERSION 1

/* One table for each struct, for writing, reading and comparing alike. */
enum kind { TEXT, BOOL, U64, SMALL, INDEX, FACT, EVIDENCE, PROVIDER, ACTION, PHASE, REASON };

struct field {
	const char *name;
	enum kind kind;
	size_t offset;
};
#define FIELD(type, member, name_, kind_)                                                 \
	{                                                                                 \
		.name = (name_), .kind = (kind_), .offset = offsetof(struct type, member) \
	}

#define F(member, name, kind) FIELD(server_observation, member, name, kind)
static const struct field server_fields[] = {
	F(name, "name", TEXT),
	F(looked_at, "lookedAt", U64),
	F(answering, "answering", BOOL),
	F(why, "why", TEXT),
	F(version, "version", TEXT),
	F(file, "file", FACT),
	F(file_step, "fileStep", INDEX),
	F(file_hash, "fileHash", TEXT),
	F(file_ours, "fileOurs", BOOL),
	F(written_step, "writtenStep", INDEX),
	F(rescue_fails, "rescueFails", BOOL),
	F(loaded, "loaded", FACT),
	F(loaded_step, "loadedStep", INDEX),
	F(loaded_hash, "loadedHash", TEXT),
	F(loaded_is_file, "loadedIsFile", BOOL),
	F(evidence, "evidence", EVIDENCE),
	F(needs_second_nonce, "needsSecondNonce", BOOL),
	F(process, "process", U64),
	F(loaded_since, "loadedSince", U64),
	F(writes_since, "writesSince", U64),
	F(refuses_file, "refusesFile", BOOL),
	F(refused_before, "refusedBefore", BOOL),
	F(reloads_itself, "reloadsItself", BOOL),
	F(restarts, "restarts", BOOL),
	F(restarting, "restarting", BOOL),
	F(canary_step, "canaryStep", INDEX),
	F(canary_at, "canaryAt", U64),
	F(canary_process, "canaryProcess", U64),
	F(canary_impossible, "canaryImpossible", BOOL),
};
#undef F
#define F(member, name, kind) FIELD(member_observation, member, name, kind)
static const struct field member_fields[] = {
	F(name, "name", TEXT),
	F(learner, "learner", BOOL),
	F(answering, "answering", BOOL),
	F(why, "why", TEXT),
};
#undef F
#define F(member, name, kind) FIELD(census_group, member, name, kind)
static const struct field group_fields[] = {
	F(resource, "resource", TEXT), F(type, "provider", PROVIDER), F(kms_version, "kmsVersion", SMALL),
	F(name, "name", TEXT),         F(values, "values", U64),      F(unknown, "unknown", BOOL),
	F(foreign, "foreign", BOOL),   F(expected, "expected", BOOL), F(example, "example", TEXT),
	F(key_id, "keyID", TEXT),
};
#undef F
#define F(member, name, kind) FIELD(census_observation, member, name, kind)
static const struct field census_fields[] = {
	F(begun, "begun", U64),
	F(finished, "finished", U64),
	F(complete, "complete", BOOL),
	F(revision, "revision", U64),
	F(does_not_open, "doesNotOpen", U64),
	F(opened, "opened", U64),
	F(not_opened, "notOpened", U64),
	F(why_not_opened, "whyNotOpened", TEXT),
	F(compacted, "compacted", BOOL),
	F(unsettled, "unsettled", BOOL),
	F(compaction_expected, "compactionExpected", U64),
	F(why, "why", TEXT),
};
#undef F
#define F(member, name, kind) FIELD(sweep_observation, member, name, kind)
static const struct field sweep_fields[] = {
	F(step, "step", INDEX),         F(begun, "begun", U64),     F(finished, "finished", U64),
	F(rewritten, "rewritten", U64), F(skipped, "skipped", U64), F(quarantined, "quarantined", U64),
};
#undef F
#define F(member, name, kind) FIELD(observation, member, name, kind)
static const struct field observation_fields[] = {
	F(servers_known, "serversKnown", FACT),
	F(servers_why, "serversWhy", TEXT),
	F(members_known, "membersKnown", FACT),
	F(members_why, "membersWhy", TEXT),
	F(members_behind_balancer, "membersBehindBalancer", BOOL),
	F(quiet_since, "quietSince", U64),
	F(settled_began, "settledBegan", U64),
	F(settled_ended, "settledEnded", U64),
	F(etcd_looked_at, "etcdLookedAt", U64),
	F(etcd_back_at, "etcdBackAt", U64),
	F(reads_checked_at, "readsCheckedAt", U64),
	F(rescues, "rescues", SMALL),
	F(retired, "retired", BOOL),
	F(untouched, "untouched", BOOL),
	F(blocked, "blocked", TEXT),
	F(kms_why, "kmsWhy", TEXT),
	F(kms_adopted_at, "kmsAdoptedAt", U64),
	F(history_ended_at, "historyEndedAt", U64),
	F(kms_moved, "kmsMoved", BOOL),
	F(settle_time, "settleTime", U64),
	F(compact, "compact", BOOL),
};
#undef F
#define F(member, name, kind) FIELD(decision, member, name, kind)
static const struct field decision_fields[] = {
	F(action, "action", ACTION),      F(reason, "reason", REASON), F(phase, "phase", PHASE),
	F(step, "step", INDEX),           F(to_step, "toStep", INDEX), F(server, "server", INDEX),
	F(member, "member", INDEX),       F(group, "group", INDEX),    F(expect_hash, "expectHash", TEXT),
	F(named_only, "namedOnly", BOOL), F(rescue, "rescue", BOOL),   F(due, "due", U64),
};
#undef F
/* A field that is in a struct and in no table would be lost without a word: whoever adds one, adds it above, then
 * here. */
#if UINTPTR_MAX == UINT64_MAX
_Static_assert(sizeof(struct server_observation) == 168, "server_fields");
_Static_assert(sizeof(struct member_observation) == 24, "member_fields");
_Static_assert(sizeof(struct census_group) == 56, "group_fields");
_Static_assert(sizeof(struct census_observation) == 104, "census_fields");
_Static_assert(sizeof(struct sweep_observation) == 48, "sweep_fields");
_Static_assert(sizeof(struct observation) == 336, "observation_fields");
_Static_assert(sizeof(struct decision) == 64, "decision_fields");
#endif

static const char *const fact_names[] = {
	[FACT_UNKNOWN] = "unknown", [FACT_KNOWN] = "known", [FACT_CONTRADICTORY] = "contradictory"};
static const char *const evidence_names[] = {[LOADED_BY_HASH] = "hash", [LOADED_BY_RELOADS] = "reloads"};
#define X(id, text) text,
static const char *const action_names[] = {ACTIONS(X)};
static const char *const phase_names[] = {PHASES(X)};
#undef X
#define X(id, text) #id,
static const char *const reason_names[] = {REASONS(X)};
#undef X
static const char *const provider_names[] = {[PROVIDER_IDENTITY] = "identity",
					     [PROVIDER_AESCBC] = "aescbc",
					     [PROVIDER_AESGCM] = "aesgcm",
					     [PROVIDER_SECRETBOX] = "secretbox",
					     [PROVIDER_KMS] = "kms"};

struct names {
	const char *const *names;
	size_t count;
};

static struct names names_of(enum kind kind)
{
	switch (kind) {
	case FACT:
		return (struct names){fact_names, ELEMENTS(fact_names)};
	case EVIDENCE:
		return (struct names){evidence_names, ELEMENTS(evidence_names)};
	case PROVIDER:
		return (struct names){provider_names, ELEMENTS(provider_names)};
	case ACTION:
		return (struct names){action_names, ELEMENTS(action_names)};
	case PHASE:
		return (struct names){phase_names, ELEMENTS(phase_names)};
	case REASON:
		return (struct names){reason_names, ELEMENTS(reason_names)};
	case TEXT:
	case BOOL:
	case U64:
	case SMALL:
	case INDEX:
		break;
	}
	return (struct names){0};
}

/* --- writing --- */

static void write_field(struct json_writer *w, const struct field *field, const void *object)
{
	const void *at = (const char *)object + field->offset;
	_cleanup_free_ char *number = NULL;
	switch (field->kind) {
	case TEXT:
		json_member_string(w, field->name, *(char *const *)at);
		return;
	case BOOL:
		json_member_bool(w, field->name, *(const bool *)at);
		return;
	case U64:
		number = xasprintf("%llu", (unsigned long long)*(const uint64_t *)at);
		json_member_string(w, field->name, number);
		return;
	case SMALL:
		json_member_u64(w, field->name, *(const unsigned *)at);
		return;
	case INDEX:
		json_key(w, field->name);
		json_i64(w, *(const int *)at);
		return;
	case FACT:
	case EVIDENCE:
	case PROVIDER:
	case ACTION:
	case PHASE:
	case REASON:
		json_member_string(w, field->name, names_of(field->kind).names[*(const unsigned *)at]);
		return;
	}
}

static void write_fields(struct json_writer *w, const struct field *fields, size_t count, const void *object)
{
	for (size_t i = 0; i < count; i++)
		write_field(w, &fields[i], object);
}

static void write_array(struct json_writer *w, const char *key, const struct field *fields, size_t field_count,
			const void *objects, size_t count, size_t size)
{
	json_key(w, key);
	json_array_begin(w);
	for (size_t i = 0; i < count; i++) {
		json_object_begin(w);
		write_fields(w, fields, field_count, (const char *)objects + i * size);
		json_object_end(w);
	}
	json_array_end(w);
}
#define WRITE_ARRAY(w, key, fields, objects, count) \
	write_array(w, key, fields, ELEMENTS(fields), objects, count, sizeof(*(objects)))

static void write_observation(struct json_writer *w, const struct observation *seen)
{
	json_key(w, "observation");
	json_object_begin(w);
	write_fields(w, observation_fields, ELEMENTS(observation_fields), seen);
	WRITE_ARRAY(w, "servers", server_fields, seen->servers, seen->server_count);
	WRITE_ARRAY(w, "members", member_fields, seen->members, seen->member_count);
	json_key(w, "census");
	json_object_begin(w);
	write_fields(w, census_fields, ELEMENTS(census_fields), &seen->census);
	WRITE_ARRAY(w, "groups", group_fields, seen->census.groups, seen->census.group_count);
	json_object_end(w);
	json_key(w, "sweep");
	json_object_begin(w);
	write_fields(w, sweep_fields, ELEMENTS(sweep_fields), &seen->sweep);
	json_object_end(w);
	json_object_end(w);
}

void record_write(struct json_writer *w, const char *at, const struct path *path, const struct observation *observation,
		  uint64_t now, const struct decision *decision)
{
	json_object_begin(w);
	json_member_string(w, "kind", "Decision");
	json_member_u64(w, "version", VERSION);
	json_member_string(w, "at", at);
	write_field(w, &(struct field){"now", U64, 0}, &now);
	json_key(w, "path");
	json_array_begin(w);
	for (size_t i = 0; i < path->count; i++)
		config_shape_write_json(path->steps[i], w);
	json_array_end(w);
	write_observation(w, observation);
	json_key(w, "decision");
	json_object_begin(w);
	write_fields(w, decision_fields, ELEMENTS(decision_fields), decision);
	json_object_end(w);
	json_object_end(w);
}

/* --- reading --- */

static int wrong(const struct field *field, struct error **err)
{
	return error_set(err, ERROR_INPUT, "member \"%s\" is not what it should be", field->name);
}

static int read_name(const struct field *field, const cJSON *value, void *at, struct error **err)
{
	const struct names names = names_of(field->kind);
	const char *text = cJSON_GetStringValue(value);
	for (unsigned i = 0; text && i < names.count; i++)
		if (text_equal(names.names[i], text)) {
			*(unsigned *)at = i;
			return 0;
		}
	return wrong(field, err);
}

static int read_index(const struct field *field, const cJSON *value, int *at, struct error **err)
{
	double number = value->valuedouble;
	if (!cJSON_IsNumber(value) || !(number >= STEP_NONE && number <= INT_MAX) || (double)(int)number != number)
		return wrong(field, err);
	*at = (int)number;
	return 0;
}

static int read_number(const struct field *field, const cJSON *object, uint64_t max, uint64_t *ret, struct error **err)
{
	uint64_t number = 0;
	if (!json_u64_at(object, field->name, &number) || number > max)
		return wrong(field, err);
	*ret = number;
	return 0;
}

static int read_field(const struct field *field, const cJSON *object, void *base, struct error **err)
{
	void *at = (char *)base + field->offset;
	const cJSON *value = json_at(object, field->name, NULL);
	uint64_t number = 0;
	int rc = 0;
	if (!value || cJSON_IsNull(value)) {
		if (field->kind == INDEX)
			*(int *)at = STEP_NONE;
		return 0;
	}
	switch (field->kind) {
	case TEXT:
		if (!cJSON_IsString(value))
			return wrong(field, err);
		*(char **)at = xstrdup(value->valuestring);
		return 0;
	case BOOL:
		if (!cJSON_IsBool(value))
			return wrong(field, err);
		*(bool *)at = cJSON_IsTrue(value);
		return 0;
	case U64:
		return read_number(field, object, UINT64_MAX, at, err);
	case SMALL:
		rc = read_number(field, object, UINT_MAX, &number, err);
		*(unsigned *)at = (unsigned)number;
		return rc;
	case INDEX:
		return read_index(field, value, at, err);
	case FACT:
	case EVIDENCE:
	case PROVIDER:
	case ACTION:
	case PHASE:
	case REASON:
		return read_name(field, value, at, err);
	}
	return wrong(field, err);
}

static int read_fields(const struct field *fields, size_t count, const cJSON *object, void *base, struct error **err)
{
	if (object && !cJSON_IsObject(object))
		return error_set(err, ERROR_INPUT, "member \"%s\" is not an object",
				 object->string ? object->string : "");
	for (size_t i = 0; i < count; i++) {
		int rc = read_field(&fields[i], object, base, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* How many elements an array has; a missing one has none. */
static int count_of(const cJSON *array, const char *key, size_t max, size_t *ret, struct error **err)
{
	if (!array || cJSON_IsNull(array)) {
		*ret = 0;
		return 0;
	}
	if (!cJSON_IsArray(array))
		return error_set(err, ERROR_INPUT, "member \"%s\" is not an array", key);
	size_t count = (size_t)cJSON_GetArraySize(array);
	if (count > max)
		return error_set(err, ERROR_LIMIT, "member \"%s\" has %zu elements, more than %zu", key, count, max);
	*ret = count;
	return 0;
}

/* The array is published before its elements are read, so that whoever frees the record frees what was read. */
static int read_array(const cJSON *object, const char *key, size_t max, const struct field *fields, size_t field_count,
		      size_t size, void *ret, size_t *ret_count, struct error **err)
{
	const cJSON *array = json_at(object, key, NULL), *element = NULL;
	size_t count = 0, i = 0;
	int rc = count_of(array, key, max, &count, err);
	if (rc < 0 || count == 0)
		return rc;
	char *items = xcalloc(count, size);
	memcpy(ret, &items, sizeof(items)); /* a pointer to whatever struct it is */
	*ret_count = count;
	cJSON_ArrayForEach(element, array)
	{
		rc = read_fields(fields, field_count, element, items + i * size, err);
		if (rc < 0)
			return error_wrap(err, rc, "%s[%zu]", key, i);
		i++;
	}
	return 0;
}
#define READ_ARRAY(object, key, max, fields, array, count, err) \
	read_array(object, key, max, fields, ELEMENTS(fields), sizeof(*(array)), &(array), &(count), err)

static int read_census(const cJSON *json, struct census_observation *census, struct error **err)
{
	int rc = read_fields(census_fields, ELEMENTS(census_fields), json, census, err);
	return rc < 0 ? rc
		      : READ_ARRAY(json, "groups", RECORD_GROUPS_MAX, group_fields, census->groups, census->group_count,
				   err);
}

static int read_observation(const cJSON *json, struct observation *seen, struct error **err)
{
	int rc = read_fields(observation_fields, ELEMENTS(observation_fields), json, seen, err);
	if (rc == 0)
		rc = READ_ARRAY(json, "servers", RECORD_SERVERS_MAX, server_fields, seen->servers, seen->server_count,
				err);
	if (rc == 0)
		rc = READ_ARRAY(json, "members", RECORD_MEMBERS_MAX, member_fields, seen->members, seen->member_count,
				err);
	if (rc == 0)
		rc = read_census(json_at(json, "census", NULL), &seen->census, err);
	if (rc == 0)
		rc = read_fields(sweep_fields, ELEMENTS(sweep_fields), json_at(json, "sweep", NULL), &seen->sweep, err);
	return rc;
}

static int read_path(const cJSON *array, struct path **ret, struct error **err)
{
	size_t count = 0, i = 0;
	int rc = count_of(array, "path", RECORD_STEPS_MAX, &count, err);
	if (rc < 0)
		return rc;
	if (count == 0)
		return error_set(err, ERROR_INPUT, "member \"path\" has no step");
	_cleanup_(path_freep) struct path *path = xcalloc(1, sizeof(*path));
	path->steps = xcalloc(count, sizeof(struct config_shape *));
	path->count = count;
	const cJSON *step = NULL;
	cJSON_ArrayForEach(step, array)
	{
		rc = config_shape_from_json(step, &path->steps[i], err);
		if (rc < 0)
			return error_wrap(err, rc, "path[%zu]", i);
		i++;
	}
	*ret = steal(path);
	return 0;
}

/* next_action takes these steps for indexes. */
static int check_steps(const struct record *record, struct error **err)
{
	const struct observation *seen = &record->observation;
	int end = (int)record->path->count;
	for (size_t i = 0; i < seen->server_count; i++)
		if (seen->servers[i].file_step >= end || seen->servers[i].loaded_step >= end ||
		    seen->servers[i].written_step >= end)
			return error_set(err, ERROR_INPUT, "servers[%zu] is at a step that the path does not have", i);
	return 0;
}

static int read_record(const cJSON *json, struct record *record, struct error **err)
{
	static const struct field now = {"now", U64, 0}, at = {"at", TEXT, 0};
	uint64_t version = 0;
	if (!text_equal(json_text_at(json, "kind"), "Decision") || !json_u64_at(json, "version", &version) ||
	    version != VERSION)
		return error_set(err, ERROR_INPUT, "not a Decision of version %d", VERSION);
	int rc = read_fields(&now, 1, json, &record->now, err);
	if (rc == 0)
		rc = read_fields(&at, 1, json, &record->at, err);
	if (rc == 0)
		rc = read_path(json_at(json, "path", NULL), &record->path, err);
	if (rc == 0)
		rc = read_observation(json_at(json, "observation", NULL), &record->observation, err);
	if (rc == 0)
		rc = read_fields(decision_fields, ELEMENTS(decision_fields), json_at(json, "decision", NULL),
				 &record->decision, err);
	record->expect_hash = (char *)(uintptr_t)record->decision.expect_hash;
	return rc == 0 ? check_steps(record, err) : rc;
}

int record_read(const cJSON *json, struct record **ret, struct error **err)
{
	_cleanup_(record_freep) struct record *record = xcalloc(1, sizeof(*record));
	int rc = read_record(json, record, err);
	if (rc < 0)
		return error_wrap(err, rc, "record");
	*ret = steal(record);
	return 0;
}

void record_free(struct record *record)
{
	if (!record)
		return;
	observation_free_contents(&record->observation);
	path_free(record->path);
	free(record->at);
	free(record->expect_hash);
	free(record);
}

void record_freep(struct record **record)
{
	record_free(*record);
}

/* --- again --- */

struct decision record_replay(const struct record *record)
{
	return next_action(record->path, &record->observation, record->now);
}

static bool same_field(const struct field *field, const void *a, const void *b)
{
	const void *of_a = (const char *)a + field->offset, *of_b = (const char *)b + field->offset;
	switch (field->kind) {
	case TEXT:
		return text_equal(*(char *const *)of_a, *(char *const *)of_b);
	case BOOL:
		return *(const bool *)of_a == *(const bool *)of_b;
	case U64:
		return *(const uint64_t *)of_a == *(const uint64_t *)of_b;
	case SMALL:
	case INDEX:
	case FACT:
	case EVIDENCE:
	case PROVIDER:
	case ACTION:
	case PHASE:
	case REASON:
		return *(const unsigned *)of_a == *(const unsigned *)of_b;
	}
	return false;
}

const char *decision_difference(const struct decision *a, const struct decision *b)
{
	for (size_t i = 0; i < ELEMENTS(decision_fields); i++)
		if (!same_field(&decision_fields[i], a, b))
			return decision_fields[i].name;
	return NULL;
}
