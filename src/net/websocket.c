#include "net/websocket.h"
#include <openssl/ssl.h>
#include "base/text.h"
#include "net/tls.h"
#include "net/web_internal.h"

#define HOST_MAX 110 /* lws' places for names have 128 bytes */
#define WHY_MAX 512

/* --- the loop's half -------------------------------------------------------------------------------------------- */

struct websocket {
	struct web *web;
	uint64_t id;
	const struct websocket_handler *handler;
	void *arg;
	struct websocket *next;
};

/* From the web thread: what happened to one socket. */
struct happening {
	struct handover_message message;
	uint64_t id;
	enum { OPENED, PIECE, PONG, ENDED } what;
	struct secret *bytes; /* PIECE */
	bool last;
	unsigned status; /* ENDED */
	char *why;
};

static struct happening *happening_of(struct handover_message *message)
{
	return (struct happening *)message;
}

static void happening_free(struct handover_message *message)
{
	struct happening *happening = happening_of(message);

	secret_free(happening->bytes);
	free(happening->why);
	free(happening);
}

static void happening_run(struct handover_message *message, void *arg)
{
	struct happening *happening = happening_of(message);
	struct web *web = arg;
	struct websocket *socket = web->sockets;

	while (socket != NULL && socket->id != happening->id)
		socket = socket->next;
	if (socket == NULL) /* closed meanwhile */
		return;
	switch (happening->what) {
	case OPENED:
		socket->handler->on_open(socket->arg);
		break;
	case PIECE:
		socket->handler->on_text(socket->arg, secret_data(happening->bytes), secret_len(happening->bytes),
					 happening->last);
		break;
	case PONG:
		socket->handler->on_pong(socket->arg);
		break;
	case ENDED:
		socket->handler->on_end(socket->arg, happening->status, happening->why);
		break;
	}
}

/* --- the web thread's half -------------------------------------------------------------------------------------- */

struct web_connection {
	struct web *web;
	uint64_t id;
	struct lws_vhost *vhost; /* one each: it brings the TLS context of the moment */
	SSL_CTX *tls;
	struct lws *wsi;        /* NULL: not yet, or gone */
	struct secret *headers; /* until they are sent */
	bool ended;             /* that was told, or nobody asks any more */
	bool ping, held;
	struct web_connection *next;
};

static bool report(struct web_connection *connection, struct happening *happening)
{
	happening->message.run = happening_run;
	happening->message.free = happening_free;
	happening->id = connection->id;
	if (happening->bytes != NULL)
		happening->message.size = secret_len(happening->bytes);
	return handover_put(connection->web->to_loop, &happening->message);
}

static struct happening *happening_new(int what)
{
	struct happening *happening = xcalloc(1, sizeof(*happening));

	happening->what = what;
	return happening;
}

static void report_end(struct web_connection *connection, unsigned status, const char *why, size_t len)
{
	struct happening *happening;

	if (connection->ended)
		return;
	connection->ended = true;
	happening = happening_new(ENDED);
	happening->status = status;
	happening->why = text_printable(why, len, WHY_MAX);
	report(connection, happening);
}

static int append_headers(struct web_connection *connection, unsigned char **place, size_t room)
{
	size_t len = secret_len(connection->headers);

	if (len > room)
		return -1;
	memcpy(*place, secret_data(connection->headers), len);
	*place += len;
	return 0;
}

static void receive(struct web_connection *connection, struct lws *wsi, const void *bytes, size_t len)
{
	struct happening *happening;

	if (connection->ended)
		return;
	happening = happening_new(PIECE);
	happening->bytes = secret_from(bytes, len);
	happening->last = lws_is_final_fragment(wsi) && lws_remaining_packet_payload(wsi) == 0;
	if (!report(connection, happening)) {
		connection->held = true;
		lws_rx_flow_control(wsi, 0);
	}
}

static int send_ping(struct web_connection *connection, struct lws *wsi)
{
	uint8_t frame[LWS_PRE + 1];

	if (!connection->ping)
		return 0;
	connection->ping = false;
	return lws_write(wsi, frame + LWS_PRE, 0, LWS_WRITE_PING) < 0 ? -1 : 0;
}

