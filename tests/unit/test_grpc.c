#include "net_server.h"
#include <glob.h>
#include "base/clock.h"
#include "base/text.h"
#include "format/grpc_frame.h"
#include "net/grpc.h"

static struct net_server server;
static struct loop *loop;
static struct http_client *client;

static struct http_client *client_of(const char *url, const char *unix_socket)
{
	struct http_options options = {
		.base_url = url, .unix_socket = unix_socket, .http2 = true, .max_connections = 4};
	struct http_client *made = NULL;
	struct error *err = NULL;

	assert_ok(http_client_new(loop, &options, &made, &err), err);
	return made;
}

/* What was wiped last. */
static char wiped[16];
void __real_secret_wipe(void *bytes, size_t len);
void __wrap_secret_wipe(void *bytes, size_t len);
void __wrap_secret_wipe(void *bytes, size_t len)
{
	size_t kept = len < sizeof(wiped) - 1 ? len : sizeof(wiped) - 1;
	memcpy(wiped, bytes, kept);
	wiped[kept] = '\0';
	__real_secret_wipe(bytes, len);
}

struct answer_row {
	const char *name; /* for the server, see grpc_server.py */
	int rc;
	const char *message; /* the answer; of an error what follows the URL and method, or its beginning */
};
static const struct answer_row answers[] = {
	{"good", 0, "answer"},
	{"empty", 0, ""},
	{"pieces", 0, "in pieces"},
	{"proto suffix", 0, "answer"},
	{"no message", -ERROR_PROTOCOL, ": status OK without a whole message"},
	{"two messages", -ERROR_PROTOCOL, ": the answer could not be used"},
	{"half a message", -ERROR_PROTOCOL, ": status OK without a whole message"},
	{"compressed", -ERROR_PROTOCOL, ": the answer could not be used"},
	{"too large", -ERROR_LIMIT, ": the answer could not be used"},
	{"no trailers", -ERROR_NETWORK, ": the answer ended without a status"},
	{"trailers without status", -ERROR_NETWORK, ": the answer ended without a status"},
	{"message, then an error", -ERROR_PROTOCOL, ": INTERNAL: changed my mind"},
	{"status that is none", -ERROR_PROTOCOL, ": "},
	{"compacted", -ERROR_EXPIRED, ": OUT_OF_RANGE: etcdserver: mvcc: required revision has been compacted"},
	{"future", -ERROR_PROTOCOL, ": OUT_OF_RANGE: etcdserver: mvcc: required revision is a future revision"},
	{"denied", -ERROR_AUTH, ": PERMISSION_DENIED: permission denied?here"},
	{"unauthenticated", -ERROR_AUTH, ": UNAUTHENTICATED"},
	{"exhausted", -ERROR_BUSY, ": RESOURCE_EXHAUSTED"},
	{"unavailable", -ERROR_BUSY, ": UNAVAILABLE: no leader"},
	{"deadline", -ERROR_NETWORK, ": DEADLINE_EXCEEDED"},
	{"not found", -ERROR_NOT_FOUND, ": NOT_FOUND"},
	{"unimplemented", -ERROR_PROTOCOL, ": UNIMPLEMENTED"},
	{"strange", -ERROR_PROTOCOL, ": CODE_99"},
	{"http 503", -ERROR_BUSY, ": UNAVAILABLE: HTTP status 503"},
	{"http 404", -ERROR_PROTOCOL, ": UNIMPLEMENTED: HTTP status 404"},
	{"http 401", -ERROR_AUTH, ": UNAUTHENTICATED: HTTP status 401"},
	{"no gRPC", -ERROR_PROTOCOL, ": the answer "},
	{"reset", -ERROR_NETWORK, ": "},
	{"refused", -ERROR_NETWORK, ": "},
	{"closes in the middle", -ERROR_NETWORK, ": "},
	{"closes after the message", -ERROR_NETWORK, ": "},
	{"closes", -ERROR_NETWORK, ": "},
	{"silent", -ERROR_NETWORK, ": "},
};

static struct grpc_request request_for(const char *name, struct buf *message)
{
	*message = BUF_INIT(1000);
	assert_int_equal(buf_append_text(message, name), 0);
	return (struct grpc_request){
		.method = "/test.Service/Method", .message = message, .timeout = 60 * NS_PER_S, .max_message = 2000000};
}

static void assert_answer(struct http_client *to, const struct answer_row *row)
{
	_cleanup_buf_ message = {0};
	_cleanup_buf_ answer = {0};
	struct grpc_request request = request_for(row->name, &message);
	struct error *err = NULL;
	const char *behind;
	int rc;

	if (strcmp(row->name, "silent") == 0)
		request.timeout = 200 * NS_PER_MS;
	rc = grpc_fetch(to, &request, &answer, &err);
	if (row->rc == 0) {
		assert_ok(rc, err);
		assert_string_equal(buf_text(&answer), row->message);
		return;
	}
	if (rc != row->rc)
		fail_msg("rc %d, %s", rc, error_message(err));
	behind = strstr(error_message(err), "/test.Service/Method");
	assert_non_null(behind);
	if (!text_starts(behind + strlen("/test.Service/Method"), row->message))
		fail_msg("got \"%s\"", error_message(err));
	assert_string_equal(error_server(err), http_client_url(to));
	assert_null(answer.data);
	error_free(err);
}

