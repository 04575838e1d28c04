#include "net/web_server.h"
#include <openssl/ssl.h>
#include "base/clock.h"
#include "base/text.h"
#include "net/tls.h"
#include "net/web_internal.h"
#include "net/web_private.h"

#define ANSWER_HEAD_MAX 2048
#define PIECE_MAX 16384 /* of a body, a write */
#define LIVE_PATH_MAX 256

/* --- the web thread's half -------------------------------------------------------------------------------------- */

/* What was published at once; what is being sent holds on to it. */
struct web_snapshot {
	unsigned references;
	struct web_document documents[WEB_SERVER_DOCUMENTS_MAX];
	size_t count;
};

/* It stays until the thread ends: lws may still speak of the host after it was told to destroy it. */
struct web_listener {
	uint64_t id;
	struct lws_vhost *vhost; /* NULL: stopped, or never began */
	SSL_CTX *tls;            /* lws' own; NULL without TLS */
	struct tls_material *material;
	struct web_snapshot *snapshot; /* NULL: nothing yet */
	char *token;                   /* NULL: it is for everybody */
	const char *live_path;         /* NULL: nothing is pushed */
	struct web_words *words;       /* pushed last; NULL: nothing yet */
	uint64_t pushed;               /* how often */
	unsigned connections;
	struct web_listener *next;
};

/* One connection's answer; lws keeps it, and zeroes it at first. */
struct answer {
	struct web_snapshot *snapshot;
	const char *body; /* static, or the snapshot's */
	size_t len, sent;
	struct web_live live; /* of a WebSocket */
};

static void snapshot_unref(struct web_snapshot *snapshot)
{
	size_t i;

	if (snapshot == NULL || --snapshot->references > 0)
		return;
	for (i = 0; i < snapshot->count; i++)
		buf_free(&snapshot->documents[i].body);
	free(snapshot);
}

static void answer_free(struct answer *answer)
{
	snapshot_unref(answer->snapshot);
	web_live_end(&answer->live);
	*answer = (struct answer){.body = NULL};
}

static const struct web_document *find_document(const struct web_snapshot *snapshot, const char *path)
{
	size_t i;

	for (i = 0; snapshot != NULL && i < snapshot->count; i++)
		if (strcmp(snapshot->documents[i].path, path) == 0)
			return &snapshot->documents[i];
	return NULL;
}

static unsigned say(struct answer *answer, unsigned status, const char *words)
{
	answer->body = words;
	answer->len = strlen(words);
	return status;
}

/* Chooses status and type, and sets the answer's body. */
static unsigned choose(const struct web_listener *listener, struct lws *wsi, const char *path, struct answer *answer,
		       const char **ret_type)
{
	unsigned refused = web_private_judge(wsi, listener->token, path, false, &path);
	const struct web_document *document = refused == 0 ? find_document(listener->snapshot, path) : NULL;

	*ret_type = "text/plain; charset=utf-8";
	if (refused == 403)
		return say(answer, refused, "not under this name, nor for another page\n");
	if (refused == 0 && lws_hdr_total_length(wsi, WSI_TOKEN_GET_URI) == 0 &&
	    lws_hdr_total_length(wsi, WSI_TOKEN_HEAD_URI) == 0)
		return say(answer, 405, "GET and HEAD only\n");
	if (refused == 0 && listener->snapshot == NULL)
		return say(answer, 503, "just started\n");
	if (document == NULL)
		return say(answer, 404, "no such path\n");
	if (document->good_until != 0 && clock_monotonic() > document->good_until)
		return say(answer, 503, document->stale_body);
	answer->body = buf_text(&document->body);
	answer->len = document->body.len;
	answer->snapshot = listener->snapshot;
	answer->snapshot->references++;
	*ret_type = document->content_type;
	return document->status;
}

/* 0, or -1 to close. */
static int end_answer(struct lws *wsi, struct answer *answer)
{
	answer_free(answer);
	return lws_http_transaction_completed(wsi) ? -1 : 0;
}

