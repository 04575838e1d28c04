#include "engine/aesgcm.h"

#include <stdlib.h>

static bool any_aesgcm(const struct strings *labels)
{
	for (size_t i = 0; i < labels->count; i++)
		if (text_starts(labels->items[i], "aesgcm/"))
			return true;
	return false;
}

int aesgcm_check(const struct strings *new_keys, uint64_t objects, bool allow, struct error **err)
{
	if (allow || objects <= AESGCM_OBJECTS_MAX || !any_aesgcm(new_keys))
		return 0;
	_cleanup_free_ char *most = text_human_count(AESGCM_OBJECTS_MAX), *there = text_human_count(objects);
	int rc = error_set(err, ERROR_REFUSED,
			   "aesgcm with random nonces is safe for %s writes, and there are %s objects", most, there);
	error_set_hint(err, "choose --provider secretbox, or say --allow-aesgcm");
	return rc;
}
