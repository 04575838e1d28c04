#include "net/web.h"
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "net/web_internal.h"

#define TO_WEB_MAX (4u << 20) /* nobody waits for it: a few commands a socket, and what is published */
#define CALL_TIMEOUT_S 15     /* for each stage of connecting, and for a head */

static void wake_web(void *arg)
{
	struct web *web = arg;

	lws_cancel_service(web->lws);
}

static void wake_loop(void *arg)
{
	struct web *web = arg;
	uint64_t one = 1;

	/* It fails only where the counter is full, and then the loop is awake. */
	while (write(web->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

/* --- messages without contents ---------------------------------------------------------------------------------- */

static void message_free(struct handover_message *message)
{
	free(message);
}

static void run_stop(struct handover_message *message, void *arg)
{
	struct web *web = arg;

	(void)message;
	web->stopping = true;
}

static void run_go_on(struct handover_message *message, void *arg)
{
	(void)message;
	websocket_go_on(arg);
}

static void tell(struct web *web, void (*run)(struct handover_message *message, void *arg))
{
	struct handover_message *message = xcalloc(1, sizeof(*message));

	message->run = run;
	message->free = message_free;
	handover_put(web->to_web, message);
}

static void on_inbox(void *arg)
{
	struct web *web = arg;
	uint64_t count;

	if (read(web->wake_fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
		return;
	if (handover_run(web->to_loop, web))
		tell(web, run_go_on);
}

/* --- the thread ------------------------------------------------------------------------------------------------- */

static void *serve(void *arg)
{
	struct web *web = arg;

	while (!web->stopping) {
		/* A round that failed says nothing about the next. */
		(void)!lws_service(web->lws, 0);
		handover_run(web->to_web, web);
		websocket_reap(web, false);
	}
	return NULL;
}

struct lws_context_creation_info web_vhost(const char *name, const struct lws_protocols *protocols)
{
	return (struct lws_context_creation_info){
		.vhost_name = name,
		.protocols = protocols,
		.port = CONTEXT_PORT_NO_LISTEN,
		.options = LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT,
		.alpn = "http/1.1",
		/* "" is none; NULL is the environment's. */
		.http_proxy_address = "",
		.keepalive_timeout = CALL_TIMEOUT_S,
		.timeout_secs_ah_idle = CALL_TIMEOUT_S,
	};
}

static int make_lws(struct web *web, struct error **err)
{
	struct lws_context_creation_info info = {
		.options = LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT | LWS_SERVER_OPTION_EXPLICIT_VHOSTS |
			   LWS_SERVER_OPTION_DISABLE_OS_CA_CERTS,
		.port = CONTEXT_PORT_NO_LISTEN,
		.gid = (gid_t)-1,
		.uid = (uid_t)-1,
		.pt_serv_buf_size = WEB_HEAD_MAX,
		.max_http_header_data2 = WEB_HEAD_IN_MAX,
		.timeout_secs = CALL_TIMEOUT_S,
		.connect_timeout_secs = CALL_TIMEOUT_S,
	};

	/* It would print URLs, and words of servers. */
	lws_set_log_level(0, NULL);
	web->lws = lws_create_context(&info);
	return web->lws != NULL ? 0 : error_set(err, ERROR_IO, "starting libwebsockets failed");
}

static int start(struct web *web, struct error **err)
{
	int rc;

	web->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (web->wake_fd < 0)
		return error_set_errno(err, ERROR_IO, errno, "making an eventfd");
	web->to_web = handover_new(TO_WEB_MAX, wake_web, web);
	web->to_loop = handover_new(WEB_INBOX_MAX, wake_loop, web);
	rc = make_lws(web, err);
	if (rc == 0)
		rc = loop_watch_fd(web->loop, &web->inbox_ready, web->wake_fd, on_inbox, web, err);
	if (rc < 0)
		return rc;
	rc = pthread_create(&web->thread, NULL, serve, web);
	if (rc != 0)
		return error_set_errno(err, ERROR_IO, rc, "starting a thread");
	web->started = true;
	return 0;
}

int web_start(struct loop *loop, struct web **ret, struct error **err)
{
	struct web *web = xcalloc(1, sizeof(*web));
	int rc;

	web->loop = loop;
	web->wake_fd = -1;
	rc = start(web, err);
	if (rc < 0) {
		web_stop(web);
		return rc;
	}
	*ret = web;
	return 0;
}

void web_stop(struct web *web)
{
	if (web == NULL)
		return;
	if (web->started) {
		tell(web, run_stop);
		if (pthread_join(web->thread, NULL) != 0)
			abort();
	}
	loop_unwatch_fd(web->loop, &web->inbox_ready);
	if (web->lws != NULL)
		lws_context_destroy(web->lws);
	websocket_reap(web, true);
	web_server_reap(web);
	handover_free(web->to_web);
	handover_free(web->to_loop);
	if (web->wake_fd >= 0)
		close(web->wake_fd);
	free(web);
}

struct loop *web_loop(const struct web *web)
{
	return web->loop;
}

void web_stopp(struct web **web)
{
	web_stop(*web);
}
