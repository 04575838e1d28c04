/* A KMS v2 plugin on its Unix socket, as kube-apiserver reaches it. */
#pragma once
#include "base/error.h"
#include "base/secret.h"
#include "base/text.h"
#include "format/kms_status.h"

struct loop;

/* An EncryptionConfiguration's endpoint as a socket: "/path", or "@name" for an abstract one ("unix:///@name";
 * k8s.io/apiserver storage/value/encrypt/envelope util.ParseEndpoint). -ERROR_INPUT for what is none. New string. */
_must_check_ int kms_socket(const char *endpoint, char **ret, struct error **err);

/* One plugin, to be asked /v2.KeyManagementService/Status. */
struct kms_status_ask {
	const char *endpoint; /* the caller's, as long as it asks */
	uint64_t timeout;     /* ns */
	/* the answer; or `error` is set, and names the endpoint: ERROR_INPUT, ERROR_NETWORK without an answer in time,
	 * ERROR_PROTOCOL for rubbish and for a plugin of KMS v1 alone, ERROR_LIMIT for an answer past KMS_ANSWER_MAX, as
	 * grpc.h for its own refusals */
	struct kms_status status;
	struct error *error;
	uint64_t took; /* ns, whether it answered or not */
};
/* Asks all of them at the same time, so that those that hang cost one time-out, and waits. 0 whatever they answer;
 * -ERROR_INTERRUPTED. */
_must_check_ int kms_status_fetch(struct loop *loop, struct kms_status_ask *asks, size_t count, struct error **err);
void kms_status_ask_free(struct kms_status_ask *ask);

/* /v2.KeyManagementService/Decrypt. `message` is a DecryptRequest; `ret` the data encryption key, or the seed of such. Waits as
 * above. -ERROR_NETWORK and -ERROR_BUSY where nothing was said about the key; -ERROR_AUTH, -ERROR_NOT_FOUND, -ERROR_PROTOCOL
 * and the like where the plugin answered and gave no key. */
struct buf;
_must_check_ int kms_decrypt_fetch(struct loop *loop, const char *endpoint, uint64_t timeout, const struct buf *message,
				   struct secret **ret, struct error **err);
