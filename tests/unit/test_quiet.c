/* The watch over silence: members and an API server of our own making, and a clock that we put forward. */
#include "etcd_server.h"
#include "kube_server.h"
#include "engine/quiet.h"

#define PATIENCE (30 * NS_PER_S) /* of real time, for what must come */

/* The linker puts this in the place of base/clock.c's. */
uint64_t __real_clock_monotonic(void);
uint64_t __wrap_clock_monotonic(void);
static uint64_t put_forward;

uint64_t __wrap_clock_monotonic(void)
{
	return __real_clock_monotonic() + put_forward;
}

static struct loop *loop;
static struct fake_etcd a, b;
static struct fake_member members[2];
static struct kube_server server;
/* Under the server's lock: */
static struct served_answer served;
static unsigned times_served;
static struct kube kube, *servers[1];
static struct etcd *etcds[1];
static struct quiet *quiet;
static struct observation seen;

static struct served_answer version(void *arg, const struct served_request *request)
{
	(void)arg;
	assert_string_equal(request->path, "/version");
	free(request->headers);
	free(request->body);
	server.seen_count = 0;
	times_served++;
	return served;
}

static void serve_with(struct served_answer answer)
{
	pthread_mutex_lock(&server.lock);
	served = answer;
	pthread_mutex_unlock(&server.lock);
}

static int set_up(void **state)
{
	struct error *err = NULL;

	(void)state;
	assert_ok(loop_new(&loop, &err), err);
	fake_etcd_start(&a, 1, 0xa);
	fake_etcd_start(&b, 1, 0xb);
	members[0] = (struct fake_member){.id = 0xa, .name = "node-a", .url = a.url};
	members[1] = (struct fake_member){.id = 0xb, .name = "node-b", .url = b.url};
	a.members = b.members = members;
	a.member_count = b.member_count = ELEMENTS(members);
	kube_server_start(&server);
	serve_with((struct served_answer){.status = 200, .body = "{}"});
	server.answer = version;
	kube = kube_of(&server, loop);
	servers[0] = &kube;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	observation_free_contents(&seen);
	quiet_stop(quiet);
	quiet = NULL;
	etcd_free(etcds[0]);
	http_client_free(kube.http);
	kube_server_stop(&server);
	fake_etcd_stop(&a);
	fake_etcd_stop(&b);
	loop_free(loop);
	return 0;
}

static void look(void)
{
	observation_free_contents(&seen);
	quiet_observe(quiet, &seen);
}

static void run_for(uint64_t real_ns)
{
	for (uint64_t end = __real_clock_monotonic() + real_ns; __real_clock_monotonic() < end;)
		loop_step(loop, __wrap_clock_monotonic() + NS_PER_MS);
}

/* So many seconds pass. Some answers may be late. */
static void pass(unsigned seconds)
{
	for (unsigned i = 0; i < seconds; i++) {
		put_forward += NS_PER_S;
		run_for(20 * NS_PER_MS);
	}
}

static unsigned served_so_far(void)
{
	pthread_mutex_lock(&server.lock);
	unsigned ret = times_served;
	pthread_mutex_unlock(&server.lock);
	return ret;
}

/* So many seconds pass, and within each all members and the server answer. */
static void pass_answered(unsigned seconds)
{
	for (unsigned i = 0; i < seconds; i++) {
		uint64_t end = __real_clock_monotonic() + PATIENCE, now;
		unsigned before = served_so_far();

		put_forward += NS_PER_S;
		now = __wrap_clock_monotonic();
		do {
			assert_true(__real_clock_monotonic() < end);
			run_for(NS_PER_MS);
			look();
		} while (seen.etcd_looked_at < now || served_so_far() == before);
		run_for(5 * NS_PER_MS);
	}
}

/* Seconds pass until everybody has been heard, and lately: since when it is quiet. */
static uint64_t until_quiet(void)
{
	uint64_t end = __real_clock_monotonic() + PATIENCE;

	do {
		assert_true(__real_clock_monotonic() < end);
		pass(1);
		look();
		if (seen.quiet_since != 0)
			pass_answered(1);
	} while (seen.quiet_since == 0);
	return seen.quiet_since;
}

