/* rotate --target agents: asks for a rotation by a KeyRotation object, and follows it. */
#pragma once
#include "cmd/rotations.h"

/* 0: Done, or asked for with --no-wait. -ERROR_FINDING, -ERROR_REFUSED, -ERROR_DEADLINE, -ERROR_INTERRUPTED as
 * design of exit codes has it: in each case but the first two the rotation goes on, or stays, as the message says. */
_must_check_ int fleet_rotate(struct command_context *context, struct session *session, struct error **err);
/* What of a KeyRotation's spec the command line says. Strings are new. -ERROR_USAGE for an option that agents have no use
 * for, -ERROR_INPUT and -ERROR_NOT_FOUND for a certificate that cannot be read. */
_must_check_ int fleet_rotate_spec(const struct options *options, struct key_rotation_spec *ret, struct error **err);
/* Whether both ask for the same, whatever their speed. */
bool fleet_rotate_asks_same(const struct key_rotation_spec *a, const struct key_rotation_spec *b);
