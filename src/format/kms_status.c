#include "format/kms_status.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/text.h"
#include "base/utf8.h"
#include "format/pbwire.h"

enum { VERSION = 1, HEALTHZ = 2, KEY_ID = 3 };

#define SHOWN_MAX 200 /* bytes of a plugin's words in ours */

struct parser {
	struct kms_status *status;
	char **place; /* of the field that is being read */
	struct buf text;
};

static char **text_of(struct kms_status *status, uint32_t field)
{
	switch (field) {
	case VERSION:
		return &status->version;
	case HEALTHZ:
		return &status->healthz;
	case KEY_ID:
		return &status->key_id;
	default:
		return NULL;
	}
}

static enum pb_enter on_field(void *arg, const uint32_t *path, unsigned depth, uint64_t len)
{
	struct parser *parser = arg;

	(void)len;
	parser->place = depth == 1 ? text_of(parser->status, path[0]) : NULL;
	return parser->place != NULL ? PB_BYTES : PB_SKIP;
}

static int on_bytes(void *arg, const uint32_t *path, unsigned depth, const uint8_t *bytes, size_t len)
{
	struct parser *parser = arg;

	(void)path, (void)depth;
	return buf_append(&parser->text, bytes, len);
}

static bool is_text(const struct buf *text)
{
	const char *bytes = buf_text(text);
	uint32_t point;
	size_t i, step;

	for (i = 0; i < text->len; i += step) {
		step = utf8_next(bytes + i, text->len - i, &point);
		if (step == 0 || point == 0)
			return false;
	}
	return true;
}

/* Of a field that comes twice the last one counts, as everywhere in protobuf. */
static int on_bytes_end(void *arg, const uint32_t *path, unsigned depth)
{
	struct parser *parser = arg;

	(void)path, (void)depth;
	if (!is_text(&parser->text))
		return -ERROR_PROTOCOL;
	free(*parser->place);
	*parser->place = xstrdup(buf_text(&parser->text));
	buf_reset(&parser->text);
	return 0;
}

int kms_status_parse(const uint8_t *bytes, size_t len, struct kms_status *ret)
{
	static const struct pb_handler handler = {
		.on_field = on_field, .on_bytes = on_bytes, .on_bytes_end = on_bytes_end};
	struct kms_status status = {.version = xstrdup(""), .healthz = xstrdup(""), .key_id = xstrdup("")};
	struct parser parser = {.status = &status, .text = BUF_INIT(KMS_ANSWER_MAX)};
	struct pb_reader *pb = pb_reader_new(&handler, &parser);
	int rc = pb_feed(pb, bytes, len);

	if (rc == 0)
		rc = pb_finish(pb);
	pb_reader_free(pb);
	buf_free(&parser.text);
	if (rc < 0) {
		kms_status_free(&status);
		return -ERROR_PROTOCOL;
	}
	*ret = status;
	return 0;
}

void kms_status_free(struct kms_status *status)
{
	if (status == NULL)
		return;
	free(status->version);
	free(status->healthz);
	free(status->key_id);
	*status = (struct kms_status){0};
}

static char *shown(const char *text)
{
	return *text == '\0' ? xstrdup("empty") : text_printable(text, strlen(text), SHOWN_MAX);
}

char *kms_status_flaw(const struct kms_status *status)
{
	_cleanup_free_ char *healthz = shown(status->healthz), *version = shown(status->version);

	if (strcmp(status->healthz, "ok") != 0)
		return xasprintf("healthz is %s, not ok", healthz);
	if (strcmp(status->version, "v2") != 0 && strcmp(status->version, "v2beta1") != 0)
		return xasprintf("version is %s, not v2", version);
	if (*status->key_id == '\0')
		return xstrdup("it has no key ID");
	if (strlen(status->key_id) > KMS_KEY_ID_MAX)
		return xasprintf("its key ID has %zu bytes, more than %d", strlen(status->key_id), KMS_KEY_ID_MAX);
	return NULL;
}

bool kms_status_is_unwell(const struct kms_status *status)
{
	char ok[] = "ok";
	struct kms_status well = {status->version, ok, status->key_id};
	_cleanup_free_ char *flaw = kms_status_flaw(status), *other = kms_status_flaw(&well);

	return flaw != NULL && other == NULL;
}
