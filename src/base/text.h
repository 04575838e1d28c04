/* Strings and numbers in text: the checked wrappers that replace strtol, atoi and friends. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/alloc.h"

bool text_equal(const char *a, const char *b); /* NULL equals NULL only */
bool text_starts(const char *text, const char *prefix);
bool text_ends(const char *text, const char *suffix);
bool text_empty(const char *text); /* NULL or "" */
/* Whole string, decimal, no sign, no spaces: 0, or -ERROR_INPUT on anything else or overflow. */
_must_check_ int text_to_u64(const char *text, uint64_t *ret);
_must_check_ int text_bytes_to_u64(const char *text, size_t len, uint64_t *ret);
/* Go durations as Kubernetes flags have them ("90s", "5m0s", "1h30m", "1.5s", "250ms", "0"): nanoseconds. -ERROR_INPUT for
 * anything else, a sign, and more than Go's int64 holds. The form is that of Go's time.ParseDuration. */
_must_check_ int text_to_duration(const char *text, uint64_t *ret_ns);
/* Lowercase hex of bytes, into a new string. */
char *text_hex(const void *bytes, size_t len);
/* Hex of SHA-256 over bytes: 64 characters; text_sha256_tagged puts "sha256:" before, as kube-apiserver's metrics do. */
char *text_sha256(const void *bytes, size_t len);
char *text_sha256_tagged(const void *bytes, size_t len);
/* A growing list of owned strings. */
struct strings {
	char **items;
	size_t count;
};
void strings_add(struct strings *list, const char *text);
void strings_add_n(struct strings *list, const char *text, size_t len);
bool strings_has(const struct strings *list, const char *text);
void strings_sort_unique(struct strings *list);
char *strings_join(const struct strings *list, const char *separator);
/* Splits at each `separator`; empty parts are kept. */
void strings_split(struct strings *list, const char *text, char separator);
void strings_free(struct strings *list); /* leaves an empty list */
#define _cleanup_strings_ _cleanup_(strings_free) struct strings
/* Percent-encodes everything but unreserved characters (RFC 3986), for URL path segments and queries. */
char *text_url_escape(const char *text);
/* For people, new strings. Bytes: "512 B", "1.5 KiB", "31 MiB" (a decimal below ten). Count: "10,412". Duration: its two
 * largest units, rounded: "250 ms", "28 s", "3 min 28 s", "1 h 5 min", "2 d 3 h". */
char *text_human_bytes(uint64_t bytes);
char *text_human_count(uint64_t count);
char *text_human_duration(uint64_t ns);
/* Replaces control characters (and what else utf8_is_steering names, and invalid UTF-8) by '?' so that words of a
 * server cannot steer a terminal. New string, at most max bytes and then "...". */
char *text_printable(const char *text, size_t len, size_t max);
char *text_printable_or(const char *text, size_t max, const char *otherwise); /* a copy of `otherwise` for NULL */
