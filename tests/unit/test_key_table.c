/* Keys in a table for people: however long their names, they are told apart, and can be read whole. */
#include "test_support.h"

#include <string.h>

#include "engine/key_table.h"

#define ARN(region, end) "kms v2/vault key ID arn:aws:kms:" region ":111122223333:key/1234abcd-12ab-34cd-56ef-" end
#define FIRST ARN("eu-west-1", "1234567890ab")
#define SECOND ARN("eu-west-1", "1234567890ac")
#define REPLICA ARN("us-east-1", "1234567890ab") /* of a multi-Region key: the end is the same */

static char *table_of(unsigned width, const char *const *keys, size_t count)
{
	struct key_table table = key_table_begin(width, false);
	for (size_t i = 0; i < count; i++)
		key_table_row(&table, i ? "" : "secrets", xstrdup(keys[i]), 1234, 7 << 10, xstrdup("stale"), TONE_WARN);
	key_table_write_rows(&table, "RESOURCE");
	char *text = buf_steal_text(&table.out);
	key_table_clear(&table);
	return text;
}

#define assert_says(text, words)                                        \
	do {                                                            \
		if (!strstr(text, words))                               \
			fail_msg("%s\nis not in\n%s", (words), (text)); \
	} while (0)

static void test_whole_where_there_is_room(void **state)
{
	static const char *const keys[] = {FIRST, SECOND};
	(void)state;
	_cleanup_free_ char *text = table_of(160, keys, 2);
	assert_says(text, "secrets   " FIRST "    1,234  7.0 KiB  stale\n");
	assert_says(text, "          " SECOND "    1,234  7.0 KiB  stale\n");
	assert_null(strstr(text, " is\n"));
}

static void test_the_end_tells_them_apart(void **state)
{
	static const char *const keys[] = {FIRST, SECOND, FIRST, "aescbc/key1"};
	(void)state;
	for (unsigned width = 60; width < 120; width += 7) {
		_cleanup_free_ char *text = table_of(width, keys, 4);
		assert_says(text, "67890ab   "); /* in a row */
		assert_says(text, "67890ac   ");
		assert_says(text, "aescbc/key1 ");
		assert_null(strstr(text, "aescbc/key1\n"));
		/* Once each, below. */
		const char *whole =
			strstr(text, "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab\n");
		assert_non_null(whole);
		assert_null(strstr(whole + 1,
				   "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab\n"));
	}
}

static void test_alike_when_cut(void **state)
{
	static const char *const keys[] = {FIRST, REPLICA, REPLICA, FIRST};
	(void)state;
	_cleanup_free_ char *text = table_of(80, keys, 4);
	const char *one = strstr(text, "(1)"), *two = strstr(text, "(2)");
	assert_non_null(one);
	assert_non_null(two);
	assert_true(one < two);
	assert_says(text, "(1) is\n    kms v2/vault");
	assert_says(text, "(2) is\n    kms v2/vault");
	assert_says(text, "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab\n");
	assert_says(text, "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab\n");
}

static void test_narrow(void **state)
{
	static const char *const keys[] = {FIRST, SECOND};
	(void)state;
	for (unsigned width = 1; width < 60; width += 13) {
		_cleanup_free_ char *text = table_of(width, keys, 2);
		assert_says(text, "890ab\n    1,234, 7.0 KiB, stale\n");
		assert_says(text, "890ac\n    1,234, 7.0 KiB, stale\n");
		assert_says(text, "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ac\n");
	}
}

/* Columns are characters, not bytes. */
static void test_letters_of_several_bytes(void **state)
{
	static const char *const keys[] = {"kms v2/tür key ID ÄÖÜäöüÄÖÜäöüÄÖÜäöüÄÖÜäöüÄÖÜäöüÄÖÜäöüÄÖÜäöüÄÖÜ-ende"};
	(void)state;
	_cleanup_free_ char *text = table_of(70, keys, 1);
	assert_says(text, "-ende  ");
	assert_says(text, "…");
	for (const char *line = text; *line;) {
		size_t len = strcspn(line, "\n"), wide = 0;
		for (size_t i = 0; i < len; i++)
			wide += ((unsigned char)line[i] & 0xc0u) != 0x80u;
		if (wide > 70 && strncmp(line, "    ", 4) != 0) /* a word is never broken */
			fail_msg("%zu columns: %.*s", wide, (int)len, line);
		line += len + (line[len] == '\n');
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole_where_there_is_room),
		cmocka_unit_test(test_the_end_tells_them_apart),
		cmocka_unit_test(test_alike_when_cut),
		cmocka_unit_test(test_narrow),
		cmocka_unit_test(test_letters_of_several_bytes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
