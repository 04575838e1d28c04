#include "format_support.h"

/* Answers of kube-apiserver 1.36.3: secrets of a namespace with limit=3; Leases as PartialObjectMetadataList; one Secret; a 404. */
static const char real_page[] =
	"6b3873000a100a027631120a5365637265744c6973741289030a560a0012033232311a4b65794a32496a6f6962575630595335724f484d"
	"7561573876646a45694c434a79646949364d6a49784c434a7a64474679644349364969397a4c574e69597a4930584855774d444177496e"
	"30200612610a4b0a05732d626f7812001a0764656661756c7422002a2462396539323739322d353438312d343930362d396532632d6464"
	"3665616231636466336532033231373800420808f8f38cd8061000120a0a016b1205762d626f781a064f706171756512650a4d0a07732d"
	"636263313612001a0764656661756c7422002a2462366262383961662d626666362d343332362d613764352d3834376264326630373931"
	"6132033230353800420808f2f38cd8061000120c0a016b1207762d63626331361a064f706171756512650a4d0a07732d63626332341200"
	"1a0764656661756c7422002a2461643665326436652d386431352d343939612d386266302d626137343563643262616637320332303738"
	"00420808f3f38cd8061000120c0a016b1207762d63626332341a064f70617175651a002200";
static const char real_meta[] =
	"6b3873000a2b0a0e6d6574612e6b38732e696f2f763112195061727469616c4f626a6563744d657461646174614c69737412e0040a090a"
	"0012033232311a0012d2040acf040a246170697365727665722d717a6b377463336e64376c72796d72373464656272757376336112001a"
	"0b6b7562652d73797374656d22002a2462356637326239392d613536642d343731632d383338342d656439656338353132636536320332"
	"32303800420808eff38cd80610005a320a206170697365727665722e6b756265726e657465732e696f2f6964656e74697479120e6b7562"
	"652d6170697365727665725a250a166b756265726e657465732e696f2f686f73746e616d65120b6170697365727665722d3062370a246b"
	"756265726e657465732e696f2f706565722d6164766572746973652d61646472657373120f3132372e302e302e313a33303239398a01c9"
	"020a0e6b7562652d61706973657276657212065570646174651a16636f6f7264696e6174696f6e2e6b38732e696f2f7631220808f9f38c"
	"d806100032084669656c647356313a80020afd017b22663a6d65746164617461223a7b22663a616e6e6f746174696f6e73223a7b222e22"
	"3a7b7d2c22663a6b756265726e657465732e696f2f706565722d6164766572746973652d61646472657373223a7b7d7d2c22663a6c6162"
	"656c73223a7b222e223a7b7d2c22663a6170697365727665722e6b756265726e657465732e696f2f6964656e74697479223a7b7d2c2266"
	"3a6b756265726e657465732e696f2f686f73746e616d65223a7b7d7d7d2c22663a73706563223a7b22663a686f6c6465724964656e7469"
	"7479223a7b7d2c22663a6c656173654475726174696f6e5365636f6e6473223a7b7d2c22663a72656e657754696d65223a7b7d7d7d4200"
	"1a002200";
static const char real_object[] =
	"6b3873000a0c0a027631120653656372657412610a4b0a05732d626f7812001a0764656661756c7422002a2462396539323739322d3534"
	"38312d343930362d396532632d64643665616231636466336532033231373800420808f8f38cd8061000120a0a016b1205762d626f781a"
	"064f70617175651a002200";
static const char real_status[] =
	"6b3873000a0c0a0276311206537461747573124f0a060a0012001a0012074661696c7572651a187365637265747320226e6f6e6522206e"
	"6f7420666f756e6422084e6f74466f756e642a150a046e6f6e6512001a0773656372657473280032003094031a002200";

/* Builds Unknown{typeMeta{v1, kind}, raw{ListMeta, items}, "", ""} as the server does. */
struct page {
	const char *kind;
	struct bytes meta; /* ListMeta's fields */
	struct bytes items[3];
	const char *encoding;
};

static void append(struct buf *to, uint32_t field, const struct buf *inner)
{
	assert_int_equal(pb_write_bytes_field(to, field, inner->data, inner->len), 0);
}

