#include "engine/fleet_kms.h"

#include <string.h>

#include "base/text.h"
#include "engine/key_server.h"

#define SHOWN 128 /* bytes of a key ID, for people */

const struct key_server_kms *fleet_kms_find(const struct key_server_status *status, const char *name)
{
	for (size_t i = 0; status && i < status->kms_count; i++)
		if (text_equal(status->kms[i].name, name))
			return &status->kms[i];
	return NULL;
}

static char *shown(const char *key_id)
{
	return text_printable(key_id, strlen(key_id), SHOWN);
}

/* The key ID of a good witness; NULL, and what it lacks to be one. */
static const char *key_id_of(const struct kms_witness *witness, const char *name, const char *endpoint, char **ret_why)
{
	const struct key_server_kms *kms = fleet_kms_find(witness->status, name);
	if (!kms || !text_equal(kms->endpoint, endpoint)) {
		*ret_why = xasprintf("the agent of %s has not told what its plugin kms/%s says", witness->server, name);
		return NULL;
	}
	bool well = text_equal(kms->healthz, "ok");
	if (well && !text_empty(kms->key_id))
		return kms->key_id;
	*ret_why = xasprintf("kms/%s on %s: %s", name, witness->server,
			     well || !kms->healthz ? "it is not known which key it encrypts with" : kms->healthz);
	return NULL;
}

char *fleet_kms_doubt(const struct kms_witness *witnesses, size_t count, const char *name, const char *endpoint,
		      const char **ret_key_id)
{
	const char *first = NULL;
	for (size_t i = 0; i < count; i++) {
		char *why = NULL;
		const char *own = key_id_of(&witnesses[i], name, endpoint, &why);
		if (!own)
			return why;
		if (!first)
			first = own;
		if (text_equal(own, first))
			continue;
		_cleanup_free_ char *one = shown(first), *other = shown(own);
		return xasprintf("kms/%s encrypts with key ID %s on %s, and with %s on %s", name, one,
				 witnesses[0].server, other, witnesses[i].server);
	}
	if (!first)
		return xasprintf("no agent has told what its plugin kms/%s says", name);
	*ret_key_id = first;
	return NULL;
}

static bool names(const struct kms_witness *witness, const char *name, const char *endpoint, const char *key_id)
{
	const struct key_server_kms *kms = fleet_kms_find(witness->status, name);
	if (!kms || !text_equal(kms->endpoint, endpoint))
		return false;
	return text_equal(text_equal(kms->healthz, "ok") ? kms->key_id : kms->last_key_id, key_id);
}

bool fleet_kms_lacks(const struct kms_witness *witnesses, size_t count, const char *name, const char *endpoint,
		     const char *key_id)
{
	for (size_t i = 0; i < count; i++)
		if (!names(&witnesses[i], name, endpoint, key_id))
			return false;
	return count > 0 && !text_empty(key_id);
}
