/* What the files of a sweep share.
 *
 * sweep.c: the top, which waits and stops. sweep_list.c: pages into the queue. sweep_write.c: the queue into
 * requests, one object's life.
 * sweep_judge.c: what an answer means. sweep_quota.c: etcd's quota. sweep_kms.c: how slow a KMS is. sweep_progress.c: for people. sweep_result.c:
 * what became of it all. sweep_tally.c: how many there are, with what sweep_watch.c hears of others.
 * Everything happens in call-backs of the loop (sweep_pump is called by each); the top only looks at the clock. */
#pragma once
#include "base/clock.h"
#include "base/text.h"
#include "engine/kms_pace.h"
#include "engine/sweep.h"
#include "engine/sweep_judge.h"
#include "engine/sweep_tally.h"

#define SWEEP_WRITE_TIMEOUT (60 * NS_PER_S)

/* One object on its way. */
struct sweep_item {
	struct sweep_item *next;
	struct sweep *sweep;
	size_t count; /* index of its resource in result->counts */
	const struct kube_resource *resource;
	char *namespace_; /* "" for cluster-scoped objects */
	char *name;
	char *uid;              /* "" until it was read: whatever is there is meant */
	char *resource_version; /* of the bytes or metadata at hand */
	struct secret *object;  /* its bytes; NULL: to be patched, or to be read first */
	uint64_t size;          /* charged to the cap on bytes in flight while `object` is there */
	uint64_t counted_bytes;
	size_t place;     /* of its namespace in sweep->places */
	uint64_t due;     /* in `later`: not before */
	uint64_t started; /* the request under way */
	bool by_patch;
	bool read_first;    /* what we have is outdated or uncertain */
	bool maybe_written; /* an answer was lost: the write may have been done */
	bool written;       /* it was, as reading again showed; what is written after it changes nothing */
	unsigned conflicts, faults, errors;
	uint64_t first_error;  /* time of the first 500 */
	uint64_t written_then; /* sweep->written at that time */
};

struct sweep_queue {
	struct sweep_item *first, **end;
	size_t count;
};

/* Where the lists are. A unit is one resource in one namespace, or in all. */
struct sweep_lister {
	struct kube_list_call *call;
	bool done;       /* nothing more to list */
	size_t resource; /* index into options->resources */
	bool each;       /* one list for each namespace */
	size_t at;       /* which of them */
	char *token;     /* of the page to get; NULL: the first */
	bool repeats;    /* this list began before: objects up to `last` were queued already */
	char *last_namespace, *last_name;
	bool patch_page; /* an object of this page is too large to be held */
	bool paused;
	uint64_t incoming;     /* size of the object that is coming in */
	uint64_t items, bytes; /* of this page */
	unsigned limit;        /* objects of the next page */
	unsigned failures;     /* in a row */
	unsigned broken;       /* answers in a row that no API server gives */
	uint64_t due;          /* not before */
	uint64_t initializing_since;
};

/* Of one etcd. */
struct sweep_quota {
	uint64_t due;    /* next look */
	uint64_t looked; /* last one, and the size then */
	uint64_t size;
	char *why; /* it has no room; NULL */
};

struct sweep_rate {
	uint64_t interval; /* ns between two points; the window has 32 of them */
	uint64_t time[32], done[32];
	unsigned used, at;
};

struct sweep {
	const struct sweep_options *options;
	struct sweep_result *result;
	struct throttle throttle;
	struct strings places; /* namespaces in the order of keys, or those asked for; empty: not known */
	struct sweep_lister lister;
	size_t named;                    /* next of options->named */
	struct sweep_queue ready, later; /* `later` by due time */
	unsigned in_flight;
	uint64_t held;    /* object bytes listed and not yet written */
	uint64_t written; /* good answers to writes */
	uint64_t useful;  /* when the server last gave an answer that is of use */
	uint64_t away;    /* when it was last away; 0: never */
	struct loop_timer wake;
	bool pumping;
	int stop;                   /* no new requests: the code to return, or 0 */
	struct error *error;        /* why */
	struct error *last_error;   /* what kept us from going on last */
	bool full;                  /* etcd is: wait */
	bool on_hold;               /* by whoever ordered it: wait */
	struct sweep_quota *quotas; /* one per etcd */
	struct kms_pace kms;
	uint64_t kms_due;               /* next look at it */
	bool kms_hidden;                /* nobody may look */
	struct throttle_options wanted; /* by whoever ordered it; a slow KMS gets less */
	char *waiting;                  /* for people; NULL */
	uint64_t waiting_until;
	struct sweep_rate rate,
		pace;  /* of the last 16 s, for people; of the last 2 minutes, for the time that is left */
	uint64_t told; /* when progress was last told */
	struct sweep_tally tally;
	struct sweep_watch *watches;
	size_t watch_count;
	bool watch_noted;
	size_t shown_count, shown_place; /* the furthest resource and namespace of a request */
	char *shown_namespace;
	uint64_t done, skipped, conflicts, bytes, bytes_rewritten; /* sums over counts */
	uint64_t bytes_most;                                       /* of bytes_rewritten */
};

