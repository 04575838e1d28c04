#include "engine/etcd_probe.h"

#include <inttypes.h>

#include "base/clock.h"

#define FIRSTS_AT_ONCE 4 /* each its own connection, and a handshake costs more than many of these lists */

/* ---- etcd ---- */

static int take_probe(void *arg, const struct etcd_kv *kv)
{
	struct etcd_probe *probe = arg;
	probe->found = true;
	probe->mod_revision = kv->mod_revision;
	return 0;
}

static int ask(struct etcd *etcd, struct etcd_range_options *options, struct etcd_probe *ret, struct error **err)
{
	struct etcd_probe probe = {0};
	struct etcd_range_result result = {0};
	options->member = -1;
	if (!options->on_kv) {
		options->on_kv = take_probe;
		options->arg = &probe;
	}
	int rc = etcd_range_fetch(etcd, options, &result, err);
	if (rc < 0)
		return rc;
	probe.count = result.count;
	probe.revision = result.header.revision;
	if (ret)
		*ret = probe;
	return 0;
}

int etcd_probe_key(struct etcd *etcd, const char *key, struct etcd_probe *ret, struct error **err)
{
	struct etcd_range_options options = {
		.request = {.key = key, .key_len = strlen(key), .keys_only = true},
	};
	return ask(etcd, &options, ret, err);
}

int etcd_probe_prefix(struct etcd *etcd, const char *prefix, struct etcd_probe *ret, struct error **err)
{
	size_t len = strlen(prefix);
	_cleanup_free_ uint8_t *end = xmalloc(len + 1);
	struct etcd_range_options options = {
		.request = {.key = prefix,
			    .key_len = len,
			    .range_end = end,
			    .range_end_len = etcd_prefix_end(prefix, len, end),
			    .count_only = true},
	};
	return ask(etcd, &options, ret, err);
}

static int take_key(void *arg, const struct etcd_kv *kv)
{
	char **key = arg;
	if (!*key)
		*key = xstrdup(kv->key);
	return 0;
}

int etcd_probe_first(struct etcd *etcd, const char *start, const char *end, char **ret, struct error **err)
{
	_cleanup_free_ char *key = NULL;
	struct etcd_range_options options = {
		.request = {.key = start,
			    .key_len = strlen(start),
			    .range_end = end,
			    .range_end_len = strlen(end),
			    .limit = 1,
			    .keys_only = true},
		.on_kv = take_key,
		.arg = &key,
	};
	if (start[0] == '\0') /* the empty key is not allowed: "\0" is the first one */
		options.request.key_len = 1;
	if (end[0] == '\0')
		options.request.range_end_len = 1;
	int rc = ask(etcd, &options, NULL, err);
	if (rc < 0)
		return rc;
	*ret = steal(key);
	return 0;
}

static int take_found(void *arg, const struct etcd_kv *kv)
{
	struct etcd_founds *founds = arg;
	founds->items = xreallocarray(founds->items, founds->count + 1, sizeof(*founds->items));
	founds->items[founds->count++] = (struct etcd_found){xstrdup(kv->key), kv->mod_revision};
	return 0;
}

int etcd_probe_search(struct etcd *etcd, const char *prefix, uint64_t revision, uint64_t limit, struct etcd_founds *ret,
		      struct error **err)
{
	size_t len = strlen(prefix);
	_cleanup_free_ uint8_t *end = xmalloc(len + 1);
	struct etcd_range_options options = {
		.request = {.key = prefix,
			    .key_len = len,
			    .range_end = end,
			    .range_end_len = etcd_prefix_end(prefix, len, end),
			    .limit = limit,
			    .min_mod_revision = revision,
			    .max_mod_revision = revision,
			    .keys_only = true},
		.on_kv = take_found,
		.arg = ret,
	};
	return ask(etcd, &options, NULL, err);
}

void etcd_founds_free(struct etcd_founds *founds)
{
	for (size_t i = 0; i < founds->count; i++)
		free(founds->items[i].key);
	free(founds->items);
	*founds = (struct etcd_founds){0};
}

/* ---- the API server ---- */

