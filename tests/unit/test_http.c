#include "net_server.h"
#include <malloc.h>
#include <sys/resource.h>
#include "base/clock.h"
#include "base/json_read.h"
#include "base/text.h"
#include "net/http.h"
#include "net/http_answer.h"

static struct net_server server, tls_server, mutual_server;
static struct loop *loop;
static struct secret *ca, *other_ca, *cert, *key;

static int start_all(void **state)
{
	_cleanup_free_ char *server_cert = NULL, *server_key = NULL, *ca_file = NULL;
	struct error *err = NULL;

	if (make_folder(state) < 0)
		return -1;
	json_install_hooks();
	make_authority("ca");
	make_authority("other");
	make_certificate("ca", "server", "IP:127.0.0.1,DNS:api.test");
	make_certificate("ca", "client", "DNS:client");
	server_cert = xstrdup(in_folder("server.crt"));
	server_key = xstrdup(in_folder("server.key"));
	ca_file = xstrdup(in_folder("ca.crt"));
	server = net_server_start("http", NULL);
	tls_server = net_server_start("https", (const char *[]){"--tls", server_cert, server_key, NULL});
	mutual_server = net_server_start(
		"https", (const char *[]){"--tls", server_cert, server_key, "--client-ca", ca_file, NULL});
	ca = read_in_folder("ca.crt");
	other_ca = read_in_folder("other.crt");
	cert = read_in_folder("client.crt");
	key = read_in_folder("client.key");
	return loop_new(&loop, &err);
}

static int stop_all(void **state)
{
	net_server_stop(&server);
	net_server_stop(&tls_server);
	net_server_stop(&mutual_server);
	loop_free(loop);
	secret_free(ca);
	secret_free(other_ca);
	secret_free(cert);
	secret_free(key);
	return remove_folder(state);
}

static struct http_client *client_of(const struct http_options *options)
{
	struct http_client *client = NULL;
	struct error *err = NULL;

	assert_ok(http_client_new(loop, options, &client, &err), err);
	return client;
}

static struct http_client *plain_client(unsigned max_connections)
{
	return client_of(&(struct http_options){.base_url = server.url, .max_connections = max_connections});
}

/* GET, and the body as text. */
static char *get_text(struct http_client *client, const char *path, unsigned expected_status)
{
	struct http_request request = {.method = "GET", .path = path};
	_cleanup_response_ response = {0};
	struct error *err = NULL;

	assert_ok(http_fetch(client, &request, &response, &err), err);
	assert_int_equal(response.status, expected_status);
	return xstrdup(buf_text(&response.body));
}

static cJSON *get_json(struct http_client *client, const char *path)
{
	_cleanup_free_ char *text = get_text(client, path, 200);
	struct error *err = NULL;
	cJSON *json = NULL;

	assert_ok(json_parse(text, strlen(text), path, &json, &err), err);
	return json;
}

static uint64_t stat_of(struct http_client *client, const char *name)
{
	_cleanup_json_ json = get_json(client, "/stats");
	uint64_t number = 0;

	assert_true(json_u64_at(json, name, &number));
	return number;
}

/* --- answers ---------------------------------------------------------------------------------------------------- */

struct answer_row {
	const char *name; /* the path */
	int rc;
	unsigned status;
	const char *body; /* or, of an error, a part of its message */
	size_t max_body;
};
static const struct answer_row answers[] = {
	{"/plain", 0, 200, "hello", 0},
	{"/plain?a=b%20c", 0, 200, "hello", 0},
	{"/empty", 0, 204, "", 0},
	{"/status/404", 0, 404, "status 404", 0},
	{"/status/500", 0, 500, "status 500", 0},
	{"/redirect", 0, 302, "elsewhere", 0},
	{"/interim", 0, 200, "final", 0},
	{"/plain?exactly the cap", 0, 200, "hello", 5},
	{"/plain?above the cap", -ERROR_LIMIT, 200, ": an answer of more than 4 bytes (status 200)", 4},
	{"/chunked", -ERROR_LIMIT, 200, "/chunked: an answer of more than 5000 bytes (status 200)", 5000},
	{"/huge", -ERROR_LIMIT, 200, "/huge: an answer of more than 65536 bytes (status 200)", 0},
	{"/cut_length", -ERROR_NETWORK, 200, "/cut_length: transfer closed with 91 bytes remaining to read", 0},
	{"/cut_chunk", -ERROR_NETWORK, 200, "/cut_chunk: transfer closed with outstanding read data remaining", 0},
	{"/cut_between_chunks", -ERROR_NETWORK, 200, "transfer closed with outstanding read data remaining", 0},
	{"/cut_head", -ERROR_NETWORK, 200, "", 0},
	{"/nothing", -ERROR_NETWORK, 0, "/nothing: Empty reply from server", 0},
	{"/reset", -ERROR_NETWORK, 0, "/reset: Recv failure: Connection reset by peer", 0},
	{"/no_length", -ERROR_PROTOCOL, 200, ": an answer without a length", 0},
	{"/garbage", -ERROR_PROTOCOL, 0, "/garbage: Received HTTP/0.9 when not allowed", 0},
	{"/bad_length", -ERROR_PROTOCOL, 200, "", 0},
	{"/endless_head", -ERROR_LIMIT, 200, "/endless_head: the answer's head is too long", 0},
};

struct seen {
	int rc;
	unsigned status;
	bool sent, done;
	char *text; /* body or message */
	uint64_t elapsed;
};

static void on_seen(void *arg, struct http_result *result)
{
	struct seen *seen = arg;

	assert_false(seen->done);
	seen->done = true;
	seen->rc = result->rc;
	seen->status = result->status;
	seen->sent = result->sent;
	seen->elapsed = result->elapsed;
	seen->text = xstrdup(result->rc < 0 ? error_message(result->error) : buf_text(result->body));
}

