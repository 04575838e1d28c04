/* Lists, writes and reads of objects, and the JSON questions, against a server that answers as told. */
#include "kube_server.h"
#include "kube_bytes.h"
#include "base/clock.h"
#include "client/kube/kube_internal.h"

static struct loop *loop;
static struct kube_server server;
static struct kube kube;
static char group[] = "", version[] = "v1", plural[] = "secrets", kind[] = "Secret";
static const struct kube_resource secrets = {.group = group,
					     .version = version,
					     .plural = plural,
					     .kind = kind,
					     .api_version = version,
					     .resource = plural,
					     .namespaced = true};

#define PLAY(...)                                      \
	struct served_answer script[] = {__VA_ARGS__}; \
	kube_server_play(&server, script, ELEMENTS(script))

static struct served_answer protobuf(const struct buf *body)
{
	return (struct served_answer){.status = 200, .type = KUBE_PROTOBUF, .body = body->data, .len = body->len};
}

/* --- lists ------------------------------------------------------------------------------------------------------ */

struct listing {
	struct strings names;
	bool done, full;
	int rc;
	struct error *error;
	char *continue_token, *version;
	uint64_t remaining, retry_after, asked;
	bool reinitializing;
	size_t with_object;
};

static int on_item(void *arg, struct kube_list_item *item)
{
	struct listing *listing = arg;

	strings_add(&listing->names, item->name);
	if (item->object != NULL)
		listing->with_object++;
	return 0;
}

static void on_listed(void *arg, struct kube_list_result *result)
{
	struct listing *listing = arg;

	listing->done = true;
	listing->rc = result->rc;
	listing->error = steal(result->error);
	listing->continue_token = xstrdup(result->continue_token);
	listing->version = xstrdup(result->resource_version);
	listing->remaining = result->remaining;
	listing->retry_after = result->retry_after;
	listing->reinitializing = result->reinitializing;
}

static bool is_full(void *arg)
{
	struct listing *listing = arg;

	listing->asked++;
	return listing->full;
}

static struct kube_list_options options_for(struct listing *listing)
{
	return (struct kube_list_options){.resource = &secrets,
					  .namespace_ = "team-a",
					  .item_cap = 1 << 20,
					  .on_item = on_item,
					  .on_done = on_listed,
					  .is_full = is_full,
					  .arg = listing};
}

static void wait_for(const bool *done)
{
	struct error *err = NULL;

	assert_ok(loop_run_until(loop, done, clock_monotonic() + 10 * NS_PER_S, &err), err);
}

static void list(struct kube_list_options options)
{
	struct listing *listing = options.arg;

	kube_list_start(&kube, &options);
	wait_for(&listing->done);
}

static void listing_free(struct listing *listing)
{
	strings_free(&listing->names);
	error_free(listing->error);
	free(listing->continue_token);
	free(listing->version);
}

static void test_list(void **state)
{
	static const char *const names[] = {"a", "b", "c"};
	_cleanup_buf_ body = list_bytes("SecretList", names, 3, "more/to=come", "data");
	struct listing listing = {0};
	struct kube_list_options options = options_for(&listing);

	(void)state;
	PLAY(protobuf(&body));
	options.limit = 3;
	options.continue_token = "from/here=";
	options.resource_version = "12";
	options.resource_version_match = "Exact";
	list(options);
	assert_ok(listing.rc, listing.error);
	assert_string_equal(server.seen[0].path,
			    "/api/v1/namespaces/team-a/"
			    "secrets?limit=3&continue=from%2Fhere%3D&resourceVersion=12&resourceVersionMatch=Exact");
	assert_non_null(strstr(server.seen[0].headers, "Accept: " KUBE_PROTOBUF "\r\n"));
	assert_int_equal(listing.names.count, 3);
	assert_int_equal(listing.with_object, 3);
	assert_string_equal(listing.continue_token, "more/to=come");
	assert_string_equal(listing.version, "4711");
	assert_int_equal(listing.remaining, 12);
	listing_free(&listing);
}

