/* One sweep: every object of the chosen resources rewritten once, namespace by namespace, through one API server.
 *
 * `replace` lists a page as protobuf, and PUTs each object's own bytes back; `patch` is a metadata-only list and an
 * empty
 * merge patch. Every write carries uid and resourceVersion. Memory is flat: bytes in flight have a cap, the page's size
 * adapts to what it holds.
 *
 * Order: resources as given; within one the order of etcd's keys, which is that of "<namespace>/" in bytes, then of
 * names.
 * All namespaces are one paged list, so that hundreds of them cost nothing; given ones are a list each.
 * What becomes of an object: written; gone (404, or another uid: created since, thus under the write key already); read
 * again and written after a 409 or an answer that was lost; or quarantined in the server's words: refused (400,
 * 403, 413,
 * 422, a webhook), changed by others SWEEP_CONFLICTS_MAX times, or failing while others are written. 429, 502, 503,
 * 504 and
 * no connection never quarantine: they slow us. */
#pragma once
#include "client/etcd/etcd.h"
#include "client/kube/object.h"
#include "engine/throttle.h"
#include "kube-rekey/encryption_config.h"

enum sweep_mode { SWEEP_REPLACE, SWEEP_PATCH };
/* Object bytes listed and not yet written; one object may exceed it alone. */
#define SWEEP_BYTES_IN_FLIGHT (8u << 20)
/* A page with a larger object is patched in replace mode too; etcd's own limit is 1.5 MiB by default. */
#define SWEEP_ITEM_MAX (16u << 20)
/* An object that is patched: as etcd takes it by default. */
#define SWEEP_PATCHED_MOST (UINT64_C(3) << 19)
/* Named; all are counted. */
#define SWEEP_QUARANTINE_MAX 1000
/* An object that somebody else changed each time we came. */
#define SWEEP_CONFLICTS_MAX 8
/* An object that fails by itself: a webhook that does not answer, a 500 while others are written. */
#define SWEEP_FAULTS_MAX 5
/* ns without one useful answer: the server is away. */
#define SWEEP_AWAY_MAX (UINT64_C(600) * 1000000000)
/* ns after that in which 401 and 403 of a server that starts are taken for "away", too. */
#define SWEEP_START_MAX (UINT64_C(30) * 1000000000)
/* ns with a list that answers "storage is (re)initializing". */
#define SWEEP_PATIENCE (UINT64_C(60) * 1000000000)
/* ns between looks at the members of etcd, at most: the faster they fill, the sooner. */
#define SWEEP_QUOTA_INTERVAL (UINT64_C(5) * 1000000000)
/* % of the quota that etcd's file takes: the sweep pauses, */
#define SWEEP_QUOTA_PAUSE 80
/* and goes on when less than this is in use: a compaction made room inside the file, which the next revisions fill, */
#define SWEEP_QUOTA_ROOM 50
/* but not beyond this: large values find no gap of their size, so the file grows all the same (seen: NOSPACE with
 * 76% in
 * use). Only `etcdctl defrag` makes it smaller. */
#define SWEEP_QUOTA_FULL 95
/* Resources that are watched meanwhile: the first ones. */
#define SWEEP_WATCHES_MAX 8

struct web;
struct sweep_object {
	const struct kube_resource *resource;
	char *namespace_, *name;
};

/* For people; strings are valid during the call. */
struct sweep_progress {
	const char *resource, *namespace_;
	size_t namespace_index, namespace_count; /* count 0: not known */
	/* Total 0: not known; never less than done. What others create meanwhile is in both, for it is under the write key; what
	 * they delete ahead of us is in none. */
	uint64_t done, total;
	uint64_t rewritten, skipped, bytes, quarantined, conflicts;
	uint64_t bytes_rewritten; /* of bytes: what etcd has once more now */
	uint64_t
		bytes_most; /* the same with the most that each patched object may have, of which metadata alone are seen */
	uint64_t per_second; /* over the last seconds; 0: too early to tell */
	uint64_t eta;        /* ns; 0: not known */
	/* Why nothing moves ("429 from the server, again in 4 s", "etcd member a (URL) at 81% of its quota, ..."); NULL:
	 * it moves. */
	const char *waiting;
};

/* Whether it is still wanted. */
enum sweep_wish {
	SWEEP_GO_ON,
	SWEEP_HOLD, /* what is under way is finished, nothing else is begun; it goes on from there */
	SWEEP_GIVE_UP,
};

