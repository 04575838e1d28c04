#include "test_support.h"
#include <string.h>
#include "base/json_read.h"
#include "base/json_writer.h"
#include "base/secret.h"
#include "kube-rekey/encryption_config.h"
#include "shape_support.h"

static const char shape_json[] =
	"{\"rules\":[{\"resources\":[\"secrets\",\"widgets.example.com\"],\"keys\":["
	"{\"provider\":\"aescbc\",\"name\":\"key1\",\"fingerprint\":\"0123456789ab\"},"
	"{\"provider\":\"kms\",\"name\":\"vault\",\"version\":2,\"endpoint\":\"unix:///run/"
	"kms.sock\",\"timeoutNs\":3000000000},"
	"{\"provider\":\"identity\"}]},{\"resources\":[\"*.apps\"],\"keys\":[{\"provider\":\"identity\"}]},"
	"{\"resources\":[\"*.*\"],\"keys\":[{\"provider\":\"secretbox\",\"name\":\"box\",\"fingerprint\":"
	"\"ba9876543210\"}]}]}";

static int read_shape(const char *text, struct config_shape **ret, struct error **err)
{
	_cleanup_json_ json = NULL;
	int rc = json_parse(text, strlen(text), "shape", &json, err);
	return rc < 0 ? rc : config_shape_from_json(json, ret, err);
}

static struct config_shape *good_shape(const char *text)
{
	struct config_shape *shape = NULL;
	struct error *err = NULL;
	assert_ok(read_shape(text, &shape, &err), err);
	return shape;
}

static void test_json_round_trip(void **state)
{
	(void)state;
	_cleanup_(config_shape_freep) struct config_shape *shape = good_shape(shape_json);
	struct json_writer w = JSON_WRITER_INIT(4096);
	config_shape_write_json(shape, &w);
	assert_string_equal(json_text(&w), shape_json);
	json_writer_free(&w);
}

static void test_copy_is_equal_and_its_own(void **state)
{
	(void)state;
	_cleanup_(config_shape_freep) struct config_shape *shape = good_shape(shape_json);
	_cleanup_(config_shape_freep) struct config_shape *copy = config_shape_copy(shape);
	assert_true(config_shape_equal(shape, copy));
	copy->rules[0].keys[0].name[0] = 'x';
	assert_false(config_shape_equal(shape, copy));
	assert_string_equal(shape->rules[0].keys[0].name, "key1");
	config_shape_free(NULL);
}

struct change_row {
	const char *name, *from, *to;
	bool equal;
};

static const struct change_row changes[] = {
	{"another fingerprint", "0123456789ab", "1123456789ab", false},
	{"another key name", "key1", "key2", false},
	{"another provider", "aescbc", "aesgcm", false},
	{"another version of KMS", "\"version\":2", "\"version\":1", false},
	{"another endpoint", "unix:///run/kms.sock", "unix:///run/kmt.sock", false},
	{"another timeout encrypts alike", "3000000000", "4000000000", true},
	{"another resource", "widgets", "gadgets", false},
	{"another order", "[\"secrets\",\"widgets.example.com\"]", "[\"widgets.example.com\",\"secrets\"]", false},
	{"a resource less", "\"secrets\",", "", false},
	{"a key less", ",{\"provider\":\"identity\"}]},{", "]},{", false},
	{"a rule less", "{\"resources\":[\"*.apps\"],\"keys\":[{\"provider\":\"identity\"}]},", "", false},
};

static void test_equal(void **state)
{
	const struct change_row *row = *state;
	const char *at = strstr(shape_json, row->from);
	assert_non_null(at);
	_cleanup_free_ char *changed =
		xasprintf("%.*s%s%s", (int)(at - shape_json), shape_json, row->to, at + strlen(row->from));
	_cleanup_(config_shape_freep) struct config_shape *a = good_shape(shape_json), *b = good_shape(changed);
	assert_int_equal(config_shape_equal(a, b), row->equal);
	assert_int_equal(config_shape_equal(b, a), row->equal);
}

struct bad_json_row {
	const char *name, *json, *message;
};

