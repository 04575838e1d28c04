/* Brings the API server's objects to the dashboard: KeyRotations and KeyServers by list and watch, events and the controllers'
 * Lease where the person may see them. Asks for nothing else, and goes on by itself through every failure. */
#pragma once
#include "cmd/dashboard_store.h"
#include "net/web.h"

struct dashboard_feed;
/* All must outlive it. `on_change` comes from the loop, when something else is in the store. */
struct dashboard_feed *dashboard_feed_start(struct kube *kube, struct web *web, struct dashboard_store *store,
					    void (*on_change)(void *arg), void *arg);
/* How the watches are now, into the store. */
void dashboard_feed_look(struct dashboard_feed *feed);
void dashboard_feed_stop(struct dashboard_feed *feed); /* NULL is fine */
