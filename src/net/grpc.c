#include "net/grpc.h"
#include <stdio.h>
#include "base/clock.h"
#include "base/secret.h"
#include "base/text.h"
#include "format/grpc_frame.h"

#define DEFAULT_TIMEOUT (10 * NS_PER_S)
#define HEAD_LEN 5
#define WORDS_CAP 500 /* of a server's message in ours */

/* Codes of google.golang.org/grpc/codes that decide something here. */
enum {
	GRPC_OK = 0,
	GRPC_CANCELLED = 1,
	GRPC_UNKNOWN = 2,
	GRPC_DEADLINE_EXCEEDED = 4,
	GRPC_NOT_FOUND = 5,
	GRPC_PERMISSION_DENIED = 7,
	GRPC_RESOURCE_EXHAUSTED = 8,
	GRPC_OUT_OF_RANGE = 11,
	GRPC_UNIMPLEMENTED = 12,
	GRPC_INTERNAL = 13,
	GRPC_UNAVAILABLE = 14,
	GRPC_UNAUTHENTICATED = 16,
};

struct grpc_call {
	struct http_client *client;
	struct http_call *http;
	char *method;
	struct buf request; /* head and message */
	struct buf answer;  /* where on_message is NULL */
	struct grpc_frame_reader reader;
	int (*on_message)(void *arg, const uint8_t *bytes, size_t len);
	void (*on_done)(void *arg, struct grpc_result *result);
	void *arg;
};

/* Of an answer that nobody took: a KMS may have put a key in it before the call failed. */
static void wipe(struct buf *message)
{
	if (message->len > 0)
		secret_wipe(message->data, message->len);
	buf_free(message);
}

static void call_free(struct grpc_call *call)
{
	buf_free(&call->request);
	wipe(&call->answer);
	free(call->method);
	free(call);
}

static int keep_message(void *arg, const uint8_t *bytes, size_t len)
{
	struct grpc_call *call = arg;

	return buf_append(&call->answer, bytes, len);
}

static int on_data(void *arg, const uint8_t *bytes, size_t len)
{
	struct grpc_call *call = arg;

	if (call->on_message == NULL)
		return grpc_frame_feed(&call->reader, bytes, len, keep_message, call);
	return grpc_frame_feed(&call->reader, bytes, len, call->on_message, call->arg);
}

/* What PROTOCOL-HTTP2.md makes of an answer that is not gRPC's: from a proxy, or from another kind of server. */
static int status_of_http(unsigned status)
{
	switch (status) {
	case 400:
		return GRPC_INTERNAL;
	case 401:
		return GRPC_UNAUTHENTICATED;
	case 403:
		return GRPC_PERMISSION_DENIED;
	case 404:
		return GRPC_UNIMPLEMENTED;
	case 429:
	case 502:
	case 503:
	case 504:
		return GRPC_UNAVAILABLE;
	default:
		return GRPC_UNKNOWN;
	}
}

static enum error_code code_of(int status, const char *message)
{
	switch (status) {
	case GRPC_CANCELLED:
	case GRPC_DEADLINE_EXCEEDED:
		return ERROR_NETWORK;
	case GRPC_NOT_FOUND:
		return ERROR_NOT_FOUND;
	case GRPC_PERMISSION_DENIED:
	case GRPC_UNAUTHENTICATED:
		return ERROR_AUTH;
	case GRPC_RESOURCE_EXHAUSTED:
	case GRPC_UNAVAILABLE:
		return ERROR_BUSY;
	case GRPC_OUT_OF_RANGE:
		/* The same code says that a revision is still to come. */
		return strstr(message, "compacted") != NULL ? ERROR_EXPIRED : ERROR_PROTOCOL;
	default:
		return ERROR_PROTOCOL;
	}
}

static int fail_status(const struct grpc_call *call, int status, const char *message, struct error **err)
{
	const char *known = grpc_status_name((unsigned)status);
	_cleanup_free_ char *words = text_printable(message, strlen(message), WORDS_CAP);
	_cleanup_free_ char *name = known != NULL ? xstrdup(known) : xasprintf("CODE_%d", status);

	return error_set(err, code_of(status, message), "%s %s: %s%s%s", http_client_url(call->client), call->method,
			 name, words[0] != '\0' ? ": " : "", words);
}

