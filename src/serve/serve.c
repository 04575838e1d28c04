#include "serve/serve.h"
#include <arpa/inet.h>
#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "net/credentials.h"
#include "net/tls.h"
#include "net/web_server.h"

#define WHY_MAX 4096 /* of the words of /readyz */

struct serve {
	struct web *web;
	struct loop *loop;
	struct web_server *server;
	char *cert_file, *key_file;
	struct secret *cert, *key; /* what is served */
	struct loop_timer timer;
	uint64_t alive_within;
	char *problem;
};

/* --- the certificate -------------------------------------------------------------------------------------------- */

/* Reads the files. 1: *ret is another than before; 0: the same. */
static int read_material(struct serve *serve, struct tls_material **ret, struct error **err)
{
	_cleanup_secret_ cert = NULL;
	_cleanup_secret_ key = NULL;
	int rc = file_read(serve->cert_file, CREDENTIALS_PEM_CAP, &cert, err);

	if (rc == 0)
		rc = file_read(serve->key_file, CREDENTIALS_PEM_CAP, &key, err);
	if (rc < 0)
		return rc;
	if (serve->cert != NULL && secret_equal(serve->cert, cert) && secret_equal(serve->key, key))
		return 0;
	/* Halves that do not belong together (one is just being replaced) are refused here. */
	rc = tls_material_new(NULL, cert, key, ret, err);
	if (rc < 0)
		return error_wrap(err, rc, "%s and %s", serve->cert_file, serve->key_file);
	secret_free(serve->cert);
	secret_free(serve->key);
	serve->cert = steal(cert);
	serve->key = steal(key);
	return 1;
}

static void on_timer(void *arg);

static void look_again(struct serve *serve)
{
	loop_timer_set(serve->loop, &serve->timer, loop_now(serve->loop) + SERVE_CERTIFICATE_S * NS_PER_S, on_timer,
		       serve);
}

static void on_timer(void *arg)
{
	struct serve *serve = arg;
	struct tls_material *material = NULL;
	_cleanup_error_ error = NULL;
	int rc = read_material(serve, &material, &error);

	free(steal(serve->problem));
	if (rc < 0)
		serve->problem = xstrdup(error_message(error));
	else if (rc > 0)
		web_server_renew(serve->server, material);
	look_again(serve);
}

/* --- start and stop --------------------------------------------------------------------------------------------- */

/* *ret_address is NULL for all of them. */
static int read_listen(const char *listen, char **ret_address, uint16_t *ret_port, struct error **err)
{
	const char *colon = strrchr(listen, ':');
	_cleanup_free_ char *address = colon != NULL ? xstrndup(listen, (size_t)(colon - listen)) : NULL;
	struct in6_addr bytes;
	uint64_t port;
	size_t len;

	if (address == NULL || text_to_u64(colon + 1, &port) < 0 || port > UINT16_MAX)
		return error_set(err, ERROR_INPUT, "\"%s\" is no ADDRESS:PORT", listen);
	len = strlen(address);
	if (len > 2 && address[0] == '[' && address[len - 1] == ']') {
		memmove(address, address + 1, len - 2);
		address[len - 2] = '\0';
	} else if (strchr(address, ':') != NULL) {
		return error_set(err, ERROR_INPUT, "\"%s\": an IPv6 address stands in brackets", listen);
	}
	if (address[0] != '\0' && inet_pton(AF_INET, address, &bytes) != 1 && inet_pton(AF_INET6, address, &bytes) != 1)
		return error_set(err, ERROR_INPUT, "\"%s\": no IP address", listen);
	*ret_address = address[0] != '\0' ? steal(address) : NULL;
	*ret_port = (uint16_t)port;
	return 0;
}

static int start(struct serve *serve, const struct serve_options *options, struct error **err)
{
	_cleanup_free_ char *address = NULL;
	struct tls_material *material = NULL;
	uint16_t port = 0;
	int rc = read_listen(options->listen, &address, &port, err);

	if (rc == 0 && (options->cert_file != NULL) != (options->key_file != NULL))
		rc = error_set(err, ERROR_INPUT, "a certificate needs its key, and a key its certificate");
	if (rc == 0 && options->cert_file != NULL) {
		serve->cert_file = xstrdup(options->cert_file);
		serve->key_file = xstrdup(options->key_file);
		rc = read_material(serve, &material, err);
	}
	if (rc < 0)
		return rc;
	rc = web_server_start(serve->web, address, port, material, &serve->server, err);
	if (rc == 0 && serve->cert_file != NULL)
		look_again(serve);
	return rc;
}

int serve_start(struct web *web, const struct serve_options *options, struct serve **ret, struct error **err)
{
	struct serve *serve = xcalloc(1, sizeof(*serve));
	int rc;

	serve->web = web;
	serve->loop = web_loop(web);
	serve->alive_within = options->alive_within;
	rc = start(serve, options, err);
	if (rc < 0) {
		serve_stop(serve);
		return error_wrap(err, rc, "serving");
	}
	*ret = serve;
	return 0;
}

uint16_t serve_port(const struct serve *serve)
{
	return web_server_port(serve->server);
}

const char *serve_problem(const struct serve *serve)
{
	return serve->problem;
}

void serve_stop(struct serve *serve)
{
	if (serve == NULL)
		return;
	loop_timer_cancel(serve->loop, &serve->timer);
	web_server_stop(serve->server);
	free(serve->cert_file);
	free(serve->key_file);
	secret_free(serve->cert);
	secret_free(serve->key);
	free(serve->problem);
	free(serve);
}

/* --- publishing ------------------------------------------------------------------------------------------------- */

static struct buf line_of(const char *text)
{
	struct buf line = BUF_INIT(WHY_MAX + 1);
	size_t len = strlen(text);

	if (buf_append(&line, text, len < WHY_MAX ? len : WHY_MAX) < 0 || buf_append_text(&line, "\n") < 0)
		abort();
	return line;
}

void serve_publish(struct serve *serve, struct buf *metrics, bool ready, const char *why)
{
	static const char text_type[] = "text/plain; charset=utf-8";
	struct web_document documents[] = {
		{.path = "/metrics",
		 .status = 200,
		 .content_type = "text/plain; version=0.0.4; charset=utf-8",
		 .body = *metrics},
		{.path = "/healthz",
		 .status = 200,
		 .content_type = text_type,
		 .body = line_of("ok"),
		 .stale_body = "the engine has said nothing for too long\n"},
		{.path = "/readyz",
		 .status = ready ? 200 : 503,
		 .content_type = text_type,
		 .body = line_of(ready ? "ok" : why)},
	};

	if (serve->alive_within != 0)
		documents[1].good_until = loop_now(serve->loop) + serve->alive_within;
	web_server_publish(serve->server, documents, ELEMENTS(documents));
	*metrics = BUF_INIT(metrics->cap);
}
