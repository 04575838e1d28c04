#include "format/grpc_frame.h"

#include "base/alloc.h"

enum { FLAG_PLAIN = 0 };

static int head_done(struct grpc_frame_reader *reader)
{
	/* compression is never offered, so a compressed message is not ours to guess at */
	if (reader->head[0] != FLAG_PLAIN)
		return -ERROR_PROTOCOL;
	reader->left = (uint64_t)reader->head[1] << 24 | (uint64_t)reader->head[2] << 16 |
		       (uint64_t)reader->head[3] << 8 | reader->head[4];
	if (reader->left > reader->cap)
		return -ERROR_LIMIT;
	reader->complete = reader->left == 0;
	return 0;
}

int grpc_frame_feed(struct grpc_frame_reader *reader, const uint8_t *bytes, size_t len, grpc_message_fn on_message,
		    void *arg)
{
	for (size_t at = 0; at < len;) {
		if (reader->complete)
			return -ERROR_PROTOCOL;
		if (reader->head_len < sizeof(reader->head)) {
			reader->head[reader->head_len++] = bytes[at++];
			int rc = reader->head_len < sizeof(reader->head) ? 0 : head_done(reader);
			if (rc < 0)
				return rc;
			continue;
		}
		size_t piece = len - at < reader->left ? len - at : (size_t)reader->left;
		int rc = on_message(arg, bytes + at, piece);
		if (rc < 0)
			return rc;
		at += piece;
		reader->left -= piece;
		reader->complete = reader->left == 0;
	}
	return 0;
}

void grpc_frame_head(uint8_t ret[static 5], uint32_t len)
{
	ret[0] = FLAG_PLAIN;
	ret[1] = (uint8_t)(len >> 24);
	ret[2] = (uint8_t)(len >> 16);
	ret[3] = (uint8_t)(len >> 8);
	ret[4] = (uint8_t)len;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* The byte that the three characters stand for, or -1. %00 stays as it is: it would end the string early. */
static int escaped_byte(const char *text, size_t len)
{
	if (len < 3 || text[0] != '%')
		return -1;
	int high = hex_digit(text[1]), low = hex_digit(text[2]);
	if (high < 0 || low < 0 || (high | low) == 0)
		return -1;
	return high << 4 | low;
}

char *grpc_message_decode(const char *text, size_t len)
{
	char *ret = xmalloc(len + 1);
	size_t used = 0;
	for (size_t at = 0; at < len;) {
		int byte = escaped_byte(text + at, len - at);
		ret[used++] = byte < 0 ? text[at] : (char)byte;
		at += byte < 0 ? 1 : 3;
	}
	ret[used] = '\0';
	return ret;
}

const char *grpc_status_name(unsigned code)
{
	/* doc/statuscodes.md of grpc */
	static const char *const names[] = {
		"OK",        "CANCELLED",       "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
		"NOT_FOUND", "ALREADY_EXISTS",  "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
		"ABORTED",   "OUT_OF_RANGE",    "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
		"DATA_LOSS", "UNAUTHENTICATED",
	};
	return code < ELEMENTS(names) ? names[code] : NULL;
}
