#include "test_support.h"
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "net/loop.h"

static struct loop *new_loop(void)
{
	struct loop *loop = NULL;
	struct error *err = NULL;

	assert_ok(loop_new(&loop, &err), err);
	return loop;
}

struct shot {
	struct loop *loop;
	char *order;
	char letter;
	struct loop_timer timer;
	unsigned again;
	uint64_t at;
};

static void fire(void *arg)
{
	struct shot *shot = arg;
	size_t len = strlen(shot->order);

	shot->order[len] = shot->letter;
	shot->order[len + 1] = '\0';
	shot->at = loop_now(shot->loop);
	if (shot->again > 0) {
		shot->again--;
		loop_timer_set(shot->loop, &shot->timer, 0, fire, shot);
	}
}

static void test_timers_fire_in_order(void **state)
{
	_cleanup_(loop_freep) struct loop *loop = new_loop();
	uint64_t now = loop_now(loop);
	char order[16] = "";
	struct shot shots[4];
	int i;

	(void)state;
	for (i = 0; i < 4; i++)
		shots[i] = (struct shot){.loop = loop, .order = order, .letter = (char)('a' + i)};
	loop_timer_set(loop, &shots[0].timer, now + 3, fire, &shots[0]);
	loop_timer_set(loop, &shots[1].timer, now + 1, fire, &shots[1]);
	loop_timer_set(loop, &shots[2].timer, now + 1, fire, &shots[2]);
	loop_timer_set(loop, &shots[3].timer, now + 2, fire, &shots[3]);
	loop_timer_cancel(loop, &shots[3].timer);
	loop_timer_cancel(loop, &shots[3].timer);
	assert_false(shots[3].timer.armed);
	usleep(100);
	loop_step(loop, 0);
	assert_string_equal(order, "bca");
	assert_int_equal(shots[0].at, shots[1].at);
}

static void test_set_again_moves(void **state)
{
	_cleanup_(loop_freep) struct loop *loop = new_loop();
	char order[16] = "";
	struct shot shot = {.loop = loop, .order = order, .letter = 'a'};

	(void)state;
	loop_timer_set(loop, &shot.timer, 0, fire, &shot);
	loop_timer_set(loop, &shot.timer, loop_now(loop) + 60 * NS_PER_S, fire, &shot);
	loop_step(loop, 0);
	assert_string_equal(order, "");
	assert_true(shot.timer.armed);
	loop_timer_cancel(loop, &shot.timer);
}

/* A timer that sets itself for now fires once a step, so that the step ends. */
static void test_repeating_timer_does_not_hold_the_step(void **state)
{
	_cleanup_(loop_freep) struct loop *loop = new_loop();
	char order[16] = "";
	struct shot shot = {.loop = loop, .order = order, .letter = 'a', .again = 3};

	(void)state;
	loop_timer_set(loop, &shot.timer, 0, fire, &shot);
	loop_step(loop, 0);
	assert_string_equal(order, "a");
	loop_step(loop, 0);
	assert_string_equal(order, "aa");
	loop_timer_cancel(loop, &shot.timer);
}

static void test_deadline(void **state)
{
	_cleanup_(loop_freep) struct loop *loop = new_loop();
	struct error *err = NULL;
	bool done = false;
	uint64_t begun = loop_now(loop);

	(void)state;
	assert_error(loop_run_until(loop, &done, begun + 20 * NS_PER_MS, &err), err, ERROR_DEADLINE,
		     "the deadline passed");
	assert_true(loop_now(loop) - begun >= 20 * NS_PER_MS);
	assert_true(loop_now(loop) - begun < 5 * NS_PER_S);
	done = true;
	assert_ok(loop_run_until(loop, &done, 1, &err), err);
}

struct between {
	struct loop *loop;
	unsigned calls;
	bool done;
};

/* It waits itself, longer than the time after which it would be called again. */
static void wait_between(void *arg)
{
	struct between *between = arg;
	const bool never = false;
	between->calls++;
	assert_int_equal(loop_run_until(between->loop, &never, clock_monotonic() + 30 * NS_PER_MS, NULL),
			 -ERROR_DEADLINE);
	between->done = between->calls == 2;
}

