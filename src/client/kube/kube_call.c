/* JSON calls, and the single questions that are one such call each. */
#include "client/kube/kube_internal.h"
#include "base/json_read.h"
#include "base/json_writer.h"

#define REQUEST_BODY_CAP (1u << 20)
#define UNDECLARED "field not declared in schema"

/* --- the call --------------------------------------------------------------------------------------------------- */

struct kube_json_call {
	struct kube *kube;
	struct http_call *http;
	struct secret *body;
	char *doing, *object;
	const char *definition_hint;
	void (*on_done)(void *arg, int rc, unsigned status, cJSON **answer, struct error **error);
	void *arg;
};

static void json_call_free(struct kube_json_call *call)
{
	secret_free(call->body);
	free(call->doing);
	free(call->object);
	free(call);
}

static int parse_answer(const struct kube_json_call *call, const struct http_result *result, cJSON **ret,
			struct error **err)
{
	const struct buf *body = result->body;
	int rc = json_parse(buf_text(body), body->len, "the answer", ret, err);

	if (rc == 0)
		return 0;
	/* Broken JSON of a server is not a person's mistake. */
	if (rc == -ERROR_INPUT && err != NULL) {
		_cleanup_error_ why = steal(*err);

		rc = error_set(err, ERROR_PROTOCOL, "%s", error_message(why));
	} else if (rc == -ERROR_INPUT) {
		rc = -ERROR_PROTOCOL;
	}
	rc = error_wrap(err, rc, "%s", call->doing);
	error_set_server(err, call->kube->name);
	error_set_object(err, call->object);
	return rc;
}

/* Whether a refusal is about the definition of a custom resource. Of an apply with a field that it lacks, an API server
 * says 500, as if it would pass. */
static int judge_definition(const struct kube_json_call *call, const struct http_result *result, bool has_status,
			    int rc, struct error **err)
{
	bool lacks = result->status == 500 && result->body->len > 0 &&
		     memmem(result->body->data, result->body->len, UNDECLARED, strlen(UNDECLARED)) != NULL;

	if (lacks) {
		_cleanup_error_ said = steal(*err);

		rc = error_set(err, ERROR_INPUT, "%s", error_message(said));
		error_set_server(err, call->kube->name);
		error_set_object(err, call->object);
	}
	if (lacks || (rc == -ERROR_NOT_FOUND && !has_status))
		error_set_hint(err, "%s", call->definition_hint);
	return rc;
}

static void on_json_done(void *arg, struct http_result *result)
{
	struct kube_json_call *call = arg;
	struct kube_outcome outcome;
	_cleanup_json_ answer = NULL;
	_cleanup_error_ error = NULL;
	int rc = kube_judge(call->kube, call->doing, call->object, "application/json", result, &outcome, &error);

	if (rc < 0 && call->definition_hint != NULL)
		rc = judge_definition(call, result, outcome.has_status, rc, &error);
	kube_outcome_free(&outcome);
	if (rc == 0)
		rc = parse_answer(call, result, &answer, &error);
	/* It may have been a Secret. */
	secret_wipe(result->body->data, result->body->len);
	call->on_done(call->arg, rc, result->status, &answer, &error);
	json_call_free(call);
}

struct kube_json_call *kube_json_start(struct kube *kube, const struct kube_json_request *request)
{
	struct kube_json_call *call = xcalloc(1, sizeof(*call));
	const char *type = request->content_type ? request->content_type : "application/json";

	call->kube = kube;
	call->object = xstrdup(request->object ? request->object : request->path);
	call->doing = xasprintf("%s %s", request->method, call->object);
	call->body = request->body ? secret_from(request->body, strlen(request->body)) : NULL;
	call->definition_hint = request->definition_hint;
	call->on_done = request->on_done;
	call->arg = request->arg;
	call->http = http_start(kube->http, &(struct http_request){.method = request->method,
								   .path = request->path,
								   .accept = request->accept,
								   .content_type = call->body ? type : NULL,
								   .body = call->body,
								   .timeout = request->timeout,
								   .max_body = JSON_BYTES_MAX,
								   .on_done = on_json_done,
								   .arg = call});
	return call;
}