static void until_silent(void)
{
	uint64_t end = __real_clock_monotonic() + PATIENCE;

	do {
		assert_true(__real_clock_monotonic() < end);
		pass(1);
		look();
	} while (seen.quiet_since != 0);
}

/* They answer, and it is quiet since the same time. */
static void stays_quiet(uint64_t since, unsigned seconds)
{
	for (unsigned i = 0; i < seconds; i++) {
		pass_answered(1);
		assert_int_equal(seen.quiet_since, since);
	}
}

static void stays_silent(unsigned seconds)
{
	for (unsigned i = 0; i < seconds; i++) {
		pass(1);
		look();
		assert_int_equal(seen.quiet_since, 0);
	}
}

static uint64_t start(const char *endpoint)
{
	struct etcd_options options = {.endpoints = &endpoint, .endpoint_count = 1};
	struct error *err = NULL;

	assert_ok(etcd_new(loop, &options, &etcds[0], &err), err);
	assert_ok(etcd_connect(etcds[0], &err), err);
	quiet = quiet_start(loop, etcds, 1, servers, 1, "/registry/namespaces/kube-system");
	look();
	assert_int_equal(seen.quiet_since, 0); /* nobody has answered yet */
	assert_int_equal(seen.etcd_looked_at, 0);
	assert_false(seen.members[0].answering);
	return until_quiet();
}

static void assert_looked_lately(void)
{
	assert_in_range(seen.etcd_looked_at, __wrap_clock_monotonic() - QUIET_SILENCE, __wrap_clock_monotonic());
}

static void test_everybody_answers(void **state)
{
	uint64_t since = start(a.url);

	(void)state;
	stays_quiet(since, 12);
	assert_int_equal(seen.members_known, FACT_KNOWN);
	assert_int_equal(seen.member_count, 2);
	for (size_t i = 0; i < 2; i++) {
		assert_string_equal(seen.members[i].name, members[i].name);
		assert_true(seen.members[i].answering);
		assert_false(seen.members[i].learner);
		assert_null(seen.members[i].why);
	}
	assert_false(seen.members_behind_balancer);
	assert_int_equal(seen.etcd_back_at, 0);
	assert_looked_lately();
}

struct silence_row {
	const char *name;
	int fails;
	bool drop;
	const char *why; /* NULL: that takes its time-out, in real time */
};
static const struct silence_row silences[] = {
	{"no answer at all", 0, false, NULL},
	{"the connection ends", 0, true, "reading etcd: "},
	{"no linearizable read", 14, false, ": UNAVAILABLE: no leader"},
	{"too many requests", 8, false, ": RESOURCE_EXHAUSTED: no leader"},
};

static void test_silent_member(void **state)
{
	const struct silence_row *row = *state;
	uint64_t since, looked;

	set_up(state);
	since = start(a.url);
	b.words = "no leader";
	b.fails[METHOD_RANGE] = row->fails;
	b.drop[METHOD_RANGE] = row->drop;
	b.silent[METHOD_RANGE] = row->fails == 0 && !row->drop;
	put_forward += NS_PER_S; /* less than 5 s is no silence */
	look();
	assert_int_equal(seen.quiet_since, since);
	until_silent();
	pass(5);
	look();
	looked = seen.etcd_looked_at;
	assert_true(looked < __wrap_clock_monotonic() - QUIET_SILENCE); /* that of the one looked at longest ago */
	assert_true(seen.members[0].answering);
	assert_false(seen.members[1].answering);
	if (row->why && (!seen.members[1].why || !strstr(seen.members[1].why, row->why)))
		fail_msg("%s", seen.members[1].why ? seen.members[1].why : "no words");
	stays_silent(3);
	assert_int_equal(seen.etcd_looked_at, looked);

	b.fails[METHOD_RANGE] = 0;
	b.drop[METHOD_RANGE] = b.silent[METHOD_RANGE] = false;
	assert_true(until_quiet() > since + QUIET_SILENCE);
	assert_true(seen.members[1].answering);
	assert_null(seen.members[1].why);
	tear_down(state);
}

