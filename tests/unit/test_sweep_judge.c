#include "test_support.h"
#include "engine/sweep_internal.h"

struct row {
	const char *name;
	int rc;
	unsigned status;
	bool sent;
	const char *message;
	bool just_back;
	enum sweep_verdict verdict;
};

static const struct row rows[] = {
	{"success", 0, 200, true, "", false, SWEEP_DONE},
	{"created: an event that had gone", 0, 201, true, "", false, SWEEP_DONE},
	{"refused connection", -ERROR_NETWORK, 0, false, "x: connection refused", false, SWEEP_AWAY},
	{"reset after the request", -ERROR_NETWORK, 0, true, "x: reset", false, SWEEP_AWAY},
	{"half an answer", -ERROR_NETWORK, 200, true, "x: transfer closed", false, SWEEP_AWAY},
	{"wrong content type", -ERROR_PROTOCOL, 200, true, "x: 200 with content type", false, SWEEP_FAULT},
	{"certificate refused", -ERROR_AUTH, 0, false, "x: certificate expired", false, SWEEP_FATAL},
	{"401", -ERROR_AUTH, 401, true, "x: 401 Unauthorized", false, SWEEP_FATAL},
	{"403 is of one object", -ERROR_AUTH, 403, true, "x: 403 Forbidden: no", false, SWEEP_REFUSED},
	{"401 of a server that was away moments ago", -ERROR_AUTH, 401, true, "x: 401 Unauthorized", true, SWEEP_AWAY},
	{"403 of a server that was away moments ago", -ERROR_AUTH, 403, true, "x: 403 Forbidden: no", true, SWEEP_AWAY},
	{"a webhook denies with 403 whenever it does", -ERROR_AUTH, 403, true,
	 "x: 403 Forbidden: admission webhook \"a.b\" denied the request: no", true, SWEEP_REFUSED},
	{"certificate refused, moments after", -ERROR_AUTH, 0, false, "x: certificate expired", true, SWEEP_FATAL},
	{"404 of a server that was away moments ago", -ERROR_NOT_FOUND, 404, true, "x: 404 NotFound: no", true,
	 SWEEP_GONE},
	{"400", -ERROR_INPUT, 400, true, "x: 400 BadRequest: no", false, SWEEP_REFUSED},
	{"404", -ERROR_NOT_FOUND, 404, true, "x: 404 NotFound: no", false, SWEEP_GONE},
	{"404 of the namespace: whether the object is there is not said", -ERROR_NOT_FOUND, 404, true,
	 "x: 404 NotFound: namespaces \"a\" not found", false, SWEEP_FAULT},
	{"404 of a namespace that was read", -ERROR_NOT_FOUND, 404, false,
	 "x: 404 NotFound: namespaces \"a\" not found", false, SWEEP_GONE},
	{"405", -ERROR_INPUT, 405, true, "x: 405 MethodNotAllowed: no", false, SWEEP_REFUSED},
	{"409", -ERROR_CONFLICT, 409, true, "x: 409 Conflict: changed", false, SWEEP_CONFLICT},
	{"413", -ERROR_INPUT, 413, true, "x: 413 RequestEntityTooLarge: too large", false, SWEEP_REFUSED},
	{"422", -ERROR_INPUT, 422, true, "x: 422 Invalid: data: bad", false, SWEEP_REFUSED},
	{"429 is load", -ERROR_BUSY, 429, true, "x: 429: Too many requests", false, SWEEP_LOAD},
	{"500", -ERROR_BUSY, 500, true, "x: 500 InternalError: boom", false, SWEEP_ERROR},
	{"500 of etcd", -ERROR_BUSY, 500, true, "x: 500: etcdserver: request timed out", false, SWEEP_AWAY},
	{"500 of one object of etcd", -ERROR_BUSY, 500, true, "x: 500: etcdserver: request is too large", false,
	 SWEEP_FAULT},
	{"503", -ERROR_BUSY, 503, true, "x: 503 ServiceUnavailable: shutting down", false, SWEEP_AWAY},
	{"504", -ERROR_BUSY, 504, true, "x: 504 Timeout: not within the allotted duration", false, SWEEP_AWAY},
	{"webhook denies with 403", -ERROR_AUTH, 403, true,
	 "x: 403 Forbidden: admission webhook \"a.b\" denied the request: no", false, SWEEP_REFUSED},
	{"webhook denies with 500", -ERROR_BUSY, 500, true, "x: 500: admission webhook \"a.b\" denied the request: no",
	 false, SWEEP_REFUSED},
	{"webhook denies with 429", -ERROR_BUSY, 429, true, "x: 429: admission webhook \"a.b\" denied the request: no",
	 false, SWEEP_REFUSED},
	{"webhook does not answer", -ERROR_BUSY, 500, true,
	 "x: 500 InternalError: Internal error occurred: failed calling webhook \"a.b\": failed to call webhook: "
	 "timeout",
	 false, SWEEP_FAULT},
	{"value under a key that is not there", -ERROR_BUSY, 500, true,
	 "x: 500 InternalError: Internal error occurred: no matching key was found for the provided AES transformer",
	 false, SWEEP_FAULT},
	{"the KMS plugin is down: of everything", -ERROR_BUSY, 500, true, "x: 500 InternalError: failed to decrypt DEK",
	 false, SWEEP_ERROR},
};

static void test_row(void **state)
{
	const struct row *row = *state;
	struct sweep_answer answer = {row->rc, row->status, row->sent, row->message, row->just_back};

	assert_int_equal(sweep_judge(&answer), row->verdict);
}

static void test_words(void **state)
{
	(void)state;
	assert_string_equal(sweep_words("update secrets a/b: 422 Invalid: data: bad"), "422 Invalid: data: bad");
	assert_string_equal(sweep_words("nothing to cut"), "nothing to cut");
	assert_string_equal(sweep_words("cut off: "), "cut off: ");
	assert_string_equal(sweep_words(""), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL) + RUN_ROWS(test_row, rows);
}
