#include "engine/sealed_key.h"

#include <openssl/evp.h>

#include "base/buf.h"
#include "base/text.h"

#define VERSION 1
#define NONCE_LEN 12
#define TAG_LEN 16
#define KEY_MAX 32
#define BLOB_MIN (1 + NONCE_LEN + TAG_LEN)
#define BLOB_MAX (BLOB_MIN + KEY_MAX)
#define BINDING_MAX (8u * (4 + SEALED_KEY_FIELD_MAX))

/* Also the purpose of the derived key: another version shares neither. */
static const char label[] = "kube-rekey sealed key v1";

static void cipher_ctx_freep(EVP_CIPHER_CTX **ctx)
{
	EVP_CIPHER_CTX_free(*ctx); /* wipes its key schedule */
}

/* --- the binding --- */

static int add_bytes(struct buf *to, const void *bytes, size_t len)
{
	const uint8_t prefix[] = {(uint8_t)(len >> 24), (uint8_t)(len >> 16), (uint8_t)(len >> 8), (uint8_t)len};
	int rc = buf_append(to, prefix, sizeof(prefix));
	return rc < 0 ? rc : buf_append(to, bytes, len);
}

static int add_text(struct buf *to, const char *text)
{
	if (text_empty(text) || strlen(text) > SEALED_KEY_FIELD_MAX)
		return -ERROR_INPUT;
	return add_bytes(to, text, strlen(text));
}

static int add_number(struct buf *to, uint64_t number)
{
	uint8_t bytes[8];
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(number >> (56 - 8 * i));
	return add_bytes(to, bytes, sizeof(bytes));
}

/* The associated data. */
static int encode_binding(const struct sealed_key_binding *binding, struct buf *ret)
{
	const char *const before[] = {label, binding->cluster, binding->rotation};
	const char *const after[] = {provider_name(binding->type), binding->name, binding->fingerprint};
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < ELEMENTS(before); i++)
		rc = add_text(ret, before[i]);
	if (rc == 0)
		rc = add_number(ret, binding->epoch);
	for (size_t i = 0; rc == 0 && i < ELEMENTS(after); i++)
		rc = add_text(ret, after[i]);
	return rc;
}

/* Also where libcrypto says that nobody changed them: then an agent sealed what it should not have. */
static bool are_bound_bytes(const struct sealed_key_binding *binding, const struct secret *bytes)
{
	char fingerprint[13];
	key_fingerprint(bytes, fingerprint);
	return provider_key_fits(binding->type, secret_len(bytes)) && text_equal(fingerprint, binding->fingerprint);
}

/* --- sealing --- */

/* `ret` has room for BLOB_MIN + len. It fails only where libcrypto has no AES-GCM, or no memory. */
static void encrypt(const struct secret *key, const struct buf *binding, const struct secret *bytes, uint8_t *ret)
{
	_cleanup_(cipher_ctx_freep) EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	_cleanup_secret_ nonce = secret_random(NONCE_LEN);
	uint8_t *sealed = ret + 1 + NONCE_LEN;
	int len = 0, tail = 0;
	ret[0] = VERSION;
	memcpy(ret + 1, secret_data(nonce), NONCE_LEN);
	if (!ctx || EVP_EncryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, secret_data(key), ret + 1) != 1 ||
	    EVP_EncryptUpdate(ctx, NULL, &len, binding->data, (int)binding->len) != 1 ||
	    EVP_EncryptUpdate(ctx, sealed, &len, secret_data(bytes), (int)secret_len(bytes)) != 1 ||
	    EVP_EncryptFinal_ex(ctx, sealed + len, &tail) != 1 ||
	    EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, TAG_LEN, sealed + len + tail) != 1)
		abort();
}

int sealed_key_seal(const struct trust_key *trust, const struct sealed_key_binding *binding, const struct secret *bytes,
		    char **ret, struct error **err)
{
	_cleanup_buf_ bound = BUF_INIT(BINDING_MAX);
	if (encode_binding(binding, &bound) < 0)
		return error_set(err, ERROR_INPUT,
				 "sealing a key: its cluster, rotation, name or fingerprint is missing "
				 "or too long");
	if (!are_bound_bytes(binding, bytes))
		return error_set(err, ERROR_INPUT, "sealing key %s: these are not its bytes", binding->name);
	_cleanup_secret_ key = trust_key_derive(trust, label, binding->rotation);
	uint8_t blob[BLOB_MAX];
	encrypt(key, &bound, bytes, blob);
	_cleanup_secret_ text = secret_base64_encode(blob, BLOB_MIN + secret_len(bytes));
	*ret = xstrdup(secret_text(text));
	return 0;
}

/* --- opening --- */

/* `sealed`: ciphertext and tag. -ERROR_INPUT where anything was changed. */
static int decrypt(const struct secret *key, const struct buf *binding, const uint8_t *nonce, const uint8_t *sealed,
		   size_t sealed_len, struct secret **ret)
{
	_cleanup_(cipher_ctx_freep) EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	size_t text_len = sealed_len - TAG_LEN;
	uint8_t plain[KEY_MAX], tag[TAG_LEN];
	int len = 0, tail = 0;
	memcpy(tag, sealed + text_len, TAG_LEN);
	bool opened = ctx && EVP_DecryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, secret_data(key), nonce) == 1 &&
		      EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, TAG_LEN, tag) == 1 &&
		      EVP_DecryptUpdate(ctx, NULL, &len, binding->data, (int)binding->len) == 1 &&
		      EVP_DecryptUpdate(ctx, plain, &len, sealed, (int)text_len) == 1 &&
		      EVP_DecryptFinal_ex(ctx, plain + len, &tail) == 1;
	if (opened)
		*ret = secret_from(plain, text_len);
	secret_wipe(plain, sizeof(plain));
	return opened ? 0 : -ERROR_INPUT;
}

static int open_text(const struct trust_key *trust, const struct sealed_key_binding *binding, const char *text,
		     struct secret **ret)
{
	_cleanup_buf_ bound = BUF_INIT(BINDING_MAX);
	_cleanup_secret_ blob = NULL;
	size_t text_len = strnlen(text, SEALED_KEY_TEXT_MAX + 1);
	if (text_len > SEALED_KEY_TEXT_MAX || secret_base64_decode(text, text_len, &blob) < 0)
		return -ERROR_INPUT;
	const uint8_t *at = secret_data(blob);
	size_t len = secret_len(blob);
	if (len < BLOB_MIN || len > BLOB_MAX || at[0] != VERSION || encode_binding(binding, &bound) < 0)
		return -ERROR_INPUT;
	_cleanup_secret_ key = trust_key_derive(trust, label, binding->rotation);
	return decrypt(key, &bound, at + 1, at + 1 + NONCE_LEN, len - 1 - NONCE_LEN, ret);
}

static int refuse(const struct sealed_key_binding *binding, struct error **err)
{
	int rc = error_set(err, ERROR_REFUSED,
			   "sealed key %s: it was not sealed with this trust key for this cluster, rotation, epoch and "
			   "key, or was changed",
			   text_empty(binding->name) ? "without a name" : binding->name);
	error_set_hint(err, "compare the trust keys' fingerprints that the agents report; if they are equal, somebody "
			    "wrote this who should not");
	return rc;
}

int sealed_key_open(const struct trust_key *trust, const struct sealed_key_binding *binding, const char *text,
		    struct secret **ret, struct error **err)
{
	_cleanup_secret_ bytes = NULL;
	if (open_text(trust, binding, text, &bytes) < 0 || !are_bound_bytes(binding, bytes))
		return refuse(binding, err);
	*ret = steal(bytes);
	return 0;
}
