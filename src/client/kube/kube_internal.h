/* What the files of this folder share. */
#pragma once
#include <cjson/cJSON.h>
#include "client/kube/object.h"

#define KUBE_PROTOBUF "application/vnd.kubernetes.protobuf"
#define KUBE_PARTIAL_OBJECT KUBE_PROTOBUF ";as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
#define KUBE_PARTIAL_LIST KUBE_PROTOBUF ";as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
#define KUBE_ERROR_BODY_MAX (64u << 10) /* an error's body that is kept; more of one says nothing more */
#define KUBE_OBJECT_MAX (16u << 20)     /* one object that is read; etcd's own request limit is 1.5 MiB by default */

/* A metav1.Status, of which a server makes its refusals: in JSON, or in protobuf where protobuf was asked for. */
struct kube_status {
	char *reason, *message, *continue_token; /* "" when absent */
	uint64_t retry_after;                    /* s; 0 when absent */
};
/* False when the bytes are no Status; `ret` is untouched then. */
bool kube_status_parse(const void *body, size_t len, struct kube_status *ret);
void kube_status_free(struct kube_status *status); /* leaves an empty one */

/* "secrets team-a/db", "secrets in team-a", "secrets": for messages. New string. */
char *kube_label(const struct kube_resource *resource, const char *namespace_, const char *name);
/* Whether a content type (lower case, parameters kept) is this media type. */
bool kube_content_is(const char *content_type, const char *media_type);

/* How one HTTP call ended, for all calls alike. */
struct kube_outcome {
	uint64_t retry_after; /* ns: of the header, else of the Status */
	bool reinitializing;
	bool has_status;      /* it was refused in an API server's own words */
	char *continue_token; /* of a 410's Status; NULL otherwise */
};
/* Judges `result`: 0 for a 2xx of the media type `wanted` (NULL: any), else a negative code with server and object
 * set and `doing` in front. The error of `result` is taken. */
int kube_judge(const struct kube *kube, const char *doing, const char *object, const char *wanted,
	       struct http_result *result, struct kube_outcome *ret, struct error **err);
void kube_outcome_free(struct kube_outcome *outcome);

/* One object in protobuf, taken apart while it arrives: runtime.Unknown around any kind, whose field 1 is
 * ObjectMeta. */
struct kube_object_reader;
/* `kind` is what it must be ("Secret", "PartialObjectMetadata"); keep: its own bytes, at most KUBE_OBJECT_MAX. */
struct kube_object_reader *kube_object_reader_new(const char *kind, bool keep);
void kube_object_reader_free(struct kube_object_reader *reader); /* wipes; NULL is fine */
/* -ERROR_PROTOCOL for other bytes, another kind, compressed content; -ERROR_LIMIT. */
_must_check_ int kube_object_feed(struct kube_object_reader *reader, const uint8_t *bytes, size_t len);
/* -ERROR_PROTOCOL: cut off, or without a resourceVersion. */
_must_check_ int kube_object_finish(struct kube_object_reader *reader);
const char *kube_object_uid(const struct kube_object_reader *reader);
const char *kube_object_resource_version(const struct kube_object_reader *reader);
struct secret *kube_object_steal(struct kube_object_reader *reader); /* NULL when not kept, or not whole */

/* A JSON call from the loop. */
struct kube_json_request {
	const char *method, *path;
	const char *body;         /* NULL: none; copied */
	const char *content_type; /* NULL: application/json */
	const char *accept;       /* NULL: application/json */
	const char *object;       /* for messages; NULL: the path */
	/* Where custom resources are meant: the error's hint when their definition is missing (a 404 without a Status) or
	 * lacks a field of the body (-ERROR_INPUT instead of -ERROR_BUSY). NULL: none; not copied */
	const char *definition_hint;
	uint64_t timeout; /* ns; 0: 60 s */
	/* Once, from the loop. `answer` may be taken; NULL when rc < 0. */
	void (*on_done)(void *arg, int rc, unsigned status, cJSON **answer, struct error **error);
	void *arg;
};
struct kube_json_call;
struct kube_json_call *kube_json_start(struct kube *kube, const struct kube_json_request *request);
void kube_json_cancel(struct kube_json_call *call); /* NULL is fine */
/* Waits. *ret_status (may be NULL) is set in either case. */
_must_check_ int kube_json_fetch(struct kube *kube, const struct kube_json_request *request, unsigned *ret_status,
				 cJSON **ret, struct error **err);

/* --- kube_lease.c: the leader election record of a Lease --- */
cJSON *kube_lease_new(void);                       /* without one, to be created */
const char *kube_lease_holder(const cJSON *lease); /* "" without one; owned by the Lease */
uint64_t kube_lease_duration(const cJSON *lease);  /* s */
/* What a renewal changes, as one new string. Who only touches labels, or re-encrypts the Lease, does not hold it. */
char *kube_lease_record(const cJSON *lease);
/* Writes us, or nobody (""), into the record. The rest of the Lease stays as it is. */
void kube_lease_claim(cJSON *lease, const char *holder);

/* --- kube_identity.c --- */
/* NULL, or what is wrong with the answer; `ret` is empty then. */
const char *kube_endpoints_read(const cJSON *slice, struct strings *ret);
