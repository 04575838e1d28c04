/* One event of a watch, and one object within it or within a list in JSON.
 *
 * Format: metav1.WatchEvent {"type": ..., "object": ...}; the object is a PartialObjectMetadata, the resource's own kind, or
 * with type ERROR a Status. Metadata still carries values (the annotation last-applied-configuration): nothing of an event is
 * ever quoted, and cJSON's memory is wiped (json_install_hooks). */
#pragma once
#include "base/json_read.h"

enum watch_event_type { WATCH_ADDED, WATCH_MODIFIED, WATCH_DELETED, WATCH_BOOKMARK, WATCH_ERROR };

struct watch_object {
	const char *namespace_, *name, *uid, *resource_version; /* namespace_ "" where there is none */
	const cJSON *json;                                      /* all of it; NULL where only metadata was asked for */
};
/* Strings and json stay the document's. -ERROR_PROTOCOL: no name, uid or resourceVersion, or one that is too long for any. */
_must_check_ int watch_object_read(const cJSON *json, struct watch_object *ret);

struct watch_event {
	enum watch_event_type type;
	struct watch_object object; /* BOOKMARK: the resourceVersion alone; ERROR: nothing */
	unsigned code;              /* of an ERROR's Status; 0 without one */
	cJSON *document;            /* owns the above */
};
/* -ERROR_PROTOCOL: no JSON, an unknown type, an object that is none. *ret is untouched then. */
_must_check_ int watch_event_parse(const void *bytes, size_t len, struct watch_event *ret);
void watch_event_free(struct watch_event *event); /* wipes, by cJSON's hooks */
