#include "engine/keys.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/text.h"

#define NEW_KEY_BYTES 32 /* aescbc and aesgcm take 16, 24 or 32; secretbox 32 */

static struct keyring_entry *find(const struct keys *keys, enum provider_type type, const char *name)
{
	for (size_t i = 0; i < keys->count; i++)
		if (keys->entries[i].type == type && text_equal(keys->entries[i].name, name))
			return &keys->entries[i];
	return NULL;
}

void keys_add(struct keys *keys, enum provider_type type, const char *name, const struct secret *bytes)
{
	if (find(keys, type, name))
		return;
	keys->entries = xreallocarray(keys->entries, keys->count + 1, sizeof(*keys->entries));
	keys->entries[keys->count++] =
		(struct keyring_entry){type, xstrdup(name), secret_from(secret_data(bytes), secret_len(bytes))};
}

void keys_add_config(struct keys *keys, const struct encryption_config *config)
{
	const struct config_shape *shape = encryption_config_shape(config);
	for (size_t r = 0; r < shape->rule_count; r++)
		for (size_t k = 0; k < shape->rules[r].key_count; k++) {
			const struct config_key *key = &shape->rules[r].keys[k];
			const struct secret *bytes = encryption_config_key(config, key->type, key->name);
			if (bytes)
				keys_add(keys, key->type, key->name, bytes);
		}
}

const struct secret *keys_find(const struct keys *keys, enum provider_type type, const char *name)
{
	const struct keyring_entry *entry = find(keys, type, name);
	return entry ? entry->bytes : NULL;
}

struct keyring keys_view(const struct keys *keys)
{
	return (struct keyring){keys->entries, keys->count};
}

/* Entries are const for those who look at them; this is where they were made. */
static void free_entry(struct keyring_entry *entry)
{
	union {
		const void *seen;
		void *owned;
	} name = {.seen = entry->name}, bytes = {.seen = entry->bytes};
	free(name.owned);
	secret_free(bytes.owned);
}

void keys_forget(struct keys *keys, const struct strings *labels)
{
	size_t kept = 0;
	for (size_t i = 0; i < keys->count; i++) {
		_cleanup_free_ char *label =
			xasprintf("%s/%s", provider_name(keys->entries[i].type), keys->entries[i].name);
		if (strings_has(labels, label))
			free_entry(&keys->entries[i]);
		else
			keys->entries[kept++] = keys->entries[i];
	}
	keys->count = kept;
}

void keys_free(struct keys *keys)
{
	for (size_t i = 0; i < keys->count; i++)
		free_entry(&keys->entries[i]);
	free(keys->entries);
	*keys = (struct keys){0};
}

void key_generate(uint64_t wall_ns, char **ret_name, struct secret **ret_bytes)
{
	char time[16], fingerprint[13];
	clock_format_compact(wall_ns, time);
	*ret_bytes = secret_random(NEW_KEY_BYTES);
	key_fingerprint(*ret_bytes, fingerprint);
	*ret_name = xasprintf("rekey-%s-%.6s", time, fingerprint);
}
