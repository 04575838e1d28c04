/* Orders: what the controller tells the agent beside one API server, and what that agent makes of it. Pure: no I/O, no
 * clock, no memory but what is passed in.
 *
 * The agent asks order_judge before it does anything, keeps agent_state on its disk, and reports both. What it can see
 * from its own node it does not take on trust: a controller that is confused, late or taken over gets nothing out of it
 * but the next legal step. The controller asks order_from_decision what to send.
 *
 * The fence. Every leader begins with a new epoch, and so do a step in which a key leaves, an abort and a Rescue
 * that does more than add read keys. An agent acknowledges an epoch (writes it to its disk, then reports it) when no
 * older order is in its hands, and refuses lower ones from then on; epochs go on from one rotation to the next. So when
 * all have acknowledged, no older order can be carried out any more, wherever it was held up.
 *
 * An epoch is claimed in KeyRotation.status by resourceVersion; an order is written over whatever lies in KeyServer.spec. Its
 * version moves with each report, every few seconds, so most orders would be refused for what is no news to them. What guards
 * them: who lost the Lease sends nothing more; what was on its way then has a lower epoch than the next leader's, and where it
 * still comes before that is acknowledged, its agent judges it by what it sees itself (what it cannot see so, a key that
 * leaves, waits for every acknowledgement). That it took the place of a newer order the next leader sees, and sends that again.
 *
 * Strings belong to the caller. Times are monotonic ns of the process that asks (base/clock.h), 0 is "never". */
#pragma once
#include "kube-rekey/next_action.h"

/* What an agent can be told. Names as in KeyServer.spec. */
/* clang-format off */
#define ORDER_ACTIONS(X) \
	X(NONE, "none")             /* nothing; the epoch of it is to be acknowledged all the same */ \
	X(WRITE_STEP, "write-step") /* put configuration `to_step` into the file, expecting `expect_hash` */ \
	X(CENSUS, "census")         /* read every value of every etcd, and report the counts and the revision */ \
	X(FIND_CANARY, "find-canary") /* find the canaries in etcd, and report under which key they are */ \
	X(COMPACT, "compact")       /* compact every etcd at its own census revision */ \
	X(MAKE_KEY, "make-key")     /* make the new keys, and report them sealed */ \
	X(RESTART, "restart")       /* let the server, which loads its file at start only, start with it */ \
	X(RETIRE, "retire")         /* treat the old keys as asked, and refuse their fingerprints from then on */
/* clang-format on */
enum order_action {
#define X(id, text) ORDER_##id,
	ORDER_ACTIONS(X)
#undef X
};
const char *order_action_name(enum order_action action);
bool order_action_from_name(const char *name, enum order_action *ret);

struct order {
	const char *rotation;    /* uid of the KeyRotation; NULL: there is no order */
	uint64_t epoch;          /* 1 and up */
	uint64_t sequence;       /* within the epoch, 1 and up */
	const char *incarnation; /* of the agent that it is for */
	enum order_action action;
	/* Steps of the path that is passed with the order: the rotation's, or where `aborted` the one of path_abort. RETIRE:
	 * `to_step` is the last one; RESTART: both are the file's. */
	int from_step, to_step;
	const char *expect_hash; /* what is in the file before; there is no order on a file without one */
	bool rescue;             /* WRITE_STEP that is not the next one: it puts keys back, or a refused file */
	bool settled; /* CENSUS for a step in which a key leaves: begun when nothing older can land any more */
	bool aborted;
	/* WRITE_STEP in which a key leaves, and RETIRE: good for so long (ns) after the agent published the report with this
	 * number, which the controller had read when it looked (rule 3d; durations alone, since clocks differ). */
	uint64_t beat, good_for;
};

/* What an agent keeps on its disk, in one file that is replaced atomically before what it says is reported. */
struct agent_state {
	const char *incarnation; /* random, made with the state directory */
	const char *rotation;    /* the one of the highest epoch; NULL: none yet */
	uint64_t epoch;          /* the highest that it acknowledged, whatever the rotation */
	uint64_t sequence;       /* of that epoch, the highest that was carried out */
	int written_step;        /* of the file that it wrote last in this rotation; STEP_NONE */
	unsigned rescues;        /* that it did alone in this rotation */
};

