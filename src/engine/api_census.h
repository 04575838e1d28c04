/* A census where etcd cannot be reached: every object is read by a plain GET (which reads etcd; a list does not) as metadata
 * alone, so no value enters the process, and the counters of the very server that was asked say under which keys the values
 * were. Changes nothing.
 *
 * Others read meanwhile, and their reads are in the counts. So objects are read in windows, with a scrape of every server
 * between two: a window in which no read under another key was counted is proved whatever others did, and one in which some
 * were is read again in halves. What stays undecided is told as such: at least so many, at most so many. */
#pragma once
#include "engine/api_keys.h"
#include "engine/throttle.h"

#define API_CENSUS_WINDOW 500 /* objects */
#define API_CENSUS_SPLITS 64  /* further windows, of each resource */
#define API_CENSUS_NAMED 3    /* stale objects named as examples, of each resource */
#define API_CENSUS_UNREADABLE_MAX 100
#define API_CENSUS_OBJECTS_MAX 5000000 /* names held of one resource */

struct api_census_options {
	struct api_servers *servers; /* found, with /metrics */
	const struct kube_resource *const *resources;
	size_t resource_count;
	struct throttle_options speed;
	uint64_t deadline; /* monotonic; 0: none */
	void (*on_progress)(void *arg, const char *resource, uint64_t done, uint64_t total);
	void *arg;
};
struct api_census_object {
	const struct kube_resource *resource;
	char *namespace_, *name; /* "*": the list itself was refused, so none of its objects was read */
	char *why;               /* in the server's words */
};
struct api_census_resource {
	const struct kube_resource *resource;
	struct api_write_key write_key;
	uint64_t objects;          /* that were read */
	uint64_t gone, unreadable; /* deleted meanwhile; that the server could not decrypt */
	uint64_t stale_min,
		stale_max; /* not under the write key: at least, at most; max is `objects` where that is not known */
	uint64_t others;   /* reads of others that were counted beside ours */
	bool counted;      /* at least as many reads were counted as we made */
	struct storage_keys keys;   /* as counted, others' reads included where they cannot be told from ours */
	struct strings stale_named; /* "team-a/db": read alone, and counted under another key */
};
struct api_census {
	struct api_census_resource *resources;
	size_t resource_count;
	struct api_census_object *unreadable;
	size_t unreadable_named;
	uint64_t objects, unreadable_count, stale_min, stale_max;
	bool restarted; /* a server started anew, joined or reloaded meanwhile: what was found of write keys was of before */
	bool moved; /* one was not seen any more to write with the key that it wrote with before */
	uint64_t begun, finished;
};
/* 0 when everything was read, whatever was found. -ERROR_AUTH without the right to list or get, -ERROR_REFUSED where what
 * servers count does not add up to what they were asked, -ERROR_DEADLINE, -ERROR_INTERRUPTED, -ERROR_NETWORK. Waits. */
_must_check_ int api_census_take(const struct api_census_options *options, struct api_census **ret, struct error **err);
void api_census_free(struct api_census *census);
void api_census_freep(struct api_census **census);
/* 0 only where every object was read and is under the write key of every server that is live. -ERROR_FINDING for what is
 * stale or unreadable, -ERROR_REFUSED for what is not known. */
_must_check_ int api_census_verdict(const struct api_census *census, struct error **err);