static void test_list_metadata(void **state)
{
	static const char *const names[] = {"a", "b"};
	_cleanup_buf_ body = list_bytes("PartialObjectMetadataList", names, 2, "", NULL);
	struct listing listing = {0};
	struct kube_list_options options = options_for(&listing);

	(void)state;
	PLAY(protobuf(&body));
	options.metadata_only = true;
	options.namespace_ = NULL;
	list(options);
	assert_ok(listing.rc, listing.error);
	assert_string_equal(server.seen[0].path, "/api/v1/secrets");
	assert_non_null(strstr(server.seen[0].headers, "Accept: " KUBE_PARTIAL_LIST "\r\n"));
	assert_int_equal(listing.names.count, 2);
	assert_int_equal(listing.with_object, 0);
	listing_free(&listing);
}

/* A body of more than one piece waits while the owner is full. */
static void test_list_pauses(void **state)
{
	static char data[100000];
	static const char *const names[] = {"a", "b", "c", "d"};
	struct listing listing = {.full = true};
	struct kube_list_options options = options_for(&listing);
	struct kube_list_call *call;
	bool never = false;

	(void)state;
	memset(data, 'x', sizeof(data) - 1);
	_cleanup_buf_ body = list_bytes("SecretList", names, 4, "", data);
	PLAY(protobuf(&body));
	call = kube_list_start(&kube, &options);
	assert_int_equal(loop_run_until(loop, &never, clock_monotonic() + 200 * NS_PER_MS, NULL), -ERROR_DEADLINE);
	assert_int_equal(listing.names.count, 0);
	assert_false(listing.done);
	listing.full = false;
	kube_list_resume(call);
	wait_for(&listing.done);
	assert_ok(listing.rc, listing.error);
	assert_int_equal(listing.names.count, 4);
	listing_free(&listing);
}

static void test_list_cancelled(void **state)
{
	static const char *const names[] = {"a"};
	_cleanup_buf_ body = list_bytes("SecretList", names, 1, "", NULL);
	struct listing listing = {.full = true};
	struct kube_list_options options = options_for(&listing);
	struct kube_list_call *call;
	bool never = false;

	(void)state;
	PLAY(protobuf(&body));
	call = kube_list_start(&kube, &options);
	(void)!loop_run_until(loop, &never, clock_monotonic() + 50 * NS_PER_MS, NULL);
	kube_list_cancel(call);
	kube_list_cancel(NULL);
	assert_false(listing.done);
	listing_free(&listing);
}

