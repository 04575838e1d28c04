/* gRPC message framing (PROTOCOL-HTTP2.md): 1 byte compressed flag, 4 bytes length, message; and status in trailers. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/alloc.h"
#include "base/error.h"

/* Unary answers: exactly one message. Its bytes are handed on as they arrive. Zeroed but for `cap` to begin; the body was
 * whole when `complete` is set at its end. After an error the reader is of no more use. */
struct grpc_frame_reader {
	uint8_t head[5];
	uint8_t head_len;
	uint64_t left; /* of the message */
	uint64_t cap;  /* largest message accepted, set by the owner */
	bool complete;
};
typedef int (*grpc_message_fn)(void *arg, const uint8_t *bytes, size_t len);
/* -ERROR_PROTOCOL: compressed flag set, a second message; -ERROR_LIMIT: larger than cap (nothing of it is handed on); or
 * the callback's. */
_must_check_ int grpc_frame_feed(struct grpc_frame_reader *reader, const uint8_t *bytes, size_t len,
				 grpc_message_fn on_message, void *arg);
/* Writes the 5-byte head for a message of `len` bytes. */
void grpc_frame_head(uint8_t ret[static 5], uint32_t len);
/* Percent-decodes grpc-message; a bad escape, and %00, stays as it is. New string. */
char *grpc_message_decode(const char *text, size_t len);
const char *grpc_status_name(unsigned code); /* "UNAVAILABLE"; NULL for one that gRPC does not have */