static int on_client(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len)
{
	struct web_connection *connection = lws_get_opaque_user_data(wsi);

	(void)user;
	if (connection == NULL)
		return 0;
	switch ((int)reason) {
	case LWS_CALLBACK_CLIENT_APPEND_HANDSHAKE_HEADER:
		return append_headers(connection, in, len);
	case LWS_CALLBACK_CLIENT_ESTABLISHED:
		secret_reset(connection->headers);
		if (!connection->ended)
			report(connection, happening_new(OPENED));
		return 0;
	case LWS_CALLBACK_CLIENT_RECEIVE:
		receive(connection, wsi, in, len);
		return 0;
	case LWS_CALLBACK_CLIENT_RECEIVE_PONG:
		if (!connection->ended)
			report(connection, happening_new(PONG));
		return 0;
	case LWS_CALLBACK_CLIENT_WRITEABLE:
		return send_ping(connection, wsi);
	case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
		report_end(connection, lws_http_client_http_response(wsi), in != NULL ? in : "", in != NULL ? len : 0);
		return 0;
	case LWS_CALLBACK_CLIENT_CLOSED:
		report_end(connection, 0, "", 0);
		return 0;
	case LWS_CALLBACK_WSI_DESTROY:
		report_end(connection, 0, "", 0);
		connection->wsi = NULL;
		return 0;
	default:
		return 0;
	}
}

const struct lws_protocols websocket_protocols[] = {
	{.name = "kube-rekey-watch", .callback = on_client, .rx_buffer_size = WEB_HEAD_MAX},
	{0},
};

static void connection_free(struct web_connection *connection)
{
	SSL_CTX_free(connection->tls);
	secret_free(connection->headers);
	free(connection);
}

void websocket_reap(struct web *web, bool all)
{
	struct web_connection **place = &web->connections, *connection;

	while ((connection = *place) != NULL) {
		if (!all && connection->wsi != NULL) {
			place = &connection->next;
			continue;
		}
		*place = connection->next;
		if (!all && connection->vhost != NULL)
			lws_vhost_destroy(connection->vhost);
		connection_free(connection);
	}
}

void websocket_go_on(struct web *web)
{
	struct web_connection *connection;

	for (connection = web->connections; connection != NULL; connection = connection->next) {
		if (!connection->held || connection->wsi == NULL)
			continue;
		connection->held = false;
		lws_rx_flow_control(connection->wsi, 1);
	}
}

/* --- from the loop to the web thread ---------------------------------------------------------------------------- */

struct command {
	struct handover_message message;
	uint64_t id;
	/* to connect */
	char *host, *path;
	uint16_t port;
	char *tls_name; /* what SNI says */
	SSL_CTX *tls;
	struct secret *headers;
};

static void command_free(struct handover_message *message)
{
	struct command *command = (struct command *)message;

	free(command->host);
	free(command->path);
	free(command->tls_name);
	SSL_CTX_free(command->tls);
	secret_free(command->headers);
	free(command);
}

static void command_send(struct websocket *socket, struct command *command,
			 void (*run)(struct handover_message *message, void *arg))
{
	command->message.run = run;
	command->message.free = command_free;
	command->id = socket->id;
	handover_put(socket->web->to_web, &command->message);
}

static struct web_connection *find(struct web *web, uint64_t id)
{
	struct web_connection *connection = web->connections;

	while (connection != NULL && connection->id != id)
		connection = connection->next;
	return connection;
}

static void connect_now(struct web_connection *connection, const struct command *command)
{
	struct lws_client_connect_info info = {
		.context = connection->web->lws,
		.vhost = connection->vhost,
		.address = command->host,
		.port = command->port,
		.path = command->path,
		.host = command->tls_name,
		.origin = "kube-rekey", /* any; without one the API server refuses */
		.local_protocol_name = websocket_protocols[0].name,
		.alpn = "http/1.1",
		.opaque_user_data = connection,
		.pwsi = &connection->wsi,
		.ssl_connection = LCCSCF_HTTP_NO_FOLLOW_REDIRECT,
	};

	/* The name is verified by our context. */
	if (connection->tls != NULL)
		info.ssl_connection |= LCCSCF_USE_SSL | LCCSCF_SKIP_SERVER_CERT_HOSTNAME_CHECK;
	if (lws_client_connect_via_info(&info) == NULL) {
		connection->wsi = NULL;
		report_end(connection, 0, "connecting failed", strlen("connecting failed"));
	}
}

static void run_connect(struct handover_message *message, void *arg)
{
	struct command *command = (struct command *)message;
	struct lws_context_creation_info info = web_vhost("watch", websocket_protocols);
	struct web_connection *connection = xcalloc(1, sizeof(*connection));
	struct web *web = arg;

	connection->web = web;
	connection->id = command->id;
	connection->headers = steal(command->headers);
	connection->tls = steal(command->tls);
	connection->next = web->connections;
	web->connections = connection;
	info.provided_client_ssl_ctx = connection->tls;
	connection->vhost = lws_create_vhost(web->lws, &info);
	if (connection->vhost != NULL)
		connect_now(connection, command);
	else
		report_end(connection, 0, "no virtual host", strlen("no virtual host"));
}

