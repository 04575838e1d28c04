/* What the parser takes and what it refuses, with the whole words. A row gives the part of a file that matters. */
#include "test_support.h"
#include <stdio.h>
#include <string.h>
#include "base/json_read.h"
#include "base/json_writer.h"
#include "base/secret.h"
#include "format/yaml_tree.h"
#include "kube-rekey/encryption_config.h"

#define HEAD "kind: EncryptionConfiguration\napiVersion: apiserver.config.k8s.io/v1\nresources:\n"
#define RULE HEAD "- resources: [secrets]\n  providers:\n" /* providers begin in line 6 */
#define KEY16 "c2VjcmV0IGlzIHNlY3VyZQ=="
#define KEY32 "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXoxMjM0NTY="
#define OTHER32 "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXoxMjM0NTc="
#define CBC(name, key) "  - aescbc: {keys: [{name: " name ", secret: " key "}]}\n"
#define KMS(fields) "  - kms: {" fields "}\n"

static int parse(const char *text, size_t len, struct encryption_config **ret, struct error **err)
{
	_cleanup_secret_ secret = secret_from(text, len);
	return encryption_config_parse("f", secret, ret, err);
}

struct bad_row {
	const char *name, *text, *message;
};

static const struct bad_row bad[] = {
	{"empty", "", "f:1:1: empty; an EncryptionConfiguration is needed"},
	{"comment only", "# nothing\n", "f:1:1: empty; an EncryptionConfiguration is needed"},
	{"not YAML", "kind: [\n",
	 "f:2:1: not YAML: did not find expected node content; correct the syntax here or just above"},
	{"tab as indentation", "kind:\n\t- a\n",
	 "f:2:1: not YAML: found character that cannot start any token; correct the syntax here or just above"},
	{"not UTF-8", "kind: \xff\n",
	 "f:1:1: not UTF-8 text (invalid leading UTF-8 octet at byte 6); save the file as UTF-8"},
	{"a scalar", "hello\n", "f:1:1: the file is not a mapping; write it as fields and values"},
	{"a list", "- a\n", "f:1:1: the file is not a mapping; write it as fields and values"},
	{"no kind", "apiVersion: v1\n", "f:1:1: the file without \"kind\"; add it"},
	{"another kind", "kind: Pod\napiVersion: v1\n",
	 "f:1:7: not kind EncryptionConfiguration of apiVersion apiserver.config.k8s.io/v1; name the right file or "
	 "correct it"},
	{"an old version", "kind: EncryptionConfiguration\napiVersion: apiserver.config.k8s.io/v1beta1\n",
	 "f:2:13: not kind EncryptionConfiguration of apiVersion apiserver.config.k8s.io/v1; name the right file or "
	 "correct it"},
	{"a mixture of both pairs", "kind: EncryptionConfig\napiVersion: apiserver.config.k8s.io/v1\n",
	 "f:1:7: not kind EncryptionConfiguration of apiVersion apiserver.config.k8s.io/v1; name the right file or "
	 "correct it"},
	{"unknown field", HEAD "- resources: [a]\n  provider: []\n",
	 "f:5:3: unknown field \"provider\" in an item of \"resources\", which kube-apiserver refuses; correct or "
	 "remove it"},
	{"field in another case", "Kind: x\n",
	 "f:1:1: unknown field \"Kind\" in the file, which kube-apiserver refuses; correct or remove it"},
	{"a key where a field should be is not shown", RULE "  - aescbc: {keys: [{" KEY32 ": name}]}\n",
	 "f:6:22: unknown field in a key, which kube-apiserver refuses; correct or remove it"},
	{"field twice", HEAD "resources: []\n", "f:4:1: field \"resources\" twice in the file; remove one"},
	{"no rules", HEAD, "f:3:11: the file without an item in \"resources\"; add one"},
	{"rules not a list", HEAD "  a: b\n", "f:4:3: \"resources\" is not a list; write its items with '-'"},
	{"no providers", HEAD "- resources: [a]\n", "f:4:3: a rule without an item in \"providers\"; add one"},
	{"no resources", HEAD "- providers: [identity: {}]\n",
	 "f:4:3: a rule without an item in \"resources\"; add one"},
	{"number as resource", HEAD "- resources: [1]\n  providers: [identity: {}]\n",
	 "f:4:15: \"resources\" is read as a number or boolean, not as a text; put it in quotes"},
	{"two providers in one item", RULE "  - identity: {}\n    aescbc: {keys: []}\n",
	 "f:6:5: an item of \"providers\" with more than one provider; give each its own '-'"},
	{"no provider in an item", RULE "  - {}\n",
	 "f:6:5: an item of \"providers\" with no provider; name aescbc, aesgcm, secretbox, kms or identity"},
	{"unknown provider", RULE "  - des: {}\n",
	 "f:6:5: unknown field \"des\" in an item of \"providers\", which kube-apiserver refuses; correct or remove "
	 "it"},
	{"identity without braces", RULE "  - identity:\n",
	 "f:6:14: provider \"identity\" without a value; write {} or its fields"},
	{"identity with a field", RULE "  - identity: {a: b}\n",
	 "f:6:16: unknown field \"a\" in the identity provider, which kube-apiserver refuses; correct or remove it"},
	{"no keys", RULE "  - aescbc: {keys: []}\n", "f:6:20: a provider without an item in \"keys\"; add one"},
	{"no secret", RULE "  - aescbc: {keys: [{name: a}]}\n", "f:6:21: a key without \"secret\"; add it"},
	{"empty name", RULE CBC("''", KEY32), "f:6:28: a key without \"name\"; add it"},
	{"number as name", RULE CBC("20240101", KEY32),
	 "f:6:28: \"name\" is read as a number or boolean, not as a text; put it in quotes"},
	{"boolean as name", RULE CBC("on", KEY32),
	 "f:6:28: \"name\" is read as a number or boolean, not as a text; put it in quotes"},
	{"tagged name", RULE CBC("!!binary YQ==", KEY32), "f:6:28: \"name\" is not a text; write it as one"},
	{"colon in a name", RULE CBC("'a:b'", KEY32),
	 "f:6:28: a name with ':', which ends the name in etcd's values; use another"},
	{"line end in a name", RULE CBC("\"a\\n\"", KEY32),
	 "f:6:28: a name with a control character or line end; remove that"},
	{"not base64", RULE CBC("a", "'*'"), "f:6:39: \"secret\" is not base64; encode the key's bytes again"},
	{"base64 without padding", RULE CBC("a", "c2VjcmV0IGlzIHNlY3VyZQ"),
	 "f:6:39: \"secret\" is not base64; encode the key's bytes again"},
	{"base64 with a blank", RULE CBC("a", "c2VjcmV0 IGlzIHNlY3VyZQ=="),
	 "f:6:39: \"secret\" is not base64; encode the key's bytes again"},
	{"key of 6 bytes", RULE CBC("a", "c2VjcmV0"), "f:6:39: a key of 6 bytes; aescbc needs 16, 24 or 32"},
	{"secretbox of 16", RULE "  - secretbox: {keys: [{name: a, secret: " KEY16 "}]}\n",
	 "f:6:42: a key of 16 bytes; secretbox needs 32"},
	{"one name twice in a list",
	 RULE "  - aescbc: {keys: [{name: a, secret: " KEY32 "}, {name: a, secret: " KEY32 "}]}\n",
	 "f:6:93: a name of one provider type twice in one rule (first in line 6); remove one"},
	{"one name twice in a rule", RULE CBC("a", KEY32) CBC("a", KEY32),
	 "f:7:28: a name of one provider type twice in one rule (first in line 6); remove one"},
	{"identity twice", RULE "  - identity: {}\n  - identity: {}\n",
	 "f:7:5: identity twice in one rule (first in line 6); remove one"},
	{"one name for two keys", RULE CBC("a", KEY32) "- resources: [configmaps]\n  providers:\n" CBC("a", OTHER32),
	 "f:9:28: the key name of line 6 for other bytes; values in etcd name only the key: rename one before it is "
	 "used"},
	{"kms without endpoint", RULE KMS("name: a"), "f:6:10: a kms provider without \"endpoint\"; add it"},
	{"kms without name", RULE KMS("endpoint: 'unix:///a'"), "f:6:10: a kms provider without \"name\"; add it"},
	{"kms over TCP", RULE KMS("name: a, endpoint: 'https://a'"),
	 "f:6:30: an \"endpoint\" that does not begin with unix:, as kube-apiserver wants; correct it"},
	{"kms v3", RULE KMS("apiVersion: v3, name: a, endpoint: 'unix:///a'"),
	 "f:6:23: a KMS \"apiVersion\" that is neither v1 nor v2; correct it"},
	{"kms name with ':'", RULE KMS("apiVersion: v2, name: 'a:b', endpoint: 'unix:///a'"),
	 "f:6:33: a name with ':', which ends the name in etcd's values; use another"},
	{"cachesize of v2", RULE KMS("apiVersion: v2, cachesize: 1, name: a, endpoint: 'unix:///a'"),
	 "f:6:38: \"cachesize\" is for KMS v1 only, kube-apiserver refuses it; remove it"},
	{"cachesize 0", RULE KMS("cachesize: 0, name: a, endpoint: 'unix:///a'"),
	 "f:6:22: \"cachesize\" is not a decimal number other than 0; correct it"},
	{"cachesize in quotes", RULE KMS("cachesize: '1', name: a, endpoint: 'unix:///a'"),
	 "f:6:22: \"cachesize\" is not a decimal number other than 0; correct it"},
	{"timeout 0", RULE KMS("timeout: 0s, name: a, endpoint: 'unix:///a'"),
	 "f:6:20: \"timeout\" is not a duration above 0; write it as 3s"},
	{"timeout as number", RULE KMS("timeout: 3, name: a, endpoint: 'unix:///a'"),
	 "f:6:20: \"timeout\" is read as a number or boolean, not as a text; put it in quotes"},
	{"negative timeout", RULE KMS("timeout: -3s, name: a, endpoint: 'unix:///a'"),
	 "f:6:20: \"timeout\" is not a duration above 0; write it as 3s"},
	{"kms v2 name twice",
	 RULE KMS("apiVersion: v2, name: a, endpoint: 'unix:///a'") "- resources: [configmaps]\n  providers:\n" KMS(
		 "apiVersion: v2, name: a, endpoint: 'unix:///a'"),
	 "f:9:33: a KMS name that line 6 has already, which kube-apiserver refuses; rename one"},
	{"kms v1 name for two plugins",
	 RULE KMS("name: a, endpoint: 'unix:///a'") "- resources: [configmaps]\n  providers:\n" KMS(
		 "name: a, endpoint: 'unix:///b'"),
	 "f:9:17: a KMS name that line 6 has for another plugin; rename one"},
	{"capital", HEAD "- resources: [Secrets]\n  providers: [identity: {}]\n",
	 "f:4:15: a resource name with a capital letter; write it in lower case"},
	{"star alone", HEAD "- resources: ['*']\n  providers: [identity: {}]\n",
	 "f:4:15: \"*\" alone means nothing to kube-apiserver; write \"*.\" for the core group or \"*.*\" for "
	 "everything"},
	{"every group's", HEAD "- resources: [secrets.*]\n  providers: [identity: {}]\n",
	 "f:4:15: one resource in every group cannot be named; write each with its group"},
	{"group events.k8s.io", HEAD "- resources: ['*.events.k8s.io']\n  providers: [identity: {}]\n",
	 "f:4:15: objects of events.k8s.io are stored as \"events\"; write that"},
	{"group extensions", HEAD "- resources: [ingresses.extensions]\n  providers: [identity: {}]\n",
	 "f:4:15: group extensions does not exist any more; remove it"},
	{"no REST API", HEAD "- resources: [serviceipallocations]\n  providers: [identity: {}]\n",
	 "f:4:15: a resource without a REST API, which cannot be encrypted; remove it"},
	{"resource twice", HEAD "- resources: [a, a]\n  providers: [identity: {}]\n",
	 "f:4:18: a resource twice in one list (first in line 4); remove one"},
	{"wildcard beside", HEAD "- resources: [secrets, '*.']\n  providers: [identity: {}]\n",
	 "f:4:24: a resource and a wildcard over it (line 4) in one list; remove one"},
	{"*.* beside anything", HEAD "- resources: ['*.*', a.b]\n  providers: [identity: {}]\n",
	 "f:4:22: a resource and a wildcard over it (line 4) in one list; remove one"},
	{"hidden rule",
	 HEAD "- {resources: ['*.'], providers: [identity: {}]}\n- {resources: [secrets], providers: [identity: {}]}\n",
	 "f:5:16: a rule hidden by the wildcard in line 4, which kube-apiserver refuses; move it before that rule"},
	{"rule hidden by *.*",
	 HEAD
	 "- {resources: ['*.*'], providers: [identity: {}]}\n- {resources: ['*.apps'], providers: [identity: {}]}\n",
	 "f:5:16: a rule hidden by the wildcard in line 4, which kube-apiserver refuses; move it before that rule"},
	{"resource in two rules",
	 HEAD "- {resources: [a], providers: [identity: {}]}\n- {resources: [a], providers: [identity: {}]}\n",
	 "f:5:16: a resource that line 4 names in another rule; kube-apiserver would join both provider lists: write "
	 "one rule"},
	{"second document", RULE "  - identity: {}\n---\na: b\n",
	 "f:8:1: a second document, which kube-apiserver would not read; keep one"},
	{"alias without anchor", "kind: *a\n", "f:1:7: an alias without an anchor above it; write the value out"},
	{"alias inside its anchor", "kind: &a [*a]\n", "f:1:11: an alias inside its own anchor; write the value out"},
	{"field given by merge as well",
	 RULE "  - aescbc: &a {keys: [{name: a, secret: " KEY32 "}]}\n  - aesgcm: {<<: *a, keys: []}\n",
	 "f:7:22: field \"keys\" twice in a provider; remove one"},
	{"deep", "kind: [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]\n",
	 "f:1:38: nested more than 32 deep; an EncryptionConfiguration needs 9"},
};

