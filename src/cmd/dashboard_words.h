/* What a rotation does, and what a person may do about it, in sentences. Pure. */
#pragma once
#include "cmd/fleet_view.h"

/* Of a phase, as KeyRotation.status.phase has it (NULL and "": none yet). Static. */
const char *dashboard_doing(const char *phase);
/* What a person may do, by the reason of a condition, "NOT_LOADED"; NULL: nothing, for it does something. Static. */
const char *dashboard_advice(const char *reason);
/* A sentence each, the most pressing first; at least one. */
void dashboard_todo(const struct fleet_view *view, struct strings *ret);
