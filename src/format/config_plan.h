/* From a file and a target shape to the edits of its text. */
#pragma once
#include "format/config_internal.h"
#include "format/text_edit.h"

/* -ERROR_INPUT: a key's bytes are nowhere, or the text cannot be edited. Comments: config_edit.c. */
_must_check_ int config_plan(const struct encryption_config *config, const struct config_shape *to,
			     const struct keyring *extra, struct text_edits *ret, struct error **err);
