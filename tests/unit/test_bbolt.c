#include "test_support.h"

#include <stdio.h>

#include "base/file.h"
#include "bbolt_bytes.h"

/* ---- one database, and what is wrong with it ---- */

/* A branch over leaves, one of them empty, one with a value that goes on in the next page; and inline buckets. */
#define PAGES 10u
static void make(struct buf *db)
{
	static uint8_t large[1500];
	memset(large, 'x', sizeof(large));
	const struct db_entry first[] = {{BYTES("a1"), BYTES("one"), false}, {BYTES("a2"), BYTES(""), false}};
	const struct db_entry second[] = {{BYTES("b1"), {large, sizeof(large)}, false}};
	const struct db_entry last[] = {{BYTES("c1"), BYTES("1"), false}, {BYTES("c2"), BYTES("22"), false}};
	const struct db_entry small[] = {{BYTES("m1"), BYTES("v1"), false}, {BYTES("m2"), BYTES("v2"), false}};
	struct bytes key = db_bucket(3), meta = db_inline_bucket(small, 2), none = db_inline_bucket(NULL, 0);
	const struct db_entry top[] = {{BYTES("alarm"), none, true},
				       {BYTES("key"), key, true},
				       {BYTES("meta"), meta, true},
				       {BYTES("value"), BYTES("no bucket"), false}};
	db_leaf(db, 2, top, 4);
	db_branch(db, 3, (const uint64_t[]){4, 5, 7, 8}, 4);
	db_leaf(db, 4, first, 2);
	db_leaf(db, 5, second, 1);
	db_leaf(db, 7, NULL, 0);
	db_leaf(db, 8, last, 2);
	db_leaf(db, 9, first, 2); /* in no tree */
	db_meta(db, 0, 6, 2, PAGES);
	db_meta(db, 1, 5, 9, PAGES); /* an older transaction's */
	free((void *)(uintptr_t)key.at);
	free((void *)(uintptr_t)meta.at);
	free((void *)(uintptr_t)none.at);
}

/* The items, "c2=22 c1=1 ...", long values by their length. */
static int walk(struct bbolt *bolt, const char *bucket, struct buf *ret, struct error **err)
{
	struct bbolt_item item;
	const uint8_t *piece;
	size_t len;
	int rc = bbolt_enter(bolt, bucket, err);
	while (rc >= 0 && (rc = bbolt_prev(bolt, &item, err)) > 0) {
		struct buf value = BUF_INIT(DB_SIZE_MAX);
		while ((rc = bbolt_value(bolt, &piece, &len, err)) > 0)
			must(len > 0 && buf_append(&value, piece, len) == 0);
		must(rc < 0 || value.len == item.value_len);
		say(ret, "%.*s%s", (int)item.key_len, (const char *)item.key, item.bucket ? "/" : "=");
		if (value.len > 20)
			say(ret, "[%zu] ", value.len);
		else
			say(ret, "%.*s ", (int)value.len, (const char *)value.data);
		buf_free(&value);
	}
	return rc;
}

static int read_all(struct buf *db, const char *bucket, struct buf *ret, struct error **err)
{
	struct bbolt *bolt = NULL;
	/* An exact allocation, so that a sanitizer sees what is read behind its end. */
	struct buf exact = {.data = db->len ? xmemdup(db->data, db->len) : NULL, .len = db->len};
	const struct bbolt_source source = {exact.len, db_read, &exact};
	int rc = bbolt_open(&source, &bolt, err);
	if (rc == 0)
		rc = walk(bolt, bucket, ret, err);
	bbolt_free(bolt);
	free(exact.data);
	return rc;
}

#define WHOLE "c2=22 c1=1 b1=[1500] a2= a1=one "
#define DAMAGED "; the file is damaged; use another copy"
#define NO_DATABASE "it is no bbolt database as etcd and etcdctl write it: "
#define AT(page, offset) ((page)*DB_PAGE + (offset))
#define ELEMENT(page, i, offset) AT(page, 16 + (i)*16 + (offset))

