/* One line of a flight record, as `replay` gets it with a bug report: what is read is written as it was read, and the
 * decision can be taken again, twice alike. */
#include <stdlib.h>
#include <string.h>
#include "base/json_read.h"
#include "rotate/record.h"
#include "valid_utf8.h"

static void must(bool holds)
{
	if (!holds)
		abort();
}

static struct record *read(const char *text, size_t len)
{
	_cleanup_json_ document = NULL;
	_cleanup_error_ err = NULL;
	struct record *record = NULL;
	if (json_parse(text, len, "line", &document, NULL) < 0)
		return NULL;
	if (record_read(document, &record, &err) < 0)
		must(!record && error_message(err)[0] != '\0');
	return record;
}

/* NULL where it would be longer than a line may be. */
static char *written(const struct record *record)
{
	struct json_writer w = JSON_WRITER_INIT(RECORD_LINE_MAX);
	record_write(&w, record->at, record->path, &record->observation, record->now, &record->decision);
	const char *text = json_text(&w);
	char *ret = text ? xstrdup(text) : NULL;
	json_writer_free(&w);
	return ret;
}

static void check_replay(const struct record *record)
{
	struct decision first = record_replay(record), second = record_replay(record);
	must(!decision_difference(&first, &second));
	must(first.step < (int)record->path->count && first.to_step < (int)record->path->count);
	must(first.server < (int)record->observation.server_count &&
	     first.member < (int)record->observation.member_count &&
	     first.group < (int)record->observation.census.group_count);
	decision_difference(&first, &record->decision);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(record_freep) struct record *record = read((const char *)data, size), *again = NULL;
	if (!record)
		return 0;
	check_replay(record);
	_cleanup_free_ char *text = written(record), *second = NULL;
	if (!text || !valid_utf8(data, size))
		return 0;
	again = read(text, strlen(text));
	must(again != NULL);
	second = written(again);
	must(second && strcmp(text, second) == 0);
	must(!decision_difference(&again->decision, &record->decision));
	return 0;
}
