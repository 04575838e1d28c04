/* A check's answers for people and for machines. */
#pragma once
#include "cmd/command.h"
#include "engine/check.h"

/* Groups with a line for each check, details below what is no tick, and the status at the end. */
void check_show_text(const struct command_context *context, const struct check_report *report);
/* {"failed": n, ..., "checks": [...]}: the members of the object that is open. */
void check_show_json(struct json_writer *w, const struct check_report *report);
/* 0, or -ERROR_FINDING that names the checks that failed. */
_must_check_ int check_show_verdict(const struct check_report *report, struct error **err);
