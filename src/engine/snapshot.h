/* A backup of etcd, read offline: which keys it needs.
 *
 * Every revision that the file holds is read, from the newest to the oldest. The first of a path is its newest state: what a
 * restored cluster serves. The others are history: older values, and those of paths that were deleted since. Resources are
 * told by paths alone: there is no discovery. Memory does not depend on the number or size of values but for
 * snapshot_seen.h and, while values are opened, three times the largest of them. */
#pragma once
#include "base/text.h"
#include "engine/census.h"
#include "kube-rekey/encryption_config.h"

#define SNAPSHOT_GROUPS_MAX 1024u
#define SNAPSHOT_KEYS_BYTES (4u << 20) /* that the names and examples of keys and groups take in memory, about */

struct snapshot_options {
	const char *path;        /* of the file */
	const char *etcd_prefix; /* "/registry" */
	/* judges keys, and opens each local value of the newest state; NULL: no */
	const struct encryption_config *config;
	struct loop *loop; /* by which KMS plugins are asked to decrypt, too; NULL: they are not */
	void (*on_progress)(void *arg, uint64_t values); /* now and then; may be NULL */
	void *arg;
};
/* What lies under one beginning of paths. */
struct snapshot_group {
	char *name; /* "secrets", "widgets.example.com": the path's words, which are not always the resource's */
	bool exact; /* they are: by it a rule of the configuration is found */
	struct census_key *newest, *history;
	size_t newest_count, history_count;
	uint64_t objects; /* newest values, unknown ones too */
	uint64_t unknown, history_unknown, unreadable, does_not_open;
	char *unknown_example;
};
struct snapshot_census {
	char *file, *prefix; /* prefix: clean, "/registry" */
	bool has_hash;       /* and it is right */
	uint64_t file_bytes;
	uint64_t revision; /* that a restored etcd is at */
	uint64_t compacted_revision;
	bool config_known;
	struct snapshot_group *groups; /* with most objects first */
	size_t group_count;
	struct census_key *newest, *history; /* of all groups; in_config: any rule has it */
	size_t newest_count, history_count;
	uint64_t objects, bytes;                /* newest values */
	uint64_t history_values, history_bytes; /* tombstones are none */
	uint64_t deleted;                       /* paths that are deleted in the newest state */
	uint64_t unknown, history_unknown;      /* values of no known form */
	uint64_t unreadable;                    /* newest ones under a key that the configuration does not have */
	/* not_opened: newest encrypted ones that nobody opened, unreadable and refused ones (see census_key) among them */
	uint64_t opened, not_opened, refused;
	uint64_t decrypt_calls;
	bool plugins_asked;
	uint64_t does_not_open;
	char *does_not_open_example;
	uint64_t outside; /* values of paths that are not under the prefix, of all revisions */
	uint64_t outside_encrypted;
	char *outside_example;        /* of the encrypted ones; without any, of all */
	bool too_many_keys;           /* not all are told apart: what is beyond is counted unknown */
	struct strings needs;         /* the keys of the newest state: "aescbc/key1"; plaintext is none */
	struct strings history_needs; /* further ones of history */
	uint64_t begun, finished;     /* monotonic */
};
/* 0 also where there are findings. -ERROR_NOT_FOUND, -ERROR_IO, -ERROR_CONFLICT as reading; -ERROR_INPUT with file, place and
 * what to do for a damaged one, a wrong hash, and what is no snapshot of etcd. */
_must_check_ int snapshot_census_take(const struct snapshot_options *options, struct snapshot_census **ret,
				      struct error **err);
void snapshot_census_free(struct snapshot_census *census); /* NULL is fine */
void snapshot_census_freep(struct snapshot_census **census);
/* 0, or -ERROR_FINDING with the first reason why a restore of the newest state would lack something. */
_must_check_ int snapshot_census_verdict(const struct snapshot_census *census, struct error **err);
/* As census_opened. */
_must_check_ int snapshot_census_opened(const struct snapshot_census *census, struct error **err);
/* The document (kind SnapshotCensus), and the table for people. */
struct json_writer;
void snapshot_census_write_json(const struct snapshot_census *census, struct json_writer *w);
char *snapshot_census_table(const struct snapshot_census *census, unsigned width, bool color); /* as census_table */
