/* Between the controller's own files: controller.c leads and decides, controller_look.c observes, controller_act.c orders
 * and does, controller_tell.c writes KeyRotation.status, controller_path.c works out where the rotation goes,
 * controller_abort.c turns it back, controller_hold.c keeps it where a person wants it, controller_queue.c which one goes on,
 * controller_evidence.c keeps what was proved, controller_drift.c looks while nothing is rotated,
 * controller_event.c tells events, controller_kms.c holds KMS plugins against one another, controller_skip.c and
 * controller_sweep.c say what a sweep may leave alone and whether it may go on, controller_show.c shows monitoring how it
 * is. */
#pragma once
#include <stdio.h>
#include "client/kube/custom.h"
#include "client/kube/lock.h"
#include "base/clock.h"
#include "engine/joiners.h"
#include "engine/canary.h"
#include "engine/controller.h"
#include "engine/controller_view.h"
#include "engine/drift.h"
#include "engine/fleet.h"
#include "engine/fleet_room.h"
#include "engine/key_rotation.h"
#include "engine/kms_follow.h"
#include "engine/look.h"
#include "engine/server_set.h"
#include "engine/sweep.h"
#include "engine/wake.h"
#include "kube-rekey/next_action.h"

/* What is kept of one server of the rotation's set. */
struct directed {
	char *name;
	struct kube *kube;           /* its own address; NULL: not found yet */
	struct key_server_spec sent; /* the last order */
	uint64_t sent_at;            /* when it was sent first */
	uint64_t renewed_at;         /* when it was sent last */
	/* since when it is seen to have an older file than it was given, in this process; 0: it has not */
	uint64_t behind_since, behind_process;
	char *failed; /* why its last order of failed_by failed, until one does not; NULL */
	enum order_action failed_by;
	/* the hash of its file, and when that should be loaded, by the wall clock */
	char *file;
	uint64_t reload_by;
	uint64_t rescue_failed_at; /* when a Rescue was last seen to come to nothing there; 0: none was */
	/* by its own /metrics */
	bool scraped;
	uint64_t scraped_at;
	char *loaded_hash;
	uint64_t process;
	const struct apiserver_metrics *metrics; /* lent until the next look; NULL: not scraped */
	char *named_put; /* kms_named_others just before the canary that is looked for; NULL: not told */
	bool adopts_put; /* and whether it might have been adopting another key ID then */
	char *named;     /* the same of the canary by which it showed the key that is followed */
	bool adopted;    /* it showed it when kms_adopted_at began */
	/* the last canary that was found, and the one that is looked for */
	int canary_step;
	uint64_t canary_at, canary_process;
	uint64_t written_at, written_process;
	/* what its agent reported as the sweep that goes on began */
	struct {
		char *file, *loaded, *version; /* hashes; "": not told */
		uint64_t process;
	} swept_with;
};

/* The /metrics of one address. */
struct scraped {
	struct apiserver_metrics metrics;
	uint64_t at; /* when it was asked for */
	bool good;
	bool refused; /* it answers, and does not let us look: said once */
	bool slow;    /* nothing came of it within the time for it */
};

/* What keeps a rotation from going on though nothing stands in its way. */
enum hold { HOLD_NOT, HOLD_PAUSED, HOLD_DEADLINE };

/* Rotations that are not over, in the order in which they go on. */
struct rotation_queue {
	struct key_rotation **items;
	size_t count;
	struct key_rotation *over; /* of those that are over, the one that ended last; NULL */
};

#define CONTROLLER_EVENTS 8 /* on their way at once; what is more is not told */

/* What was told in events, so that none is told again and again. */
struct controller_events {
	char *rotation;                /* uid of the one that this is about */
	char *phase;                   /* the last one */
	uint64_t told[PHASE_DONE + 2]; /* when each phase was, and any other word; 0: it was not */
	char *hindrance;               /* what stands in the way now; NULL */
	uint64_t hindrance_since;
	char *warned; /* the hindrance that was told last */
	uint64_t warned_at;
	struct controller_event_call {
		struct controller *controller;
		struct kube_json_call *call; /* NULL: free */
	} calls[CONTROLLER_EVENTS];
	uint64_t sent, failed;
};

/* What one agent's census came to while nothing is rotated. */
struct controller_drift {
	char *server;                   /* that was asked last */
	uint64_t number, asked_at;      /* of the question that is open; 0: none is */
	uint64_t next_at;               /* when the next one is due */
	struct census_observation seen; /* finished 0: none */
	struct drift found;
	uint64_t since;           /* since when something is stale; 0: nothing is */
	uint64_t ended, ended_ns; /* how often that ended, as this process saw it, and after how long in all */
};

