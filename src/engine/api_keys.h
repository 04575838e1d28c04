/* Which key the API servers behind one address write with, as far as they show it; and what counts of reads prove. */
#pragma once
#include "engine/api_servers.h"

struct api_write_key {
	bool known;             /* `key` is the write key of whoever was seen to write, and of nobody another one */
	struct storage_key key; /* empty when not known */
	char *why;              /* not known, or servers differ; NULL */
	bool differs;           /* two servers write with two keys */
	bool missing;           /* a server that is live was not reached */
	bool moving;            /* the KMS names a key (`key`) that not every server has been seen to write with */
	struct strings
		unproved; /* "cp-2 was not seen to write with it": while any is there, it is not the proof of a whole
				      * cluster */
};
/* Out of the last scrape of each server and of the canaries. Asks nobody. */
void api_write_key_of(const struct api_servers *s, const char *resource, struct api_write_key *ret);
/* Adds who is missing by now. */
void api_write_key_add_missing(const struct api_servers *s, struct api_write_key *key);
void api_write_key_free(struct api_write_key *key); /* the contents */
#define _cleanup_write_key_ _cleanup_(api_write_key_free) struct api_write_key

/* Writes a canary of each kind (secrets, configmaps) in `resources` through each server over a connection of its own, and
 * takes what its counters say of it. What could not be tried is a sentence in `ret_troubles`. Waits. -ERROR_INTERRUPTED and
 * what scraping returns. */
_must_check_ int api_canaries_write(struct api_servers *s, const struct kube_resource *const *resources, size_t count,
				    struct strings *ret_troubles, struct error **err);
/* All that can be; the error of the first one that stays. */
_must_check_ int api_canaries_delete(struct api_servers *s, struct error **err);

/* What counts of one window of reads say: `asked` objects were read of this server, of which it counted so many under each
 * key. Others read, too, and their reads are in the counts: so of ours at least `min` and at most `max` were not under
 * `key`. False where fewer were counted than we read. Pure. */
bool api_reads_judge(uint64_t asked, const struct storage_keys *counted, const struct storage_key *key,
		     uint64_t *ret_min, uint64_t *ret_max);
