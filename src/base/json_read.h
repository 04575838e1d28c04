/* Reading JSON from outside: cJSON behind a cap on size and depth, with hooks that wipe what they free. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cjson/cJSON.h>
#include "base/alloc.h"
#include "base/error.h"

#define JSON_BYTES_MAX (16u << 20) /* the largest document that the API server answers with: aggregated discovery */
#define JSON_DEPTH_MAX 200         /* arrays and objects within each other */

/* Installs the wiping hooks; called once by main and by each test that parses. */
void json_install_hooks(void);
/* Parses exactly `len` bytes (trailing whitespace allowed). `what` names the document in the error. -ERROR_INPUT with
 * line and column; never quotes the text. -ERROR_LIMIT beyond the two caps. The caller frees with cJSON_Delete. */
_must_check_ int json_parse(const char *text, size_t len, const char *what, cJSON **ret, struct error **err);
/* Walks members by name, case-sensitive; NULL where any is missing or not an object.
 * E.g. json_at(doc, "metadata", "name", NULL). */
const cJSON *json_at(const cJSON *value, ...) __attribute__((sentinel));
/* NULL when missing or not a string; owned by the document. */
const char *json_text_at(const cJSON *object, const char *member);
/* A whole number from 0 to 2^53, or a decimal string (int64 in proto JSON); anything else is false, *ret untouched. */
bool json_u64_at(const cJSON *object, const char *member, uint64_t *ret);
bool json_bool_at(const cJSON *object, const char *member, bool fallback);
void json_deletep(cJSON **value);
#define _cleanup_json_ _cleanup_(json_deletep) cJSON *
