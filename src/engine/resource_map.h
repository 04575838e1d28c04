/* Which resource lies under which prefix of which etcd: found by discovery and proved on a live object, never guessed.
 *
 * Proof: an object that the API serves with resourceVersion R stands in etcd under a key with mod_revision R; what stands before
 * its "<namespace>/<name>" is the prefix. Candidates ("/registry/secrets/", "/registry/<group>/<plural>/", upstream's old names such as
 * minions, services/specs, ingress) are tried first; else the whole keyspace is asked for the key of that mod_revision. */
#pragma once
#include "client/etcd/etcd.h"
#include "client/kube/object.h"

enum map_proof {
	MAP_PROVED,   /* an object was found under the prefix at its own resourceVersion */
	MAP_EMPTY,    /* the API serves no object and nothing lies under the candidate prefix */
	MAP_UNPROVED, /* neither: `why` */
};
struct map_entry {
	const struct kube_resource *resource; /* of the resources handed in */
	char *prefix;       /* with the trailing slash: "/registry/secrets/" */
	size_t etcd;        /* index of the etcd */
	enum map_proof proof;
	char *why;          /* NULL when proved */
	const char *storage; /* the name by which an EncryptionConfiguration rule governs it: resource, or that of the first resource with this prefix */
};
struct resource_map { struct map_entry *entries; size_t count; };
/* All listable resources that this API server stores itself. Several resources with one prefix (events in two groups) share it: the
 * first in discovery order owns the count, the others are left out. Waits. -ERROR_REFUSED when an etcd is not the one behind this
 * API server (see census.h), with the object that shows it. */
_must_check_ int resource_map_build(struct kube *kube, struct etcd *const *etcds, size_t etcd_count, const char *etcd_prefix,
				    const struct kube_resources *resources, struct resource_map *ret, struct error **err);
/* The entry whose prefix the key begins with (the longest), or NULL: outside. */
const struct map_entry *resource_map_find(const struct resource_map *map, size_t etcd, const char *key, size_t key_len);
void resource_map_free(struct resource_map *map);
