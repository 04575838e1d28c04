/* Single objects: a rewrite, and the read before another try. */
#include "client/kube/kube_internal.h"
#include "base/clock.h"
#include "base/json_writer.h"

#define PATCH_CAP 4096
#define HEAD_CAP 4096
#define METADATA_TIMEOUT (10 * NS_PER_S) /* of one object, without its values */

/* --- writes ----------------------------------------------------------------------------------------------------- */

struct kube_write_call {
	struct kube *kube;
	struct http_call *http;
	struct kube_object_reader *reader;
	struct buf head; /* what stands before the object's bytes, or the patch */
	const char *verb;
	char *object; /* "secrets team-a/db" */
	void (*on_done)(void *arg, struct kube_write_result *result);
	void *arg;
};

static void write_call_free(struct kube_write_call *call)
{
	kube_object_reader_free(call->reader);
	buf_free(&call->head);
	free(call->object);
	free(call);
}

static int on_write_data(void *arg, const uint8_t *bytes, size_t len)
{
	struct kube_write_call *call = arg;

	return kube_object_feed(call->reader, bytes, len);
}

/* Says why the bytes of an object were not understood. */
static int finish_object(const struct kube *kube, struct kube_object_reader *reader, const char *doing,
			 const char *object, struct error **err)
{
	int rc = kube_object_finish(reader);

	if (rc == 0)
		return 0;
	rc = error_set(err, (enum error_code) - rc, "%s: the answer is no whole object in protobuf", doing);
	error_set_server(err, kube->name);
	error_set_object(err, object);
	return rc;
}

static void on_write_done(void *arg, struct http_result *http)
{
	struct kube_write_call *call = arg;
	_cleanup_free_ char *doing = xasprintf("%s %s", call->verb, call->object);
	struct kube_write_result result = {
		.status = http->status, .sent = http->sent, .elapsed = http->elapsed, .resource_version = ""};
	struct kube_outcome outcome;

	result.rc = kube_judge(call->kube, doing, call->object, KUBE_PROTOBUF, http, &outcome, &result.error);
	if (result.rc == 0)
		result.rc = finish_object(call->kube, call->reader, doing, call->object, &result.error);
	result.retry_after = outcome.retry_after;
	result.reinitializing = outcome.reinitializing;
	if (result.rc == 0)
		result.resource_version = kube_object_resource_version(call->reader);
	call->on_done(call->arg, &result);
	error_free(result.error);
	kube_outcome_free(&outcome);
	write_call_free(call);
}

static struct kube_write_call *write_start(struct kube_write_call *call, const struct kube_resource *resource,
					   const char *namespace_, const char *name, const struct http_request *how)
{
	_cleanup_free_ char *path = kube_path(resource, namespace_, name);
	struct http_request request = *how;

	call->object = kube_label(resource, namespace_, name);
	call->reader = kube_object_reader_new("PartialObjectMetadata", false);
	request.path = path;
	request.accept = KUBE_PARTIAL_OBJECT;
	request.head = call->head.data;
	request.head_len = call->head.len;
	request.max_body = KUBE_ERROR_BODY_MAX;
	request.on_data = on_write_data;
	request.on_done = on_write_done;
	request.arg = call;
	call->http = http_start(call->kube->http, &request);
	return call;
}

struct kube_write_call *kube_put_start(struct kube *kube, const struct kube_resource *resource, const char *namespace_,
				       const char *name, const struct secret *object, uint64_t timeout,
				       void (*on_done)(void *arg, struct kube_write_result *result), void *arg)
{
	struct kube_write_call *call = xcalloc(1, sizeof(*call));

	call->kube = kube;
	call->verb = "update";
	call->head = BUF_INIT(HEAD_CAP);
	call->on_done = on_done;
	call->arg = arg;
	/* Discovery has capped version and kind. */
	if (kube_object_head(&call->head, resource->api_version, resource->kind, secret_len(object)) < 0)
		abort();
	return write_start(call, resource, namespace_, name,
			   &(struct http_request){
				   .method = "PUT", .content_type = KUBE_PROTOBUF, .body = object, .timeout = timeout});
}

struct kube_write_call *kube_patch_start(struct kube *kube, const struct kube_resource *resource,
					 const char *namespace_, const char *name, const char *uid,
					 const char *resource_version, const char *mark, uint64_t timeout,
					 void (*on_done)(void *arg, struct kube_write_result *result), void *arg)
{
	struct kube_write_call *call = xcalloc(1, sizeof(*call));
	struct json_writer w = JSON_WRITER_INIT(8 * PATCH_CAP);

	json_object_begin(&w);
	json_key(&w, "metadata");
	json_object_begin(&w);
	json_member_string(&w, "uid", uid);
	json_member_string(&w, "resourceVersion", resource_version);
	if (mark != NULL) {
		json_key(&w, "annotations");
		json_object_begin(&w);
		json_member_string(&w, KUBE_MARK, mark);
		json_object_end(&w);
	}
	json_object_end(&w);
	json_object_end(&w);
	/* Both come from a list, whose reader has capped them. */
	if (json_text(&w) == NULL)
		abort();
	call->kube = kube;
	call->verb = "patch";
	call->head = w.out;
	call->on_done = on_done;
	call->arg = arg;
	return write_start(call, resource, namespace_, name,
			   &(struct http_request){.method = "PATCH",
						  .content_type = "application/merge-patch+json",
						  .timeout = timeout});
}