static void test_answer(void **state)
{
	static const struct answer_row good = {"good", 0, "answer"};

	assert_answer(client, *state);
	/* And the client is as good as before. */
	assert_answer(client, &good);
}

/* A KMS may have sent a key before the call failed. */
static void test_failed_is_wiped(void **state)
{
	static const struct answer_row row = {"message, then an error", -ERROR_PROTOCOL, ""};

	(void)state;
	wiped[0] = '\0';
	assert_answer(client, &row);
	assert_string_equal(wiped, "answer");
}

static void test_unix_sockets(void **state)
{
	_cleanup_free_ char *path = xstrdup(in_folder("socket"));
	_cleanup_free_ char *abstract = xasprintf("@kube-rekey-grpc-%d", (int)getpid());
	const char *const at_path[] = {"--unix", path, NULL}, *const at_name[] = {"--abstract", abstract + 1, NULL};
	struct net_server first = net_server_run("tests/unit/grpc_server.py", "http", at_path);
	struct net_server second = net_server_run("tests/unit/grpc_server.py", "http", at_name);
	_cleanup_(http_client_freep) struct http_client *by_path = client_of("http://localhost", path);
	_cleanup_(http_client_freep) struct http_client *by_name = client_of("http://localhost", abstract);
	int i;

	(void)state;
	/* More than once: reuse of such a connection is what curl gets wrong. */
	for (i = 0; i < 3; i++) {
		assert_answer(by_path, &answers[0]);
		assert_answer(by_name, &answers[0]);
	}
	net_server_stop(&first);
	net_server_stop(&second);
}

struct stream {
	size_t len;
	int stop_with;
	unsigned done;
	int rc;
};

static int on_message(void *arg, const uint8_t *bytes, size_t len)
{
	struct stream *stream = arg;

	assert_int_equal(bytes[0], 'L');
	stream->len += len;
	return stream->len > 500000 ? stream->stop_with : 0;
}

static void on_done(void *arg, struct grpc_result *result)
{
	struct stream *stream = arg;

	stream->done++;
	stream->rc = result->rc;
	assert_int_equal(result->message->len, 0);
}

static void test_pieces_are_handed_on(void **state)
{
	_cleanup_buf_ message = {0};
	struct grpc_request request = request_for("large", &message);
	struct stream whole = {0}, stopped = {.stop_with = -ERROR_FINDING};

	(void)state;
	request.on_message = on_message;
	request.on_done = on_done;
	request.arg = &whole;
	grpc_start(client, &request);
	request.arg = &stopped;
	grpc_start(client, &request);
	buf_reset(&message); /* it was copied */
	while (!whole.done || !stopped.done)
		loop_step(loop, UINT64_MAX);
	assert_int_equal(whole.rc, 0);
	assert_int_equal(whole.len, 1000000);
	assert_int_equal(stopped.rc, -ERROR_FINDING);
	assert_true(stopped.len < 600000);
}

static void on_never(void *arg, struct grpc_result *result)
{
	(void)arg;
	(void)result;
	fail_msg("called back after a cancel");
}

static void test_cancel(void **state)
{
	_cleanup_buf_ message = {0};
	struct grpc_request request = request_for("silent", &message);
	struct grpc_call *call;
	int i;

	(void)state;
	request.on_done = on_never;
	call = grpc_start(client, &request);
	for (i = 0; i < 5; i++)
		loop_step(loop, loop_now(loop) + 10 * NS_PER_MS);
	grpc_cancel(call);
	grpc_cancel(grpc_start(client, &request));
	grpc_cancel(NULL);
	assert_answer(client, &answers[0]);
}

/* --- a real etcd, where the test bed has built one --------------------------------------------------------------- */

static pid_t etcd_pid;

static char *find_etcd(void)
{
	const char *cache = getenv("KUBE_REKEY_CACHE"), *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
	_cleanup_free_ char *pattern = NULL;
	glob_t found;
	char *path = NULL;

	if (cache != NULL)
		pattern = xasprintf("%s/etcd-v*/etcd", cache);
	else if (xdg != NULL)
		pattern = xasprintf("%s/kube-rekey/etcd-v*/etcd", xdg);
	else
		pattern = xasprintf("%s/.cache/kube-rekey/etcd-v*/etcd", home ? home : "");
	if (glob(pattern, 0, NULL, &found) == 0)
		path = xstrdup(found.gl_pathv[0]);
	globfree(&found);
	return path;
}

/* Whether it answers. Not where it ended at once: somebody else has its port. */
static bool etcd_answers(struct http_client *etcd, struct grpc_request *status)
{
	int i, rc;

	for (i = 0; i < 600; i++) {
		_cleanup_buf_ answer = {0};

		rc = grpc_fetch(etcd, status, &answer, NULL);
		if (waitpid(etcd_pid, NULL, WNOHANG) != 0) {
			etcd_pid = 0;
			return false;
		}
		if (rc == 0)
			return true;
		usleep(50000);
	}
	fail_msg("etcd does not answer");
	return false;
}

