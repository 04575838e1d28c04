#include "format/storage_metrics.h"

#define TRANSFORMATIONS "apiserver_storage_transformation_operations_total"
#define KEY_ID "apiserver_envelope_encryption_key_id_hash_"
#define ENCRYPTED "k8s:enc:"
#define KMS2 ENCRYPTED "kms:v2:"
#define KMS1 ENCRYPTED "kms:v1:"
#define HASH_SHOWN 19 /* characters of a hash that people see: "sha256:7c36b0a9ded0" */

/* --- collecting --- */

static uint64_t count_of(const struct prometheus_sample *sample)
{
	/* What a double counts exactly; a counter that is none counts nothing. */
	return sample->value >= 0 && sample->value <= 9007199254740992.0 ? (uint64_t)sample->value : 0;
}

static const char *label_of(const struct prometheus_sample *sample, const char *name)
{
	const char *value = prometheus_label(sample, name);
	return value ? value : "";
}

static struct storage_use *find_use(const struct storage_metrics *metrics, const char *resource, const char *prefix)
{
	for (size_t i = 0; i < metrics->use_count; i++)
		if (text_equal(metrics->uses[i].resource, resource) && text_equal(metrics->uses[i].prefix, prefix))
			return &metrics->uses[i];
	return NULL;
}

static struct storage_use *use_of(struct storage_metrics *metrics, const char *resource, const char *prefix)
{
	struct storage_use *found = find_use(metrics, resource, prefix);
	if (found)
		return found;
	metrics->uses = xreallocarray(metrics->uses, metrics->use_count + 1, sizeof(*metrics->uses));
	metrics->uses[metrics->use_count] =
		(struct storage_use){.resource = xstrdup(resource), .prefix = xstrdup(prefix)};
	return &metrics->uses[metrics->use_count++];
}

static struct storage_key_id *find_key_id(const struct storage_metrics *metrics, const char *provider, const char *hash)
{
	for (size_t i = 0; i < metrics->key_id_count; i++)
		if (text_equal(metrics->key_ids[i].provider, provider) && text_equal(metrics->key_ids[i].hash, hash))
			return &metrics->key_ids[i];
	return NULL;
}

static struct storage_key_id *key_id_of(struct storage_metrics *metrics, const char *provider, const char *hash)
{
	struct storage_key_id *found = find_key_id(metrics, provider, hash);
	if (found)
		return found;
	metrics->key_ids = xreallocarray(metrics->key_ids, metrics->key_id_count + 1, sizeof(*metrics->key_ids));
	metrics->key_ids[metrics->key_id_count] =
		(struct storage_key_id){.provider = xstrdup(provider), .hash = xstrdup(hash)};
	return &metrics->key_ids[metrics->key_id_count++];
}

static void take_use(struct storage_metrics *metrics, const struct prometheus_sample *sample)
{
	bool written = text_equal(prometheus_label(sample, "transformation_type"), "to_storage");
	if (!text_equal(prometheus_label(sample, "status"), "OK"))
		return;
	/* Plaintext is written under no prefix, and read under a word. */
	const char *prefix = label_of(sample, "transformer_prefix");
	struct storage_use *use = use_of(metrics, label_of(sample, "resource"), *prefix ? prefix : "identity");
	*(written ? &use->written : &use->read) += count_of(sample);
}

static void take_key_id(struct storage_metrics *metrics, const struct prometheus_sample *sample, const char *what)
{
	struct storage_key_id *key =
		key_id_of(metrics, label_of(sample, "provider_name"), label_of(sample, "key_id_hash"));
	bool written = text_equal(prometheus_label(sample, "transformation_type"), "to_storage");
	if (text_equal(what, "total"))
		*(written ? &key->written : &key->read) += count_of(sample);
	else if (text_equal(what, "status_last_timestamp_seconds"))
		key->named_last = sample->value;
	else if (text_equal(what, "last_timestamp_seconds") && written)
		key->written_last = sample->value;
}

void storage_metrics_collect(const struct prometheus_reader *reader, struct storage_metrics *ret)
{
	struct storage_metrics metrics = {0};
	for (size_t i = 0; i < prometheus_count(reader); i++) {
		const struct prometheus_sample *sample = prometheus_at(reader, i);
		if (text_equal(sample->name, TRANSFORMATIONS))
			take_use(&metrics, sample);
		else if (text_starts(sample->name, KEY_ID))
			take_key_id(&metrics, sample, sample->name + strlen(KEY_ID));
	}
	*ret = metrics;
}

