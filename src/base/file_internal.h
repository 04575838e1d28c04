/* What file.c and file_replace.c share. */
#pragma once
#include <unistd.h>
#include "base/file.h"

/* close() for a local. */
static inline void cleanup_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}
#define _cleanup_close_ _cleanup_(cleanup_close) int

/* Reads a regular file from its beginning; `path` is for the words. */
_must_check_ int file_read_fd(int fd, const char *path, size_t cap, struct secret **ret, struct error **err);
_must_check_ int file_write_fd(int fd, const void *bytes, size_t len, const char *path, struct error **err);
/* Opens the folder of `path` for openat() and fsync(). */
_must_check_ int file_open_directory_of(const char *path, int *ret_fd, struct error **err);
/* file_shred within an open directory; `path` is for the words. */
_must_check_ int file_shred_at(int dir, const char *name, const char *path, struct error **err);
_must_check_ int file_sync(int fd, const char *path, struct error **err);
/* As error_set_errno with -ERROR_IO (-ERROR_NOT_FOUND for ENOENT), and what to do where errno_value says it. */
int file_error(struct error **err, int errno_value, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#if defined(__clang_analyzer__) || defined(KR_ANALYZER)
/* As in error.h. */
#define file_error(err, ...) ((file_error)(err, __VA_ARGS__), -ERROR_IO)
#endif
