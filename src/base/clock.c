#include "base/clock.h"
#include "base/error.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint64_t now(clockid_t id)
{
	struct timespec time;
	if (clock_gettime(id, &time) != 0)
		abort();
	return (uint64_t)time.tv_sec * NS_PER_S + (uint64_t)time.tv_nsec;
}

uint64_t clock_monotonic(void)
{
	return now(CLOCK_BOOTTIME);
}

uint64_t clock_wall(void)
{
	return now(CLOCK_REALTIME);
}

static struct tm broken_down(uint64_t wall_ns)
{
	time_t seconds = (time_t)(wall_ns / NS_PER_S);
	struct tm tm;
	gmtime_r(&seconds, &tm);
	return tm;
}

void clock_format(uint64_t wall_ns, int micro, char ret[static 28])
{
	struct tm tm = broken_down(wall_ns);
	size_t len = strftime(ret, 28, "%Y-%m-%dT%H:%M:%S", &tm);
	if (micro)
		snprintf(ret + len, 28 - len, ".%06uZ", (unsigned)(wall_ns % NS_PER_S / 1000 % 1000000));
	else
		snprintf(ret + len, 28 - len, "Z");
}

void clock_format_compact(uint64_t wall_ns, char ret[static 16])
{
	struct tm tm = broken_down(wall_ns);
	strftime(ret, 16, "%Y%m%dT%H%MZ", &tm);
}

/* Exactly `count` digits, and the character behind them where `then` is not NUL. */
static bool take_digits(const char **text, int count, char then, int *ret)
{
	int value = 0;
	for (int i = 0; i < count; i++, (*text)++) {
		if (**text < '0' || **text > '9')
			return false;
		value = value * 10 + (**text - '0');
	}
	*ret = value;
	if (then == '\0')
		return true;
	return *(*text)++ == then;
}

/* ".1" to ".123456789"; nothing is zero. */
static bool take_fraction(const char **text, uint64_t *ret_ns)
{
	*ret_ns = 0;
	if (**text != '.')
		return true;
	(*text)++;
	uint64_t unit = NS_PER_S;
	while (**text >= '0' && **text <= '9' && unit > 1) {
		unit /= 10;
		*ret_ns += (uint64_t)(*(*text)++ - '0') * unit;
	}
	return unit < NS_PER_S;
}

/* "Z", "+02:00" or "-02:30" and the end of the text. */
static bool take_offset(const char *text, int *ret_seconds)
{
	*ret_seconds = 0;
	if (strcmp(text, "Z") == 0)
		return true;
	int sign = *text == '-' ? -1 : 1, hours, minutes;
	if (*text != '+' && *text != '-')
		return false;
	text++;
	if (!take_digits(&text, 2, ':', &hours) || !take_digits(&text, 2, '\0', &minutes) || *text != '\0')
		return false;
	*ret_seconds = sign * (hours * 3600 + minutes * 60);
	return hours < 24 && minutes < 60;
}

static bool take_date_and_time(const char **text, struct tm *ret)
{
	struct tm tm = {0};
	if (!take_digits(text, 4, '-', &tm.tm_year) || !take_digits(text, 2, '-', &tm.tm_mon) ||
	    !take_digits(text, 2, 'T', &tm.tm_mday) || !take_digits(text, 2, ':', &tm.tm_hour) ||
	    !take_digits(text, 2, ':', &tm.tm_min) || !take_digits(text, 2, '\0', &tm.tm_sec))
		return false;
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	*ret = tm;
	return tm.tm_hour < 24 && tm.tm_min < 60 && tm.tm_sec < 60;
}

int clock_parse(const char *text, uint64_t *ret_wall_ns)
{
	struct tm tm;
	uint64_t fraction;
	int offset;
	if (!take_date_and_time(&text, &tm) || !take_fraction(&text, &fraction) || !take_offset(text, &offset))
		return -ERROR_INPUT;
	/* timegm moves 31 April to 1 May: a date that it moves is none. */
	struct tm moved = tm;
	time_t seconds = timegm(&moved);
	if (moved.tm_mday != tm.tm_mday || moved.tm_mon != tm.tm_mon)
		return -ERROR_INPUT;
	seconds -= offset;
	if (seconds < 0 || (uint64_t)seconds >= UINT64_MAX / NS_PER_S)
		return -ERROR_INPUT;
	*ret_wall_ns = (uint64_t)seconds * NS_PER_S + fraction;
	return 0;
}
