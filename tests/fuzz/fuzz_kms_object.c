/* Values under KMS v2, and answers of a plugin to Decrypt: what is behind the first byte. */
#include "format_events.h"

#include "base/secret.h"
#include "format/kms_object.h"
#include "kube-rekey/etcd_value.h"

static void must_lie_within(struct kms_bytes part, const uint8_t *data, size_t size)
{
	must(part.len > 0 && part.at >= data && part.len <= size - (size_t)(part.at - data));
}

static void take_apart(const uint8_t *data, size_t size)
{
	static const char etcd_key[] = "/registry/secrets/default/fuzz";
	struct kms_object object;
	struct buf request = BUF_INIT(KMS_REQUEST_MAX);
	struct secret *key = secret_from("0123456789abcdef0123456789abcdef", 32), *plain = NULL;
	int rc = kms_object_parse(data, size, &object);
	must(rc == 0 || rc == -ERROR_INPUT || rc == -ERROR_LIMIT);
	if (rc == 0) {
		must_lie_within(object.data, data, size);
		must_lie_within(object.key_id, data, size);
		must_lie_within(object.dek_source, data, size);
		must(object.annotation_count <= KMS_ANNOTATIONS_MAX);
		rc = kms_decrypt_request_write(&request, &object);
		must(rc == 0 || (rc == -ERROR_LIMIT && size > KMS_REQUEST_MAX / 2));
	}
	/* Nobody has this key. */
	must(etcd_value_open(PROVIDER_KMS, key, etcd_key, sizeof(etcd_key) - 1, data, size, &plain) == -ERROR_INPUT);
	secret_free(key);
	buf_free(&request);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	uint8_t *exact = xmemdup(data + 1, size - 1);
	struct secret *plain = NULL;
	if (data[0] & 1) {
		take_apart(exact, size - 1);
	} else if (kms_decrypt_answer_parse(exact, size - 1, &plain) == 0) {
		must(secret_len(plain) > 0 && secret_len(plain) <= KMS_DECRYPTED_MAX);
		secret_free(plain);
	}
	free(exact);
	return 0;
}
