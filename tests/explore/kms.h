/* A model of one API server whose configuration stays as it is while its KMS plugin changes the key that it encrypts with, as
 * `rotate --follow-kms` sees it; small enough to visit every state. The decision is the shipped next_action, and what ends history
 * the shipped kms_take_history.
 *
 * Two keys of the KMS. A server asks its plugin in two steps: it is told of a key, and shows in its metrics which one it was told
 * of last; then it writes with it. What is kept of etcd is under which keys there are values now, and in the revisions that can
 * still be read. Time: stamps.h. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kube-rekey/next_action.h"

enum key { KEY_1 = 1, KEY_2 = 2 }; /* also as sets */
enum budget { BUDGET_MOVE, BUDGET_SICK, BUDGET_RESTART, BUDGET_DEATH, BUDGET_UNANSWERED, BUDGETS };

struct model_state {
	/* the KMS and its plugin */
	uint8_t plugin, sick;
	/* the server: which key it writes with, was told of and has not adopted yet; which ones its metrics name, and the last */
	uint8_t adopted, told, named_set, newest;
	/* etcd: sets of keys */
	uint8_t values, in_flight, history;
	uint8_t after_census; /* in revisions from the last census' on */
	uint8_t compacted;    /* up to the last census' revision */
	uint8_t silent;       /* a member is stopped */
	/* the rotation, and what its journal keeps */
	uint8_t followed, moved, retired;
	uint8_t left[BUDGETS]; /* how often it still may, by enum budget */
	/* our process' memory */
	uint8_t why,
		lacked; /* the last answer of the plugin was a flaw; it was one that lacked, which need not be the server's */
	uint8_t process_known; /* the server has not been started again since the last look */
	uint8_t may_adopt;     /* of the last look: another key was named last */
	uint8_t shows;         /* of the last look: its metrics tell which keys were named */
	uint8_t other_since_look, other_since_adopted, has_adopted_names;
	uint8_t adopted_at, history_at, loaded_since;
	uint8_t canary_at, canary_shown;
	uint8_t census_at, census_complete, census_values;
	uint8_t sweep_at, sweep_finished;
	uint8_t settled_began, settled_ended, quiet_since, reads_at;
	/* what it decided and has not done yet */
	uint8_t pending, pending_settle;
	uint8_t broken;
	uint8_t now;
};

/* Ways in which the engine around next_action could be wrong: each must be found. */
enum flaw {
	FLAW_NO_NAMES = 1 << 0,   /* keys that the server was told of meanwhile are not looked for in its metrics */
	FLAW_NO_SILENCE = 1 << 1, /* silence does not begin settling again */
};

struct scenario {
	const char *name;
	uint8_t budgets[BUDGETS];
	bool no_silence;
	bool compact;   /* --compact */
	unsigned rules; /* of next_action_under; 0: all */
	unsigned flaws;
	size_t states; /* how many there are, exactly; 0: not asserted */
	bool must_fail, only_all;
};

#include "model_calls.h"
