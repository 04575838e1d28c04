/* The parts of gathering. */
#pragma once
#include "engine/check_gather.h"
#include "engine/check_internal.h"

/* Each waits, and fails only when interrupted. */
_must_check_ int check_gather_servers(const struct check_sources *in, struct check_facts *ret, struct error **err);
_must_check_ int check_gather_node(const struct check_sources *in, struct check_facts *ret, struct error **err);
_must_check_ int check_gather_values(const struct check_sources *in, struct check_facts *ret, struct error **err);
_must_check_ int check_gather_writes(const struct check_sources *in, struct check_facts *ret, struct error **err);
/* A failure that is a fact: keeps its words in *ret_why and gives 0; but an interruption stays one. */
int check_keep_why(int rc, struct error **failed, char **ret_why, struct error **err);
