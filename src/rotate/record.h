/* The flight recorder: path, observation and decision as one JSON line, and back, so that the pure function can be run
 * again over what it saw (`replay`). Pure; no secrets: there are none in what it is given.
 *
 * {"kind":"Decision","version":1,"at":"2026-11-22T11:03:00Z","now":N,"path":[SHAPE,...],"observation":{...},
 *  "decision":{...}}
 * Members of observation and decision are called as the fields of their structs are, in camelCase. Times are decimal
 * strings (monotonic ns). Members may be added: a reader passes over those that it does not know, and takes one that is
 * missing for "not known" (null, 0, false, STEP_NONE). */
#pragma once
#include <cjson/cJSON.h>
#include "base/error.h"
#include "base/json_writer.h"
#include "kube-rekey/next_action.h"

#define RECORD_LINE_MAX (4u << 20) /* bytes of a line: the cap for the json_writer that record_write is given */
#define RECORD_STEPS_MAX 16
#define RECORD_SERVERS_MAX 256
#define RECORD_MEMBERS_MAX 256
#define RECORD_GROUPS_MAX 16384

/* One line read back. Owns everything but decision.expect_hash, which is expect_hash below. */
struct record {
	char *at; /* wall-clock time, for people; NULL */
	uint64_t now;
	struct path *path;
	struct observation observation;
	struct decision decision;
	char *expect_hash;
};

/* Appends one document to `w` (without a line end). `at`: wall-clock time in RFC 3339, for people; NULL: unknown. */
void record_write(struct json_writer *w, const char *at, const struct path *path, const struct observation *observation,
		  uint64_t now, const struct decision *decision);
/* -ERROR_INPUT: another kind or version, a member of another type than it should have, a step that the path does not
 * have, an action that has no name here. -ERROR_LIMIT: beyond the caps above. The caller frees with record_free. */
_must_check_ int record_read(const cJSON *json, struct record **ret, struct error **err);
void record_free(struct record *record);
void record_freep(struct record **record);

/* What next_action decides today from what was seen then; its expect_hash belongs to the record. */
struct decision record_replay(const struct record *record);
/* The name of the first field in which two decisions differ ("action", "toStep"), NULL when they are equal. */
const char *decision_difference(const struct decision *a, const struct decision *b);
