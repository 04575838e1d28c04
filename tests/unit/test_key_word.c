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
	int failed = RUN_ROWS(row, rows);
	return failed + cmocka_run_group_tests(tests, NULL, NULL);
}
