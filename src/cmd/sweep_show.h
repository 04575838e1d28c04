/* What came of a sweep, by resource, and which objects could not be rewritten. */
#pragma once
#include "base/json_writer.h"
#include "engine/sweep.h"

/* Members "resources" and "quarantined" of an object that is open. */
void sweep_show_json(struct json_writer *w, const struct sweep_result *result);
/* The same for people; new string. */
char *sweep_text(const struct sweep_result *result);
