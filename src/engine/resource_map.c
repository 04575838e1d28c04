#include "engine/resource_map.h"

#include <inttypes.h>

#include "base/clock.h"
#include "engine/etcd_probe.h"
#include "engine/same_etcd.h"

#define TRIES 6                /* objects change and go between the two reads */
#define PAUSE (20 * NS_PER_MS) /* doubled each time */
#define SEGMENTS_MAX 4096      /* first path segments looked into for an object that no candidate has */
#define BUSY_TRIES 3           /* a definition just made is not listed at once; an unreadable value stays */
#define BACKWARDS_MAX 50       /* keys of a prefix that are asked of the API when listing fails */

/* Where k8s.io/kubernetes/pkg/kubeapiserver/default_storage_factory_builder.go and the two extension servers put
 * what is
 * not simply under its plural. */
static const struct {
	const char *resource, *path;
} old_names[] = {
	{"nodes", "minions"},
	{"replicationcontrollers", "controllers"},
	{"services", "services/specs"},
	{"endpoints", "services/endpoints"},
	{"ingresses.networking.k8s.io", "ingress"},
	{"ingresses.extensions", "ingress"},
	{"podsecuritypolicies.policy", "podsecuritypolicy"},
	{"podsecuritypolicies.extensions", "podsecuritypolicy"},
	{"customresourcedefinitions.apiextensions.k8s.io", "apiextensions.k8s.io/customresourcedefinitions"},
	{"apiservices.apiregistration.k8s.io", "apiregistration.k8s.io/apiservices"},
};

struct builder {
	struct kube *kube;
	struct etcd *const *etcds;
	size_t etcd_count;
	char *prefix;        /* clean */
	uint64_t *revisions; /* of each etcd, read before the list in hand was asked for */
	struct resource_map map;
};

static void builder_clear(struct builder *builder)
{
	free(builder->prefix);
	free(builder->revisions);
	resource_map_free(&builder->map);
}

/* ---- candidates ---- */

static void add_candidate(const struct builder *builder, struct strings *list, const char *group, const char *path)
{
	_cleanup_free_ char *prefix =
		xasprintf("%s/%s%s%s/", builder->prefix, group, text_empty(group) ? "" : "/", path);
	if (!strings_has(list, prefix))
		strings_add(list, prefix);
}

/* The likeliest first: an empty resource has nothing else to go by. */
static void candidates_of(const struct builder *builder, const struct kube_resource *resource, struct strings *ret)
{
	if (resource->custom)
		add_candidate(builder, ret, resource->group, resource->plural);
	for (size_t i = 0; i < ELEMENTS(old_names); i++) {
		if (text_equal(old_names[i].resource, resource->resource))
			add_candidate(builder, ret, "", old_names[i].path);
	}
	add_candidate(builder, ret, "", resource->plural);
	add_candidate(builder, ret, resource->group, resource->plural);
}

/* ---- proving one resource ---- */

enum verdict {
	VERDICT_AGAIN,      /* something changed in between, or looked like it */
	VERDICT_DONE,       /* prefix, etcd and proof are set */
	VERDICT_NOT_STORED, /* the API makes it up, or another server has it */
};

struct proof {
	const struct builder *builder;
	const struct kube_resource *resource;
	struct strings candidates;
	struct api_first first;
	struct map_entry entry;
	/* the last thing that did not fit */
	char *wrong_key;
	uint64_t wrong_revision;
	size_t wrong_etcd;
};

static void proof_clear(struct proof *proof)
{
	strings_free(&proof->candidates);
	free(proof->entry.prefix);
	free(proof->entry.why);
	free(proof->wrong_key);
}

static void set_entry(struct proof *proof, size_t etcd, const char *prefix, enum map_proof how)
{
	free(proof->entry.prefix);
	free(proof->entry.why);
	proof->entry.prefix = xstrdup(prefix);
	proof->entry.etcd = etcd;
	proof->entry.proof = how;
	proof->entry.why = NULL;
}

static void set_unproved(struct proof *proof, char *why)
{
	set_entry(proof, 0, proof->candidates.items[0], MAP_UNPROVED);
	proof->entry.why = why;
}

static char *object_path(const struct api_first *first)
{
	return xasprintf("%s%s%s", first->namespace_, first->namespace_[0] ? "/" : "", first->name);
}

