/* One value: where it lies, what it is under, and whether its key opens it. */
#include "engine/census_internal.h"

#include "base/secret.h"

/* ---- values of a resource ---- */

static void judge_new_key(struct census_scan *scan, size_t index, struct census_key *key)
{
	const struct census_options *options = scan->options;
	const struct config_rule *rule = scan->rules[index];
	struct tally *tally = &scan->tallies[index];
	if (options->shape)
		census_key_judge(key, config_shape_rule(options->shape, scan->census->resources[index].entry->storage));
	if (!options->open_with || key->provider == PROVIDER_IDENTITY || key->provider == PROVIDER_KMS)
		return;
	/* A key that this configuration does not have has no bytes to open with: that its values are there says
	 * enough. */
	if (rule && config_rule_find(rule, key->provider, key->name))
		tally->openers[key - tally->keys] = encryption_config_key(options->open_with, key->provider, key->name);
}

bool census_value_opens(const struct secret *opener, const struct census_key *key, const struct etcd_kv *kv)
{
	return kv->value &&
	       etcd_value_open(key->provider, opener, kv->key, kv->key_len, kv->value, kv->value_len, NULL) == 0;
}

static void report_stale(const struct census_scan *scan, const struct map_entry *entry, const char *key)
{
	_cleanup_free_ char *namespace_ = NULL, *name = NULL;
	const struct census_options *options = scan->options;
	if (options->on_stale && resource_map_split(entry, key, &namespace_, &name))
		options->on_stale(options->stale_arg, entry->resource, namespace_, name);
}

static void count_unknown(struct census_scan *scan, struct census_resource *resource, const struct etcd_kv *kv)
{
	resource->unknown++;
	scan->census->unknown++;
	if (scan->census->unknown_paths.count < CENSUS_UNKNOWN_MAX)
		strings_add(&scan->census->unknown_paths, kv->key);
	if (!resource->unknown_example)
		resource->unknown_example = xstrdup(kv->key);
}

const struct config_key *census_value_plugin(const struct config_rule *rule, const struct etcd_value_info *info)
{
	if (!rule || info->state != ETCD_VALUE_KNOWN || info->provider != PROVIDER_KMS || info->kms_version != 2)
		return NULL;
	const struct config_key *key = config_rule_find(rule, PROVIDER_KMS, info->name);
	return key && key->kms_version == info->kms_version ? key : NULL;
}

/* `opening`: what its plugin's key made of it. */
static void count_opening(struct census_scan *scan, size_t index, struct census_key *key, const struct etcd_kv *kv,
			  enum kms_opening opening, const char *why)
{
	struct census *census = scan->census;
	const struct tally *tally = &scan->tallies[index];
	const struct secret *local = tally->openers[key - tally->keys];
	if (local)
		opening = census_value_opens(local, key, kv) ? KMS_OPENED : KMS_BROKEN;
	census_key_add_opening(key, opening, why);
	switch (opening) {
	case KMS_OPENED:
		census->opened++;
		return;
	case KMS_BROKEN:
		census->resources[index].does_not_open++;
		census->does_not_open++;
		if (!census->does_not_open_example)
			census->does_not_open_example = xstrdup(kv->key);
		census_lose(census, census->resources[index].entry, key, kv->key, LOST_BROKEN);
		return;
	case KMS_REFUSED:
		census->refused++;
		census->refused_writes += key->write_key;
		census_lose(census, census->resources[index].entry, key, kv->key, LOST_REFUSED);
		break;
	case KMS_CLOSED:
	case KMS_ASK:
		break;
	}
	census->not_opened += key->provider != PROVIDER_IDENTITY;
}

static void count_mapped(struct census_scan *scan, size_t index, const struct etcd_kv *kv, enum kms_opening opening,
			 const char *why)
{
	struct census *census = scan->census;
	struct census_resource *resource = &census->resources[index];
	struct tally *tally = &scan->tallies[index];
	resource->objects++;
	resource->bytes += kv->value_size;
	if (kv->value_size > resource->largest)
		resource->largest = kv->value_size;
	struct census_key *key = kv->info->state == ETCD_VALUE_KNOWN ? tally_key(tally, kv->info) : NULL;
	if (!key) {
		scan->too_many_keys |= kv->info->state == ETCD_VALUE_KNOWN;
		count_unknown(scan, resource, kv);
		return;
	}
	if (key->objects == 0)
		judge_new_key(scan, index, key);
	census_key_add(key, kv);
	if (scan->options->on_value)
		scan->options->on_value(scan->options->value_arg, resource->entry, key, kv->key);
	if (scan->options->shape && !key->write_key) {
		resource->stale++;
		census->stale++;
		report_stale(scan, resource->entry, kv->key);
	}
	if (!key->in_config) {
		resource->unreadable++;
		census->unreadable++;
		census_lose(census, resource->entry, key, kv->key, LOST_NO_KEY);
	}
	count_opening(scan, index, key, kv, opening, why);
}

/* ---- values outside the map ---- */

