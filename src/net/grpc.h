/* Unary gRPC calls over libcurl's HTTP/2: to etcd (TLS or plain) and to KMS plugins (Unix socket). */
#pragma once
#include "net/http.h"

struct grpc_result {
	/* 0 only with grpc-status 0 and exactly one whole message; else a negative error code: -ERROR_EXPIRED for "required
	 * revision has been compacted" (code 11 OUT_OF_RANGE), -ERROR_AUTH for 7 and 16, -ERROR_BUSY for 8 and 14,
	 * -ERROR_NOT_FOUND for 5, -ERROR_NETWORK for 1 and 4 and without an answer or without trailers, -ERROR_LIMIT,
	 * -ERROR_PROTOCOL. */
	int rc;
	struct error *error; /* owned by the call, unless on_done takes it and leaves NULL */
	int status;          /* -1 without one */
	struct buf
		*message; /* whole answer when on_message was NULL; on_done may take the bytes and leave an empty buf */
};
struct grpc_request {
	const char *method;                                             /* "/etcdserverpb.KV/Range" */
	const struct buf *message;                                      /* the request's protobuf; copied */
	uint64_t timeout;                                               /* ns; 0: 10 s */
	uint64_t max_message;                                           /* cap of the answer */
	int (*on_message)(void *arg, const uint8_t *bytes, size_t len); /* pieces of the answer; NULL: kept */
	void (*on_done)(void *arg, struct grpc_result *result);         /* once, from the loop */
	void *arg;
};
struct grpc_call;
struct grpc_call *grpc_start(struct http_client *client,
			     const struct grpc_request *request); /* client made with http2 */
void grpc_cancel(struct grpc_call *call);
/* Waits, at the top of a command. `ret` gets the message. */
_must_check_ int grpc_fetch(struct http_client *client, const struct grpc_request *request, struct buf *ret,
			    struct error **err);
