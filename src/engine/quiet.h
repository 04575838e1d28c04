/* The watch over silence (rule 3a): every voting etcd member answers a linearizable read, every API server answers
 * anything, all the time; a gap of more than 5 s, theirs or ours, begins the settle time again. Runs on timers beside
 * everything else. Members that only a balancer leads to count as answering while it answers. */
#pragma once
#include "client/etcd/etcd.h"
#include "client/kube/kube.h"
#include "base/clock.h"
#include "kube-rekey/observation.h"

#define QUIET_PROBE_INTERVAL NS_PER_S
#define ETCD_BACK_NOTE "an etcd was away for a moment, or went back: what was read in it before counts no more"
#define QUIET_SILENCE (5 * NS_PER_S)

/* How long nothing may be silent before nothing older can land: as long as a request may take, and at least 15 s; 15 min where
 * etcd's members cannot be asked one by one. */
uint64_t quiet_settle_time(uint64_t request_timeout, bool behind_balancer);

struct quiet;
/* Begins to watch. The etcds are connected; all must outlive the watch. A probe reads `key` (any key, e.g. a
 * canary's). */
struct quiet *quiet_start(struct loop *loop, struct etcd *const *etcds, size_t etcd_count, struct kube *const *servers,
			  size_t server_count, const char *key);
void quiet_stop(struct quiet *quiet); /* NULL is fine */
/* Asks for the members anew (etcd_connect): one that joined is watched from now on, and settling begins again. So it
 * does when somebody else has asked: *ret_changed tells of all changes since the last call. Waits. */
_must_check_ int quiet_refresh(struct quiet *quiet, bool *ret_changed, struct error **err);
/* Asks all of them now, and waits until each voting member has answered that, for so long (ns) at most. -ERROR_INTERRUPTED alone. */
_must_check_ int quiet_ask(struct quiet *quiet, uint64_t timeout, struct error **err);
/* Fills in members, members_known, members_behind_balancer, quiet_since, etcd_looked_at and etcd_back_at. */
void quiet_observe(const struct quiet *quiet, struct observation *ret);
/* Forgets the past: the settle time begins again (a server restarted, a configuration changed). */
void quiet_again(struct quiet *quiet);
