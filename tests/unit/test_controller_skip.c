/* What a repeated sweep leaves alone rests on the canaries with which settling ended. */
#include "test_support.h"
#include "engine/controller_internal.h"

static void ask(struct controller *c, const char *server, const char *resource, uint64_t revision, int step)
{
	c->canary.asked = xreallocarray(c->canary.asked, c->canary.count + 1, sizeof(*c->canary.asked));
	c->canary.asked[c->canary.count++] = (struct key_server_canary){.server = xstrdup(server),
									.resource = xstrdup(resource),
									.name = xstrdup("canary"),
									.revision = revision,
									.step = step};
}

static void test_revisions_of_the_settled_canaries(void **state)
{
	struct controller c = {0};
	struct decision named = {.step = 2, .named_only = true}, first = {.step = 2},
			other = {.step = 1, .named_only = true};

	(void)state;
	assert_int_equal(controller_skip_above(&c, &named, "secrets"), 0);
	ask(&c, "a", "secrets", 120, 2);
	ask(&c, "b", "secrets", 110, 2);
	ask(&c, "a", "configmaps", 70, 2);
	ask(&c, "b", "configmaps", 60, 1);                                 /* it was found under another step */
	assert_int_equal(controller_skip_above(&c, &named, "secrets"), 0); /* they are only looked for */
	controller_keep_settled_canaries(&c);
	assert_int_equal(controller_skip_above(&c, &named, "secrets"), 110);
	assert_int_equal(controller_skip_above(&c, &named, "configmaps"), 70);
	/* Another etcd may count otherwise. */
	assert_int_equal(controller_skip_above(&c, &named, "events"), 0);
	/* Before it is settled, and after going back. */
	assert_int_equal(controller_skip_above(&c, &first, "secrets"), 0);
	assert_int_equal(controller_skip_above(&c, &other, "secrets"), 0);
	/* What was left alone once, and is named again, is rewritten. */
	c.settled_ended = 500;
	c.sweep = (struct sweep_observation){.step = 2, .begun = 500, .finished = 600};
	assert_int_equal(controller_skip_above(&c, &named, "secrets"), 0);
	c.sweep.begun = 499;
	assert_int_equal(controller_skip_above(&c, &named, "secrets"), 110);
	/* The next ones count alone. */
	ask(&c, "a", "secrets", 300, 2);
	controller_keep_settled_canaries(&c);
	assert_int_equal(controller_skip_above(&c, &named, "secrets"), 300);
	assert_int_equal(controller_skip_above(&c, &named, "configmaps"), 0);
	controller_forget_settled_canaries(&c);
	assert_int_equal(controller_skip_above(&c, &named, "secrets"), 0);
	assert_null(c.canary.asked);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_revisions_of_the_settled_canaries)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
