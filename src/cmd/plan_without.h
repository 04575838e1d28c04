/* plan --without-key: what would be lost with a key, and when anybody would notice. */
#pragma once
#include "cmd/command.h"

/* Changes nothing. -ERROR_FINDING where something would be lost; -ERROR_REFUSED where that is not known. */
_must_check_ int plan_without(struct command_context *context, struct error **err);
