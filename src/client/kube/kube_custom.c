/* Custom resources in JSON. Format: "Server-Side Apply" and "Kubernetes API Concepts" of the API's documentation. */
#include <stdio.h>
#include "base/json_writer.h"
#include "client/kube/custom.h"
#include "client/kube/kube_internal.h"

#define PATH_CAP (4 * KUBE_CONTINUE_MAX)
#define BODY_CAP 4096
#define DEFINITIONS \
	"are the CustomResourceDefinitions installed, and those of this version? kubectl apply -k manifests/base"

/* What is unknown to the definition is refused, and not left out in silence. */
#define STRICT "fieldValidation=Strict&fieldManager=" CUSTOM_FIELD_MANAGER

static void append(struct buf *path, const char *text)
{
	/* Continue tokens are capped where they are read, names by whoever made the object. */
	if (buf_append_text(path, text) < 0)
		abort();
}

static void append_escaped(struct buf *path, const char *before, const char *text)
{
	_cleanup_free_ char *escaped = text_url_escape(text);

	append(path, before);
	append(path, escaped);
}

static void append_query(struct buf *path, const struct kube_custom_request *request)
{
	char limit[32];

	switch (request->verb) {
	case CUSTOM_LIST:
		snprintf(limit, sizeof(limit), "?limit=%u", request->limit ? request->limit : CUSTOM_PAGE);
		append(path, limit);
		if (!text_empty(request->continue_token))
			append_escaped(path, "&continue=", request->continue_token);
		return;
	case CUSTOM_CREATE:
	case CUSTOM_PATCH:
		append(path, "?" STRICT);
		return;
	case CUSTOM_APPLY:
		append(path, "?force=true&" STRICT);
		return;
	case CUSTOM_GET:
	case CUSTOM_DELETE:
		return;
	}
}

static char *path_of(const struct kube_custom_request *request)
{
	_cleanup_buf_ path = BUF_INIT(PATH_CAP);

	append(&path, request->collection);
	if (request->name != NULL)
		append_escaped(&path, "/", request->name);
	if (request->subresource != NULL)
		append_escaped(&path, "/", request->subresource);
	append_query(&path, request);
	return buf_steal_text(&path);
}

/* "keyservers cp-1 status": for messages. */
static char *label_of(const struct kube_custom_request *request)
{
	const char *slash = strrchr(request->collection, '/');

	return xasprintf("%s%s%s%s%s", slash ? slash + 1 : request->collection, request->name ? " " : "",
			 request->name ? request->name : "", request->subresource ? " " : "",
			 request->subresource ? request->subresource : "");
}

static char *delete_body(const char *uid)
{
	struct json_writer w = JSON_WRITER_INIT(BODY_CAP);

	json_object_begin(&w);
	json_member_string(&w, "apiVersion", "v1");
	json_member_string(&w, "kind", "DeleteOptions");
	json_key(&w, "preconditions");
	json_object_begin(&w);
	json_member_string(&w, "uid", uid);
	json_object_end(&w);
	json_object_end(&w);
	if (json_text(&w) == NULL) /* a uid is no longer than a name */
		abort();
	return buf_steal_text(&w.out);
}

static const struct {
	const char *method, *content_type;
} verbs[] = {
	[CUSTOM_GET] = {"GET", NULL},
	[CUSTOM_LIST] = {"GET", NULL},
	[CUSTOM_CREATE] = {"POST", "application/json"},
	/* JSON is YAML, too. */
	[CUSTOM_APPLY] = {"PATCH", "application/apply-patch+yaml"},
	[CUSTOM_PATCH] = {"PATCH", "application/merge-patch+json"},
	[CUSTOM_DELETE] = {"DELETE", "application/json"},
};

/* A request in terms of HTTP; it owns what it points to. */
struct prepared {
	char *path, *label, *body;
	struct kube_json_request json;
};

static void prepare(const struct kube_custom_request *request, struct prepared *ret)
{
	ret->path = path_of(request);
	ret->label = label_of(request);
	ret->body = request->verb == CUSTOM_DELETE && request->uid != NULL ? delete_body(request->uid) : NULL;
	ret->json = (struct kube_json_request){.method = verbs[request->verb].method,
					       .path = ret->path,
					       .body = ret->body ? ret->body : request->body,
					       .content_type = verbs[request->verb].content_type,
					       .object = ret->label,
					       .definition_hint = DEFINITIONS,
					       .timeout = request->timeout,
					       .on_done = request->on_done,
					       .arg = request->arg};
}

static void prepared_free(struct prepared *prepared)
{
	free(prepared->path);
	free(prepared->label);
	free(prepared->body);
}

struct kube_json_call *kube_custom_start(struct kube *kube, const struct kube_custom_request *request)
{
	_cleanup_(prepared_free) struct prepared prepared;

	prepare(request, &prepared);
	return kube_json_start(kube, &prepared.json);
}

void kube_custom_cancel(struct kube_json_call *call)
{
	kube_json_cancel(call);
}

int kube_custom_fetch(struct kube *kube, const struct kube_custom_request *request, cJSON **ret, struct error **err)
{
	_cleanup_(prepared_free) struct prepared prepared;

	prepare(request, &prepared);
	return kube_json_fetch(kube, &prepared.json, NULL, ret, err);
}

/* --- all pages -------------------------------------------------------------------------------------------------- */