struct bad_list {
	const char *name;
	struct served_answer answer;
	int rc;
	const char *message, *continue_token;
	uint64_t retry_after;
	bool reinitializing;
};
static const struct bad_list bad_lists[] = {
	{"JSON",
	 {.status = 200, .body = "{\"kind\":\"SecretList\",\"items\":[]}"},
	 -ERROR_PROTOCOL,
	 "list secrets in team-a: 200 with content type \"application/json\", which is not what an API server sends",
	 "",
	 0,
	 false},
	{"a login page",
	 {.status = 200, .type = "text/html", .body = "<html>"},
	 -ERROR_PROTOCOL,
	 "list secrets in team-a: 200 with content type \"text/html\", which is not what an API server sends",
	 "",
	 0,
	 false},
	{"nothing",
	 {.status = 200, .type = KUBE_PROTOBUF},
	 -ERROR_PROTOCOL,
	 "list secrets in team-a: the answer is no whole list in protobuf",
	 "",
	 0,
	 false},
	{"expired",
	 {.status = 410,
	  .body = "{\"kind\":\"Status\",\"reason\":\"Expired\",\"message\":\"old\",\"metadata\":{\"continue\":\"on\"}"
		  "}"},
	 -ERROR_EXPIRED,
	 "list secrets in team-a: 410 Expired: old",
	 "on",
	 0,
	 false},
	{"expired without a token",
	 {.status = 410, .body = "{\"kind\":\"Status\",\"reason\":\"Expired\",\"message\":\"old\"}"},
	 -ERROR_EXPIRED,
	 "list secrets in team-a: 410 Expired: old",
	 "",
	 0,
	 false},
	{"load",
	 {.status = 429, .type = "text/plain", .body = "Too many requests", .headers = "Retry-After: 3\r\n"},
	 -ERROR_BUSY,
	 "list secrets in team-a: 429: Too many requests",
	 "",
	 3 * NS_PER_S,
	 false},
	{"an unreadable value",
	 {.status = 429,
	  .body = "{\"kind\":\"Status\",\"message\":\"storage is "
		  "(re)initializing\",\"details\":{\"retryAfterSeconds\":1}}"},
	 -ERROR_BUSY,
	 "list secrets in team-a: 429: storage is (re)initializing",
	 "",
	 NS_PER_S,
	 true},
	{"forbidden",
	 {.status = 403, .body = "{\"kind\":\"Status\",\"reason\":\"Forbidden\",\"message\":\"no\"}"},
	 -ERROR_AUTH,
	 "list secrets in team-a: 403 Forbidden: no",
	 "",
	 0,
	 false},
};

static void test_bad_list(void **state)
{
	const struct bad_list *row = *state;
	struct listing listing = {0};

	kube_server_play(&server, &row->answer, 1);
	list(options_for(&listing));
	assert_int_equal(listing.rc, row->rc);
	assert_string_equal(error_message(listing.error), row->message);
	assert_string_equal(error_server(listing.error), "cp-1");
	assert_string_equal(error_object(listing.error), "secrets in team-a");
	assert_string_equal(listing.continue_token, row->continue_token);
	assert_int_equal(listing.retry_after, row->retry_after);
	assert_int_equal(listing.reinitializing, row->reinitializing);
	listing_free(&listing);
}

/* However much of a page is missing, it is not a page. */
static void test_cut_list(void **state)
{
	static const char *const names[] = {"a", "b"};
	_cleanup_buf_ body = list_bytes("SecretList", names, 2, "", NULL);

	(void)state;
	for (size_t cut = 1; cut <= body.len; cut += 3) {
		struct served_answer answer = protobuf(&body);
		struct listing listing = {0};

		answer.cut = cut;
		kube_server_play(&server, &answer, 1);
		list(options_for(&listing));
		assert_int_equal(listing.rc, -ERROR_NETWORK);
		listing_free(&listing);
	}
	/* Nor when HTTP itself says that it is whole. */
	for (size_t len = 1; len < body.len - 4; len += 3) {
		struct served_answer answer = protobuf(&body);
		struct listing listing = {0};

		answer.len = len;
		kube_server_play(&server, &answer, 1);
		list(options_for(&listing));
		assert_int_equal(listing.rc, -ERROR_PROTOCOL);
		listing_free(&listing);
	}
}

static int refuse_item(void *arg, struct kube_list_item *item)
{
	(void)arg;
	(void)item;
	return -ERROR_LIMIT;
}

static void test_list_stopped_by_its_owner(void **state)
{
	static const char *const names[] = {"a"};
	_cleanup_buf_ body = list_bytes("SecretList", names, 1, "", NULL);
	struct listing listing = {0};
	struct kube_list_options options = options_for(&listing);

	(void)state;
	PLAY(protobuf(&body));
	options.on_item = refuse_item;
	list(options);
	assert_int_equal(listing.rc, -ERROR_LIMIT);
	listing_free(&listing);
}

