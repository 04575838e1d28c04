/* The API servers as their agents report them: what two reports in a row say of the time between them. */
#include "kube_server.h"
#include "base/clock.h"
#include "engine/fleet.h"

static struct kube_server server;
static struct kube kube;

static char *list_of(const char *status)
{
	return xasprintf("{\"kind\":\"KeyServerList\",\"apiVersion\":\"kube-rekey.dev/v1alpha1\",\"metadata\":"
			 "{\"resourceVersion\":\"7\"},\"items\":[{\"apiVersion\":\"kube-rekey.dev/v1alpha1\",\"kind\":"
			 "\"KeyServer\",\"metadata\":{\"name\":\"cp-1\",\"uid\":\"u-1\",\"resourceVersion\":\"6\"},"
			 "\"spec\":{},\"status\":{\"beat\":%s}}]}",
			 status);
}

static void read_list(struct fleet *fleet, const char *status)
{
	_cleanup_free_ char *list = list_of(status);
	const struct served_answer script[] = {{.status = 200, .body = list}};
	struct error *err = NULL;
	kube_server_play(&server, script, 1);
	assert_ok(fleet_read(fleet, &kube, &err), err);
	kube_server_play(&server, NULL, 0);
}

#define HASH "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define OTHER "sha256:fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"
#define REPORT(beat, incarnation, process, reloads, file, loaded, is_file)                                          \
	beat ",\"incarnation\":\"" incarnation "\",\"answering\":true,\"process\":" process ",\"reloads\":" reloads \
	     ",\"fileHash\":\"" file "\",\"fileStep\":1,\"loadedHash\":\"" loaded                                   \
	     "\",\"loadedStep\":1,\"loadedIsFile\":" is_file ",\"observedAgeMilliseconds\":1"

static const char first[] = REPORT("1", "a", "100", "3", HASH, HASH, "true");

/* What comes after `first`: whether it has run this file ever since. */
static const struct {
	const char *name, *report;
	bool goes_on;
} rows[] = {
	{"the same, later", REPORT("2", "a", "100", "3", HASH, HASH, "true"), true},
	{"the very same report", REPORT("1", "a", "100", "3", HASH, HASH, "true"), true},
	{"another file ran in between, and this one again", REPORT("9", "a", "100", "5", HASH, HASH, "true"), false},
	{"its process began anew", REPORT("2", "a", "200", "3", HASH, HASH, "true"), false},
	{"another file, which it runs", REPORT("2", "a", "100", "4", OTHER, OTHER, "true"), false},
	{"the agent has another state directory", REPORT("2", "b", "100", "3", HASH, HASH, "true"), false},
};

static void test_loaded_since(void **state)
{
	const __typeof__(rows[0]) *row = *state;
	struct fleet fleet = {0};
	read_list(&fleet, first);
	uint64_t since = fleet.servers[0].loaded_since;
	assert_true(since > 0);
	usleep(2000);
	read_list(&fleet, row->report);
	assert_true(fleet.servers[0].loaded_since >= since);
	assert_int_equal(fleet.servers[0].loaded_since == since, row->goes_on);
	fleet_free(&fleet);
}

static void test_not_its_file(void **state)
{
	struct fleet fleet = {0};
	(void)state;
	read_list(&fleet, first);
	read_list(&fleet, REPORT("2", "a", "100", "3", OTHER, HASH, "false"));
	assert_int_equal(fleet.servers[0].loaded_since, 0);
	fleet_free(&fleet);
}

/* Of a report that was there already nobody knows how old it is. */
static void test_looked_at(void **state)
{
	struct fleet fleet = {0};
	(void)state;
	read_list(&fleet, first);
	assert_int_equal(fleet.servers[0].looked_at, 0);
	uint64_t asked = fleet.read_at;
	read_list(&fleet, first);
	assert_int_equal(fleet.servers[0].looked_at, 0);
	asked = fleet.read_at;
	read_list(&fleet, REPORT("2", "a", "100", "3", HASH, HASH, "true"));
	assert_int_equal(fleet.servers[0].looked_at, asked - 1000000);
	assert_true(fleet.servers[0].beat_read_at >= fleet.read_at);
	fleet_free(&fleet);
}

#define SECOND UINT64_C(1000000000)

