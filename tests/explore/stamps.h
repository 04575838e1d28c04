/* Moments of a model: a number that grows by 1 with each thing done, and by TICK when a time passes that is longer than settling,
 * than 60 s and than two compaction intervals. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define TICK 16
#define NS_PER_STAMP UINT64_C(4000000000) /* TICK stamps are 64 s, all the small gaps together less than 60 */
#define NS_BASE UINT64_C(1000000000000)
#define SETTLE_TIME UINT64_C(60000000000)
#define COMPACTION UINT64_C(60000000000)

static inline uint64_t ns(uint8_t stamp)
{
	return stamp ? NS_BASE + stamp * NS_PER_STAMP : 0;
}

static inline uint8_t later(uint8_t a, uint8_t b)
{
	return a > b ? a : b;
}

/* Only their order remains, and two gaps that matter: the last before now (which stamps are old) and the last before
 * settled_ended (it took its time). `now` and `settled_ended` are as they were; 0 stays "never". */
static inline void stamps_renumber(uint8_t *const *all, size_t n, uint8_t now, uint8_t settled_ended)
{
	uint8_t present[256] = {0}, fresh[256] = {0}, at = 0;
	size_t last = 0, gap_to_now = 0, gap_to_settled = 0;
	for (size_t i = 0; i < n; i++)
		present[*all[i]] = 1;
	for (size_t t = 1; t <= now; t++) {
		if (!present[t])
			continue;
		if (last && t - last >= TICK)
			gap_to_now = t;
		if (gap_to_now && t <= settled_ended)
			gap_to_settled = gap_to_now;
		last = t;
	}
	for (size_t t = 1; t <= now; t++) {
		if (!present[t])
			continue;
		at = (uint8_t)(at + (t == gap_to_now || t == gap_to_settled ? TICK : 1));
		fresh[t] = at;
	}
	for (size_t i = 0; i < n; i++)
		*all[i] = fresh[*all[i]];
	if (fresh[now] > 255 - 2 * TICK)
		abort();
}
