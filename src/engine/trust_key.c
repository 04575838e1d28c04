#include "engine/trust_key.h"

#include <limits.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "base/file.h"
#include "base/text.h"

#define RAW_LEN 32
#define STRENGTH_MIN 112 /* bits, as NIST SP 800-57 counts: RSA 2048, any curve that Kubernetes signs with */

struct trust_key {
	struct secret *material;
	char fingerprint[13];
};

/* --- from a private key to its PKCS#8 DER --- */

static void pkey_freep(EVP_PKEY **key)
{
	EVP_PKEY_free(*key);
}

static void pkcs8_freep(PKCS8_PRIV_KEY_INFO **info)
{
	PKCS8_PRIV_KEY_INFO_free(*info);
}

static const char *openssl_words(void)
{
	const char *words = ERR_reason_error_string(ERR_peek_last_error());
	ERR_clear_error();
	return words ? words : "unknown OpenSSL error";
}

/* libcrypto remembers how an EC key was written and would write it so again. */
static bool write_in_one_way(EVP_PKEY *key)
{
	return EVP_PKEY_get_base_id(key) != EVP_PKEY_EC ||
	       (EVP_PKEY_set_int_param(key, OSSL_PKEY_PARAM_EC_INCLUDE_PUBLIC, 1) == 1 &&
		EVP_PKEY_set_utf8_string_param(key, OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT,
					       OSSL_PKEY_EC_POINT_CONVERSION_FORMAT_UNCOMPRESSED) == 1 &&
		EVP_PKEY_set_utf8_string_param(key, OSSL_PKEY_PARAM_EC_ENCODING, OSSL_PKEY_EC_ENCODING_GROUP) == 1);
}

static struct secret *pkcs8_of(EVP_PKEY *key)
{
	_cleanup_(pkcs8_freep) PKCS8_PRIV_KEY_INFO *info = write_in_one_way(key) ? EVP_PKEY2PKCS8(key) : NULL;
	uint8_t *der = NULL;
	int len = info ? i2d_PKCS8_PRIV_KEY_INFO(info, &der) : -1;
	struct secret *ret = len > 0 ? secret_from(der, (size_t)len) : NULL;
	OPENSSL_clear_free(der, len > 0 ? (size_t)len : 0);
	return ret;
}

/* DER of whatever form, and nothing behind it. */
static int material_from_der(const char *name, const uint8_t *der, size_t len, struct secret **ret, struct error **err)
{
	if (len > TRUST_KEY_FILE_MAX)
		return error_set(err, ERROR_LIMIT, "%s: more than %u bytes", name, TRUST_KEY_FILE_MAX);
	const uint8_t *at = der;
	_cleanup_(pkey_freep) EVP_PKEY *key = d2i_AutoPrivateKey(NULL, &at, (long)len);
	if (!key)
		return error_set(err, ERROR_INPUT, "%s: cannot read the private key: %s", name, openssl_words());
	if (at != der + len)
		return error_set(err, ERROR_INPUT, "%s: bytes stand behind the private key", name);
	int kind = EVP_PKEY_get_base_id(key);
	if (kind != EVP_PKEY_RSA && kind != EVP_PKEY_EC && kind != EVP_PKEY_ED25519)
		return error_set(err, ERROR_INPUT, "%s: a private key that is neither RSA, EC nor Ed25519", name);
	if (EVP_PKEY_get_security_bits(key) < STRENGTH_MIN)
		return error_set(err, ERROR_INPUT,
				 "%s: a private key of %d bits, which its public half gives away to who computes", name,
				 EVP_PKEY_get_bits(key));
	struct secret *material = pkcs8_of(key);
	if (!material)
		return error_set(err, ERROR_INPUT, "%s: cannot write the private key as PKCS#8: %s", name,
				 openssl_words());
	*ret = material;
	return 0;
}

/* --- PEM --- */

enum block_kind { BLOCK_PRIVATE, BLOCK_ENCRYPTED, BLOCK_PUBLIC, BLOCK_CERTIFICATE, BLOCK_OTHER };

struct block {
	char *label, *header; /* "RSA PRIVATE KEY"; "Proc-Type: ..." or "" */
	uint8_t *der;
	long len;
};

static void block_free(struct block *block)
{
	OPENSSL_secure_free(block->label);
	OPENSSL_secure_free(block->header);
	OPENSSL_secure_clear_free(block->der, (size_t)block->len);
	*block = (struct block){0};
}

static void bio_freep(BIO **bio)
{
	BIO_free(*bio);
}

/* Over the bytes where they are. NULL for more than libcrypto counts. */
static BIO *open_pem(const void *bytes, size_t len)
{
	return len <= INT_MAX ? BIO_new_mem_buf(bytes, (int)len) : NULL;
}

/* 1 and the next block; 0 behind the last; -ERROR_INPUT for a broken one, behind which it goes on. Its flags are those of
 * PEM_read_bio_PrivateKey, which wipe what they free. */