static char *object_words(const struct proof *proof)
{
	_cleanup_free_ char *path = object_path(&proof->first);
	return xasprintf("%s %s", proof->resource->singular, path);
}

/* 1 when it stands there at its own revision. */
static int try_candidate(struct proof *proof, size_t etcd, const char *prefix, struct error **err)
{
	_cleanup_free_ char *path = object_path(&proof->first), *key = xasprintf("%s%s", prefix, path);
	struct etcd_probe probe;
	int rc = etcd_probe_key(proof->builder->etcds[etcd], key, &probe, err);
	if (rc < 0)
		return rc;
	if (probe.found && probe.mod_revision == proof->first.object_revision) {
		set_entry(proof, etcd, prefix, MAP_PROVED);
		return 1;
	}
	if (probe.found) {
		free(proof->wrong_key);
		proof->wrong_key = steal(key);
		proof->wrong_revision = probe.mod_revision;
		proof->wrong_etcd = etcd;
	}
	return 0;
}

static int try_candidates(struct proof *proof, struct error **err)
{
	for (size_t etcd = 0; etcd < proof->builder->etcd_count; etcd++)
		for (size_t i = 0; i < proof->candidates.count; i++) {
			int rc = try_candidate(proof, etcd, proof->candidates.items[i], err);
			if (rc != 0)
				return rc;
		}
	return 0;
}

/* Looks for the object below one first path segment, by its revision: 1 when found. */
static int search_segment(struct proof *proof, size_t etcd, const char *segment, struct error **err)
{
	_cleanup_(etcd_founds_free) struct etcd_founds founds = {0};
	_cleanup_free_ char *path = object_path(&proof->first), *tail = xasprintf("/%s", path);
	int rc = etcd_probe_search(proof->builder->etcds[etcd], segment, proof->first.object_revision, 0, &founds, err);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < founds.count; i++) {
		char *key = founds.items[i].key;
		if (!text_ends(key, tail))
			continue;
		key[strlen(key) - strlen(path)] = '\0';
		set_entry(proof, etcd, key, MAP_PROVED);
		return 1;
	}
	return 0;
}

/* The whole keyspace under the prefix, a first path segment at a time: etcd reads all of what it filters. 1 when
 * found. */
static int search_etcd(struct proof *proof, size_t etcd, struct error **err)
{
	const char *base = proof->builder->prefix;
	_cleanup_free_ char *start = xasprintf("%s/", base), *end = xasprintf("%s0", base);
	for (int i = 0; i < SEGMENTS_MAX; i++) {
		_cleanup_free_ char *key = NULL, *segment = NULL;
		int rc = etcd_probe_first(proof->builder->etcds[etcd], start, end, &key, err);
		if (rc < 0 || !key)
			return rc;
		const char *slash = strchr(key + strlen(base) + 1, '/');
		if (slash) {
			segment = xstrndup(key, (size_t)(slash - key) + 1);
			rc = search_segment(proof, etcd, segment, err);
			if (rc != 0)
				return rc;
		}
		free(start);
		start = slash ? xasprintf("%.*s0", (int)(slash - key), key) : xasprintf("%s\001", key);
	}
	return 0;
}

static int prove_by_object(struct proof *proof, int attempt, enum verdict *ret, struct error **err)
{
	if (proof->first.object_revision == 0) {
		*ret = VERDICT_NOT_STORED;
		return 0;
	}
	free(proof->wrong_key);
	proof->wrong_key = NULL;
	int rc = try_candidates(proof, err);
	/* Nowhere: an object just deleted is the likelier reason the first times. */
	bool search = attempt == TRIES / 2 || attempt == TRIES;
	for (size_t etcd = 0; rc == 0 && !proof->wrong_key && search && etcd < proof->builder->etcd_count; etcd++)
		rc = search_etcd(proof, etcd, err);
	if (rc < 0)
		return rc;
	*ret = rc > 0 ? VERDICT_DONE : VERDICT_AGAIN;
	if (rc == 0 && attempt == TRIES && !proof->wrong_key) {
		_cleanup_free_ char *words = object_words(proof);
		set_unproved(proof, xasprintf("%s at resourceVersion %" PRIu64 " stands in no given etcd: see "
					      "--etcd-servers-overrides of the kube-apiserver",
					      words, proof->first.object_revision));
		*ret = VERDICT_DONE;
	}
	if (rc == 0 && attempt == TRIES && proof->wrong_key)
		return error_set(err, ERROR_REFUSED,
				 "%s is not the etcd behind %s: %s/%s has resourceVersion %" PRIu64
				 " there and %" PRIu64 " here",
				 etcd_label(proof->builder->etcds[proof->wrong_etcd]), proof->builder->kube->name,
				 proof->resource->resource, proof->first.name, proof->first.object_revision,
				 proof->wrong_revision);
	return 0;
}