struct change {
	size_t at;
	unsigned size; /* 0: no change */
	uint64_t value;
};
static const struct {
	const char *name;
	struct change changes[3];
	bool sum; /* the checksums of the meta pages are made right afterwards */
	size_t size;
	const char *bucket; /* NULL: key */
	const char *items;  /* or NULL and */
	const char *message;
} rows[] = {
	{"whole", .items = WHOLE},
	{"an inline bucket", .bucket = "meta", .items = "m2=v2 m1=v1 "},
	{"an empty one", .bucket = "alarm", .items = ""},
	{"no such bucket", .bucket = "keys",
	 .message = "it has no bucket \"keys\" and is no database of etcd; use another copy"},
	{"a value is no bucket", .bucket = "value",
	 .message = "it has no bucket \"value\" and is no database of etcd; use another copy"},
	{"bytes behind the last page do not matter", .size = AT(PAGES + 3, 0), .items = WHOLE},

	/* meta pages */
	{"the first meta page is broken",
	 {{AT(0, 20), 1, 9}},
	 .bucket = "a1",
	 .message = "it has no bucket \"a1\" and is no database of etcd; use another copy"},
	{"the second meta page is broken", {{AT(1, 20), 1, 9}}, .items = WHOLE},
	{"the second one is later",
	 {{AT(1, 16 + 48), 8, 7}},
	 .sum = true,
	 .message = "it has no bucket \"key\" and is no database of etcd; use another copy"},
	{"the second one is later, its pages of another size",
	 {{AT(1, 16 + 48), 8, 7}, {AT(1, 16 + 8), 4, 4096}},
	 .sum = true,
	 .items = WHOLE},
	{"no magic",
	 {{AT(0, 16), 4, 0}, {AT(1, 16), 4, 0}},
	 .message = NO_DATABASE "it does not begin as one (unpack it first if it is compressed); use another copy"},
	{"another version",
	 {{AT(0, 20), 4, 3}, {AT(1, 20), 4, 3}},
	 .sum = true,
	 .message = NO_DATABASE "its format is of another version than 2; use another copy"},
	{"wrong checksums",
	 {{AT(0, 40), 1, 3}, {AT(1, 40), 1, 3}},
	 .message = NO_DATABASE "the checksum of its first page is wrong; use another copy"},
	{"pages of 1000 bytes",
	 {{AT(0, 24), 4, 1000}, {AT(1, 24), 4, 1000}},
	 .sum = true,
	 .message = NO_DATABASE "its pages are of no possible size; use another copy"},
	{"pages of 0 bytes",
	 {{AT(0, 24), 4, 0}, {AT(1, 24), 4, 0}},
	 .sum = true,
	 .message = NO_DATABASE "its pages are of no possible size; use another copy"},
	{"pages of 2 GiB",
	 {{AT(0, 24), 4, 0x80000000}, {AT(1, 24), 4, 0x80000000}},
	 .sum = true,
	 .message = NO_DATABASE "its pages are of no possible size; use another copy"},
	{"too short", .size = 64, .message = NO_DATABASE "it is too short; use another copy"},
	{"cut off", .size = AT(9, 1000), .message = "it is cut off: 9 of 10 pages are there; use another copy"},
	{"more pages than can be",
	 {{AT(0, 56), 8, UINT64_MAX}},
	 .sum = true,
	 .message = "it is cut off: 10 of 18446744073709551615 pages are there; use another copy"},
	{"a root that is a meta page",
	 {{AT(0, 32), 8, 1}},
	 .sum = true,
	 .message = "page 1: there is no such page, but another one names it" DAMAGED},
	{"a root beyond the end",
	 {{AT(0, 32), 8, 10}},
	 .sum = true,
	 .message = "page 10: there is no such page, but another one names it" DAMAGED},

	/* pages */
	{"a child beyond the end",
	 {{ELEMENT(3, 0, 8), 8, UINT64_MAX}},
	 .message = "page 18446744073709551615: there is no such page, but another one names it" DAMAGED},
	{"a child that is a meta page",
	 {{ELEMENT(3, 3, 8), 8, 0}},
	 .message = "page 0: there is no such page, but another one names it" DAMAGED},
	{"a branch below itself, first",
	 {{ELEMENT(3, 0, 8), 8, 3}},
	 .message = "page 8: its keys are not in order" DAMAGED},
	{"a branch below itself, last",
	 {{ELEMENT(3, 3, 8), 8, 3}},
	 .message = "page 3: it is in the tree a second time, or others are" DAMAGED},
	{"a leaf in two places", {{ELEMENT(3, 1, 8), 8, 8}}, .message = "page 8: its keys are not in order" DAMAGED},
	{"an empty leaf in two places", {{ELEMENT(3, 1, 8), 8, 7}}, .items = "c2=22 c1=1 a2= a1=one "},
	{"a page inside another",
	 {{ELEMENT(3, 2, 8), 8, 6}},
	 .message = "page 6: it says that it is page 8680820740569200760" DAMAGED},
	{"another page's number", {{AT(8, 0), 8, 4}}, .message = "page 8: it says that it is page 4" DAMAGED},
	{"a free list as child",
	 {{AT(8, 8), 2, 16}},
	 .message = "page 8: it is neither a branch nor a leaf (type 16)" DAMAGED},
	{"branch and leaf at once",
	 {{AT(8, 8), 2, 3}},
	 .message = "page 8: it is neither a branch nor a leaf (type 3)" DAMAGED},
	{"going on beyond the end",
	 {{AT(8, 12), 4, 2}},
	 .message = "page 8: it goes on for 3 pages, beyond the end" DAMAGED},
	{"going on for ever",
	 {{AT(8, 12), 4, UINT32_MAX}},
	 .message = "page 8: it goes on for 4294967296 pages, beyond the end" DAMAGED},
	{"more elements than a leaf has room for",
	 {{AT(8, 10), 2, 64}},
	 .message = "page 8: 64 elements do not fit into it" DAMAGED},
	{"more elements than a branch has room for",
	 {{AT(3, 10), 2, 65535}},
	 .message = "page 3: 65535 elements in a branch of 1024 bytes" DAMAGED},
	{"a branch without children",
	 {{AT(3, 10), 2, 0}},
	 .message = "page 3: 0 elements in a branch of 1024 bytes" DAMAGED},

	/* elements */
	{"a key over the elements",
	 {{ELEMENT(8, 1, 4), 4, 8}},
	 .message = "page 8: element 1 lies outside the page or over another one" DAMAGED},
	{"a key outside the page",
	 {{ELEMENT(8, 1, 4), 4, 1000}},
	 .message = "page 8: element 1 lies outside the page or over another one" DAMAGED},
	{"a key far outside",
	 {{ELEMENT(8, 1, 4), 4, UINT32_MAX}},
	 .message = "page 8: element 1 lies outside the page or over another one" DAMAGED},
	{"a key of no bytes", {{ELEMENT(8, 1, 8), 4, 0}}, .message = "page 8: a key of 0 bytes" DAMAGED},
	{"a key of too many bytes", {{ELEMENT(8, 1, 8), 4, 32769}}, .message = "page 8: a key of 32769 bytes" DAMAGED},
	{"a key as long as can be",
	 {{ELEMENT(8, 1, 8), 4, UINT32_MAX}},
	 .message = "page 8: a key of 4294967295 bytes" DAMAGED},
	{"a value beyond the page",
	 {{ELEMENT(8, 1, 12), 4, 1000}},
	 .message = "page 8: element 1 lies outside the page or over another one" DAMAGED},
	{"a value as long as can be",
	 {{ELEMENT(8, 1, 12), 4, UINT32_MAX}},
	 .message = "page 8: element 1 lies outside the page or over another one" DAMAGED},
	{"a value over the next element's",
	 {{ELEMENT(8, 0, 12), 4, 2}},
	 .message = "page 8: element 0 lies outside the page or over another one" DAMAGED},
	{"two elements of the same bytes",
	 {{ELEMENT(4, 0, 4), 4, 37}},
	 .message = "page 4: element 0 lies outside the page or over another one" DAMAGED},
	{"keys out of order", {{AT(8, 16 + 32 + 1), 1, '3'}}, .message = "page 8: its keys are not in order" DAMAGED},
	{"the same key twice", {{AT(8, 16 + 32 + 1), 1, '2'}}, .message = "page 8: its keys are not in order" DAMAGED},
	{"keys out of order between leaves",
	 {{AT(4, 16 + 32 + 5), 1, 'd'}},
	 .message = "page 4: its keys are not in order" DAMAGED},

	/* buckets; "alarm" and its 32 bytes, then "key" and its 16, "meta" */
	{"a bucket's root beyond the end",
	 {{AT(2, 16 + 64 + 5 + 32 + 3), 8, 77}},
	 .message = "page 77: there is no such page, but another one names it" DAMAGED},
	{"a bucket of a few bytes", {{ELEMENT(2, 1, 12), 4, 15}}, .message = "page 2: a bucket of 15 bytes" DAMAGED},
	{"an inline one of a few bytes",
	 {{ELEMENT(2, 0, 12), 4, 31}},
	 .bucket = "alarm",
	 .message = "page 2: a bucket of 31 bytes" DAMAGED},
	{"an inline one that is no leaf",
	 {{AT(2, 16 + 64 + 5 + 16 + 8), 2, 1}},
	 .bucket = "alarm",
	 .message = "page 2: a bucket in it is no leaf" DAMAGED},
	{"an inline one of too many elements",
	 {{AT(2, 16 + 64 + 5 + 16 + 10), 2, 1}},
	 .bucket = "alarm",
	 .message = "page 2: 1 elements do not fit into it" DAMAGED},
};