static struct seen perform(struct http_client *client, struct http_request request)
{
	struct seen seen = {0};
	struct error *err = NULL;

	request.method = request.method ? request.method : "GET";
	request.on_done = on_seen;
	request.arg = &seen;
	http_start(client, &request);
	assert_false(seen.done);
	assert_ok(loop_run_until(loop, &seen.done, loop_now(loop) + 30 * NS_PER_S, &err), err);
	return seen;
}

static void test_answer(void **state)
{
	const struct answer_row *row = *state;
	_cleanup_(http_client_freep) struct http_client *client = plain_client(1);
	struct http_request request = {.path = row->name, .max_body = row->max_body};
	struct seen seen;

	/* A space would end the request's target. */
	_cleanup_free_ char *path = xstrdup(row->name);
	for (char *at = path; *at != '\0'; at++)
		*at = *at == ' ' ? '-' : *at;
	request.path = path;
	seen = perform(client, request);
	if (seen.rc != row->rc || seen.status != row->status)
		fail_msg("rc %d, status %u, %s", seen.rc, seen.status, seen.text);
	if (row->rc == 0)
		assert_string_equal(seen.text, row->body);
	else if (!strstr(seen.text, row->body))
		fail_msg("got \"%s\"", seen.text);
	assert_true(seen.sent);
	free(seen.text);
	/* And the client is as good as before. */
	free(get_text(client, "/plain", 200));
}

static void test_counts(void **state)
{
	_cleanup_(http_client_freep) struct http_client *client = plain_client(1);
	const struct http_counts *counts = http_client_counts(client);
	static const char *const paths[] = {"/plain", "/empty", "/status/404", "/reset", "/cut_length"};
	uint64_t timed = 0;

	(void)state;
	for (size_t i = 0; i < ELEMENTS(paths); i++) {
		struct seen seen = perform(client, (struct http_request){.path = paths[i]});

		free(seen.text);
	}
	assert_int_equal(counts->status[2], 2);
	assert_int_equal(counts->status[4], 1);
	assert_int_equal(counts->failed, 2);
	for (size_t i = 0; i <= HTTP_LATENCY_BOUNDS; i++)
		timed += counts->buckets[i];
	assert_int_equal(timed, 5);
	assert_true(counts->sum > 0);
}

static void test_headers_of_an_answer(void **state)
{
	_cleanup_(http_client_freep) struct http_client *client = plain_client(1);
	_cleanup_response_ plain = {0};
	_cleanup_response_ busy = {0};
	_cleanup_response_ late = {0};
	_cleanup_response_ metrics = {0};
	_cleanup_response_ interim = {0};
	struct error *err = NULL;

	(void)state;
	assert_ok(http_fetch(client, &(struct http_request){.method = "GET", .path = "/plain"}, &plain, &err), err);
	assert_string_equal(plain.content_type, "text/plain; charset=utf-8");
	assert_int_equal(plain.retry_after, 0);
	assert_int_equal(plain.grpc_status, -1);
	assert_string_equal(plain.peer_process_start, "");
	assert_ok(http_fetch(client,
			     &(struct http_request){.method = "GET",
						    .path = "/status/429",
						    .headers = (const char *const[]){"X-Retry: 3", NULL}},
			     &busy, &err),
		  err);
	assert_int_equal(busy.retry_after, 3 * NS_PER_S);
	assert_ok(http_fetch(client,
			     &(struct http_request){.method = "GET",
						    .path = "/status/429",
						    .headers = (const char *const[]){"X-Retry: 999999", NULL}},
			     &late, &err),
		  err);
	assert_int_equal(late.retry_after, 3600 * NS_PER_S);
	assert_ok(http_fetch(client, &(struct http_request){.method = "GET", .path = "/metrics"}, &metrics, &err), err);
	assert_string_equal(metrics.peer_process_start, "1763812345");
	/* What an interim answer says is not the answer's. */
	assert_ok(http_fetch(client, &(struct http_request){.method = "GET", .path = "/interim"}, &interim, &err), err);
	assert_int_equal(interim.retry_after, 0);
}

/* --- requests --------------------------------------------------------------------------------------------------- */

static const char *echoed(const cJSON *echo, const char *name)
{
	const cJSON *pair, *headers = json_at(echo, "headers", NULL);

	cJSON_ArrayForEach(pair, headers) if (strcmp(cJSON_GetArrayItem(pair, 0)->valuestring, name) ==
					      0) return cJSON_GetArrayItem(pair, 1)
		->valuestring;
	return NULL;
}

static cJSON *echo(struct http_client *client, const struct http_request *request)
{
	_cleanup_response_ response = {0};
	struct error *err = NULL;
	cJSON *json = NULL;

	assert_ok(http_fetch(client, request, &response, &err), err);
	assert_int_equal(response.status, 200);
	assert_ok(json_parse(buf_text(&response.body), response.body.len, "echo", &json, &err), err);
	return json;
}

