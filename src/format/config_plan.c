/* What becomes of each rule, provider and key. Matching is by meaning, so that text which only moves is kept:
 *   rules by their resources (most in common, equal lists first);
 *   a rule's flat list of keys is cut into segments, one for each item of `providers:`, and each item of the file takes
 *   the segment that holds most of its keys;
 *   keys by type, name and fingerprint; identity and kms by everything they say. */
#include "format/config_plan.h"
#include <stdio.h>
#include <string.h>
#include "base/clock.h"
#include "format/config_list.h"
#include "format/config_sample.h"

#define NONE ((size_t)-1)

struct plan {
	const struct encryption_config *config;
	const struct config_shape *to;
	const struct keyring *extra;
	struct error **err;
};

/* Consecutive keys of the target that stand, or will stand, in one item of `providers:`. */
struct segment {
	size_t first, count; /* of the target rule's keys */
	size_t source;       /* the item of the file that its keys come from; NONE when all are new */
	bool claims;         /* that item becomes this segment */
};

static bool has_keys(enum provider_type type)
{
	return type != PROVIDER_IDENTITY && type != PROVIDER_KMS;
}

/* The index in the file's rule of a target key, or NONE. */
static size_t find_key(const struct config_rule *rule, const struct config_key *key)
{
	for (size_t i = 0; i < rule->key_count; i++) {
		if (config_key_same(&rule->keys[i], key))
			return i;
	}
	return NONE;
}

/* The item of `keys:` in its list. */
static size_t index_in(const struct tree_node *list, const struct tree_node *item)
{
	for (size_t i = 0; i < list->count; i++) {
		if (list->items[i] == item)
			return i;
	}
	return NONE;
}

static const struct tree_node *provider_keys(const struct config_rule_place *place, size_t provider)
{
	return config_sample_field(config_sample_value(place->providers->items[provider]), "keys");
}

static const struct secret *find_bytes(const struct plan *plan, const struct config_key *key)
{
	char fingerprint[13];
	const struct secret *bytes = encryption_config_key(plan->config, key->type, key->name);
	if (bytes) {
		key_fingerprint(bytes, fingerprint);
		if (strcmp(fingerprint, key->fingerprint) == 0)
			return bytes;
	}
	for (size_t i = 0; plan->extra && i < plan->extra->count; i++) {
		const struct keyring_entry *entry = &plan->extra->entries[i];
		if (entry->type != key->type || strcmp(entry->name, key->name) != 0)
			continue;
		key_fingerprint(entry->bytes, fingerprint);
		if (strcmp(fingerprint, key->fingerprint) == 0)
			return entry->bytes;
	}
	return NULL;
}

static int model_key(const struct plan *plan, const struct config_key *key, const struct tree_node *sample,
		     struct model **ret)
{
	const struct secret *bytes = find_bytes(plan, key);
	if (!bytes)
		return error_set(
			plan->err, ERROR_INPUT,
			"%s: the bytes of key %s/%s are neither in the file nor given; give the file that has them",
			plan->config->name, provider_name(key->type), key->name);
	_cleanup_secret_ text = secret_base64_encode(secret_data(bytes), secret_len(bytes));
	struct model *model = model_mapping(sample);
	model_add(model, "name", model_scalar(key->name, config_sample_field(sample, "name")));
	model_add(model, "secret", model_scalar(secret_text(text), config_sample_field(sample, "secret")));
	model_order(model);
	*ret = model;
	return 0;
}

/* As Go prints durations of whole units: "3s", "1500ms". */
static void format_timeout(uint64_t ns, char *ret, size_t size)
{
	static const struct {
		uint64_t unit;
		const char *name;
	} units[] = {{NS_PER_S, "s"}, {NS_PER_MS, "ms"}, {1000, "us"}, {1, "ns"}};
	size_t i = 0;
	while (ns % units[i].unit)
		i++;
	snprintf(ret, size, "%llu%s", (unsigned long long)(ns / units[i].unit), units[i].name);
}

static struct model *model_kms(const struct config_key *key, const struct tree_node *sample)
{
	char timeout[32];
	format_timeout(key->kms_timeout, timeout, sizeof(timeout));
	struct model *model = model_mapping(sample);
	model_add(model, "apiVersion",
		  model_scalar(key->kms_version == 2 ? "v2" : "v1", config_sample_field(sample, "apiVersion")));
	model_add(model, "name", model_scalar(key->name, config_sample_field(sample, "name")));
	model_add(model, "endpoint", model_scalar(key->kms_endpoint, config_sample_field(sample, "endpoint")));
	model_add(model, "timeout", model_scalar(timeout, config_sample_field(sample, "timeout")));
	return model;
}

