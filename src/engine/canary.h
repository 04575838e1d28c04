/* The canary: a small object of ours, one per server and kind, by which a server shows its write key: updated in
 * place through that
 * server with a nonce only, then found in etcd. Lives in a namespace of our own; deleted at the end of a rotation. */
#pragma once
#include "engine/resource_map.h"
#include "kube-rekey/path.h"

#define CANARY_NAMESPACE "kube-rekey"

struct canary_options {
	struct kube *kube;  /* the server's own address */
	const char *server; /* its name: part of the object's */
	struct etcd *const *etcds;
	const struct kube_resources *resources;
	const struct resource_map *map;
	const struct path *path;
};
/* Whether some rule of the path holds a Secret or a ConfigMap; else the loaded hash alone is the proof. */
bool canary_possible(const struct path *path);
/* Whether one shows which key this rule of `shape` writes with. */
bool canary_shows(const struct config_shape *shape, const struct config_rule *rule);
/* A sentence for the report, which names the resources of the path's end that no canary shows; NULL: there are none. New string. */
char *canary_gap_text(const struct path *path);
/* Writes and finds. *ret_step: the step under whose write keys every canary was found, the one nearest to
 * `expect_step`; STEP_NONE when there
 * is none. Waits. Errors as kube_error's: a refusal by a webhook, quota or rights says so. */
_must_check_ int canary_write(const struct canary_options *options, int expect_step, int *ret_step, struct error **err);
/* The same in two halves, where whoever writes has no etcd and whoever has it does not write. Neither needs what is only
 * the other's (etcds and map; the server's own kube). */
struct canary_mark {
	const char *resource; /* "secrets", "configmaps" */
	char *name;
	uint64_t revision; /* as the write was answered: what is older in etcd is not it */
};
#define CANARY_MARKS_MAX 2 /* of one server */
/* *ret_key_id (NULL: not asked for): of the KMS v2 key that the last of them is under, NULL where it is under none. New
 * string. */
_must_check_ int canary_put(const struct canary_options *options, struct canary_mark ret[static CANARY_MARKS_MAX],
			    size_t *ret_count, struct error **err);
_must_check_ int canary_find(const struct canary_options *options, const struct canary_mark *marks, size_t count,
			     int expect_step, int *ret_step, char **ret_key_id, struct error **err);
void canary_marks_free(struct canary_mark *marks, size_t count); /* the names */
/* One of a kind ("secrets", "configmaps") where no configuration is known: whoever has the server's counters sees by them
 * which key wrote it. */
_must_check_ int canary_touch(struct kube *kube, const char *server, const char *kind, struct error **err);
_must_check_ int canary_remove(struct kube *kube, const char *server, const char *kind, struct error **err);
/* Server-side dry run of the same writes. */
_must_check_ int canary_try(const struct canary_options *options, struct error **err);
/* Deletes the objects of `server`; the empty namespace stays: deleting it is a controller's work that a rotation
 * does not wait for. */
_must_check_ int canary_delete(const struct canary_options *options, struct error **err);