/* Another API server as its agent reports it, read together with the order. */
struct peer_sight {
	struct server_observation seen; /* what the report says; `answering`: the report is not old */
	const char *rotation;           /* acknowledged */
	uint64_t epoch;
	/* It has an order in hand. Every agent reports that of itself before it reads what it judges a step by, unless the step
	 * only adds read keys: so of two agents one at least sees the other. */
	bool at_work;
	/* it reports each KMS plugin that the rotation brings as well, and with the key ID that this node's has */
	bool same_plugins;
	/* the fingerprints of all keys that both have under one name, and of the trust key, are equal */
	bool same_keys;
	/* For so long (ns) before its report, which was written after `reported_after`, its agent had seen no silence; 0: it had,
	 * or that is not known. */
	uint64_t quiet_for, reported_after;
};

struct agent_sight {
	const struct server_observation *own; /* of this node, by this process */
	const char *
		path_of; /* the rotation whose path is passed, just as it says it now; NULL: of none. Steps that it counts
			      * are other ones on any other path */
	bool going_back;      /* that path is the way back (path_abort) */
	bool at_work;         /* an order was begun and is not finished */
	const bool *has_keys; /* by step: the bytes of its keys are at hand, opened and checked; NULL: of none */
	bool plugins_well;    /* each KMS plugin that the rotation brings answered this node well a moment ago */
	bool rotation_over;   /* the rotation of the state is finished or gone, by a read past every cache */

	bool away;           /* no API server serves the order now; it is an older copy */
	uint64_t away_since; /* since when none did without a break; 0: one does */
	uint64_t
		read_at; /* when the GET past every cache that showed this order and the peers was sent; 0: a cache did */
	uint64_t beat_at; /* when this process published the report number `order.beat`; 0: it did not */

	enum fact peers_known;          /* they match the set of the rotation and the identity Leases one to one */
	const struct peer_sight *peers; /* all others, those that are down included */
	size_t peer_count;

	/* The census that this very process took; NULL: none. Orders to take one go to every agent, so that none drops a
	 * key on another's word. */
	const struct census_observation *census;
	bool census_settled;   /* order_settled said so as it began */
	uint64_t etcd_back_at; /* as in observation.h, by this process */
	uint64_t quiet_since;  /* likewise */
	/* ns; a person's word, or the longest request timeout of all servers, at least 15 s: never what a controller says */
	uint64_t settle_time;
};

enum ruling {
	RULING_NOTHING,     /* there is nothing to do */
	RULING_CARRY_OUT,   /* now, and expecting `expect_hash` in the file at the swap */
	RULING_ACKNOWLEDGE, /* write order.rotation and order.epoch to the disk (sequence 0), report, and judge again */
	RULING_WAIT,        /* it may become right: look again */
	RULING_REFUSE,      /* never; reported, so that the controller sends another */
};

/* Why. One for each branch of the judgement. */
/* clang-format off */
#define GROUNDS(X) \
	X(NO_ORDER, "there is no order") \
	X(DONE_BEFORE, "the order was carried out before") \
	X(OTHER_INCARNATION, "the order is for an agent whose state directory is gone") \
	X(LOWER_EPOCH, "a newer order was acknowledged") \
	X(OTHER_ROTATION, "the order is another rotation's, which has not begun a new epoch") \
	X(ROTATION_OPEN, "the rotation that this node takes part in is not over") \
	X(AT_WORK, "an older order is still being carried out") \
	X(NEW_EPOCH, "the epoch is new") \
	X(LOWER_SEQUENCE, "a later order of this epoch was carried out") \
	X(NO_PATH, "the steps of the order's rotation are not known here yet") \
	X(FILE_UNKNOWN, "the configuration file cannot be read") \
	X(FILE_EDITED, "the configuration file was changed by somebody else") \
	X(NO_HASH, "the order does not say which file it expects") \
	X(OTHER_FILE, "the order expects another file than the present one") \
	X(OTHER_STEP, "the file is at another step than the order says") \
	X(NOT_NEXT, "the order is not for the next step") \
	X(LOSES_KEY, "a key would leave by an order that is to put keys back") \
	X(UNREADABLE_STEP, "the step would break rule 2") \
	X(NO_KEYS, "the bytes of a key are not at hand") \
	X(PLUGIN_UNWELL, "a KMS plugin that the step brings does not answer well on this node") \
	X(PLUGINS_DIFFER, "another node's KMS plugin names another key, or is not known to be well") \
	X(AWAY, "no API server answers: only read keys are added") \
	X(NOT_FRESH, "the order was not read past every cache just now") \
	X(SERVER_DOWN, "this node's API server does not answer") \
	X(LOADED_UNKNOWN, "what this node's API server has loaded is not known") \
	X(NOT_LOADED, "this node's API server has not loaded its file") \
	X(PEERS_UNKNOWN, "what the other API servers have is not known") \
	X(PEER_ELSEWHERE, "another API server does not run this step or the next") \
	X(PEER_AT_WORK, "another agent is carrying out an order")                                    \
	X(KEYS_DIFFER, "another node has other bytes under the name of a key, or another trust key") \
	X(NOT_ACKNOWLEDGED, "another agent has not acknowledged the epoch") \
	X(NO_RESTARTS, "this agent restarts no server") \
	X(RUNS_IT, "what the server would load by a restart runs already") \
	X(RESTARTING, "the server was asked to restart, and has not yet") \
	X(PEER_DOWN, "another API server is not ready: they restart one at a time") \
	X(TOO_OLD, "what the order rests upon is older than 60 s, or from before this agent's start") \
	X(NO_CENSUS, "this agent has taken no census since all servers run this step") \
	X(NOT_SETTLED, "older writes may still land, by what this agent has seen since all servers run this step") \
	X(STILL_NEEDED, "values in etcd need a key that would leave") \
	X(HISTORY, "etcd still serves revisions that need a key that would leave") \
	X(ALLOWED, "the order is allowed") \
	/* agent_alone */ \
	X(SERVED, "an API server serves orders, or did a moment ago") \
	X(ALL_WELL, "the file reads all that is known to be there") \
	X(NO_READ_KEY, "no read key alone would help") \
	X(RESCUED_TWICE, "a key had to be put back twice") \
	X(WENT_BACK, "the file went back behind what was written here") \
	X(UNREADABLE, "values are under a key that the file does not have")
