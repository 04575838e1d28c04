#include "net/web_private.h"
#include <string.h>
#include "base/alloc.h"
#include "net/web_guard.h"

#define PIECE_MAX 16384
#define NAME_MAX_BYTES 256 /* of a Host or an Origin; a longer one is none of ours */

unsigned web_private_judge(struct lws *wsi, const char *token, const char *path, bool live, const char **ret_path)
{
	char host[NAME_MAX_BYTES] = "", origin[NAME_MAX_BYTES] = "";
	bool has_origin = lws_hdr_total_length(wsi, WSI_TOKEN_ORIGIN) > 0;

	*ret_path = path;
	if (token == NULL)
		return 0;
	*ret_path = web_guard_path(path, token);
	if (*ret_path == NULL)
		return 404;
	if (lws_hdr_copy(wsi, host, sizeof(host), WSI_TOKEN_HOST) <= 0 || !web_guard_host(host))
		return 403;
	if (has_origin && lws_hdr_copy(wsi, origin, sizeof(origin), WSI_TOKEN_ORIGIN) <= 0)
		return 403;
	return (has_origin || live) && !web_guard_origin(origin, host) ? 403 : 0;
}

int web_private_headers(struct lws *wsi, uint8_t **at, uint8_t *end)
{
	static const char *const headers[][2] = {
		{"content-security-policy:",
		 "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
		 "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"},
		{"x-content-type-options:", "nosniff"},
		{"referrer-policy:", "no-referrer"},
		{"cache-control:", "no-store"},
		{"cross-origin-resource-policy:", "same-origin"},
		{"cross-origin-opener-policy:", "same-origin"},
	};
	size_t i;

	for (i = 0; i < ELEMENTS(headers); i++)
		if (lws_add_http_header_by_name(wsi, (const uint8_t *)headers[i][0], (const uint8_t *)headers[i][1],
						(int)strlen(headers[i][1]), at, end) != 0)
			return -1;
	return 0;
}

struct web_words *web_words_new(struct buf *body)
{
	struct web_words *words = xcalloc(1, sizeof(*words));

	words->references = 1;
	words->body = *body;
	*body = BUF_INIT(body->cap);
	return words;
}

void web_words_unref(struct web_words *words)
{
	if (words == NULL || --words->references > 0)
		return;
	buf_free(&words->body);
	free(words);
}

static void begin(struct lws *wsi, struct web_live *live, struct web_words *latest, int seconds)
{
	latest->references++;
	live->sending = latest;
	live->sent = 0;
	live->number = latest->number;
	lws_set_timeout(wsi, PENDING_TIMEOUT_USER_OK, seconds);
}

int web_live_write(struct lws *wsi, struct web_live *live, struct web_words *latest, int seconds)
{
	uint8_t piece[LWS_PRE + PIECE_MAX];
	size_t len;
	bool first, last;

	if (live->sending == NULL && latest != NULL && latest->number != live->number)
		begin(wsi, live, latest, seconds);
	if (live->sending == NULL)
		return 0;
	first = live->sent == 0;
	len = live->sending->body.len - live->sent;
	last = len <= PIECE_MAX;
	if (!last)
		len = PIECE_MAX;
	memcpy(piece + LWS_PRE, live->sending->body.data + live->sent, len);
	if (lws_write(wsi, piece + LWS_PRE, len,
		      (enum lws_write_protocol)lws_write_ws_flags(LWS_WRITE_TEXT, first, last)) < (int)len)
		return -1;
	live->sent += len;
	if (last) {
		web_live_end(live);
		lws_set_timeout(wsi, NO_PENDING_TIMEOUT, 0);
	}
	if (!last || latest->number != live->number)
		lws_callback_on_writable(wsi);
	return 0;
}

void web_live_end(struct web_live *live)
{
	web_words_unref(live->sending);
	live->sending = NULL;
}
