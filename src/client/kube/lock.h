/* The Lease that keeps two rotations of one cluster apart: command line and controller take the same one.
 * Semantics: client-go's leader election (15 s duration, renewed each 2 s); expiry is judged by our own clock
 * since the record last changed. A Lease does not promise a single holder: every file is compared before it is
 * swapped as well. */
#pragma once
#include "client/kube/kube.h"

#define LOCK_NAMESPACE "kube-system"
#define LOCK_NAME "kube-rekey"
#define LOCK_LEASES "/apis/coordination.k8s.io/v1/namespaces/" LOCK_NAMESPACE "/leases"
#define LOCK_DURATION_S 15

struct kube_lock;
/* A name that no other process has: "<host>-<pid>-<8 hex digits>"; host and pid are not enough, for two containers may
 * have both in common. New string. */
char *kube_lock_holder(void);
/* `holder`: kube_lock_holder. Renewals stand in the queue of kube->http like
 * any call: while a sweep fills that, `kube` here needs a client of its own. It must outlive the lock. Takes the
 * Lease, waiting out one that nobody renews (at most its duration + 2 s); -ERROR_BUSY naming the holder when it is
 * renewed. Renews by a loop timer from then on. Waits (top of a command). */
_must_check_ int kube_lock_take(struct kube *kube, const char *holder, struct kube_lock **ret, struct error **err);
/* Until when (monotonic) it is surely ours: counted from before the last successful renewal was sent. Checked
 * before each irreversible step. */
uint64_t kube_lock_deadline(const struct kube_lock *lock);
/* NULL while it is ours or only late; once somebody else was seen to have it: who ("" for nobody). Then the
 * deadline is 0 for good. */
const char *kube_lock_lost_to(const struct kube_lock *lock);
/* Gives it back (best effort, at most 2 s) and frees; NULL is fine. */
void kube_lock_release(struct kube_lock *lock);
