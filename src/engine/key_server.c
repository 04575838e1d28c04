#include "engine/key_server.h"

#include "base/error.h"

#define KIND "KeyServer"

static const struct object_field canary_fields[] = {
	OBJECT_TEXT(struct key_server_canary, server, "server", KEY_NAME_MAX),
	OBJECT_TEXT(struct key_server_canary, resource, "resource", KEY_NAME_MAX),
	OBJECT_TEXT(struct key_server_canary, name, "name", KEY_NAME_MAX),
	OBJECT_NUMBER(struct key_server_canary, revision, "revision", OBJECT_NUMBER_MAX, 0),
	OBJECT_TEXT(struct key_server_canary, key_id, "keyID", 1024),
	OBJECT_STEP(struct key_server_canary, step, "step"),
};
const struct object_record key_server_canary_record = {canary_fields, ELEMENTS(canary_fields),
						       sizeof(struct key_server_canary)};

/* --- spec ------------------------------------------------------------------------------------------------------- */

#define SPEC struct key_server_spec
static const struct object_field spec_fields[] = {
	OBJECT_TEXT(SPEC, rotation, "rotation", 64),
	OBJECT_TEXT(SPEC, rotation_name, "rotationName", KEY_NAME_MAX),
	OBJECT_TEXT(SPEC, incarnation, "incarnation", 64),
	OBJECT_NUMBER(SPEC, epoch, "epoch", OBJECT_NUMBER_MAX, 0),
	OBJECT_NUMBER(SPEC, sequence, "sequence", OBJECT_NUMBER_MAX, 0),
	OBJECT_CHOICE(SPEC, action, "action", 16, ""),
	OBJECT_STEP(SPEC, step, "step"),
	OBJECT_TEXT(SPEC, expect_hash, "expectHash", KEY_HASH_MAX),
	OBJECT_BOOL(SPEC, rescue, "rescue"),
	OBJECT_STEP(SPEC, from_step, "fromStep"),
	OBJECT_BOOL(SPEC, aborted, "aborted"),
	OBJECT_BOOL(SPEC, settled, "settled"),
	OBJECT_NUMBER(SPEC, beat, "beat", OBJECT_NUMBER_MAX, 0),
	OBJECT_NUMBER(SPEC, good_for_milliseconds, "goodForMilliseconds", 86400000, 0),
	OBJECT_NUMBER(SPEC, census_revision, "censusRevision", OBJECT_NUMBER_MAX, 0),
	OBJECT_LIST(SPEC, canaries, canary_count, "canaries", 2 * KEY_SERVERS_MAX, &key_server_canary_record),
	OBJECT_NUMBER(SPEC, ask_census, "askCensus", OBJECT_NUMBER_MAX, 0),
};
#undef SPEC
const struct object_record key_server_spec_record = {spec_fields, ELEMENTS(spec_fields),
						     sizeof(struct key_server_spec)};

/* --- status ----------------------------------------------------------------------------------------------------- */

static const struct object_field kms_fields[] = {
	OBJECT_TEXT(struct key_server_kms, name, "name", KEY_NAME_MAX),
	OBJECT_TEXT(struct key_server_kms, endpoint, "endpoint", 512),
	OBJECT_WORDS(struct key_server_kms, healthz, "healthz", 256),
	OBJECT_TEXT(struct key_server_kms, version, "version", 32),
	OBJECT_TEXT(struct key_server_kms, key_id, "keyID", 1024),
	OBJECT_TEXT(struct key_server_kms, last_key_id, "lastKeyID", 1024),
};
static const struct object_record kms_record = {kms_fields, ELEMENTS(kms_fields), sizeof(struct key_server_kms)};