static void reads(void **state)
{
	const __typeof__(rows[0]) *row = *state;
	struct buf db = BUF_INIT(DB_SIZE_MAX), items = BUF_INIT(DB_SIZE_MAX);
	struct error *err = NULL;
	make(&db);
	for (size_t i = 0; i < ELEMENTS(row->changes); i++)
		db_number(db.data + row->changes[i].at, row->changes[i].value, row->changes[i].size);
	if (row->sum) {
		db_sum_meta(&db, 0);
		db_sum_meta(&db, DB_PAGE);
	}
	if (row->size > db.len)
		db_at(&db, row->size - 1, 1);
	else if (row->size > 0)
		db.len = row->size;
	int rc = read_all(&db, row->bucket ? row->bucket : "key", &items, &err);
	if (row->message) {
		assert_true(rc < 0);
		assert_int_equal(rc, -(int)error_code(err));
		assert_string_equal(error_message(err), row->message);
		error_clear(&err);
	} else {
		assert_ok(rc, err);
		assert_string_equal(buf_text(&items), row->items);
	}
	buf_free(&db);
	buf_free(&items);
}

/* ---- what is larger than a window ---- */

#define LARGE (900u << 10)

static void large_values(void **state)
{
	(void)state;
	struct buf db = BUF_INIT(DB_SIZE_MAX);
	uint8_t *large = xmalloc(LARGE);
	for (size_t i = 0; i < LARGE; i++)
		large[i] = (uint8_t)(i * 7 + i / 1024);
	char names[40][4];
	struct db_entry entries[40];
	for (unsigned i = 0; i < ELEMENTS(entries); i++) {
		snprintf(names[i], sizeof(names[i]), "k%02u", i);
		entries[i] =
			(struct db_entry){{(const uint8_t *)names[i], 3}, {large + i, i % 2 ? 10 : LARGE - 40}, false};
	}
	struct bytes key = db_bucket(3);
	const struct db_entry top = {BYTES("key"), key, true};
	unsigned pages = 3 + db_leaf(&db, 3, entries, ELEMENTS(entries));
	db_leaf(&db, 2, &top, 1);
	db_meta(&db, 0, 0, 2, pages);
	db_meta(&db, 1, 1, 2, pages);
	struct bbolt *bolt;
	struct bbolt_item item;
	const struct bbolt_source source = {db.len, db_read, &db};
	assert_int_equal(bbolt_open(&source, &bolt, NULL), 0);
	/* Twice: a walk leaves nothing behind. */
	for (unsigned pass = 0; pass < 2; pass++) {
		assert_int_equal(bbolt_enter(bolt, "key", NULL), 0);
		for (unsigned i = ELEMENTS(entries); i-- > 0;) {
			assert_int_equal(bbolt_prev(bolt, &item, NULL), 1);
			assert_memory_equal(item.key, names[i], 3);
			assert_int_equal(item.value_len, entries[i].value.len);
			const uint8_t *piece;
			size_t at = 0, len;
			while (bbolt_value(bolt, &piece, &len, NULL) > 0) {
				assert_memory_equal(piece, entries[i].value.at + at, len);
				at += len;
				if (i == 20)
					break; /* the rest of it is not asked for */
			}
			assert_true(at == item.value_len || i == 20);
		}
		assert_int_equal(bbolt_prev(bolt, &item, NULL), 0);
		assert_int_equal(bbolt_prev(bolt, &item, NULL), 0);
	}
	bbolt_free(bolt);
	buf_free(&db);
	free((void *)(uintptr_t)key.at);
	free(large);
}

