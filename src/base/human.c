/* text_human_* of text.h. */
#include "base/clock.h"
#include "base/text.h"
#include <inttypes.h>
#include <stdio.h>

char *text_human_bytes(uint64_t bytes)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double value = (double)bytes;
	size_t unit = 0;
	/* From 1023.5 on it would be rounded to "1024". */
	for (; value >= 1023.5 && unit + 1 < ELEMENTS(units); unit++)
		value /= 1024;
	return xasprintf("%.*f %s", unit > 0 && value < 9.95 ? 1 : 0, value, units[unit]);
}

char *text_human_count(uint64_t count)
{
	char digits[24];
	size_t len = (size_t)snprintf(digits, sizeof(digits), "%" PRIu64, count);
	char *text = xmalloc(len + len / 3 + 1), *to = text;
	for (size_t i = 0; i < len; i++) {
		if (i && (len - i) % 3 == 0)
			*to++ = ',';
		*to++ = digits[i];
	}
	*to = '\0';
	return text;
}

static uint64_t rounded(uint64_t value, uint64_t unit)
{
	return value / unit + (value % unit >= unit - unit / 2);
}

/* "3 min 28 s", or "3 min" where the smaller part is 0; `value` counts the smaller unit. */
static char *two_units(uint64_t value, uint64_t per_large, const char *large, const char *small)
{
	if (value % per_large == 0)
		return xasprintf("%" PRIu64 " %s", value / per_large, large);
	return xasprintf("%" PRIu64 " %s %" PRIu64 " %s", value / per_large, large, value % per_large, small);
}

/* Each step rounds to the smaller of its two units and then looks whether it is still small enough: 59 min 59.9 s is
 * "1 h". */
char *text_human_duration(uint64_t ns)
{
	uint64_t ms = rounded(ns, NS_PER_MS), seconds = rounded(ns, NS_PER_S);
	uint64_t minutes = rounded(seconds, 60), hours = rounded(minutes, 60);
	if (ms > 0 && ms < 1000)
		return xasprintf("%" PRIu64 " ms", ms);
	if (seconds < 60)
		return xasprintf("%" PRIu64 " s", seconds);
	if (seconds < 3600)
		return two_units(seconds, 60, "min", "s");
	if (minutes < 1440)
		return two_units(minutes, 60, "h", "min");
	return two_units(hours, 24, "d", "h");
}
