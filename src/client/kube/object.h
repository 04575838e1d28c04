/* Single objects and lists of one resource. The streaming parts are asynchronous; the waiting ones are for the top of a command. */
#pragma once
#include "client/kube/kube.h"
#include "base/json_read.h"

struct kube_list_result;
struct kube_list_options {
	const struct kube_resource *resource;
	const char *namespace_;      /* NULL: all */
	unsigned limit;              /* 0: none */
	const char *continue_token;  /* NULL or "" on the first page */
	const char *resource_version;       /* NULL */
	const char *resource_version_match; /* "Exact", ...; NULL */
	bool metadata_only;          /* PartialObjectMetadataList */
	size_t item_cap;             /* full mode */
	uint64_t timeout;
	int (*on_item_size)(void *arg, uint64_t size);
	int (*on_item)(void *arg, struct kube_list_item *item);
	/* Called before each piece is parsed: true pauses the transfer until kube_list_resume. NULL: never. */
	bool (*is_full)(void *arg);
	void (*on_done)(void *arg, struct kube_list_result *result);
	void *arg;
};
struct kube_list_result {
	int rc; struct error *error;  /* -ERROR_EXPIRED for a 410: continue_token then holds the inconsistent-list token of the Status, "" without one */
	const char *continue_token, *resource_version; uint64_t remaining;
	uint64_t retry_after; unsigned status; bool reinitializing;
};
struct kube_list_call;
struct kube_list_call *kube_list_start(struct kube *kube, const struct kube_list_options *options);
void kube_list_resume(struct kube_list_call *call);
void kube_list_cancel(struct kube_list_call *call);
/* Waits for one page. on_done ignored. */
_must_check_ int kube_list_fetch(struct kube *kube, const struct kube_list_options *options, char **ret_continue, char **ret_resource_version, uint64_t *ret_remaining, struct error **err);

struct kube_write_result {
	int rc; struct error *error;  /* 0 on 200 and 201; kube_error's codes; -ERROR_NETWORK with `sent`: outcome unknown */
	unsigned status; bool sent; uint64_t retry_after; uint64_t elapsed; bool reinitializing;
	const char *resource_version; /* after a success */
};
/* PUT of the object's own protobuf bytes (kube_object_head before them), asking for PartialObjectMetadata in return. `object` is the
 * caller's and must live until on_done. uid and resourceVersion are inside the bytes. */
struct kube_write_call;
struct kube_write_call *kube_put_start(struct kube *kube, const struct kube_resource *resource, const char *namespace_, const char *name,
	const struct secret *object, uint64_t timeout, void (*on_done)(void *arg, struct kube_write_result *result), void *arg);
/* The empty merge patch with uid and resourceVersion. */
struct kube_write_call *kube_patch_start(struct kube *kube, const struct kube_resource *resource, const char *namespace_, const char *name,
	const char *uid, const char *resource_version, uint64_t timeout, void (*on_done)(void *arg, struct kube_write_result *result), void *arg);
void kube_write_cancel(struct kube_write_call *call);

/* Asynchronous read of one object as its list item would be (protobuf bytes for the resource's PUT, or metadata only): for a conflict. */
struct kube_read_result { int rc; struct error *error; struct secret *object; /* may be stolen; NULL in metadata mode */ const char *uid, *resource_version; unsigned status; uint64_t retry_after; bool reinitializing; };
struct kube_read_call;
struct kube_read_call *kube_read_start(struct kube *kube, const struct kube_resource *resource, const char *namespace_, const char *name,
	bool metadata_only, uint64_t timeout, void (*on_done)(void *arg, struct kube_read_result *result), void *arg);
void kube_read_cancel(struct kube_read_call *call);

/* JSON calls that wait: method, path (escaped), body (NULL: none), content type of the body (NULL: application/json). *ret (may be NULL) gets the answer. */
_must_check_ int kube_call(struct kube *kube, const char *method, const char *path, const char *body, const char *content_type, cJSON **ret, struct error **err);
/* A plain GET without resourceVersion (reads etcd) as PartialObjectMetadata: uid and resourceVersion, each may be NULL. */
_must_check_ int kube_get_metadata(struct kube *kube, const struct kube_resource *resource, const char *namespace_, const char *name, char **ret_uid, uint64_t *ret_resource_version, struct error **err);
