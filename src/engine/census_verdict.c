/* Whether a census is good news, and if not, the first reason. */
#include "base/error.h"
#include "engine/census.h"

int census_verdict(const struct census *census, struct error **err)
{
	if (!census->complete)
		return error_set(err, ERROR_FINDING, "the census is not complete: %s", census->why);
	if (census->unreadable > 0)
		return error_set(err, ERROR_FINDING, "%llu values are under keys that the configuration does not have",
				 (unsigned long long)census->unreadable);
	if (census->unknown > 0 || census->outside_unknown > 0)
		return error_set(err, ERROR_FINDING, "%llu values are of no known form",
				 (unsigned long long)(census->unknown + census->outside_unknown));
	if (census->does_not_open > 0)
		return error_set(err, ERROR_FINDING,
				 "%llu values do not open with the key that they name, for example %s",
				 (unsigned long long)census->does_not_open, census->does_not_open_example);
	if (census->outside_count > 0) {
		int rc = error_set(err, ERROR_FINDING, "%llu encrypted values that no API serves",
				   (unsigned long long)census->outside_count);
		error_set_hint(
			err,
			"left-overs of removed APIs: judge them, then etcdctl del; another's: --foreign-prefix PREFIX");
		return rc;
	}
	if (census->stale > 0) {
		int rc = error_set(err, ERROR_FINDING, "%llu values are not under the write key",
				   (unsigned long long)census->stale);
		error_set_hint(err, "kube-rekey reencrypt rewrites them");
		return rc;
	}
	return 0;
}
