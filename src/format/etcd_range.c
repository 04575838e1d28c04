#include "format/etcd_range.h"

#include "base/error.h"
#include "base/secret.h"
#include "format/pbwire.h"

enum { RESPONSE_HEADER = 1 }; /* of every answer */
enum { HEADER_CLUSTER_ID = 1, HEADER_MEMBER_ID = 2, HEADER_REVISION = 3, HEADER_RAFT_TERM = 4 };
enum { RANGE_KVS = 2, RANGE_MORE = 3, RANGE_COUNT = 4 };
enum { KV_KEY = 1, KV_CREATE_REVISION = 2, KV_MOD_REVISION = 3, KV_VALUE = 5 };
enum { MEMBERS_MEMBER = 2 };
enum { MEMBER_ID = 1, MEMBER_NAME = 2, MEMBER_CLIENT_URLS = 4, MEMBER_LEARNER = 5 };
enum {
	STATUS_VERSION = 2,
	STATUS_DB_SIZE = 3,
	STATUS_LEADER = 4,
	STATUS_RAFT_INDEX = 5,
	STATUS_DB_SIZE_IN_USE = 9,
	STATUS_LEARNER = 10,
	STATUS_DB_SIZE_QUOTA = 12,
};

static void header_varint(struct etcd_header *header, uint32_t field, uint64_t value)
{
	switch (field) {
	case HEADER_CLUSTER_ID:
		header->cluster_id = value;
		break;
	case HEADER_MEMBER_ID:
		header->member_id = value;
		break;
	case HEADER_REVISION:
		header->revision = value;
		break;
	case HEADER_RAFT_TERM:
		header->raft_term = value;
		break;
	default:
		break;
	}
}

/* ---- RangeResponse ---- */

struct etcd_range_reader {
	etcd_kv_fn on_kv;
	void *arg;
	bool keep_values;
	struct pb_reader *pb;
	struct etcd_value_reader *value;
	struct etcd_header header;
	bool have_header, more;
	uint64_t count;
	/* the KeyValue in hand */
	struct etcd_kv kv;
	bool key_cut;
	char key[ETCD_KEY_MAX + 1];
	struct secret *kept; /* its value, which may be plaintext, while one is kept; else NULL */
};

static void drop_kept(struct etcd_range_reader *reader)
{
	secret_free(reader->kept);
	reader->kept = NULL;
}

static enum pb_enter begin_kv(struct etcd_range_reader *reader)
{
	reader->kv = (struct etcd_kv){.key = reader->key};
	reader->key[0] = '\0';
	reader->key_cut = false;
	etcd_value_reader_start(reader->value);
	return PB_MESSAGE;
}

static enum pb_enter begin_key(struct etcd_range_reader *reader, uint64_t len)
{
	reader->kv.key_len = 0;
	reader->key[0] = '\0'; /* the last of several holds, and it may be empty */
	reader->key_cut = len > ETCD_KEY_MAX;
	return PB_BYTES;
}

static enum pb_enter begin_value(struct etcd_range_reader *reader, uint64_t len)
{
	reader->kv.value_size = len;
	etcd_value_reader_start(reader->value);
	drop_kept(reader);
	if (reader->keep_values && len <= ETCD_VALUE_OPEN_MAX) {
		reader->kept = secret_new((size_t)len);
		secret_reserve(reader->kept, (size_t)len);
	}
	return PB_BYTES;
}

static enum pb_enter on_range_field(void *arg, const uint32_t *path, unsigned depth, uint64_t len)
{
	struct etcd_range_reader *reader = arg;
	if (depth == 1 && path[0] == RANGE_KVS)
		return begin_kv(reader);
	if (depth == 1 && path[0] == RESPONSE_HEADER) {
		reader->have_header = true;
		return PB_MESSAGE;
	}
	if (depth == 2 && path[0] == RANGE_KVS && path[1] == KV_KEY)
		return begin_key(reader, len);
	if (depth == 2 && path[0] == RANGE_KVS && path[1] == KV_VALUE)
		return begin_value(reader, len);
	return PB_SKIP;
}

