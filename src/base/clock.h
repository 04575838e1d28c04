/* The only place that reads a clock. Everything else is handed `now`. */
#pragma once
#include <stdint.h>

#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S UINT64_C(1000000000)

/* Nanoseconds since boot, counting suspend (CLOCK_BOOTTIME): never goes back; for every interval and deadline. */
uint64_t clock_monotonic(void);
/* Nanoseconds since 1970 (CLOCK_REALTIME): for what people read and for Lease timestamps, never for logic. */
uint64_t clock_wall(void);
/* RFC 3339 UTC: "2026-11-22T11:03:20Z", with six digits of a second where `micro` is set. `ret` holds 28 bytes or more. */
void clock_format(uint64_t wall_ns, int micro, char ret[static 28]);
/* RFC 3339 as the API server writes it (Z or offset, optional fraction): 0 or -ERROR_INPUT. */
int clock_parse(const char *text, uint64_t *ret_wall_ns);
/* "20261122T1103Z", for key names. */
void clock_format_compact(uint64_t wall_ns, char ret[static 16]);
