/* The engine's one thread: a curl_multi loop with timers and signals, so that a sweep, a census and scrapes go on side by side.
 *
 * Call-backs run from loop_step only, one at a time, never from inside curl (the one exception is http_request's on_data,
 * see there). The top of a command waits with loop_run_until; call-backs never do (it aborts: waiting inside a call-back
 * would nest loops). */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "base/alloc.h"
#include "base/error.h"

struct loop;

/* Blocks SIGTERM, SIGINT and SIGHUP in this thread and takes them by signalfd (no handler anywhere); ignores SIGPIPE. A
 * signal that was inherited as ignored (nohup, a shell's background job) stays ignored. Call it before any other thread
 * starts, so that they inherit the mask.
 * The second SIGTERM or SIGINT ends the process at once with 128 + its number: safe by design. -ERROR_IO. */
_must_check_ int loop_new(struct loop **ret, struct error **err);
void loop_free(struct loop *loop);
void loop_freep(struct loop **loop);
/* Monotonic ns: in a call-back the time at which its step woke up, so that all call-backs of a step agree; else the clock. */
uint64_t loop_now(const struct loop *loop);
/* 0, or the signal that asked us to stop. */
int loop_signal(const struct loop *loop);
/* Waits for I/O or the next timer (at most until `until`, monotonic ns) and runs what is due once. */
void loop_step(struct loop *loop, uint64_t until);
/* Whether this is asked from within a call-back of the loop, where waiting is forbidden. */
bool loop_in_callback(const struct loop *loop);
/* Steps until *done, or until the monotonic time `deadline` (0: none), or a signal unless ignore_signals was set.
 * 0, -ERROR_DEADLINE, -ERROR_INTERRUPTED. */
_must_check_ int loop_run_until(struct loop *loop, const bool *done, uint64_t deadline, struct error **err);
/* Lets the loop run until that monotonic time, or for so many ns. -ERROR_INTERRUPTED, as above. */
_must_check_ int loop_pause_until(struct loop *loop, uint64_t until, struct error **err);
_must_check_ int loop_pause(struct loop *loop, uint64_t ns, struct error **err);
/* From now on, while the top of a command waits, `fn` is called at least `interval` ns after it was last. From there, not from a
 * call-back: it may wait itself, and is not called meanwhile. NULL: no more. */
void loop_call_between(struct loop *loop, uint64_t interval, void (*fn)(void *arg), void *arg);
/* While set, signals are remembered but do not end loop_run_until: for finishing the request at hand. */
void loop_ignore_signals(struct loop *loop, bool ignore);

/* A timer is owned by whoever has the struct; zero it first. Firing once; set it again in the call-back to repeat. */
struct loop_timer {
	uint64_t due;
	void (*fn)(void *arg);
	void *arg;
	struct loop_timer *next;
	bool armed;
};
void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t due, void (*fn)(void *arg), void *arg);
void loop_timer_cancel(struct loop *loop, struct loop_timer *timer);

/* A descriptor that another thread, or the kernel, makes readable. Owned by whoever has the struct; zero it first. */
struct loop_fd {
	int fd;
	void (*fn)(void *arg);
	void *arg;
	struct loop_fd *next;
};
/* Calls fn in each step in which `fd` can be read. It is closed by its owner, after loop_unwatch_fd. -ERROR_IO. */
_must_check_ int loop_watch_fd(struct loop *loop, struct loop_fd *watch, int fd, void (*fn)(void *arg), void *arg,
			       struct error **err);
void loop_unwatch_fd(struct loop *loop, struct loop_fd *watch); /* one that is not watched is fine */

/* For net/http.c alone: the CURLM, and what to call when an easy handle in it is done (result is a CURLcode). The easy
 * handle was removed from the CURLM by then. An unwatched handle may be removed by its owner at any time. */
void *loop_curl(struct loop *loop);
void loop_watch_transfer(struct loop *loop, void *easy, void (*done)(void *arg, int result), void *arg);
void loop_unwatch_transfer(struct loop *loop, void *easy);
