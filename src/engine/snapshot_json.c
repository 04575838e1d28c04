/* The document of the command contract (kind SnapshotCensus). Fields may be added; none is left out for being 0. */
#include "base/json_writer.h"
#include "engine/census_internal.h"
#include "engine/snapshot.h"

static void write_group(struct json_writer *w, const struct snapshot_group *group)
{
	json_object_begin(w);
	json_member_string(w, "path", group->name);
	json_member_u64(w, "objects", group->objects);
	census_keys_write_json(w, "newest", group->newest, group->newest_count);
	census_keys_write_json(w, "history", group->history, group->history_count);
	json_member_u64(w, "unknown", group->unknown);
	json_member_string(w, "unknownExample", group->unknown_example ? group->unknown_example : "");
	json_member_u64(w, "historyUnknown", group->history_unknown);
	json_member_u64(w, "unreadable", group->unreadable);
	json_member_u64(w, "doesNotOpen", group->does_not_open);
	json_object_end(w);
}

void snapshot_census_write_json(const struct snapshot_census *census, struct json_writer *w)
{
	json_object_begin(w);
	json_member_string(w, "kind", "SnapshotCensus");
	json_member_string(w, "file", census->file);
	json_member_u64(w, "fileBytes", census->file_bytes);
	json_member_string(w, "hash", census->has_hash ? "ok" : "absent");
	json_member_u64(w, "revision", census->revision);
	json_member_u64(w, "compactedRevision", census->compacted_revision);
	json_member_string(w, "prefix", census->prefix);
	json_member_bool(w, "configurationKnown", census->config_known);
	json_member_strings(w, "needs", &census->needs);
	json_member_strings(w, "historyNeeds", &census->history_needs);
	census_keys_write_json(w, "newest", census->newest, census->newest_count);
	census_keys_write_json(w, "history", census->history, census->history_count);
	json_key(w, "groups");
	json_array_begin(w);
	for (size_t i = 0; i < census->group_count; i++)
		write_group(w, &census->groups[i]);
	json_array_end(w);
	json_member_u64(w, "objects", census->objects);
	json_member_u64(w, "bytes", census->bytes);
	json_member_u64(w, "historyValues", census->history_values);
	json_member_u64(w, "historyBytes", census->history_bytes);
	json_member_u64(w, "deletedPaths", census->deleted);
	json_member_u64(w, "unknown", census->unknown);
	json_member_u64(w, "historyUnknown", census->history_unknown);
	json_member_bool(w, "tooManyKeys", census->too_many_keys);
	json_member_u64(w, "unreadable", census->unreadable);
	json_member_u64(w, "opened", census->opened);
	json_member_u64(w, "notOpened", census->not_opened);
	json_member_u64(w, "refused", census->refused);
	json_member_u64(w, "decryptCalls", census->decrypt_calls);
	json_member_u64(w, "doesNotOpen", census->does_not_open);
	json_member_string(w, "doesNotOpenExample", census->does_not_open_example ? census->does_not_open_example : "");
	json_member_u64(w, "outside", census->outside);
	json_member_u64(w, "outsideEncrypted", census->outside_encrypted);
	json_member_string(w, "outsideExample", census->outside_example ? census->outside_example : "");
	json_key(w, "seconds");
	json_fixed(w, (double)(census->finished - census->begun) / 1e9, 3);
	json_object_end(w);
}
