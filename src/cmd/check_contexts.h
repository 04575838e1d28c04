/* check over many clusters: a row for each context of the kubeconfig that matches a pattern, by the API alone. */
#pragma once
#include "cmd/command.h"
#include "engine/check.h"

_must_check_ int check_contexts(struct command_context *context, struct error **err);
/* What the command line asks beyond check's own questions; lends its strings. */
struct check_policy check_policy_of(const struct options *options);