static void test_bad(void **state)
{
	const struct bad_row *row = *state;
	struct encryption_config *config = NULL;
	struct error *err = NULL;
	assert_error(parse(row->text, strlen(row->text), &config, &err), err, ERROR_INPUT, row->message);
	assert_null(config);
}

struct good_row {
	const char *name, *text, *shape;
};

#define SHAPE(keys) "{\"rules\":[{\"resources\":[\"secrets\"],\"keys\":[" keys "]}]}"
#define SHAPE_CBC(name) "{\"provider\":\"aescbc\",\"name\":\"" name "\",\"fingerprint\":\"27de32c7e1a7\"}"

static const struct good_row good[] = {
	{"one key", RULE CBC("key1", KEY32), SHAPE(SHAPE_CBC("key1"))},
	{"legacy kind",
	 "kind: EncryptionConfig\napiVersion: v1\nresources:\n- resources: [secrets]\n  providers:\n" CBC("key1",
													  KEY32),
	 SHAPE(SHAPE_CBC("key1"))},
	{"JSON",
	 "{\"kind\":\"EncryptionConfiguration\",\"apiVersion\":\"apiserver.config.k8s.io/"
	 "v1\",\"resources\":[{\"resources\":"
	 "[\"secrets\"],\"providers\":[{\"identity\":{}}]}]}",
	 SHAPE("{\"provider\":\"identity\"}")},
	{"secret as block scalar",
	 RULE "  - aescbc:\n      keys:\n      - name: |-\n          key1\n        secret: |\n"
	      "          YWJjZGVmZ2hpamts\n          bW5vcHFyc3R1dnd4eXoxMjM0NTY=\n",
	 SHAPE(SHAPE_CBC("key1"))},
	{"base64 with loose last bits", RULE CBC("key1", "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXoxMjM0NTZ="),
	 SHAPE(SHAPE_CBC("key1"))},
	{"number in quotes as name", RULE CBC("'123'", KEY32), SHAPE(SHAPE_CBC("123"))},
	{"number tagged as text", RULE CBC("!!str 123", KEY32), SHAPE(SHAPE_CBC("123"))},
	{"date as name", RULE CBC("2024-01-01", KEY32), SHAPE(SHAPE_CBC("2024-01-01"))},
	{"alias", RULE "  - aescbc: {keys: [&k {name: key1, secret: " KEY32 "}]}\n  - aesgcm: {keys: [*k]}\n",
	 SHAPE(SHAPE_CBC("key1") ",{\"provider\":\"aesgcm\",\"name\":\"key1\",\"fingerprint\":\"27de32c7e1a7\"}")},
	{"merge key", RULE "  - aescbc: &a {keys: [{name: key1, secret: " KEY32 "}]}\n  - aesgcm: {<<: *a}\n",
	 SHAPE(SHAPE_CBC("key1") ",{\"provider\":\"aesgcm\",\"name\":\"key1\",\"fingerprint\":\"27de32c7e1a7\"}")},
	{"same key in two rules",
	 RULE CBC("key1", KEY32) "- resources: [configmaps]\n  providers:\n" CBC("key1", KEY32),
	 "{\"rules\":[{\"resources\":[\"secrets\"],\"keys\":[" SHAPE_CBC(
		 "key1") "]},{\"resources\":[\"configmaps\"],\"keys\":[" SHAPE_CBC("key1") "]}]}"},
	{"kms defaults", RULE KMS("name: a, endpoint: 'unix:///a', cachesize: -1, timeout: null"),
	 SHAPE("{\"provider\":\"kms\",\"name\":\"a\",\"version\":1,\"endpoint\":\"unix:///"
	       "a\",\"timeoutNs\":3000000000}")},
	{"kms v2", RULE KMS("name: a, endpoint: 'unix:///@a', apiVersion: v2, timeout: 1.5s"),
	 SHAPE("{\"provider\":\"kms\",\"name\":\"a\",\"version\":2,\"endpoint\":\"unix:///"
	       "@a\",\"timeoutNs\":1500000000}")},
	{"empty second document", RULE "  - identity: {}\n---\n", SHAPE("{\"provider\":\"identity\"}")},
	{"byte order mark", "\xef\xbb\xbf" RULE "  - identity: {}\n", SHAPE("{\"provider\":\"identity\"}")},
};