struct controller_show {
	struct loop_timer timer;
	bool turned;     /* once at least */
	char *not_ready; /* what the last turn failed with; NULL: it did not */
	uint64_t turned_at, turns, failed_turns, done;
};

struct controller {
	const struct controller_options *options;
	struct kube_lock *lock;
	FILE *record;
	struct wake *wake;
	struct fleet fleet;
	struct scraped *scraped; /* of each of options->servers */
	/* the rotation that goes on */
	struct key_rotation *rotation; /* read past every cache in this turn; NULL: none */
	struct path *path;             /* NULL until the new key is there */
	struct fence fence;
	char *fence_rotation; /* its uid; the fence's memory */
	struct directed *servers;
	size_t server_count;
	struct observation seen;
	struct server_set hosts; /* Nodes alone */
	uint64_t hosts_asked;
	char *set_why; /* why the set is not sure; NULL */
	uint64_t endpoints_asked;
	/* what was done by this process */
	struct sweep_observation sweep;
	uint64_t settled_began, settled_ended, reads_checked_at;
	uint64_t back_told;                         /* when the census began of which was told that it counts no more */
	char *settled_members;                      /* of etcd, that were watched meanwhile */
	struct key_server_canary *settled_canaries; /* as they were written at its end */
	size_t settled_canary_count;
	struct {
		uint64_t sequence, epoch, sent_at; /* of the order that asked for it; 0: none was */
		struct census_observation seen;
	} census;
	struct {
		uint64_t sequence, epoch; /* 0: no canary is looked for */
		struct key_server_canary *asked;
		size_t count;
	} canary;
	char *trouble;
	char *noted;         /* the last trouble that a person was told of */
	char *noted_failing; /* likewise, of a turn that failed; */
	uint64_t failed_at;  /* the last one that did */
	char *remark;        /* on the decision: what a person asked for meanwhile; NULL */
	enum hold hold;
	const struct decision *sweeping; /* the one that a sweep carries out; NULL: there is none */
	struct fleet_written written;    /* by it and those before it */
	bool gives_up_sweep;             /* an abort that is asked for from now on ends the sweep */
	bool sweep_waits;                /* for a server that is not seen */
	bool refused;                    /* what is asked cannot be carried out: the trouble says why */
	uint64_t keys_asked_at;          /* when new keys were last ordered */
	uint64_t told_at;
	uint64_t failing_since; /* since when no turn succeeds; 0: one did */
	uint64_t
		due; /* the next turn, where this one knows: 0: at once, for no event tells of what it did; else UINT64_MAX */
	bool busy; /* the decision of this turn is carried out now, by an order or by itself */
	/* beside a sweep: telling of its progress, and reading what was changed meanwhile */
	struct kube_json_call *telling; /* NULL: neither is under way */
	struct fleet_reading *reading;  /* the agents' reports; NULL */
	uint64_t reading_since;
	bool told, superseded; /* it is over; the rotation is another leader's now, or gone */
	struct joiners joiners;
	/* KMS v2 */
	uint64_t kms_adopted_at;   /* since when every server's canaries have been under the key IDs of the plugins */
	uint64_t history_ended_at; /* observation.history_ended_at */
	uint64_t
		kms_lacked_at; /* when a plugin last lacked an answer, and what it named meanwhile is not known; 0: none */
	struct kms_changes kms_changes;
	uint64_t kms_hurried;     /* when servers were last made to look */
	uint64_t kms_retired_at;  /* kms_adopted_at as all agents retired what was before */
	uint64_t canaries_put_at; /* when they were last written */
	bool canaries_failed;     /* one of those showed no key that it should */
	char *kms_again;          /* why all is proved again, which people see until it is; NULL */
	bool kms_news;            /* a key ID that is not written down yet */
	struct controller_drift drift;
	struct key_rotation *last; /* the one that ended last; NULL */
	struct controller_events events;
	struct controller_show show;
};