/* The list is empty: its revision lies between two that its etcd was seen to have before and afterwards. */
static int prove_empty(struct proof *proof, int attempt, enum verdict *ret, struct error **err)
{
	const struct builder *builder = proof->builder;
	const char *prefix = proof->candidates.items[0];
	*ret = attempt == TRIES ? VERDICT_DONE : VERDICT_AGAIN;
	for (size_t etcd = 0; etcd < builder->etcd_count; etcd++) {
		struct etcd_probe probe;
		int rc = etcd_probe_prefix(builder->etcds[etcd], prefix, &probe, err);
		if (rc < 0)
			return rc;
		if (proof->first.revision < builder->revisions[etcd] || proof->first.revision > probe.revision)
			continue;
		if (probe.count == 0) {
			set_entry(proof, etcd, prefix, MAP_EMPTY);
			*ret = VERDICT_DONE;
			return 0;
		}
		set_unproved(proof, xasprintf("the API serves none of its objects, but %" PRIu64 " values lie under %s",
					      probe.count, prefix));
		proof->entry.etcd = etcd;
		return 0;
	}
	set_unproved(proof, xasprintf("its list is empty at revision %" PRIu64
				      ", which no given etcd has: see --etcd-servers-overrides of the kube-apiserver",
				      proof->first.revision));
	return 0;
}

/* Whether the API has one of these objects at the revision that its key has. */
static int ask_backwards(struct proof *proof, size_t etcd, const char *prefix, const struct etcd_founds *founds,
			 bool *ret_proved, struct error **err)
{
	_cleanup_free_ char *own = xstrdup(prefix);
	struct map_entry entry = {.resource = proof->resource, .prefix = own};
	for (size_t i = 0; i < founds->count && !*ret_proved; i++) {
		_cleanup_free_ char *namespace_ = NULL, *name = NULL;
		uint64_t revision;
		if (!resource_map_split(&entry, founds->items[i].key, &namespace_, &name))
			continue;
		int rc = kube_get_metadata(proof->builder->kube, proof->resource, namespace_[0] ? namespace_ : NULL,
					   name, NULL, &revision, NULL);
		if (rc == -ERROR_INTERRUPTED)
			return error_set(err, ERROR_INTERRUPTED, "interrupted");
		if (rc == 0 && revision == founds->items[i].mod_revision) {
			set_entry(proof, etcd, prefix, MAP_PROVED);
			*ret_proved = true;
		}
	}
	return 0;
}

/* One value that the server cannot read breaks the whole list, but not a plain GET of the others. */
static int prove_backwards(struct proof *proof, const struct error *listing, int attempt, enum verdict *ret,
			   struct error **err)
{
	const struct builder *builder = proof->builder;
	const char *prefix = proof->candidates.items[0];
	bool proved = false;
	size_t holder = 0;
	for (size_t etcd = 0; etcd < builder->etcd_count && !proved; etcd++) {
		_cleanup_(etcd_founds_free) struct etcd_founds founds = {0};
		int rc = etcd_probe_search(builder->etcds[etcd], prefix, 0, BACKWARDS_MAX, &founds, err);
		if (rc == 0)
			rc = ask_backwards(proof, etcd, prefix, &founds, &proved, err);
		if (rc < 0)
			return rc;
		if (founds.count > 0)
			holder = etcd;
	}
	*ret = proved || attempt >= BUSY_TRIES ? VERDICT_DONE : VERDICT_AGAIN;
	if (proved)
		return 0;
	set_unproved(proof, xasprintf("the API server does not list it: %s", error_message(listing)));
	proof->entry.etcd = holder;
	return 0;
}

static bool is_fatal(int rc)
{
	return rc == -ERROR_INTERRUPTED || rc == -ERROR_NETWORK || rc == -ERROR_LIMIT;
}

static int read_revisions(const struct builder *builder, struct error **err)
{
	for (size_t etcd = 0; etcd < builder->etcd_count; etcd++) {
		struct etcd_probe probe;
		int rc = etcd_probe_key(builder->etcds[etcd], "compact_rev_key", &probe, err);
		if (rc < 0)
			return rc;
		builder->revisions[etcd] = probe.revision;
	}
	return 0;
}

