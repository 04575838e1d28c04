/* Whether bytes are UTF-8, as JSON has to be: what is not is read all the same, but written in another way. */
#pragma once
#include "base/utf8.h"

static inline bool valid_utf8(const uint8_t *data, size_t size)
{
	uint32_t point;
	for (size_t at = 0, len; at < size; at += len) {
		len = utf8_next((const char *)data + at, size - at, &point);
		if (len == 0)
			return false;
	}
	return true;
}
