/* The parts of a sweep that decide without a server; the rest is tests/e2e/test_sweep.py's. */
#include "etcd_server.h"
#include "engine/sweep_internal.h"

static void test_key_order_is_etcds(void **state)
{
	/* Sorted as bytes of "<namespace>/<name>". */
	static const char *const keys[][2] = {
		{"", "a"},    {"", "b"},    {"a-b", "x"}, {"a-b", "y"}, {"a", "a"},
		{"a", "a-b"}, {"a", "a.b"}, {"a", "ab"},  {"a0", "x"},  {"b", "a"},
	};

	(void)state;
	for (size_t i = 2; i < ELEMENTS(keys); i++)
		for (size_t k = 2; k < ELEMENTS(keys); k++) {
			int order = sweep_key_compare(keys[i][0], keys[i][1], keys[k][0], keys[k][1]);

			assert_int_equal(order < 0, i < k);
			assert_int_equal(order == 0, i == k);
		}
	assert_true(sweep_key_compare("", "a", "", "b") < 0);
	assert_int_equal(sweep_key_compare("", "a", "", "a"), 0);
}

struct quota_row {
	const char *name;
	uint64_t size, in_use, quota;
	unsigned percent;
	bool file;
};

#define MIB (UINT64_C(1) << 20)
static const struct quota_row quotas[] = {
	{"empty", 0, 0, 2048 * MIB, 0, false},
	{"half", 1024 * MIB, 1024 * MIB, 2048 * MIB, 0, false},
	{"below 80", 1638 * MIB, 1638 * MIB, 2048 * MIB, 0, false},
	{"80", 1639 * MIB, 1639 * MIB, 2048 * MIB, 80, false},
	{"full", 2048 * MIB, 2048 * MIB, 2048 * MIB, 100, true},
	{"quota 0 is 2 GiB", 1639 * MIB, 1639 * MIB, 0, 80, false},
	{"compacted, not defragmented: room inside the file", 1700 * MIB, 1000 * MIB, 2048 * MIB, 0, false},
	{"compacted, but more than half is in use", 1700 * MIB, 1100 * MIB, 2048 * MIB, 83, false},
	{"the file is nearly all there is", 2000 * MIB, 400 * MIB, 2048 * MIB, 97, true},
	{"an old etcd does not tell what is in use", 1700 * MIB, 0, 2048 * MIB, 83, false},
	{"a quota of a few bytes", 85, 85, 100, 85, false},
	{"not told, and the file shows a larger one", 2049 * MIB, 2049 * MIB, 0, 0, false},
	{"80 of that", 6554 * MIB, 6554 * MIB, 0, 80, false},
	{"a larger one still", 8193 * MIB, 8193 * MIB, 0, 0, false},
	{"one that is told stays", 2049 * MIB, 2049 * MIB, 2048 * MIB, 100, true},
	{"none at all", 8193 * MIB, 8193 * MIB, UINT64_MAX, 0, false},
};

static void test_quota(void **state)
{
	const struct quota_row *row = *state;
	bool file = false;
	unsigned percent = sweep_quota_pressure(row->size, row->in_use, row->quota, &file);

	assert_int_equal(percent, row->percent);
	if (percent > 0)
		assert_int_equal(file, row->file);
}

static void look_again(struct sweep *sweep)
{
	for (size_t i = 0; i < sweep->options->etcd_count; i++)
		sweep->quotas[i].due = 0;
	sweep_quota_check(sweep);
}

