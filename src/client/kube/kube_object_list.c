/* A page of a list, in protobuf, handed on while it arrives. Paging: see "Retrieving large results sets in chunks"
 * of the API's documentation. */
#include <stdio.h>
#include "client/kube/kube_internal.h"

#define PATH_CAP (4 * KUBE_CONTINUE_MAX)

struct kube_list_call {
	struct kube *kube;
	struct http_call *http;
	struct kube_list_reader *reader;
	char *object; /* "secrets in team-a" */
	bool (*is_full)(void *arg);
	int (*on_item_size)(void *arg, uint64_t size);
	int (*on_item)(void *arg, struct kube_list_item *item);
	void (*on_done)(void *arg, struct kube_list_result *result);
	void *arg;
};

static void list_call_free(struct kube_list_call *call)
{
	kube_list_reader_free(call->reader);
	free(call->object);
	free(call);
}

static int on_list_data(void *arg, const uint8_t *bytes, size_t len)
{
	struct kube_list_call *call = arg;

	if (call->is_full != NULL && call->is_full(call->arg))
		return HTTP_DATA_PAUSE;
	return kube_list_feed(call->reader, bytes, len);
}

static int on_list_item_size(void *arg, uint64_t size)
{
	struct kube_list_call *call = arg;

	return call->on_item_size != NULL ? call->on_item_size(call->arg, size) : 0;
}

static int on_list_item(void *arg, struct kube_list_item *item)
{
	struct kube_list_call *call = arg;

	return call->on_item != NULL ? call->on_item(call->arg, item) : 0;
}

/* The body arrived whole by HTTP's rules; whether the list is whole, only its reader knows. */
static int finish_page(const struct kube_list_call *call, const char *doing, struct error **err)
{
	int rc = kube_list_finish(call->reader);

	if (rc == 0)
		return 0;
	rc = error_set(err, (enum error_code) - rc, "%s: the answer is no whole list in protobuf", doing);
	error_set_server(err, call->kube->name);
	error_set_object(err, call->object);
	return rc;
}

static void on_list_done(void *arg, struct http_result *http)
{
	struct kube_list_call *call = arg;
	_cleanup_free_ char *doing = xasprintf("list %s", call->object);
	struct kube_list_result result = {.status = http->status, .continue_token = "", .resource_version = ""};
	struct kube_outcome outcome;

	result.rc = kube_judge(call->kube, doing, call->object, KUBE_PROTOBUF, http, &outcome, &result.error);
	if (result.rc == 0)
		result.rc = finish_page(call, doing, &result.error);
	result.retry_after = outcome.retry_after;
	result.reinitializing = outcome.reinitializing;
	if (result.rc == 0) {
		result.continue_token = kube_list_continue(call->reader);
		result.resource_version = kube_list_resource_version(call->reader);
		result.remaining = kube_list_remaining(call->reader);
	} else if (outcome.continue_token != NULL) {
		result.continue_token = outcome.continue_token;
	}
	call->on_done(call->arg, &result);
	error_free(result.error);
	kube_outcome_free(&outcome);
	list_call_free(call);
}

static void add_query(struct buf *path, char *first, const char *name, const char *value)
{
	_cleanup_free_ char *escaped = NULL;

	if (text_empty(value))
		return;
	escaped = text_url_escape(value);
	if (buf_append_format(path, "%c%s=%s", *first, name, escaped) < 0)
		abort();
	*first = '&';
}

/* Callers hand in tokens that kube_list_reader has capped. */
static char *list_path(const struct kube_list_options *options)
{
	_cleanup_free_ char *collection = kube_path(options->resource, options->namespace_, NULL);
	_cleanup_buf_ path = BUF_INIT(PATH_CAP);
	char limit[16], first = '?';

	snprintf(limit, sizeof(limit), "%u", options->limit);
	if (buf_append_text(&path, collection) < 0)
		abort();
	add_query(&path, &first, "limit", options->limit ? limit : NULL);
	add_query(&path, &first, "continue", options->continue_token);
	add_query(&path, &first, "resourceVersion", options->resource_version);
	add_query(&path, &first, "resourceVersionMatch", options->resource_version_match);
	return buf_steal_text(&path);
}

struct kube_list_call *kube_list_start(struct kube *kube, const struct kube_list_options *options)
{
	static const struct kube_list_handler handler = {.on_item_size = on_list_item_size, .on_item = on_list_item};
	struct kube_list_call *call = xcalloc(1, sizeof(*call));
	_cleanup_free_ char *path = list_path(options);

