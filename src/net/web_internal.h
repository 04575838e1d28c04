/* What web.c, websocket.c and web_server.c share. */
#pragma once
#include <libwebsockets.h>
#include "net/handover.h"
#include "net/loop.h"
#include "net/web.h"

/* The largest head of a request of ours: a token may have CREDENTIALS_TOKEN_CAP (64 KiB) bytes. Also the size of the pieces that
 * are read. */
#define WEB_HEAD_MAX (80u << 10)
#define WEB_HEAD_IN_MAX (16u << 10) /* the largest head of a request, or an answer, of others */

struct web {
	/* --- of the loop's thread --- */
	struct loop *loop;
	struct loop_fd inbox_ready;
	pthread_t thread;
	bool started;
	struct websocket *sockets; /* websocket.c */
	uint64_t last_id;
	/* --- of both, never changed while the thread runs --- */
	struct handover *to_web, *to_loop; /* run with this struct as argument */
	int wake_fd;                       /* eventfd: to_loop has something */
	struct lws_context *lws;           /* the other thread may only call lws_cancel_service */
	/* --- of libwebsockets' thread --- */
	struct web_connection *connections; /* websocket.c */
	struct web_listener *listeners;     /* web_server.c */
	bool stopping;
};

/* The two kinds of virtual host; lws asks the first host's protocol for things of all. */
extern const struct lws_protocols websocket_protocols[], web_server_protocols[];

/* In the web thread: lets go of what lws is done with; `all`: lws is gone. */
void websocket_reap(struct web *web, bool all);
/* In the web thread: the loop took what was too much. */
void websocket_go_on(struct web *web);
/* When lws is gone. */
void web_server_reap(struct web *web);
/* The virtual host of one purpose, with everything off that is not asked for. */
struct lws_context_creation_info web_vhost(const char *name, const struct lws_protocols *protocols);
