/* Calls for custom resources, against a server that answers as told. */
#include "kube_server.h"
#include "base/clock.h"
#include "client/kube/custom.h"

#define SERVERS "/apis/kube-rekey.dev/v1alpha1/keyservers"
#define HINT "are the CustomResourceDefinitions installed, and those of this version? kubectl apply -k manifests/base"

static struct kube_server server;
static struct kube kube;

#define PLAY(...)                                      \
	struct served_answer script[] = {__VA_ARGS__}; \
	kube_server_play(&server, script, ELEMENTS(script))

static const struct {
	const char *name;
	struct kube_custom_request request;
	const char *method, *path, *type, *body;
} rows[] = {
	{"get", {.verb = CUSTOM_GET, .collection = SERVERS, .name = "cp-1"}, "GET", SERVERS "/cp-1", NULL, ""},
	{"get of a status",
	 {.verb = CUSTOM_GET, .collection = SERVERS, .name = "cp-1", .subresource = "status"},
	 "GET",
	 SERVERS "/cp-1/status",
	 NULL,
	 ""},
	{"a name that is no path",
	 {.verb = CUSTOM_GET, .collection = SERVERS, .name = "../secrets"},
	 "GET",
	 SERVERS "/..%2Fsecrets",
	 NULL,
	 ""},
	{"list", {.verb = CUSTOM_LIST, .collection = SERVERS}, "GET", SERVERS "?limit=16", NULL, ""},
	{"a further page",
	 {.verb = CUSTOM_LIST, .collection = SERVERS, .limit = 2, .continue_token = "a/b="},
	 "GET",
	 SERVERS "?limit=2&continue=a%2Fb%3D",
	 NULL,
	 ""},
	{"create",
	 {.verb = CUSTOM_CREATE, .collection = SERVERS, .body = "{\"a\":1}"},
	 "POST",
	 SERVERS "?fieldValidation=Strict&fieldManager=kube-rekey",
	 "application/json",
	 "{\"a\":1}"},
	{"apply",
	 {.verb = CUSTOM_APPLY, .collection = SERVERS, .name = "cp-1", .subresource = "status", .body = "{\"a\":1}"},
	 "PATCH",
	 SERVERS "/cp-1/status?force=true&fieldValidation=Strict&fieldManager=kube-rekey",
	 "application/apply-patch+yaml",
	 "{\"a\":1}"},
	{"patch",
	 {.verb = CUSTOM_PATCH, .collection = SERVERS, .name = "cp-1", .body = "{\"a\":1}"},
	 "PATCH",
	 SERVERS "/cp-1?fieldValidation=Strict&fieldManager=kube-rekey",
	 "application/merge-patch+json",
	 "{\"a\":1}"},
	{"delete",
	 {.verb = CUSTOM_DELETE, .collection = SERVERS, .name = "cp-1", .uid = "u-1"},
	 "DELETE",
	 SERVERS "/cp-1",
	 "application/json",
	 "{\"apiVersion\":\"v1\",\"kind\":\"DeleteOptions\",\"preconditions\":{\"uid\":\"u-1\"}}"},
	{"delete whoever it is",
	 {.verb = CUSTOM_DELETE, .collection = SERVERS, .name = "cp-1"},
	 "DELETE",
	 SERVERS "/cp-1",
	 NULL,
	 ""},
};

static void test_request(void **state)
{
	const __typeof__(rows[0]) *row = *state;
	_cleanup_json_ answer = NULL;
	struct error *err = NULL;

	PLAY({.status = 200, .body = "{\"kind\":\"KeyServer\"}"});
	assert_ok(kube_custom_fetch(&kube, &row->request, &answer, &err), err);
	assert_string_equal(json_text_at(answer, "kind"), "KeyServer");
	assert_string_equal(server.seen[0].method, row->method);
	assert_string_equal(server.seen[0].path, row->path);
	assert_string_equal(server.seen[0].body, row->body);
	if (row->type != NULL) {
		_cleanup_free_ char *line = xasprintf("Content-Type: %s\r\n", row->type);

		assert_non_null(strstr(server.seen[0].headers, line));
	}
}