static const struct object_field member_fields[] = {
	OBJECT_TEXT(struct key_server_member, name, "name", KEY_NAME_MAX),
	OBJECT_BOOL(struct key_server_member, answering, "answering"),
	OBJECT_WORDS(struct key_server_member, why, "why", KEY_WORDS_MAX),
	OBJECT_BOOL(struct key_server_member, learner, "learner"),
	OBJECT_NUMBER(struct key_server_member, revision, "revision", OBJECT_NUMBER_MAX, 0),
	OBJECT_NUMBER(struct key_server_member, raft_term, "raftTerm", OBJECT_NUMBER_MAX, 0),
	OBJECT_NUMBER(struct key_server_member, db_size, "dbSize", OBJECT_NUMBER_MAX, 0),
	OBJECT_NUMBER(struct key_server_member, db_size_in_use, "dbSizeInUse", OBJECT_NUMBER_MAX, 0),
	OBJECT_NUMBER(struct key_server_member, db_quota, "dbQuota", OBJECT_NUMBER_MAX, 0),
	OBJECT_NUMBER(struct key_server_member, db_grows, "dbGrowsPerSecond", OBJECT_NUMBER_MAX, 0),
};
static const struct object_record member_record = {member_fields, ELEMENTS(member_fields),
						   sizeof(struct key_server_member)};

static const struct object_field group_fields[] = {
	OBJECT_TEXT(struct key_server_group, resource, "resource", KEY_NAME_MAX),
	OBJECT_TEXT(struct key_server_group, provider, "provider", 16),
	OBJECT_NUMBER(struct key_server_group, kms_version, "kmsVersion", 2, 0),
	OBJECT_TEXT(struct key_server_group, name, "name", KEY_NAME_MAX),
	OBJECT_TEXT(struct key_server_group, key_id, "keyID", 1024),
	OBJECT_NUMBER(struct key_server_group, values, "values", OBJECT_NUMBER_MAX, 0),
	OBJECT_BOOL(struct key_server_group, unknown, "unknown"),
	OBJECT_BOOL(struct key_server_group, foreign, "foreign"),
	OBJECT_BOOL(struct key_server_group, expected, "expected"),
	OBJECT_WORDS(struct key_server_group, example, "example", 512),
};
static const struct object_record group_record = {group_fields, ELEMENTS(group_fields),
						  sizeof(struct key_server_group)};

#define STATUS struct key_server_status
static const struct object_field done_fields[] = {
	OBJECT_NUMBER(STATUS, done.sequence, "sequence", OBJECT_NUMBER_MAX, 0),
	OBJECT_TEXT(STATUS, done.action, "action", 16),
	OBJECT_TEXT(STATUS, done.result, "result", 16),
	OBJECT_WORDS(STATUS, done.message, "message", KEY_WORDS_MAX),
	OBJECT_NUMBER(STATUS, done.begun_age_milliseconds, "begunAgeMilliseconds", OBJECT_NUMBER_MAX, 0),
};
static const struct object_record done_record = {done_fields, ELEMENTS(done_fields), 0};

static const struct object_field census_fields[] = {
	OBJECT_NUMBER(STATUS, census.epoch, "epoch", OBJECT_NUMBER_MAX, 0),
	OBJECT_NUMBER(STATUS, census.sequence, "sequence", OBJECT_NUMBER_MAX, 0),
	OBJECT_NUMBER(STATUS, census.asked, "asked", OBJECT_NUMBER_MAX, 0),
	OBJECT_NUMBER(STATUS, census.revision, "revision", OBJECT_NUMBER_MAX, 0),
	OBJECT_BOOL(STATUS, census.complete, "complete"),
	OBJECT_WORDS(STATUS, census.why, "why", KEY_WORDS_MAX),
	OBJECT_BOOL(STATUS, census.compacted, "compacted"),
	OBJECT_BOOL(STATUS, census.unsettled, "unsettled"),
	OBJECT_NUMBER(STATUS, census.does_not_open, "doesNotOpen", OBJECT_NUMBER_MAX, 0),
	OBJECT_NUMBER(STATUS, census.opened, "opened", OBJECT_NUMBER_MAX, 0),
	OBJECT_NUMBER(STATUS, census.not_opened, "notOpened", OBJECT_NUMBER_MAX, 0),
	OBJECT_WORDS(STATUS, census.why_not_opened, "whyNotOpened", KEY_WORDS_MAX),
	OBJECT_NUMBER(STATUS, census.finished_age_milliseconds, "finishedAgeMilliseconds", OBJECT_NUMBER_MAX, 0),
	OBJECT_LIST(STATUS, census.groups, census.group_count, "groups", KEY_SERVER_GROUPS_MAX, &group_record),
};
static const struct object_record census_record = {census_fields, ELEMENTS(census_fields), 0};

