/* Protobuf wire format, incremental: bytes are pushed in any pieces, events come out; and a writer.
 * One reader for list pages, etcd answers, KMS and EncryptedObject alike.
 * Format: protobuf.dev "Encoding": tags (field << 3 | type), varints of at most 10 bytes, types 0, 1, 2, 5; groups are refused. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"

#define PB_DEPTH_MAX 16 /* nested messages entered; ours need 6 */

/* What the owner answers when a length-delimited field begins. */
enum pb_enter {
	PB_SKIP,    /* not interested: its bytes are dropped */
	PB_MESSAGE, /* a nested message: its fields come as events, then on_message_end */
	PB_BYTES,   /* bytes or string: on_bytes in pieces (none for an empty one), then on_bytes_end */
	PB_REFUSE,  /* too long for the owner: pb_feed returns -ERROR_LIMIT */
};

struct pb_handler {
	/* All get the owner's `arg`. `path` are the field numbers from the top message down to this field, `depth` how many
	 * (path[depth - 1] is the field itself). A negative return stops the parse and is handed back by pb_feed.
	 * A NULL callback drops its events; without on_field every length-delimited field is skipped. */
	enum pb_enter (*on_field)(void *arg, const uint32_t *path, unsigned depth, uint64_t len);
	int (*on_varint)(void *arg, const uint32_t *path, unsigned depth, uint64_t value); /* types 0, 1, 5 */
	int (*on_bytes)(void *arg, const uint32_t *path, unsigned depth, const uint8_t *bytes, size_t len);
	int (*on_bytes_end)(void *arg, const uint32_t *path, unsigned depth);
	int (*on_message_end)(void *arg, const uint32_t *path, unsigned depth);
};

struct pb_reader; /* opaque */
/* Copies the handler; `arg` must outlive the reader. */
struct pb_reader *pb_reader_new(const struct pb_handler *handler, void *arg);
void pb_reader_free(struct pb_reader *reader); /* NULL is fine */
void pb_reader_reset(struct pb_reader *reader);
/* 0, or -ERROR_PROTOCOL for bytes that are no protobuf, -ERROR_LIMIT past PB_DEPTH_MAX, or what a callback returned.
 * After an error every later call hands the same error back until reset. */
_must_check_ int pb_feed(struct pb_reader *reader, const uint8_t *bytes, size_t len);
/* 0 when the top message is complete here (all nested ones closed), else -ERROR_PROTOCOL: cut off. */
_must_check_ int pb_finish(const struct pb_reader *reader);

/* Writer: appends to a buf; 0 or -ERROR_LIMIT. Zero and empty values are written too (callers leave defaults out). */
_must_check_ int pb_write_varint_field(struct buf *out, uint32_t field, uint64_t value);
_must_check_ int pb_write_bytes_field(struct buf *out, uint32_t field, const void *bytes, size_t len);
/* The head of a length-delimited field: the caller appends `len` bytes itself. */
_must_check_ int pb_write_bytes_head(struct buf *out, uint32_t field, uint64_t len);
size_t pb_varint_size(uint64_t value);
size_t pb_put_varint(uint8_t ret[static 10], uint64_t value); /* bytes written */