/* Branches of 65,535 children, each of them the branch itself: neither memory nor time grows with it. */
static void many_children(void **state)
{
	(void)state;
	enum { OVERFLOW = 1100, COUNT = 65535 };
	struct buf db = BUF_INIT(DB_SIZE_MAX);
	struct error *err = NULL;
	uint64_t pages = 3 + 4 * (OVERFLOW + 1);
	struct bytes key = db_bucket(3);
	const struct db_entry top = {BYTES("key"), key, true};
	db_at(&db, pages * DB_PAGE - 1, 1);
	db_leaf(&db, 2, &top, 1);
	db_head(&db, 3, DB_BRANCH, COUNT, OVERFLOW);
	for (size_t i = 0; i < COUNT; i++)
		db_number(db.data + ELEMENT(3, i, 8), 3, 8);
	db_meta(&db, 0, 0, 2, pages);
	db_meta(&db, 1, 1, 2, pages);
	struct buf items = BUF_INIT(1024);
	int rc = read_all(&db, "key", &items, &err);
	assert_error(rc, err, ERROR_INPUT, "page 3: more than 131072 pages below it" DAMAGED);
	buf_free(&items);
	buf_free(&db);
	free((void *)(uintptr_t)key.at);
}

/* ---- others ---- */

static int read_fails(void *arg, uint64_t at, uint8_t *to, size_t len, struct error **err)
{
	if (at >= *(const uint64_t *)arg)
		return error_set(err, ERROR_IO, "a bad sector");
	struct buf db = BUF_INIT(DB_SIZE_MAX);
	make(&db);
	int rc = db_read(&db, at, to, len, err);
	buf_free(&db);
	return rc;
}

