#include "format/kms_object.h"

#include <stdlib.h>
#include <string.h>

#include "format/pbwire.h"

static const char prefix[] = "k8s:enc:kms:v2:";

enum { OBJECT_DATA = 1, OBJECT_KEY_ID = 2, OBJECT_DEK_SOURCE = 3, OBJECT_ANNOTATIONS = 4, OBJECT_DEK_TYPE = 5 };
enum { REQUEST_CIPHERTEXT = 1, REQUEST_UID = 2, REQUEST_KEY_ID = 3, REQUEST_ANNOTATIONS = 4 };
enum { ANSWER_PLAINTEXT = 1 };
enum { DEK_TYPE_KEY = 0, DEK_TYPE_SEED = 1 };

struct parser {
	struct kms_object *object;
	struct kms_bytes *place; /* of the field that is being read */
	uint64_t dek_type;
};

/* Where a field's bytes go; NULL: nowhere, or there is no room. */
static struct kms_bytes *place_of(struct kms_object *object, uint32_t field)
{
	switch (field) {
	case OBJECT_DATA:
		return &object->data;
	case OBJECT_KEY_ID:
		return &object->key_id;
	case OBJECT_DEK_SOURCE:
		return &object->dek_source;
	case OBJECT_ANNOTATIONS:
		return object->annotation_count < KMS_ANNOTATIONS_MAX ? &object->annotations[object->annotation_count]
								      : NULL;
	default:
		return NULL;
	}
}

/* Of a field that comes twice the last one counts. */
static enum pb_enter on_field(void *arg, const uint32_t *path, unsigned depth, uint64_t len)
{
	struct parser *parser = arg;
	(void)depth, (void)len; /* nothing nested is entered */
	parser->place = place_of(parser->object, path[0]);
	if (!parser->place)
		return path[0] == OBJECT_ANNOTATIONS ? PB_REFUSE : PB_SKIP;
	*parser->place = (struct kms_bytes){0};
	return PB_BYTES;
}

static int on_bytes(void *arg, const uint32_t *path, unsigned depth, const uint8_t *bytes, size_t len)
{
	struct parser *parser = arg;
	(void)path, (void)depth;
	if (parser->place->len == 0)
		parser->place->at = bytes;
	parser->place->len += len;
	return 0;
}

static int on_bytes_end(void *arg, const uint32_t *path, unsigned depth)
{
	struct parser *parser = arg;
	(void)depth;
	parser->object->annotation_count += path[0] == OBJECT_ANNOTATIONS;
	return 0;
}

static int on_varint(void *arg, const uint32_t *path, unsigned depth, uint64_t value)
{
	struct parser *parser = arg;
	(void)depth;
	if (path[0] == OBJECT_DEK_TYPE)
		parser->dek_type = value;
	return 0;
}

static int by_bytes(const void *one, const void *other)
{
	const struct kms_bytes *a = one, *b = other;
	size_t both = a->len < b->len ? a->len : b->len;
	int order = both > 0 ? memcmp(a->at, b->at, both) : 0;
	return order ? order : (a->len > b->len) - (a->len < b->len);
}

int kms_object_parse(const uint8_t *value, size_t len, struct kms_object *ret)
{
	static const struct pb_handler handler = {
		.on_field = on_field, .on_varint = on_varint, .on_bytes = on_bytes, .on_bytes_end = on_bytes_end};
	size_t start = strlen(prefix);
	const uint8_t *colon = NULL;
	if (len > start && memcmp(value, prefix, start) == 0)
		colon = memchr(value + start, ':', len - start);
	if (!colon)
		return -ERROR_INPUT;
	/* Not the room for annotations, which is large. */
	ret->data = ret->key_id = ret->dek_source = (struct kms_bytes){0};
	ret->annotation_count = 0;
	struct parser parser = {.object = ret, .dek_type = DEK_TYPE_KEY};
	struct pb_reader *pb = pb_reader_new(&handler, &parser);
	int rc = pb_feed(pb, colon + 1, (size_t)(value + len - (colon + 1)));
	if (rc == 0)
		rc = pb_finish(pb);
	pb_reader_free(pb);
	if (rc == -ERROR_LIMIT)
		return rc;
	if (rc < 0 || ret->data.len == 0 || ret->key_id.len == 0 || ret->dek_source.len == 0 ||
	    parser.dek_type > DEK_TYPE_SEED)
		return -ERROR_INPUT;
	/* kube-apiserver writes a map in any order: of one key, each of its values may have another. */
	if (ret->annotation_count > 1)
		qsort(ret->annotations, ret->annotation_count, sizeof(*ret->annotations), by_bytes);
	ret->seed = parser.dek_type == DEK_TYPE_SEED;
	return 0;
}

int kms_decrypt_request_write(struct buf *out, const struct kms_object *object)
{
	int rc = pb_write_bytes_field(out, REQUEST_CIPHERTEXT, object->dek_source.at, object->dek_source.len);
	if (rc == 0)
		rc = pb_write_bytes_field(out, REQUEST_KEY_ID, object->key_id.at, object->key_id.len);
	/* An entry of a map is the same message here and there. */
	for (size_t i = 0; rc == 0 && i < object->annotation_count; i++)
		rc = pb_write_bytes_field(out, REQUEST_ANNOTATIONS, object->annotations[i].at,
					  object->annotations[i].len);
	return rc;
}

int kms_decrypt_request_name(struct buf *out, const char *uid)
{
	return pb_write_bytes_field(out, REQUEST_UID, uid, strlen(uid));
}

static enum pb_enter on_answer_field(void *arg, const uint32_t *path, unsigned depth, uint64_t len)
{
	struct secret **plain = arg;
	(void)depth, (void)len;
	if (path[0] != ANSWER_PLAINTEXT)
		return PB_SKIP;
	secret_reset(*plain);
	return PB_BYTES;
}

static int on_answer_bytes(void *arg, const uint32_t *path, unsigned depth, const uint8_t *bytes, size_t len)
{
	struct secret **plain = arg;
	(void)path, (void)depth;
	return secret_append(*plain, bytes, len);
}

int kms_decrypt_answer_parse(const uint8_t *bytes, size_t len, struct secret **ret)
{
	static const struct pb_handler handler = {.on_field = on_answer_field, .on_bytes = on_answer_bytes};
	_cleanup_secret_ plain = secret_new(KMS_DECRYPTED_MAX);
	struct pb_reader *pb = pb_reader_new(&handler, &plain);
	int rc = pb_feed(pb, bytes, len);
	if (rc == 0)
		rc = pb_finish(pb);
	pb_reader_free(pb);
	if (rc < 0 || secret_len(plain) == 0)
		return -ERROR_PROTOCOL;
	*ret = steal(plain);
	return 0;
}
