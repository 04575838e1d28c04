/* KeyRotation (kube-rekey.dev/v1alpha1): what was asked, and how far it is. One object is one rotation, run to
 * completion. People write the spec, the controller the status. Sans-I/O: JSON in, JSON out.
 *
 * What each field means to people, and its caps: manifests/base/crds/keyrotations.yaml, which a test compares with the
 * tables here. Times are RFC 3339; NULL and 0 are "not said". No field ever holds key bytes in the clear. */
#pragma once
#include "engine/key_api.h"
#include "engine/object_fields.h"
#include "kube-rekey/path.h"

#define KEY_ROTATION_QPS 50        /* where the spec says nothing */
#define KEY_ROTATION_CONCURRENCY 8 /* likewise */
#define KEY_ROTATION_EVIDENCE_MAX 64
#define KEY_ROTATION_REMAINS_MAX (KEY_SERVERS_MAX + ROTATION_KEY_IDS_MAX)
#define KEY_ROTATION_QUARANTINE_MAX 50 /* named; all are counted */
#define KEY_ROTATION_VALUES_MAX 256    /* groups that a census is told by; what is beyond is not told */

#define ROTATION_KEY_IDS_MAX 64 /* of KMS providers, that a report tells apart */
struct rotation_key_id {
	char *name, *key_id; /* the provider's name */
	uint64_t objects;    /* under it by the last census */
};

struct key_rotation_rule {
	struct strings resources; /* as in an EncryptionConfiguration */
	struct object_key *keys;  /* the first one writes */
	size_t key_count;
};
/* Exactly one of provider, to_rules, renew_dek, follow_kms; or drop_keys and drop_identity without any of them, which
 * may also stand beside provider. The API server checks that. */
struct key_rotation_spec {
	char *provider; /* "same", "aescbc", "aesgcm", "secretbox": a new key; "kms"; NULL: neither */
	struct {
		char *name, *endpoint;
		uint64_t timeout; /* ns; 0: 3 s */
	} kms;                    /* with provider "kms": the plugin that each server finds on its own node */
	struct key_rotation_rule *to_rules;
	size_t to_rule_count;
	bool renew_dek, follow_kms;
	struct strings drop_keys; /* names */
	bool drop_identity;
	char *old_key;      /* "keep" (default), "destroy", "seal" */
	char *old_key_cert; /* PEM, for seal */
	char *mode;         /* "replace" (default), "patch", "force" */
	bool compact, allow_aesgcm;
	struct strings foreign_prefixes;
	uint64_t settle_seconds, deadline_seconds; /* 0: the default; none */
	uint64_t servers;                          /* their number, as a person states it; 0: not stated */
	uint64_t qps, concurrency;                 /* qps 0: full speed */
	bool paused, aborted;
	bool promote_old_key; /* with aborted: also where the new key may write already */
};

/* What a census found: values under one key in one place. `class`: "known", "expected" (plaintext that the servers keep for
 * themselves), "foreign", "unknown". */
struct key_rotation_value {
	char *resource, *provider, *name, *key_id,
		*class; /* resource NULL: outside all of them; key_id NULL: not told */
	uint64_t kms_version, values;
};
struct key_rotation_values {
	char *at; /* NULL: no census */
	uint64_t revision;
	struct key_rotation_value *items;
	size_t count;
};
extern const struct object_record key_rotation_values_record;

