/* Which key a value is under, and what a configuration says about that key. */
#include "engine/census_internal.h"

void census_key_clear(struct census_key *key)
{
	free(key->name);
	free(key->key_id);
	free(key->dek_source);
	free(key->annotations);
	free(key->example);
	free(key->why_closed);
}

void census_key_free(struct census_key *key)
{
	if (!key)
		return;
	census_key_clear(key);
	free(key);
}

void census_keys_free(struct census_key **keys, size_t *count)
{
	for (size_t i = 0; i < *count; i++)
		census_key_clear(&(*keys)[i]);
	free(*keys);
	*keys = NULL;
	*count = 0;
}

void tally_clear(struct tally *tally)
{
	for (size_t i = 0; i < tally->count; i++)
		census_key_clear(&tally->keys[i]);
	free(tally->keys);
	free(tally->hashes);
	free(tally->openers);
	*tally = (struct tally){.closed = tally->closed};
}

/* FNV-1a. An attacker gains nothing from equal hashes: names are compared as well, and there is a cap on their
 * number. */
static uint64_t hash_text(uint64_t hash, const char *text)
{
	do {
		hash ^= (uint8_t)*text;
		hash *= UINT64_C(0x100000001b3);
	} while (*text++);
	return hash;
}

static uint64_t hash_info(const struct etcd_value_info *info, const char *dek_source)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325) ^ (uint64_t)info->provider ^ ((uint64_t)info->kms_version << 8);
	return hash_text(hash_text(hash_text(hash, info->name), info->key_id), dek_source);
}

static bool same_key_id(const struct census_key *key, const struct etcd_value_info *info)
{
	return key->provider == info->provider && key->kms_version == info->kms_version &&
	       strcmp(key->name, info->name) == 0 && strcmp(key->key_id, info->key_id) == 0;
}

static bool is_key(const struct census_key *key, const struct etcd_value_info *info, const char *dek_source,
		   bool lumped)
{
	return key->lumped == lumped && same_key_id(key, info) && strcmp(key->dek_source, dek_source) == 0;
}

static struct census_key *find(struct tally *tally, const struct etcd_value_info *info, const char *dek_source,
			       bool lumped, uint64_t hash)
{
	for (size_t i = 0; i < tally->count; i++) {
		if (tally->hashes[i] == hash && is_key(&tally->keys[i], info, dek_source, lumped)) {
			tally->last = i;
			return &tally->keys[i];
		}
	}
	return NULL;
}

static struct census_key *add(struct tally *tally, const struct etcd_value_info *info, const char *dek_source,
			      bool lumped, uint64_t hash)
{
	if (tally->count == CENSUS_KEYS_MAX || (tally->closed && *tally->closed))
		return NULL;
	tally->keys = xreallocarray(tally->keys, tally->count + 1, sizeof(*tally->keys));
	tally->hashes = xreallocarray(tally->hashes, tally->count + 1, sizeof(*tally->hashes));
	tally->openers = xreallocarray(tally->openers, tally->count + 1, sizeof(*tally->openers));
	tally->last = tally->count++;
	tally->hashes[tally->last] = hash;
	tally->openers[tally->last] = NULL;
	tally->keys[tally->last] = (struct census_key){
		.provider = info->provider,
		.kms_version = info->kms_version,
		.name = xstrdup(info->name),
		.key_id = xstrdup(info->key_id),
		.dek_source = xstrdup(dek_source),
		.annotations = xstrdup(lumped ? "" : info->annotations),
		.lumped = lumped,
		.in_config = true,
	};
	return &tally->keys[tally->last];
}

static bool too_many_dek_sources(const struct tally *tally, const struct etcd_value_info *info)
{
	size_t count = 0;
	for (size_t i = 0; i < tally->count; i++)
		count += same_key_id(&tally->keys[i], info) && !tally->keys[i].lumped;
	return count >= CENSUS_DEK_SOURCES_MAX;
}

struct census_key *tally_key(struct tally *tally, const struct etcd_value_info *info)
{
	/* Each KMS v1 value has a DEK of its own, which says nothing. */
	const char *dek_source = info->kms_version == 1 ? "" : info->dek_source;
	if (tally->count > 0 && is_key(&tally->keys[tally->last], info, dek_source, false))
		return &tally->keys[tally->last];
	uint64_t hash = hash_info(info, dek_source);
	struct census_key *key = find(tally, info, dek_source, false, hash);
	if (key)
		return key;
	if (dek_source[0] == '\0' || !too_many_dek_sources(tally, info))
		return add(tally, info, dek_source, false, hash);
	hash = hash_info(info, "");
	key = find(tally, info, "", true, hash);
	return key ? key : add(tally, info, "", true, hash);
}

void census_key_add(struct census_key *key, const struct etcd_kv *kv)
{
	if (!key->example)
		key->example = xstrdup(kv->key);
	if (key->objects == 0 || kv->mod_revision < key->oldest_revision)
		key->oldest_revision = kv->mod_revision;
	if (kv->mod_revision > key->newest_revision)
		key->newest_revision = kv->mod_revision;
	key->objects++;
	key->bytes += kv->value_size;
}

