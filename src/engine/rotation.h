/* A rotation: observe, decide, do one small step, observe again. The only file that knows all the parts.
 *
 * rotation_open changes nothing; plan, status and gate use it too. rotation_run may be stopped and begun again at
 * any moment. */
#pragma once
#include "engine/census.h"
#include "engine/cluster.h"
#include "engine/intent.h"
#include "engine/journal.h"
#include "engine/old_keys.h"
#include "engine/rotation_report.h"
#include "engine/sweep.h"
#include "engine/target.h"
#include "kube-rekey/next_action.h"

struct rotation_options {
	struct cluster *cluster;
	const char *config_path; /* the server's file, or for `manual` the present configuration */
	/* what is asked */
	const char *provider, *to_path; /* at most one */
	struct intent_kms kms;
	bool renew_dek, follow_kms;
	const struct strings *drop_keys;
	bool drop_identity;
	/* who changes the file */
	bool manual;
	const char *out, *out_seal, *as_deployed;
	bool wait_restart; /* --apply=wait-restart */
	uint64_t servers;  /* --servers N; 0: from what the cluster says */
	/* how */
	const char *old_key;         /* "keep", "destroy", "seal:CERT" */
	const char *new_key_copy;    /* "none", "seal:CERT" */
	const char *state_directory; /* "/var/lib/kube-rekey" */
	enum sweep_mode mode;
	struct throttle_options speed;
	uint64_t settle;
	bool has_settle; /* --settle; ns */
	bool compact, allow_aesgcm;
	uint64_t deadline;       /* monotonic; 0: none */
	const char *record_path; /* flight recorder; NULL */
	bool read_only;          /* gate: no writing of files and objects but canaries */
	bool open_kms;           /* a census asks KMS plugins to decrypt, too */
	/* what people see; each may be NULL */
	void (*on_decision)(void *arg, const struct decision *decision, const struct observation *observation,
			    const char *text);
	/* A phase is over: what it came to, and how long it took. */
	void (*on_phase)(void *arg, enum phase phase, const char *text, uint64_t ns);
	void (*on_sweep)(void *arg, const struct sweep_progress *progress);
	void (*on_census)(void *arg, uint64_t done, uint64_t total);
	/* something a person should know: an old journal set aside, ... */
	void (*on_note)(void *arg, const char *text);
	void *arg;
};

struct rotation;
/* Reads the file and the journal, works out path and position. -ERROR_REFUSED where a rotation may not even begin
 * (owner, set of servers, no automatic reload, another request is half done, ...). */
_must_check_ int rotation_open(const struct rotation_options *options, struct rotation **ret, struct error **err);
void rotation_free(struct rotation *rotation);
void rotation_freep(struct rotation **rotation);
const struct path *rotation_path(const struct rotation *rotation);
const struct journal *rotation_journal(const struct rotation *rotation);
const struct census *rotation_census(const struct rotation *rotation); /* the last one; NULL */
int rotation_position(const struct rotation *rotation); /* step whose meaning the file has now; STEP_NONE */
/* Whether the rotation makes or takes a new key whose only lasting copy is the server's file. */
bool rotation_new_key_is_alone(const struct rotation *rotation);
uint64_t rotation_settle_time(const struct rotation *rotation);
/* Looks once and decides; changes nothing. `ret` is the rotation's memory. */
_must_check_ int rotation_look(struct rotation *rotation, const struct observation **ret, struct decision *ret_decision,
			       struct error **err);
/* The canary as a server-side dry run: webhooks, quota and rights say so now rather than in the middle. After a
 * census. */
_must_check_ int rotation_try_canary(struct rotation *rotation, struct error **err);
/* Takes a census for plan and status. */
_must_check_ int rotation_take_census(struct rotation *rotation, struct error **err);
/* Runs to the end. 0: Done. -ERROR_FINDING: only objects are in the way. -ERROR_REFUSED: blocked. *ret_report is
 * set in every case. */
_must_check_ int rotation_run(struct rotation *rotation, struct rotation_report **ret_report, struct error **err);
/* Where no API server answers, or none lets anybody begin: it may lack a key, for an older file was put over ours. If that is
 * so, and the next step only adds a read key, that step is written from what this machine has: it takes nothing from anybody,
 * whatever the server runs. 1: it was written, *ret_text (new) says what. 0: nothing of that kind, or somebody is at work. */
_must_check_ int rotation_mend_alone(const char *config_path, const char *state_directory, char **ret_text,
				     struct error **err);
/* gate: observes and waits (at most until the deadline) until the step from the present configuration to --to is
 * allowed. */
_must_check_ int rotation_gate(struct rotation *rotation, bool drop, uint64_t *ret_valid_until, struct error **err);
/* What was proved by less than the rule, or left out by a person's word: sentences, added to `ret`. */
void rotation_gaps(const struct rotation *rotation, struct strings *ret);
/* One moment by two clocks, so that a wait can say until when. */
struct decision_clock {
	uint64_t now;       /* monotonic ns */
	uint64_t wall;      /* CLOCK_REALTIME ns at that moment */
	uint64_t reload_by; /* CLOCK_REALTIME ns: when the server should have looked at its file; 0: not known */
};
/* One line for people of what was decided and why: names of servers, keys and objects spelled out. New string. */
char *decision_text(const struct decision *d, const struct path *path, const struct observation *seen,
		    const struct decision_clock *clock);
/* The same of the rotation's last look. */
char *rotation_decision_text(const struct rotation *rotation, const struct decision *d);
/* In a word: for what it waits or is blocked ("NOT_LOADED"), else what it does ("write-step"). Static. */
const char *decision_reason(const struct decision *d);
/* What a person may do about it; NULL when nothing. New string. */
char *decision_hint(const struct decision *d, const struct observation *seen);
/* "etcdctl del '/registry/...'": what a shell makes exactly this key of, whatever bytes are in it. New string. */
char *decision_etcdctl_del(const char *path);
