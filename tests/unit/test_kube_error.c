#include "test_support.h"
#include "kube_bytes.h"
#include "base/clock.h"
#include "base/json_read.h"
#include "client/kube/kube_internal.h"

static int error_of(unsigned status, const char *type, const char *body, struct error **err)
{
	return kube_error("list secrets", status, type, body, strlen(body), err);
}

struct row {
	const char *name;
	unsigned status;
	const char *type, *body;
	enum error_code code;
	const char *message;
};
static const struct row rows[] = {
	{"unauthorized", 401, "application/json",
	 "{\"kind\":\"Status\",\"reason\":\"Unauthorized\",\"message\":\"Unauthorized\"}", ERROR_AUTH,
	 "list secrets: 401 Unauthorized: Unauthorized"},
	{"forbidden", 403, "application/json",
	 "{\"kind\":\"Status\",\"reason\":\"Forbidden\",\"message\":\"secrets is forbidden: User \\\"x\\\" cannot "
	 "list\"}",
	 ERROR_AUTH, "list secrets: 403 Forbidden: secrets is forbidden: User \"x\" cannot list"},
	{"not found", 404, "application/json", "{\"kind\":\"Status\",\"reason\":\"NotFound\",\"message\":\"gone\"}",
	 ERROR_NOT_FOUND, "list secrets: 404 NotFound: gone"},
	{"not found by a proxy", 404, "text/plain", "404 page not found\n", ERROR_NOT_FOUND,
	 "list secrets: 404: 404 page not found"},
	{"conflict", 409, "application/json", "{\"kind\":\"Status\",\"reason\":\"Conflict\",\"message\":\"modified\"}",
	 ERROR_CONFLICT, "list secrets: 409 Conflict: modified"},
	{"expired", 410, "application/json", "{\"kind\":\"Status\",\"reason\":\"Expired\",\"message\":\"too old\"}",
	 ERROR_EXPIRED, "list secrets: 410 Expired: too old"},
	{"invalid", 422, "application/json", "{\"kind\":\"Status\",\"reason\":\"Invalid\",\"message\":\"bad\"}",
	 ERROR_INPUT, "list secrets: 422 Invalid: bad"},
	{"not acceptable", 406, "application/json", "{\"kind\":\"Status\",\"message\":\"no\"}", ERROR_INPUT,
	 "list secrets: 406: no"},
	{"too many requests, in plain text", 429, "text/plain; charset=utf-8",
	 "Too many requests, please try again later.\n", ERROR_BUSY,
	 "list secrets: 429: Too many requests, please try again later."},
	{"internal", 500, "application/json", "{\"kind\":\"Status\",\"reason\":\"InternalError\",\"message\":\"boom\"}",
	 ERROR_BUSY, "list secrets: 500 InternalError: boom"},
	{"a proxy's page", 502, "text/html", "\r\n<html>\r\n<head>", ERROR_BUSY, "list secrets: 502: <html>"},
	{"nothing said", 503, "", "", ERROR_BUSY, "list secrets: 503"},
	{"a redirect", 302, "text/html", "", ERROR_PROTOCOL, "list secrets: 302"},
	{"a login page", 200, "text/html", "<html>", ERROR_PROTOCOL,
	 "list secrets: 200 with content type \"text/html\", which is not what an API server sends"},
	{"no content type", 200, "", "<html>", ERROR_PROTOCOL,
	 "list secrets: 200 with content type \"\", which is not what an API server sends"},
	{"JSON that is no Status", 500, "application/json", "{\"kind\":\"Pod\"}", ERROR_BUSY,
	 "list secrets: 500: {\"kind\":\"Pod\"}"},
	{"half a Status", 500, "application/json", "{\"kind\":\"Stat", ERROR_BUSY,
	 "list secrets: 500: {\"kind\":\"Stat"},
	{"words that steer", 500, "text/plain", "a\033[2Jb\xff", ERROR_BUSY, "list secrets: 500: a?[2Jb?"},
	{"words that steer in a Status", 500, "application/json",
	 "{\"kind\":\"Status\",\"reason\":\"R\\u001b\",\"message\":\"a\\u001b[2J\\nb\"}", ERROR_BUSY,
	 "list secrets: 500 R?: a?[2J?b"},
};

static void test_row(void **state)
{
	const struct row *row = *state;
	struct error *err = NULL;
	int rc = error_of(row->status, row->type, row->body, &err);

	assert_error(rc, err, row->code, row->message);
	assert_int_equal(error_of(row->status, row->type, row->body, NULL), -(int)row->code);
}

static void test_long_words(void **state)
{
	char body[4096];
	struct error *err = NULL;

	(void)state;
	memset(body, 'x', sizeof(body) - 1);
	body[sizeof(body) - 1] = '\0';
	assert_int_equal(error_of(500, "text/plain", body, &err), -ERROR_BUSY);
	assert_true(strlen(error_message(err)) < 600);
	assert_true(text_ends(error_message(err), "..."));
	error_free(err);
}

