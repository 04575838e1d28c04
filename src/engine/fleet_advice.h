/* What a person may do about a rotation of several API servers that waits or is blocked. Pure. */
#pragma once

/* A sentence or two, by the reason of a condition, "NOT_LOADED"; NULL: nothing, for it does something. Static. */
const char *fleet_advice(const char *reason);
