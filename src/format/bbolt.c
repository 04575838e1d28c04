#include "format/bbolt.h"

#include <inttypes.h>

#define MAGIC UINT32_C(0xED0CDAED)
#define VERSION 2u
#define HEADER_SIZE 16u  /* of a page: id 8, flags 2, count 2, overflow 4 */
#define ELEMENT_SIZE 16u /* of a leaf: flags, pos, ksize, vsize; of a branch: pos, ksize, pgid */
#define BUCKET_SIZE 16u  /* of a nested bucket's head: root page 8, sequence 8 */
#define META_SIZE 64u
#define META_SUMMED 56u /* bytes that its checksum covers */
#define FIRST_PAGE 2u   /* behind the meta pages */
#define LEAF_AT_ONCE BBOLT_WINDOW

enum { PAGE_BRANCH = 1, PAGE_LEAF = 2 };
enum { ELEMENT_BUCKET = 1 };

struct window {
	uint8_t *bytes;
	uint64_t at;
	size_t len;
};

/* The leaf page in hand. */
struct leaf {
	uint64_t page; /* by which errors name it */
	uint64_t at, end;
	uint64_t elements_end;
	unsigned left;  /* elements not handed out yet: those before */
	uint64_t limit; /* where the data of the element behind begins: nothing may reach over it */
};

struct bbolt {
	struct bbolt_source source;
	uint64_t page_size, page_count, root;
	size_t window;       /* bytes of each of the two, at least two pages */
	struct window pages; /* heads of pages, and whole small ones */
	struct window data;  /* keys and values beyond that */
	size_t ahead;        /* bytes to read at once next time, where pages follow one another */
	uint64_t *children;  /* pages to visit, the last one first */
	size_t child_count, child_room;
	uint64_t visits_left; /* pages; each is visited once at most */
	struct leaf leaf;
	uint8_t *key; /* of the item handed out last */
	size_t key_len;
	bool have_key;
	uint64_t value_at, value_left;
};

int bbolt_broken(struct error **err, uint64_t page, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	_cleanup_free_ char *what = xvasprintf(fmt, args);
	va_end(args);
	return error_set(err, ERROR_INPUT, "page %" PRIu64 ": %s; the file is damaged; use another copy", page, what);
}

static uint64_t number(const uint8_t *bytes, unsigned size)
{
	uint64_t value = 0;
	while (size-- > 0)
		value = value << 8 | bytes[size];
	return value;
}

/* ---- windows ---- */

static bool holds(const struct window *window, uint64_t at, size_t len)
{
	return at >= window->at && at - window->at <= window->len && len <= window->len - (size_t)(at - window->at);
}

static int fill(struct bbolt *bolt, struct window *window, uint64_t at, size_t len, struct error **err)
{
	window->len = 0;
	int rc = bolt->source.read(bolt->source.arg, at, window->bytes, len, err);
	if (rc < 0)
		return rc;
	window->at = at;
	window->len = len;
	return 0;
}

/* Whole pages from `from` to `to`, and more in the direction in which they follow one another. */
static int fill_pages(struct bbolt *bolt, uint64_t from, uint64_t to, struct error **err)
{
	struct window *pages = &bolt->pages;
	uint64_t end = bolt->page_count * bolt->page_size, have_end = pages->at + pages->len;
	bool down = to <= pages->at && pages->at - to < bolt->ahead;
	bool up = from >= have_end && from - have_end < bolt->ahead;
	bolt->ahead = down || up ? bolt->ahead * 2 : bolt->page_size;
	if (bolt->ahead < to - from)
		bolt->ahead = to - from;
	if (bolt->ahead > bolt->window)
		bolt->ahead = bolt->window;
	if (down)
		from = to > bolt->ahead ? to - bolt->ahead : 0;
	else if (up)
		to = end - from > bolt->ahead ? from + bolt->ahead : end;
	return fill(bolt, pages, from, (size_t)(to - from), err);
}