static void test_good(void **state)
{
	const struct good_row *row = *state;
	_cleanup_(encryption_config_freep) struct encryption_config *config = NULL;
	_cleanup_error_ err = NULL;
	assert_ok(parse(row->text, strlen(row->text), &config, &err), err);
	struct json_writer w = JSON_WRITER_INIT(4096);
	config_shape_write_json(encryption_config_shape(config), &w);
	assert_string_equal(json_text(&w), row->shape);
	json_writer_free(&w);
	assert_string_equal(secret_text(encryption_config_text(config)), row->text);
}

static void test_key_bytes(void **state)
{
	(void)state;
	const char *text = RULE CBC("key1", KEY32) "  - identity: {}\n";
	_cleanup_(encryption_config_freep) struct encryption_config *config = NULL;
	assert_int_equal(parse(text, strlen(text), &config, NULL), 0);
	const struct secret *bytes = encryption_config_key(config, PROVIDER_AESCBC, "key1");
	assert_int_equal(secret_len(bytes), 32);
	assert_memory_equal(secret_data(bytes), "abcdefghijklmnopqrstuvwxyz123456", 32);
	assert_null(encryption_config_key(config, PROVIDER_AESGCM, "key1"));
	assert_null(encryption_config_key(config, PROVIDER_IDENTITY, ""));
	encryption_config_free(NULL);
}

