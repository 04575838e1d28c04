/* What a census says of an API server's configuration and of the keys that its KMS plugins name, when nothing is rotated: which
 * values are not as they should be. Pure. */
#pragma once
#include "engine/key_server.h"

struct drift_resource {
	const char *resource; /* lent by the census */
	uint64_t stale;
};
struct drift {
	uint64_t values;     /* of resources, whatever they are under */
	uint64_t stale;      /* not under the write key of their rule */
	uint64_t unreadable; /* of no known form, under a key that their rule does not have, or that do not open */
	struct drift_resource *resources; /* each resource once, in the order of the census */
	size_t resource_count;
	char *unknown; /* why it is not known whether more is stale: which key a KMS plugin encrypts with is not; NULL */
};
/* By the configuration that `status` (which must have one) reports, and the key IDs that its plugins name. A resource without a rule counts as plaintext. What is under no resource is stale for none, and unreadable only where it is
 * of no known form; foreign values do not count. */
void drift_find(const struct census_observation *census, const struct key_server_status *status, struct drift *ret);
void drift_free(struct drift *drift); /* the contents */
/* "12 of 300 values are not under the write key of their rule (secrets 12)"; new string. */
char *drift_words(const struct drift *drift);

/* When a key was made that is named as kube-rekey names those that it makes: ns since 1970. false: it is another name. */
bool key_name_time(const char *name, uint64_t *ret_wall);
