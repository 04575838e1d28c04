#include "format_support.h"

/* Answers of etcd 3.6.16: three Secrets of nine, their keys alone, MemberList, Status and Compact. */
static const char real_range[] =
	"0a1908ce8ac0fbdaca80f50c10da99aca1b0aa9cf23818dd01200212e3010a1f2f72656769737472792f736563726574732f6465666175"
	"6c742f732d626f7810d80118d90120022ab7016b38733a656e633a736563726574626f783a76313a626f783aa0d4000ec11d31f51e1911"
	"f28ddd84d2215daf2419f21549ea92f92d2dbacf33eff22abb4abfa6027413b73b38c8f86fe2faf20e68d6557990b7748d9f2eb10cc7be"
	"de94b350759ba8c6a16143b0246eca40c8fe87470bd2cffc4b2d386c2351cdc2e7141d10d74e18a16a28be2cc3c04c776b8743cca4bfbe"
	"059b65f7813bd4ecce0c69b6fc1a682dd7e78ac5e64d9ed28b5b4caa7197b6bc6f5ad83c5c12d6010a212f72656769737472792f736563"
	"726574732f64656661756c742f732d636263313610cc0118cd0120022aa8016b38733a656e633a6165736362633a76313a63626331363a"
	"55185ebbaef16282c88ca9498829ba31dda514349703906a0cee3fe623fc45b0307a4a6ee853d7d19bc6125fc36ce9141152ac0ba72037"
	"6112dbfb0e647d08ef63856005c397758be30ef2afade1d4a2baf54790508496a53950a52df038cbc6df06dce8f15a4b472bd5f3101566"
	"dfb1b6532788c548ec034494d2c0acecbaea4072d883b9df8192ee46d6da56704f2312d6010a212f72656769737472792f736563726574"
	"732f64656661756c742f732d636263323410ce0118cf0120022aa8016b38733a656e633a6165736362633a76313a63626332343a84e009"
	"ce38771965a2fe6cb6af074d4cfb106fc4b87384c3e2aba0c48976c298ee9d5f94c1cb59aab4c2a887f372510cef7543bc8051340e59e4"
	"51ffb050c7d5c55d79e3dba6d60bb9b3049391c70679863d25380bab7a3867478958a7762e30e194e5324064475844d72e49b432266ac3"
	"9243f7005c3a2db09bc7c229100aaea2f830b36c6bba25a996b87430a07f0118012009";
static const char real_keys[] =
	"0a1908ce8ac0fbdaca80f50c10da99aca1b0aa9cf23818dd01200212290a1f2f72656769737472792f736563726574732f64656661756c"
	"742f732d626f7810d80118d9012002122b0a212f72656769737472792f736563726574732f64656661756c742f732d636263313610cc01"
	"18cd012002122b0a212f72656769737472792f736563726574732f64656661756c742f732d636263323410ce0118cf012002122b0a212f"
	"72656769737472792f736563726574732f64656661756c742f732d636263333210d00118d1012002122b0a212f72656769737472792f73"
	"6563726574732f64656661756c742f732d67636d313610d20118d3012002122b0a212f72656769737472792f736563726574732f646566"
	"61756c742f732d67636d323410d40118d5012002122b0a212f72656769737472792f736563726574732f64656661756c742f732d67636d"
	"333210d60118d7012002122e0a242f72656769737472792f736563726574732f64656661756c742f732d6964656e7469747910ca0118cb"
	"01200212290a1f2f72656769737472792f736563726574732f64656661756c742f732d6b6d7310da0118db0120022009";
static const char real_members[] =
	"0a1608ce8ac0fbdaca80f50c10da99aca1b0aa9cf2382002124408da99aca1b0aa9cf2381206657463642d301a1768747470733a2f2f31"
	"32372e302e302e313a3232313734221768747470733a2f2f3132372e302e302e313a3331363739";