void storage_metrics_free(struct storage_metrics *metrics)
{
	for (size_t i = 0; i < metrics->use_count; i++) {
		free(metrics->uses[i].resource);
		free(metrics->uses[i].prefix);
	}
	for (size_t i = 0; i < metrics->key_id_count; i++) {
		free(metrics->key_ids[i].provider);
		free(metrics->key_ids[i].hash);
	}
	free(metrics->uses);
	free(metrics->key_ids);
	*metrics = (struct storage_metrics){0};
}

/* --- growth --- */

/* One that is not there any more was at 0, or is forgotten: the server keeps so many series and no more. */
static bool went_back(const struct storage_metrics *before, const struct storage_metrics *after)
{
	for (size_t i = 0; i < before->use_count; i++) {
		const struct storage_use *was = &before->uses[i], *is = find_use(after, was->resource, was->prefix);
		if ((is ? is->read : 0) < was->read || (is ? is->written : 0) < was->written)
			return true;
	}
	for (size_t i = 0; i < before->key_id_count; i++) {
		const struct storage_key_id *was = &before->key_ids[i];
		const struct storage_key_id *is = find_key_id(after, was->provider, was->hash);
		if ((is ? is->read : 0) < was->read || (is ? is->written : 0) < was->written)
			return true;
	}
	return false;
}

int storage_metrics_growth(const struct storage_metrics *before, const struct storage_metrics *after,
			   struct storage_metrics *ret)
{
	if (went_back(before, after))
		return -ERROR_CONFLICT;
	struct storage_metrics growth = {0};
	for (size_t i = 0; i < after->use_count; i++) {
		const struct storage_use *is = &after->uses[i], *was = find_use(before, is->resource, is->prefix);
		struct storage_use *use = use_of(&growth, is->resource, is->prefix);
		use->read = is->read - (was ? was->read : 0);
		use->written = is->written - (was ? was->written : 0);
	}
	for (size_t i = 0; i < after->key_id_count; i++) {
		const struct storage_key_id *is = &after->key_ids[i];
		const struct storage_key_id *was = find_key_id(before, is->provider, is->hash);
		struct storage_key_id *key = key_id_of(&growth, is->provider, is->hash);
		key->read = is->read - (was ? was->read : 0);
		key->written = is->written - (was ? was->written : 0);
		key->written_last = is->written_last;
		key->named_last = is->named_last;
	}
	*ret = growth;
	return 0;
}

/* --- keys --- */

bool storage_key_same(const struct storage_key *a, const struct storage_key *b)
{
	return text_equal(a->provider, b->provider) && text_equal(a->name, b->name) && text_equal(a->hash, b->hash);
}

void storage_key_copy(const struct storage_key *from, struct storage_key *ret)
{
	*ret = (struct storage_key){xstrdup(from->provider), xstrdup(from->name), xstrdup(from->hash), from->count};
}

void storage_key_free(struct storage_key *key)
{
	free(key->provider);
	free(key->name);
	free(key->hash);
	*key = (struct storage_key){0};
}

void storage_keys_add(struct storage_keys *keys, const struct storage_key *key, uint64_t count)
{
	for (size_t i = 0; i < keys->count; i++)
		if (storage_key_same(&keys->items[i], key)) {
			keys->items[i].count += count;
			return;
		}
	keys->items = xreallocarray(keys->items, keys->count + 1, sizeof(*keys->items));
	storage_key_copy(key, &keys->items[keys->count]);
	keys->items[keys->count++].count = count;
}

void storage_keys_free(struct storage_keys *keys)
{
	for (size_t i = 0; i < keys->count; i++)
		storage_key_free(&keys->items[i]);
	free(keys->items);
	*keys = (struct storage_keys){0};
}

char *storage_key_label(const struct storage_key *key)
{
	if (text_equal(key->provider, "identity"))
		return xstrdup("plaintext");
	return xasprintf("%s/%s%s%.*s", key->provider, key->name, *key->hash ? " " : "", HASH_SHOWN, key->hash);
}

static uint64_t used(const struct storage_use *use, enum storage_direction direction)
{
	return direction == STORAGE_READ ? use->read : use->written;
}

static bool is_about(const struct storage_use *use, const char *resource)
{
	return *use->resource == '\0' || text_equal(use->resource, resource);
}

/* "k8s:enc:kms:v2:NAME:": NAME, a new string; NULL for other prefixes. */
static char *kms_name(const char *prefix, const char *head)
{
	size_t len = strlen(prefix), skip = strlen(head);
	return text_starts(prefix, head) && len > skip + 1 ? xstrndup(prefix + skip, len - skip - 1) : NULL;
}

/* "k8s:enc:aescbc:v1:", and neither KMS nor plaintext nor a key's own prefix. */
static bool is_local_provider(const char *prefix)
{
	return text_starts(prefix, ENCRYPTED) && !text_starts(prefix, ENCRYPTED "kms:");
}