static void test_list_fetch(void **state)
{
	static const char *const names[] = {"a"};
	_cleanup_buf_ body = list_bytes("SecretList", names, 1, "next", NULL);
	_cleanup_free_ char *token = NULL, *seen_version = NULL;
	struct listing listing = {0};
	struct kube_list_options options = options_for(&listing);
	struct error *err = NULL;
	uint64_t remaining = 0;

	(void)state;
	PLAY(protobuf(&body));
	assert_ok(kube_list_fetch(&kube, &options, &token, &seen_version, &remaining, &err), err);
	assert_string_equal(token, "next");
	assert_string_equal(seen_version, "4711");
	assert_int_equal(remaining, 12);
	assert_int_equal(listing.names.count, 1);
	kube_server_play(&server, &bad_lists[3].answer, 1);
	free(steal(token));
	assert_int_equal(kube_list_fetch(&kube, &options, &token, NULL, NULL, NULL), -ERROR_EXPIRED);
	assert_string_equal(token, "on");
	listing_free(&listing);
}

/* --- writes ----------------------------------------------------------------------------------------------------- */

struct written {
	bool done;
	int rc;
	struct error *error;
	struct kube_write_result result;
	char *version;
};

static void on_written(void *arg, struct kube_write_result *result)
{
	struct written *written = arg;

	*written = (struct written){.done = true, .rc = result->rc, .error = steal(result->error), .result = *result};
	written->version = xstrdup(result->resource_version);
}

static void written_free(struct written *written)
{
	error_free(written->error);
	free(written->version);
}

static struct buf partial(const char *resource_version)
{
	return envelope("meta.k8s.io/v1", "PartialObjectMetadata",
			object_bytes("team-a", "db", "u-db", resource_version, NULL));
}

static void test_put(void **state)
{
	_cleanup_buf_ reply = partial("99"), object = object_bytes("team-a", "db", "u-db", "7", "value");
	_cleanup_secret_ bytes = secret_from(object.data, object.len);
	_cleanup_buf_ expected = BUF_INIT(4096);
	struct served_answer late = protobuf(&reply);
	struct written written = {0};

	(void)state;
	late.delay_ms = 5; /* or it took no time at all */
	PLAY(late);
	kube_put_start(&kube, &secrets, "team-a", "db", bytes, 0, on_written, &written);
	wait_for(&written.done);
	assert_ok(written.rc, written.error);
	assert_string_equal(written.version, "99");
	assert_true(written.result.elapsed > 0);
	assert_string_equal(server.seen[0].method, "PUT");
	assert_string_equal(server.seen[0].path, "/api/v1/namespaces/team-a/secrets/db");
	assert_non_null(strstr(server.seen[0].headers, "Accept: " KUBE_PARTIAL_OBJECT "\r\n"));
	assert_non_null(strstr(server.seen[0].headers, "Content-Type: " KUBE_PROTOBUF "\r\n"));
	assert_int_equal(kube_object_head(&expected, "v1", "Secret", object.len), 0);
	assert_int_equal(buf_append(&expected, object.data, object.len), 0);
	assert_int_equal(server.seen[0].body_len, expected.len);
	assert_memory_equal(server.seen[0].body, expected.data, expected.len);
	written_free(&written);
}

static void test_patch(void **state)
{
	_cleanup_buf_ reply = partial("7");
	struct written written = {0};

	(void)state;
	PLAY(protobuf(&reply));
	kube_patch_start(&kube, &secrets, "team-a", "db", "u-db", "7", NULL, 0, on_written, &written);
	wait_for(&written.done);
	assert_ok(written.rc, written.error);
	assert_string_equal(server.seen[0].method, "PATCH");
	assert_non_null(strstr(server.seen[0].headers, "Content-Type: application/merge-patch+json\r\n"));
	assert_string_equal(server.seen[0].body, "{\"metadata\":{\"uid\":\"u-db\",\"resourceVersion\":\"7\"}}");
	written_free(&written);
}

