/* The census: every value in etcd read at one revision, counted by the key it is under.
 *
 * Streaming: pages (adapting to the size of what they hold), parsed as they arrive; memory does not depend on the
 * number or size of
 * values. It makes sure that this etcd is the one behind this API server: the server's identity Lease, renewed each
 * 10 s (or, without
 * one, an object of kube-system), is read through the API past the cache and must stand in etcd with that very
 * mod_revision, and the
 * API's own revision must be neither ahead of etcd before the census nor behind it afterwards. Any doubt makes
 * `complete` false or
 * is -ERROR_REFUSED; nothing doubtful ever looks clean.
 *
 * A member of etcd that does not answer is a note, no doubt: what the others answered by quorum is every value. */
#pragma once
#include "base/text.h"
#include "engine/resource_map.h"
#include "kube-rekey/path.h"
#include "kube-rekey/observation.h"

struct census_key;
struct census_options {
	struct loop *loop;
	struct kube *kube;
	struct etcd *const *etcds;
	size_t etcd_count;       /* one per --etcd-endpoints group; connected */
	const char *etcd_prefix; /* "/registry" */
	const struct kube_resources *resources;
	const struct config_shape *shape; /* of the configuration in force; NULL: not known */
	const struct path *path;          /* of a rotation: what any of its steps encrypts is read too; NULL */
	/* opens each local value with this configuration's keys; NULL: no */
	const struct encryption_config *open_with;
	/* with `open_with`: values under KMS v2 too, by one Decrypt of the plugin for each data encryption key */
	bool ask_plugins;
	uint64_t *calls; /* of Decrypt, while it goes on; may be NULL */
	/* what is observed (census_observe) is told apart by key ID, as it always is where `path` follows a KMS */
	bool tell_key_ids;
	/* resources to count ("secrets"); empty: all that `shape` encrypts, and secrets and configmaps */
	const struct strings *chosen;
	/* every key of every etcd, outside the map too; else the chosen prefixes */
	bool whole_keyspace;
	/* etcd prefixes, by whole path parts, that a person named as somebody else's; -ERROR_INPUT for one that holds,
	 * or lies in, a resource of this API server. May be NULL */
	const struct strings *foreign_prefixes;
	/* continue at a newer revision from the last key (legal after settling: finding 17) */
	bool go_on_when_compacted;
	void (*on_progress)(void *arg, uint64_t done, uint64_t total);
	void *arg; /* may be NULL */
	/* Each value of a mapped resource that is not under its effective write key, whole names; not called for
	 * unknown values
	 * and for keys that are no object's. May be NULL. */
	void (*on_stale)(void *stale_arg, const struct kube_resource *resource, const char *namespace_,
			 const char *name);
	void *stale_arg;
	/* Each value of a mapped resource that is under a known key. May be NULL. */
	void (*on_value)(void *value_arg, const struct map_entry *entry, const struct census_key *key,
			 const char *path);
	void *value_arg;
	/* A compaction made the census begin again: what both told is nothing any more. May be NULL. */
	void (*on_again)(void *again_arg);
	void *again_arg;
};
/* told apart in one resource; what is under more of them is counted unknown, and the census incomplete */
#define CENSUS_KEYS_MAX 4096
#define CENSUS_DEK_SOURCES_MAX 64 /* told apart under one KMS key ID; the rest are lumped together */
#define CENSUS_RESTARTS_MAX 3     /* after a compaction in the middle */
struct census_key {
	enum provider_type provider;
	unsigned kms_version;
	/* "" where none; KMS v1 has a DEK of its own for each value: dek_source "" */
	char *name, *key_id, *dek_source;
	char *annotations; /* of the values under it, as etcd_value.h has them; "" */
	bool lumped;       /* the values under all further DEK sources of this key ID */
	uint64_t objects, bytes;
	uint64_t oldest_revision, newest_revision; /* mod_revision */
	bool write_key;                            /* the effective write key of this resource */
	/* the effective rule can read it; false: unreadable objects! (true when shape is NULL) */
	bool in_config;
	char *example; /* an etcd key under it: the first one found */
	/* Of `objects`; the others were not opened. refused: their plugin answered that it does not decrypt their key. */
	uint64_t opened, does_not_open, refused;
	char *why_closed; /* of the first that was neither opened nor found broken, where a plugin said something; NULL */
};
struct census_resource {
	const struct map_entry *entry;
	bool chosen; /* else it is here because the whole keyspace was read */
	uint64_t objects, bytes, largest, unknown, stale;
	uint64_t unreadable, does_not_open;
	/* by an Exact list at the census' revision; chosen ones only */
	uint64_t api_objects;
	bool api_count_known, api_count_differs;
	struct census_key *keys;
	size_t key_count; /* the write key first, then those with most objects */
	char *unknown_example;
};
#define CENSUS_OUTSIDE_MAX 100 /* named; all are counted */
#define CENSUS_UNKNOWN_MAX 100 /* named; all are counted */
/* none of a foreign prefix */
struct census_outside {
	char *path;
	enum provider_type provider;
	unsigned kms_version;
	char *name;
	bool unknown;
};
#define CENSUS_LOST_MAX 100 /* named; all are counted */
enum lost_reason { LOST_NO_KEY, LOST_REFUSED, LOST_BROKEN };
enum lost_probe { PROBE_NONE, PROBE_SERVED, PROBE_REFUSED, PROBE_UNKNOWN };
/* An object that an API server which starts now could not read. */
struct census_lost {
	const struct map_entry *entry;
	char *path, *key; /* key: its label */
	enum lost_reason reason;
	enum lost_probe probe;
	char *words; /* of the API server that was asked; NULL */
};
/* `revision` is the newest at which values were read, `first_revision` the oldest: they differ only after a compaction
 * in the middle. */
