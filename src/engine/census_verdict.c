/* Whether a census is good news, and if not, the first reason. */
#include "engine/census_internal.h"

static int find_unreadable(const struct census *census, struct error **err)
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
	if (census->refused == 0)
		return 0;
	int rc = error_set(err, ERROR_FINDING, "%llu values are under keys that their KMS plugin does not decrypt",
			   (unsigned long long)census->refused);
	error_set_hint(err, "API servers read them until they restart, and never become ready after that");
	return rc;
}

static int find_stale(const struct census *census, struct error **err)
{
	if (census->stale == 0)
		return 0;
	int rc = error_set(err, ERROR_FINDING, "%llu values are not under the write key",
			   (unsigned long long)census->stale);
	error_set_hint(err, "kube-rekey reencrypt rewrites them");
	return rc;
}

/* What no API serves. */
static int find_outside(const struct census *census, struct error **err)
{
	if (census->outside_count == 0)
		return 0;
	int rc = error_set(err, ERROR_FINDING, "%llu encrypted values that no API serves",
			   (unsigned long long)census->outside_count);
	error_set_hint(err,
		       "left-overs of removed APIs: judge them, then etcdctl del; another's: --foreign-prefix PREFIX");
	return rc;
}

int census_verdict(const struct census *census, struct error **err)
{
	int rc = find_unreadable(census, err);
	if (rc == 0)
		rc = find_outside(census, err);
	return rc == 0 ? find_stale(census, err) : rc;
}

int census_opened(const struct census *census, struct error **err)
{
	for (size_t r = 0; r < census->resource_count; r++)
		for (size_t k = 0; k < census->resources[r].key_count; k++) {
			const struct census_resource *resource = &census->resources[r];
			_cleanup_free_ char *closed = census_closed_text(resource->keys, resource->key_count, k);
			if (closed)
				return error_set(err, ERROR_FINDING, "%s: %s", resource->entry->resource->resource,
						 closed);
		}
	return 0;
}
