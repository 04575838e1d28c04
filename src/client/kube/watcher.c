#include "client/kube/watcher.h"
#include "client/kube/kube_internal.h"
#include "net/websocket.h"

#define PAGE_LIMIT 500 /* as kubectl and client-go ask */
#define METADATA_ACCEPT "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"

struct kube_watch {
	struct kube *kube;
	struct web *web;
	const struct kube_resource *resource;
	char *namespace_; /* NULL: all */
	char *selector;   /* "&fieldSelector=...", "" */
	char *label;      /* for messages */
	bool objects, count;
	uint64_t counted; /* objects of the list */
	bool count_known;
	struct watch *machine;
	struct loop_timer timer;
	struct kube_list_call *page; /* of the list under way */
	struct kube_json_call *whole;
	struct websocket *socket;
	char *problem;
};

static void advance(struct kube_watch *watch);

static uint64_t now_of(const struct kube_watch *watch)
{
	return loop_now(watch->kube->loop);
}

/* Takes `problem`. */
static void set_problem(struct kube_watch *watch, char *problem)
{
	free(watch->problem);
	watch->problem = problem;
}

/* --- lists of metadata, in pages -------------------------------------------------------------------------------- */

static int on_page_item(void *arg, struct kube_list_item *item)
{
	struct kube_watch *watch = arg;
	const struct watch_object object = {.namespace_ = item->namespace_,
					    .name = item->name,
					    .uid = item->uid,
					    .resource_version = item->resource_version};

	if (watch->count)
		watch->counted++;
	else
		watch_list_item(watch->machine, &object);
	return 0;
}

static void list_page(struct kube_watch *watch, const char *continue_token);

/* The first page says how many are left, from servers that know it. */
static void take_count(struct kube_watch *watch, const struct kube_list_result *result)
{
	watch->count_known = text_empty(result->continue_token) || result->remaining > 0;
	watch->counted += result->remaining;
}

static void on_page_done(void *arg, struct kube_list_result *result)
{
	struct kube_watch *watch = arg;

	watch->page = NULL;
	if (result->rc < 0) {
		set_problem(watch, xstrdup(error_message(result->error)));
		watch_list_failed(watch->machine, now_of(watch), result->status, result->retry_after);
	} else if (watch->count || text_empty(result->continue_token)) {
		take_count(watch, result);
		set_problem(watch, NULL);
		watch_listed(watch->machine, now_of(watch), result->resource_version);
	} else {
		list_page(watch, result->continue_token);
		return;
	}
	advance(watch);
}

static void list_page(struct kube_watch *watch, const char *continue_token)
{
	watch->page = kube_list_start(watch->kube, &(struct kube_list_options){.resource = watch->resource,
									       .namespace_ = watch->namespace_,
									       .limit = watch->count ? 1 : PAGE_LIMIT,
									       .continue_token = continue_token,
									       .metadata_only = true,
									       .on_item = on_page_item,
									       .on_done = on_page_done,
									       .arg = watch});
}

static void list_metadata(struct kube_watch *watch)
{
	watch->counted = 0;
	list_page(watch, NULL);
}

/* --- lists of whole objects ------------------------------------------------------------------------------------- */

static int take_items(struct kube_watch *watch, const cJSON *list)
{
	const cJSON *items = json_at(list, "items", NULL), *item;
	struct watch_object object;

	if (!cJSON_IsArray(items))
		return -ERROR_PROTOCOL;
	cJSON_ArrayForEach(item, items)
	{
		if (watch_object_read(item, &object) < 0)
			return -ERROR_PROTOCOL;
		watch_list_item(watch->machine, &object);
	}
	return 0;
}

static void on_whole_done(void *arg, int rc, unsigned status, cJSON **answer, struct error **error)
{
	struct kube_watch *watch = arg;
	const char *version = "";

	watch->whole = NULL;
	if (rc == 0) {
		version = json_text_at(json_at(*answer, "metadata", NULL), "resourceVersion");
		rc = version != NULL ? take_items(watch, *answer) : -ERROR_PROTOCOL;
		if (rc < 0)
			error_set(error, ERROR_PROTOCOL, "GET %s: the answer is no list", watch->label);
	}
	if (rc < 0) {
		set_problem(watch, xstrdup(error_message(*error)));
		watch_list_failed(watch->machine, now_of(watch), status, 0);
	} else {
		set_problem(watch, NULL);
		watch_listed(watch->machine, now_of(watch), version);
	}
	advance(watch);
}

static void list_whole(struct kube_watch *watch)
{
	_cleanup_free_ char *collection = kube_path(watch->resource, watch->namespace_, NULL);
	_cleanup_free_ char *path = xasprintf("%s%s%s", collection, *watch->selector ? "?" : "",
					      *watch->selector ? watch->selector + 1 : "");

	watch->whole = kube_json_start(
		watch->kube,
		&(struct kube_json_request){
			.method = "GET", .path = path, .object = watch->label, .on_done = on_whole_done, .arg = watch});
}

/* --- watches ---------------------------------------------------------------------------------------------------- */

static void drop_socket(struct kube_watch *watch)
{
	websocket_close(watch->socket);
	watch->socket = NULL;
}

static void on_open(void *arg)
{
	struct kube_watch *watch = arg;

	set_problem(watch, NULL);
	watch_connected(watch->machine, now_of(watch));
	advance(watch);
}

