/* A page of a Kubernetes list, in protobuf, taken apart while it arrives.
 *
 * Format: "k8s\0" + runtime.Unknown {1 typeMeta {1 apiVersion, 2 kind}, 2 raw}; raw is an XList {1 ListMeta
 * {2 resourceVersion, 3 continue, 4 remainingItemCount}, 2 repeated item}; every item has ObjectMeta as field 1
 * (1 name, 3 namespace, 5 uid, 6 resourceVersion, 9 deletionTimestamp). PartialObjectMetadataList has the same shape. So one
 * reader takes full lists and metadata-only lists of every resource, custom ones too. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/alloc.h"
#include "base/error.h"
#include "base/secret.h"

#define KUBE_NAME_MAX 512 /* names, namespaces: 253 by the API's rules; also uid, resourceVersion, kind, apiVersion */
#define KUBE_CONTINUE_MAX (64u << 10) /* a continue token */

struct kube_list_item {
	const char *name, *namespace_, *uid, *resource_version; /* "" when absent; valid during the callback only */
	bool deleting;                                          /* has a deletionTimestamp */
	/* The item's own protobuf bytes; the callback may take it (steal and set NULL); NULL in metadata mode. */
	struct secret *object;
	uint64_t size; /* bytes of the item on the wire */
};
struct kube_list_handler {
	/* Once, before the item's bytes are kept (full mode): how many bytes are coming. For the cap on bytes in flight. May be NULL. */
	int (*on_item_size)(void *arg, uint64_t size);
	int (*on_item)(void *arg, struct kube_list_item *item); /* negative stops */
};
struct kube_list_reader;
/* keep_objects: full mode. There, an item above item_cap bytes is -ERROR_LIMIT; in metadata mode items pass through unkept.
 * Copies the handler; `arg` must outlive the reader. */
struct kube_list_reader *kube_list_reader_new(const struct kube_list_handler *handler, void *arg, bool keep_objects,
					      size_t item_cap);
void kube_list_reader_free(struct kube_list_reader *reader); /* NULL is fine; wipes an item half read */
/* -ERROR_PROTOCOL: no protobuf list of Kubernetes (a Status, JSON, compressed content, a NUL in a name); -ERROR_LIMIT past a cap;
 * or a callback's. After an error every later call hands the same error back. */
_must_check_ int kube_list_feed(struct kube_list_reader *reader, const uint8_t *bytes, size_t len);
/* The body ended: 0 only when the page was whole (magic, Unknown, list). -ERROR_PROTOCOL otherwise. */
_must_check_ int kube_list_finish(struct kube_list_reader *reader);
/* After finish; owned by the reader. */
const char *kube_list_continue(const struct kube_list_reader *reader); /* "" on the last page */
const char *kube_list_resource_version(const struct kube_list_reader *reader);
uint64_t kube_list_remaining(const struct kube_list_reader *reader); /* remainingItemCount, 0 when absent */
const char *kube_list_kind(const struct kube_list_reader *reader);   /* "SecretList" */
const char *kube_list_api_version(const struct kube_list_reader *reader);

/* "k8s\0" + Unknown around an item's bytes: the body of a PUT. `head` gets what stands before the object's bytes; behind
 * them the server itself writes an empty contentEncoding and contentType, which may be left out. 0 or -ERROR_LIMIT. */
struct buf;
_must_check_ int kube_object_head(struct buf *head, const char *api_version, const char *kind, size_t object_len);
