/* Rewriting where nothing but the API can be reached, and what can be proved of it there. Two proofs, and the report says
 * which were had:
 *
 * - resourceVersion: an empty patch that carries resourceVersion r and comes back with r wrote nothing, which a server does
 *   only where the stored value is under its own write key (k8s.io/apiserver, storage/etcd3, GuaranteedUpdate). One whole
 *   pass in which nothing moved. A server that lags calls its own old key current, so alone it is the weaker one.
 * - fromStorage: every object read one by one, and each counted under the write key by the server that was asked
 *   (engine/api_census.h). Needs /metrics.
 *
 * Both are of what the API serves, through the servers that were reached; values that no API serves, history and backups
 * are not seen. */
#pragma once
#include "engine/api_census.h"
#include "engine/cluster.h"
#include "engine/sweep.h"

#define API_PASSES_MAX 5                    /* until nothing moves */
#define API_ROUNDS_MAX 3                    /* until no server starts anew in the middle */
#define API_LOOK (UINT64_C(5) * 1000000000) /* between looks at what a KMS names */
#define API_UNSEEN_MAX 3                    /* looks in a row at which what a server writes with was not shown */

struct api_rewrite_options {
	struct cluster *cluster;
	struct api_servers *servers;
	const struct kube_resource *const *resources;
	size_t resource_count;
	enum sweep_mode mode;
	bool force; /* an annotation makes each patch a write */
	struct throttle_options speed;
	uint64_t deadline; /* monotonic; 0: none */
	/* Waits until the KMS names another key than objects are under (or some are stale already), until every server was
	 * seen to write with it, and so long more: what was sealed before may land after. */
	bool follow;
	uint64_t settle;
	void (*on_sweep)(void *arg, const struct sweep_progress *progress);
	void (*on_read)(void *arg, const char *resource, uint64_t done, uint64_t total);
	void (*on_wait)(void *arg, const char *text);
	void (*on_note)(void *arg, const char *text);
	void *arg;
};
struct api_rewrite {
	struct sweep_result *sweep; /* the first pass, which rewrites */
	unsigned passes;            /* beside it */
	bool quiet;                 /* in the last of them nothing moved */
	uint64_t quiet_objects;
	struct api_census *census; /* NULL: /metrics is refused */
	struct strings proofs;     /* "canary", "resourceVersion", "fromStorage" */
	struct strings evidence;   /* sentences, of what was proved */
	struct strings weaker;     /* sentences, of what is missing from it */
	struct strings keys;       /* labels of the write keys */
	struct strings old_keys;   /* labels of keys that values were under before, and are no longer */
};
/* 0 when everything was rewritten and all that can be proved here was. *ret is set as soon as anything was done. -ERROR_FINDING
 * for what is stale, quarantined or unreadable in the end, -ERROR_REFUSED where servers write with two keys (the hint says
 * whether anything was rewritten) or what is missing keeps the proof from being one; -ERROR_DEADLINE, -ERROR_INTERRUPTED and what
 * sweeps say. Waits. */
_must_check_ int api_rewrite_run(const struct api_rewrite_options *options, struct api_rewrite **ret,
				 struct error **err);
void api_rewrite_free(struct api_rewrite *rewrite);
void api_rewrite_freep(struct api_rewrite **rewrite);
