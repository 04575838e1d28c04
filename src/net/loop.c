#include "net/loop.h"
#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>
#include "base/clock.h"

#define NO_DEADLINE UINT64_MAX
#define MAX_WAIT_MS 60000 /* also bounds what a suspend can hide from a timer */
#define EVENTS_A_STEP 64

struct transfer {
	CURL *easy;
	void (*done)(void *arg, int result);
	void *arg;
};

struct loop {
	CURLM *multi;
	int epoll_fd;
	int signal_fd;
	uint64_t now;
	uint64_t curl_due;          /* when curl wants to be called without an event */
	struct loop_fd *fds;        /* a few at most */
	struct loop_timer *timers;  /* by due time, equal ones in the order in which they were set */
	struct transfer *transfers; /* a few dozen at most: found by going through them */
	size_t transfer_count, transfer_size;
	int signal;
	bool ignore_signals;
	bool in_callback;
	struct {
		void (*fn)(void *arg); /* NULL: none, or it is running */
		void *arg;
		uint64_t interval, due;
	} between;
};

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;
static CURLcode curl_once_result;

static void curl_init_once(void)
{
	curl_once_result = curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* curl's CURLMOPT_SOCKETFUNCTION: what it wants to know about `fd`. `known` is non-NULL once epoll has it. */
static int on_curl_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *known)
{
	struct loop *loop = arg;
	struct epoll_event event = {.data.fd = fd};

	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		/* A closed one is gone already: nothing to report. */
		epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
		curl_multi_assign(loop->multi, fd, NULL);
		return 0;
	}
	if (what & CURL_POLL_IN)
		event.events |= EPOLLIN;
	if (what & CURL_POLL_OUT)
		event.events |= EPOLLOUT;
	if (epoll_ctl(loop->epoll_fd, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event) < 0) {
		/* A number that was closed and opened again behind our back. */
		int other = errno == EEXIST ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

		if (epoll_ctl(loop->epoll_fd, other, fd, &event) < 0)
			return -1;
	}
	curl_multi_assign(loop->multi, fd, loop);
	return 0;
}

static int on_curl_timer(CURLM *multi, long timeout_ms, void *arg)
{
	struct loop *loop = arg;

	(void)multi;
	if (timeout_ms < 0)
		loop->curl_due = NO_DEADLINE;
	else
		loop->curl_due = timeout_ms == 0 ? 0 : clock_monotonic() + (uint64_t)timeout_ms * NS_PER_MS;
	return 0;
}

static int signals_take(struct loop *loop, struct error **err)
{
	static const int wanted[] = {SIGTERM, SIGINT, SIGHUP};
	struct epoll_event event = {.events = EPOLLIN};
	sigset_t set;
	size_t i;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	for (i = 0; i < ELEMENTS(wanted); i++) {
		struct sigaction old;

		/* A blocked signal reaches a signalfd even when it is ignored: leave those out. */
		if (sigaction(wanted[i], NULL, &old) == 0 && old.sa_handler == SIG_IGN)
			continue;
		sigaddset(&set, wanted[i]);
	}
	if (pthread_sigmask(SIG_BLOCK, &set, NULL) != 0)
		return error_set(err, ERROR_IO, "blocking signals failed");
	loop->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (loop->signal_fd < 0)
		return error_set_errno(err, ERROR_IO, errno, "making a signalfd");
	event.data.fd = loop->signal_fd;
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, loop->signal_fd, &event) < 0)
		return error_set_errno(err, ERROR_IO, errno, "watching the signalfd");
	return 0;
}

int loop_new(struct loop **ret, struct error **err)
{
	_cleanup_(loop_freep) struct loop *loop = xcalloc(1, sizeof(*loop));
	int rc;

	loop->epoll_fd = loop->signal_fd = -1;
	loop->curl_due = NO_DEADLINE;
	pthread_once(&curl_once, curl_init_once);
	if (curl_once_result != CURLE_OK)
		return error_set(err, ERROR_IO, "starting libcurl: %s", curl_easy_strerror(curl_once_result));
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll_fd < 0)
		return error_set_errno(err, ERROR_IO, errno, "making an epoll descriptor");
	rc = signals_take(loop, err);
	if (rc < 0)
		return rc;
	loop->multi = curl_multi_init();
	if (loop->multi == NULL)
		return error_set(err, ERROR_IO, "starting libcurl's multi interface failed");
	curl_multi_setopt(loop->multi, CURLMOPT_SOCKETFUNCTION, on_curl_socket);
	curl_multi_setopt(loop->multi, CURLMOPT_SOCKETDATA, loop);
	curl_multi_setopt(loop->multi, CURLMOPT_TIMERFUNCTION, on_curl_timer);
	curl_multi_setopt(loop->multi, CURLMOPT_TIMERDATA, loop);
	/* By default curl keeps four connections for each transfer under way, and so drops ours whenever it is quiet. */
	curl_multi_setopt(loop->multi, CURLMOPT_MAXCONNECTS, 256L);
	/* Two calls on one HTTP/2 connection break one another in curl 7.88: framing errors, lost trailers. */
	curl_multi_setopt(loop->multi, CURLMOPT_PIPELINING, CURLPIPE_NOTHING);
	*ret = steal(loop);
	return 0;
}

