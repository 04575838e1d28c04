/* What we read out of a kube-apiserver's /metrics, and under which names each version shows it (1.29 to 1.36).
 * Names and versions: k8s.io/apiserver/pkg/server/options/encryptionconfig/metrics and .../storage/value/metrics.go. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "format/prometheus.h"

/* A key ID that a KMS v2 plugin named when it was asked for its Status, and when it did so last: told before the server adopts it.
 * envelope/metrics: key_id_hash_status_last_timestamp_seconds, the last 100 of a process. */
struct apiserver_named {
	char *provider;
	char *key_id_hash; /* "sha256:<hex>" */
	double at;         /* seconds since 1970, by the server's clock */
};
/* Calls of one method of one KMS plugin, whatever came of them. */
struct apiserver_kms_calls {
	char *what; /* "Decrypt of kms/vault" */
	double seconds;
	uint64_t calls;
};
struct apiserver_metrics {
	bool has_process_start;
	double process_start; /* seconds since 1970 */
	/* automatic reload */
	/* "sha256:<hex>" of last_config_info (>= 1.34); more than one is a contradiction. */
	char **loaded_hashes;
	size_t loaded_hash_count;
	/* Every apiserver_id_hash seen. */
	char **id_hashes;
	size_t id_hash_count;
	bool has_reload_counters;
	uint64_t reload_successes, reload_failures;
	double reload_success_time, reload_failure_time; /* seconds since 1970, 0 when absent */
	struct apiserver_named *named;                   /* by KMS v2 plugins, in the order of the text */
	size_t named_count;
	struct apiserver_kms_calls *kms_calls;
	size_t kms_call_count; /* methods of plugins */
	bool contradictory;    /* the same series twice with different values, or two loaded hashes */
};
/* The names to hand to prometheus_reader_new: those below, and the KMS and object counts for whoever reads samples. */
extern const char *const apiserver_metric_names[];
void apiserver_metrics_collect(const struct prometheus_reader *reader, struct apiserver_metrics *ret);
/* NULL is fine; frees the contents and leaves it empty. */
void apiserver_metrics_free(struct apiserver_metrics *metrics);
/* Growth of to_storage operations for a key: the sample of transformation_operations_total{transformation_type="to_storage",
 * transformer_prefix="<prefix>", status="OK"} summed over resources; has = false when absent.
 * The prefix is "<key>:" for a local key (of whatever provider: one name in two providers is one sum), "k8s:enc:kms:v2:<name>:"
 * for KMS, and "" for plaintext (which *reads* show as "identity"). */
uint64_t apiserver_metrics_to_storage(const struct prometheus_reader *reader, const char *prefix, bool *ret_has);
