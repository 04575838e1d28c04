/* KeyServer: whole objects there and back, and what an object that says little means. */
#include "object_support.h"
#include "engine/key_server.h"

static struct key_server *parse(const cJSON *json)
{
	struct key_server *server = NULL;
	struct error *err = NULL;
	assert_ok(key_server_parse(json, &server, &err), err);
	return server;
}

/* What of the sample is written again: all but what only the API server sets. */
static cJSON *expected_body(const char *part)
{
	static const char *const not_ours[] = {"generation", "deletionTimestamp"};
	cJSON *json = sample("server"), *metadata = cJSON_GetObjectItemCaseSensitive(json, "metadata");
	for (size_t i = 0; i < ELEMENTS(not_ours); i++)
		cJSON_DeleteItemFromObjectCaseSensitive(metadata, not_ours[i]);
	cJSON_DeleteItemFromObjectCaseSensitive(json, text_equal(part, "spec") ? "status" : "spec");
	return json;
}

static void test_there_and_back(void **state)
{
	_cleanup_json_ json = sample("server"), *spec = expected_body("spec"), *status = expected_body("status");
	_cleanup_(key_server_freep) struct key_server *server = parse(json);
	_cleanup_free_ char *spec_text = NULL, *status_text = NULL;
	struct error *err = NULL;
	(void)state;
	assert_ok(key_server_spec_body(server, &spec_text, &err), err);
	assert_same_json(spec_text, spec);
	assert_ok(key_server_status_body(server, &status_text, &err), err);
	assert_same_json(status_text, status);
}

static void test_fields(void **state)
{
	_cleanup_json_ json = sample("server");
	_cleanup_(key_server_freep) struct key_server *server = parse(json);
	const struct key_server_status *status = &server->status;
	(void)state;
	assert_true(server->meta.deleting);
	assert_string_equal(server->spec.action, "write-step");
	assert_int_equal(server->spec.step, 2);
	assert_int_equal(server->spec.canaries[0].step, STEP_NONE);
	assert_int_equal(status->process, 1795345400123);
	assert_int_equal(status->loaded_step, 0);
	assert_int_equal(status->done.sequence, 11);
	assert_string_equal(status->configuration->rules[0].keys[0].name, "key1");
	assert_int_equal(status->members[0].raft_term, 3);
	assert_int_equal(status->members[0].db_quota, 2147483648);
	assert_int_equal(status->etcd_size_age_milliseconds, 800);
	assert_true(status->census.complete);
	assert_int_equal(status->census.groups[0].values, 900);
	assert_int_equal(status->census.opened, 880);
	assert_int_equal(status->census.not_opened, 20);
	assert_string_equal(status->census.why_not_opened, "secrets: no answer");
	assert_int_equal(status->canaries[0].step, 2);
}

static void test_nothing_said(void **state)
{
	_cleanup_json_ json = document("{\"apiVersion\":\"kube-rekey.dev/v1alpha1\",\"kind\":\"KeyServer\","
				       "\"metadata\":{\"name\":\"cp-1\"}}");
	_cleanup_(key_server_freep) struct key_server *read = parse(json), *made = key_server_new("cp-1");
	_cleanup_free_ char *read_text = NULL, *made_text = NULL;
	struct error *err = NULL;
	(void)state;
	assert_string_equal(read->spec.action, "");
	assert_int_equal(read->spec.step, STEP_NONE);
	assert_int_equal(read->status.file_step, STEP_NONE);
	assert_int_equal(read->status.written_step, STEP_NONE);
	assert_int_equal(read->status.loaded_step, STEP_NONE);
	assert_ok(key_server_status_body(read, &read_text, &err), err);
	assert_ok(key_server_status_body(made, &made_text, &err), err);
	assert_string_equal(read_text, made_text);
	assert_null(strstr(read_text, "census"));
	assert_null(strstr(read_text, "uid"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_there_and_back),
		cmocka_unit_test(test_fields),
		cmocka_unit_test(test_nothing_said),
	};
	json_install_hooks();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