static void build(struct buf *out, const struct page *page)
{
	struct buf type = BUF_INIT(1u << 20), list = BUF_INIT(1u << 20);
	const char *encoding = page->encoding ? page->encoding : "";
	assert_int_equal(pb_write_bytes_field(&type, 1, "v1", 2), 0);
	assert_int_equal(pb_write_bytes_field(&type, 2, page->kind, strlen(page->kind)), 0);
	if (page->meta.at)
		assert_int_equal(pb_write_bytes_field(&list, 1, page->meta.at, page->meta.len), 0);
	for (size_t i = 0; i < ELEMENTS(page->items) && page->items[i].at; i++)
		assert_int_equal(pb_write_bytes_field(&list, 2, page->items[i].at, page->items[i].len), 0);
	assert_int_equal(buf_append(out, "k8s", 4), 0);
	append(out, 1, &type);
	append(out, 2, &list);
	assert_int_equal(pb_write_bytes_field(out, 3, encoding, strlen(encoding)), 0);
	assert_int_equal(pb_write_bytes_field(out, 4, "", 0), 0);
	buf_free(&type);
	buf_free(&list);
}

#define META             \
	BYTES("\x12\x02" \
	      "17")
#define ITEM_A                   \
	BYTES("\x0a\x0d\x0a\x01" \
	      "a\x1a\x01"        \
	      "n\x2a\x01"        \
	      "u\x32\x02"        \
	      "12\x12\x01x")
#define ITEM_A_EVENTS "(18) n/a u@12 18 0a0d0a01611a016e2a017532023132120178\n"

static const struct {
	const char *name;
	struct page page;
	const char *events;
} rows[] = {
	{"no items", {"SecretList", META, {{0}}, NULL}, "feed 0 finish 0 v1 SecretList @17 continue '' remaining 0"},
	{"an item",
	 {"SecretList", META, {ITEM_A}, NULL},
	 ITEM_A_EVENTS "feed 0 finish 0 v1 SecretList @17 continue '' remaining 0"},
	{"two items, more to come",
	 {"SecretList",
	  BYTES("\x12\x02"
		"17\x1a\x03"
		"tok\x20\xac\x02"),
	  {ITEM_A, ITEM_A},
	  NULL},
	 ITEM_A_EVENTS ITEM_A_EVENTS "feed 0 finish 0 v1 SecretList @17 continue 'tok' remaining 300"},
	{"an item being deleted",
	 {"PodList",
	  META,
	  {BYTES("\x0a\x05\x0a\x01"
		 "a\x4a\x00")},
	  NULL},
	 "(7) /a @ deleting 7 0a050a01614a00\nfeed 0 finish 0 v1 PodList @17 continue '' remaining 0"},
	{"an item without a word",
	 {"PodList", META, {BYTES("")}, NULL},
	 "(0) / @ 0 \nfeed 0 finish 0 v1 PodList @17 continue '' remaining 0"},
	{"an item whose next one has less: nothing is left over",
	 {"PodList", META, {ITEM_A, BYTES("\x12\x01x")}, NULL},
	 ITEM_A_EVENTS "(3) / @ 3 120178\nfeed 0 finish 0 v1 PodList @17 continue '' remaining 0"},
	{"a name twice: the last one holds",
	 {"PodList",
	  META,
	  {BYTES("\x0a\x06\x0a\x01"
		 "a\x0a\x01"
		 "b")},
	  NULL},
	 "(8) /b @ 8 0a060a01610a0162\nfeed 0 finish 0 v1 PodList @17 continue '' remaining 0"},
	{"no ListMeta: its continue token is unknown",
	 {"PodList", {0}, {ITEM_A}, NULL},
	 ITEM_A_EVENTS "feed 0 finish -4"},
	{"no list: a Status has a text where items are", {"Status", META, {ITEM_A}, NULL}, "feed -4 finish -4"},
	{"no kind", {"", META, {ITEM_A}, NULL}, "feed -4 finish -4"},
	{"compressed content", {"PodList", META, {{0}}, "gzip"}, "feed -4 finish -4"},
	{"a name with a NUL",
	 {"PodList",
	  META,
	  {BYTES("\x0a\x05\x0a\x03"
		 "a\0b")},
	  NULL},
	 "(7) feed -4 finish -4"},
	{"an item that is no protobuf", {"PodList", META, {BYTES("\x0f")}, NULL}, "(1) feed -4 finish -4"},
	{"an item that is cut",
	 {"PodList",
	  META,
	  {BYTES("\x0a\x05\x0a\x01"
		 "a")},
	  NULL},
	 "(5) feed -4 finish -4"},
	{"an owner that stops at an item",
	 {"PodList",
	  META,
	  {BYTES("\x0a\x06\x0a\x04"
		 "stop"),
	   ITEM_A},
	  NULL},
	 "(8) /stop @ 8 0a060a0473746f70\nfeed -11 finish -11"},
};

static void reads(void **state)
{
	const __typeof__(rows[0]) *row = *state;
	struct buf page = BUF_INIT(1u << 20);
	build(&page, &row->page);
	assert_events(list_events, page.data, page.len, row->events);
	buf_free(&page);
}