/* Events in an etcd of their own: that one is full, the first has room. */
static void test_any_etcd_may_be_full(void **state)
{
	struct loop *loop = NULL;
	struct error *err = NULL;
	struct fake_etcd fakes[2];
	struct fake_member members[2];
	struct etcd *etcds[2];
	struct sweep_options options = {.etcds = etcds, .etcd_count = 2};
	struct sweep sweep = {.options = &options};
	_cleanup_free_ char *wanted = NULL;

	(void)state;
	assert_ok(loop_new(&loop, &err), err);
	options.loop = loop;
	for (size_t i = 0; i < 2; i++) {
		const char *endpoint = fakes[i].url;

		fake_etcd_start(&fakes[i], 1 + i, 1);
		members[i] = (struct fake_member){.id = 1, .name = i ? "events" : "main", .url = fakes[i].url};
		fakes[i].members = &members[i];
		fakes[i].member_count = 1;
		assert_ok(etcd_new(loop, &(struct etcd_options){.endpoints = &endpoint, .endpoint_count = 1}, &etcds[i],
				   &err),
			  err);
		assert_ok(etcd_connect(etcds[i], &err), err);
	}
	sweep_quota_init(&sweep);
	look_again(&sweep);
	assert_false(sweep.full);
	assert_null(sweep.waiting);

	fakes[1].db_size = 1700;
	sweep_quota_check(&sweep); /* not due yet */
	assert_false(sweep.full);
	look_again(&sweep);
	assert_true(sweep.full);
	wanted = xasprintf("etcd member events (%s) at 85%% of its quota, until it is compacted", fakes[1].url);
	assert_string_equal(sweep.waiting, wanted);
	/* Only the first is looked at: what the other was is not forgotten. */
	sweep.quotas[0].due = 0;
	sweep_quota_check(&sweep);
	assert_true(sweep.full);

	fakes[1].db_in_use = 900;
	look_again(&sweep);
	assert_false(sweep.full);
	assert_null(sweep.waiting);
	sweep_quota_free(&sweep);
	for (size_t i = 0; i < 2; i++) {
		etcd_free(etcds[i]);
		fake_etcd_stop(&fakes[i]);
	}
	loop_free(loop);
}

static char *told(void *arg)
{
	return xstrdup_or_null(*(const char **)arg);
}

/* Where etcd is not reached from here somebody else tells, each time. */
static void test_others_tell_of_etcd(void **state)
{
	struct loop *loop = NULL;
	struct error *err = NULL;
	const char *why = NULL;
	struct sweep_options options = {.no_room = told, .arg = &why};
	struct sweep sweep = {.options = &options};

	(void)state;
	assert_ok(loop_new(&loop, &err), err);
	options.loop = loop;
	sweep_quota_init(&sweep);
	sweep_quota_check(&sweep);
	assert_false(sweep.full);
	assert_null(sweep.waiting);
	assert_int_equal(sweep.useful, 0);
	why = "no room";
	sweep_quota_check(&sweep);
	assert_true(sweep.full);
	assert_string_equal(sweep.waiting, "no room");
	assert_true(sweep.useful > 0); /* the server is not away: we do not ask it */
	why = NULL;
	sweep_quota_check(&sweep);
	assert_false(sweep.full);
	assert_null(sweep.waiting);
	sweep_quota_free(&sweep);
	loop_free(loop);
}

static void test_rate_is_of_the_last_seconds(void **state)
{
	struct sweep_rate rate = {.interval = 500 * NS_PER_MS};
	uint64_t now = 1000 * NS_PER_S, done = 0;

	(void)state;
	assert_int_equal(sweep_rate_add(&rate, 0, now), 0);
	assert_int_equal(sweep_rate_add(&rate, 10, now + 100 * NS_PER_MS), 0); /* too short to tell */
	for (int i = 0; i < 600; i++, now += 100 * NS_PER_MS, done += 5)
		sweep_rate_add(&rate, done, now);
	assert_in_range(sweep_rate_add(&rate, done, now), 49, 51);
	/* Twenty seconds of ten times as much, and the old rate is forgotten. */
	for (int i = 0; i < 200; i++, now += 100 * NS_PER_MS, done += 50)
		sweep_rate_add(&rate, done, now);
	assert_in_range(sweep_rate_add(&rate, done, now), 490, 510);
	now += 60 * NS_PER_S;
	assert_in_range(sweep_rate_add(&rate, done, now), 0, 120);
}

static void keep_progress(void *arg, const struct sweep_progress *progress)
{
	*(struct sweep_progress *)arg = *progress;
}

