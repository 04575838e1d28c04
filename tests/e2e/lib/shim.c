/* Loaded into kube-rekey before its libraries (LD_PRELOAD), by tests of several controllers.
 *
 * KUBE_REKEY_TEST_SKEW    seconds by which its wall clock is ahead
 * KUBE_REKEY_TEST_STOP    a file: while it is there, the next thing written over TLS that holds the text of
 *                         KUBE_REKEY_TEST_STOP_AT waits, the process stopped by SIGSTOP, the file removed
 * KUBE_REKEY_TEST_ROOTS   folders, a colon between them: what changes there is a change on disk
 * KUBE_REKEY_TEST_CHANGES a file to which a line is added for each: the call and the name of the file
 * KUBE_REKEY_TEST_DEATH   a file: where it holds a number n and a regular expression, the process dies right before the n-th
 *                         change from then on that matches it, and the file says "at" and what that was; n below 0: it is
 *                         stopped there, by SIGSTOP */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <regex.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long skew(void)
{
	const char *text = getenv("KUBE_REKEY_TEST_SKEW");
	return text ? atol(text) : 0;
}

int clock_gettime(clockid_t id, struct timespec *ret)
{
	static int (*real)(clockid_t, struct timespec *);
	if (!real)
		real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
	int rc = real(id, ret);
	if (rc == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
		ret->tv_sec += skew();
	return rc;
}

time_t time(time_t *ret)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	if (ret)
		*ret = now.tv_sec;
	return now.tv_sec;
}

int gettimeofday(struct timeval *ret, void *zone)
{
	struct timespec now;
	(void)zone;
	clock_gettime(CLOCK_REALTIME, &now);
	*ret = (struct timeval){now.tv_sec, now.tv_nsec / 1000};
	return 0;
}

int SSL_write(void *ssl, const void *bytes, int size)
{
	static int (*real)(void *, const void *, int);
	const char *file = getenv("KUBE_REKEY_TEST_STOP"), *at = getenv("KUBE_REKEY_TEST_STOP_AT");
	if (!real)
		real = (int (*)(void *, const void *, int))dlsym(RTLD_NEXT, "SSL_write");
	if (file && at && size > 0 && memmem(bytes, (size_t)size, at, strlen(at)) && unlink(file) == 0)
		raise(SIGSTOP); /* of this thread: for the process another one might take it, and this one go on for a moment */
	return real(ssl, bytes, size);
}

/* --- changes on disk --- */