static int on_range_varint(void *arg, const uint32_t *path, unsigned depth, uint64_t value)
{
	struct etcd_range_reader *reader = arg;
	if (depth == 1 && path[0] == RANGE_MORE)
		reader->more = value != 0;
	else if (depth == 1 && path[0] == RANGE_COUNT)
		reader->count = value;
	else if (depth == 2 && path[0] == RESPONSE_HEADER)
		header_varint(&reader->header, path[1], value);
	else if (depth == 2 && path[0] == RANGE_KVS && path[1] == KV_CREATE_REVISION)
		reader->kv.create_revision = value;
	else if (depth == 2 && path[0] == RANGE_KVS && path[1] == KV_MOD_REVISION)
		reader->kv.mod_revision = value;
	return 0;
}

static void add_key(struct etcd_range_reader *reader, const uint8_t *bytes, size_t len)
{
	size_t room = ETCD_KEY_MAX - reader->kv.key_len;
	if (len > room)
		len = room;
	memcpy(reader->key + reader->kv.key_len, bytes, len);
	reader->kv.key_len += len;
	reader->key[reader->kv.key_len] = '\0';
}

static int on_range_bytes(void *arg, const uint32_t *path, unsigned depth, const uint8_t *bytes, size_t len)
{
	struct etcd_range_reader *reader = arg;
	(void)depth; /* only the key and the value of a KeyValue are asked for */
	if (path[1] == KV_KEY) {
		add_key(reader, bytes, len);
		return 0;
	}
	etcd_value_reader_feed(reader->value, bytes, len);
	return reader->kept ? secret_append(reader->kept, bytes, len) : 0;
}

static int on_range_message_end(void *arg, const uint32_t *path, unsigned depth)
{
	static const struct etcd_value_info unknown = {.state = ETCD_VALUE_UNKNOWN};
	struct etcd_range_reader *reader = arg;
	struct etcd_kv *kv = &reader->kv;
	if (depth != 1 || path[0] != RANGE_KVS)
		return 0;
	kv->info = reader->key_cut ? &unknown : etcd_value_reader_end(reader->value);
	if (reader->kept) {
		kv->value = secret_data(reader->kept);
		kv->value_len = secret_len(reader->kept);
	}
	int rc = reader->on_kv(reader->arg, kv);
	drop_kept(reader);
	return rc;
}

static const struct pb_handler range_handler = {
	.on_field = on_range_field,
	.on_varint = on_range_varint,
	.on_bytes = on_range_bytes,
	.on_message_end = on_range_message_end,
};

struct etcd_range_reader *etcd_range_reader_new(etcd_kv_fn on_kv, void *arg, bool keep_values)
{
	struct etcd_range_reader *reader = xcalloc(1, sizeof(*reader));
	reader->on_kv = on_kv;
	reader->arg = arg;
	reader->keep_values = keep_values;
	reader->pb = pb_reader_new(&range_handler, reader);
	reader->value = etcd_value_reader_new();
	return reader;
}

void etcd_range_reader_free(struct etcd_range_reader *reader)
{
	if (!reader)
		return;
	pb_reader_free(reader->pb);
	etcd_value_reader_free(reader->value);
	secret_free(reader->kept);
	free(reader);
}

void etcd_range_reader_reset(struct etcd_range_reader *reader)
{
	pb_reader_reset(reader->pb);
	reader->header = (struct etcd_header){0};
	reader->have_header = reader->more = false;
	reader->count = 0;
	drop_kept(reader);
}

int etcd_range_feed(struct etcd_range_reader *reader, const uint8_t *bytes, size_t len)
{
	return pb_feed(reader->pb, bytes, len);
}

int etcd_range_finish(struct etcd_range_reader *reader)
{
	int rc = pb_finish(reader->pb);
	if (rc < 0)
		return rc;
	return reader->have_header ? 0 : -ERROR_PROTOCOL;
}

const struct etcd_header *etcd_range_header(const struct etcd_range_reader *reader)
{
	return &reader->header;
}

bool etcd_range_more(const struct etcd_range_reader *reader)
{
	return reader->more;
}

uint64_t etcd_range_count(const struct etcd_range_reader *reader)
{
	return reader->count;
}

/* ---- requests ---- */

static int write_number(struct buf *out, uint32_t field, uint64_t value)
{
	return value == 0 ? 0 : pb_write_varint_field(out, field, value);
}

