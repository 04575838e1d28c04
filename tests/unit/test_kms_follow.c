/* Which configurations can be followed, and under which key IDs their values are current. */
#include "test_support.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_key_ids)};
	return RUN_ROWS(can, rows) + cmocka_run_group_tests(tests, NULL, NULL);
}