	call->kube = kube;
	call->object = kube_label(options->resource, options->namespace_, NULL);
	call->reader = kube_list_reader_new(&handler, call, !options->metadata_only, options->item_cap);
	call->is_full = options->is_full;
	call->on_item_size = options->on_item_size;
	call->on_item = options->on_item;
	call->on_done = options->on_done;
	call->arg = options->arg;
	call->http = http_start(
		kube->http, &(struct http_request){.method = "GET",
						   .path = path,
						   .accept = options->metadata_only ? KUBE_PARTIAL_LIST : KUBE_PROTOBUF,
						   .timeout = options->timeout,
						   .max_body = KUBE_ERROR_BODY_MAX + KUBE_CONTINUE_MAX,
						   .on_data = on_list_data,
						   .on_done = on_list_done,
						   .arg = call});
	return call;
}

void kube_list_resume(struct kube_list_call *call)
{
	http_resume(call->http);
}

void kube_list_cancel(struct kube_list_call *call)
{
	if (call == NULL)
		return;
	http_cancel(call->http);
	list_call_free(call);
}

/* --- waiting for one page --------------------------------------------------------------------------------------- */

struct page {
	const struct kube_list_options *options;
	bool done;
	int rc;
	struct error *error;
	char *continue_token, *resource_version;
	uint64_t remaining;
};

static void on_page_done(void *arg, struct kube_list_result *result)
{
	struct page *page = arg;

	page->done = true;
	page->rc = result->rc;
	page->error = steal(result->error);
	page->continue_token = xstrdup(result->continue_token);
	page->resource_version = xstrdup(result->resource_version);
	page->remaining = result->remaining;
}

static int on_page_item_size(void *arg, uint64_t size)
{
	const struct kube_list_options *options = ((struct page *)arg)->options;

	return options->on_item_size != NULL ? options->on_item_size(options->arg, size) : 0;
}

static int on_page_item(void *arg, struct kube_list_item *item)
{
	const struct kube_list_options *options = ((struct page *)arg)->options;

	return options->on_item != NULL ? options->on_item(options->arg, item) : 0;
}

/* Sets *ret only where the caller wants it. */
static void give_text(char **ret, char *text)
{
	if (ret != NULL)
		*ret = text;
	else
		free(text);
}

int kube_list_fetch(struct kube *kube, const struct kube_list_options *options, char **ret_continue,
		    char **ret_resource_version, uint64_t *ret_remaining, struct error **err)
{
	struct page page = {.options = options};
	struct kube_list_options copy = *options;
	struct kube_list_call *call;
	int rc;

	copy.on_item_size = on_page_item_size;
	copy.on_item = on_page_item;
	copy.is_full = NULL; /* nobody could resume it */
	copy.on_done = on_page_done;
	copy.arg = &page;
	call = kube_list_start(kube, &copy);
	rc = loop_run_until(kube->loop, &page.done, 0, err);
	if (rc < 0) {
		kube_list_cancel(call);
		return rc;
	}
	if (page.rc < 0 && err != NULL)
		*err = steal(page.error);
	error_free(page.error);
	/* The token of an expired list is how the caller goes on. */
	give_text(page.rc == 0 || page.rc == -ERROR_EXPIRED ? ret_continue : NULL, page.continue_token);
	give_text(page.rc == 0 ? ret_resource_version : NULL, page.resource_version);
	if (page.rc == 0 && ret_remaining != NULL)
		*ret_remaining = page.remaining;
	return page.rc;
}

int kube_list_all(struct kube *kube, const struct kube_resource *resource, unsigned page, size_t item_cap,
		  int (*on_item)(void *arg, struct kube_list_item *item), void *arg, struct error **err)
{
	_cleanup_free_ char *token = NULL;

	do {
		const struct kube_list_options options = {.resource = resource,
							  .limit = page,
							  .continue_token = token,
							  .item_cap = item_cap,
							  .on_item = on_item,
							  .arg = arg};
		char *next = NULL;
		int rc = kube_list_fetch(kube, &options, &next, NULL, NULL, err);

		free(token);
		token = next;
		rc = text_empty(token) ? rc : error_forgive(err, rc, ERROR_EXPIRED);
		if (rc < 0)
			return rc;
	} while (!text_empty(token));
	return 0;
}
