/* A key as a person names it on the command line: "aescbc/key1", "kms/vault", "plaintext", or the key ID of a KMS. */
#pragma once
#include "engine/census.h"

struct key_word {
	const char *text; /* lent */
	bool by_name;     /* else the key ID of a KMS */
};
struct key_word key_word(const char *text);
bool key_word_means(const struct key_word *word, const struct census_key *key);
/* Whether nobody can tell: a key ID was named, and values under KMS v1 name none. */
bool key_word_unclear(const struct key_word *word, const struct census_key *key);
/* -ERROR_USAGE where a key ID was named that is half of one of `found` (labels of keys, as census_key_label has them): "key1"
 * alone, or a label with its key ID, would be a key ID that nobody has. */
_must_check_ int key_word_check(const struct key_word *word, const struct strings *found, struct error **err);
