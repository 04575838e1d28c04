#include "format_support.h"
#include <math.h>

static const struct {
	const char *name;
	struct bytes in;
	const char *out; /* the kept samples written again, then the result and its message */
} rows[] = {
	{"nothing", BYTES(""), "0 "},
	{"empty lines, blanks and comments", BYTES("\n \t\n# HELP up a \"text\" {\n#\n  # TYPE up gauge\n"), "0 "},
	{"a sample", BYTES("up 1\n"), "up{} 1\n0 "},
	{"no labels in braces", BYTES("up{} 1\n"), "up{} 1\n0 "},
	{"labels", BYTES("up{a=\"1\",b_2=\"x y\"} 1\n"), "up{a=\"1\",b_2=\"x y\"} 1\n0 "},
	{"a comma at the end", BYTES("up{a=\"1\",} 1\n"), "up{a=\"1\"} 1\n0 "},
	{"blanks and tabs wherever they may be", BYTES(" up\t{ a = \"1\" , b=\"2\" }\t 1  5\t \n"),
	 "up{a=\"1\",b=\"2\"} 1\n0 "},
	{"braces and commas in a value", BYTES("up{a=\"},{#\"} 1\n"), "up{a=\"},{#\"} 1\n0 "},
	{"escapes", BYTES("up{a=\"C:\\\\x\",b=\"\\\"q\\\"\",c=\"1\\n2\"} 1\n"),
	 "up{a=\"C:\\\\x\",b=\"\\\"q\\\"\",c=\"1\\n2\"} 1\n0 "},
	{"a name with a colon and digits", BYTES("a:b_1 2\n"), "a:b_1{} 2\n0 "},
	{"other names are dropped, theirs too that begin alike", BYTES("other 1\nupper 2\nu 3\nup 4\n"), "up{} 4\n0 "},
	{"a timestamp", BYTES("up 1 1700000000000\n"), "up{} 1\n0 "},
	{"a timestamp before 1970", BYTES("up 1 -5\n"), "up{} 1\n0 "},
	{"an exponent", BYTES("up 1.7954e+09\nup{a=\"\"} -2.5E-3\n"),
	 "up{} 1795400000\nup{a=\"\"} -0.0025000000000000001\n0 "},
	{"a point at either end", BYTES("up .5\nup{a=\"b\"} 5.\n"), "up{} 0.5\nup{a=\"b\"} 5\n0 "},
	{"signs", BYTES("up +3\nup{a=\"b\"} -3\n"), "up{} 3\nup{a=\"b\"} -3\n0 "},
	{"NaN", BYTES("up NaN\n"), "up{} NaN\n0 "},
	{"infinities", BYTES("up +Inf\nup{a=\"b\"} -Inf\nup{a=\"c\"} Inf\n"),
	 "up{} +Inf\nup{a=\"b\"} -Inf\nup{a=\"c\"} +Inf\n0 "},
	{"too small to hold", BYTES("up 1e-999\n"), "up{} 0\n0 "},
	{"the same series with the same value", BYTES("up{a=\"1\",b=\"2\"} 1\nup{b=\"2\",a=\"1\"} 1\n"),
	 "up{a=\"1\",b=\"2\"} 1\n0 "},
	{"the same series, both NaN", BYTES("up NaN\nup NaN\n"), "up{} NaN\n0 "},
	{"the same series with two values", BYTES("up{a=\"1\",b=\"2\"} 1\nup{b=\"2\",a=\"1\"} 2\n"),
	 "up{a=\"1\",b=\"2\"} 1\ncontradictory 0 "},
	{"the same of a dropped series", BYTES("other 1\nother 2\n"), "0 "},
	{"an empty label is another series than none", BYTES("up 1\nup{a=\"\"} 2\n"), "up{} 1\nup{a=\"\"} 2\n0 "},
	{"labels swapped are another series", BYTES("up{a=\"x\",b=\"y\"} 1\nup{a=\"y\",b=\"x\"} 2\n"),
	 "up{a=\"x\",b=\"y\"} 1\nup{a=\"y\",b=\"x\"} 2\n0 "},
	{"no line end: the number may be cut", BYTES("up 1\nup{a=\"1\"} 12"),
	 "up{} 1\n-4 line 2 of the metrics is cut off"},
	{"a web page", BYTES("<html>\n"), "-4 line 1 of the metrics: a metric's name is missing"},
	{"JSON", BYTES("{\"kind\":\"Status\"}\n"), "-4 line 1 of the metrics: a metric's name is missing"},
	{"a wrong line of a dropped metric", BYTES("up 1\nother x\n"),
	 "up{} 1\n-4 line 2 of the metrics: the value is not a number"},
	{"a name that begins with a digit", BYTES("1up 1\n"), "-4 line 1 of the metrics: a metric's name is missing"},
	{"a name with a dash", BYTES("up-1 1\n"),
	 "-4 line 1 of the metrics: a blank or '{' is missing after the metric's name"},
	{"no value", BYTES("up\n"), "-4 line 1 of the metrics: a blank or '{' is missing after the metric's name"},
	{"no value behind labels", BYTES("up{a=\"b\"}\n"), "-4 line 1 of the metrics: the value is not a number"},
	{"hexadecimal", BYTES("up 0x10\n"), "-4 line 1 of the metrics: the value is not a number"},
	{"two points", BYTES("up 1.2.3\n"), "-4 line 1 of the metrics: the value is not a number"},
	{"a sign alone", BYTES("up -\n"), "-4 line 1 of the metrics: the value is not a number"},
	{"nan in small letters", BYTES("up nan\n"), "-4 line 1 of the metrics: the value is not a number"},
	{"too large to hold", BYTES("up 1e999\n"), "-4 line 1 of the metrics: the value is not a number"},
	{"a timestamp with a fraction", BYTES("up 1 2.5\n"), "-4 line 1 of the metrics: the timestamp is not a number"},
	{"something behind the timestamp", BYTES("up 1 2 3\n"),
	 "-4 line 1 of the metrics: something stands behind the timestamp"},
	{"an escape that there is not", BYTES("up{a=\"\\t\"} 1\n"),
	 "-4 line 1 of the metrics: a label's value does not end or has an unknown escape"},
	{"a value without its end", BYTES("up{a=\"b} 1\n"),
	 "-4 line 1 of the metrics: a label's value does not end or has an unknown escape"},
	{"an escape at the end", BYTES("up{a=\"b\\\n"),
	 "-4 line 1 of the metrics: a label's value does not end or has an unknown escape"},
	{"a value without quotes", BYTES("up{a=b} 1\n"), "-4 line 1 of the metrics: a label's value is not quoted"},
	{"a label without '='", BYTES("up{a} 1\n"), "-4 line 1 of the metrics: '=' is missing after a label's name"},
	{"a label without a name", BYTES("up{=\"1\"} 1\n"), "-4 line 1 of the metrics: a label's name is missing"},
	{"a label with a colon", BYTES("up{a:b=\"1\"} 1\n"),
	 "-4 line 1 of the metrics: '=' is missing after a label's name"},
	{"two commas", BYTES("up{a=\"1\",,b=\"2\"} 1\n"), "-4 line 1 of the metrics: a label's name is missing"},
	{"no comma", BYTES("up{a=\"1\"b=\"2\"} 1\n"), "-4 line 1 of the metrics: ',' or '}' is missing after a label"},
	{"no end of labels", BYTES("up{a=\"1\"\n"), "-4 line 1 of the metrics: ',' or '}' is missing after a label"},
	{"a label twice", BYTES("up{a=\"1\",a=\"2\"} 1\n"), "-4 line 1 of the metrics: a label is there twice"},
	{"a NUL", BYTES("up\0 1\n"), "-4 line 1 of the metrics: it has a NUL"},
	{"a carriage return", BYTES("up 1\r\n"), "-4 line 1 of the metrics: the value is not a number"},
};