static const struct bad_json_row bad_jsons[] = {
	{"no object", "[]", "shape: rules is not a list of 1 to 1024 items"},
	{"no rules", "{\"rules\":[]}", "shape: rules is not a list of 1 to 1024 items"},
	{"rule without keys", "{\"rules\":[{\"resources\":[\"a\"],\"keys\":[]}]}",
	 "shape: keys is not a list of 1 to 4096 items"},
	{"rule without resources", "{\"rules\":[{\"keys\":[]}]}", "shape: resources is not a list of 1 to 4096 items"},
	{"number as resource", "{\"rules\":[{\"resources\":[1],\"keys\":[{}]}]}",
	 "shape: a resource that is not a text"},
	{"unknown provider", "{\"rules\":[{\"resources\":[\"a\"],\"keys\":[{\"provider\":\"des\"}]}]}",
	 "shape: a key without a known provider"},
	{"nameless key", "{\"rules\":[{\"resources\":[\"a\"],\"keys\":[{\"provider\":\"aescbc\"}]}]}",
	 "shape: a key of aescbc without a name"},
	{"named identity",
	 "{\"rules\":[{\"resources\":[\"a\"],\"keys\":[{\"provider\":\"identity\",\"name\":\"x\"}]}]}",
	 "shape: a key of identity with a name"},
	{"no fingerprint", "{\"rules\":[{\"resources\":[\"a\"],\"keys\":[{\"provider\":\"aescbc\",\"name\":\"x\"}]}]}",
	 "shape: a key without a fingerprint of 12 hex digits"},
	{"kms version 3",
	 "{\"rules\":[{\"resources\":[\"a\"],\"keys\":[{\"provider\":\"kms\",\"name\":\"x\",\"version\":3,"
	 "\"endpoint\":\"unix:///x\",\"timeoutNs\":1}]}]}",
	 "shape: a kms key without version 1 or 2, endpoint or timeoutNs"},
};

static void test_bad_json(void **state)
{
	const struct bad_json_row *row = *state;
	struct config_shape *shape = NULL;
	struct error *err = NULL;
	assert_error(read_shape(row->json, &shape, &err), err, ERROR_INPUT, row->message);
	assert_null(shape);
}

struct rule_row {
	const char *name; /* the resource */
	int rule;         /* -1: none */
};

/* ["secrets", "widgets.example.com"], ["*.apps"], ["*."] */
static const struct rule_row rules[] = {
	{"secrets", 0},          {"widgets.example.com", 0},  {"deployments.apps", 1},     {"configmaps", 2},
	{"events", 2},           {"events.events.k8s.io", 2}, {"gadgets.example.com", -1}, {"secrets.example.com", -1},
	{"deployments.app", -1},
};

static void test_rule(void **state)
{
	const struct rule_row *row = *state;
	const char *end = strstr(shape_json, "\"*.*\"");
	_cleanup_free_ char *text = xasprintf("%.*s\"*.\"%s", (int)(end - shape_json), shape_json, end + 5);
	_cleanup_(config_shape_freep) struct config_shape *shape = good_shape(text);
	const struct config_rule *rule = config_shape_rule(shape, row->name);
	assert_int_equal(rule ? rule - shape->rules : -1, row->rule);
}

struct cover_row {
	const char *name, *inner;
	bool covers;
};

static const struct cover_row covers[] = {
	{"secrets", "secrets", true},
	{"secrets", "secret", false},
	{"secrets", "secrets.", true},
	{"*.", "secrets", true},
	{"*.", "*.", true},
	{"*.", "*.*", false},
	{"*.", "deployments.apps", false},
	{"*.apps", "deployments.apps", true},
	{"*.apps", "*.apps", true},
	{"*.apps", "*.", false},
	{"*.*", "*.apps", true},
	{"*.*", "secrets", true},
	{"*.*", "*.*", true},
	{"*.apps", "x.apps.example", false},
	{"secrets", "*.", false},
	{"events", "events.events.k8s.io", true},
};

static void test_covers(void **state)
{
	const struct cover_row *row = *state;
	assert_int_equal(config_pattern_covers(row->name, row->inner), row->covers);
}

