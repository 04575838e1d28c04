/* A rotation's report as JSON, and back. */
#include "engine/rotation_report.h"

#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/json_read.h"
#include "base/utf8.h"
#include "engine/rotation.h"

/* The ID that values are under now, "" where none is. */
static const char *report_key_id(const struct rotation_report *report, const char *name)
{
	if (report->named_key_id)
		return report->named_key_id;
	for (size_t i = 0; i < report->key_id_count; i++)
		if (report->key_ids[i].objects > 0 && text_equal(report->key_ids[i].name, name))
			return report->key_ids[i].key_id;
	return "";
}

static void write_new_key(struct json_writer *w, const struct rotation_report *report)
{
	const char *label = report->new_keys.count > 0 ? report->new_keys.items[0] : "";
	const char *slash = strchr(label, '/');
	_cleanup_free_ char *provider = xstrndup(label, slash ? (size_t)(slash - label) : strlen(label));
	json_key(w, "newKey");
	json_object_begin(w);
	json_member_string(w, "provider", provider);
	json_member_string(w, "name", slash ? slash + 1 : "");
	json_member_string(w, "keyID", slash && text_equal(provider, "kms") ? report_key_id(report, slash + 1) : "");
	json_object_end(w);
}

static void write_key_ids(struct json_writer *w, const struct rotation_report *report)
{
	json_key(w, "keyIDs");
	json_array_begin(w);
	for (size_t i = 0; i < report->key_id_count; i++) {
		json_object_begin(w);
		json_member_string(w, "provider", provider_name(PROVIDER_KMS));
		json_member_string(w, "name", report->key_ids[i].name);
		json_member_string(w, "keyID", report->key_ids[i].key_id);
		json_member_u64(w, "objects", report->key_ids[i].objects);
		json_object_end(w);
	}
	json_array_end(w);
}

static void write_counts(struct json_writer *w, const struct rotation_report *report)
{
	json_key(w, "resources");
	json_array_begin(w);
	for (size_t i = 0; i < report->resource_count; i++) {
		const struct rotation_resource *count = &report->resources[i];
		json_object_begin(w);
		json_member_string(w, "resource", count->resource);
		json_member_u64(w, "objects", count->objects);
		json_member_u64(w, "rewritten", count->rewritten);
		json_member_u64(w, "skipped", count->skipped);
		json_member_u64(w, "conflicts", count->conflicts);
		json_member_u64(w, "quarantined", count->quarantined);
		json_object_end(w);
	}
	json_array_end(w);
	json_key(w, "quarantined");
	json_array_begin(w);
	for (size_t i = 0; i < report->quarantine_count; i++) {
		const struct key_rotation_quarantined *q = &report->quarantine[i];
		json_object_begin(w);
		json_member_string(w, "resource", q->resource ? q->resource : "?");
		json_member_string(w, "namespace", q->namespace_ ? q->namespace_ : "");
		json_member_string(w, "name", q->name);
		json_member_string(w, "why", q->why);
		json_object_end(w);
	}
	json_array_end(w);
}

static void write_servers(struct json_writer *w, const struct rotation_report *report)
{
	json_key(w, "servers");
	json_array_begin(w);
	for (size_t i = 0; i < report->server_count; i++) {
		json_object_begin(w);
		json_member_string(w, "name", report->servers[i].name);
		json_member_string(w, "loaded", report->servers[i].loaded_hash);
		json_member_bool(w, "forgotten", report->servers[i].forgotten);
		json_object_end(w);
	}
	json_array_end(w);
}

static void write_values(struct json_writer *w, const char *key, const struct key_rotation_values *values)
{
	json_key(w, key);
	if (!values->at) {
		json_null(w);
		return;
	}
	json_object_begin(w);
	json_member_string(w, "at", values->at);
	json_member_u64(w, "revision", values->revision);
	json_key(w, "groups");
	json_array_begin(w);
	for (size_t i = 0; i < values->count; i++) {
		const struct key_rotation_value *value = &values->items[i];
		json_object_begin(w);
		json_member_string(w, "resource", value->resource);
		json_member_string(w, "provider", value->provider);
		json_member_u64(w, "kmsVersion", value->kms_version);
		json_member_string(w, "name", value->name);
		json_member_string(w, "keyID", value->key_id);
		json_member_string(w, "class", value->class);
		json_member_u64(w, "values", value->values);
		json_object_end(w);
	}
	json_array_end(w);
	json_object_end(w);
}