static int begin_answer(const struct web_listener *listener, struct lws *wsi, const char *path, struct answer *answer)
{
	uint8_t head[LWS_PRE + ANSWER_HEAD_MAX];
	uint8_t *start = head + LWS_PRE, *at = start, *end = head + sizeof(head) - 1;
	const char *type;
	unsigned status;

	answer_free(answer);
	status = choose(listener, wsi, path, answer, &type);
	if (lws_add_http_common_headers(wsi, status, type, answer->len, &at, end) != 0 ||
	    (listener->token != NULL && web_private_headers(wsi, &at, end) < 0) ||
	    lws_finalize_write_http_header(wsi, start, &at, end) != 0)
		return -1;
	if (lws_hdr_total_length(wsi, WSI_TOKEN_HEAD_URI) != 0)
		return end_answer(wsi, answer);
	/* Once, for all of it: who takes a byte now and then is not waited for. */
	lws_set_timeout(wsi, PENDING_TIMEOUT_HTTP_CONTENT, WEB_SERVER_SLOW_S);
	lws_callback_on_writable(wsi);
	return 0;
}

static int go_on(struct lws *wsi, struct answer *answer)
{
	uint8_t piece[LWS_PRE + PIECE_MAX];
	size_t len = answer->len - answer->sent;
	bool last;

	if (answer->body == NULL)
		return 0;
	if (len > PIECE_MAX)
		len = PIECE_MAX;
	memcpy(piece + LWS_PRE, answer->body + answer->sent, len);
	answer->sent += len;
	last = answer->sent == answer->len;
	if (lws_write(wsi, piece + LWS_PRE, len, last ? LWS_WRITE_HTTP_FINAL : LWS_WRITE_HTTP) < (int)len)
		return -1;
	if (last)
		return end_answer(wsi, answer);
	lws_callback_on_writable(wsi);
	return 0;
}

/* --- what is pushed ---------------------------------------------------------------------------------------------- */

/* As HTTP_CONFIRM_UPGRADE answers. */
static int confirm_live(const struct web_listener *listener, struct lws *wsi)
{
	char path[LIVE_PATH_MAX];
	const char *rest;
	unsigned refused;

	if (listener->live_path == NULL || lws_hdr_copy(wsi, path, sizeof(path), WSI_TOKEN_GET_URI) <= 0)
		return -1;
	refused = web_private_judge(wsi, listener->token, path, true, &rest);
	if (refused == 0 && !text_equal(rest, listener->live_path))
		refused = 404;
	if (refused == 0)
		return 0;
	return lws_return_http_status(wsi, refused, NULL) < 0 ? -1 : 1;
}

static int write_live(const struct web_listener *listener, struct lws *wsi, struct answer *answer)
{
	return web_live_write(wsi, &answer->live, listener->words, WEB_SERVER_SLOW_S);
}

static int prepare_tls(struct web_listener *listener, SSL_CTX *context)
{
	listener->tls = context;
	if (SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) != 1)
		return -1;
	return tls_material_apply(listener->material, context) < 0 ? -1 : 0;
}

static int on_server(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len)
{
	struct lws_vhost *vhost = lws_get_vhost(wsi);
	struct web_listener *listener = vhost != NULL ? lws_vhost_user(vhost) : NULL;

	(void)len;
	if (listener == NULL)
		return 0;
	switch ((int)reason) {
	case LWS_CALLBACK_OPENSSL_LOAD_EXTRA_SERVER_VERIFY_CERTS:
		return prepare_tls(listener, user);
	case LWS_CALLBACK_FILTER_NETWORK_CONNECTION:
		return listener->connections >= WEB_SERVER_CONNECTIONS ? -1 : 0;
	case LWS_CALLBACK_SERVER_NEW_CLIENT_INSTANTIATED:
		lws_set_opaque_user_data(wsi, listener);
		listener->connections++;
		return 0;
	case LWS_CALLBACK_WSI_DESTROY: /* of the listening socket, too */
		if (lws_get_opaque_user_data(wsi) == listener)
			listener->connections--;
		return 0;
	case LWS_CALLBACK_HTTP:
		return begin_answer(listener, wsi, in, user);
	case LWS_CALLBACK_HTTP_WRITEABLE:
		return go_on(wsi, user);
	case LWS_CALLBACK_CLOSED_HTTP:
	case LWS_CALLBACK_HTTP_DROP_PROTOCOL:
		if (user != NULL)
			answer_free(user);
		return 0;
	case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE:
		return confirm_live(listener, wsi);
	case LWS_CALLBACK_ESTABLISHED:
		lws_callback_on_writable(wsi);
		return 0;
	case LWS_CALLBACK_SERVER_WRITEABLE:
		return write_live(listener, wsi, user);
	case LWS_CALLBACK_RECEIVE: /* there is nothing to say to us; to return -1 could spin (c-style.md) */
		lws_set_timeout(wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_ASYNC);
		return 0;
	case LWS_CALLBACK_CLOSED:
		answer_free(user);
		return 0;
	default:
		return 0;
	}
}

