#include "base/text.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/utf8.h"
#include <openssl/sha.h>

bool text_equal(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

bool text_starts(const char *text, const char *prefix)
{
	return text && strncmp(text, prefix, strlen(prefix)) == 0;
}

bool text_ends(const char *text, const char *suffix)
{
	if (!text)
		return false;
	size_t len = strlen(text), suffix_len = strlen(suffix);
	return len >= suffix_len && strcmp(text + len - suffix_len, suffix) == 0;
}

bool text_empty(const char *text)
{
	return !text || !*text;
}

int text_to_u64(const char *text, uint64_t *ret)
{
	return text ? text_bytes_to_u64(text, strlen(text), ret) : -ERROR_INPUT;
}

int text_bytes_to_u64(const char *text, size_t len, uint64_t *ret)
{
	uint64_t value = 0;
	if (len == 0)
		return -ERROR_INPUT;
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return -ERROR_INPUT;
		if (__builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(value, (uint64_t)(text[i] - '0'), &value))
			return -ERROR_INPUT;
	}
	*ret = value;
	return 0;
}

/* The unit at the start of `text`, longest names first; 0 for none. */
static uint64_t duration_unit(const char *text, size_t *ret_len)
{
	static const struct {
		const char *name;
		uint64_t ns;
	} units[] = {
		{"ns", 1},           {"us", 1000},    {"\xc2\xb5s", 1000}, /* U+00B5, micro sign */
		{"\xce\xbcs", 1000},                                       /* U+03BC, Greek mu */
		{"ms", NS_PER_MS},   {"s", NS_PER_S}, {"m", 60 * NS_PER_S}, {"h", 3600 * NS_PER_S},
	};
	for (size_t i = 0; i < ELEMENTS(units); i++)
		if (text_starts(text, units[i].name)) {
			*ret_len = strlen(units[i].name);
			return units[i].ns;
		}
	return 0;
}

/* "1.5s" of "1.5s250ms": a number, an optional fraction, a unit. Moves *text behind it. */
static int take_duration(const char **text, uint64_t *ret_ns)
{
	size_t whole = strspn(*text, "0123456789");
	uint64_t value = 0;
	if (whole && text_bytes_to_u64(*text, whole, &value) < 0)
		return -ERROR_INPUT;
	*text += whole;

	const char *fraction = *text + 1;
	size_t digits = 0;
	if (**text == '.') {
		digits = strspn(fraction, "0123456789");
		*text = fraction + digits;
	}
	if (whole + digits == 0)
		return -ERROR_INPUT;

	size_t unit_len;
	uint64_t unit = duration_unit(*text, &unit_len);
	if (unit == 0 || __builtin_mul_overflow(value, unit, ret_ns) || *ret_ns > INT64_MAX)
		return -ERROR_INPUT;
	*text += unit_len;

	/* Eighteen digits are more than a nanosecond of an hour needs; what is smaller is cut off, as Go does. */
	unsigned __int128 part = 0, scale = 1;
	for (size_t i = 0; i < digits && i < 18; i++, scale *= 10)
		part = part * 10 + (unsigned)(fraction[i] - '0');
	*ret_ns += (uint64_t)(part * unit / scale);
	return 0;
}

int text_to_duration(const char *text, uint64_t *ret_ns)
{
	uint64_t total = 0;
	if (text_empty(text))
		return -ERROR_INPUT;
	if (strcmp(text, "0") == 0) {
		*ret_ns = 0;
		return 0;
	}
	while (*text) {
		uint64_t part;
		if (take_duration(&text, &part) < 0 || __builtin_add_overflow(total, part, &total))
			return -ERROR_INPUT;
	}
	if (total > INT64_MAX)
		return -ERROR_INPUT;
	*ret_ns = total;
	return 0;
}

char *text_hex(const void *bytes, size_t len)
{
	static const char digits[] = "0123456789abcdef";
	const uint8_t *from = bytes;
	char *text = xmalloc(2 * len + 1);
	for (size_t i = 0; i < len; i++) {
		text[2 * i] = digits[from[i] >> 4];
		text[2 * i + 1] = digits[from[i] & 15];
	}
	text[2 * len] = '\0';
	return text;
}

char *text_sha256(const void *bytes, size_t len)
{
	uint8_t digest[SHA256_DIGEST_LENGTH];
	if (!SHA256(bytes, len, digest))
		abort();
	return text_hex(digest, sizeof(digest));
}

char *text_sha256_tagged(const void *bytes, size_t len)
{
	_cleanup_free_ char *hex = text_sha256(bytes, len);
	return xasprintf("sha256:%s", hex);
}

static bool is_unreserved(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c && strchr("-._~", c));
}

char *text_url_escape(const char *text)
{
	static const char digits[] = "0123456789ABCDEF";
	char *escaped = xreallocarray(NULL, strlen(text) + 1, 3), *to = escaped;
	for (; *text; text++) {
		uint8_t byte = (uint8_t)*text;
		if (is_unreserved(*text)) {
			*to++ = *text;
			continue;
		}
		*to++ = '%';
		*to++ = digits[byte >> 4];
		*to++ = digits[byte & 15];
	}
	*to = '\0';
	return escaped;
}

char *text_printable(const char *text, size_t len, size_t max)
{
	static const char more[] = "...";
	char *printable = xmalloc((len < max ? len : max) + sizeof(more));
	size_t kept = 0;
	for (size_t at = 0; at < len;) {
		uint32_t point;
		size_t size = utf8_next(text + at, len - at, &point);
		bool shown = size > 0 && !utf8_is_steering(point);
		size_t width = shown ? size : 1;
		if (width > max - kept) {
			memcpy(printable + kept, more, sizeof(more));
			return printable;
		}
		if (shown)
			memcpy(printable + kept, text + at, size);
		else
			printable[kept] = '?';
		kept += width;
		at += size ? size : 1;
	}
	printable[kept] = '\0';
	return printable;
}

char *text_printable_or(const char *text, size_t max, const char *otherwise)
{
	return text ? text_printable(text, strlen(text), max) : xstrdup(otherwise);
}
