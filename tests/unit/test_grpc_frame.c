#include "format_support.h"

static const struct {
	const char *name;
	struct bytes in;
	const char *events; /* cap 4096 */
} rows[] = {
	{"nothing yet", BYTES(""), " feed 0 complete 0"},
	{"half a head", BYTES("\0\0\0"), " feed 0 complete 0"},
	{"a message", BYTES("\0\0\0\0\3abc"), "616263 feed 0 complete 1"},
	{"an empty message", BYTES("\0\0\0\0\0"), " feed 0 complete 1"},
	{"half a message", BYTES("\0\0\0\0\3ab"), "6162 feed 0 complete 0"},
	{"a second message", BYTES("\0\0\0\0\1a\0\0\0\0\1b"), "61 feed -4 complete 1"},
	{"one byte behind an empty message", BYTES("\0\0\0\0\0x"), " feed -4 complete 1"},
	{"compressed", BYTES("\1\0\0\0\1a"), " feed -4 complete 0"},
	{"one byte above the cap", BYTES("\0\0\0\x10\1abc"), " feed -5 complete 0"},
	{"at the cap", BYTES("\0\0\0\x10\0abc"), "616263 feed 0 complete 0"},
	{"the largest length there is",
	 BYTES("\0\xff\xff\xff\xff"
	       "a"),
	 " feed -5 complete 0"},
};

static void reads(void **state)
{
	const __typeof__(rows[0]) *row = *state;
	assert_events(grpc_events, row->in.at, row->in.len, row->events);
}

static void the_callback_stops_it(void **state)
{
	(void)state;
	struct grpc_frame_reader reader = {.cap = 8};
	struct buf log = BUF_INIT(64);
	const uint8_t bytes[] = {0, 0, 0, 0, 1, 0xee};
	assert_int_equal(grpc_frame_feed(&reader, bytes, sizeof(bytes), grpc_say, &log), -ERROR_FINDING);
	buf_free(&log);
}

static void heads(void **state)
{
	(void)state;
	uint8_t head[5];
	grpc_frame_head(head, 0x01020304);
	assert_memory_equal(head, "\0\1\2\3\4", 5);
	grpc_frame_head(head, UINT32_MAX);
	assert_memory_equal(head, "\0\xff\xff\xff\xff", 5);
}

static const struct {
	const char *name, *in, *out;
} messages[] = {
	{"plain", "mvcc: required revision has been compacted", "mvcc: required revision has been compacted"},
	{"escaped", "no%20leader%0a%C3%a4", "no leader\n\xc3\xa4"},
	{"a percent sign", "100%25", "100%"},
	{"decoded once only", "%2541", "%41"},
	{"bad escapes stay", "%zz %4 %", "%zz %4 %"},
	{"half an escape before a whole one", "%4%41", "%4A"},
	{"%00 stays: it would end the text", "a%00b", "a%00b"},
	{"empty", "", ""},
};

static void decodes(void **state)
{
	const __typeof__(messages[0]) *row = *state;
	char *text = grpc_message_decode(row->in, strlen(row->in));
	assert_string_equal(text, row->out);
	free(text);
}

static void reads_no_further_than_told(void **state)
{
	(void)state;
	char *text = grpc_message_decode("ab%41", 4);
	assert_string_equal(text, "ab%4");
	free(text);
}

static void names(void **state)
{
	(void)state;
	assert_string_equal(grpc_status_name(0), "OK");
	assert_string_equal(grpc_status_name(11), "OUT_OF_RANGE");
	assert_string_equal(grpc_status_name(14), "UNAVAILABLE");
	assert_string_equal(grpc_status_name(16), "UNAUTHENTICATED");
	assert_null(grpc_status_name(17));
	assert_null(grpc_status_name(UINT32_MAX));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_callback_stops_it),
		cmocka_unit_test(heads),
		cmocka_unit_test(reads_no_further_than_told),
		cmocka_unit_test(names),
	};
	int failed = RUN_ROWS(reads, rows) + RUN_ROWS(decodes, messages);
	return failed + cmocka_run_group_tests(tests, NULL, NULL);
}
