/* What an agent tells of a census, and that it takes none that was asked for before it began. */
#include "etcd_server.h"

#include "engine/agent_internal.h"

#define S UINT64_C(1000000000)

static char *text(const char *words)
{
	return (char *)(uintptr_t)words;
}

/* A census of so many groups, told. */
static struct key_server *tell(size_t count, const char *why)
{
	struct key_server *ret = key_server_new("a");
	struct census_group *groups = xcalloc(count + 1, sizeof(*groups));
	for (size_t i = 0; i < count; i++)
		groups[i] = (struct census_group){
			.resource = text("secrets"), .type = PROVIDER_AESCBC, .name = text("k"), .values = i + 1};
	const struct census_observation census = {.begun = 10 * S,
						  .finished = 20 * S,
						  .complete = why == NULL,
						  .revision = 7,
						  .opened = 30,
						  .not_opened = 2,
						  .why_not_opened = text("no answer"),
						  .groups = groups,
						  .group_count = count,
						  .why = text(why)};
	agent_tell_census(&census, 25 * S, &ret->status);
	free(groups);
	return ret;
}

static void as_many_groups_as_there_is_room_for_are_told(void **state)
{
	(void)state;
	_cleanup_(key_server_freep) struct key_server *told = tell(KEY_SERVER_GROUPS_MAX, NULL);
	assert_true(told->status.census.complete);
	assert_null(told->status.census.why);
	assert_int_equal(told->status.census.group_count, KEY_SERVER_GROUPS_MAX);
	assert_int_equal(told->status.census.groups[KEY_SERVER_GROUPS_MAX - 1].values, KEY_SERVER_GROUPS_MAX);
	assert_int_equal(told->status.census.finished_age_milliseconds, 5000);
	assert_int_equal(told->status.census.opened, 30);
	assert_int_equal(told->status.census.not_opened, 2);
	assert_string_equal(told->status.census.why_not_opened, "no answer");
}

static void with_more_it_is_not_complete_and_says_why(void **state)
{
	(void)state;
	_cleanup_(key_server_freep) struct key_server *told = tell(KEY_SERVER_GROUPS_MAX + 1, NULL);
	assert_false(told->status.census.complete);
	assert_non_null(strstr(told->status.census.why, "257"));
	assert_int_equal(told->status.census.group_count, KEY_SERVER_GROUPS_MAX);
}

static void another_reason_stays(void **state)
{
	(void)state;
	_cleanup_(key_server_freep) struct key_server *told = tell(1, "a member is away");
	assert_false(told->status.census.complete);
	assert_string_equal(told->status.census.why, "a member is away");
}

/* Two etcds of one member each. */
static void how_full_etcd_is(void **state)
{
	(void)state;
	struct loop *loop = NULL;
	struct fake_etcd fakes[2];
	struct fake_member members[2];
	struct etcd *etcds[2];
	struct key_server_member told[2];
	struct key_server_status status = {.members = told};
	_cleanup_error_ err = NULL;
	assert_ok(loop_new(&loop, &err), err);
	for (size_t i = 0; i < 2; i++) {
		const char *endpoint = fakes[i].url;
		fake_etcd_start(&fakes[i], 1 + i, 1);
		members[i] = (struct fake_member){.id = 1, .name = i ? "events" : "main", .url = fakes[i].url};
		fakes[i].members = &members[i];
		fakes[i].member_count = 1;
		told[i] = (struct key_server_member){.name = text(members[i].name)};
		const struct etcd_options options = {.endpoints = &endpoint, .endpoint_count = 1};
		assert_ok(etcd_new(loop, &options, &etcds[i], &err), err);
	}
	assert_ok(etcd_connect(etcds[0], &err), err);
	uint64_t first = etcd_member(etcds[0], 0)->told_at;
	/* No members are watched: nobody asks. */
	agent_tell_sizes(etcds, 2, first, &status);
	assert_int_equal(status.etcd_size_age_milliseconds, 0);
	/* One of them never answered. */
	status.member_count = 2;
	agent_tell_sizes(etcds, 2, first + S, &status);
	assert_int_equal(status.etcd_size_age_milliseconds, 0);
	assert_int_equal(told[0].db_size, 1000);
	assert_int_equal(told[0].db_quota, 2000);
	assert_int_equal(told[1].db_size, 0);
	/* Both did: as old as the older answer. */
	assert_ok(etcd_connect(etcds[1], &err), err);
	agent_tell_sizes(etcds, 2, first + 2 * S, &status);
	assert_int_equal(status.etcd_size_age_milliseconds, 2001);
	assert_int_equal(told[1].db_size, 1000);
	/* What was the second member is another one now: its size is none of the one that is told of. */
	told[1] = (struct key_server_member){.name = text("before")};
	agent_tell_sizes(etcds, 2, first + 2 * S, &status);
	assert_int_equal(told[1].db_size, 0);
	for (size_t i = 0; i < 2; i++) {
		etcd_free(etcds[i]);
		fake_etcd_stop(&fakes[i]);
	}
	loop_free(loop);
}

