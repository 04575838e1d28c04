#include "test_support.h"
#include "format/watch_event.h"

struct row {
	const char *name, *text;
	int rc;
	enum watch_event_type type;
	const char *object; /* namespace/name uid version */
	unsigned code;
};

#define META "\"name\":\"a\",\"uid\":\"u\",\"resourceVersion\":\"7\""
#define BAD -ERROR_PROTOCOL

static const struct row rows[] = {
	{"added", "{\"type\":\"ADDED\",\"object\":{\"metadata\":{" META ",\"namespace\":\"ns\"}}}", 0, WATCH_ADDED,
	 "ns/a u 7", 0},
	{"modified, cluster-scoped", "{\"type\":\"MODIFIED\",\"object\":{\"metadata\":{" META "}}}", 0, WATCH_MODIFIED,
	 "/a u 7", 0},
	{"the object first, and a line end", "{\"object\":{\"metadata\":{" META "}},\"type\":\"DELETED\"}\n", 0,
	 WATCH_DELETED, "/a u 7", 0},
	{"bookmark", "{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"9\"}}}", 0, WATCH_BOOKMARK,
	 "", 0},
	{"error", "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"code\":410}}", 0, WATCH_ERROR, "", 410},
	{"error without a code", "{\"type\":\"ERROR\",\"object\":{}}", 0, WATCH_ERROR, "", 0},
	{"error with a code that is none", "{\"type\":\"ERROR\",\"object\":{\"code\":1e9}}", 0, WATCH_ERROR, "", 0},
	{"an unknown type", "{\"type\":\"added\",\"object\":{\"metadata\":{" META "}}}", BAD, 0, "", 0},
	{"no type", "{\"object\":{\"metadata\":{" META "}}}", BAD, 0, "", 0},
	{"a type that is no text", "{\"type\":1,\"object\":{\"metadata\":{" META "}}}", BAD, 0, "", 0},
	{"no object", "{\"type\":\"ADDED\"}", BAD, 0, "", 0},
	{"an object that is none", "{\"type\":\"ERROR\",\"object\":[]}", BAD, 0, "", 0},
	{"no metadata", "{\"type\":\"ADDED\",\"object\":{}}", BAD, 0, "", 0},
	{"no uid", "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":\"a\",\"resourceVersion\":\"7\"}}}", BAD, 0,
	 "", 0},
	{"an empty name",
	 "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":\"\",\"uid\":\"u\",\"resourceVersion\":\"7\"}}}", BAD,
	 0, "", 0},
	{"no version", "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":\"a\",\"uid\":\"u\"}}}", BAD, 0, "", 0},
	{"a namespace that is no text", "{\"type\":\"ADDED\",\"object\":{\"metadata\":{" META ",\"namespace\":1}}}",
	 BAD, 0, "", 0},
	{"a bookmark without a version", "{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{}}}", BAD, 0, "", 0},
	{"two events", "{\"type\":\"ERROR\",\"object\":{}}{\"type\":\"ERROR\",\"object\":{}}", BAD, 0, "", 0},
	{"nothing", "", BAD, 0, "", 0},
	{"half", "{\"type\":\"ADDED\",\"obj", BAD, 0, "", 0},
};

static void test_event(void **state)
{
	const struct row *row = *state;
	struct watch_event event = {.code = 77};
	_cleanup_free_ char *object = NULL;

	assert_int_equal(watch_event_parse(row->text, strlen(row->text), &event), row->rc);
	if (row->rc < 0) {
		assert_int_equal(event.code, 77);
		return;
	}
	assert_int_equal(event.type, row->type);
	assert_int_equal(event.code, row->code);
	if (event.type == WATCH_BOOKMARK)
		assert_string_equal(event.object.resource_version, "9");
	if (row->object[0] != '\0') {
		object = xasprintf("%s/%s %s %s", event.object.namespace_, event.object.name, event.object.uid,
				   event.object.resource_version);
		assert_string_equal(object, row->object);
		assert_ptr_equal(event.object.json, json_at(event.document, "object", NULL));
	}
	watch_event_free(&event);
}

static void test_names_have_a_longest(void **state)
{
	char name[600];
	struct watch_object object;

	(void)state;
	for (size_t len = 512; len <= 513; len++) {
		_cleanup_json_ json = NULL;
		_cleanup_free_ char *text = NULL;

		memset(name, 'a', len);
		name[len] = '\0';
		text = xasprintf("{\"metadata\":{\"name\":\"%s\",\"uid\":\"u\",\"resourceVersion\":\"7\"}}", name);
		assert_int_equal(json_parse(text, strlen(text), "x", &json, NULL), 0);
		assert_int_equal(watch_object_read(json, &object), len == 512 ? 0 : -ERROR_PROTOCOL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_names_have_a_longest)};

	json_install_hooks();
	return RUN_ROWS(test_event, rows) + cmocka_run_group_tests(tests, NULL, NULL);
}