struct bad_write {
	const char *name;
	struct served_answer answer;
	int rc;
	const char *message;
};
static const struct bad_write bad_writes[] = {
	{"conflict",
	 {.status = 409, .body = "{\"kind\":\"Status\",\"reason\":\"Conflict\",\"message\":\"changed\"}"},
	 -ERROR_CONFLICT,
	 "update secrets team-a/db: 409 Conflict: changed"},
	{"gone",
	 {.status = 404, .body = "{\"kind\":\"Status\",\"reason\":\"NotFound\",\"message\":\"gone\"}"},
	 -ERROR_NOT_FOUND,
	 "update secrets team-a/db: 404 NotFound: gone"},
	{"a webhook",
	 {.status = 400,
	  .body = "{\"kind\":\"Status\",\"message\":\"admission webhook \\\"p\\\" denied the request: no\"}"},
	 -ERROR_INPUT,
	 "update secrets team-a/db: 400: admission webhook \"p\" denied the request: no"},
	{"not the type asked for",
	 {.status = 200, .body = "{\"metadata\":{\"resourceVersion\":\"8\"}}"},
	 -ERROR_PROTOCOL,
	 "update secrets team-a/db: 200 with content type \"application/json\", which is not what an API server sends"},
	{"an empty success",
	 {.status = 200, .type = KUBE_PROTOBUF},
	 -ERROR_PROTOCOL,
	 "update secrets team-a/db: the answer is no whole object in protobuf"},
};

static void test_bad_write(void **state)
{
	const struct bad_write *row = *state;
	_cleanup_secret_ bytes = secret_from("x", 1);
	struct written written = {0};

	kube_server_play(&server, &row->answer, 1);
	kube_put_start(&kube, &secrets, "team-a", "db", bytes, 0, on_written, &written);
	wait_for(&written.done);
	assert_int_equal(written.rc, row->rc);
	assert_string_equal(error_message(written.error), row->message);
	assert_string_equal(error_object(written.error), "secrets team-a/db");
	written_free(&written);
}

/* The server has it, the answer is lost: nobody knows. */
static void test_outcome_unknown(void **state)
{
	static const struct served_answer lost = {.drop = true};
	_cleanup_buf_ reply = partial("99");
	_cleanup_secret_ bytes = secret_from("x", 1);
	struct written written = {0};

	(void)state;
	kube_server_play(&server, &lost, 1);
	kube_put_start(&kube, &secrets, "team-a", "db", bytes, 0, on_written, &written);
	wait_for(&written.done);
	assert_int_equal(written.rc, -ERROR_NETWORK);
	assert_true(written.result.sent);
	written_free(&written);
	for (size_t cut = 1; cut < reply.len; cut += 7) {
		struct served_answer answer = protobuf(&reply);

		answer.cut = cut;
		kube_server_play(&server, &answer, 1);
		kube_put_start(&kube, &secrets, "team-a", "db", bytes, 0, on_written, &written);
		written.done = false;
		wait_for(&written.done);
		assert_int_equal(written.rc, -ERROR_NETWORK);
		assert_true(written.result.sent);
		written_free(&written);
	}
}

/* --- reads ------------------------------------------------------------------------------------------------------ */

struct got {
	bool done;
	int rc;
	struct error *error;
	struct secret *object;
	char *uid, *version;
};

static void on_got(void *arg, struct kube_read_result *result)
{
	struct got *got = arg;

	*got = (struct got){.done = true,
			    .rc = result->rc,
			    .error = steal(result->error),
			    .object = steal(result->object),
			    .uid = xstrdup(result->uid),
			    .version = xstrdup(result->resource_version)};
}

static void got_free(struct got *got)
{
	error_free(got->error);
	secret_free(got->object);
	free(got->uid);
	free(got->version);
}

