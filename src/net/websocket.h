/* A WebSocket client for watches (RFC 6455, text messages, no subprotocol, no extensions): libwebsockets' call-backs, turned
 * into inputs in the loop's thread.
 *
 * Address, authorities, tls-server-name and credentials are an http_client's, as its next call would have them; the
 * certificate is verified as strictly. HTTP/1.1, no redirects. Format: "Watch over WebSocket" of the API server
 * (k8s.io/apiserver/pkg/endpoints/handlers/watch.go). */
#pragma once
#include "net/http.h"
#include "net/web.h"

#define WEBSOCKETS_MAX 64
#define WEBSOCKET_PATH_MAX 1900 /* lws' place for the first line has 2048 bytes */

struct websocket;
/* From the loop, never before websocket_open returned. A call-back may close its socket. */
struct websocket_handler {
	void (*on_open)(void *arg);
	/* A piece of a message; `last` where it ends. The bytes are wiped after the call. */
	void (*on_text)(void *arg, const uint8_t *bytes, size_t len, bool last);
	void (*on_pong)(void *arg);
	/* Once, and nothing after it; the socket is still to be freed. `status` is the answer's where the server did not open
	 * it (0: no answer, or it was open), `why` lws' words, printable, "" for a clean end. */
	void (*on_end)(void *arg, unsigned status, const char *why);
};
/* `path` from '/', escaped, with its query. `client` only until this returns; the handler is the caller's. `force`: credentials
 * are read anew, as after a 401. -ERROR_LIMIT beyond the two caps, -ERROR_INPUT behind a proxy, which this cannot use;
 * what the credentials say. */
_must_check_ int websocket_open(struct web *web, struct http_client *client, const char *path, const char *accept,
				bool force, const struct websocket_handler *handler, void *arg, struct websocket **ret,
				struct error **err);
void websocket_ping(struct websocket *socket);
/* Hangs up at once, without a goodbye; on_end is not called. NULL is fine. */
void websocket_close(struct websocket *socket);
