/* One scalar as text: quoted as its neighbours are, and as the value needs. */
#pragma once
#include "format/yaml_tree.h"

/* Appends it to `out`: plain and single quotes where asked for and possible, else double quotes as in JSON.
 * `flow`: inside {} or []. -ERROR_LIMIT at the cap. */
_must_check_ int scalar_write(const char *text, enum tree_style style, bool flow, struct secret *out);
