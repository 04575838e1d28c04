/* Which rotation goes on, what the others are told, and what keeps the one that goes on from going on. */
#include "test_support.h"

#include "engine/controller_internal.h"

#define S NS_PER_S
#define T0 "2026-11-22T11:03:20Z"
#define T1 "2026-11-22T11:03:21Z"

static struct key_rotation *rotation(const char *name, const char *created, const char *began)
{
	struct key_rotation *ret = key_rotation_new(name);
	ret->meta.created = xstrdup(created);
	ret->status.started_at = began ? xstrdup(began) : NULL;
	return ret;
}

static void expect_turns(struct rotation_queue *queue, const char *names)
{
	_cleanup_strings_ got = {0};
	struct key_rotation *next;
	while ((next = queue_take(queue))) {
		strings_add(&got, next->meta.name);
		key_rotation_free(next);
	}
	_cleanup_free_ char *text = strings_join(&got, " ");
	assert_string_equal(text, names);
	queue_free(queue);
}

static void the_older_one_goes_on_then_the_first_by_name(void **state)
{
	struct rotation_queue queue = {0};
	(void)state;
	queue_add(&queue, rotation("c", T1, NULL));
	queue_add(&queue, rotation("a", T1, NULL));
	queue_add(&queue, rotation("z", T0, NULL));
	expect_turns(&queue, "z a c");
}

static void the_one_that_began_goes_on_whatever_is_older(void **state)
{
	struct rotation_queue queue = {0};
	(void)state;
	queue_add(&queue, rotation("a", T0, NULL));
	queue_add(&queue, rotation("b", T1, T1));
	expect_turns(&queue, "b a");
}

static void what_is_over_or_goes_away_has_no_turn(void **state)
{
	struct rotation_queue queue = {0};
	struct key_rotation *over = rotation("a", T0, T0), *going = rotation("b", T0, NULL);
	(void)state;
	over->status.outcome = xstrdup("Done");
	going->meta.deleting = true;
	queue_add(&queue, over);
	queue_add(&queue, going);
	queue_add(&queue, rotation("c", T1, NULL));
	expect_turns(&queue, "c");
}

static void the_one_that_ended_last_is_kept(void **state)
{
	static const char *const ended[] = {T0, T1, NULL, T0};
	struct rotation_queue queue = {0};
	(void)state;
	for (size_t i = 0; i < ELEMENTS(ended); i++) {
		_cleanup_free_ char *name = xasprintf("over-%zu", i);
		struct key_rotation *over = rotation(name, T0, T0);
		over->status.outcome = xstrdup("Done");
		over->status.completed_at = ended[i] ? xstrdup(ended[i]) : NULL;
		queue_add(&queue, over);
	}
	assert_null(queue_take(&queue));
	assert_string_equal(queue.over->meta.name, "over-1");
	queue_free(&queue);
	assert_null(queue.over);
}

static void whoever_waits_is_told_for_whom_once(void **state)
{
	_cleanup_(key_rotation_freep) struct key_rotation *waits = rotation("c", T1, NULL);
	_cleanup_strings_ before = {0};
	(void)state;
	strings_add(&before, "a");
	strings_add(&before, "b");
	assert_true(queue_tell(waits, &before, 5 * S));
	assert_string_equal(waits->status.phase, "Queued");
	const struct key_rotation_condition *progressing = key_rotation_condition(&waits->status, "Progressing");
	assert_string_equal(progressing->status, "False");
	assert_string_equal(progressing->reason, "Queued");
	assert_string_equal(progressing->message, "waits for KeyRotation a, then b");
	assert_null(waits->status.outcome);
	assert_false(queue_tell(waits, &before, 6 * S));
	/* It has not begun: whose turn it is depends on that. */
	assert_null(waits->status.started_at);
}

static void what_is_aborted_before_its_turn_is_over(void **state)
{
	_cleanup_(key_rotation_freep) struct key_rotation *waits = rotation("c", T1, NULL);
	_cleanup_strings_ before = {0};
	(void)state;
	waits->spec.aborted = true;
	assert_true(queue_tell(waits, &before, 5 * S));
	assert_string_equal(waits->status.outcome, "Aborted");
	assert_string_equal(waits->status.phase, "Aborted");
	assert_non_null(waits->status.completed_at);
	assert_true(key_rotation_holds(waits, "Complete"));
}

/* --- what keeps it --- */

#define BEGAN (UINT64_C(1795345400) * S) /* T0 */

