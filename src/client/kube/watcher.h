/* Following one collection over the network: the machine of watch.h, lists over HTTP and watches over WebSocket. Goes on by
 * itself, through every failure, until it is stopped. */
#pragma once
#include "client/kube/object.h"
#include "client/kube/watch.h"
#include "net/web.h"

struct kube_watch_options {
	const struct kube_resource *resource; /* must outlive the watch */
	const char *namespace_;               /* NULL: all; copied */
	const char *field_selector;           /* with `objects`: which of them; NULL: all; copied */
	/* The user gets each object as JSON, read whole at a list (JSON_BYTES_MAX for all of them): for custom resources of ours.
	 * Else metadata only: no value enters the process, but those in annotations, which are wiped unread. */
	bool objects;
	/* Metadata only. A list is one request, whatever there is: objects are counted, and on_listed comes for none. */
	bool count;
};
struct kube_watch;
/* The handler, all of it, is the caller's and must outlive the watch, as `kube` and `web`. Begins at once, and calls back from
 * the loop. */
struct kube_watch *kube_watch_start(struct kube *kube, struct web *web, const struct kube_watch_options *options,
				    const struct watch_handler *handler, void *arg);
/* From the loop, but not from the handler's call-backs. NULL is fine. */
void kube_watch_stop(struct kube_watch *watch);
/* Whether the view is whole and followed. */
bool kube_watch_is_synced(const struct kube_watch *watch);
/* Whether its connection stands now, which it does not while it is renewed. */
bool kube_watch_is_open(const struct kube_watch *watch);
/* How often in a row it failed: as watch_failures. */
unsigned kube_watch_failures(const struct kube_watch *watch);
/* With `count`: how many there were at on_synced, which may ask. False: the server does not tell. */
bool kube_watch_count(const struct kube_watch *watch, uint64_t *ret);
/* For people: what went wrong last, NULL while nothing does. Owned by the watch, until the loop goes on. */
const char *kube_watch_problem(const struct kube_watch *watch);