/* 0 only for status 0 and one whole message. */
static int judge(const struct grpc_call *call, struct http_result *http, struct grpc_result *result)
{
	const char *url = http_client_url(call->client);
	_cleanup_free_ char *words = NULL;

	/* grpc-go answers some calls before it read them and then resets the stream: what it said goes before that. */
	if (http->rc < 0 && (http->status != 200 || http->grpc_status <= 0)) {
		result->error = steal(http->error);
		return http->rc;
	}
	if (http->status != 200) {
		words = xasprintf("HTTP status %u", http->status);
		return fail_status(call, status_of_http(http->status), words, &result->error);
	}
	if (http->grpc_status > 0)
		return fail_status(call, http->grpc_status, http->grpc_message, &result->error);
	if (!text_starts(http->content_type, "application/grpc"))
		return error_set(&result->error, ERROR_PROTOCOL, "%s %s: the answer is no gRPC", url, call->method);
	/* A missing status must never pass for success: an answer that was cut has none either. */
	if (http->grpc_status < 0)
		return error_set(&result->error, ERROR_NETWORK, "%s %s: the answer ended without a status", url,
				 call->method);
	if (!call->reader.complete)
		return error_set(&result->error, ERROR_PROTOCOL, "%s %s: status OK without a whole message", url,
				 call->method);
	return 0;
}

static void on_http_done(void *arg, struct http_result *http)
{
	struct grpc_call *call = arg;
	struct grpc_result result = {.status = http->grpc_status, .message = &call->answer};

	result.rc = judge(call, http, &result);
	if (result.rc < 0)
		error_set_server(&result.error, http_client_url(call->client));
	call->on_done(call->arg, &result);
	error_free(result.error);
	call_free(call);
}

/* Lets the server give up when we do. */
static void write_timeout(uint64_t ns, char ret[static 32])
{
	uint64_t ms = (ns + NS_PER_MS - 1) / NS_PER_MS;

	if (ms < 100000000) /* eight digits at most, says the protocol */
		snprintf(ret, 32, "grpc-timeout: %llum", (unsigned long long)ms);
	else
		snprintf(ret, 32, "grpc-timeout: 99999999S");
}

struct grpc_call *grpc_start(struct http_client *client, const struct grpc_request *request)
{
	struct grpc_call *call = xcalloc(1, sizeof(*call));
	uint64_t timeout = request->timeout ? request->timeout : DEFAULT_TIMEOUT;
	size_t len = request->message != NULL ? request->message->len : 0;
	uint8_t head[HEAD_LEN];
	char timeout_header[32];
	const char *headers[] = {"TE: trailers", timeout_header, NULL};
	struct http_request http;

	if (len > UINT32_MAX)
		abort();
	write_timeout(timeout, timeout_header);
	grpc_frame_head(head, (uint32_t)len);
	call->client = client;
	call->method = xstrdup(request->method);
	call->request = BUF_INIT(len + HEAD_LEN);
	call->answer = BUF_INIT(request->max_message);
	if (buf_append(&call->request, head, HEAD_LEN) < 0 ||
	    (len > 0 && buf_append(&call->request, request->message->data, len) < 0))
		abort();
	call->reader.cap = request->max_message;
	call->on_message = request->on_message;
	call->on_done = request->on_done;
	call->arg = request->arg;
	http = (struct http_request){
		.method = "POST",
		.path = call->method,
		.accept = "application/grpc",
		.content_type = "application/grpc",
		.headers = headers,
		.head = call->request.data,
		.head_len = call->request.len,
		.timeout = timeout,
		.stall_timeout = timeout,
		.on_data = on_data,
		.on_done = on_http_done,
		.arg = call,
	};
	call->http = http_start(client, &http);
	return call;
}

void grpc_cancel(struct grpc_call *call)
{
	if (call == NULL)
		return;
	http_cancel(call->http);
	call_free(call);
}

struct fetch {
	struct buf message;
	struct error *error;
	int rc;
	bool done;
};

static void on_fetched(void *arg, struct grpc_result *result)
{
	struct fetch *fetch = arg;

	fetch->done = true;
	fetch->rc = result->rc;
	fetch->error = steal(result->error);
	fetch->message = *result->message;
	*result->message = (struct buf){0};
}

int grpc_fetch(struct http_client *client, const struct grpc_request *request, struct buf *ret, struct error **err)
{
	struct fetch fetch = {0};
	struct grpc_request copy = *request;
	struct grpc_call *call;
	int rc;

	copy.on_done = on_fetched;
	copy.arg = &fetch;
	call = grpc_start(client, &copy);
	rc = loop_run_until(http_client_loop(client), &fetch.done, 0, err);
	if (rc < 0) {
		grpc_cancel(call);
		return rc;
	}
	if (fetch.rc == 0) {
		*ret = fetch.message;
		return 0;
	}
	if (err != NULL)
		*err = steal(fetch.error);
	error_free(fetch.error);
	wipe(&fetch.message);
	return fetch.rc;
}
