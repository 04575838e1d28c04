/* A bbolt database of 1 KiB pages, put together page by page; and one of etcd, out of revisions. */
#pragma once
#include <string.h>
#include "base/buf.h"
#include "format/bbolt.h"
#include "format_support.h"

#define DB_PAGE 1024u
#define DB_SIZE_MAX (64u << 20)
enum { DB_BRANCH = 1, DB_LEAF = 2, DB_META = 4 };

static inline void db_number(uint8_t *to, uint64_t value, unsigned size)
{
	for (unsigned i = 0; i < size; i++, value >>= 8)
		to[i] = (uint8_t)value;
}

/* At least so many bytes, zeros where nothing was written. */
static inline uint8_t *db_at(struct buf *db, size_t at, size_t len)
{
	static const uint8_t zeros[DB_PAGE];
	while (db->len < at + len)
		must(buf_append(db, zeros, sizeof(zeros)) == 0);
	return db->data + at;
}

static inline void db_head(struct buf *db, uint64_t page, unsigned type, unsigned count, unsigned overflow)
{
	uint8_t *at = db_at(db, page * DB_PAGE, (overflow + 1) * DB_PAGE);
	db_number(at, page, 8);
	db_number(at + 8, type, 2);
	db_number(at + 10, count, 2);
	db_number(at + 12, overflow, 4);
}

/* Makes its checksum right. */
static inline void db_sum_meta(struct buf *db, size_t at)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);
	for (size_t i = 0; i < 56; i++)
		hash = (hash ^ db->data[at + 16 + i]) * UINT64_C(0x100000001b3);
	db_number(db->data + at + 16 + 56, hash, 8);
}

static inline void db_meta(struct buf *db, uint64_t page, uint64_t txid, uint64_t root, uint64_t pages)
{
	db_head(db, page, DB_META, 0, 0);
	uint8_t *at = db->data + page * DB_PAGE + 16;
	db_number(at, 0xED0CDAED, 4);
	db_number(at + 4, 2, 4);
	db_number(at + 8, DB_PAGE, 4);
	db_number(at + 16, root, 8);
	db_number(at + 32, UINT64_MAX, 8); /* no free list */
	db_number(at + 40, pages, 8);
	db_number(at + 48, txid, 8);
	db_sum_meta(db, page * DB_PAGE);
}

static inline void db_branch(struct buf *db, uint64_t page, const uint64_t *children, size_t count)
{
	db_head(db, page, DB_BRANCH, (unsigned)count, 0);
	for (size_t i = 0; i < count; i++) {
		uint8_t *element = db->data + page * DB_PAGE + 16 + i * 16;
		size_t key = 16 + count * 16 + i;
		db->data[page * DB_PAGE + key] = (uint8_t)('a' + i);
		db_number(element, key - 16 - i * 16, 4);
		db_number(element + 4, 1, 4);
		db_number(element + 8, children[i], 8);
	}
}

struct db_entry {
	struct bytes key, value;
	bool bucket;
};

/* Elements, keys and values as they stand behind a page's head. */
static inline void db_entries(struct buf *to, const struct db_entry *entries, size_t count)
{
	size_t data = count * 16;
	for (size_t i = 0; i < count; i++) {
		uint8_t element[16];
		db_number(element, entries[i].bucket, 4);
		db_number(element + 4, data - i * 16, 4);
		db_number(element + 8, entries[i].key.len, 4);
		db_number(element + 12, entries[i].value.len, 4);
		must(buf_append(to, element, sizeof(element)) == 0);
		data += entries[i].key.len + entries[i].value.len;
	}
	for (size_t i = 0; i < count; i++)
		must(buf_append(to, entries[i].key.at, entries[i].key.len) == 0 &&
		     (entries[i].value.len == 0 || buf_append(to, entries[i].value.at, entries[i].value.len) == 0));
}

/* How many pages it takes. */
static inline unsigned db_leaf(struct buf *db, uint64_t page, const struct db_entry *entries, size_t count)
{
	struct buf body = BUF_INIT(DB_SIZE_MAX);
	db_entries(&body, entries, count);
	unsigned overflow = (unsigned)((16 + body.len - (body.len > 0)) / DB_PAGE);
	db_head(db, page, DB_LEAF, (unsigned)count, overflow);
	if (body.len > 0)
		memcpy(db->data + page * DB_PAGE + 16, body.data, body.len);
	buf_free(&body);
	return overflow + 1;
}

