#include "base/json_writer.h"
#include "base/utf8.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define DEPTH_MAX 64

/* A document that is not JSON is a bug of ours; better no document than a wrong one. */
static void must(bool holds)
{
	if (!holds)
		abort();
}

static void put(struct json_writer *w, const void *bytes, size_t len)
{
	if (!w->failed && buf_append(&w->out, bytes, len) < 0)
		w->failed = true;
}

static void put_text(struct json_writer *w, const char *text)
{
	put(w, text, strlen(text));
}

static uint64_t bit(const struct json_writer *w)
{
	return UINT64_C(1) << (w->depth - 1);
}

static bool in_array(const struct json_writer *w)
{
	return w->depth > 0 && (w->array_bits & bit(w));
}

/* The comma before a member or an element, where one is due. */
static void separate(struct json_writer *w)
{
	if (w->comma_bits & bit(w))
		put(w, ",", 1);
	w->comma_bits |= bit(w);
}

/* What comes before each value: its key was written, or it is an element, or it is the document. */
static void value_begin(struct json_writer *w)
{
	if (w->after_key) {
		w->after_key = false;
	} else if (w->depth == 0) {
		must(w->out.len == 0 && !w->failed);
	} else {
		must(in_array(w));
		separate(w);
	}
}

static void nest(struct json_writer *w, bool array)
{
	value_begin(w);
	must(w->depth < DEPTH_MAX);
	w->depth++;
	w->comma_bits &= ~bit(w);
	w->array_bits = array ? w->array_bits | bit(w) : w->array_bits & ~bit(w);
	put(w, array ? "[" : "{", 1);
}

static void unnest(struct json_writer *w, bool array)
{
	must(w->depth > 0 && in_array(w) == array && !w->after_key);
	w->depth--;
	put(w, array ? "]" : "}", 1);
}

void json_object_begin(struct json_writer *w)
{
	nest(w, false);
}

void json_object_end(struct json_writer *w)
{
	unnest(w, false);
}

void json_array_begin(struct json_writer *w)
{
	nest(w, true);
}

void json_array_end(struct json_writer *w)
{
	unnest(w, true);
}

static void put_point(struct json_writer *w, const char *text, size_t size, uint32_t point)
{
	static const char *const named[0x80] = {
		['"'] = "\\\"", ['\\'] = "\\\\", ['\b'] = "\\b", ['\f'] = "\\f",
		['\n'] = "\\n", ['\r'] = "\\r",  ['\t'] = "\\t",
	};
	if (point < 0x80 && named[point]) {
		put_text(w, named[point]);
	} else if (utf8_is_steering(point)) {
		char escape[8];
		snprintf(escape, sizeof(escape), "\\u%04x", (unsigned)point & 0xffff);
		put(w, escape, 6);
	} else {
		put(w, text, size);
	}
}

static void put_string(struct json_writer *w, const char *text, size_t len)
{
	put(w, "\"", 1);
	for (size_t at = 0; at < len;) {
		uint32_t point;
		size_t size = utf8_next(text + at, len - at, &point);
		if (size)
			put_point(w, text + at, size, point);
		else
			put_text(w, "\xef\xbf\xbd");
		at += size ? size : 1;
	}
	put(w, "\"", 1);
}

void json_key(struct json_writer *w, const char *key)
{
	must(w->depth > 0 && !in_array(w) && !w->after_key);
	separate(w);
	put_string(w, key, strlen(key));
	put(w, ":", 1);
	w->after_key = true;
}

void json_string(struct json_writer *w, const char *text)
{
	if (text)
		json_string_n(w, text, strlen(text));
	else
		json_null(w);
}

void json_string_n(struct json_writer *w, const char *text, size_t len)
{
	value_begin(w);
	put_string(w, text, len);
}

void json_u64(struct json_writer *w, uint64_t number)
{
	char text[24];
	value_begin(w);
	snprintf(text, sizeof(text), "%" PRIu64, number);
	put_text(w, text);
}

void json_i64(struct json_writer *w, int64_t number)
{
	char text[24];
	value_begin(w);
	snprintf(text, sizeof(text), "%" PRId64, number);
	put_text(w, text);
}

void json_fixed(struct json_writer *w, double number, int decimals)
{
	if (!isfinite(number)) {
		json_null(w);
		return;
	}
	value_begin(w);
	_cleanup_free_ char *text = xasprintf("%.*f", decimals, number);
	put_text(w, text);
}

void json_bool(struct json_writer *w, bool value)
{
	value_begin(w);
	put_text(w, value ? "true" : "false");
}

void json_null(struct json_writer *w)
{
	value_begin(w);
	put_text(w, "null");
}

void json_member_string(struct json_writer *w, const char *key, const char *text)
{
	json_key(w, key);
	json_string(w, text);
}

void json_member_u64(struct json_writer *w, const char *key, uint64_t number)
{
	json_key(w, key);
	json_u64(w, number);
}

void json_member_bool(struct json_writer *w, const char *key, bool value)
{
	json_key(w, key);
	json_bool(w, value);
}

void json_member_strings(struct json_writer *w, const char *key, const struct strings *list)
{
	json_key(w, key);
	json_array_begin(w);
	for (size_t i = 0; i < list->count; i++)
		json_string(w, list->items[i]);
	json_array_end(w);
}

const char *json_text(struct json_writer *w)
{
	must(w->depth == 0);
	return w->failed ? NULL : buf_text(&w->out);
}

void json_writer_free(struct json_writer *w)
{
	buf_free(&w->out);
}
