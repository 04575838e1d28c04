/* What a KMS plugin answers to Status, and what kube-apiserver makes of it.
 * Format: k8s.io/kms apis/v2/api.proto, StatusResponse: 1 version, 2 healthz, 3 key_id, all strings. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"
#include "base/alloc.h"

#define KMS_KEY_ID_MAX 1024  /* bytes: envelope/kmsv2 KeyIDMaxSize */
#define KMS_ANSWER_MAX 16384 /* no honest answer is as long */

/* Texts are as they came, "" where the plugin said nothing: not for a terminal (text_printable). */
struct kms_status {
	char *version, *healthz, *key_id;
};
/* -ERROR_PROTOCOL for what is no such message, a NUL in a text, or text that is not UTF-8. */
_must_check_ int kms_status_parse(const uint8_t *bytes, size_t len, struct kms_status *ret);
void kms_status_free(struct kms_status *status); /* leaves it empty; NULL is fine */

/* Why kube-apiserver adopts no key of this plugin (isKMSv2ProviderHealthy in server/options/encryptionconfig/config.go):
 * "healthz is ...", "version is ..., not v2", "it has no key ID"; NULL: it may. Printable, a new string. */
char *kms_status_flaw(const struct kms_status *status);
/* Whether its healthz is all that is wrong. */
bool kms_status_is_unwell(const struct kms_status *status);
