/* Loaded into kube-rekey before its libraries (LD_PRELOAD), by tests of several controllers.
 *
 * KUBE_REKEY_TEST_SKEW    seconds by which its wall clock is ahead
 * KUBE_REKEY_TEST_STOP    a file: while it is there, the next thing written over TLS that holds the text of
 *                         KUBE_REKEY_TEST_STOP_AT waits, the process stopped by SIGSTOP, the file removed */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
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
		kill(getpid(), SIGSTOP);
	return real(ssl, bytes, size);
}
