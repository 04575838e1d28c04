/* The head of an answer, line by line: whatever a server sends, what is kept stays within its bounds. */
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/error.h"
#include "net/http_answer.h"

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void check_text(const char *text)
{
	must(!text || strlen(text) <= HTTP_ANSWER_TEXT_CAP);
}

static void check(const struct http_answer *answer)
{
	must(answer->status <= 999 && answer->major <= 2 && answer->bytes <= HTTP_ANSWER_HEAD_CAP);
	must(answer->retry_after <= 3600 * NS_PER_S);
	must(answer->grpc_status >= -1 && answer->grpc_status <= 999);
	must(!answer->head_complete || answer->status >= 200);
	must(http_answer_has_end(answer) || answer->major == 1);
	check_text(answer->content_type);
	check_text(answer->grpc_message);
	check_text(answer->process_start);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct http_answer answer = {0};
	int rc = 0;
	http_answer_reset(&answer);
	while (size > 0 && rc == 0) {
		const uint8_t *end = memchr(data, '\n', size);
		size_t len = end ? (size_t)(end - data) + 1 : size;
		/* An exact allocation: curl's lines do not end with a NUL. */
		_cleanup_free_ char *line = xmemdup(data, len);
		rc = http_answer_line(&answer, line, len);
		must(rc == 0 || rc == -ERROR_PROTOCOL || rc == -ERROR_LIMIT);
		if (rc == 0)
			check(&answer);
		data += len;
		size -= len;
	}
	http_answer_reset(&answer);
	return 0;
}