static const char real_status[] =
	"0a1908ce8ac0fbdaca80f50c10da99aca1b0aa9cf23818dd0120021206332e362e31361880801120da99aca1b0aa9cf23828e401300238"
	"e4014880c00f5a05332e362e306080808080086a00";
static const char real_compaction[] = "0a1908ce8ac0fbdaca80f50c10da99aca1b0aa9cf23818dd012002";

#define X16 "xxxxxxxxxxxxxxxx"
#define HEADER "\x0a\x09\x08\x01\x10\x02\x18\xac\x02\x20\x05"
#define AFTER "cluster 1 member 2 revision 300 term 5"
#define KV_A "\x12\x0c\x0a\x02/a\x10\x07\x18\x09\x2a\x02{}"
#define KV_A_EVENTS "2f61 @7/9 2 known identity 7b7d\n"

static const struct {
	const char *name;
	struct bytes in;
	const char *events;
} rows[] = {
	{"no keys", BYTES(HEADER), "feed 0 finish 0 " AFTER " more 0 count 0"},
	{"a key", BYTES(HEADER KV_A "\x20\x01"), KV_A_EVENTS "feed 0 finish 0 " AFTER " more 0 count 1"},
	{"two keys of many", BYTES(HEADER KV_A KV_A "\x18\x01\x20\xac\x02"),
	 KV_A_EVENTS KV_A_EVENTS "feed 0 finish 0 " AFTER " more 1 count 300"},
	{"no header", BYTES(KV_A), KV_A_EVENTS "feed 0 finish -4 cluster 0 member 0 revision 0 term 0 more 0 count 0"},
	{"the header behind the keys", BYTES(KV_A HEADER), KV_A_EVENTS "feed 0 finish 0 " AFTER " more 0 count 0"},
	{"a key without a value", BYTES(HEADER "\x12\x06\x0a\x02/a\x18\x09"),
	 "2f61 @0/9 0 unknown identity \nfeed 0 finish 0 " AFTER " more 0 count 0"},
	{"a value without a key", BYTES(HEADER "\x12\x04\x2a\x02{}"),
	 " @0/0 2 known identity 7b7d\nfeed 0 finish 0 " AFTER " more 0 count 0"},
	{"nothing is left over for the next key", BYTES(HEADER KV_A "\x12\x00"),
	 KV_A_EVENTS " @0/0 0 unknown identity \nfeed 0 finish 0 " AFTER " more 0 count 0"},
	{"the value before the key", BYTES(HEADER "\x12\x08\x2a\x02{}\x0a\x02/a"),
	 "2f61 @0/0 2 known identity 7b7d\nfeed 0 finish 0 " AFTER " more 0 count 0"},
	{"a key with a NUL", BYTES(HEADER "\x12\x09\x0a\x03/\0b\x2a\x02{}"),
	 "2f0062 @0/0 2 known identity 7b7d\nfeed 0 finish 0 " AFTER " more 0 count 0"},
	{"fields twice: the last ones hold", BYTES(HEADER "\x12\x0e\x0a\x02/x\x0a\x01/\x2a\x02{}\x2a\x01{"),
	 "2f @0/0 1 known identity 7b\nfeed 0 finish 0 " AFTER " more 0 count 0"},
	{"an encrypted value", BYTES(HEADER "\x12\x3d\x0a\x02/a\x2a\x37k8s:enc:aescbc:v1:key1:" X16 X16),
	 "2f61 @0/0 55 known aescbc name key1 6b38733a656e633a6165736362633a76313a6b6579313a"
	 "7878787878787878787878787878787878787878787878787878787878787878\nfeed 0 finish 0 " AFTER " more 0 count 0"},
	{"a callback that stops", BYTES(HEADER "\x12\x06\x0a\x04stop" KV_A),
	 "73746f70 @0/0 0 unknown identity \nfeed -11 finish -11 " AFTER " more 0 count 0"},
	{"cut in a key", BYTES(HEADER "\x12\x0c\x0a\x02/"), "feed 0 finish -4 " AFTER " more 0 count 0"},
	{"cut in a value", BYTES(HEADER "\x12\x0c\x0a\x02/a\x10\x07\x18\x09\x2a\x02{"),
	 "feed 0 finish -4 " AFTER " more 0 count 0"},
	{"no protobuf", BYTES("<html>"), "feed -4 finish -4 cluster 0 member 0 revision 0 term 0 more 0 count 0"},
};

