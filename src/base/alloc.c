#include "base/alloc.h"
#include <stdio.h>
#include <unistd.h>

/* The one way out: nothing here may allocate, so the words go out by write(2). */
static _Noreturn void out_of_memory(void)
{
	static const char words[] = "kube-rekey: out of memory; the same command goes on where this one stopped\n";
	ssize_t written = write(STDERR_FILENO, words, sizeof(words) - 1);
	(void)written;
	abort();
}

static void *must(void *pointer)
{
	if (!pointer)
		out_of_memory();
	return pointer;
}

/* malloc(0) may be NULL without being a failure; one byte is always something. */
void *xmalloc(size_t size)
{
	return must(malloc(size ? size : 1));
}

void *xcalloc(size_t count, size_t size)
{
	return must(count && size ? calloc(count, size) : calloc(1, 1));
}

void *xreallocarray(void *old, size_t count, size_t size)
{
	return must(count && size ? reallocarray(old, count, size) : realloc(old, 1));
}

char *xstrdup(const char *text)
{
	return xmemdup(text, strlen(text) + 1);
}

char *xstrdup_or_null(const char *text)
{
	return text ? xstrdup(text) : NULL;
}

char *xstrndup(const char *text, size_t max)
{
	size_t len = strnlen(text, max);
	char *copy = xmalloc(len + 1);
	memcpy(copy, text, len);
	copy[len] = '\0';
	return copy;
}

void *xmemdup(const void *bytes, size_t size)
{
	void *copy = xmalloc(size);
	if (size)
		memcpy(copy, bytes, size);
	return copy;
}

char *xasprintf(const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	char *text = xvasprintf(fmt, args);
	va_end(args);
	return text;
}

char *xvasprintf(const char *fmt, va_list args)
{
	char *text = NULL;
	int len = vasprintf(&text, fmt, args);
	/* It fails for lack of memory only: our formats are literals without wide characters. */
	return must(len < 0 ? NULL : text);
}
