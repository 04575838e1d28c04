#include "engine/key_rotation_fetch.h"

#include "client/kube/custom.h"

int key_rotation_fetch(struct kube *kube, const char *name, uint64_t timeout, struct key_rotation **ret,
		       struct error **err)
{
	const struct kube_custom_request request = {
		.verb = CUSTOM_GET, .collection = KEY_ROTATIONS_PATH, .name = name, .timeout = timeout};
	_cleanup_json_ answer = NULL;
	int rc = kube_custom_fetch(kube, &request, &answer, err);
	return rc == 0 ? key_rotation_parse(answer, ret, err) : rc;
}