/* `len` bytes of the page window: no more than a page, or LEAF_AT_ONCE from where a page begins; within the pages. */
static int look(struct bbolt *bolt, uint64_t at, size_t len, const uint8_t **ret, struct error **err)
{
	if (!holds(&bolt->pages, at, len)) {
		uint64_t size = bolt->page_size;
		int rc = fill_pages(bolt, at / size * size, (at + len + size - 1) / size * size, err);
		if (rc < 0)
			return rc;
	}
	*ret = bolt->pages.bytes + (at - bolt->pages.at);
	return 0;
}

/* Where `at` can be read, with as much of `want` (not 0) as is there at once: `least` bytes in any case. */
static int look_at_data(struct bbolt *bolt, uint64_t at, size_t least, uint64_t want, const uint8_t **ret,
			size_t *ret_len, struct error **err)
{
	struct window *window = holds(&bolt->pages, at, least) ? &bolt->pages : &bolt->data;
	if (!holds(window, at, least)) {
		int rc = fill(bolt, window, at, want < bolt->window ? (size_t)want : bolt->window, err);
		if (rc < 0)
			return rc;
	}
	size_t begin = (size_t)(at - window->at), here = window->len - begin;
	*ret = window->bytes + begin;
	*ret_len = want < here ? (size_t)want : here;
	return 0;
}

/* ---- meta pages ---- */

struct meta {
	const char *wrong; /* NULL: valid */
	uint64_t page_size, root, page_count, txid;
};

/* FNV-1a, 64 bits. */
static uint64_t checksum(const uint8_t *bytes, size_t len)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);
	for (size_t i = 0; i < len; i++)
		hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
	return hash;
}

static int read_meta(const struct bbolt *bolt, uint64_t at, struct meta *ret, struct error **err)
{
	uint8_t page[HEADER_SIZE + META_SIZE];
	const uint8_t *meta = page + HEADER_SIZE;
	*ret = (struct meta){.wrong = "it is too short"};
	if (bolt->source.size < sizeof(page) || at > bolt->source.size - sizeof(page))
		return 0;
	int rc = bolt->source.read(bolt->source.arg, at, page, sizeof(page), err);
	if (rc < 0)
		return rc;
	*ret = (struct meta){
		.page_size = number(meta + 8, 4),
		.root = number(meta + 16, 8),
		.page_count = number(meta + 40, 8),
		.txid = number(meta + 48, 8),
	};
	uint64_t size = ret->page_size;
	if (number(meta, 4) != MAGIC)
		ret->wrong = "it does not begin as one (unpack it first if it is compressed)";
	else if (number(meta + 4, 4) != VERSION)
		ret->wrong = "its format is of another version than 2";
	else if (number(meta + META_SUMMED, 8) != checksum(meta, META_SUMMED))
		ret->wrong = "the checksum of its first page is wrong";
	else if (size < BBOLT_PAGE_MIN || size > BBOLT_PAGE_MAX || (size & (size - 1)) != 0)
		ret->wrong = "its pages are of no possible size";
	return 0;
}

/* The second meta page lies one page in; where the first is broken, that is at one of few places. */
static int find_second(const struct bbolt *bolt, const struct meta *first, struct meta *ret, struct error **err)
{
	if (!first->wrong)
		return read_meta(bolt, first->page_size, ret, err);
	for (uint64_t size = BBOLT_PAGE_MIN; size <= BBOLT_PAGE_MAX; size *= 2) {
		int rc = read_meta(bolt, size, ret, err);
		if (rc < 0 || (!ret->wrong && ret->page_size == size))
			return rc;
	}
	ret->wrong = first->wrong;
	return 0;
}

