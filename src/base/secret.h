/* The one type that holds key bytes and secret values: wiped when it shrinks, grows, or is freed; never printed.
 * Whole EncryptionConfiguration files, bodies of objects, tokens and keys live here. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/alloc.h"
#include "base/error.h"

struct secret; /* opaque */

/* An empty secret that may hold at most `cap` bytes. */
struct secret *secret_new(size_t cap);
/* A secret with exactly these bytes (cap = len). */
struct secret *secret_from(const void *bytes, size_t len);
/* `len` random bytes of the operating system (getrandom). Aborts if the system cannot give them. */
struct secret *secret_random(size_t len);
/* 0 or -ERROR_LIMIT with nothing changed. Growing wipes the old place. */
_must_check_ int secret_append(struct secret *secret, const void *bytes, size_t len);
_must_check_ int secret_append_text(struct secret *secret, const char *text);
/* Makes room for `len` bytes in all (at most the cap), so that appending up to there never moves them. */
void secret_reserve(struct secret *secret, size_t len);
/* Removes the first `len` bytes, moving the rest and wiping the tail. */
void secret_consume(struct secret *secret, size_t len);
void secret_reset(struct secret *secret);                /* wipes; keeps the allocation */
const uint8_t *secret_data(const struct secret *secret); /* a NUL stands behind the last byte; valid until changed */
const char *secret_text(const struct secret *secret);
size_t secret_len(const struct secret *secret);
bool secret_equal(const struct secret *a, const struct secret *b); /* constant time for equal lengths */
/* Standard base64 with padding, no line breaks. Decoding accepts only that; -ERROR_INPUT otherwise (nothing kept). */
struct secret *secret_base64_encode(const void *bytes, size_t len);
_must_check_ int secret_base64_decode(const char *text, size_t len, struct secret **ret);
/* Wipes and frees; NULL is fine. */
void secret_free(struct secret *secret);
void secret_freep(struct secret **secret);
#define _cleanup_secret_ _cleanup_(secret_freep) struct secret *
/* Wipes memory in a way that the compiler keeps. */
void secret_wipe(void *bytes, size_t len);