static int next_block(BIO *bio, struct block *ret)
{
	if (PEM_read_bio_ex(bio, &ret->label, &ret->header, &ret->der, &ret->len,
			    PEM_FLAG_SECURE | PEM_FLAG_EAY_COMPATIBLE) == 1)
		return 1;
	int reason = ERR_GET_REASON(ERR_peek_last_error());
	ERR_clear_error();
	*ret = (struct block){0};
	return reason == PEM_R_NO_START_LINE ? 0 : -ERROR_INPUT;
}

static enum block_kind kind_of(const struct block *block)
{
	if (text_equal(block->label, "ENCRYPTED PRIVATE KEY") || strstr(block->header, "ENCRYPTED"))
		return BLOCK_ENCRYPTED;
	if (text_ends(block->label, "PRIVATE KEY"))
		return BLOCK_PRIVATE;
	if (text_ends(block->label, "PUBLIC KEY"))
		return BLOCK_PUBLIC;
	return strstr(block->label, "CERTIFICATE") ? BLOCK_CERTIFICATE : BLOCK_OTHER;
}

/* What a PEM text has: how many blocks of each kind, and the material of its last private key that can be read. */
struct pem {
	size_t count[BLOCK_OTHER + 1];
	size_t broken;
	struct secret *material;
	struct error *why; /* of the private key that could not be read */
};

static void pem_free(struct pem *pem)
{
	secret_free(pem->material);
	error_free(pem->why);
}

static void take_private(const char *name, const struct block *block, struct pem *pem)
{
	struct secret *material = NULL;
	error_clear(&pem->why);
	if (material_from_der(name, block->der, (size_t)block->len, &material, &pem->why) < 0)
		return;
	secret_free(pem->material);
	pem->material = material;
}

static void read_pem(const char *name, const struct secret *content, struct pem *pem)
{
	_cleanup_(bio_freep) BIO *bio = open_pem(secret_data(content), secret_len(content));
	_cleanup_(block_free) struct block block = {0};
	for (int rc; bio && (rc = next_block(bio, &block)) != 0; block_free(&block)) {
		if (rc < 0) {
			pem->broken++;
			continue;
		}
		enum block_kind kind = kind_of(&block);
		pem->count[kind]++;
		if (kind == BLOCK_PRIVATE)
			take_private(name, &block, pem);
	}
}

static int refuse(const char *name, const char *why, const char *what_to_do, struct error **err)
{
	int rc = error_set(err, ERROR_INPUT, "%s: %s", name, why);
	error_set_hint(err, "%s", what_to_do);
	return rc;
}

/* What stands in the file instead of one private key. */
static int check_blocks(const char *name, const struct pem *pem, struct error **err)
{
	static const char the_private_one[] =
		"give the private key: the file of kube-apiserver's --service-account-signing-key-file, or 32 random "
		"bytes that all control-plane nodes share";
	if (pem->broken)
		return refuse(name, "a PEM block in it is broken", "copy the file again", err);
	if (pem->count[BLOCK_PRIVATE] + pem->count[BLOCK_ENCRYPTED] > 1)
		return refuse(name, "more than one private key", "leave the one that all control-plane nodes share",
			      err);
	if (pem->count[BLOCK_ENCRYPTED])
		return refuse(name, "its private key is encrypted", "kube-rekey has no passphrase: decrypt it", err);
	if (pem->count[BLOCK_PRIVATE])
		return 0;
	if (pem->count[BLOCK_PUBLIC])
		return refuse(name, "a public key, which is no secret", the_private_one, err);
	if (pem->count[BLOCK_CERTIFICATE])
		return refuse(name, "a certificate, which is no secret", the_private_one, err);
	return refuse(name, "PEM without a private key", the_private_one, err);
}

static bool has_blocks(const struct pem *pem)
{
	size_t blocks = pem->broken;
	for (size_t i = 0; i < ELEMENTS(pem->count); i++)
		blocks += pem->count[i];
	return blocks > 0;
}

static int material_from_pem(const char *name, struct pem *pem, struct secret **ret, struct error **err)
{
	int rc = check_blocks(name, pem, err);
	if (rc < 0)
		return rc;
	if (!pem->material)
		return error_set(err, ERROR_INPUT, "%s", error_message(pem->why));
	*ret = steal(pem->material);
	return 0;
}

/* --- 32 bytes --- */

static bool all_equal(const uint8_t *bytes, size_t len)
{
	for (size_t i = 1; i < len; i++)
		if (bytes[i] != bytes[0])
			return false;
	return true;
}

static bool is_typed(const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((bytes[i] < ' ' || bytes[i] > '~') && bytes[i] != '\t' && bytes[i] != '\r' && bytes[i] != '\n')
			return false;
	return true;
}