/* The value of a nested bucket: its root page, or the page itself. The caller frees `ret->at`. */
static inline struct bytes db_bucket(uint64_t root)
{
	uint8_t *value = xcalloc(1, 16);
	db_number(value, root, 8);
	return (struct bytes){value, 16};
}

static inline struct bytes db_inline_bucket(const struct db_entry *entries, size_t count)
{
	struct buf value = BUF_INIT(DB_SIZE_MAX);
	uint8_t head[32] = {0};
	db_number(head + 16 + 8, DB_LEAF, 2);
	db_number(head + 16 + 10, count, 2);
	must(buf_append(&value, head, sizeof(head)) == 0);
	db_entries(&value, entries, count);
	return (struct bytes){value.data, value.len};
}

/* ---- etcd's ---- */

struct db_revision {
	uint64_t main, sub;
	bool tombstone;
	const char *path;
	struct bytes value;
	uint64_t mod_revision; /* 0: main */
};

static inline void big_endian(uint8_t *to, uint64_t value)
{
	for (unsigned i = 8; i-- > 0; value >>= 8)
		to[i] = (uint8_t)value;
}

static inline struct bytes db_revision_key(uint64_t main, uint64_t sub, bool tombstone)
{
	uint8_t *key = xcalloc(1, 18);
	big_endian(key, main);
	key[8] = '_';
	big_endian(key + 9, sub);
	key[17] = 't';
	return (struct bytes){key, tombstone ? 18 : 17};
}

static inline struct bytes db_key_value(const struct db_revision *revision)
{
	struct buf kv = BUF_INIT(DB_SIZE_MAX);
	uint64_t mod = revision->mod_revision ? revision->mod_revision : revision->main;
	must(pb_write_bytes_field(&kv, 1, revision->path, strlen(revision->path)) == 0);
	if (!revision->tombstone)
		must(pb_write_varint_field(&kv, 2, 1) == 0 && pb_write_varint_field(&kv, 3, mod) == 0 &&
		     pb_write_varint_field(&kv, 4, 1) == 0 &&
		     pb_write_bytes_field(&kv, 5, revision->value.at, revision->value.len) == 0);
	return (struct bytes){kv.data, kv.len};
}

/* Revisions in order; `compacted` of the bucket meta, 0: it was never. */
static inline void db_of_etcd(struct buf *db, const struct db_revision *revisions, size_t count, uint64_t compacted)
{
	struct db_entry *entries = xcalloc(count + 1, sizeof(*entries));
	for (size_t i = 0; i < count; i++) {
		const struct db_revision *revision = &revisions[i];
		entries[i] = (struct db_entry){db_revision_key(revision->main, revision->sub, revision->tombstone),
					       db_key_value(revision), false};
	}
	struct db_entry compaction = {BYTES("finishedCompactRev"), db_revision_key(compacted, 0, false), false};
	struct db_entry top[] = {{BYTES("key"), db_bucket(3), true},
				 {BYTES("meta"), db_inline_bucket(&compaction, compacted > 0), true}};
	uint64_t pages = 3 + db_leaf(db, 3, entries, count);
	db_leaf(db, 2, top, 2);
	db_meta(db, 0, 4, 2, pages);
	db_meta(db, 1, 5, 2, pages);
	for (size_t i = 0; i < count; i++) {
		free((void *)(uintptr_t)entries[i].key.at);
		free((void *)(uintptr_t)entries[i].value.at);
	}
	free((void *)(uintptr_t)compaction.value.at);
	free((void *)(uintptr_t)top[0].value.at);
	free((void *)(uintptr_t)top[1].value.at);
	free(entries);
}

/* ---- reading ---- */

static inline int db_read(void *arg, uint64_t at, uint8_t *to, size_t len, struct error **err)
{
	const struct buf *db = arg;
	(void)err;
	must(len > 0 && len <= db->len && at <= db->len - len);
	memcpy(to, db->data + at, len);
	return 0;
}
