/* What the push parsers of src/format say of some bytes, as text: runs that differ only in how the bytes were cut into
 * pieces must say the same. Shared by the unit tests and the fuzz targets. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/alloc.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/secret.h"
#include "format/etcd_range.h"
#include "format/grpc_frame.h"
#include "format/kube_list.h"
#include "format/pbwire.h"
#include "format/prometheus.h"
#include "kube-rekey/etcd_value.h"

#define LOG_MAX (256u << 20)

#define must(condition)                                                                         \
	do {                                                                                    \
		if (!(condition)) {                                                             \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
			abort();                                                                \
		}                                                                               \
	} while (0)

#define say(log, ...) must(buf_append_format(log, __VA_ARGS__) == 0)

static inline void say_bytes(struct buf *log, const void *bytes, size_t len)
{
	const uint8_t *at = bytes;
	for (size_t i = 0; i < len; i++) {
		static const char digits[] = "0123456789abcdef";
		const char hex[2] = {digits[at[i] >> 4], digits[at[i] & 15]};
		must(buf_append(log, hex, 2) == 0);
	}
}

/* The input in pieces: `cut` bytes and then the rest, or one byte at a time. Each is an allocation of its own, so that a
 * sanitizer sees a read one past its end, and a pointer kept beyond the call. */
#define ONE_BYTE SIZE_MAX
struct pieces {
	const uint8_t *at;
	size_t left, cut;
	uint8_t *piece;
	size_t len;
};

static inline bool next_piece(struct pieces *pieces)
{
	free(pieces->piece);
	pieces->piece = NULL;
	if (pieces->left == 0)
		return false;
	pieces->len = pieces->cut == ONE_BYTE ? 1 : pieces->cut < pieces->left ? pieces->cut : pieces->left;
	if (pieces->len == 0)
		pieces->len = pieces->left;
	pieces->piece = xmemdup(pieces->at, pieces->len);
	pieces->at += pieces->len;
	pieces->left -= pieces->len;
	if (pieces->cut != ONE_BYTE)
		pieces->cut = pieces->left;
	return true;
}

typedef void (*events_fn)(struct buf *log, const uint8_t *bytes, size_t len, size_t cut);

/* The text for this cut; the caller frees. */
static inline char *events_of(events_fn events, const uint8_t *bytes, size_t len, size_t cut)
{
	struct buf log = BUF_INIT(LOG_MAX);
	must(buf_append(&log, "", 0) == 0);
	events(&log, bytes, len, cut);
	char *text = log.len ? buf_steal_text(&log) : xstrdup("");
	buf_free(&log);
	return text;
}

static inline void must_say(events_fn events, const uint8_t *bytes, size_t len, size_t cut, const char *whole)
{
	char *text = events_of(events, bytes, len, cut);
	if (strcmp(text, whole) != 0) {
		fprintf(stderr, "cut at %zd of %zu:\n%s\nwhole:\n%s\n", (ssize_t)cut, len, text, whole);
		abort();
	}
	free(text);
}

/* Every cut into two, and one byte at a time, says what the whole says. */
static inline void must_not_depend_on_cuts(events_fn events, const uint8_t *bytes, size_t len)
{
	char *whole = events_of(events, bytes, len, len);
	for (size_t cut = 1; cut < len; cut++)
		must_say(events, bytes, len, cut, whole);
	must_say(events, bytes, len, ONE_BYTE, whole);
	free(whole);
}

/* For fuzzing: a few cuts, taken from the input itself. */
static inline void must_not_depend_on_some_cuts(events_fn events, const uint8_t *bytes, size_t len)
{
	char *whole = events_of(events, bytes, len, len);
	size_t seed = len;
	for (size_t i = 0; i < 3 && len > 1; i++) {
		seed = seed * 31 + bytes[(seed + i) % len];
		must_say(events, bytes, len, 1 + seed % (len - 1), whole);
	}
	must_say(events, bytes, len, ONE_BYTE, whole);
	free(whole);
}

/* ---- protobuf: what is entered depends on the field number, so that an input can reach all of it ---- */

static inline void say_path(struct buf *log, const uint32_t *path, unsigned depth)
{
	for (unsigned i = 0; i < depth; i++)
		say(log, "%s%u", i ? "." : "", path[i]);
}

static inline enum pb_enter pb_say_field(void *arg, const uint32_t *path, unsigned depth, uint64_t len)
{
	static const enum pb_enter by_field[] = {PB_BYTES, PB_MESSAGE, PB_MESSAGE, PB_SKIP};
	say_path(arg, path, depth);
	say(arg, "[%llu] ", (unsigned long long)len);
	return path[depth - 1] == 99 ? PB_REFUSE : by_field[path[depth - 1] % 4];
}

static inline int pb_say_varint(void *arg, const uint32_t *path, unsigned depth, uint64_t value)
{
	say_path(arg, path, depth);
	say(arg, "=%llu ", (unsigned long long)value);
	return path[depth - 1] == 98 ? -ERROR_FINDING : 0;
}