static void test_call_between(void **state)
{
	_cleanup_(loop_freep) struct loop *loop = new_loop();
	struct between between = {.loop = loop};
	struct error *err = NULL;
	const bool never = false;

	(void)state;
	loop_call_between(loop, 10 * NS_PER_MS, wait_between, &between);
	assert_ok(loop_run_until(loop, &between.done, clock_monotonic() + 10 * NS_PER_S, &err), err);
	assert_int_equal(between.calls, 2);
	loop_call_between(loop, 0, NULL, NULL);
	assert_int_equal(loop_run_until(loop, &never, clock_monotonic() + 30 * NS_PER_MS, NULL), -ERROR_DEADLINE);
	assert_int_equal(between.calls, 2);
}

static void set_done(void *arg)
{
	*(bool *)arg = true;
}

static void test_signal_ends_the_wait(void **state)
{
	_cleanup_(loop_freep) struct loop *loop = new_loop();
	struct loop_timer timer = {0};
	struct error *err = NULL;
	bool done = false;

	(void)state;
	assert_int_equal(loop_signal(loop), 0);
	kill(getpid(), SIGTERM);
	assert_error(loop_run_until(loop, &done, 0, &err), err, ERROR_INTERRUPTED, "interrupted by SIGTERM");
	assert_int_equal(loop_signal(loop), SIGTERM);
	/* The request at hand is finished all the same. */
	loop_ignore_signals(loop, true);
	loop_timer_set(loop, &timer, 0, set_done, &done);
	assert_ok(loop_run_until(loop, &done, 0, &err), err);
	loop_ignore_signals(loop, false);
	done = false;
	assert_int_equal(loop_run_until(loop, &done, 0, NULL), -ERROR_INTERRUPTED);
}

struct signal_row {
	const char *name;
	int first, second;
	bool ignore_first; /* as nohup does */
	int exit_status;   /* 0: it goes on until a SIGTERM */
};
static const struct signal_row signal_rows[] = {
	{"second SIGTERM", SIGTERM, SIGTERM, false, 128 + SIGTERM},
	{"SIGINT, then SIGTERM", SIGINT, SIGTERM, false, 128 + SIGTERM},
	{"second SIGINT", SIGTERM, SIGINT, false, 128 + SIGINT},
	{"a hang-up after the first changes nothing", SIGTERM, SIGHUP, false, 0},
	{"a hang-up, then SIGTERM is the first", SIGHUP, SIGTERM, false, 0},
	{"an ignored hang-up stays ignored", SIGHUP, 0, true, 0},
	{"an ignored SIGINT stays ignored", SIGINT, 0, true, 0},
};

/* In a child: takes both signals, and ends with 77 when it is still there. */
static void signal_child(const struct signal_row *row)
{
	struct loop *loop;

	if (row->ignore_first)
		signal(row->first, SIG_IGN);
	loop = new_loop();
	kill(getpid(), row->first);
	loop_step(loop, 0);
	if (loop_signal(loop) != (row->ignore_first ? 0 : row->first))
		_exit(1);
	if (row->second != 0)
		kill(getpid(), row->second);
	loop_step(loop, 0);
	_exit(77);
}

static void test_second_signal(void **state)
{
	const struct signal_row *row = *state;
	int status;
	pid_t pid = fork();

	if (pid == 0)
		signal_child(row);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), row->exit_status ? row->exit_status : 77);
}

static void wait_inside(void *arg)
{
	bool done = false;

	signal(SIGABRT, SIG_DFL);
	(void)!loop_run_until(arg, &done, 1, NULL);
}

static void test_waiting_in_a_call_back_aborts(void **state)
{
	int status;
	pid_t pid = fork();

	(void)state;
	if (pid == 0) {
		struct loop *loop = new_loop();
		struct loop_timer timer = {0};

		loop_timer_set(loop, &timer, 0, wait_inside, loop);
		loop_step(loop, 0);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_timers_fire_in_order),
		cmocka_unit_test(test_set_again_moves),
		cmocka_unit_test(test_repeating_timer_does_not_hold_the_step),
		cmocka_unit_test(test_deadline),
		cmocka_unit_test(test_call_between),
		cmocka_unit_test(test_signal_ends_the_wait),
		cmocka_unit_test(test_waiting_in_a_call_back_aborts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL) + RUN_ROWS(test_second_signal, signal_rows);
}
