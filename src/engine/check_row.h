/* One cluster of a fleet in one row, and what only shows over several rows. Pure. */
#pragma once
#include "engine/check.h"
#include "engine/object_fields.h"

struct check_row {
	char *context, *server, *version;
	char *cluster_uid;    /* by what clusters are told apart; NULL: not known */
	char *why;            /* it could not be asked; then nothing below is known */
	char *write_provider; /* of Secrets: "kms/vault", "secretbox/rekey-...", "plaintext"; NULL: not known */
	char *evidence;       /* strongest first: "census" (by agents), "agents", "metrics", "none" */
	bool counted;         /* by a census of the agents, at `revision` */
	uint64_t revision, values, encrypted, under_kms;
	/* Age of the oldest write key, in s: by the time in a key's name, or between two censuses of KeyRotations. */
	bool age_known, age_bounded;             /* oldest_key is; oldest_key_at_most is */
	uint64_t oldest_key, oldest_key_at_most; /* at least */
	struct strings key_ids;                  /* of KMS, hashes */
	uint64_t failed, warnings;
};
extern const struct object_record check_row_record;
/* Takes what is known out of the facts; strings are new. `report` is theirs. */
void check_row_fill(struct check_row *row, const struct check_facts *facts, const struct check_report *report);
/* A sentence for each KMS key that several clusters use, added to `ret`: contexts of one cluster are one user of a key. */
void check_rows_share(const struct check_row *rows, size_t count, struct strings *ret);
/* A sentence for each cluster that several contexts lead to, and one for those of which that is not known, added to `ret`. */
void check_rows_same(const struct check_row *rows, size_t count, struct strings *ret);
/* Of clusters, each counted once. One that is not known to be that of another row counts as one of its own. */
struct check_totals {
	size_t clusters, reached, counted, failing;
	uint64_t values, encrypted, under_kms;
};
struct check_totals check_rows_total(const struct check_row *rows, size_t count);
void check_row_free(struct check_row *row); /* the contents */
