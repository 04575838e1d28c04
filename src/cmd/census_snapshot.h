/* census --snapshot: a backup instead of a cluster. */
#pragma once
#include "cmd/command.h"

/* Prints the census of the file that --snapshot names. -ERROR_USAGE for anything that only a cluster has; else as
 * snapshot_census_take and snapshot_census_verdict. */
_must_check_ int census_snapshot(struct command_context *context, struct error **err);
