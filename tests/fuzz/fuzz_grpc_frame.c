/* gRPC frames and percent escapes. */
#include "format_events.h"

static void check_decode(const uint8_t *data, size_t size)
{
	char *text = xmemdup(data, size);
	char *decoded = grpc_message_decode(text, size);
	char *again = grpc_message_decode(decoded, strlen(decoded));
	must(strlen(again) <= strlen(decoded) && strlen(decoded) <= size);
	if (!memchr(data, '%', size) && !memchr(data, '\0', size))
		must(strlen(decoded) == size && memcmp(decoded, data, size) == 0);
	free(text);
	free(decoded);
	free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t empty[1];
	data = size ? data : empty;
	if (!memchr(data, 0xee, size)) /* the callback's stop sign */
		must_not_depend_on_some_cuts(grpc_events, data, size);
	check_decode(data, size);

	/* what is framed is taken out again, and one byte more is refused */
	uint8_t head[5];
	struct buf frame = BUF_INIT(1u << 24), out = BUF_INIT(1u << 24);
	struct grpc_frame_reader reader = {.cap = size};
	grpc_frame_head(head, (uint32_t)size);
	must(buf_append(&frame, head, 5) == 0 && buf_append(&frame, data, size) == 0);
	int rc = grpc_frame_feed(&reader, frame.data, frame.len, grpc_say, &out);
	must(rc == -ERROR_FINDING || (rc == 0 && reader.complete && out.len == 2 * size));
	if (rc == 0)
		must(grpc_frame_feed(&reader, head, 1, grpc_say, &out) == -ERROR_PROTOCOL);
	buf_free(&frame);
	buf_free(&out);
	return 0;
}
