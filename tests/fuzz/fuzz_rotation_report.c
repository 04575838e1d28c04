/* Reports: what is read of one is written, and is the same when it is read again. */
#include "format_events.h"

#include "base/json_read.h"
#include "engine/rotation_report.h"

static char *written(const struct rotation_report *report)
{
	struct json_writer w = JSON_WRITER_INIT(REPORT_JSON_MAX);
	rotation_report_write_json(report, &w);
	char *text = json_text(&w) ? xstrdup(json_text(&w)) : NULL;
	json_writer_free(&w);
	return text;
}

static struct rotation_report *read_again(const char *text, size_t len)
{
	_cleanup_json_ json = NULL;
	struct rotation_report *report = NULL;
	if (json_parse(text, len, "fuzz", &json, NULL) < 0 || rotation_report_parse(json, &report, NULL) < 0)
		return NULL;
	return report;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	json_install_hooks();
	_cleanup_(rotation_report_freep) struct rotation_report *report = read_again((const char *)data, size);
	if (!report)
		return 0;
	free(rotation_report_text(report, true));
	_cleanup_free_ char *first = written(report);
	if (!first)
		return 0;
	_cleanup_(rotation_report_freep) struct rotation_report *again = read_again(first, strlen(first));
	must(again);
	_cleanup_free_ char *second = written(again);
	must(second && strcmp(first, second) == 0);
	return 0;
}
