/* What a person may do about a rotation, in sentences. Pure. */
#pragma once
#include "cmd/fleet_view.h"

/* By the reason of a condition, "NOT_LOADED"; NULL: nothing, for it does something. Static. */
const char *fleet_advice(const char *reason);
/* A sentence each, the most pressing first; at least one. */
void fleet_todo(const struct fleet_view *view, struct strings *ret);