static void test_protobuf(void **state)
{
	_cleanup_buf_ body = status_bytes("Expired", "too old", "next-token", 7);
	struct kube_status status = {0};
	struct error *err = NULL;
	int rc = kube_error("list secrets", 410, "application/vnd.kubernetes.protobuf", body.data, body.len, &err);

	(void)state;
	assert_error(rc, err, ERROR_EXPIRED, "list secrets: 410 Expired: too old");
	assert_true(kube_status_parse(body.data, body.len, &status));
	assert_string_equal(status.continue_token, "next-token");
	assert_int_equal(status.retry_after, 7);
	kube_status_free(&status);
	/* Cut anywhere before the two empty fields at its end, it is no Status, and no text either. */
	for (size_t len = 0; len < body.len - 4; len++) {
		_cleanup_free_ uint8_t *cut = xmemdup(body.data, len);

		assert_false(kube_status_parse(cut, len, &status));
		rc = kube_error("list secrets", 500, "", cut, len, &err);
		if (len >= 4)
			assert_error(rc, err, ERROR_BUSY, "list secrets: 500");
		error_clear(&err);
	}
}

static void test_protobuf_of_another_kind(void **state)
{
	_cleanup_buf_ body = envelope("v1", "Secret", object_bytes("a", "b", "c", "1", NULL));
	struct kube_status status = {0};

	(void)state;
	assert_false(kube_status_parse(body.data, body.len, &status));
}

static void test_reinitializing(void **state)
{
	static const char json[] = "{\"kind\":\"Status\",\"message\":\"storage is (re)initializing\",\"code\":429}";
	_cleanup_buf_ body = status_bytes("TooManyRequests", "storage is (re)initializing", "", 1);

	(void)state;
	assert_true(kube_is_reinitializing(429, json, strlen(json)));
	assert_true(kube_is_reinitializing(429, body.data, body.len));
	assert_false(kube_is_reinitializing(500, json, strlen(json)));
	assert_false(kube_is_reinitializing(429, "Too many requests", 17));
	assert_false(kube_is_reinitializing(429, NULL, 0));
}

static void test_content_type(void **state)
{
	(void)state;
	assert_true(kube_content_is("application/json", "application/json"));
	assert_true(kube_content_is("application/json;g=apidiscovery.k8s.io", "application/json"));
	assert_true(kube_content_is("text/plain; charset=utf-8", "text/plain"));
	assert_false(kube_content_is("application/jsonp", "application/json"));
	assert_false(kube_content_is("application/jso", "application/json"));
	assert_false(kube_content_is("", "application/json"));
}

/* What a call learns beside its error. */
static void test_judge(void **state)
{
	_cleanup_buf_ status = status_bytes("Expired", "too old", "inconsistent", 3);
	struct kube kube = {.name = "cp-1"};
	struct http_result result = {.status = 410, .content_type = KUBE_PROTOBUF, .body = &status};
	struct kube_outcome outcome;
	struct error *err = NULL;

	(void)state;
	assert_int_equal(kube_judge(&kube, "list secrets", "secrets", KUBE_PROTOBUF, &result, &outcome, &err),
			 -ERROR_EXPIRED);
	assert_string_equal(error_server(err), "cp-1");
	assert_string_equal(error_object(err), "secrets");
	assert_string_equal(outcome.continue_token, "inconsistent");
	assert_int_equal(outcome.retry_after, 3 * NS_PER_S);
	error_clear(&err);
	kube_outcome_free(&outcome);
	result.retry_after = NS_PER_S; /* the header is nearer */
	assert_int_equal(kube_judge(&kube, "list secrets", "secrets", KUBE_PROTOBUF, &result, &outcome, NULL),
			 -ERROR_EXPIRED);
	assert_int_equal(outcome.retry_after, NS_PER_S);
	kube_outcome_free(&outcome);
	/* A refusal that was too long to keep is a refusal all the same. */
	result = (struct http_result){
		.status = 422, .content_type = "application/json", .rc = -ERROR_LIMIT, .body = &(struct buf){0}};
	assert_int_equal(kube_judge(&kube, "x", "y", KUBE_PROTOBUF, &result, &outcome, NULL), -ERROR_INPUT);
	kube_outcome_free(&outcome);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_long_words),
		cmocka_unit_test(test_protobuf),
		cmocka_unit_test(test_protobuf_of_another_kind),
		cmocka_unit_test(test_reinitializing),
		cmocka_unit_test(test_content_type),
		cmocka_unit_test(test_judge),
	};

	json_install_hooks();
	return RUN_ROWS(test_row, rows) + cmocka_run_group_tests(tests, NULL, NULL);
}