static void test_size_cap(void **state)
{
	(void)state;
	struct encryption_config *config = NULL;
	struct error *err = NULL;
	size_t len = ENCRYPTION_CONFIG_MAX + 1;
	_cleanup_free_ char *text = xmalloc(len);
	memset(text, '\n', len);
	memcpy(text, RULE "  - identity: {}\n", strlen(RULE "  - identity: {}\n"));
	assert_error(parse(text, len, &config, &err), err, ERROR_INPUT,
		     "f: larger than 1 MiB; that is no EncryptionConfiguration");
	assert_ok(parse(text, len - 1, &config, &err), err);
	encryption_config_free(config);
}

/* Aliases that stand for aliases: a thousand bytes for a billion nodes. */
static void test_bomb(void **state)
{
	(void)state;
	struct encryption_config *config = NULL;
	struct error *err = NULL;
	const char *text = "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c "
			   "[*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
			   "d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\n";
	assert_error(parse(text, strlen(text), &config, &err), err, ERROR_INPUT,
		     "f:5:8: aliases stand for more than 20000 nodes; write the values out");
}

static void test_node_cap(void **state)
{
	(void)state;
	struct encryption_config *config = NULL;
	struct error *err = NULL;
	size_t count = YAML_TREE_NODES_MAX;
	_cleanup_free_ char *text = xmalloc(2 * count + 8);
	size_t len = 0;
	text[len++] = '[';
	for (size_t i = 0; i < count; i++) {
		text[len++] = 'x';
		text[len++] = ',';
	}
	text[len++] = ']';
	assert_error(parse(text, len, &config, &err), err, ERROR_INPUT,
		     "f:1:40000: more than 20000 nodes; make the file smaller");
	text[len - 3] = ' '; /* one less */
	text[len - 2] = ' ';
	assert_error(parse(text, len, &config, &err), err, ERROR_INPUT,
		     "f:1:1: the file is not a mapping; write it as fields and values");
}