static void test_request_line_and_headers(void **state)
{
	_cleanup_(http_client_freep) struct http_client *client = client_of(&(struct http_options){
		.base_url = server.url, .headers = (const char *const[]){"Impersonate-User: jane", NULL}});
	_cleanup_json_ get = echo(client, &(struct http_request){.method = "GET", .path = "/echo/../echo?x=1"});
	_cleanup_json_ patch = NULL;
	_cleanup_secret_ body = secret_from("{}", 2);

	(void)state;
	assert_string_equal(json_text_at(get, "method"), "GET");
	assert_string_equal(json_text_at(get, "target"), "/echo/../echo?x=1");
	assert_string_equal(echoed(get, "accept"), "application/json");
	assert_string_equal(echoed(get, "user-agent"), "kube-rekey/" KUBE_REKEY_VERSION);
	assert_string_equal(echoed(get, "impersonate-user"), "jane");
	assert_null(echoed(get, "content-type"));
	assert_null(echoed(get, "accept-encoding"));
	assert_null(echoed(get, "authorization"));
	patch = echo(client, &(struct http_request){.method = "PATCH",
						    .path = "/echo",
						    .accept = "a/b",
						    .content_type = "application/merge-patch+json",
						    .body = body});
	assert_string_equal(json_text_at(patch, "method"), "PATCH");
	assert_string_equal(echoed(patch, "accept"), "a/b");
	assert_string_equal(echoed(patch, "content-type"), "application/merge-patch+json");
	assert_string_equal(echoed(patch, "content-length"), "2");
	assert_null(echoed(patch, "expect"));
	assert_string_equal(json_text_at(patch, "body"), "{}");
}

struct body_row {
	const char *name;
	size_t head, body;
};
static const struct body_row bodies[] = {
	{"no bytes at all", 0, 0},
	{"head alone", 5, 0},
	{"body alone", 0, 1000},
	{"both, small", 10, 500},
	{"both, at the cap of joining", 36, 65500},
	{"both, one above it", 37, 65500},
	{"large body alone", 0, 900000},
	{"large, both", 40, 900000},
};

static void test_body(void **state)
{
	const struct body_row *row = *state;
	_cleanup_(http_client_freep) struct http_client *client = plain_client(1);
	_cleanup_secret_ body = secret_new(row->body);
	_cleanup_free_ char *head = xcalloc(1, row->head + 1);
	_cleanup_json_ json = NULL;
	uint64_t sum = 0, number = 0;
	size_t i;

	memset(head, 'h', row->head);
	for (i = 0; i < row->body; i++)
		assert_int_equal(secret_append(body, &(uint8_t){(uint8_t)(i * 7)}, 1), 0);
	for (i = 0; i < row->body; i++)
		sum += (uint8_t)(i * 7);
	json = echo(client, &(struct http_request){.method = "PUT",
						   .path = "/echo",
						   .head = head,
						   .head_len = row->head,
						   .body = body,
						   .content_type = "x/y"});
	assert_string_equal(json_text_at(json, "method"), "PUT");
	assert_true(json_u64_at(json, "length", &number));
	assert_int_equal(number, row->head + row->body);
	assert_true(json_u64_at(json, "sum", &number));
	assert_int_equal(number, sum + 'h' * row->head);
}

/* --- connections ------------------------------------------------------------------------------------------------ */

static void test_connections_are_kept(void **state)
{
	_cleanup_(http_client_freep) struct http_client *client = plain_client(2);
	_cleanup_(http_client_freep) struct http_client *other = plain_client(2);
	_cleanup_response_ fresh = {0};
	uint64_t first, requests;
	struct error *err = NULL;

	(void)state;
	first = stat_of(client, "connection");
	assert_int_equal(stat_of(client, "connection"), first);
	requests = stat_of(client, "requests_here");
	assert_int_equal(requests, 3);
	/* Another client never gets it. */
	assert_int_not_equal(stat_of(other, "connection"), first);
	assert_int_equal(stat_of(client, "connection"), first);
	/* A fresh one is neither taken from those kept nor kept. */
	assert_ok(http_fetch(client,
			     &(struct http_request){.method = "GET", .path = "/plain", .fresh_connection = true},
			     &fresh, &err),
		  err);
	assert_int_equal(stat_of(client, "requests_here"), 5);
	http_client_disconnect(client);
	assert_int_equal(stat_of(client, "requests_here"), 1);
}

static void test_dead_kept_connection(void **state)
{
	_cleanup_(http_client_freep) struct http_client *client = plain_client(1);
	_cleanup_free_ char *second = NULL;

	(void)state;
	free(get_text(client, "/second_dies", 200));
	second = get_text(client, "/second_dies", 200);
	assert_string_equal(second, "alive");
}

struct many {
	struct http_client *client;
	unsigned started, done, limit;
	bool all;
};

static void on_one_of_many(void *arg, struct http_result *result)
{
	struct many *many = arg;

	assert_int_equal(result->rc, 0);
	assert_int_equal(result->status, 200);
	many->done++;
	if (many->started < many->limit) {
		many->started++;
		http_start(many->client,
			   &(struct http_request){
				   .method = "GET", .path = "/plain", .on_done = on_one_of_many, .arg = many});
	}
	many->all = many->done == many->limit;
}

static void test_many_calls_on_few_connections(void **state)
{
	struct net_server own = net_server_start("http", NULL);
	_cleanup_(http_client_freep) struct http_client *client =
		client_of(&(struct http_options){.base_url = own.url, .max_connections = 8});
	struct many many = {.client = client, .limit = 1000};
	struct error *err = NULL;

	(void)state;
	for (; many.started < 100; many.started++)
		http_start(client, &(struct http_request){
					   .method = "GET", .path = "/plain", .on_done = on_one_of_many, .arg = &many});
	assert_ok(loop_run_until(loop, &many.all, loop_now(loop) + 60 * NS_PER_S, &err), err);
	assert_int_equal(stat_of(client, "connections"), 8);
	assert_in_range(stat_of(client, "most_busy"), 2, 8);
	net_server_stop(&own);
}

/* --- time ------------------------------------------------------------------------------------------------------- */