void census_key_add_opening(struct census_key *key, enum kms_opening opening, const char *why)
{
	key->opened += opening == KMS_OPENED;
	key->does_not_open += opening == KMS_BROKEN;
	key->refused += opening == KMS_REFUSED;
	if (opening != KMS_OPENED && opening != KMS_BROKEN && why && !key->why_closed)
		key->why_closed = xstrdup(why);
}

bool census_key_matches(const struct config_key *key, enum provider_type provider, unsigned kms_version,
			const char *name)
{
	if (key->type != provider)
		return false;
	return provider == PROVIDER_IDENTITY || (key->kms_version == kms_version && strcmp(key->name, name) == 0);
}

bool census_key_writes(const struct config_rule *rule, enum provider_type provider, unsigned kms_version,
		       const char *name, const char *key_id)
{
	const struct config_key *first = &rule->keys[0];
	return census_key_matches(first, provider, kms_version, name) &&
	       (!first->kms_key_id || text_equal(first->kms_key_id, key_id));
}

void census_key_judge(struct census_key *key, const struct config_rule *rule)
{
	if (!rule) {
		key->write_key = key->in_config = key->provider == PROVIDER_IDENTITY;
		return;
	}
	key->write_key = census_key_writes(rule, key->provider, key->kms_version, key->name, key->key_id);
	key->in_config = false;
	for (size_t i = 0; i < rule->key_count && !key->in_config; i++)
		key->in_config = census_key_matches(&rule->keys[i], key->provider, key->kms_version, key->name);
}

static int by_weight(const void *a_, const void *b_)
{
	const struct census_key *a = a_, *b = b_;
	if (a->write_key != b->write_key)
		return b->write_key - a->write_key;
	if (a->objects != b->objects)
		return a->objects < b->objects ? 1 : -1;
	int order = strcmp(a->name, b->name);
	if (order == 0)
		order = strcmp(a->key_id, b->key_id);
	return order != 0 ? order : strcmp(a->dek_source, b->dek_source);
}

void census_keys_take(struct tally *tally, struct census_key **ret, size_t *ret_count)
{
	*ret = steal(tally->keys);
	*ret_count = tally->count;
	tally->count = 0;
	if (*ret_count > 1)
		qsort(*ret, *ret_count, sizeof(**ret), by_weight);
}

static bool same_but_dek(const struct census_key *a, const struct census_key *b)
{
	return a->provider == b->provider && a->kms_version == b->kms_version && strcmp(a->name, b->name) == 0 &&
	       strcmp(a->key_id, b->key_id) == 0;
}

struct census_key_sum census_key_sum(const struct census_key *keys, size_t count, const struct census_key *like)
{
	struct census_key_sum sum = {0};
	for (size_t i = 0; i < count; i++) {
		if (!same_but_dek(&keys[i], like))
			continue;
		if (!sum.first)
			sum.first = &keys[i];
		sum.objects += keys[i].objects;
		sum.bytes += keys[i].bytes;
		sum.opened += keys[i].opened;
		sum.does_not_open += keys[i].does_not_open;
		if (keys[i].why_closed && (!sum.why || (sum.refused == 0 && keys[i].refused > 0)))
			sum.why = keys[i].why_closed;
		sum.refused += keys[i].refused;
		sum.lumped |= keys[i].lumped;
		sum.dek_sources++;
	}
	if (like->provider != PROVIDER_IDENTITY)
		sum.not_opened = sum.objects - sum.opened - sum.does_not_open;
	return sum;
}

char *census_closed_text(const struct census_key *keys, size_t count, size_t i)
{
	struct census_key_sum sum = census_key_sum(keys, count, &keys[i]);
	if (sum.first != &keys[i] || sum.not_opened == 0)
		return NULL;
	_cleanup_free_ char *label = census_key_label(&keys[i]), *values = text_human_count(sum.not_opened);
	const char *why = sum.why              ? sum.why
			  : !keys[i].in_config ? "the configuration does not have it"
			  : keys[i].provider == PROVIDER_KMS && keys[i].kms_version == 1
				  ? "the DEKs of KMS v1 are not asked for"
				  : "its plugin was not asked";
	return xasprintf("%s %s under %s %s not opened: %s", values, sum.not_opened == 1 ? "value" : "values", label,
			 sum.not_opened == 1 ? "was" : "were", why);
}

char *census_key_label(const struct census_key *key)
{
	if (key->provider == PROVIDER_IDENTITY)
		return xstrdup("plaintext");
	_cleanup_free_ char *name = text_printable(key->name, strlen(key->name), 128);
	if (key->provider != PROVIDER_KMS)
		return xasprintf("%s/%s", provider_name(key->provider), name);
	if (key->key_id[0] == '\0')
		return xasprintf("kms v%u/%s", key->kms_version, name);
	_cleanup_free_ char *id = text_printable(key->key_id, strlen(key->key_id), 128);
	return xasprintf("kms v%u/%s key ID %s", key->kms_version, name, id);
}
