/* What names tell, and what is read out of the API's JSON and of metrics for check. */
#include "test_support.h"

#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/json_read.h"
#include "engine/check_internal.h"

/* --- names --- */

static void test_newer(void **state)
{
	static const struct {
		const char *name, *than;
		bool newer;
	} names[] = {
		{"key2", "key1", true},
		{"key1", "key2", false},
		{"key10", "key9", true},
		{"key1", "key1", false},
		{"key", "key1", false},
		{"key1", "key", false},
		{"old", "new", false},
		{"a2", "b1", false},
		{"key-2026-06", "key-2026-03", true},
		{"rekey-2026-06", "key-2026-03", true},
		{"20260601", "2026-03", true},
		{"rekey-20261122T1103Z-3f9a1c", "rekey-20261122T1102Z-ffffff", true},
		{"rekey-20261122T1103Z-3f9a1c", "rekey-20261122T1103Z-ffffff", false},
		{"rekey-20261122T1103Z-3f9a1c", "key-2026-03", true},
		{"rekey-20261122T1103Z-3f9a1c", "key-2027", false},
		{"rekey-20261122T1103Z-3f9a1c", "key1", false},
		{"", "key1", false},
		{"99999999999999999999999", "1", true},
	};
	(void)state;
	for (size_t i = 0; i < ELEMENTS(names); i++)
		if (check_name_is_newer(names[i].name, names[i].than) != names[i].newer)
			fail_msg("%s and %s", names[i].name, names[i].than);
}

static void test_key_made(void **state)
{
	uint64_t made = 0;
	(void)state;
	assert_true(key_name_time("rekey-20261122T1103Z-3f9a1c", &made));
	char text[28];
	clock_format(made, 0, text);
	assert_string_equal(text, "2026-11-22T11:03:00Z");
	static const char *const others[] = {"rekey-",
					     "rekey-2026",
					     "rekey-20261322T1103Z-3f9a1c",
					     "key-20261122T1103Z",
					     "",
					     "rekey-2026112 T1103Z-3f9a1c"};
	for (size_t i = 0; i < ELEMENTS(others); i++)
		assert_false(key_name_time(others[i], &made));
}

static void test_credentials(void **state)
{
	static const char *const yes[] = {
		"password", "DB_PASSWORD", "dbPassword", "client-secret",     "apiKey",
		"token",    "tls.key",     "id_rsa",     ".dockerconfigjson", "AWS_SECRET_ACCESS_KEY"};
	static const char *const no[] = {"ca.crt",   "color", "Corefile",    "tokenTTL",        "secretName",
					 "keyboard", "",      "config.yaml", "kubeconfig.conf", "passwordPolicy"};
	(void)state;
	for (size_t i = 0; i < ELEMENTS(yes); i++)
		if (!check_names_credential(yes[i]))
			fail_msg("%s", yes[i]);
	for (size_t i = 0; i < ELEMENTS(no); i++)
		if (check_names_credential(no[i]))
			fail_msg("%s", no[i]);
}

static cJSON *parsed(const char *text)
{
	cJSON *json = NULL;
	_cleanup_error_ err = NULL;
	assert_ok(json_parse(text, strlen(text), "it", &json, &err), err);
	return json;
}

static void test_credential_in(void **state)
{
	static const struct {
		const char *json, *field;
	} objects[] = {
		{"{\"spec\":{\"a\":{\"password\":\"x\"}}}", "spec.a.password"},
		{"{\"spec\":{\"users\":[{\"name\":\"u\"},{\"token\":\"x\"}]}}", "spec.users.token"},
		{"{\"metadata\":{\"password\":\"x\"},\"status\":{\"token\":\"x\"}}", NULL},
		{"{\"spec\":{\"password\":\"\",\"token\":7,\"secret\":{\"name\":\"x\"}}}", NULL},
		{"{\"spec\":{\"secretKeyRef\":{\"name\":\"x\",\"key\":\"y\"}}}", NULL},
		{"{}", NULL},
	};
	(void)state;
	for (size_t i = 0; i < ELEMENTS(objects); i++) {
		_cleanup_json_ json = parsed(objects[i].json);
		_cleanup_free_ char *field = check_credential_in(json);
		if (!text_equal(field, objects[i].field))
			fail_msg("%s: %s", objects[i].json, field ? field : "none");
	}
}

static const struct kube_resource secrets = {.group = (char *)"",
					     .plural = (char *)"secrets",
					     .resource = (char *)"secrets"},
				  configmaps = {.group = (char *)"",
						.plural = (char *)"configmaps",
						.resource = (char *)"configmaps"};

