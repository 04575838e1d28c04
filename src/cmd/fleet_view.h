/* What a person sees of a rotation of several API servers: the KeyRotation and the KeyServers, and nothing that they do
 * not say. Pure: objects in, text or JSON out; words of others are made printable. */
#pragma once
#include <stdio.h>
#include "cmd/leader.h"
#include "cmd/rotations.h"

#define FLEET_VIEW_START "See that a controller runs (kubectl -n kube-system get pods): without one nothing goes on."

struct viewed_server {
	const char *name;
	const struct key_server_status *status; /* NULL: it has no KeyServer, or no agent ever reported */
	bool reporting;                         /* its agent was seen to report just now */
	const struct key_rotation_server *set;  /* as the rotation knows it; NULL: not yet */
	int file_step, loaded_step;             /* of the rotation's steps; STEP_NONE: of none that is known */
};
struct fleet_view {
	const struct key_rotation *rotation; /* NULL: there is none */
	const struct viewed_server *servers;
	size_t server_count;
	const struct rotations *all;
	const char *invoked_as;
	const struct leader *leader; /* NULL: nothing is known of controllers, and nothing said */
	uint64_t now;                /* monotonic ns, for it */
	bool told;                   /* progress is of now: a controller was seen to tell of it, or may be thought to */
};
/* The servers of both, in the order of their names: to be freed, lends everything. `reports` (of fleet->count bools) says
 * whose agent reports. */
struct viewed_server *fleet_view_servers(const struct key_rotation *rotation, const struct fleet *fleet,
					 const bool *reports, size_t *ret_count);
void fleet_view_print(FILE *out, const struct fleet_view *view);
/* The objects as they are, without sealed keys. -ERROR_LIMIT where one is not within its caps; then the writer holds half a
 * document. */
_must_check_ int fleet_view_write_json(const struct fleet_view *view, struct json_writer *w, struct error **err);
/* "step 2 in its file, step 1 loaded", "does not answer: ...": one line. New string. */
char *viewed_server_words(const struct viewed_server *server);
/* "step 2", "not found", "-" where none was looked for: whether the one's agent found in etcd what was written through the other.
 * All objects of a server count: the rules may differ. New string. */
char *viewed_server_canary(const struct viewed_server *finder, const char *written_through);
bool fleet_view_any_canary(const struct fleet_view *view);
/* It is known that no controller leads, while a rotation needs one. */
bool fleet_view_nobody_leads(const struct fleet_view *view);
/* "1,204 of 10,412, 50/s, 3 min 5 s left, namespace team-a"; NULL where nothing is known to be rewritten. Speed and time are
 * left out where nobody tells of them any more. New string. */
char *rotation_progress_words(const struct key_rotation *rotation, bool told);
/* What a person may do: pause it, let it go on, ask for one. NULL for one that is over. New string. */
char *fleet_view_next(const struct fleet_view *view);
/* Something that a person should look at; NULL where nothing is. New string. */
char *fleet_view_finding(const struct fleet_view *view);