static int write_bytes(struct buf *out, uint32_t field, const void *bytes, size_t len)
{
	return len == 0 ? 0 : pb_write_bytes_field(out, field, bytes, len);
}

int etcd_range_request_write(struct buf *out, const struct etcd_range_request *request)
{
	const struct {
		uint32_t field;
		uint64_t value;
	} numbers[] = {
		{3, request->limit},
		{4, request->revision},
		{7, request->serializable},
		{8, request->keys_only},
		{9, request->count_only},
		{10, request->min_mod_revision},
		{11, request->max_mod_revision},
	};
	int rc = write_bytes(out, 1, request->key, request->key_len);
	if (rc == 0)
		rc = write_bytes(out, 2, request->range_end, request->range_end_len);
	for (size_t i = 0; rc == 0 && i < ELEMENTS(numbers); i++)
		rc = write_number(out, numbers[i].field, numbers[i].value);
	return rc;
}

int etcd_compact_request_write(struct buf *out, uint64_t revision, bool physical)
{
	int rc = write_number(out, 1, revision);
	return rc < 0 ? rc : write_number(out, 2, physical);
}

size_t etcd_prefix_end(const void *prefix, size_t len, uint8_t *ret)
{
	if (len > 0)
		memcpy(ret, prefix, len);
	while (len > 0 && ret[len - 1] == 0xff) /* has no successor: the byte before it grows */
		len--;
	if (len == 0) {
		ret[0] = '\0'; /* etcd's way to say: to the end of the keyspace */
		return 1;
	}
	ret[len - 1]++;
	return len;
}

/* ---- answers small enough to keep ---- */

/* One parse of one answer; `text` gathers the text field in hand. */
struct unary {
	struct etcd_header header;
	bool have_header;
	struct etcd_members *members; /* the one that is parsed, the others are NULL */
	struct etcd_status *status;
	struct buf text;
};

static struct etcd_member *last_member(struct unary *unary)
{
	return &unary->members->items[unary->members->count - 1];
}

static enum pb_enter begin_text(struct unary *unary, uint64_t len)
{
	buf_reset(&unary->text);
	return len > ETCD_TEXT_MAX ? PB_REFUSE : PB_BYTES;
}

static enum pb_enter begin_member(struct etcd_members *members)
{
	if (members->count == ETCD_MEMBERS_MAX)
		return PB_REFUSE;
	members->items = xreallocarray(members->items, members->count + 1, sizeof(*members->items));
	members->items[members->count++] = (struct etcd_member){.name = xstrdup("")};
	return PB_MESSAGE;
}

static enum pb_enter on_member_field(struct unary *unary, uint32_t field, uint64_t len)
{
	if (field == MEMBER_NAME)
		return begin_text(unary, len);
	if (field != MEMBER_CLIENT_URLS)
		return PB_SKIP;
	return last_member(unary)->client_url_count == ETCD_URLS_MAX ? PB_REFUSE : begin_text(unary, len);
}

static enum pb_enter on_unary_field(void *arg, const uint32_t *path, unsigned depth, uint64_t len)
{
	struct unary *unary = arg;
	if (depth == 1 && path[0] == RESPONSE_HEADER) {
		unary->have_header = true;
		return PB_MESSAGE;
	}
	if (unary->members && depth == 1 && path[0] == MEMBERS_MEMBER)
		return begin_member(unary->members);
	if (unary->members && depth == 2 && path[0] == MEMBERS_MEMBER)
		return on_member_field(unary, path[1], len);
	if (unary->status && depth == 1 && path[0] == STATUS_VERSION)
		return begin_text(unary, len);
	return PB_SKIP;
}

static void member_varint(struct etcd_member *member, uint32_t field, uint64_t value)
{
	if (field == MEMBER_ID)
		member->id = value;
	else if (field == MEMBER_LEARNER)
		member->learner = value != 0;
}

/* An int64: less than nothing is as good as not told. */
static uint64_t size_of(uint64_t value)
{
	return value > INT64_MAX ? 0 : value;
}

