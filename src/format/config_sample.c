#include "format/config_sample.h"
#include <string.h>

static bool has_keys(enum provider_type type)
{
	return type != PROVIDER_IDENTITY && type != PROVIDER_KMS;
}

/* How well the provider of a key serves as a sample: 0 not at all. */
static int rate(const struct encryption_config *config, size_t rule, size_t key, size_t wanted_rule,
		enum provider_type type)
{
	const struct config_rule_place *place = &config->rules[rule];
	const struct tree_node *node = place->providers->items[place->keys[key].provider];
	enum provider_type has = config->shape->rules[rule].keys[key].type;
	if (node->alias || place->node->alias || place->providers->alias || node->items[0]->merge)
		return 0;
	if (has != type && !has_keys(has) && (has_keys(type) || has == PROVIDER_IDENTITY))
		return rule == wanted_rule ? 2 : 1; /* block or flow can be seen, no more */
	return 3 + (has == type) + 2 * (rule == wanted_rule);
}

const struct tree_node *config_sample_provider(const struct encryption_config *config, size_t rule,
					       enum provider_type type)
{
	const struct tree_node *best = NULL;
	int best_rate = 0;
	for (size_t r = 0; r < config->shape->rule_count; r++) {
		for (size_t k = 0; k < config->shape->rules[r].key_count; k++) {
			int is = rate(config, r, k, rule, type);
			if (is <= best_rate)
				continue;
			best_rate = is;
			best = config->rules[r].providers->items[config->rules[r].keys[k].provider];
		}
	}
	return best;
}

const struct tree_node *config_sample_value(const struct tree_node *provider)
{
	const struct tree_node *value = provider && provider->count == 2 ? provider->items[1] : NULL;
	return value && value->count > 0 ? value : NULL; /* of {} nothing can be learned */
}

const struct tree_node *config_sample_field(const struct tree_node *mapping, const char *name)
{
	return mapping && mapping->kind == TREE_MAPPING ? config_field(mapping, name) : NULL;
}

const struct tree_node *config_sample_item(const struct tree_node *list)
{
	return list && list->kind == TREE_SEQUENCE && list->count > 0 ? list->items[0] : NULL;
}
