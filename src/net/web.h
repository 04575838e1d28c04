/* libwebsockets' one thread: it carries the watches (net/websocket.h) and serves (net/web_server.h). The engine's thread
 * meets it in two queues (net/handover.h), one each way; nothing else is shared. Only net/web.c, net/websocket.c and
 * net/web_server.c know libwebsockets. Its traps: c-style.md; besides, 4.1.6 cuts an IPv6 address at its first colon before it
 * compares the certificate's name, so our own context (net/tls.h) does that.
 *
 * A name is resolved within that thread, which does nothing else until then. */
#pragma once
#include "net/loop.h"

#define WEB_INBOX_MAX \
	(4u << 20) /* bytes from servers that wait for the loop; then reading stops, one piece a socket later */

struct web;
/* Starts the thread. After loop_new, whose mask of signals it inherits. -ERROR_IO. */
_must_check_ int web_start(struct loop *loop, struct web **ret, struct error **err);
/* Ends it; the websockets and servers were closed before. From the loop's thread; NULL is fine. */
void web_stop(struct web *web);
void web_stopp(struct web **web);
struct loop *web_loop(const struct web *web);