const struct lws_protocols web_server_protocols[] = {
	{.name = "kube-rekey-serve", .callback = on_server, .per_session_data_size = sizeof(struct answer)},
	{0},
};

static void listener_free(struct web_listener *listener)
{
	snapshot_unref(listener->snapshot);
	web_words_unref(listener->words);
	tls_material_unref(listener->material);
	free(listener->token);
	free(listener);
}

void web_server_reap(struct web *web)
{
	struct web_listener *listener, *next;

	for (listener = web->listeners; listener != NULL; listener = next) {
		next = listener->next;
		listener_free(listener);
	}
	web->listeners = NULL;
}

static struct web_listener *find(struct web *web, uint64_t id)
{
	struct web_listener *listener = web->listeners;

	while (listener != NULL && listener->id != id)
		listener = listener->next;
	return listener;
}

/* --- the loop's half, and what goes between --------------------------------------------------------------------- */

struct web_server {
	struct web *web;
	uint64_t id;
	uint16_t port;
};

/* Where web_server_start waits. */
struct listening {
	bool done;
	uint16_t port; /* 0: it failed */
};

struct order {
	struct handover_message message;
	uint64_t id;
	/* to listen */
	char *address;
	uint16_t port;
	/* of the loop's thread, which alone looks into it */
	struct listening *listening;
	struct tls_material *material; /* likewise to renew */
	char *token;                   /* NULL: for everybody */
	const char *live_path;
	struct web_snapshot *snapshot; /* to publish */
	struct web_words *words;       /* to push */
};

static void order_free(struct handover_message *message)
{
	struct order *order = (struct order *)message;

	free(order->address);
	tls_material_unref(order->material);
	snapshot_unref(order->snapshot);
	web_words_unref(order->words);
	free(order->token);
	free(order);
}

static void order_send(struct handover *to, struct order *order,
		       void (*run)(struct handover_message *message, void *arg))
{
	order->message.run = run;
	order->message.free = order_free;
	handover_put(to, &order->message);
}

static void run_listening(struct handover_message *message, void *arg)
{
	struct order *order = (struct order *)message;

	(void)arg;
	order->listening->port = order->port;
	order->listening->done = true;
}

static void run_listen(struct handover_message *message, void *arg)
{
	struct order *order = (struct order *)message, *answer = xcalloc(1, sizeof(*answer));
	struct lws_context_creation_info info = web_vhost("serve", web_server_protocols);
	struct web_listener *listener = xcalloc(1, sizeof(*listener));
	struct web *web = arg;

	listener->id = order->id;
	listener->material = steal(order->material);
	listener->token = steal(order->token);
	listener->live_path = order->live_path;
	listener->next = web->listeners;
	web->listeners = listener;
	info.user = listener;
	info.port = order->port;
	info.iface = order->address;
	info.options |= LWS_SERVER_OPTION_FAIL_UPON_UNABLE_TO_BIND;
	if (listener->material != NULL)
		info.options |= LWS_SERVER_OPTION_CREATE_VHOST_SSL_CTX;
	listener->vhost = lws_create_vhost(web->lws, &info);
	if (listener->vhost != NULL)
		answer->port = (uint16_t)lws_get_vhost_listen_port(listener->vhost);
	answer->listening = order->listening;
	order_send(web->to_loop, answer, run_listening);
}

static void run_publish(struct handover_message *message, void *arg)
{
	struct order *order = (struct order *)message;
	struct web_listener *listener = find(arg, order->id);

	if (listener == NULL)
		return;
	snapshot_unref(listener->snapshot);
	listener->snapshot = steal(order->snapshot);
}

