#include "test_support.h"
#include "base/json_read.h"

static cJSON *parsed(const char *text)
{
	cJSON *doc = NULL;
	struct error *err = NULL;
	assert_ok(json_parse(text, strlen(text), "test", &doc, &err), err);
	return doc;
}

static void test_reads_members(void **state)
{
	(void)state;
	_cleanup_json_ doc = parsed("{\"metadata\":{\"name\":\"a\",\"Name\":\"b\",\"n\":3,\"yes\":true,\"no\":false}}");
	const cJSON *metadata = json_at(doc, "metadata", NULL);
	assert_non_null(metadata);
	assert_ptr_equal(json_at(doc, NULL), doc);
	assert_string_equal(json_at(doc, "metadata", "name", NULL)->valuestring, "a");
	assert_null(json_at(doc, "Metadata", "name", NULL));
	assert_null(json_at(doc, "metadata", "name", "deeper", NULL));
	assert_null(json_at(NULL, "metadata", NULL));
	assert_string_equal(json_text_at(metadata, "Name"), "b");
	assert_null(json_text_at(metadata, "n"));
	assert_null(json_text_at(metadata, "missing"));
	assert_true(json_bool_at(metadata, "yes", false));
	assert_false(json_bool_at(metadata, "no", true));
	assert_true(json_bool_at(metadata, "missing", true));
	assert_true(json_bool_at(metadata, "name", true));
}

struct number_row {
	const char *name; /* the value as JSON */
	bool is_number;
	uint64_t number;
};

static const struct number_row numbers[] = {
	{"0", true, 0},
	{"7", true, 7},
	{"9007199254740992", true, UINT64_C(1) << 53},
	{"9007199254740994", false, 0},
	{"\"18446744073709551615\"", true, UINT64_MAX},
	{"\"18446744073709551616\"", false, 0},
	{"\"\"", false, 0},
	{"\"-1\"", false, 0},
	{"-1", false, 0},
	{"1.5", false, 0},
	{"1e300", false, 0},
	{"1e400", false, 0},
	{"true", false, 0},
	{"null", false, 0},
	{"{}", false, 0},
};

static void test_number(void **state)
{
	const struct number_row *row = *state;
	_cleanup_free_ char *text = xasprintf("{\"n\":%s}", row->name);
	_cleanup_json_ doc = parsed(text);
	uint64_t number = 42;
	assert_int_equal(json_u64_at(doc, "n", &number), row->is_number);
	assert_int_equal(number, row->is_number ? row->number : 42);
	assert_false(json_u64_at(doc, "missing", &number));
}

struct parse_row {
	const char *name;
	const char *text;
	const char *message; /* NULL: it parses */
};

static const struct parse_row parses[] = {
	{"trailing whitespace", "{} \t\r\n", NULL},
	{"leading whitespace", "\n {}", NULL},
	{"no object", "3", NULL},
	{"nothing", "", "pod: not JSON at line 1, column 1"},
	{"whitespace alone", " ", "pod: not JSON at line 1, column 1"},
	{"cut off", "{\"a\":\n1", "pod: not JSON at line 2, column 1"},
	{"a word", "{\"a\": secretword}", "pod: not JSON at line 1, column 7"},
	{"something behind it", "{}\n x", "pod: not JSON at line 2, column 2"},
	{"a second document", "{}{}", "pod: not JSON at line 1, column 3"},
	{"a trailing comma", "[1,]", "pod: not JSON at line 1, column 4"},
};

static void test_parse(void **state)
{
	const struct parse_row *row = *state;
	struct error *err = NULL;
	_cleanup_json_ doc = NULL;
	int rc = json_parse(row->text, strlen(row->text), "pod", &doc, &err);
	if (row->message) {
		assert_error(rc, err, ERROR_INPUT, row->message);
		assert_null(doc);
	} else {
		assert_ok(rc, err);
	}
}

