/* Writes one JSON document into a buffer, escaping everything; parsing is cJSON's (see json_read.h).
 * Calls nest as the document does; an unbalanced end, a key outside an object, a member without a key and a second
 * document abort (a bug of ours). Invalid UTF-8 becomes U+FFFD; what could steer a terminal is written as \uXXXX. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/text.h"

struct json_writer {
	struct buf out;
	uint64_t comma_bits; /* whether a comma is due, one bit a depth; at most 64 deep */
	uint64_t array_bits; /* whether it is an array */
	unsigned depth;
	bool failed; /* the cap was reached: json_text returns NULL */
	bool after_key;
};
#define JSON_WRITER_INIT(cap_) ((struct json_writer){.out = BUF_INIT(cap_)})

void json_object_begin(struct json_writer *w);
void json_object_end(struct json_writer *w);
void json_array_begin(struct json_writer *w);
void json_array_end(struct json_writer *w);
void json_key(struct json_writer *w, const char *key);
void json_string(struct json_writer *w, const char *text); /* NULL writes null */
void json_string_n(struct json_writer *w, const char *text, size_t len);
void json_u64(struct json_writer *w, uint64_t number);
void json_i64(struct json_writer *w, int64_t number);
void json_fixed(struct json_writer *w, double number, int decimals); /* null where it is not finite */
void json_bool(struct json_writer *w, bool value);
void json_null(struct json_writer *w);
/* key and value in one call */
void json_member_string(struct json_writer *w, const char *key, const char *text);
void json_member_u64(struct json_writer *w, const char *key, uint64_t number);
void json_member_bool(struct json_writer *w, const char *key, bool value);
void json_member_strings(struct json_writer *w, const char *key, const struct strings *list);
/* The document without a line end, or NULL if the cap was reached; owned by the writer. */
const char *json_text(struct json_writer *w);
void json_writer_free(struct json_writer *w);
