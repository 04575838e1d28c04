#include "test_support.h"
#include "base/json_writer.h"
#include <math.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void test_document(void **state)
{
	(void)state;
	struct json_writer w = JSON_WRITER_INIT(1000);
	json_object_begin(&w);
	json_member_string(&w, "kind", "Census");
	json_member_string(&w, "none", NULL);
	json_member_u64(&w, "max", UINT64_MAX);
	json_member_bool(&w, "complete", true);
	json_key(&w, "least");
	json_i64(&w, INT64_MIN);
	json_key(&w, "seconds");
	json_fixed(&w, 1.25, 1);
	json_key(&w, "never");
	json_fixed(&w, NAN, 1);
	json_key(&w, "items");
	json_array_begin(&w);
	json_bool(&w, false);
	json_null(&w);
	json_object_begin(&w);
	json_object_end(&w);
	json_array_begin(&w);
	json_array_end(&w);
	json_u64(&w, 1);
	json_string(&w, "");
	json_array_end(&w);
	json_key(&w, "last");
	json_object_begin(&w);
	json_member_u64(&w, "a", 1);
	json_object_end(&w);
	json_object_end(&w);
	assert_string_equal(json_text(&w),
			    "{\"kind\":\"Census\",\"none\":null,\"max\":18446744073709551615,\"complete\":true,"
			    "\"least\":-9223372036854775808,\"seconds\":1.2,\"never\":null,"
			    "\"items\":[false,null,{},[],1,\"\"],\"last\":{\"a\":1}}");
	json_writer_free(&w);
}

struct string_row {
	const char *name;
	const char *text;
	size_t len;
	const char *expected;
};
#define TEXT(text) text, sizeof(text) - 1

static const struct string_row strings[] = {
	{"plain", TEXT("abc/\xc3\xa4"), "\"abc/\xc3\xa4\""},
	{"named escapes", TEXT("\"\\\b\f\n\r\t"), "\"\\\"\\\\\\b\\f\\n\\r\\t\""},
	{"controls", TEXT("\x01\x1f\x7f\0"), "\"\\u0001\\u001f\\u007f\\u0000\""},
	{"what steers a terminal", TEXT("\xc2\x9b\xe2\x80\xae"), "\"\\u009b\\u202e\""},
	{"invalid UTF-8", TEXT("a\xff\xe2\x82"), "\"a\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
};

static void test_string(void **state)
{
	const struct string_row *row = *state;
	struct json_writer w = JSON_WRITER_INIT(1000);
	json_string_n(&w, row->text, row->len);
	assert_string_equal(json_text(&w), row->expected);
	json_writer_free(&w);
}

static void test_keys_are_escaped(void **state)
{
	(void)state;
	struct json_writer w = JSON_WRITER_INIT(1000);
	json_object_begin(&w);
	json_member_u64(&w, "a\"\n", 1);
	json_object_end(&w);
	assert_string_equal(json_text(&w), "{\"a\\\"\\n\":1}");
	json_writer_free(&w);
}

static void write_array_of_two(struct json_writer *w)
{
	json_array_begin(w);
	json_u64(w, 1);
	json_u64(w, 2);
	json_array_end(w);
}

static void test_cap(void **state)
{
	(void)state;
	struct json_writer fits = JSON_WRITER_INIT(5), not = JSON_WRITER_INIT(4);
	write_array_of_two(&fits);
	write_array_of_two(&not );
	assert_string_equal(json_text(&fits), "[1,2]");
	assert_null(json_text(&not ));
	json_writer_free(&fits);
	json_writer_free(&not );
}

static void test_a_gap_never_shows(void **state)
{
	(void)state;
	/* "12345" does not fit; the "]" that would must not follow. */
	struct json_writer w = JSON_WRITER_INIT(4);
	json_array_begin(&w);
	json_u64(&w, 12345);
	json_array_end(&w);
	assert_null(json_text(&w));
	assert_string_equal(buf_text(&w.out), "[");
	json_writer_free(&w);
}

static void nest(struct json_writer *w, int depth)
{
	for (int i = 0; i < depth; i++)
		json_array_begin(w);
	json_u64(w, 1);
	json_u64(w, 2);
	for (int i = 0; i < depth; i++)
		json_array_end(w);
}

static void test_64_deep(void **state)
{
	(void)state;
	struct json_writer w = JSON_WRITER_INIT(1000);
	nest(&w, 64);
	assert_int_equal(strlen(json_text(&w)), 2 * 64 + 3);
	json_writer_free(&w);
}

static void too_deep(struct json_writer *w)
{
	nest(w, 65);
}

static void end_without_begin(struct json_writer *w)
{
	json_object_end(w);
}

static void wrong_end(struct json_writer *w)
{
	json_array_begin(w);
	json_object_end(w);
}

static void end_after_key(struct json_writer *w)
{
	json_object_begin(w);
	json_key(w, "a");
	json_object_end(w);
}

static void member_without_key(struct json_writer *w)
{
	json_object_begin(w);
	json_u64(w, 1);
}

static void key_in_array(struct json_writer *w)
{
	json_array_begin(w);
	json_key(w, "a");
}

static void key_outside(struct json_writer *w)
{
	json_key(w, "a");
}

static void key_after_key(struct json_writer *w)
{
	json_object_begin(w);
	json_key(w, "a");
	json_key(w, "b");
}

static void second_document(struct json_writer *w)
{
	json_null(w);
	json_null(w);
}

static void text_while_open(struct json_writer *w)
{
	json_object_begin(w);
	json_text(w);
}

struct bug_row {
	const char *name;
	void (*fn)(struct json_writer *w);
};

static const struct bug_row bugs[] = {
	{"65 deep", too_deep},
	{"an end without a begin", end_without_begin},
	{"the end of the other kind", wrong_end},
	{"an end where a value is due", end_after_key},
	{"a member without a key", member_without_key},
	{"a key in an array", key_in_array},
	{"a key outside an object", key_outside},
	{"a key after a key", key_after_key},
	{"a second document", second_document},
	{"asking for the text while it is open", text_while_open},
};

static void test_bug_aborts(void **state)
{
	const struct bug_row *row = *state;
	pid_t child = fork();
	if (child == 0) {
		struct json_writer w = JSON_WRITER_INIT(1000);
		signal(SIGABRT, SIG_DFL);
		row->fn(&w);
		_exit(0);
	}
	int status;
	waitpid(child, &status, 0);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_document), cmocka_unit_test(test_keys_are_escaped),
		cmocka_unit_test(test_cap),      cmocka_unit_test(test_a_gap_never_shows),
		cmocka_unit_test(test_64_deep),
	};
	return cmocka_run_group_tests(tests, NULL, NULL) + RUN_ROWS(test_string, strings) +
	       RUN_ROWS(test_bug_aborts, bugs);
}
