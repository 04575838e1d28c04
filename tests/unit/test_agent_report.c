/* What an agent tells of a census, and that it takes none that was asked for before it began. */
#include "test_support.h"

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

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(as_many_groups_as_there_is_room_for_are_told),
		cmocka_unit_test(with_more_it_is_not_complete_and_says_why),
		cmocka_unit_test(another_reason_stays),
		cmocka_unit_test(what_was_asked_of_the_process_before_is_not_answered),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
