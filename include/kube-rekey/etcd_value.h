/* What a value in etcd is under, read from its first bytes without holding any key.
 *
 * Format: k8s.io/apiserver/pkg/storage/value: "k8s:enc:<provider>:v<n>:<name>:" and then the provider's own bytes;
 * KMS v2:
 * protobuf EncryptedObject (staging/src/k8s.io/kmsv2/.../api.proto: 1 encryptedData, 2 keyID, 3 encryptedDEKSource,
 * 4 annotations, 5 encryptedDEKSourceType). Plaintext: "k8s\0" protobuf, or JSON. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "kube-rekey/encryption_config.h"

#define ETCD_VALUE_NAME_MAX 1024 /* key and KMS names: kube-apiserver has no cap on local names; longer is `unknown` */
#define ETCD_VALUE_KEY_ID_MAX 1024 /* upstream's own cap */

enum etcd_value_state {
	ETCD_VALUE_KNOWN, /* provider and name are set */
	ETCD_VALUE_UNKNOWN, /* "k8s:enc:" with a provider, version or form that nobody here knows; or bytes that are neither
	                       * encrypted nor a Kubernetes object (empty value, rubbish) */
	ETCD_VALUE_TRUNCATED, /* ends inside the prefix, the IV or nonce and tag, a cipher block, the encrypted DEK, or inside
	                       * EncryptedObject (or that lacks its data, key ID or DEK source) */
};

/* Not KNOWN: provider, kms_version and name are what had been read of them (name "" while not whole), key_id and
 * dek_source
 * are "". A name holds no ':': kube-apiserver accepts one in a local key's name, and then a value says `a` for
 * `a:b`. */
struct etcd_value_info {
	enum etcd_value_state state;
	enum provider_type provider;            /* PROVIDER_IDENTITY for plaintext */
	unsigned kms_version;                   /* 1 or 2, else 0 */
	char name[ETCD_VALUE_NAME_MAX + 1];     /* key name or KMS provider name; "" for plaintext */
	char key_id[ETCD_VALUE_KEY_ID_MAX + 1]; /* KMS v2 only; printable-checked by whoever prints */
	/* KMS: first 16 hex digits of SHA-256 over encryptedDEKSource (v2) or the encrypted DEK (v1); else "". */
	char dek_source[17];
	/* KMS v2: 16 hex digits that are the same for equal annotations, in whatever order they stand; "" where there are none. A
	 * plugin may tell by them which material of a key the DEK source is under. */
	char annotations[17];
};

/* Incremental: feed the value's bytes in any pieces; only what names the key is kept, so memory does not depend on the
 * value's size. The same events for every split. */
struct etcd_value_reader;
struct etcd_value_reader *etcd_value_reader_new(void);          /* never NULL; the caller frees it */
void etcd_value_reader_free(struct etcd_value_reader *reader);  /* NULL is fine */
void etcd_value_reader_start(struct etcd_value_reader *reader); /* a new value begins */
/* The bytes are the caller's, and may go right afterwards. */
void etcd_value_reader_feed(struct etcd_value_reader *reader, const uint8_t *bytes, size_t len);
/* The value is complete. The result belongs to the reader and is valid until the next start. */
const struct etcd_value_info *etcd_value_reader_end(struct etcd_value_reader *reader);

/* Opens a whole value with the bytes of its key. `etcd_key` is the full etcd key (AAD of aesgcm). 0 and the
 * plaintext,
 * or -ERROR_INPUT when it does not open, or opens to something that is no Kubernetes object ("k8s\0" or '{' first:
 * CBC has
 * no integrity of its own). For aescbc, aesgcm, secretbox, and kms v2, whose `key` is the decrypted DEK source; with the
 * prefix still on. `ret` NULL: whether it opens is all that is asked. All but *ret, which is new, stays the caller's. */
struct secret;
__attribute__((warn_unused_result)) int etcd_value_open(enum provider_type provider, const struct secret *key,
							const char *etcd_key, size_t etcd_key_len, const uint8_t *value,
							size_t value_len, struct secret **ret);
