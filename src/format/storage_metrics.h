/* Under which keys one API server read and wrote values, as its own /metrics count it: what can be known of stored values
 * where nothing but the API is reachable. Proved on kube-apiserver 1.33 and 1.36: a plain GET counts one `from_storage` of
 * the key that the value is under, a LIST none, a write one `to_storage`.
 * Names and labels: k8s.io/apiserver/pkg/storage/value/metrics.go and .../value/encrypt/envelope/metrics/metrics.go. */
#pragma once
#include "base/text.h"
#include "format/prometheus.h"

/* apiserver_storage_transformation_operations_total, those that went well. A local key counts twice: under its provider's
 * prefix ("k8s:enc:aescbc:v1:") and under its own ("key1:"). */
struct storage_use {
	char *resource; /* "secrets", "widgets.example.com"; "" before 1.32 */
	char *prefix;   /* "identity" for plaintext, read or written */
	uint64_t read, written;
};
/* apiserver_envelope_encryption_key_id_hash_*: of all resources together. */
struct storage_key_id {
	char *provider, *hash; /* "vault", "sha256:..." of the key ID */
	uint64_t read, written;
	double written_last; /* seconds since 1970; 0: never */
	double named_last;   /* when the KMS named it last, adopted or not */
};
struct storage_metrics {
	struct storage_use *uses;
	size_t use_count;
	struct storage_key_id *key_ids;
	size_t key_id_count;
};
void storage_metrics_collect(const struct prometheus_reader *reader, struct storage_metrics *ret);
/* What was counted between two scrapes of one process. -ERROR_CONFLICT, and nothing, where a count went back. */
_must_check_ int storage_metrics_growth(const struct storage_metrics *before, const struct storage_metrics *after,
					struct storage_metrics *ret);
void storage_metrics_free(struct storage_metrics *metrics); /* leaves an empty one */

/* A key, and how often values were read or written under it. */
struct storage_key {
	char *provider; /* "identity", "kms", "aescbc", ...; "local": one of several that were used */
	char *name;     /* the KMS provider's or the local key's; "" for plaintext */
	char *hash;     /* of the KMS key's ID; "" for others */
	uint64_t count;
};
struct storage_keys {
	struct storage_key *items;
	size_t count;
};
enum storage_direction { STORAGE_READ, STORAGE_WRITTEN };
/* The keys that values of `resource` were read or written under. Where samples name no resource, of all. Reads under a KMS
 * key are those of all resources of that provider. */
void storage_keys_of(const struct storage_metrics *metrics, const char *resource, enum storage_direction direction,
		     struct storage_keys *ret);
void storage_keys_add(struct storage_keys *keys, const struct storage_key *key, uint64_t count);
void storage_keys_free(struct storage_keys *keys); /* leaves an empty list */
bool storage_key_same(const struct storage_key *a, const struct storage_key *b);
void storage_key_copy(const struct storage_key *from, struct storage_key *ret);
void storage_key_free(struct storage_key *key); /* the contents */
/* "plaintext", "aescbc/key1", "kms/vault sha256:7c36b0a9ded0". New string. */
char *storage_key_label(const struct storage_key *key);

/* Which key a server writes values of a resource with, as its counters show without a write of ours. */
enum storage_evidence {
	STORAGE_UNSEEN, /* it was not seen to write any, or the counters do not tell which key was last */
	STORAGE_NAMED,  /* the KMS has named one key since the process began, and it began with that */
	STORAGE_WROTE,  /* it wrote with that key last, and the KMS has named no other one since */
	STORAGE_MOVING, /* the KMS names another key than the one that it was seen to write with, or did so since */
};
/* `prefix`: the write provider's, as another server shows it, for one that has not written yet; NULL. *ret is empty for
 * STORAGE_UNSEEN, and the key that the KMS names for STORAGE_MOVING. */
enum storage_evidence storage_write_key(const struct storage_metrics *metrics, const char *resource, const char *prefix,
					struct storage_key *ret);
/* The same of all that a KMS v2 provider writes, by its name. */
enum storage_evidence storage_kms_write_key(const struct storage_metrics *metrics, const char *provider,
					    struct storage_key *ret);
/* Whether values of `resource` were written under this key after `since` (seconds since 1970), as far as counters tell: only
 * of a KMS v2 key do they keep a time, and that one is of all resources of its provider. So false where another resource may
 * have been the one that was written. */
bool storage_wrote_since(const struct storage_metrics *metrics, const char *resource, const struct storage_key *key,
			 double since);
/* Whether what grew has a write of a value of `resource` under any other key; of a KMS key, of any resource of its provider. Where
 * samples name no resource only other keys of the same KMS provider can be told. */
bool storage_wrote_other(const struct storage_metrics *growth, const char *resource, const struct storage_key *key);
/* The prefix that values of a resource are written with; NULL where none or several were used. Lent. */
const char *storage_write_prefix(const struct storage_metrics *metrics, const char *resource);
/* Reads of values of a resource, under whatever key; of all resources where samples name none. */
uint64_t storage_reads_of(const struct storage_metrics *metrics, const char *resource);
/* Whether samples name the resource, as since 1.32; false without samples. */
bool storage_names_resources(const struct storage_metrics *metrics);
/* Resources that were read or written under anything but plaintext. Nothing where samples name no resource. */
void storage_encrypted_resources(const struct storage_metrics *metrics, struct strings *ret);