static void test_a_learner_does_not_count(void **state)
{
	uint64_t since;

	(void)state;
	members[1].learner = true;
	since = start(a.url);
	b.silent[METHOD_RANGE] = true;
	stays_quiet(since, 12);
	assert_true(seen.members[1].learner);
	assert_false(seen.members[1].answering);
	assert_looked_lately();
}

/* Nobody was silent, but nobody looked either. */
static void test_a_pause_of_ours(void **state)
{
	uint64_t since = start(a.url), ended;

	(void)state;
	put_forward += 7 * NS_PER_S;
	look();
	assert_int_equal(seen.quiet_since, 0); /* before anything else runs */
	ended = __wrap_clock_monotonic();
	assert_true(since < ended);
	assert_true(until_quiet() >= ended);
	assert_int_equal(seen.etcd_back_at, 0);
	put_forward += 60 * NS_PER_S;
	ended = __wrap_clock_monotonic();
	assert_true(until_quiet() >= ended);
	assert_true(seen.etcd_back_at >= ended); /* a backup may have been put in place meanwhile */
}

static bool refresh(void)
{
	struct error *err = NULL;
	bool changed = false;

	assert_ok(quiet_refresh(quiet, &changed, &err), err);
	look();
	return changed;
}

static void test_members_change(void **state)
{
	struct fake_member without_b[] = {members[0]};
	struct error *err = NULL;
	bool changed = true;
	uint64_t since = start(a.url), then;

	(void)state;
	assert_false(refresh());
	assert_int_equal(seen.quiet_since, since);

	members[1].learner = true;
	assert_true(refresh());
	assert_int_equal(seen.quiet_since, 0);
	assert_true(seen.members[1].learner);
	then = until_quiet();
	assert_true(then > since);
	members[1].learner = false; /* promoted */
	assert_true(refresh());
	since = until_quiet();
	assert_true(since > then);
	assert_false(seen.members[1].learner);

	a.members = without_b;
	a.member_count = 1;
	assert_true(refresh());
	assert_int_equal(seen.member_count, 1);
	until_quiet();
	a.members = members;
	a.member_count = 2;
	assert_true(refresh());
	assert_int_equal(seen.member_count, 2);
	since = until_quiet();

	/* Who they are cannot be asked now: what was known holds. */
	a.drop[METHOD_STATUS] = b.drop[METHOD_STATUS] = true;
	assert_int_equal(quiet_refresh(quiet, &changed, &err), -ERROR_NETWORK);
	error_clear(&err);
	assert_false(changed);
	stays_quiet(since, 2);
	assert_int_equal(seen.member_count, 2);
}

/* A census connects the same etcd, and so learns of members before we ask. */
static void test_members_change_behind_our_back(void **state)
{
	struct error *err = NULL;
	uint64_t since = start(a.url);

	(void)state;
	a.members = b.members = &members[1];
	a.member_count = b.member_count = 1;
	assert_ok(etcd_connect(etcds[0], &err), err);
	look();
	assert_int_equal(seen.quiet_since, 0);
	assert_true(until_quiet() > since);
	assert_int_equal(seen.member_count, 1);
	assert_string_equal(seen.members[0].name, "node-b");
	assert_true(refresh());
	assert_false(refresh());
}

static void test_behind_a_balancer(void **state)
{
	uint64_t since;

	(void)state;
	members[0].url = members[1].url = "http://127.0.0.1:1"; /* nobody listens there */
	a.other_member = 0xb;
	since = start(a.url);
	assert_true(seen.members_behind_balancer);
	assert_int_equal(seen.member_count, 2);
	stays_quiet(since, 8);
	assert_true(seen.members[0].answering && seen.members[1].answering);
	a.silent[METHOD_RANGE] = true;
	until_silent();
	assert_false(seen.members[0].answering || seen.members[1].answering);
}

