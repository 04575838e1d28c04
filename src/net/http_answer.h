/* The head of an HTTP answer, line by line as curl hands it over: what of it anyone here needs. Sans-I/O.
 * Formats: RFC 9110 (status, Retry-After), gRPC's PROTOCOL-HTTP2.md (grpc-status and grpc-message, in headers or trailers). */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/alloc.h"

#define HTTP_ANSWER_HEAD_CAP 65536 /* bytes of header lines in one answer, interim answers and trailers included */
#define HTTP_ANSWER_TEXT_CAP 4096  /* bytes kept of one header's value */

struct http_answer {
	unsigned status;    /* of the last status line */
	unsigned major;     /* HTTP version: 1, 2 */
	bool head_complete; /* the empty line after a final status was seen */
	bool has_length, chunked;
	uint64_t length;      /* Content-Length */
	uint64_t retry_after; /* ns, at most 1 h */
	char *content_type;   /* lower case; NULL without one */
	int grpc_status;      /* -1 without one */
	char *grpc_message;   /* decoded; NULL without one */
	char *process_start;  /* process-start-time-unix; NULL without one */
	size_t bytes;
};

void http_answer_reset(struct http_answer *answer); /* also initialises a zeroed one */
/* One line with or without its CRLF. 0; -ERROR_PROTOCOL for a status line or Content-Length that is none; -ERROR_LIMIT. */
_must_check_ int http_answer_line(struct http_answer *answer, const char *line, size_t len);
/* Whether the end of the body can be told from a connection that was cut: always with HTTP/2, else by length or chunks. */
bool http_answer_has_end(const struct http_answer *answer);
