/* The machine that follows a collection: a row a rule, and every cut of every message. */
#include "test_support.h"
#include <stdio.h>
#include "base/buf.h"
#include "base/clock.h"
#include "client/kube/watch.h"

#define T0 (1000 * NS_PER_S)
#define ROW_STEPS_MAX 24
#define META(name, version)                                                                                            \
	"{\"metadata\":{\"name\":\"" name "\",\"namespace\":\"ns\",\"uid\":\"u\",\"resourceVersion\":\"" version "\"}" \
	"}"
#define EVENT(type, name, version) "{\"type\":\"" type "\",\"object\":" META(name, version) "}"
#define BOOKMARK(version) "{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"" version "\"}}}"
#define ERROR_EVENT(code) "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"code\":" code "}}"

struct step {
	enum { END, ITEM, LISTED, LIST_FAILED, CONNECTED, TEXT, PART, PONG, ENDED, PASS } what;
	const char *text; /* ITEM: a name; LISTED: a version; TEXT: a message; PART: one that goes on */
	unsigned number;  /* LIST_FAILED, ENDED: a status; PASS: ms; LISTED: none */
};

struct row {
	const char *name;
	struct step steps[ROW_STEPS_MAX];
	const char *log; /* what was to be done and what the user learnt, in order; a step begins with '|' */
};

/* What was to be done at first, in each row. */
#define BEGUN "relist list "

static struct {
	struct watch *machine;
	struct buf log;
	uint64_t now;
} bed;

__attribute__((format(printf, 1, 2))) static void note(const char *fmt, ...)
{
	va_list args;
	char line[256];

	va_start(args, fmt);
	vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	assert_int_equal(buf_append_text(&bed.log, line), 0);
}

static void on_relist(void *arg)
{
	(void)arg;
	note("relist ");
}

static void on_listed(void *arg, const struct watch_object *object)
{
	(void)arg;
	note("item:%s ", object->name);
}

static void on_synced(void *arg)
{
	(void)arg;
	note("synced ");
}

static void on_event(void *arg, enum watch_event_type type, const struct watch_object *object)
{
	static const char *const names[] = {"added", "modified", "deleted"};

	(void)arg;
	note("%s:%s/%s%s ", names[type], object->namespace_, object->name, object->json != NULL ? "+json" : "");
}

static void on_bookmark(void *arg, const char *resource_version)
{
	(void)arg;
	note("bookmark:%s ", resource_version);
}

static const struct watch_handler handler = {.on_relist = on_relist,
					     .on_listed = on_listed,
					     .on_synced = on_synced,
					     .on_event = on_event,
					     .on_bookmark = on_bookmark};

/* All that is to be done now; gives back when something is due again. */
static uint64_t drive(void)
{
	enum watch_do what;
	uint64_t due;

	while ((what = watch_next(bed.machine, bed.now, &due)) != WATCH_NOTHING) {
		switch (what) {
		case WATCH_LIST:
			note("list ");
			break;
		case WATCH_CONNECT:
			note("connect:%s ", watch_resource_version(bed.machine));
			break;
		case WATCH_PING:
			note("ping ");
			break;
		case WATCH_HANG_UP:
			note("hangup ");
			break;
		case WATCH_NOTHING:
			break;
		}
	}
	return due;
}

/* In steps of what is due, as a loop's timer would do it. */
static void pass(unsigned ms)
{
	uint64_t until = bed.now + ms * NS_PER_MS, due;

	while ((due = drive()) <= until) {
		assert_true(due > bed.now);
		bed.now = due;
	}
	bed.now = until;
}

/* `cut`: where texts are cut in two. */
static void take(const struct step *step, size_t cut)
{
	size_t len = step->text != NULL ? strlen(step->text) : 0;

	switch (step->what) {
	case ITEM:
		watch_list_item(bed.machine, &(struct watch_object){"ns", step->text, "u", "1", NULL});
		break;
	case LISTED:
		watch_listed(bed.machine, bed.now, step->text);
		break;
	case LIST_FAILED:
		watch_list_failed(bed.machine, bed.now, step->number, 0);
		break;
	case CONNECTED:
		watch_connected(bed.machine, bed.now);
		break;
	case TEXT:
	case PART:
		if (cut > len)
			cut = len;
		watch_text(bed.machine, bed.now, step->text, cut, false);
		watch_text(bed.machine, bed.now, step->text + cut, len - cut, step->what == TEXT);
		break;
	case PONG:
		watch_pong(bed.machine, bed.now);
		break;
	case ENDED:
		watch_ended(bed.machine, bed.now, step->number);
		break;
	case PASS:
		pass(step->number);
		break;
	case END:
		break;
	}
	drive();
}

