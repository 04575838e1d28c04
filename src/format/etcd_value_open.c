#include "kube-rekey/etcd_value.h"

#include <limits.h>
#include <openssl/evp.h>
#include <sodium.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/secret.h"
#include "format/kms_object.h"

#define IV_SIZE 16u
#define NONCE_SIZE 12u
#define TAG_SIZE 16u
#define INFO_SIZE 32u /* of a value whose key is derived from a seed */
#define DERIVED_SIZE 32u

/* What an opener works on. Each returns the plaintext's length in `plain`, which has room for sealed_len bytes, or
 * -ERROR_INPUT. */
struct box {
	const uint8_t *key;
	size_t key_len;
	const uint8_t *sealed;
	size_t sealed_len;
	const char *etcd_key;
	size_t etcd_key_len;
};

static void cipher_ctx_freep(EVP_CIPHER_CTX **ctx)
{
	EVP_CIPHER_CTX_free(*ctx); /* wipes its key schedule */
}

/* Looked up once: for each value it takes as long as opening it. */
static const EVP_CIPHER *cipher_for(size_t key_len, bool gcm)
{
	static EVP_CIPHER *ciphers[3][2];
	static const char *const names[3][2] = {
		{"AES-128-CBC", "AES-128-GCM"}, {"AES-192-CBC", "AES-192-GCM"}, {"AES-256-CBC", "AES-256-GCM"}};
	if (key_len != 16 && key_len != 24 && key_len != 32)
		return NULL;
	size_t which = key_len / 8 - 2;
	if (!ciphers[which][gcm])
		ciphers[which][gcm] = EVP_CIPHER_fetch(NULL, names[which][gcm], NULL);
	return ciphers[which][gcm];
}

/* IV, ciphertext with PKCS#7 padding. */
static ssize_t open_aescbc(const struct box *box, uint8_t *plain)
{
	const EVP_CIPHER *cipher = cipher_for(box->key_len, false);
	_cleanup_(cipher_ctx_freep) EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int len = 0, tail = 0;
	if (!cipher || !ctx || box->sealed_len < IV_SIZE)
		return -ERROR_INPUT;
	if (EVP_DecryptInit_ex(ctx, cipher, NULL, box->key, box->sealed) != 1 ||
	    EVP_DecryptUpdate(ctx, plain, &len, box->sealed + IV_SIZE, (int)(box->sealed_len - IV_SIZE)) != 1 ||
	    EVP_DecryptFinal_ex(ctx, plain + len, &tail) != 1)
		return -ERROR_INPUT;
	return len + tail;
}

/* Nonce, ciphertext, tag; the etcd key is authenticated with them, so that a value copied to another key does not open. */
static ssize_t open_aesgcm(const struct box *box, uint8_t *plain)
{
	const EVP_CIPHER *cipher = cipher_for(box->key_len, true);
	_cleanup_(cipher_ctx_freep) EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	uint8_t tag[TAG_SIZE];
	int len = 0, tail = 0;
	if (!cipher || !ctx || box->sealed_len < NONCE_SIZE + TAG_SIZE)
		return -ERROR_INPUT;
	size_t text_len = box->sealed_len - NONCE_SIZE - TAG_SIZE;
	memcpy(tag, box->sealed + NONCE_SIZE + text_len, TAG_SIZE);
	if (EVP_DecryptInit_ex(ctx, cipher, NULL, box->key, box->sealed) != 1 ||
	    EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, TAG_SIZE, tag) != 1 ||
	    EVP_DecryptUpdate(ctx, NULL, &len, (const uint8_t *)box->etcd_key, (int)box->etcd_key_len) != 1 ||
	    EVP_DecryptUpdate(ctx, plain, &len, box->sealed + NONCE_SIZE, (int)text_len) != 1 ||
	    EVP_DecryptFinal_ex(ctx, plain + len, &tail) != 1)
		return -ERROR_INPUT;
	return len + tail;
}

/* Nonce, tag, ciphertext: NaCl's secretbox. */
static ssize_t open_secretbox(const struct box *box, uint8_t *plain)
{
	const size_t nonce = crypto_secretbox_NONCEBYTES, tag = crypto_secretbox_MACBYTES;
	if (box->key_len != crypto_secretbox_KEYBYTES || box->sealed_len < nonce + tag || sodium_init() < 0)
		return -ERROR_INPUT;
	if (crypto_secretbox_open_easy(plain, box->sealed + nonce, box->sealed_len - nonce, box->sealed, box->key) != 0)
		return -ERROR_INPUT;
	return (ssize_t)(box->sealed_len - nonce - tag);
}

