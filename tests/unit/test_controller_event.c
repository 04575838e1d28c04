/* Which events are told about a rotation, and which are not told again. */
#include "kube_server.h"
#include "base/clock.h"
#include "engine/controller_internal.h"

#define S NS_PER_S

static const struct served_answer made = {.status = 201, .body = "{}"};
static const struct served_answer refused = {
	.status = 403, .body = "{\"kind\":\"Status\",\"reason\":\"Forbidden\",\"message\":\"no\"}"};

static struct kube_server server;
static struct cluster cluster;
static struct controller_options options;

/* A controller with one rotation and two servers. */
static struct controller begin(const struct served_answer *answer, const char *phase)
{
	struct controller c = {.options = &options, .rotation = key_rotation_new("a")};

	kube_server_play(&server, answer, 1);
	c.rotation->meta.uid = xstrdup("u-a");
	c.rotation->status.phase = phase ? xstrdup(phase) : NULL;
	c.seen.servers = xcalloc(2, sizeof(*c.seen.servers));
	c.seen.server_count = 2;
	for (size_t i = 0; i < 2; i++) {
		c.seen.servers[i].name = xasprintf("cp-%zu", i + 1);
		c.seen.servers[i].answering = true;
	}
	return c;
}

static void end(struct controller *c)
{
	controller_events_stop(c);
	path_free(c->path);
	key_rotation_free(c->rotation);
	observation_free_contents(&c->seen);
	free(c->trouble);
}

static void on_the_path(struct controller *c)
{
	c->path = path_of_steps(NULL, 0);
}

static struct decision wait_for(enum reason reason, int at)
{
	return (struct decision){.action = ACTION_WAIT, .reason = reason, .server = at, .step = STEP_NONE};
}

static void settle(struct controller *c)
{
	uint64_t until = clock_monotonic() + 10 * S;
	bool busy = true;

	while (busy && clock_monotonic() < until) {
		busy = false;
		for (size_t i = 0; i < CONTROLLER_EVENTS; i++)
			busy = busy || c->events.calls[i].call;
		if (busy)
			loop_step(cluster.loop, until);
	}
	assert_false(busy);
}

/* Says it, and asserts how many events there are then. */
static void expect(struct controller *c, const struct decision *d, const char *phase, uint64_t now, size_t count)
{
	controller_event(c, d, phase, "the words", now);
	settle(c);
	assert_int_equal(server.seen_count, count);
}

static void expect_last(const char *key, const char *value)
{
	const struct served_request *last = &server.seen[server.seen_count - 1];
	_cleanup_json_ body = NULL;

	assert_int_equal(json_parse(last->body, last->body_len, "event", &body, NULL), 0);
	assert_string_equal(json_text_at(body, key), value);
}

static void test_phases(void **state)
{
	struct controller c = begin(&made, NULL);
	struct decision d = wait_for(REASON_NONE, -1);
	struct decision done = {.action = ACTION_DONE, .phase = PHASE_DONE, .server = -1};
	struct decision blocked = {.action = ACTION_BLOCKED, .phase = PHASE_BLOCKED, .server = -1};

	(void)state;
	expect(&c, &d, "AddReadKey", 1000 * S, 1);
	expect_last("reason", "AddReadKey");
	expect_last("action", "find-path");
	expect_last("note", "the words");
	expect_last("type", "Normal");
	expect(&c, &d, "AddReadKey", 1001 * S, 1);
	on_the_path(&c);
	expect(&c, &d, "Verify", 1002 * S, 2);
	/* To and fro is told once in a while. */
	expect(&c, &d, "AddReadKey", 1003 * S, 2);
	expect(&c, &d, "Verify", 1004 * S, 2);
	expect(&c, &d, "AddReadKey", 1400 * S, 3);
	expect(&c, &blocked, "Blocked", 1401 * S, 4);
	expect_last("type", "Warning");
	expect(&c, &done, "Done", 1402 * S, 5);
	expect_last("reason", "Done");
	expect(&c, &done, "Done", 1403 * S, 5);
	assert_int_equal(c.show.done, 1);
	assert_int_equal(c.events.sent, 5);
	end(&c);
}

/* What people make of it is told, and hides no end. */
static void test_paused_and_aborted(void **state)
{
	struct controller c = begin(&made, NULL);
	struct decision d = wait_for(REASON_NONE, -1);
	struct decision done = {.action = ACTION_DONE, .phase = PHASE_DONE, .server = -1};

	(void)state;
	on_the_path(&c);
	expect(&c, &d, "Paused", 1000 * S, 1);
	expect_last("reason", "Paused");
	expect(&c, &done, "Aborted", 1001 * S, 2);
	expect_last("reason", "Aborted");
	end(&c);
}

/* Who takes over does not tell again what the status has. */
static void test_a_new_leader(void **state)
{
	struct controller c = begin(&made, "Settle");
	struct decision d = wait_for(REASON_SETTLING, -1);

	(void)state;
	on_the_path(&c);
	expect(&c, &d, "Settle", 1000 * S, 0);
	expect(&c, &d, "Verify", 1001 * S, 1);
	/* Another rotation is another story. */
	free(c.rotation->meta.uid);
	c.rotation->meta.uid = xstrdup("u-b");
	free(c.rotation->status.phase);
	c.rotation->status.phase = NULL;
	expect(&c, &d, "Verify", 1002 * S, 2);
	end(&c);
}