static void test_read(void **state)
{
	_cleanup_buf_ object = object_bytes("team-a", "db", "u-db", "8", "value");
	_cleanup_buf_ body = envelope("v1", "Secret", object_bytes("team-a", "db", "u-db", "8", "value"));
	struct got got = {0};

	(void)state;
	PLAY(protobuf(&body));
	kube_read_start(&kube, &secrets, "team-a", "db", false, 0, on_got, &got);
	wait_for(&got.done);
	assert_ok(got.rc, got.error);
	assert_string_equal(server.seen[0].path, "/api/v1/namespaces/team-a/secrets/db"); /* no resourceVersion */
	assert_string_equal(got.uid, "u-db");
	assert_string_equal(got.version, "8");
	assert_int_equal(secret_len(got.object), object.len);
	assert_memory_equal(secret_data(got.object), object.data, object.len);
	got_free(&got);
}

static void test_read_of_another_kind(void **state)
{
	_cleanup_buf_ body = envelope("v1", "ConfigMap", object_bytes("team-a", "db", "u-db", "8", "value"));
	struct got got = {0};

	(void)state;
	PLAY(protobuf(&body));
	kube_read_start(&kube, &secrets, "team-a", "db", false, 0, on_got, &got);
	wait_for(&got.done);
	assert_int_equal(got.rc, -ERROR_PROTOCOL);
	assert_null(got.object);
	got_free(&got);
}

static void test_get_metadata(void **state)
{
	_cleanup_buf_ body = partial("123");
	_cleanup_free_ char *uid = NULL;
	struct error *err = NULL;
	uint64_t seen = 0;
	int rc;

	(void)state;
	PLAY(protobuf(&body),
	     {.status = 404, .body = "{\"kind\":\"Status\",\"reason\":\"NotFound\",\"message\":\"gone\"}"});
	assert_ok(kube_get_metadata(&kube, &secrets, "team-a", "db", &uid, &seen, &err), err);
	assert_string_equal(uid, "u-db");
	assert_int_equal(seen, 123);
	rc = kube_get_metadata(&kube, &secrets, "team-a", "db", NULL, NULL, &err);
	assert_error(rc, err, ERROR_NOT_FOUND, "get secrets team-a/db: 404 NotFound: gone");
}

/* Pieces of any size, and every cut. */
static void test_object_reader(void **state)
{
	_cleanup_buf_ body = envelope("v1", "Secret", object_bytes("team-a", "db", "u-db", "8", "value"));

	(void)state;
	for (size_t len = 0; len <= body.len; len++) {
		struct kube_object_reader *reader = kube_object_reader_new("Secret", true);
		int rc = 0;

		for (size_t i = 0; i < len && rc == 0; i++)
			rc = kube_object_feed(reader, body.data + i, 1);
		assert_int_equal(rc, 0);
		/* Before the two empty fields at the end of the envelope nothing is whole. */
		if (len < body.len - 4)
			assert_int_equal(kube_object_finish(reader), -ERROR_PROTOCOL);
		assert_true(len == body.len || kube_object_steal(reader) == NULL);
		kube_object_reader_free(reader);
	}
}

/* --- JSON questions --------------------------------------------------------------------------------------------- */

static void test_call(void **state)
{
	_cleanup_json_ answer = NULL;
	struct error *err = NULL;
	int rc;

	(void)state;
	PLAY({.status = 201, .body = "{\"a\":1}"}, {.status = 200, .body = "{\"a\":"},
	     {.status = 200, .type = "text/html", .body = "<html>"});
	assert_ok(kube_call(&kube, "POST", "/x", "{}", NULL, &answer, &err), err);
	assert_string_equal(server.seen[0].body, "{}");
	assert_non_null(strstr(server.seen[0].headers, "Content-Type: application/json\r\n"));
	assert_true(cJSON_IsNumber(json_at(answer, "a", NULL)));
	rc = kube_call(&kube, "GET", "/x", NULL, NULL, NULL, &err);
	assert_int_equal(rc, -ERROR_PROTOCOL);
	assert_true(text_starts(error_message(err), "GET /x: "));
	error_clear(&err);
	rc = kube_call(&kube, "GET", "/x", NULL, NULL, NULL, &err);
	assert_error(rc, err, ERROR_PROTOCOL,
		     "GET /x: 200 with content type \"text/html\", which is not what an API server sends");
	assert_int_equal(kube_call(&kube, "GET", "/x", NULL, NULL, NULL, NULL), -ERROR_PROTOCOL);
}