/* HKDF-Expand-SHA256 of one block (RFC 5869): k8s.io/apiserver aes/aes_extended_nonce.go. */
static void derive(const struct secret *seed, const uint8_t info[static INFO_SIZE], uint8_t ret[static DERIVED_SIZE])
{
	static const uint8_t counter = 1;
	crypto_auth_hmacsha256_state state;
	crypto_auth_hmacsha256_init(&state, secret_data(seed), secret_len(seed));
	crypto_auth_hmacsha256_update(&state, info, INFO_SIZE);
	crypto_auth_hmacsha256_update(&state, &counter, sizeof(counter));
	crypto_auth_hmacsha256_final(&state, ret);
	secret_wipe(&state, sizeof(state));
}

/* What is sealed is aesgcm under the DEK source itself, or under a key derived from it, which `derived` has room for. */
static int box_of_kms(const uint8_t *value, size_t value_len, const struct secret *dek_source,
		      uint8_t derived[static DERIVED_SIZE], struct box *box)
{
	struct kms_object object;
	if (kms_object_parse(value, value_len, &object) < 0)
		return -ERROR_INPUT;
	box->sealed = object.data.at;
	box->sealed_len = object.data.len;
	if (!object.seed)
		return 0;
	if (secret_len(dek_source) < DERIVED_SIZE || object.data.len < INFO_SIZE)
		return -ERROR_INPUT;
	derive(dek_source, object.data.at, derived);
	box->key = derived;
	box->key_len = DERIVED_SIZE;
	box->sealed += INFO_SIZE;
	box->sealed_len -= INFO_SIZE;
	return 0;
}

static ssize_t open_box(enum provider_type provider, const struct box *box, uint8_t *plain)
{
	switch (provider) {
	case PROVIDER_AESCBC:
		return open_aescbc(box, plain);
	case PROVIDER_AESGCM:
	case PROVIDER_KMS:
		return open_aesgcm(box, plain);
	case PROVIDER_SECRETBOX:
		return open_secretbox(box, plain);
	case PROVIDER_IDENTITY:
		break;
	}
	return -ERROR_INPUT;
}

/* What stands behind "k8s:enc:<provider>:v1:<name>:", or NULL when the value does not begin so. */
static const uint8_t *skip_prefix(enum provider_type provider, const uint8_t *value, size_t len)
{
	static const char *const prefixes[] = {
		[PROVIDER_AESCBC] = "k8s:enc:aescbc:v1:",
		[PROVIDER_AESGCM] = "k8s:enc:aesgcm:v1:",
		[PROVIDER_SECRETBOX] = "k8s:enc:secretbox:v1:",
	};
	const char *prefix = provider < ELEMENTS(prefixes) ? prefixes[provider] : NULL;
	if (!prefix || len < strlen(prefix) || memcmp(value, prefix, strlen(prefix)) != 0)
		return NULL;
	const uint8_t *colon = memchr(value + strlen(prefix), ':', len - strlen(prefix));
	return colon ? colon + 1 : NULL;
}

static int box_of_local(enum provider_type provider, const uint8_t *value, size_t value_len, struct box *box)
{
	box->sealed = skip_prefix(provider, value, value_len);
	if (!box->sealed)
		return -ERROR_INPUT;
	box->sealed_len = (size_t)(value + value_len - box->sealed);
	return 0;
}

static bool is_kubernetes_object(const uint8_t *plain, size_t len)
{
	return (len >= 4 && memcmp(plain, "k8s", 4) == 0) || (len >= 1 && plain[0] == '{');
}

int etcd_value_open(enum provider_type provider, const struct secret *key, const char *etcd_key, size_t etcd_key_len,
		    const uint8_t *value, size_t value_len, struct secret **ret)
{
	uint8_t derived[DERIVED_SIZE];
	struct box box = {
		.key = secret_data(key),
		.key_len = secret_len(key),
		.etcd_key = etcd_key,
		.etcd_key_len = etcd_key_len,
	};
	if (value_len > INT_MAX || etcd_key_len > INT_MAX) /* libcrypto counts in int */
		return -ERROR_INPUT;
	int rc = provider == PROVIDER_KMS ? box_of_kms(value, value_len, key, derived, &box)
					  : box_of_local(provider, value, value_len, &box);
	if (rc < 0)
		return rc;
	size_t room = box.sealed_len + IV_SIZE; /* libcrypto may ask for a block more than it fills */
	uint8_t *plain = xmalloc(room);
	ssize_t len = open_box(provider, &box, plain);
	if (len >= 0 && !is_kubernetes_object(plain, (size_t)len))
		len = -ERROR_INPUT;
	if (len >= 0 && ret)
		*ret = secret_from(plain, (size_t)len);
	secret_wipe(plain, room);
	secret_wipe(derived, sizeof(derived));
	free(plain);
	return len < 0 ? (int)len : 0;
}
