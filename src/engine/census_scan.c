/* The keyspaces, page by page at one revision. */
#include "engine/census_internal.h"

#include <inttypes.h>

#include "base/buf.h"
#include "base/clock.h"

#define PAGE_BYTES (16u << 20) /* aimed at */
#define PAGE_FIRST 500u        /* at least, before the values' size is known */
#define PAGE_MAX \
	10000u /* as kube-apiserver's own; etcd counts the rest of the range for each page, so small ones are slow */
#define PAGE_MIN 16u
#define PAGE_SHRINK 8u
#define PAGE_GROWTH 4u
#define KV_OVERHEAD 40u              /* of a KeyValue besides key and value, about */
#define PAGE_TRIES 4                 /* a page that broke off goes on behind its last key */
#define PAGE_PAUSE (250 * NS_PER_MS) /* doubled each time */

/* One range of one etcd. */
struct range {
	struct census_scan *scan;
	struct etcd *etcd;
	size_t index;                  /* of the etcd */
	const struct map_entry *only;  /* NULL: the whole keyspace */
	const struct map_entry *cache; /* the entry of the key before */
	struct buf next;               /* where the next page begins */
	struct buf end;
	uint64_t revision;
	uint64_t seen, expected; /* keys; expected only when counted */
	bool counted;
	uint64_t page_keys, page_bytes;
	uint64_t limit;
	bool broken; /* a key that cannot be where it was sent */
	bool asks;   /* the page ends here for now: a plugin is asked first */
	bool asked;  /* one was, lately: pages grow again */
};

static void range_clear(struct range *range)
{
	buf_free(&range->next);
	buf_free(&range->end);
}

static void set_bytes(struct buf *buf, const void *bytes, size_t len)
{
	buf_reset(buf);
	if (buf_append(buf, bytes, len) < 0)
		abort(); /* a key, and those have a cap */
}

static int compare(const void *a, size_t a_len, const void *b, size_t b_len)
{
	size_t len = a_len < b_len ? a_len : b_len;
	int order = memcmp(a, b, len);
	return order != 0 ? order : (a_len > b_len) - (a_len < b_len);
}

/* What follows a key: itself and a zero byte. Of one that is too long only the beginning is known. */
static void go_behind(struct range *range, const struct etcd_kv *kv)
{
	if (kv->key_len < ETCD_KEY_MAX) {
		set_bytes(&range->next, kv->key, kv->key_len + 1); /* the NUL behind it */
		return;
	}
	uint8_t *end = xmalloc(kv->key_len + 1);
	set_bytes(&range->next, end, etcd_prefix_end(kv->key, kv->key_len, end));
	free(end);
	census_doubt(range->scan->census, "etcd holds a key of more than %u bytes: %.60s...", ETCD_KEY_MAX, kv->key);
}

static bool in_range(const struct range *range, const struct etcd_kv *kv)
{
	bool endless = range->end.len == 1 && range->end.data[0] == '\0';
	return compare(kv->key, kv->key_len, range->next.data, range->next.len) >= 0 &&
	       (endless || compare(kv->key, kv->key_len, range->end.data, range->end.len) < 0);
}

static int on_value(void *arg, const struct etcd_kv *kv)
{
	struct range *range = arg;
	struct census_scan *scan = range->scan;
	if (!in_range(range, kv)) {
		range->broken = true;
		return -ERROR_PROTOCOL;
	}
	int rc = census_scan_value(scan, range->index, range->only, &range->cache, kv);
	if (rc < 0) {
		range->asks = true;
		return rc;
	}
	go_behind(range, kv);
	range->seen++;
	range->page_keys++;
	range->page_bytes += kv->key_len + kv->value_size + KV_OVERHEAD;
	return 0;
}

/* How many values of `bytes` in all for `keys` of them make a page. */
static uint64_t page_limit(uint64_t keys, uint64_t bytes, uint64_t least)
{
	uint64_t limit = keys > 0 ? PAGE_BYTES / (bytes / keys + 1) : least;
	return limit < least ? least : limit > PAGE_MAX ? PAGE_MAX : limit;
}

/* A value is rarely larger than its share of what etcd's file has in use, history and all. */
static uint64_t first_limit(const struct range *range)
{
	const struct resource_map *map = &range->scan->census->map;
	uint64_t objects = 0, in_use = 0;
	for (size_t i = 0; i < map->count; i++)
		objects += map->entries[i].etcd == range->index ? map->entries[i].objects : 0;
	for (size_t i = 0; i < etcd_member_count(range->etcd); i++) {
		uint64_t bytes = etcd_member(range->etcd, i)->db_size_in_use;
		in_use = bytes > in_use ? bytes : in_use;
	}
	return page_limit(in_use > 0 ? objects : 0, in_use, PAGE_FIRST);
}