/* Silence is told no further than both the server and etcd were looked at. */
static void test_seen_until(void **state)
{
	static const struct {
		const char *ages;
		uint64_t before;
		bool of_the_last; /* before the list that had the report before this one */
	} reports[] = {
		{"2,\"observedAgeMilliseconds\":1000", 6 * SECOND, false}, /* of an agent that does not tell */
		{"3,\"observedAgeMilliseconds\":1000,\"etcdAgeMilliseconds\":3000", 3 * SECOND, true},
		{"4,\"observedAgeMilliseconds\":3000,\"etcdAgeMilliseconds\":1000", 3 * SECOND, false},
		{"5,\"observedAgeMilliseconds\":18446744073710,\"etcdAgeMilliseconds\":1000", UINT64_MAX, false},
	};
	struct fleet fleet = {0};
	uint64_t last = 0;
	(void)state;
	read_list(&fleet, "1,\"observedAgeMilliseconds\":1,\"etcdAgeMilliseconds\":1");
	assert_int_equal(fleet_seen_until(&fleet.servers[0]), 0);
	for (size_t i = 0; i < ELEMENTS(reports); i++) {
		uint64_t asked = fleet.read_at, from = reports[i].of_the_last ? last : asked;
		uint64_t until = from > reports[i].before ? from - reports[i].before : 0;
		read_list(&fleet, reports[i].ages);
		assert_int_equal(fleet_seen_until(&fleet.servers[0]), until);
		read_list(&fleet, reports[i].ages);
		assert_int_equal(fleet_seen_until(&fleet.servers[0]), until);
		last = asked;
	}
	fleet_free(&fleet);
}

/* How full etcd is, is as old as its agent says. */
static void test_sizes(void **state)
{
	struct fleet fleet = {0};
	(void)state;
	read_list(&fleet, "1,\"etcdSizeAgeMilliseconds\":10");
	assert_int_equal(fleet.servers[0].sizes_at, 0); /* when that was written nobody knows */
	uint64_t asked = fleet.read_at;
	for (int i = 0; i < 2; i++) {
		read_list(&fleet, "2,\"etcdSizeAgeMilliseconds\":2000");
		assert_int_equal(fleet.servers[0].sizes_at, asked - 2 * SECOND);
	}
	read_list(&fleet, "3"); /* of an older agent, or of one that sees no etcd */
	assert_int_equal(fleet.servers[0].sizes_at, 0);
	fleet_free(&fleet);
}

/* Two reports one after the other: whether how old the second is can be told. */
static const struct late_row {
	const char *name, *first, *second;
	uint64_t silence; /* ns between them */
	bool known;
} late_rows[] = {
	{"the next one", "4", "5", 0, true},
	{"others came and went in between", "4", "9", 0, true},
	{"it was overtaken", "9", "5", 0, false},
	{"of the agent's next process", "9", "1", 0, false},
	{"of the agent's process before", "4,\"heartbeat\":\"2026-11-22T11:03:20.1Z\"",
	 "57,\"heartbeat\":\"2026-11-22T11:03:12.7Z\"", 0, false},
	{"later by the node's clock, too", "4,\"heartbeat\":\"2026-11-22T11:03:20.1Z\"",
	 "5,\"heartbeat\":\"2026-11-22T11:03:23.1Z\"", 0, true},
	{"of another state directory", "4", "5,\"incarnation\":\"b\"", 0, false},
	{"the first of the two was not answered", "4", "5,\"lostBeat\":4", 0, false},
	{"nor one in between", "4", "9,\"lostBeat\":8", 0, false},
	{"one before them was not", "4", "5,\"lostBeat\":3", 0, true},
	{"after a silence as long as may be", "4", "5", FLEET_SILENCE - SECOND, true},
	{"after a longer one", "4", "5", FLEET_SILENCE + SECOND, false},
};

static void test_late(void **state)
{
	const struct late_row *row = *state;
#define AGES ",\"observedAgeMilliseconds\":1,\"etcdAgeMilliseconds\":1,\"etcdSizeAgeMilliseconds\":1"
	_cleanup_free_ char *first_text = xasprintf("%s" AGES, row->first), *second = xasprintf("%s" AGES, row->second);
	struct fleet fleet = {0};
	const struct fleet_server *it;
	read_list(&fleet, "1" AGES);
	read_list(&fleet, first_text);
	assert_true(fleet.servers[0].looked_at > 0);
	fleet.servers[0].beat_read_at -= row->silence;
	read_list(&fleet, second);
	it = &fleet.servers[0];
	assert_int_equal(it->looked_at > 0, row->known);
	assert_int_equal(it->etcd_asked_at > 0, row->known);
	assert_int_equal(it->sizes_at > 0, row->known);
	assert_int_equal(fleet_is_fresh(it, it->beat_read_at), row->known);
	if (!row->known)
		assert_int_equal(fleet_seen_until(it), 0);
	fleet_free(&fleet);
}