/* Cut anywhere, a page is not whole. */
static void cut_anywhere(void **state)
{
	(void)state;
	size_t len;
	uint8_t *page = from_hex(real_page, &len);
	size_t tail = 4; /* the server's empty contentEncoding and contentType */
	for (size_t cut = 0; cut < len - tail; cut++) {
		char *text = events_of(list_events, page, cut, cut);
		assert_non_null(strstr(text, "finish -4"));
		free(text);
	}
	free(page);
}

static const struct {
	const char *name;
	struct bytes in;
} strangers[] = {
	{"nothing", BYTES("")},
	{"half a magic", BYTES("k8")},
	{"the magic alone", BYTES("k8s\0")},
	{"another encoding style", BYTES("k8s\1\x0a\x00")},
	{"JSON", BYTES("{\"kind\":\"SecretList\"}")},
	{"plain text", BYTES("Too many requests, please try again later.")},
	{"raw before its type", BYTES("k8s\0\x12\x02\x0a\x00\x0a\x0c\x12\x0aSecretList")},
	{"raw twice", BYTES("k8s\0\x0a\x0c\x12\x0aSecretList\x12\x02\x0a\x00\x12\x02\x0a\x00")},
	{"a kind that changes", BYTES("k8s\0\x0a\x0c\x12\x0aSecretList\x12\x02\x0a\x00\x0a\x08\x12\x06Status")},
};

static void refuses(void **state)
{
	const __typeof__(strangers[0]) *row = *state;
	char *text = events_of(list_events, row->in.at, row->in.len, row->in.len);
	assert_non_null(strstr(text, "finish -4"));
	free(text);
	must_not_depend_on_cuts(list_events, row->in.at, row->in.len);
}

static void a_real_page(void **state)
{
	(void)state;
	size_t len;
	uint8_t *page = from_hex(real_page, &len);
	char *text = events_of(list_meta_events, page, len, len);
	assert_string_equal(
		text, "default/s-box b9e92792-5481-4906-9e2c-dd6eab1cdf3e@217 97 \n"
		      "default/s-cbc16 b6bb89af-bff6-4326-a7d5-847bd2f0791a@205 101 \n"
		      "default/s-cbc24 ad6e2d6e-8d15-499a-8bf0-ba745cd2baf7@207 101 \n"
		      "feed 0 finish 0 v1 SecretList @221 continue "
		      "'eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MjIxLCJzdGFydCI6Ii9zLWNiYzI0XHUwMDAwIn0' remaining 6");
	free(text);
	must_not_depend_on_cuts(list_events, page, len);
	must_not_depend_on_cuts(list_meta_events, page, len);
	free(page);
}

static void a_real_metadata_list(void **state)
{
	(void)state;
	size_t len;
	uint8_t *page = from_hex(real_meta, &len);
	assert_events(list_meta_events, page, len,
		      "kube-system/apiserver-qzk7tc3nd7lrymr74debrusv3a b5f72b99-a56d-471c-8384-ed9ec8512ce6@220 594 \n"
		      "feed 0 finish 0 meta.k8s.io/v1 PartialObjectMetadataList @221 continue '' remaining 0");
	free(page);
}

static void no_lists(void **state)
{
	(void)state;
	static const char *const others[] = {real_object, real_status};
	for (size_t i = 0; i < ELEMENTS(others); i++) {
		size_t len;
		uint8_t *bytes = from_hex(others[i], &len);
		assert_events(list_events, bytes, len, "feed -4 finish -4");
		free(bytes);
	}
}

/* The body of a PUT is what the server itself sends for the object, but for two empty fields at the end. */
static int put_together(void *arg, struct kube_list_item *item)
{
	struct buf *body = arg;
	if (strcmp(item->name, "s-box") != 0)
		return 0;
	assert_int_equal(kube_object_head(body, "v1", "Secret", secret_len(item->object)), 0);
	return buf_append(body, secret_data(item->object), secret_len(item->object));
}

static void object_head(void **state)
{
	(void)state;
	static const struct kube_list_handler handler = {NULL, put_together};
	size_t page_len, object_len;
	uint8_t *page = from_hex(real_page, &page_len), *object = from_hex(real_object, &object_len);
	struct buf body = BUF_INIT(4096), small = BUF_INIT(8);
	struct kube_list_reader *reader = kube_list_reader_new(&handler, &body, true, 4096);
	assert_int_equal(kube_list_feed(reader, page, page_len), 0);
	assert_int_equal(kube_list_finish(reader), 0);
	assert_int_equal(body.len + 4, object_len);
	assert_memory_equal(body.data, object, body.len);
	assert_memory_equal(object + body.len, "\x1a\x00\x22\x00", 4);
	assert_int_equal(kube_object_head(&small, "v1", "Secret", 1), -ERROR_LIMIT);
	kube_list_reader_free(reader);
	buf_free(&small);
	buf_free(&body);
	free(page);
	free(object);
}

