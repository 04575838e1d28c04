/* One key of the configuration on its way from the agent that made it to the others, through an object in the cluster:
 * sealed under the trust key, which the controller and etcd have not, and bound to what it is for.
 *
 * The text is base64 (RFC 4648, padded) of: version byte 1, nonce (12 random bytes), ciphertext, tag (16): AES-256-GCM. Its
 * key is trust_key_derive's for this purpose with the rotation's UID as salt. Authenticated beside it, each as a length
 * (4 bytes, big-endian) and its bytes, so that no two bindings are the same bytes: "kube-rekey sealed key v1", cluster,
 * rotation, epoch (8 bytes, big-endian), provider's name, key's name, fingerprint.
 *
 * What opens is what an agent with the trust key sealed for this place, and no more than that. It is still the caller's
 * to refuse
 *  - an order of another rotation or a lower epoch than the highest seen (the binding comes out of the order);
 *  - a key that was retired (retired_check_key): after etcd went back to a backup, an old rotation's sealed key, UID and
 *    epoch are all there again. */
#pragma once
#include <stdint.h>
#include "base/error.h"
#include "base/secret.h"
#include "engine/trust_key.h"
#include "kube-rekey/encryption_config.h"

#define SEALED_KEY_TEXT_MAX 84    /* characters, of a key of 32 bytes */
#define SEALED_KEY_FIELD_MAX 1024 /* bytes of a name or UID */

/* What a sealed key is bound to; all are there and none is empty. */
struct sealed_key_binding {
	const char *cluster;  /* UID of Namespace kube-system */
	const char *rotation; /* UID of the KeyRotation */
	uint64_t epoch;
	enum provider_type type;
	const char *name;
	const char *fingerprint; /* key_fingerprint's of the key's bytes */
};

/* A new string, another one each time. -ERROR_INPUT where the binding is incomplete or too long, or where these bytes do
 * not fit the provider or have another fingerprint. */
_must_check_ int sealed_key_seal(const struct trust_key *trust, const struct sealed_key_binding *binding,
				 const struct secret *bytes, char **ret, struct error **err);
/* The key's bytes: they have the bound fingerprint, and a length that fits the provider. -ERROR_REFUSED for everything
 * else, in one message whatever is wrong; nothing of what was opened is kept then. `text` may be anything. */
_must_check_ int sealed_key_open(const struct trust_key *trust, const struct sealed_key_binding *binding,
				 const char *text, struct secret **ret, struct error **err);
