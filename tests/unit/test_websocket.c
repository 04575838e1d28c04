/* WebSockets against a server that answers as its paths say: what arrives, whom we trust, what we send. */
#include "net_server.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/text.h"
#include "net/websocket.h"

#define PATIENCE (60 * NS_PER_S)

static struct loop *loop;
static struct web *web;

/* What one socket saw. */
struct seen {
	struct websocket *socket;
	struct buf log; /* "open ", "text:... ", "part ", "pong ", "end:STATUS " */
	char *why;
	size_t bytes;
	bool opened, ended, ponged, has_text;
	bool close_at_text;
};

static void note(struct seen *seen, const char *text)
{
	assert_int_equal(buf_append_text(&seen->log, text), 0);
}

static void on_open(void *arg)
{
	struct seen *seen = arg;

	seen->opened = true;
	note(seen, "open ");
}

static void on_text(void *arg, const uint8_t *bytes, size_t len, bool last)
{
	struct seen *seen = arg;

	seen->bytes += len;
	if (len < 4096) {
		assert_int_equal(buf_append(&seen->log, bytes, len), 0);
		note(seen, last ? "." : "+");
	}
	if (!seen->close_at_text && !last)
		return;
	seen->has_text = true;
	if (!seen->close_at_text)
		return;
	websocket_close(seen->socket);
	seen->socket = NULL;
}

static void on_pong(void *arg)
{
	struct seen *seen = arg;

	seen->ponged = true;
}

static void on_end(void *arg, unsigned status, const char *why)
{
	struct seen *seen = arg;
	_cleanup_free_ char *text = xasprintf(" end:%u", status);

	note(seen, text);
	seen->ended = true;
	seen->why = xstrdup(why);
}

static const struct websocket_handler handler = {
	.on_open = on_open, .on_text = on_text, .on_pong = on_pong, .on_end = on_end};

static void seen_free(struct seen *seen)
{
	websocket_close(seen->socket);
	buf_free(&seen->log);
	free(seen->why);
}

static void wait_for(const bool *what)
{
	struct error *err = NULL;

	assert_ok(loop_run_until(loop, what, clock_monotonic() + PATIENCE, &err), err);
}

static struct http_client *make_client(const char *url, struct http_options options)
{
	struct http_client *client = NULL;
	struct error *err = NULL;

	options.base_url = url;
	assert_ok(http_client_new(loop, &options, &client, &err), err);
	return client;
}

static void open_socket(struct http_client *client, const char *path, struct seen *seen)
{
	struct error *err = NULL;

	seen->log = BUF_INIT(1u << 20);
	assert_ok(websocket_open(web, client, path, "application/json;x=y", false, &handler, seen, &seen->socket, &err),
		  err);
}

/* Opens `path` and waits for its end. */
static void visit(struct http_client *client, const char *path, struct seen *seen)
{
	open_socket(client, path, seen);
	wait_for(&seen->ended);
}

static int begin(void **state)
{
	struct error *err = NULL;

	if (make_folder(state) < 0)
		return -1;
	assert_ok(loop_new(&loop, &err), err);
	assert_ok(web_start(loop, &web, &err), err);
	return 0;
}

static int finish(void **state)
{
	web_stop(web);
	loop_free(loop);
	return remove_folder(state);
}

static struct net_server plain_server(void)
{
	return net_server_run("tests/unit/websocket_server.py", "http", NULL);
}

static void test_messages(void **state)
{
	struct net_server server = plain_server();
	struct http_client *client = make_client(server.url, (struct http_options){0});
	struct seen seen = {.socket = NULL};

	(void)state;
	visit(client, "/parts", &seen);
	/* Of the one that was cut nothing need come, and no end of it. */
	assert_non_null(strstr(buf_text(&seen.log), "open one +two +three.."));
	assert_null(strstr(buf_text(&seen.log), "half of this"));
	assert_true(text_ends(buf_text(&seen.log), " end:0"));
	seen_free(&seen);
	http_client_free(client);
	net_server_stop(&server);
}