struct time_row {
	const char *name;
	const char *path;
	uint64_t timeout, stall, of_client; /* ms */
	int rc;
	const char *text;
	uint64_t least, most; /* ms */
};
static const struct time_row times[] = {
	{"no answer", "/silent", 0, 200, 0, -ERROR_NETWORK, "nothing moved for", 200, 2000},
	{"half an answer", "/stall", 0, 200, 0, -ERROR_NETWORK, "nothing moved for", 200, 2000},
	{"slow but steady is no stall", "/slow", 0, 600, 0, 0, "ssssssssssssssssssss", 900, 10000},
	{"slow and over the whole time", "/slow", 300, 0, 0, -ERROR_NETWORK, "timed out", 300, 2000},
	{"over the client's time", "/slow", 0, 600, 300, -ERROR_NETWORK, "timed out", 300, 2000},
	{"the client's time is longer", "/slow", 300, 0, 9000, -ERROR_NETWORK, "timed out", 300, 2000},
};

static void test_time(void **state)
{
	const struct time_row *row = *state;
	_cleanup_(http_client_freep) struct http_client *client =
		client_of(&(struct http_options){.base_url = server.url, .timeout = row->of_client * NS_PER_MS});
	struct seen seen = perform(client, (struct http_request){.path = row->path,
								 .timeout = row->timeout * NS_PER_MS,
								 .stall_timeout = row->stall * NS_PER_MS});

	assert_int_equal(seen.rc, row->rc);
	if (!strstr(seen.text, row->text))
		fail_msg("got \"%s\"", seen.text);
	assert_in_range(seen.elapsed / NS_PER_MS, row->least, row->most);
	assert_true(seen.sent);
	free(seen.text);
}

static void test_nobody_listens(void **state)
{
	_cleanup_(http_client_freep) struct http_client *client =
		client_of(&(struct http_options){.base_url = "http://127.0.0.1:1"});
	struct seen seen = perform(client, (struct http_request){.path = "/x?token=a"});

	(void)state;
	assert_int_equal(seen.rc, -ERROR_NETWORK);
	assert_false(seen.sent);
	assert_int_equal(seen.status, 0);
	assert_non_null(strstr(seen.text, "GET http://127.0.0.1:1/x: Failed to connect"));
	assert_null(strstr(seen.text, "token"));
	free(seen.text);
}

/* --- data as it arrives ----------------------------------------------------------------------------------------- */

struct flow {
	struct http_call *call;
	struct loop_timer timer;
	size_t taken, limit_each_step, step_taken;
	unsigned pauses;
	bool done;
	int rc;
	int stop_with; /* negative: what on_data returns after stop_at bytes */
	size_t stop_at;
	unsigned status;
	char *kept;
};

static void resume(void *arg)
{
	struct flow *flow = arg;

	flow->step_taken = 0;
	http_resume(flow->call);
}

static int on_flow(void *arg, const uint8_t *bytes, size_t len)
{
	struct flow *flow = arg;

	(void)bytes;
	if (flow->limit_each_step != 0 && flow->step_taken >= flow->limit_each_step) {
		flow->pauses++;
		loop_timer_set(loop, &flow->timer, loop_now(loop) + NS_PER_MS, resume, flow);
		return HTTP_DATA_PAUSE;
	}
	if (flow->stop_with < 0 && flow->taken >= flow->stop_at)
		return flow->stop_with;
	flow->taken += len;
	flow->step_taken += len;
	return 0;
}

static void on_flow_done(void *arg, struct http_result *result)
{
	struct flow *flow = arg;

	flow->done = true;
	flow->rc = result->rc;
	flow->status = result->status;
	flow->kept = xstrdup(buf_text(result->body));
}

static void run_flow(struct http_client *client, const char *path, struct flow *flow)
{
	struct error *err = NULL;

	flow->call = http_start(client, &(struct http_request){.method = "GET",
							       .path = path,
							       .on_data = on_flow,
							       .on_done = on_flow_done,
							       .stall_timeout = 2 * NS_PER_S,
							       .arg = flow});
	assert_ok(loop_run_until(loop, &flow->done, loop_now(loop) + 60 * NS_PER_S, &err), err);
	loop_timer_cancel(loop, &flow->timer);
}

static void test_pause_and_resume(void **state)
{
	_cleanup_(http_client_freep) struct http_client *client = plain_client(1);
	struct flow flow = {.limit_each_step = 100000};
	struct rusage before, after;

	(void)state;
	getrusage(RUSAGE_SELF, &before);
	run_flow(client, "/big/50000000", &flow);
	getrusage(RUSAGE_SELF, &after);
	assert_int_equal(flow.rc, 0);
	assert_int_equal(flow.taken, 50000000);
	assert_true(flow.pauses > 50);
	assert_string_equal(flow.kept, "");
	free(flow.kept);
	if (!RUNNING_UNDER_ASAN)
		assert_true(after.ru_maxrss - before.ru_maxrss < 8192); /* KiB, of 50 MB */
}

static void do_nothing(void *arg)
{
	*(bool *)arg = true;
}

/* A reader that takes its time is not a server that does not send; and the server is held back meanwhile. */
static void test_paused_is_not_stalled(void **state)
{
	struct net_server own = net_server_start("http", NULL);
	_cleanup_(http_client_freep) struct http_client *client =
		client_of(&(struct http_options){.base_url = own.url, .max_connections = 2});
	struct flow flow = {.limit_each_step = 1};
	struct loop_timer timer = {0};
	bool waited = false;
	struct error *err = NULL;

	(void)state;
	flow.call = http_start(client, &(struct http_request){.method = "GET",
							      .path = "/big/50000000",
							      .on_data = on_flow,
							      .on_done = on_flow_done,
							      .stall_timeout = 200 * NS_PER_MS,
							      .arg = &flow});
	while (flow.pauses == 0)
		loop_step(loop, UINT64_MAX);
	loop_timer_cancel(loop, &flow.timer);
	loop_timer_set(loop, &timer, loop_now(loop) + NS_PER_S, do_nothing, &waited);
	assert_ok(loop_run_until(loop, &waited, 0, &err), err);
	assert_false(flow.done);
	assert_int_equal(flow.pauses, 1);
	assert_true(stat_of(client, "big_sent") < 20000000);
	flow.limit_each_step = 0;
	resume(&flow);
	assert_ok(loop_run_until(loop, &flow.done, 0, &err), err);
	assert_int_equal(flow.rc, 0);
	assert_int_equal(flow.taken, 50000000);
	free(flow.kept);
	net_server_stop(&own);
}

