/* The termination message: what the kubelet finds, and what is left alone. */
#include <string.h>

#include "base/file.h"
#include "cmd/last_words.h"
#include "test_folder.h"

static void expect(const char *path, const char *wanted)
{
	_cleanup_secret_ text = NULL;
	assert_int_equal(file_read(path, 1u << 20, &text, NULL), 0);
	assert_string_equal(secret_text(text), wanted);
}

static void test_written(void **state)
{
	(void)state;
	const char *path = in_folder("log");
	struct stat found;
	assert_int_equal(last_words_write(path, "a longer first message\n", NULL), 0);
	assert_int_equal(stat(path, &found), 0);
	assert_int_equal(found.st_mode & 0777, 0600);
	assert_int_equal(last_words_write(path, "Done\n", NULL), 0);
	expect(path, "Done\n");
}

static void test_cut_at_a_character(void **state)
{
	(void)state;
	const char *path = in_folder("long");
	char text[LAST_WORDS_MAX + 8], wanted[LAST_WORDS_MAX + 1];
	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	memcpy(text + LAST_WORDS_MAX - 1, "\xe2\x9c\x93", 3); /* one character across the end */
	memset(wanted, 'x', LAST_WORDS_MAX - 1);
	wanted[LAST_WORDS_MAX - 1] = '\0';
	assert_int_equal(last_words_write(path, text, NULL), 0);
	expect(path, wanted);
	memset(text, 'x', LAST_WORDS_MAX + 2);
	memset(wanted, 'x', LAST_WORDS_MAX);
	wanted[LAST_WORDS_MAX] = '\0';
	assert_int_equal(last_words_write(path, text, NULL), 0);
	expect(path, wanted);
}

static void test_left_alone(void **state)
{
	(void)state;
	const char *link = in_folder("link");
	const char *file = in_folder("file");
	const char *pipe = in_folder("pipe");
	_cleanup_error_ error = NULL;
	assert_int_equal(last_words_write(file, "kept", NULL), 0);
	assert_int_equal(symlink(file, link), 0);
	assert_int_equal(last_words_write(link, "lost", NULL), -ERROR_IO);
	expect(file, "kept");
	assert_int_equal(mkfifo(pipe, 0600), 0);
	assert_int_equal(last_words_write(pipe, "lost", NULL), -ERROR_IO);
	assert_int_equal(last_words_write(folder, "lost", &error), -ERROR_IO);
	assert_non_null(strstr(error_message(error), "Is a directory"));
}

static void test_outside_a_pod(void **state)
{
	(void)state;
	if (access(LAST_WORDS_DEFAULT, F_OK) == 0)
		skip();
	assert_int_equal(last_words_write(NULL, "nobody hears it", NULL), 0);
	assert_int_equal(access(LAST_WORDS_DEFAULT, F_OK), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		folder_test(test_written),
		folder_test(test_cut_at_a_character),
		folder_test(test_left_alone),
		cmocka_unit_test(test_outside_a_pod),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
