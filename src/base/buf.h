/* A growing byte buffer with a cap that its owner must name. For bytes that are not secret; see secret.h. */
#pragma once
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include "base/alloc.h"

struct buf {
	uint8_t *data; /* NULL until the first byte; from then on a NUL stands behind the last byte */
	size_t len;
	size_t size; /* allocated */
	size_t cap;  /* most bytes that len may reach */
};
#define BUF_INIT(cap_) ((struct buf){.cap = (cap_)})

/* Each returns 0, or -ERROR_LIMIT (error.h) with the buffer unchanged when len would pass cap. */
_must_check_ int buf_append(struct buf *buf, const void *bytes, size_t len);
_must_check_ int buf_append_text(struct buf *buf, const char *text);
_must_check_ int buf_append_format(struct buf *buf, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Removes the first `len` bytes (len <= buf->len). */
void buf_consume(struct buf *buf, size_t len);
void buf_reset(struct buf *buf);             /* len = 0, keeps the memory */
const char *buf_text(const struct buf *buf); /* "" while empty; valid until the next change */
char *buf_steal_text(struct buf *buf);       /* the caller frees; the buffer is empty afterwards */
void buf_free(struct buf *buf);              /* leaves an empty buffer with the same cap */
#define _cleanup_buf_ _cleanup_(buf_free) struct buf