static int choose_meta(struct bbolt *bolt, struct error **err)
{
	struct meta first, second;
	int rc = read_meta(bolt, 0, &first, err);
	if (rc == 0)
		rc = find_second(bolt, &first, &second, err);
	if (rc < 0)
		return rc;
	if (first.wrong && second.wrong)
		return error_set(err, ERROR_INPUT,
				 "it is no bbolt database as etcd and etcdctl write it: %s; use another copy",
				 first.wrong);
	bool later =
		!second.wrong && (first.wrong || (second.page_size == first.page_size && second.txid > first.txid));
	const struct meta *meta = later ? &second : &first;
	bolt->page_size = meta->page_size;
	bolt->page_count = meta->page_count;
	bolt->root = meta->root;
	uint64_t there = bolt->source.size / meta->page_size;
	if (meta->page_count > there)
		return error_set(err, ERROR_INPUT,
				 "it is cut off: %" PRIu64 " of %" PRIu64 " pages are there; use another copy", there,
				 meta->page_count);
	return 0;
}

int bbolt_open(const struct bbolt_source *source, struct bbolt **ret, struct error **err)
{
	_cleanup_(bbolt_freep) struct bbolt *bolt = xcalloc(1, sizeof(*bolt));
	bolt->source = *source;
	int rc = choose_meta(bolt, err);
	if (rc < 0)
		return rc;
	bolt->window = 2 * bolt->page_size > BBOLT_WINDOW ? 2 * (size_t)bolt->page_size : BBOLT_WINDOW;
	bolt->pages.bytes = xmalloc(bolt->window);
	bolt->data.bytes = xmalloc(bolt->window);
	bolt->key = xmalloc(BBOLT_KEY_MAX);
	bolt->ahead = bolt->page_size;
	*ret = steal(bolt);
	return 0;
}

void bbolt_free(struct bbolt *bolt)
{
	if (!bolt)
		return;
	free(bolt->pages.bytes);
	free(bolt->data.bytes);
	free(bolt->children);
	free(bolt->key);
	free(bolt);
}

void bbolt_freep(struct bbolt **bolt)
{
	bbolt_free(*bolt);
}

/* ---- pages ---- */

static int push_children(struct bbolt *bolt, uint64_t page, uint64_t at, unsigned count, struct error **err)
{
	if (count > BBOLT_CHILDREN_MAX - bolt->child_count)
		return bbolt_broken(err, page, "more than %u pages below it", BBOLT_CHILDREN_MAX);
	size_t need = bolt->child_count + count;
	if (need > bolt->child_room) {
		bolt->child_room = need * 2 < BBOLT_CHILDREN_MAX ? need * 2 : BBOLT_CHILDREN_MAX;
		bolt->children = xreallocarray(bolt->children, bolt->child_room, sizeof(*bolt->children));
	}
	for (unsigned i = 0; i < count; i++) {
		const uint8_t *element;
		int rc = look(bolt, at + HEADER_SIZE + (uint64_t)i * ELEMENT_SIZE, ELEMENT_SIZE, &element, err);
		if (rc < 0)
			return rc;
		bolt->children[bolt->child_count++] = number(element + 8, 8);
	}
	return 0;
}

/* A page at any place: inline ones are part of another. `room` are the bytes from `at` that may be its own. */
static int take_leaf(struct bbolt *bolt, uint64_t page, uint64_t at, uint64_t room, unsigned count, struct error **err)
{
	uint64_t elements = HEADER_SIZE + (uint64_t)count * ELEMENT_SIZE;
	if (elements > room)
		return bbolt_broken(err, page, "%u elements do not fit into it", count);
	bolt->leaf = (struct leaf){
		.page = page,
		.at = at,
		.end = at + room,
		.elements_end = at + elements,
		.left = count,
		.limit = at + room,
	};
	return 0;
}

