#include "cmd/sweep_show.h"

#include "base/text.h"

void sweep_show_json(struct json_writer *w, const struct sweep_result *result)
{
	json_key(w, "resources");
	json_array_begin(w);
	for (size_t i = 0; i < result->count; i++) {
		const struct sweep_count *count = &result->counts[i];
		json_object_begin(w);
		json_member_string(w, "resource", count->resource->resource);
		json_member_u64(w, "objects", count->objects);
		json_member_u64(w, "rewritten", count->rewritten);
		json_member_u64(w, "skipped", count->skipped + count->current);
		json_member_u64(w, "conflicts", count->conflicts);
		json_member_u64(w, "gone", count->gone);
		json_member_u64(w, "quarantined", count->quarantined);
		json_object_end(w);
	}
	json_array_end(w);
	json_key(w, "quarantined");
	json_array_begin(w);
	for (size_t i = 0; i < result->quarantine_named; i++) {
		const struct sweep_quarantined *q = &result->quarantine[i];
		json_object_begin(w);
		json_member_string(w, "resource", q->resource->resource);
		json_member_string(w, "namespace", q->namespace_ ? q->namespace_ : "");
		json_member_string(w, "name", q->name);
		json_member_string(w, "why", q->why);
		json_object_end(w);
	}
	json_array_end(w);
}

char *sweep_text(const struct sweep_result *result)
{
	_cleanup_strings_ lines = {0};
	for (size_t i = 0; i < result->count; i++) {
		const struct sweep_count *count = &result->counts[i];
		_cleanup_free_ char *line =
			xasprintf("%s: %llu objects, %llu rewritten, %llu current, %llu gone, %llu quarantined\n",
				  count->resource->resource, (unsigned long long)count->objects,
				  (unsigned long long)count->rewritten,
				  (unsigned long long)count->current + (unsigned long long)count->skipped,
				  (unsigned long long)count->gone, (unsigned long long)count->quarantined);
		strings_add(&lines, line);
	}
	for (size_t i = 0; i < result->quarantine_named; i++) {
		const struct sweep_quarantined *q = &result->quarantine[i];
		_cleanup_free_ char *line = xasprintf("quarantined: %s %s/%s: %s\n", q->resource->resource,
						      q->namespace_ ? q->namespace_ : "", q->name, q->why);
		strings_add(&lines, line);
	}
	return strings_join(&lines, "");
}
