/* One sweep: every object of the chosen resources rewritten once, namespace by namespace, through one API server.
 *
 * `replace` lists a page as protobuf, and PUTs each object's own bytes back; `patch` is a metadata-only list and an empty merge patch. Every
 * write carries uid and resourceVersion. Memory is flat: bytes in flight have a cap, the page's size adapts to what it holds. */
#pragma once
#include "client/etcd/etcd.h"
#include "client/kube/object.h"
#include "engine/throttle.h"
#include "kube-rekey/encryption_config.h"

enum sweep_mode { SWEEP_REPLACE, SWEEP_PATCH };
#define SWEEP_BYTES_IN_FLIGHT (8u << 20) /* object bytes listed and not yet written; one object may exceed it alone */
#define SWEEP_ITEM_MAX (16u << 20)       /* a larger object is quarantined in replace mode; etcd's own limit is 1.5 MiB by default */
#define SWEEP_QUARANTINE_MAX 1000        /* named; all are counted */

struct sweep_object { const struct kube_resource *resource; char *namespace_, *name; };
struct sweep_progress;
struct sweep_options {
	struct loop *loop;
	struct kube *kube;
	const struct kube_resource *const *resources; size_t resource_count; /* in the order of rewriting */
	const struct strings *namespaces;   /* empty: all, in byte order; cluster-scoped objects first */
	const struct sweep_object *named; size_t named_count; /* instead of listing: exactly these (what a census named) */
	enum sweep_mode mode;               /* custom resources are always patched */
	struct throttle_options speed;
	uint64_t deadline;                  /* monotonic; 0: none. Passing it: -ERROR_DEADLINE, resumable */
	/* Objects whose resourceVersion is above this were written after convergence and settling: skipped. 0: skip nothing. */
	uint64_t skip_above;
	struct etcd *etcd;                  /* NULL: not watched. The sweep pauses while a member's database is at 80% of its quota */
	uint64_t totals_hint;               /* objects expected, for progress; 0 unknown */
	/* At most every 100 ms, and at the end. */
	void (*on_progress)(void *arg, const struct sweep_progress *progress); void *arg;
};
struct sweep_progress {
	const char *resource, *namespace_; size_t namespace_index, namespace_count;
	uint64_t done, total, rewritten, skipped, bytes; uint64_t per_second; uint64_t eta; /* ns; 0 unknown */
	uint64_t quarantined, conflicts;
	const char *waiting; /* why nothing moves ("429 from the server, again in 4 s", "etcd at 81% of its quota"); NULL */
};
struct sweep_quarantined { const struct kube_resource *resource; char *namespace_, *name, *why; };
struct sweep_count { const struct kube_resource *resource; uint64_t objects, rewritten /* moved to a new resourceVersion */, current /* no-op: already under the write key */,
	skipped, conflicts /* read again */, gone, quarantined, bytes; };
struct sweep_result {
	struct sweep_count *counts; size_t count;
	struct sweep_quarantined *quarantine; size_t quarantine_named; uint64_t quarantined;
	uint64_t begun, finished; /* monotonic; finished 0: interrupted */
	uint64_t objects, rewritten;
};
/* 0 when every object was rewritten, gone or quarantined. -ERROR_INTERRUPTED after a signal (the request at hand is finished first),
 * -ERROR_DEADLINE, -ERROR_AUTH when the credentials expired for good, -ERROR_NETWORK when the server stays away for 10 minutes. *ret is set in
 * every case. Waits (top of a command). */
_must_check_ int sweep_run(const struct sweep_options *options, struct sweep_result **ret, struct error **err);
void sweep_result_free(struct sweep_result *result);
void sweep_result_freep(struct sweep_result **result);
/* The resources that a configuration encrypts, wildcards resolved by discovery, in the order of rewriting: secrets, configmaps, then by name. New array. */
const struct kube_resource **sweep_resources(const struct config_shape *shape, const struct kube_resources *resources, size_t *ret_count);
