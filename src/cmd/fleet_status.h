/* status of several API servers. */
#pragma once
#include "cmd/rotations.h"

/* Reads whose agents report, by their beats and no clock but ours, into `ret` (of fleet->count bools, to be freed): two
 * lists of KeyServers at least, and 3 s at most. Waits. */
_must_check_ int fleet_status_look(struct session *session, struct fleet *fleet, bool **ret, struct error **err);
/* Shows the KeyRotation that is named, or under way, or was begun last. -ERROR_FINDING for what a person should look at.
 * Waits. */
_must_check_ int fleet_status(struct command_context *context, struct session *session, struct error **err);
