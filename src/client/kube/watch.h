/* Following one collection of the API server: a list, then a watch from its resourceVersion, again and again. This is the
 * machine alone, without sockets, clock or chance: inputs are functions, what is to be done next is asked for, and what was
 * learnt goes to the user's call-backs. watcher.h joins it to the network.
 *
 * Rules: the resourceVersion moves with each event, bookmarks too. 410, as a status or an event, means list again; so does an
 * event that is unknown, broken or too large, for what it said is lost (it is dropped unseen: it may carry values). A watch
 * that ends within short_life without an event is a failure, as is one that does not open. After failures comes a pause that
 * doubles, with chance in it; a watch that lives for good_life forgets them. A peer that says nothing is pinged, then hung up
 * on: a pong counts as anything else it says. Semantics: k8s.io/client-go tools/cache/reflector.go. */
#pragma once
#include <stdbool.h>
#include "format/watch_event.h"

#define WATCH_METADATA_EVENT_MAX (4u << 20) /* etcd takes 1.5 MiB; JSON and base64 make more of it */
#define WATCH_OBJECT_EVENT_MAX (8u << 20)

struct watch_times { /* ns */
	uint64_t first_pause, longest_pause;
	uint64_t short_life, good_life;
	uint64_t open_within;               /* from "connect" to "connected" */
	uint64_t ping_after, hang_up_after; /* silence; counted from the last that was heard */
	uint64_t life, life_spread;         /* of one watch; asked of the server in seconds */
};
extern const struct watch_times watch_times;

/* The user's view. Call-backs come from within the inputs, and must not free or feed the machine. */
struct watch_handler {
	/* What was known is no longer followed; a list comes. What it does not name until on_synced is gone. It may come again
	 * before on_synced, when a list failed half-way. */
	void (*on_relist)(void *arg);
	/* An object of the list. */
	void (*on_listed)(void *arg, const struct watch_object *object);
	void (*on_synced)(void *arg);
	/* ADDED, MODIFIED or DELETED. An object that is known already may be ADDED again. */
	void (*on_event)(void *arg, enum watch_event_type type, const struct watch_object *object);
	/* Nothing changed up to here. NULL: not wanted. */
	void (*on_bookmark)(void *arg, const char *resource_version);
};

enum watch_do {
	WATCH_NOTHING, /* until the next input, or the time that watch_next names */
	WATCH_LIST,
	WATCH_CONNECT, /* at watch_resource_version, for watch_seconds */
	WATCH_PING,
	WATCH_HANG_UP, /* close the connection, whatever its state; no watch_ended for it */
};

struct watch;
/* `objects`: events carry whole objects, which the user gets (watch_object.json); else metadata. `chance`: any number, of which
 * all pauses and lives are made. `times` NULL: watch_times. */
struct watch *watch_new(const struct watch_handler *handler, void *arg, bool objects, uint64_t chance,
			const struct watch_times *times);
void watch_free(struct watch *watch); /* wipes; NULL is fine */
/* What to do now; call it after each input and at *ret_due (monotonic ns), until WATCH_NOTHING. */
enum watch_do watch_next(struct watch *watch, uint64_t now, uint64_t *ret_due);
const char *watch_resource_version(const struct watch *watch);
unsigned watch_seconds(const struct watch *watch); /* for timeoutSeconds */
bool watch_is_synced(
	const struct watch *watch);            /* the view is whole and followed, or its connection is being renewed */
bool watch_is_open(const struct watch *watch); /* its connection stands; while that is renewed it does not */
unsigned watch_failures(const struct watch *watch);      /* in a row */
bool watch_wants_credentials(const struct watch *watch); /* the last attempt was refused as 401 */

/* After WATCH_LIST: any number of items, then one of the others. Status 0 where there is none. */
void watch_list_item(struct watch *watch, const struct watch_object *object);
void watch_listed(struct watch *watch, uint64_t now, const char *resource_version);
void watch_list_failed(struct watch *watch, uint64_t now, unsigned status, uint64_t retry_after);
/* After WATCH_CONNECT. Text comes in pieces of any size, `last` ends a message. */
void watch_connected(struct watch *watch, uint64_t now);
void watch_text(struct watch *watch, uint64_t now, const void *bytes, size_t len, bool last);
void watch_pong(struct watch *watch, uint64_t now);
/* It was closed, or never opened; `status` as the server's answer to the attempt, 0 without one. */
void watch_ended(struct watch *watch, uint64_t now, unsigned status);
