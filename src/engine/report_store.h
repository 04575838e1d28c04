/* Reports of rotations of one API server, kept where they ran: STATE-DIRECTORY/reports/ROTATION.json, mode 0600, without
 * secrets. One is there from the first census on, so that what was found before anything was changed outlives a crash, and
 * stays: nothing here removes it. */
#pragma once
#include "engine/rotation_report.h"

#define REPORTS_MAX 10000 /* that a directory is looked through for */

/* Replaces what is kept of the same rotation. Makes the directory. */
_must_check_ int report_store_keep(const char *state_directory, const struct rotation_report *report,
				   struct error **err);
/* -ERROR_NOT_FOUND where there is none of this rotation; -ERROR_USAGE for a name that is no rotation's. */
_must_check_ int report_store_read(const char *state_directory, const char *rotation, struct rotation_report **ret,
				   struct error **err);
/* The rotations of which there is a report, in the order of their names; none where there is no directory. */
_must_check_ int report_store_list(const char *state_directory, struct strings *ret, struct error **err);
