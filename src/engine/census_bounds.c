/* Where the keyspace is cut for reading. For each page etcd walks through all keys that are left of the range that was
 * asked for, to count them: a hundred thousand in one range cost more than the reading. What lies between two bounds is a
 * range of its own; nothing lies between ranges, whatever the bounds are. */
#include "engine/census_internal.h"

#include <stdlib.h>
#include <string.h>

#include "engine/etcd_probe.h"

#define BETWEEN_BOUNDS 20000u /* values, about: two pages */
#define BOUNDS_MAX 1000u

/* The names of all namespaces, by their own keys; none where they cannot be read: then there are no bounds. */
static void find_namespaces(const struct census_scan *scan, struct strings *ret)
{
	const struct resource_map *map = &scan->census->map;
	for (size_t i = 0; i < map->count; i++) {
		const struct map_entry *entry = &map->entries[i];
		_cleanup_(etcd_founds_free) struct etcd_founds founds = {0};
		if (!text_equal(entry->resource->resource, "namespaces") || entry->proof != MAP_PROVED ||
		    etcd_probe_search(scan->options->etcds[entry->etcd], entry->prefix, 0, 0, &founds, NULL) < 0)
			continue;
		for (size_t k = 0; k < founds.count; k++)
			if (text_starts(founds.items[k].key, entry->prefix))
				strings_add(ret, founds.items[k].key + strlen(entry->prefix));
	}
}

/* Keys of one resource, each the first of a namespace's, so that between two of them lie about as many namespaces as
 * hold BETWEEN_BOUNDS values, if all were alike. */
static void cut_resource(const struct map_entry *entry, const struct strings *namespaces, struct strings *ret)
{
	uint64_t parts = entry->objects / BETWEEN_BOUNDS;
	_cleanup_strings_ keys = {0};
	if (parts > namespaces->count)
		parts = namespaces->count;
	for (size_t i = 0; parts > 1 && i < namespaces->count; i++) {
		_cleanup_free_ char *key = xasprintf("%s%s/", entry->prefix, namespaces->items[i]);
		if (strlen(key) <= ETCD_KEY_MAX)
			strings_add(&keys, key);
	}
	strings_sort_unique(&keys);
	for (uint64_t part = 1; part < parts && keys.count > 0 && ret->count < BOUNDS_MAX; part++)
		strings_add(ret, keys.items[part * keys.count / parts]);
}

void census_bounds(const struct census_scan *scan, size_t etcd, const struct map_entry *only, struct strings *ret)
{
	const struct resource_map *map = &scan->census->map;
	_cleanup_strings_ namespaces = {0};
	for (size_t i = 0; i < map->count; i++) {
		const struct map_entry *entry = &map->entries[i];
		if (entry->etcd != etcd || (only && entry != only) || !entry->resource->namespaced ||
		    entry->objects < 2 * BETWEEN_BOUNDS)
			continue;
		if (namespaces.count == 0)
			find_namespaces(scan, &namespaces);
		cut_resource(entry, &namespaces, ret);
	}
	strings_sort_unique(ret);
}