/* "aescbc" of that; NULL for the others. */
static char *local_provider(const char *prefix)
{
	if (!is_local_provider(prefix))
		return NULL;
	prefix += strlen(ENCRYPTED);
	return xstrndup(prefix, strcspn(prefix, ":"));
}

/* The provider of local keys, whose own prefixes do not name it. */
static char *only_local_provider(const struct storage_metrics *metrics, const char *resource,
				 enum storage_direction direction)
{
	char *only = NULL;
	for (size_t i = 0; i < metrics->use_count; i++) {
		const struct storage_use *use = &metrics->uses[i];
		_cleanup_free_ char *provider =
			is_about(use, resource) && used(use, direction) > 0 ? local_provider(use->prefix) : NULL;
		if (!provider || text_equal(only, provider))
			continue;
		if (only) {
			free(only);
			return xstrdup("local");
		}
		only = steal(provider);
	}
	return only ? only : xstrdup("local");
}

static void add_kms2(const struct storage_metrics *metrics, const char *name, enum storage_direction direction,
		     struct storage_keys *ret)
{
	for (size_t i = 0; i < metrics->key_id_count; i++) {
		const struct storage_key_id *id = &metrics->key_ids[i];
		uint64_t count = direction == STORAGE_READ ? id->read : id->written;
		const struct storage_key key = {(char *)"kms", id->provider, id->hash, 0};
		if (count > 0 && text_equal(id->provider, name))
			storage_keys_add(ret, &key, count);
	}
}

static void add_named(struct storage_keys *ret, char *provider, char *name, uint64_t count)
{
	const struct storage_key key = {provider, name, (char *)"", 0};
	storage_keys_add(ret, &key, count);
}

static void add_use(const struct storage_metrics *metrics, const struct storage_use *use, char *local,
		    enum storage_direction direction, struct storage_keys *ret)
{
	_cleanup_free_ char *kms2 = kms_name(use->prefix, KMS2), *kms1 = kms_name(use->prefix, KMS1);
	_cleanup_free_ char *name = xstrndup(use->prefix, strlen(use->prefix) - 1);
	if (is_local_provider(use->prefix))
		return;
	if (kms2)
		add_kms2(metrics, kms2, direction, ret);
	else if (kms1)
		add_named(ret, (char *)"kms", kms1, used(use, direction));
	else if (text_equal(use->prefix, "identity"))
		add_named(ret, use->prefix, (char *)"", used(use, direction));
	else
		add_named(ret, local, name, used(use, direction));
}

void storage_keys_of(const struct storage_metrics *metrics, const char *resource, enum storage_direction direction,
		     struct storage_keys *ret)
{
	_cleanup_free_ char *local = only_local_provider(metrics, resource, direction);
	_cleanup_strings_ seen = {0};
	*ret = (struct storage_keys){0};
	for (size_t i = 0; i < metrics->use_count; i++) {
		const struct storage_use *use = &metrics->uses[i];
		bool kms = text_starts(use->prefix, KMS2);
		/* Counts by key ID are of the provider: once is enough. */
		if (!is_about(use, resource) || used(use, direction) == 0 || (kms && strings_has(&seen, use->prefix)))
			continue;
		if (kms)
			strings_add(&seen, use->prefix);
		add_use(metrics, use, local, direction, ret);
	}
}

bool storage_names_resources(const struct storage_metrics *metrics)
{
	for (size_t i = 0; i < metrics->use_count; i++)
		if (*metrics->uses[i].resource == '\0')
			return false;
	return metrics->use_count > 0;
}

void storage_encrypted_resources(const struct storage_metrics *metrics, struct strings *ret)
{
	for (size_t i = 0; i < metrics->use_count; i++) {
		const struct storage_use *use = &metrics->uses[i];
		if (*use->resource && text_starts(use->prefix, ENCRYPTED) && !strings_has(ret, use->resource))
			strings_add(ret, use->resource);
	}
}

/* --- the write key --- */

/* A local key's own prefix stands beside its provider's: only one of the two is a provider. */
static bool is_provider(const char *prefix)
{
	return text_starts(prefix, ENCRYPTED) || text_equal(prefix, "identity");
}

const char *storage_write_prefix(const struct storage_metrics *metrics, const char *resource)
{
	const char *only = NULL;
	for (size_t i = 0; i < metrics->use_count; i++) {
		const struct storage_use *use = &metrics->uses[i];
		if (!is_about(use, resource) || use->written == 0 || !is_provider(use->prefix) ||
		    text_equal(only, use->prefix))
			continue;
		if (only)
			return NULL;
		only = use->prefix;
	}
	return only;
}

