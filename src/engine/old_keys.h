/* What becomes of keys that leave: kept (mode 0600), sealed to a certificate, or destroyed; and the copy of a new key.
 *
 * A leaving key is on disk before the file without it is written, whatever shall become of it: a Rescue after a
 * crash needs it. Only the
 * last clean census and reads decide its end. Each file is an EncryptionConfiguration with that one key, so that
 * whoever has to read an
 * old backup can use it as it is. */
#pragma once
#include "engine/keys.h"
#include "base/text.h"
#include "engine/seal.h"
#include "kube-rekey/path.h"

struct old_keys_policy {
	enum { OLD_KEY_KEEP, OLD_KEY_SEAL, OLD_KEY_DESTROY } fate;
	struct seal *seal;     /* OLD_KEY_SEAL */
	const char *directory; /* "/var/lib/kube-rekey/retired" */
	bool left_before;      /* the keys left in this rotation already: what is sealed may be they */
};
/* "keep", "destroy", "seal:/path/cert.pem"; the certificate is tried at once. -ERROR_USAGE, -ERROR_INPUT. */
_must_check_ int old_keys_policy_parse(const char *text, const char *directory, struct old_keys_policy *ret,
				       struct error **err);
/* The same as a KeyRotation says it: "keep", "destroy", or "seal" and a certificate in PEM. */
_must_check_ int old_keys_policy_asked(const char *fate, const char *certificate, const char *directory,
				       struct old_keys_policy *ret, struct error **err);
void old_keys_policy_free(struct old_keys_policy *policy);

/* The local keys that the whole file loses by this step: labels ("aescbc/key1"), for journal and report. */
void old_keys_of_step(const struct path *path, size_t step, struct strings *ret);
/* Writes those keys to policy->directory (made 0700), durable, before the step. A file that is there with the same
 * bytes is fine. */
_must_check_ int old_keys_save(const struct old_keys_policy *policy, const struct path *path, size_t step,
			       const struct keys *keys, const char *rotation, struct error **err);
/* "aescbc/key1" taken apart; ret_name points into it. False for what is no label of a provider's key. */
bool key_label_split(const char *label, enum provider_type *ret_type, const char **ret_name);
/* Of a label ("aescbc/key1"): whether the key's bytes are in a file. */
bool key_label_is_local(const char *label);
/* Whether there is room for the keys that leave from this step of the path on: a file that holds another key of the same
 * name, or a sealed one where they shall be sealed, is -ERROR_REFUSED. To be asked before anything is changed. */
_must_check_ int old_keys_check(const struct old_keys_policy *policy, const struct path *path, size_t step,
				const struct keys *keys, struct error **err);
/* Reads back what was saved for the labels, for a Rescue. A missing file is no error: the key is not added. */
_must_check_ int old_keys_load(const char *directory, const struct strings *labels, struct keys *keys,
			       struct error **err);
/* Does what the policy says; *ret_places gets a line a key for the report: "kept in ...", "sealed in ...",
 * "destroyed". */
_must_check_ int old_keys_retire(const struct old_keys_policy *policy, const struct strings *labels,
				 struct strings *ret_places, struct error **err);
/* The new keys, from before the first of them writes until the rotation is done: when somebody puts an older file
 * over ours, every value
 * is under a key that would be nowhere else. Read back by old_keys_load. */
_must_check_ int new_keys_hold(const char *directory, const struct strings *labels, const struct keys *keys,
			       const char *rotation, struct error **err);
_must_check_ int new_keys_let_go(const char *directory, const struct strings *labels, struct error **err);
/* "--new-key-copy seal:CERT": a sealed copy of a new key in `directory`, durable. *ret_path: where. It takes the place of no
 * other one, not even of this key's. */
_must_check_ int new_key_copy(const struct seal *seal, const char *directory, enum provider_type type, const char *name,
			      const struct secret *bytes, char **ret_path, struct error **err);
