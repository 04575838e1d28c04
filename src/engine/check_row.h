/* One cluster of a fleet in one row, and what only shows over several rows. Pure. */
#pragma once
#include "engine/check.h"

struct check_row {
	char *context, *server, *version;
	char *why;            /* it could not be asked; then nothing below is known */
	char *write_provider; /* of Secrets: "kms/vault", "secretbox/rekey-...", "plaintext"; NULL: not known */
	const char *evidence; /* strongest first: "census" (by agents), "agents", "metrics", "none" */
	bool counted;         /* by a census of the agents, at `revision` */
	uint64_t revision, values, encrypted, under_kms;
	/* Age of the oldest write key: by the time in a key's name, or between two censuses of KeyRotations. */
	bool age_known;              /* oldest_key is; else it is of any age */
	uint64_t oldest_key;         /* ns, at least */
	uint64_t oldest_key_at_most; /* ns; UINT64_MAX: nothing tells that it is not older */
	struct strings key_ids;      /* of KMS, hashes */
	unsigned failed, warnings;
};
/* Takes what is known out of the facts; strings are new. `report` is theirs. */
void check_row_fill(struct check_row *row, const struct check_facts *facts, const struct check_report *report);
/* A sentence for each KMS key that several clusters use, added to `ret`. */
void check_rows_share(const struct check_row *rows, size_t count, struct strings *ret);
void check_row_free(struct check_row *row); /* the contents */
