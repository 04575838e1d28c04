/* For net/web_server.c, on the web thread: what makes a server one person's, and what is pushed to that person's pages. */
#pragma once
#include <stdbool.h>
#include <libwebsockets.h>
#include "base/buf.h"

/* Whether the request may have an answer at all: 0, or the status to refuse it with (web_guard.h). `*ret_path`: the path
 * without the token; `token` NULL: everybody may. `live`: it asks for a WebSocket, which a browser names its Origin for. */
unsigned web_private_judge(struct lws *wsi, const char *token, const char *path, bool live, const char **ret_path);
/* What a browser keeps to, of a page that shows words of others and loads nothing from elsewhere. -1: no room. */
int web_private_headers(struct lws *wsi, uint8_t **at, uint8_t *end);

/* --- pushing: the latest words, to each connection at its own pace. One that is slow is not queued for: it gets what is the
 * latest when it has taken what it was sent before. */

/* Words that several connections may be sending; the last one frees them. */
struct web_words {
	unsigned references;
	uint64_t number; /* another one for each, from 1; its owner's */
	struct buf body;
};
/* Takes the bytes, which are some; one reference. */
struct web_words *web_words_new(struct buf *body);
void web_words_unref(struct web_words *words); /* NULL is fine */

/* One connection. All zero at first. */
struct web_live {
	struct web_words *sending; /* NULL: it has taken everything */
	size_t sent;
	uint64_t number; /* of the last words that were begun */
};
/* Writes a piece, if the socket takes one now; asks to be called again where there is more. `latest` may be NULL. Who takes
 * longer than `seconds` for one message is closed. -1: close. */
int web_live_write(struct lws *wsi, struct web_live *live, struct web_words *latest, int seconds);
void web_live_end(struct web_live *live);
