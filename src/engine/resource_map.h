/* Which resource lies under which prefix of which etcd: found by discovery and proved on a live object, never guessed.
 *
 * Proof: an object that the API serves with resourceVersion R stands in etcd under a key with mod_revision R; what
 * stands before
 * its "<namespace>/<name>" is the prefix. Candidates ("/registry/secrets/", "/registry/<group>/<plural>/",
 * upstream's old names such as
 * minions, services/specs, ingress) are tried first; else the whole keyspace is asked for the key of that
 * mod_revision. A
 * resource without objects is told by the revision of its empty list: it is that of the etcd which stores it. */
#pragma once
#include "client/etcd/etcd.h"
#include "client/kube/object.h"

enum map_proof {
	MAP_PROVED, /* an object was found under the prefix at its own resourceVersion */
	/* the API serves no object, and nothing lies under the candidate prefix of the etcd that answers so */
	MAP_EMPTY,
	MAP_UNPROVED, /* neither: `why` */
};
struct map_entry {
	const struct kube_resource *resource; /* of the resources handed in */
	char *prefix;                         /* with the trailing slash: "/registry/secrets/" */
	size_t etcd;                          /* index of the etcd */
	enum map_proof proof;
	char *why;        /* NULL when proved */
	bool forbidden;   /* unproved, for it may not be listed */
	uint64_t objects; /* as its list counted them; 0 unknown */
	/* the name by which an EncryptionConfiguration rule governs it: resource, or that of the first resource
	 * with this prefix */
	const char *storage;
};
/* A resource that an entry stands for as well: events.events.k8s.io beside events. */
struct map_alias {
	const struct kube_resource *resource;
	size_t entry;
};
struct resource_map {
	struct map_entry *entries;
	size_t count;
	struct map_alias *aliases;
	size_t alias_count;
};
/* All listable resources that this API server stores itself. Several resources with one prefix (events in two
 * groups) share it: the
 * first in discovery order owns the count, the others are left out. So are those that have nothing in etcd
 * (componentstatuses).
 * Waits. -ERROR_REFUSED when an etcd is not the one behind this API server (see same_etcd.h), with the object that
 * shows it, or
 * when nothing of this API server is stored in it; -ERROR_NETWORK and the like when one of the two does not answer. */
_must_check_ int resource_map_build(struct kube *kube, struct etcd *const *etcds, size_t etcd_count,
				    const char *etcd_prefix, const struct kube_resources *resources,
				    struct resource_map *ret, struct error **err);
/* The same for some resources alone, one flag each in `wanted`: quicker. An etcd that stores none of them is no
 * error. */
_must_check_ int resource_map_build_some(struct kube *kube, struct etcd *const *etcds, size_t etcd_count,
					 const char *etcd_prefix, const struct kube_resources *resources,
					 const bool *wanted, struct resource_map *ret, struct error **err);
/* The entry whose prefix the key begins with (the longest), or NULL: outside. */
const struct map_entry *resource_map_find(const struct resource_map *map, size_t etcd, const char *key, size_t key_len);
/* The entry that counts a resource, or NULL: it is stored elsewhere or not at all. */
const struct map_entry *resource_map_entry(const struct resource_map *map, const struct kube_resource *resource);
/* Takes the rest of a key behind its entry's prefix apart: false when it has not the form of an object's key.
 * `ret_namespace` is "" for
 * cluster-scoped objects; both are new strings. */
bool resource_map_split(const struct map_entry *entry, const char *key, char **ret_namespace, char **ret_name);
void resource_map_free(struct resource_map *map);
