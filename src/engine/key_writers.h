/* Which API servers would write with a key next, or ask their KMS for it at their start, whatever is stored: an idle server whose
 * plugin still names a key goes on with that, though no value is under it yet, or any more. */
#pragma once
#include "engine/check.h"
#include "engine/cluster.h"
#include "engine/key_word.h"

struct kms_look;

struct key_writers {
	char *writes;  /* "a KMS plugin on cp-2 encrypts with it"; NULL: nobody was seen to */
	char *unknown; /* of whom nobody can tell, and why; NULL: all of them were asked */
};
struct key_writers_sources {
	struct cluster *cluster;
	const char *config_path;          /* of this machine's API server; NULL: not known */
	const char *config_hash;          /* of what was read there, as /metrics show it; NULL */
	const struct config_shape *shape; /* what was in it; NULL */
	uint64_t settle;                  /* ns after which no write of before lands any more (quiet_settle_time) */
	bool node_was_asked;           /* the server that the cluster's address is of runs here, and reads that file */
	const struct strings *servers; /* URLs by which each API server is asked; empty: the EndpointSlice's */
	const struct strings *key_ids; /* of stored values */
};
/* The file at config_path, as it is now. */
struct key_writers_file {
	char *hash;          /* NULL: not known */
	uint64_t changed_at; /* wall ns; 0: not known */
};
/* Asks the members of etcd whether each answers, the plugins of this machine, what agents report, and each API server for what it counts. What cannot be had is unknown:
 * fails only when interrupted. Waits. */
struct key_writers_seen;
_must_check_ int key_writers_look(const struct key_word *key, const struct key_writers_sources *in,
				  struct key_writers_seen **ret, struct error **err);
void key_writers_seen_free(struct key_writers_seen *seen);
void key_writers_seen_freep(struct key_writers_seen **seen);
/* Behind a census: looks once more, and says what both looks come to; `before`: as it began. Who wrote with the key then, and does
 * not any more, may have done so where the census had read already. *ret is to be freed where it fails, too. */
_must_check_ int key_writers_ask(const struct key_word *key, const struct key_writers_sources *in,
				 const struct key_writers_seen *before, struct key_writers *ret, struct error **err);
void key_writers_free(struct key_writers *writers); /* the contents */

/* What was asked, judged; adds to *ret. Pure. `looks`: at the plugins of this machine. `facts`: of the API servers. */
void key_writers_judge(const struct key_word *key, const struct key_writers_sources *in,
		       const struct key_writers_file *file, const struct kms_look *looks, size_t look_count,
		       const struct check_facts *facts, struct key_writers *ret);
/* What was so before the census began; adds to *ret. Pure. */
void key_writers_add_before(const struct key_writers *before, struct key_writers *ret);
/* What servers count to have happened between both looks, though both say the same: one that was told of the key, wrote with it
 * and went back, or that has no memory of it because it started anew. `key_ids`: known ones. Adds to *ret. Pure. */
void key_writers_add_between(const struct key_word *key, const struct strings *key_ids,
			     const struct check_facts *before, const struct check_facts *after,
			     struct key_writers *ret);
