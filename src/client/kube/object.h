/* Single objects and lists of one resource. The streaming parts are asynchronous; the waiting ones are for the top of
 * a command.
 *
 * Calls in general: on_done comes once, from the loop, never before the starting function returned, and the call
 * is freed after it. A cancelled call says nothing more; cancelling is for call-backs of the loop, not for
 * on_item, on_item_size and is_full, which run inside the transfer (a negative answer of theirs stops it). An
 * error belongs to the call unless on_done takes it and leaves NULL. Each error names server and object. */
#pragma once
#include "client/kube/kube.h"
#include "base/json_read.h"

struct kube_list_result;
struct kube_list_options {
	const struct kube_resource *resource; /* only until kube_list_start returns, as all strings here */
	const char *namespace_;               /* NULL: all */
	unsigned limit;                       /* 0: none */
	const char *continue_token;           /* NULL or "" on the first page */
	const char *resource_version;         /* NULL */
	const char *resource_version_match;   /* "Exact", ...; NULL */
	bool metadata_only; /* PartialObjectMetadataList: custom resources have nothing else in protobuf */
	size_t item_cap;    /* full mode */
	uint64_t timeout;   /* ns, pauses included; 0: 60 s */
	int (*on_item_size)(void *arg, uint64_t size);
	int (*on_item)(void *arg, struct kube_list_item *item);
	/* Called before each piece (at most 64 KiB, and so perhaps many items) is parsed: true pauses the transfer
	 * until kube_list_resume. NULL: never. */
	bool (*is_full)(void *arg);
	void (*on_done)(void *arg, struct kube_list_result *result);
	void *arg;
};
struct kube_list_result {
	/* 0 only when the page was whole; items were handed out before that is known. kube_error's codes;
	 * -ERROR_NETWORK for a body cut short, -ERROR_PROTOCOL for one that is no list, -ERROR_LIMIT, or what a
	 * call-back returned. */
	int rc;
	struct error *error;
	/* Of the page. With -ERROR_EXPIRED the inconsistent-list token of the 410's Status, "" without one. */
	const char *continue_token;
	const char *resource_version;
	uint64_t remaining;   /* remainingItemCount */
	uint64_t retry_after; /* ns; of the header, else of the Status; 0 without one */
	unsigned status;
	bool reinitializing; /* kube_is_reinitializing */
};
struct kube_list_call;
struct kube_list_call *kube_list_start(struct kube *kube, const struct kube_list_options *options);
/* May call the options' call-backs before it returns, but on_done. */
void kube_list_resume(struct kube_list_call *call);
void kube_list_cancel(struct kube_list_call *call); /* NULL is fine */
/* Waits for one page. on_done and is_full ignored. The three answers may be NULL; *ret_continue is set for
 * -ERROR_EXPIRED too. */
_must_check_ int kube_list_fetch(struct kube *kube, const struct kube_list_options *options, char **ret_continue,
				 char **ret_resource_version, uint64_t *ret_remaining, struct error **err);

/* All pages of `page` objects each, whole: on_item's negative answer ends it and is returned. A list that took too long goes on
 * from a newer revision: an object may come twice. Waits. */
_must_check_ int kube_list_all(struct kube *kube, const struct kube_resource *resource, unsigned page, size_t item_cap,
			       int (*on_item)(void *arg, struct kube_list_item *item), void *arg, struct error **err);

struct kube_write_result {
	int rc; /* 0 on 200 and 201; kube_error's codes; -ERROR_NETWORK with `sent`: outcome unknown */
	struct error *error;
	unsigned status;
	bool sent;
	uint64_t retry_after;
	uint64_t elapsed; /* ns, from when it got its connection */
	bool reinitializing;
	const char *resource_version; /* after a success */
};
/* PUT of the object's own protobuf bytes (kube_object_head before them), asking for PartialObjectMetadata in
 * return. `object` is the caller's and must live until on_done. uid and resourceVersion are inside the bytes.
 * timeout 0: 60 s. */
struct kube_write_call;
struct kube_write_call *kube_put_start(struct kube *kube, const struct kube_resource *resource, const char *namespace_,
				       const char *name, const struct secret *object, uint64_t timeout,
				       void (*on_done)(void *arg, struct kube_write_result *result), void *arg);
/* The empty merge patch with uid and resourceVersion; `mark` not NULL: with KUBE_MARK as an annotation, so that it is a
 * write whatever is stored. */
#define KUBE_MARK "kube-rekey.dev/rewritten"
struct kube_write_call *kube_patch_start(struct kube *kube, const struct kube_resource *resource,
					 const char *namespace_, const char *name, const char *uid,
					 const char *resource_version, const char *mark, uint64_t timeout,
					 void (*on_done)(void *arg, struct kube_write_result *result), void *arg);
void kube_write_cancel(struct kube_write_call *call); /* NULL is fine; what was sent is not taken back */

/* Read of one object past the cache, as its list item would be (protobuf bytes for the resource's PUT, or metadata
 * only): for a conflict. */
struct kube_read_result {
	int rc;
	struct error *error;
	struct secret *object; /* may be stolen; NULL in metadata mode */
	const char *uid, *resource_version;
	unsigned status;
	bool connected; /* a connection was opened for it */
	uint64_t retry_after;
	bool reinitializing;
};
struct kube_read_call;
struct kube_read_call *kube_read_start(struct kube *kube, const struct kube_resource *resource, const char *namespace_,
				       const char *name, bool metadata_only, uint64_t timeout,
				       void (*on_done)(void *arg, struct kube_read_result *result), void *arg);
void kube_read_cancel(struct kube_read_call *call); /* NULL is fine */

/* JSON calls that wait: method, path (escaped), body (NULL: none), content type of the body (NULL:
 * application/json). *ret (may be NULL) gets the answer. At most JSON_BYTES_MAX. */
_must_check_ int kube_call(struct kube *kube, const char *method, const char *path, const char *body,
			   const char *content_type, cJSON **ret, struct error **err);
/* A plain GET without resourceVersion (reads etcd) as PartialObjectMetadata: uid and resourceVersion, each may be
 * NULL. */
_must_check_ int kube_get_metadata(struct kube *kube, const struct kube_resource *resource, const char *namespace_,
				   const char *name, char **ret_uid, uint64_t *ret_resource_version,
				   struct error **err);
