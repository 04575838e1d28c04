/* Whether a controller leads, by its Lease kube-system/kube-rekey: what it says, and when it was seen to change. Pure but for
 * leader_look. Times are our own: clocks of others are not asked. */
#pragma once
#include <cjson/cJSON.h>
#include "base/error.h"
#include "client/kube/kube.h"

#define LEADER_SILENCE (UINT64_C(15) * 1000000000) /* LOCK_DURATION_S: others take it then */
#define LEADER_LATE (UINT64_C(5) * 1000000000)     /* two renewals and more that did not come */

struct leader {
	bool asked;          /* what follows is known; else `problem` says why not, or nobody asked yet */
	char *problem;       /* why the Lease cannot be read; NULL */
	uint64_t refused_at; /* monotonic ns: it may not be read, and leader_look asks no more for a while; 0 */
	char *holder;        /* "" nobody; made printable */
	char *renewed;       /* as its holder wrote it; NULL: there is no such Lease */
	uint64_t seen_at;    /* monotonic ns: when the Lease was seen first */
	uint64_t renewed_at; /* when it was seen to be renewed; 0: not yet */
	uint64_t looked_at;  /* when it was read last */
};
void leader_free(struct leader *leader); /* the contents */
/* The Lease as an API server sends it; NULL: there is none. */
void leader_put(struct leader *leader, const cJSON *lease, uint64_t now);
void leader_unknown(struct leader *leader, const char *problem); /* copied */
/* Reads it. Whatever keeps it from being read is in leader->problem; -ERROR_INTERRUPTED alone is returned. Waits. */
_must_check_ int leader_look(struct leader *leader, struct kube *kube, struct error **err);
/* It is known that none leads. Not when it is not known. */
bool leader_missing(const struct leader *leader, uint64_t now);
/* It is known who leads, and so long not seen that it still does: LEADER_LATE at least, and not yet leader_missing. */
bool leader_late(const struct leader *leader, uint64_t now);
bool leader_renews(const struct leader *leader, uint64_t now); /* it was seen to, just now */
/* "ctl-1 leads", "none leads now: ...", "whether one leads is not known: ...". New string. */
char *leader_words(const struct leader *leader, uint64_t now);