/* A new item of `providers:` for a segment. `place` is the file's rule, NULL for a new one: keys that the file's rule has
 * in another item bring their text along, and that item is the sample, so that both are in block or both in flow style. */
static int model_provider(const struct plan *plan, size_t rule, const struct config_rule *to,
			  const struct segment *segment, struct model **ret)
{
	const struct config_rule *from = rule == NONE ? NULL : &plan->config->shape->rules[rule];
	const struct config_rule_place *place = rule == NONE ? NULL : &plan->config->rules[rule];
	const struct config_key *first = &to->keys[segment->first];
	const struct tree_node *sample = config_sample_provider(plan->config, rule, first->type);
	if (from && segment->source != NONE && has_keys(first->type))
		sample = place->providers->items[segment->source];
	const struct tree_node *value = config_sample_value(sample), *list = config_sample_field(value, "keys");
	struct model *model = model_mapping(sample), *fields = model_mapping(value), *keys = model_list(list);
	int rc = 0;
	for (size_t i = 0; rc == 0 && has_keys(first->type) && i < segment->count; i++) {
		const struct config_key *key = &to->keys[segment->first + i];
		size_t at = from ? find_key(from, key) : NONE;
		const struct tree_node *owner = at == NONE ? NULL : provider_keys(place, place->keys[at].provider);
		struct model *item = NULL;
		if (owner && segment->source == place->keys[at].provider) {
			rc = config_touch(plan->config, place->keys[at].node, true, plan->err);
			item = model_taken(owner, index_in(owner, place->keys[at].node));
		} else {
			rc = model_key(plan, key, config_sample_item(list), &item);
		}
		if (item)
			model_push(keys, item);
	}
	if (has_keys(first->type)) {
		model_add(fields, "keys", keys);
	} else {
		model_free(keys);
		if (first->type == PROVIDER_KMS) {
			model_free(fields);
			fields = model_kms(first, value);
		} else {
			model_free(fields);
			fields = model_mapping(NULL);
		}
	}
	model_add(model, provider_name(first->type), fields);
	if (rc < 0)
		model_free(model);
	else
		*ret = model;
	return rc;
}

static bool may_join(const struct config_rule *to, const struct segment *segment, const struct config_key *key,
		     size_t source)
{
	if (!has_keys(key->type) || to->keys[segment->first].type != key->type)
		return false;
	return source == NONE || segment->source == NONE || segment->source == source;
}

/* Cuts the target's keys where the type or the item of the file that they come from changes. New keys go with those
 * before them, or else with those behind. */
static size_t cut_segments(const struct config_rule *to, const struct config_rule *from,
			   const struct config_rule_place *place, struct segment *segments)
{
	size_t count = 0;
	for (size_t i = 0; i < to->key_count; i++) {
		size_t at = find_key(from, &to->keys[i]);
		size_t source = at == NONE ? NONE : place->keys[at].provider;
		if (count > 0 && may_join(to, &segments[count - 1], &to->keys[i], source)) {
			segments[count - 1].count++;
			if (source != NONE)
				segments[count - 1].source = source;
			continue;
		}
		segments[count++] = (struct segment){.first = i, .count = 1, .source = source};
	}
	return count;
}

/* Each item of the file goes to the segment with most of its keys, the first of equals. */
static void claim(struct segment *segments, size_t count, size_t provider_count)
{
	for (size_t provider = 0; provider < provider_count; provider++) {
		size_t best = NONE;
		for (size_t i = 0; i < count; i++) {
			if (segments[i].source == provider &&
			    (best == NONE || segments[i].count > segments[best].count))
				best = i;
		}
		if (best != NONE)
			segments[best].claims = true;
	}
}

static bool same_style(const struct config_rule_place *place, size_t a, size_t b)
{
	const struct tree_node *first = a == NONE ? NULL : provider_keys(place, a),
			       *second = b == NONE ? NULL : provider_keys(place, b);
	return !first || !second || first->flow == second->flow;
}

/* Joins a segment that has no item to its neighbour of the same type, so that no item is made without need. Not where one
 * list is in block and the other in flow style: comments could not follow their keys. */
static size_t join_segments(const struct config_rule *to, const struct config_rule_place *place,
			    struct segment *segments, size_t count)
{
	size_t i = 0;
	while (i + 1 < count) {
		struct segment *a = &segments[i], *b = &segments[i + 1];
		enum provider_type type = to->keys[a->first].type;
		if (!has_keys(type) || type != to->keys[b->first].type || (a->claims && b->claims) ||
		    !same_style(place, a->source, b->source)) {
			i++;
			continue;
		}
		a->count += b->count;
		if (!a->claims && (b->claims || a->source == NONE))
			a->source = b->source;
		a->claims |= b->claims;
		memmove(b, b + 1, (count - i - 2) * sizeof(*b));
		count--;
		i -= i > 0; /* the joined one may join what is before it */
	}
	return count;
}