static void write_outside(struct json_writer *w, const struct rotation_report *report)
{
	json_key(w, "outside");
	json_array_begin(w);
	for (size_t i = 0; i < report->outside.count; i++) {
		_cleanup_free_ char *command = decision_etcdctl_del(report->outside.items[i]);
		json_object_begin(w);
		json_member_string(w, "path", report->outside.items[i]);
		json_member_string(w, "delete", command);
		json_object_end(w);
	}
	json_array_end(w);
	json_member_u64(w, "outsideCount", report->outside_count);
}

void rotation_report_write_json(const struct rotation_report *report, struct json_writer *w)
{
	json_object_begin(w);
	json_member_string(w, "kind", "RotationReport");
	json_member_u64(w, "version", 1);
	json_member_string(w, "target", report->target);
	json_member_string(w, "outcome", report->outcome);
	json_member_string(w, "strength", "etcd");
	json_member_string(w, "rotation", report->rotation);
	json_member_string(w, "started", report->started);
	json_member_string(w, "finished", report->finished);
	json_key(w, "seconds");
	json_fixed(w, (double)report->ns / 1e9, 3);
	json_member_strings(w, "oldKeys", &report->old_keys);
	write_new_key(w, report);
	json_member_strings(w, "newKeys", &report->new_keys);
	write_key_ids(w, report);
	json_member_u64(w, "revision", report->revision);
	json_member_u64(w, "objects", report->objects);
	json_member_string(w, "server", report->server);
	json_member_string(w, "loaded", report->loaded_hash);
	write_servers(w, report);
	write_values(w, "before", &report->before);
	write_values(w, "after", &report->after);
	write_counts(w, report);
	write_outside(w, report);
	json_member_strings(w, "evidence", &report->evidence);
	json_member_strings(w, "remains", &report->remains);
	json_key(w, "phases");
	json_array_begin(w);
	for (size_t i = 0; i < report->phase_count; i++) {
		json_object_begin(w);
		json_member_string(w, "phase", phase_name(report->phases[i].phase));
		json_key(w, "seconds");
		json_fixed(w, (double)report->phases[i].ns / 1e9, 3);
		json_object_end(w);
	}
	json_array_end(w);
	if (report->cloudtrail)
		cloudtrail_write_json(report->cloudtrail, w);
	json_object_end(w);
}

/* --- reading --- */

#define REPORT_ITEMS_MAX 10000 /* of any list but of those with a cap of their own */

#define REPORT struct rotation_report
static const struct object_field server_fields[] = {
	OBJECT_TEXT(struct rotation_server, name, "name", KEY_NAME_MAX),
	OBJECT_TEXT(struct rotation_server, loaded_hash, "loaded", KEY_HASH_MAX),
	OBJECT_BOOL(struct rotation_server, forgotten, "forgotten"),
};
static const struct object_record server_record = {server_fields, ELEMENTS(server_fields),
						   sizeof(struct rotation_server)};

static const struct object_field key_id_fields[] = {
	OBJECT_TEXT(struct rotation_key_id, name, "name", KEY_NAME_MAX),
	OBJECT_TEXT(struct rotation_key_id, key_id, "keyID", KEY_WORDS_MAX),
	OBJECT_NUMBER(struct rotation_key_id, objects, "objects", OBJECT_NUMBER_MAX, 0),
};
static const struct object_record key_id_record = {key_id_fields, ELEMENTS(key_id_fields),
						   sizeof(struct rotation_key_id)};

static const struct object_field resource_fields[] = {
	OBJECT_TEXT(struct rotation_resource, resource, "resource", KEY_NAME_MAX),
	OBJECT_NUMBER(struct rotation_resource, objects, "objects", OBJECT_NUMBER_MAX, 0),
	OBJECT_NUMBER(struct rotation_resource, rewritten, "rewritten", OBJECT_NUMBER_MAX, 0),
	OBJECT_NUMBER(struct rotation_resource, skipped, "skipped", OBJECT_NUMBER_MAX, 0),
	OBJECT_NUMBER(struct rotation_resource, conflicts, "conflicts", OBJECT_NUMBER_MAX, 0),
	OBJECT_NUMBER(struct rotation_resource, quarantined, "quarantined", OBJECT_NUMBER_MAX, 0),
};
static const struct object_record resource_record = {resource_fields, ELEMENTS(resource_fields),
						     sizeof(struct rotation_resource)};

