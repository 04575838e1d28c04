/* Opening values: rubbish under any key, and what was sealed. */
#include <openssl/evp.h>
#include <sodium.h>
#include "format_events.h"

static const char etcd_key[] = "/registry/secrets/default/fuzz";
static const uint8_t nonce[24] = "012345678901234567890123";

static size_t seal_aes(const EVP_CIPHER *cipher, const uint8_t *key, bool gcm, const uint8_t *plain, size_t size,
		       uint8_t *to)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int iv = gcm ? 12 : 16, len = 0, tail = 0;
	memcpy(to, nonce, (size_t)iv);
	must(EVP_EncryptInit_ex(ctx, cipher, NULL, key, nonce) == 1);
	if (gcm)
		must(EVP_EncryptUpdate(ctx, NULL, &len, (const uint8_t *)etcd_key, sizeof(etcd_key) - 1) == 1);
	must(EVP_EncryptUpdate(ctx, to + iv, &len, plain, (int)size) == 1);
	must(EVP_EncryptFinal_ex(ctx, to + iv + len, &tail) == 1);
	size_t used = (size_t)(iv + len + tail);
	if (gcm)
		must(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, 16, to + used) == 1);
	EVP_CIPHER_CTX_free(ctx);
	return used + (gcm ? 16 : 0);
}

static size_t seal(enum provider_type provider, const uint8_t *key, size_t key_len, const uint8_t *plain, size_t size,
		   uint8_t *to)
{
	const EVP_CIPHER *const cbc[] = {EVP_aes_128_cbc(), EVP_aes_192_cbc(), EVP_aes_256_cbc()};
	const EVP_CIPHER *const gcm[] = {EVP_aes_128_gcm(), EVP_aes_192_gcm(), EVP_aes_256_gcm()};
	if (provider == PROVIDER_AESCBC)
		return seal_aes(cbc[key_len / 8 - 2], key, false, plain, size, to);
	if (provider == PROVIDER_AESGCM)
		return seal_aes(gcm[key_len / 8 - 2], key, true, plain, size, to);
	memcpy(to, nonce, sizeof(nonce));
	must(crypto_secretbox_easy(to + sizeof(nonce), plain, size, nonce, key) == 0);
	return sizeof(nonce) + size + crypto_secretbox_MACBYTES;
}

static int open_value(enum provider_type provider, const struct secret *key, const uint8_t *value, size_t len,
		      struct secret **ret)
{
	uint8_t *exact = xmemdup(value, len);
	int rc = etcd_value_open(provider, key, etcd_key, sizeof(etcd_key) - 1, exact, len, ret);
	must(rc == 0 || rc == -ERROR_INPUT);
	free(exact);
	return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct {
		enum provider_type type;
		size_t key_len;
		const char *prefix;
	} kinds[] = {
		{PROVIDER_AESCBC, 16, "k8s:enc:aescbc:v1:k:"},       {PROVIDER_AESCBC, 24, "k8s:enc:aescbc:v1:k:"},
		{PROVIDER_AESCBC, 32, "k8s:enc:aescbc:v1:k:"},       {PROVIDER_AESGCM, 16, "k8s:enc:aesgcm:v1:k:"},
		{PROVIDER_AESGCM, 24, "k8s:enc:aesgcm:v1:k:"},       {PROVIDER_AESGCM, 32, "k8s:enc:aesgcm:v1:k:"},
		{PROVIDER_SECRETBOX, 32, "k8s:enc:secretbox:v1:k:"},
	};
	if (size < 2 || size > 65536)
		return 0;
	uint8_t key[32];
	memset(key, data[0], sizeof(key));
	size_t which = data[1] % ELEMENTS(kinds);
	data += 2;
	size -= 2;
	enum provider_type type = kinds[which].type;
	struct secret *secret = secret_from(key, kinds[which].key_len), *opened = NULL;
	if (open_value(type, secret, data, size, &opened) == 0)
		secret_free(opened);

	size_t prefix = strlen(kinds[which].prefix);
	uint8_t *value = xmalloc(prefix + size + 64);
	memcpy(value, kinds[which].prefix, prefix);
	size_t len = prefix + seal(type, key, kinds[which].key_len, data, size, value + prefix);
	bool object = (size >= 4 && memcmp(data, "k8s", 4) == 0) || (size >= 1 && data[0] == '{');
	opened = NULL;
	must(open_value(type, secret, value, len, &opened) == (object ? 0 : -ERROR_INPUT));
	if (object)
		must(secret_len(opened) == size && memcmp(secret_data(opened), data, size) == 0);
	secret_free(opened);
	if (type != PROVIDER_AESCBC) { /* authenticated: no bit may change */
		value[prefix + size % (len - prefix)] ^= 1;
		must(open_value(type, secret, value, len, &opened) == -ERROR_INPUT);
	}
	free(value);
	secret_free(secret);
	return 0;
}