static int take_first(void *arg, struct kube_list_item *item)
{
	struct api_first *first = arg;
	first->objects++;
	if (first->found)
		return 0;
	first->found = true;
	if (item->resource_version[0] != '\0' && text_to_u64(item->resource_version, &first->object_revision) < 0)
		first->object_revision = 0;
	strncpy(first->name, item->name, sizeof(first->name) - 1);
	strncpy(first->namespace_, item->namespace_, sizeof(first->namespace_) - 1);
	return 0;
}

/* What the end of a page adds. */
static int take_end(struct kube *kube, const struct kube_resource *resource, const char *version, uint64_t remaining,
		    struct api_first *first, struct error **err)
{
	if (!text_empty(version) && text_to_u64(version, &first->revision) < 0)
		return error_set(err, ERROR_PROTOCOL, "%s: the list of %s has the resourceVersion \"%s\"", kube->name,
				 resource->resource, version);
	first->objects += remaining;
	return 0;
}

struct one_first {
	struct api_firsts *all;
	struct api_ask *ask;
	struct kube_list_call *call;
	bool done;
};
struct api_firsts {
	struct kube *kube;
	struct one_first *ones;
	size_t count, begun, running;
};

static void start_some(struct api_firsts *all);

static int take_one_first(void *arg, struct kube_list_item *item)
{
	struct one_first *one = arg;
	return take_first(&one->ask->first, item);
}

static void one_first_done(void *arg, struct kube_list_result *result)
{
	struct one_first *one = arg;
	struct api_ask *ask = one->ask;
	one->call = NULL;
	ask->rc = result->rc;
	if (ask->rc < 0)
		ask->error = steal(result->error);
	else
		ask->rc = take_end(one->all->kube, ask->resource, result->resource_version, result->remaining,
				   &ask->first, &ask->error);
	one->done = true;
	one->all->running--;
	start_some(one->all);
}

static void start_one(struct api_firsts *all, struct one_first *one)
{
	uint64_t at = one->ask->at;
	_cleanup_free_ char *exact = at > 0 ? xasprintf("%" PRIu64, at) : NULL;
	const struct kube_list_options options = {
		.resource = one->ask->resource,
		.limit = 1,
		.resource_version = exact,
		.resource_version_match = exact ? "Exact" : NULL,
		.metadata_only = true,
		.on_item = take_one_first,
		.on_done = one_first_done,
		.arg = one,
	};
	all->running++;
	one->call = kube_list_start(all->kube, &options);
}

static void start_some(struct api_firsts *all)
{
	for (; all->begun < all->count && all->running < FIRSTS_AT_ONCE; all->begun++) {
		if (all->ones[all->begun].ask->resource)
			start_one(all, &all->ones[all->begun]);
	}
}

struct api_firsts *api_firsts_start(struct kube *kube, struct api_ask *asks, size_t count)
{
	struct api_firsts *all = xcalloc(1, sizeof(*all));
	*all = (struct api_firsts){.kube = kube, .ones = xcalloc(count + 1, sizeof(*all->ones)), .count = count};
	for (size_t i = 0; i < count; i++) {
		all->ones[i] = (struct one_first){.all = all, .ask = &asks[i]};
		asks[i].first = (struct api_first){0};
	}
	start_some(all);
	return all;
}

int api_firsts_wait(struct api_firsts *firsts, size_t index, struct error **err)
{
	return loop_run_until(firsts->kube->loop, &firsts->ones[index].done, 0, err);
}

void api_firsts_free(struct api_firsts *firsts)
{
	if (!firsts)
		return;
	for (size_t i = 0; i < firsts->count; i++) {
		if (firsts->ones[i].call)
			kube_list_cancel(firsts->ones[i].call);
	}
	free(firsts->ones);
	free(firsts);
}

void api_firsts_freep(struct api_firsts **firsts)
{
	api_firsts_free(*firsts);
}

int api_probe_first(struct kube *kube, const struct kube_resource *resource, uint64_t at, struct api_first *ret,
		    struct error **err)
{
	struct api_ask ask = {.resource = resource, .at = at};
	_cleanup_(api_firsts_freep) struct api_firsts *firsts = api_firsts_start(kube, &ask, 1);
	int rc = api_firsts_wait(firsts, 0, err);
	_cleanup_error_ failed = steal(ask.error);
	if (rc == 0)
		rc = ask.rc;
	if (rc == 0)
		*ret = ask.first;
	else if (err && failed)
		*err = steal(failed);
	return rc;
}
