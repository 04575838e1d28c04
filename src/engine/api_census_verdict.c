/* What a census by the API says, and whether that is good news. */
#include "engine/api_census.h"

void api_census_free(struct api_census *census)
{
	if (!census)
		return;
	for (size_t i = 0; i < census->resource_count; i++) {
		api_write_key_free(&census->resources[i].write_key);
		storage_keys_free(&census->resources[i].keys);
		strings_free(&census->resources[i].stale_named);
	}
	for (size_t i = 0; i < census->unreadable_named; i++) {
		free(census->unreadable[i].namespace_);
		free(census->unreadable[i].name);
		free(census->unreadable[i].why);
	}
	free(census->unreadable);
	free(census->resources);
	free(census);
}

void api_census_freep(struct api_census **census)
{
	api_census_free(*census);
}

/* --- the verdict --- */

static int unreadable(const struct api_census *census, struct error **err)
{
	const struct api_census_object *first = &census->unreadable[0];
	int rc = error_set(err, ERROR_FINDING, "%llu objects cannot be read, for example %s %s%s%s: %s",
			   (unsigned long long)census->unreadable_count, first->resource->resource, first->namespace_,
			   *first->namespace_ ? "/" : "", first->name, first->why);
	error_set_hint(err, "the API server does not start again while it cannot list them");
	return rc;
}

static int unknown(const struct api_census_resource *r, struct error **err)
{
	const char *name = r->resource->resource;
	if (r->write_key.differs)
		return error_set(err, ERROR_FINDING, "%s: %s", name, r->write_key.why);
	if (!r->write_key.known)
		return error_set(err, ERROR_REFUSED, "which key %s are written with is not known: %s", name,
				 r->write_key.why);
	if (!r->counted)
		return error_set(
			err, ERROR_REFUSED,
			"reads of %s are counted under no key: perhaps no rule encrypts them; nothing is proved "
			"of them",
			name);
	if (r->stale_max > 0)
		return error_set(err, ERROR_REFUSED,
				 "of %s at most %llu are not under the write key, perhaps none: others read them "
				 "meanwhile, and counts do not tell whose reads they were",
				 name, (unsigned long long)r->stale_max);
	if (r->write_key.unproved.count == 0)
		return 0;
	_cleanup_free_ char *who = strings_join(&r->write_key.unproved, ", ");
	return error_set(err, ERROR_REFUSED,
			 "all %s that were read are under one key, but not every server is known to write with it: %s",
			 name, who);
}

int api_census_verdict(const struct api_census *census, struct error **err)
{
	if (census->unreadable_count > 0)
		return unreadable(census, err);
	if (census->stale_min > 0) {
		int rc = error_set(err, ERROR_FINDING,
				   "%llu objects are not under the write key, as far as the API shows",
				   (unsigned long long)census->stale_min);
		error_set_hint(err, "kube-rekey reencrypt --no-etcd rewrites them");
		return rc;
	}
	for (size_t i = 0; i < census->resource_count; i++) {
		int rc = unknown(&census->resources[i], err);
		if (rc < 0) {
			if (rc == -ERROR_REFUSED)
				error_set_hint(
					err, "kube-rekey reencrypt --no-etcd writes a canary through each server, and "
					     "rewrites what is stale");
			return rc;
		}
	}
	if (census->restarted)
		return error_set(err, ERROR_REFUSED,
				 "an API server started, joined or reloaded its configuration meanwhile: what it "
				 "writes with was "
				 "not looked at; ask again");
	if (census->moved)
		return error_set(err, ERROR_REFUSED,
				 "an API server was named another key by its KMS, or wrote under another one, while "
				 "objects were "
				 "read: what it wrote then is not known; ask again");
	return 0;
}