void loop_free(struct loop *loop)
{
	if (loop == NULL)
		return;
	if (loop->multi != NULL)
		curl_multi_cleanup(loop->multi);
	if (loop->signal_fd >= 0)
		close(loop->signal_fd);
	if (loop->epoll_fd >= 0)
		close(loop->epoll_fd);
	free(loop->transfers);
	free(loop);
}

void loop_freep(struct loop **loop)
{
	loop_free(*loop);
}

uint64_t loop_now(const struct loop *loop)
{
	return loop->in_callback ? loop->now : clock_monotonic();
}

int loop_signal(const struct loop *loop)
{
	return loop->signal;
}

bool loop_in_callback(const struct loop *loop)
{
	return loop->in_callback;
}

void loop_ignore_signals(struct loop *loop, bool ignore)
{
	loop->ignore_signals = ignore;
}

static void signals_read(struct loop *loop)
{
	struct signalfd_siginfo info;

	while (read(loop->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		int number = (int)info.ssi_signo;

		if (loop->signal == SIGTERM || loop->signal == SIGINT) {
			if (number != SIGHUP)
				_exit(128 + number);
			continue;
		}
		loop->signal = number;
	}
}

/* The finished transfers' call-backs. They may start and cancel others: curl forgets messages of removed handles. */
static void transfers_finish(struct loop *loop)
{
	CURLMsg *message;
	int left;

	while ((message = curl_multi_info_read(loop->multi, &left)) != NULL) {
		CURL *easy = message->easy_handle;
		CURLcode result = message->data.result;
		struct transfer transfer;
		size_t i = 0;

		while (i < loop->transfer_count && loop->transfers[i].easy != easy)
			i++;
		/* The message is void after this. */
		curl_multi_remove_handle(loop->multi, easy);
		if (i == loop->transfer_count)
			continue;
		transfer = loop->transfers[i];
		loop->transfers[i] = loop->transfers[--loop->transfer_count];
		transfer.done(transfer.arg, (int)result);
	}
}

/* Fires what is due, but not what a call-back sets for now: a timer that repeats itself must not hold the step. */
static void timers_fire(struct loop *loop)
{
	struct loop_timer *timer;
	size_t due = 0;

	for (timer = loop->timers; timer != NULL && timer->due <= loop->now; timer = timer->next)
		due++;
	while (due-- > 0 && loop->timers != NULL && loop->timers->due <= loop->now) {
		timer = loop->timers;
		loop->timers = timer->next;
		timer->next = NULL;
		timer->armed = false;
		timer->fn(timer->arg);
	}
}

static void curl_run_due(struct loop *loop)
{
	int running;

	if (loop->curl_due > loop->now)
		return;
	loop->curl_due = NO_DEADLINE;
	curl_multi_socket_action(loop->multi, CURL_SOCKET_TIMEOUT, 0, &running);
}

static int wait_ms(const struct loop *loop, uint64_t until)
{
	uint64_t now = clock_monotonic(), wait;

	if (loop->timers != NULL && loop->timers->due < until)
		until = loop->timers->due;
	if (loop->curl_due < until)
		until = loop->curl_due;
	if (until <= now)
		return 0;
	wait = until - now;
	if (wait >= (uint64_t)MAX_WAIT_MS * NS_PER_MS)
		return MAX_WAIT_MS;
	return (int)((wait + NS_PER_MS - 1) / NS_PER_MS);
}

/* Whether it is one of ours, not curl's. */
static bool fd_readable(struct loop *loop, int fd)
{
	struct loop_fd *watch = loop->fds;

	while (watch != NULL && watch->fd != fd)
		watch = watch->next;
	if (watch != NULL)
		watch->fn(watch->arg);
	return watch != NULL;
}

void loop_step(struct loop *loop, uint64_t until)
{
	struct epoll_event events[EVENTS_A_STEP];
	int count, i, running;

	if (loop->in_callback)
		abort();
	count = epoll_wait(loop->epoll_fd, events, EVENTS_A_STEP, wait_ms(loop, until));
	loop->now = clock_monotonic();
	loop->in_callback = true;
	for (i = 0; i < count; i++) {
		int what = 0;

		if (events[i].data.fd == loop->signal_fd) {
			signals_read(loop);
			continue;
		}
		if (fd_readable(loop, events[i].data.fd))
			continue;
		if (events[i].events & (EPOLLIN | EPOLLHUP))
			what |= CURL_CSELECT_IN;
		if (events[i].events & EPOLLOUT)
			what |= CURL_CSELECT_OUT;
		if (events[i].events & EPOLLERR)
			what |= CURL_CSELECT_ERR;
		curl_multi_socket_action(loop->multi, events[i].data.fd, what, &running);
	}
	curl_run_due(loop);
	transfers_finish(loop);
	timers_fire(loop);
	/* What the call-backs started is sent now, not after another round through epoll; it may even be done by that. */
	curl_run_due(loop);
	transfers_finish(loop);
	loop->in_callback = false;
}

static void call_between(struct loop *loop)
{
	void (*fn)(void *arg) = loop->between.fn;

	if (fn == NULL || clock_monotonic() < loop->between.due)
		return;
	loop->between.fn = NULL;
	fn(loop->between.arg);
	loop_call_between(loop, loop->between.interval, fn, loop->between.arg);
}

static uint64_t step_end(const struct loop *loop, uint64_t deadline)
{
	uint64_t end = deadline != 0 ? deadline : NO_DEADLINE;

	return loop->between.fn != NULL && loop->between.due < end ? loop->between.due : end;
}

int loop_run_until(struct loop *loop, const bool *done, uint64_t deadline, struct error **err)
{
	if (loop->in_callback)
		abort();
	while (!*done) {
		if (loop->signal != 0 && !loop->ignore_signals)
			return error_set(err, ERROR_INTERRUPTED, "interrupted by SIG%s", sigabbrev_np(loop->signal));
		if (deadline != 0 && clock_monotonic() >= deadline)
			return error_set(err, ERROR_DEADLINE, "the deadline passed");
		call_between(loop);
		if (!*done)
			loop_step(loop, step_end(loop, deadline));
	}
	return 0;
}

int loop_pause_until(struct loop *loop, uint64_t until, struct error **err)
{
	const bool never = false;
	return until == 0 ? 0 : error_forgive(err, loop_run_until(loop, &never, until, err), ERROR_DEADLINE);
}

int loop_pause(struct loop *loop, uint64_t ns, struct error **err)
{
	return loop_pause_until(loop, clock_monotonic() + ns, err);
}

void loop_call_between(struct loop *loop, uint64_t interval, void (*fn)(void *arg), void *arg)
{
	loop->between.fn = fn;
	loop->between.arg = arg;
	loop->between.interval = interval;
	loop->between.due = clock_monotonic() + interval;
}

void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t due, void (*fn)(void *arg), void *arg)
{
	struct loop_timer **place = &loop->timers;

	loop_timer_cancel(loop, timer);
	while (*place != NULL && (*place)->due <= due)
		place = &(*place)->next;
	*timer = (struct loop_timer){.due = due, .fn = fn, .arg = arg, .next = *place, .armed = true};
	*place = timer;
}

