#include "format/kube_list.h"

#include "base/buf.h"
#include "base/text.h"
#include "format/pbwire.h"

/* "k8s" and the encoding style 0: k8s.io/apimachinery/pkg/runtime/serializer/protobuf */
static const uint8_t magic[4] = {'k', '8', 's', 0};

enum { UNKNOWN_TYPE_META = 1, UNKNOWN_RAW = 2, UNKNOWN_CONTENT_ENCODING = 3 };
enum { TYPE_META_API_VERSION = 1, TYPE_META_KIND = 2 };
enum { LIST_META = 1, LIST_ITEM = 2 };
enum { LIST_META_VERSION = 2, LIST_META_CONTINUE = 3, LIST_META_REMAINING = 4 };
enum { ITEM_META = 1 };
enum { META_NAME = 1, META_NAMESPACE = 3, META_UID = 5, META_VERSION = 6, META_DELETION_TIMESTAMP = 9 };

struct name {
	size_t len;
	char text[KUBE_NAME_MAX + 1];
};

struct kube_list_reader {
	struct kube_list_handler handler;
	void *arg;
	bool keep_objects;
	size_t item_cap;
	int failed;
	size_t magic_len;
	struct pb_reader *page; /* Unknown and the list in it */
	struct pb_reader *item; /* fed with each item's bytes, beside the copy that the item gets */
	bool have_raw, have_list_meta;
	struct name api_version, kind, version;
	struct buf continue_;
	uint64_t remaining;
	/* the item in hand */
	struct secret *object;
	uint64_t item_size;
	struct name name, namespace_, uid, item_version;
	struct name *item_name; /* of these the one that is being read */
	bool deleting;
};

static void name_clear(struct name *name)
{
	name->len = 0;
	name->text[0] = '\0';
}

static enum pb_enter name_begin(struct name *name, uint64_t len)
{
	name_clear(name); /* of a field that is there twice, the last one holds */
	return len > KUBE_NAME_MAX ? PB_REFUSE : PB_BYTES;
}

static int name_append(struct name *name, const uint8_t *bytes, size_t len)
{
	if (memchr(bytes, '\0', len)) /* else the text would name something else than the bytes do */
		return -ERROR_PROTOCOL;
	memcpy(name->text + name->len, bytes, len);
	name->len += len;
	name->text[name->len] = '\0';
	return 0;
}

/* ---- one item: ObjectMeta is its field 1, whatever its kind ---- */

static struct name *name_of(struct kube_list_reader *reader, const uint32_t *path, unsigned depth)
{
	if (depth != 2)
		return NULL;
	switch (path[1]) {
	case META_NAME:
		return &reader->name;
	case META_NAMESPACE:
		return &reader->namespace_;
	case META_UID:
		return &reader->uid;
	case META_VERSION:
		return &reader->item_version;
	default:
		return NULL;
	}
}

static enum pb_enter on_item_field(void *arg, const uint32_t *path, unsigned depth, uint64_t len)
{
	struct kube_list_reader *reader = arg;
	if (depth == 1)
		return path[0] == ITEM_META ? PB_MESSAGE : PB_SKIP;
	reader->item_name = name_of(reader, path, depth);
	if (reader->item_name)
		return name_begin(reader->item_name, len);
	if (path[1] == META_DELETION_TIMESTAMP)
		reader->deleting = true;
	return PB_SKIP;
}

static int on_item_bytes(void *arg, const uint32_t *path, unsigned depth, const uint8_t *bytes, size_t len)
{
	struct kube_list_reader *reader = arg;
	(void)path, (void)depth;
	return name_append(reader->item_name, bytes, len);
}

static const struct pb_handler item_handler = {.on_field = on_item_field, .on_bytes = on_item_bytes};

/* ---- the page ---- */

static bool is_item(const uint32_t *path, unsigned depth)
{
	return depth == 2 && path[0] == UNKNOWN_RAW && path[1] == LIST_ITEM;
}

static struct name *page_name(struct kube_list_reader *reader, const uint32_t *path, unsigned depth)
{
	if (depth == 2 && path[0] == UNKNOWN_TYPE_META && path[1] == TYPE_META_API_VERSION)
		return &reader->api_version;
	if (depth == 2 && path[0] == UNKNOWN_TYPE_META && path[1] == TYPE_META_KIND)
		return &reader->kind;
	if (depth == 3 && path[1] == LIST_META && path[2] == LIST_META_VERSION)
		return &reader->version;
	return NULL;
}

