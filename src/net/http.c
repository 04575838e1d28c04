#include "net/http.h"
#include <curl/curl.h>
#include <stdio.h>
#include <strings.h>
#include "base/clock.h"
#include "base/text.h"
#include "net/http_answer.h"
#include "net/tls.h"

#define DEFAULT_TIMEOUT (60 * NS_PER_S)
#define DEFAULT_STALL_TIMEOUT (30 * NS_PER_S)
#define DEFAULT_CONNECT_TIMEOUT (10 * NS_PER_S)
#define DEFAULT_MAX_BODY 65536
/* Larger than curl 7.88's own HTTP/2 input of 32 KiB: else it pauses inside of it and sees the end of a stream only when some
 * timer fires, seconds later. */
#define HTTP2_BUFFER_SIZE 65536L
#define BUFFER_SIZE 16384L    /* curl's, for each transfer: with 16 of them a default of 16 KiB or 64 KiB shows */
#define JOINED_BODY_CAP 65536 /* curl sends a body up to this together with the head, if it is one piece */
#define MAX_CONNECTIONS 1024
#define STALL_TICKS 4 /* a stall is seen at most this part of stall_timeout late */

/* curl's connection and session cache of one client. A new one for new calls is how kept connections are dropped. */
struct share {
	CURLSH *handle;
	unsigned references;
};

/* An easy handle, kept from call to call. */
struct slot {
	CURL *easy;
	struct share *share;
	struct tls_material *material;
	struct http_call *call; /* NULL: free */
	struct curl_slist *headers;
	char error_text[CURL_ERROR_SIZE];
};

struct http_client {
	struct loop *loop;
	char *base_url;
	char *request_url; /* what curl is given: base_url, with tls.server_name for its host */
	char *host_header; /* NULL: what curl makes of request_url */
	char *host, *base_path;
	uint16_t port;
	char *server_name; /* of TLS, where it is not the host */
	char *unix_socket;
	char *proxy_url, *proxy_shown;
	char *no_proxy;
	char *user_agent;
	char **headers;
	struct curl_slist *connect_to;
	struct tls_material *material; /* NULL without TLS */
	uint64_t identity_generation;
	bool https, insecure, http2;
	uint64_t connect_timeout, timeout;
	int (*authorize)(void *arg, bool force, struct secret **ret_header_value, struct error **err);
	void (*identity)(void *arg, uint64_t *ret_generation, const struct secret **ret_cert_pem,
			 const struct secret **ret_key_pem);
	void *authorize_arg;
	struct share *share;
	struct slot *slots;
	unsigned slot_count;
	struct http_call *queue, **queue_end;
	struct loop_timer kick;
	struct http_counts counts;
};

struct http_call {
	struct http_client *client;
	struct http_request request; /* its strings are the following, its bodies the caller's */
	char *method, *path, *accept, *content_type, **headers;
	struct slot *slot;            /* NULL: queued */
	struct http_call *next;       /* in the queue */
	struct secret *authorization; /* NULL: none */
	struct secret *joined;        /* head and body in one piece, or NULL */
	size_t body_offset;           /* how much of head and body curl has read, where it asks for them */
	struct http_answer answer;
	struct buf body;
	struct loop_timer watch; /* for stalls, and for failing from the loop */
	uint64_t started, last_change, bytes_seen;
	bool paused, in_data, retried;
	int failed; /* negative error code of our own, decided in a callback of curl */
	CURLcode resume_result;
};

static void kick(void *arg);
static void call_finish(struct http_call *call, CURLcode code);

/* --- shares and slots ------------------------------------------------------------------------------------------- */

static struct share *share_new(void)
{
	struct share *share = xcalloc(1, sizeof(*share));

	share->references = 1;
	share->handle = curl_share_init();
	if (share->handle == NULL ||
	    curl_share_setopt(share->handle, CURLSHOPT_SHARE, CURL_LOCK_DATA_CONNECT) != CURLSHE_OK ||
	    curl_share_setopt(share->handle, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION) != CURLSHE_OK)
		abort();
	return share;
}

static void share_unref(struct share *share)
{
	if (share == NULL || --share->references > 0)
		return;
	curl_share_cleanup(share->handle);
	free(share);
}

/* Only while the slot is free. */
static void slot_set_share(struct slot *slot, struct share *share)
{
	if (slot->share == share)
		return;
	curl_easy_setopt(slot->easy, CURLOPT_SHARE, share ? share->handle : NULL);
	share_unref(slot->share);
	slot->share = share;
	if (share != NULL)
		share->references++;
}

/* curl's list is made of plain strings; one of them is the token. */
static void headers_free(struct curl_slist *list)
{
	struct curl_slist *at;

	for (at = list; at != NULL; at = at->next)
		secret_wipe(at->data, strlen(at->data));
	curl_slist_free_all(list);
}

static void slot_release(struct slot *slot)
{
	slot->call = NULL;
	curl_easy_setopt(slot->easy, CURLOPT_HTTPHEADER, NULL);
	curl_easy_setopt(slot->easy, CURLOPT_POSTFIELDS, NULL);
	headers_free(steal(slot->headers));
}

/* --- call-backs of curl ----------------------------------------------------------------------------------------- */

static size_t fail_in_curl(struct http_call *call, int rc)
{
	call->failed = rc;
	return 0; /* not the number of bytes that curl expects: it gives up */
}

/* Whether this answer's body goes into call->body instead of to on_data. */
static bool keeps_body(const struct http_call *call)
{
	return call->request.on_data == NULL || call->answer.status < 200 || call->answer.status > 299;
}