static void test_version(void **state)
{
	_cleanup_free_ char *seen = NULL;
	struct error *err = NULL;
	int rc;

	(void)state;
	PLAY({.status = 200, .body = "{\"gitVersion\":\"v1.36.3\"}"}, {.status = 200, .body = "{}"});
	assert_ok(kube_version(&kube, &seen, &err), err);
	assert_string_equal(seen, "v1.36.3");
	rc = kube_version(&kube, &seen, &err);
	assert_error(rc, err, ERROR_PROTOCOL, "GET /version: the answer has no gitVersion");
}

static void test_may(void **state)
{
	struct error *err = NULL;
	bool may = false;

	(void)state;
	PLAY({.status = 201, .body = "{\"status\":{\"allowed\":true}}"}, {.status = 201, .body = "{\"status\":{}}"});
	assert_ok(kube_may(&kube, "update", "", "secrets", "team-a", &may, &err), err);
	assert_true(may);
	assert_non_null(strstr(server.seen[0].body,
			       "\"resourceAttributes\":{\"verb\":\"update\",\"group\":\"\",\"resource\":\"secrets\","
			       "\"namespace\":\"team-a\"}"));
	assert_int_equal(kube_may(&kube, "update", "", "secrets", NULL, &may, NULL), -ERROR_PROTOCOL);
}

static void test_identities(void **state)
{
	struct kube_identities found = {0};
	struct error *err = NULL;

	(void)state;
	PLAY({.status = 200,
	      .body = "{\"metadata\":{},\"items\":[{\"metadata\":{\"name\":\"apiserver-x\",\"uid\":\"u\","
		      "\"resourceVersion\":\"5\",\"labels\":{"
		      "\"kubernetes.io/hostname\":\"cp-1\"},\"annotations\":{\"kubernetes.io/"
		      "peer-advertise-address\":\"10.0.0.1:6443\"}},"
		      "\"spec\":{\"holderIdentity\":\"apiserver-x_1\",\"renewTime\":\"1970-01-01T00:00:07.000000Z\"}}]"
		      "}"},
	     {.status = 200, .body = "{\"metadata\":{\"continue\":\"x\"},\"items\":[]}"},
	     {.status = 200, .body = "{\"metadata\":{},\"items\":[{\"metadata\":{\"name\":\"a\"}}]}"},
	     {.status = 200, .body = "{}"});
	assert_ok(kube_identities_fetch(&kube, &found, &err), err);
	assert_int_equal(found.count, 1);
	assert_string_equal(found.items[0].lease_name, "apiserver-x");
	assert_string_equal(found.items[0].hostname, "cp-1");
	assert_string_equal(found.items[0].holder, "apiserver-x_1");
	assert_string_equal(found.items[0].peer_address, "10.0.0.1:6443");
	assert_int_equal(found.items[0].renewed_wall, 7 * NS_PER_S);
	assert_int_equal(found.items[0].resource_version, 5);
	assert_true(text_starts(found.items[0].id_hash, "sha256:"));
	kube_identities_free(&found);
	for (int i = 0; i < 3; i++)
		assert_int_equal(kube_identities_fetch(&kube, &found, NULL), -ERROR_PROTOCOL);
	assert_int_equal(found.count, 0);
}