static void assert_why(const struct fleet *fleet, uint64_t now, const char *why)
{
	struct server_observation seen;
	fleet_observe(&fleet->servers[0], "cp-1", NULL, false, now, &seen);
	assert_int_equal(seen.answering, why == NULL);
	if (why)
		assert_string_equal(seen.why, why);
	server_observation_free(&seen);
}

/* Nobody is said to be silent who has just reported. */
static void test_why_silent(void **state)
{
	struct fleet fleet = {0};
	(void)state;
	read_list(&fleet, first);
	const uint64_t *read = &fleet.servers[0].beat_read_at;
	assert_why(&fleet, *read + 4 * SECOND,
		   "the agent on its node has not reported since this process reads its reports, for 4 s");
	read_list(&fleet, REPORT("3", "a", "100", "3", HASH, HASH, "true") ",\"lostBeat\":2");
	read = &fleet.servers[0].beat_read_at;
	assert_why(&fleet, *read + 4 * SECOND,
		   "how old the last report of the agent on its node is cannot be told; the next one is waited for");
	assert_why(&fleet, *read + 11 * SECOND, "the agent on its node has not reported for 11 s");
	read_list(&fleet, REPORT("4", "a", "100", "3", HASH, HASH, "true"));
	read = &fleet.servers[0].beat_read_at;
	assert_why(&fleet, *read + 4 * SECOND, NULL);
	assert_why(&fleet, *read + 11 * SECOND, "the agent on its node has not reported for 11 s");
	fleet.servers[0].looked_at = *read - 8 * SECOND; /* its own looks take long */
	assert_why(&fleet, *read + 4 * SECOND, "what the agent on its node told last was seen 12 s ago");
	fleet_free(&fleet);
}

/* What one agent does not reach is silent, whoever reports first; names need not be unique. */
static void test_members(void **state)
{
	struct key_server_member one[] = {{.name = "m2", .answering = true},
					  {.name = "m1", .answering = true, .learner = true},
					  {.name = "x", .answering = true},
					  {.name = "x", .answering = true}};
	struct key_server_member other[] = {{.name = "m1", .answering = true},
					    {.name = "m2", .why = "refused"},
					    {.name = "x", .answering = true},
					    {.name = "x"},
					    {.name = NULL, .answering = true}};
	struct key_server reports[] = {
		{.meta.name = "cp-1", .status = {.members = one, .member_count = ELEMENTS(one)}},
		{.meta.name = "cp-2",
		 .status = {.members = other, .member_count = ELEMENTS(other), .members_behind_balancer = true}}};
	static const struct {
		const char *name, *why;
		bool answering;
	} expected[] = {{"", NULL, true},
			{"m1", NULL, true},
			{"m2", "from cp-2: refused", false},
			{"x", NULL, true},
			{"x", "from cp-2: no answer within 5 s", false}};
	(void)state;
	for (size_t begin = 0; begin < 2; begin++) {
		struct observation seen = {0};
		for (size_t i = 0; i < 2; i++)
			fleet_add_members(&(struct fleet_server){.last = &reports[(begin + i) % 2]}, &seen);
		assert_int_equal(seen.members_known, FACT_KNOWN);
		assert_true(seen.members_behind_balancer);
		assert_int_equal(seen.member_count, ELEMENTS(expected));
		for (size_t i = 0; i < ELEMENTS(expected); i++) {
			assert_string_equal(seen.members[i].name, expected[i].name);
			assert_int_equal(seen.members[i].answering, expected[i].answering);
			assert_int_equal(text_equal(seen.members[i].why, expected[i].why), true);
			assert_false(seen.members[i].learner); /* one that votes by any report does */
		}
		observation_free_contents(&seen);
	}
}

