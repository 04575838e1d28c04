/* Since when a key is known to be in use, by the censuses that KeyRotations keep (status.before, status.after). Pure. */
#pragma once
#include "engine/key_rotation.h"

struct key_census {
	uint64_t at;         /* wall ns */
	bool whole;          /* nothing was left out for want of room: what is not in it was not there */
	struct strings keys; /* "aescbc/key1", that values of this cluster were under */
};
struct key_seen {
	struct key_census *items;
	size_t count;
};
/* Both censuses of a rotation, where there are any. */
void key_seen_add(struct key_seen *seen, const struct key_rotation *rotation);
void key_seen_free(struct key_seen *seen); /* the contents */
/* false: none has seen it. `ret_first`: when the first one did. `ret_before`: when the last one before that did not, so values came
 * under it between the two; 0: there is none, and it may be of any age. */
bool key_seen_since(const struct key_seen *seen, const char *key, uint64_t *ret_first, uint64_t *ret_before);