uint64_t storage_reads_of(const struct storage_metrics *metrics, const char *resource)
{
	uint64_t total = 0;
	for (size_t i = 0; i < metrics->use_count; i++)
		if (is_about(&metrics->uses[i], resource) && is_provider(metrics->uses[i].prefix))
			total += metrics->uses[i].read;
	return total;
}

bool storage_wrote_since(const struct storage_metrics *metrics, const char *resource, const struct storage_key *key,
			 double since)
{
	bool wrote = false;
	for (size_t i = 0; i < metrics->key_id_count; i++) {
		const struct storage_key_id *id = &metrics->key_ids[i];
		wrote = wrote || (*key->hash && text_equal(id->provider, key->name) &&
				  text_equal(id->hash, key->hash) && id->written_last > since);
	}
	for (size_t i = 0; wrote && i < metrics->use_count; i++) {
		const struct storage_use *use = &metrics->uses[i];
		_cleanup_free_ char *name = use->written > 0 ? kms_name(use->prefix, KMS2) : NULL;
		if (text_equal(name, key->name) && !text_equal(use->resource, resource))
			wrote = false;
	}
	return wrote;
}

bool storage_wrote_other(const struct storage_metrics *growth, const char *resource, const struct storage_key *key)
{
	struct storage_keys keys;
	bool other = false;
	/* By itself: a scrape may fall between what a key ID counts and what its provider does. */
	for (size_t i = 0; *key->hash && i < growth->key_id_count; i++)
		other = other ||
			(growth->key_ids[i].written > 0 && text_equal(growth->key_ids[i].provider, key->name) &&
			 !text_equal(growth->key_ids[i].hash, key->hash));
	/* Before 1.32 other resources' writes are among the rest, which may be under other providers. */
	if (other || !storage_names_resources(growth))
		return other;
	storage_keys_of(growth, resource, STORAGE_WRITTEN, &keys);
	for (size_t i = 0; i < keys.count; i++) {
		const struct storage_key *found = &keys.items[i];
		/* A local key counts by itself and by its provider, and a scrape may fall between the two. */
		bool half = text_equal(found->provider, "local") && text_equal(found->name, key->name);
		other = other || !(half || storage_key_same(found, key));
	}
	storage_keys_free(&keys);
	return other;
}

/* Another key of its provider was named since: the server may have adopted that meanwhile, and not yet the next. */
static bool named_others_since(const struct storage_metrics *metrics, const struct storage_key_id *wrote)
{
	for (size_t i = 0; i < metrics->key_id_count; i++) {
		const struct storage_key_id *id = &metrics->key_ids[i];
		if (id != wrote && text_equal(id->provider, wrote->provider) && id->named_last >= wrote->written_last)
			return true;
	}
	return false;
}

enum storage_evidence storage_kms_write_key(const struct storage_metrics *metrics, const char *provider,
					    struct storage_key *ret)
{
	*ret = (struct storage_key){0};
	const struct storage_key_id *wrote = NULL, *named = NULL;
	size_t names = 0;
	for (size_t i = 0; i < metrics->key_id_count; i++) {
		const struct storage_key_id *id = &metrics->key_ids[i];
		if (!text_equal(id->provider, provider))
			continue;
		names += id->named_last > 0;
		if (id->written_last > (wrote ? wrote->written_last : 0))
			wrote = id;
		if (id->named_last > (named ? named->named_last : 0))
			named = id;
	}
	/* Without a write only the first key of a process is one that it uses for sure: it began with that. */
	if (!named || (!wrote && names > 1))
		return STORAGE_UNSEEN;
	const struct storage_key key = {(char *)"kms", named->provider, named->hash, 0};
	storage_key_copy(&key, ret);
	if (!wrote)
		return STORAGE_NAMED;
	return wrote == named && !named_others_since(metrics, wrote) ? STORAGE_WROTE : STORAGE_MOVING;
}

enum storage_evidence storage_write_key(const struct storage_metrics *metrics, const char *resource, const char *prefix,
					struct storage_key *ret)
{
	const char *own = storage_write_prefix(metrics, resource);
	prefix = own ? own : prefix;
	_cleanup_free_ char *kms = prefix ? kms_name(prefix, KMS2) : NULL;
	*ret = (struct storage_key){0};
	if (kms)
		return storage_kms_write_key(metrics, kms, ret);
	struct storage_keys keys = {0};
	storage_keys_of(metrics, resource, STORAGE_WRITTEN, &keys);
	/* Counters do not tell which of several keys was last. */
	bool one = own && keys.count == 1;
	if (one)
		storage_key_copy(&keys.items[0], ret);
	storage_keys_free(&keys);
	return one ? STORAGE_WROTE : STORAGE_UNSEEN;
}