static size_t on_header(char *line, size_t one, size_t len, void *arg)
{
	struct http_call *call = arg;
	int rc;

	(void)one;
	call->last_change = loop_now(call->client->loop);
	rc = http_answer_line(&call->answer, line, len);
	if (rc < 0 && len > 0)
		return fail_in_curl(call, rc);
	if (call->answer.head_complete && keeps_body(call) && call->answer.length > call->body.cap)
		return fail_in_curl(call, -ERROR_LIMIT);
	return len;
}

static size_t on_write(char *bytes, size_t one, size_t len, void *arg)
{
	struct http_call *call = arg;
	int rc;

	(void)one;
	call->last_change = loop_now(call->client->loop);
	if (keeps_body(call)) {
		rc = buf_append(&call->body, bytes, len);
		return rc < 0 ? fail_in_curl(call, rc) : len;
	}
	call->in_data = true;
	rc = call->request.on_data(call->request.arg, (const uint8_t *)bytes, len);
	call->in_data = false;
	if (rc < 0)
		return fail_in_curl(call, rc);
	if (rc != HTTP_DATA_PAUSE)
		return len;
	call->paused = true;
	return CURL_WRITEFUNC_PAUSE;
}

/* Reads head and body as one stream. */
static size_t on_read(char *bytes, size_t one, size_t len, void *arg)
{
	struct http_call *call = arg;
	const struct http_request *request = &call->request;
	size_t at = call->body_offset, part;
	const uint8_t *from;

	len *= one;
	call->last_change = loop_now(call->client->loop);
	if (at < request->head_len) {
		from = (const uint8_t *)request->head + at;
		part = request->head_len - at;
	} else {
		from = secret_data(request->body) + (at - request->head_len);
		part = secret_len(request->body) - (at - request->head_len);
	}
	if (part > len)
		part = len;
	memcpy(bytes, from, part);
	call->body_offset += part;
	return part;
}

static int on_seek(void *arg, curl_off_t offset, int origin)
{
	struct http_call *call = arg;

	if (origin != SEEK_SET || offset != 0)
		return CURL_SEEKFUNC_CANTSEEK;
	call->body_offset = 0;
	return CURL_SEEKFUNC_OK;
}

static CURLcode on_tls_context(CURL *easy, void *context, void *arg)
{
	struct slot *slot = arg;

	(void)easy;
	return tls_material_apply(slot->material, context) < 0 ? CURLE_SSL_CERTPROBLEM : CURLE_OK;
}

/* --- clients ---------------------------------------------------------------------------------------------------- */

struct url_parts {
	char *scheme, *host, *port, *path; /* curl's */
};

static void url_parts_free(struct url_parts *parts)
{
	curl_free(parts->scheme);
	curl_free(parts->host);
	curl_free(parts->port);
	curl_free(parts->path);
}

/* Text for -ERROR_INPUT; NULL when the URL can be a base. */
static const char *base_url_flaw(CURLU *url, const char *text, struct url_parts *ret)
{
	static const CURLUPart forbidden[] = {CURLUPART_USER, CURLUPART_PASSWORD, CURLUPART_QUERY, CURLUPART_FRAGMENT};
	char *part;
	size_t i;

	if (curl_url_set(url, CURLUPART_URL, text, CURLU_PATH_AS_IS) != CURLUE_OK)
		return "no URL with a scheme and a host";
	for (i = 0; i < ELEMENTS(forbidden); i++) {
		if (curl_url_get(url, forbidden[i], &part, 0) != CURLUE_OK)
			continue;
		curl_free(part);
		return "it must have no user, password, query or fragment";
	}
	if (curl_url_get(url, CURLUPART_SCHEME, &ret->scheme, 0) != CURLUE_OK ||
	    curl_url_get(url, CURLUPART_HOST, &ret->host, 0) != CURLUE_OK ||
	    curl_url_get(url, CURLUPART_PORT, &ret->port, CURLU_DEFAULT_PORT) != CURLUE_OK ||
	    curl_url_get(url, CURLUPART_PATH, &ret->path, 0) != CURLUE_OK)
		return "no URL with a scheme and a host";
	if (strcasecmp(ret->scheme, "https") != 0 && strcasecmp(ret->scheme, "http") != 0)
		return "its scheme must be https or http";
	return NULL;
}

/* As base_url_flaw; the parts are to be freed in either case. */
static const char *split_base_url(const char *text, struct url_parts *ret)
{
	CURLU *url = curl_url();
	const char *flaw;

	if (url == NULL)
		abort();
	flaw = base_url_flaw(url, text, ret);
	curl_url_cleanup(url);
	return flaw;
}

/* Connecting to one name while asking TLS for another: the other goes into curl's URL, the real one into
 * CURLOPT_CONNECT_TO and the Host header. */
static void set_server_name(struct http_client *client, const char *server_name, const char *scheme, const char *host,
			    const char *port, const char *path)
{
	bool bare_ipv6 = strchr(server_name, ':') != NULL && server_name[0] != '[';
	_cleanup_free_ char *connect_to = xasprintf("::%s:%s", host, port);

	client->request_url = xasprintf("%s://%s%s%s:%s%s", scheme, bare_ipv6 ? "[" : "", server_name,
					bare_ipv6 ? "]" : "", port, strcmp(path, "/") == 0 ? "" : path);
	client->host_header = xasprintf("Host: %s:%s", host, port);
	client->connect_to = curl_slist_append(NULL, connect_to);
	if (client->connect_to == NULL)
		abort();
}

