#include <string.h>

#include "base/clock.h"
#include "cmd/fleet_follow.h"

#define SHOWN 64 /* bytes of an outcome or a time */

static void add_labels(struct strings *to, const struct object_key *keys, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		_cleanup_free_ char *label = rotation_keys(&keys[i], 1);
		strings_add(to, label);
	}
}

/* Where a KMS is followed its next key is the new one. */
static void take_key_ids(struct rotation_report *report, const struct key_rotation *rotation)
{
	const struct key_rotation_status *status = &rotation->status;
	report->key_ids = xcalloc(status->key_id_count + 1, sizeof(*report->key_ids));
	for (size_t i = 0; i < status->key_id_count; i++) {
		const struct rotation_key_id *key = &status->key_ids[i];
		_cleanup_free_ char *label = xasprintf("kms/%s", key->name);
		report->key_ids[report->key_id_count++] =
			(struct rotation_key_id){xstrdup(key->name), xstrdup(key->key_id), key->objects};
		if (rotation->spec.follow_kms && !strings_has(&report->new_keys, label))
			strings_add(&report->new_keys, label);
	}
}

static void take_quarantine(struct rotation_report *report, const struct key_rotation_status *status)
{
	report->quarantine = xcalloc(status->quarantined.item_count + 1, sizeof(*report->quarantine));
	for (size_t i = 0; i < status->quarantined.item_count; i++) {
		const struct key_rotation_quarantined *q = &status->quarantined.items[i];
		report->quarantine[report->quarantine_count++] =
			(struct key_rotation_quarantined){xstrdup_or_null(q->resource), xstrdup_or_null(q->namespace_),
							  xstrdup_or_null(q->name), xstrdup_or_null(q->why)};
	}
}

static void take_values(struct key_rotation_values *ret, const struct key_rotation_values *values)
{
	ret->at = xstrdup_or_null(values->at);
	ret->revision = values->revision;
	ret->items = xcalloc(values->count + 1, sizeof(*ret->items));
	for (size_t i = 0; i < values->count; i++) {
		struct key_rotation_value *value = &ret->items[ret->count++];
		*value = values->items[i];
		value->resource = xstrdup_or_null(value->resource);
		value->provider = xstrdup_or_null(value->provider);
		value->name = xstrdup_or_null(value->name);
		value->key_id = xstrdup_or_null(value->key_id);
		value->class = xstrdup_or_null(value->class);
	}
}

/* What it had loaded when the rotation ended; of one that goes on, what its agent reports now. */
static const char *loaded_hash(const struct key_rotation_status *status, const struct key_rotation_server *server,
			       const struct fleet_server *known)
{
	if (server->forgotten)
		return NULL;
	return status->outcome ? server->loaded : known ? known->last->status.loaded_hash : NULL;
}

static void take_servers(struct rotation_report *report, const struct key_rotation_status *status,
			 const struct fleet *fleet)
{
	for (size_t i = 0; i < status->server_count; i++) {
		const struct key_rotation_server *server = &status->servers[i];
		const struct fleet_server *known = fleet_find(fleet, server->name);
		rotation_report_add_server(report, server->name, loaded_hash(status, server, known), server->forgotten);
		if (server->forgotten) {
			_cleanup_free_ char *line =
				xasprintf("%s does not count: %s said that it is gone for good", server->name,
					  server->forgotten_by ? server->forgotten_by : "a person");
			strings_add(&report->evidence, line);
		}
	}
}

static void tell_remains(struct rotation_report *report, const struct key_rotation *rotation)
{
	_cleanup_free_ char *backups = xasprintf(
		"backups of etcd made before %s need the old key, and so do free pages of etcd's database until "
		"it is defragmented",
		report->finished);
	/* Of an old key; on the way back, of the new one, which is treated alike. */
	for (size_t i = 0; i < rotation->status.remains.count; i++)
		strings_add(&report->remains, rotation->status.remains.items[i]);
	if (text_equal(report->outcome, "Done") && rotation->status.old_key_count > 0)
		strings_add(&report->remains, backups);
}

static uint64_t wall_of(const char *text, uint64_t otherwise)
{
	uint64_t wall;
	return text && clock_parse(text, &wall) == 0 ? wall : otherwise;
}

struct rotation_report *key_rotation_report(const struct key_rotation *rotation, const struct fleet *fleet,
					    uint64_t wall)
{
	const struct key_rotation_status *status = &rotation->status;
	struct rotation_report *report = xcalloc(1, sizeof(*report));
	char now[28];
	clock_format(wall, 0, now);
	report->target = xstrdup("agents");
	report->outcome = text_printable_or(status->outcome, SHOWN, "Running");
	report->rotation = xstrdup(rotation->meta.name);
	report->started = text_printable_or(status->started_at, SHOWN, now);
	report->finished = text_printable_or(status->completed_at, SHOWN, now);
	uint64_t began = wall_of(status->started_at, wall), ended = wall_of(status->completed_at, wall);
	report->ns = ended > began ? ended - began : 0;
	add_labels(&report->old_keys, status->old_keys, status->old_key_count);
	add_labels(&report->new_keys, status->new_keys, status->new_key_count);
	take_key_ids(report, rotation);
	report->objects = status->progress.total;
	for (size_t i = 0; i < status->evidence.count; i++)
		strings_add(&report->evidence, status->evidence.items[i]);
	for (size_t i = 0; i < rotation->spec.foreign_prefixes.count; i++) {
		_cleanup_free_ char *line = xasprintf("values under %s were left out: named as somebody else's",
						      rotation->spec.foreign_prefixes.items[i]);
		strings_add(&report->evidence, line);
	}
	take_servers(report, status, fleet);
	take_quarantine(report, status);
	take_values(&report->before, &status->before);
	take_values(&report->after, &status->after);
	report->revision = status->after.revision;
	tell_remains(report, rotation);
	if (text_equal(report->outcome, "Done"))
		rotation_report_name_old_keys(report, rotation->spec.follow_kms);
	return report;
}
