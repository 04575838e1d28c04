/* How many calls of its KMS a rotation costs. */
#include "test_support.h"

#include "engine/kms_calls.h"
#include "shape_support.h"

#define STEPS_MAX 4

static char vault[] = "v", id[] = "id", none[] = "", deks[][2] = {"a", "b", "c"};

static const struct map_entry entry = {.storage = (char[]){"secrets"}};

static const struct {
	const char *name, *steps[STEPS_MAX];
	uint64_t objects[3]; /* under each of three data encryption keys, in two resources */
	unsigned kms_version, concurrency, servers;
	const char *calls; /* encrypt, decrypt, opening, values under KMS v1 */
} rows[] = {
	{"no KMS", {"secrets=a,-", "secrets=a,b,-"}, {0}, 2, 16, 1, "0 0 0 0"},
	{"to a KMS", {"secrets=a", "secrets=a,kms:v", "secrets=kms:v,a", "secrets=kms:v"}, {0}, 2, 16, 1, "3 1 2 0"},
	{"to a KMS, three servers",
	 {"secrets=a", "secrets=a,kms:v", "secrets=kms:v,a", "secrets=kms:v"},
	 {0},
	 2,
	 16,
	 3,
	 "3 5 18 0"},
	{"from a KMS", {"secrets=kms:v", "secrets=kms:v,b", "secrets=b,kms:v", "secrets=b"}, {5}, 2, 4, 1, "2 7 1 0"},
	{"new DEKs",
	 {"secrets=kms:v", "secrets=kms:v,kms:w", "secrets=kms:w,kms:v", "secrets=kms:w"},
	 {9, 9},
	 2,
	 4,
	 1,
	 "5 15 4 0"},
	{"new DEKs in the place of one",
	 {"secrets=kms:v", "secrets=kms:v,kms:w", "secrets=kms:w,kms:v", "secrets=kms:w"},
	 {12},
	 2,
	 4,
	 1,
	 "5 8 3 0"},
	{"few objects",
	 {"secrets=kms:v", "secrets=kms:v,kms:w", "secrets=kms:w,kms:v", "secrets=kms:w"},
	 {1, 1, 1},
	 2,
	 4,
	 1,
	 "5 16 5 0"},
	{"nothing of its KMS changes",
	 {"secrets=kms:v;pods=a", "secrets=kms:v;pods=a,b", "secrets=kms:v;pods=b,a", "secrets=kms:v;pods=b"},
	 {9, 9},
	 2,
	 4,
	 1,
	 "3 15 8 0"},
	{"from KMS v1, which has no seed",
	 {"secrets=kms1:v", "secrets=kms1:v,b", "secrets=b,kms1:v", "secrets=b"},
	 {5, 6},
	 1,
	 4,
	 1,
	 "0 0 0 22"},
	{"following", {"secrets=kms:v@2"}, {5}, 2, 4, 1, "1 4 3 0"},
	{"following two on three servers", {"secrets=kms:v@2;pods=kms:w@3"}, {5}, 2, 4, 3, "2 8 39 0"},
	{"following what moved before", {"secrets=kms:v@id"}, {5}, 2, 4, 1, "1 4 5 0"},
};

static void row(void **state)
{
	const __typeof__(rows[0]) *it = *state;
	struct config_shape *steps[STEPS_MAX];
	struct path path = {.steps = steps};
	struct census_key keys[ELEMENTS(deks)] = {0};
	struct census_resource resources[2] = {0};
	for (; path.count < STEPS_MAX && it->steps[path.count]; path.count++)
		steps[path.count] = shape_parse(it->steps[path.count]);
	size_t count = 0;
	for (size_t i = 0; i < ELEMENTS(deks); i++)
		if (it->objects[i] > 0)
			keys[count++] = (struct census_key){.provider = PROVIDER_KMS,
							    .kms_version = it->kms_version,
							    .name = vault,
							    .key_id = id,
							    .dek_source = deks[i],
							    .objects = it->objects[i]};
	/* One key may be used for two resources. */
	for (size_t r = 0; r < ELEMENTS(resources); r++)
		resources[r] = (struct census_resource){.entry = &entry, .keys = keys, .key_count = count};
	const struct census census = {.resources = resources, .resource_count = ELEMENTS(resources)};
	struct kms_calls calls = kms_calls_of(&path, &census, it->concurrency, it->servers);
	_cleanup_free_ char *words =
		xasprintf("%llu %llu %llu %llu", (unsigned long long)calls.encrypt, (unsigned long long)calls.decrypt,
			  (unsigned long long)calls.opening, (unsigned long long)calls.v1_values);
	assert_string_equal(words, it->calls);
	assert_int_equal(calls.dek_sources, it->kms_version == 2 ? count : 0);
	for (size_t i = 0; i < path.count; i++)
		config_shape_free(steps[i]);
}

static void test_lumped(void **state)
{
	(void)state;
	struct config_shape *step = shape_parse("secrets=kms:v");
	struct path path = {.steps = &step, .count = 1};
	struct census_key key = {.provider = PROVIDER_KMS,
				 .kms_version = 2,
				 .name = vault,
				 .key_id = id,
				 .dek_source = none,
				 .lumped = true,
				 .objects = 3};
	struct census_resource resource = {.entry = &entry, .keys = &key, .key_count = 1};
	const struct census census = {.resources = &resource, .resource_count = 1};
	assert_true(kms_calls_of(&path, &census, 1, 1).more);
	config_shape_free(step);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_lumped)};
	int failed = RUN_ROWS(row, rows);
	return failed + cmocka_run_group_tests(tests, NULL, NULL);
}
