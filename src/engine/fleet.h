/* The API servers as their agents report them (KeyServer objects), with what a reader has to add by its own clock: not
 * before when a report's look was made, and since when it says the same. Controller and agents read it alike. */
#pragma once
#include "client/kube/kube.h"
#include "engine/key_server.h"
#include "kube-rekey/order.h"

#define FLEET_INTERVAL UINT64_C(3000000000) /* ns: an agent reports at least as often */
#define FLEET_SILENCE UINT64_C(10000000000) /* ns: what is older shows nothing */

struct fleet_server {
	struct key_server *last;
	/* Monotonic ns. Its look is not older than this but by the time that it took to write, some FLEET_SILENCE at most. 0: not
	 * known yet */
	uint64_t looked_at;
	uint64_t etcd_asked_at; /* each etcd member has answered its agent since. 0: not known */
	uint64_t sizes_at;      /* each etcd has told its agent how full it is since. 0: not known */
	uint64_t landed_after;  /* its report was written after that. 0: not known */
	uint64_t beat_read_at;  /* when the list that first had this report was answered */
	uint64_t
		loaded_since; /* since when all reports say the same of file, loaded hash and process; 0: they do not */
};
struct fleet {
	struct fleet_server *servers; /* in the order of their names */
	size_t count;
	uint64_t read_at; /* when the last list that was answered was asked for; 0: none was */
};
/* Lists all KeyServers past every cache. One that is gone from the list is gone from here, too: who may not forget it
 * keeps its name. Waits. Errors as kube_custom_list's, and -ERROR_INPUT for one that is broken; then nothing changes. */
_must_check_ int fleet_read(struct fleet *fleet, struct kube *kube, struct error **err);
/* The same beside something else, at most `timeout` (ns) for a page; on_done once, unless it is cancelled: only then is what was
 * read known. Where it fails nothing changes. Not while fleet_read waits. */
struct fleet_reading;
struct fleet_reading *fleet_read_start(struct fleet *fleet, struct kube *kube, uint64_t timeout,
				       void (*on_done)(void *arg, int rc), void *arg);
void fleet_read_cancel(struct fleet_reading *reading);                        /* NULL is fine */
void fleet_free(struct fleet *fleet);                                         /* the contents */
struct fleet_server *fleet_find(const struct fleet *fleet, const char *name); /* or NULL */

/* Whether its look is younger than FLEET_SILENCE. `server` may be NULL. */
bool fleet_is_fresh(const struct fleet_server *server, uint64_t now);
/* Whether it could be, for all that is known: after a sweep, during which nobody lists reports, one that was written just now
 * may as well be as old as the sweep. The next report tells. */
bool fleet_may_be_fresh(const struct fleet_server *server, uint64_t now);
/* Whether its last report tells that it carried out this order, and that its server and each etcd member have answered it since it
 * began with that: after the order was sent, however long the report was on its way. */
bool fleet_seen_since_order(const struct fleet_server *server, uint64_t epoch, uint64_t sequence);
/* What a report that is fresh says of etcd's members, added to what others say: one is silent that any agent finds so, and `why`
 * tells from where. By name. */
void fleet_add_members(const struct fleet_server *server, struct observation *seen);
/* Until when it is known that neither its server nor an etcd member was silent, where it says that none is. */
uint64_t fleet_seen_until(const struct fleet_server *server);
/* quiet_settle_time by the longest request timeout that any report or the caller's own server has. ns. */
uint64_t fleet_settle_time(const struct fleet *fleet, uint64_t request_timeout, bool behind_balancer);
/* What the last report says of the server. `rotation`: uid of the one on whose path steps are counted, forward or back; of a
 * report that counts them on another's, or the other way, neither file nor what is loaded is known. NULL: no path is known,
 * and nobody goes by steps. `server` NULL: no agent has ever reported. Strings are new. */
void fleet_observe(const struct fleet_server *server, const char *name, const char *rotation, bool goes_back,
		   uint64_t now, struct server_observation *ret);
/* A step that the path of so many does not have is not known: whoever reports it would lead us beyond the path. */
void fleet_bound_steps(struct server_observation *seen, size_t step_count);
struct agent_report fleet_report(const struct fleet_server *server); /* server may be NULL; lends its strings */