static void test_data_is_refused(void **state)
{
	_cleanup_(http_client_freep) struct http_client *client = plain_client(1);
	struct flow at_once = {.stop_with = -ERROR_FINDING, .stop_at = 50000};
	struct flow resumed = {.stop_with = -ERROR_CONFLICT, .stop_at = 50000, .limit_each_step = 50000};

	(void)state;
	run_flow(client, "/big/1000000", &at_once);
	assert_int_equal(at_once.rc, -ERROR_FINDING);
	free(at_once.kept);
	/* Refused from within http_resume. */
	run_flow(client, "/big/1000000", &resumed);
	assert_int_equal(resumed.rc, -ERROR_CONFLICT);
	assert_true(resumed.pauses > 0);
	free(resumed.kept);
	free(get_text(client, "/plain", 200));
}

static void test_an_error_is_no_data(void **state)
{
	_cleanup_(http_client_freep) struct http_client *client = plain_client(1);
	struct flow flow = {.stop_with = 0};

	(void)state;
	run_flow(client, "/status/503", &flow);
	assert_int_equal(flow.rc, 0);
	assert_int_equal(flow.status, 503);
	assert_int_equal(flow.taken, 0);
	assert_string_equal(flow.kept, "status 503");
	free(flow.kept);
}

static void test_cut_data_is_no_success(void **state)
{
	static const char *const paths[] = {"/cut_length", "/cut_chunk", "/cut_between_chunks", "/no_length"};
	_cleanup_(http_client_freep) struct http_client *client = plain_client(1);
	size_t i;

	(void)state;
	for (i = 0; i < ELEMENTS(paths); i++) {
		struct flow flow = {.stop_with = 0};

		run_flow(client, paths[i], &flow);
		assert_true(flow.rc < 0);
		assert_true(flow.taken > 0);
		free(flow.kept);
	}
}

/* --- cancelling ------------------------------------------------------------------------------------------------- */

static void on_never(void *arg, struct http_result *result)
{
	(void)arg;
	(void)result;
	fail_msg("called back after a cancel");
}

struct canceller {
	struct http_call *victims[3];
	struct http_client *client, *doomed;
	bool done;
};

static void on_cancel_others(void *arg, struct http_result *result)
{
	struct canceller *canceller = arg;
	size_t i;

	assert_int_equal(result->rc, 0);
	for (i = 0; i < ELEMENTS(canceller->victims); i++)
		http_cancel(canceller->victims[i]);
	http_client_free(canceller->doomed);
	canceller->done = true;
}

static void test_cancel_from_a_call_back(void **state)
{
	struct http_request silent = {.method = "GET", .path = "/silent", .on_done = on_never};
	struct canceller canceller = {.client = plain_client(3), .doomed = plain_client(1)};
	struct http_request late = {
		.method = "GET", .path = "/late/0.1", .on_done = on_cancel_others, .arg = &canceller};
	struct http_call *gone;
	struct error *err = NULL;
	size_t i;

	(void)state;
	http_start(canceller.client, &late);
	for (i = 0; i < ELEMENTS(canceller.victims); i++) /* the third waits in the queue */
		canceller.victims[i] = http_start(canceller.client, &silent);
	http_start(canceller.doomed, &silent);
	http_start(canceller.doomed, &silent);
	/* Never begun. */
	gone = http_start(canceller.client, &silent);
	http_cancel(gone);
	http_cancel(NULL);
	assert_ok(loop_run_until(loop, &canceller.done, 0, &err), err);
	free(get_text(canceller.client, "/plain", 200));
	http_start(canceller.client, &silent);
	http_client_free(canceller.client);
	http_client_free(NULL);
}

static void on_free_own_client(void *arg, struct http_result *result)
{
	struct canceller *canceller = arg;

	(void)result;
	http_client_free(steal(canceller->client));
	canceller->done = true;
}

static void test_client_freed_by_its_own_call(void **state)
{
	struct canceller canceller = {.client = plain_client(1)};
	struct error *err = NULL;

	(void)state;
	http_start(canceller.client,
		   &(struct http_request){
			   .method = "GET", .path = "/plain", .on_done = on_free_own_client, .arg = &canceller});
	http_start(canceller.client, &(struct http_request){.method = "GET", .path = "/plain", .on_done = on_never});
	assert_ok(loop_run_until(loop, &canceller.done, 0, &err), err);
}

/* --- credentials ------------------------------------------------------------------------------------------------ */

struct badge {
	const char *value, *after_force;
	unsigned asked, forced;
	int fail;
	bool unchanged;
};

static int authorize(void *arg, bool force, struct secret **ret, struct error **err)
{
	struct badge *badge = arg;

	badge->asked++;
	badge->forced += force;
	if (badge->fail < 0)
		return error_set(err, ERROR_AUTH, "no badge today");
	if (force && badge->after_force != NULL)
		badge->value = badge->after_force;
	*ret = badge->value ? secret_from(badge->value, strlen(badge->value)) : NULL;
	return 0;
}