struct key_rotation_server {
	char *name, *identity; /* identity: of its Lease's name */
	char *loaded;          /* hash that it had loaded at the end of the rotation */
	bool forgotten;
	char *forgotten_by, *forgotten_at;
};
struct key_rotation_condition {
	char *type, *status, *reason, *message, *last_transition_time;
	uint64_t observed_generation;
};
struct key_rotation_quarantined {
	char *resource, *namespace_, *name, *why;
};
struct key_rotation_status {
	char *phase;
	int step;                    /* every server is at it or one further; STEP_NONE: not known */
	struct config_shape **steps; /* the path; empty until the new key's fingerprint is known */
	size_t step_count;
	int back_from; /* it was aborted, and goes back from this step; STEP_NONE: it goes forward */
	uint64_t epoch, rescues, observed_generation;
	char *started_at, *completed_at, *outcome; /* outcome: "Done", "Aborted", ...; NULL while it runs */
	bool retired;                              /* the old keys were treated as asked */
	struct key_rotation_condition *conditions; /* Progressing, Converged, Degraded, Complete */
	size_t condition_count;
	struct object_key *old_keys, *new_keys;
	size_t old_key_count, new_key_count;
	struct key_rotation_server
		*servers; /* only grows: the API server refuses a status without one that was there */
	size_t server_count;
	struct rotation_key_id *key_ids; /* of KMS providers: that plugins named, and that values were under */
	size_t key_id_count;
	struct object_sealed_key *sealed_keys; /* until every server has them */
	size_t sealed_key_count;
	struct {
		uint64_t total, done, per_second, eta_seconds;
		char *namespace_; /* at work now */
	} progress;
	struct {
		uint64_t count;
		struct key_rotation_quarantined *items;
		size_t item_count;
	} quarantined;
	struct key_rotation_values before, after; /* the first census and the last one, of all values */
	struct strings evidence;                  /* sentences */
	struct strings remains; /* what needs which KMS key; where the old keys are now: a sentence for each server */
};

struct key_rotation {
	struct object_meta meta;
	struct key_rotation_spec spec;
	struct key_rotation_status status;
};
extern const struct object_record key_rotation_spec_record, key_rotation_status_record, key_rotation_quarantined_record,
	key_rotation_server_record;

/* What is asked for and not carried out yet is waited with, not half done: why. NULL where all of it is. */
const char *key_rotation_not_carried_out(const struct key_rotation_spec *spec);
/* When the API server made it, wall ns; 0: it has not. */
uint64_t key_rotation_created(const struct key_rotation *rotation);
bool key_rotation_goes_back(const struct key_rotation *rotation);
/* Keys that were put back, as far as that counts against the servers that are left: each that was forgotten takes its share along. */
unsigned key_rotation_rescues(const struct key_rotation_status *status);
/* Of its steps the one that is counted `step` on the path that it goes; STEP_NONE stays. */
int key_rotation_step(const struct key_rotation *rotation, int step);
/* How many steps the path has that it goes now. */
size_t key_rotation_steps(const struct key_rotation_status *status);
/* The path that it goes, whose steps are counted by agents: its steps, or the way back over them. It has steps.
 * -ERROR_INPUT, -ERROR_REFUSED for a way back that is none. */
_must_check_ int key_rotation_path(const struct key_rotation *rotation, struct path **ret, struct error **err);
/* Of a census as all agents report it, in place of what was there. */
void key_rotation_take_values(struct key_rotation_values *ret, const struct census_observation *census, uint64_t wall);
/* "known", ...: as in key_rotation_value. */
const char *census_group_class(const struct census_group *group);
/* An object as an API server sends it. -ERROR_INPUT for another kind and for a field of another type, -ERROR_LIMIT
 * beyond a cap; each names object and field. */
_must_check_ int key_rotation_parse(const cJSON *json, struct key_rotation **ret, struct error **err);
/* NULL where the status has none of this type. */
struct key_rotation_condition *key_rotation_condition(const struct key_rotation_status *status, const char *type);
bool key_rotation_holds(const struct key_rotation *rotation, const char *type); /* it is "True" */
/* All that is not said, as an API server would fill it in. `name` is copied. */
struct key_rotation *key_rotation_new(const char *name);
void key_rotation_free(struct key_rotation *rotation); /* NULL is fine */
void key_rotation_freep(struct key_rotation **rotation);
/* Bodies, with meta.uid and meta.resource_version as preconditions where they are not NULL: of a create, and of an
 * apply to the status. New strings. -ERROR_LIMIT where a list or a text is longer than its cap (words for people are
 * cut instead). */
_must_check_ int key_rotation_spec_body(const struct key_rotation *rotation, char **ret, struct error **err);
_must_check_ int key_rotation_status_body(const struct key_rotation *rotation, char **ret, struct error **err);
