/* What kube-apiserver checks beyond the fields (validation_encryption.go and the masking check in
 * server/options/encryptionconfig/config.go, 1.33 to 1.36), and what is stricter here, because it would lose data or hide
 * it from a census:
 *   - one resource in two rules: kube-apiserver joins both provider lists, and no part of the file says so;
 *   - one key name of a provider type for two different keys, anywhere in the file: values name only the key;
 *   - one key or identity twice in a rule;
 *   - one KMS v1 name for two endpoints. */
#include <ctype.h>
#include <string.h>
#include "format/config_internal.h"

struct resource_fault {
	const char *name; /* the whole name, or with a leading '.' the group */
	const char *what;
};

static const struct resource_fault faults[] = {
	{"*", "\"*\" alone means nothing to kube-apiserver; write \"*.\" for the core group or \"*.*\" for everything"},
	{"apiserveripinfo", "a resource without a REST API, which cannot be encrypted; remove it"},
	{"serviceipallocations", "a resource without a REST API, which cannot be encrypted; remove it"},
	{"servicenodeportallocations", "a resource without a REST API, which cannot be encrypted; remove it"},
	{".events.k8s.io", "objects of events.k8s.io are stored as \"events\"; write that"},
	{".extensions", "group extensions does not exist any more; remove it"},
};

static int check_resource_name(const struct encryption_config *config, const struct tree_node *node, struct error **err)
{
	const char *name = tree_text(node), *group = strchr(name, '.');
	for (const char *at = name; *at; at++) {
		if (isupper((unsigned char)*at))
			return config_error(config, node, err,
					    "a resource name with a capital letter; write it in lower case");
		if ((unsigned char)*at <= 0x20 || (unsigned char)*at >= 0x7f)
			return config_error(config, node, err,
					    "a resource name with a character that no resource has; correct it");
	}
	for (size_t i = 0; i < ELEMENTS(faults); i++) {
		if (strcmp(name, faults[i].name) == 0 ||
		    (group && faults[i].name[0] == '.' && strcmp(group, faults[i].name) == 0))
			return config_error(config, node, err, "%s", faults[i].what);
	}
	if (group && strcmp(group, ".*") == 0 && strcmp(name, "*.*") != 0)
		return config_error(config, node, err,
				    "one resource in every group cannot be named; write each with its group");
	return 0;
}

/* A resource against those before it in the same list: order does not matter there. */
static int check_same_rule(const struct encryption_config *config, const struct tree_node *list, size_t index,
			   struct error **err)
{
	const char *name = tree_text(list->items[index]);
	for (size_t i = 0; i < index; i++) {
		const char *other = tree_text(list->items[i]);
		bool covers = config_pattern_covers(other, name), covered = config_pattern_covers(name, other);
		if (covers && covered)
			return config_error(config, list->items[index], err,
					    "a resource twice in one list (first in line %zu); remove one",
					    list->items[i]->line);
		if (covers || covered)
			return config_error(config, list->items[index], err,
					    "a resource and a wildcard over it (line %zu) in one list; remove one",
					    list->items[i]->line);
	}
	return 0;
}

/* A resource against an earlier rule. */
static int check_earlier_rule(const struct encryption_config *config, const struct tree_node *node,
			      const struct tree_node *earlier, struct error **err)
{
	for (size_t i = 0; i < earlier->count; i++) {
		const char *name = tree_text(node), *other = tree_text(earlier->items[i]);
		if (!config_pattern_covers(other, name))
			continue;
		if (config_pattern_covers(name, other))
			return config_error(config, node, err,
					    "a resource that line %zu names in another rule; kube-apiserver would join "
					    "both provider lists: "
					    "write one rule",
					    earlier->items[i]->line);
		return config_error(config, node, err,
				    "a rule hidden by the wildcard in line %zu, which kube-apiserver refuses; move it "
				    "before that rule",
				    earlier->items[i]->line);
	}
	return 0;
}

static int check_resources(const struct encryption_config *config, size_t rule, struct error **err)
{
	const struct tree_node *list = config->rules[rule].resources;
	for (size_t i = 0; i < list->count; i++) {
		int rc = check_resource_name(config, list->items[i], err);
		if (rc == 0)
			rc = check_same_rule(config, list, i, err);
		for (size_t r = 0; rc == 0 && r < rule; r++)
			rc = check_earlier_rule(config, list->items[i], config->rules[r].resources, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* KMS v2 names are unique in the whole file. A v1 name may come again in another rule, while the server does not reload
 * by itself, but only for the same plugin. */
static int check_kms_pair(const struct encryption_config *config, const struct config_key *a,
			  const struct config_key *b, const struct config_place *at, const struct config_place *first,
			  struct error **err)
{
	if (b->kms_version == 2)
		return config_error(config, at->name, err,
				    "a KMS name that line %zu has already, which kube-apiserver refuses; rename one",
				    first->name->line);
	if (a->kms_version != b->kms_version || strcmp(a->kms_endpoint, b->kms_endpoint) != 0)
		return config_error(config, at->name, err,
				    "a KMS name that line %zu has for another plugin; rename one", first->name->line);
	return 0;
}

static int check_pair(const struct encryption_config *config, const size_t a[2], const size_t b[2], struct error **err)
{
	const struct config_key *first = &config->shape->rules[a[0]].keys[a[1]],
				*key = &config->shape->rules[b[0]].keys[b[1]];
	const struct config_place *first_place = &config->rules[a[0]].keys[a[1]],
				  *place = &config->rules[b[0]].keys[b[1]];
	if (first->type != key->type || strcmp(first->name, key->name) != 0)
		return 0;
	if (a[0] == b[0])
		return config_error(config, place->name, err, "%s twice in one rule (first in line %zu); remove one",
				    key->type == PROVIDER_IDENTITY ? "identity" : "a name of one provider type",
				    first_place->name->line);
	if (key->type == PROVIDER_KMS)
		return check_kms_pair(config, first, key, place, first_place, err);
	bool known = first_place->bytes && place->bytes;
	if (key->type != PROVIDER_IDENTITY && known && !secret_equal(first_place->bytes, place->bytes))
		return config_error(config, place->name, err,
				    "the key name of line %zu for other bytes; values in etcd name only the key: "
				    "rename one before it is used",
				    first_place->name->line);
	return 0;
}

/* Every key against those before it. The node cap of the tree keeps the square small. */
static int check_key(const struct encryption_config *config, size_t rule, size_t index, struct error **err)
{
	const size_t at[2] = {rule, index};
	for (size_t r = 0; r <= rule; r++) {
		size_t count = r == rule ? index : config->shape->rules[r].key_count;
		for (size_t i = 0; i < count; i++) {
			int rc = check_pair(config, (const size_t[2]){r, i}, at, err);
			if (rc < 0)
				return rc;
		}
	}
	return 0;
}

int config_check(const struct encryption_config *config, struct error **err)
{
	for (size_t rule = 0; rule < config->shape->rule_count; rule++) {
		int rc = check_resources(config, rule, err);
		for (size_t i = 0; rc == 0 && i < config->shape->rules[rule].key_count; i++)
			rc = check_key(config, rule, i, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}
