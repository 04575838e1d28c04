/* One object in protobuf: the answer to a GET, a PUT, a PATCH. Format: see format/kube_list.h; a single object is
 * the item itself. */
#include "client/kube/kube_internal.h"
#include "format/pbwire.h"

static const uint8_t magic[4] = {'k', '8', 's', 0};

enum { UNKNOWN_TYPE_META = 1, UNKNOWN_RAW = 2, UNKNOWN_CONTENT_ENCODING = 3, TYPE_META_KIND = 2 };
enum { OBJECT_META = 1, META_UID = 5, META_VERSION = 6 };

struct text {
	size_t len;
	char bytes[KUBE_NAME_MAX + 1];
};

struct kube_object_reader {
	const char *expected_kind;
	bool keep;
	size_t magic_len;
	int failed;
	struct pb_reader *envelope, *object_reader; /* the second is fed with the object's bytes, beside the copy */
	bool have_raw, whole;
	struct text kind, uid, version;
	struct secret *object;
};

static enum pb_enter text_begin(struct text *text, uint64_t len)
{
	text->len = 0;
	text->bytes[0] = '\0';
	return len > KUBE_NAME_MAX ? PB_REFUSE : PB_BYTES;
}

static int text_append(struct text *text, const uint8_t *bytes, size_t len)
{
	if (memchr(bytes, '\0', len)) /* else the text would name something else than the bytes do */
		return -ERROR_PROTOCOL;
	memcpy(text->bytes + text->len, bytes, len);
	text->len += len;
	text->bytes[text->len] = '\0';
	return 0;
}

static struct text *object_text(struct kube_object_reader *reader, const uint32_t *path, unsigned depth)
{
	if (depth != 2)
		return NULL;
	if (path[1] == META_UID)
		return &reader->uid;
	return path[1] == META_VERSION ? &reader->version : NULL;
}

static enum pb_enter on_object_field(void *arg, const uint32_t *path, unsigned depth, uint64_t len)
{
	struct text *text = object_text(arg, path, depth);

	if (depth == 1)
		return path[0] == OBJECT_META ? PB_MESSAGE : PB_SKIP;
	return text != NULL ? text_begin(text, len) : PB_SKIP;
}

static int on_object_bytes(void *arg, const uint32_t *path, unsigned depth, const uint8_t *bytes, size_t len)
{
	struct text *text = object_text(arg, path, depth);

	return text != NULL ? text_append(text, bytes, len) : 0;
}

static enum pb_enter refuse(struct kube_object_reader *reader, int rc)
{
	reader->failed = rc;
	return PB_REFUSE;
}

static enum pb_enter begin_raw(struct kube_object_reader *reader, uint64_t len)
{
	/* The type comes first: a Status has other fields under the same numbers. */
	if (reader->have_raw || strcmp(reader->kind.bytes, reader->expected_kind) != 0)
		return refuse(reader, -ERROR_PROTOCOL);
	if (len > KUBE_OBJECT_MAX)
		return refuse(reader, -ERROR_LIMIT);
	reader->have_raw = true;
	if (reader->keep)
		reader->object = secret_new((size_t)len);
	return PB_BYTES;
}

static enum pb_enter on_envelope_field(void *arg, const uint32_t *path, unsigned depth, uint64_t len)
{
	struct kube_object_reader *reader = arg;

	if (depth == 2)
		return path[1] == TYPE_META_KIND ? text_begin(&reader->kind, len) : PB_SKIP;
	switch (path[0]) {
	case UNKNOWN_TYPE_META:
		return PB_MESSAGE;
	case UNKNOWN_RAW:
		return begin_raw(reader, len);
	case UNKNOWN_CONTENT_ENCODING: /* compressed: what was read is not what it says */
		return len == 0 ? PB_SKIP : refuse(reader, -ERROR_PROTOCOL);
	default:
		return PB_SKIP;
	}
}

static int on_envelope_bytes(void *arg, const uint32_t *path, unsigned depth, const uint8_t *bytes, size_t len)
{
	struct kube_object_reader *reader = arg;
	int rc;

	(void)path;
	if (depth == 2)
		return text_append(&reader->kind, bytes, len);
	rc = reader->object != NULL ? secret_append(reader->object, bytes, len) : 0;
	return rc < 0 ? rc : pb_feed(reader->object_reader, bytes, len);
}

struct kube_object_reader *kube_object_reader_new(const char *kind, bool keep)
{
	static const struct pb_handler envelope = {.on_field = on_envelope_field, .on_bytes = on_envelope_bytes};
	static const struct pb_handler object = {.on_field = on_object_field, .on_bytes = on_object_bytes};
	struct kube_object_reader *reader = xcalloc(1, sizeof(*reader));

	reader->expected_kind = kind;
	reader->keep = keep;
	reader->envelope = pb_reader_new(&envelope, reader);
	reader->object_reader = pb_reader_new(&object, reader);
	return reader;
}

void kube_object_reader_free(struct kube_object_reader *reader)
{
	if (reader == NULL)
		return;
	pb_reader_free(reader->envelope);
	pb_reader_free(reader->object_reader);
	secret_free(reader->object);
	free(reader);
}

int kube_object_feed(struct kube_object_reader *reader, const uint8_t *bytes, size_t len)
{
	int rc = 0;

	for (; reader->failed == 0 && len > 0 && reader->magic_len < sizeof(magic); bytes++, len--)
		if (*bytes != magic[reader->magic_len++])
			reader->failed = -ERROR_PROTOCOL;
	if (reader->failed == 0 && len > 0)
		rc = pb_feed(reader->envelope, bytes, len);
	if (rc < 0 && reader->failed == 0) /* else refuse() knew the reason better */
		reader->failed = rc;
	return reader->failed;
}

int kube_object_finish(struct kube_object_reader *reader)
{
	if (reader->failed < 0)
		return reader->failed;
	reader->whole = reader->magic_len == sizeof(magic) && reader->have_raw && pb_finish(reader->envelope) == 0 &&
			pb_finish(reader->object_reader) == 0 && reader->version.len > 0 &&
			strcmp(reader->kind.bytes, reader->expected_kind) == 0;
	return reader->whole ? 0 : -ERROR_PROTOCOL;
}

const char *kube_object_uid(const struct kube_object_reader *reader)
{
	return reader->uid.bytes;
}

const char *kube_object_resource_version(const struct kube_object_reader *reader)
{
	return reader->version.bytes;
}

struct secret *kube_object_steal(struct kube_object_reader *reader)
{
	return reader->whole ? steal(reader->object) : NULL;
}
