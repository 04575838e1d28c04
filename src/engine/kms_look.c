#include "engine/kms_look.h"

#include <stdlib.h>

#include "client/kms/kms.h"

static bool is_among(const struct kms_look *looks, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (text_equal(looks[i].name, name))
			return true;
	return false;
}

static void add(const struct config_key *key, struct kms_look **looks, size_t *count)
{
	if (key->type != PROVIDER_KMS || key->kms_version != 2 || is_among(*looks, *count, key->name))
		return;
	*looks = xreallocarray(*looks, *count + 1, sizeof(**looks));
	(*looks)[(*count)++] = (struct kms_look){.name = xstrdup(key->name),
						 .endpoint = xstrdup(key->kms_endpoint),
						 .timeout = key->kms_timeout && key->kms_timeout < KMS_LOOK_TIMEOUT
								    ? key->kms_timeout
								    : KMS_LOOK_TIMEOUT};
}

static void take(struct kms_look *look, struct kms_status_ask *ask)
{
	look->took = ask->took;
	look->status = ask->status;
	ask->status = (struct kms_status){0};
	look->silent = ask->error && error_code(ask->error) != ERROR_INPUT;
	look->flaw = ask->error ? xstrdup(error_message(ask->error)) : kms_status_flaw(&look->status);
}

int kms_look(struct loop *loop, const struct config_shape *shape, struct kms_look **looks, size_t *count,
	     struct error **err)
{
	size_t before = *count;
	for (size_t r = 0; r < shape->rule_count; r++)
		for (size_t k = 0; k < shape->rules[r].key_count; k++)
			add(&shape->rules[r].keys[k], looks, count);
	size_t more = *count - before;
	_cleanup_free_ struct kms_status_ask *asks = xcalloc(more + 1, sizeof(*asks));
	for (size_t i = 0; i < more; i++)
		asks[i] = (struct kms_status_ask){.endpoint = (*looks)[before + i].endpoint,
						  .timeout = (*looks)[before + i].timeout};
	int rc = kms_status_fetch(loop, asks, more, err);
	for (size_t i = 0; i < more; i++) {
		take(&(*looks)[before + i], &asks[i]);
		kms_status_ask_free(&asks[i]);
	}
	return rc;
}

bool kms_look_lacks(const struct kms_look *look, const char *key_id)
{
	if (!look->flaw || text_empty(key_id))
		return false;
	return look->silent ||
	       (look->status.key_id && text_equal(look->status.key_id, key_id) && kms_status_is_unwell(&look->status));
}

void kms_look_free(struct kms_look *looks, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		free(looks[i].name);
		free(looks[i].endpoint);
		free(looks[i].flaw);
		free(looks[i].last_key_id);
		kms_status_free(&looks[i].status);
	}
	free(looks);
}
