#include "engine/snapshot_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR 512u
#define BLOCK (64u << 10) /* stays in the processor's cache */

/* Belongs to the thread until it is joined, but for `stop`. */
struct whole_read {
	int fd;
	uint64_t size;
	bool has_hash; /* else it is read, no more */
	atomic_bool stop;
	uint8_t stored[SNAPSHOT_HASH_SIZE], found[SNAPSHOT_HASH_SIZE];
	int rc, errno_value; /* of reading */
};

struct snapshot_file {
	int fd;
	uint64_t size;
	bool has_hash;
	struct whole_read whole;
	pthread_t thread;
	bool running;
};

/* -ERROR_IO with errno in `ret_errno`, or -ERROR_CONFLICT. */
static int read_whole(int fd, uint64_t at, uint8_t *to, size_t len, int *ret_errno)
{
	for (size_t done = 0; done < len;) {
		ssize_t got = TEMP_FAILURE_RETRY(pread(fd, to + done, len - done, (off_t)(at + done)));
		if (got < 0) {
			*ret_errno = errno;
			return -ERROR_IO;
		}
		if (got == 0)
			return -ERROR_CONFLICT;
		done += (size_t)got;
	}
	return 0;
}

static int read_failed(int rc, int errno_value, struct error **err)
{
	if (rc == -ERROR_CONFLICT)
		return error_set(err, ERROR_CONFLICT, "it became shorter while it was read: wait until it is written");
	return error_set_errno(err, ERROR_IO, errno_value, "reading it");
}

static int check_size(const char *path, uint64_t size, struct error **err)
{
	if (size == 0)
		return error_set(err, ERROR_INPUT, "%s: it is empty: use another copy", path);
	if (size % SECTOR == 0 || size % SECTOR == SNAPSHOT_HASH_SIZE)
		return 0;
	return error_set(err, ERROR_INPUT,
			 "%s: its %" PRIu64
			 " bytes are neither whole pages nor whole pages and a hash: it is no snapshot of "
			 "etcd, or cut off; use another copy (unpacked)",
			 path, size);
}

int snapshot_file_open(const char *path, struct snapshot_file **ret, struct error **err)
{
	struct stat info;
	/* O_NONBLOCK: opening a FIFO must not wait for a writer. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return error_set_errno(err, errno == ENOENT ? ERROR_NOT_FOUND : ERROR_IO, errno, "reading %s", path);
	_cleanup_(snapshot_file_freep) struct snapshot_file *file = xcalloc(1, sizeof(*file));
	file->fd = fd;
	if (fstat(fd, &info) != 0)
		return error_set_errno(err, ERROR_IO, errno, "reading %s", path);
	if (!S_ISREG(info.st_mode))
		return error_set(err, ERROR_IO, "reading %s: not a regular file", path);
	file->size = (uint64_t)info.st_size;
	int rc = check_size(path, file->size, err);
	if (rc < 0)
		return rc;
	file->has_hash = file->size % SECTOR != 0;
	if (file->has_hash)
		file->size -= SNAPSHOT_HASH_SIZE;
	*ret = steal(file);
	return 0;
}

static void stop(struct snapshot_file *file)
{
	atomic_store(&file->whole.stop, true);
	if (file->running)
		pthread_join(file->thread, NULL);
	file->running = false;
}

void snapshot_file_free(struct snapshot_file *file)
{
	if (!file)
		return;
	stop(file);
	close(file->fd);
	free(file);
}

void snapshot_file_freep(struct snapshot_file **file)
{
	snapshot_file_free(*file);
}

uint64_t snapshot_file_size(const struct snapshot_file *file)
{
	return file->size;
}

bool snapshot_file_has_hash(const struct snapshot_file *file)
{
	return file->has_hash;
}

int snapshot_file_read(void *arg, uint64_t at, uint8_t *to, size_t len, struct error **err)
{
	const struct snapshot_file *file = arg;
	int errno_value = 0, rc = read_whole(file->fd, at, to, len, &errno_value);
	return rc < 0 ? read_failed(rc, errno_value, err) : 0;
}

/* ---- the hash ---- */

/* libcrypto fails here only without memory. */
static void crypto_must(int ok)
{
	if (ok != 1)
		abort();
}

static void *read_all(void *arg)
{
	struct whole_read *whole = arg;
	uint8_t *block = xmalloc(BLOCK);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	crypto_must(ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL));
	for (uint64_t at = 0; whole->rc == 0 && at < whole->size && !atomic_load(&whole->stop);) {
		size_t len = whole->size - at < BLOCK ? (size_t)(whole->size - at) : BLOCK;
		whole->rc = read_whole(whole->fd, at, block, len, &whole->errno_value);
		if (whole->rc == 0 && whole->has_hash)
			crypto_must(EVP_DigestUpdate(ctx, block, len));
		at += len;
	}
	crypto_must(EVP_DigestFinal_ex(ctx, whole->found, NULL));
	if (whole->rc == 0 && whole->has_hash && !atomic_load(&whole->stop))
		whole->rc = read_whole(whole->fd, whole->size, whole->stored, SNAPSHOT_HASH_SIZE, &whole->errno_value);
	EVP_MD_CTX_free(ctx);
	free(block);
	return NULL;
}

void snapshot_file_start(struct snapshot_file *file)
{
	file->whole.fd = file->fd;
	file->whole.size = file->size;
	file->whole.has_hash = file->has_hash;
	file->running = pthread_create(&file->thread, NULL, read_all, &file->whole) == 0;
	if (!file->running && file->has_hash) /* no thread is to be had: before all else, then */
		read_all(&file->whole);
}

int snapshot_file_check(struct snapshot_file *file, struct error **err)
{
	const struct whole_read *whole = &file->whole;
	if (!file->has_hash) {
		stop(file); /* nobody waits for pages that no key is in */
		return 0;
	}
	if (file->running)
		pthread_join(file->thread, NULL);
	file->running = false;
	if (whole->rc < 0)
		return read_failed(whole->rc, whole->errno_value, err);
	if (memcmp(whole->found, whole->stored, SNAPSHOT_HASH_SIZE) != 0)
		return error_set(
			err, ERROR_INPUT,
			"its SHA-256 is not the one at its end: it was changed or damaged since it was made; use "
			"another copy");
	return 0;
}
