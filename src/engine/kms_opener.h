/* Values under KMS v2 opened: each data encryption key is decrypted once by its plugin, each value with it here.
 *
 * A call of a plugin may cost money and quota: nothing is asked twice, and where a plugin does not answer for one key ID
 * nothing is asked under that any more: another KMS key may be well all the same. Decrypted keys live as long as the opener. */
#pragma once
#include "format/etcd_range.h"
#include "kube-rekey/encryption_config.h"

/* Under keys that are written with, and as many again under others: each start and each reload of an API server draws another one
 * for what it writes. Values under further ones stay closed. */
#define KMS_OPENER_DEKS_MAX 16384u

struct error;
struct loop;
struct kms_opener;

enum kms_opening {
	KMS_OPENED,
	KMS_BROKEN,  /* the plugin gave the key, and the value does not open with it */
	KMS_REFUSED, /* the plugin answered and gave no key */
	KMS_CLOSED,  /* nothing is known: no answer, more keys than the cap, a value too large to be kept */
	KMS_ASK,     /* its key was not asked for yet: kms_opener_ask, then try again */
};
struct kms_opener *kms_opener_new(struct loop *loop); /* which must outlive it */
void kms_opener_free(struct kms_opener *opener);      /* wipes; NULL is fine */
/* Does not wait. `plugin`: the configuration's key that the value names, which must outlive the opener; `writes`: it is written
 * with. `ret_why`: why it was refused or stays closed, printable, the opener's. */
enum kms_opening kms_opener_try(struct kms_opener *opener, const struct config_key *plugin, bool writes,
				const struct etcd_kv *kv, const char **ret_why);
/* Asks for the key that the last try lacked. Waits. 0 whatever the plugin says; -ERROR_INTERRUPTED. */
_must_check_ int kms_opener_ask(struct kms_opener *opener, struct error **err);
uint64_t kms_opener_calls(const struct kms_opener *opener); /* of Decrypt, so far */
