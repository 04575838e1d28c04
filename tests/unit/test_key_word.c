/* A key as a person names it, beside keys as values name them. */
#include "test_support.h"

#include "engine/key_word.h"

static char none[] = "", key1[] = "key1", vault[] = "vault", arn[] = "arn:aws:kms:eu:1:key/a", short_id[] = "aescbc";

static const struct census_key keys[] = {
	{.provider = PROVIDER_IDENTITY, .name = none, .key_id = none},
	{.provider = PROVIDER_AESCBC, .name = key1, .key_id = none},
	{.provider = PROVIDER_AESGCM, .name = key1, .key_id = none},
	{.provider = PROVIDER_KMS, .kms_version = 2, .name = vault, .key_id = arn},
	{.provider = PROVIDER_KMS, .kms_version = 2, .name = vault, .key_id = short_id},
	{.provider = PROVIDER_KMS, .kms_version = 1, .name = vault, .key_id = none},
};

static const struct {
	const char *name;
	bool by_name;
	const char *means, *unclear; /* a digit for each of `keys` */
} rows[] = {
	{"plaintext", true, "100000", "000000"},   {"aescbc/key1", true, "010000", "000000"},
	{"aesgcm/key1", true, "001000", "000000"}, {"secretbox/key1", true, "000000", "000000"},
	{"kms/vault", true, "000111", "000000"},   {"arn:aws:kms:eu:1:key/a", false, "000100", "000001"},
	{"aescbc", false, "000010", "000001"}, /* a key ID may be any text */
	{"key1", false, "000000", "000001"},       {"vault", false, "000000", "000001"},
};

static void row(void **state)
{
	const __typeof__(rows[0]) *it = *state;
	struct key_word word = key_word(it->name);
	assert_int_equal(word.by_name, it->by_name);
	for (size_t i = 0; i < ELEMENTS(keys); i++) {
		assert_int_equal(key_word_means(&word, &keys[i]), it->means[i] == '1');
		assert_int_equal(key_word_unclear(&word, &keys[i]), it->unclear[i] == '1');
	}
}

#define UUID "1234abcd-12ab-34cd-56ef-1234567890ab"
#define ACCOUNT "arn:aws:kms:eu-1:111:"

enum sameness { OTHER, SAME, MAYBE };
/* What a person says, and what a plugin names. */
static const struct {
	const char *name, *named;
	enum sameness sameness;
} ids[] = {
	{ACCOUNT "key/" UUID, UUID, SAME},
	{UUID, ACCOUNT "key/" UUID, SAME},
	{ACCOUNT "key/mrk-12", "mrk-12", SAME},
	{ACCOUNT "alias/app", "alias/app", SAME},
	{ACCOUNT "key/" UUID, ACCOUNT "key/" UUID, SAME},
	{ACCOUNT "key/" UUID, "arn:aws:kms:us-1:111:key/" UUID, OTHER}, /* another region's */
	{ACCOUNT "key/" UUID, "00000000-12ab-34cd-56ef-1234567890ab", OTHER},
	{ACCOUNT "key/" UUID, "key-1", OTHER},
	{ACCOUNT "key/" UUID, "key/" UUID, OTHER}, /* no name of AWS */
	{ACCOUNT "key/" UUID, "alias/app", MAYBE},
	{ACCOUNT "key/" UUID, ACCOUNT "alias/app", MAYBE},
	{UUID, "alias/app", MAYBE},
	{"mrk-12", "alias/app", MAYBE},
	{"alias/app", UUID, MAYBE},
	{"alias/app", "alias/other", MAYBE}, /* two aliases may lead to one key */
	{"key-1", "alias/app", OTHER},       /* of another KMS */
	{"alias/app", "key-1", OTHER},
	{UUID "0", "alias/app", OTHER},
	{"1234abcd-12ab-34cd-56ef-1234567890a", "alias/app", OTHER},
	{"kms/vault", "alias/app", OTHER},
	/* versions of one key, as some plugins name them */
	{"projects/p/cryptoKeys/k", "projects/p/cryptoKeys/k/cryptoKeyVersions/3", MAYBE},
	{"projects/p/cryptoKeys/k/cryptoKeyVersions/3", "projects/p/cryptoKeys/k", MAYBE},
	{"projects/p/cryptoKeys/k", "projects/p/cryptoKeys/k2/cryptoKeyVersions/3", OTHER},
	{"projects/p/cryptoKeys/k/cryptoKeyVersions/3", "projects/p/cryptoKeys/k/cryptoKeyVersions/4", OTHER},
};

static void id(void **state)
{
	const __typeof__(ids[0]) *it = *state;
	struct key_word word = key_word(it->name);
	const struct census_key key = {
		.provider = PROVIDER_KMS, .kms_version = 2, .name = vault, .key_id = (char *)(uintptr_t)it->named};
	assert_int_equal(key_word_is_id(&word, it->named), it->sameness == SAME);
	assert_int_equal(key_word_may_be_id(&word, it->named), it->sameness == MAYBE);
	assert_int_equal(key_word_unclear(&word, &key), it->sameness == MAYBE);
	if (!word.by_name)
		assert_int_equal(key_word_means(&word, &key), it->sameness == SAME);
}

/* Half of what was found is a mistake, not a key that nobody needs. */
static void test_halves(void **state)
{
	(void)state;
	_cleanup_strings_ found = {0};
	for (size_t i = 0; i < ELEMENTS(keys); i++) {
		_cleanup_free_ char *label = census_key_label(&keys[i]);
		strings_add(&found, label);
	}
	static const char *const wrong[] = {"key1", "vault", "kms v2/vault key ID arn:aws:kms:eu:1:key/a"};
	static const char *const fine[] = {"aescbc/key1", "aescbc/gone", "arn:aws:kms:eu:1:key/a", "key", "arn:gone"};
	for (size_t i = 0; i < ELEMENTS(wrong); i++) {
		_cleanup_error_ err = NULL;
		struct key_word word = key_word(wrong[i]);
		assert_int_equal(key_word_check(&word, &found, &err), -ERROR_USAGE);
	}
	for (size_t i = 0; i < ELEMENTS(fine); i++) {
		_cleanup_error_ err = NULL;
		struct key_word word = key_word(fine[i]);
		assert_int_equal(key_word_check(&word, &found, &err), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_halves)};
	int failed = RUN_ROWS(row, rows) + RUN_ROWS(id, ids);
	return failed + cmocka_run_group_tests(tests, NULL, NULL);
}
