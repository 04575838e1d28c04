/* Whether aesgcm is safe for so many objects: its nonces are random, and upstream's documentation of encryption at rest
 * puts the limit at 200,000 writes under one key. Each object is written at least once. */
#pragma once
#include "base/error.h"
#include "base/text.h"

#define AESGCM_OBJECTS_MAX UINT64_C(200000)

/* `new_keys`: labels such as "aesgcm/NAME". -ERROR_REFUSED with a hint when one of them is aesgcm, there are more
 * `objects` than that, and nobody said `allow`. */
_must_check_ int aesgcm_check(const struct strings *new_keys, uint64_t objects, bool allow, struct error **err);
