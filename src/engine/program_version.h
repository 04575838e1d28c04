/* Which versions of kube-rekey may work together: docs/install.md, "Changing the version". */
#pragma once
#include <stdbool.h>

/* Of `agent`, as it reports it, under a controller of `controller`: "MAJOR.MINOR.PATCH". The same MAJOR, and the same MINOR or
 * the one before. NULL and what is no version: no. */
bool program_version_fits(const char *controller, const char *agent);