static enum pb_enter refuse(struct kube_list_reader *reader, int rc)
{
	reader->failed = rc;
	return PB_REFUSE;
}

static enum pb_enter begin_item(struct kube_list_reader *reader, uint64_t len)
{
	reader->item_size = len;
	reader->deleting = false;
	name_clear(&reader->name);
	name_clear(&reader->namespace_);
	name_clear(&reader->uid);
	name_clear(&reader->item_version);
	pb_reader_reset(reader->item);
	if (!reader->keep_objects)
		return PB_BYTES;
	if (len > reader->item_cap)
		return refuse(reader, -ERROR_LIMIT);
	int rc = reader->handler.on_item_size ? reader->handler.on_item_size(reader->arg, len) : 0;
	if (rc < 0)
		return refuse(reader, rc);
	reader->object = secret_new((size_t)len);
	secret_reserve(reader->object, (size_t)len);
	return PB_BYTES;
}

static enum pb_enter begin_raw(struct kube_list_reader *reader)
{
	/* The type comes first. A Status has other fields under the same numbers: refuse it before it is taken for items. */
	if (reader->have_raw || !text_ends(reader->kind.text, "List"))
		return refuse(reader, -ERROR_PROTOCOL);
	reader->have_raw = true;
	return PB_MESSAGE;
}

static enum pb_enter on_unknown_field(struct kube_list_reader *reader, uint32_t field, uint64_t len)
{
	switch (field) {
	case UNKNOWN_TYPE_META:
		return PB_MESSAGE;
	case UNKNOWN_RAW:
		return begin_raw(reader);
	case UNKNOWN_CONTENT_ENCODING: /* compressed: what was read is not what it says */
		return len == 0 ? PB_SKIP : refuse(reader, -ERROR_PROTOCOL);
	default:
		return PB_SKIP;
	}
}

static enum pb_enter on_list_field(struct kube_list_reader *reader, uint32_t field, uint64_t len)
{
	if (field == LIST_ITEM)
		return begin_item(reader, len);
	if (field != LIST_META)
		return PB_SKIP;
	reader->have_list_meta = true;
	return PB_MESSAGE;
}

static enum pb_enter on_page_field(void *arg, const uint32_t *path, unsigned depth, uint64_t len)
{
	struct kube_list_reader *reader = arg;
	if (depth == 1)
		return on_unknown_field(reader, path[0], len);
	if (depth == 2 && path[0] == UNKNOWN_RAW)
		return on_list_field(reader, path[1], len);
	struct name *name = page_name(reader, path, depth);
	if (name)
		return name_begin(name, len);
	if (depth == 3 && path[2] == LIST_META_CONTINUE) {
		buf_reset(&reader->continue_);
		return len > KUBE_CONTINUE_MAX ? PB_REFUSE : PB_BYTES;
	}
	return PB_SKIP;
}

static int on_page_varint(void *arg, const uint32_t *path, unsigned depth, uint64_t value)
{
	struct kube_list_reader *reader = arg;
	if (depth == 3 && path[2] == LIST_META_REMAINING)
		reader->remaining = value;
	return 0;
}

static int on_page_bytes(void *arg, const uint32_t *path, unsigned depth, const uint8_t *bytes, size_t len)
{
	struct kube_list_reader *reader = arg;
	if (is_item(path, depth)) {
		int rc = reader->object ? secret_append(reader->object, bytes, len) : 0;
		return rc < 0 ? rc : pb_feed(reader->item, bytes, len);
	}
	struct name *name = page_name(reader, path, depth);
	if (name)
		return name_append(name, bytes, len);
	if (memchr(bytes, '\0', len))
		return -ERROR_PROTOCOL;
	return buf_append(&reader->continue_, bytes, len);
}

static int item_done(struct kube_list_reader *reader)
{
	int rc = pb_finish(reader->item);
	if (rc < 0)
		return rc;
	struct kube_list_item item = {
		.name = reader->name.text,
		.namespace_ = reader->namespace_.text,
		.uid = reader->uid.text,
		.resource_version = reader->item_version.text,
		.deleting = reader->deleting,
		.object = steal(reader->object),
		.size = reader->item_size,
	};
	rc = reader->handler.on_item(reader->arg, &item);
	secret_free(item.object); /* NULL when the callback took it */
	return rc;
}

