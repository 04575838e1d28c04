/* status of several API servers. */
#pragma once
#include "cmd/rotations.h"

/* Shows the KeyRotation that is named, or under way, or was begun last; whose agents report, and whether a controller leads and
 * tells of progress, by what changes within 7 s and no clock but ours. -ERROR_FINDING for what a person should look at. Waits. */
_must_check_ int fleet_status(struct command_context *context, struct session *session, struct error **err);