/* etcd makes a page ready as a whole, and of one that ends where a plugin is asked the rest is for nothing. */
static uint64_t limit_behind_ask(const struct range *range)
{
	uint64_t limit = 2 * range->page_keys < range->limit ? 2 * range->page_keys : range->limit;
	return limit > PAGE_MIN ? limit : PAGE_MIN;
}

static uint64_t next_limit(struct range *range)
{
	uint64_t limit = page_limit(range->page_keys, range->page_bytes, PAGE_MIN);
	range->asked = range->asked && PAGE_GROWTH * range->limit < limit;
	return range->asked ? PAGE_GROWTH * range->limit : limit;
}

static void show_progress(const struct census_scan *scan)
{
	const struct census_options *options = scan->options;
	if (options->on_progress)
		options->on_progress(options->arg, scan->census->values, scan->total);
}

static void take_count(struct range *range, uint64_t rest)
{
	range->scan->total += range->seen + rest - range->expected;
	range->expected = range->seen + rest;
	range->counted = true;
}

/* The first answer of an etcd says at which revision all of it is read. */
static void take_revision(struct range *range, const struct etcd_header *header)
{
	struct census_etcd *etcd = &range->scan->census->etcds[range->index];
	etcd->raft_term = header->raft_term;
	if (range->revision > 0)
		return;
	range->revision = etcd->first_revision = etcd->revision = header->revision;
	census_counts_start(range->scan, range->index);
}

/* The revision went away in the middle. What was read stands: only a caller who knows that nothing old is written
 * any more
 * may mix two revisions. */
static int go_on_at_newer(struct range *range, struct error **err)
{
	struct census *census = range->scan->census;
	uint64_t before = range->revision;
	struct etcd_range_result result = {0};
	const struct etcd_range_options options = {
		.request = {.key = range->next.data,
			    .key_len = range->next.len,
			    .range_end = range->end.data,
			    .range_end_len = range->end.len,
			    .count_only = true},
		.member = -1,
	};
	int rc = etcd_range_fetch(range->etcd, &options, &result, err);
	if (rc < 0)
		return rc;
	take_count(range, result.count);
	range->revision = census->etcds[range->index].revision = result.header.revision;
	census->etcds[range->index].raft_term = result.header.raft_term;
	census_note(census, "revision %" PRIu64 " of %s was compacted in the middle: read on at %" PRIu64, before,
		    etcd_label(range->etcd), range->revision);
	return 0;
}

static int fetch_page(struct range *range, bool *ret_more, struct error **err)
{
	struct etcd_range_result result = {0};
	/* A copy: the request is sent while `next` moves on. */
	_cleanup_free_ uint8_t *key = xmemdup(range->next.data, range->next.len);
	const struct etcd_range_options options = {
		.request = {.key = key,
			    .key_len = range->next.len,
			    .range_end = range->end.data,
			    .range_end_len = range->end.len,
			    .limit = range->limit,
			    .revision = range->revision},
		.member = -1,
		.keep_values = range->scan->options->open_with != NULL,
		.on_kv = on_value,
		.arg = range,
	};
	uint64_t before = range->seen;
	range->page_keys = range->page_bytes = 0;
	int rc = etcd_range_fetch(range->etcd, &options, &result, err);
	if (rc == 0 || range->page_keys > 0)
		take_revision(range, &result.header);
	if (rc == 0 && !range->counted)
		take_count(range, before + result.count - range->seen);
	if (range->broken)
		return error_wrap(err, rc < 0 ? rc : -ERROR_PROTOCOL, "%s sent keys that were not asked for",
				  etcd_label(range->etcd));
	if (rc == 0)
		*ret_more = result.more;
	return rc;
}

static bool may_pass(int rc)
{
	return rc == -ERROR_NETWORK || rc == -ERROR_BUSY;
}

