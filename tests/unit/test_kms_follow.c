/* Which configurations can be followed, and under which key IDs their values are current. */
#include "test_support.h"

#include "base/clock.h"
#include "engine/kms_follow.h"
#include "shape_support.h"

static const struct {
	const char *name, *shape;
	const char *error; /* NULL: it can */
} rows[] = {
	{"one that writes", "secrets=kms:v,-", NULL},
	{"two that write", "secrets=kms:v; configmaps=kms:w", NULL},
	{"one by a wildcard", "*.*=kms:v", NULL},
	{"beside a local key", "pods=a; secrets=kms:v", NULL},
	{"one that only reads", "secrets=a,kms:v",
	 "no rule writes with a KMS v2 provider, so there is no key ID to follow"},
	{"one of version 1", "secrets=kms1:v",
	 "no rule writes with a KMS v2 provider, so there is no key ID to follow"},
	{"one that no canary shows", "secrets=kms:v; pods=kms:w",
	 "kms/w writes neither secrets nor configmaps (pods): no canary can show which key ID the API server has "
	 "adopted for it"},
};

static void can(void **state)
{
	const __typeof__(rows[0]) *row = *state;
	_cleanup_(config_shape_freep) struct config_shape *shape = shape_parse(row->shape);
	struct error *err = NULL;
	int rc = kms_can_follow(shape, &err);
	if (row->error)
		assert_error(rc, err, ERROR_REFUSED, row->error);
	else
		assert_ok(rc, err);
}

static void test_key_ids(void **state)
{
	_cleanup_(config_shape_freep) struct config_shape *shape =
		shape_parse("secrets=kms:v,kms:r; configmaps=kms:w; pods=a");
	(void)state;
	assert_true(kms_writes(shape, NULL));
	assert_true(kms_writes(shape, "w"));
	assert_false(kms_writes(shape, "r"));
	assert_false(kms_writes(shape, "a"));
	assert_null(kms_key_id(shape, "v"));
	kms_set_key_id(shape, "v", "1");
	kms_set_key_id(shape, "v", "2");
	kms_set_key_id(shape, "r", "3");
	assert_string_equal(kms_key_id(shape, "v"), "2");
	assert_null(kms_key_id(shape, "w"));
	assert_null(kms_key_id(shape, "r"));
	assert_null(shape->rules[0].keys[1].kms_key_id);
}

/* --- what a server says that its plugins named --- */

#define HASH_OF_1 "sha256:6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"
#define HASH_OF_2 "sha256:d4735e3a265e16eee03f59718b9b5d03019c07d8b6c51f90da3a666eec13ab35"

static struct apiserver_named named(const char *provider, const char *hash, double at)
{
	return (struct apiserver_named){(char *)(uintptr_t)provider, (char *)(uintptr_t)hash, at};
}

static void test_named_others(void **state)
{
	_cleanup_(config_shape_freep) struct config_shape *shape =
		shape_parse("secrets=kms:v@2,kms:r; configmaps=kms:w@1; pods=a");
	struct apiserver_named of[] = {named("w", HASH_OF_1, 5), named("v", HASH_OF_2, 8), named("v", HASH_OF_1, 7.25),
				       named("r", HASH_OF_1, 8), named("v", "sha256:00", 1)};
	struct apiserver_metrics metrics = {
		.has_process_start = true, .process_start = 3.5, .named = of, .named_count = 4};
	(void)state;
	_cleanup_free_ char *before = kms_named_others(shape, &metrics);
	assert_string_equal(before, "v " HASH_OF_1 " 7.25\n3.5");
	/* The key that is followed again, and one of a provider that writes nothing. */
	of[1].at = 16;
	of[3].at = 18;
	_cleanup_free_ char *later = kms_named_others(shape, &metrics);
	assert_string_equal(later, before);
	/* The other one once more; another process; another order. */
	of[2].at = 17;
	assert_true(kms_may_adopt_another(shape, &metrics));
	assert_null(kms_named_others(shape, &metrics)); /* it may be about to adopt that one */
	of[1].at = 17;
	assert_true(kms_may_adopt_another(shape, &metrics));
	of[1].at = 18;
	assert_false(kms_may_adopt_another(shape, &metrics));
	_cleanup_free_ char *again = kms_named_others(shape, &metrics);
	assert_string_equal(again, "v " HASH_OF_1 " 17\n3.5");
	metrics.named_count = 5;
	metrics.process_start = 4;
	_cleanup_free_ char *anew = kms_named_others(shape, &metrics);
	assert_string_equal(anew, "v sha256:00 1\nv " HASH_OF_1 " 17\n4");
	/* Where it is not known which key is followed, each is another one. */
	kms_set_key_id(shape, "w", "");
	assert_true(kms_may_adopt_another(shape, &metrics));
	kms_set_key_id(shape, "w", "1");
	/* It does not tell. */
	metrics.contradictory = true;
	assert_null(kms_named_others(shape, &metrics));
	metrics.contradictory = false;
	metrics.has_process_start = false;
	assert_null(kms_named_others(shape, &metrics));
	metrics.has_process_start = true;
	metrics.named = &of[1];
	metrics.named_count = 3;
	assert_null(kms_named_others(shape, &metrics)); /* nothing of w */
}

/* --- history --- */

static struct census_group group_of(const char *name, const char *key_id, uint64_t values)
{
	return (struct census_group){.type = PROVIDER_KMS,
				     .kms_version = 2,
				     .name = (char *)(uintptr_t)name,
				     .key_id = (char *)(uintptr_t)key_id,
				     .values = values};
}