static void begin(bool objects)
{
	bed.now = T0;
	bed.log = BUF_INIT(1u << 20);
	bed.machine = watch_new(&handler, NULL, objects, 1, NULL);
}

static void finish(void)
{
	watch_free(bed.machine);
	buf_free(&bed.log);
}

static void play(const struct row *row, size_t cut)
{
	begin(false);
	drive();
	for (size_t i = 0; row->steps[i].what != END; i++) {
		note("| ");
		take(&row->steps[i], cut);
	}
	assert_string_equal(buf_text(&bed.log), row->log);
	finish();
}

#define LISTED_AT_5            \
	{                      \
		LISTED, "5", 0 \
	}
#define IS_LISTED BEGUN "| synced connect:5 "
#define IS_OPEN IS_LISTED "| "

static const struct row rows[] = {
	{"listed: the watch begins at the list's version",
	 {{ITEM, "a", 0}, {ITEM, "b", 0}, LISTED_AT_5, {CONNECTED, NULL, 0}},
	 BEGUN "| item:a | item:b | synced connect:5 | "},
	{"an event moves the version: the next watch begins there",
	 {LISTED_AT_5, {CONNECTED, NULL, 0}, {TEXT, EVENT("ADDED", "a", "7"), 0}, {ENDED, NULL, 0}},
	 IS_OPEN "| added:ns/a | connect:7 "},
	{"modified and deleted",
	 {LISTED_AT_5,
	  {CONNECTED, NULL, 0},
	  {TEXT, EVENT("MODIFIED", "a", "7"), 0},
	  {TEXT, EVENT("DELETED", "a", "8"), 0},
	  {ENDED, NULL, 0}},
	 IS_OPEN "| modified:ns/a | deleted:ns/a | connect:8 "},
	{"a bookmark moves the version",
	 {LISTED_AT_5, {CONNECTED, NULL, 0}, {TEXT, BOOKMARK("90"), 0}, {ENDED, NULL, 0}},
	 IS_OPEN "| bookmark:90 | connect:90 "},
	{"410 as a status lists again",
	 {LISTED_AT_5, {ENDED, NULL, 410}, {PASS, NULL, 1000}, {ITEM, "a", 0}, {LISTED, "9", 0}},
	 IS_LISTED "| relist | list | item:a | synced connect:9 "},
	{"404 as a status lists again",
	 {LISTED_AT_5, {ENDED, NULL, 404}, {PASS, NULL, 1000}},
	 IS_LISTED "| relist | list "},
	{"410 as an event lists again, at once where the watch was good",
	 {LISTED_AT_5, {CONNECTED, NULL, 0}, {TEXT, EVENT("ADDED", "a", "7"), 0}, {TEXT, ERROR_EVENT("410"), 0}},
	 IS_OPEN "| added:ns/a | relist hangup list "},
	{"410 as the first event, at once: a failure",
	 {LISTED_AT_5, {CONNECTED, NULL, 0}, {TEXT, ERROR_EVENT("410"), 0}, {PASS, NULL, 499}, {PASS, NULL, 501}},
	 IS_OPEN "| relist hangup | | list "},
	{"another error event drops the view after a pause",
	 {LISTED_AT_5, {CONNECTED, NULL, 0}, {TEXT, ERROR_EVENT("500"), 0}, {PASS, NULL, 499}, {PASS, NULL, 501}},
	 IS_OPEN "| relist hangup | | list "},
	{"also where the watch was good",
	 {LISTED_AT_5,
	  {CONNECTED, NULL, 0},
	  {TEXT, EVENT("ADDED", "a", "7"), 0},
	  {TEXT, ERROR_EVENT("500"), 0},
	  {PASS, NULL, 499},
	  {PASS, NULL, 501}},
	 IS_OPEN "| added:ns/a | relist hangup | | list "},
	{"an unknown event drops the view",
	 {LISTED_AT_5, {CONNECTED, NULL, 0}, {TEXT, EVENT("RENAMED", "a", "7"), 0}, {PASS, NULL, 1000}},
	 IS_OPEN "| relist hangup | list "},
	{"a broken event drops the view",
	 {LISTED_AT_5, {CONNECTED, NULL, 0}, {TEXT, "{\"type\":\"ADDED\",\"object\":{}}", 0}, {PASS, NULL, 1000}},
	 IS_OPEN "| relist hangup | list "},
	{"no JSON drops the view",
	 {LISTED_AT_5, {CONNECTED, NULL, 0}, {TEXT, "hello", 0}, {PASS, NULL, 1000}},
	 IS_OPEN "| relist hangup | list "},
	{"an empty message drops the view",
	 {LISTED_AT_5, {CONNECTED, NULL, 0}, {TEXT, "", 0}, {PASS, NULL, 1000}},
	 IS_OPEN "| relist hangup | list "},
	{"after dropping, what still comes in is not looked at",
	 {LISTED_AT_5, {CONNECTED, NULL, 0}, {TEXT, "hello", 0}, {TEXT, EVENT("ADDED", "a", "7"), 0}, {ENDED, NULL, 0}},
	 IS_OPEN "| relist hangup | | "},
	{"a close in the middle of a message loses nothing: it comes again",
	 {LISTED_AT_5,
	  {CONNECTED, NULL, 0},
	  {PASS, NULL, 1500},
	  {PART, "{\"type\":\"ADDED\",\"obj", 0},
	  {ENDED, NULL, 0},
	  {CONNECTED, NULL, 0},
	  {TEXT, EVENT("ADDED", "a", "7"), 0}},
	 IS_OPEN "| | | connect:5 | | added:ns/a "},
	{"under a second without an event: a failure",
	 {LISTED_AT_5, {CONNECTED, NULL, 0}, {PASS, NULL, 999}, {ENDED, NULL, 0}, {PASS, NULL, 499}, {PASS, NULL, 501}},
	 IS_OPEN "| | | | connect:5 "},
	{"a second: none",
	 {LISTED_AT_5, {CONNECTED, NULL, 0}, {PASS, NULL, 1000}, {ENDED, NULL, 0}},
	 IS_OPEN "| | connect:5 "},
	{"an attempt that fails waits, the next twice as long",
	 {LISTED_AT_5,
	  {ENDED, NULL, 500},
	  {PASS, NULL, 499},
	  {PASS, NULL, 501},
	  {ENDED, NULL, 0},
	  {PASS, NULL, 999},
	  {PASS, NULL, 1001}},
	 IS_LISTED "| | | connect:5 | | | connect:5 "},
	{"a pause is never longer than the longest",
	 {LISTED_AT_5,
	  {ENDED, NULL, 500},
	  {PASS, NULL, 1000},
	  {ENDED, NULL, 500},
	  {PASS, NULL, 2000},
	  {ENDED, NULL, 500},
	  {PASS, NULL, 4000},
	  {ENDED, NULL, 500},
	  {PASS, NULL, 8000},
	  {ENDED, NULL, 500},
	  {PASS, NULL, 16000},
	  {ENDED, NULL, 500},
	  {PASS, NULL, 14999},
	  {PASS, NULL, 15001},
	  {ENDED, NULL, 500},
	  {PASS, NULL, 14999},
	  {PASS, NULL, 15001}},
	 IS_LISTED
	 "| | connect:5 | | connect:5 | | connect:5 | | connect:5 | | connect:5 | | | connect:5 | | | connect:5 "},
	{"events alone do not forget failures",
	 {LISTED_AT_5,
	  {ENDED, NULL, 500},
	  {PASS, NULL, 1000},
	  {CONNECTED, NULL, 0},
	  {TEXT, BOOKMARK("6"), 0},
	  {ENDED, NULL, 0},
	  {PASS, NULL, 499},
	  {PASS, NULL, 501}},
	 IS_LISTED "| | connect:5 | | bookmark:6 | | | connect:6 "},
	{"a good minute does",
	 {LISTED_AT_5,
	  {ENDED, NULL, 500},
	  {PASS, NULL, 1000},
	  {CONNECTED, NULL, 0},
	  {PASS, NULL, 29000},
	  {TEXT, BOOKMARK("6"), 0},
	  {PASS, NULL, 29000},
	  {TEXT, BOOKMARK("7"), 0},
	  {PASS, NULL, 2000},
	  {ENDED, NULL, 0}},
	 IS_LISTED "| | connect:5 | | | bookmark:6 | | bookmark:7 | | connect:7 "},
	{"a list that fails is tried again, and what it named is void",
	 {{ITEM, "a", 0}, {LIST_FAILED, NULL, 500}, {PASS, NULL, 499}, {PASS, NULL, 501}, {ITEM, "b", 0}, LISTED_AT_5},
	 BEGUN "| item:a | | | relist list | item:b | synced connect:5 "},
	{"a list without a version is none", {{LISTED, "", 0}, {PASS, NULL, 1000}}, BEGUN "| | relist list "},
	{"silence: a ping, then hanging up",
	 {LISTED_AT_5,
	  {CONNECTED, NULL, 0},
	  {PASS, NULL, 29999},
	  {PASS, NULL, 1},
	  {PASS, NULL, 14999},
	  {PASS, NULL, 1}},
	 IS_OPEN "| | ping | | hangup "},
	{"after hanging up it goes on from where it was",
	 {LISTED_AT_5, {CONNECTED, NULL, 0}, {PASS, NULL, 45000}, {ENDED, NULL, 0}, {PASS, NULL, 1000}},
	 IS_OPEN "| ping hangup | | connect:5 "},
	{"a pong is life",
	 {LISTED_AT_5,
	  {CONNECTED, NULL, 0},
	  {PASS, NULL, 30000},
	  {PONG, NULL, 0},
	  {PASS, NULL, 29999},
	  {PASS, NULL, 1},
	  {PONG, NULL, 0},
	  {PASS, NULL, 29999}},
	 IS_OPEN "| ping | | | ping | | "},
	{"a part of a message is life",
	 {LISTED_AT_5, {CONNECTED, NULL, 0}, {PASS, NULL, 30000}, {PART, "{", 0}, {PASS, NULL, 29999}, {PASS, NULL, 1}},
	 IS_OPEN "| ping | | | ping "},
	{"an attempt that takes too long is hung up on",
	 {LISTED_AT_5, {PASS, NULL, 29999}, {PASS, NULL, 1}, {PASS, NULL, 1000}},
	 IS_LISTED "| | hangup | connect:5 "},
	{"what comes at the wrong time is not heard",
	 {{CONNECTED, NULL, 0}, {TEXT, EVENT("ADDED", "a", "7"), 0}, {ENDED, NULL, 410}, {PONG, NULL, 0}, LISTED_AT_5},
	 BEGUN "| | | | | synced connect:5 "},
};

