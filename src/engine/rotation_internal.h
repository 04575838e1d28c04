/* What the files of the rotation share: rotation.c decides and keeps count, rotation_open.c begins, rotation_act.c
 * does the steps,
 * rotation_report.c tells. */
#pragma once
#include <stdio.h>
#include "engine/canary.h"
#include "engine/joiners.h"
#include "engine/keys.h"
#include "engine/kms_follow.h"
#include "engine/look.h"
#include "engine/node_flags.h"
#include "engine/quiet.h"
#include "engine/read_back.h"
#include "engine/rotation.h"
#include "engine/server_set.h"
#include "client/kube/lock.h"

#define STALE_NAMED_MAX 10000 /* objects that a census names for a repeated sweep; more: a whole sweep again */

struct rotation {
	struct rotation_options options;
	struct cluster *cluster;
	struct target *target;
	struct journal *journal;
	struct keys keys;                    /* every key that a step may need */
	struct encryption_config *to_config; /* --to FILE; NULL */
	struct old_keys_policy old_key;
	struct strings foreign_prefixes; /* the cluster's; with an agent, and those of its KeyRotation */
	char *retired_directory;         /* where old keys lie: STATE_DIRECTORY/retired */
	char *held_directory;            /* where new keys lie until the rotation is done: STATE_DIRECTORY/rotating */
	unsigned rescues_before;         /* by processes before this one, which a person has begun again since */
	struct seal *new_key_seal;       /* NULL: none */
	uint64_t settle_time;
	char *cluster_uid; /* of its Namespace kube-system; NULL: not known */
	char *opened_file,
		*opened_journal; /* hashes of file and journal as rotation_open read them; journal NULL: none */
	int lock_fd;             /* -1: not taken */
	struct kube_lock *lock;
	FILE *record;
	char *pending_journal;        /* set aside when the run begins: why; NULL */
	struct journal *unbegun;      /* a journal on disk that had changed nothing: its servers go on; NULL */
	struct rotation_report *done; /* the journal's rotation was done, and whoever did it died clearing up; NULL */
	bool cleared;                 /* manual: its old key was retired, and what it wrote last is no more in --out */

	/* what was seen by this process */
	struct look look;
	struct node_flags flags;
	char *flags_changed; /* in what way, by the last look; NULL */
	bool reads_own;      /* the server was seen to read the file here when this began */
	struct kube *servers[1];
	struct quiet *quiet;
	struct server_set set;  /* as others than the servers themselves tell it */
	uint64_t set_looked_at; /* others were last asked; 0: never */
	bool set_known, set_grew;
	bool set_named; /* Nodes or pods of API servers were seen: one that is down would be, too */
	uint64_t set_seen_at;
	struct api_server *leases; /* of each name: its identity Lease, as it was seen */
	size_t lease_count;
	char *set_why, *blocked;
	struct observation seen; /* of the last look */
	uint64_t settled_began, settled_ended;
	uint64_t members_asked; /* when the etcds were last asked for their members because one was silent */
	struct census *census;
	struct census_observation census_seen; /* begun 0: none */
	bool tell_key_ids;                     /* of the next one, though no path follows a KMS */
	uint64_t census_calls;                 /* of Decrypt, by the one under way */
	uint64_t compaction_asked;             /* when etcd was last asked whether it has compacted */
	struct sweep_observation sweep;
	uint64_t kms_asked, kms_hurried, kms_adopted_at, history_ended_at;
	struct kms_changes kms_changes;
	char *kms_why;                /* why a plugin's key ID is not known; NULL */
	char *kms_named;              /* look.named_others before the canary by which the server showed its key; NULL */
	struct strings kms_named_ids; /* that the plugins of the configuration name, those that only read included */
	struct strings kms_named_by;  /* and their providers, one for each */
	char *kms_untold;             /* of one of them it is not known: why; NULL */
	bool kms_lacked;          /* a plugin lacked an answer since then, and what it named meanwhile is not known */
	bool kms_news;            /* the journal says more of it than the disk */
	uint64_t file_checked_at; /* during a sweep */
	unsigned file_differed;
	uint64_t reads_checked_at;
	struct refusals read_refusals;
	struct joiners joiners;
	bool retired;
	bool alone;    /* an agent acts, and nobody ordered it */
	char *trouble; /* of the last action that failed and will be tried again; NULL */
	/* objects that the last census named */
	struct sweep_object *stale;
	size_t stale_count;
	bool stale_complete;

