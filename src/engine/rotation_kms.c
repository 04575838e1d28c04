/* The key IDs of KMS providers that values were under: what the report says of keys whose bytes nobody here ever had. */
#include <stdlib.h>

#include "engine/rotation_internal.h"

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
		struct rotation_key_id *seen =
			keys[k].provider == PROVIDER_KMS && *keys[k].key_id
				? find_or_add(report, keys[k].name, keys[k].key_id)
				: NULL;
		if (seen)
			seen->objects += keys[k].objects;
	}
}

void rotation_kms_seen(struct rotation *r)
{
	const struct census *census = r->census;
	for (size_t i = 0; i < r->report->key_id_count; i++)
		r->report->key_ids[i].objects = 0;
	for (size_t i = 0; i < census->resource_count; i++)
		count(r->report, census->resources[i].keys, census->resources[i].key_count);
	count(r->report, census->outside_keys, census->outside_key_count);
}

/* NULL: no value is under this key ID any more, whatever the provider's name. */
static const char *in_use_as(const struct rotation_report *report, const char *key_id)
{
	for (size_t i = 0; i < report->key_id_count; i++)
		if (report->key_ids[i].objects > 0 && text_equal(report->key_ids[i].key_id, key_id))
			return report->key_ids[i].name;
	return NULL;
}

void rotation_kms_tell_left(struct rotation *r)
{
	struct rotation_report *report = r->report;
	if (!r->census || !r->census->complete)
		return;
	for (size_t i = 0; i < report->key_id_count; i++) {
		const struct rotation_key_id *key = &report->key_ids[i];
		_cleanup_free_ char *label = xasprintf("kms/%s", key->name);
		if (key->objects > 0 || !strings_has(&report->old_keys, label))
			continue;
		const char *other = in_use_as(report, key->key_id);
		_cleanup_free_ char *id = text_printable(key->key_id, strlen(key->key_id), 128);
		_cleanup_free_ char *line =
			other ? xasprintf("key ID %s stays in use, as kms/%s: of its material only what the DEKs drawn "
					  "since %s are under; what it had before, this cluster's etcd needs for nothing "
					  "at revision %llu",
					  id, other, report->started, (unsigned long long)report->revision)
			      : xasprintf("this cluster's etcd needs %s, key ID %s, for nothing at revision %llu; backups "
					  "made before %s, and other clusters that use it, still do",
					  label, id, (unsigned long long)report->revision, report->finished);
		strings_add(&report->remains, line);
	}
}

const char *rotation_kms_id_of(const struct rotation_report *report, const char *name)
{
	for (size_t i = 0; i < report->key_id_count; i++)
		if (report->key_ids[i].objects > 0 && text_equal(report->key_ids[i].name, name))
			return report->key_ids[i].key_id;
	return "";
}

void rotation_kms_write_json(const struct rotation_report *report, struct json_writer *w)
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

void rotation_kms_free(struct rotation_report *report)
{
	for (size_t i = 0; i < report->key_id_count; i++) {
		free(report->key_ids[i].name);
		free(report->key_ids[i].key_id);
	}
	free(report->key_ids);
}
