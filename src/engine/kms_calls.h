/* How many calls of its KMS a rotation costs: a KMS has quotas, and bills them. */
#pragma once
#include "engine/census.h"

/* About; what Status costs besides is the plugin's own matter. */
struct kms_calls {
	/* Of each API server's plugin: a seed for each KMS v2 provider, at each reload and new key ID. */
	uint64_t encrypt;
	/* Likewise: each data encryption key after each reload; and in the sweep, whose first requests ask for the same key side
	 * by side: kube-apiserver lets them; and what the other servers' seeds wrapped. At most, but for what other clients
	 * read. */
	uint64_t decrypt;
	/* Decrypt, by kube-rekey itself, of all plugins: each data encryption key, at each of three censuses, one at each
	 * server. */
	uint64_t opening;
	uint64_t dek_sources; /* data encryption keys that values are under now */
	bool more;            /* there are more of them than were told apart */
	/* Values under KMS v1, or to be: each has a key of its own, for an Encrypt by each write and a Decrypt by each read that
	 * the server's cache does not spare. None of the above counts them. */
	uint64_t v1_values;
};
/* All 0 where no step of the path has a KMS provider, and nothing is under one. */
struct kms_calls kms_calls_of(const struct path *path, const struct census *census, unsigned concurrency,
			      uint64_t servers);
