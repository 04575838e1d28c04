#include "client/kube/refusals.h"

#include "base/error.h"

bool refusals_may_pass(struct refusals *refusals, int rc, uint64_t now)
{
	if (rc != -ERROR_AUTH) {
		refusals->since = 0;
		return false;
	}
	if (refusals->since == 0)
		refusals->since = now;
	return now < refusals->since + REFUSALS_LONG;
}