static void test_endpoints(void **state)
{
	_cleanup_strings_ found = {0};
	struct error *err = NULL;

	(void)state;
	PLAY({.status = 200,
	      .body = "{\"ports\":[{\"name\":\"https\",\"port\":6443}],\"endpoints\":[{\"addresses\":[\"10.0.0.1\"],"
		      "\"conditions\":{\"ready\":true}},"
		      "{\"addresses\":[\"10.0.0.2\"],\"conditions\":{\"ready\":false}},{\"addresses\":[\"fd00::1\","
		      "\"10.0.0.1\"]}]}"},
	     {.status = 200, .body = "{\"endpoints\":[]}"});
	assert_ok(kube_endpoints_fetch(&kube, &found, &err), err);
	assert_int_equal(found.count, 2);
	assert_string_equal(found.items[0], "10.0.0.1:6443");
	assert_string_equal(found.items[1], "[fd00::1]:6443");
	assert_int_equal(kube_endpoints_fetch(&kube, &found, NULL), -ERROR_PROTOCOL);
}

static void test_scrape(void **state)
{
	static const char text[] =
		"# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds 12.5\nother{a=\"b\"} 1\n"
		"apiserver_encryption_config_controller_last_config_info{apiserver_id_hash=\"sha256:i\",hash=\"sha256:"
		"h\"} 1\n";
	struct prometheus_reader *reader = NULL;
	struct apiserver_metrics metrics = {0};
	struct error *err = NULL;
	int rc;

	(void)state;
	PLAY({.status = 200, .type = "text/plain; version=0.0.4", .body = text},
	     {.status = 200, .type = "text/plain", .body = "no metric at all\n"},
	     {.status = 200, .type = "text/html", .body = "<html>"},
	     {.status = 200, .type = "text/plain", .body = "process_start_time_seconds 1"},
	     {.status = 403, .type = "text/plain", .body = "Forbidden"});
	assert_ok(kube_scrape(&kube, &metrics, &reader, &err), err);
	assert_true(metrics.has_process_start);
	assert_int_equal(metrics.loaded_hash_count, 1);
	assert_string_equal(metrics.loaded_hashes[0], "sha256:h");
	assert_true(prometheus_count(reader) > 0);
	prometheus_reader_free(reader);
	apiserver_metrics_free(&metrics);
	for (int i = 0; i < 3; i++)
		assert_int_equal(kube_scrape(&kube, &metrics, NULL, NULL), -ERROR_PROTOCOL);
	rc = kube_scrape(&kube, &metrics, NULL, &err);
	assert_error(rc, err, ERROR_AUTH, "GET /metrics: 403: Forbidden");
	assert_int_equal(metrics.loaded_hash_count, 0);
}

static int set_up(void **state)
{
	struct error *err = NULL;

	(void)state;
	assert_ok(loop_new(&loop, &err), err);
	kube_server_start(&server);
	kube = kube_of(&server, loop);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	http_client_free(kube.http);
	kube_server_stop(&server);
	loop_free(loop);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_list),         cmocka_unit_test(test_list_metadata),
		cmocka_unit_test(test_list_pauses),  cmocka_unit_test(test_list_cancelled),
		cmocka_unit_test(test_cut_list),     cmocka_unit_test(test_list_stopped_by_its_owner),
		cmocka_unit_test(test_list_fetch),   cmocka_unit_test(test_put),
		cmocka_unit_test(test_patch),        cmocka_unit_test(test_outcome_unknown),
		cmocka_unit_test(test_read),         cmocka_unit_test(test_read_of_another_kind),
		cmocka_unit_test(test_get_metadata), cmocka_unit_test(test_object_reader),
		cmocka_unit_test(test_call),         cmocka_unit_test(test_version),
		cmocka_unit_test(test_may),          cmocka_unit_test(test_identities),
		cmocka_unit_test(test_endpoints),    cmocka_unit_test(test_scrape),
	};
	int failed;

	json_install_hooks();
	set_up(NULL);
	failed = RUN_ROWS(test_bad_list, bad_lists) + RUN_ROWS(test_bad_write, bad_writes) +
		 cmocka_run_group_tests(tests, NULL, NULL);
	tear_down(NULL);
	return failed;
}