/* 100 a second of 100,000, while others create ten a second, far ahead: that makes neither us faster nor our work more. */
static void test_time_left_is_of_our_own_work(void **state)
{
	struct kube_resource secrets = {.resource = "secrets"};
	const struct kube_resource *one = &secrets;
	struct sweep_progress seen = {0};
	struct sweep_options options = {
		.resources = &one, .resource_count = 1, .on_progress = keep_progress, .arg = &seen};
	struct sweep sweep = {.options = &options, .result = sweep_result_new(&options, 1)};
	uint64_t now = 1000 * NS_PER_S, written;

	(void)state;
	sweep_progress_init(&sweep);
	sweep_tally_page(&sweep.tally, 0, 5, 100000);
	for (unsigned second = 0; second < 200; second++, now += NS_PER_S) {
		for (unsigned i = 0; i < 100; i++) {
			_cleanup_free_ char *uid = xasprintf("own-%u-%u", second, i);

			assert_true(sweep_tally_item(&sweep.tally, 0, uid, &written));
			sweep_count_end(&sweep, 0, SWEEP_ENDED_REWRITTEN, 1);
		}
		for (unsigned i = 0; i < 10; i++) {
			_cleanup_free_ char *uid = xasprintf("other-%u-%u", second, i);

			sweep_tally_event(&sweep.tally, 0, WATCH_ADDED, true, uid, 10 + second);
		}
		sweep_progress_tell(&sweep, now, false);
	}
	assert_int_equal(seen.done, 22000);
	assert_int_equal(seen.total, 102000);
	assert_in_range(seen.per_second, 99, 101);
	assert_in_range(seen.eta, 790 * NS_PER_S, 810 * NS_PER_S);
	/* A pause is forgotten at once. */
	now += 3600 * NS_PER_S;
	sweep_progress_restart(&sweep);
	sweep_progress_tell(&sweep, now, false);
	assert_int_equal(seen.eta, 0);
	sweep_tally_free(&sweep.tally);
	sweep_result_free(sweep.result);
}

static void test_resources(void **state)
{
	static const char *const wanted[] = {"secrets", "configmaps", "events", "leases.coordination.k8s.io",
					     "widgets.example.com"};
	struct kube_resource items[] = {
		{.resource = "widgets.example.com", .can_list = true, .can_patch = true, .custom = true},
		{.resource = "configmaps", .can_list = true, .can_update = true},
		{.resource = "events.events.k8s.io", .can_list = true, .can_update = true},
		{.resource = "events", .can_list = true, .can_update = true},
		{.resource = "leases.coordination.k8s.io", .can_list = true, .can_update = true},
		{.resource = "componentstatuses", .can_list = true},
		{.resource = "tokenreviews.authentication.k8s.io"},
		{.resource = "pods.metrics.k8s.io", .can_list = true, .can_update = true, .aggregated = true},
		{.resource = "secrets", .can_list = true, .can_update = true},
	};
	struct kube_resources served = {.items = items, .count = ELEMENTS(items)};
	char *everything = "*.*", *one = "secrets";
	struct config_key key = {.type = PROVIDER_IDENTITY, .name = ""};
	struct config_rule rule = {.resources = &everything, .resource_count = 1, .keys = &key, .key_count = 1};
	struct config_shape shape = {.rules = &rule, .rule_count = 1};
	_cleanup_free_ const struct kube_resource **all = NULL, **some = NULL;
	size_t count = 0;

	(void)state;
	all = sweep_resources(&shape, &served, &count);
	assert_int_equal(count, ELEMENTS(wanted));
	for (size_t i = 0; i < count; i++)
		assert_string_equal(all[i]->resource, wanted[i]);
	rule.resources = &one;
	some = sweep_resources(&shape, &served, &count);
	assert_int_equal(count, 1);
	assert_string_equal(some[0]->resource, "secrets");
}

