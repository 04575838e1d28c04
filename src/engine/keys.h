/* Key bytes in this process: the new key between its birth and the file, old ones for a Rescue. */
#pragma once
#include "base/secret.h"
#include "base/text.h"
#include "kube-rekey/encryption_config.h"

struct keys {
	struct keyring_entry *entries;
	size_t count;
}; /* names and bytes are owned */

/* Takes a copy of the bytes; the same type and name twice keeps the first. */
void keys_add(struct keys *keys, enum provider_type type, const char *name, const struct secret *bytes);
/* Every local key of a configuration. */
void keys_add_config(struct keys *keys, const struct encryption_config *config);
const struct secret *keys_find(const struct keys *keys, enum provider_type type, const char *name); /* or NULL */
/* Wipes the keys with these labels ("aescbc/key1"). */
void keys_forget(struct keys *keys, const struct strings *labels);
struct keyring keys_view(const struct keys *keys); /* valid until the next change */
void keys_free(struct keys *keys);                 /* wipes; leaves it empty */
#define _cleanup_keys_ _cleanup_(keys_free) struct keys

/* A new key of 32 random bytes named "rekey-20261122T1103Z-3f9a1c": UTC time and six digits of its fingerprint.
 * `ret_name` is a new string. */
void key_generate(uint64_t wall_ns, char **ret_name, struct secret **ret_bytes);
