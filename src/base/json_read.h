/* Reading JSON from outside: cJSON behind a cap on size and depth, with hooks that wipe what they free. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cjson/cJSON.h>
#include "base/alloc.h"
#include "base/error.h"

/* Installs the wiping hooks; called once by main and by each test that parses. */
void json_install_hooks(void);
/* Parses exactly `len` bytes (trailing whitespace allowed). `what` names the document in the error. -ERROR_INPUT with
 * line and column; never quotes the text. The caller frees with cJSON_Delete. */
_must_check_ int json_parse(const char *text, size_t len, const char *what, cJSON **ret, struct error **err);
/* Walks members by name, case-sensitive; NULL where any is missing or not an object. E.g. json_at(doc, "metadata", "name", NULL). */
const cJSON *json_at(const cJSON *value, ...) __attribute__((sentinel));
const char *json_text_at(const cJSON *object, const char *member); /* NULL when missing or not a string; owned by the document */
bool json_u64_at(const cJSON *object, const char *member, uint64_t *ret); /* number or decimal string (int64 in proto JSON) */
bool json_bool_at(const cJSON *object, const char *member, bool fallback);
void json_deletep(cJSON **value);
#define _cleanup_json_ _cleanup_(json_deletep) cJSON *
