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

static int ask(struct loop *loop, const char *socket, const struct grpc_request *request, struct buf *ret,
	       struct error **err)
{
	/* The name is for the :authority alone. */
	const struct http_options options = {
		.base_url = "http://localhost", .unix_socket = socket, .http2 = true, .max_connections = 1};
	struct http_client *client = NULL;
	int rc = http_client_new(loop, &options, &client, err);

	if (rc == 0)
		rc = grpc_fetch(client, request, ret, err);
	http_client_free(client);
	return rc;
}

int kms_status_fetch(struct loop *loop, const char *endpoint, uint64_t timeout, struct kms_status *ret,
		     struct error **err)
{
	_cleanup_free_ char *socket = NULL;
	_cleanup_buf_ answer = {0};
	_cleanup_buf_ nothing = BUF_INIT(1);
	const struct grpc_request request = {
		.method = STATUS, .message = &nothing, .timeout = timeout, .max_message = KMS_ANSWER_MAX};
	int rc = kms_socket(endpoint, &socket, err);

	if (rc < 0)
		return rc;
	rc = ask(loop, socket, &request, &answer, err);
	if (rc == 0 && kms_status_parse(answer.data, answer.len, ret) < 0)
		rc = error_set(err, ERROR_PROTOCOL, "the answer is no StatusResponse");
	return rc < 0 ? error_wrap(err, rc, "KMS plugin at %s", endpoint) : 0;
}

int kms_decrypt_fetch(struct loop *loop, const char *endpoint, uint64_t timeout, const struct buf *message,
		      struct secret **ret, struct error **err)
{
	_cleanup_free_ char *socket = NULL;
	_cleanup_buf_ answer = {0};
	const struct grpc_request request = {
		.method = DECRYPT, .message = message, .timeout = timeout, .max_message = KMS_DECRYPTED_MAX};
	int rc = kms_socket(endpoint, &socket, err);

	if (rc < 0)
		return rc;
	rc = ask(loop, socket, &request, &answer, err);
	if (rc == 0 && kms_decrypt_answer_parse(answer.data, answer.len, ret) < 0)
		rc = error_set(err, ERROR_PROTOCOL, "the answer to Decrypt has no key in it");
	if (answer.len > 0)
		secret_wipe(answer.data, answer.len);
	return rc < 0 ? error_wrap(err, rc, "KMS plugin at %s", endpoint) : 0;
}