static void on_text(void *arg, const uint8_t *bytes, size_t len, bool last)
{
	struct kube_watch *watch = arg;

	watch_text(watch->machine, now_of(watch), bytes, len, last);
	advance(watch);
}

static void on_pong(void *arg)
{
	struct kube_watch *watch = arg;

	watch_pong(watch->machine, now_of(watch));
	advance(watch);
}

static void on_end(void *arg, unsigned status, const char *why)
{
	struct kube_watch *watch = arg;

	if (status != 0)
		set_problem(watch, xasprintf("watching %s: refused with status %u", watch->label, status));
	else if (why[0] != '\0')
		set_problem(watch, xasprintf("watching %s: %s", watch->label, why));
	drop_socket(watch);
	watch_ended(watch->machine, now_of(watch), status);
	advance(watch);
}

static void open_socket(struct kube_watch *watch)
{
	static const struct websocket_handler handler = {
		.on_open = on_open, .on_text = on_text, .on_pong = on_pong, .on_end = on_end};
	_cleanup_free_ char *collection = kube_path(watch->resource, watch->namespace_, NULL);
	_cleanup_free_ char *version = text_url_escape(watch_resource_version(watch->machine));
	_cleanup_free_ char *path =
		xasprintf("%s?watch=true&allowWatchBookmarks=true&timeoutSeconds=%u&resourceVersion=%s%s", collection,
			  watch_seconds(watch->machine), version, watch->selector);
	_cleanup_error_ error = NULL;
	int rc = websocket_open(watch->web, watch->kube->http, path,
				watch->objects ? "application/json" : METADATA_ACCEPT,
				watch_wants_credentials(watch->machine), &handler, watch, &watch->socket, &error);

	if (rc == 0)
		return;
	set_problem(watch, xasprintf("watching %s: %s", watch->label, error_message(error)));
	watch_ended(watch->machine, now_of(watch), 0);
}

/* --- the whole -------------------------------------------------------------------------------------------------- */

static void on_timer(void *arg)
{
	advance(arg);
}

static void carry_out(struct kube_watch *watch, enum watch_do what)
{
	switch (what) {
	case WATCH_LIST:
		if (watch->objects)
			list_whole(watch);
		else
			list_metadata(watch);
		break;
	case WATCH_CONNECT:
		open_socket(watch);
		break;
	case WATCH_PING:
		websocket_ping(watch->socket);
		break;
	case WATCH_HANG_UP:
		drop_socket(watch);
		break;
	case WATCH_NOTHING:
		break;
	}
}

static void advance(struct kube_watch *watch)
{
	enum watch_do what;
	uint64_t due;

	while ((what = watch_next(watch->machine, now_of(watch), &due)) != WATCH_NOTHING)
		carry_out(watch, what);
	loop_timer_cancel(watch->kube->loop, &watch->timer);
	if (due != UINT64_MAX)
		loop_timer_set(watch->kube->loop, &watch->timer, due, on_timer, watch);
}

static char *selector_of(const char *selector)
{
	_cleanup_free_ char *escaped = text_url_escape(selector != NULL ? selector : "");

	return xasprintf("%s%s", selector != NULL ? "&fieldSelector=" : "", escaped);
}

struct kube_watch *kube_watch_start(struct kube *kube, struct web *web, const struct kube_watch_options *options,
				    const struct watch_handler *handler, void *arg)
{
	struct kube_watch *watch = xcalloc(1, sizeof(*watch));
	_cleanup_secret_ random = secret_random(sizeof(uint64_t));
	uint64_t chance;

	memcpy(&chance, secret_data(random), sizeof(chance));
	watch->kube = kube;
	watch->web = web;
	watch->resource = options->resource;
	watch->namespace_ = options->namespace_ != NULL ? xstrdup(options->namespace_) : NULL;
	watch->selector = selector_of(options->field_selector);
	watch->label = kube_label(options->resource, options->namespace_, NULL);
	watch->objects = options->objects;
	watch->count = options->count;
	watch->machine = watch_new(handler, arg, options->objects, chance, NULL);
	/* By the timer: nothing calls back before this returned. */
	loop_timer_set(kube->loop, &watch->timer, 0, on_timer, watch);
	return watch;
}

void kube_watch_stop(struct kube_watch *watch)
{
	if (watch == NULL)
		return;
	loop_timer_cancel(watch->kube->loop, &watch->timer);
	kube_list_cancel(watch->page);
	kube_json_cancel(watch->whole);
	websocket_close(watch->socket);
	watch_free(watch->machine);
	free(watch->namespace_);
	free(watch->selector);
	free(watch->label);
	free(watch->problem);
	free(watch);
}

bool kube_watch_is_synced(const struct kube_watch *watch)
{
	return watch_is_synced(watch->machine);
}

bool kube_watch_is_open(const struct kube_watch *watch)
{
	return watch_is_open(watch->machine);
}

unsigned kube_watch_failures(const struct kube_watch *watch)
{
	return watch_failures(watch->machine);
}

bool kube_watch_count(const struct kube_watch *watch, uint64_t *ret)
{
	if (watch->count_known)
		*ret = watch->counted;
	return watch->count_known;
}

const char *kube_watch_problem(const struct kube_watch *watch)
{
	return watch->problem;
}
