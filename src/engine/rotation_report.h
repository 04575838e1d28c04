/* What a rotation did and how it is known: for one API server and for several alike. Kept on the node where a rotation of one
 * server ran (report_store.h), made out of the KeyRotation where agents were (cmd/fleet_report.c), signed (sign.h). It
 * names objects that could not be rewritten, and never what is in one.
 *
 * Text and JSON are what people see; what `rotation_report_write_json` writes is what `rotation_report_parse` reads. */
#pragma once
#include <cjson/cJSON.h>
#include "base/json_writer.h"
#include "engine/cloudtrail.h"
#include "engine/key_rotation.h"
#include "kube-rekey/next_action.h"

#define REPORT_JSON_MAX (16u << 20)

struct rotation_phase {
	enum phase phase;
	uint64_t ns;
};
struct rotation_server {
	char *name, *loaded_hash; /* loaded_hash NULL: its version shows none, or it was not seen */
	bool forgotten;           /* a person said that it is gone for good */
};
/* What was done with the objects of one resource, summed over all sweeps. */
struct rotation_resource {
	char *resource;
	uint64_t objects, rewritten, skipped, conflicts, quarantined;
};
struct rotation_report {
	char *target;                        /* who changed the files: "file", "manual", "agents" */
	char *outcome;                       /* "Done", "Blocked", "Interrupted", "Deadline", "Refused", "Failed";
					      * several servers: "Aborted"; "Running" */
	char *rotation, *started, *finished; /* RFC 3339; finished: of one that runs, when this was made */
	/* labels; in the end of keys of a KMS v2 provider each key ID: "kms/vault key-1" */
	struct strings old_keys, new_keys;
	struct rotation_key_id *key_ids; /* that a census of this process has seen */
	size_t key_id_count;
	uint64_t without_key_id; /* values under KMS v1 */
	char *named_key_id;      /* of the first KMS that was followed, when the report ended; NULL: none was */
	/* every value in etcd by its key, by the first census and by the last complete one; `at` NULL: there is none */
	struct key_rotation_values before, after;
	struct rotation_resource *resources;
	size_t resource_count;
	struct key_rotation_quarantined *quarantine;
	size_t quarantine_count;
	struct strings evidence; /* a sentence each */
	struct strings remains;  /* where the old key still is: a sentence each */
	struct strings outside;  /* values that no API serves and that are in the way: their paths in etcd */
	uint64_t outside_count;  /* of which those are the first */
	struct rotation_phase *phases;
	size_t phase_count;
	uint64_t revision, objects, ns;
	char *server, *loaded_hash; /* of one; NULL with several */
	struct rotation_server *servers;
	size_t server_count;
	struct cloudtrail *cloudtrail; /* NULL: nobody asked */
};

void rotation_report_add_server(struct rotation_report *report, const char *name, const char *loaded_hash,
				bool forgotten);
/* By what the report says of key IDs. `follows`: no provider leaves, and of each that has another key now all others did. */
void rotation_report_name_old_keys(struct rotation_report *report, bool follows);
void rotation_report_free(struct rotation_report *report);
void rotation_report_freep(struct rotation_report **report);
void rotation_report_write_json(const struct rotation_report *report, struct json_writer *w);
/* A report as it was written: by this or another version, or by anybody. -ERROR_INPUT for another kind or version and for a
 * field of another type, -ERROR_LIMIT beyond a cap; each names the field. */
_must_check_ int rotation_report_parse(const cJSON *json, struct rotation_report **ret, struct error **err);
/* For people; new string. At the end of a run; and `whole`, with servers, counts, resources and times. */
char *rotation_report_text(const struct rotation_report *report, bool whole);