static void take_address(const char *host, const char *port, char **ret_host, uint16_t *ret_port)
{
	size_t len = strlen(host);
	uint64_t number = 0;

	*ret_host = host[0] == '[' && len > 2 ? xstrndup(host + 1, len - 2) : xstrdup(host);
	/* curl has checked it. */
	if (text_to_u64(port, &number) == 0)
		*ret_port = (uint16_t)number;
}

bool http_url_address(const char *text, char **ret_host, uint16_t *ret_port)
{
	struct url_parts parts = {0};
	bool good = split_base_url(text, &parts) == NULL;

	if (good)
		take_address(parts.host, parts.port, ret_host, ret_port);
	url_parts_free(&parts);
	return good;
}

static int set_base_url(struct http_client *client, const struct http_options *options, struct error **err)
{
	struct url_parts parts = {0};
	const char *flaw;
	size_t len;

	client->base_url = xstrdup(options->base_url);
	for (len = strlen(client->base_url); len > 0 && client->base_url[len - 1] == '/'; len--)
		client->base_url[len - 1] = '\0';
	flaw = split_base_url(client->base_url, &parts);
	if (flaw == NULL) {
		take_address(parts.host, parts.port, &client->host, &client->port);
		client->base_path = xstrdup(strcmp(parts.path, "/") == 0 ? "" : parts.path);
		client->https = strcasecmp(parts.scheme, "https") == 0;
		if (client->https && options->tls.server_name != NULL && options->unix_socket == NULL)
			set_server_name(client, options->tls.server_name, parts.scheme, parts.host, parts.port,
					parts.path);
		else
			client->request_url = xstrdup(client->base_url);
	}
	url_parts_free(&parts);
	if (flaw == NULL)
		return 0;
	/* Its text may hold a password: not quoted where it may. */
	return error_set(err, ERROR_INPUT, "\"%s\" is no address of a server: %s",
			 strchr(options->base_url, '@') ? "..." : options->base_url, flaw);
}

static char **copy_headers(const char *const *headers)
{
	size_t count = 0, i;
	char **copy;

	if (headers == NULL)
		return NULL;
	while (headers[count] != NULL)
		count++;
	copy = xcalloc(count + 1, sizeof(*copy));
	for (i = 0; i < count; i++)
		copy[i] = xstrdup(headers[i]);
	return copy;
}

static void free_headers(char **headers)
{
	size_t i;

	for (i = 0; headers != NULL && headers[i] != NULL; i++)
		free(headers[i]);
	free(headers);
}

#define BAD_PROXY                                                          \
	"the URL of the proxy is none like http://HOST:PORT, https:// or " \
	"socks5:// (it is not shown, for it may hold a password)"