/* An item of the file that stays, with the keys of the segment. */
static int plan_keys(const struct plan *plan, size_t rule, const struct config_rule *to, const struct segment *segment,
		     struct text_edits *edits)
{
	const struct config_rule *from = &plan->config->shape->rules[rule];
	const struct config_rule_place *place = &plan->config->rules[rule];
	const struct tree_node *provider = place->providers->items[segment->source];
	const struct tree_node *list = provider_keys(place, segment->source);
	struct list_slots slots = {0};
	int rc = 0;
	if (!list)
		return config_error(plan->config, provider, plan->err,
				    "a provider under a merge key; write its fields out");
	for (size_t i = 0; rc == 0 && i < segment->count; i++) {
		const struct config_key *key = &to->keys[segment->first + i];
		size_t at = find_key(from, key);
		struct model *item = NULL;
		if (at != NONE && place->keys[at].provider == segment->source) {
			list_slots_keep(&slots, index_in(list, place->keys[at].node));
			continue;
		}
		const struct tree_node *owner = at == NONE ? NULL : provider_keys(place, place->keys[at].provider);
		if (owner) {
			rc = config_touch(plan->config, place->keys[at].node, true, plan->err);
			item = model_taken(owner, index_in(owner, place->keys[at].node));
		} else {
			rc = model_key(plan, key, config_sample_item(list), &item);
		}
		if (item)
			list_slots_add(&slots, item);
	}
	if (rc == 0 && !list_is_unchanged(list, &slots)) {
		rc = config_touch(plan->config, provider, false, plan->err);
		if (rc == 0)
			rc = config_touch(plan->config, config_sample_value(provider), false, plan->err);
	}
	if (rc == 0)
		rc = config_list_plan(plan->config, list, &slots, edits, plan->err);
	list_slots_free(&slots);
	return rc;
}

static int plan_segment(const struct plan *plan, size_t rule, const struct config_rule *to,
			const struct segment *segment, struct list_slots *slots)
{
	struct model *item;
	if (segment->claims) {
		struct list_slot *slot = list_slots_keep(slots, segment->source);
		return has_keys(to->keys[segment->first].type) ? plan_keys(plan, rule, to, segment, &slot->nested) : 0;
	}
	int rc = model_provider(plan, rule, to, segment, &item);
	if (rc == 0)
		list_slots_add(slots, item);
	return rc;
}

static int plan_providers(const struct plan *plan, size_t rule, const struct config_rule *to, struct text_edits *edits)
{
	const struct config_rule_place *place = &plan->config->rules[rule];
	struct segment *segments = xcalloc(to->key_count, sizeof(*segments));
	struct list_slots slots = {0};
	int rc = 0;
	size_t count = cut_segments(to, &plan->config->shape->rules[rule], place, segments);
	claim(segments, count, place->providers->count);
	count = join_segments(to, place, segments, count);
	for (size_t i = 0; rc == 0 && i < count; i++)
		rc = plan_segment(plan, rule, to, &segments[i], &slots);
	if (rc == 0)
		rc = config_list_plan(plan->config, place->providers, &slots, edits, plan->err);
	if (rc == 0 && edits->count > 0)
		rc = config_touch(plan->config, place->providers, false, plan->err);
	free(segments);
	list_slots_free(&slots);
	return rc;
}

static int plan_resources(const struct plan *plan, size_t rule, const struct config_rule *to, struct text_edits *edits)
{
	const struct config_rule *from = &plan->config->shape->rules[rule];
	const struct tree_node *list = plan->config->rules[rule].resources;
	struct list_slots slots = {0};
	for (size_t i = 0; i < to->resource_count; i++) {
		size_t at = 0;
		while (at < from->resource_count && strcmp(from->resources[at], to->resources[i]) != 0)
			at++;
		if (at < from->resource_count)
			list_slots_keep(&slots, at);
		else
			list_slots_add(&slots, model_scalar(to->resources[i], list->items[0]));
	}
	int rc = config_list_plan(plan->config, list, &slots, edits, plan->err);
	list_slots_free(&slots);
	return rc;
}