/* `ask`: what its list said, after the builder's revisions were read. */
static int attempt_proof(struct proof *proof, int attempt, struct api_ask *ask, enum verdict *ret, struct error **err)
{
	proof->first = ask->first;
	if (ask->rc == 0 && proof->first.found)
		return prove_by_object(proof, attempt, ret, err);
	if (ask->rc == 0)
		return prove_empty(proof, attempt, ret, err);
	if (is_fatal(ask->rc)) {
		if (err)
			*err = steal(ask->error);
		return ask->rc;
	}
	if (ask->rc == -ERROR_NOT_FOUND) { /* its definition went since discovery */
		*ret = VERDICT_NOT_STORED;
		return 0;
	}
	if (ask->rc == -ERROR_BUSY)
		return prove_backwards(proof, ask->error, attempt, ret, err);
	set_unproved(proof, xstrdup(error_message(ask->error)));
	proof->entry.forbidden = ask->rc == -ERROR_AUTH;
	*ret = VERDICT_DONE;
	return 0;
}

/* Asks again, alone. */
static int ask_again(const struct builder *builder, struct api_ask *ask, struct error **err)
{
	error_clear(&ask->error);
	int rc = read_revisions(builder, err);
	if (rc == 0)
		ask->rc = api_probe_first(builder->kube, ask->resource, 0, &ask->first, &ask->error);
	return rc;
}

static const struct map_entry *entry_with_prefix(const struct resource_map *map, size_t etcd, const char *prefix)
{
	for (size_t i = 0; i < map->count; i++) {
		if (map->entries[i].etcd == etcd && text_equal(map->entries[i].prefix, prefix))
			return &map->entries[i];
	}
	return NULL;
}

static void add_entry(struct resource_map *map, struct proof *proof)
{
	const struct map_entry *owner = entry_with_prefix(map, proof->entry.etcd, proof->entry.prefix);
	if (owner) {
		map->aliases = xreallocarray(map->aliases, map->alias_count + 1, sizeof(*map->aliases));
		map->aliases[map->alias_count++] = (struct map_alias){proof->resource, (size_t)(owner - map->entries)};
		return;
	}
	map->entries = xreallocarray(map->entries, map->count + 1, sizeof(*map->entries));
	proof->entry.resource = proof->resource;
	proof->entry.storage = proof->resource->resource;
	proof->entry.objects = proof->first.objects;
	map->entries[map->count++] = proof->entry;
	proof->entry = (struct map_entry){0};
}

static int add_resource(struct builder *builder, struct api_ask *ask, struct error **err)
{
	_cleanup_(proof_clear) struct proof proof = {.builder = builder, .resource = ask->resource};
	enum verdict verdict = VERDICT_AGAIN;
	uint64_t pause = PAUSE;
	int rc = 0;
	candidates_of(builder, ask->resource, &proof.candidates);
	for (int attempt = 1; attempt <= TRIES && rc == 0 && verdict == VERDICT_AGAIN; attempt++, pause *= 2) {
		if (attempt > 1)
			rc = loop_pause(builder->kube->loop, pause, err);
		if (attempt > 1 && rc == 0)
			rc = ask_again(builder, ask, err);
		if (rc == 0)
			rc = attempt_proof(&proof, attempt, ask, &verdict, err);
	}
	if (rc < 0)
		return error_wrap(err, rc, "finding %s in etcd", ask->resource->resource);
	if (verdict == VERDICT_AGAIN)
		set_unproved(&proof, xstrdup("its objects come and go too fast to compare the API with etcd"));
	if (verdict != VERDICT_NOT_STORED)
		add_entry(&builder->map, &proof);
	return 0;
}

/* ---- the map ---- */

static int check_every_etcd_is_used(const struct builder *builder, struct error **err)
{
	for (size_t etcd = 0; etcd < builder->etcd_count; etcd++) {
		bool used = false;
		for (size_t i = 0; i < builder->map.count && !used; i++)
			used = builder->map.entries[i].etcd == etcd && builder->map.entries[i].proof != MAP_UNPROVED;
		if (!used)
			return error_set(err, ERROR_REFUSED,
					 "%s is not an etcd behind %s: none of its resources is stored there",
					 etcd_label(builder->etcds[etcd]), builder->kube->name);
	}
	return 0;
}

