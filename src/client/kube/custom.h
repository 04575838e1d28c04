/* Our custom resources, cluster-scoped, in JSON: one call each. Calls in general: see object.h.
 *
 * kube_error's codes; -ERROR_CONFLICT also where a precondition (uid, resourceVersion) does not hold, and for a create of
 * what is there. -ERROR_NOT_FOUND with a hint (error_hint): this API server does not serve the resource at all, since its
 * CustomResourceDefinition is missing; without a hint: no object has the name. -ERROR_INPUT: a rule of the definition is
 * not met, in its words, or (with a hint) it is an older one, which lacks a field: nothing is pruned in silence. Answers of more than JSON_BYTES_MAX are -ERROR_LIMIT: lists are paged. */
#pragma once
#include "base/json_read.h"
#include "client/kube/kube.h"

#define CUSTOM_FIELD_MANAGER "kube-rekey"
#define CUSTOM_PAGE 16 /* a KeyServer with a full census has some 300 KiB */

enum kube_custom_verb {
	CUSTOM_GET,    /* past the cache */
	CUSTOM_LIST,   /* one page; past the cache, too */
	CUSTOM_CREATE, /* of `body`, which has the name */
	CUSTOM_APPLY,  /* server-side apply of `body` by CUSTOM_FIELD_MANAGER, which takes over what others set */
	CUSTOM_PATCH,  /* JSON merge patch */
	CUSTOM_DELETE,
};
struct kube_custom_request {
	enum kube_custom_verb verb;
	const char *collection;     /* "/apis/kube-rekey.dev/v1alpha1/keyservers" */
	const char *name;           /* not for LIST and CREATE */
	const char *subresource;    /* "status", of GET, APPLY and PATCH; NULL: the main resource */
	const char *body;           /* of CREATE, APPLY and PATCH; copied */
	const char *uid;            /* precondition of DELETE; NULL: none. In the body of the others */
	unsigned limit;             /* LIST; 0: CUSTOM_PAGE */
	const char *continue_token; /* LIST; NULL or "" on the first page */
	uint64_t timeout;           /* ns; 0: 60 s */
	/* Once, from the loop. `answer` (the object, the list) may be taken, as may `error`; NULL when rc < 0. */
	void (*on_done)(void *arg, int rc, unsigned status, cJSON **answer, struct error **error);
	void *arg;
};
struct kube_json_call;
struct kube_json_call *kube_custom_start(struct kube *kube, const struct kube_custom_request *request);
void kube_custom_cancel(struct kube_json_call *call); /* NULL is fine; what was sent is not taken back */
/* Waits; on_done is ignored. `ret` may be NULL. */
_must_check_ int kube_custom_fetch(struct kube *kube, const struct kube_custom_request *request, cJSON **ret,
				   struct error **err);
/* All pages, each object once, at most `max` of them (-ERROR_LIMIT). A negative answer of on_item ends it and is
 * returned. `ret_resource_version` (may be NULL): of the list, from which a watch goes on. Waits. */
_must_check_ int kube_custom_list(struct kube *kube, const char *collection, size_t max,
				  int (*on_item)(void *arg, const cJSON *item, struct error **err), void *arg,
				  char **ret_resource_version, struct error **err);
/* The same without waiting: `timeout` (ns) for each page. on_done once, from the loop, unless it is cancelled; `error` is its own. */
struct kube_custom_listing;
struct kube_custom_listing *kube_custom_list_start(struct kube *kube, const char *collection, size_t max,
						   uint64_t timeout,
						   int (*on_item)(void *arg, const cJSON *item, struct error **err),
						   void (*on_done)(void *arg, int rc, const struct error *error),
						   void *arg);
void kube_custom_list_cancel(struct kube_custom_listing *listing); /* NULL is fine */
/* {"metadata":{"resourceVersion":...},"spec":SPEC}: the merge patch that changes some of the spec of the very object that
 * was read. `spec` is JSON. New string. */
char *kube_custom_spec_patch(const char *resource_version, const char *spec);