struct auth_row {
	const char *name;
	struct badge badge;
	int rc;
	unsigned status, asked, forced;
};
static const struct auth_row auths[] = {
	{"a good token", {.value = "Bearer good"}, 0, 200, 1, 0},
	{"a stale token, renewed", {.value = "Bearer old", .after_force = "Bearer good"}, 0, 200, 3, 1},
	{"none at first", {.value = NULL, .after_force = "Bearer good"}, 0, 200, 3, 1},
	{"a bad token and nothing new: asked once", {.value = "Bearer bad"}, 0, 401, 3, 1},
	{"renewed, and still bad: tried twice in all",
	 {.value = "Bearer bad", .after_force = "Bearer worse"},
	 0,
	 401,
	 3,
	 1},
	{"cannot be had", {.fail = -1}, -ERROR_AUTH, 0, 1, 0},
};

static void test_authorize(void **state)
{
	const struct auth_row *row = *state;
	struct badge badge = row->badge;
	_cleanup_(http_client_freep) struct http_client *client = client_of(
		&(struct http_options){.base_url = server.url, .authorize = authorize, .authorize_arg = &badge});
	struct seen seen = perform(client, (struct http_request){.path = "/auth/good"});

	assert_int_equal(seen.rc, row->rc);
	assert_int_equal(seen.status, row->status);
	if (row->rc == 0)
		assert_string_equal(seen.text, row->status == 200 ? "welcome" : "who are you");
	else
		assert_string_equal(seen.text, "no badge today");
	assert_int_equal(seen.sent, row->rc == 0);
	assert_int_equal(badge.asked, row->asked);
	assert_int_equal(badge.forced, row->forced);
	free(seen.text);
}

/* A failing authorize must not take the queue's other calls with it. */
static void test_authorize_fails_for_each(void **state)
{
	struct badge badge = {.fail = -1};
	_cleanup_(http_client_freep) struct http_client *client = client_of(
		&(struct http_options){.base_url = server.url, .authorize = authorize, .authorize_arg = &badge});
	struct seen seen[3] = {0};
	struct error *err = NULL;
	size_t i;

	(void)state;
	for (i = 0; i < ELEMENTS(seen); i++)
		http_start(client, &(struct http_request){
					   .method = "GET", .path = "/plain", .on_done = on_seen, .arg = &seen[i]});
	for (i = 0; i < ELEMENTS(seen); i++) {
		assert_ok(loop_run_until(loop, &seen[i].done, loop_now(loop) + NS_PER_S, &err), err);
		assert_int_equal(seen[i].rc, -ERROR_AUTH);
		free(seen[i].text);
	}
}

/* --- TLS -------------------------------------------------------------------------------------------------------- */

static void test_tls(void **state)
{
	_cleanup_(http_client_freep) struct http_client *client = client_of(
		&(struct http_options){.base_url = tls_server.url, .max_connections = 4, .tls = {.ca_pem = ca}});
	_cleanup_free_ char *text = get_text(client, "/plain", 200);
	_cleanup_free_ char *nobody = get_text(client, "/client", 200);

	(void)state;
	assert_string_equal(text, "hello");
	assert_string_equal(nobody, "nobody");
}

static void test_tls_wrong_authority(void **state)
{
	_cleanup_(http_client_freep) struct http_client *client =
		client_of(&(struct http_options){.base_url = tls_server.url, .tls = {.ca_pem = other_ca}});
	_cleanup_(http_client_freep) struct http_client *system =
		client_of(&(struct http_options){.base_url = tls_server.url});
	_cleanup_(http_client_freep) struct http_client *insecure =
		client_of(&(struct http_options){.base_url = tls_server.url, .tls = {.insecure = true}});
	struct seen seen = perform(client, (struct http_request){.path = "/plain"});

	(void)state;
	assert_int_equal(seen.rc, -ERROR_AUTH);
	assert_false(seen.sent);
	assert_non_null(strstr(seen.text, "SSL certificate problem: "));
	free(seen.text);
	seen = perform(system, (struct http_request){.path = "/plain"});
	assert_int_equal(seen.rc, -ERROR_AUTH);
	free(seen.text);
	free(get_text(insecure, "/plain", 200));
}

static void test_tls_names(void **state)
{
	const char *port = strrchr(tls_server.url, ':') + 1;
	_cleanup_free_ char *by_name = xasprintf("https://localhost:%s", port);
	_cleanup_(http_client_freep) struct http_client *wrong =
		client_of(&(struct http_options){.base_url = by_name, .tls = {.ca_pem = ca}});
	_cleanup_(http_client_freep) struct http_client *right = client_of(
		&(struct http_options){.base_url = by_name, .tls = {.ca_pem = ca, .server_name = "api.test"}});
	_cleanup_(http_client_freep) struct http_client *other = client_of(
		&(struct http_options){.base_url = tls_server.url, .tls = {.ca_pem = ca, .server_name = "other.test"}});
	_cleanup_json_ sni = NULL;
	_cleanup_free_ char *host = xasprintf("localhost:%s", port);
	struct seen seen = perform(wrong, (struct http_request){.path = "/plain"});

	(void)state;
	assert_int_equal(seen.rc, -ERROR_AUTH);
	assert_non_null(strstr(seen.text, "localhost"));
	free(seen.text);
	seen = perform(other, (struct http_request){.path = "/plain"});
	assert_int_equal(seen.rc, -ERROR_AUTH);
	free(seen.text);
	sni = get_json(right, "/sni");
	assert_string_equal(json_text_at(sni, "sni"), "api.test");
	assert_string_equal(json_text_at(sni, "host"), host);
}