void kube_write_cancel(struct kube_write_call *call)
{
	if (call == NULL)
		return;
	http_cancel(call->http);
	write_call_free(call);
}

/* --- reads ------------------------------------------------------------------------------------------------------ */

struct kube_read_call {
	struct kube *kube;
	struct http_call *http;
	struct kube_object_reader *reader;
	char *object, *kind;
	void (*on_done)(void *arg, struct kube_read_result *result);
	void *arg;
};

static void read_call_free(struct kube_read_call *call)
{
	kube_object_reader_free(call->reader);
	free(call->object);
	free(call->kind);
	free(call);
}

static int on_read_data(void *arg, const uint8_t *bytes, size_t len)
{
	struct kube_read_call *call = arg;

	return kube_object_feed(call->reader, bytes, len);
}

static void on_read_done(void *arg, struct http_result *http)
{
	struct kube_read_call *call = arg;
	_cleanup_free_ char *doing = xasprintf("get %s", call->object);
	struct kube_read_result result = {
		.status = http->status, .connected = http->connected, .uid = "", .resource_version = ""};
	struct kube_outcome outcome;

	result.rc = kube_judge(call->kube, doing, call->object, KUBE_PROTOBUF, http, &outcome, &result.error);
	if (result.rc == 0)
		result.rc = finish_object(call->kube, call->reader, doing, call->object, &result.error);
	result.retry_after = outcome.retry_after;
	result.reinitializing = outcome.reinitializing;
	if (result.rc == 0) {
		result.object = kube_object_steal(call->reader);
		result.uid = kube_object_uid(call->reader);
		result.resource_version = kube_object_resource_version(call->reader);
	}
	call->on_done(call->arg, &result);
	secret_free(result.object); /* NULL when it was taken */
	error_free(result.error);
	kube_outcome_free(&outcome);
	read_call_free(call);
}

struct kube_read_call *kube_read_start(struct kube *kube, const struct kube_resource *resource, const char *namespace_,
				       const char *name, bool metadata_only, uint64_t timeout,
				       void (*on_done)(void *arg, struct kube_read_result *result), void *arg)
{
	struct kube_read_call *call = xcalloc(1, sizeof(*call));
	_cleanup_free_ char *path = kube_path(resource, namespace_, name);

	call->kube = kube;
	call->object = kube_label(resource, namespace_, name);
	call->kind = xstrdup(metadata_only ? "PartialObjectMetadata" : resource->kind);
	call->reader = kube_object_reader_new(call->kind, !metadata_only);
	call->on_done = on_done;
	call->arg = arg;
	/* Without a resourceVersion: this is the read that reaches etcd. */
	call->http = http_start(kube->http,
				&(struct http_request){.method = "GET",
						       .path = path,
						       .accept = metadata_only ? KUBE_PARTIAL_OBJECT : KUBE_PROTOBUF,
						       .timeout = timeout,
						       .max_body = KUBE_ERROR_BODY_MAX,
						       .on_data = on_read_data,
						       .on_done = on_read_done,
						       .arg = call});
	return call;
}

void kube_read_cancel(struct kube_read_call *call)
{
	if (call == NULL)
		return;
	http_cancel(call->http);
	read_call_free(call);
}

/* --- waiting for one -------------------------------------------------------------------------------------------- */

struct metadata {
	bool done;
	int rc;
	struct error *error;
	char *uid;
	uint64_t resource_version;
};

static void on_metadata(void *arg, struct kube_read_result *result)
{
	struct metadata *metadata = arg;

	metadata->done = true;
	metadata->rc = result->rc;
	metadata->error = steal(result->error);
	if (result->rc < 0)
		return;
	metadata->uid = xstrdup(result->uid);
	if (text_to_u64(result->resource_version, &metadata->resource_version) < 0)
		metadata->rc = error_set(&metadata->error, ERROR_PROTOCOL, "a resourceVersion that is no number");
}

int kube_get_metadata(struct kube *kube, const struct kube_resource *resource, const char *namespace_, const char *name,
		      char **ret_uid, uint64_t *ret_resource_version, struct error **err)
{
	struct metadata metadata = {0};
	_cleanup_free_ char *uid = NULL;
	struct kube_read_call *call =
		kube_read_start(kube, resource, namespace_, name, true, METADATA_TIMEOUT, on_metadata, &metadata);
	int rc = loop_run_until(kube->loop, &metadata.done, 0, err);

	if (rc < 0) {
		kube_read_cancel(call);
		return rc;
	}
	uid = metadata.uid;
	if (metadata.rc < 0 && err != NULL)
		*err = steal(metadata.error);
	error_free(metadata.error);
	if (metadata.rc < 0)
		return metadata.rc;
	if (ret_uid != NULL)
		*ret_uid = steal(uid);
	if (ret_resource_version != NULL)
		*ret_resource_version = metadata.resource_version;
	return 0;
}