static int material_from_bytes(const char *name, const struct secret *content, struct secret **ret, struct error **err)
{
	static const char make_one[] = "make one on one node and copy it to the others: head -c 32 /dev/urandom";
	const uint8_t *bytes = secret_data(content);
	size_t len = secret_len(content);
	if (len != RAW_LEN) {
		int rc = error_set(
			err, ERROR_INPUT,
			"%s: %zu bytes, none of them PEM; a trust key is 32 random bytes or a private key in PEM", name,
			len);
		error_set_hint(err, "%s", make_one);
		return rc;
	}
	if (all_equal(bytes, len))
		return refuse(name, "32 equal bytes are not random", make_one, err);
	if (is_typed(bytes, len))
		return refuse(name, "32 characters of text are not random bytes", make_one, err);
	*ret = secret_from(bytes, len);
	return 0;
}

/* --- the key --- */

static void make_fingerprint(const struct secret *material, char ret[static 13])
{
	static const char message[] = "kube-rekey trust key fingerprint v1";
	uint8_t digest[EVP_MAX_MD_SIZE];
	unsigned len = 0;
	if (!HMAC(EVP_sha256(), secret_data(material), (int)secret_len(material), (const uint8_t *)message,
		  strlen(message), digest, &len))
		abort();
	_cleanup_free_ char *hex = text_hex(digest, 6);
	memcpy(ret, hex, 13);
}

int trust_key_parse(const char *name, const struct secret *content, struct trust_key **ret, struct error **err)
{
	_cleanup_(pem_free) struct pem pem = {0};
	struct secret *material = NULL;
	read_pem(name, content, &pem);
	int rc = has_blocks(&pem) ? material_from_pem(name, &pem, &material, err)
				  : material_from_bytes(name, content, &material, err);
	if (rc < 0)
		return rc;
	struct trust_key *key = xcalloc(1, sizeof(*key));
	key->material = material;
	make_fingerprint(material, key->fingerprint);
	*ret = key;
	return 0;
}

int trust_key_load(const char *path, struct trust_key **ret, struct error **err)
{
	_cleanup_secret_ content = NULL;
	int rc = file_read_private(path, TRUST_KEY_FILE_MAX, &content, err);
	if (rc == 0)
		rc = trust_key_parse(path, content, ret, err);
	return rc < 0 ? error_wrap(err, rc, "trust key") : 0;
}

const char *trust_key_fingerprint(const struct trust_key *key)
{
	return key->fingerprint;
}

/* libcrypto takes what it only reads by pointers that could write. */
static OSSL_PARAM bytes_param(const char *name, const void *bytes, size_t len)
{
	union {
		const void *seen;
		void *given;
	} at = {.seen = bytes};
	return OSSL_PARAM_construct_octet_string(name, at.given, len);
}

struct secret *trust_key_derive(const struct trust_key *key, const char *purpose, const char *salt)
{
	char digest[] = "SHA256";
	uint8_t derived[TRUST_KEY_DERIVED_LEN];
	const OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
		bytes_param(OSSL_KDF_PARAM_KEY, secret_data(key->material), secret_len(key->material)),
		bytes_param(OSSL_KDF_PARAM_SALT, salt, strlen(salt)),
		bytes_param(OSSL_KDF_PARAM_INFO, purpose, strlen(purpose)),
		OSSL_PARAM_construct_end(),
	};
	EVP_KDF *hkdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
	EVP_KDF_CTX *ctx = hkdf ? EVP_KDF_CTX_new(hkdf) : NULL;
	if (!ctx || EVP_KDF_derive(ctx, derived, sizeof(derived), params) != 1)
		abort();
	EVP_KDF_CTX_free(ctx); /* wipes its copies */
	EVP_KDF_free(hkdf);
	struct secret *ret = secret_from(derived, sizeof(derived));
	secret_wipe(derived, sizeof(derived));
	return ret;
}

/* --- where else it is --- */

static bool is_material(const struct trust_key *key, const void *bytes, size_t len)
{
	return len == secret_len(key->material) && CRYPTO_memcmp(bytes, secret_data(key->material), len) == 0;
}

static bool is_der_of(const struct trust_key *key, const uint8_t *der, size_t len)
{
	_cleanup_secret_ material = NULL;
	return material_from_der("", der, len, &material, NULL) == 0 && secret_equal(material, key->material);
}

static bool is_in_pem(const struct trust_key *key, const void *bytes, size_t len)
{
	_cleanup_(bio_freep) BIO *bio = open_pem(bytes, len);
	_cleanup_(block_free) struct block block = {0};
	bool found = false;
	for (int rc; bio && !found && (rc = next_block(bio, &block)) != 0; block_free(&block))
		found = rc > 0 && kind_of(&block) == BLOCK_PRIVATE && is_der_of(key, block.der, (size_t)block.len);
	return found;
}

bool trust_key_is_in(const struct trust_key *key, const void *bytes, size_t len)
{
	return is_material(key, bytes, len) || is_der_of(key, bytes, len) || is_in_pem(key, bytes, len);
}

void trust_key_free(struct trust_key *key)
{
	if (!key)
		return;
	secret_free(key->material);
	free(key);
}

void trust_key_freep(struct trust_key **key)
{
	trust_key_free(*key);
}