/* Go's reader decides; the rows are from its source. */
struct plain_row {
	const char *name;
	bool is_string;
};

static const struct plain_row plains[] = {
	{"a", true},      {"", false},     {"~", false},     {"null", false}, {"Null", false}, {"nULL", true},
	{"yes", false},   {"yEs", true},   {"y", false},     {"on", false},   {"true", false}, {"1", false},
	{"+1", false},    {"-1", false},   {"1_000", false}, {"0x1f", false}, {"0xg", true},   {"0b101", false},
	{"0b102", true},  {"0o17", false}, {"010", false},   {"08", false},   {"1.5", false},  {"1.", false},
	{".5", false},    {".", true},     {"1e3", false},   {"1e", true},    {"1e+3", false}, {".inf", false},
	{"-.INF", false}, {".nan", false}, {"+", true},      {"-", true},     {"1-2", true},   {"2024-01-01", true},
	{"12:30", true},  {"0x", true},    {"<<", false},    {"key1", true},  {"1a", true},    {"1__2", false},
};

static void test_plain(void **state)
{
	const struct plain_row *row = *state;
	assert_int_equal(yaml_plain_is_string(row->name), row->is_string);
}

/* A file by its keys' names: bytes that are there are looked at as ever. */
static void test_names_alone(void **state)
{
	static const char half[] = RULE "  - aescbc: {keys: [{name: old, secret: " KEY32 "}, {name: new}]}\n"
					"  - secretbox: {keys: [{name: box, secret: ''}]}\n";
	static const char bad_bytes[] = RULE CBC("k", "c2VjcmV0");
	static const char twice[] = RULE "  - aescbc: {keys: [{name: k}, {name: k}]}\n";
	static const char *const wrong[] = {bad_bytes, twice};
	_cleanup_secret_ text = secret_from(half, strlen(half));
	_cleanup_(config_shape_freep) struct config_shape *shape = NULL;
	struct encryption_config *config = NULL;
	struct error *err = NULL;
	(void)state;
	assert_ok(encryption_config_parse_names("f", text, &shape, &err), err);
	assert_int_equal(shape->rules[0].key_count, 3);
	assert_int_equal(strlen(shape->rules[0].keys[0].fingerprint), 12);
	assert_string_equal(shape->rules[0].keys[1].name, "new");
	assert_string_equal(shape->rules[0].keys[1].fingerprint, "");
	assert_string_equal(shape->rules[0].keys[2].fingerprint, "");
	assert_int_equal(parse(half, strlen(half), &config, NULL), -ERROR_INPUT);
	for (size_t i = 0; i < ELEMENTS(wrong); i++) {
		_cleanup_secret_ other = secret_from(wrong[i], strlen(wrong[i]));
		struct config_shape *none = NULL;
		assert_int_equal(encryption_config_parse_names("f", other, &none, NULL), -ERROR_INPUT);
		assert_null(none);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_key_bytes), cmocka_unit_test(test_size_cap),    cmocka_unit_test(test_bomb),
		cmocka_unit_test(test_node_cap),  cmocka_unit_test(test_names_alone),
	};
	json_install_hooks();
	return cmocka_run_group_tests(tests, NULL, NULL) + RUN_ROWS(test_bad, bad) + RUN_ROWS(test_good, good) +
	       RUN_ROWS(test_plain, plains);
}
