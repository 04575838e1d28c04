/* HTTP over libcurl: one `struct http_client` per origin (scheme, address, TLS, credentials), any number of calls at once:
 * what max_connections cannot carry waits in the client, first come first served. Clients share no connection.
 *
 * HTTP/1.1 with several connections to API servers; HTTP/2 for gRPC (net/grpc.h). Only https (http where the address says so
 * and for Unix sockets), no redirects, no proxy from the environment unless the client says so, no Accept-Encoding.
 * Debian 12's libcurl traps: c-style.md. TLS verification is on unless the kubeconfig said otherwise. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/alloc.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/secret.h"
#include "net/loop.h"

struct http_client;
struct tls_material; /* net/tls.h */

struct http_tls {
	const struct secret *ca_pem; /* NULL: the system's */
	/* Client certificate (with its chain) and key, PEM, in memory (never a temporary file); NULL: none. */
	const struct secret *cert_pem;
	const struct secret *key_pem;
	const char *server_name; /* SNI and verification name instead of the host; NULL: the host */
	bool insecure;           /* the kubeconfig's insecure-skip-tls-verify */
};
struct http_options {
	const char *base_url;    /* "https://10.0.0.1:6443", "http://127.0.0.1:2379"; no trailing slash */
	const char *unix_socket; /* path, or "@name" for an abstract one; NULL: TCP */
	struct http_tls tls;
	const char *proxy_url;    /* http, https, socks5 (the proxy resolves the name); NULL: none */
	const char *no_proxy;     /* hosts that are reached directly, as NO_PROXY has them; NULL: none */
	unsigned max_connections; /* 0: 1 */
	bool http2;               /* gRPC: ALPN h2 over TLS, prior knowledge over plain TCP or a Unix socket */
	uint64_t connect_timeout; /* ns; 0: 10 s */
	uint64_t timeout;         /* ns: no request takes longer, whatever it says itself; 0: as it says */
	/* Adds the Authorization header of the moment ("Bearer ..."), or none. Called before each request; NULL: no credentials.
	 * It may run an exec plugin or read a token file. `force` after a 401: do not answer from the cache. */
	int (*authorize)(void *arg, bool force, struct secret **ret_header_value, struct error **err);
	/* Called after authorize, for client certificates that an exec plugin hands out: *ret_generation changes with the
	 * certificate; then new connections present the new one and kept ones are dropped. The secrets stay the callee's and
	 * are read before it is called again; both NULL: none. tls.cert_pem is ignored. NULL: the certificate is tls.cert_pem. */
	void (*identity)(void *arg, uint64_t *ret_generation, const struct secret **ret_cert_pem,
			 const struct secret **ret_key_pem);
	void *authorize_arg;        /* of both */
	const char *user_agent;     /* NULL: "kube-rekey/VERSION" */
	const char *const *headers; /* on each request, ended by NULL; NULL: none */
};
/* Copies what it needs. -ERROR_INPUT for a URL or PEM that is none (the message says which, and shows no proxy's). */
_must_check_ int http_client_new(struct loop *loop, const struct http_options *options, struct http_client **ret,
				 struct error **err);
void http_client_free(struct http_client *client); /* cancels calls still under way; their on_done is not called */
void http_client_freep(struct http_client **client);
const char *http_client_url(const struct http_client *client);
/* Where a base URL leads: its host (the caller's; IPv6 without brackets) and port. False for what is none. */
bool http_url_address(const char *url, char **ret_host, uint16_t *ret_port);
struct loop *http_client_loop(const struct http_client *client);
/* What its calls came to, for monitoring. One that was cancelled does not count. */
#define HTTP_LATENCY_BOUNDS 10
extern const uint64_t http_latency_bounds[HTTP_LATENCY_BOUNDS]; /* ns, rising */
struct http_counts {
	uint64_t failed;    /* without a whole answer */
	uint64_t status[6]; /* whole answers, by the first digit of their status; [0]: of none that HTTP knows */
	/* How long they took from when they got their connection, whatever came of it: buckets[i] at most
	 * http_latency_bounds[i] and more than the bound before; the last one above all bounds. */
	uint64_t buckets[HTTP_LATENCY_BOUNDS + 1], sum;
};
const struct http_counts *http_client_counts(const struct http_client *client);
/* Drops kept connections, so that the next call opens a fresh one. Those in use are closed when their call is done. */
void http_client_disconnect(struct http_client *client);

