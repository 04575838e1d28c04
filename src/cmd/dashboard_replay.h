/* Plays a flight record to the dashboard: what is in the file, in a minute at most, then what is added to it, as it comes. */
#pragma once
#include "cmd/dashboard_model.h"
#include "net/loop.h"

struct dashboard_replay;
/* Shows the first decision; the rest by timers of the loop. `name` and all others must outlive it. -ERROR_NOT_FOUND, -ERROR_IO,
 * -ERROR_INPUT and -ERROR_LIMIT for a file that is no flight record, by its first line. */
_must_check_ int dashboard_replay_start(struct loop *loop, const char *name, struct dashboard_store *store,
					void (*on_change)(void *arg), void *arg, struct dashboard_replay **ret,
					struct error **err);
/* Where it stands, into the scene. Lends its text until the loop goes on. */
void dashboard_replay_place(const struct dashboard_replay *replay, struct dashboard_scene *scene);
void dashboard_replay_stop(struct dashboard_replay *replay); /* NULL is fine */