static void test_who_is_patched(void **state)
{
	struct kube_resource secrets = {.can_update = true, .can_patch = true},
			     custom = {.can_update = true, .can_patch = true, .custom = true},
			     no_update = {.can_patch = true}, no_patch = {.can_update = true};
	struct sweep_options replace = {.mode = SWEEP_REPLACE}, patch = {.mode = SWEEP_PATCH};

	(void)state;
	assert_false(sweep_is_patched(&replace, &secrets));
	assert_true(sweep_is_patched(&patch, &secrets));
	assert_true(sweep_is_patched(&replace, &custom));
	assert_true(sweep_is_patched(&replace, &no_update));
	assert_false(sweep_is_patched(&patch, &no_patch));
}

/* Of what is patched only metadata are listed. */
static void test_the_most_that_is_written(void **state)
{
	struct kube_resource secrets = {.can_update = true}, custom = {.custom = true};
	const struct sweep_options options = {.mode = SWEEP_REPLACE};
	struct sweep sweep = {.options = &options};
	struct sweep_item *replaced = sweep_item_new(&sweep, 0, &secrets, "a", "b");
	struct sweep_item *patched = sweep_item_new(&sweep, 0, &custom, "a", "b");

	(void)state;
	replaced->counted_bytes = patched->counted_bytes = 1000;
	assert_int_equal(sweep_item_most(replaced), 1000);
	assert_int_equal(sweep_item_most(patched), SWEEP_PATCHED_MOST);
	patched->counted_bytes = SWEEP_PATCHED_MOST + 1;
	assert_int_equal(sweep_item_most(patched), SWEEP_PATCHED_MOST + 1);
	sweep_item_free(replaced);
	sweep_item_free(patched);
}

static void test_quarantine_names_some_and_counts_all(void **state)
{
	struct kube_resource secrets = {.resource = "secrets"};
	struct sweep_options options = {0};
	struct sweep sweep = {.options = &options, .result = sweep_result_new(&options, 1)};

	(void)state;
	for (int i = 0; i < SWEEP_QUARANTINE_MAX + 5; i++)
		sweep_quarantine(&sweep, &secrets, "a", "b", "no");
	assert_int_equal(sweep.result->quarantined, SWEEP_QUARANTINE_MAX + 5);
	assert_int_equal(sweep.result->quarantine_named, SWEEP_QUARANTINE_MAX);
	assert_string_equal(sweep.result->quarantine[0].why, "no");
	sweep_result_free(sweep.result);
	sweep_result_free(NULL);
}

static void test_counts_add_up(void **state)
{
	struct kube_resource secrets = {.resource = "secrets"}, other = {.resource = "configmaps"};
	const struct kube_resource *both[] = {&secrets, &other};
	struct sweep_options options = {.resources = both, .resource_count = 2};
	struct sweep sweep = {.options = &options, .result = sweep_result_new(&options, 7)};
	struct sweep_count *count;

	(void)state;
	assert_int_equal(sweep.result->begun, 7);
	assert_int_equal(sweep_result_index(sweep.result, &other), 1);
	for (int end = SWEEP_ENDED_REWRITTEN; end <= SWEEP_ENDED_QUARANTINED; end++)
		sweep_count_end(&sweep, 1, (enum sweep_end)end, 100);
	count = &sweep.result->counts[1];
	assert_int_equal(count->objects, 5);
	assert_int_equal(count->rewritten + count->current + count->skipped + count->gone + count->quarantined, 5);
	assert_int_equal(count->bytes, 500);
	assert_int_equal(sweep.result->objects, 5);
	assert_int_equal(sweep.result->rewritten, 1);
	assert_int_equal(sweep.result->counts[0].objects, 0);
	sweep_result_free(sweep.result);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_key_order_is_etcds),
		cmocka_unit_test(test_any_etcd_may_be_full),
		cmocka_unit_test(test_others_tell_of_etcd),
		cmocka_unit_test(test_rate_is_of_the_last_seconds),
		cmocka_unit_test(test_time_left_is_of_our_own_work),
		cmocka_unit_test(test_resources),
		cmocka_unit_test(test_who_is_patched),
		cmocka_unit_test(test_the_most_that_is_written),
		cmocka_unit_test(test_quarantine_names_some_and_counts_all),
		cmocka_unit_test(test_counts_add_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL) + RUN_ROWS(test_quota, quotas);
}