void loop_timer_cancel(struct loop *loop, struct loop_timer *timer)
{
	struct loop_timer **place = &loop->timers;

	if (!timer->armed)
		return;
	while (*place != timer)
		place = &(*place)->next;
	*place = timer->next;
	timer->next = NULL;
	timer->armed = false;
}

void *loop_curl(struct loop *loop)
{
	return loop->multi;
}

int loop_watch_fd(struct loop *loop, struct loop_fd *watch, int fd, void (*fn)(void *arg), void *arg,
		  struct error **err)
{
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
		return error_set_errno(err, ERROR_IO, errno, "watching a descriptor");
	*watch = (struct loop_fd){.fd = fd, .fn = fn, .arg = arg, .next = loop->fds};
	loop->fds = watch;
	return 0;
}

void loop_unwatch_fd(struct loop *loop, struct loop_fd *watch)
{
	struct loop_fd **place = &loop->fds;

	while (*place != NULL && *place != watch)
		place = &(*place)->next;
	if (*place == NULL)
		return;
	*place = watch->next;
	epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
}

void loop_watch_transfer(struct loop *loop, void *easy, void (*done)(void *arg, int result), void *arg)
{
	if (loop->transfer_count == loop->transfer_size) {
		loop->transfer_size = loop->transfer_size ? 2 * loop->transfer_size : 16;
		loop->transfers = xreallocarray(loop->transfers, loop->transfer_size, sizeof(*loop->transfers));
	}
	loop->transfers[loop->transfer_count++] = (struct transfer){.easy = easy, .done = done, .arg = arg};
}

void loop_unwatch_transfer(struct loop *loop, void *easy)
{
	size_t i;

	for (i = 0; i < loop->transfer_count; i++) {
		if (loop->transfers[i].easy != easy)
			continue;
		loop->transfers[i] = loop->transfers[--loop->transfer_count];
		return;
	}
}