/* clang-format on */
enum ground {
#define X(id, text) GROUND_##id,
	GROUNDS(X)
#undef X
};
const char *ground_name(enum ground ground); /* "LOWER_EPOCH": stable, for KeyServer.status and JSON */
const char *ground_text(enum ground ground);

struct verdict {
	enum ruling ruling;
	enum ground ground;
	int to_step; /* CARRY_OUT: of a file to write, STEP_NONE else */
	int peer;    /* index of the peer that is the reason, -1 */
	int group;   /* index of the own census' group that is the reason, -1 */
};

#define ORDER_FRESH UINT64_C(10000000000) /* how long a read past every cache holds good */
#define ALONE_AFTER UINT64_C(60000000000) /* so long no API server served orders before an agent helps itself */
#define ALONE_RESCUES_MAX 1               /* in a rotation */

/* What an agent does with an order. The first question that is not answered well decides: is it for me, is it the
 * newest, is the file the expected one, is it the next legal step, and is that step safe by what this node sees. A file
 * that only gains read keys, or that goes back to what its server runs without losing one, needs no more; one that changes
 * a write key needs a fresh order, a server that has loaded the file, and peers that run this step or the next with the
 * same keys; one in which a key leaves, and RETIRE, need moreover every peer's acknowledgement, a report of less than
 * 60 s, and this agent's own census, begun when order_settled. */
struct verdict order_judge(const struct path *path, const struct order *order, const struct agent_state *state,
			   const struct agent_sight *sight, uint64_t now);

/* Rule 3a by an agent's own watch and by what the others report of theirs: since all servers run the step of this node's file,
 * nobody has been silent for the settle time, each as its own agent sees it. Asked as a census begins: what is silent later
 * holds nothing up that is older. */
bool order_settled(const struct agent_sight *sight, uint64_t now);

/* What an agent does from its own state when no API server has served it orders for ALONE_AFTER (each server may lack
 * the key that the orders themselves are under). It only ever adds a read key, to a file that is as we left it: the next
 * one of a file that went back behind what was written here, or one that values of its own census are under.
 * CARRY_OUT: write `to_step`, expecting the present hash, and count it in agent_state.rescues. */
struct verdict agent_alone(const struct path *path, const struct agent_state *state, const struct agent_sight *sight,
			   uint64_t now);

/* --- the controller's side --- */

/* What an agent reported last (KeyServer.status). */
struct agent_report {
	const char *incarnation; /* NULL: it never reported */
	const char *rotation;
	uint64_t epoch;    /* acknowledged */
	uint64_t sequence; /* of that epoch, the highest that was carried out */
	/* what came of the order with this number of that epoch, in KeyServer's words; 0: of none, since the process that
	 * carried one out is gone, or none was */
	uint64_t done;
	const char *done_action, *done_result;
	uint64_t beat;         /* number of the report */
	uint64_t beat_read_at; /* when this process had read it */
};

/* What a leader remembers of its epoch. `(struct fence){.to_step = STEP_NONE}` to begin with: after taking over, and
 * when the rotation is aborted. */
