#include "format/pbwire.h"

#include "base/alloc.h"
#include "base/error.h"

#define FIELD_MAX ((1u << 29) - 1) /* by the format */
#define VARINT_MAX 10u

enum wire_type { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_LENGTH = 2, WIRE_FIXED32 = 5 };
enum state { STATE_TAG, STATE_VARINT, STATE_FIXED, STATE_LENGTH, STATE_BYTES, STATE_SKIP };

struct pb_reader {
	struct pb_handler handler;
	void *arg;
	int failed; /* what ended the parse */
	enum state state;
	unsigned number_len; /* bytes of the number in hand */
	unsigned fixed_size;
	unsigned depth; /* messages entered */
	uint64_t number;
	uint64_t pos;      /* bytes seen since reset */
	uint64_t body_end; /* where the field being handed on or skipped ends, as `pos` counts */
	uint64_t end[PB_DEPTH_MAX + 1];
	uint32_t path[PB_DEPTH_MAX + 1];
};

struct input {
	const uint8_t *at, *end;
};

struct pb_reader *pb_reader_new(const struct pb_handler *handler, void *arg)
{
	struct pb_reader *reader = xcalloc(1, sizeof(*reader));
	reader->handler = *handler;
	reader->arg = arg;
	pb_reader_reset(reader);
	return reader;
}

void pb_reader_free(struct pb_reader *reader)
{
	free(reader);
}

void pb_reader_reset(struct pb_reader *reader)
{
	reader->failed = 0;
	reader->state = STATE_TAG;
	reader->number_len = 0;
	reader->number = 0;
	reader->depth = 0;
	reader->pos = 0;
	reader->end[0] = UINT64_MAX; /* the top message ends where its owner says: pb_finish */
}

static uint64_t left_in_message(const struct pb_reader *reader)
{
	return reader->end[reader->depth] - reader->pos;
}

static uint64_t take_number(struct pb_reader *reader)
{
	uint64_t number = reader->number;
	reader->number = 0;
	reader->number_len = 0;
	return number;
}

/* 1 when the number is whole, 0 when more input is needed. */
static int read_varint(struct pb_reader *reader, struct input *in)
{
	while (in->at < in->end) {
		if (left_in_message(reader) == 0)
			return -ERROR_PROTOCOL;
		uint8_t byte = *in->at++;
		reader->pos++;
		/* the tenth byte has room for bit 63 and for no eleventh byte */
		if (reader->number_len == VARINT_MAX - 1 && byte > 1)
			return -ERROR_PROTOCOL;
		reader->number |= (uint64_t)(byte & 0x7f) << (7 * reader->number_len++);
		if (byte < 0x80)
			return 1;
	}
	return 0;
}

