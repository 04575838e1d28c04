/* For the tests of src/format: bytes written as hex or as text with their length. */
#pragma once
#include <string.h>
#include "base/secret.h"
#include "test_support.h"
#include "../fuzz/format_events.h"

struct bytes {
	const uint8_t *at;
	size_t len;
};
/* Of a string literal, without its NUL. */
#define BYTES(literal) ((struct bytes){(const uint8_t *)(literal), sizeof(literal) - 1})

static inline uint8_t *from_hex(const char *hex, size_t *ret_len)
{
	size_t len = strlen(hex) / 2;
	uint8_t *bytes = xmalloc(len);
	for (size_t i = 0; i < len; i++) {
		unsigned byte;
		assert_int_equal(sscanf(hex + 2 * i, "%2x", &byte), 1);
		bytes[i] = (uint8_t)byte;
	}
	*ret_len = len;
	return bytes;
}

static inline struct secret *secret_from_hex(const char *hex)
{
	size_t len;
	uint8_t *bytes = from_hex(hex, &len);
	struct secret *secret = secret_from(bytes, len);
	free(bytes);
	return secret;
}

/* The events for the whole input are these, and no cut changes them. */
static inline void assert_events(events_fn events, const uint8_t *bytes, size_t len, const char *expected)
{
	char *text = events_of(events, bytes, len, len);
	assert_string_equal(text, expected);
	free(text);
	must_not_depend_on_cuts(events, bytes, len);
}
