/* Durations of flags, times of Leases: what is read is what is written of it. */
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/error.h"
#include "base/text.h"

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void try_duration(const char *text)
{
	uint64_t ns = 42, again;
	int rc = text_to_duration(text, &ns);
	must(rc == 0 || (rc == -ERROR_INPUT && ns == 42));
	if (rc < 0)
		return;
	must(ns <= INT64_MAX);
	_cleanup_free_ char *plain = xasprintf("%lluns", (unsigned long long)ns);
	must(text_to_duration(plain, &again) == 0 && again == ns);
	_cleanup_free_ char *sum =
		xasprintf("%llus%lluns", (unsigned long long)(ns / NS_PER_S), (unsigned long long)(ns % NS_PER_S));
	must(text_to_duration(sum, &again) == 0 && again == ns);
	free(text_human_duration(ns));
}

static void try_time(const char *text)
{
	char written[28], compact[16];
	uint64_t wall = 42, again;
	int rc = clock_parse(text, &wall);
	must(rc == 0 || (rc == -ERROR_INPUT && wall == 42));
	if (rc < 0)
		return;
	clock_format(wall, 1, written);
	must(clock_parse(written, &again) == 0 && again == wall - wall % 1000);
	clock_format(wall, 0, written);
	must(clock_parse(written, &again) == 0 && again == wall - wall % NS_PER_S);
	clock_format_compact(wall, compact);
	must(strlen(compact) == 14);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = xstrndup((const char *)data, size);
	try_duration(text);
	try_time(text);
	return 0;
}