/* What another transport to the same server needs (net/websocket.h), as this client's next call would have it. */
struct http_access {
	const char *host; /* without the brackets of an IPv6 address */
	uint16_t port;
	const char *path;              /* of the base URL, without a slash at its end: "" */
	const char *tls_name;          /* what the certificate must be for; NULL: any (insecure) */
	struct tls_material *material; /* NULL without TLS */
	const char *const *headers;    /* ended by NULL; NULL: none */
	const char *user_agent;
	bool proxied;                 /* it is reached through a proxy, if no_proxy does not say otherwise */
	struct secret *authorization; /* the Authorization header's value, the caller's; NULL: none */
};
/* Refreshes credentials as before a call (`force`: as after a 401). All but `authorization` is the client's and valid until it
 * is used again. -ERROR_AUTH or what else the credentials say. */
_must_check_ int http_client_access(struct http_client *client, bool force, struct http_access *ret,
				    struct error **err);

struct http_result {
	/* 0: an answer of any status arrived whole; else -ERROR_NETWORK (refused, reset, TLS handshake, time-out, cut short),
	 * -ERROR_PROTOCOL, -ERROR_LIMIT, -ERROR_AUTH (a certificate refused by either side, our credentials), or what on_data
	 * returned */
	int rc;
	struct error *error;      /* set when rc < 0; the call owns it, unless on_done takes it and leaves NULL */
	unsigned status;          /* 0 without an answer */
	bool sent;                /* the request left us at least in part: a write's outcome is unknown when rc < 0 */
	bool connected;           /* a connection was opened for it: another server may have answered than before */
	uint64_t retry_after;     /* ns from a Retry-After header in seconds (capped at 1 h); 0 without one */
	const char *content_type; /* "" without one; lower case, parameters kept */
	int grpc_status;          /* -1 without one; from headers or trailers */
	const char *grpc_message; /* decoded; "" */
	uint64_t elapsed;         /* ns from start to end */
	/* What was kept because on_data was NULL or the status was not 2xx; at most max_body bytes; never NULL. on_done may
	 * take the bytes (buf_steal_text, or leave an empty buf). */
	struct buf *body;
	const char *peer_process_start; /* header process-start-time-unix of /metrics; "" without one */
};
#define HTTP_DATA_PAUSE 1
struct http_request {
	const char *method;         /* "GET", "PUT", "PATCH", "POST", "DELETE" */
	const char *path;           /* from '/', query included, escaped by the caller */
	const char *accept;         /* NULL: application/json */
	const char *content_type;   /* of the body */
	const char *const *headers; /* more of them, "te: trailers", ended by NULL; NULL: none */
	/* The body is head followed by body; both are the caller's and must live until on_done. Both NULL: none. */
	const void *head;
	size_t head_len;
	const struct secret *body;
	uint64_t timeout;       /* ns, whole request, from when it gets its connection; 0: 60 s */
	uint64_t stall_timeout; /* ns without a byte either way while not paused; 0: 30 s */
	/* Cap of the kept body; more is -ERROR_LIMIT, at the header where that says so. With on_data: cap of an error's body.
	 * 0: 64 KiB. */
	size_t max_body;
	bool fresh_connection; /* do not reuse one (proof of which server answered) */
	/* 2xx bytes as they arrive: 0 go on; HTTP_DATA_PAUSE: nothing of it was taken, deliver again after http_resume;
	 * negative: stop. It runs inside curl: it may start calls (they begin later), but not cancel, resume or free any
	 * (aborts). */
	int (*on_data)(void *arg, const uint8_t *bytes, size_t len);
	/* Exactly once, from the loop; the call is freed afterwards. `result` is valid during the call-back. */
	void (*on_done)(void *arg, struct http_result *result);
	void *arg;
};
struct http_call;
/* Queues; never calls back before it returned: errors come by on_done too. A 401 is tried once more after
 * authorize(force), if that changed anything. Strings and struct are copied, head and body are not.
 * curl itself sends a request again when a kept connection turns out to be dead before any answer came, so a write may
 * arrive twice: each of ours carries a resourceVersion or a name, and then fails with 409. */
struct http_call *http_start(struct http_client *client, const struct http_request *request);
void http_resume(struct http_call *call); /* from the loop only; on_data may be called before it returns */
void http_cancel(struct http_call *call); /* on_done is not called; NULL is fine */

/* Waits for one call (request->on_done and arg are ignored); for the top of a command, never in a call-back.
 * 0 with any HTTP status; body and content_type belong to *ret. */
struct http_response {
	unsigned status;
	struct buf body;
	char *content_type;
	uint64_t retry_after;
	int grpc_status;
	char *grpc_message;
	char *peer_process_start;
	bool sent;
};
_must_check_ int http_fetch(struct http_client *client, const struct http_request *request, struct http_response *ret,
			    struct error **err);
void http_response_free(struct http_response *response);
#define _cleanup_response_ _cleanup_(http_response_free) struct http_response
