/* The top of a sweep: waits, and ends it when it is done or must stop. */
#include "engine/sweep_internal.h"
#include <signal.h>

#define LOOK_INTERVAL (100 * NS_PER_MS) /* at the clock, for what no call-back says */

static void on_wake(void *arg)
{
	sweep_pump(arg);
}

void sweep_wake(struct sweep *sweep, uint64_t due)
{
	loop_timer_set(sweep->options->loop, &sweep->wake, due, on_wake, sweep);
}

void sweep_stop(struct sweep *sweep, int rc, struct error **error)
{
	if (sweep->stop != 0)
		return;
	sweep->stop = rc;
	sweep->error = steal(*error);
}

bool sweep_just_back(const struct sweep *sweep, uint64_t now)
{
	return sweep->away > 0 && now < sweep->away + SWEEP_START_MAX;
}

void sweep_hold(struct sweep *sweep, char *why, uint64_t until, struct error **error)
{
	if (error != NULL) {
		error_free(sweep->last_error);
		sweep->last_error = steal(*error);
	}
	if (sweep->full || (sweep->waiting != NULL && until < sweep->waiting_until)) {
		free(why);
		return;
	}
	free(sweep->waiting);
	sweep->waiting = why;
	sweep->waiting_until = until;
}

void sweep_pump(struct sweep *sweep)
{
	uint64_t now = loop_now(sweep->options->loop), again = UINT64_MAX, due;

	/* A page that is let flow again queues objects before kube_list_resume returns. */
	if (sweep->pumping)
		return;
	sweep->pumping = true;
	if (sweep->stop != 0) {
		sweep_list_cancel(sweep);
	} else if (!sweep->full && !sweep->on_hold) {
		sweep_list_pump(sweep, now);
		sweep_write_pump(sweep, now, &again);
		/* Writing has shortened the queue, perhaps. */
		sweep_list_pump(sweep, now);
	}
	due = sweep_list_due(sweep, now);
	if (again < due)
		due = again;
	if (due == UINT64_MAX || sweep->stop != 0 || sweep->full || sweep->on_hold)
		loop_timer_cancel(sweep->options->loop, &sweep->wake);
	else
		sweep_wake(sweep, due);
	sweep->pumping = false;
}

static bool is_over(const struct sweep *sweep)
{
	if (sweep->in_flight > 0 || sweep->lister.call != NULL)
		return false;
	if (sweep->stop != 0)
		return true;
	return sweep->lister.done && sweep->named == sweep->options->named_count && sweep->ready.first == NULL &&
	       sweep->later.first == NULL;
}

static void stop_for(struct sweep *sweep, enum error_code code, const char *why)
{
	_cleanup_error_ error = NULL;
	int rc = error_set(&error, code, "rewriting stopped after %llu objects: %s", (unsigned long long)sweep->done,
			   why);

	error_set_hint(&error, "the same command goes on");
	sweep_stop(sweep, rc, &error);
}

static void stop_away(struct sweep *sweep)
{
	_cleanup_error_ error = steal(sweep->last_error);

	if (error_code(error) != ERROR_NETWORK) {
		_cleanup_free_ char *words = xstrdup(error_message(error));

		error_clear(&error);
		error_set(&error, ERROR_NETWORK, "%s", words);
	}
	error_wrap(&error, -ERROR_NETWORK, "no useful answer from the server for 10 minutes");
	sweep_stop(sweep, -ERROR_NETWORK, &error);
}

