/* UTF-8 (RFC 3629), one code point at a time. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UTF8_REPLACEMENT 0xfffd /* stands for what was no text */

/* The number of bytes (1 to 4) of the code point at the start of `text`, or 0 where it is not valid UTF-8: cut off,
 * overlong, a surrogate, or beyond U+10FFFF. `len` is at least 1. */
size_t utf8_next(const char *text, size_t len, uint32_t *ret_point);
/* The bytes of the first `most` characters of `text`, all of it where it has no more. A byte that begins none counts as one:
 * it is written as U+FFFD. */
size_t utf8_prefix(const char *text, size_t most);
/* Whether printing it can do more than show a character: C0, DEL, C1, line separators, direction marks and overrides. */
bool utf8_is_steering(uint32_t point);