static int on_page_bytes_end(void *arg, const uint32_t *path, unsigned depth)
{
	return is_item(path, depth) ? item_done(arg) : 0;
}

static const struct pb_handler page_handler = {
	.on_field = on_page_field,
	.on_varint = on_page_varint,
	.on_bytes = on_page_bytes,
	.on_bytes_end = on_page_bytes_end,
};

struct kube_list_reader *kube_list_reader_new(const struct kube_list_handler *handler, void *arg, bool keep_objects,
					      size_t item_cap)
{
	struct kube_list_reader *reader = xcalloc(1, sizeof(*reader));
	reader->handler = *handler;
	reader->arg = arg;
	reader->keep_objects = keep_objects;
	reader->item_cap = item_cap;
	reader->continue_ = BUF_INIT(KUBE_CONTINUE_MAX);
	reader->page = pb_reader_new(&page_handler, reader);
	reader->item = pb_reader_new(&item_handler, reader);
	return reader;
}

void kube_list_reader_free(struct kube_list_reader *reader)
{
	if (!reader)
		return;
	pb_reader_free(reader->page);
	pb_reader_free(reader->item);
	secret_free(reader->object);
	buf_free(&reader->continue_);
	free(reader);
}

/* How many bytes of the input belong to the magic, or -ERROR_PROTOCOL. */
static int feed_magic(struct kube_list_reader *reader, const uint8_t *bytes, size_t len)
{
	int used = 0;
	for (; (size_t)used < len && reader->magic_len < sizeof(magic); used++)
		if (bytes[used] != magic[reader->magic_len++])
			return -ERROR_PROTOCOL;
	return used;
}

int kube_list_feed(struct kube_list_reader *reader, const uint8_t *bytes, size_t len)
{
	if (reader->failed < 0 || len == 0)
		return reader->failed;
	int rc = feed_magic(reader, bytes, len);
	if (rc >= 0)
		rc = pb_feed(reader->page, bytes + rc, len - (size_t)rc);
	if (rc < 0 && reader->failed == 0) /* else refuse() knew the reason better */
		reader->failed = rc;
	return reader->failed;
}

int kube_list_finish(struct kube_list_reader *reader)
{
	if (reader->failed < 0)
		return reader->failed;
	if (reader->magic_len < sizeof(magic) || pb_finish(reader->page) < 0)
		return -ERROR_PROTOCOL;
	/* Without ListMeta there is no continue token, and a lost page would look like the last one. The kind may have come again. */
	bool list = reader->have_raw && reader->have_list_meta && text_ends(reader->kind.text, "List");
	return list ? 0 : -ERROR_PROTOCOL;
}

const char *kube_list_continue(const struct kube_list_reader *reader)
{
	return buf_text(&reader->continue_);
}

const char *kube_list_resource_version(const struct kube_list_reader *reader)
{
	return reader->version.text;
}

uint64_t kube_list_remaining(const struct kube_list_reader *reader)
{
	return reader->remaining;
}

const char *kube_list_kind(const struct kube_list_reader *reader)
{
	return reader->kind.text;
}

const char *kube_list_api_version(const struct kube_list_reader *reader)
{
	return reader->api_version.text;
}

int kube_object_head(struct buf *head, const char *api_version, const char *kind, size_t object_len)
{
	size_t version_len = strlen(api_version), kind_len = strlen(kind);
	uint64_t type_len = 1 + pb_varint_size(version_len) + version_len + 1 + pb_varint_size(kind_len) + kind_len;
	int rc = buf_append(head, magic, sizeof(magic));
	if (rc == 0)
		rc = pb_write_bytes_head(head, UNKNOWN_TYPE_META, type_len);
	if (rc == 0)
		rc = pb_write_bytes_field(head, TYPE_META_API_VERSION, api_version, version_len);
	if (rc == 0)
		rc = pb_write_bytes_field(head, TYPE_META_KIND, kind, kind_len);
	if (rc == 0)
		rc = pb_write_bytes_head(head, UNKNOWN_RAW, object_len);
	return rc;
}