static int visit(struct bbolt *bolt, uint64_t id, struct error **err)
{
	const uint8_t *header;
	if (id < FIRST_PAGE || id >= bolt->page_count)
		return bbolt_broken(err, id, "there is no such page, but another one names it");
	uint64_t at = id * bolt->page_size;
	int rc = look(bolt, at, HEADER_SIZE, &header, err);
	if (rc < 0)
		return rc;
	uint64_t own_id = number(header, 8), span = number(header + 12, 4) + 1, room = span * bolt->page_size;
	unsigned type = (unsigned)number(header + 8, 2), count = (unsigned)number(header + 10, 2);
	if (own_id != id)
		return bbolt_broken(err, id, "it says that it is page %" PRIu64, own_id);
	if (span > bolt->page_count - id)
		return bbolt_broken(err, id, "it goes on for %" PRIu64 " pages, beyond the end", span);
	if (span > bolt->visits_left)
		return bbolt_broken(err, id, "it is in the tree a second time, or others are");
	bolt->visits_left -= span;
	if (type == PAGE_LEAF) {
		/* Of a small one all at once; of one with large values the head alone. */
		rc = room <= LEAF_AT_ONCE ? look(bolt, at, (size_t)room, &header, err) : 0;
		return rc < 0 ? rc : take_leaf(bolt, id, at, room, count, err);
	}
	if (type != PAGE_BRANCH)
		return bbolt_broken(err, id, "it is neither a branch nor a leaf (type %u)", type);
	if (count == 0 || HEADER_SIZE + (uint64_t)count * ELEMENT_SIZE > room)
		return bbolt_broken(err, id, "%u elements in a branch of %" PRIu64 " bytes", count, room);
	return push_children(bolt, id, at, count, err);
}

/* ---- items ---- */

static int compare(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len)
{
	int order = memcmp(a, b, a_len < b_len ? a_len : b_len);
	return order != 0 ? order : (a_len > b_len) - (a_len < b_len);
}

/* Before the data of a small item in a large leaf is read: what is before it is wanted next, so that comes along. */
static int fill_back(struct bbolt *bolt, uint64_t at, uint64_t len, struct error **err)
{
	uint64_t end = at + len, least = bolt->leaf.elements_end;
	if (len >= bolt->window || holds(&bolt->pages, at, (size_t)len) || holds(&bolt->data, at, (size_t)len))
		return 0;
	uint64_t from = end - least > bolt->window ? end - bolt->window : least;
	return fill(bolt, &bolt->data, from, (size_t)(end - from), err);
}

static int take_key(struct bbolt *bolt, uint64_t at, size_t len, uint64_t with_value, struct error **err)
{
	const uint8_t *key;
	size_t there;
	int rc = fill_back(bolt, at, with_value, err);
	if (rc == 0)
		rc = look_at_data(bolt, at, len, with_value, &key, &there, err);
	if (rc < 0)
		return rc;
	if (bolt->have_key && compare(key, len, bolt->key, bolt->key_len) >= 0)
		return bbolt_broken(err, bolt->leaf.page, "its keys are not in order");
	memcpy(bolt->key, key, len);
	bolt->key_len = len;
	bolt->have_key = true;
	return 0;
}

static int take_item(struct bbolt *bolt, struct bbolt_item *ret, struct error **err)
{
	struct leaf *leaf = &bolt->leaf;
	const uint8_t *element;
	uint64_t at = leaf->at + HEADER_SIZE + (uint64_t)(leaf->left - 1) * ELEMENT_SIZE;
	int rc = look(bolt, at, ELEMENT_SIZE, &element, err);
	if (rc < 0)
		return rc;
	uint64_t flags = number(element, 4), key_at = at + number(element + 4, 4);
	uint64_t key_len = number(element + 8, 4), value_len = number(element + 12, 4);
	if (key_len == 0 || key_len > BBOLT_KEY_MAX)
		return bbolt_broken(err, leaf->page, "a key of %" PRIu64 " bytes", key_len);
	if (key_at < leaf->elements_end || key_at > leaf->limit || key_len + value_len > leaf->limit - key_at)
		return bbolt_broken(err, leaf->page, "element %u lies outside the page or over another one",
				    leaf->left - 1);
	leaf->left--;
	leaf->limit = key_at;
	rc = take_key(bolt, key_at, (size_t)key_len, key_len + value_len, err);
	if (rc < 0)
		return rc;
	bolt->value_at = key_at + key_len;
	bolt->value_left = value_len;
	*ret = (struct bbolt_item){
		.key = bolt->key,
		.key_len = bolt->key_len,
		.value_len = value_len,
		.page = leaf->page,
		.bucket = flags & ELEMENT_BUCKET,
	};
	return 1;
}