/* Its scheme, host and port: not whom it is asked as. NULL: curl could not use it, or would quote it whole in an error. */
static char *proxy_shown(const char *proxy)
{
	static const char *const known[] = {"http", "https", "socks", "socks4", "socks4a", "socks5", "socks5h"};
	CURLU *url = curl_url();
	char *scheme = NULL, *host = NULL, *port = NULL, *path = NULL, *shown = NULL;
	/* A '/', '?' or '#' in a password would end the host before it. */
	bool good = url && strcspn(proxy, "?#") == strlen(proxy) &&
		    curl_url_set(url, CURLUPART_URL, proxy, CURLU_NON_SUPPORT_SCHEME) == CURLUE_OK &&
		    curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
		    curl_url_get(url, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
		    curl_url_get(url, CURLUPART_PATH, &path, 0) == CURLUE_OK && text_equal(path, "/");
	for (size_t i = 0; good && !shown && i < ELEMENTS(known); i++)
		if (text_equal(scheme, known[i])) {
			(void)curl_url_get(url, CURLUPART_PORT, &port, 0);
			_cleanup_free_ char *name = text_printable(host, strlen(host), CURL_ERROR_SIZE);
			shown = xasprintf("%s://%s%s%s", scheme, name, port ? ":" : "", port ? port : "");
		}
	curl_free(scheme);
	curl_free(host);
	curl_free(port);
	curl_free(path);
	curl_url_cleanup(url);
	return shown;
}

static int set_proxy(struct http_client *client, const struct http_options *options, struct error **err)
{
	if (!options->proxy_url)
		return 0;
	client->proxy_url = xstrdup(options->proxy_url);
	client->proxy_shown = proxy_shown(options->proxy_url);
	/* One that NO_PROXY exempts this server from may be anything. */
	return client->proxy_shown || options->no_proxy ? 0 : error_set(err, ERROR_INPUT, BAD_PROXY);
}

int http_client_new(struct loop *loop, const struct http_options *options, struct http_client **ret, struct error **err)
{
	_cleanup_(http_client_freep) struct http_client *client = xcalloc(1, sizeof(*client));
	int rc;

	client->loop = loop;
	client->queue_end = &client->queue;
	rc = set_base_url(client, options, err);
	if (rc < 0)
		return rc;
	if (client->https) {
		bool own = options->identity != NULL;

		rc = tls_material_new(options->tls.ca_pem, own ? NULL : options->tls.cert_pem,
				      own ? NULL : options->tls.key_pem, &client->material, err);
		if (rc < 0)
			return rc;
	}
	client->unix_socket = xstrdup_or_null(options->unix_socket);
	client->server_name = xstrdup_or_null(options->tls.server_name);
	rc = set_proxy(client, options, err);
	if (rc < 0)
		return rc;
	client->no_proxy = xstrdup_or_null(options->no_proxy);
	client->user_agent = xstrdup(options->user_agent ? options->user_agent : "kube-rekey/" KUBE_REKEY_VERSION);
	client->headers = copy_headers(options->headers);
	client->insecure = options->tls.insecure;
	client->http2 = options->http2;
	client->connect_timeout = options->connect_timeout ? options->connect_timeout : DEFAULT_CONNECT_TIMEOUT;
	client->timeout = options->timeout;
	client->authorize = options->authorize;
	client->identity = options->identity;
	client->authorize_arg = options->authorize_arg;
	client->share = share_new();
	client->slot_count = options->max_connections ? options->max_connections : 1;
	if (client->slot_count > MAX_CONNECTIONS)
		client->slot_count = MAX_CONNECTIONS;
	client->slots = xcalloc(client->slot_count, sizeof(*client->slots));
	*ret = steal(client);
	return 0;
}

void http_client_free(struct http_client *client)
{
	unsigned i;

	if (client == NULL)
		return;
	loop_timer_cancel(client->loop, &client->kick);
	for (struct http_call *call = client->queue, *next; call != NULL; call = next) {
		next = call->next;
		http_cancel(call);
	}
	for (i = 0; i < client->slot_count; i++) {
		struct slot *slot = &client->slots[i];

		if (slot->easy == NULL)
			continue;
		http_cancel(slot->call);
		slot_set_share(slot, NULL);
		curl_easy_cleanup(slot->easy);
		tls_material_unref(slot->material);
	}
	share_unref(client->share);
	tls_material_unref(client->material);
	curl_slist_free_all(client->connect_to);
	free_headers(client->headers);
	free(client->slots);
	free(client->base_url);
	free(client->request_url);
	free(client->host_header);
	free(client->host);
	free(client->base_path);
	free(client->server_name);
	free(client->unix_socket);
	free(client->proxy_url);
	free(client->proxy_shown);
	free(client->no_proxy);
	free(client->user_agent);
	free(client);
}

void http_client_freep(struct http_client **client)
{
	http_client_free(*client);
}

const char *http_client_url(const struct http_client *client)
{
	return client->base_url;
}

struct loop *http_client_loop(const struct http_client *client)
{
	return client->loop;
}

void http_client_disconnect(struct http_client *client)
{
	unsigned i;

	share_unref(client->share);
	client->share = share_new();
	for (i = 0; i < client->slot_count; i++)
		if (client->slots[i].easy != NULL && client->slots[i].call == NULL)
			slot_set_share(&client->slots[i], client->share);
}

/* --- preparing a transfer --------------------------------------------------------------------------------------- */

/* What no call changes. */
static void slot_set_address(struct slot *slot, const struct http_client *client)
{
	CURL *easy = slot->easy;

	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, client->https ? "https" : "http");
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(easy, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, client->http2 ? HTTP2_BUFFER_SIZE : BUFFER_SIZE);
	curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, BUFFER_SIZE);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)(client->connect_timeout / NS_PER_MS));
	curl_easy_setopt(easy, CURLOPT_USERAGENT, client->user_agent);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, slot->error_text);
	/* "" rather than NULL: else curl looks into the environment. */
	curl_easy_setopt(easy, CURLOPT_PROXY, client->proxy_url ? client->proxy_url : "");
	curl_easy_setopt(easy, CURLOPT_NOPROXY, client->no_proxy ? client->no_proxy : "");
	curl_easy_setopt(easy, CURLOPT_CONNECT_TO, client->connect_to);
	if (client->unix_socket != NULL && client->unix_socket[0] == '@')
		curl_easy_setopt(easy, CURLOPT_ABSTRACT_UNIX_SOCKET, client->unix_socket + 1);
	else if (client->unix_socket != NULL)
		curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, client->unix_socket);
	if (!client->http2)
		curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	else if (client->https)
		curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
	else
		curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE);
}

static void slot_set_tls(struct slot *slot, const struct http_client *client)
{
	CURL *easy = slot->easy;

	if (!client->https)
		return;
	curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	/* on_tls_context brings the authorities: curl would parse its list again for each connection. */
	curl_easy_setopt(easy, CURLOPT_CAINFO, NULL);
	curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
	curl_easy_setopt(easy, CURLOPT_CA_CACHE_TIMEOUT, 0L);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, client->insecure ? 0L : 1L);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, client->insecure ? 0L : 2L);
	curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, on_tls_context);
	curl_easy_setopt(easy, CURLOPT_SSL_CTX_DATA, slot);
}