/* Without a node: had it begun to read values, it would have died of that. */
static void what_was_asked_of_the_process_before_is_not_answered(void **state)
{
	(void)state;
	_cleanup_(key_server_freep) struct key_server *told = key_server_new("a");
	_cleanup_(key_server_freep) struct key_server *last = key_server_new("a");
	_cleanup_error_ err = NULL;
	struct fleet_server self = {.last = last};
	struct agent agent = {.told = told, .self = &self, .read_at = S};
	last->spec.ask_census = 5;
	for (int turn = 0; turn < 2; turn++) {
		assert_int_equal(agent_take_asked_census(&agent, &err), 0);
		assert_int_equal(told->status.census.asked, 0);
	}
}

static void what_keeps_it_busy_is_the_last_of_reasons(void **state)
{
	struct agent agent = {0};
	struct server_observation seen = {0};
	(void)state;
	assert_null(agent_busy_words(99));
	assert_null(agent_why(&agent, &seen));
	agent.busy = agent_busy_words(399);
	assert_string_equal(agent_why(&agent, &seen),
			    "a census is under way, and has asked the KMS for 300 keys by now");
	seen.why = text("it does not answer");
	assert_string_equal(agent_why(&agent, &seen), "it does not answer");
	agent.trouble = text("no right");
	assert_string_equal(agent_why(&agent, &seen), "no right");
	free(agent.busy);
}

/* By an agent of an earlier version, which counted them beside a journal that does not tell. */
static void what_it_put_back_alone_before_counts(void **state)
{
	static const struct {
		bool no_alone;
		const char *rotation;
		unsigned rescues;
		uint64_t counted;
		unsigned alone;
	} rows[] = {
		{true, "r", 2, 1, 1},       {true, "r", 1, 2, 1},  {true, "r", 1, 0, 0},
		{true, "another", 2, 1, 0}, {false, "r", 2, 1, 0},
	};
	(void)state;
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		const struct agent_disk disk = {.rotation = text(rows[i].rotation), .rescues = rows[i].counted};
		struct journal journal = {
			.rotation = text("r"), .rescues = rows[i].rescues, .no_alone = rows[i].no_alone};
		agent_disk_tell_alone(&disk, &journal);
		assert_int_equal(journal.alone, rows[i].alone);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_keeps_it_busy_is_the_last_of_reasons),
		cmocka_unit_test(what_it_put_back_alone_before_counts),
		cmocka_unit_test(as_many_groups_as_there_is_room_for_are_told),
		cmocka_unit_test(with_more_it_is_not_complete_and_says_why),
		cmocka_unit_test(another_reason_stays),
		cmocka_unit_test(how_full_etcd_is),
		cmocka_unit_test(what_was_asked_of_the_process_before_is_not_answered),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