static void test_tls_client_certificate(void **state)
{
	_cleanup_(http_client_freep) struct http_client *client = client_of(&(struct http_options){
		.base_url = mutual_server.url, .tls = {.ca_pem = ca, .cert_pem = cert, .key_pem = key}});
	_cleanup_(http_client_freep) struct http_client *none =
		client_of(&(struct http_options){.base_url = mutual_server.url, .tls = {.ca_pem = ca}});
	_cleanup_free_ char *name = get_text(client, "/client", 200);
	struct seen seen = perform(none, (struct http_request){.path = "/client"});

	(void)state;
	assert_string_equal(name, "client");
	/* The server hangs up with its alert: which of them is seen is a matter of luck. */
	assert_true(seen.rc == -ERROR_AUTH || seen.rc == -ERROR_NETWORK);
	free(seen.text);
}

struct holder {
	uint64_t generation;
	const struct secret *cert, *key;
};

static int authorize_nothing(void *arg, bool force, struct secret **ret, struct error **err)
{
	(void)arg;
	(void)force;
	(void)err;
	*ret = NULL;
	return 0;
}

static void identity(void *arg, uint64_t *ret_generation, const struct secret **ret_cert, const struct secret **ret_key)
{
	struct holder *holder = arg;

	*ret_generation = holder->generation;
	*ret_cert = holder->cert;
	*ret_key = holder->key;
}

static void test_tls_new_client_certificate(void **state)
{
	_cleanup_secret_ second_cert = NULL;
	_cleanup_secret_ second_key = NULL;
	_cleanup_free_ char *first = NULL, *again = NULL, *second = NULL;
	struct holder holder = {1, cert, key};
	_cleanup_(http_client_freep) struct http_client *client =
		client_of(&(struct http_options){.base_url = mutual_server.url,
						 .max_connections = 2,
						 .tls = {.ca_pem = ca},
						 .authorize = authorize_nothing,
						 .identity = identity,
						 .authorize_arg = &holder});
	struct seen seen;

	(void)state;
	make_certificate("ca", "second", "DNS:second");
	second_cert = read_in_folder("second.crt");
	second_key = read_in_folder("second.key");
	first = get_text(client, "/client", 200);
	assert_string_equal(first, "client");
	again = get_text(client, "/client", 200);
	assert_string_equal(again, "client");
	holder = (struct holder){2, second_cert, second_key};
	second = get_text(client, "/client", 200);
	assert_string_equal(second, "second");
	assert_int_equal(stat_of(client, "requests_here"), 2);
	holder = (struct holder){3, second_cert, key};
	seen = perform(client, (struct http_request){.path = "/client"});
	assert_int_equal(seen.rc, -ERROR_INPUT);
	assert_string_equal(seen.text, "the client key does not belong to the client certificate");
	free(seen.text);
}

/* --- Unix sockets ----------------------------------------------------------------------------------------------- */

static void test_unix_sockets(void **state)
{
	_cleanup_free_ char *path = xstrdup(in_folder("socket"));
	_cleanup_free_ char *abstract = xasprintf("@kube-rekey-test-%d", (int)getpid());
	struct net_server at_path = net_server_start("http", (const char *[]){"--unix", path, NULL});
	struct net_server at_name = net_server_start("http", (const char *[]){"--abstract", abstract + 1, NULL});
	_cleanup_(http_client_freep) struct http_client *first =
		client_of(&(struct http_options){.base_url = "http://localhost", .unix_socket = path});
	_cleanup_(http_client_freep) struct http_client *second =
		client_of(&(struct http_options){.base_url = "http://localhost", .unix_socket = abstract});
	_cleanup_(http_client_freep) struct http_client *none =
		client_of(&(struct http_options){.base_url = "http://localhost", .unix_socket = "/nonexistent/socket"});
	struct seen seen;

	(void)state;
	free(get_text(first, "/plain", 200));
	free(get_text(second, "/plain", 200));
	seen = perform(none, (struct http_request){.path = "/plain"});
	assert_int_equal(seen.rc, -ERROR_NETWORK);
	free(seen.text);
	net_server_stop(&at_path);
	net_server_stop(&at_name);
}

/* --- options that are refused ----------------------------------------------------------------------------------- */

struct refused_row {
	const char *name;
	const char *url;
	const char *ca, *cert, *key; /* files in the folder, or text that begins with '-' */
	const char *message;
};
static const struct refused_row refused[] = {
	{"ftp", "ftp://x", 0, 0, 0, "\"ftp://x\" is no address of a server: its scheme must be https or http"},
	{"no scheme", "10.0.0.1:6443", 0, 0, 0,
	 "\"10.0.0.1:6443\" is no address of a server: no URL with a scheme and a host"},
	{"no host", "https://", 0, 0, 0, "\"https://\" is no address of a server: no URL with a scheme and a host"},
	{"port", "https://x:99999", 0, 0, 0,
	 "\"https://x:99999\" is no address of a server: no URL with a scheme and a host"},
	{"query", "https://x/?a=b", 0, 0, 0,
	 "\"https://x/?a=b\" is no address of a server: it must have no user, password, query or fragment"},
	{"a password is not repeated", "https://u:hunter2@x", 0, 0, 0,
	 "\"...\" is no address of a server: it must have no user, password, query or fragment"},
	{"empty CA", "https://x", "-", 0, 0, "certificate authority: no PEM certificate in it"},
	{"a key for a CA", "https://x", "client.key", 0, 0, "certificate authority: no PEM certificate in it"},
	{"a broken CA", "https://x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", 0, 0,
	 "certificate authority: broken PEM: "},
	{"certificate alone", "https://x", "ca.crt", "client.crt", 0,
	 "a client certificate needs its key, and a key its certificate"},
	{"key alone", "https://x", "ca.crt", 0, "client.key",
	 "a client certificate needs its key, and a key its certificate"},
	{"key of another", "https://x", "ca.crt", "client.crt", "server.key",
	 "the client key does not belong to the client certificate"},
	{"a certificate for a key", "https://x", "ca.crt", "client.crt", "client.crt",
	 "client key: no PEM key in it that can be read without a password"},
};

