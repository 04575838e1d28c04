/* Refusals of an API server. Format: meta/v1 Status; types.go and generated.proto of k8s.io/apimachinery. */
#include "client/kube/kube_internal.h"
#include "base/clock.h"
#include "base/json_read.h"
#include "format/pbwire.h"

#define WORDS_CAP 512        /* of a server in our message */
#define STATUS_TEXT_CAP 4096 /* reason and message */
#define PRIORITY_WORDS "storage is (re)initializing"

enum { UNKNOWN_TYPE_META = 1, UNKNOWN_RAW = 2, UNKNOWN_CONTENT_ENCODING = 3, TYPE_META_KIND = 2 };
enum { STATUS_LIST_META = 1, STATUS_MESSAGE = 3, STATUS_REASON = 4, STATUS_DETAILS = 5 };
enum { LIST_META_CONTINUE = 3, DETAILS_RETRY_AFTER = 5 };

/* --- Status in protobuf ----------------------------------------------------------------------------------------- */

struct status_reader {
	struct buf kind, message, reason, continue_token;
	uint64_t retry_after;
	bool have_raw;
};

static struct buf *status_text(struct status_reader *reader, const uint32_t *path, unsigned depth)
{
	if (depth == 2 && path[0] == UNKNOWN_TYPE_META)
		return path[1] == TYPE_META_KIND ? &reader->kind : NULL;
	if (path[0] != UNKNOWN_RAW)
		return NULL;
	if (depth == 2 && path[1] == STATUS_MESSAGE)
		return &reader->message;
	if (depth == 2 && path[1] == STATUS_REASON)
		return &reader->reason;
	if (depth == 3 && path[1] == STATUS_LIST_META && path[2] == LIST_META_CONTINUE)
		return &reader->continue_token;
	return NULL;
}

static enum pb_enter on_status_field(void *arg, const uint32_t *path, unsigned depth, uint64_t len)
{
	struct status_reader *reader = arg;
	struct buf *text = status_text(reader, path, depth);

	if (text != NULL) {
		buf_reset(text);
		return len > text->cap ? PB_REFUSE : PB_BYTES;
	}
	if (depth == 1 && path[0] == UNKNOWN_CONTENT_ENCODING)
		return len > 0 ? PB_REFUSE : PB_SKIP;
	if (depth == 1) {
		reader->have_raw = reader->have_raw || path[0] == UNKNOWN_RAW;
		return path[0] == UNKNOWN_TYPE_META || path[0] == UNKNOWN_RAW ? PB_MESSAGE : PB_SKIP;
	}
	if (depth == 2 && path[0] == UNKNOWN_RAW && (path[1] == STATUS_LIST_META || path[1] == STATUS_DETAILS))
		return PB_MESSAGE;
	return PB_SKIP;
}

static int on_status_varint(void *arg, const uint32_t *path, unsigned depth, uint64_t value)
{
	struct status_reader *reader = arg;

	if (depth == 3 && path[0] == UNKNOWN_RAW && path[1] == STATUS_DETAILS && path[2] == DETAILS_RETRY_AFTER)
		reader->retry_after = value;
	return 0;
}

static int on_status_bytes(void *arg, const uint32_t *path, unsigned depth, const uint8_t *bytes, size_t len)
{
	return buf_append(status_text(arg, path, depth), bytes, len);
}

static bool status_from_protobuf(const uint8_t *body, size_t len, struct kube_status *ret)
{
	static const struct pb_handler handler = {
		.on_field = on_status_field, .on_varint = on_status_varint, .on_bytes = on_status_bytes};
	struct status_reader reader = {.kind = BUF_INIT(KUBE_NAME_MAX),
				       .message = BUF_INIT(KUBE_ERROR_BODY_MAX),
				       .reason = BUF_INIT(STATUS_TEXT_CAP),
				       .continue_token = BUF_INIT(KUBE_CONTINUE_MAX)};
	struct pb_reader *pb = pb_reader_new(&handler, &reader);
	bool whole = pb_feed(pb, body, len) == 0 && pb_finish(pb) == 0 && reader.have_raw &&
		     text_equal(buf_text(&reader.kind), "Status");

	pb_reader_free(pb);
	if (whole) {
		*ret = (struct kube_status){.reason = xstrdup(buf_text(&reader.reason)),
					    .message = xstrdup(buf_text(&reader.message)),
					    .continue_token = xstrdup(buf_text(&reader.continue_token)),
					    .retry_after = reader.retry_after};
	}
	buf_free(&reader.kind);
	buf_free(&reader.message);
	buf_free(&reader.reason);
	buf_free(&reader.continue_token);
	return whole;
}

/* --- Status in JSON --------------------------------------------------------------------------------------------- */

static char *text_of(const cJSON *object, const char *member)
{
	const char *text = json_text_at(object, member);

	return xstrdup(text != NULL ? text : "");
}

static bool status_from_json(const char *body, size_t len, struct kube_status *ret)
{
	_cleanup_json_ doc = NULL;
	uint64_t retry_after = 0;

	if (json_parse(body, len, "Status", &doc, NULL) < 0 || !text_equal(json_text_at(doc, "kind"), "Status"))
		return false;
	json_u64_at(json_at(doc, "details", NULL), "retryAfterSeconds", &retry_after);
	*ret = (struct kube_status){.reason = text_of(doc, "reason"),
				    .message = text_of(doc, "message"),
				    .continue_token = text_of(json_at(doc, "metadata", NULL), "continue"),
				    .retry_after = retry_after};
	return true;
}

