/* What the KMS v2 plugins of a configuration say of themselves. */
#pragma once
#include "base/text.h"
#include "format/kms_status.h"
#include "kube-rekey/encryption_config.h"

struct loop;

struct kms_look {
	char *name, *endpoint;    /* the provider's */
	uint64_t timeout;         /* ns that it is given */
	struct kms_status status; /* where it answered */
	uint64_t took;            /* ns, whether it answered or not */
	bool silent;              /* it gave no Status: none in time, an error, or rubbish */
	char *last_key_id; /* of an agent: the one that it named when it was well last, where it lacks no more than an answer; NULL */
	char *flaw; /* why kube-apiserver adopts no key of it, or why it did not answer; NULL: it is well */
};
/* Asks the plugins that the configuration names, all at the same time, each for as long as the configuration gives a call,
 * KMS_LOOK_TIMEOUT at most, and adds them to the looks that are there (NULL and 0: none). Names come once; KMS v1 has no
 * Status. Stops early only for a signal: -ERROR_INTERRUPTED, and what they say then counts for nothing. */
#define KMS_LOOK_TIMEOUT (3 * UINT64_C(1000000000)) /* ns */
_must_check_ int kms_look(struct loop *loop, const struct config_shape *shape, struct kms_look **looks, size_t *count,
			  struct error **err);
/* Whether it lacks no more than an answer: none came in time, or it says that it is not well and names this very key ID. What
 * is answered otherwise (another key ID, none, another version) says that it was another one. */
bool kms_look_lacks(const struct kms_look *look, const char *key_id);
void kms_look_free(struct kms_look *looks, size_t count);
