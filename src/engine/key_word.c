#include "engine/key_word.h"

#include <string.h>

#include "engine/old_keys.h"

static bool is_name(const char *text)
{
	enum provider_type type;
	const char *name;
	if (key_label_split(text, &type, &name))
		return type != PROVIDER_IDENTITY;
	return text_equal(text, "plaintext");
}

struct key_word key_word(const char *text)
{
	return (struct key_word){.text = text, .by_name = is_name(text)};
}

bool key_word_means(const struct key_word *word, const struct census_key *key)
{
	if (!word->by_name)
		return key->provider == PROVIDER_KMS && text_equal(key->key_id, word->text);
	const struct config_key as_configured = {.type = key->provider, .name = key->name};
	_cleanup_free_ char *label = config_key_label(&as_configured);
	return text_equal(label, word->text);
}

bool key_word_unclear(const struct key_word *word, const struct census_key *key)
{
	return !word->by_name && key->provider == PROVIDER_KMS && text_empty(key->key_id);
}

int key_word_check(const struct key_word *word, const struct strings *found, struct error **err)
{
	for (size_t i = 0; !word->by_name && i < found->count; i++) {
		const char *slash = strchr(found->items[i], '/');
		size_t len = strlen(word->text);
		bool same = text_equal(found->items[i], word->text);
		if (same || (slash && strncmp(slash + 1, word->text, len) == 0 &&
			     (slash[1 + len] == '\0' || slash[1 + len] == ' ')))
			return error_set(
				err, ERROR_USAGE,
				"%s: say aescbc/NAME, aesgcm/NAME, secretbox/NAME or kms/NAME, or the key ID of a "
				"KMS alone (%s was found)",
				word->text, found->items[i]);
	}
	return 0;
}
