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
/* false: none has seen it. `ret_first`: when the first one did. `ret_began`: an earlier one did not, so nothing was under it
 * before; else it may be of any age above that. */
bool key_seen_since(const struct key_seen *seen, const char *key, uint64_t *ret_first, bool *ret_began);
