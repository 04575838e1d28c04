/* Protobuf wire format: no cut matters, and what was written is read. */
#include "format_events.h"

/* The input as a list of writes, three bytes or more each; `log` gets what a reader must say of `out`. */
static void write_fields(struct buf *out, struct buf *log, const uint8_t *data, size_t size)
{
	while (size >= 3) {
		uint32_t field = data[0] % 64 + 1;
		uint64_t number = (uint64_t)data[1] << (data[2] % 57);
		size_t len = data[2] % (size - 2);
		bool bytes = field % 4 == 0, skipped = field % 4 == 3;
		data += 3;
		size -= 3;
		if (!bytes && !skipped) {
			must(pb_write_varint_field(out, field, number) == 0);
			say(log, "%u=%llu ", field, (unsigned long long)number);
			continue;
		}
		must(pb_write_bytes_field(out, field, data, len) == 0);
		say(log, "%u[%zu] ", field, len);
		if (bytes) {
			say_bytes(log, data, len);
			say(log, "/%u ", field);
		}
		data += len;
		size -= len;
	}
	say(log, "feed 0 finish 0");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size > 8192)
		return 0;
	must_not_depend_on_some_cuts(pb_events, data, size);
	struct buf out = BUF_INIT(1u << 20), log = BUF_INIT(LOG_MAX);
	write_fields(&out, &log, data, size);
	must_say(pb_events, out.data, out.len, out.len, buf_text(&log));
	buf_free(&out);
	buf_free(&log);
	return 0;
}
