/* Between the agent's own files: agent.c reads orders and judges, agent_act.c carries them out, agent_key.c makes and opens
 * sealed keys, agent_retire.c treats old ones, agent_retired.c remembers them, agent_asked.c takes what the
 * KeyRotation asks for, agent_census.c what is asked while nothing is rotated, agent_report.c tells what is seen,
 * agent_servers.c knows who serves, agent_restart.c restarts the server, agent_kms.c asks its KMS plugins, agent_show.c
 * shows monitoring how the agent is. */
#pragma once
#include "engine/agent.h"
#include "engine/agent_disk.h"
#include "engine/agent_peers.h"
#include "engine/fleet.h"
#include "engine/key_rotation.h"
#include "engine/kms_look.h"
#include "engine/rotation_internal.h"
#include "engine/wake.h"

#define AGENT_BEATS 128 /* of these it is known when they were published: two minutes of them */

struct agent {
	const struct agent_options *options;
	struct rotation *node; /* this node's file, keys, looks and census */
	struct agent_disk disk;
	int lock_fd;
	char *cluster_uid;    /* of Namespace kube-system */
	uint64_t uid_due;     /* not asked for before; monotonic */
	struct kms_look *kms; /* what the plugins of the file said, as asked at: */
	size_t kms_count;
	uint64_t kms_asked;
	char *identity; /* name of the server's identity Lease; NULL: not known yet */
	uint64_t identity_asked;
	struct kube_identities identities; /* of all servers, as asked for at: */
	uint64_t identities_at;
	/* read past every cache */
	struct fleet fleet;
	struct key_rotation *rotation; /* that the order names; NULL */
	uint64_t read_at;              /* when that was asked for; 0: not read */
	uint64_t away_since;           /* since when nothing could be read; 0: it can */
	struct fleet_server *self;     /* in the fleet; NULL: no KeyServer yet */
	/* what it told last before this process, of a file of ours; file_hash NULL: of none */
	struct {
		bool known;
		char *file_hash, *path_of;
		int written_step;
		bool going_back;
	} reported;
	int unseen_step; /* of the last file that was taken for ours though nothing showed that it is loaded; STEP_NONE */
	bool awaits;     /* the order waits for something */
	enum ground alone;       /* what it made of being alone the last time */
	bool at_work;            /* an order is in hand: reported before it is judged */
	bool settled;            /* as the last order was judged; see order_settled */
	uint64_t settled_census; /* when the last census began that began so; 0: none did */
	bool heard_ask;          /* spec.askCensus was read once; then: */
	uint64_t census_asked;   /* the last one that was answered, or tried, or found there */
	/* what is reported */
	uint64_t beat, published[AGENT_BEATS];
	uint64_t lost_beat; /* the last one that was not answered; 0: none */
	uint64_t looked_at;
	uint64_t sizes_asked;
	uint64_t done_begun;     /* when it began with the order that is told as done; 0: with none */
	struct strings retired;  /* fingerprints: what is in the state directory */
	struct key_server *told; /* parts of the next report that outlive a look: done, census, canaries, sealed
				  * keys, where old keys are */
	char *trouble;           /* of this turn, the first */
	char *busy;              /* why it comes to nothing else, while it reads every value; NULL */
	char *noted;             /* the last one that a person was told of */
	struct wake *wake;
	/* who serves it */
	struct kube *others[KEY_SERVERS_MAX], *served_by; /* served_by NULL: its own server */
	size_t other_count;
	/* what monitoring is shown */
	struct agent_view view;
	bool turned; /* once at least */
	char *not_ready;
	struct loop_timer show;
};

/* The KeyRotation that was read goes on, and is the one that was acknowledged. */
bool agent_takes_part(const struct agent *agent);
/* What the KeyRotation says of the census is in force from now on. */
void agent_take_asked(struct agent *agent);
/* Asks its own server, and where that does not answer well the others; 0, or the error of the first one asked. */
_must_check_ int agent_ask(struct agent *agent, int (*ask)(struct agent *agent, struct kube *kube, struct error **err),
			   struct error **err);