struct fence {
	const char *rotation;
	bool aborted;
	uint64_t epoch;    /* 0: none yet */
	uint64_t sequence; /* of the last order */
	/* the last order, and what the epoch is for where that must be acknowledged first */
	bool guards;
	int to_step;
	bool rescue;
};

/* Whoever is not sent `order` is sent order_none(&fence), unless that is what it has: what was ordered before is withdrawn,
 * and the epoch is there to be acknowledged. */
enum dispatch_kind {
	DISPATCH_NOTHING,   /* the decision is nothing for agents */
	DISPATCH_NEW_EPOCH, /* first claim fence.epoch in KeyRotation.status by resourceVersion */
	DISPATCH_WAIT,      /* `agent` has not acknowledged the epoch */
	DISPATCH_SEND,      /* `order` to `agent`, or to all where that is -1; addressed by order_address */
};
struct dispatch {
	enum dispatch_kind kind;
	int agent;          /* index, -1 */
	struct order order; /* SEND */
	struct fence fence; /* what to remember once it is done */
};
struct order order_none(const struct fence *fence);

/* One more than the highest that any agent reports and than the one that the KeyRotation names (`claimed`): an etcd that
 * was restored lowers the latter, a state directory that was wiped the former. */
uint64_t epoch_next(const struct agent_report *agents, size_t count, uint64_t claimed);
/* Whether every agent acknowledged exactly this epoch of this rotation; else the first that has not. */
bool orders_acknowledged(const struct agent_report *agents, size_t count, const char *rotation, uint64_t epoch,
			 int *missing);
/* Whether it is known that the server, whatever its file says, writes as with the files of `step`. */
bool server_writes_as(const struct path *path, const struct server_observation *server, size_t step);
/* Whether the decision's order may be sent only after every agent acknowledged a new epoch: a key leaves by it, it is a
 * Rescue by which a write key changes, it retires keys, or the rotation is aborted. A Rescue after which its server writes as its
 * file says now, or as it writes already, is sent at once: it takes nothing from anybody whatever else is under way, the hash
 * that it expects keeps it from any other file, and the agent to be asked may be gone, or be the one who cannot read anything
 * without it. */
bool order_is_guarded(const struct path *path, const struct observation *seen, const struct decision *decision,
		      bool aborted);
/* What a leader sends for a decision. `agents` are those of the observation's servers, in that order. An epoch that is
 * higher than the leader's in a report makes it begin a new one: whoever made it, or an etcd that was restored. */
struct dispatch order_from_decision(const struct path *path, const struct observation *seen,
				    const struct decision *decision, const struct fence *fence,
				    const struct agent_report *agents, uint64_t claimed);

/* Fills in what differs from agent to agent: incarnation, the hash that is expected, and how long the order is good. */
void order_address(struct order *order, const struct server_observation *server, const struct agent_report *agent,
		   uint64_t valid_until);
/* Whether `wanted` need not be sent, since it is what lies there (`out`, but for sequence, beat and good_for) and has not
 * been carried out yet: a file that somebody put back needs the same order once more. It may still be sent to make it good
 * for longer. */
bool order_is_out(const struct order *out, const struct order *wanted, const struct agent_report *agent);

/* What came of an order that was sent. */
enum outcome {
	OUTCOME_OPEN, /* the agent has yet to say */
	OUTCOME_OK,
	OUTCOME_FAILED,
	OUTCOME_REFUSED,
	/* It will never be told: the agent that carried it out was started anew, or it went on to a newer epoch or with a new
	 * state directory. As if it had failed: it is ordered once more, where it is still wanted. */
	OUTCOME_LOST,
};
enum outcome order_outcome(const struct order *order, const struct agent_report *agent);

/* --- for the exploration alone: it switches off one at a time and must find what then goes wrong --- */

enum order_check {
	CHECK_INCARNATION = 1 << 0,
	CHECK_EPOCH = 1 << 1,
	CHECK_HASH = 1 << 2,
	CHECK_STEP = 1 << 3,   /* the next one, and rule 2 */
	CHECK_FRESH = 1 << 4,  /* away, and a read past every cache */
	CHECK_LOADED = 1 << 5, /* this node's server */
	CHECK_PEERS = 1 << 6,
	CHECK_ACKNOWLEDGED = 1 << 7,
	CHECK_AGE = 1 << 8,
	CHECK_CENSUS = 1 << 9, /* and history */
	CHECK_SETTLED = 1 << 10,
	CHECKS_ALL = (1 << 11) - 1,
};
struct verdict order_judge_under(const struct path *path, const struct order *order, const struct agent_state *state,
				 const struct agent_sight *sight, uint64_t now, unsigned checks);
