/* What the dashboard knows: the objects as they came last, and what it saw pass. Pure: objects and `now` go in, nothing comes
 * out but what is here; the page's document is made of it by dashboard_model.h.
 *
 * Bounded: ROTATIONS, KEY_SERVERS_MAX, EVENTS, NAMESPACES and NOTES below; of more, what came last stays. */
#pragma once
#include <cjson/cJSON.h>
#include "cmd/leader.h"
#include "cmd/rotations.h"

#define DASHBOARD_ROTATIONS_MAX 1000
#define DASHBOARD_EVENTS_MAX 200
#define DASHBOARD_NAMESPACES_MAX 100
#define DASHBOARD_NOTES_MAX 100

enum dashboard_kind { DASHBOARD_ROTATION, DASHBOARD_SERVER, DASHBOARD_EVENT, DASHBOARD_LEASE, DASHBOARD_KINDS };

/* How well one kind of object is known. */
struct dashboard_source {
	bool synced;        /* the view is whole, and followed */
	uint64_t synced_at; /* monotonic ns: when it last was; 0: never */
	char *problem;      /* why it is not; NULL */
	char *broken;       /* of an object that could not be read: why; NULL */
	bool listing;       /* a list goes on; who was in it: */
	struct strings listed;
};
/* Something that happened, as an Event tells it or as it was seen to pass. */
struct dashboard_event {
	char *uid;      /* of the Event; NULL: it was seen */
	char *rotation; /* uid of the KeyRotation */
	char *at;       /* RFC 3339 */
	char *reason, *note;
	bool warning;
};
struct dashboard_events {
	struct dashboard_event *items; /* in the order of their times */
	size_t count;
};
struct dashboard_namespace {
	char *name;
	uint64_t rewritten;
	uint64_t from; /* what progress said when it was begun, or was come back to */
};
struct dashboard_store {
	struct dashboard_source sources[DASHBOARD_KINDS];
	struct rotations rotations;
	struct fleet fleet; /* its times are when a report was seen first; looked_at 0: it was seen once */
	/* The last whole census that was seen during the rotation that is shown, and is told no longer: agents tell it until their
	 * next order. NULL: none. */
	struct key_server *counted;
	struct dashboard_events events; /* of the API server */
	struct dashboard_events notes;  /* what was seen to pass, where there are no events */
	struct leader leader;           /* of the controllers */
	/* of the KeyRotation that is shown */
	const char *name; /* the one that was asked for; NULL: any */
	char *shown, *phase;
	struct dashboard_namespace *namespaces; /* in the order in which they were begun */
	size_t namespace_count;
	size_t namespace_now; /* at work; == count: none */
};
void dashboard_store_free(struct dashboard_store *store); /* the contents */

/* An object, as an API server sends it. One that cannot be read is said by its source, and what was known of it stays. `wall` is
 * for people. */
void dashboard_store_put(struct dashboard_store *store, enum dashboard_kind kind, const cJSON *object, uint64_t now,
			 uint64_t wall);
void dashboard_store_remove(struct dashboard_store *store, enum dashboard_kind kind, const char *name);
/* Between the two, all that are there are put: who is not, is gone. */
void dashboard_store_relist(struct dashboard_store *store, enum dashboard_kind kind);
void dashboard_store_synced(struct dashboard_store *store, enum dashboard_kind kind, uint64_t now);
/* How its source is now: `problem` is copied. */
void dashboard_store_watch(struct dashboard_store *store, enum dashboard_kind kind, bool synced, const char *problem,
			   uint64_t now);
/* The KeyRotation and the servers that a record shows, instead of all that is known. Takes both. */
void dashboard_store_show(struct dashboard_store *store, struct key_rotation *rotation, struct fleet *fleet,
			  uint64_t now, uint64_t wall);