static void reads(void **state)
{
	const __typeof__(rows[0]) *row = *state;
	assert_events(prometheus_events, row->in.at, row->in.len, row->out);
}

static void finds_labels(void **state)
{
	(void)state;
	struct prometheus_reader *reader = prometheus_reader_new(prometheus_names);
	static const char text[] = "up{a=\"1\",b=\"\"} 0.25\n";
	assert_int_equal(prometheus_feed(reader, text, strlen(text), NULL), 0);
	assert_int_equal(prometheus_finish(reader, NULL), 0);
	assert_int_equal(prometheus_count(reader), 1);
	const struct prometheus_sample *sample = prometheus_at(reader, 0);
	assert_string_equal(prometheus_label(sample, "a"), "1");
	assert_string_equal(prometheus_label(sample, "b"), "");
	assert_null(prometheus_label(sample, "c"));
	assert_true(sample->value == 0.25);
	prometheus_reader_freep(&reader);
	prometheus_reader_free(NULL);
}

static void feed_text(const struct buf *text, int rc, const char *message)
{
	struct prometheus_reader *reader = prometheus_reader_new(prometheus_names);
	struct error *err = NULL;
	int got = prometheus_feed(reader, buf_text(text), text->len, &err);
	if (got == 0)
		got = prometheus_finish(reader, &err);
	assert_string_equal(error_message(err), message);
	assert_int_equal(got, rc);
	/* an error stays, without more words */
	struct error *again = NULL;
	if (rc < 0) {
		assert_int_equal(prometheus_feed(reader, "up 1\n", 5, &again), rc);
		assert_int_equal(prometheus_finish(reader, &again), rc);
		assert_null(again);
	}
	error_free(err);
	prometheus_reader_free(reader);
}

