#include "base/buf.h"
#include "base/error.h"
#include <assert.h>
#include <stdio.h>

#define BUF_FIRST_SIZE 64

/* Makes room for `more` bytes and the NUL behind them. */
static int reserve(struct buf *buf, size_t more)
{
	/* One less than SIZE_MAX, so that counting the NUL cannot overflow. */
	size_t cap = buf->cap < SIZE_MAX - 1 ? buf->cap : SIZE_MAX - 1;
	if (buf->len > cap || more > cap - buf->len)
		return -ERROR_LIMIT;
	size_t need = buf->len + more + 1;
	if (need <= buf->size)
		return 0;
	size_t size = buf->size ? buf->size : BUF_FIRST_SIZE;
	while (size < need)
		size = size > SIZE_MAX / 2 ? need : size * 2;
	if (size > cap + 1)
		size = cap + 1;
	buf->data = xreallocarray(buf->data, size, 1);
	buf->size = size;
	return 0;
}

int buf_append(struct buf *buf, const void *bytes, size_t len)
{
	if (len == 0)
		return 0;
	int rc = reserve(buf, len);
	if (rc < 0)
		return rc;
	memcpy(buf->data + buf->len, bytes, len);
	buf->len += len;
	buf->data[buf->len] = '\0';
	return 0;
}

int buf_append_text(struct buf *buf, const char *text)
{
	return buf_append(buf, text, strlen(text));
}

int buf_append_format(struct buf *buf, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	_cleanup_free_ char *text = xvasprintf(fmt, args);
	va_end(args);
	return buf_append_text(buf, text);
}

void buf_consume(struct buf *buf, size_t len)
{
	assert(len <= buf->len);
	if (len == 0)
		return;
	buf->len -= len;
	memmove(buf->data, buf->data + len, buf->len + 1);
}

void buf_reset(struct buf *buf)
{
	buf->len = 0;
	if (buf->data)
		buf->data[0] = '\0';
}

const char *buf_text(const struct buf *buf)
{
	return buf->data ? (const char *)buf->data : "";
}

char *buf_steal_text(struct buf *buf)
{
	char *text = buf->data ? (char *)steal(buf->data) : xstrdup("");
	buf_free(buf);
	return text;
}

void buf_free(struct buf *buf)
{
	free(buf->data);
	*buf = BUF_INIT(buf->cap);
}