static void ask_whether_wanted(struct sweep *sweep)
{
	const struct sweep_options *o = sweep->options;
	const struct throttle_options *now = &sweep->throttle.options;
	enum sweep_wish wish = o->wish != NULL ? o->wish(o->arg, &sweep->wanted) : SWEEP_GO_ON;
	struct throttle_options speed = sweep->wanted;
	kms_pace_slow(&sweep->kms, &speed);
	bool other = speed.qps != now->qps || speed.concurrency != now->concurrency;

	if (wish == SWEEP_GIVE_UP)
		stop_for(sweep, ERROR_CONFLICT, "it is no longer wanted");
	if (other)
		throttle_set(&sweep->throttle, &speed, loop_now(o->loop));
	/* The rate of before says nothing of what is to come. */
	if (other || (sweep->on_hold && wish != SWEEP_HOLD))
		sweep_progress_restart(sweep);
	/* The server is not away while we do not ask it. */
	if (wish == SWEEP_HOLD || sweep->on_hold)
		sweep->useful = loop_now(o->loop);
	sweep->on_hold = wish == SWEEP_HOLD;
}

/* What no call-back says: signals and the clock. */
static void look_up(struct sweep *sweep)
{
	const struct sweep_options *o = sweep->options;
	uint64_t now = loop_now(o->loop);
	int number = loop_signal(o->loop);

	if (sweep->stop != 0)
		return;
	ask_whether_wanted(sweep);
	if (number != 0) {
		_cleanup_free_ char *why = xasprintf("interrupted by SIG%s", sigabbrev_np(number));

		stop_for(sweep, ERROR_INTERRUPTED, why);
	} else if (o->deadline != 0 && now >= o->deadline) {
		stop_for(sweep, ERROR_DEADLINE, "the deadline passed");
	} else if (sweep->last_error != NULL && now >= sweep->useful + SWEEP_AWAY_MAX) {
		stop_away(sweep);
	} else {
		sweep_quota_check(sweep);
		sweep_kms_check(sweep);
		sweep_watch_check(sweep, now);
	}
}

static uint64_t next_look(const struct sweep *sweep)
{
	uint64_t until = clock_monotonic() + LOOK_INTERVAL;

	if (sweep->options->deadline != 0 && sweep->stop == 0 && sweep->options->deadline < until)
		until = sweep->options->deadline;
	return until;
}

static void work(struct sweep *sweep)
{
	sweep_list_begin(sweep);
	for (;;) {
		look_up(sweep);
		sweep_progress_tell(sweep, loop_now(sweep->options->loop), false);
		sweep_pump(sweep);
		if (is_over(sweep))
			return;
		loop_step(sweep->options->loop, next_look(sweep));
	}
}

static void release(struct sweep *sweep)
{
	loop_timer_cancel(sweep->options->loop, &sweep->wake);
	sweep_watch_stop(sweep);
	sweep_list_free(sweep);
	sweep_queue_free(&sweep->ready);
	sweep_queue_free(&sweep->later);
	strings_free(&sweep->places);
	sweep_tally_free(&sweep->tally);
	sweep_quota_free(sweep);
	kms_pace_free(&sweep->kms);
	free(sweep->shown_namespace);
	free(sweep->waiting);
	error_free(sweep->last_error);
	error_free(sweep->error);
}

int sweep_run(const struct sweep_options *options, struct sweep_result **ret, struct error **err)
{
	struct sweep sweep = {.options = options};
	uint64_t now = loop_now(options->loop);
	int rc;

	sweep.result = *ret = sweep_result_new(options, now);
	sweep.useful = now;
	sweep_queue_init(&sweep.ready);
	sweep_queue_init(&sweep.later);
	throttle_init(&sweep.throttle, &options->speed, now);
	sweep.wanted = sweep.throttle.options;
	sweep_list_init(&sweep);
	sweep_quota_init(&sweep);
	sweep_progress_init(&sweep);
	rc = sweep_places_find(&sweep, err);
	if (rc == 0) {
		sweep_watch_start(&sweep);
		work(&sweep);
		rc = sweep.stop;
		if (err != NULL)
			*err = steal(sweep.error);
	}
	now = loop_now(options->loop);
	sweep_progress_tell(&sweep, now, true);
	if (rc == 0)
		sweep.result->finished = now;
	release(&sweep);
	return rc;
}