void controller_note(const struct controller *controller, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void controller_trouble(struct controller *controller, const char *text); /* NULL clears */
void controller_remark(struct controller *controller, char *text);        /* takes it over; NULL clears */
/* Its status. -ERROR_CONFLICT when somebody else changed it since it was read. */
_must_check_ int controller_apply(struct controller *controller, struct error **err); /* of the one that goes on */
_must_check_ int controller_apply_to(struct controller *controller, struct key_rotation *rotation, struct error **err);
/* Whether it changed. Texts are copied. */
bool condition_set(struct key_rotation *rotation, const char *type, bool holds, const char *reason, const char *message,
		   uint64_t wall);
void replace_text(char **text, const char *by);
bool controller_forget_sealed(struct controller *controller); /* whether there were any */
/* What was done and seen for the path, which is another one from now on. */
void controller_forget_deeds(struct controller *controller);
/* What was proved, of a key that is another one from now on. The path stays. */
void controller_forget_proofs(struct controller *controller);
/* Of a path that was just found. */
void controller_kms_take_path(struct controller *controller);
/* What each server writes under is proved again, and all that follows. */
void controller_kms_doubt(struct controller *controller);
/* Beside a sweep, of reports that were just read: whether they leave what was proved. Who moved and came back before its end is
 * not overlooked. */
void controller_kms_look(struct controller *controller);
/* Why another server cannot read, past every cache, this one's canaries as an agent found them; NULL: all can. Names of keys
 * and key IDs are names; this is the proof that all servers hold one key. Waits. New string. */
char *controller_unread(const struct controller *controller, const struct key_server_status *status,
			const char *server);
/* Before canaries are written: what each server was told of other key IDs until now. */
void controller_kms_before_canaries(struct controller *controller);
/* Whether what a server told then of what its plugin named to it is asked again: it may have been told of another key ID since,
 * while an answer lacked, before its canary was written, or before the last word. */
bool controller_kms_outdates(const struct controller *controller, uint64_t told_at);
/* What of the observation the plugins show, and which keys there were. */
void controller_kms_observe(struct controller *controller);
/* A key that was seen once is no news to the next leader: written down at once. Errors as controller_apply's. */
_must_check_ int controller_kms_keep(struct controller *controller, struct error **err);
/* Whether a canary that was found is under the key that the plugins name, where that is asked for. */
bool controller_kms_shows(const struct controller *controller, const struct key_server_canary *canary);
/* The canaries of all servers were found, wherever. */
void controller_kms_take_canaries(struct controller *controller);
/* Adds to what remains which keys nothing needs any more. */
void controller_kms_tell_left(struct controller *controller);
/* Reads who leads what, and the agents' reports; then fills controller->seen. */
_must_check_ int controller_look(struct controller *controller, struct error **err);
/* For how long nothing may be silent, where nobody says it otherwise. */
uint64_t controller_settle_rule(const struct controller *controller);
/* Whether the API servers have other addresses than were given, now and then, where something does not fit. */
bool controller_servers_moved(struct controller *controller);
/* Where nothing is rotated: each server has its KeyServer, so that its agent reports. */
_must_check_ int controller_look_for_servers(struct controller *controller, struct error **err);
/* The agent whose version this controller gives no orders to, and what to do; NULL: there is none. New string. */
char *controller_odd_version(const struct controller *controller);
/* Orders the new keys, and sets the path once they are there. */
_must_check_ int controller_find_path(struct controller *controller, struct error **err);
/* Why the path must not be begun: values are under a key that no server has any more, and whose name was asked for as a new one's.
 * By name alone they would pass for readable. NULL: none is; new string. */
char *controller_lost_key(const struct controller *controller);
/* Where an abort is asked for: begins the way back, or says why not. `ret_waits`: until it is known which way it goes nothing
 * else is done. A rotation without a path has nothing to turn back from. */
_must_check_ int controller_turn_back(struct controller *controller, bool *ret_waits, struct error **err);
/* `decision` NULL: there is no path yet. Pure. */
enum hold controller_hold(const struct key_rotation *rotation, const struct observation *seen,
			  const struct decision *decision, uint64_t wall);
const char *hold_reason(enum hold hold); /* of a condition */
/* `mends`: what is held would put a key back. New string. */
char *hold_words(const struct key_rotation *rotation, enum hold hold, bool mends);
/* Takes the rotation over, and frees one that is over. */
void queue_add(struct rotation_queue *queue, struct key_rotation *rotation);
struct key_rotation *queue_take(struct rotation_queue *queue); /* whose turn it is; NULL: none is there */
void queue_free(struct rotation_queue *queue);                 /* the contents */
/* What its status says while those before it go on; whether that is new. One that was aborted is over. */
bool queue_tell(struct key_rotation *rotation, const struct strings *before, uint64_t wall);
void controller_tell_queued(struct controller *controller, struct rotation_queue *queue);
/* Whether every API server was seen to run one configuration. */
bool controller_converged(const struct controller *controller);
_must_check_ int controller_act(struct controller *controller, const struct decision *decision, struct error **err);
_must_check_ int controller_tell(struct controller *controller, const struct decision *decision, struct error **err);
/* Asks an agent for a census where one is due, and tells what it came to: condition Current of the last rotation. */
_must_check_ int controller_watch_drift(struct controller *controller, struct error **err);
void controller_leave_drift(struct controller *controller); /* a rotation goes on: what was found is of the past */
void controller_drift_free(struct controller *controller);
/* Adds what a report's census found; of what is there already the greater number counts. */
void controller_take_groups(const struct key_server_status *status, struct census_observation *ret);
/* What was proved, into the status; whether that is new. And at the end of the rotation, for good: with it, and never before
 * it, which keys of a KMS nothing needs any more. */
bool controller_take_evidence(struct controller *controller);
void controller_end_evidence(struct controller *controller);
/* In the middle of a sweep: what keeps it from going on now, by a person's will or by trouble. For the next time that its
 * progress is told. */
void controller_tell_sweep(struct controller *controller, enum hold hold);
/* What agents failed or refused to do is what troubles it. */
void controller_tell_results(struct controller *controller);
/* Takes back what is ordered and not carried out yet. */
_must_check_ int controller_withdraw(struct controller *controller, struct error **err);
/* A new epoch where the fence stands for none, and *ret_fenced: every agent has acknowledged it. */
_must_check_ int controller_fence(struct controller *controller, bool *ret_fenced, struct error **err);
/* The names of etcd's members as they are reported; new string. */
char *controller_members(const struct controller *controller);
/* Sends one order (spec->action, ...) to server `index`. -ERROR_CONFLICT when the Lease was lost: nothing was sent. */
_must_check_ int controller_send(struct controller *controller, size_t index, const struct key_server_spec *spec,
				 struct error **err);
/* Whether what was ordered there last is a Rescue that failed, was refused, or waits for something since long. */
bool controller_rescue_fails(const struct controller *controller, size_t index);
/* What the agent of server `index` says of the order with this number of this epoch. */
enum outcome controller_outcome(const struct controller *controller, size_t index, enum order_action action,
				uint64_t epoch, uint64_t sequence);
/* Whether that very order is what was sent there last, and nothing is known of it yet. */
bool controller_awaits(const struct controller *controller, size_t index, enum order_action action, uint64_t epoch,
		       uint64_t sequence);
/* What the agent of server `index` reported last; NULL: no agent ever did. */
const struct key_server_status *controller_status(const struct controller *controller, size_t index);
/* The same of all, as orders are made from; to be freed, lends its strings. */
struct agent_report *controller_reports(const struct controller *controller);
void controller_forget_canaries(struct controller *controller); /* those that are looked for */
/* Those that are looked for were found when all was settled. */
void controller_keep_settled_canaries(struct controller *controller);
void controller_forget_settled_canaries(struct controller *controller);
/* Revision above which objects of a resource ("secrets") need no rewriting; 0: there is none. */
uint64_t controller_skip_above(const struct controller *controller, const struct decision *decision,
			       const char *resource);
/* No agent is believed alone of what another one's server wrote: who does not agree on what. New string; NULL: all do. */
char *controller_canaries_differ(const struct controller *controller);
/* A sweep begins: by what the agents report now. */
void controller_sweep_begins(struct controller *controller);
/* The one server through which a sweep lists and writes, for another one may be of another version; NULL: none was seen. */
struct kube *controller_sweeps_through(const struct controller *controller);
/* Whether it may go on, by what they report meanwhile. */
enum sweep_wish controller_sweep_wish(struct controller *controller);
/* Whether one of those that are directed was forgotten meanwhile. */
bool controller_directs_forgotten(const struct controller *controller);
bool controller_leads(const struct controller *controller);
/* Before controller->rotation's status says `phase`, too. `words`: the decision for people. Waits for nothing. */
void controller_event(struct controller *controller, const struct decision *decision, const char *phase,
		      const char *words, uint64_t now);
void controller_events_stop(struct controller *controller);
/* Shows it each second from now on, where anybody looks. */
void controller_show_start(struct controller *controller);
void controller_show_stop(struct controller *controller);
/* A turn is over. `why`: where it did not succeed. */
void controller_turned(struct controller *controller, bool succeeded, const char *why);