struct census_etcd {
	uint64_t cluster_id, first_revision, revision, raft_term;
	char *endpoints;
};
struct census {
	bool complete;
	char *why; /* why not, one line */
	/* what a person should know all the same: a silent member, a compaction in the middle */
	struct strings notes;
	uint64_t revision; /* of the first etcd */
	struct census_etcd *etcds;
	size_t etcd_count;
	struct resource_map map;
	struct census_resource *resources;
	size_t resource_count;
	struct strings unknown_paths; /* of what a resource has in unknown form; CENSUS_UNKNOWN_MAX of them */
	/* encrypted or unknown values outside the map; plaintext ones are only counted: */
	struct census_outside *outside;
	size_t outside_named;
	uint64_t outside_count;
	uint64_t outside_plain, expected_plain;
	char *outside_plain_example; /* under which path: "/calico/" */
	struct census_key *outside_keys;
	size_t outside_key_count; /* per key, foreign prefixes left out */
	struct census_key *foreign_keys;
	size_t foreign_key_count;
	/* "k8s:enc:" of an unknown form, and what is no Kubernetes object at all; foreign prefixes left out */
	uint64_t outside_unknown;
	uint64_t values, bytes; /* read in all */
	uint64_t stale, unknown, unreadable, opened, does_not_open;
	char *does_not_open_example;
	/* encrypted ones of a resource that nobody opened, unreadable and refused ones among them */
	uint64_t not_opened;
	uint64_t refused, refused_writes; /* refused_writes: of those, under the write key */
	uint64_t decrypt_calls;           /* that plugins were asked */
	bool plugins_asked;               /* census_options.ask_plugins */
	struct census_lost *lost;
	size_t lost_named;
	uint64_t lost_count;
	uint64_t begun, finished; /* monotonic */
	bool whole_keyspace, shape_known;
	bool by_key_id;    /* its path follows a KMS */
	bool tell_key_ids; /* what is observed is told apart by them: that, or it was asked for */
};
/* Takes a census. 0 also when incomplete (see `complete`, `why`); negative when there is nothing to show:
 * -ERROR_REFUSED (another etcd),
 * -ERROR_INPUT (a chosen resource that is not served, or not stored here), -ERROR_INTERRUPTED, or whoever does not
 * answer. Waits. */
_must_check_ int census_take(const struct census_options *options, struct census **ret, struct error **err);
void census_free(struct census *census);
void census_freep(struct census **census);
/* 0 only where every value was read, is known, readable and under its write key; else -ERROR_FINDING with the first
 * reason why not. */
_must_check_ int census_verdict(const struct census *census, struct error **err);
/* 0 where each encrypted value was opened; -ERROR_FINDING with how many were not, and why. */
_must_check_ int census_opened(const struct census *census, struct error **err);
/* Asks the API server for each lost object that is named, by a plain GET, past its caches. Waits. 0 whatever it answers;
 * -ERROR_INTERRUPTED. */
_must_check_ int census_probe_lost(struct census *census, struct kube *kube, struct error **err);
/* As next_action wants it (`compacted` and `compaction_expected` are the caller's). */
void census_observe(const struct census *census, struct census_observation *ret);
/* The document of the command contract (kind Census), and the table for people. */
struct json_writer;
void census_write_json(const struct census *census, struct json_writer *w);
char *census_table(const struct census *census, unsigned width, bool color); /* new string, lines end with \n */
/* One object in one line: "secret default/app: aescbc/key1, written at revision 4711, 312 bytes". Proved as a
 * census is; an object
 * that the API cannot serve (its value is unreadable) is shown from etcd alone. -ERROR_NOT_FOUND when neither has
 * it. `ret_key` may be NULL;
 * of an unknown value it has no name and is neither in_config nor the write key. */
_must_check_ int census_one(const struct census_options *options, const struct kube_resource *resource,
			    const char *namespace_, const char *name, char **ret_line, struct census_key **ret_key,
			    struct error **err);
/* "aescbc/key1", "plaintext", "kms v2/vault key ID arn:...": for people, long names cut. New string. */
char *census_key_label(const struct census_key *key);
/* "12 values under kms v2/vault key ID k were not opened: WHY" for keys[i], if it is the first of those like it and such are
 * there; else NULL. New string. */
char *census_closed_text(const struct census_key *keys, size_t count, size_t i);
void census_key_free(struct census_key *key); /* what census_one handed out; NULL is fine */
/* Every etcd compacted at or beyond this census' revisions? -ERROR_REFUSED when these are not the census' etcds. */
_must_check_ int census_is_compacted(const struct census *census, struct etcd *const *etcds, size_t etcd_count,
				     bool *ret, struct error **err);