static void read_errors(void **state)
{
	(void)state;
	for (uint64_t at = 0; at < PAGES * DB_PAGE; at += DB_PAGE) {
		struct bbolt *bolt = NULL;
		struct error *err = NULL;
		struct buf items = BUF_INIT(1024);
		const struct bbolt_source source = {PAGES * DB_PAGE, read_fails, &at};
		int rc = bbolt_open(&source, &bolt, &err);
		if (rc == 0)
			rc = walk(bolt, "key", &items, &err);
		if (at <= 8 * DB_PAGE)
			assert_error(rc, err, ERROR_IO, "a bad sector");
		else
			assert_ok(rc, err);
		bbolt_free(bolt);
		buf_free(&items);
	}
	bbolt_free(NULL);
}

/* Written by go.etcd.io/bbolt 1.4.3 with pages of 1 KiB, in several transactions: 60 values, every seventh of 3000 bytes, some
 * taken out again; an inline bucket; a free list. */
static void a_real_one(void **state)
{
	(void)state;
	struct secret *content = NULL;
	struct error *err = NULL;
	assert_ok(file_read("tests/unit/data/bbolt/real.db", 1u << 20, &content, &err), err);
	struct buf db = BUF_INIT(DB_SIZE_MAX), items = BUF_INIT(DB_SIZE_MAX), expected = BUF_INIT(DB_SIZE_MAX);
	must(buf_append(&db, secret_data(content), secret_len(content)) == 0);
	assert_ok(read_all(&db, "key", &items, &err), err);
	for (unsigned i = 60; i-- > 0;) {
		if (i % 5 == 0)
			continue;
		if (i % 7 == 0)
			say(&expected, "key-%02u=[3000] ", i);
		else
			say(&expected, "key-%02u=value-%u ", i, i);
	}
	assert_string_equal(buf_text(&items), buf_text(&expected));
	buf_reset(&items);
	assert_ok(read_all(&db, "small", &items, &err), err);
	assert_string_equal(buf_text(&items), "b=2 a=1 ");
	buf_free(&db);
	buf_free(&items);
	buf_free(&expected);
	secret_free(content);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(large_values),
		cmocka_unit_test(many_children),
		cmocka_unit_test(read_errors),
		cmocka_unit_test(a_real_one),
	};
	int failed = RUN_ROWS(reads, rows);
	return failed + cmocka_run_group_tests(tests, NULL, NULL);
}