bool kube_status_parse(const void *body, size_t len, struct kube_status *ret)
{
	const char *text = body;

	if (len > 4 && memcmp(body, "k8s", 4) == 0)
		return status_from_protobuf((const uint8_t *)body + 4, len - 4, ret);
	if (len > 0 && text[0] == '{')
		return status_from_json(text, len, ret);
	return false;
}

void kube_status_free(struct kube_status *status)
{
	free(status->reason);
	free(status->message);
	free(status->continue_token);
	*status = (struct kube_status){0};
}

/* --- errors ----------------------------------------------------------------------------------------------------- */

static bool is_success(unsigned status)
{
	return status >= 200 && status <= 299;
}

static enum error_code code_of(unsigned status)
{
	switch (status) {
	case 401:
	case 403:
		return ERROR_AUTH;
	case 404:
		return ERROR_NOT_FOUND;
	case 409:
		return ERROR_CONFLICT;
	case 410:
		return ERROR_EXPIRED;
	case 429:
		return ERROR_BUSY;
	default:
		if (status >= 500)
			return ERROR_BUSY;
		return status >= 400 ? ERROR_INPUT : ERROR_PROTOCOL;
	}
}

/* What a body that is no Status says: its first line that says anything. */
static char *plain_words(const char *body, size_t len)
{
	const char *end;

	while (len > 0 && (unsigned char)body[0] <= ' ') {
		body++;
		len--;
	}
	end = len > 0 ? memchr(body, '\n', len) : NULL;
	if (end != NULL)
		len = (size_t)(end - body);
	while (len > 0 && (unsigned char)body[len - 1] <= ' ')
		len--;
	return text_printable(body, len, WORDS_CAP);
}

static int fail_status(const char *doing, unsigned status, const struct kube_status *said, struct error **err)
{
	_cleanup_free_ char *reason = text_printable(said->reason, strlen(said->reason), WORDS_CAP / 8);
	_cleanup_free_ char *words = text_printable(said->message, strlen(said->message), WORDS_CAP);

	return error_set(err, code_of(status), "%s: %u%s%s%s%s", doing, status, reason[0] ? " " : "", reason,
			 words[0] ? ": " : "", words);
}

int kube_error(const char *doing, unsigned status, const char *content_type, const void *body, size_t len,
	       struct error **err)
{
	struct kube_status said = {0};
	_cleanup_free_ char *words = NULL;
	int rc;

	if (is_success(status)) {
		words = text_printable(content_type, strlen(content_type), WORDS_CAP / 4);
		return error_set(err, ERROR_PROTOCOL,
				 "%s: %u with content type \"%s\", which is not what an API server sends", doing,
				 status, words);
	}
	if (kube_status_parse(body, len, &said)) {
		rc = fail_status(doing, status, &said, err);
		kube_status_free(&said);
		return rc;
	}
	/* Half of a protobuf is no text for people. */
	words = len >= 4 && memcmp(body, "k8s", 4) == 0 ? xstrdup("") : plain_words(body, len);
	return error_set(err, code_of(status), "%s: %u%s%s", doing, status, words[0] ? ": " : "", words);
}

bool kube_is_reinitializing(unsigned status, const void *body, size_t len)
{
	return status == 429 && len > 0 && memmem(body, len, PRIORITY_WORDS, strlen(PRIORITY_WORDS)) != NULL;
}

bool kube_content_is(const char *content_type, const char *media_type)
{
	size_t len = strlen(media_type);

	if (strncmp(content_type, media_type, len) != 0)
		return false;
	return content_type[len] == '\0' || content_type[len] == ';' || content_type[len] == ' ';
}

static void learn(const struct http_result *result, struct kube_outcome *outcome)
{
	const struct buf *body = result->body;
	struct kube_status said = {0};

	outcome->retry_after = result->retry_after;
	if (result->rc < 0 || is_success(result->status))
		return;
	outcome->reinitializing = kube_is_reinitializing(result->status, body->data, body->len);
	if (!kube_status_parse(body->data, body->len, &said))
		return;
	outcome->has_status = true;
	if (outcome->retry_after == 0 && said.retry_after <= 3600)
		outcome->retry_after = said.retry_after * NS_PER_S;
	if (result->status == 410)
		outcome->continue_token = steal(said.continue_token);
	kube_status_free(&said);
}

/* A body that was cut, refused by us, or never came. */
static int judge_failure(const char *doing, const char *wanted, struct http_result *result, struct error **err)
{
	bool wrong = wanted != NULL && is_success(result->status) && !kube_content_is(result->content_type, wanted);

	/* A wrong content type explains a body that could not be read, and a refusal is one however long its words
	 * are. */
	if ((wrong && result->rc == -ERROR_PROTOCOL) || (result->rc == -ERROR_LIMIT && result->status >= 400))
		return kube_error(doing, result->status, result->content_type, "", 0, err);
	if (err == NULL)
		return result->rc;
	*err = steal(result->error);
	return error_wrap(err, result->rc, "%s", doing);
}

int kube_judge(const struct kube *kube, const char *doing, const char *object, const char *wanted,
	       struct http_result *result, struct kube_outcome *ret, struct error **err)
{
	const struct buf *body = result->body;
	int rc = 0;

	*ret = (struct kube_outcome){0};
	learn(result, ret);
	if (result->rc < 0)
		rc = judge_failure(doing, wanted, result, err);
	else if (!is_success(result->status) || (wanted != NULL && !kube_content_is(result->content_type, wanted)))
		rc = kube_error(doing, result->status, result->content_type,
				body->data ? body->data : (const uint8_t *)"", body->len, err);
	if (rc < 0) {
		error_set_server(err, kube->name);
		error_set_object(err, object);
	}
	return rc;
}

void kube_outcome_free(struct kube_outcome *outcome)
{
	free(outcome->continue_token);
	*outcome = (struct kube_outcome){0};
}