static void line_of(size_t size, int rc, const char *message)
{
	struct buf text = BUF_INIT(1u << 20);
	say(&text, "up{a=\"");
	while (text.len < size - strlen("\"} 1"))
		say(&text, "x");
	say(&text, "\"} 1\n");
	assert_int_equal(text.len, size + 1);
	feed_text(&text, rc, message);
	buf_free(&text);
}

static void the_cap_on_a_line(void **state)
{
	(void)state;
	line_of(PROMETHEUS_LINE_MAX, 0, "");
	line_of(PROMETHEUS_LINE_MAX + 1, -ERROR_LIMIT, "line 1 of the metrics: longer than 16384 bytes");
}

static void labels_of(unsigned count, int rc, const char *message)
{
	struct buf text = BUF_INIT(1u << 20);
	say(&text, "up{");
	for (unsigned i = 0; i < count; i++)
		say(&text, "l%u=\"\",", i);
	say(&text, "} 1\n");
	feed_text(&text, rc, message);
	buf_free(&text);
}

static void the_cap_on_labels(void **state)
{
	(void)state;
	labels_of(PROMETHEUS_LABELS_MAX, 0, "");
	labels_of(PROMETHEUS_LABELS_MAX + 1, -ERROR_LIMIT, "line 1 of the metrics: too many labels");
}

static void samples_of(unsigned count, unsigned filler, int rc, const char *message)
{
	struct buf text = BUF_INIT(64u << 20);
	for (unsigned i = 0; i < count; i++)
		say(&text, "up{l=\"%0*u\"} %u\nother{l=\"%u\"} 1\n", (int)filler, i, i, i);
	feed_text(&text, rc, message);
	buf_free(&text);
}

static void the_caps_on_samples(void **state)
{
	(void)state;
	samples_of(PROMETHEUS_SAMPLES_MAX, 1, 0, "");
	samples_of(PROMETHEUS_SAMPLES_MAX + 1, 1, -ERROR_LIMIT,
		   "line 40001 of the metrics: more than 20000 series or 16777216 bytes to keep");
	samples_of(2000, 16000, -ERROR_LIMIT,
		   "line 2095 of the metrics: more than 20000 series or 16777216 bytes to keep");
}

/* Many series, each found again. */
static void many_series(void **state)
{
	(void)state;
	struct buf text = BUF_INIT(64u << 20);
	for (unsigned round = 0; round < 2; round++)
		for (unsigned i = 0; i < 5000; i++)
			say(&text, "up{a=\"%u\",b=\"%u\"} %u\n", i / 70, i % 70, i);
	struct prometheus_reader *reader = prometheus_reader_new(prometheus_names);
	assert_int_equal(prometheus_feed(reader, buf_text(&text), text.len, NULL), 0);
	assert_int_equal(prometheus_count(reader), 5000);
	assert_false(prometheus_contradictory(reader));
	for (unsigned i = 0; i < 5000; i++)
		assert_true(prometheus_at(reader, i)->value == i);
	prometheus_reader_free(reader);
	buf_free(&text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_labels),      cmocka_unit_test(the_cap_on_a_line),
		cmocka_unit_test(the_cap_on_labels), cmocka_unit_test(the_caps_on_samples),
		cmocka_unit_test(many_series),
	};
	int failed = RUN_ROWS(reads, rows);
	return failed + cmocka_run_group_tests(tests, NULL, NULL);
}
