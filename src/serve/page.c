#include "serve/page.h"
#include "base/text.h"
#include "net/web_guard.h"
#include "net/web_server.h"
#include "serve/dashboard_files.h"

#define FILE_MAX (256u << 10)

struct page {
	struct web_server *server;
	char *token, *url;
};

static struct web_document document(const char *path, const char *type, const unsigned char *bytes, size_t len)
{
	struct web_document made = {.path = path, .status = 200, .content_type = type, .body = BUF_INIT(FILE_MAX)};

	if (buf_append(&made.body, bytes, len) < 0)
		abort();
	return made;
}

static void publish(struct page *page)
{
	struct web_document documents[] = {
		document("/", "text/html; charset=utf-8", dashboard_html, dashboard_html_len),
		document("/style.css", "text/css; charset=utf-8", dashboard_css, dashboard_css_len),
		document("/page.js", "text/javascript; charset=utf-8", dashboard_js, dashboard_js_len),
	};

	web_server_publish(page->server, documents, ELEMENTS(documents));
}

int page_start(struct web *web, struct page **ret, struct error **err)
{
	struct page *page = xcalloc(1, sizeof(*page));
	struct web_server_private options = {.live_path = "/live"};
	int rc;

	page->token = web_guard_token();
	options.token = page->token;
	rc = web_server_start_private(web, &options, &page->server, err);
	if (rc < 0) {
		page_stop(page);
		return rc;
	}
	page->url = xasprintf("http://127.0.0.1:%u/%s/", web_server_port(page->server), page->token);
	publish(page);
	*ret = page;
	return 0;
}

const char *page_url(const struct page *page)
{
	return page->url;
}

void page_push(struct page *page, struct buf *bytes)
{
	if (bytes->len > 0)
		web_server_push(page->server, bytes);
}

void page_stop(struct page *page)
{
	if (page == NULL)
		return;
	web_server_stop(page->server);
	free(page->token);
	free(page->url);
	free(page);
}
