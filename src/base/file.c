#include "base/file.h"
#include "base/file_internal.h"
#include "base/text.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <sys/file.h>
#include <unistd.h>

/* A stack buffer is read into and wiped, since a secret only grows by appending. */
#define CHUNK 16384

/* What a person can do about it; NULL where the text of errno says enough. */
static const char *advice(int errno_value)
{
	switch (errno_value) {
	case ENOSPC:
		return "the disk is full: free some space on this file system and run the same command again";
	case EDQUOT:
		return "the disk quota is used up: free some space and run the same command again";
	case EROFS:
		return "the directory is read-only here: mount it writable, or run where it is";
	case EACCES:
	case EPERM:
		return "this user may not do that: run as the owner of the file, usually root";
	default:
		return NULL;
	}
}

int(file_error)(struct error **err, int errno_value, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	_cleanup_free_ char *what = xvasprintf(fmt, args);
	va_end(args);
	int rc = error_set_errno(err, errno_value == ENOENT ? ERROR_NOT_FOUND : ERROR_IO, errno_value, "%s", what);
	if (advice(errno_value))
		error_set_hint(err, "%s", advice(errno_value));
	return rc;
}

int file_read_fd(int fd, const char *path, size_t cap, struct secret **ret, struct error **err)
{
	struct stat info;
	if (fstat(fd, &info) != 0)
		return file_error(err, errno, "reading %s", path);
	if (!S_ISREG(info.st_mode))
		return error_set(err, ERROR_IO, "reading %s: not a regular file", path);

	_cleanup_secret_ content = secret_new(cap);
	uint8_t chunk[CHUNK];
	int rc = 0;
	while (rc == 0) {
		ssize_t got = TEMP_FAILURE_RETRY(read(fd, chunk, sizeof(chunk)));
		if (got == 0)
			break;
		if (got < 0)
			rc = file_error(err, errno, "reading %s", path);
		else if (secret_append(content, chunk, (size_t)got) < 0)
			rc = error_set(err, ERROR_LIMIT, "reading %s: more than %zu bytes", path, cap);
	}
	secret_wipe(chunk, sizeof(chunk));
	if (rc == 0)
		*ret = steal(content);
	return rc;
}

