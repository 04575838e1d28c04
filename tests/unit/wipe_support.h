/* Whether a buffer with certain bytes was wiped: freed memory itself cannot be looked at. Included by one test program,
 * whose secret_wipe comes here. Hardened builds call the second name. */
#pragma once
#include <stddef.h>
#include <string.h>

/* What is looked for, and how many buffers that began with it were wiped. */
static struct {
	const void *bytes;
	size_t len, count;
} wiped;

static inline void expect_wipes_of(const void *bytes, size_t len)
{
	wiped.bytes = bytes;
	wiped.len = len;
	wiped.count = 0;
}

/* Not static: clang's headers make explicit_bzero an inline function with external linkage. */
void wipe_and_count(void *bytes, size_t len);
void wipe_and_count(void *bytes, size_t len)
{
	if (wiped.len && len >= wiped.len && memcmp(bytes, wiped.bytes, wiped.len) == 0)
		wiped.count++;
	memset(bytes, 0, len);
	__asm__ volatile("" : : "r"(bytes) : "memory");
}

void explicit_bzero(void *bytes, size_t len)
{
	wipe_and_count(bytes, len);
}

void __explicit_bzero_chk(void *bytes, size_t len, size_t size);
void __explicit_bzero_chk(void *bytes, size_t len, size_t size)
{
	(void)size;
	wipe_and_count(bytes, len);
}