static inline int pb_say_bytes(void *arg, const uint32_t *path, unsigned depth, const uint8_t *bytes, size_t len)
{
	(void)path;
	(void)depth;
	must(len > 0);
	say_bytes(arg, bytes, len);
	return 0;
}

static inline int pb_say_bytes_end(void *arg, const uint32_t *path, unsigned depth)
{
	say(arg, "/");
	say_path(arg, path, depth);
	say(arg, " ");
	return 0;
}

static inline int pb_say_message_end(void *arg, const uint32_t *path, unsigned depth)
{
	say(arg, "}");
	say_path(arg, path, depth);
	say(arg, " ");
	return 0;
}

static const struct pb_handler pb_say = {pb_say_field, pb_say_varint, pb_say_bytes, pb_say_bytes_end,
					 pb_say_message_end};

static inline void pb_events(struct buf *log, const uint8_t *bytes, size_t len, size_t cut)
{
	struct pieces pieces = {.at = bytes, .left = len, .cut = cut};
	struct pb_reader *reader = pb_reader_new(&pb_say, log);
	int rc = 0;
	while (next_piece(&pieces)) {
		int before = rc;
		rc = pb_feed(reader, pieces.piece, pieces.len);
		must(before == 0 || rc == before); /* an error stays */
	}
	say(log, "feed %d finish %d", rc, pb_finish(reader));
	pb_reader_free(reader);
}

/* ---- gRPC ---- */

static inline int grpc_say(void *arg, const uint8_t *bytes, size_t len)
{
	must(len > 0);
	say_bytes(arg, bytes, len);
	return len && bytes[len - 1] == 0xee ? -ERROR_FINDING : 0;
}

static inline void grpc_events(struct buf *log, const uint8_t *bytes, size_t len, size_t cut)
{
	struct pieces pieces = {.at = bytes, .left = len, .cut = cut};
	struct grpc_frame_reader reader = {.cap = 4096};
	int rc = 0;
	while (next_piece(&pieces))
		if (rc == 0)
			rc = grpc_frame_feed(&reader, pieces.piece, pieces.len, grpc_say, log);
	if (rc != -ERROR_FINDING) /* where the callback stops it depends on the pieces that it gets */
		say(log, " feed %d complete %d", rc, reader.complete);
}

/* ---- Kubernetes lists ---- */

#define LIST_ITEM_CAP 65536u

static inline int list_say_size(void *arg, uint64_t size)
{
	say(arg, "(%llu) ", (unsigned long long)size);
	return size == 4242 ? -ERROR_BUSY : 0;
}

static inline int list_say_item(void *arg, struct kube_list_item *item)
{
	must(!item->object || secret_len(item->object) == item->size);
	say(arg, "%s/%s %s@%s%s %llu ", item->namespace_, item->name, item->uid, item->resource_version,
	    item->deleting ? " deleting" : "", (unsigned long long)item->size);
	if (item->object)
		say_bytes(arg, secret_data(item->object), secret_len(item->object));
	if (item->size % 2) { /* one that is taken, one that is left */
		secret_free(item->object);
		item->object = NULL;
	}
	say(arg, "\n");
	return strcmp(item->name, "stop") == 0 ? -ERROR_FINDING : 0;
}

static inline void list_events_in(struct buf *log, const uint8_t *bytes, size_t len, size_t cut, bool keep)
{
	static const struct kube_list_handler handler = {list_say_size, list_say_item};
	struct pieces pieces = {.at = bytes, .left = len, .cut = cut};
	struct kube_list_reader *reader = kube_list_reader_new(&handler, log, keep, LIST_ITEM_CAP);
	int rc = 0;
	while (next_piece(&pieces)) {
		int before = rc;
		rc = kube_list_feed(reader, pieces.piece, pieces.len);
		must(before == 0 || rc == before);
	}
	int finish = kube_list_finish(reader);
	must(rc == 0 || finish == rc);
	say(log, "feed %d finish %d", rc, finish);
	if (finish == 0)
		say(log, " %s %s @%s continue '%s' remaining %llu", kube_list_api_version(reader),
		    kube_list_kind(reader), kube_list_resource_version(reader), kube_list_continue(reader),
		    (unsigned long long)kube_list_remaining(reader));
	kube_list_reader_free(reader);
}

static inline void list_events(struct buf *log, const uint8_t *bytes, size_t len, size_t cut)
{
	list_events_in(log, bytes, len, cut, true);
}

static inline void list_meta_events(struct buf *log, const uint8_t *bytes, size_t len, size_t cut)
{
	list_events_in(log, bytes, len, cut, false);
}

/* ---- etcd ---- */