/* A page with one item of `size` bytes. */
static char *page_with(size_t size, events_fn events)
{
	struct buf page = BUF_INIT(1u << 20), item = BUF_INIT(1u << 20);
	uint8_t *bytes = xcalloc(1, size);
	size_t head = 1 + pb_varint_size(size);
	assert_int_equal(pb_write_bytes_field(&item, 2, bytes, size - head), 0);
	assert_int_equal(item.len, size);
	build(&page, &(struct page){"SecretList", META, {{item.data, item.len}}, NULL});
	char *text = events_of(events, page.data, page.len, page.len);
	buf_free(&page);
	buf_free(&item);
	free(bytes);
	return text;
}

static void the_cap_on_an_item(void **state)
{
	(void)state;
	char *at = page_with(LIST_ITEM_CAP, list_events), *above = page_with(LIST_ITEM_CAP + 1, list_events);
	char *unkept = page_with(LIST_ITEM_CAP + 1, list_meta_events);
	assert_non_null(strstr(at, "feed 0 finish 0"));
	assert_string_equal(above, "feed -5 finish -5");
	assert_non_null(strstr(unkept, "feed 0 finish 0"));
	free(at);
	free(above);
	free(unkept);
}

static void an_owner_that_has_no_room(void **state)
{
	(void)state;
	char *text = page_with(4242, list_events), *unasked = page_with(4242, list_meta_events);
	assert_string_equal(text, "(4242) feed -10 finish -10");
	assert_non_null(strstr(unasked, "feed 0 finish 0"));
	free(text);
	free(unasked);
}

/* One text of `size` bytes in the place of a name or of the continue token. */
static int feed_text(size_t size, bool continue_token)
{
	struct buf page = BUF_INIT(1u << 20), inner = BUF_INIT(1u << 20), item = BUF_INIT(1u << 20);
	char *text = xmalloc(size);
	memset(text, 'n', size);
	assert_int_equal(pb_write_bytes_field(&inner, continue_token ? 3 : 1, text, size), 0);
	append(&item, 1, &inner);
	struct bytes meta = META;
	build(&page, &(struct page){"PodList",
				    continue_token ? (struct bytes){inner.data, inner.len} : meta,
				    {continue_token ? (struct bytes){0} : (struct bytes){item.data, item.len}},
				    NULL});
	static const struct kube_list_handler handler = {NULL, list_say_item};
	struct buf log = BUF_INIT(1u << 20);
	struct kube_list_reader *reader = kube_list_reader_new(&handler, &log, false, 0);
	int rc = kube_list_feed(reader, page.data, page.len);
	if (rc == 0)
		rc = kube_list_finish(reader);
	if (rc == 0 && continue_token)
		assert_int_equal(strlen(kube_list_continue(reader)), size);
	kube_list_reader_free(reader);
	buf_free(&log);
	buf_free(&page);
	buf_free(&inner);
	buf_free(&item);
	free(text);
	return rc;
}

static void the_caps_on_texts(void **state)
{
	(void)state;
	assert_int_equal(feed_text(KUBE_NAME_MAX, false), 0);
	assert_int_equal(feed_text(KUBE_NAME_MAX + 1, false), -ERROR_LIMIT);
	assert_int_equal(feed_text(KUBE_CONTINUE_MAX, true), 0);
	assert_int_equal(feed_text(KUBE_CONTINUE_MAX + 1, true), -ERROR_LIMIT);
}

static void freed_half_way(void **state)
{
	(void)state;
	static const struct kube_list_handler handler = {list_say_size, list_say_item};
	size_t len;
	uint8_t *page = from_hex(real_page, &len);
	for (size_t cut = 0; cut < len; cut++) {
		struct buf log = BUF_INIT(1u << 20);
		struct kube_list_reader *reader = kube_list_reader_new(&handler, &log, true, 4096);
		assert_int_equal(kube_list_feed(reader, page, cut), 0);
		kube_list_reader_free(reader);
		buf_free(&log);
	}
	kube_list_reader_free(NULL);
	free(page);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cut_anywhere),
		cmocka_unit_test(a_real_page),
		cmocka_unit_test(a_real_metadata_list),
		cmocka_unit_test(no_lists),
		cmocka_unit_test(object_head),
		cmocka_unit_test(the_cap_on_an_item),
		cmocka_unit_test(an_owner_that_has_no_room),
		cmocka_unit_test(the_caps_on_texts),
		cmocka_unit_test(freed_half_way),
	};
	int failed = RUN_ROWS(reads, rows) + RUN_ROWS(refuses, strangers);
	return failed + cmocka_run_group_tests(tests, NULL, NULL);
}