static void status_varint(struct etcd_status *status, uint32_t field, uint64_t value)
{
	switch (field) {
	case STATUS_DB_SIZE:
		status->db_size = size_of(value);
		break;
	case STATUS_LEADER:
		status->leader = value;
		break;
	case STATUS_RAFT_INDEX:
		status->raft_index = value;
		break;
	case STATUS_DB_SIZE_IN_USE:
		status->db_size_in_use = size_of(value);
		break;
	case STATUS_LEARNER:
		status->learner = value != 0;
		break;
	case STATUS_DB_SIZE_QUOTA:
		status->db_size_quota = value; /* below nothing: none, and that is what it reads like */
		break;
	default:
		break;
	}
}

static int on_unary_varint(void *arg, const uint32_t *path, unsigned depth, uint64_t value)
{
	struct unary *unary = arg;
	if (depth == 2 && path[0] == RESPONSE_HEADER)
		header_varint(&unary->header, path[1], value);
	else if (depth == 2 && unary->members)
		member_varint(last_member(unary), path[1], value);
	else if (depth == 1 && unary->status)
		status_varint(unary->status, path[0], value);
	return 0;
}

static int on_unary_bytes(void *arg, const uint32_t *path, unsigned depth, const uint8_t *bytes, size_t len)
{
	struct unary *unary = arg;
	(void)path;
	(void)depth;
	return memchr(bytes, '\0', len) ? -ERROR_PROTOCOL : buf_append(&unary->text, bytes, len);
}

static void set_text(char **to, const struct buf *text)
{
	free(*to);
	*to = xstrdup(buf_text(text));
}

static int on_unary_bytes_end(void *arg, const uint32_t *path, unsigned depth)
{
	struct unary *unary = arg;
	if (depth == 1) {
		set_text(&unary->status->version, &unary->text);
		return 0;
	}
	struct etcd_member *member = last_member(unary);
	if (path[1] == MEMBER_NAME) {
		set_text(&member->name, &unary->text);
		return 0;
	}
	member->client_urls =
		xreallocarray(member->client_urls, member->client_url_count + 1, sizeof(*member->client_urls));
	member->client_urls[member->client_url_count++] = xstrdup(buf_text(&unary->text));
	return 0;
}

static int unary_parse(struct unary *unary, const uint8_t *bytes, size_t len)
{
	static const struct pb_handler handler = {
		.on_field = on_unary_field,
		.on_varint = on_unary_varint,
		.on_bytes = on_unary_bytes,
		.on_bytes_end = on_unary_bytes_end,
	};
	unary->text = BUF_INIT(ETCD_TEXT_MAX);
	struct pb_reader *pb = pb_reader_new(&handler, unary);
	int rc = pb_feed(pb, bytes, len);
	if (rc == 0)
		rc = pb_finish(pb);
	if (rc == 0 && !unary->have_header)
		rc = -ERROR_PROTOCOL;
	pb_reader_free(pb);
	buf_free(&unary->text);
	return rc;
}

int etcd_members_parse(const uint8_t *bytes, size_t len, struct etcd_members *ret)
{
	struct etcd_members members = {0};
	struct unary unary = {.members = &members};
	int rc = unary_parse(&unary, bytes, len);
	if (rc < 0) {
		etcd_members_free(&members);
		return rc;
	}
	members.header = unary.header;
	*ret = members;
	return 0;
}

void etcd_members_free(struct etcd_members *members)
{
	if (!members)
		return;
	for (size_t i = 0; i < members->count; i++) {
		struct etcd_member *member = &members->items[i];
		for (size_t k = 0; k < member->client_url_count; k++)
			free(member->client_urls[k]);
		free(member->client_urls);
		free(member->name);
	}
	free(members->items);
	*members = (struct etcd_members){0};
}

int etcd_status_parse(const uint8_t *bytes, size_t len, struct etcd_status *ret)
{
	struct etcd_status status = {.version = xstrdup("")};
	struct unary unary = {.status = &status};
	int rc = unary_parse(&unary, bytes, len);
	if (rc < 0) {
		etcd_status_free(&status);
		return rc;
	}
	status.header = unary.header;
	*ret = status;
	return 0;
}

void etcd_status_free(struct etcd_status *status)
{
	if (!status)
		return;
	free(status->version);
	*status = (struct etcd_status){0};
}

int etcd_header_parse(const uint8_t *bytes, size_t len, struct etcd_header *ret)
{
	struct unary unary = {0};
	int rc = unary_parse(&unary, bytes, len);
	if (rc == 0)
		*ret = unary.header;
	return rc;
}
