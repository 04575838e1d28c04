/* What the agents' censuses found, put together. */
#include "test_support.h"
#include "engine/controller_internal.h"

static char *text(const char *words)
{
	return (char *)(uintptr_t)words;
}

static void take(struct census_observation *census, struct key_server_group *groups, size_t count)
{
	struct key_server_status status = {0};
	status.census.groups = groups;
	status.census.group_count = count;
	controller_take_groups(&status, census);
}

#define GROUP(resource_, name_, values_, ...)                                                                      \
	{                                                                                                          \
		.resource = text(resource_), .provider = text("aescbc"), .name = text(name_), .values = (values_), \
		__VA_ARGS__                                                                                        \
	}

static void expect(const struct census_group *group, const char *resource, const char *name, uint64_t values)
{
	assert_true(text_equal(group->resource, resource));
	assert_string_equal(group->name, name);
	assert_int_equal(group->values, values);
}

/* A value that came between two of them is in one alone. */
static void what_any_of_them_found_is_there(void **state)
{
	struct census_observation census = {0};
	struct key_server_group first[] = {GROUP("secrets", "b", 10), GROUP("configmaps", "b", 4)};
	struct key_server_group second[] = {GROUP("secrets", "b", 9), GROUP("configmaps", "b", 5),
					    GROUP("secrets", "a", 1)};
	(void)state;
	take(&census, first, 2);
	take(&census, second, 3);
	assert_int_equal(census.group_count, 3);
	expect(&census.groups[0], "secrets", "b", 10);
	expect(&census.groups[1], "configmaps", "b", 5);
	expect(&census.groups[2], "secrets", "a", 1);
	census_observation_free(&census);
}

/* Each of them is another one than the first. */
static void groups_are_told_apart(void **state)
{
	struct census_observation census = {0};
	struct key_server_group groups[] = {
		GROUP("secrets", "b", 1),
		GROUP(NULL, "b", 1),
		GROUP("secrets", "b", 1, .foreign = true),
		GROUP("secrets", "b", 1, .expected = true),
		GROUP("secrets", "b", 1, .unknown = true),
		GROUP("secrets", "b", 1, .kms_version = 2),
		GROUP("secrets", "b", 1, .key_id = text("1")),
		GROUP("secrets", "b", 1, .key_id = text("2")),
		{.resource = text("secrets"), .provider = text("secretbox"), .name = text("b"), .values = 1}};
	(void)state;
	take(&census, groups, ELEMENTS(groups));
	take(&census, groups, ELEMENTS(groups));
	assert_int_equal(census.group_count, ELEMENTS(groups));
	census_observation_free(&census);
}

static void a_provider_of_another_version_is_unknown(void **state)
{
	struct census_observation census = {0};
	struct key_server_group groups[] = {{.provider = text("rot13"), .values = 1}};
	(void)state;
	take(&census, groups, 1);
	assert_int_equal(census.group_count, 1);
	assert_true(census.groups[0].unknown);
	assert_string_equal(census.groups[0].name, "");
	census_observation_free(&census);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_any_of_them_found_is_there),
		cmocka_unit_test(groups_are_told_apart),
		cmocka_unit_test(a_provider_of_another_version_is_unknown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