static void reads(void **state)
{
	const __typeof__(rows[0]) *row = *state;
	assert_events(range_events, row->in.at, row->in.len, row->events);
	must_not_depend_on_cuts(range_unkept_events, row->in.at, row->in.len);
}

static void a_real_page(void **state)
{
	(void)state;
	size_t len;
	uint8_t *page = from_hex(real_range, &len);
	char *text = events_of(range_unkept_events, page, len, len);
	assert_string_equal(text, "2f72656769737472792f736563726574732f64656661756c742f732d626f78 @216/217 183 "
				  "known secretbox name box \n"
				  "2f72656769737472792f736563726574732f64656661756c742f732d6362633136 @204/205 168 "
				  "known aescbc name cbc16 \n"
				  "2f72656769737472792f736563726574732f64656661756c742f732d6362633234 @206/207 168 "
				  "known aescbc name cbc24 \n"
				  "feed 0 finish 0 cluster cea0255af70054e member 38e47153042b0cda revision 221 term 2 "
				  "more 1 count 9");
	free(text);
	must_not_depend_on_cuts(range_unkept_events, page, len);
	must_not_depend_on_cuts(range_events, page, len);
	free(page);
}

static int count_unknown(void *arg, const struct etcd_kv *kv)
{
	*(unsigned *)arg += kv->info->state == ETCD_VALUE_UNKNOWN && kv->value_size == 0 && !kv->value;
	return 0;
}

static void keys_only(void **state)
{
	(void)state;
	size_t len;
	unsigned unknown = 0;
	uint8_t *page = from_hex(real_keys, &len);
	struct etcd_range_reader *reader = etcd_range_reader_new(count_unknown, &unknown, true);
	assert_int_equal(etcd_range_feed(reader, page, len), 0);
	assert_int_equal(etcd_range_finish(reader), 0);
	assert_int_equal(unknown, 9);
	etcd_range_reader_free(reader);
	etcd_range_reader_free(NULL);
	free(page);
}

static void reset_begins_anew(void **state)
{
	(void)state;
	size_t len;
	uint8_t *page = from_hex(real_range, &len);
	struct buf log = BUF_INIT(1u << 20);
	struct etcd_range_reader *reader = etcd_range_reader_new(range_say_kv, &log, true);
	for (size_t cut = 0; cut < len; cut++) {
		etcd_range_reader_reset(reader);
		assert_int_equal(etcd_range_feed(reader, page, cut), 0);
	}
	etcd_range_reader_reset(reader);
	assert_int_equal(etcd_range_finish(reader), -ERROR_PROTOCOL);
	assert_false(etcd_range_more(reader));
	assert_int_equal(etcd_range_count(reader), 0);
	buf_reset(&log);
	const struct bytes one = BYTES(HEADER KV_A);
	assert_int_equal(etcd_range_feed(reader, one.at, one.len), 0);
	assert_int_equal(etcd_range_finish(reader), 0);
	assert_string_equal(buf_text(&log), KV_A_EVENTS);
	etcd_range_reader_free(reader);
	buf_free(&log);
	free(page);
}

struct seen {
	size_t key_len, value_len;
	uint64_t value_size;
	enum etcd_value_state state;
};

static int see(void *arg, const struct etcd_kv *kv)
{
	*(struct seen *)arg = (struct seen){kv->key_len, kv->value_len, kv->value_size, kv->info->state};
	return 0;
}