static void slot_open(struct slot *slot, const struct http_client *client)
{
	if (slot->easy != NULL)
		return;
	slot->easy = curl_easy_init();
	if (slot->easy == NULL)
		abort();
	slot_set_address(slot, client);
	slot_set_tls(slot, client);
	curl_easy_setopt(slot->easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(slot->easy, CURLOPT_WRITEFUNCTION, on_write);
	curl_easy_setopt(slot->easy, CURLOPT_SEEKFUNCTION, on_seek);
}

static void add_header(struct slot *slot, const char *line)
{
	struct curl_slist *longer = curl_slist_append(slot->headers, line);

	if (longer == NULL)
		abort();
	slot->headers = longer;
}

static void add_header_pair(struct slot *slot, const char *name, const char *value)
{
	_cleanup_free_ char *line = xasprintf("%s: %s", name, value);

	add_header(slot, line);
	secret_wipe(line, strlen(line));
}

static void call_set_headers(struct http_call *call, struct slot *slot)
{
	const struct http_request *request = &call->request;
	size_t i;

	headers_free(steal(slot->headers));
	if (call->client->host_header != NULL)
		add_header(slot, call->client->host_header);
	add_header_pair(slot, "Accept", request->accept ? request->accept : "application/json");
	if (request->content_type != NULL)
		add_header_pair(slot, "Content-Type", request->content_type);
	else
		add_header(slot, "Content-Type:"); /* none: curl would claim a form */
	if (call->authorization != NULL)
		add_header_pair(slot, "Authorization", secret_text(call->authorization));
	add_header(slot, "Expect:"); /* none: it costs a round trip */
	for (i = 0; call->client->headers != NULL && call->client->headers[i] != NULL; i++)
		add_header(slot, call->client->headers[i]);
	for (i = 0; call->headers != NULL && call->headers[i] != NULL; i++)
		add_header(slot, call->headers[i]);
	curl_easy_setopt(slot->easy, CURLOPT_HTTPHEADER, slot->headers);
}

/* One piece of up to JOINED_BODY_CAP bytes leaves with the head in one packet; larger ones are read where they lie. */
static void call_set_body(struct http_call *call, struct slot *slot)
{
	const struct http_request *request = &call->request;
	size_t body_len = request->body != NULL ? secret_len(request->body) : 0, len = request->head_len + body_len;
	const void *whole = NULL;
	CURL *easy = slot->easy;

	if (request->head == NULL && request->body == NULL) {
		curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
		curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request->method);
		return;
	}
	if (body_len == 0) {
		whole = request->head_len ? request->head : "";
	} else if (request->head_len == 0) {
		whole = secret_data(request->body);
	} else if (len <= JOINED_BODY_CAP) {
		if (call->joined == NULL) {
			call->joined = secret_new(len);
			if (secret_append(call->joined, request->head, request->head_len) < 0 ||
			    secret_append(call->joined, secret_data(request->body), body_len) < 0)
				abort();
		}
		whole = secret_data(call->joined);
	}
	call->body_offset = 0;
	curl_easy_setopt(easy, CURLOPT_POST, 1L);
	curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request->method);
	curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)len);
	curl_easy_setopt(easy, CURLOPT_POSTFIELDS, whole);
	curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_read);
	curl_easy_setopt(easy, CURLOPT_READDATA, call);
	curl_easy_setopt(easy, CURLOPT_SEEKDATA, call);
}

/* The Authorization header and client certificate of the moment. `*value` is what there was, or NULL, and is replaced;
 * `*ret_changed`: either is another. */
static int client_authorize(struct http_client *client, bool force, struct secret **value, bool *ret_changed,
			    struct error **err)
{
	_cleanup_secret_ fresh = NULL;
	const struct secret *cert = NULL, *key = NULL;
	struct tls_material *material = NULL;
	uint64_t generation = 0;
	int rc;

	*ret_changed = false;
	if (client->authorize == NULL)
		return 0;
	rc = client->authorize(client->authorize_arg, force, &fresh, err);
	if (rc < 0)
		return rc;
	*ret_changed = (fresh == NULL) != (*value == NULL) || (fresh != NULL && !secret_equal(fresh, *value));
	secret_free(*value);
	*value = steal(fresh);
	if (client->identity == NULL || client->material == NULL)
		return 0;
	client->identity(client->authorize_arg, &generation, &cert, &key);
	if (generation == client->identity_generation)
		return 0;
	rc = tls_material_renew(client->material, cert, key, &material, err);
	if (rc < 0)
		return rc;
	tls_material_unref(client->material);
	client->material = material;
	client->identity_generation = generation;
	http_client_disconnect(client);
	*ret_changed = true;
	return 0;
}

static int call_authorize(struct http_call *call, bool force, bool *ret_changed, struct error **err)
{
	return client_authorize(call->client, force, &call->authorization, ret_changed, err);
}

int http_client_access(struct http_client *client, bool force, struct http_access *ret, struct error **err)
{
	_cleanup_secret_ authorization = NULL;
	bool changed;
	int rc = client_authorize(client, force, &authorization, &changed, err);

	if (rc < 0)
		return rc;
	*ret = (struct http_access){
		.host = client->host,
		.port = client->port,
		.path = client->base_path,
		.material = client->material,
		.headers = (const char *const *)client->headers,
		.user_agent = client->user_agent,
		.proxied = client->proxy_url != NULL,
		.authorization = steal(authorization),
	};
	if (!client->insecure)
		ret->tls_name = client->server_name != NULL ? client->server_name : client->host;
	return 0;
}

static void on_watch(void *arg);

static void call_watch(struct http_call *call)
{
	uint64_t stall = call->request.stall_timeout;

	loop_timer_set(call->client->loop, &call->watch, loop_now(call->client->loop) + stall / STALL_TICKS, on_watch,
		       call);
}

static void on_transfer_done(void *arg, int result)
{
	call_finish(arg, (CURLcode)result);
}

