/* forget SERVER, with several API servers. */
#pragma once
#include "cmd/rotations.h"

/* Marks the server as gone for good in every rotation that is under way and knows it. -ERROR_REFUSED while it shows any
 * life: its identity Lease is renewed, or its agent reports. Waits, up to 25 s where it has a Lease. */
_must_check_ int fleet_forget(struct command_context *context, const char *server, struct error **err);
