/* Tables of fields: caps, wrong types, and words that are cut. */
#include "object_support.h"
#include "engine/key_rotation.h"
#include "engine/key_server.h"

#define SERVER(rest) \
	"{\"apiVersion\":\"kube-rekey.dev/v1alpha1\",\"kind\":\"KeyServer\",\"metadata\":{\"name\":\"cp-1\"}," rest "}"
#define STATUS(rest) SERVER("\"status\":{" rest "}")
#define LONG_HASH "sha256:0123456789012345678901234567890123456789012345678901234567890123"

static const struct {
	const char *name, *document;
	enum error_code code;
	const char *message;
} bad[] = {
	{"another kind", "{\"apiVersion\":\"kube-rekey.dev/v1alpha1\",\"kind\":\"KeyRotation\"}", ERROR_INPUT,
	 "not a KeyServer of kube-rekey.dev/v1alpha1"},
	{"another version", "{\"apiVersion\":\"kube-rekey.dev/v2\",\"kind\":\"KeyServer\"}", ERROR_INPUT,
	 "not a KeyServer of kube-rekey.dev/v1alpha1"},
	{"no object", "[]", ERROR_INPUT, "not a KeyServer of kube-rekey.dev/v1alpha1"},
	{"no name", "{\"apiVersion\":\"kube-rekey.dev/v1alpha1\",\"kind\":\"KeyServer\"}", ERROR_INPUT,
	 "KeyServer ?: metadata: name: missing"},
	{"a list for an object", SERVER("\"status\":[]"), ERROR_INPUT, "KeyServer cp-1: status: not an object"},
	{"an object for a list", STATUS("\"retired\":{\"0\":\"a\"}"), ERROR_INPUT,
	 "KeyServer cp-1: status: retired: not a list"},
	{"a number for a text", STATUS("\"why\":7"), ERROR_INPUT, "KeyServer cp-1: status: why: not a text"},
	{"a text for a truth", STATUS("\"answering\":\"true\""), ERROR_INPUT,
	 "KeyServer cp-1: status: answering: neither true nor false"},
	{"a negative number", STATUS("\"epoch\":-1"), ERROR_INPUT,
	 "KeyServer cp-1: status: epoch: not a whole number from 0 to 9007199254740991"},
	{"half a number", STATUS("\"census\":{\"revision\":1.5}"), ERROR_INPUT,
	 "KeyServer cp-1: status: census: revision: not a whole number from 0 to 9007199254740991"},
	{"a step beyond any path", STATUS("\"fileStep\":8"), ERROR_INPUT,
	 "KeyServer cp-1: status: fileStep: not a whole number from 0 to 7"},
	{"in a list", STATUS("\"members\":[{},{\"learner\":0}]"), ERROR_INPUT,
	 "KeyServer cp-1: status: members: [1]: learner: neither true nor false"},
	{"a long text", STATUS("\"evidence\":\"" LONG_HASH "\""), ERROR_LIMIT,
	 "KeyServer cp-1: status: evidence: longer than 16 characters"},
	{"a long text in a list", STATUS("\"retired\":[\"a\",\"" LONG_HASH "\"]"), ERROR_LIMIT,
	 "KeyServer cp-1: status: retired: [1]: longer than 12 characters"},
	{"a long list", STATUS("\"members\":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]"), ERROR_LIMIT,
	 "KeyServer cp-1: status: members: more than 16 items"},
	{"a shape that is none", STATUS("\"configuration\":{\"rules\":[]}"), ERROR_INPUT,
	 "KeyServer cp-1: status: configuration: shape: rules is not a list of 1 to 1024 items"},
};

static void test_bad(void **state)
{
	const __typeof__(bad[0]) *row = *state;
	_cleanup_json_ json = document(row->document);
	struct key_server *server = NULL;
	struct error *err = NULL;
	int rc = key_server_parse(json, &server, &err);
	assert_null(server);
	assert_error(rc, err, row->code, row->message);
	assert_int_equal(key_server_parse(json, &server, NULL), rc);
}

