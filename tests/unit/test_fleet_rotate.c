/* What a command line asks of several API servers, as a KeyRotation's spec. */
#include "test_folder.h"
#include "base/clock.h"
#include "cmd/fleet_rotate.h"

#define GROUPS (OPTIONS_API | OPTIONS_ETCD | OPTIONS_CONFIG | OPTIONS_SPEED | OPTIONS_ROTATE | OPTIONS_FOLLOW)

static int spec_of(int argc, const char *const *argv, struct key_rotation_spec *ret, struct error **err)
{
	struct options options;
	char *words[16];
	for (int i = 0; i < argc; i++)
		words[i] = (char *)(uintptr_t)argv[i];
	int rc = options_parse(argc, words, GROUPS, &options, err);
	if (rc == 0)
		rc = fleet_rotate_spec(&options, ret, err);
	options_free(&options);
	return rc;
}
#define SPEC(spec, err, ...) \
	spec_of(ELEMENTS(((const char *const[]){__VA_ARGS__})), (const char *const[]){__VA_ARGS__}, spec, err)

static void test_nothing_said(void **state)
{
	struct key_rotation_spec spec = {0};
	struct error *err = NULL;
	(void)state;
	assert_ok(spec_of(0, NULL, &spec, &err), err);
	assert_string_equal(spec.provider, "same");
	assert_string_equal(spec.old_key, "keep");
	assert_string_equal(spec.mode, "replace");
	assert_int_equal(spec.qps, KEY_ROTATION_QPS);
	assert_int_equal(spec.concurrency, KEY_ROTATION_CONCURRENCY);
	assert_int_equal(spec.settle_seconds, 0);
	assert_int_equal(spec.deadline_seconds, 0);
	assert_false(spec.compact || spec.paused || spec.aborted || spec.drop_identity);
	object_release(&key_rotation_spec_record, &spec);
}

static void test_all_of_it(void **state)
{
	struct key_rotation_spec spec = {0};
	struct error *err = NULL;
	(void)state;
	assert_ok(SPEC(&spec, &err, "--provider=secretbox", "--old-key=destroy", "--mode=patch", "--compact", "--qps=0",
		       "--concurrency=3", "--settle=1500ms", "--deadline=2h", "--drop-key=key0", "--drop-identity",
		       "--servers=3", "--foreign-prefix=/other/", "--allow-aesgcm"),
		  err);
	assert_string_equal(spec.provider, "secretbox");
	assert_string_equal(spec.old_key, "destroy");
	assert_string_equal(spec.mode, "patch");
	assert_true(spec.compact && spec.drop_identity && spec.allow_aesgcm);
	assert_int_equal(spec.qps, 0);
	assert_int_equal(spec.concurrency, 3);
	assert_int_equal(spec.settle_seconds, 2); /* never less than was said */
	assert_int_equal(spec.deadline_seconds, 7200);
	assert_int_equal(spec.servers, 3);
	assert_string_equal(spec.drop_keys.items[0], "key0");
	assert_string_equal(spec.foreign_prefixes.items[0], "/other/");
	object_release(&key_rotation_spec_record, &spec);
}

static void test_what_agents_have_no_use_for(void **state)
{
	static const char *const options[] = {"--state-dir=d",         "--record=f",         "--apply=reload",
					      "--encryption-config=f", "--etcd-endpoints=u", "--new-key-copy=none"};
	(void)state;
	for (size_t i = 0; i < ELEMENTS(options); i++) {
		struct key_rotation_spec spec = {0};
		struct error *err = NULL;
		assert_int_equal(spec_of(1, &options[i], &spec, &err), -ERROR_USAGE);
		_cleanup_free_ char *name = xstrndup(options[i], strcspn(options[i], "="));
		assert_non_null(strstr(error_message(err), name));
		error_free(err);
	}
}

static void test_kms(void **state)
{
	struct key_rotation_spec spec = {0};
	struct error *err = NULL;
	(void)state;
	assert_ok(
		SPEC(&spec, &err, "--provider=kms", "--kms-name=vault", "--kms-endpoint=unix:///v", "--kms-timeout=2s"),
		err);
	assert_string_equal(spec.provider, "kms");
	assert_string_equal(spec.kms.name, "vault");
	assert_string_equal(spec.kms.endpoint, "unix:///v");
	assert_int_equal(spec.kms.timeout, 2 * NS_PER_S);
	object_release(&key_rotation_spec_record, &spec);
	assert_ok(SPEC(&spec, &err, "--renew-dek"), err);
	assert_true(spec.renew_dek && !spec.provider);
	object_release(&key_rotation_spec_record, &spec);
	assert_ok(SPEC(&spec, &err, "--follow-kms", "--compact"), err);
	assert_true(spec.follow_kms && spec.compact && !spec.provider && !spec.kms.name);
	object_release(&key_rotation_spec_record, &spec);
}