/* An item of struct strings, as an object that has it as its only text. */
static const struct object_field outside_fields[] = {{.name = "path", .kind = FIELD_TEXT, .max = 4096}};
static const struct object_record outside_record = {outside_fields, ELEMENTS(outside_fields), sizeof(char *)};

static const struct object_field report_fields[] = {
	OBJECT_TEXT(REPORT, target, "target", 16),
	OBJECT_TEXT(REPORT, outcome, "outcome", 32),
	OBJECT_TEXT(REPORT, rotation, "rotation", KEY_NAME_MAX),
	OBJECT_TEXT(REPORT, started, "started", 64),
	OBJECT_TEXT(REPORT, finished, "finished", 64),
	OBJECT_TEXTS(REPORT, old_keys, "oldKeys", 256, 2 * KEY_WORDS_MAX),
	OBJECT_TEXTS(REPORT, new_keys, "newKeys", 256, KEY_WORDS_MAX),
	OBJECT_LIST(REPORT, key_ids, key_id_count, "keyIDs", ROTATION_KEY_IDS_MAX, &key_id_record),
	OBJECT_NUMBER(REPORT, revision, "revision", OBJECT_NUMBER_MAX, 0),
	OBJECT_NUMBER(REPORT, objects, "objects", OBJECT_NUMBER_MAX, 0),
	OBJECT_TEXT(REPORT, server, "server", KEY_WORDS_MAX),
	OBJECT_TEXT(REPORT, loaded_hash, "loaded", KEY_HASH_MAX),
	OBJECT_LIST(REPORT, servers, server_count, "servers", REPORT_ITEMS_MAX, &server_record),
	{.name = "before", .kind = FIELD_RECORD, .at = offsetof(REPORT, before), .record = &key_rotation_values_record},
	{.name = "after", .kind = FIELD_RECORD, .at = offsetof(REPORT, after), .record = &key_rotation_values_record},
	OBJECT_LIST(REPORT, resources, resource_count, "resources", REPORT_ITEMS_MAX, &resource_record),
	OBJECT_LIST(REPORT, quarantine, quarantine_count, "quarantined", REPORT_ITEMS_MAX,
		    &key_rotation_quarantined_record),
	OBJECT_LIST(REPORT, outside.items, outside.count, "outside", REPORT_ITEMS_MAX, &outside_record),
	OBJECT_NUMBER(REPORT, outside_count, "outsideCount", OBJECT_NUMBER_MAX, 0),
	OBJECT_TEXTS(REPORT, evidence, "evidence", REPORT_ITEMS_MAX, 4 * KEY_WORDS_MAX),
	OBJECT_TEXTS(REPORT, remains, "remains", REPORT_ITEMS_MAX, 4 * KEY_WORDS_MAX),
};
#undef REPORT
static const struct object_record report_record = {report_fields, ELEMENTS(report_fields),
						   sizeof(struct rotation_report)};

static int read_seconds(const cJSON *object, uint64_t *ret, struct error **err)
{
	const cJSON *seconds = cJSON_GetObjectItemCaseSensitive(object, "seconds");
	if (!cJSON_IsNumber(seconds) || !(seconds->valuedouble >= 0) || seconds->valuedouble > 1e9)
		return error_set(err, ERROR_INPUT, "seconds: not a number from 0 to 1000000000");
	*ret = (uint64_t)(seconds->valuedouble * 1000 + 0.5) * NS_PER_MS;
	return 0;
}

static int read_phase(const cJSON *item, struct rotation_phase *ret, struct error **err)
{
	const char *name = json_text_at(item, "phase");
	for (int phase = 0; phase <= PHASE_DONE; phase++)
		if (name && text_equal(name, phase_name((enum phase)phase))) {
			ret->phase = (enum phase)phase;
			return read_seconds(item, &ret->ns, err);
		}
	return error_set(err, ERROR_INPUT, "phases: a phase that this version does not know");
}

