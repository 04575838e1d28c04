/* What a census says of a configuration when nothing is rotated. */
#include "test_support.h"

#include "base/clock.h"
#include "base/text.h"
#include "engine/drift.h"

static char secrets[] = "secrets", maps[] = "configmaps", leases[] = "leases.coordination.k8s.io", key1[] = "key1",
	    key2[] = "key2", gone[] = "gone", none[] = "";
static struct config_key keys[] = {{.type = PROVIDER_AESCBC, .name = key2},
				   {.type = PROVIDER_AESCBC, .name = key1},
				   {.type = PROVIDER_IDENTITY, .name = none}};
static char *names[] = {secrets, maps};
static struct config_rule rules[] = {{.resources = names, .resource_count = 2, .keys = keys, .key_count = 3}};
static struct config_shape shape = {.rules = rules, .rule_count = 1};
static const struct key_server_status local = {.configuration = &shape};

static void stale_unreadable_and_what_does_not_count(void **state)
{
	struct census_group groups[] = {
		{.resource = secrets, .type = PROVIDER_AESCBC, .name = key2, .values = 100},
		{.resource = secrets, .type = PROVIDER_AESCBC, .name = key1, .values = 7},
		{.resource = secrets, .type = PROVIDER_AESCBC, .name = gone, .values = 2},
		{.resource = secrets, .type = PROVIDER_IDENTITY, .name = none, .values = 5, .unknown = true},
		{.resource = maps, .type = PROVIDER_IDENTITY, .name = none, .values = 3},
		/* no rule: plaintext is as it should be, and a key is not */
		{.resource = leases, .type = PROVIDER_IDENTITY, .name = none, .values = 50},
		{.type = PROVIDER_IDENTITY, .name = none, .values = 900},
		{.type = PROVIDER_IDENTITY, .name = none, .values = 4, .unknown = true},
		{.type = PROVIDER_IDENTITY, .name = none, .values = 11, .expected = true},
		{.resource = secrets, .type = PROVIDER_AESCBC, .name = gone, .values = 77, .foreign = true},
	};
	const struct census_observation census = {.groups = groups, .group_count = ELEMENTS(groups)};
	struct drift drift;
	(void)state;
	drift_find(&census, &local, &drift);
	assert_int_equal(drift.values, 167);
	assert_int_equal(drift.stale, 7 + 2 + 3);
	assert_int_equal(drift.unreadable, 2 + 5 + 4);
	assert_int_equal(drift.resource_count, 3);
	assert_string_equal(drift.resources[0].resource, "secrets");
	assert_int_equal(drift.resources[0].stale, 9);
	assert_int_equal(drift.resources[1].stale, 3);
	assert_int_equal(drift.resources[2].stale, 0);
	_cleanup_free_ char *words = drift_words(&drift);
	assert_string_equal(words,
			    "12 of 167 values are not under the write key of their rule (secrets 9, configmaps 3); "
			    "11 cannot be read");
	drift_free(&drift);
	drift_find(&(struct census_observation){.groups = groups, .group_count = 1}, &local, &drift);
	_cleanup_free_ char *good = drift_words(&drift);
	assert_string_equal(good, "every value is under the write key of its rule");
	drift_free(&drift);
}

/* Values under the key ID that the plugin names, and under another one. */
static char vault[] = "vault", id1[] = "key-1", id2[] = "key-2", endpoint[] = "unix:///s", ok[] = "ok",
	    sealed[] = "sealed";
static struct config_key kms_keys[] = {
	{.type = PROVIDER_KMS, .kms_version = 2, .name = vault, .kms_endpoint = endpoint},
	{.type = PROVIDER_IDENTITY, .name = none}};
static struct config_rule kms_rules[] = {{.resources = names, .resource_count = 1, .keys = kms_keys, .key_count = 2}};
static struct config_shape kms_shape = {.rules = kms_rules, .rule_count = 1};

static const struct {
	const char *name;
	char *named, *healthz; /* by the plugin; NULL: nothing is told of it */
	bool by_name;          /* the agent tells no key IDs */
	uint64_t stale;
	const char *words;
} rows[] = {
	{"under both", id1, ok, false, 3, "3 of 10 values are not under the write key of their rule (secrets 3)"},
	{"it has just moved", id2, ok, false, 7,
	 "7 of 10 values are not under the write key of their rule (secrets 7)"},
	{"not well", id1, sealed, false, 0, "kms/vault: sealed: which key it encrypts with is not known"},
	{"names none", NULL, ok, false, 0, "kms/vault: no answer: which key it encrypts with is not known"},
	{"nothing is told of it", NULL, NULL, false, 0,
	 "kms/vault: no answer: which key it encrypts with is not known"},
	{"an agent of before", id1, ok, true, 0, "its agent does not tell values of kms/vault by key ID"},
};

static void by_key_id(void **state)
{
	const __typeof__(rows[0]) *row = *state;
	struct census_group groups[] = {
		{.resource = secrets,
		 .type = PROVIDER_KMS,
		 .kms_version = 2,
		 .name = vault,
		 .key_id = id1,
		 .values = 7},
		{.resource = secrets,
		 .type = PROVIDER_KMS,
		 .kms_version = 2,
		 .name = vault,
		 .key_id = id2,
		 .values = 3},
	};
	struct key_server_kms kms = {
		.name = vault, .endpoint = endpoint, .healthz = row->healthz, .key_id = row->named};
	const struct key_server_status status = {
		.configuration = &kms_shape, .kms = &kms, .kms_count = row->healthz != NULL};
	struct drift drift;
	for (size_t i = 0; row->by_name && i < ELEMENTS(groups); i++)
		groups[i].key_id = NULL;
	drift_find(&(struct census_observation){.groups = groups, .group_count = ELEMENTS(groups)}, &status, &drift);
	_cleanup_free_ char *words = drift_words(&drift);
	assert_string_equal(words, row->words);
	assert_int_equal(drift.stale, row->stale);
	assert_int_equal(drift.unreadable, 0);
	assert_int_equal(drift.unknown == NULL, row->stale > 0);
	drift_free(&drift);
	/* Under the write key's name, and not its bytes. */
	drift_find(&(struct census_observation){.groups = groups, .group_count = 1, .does_not_open = 4}, &status,
		   &drift);
	assert_int_equal(drift.unreadable, 4);
	drift_free(&drift);
}

static void a_key_tells_when_it_was_made(void **state)
{
	static const char *const others[] = {NULL,
					     "",
					     "key1",
					     "rekey-20261122T1103",
					     "rekey-20261322T1103Z-3f9a1c",
					     "rekey-2026112xT1103Z-3f9a1c",
					     "Rekey-20261122T1103Z-3f9a1c"};
	uint64_t made = 1, wanted;
	(void)state;
	assert_true(key_name_time("rekey-20261122T1103Z-3f9a1c", &made));
	assert_int_equal(clock_parse("2026-11-22T11:03:00Z", &wanted), 0);
	assert_int_equal(made, wanted);
	for (size_t i = 0; i < ELEMENTS(others); i++)
		assert_false(key_name_time(others[i], &made));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(stale_unreadable_and_what_does_not_count),
		cmocka_unit_test(a_key_tells_when_it_was_made),
	};
	return cmocka_run_group_tests(tests, NULL, NULL) + RUN_ROWS(by_key_id, rows);
}
