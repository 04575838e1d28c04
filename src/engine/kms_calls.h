/* How many calls of its KMS a rotation costs: a KMS has quotas, and bills them. */
#pragma once
#include "engine/census.h"

/* Of each API server's plugin, about; what Status costs besides is the plugin's own matter. */
struct kms_calls {
	uint64_t encrypt; /* a seed for each KMS v2 provider, at each reload */
	/* Each data encryption key after each reload; and in the sweep, whose first requests ask for the same key side by side:
	 * kube-apiserver lets them. At most, but for what other clients read. */
	uint64_t decrypt;
	uint64_t opening;     /* Decrypt, by kube-rekey itself: each data encryption key, at each of two censuses */
	uint64_t dek_sources; /* data encryption keys that values are under now */
	bool more;            /* there are more of them than were told apart */
};
/* All 0 where no step of the path has a KMS v2 provider, and nothing is under one. */
struct kms_calls kms_calls_of(const struct path *path, const struct census *census, unsigned concurrency);