static const struct object_field status_fields[] = {
	OBJECT_TEXT(STATUS, apiserver, "apiserver", 512),
	OBJECT_TEXT(STATUS, identity, "identity", KEY_NAME_MAX),
	OBJECT_TEXT(STATUS, version, "version", 64),
	OBJECT_BOOL(STATUS, answering, "answering"),
	OBJECT_WORDS(STATUS, why, "why", KEY_WORDS_MAX),
	OBJECT_TEXT(STATUS, file_hash, "fileHash", KEY_HASH_MAX),
	OBJECT_STEP(STATUS, file_step, "fileStep"),
	OBJECT_STEP(STATUS, written_step, "writtenStep"),
	OBJECT_NUMBER(STATUS, rescues, "rescues", OBJECT_NUMBER_MAX, 0),
	OBJECT_BOOL(STATUS, going_back, "goingBack"),
	OBJECT_BOOL(STATUS, file_ours, "fileOurs"),
	OBJECT_TEXT(STATUS, loaded_hash, "loadedHash", KEY_HASH_MAX),
	OBJECT_STEP(STATUS, loaded_step, "loadedStep"),
	OBJECT_BOOL(STATUS, loaded_is_file, "loadedIsFile"),
	OBJECT_TEXT(STATUS, evidence, "evidence", 16),
	OBJECT_TEXT(STATUS, apply, "apply", 16),
	OBJECT_BOOL(STATUS, restarting, "restarting"),
	OBJECT_NUMBER(STATUS, process, "process", OBJECT_NUMBER_MAX, 0),
	OBJECT_SHAPE(STATUS, configuration, "configuration"),
	OBJECT_LIST(STATUS, kms, kms_count, "kms", KEY_SERVER_KMS_MAX, &kms_record),
	OBJECT_LIST(STATUS, keys, key_count, "keys", 64, &object_key_record),
	OBJECT_TEXT(STATUS, agent_version, "agentVersion", 32),
	OBJECT_TEXT(STATUS, incarnation, "incarnation", 64),
	OBJECT_TEXT(STATUS, rotation, "rotation", 64),
	OBJECT_TEXT(STATUS, path_of, "pathOf", 64),
	OBJECT_NUMBER(STATUS, epoch, "epoch", OBJECT_NUMBER_MAX, 0),
	OBJECT_WITHIN("done", &done_record),
	OBJECT_NUMBER(STATUS, sequence, "sequence", OBJECT_NUMBER_MAX, 0),
	OBJECT_BOOL(STATUS, at_work, "atWork"),
	OBJECT_NUMBER(STATUS, beat, "beat", OBJECT_NUMBER_MAX, 0),
	OBJECT_NUMBER(STATUS, lost_beat, "lostBeat", OBJECT_NUMBER_MAX, 0),
	OBJECT_BOOL(STATUS, refuses_file, "refusesFile"),
	OBJECT_BOOL(STATUS, refused_before, "refusedBefore"),
	OBJECT_BOOL(STATUS, needs_second_nonce, "needsSecondNonce"),
	OBJECT_TEXT(STATUS, heartbeat, "heartbeat", 64),
	OBJECT_NUMBER(STATUS, observed_age_milliseconds, "observedAgeMilliseconds", OBJECT_NUMBER_MAX, 0),
	OBJECT_NUMBER(STATUS, quiet_milliseconds, "quietMilliseconds", OBJECT_NUMBER_MAX, 0),
	OBJECT_NUMBER(STATUS, etcd_age_milliseconds, "etcdAgeMilliseconds", OBJECT_NUMBER_MAX, 0),
	OBJECT_NUMBER(STATUS, etcd_back_age_milliseconds, "etcdBackAgeMilliseconds", OBJECT_NUMBER_MAX, 0),
	OBJECT_NUMBER(STATUS, etcd_size_age_milliseconds, "etcdSizeAgeMilliseconds", OBJECT_NUMBER_MAX, 0),
	OBJECT_NUMBER(STATUS, reloads, "reloads", OBJECT_NUMBER_MAX, 0),
	OBJECT_NUMBER(STATUS, request_timeout_milliseconds, "requestTimeoutMilliseconds", OBJECT_NUMBER_MAX, 0),
	OBJECT_NUMBER(STATUS, compaction_interval_milliseconds, "compactionIntervalMilliseconds", OBJECT_NUMBER_MAX,
		      300000),
	OBJECT_TEXT(STATUS, trust_key, "trustKey", 64),
	OBJECT_TEXTS(STATUS, retired, "retired", KEY_SERVER_RETIRED_MAX, KEY_FINGERPRINT_LEN),
	OBJECT_SENTENCES(STATUS, remains, "remains", 32, KEY_WORDS_MAX),
	OBJECT_LIST(STATUS, sealed_keys, sealed_key_count, "sealedKeys", 16, &object_sealed_key_record),
	OBJECT_LIST(STATUS, members, member_count, "members", 16, &member_record),
	OBJECT_BOOL(STATUS, members_behind_balancer, "membersBehindBalancer"),
	OBJECT_WITHIN("census", &census_record),
	OBJECT_LIST(STATUS, canaries, canary_count, "canaries", 2 * KEY_SERVERS_MAX, &key_server_canary_record),
};
#undef STATUS
const struct object_record key_server_status_record = {status_fields, ELEMENTS(status_fields),
						       sizeof(struct key_server_status)};

