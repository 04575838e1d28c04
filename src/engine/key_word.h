/* A key as a person names it on the command line: "aescbc/key1", "kms/vault", "plaintext", or the key ID of a KMS. */
#pragma once
#include "engine/census.h"

struct key_word {
	const char *text; /* lent */
	bool by_name;     /* else the key ID of a KMS */
};
struct key_word key_word(const char *text);
bool key_word_means(const struct key_word *word, const struct census_key *key);
/* Whether nobody can tell: a key ID was named, and values under KMS v1 name none, or one of both may be the other by another name. */
bool key_word_unclear(const struct key_word *word, const struct census_key *key);
/* What two key IDs of a KMS name. A key of AWS is an ARN for one and a bare ID for another; of an alias only AWS knows what it leads
 * to. Where one is the other and "/..." it may be a version of that, and is destroyed with it. */
enum key_ids { KEY_IDS_TWO, KEY_IDS_MAY_BE_ONE, KEY_IDS_ONE };
enum key_ids key_ids_compare(const char *a, const char *b);
/* Of AWS: what it leads to is known there alone, and may change. */
bool key_id_is_alias(const char *id);
/* Whether a key ID is the one that was named; of a key of AWS, too, which is an ARN for one and a bare ID for another. */
bool key_word_is_id(const struct key_word *word, const char *key_id);
/* Whether it may be another name of the same key, or of a version of it. */
bool key_word_may_be_id(const struct key_word *word, const char *key_id);
/* Whether the key may have other names than the one that was said. */
bool key_word_has_names(const struct key_word *word);
/* -ERROR_USAGE where a key ID was named that is half of one of `found` (labels of keys, as census_key_label has them): "key1"
 * alone, or a label with its key ID, would be a key ID that nobody has. */
_must_check_ int key_word_check(const struct key_word *word, const struct strings *found, struct error **err);
