/* Following a KeyRotation as `kubectl rollout status` does: looks each second, shows what changed, changes nothing. */
#pragma once
#include "cmd/rotations.h"
#include "engine/rotation.h"

/* Until it is over: 0 for Done. -ERROR_FINDING where only objects are in the way, -ERROR_REFUSED where it is blocked or
 * was aborted, -ERROR_DEADLINE, -ERROR_INTERRUPTED: then it goes on without us; -ERROR_NOT_FOUND when it was deleted. Prints
 * the report, of what was seen last. Waits. */
_must_check_ int fleet_follow(struct command_context *context, struct session *session, const char *name,
			      struct error **err);
/* The report of one server's shape. `fleet` may be empty. `wall`: now. */
struct rotation_report *key_rotation_report(const struct key_rotation *rotation, const struct fleet *fleet,
					    uint64_t wall);