/* Of what the program calls: its own calls go to the library behind this one. */
#define REAL(name)                       \
	static __typeof__(&(name)) real; \
	if (!real)                       \
	real = (__typeof__(&(name)))dlsym(RTLD_NEXT, #name)

static bool under_a_root(const char *path)
{
	const char *root = getenv("KUBE_REKEY_TEST_ROOTS");
	while (root && *root) {
		size_t len = strcspn(root, ":");
		if (strncmp(path, root, len) == 0 && (path[len] == '/' || !path[len]))
			return true;
		root += len + (root[len] == ':');
	}
	return false;
}

static bool matches(const char *change, const char *pattern)
{
	regex_t compiled;
	if (regcomp(&compiled, pattern, REG_EXTENDED | REG_NOSUB) != 0)
		abort();
	bool found = regexec(&compiled, change, 0, NULL, 0) == 0;
	regfree(&compiled);
	return found;
}

/* stdio's own writes are not seen here, so none of this counts. */
static void die_or_count(const char *change)
{
	const char *name = getenv("KUBE_REKEY_TEST_DEATH");
	FILE *file = name ? fopen(name, "re") : NULL;
	char pattern[2 * PATH_MAX];
	long left = 0;
	if (!file)
		return;
	int found = fscanf(file, "%ld %8191[^\n]", &left, pattern);
	fclose(file);
	if (found != 2 || !matches(change, pattern))
		return;
	file = fopen(name, "we");
	if (!file)
		abort();
	if (labs(left) > 1)
		fprintf(file, "%ld %s\n", left > 0 ? left - 1 : left + 1, pattern);
	else
		fprintf(file, "at %s\n", change);
	fclose(file);
	if (labs(left) <= 1)
		raise(left < 0 ? SIGSTOP : SIGKILL);
}

static const char *last_part(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

/* Before a change of `path`; `to`: its new name. */
static void changing(const char *call, const char *path, const char *to)
{
	const char *name = getenv("KUBE_REKEY_TEST_CHANGES");
	char change[2 * PATH_MAX];
	if (!under_a_root(path))
		return;
	snprintf(change, sizeof(change), "%s %s%s%s", call, last_part(path), to ? " > " : "", to ? last_part(to) : "");
	die_or_count(change);
	FILE *file = name ? fopen(name, "ae") : NULL;
	if (!file)
		return;
	fprintf(file, "%s\n", change);
	fclose(file);
}

static void changing_fd(const char *call, int fd)
{
	char link_name[64], path[PATH_MAX];
	if (!getenv("KUBE_REKEY_TEST_ROOTS"))
		return;
	snprintf(link_name, sizeof(link_name), "/proc/self/fd/%d", fd);
	ssize_t len = readlink(link_name, path, sizeof(path) - 1);
	if (len < 0)
		return;
	path[len] = '\0';
	changing(call, path, NULL);
}

/* A change only where the name is there already, or not yet: otherwise the call fails. */
static void changing_at(const char *call, int dir, const char *name, bool there, const char *to)
{
	char link_name[64], path[2 * PATH_MAX];
	struct stat info;
	if (!getenv("KUBE_REKEY_TEST_ROOTS") || (fstatat(dir, name, &info, AT_SYMLINK_NOFOLLOW) == 0) != there)
		return;
	if (dir == AT_FDCWD)
		snprintf(link_name, sizeof(link_name), "/proc/self/cwd");
	else
		snprintf(link_name, sizeof(link_name), "/proc/self/fd/%d", dir);
	ssize_t len = *name == '/' ? 0 : readlink(link_name, path, PATH_MAX);
	if (len < 0)
		return;
	snprintf(path + len, sizeof(path) - (size_t)len, "%s%s", *name == '/' ? "" : "/", name);
	changing(call, path, to);
}

ssize_t write(int fd, const void *bytes, size_t size)
{
	REAL(write);
	changing_fd("write", fd);
	return real(fd, bytes, size);
}

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t at)
{
	REAL(pwrite);
	changing_fd("pwrite", fd);
	return real(fd, bytes, size, at);
}

int ftruncate(int fd, off_t size)
{
	REAL(ftruncate);
	changing_fd("ftruncate", fd);
	return real(fd, size);
}

int fsync(int fd)
{
	REAL(fsync);
	changing_fd("fsync", fd);
	return real(fd);
}

int fdatasync(int fd)
{
	REAL(fdatasync);
	changing_fd("fdatasync", fd);
	return real(fd);
}

int rename(const char *from, const char *to)
{
	REAL(rename);
	changing_at("rename", AT_FDCWD, from, true, to);
	return real(from, to);
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
	REAL(renameat);
	changing_at("renameat", from_dir, from, true, to);
	return real(from_dir, from, to_dir, to);
}

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
	REAL(renameat2);
	changing_at("renameat2", from_dir, from, true, to);
	return real(from_dir, from, to_dir, to, flags);
}

int link(const char *from, const char *to)
{
	REAL(link);
	changing_at("link", AT_FDCWD, to, false, NULL);
	return real(from, to);
}

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
	REAL(linkat);
	changing_at("linkat", to_dir, to, false, NULL);
	return real(from_dir, from, to_dir, to, flags);
}

int unlink(const char *path)
{
	REAL(unlink);
	changing_at("unlink", AT_FDCWD, path, true, NULL);
	return real(path);
}

int unlinkat(int dir, const char *name, int flags)
{
	REAL(unlinkat);
	changing_at("unlinkat", dir, name, true, NULL);
	return real(dir, name, flags);
}

int mkdir(const char *path, mode_t mode)
{
	REAL(mkdir);
	changing_at("mkdir", AT_FDCWD, path, false, NULL);
	return real(path, mode);
}

int mkdirat(int dir, const char *name, mode_t mode)
{
	REAL(mkdirat);
	changing_at("mkdirat", dir, name, false, NULL);
	return real(dir, name, mode);
}

int rmdir(const char *path)
{
	REAL(rmdir);
	changing_at("rmdir", AT_FDCWD, path, true, NULL);
	return real(path);
}
