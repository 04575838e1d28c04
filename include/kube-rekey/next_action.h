/* The decision: where on the path are the servers, and what is the next small action, or what does it wait for?
 * Pure: no I/O, no clock, no memory. The four rules it keeps: docs/architecture.md. */
#pragma once
#include "kube-rekey/observation.h"
#include "kube-rekey/path.h"

/* Names for people, from position and wait; shown, never read back. */
/* clang-format off */
#define PHASES(X) \
	X(ADD_READ_KEY, "AddReadKey") X(AWAIT_READ, "AwaitRead") X(PROMOTE, "Promote") X(AWAIT_WRITE, "AwaitWrite") \
	X(REENCRYPT, "Reencrypt") X(SETTLE, "Settle") X(VERIFY, "Verify") X(AWAIT_COMPACTION, "AwaitCompaction") \
	X(DROP_OLD_KEY, "DropOldKey") X(AWAIT_DROP, "AwaitDrop") X(RESCUE, "Rescue") X(BLOCKED, "Blocked") X(DONE, "Done")
/* clang-format on */
enum phase {
#define X(id, text) PHASE_##id,
	PHASES(X)
#undef X
};
const char *phase_name(enum phase phase);

/* What the engine shall do now. Each is small, idempotent, and judged afterwards by a new observation. */
/* clang-format off */
#define ACTIONS(X) \
	X(WAIT, "wait")             /* look again at `due` at the latest */ \
	X(WRITE_STEP, "write-step") /* put configuration `to_step` into the file of `server`, expecting `expect_hash` */ \
	X(CANARY, "canary")         /* write the canary of every server and find it in etcd */ \
	X(REENCRYPT, "reencrypt")   /* one sweep; `named_only`: of what the last census named */ \
	X(CENSUS, "census")         /* read every value of every etcd */ \
	X(RESTART, "restart")       /* let `server`, which loads its file at start only, start with it */ \
	X(COMPACT, "compact")       /* compact every etcd at its census revision */ \
	X(READ_BACK, "read-back")   /* plain GETs of a sample of each namespace */ \
	X(RETIRE, "retire")         /* treat the old keys as asked */ \
	X(BLOCKED, "blocked")       /* a person is needed */ \
	X(DONE, "done")
/* clang-format on */
enum action {
#define X(id, text) ACTION_##id,
	ACTIONS(X)
#undef X
};
const char *action_name(enum action action);

/* Why it waits, is blocked, or acts: one for each branch of the decision. */
/* clang-format off */
#define REASONS(X) \
	X(NONE, "") \
	X(SET_UNKNOWN, "the set of API servers is not known") \
	X(SERVER_DOWN, "an API server does not answer") \
	X(FILE_UNKNOWN, "a configuration file cannot be read") \
	X(FILE_EDITED, "a configuration file was changed by somebody else") \
	X(LOADED_UNKNOWN, "what a server has loaded is not known") \
	X(LOADED_FOREIGN, "a server runs a configuration that is none of this rotation's") \
	X(NOT_LOADED, "a server has not loaded its file yet") \
	X(RESTART_NEEDED, "a server must be restarted to load its file") \
	X(FILE_REFUSED, "a server refuses its file") \
	X(PUT_BACK, "a refused file is put back") \
	X(CANARY_MISSING, "a canary under the new write key is missing") \
	X(PREFLIGHT, "no census was taken yet") \
	X(CENSUS_INCOMPLETE, "the census is not complete") \
	X(UNREADABLE, "values are under a key that the servers do not have") \
	X(UNKNOWN_VALUES, "values in etcd are of no known form") \
	X(DOES_NOT_OPEN, "values do not open with the key of their name") \
	X(STALE, "values are not under the write key") \
	X(KMS_UNKNOWN, "it is not known which key a KMS plugin encrypts with") \
	X(KMS_UNMOVED, "everything is under the key ID that the KMS plugin names: change the key in your KMS now") \
	X(QUARANTINED, "objects could not be rewritten") \
	X(OUTSIDE, "values that no API serves are in the way") \
	X(NOT_LISTED, "values that no list showed us are in the way") \
	X(VERSIONS_DIFFER, "servers of different versions run (finish the upgrade, or take it back)") \
	X(SETTLING, "older writes may still land") \
	X(MEMBER_SILENT, "an etcd member does not answer") \
	X(MEMBERS_UNKNOWN, "the members of etcd are not known") \
	X(SETTLED_CENSUS, "no census since settling") \
	X(HISTORY, "etcd still serves revisions that need the leaving key") \
	X(NO_COMPACTION, "nothing compacts etcd") \
	X(LOOK_TOO_OLD, "the last look is older than 60 s") \
	X(UNREADABLE_STEP, "the step would break rule 2") \
	X(STEP, "the step is allowed") \
	X(SECOND_NONCE, "an old server must show a second reload") \
	X(BEHIND, "a file went back behind the others") \
	X(STALE_AFTER_DROP, "values under a dropped key appeared") \
	X(RESCUED_TWICE, "a key had to be put back twice") \
	X(FINAL_CENSUS, "no census since the last step") \
	X(FINAL_READS, "nothing was read back since the last step") \
	X(LAST_CANARY, "no canary since the last census shows the key that the KMS plugin names") \
	X(RETIRE, "the old key is not retired yet") \
	X(TOLD, "")                 /* observation.blocked says it */
/* clang-format on */
enum reason {
#define X(id, text) REASON_##id,
	REASONS(X)
#undef X
};
const char *reason_name(enum reason reason); /* "SETTLED_CENSUS": stable, for JSON */
const char *reason_text(enum reason reason);
/* Values or objects are in the way (exit code 1), not a rule (3). */
bool reason_is_of_objects(enum reason reason);

struct decision {
	enum action action;
	enum reason reason;
	enum phase phase;
	int step;                /* position on the path: every server is at it or one further */
	int to_step;             /* WRITE_STEP: what to write */
	int server;              /* index of the server concerned, -1: none or all */
	int member;              /* index of the etcd member concerned, -1 */
	int group;               /* index of the census group that is the reason, -1 */
	const char *expect_hash; /* WRITE_STEP: what must be in the file before; the observation's memory */
	bool named_only;         /* REENCRYPT */
	bool rescue;             /* WRITE_STEP that puts keys back: counted */
	uint64_t due;            /* when to look again at the latest, monotonic ns */
	/* WRITE_STEP and RETIRE: not to be begun after this time; look and decide again instead (rule 3d). UINT64_MAX: any time,
	 * since no key leaves. */
	uint64_t valid_until;
};

#define POLL_INTERVAL (UINT64_C(1000000000)) /* how often a wait looks again */
#define FRESH_LOOK (UINT64_C(60000000000))   /* rule 3d */
#define RESCUES_MAX 1                        /* for each server */

struct decision next_action(const struct path *path, const struct observation *observation, uint64_t now);

/* The rules, for the exploration alone: it switches off one at a time and must find what then goes wrong. */
enum rule {
	RULE_LOADED = 1 << 0,   /* 1 */
	RULE_READABLE = 1 << 1, /* 2 */
	RULE_SETTLED = 1 << 2,  /* 3a */
	RULE_CENSUS = 1 << 3,   /* 3b */
	RULE_HISTORY = 1 << 4,  /* 3c */
	RULE_FRESH = 1 << 5,    /* 3d */
	RULE_FENCED = 1 << 6,   /* 4 */
	RULES_ALL = (1 << 7) - 1,
};
struct decision next_action_under(const struct path *path, const struct observation *observation, uint64_t now,
				  unsigned rules);
