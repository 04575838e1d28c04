/* New text in the manner of its neighbours, from a model (config_model.h). */
#pragma once
#include "format/config_model.h"

/* An item for an existing block list: whole lines. */
_must_check_ int config_render_lines(const struct encryption_config *config, const struct tree_node *list,
				     const struct model *item, struct secret **ret, struct error **err);
/* An item for an existing flow list, without what stands around it; `indent` is the indentation of its line. */
_must_check_ int config_render_flow(const struct encryption_config *config, const struct model *item,
				    const char *indent, struct secret **ret, struct error **err);
