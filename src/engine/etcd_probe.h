/* Small questions to etcd and to the API server about where an object stands, for the map and its proofs. All wait. */
#pragma once
#include "client/etcd/etcd.h"
#include "client/kube/object.h"

struct etcd_probe {
	bool found;
	uint64_t mod_revision;
	uint64_t count;    /* keys of the range */
	uint64_t revision; /* of the etcd when it answered */
};
/* One key, newest, linearizable. */
_must_check_ int etcd_probe_key(struct etcd *etcd, const char *key, struct etcd_probe *ret, struct error **err);
/* How many keys begin with `prefix`. */
_must_check_ int etcd_probe_prefix(struct etcd *etcd, const char *prefix, struct etcd_probe *ret, struct error **err);
/* The first key from `start` on (before `end`, "" for none): NULL when there is none. New string. */
_must_check_ int etcd_probe_first(struct etcd *etcd, const char *start, const char *end, char **ret,
				  struct error **err);
/* The keys under `prefix` that were last written at `revision` (0: at any), at most `limit` (0: all), added to
 * `ret`. */
struct etcd_found {
	char *key;
	uint64_t mod_revision;
};
struct etcd_founds {
	struct etcd_found *items;
	size_t count;
};
_must_check_ int etcd_probe_search(struct etcd *etcd, const char *prefix, uint64_t revision, uint64_t limit,
				   struct etcd_founds *ret, struct error **err);
void etcd_founds_free(struct etcd_founds *founds);

/* What a list with limit=1 says. */
struct api_first {
	bool found;
	char name[KUBE_NAME_MAX + 1], namespace_[KUBE_NAME_MAX + 1];
	uint64_t object_revision; /* 0: the object has none, so it does not come from etcd */
	uint64_t revision;        /* of the list: not older than etcd was when it was asked */
	uint64_t objects;         /* of the whole collection */
};
/* The first object of a collection, newest; or exactly at revision `at` (0: newest). A list that holds a value
 * which the server
 * cannot read takes it 3 s to refuse, with -ERROR_BUSY as for load: who asks again does so a few times. */
_must_check_ int api_probe_first(struct kube *kube, const struct kube_resource *resource, uint64_t at,
				 struct api_first *ret, struct error **err);
/* The same for many collections side by side: those of `asks` that have a resource. Each gets its own outcome; the
 * errors are the caller's to free. */
struct api_ask {
	const struct kube_resource *resource;
	uint64_t at; /* exactly at this revision; 0: newest */
	int rc;
	struct api_first first;
	struct error *error;
};
/* `asks` stay where they are until the free; other work that lets the loop run may be done meanwhile. */
struct api_firsts;
struct api_firsts *api_firsts_start(struct kube *kube, struct api_ask *asks, size_t count);
/* Waits for the answer to one of them. */
_must_check_ int api_firsts_wait(struct api_firsts *firsts, size_t index, struct error **err);
/* Gives up what has no answer yet. NULL is fine. */
void api_firsts_free(struct api_firsts *firsts);
void api_firsts_freep(struct api_firsts **firsts);