static void run_push(struct handover_message *message, void *arg)
{
	struct order *order = (struct order *)message;
	struct web_listener *listener = find(arg, order->id);

	if (listener == NULL || listener->vhost == NULL)
		return;
	web_words_unref(listener->words);
	listener->words = steal(order->words);
	listener->words->number = ++listener->pushed;
	/* The host has a copy of web_server_protocols, and knows that one alone. */
	lws_callback_on_writable_all_protocol_vhost(
		listener->vhost, lws_vhost_name_to_protocol(listener->vhost, web_server_protocols[0].name));
}

static void run_renew(struct handover_message *message, void *arg)
{
	struct order *order = (struct order *)message;
	struct web_listener *listener = find(arg, order->id);

	/* It was checked when it was read; should OpenSSL refuse it all the same, the old one stays. */
	if (listener != NULL && listener->vhost != NULL && listener->tls != NULL)
		(void)!tls_material_apply(order->material, listener->tls);
}

static void run_unlisten(struct handover_message *message, void *arg)
{
	struct web_listener *listener = find(arg, ((struct order *)message)->id);

	if (listener == NULL || listener->vhost == NULL)
		return;
	lws_vhost_destroy(listener->vhost);
	listener->vhost = NULL;
}

static void send_to(struct web_server *server, struct order *order,
		    void (*run)(struct handover_message *message, void *arg))
{
	order->id = server->id;
	order_send(server->web->to_web, order, run);
}

static int listen_by(struct web *web, struct order *order, struct web_server **ret, struct error **err)
{
	struct web_server *server = xcalloc(1, sizeof(*server));
	struct listening listening = {.done = false};
	_cleanup_free_ char *address = order->address != NULL ? xstrdup(order->address) : NULL;
	uint16_t port = order->port;

	server->web = web;
	server->id = ++web->last_id;
	order->listening = &listening;
	send_to(server, order, run_listen);
	/* It comes at once, and nothing is skipped: the message points to `listening`. */
	while (!listening.done)
		loop_step(web->loop, UINT64_MAX);
	if (listening.port == 0) {
		web_server_stop(server);
		return error_set(err, ERROR_IO,
				 "listening on %s port %u failed: is the address this machine's, and the port free?",
				 address != NULL ? address : "all addresses", port);
	}
	server->port = listening.port;
	*ret = server;
	return 0;
}

int web_server_start(struct web *web, const char *address, uint16_t port, struct tls_material *material,
		     struct web_server **ret, struct error **err)
{
	struct order *order = xcalloc(1, sizeof(*order));

	order->address = address != NULL ? xstrdup(address) : NULL;
	order->port = port;
	order->material = material;
	return listen_by(web, order, ret, err);
}

int web_server_start_private(struct web *web, const struct web_server_private *options, struct web_server **ret,
			     struct error **err)
{
	struct order *order = xcalloc(1, sizeof(*order));

	order->address = xstrdup("127.0.0.1");
	order->token = xstrdup(options->token);
	order->live_path = options->live_path;
	return listen_by(web, order, ret, err);
}

uint16_t web_server_port(const struct web_server *server)
{
	return server->port;
}

void web_server_publish(struct web_server *server, struct web_document *documents, size_t count)
{
	struct order *order = xcalloc(1, sizeof(*order));
	struct web_snapshot *snapshot = xcalloc(1, sizeof(*snapshot));
	size_t i;

	if (count > WEB_SERVER_DOCUMENTS_MAX)
		abort();
	snapshot->references = 1;
	snapshot->count = count;
	for (i = 0; i < count; i++) {
		snapshot->documents[i] = documents[i];
		documents[i].body = BUF_INIT(documents[i].body.cap);
	}
	order->snapshot = snapshot;
	send_to(server, order, run_publish);
}

void web_server_push(struct web_server *server, struct buf *message)
{
	struct order *order = xcalloc(1, sizeof(*order));

	order->words = web_words_new(message);
	send_to(server, order, run_push);
}

void web_server_renew(struct web_server *server, struct tls_material *material)
{
	struct order *order = xcalloc(1, sizeof(*order));

	order->material = material;
	send_to(server, order, run_renew);
}

void web_server_stop(struct web_server *server)
{
	if (server == NULL)
		return;
	send_to(server, xcalloc(1, sizeof(struct order)), run_unlisten);
	free(server);
}
