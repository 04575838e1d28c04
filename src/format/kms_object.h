/* A value under KMS v2 taken apart, and the two messages by which a plugin decrypts what it is under.
 *
 * Format: k8s.io/apiserver envelope/kmsv2 EncryptedObject {1 encryptedData, 2 keyID, 3 encryptedDEKSource, 4 map annotations,
 * 5 encryptedDEKSourceType}; k8s.io/kms apis/v2/api.proto DecryptRequest {1 ciphertext, 2 uid, 3 key_id, 4 map annotations},
 * DecryptResponse {1 plaintext}. */
#pragma once
#include <stdbool.h>
#include "base/buf.h"
#include "base/secret.h"

#define KMS_ANNOTATIONS_MAX 256u     /* of one value; a plugin writes a few */
#define KMS_REQUEST_MAX (64u << 10)  /* upstream's own caps come to half of it */
#define KMS_DECRYPTED_MAX (4u << 10) /* bytes of a DecryptResponse: a seed or a key has 32 */

struct kms_bytes {
	const uint8_t *at; /* within the value */
	size_t len;
};
struct kms_object {
	struct kms_bytes data, key_id, dek_source;
	struct kms_bytes annotations[KMS_ANNOTATIONS_MAX]; /* the map's entries, each as it came; in one order */
	size_t annotation_count;
	bool seed; /* the DEK source is a seed, of which each value's key is derived; else the key itself */
};
/* Of a whole value, "k8s:enc:kms:v2:NAME:" first. -ERROR_INPUT for what is no such value, or lacks its data, key ID or DEK
 * source; -ERROR_LIMIT past a cap. */
_must_check_ int kms_object_parse(const uint8_t *value, size_t len, struct kms_object *ret);
/* Appends a DecryptRequest for its DEK source, without a uid. Equal ones ask for the same key. -ERROR_LIMIT. */
_must_check_ int kms_decrypt_request_write(struct buf *out, const struct kms_object *object);
/* Appends the uid, by which a plugin's log names the call. -ERROR_LIMIT. */
_must_check_ int kms_decrypt_request_name(struct buf *out, const char *uid);
/* -ERROR_PROTOCOL for what is no DecryptResponse, or has nothing in it. */
_must_check_ int kms_decrypt_answer_parse(const uint8_t *bytes, size_t len, struct secret **ret);