static void test_webhooks(void **state)
{
	static const struct {
		const char *rules;
		const char *seen; /* NULL: none */
	} lists[] = {
		{"{\"operations\":[\"UPDATE\"],\"apiGroups\":[\"\"],\"resources\":[\"secrets\"]}", "secrets"},
		{"{\"operations\":[\"*\"],\"apiGroups\":[\"*\"],\"resources\":[\"*\"]}", "secrets,configmaps"},
		{"{\"operations\":[\"*\"],\"apiGroups\":[\"*\"],\"resources\":[\"*/*\"]}", "secrets,configmaps"},
		{"{\"operations\":[\"CREATE\"],\"apiGroups\":[\"\"],\"resources\":[\"secrets\"]}", NULL},
		{"{\"operations\":[\"UPDATE\"],\"apiGroups\":[\"apps\"],\"resources\":[\"*\"]}", NULL},
		{"{\"operations\":[\"UPDATE\"],\"apiGroups\":[\"\"],\"resources\":[\"secrets/status\"]}", NULL},
		{"7", NULL},
	};
	const struct kube_resource *const resources[] = {&secrets, &configmaps};
	(void)state;
	for (size_t i = 0; i < ELEMENTS(lists); i++)
		for (int policy = 0; policy < 2; policy++) {
			struct check_facts f = {0};
			_cleanup_free_ char *text = xasprintf(
				policy ? "{\"items\":[{\"metadata\":{\"name\":\"n\"},\"spec\":{\"matchConstraints\":{"
					 "\"resourceRules\":[%s]}}}]}"
				       : "{\"items\":[{\"metadata\":{\"name\":\"n\"},\"webhooks\":[{\"name\":\"w\","
					 "\"rules\":[%s]}]"
					 "}]}",
				lists[i].rules);
			_cleanup_json_ list = parsed(text);
			check_add_webhooks(list, "Kind", true, resources, 2, &f);
			assert_int_equal(f.webhook_count, lists[i].seen ? 1 : 0);
			if (lists[i].seen) {
				_cleanup_free_ char *seen = strings_join(&f.webhooks[0].resources, ",");
				assert_string_equal(seen, lists[i].seen);
				assert_string_equal(f.webhooks[0].name, policy ? "Kind n" : "w of Kind n");
			}
			check_facts_free(&f);
		}
}

/* --- metrics --- */

static void test_samples(void **state)
{
	static const char text[] =
		"apiserver_storage_transformation_operations_total{resource=\"secrets\",status=\"OK\",transformation_"
		"type=\"to_"
		"storage\",transformer_prefix=\"key1:\"} 3\n"
		"apiserver_storage_transformation_operations_total{resource=\"configmaps\",status=\"OK\","
		"transformation_type="
		"\"to_storage\",transformer_prefix=\"key1:\"} 4\n"
		"apiserver_storage_transformation_operations_total{resource=\"secrets\",status=\"OK\",transformation_"
		"type=\"from_"
		"storage\",transformer_prefix=\"key0:\"} 9\n"
		"apiserver_envelope_encryption_kms_operations_latency_seconds_sum{provider_name=\"vault\"} 1.5\n"
		"apiserver_envelope_encryption_kms_operations_latency_seconds_count{provider_name=\"vault\"} 3\n"
		"apiserver_envelope_encryption_key_id_hash_status_last_timestamp_seconds{key_id_hash=\"sha256:old\","
		"provider_name="
		"\"vault\"} 100\n"
		"apiserver_envelope_encryption_key_id_hash_status_last_timestamp_seconds{key_id_hash=\"sha256:new\","
		"provider_name="
		"\"vault\"} 200\n"
		"apiserver_envelope_encryption_key_id_hash_status_last_timestamp_seconds{key_id_hash=\"sha256:x\","
		"provider_name="
		"\"other\"} 50\n";
	struct check_facts f = {.scrapes = xcalloc(1, sizeof(struct check_scrape)), .scrape_count = 1};
	_cleanup_(prometheus_reader_freep) struct prometheus_reader *reader =
		prometheus_reader_new(apiserver_metric_names);
	_cleanup_error_ err = NULL;
	(void)state;
	f.scrapes[0].url = xstrdup("u");
	assert_ok(prometheus_feed(reader, text, sizeof(text) - 1, &err), err);
	check_take_samples(&f, &f.scrapes[0], reader);
	assert_int_equal(f.scrapes[0].writes_with.count, 1);
	assert_string_equal(f.scrapes[0].writes_with.items[0], "key1:");
	assert_int_equal(f.scrapes[0].writes[0], 7);
	assert_int_equal(f.scrapes[0].kms_calls, 3);
	assert_true(fabs(f.scrapes[0].kms_seconds - 1.5) < 1e-9);
	assert_int_equal(f.kms_count, 2);
	assert_string_equal(f.kms[0].key_id_hash, "sha256:new");
	assert_string_equal(f.kms[0].before_hash, "sha256:old");
	assert_true(fabs(f.kms[0].before_at - 100) < 1e-9 && fabs(f.kms[0].named_at - 200) < 1e-9);
	assert_string_equal(f.kms[1].provider, "other");
	assert_null(f.kms[1].before_hash);
	check_facts_free(&f);
}

int main(void)
{
	json_install_hooks();
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_newer),       cmocka_unit_test(test_key_made),
		cmocka_unit_test(test_credentials), cmocka_unit_test(test_credential_in),
		cmocka_unit_test(test_webhooks),    cmocka_unit_test(test_samples),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