static void test_rule(void **state)
{
	const struct row *row = *state;
	size_t longest = 0, i;

	for (i = 0; row->steps[i].what != END; i++)
		if (row->steps[i].text != NULL && strlen(row->steps[i].text) > longest)
			longest = strlen(row->steps[i].text);
	for (i = 0; i <= longest; i++)
		play(row, i);
}

static void open_watch(bool objects)
{
	begin(objects);
	drive();
	take(&(struct step){LISTED, "5", 0}, 0);
	take(&(struct step){CONNECTED, NULL, 0}, 0);
	buf_reset(&bed.log);
}

static void test_objects_are_given_where_they_are_wanted(void **state)
{
	(void)state;
	open_watch(true);
	take(&(struct step){TEXT, EVENT("ADDED", "a", "7"), 0}, 3);
	assert_string_equal(buf_text(&bed.log), "added:ns/a+json ");
	finish();
}

/* No end of the message is waited for. */
static void test_too_large_an_event_drops_the_view(void **state)
{
	static char filling[65536];

	(void)state;
	open_watch(false);
	memset(filling, ' ', sizeof(filling));
	for (size_t sent = 0; sent < WATCH_METADATA_EVENT_MAX; sent += sizeof(filling))
		watch_text(bed.machine, bed.now, filling, sizeof(filling), false);
	assert_string_equal(buf_text(&bed.log), "");
	watch_text(bed.machine, bed.now, filling, 1, false);
	drive();
	assert_string_equal(buf_text(&bed.log), "relist hangup ");
	assert_int_equal(watch_failures(bed.machine), 1);
	finish();
}

