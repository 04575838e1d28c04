/* Reading one KeyRotation past every cache. */
#pragma once
#include "client/kube/kube.h"
#include "engine/key_rotation.h"

/* By its name. -ERROR_NOT_FOUND: none has it, or, with a hint, the API server does not know its kind. Else as
 * kube_custom_fetch and key_rotation_parse. `timeout` in ns, 0: kube_custom_fetch's. Waits. */
_must_check_ int key_rotation_fetch(struct kube *kube, const char *name, uint64_t timeout, struct key_rotation **ret,
				    struct error **err);