static const struct {
	const char *name;
	struct served_answer answer;
	enum error_code code;
	const char *message;
	bool hint;
} refusals[] = {
	{"nobody has the name",
	 {.status = 404, .body = "{\"kind\":\"Status\",\"reason\":\"NotFound\",\"message\":\"not found\"}"},
	 ERROR_NOT_FOUND,
	 "PATCH keyservers cp-1 status: 404 NotFound: not found",
	 false},
	{"no definition",
	 {.status = 404, .type = "text/plain; charset=utf-8", .body = "404 page not found\n"},
	 ERROR_NOT_FOUND,
	 "PATCH keyservers cp-1 status: 404: 404 page not found",
	 true},
	{"an older definition",
	 {.status = 500,
	  .body = "{\"kind\":\"Status\",\"message\":\"failed to create typed patch object (/cp-1; "
		  "kube-rekey.dev/v1alpha1, "
		  "Kind=KeyServer): .status.later: field not declared in schema\",\"code\":500}"},
	 ERROR_INPUT,
	 "PATCH keyservers cp-1 status: 500: failed to create typed patch object (/cp-1; kube-rekey.dev/v1alpha1, "
	 "Kind=KeyServer): .status.later: field not declared in schema",
	 true},
	{"a server in trouble",
	 {.status = 500, .body = "{\"kind\":\"Status\",\"message\":\"etcd\",\"code\":500}"},
	 ERROR_BUSY,
	 "PATCH keyservers cp-1 status: 500: etcd",
	 false},
	{"changed since",
	 {.status = 409, .body = "{\"kind\":\"Status\",\"reason\":\"Conflict\",\"message\":\"modified\"}"},
	 ERROR_CONFLICT,
	 "PATCH keyservers cp-1 status: 409 Conflict: modified",
	 false},
	{"a rule",
	 {.status = 422, .body = "{\"kind\":\"Status\",\"reason\":\"Invalid\",\"message\":\"only grows\"}"},
	 ERROR_INPUT,
	 "PATCH keyservers cp-1 status: 422 Invalid: only grows",
	 false},
	{"no rights",
	 {.status = 403, .body = "{\"kind\":\"Status\",\"reason\":\"Forbidden\",\"message\":\"no\"}"},
	 ERROR_AUTH,
	 "PATCH keyservers cp-1 status: 403 Forbidden: no",
	 false},
	{"a login page",
	 {.status = 200, .type = "text/html", .body = "<html>"},
	 ERROR_PROTOCOL,
	 "PATCH keyservers cp-1 status: 200 with content type \"text/html\", which is not what an API server sends",
	 false},
};

static void test_refused(void **state)
{
	const __typeof__(refusals[0]) *row = *state;
	const struct kube_custom_request request = {
		.verb = CUSTOM_APPLY, .collection = SERVERS, .name = "cp-1", .subresource = "status", .body = "{}"};
	struct error *err = NULL;
	int rc;

	kube_server_play(&server, &row->answer, 1);
	rc = kube_custom_fetch(&kube, &request, NULL, &err);
	assert_int_equal(rc, -(int)row->code);
	assert_string_equal(error_message(err), row->message);
	assert_string_equal(error_server(err), "cp-1");
	assert_string_equal(error_object(err), "keyservers cp-1 status");
	if (row->hint)
		assert_string_equal(error_hint(err), HINT);
	else
		assert_null(error_hint(err));
	error_free(err);
	kube_server_play(&server, &row->answer, 1);
	assert_int_equal(kube_custom_fetch(&kube, &request, NULL, NULL), rc);
}

/* --- from the loop ---------------------------------------------------------------------------------------------- */

struct heard {
	bool done;
	int rc;
	unsigned status;
	cJSON *answer;
};

static void on_done(void *arg, int rc, unsigned status, cJSON **answer, struct error **error)
{
	(void)error;
	*(struct heard *)arg = (struct heard){.done = true, .rc = rc, .status = status, .answer = steal(*answer)};
}

static void test_from_the_loop(void **state)
{
	struct heard heard = {0}, never = {0};
	struct kube_custom_request request = {
		.verb = CUSTOM_GET, .collection = SERVERS, .name = "cp-1", .on_done = on_done, .arg = &never};
	struct error *err = NULL;

	(void)state;
	PLAY({.status = 200, .body = "{}"});
	kube_custom_cancel(kube_custom_start(&kube, &request));
	kube_custom_cancel(NULL);
	request.arg = &heard;
	kube_custom_start(&kube, &request);
	assert_false(heard.done);
	assert_ok(loop_run_until(kube.loop, &heard.done, clock_monotonic() + 10 * NS_PER_S, &err), err);
	assert_int_equal(heard.rc, 0);
	assert_int_equal(heard.status, 200);
	assert_non_null(heard.answer);
	assert_false(never.done);
	cJSON_Delete(heard.answer);
}

/* --- all pages -------------------------------------------------------------------------------------------------- */

static int take(void *arg, const cJSON *item, struct error **err)
{
	const char *name = json_text_at(json_at(item, "metadata", NULL), "name");

	if (name == NULL)
		return error_set(err, ERROR_INPUT, "an object without a name");
	strings_add(arg, name);
	return 0;
}

static const struct served_answer pages[] = {
	{.status = 200,
	 .body = "{\"metadata\":{\"resourceVersion\":\"7\",\"continue\":\"more\"},"
		 "\"items\":[{\"metadata\":{\"name\":\"a\"}},{\"metadata\":{\"name\":\"b\"}}]}"},
	{.status = 200,
	 .body = "{\"metadata\":{\"resourceVersion\":\"8\"},\"items\":[{\"metadata\":{\"name\":\"c\"}}]}"},
};

