/* An API server of a test's own making: plain HTTP/1.1 in a thread, one scripted answer after the other, or a
 * function's. */
#pragma once
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>
#include "test_support.h"
#include "base/json_read.h"
#include "client/kube/kube.h"

struct served_request {
	char method[16], path[1024];
	char *headers, *body;
	size_t body_len;
};
struct served_answer {
	unsigned status;
	const char *type; /* NULL: application/json */
	const void *body;
	size_t len;          /* 0: strlen */
	const char *headers; /* more lines, each with CRLF; NULL */
	size_t cut;          /* so many bytes of the body fewer than announced, then the end */
	unsigned delay_ms;   /* before it */
	bool drop;           /* no answer at all: the connection ends */
};
typedef struct served_answer (*answer_fn)(void *arg, const struct served_request *request);

#define SERVED_MAX 256
struct kube_server {
	int fd;
	char url[64];
	pthread_t thread;
	pthread_mutex_t lock;
	const struct served_answer *script; /* in turn; the last one again and again */
	size_t script_count;
	answer_fn answer; /* instead of a script */
	void *arg;
	struct served_request seen[SERVED_MAX];
	size_t seen_count;
};

/* One request from the connection: false at its end. */
static inline bool serve_read(FILE *in, struct served_request *ret)
{
	char line[8192];
	size_t len = 0;

	memset(ret, 0, sizeof(*ret));
	if (fgets(line, sizeof(line), in) == NULL || sscanf(line, "%15s %1023s", ret->method, ret->path) != 2)
		return false;
	ret->headers = xstrdup("");
	while (fgets(line, sizeof(line), in) != NULL && line[0] != '\r') {
		char *longer = xasprintf("%s%s", ret->headers, line);

		free(ret->headers);
		ret->headers = longer;
		if (strncasecmp(line, "content-length:", 15) == 0)
			len = strtoul(line + 15, NULL, 10);
	}
	ret->body = xcalloc(1, len + 1);
	ret->body_len = fread(ret->body, 1, len, in);
	return ret->body_len == len;
}

static inline void serve_forget(struct served_request *request)
{
	free(request->headers);
	free(request->body);
}

static inline void serve_write(int fd, const struct served_answer *answer)
{
	size_t len = answer->len;

	dprintf(fd, "HTTP/1.1 %u Whatever\r\nContent-Type: %s\r\nContent-Length: %zu\r\n%s\r\n", answer->status,
		answer->type ? answer->type : "application/json", len, answer->headers ? answer->headers : "");
	if (len > answer->cut && write(fd, answer->body, len - answer->cut) < 0)
		return;
}

struct served_connection {
	struct kube_server *server;
	int fd;
};

static inline void *serve_connection(void *arg)
{
	struct served_connection connection = *(struct served_connection *)arg;
	struct kube_server *server = connection.server;
	FILE *in = fdopen(dup(connection.fd), "r");
	bool more = true;

	free(arg);
	while (more) {
		struct served_request request;
		struct served_answer answer = {.drop = true};

		if (!serve_read(in, &request)) {
			serve_forget(&request);
			break;
		}
		pthread_mutex_lock(&server->lock);
		bool kept = server->seen_count < SERVED_MAX;
		if (kept)
			server->seen[server->seen_count++] = request;
		if (server->answer != NULL)
			answer = server->answer(server->arg, &request);
		else if (server->script_count > 0) {
			answer = *server->script;
			if (server->script_count > 1) {
				server->script++;
				server->script_count--;
			}
		}
		/* What the script's owner has may be gone by the time that it is sent. */
		void *body = NULL;
		if (answer.body != NULL && answer.len == 0)
			answer.len = strlen(answer.body);
		if (answer.len > 0)
			answer.body = body = xmemdup(answer.body, answer.len);
		pthread_mutex_unlock(&server->lock);
		if (!kept)
			serve_forget(&request);
		if (answer.delay_ms)
			usleep(answer.delay_ms * 1000);
		if (!answer.drop)
			serve_write(connection.fd, &answer);
		free(body);
		more = !answer.drop && answer.cut == 0;
	}
	fclose(in);
	close(connection.fd);
	return NULL;
}

static inline void *serve(void *arg)
{
	struct kube_server *server = arg;
	int fd;

	while ((fd = accept(server->fd, NULL, NULL)) >= 0) {
		struct served_connection *connection = xcalloc(1, sizeof(*connection));
		pthread_t thread;

		/* An answer is two writes: the second must not wait for the first one's acknowledgement. */
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
		*connection = (struct served_connection){.server = server, .fd = fd};
		if (pthread_create(&thread, NULL, serve_connection, connection) != 0)
			abort();
		pthread_detach(thread);
	}
	return NULL;
}

static inline void kube_server_start(struct kube_server *server)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);

	memset(server, 0, sizeof(*server));
	pthread_mutex_init(&server->lock, NULL);
	server->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(server->fd, (struct sockaddr *)&address, len), 0);
	assert_int_equal(listen(server->fd, 64), 0);
	assert_int_equal(getsockname(server->fd, (struct sockaddr *)&address, &len), 0);
	snprintf(server->url, sizeof(server->url), "http://127.0.0.1:%u", ntohs(address.sin_port));
	assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
}

/* Forgets what was asked and takes another script. */
static inline void kube_server_play(struct kube_server *server, const struct served_answer *script, size_t count)
{
	pthread_mutex_lock(&server->lock);
	for (size_t i = 0; i < server->seen_count; i++)
		serve_forget(&server->seen[i]);
	server->seen_count = 0;
	server->script = script;
	server->script_count = count;
	server->answer = NULL;
	pthread_mutex_unlock(&server->lock);
}

static inline void kube_server_stop(struct kube_server *server)
{
	kube_server_play(server, NULL, 0);
	shutdown(server->fd, SHUT_RDWR);
	close(server->fd);
	pthread_join(server->thread, NULL);
}

/* A kube that asks this server. */
static inline struct kube kube_of(struct kube_server *server, struct loop *loop)
{
	struct http_options options = {.base_url = server->url, .max_connections = 4};
	struct kube kube = {.loop = loop, .name = "cp-1"};
	struct error *err = NULL;

	assert_ok(http_client_new(loop, &options, &kube.http, &err), err);
	return kube;
}

/* Starts it, and a loop with a kube that asks it: for a whole test program. */
static inline struct kube kube_server_open(struct kube_server *server)
{
	struct error *err = NULL;
	struct loop *loop;

	json_install_hooks();
	assert_ok(loop_new(&loop, &err), err);
	kube_server_start(server);
	return kube_of(server, loop);
}

static inline void kube_server_close(struct kube_server *server, struct kube *kube)
{
	struct loop *loop = kube->loop;

	http_client_free(kube->http);
	kube_server_stop(server);
	loop_free(loop);
}