void kube_json_cancel(struct kube_json_call *call)
{
	if (call == NULL)
		return;
	http_cancel(call->http);
	json_call_free(call);
}

struct fetch {
	bool done;
	int rc;
	unsigned status;
	cJSON *answer;
	struct error *error;
};

static void on_fetched(void *arg, int rc, unsigned status, cJSON **answer, struct error **error)
{
	struct fetch *fetch = arg;

	*fetch = (struct fetch){
		.done = true, .rc = rc, .status = status, .answer = steal(*answer), .error = steal(*error)};
}

int kube_json_fetch(struct kube *kube, const struct kube_json_request *request, unsigned *ret_status, cJSON **ret,
		    struct error **err)
{
	struct fetch fetch = {0};
	struct kube_json_request copy = *request;
	struct kube_json_call *call;
	int rc;

	copy.on_done = on_fetched;
	copy.arg = &fetch;
	call = kube_json_start(kube, &copy);
	rc = loop_run_until(kube->loop, &fetch.done, 0, err);
	if (rc < 0)
		kube_json_cancel(call);
	if (ret_status != NULL)
		*ret_status = fetch.status;
	if (rc < 0)
		return rc;
	if (fetch.rc < 0 && err != NULL)
		*err = steal(fetch.error);
	error_free(fetch.error);
	if (ret != NULL && fetch.rc == 0)
		*ret = steal(fetch.answer);
	json_deletep(&fetch.answer);
	return fetch.rc;
}

int kube_call(struct kube *kube, const char *method, const char *path, const char *body, const char *content_type,
	      cJSON **ret, struct error **err)
{
	struct kube_json_request request = {.method = method, .path = path, .body = body, .content_type = content_type};

	return kube_json_fetch(kube, &request, NULL, ret, err);
}

/* --- one question each ------------------------------------------------------------------------------------------ */

int kube_version(struct kube *kube, char **ret_git_version, struct error **err)
{
	_cleanup_json_ answer = NULL;
	const char *version;
	int rc = kube_call(kube, "GET", "/version", NULL, NULL, &answer, err);

	if (rc < 0)
		return rc;
	version = json_text_at(answer, "gitVersion");
	if (text_empty(version)) {
		rc = error_set(err, ERROR_PROTOCOL, "GET /version: the answer has no gitVersion");
		error_set_server(err, kube->name);
		return rc;
	}
	*ret_git_version = xstrdup(version);
	return 0;
}

int kube_ready(struct kube *kube, struct error **err)
{
	const struct http_request request = {.method = "GET", .path = "/readyz", .accept = "*/*"};
	_cleanup_response_ response = {0};
	int rc = http_fetch(kube->http, &request, &response, err);

	if (rc < 0 || response.status == 200)
		return rc;
	/* A line for each of its checks, "[+]ping ok": the first one that failed says why. */
	const char *failed = response.body.len > 0 ? strstr(buf_text(&response.body), "[-]") : NULL;
	if (failed == NULL)
		return kube_error("GET /readyz", response.status, response.content_type, response.body.data,
				  response.body.len, err);
	_cleanup_free_ char *line = text_printable(failed, strcspn(failed, "\n"), 256);
	rc = error_set(err, ERROR_BUSY, "it is not ready: %s", line);
	error_set_server(err, kube->name);
	return rc;
}