static int build(struct builder *builder, const struct kube_resources *resources, const bool *wanted,
		 struct error **err)
{
	size_t count = resources->count;
	_cleanup_free_ struct api_ask *asks = xcalloc(count + 1, sizeof(*asks));
	for (size_t i = 0; i < count; i++) {
		const struct kube_resource *resource = &resources->items[i];
		if (resource->can_list && !resource->aggregated && (!wanted || wanted[i]))
			asks[i].resource = resource;
	}
	_cleanup_(api_firsts_freep) struct api_firsts *firsts = NULL;
	/* Side by side, and beside the looking in etcd: sixty lists one after another take most of a small cluster's
	 * census. */
	int rc = read_revisions(builder, err);
	if (rc == 0)
		firsts = api_firsts_start(builder->kube, asks, count);
	for (size_t i = 0; rc == 0 && i < count; i++) {
		if (!asks[i].resource)
			continue;
		rc = api_firsts_wait(firsts, i, err);
		if (rc == 0)
			rc = add_resource(builder, &asks[i], err);
	}
	for (size_t i = 0; i < count; i++)
		error_clear(&asks[i].error);
	if (rc == 0 && !wanted)
		rc = check_every_etcd_is_used(builder, err);
	return rc;
}

int resource_map_build_some(struct kube *kube, struct etcd *const *etcds, size_t etcd_count, const char *etcd_prefix,
			    const struct kube_resources *resources, const bool *wanted, struct resource_map *ret,
			    struct error **err)
{
	_cleanup_(builder_clear) struct builder builder = {.kube = kube,
							   .etcds = etcds,
							   .etcd_count = etcd_count,
							   .prefix = etcd_prefix_clean(etcd_prefix),
							   .revisions = xcalloc(etcd_count + 1, sizeof(uint64_t))};
	int rc = same_etcd_check(kube, etcds, etcd_count, etcd_prefix, resources, NULL, err);
	if (rc == 0)
		rc = build(&builder, resources, wanted, err);
	if (rc < 0)
		return rc;
	*ret = builder.map;
	builder.map = (struct resource_map){0};
	return 0;
}

int resource_map_build(struct kube *kube, struct etcd *const *etcds, size_t etcd_count, const char *etcd_prefix,
		       const struct kube_resources *resources, struct resource_map *ret, struct error **err)
{
	return resource_map_build_some(kube, etcds, etcd_count, etcd_prefix, resources, NULL, ret, err);
}

const struct map_entry *resource_map_find(const struct resource_map *map, size_t etcd, const char *key, size_t key_len)
{
	const struct map_entry *best = NULL;
	size_t best_len = 0;
	for (size_t i = 0; i < map->count; i++) {
		const struct map_entry *entry = &map->entries[i];
		size_t len = strlen(entry->prefix);
		if (entry->etcd == etcd && len > best_len && len <= key_len && memcmp(entry->prefix, key, len) == 0) {
			best = entry;
			best_len = len;
		}
	}
	return best;
}

const struct map_entry *resource_map_entry(const struct resource_map *map, const struct kube_resource *resource)
{
	for (size_t i = 0; i < map->count; i++) {
		if (map->entries[i].resource == resource)
			return &map->entries[i];
	}
	for (size_t i = 0; i < map->alias_count; i++) {
		if (map->aliases[i].resource == resource)
			return &map->entries[map->aliases[i].entry];
	}
	return NULL;
}

bool resource_map_split(const struct map_entry *entry, const char *key, char **ret_namespace, char **ret_name)
{
	if (!text_starts(key, entry->prefix))
		return false;
	const char *rest = key + strlen(entry->prefix), *slash = strchr(rest, '/');
	if (entry->resource->namespaced != (slash != NULL))
		return false;
	const char *name = slash ? slash + 1 : rest;
	if (name[0] == '\0' || rest[0] == '/' || strchr(name, '/'))
		return false;
	*ret_namespace = slash ? xstrndup(rest, (size_t)(slash - rest)) : xstrdup("");
	*ret_name = xstrdup(name);
	return true;
}

void resource_map_free(struct resource_map *map)
{
	for (size_t i = 0; i < map->count; i++) {
		free(map->entries[i].prefix);
		free(map->entries[i].why);
	}
	free(map->entries);
	free(map->aliases);
	*map = (struct resource_map){0};
}
