/* What monitoring asks: /metrics (Prometheus), /healthz (alive), /readyz (can do its work). Answered on the web thread from what
 * was published last; limits: net/web_server.h. */
#pragma once
#include <stdbool.h>
#include "base/buf.h"
#include "net/web.h"

#define SERVE_CERTIFICATE_S 10 /* between looks at the certificate's files */

struct serve;
struct serve_options {
	const char *listen; /* "ADDRESS:PORT", "[::1]:8443", ":8443" (all addresses), "127.0.0.1:0" (any port) */
	const char *cert_file, *key_file; /* PEM, the certificate with its chain; both NULL: plain HTTP */
	/* How old may what was published be for /healthz to say ok, ns; 0: any age. So an engine that hangs shows. */
	uint64_t alive_within;
};
/* Waits until it listens (top of a command). -ERROR_INPUT for an address that is none, or files that hold no certificate with
 * its key; -ERROR_NOT_FOUND, -ERROR_IO. Until the first publishing all is 503. */
_must_check_ int serve_start(struct web *web, const struct serve_options *options, struct serve **ret,
			     struct error **err);
uint16_t serve_port(const struct serve *serve);
/* `metrics` is the text (metrics_text.h), whose bytes are taken. `why`: the words of /readyz where it is not ready, without
 * secrets; copied. */
void serve_publish(struct serve *serve, struct buf *metrics, bool ready, const char *why);
/* For people: why new files of the certificate were not taken; NULL where all is well. The old one is served meanwhile. */
const char *serve_problem(const struct serve *serve);
void serve_stop(struct serve *serve); /* NULL is fine */