static void test_labels_and_names(void **state)
{
	(void)state;
	enum provider_type type;
	struct config_key key = {.type = PROVIDER_KMS, .name = (char[]){"vault"}},
			  plain = {.type = PROVIDER_IDENTITY, .name = (char[]){""}};
	_cleanup_free_ char *label = config_key_label(&key), *plaintext = config_key_label(&plain);
	assert_string_equal(label, "kms/vault");
	assert_string_equal(plaintext, "plaintext");
	assert_true(provider_from_name("secretbox", &type));
	assert_int_equal(type, PROVIDER_SECRETBOX);
	assert_string_equal(provider_name(type), "secretbox");
	assert_false(provider_from_name("plaintext", &type));
	static const struct {
		enum provider_type type;
		const char *lengths; /* of 0 to 32 by fours */
	} fits[] = {{PROVIDER_AESCBC, "....+.+.+"},
		    {PROVIDER_AESGCM, "....+.+.+"},
		    {PROVIDER_SECRETBOX, "........+"},
		    {PROVIDER_IDENTITY, "........."},
		    {PROVIDER_KMS, "........."}};
	for (size_t i = 0; i < ELEMENTS(fits); i++)
		for (size_t len = 0; len < 64; len++) {
			bool expected = len % 4 == 0 && len <= 32 && fits[i].lengths[len / 4] == '+';
			assert_int_equal(provider_key_fits(fits[i].type, len), expected);
		}
}

static void test_find(void **state)
{
	(void)state;
	_cleanup_(config_shape_freep) struct config_shape *shape = good_shape(shape_json);
	assert_ptr_equal(config_rule_find(&shape->rules[0], PROVIDER_KMS, "vault"), &shape->rules[0].keys[1]);
	assert_ptr_equal(config_rule_find(&shape->rules[0], PROVIDER_IDENTITY, ""), &shape->rules[0].keys[2]);
	assert_null(config_rule_find(&shape->rules[0], PROVIDER_AESGCM, "key1"));
}

/* The value is part of what agents of different versions compare: it may never change. */
static void test_fingerprint(void **state)
{
	(void)state;
	char fingerprint[13];
	_cleanup_secret_ key = secret_from("0123456789abcdef", 16);
	key_fingerprint(key, fingerprint);
	assert_string_equal(fingerprint, "c0c6b2353a35");
}

static const struct difference {
	const char *name, *was, *is, *text;
} differences[] = {
	{"a key left", "secrets=b,a,-", "secrets=a,-", "it lacks aescbc/b"},
	{"two left in two rules, one of them twice", "secrets=b,a; configmaps=c,b", "secrets=a; configmaps=a",
	 "it lacks aescbc/b, aescbc/c"},
	{"one came", "secrets=b,a", "secrets=box:c,b,a", "it has secretbox/c"},
	{"one left and plaintext came", "secrets=b,a", "secrets=b,-", "it lacks aescbc/a, and has plaintext"},
	{"other bytes under the name", "secrets=b,a", "secrets=b!,a", "it has aescbc/b as another key than before"},
	{"another order", "secrets=b,a", "secrets=a,b", "the same keys, in another order or for other resources"},
	{"other resources", "secrets=b,a", "configmaps=b,a", "the same keys, in another order or for other resources"},
};

static void test_difference(void **state)
{
	const struct difference *row = *state;
	_cleanup_(config_shape_freep) struct config_shape *was = shape_parse(row->was), *is = shape_parse(row->is);
	_cleanup_free_ char *text = config_shape_difference(was, is);
	assert_string_equal(text, row->text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_json_round_trip),  cmocka_unit_test(test_copy_is_equal_and_its_own),
		cmocka_unit_test(test_labels_and_names), cmocka_unit_test(test_find),
		cmocka_unit_test(test_fingerprint),
	};
	json_install_hooks();
	return cmocka_run_group_tests(tests, NULL, NULL) + RUN_ROWS(test_equal, changes) +
	       RUN_ROWS(test_bad_json, bad_jsons) + RUN_ROWS(test_rule, rules) + RUN_ROWS(test_covers, covers) +
	       RUN_ROWS(test_difference, differences);
}
