/* What was seen, when, and how well: the only thing that next_action decides from. Data without bytes of keys.
 *
 * Times are monotonic ns of the deciding process (base/clock.h); 0 is "never". Nothing here survives a restart of the
 * process but what can be seen again from outside; that is the point. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "kube-rekey/encryption_config.h"

/* Every fact is known, unknown (why) or contradictory (why). Unknown is never good news. */
enum fact { FACT_UNKNOWN, FACT_KNOWN, FACT_CONTRADICTORY };

enum loaded_evidence {
	LOADED_BY_HASH, /* last_config_info{hash} of the server's own /metrics (>= 1.34) */
	/* 1.29 to 1.33: two reload successes for two nonces, or a start after the rename; and the canary */
	LOADED_BY_RELOADS,
};

#define STEP_NONE (-1) /* a configuration that is none of the path's */

struct server_observation {
	char *name;
	uint64_t looked_at; /* when all of the below was read */
	bool answering;     /* it answered that look */
	char *why;          /* what is wrong, for people; NULL */
	char *version;      /* "v1.36.3"; NULL unknown */

	enum fact file;   /* the file as its server would read it */
	int file_step;    /* step whose meaning it has, STEP_NONE for any other */
	char *file_hash;  /* "sha256:..." */
	bool file_ours;   /* the hash is the rotation's first one or one that we wrote: not edited by hand */
	int written_step; /* step of the file that we wrote there last, by the journal; STEP_NONE: not known */
	/* several servers: the Rescue that was ordered there last failed, was refused, or waits for something, within half a minute */
	bool rescue_fails;

	enum fact loaded;
	int loaded_step;
	char *loaded_hash;   /* NULL where only counters tell */
	bool loaded_is_file; /* what runs is exactly the present file; then loaded_step is file_step */
	enum loaded_evidence evidence;
	bool needs_second_nonce; /* LOADED_BY_RELOADS: one success seen, write the same step again */
	uint64_t process;        /* identity of the process (its start time) */
	/* since when this process was seen to run this file without a break; 0 when it does not */
	uint64_t loaded_since;
	/* As loaded_since, but kept when it goes from a file that it was seen to run to the one that this process put
	 * in the place of that very file (compared and swapped), and both have the same write keys. Never later than
	 * loaded_since. */
	uint64_t writes_since;
	bool refuses_file; /* its failure counter rose while this very file stood there: it will not load it */
	/* it did so with an earlier file of ours, which was put back: not tried again by this process */
	bool refused_before;
	bool reloads_itself; /* automatic reload is on; else somebody restarts it */
	bool restarts;       /* the agent beside it does that, when ordered; then `answering` means that it is ready */
	bool restarting;     /* it was asked to, and the process from before still answers */

	int canary_step;         /* the canary was found in etcd under this step's write keys, STEP_NONE: not yet */
	uint64_t canary_at;      /* when that canary's write was sent */
	uint64_t canary_process; /* by which process it was written */
	bool canary_impossible;  /* no rule has an object that could be one: the loaded hash alone is the proof */
};

struct member_observation { /* an etcd member */
	char *name;
	bool learner;   /* does not count */
	bool answering; /* a linearizable read, within the last 5 s */
	char *why;
};

/* Values found under one key in one place. */
struct census_group {
	char *resource; /* "secrets", "widgets.example.com"; NULL: outside the map of resources */
	enum provider_type type;
	unsigned kms_version; /* 0 but for kms */
	char *name;
	char *key_id; /* of kms v2, where the path follows it or it was asked for; NULL */
	uint64_t values;
	bool unknown;  /* no key could be read: truncated, unknown form */
	bool foreign;  /* under a prefix that a person named as somebody else's */
	bool expected; /* plaintext that the servers keep for themselves: ranges/, masterleases/, ... */
	char *example; /* path of one of them, for people */
};
struct census_observation {
	uint64_t begun, finished; /* 0: none was taken by this process */
	/* every page of every etcd, whole keyspace, and this etcd proved to be the servers' */
	bool complete;
	uint64_t revision; /* of the (first) etcd */
	struct census_group *groups;
	size_t group_count;
	uint64_t does_not_open;      /* values that the target's own key bytes do not open, where bytes were at hand */
	uint64_t opened, not_opened; /* for people; not_opened: encrypted ones for which there was no key at hand */
	char *why_not_opened;        /* of the first of these; NULL */
	bool compacted;              /* a Range at R-1 of every etcd answers `compacted` */
	bool unsettled;              /* an agent that took it had not seen for itself that nothing older could land */
	/* when the servers' own compaction should have passed R; 0: never (switched off) */
	uint64_t compaction_expected;
	char *why; /* why it is not complete */
};

struct sweep_observation {
	int step;                 /* for which step; STEP_NONE: none by this process */
	uint64_t begun, finished; /* finished 0: interrupted */
	uint64_t rewritten, skipped, quarantined;
};

struct observation {
	enum fact servers_known; /* whether the set is sure */
	char *servers_why;
	struct server_observation *servers; /* those that are down included */
	size_t server_count;
	enum fact members_known;
	char *members_why;
	struct member_observation *members;
	size_t member_count;
	bool members_behind_balancer; /* weaker: only the balancer's address answers */

	/* since when no voting member and no server was silent for more than 5 s, restarted, or we paused */
	uint64_t quiet_since;
	/* A time without silence: began = quiet_since as it was when the canary of every server was written at its end
	 * (settle phase), ended = when that write was sent. Kept until the next one; 0: none by this process. */
	uint64_t settled_began, settled_ended;
	uint64_t etcd_looked_at; /* when revision and raft term of every member were last read */
	uint64_t etcd_back_at;   /* when one was last seen to have gone back, or to answer again; 0: never */

	struct census_observation census;
	struct sweep_observation sweep;

	/* Where the path follows a KMS, or brings one: why it is not known which key a plugin encrypts with; NULL: it is */
	char *kms_why;
	/* since when every server's canaries have been under the key IDs that the plugins name; 0: not yet */
	uint64_t kms_adopted_at;
	/* when etcd was seen to serve nothing more from before a census that came after settling and that found nothing under
	 * another key ID of the KMS that is followed; 0: not yet, since every server has adopted it */
	uint64_t history_ended_at;
	bool kms_moved; /* it did change its key since the rotation was asked for, or something was stored under another one */

	uint64_t reads_checked_at; /* plain GETs of a sample of each namespace succeeded on the last step */
	unsigned rescues;          /* in this rotation, one for each file written */
	bool retired;              /* the old keys were treated as asked */
	bool untouched;            /* it was given up before any file was changed: it goes back from the first step */
	char *blocked;             /* a reason only a person can take away (lock lost, foreign owner, ...); NULL */

	/* what was asked */
	uint64_t settle_time; /* ns; behind a balancer at least 15 min, unless a person said otherwise */
	bool compact;         /* --compact */
};
/* Frees everything that it points to and leaves it empty, as `(struct observation){0}`; a half-filled one is fine. */
void observation_free_contents(struct observation *observation);
void server_observation_free(struct server_observation *server); /* likewise */
void census_group_free(struct census_group *group);              /* its contents */
void census_observation_free(struct census_observation *census);
