#include "net/http_answer.h"
#include <ctype.h>
#include <strings.h>
#include "base/clock.h"
#include "base/error.h"
#include "base/text.h"
#include "format/grpc_frame.h"

#define RETRY_AFTER_CAP (3600 * NS_PER_S)

void http_answer_reset(struct http_answer *answer)
{
	free(answer->content_type);
	free(answer->grpc_message);
	free(answer->process_start);
	*answer = (struct http_answer){.grpc_status = -1};
}

/* "HTTP/1.1 200 OK", "HTTP/2 200". An interim answer's headers are forgotten. */
static int status_line(struct http_answer *answer, const char *line, size_t len)
{
	const char *space = memchr(line, ' ', len);
	size_t bytes = answer->bytes;
	uint64_t status;

	if (space == NULL || line + len - space < 4 || text_bytes_to_u64(space + 1, 3, &status) < 0)
		return -ERROR_PROTOCOL;
	if (status < 100 || (line[5] != '1' && line[5] != '2'))
		return -ERROR_PROTOCOL;
	http_answer_reset(answer);
	answer->bytes = bytes;
	answer->status = (unsigned)status;
	answer->major = (unsigned)(line[5] - '0');
	return 0;
}

static bool name_is(const char *line, size_t name_len, const char *name)
{
	return name_len == strlen(name) && strncasecmp(line, name, name_len) == 0;
}

static void keep_text(char **ret, const char *value, size_t len)
{
	free(*ret);
	*ret = xstrndup(value, len < HTTP_ANSWER_TEXT_CAP ? len : HTTP_ANSWER_TEXT_CAP);
}

static void keep_lower(char **ret, const char *value, size_t len)
{
	char *at;

	keep_text(ret, value, len);
	for (at = *ret; *at != '\0'; at++)
		*at = (char)tolower((unsigned char)*at);
}

static int header(struct http_answer *answer, const char *line, size_t name_len, const char *value, size_t len)
{
	uint64_t number;

	if (name_is(line, name_len, "content-length")) {
		if (text_bytes_to_u64(value, len, &answer->length) < 0)
			return -ERROR_PROTOCOL;
		answer->has_length = true;
	} else if (name_is(line, name_len, "transfer-encoding")) {
		answer->chunked = len == 7 && strncasecmp(value, "chunked", 7) == 0;
	} else if (name_is(line, name_len, "content-type")) {
		keep_lower(&answer->content_type, value, len);
	} else if (name_is(line, name_len, "retry-after")) {
		/* The other form is a date by the server's clock; nobody here sends it. */
		if (text_bytes_to_u64(value, len, &number) == 0)
			answer->retry_after = number < 3600 ? number * NS_PER_S : RETRY_AFTER_CAP;
	} else if (name_is(line, name_len, "grpc-status")) {
		if (text_bytes_to_u64(value, len, &number) < 0 || number > 999)
			return -ERROR_PROTOCOL;
		answer->grpc_status = (int)number;
	} else if (name_is(line, name_len, "grpc-message")) {
		free(answer->grpc_message);
		answer->grpc_message =
			grpc_message_decode(value, len < HTTP_ANSWER_TEXT_CAP ? len : HTTP_ANSWER_TEXT_CAP);
	} else if (name_is(line, name_len, "process-start-time-unix")) {
		keep_text(&answer->process_start, value, len);
	}
	return 0;
}

int http_answer_line(struct http_answer *answer, const char *line, size_t len)
{
	const char *colon;
	size_t name_len;

	answer->bytes += len;
	if (answer->bytes > HTTP_ANSWER_HEAD_CAP)
		return -ERROR_LIMIT;
	while (len > 0 && (line[len - 1] == '\n' || line[len - 1] == '\r'))
		len--;
	if (len == 0) {
		answer->head_complete = answer->status >= 200;
		return 0;
	}
	if (len > 6 && memcmp(line, "HTTP/", 5) == 0)
		return status_line(answer, line, len);
	colon = memchr(line, ':', len);
	if (colon == NULL)
		return 0;
	name_len = (size_t)(colon - line);
	len -= name_len + 1;
	colon++;
	while (len > 0 && (*colon == ' ' || *colon == '\t')) {
		colon++;
		len--;
	}
	while (len > 0 && (colon[len - 1] == ' ' || colon[len - 1] == '\t'))
		len--;
	return header(answer, line, name_len, colon, len);
}

bool http_answer_has_end(const struct http_answer *answer)
{
	if (answer->major != 1 || answer->has_length || answer->chunked)
		return true;
	return answer->status == 204 || answer->status == 304;
}