static void test_left_behind(void **state)
{
	_cleanup_(config_shape_freep) struct config_shape *shape = shape_parse("secrets=kms:v@2,kms:r; pods=a");
	struct census_group groups[] = {group_of("v", "2", 5), group_of("v", "1", 0), group_of("r", "1", 3),
					group_of("v", NULL, 1), group_of("v", "1", 1)};
	struct census_observation census = {.groups = groups, .group_count = 4};
	(void)state;
	assert_false(kms_left_behind(shape, &census)); /* none, by no key ID, or of a provider that does not write */
	census.group_count = 5;
	assert_true(kms_left_behind(shape, &census));
	groups[4].foreign = true;
	assert_false(kms_left_behind(shape, &census));
	groups[4] = group_of("v", "1", 1);
	groups[4].type = PROVIDER_AESCBC;
	assert_false(kms_left_behind(shape, &census));
	groups[4] = group_of("v", "", 1);
	groups[4].kms_version = 1;
	assert_false(kms_left_behind(shape, &census));
}

/* It ends once; a census that finds another key ID then tells of one that came and went. */
static void test_history(void **state)
{
	_cleanup_(config_shape_freep) struct config_shape *shape = shape_parse("secrets=kms:v@2");
	struct census_group groups[] = {group_of("v", "2", 5), group_of("v", "1", 0)};
	struct observation seen = {
		.settled_ended = 100,
		.census = {.begun = 100, .complete = true, .compacted = true, .groups = groups, .group_count = 2}};
	uint64_t ended = 0;
	(void)state;
	seen.census.compacted = false;
	assert_true(kms_take_history(shape, &seen, 200, &ended));
	assert_int_equal(ended, 0);
	seen.census.compacted = true;
	seen.census.begun = 99; /* before it settled */
	assert_true(kms_take_history(shape, &seen, 200, &ended));
	assert_int_equal(ended, 0);
	seen.census.begun = 100;
	seen.census.complete = false;
	assert_true(kms_take_history(shape, &seen, 200, &ended));
	assert_int_equal(ended, 0);
	seen.census.complete = true;
	seen.settled_ended = 0;
	assert_true(kms_take_history(shape, &seen, 200, &ended));
	assert_int_equal(ended, 0);
	seen.settled_ended = 100;
	groups[1].values = 1; /* of which history is not the end */
	assert_true(kms_take_history(shape, &seen, 200, &ended));
	assert_int_equal(ended, 0);
	groups[1].values = 0;
	assert_true(kms_take_history(shape, &seen, 200, &ended));
	assert_int_equal(ended, 200);
	assert_true(kms_take_history(shape, &seen, 300, &ended));
	assert_int_equal(ended, 200); /* the last census needs none of its own */
	seen.settled_ended = 250;
	seen.census.begun = 260;
	assert_true(kms_take_history(shape, &seen, 300, &ended));
	assert_int_equal(ended, 300); /* it settled again */
	seen.etcd_back_at = 300;
	assert_true(kms_take_history(shape, &seen, 350, &ended));
	assert_int_equal(ended, 300); /* of a census of before that no history counts */
	seen.census.begun = 310;
	assert_true(kms_take_history(shape, &seen, 400, &ended));
	assert_int_equal(ended, 400);
	groups[1].values = 1;
	assert_false(kms_take_history(shape, &seen, 500, &ended));
	assert_int_equal(ended, 0);
	assert_true(kms_take_history(shape, &seen, 500, &ended)); /* said once */
	assert_int_equal(ended, 0);
}

/* Four within five minutes are one too many, until five minutes after the first of them. */
static void test_changes(void **state)
{
	struct kms_changes changes = {0};
	(void)state;
	for (uint64_t i = 1; i <= KMS_CHANGES; i++) {
		assert_null(kms_changes_why(&changes, 10 * i * NS_PER_S));
		kms_changes_add(&changes, 10 * i * NS_PER_S);
	}
	_cleanup_free_ char *why = kms_changes_why(&changes, 40 * NS_PER_S);
	assert_string_equal(
		why, "the KMS names another key ID again and again (4 times within 30 s): two plugins answer at one "
		     "socket in turn, or somebody changes the key all the time");
	assert_null(kms_changes_why(&changes, 10 * NS_PER_S + KMS_CHANGES_TIME));
}

/* Two that begin alike are two for whoever reads of them. */
static void test_shown(void **state)
{
	char one[200] = "", other[200] = "";
	(void)state;
	_cleanup_free_ char *short_one = kms_key_id_shown("arn:1");
	assert_string_equal(short_one, "arn:1");
	memset(one, 'x', sizeof(one) - 1);
	memset(other, 'x', sizeof(other) - 1);
	other[198] = 'y';
	_cleanup_free_ char *a = kms_key_id_shown(one), *b = kms_key_id_shown(other), *c = kms_key_id_shown("a\nb"),
			    *d = kms_key_id_shown("a?b");
	assert_string_not_equal(a, b);
	assert_non_null(strstr(a, "xxx... (sha256:"));
	assert_int_equal(strlen(a), strlen(b));
	assert_non_null(strstr(c, "a?b (sha256:"));
	assert_string_equal(d, "a?b");
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_shown),        cmocka_unit_test(test_key_ids),
					   cmocka_unit_test(test_left_behind),  cmocka_unit_test(test_history),
					   cmocka_unit_test(test_named_others), cmocka_unit_test(test_changes)};
	return RUN_ROWS(can, rows) + cmocka_run_group_tests(tests, NULL, NULL);
}