static int plan_rule(const struct plan *plan, size_t rule, const struct config_rule *to, struct text_edits *edits)
{
	struct text_edits mine = {0};
	int rc = plan_providers(plan, rule, to, &mine);
	if (rc == 0)
		rc = plan_resources(plan, rule, to, &mine);
	if (rc == 0 && mine.count > 0)
		rc = config_touch(plan->config, plan->config->rules[rule].node, false, plan->err);
	if (rc == 0)
		text_edits_move(edits, &mine);
	text_edits_free(&mine);
	return rc;
}

/* The rule of the file on which a new one is modelled. */
static size_t sample_rule(const struct plan *plan)
{
	size_t rule = 0;
	while (rule + 1 < plan->config->shape->rule_count && plan->config->rules[rule].node->alias)
		rule++;
	return rule;
}

static int model_rule(const struct plan *plan, const struct config_rule *to, struct model **ret)
{
	static const struct config_rule nothing = {0};
	const struct config_rule_place *sample = &plan->config->rules[sample_rule(plan)];
	struct segment *segments = xcalloc(to->key_count, sizeof(*segments));
	struct model *model = model_mapping(sample->node), *resources = model_list(sample->resources);
	struct model *providers = model_list(sample->providers);
	int rc = 0;
	for (size_t i = 0; i < to->resource_count; i++)
		model_push(resources, model_scalar(to->resources[i], sample->resources->items[0]));
	size_t count = cut_segments(to, &nothing, sample, segments);
	for (size_t i = 0; rc == 0 && i < count; i++) {
		struct model *provider;
		rc = model_provider(plan, NONE, to, &segments[i], &provider);
		if (rc == 0)
			model_push(providers, provider);
	}
	free(segments);
	model_add(model, "resources", resources);
	model_add(model, "providers", providers);
	model_order(model);
	if (rc < 0)
		model_free(model);
	else
		*ret = model;
	return rc;
}

static size_t resources_in_common(const struct config_rule *a, const struct config_rule *b)
{
	size_t common = 0;
	for (size_t i = 0; i < a->resource_count; i++) {
		for (size_t j = 0; j < b->resource_count; j++)
			common += strcmp(a->resources[i], b->resources[j]) == 0;
	}
	/* Equal lists before longer ones that hold them. */
	return common ? 2 * common + (a->resource_count == common && b->resource_count == common) : 0;
}

/* For each target rule the file's rule that it is, or NONE; each rule of the file once. The best pairs first. */
static void match_rules(const struct plan *plan, size_t *matches)
{
	const struct config_shape *from = plan->config->shape, *to = plan->to;
	bool *taken = xcalloc(from->rule_count, sizeof(*taken));
	for (size_t i = 0; i < to->rule_count; i++)
		matches[i] = NONE;
	for (;;) {
		size_t best = 0, best_from = 0, best_to = 0;
		for (size_t t = 0; t < to->rule_count; t++) {
			for (size_t f = 0; matches[t] == NONE && f < from->rule_count; f++) {
				size_t common = taken[f] ? 0 : resources_in_common(&from->rules[f], &to->rules[t]);
				if (common <= best)
					continue;
				best = common;
				best_from = f;
				best_to = t;
			}
		}
		if (best == 0)
			break;
		matches[best_to] = best_from;
		taken[best_from] = true;
	}
	free(taken);
}

static int plan_rules(const struct plan *plan, const size_t *matches, struct list_slots *slots)
{
	for (size_t i = 0; i < plan->to->rule_count; i++) {
		struct model *item;
		int rc;
		if (matches[i] != NONE) {
			struct list_slot *slot = list_slots_keep(slots, matches[i]);
			rc = plan_rule(plan, matches[i], &plan->to->rules[i], &slot->nested);
		} else {
			rc = model_rule(plan, &plan->to->rules[i], &item);
			if (rc == 0)
				list_slots_add(slots, item);
		}
		if (rc < 0)
			return rc;
	}
	return 0;
}

int config_plan(const struct encryption_config *config, const struct config_shape *to, const struct keyring *extra,
		struct text_edits *ret, struct error **err)
{
	struct plan plan = {config, to, extra, err};
	struct list_slots slots = {0};
	struct text_edits edits = {0};
	size_t *matches = xcalloc(to->rule_count, sizeof(*matches));
	match_rules(&plan, matches);
	int rc = plan_rules(&plan, matches, &slots);
	if (rc == 0)
		rc = config_list_plan(config, config->rules_node, &slots, &edits, err);
	if (rc == 0 && edits.count > 0)
		rc = config_touch(config, config->rules_node, false, err);
	if (rc == 0 && edits.count > 0)
		rc = config_touch(config, yaml_tree_root(config->tree), false, err);
	free(matches);
	list_slots_free(&slots);
	if (rc < 0)
		text_edits_free(&edits);
	else
		*ret = edits;
	return rc;
}
