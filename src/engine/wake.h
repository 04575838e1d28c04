/* Waiting for the next turn: until its time comes, or something of ours changed. What changed is not told: what is decided
 * upon is read past every cache, in the turn. Without watches, where a proxy is in the way or rights are missing, turns come
 * at their times alone. */
#pragma once
#include "engine/cluster.h"
#include "net/web.h"

struct wake;
/* Watches KeyRotations and KeyServers. For an agent, `node_name`: people's changes of KeyRotations, and orders to its own
 * server. NULL, for the controller: people's changes of KeyRotations, and reports of all servers. `cluster` and `web` must
 * outlive it. */
struct wake *wake_start(struct cluster *cluster, struct web *web, const char *node_name);
void wake_stop(struct wake *wake); /* NULL is fine */
/* Why nothing wakes it: a watch that was refused, or broke off, some times in a row. NULL: it is woken. Lent until the loop goes
 * on. wake_news is the same where it was not said yet: for the log, once. */
const char *wake_trouble(const struct wake *wake);
const char *wake_news(struct wake *wake);
/* Until it is woken, but not before `not_before`, or until `due` (monotonic ns). What woke it between two waits counts.
 * -ERROR_INTERRUPTED. */
_must_check_ int wake_wait(struct wake *wake, uint64_t not_before, uint64_t due, struct error **err);