static void test_a_server_in_the_way(void **state)
{
	struct controller c = begin(&made, "AwaitRead");
	struct decision down = wait_for(REASON_SERVER_DOWN, 1), unloaded = wait_for(REASON_NOT_LOADED, 0);
	struct decision d = wait_for(REASON_NONE, -1);

	(void)state;
	on_the_path(&c);
	expect(&c, &down, "AwaitRead", 1000 * S, 0);
	expect(&c, &down, "AwaitRead", 1009 * S, 0);
	expect(&c, &down, "AwaitRead", 1010 * S, 1);
	expect_last("reason", "ServerDown");
	expect_last("type", "Warning");
	expect(&c, &down, "AwaitRead", 1100 * S, 1);
	expect(&c, &down, "AwaitRead", 1610 * S, 2);
	/* A short one is not told, and begins anew after it was gone. */
	expect(&c, &d, "AwaitRead", 2300 * S, 2);
	expect(&c, &down, "AwaitRead", 2301 * S, 2);
	/* A server may take its time to load its file. */
	expect(&c, &unloaded, "AwaitRead", 2400 * S, 2);
	expect(&c, &unloaded, "AwaitRead", 2519 * S, 2);
	expect(&c, &unloaded, "AwaitRead", 2520 * S, 3);
	expect_last("reason", "NotLoaded");
	end(&c);
}

/* An order to one that answers is work; to one that does not, whoever would carry it out may be gone with it. */
static void test_an_order_to_a_server_that_is_down(void **state)
{
	struct controller c = begin(&made, "Rescue");
	struct decision rescue = {
		.action = ACTION_WRITE_STEP, .reason = REASON_BEHIND, .phase = PHASE_RESCUE, .server = 1};

	(void)state;
	on_the_path(&c);
	expect(&c, &rescue, "Rescue", 1000 * S, 0);
	expect(&c, &rescue, "Rescue", 1100 * S, 0);
	c.seen.servers[1].answering = false;
	expect(&c, &rescue, "Rescue", 1200 * S, 0);
	expect(&c, &rescue, "Rescue", 1210 * S, 1);
	expect_last("reason", "ServerDown");
	end(&c);
}

/* Before there is a path, too; how long it has been so changes nothing. */
static void test_trouble(void **state)
{
	struct controller c = begin(&made, "AddReadKey");
	struct decision d = wait_for(REASON_NONE, -1);

	(void)state;
	c.seen.servers[1].answering = false;
	expect(&c, &d, "AddReadKey", 1000 * S, 0);
	expect(&c, &d, "AddReadKey", 1010 * S, 1);
	expect_last("reason", "ServerDown");
	c.seen.servers[1].answering = true;
	c.trouble = xstrdup("cp-1 said nothing for 17 s");
	expect(&c, &d, "AddReadKey", 2000 * S, 1);
	free(c.trouble);
	c.trouble = xstrdup("cp-1 said nothing for 127 s");
	expect(&c, &d, "AddReadKey", 2010 * S, 2);
	expect_last("reason", "Degraded");
	expect(&c, &d, "AddReadKey", 2100 * S, 2);
	free(c.trouble);
	c.trouble = xstrdup("cp-2 said nothing for 127 s");
	expect(&c, &d, "AddReadKey", 2200 * S, 2);
	expect(&c, &d, "AddReadKey", 2210 * S, 3);
	/* A tale that changes each time is told once a minute at most. */
	for (unsigned i = 0; i < 66; i++) {
		free(c.trouble);
		c.trouble = xasprintf("tale-%u", i / 11);
		expect(&c, &d, "AddReadKey", (2211 + i) * S, i < 65 ? 3 : 4);
	}
	end(&c);
}

/* Nothing depends on them. */
static void test_refused(void **state)
{
	struct controller c = begin(&refused, NULL);
	struct decision d = wait_for(REASON_NONE, -1);

	(void)state;
	expect(&c, &d, "AddReadKey", 1000 * S, 1);
	assert_int_equal(c.events.failed, 1);
	expect(&c, &d, "AddReadKey", 1001 * S, 1);
	/* Too many at once: what is more is counted. */
	on_the_path(&c);
	for (int i = PHASE_AWAIT_READ; i <= PHASE_AWAIT_DROP; i++)
		controller_event(&c, &d, phase_name((enum phase)i), "the words", 1002 * S);
	assert_int_equal(c.events.failed, 2);
	end(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_phases),
		cmocka_unit_test(test_paused_and_aborted),
		cmocka_unit_test(test_a_new_leader),
		cmocka_unit_test(test_a_server_in_the_way),
		cmocka_unit_test(test_an_order_to_a_server_that_is_down),
		cmocka_unit_test(test_trouble),
		cmocka_unit_test(test_refused),
	};
	int failed;

	cluster.kube = kube_server_open(&server);
	cluster.loop = cluster.kube.loop;
	options = (struct controller_options){.cluster = &cluster, .instance = "cp-1"};
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	kube_server_close(&server, &cluster.kube);
	return failed;
}