	/* for the report */
	struct rotation_report *report;
	bool told; /* its end is in it */
	enum phase phase;
	uint64_t phase_since, phase_began;
	bool in_phase;
	uint64_t began;
};

void rotation_note(const struct rotation *rotation, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The owned trouble text, replaced; NULL clears. */
void rotation_trouble(struct rotation *rotation, const char *text);
/* A reason that only a person can take away; takes over `why`. */
void rotation_block(struct rotation *rotation, char *why);
/* One look at everything; fills rotation->seen. */
void rotation_observe(struct rotation *rotation);
/* -ERROR_REFUSED when the API server that was looked at last runs with other flags than this process took. */
_must_check_ int rotation_check_flags(const struct rotation *rotation, struct error **err);
/* Looks at the server alone, into seen.servers[0]. */
void rotation_look_at(struct rotation *rotation, uint64_t now);
/* Adds the bytes of the journal's keys that are kept in the state directory. */
_must_check_ int rotation_load_kept(struct rotation *rotation, struct error **err);
/* Begins the watch over silence, once. */
void rotation_watch(struct rotation *rotation);
/* A member of etcd that is silent may have been removed: asks etcd who its members are, now and then. */
void rotation_ask_for_members(struct rotation *rotation);
void observation_forget(struct observation *seen); /* frees what a look has made */
/* Does what was decided. 0 (done, or to be tried again: rotation->trouble), or an error that ends the run. */
_must_check_ int rotation_act(struct rotation *rotation, const struct decision *decision, struct error **err);
/* The texts of all steps, made one from the other and thrown away: what cannot be written (a node with an anchor) is told
 * before anything is. `first` is the configuration that the path begins with. */
_must_check_ int rotation_rehearse(const struct rotation *rotation, const struct encryption_config *first,
				   struct error **err);
_must_check_ int rotation_census_now(struct rotation *rotation, struct error **err);
/* The canary of this rotation's server; its map is NULL before the first census. */
struct canary_options rotation_canary_options(const struct rotation *rotation);
/* Sealed copies of the new keys, where they are asked for (new_key_seal); the journal in memory says so. */
_must_check_ int rotation_copy_new_keys(struct rotation *rotation, struct error **err);
/* Objects under the rules of the path, by the last census. */
uint64_t rotation_objects(const struct rotation *rotation);
/* -ERROR_REFUSED when file or journal are not what rotation_open read: another process was at work. */
_must_check_ int rotation_same_as_opened(const struct rotation *rotation, struct error **err);
/* What is said about a new key without a copy, at promotion and in the report. */
#define ONLY_COPY_RISK "losing this disk loses etcd's backups too (--new-key-copy seal:CERT)"
/* For an agent, which `restarts` its server or has one that reloads by itself: this node's file, with whatever may stop a
 * rotation of it (-ERROR_REFUSED), and with a path of the present
 * configuration alone until rotation_take_journal gives it another (taken over; of the same file). No lock is taken, for an
 * agent's orders are fenced, and nothing is cleared up, for another agent may be at work. */
_must_check_ int rotation_open_node(struct cluster *cluster, const char *config_path, const char *state_directory,
				    bool restarts, struct rotation **ret, struct error **err);
void rotation_take_journal(struct rotation *rotation, struct journal *journal);
/* Taking and giving back both locks. */
_must_check_ int rotation_lock(struct rotation *rotation, struct error **err);
void rotation_unlock(struct rotation *rotation);
/* What a phase came to, for people; new string. */
char *rotation_phase_text(const struct rotation *rotation, enum phase phase);
/* Following a KMS (rotation_kms.c). To begin with: the key IDs that the plugins name are put into the journal's path;
 * -ERROR_REFUSED when nothing is written with KMS v2, or a plugin is not well. Then, each look: whether they are others now, and
 * then nothing that was proved before counts. */
_must_check_ int rotation_kms_follow(struct rotation *rotation, struct error **err);
void rotation_kms_observe(struct rotation *rotation);
/* What the plugins answered, taken in: another answer than the key ID that is followed begins the proof that the server adopted it
 * again; one that is lacking is waited for. */
struct kms_look;
void rotation_kms_take(struct rotation *rotation, const struct kms_look *looks, size_t count);
/* After each look at the server: whether it adopted no other key ID since it showed this one, as far as it tells. Where it does
 * not tell, an answer that was lacking begins the proof again, too. */
void rotation_kms_compare(struct rotation *rotation);
/* Whether history is over, and whether the last census found a key ID that came and went. */
void rotation_kms_take_history(struct rotation *rotation, const struct observation *seen);
/* What a canary showed: under the key IDs that the plugins name, or not. What is in the way of the server's having adopted them;
 * NULL: it has. */
const char *rotation_kms_canary(struct rotation *rotation, bool shown);
/* Lets the server ask its plugins now, not up to a minute later; now and then, for asked too often it answers from memory. */
void rotation_kms_hurry(struct rotation *rotation);
/* Key IDs of KMS providers: counted from the last census; what is told of those that left, once `revision`
 * and `finished` of the report are known. */
void rotation_kms_report_begin(const struct journal *journal, struct rotation_report *report);
void rotation_kms_seen(struct rotation *rotation);
/* Providers of the configuration whose plugins name a key: for sure, or by what may be another name of it; NULL: none does. */
struct kms_named {
	const char *by, *perhaps_by;
};
/* One more of them: what it names beside the key in question. `name` must outlive it. */
void kms_named_take(struct kms_named *named, const char *key_id, const char *name, const char *named_id);
/* What is left to say of a key ID that no value of this provider is under: new string. */
char *rotation_kms_left_text(const struct rotation_report *report, const struct strings *new_keys,
			     const struct rotation_key_id *key, const struct kms_named *named);
/* What the plugins of the last configuration name, which may take seconds; then what is told of it, which takes none. */
void rotation_kms_ask_last(struct rotation *rotation);
void rotation_kms_tell_left(struct rotation *rotation);
/* "was done at ...": of a rotation that this process found ended; new string. */
char *rotation_ended_text(const struct rotation *rotation);
/* The report, as far as it goes; and what an earlier process of the same rotation kept of it (report_store.h). */
void rotation_report_begin(struct rotation *rotation);
void rotation_report_go_on(struct rotation *rotation);
/* What was kept of the journal's rotation, where that says Done; NULL: it does not, or the KMS that was followed has to be asked
 * again in any case. */
struct rotation_report *rotation_report_done(const struct rotation *rotation);
/* That becomes the report; where it is not there, what is still known. */
void rotation_report_take_done(struct rotation *rotation);
void rotation_report_census(struct rotation *rotation);
/* Where this process rotates, and not only looks. What cannot be kept is noted: no rotation stops for it. */
void rotation_report_keep(struct rotation *rotation);
void rotation_report_phase(struct rotation *rotation, enum phase phase, uint64_t now);
void rotation_report_sweep(struct rotation *rotation, const struct sweep_result *result);
/* The values that no API serves and that are why it is blocked. */
void rotation_report_outside(struct rotation *rotation, const struct decision *decision);
/* The second time only the outcome. */
void rotation_report_end(struct rotation *rotation, const char *outcome);