/* Several times at once. */
static void ask_etcd(struct http_client *etcd, struct grpc_request *status)
{
	struct error *err = NULL;
	_cleanup_buf_ answer = {0};
	int i, rc;

	for (i = 0; i < 3; i++) {
		buf_free(&answer);
		assert_ok(grpc_fetch(etcd, status, &answer, &err), err);
		assert_true(answer.len > 20);
	}
	buf_free(&answer);
	status->method = "/etcdserverpb.Maintenance/NoSuch";
	rc = grpc_fetch(etcd, status, &answer, &err);
	if (rc != -ERROR_PROTOCOL)
		fail_msg("rc %d, %s", rc, error_message(err));
	assert_non_null(
		strstr(error_message(err), "/etcdserverpb.Maintenance/NoSuch: UNIMPLEMENTED: unknown method NoSuch"));
	error_free(err);
}

static void spawn_etcd(char *etcd, char *url, unsigned peer_port, bool tls)
{
	_cleanup_free_ char *peer = xasprintf("http://127.0.0.1:%u", peer_port);
	_cleanup_free_ char *data = xstrdup(in_folder("data"));
	_cleanup_free_ char *cert = xasprintf("--cert-file=%s", in_folder("server.crt")),
			    *key = xasprintf("--key-file=%s", in_folder("server.key"));
	_cleanup_free_ char *ca_file = xasprintf("--trusted-ca-file=%s", in_folder("ca.crt"));
	char *argv[] = {etcd,
			(char[]){"--log-level=fatal"},
			(char[]){"--data-dir"},
			data,
			(char[]){"--listen-client-urls"},
			url,
			(char[]){"--advertise-client-urls"},
			url,
			(char[]){"--listen-peer-urls"},
			peer,
			tls ? cert : NULL,
			key,
			ca_file,
			(char[]){"--client-cert-auth"},
			NULL};

	assert_int_equal(posix_spawn(&etcd_pid, etcd, NULL, NULL, argv, environ), 0);
}

/* Plain, or with mutual TLS where there is an initial state. */
static void test_etcd(void **state)
{
	_cleanup_free_ char *etcd = find_etcd();
	bool tls = *state != NULL, answered = false;
	_cleanup_secret_ ca = NULL;
	_cleanup_secret_ client_cert = NULL;
	_cleanup_secret_ client_key = NULL;
	struct http_options options = {.http2 = true, .max_connections = 2};
	unsigned attempt;

	if (etcd == NULL)
		skip();
	if (tls) {
		make_authority("ca");
		make_certificate("ca", "server", "IP:127.0.0.1");
		make_certificate("ca", "client", "DNS:client");
		ca = read_in_folder("ca.crt");
		client_cert = read_in_folder("client.crt");
		client_key = read_in_folder("client.key");
		options.tls = (struct http_tls){.ca_pem = ca, .cert_pem = client_cert, .key_pem = client_key};
	}
	for (attempt = 0; attempt < 5 && !answered; attempt++) {
		/* Below the kernel's range for outgoing connections, as the end-to-end tests' ports are. */
		unsigned port = 20000 + ((unsigned)getpid() * 2 + attempt * 1999) % 12000;
		_cleanup_free_ char *url = xasprintf("%s://127.0.0.1:%u", tls ? "https" : "http", port);
		struct grpc_request status = {
			.method = "/etcdserverpb.Maintenance/Status", .max_message = 10000, .timeout = 5 * NS_PER_S};
		struct http_client *to = NULL;
		struct error *err = NULL;

		options.base_url = url;
		spawn_etcd(etcd, url, port + 1, tls);
		assert_ok(http_client_new(loop, &options, &to, &err), err);
		answered = etcd_answers(to, &status);
		if (answered)
			ask_etcd(to, &status);
		http_client_free(to);
	}
	assert_true(answered);
}

/* Also after an assertion that failed. */
static int stop_etcd(void **state)
{
	if (etcd_pid > 0) {
		kill(etcd_pid, SIGKILL);
		waitpid(etcd_pid, NULL, 0);
	}
	etcd_pid = 0;
	return remove_folder(state);
}

int main(void)
{
	struct CMUnitTest tests[] = {
		folder_test(test_unix_sockets),
		cmocka_unit_test(test_pieces_are_handed_on),
		cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_failed_is_wiped),
		cmocka_unit_test_setup_teardown(test_etcd, make_folder, stop_etcd),
		{"test_etcd with mutual TLS", test_etcd, make_folder, stop_etcd, &loop},
	};
	struct error *err = NULL;
	int failed;

	if (loop_new(&loop, &err) < 0)
		return 1;
	server = net_server_run("tests/unit/grpc_server.py", "http", NULL);
	client = client_of(server.url, NULL);
	failed = cmocka_run_group_tests(tests, NULL, NULL) + RUN_ROWS(test_answer, answers);
	http_client_free(client);
	net_server_stop(&server);
	loop_free(loop);
	return failed;
}
