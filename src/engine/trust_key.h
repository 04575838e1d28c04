/* The trust key: what every control-plane node has and etcd has not, by default the private half of the service-account
 * signing key. Keys of the configuration travel from agent to agent under what is derived from it (sealed_key.h).
 *
 * Its material is 32 random bytes, or the PKCS#8 DER (RFC 5208) of an RSA, EC or Ed25519 private key. The same key is
 * the same material however its file is written: PKCS#1, SEC1 or PKCS#8, line ends, comments, certificates beside it,
 * with or without its public half. The material never leaves this module. */
#pragma once
#include <stdbool.h>
#include "base/alloc.h"
#include "base/error.h"
#include "base/secret.h"

#define TRUST_KEY_FILE_MAX (64u << 10)
#define TRUST_KEY_DERIVED_LEN 32

struct trust_key; /* opaque; its bytes are wiped with it */

/* Reads and checks FILE of --trust-key. What file_read_private and trust_key_parse return. */
_must_check_ int trust_key_load(const char *path, struct trust_key **ret, struct error **err);
/* The key that a file's bytes are; `name` is for the words. -ERROR_INPUT, one line and what to do, for
 *  - neither 32 bytes nor PEM; 32 bytes that are all equal, or text that somebody may have typed;
 *  - a public key, a certificate, an encrypted private key, a broken PEM block, more than one private key;
 *  - another kind of key, or one whose public half gives it away (less than 112 bits of strength: RSA below 2048). */
_must_check_ int trust_key_parse(const char *name, const struct secret *content, struct trust_key **ret,
				 struct error **err);
/* 12 hex digits of an HMAC under the key: tells nothing about it. Agents report it and compare. Owned by the key. */
const char *trust_key_fingerprint(const struct trust_key *key);
/* HKDF-SHA256 (RFC 5869) with the material as input, `salt`, and `purpose` as info, which no two uses share:
 * TRUST_KEY_DERIVED_LEN bytes, a new secret. */
struct secret *trust_key_derive(const struct trust_key *key, const char *purpose, const char *salt);
/* Whether these bytes (a value of a Secret's data) are or hold this very key: its material, DER of another form, or PEM
 * with it among whatever else. Any bytes will do. What is encrypted stays unseen: kubeadm's uploaded certificates
 * (Secret kube-system/kubeadm-certs, entry sa.key) are known by their name alone. */
bool trust_key_is_in(const struct trust_key *key, const void *bytes, size_t len);
void trust_key_free(struct trust_key *key); /* NULL is fine */
void trust_key_freep(struct trust_key **key);