/* A report that is new after a long time in which nobody looked may be that old, or not. */
static void test_after_a_long_time(void **state)
{
	struct fleet fleet = {0};
	(void)state;
	read_list(&fleet, "1,\"observedAgeMilliseconds\":1000");
	fleet.read_at -= 60 * SECOND;
	read_list(&fleet, "2,\"observedAgeMilliseconds\":1000");
	const struct fleet_server *late = &fleet.servers[0];
	uint64_t read = late->beat_read_at;
	assert_false(fleet_is_fresh(late, read));
	assert_true(fleet_may_be_fresh(late, read));
	assert_true(fleet_may_be_fresh(late, read + FLEET_SILENCE - SECOND));
	assert_false(fleet_may_be_fresh(late, read + FLEET_SILENCE));
	read_list(&fleet, "3,\"observedAgeMilliseconds\":11000");
	assert_false(fleet_may_be_fresh(&fleet.servers[0], fleet.servers[0].beat_read_at));
	read_list(&fleet, "0");
	assert_false(fleet_may_be_fresh(&fleet.servers[0], fleet.servers[0].beat_read_at));
	assert_false(fleet_may_be_fresh(NULL, read));
	fleet_free(&fleet);
}

/* Where the rotation goes back, steps that are counted forward are no steps of it. */
static void test_the_other_way(void **state)
{
	struct fleet fleet = {0};
	(void)state;
	for (int back = 0; back <= 1; back++)
		for (int reports_back = 0; reports_back <= 1; reports_back++) {
			struct server_observation seen;
			read_list(&fleet, REPORT("1", "a", "100", "3", HASH, HASH, "true") ",\"pathOf\":\"r1\"");
			read_list(&fleet, REPORT("2", "a", "100", "3", HASH, HASH, "true") ",\"pathOf\":\"r1\"");
			fleet.servers[0].last->status.going_back = reports_back;
			fleet_observe(&fleet.servers[0], "cp-1", "r1", back, fleet.read_at, &seen);
			bool clear = back == reports_back;
			assert_int_equal(seen.file, clear ? FACT_KNOWN : FACT_UNKNOWN);
			assert_int_equal(seen.loaded, clear ? FACT_KNOWN : FACT_UNKNOWN);
			assert_int_equal(seen.file_step, clear ? 1 : STEP_NONE);
			assert_int_equal(seen.loaded_step, clear ? 1 : STEP_NONE);
			assert_int_equal(seen.loaded_since != 0, clear);
			if (!clear)
				assert_string_equal(seen.why, "its agent counts steps the other way yet");
			server_observation_free(&seen);
		}
	fleet_free(&fleet);
}

/* A report leads nobody beyond the path. */
static void test_steps_beyond_the_path(void **state)
{
	struct server_observation seen = {
		.file = FACT_KNOWN, .file_step = 7, .loaded = FACT_KNOWN, .loaded_step = 3, .written_step = 4};
	(void)state;
	fleet_bound_steps(&seen, 4);
	assert_int_equal(seen.file, FACT_UNKNOWN);
	assert_int_equal(seen.loaded, FACT_KNOWN);
	assert_int_equal(seen.file_step, STEP_NONE);
	assert_int_equal(seen.loaded_step, 3);
	assert_int_equal(seen.written_step, STEP_NONE);
	fleet_bound_steps(&seen, 3);
	assert_int_equal(seen.loaded_step, STEP_NONE);
}

/* A step's number says nothing without its path: what an agent reports of the rotation before is no fact of this one. */
static void test_steps_of_another_rotation(void **state)
{
	static const struct {
		const char *rotation;
		bool counted;
	} observed[] = {{"r1", true}, {"r2", false}, {NULL, true}};
	struct fleet fleet = {0};
	(void)state;
	read_list(&fleet, REPORT("1", "a", "100", "3", HASH, HASH, "true"));
	read_list(&fleet, REPORT("2", "a", "100", "3", HASH, HASH, "true") ",\"rotation\":\"r2\",\"pathOf\":\"r1\"");
	for (size_t i = 0; i < ELEMENTS(observed); i++) {
		struct server_observation seen;
		enum fact want = observed[i].counted ? FACT_KNOWN : FACT_UNKNOWN;
		int step = observed[i].counted ? 1 : STEP_NONE;
		fleet_observe(&fleet.servers[0], "cp-1", observed[i].rotation, false, fleet.read_at, &seen);
		assert_true(seen.answering);
		assert_int_equal(seen.file, want);
		assert_int_equal(seen.loaded, want);
		assert_int_equal(seen.file_step, step);
		assert_int_equal(seen.loaded_step, step);
		assert_int_equal(seen.loaded_since != 0, observed[i].counted);
		assert_int_equal(seen.why == NULL, observed[i].counted);
		server_observation_free(&seen);
	}
	fleet_free(&fleet);
}