static void test_retry_after_is_a_floor(void **state)
{
	(void)state;
	begin(false);
	drive();
	watch_list_failed(bed.machine, bed.now, 429, 7 * NS_PER_S);
	buf_reset(&bed.log);
	pass(6999);
	drive();
	assert_string_equal(buf_text(&bed.log), "");
	pass(1);
	drive();
	assert_string_equal(buf_text(&bed.log), "relist list ");
	finish();
}

static void test_credentials_are_wanted_after_a_401_alone(void **state)
{
	(void)state;
	open_watch(false);
	take(&(struct step){PASS, NULL, 1000}, 0);
	take(&(struct step){ENDED, NULL, 0}, 0);
	assert_false(watch_wants_credentials(bed.machine));
	take(&(struct step){ENDED, NULL, 401}, 0);
	assert_true(watch_wants_credentials(bed.machine));
	take(&(struct step){PASS, NULL, 1000}, 0);
	take(&(struct step){CONNECTED, NULL, 0}, 0);
	assert_false(watch_wants_credentials(bed.machine));
	finish();
}

static void test_credentials_are_wanted_for_a_list(void **state)
{
	(void)state;
	begin(false);
	drive();
	take(&(struct step){LIST_FAILED, NULL, 401}, 0);
	assert_true(watch_wants_credentials(bed.machine));
	take(&(struct step){PASS, NULL, 1000}, 0);
	take(&(struct step){LIST_FAILED, NULL, 500}, 0);
	assert_false(watch_wants_credentials(bed.machine));
	finish();
}

