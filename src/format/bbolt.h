/* A bbolt database (what etcd stores in, and what a snapshot of it is), read backwards from its last key.
 *
 * Format: go.etcd.io/bbolt internal/common/{meta,page,bucket}.go, little-endian. Pages 0 and 1 are meta pages: the valid one of
 * the later transaction names the root page and how many pages there are. A page has a header (id, type, number of elements, how
 * many pages it goes on for) and elements that say where in the page their keys and values lie. A nested bucket is a value: the
 * page of its root, or, behind a 0, a small leaf page itself.
 *
 * Nothing in the file is trusted: each offset is checked before it is followed, keys must come in order, and no more pages are
 * visited than the file has, so that a page graph with cycles ends. Memory does not depend on the file: two windows of
 * BBOLT_WINDOW bytes (or two pages), a key, and the page numbers that are still to be visited. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/alloc.h"
#include "base/error.h"

#define BBOLT_PAGE_MIN 1024u /* a page's bytes; the operating system's where the file was made */
#define BBOLT_PAGE_MAX 65536u
#define BBOLT_KEY_MAX 32768u     /* bbolt's own cap */
#define BBOLT_WINDOW (64u << 10) /* more is slower: it must stay in the processor's cache */
#define BBOLT_CHILDREN_MAX \
	(128u << 10) /* page numbers that wait to be visited; 4 KiB pages have up to 200 in each level */

/* Where the bytes are. */
struct bbolt_source {
	uint64_t size;
	/* Fills `to` with exactly `len` bytes from `at` on, which are all below `size`. */
	int (*read)(void *arg, uint64_t at, uint8_t *to, size_t len, struct error **err);
	void *arg; /* must outlive the reader */
};

struct bbolt; /* opaque */
/* All below: -ERROR_INPUT with what is wrong, in which page, and what to do, where the file is no bbolt database, cut off or
 * damaged; or what `read` returned. After an error from bbolt_enter, bbolt_prev or bbolt_value nothing but bbolt_enter and
 * bbolt_free may follow. */
_must_check_ int bbolt_open(const struct bbolt_source *source, struct bbolt **ret, struct error **err);
void bbolt_free(struct bbolt *bolt); /* NULL is fine */
void bbolt_freep(struct bbolt **bolt);

/* Goes behind the last key of a bucket of the top level. -ERROR_NOT_FOUND where there is none of that name. */
_must_check_ int bbolt_enter(struct bbolt *bolt, const char *bucket, struct error **err);

struct bbolt_item {
	const uint8_t *key; /* valid until the next bbolt_prev */
	size_t key_len;     /* at least 1 */
	uint64_t value_len;
	uint64_t page; /* where it lies */
	bool bucket;   /* its value is a nested bucket */
};
/* One item back: 1, or 0 where there is none before. */
_must_check_ int bbolt_prev(struct bbolt *bolt, struct bbolt_item *ret, struct error **err);
/* The next piece of that item's value: 1, or 0 where it ended. The bytes are valid until the next call of any. */
_must_check_ int bbolt_value(struct bbolt *bolt, const uint8_t **ret, size_t *ret_len, struct error **err);

/* Says that a page is not what it should be, in the words of all errors here: for who reads what the items hold. */
int bbolt_broken(struct error **err, uint64_t page, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