/* --- the object ------------------------------------------------------------------------------------------------- */

void key_server_free(struct key_server *server)
{
	if (!server)
		return;
	object_meta_release(&server->meta);
	object_release(&key_server_spec_record, &server->spec);
	object_release(&key_server_status_record, &server->status);
	free(server);
}

void key_server_freep(struct key_server **server)
{
	key_server_free(*server);
}

int key_server_parse(const cJSON *json, struct key_server **ret, struct error **err)
{
	_cleanup_(key_server_freep) struct key_server *server = xcalloc(1, sizeof(*server));
	int rc = object_read_whole(json, KIND, &server->meta, &key_server_spec_record, &server->spec,
				   &key_server_status_record, &server->status, err);
	if (rc < 0)
		return rc;
	*ret = steal(server);
	return 0;
}

struct key_server_group key_server_group_of(const struct census_group *group)
{
	return (struct key_server_group){.resource = xstrdup_or_null(group->resource),
					 .provider = xstrdup(provider_name(group->type)),
					 .name = xstrdup_or_null(group->name),
					 .example = xstrdup_or_null(group->example),
					 .key_id = xstrdup_or_null(text_empty(group->key_id) ? NULL : group->key_id),
					 .kms_version = group->kms_version,
					 .values = group->values,
					 .unknown = group->unknown,
					 .foreign = group->foreign,
					 .expected = group->expected};
}

struct key_server *key_server_new(const char *name)
{
	struct key_server *server = xcalloc(1, sizeof(*server));
	server->meta.name = xstrdup(name);
	object_defaults(&key_server_spec_record, &server->spec);
	object_defaults(&key_server_status_record, &server->status);
	return server;
}

int key_server_spec_body(const struct key_server *server, char **ret, struct error **err)
{
	return object_body(KIND, &server->meta, "spec", &key_server_spec_record, &server->spec, ret, err);
}

int key_server_status_body(const struct key_server *server, char **ret, struct error **err)
{
	return object_body(KIND, &server->meta, "status", &key_server_status_record, &server->status, ret, err);
}