/* Hands the call, authorized, to curl. */
static void call_launch(struct http_call *call, struct slot *slot)
{
	struct http_client *client = call->client;
	CURL *easy;

	slot_open(slot, client);
	easy = slot->easy;
	slot->call = call;
	call->slot = slot;
	slot_set_share(slot, client->share);
	if (client->material != slot->material) {
		tls_material_unref(slot->material);
		slot->material = tls_material_ref(client->material);
	}
	{
		_cleanup_free_ char *url = xasprintf("%s%s", client->request_url, call->request.path);

		curl_easy_setopt(easy, CURLOPT_URL, url);
	}
	call_set_headers(call, slot);
	call_set_body(call, slot);
	/* Reuse of an HTTP/2 connection without TLS fails in 7.88 (curl#10634). */
	curl_easy_setopt(easy, CURLOPT_FORBID_REUSE,
			 call->request.fresh_connection || (client->http2 && !client->https) ? 1L : 0L);
	curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, call->request.fresh_connection ? 1L : 0L);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)((call->request.timeout + NS_PER_MS - 1) / NS_PER_MS));
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, call);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, call);
	slot->error_text[0] = '\0';
	http_answer_reset(&call->answer);
	buf_reset(&call->body);
	call->last_change = loop_now(client->loop);
	call->bytes_seen = 0;
	call->paused = false;
	if (curl_multi_add_handle(loop_curl(client->loop), easy) != CURLM_OK)
		abort();
	loop_watch_transfer(client->loop, easy, on_transfer_done, call);
	call_watch(call);
}

/* --- queue ------------------------------------------------------------------------------------------------------ */

static void client_kick(struct http_client *client)
{
	if (client->queue != NULL && !client->kick.armed)
		loop_timer_set(client->loop, &client->kick, 0, kick, client);
}

static struct slot *free_slot(struct http_client *client)
{
	unsigned i;

	for (i = 0; i < client->slot_count; i++)
		if (client->slots[i].call == NULL)
			return &client->slots[i];
	return NULL;
}

static void queue_remove(struct http_client *client, struct http_call *call)
{
	struct http_call **place = &client->queue;

	while (*place != call)
		place = &(*place)->next;
	*place = call->next;
	if (client->queue_end == &call->next)
		client->queue_end = place;
	call->next = NULL;
}

static void call_free(struct http_call *call)
{
	free_headers(call->headers);
	free(call->method);
	free(call->path);
	free(call->accept);
	free(call->content_type);
	secret_free(call->authorization);
	secret_free(call->joined);
	http_answer_reset(&call->answer);
	buf_free(&call->body);
	free(call);
}

/* Takes the call off the client, so that on_done may do anything to the client. */
static void call_detach(struct http_call *call)
{
	struct http_client *client = call->client;

	loop_timer_cancel(client->loop, &call->watch);
	if (call->slot != NULL) {
		slot_release(call->slot);
		slot_set_share(call->slot, client->share);
		call->slot = NULL;
	} else {
		queue_remove(client, call);
	}
	client_kick(client);
}

static void kick(void *arg)
{
	struct http_client *client = arg;
	struct slot *slot;

	while (client->queue != NULL && (slot = free_slot(client)) != NULL) {
		struct http_call *call = client->queue;
		struct http_result result = {.body = &call->body,
					     .content_type = "",
					     .grpc_message = "",
					     .peer_process_start = "",
					     .grpc_status = -1};
		bool changed;

		result.rc = call_authorize(call, false, &changed, &result.error);
		if (result.rc == 0) {
			queue_remove(client, call);
			call->started = loop_now(client->loop);
			call_launch(call, slot);
			continue;
		}
		/* The rest of the queue gets its turn by the timer: after on_done the client may be gone. */
		call_detach(call);
		call->request.on_done(call->request.arg, &result);
		error_free(result.error);
		call_free(call);
		return;
	}
}

struct http_call *http_start(struct http_client *client, const struct http_request *request)
{
	struct http_call *call = xcalloc(1, sizeof(*call));

	call->client = client;
	call->request = *request;
	call->request.method = call->method = xstrdup(request->method);
	call->request.path = call->path = xstrdup(request->path);
	call->request.accept = call->accept = xstrdup_or_null(request->accept);
	call->request.content_type = call->content_type = xstrdup_or_null(request->content_type);
	call->headers = copy_headers(request->headers);
	call->request.headers = NULL;
	if (call->request.timeout == 0)
		call->request.timeout = DEFAULT_TIMEOUT;
	if (client->timeout != 0 && client->timeout < call->request.timeout)
		call->request.timeout = client->timeout;
	if (call->request.stall_timeout == 0)
		call->request.stall_timeout = DEFAULT_STALL_TIMEOUT;
	call->body = BUF_INIT(request->max_body ? request->max_body : DEFAULT_MAX_BODY);
	call->started = loop_now(client->loop);
	http_answer_reset(&call->answer);
	*client->queue_end = call;
	client->queue_end = &call->next;
	client_kick(client);
	return call;
}

/* --- the end of a call ------------------------------------------------------------------------------------------ */

static void slot_stop(struct slot *slot, struct loop *loop)
{
	loop_unwatch_transfer(loop, slot->easy);
	/* The one way to fail is being called from inside curl, that is from on_data. */
	if (curl_multi_remove_handle(loop_curl(loop), slot->easy) != CURLM_OK)
		abort();
}

void http_cancel(struct http_call *call)
{
	if (call == NULL)
		return;
	if (call->in_data)
		abort();
	if (call->slot != NULL)
		slot_stop(call->slot, call->client->loop);
	call_detach(call);
	call_free(call);
}

/* "GET https://10.0.0.1:6443/api/v1/secrets": without the query, which is long and helps nobody. */
static char *call_name(const struct http_call *call)
{
	return xasprintf("%s %s%.*s", call->method, call->client->base_url, (int)strcspn(call->path, "?"), call->path);
}

static bool is_certificate_alert(const char *text)
{
	static const char *const words[] = {"certificate", "unknown ca", "access denied"};
	const char *alert = strstr(text, "alert");
	size_t i;

	for (i = 0; alert != NULL && i < ELEMENTS(words); i++)
		if (strstr(alert, words[i]) != NULL)
			return true;
	return false;
}

