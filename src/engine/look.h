/* One look at one API server: its file, what it has loaded, since when and by which process, out of its own
 * /metrics. Keeps between
 * looks only what a look compares with: the process seen before, and the counters at the time of our last write. */
#pragma once
#include "client/kube/kube.h"
#include "engine/journal.h"
#include "engine/target.h"
#include "kube-rekey/observation.h"

#define RELOAD_POLL (60 * NS_PER_S) /* upstream's EncryptionConfigFileChangePollDuration */

struct look {
	struct kube *kube;
	char *name;    /* for people: the host's name */
	char *id_hash; /* "sha256:..." of its identity Lease's name; NULL: not known */
	bool reloads_itself;
	bool restarts; /* its agent restarts it: then only one that is ready answers */
	bool keeps_file; /* nothing is written there: on a version that shows no hash, the canary alone tells what it runs */
	bool last_is_gone; /* what was written last was removed from --out: what the server runs is looked at alone */
	bool servers_own; /* the file here (a manual target's source) is known to be the very one that the server reads */
	char *deployed; /* hash of the present file as its server shall have it: ours, or what a pipeline makes of it */
	uint64_t poll;  /* ns between two looks of the server at its file: RELOAD_POLL */
	/* from the look before */
	char *seen_id_hash; /* that its metrics showed, alone; NULL */
	uint64_t process, loaded_since, writes_since;
	char *named_others;        /* kms_named_others, where the path follows a KMS; NULL */
	bool may_adopt_another;    /* kms_may_adopt_another, likewise */
	char *ran_file, *ran_hash; /* the file that it was seen to run last, and the hash that it showed for it */
	int ran_step;
	/* at our last write of the file */
	unsigned nonces; /* files written for the present step by this process */
	char *written_hash, *replaced_hash;
	uint64_t
		written_at; /* of the rename, monotonic: the server's start is compared with it, however a clock was set since */
	uint64_t successes, failures; /* its reload counters just before the rename */
	uint64_t written_process;     /* and whose they were */
	bool counters_known;
	/* where this process wrote nothing: a file that was not loaded when it was seen first, and the failures till then */
	char *found_hash;
	uint64_t found_process, found_failures;
	bool refused_before; /* it refused a file of ours, which was put back */
	uint64_t failures_now, successes_now;
	uint64_t reloads_since; /* successes counted since the look before, by the same process */
	/* the last canary */
	int canary_step;
	uint64_t canary_at, canary_process;
};
/* Fills in everything of *ret but the canary's impossibility. Never fails: what could not be read is unknown, with
 * `why`. `now` by both clocks. */
void look_at(struct look *look, const struct target *target, const struct journal *journal, uint64_t now,
	     uint64_t wall_now, struct server_observation *ret);
/* To be called right after a file was written in the place of the one with hash `replaced`: the counters of the
 * last look are the base line. `now` is monotonic. */
void look_wrote(struct look *look, const char *sha256, const char *replaced, bool same_step, uint64_t now);
void look_free(struct look *look); /* the contents */
