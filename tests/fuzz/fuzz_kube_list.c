/* Pages of Kubernetes lists. */
#include "format_events.h"

static size_t count_lines(const char *text)
{
	size_t lines = 0;
	for (; *text; text++)
		lines += *text == '\n';
	return lines;
}

static const char *last_line(const char *text)
{
	const char *newline = strrchr(text, '\n');
	return newline ? newline + 1 : text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	must_not_depend_on_some_cuts(list_events, data, size);
	must_not_depend_on_some_cuts(list_meta_events, data, size);
	/* a page that is whole has the same items with and without their bytes */
	char *full = events_of(list_events, data, size, size), *meta = events_of(list_meta_events, data, size, size);
	const char *end = last_line(full);
	if (strncmp(end, "feed 0 finish 0", 15) == 0) {
		must(strcmp(last_line(meta), end) == 0);
		must(count_lines(full) == count_lines(meta));
	}
	free(full);
	free(meta);
	return 0;
}
