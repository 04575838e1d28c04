#include "client/kms/kms.h"

#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "base/buf.h"
#include "format/kms_object.h"
#include "net/grpc.h"

#define SCHEME "unix://"
#define STATUS "/v2.KeyManagementService/Status"
#define DECRYPT "/v2.KeyManagementService/Decrypt"

int kms_socket(const char *endpoint, char **ret, struct error **err)
{
	const char *path = text_starts(endpoint, SCHEME) ? endpoint + strlen(SCHEME) : "";
	const char *name = text_starts(path, "/@") ? path + 1 : path;
	size_t room = sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1;

	if (*path != '/' || strlen(name) < 2)
		return error_set(err, ERROR_INPUT, "KMS endpoint %s: not unix:///PATH", endpoint);
	if (strlen(name) > room)
		return error_set(err, ERROR_INPUT, "KMS endpoint %s: longer than a socket's name may be", endpoint);
	*ret = xstrdup(name);
	return 0;
}

static int client_of(struct loop *loop, const char *socket, struct http_client **ret, struct error **err)
{
	/* The name is for the :authority alone. */
	const struct http_options options = {
		.base_url = "http://localhost", .unix_socket = socket, .http2 = true, .max_connections = 1};
	return http_client_new(loop, &options, ret, err);
}

/* --- Status of several --- */

struct asked {
	struct kms_status_ask *ask;
	struct http_client *client;
	struct grpc_call *call; /* NULL: it is over */
	uint64_t began;
	struct asking *all;
};
struct asking {
	size_t open;
	bool done;
};

static void take_status(struct kms_status_ask *ask, struct grpc_result *result)
{
	const struct buf *answer = result->message;
	ask->error = steal(result->error);
	if (result->rc == 0 && kms_status_parse(answer->data, answer->len, &ask->status) < 0)
		(void)!error_set(&ask->error, ERROR_PROTOCOL, "the answer is no StatusResponse");
	if (ask->error)
		(void)!error_wrap(&ask->error, result->rc, "KMS plugin at %s", ask->endpoint);
}

static void on_status(void *arg, struct grpc_result *result)
{
	struct asked *asked = arg;
	asked->call = NULL;
	asked->ask->took = loop_now(http_client_loop(asked->client)) - asked->began;
	take_status(asked->ask, result);
	asked->all->done = --asked->all->open == 0;
}

static void start(struct loop *loop, struct asked *asked)
{
	_cleanup_free_ char *socket = NULL;
	_cleanup_buf_ nothing = BUF_INIT(1);
	struct kms_status_ask *ask = asked->ask;
	int rc = kms_socket(ask->endpoint, &socket, &ask->error);
	if (rc == 0)
		rc = client_of(loop, socket, &asked->client, &ask->error);
	if (rc < 0) {
		(void)!error_wrap(&ask->error, rc, "KMS plugin at %s", ask->endpoint);
		return;
	}
	const struct grpc_request request = {.method = STATUS,
					     .message = &nothing,
					     .timeout = ask->timeout,
					     .max_message = KMS_ANSWER_MAX,
					     .on_done = on_status,
					     .arg = asked};
	asked->began = loop_now(loop);
	asked->call = grpc_start(asked->client, &request);
	asked->all->open++;
}

int kms_status_fetch(struct loop *loop, struct kms_status_ask *asks, size_t count, struct error **err)
{
	_cleanup_free_ struct asked *asked = xcalloc(count + 1, sizeof(*asked));
	struct asking all = {0};

	for (size_t i = 0; i < count; i++) {
		asked[i] = (struct asked){.ask = &asks[i], .all = &all};
		start(loop, &asked[i]);
	}
	all.done = all.open == 0;
	int rc = loop_run_until(loop, &all.done, 0, err);
	for (size_t i = 0; i < count; i++) {
		grpc_cancel(asked[i].call);
		http_client_free(asked[i].client);
	}
	return rc;
}

void kms_status_ask_free(struct kms_status_ask *ask)
{
	kms_status_free(&ask->status);
	error_free(ask->error);
	*ask = (struct kms_status_ask){0};
}

/* --- Decrypt --- */

int kms_decrypt_fetch(struct loop *loop, const char *endpoint, uint64_t timeout, const struct buf *message,
		      struct secret **ret, struct error **err)
{
	_cleanup_free_ char *socket = NULL;
	_cleanup_buf_ answer = {0};
	struct http_client *client = NULL;
	const struct grpc_request request = {
		.method = DECRYPT, .message = message, .timeout = timeout, .max_message = KMS_DECRYPTED_MAX};
	int rc = kms_socket(endpoint, &socket, err);

	if (rc < 0)
		return rc;
	rc = client_of(loop, socket, &client, err);
	if (rc == 0)
		rc = grpc_fetch(client, &request, &answer, err);
	http_client_free(client);
	if (rc == 0 && kms_decrypt_answer_parse(answer.data, answer.len, ret) < 0)
		rc = error_set(err, ERROR_PROTOCOL, "the answer to Decrypt has no key in it");
	if (answer.len > 0)
		secret_wipe(answer.data, answer.len);
	return rc < 0 ? error_wrap(err, rc, "KMS plugin at %s", endpoint) : 0;
}
