#include "engine/kms_look.h"

#include <stdlib.h>

#include "base/clock.h"
#include "client/kms/kms.h"

static bool is_among(const struct kms_look *looks, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (text_equal(looks[i].name, name))
			return true;
	return false;
}

static int ask(struct loop *loop, const struct config_key *key, struct kms_look *ret, struct error **err)
{
	uint64_t timeout =
		key->kms_timeout && key->kms_timeout < KMS_LOOK_TIMEOUT ? key->kms_timeout : KMS_LOOK_TIMEOUT;
	_cleanup_error_ failed = NULL;
	*ret = (struct kms_look){.name = xstrdup(key->name), .endpoint = xstrdup(key->kms_endpoint)};
	uint64_t asked = clock_monotonic();
	int rc = kms_status_fetch(loop, key->kms_endpoint, timeout, &ret->status, &failed);
	ret->took = clock_monotonic() - asked;
	if (rc == -ERROR_INTERRUPTED) {
		*err = steal(failed);
		return rc;
	}
	ret->flaw = rc < 0 ? xstrdup(error_message(failed)) : kms_status_flaw(&ret->status);
	return 0;
}

int kms_look(struct loop *loop, const struct config_shape *shape, struct kms_look **looks, size_t *count,
	     struct error **err)
{
	int rc = 0;
	for (size_t r = 0; rc == 0 && r < shape->rule_count; r++)
		for (size_t k = 0; rc == 0 && k < shape->rules[r].key_count; k++) {
			const struct config_key *key = &shape->rules[r].keys[k];
			if (key->type != PROVIDER_KMS || key->kms_version != 2 || is_among(*looks, *count, key->name))
				continue;
			*looks = xreallocarray(*looks, *count + 1, sizeof(**looks));
			rc = ask(loop, key, &(*looks)[(*count)++], err);
		}
	return rc;
}

void kms_look_free(struct kms_look *looks, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		free(looks[i].name);
		free(looks[i].endpoint);
		free(looks[i].flaw);
		kms_status_free(&looks[i].status);
	}
	free(looks);
}