static void test_pages(void **state)
{
	_cleanup_strings_ names = {0}, fewer = {0};
	_cleanup_free_ char *version = NULL;
	struct error *err = NULL;
	int rc;

	(void)state;
	kube_server_play(&server, pages, ELEMENTS(pages));
	assert_ok(kube_custom_list(&kube, SERVERS, 3, take, &names, &version, &err), err);
	assert_int_equal(names.count, 3);
	assert_string_equal(names.items[2], "c");
	assert_string_equal(version, "8");
	assert_string_equal(server.seen[1].path, SERVERS "?limit=16&continue=more");
	kube_server_play(&server, pages, ELEMENTS(pages));
	rc = kube_custom_list(&kube, SERVERS, 2, take, &fewer, NULL, &err);
	assert_error(rc, err, ERROR_LIMIT, "list " SERVERS ": more than 2 objects");
}

struct listed {
	struct strings names;
	bool done;
	int rc;
	char *error;
};

static int take_listed(void *arg, const cJSON *item, struct error **err)
{
	return take(&((struct listed *)arg)->names, item, err);
}

static void on_listed(void *arg, int rc, const struct error *error)
{
	struct listed *listed = arg;

	listed->done = true;
	listed->rc = rc;
	listed->error = error != NULL ? xstrdup(error_message(error)) : NULL;
}

static void list_beside(size_t max, struct listed *ret)
{
	struct error *err = NULL;

	*ret = (struct listed){0};
	kube_server_play(&server, pages, ELEMENTS(pages));
	kube_custom_list_start(&kube, SERVERS, max, 5 * NS_PER_S, take_listed, on_listed, ret);
	assert_false(ret->done);
	assert_ok(loop_run_until(kube.loop, &ret->done, clock_monotonic() + 10 * NS_PER_S, &err), err);
}

static void test_pages_beside(void **state)
{
	struct listed listed;

	(void)state;
	list_beside(3, &listed);
	assert_int_equal(listed.rc, 0);
	assert_null(listed.error);
	assert_int_equal(listed.names.count, 3);
	assert_string_equal(server.seen[1].path, SERVERS "?limit=16&continue=more");
	strings_free(&listed.names);
	list_beside(2, &listed);
	assert_int_equal(listed.rc, -ERROR_LIMIT);
	assert_string_equal(listed.error, "more than 2 objects");
	strings_free(&listed.names);
	free(listed.error);
	kube_server_play(&server, pages, ELEMENTS(pages));
	listed = (struct listed){0};
	kube_custom_list_cancel(kube_custom_list_start(&kube, SERVERS, 3, NS_PER_S, take_listed, on_listed, &listed));
	kube_custom_list_cancel(NULL);
	assert_false(listed.done);
}

static void test_bad_pages(void **state)
{
	static const struct served_answer nameless = {
		.status = 200, .body = "{\"metadata\":{\"resourceVersion\":\"7\"},\"items\":[{}]}"};
	static const struct served_answer no_list = {.status = 200, .body = "{\"metadata\":{},\"items\":[]}"};
	static const struct served_answer unserved = {
		.status = 404, .type = "text/plain", .body = "404 page not found\n"};
	_cleanup_strings_ names = {0};
	struct error *err = NULL;
	int rc;

	(void)state;
	kube_server_play(&server, &nameless, 1);
	rc = kube_custom_list(&kube, SERVERS, 9, take, &names, NULL, &err);
	assert_error(rc, err, ERROR_INPUT, "list " SERVERS ": an object without a name");
	kube_server_play(&server, &no_list, 1);
	rc = kube_custom_list(&kube, SERVERS, 9, take, &names, NULL, &err);
	assert_error(rc, err, ERROR_PROTOCOL, "list " SERVERS ": the answer is no list");
	kube_server_play(&server, &unserved, 1);
	rc = kube_custom_list(&kube, SERVERS, 9, take, &names, NULL, &err);
	assert_string_equal(error_hint(err), HINT);
	assert_error(rc, err, ERROR_NOT_FOUND, "GET keyservers: 404: 404 page not found");
}

static void test_spec_patch(void **state)
{
	_cleanup_free_ char *patch = kube_custom_spec_patch("47\"11", "{\"paused\":true}");

	(void)state;
	assert_string_equal(patch, "{\"metadata\":{\"resourceVersion\":\"47\\\"11\"},\"spec\":{\"paused\":true}}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_from_the_loop), cmocka_unit_test(test_pages),
		cmocka_unit_test(test_pages_beside),  cmocka_unit_test(test_bad_pages),
		cmocka_unit_test(test_spec_patch),
	};
	int failed;

	kube = kube_server_open(&server);
	failed = RUN_ROWS(test_request, rows) + RUN_ROWS(test_refused, refusals);
	failed += cmocka_run_group_tests(tests, NULL, NULL);
	kube_server_close(&server, &kube);
	return failed;
}
