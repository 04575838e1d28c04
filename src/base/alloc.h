/* Allocation that aborts when the system has no memory: death at any instruction is safe by design, so no caller
 * carries a half-handled path. Sizes that come from outside are capped before they get here. */
#pragma once
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

void *xmalloc(size_t size) __attribute__((malloc, alloc_size(1), returns_nonnull));
void *xcalloc(size_t count, size_t size) __attribute__((malloc, alloc_size(1, 2), returns_nonnull));
/* Grows an array; aborts on overflow of count * size. */
void *xreallocarray(void *old, size_t count, size_t size) __attribute__((alloc_size(2, 3), returns_nonnull));
char *xstrdup(const char *text) __attribute__((malloc, returns_nonnull));
char *xstrdup_or_null(const char *text) __attribute__((malloc)); /* NULL stays NULL */
char *xstrndup(const char *text, size_t max) __attribute__((malloc, returns_nonnull));
void *xmemdup(const void *bytes, size_t size) __attribute__((malloc, returns_nonnull));
char *xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2), returns_nonnull));
char *xvasprintf(const char *fmt, va_list args) __attribute__((format(printf, 1, 0), returns_nonnull));

/* free() for a local: `_cleanup_free_ char *name = ...`. */
static inline void cleanup_freep(void *pointer)
{
	free(*(void **)pointer);
}
#define _cleanup_free_ __attribute__((cleanup(cleanup_freep)))
/* Gives the pointer to the caller and leaves NULL behind. */
#define steal(pointer)                                   \
	({                                               \
		__typeof__(pointer) stolen_ = (pointer); \
		(pointer) = NULL;                        \
		stolen_;                                 \
	})
/* For any type with `void T_freep(struct T **)`. */
#define _cleanup_(fn) __attribute__((cleanup(fn)))
#define _must_check_ __attribute__((warn_unused_result))
#define ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))