/* A field ended: so did every message that ends where it does. */
static int field_done(struct pb_reader *reader)
{
	reader->state = STATE_TAG;
	while (reader->depth > 0 && left_in_message(reader) == 0) {
		reader->depth--;
		if (!reader->handler.on_message_end)
			continue;
		int rc = reader->handler.on_message_end(reader->arg, reader->path, reader->depth + 1);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int begin_fixed(struct pb_reader *reader, unsigned size)
{
	if (left_in_message(reader) < size)
		return -ERROR_PROTOCOL;
	reader->state = STATE_FIXED;
	reader->fixed_size = size;
	return 0;
}

static int read_tag(struct pb_reader *reader, struct input *in)
{
	int rc = read_varint(reader, in);
	if (rc <= 0)
		return rc;
	uint64_t tag = take_number(reader), field = tag >> 3;
	if (field == 0 || field > FIELD_MAX)
		return -ERROR_PROTOCOL;
	reader->path[reader->depth] = (uint32_t)field;
	switch (tag & 7) {
	case WIRE_VARINT:
		reader->state = STATE_VARINT;
		return 0;
	case WIRE_LENGTH:
		reader->state = STATE_LENGTH;
		return 0;
	case WIRE_FIXED64:
		return begin_fixed(reader, 8);
	case WIRE_FIXED32:
		return begin_fixed(reader, 4);
	default: /* groups, and two types that do not exist */
		return -ERROR_PROTOCOL;
	}
}

static int number_done(struct pb_reader *reader)
{
	uint64_t number = take_number(reader);
	if (reader->handler.on_varint) {
		int rc = reader->handler.on_varint(reader->arg, reader->path, reader->depth + 1, number);
		if (rc < 0)
			return rc;
	}
	return field_done(reader);
}

static int read_number(struct pb_reader *reader, struct input *in)
{
	int rc = read_varint(reader, in);
	return rc <= 0 ? rc : number_done(reader);
}

static int read_fixed(struct pb_reader *reader, struct input *in)
{
	while (in->at < in->end && reader->number_len < reader->fixed_size) {
		reader->number |= (uint64_t)*in->at++ << (8 * reader->number_len++);
		reader->pos++;
	}
	return reader->number_len < reader->fixed_size ? 0 : number_done(reader);
}

static int body_done(struct pb_reader *reader)
{
	if (reader->state == STATE_BYTES && reader->handler.on_bytes_end) {
		int rc = reader->handler.on_bytes_end(reader->arg, reader->path, reader->depth + 1);
		if (rc < 0)
			return rc;
	}
	return field_done(reader);
}

static int begin_body(struct pb_reader *reader, enum state state, uint64_t len)
{
	reader->state = state;
	reader->body_end = reader->pos + len;
	return len == 0 ? body_done(reader) : 0;
}

static int begin_message(struct pb_reader *reader, uint64_t len)
{
	if (reader->depth == PB_DEPTH_MAX)
		return -ERROR_LIMIT;
	reader->depth++;
	reader->end[reader->depth] = reader->pos + len;
	return field_done(reader); /* an empty message ends at once */
}

static int read_length(struct pb_reader *reader, struct input *in)
{
	int rc = read_varint(reader, in);
	if (rc <= 0)
		return rc;
	uint64_t len = take_number(reader);
	if (len > left_in_message(reader))
		return -ERROR_PROTOCOL;
	enum pb_enter enter = PB_SKIP;
	if (reader->handler.on_field)
		enter = reader->handler.on_field(reader->arg, reader->path, reader->depth + 1, len);
	switch (enter) {
	case PB_SKIP:
		return begin_body(reader, STATE_SKIP, len);
	case PB_BYTES:
		return begin_body(reader, STATE_BYTES, len);
	case PB_MESSAGE:
		return begin_message(reader, len);
	case PB_REFUSE:
		break;
	}
	return -ERROR_LIMIT;
}

static int read_body(struct pb_reader *reader, struct input *in)
{
	size_t len = (size_t)(in->end - in->at);
	if (len > reader->body_end - reader->pos)
		len = (size_t)(reader->body_end - reader->pos);
	const uint8_t *bytes = in->at;
	in->at += len;
	reader->pos += len;
	if (reader->state == STATE_BYTES && reader->handler.on_bytes) {
		int rc = reader->handler.on_bytes(reader->arg, reader->path, reader->depth + 1, bytes, len);
		if (rc < 0)
			return rc;
	}
	return reader->pos < reader->body_end ? 0 : body_done(reader);
}

static int step(struct pb_reader *reader, struct input *in)
{
	switch (reader->state) {
	case STATE_TAG:
		return read_tag(reader, in);
	case STATE_VARINT:
		return read_number(reader, in);
	case STATE_FIXED:
		return read_fixed(reader, in);
	case STATE_LENGTH:
		return read_length(reader, in);
	case STATE_BYTES:
	case STATE_SKIP:
		return read_body(reader, in);
	}
	return -ERROR_PROTOCOL;
}

int pb_feed(struct pb_reader *reader, const uint8_t *bytes, size_t len)
{
	if (len == 0)
		return reader->failed;
	struct input in = {bytes, bytes + len};
	while (reader->failed >= 0 && in.at < in.end) {
		int rc = step(reader, &in);
		if (rc < 0)
			reader->failed = rc;
	}
	return reader->failed;
}

int pb_finish(const struct pb_reader *reader)
{
	if (reader->failed < 0)
		return reader->failed;
	bool whole = reader->state == STATE_TAG && reader->number_len == 0 && reader->depth == 0;
	return whole ? 0 : -ERROR_PROTOCOL;
}

size_t pb_varint_size(uint64_t value)
{
	size_t size = 1;
	while (value >>= 7)
		size++;
	return size;
}

size_t pb_put_varint(uint8_t ret[static 10], uint64_t value)
{
	size_t size = 0;
	while (value >= 0x80) {
		ret[size++] = (uint8_t)(value | 0x80);
		value >>= 7;
	}
	ret[size++] = (uint8_t)value;
	return size;
}

/* A tag and one number in one append, so that a refused field leaves nothing behind. */
static int write_head(struct buf *out, uint32_t field, enum wire_type type, uint64_t number)
{
	uint8_t head[2 * VARINT_MAX];
	size_t size = pb_put_varint(head, (uint64_t)field << 3 | type);
	size += pb_put_varint(head + size, number);
	return buf_append(out, head, size);
}

int pb_write_varint_field(struct buf *out, uint32_t field, uint64_t value)
{
	return write_head(out, field, WIRE_VARINT, value);
}

int pb_write_bytes_head(struct buf *out, uint32_t field, uint64_t len)
{
	return write_head(out, field, WIRE_LENGTH, len);
}

int pb_write_bytes_field(struct buf *out, uint32_t field, const void *bytes, size_t len)
{
	size_t head = pb_varint_size((uint64_t)field << 3) + pb_varint_size(len);
	size_t room = out->cap - out->len;
	if (len > room || head > room - len) /* both parts or neither */
		return -ERROR_LIMIT;
	int rc = pb_write_bytes_head(out, field, len);
	return rc < 0 || len == 0 ? rc : buf_append(out, bytes, len);
}