/* A page, tried again where it broke off; whole values that had arrived by then are counted. */
static int read_page(struct range *range, bool *ret_more, struct error **err)
{
	uint64_t pause = PAGE_PAUSE;
	for (int attempt = 1;; attempt++, pause *= 2) {
		_cleanup_error_ failed = NULL;
		range->asks = false;
		int rc = fetch_page(range, ret_more, &failed);
		if (range->asks) {
			rc = kms_opener_ask(range->scan->opener, err);
			if (rc < 0)
				return rc;
			if (range->scan->options->calls)
				*range->scan->options->calls = kms_opener_calls(range->scan->opener);
			range->asked = true;
			range->limit = limit_behind_ask(range);
			attempt = 0;
			pause = PAGE_PAUSE / 2;
			continue;
		}
		if (rc == 0) {
			if (range->page_keys > 0)
				range->limit = next_limit(range);
			show_progress(range->scan);
			return 0;
		}
		if (range->page_keys > 0)
			attempt = 1;
		else if (range->limit > PAGE_MIN) /* perhaps more than etcd can send at once */
			range->limit = range->limit / PAGE_SHRINK > PAGE_MIN ? range->limit / PAGE_SHRINK : PAGE_MIN;
		if (rc == -ERROR_EXPIRED && range->scan->options->go_on_when_compacted) {
			rc = go_on_at_newer(range, err);
		} else if (may_pass(rc) && attempt < PAGE_TRIES) {
			rc = loop_pause(range->scan->options->loop, pause, err);
		} else if (err) {
			*err = steal(failed);
		}
		if (rc < 0)
			return rc;
	}
}

static int read_range(struct range *range, struct error **err)
{
	struct census *census = range->scan->census;
	bool more = true;
	range->revision = census->etcds[range->index].revision;
	while (more) {
		int rc = read_page(range, &more, err);
		if (rc < 0)
			return rc;
		if (more && range->page_keys == 0)
			return error_set(err, ERROR_PROTOCOL, "%s says that there are more keys and sends none",
					 etcd_label(range->etcd));
	}
	if (range->seen != range->expected)
		census_doubt(census, "%s counted %" PRIu64 " keys and sent %" PRIu64, etcd_label(range->etcd),
			     range->expected, range->seen);
	return 0;
}

/* From `start` to `end`, cut at the bounds between the two. */
static int read_between(struct range *range, const void *start, size_t start_len, const void *end, size_t end_len,
			const struct strings *bounds, struct error **err)
{
	bool endless = end_len == 1 && *(const char *)end == '\0';
	int rc = 0;
	set_bytes(&range->end, start, start_len);
	for (size_t i = 0; rc == 0 && i <= bounds->count; i++) {
		bool last = i == bounds->count;
		const void *to = last ? end : bounds->items[i];
		size_t to_len = last ? end_len : strlen(bounds->items[i]);
		bool beyond = !last && !endless && compare(to, to_len, end, end_len) >= 0;
		if (beyond || (!last && compare(to, to_len, range->end.data, range->end.len) <= 0))
			continue;
		/* The next range begins where the one before ended. */
		set_bytes(&range->next, range->end.data, range->end.len);
		set_bytes(&range->end, to, to_len);
		range->seen = range->expected = 0;
		range->counted = false;
		rc = read_range(range, err);
	}
	return rc;
}

static int scan_range(struct census_scan *scan, size_t index, const struct map_entry *only, struct error **err)
{
	_cleanup_(range_clear) struct range range = {
		.scan = scan,
		.etcd = scan->options->etcds[index],
		.index = index,
		.only = only,
		.next = BUF_INIT(ETCD_KEY_MAX + 1),
		.end = BUF_INIT(ETCD_KEY_MAX + 1),
	};
	_cleanup_strings_ bounds = {0};
	census_bounds(scan, index, only, &bounds);
	range.limit = first_limit(&range);
	if (!only)
		return read_between(&range, "", 1, "", 1, &bounds, err);
	size_t len = strlen(only->prefix);
	_cleanup_free_ uint8_t *end = xmalloc(len + 1);
	return read_between(&range, only->prefix, len, end, etcd_prefix_end(only->prefix, len, end), &bounds, err);
}

int census_scan_all(struct census_scan *scan, struct error **err)
{
	const struct resource_map *map = &scan->census->map;
	int rc = 0;
	for (size_t etcd = 0; rc == 0 && etcd < scan->options->etcd_count; etcd++) {
		if (scan->options->whole_keyspace) {
			rc = scan_range(scan, etcd, NULL, err);
			continue;
		}
		for (size_t i = 0; rc == 0 && i < map->count; i++) {
			if (map->entries[i].etcd == etcd && scan->counted[i] != SIZE_MAX)
				rc = scan_range(scan, etcd, &map->entries[i], err);
		}
	}
	return rc;
}
