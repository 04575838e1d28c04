/* A model of a cluster under rotation, small enough to visit every state of it: servers with their files and reload
 * workers, what etcd holds now and in its history, writes in flight, people and tools that interfere, and our own
 * process with nothing but its memory. The decision is the shipped next_action, called with an observation built from
 * the facts of the last look.
 *
 * One rotation from key A to key B, in the shapes [A] [A,B] [B,A] [B]; an abort turns it round. Values are not told
 * apart: what is kept of etcd is under which keys there are values now, and in the revisions that can still be read.
 * Time is a number that grows by 1 with each thing done and by TICK when a time passes that is longer than settling,
 * than 60 s and than two compaction intervals; stamps are renumbered after each step, so that only their order remains,
 * and which are older than that time. A look and the decision that rests on it are one step: what happens between
 * decision and deed happens as well between look and decision. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kube-rekey/next_action.h"

#define SERVERS_MAX 2

enum shape { SHAPE_A, SHAPE_AB, SHAPE_BA, SHAPE_B, SHAPE_EDITED, SHAPES };
enum key { KEY_A = 1, KEY_B = 2 }; /* also as sets */
/* HIDDEN: of a resource that is served, but no list shows it. */
enum odd { ODD_NONE, ODD_OUTSIDE, ODD_HIDDEN, ODD_UNKNOWN_FORM, ODD_DOES_NOT_OPEN };
/* How a look can go: as it should, slowly (a minute passes before the decision), or without telling something. */
enum glance {
	LOOK_WELL,
	LOOK_SLOWLY,
	BLIND_SET,
	BLIND_FILE,
	BLIND_LOADED,
	BLIND_MEMBERS,
	BLIND_VERSIONS,
	BLIND_TOLD,
	GLANCES
};

/* A file's content: which one it is (equal content, equal number), what it means, and whether we wrote it. One byte. */
typedef uint8_t content;

struct model_server {
	/* the world */
	content file, loaded;
	content worker;  /* read, not yet set; 0 none */
	content written; /* what we wrote there last, by the journal */
	uint8_t up;
	uint8_t refused; /* the present file was refused */
	/* our process' memory of it */
	content known_loaded;
	uint8_t process_known; /* it has not been restarted since the last look */
	uint8_t loaded_since, writes_since;
	uint8_t canary_at, canary_shape;
	uint8_t proof; /* by reloads: how far two nonces have come; see PROOF_* in model.c */
	uint8_t refused_before;
	content ordered_on; /* the file that the order at hand rests on */
	uint8_t replaced;   /* `written` was put in the place of known_loaded, by us */
};

struct model_state {
	struct model_server servers[SERVERS_MAX];
	/* etcd: sets of keys */
	uint8_t values, in_flight, history;
	uint8_t after_census; /* in revisions from the last census' on */
	uint8_t compacted;    /* up to the last census' revision */
	uint8_t odd;
	uint8_t silent; /* a member is stopped */
	/* the rotation */
	uint8_t aborted;
	uint8_t retired;
	uint8_t rescues;
	/* what interfered, and how often it still may */
	uint8_t interfered, excused; /* what somebody else put there may itself be unreadable, for a while */
	uint8_t broken;              /* a never that a thing done broke; enum broken in model.c */
	uint8_t left[8];             /* by enum budget */
	content copy;                /* kept by somebody, to be put back */
	/* a process that was stopped with an order in hand */
	uint8_t stale, stale_server, stale_to, stale_old;
	content stale_basis, stale_expect;
	/* our process' memory */
	uint8_t census_at, census_complete, census_values, census_odd;
	uint8_t sweep_at, sweep_step, sweep_finished, sweep_quarantined;
	uint8_t settled_began, settled_ended, quiet_since;
	uint8_t etcd_seen, etcd_restored, back_at, reads_at;
	/* what it decided and has not done yet */
	uint8_t looked_at; /* where the order is good for a time only */
	uint8_t pending, pending_server, pending_to, pending_settle, pending_rescue, pending_limited;
	content pending_expect;
	uint8_t now;
};

enum budget {
	BUDGET_ABORT,
	BUDGET_PUT_BACK,
	BUDGET_RESTORE,
	BUDGET_STALL,
	BUDGET_REFUSE,
	BUDGET_QUARANTINE,
	BUDGET_COPY,
	BUDGET_EDIT,
	BUDGETS
};

/* Ways in which the engine around next_action could be wrong: each must be found. */
enum flaw {
	FLAW_NO_NONCE = 1 << 0,     /* a step's file is always the same bytes */
	FLAW_NO_SILENCE = 1 << 1,   /* silence does not begin settling again */
	FLAW_NO_PROCESS = 1 << 2,   /* a restarted server is not noticed */
	FLAW_NO_REVISION = 1 << 3,  /* a revision that went back is not noticed */
	FLAW_OLD_ORDERS = 1 << 4,   /* valid_until is not looked at */
	FLAW_SWAP_BLINDLY = 1 << 5, /* expect_hash is not looked at, nor whether that mattered: what does it lead to? */
};

struct scenario {
	const char *name;
	size_t servers;
	uint8_t budgets[BUDGETS];
	bool by_reloads;   /* servers without the hash metric */
	bool no_reload;    /* servers that a person restarts */
	bool restarts;     /* no_reload, and it is ours to restart them */
	bool no_stops;     /* servers do not go down */
	bool no_silence;   /* members of etcd do not */
	bool blind;        /* looks that fail to tell something */
	bool compact;      /* --compact */
	bool odd;          /* values of every odd kind are there from the start */
	bool undoes;       /* a file is put back over an edited one only */
	bool skips_a_step; /* the path is [A] [B,A] [B]: against rule 2 */
	unsigned rules;    /* of next_action_under; 0: all */
	unsigned flaws;
	size_t states;  /* how many there are, exactly; 0: not asserted */
	bool person;    /* it may be blocked without anybody having interfered */
	bool must_fail; /* a never is broken, and a trace must be found */
	bool only_all;  /* larger bounds */
};

#include "model_calls.h"
