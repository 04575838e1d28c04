/* One scalar as text: quoted as its neighbours are, and as the value needs. */
#pragma once
#include "format/yaml_tree.h"

/* Appends it to `out`: plain where asked for and safe, else in single quotes; double quotes, as in JSON,
 * where asked for or where control characters need them.
 * `flow`: inside {} or []. -ERROR_LIMIT at the cap. */
_must_check_ int scalar_write(const char *text, enum tree_style style, bool flow, struct secret *out);
