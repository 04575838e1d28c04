/* Kubernetes' protobuf, written by hand: objects, lists and a Status as an API server sends them. */
#pragma once
#include "test_support.h"
#include "base/buf.h"
#include "format/pbwire.h"

#define BYTES_CAP (1u << 20)

static inline void put_bytes(struct buf *to, uint32_t field, const struct buf *from)
{
	assert_int_equal(pb_write_bytes_field(to, field, from->data ? from->data : (const uint8_t *)"", from->len), 0);
}

static inline void put_text(struct buf *to, uint32_t field, const char *text)
{
	assert_int_equal(pb_write_bytes_field(to, field, text, strlen(text)), 0);
}

/* {1 ObjectMeta, 2 data}; a caller's buf. */
static inline struct buf object_bytes(const char *namespace_, const char *name, const char *uid, const char *version,
				      const char *data)
{
	_cleanup_buf_ meta = BUF_INIT(BYTES_CAP);
	struct buf object = BUF_INIT(BYTES_CAP);

	put_text(&meta, 1, name);
	put_text(&meta, 3, namespace_);
	put_text(&meta, 5, uid);
	put_text(&meta, 6, version);
	put_bytes(&object, 1, &meta);
	if (data != NULL)
		put_text(&object, 2, data);
	return object;
}

/* "k8s\0" and Unknown{typeMeta, raw}. Takes `raw`. */
static inline struct buf envelope(const char *api_version, const char *kind, struct buf raw)
{
	_cleanup_buf_ type = BUF_INIT(BYTES_CAP);
	struct buf whole = BUF_INIT(2 * BYTES_CAP);

	put_text(&type, 1, api_version);
	put_text(&type, 2, kind);
	assert_int_equal(buf_append(&whole, "k8s", 4), 0);
	put_bytes(&whole, 1, &type);
	put_bytes(&whole, 2, &raw);
	put_text(&whole, 3, "");
	put_text(&whole, 4, "");
	buf_free(&raw);
	return whole;
}

static inline struct buf status_bytes(const char *reason, const char *message, const char *continue_token,
				      uint64_t retry_after)
{
	_cleanup_buf_ meta = BUF_INIT(BYTES_CAP), details = BUF_INIT(BYTES_CAP);
	struct buf raw = BUF_INIT(BYTES_CAP);

	put_text(&meta, 2, "");
	put_text(&meta, 3, continue_token);
	put_bytes(&raw, 1, &meta);
	put_text(&raw, 2, "Failure");
	put_text(&raw, 3, message);
	put_text(&raw, 4, reason);
	assert_int_equal(pb_write_varint_field(&details, 5, retry_after), 0);
	put_bytes(&raw, 5, &details);
	return envelope("v1", "Status", raw);
}

/* `items` are NAME; all in namespace "team-a" with uid "u-NAME", version "7". */
static inline struct buf list_bytes(const char *kind, const char *const *items, size_t count,
				    const char *continue_token, const char *data)
{
	_cleanup_buf_ meta = BUF_INIT(BYTES_CAP);
	struct buf list = BUF_INIT(BYTES_CAP);

	put_text(&meta, 2, "4711");
	put_text(&meta, 3, continue_token);
	assert_int_equal(pb_write_varint_field(&meta, 4, 12), 0);
	put_bytes(&list, 1, &meta);
	for (size_t i = 0; i < count; i++) {
		_cleanup_free_ char *uid = xasprintf("u-%s", items[i]);
		_cleanup_buf_ object = object_bytes("team-a", items[i], uid, "7", data);

		put_bytes(&list, 2, &object);
	}
	return envelope("v1", kind, list);
}