static struct secret *pem(const char *text)
{
	if (text == NULL)
		return NULL;
	return text[0] == '-' ? secret_from(text + (text[1] == '\0'), strlen(text) - (text[1] == '\0'))
			      : read_in_folder(text);
}

static void test_refused(void **state)
{
	const struct refused_row *row = *state;
	_cleanup_secret_ ca_pem = pem(row->ca);
	_cleanup_secret_ cert_pem = pem(row->cert);
	_cleanup_secret_ key_pem = pem(row->key);
	struct http_client *client = NULL;
	struct error *err = NULL;
	int rc = http_client_new(
		loop,
		&(struct http_options){.base_url = row->url,
				       .tls = {.ca_pem = ca_pem, .cert_pem = cert_pem, .key_pem = key_pem}},
		&client, &err);

	assert_int_equal(rc, -ERROR_INPUT);
	assert_null(client);
	if (!text_starts(error_message(err), row->message))
		fail_msg("got \"%s\"", error_message(err));
	error_clear(&err);
}

static void test_paths_below_the_address(void **state)
{
	_cleanup_free_ char *url = xasprintf("%s/echo/k8s/clusters/c-1//", server.url);
	_cleanup_(http_client_freep) struct http_client *client = client_of(&(struct http_options){.base_url = url});
	_cleanup_json_ json = get_json(client, "/api/v1/secrets");

	(void)state;
	assert_string_equal(json_text_at(json, "target"), "/echo/k8s/clusters/c-1/api/v1/secrets");
	assert_true(text_ends(http_client_url(client), "/echo/k8s/clusters/c-1"));
}

/* --- the head, line by line ------------------------------------------------------------------------------------- */

static void test_head_lines(void **state)
{
	struct http_answer answer = {0};

	(void)state;
	http_answer_reset(&answer);
#define LINE(text) http_answer_line(&answer, text, strlen(text))
	assert_int_equal(LINE("HTTP/2 200\r\n"), 0);
	assert_int_equal(answer.major, 2);
	assert_true(http_answer_has_end(&answer));
	assert_int_equal(LINE("grpc-status:  0 \r\n"), 0);
	assert_int_equal(LINE("Grpc-Message: a%20b%zz\r\n"), 0);
	assert_int_equal(LINE("\r\n"), 0);
	assert_true(answer.head_complete);
	assert_int_equal(answer.grpc_status, 0);
	assert_string_equal(answer.grpc_message, "a b%zz");
	assert_int_equal(LINE("HTTP/1.1 204 No Content"), 0);
	assert_int_equal(answer.grpc_status, -1);
	assert_false(answer.head_complete);
	assert_true(http_answer_has_end(&answer));
	assert_int_equal(LINE("HTTP/1.1 200 OK"), 0);
	assert_false(http_answer_has_end(&answer));
	assert_int_equal(LINE("Retry-After: Fri, 31 Dec 1999 23:59:59 GMT"), 0);
	assert_int_equal(answer.retry_after, 0);
	assert_int_equal(LINE("no colon"), 0);
	assert_int_equal(LINE(": no name"), 0);
	assert_int_equal(LINE("Transfer-Encoding: chunked"), 0);
	assert_true(http_answer_has_end(&answer));
	assert_int_equal(LINE("Content-Length: 5, 5"), -ERROR_PROTOCOL);
	assert_int_equal(LINE("grpc-status: -1"), -ERROR_PROTOCOL);
	assert_int_equal(LINE("HTTP/1.1 20"), -ERROR_PROTOCOL);
	assert_int_equal(LINE("HTTP/1.1 099 x"), -ERROR_PROTOCOL);
	assert_int_equal(LINE("HTTP/9 200 x"), -ERROR_PROTOCOL);
#undef LINE
	http_answer_reset(&answer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_headers_of_an_answer),
		cmocka_unit_test(test_counts),
		cmocka_unit_test(test_request_line_and_headers),
		cmocka_unit_test(test_connections_are_kept),
		cmocka_unit_test(test_dead_kept_connection),
		cmocka_unit_test(test_many_calls_on_few_connections),
		cmocka_unit_test(test_nobody_listens),
		cmocka_unit_test(test_pause_and_resume),
		cmocka_unit_test(test_paused_is_not_stalled),
		cmocka_unit_test(test_data_is_refused),
		cmocka_unit_test(test_an_error_is_no_data),
		cmocka_unit_test(test_cut_data_is_no_success),
		cmocka_unit_test(test_cancel_from_a_call_back),
		cmocka_unit_test(test_client_freed_by_its_own_call),
		cmocka_unit_test(test_authorize_fails_for_each),
		cmocka_unit_test(test_tls),
		cmocka_unit_test(test_tls_wrong_authority),
		cmocka_unit_test(test_tls_names),
		cmocka_unit_test(test_tls_client_certificate),
		cmocka_unit_test(test_tls_new_client_certificate),
		cmocka_unit_test(test_unix_sockets),
		cmocka_unit_test(test_paths_below_the_address),
		cmocka_unit_test(test_head_lines),
	};
	int failed;

	if (start_all(NULL) < 0)
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	failed += RUN_ROWS(test_answer, answers);
	failed += RUN_ROWS(test_body, bodies);
	failed += RUN_ROWS(test_time, times);
	failed += RUN_ROWS(test_authorize, auths);
	failed += RUN_ROWS(test_refused, refused);
	stop_all(NULL);
	return failed;
}