/* Members that can be asked alone, though a balancer was given: one that goes silent is silent, not hidden. */
static void test_beside_a_balancer(void **state)
{
	struct fake_etcd balancer;

	(void)state;
	fake_etcd_start(&balancer, 1, 0xa);
	balancer.other_member = 0xb;
	balancer.members = members;
	balancer.member_count = 2;
	start(balancer.url);
	assert_false(seen.members_behind_balancer);
	a.drop[METHOD_STATUS] = b.drop[METHOD_STATUS] = a.drop[METHOD_RANGE] = b.drop[METHOD_RANGE] = true;
	assert_false(refresh());
	assert_true(seen.members_behind_balancer);
	until_silent();
	assert_false(seen.members[0].answering || seen.members[1].answering);
	fake_etcd_stop(&balancer);
}

static void until_back(uint64_t after)
{
	uint64_t end = __real_clock_monotonic() + PATIENCE;

	do {
		assert_true(__real_clock_monotonic() < end);
		pass(1);
		look();
	} while (seen.etcd_back_at <= after);
}

static void test_revision_or_term_goes_back(void **state)
{
	uint64_t since, back;

	(void)state;
	a.revision = b.revision = 5000;
	a.raft_term = b.raft_term = 7;
	since = start(a.url);
	a.revision = b.revision = 6000;
	a.raft_term = b.raft_term = 8;
	stays_quiet(since, 4);
	assert_int_equal(seen.etcd_back_at, 0);

	a.revision = b.revision = 5999; /* restored from a backup */
	until_back(0);
	pass(4);
	look();
	back = seen.etcd_back_at;
	pass(4);
	look();
	assert_int_equal(seen.etcd_back_at, back); /* from then on that is where it stands */
	b.raft_term = 7;                           /* one of them alone */
	until_back(back);
}

static void drop_ranges(bool of_a, bool of_b)
{
	a.drop[METHOD_RANGE] = of_a;
	b.drop[METHOD_RANGE] = of_b;
}

/* With bumped revisions, a backup of the same term shows in no header. */
static void test_an_etcd_comes_back(void **state)
{
	(void)state;
	start(a.url);
	drop_ranges(true, true);
	pass(4);
	look();
	assert_int_equal(seen.etcd_back_at, 0); /* it is not back yet */
	drop_ranges(false, false);
	until_back(0);
	uint64_t back = seen.etcd_back_at;
	assert_in_range(back, __wrap_clock_monotonic() - 2 * NS_PER_S, __wrap_clock_monotonic());
	pass_answered(4);
	assert_int_equal(seen.etcd_back_at, back);
}

/* One probe of each is lost, and takes its time-out, in real time. */
static void test_an_etcd_hangs(void **state)
{
	(void)state;
	start(a.url);
	a.silent[METHOD_RANGE] = b.silent[METHOD_RANGE] = true;
	pass(1);
	run_for(QUIET_SILENCE + NS_PER_S / 5);
	a.silent[METHOD_RANGE] = b.silent[METHOD_RANGE] = false;
	until_back(0);
}

/* While one member answers, no backup takes its etcd's place. */
static void test_an_etcd_was_never_away(void **state)
{
	(void)state;
	uint64_t since = start(a.url);
	drop_ranges(true, false);
	until_silent();
	drop_ranges(false, false);
	assert_true(until_quiet() > since);
	drop_ranges(false, true);
	until_silent();
	drop_ranges(false, false);
	until_quiet();
	/* Nor while a leader is elected. */
	a.words = b.words = "leader changed";
	a.fails[METHOD_RANGE] = b.fails[METHOD_RANGE] = 14;
	until_silent();
	a.fails[METHOD_RANGE] = b.fails[METHOD_RANGE] = 0;
	until_quiet();
	assert_int_equal(seen.etcd_back_at, 0);
}

struct server_row {
	const char *name;
	struct served_answer answer;
	bool alive;
};
static const struct server_row answers[] = {
	{"429", {.status = 429, .body = "{}"}, true},   {"401", {.status = 401, .body = "{}"}, true},
	{"500", {.status = 500, .body = "{}"}, true},   {"503", {.status = 503, .body = "{}"}, true},
	{"the connection ends", {.drop = true}, false},
};