/* One KeyValue with a key and a JSON value of these sizes, in pieces of 16 KiB. */
static struct seen see_sizes(size_t key_len, size_t value_len)
{
	struct buf kv = BUF_INIT(16u << 20), page = BUF_INIT(16u << 20);
	uint8_t *bytes = xmalloc(key_len + value_len);
	struct seen seen = {0};
	memset(bytes, '{', key_len + value_len);
	assert_int_equal(pb_write_bytes_field(&kv, 1, bytes, key_len), 0);
	assert_int_equal(pb_write_bytes_field(&kv, 5, bytes, value_len), 0);
	assert_int_equal(buf_append(&page, HEADER, sizeof(HEADER) - 1), 0);
	assert_int_equal(pb_write_bytes_field(&page, 2, kv.data, kv.len), 0);
	struct etcd_range_reader *reader = etcd_range_reader_new(see, &seen, true);
	for (size_t at = 0; at < page.len; at += 16384) {
		size_t piece = page.len - at < 16384 ? page.len - at : 16384;
		assert_int_equal(etcd_range_feed(reader, page.data + at, piece), 0);
	}
	assert_int_equal(etcd_range_finish(reader), 0);
	etcd_range_reader_free(reader);
	buf_free(&kv);
	buf_free(&page);
	free(bytes);
	return seen;
}

static void the_caps(void **state)
{
	(void)state;
	struct seen longest = see_sizes(ETCD_KEY_MAX, 10), longer = see_sizes(ETCD_KEY_MAX + 1, 10);
	assert_int_equal(longest.key_len, ETCD_KEY_MAX);
	assert_int_equal(longest.state, ETCD_VALUE_KNOWN);
	assert_int_equal(longer.key_len, ETCD_KEY_MAX);
	assert_int_equal(longer.state, ETCD_VALUE_UNKNOWN);
	struct seen kept = see_sizes(10, ETCD_VALUE_OPEN_MAX), unkept = see_sizes(10, ETCD_VALUE_OPEN_MAX + 1);
	assert_int_equal(kept.value_len, ETCD_VALUE_OPEN_MAX);
	assert_int_equal(unkept.value_len, 0);
	assert_int_equal(unkept.value_size, ETCD_VALUE_OPEN_MAX + 1);
	assert_int_equal(unkept.state, ETCD_VALUE_KNOWN);
}

static const struct {
	const char *name;
	struct etcd_range_request request;
	struct bytes out;
} requests[] = {
	{"a key", {.key = "/a", .key_len = 2}, BYTES("\x0a\x02/a")},
	{"a page at a revision",
	 {.key = "/a/", .key_len = 3, .range_end = "/a0", .range_end_len = 3, .limit = 500, .revision = 77},
	 BYTES("\x0a\x03/a/\x12\x03/a0\x18\xf4\x03\x20\x4d")},
	{"the whole keyspace, counted",
	 {.key = "\0", .key_len = 1, .range_end = "\0", .range_end_len = 1, .count_only = true},
	 BYTES("\x0a\x01\0\x12\x01\0\x48\x01")},
	{"everything set",
	 {.key = "k",
	  .key_len = 1,
	  .serializable = true,
	  .keys_only = true,
	  .min_mod_revision = 3,
	  .max_mod_revision = 4},
	 BYTES("\x0a\x01k\x38\x01\x40\x01\x50\x03\x58\x04")},
};

static void writes(void **state)
{
	const __typeof__(requests[0]) *row = *state;
	struct buf out = BUF_INIT(1024);
	assert_int_equal(etcd_range_request_write(&out, &row->request), 0);
	assert_int_equal(out.len, row->out.len);
	assert_memory_equal(out.data, row->out.at, out.len);
	struct buf small = BUF_INIT(row->out.len - 1);
	assert_int_equal(etcd_range_request_write(&small, &row->request), -ERROR_LIMIT);
	buf_free(&out);
	buf_free(&small);
}

static void compact_request(void **state)
{
	(void)state;
	struct buf out = BUF_INIT(64);
	assert_int_equal(etcd_compact_request_write(&out, 300, true), 0);
	assert_int_equal(etcd_compact_request_write(&out, 5, false), 0);
	assert_int_equal(out.len, 7);
	assert_memory_equal(out.data, "\x08\xac\x02\x10\x01\x08\x05", out.len);
	buf_free(&out);
}

