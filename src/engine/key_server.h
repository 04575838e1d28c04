/* KeyServer (kube-rekey.dev/v1alpha1): one API server, by the name of its node. The controller writes the spec, which is
 * one order at a time; the agent beside the server writes the status, which is all that it sees there. Sans-I/O: JSON
 * in, JSON out.
 *
 * What each field means to people, and its caps: manifests/base/crds/keyservers.yaml, which a test compares with the
 * tables here. Times are RFC 3339 and for people; what is reckoned with are ages by the agent's monotonic clock. No field
 * ever holds key bytes in the clear. */
#pragma once
#include "engine/key_api.h"
#include "engine/object_fields.h"
#include "kube-rekey/observation.h"

#define KEY_SERVER_GROUPS_MAX 256 /* of a census; with more of them it is not complete */
#define KEY_SERVER_KMS_MAX 16
#define KEY_SERVER_RETIRED_MAX 256

struct key_server_canary {
	char *server, *resource, *name; /* resource: "secrets", "configmaps" */
	uint64_t revision;              /* as the write that is looked for was answered: what is older is not it */
	char *key_id;                   /* answer: of the KMS key that it is under; NULL: none */
	int step;                       /* answer: it was found under this step's write keys, STEP_NONE: it was not */
};

/* An order. It is for one incarnation of the agent, and one rotation; a lower epoch, or a sequence that is done, is an
 * order that comes late. */
struct key_server_spec {
	char *rotation, *rotation_name; /* uid and name of the KeyRotation; NULL: none goes on */
	char *incarnation;              /* of the agent that it is for */
	uint64_t epoch, sequence;
	char *action; /* "" none, "write-step", "census", "compact", "find-canary", "retire", "make-key" */
	int step;     /* write-step: which one of KeyRotation.status.steps */
	char *expect_hash;
	bool rescue; /* write-step that puts keys back */
	int from_step;
	bool aborted;
	bool settled;
	uint64_t beat, good_for_milliseconds; /* as in order.h */
	uint64_t census_revision;             /* compact */
	struct key_server_canary *canaries;
	size_t canary_count;
	uint64_t ask_census; /* no order: each higher number asks for one more census while nothing is rotated */
};

struct key_server_kms {
	char *name, *endpoint;
	char *healthz; /* "ok", or why its key ID is not known */
	char *version, *key_id;
	char *last_key_id; /* where it lacks an answer: what it named when it was well last; NULL */
};
struct key_server_member {
	char *name, *why;
	bool answering, learner;
	uint64_t revision, raft_term;
	/* As etcd tells, where it answered lately: bytes of its file, in use, at most, and by how many it grew in a second. */
	uint64_t db_size, db_size_in_use, db_quota, db_grows;
};
struct key_server_group {
	char *resource; /* NULL: outside the map of resources */
	char *provider, *name, *example;
	char *key_id; /* of kms v2 */
	uint64_t kms_version, values;
	bool unknown, foreign, expected;
};
struct key_server_status {
	/* the server */
	char *apiserver, *identity, *version; /* URL; name of its identity Lease; "v1.36.3" */
	bool answering;
	char *why; /* what is wrong, for people */
	char *file_hash;
	int file_step, written_step; /* STEP_NONE: none of the path's; not known */
	uint64_t rescues;            /* files with a key that was put back by order, in the rotation of path_of */
	bool going_back;             /* steps are counted on the way back of an aborted rotation */
	bool file_ours;
	char *loaded_hash;
	int loaded_step;
	bool loaded_is_file;
	bool refuses_file, refused_before, needs_second_nonce; /* as in observation.h */
	char *evidence;                                        /* "hash", "reloads" */
	char *apply;                                           /* "reload", "static-pod" */
	bool restarting;                                       /* as in observation.h */
	uint64_t process;                                      /* ms since 1970, as the server tells its start */
	struct config_shape *configuration;                    /* of the file */
	struct key_server_kms *kms;
	size_t kms_count;
	struct object_key *keys; /* local ones of the file */
	size_t key_count;
	/* the agent */
	char *agent_version;          /* of kube-rekey: "0.1.0" */
	char *incarnation, *rotation; /* rotation: the uid of the one that epoch belongs to */
	char *path_of;  /* the uid of the one on whose path all steps here are counted; NULL: none is taken up yet */
	uint64_t epoch; /* the highest one that was acknowledged: no older order is in its hands */
	struct {
		uint64_t sequence;
		char *action, *result, *message; /* result: "ok", "failed", "refused" */
		uint64_t begun_age_milliseconds; /* how long before this report it was begun with; 0: not told */
	} done;
	uint64_t sequence;  /* of that epoch, the highest that was carried out */
	bool at_work;       /* an order is in its hands */
	uint64_t beat;      /* number of this report; from 1 for each process of the agent */
	uint64_t lost_beat; /* of the last one before that was not answered, and may be written at any time; 0: none */
	char *heartbeat;
	uint64_t observed_age_milliseconds, quiet_milliseconds;
	uint64_t etcd_age_milliseconds; /* of the oldest last answer of an etcd member; 0: not told */
	uint64_t
		etcd_back_age_milliseconds; /* since an etcd was last seen to have gone back, or to be back; 0: never */
	uint64_t etcd_size_age_milliseconds; /* since a member of each etcd told its size; 0: not told */
	uint64_t reloads; /* that the process has done: more of them, and something else ran in between */
	uint64_t request_timeout_milliseconds;
	uint64_t compaction_interval_milliseconds; /* 0: its server does not compact etcd */
	char *trust_key;                           /* fingerprint */
	struct strings retired;                    /* fingerprints */
	struct strings remains;                    /* retire: where the old keys are on this node, a sentence each */
	struct object_sealed_key *sealed_keys;     /* make-key: to be carried to KeyRotation.status */
	size_t sealed_key_count;
	/* etcd */
	struct key_server_member *members;
	size_t member_count;
	bool members_behind_balancer;
	struct {
		uint64_t revision, epoch, sequence; /* epoch and sequence: of the order that it answers */
		uint64_t asked;                     /* ask_census that it answers; 0: none */
		bool complete, compacted, unsettled;
		char *why;
		uint64_t does_not_open, opened, not_opened, finished_age_milliseconds;
		char *why_not_opened;
		struct key_server_group *groups;
		size_t group_count;
	} census;
	struct key_server_canary *canaries;
	size_t canary_count;
};

struct key_server {
	struct object_meta meta;
	struct key_server_spec spec;
	struct key_server_status status;
};
extern const struct object_record key_server_spec_record, key_server_status_record, key_server_canary_record;

/* An object as an API server sends it. -ERROR_INPUT for another kind and for a field of another type, -ERROR_LIMIT
 * beyond a cap; each names object and field. */
_must_check_ int key_server_parse(const cJSON *json, struct key_server **ret, struct error **err);
/* All that is not said, as an API server would fill it in. `name` is copied. */
struct key_server *key_server_new(const char *name);
/* What a census found under one key, as a report tells it; new strings. */
struct key_server_group key_server_group_of(const struct census_group *group);
void key_server_free(struct key_server *server); /* NULL is fine */
void key_server_freep(struct key_server **server);
/* Bodies of an apply, with meta.uid and meta.resource_version as preconditions where they are not NULL. New strings.
 * -ERROR_LIMIT where a list or a text is longer than its cap (words for people are cut instead). */
_must_check_ int key_server_spec_body(const struct key_server *server, char **ret, struct error **err);
_must_check_ int key_server_status_body(const struct key_server *server, char **ret, struct error **err);
