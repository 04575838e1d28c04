/* Many clusters asked side by side, each by a process of its own: what waits there is waited for there alone, and what was taken
 * of memory ends with it. */
#pragma once
#include "cmd/command.h"
#include "engine/check_row.h"

/* Fills rows[i], all zero, of the context names->items[i]; where that was not reached it says why. They are to be freed whatever
 * comes back. Fails when interrupted, and where no process can be started. Waits. */
_must_check_ int check_ask(struct command_context *context, const struct strings *names, struct check_row *rows,
			   struct error **err);
