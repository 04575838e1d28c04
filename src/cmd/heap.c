/* The whole process's free() and realloc(): a block is wiped before glibc gets it back.
 *
 * struct secret (base/secret.h) wipes our own bytes. But keys and values of objects also pass through buffers that we
 * do not own: libyaml's tokens, libcurl's and OpenSSL's records, cJSON's strings. They all end in free() of this
 * process, which is the one place where nothing can be forgotten. glibc's own M_PERTURB does not do it: small blocks
 * go to the per-thread cache before they are overwritten.
 *
 * As glibc's manual asks ("Replacing malloc"), the family is replaced together and each function goes to glibc's
 * implementation. malloc_usable_size stays glibc's: the blocks are. Functions that call these (strdup, getline,
 * reallocarray) need no replacement, since glibc calls malloc by its public name.
 *
 * Left out of builds with sanitizers and of the debug build (KR_WIPING_HEAP): ASan and valgrind replace the same
 * functions to see bad accesses. */
#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void *__libc_valloc(size_t size);
extern void *__libc_pvalloc(size_t size);
extern void __libc_free(void *block);

void *malloc(size_t size)
{
	return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
	return __libc_calloc(count, size);
}

/* The usable size, not the size asked for, which nobody knows any more: a few bytes too many are wiped. */
void free(void *block)
{
	if (!block)
		return;
	int saved = errno;
	explicit_bzero(block, malloc_usable_size(block));
	__libc_free(block);
	/* POSIX.1-2024: free() keeps errno. */
	errno = saved;
}

/* glibc's would free the old place unwiped when it moves a block, and the tail when it cuts one. */
void *realloc(void *old, size_t size)
{
	if (!old)
		return __libc_malloc(size);
	if (size == 0) {
		free(old);
		return NULL;
	}
	size_t usable = malloc_usable_size(old);
	if (size <= usable) {
		explicit_bzero((uint8_t *)old + size, usable - size);
		return __libc_realloc(old, size);
	}
	void *grown = __libc_malloc(size);
	if (!grown)
		return NULL;
	memcpy(grown, old, usable);
	free(old);
	return grown;
}

void *memalign(size_t alignment, size_t size)
{
	return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
	return __libc_memalign(alignment, size);
}

int posix_memalign(void **ret, size_t alignment, size_t size)
{
	if (alignment < sizeof(void *) || (alignment & (alignment - 1)) != 0)
		return EINVAL;
	void *block = __libc_memalign(alignment, size);
	if (!block)
		return ENOMEM;
	*ret = block;
	return 0;
}

void *valloc(size_t size)
{
	return __libc_valloc(size);
}

void *pvalloc(size_t size)
{
	return __libc_pvalloc(size);
}
