/* Parts of the file that new text is modelled on: the nearest of the same kind. NULL where the file has none. */
#pragma once
#include "format/config_internal.h"

/* The item of `providers:` after which a provider of this type is written: in the same rule, of the same type, as far as
 * possible; any with keys for a provider with keys. */
const struct tree_node *config_sample_provider(const struct encryption_config *config, size_t rule,
					       enum provider_type type);
/* The value of its one field. */
const struct tree_node *config_sample_value(const struct tree_node *provider);
/* A mapping's field, an item of a list, or NULL, so that calls nest. */
const struct tree_node *config_sample_field(const struct tree_node *mapping, const char *name);
const struct tree_node *config_sample_item(const struct tree_node *list);