static int read_phases(const cJSON *json, struct rotation_report *report, struct error **err)
{
	const cJSON *phases = cJSON_GetObjectItemCaseSensitive(json, "phases"), *item;
	int rc = 0;
	if (!cJSON_IsArray(phases) || cJSON_GetArraySize(phases) > REPORT_ITEMS_MAX)
		return error_set(err, ERROR_INPUT, "phases: not a list of at most %d", REPORT_ITEMS_MAX);
	report->phases = xcalloc((size_t)cJSON_GetArraySize(phases) + 1, sizeof(*report->phases));
	cJSON_ArrayForEach(item, phases)
	{
		if (rc == 0)
			rc = read_phase(item, &report->phases[report->phase_count++], err);
	}
	return rc;
}

static bool is_exact(const char *text)
{
	for (size_t at = 0, size, len = strlen(text); at < len; at += size) {
		uint32_t point;
		size = utf8_next(text + at, len - at, &point);
		if (size == 0 || point == UTF8_REPLACEMENT)
			return false;
	}
	return true;
}

/* A path in etcd may be any bytes, and JSON keeps text alone: one that it could not keep is counted, but not named, for a
 * command that deletes it would be wrong. */
static void forget_inexact(struct rotation_report *report)
{
	size_t kept = 0;
	for (size_t i = 0; i < report->outside.count; i++)
		if (is_exact(report->outside.items[i]))
			report->outside.items[kept++] = report->outside.items[i];
		else
			free(report->outside.items[i]);
	report->outside.count = kept;
}

/* What a report without them would not be: one of ours. */
static int check_whole(const struct rotation_report *report, struct error **err)
{
	uint64_t time;
	if (text_empty(report->rotation) || text_empty(report->outcome) || text_empty(report->target))
		return error_set(err, ERROR_INPUT, "rotation, outcome or target is missing");
	if (!report->started || clock_parse(report->started, &time) < 0 || !report->finished ||
	    clock_parse(report->finished, &time) < 0)
		return error_set(err, ERROR_INPUT, "started or finished is no time");
	for (size_t i = 0; i < report->outside.count; i++)
		if (!report->outside.items[i])
			return error_set(err, ERROR_INPUT, "outside: a value without a path");
	for (size_t i = 0; i < report->key_id_count; i++)
		if (!report->key_ids[i].name || !report->key_ids[i].key_id)
			return error_set(err, ERROR_INPUT, "keyIDs: one without a name");
	return 0;
}

int rotation_report_parse(const cJSON *json, struct rotation_report **ret, struct error **err)
{
	_cleanup_(rotation_report_freep) struct rotation_report *report = xcalloc(1, sizeof(*report));
	uint64_t version = 0;
	if (!text_equal(json_text_at(json, "kind"), "RotationReport") || !json_u64_at(json, "version", &version) ||
	    version != 1)
		return error_set(err, ERROR_INPUT, "no RotationReport of version 1");
	/* The only one that we write: a report of a weaker proof shall not be shown as one of ours. */
	const cJSON *strength = cJSON_GetObjectItemCaseSensitive(json, "strength");
	if (strength && !text_equal(cJSON_GetStringValue(strength), "etcd"))
		return error_set(err, ERROR_INPUT, "the report: its strength is not etcd");
	int rc = object_read(&report_record, json, report, err);
	if (rc == 0)
		rc = read_seconds(json, &report->ns, err);
	if (rc == 0)
		rc = read_phases(json, report, err);
	if (rc == 0)
		rc = check_whole(report, err);
	if (rc == 0)
		rc = cloudtrail_parse(json, &report->cloudtrail, err);
	if (rc < 0)
		return error_wrap(err, rc, "the report");
	forget_inexact(report);
	const char *key_id = json_text_at(json_at(json, "newKey", NULL), "keyID");
	report->named_key_id = text_empty(key_id) ? NULL : xstrdup(key_id);
	*ret = steal(report);
	return 0;
}

void rotation_report_free(struct rotation_report *report)
{
	if (!report)
		return;
	free(report->named_key_id);
	free(report->phases);
	cloudtrail_free(report->cloudtrail);
	object_release(&report_record, report); /* and leaves it empty */
	free(report);
}

void rotation_report_freep(struct rotation_report **report)
{
	rotation_report_free(*report);
}
