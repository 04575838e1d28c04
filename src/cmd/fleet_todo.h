/* What a person may do about a rotation, in sentences. Pure. */
#pragma once
#include "cmd/fleet_view.h"

/* A sentence each, the most pressing first; at least one. */
void fleet_todo(const struct fleet_view *view, struct strings *ret);
