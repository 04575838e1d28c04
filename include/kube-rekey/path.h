/* The path of a rotation: the configurations C0, C1, ... Cn that take a cluster from where it is to where it shall be,
 * such that servers on either side of one step read what the others write. Pure.
 *
 * From key A to key B: [A] -> [A,B] -> [B,A] -> [B]. Turning encryption on: [plain] -> [plain,K] -> [K,plain]. The
 * general case, of which these are instances: `from`; each resource's rule with every key of its rule in `to` as a read key;
 * its rule in `to` with every key of that in `from`; `to`. A step between that would change nothing but the order of read keys
 * is none; no key leaves where a write key changes. Per resource: what has one rule before and one afterwards has one in between;
 * one without a rule counts as [plain]. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include "kube-rekey/encryption_config.h"

struct path {
	struct config_shape **steps; /* owned */
	size_t count;                /* n + 1; 1 when there is nothing to change */
};

/* Computes the path. -ERROR_REFUSED when `to` lacks a resource that `from` names (write it with `identity: {}` first to
 * decrypt it on purpose), gives a key's name to other bytes (same type and name, other fingerprint) or an old key's bytes
 * to a new name, or would have a KMS v2 provider in two rules at some step. */
__attribute__((warn_unused_result)) int path_make(const struct config_shape *from, const struct config_shape *to,
						  struct path **ret, struct error **err);
/* The way back from step `reached`, the furthest that any file or server has: the same configurations, so that servers
 * are found on it, in reverse. Before a write key changed it takes the read keys away again, by rule 3 as any key that
 * leaves (values are under one that never wrote only where something went wrong). -ERROR_REFUSED when a write key
 * changed already, unless `promote_again`: then it goes by the old write key's second promotion; and when a key may
 * have left already, or what is encrypted now would be plaintext again: only forward. */
__attribute__((warn_unused_result)) int path_abort(const struct path *path, size_t reached, bool promote_again,
						   struct path **ret, struct error **err);
/* Whether somebody else's path is one to go: what path_make makes of its ends; nothing that is encrypted by the first
 * configuration, by a wildcard too, is written in plaintext by the last. */
bool path_is_lawful(const struct path *path);
/* Whether `key` is a KMS provider that Ci names and the first configuration does not. It has no fingerprint: that all nodes
 * have the same key behind it has to be asked of their plugins. */
bool path_brings_kms(const struct path *path, size_t step, const struct config_key *key);
bool path_brings_any_kms(const struct path *path, size_t step);
/* A path of copies of these configurations. */
struct path *path_of_steps(struct config_shape *const *steps, size_t count);
void path_free(struct path *path);
void path_freep(struct path **path);

/* The step with this meaning, searched from the end; -1 when there is none. */
int path_find(const struct path *path, const struct config_shape *shape);

/* What a step does, for its name and its rules. `step` is the one that is left (Ci -> Ci+1); the last one is never left. */
bool path_changes_write_key(const struct path *path, size_t step);
/* Whether some key leaves some resource's effective rule. */
bool path_drops(const struct path *path, size_t step);
/* Whether a value under `key` of `resource` (NULL: outside the map of resources) stops being readable, or being
 * allowed, by Ci -> Ci+1. A key that leaves the file altogether is lost to every value, whatever its resource; one
 * that stays in another rule, and plaintext, is lost to the resources whose effective rule loses it. Key names count,
 * not bytes: the census sees names. */
bool path_loses(const struct path *path, size_t step, const char *resource, struct key_name key);
/* Whether the servers of Ci can read a value under `key` of `resource`; outside the map: whether any rule has the
 * key. */
bool shape_reads(const struct config_shape *shape, const char *resource, struct key_name key);
/* Whether `key` is the effective write key of `resource` in the shape ([plain] without a rule). */
bool shape_writes(const struct config_shape *shape, const char *resource, struct key_name key);
/* Whether a value names a provider that `shape` writes with, and another key ID than its plugin does. */
bool shape_needs_key_of_before(const struct config_shape *shape, struct key_name key);
/* A path of one configuration whose KMS providers changed their keys: nothing of the file does. */
bool path_follows_kms(const struct path *path);
/* Rule 2 for one step: for every resource the write key of each side is in the other. */
bool path_step_readable(const struct path *path, size_t step);
/* Whether a key that leaves by Ci -> Ci+1 is a write key of Ci or Ci+1, for some resource (rule 3d). */
bool path_step_drops_write_key(const struct path *path, size_t step);

/* Of any two steps: whether `to` reads everything that `from` reads; whether both write under the same keys; whether
 * servers of the one read what servers of the other write, both ways (rule 2). */
bool path_keeps_keys(const struct path *path, size_t from, size_t to);
bool path_writes_alike(const struct path *path, size_t a, size_t b);
bool path_readable_between(const struct path *path, size_t a, size_t b);
