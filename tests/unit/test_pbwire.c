#include "format_support.h"

/* Fields 4, 8, ... are taken as bytes, 1, 2, 5, 6, ... as messages, 3, 7, ... skipped; 99 refused (see pb_say_field). */
static const struct {
	const char *name;
	struct bytes in;
	const char *events;
} rows[] = {
	{"nothing is a whole message", BYTES(""), "feed 0 finish 0"},
	{"a varint of two bytes", BYTES("\x08\x96\x01"), "1=150 feed 0 finish 0"},
	{"the largest varint", BYTES("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
	 "1=18446744073709551615 feed 0 finish 0"},
	{"a padded varint, as some writers do", BYTES("\x88\x80\x00\x81\x00"), "1=1 feed 0 finish 0"},
	{"a varint with bit 64", BYTES("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"), "feed -4 finish -4"},
	{"a varint of eleven bytes", BYTES("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x81\x00"), "feed -4 finish -4"},
	{"a tag of eleven bytes", BYTES("\x88\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00\x01"), "feed -4 finish -4"},
	{"fixed32, little endian", BYTES("\x0d\x01\x02\x03\x84"), "1=2214789633 feed 0 finish 0"},
	{"fixed64, little endian", BYTES("\x11\x01\x00\x00\x00\x00\x00\x00\x80"),
	 "2=9223372036854775809 feed 0 finish 0"},
	{"bytes", BYTES("\x22\x03xyz"), "4[3] 78797a/4 feed 0 finish 0"},
	{"empty bytes begin and end", BYTES("\x22\x00"), "4[0] /4 feed 0 finish 0"},
	{"skipped bytes are not looked at", BYTES("\x1a\x03\xff\xff\xff\x08\x01"), "3[3] 1=1 feed 0 finish 0"},
	{"a message with a field", BYTES("\x0a\x02\x08\x01"), "1[2] 1.1=1 }1 feed 0 finish 0"},
	{"an empty message begins and ends", BYTES("\x0a\x00\x08\x01"), "1[0] }1 1=1 feed 0 finish 0"},
	{"three messages that end together", BYTES("\x0a\x06\x12\x04\x0a\x02\x08\x07"),
	 "1[6] 1.2[4] 1.2.1[2] 1.2.1.1=7 }1.2.1 }1.2 }1 feed 0 finish 0"},
	{"a field after an inner message", BYTES("\x0a\x06\x12\x02\x08\x07\x08\x09"),
	 "1[6] 1.2[2] 1.2.1=7 }1.2 1.1=9 }1 feed 0 finish 0"},
	{"bytes that end past their message", BYTES("\x0a\x04\x22\x05xy"), "1[4] feed -4 finish -4"},
	{"a message that ends past its message", BYTES("\x0a\x02\x0a\x01"), "1[2] feed -4 finish -4"},
	{"a varint that runs past its message", BYTES("\x0a\x02\x08\x80\x01"), "1[2] feed -4 finish -4"},
	{"a tag that runs past its message", BYTES("\x0a\x01\x88\x01"), "1[1] feed -4 finish -4"},
	{"a fixed number that runs past its message", BYTES("\x0a\x03\x0d\x01\x02\x03\x04"), "1[3] feed -4 finish -4"},
	{"a length of 2^64 - 1 at the top", BYTES("\x22\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), "feed -4 finish -4"},
	{"a length of 2^63 is a cut", BYTES("\x1a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01x"),
	 "3[9223372036854775808] feed 0 finish -4"},
	{"field 0", BYTES("\x00\x01"), "feed -4 finish -4"},
	{"the largest field", BYTES("\xf8\xff\xff\xff\x0f\x01"), "536870911=1 feed 0 finish 0"},
	{"a field beyond it", BYTES("\x80\x80\x80\x80\x10\x01"), "feed -4 finish -4"},
	{"a group's begin", BYTES("\x0b\x0c"), "feed -4 finish -4"},
	{"a group's end", BYTES("\x0c"), "feed -4 finish -4"},
	{"type 6", BYTES("\x0e\x01"), "feed -4 finish -4"},
	{"type 7", BYTES("\x0f\x01"), "feed -4 finish -4"},
	{"cut in a tag", BYTES("\x88"), "feed 0 finish -4"},
	{"cut in a varint", BYTES("\x08\x96"), "feed 0 finish -4"},
	{"cut in a fixed number", BYTES("\x0d\x01"), "feed 0 finish -4"},
	{"cut before a length", BYTES("\x22"), "feed 0 finish -4"},
	{"cut in bytes", BYTES("\x22\x03x"), "4[3] 78feed 0 finish -4"},
	{"cut in skipped bytes", BYTES("\x1a\x03x"), "3[3] feed 0 finish -4"},
	{"cut between two fields of a message", BYTES("\x0a\x04\x08\x01"), "1[4] 1.1=1 feed 0 finish -4"},
	{"an owner that refuses", BYTES("\x9a\x06\x01x"), "99[1] feed -5 finish -5"},
	{"an owner that stops", BYTES("\x90\x06\x01\x08\x01"), "98=1 feed -11 finish -11"},
};

static void reads(void **state)
{
	const __typeof__(rows[0]) *row = *state;
	assert_events(pb_events, row->in.at, row->in.len, row->events);
}

/* `levels` messages around a varint. */
static void nest(struct buf *out, unsigned levels)
{
	struct buf inner = BUF_INIT(1024);
	assert_int_equal(pb_write_varint_field(out, 1, 5), 0);
	for (unsigned i = 0; i < levels; i++) {
		buf_reset(&inner);
		assert_int_equal(buf_append(&inner, out->data, out->len), 0);
		buf_reset(out);
		assert_int_equal(pb_write_bytes_field(out, 1, inner.data, inner.len), 0);
	}
	buf_free(&inner);
}

static void as_deep_as_allowed(void **state)
{
	(void)state;
	struct buf out = BUF_INIT(1024);
	nest(&out, PB_DEPTH_MAX);
	char *text = events_of(pb_events, out.data, out.len, out.len);
	assert_non_null(strstr(text, "=5 }"));
	assert_non_null(strstr(text, "feed 0 finish 0"));
	free(text);
	must_not_depend_on_cuts(pb_events, out.data, out.len);
	buf_free(&out);
}

static void one_deeper_is_refused(void **state)
{
	(void)state;
	struct buf out = BUF_INIT(1024);
	nest(&out, PB_DEPTH_MAX + 1);
	char *text = events_of(pb_events, out.data, out.len, out.len);
	assert_non_null(strstr(text, "feed -5 finish -5"));
	free(text);
	must_not_depend_on_cuts(pb_events, out.data, out.len);
	buf_free(&out);
}

static void reset_begins_anew(void **state)
{
	(void)state;
	struct buf log = BUF_INIT(1024);
	struct pb_reader *reader = pb_reader_new(&pb_say, &log);
	assert_int_equal(pb_feed(reader, (const uint8_t *)"\x0a\x05\x88", 3), 0);
	pb_reader_reset(reader);
	assert_int_equal(pb_finish(reader), 0);
	assert_int_equal(pb_feed(reader, (const uint8_t *)"\x00", 1), -ERROR_PROTOCOL);
	pb_reader_reset(reader);
	buf_reset(&log);
	assert_int_equal(pb_feed(reader, (const uint8_t *)"\x08\x01", 2), 0);
	assert_int_equal(pb_feed(reader, NULL, 0), 0);
	assert_int_equal(pb_finish(reader), 0);
	assert_string_equal(buf_text(&log), "1=1 ");
	pb_reader_free(reader);
	pb_reader_free(NULL);
	buf_free(&log);
}

static void without_callbacks_only_the_form_is_checked(void **state)
{
	(void)state;
	const struct pb_handler none = {0};
	struct pb_reader *reader = pb_reader_new(&none, NULL);
	assert_int_equal(pb_feed(reader, (const uint8_t *)"\x08\x01\x22\x01x\x0a\x00", 7), 0);
	assert_int_equal(pb_finish(reader), 0);
	pb_reader_free(reader);
}

static const struct {
	const char *name;
	uint64_t value;
	struct bytes out;
} varints[] = {
	{"0", 0, BYTES("\x00")},
	{"127", 127, BYTES("\x7f")},
	{"128", 128, BYTES("\x80\x01")},
	{"2^35 - 1", (UINT64_C(1) << 35) - 1, BYTES("\xff\xff\xff\xff\x7f")},
	{"2^63", UINT64_C(1) << 63, BYTES("\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01")},
	{"2^64 - 1", UINT64_MAX, BYTES("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")},
};

static void puts_varint(void **state)
{
	const __typeof__(varints[0]) *row = *state;
	uint8_t out[10];
	assert_int_equal(pb_varint_size(row->value), row->out.len);
	assert_int_equal(pb_put_varint(out, row->value), row->out.len);
	assert_memory_equal(out, row->out.at, row->out.len);
}

static void writes(void **state)
{
	(void)state;
	struct buf out = BUF_INIT(64);
	assert_int_equal(pb_write_varint_field(&out, 1, 150), 0);
	assert_int_equal(pb_write_varint_field(&out, 2, 0), 0);
	assert_int_equal(pb_write_bytes_field(&out, 4, "xyz", 3), 0);
	assert_int_equal(pb_write_bytes_field(&out, 8, NULL, 0), 0);
	assert_int_equal(pb_write_bytes_head(&out, 500, 300), 0);
	assert_int_equal(out.len, 3 + 2 + 5 + 2 + 4);
	assert_memory_equal(out.data, "\x08\x96\x01\x10\x00\x22\x03xyz\x42\x00\xa2\x1f\xac\x02", out.len);
	buf_free(&out);
}

static void a_full_buffer_keeps_what_it_has(void **state)
{
	(void)state;
	struct buf out = BUF_INIT(4);
	assert_int_equal(pb_write_bytes_field(&out, 4, "abc", 3), -ERROR_LIMIT);
	assert_int_equal(out.len, 0);
	assert_int_equal(pb_write_bytes_field(&out, 4, "ab", 2), 0);
	assert_int_equal(pb_write_varint_field(&out, 1, 1), -ERROR_LIMIT);
	assert_int_equal(pb_write_bytes_head(&out, 1, 1), -ERROR_LIMIT);
	assert_int_equal(pb_write_bytes_field(&out, 4, "", 0), -ERROR_LIMIT);
	assert_int_equal(out.len, 4);
	assert_memory_equal(out.data,
			    "\x22\x02"
			    "ab",
			    4);
	buf_free(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(as_deep_as_allowed),
		cmocka_unit_test(one_deeper_is_refused),
		cmocka_unit_test(reset_begins_anew),
		cmocka_unit_test(without_callbacks_only_the_form_is_checked),
		cmocka_unit_test(writes),
		cmocka_unit_test(a_full_buffer_keeps_what_it_has),
	};
	int failed = RUN_ROWS(reads, rows) + RUN_ROWS(puts_varint, varints);
	return failed + cmocka_run_group_tests(tests, NULL, NULL);
}