int bbolt_prev(struct bbolt *bolt, struct bbolt_item *ret, struct error **err)
{
	while (bolt->leaf.left == 0) {
		if (bolt->child_count == 0)
			return 0;
		int rc = visit(bolt, bolt->children[--bolt->child_count], err);
		if (rc < 0)
			return rc;
	}
	return take_item(bolt, ret, err);
}

int bbolt_value(struct bbolt *bolt, const uint8_t **ret, size_t *ret_len, struct error **err)
{
	if (bolt->value_left == 0)
		return 0;
	size_t len;
	int rc = look_at_data(bolt, bolt->value_at, 1, bolt->value_left, ret, &len, err);
	if (rc < 0)
		return rc;
	bolt->value_at += len;
	bolt->value_left -= len;
	*ret_len = len;
	return 1;
}

/* ---- buckets ---- */

static int enter_page(struct bbolt *bolt, uint64_t root, struct error **err)
{
	bolt->leaf.left = 0;
	bolt->child_count = 0;
	bolt->value_left = 0;
	bolt->have_key = false;
	bolt->visits_left = bolt->page_count;
	return visit(bolt, root, err);
}

/* A bucket so small that its only page lies in the value that names it. */
static int enter_inline(struct bbolt *bolt, const struct bbolt_item *item, uint64_t at, struct error **err)
{
	const uint8_t *header;
	size_t there;
	uint64_t room = item->value_len - BUCKET_SIZE;
	if (room < HEADER_SIZE)
		return bbolt_broken(err, item->page, "a bucket of %" PRIu64 " bytes", item->value_len);
	int rc = look_at_data(bolt, at, HEADER_SIZE, HEADER_SIZE, &header, &there, err);
	if (rc < 0)
		return rc;
	if (number(header + 8, 2) != PAGE_LEAF)
		return bbolt_broken(err, item->page, "a bucket in it is no leaf");
	bolt->child_count = 0;
	bolt->value_left = 0;
	bolt->have_key = false;
	return take_leaf(bolt, item->page, at, room, (unsigned)number(header + 10, 2), err);
}

static int enter_item(struct bbolt *bolt, const struct bbolt_item *item, struct error **err)
{
	const uint8_t *head;
	size_t there;
	if (item->value_len < BUCKET_SIZE)
		return bbolt_broken(err, item->page, "a bucket of %" PRIu64 " bytes", item->value_len);
	uint64_t at = bolt->value_at;
	int rc = look_at_data(bolt, at, BUCKET_SIZE, BUCKET_SIZE, &head, &there, err);
	if (rc < 0)
		return rc;
	uint64_t root = number(head, 8);
	return root == 0 ? enter_inline(bolt, item, at + BUCKET_SIZE, err) : enter_page(bolt, root, err);
}

int bbolt_enter(struct bbolt *bolt, const char *bucket, struct error **err)
{
	struct bbolt_item item;
	size_t len = strlen(bucket);
	int rc = enter_page(bolt, bolt->root, err);
	if (rc < 0)
		return rc;
	while ((rc = bbolt_prev(bolt, &item, err)) > 0) {
		if (item.bucket && item.key_len == len && memcmp(item.key, bucket, len) == 0)
			return enter_item(bolt, &item, err);
	}
	return rc < 0 ? rc
		      : error_set(err, ERROR_NOT_FOUND,
				  "it has no bucket \"%s\" and is no database of etcd; use another copy", bucket);
}