static void test_refusals(void **state)
{
	static const char *const rows[][2] = {{"/status/401", " end:401"}, {"/status/403", " end:403"},
					      {"/status/410", " end:410"}, {"/status/429", " end:429"},
					      {"/status/500", " end:500"}, {"/redirect", " end:302"}};
	struct net_server server = plain_server();
	struct http_client *client = make_client(server.url, (struct http_options){0});

	(void)state;
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		struct seen seen = {.socket = NULL};

		visit(client, rows[i][0], &seen);
		assert_string_equal(buf_text(&seen.log), rows[i][1]);
		seen_free(&seen);
	}
	http_client_free(client);
	net_server_stop(&server);
	{
		struct seen seen = {.socket = NULL};

		client = make_client("http://127.0.0.1:1", (struct http_options){0});
		visit(client, "/head", &seen);
		assert_string_equal(buf_text(&seen.log), " end:0");
		assert_true(seen.why[0] != '\0');
		seen_free(&seen);
		http_client_free(client);
	}
}

/* More than waits for the loop at once: reading stops, and goes on. */
static void test_large(void **state)
{
	struct net_server server = plain_server();
	struct http_client *client = make_client(server.url, (struct http_options){0});
	struct seen seen = {.socket = NULL};

	(void)state;
	open_socket(client, "/large", &seen);
	usleep(500000); /* the other thread reads meanwhile */
	while (seen.bytes < (16u << 20) + 3)
		loop_step(loop, clock_monotonic() + NS_PER_S);
	assert_int_equal(seen.bytes, (16u << 20) + 3);
	assert_non_null(strstr(buf_text(&seen.log), "end."));
	seen_free(&seen);
	http_client_free(client);
	net_server_stop(&server);
}

/* In the middle of a frame that has no end; the thread goes on with others. */
static void test_closing_within_a_frame(void **state)
{
	struct net_server server = plain_server();
	struct http_client *client = make_client(server.url, (struct http_options){0});
	struct seen endless = {.close_at_text = true}, other = {.socket = NULL};

	(void)state;
	open_socket(client, "/endless", &endless);
	wait_for(&endless.has_text);
	visit(client, "/head", &other);
	assert_true(other.opened);
	seen_free(&endless);
	seen_free(&other);
	http_client_free(client);
	net_server_stop(&server);
}

static void test_ping(void **state)
{
	struct net_server server = plain_server();
	struct http_client *client = make_client(server.url, (struct http_options){0});
	struct seen seen = {.socket = NULL}, silent = {.socket = NULL};

	(void)state;
	open_socket(client, "/pong", &seen);
	open_socket(client, "/nothing", &silent);
	websocket_ping(silent.socket); /* before it is open: nothing */
	wait_for(&seen.opened);
	for (int i = 0; i < 3; i++) {
		seen.ponged = false;
		websocket_ping(seen.socket);
		wait_for(&seen.ponged);
	}
	assert_false(silent.opened);
	seen_free(&seen);
	seen_free(&silent); /* closed while it is connecting */
	http_client_free(client);
	net_server_stop(&server);
}

static int authorize_forced(void *arg, bool force, struct secret **ret_header_value, struct error **err)
{
	(void)arg;
	if (!force)
		return error_set(err, ERROR_AUTH, "no token");
	*ret_header_value = secret_from("Bearer new", 10);
	return 0;
}

static void test_credentials(void **state)
{
	struct net_server server = plain_server();
	struct http_client *client = make_client(server.url, (struct http_options){.authorize = authorize_forced});
	struct seen seen = {.log = BUF_INIT(1u << 20)};
	struct error *err = NULL;
	int rc = websocket_open(web, client, "/head", "x", false, &handler, &seen, &seen.socket, &err);

	(void)state;
	assert_error(rc, err, ERROR_AUTH, "no token");
	assert_ok(websocket_open(web, client, "/head", "x", true, &handler, &seen, &seen.socket, &err), err);
	wait_for(&seen.ended);
	assert_non_null(strstr(buf_text(&seen.log), "\nAuthorization: Bearer new."));
	seen_free(&seen);
	http_client_free(client);
	net_server_stop(&server);
}