static void test_reads_no_byte_more(void **state)
{
	(void)state;
	/* Exact allocations, for the sanitizer: a document cut off at each of its bytes. */
	static const char text[] = "{\"a\\u00e4\\ud83d\\udd11\\n\":[1.5e3,true,null,\"x\"]}";
	for (size_t len = 0; len <= strlen(text); len++) {
		_cleanup_free_ char *bytes = xmemdup(text, len);
		_cleanup_json_ doc = NULL;
		int rc = json_parse(bytes, len, "test", &doc, NULL);
		assert_int_equal(rc, len == strlen(text) ? 0 : -ERROR_INPUT);
	}
}

static char *nested(size_t depth)
{
	char *text = xmalloc(2 * depth + 1);
	memset(text, '[', depth);
	memset(text + depth, ']', depth);
	text[2 * depth] = '\0';
	return text;
}

static void test_depth_cap(void **state)
{
	(void)state;
	struct error *err = NULL;
	_cleanup_json_ doc = NULL;
	_cleanup_free_ char *fits = nested(JSON_DEPTH_MAX);
	_cleanup_free_ char *deeper = nested(JSON_DEPTH_MAX + 1);
	assert_ok(json_parse(fits, strlen(fits), "test", &doc, &err), err);
	cJSON *none = NULL;
	int rc = json_parse(deeper, strlen(deeper), "test", &none, &err);
	assert_error(rc, err, ERROR_LIMIT, "test: JSON nested deeper than 200");
	assert_null(none);
}

static void test_brackets_in_strings_are_not_depth(void **state)
{
	(void)state;
	_cleanup_free_ char *brackets = nested(JSON_DEPTH_MAX + 1);
	_cleanup_free_ char *text = xasprintf("[\"\\\"%s\"]", brackets);
	_cleanup_json_ doc = parsed(text);
	assert_non_null(doc);
}

static void test_size_cap(void **state)
{
	(void)state;
	struct error *err = NULL;
	_cleanup_free_ char *text = xmalloc(JSON_BYTES_MAX + 1);
	memset(text, ' ', JSON_BYTES_MAX + 1);
	text[0] = '1';
	_cleanup_json_ doc = NULL;
	assert_ok(json_parse(text, JSON_BYTES_MAX, "test", &doc, &err), err);
	cJSON *none = NULL;
	int rc = json_parse(text, JSON_BYTES_MAX + 1, "test", &none, &err);
	assert_error(rc, err, ERROR_LIMIT, "test: JSON of 16777217 bytes, more than 16777216");
	assert_null(none);
}

/* The wipe itself is recorded instead of done by the libc; hardened builds call the second name. */
static bool looking, value_was_wiped;

/* Not inlined: the compiler knows explicit_bzero as a function that only writes. */
static __attribute__((noinline)) void record(void *bytes, size_t len)
{
	if (looking && memmem(bytes, len, "planted value", 13))
		value_was_wiped = true;
	memset(bytes, 0, len);
	__asm__ volatile("" : : "r"(bytes) : "memory");
}

void explicit_bzero(void *bytes, size_t len)
{
	record(bytes, len);
}

void __explicit_bzero_chk(void *bytes, size_t len, size_t size);
void __explicit_bzero_chk(void *bytes, size_t len, size_t size)
{
	(void)size;
	record(bytes, len);
}

static void test_values_are_wiped_on_delete(void **state)
{
	(void)state;
	cJSON *doc = parsed("{\"data\":\"planted value\"}");
	looking = true;
	cJSON_Delete(doc);
	looking = false;
	assert_true(value_was_wiped);
}

int main(void)
{
	json_install_hooks();
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reads_members), cmocka_unit_test(test_reads_no_byte_more),
		cmocka_unit_test(test_depth_cap),     cmocka_unit_test(test_brackets_in_strings_are_not_depth),
		cmocka_unit_test(test_size_cap),      cmocka_unit_test(test_values_are_wiped_on_delete),
	};
	return cmocka_run_group_tests(tests, NULL, NULL) + RUN_ROWS(test_number, numbers) +
	       RUN_ROWS(test_parse, parses);
}