/* --- sweep.c --- */
/* Does whatever can be done now, and sees to being called again. */
void sweep_pump(struct sweep *sweep);
/* Sets the time at which sweep_pump is called by itself. */
void sweep_wake(struct sweep *sweep, uint64_t due);
/* From now on only what is under way is finished. The first reason stays. Takes *error. */
void sweep_stop(struct sweep *sweep, int rc, struct error **error);
/* Whether the server was away moments ago. */
bool sweep_just_back(const struct sweep *sweep, uint64_t now);
/* Nothing can move until `until`; `why` is a new string or NULL. Takes *error. */
void sweep_hold(struct sweep *sweep, char *why, uint64_t until, struct error **error);

/* --- sweep_list.c --- */
/* Asks for the next page, or lets the present one flow, when the queue is short. */
void sweep_list_pump(struct sweep *sweep, uint64_t now);
/* When the lister wants to be asked again by itself; UINT64_MAX: not. */
uint64_t sweep_list_due(const struct sweep *sweep, uint64_t now);
void sweep_list_cancel(struct sweep *sweep);
void sweep_list_init(struct sweep *sweep);
void sweep_list_begin(struct sweep *sweep); /* once the places are known */
void sweep_list_free(struct sweep *sweep);
/* Whether an object of that revision is under the write key for sure. */
bool sweep_may_skip(const struct sweep *sweep, size_t resource, uint64_t revision);
/* -1, 0, 1: the order of etcd's keys. */
int sweep_key_compare(const char *namespace_a, const char *name_a, const char *namespace_b, const char *name_b);

/* --- sweep_places.c: which namespaces there are, and how many objects --- */
/* Waits. What cannot be found out stays unknown; -ERROR_INTERRUPTED alone is handed on. */
int sweep_places_find(struct sweep *sweep, struct error **err);
/* Index of a namespace, or the number of places when it is not among them. */
size_t sweep_place(const struct sweep *sweep, const char *namespace_);

/* --- sweep_write.c --- */
/* A new item without object or versions. */
struct sweep_item *sweep_item_new(struct sweep *sweep, size_t count, const struct kube_resource *resource,
				  const char *namespace_, const char *name);
/* What etcd has once more where it was written, at most. */
uint64_t sweep_item_most(const struct sweep_item *item);
void sweep_item_free(struct sweep_item *item); /* wipes; gives its bytes back to the cap */
void sweep_queue_init(struct sweep_queue *queue);
void sweep_queue_add(struct sweep_queue *queue, struct sweep_item *item);
void sweep_queue_free(struct sweep_queue *queue);
bool sweep_is_patched(const struct sweep_options *options, const struct kube_resource *resource);
/* Starts what the throttle allows; *ret_again: when to try again. */
void sweep_write_pump(struct sweep *sweep, uint64_t now, uint64_t *ret_again);

/* --- sweep_quota.c --- */
void sweep_quota_init(struct sweep *sweep);
void sweep_quota_free(struct sweep *sweep);
/* Looks at the Status of every member of those etcds for which it is due, and asks who else knows. Waits: for the top. */
void sweep_quota_check(struct sweep *sweep);
/* --- sweep_kms.c --- */
void sweep_kms_check(struct sweep *sweep);

/* --- sweep_progress.c --- */
void sweep_progress_tell(struct sweep *sweep, uint64_t now, bool last);
void sweep_progress_init(struct sweep *sweep);
void sweep_progress_restart(struct sweep *sweep); /* after a pause: it is no part of how fast things go */
/* Objects a second over the window; 0: too early to tell. Pure. */
uint64_t sweep_rate_add(struct sweep_rate *rate, uint64_t done, uint64_t now);

/* --- sweep_watch.c --- */
void sweep_watch_start(struct sweep *sweep);
/* Says once that one does not come about. */
void sweep_watch_check(struct sweep *sweep, uint64_t now);
void sweep_watch_stop(struct sweep *sweep);

/* --- sweep_result.c --- */
struct sweep_result *sweep_result_new(const struct sweep_options *options, uint64_t now);
size_t sweep_result_index(struct sweep_result *result, const struct kube_resource *resource);
enum sweep_end {
	SWEEP_ENDED_REWRITTEN,
	SWEEP_ENDED_CURRENT,
	SWEEP_ENDED_SKIPPED,
	SWEEP_ENDED_GONE,
	SWEEP_ENDED_QUARANTINED
};
void sweep_count_end(struct sweep *sweep, size_t count, enum sweep_end end, uint64_t bytes);
/* Names it, up to the cap, and counts it in result->quarantined. */
void sweep_quarantine(struct sweep *sweep, const struct kube_resource *resource, const char *namespace_,
		      const char *name, const char *why);