static void test_bad_steps(void **state)
{
	_cleanup_json_ json =
		document("{\"apiVersion\":\"kube-rekey.dev/v1alpha1\",\"kind\":\"KeyRotation\","
			 "\"metadata\":{\"name\":\"a\"},\"status\":{\"steps\":[{\"rules\":[{\"resources\":"
			 "[\"secrets\"],\"keys\":[{\"provider\":\"identity\"}]}]},{}]}}");
	struct key_rotation *rotation = NULL;
	struct error *err = NULL;
	(void)state;
	int rc = key_rotation_parse(json, &rotation, &err);
	assert_error(rc, err, ERROR_INPUT,
		     "KeyRotation a: status: steps: [1]: shape: rules is not a list of 1 to 1024 items");
}

/* Unknown fields, and null for what is absent. */
static void test_passed_over(void **state)
{
	_cleanup_json_ json = document(STATUS("\"later\":{\"a\":[1]},\"why\":null,\"epoch\":null,\"members\":null"));
	_cleanup_(key_server_freep) struct key_server *server = NULL;
	struct error *err = NULL;
	(void)state;
	assert_ok(key_server_parse(json, &server, &err), err);
	assert_null(server->status.why);
	assert_int_equal(server->status.member_count, 0);
}

/* Words for people never make an API server refuse what matters. */
static void test_words_are_cut(void **state)
{
	_cleanup_(key_server_freep) struct key_server *server = key_server_new("cp-1");
	_cleanup_(key_rotation_freep) struct key_rotation *rotation = key_rotation_new("a");
	_cleanup_free_ char *text = NULL, *sentences = NULL;
	_cleanup_json_ json = NULL, *said = NULL;
	char words[KEY_WORDS_MAX + 3];
	struct error *err = NULL;
	(void)state;
	/* One character too many; the last one that is kept has two bytes. */
	memset(words, 'x', sizeof(words));
	words[KEY_WORDS_MAX - 4] = '\xc3';
	words[KEY_WORDS_MAX - 3] = '\xbc';
	words[KEY_WORDS_MAX + 2] = '\0';
	server->status.why = xstrdup(words);
	assert_ok(key_server_status_body(server, &text, &err), err);
	json = document(text);
	const char *why = json_text_at(json_at(json, "status", NULL), "why");
	assert_int_equal(strlen(why), KEY_WORDS_MAX + 1);
	assert_string_equal(why + KEY_WORDS_MAX - 5, "x\xc3\xbc...");
	strings_add(&rotation->status.evidence, words);
	assert_ok(key_rotation_status_body(rotation, &sentences, &err), err);
	said = document(sentences);
	assert_string_equal(cJSON_GetArrayItem(json_at(said, "status", "evidence", NULL), 0)->valuestring, why);
}

/* What is reckoned with is never cut. */
static void test_too_much(void **state)
{
	_cleanup_(key_rotation_freep) struct key_rotation *rotation = key_rotation_new("a");
	char *text = NULL;
	struct error *err = NULL;
	(void)state;
	rotation->status.server_count = KEY_SERVERS_MAX + 1;
	rotation->status.servers = xcalloc(KEY_SERVERS_MAX + 1, sizeof(*rotation->status.servers));
	int rc = key_rotation_status_body(rotation, &text, &err);
	assert_error(rc, err, ERROR_LIMIT, "KeyRotation a: status: servers: more than 64 items");
	rotation->status.server_count = 2;
	rotation->status.servers[1].name = xasprintf("%0300d", 1);
	rc = key_rotation_status_body(rotation, &text, &err);
	assert_error(rc, err, ERROR_LIMIT, "KeyRotation a: status: servers: [1]: name: longer than 253 characters");
	rotation->spec.servers = KEY_SERVERS_MAX + 1;
	rc = key_rotation_spec_body(rotation, &text, &err);
	assert_error(rc, err, ERROR_LIMIT, "KeyRotation a: spec: servers: more than 64");
	rotation->spec.servers = 0;
	for (unsigned i = 0; i < 17; i++)
		strings_add(&rotation->spec.drop_keys, "key");
	rc = key_rotation_spec_body(rotation, &text, &err);
	assert_error(rc, err, ERROR_LIMIT, "KeyRotation a: spec: dropKeys: more than 16 items");
	assert_null(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bad_steps),
		cmocka_unit_test(test_passed_over),
		cmocka_unit_test(test_words_are_cut),
		cmocka_unit_test(test_too_much),
	};
	json_install_hooks();
	return RUN_ROWS(test_bad, bad) + cmocka_run_group_tests(tests, NULL, NULL);
}
