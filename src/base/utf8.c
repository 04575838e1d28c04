#include "base/utf8.h"

#include <string.h>

/* The length that a first byte announces, and the bits of the code point in it. */
static size_t announced(uint8_t first, uint32_t *ret_bits)
{
	if (first < 0x80) {
		*ret_bits = first;
		return 1;
	}
	if ((first & 0xe0) == 0xc0) {
		*ret_bits = first & 0x1f;
		return 2;
	}
	if ((first & 0xf0) == 0xe0) {
		*ret_bits = first & 0x0f;
		return 3;
	}
	*ret_bits = first & 0x07;
	return (first & 0xf8) == 0xf0 ? 4 : 0;
}

size_t utf8_next(const char *text, size_t len, uint32_t *ret_point)
{
	static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
	uint32_t point;
	size_t size = announced((uint8_t)text[0], &point);
	if (size == 0 || size > len)
		return 0;
	for (size_t i = 1; i < size; i++) {
		uint8_t byte = (uint8_t)text[i];
		if ((byte & 0xc0) != 0x80)
			return 0;
		point = point << 6 | (byte & 0x3f);
	}
	if (point < smallest[size] || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff))
		return 0;
	*ret_point = point;
	return size;
}

size_t utf8_prefix(const char *text, size_t most)
{
	size_t at = 0, len = strlen(text);
	for (; at < len && most > 0; most--) {
		uint32_t point;
		size_t size = utf8_next(text + at, len - at, &point);
		at += size ? size : 1;
	}
	return at;
}

bool utf8_is_steering(uint32_t point)
{
	return point < 0x20 || (point >= 0x7f && point < 0xa0) || point == 0x200e || point == 0x200f ||
	       (point >= 0x2028 && point <= 0x202e) || (point >= 0x2066 && point <= 0x2069);
}