static inline void say_info(struct buf *log, const struct etcd_value_info *info)
{
	static const char *const states[] = {"known", "unknown", "truncated"};
	static const char *const providers[] = {"identity", "aescbc", "aesgcm", "secretbox", "kms"};
	say(log, "%s %s", states[info->state], providers[info->provider]);
	if (info->kms_version)
		say(log, " v%u", info->kms_version);
	if (info->name[0])
		say(log, " name %s", info->name);
	if (info->key_id[0])
		say(log, " id %s", info->key_id);
	if (info->dek_source[0])
		say(log, " dek %s", info->dek_source);
	if (info->annotations[0])
		say(log, " annotations %s", info->annotations);
}

static inline void value_events(struct buf *log, const uint8_t *bytes, size_t len, size_t cut)
{
	struct pieces pieces = {.at = bytes, .left = len, .cut = cut};
	struct etcd_value_reader *reader = etcd_value_reader_new();
	/* what was read before must not matter */
	static const uint8_t before[] = "k8s:enc:kms:v2:other:\x12\x03old\x1a\x03old";
	etcd_value_reader_feed(reader, before, sizeof(before) - 1);
	etcd_value_reader_start(reader);
	while (next_piece(&pieces))
		etcd_value_reader_feed(reader, pieces.piece, pieces.len);
	say_info(log, etcd_value_reader_end(reader));
	etcd_value_reader_free(reader);
}

static inline int range_say_kv(void *arg, const struct etcd_kv *kv)
{
	must(kv->key[kv->key_len] == '\0');
	must(!kv->value || kv->value_len == kv->value_size);
	say_bytes(arg, kv->key, kv->key_len);
	say(arg, " @%llu/%llu %llu ", (unsigned long long)kv->create_revision, (unsigned long long)kv->mod_revision,
	    (unsigned long long)kv->value_size);
	say_info(arg, kv->info);
	say(arg, " ");
	say_bytes(arg, kv->value, kv->value_len);
	say(arg, "\n");
	return strcmp(kv->key, "stop") == 0 ? -ERROR_FINDING : 0;
}

static inline void range_events_in(struct buf *log, const uint8_t *bytes, size_t len, size_t cut, bool keep)
{
	struct pieces pieces = {.at = bytes, .left = len, .cut = cut};
	struct etcd_range_reader *reader = etcd_range_reader_new(range_say_kv, log, keep);
	int rc = 0;
	while (next_piece(&pieces))
		rc = etcd_range_feed(reader, pieces.piece, pieces.len);
	const struct etcd_header *header = etcd_range_header(reader);
	say(log, "feed %d finish %d", rc, etcd_range_finish(reader));
	say(log, " cluster %llx member %llx revision %llu term %llu more %d count %llu",
	    (unsigned long long)header->cluster_id, (unsigned long long)header->member_id,
	    (unsigned long long)header->revision, (unsigned long long)header->raft_term, etcd_range_more(reader),
	    (unsigned long long)etcd_range_count(reader));
	etcd_range_reader_free(reader);
}

static inline void range_events(struct buf *log, const uint8_t *bytes, size_t len, size_t cut)
{
	range_events_in(log, bytes, len, cut, true);
}

static inline void range_unkept_events(struct buf *log, const uint8_t *bytes, size_t len, size_t cut)
{
	range_events_in(log, bytes, len, cut, false);
}

/* ---- Prometheus ---- */

static const char *const prometheus_names[] = {"up", "a:b_1", "process_start_time_seconds", NULL};

/* A sample as the format writes it. */
static inline void write_sample(struct buf *out, const struct prometheus_sample *sample)
{
	say(out, "%s{", sample->name);
	for (size_t i = 0; i < sample->label_count; i++) {
		say(out, "%s%s=\"", i ? "," : "", sample->labels[i].name);
		for (const char *at = sample->labels[i].value; *at; at++) {
			const char escape = *at == '\n' ? 'n' : *at;
			if (*at == '\n' || *at == '"' || *at == '\\')
				say(out, "\\");
			must(buf_append(out, &escape, 1) == 0);
		}
		say(out, "\"");
	}
	if (sample->value != sample->value)
		say(out, "} NaN\n");
	else if (__builtin_isinf(sample->value))
		say(out, "} %cInf\n", sample->value > 0 ? '+' : '-');
	else
		say(out, "} %.17g\n", sample->value);
}

static inline void prometheus_events(struct buf *log, const uint8_t *bytes, size_t len, size_t cut)
{
	struct pieces pieces = {.at = bytes, .left = len, .cut = cut};
	struct prometheus_reader *reader = prometheus_reader_new(prometheus_names);
	struct error *err = NULL;
	int rc = 0;
	while (next_piece(&pieces)) {
		int before = rc;
		rc = prometheus_feed(reader, (const char *)pieces.piece, pieces.len, before == 0 ? &err : NULL);
		must(before == 0 || rc == before);
	}
	for (size_t i = 0; i < prometheus_count(reader); i++)
		write_sample(log, prometheus_at(reader, i));
	if (rc == 0)
		rc = prometheus_finish(reader, &err);
	say(log, "%s%d %s", prometheus_contradictory(reader) ? "contradictory " : "", rc, error_message(err));
	error_free(err);
	prometheus_reader_free(reader);
}
