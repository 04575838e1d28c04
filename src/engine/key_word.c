#include "engine/key_word.h"

#include <ctype.h>
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

/* --- key IDs of AWS: its plugin names the key as its command line does, by ARN, bare ID or alias --- */

/* "key/1234...", "alias/app" of an ARN; any other text as it is. */
static const char *in_account(const char *id)
{
	const char *colon = text_starts(id, "arn:") ? strrchr(id, ':') : NULL;
	return colon ? colon + 1 : id;
}

/* "1234..." of "key/1234...", which is how an ARN has it; an alias stays one. */
static const char *bare(const char *id)
{
	const char *resource = in_account(id);
	return resource != id && text_starts(resource, "key/") ? resource + strlen("key/") : resource;
}

bool key_id_is_alias(const char *id)
{
	return text_starts(in_account(id), "alias/");
}

static bool is_uuid(const char *id)
{
	static const char form[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
	for (size_t i = 0; form[i]; i++)
		if (form[i] == '-' ? id[i] != '-' : !isxdigit((unsigned char)id[i]))
			return false;
	return id[sizeof(form) - 1] == '\0';
}

static bool is_of_aws(const char *id)
{
	return text_starts(id, "arn:") || text_starts(id, "mrk-") || key_id_is_alias(id) || is_uuid(id);
}

static bool same_id(const char *a, const char *b)
{
	bool both = text_starts(a, "arn:") && text_starts(b, "arn:");
	return text_equal(a, b) || (!both && text_equal(bare(a), bare(b)));
}

/* "projects/p/.../cryptoKeys/k" and ".../cryptoKeys/k/cryptoKeyVersions/3": who names one may mean the other. */
static bool is_part_of(const char *whole, const char *part)
{
	const char *rest = text_starts(part, whole) ? part + strlen(whole) : "";
	return *whole && *rest == '/';
}

enum key_ids key_ids_compare(const char *a, const char *b)
{
	if (same_id(a, b))
		return KEY_IDS_ONE;
	if (is_part_of(a, b) || is_part_of(b, a))
		return KEY_IDS_MAY_BE_ONE;
	return is_of_aws(a) && is_of_aws(b) && (key_id_is_alias(a) || key_id_is_alias(b)) ? KEY_IDS_MAY_BE_ONE
											  : KEY_IDS_TWO;
}

bool key_word_is_id(const struct key_word *word, const char *key_id)
{
	return !word->by_name && key_ids_compare(word->text, key_id) == KEY_IDS_ONE;
}

bool key_word_may_be_id(const struct key_word *word, const char *key_id)
{
	return !word->by_name && key_ids_compare(word->text, key_id) == KEY_IDS_MAY_BE_ONE;
}

bool key_word_has_names(const struct key_word *word)
{
	return !word->by_name && is_of_aws(word->text);
}

/* --- keys of values --- */

bool key_word_means(const struct key_word *word, const struct census_key *key)
{
	if (!word->by_name)
		return key->provider == PROVIDER_KMS && key_word_is_id(word, key->key_id);
	const struct config_key as_configured = {.type = key->provider, .name = key->name};
	_cleanup_free_ char *label = config_key_label(&as_configured);
	return text_equal(label, word->text);
}

bool key_word_unclear(const struct key_word *word, const struct census_key *key)
{
	if (word->by_name || key->provider != PROVIDER_KMS)
		return false;
	return text_empty(key->key_id) || key_word_may_be_id(word, key->key_id);
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
