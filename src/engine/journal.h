/* The journal of one rotation: a dot-file without key bytes beside the EncryptionConfiguration that says where the
 * rotation is going and
 * which hashes it has written. Not needed for safety: positions come from observations; the journal gives the
 * intent (which
 * keys leave), so that the same command goes on.
 *
 * ".<file>.kube-rekey.journal", JSON, replaced atomically, mode 0600. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"
#include "base/json_writer.h"
#include "base/text.h"
#include "kube-rekey/path.h"

#define JOURNAL_MAX (4u << 20) /* bytes */
#define JOURNAL_HASHES_MAX 4096
#define JOURNAL_HASHES_OF_A_STEP 64 /* kept: the first, and the newest */

struct journal_hash {
	int step;
	char *sha256; /* "sha256:..." */
	bool pending; /* about to be put in place: not seen there yet */
	/* such a one puts a key back, and nobody ordered it: counted once it is in place */
	bool rescue, alone;
};
struct journal {
	char *rotation; /* its name: "rekey-20261122T1103Z-3f9a1c" */
	char *started;  /* RFC 3339 */
	char *cluster;  /* uid of its Namespace kube-system; NULL: not known, or an earlier version wrote it */
	struct path *path;
	struct journal_hash *hashes; /* the file's first hash (step 0), then each that we were about to write */
	size_t hash_count;
	struct strings old_keys;  /* labels: "aescbc/key1" */
	struct strings new_keys;  /* "secretbox/rekey-..." */
	struct strings servers;   /* the set, by Lease name: it only grows */
	struct strings forgotten; /* those that a person said are gone for good */
	struct strings
		key_ids; /* of a KMS that is followed: "NAME\nKEYID", those that its plugin named or values were under */
	bool kms_moved;  /* there were others than the first */
	char *request;   /* what was asked, in one line: another request is another rotation */
	unsigned rescues, alone; /* files with a key that was put back; those of them that nobody ordered */
	bool no_alone;           /* it was read, and does not tell the latter: an earlier version wrote it */
	uint64_t objects_before; /* by the first census */
	bool retired;
	bool copied;     /* a sealed copy of its new keys was made */
	bool going_back; /* the path is the way back of a rotation of several servers that was aborted */
};
char *journal_path(const char *config_path);      /* new string */
char *journal_lock_path(const char *config_path); /* ".<file>.kube-rekey.lock" */
/* 0 and NULL in *ret when there is none. -ERROR_INPUT for one that cannot be read. */
_must_check_ int journal_read(const char *config_path, struct journal **ret, struct error **err);
/* The same from memory; `path` is for messages. */
_must_check_ int journal_parse(const char *path, const char *text, size_t len, struct journal **ret,
			       struct error **err);
_must_check_ int journal_write(const char *config_path, const struct journal *journal, struct error **err);
void journal_write_json(struct json_writer *w, const struct journal *journal); /* what is in the file */
/* Keeps it under a second name, "...journal.aside-<n>", for a person to look at: *ret_aside (new string). The next
 * journal_write takes its place, so that at no instant the servers that it names are forgotten. */
_must_check_ int journal_set_aside(const char *config_path, char **ret_aside, struct error **err);
_must_check_ int journal_remove(const char *config_path, struct error **err);
/* Where no rotation goes on: its path is the present configuration alone, so that a look can say whether it is loaded. */
struct journal *journal_of_present(const struct config_shape *shape, const char *sha256);
void journal_add_hash(struct journal *journal, int step, const char *sha256, bool pending);
/* One that is about to be put in place: pending. */
void journal_add_next(struct journal *journal, int step, const char *sha256, bool rescue, bool alone);
/* A hash that is in place is not pending any more, and counts as the Rescue that it is. Whether that is news. */
bool journal_in_place(struct journal *journal, const char *sha256);
/* Of another cluster than the one with this uid; where either is not known it is taken for this one's. */
bool journal_is_of_another(const struct journal *journal, const char *cluster);
/* One that names no cluster is of the one with this uid (NULL: not known) once that cluster's server runs a file of it: `loaded`,
 * NULL where that is not known. Whether that is news. */
bool journal_take_cluster(struct journal *journal, const char *cluster, const char *loaded);
/* The file that was written last, NULL: none. One that is pending was not, unless it is the `present` one. */
const struct journal_hash *journal_written(const struct journal *journal, const char *present);
/* Its step, or STEP_NONE. */
int journal_written_step(const struct journal *journal, const char *present);
/* The step that was written with this hash (the newest one), STEP_NONE when it is none of ours. */
int journal_step_of(const struct journal *journal, const char *sha256);
/* Whether a hash was known before the present file, which has `present`, was written: it is no proof of that one. */
bool journal_is_older(const struct journal *journal, const char *sha256, const char *present);
/* Whether a file in which a new key writes was put in place, or was about to be: values may be under it. */
bool journal_promoted(const struct journal *journal);
/* What was written on the path is known on the way back over it, too; `back` is taken over. What was about to be written
 * beyond the step that it begins with never was. */
void journal_turn_back(struct journal *journal, struct path *back);
void journal_free(struct journal *journal);
void journal_freep(struct journal **journal);