static enum error_code code_of(CURLcode code, const char *text)
{
	if (code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CERTPROBLEM || is_certificate_alert(text))
		return ERROR_AUTH;
	if (code == CURLE_URL_MALFORMAT || code == CURLE_UNSUPPORTED_PROTOCOL || code == CURLE_WEIRD_SERVER_REPLY ||
	    code == CURLE_BAD_CONTENT_ENCODING)
		return ERROR_PROTOCOL;
	if (code == CURLE_FILESIZE_EXCEEDED)
		return ERROR_LIMIT;
	return ERROR_NETWORK;
}

static void hint_certificate(const struct http_call *call, CURLcode code, struct error **err)
{
	if (code == CURLE_PEER_FAILED_VERIFICATION)
		error_set_hint(
			err, "the certificate must come from the given certificate authority and name the host that is "
			     "asked (tls-server-name in the kubeconfig asks for another)");
	else if (call->client->material != NULL && tls_material_expiry(call->client->material) != 0)
		error_set_hint(
			err,
			"the server refused our client certificate: has it expired, or come from another cluster?");
}

/* What our own call-backs decided. */
static int explain_own(const struct http_call *call, int rc, struct error **err)
{
	_cleanup_free_ char *name = call_name(call);

	if (!call->answer.head_complete)
		return error_set(err, (enum error_code) - rc, "%s: the answer's head %s", name,
				 rc == -ERROR_LIMIT ? "is too long" : "is no HTTP");
	if (keeps_body(call) && rc == -ERROR_LIMIT)
		return error_set(err, ERROR_LIMIT, "%s: an answer of more than %zu bytes (status %u)", name,
				 call->body.cap, call->answer.status);
	if (call->in_data || !keeps_body(call))
		return error_set(err, (enum error_code) - rc, "%s: the answer could not be used", name);
	return error_set(err, (enum error_code) - rc, "%s: the answer's trailers are no HTTP", name);
}

/* " (through the proxy http://10.0.0.1:3128)"; "" where there is none. New string. */
static char *through_proxy(const struct http_client *client)
{
	if (!client->proxy_shown)
		return xstrdup("");
	return xasprintf(" (through the proxy %s%s)", client->proxy_shown,
			 client->no_proxy ? ", unless NO_PROXY exempts it" : "");
}

static int explain_curl(const struct http_call *call, CURLcode code, struct error **err)
{
	_cleanup_free_ char *name = call_name(call);
	const char *text = call->slot->error_text;
	_cleanup_free_ char *printable = NULL;
	enum error_code kind;

	if (text[0] == '\0')
		text = curl_easy_strerror(code);
	/* Which curl quotes. */
	const char *proxy_url = call->client->proxy_url;
	if (proxy_url && (strstr(text, proxy_url) || (!call->client->proxy_shown && strcasestr(text, "proxy"))))
		text = BAD_PROXY;
	printable = text_printable(text, strlen(text), CURL_ERROR_SIZE);
	kind = code_of(code, text);
	_cleanup_free_ char *proxy = through_proxy(call->client);
	error_set(err, kind, "%s: %s%s", name, printable, proxy);
	if (kind == ERROR_AUTH)
		hint_certificate(call, code, err);
	return -(int)kind;
}

static int call_outcome(const struct http_call *call, CURLcode code, struct error **err)
{
	int rc = 0;

	if (call->failed < 0)
		rc = explain_own(call, call->failed, err);
	else if (code != CURLE_OK)
		rc = explain_curl(call, code, err);
	else if (!call->answer.head_complete)
		rc = error_set(err, ERROR_NETWORK, "%s %s: the connection ended within the answer's head", call->method,
			       call->client->base_url);
	else if (!http_answer_has_end(&call->answer))
		/* Cut short and complete would look the same. */
		rc = error_set(err, ERROR_PROTOCOL, "%s %s: an answer without a length", call->method,
			       call->client->base_url);
	if (rc < 0)
		error_set_server(err, call->client->base_url);
	return rc;
}

/* Starts again after a 401, if there is something else to try: whether this ended the call's present end. */
static bool call_try_again(struct http_call *call, struct http_result *result)
{
	struct slot *slot = call->slot;
	bool changed;

	if (result->rc < 0 || call->answer.status != 401 || call->retried || call->client->authorize == NULL)
		return false;
	call->retried = true;
	/* Another call that got a 401 may have refreshed them already. */
	result->rc = call_authorize(call, false, &changed, &result->error);
	if (result->rc == 0 && !changed)
		result->rc = call_authorize(call, true, &changed, &result->error);
	if (result->rc < 0 || !changed)
		return false;
	loop_timer_cancel(call->client->loop, &call->watch);
	slot_release(slot);
	call_launch(call, slot);
	return true;
}

static bool was_sent(const struct http_call *call)
{
	long bytes = 0;

	/* A proxy's CONNECT counts too: "sent" may be said too often, never too seldom. */
	curl_easy_getinfo(call->slot->easy, CURLINFO_REQUEST_SIZE, &bytes);
	return call->retried || bytes > 0 || call->answer.status != 0;
}

const uint64_t http_latency_bounds[HTTP_LATENCY_BOUNDS] = {
	2 * NS_PER_MS,   5 * NS_PER_MS,   10 * NS_PER_MS,   25 * NS_PER_MS, 50 * NS_PER_MS,
	100 * NS_PER_MS, 250 * NS_PER_MS, 1000 * NS_PER_MS, 5 * NS_PER_S,   30 * NS_PER_S,
};

