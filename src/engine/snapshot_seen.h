/* Which paths were seen already: a set of keyed 64-bit hashes, for as many paths as a backup has. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/alloc.h"

/* At most 16 bytes a path, growing included, and 64 KiB. Two of 200 million paths have the same hash with a chance of one
 * in a thousand; the key is random, so nobody can choose them. */
struct snapshot_seen; /* opaque */
struct snapshot_seen *snapshot_seen_new(void);
void snapshot_seen_free(struct snapshot_seen *seen); /* NULL is fine */
void snapshot_seen_freep(struct snapshot_seen **seen);
/* Whether it is new; then it is in the set. */
bool snapshot_seen_add(struct snapshot_seen *seen, const void *path, size_t len);
