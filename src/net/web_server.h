/* A server of a few documents that change: HTTP/1.1, with TLS or without, on the web thread. It answers from the last set of
 * documents that was handed to it, so a busy or slow engine delays nobody; of a path that it does not have it says 404, of
 * another method than GET and HEAD 405.
 *
 * Bounded: WEB_SERVER_CONNECTIONS at once (further ones are closed), 16 KiB of a request's head, and
 * WEB_SERVER_SLOW_S seconds for a handshake, for a head, and for taking an answer, each. (lws 4.1.6 never sees the end of
 * a head that has a header "A:" or "X:", one letter alone: its sender waits until then.) */
#pragma once
#include <stdint.h>
#include "base/buf.h"
#include "net/web.h"

#define WEB_SERVER_CONNECTIONS 64
#define WEB_SERVER_SLOW_S 15
#define WEB_SERVER_DOCUMENTS_MAX 8

struct tls_material;
struct web_server;

struct web_document {
	const char *path; /* static */
	unsigned status;
	const char *content_type; /* static */
	struct buf body;
	/* Monotonic ns; later it is answered with 503 and `stale_body` (static). 0: never. */
	uint64_t good_until;
	const char *stale_body;
};

/* For one person's browser on this machine: what is at 127.0.0.1 under a token, and what is pushed (web_live.h). */
struct web_server_private {
	const char *token;     /* all documents lie under "/TOKEN"; copied */
	const char *live_path; /* beside them: the WebSocket that web_server_push speaks to; static */
};

/* `address`: an IP address, NULL: all. `port` 0: any. `material` (certificate and key; NULL: plain HTTP) is taken. Waits until it
 * listens (top of a command); nothing is answered but 503 before the first publishing. -ERROR_IO when it cannot. */
_must_check_ int web_server_start(struct web *web, const char *address, uint16_t port, struct tls_material *material,
				  struct web_server **ret, struct error **err);
/* At 127.0.0.1, any port, plain HTTP. A request without the token is answered with 404, one that web_guard.h finds not to be that
 * person's with 403; nothing is cached, framed, or loads anything from elsewhere (Content-Security-Policy). Else as
 * web_server_start. */
_must_check_ int web_server_start_private(struct web *web, const struct web_server_private *options,
					  struct web_server **ret, struct error **err);
/* The latest words to every WebSocket that is open, and first to each that opens. Takes the message's bytes. */
void web_server_push(struct web_server *server, struct buf *message);
uint16_t web_server_port(const struct web_server *server);
/* Takes the documents' bodies, leaving empty ones. At most WEB_SERVER_DOCUMENTS_MAX (else aborts). */
void web_server_publish(struct web_server *server, struct web_document *documents, size_t count);
/* New connections get this certificate. Takes `material`. */
void web_server_renew(struct web_server *server, struct tls_material *material);
void web_server_stop(struct web_server *server); /* NULL is fine */