static void test_kms_that_does_not_fit(void **state)
{
	static const char *const said[][3] = {
		{"--provider=kms"},
		{"--provider=kms", "--kms-name=v"},
		{"--provider=kms", "--kms-endpoint=unix:///v"},
		{"--kms-name=v"},
		{"--kms-endpoint=unix:///v", "--provider=aescbc"},
		{"--kms-timeout=1s"},
		{"--follow-kms", "--renew-dek"},
		{"--follow-kms", "--provider=aescbc"},
		{"--follow-kms", "--drop-identity"},
		{"--follow-kms", "--drop-key=a"},
		{"--follow-kms", "--to=/nowhere"},
		{"--renew-dek", "--provider=aescbc"},
		{"--renew-dek", "--drop-identity"},
		{"--renew-dek", "--drop-key=a"},
		{"--renew-dek", "--to=/nowhere"},
	};
	(void)state;
	for (size_t i = 0; i < ELEMENTS(said); i++) {
		struct key_rotation_spec spec = {0};
		struct error *err = NULL;
		int count = said[i][1] ? 2 : 1;
		if (spec_of(count, said[i], &spec, &err) != -ERROR_USAGE)
			fail_msg("%s %s", said[i][0], said[i][1] ? said[i][1] : "");
		error_free(err);
	}
}

static void test_sealed_old_key(void **state)
{
	struct key_rotation_spec spec = {0};
	struct error *err = NULL;
	_cleanup_free_ char *path = xstrdup(in_folder("cert.pem")), *option = xasprintf("--old-key=seal:%s", path);
	const char *const words[] = {option};
	(void)state;
	put_file(path, "Certificate: words for people\n"
		       "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n");
	assert_ok(spec_of(1, words, &spec, &err), err);
	assert_string_equal(spec.old_key, "seal");
	assert_string_equal(spec.old_key_cert, "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n");
	object_release(&key_rotation_spec_record, &spec);
	/* A key that would have gone into an object for all to read. */
	put_file(path, "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n");
	assert_int_equal(spec_of(1, words, &spec, &err), -ERROR_REFUSED);
	error_clear(&err);
	assert_int_equal(SPEC(&spec, &err, "--old-key=seal:/nowhere"), -ERROR_NOT_FOUND);
	error_clear(&err);
	assert_int_equal(SPEC(&spec, &err, "--old-key=lose"), -ERROR_USAGE);
	error_clear(&err);
}

/* A file goes by names and fingerprints: what bytes it has go nowhere. */
static void test_another_target(void **state)
{
	static const char secret[] = "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXoxMjM0NTY=";
	struct key_rotation_spec spec = {0};
	struct error *err = NULL;
	_cleanup_free_ char *path = xstrdup(in_folder("target.yaml")), *option = xasprintf("--to=%s", path);
	_cleanup_free_ char *text = xasprintf("apiVersion: apiserver.config.k8s.io/v1\n"
					      "kind: EncryptionConfiguration\n"
					      "resources:\n"
					      "- resources: [secrets, '*.apps']\n"
					      "  providers:\n"
					      "  - secretbox: {keys: [{name: new}]}\n"
					      "  - aescbc: {keys: [{name: old, secret: %s}]}\n"
					      "  - identity: {}\n",
					      secret);
	const char *const words[] = {option}, *const too_much[] = {option, "--drop-identity"};
	(void)state;
	put_file(path, text);
	assert_ok(spec_of(1, words, &spec, &err), err);
	assert_null(spec.provider);
	assert_int_equal(spec.to_rule_count, 1);
	const struct key_rotation_rule *rule = &spec.to_rules[0];
	assert_string_equal(rule->resources.items[1], "*.apps");
	assert_int_equal(rule->key_count, 3);
	assert_string_equal(rule->keys[0].provider, "secretbox");
	assert_string_equal(rule->keys[0].name, "new");
	assert_null(rule->keys[0].fingerprint);
	assert_int_equal(strlen(rule->keys[1].fingerprint), 12);
	assert_null(rule->keys[2].name);
	struct key_rotation rotation = {.meta = {.name = (char *)"r"}, .spec = spec};
	_cleanup_free_ char *body = NULL;
	assert_ok(key_rotation_spec_body(&rotation, &body, &err), err);
	assert_null(strstr(body, secret));
	object_release(&key_rotation_spec_record, &spec);
	assert_int_equal(spec_of(2, too_much, &spec, &err), -ERROR_USAGE);
	error_clear(&err);
}

/* The same command goes on, at another speed too; another question is another rotation. */
static void test_asks_the_same(void **state)
{
	struct key_rotation_spec a = {0}, b = {0}, c = {0};
	struct error *err = NULL;
	(void)state;
	assert_ok(SPEC(&a, &err, "--provider=aesgcm", "--compact"), err);
	assert_ok(SPEC(&b, &err, "--compact", "--provider=aesgcm", "--qps=9", "--concurrency=2", "--deadline=1m"), err);
	assert_ok(SPEC(&c, &err, "--provider=aesgcm"), err);
	b.paused = true;
	assert_true(fleet_rotate_asks_same(&a, &b));
	assert_false(fleet_rotate_asks_same(&a, &c));
	object_release(&key_rotation_spec_record, &a);
	object_release(&key_rotation_spec_record, &b);
	object_release(&key_rotation_spec_record, &c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_said),
		cmocka_unit_test(test_all_of_it),
		cmocka_unit_test(test_what_agents_have_no_use_for),
		cmocka_unit_test(test_kms),
		cmocka_unit_test(test_kms_that_does_not_fit),
		folder_test(test_sealed_old_key),
		folder_test(test_another_target),
		cmocka_unit_test(test_asks_the_same),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