struct kube *agent_api(const struct agent *agent); /* who answered the last time */
/* Remembers the addresses of the others, as named and as last read. */
void agent_know_servers(struct agent *agent);
void agent_forget_servers(struct agent *agent);
/* Opens what of the KeyRotation is not at hand yet. What does not open is told once. */
void agent_take_keys(struct agent *agent);
/* Whether the census at hand began when all was settled. */
bool agent_census_settled(const struct agent *agent);
/* The bytes of all local keys of a step are at hand. */
bool agent_has_keys(const struct agent *agent, size_t step);
/* Makes the new keys that the KeyRotation asks for and puts them, sealed, where the report finds them. */
_must_check_ int agent_make_keys(struct agent *agent, struct error **err);
/* Asks the plugins of the file and of the rotation's steps, now and then or `at_once` (where the rotation hangs on them).
 * -ERROR_INTERRUPTED alone. */
_must_check_ int agent_ask_kms(struct agent *agent, bool at_once, struct error **err);
/* What was last seen of those that the rotation brings: lent, at most KEY_SERVER_KMS_MAX. Whether all of them are well. */
bool agent_plugins(const struct agent *agent, const struct kms_look *ret[static KEY_SERVER_KMS_MAX], size_t *ret_count);
/* Where the rotation follows a KMS: under which key IDs values are current, by this node's plugins. */
void agent_follow_kms(struct agent *agent);
void agent_tell_kms(const struct agent *agent, struct key_server_status *ret);
/* Carries out an order that was judged right. What failed is an error, and told to the controller. */
_must_check_ int agent_carry_out(struct agent *agent, const struct key_server_spec *spec, const struct verdict *verdict,
				 struct error **err);
/* What the KeyRotation says of the old keys, from now on; -ERROR_INPUT where that cannot be done here. */
_must_check_ int agent_take_policy(struct agent *agent, struct error **err);
/* Treats the old keys so, and tells where they are. -ERROR_CONFLICT after `valid_until`: it slept meanwhile. */
_must_check_ int agent_retire(struct agent *agent, uint64_t valid_until, struct error **err);
/* Reads which keys were retired. -ERROR_INPUT for a file that is none of ours. */
_must_check_ int agent_read_retired(struct agent *agent, struct error **err);
void agent_tell_retired(const struct agent *agent, struct key_server_status *ret);
/* Remembers what the others report, as last read. */
void agent_hear_retired(struct agent *agent);
/* Lets the kubelet restart the server: changes an annotation of its manifest, once for each process of the server. */
_must_check_ int agent_restart(struct agent *agent, struct error **err);
/* Whether that was done for the process that answers now: restarting, and since when, of what was just seen. */
void agent_see_restart(const struct agent *agent, struct server_observation *seen);
/* Whether the manifest is one that can be changed so, before anything is promised. */
_must_check_ int agent_check_manifest(const struct agent *agent, struct error **err);
/* Takes the census that is asked for while nothing is rotated. -ERROR_INTERRUPTED alone. */
_must_check_ int agent_take_asked_census(struct agent *agent, struct error **err);
/* While every value is read, which may take minutes: sees the server and tells of it. `arg` is the agent. */
void agent_tell_meanwhile(void *arg);
/* What makes that take long: a KMS that is asked for so many keys, one after the other. NULL: nothing worth a word. New string. */
char *agent_busy_words(uint64_t calls);
/* What the report says is wrong: its trouble, else the server's, else what it is busy with. Lent; NULL. */
const char *agent_why(const struct agent *agent, const struct server_observation *seen);
/* Puts back what agent_alone found, with nobody to order it. */
_must_check_ int agent_put_back(struct agent *agent, const struct verdict *verdict, struct error **err);
/* Writes KeyServer.status. */
_must_check_ int agent_publish(struct agent *agent, struct error **err);
/* What keeps it from going on: reported, and noted once as long as it stays the same. The first of a turn counts. */
void agent_trouble(struct agent *agent, const char *text);
/* What the census came to, as far as there is room for it; where there is not, it is not complete. */
void agent_tell_census(const struct census_observation *census, uint64_t now, struct key_server_status *ret);
/* How full etcd's members are, of those that are told already: each that answered when one of its etcd last did, or just before. */
void agent_tell_sizes(struct etcd *const *etcds, size_t count, uint64_t now, struct key_server_status *ret);
/* Shows it each second from now on, where anybody looks. */
void agent_show_start(struct agent *agent);
void agent_show_stop(struct agent *agent);
/* A turn is over: `said` that its report was taken, or that there is nothing to report to yet. */
void agent_turned(struct agent *agent, bool said);
void agent_note(const struct agent *agent, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