static void test_synced(void **state)
{
	(void)state;
	begin(false);
	drive();
	assert_false(watch_is_synced(bed.machine));
	take(&(struct step){LISTED, "5", 0}, 0);
	assert_true(watch_is_synced(bed.machine));
	assert_false(watch_is_open(bed.machine));
	take(&(struct step){ENDED, NULL, 500}, 0);
	assert_true(watch_is_synced(bed.machine));
	take(&(struct step){PASS, NULL, 1000}, 0);
	take(&(struct step){CONNECTED, NULL, 0}, 0);
	assert_true(watch_is_open(bed.machine));
	take(&(struct step){TEXT, "?", 0}, 0);
	assert_false(watch_is_synced(bed.machine));
	finish();
}

static void test_pauses_are_spread(void **state)
{
	uint64_t least = UINT64_MAX, most = 0, pause;

	(void)state;
	for (uint64_t chance = 0; chance < 200; chance++) {
		bed.log = BUF_INIT(1u << 20);
		bed.now = T0;
		bed.machine = watch_new(&handler, NULL, false, chance, NULL);
		drive();
		watch_list_failed(bed.machine, bed.now, 500, 0);
		pause = drive() - T0;
		least = pause < least ? pause : least;
		most = pause > most ? pause : most;
		finish();
	}
	assert_in_range(least, 500 * NS_PER_MS, 550 * NS_PER_MS);
	assert_in_range(most, 950 * NS_PER_MS, 1000 * NS_PER_MS);
}

/* Lives come from the number handed in: spread, and the same for the same number. */
static void test_chance(void **state)
{
	unsigned least = UINT32_MAX, most = 0, seconds[2];

	(void)state;
	for (uint64_t chance = 0; chance < 200; chance++) {
		for (int again = 0; again < 2; again++) {
			bed.log = BUF_INIT(1u << 20);
			bed.now = T0;
			bed.machine = watch_new(&handler, NULL, false, chance, NULL);
			drive();
			take(&(struct step){LISTED, "5", 0}, 0);
			seconds[again] = watch_seconds(bed.machine);
			finish();
		}
		assert_int_equal(seconds[0], seconds[1]);
		least = seconds[0] < least ? seconds[0] : least;
		most = seconds[0] > most ? seconds[0] : most;
	}
	assert_in_range(least, 300, 330);
	assert_in_range(most, 570, 600);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_objects_are_given_where_they_are_wanted),
		cmocka_unit_test(test_too_large_an_event_drops_the_view),
		cmocka_unit_test(test_retry_after_is_a_floor),
		cmocka_unit_test(test_credentials_are_wanted_after_a_401_alone),
		cmocka_unit_test(test_credentials_are_wanted_for_a_list),
		cmocka_unit_test(test_synced),
		cmocka_unit_test(test_pauses_are_spread),
		cmocka_unit_test(test_chance),
	};
	int failed;

	json_install_hooks();
	failed = RUN_ROWS(test_rule, rows);
	failed += cmocka_run_group_tests(tests, NULL, NULL);
	return failed;
}
