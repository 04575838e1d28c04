/* Events: what people see in kubectl describe and kubectl get events. Never secret. */
#pragma once
#include "client/kube/custom.h"

struct kube_event {
	const char *api_version, *kind, *name, *uid; /* what it is about, cluster-scoped */
	const char *instance;                        /* which process says it; at most 128 bytes are kept */
	const char *reason;                          /* "Promoted": one word, at most 128 bytes */
	const char *action;                          /* "Promote": likewise */
	const char *note;                            /* a sentence; cut at 1024 bytes */
	bool warning;
	uint64_t wall_now;
};
/* Tells it once: nothing depends on it. on_done (NULL: nobody asks) as that of custom.h; kube_custom_cancel cancels. */
struct kube_json_call *
kube_event_start(struct kube *kube, const struct kube_event *event,
		 void (*on_done)(void *arg, int rc, unsigned status, cJSON **answer, struct error **error), void *arg);