static const struct {
	const char *name;
	struct bytes prefix, end;
} ends[] = {
	{"a path", BYTES("/registry/"), BYTES("/registry0")},
	{"one byte", BYTES("a"), BYTES("b")},
	{"a last byte without a successor", BYTES("a\xff"), BYTES("b")},
	{"several", BYTES("a\xff\xff"), BYTES("b")},
	{"one in the middle",
	 BYTES("a\xff"
	       "b"),
	 BYTES("a\xff"
	       "c")},
	{"no successor at all", BYTES("\xff\xff"), BYTES("\0")},
	{"everything", BYTES(""), BYTES("\0")},
};

static void ends_prefix(void **state)
{
	const __typeof__(ends[0]) *row = *state;
	uint8_t end[16];
	assert_int_equal(etcd_prefix_end(row->prefix.at, row->prefix.len, end), row->end.len);
	assert_memory_equal(end, row->end.at, row->end.len);
}

static void real_answers(void **state)
{
	(void)state;
	size_t len;
	uint8_t *bytes = from_hex(real_members, &len);
	struct etcd_members members;
	assert_int_equal(etcd_members_parse(bytes, len, &members), 0);
	assert_int_equal(members.header.member_id, 0x38e47153042b0cda);
	assert_int_equal(members.count, 1);
	assert_int_equal(members.items[0].id, 0x38e47153042b0cda);
	assert_string_equal(members.items[0].name, "etcd-0");
	assert_int_equal(members.items[0].client_url_count, 1);
	assert_string_equal(members.items[0].client_urls[0], "https://127.0.0.1:31679");
	assert_false(members.items[0].learner);
	etcd_members_free(&members);
	assert_null(members.items);
	free(bytes);

	bytes = from_hex(real_status, &len);
	struct etcd_status status;
	assert_int_equal(etcd_status_parse(bytes, len, &status), 0);
	assert_string_equal(status.version, "3.6.16");
	assert_int_equal(status.db_size, 278528);
	assert_int_equal(status.db_size_in_use, 253952);
	assert_int_equal(status.db_size_quota, 2147483648);
	assert_int_equal(status.leader, 0x38e47153042b0cda);
	assert_int_equal(status.raft_index, 228);
	assert_int_equal(status.header.revision, 221);
	assert_false(status.learner);
	etcd_status_free(&status);
	free(bytes);

	bytes = from_hex(real_compaction, &len);
	struct etcd_header header;
	assert_int_equal(etcd_header_parse(bytes, len, &header), 0);
	assert_int_equal(header.revision, 221);
	free(bytes);
	etcd_members_free(NULL);
	etcd_status_free(NULL);
}

static void made_up_answers(void **state)
{
	(void)state;
	const struct bytes in = BYTES(HEADER "\x12\x11\x08\x0b\x12\x01"
					     "a\x1a\x02p1\x22\x02u1\x22\x02u2\x12\x04\x08\x0c\x28\x01");
	struct etcd_members members;
	assert_int_equal(etcd_members_parse(in.at, in.len, &members), 0);
	assert_int_equal(members.count, 2);
	assert_string_equal(members.items[0].name, "a");
	assert_int_equal(members.items[0].client_url_count, 2);
	assert_string_equal(members.items[0].client_urls[1], "u2");
	assert_string_equal(members.items[1].name, "");
	assert_int_equal(members.items[1].client_url_count, 0);
	assert_true(members.items[1].learner);
	etcd_members_free(&members);

	const struct bytes learner = BYTES(HEADER "\x12\x01"
						  "3\x12\x01"
						  "4\x50\x01");
	struct etcd_status status;
	assert_int_equal(etcd_status_parse(learner.at, learner.len, &status), 0);
	assert_string_equal(status.version, "4");
	assert_true(status.learner);
	etcd_status_free(&status);

#define LESS_THAN_NOTHING "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"
	/* Sizes of -1; a quota of -1 is none. */
	const struct bytes sizes =
		BYTES(HEADER "\x18" LESS_THAN_NOTHING "\x48" LESS_THAN_NOTHING "\x60" LESS_THAN_NOTHING);
	assert_int_equal(etcd_status_parse(sizes.at, sizes.len, &status), 0);
	assert_int_equal(status.db_size, 0);
	assert_int_equal(status.db_size_in_use, 0);
	assert_int_equal(status.db_size_quota, UINT64_MAX);
	etcd_status_free(&status);
}