struct listing {
	size_t max, seen;
	int (*on_item)(void *arg, const cJSON *item, struct error **err);
	void *arg;
	char *continue_token, *resource_version;
};

static int take_page(struct listing *listing, const cJSON *page, struct error **err)
{
	const cJSON *items = json_at(page, "items", NULL), *metadata = json_at(page, "metadata", NULL), *item;
	const char *version = json_text_at(metadata, "resourceVersion");
	const char *token = json_text_at(metadata, "continue");

	if (!cJSON_IsArray(items) || text_empty(version))
		return error_set(err, ERROR_PROTOCOL, "the answer is no list");
	cJSON_ArrayForEach(item, items)
	{
		int rc;

		if (++listing->seen > listing->max)
			return error_set(err, ERROR_LIMIT, "more than %zu objects", listing->max);
		rc = listing->on_item(listing->arg, item, err);
		if (rc < 0)
			return rc;
	}
	free(listing->continue_token);
	listing->continue_token = xstrdup(token ? token : "");
	free(listing->resource_version);
	listing->resource_version = xstrdup(version);
	if (strlen(listing->continue_token) > KUBE_CONTINUE_MAX)
		return error_set(err, ERROR_LIMIT, "a continue token of more than %u bytes", KUBE_CONTINUE_MAX);
	return 0;
}

static int list_page(struct kube *kube, const char *collection, struct listing *listing, struct error **err)
{
	_cleanup_json_ page = NULL;
	int rc = kube_custom_fetch(kube,
				   &(struct kube_custom_request){.verb = CUSTOM_LIST,
								 .collection = collection,
								 .continue_token = listing->continue_token},
				   &page, err);

	if (rc < 0)
		return rc;
	rc = take_page(listing, page, err);
	if (rc < 0) {
		rc = error_wrap(err, rc, "list %s", collection);
		error_set_server(err, kube->name);
	}
	return rc;
}

int kube_custom_list(struct kube *kube, const char *collection, size_t max,
		     int (*on_item)(void *arg, const cJSON *item, struct error **err), void *arg,
		     char **ret_resource_version, struct error **err)
{
	struct listing listing = {.max = max, .on_item = on_item, .arg = arg};
	int rc;

	do
		rc = list_page(kube, collection, &listing, err);
	while (rc == 0 && listing.continue_token[0] != '\0');
	if (rc == 0 && ret_resource_version != NULL)
		*ret_resource_version = steal(listing.resource_version);
	free(listing.continue_token);
	free(listing.resource_version);
	return rc;
}

/* --- all pages, beside other things ----------------------------------------------------------------------------- */

struct kube_custom_listing {
	struct kube *kube;
	char *collection;
	uint64_t timeout;
	struct listing listing;
	void (*on_done)(void *arg, int rc, const struct error *error);
	struct kube_json_call *call;
};

static void listing_free(struct kube_custom_listing *it)
{
	free(it->collection);
	free(it->listing.continue_token);
	free(it->listing.resource_version);
	free(it);
}

static void start_page(struct kube_custom_listing *it);

static void on_page(void *arg, int rc, unsigned status, cJSON **answer, struct error **error)
{
	struct kube_custom_listing *it = arg;
	_cleanup_error_ failed = NULL;

	(void)status;
	it->call = NULL;
	if (rc == 0)
		rc = take_page(&it->listing, *answer, &failed);
	if (rc == 0 && it->listing.continue_token[0] != '\0') {
		start_page(it);
		return;
	}
	it->on_done(it->listing.arg, rc, failed ? failed : *error);
	listing_free(it);
}

static void start_page(struct kube_custom_listing *it)
{
	it->call =
		kube_custom_start(it->kube, &(struct kube_custom_request){.verb = CUSTOM_LIST,
									  .collection = it->collection,
									  .continue_token = it->listing.continue_token,
									  .timeout = it->timeout,
									  .on_done = on_page,
									  .arg = it});
}

struct kube_custom_listing *kube_custom_list_start(struct kube *kube, const char *collection, size_t max,
						   uint64_t timeout,
						   int (*on_item)(void *arg, const cJSON *item, struct error **err),
						   void (*on_done)(void *arg, int rc, const struct error *error),
						   void *arg)
{
	struct kube_custom_listing *it = xcalloc(1, sizeof(*it));

	*it = (struct kube_custom_listing){.kube = kube,
					   .collection = xstrdup(collection),
					   .timeout = timeout,
					   .listing = {.max = max, .on_item = on_item, .arg = arg},
					   .on_done = on_done};
	start_page(it);
	return it;
}

void kube_custom_list_cancel(struct kube_custom_listing *listing)
{
	if (listing == NULL)
		return;
	kube_custom_cancel(listing->call);
	listing_free(listing);
}

/* ---------------------------------------------------------------------------------------------------------------- */

char *kube_custom_spec_patch(const char *resource_version, const char *spec)
{
	struct json_writer w = JSON_WRITER_INIT(BODY_CAP);
	char *patch;

	json_string(&w, resource_version);
	if (json_text(&w) == NULL) /* those of Kubernetes are numbers */
		abort();
	patch = xasprintf("{\"metadata\":{\"resourceVersion\":%s},\"spec\":%s}", json_text(&w), spec);
	json_writer_free(&w);
	return patch;
}