static int open_to_read(const char *path, int *ret_fd, struct error **err)
{
	/* O_NONBLOCK: opening a FIFO must not wait for a writer. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return file_error(err, errno, "reading %s", path);
	*ret_fd = fd;
	return 0;
}

int file_read(const char *path, size_t cap, struct secret **ret, struct error **err)
{
	_cleanup_close_ fd = -1;
	int rc = open_to_read(path, &fd, err);
	return rc < 0 ? rc : file_read_fd(fd, path, cap, ret, err);
}

/* Of the open file, so that it is the one that is read. What is not a regular file is file_read_fd's to say. */
static int check_private(int fd, const char *path, struct error **err)
{
	struct stat info;
	if (fstat(fd, &info) != 0)
		return file_error(err, errno, "reading %s", path);
	if (!S_ISREG(info.st_mode))
		return 0;
	if (info.st_uid != 0 && info.st_uid != geteuid()) {
		int rc = error_set(err, ERROR_REFUSED, "reading %s: it belongs to user %u, who may change it", path,
				   (unsigned)info.st_uid);
		error_set_hint(err, "make root its owner: chown root %s", path);
		return rc;
	}
	if (info.st_mode & (S_IRGRP | S_IWGRP | S_IROTH | S_IWOTH)) {
		int rc = error_set(err, ERROR_REFUSED,
				   "reading %s: others than its owner may read or write it (mode %04o)", path,
				   (unsigned)info.st_mode & 07777);
		error_set_hint(err, "take it from them: chmod 600 %s. If they may have read it, replace it", path);
		return rc;
	}
	return 0;
}

int file_read_private(const char *path, size_t cap, struct secret **ret, struct error **err)
{
	_cleanup_close_ fd = -1;
	int rc = open_to_read(path, &fd, err);
	if (rc == 0)
		rc = check_private(fd, path, err);
	return rc < 0 ? rc : file_read_fd(fd, path, cap, ret, err);
}

int file_write_fd(int fd, const void *bytes, size_t len, const char *path, struct error **err)
{
	for (size_t done = 0; done < len;) {
		ssize_t wrote = TEMP_FAILURE_RETRY(write(fd, (const uint8_t *)bytes + done, len - done));
		if (wrote < 0)
			return file_error(err, errno, "writing %s", path);
		done += (size_t)wrote;
	}
	return 0;
}

int file_sync(int fd, const char *path, struct error **err)
{
	return fsync(fd) == 0 ? 0 : file_error(err, errno, "syncing %s to disk", path);
}

int file_open_directory_of(const char *path, int *ret_fd, struct error **err)
{
	_cleanup_free_ char *copy = xstrdup(path);
	const char *folder = dirname(copy);
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return file_error(err, errno, "opening the directory %s", folder);
	*ret_fd = fd;
	return 0;
}

static int overwrite(int fd, const char *path, struct error **err)
{
	static const uint8_t zeros[CHUNK];
	struct stat info;
	if (fstat(fd, &info) != 0)
		return file_error(err, errno, "overwriting %s", path);
	for (size_t left = (size_t)info.st_size; left > 0;) {
		size_t part = left < sizeof(zeros) ? left : sizeof(zeros);
		int rc = file_write_fd(fd, zeros, part, path, err);
		if (rc < 0)
			return rc;
		left -= part;
	}
	return file_sync(fd, path, err);
}

/* Its own function, so that the file is closed before it is unlinked. */
static int overwrite_at(int dir, const char *name, const char *path, struct error **err)
{
	_cleanup_close_ fd = openat(dir, name, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	return fd < 0 ? file_error(err, errno, "overwriting %s", path) : overwrite(fd, path, err);
}

int file_shred_at(int dir, const char *name, const char *path, struct error **err)
{
	struct stat info;
	if (fstatat(dir, name, &info, AT_SYMLINK_NOFOLLOW) != 0)
		return errno == ENOENT ? 0 : file_error(err, errno, "removing %s", path);
	if (!S_ISREG(info.st_mode))
		return error_set(err, ERROR_IO, "removing %s: not a regular file", path);
	int rc = overwrite_at(dir, name, path, err);
	if (unlinkat(dir, name, 0) != 0)
		return rc < 0 ? rc : file_error(err, errno, "removing %s", path);
	if (rc < 0)
		return error_wrap(err, rc, "removed without overwriting its bytes");
	return file_sync(dir, path, err);
}

int file_shred(const char *path, struct error **err)
{
	_cleanup_close_ dir = -1;
	int rc = file_open_directory_of(path, &dir, err);
	if (rc < 0)
		return error_forgive(err, rc, ERROR_NOT_FOUND);
	_cleanup_free_ char *copy = xstrdup(path);
	return file_shred_at(dir, basename(copy), path, err);
}

bool file_is_half_shredded(const struct secret *content)
{
	return secret_len(content) > 0 && ((const char *)secret_data(content))[0] == '\0';
}

int file_remove(const char *path, struct error **err)
{
	_cleanup_close_ dir = -1;
	int rc = file_open_directory_of(path, &dir, err);
	if (rc < 0)
		return error_forgive(err, rc, ERROR_NOT_FOUND);
	_cleanup_free_ char *copy = xstrdup(path);
	if (unlinkat(dir, basename(copy), 0) != 0)
		return errno == ENOENT ? 0 : file_error(err, errno, "removing %s", path);
	return file_sync(dir, path, err);
}

int file_sha256(const char *path, size_t cap, char **ret, struct error **err)
{
	_cleanup_secret_ content = NULL;
	int rc = file_read(path, cap, &content, err);
	if (rc < 0)
		return rc;
	*ret = text_sha256_tagged(secret_data(content), secret_len(content));
	return 0;
}

/* EEXIST may be a file: the next level, or the last look, says so. */
static int make_one(const char *path, struct error **err)
{
	if (mkdir(path, 0700) == 0 || errno == EEXIST)
		return 0;
	return file_error(err, errno, "making the directory %s", path);
}

int file_make_directory(const char *path, struct error **err)
{
	_cleanup_free_ char *partial = xstrdup(path);
	for (char *slash = partial; (slash = strchr(slash + 1, '/'));) {
		*slash = '\0';
		int rc = make_one(partial, err);
		if (rc < 0)
			return rc;
		*slash = '/';
	}
	int rc = make_one(path, err);
	if (rc < 0)
		return rc;
	struct stat info;
	if (stat(path, &info) != 0)
		return file_error(err, errno, "making the directory %s", path);
	if (!S_ISDIR(info.st_mode))
		return file_error(err, ENOTDIR, "making the directory %s", path);
	return 0;
}

int file_lock(const char *path, int *ret_fd, struct error **err)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return file_error(err, errno, "opening the lock %s", path);
	if (TEMP_FAILURE_RETRY(flock(fd, LOCK_EX | LOCK_NB)) == 0) {
		*ret_fd = fd;
		return 0;
	}
	int why = errno;
	close(fd);
	if (why != EWOULDBLOCK)
		return file_error(err, why, "locking %s", path);
	return error_set(err, ERROR_BUSY, "locking %s: another kube-rekey holds it", path);
}

int file_remove_leftovers(const char *directory, struct error **err)
{
	DIR *folder = opendir(directory);
	struct dirent *entry;
	int rc = 0;
	if (!folder)
		return error_set_errno(err, ERROR_IO, errno, "%s", directory);
	while (rc == 0 && (entry = readdir(folder))) {
		_cleanup_free_ char *path = xasprintf("%s/%s", directory, entry->d_name);
		if (entry->d_name[0] == '.' && text_ends(entry->d_name, ".kube-rekey.tmp"))
			rc = file_shred(path, err);
	}
	closedir(folder);
	return rc;
}