enum what { WAIT, FIRST, NEXT, RESCUES, REWRITES, SECOND_NONCE, ENDS, NO_PATH };
struct row {
	const char *name;
	enum what what; /* is decided */
	uint64_t deadline, after;
	bool paused, aborted;
	enum hold want;
};
static const struct row rows[] = {
	{"nothing keeps it", FIRST, 0, 1000 * S, false, false, HOLD_NOT},
	{"a pause keeps every step", NEXT, 0, 0, true, false, HOLD_PAUSED},
	{"a pause keeps what mends a file", RESCUES, 0, 0, true, false, HOLD_PAUSED},
	{"a pause keeps the way back", FIRST, 0, 0, true, true, HOLD_PAUSED},
	{"a pause goes before a deadline", FIRST, 60, 60 * S, true, false, HOLD_PAUSED},
	{"a moment before the deadline", FIRST, 60, 60 * S - 1, false, false, HOLD_NOT},
	{"at the deadline no step is begun", FIRST, 60, 60 * S, false, false, HOLD_DEADLINE},
	{"nothing is rewritten", REWRITES, 60, 60 * S, false, false, HOLD_DEADLINE},
	{"no wait goes on", WAIT, 60, 60 * S, false, false, HOLD_DEADLINE},
	{"no path is looked for", NO_PATH, 60, 60 * S, false, false, HOLD_DEADLINE},
	{"a step that some server took is finished", NEXT, 60, 60 * S, false, false, HOLD_NOT},
	{"a file is mended", RESCUES, 60, 60 * S, false, false, HOLD_NOT},
	{"a step is written again to be seen", SECOND_NONCE, 60, 60 * S, false, false, HOLD_NOT},
	{"what has ended ends", ENDS, 60, 60 * S, false, false, HOLD_NOT},
	{"the way back is not kept by a deadline", FIRST, 60, 60 * S, false, true, HOLD_NOT},
};

static struct decision decided(enum what what)
{
	struct decision d = {.action = ACTION_WRITE_STEP, .reason = REASON_STEP, .to_step = 2, .server = 0};
	if (what == NEXT)
		d.to_step = 1;
	d.rescue = what == RESCUES;
	if (what == SECOND_NONCE)
		d.reason = REASON_SECOND_NONCE;
	if (what == WAIT || what == REWRITES || what == ENDS)
		d.action = what == WAIT ? ACTION_WAIT : what == ENDS ? ACTION_DONE : ACTION_REENCRYPT;
	return d;
}

/* One server is at step 0, the other at step 1. */
static void keeps(void **state)
{
	const struct row *row = *state;
	struct server_observation servers[] = {{.file_step = 0}, {.file_step = 1}};
	const struct observation seen = {.servers = servers, .server_count = 2};
	const struct decision d = decided(row->what);
	_cleanup_(key_rotation_freep) struct key_rotation *it = rotation("a", T0, T0);
	it->spec.deadline_seconds = row->deadline;
	it->spec.paused = row->paused;
	it->spec.aborted = row->aborted;
	assert_int_equal(controller_hold(it, &seen, row->what == NO_PATH ? NULL : &d, BEGAN + row->after), row->want);
}

static void a_deadline_says_when_it_was_and_how_to_go_on(void **state)
{
	_cleanup_(key_rotation_freep) struct key_rotation *it = rotation("a", T0, T0);
	(void)state;
	it->spec.deadline_seconds = 60;
	_cleanup_free_ char *words = hold_words(it, HOLD_DEADLINE, false);
	assert_non_null(strstr(words, "its deadline passed at 2026-11-22T11:04:20Z"));
	assert_non_null(strstr(words, "kubectl rekey resume a"));
}

static void a_pause_says_what_it_keeps_from_being_read(void **state)
{
	_cleanup_(key_rotation_freep) struct key_rotation *it = rotation("a", T0, T0);
	(void)state;
	_cleanup_free_ char *words = hold_words(it, HOLD_PAUSED, false), *mends = hold_words(it, HOLD_PAUSED, true);
	assert_string_equal(words, "paused");
	assert_string_equal(
		mends, "paused, though until it goes on a server cannot read some values (kubectl rekey resume a)");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_older_one_goes_on_then_the_first_by_name),
		cmocka_unit_test(the_one_that_began_goes_on_whatever_is_older),
		cmocka_unit_test(what_is_over_or_goes_away_has_no_turn),
		cmocka_unit_test(the_one_that_ended_last_is_kept),
		cmocka_unit_test(whoever_waits_is_told_for_whom_once),
		cmocka_unit_test(what_is_aborted_before_its_turn_is_over),
		cmocka_unit_test(a_deadline_says_when_it_was_and_how_to_go_on),
		cmocka_unit_test(a_pause_says_what_it_keeps_from_being_read),
	};
	return RUN_ROWS(keeps, rows) + cmocka_run_group_tests(tests, NULL, NULL);
}