static const struct {
	const char *name;
	struct bytes in;
} strangers[] = {
	{"nothing", BYTES("")},
	{"no header", BYTES("\x12\x02\x08\x0b")},
	{"cut in the header", BYTES("\x0a\x0a\x08\x01")},
	{"cut behind it", BYTES(HEADER "\x12\x05\x08")},
	{"no protobuf", BYTES("{\"header\":{}}")},
	{"a NUL in a text", BYTES(HEADER "\x12\x04\x12\x02"
					 "a\0")},
};

static void refuses(void **state)
{
	const __typeof__(strangers[0]) *row = *state;
	struct etcd_members members = {.count = 77};
	struct etcd_status status = {.leader = 77};
	struct etcd_header header = {.revision = 77};
	assert_int_equal(etcd_members_parse(row->in.at, row->in.len, &members), -ERROR_PROTOCOL);
	assert_int_equal(members.count, 77);
	assert_int_equal(etcd_status_parse(row->in.at, row->in.len, &status), -ERROR_PROTOCOL);
	assert_int_equal(status.leader, 77);
	if (etcd_header_parse(row->in.at, row->in.len, &header) < 0)
		assert_int_equal(header.revision, 77);
}

/* `count` members, each with a URL field that often and a name of that length. */
static int parse_members(size_t count, size_t urls, size_t name_len)
{
	struct buf member = BUF_INIT(1u << 20), answer = BUF_INIT(1u << 20);
	char *name = xmalloc(name_len + 1);
	memset(name, 'n', name_len);
	assert_int_equal(buf_append(&answer, HEADER, sizeof(HEADER) - 1), 0);
	assert_int_equal(pb_write_bytes_field(&member, 2, name, name_len), 0);
	for (size_t i = 0; i < urls; i++)
		assert_int_equal(pb_write_bytes_field(&member, 4, "u", 1), 0);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(pb_write_bytes_field(&answer, 2, member.data, member.len), 0);
	struct etcd_members members = {0};
	int rc = etcd_members_parse(answer.data, answer.len, &members);
	etcd_members_free(&members);
	buf_free(&member);
	buf_free(&answer);
	free(name);
	return rc;
}

static void the_caps_of_small_answers(void **state)
{
	(void)state;
	assert_int_equal(parse_members(ETCD_MEMBERS_MAX, ETCD_URLS_MAX, 1), 0);
	assert_int_equal(parse_members(ETCD_MEMBERS_MAX + 1, 1, 1), -ERROR_LIMIT);
	assert_int_equal(parse_members(1, ETCD_URLS_MAX + 1, 1), -ERROR_LIMIT);
	assert_int_equal(parse_members(1, 1, ETCD_TEXT_MAX), 0);
	assert_int_equal(parse_members(1, 1, ETCD_TEXT_MAX + 1), -ERROR_LIMIT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_real_page),       cmocka_unit_test(keys_only),
		cmocka_unit_test(reset_begins_anew), cmocka_unit_test(the_caps),
		cmocka_unit_test(compact_request),   cmocka_unit_test(real_answers),
		cmocka_unit_test(made_up_answers),   cmocka_unit_test(the_caps_of_small_answers),
	};
	int failed = RUN_ROWS(reads, rows) + RUN_ROWS(writes, requests) + RUN_ROWS(ends_prefix, ends);
	failed += RUN_ROWS(refuses, strangers);
	return failed + cmocka_run_group_tests(tests, NULL, NULL);
}