/* Who carried out an order had it: what was asked since it began is later than the order. */
static void test_since_the_order(void **state)
{
	static const struct {
		const char *report;
		bool since;
	} reports[] = {
#define TOLD(epoch, sequence, result, begun, etcd, observed)                             \
	"1,\"epoch\":" epoch ",\"done\":{\"sequence\":" sequence ",\"result\":\"" result \
	"\",\"begunAgeMilliseconds\":" begun "},\"etcdAgeMilliseconds\":" etcd           \
	",\"observedAgeMilliseconds\":" observed
		{TOLD("3", "7", "ok", "40", "40", "40"), true}, {TOLD("3", "7", "ok", "40", "1", "2"), true},
		{TOLD("3", "7", "ok", "40", "41", "1"), false}, {TOLD("3", "7", "ok", "40", "1", "41"), false},
		{TOLD("3", "7", "ok", "40", "0", "1"), false},  {TOLD("3", "7", "ok", "40", "1", "0"), false},
		{TOLD("3", "7", "ok", "0", "1", "1"), false},   {TOLD("3", "7", "failed", "40", "1", "1"), false},
		{TOLD("3", "8", "ok", "40", "1", "1"), false},  {TOLD("2", "7", "ok", "40", "1", "1"), false},
#undef TOLD
	};
	(void)state;
	for (size_t i = 0; i < ELEMENTS(reports); i++) {
		struct fleet fleet = {0};
		read_list(&fleet, reports[i].report);
		assert_int_equal(fleet_seen_since_order(&fleet.servers[0], 3, 7), reports[i].since);
		fleet_free(&fleet);
	}
}

struct heard {
	bool done;
	int rc;
};

static void on_read(void *arg, int rc)
{
	*(struct heard *)arg = (struct heard){true, rc};
}

static int read_beside(struct fleet *fleet, unsigned status, const char *body)
{
	const struct served_answer script[] = {{.status = status, .body = body}};
	struct heard heard = {0};
	struct error *err = NULL;
	kube_server_play(&server, script, 1);
	assert_non_null(fleet_read_start(fleet, &kube, 5 * SECOND, on_read, &heard));
	assert_ok(loop_run_until(kube.loop, &heard.done, clock_monotonic() + 10 * SECOND, &err), err);
	kube_server_play(&server, NULL, 0);
	return heard.rc;
}

/* As one that is waited for: ages are reckoned from when it was asked for. */
static void test_beside_something_else(void **state)
{
	_cleanup_free_ char *list = list_of("2,\"observedAgeMilliseconds\":1");
	struct fleet fleet = {0};
	(void)state;
	read_list(&fleet, "1,\"observedAgeMilliseconds\":1");
	uint64_t asked = fleet.read_at;
	assert_true(read_beside(&fleet, 500, "{}") < 0);
	assert_int_equal(fleet.servers[0].last->status.beat, 1);
	assert_int_equal(read_beside(&fleet, 200, "{\"metadata\":{},\"items\":[]}"), -ERROR_PROTOCOL);
	assert_int_equal(fleet.read_at, asked);
	uint64_t before = clock_monotonic();
	assert_int_equal(read_beside(&fleet, 200, list), 0);
	assert_int_equal(fleet.servers[0].last->status.beat, 2);
	assert_int_equal(fleet.servers[0].looked_at, asked - 1000000);
	assert_in_range(fleet.read_at, before, fleet.servers[0].beat_read_at);
	struct heard never = {0};
	fleet_read_cancel(fleet_read_start(&fleet, &kube, SECOND, on_read, &never));
	fleet_read_cancel(NULL);
	assert_false(never.done);
	assert_int_equal(fleet.servers[0].last->status.beat, 2);
	fleet_free(&fleet);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_not_its_file),
		cmocka_unit_test(test_looked_at),
		cmocka_unit_test(test_seen_until),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_why_silent),
		cmocka_unit_test(test_members),
		cmocka_unit_test(test_after_a_long_time),
		cmocka_unit_test(test_the_other_way),
		cmocka_unit_test(test_steps_beyond_the_path),
		cmocka_unit_test(test_steps_of_another_rotation),
		cmocka_unit_test(test_since_the_order),
		cmocka_unit_test(test_beside_something_else),
	};
	int failed;

	kube = kube_server_open(&server);
	failed = RUN_ROWS(test_loaded_since, rows) + RUN_ROWS(test_late, late_rows);
	failed += cmocka_run_group_tests(tests, NULL, NULL);
	kube_server_close(&server, &kube);
	return failed;
}
