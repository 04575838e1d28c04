/* A model of three API servers under rotation, with an agent beside each and a controller that directs them by orders:
 * coarser than the one of model.h in what one server and etcd do, finer in what goes on between the processes. The
 * decisions are the shipped ones: next_action and order_from_decision for the controller, order_judge and agent_alone
 * for the agents.
 *
 * Orders lie in KeyServer.spec. An agent reads the present one past every cache, or out of a cache the present or an
 * older one; what it took it has in hand until it renames the file, and anything may happen in between. A controller may
 * be stopped before it sends; another takes over with an empty memory, and the stopped one sends when it wakes. Epochs,
 * stamps and contents are renumbered after each step, so that only their order and equality remain. Servers are sorted:
 * the controller looks at them in every order, so which is which does not matter.
 *
 * A look, the decision and what the controller does itself (sweep, canary, ordering a census) are one step, and settling
 * needs that no write is on its way, for the controller as for each agent: what happens in between, and time, are model.h's. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kube-rekey/order.h"

#define SERVERS_MAX 3

enum shape { SHAPE_A, SHAPE_AB, SHAPE_BA, SHAPE_B, SHAPE_EDITED, SHAPES };
enum key { KEY_A = 1, KEY_B = 2 }; /* also as sets */

/* A file's content: which one (equal content, equal number), what it means, whether somebody else wrote it. */
typedef uint8_t content;

struct model_order {
	uint8_t what;        /* enum what in fleet.c; 0: no order */
	uint8_t to;          /* shape */
	content expect;      /* 0: it does not say */
	uint8_t epoch;       /* rank */
	uint8_t incarnation; /* of the agent */
	uint8_t flags;       /* FLAG_* in fleet.c */
};

struct model_server {
	content file, loaded, worker; /* worker: read, not yet set; 0 none */
	uint8_t up;
	/* the agent's disk */
	uint8_t epoch, incarnation;
	uint8_t written; /* shape of what it wrote last, + 1; 0: its state was wiped */
	uint8_t rescued; /* alone */
	uint8_t retired; /* which key */
	/* the agent's memory */
	uint8_t has_census; /* 2: it began when nothing was on its way */
	struct model_order hand;
	/* in the API, and in the agent's cache */
	struct model_order spec, late;
	/* of the controller that was stopped */
	struct model_order asleep;
	/* the controller's memory of it */
	uint8_t loaded_since, writes_since;
};

struct model_state {
	struct model_server servers[SERVERS_MAX];
	/* etcd: sets of keys */
	uint8_t values, in_flight, history, after_census, compacted;
	uint8_t claimed; /* epoch in KeyRotation.status */
	/* the rotation */
	uint8_t aborted; /* what a person asked for: enum asked in fleet.c */
	uint8_t back;    /* status.backFrom as a shape, + 1; 0: it goes forward */
	uint8_t rescues;
	/* the controller's memory */
	uint8_t fence_aborted, epoch, guards, guard_to, guard_rescue;
	uint8_t canary_at, settled_at, sweep_at, sweep_step, census_at, census_values, reads_at, back_at;
	/* what interfered, and how often it still may */
	uint8_t interfered, excused, broken;
	uint8_t left[12]; /* by enum budget */
	content copy;     /* kept by somebody, to be put back */
	uint8_t now;
};

enum budget {
	BUDGET_ABORT,
	BUDGET_PUT_BACK,
	BUDGET_RESTORE,  /* of etcd, KeyServers and KeyRotation included */
	BUDGET_STALL,    /* a controller is stopped before it sends */
	BUDGET_TAKEOVER, /* another controller takes over */
	BUDGET_LATE,     /* an agent's cache keeps an order that was replaced */
	BUDGET_RESTART,  /* an agent is killed */
	BUDGET_WIPE,     /* an agent's state directory is */
	BUDGET_STOP,     /* a server goes down */
	BUDGET_EDIT,
	BUDGET_ALONE, /* an agent is served no orders for long */
	BUDGET_FORGE, /* an order by somebody who may write KeyServers */
	BUDGETS
};

enum flaw {
	FLAW_NO_NONCE = 1 << 0,   /* a step's file is always the same bytes */
	FLAW_NO_WAITING = 1 << 1, /* orders are sent before all acknowledged */
	FLAW_NO_EPOCHS = 1 << 2,  /* no leader ever begins another epoch */
	FLAW_FORGET_DOWN = 1 << 3 /* a server that is down does not count, for the controller nor for agents */
};

struct scenario {
	const char *name;
	size_t servers;
	uint8_t budgets[BUDGETS];
	bool workers;    /* a server may have read a file and not set it yet */
	bool history;    /* compaction comes later than the census */
	bool copies;     /* any file may be the one that is put back, not only the first */
	bool blind;      /* agents' looks that fail to tell something */
	unsigned rules;  /* of next_action_under; 0: all */
	unsigned checks; /* of order_judge_under that are off */
	unsigned flaws;
	size_t states;  /* how many there are, exactly; 0: not asserted */
	bool must_fail; /* a never is broken, and a trace must be found */
	bool only_all;  /* larger bounds */
};

#include "model_calls.h"
