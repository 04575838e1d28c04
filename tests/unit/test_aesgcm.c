/* More objects than aesgcm is safe for: the border, which keys it is about, and a person's word. */
#include "test_support.h"

#include "engine/aesgcm.h"

static void test_border(void **state)
{
	static const struct {
		const char *keys;
		uint64_t objects;
		bool allow, refused;
	} rows[] = {
		{"aesgcm/a", 0, false, false},
		{"aesgcm/a", 200000, false, false},
		{"aesgcm/a", 200001, false, true},
		{"aesgcm/a", UINT64_MAX, false, true},
		{"aesgcm/a", 200001, true, false},
		{"secretbox/b,aesgcm/a", 200001, false, true},
		{"secretbox/aesgcm", 200001, false, false},
		{"aescbc/a,secretbox/b", UINT64_MAX, false, false},
		{NULL, UINT64_MAX, false, false}, /* no new key */
	};
	(void)state;
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		_cleanup_strings_ keys = {0};
		_cleanup_error_ err = NULL;
		if (rows[i].keys)
			strings_split(&keys, rows[i].keys, ',');
		int rc = aesgcm_check(&keys, rows[i].objects, rows[i].allow, &err);
		assert_int_equal(rc, rows[i].refused ? -ERROR_REFUSED : 0);
		assert_int_equal(err != NULL, rows[i].refused);
	}
}

static void test_words(void **state)
{
	_cleanup_strings_ keys = {0};
	_cleanup_error_ err = NULL;
	(void)state;
	strings_add(&keys, "aesgcm/a");
	assert_int_equal(aesgcm_check(&keys, 200001, false, &err), -ERROR_REFUSED);
	assert_string_equal(error_message(err),
			    "aesgcm with random nonces is safe for 200,000 writes, and there are 200,001 objects");
	assert_non_null(strstr(error_hint(err), "--allow-aesgcm"));
	assert_non_null(strstr(error_hint(err), "--provider secretbox"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_border),
		cmocka_unit_test(test_words),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