static int authorize(void *arg, bool force, struct secret **ret_header_value, struct error **err)
{
	(void)force;
	(void)err;
	*ret_header_value = secret_from(arg, strlen(arg));
	return 0;
}

static void test_what_is_sent(void **state)
{
	static const char *const headers[] = {"Impersonate-User: jane", NULL};
	struct net_server server = plain_server();
	size_t token_len = 60000;
	char *token = xcalloc(1, token_len + 1);
	struct http_client *client;
	struct seen seen = {.socket = NULL};

	(void)state;
	memset(token, 't', token_len);
	memcpy(token, "Bearer ", 7);
	client = make_client(server.url,
			     (struct http_options){.headers = headers, .authorize = authorize, .authorize_arg = token});
	visit(client, "/head?watch=true", &seen);
	assert_int_equal(seen.bytes > token_len, true);
	seen_free(&seen);
	http_client_free(client);
	/* A short one can be looked at. */
	token[20] = '\0';
	client = make_client(server.url,
			     (struct http_options){.headers = headers, .authorize = authorize, .authorize_arg = token});
	seen = (struct seen){.socket = NULL};
	visit(client, "/head?watch=true", &seen);
	assert_non_null(strstr(buf_text(&seen.log), "GET /head?watch=true HTTP/1.1\n"));
	assert_non_null(strstr(buf_text(&seen.log), "\nAccept: application/json;x=y\n"));
	assert_non_null(strstr(buf_text(&seen.log), "\nAuthorization: Bearer ttttttttttttt."));
	assert_non_null(strstr(buf_text(&seen.log), "\nImpersonate-User: jane\n"));
	assert_non_null(strstr(buf_text(&seen.log), "\nOrigin: http://"));
	assert_non_null(strstr(buf_text(&seen.log), "\nUser-Agent: kube-rekey/"));
	assert_null(strstr(buf_text(&seen.log), "Sec-WebSocket-Protocol"));
	assert_null(strstr(buf_text(&seen.log), "Sec-WebSocket-Extensions"));
	seen_free(&seen);
	http_client_free(client);
	net_server_stop(&server);
	free(token);
}

static void assert_trust(const char *url, struct http_tls tls, bool trusted)
{
	struct http_client *client = make_client(url, (struct http_options){.tls = tls});
	struct seen seen = {.socket = NULL};

	visit(client, "/head", &seen);
	if (seen.opened != trusted)
		fail_msg("opened %d (%s), name %s", seen.opened, seen.why, tls.server_name ? tls.server_name : "-");
	seen_free(&seen);
	http_client_free(client);
}

