/* Whether etcd has room for what a sweep writes, by what the agents report: the controller itself does not reach etcd. Members
 * hold the same, so one agent that tells of each etcd is enough. Pure. */
#pragma once
#include "engine/fleet.h"

#define FLEET_ROOM_SILENCE UINT64_C(20000000000) /* ns: how full etcd was longer ago shows nothing */

/* NULL: there is room, or no agent ever told, being older than what it would have to tell. Else why a sweep must pause, who says
 * so, and what ends it: a member is too full, or may be by now; or those who told are silent. New string. */
char *fleet_room(const struct fleet *fleet, uint64_t now);
/* Whether any agent has ever told. */
bool fleet_room_is_told(const struct fleet *fleet);
