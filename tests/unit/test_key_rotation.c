/* KeyRotation: whole objects there and back, and what an object that says little means. */
#include "object_support.h"
#include "engine/key_rotation.h"
#include "shape_support.h"

/* What of a sample is written again: all but what only the API server sets. */
static cJSON *expected_body(const char *name, const char *part)
{
	static const char *const not_ours[] = {"generation", "annotations"};
	cJSON *json = sample(name), *metadata = cJSON_GetObjectItemCaseSensitive(json, "metadata");
	for (size_t i = 0; i < ELEMENTS(not_ours); i++)
		cJSON_DeleteItemFromObjectCaseSensitive(metadata, not_ours[i]);
	cJSON_DeleteItemFromObjectCaseSensitive(json, text_equal(part, "spec") ? "status" : "spec");
	return json;
}

static struct key_rotation *parse(const cJSON *json)
{
	struct key_rotation *rotation = NULL;
	struct error *err = NULL;
	assert_ok(key_rotation_parse(json, &rotation, &err), err);
	return rotation;
}

static void test_there_and_back(void **state)
{
	_cleanup_json_ json = sample("rotation"), *spec = expected_body("rotation", "spec"),
		       *status = expected_body("rotation", "status");
	_cleanup_(key_rotation_freep) struct key_rotation *rotation = parse(json);
	_cleanup_free_ char *spec_text = NULL, *status_text = NULL;
	struct error *err = NULL;
	(void)state;
	assert_ok(key_rotation_spec_body(rotation, &spec_text, &err), err);
	assert_same_json(spec_text, spec);
	assert_ok(key_rotation_status_body(rotation, &status_text, &err), err);
	assert_same_json(status_text, status);
}

static void test_fields(void **state)
{
	_cleanup_json_ json = sample("rotation");
	_cleanup_(key_rotation_freep) struct key_rotation *rotation = parse(json);
	const struct key_rotation_status *status = &rotation->status;
	(void)state;
	assert_string_equal(rotation->meta.uid, "7f3e2a10-1111-2222-3333-444455556666");
	assert_int_equal(rotation->meta.generation, 3);
	assert_false(rotation->meta.deleting);
	assert_true(rotation->spec.paused);
	assert_false(rotation->spec.aborted);
	assert_int_equal(rotation->spec.qps, 0);
	assert_int_equal(status->step, 2);
	assert_int_equal(status->step_count, 2);
	assert_int_equal(status->steps[0]->rules[1].keys[0].kms_timeout, 3000000000);
	assert_int_equal(status->server_count, 2);
	assert_true(status->servers[1].forgotten);
	assert_string_equal(status->new_keys[0].fingerprint, "3f9a1c000000");
	assert_int_equal(status->quarantined.count, 1);
	assert_string_equal(status->quarantined.items[0].namespace_, "team-b");
}

static void test_target(void **state)
{
	_cleanup_json_ json = sample("rotation-to");
	_cleanup_(key_rotation_freep) struct key_rotation *rotation = parse(json);
	const struct key_rotation_rule *rule = rotation->spec.to_rules;
	(void)state;
	assert_int_equal(rotation->spec.to_rule_count, 1);
	assert_string_equal(rule->resources.items[1], "*.apps");
	assert_int_equal(rule->key_count, 3);
	assert_string_equal(rule->keys[0].kms_endpoint, "unix:///run/kms.sock");
	assert_null(rule->keys[2].name);
}

/* An API server fills these in, but not by an older definition. */
static void test_defaults(void **state)
{
	_cleanup_json_ json = document("{\"apiVersion\":\"kube-rekey.dev/v1alpha1\",\"kind\":\"KeyRotation\","
				       "\"metadata\":{\"name\":\"a\"},\"spec\":{},\"status\":null}");
	_cleanup_(key_rotation_freep) struct key_rotation *read = parse(json), *made = key_rotation_new("a");
	_cleanup_free_ char *read_text = NULL, *made_text = NULL, *status_text = NULL;
	struct error *err = NULL;
	(void)state;
	assert_int_equal(read->spec.qps, KEY_ROTATION_QPS);
	assert_int_equal(read->spec.concurrency, KEY_ROTATION_CONCURRENCY);
	assert_string_equal(read->spec.old_key, "keep");
	assert_string_equal(read->spec.mode, "replace");
	assert_null(read->spec.provider);
	assert_int_equal(read->status.step, STEP_NONE);
	assert_ok(key_rotation_spec_body(read, &read_text, &err), err);
	assert_ok(key_rotation_spec_body(made, &made_text, &err), err);
	assert_string_equal(read_text, made_text);
	/* What says nothing is not written. */
	assert_ok(key_rotation_status_body(made, &status_text, &err), err);
	assert_null(strstr(status_text, "progress"));
	assert_null(strstr(status_text, "\"step\""));
}

static char *path_now(struct key_rotation *rotation, int *ret_code)
{
	struct error *err = NULL;
	struct path *path = NULL;
	*ret_code = key_rotation_path(rotation, &path, &err);
	error_free(err);
	char *text = path ? path_text(path) : NULL;
	path_free(path);
	return text;
}

/* Forward over its steps; back from where the furthest was, by a person's word alone. */
static void test_path_now(void **state)
{
	struct path *whole = path_parse("secrets=a", "secrets=b");
	_cleanup_(key_rotation_freep) struct key_rotation *rotation = key_rotation_new("a");
	int rc;
	(void)state;
	rotation->status.steps = whole->steps;
	rotation->status.step_count = whole->count;
	free(whole);
	_cleanup_free_ char *forward = path_now(rotation, &rc);
	assert_string_equal(forward, "secrets=a -> secrets=a,b -> secrets=b,a -> secrets=b");
	assert_int_equal(key_rotation_step(rotation, 1), 1);
	rotation->status.back_from = 1;
	assert_null(path_now(rotation, &rc));
	assert_int_equal(rc, -ERROR_REFUSED);
	rotation->spec.aborted = true;
	_cleanup_free_ char *back = path_now(rotation, &rc);
	assert_string_equal(back, "secrets=a,b -> secrets=a");
	assert_int_equal(key_rotation_step(rotation, 0), 1);
	assert_int_equal(key_rotation_step(rotation, 1), 0);
	assert_int_equal(key_rotation_step(rotation, STEP_NONE), STEP_NONE);
	rotation->status.back_from = 2;
	assert_null(path_now(rotation, &rc));
	assert_int_equal(rc, -ERROR_REFUSED);
	rotation->spec.promote_old_key = true;
	_cleanup_free_ char *again = path_now(rotation, &rc);
	assert_string_equal(again, "secrets=b,a -> secrets=a,b -> secrets=a");
	rotation->status.back_from = 4;
	assert_null(path_now(rotation, &rc));
	assert_int_equal(rc, -ERROR_INPUT);
}

/* Two of three were helped, one of those is gone for good: the third may still be. */
static void test_rescues(void **state)
{
	struct key_rotation_server servers[3] = {0};
	struct key_rotation_status status = {.servers = servers, .server_count = 3, .rescues = 2};
	(void)state;
	assert_int_equal(key_rotation_rescues(&status), 2);
	servers[1].forgotten = true;
	assert_int_equal(key_rotation_rescues(&status), 1);
	servers[0].forgotten = servers[2].forgotten = true;
	assert_int_equal(key_rotation_rescues(&status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_there_and_back), cmocka_unit_test(test_fields),   cmocka_unit_test(test_target),
		cmocka_unit_test(test_defaults),       cmocka_unit_test(test_path_now), cmocka_unit_test(test_rescues),
	};
	json_install_hooks();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