static void test_whom_we_trust(void **state)
{
	const char *arguments[4] = {NULL};
	struct net_server server;
	struct secret *ca, *other, *cert, *key;

	(void)state;
	make_authority("ca");
	make_authority("other");
	make_certificate("ca", "server", "IP:127.0.0.1,DNS:api.test");
	make_certificate("ca", "named", "DNS:api.test");
	make_certificate("ca", "client", "DNS:client");
	ca = read_in_folder("ca.crt");
	other = read_in_folder("other.crt");
	cert = read_in_folder("client.crt");
	key = read_in_folder("client.key");
	arguments[0] = in_folder("server.crt");
	arguments[1] = in_folder("server.key");
	server = net_server_run("tests/unit/websocket_server.py", "https", arguments);
	assert_trust(server.url, (struct http_tls){.ca_pem = ca}, true);
	assert_trust(server.url, (struct http_tls){.ca_pem = other}, false);
	assert_trust(server.url, (struct http_tls){.ca_pem = NULL}, false);
	assert_trust(server.url, (struct http_tls){.ca_pem = ca, .server_name = "api.test"}, true);
	assert_trust(server.url, (struct http_tls){.ca_pem = ca, .server_name = "other.test"}, false);
	assert_trust(server.url, (struct http_tls){.ca_pem = ca, .server_name = "::1"}, false);
	assert_trust(server.url, (struct http_tls){.ca_pem = other, .insecure = true}, true);
	assert_trust(server.url, (struct http_tls){.insecure = true, .server_name = "other.test"}, true);
	net_server_stop(&server);
	arguments[0] = in_folder("named.crt");
	arguments[1] = in_folder("named.key");
	server = net_server_run("tests/unit/websocket_server.py", "https", arguments);
	assert_trust(server.url, (struct http_tls){.ca_pem = ca}, false);
	assert_trust(server.url, (struct http_tls){.ca_pem = ca, .server_name = "api.test"}, true);
	net_server_stop(&server);
	arguments[0] = in_folder("server.crt");
	arguments[1] = in_folder("server.key");
	arguments[2] = in_folder("ca.crt");
	server = net_server_run("tests/unit/websocket_server.py", "https", arguments);
	assert_trust(server.url, (struct http_tls){.ca_pem = ca, .cert_pem = cert, .key_pem = key}, true);
	assert_trust(server.url, (struct http_tls){.ca_pem = ca}, false);
	net_server_stop(&server);
	secret_free(ca);
	secret_free(other);
	secret_free(cert);
	secret_free(key);
}

static void test_limits(void **state)
{
	struct http_client *client = make_client("http://127.0.0.1:1", (struct http_options){0});
	struct http_client *proxied =
		make_client("http://127.0.0.1:1", (struct http_options){.proxy_url = "http://127.0.0.1:2"});
	struct seen seen[WEBSOCKETS_MAX + 1] = {{.socket = NULL}};
	char path[WEBSOCKET_PATH_MAX + 2];
	struct error *err = NULL;
	int rc;

	(void)state;
	memset(path, 'a', sizeof(path));
	path[0] = '/';
	path[sizeof(path) - 1] = '\0';
	rc = websocket_open(web, client, path, "x", false, &handler, &seen[0], &seen[0].socket, &err);
	assert_error(rc, err, ERROR_LIMIT, "the request for a watch is too long");
	rc = websocket_open(web, proxied, "/", "x", false, &handler, &seen[0], &seen[0].socket, &err);
	assert_error(rc, err, ERROR_INPUT, "watching through a proxy is not supported");
	for (size_t i = 0; i < WEBSOCKETS_MAX; i++)
		open_socket(client, "/", &seen[i]);
	rc = websocket_open(web, client, "/", "x", false, &handler, NULL, &seen[WEBSOCKETS_MAX].socket, &err);
	assert_error(rc, err, ERROR_LIMIT, "more than 64 watches");
	for (size_t i = 0; i < WEBSOCKETS_MAX; i++) {
		if (i % 2 == 0)
			wait_for(&seen[i].ended);
		seen_free(&seen[i]);
	}
	http_client_free(client);
	http_client_free(proxied);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_messages, begin, finish),
		cmocka_unit_test_setup_teardown(test_refusals, begin, finish),
		cmocka_unit_test_setup_teardown(test_large, begin, finish),
		cmocka_unit_test_setup_teardown(test_closing_within_a_frame, begin, finish),
		cmocka_unit_test_setup_teardown(test_ping, begin, finish),
		cmocka_unit_test_setup_teardown(test_credentials, begin, finish),
		cmocka_unit_test_setup_teardown(test_what_is_sent, begin, finish),
		cmocka_unit_test_setup_teardown(test_whom_we_trust, begin, finish),
		cmocka_unit_test_setup_teardown(test_limits, begin, finish),
	};

	/* Which lws would take by itself. */
	setenv("http_proxy", "127.0.0.1:1", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
