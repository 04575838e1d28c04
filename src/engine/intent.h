/* What a person asked for, as the target's shape: a new key in front, the old write key gone. Pure but for the new
 * key's bytes. */
#pragma once
#include "base/text.h"
#include "engine/keys.h"
#include "kube-rekey/encryption_config.h"

#define KMS_TIMEOUT (3 * UINT64_C(1000000000)) /* ns; kube-apiserver's default */
struct intent_kms {
	const char *name, *endpoint; /* "vault", "unix:///run/kms.sock" */
	uint64_t timeout;            /* ns; 0: 3 s */
};
struct intent {
	const char *provider;            /* "aescbc", "aesgcm", "secretbox", "kms"; NULL: each rule keeps its kind */
	struct intent_kms kms;           /* of provider "kms" */
	bool renew_dek;                  /* rules that write with KMS go to the same plugin under another name */
	const struct strings *drop_keys; /* names of further keys that shall leave */
	bool drop_identity;              /* plaintext shall no longer be readable */
	uint64_t wall_now;               /* for the new key's name */
};
/* Every rule whose write key is a local key gets a new one (one key per kind); where no rule has one, every rule
 * that writes plaintext
 * does, if a provider is named. Rules with a KMS write key and rules that keep some resource in plaintext on
 * purpose keep their write key. With provider "kms" the one rule that writes encrypted, be it with KMS, gets that provider
 * (kube-apiserver takes a provider's name in one rule only). `drop_keys` and the fallback to plaintext leave every rule.
 * New local keys are added to `keys`, and the labels of all new ones to ret_new. -ERROR_REFUSED, -ERROR_USAGE. */
_must_check_ int intent_target(const struct config_shape *from, const struct intent *intent, struct keys *keys,
			       struct config_shape **ret, struct strings *ret_new, struct error **err);
/* The same where no key is new: `drop_keys` and the fallback to plaintext leave every rule. -ERROR_REFUSED where one of them
 * writes, or where nothing would leave. */
_must_check_ int intent_without_new_key(const struct config_shape *from, const struct intent *intent,
					struct config_shape **ret, struct error **err);
/* Keys of `from` that `to` lacks (plaintext and KMS included), and the other way round: labels, for journal and
 * report. */
void intent_old_keys(const struct config_shape *from, const struct config_shape *to, struct strings *ret);
void intent_new_keys(const struct config_shape *from, const struct config_shape *to, struct strings *ret);
/* One line that tells requests apart, for the journal. New string. */
char *intent_text(const struct intent *intent, const char *target_sha256);