int kube_may(struct kube *kube, const char *verb, const char *group, const char *resource, const char *namespace_,
	     bool *ret, struct error **err)
{
	struct json_writer w = JSON_WRITER_INIT(REQUEST_BODY_CAP);
	_cleanup_json_ answer = NULL;
	const cJSON *allowed;
	int rc;

	json_object_begin(&w);
	json_member_string(&w, "apiVersion", "authorization.k8s.io/v1");
	json_member_string(&w, "kind", "SelfSubjectAccessReview");
	json_key(&w, "spec");
	json_object_begin(&w);
	json_key(&w, "resourceAttributes");
	json_object_begin(&w);
	json_member_string(&w, "verb", verb);
	json_member_string(&w, "group", group ? group : "");
	json_member_string(&w, "resource", resource);
	if (!text_empty(namespace_))
		json_member_string(&w, "namespace", namespace_);
	json_object_end(&w);
	json_object_end(&w);
	json_object_end(&w);
	rc = kube_call(kube, "POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", json_text(&w), NULL,
		       &answer, err);
	json_writer_free(&w);
	if (rc < 0)
		return rc;
	allowed = json_at(answer, "status", "allowed", NULL);
	if (!cJSON_IsBool(allowed)) {
		rc = error_set(err, ERROR_PROTOCOL, "POST selfsubjectaccessreviews: the answer has no status.allowed");
		error_set_server(err, kube->name);
		return rc;
	}
	*ret = cJSON_IsTrue(allowed);
	return 0;
}

/* --- metrics ---------------------------------------------------------------------------------------------------- */

struct scrape {
	struct kube *kube;
	struct prometheus_reader *reader;
	struct error *feed_error, *error;
	int rc;
	bool done;
};

static int on_metrics(void *arg, const uint8_t *bytes, size_t len)
{
	struct scrape *scrape = arg;

	return prometheus_feed(scrape->reader, (const char *)bytes, len,
			       scrape->feed_error ? NULL : &scrape->feed_error);
}

static void on_scraped(void *arg, struct http_result *result)
{
	struct scrape *scrape = arg;
	struct kube_outcome outcome;

	/* The reader knows better than HTTP why it stopped. */
	if (scrape->feed_error != NULL) {
		error_free(result->error);
		result->error = steal(scrape->feed_error);
	}
	scrape->rc =
		kube_judge(scrape->kube, "GET /metrics", "/metrics", "text/plain", result, &outcome, &scrape->error);
	kube_outcome_free(&outcome);
	if (scrape->rc == 0) {
		scrape->rc = prometheus_finish(scrape->reader, &scrape->error);
		if (scrape->rc < 0) {
			error_wrap(&scrape->error, scrape->rc, "GET /metrics");
			error_set_server(&scrape->error, scrape->kube->name);
		}
	}
	scrape->done = true;
}

static int scrape_within(struct kube *kube, uint64_t timeout, struct apiserver_metrics *ret,
			 struct prometheus_reader **ret_reader, struct error **err)
{
	_cleanup_(prometheus_reader_freep) struct prometheus_reader *reader =
		prometheus_reader_new(apiserver_metric_names);
	struct scrape scrape = {.kube = kube, .reader = reader};
	struct http_call *call;
	int rc;

	call = http_start(kube->http, &(struct http_request){.method = "GET",
							     .path = "/metrics",
							     .accept = "text/plain;version=0.0.4",
							     .max_body = KUBE_ERROR_BODY_MAX,
							     .timeout = timeout,
							     .on_data = on_metrics,
							     .on_done = on_scraped,
							     .arg = &scrape});
	rc = loop_run_until(kube->loop, &scrape.done, 0, err);
	if (rc < 0) {
		http_cancel(call);
		error_free(scrape.feed_error);
		return rc;
	}
	if (scrape.rc < 0 && err != NULL)
		*err = steal(scrape.error);
	error_free(scrape.error);
	if (scrape.rc < 0)
		return scrape.rc;
	apiserver_metrics_collect(reader, ret);
	if (ret_reader != NULL)
		*ret_reader = steal(reader);
	return 0;
}

int kube_scrape(struct kube *kube, struct apiserver_metrics *ret, struct prometheus_reader **ret_reader,
		struct error **err)
{
	return scrape_within(kube, 0, ret, ret_reader, err);
}

int kube_scrape_within(struct kube *kube, uint64_t timeout, struct apiserver_metrics *ret, struct error **err)
{
	return scrape_within(kube, timeout, ret, NULL, err);
}