/* What kube-apiserver keeps for itself, always in plaintext: the allocations of cluster IPs and node ports, the
 * leases of
 * the endpoint reconcilers, and the compactor's mark, which alone stands outside the prefix and is no object. */
static bool is_own_bookkeeping(const struct census_scan *scan, const struct etcd_kv *kv)
{
	static const char *const own[] = {"/ranges/", "/masterleases/", "/peerserverleases/"};
	size_t len = strlen(scan->prefix);
	if (strcmp(kv->key, "compact_rev_key") == 0)
		return kv->info->provider == PROVIDER_IDENTITY && kv->info->state != ETCD_VALUE_TRUNCATED;
	if (kv->info->state != ETCD_VALUE_KNOWN || kv->info->provider != PROVIDER_IDENTITY ||
	    strncmp(kv->key, scan->prefix, len) != 0)
		return false;
	for (size_t i = 0; i < ELEMENTS(own); i++) {
		if (text_starts(kv->key + len, own[i]))
			return true;
	}
	return false;
}

bool census_lies_under(const char *path, const char *prefix)
{
	size_t len = strlen(prefix);
	while (len > 0 && prefix[len - 1] == '/')
		len--;
	return strncmp(path, prefix, len) == 0 && (path[len] == '\0' || path[len] == '/');
}

static bool is_foreign(const struct census_scan *scan, const struct etcd_kv *kv)
{
	const struct strings *foreign = scan->options->foreign_prefixes;
	for (size_t i = 0; foreign && i < foreign->count; i++) {
		if (census_lies_under(kv->key, foreign->items[i]))
			return true;
	}
	return false;
}

static void name_outside(struct census *census, const struct etcd_kv *kv, bool unknown)
{
	census->outside_count++;
	census->outside_unknown += unknown;
	if (census->outside_named == CENSUS_OUTSIDE_MAX)
		return;
	if (!census->outside)
		census->outside = xcalloc(CENSUS_OUTSIDE_MAX, sizeof(*census->outside));
	census->outside[census->outside_named++] = (struct census_outside){
		.path = xstrdup(kv->key),
		.provider = kv->info->provider,
		.kms_version = kv->info->kms_version,
		.name = xstrdup(kv->info->name),
		.unknown = unknown,
	};
}

static void count_outside(struct census_scan *scan, const struct etcd_kv *kv)
{
	struct census *census = scan->census;
	bool known = kv->info->state == ETCD_VALUE_KNOWN, plain = known && kv->info->provider == PROVIDER_IDENTITY;
	if (is_own_bookkeeping(scan, kv)) {
		census->expected_plain++;
		return;
	}
	bool foreign = is_foreign(scan, kv);
	struct census_key *key = known ? tally_key(foreign ? &scan->foreign : &scan->outside, kv->info) : NULL;
	if (key)
		census_key_add(key, kv);
	scan->too_many_keys |= known && !key && !foreign;
	if (foreign)
		return;
	if (!plain) {
		name_outside(census, kv, !key);
		return;
	}
	census->outside_plain++;
	if (!census->outside_plain_example)
		census->outside_plain_example = xstrdup(kv->key);
}

/* ---- finding where it lies ---- */

static const struct map_entry *entry_of(const struct census_scan *scan, size_t etcd, const struct map_entry **cache,
					const struct etcd_kv *kv)
{
	const struct map_entry *entry = *cache;
	/* Keys come sorted: the entry changes rarely. */
	if (entry && strncmp(kv->key, entry->prefix, strlen(entry->prefix)) == 0)
		return entry;
	entry = resource_map_find(&scan->census->map, etcd, kv->key, kv->key_len);
	*cache = entry && !scan->nests[entry - scan->census->map.entries] ? entry : NULL;
	return entry;
}

/* Whether a value of a resource is under its write key. */
static bool is_current(const struct census_scan *scan, size_t index, const struct etcd_value_info *info)
{
	const struct config_rule *rule = scan->writers[index];
	return rule && census_key_writes(rule, info->provider, info->kms_version, info->name, info->key_id);
}

int census_scan_value(struct census_scan *scan, size_t etcd, const struct map_entry *only,
		      const struct map_entry **cache, const struct etcd_kv *kv)
{
	const struct map_entry *entry = entry_of(scan, etcd, cache, kv);
	size_t index = entry ? scan->counted[entry - scan->census->map.entries] : SIZE_MAX;
	bool elsewhere = only && entry != only; /* of a resource whose prefix lies within this one */
	enum kms_opening opening = KMS_CLOSED;
	const char *why = NULL;
	const struct config_key *plugin = scan->opener && index != SIZE_MAX && !elsewhere
						  ? census_value_plugin(scan->rules[index], kv->info)
						  : NULL;
	if (plugin)
		opening = kms_opener_try(scan->opener, plugin, is_current(scan, index, kv->info), kv, &why);
	if (opening == KMS_ASK)
		return -ERROR_BUSY;
	scan->census->values++;
	scan->census->bytes += kv->value_size;
	if (elsewhere)
		return 0;
	if (!entry)
		count_outside(scan, kv);
	else if (index != SIZE_MAX)
		count_mapped(scan, index, kv, opening, why);
	return 0;
}