static void test_server(void **state)
{
	const struct server_row *row = *state;
	uint64_t since;

	set_up(state);
	since = start(a.url);
	serve_with(row->answer);
	if (row->alive) {
		stays_quiet(since, 12);
	} else {
		until_silent();
		assert_true(seen.members[0].answering && seen.members[1].answering);
		serve_with((struct served_answer){.status = 200, .body = "{}"});
		assert_true(until_quiet() > since + QUIET_SILENCE);
	}
	tear_down(state);
}

/* Whoever waits for what the members show hears it now, and not at the next tick. */
static void test_asked_now(void **state)
{
	struct error *err = NULL;
	uint64_t since = start(a.url), asked;

	(void)state;
	put_forward += NS_PER_S / 2;
	asked = __wrap_clock_monotonic();
	assert_ok(quiet_ask(quiet, PATIENCE, &err), err);
	look();
	assert_true(seen.etcd_looked_at >= asked);
	assert_int_equal(seen.quiet_since, since);
	/* One that does not answer is waited for as long as was said. */
	b.fails[METHOD_RANGE] = 14;
	b.words = "no leader";
	asked = __wrap_clock_monotonic();
	assert_ok(quiet_ask(quiet, NS_PER_S / 10, &err), err);
	assert_true(__wrap_clock_monotonic() >= asked + NS_PER_S / 10);
	look();
	assert_true(seen.etcd_looked_at < asked);
	b.fails[METHOD_RANGE] = 0;
	members[1].learner = true; /* nor does a learner count */
	assert_true(refresh());
	b.silent[METHOD_RANGE] = true;
	asked = __wrap_clock_monotonic();
	assert_ok(quiet_ask(quiet, PATIENCE, &err), err);
	look();
	assert_true(seen.etcd_looked_at >= asked);
}

/* An answer to what was asked before is none. */
static void test_asked_while_asking(void **state)
{
	struct error *err = NULL;
	uint64_t asked;

	(void)state;
	start(a.url);
	put_forward += NS_PER_S;
	loop_step(loop, __wrap_clock_monotonic()); /* the tick's questions are on their way */
	put_forward += NS_PER_S / 10;
	asked = __wrap_clock_monotonic();
	assert_ok(quiet_ask(quiet, PATIENCE, &err), err);
	look();
	assert_true(seen.etcd_looked_at >= asked);
}

static void test_again(void **state)
{
	uint64_t since = start(a.url), again;

	(void)state;
	quiet_again(quiet);
	look();
	again = seen.quiet_since;
	assert_true(again > since);
	stays_quiet(again, 3);
	b.silent[METHOD_RANGE] = true;
	until_silent();
	quiet_again(quiet);
	stays_silent(2); /* it makes nobody quiet */
	quiet_stop(NULL);
}

/* As long as a request may take, and never less than the rule says. */
static void test_settle_time(void **state)
{
	(void)state;
	assert_int_equal(quiet_settle_time(0, false), 15 * NS_PER_S);
	assert_int_equal(quiet_settle_time(60 * NS_PER_S, false), 60 * NS_PER_S);
	assert_int_equal(quiet_settle_time(60 * NS_PER_S, true), 900 * NS_PER_S);
	assert_int_equal(quiet_settle_time(1000 * NS_PER_S, true), 1000 * NS_PER_S);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_everybody_answers),
		TEST(test_a_learner_does_not_count),
		TEST(test_a_pause_of_ours),
		TEST(test_members_change),
		TEST(test_members_change_behind_our_back),
		TEST(test_behind_a_balancer),
		TEST(test_beside_a_balancer),
		TEST(test_revision_or_term_goes_back),
		TEST(test_an_etcd_comes_back),
		TEST(test_an_etcd_hangs),
		TEST(test_an_etcd_was_never_away),
		TEST(test_again),
		TEST(test_asked_now),
		TEST(test_asked_while_asking),
		cmocka_unit_test(test_settle_time),
	};
#undef TEST

	return cmocka_run_group_tests(tests, NULL, NULL) + RUN_ROWS(test_silent_member, silences) +
	       RUN_ROWS(test_server, answers);
}
