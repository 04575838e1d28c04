/* An API server that has just started refuses everybody (401, 403) until it has read who may do what: seen for seconds on real
 * servers. So a refusal counts only when nothing else came for REFUSALS_LONG. Pure. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#define REFUSALS_LONG (UINT64_C(30) * 1000000000) /* ns */

/* Of one kind of request. */
struct refusals {
	uint64_t since; /* the first in a row came; 0: the last answer was none */
};
/* Takes what came of a request, 0 or a negative error, at `now` (monotonic). Whether it is a refusal that may pass. */
bool refusals_may_pass(struct refusals *refusals, int rc, uint64_t now);