static void run_ping(struct handover_message *message, void *arg)
{
	struct web_connection *connection = find(arg, ((struct command *)message)->id);

	if (connection == NULL || connection->ended || connection->wsi == NULL)
		return;
	connection->ping = true;
	lws_callback_on_writable(connection->wsi);
}

static void run_close(struct handover_message *message, void *arg)
{
	struct web_connection *connection = find(arg, ((struct command *)message)->id);

	if (connection == NULL)
		return;
	connection->ended = true;
	/* The one way that does not spin in the middle of a large frame. */
	if (connection->wsi != NULL)
		lws_set_timeout(connection->wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_ASYNC);
}

/* --- what the loop calls ---------------------------------------------------------------------------------------- */

static void add_header(struct secret *headers, const char *name, const char *value)
{
	if (secret_append_text(headers, name) < 0 || secret_append_text(headers, name[0] ? ": " : "") < 0 ||
	    secret_append_text(headers, value) < 0 || secret_append_text(headers, "\r\n") < 0)
		abort();
}

static struct secret *make_headers(const struct http_access *access, const char *accept)
{
	struct secret *headers = secret_new(SIZE_MAX);
	size_t i;

	add_header(headers, "Accept", accept);
	add_header(headers, "User-Agent", access->user_agent);
	for (i = 0; access->headers != NULL && access->headers[i] != NULL; i++)
		add_header(headers, "", access->headers[i]);
	if (access->authorization != NULL)
		add_header(headers, "Authorization", secret_text(access->authorization));
	return headers;
}

/* SNI and Host; lws would cut an IPv6 address. */
static char *name_to_say(const struct http_access *access)
{
	const char *name = access->tls_name != NULL ? access->tls_name : access->host;

	return xstrdup(strchr(name, ':') != NULL ? "kubernetes" : name);
}

static int make_command(const struct http_access *access, const char *path, const char *accept, struct command *command,
			struct error **err)
{
	command->host = xstrdup(access->host);
	command->port = access->port;
	command->path = xasprintf("%s%s", access->path, path);
	command->tls_name = name_to_say(access);
	command->headers = make_headers(access, accept);
	if (access->proxied)
		return error_set(err, ERROR_INPUT, "watching through a proxy is not supported");
	if (strlen(command->path) > WEBSOCKET_PATH_MAX || strlen(command->host) > HOST_MAX ||
	    strlen(command->tls_name) > HOST_MAX || secret_len(command->headers) > WEB_HEAD_MAX - 4096)
		return error_set(err, ERROR_LIMIT, "the request for a watch is too long");
	if (access->material != NULL && tls_client_context(access->material, access->tls_name, &command->tls) < 0)
		return error_set(err, ERROR_IO, "OpenSSL refuses the credentials");
	return 0;
}

static int count_sockets(const struct web *web)
{
	const struct websocket *socket;
	int count = 0;

	for (socket = web->sockets; socket != NULL; socket = socket->next)
		count++;
	return count;
}

int websocket_open(struct web *web, struct http_client *client, const char *path, const char *accept, bool force,
		   const struct websocket_handler *handler, void *arg, struct websocket **ret, struct error **err)
{
	struct http_access access = {.authorization = NULL};
	struct command *command;
	struct websocket *socket;
	int rc;

	if (count_sockets(web) >= WEBSOCKETS_MAX)
		return error_set(err, ERROR_LIMIT, "more than %d watches", WEBSOCKETS_MAX);
	rc = http_client_access(client, force, &access, err);
	if (rc < 0)
		return rc;
	command = xcalloc(1, sizeof(*command));
	rc = make_command(&access, path, accept, command, err);
	secret_free(access.authorization);
	if (rc < 0) {
		command_free(&command->message);
		error_set_server(err, http_client_url(client));
		return rc;
	}
	socket = xcalloc(1, sizeof(*socket));
	*socket = (struct websocket){
		.web = web, .id = ++web->last_id, .handler = handler, .arg = arg, .next = web->sockets};
	web->sockets = socket;
	command_send(socket, command, run_connect);
	*ret = socket;
	return 0;
}

void websocket_ping(struct websocket *socket)
{
	command_send(socket, xcalloc(1, sizeof(struct command)), run_ping);
}

void websocket_close(struct websocket *socket)
{
	struct websocket **place;

	if (socket == NULL)
		return;
	command_send(socket, xcalloc(1, sizeof(struct command)), run_close);
	for (place = &socket->web->sockets; *place != socket; place = &(*place)->next)
		;
	*place = socket->next;
	free(socket);
}