struct sweep_options {
	struct loop *loop;
	/* Its http_client needs one connection more than speed.concurrency: a list that waits for room must not
	 * stand in the way
	 * of the writes that make it. */
	struct kube *kube;
	const struct kube_resource *const *resources; /* in the order of rewriting */
	size_t resource_count;
	/* Only these, in the order of keys, and no cluster-scoped objects; NULL or empty: all. */
	const struct strings *namespaces;
	/* Instead of listing: exactly these (what a census named), each read first. */
	const struct sweep_object *named;
	size_t named_count;
	enum sweep_mode mode; /* custom resources, and those that take no update, are always patched */
	/* Patched with this as an annotation (KUBE_MARK): each is a write, whatever is stored. NULL: nothing is changed. */
	const char *mark;
	struct throttle_options speed; /* of all requests for single objects */
	uint64_t deadline;             /* monotonic; 0: none. Passing it: -ERROR_DEADLINE, resumable */
	/* Of each resource: objects whose resourceVersion is above this were written after convergence and settling, and are
	 * skipped; 0: none is. NULL: none at all. */
	const uint64_t *skip_above;
	/* Connected; none: not watched. The sweep pauses while a member's file in any of them is at SWEEP_QUOTA_PAUSE %
	 * of its quota: each may hold what is rewritten. */
	struct etcd *const *etcds;
	size_t etcd_count;
	/* The same of etcds that are not reached from here: why there is no room, as others tell, or NULL (new string). Asked
	 * every 100 ms; NULL: nobody tells. */
	char *(*no_room)(void *arg);
	/* A KMS v2 plugin is asked for keys: where its calls come to take longer than at the beginning, by the server's metrics,
	 * the speed is halved, and again every 10 s. */
	bool watch_kms;
	/* Objects expected of each resource, for progress (named ones are counted themselves); NULL: the sweep asks for itself where
	 * that takes few requests. */
	const uint64_t *expected;
	/* Whoever ordered it reads every value in etcd afterwards: where a resource has many objects it is listed by namespace, which
	 * others feel less. What lies in a namespace that is not there any more is not listed then; a sweep without this names it. */
	bool proved_afterwards;
	/* For watches, which keep progress true while others create and delete; NULL: pages of lists alone do. */
	struct web *web;
	/* Asked every 100 ms, also while nothing moves; NULL: it goes on. *speed is what it is: another one is
	 * followed. */
	enum sweep_wish (*wish)(void *arg, struct throttle_options *speed);
	/* At most every 100 ms, and at the end. */
	void (*on_progress)(void *arg, const struct sweep_progress *progress);
	/* What takes nothing from the result, for people; NULL: nobody. */
	void (*on_note)(void *arg, const char *text);
	void *arg;
};

struct sweep_quarantined {
	const struct kube_resource *resource;
	char *namespace_; /* "" for cluster-scoped objects, and for all namespaces */
	char *name;       /* "*": the list itself was refused, so none of its objects was seen */
	char *why;
};
struct sweep_count {
	const struct kube_resource *resource;
	uint64_t objects;   /* the sum of the next five */
	uint64_t rewritten; /* moved to a new resourceVersion */
	uint64_t current;   /* no-op: already under the write key */
	uint64_t skipped, gone, quarantined;
	uint64_t conflicts; /* answers of 409: read again each time */
	uint64_t bytes;     /* of their list items: in patch mode of their metadata alone */
};
struct sweep_result {
	struct sweep_count *counts; /* of each resource, in the order of rewriting */
	size_t count;
	struct sweep_quarantined *quarantine;
	size_t quarantine_named;
	uint64_t quarantined;     /* the named ones and those beyond the cap */
	uint64_t begun, finished; /* monotonic; finished 0: interrupted */
	uint64_t objects, rewritten;
	uint64_t
		moved; /* of these, by an answer to a write of ours: not read afterwards, when another's may have done it */
};
/* 0 when every object was rewritten, gone or quarantined. -ERROR_INTERRUPTED after a signal (the requests at hand are
 * finished first), -ERROR_DEADLINE, -ERROR_AUTH when the credentials expired for good, -ERROR_NETWORK when the
 * server stays
 * away for 10 minutes, -ERROR_BUSY when a list says for a minute that storage is initializing: a value that the server
 * cannot decrypt; -ERROR_CONFLICT when it is to be given up; -ERROR_PROTOCOL when lists are no lists, many times in a row. *ret is set in every case. Waits
 * (top of a
 * command). */
_must_check_ int sweep_run(const struct sweep_options *options, struct sweep_result **ret, struct error **err);
void sweep_result_free(struct sweep_result *result);
void sweep_result_freep(struct sweep_result **result);
/* 0, or how many percent of the quota (0: not told) the file takes when writing must pause: until a compaction makes room in
 * it, or (`*ret_file`) until it is defragmented. Pure. */
unsigned sweep_quota_pressure(uint64_t db_size, uint64_t in_use, uint64_t quota, bool *ret_file);
/* The quota, or what is taken for it where it is not told (0). Pure. */
uint64_t sweep_quota_of(uint64_t db_size, uint64_t told);
/* That for people; `where` is the member's address, or who tells of it. New string. */
char *sweep_quota_words(const char *member, const char *where, unsigned percent, bool file);
/* The resources that a configuration has rules for, wildcards resolved by discovery, in the order of rewriting:
 * secrets,
 * configmaps, then by name. Left out: what another API server stores, what can be neither listed nor written, and
 * events.events.k8s.io where events are served (the same objects). New array. */
const struct kube_resource **sweep_resources(const struct config_shape *shape, const struct kube_resources *resources,
					     size_t *ret_count);