static void count(struct http_counts *counts, const struct http_result *result)
{
	size_t bucket = 0;

	while (bucket < HTTP_LATENCY_BOUNDS && result->elapsed > http_latency_bounds[bucket])
		bucket++;
	counts->buckets[bucket]++;
	counts->sum += result->elapsed;
	if (result->rc < 0)
		counts->failed++;
	else
		counts->status[result->status < 600 ? result->status / 100 : 0]++;
}

const struct http_counts *http_client_counts(const struct http_client *client)
{
	return &client->counts;
}

static bool has_connected(const struct http_call *call)
{
	long opened = 0;

	if (call->slot != NULL)
		curl_easy_getinfo(call->slot->easy, CURLINFO_NUM_CONNECTS, &opened);
	return opened > 0;
}

/* The easy handle is out of the CURLM. */
static void call_finish(struct http_call *call, CURLcode code)
{
	struct http_answer *answer = &call->answer;
	struct http_result result = {.sent = was_sent(call)};

	result.rc = call_outcome(call, code, &result.error);
	if (call_try_again(call, &result))
		return;
	result.status = answer->status;
	result.retry_after = answer->retry_after;
	result.content_type = answer->content_type ? answer->content_type : "";
	result.grpc_status = answer->grpc_status;
	result.grpc_message = answer->grpc_message ? answer->grpc_message : "";
	result.peer_process_start = answer->process_start ? answer->process_start : "";
	result.elapsed = loop_now(call->client->loop) - call->started;
	result.connected = has_connected(call);
	result.body = &call->body;
	count(&call->client->counts, &result);
	call_detach(call);
	if (call->request.on_done != NULL)
		call->request.on_done(call->request.arg, &result);
	error_free(result.error);
	call_free(call);
}

/* Bytes that moved without a call-back of ours: a body that curl sends from memory. */
static bool has_moved(struct http_call *call)
{
	curl_off_t up = 0;
	long head = 0;
	uint64_t seen;

	curl_easy_getinfo(call->slot->easy, CURLINFO_SIZE_UPLOAD_T, &up);
	curl_easy_getinfo(call->slot->easy, CURLINFO_REQUEST_SIZE, &head);
	seen = (uint64_t)up + (uint64_t)head;
	if (seen == call->bytes_seen)
		return false;
	call->bytes_seen = seen;
	return true;
}

static void on_watch(void *arg)
{
	struct http_call *call = arg;
	struct loop *loop = call->client->loop;
	uint64_t now = loop_now(loop);

	if (call->resume_result != CURLE_OK) {
		slot_stop(call->slot, loop);
		call_finish(call, call->resume_result);
		return;
	}
	if (call->paused || has_moved(call))
		call->last_change = now;
	if (now - call->last_change < call->request.stall_timeout) {
		call_watch(call);
		return;
	}
	slot_stop(call->slot, loop);
	snprintf(call->slot->error_text, sizeof(call->slot->error_text), "nothing moved for %llu ms",
		 (unsigned long long)((now - call->last_change) / NS_PER_MS));
	call_finish(call, CURLE_OPERATION_TIMEDOUT);
}

void http_resume(struct http_call *call)
{
	CURLcode code;

	if (call->in_data)
		abort();
	if (call->slot == NULL || !call->paused)
		return;
	call->paused = false;
	call->last_change = loop_now(call->client->loop);
	code = curl_easy_pause(call->slot->easy, CURLPAUSE_CONT);
	if (code == CURLE_OK)
		return;
	/* on_data refused, in here. The call's end comes from the loop, as always. */
	call->resume_result = code;
	loop_timer_set(call->client->loop, &call->watch, 0, on_watch, call);
}

/* --- waiting for one -------------------------------------------------------------------------------------------- */

struct fetch {
	struct http_response *response;
	struct error *error;
	int rc;
	bool done;
};

static void on_fetched(void *arg, struct http_result *result)
{
	struct fetch *fetch = arg;

	fetch->done = true;
	fetch->rc = result->rc;
	fetch->error = steal(result->error);
	*fetch->response = (struct http_response){
		.status = result->status,
		.body = *result->body,
		.content_type = xstrdup(result->content_type),
		.retry_after = result->retry_after,
		.grpc_status = result->grpc_status,
		.grpc_message = xstrdup(result->grpc_message),
		.peer_process_start = xstrdup(result->peer_process_start),
		.sent = result->sent,
	};
	*result->body = (struct buf){0};
}

int http_fetch(struct http_client *client, const struct http_request *request, struct http_response *ret,
	       struct error **err)
{
	struct http_response response = {0};
	struct fetch fetch = {.response = &response};
	struct http_request copy = *request;
	struct http_call *call;
	int rc;

	copy.on_done = on_fetched;
	copy.arg = &fetch;
	call = http_start(client, &copy);
	rc = loop_run_until(client->loop, &fetch.done, 0, err);
	if (rc < 0) {
		http_cancel(call);
		return rc;
	}
	if (fetch.rc < 0) {
		if (err != NULL)
			*err = steal(fetch.error);
		error_free(fetch.error);
		http_response_free(&response);
		return fetch.rc;
	}
	*ret = response;
	return 0;
}

void http_response_free(struct http_response *response)
{
	buf_free(&response->body);
	free(response->content_type);
	free(response->grpc_message);
	free(response->peer_process_start);
	*response = (struct http_response){0};
}
