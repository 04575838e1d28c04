#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/json_read.h"
#include "cmd/command.h"
#include "rotate/record.h"

/* Reads one line of at most RECORD_LINE_MAX bytes. 1: a line; 0: the end. */
static int read_line(FILE *file, const char *name, size_t number, struct buf *line, struct error **err)
{
	int c;
	buf_reset(line);
	while ((c = getc(file)) != EOF && c != '\n')
		if (buf_append(line, &(uint8_t){(uint8_t)c}, 1) < 0)
			return error_set(err, ERROR_LIMIT, "%s:%zu: the line is longer than %u bytes", name, number,
					 RECORD_LINE_MAX);
	if (ferror(file))
		return error_set_errno(err, ERROR_IO, errno, "%s", name);
	return c == '\n' || line->len > 0;
}

static int replay_line(const struct command_context *context, const struct buf *line, const char *what,
		       size_t *different, struct error **err)
{
	_cleanup_json_ document = NULL;
	struct record *record = NULL;
	int rc = json_parse(buf_text(line), line->len, what, &document, err);
	if (rc < 0)
		return rc;
	rc = record_read(document, &record, err);
	if (rc < 0)
		return rc;
	struct decision again = record_replay(record);
	const char *field = decision_difference(&again, &record->decision);
	*different += field != NULL;
	if (!context->options.json)
		printf("%s %-20s %-15s step %d  %s%s%s\n", field ? "!" : "=", record->at ? record->at : "",
		       phase_name(again.phase), again.step, reason_text(again.reason),
		       field ? "   the record differs in " : "", field ? field : "");
	record_free(record);
	return 0;
}

int cmd_replay(struct command_context *context, struct error **err)
{
	if (context->options.argument_count != 1)
		return error_set(err, ERROR_USAGE, "replay takes one flight record");
	const char *name = context->options.arguments[0];
	FILE *file = fopen(name, "re");
	if (!file)
		return error_set_errno(err, errno == ENOENT ? ERROR_NOT_FOUND : ERROR_IO, errno, "%s", name);
	_cleanup_buf_ line = BUF_INIT(RECORD_LINE_MAX);
	size_t number = 0, different = 0;
	int rc;
	while ((rc = read_line(file, name, number + 1, &line, err)) > 0) {
		_cleanup_free_ char *what = xasprintf("%s:%zu", name, ++number);
		rc = replay_line(context, &line, what, &different, err);
		if (rc < 0)
			break;
	}
	fclose(file);
	if (rc < 0)
		return rc;
	if (context->options.json)
		printf("{\"kind\":\"Replay\",\"version\":1,\"decisions\":%zu,\"different\":%zu}\n", number, different);
	else
		printf("%zu decisions, %zu decided otherwise now\n", number, different);
	context->printed_document = true;
	return different > 0 ? error_set(err, ERROR_FINDING, "%zu decisions differ from the record", different) : 0;
}
