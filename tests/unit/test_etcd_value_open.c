#include "format_support.h"
#include "etcd_value_vectors.h"

#include <openssl/evp.h>
#include <openssl/kdf.h>

#include "base/buf.h"
#include "format/pbwire.h"

static int open_hex(const struct real_value *real, const char *etcd_key, const char *key_hex, size_t flip,
		    struct secret **ret)
{
	size_t len, key_len;
	uint8_t *value = from_hex(real->value_hex, &len), *bytes = from_hex(key_hex, &key_len);
	struct secret *key = secret_from(bytes, key_len);
	if (flip < len)
		value[flip] ^= 1;
	int rc = etcd_value_open(real->provider, key, etcd_key, strlen(etcd_key), value, len, ret);
	secret_free(key);
	free(bytes);
	free(value);
	return rc;
}

static bool is_local(const struct real_value *real)
{
	return real->provider != PROVIDER_IDENTITY && real->provider != PROVIDER_KMS;
}

static void opens(void **state)
{
	const struct real_value *real = *state;
	struct secret *plain = NULL;
	int rc = open_hex(real, real->etcd_key, real->key_hex, SIZE_MAX, &plain);
	assert_int_equal(rc, is_local(real) ? 0 : -ERROR_INPUT);
	if (!is_local(real)) {
		assert_null(plain);
		return;
	}
	/* the Secret that was put there */
	char *entry = xasprintf("v-%s", real->name);
	assert_memory_equal(secret_data(plain), "k8s\0\n\x0c\n\x02v1\x12\x06Secret", 18);
	assert_non_null(memmem(secret_data(plain), secret_len(plain), entry, strlen(entry)));
	assert_non_null(memmem(secret_data(plain), secret_len(plain), "Opaque", 6));
	free(entry);
	secret_free(plain);
}

/* aesgcm authenticates the place, the others do not. */
static void at_another_place(void **state)
{
	const struct real_value *real = *state;
	struct secret *plain = NULL;
	int rc = open_hex(real, "/registry/secrets/default/other", real->key_hex, SIZE_MAX, &plain);
	bool fails = real->provider == PROVIDER_AESGCM || !is_local(real);
	assert_int_equal(rc, fails ? -ERROR_INPUT : 0);
	secret_free(plain);
}

static void under_another_key(void **state)
{
	const struct real_value *real = *state;
	struct secret *plain = NULL;
	static const char other[] = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
	char *same_size = xstrndup(other, strlen(real->key_hex));
	static const char *const wrong_sizes[] = {"", "00", "000102030405060708090a0b0c0d0e0f10"};
	assert_int_equal(open_hex(real, real->etcd_key, same_size, SIZE_MAX, &plain), -ERROR_INPUT);
	for (size_t i = 0; i < ELEMENTS(wrong_sizes); i++)
		assert_int_equal(open_hex(real, real->etcd_key, wrong_sizes[i], SIZE_MAX, &plain), -ERROR_INPUT);
	assert_null(plain);
	free(same_size);
}

/* A changed bit anywhere: refused by what authenticates, and in the prefix and the first block by aescbc too. */
static void changed(void **state)
{
	const struct real_value *real = *state;
	size_t len = strlen(real->value_hex) / 2, prefix = strlen("k8s:enc:aescbc:v1:");
	for (size_t flip = 0; is_local(real) && flip < len; flip++) {
		struct secret *plain = NULL;
		int rc = open_hex(real, real->etcd_key, real->key_hex, flip, &plain);
		bool in_name = flip >= prefix && flip < strlen("k8s:enc:secretbox:v1:") + strlen(real->name);
		if (flip < prefix || (!in_name && real->provider != PROVIDER_AESCBC))
			assert_int_equal(rc, -ERROR_INPUT);
		secret_free(plain);
	}
}

static void cut(void **state)
{
	const struct real_value *real = *state;
	size_t len, key_len;
	uint8_t *value = from_hex(real->value_hex, &len), *bytes = from_hex(real->key_hex, &key_len);
	struct secret *key = secret_from(bytes, key_len), *plain = NULL;
	for (size_t size = 0; size < len; size++) {
		uint8_t *exact = xmemdup(value, size);
		int rc = etcd_value_open(real->provider, key, real->etcd_key, strlen(real->etcd_key), exact, size,
					 &plain);
		assert_int_equal(rc, -ERROR_INPUT);
		free(exact);
	}
	assert_null(plain);
	secret_free(key);
	free(bytes);
	free(value);
}

static void under_another_provider(void **state)
{
	const struct real_value *real = *state;
	static const enum provider_type all[] = {PROVIDER_IDENTITY, PROVIDER_AESCBC, PROVIDER_AESGCM,
						 PROVIDER_SECRETBOX, PROVIDER_KMS};
	for (size_t i = 0; i < ELEMENTS(all); i++) {
		struct real_value other = *real;
		struct secret *plain = NULL;
		other.provider = all[i];
		if (all[i] == real->provider)
			continue;
		assert_int_equal(open_hex(&other, real->etcd_key, real->key_hex, SIZE_MAX, &plain), -ERROR_INPUT);
	}
}

/* Sealed by hand under key 00..0f, IV or nonce 00: openssl enc -aes-128-cbc -K 000102030405060708090a0b0c0d0e0f -iv 0... */
static const struct {
	const char *name, *sealed_hex;
	int rc;
	const char *plain;
} handmade[] = {
	{"JSON", "000000000000000000000000000000005ac91630fe30ad0b98f923e6ce9c154f08553dfa96221a3509720eb01f2aaf8d", 0,
	 "{\"kind\":\"Secret\"}"},
	{"a whole block of padding",
	 "00000000000000000000000000000000215330e897726c3c68cfb944010dcd62337cfcc9348b50077011c594d64f4425", 0,
	 "{\"abc\":\"defghi\"}"},
	{"an empty plaintext is no object", "00000000000000000000000000000000954f64f2e4e86e9eee82d20216684899",
	 -ERROR_INPUT, NULL},
	{"opens, but to no object", "000000000000000000000000000000005d8749e2af7531b2bf6661e9e5daf012", -ERROR_INPUT,
	 NULL},
	{"opens, but to half a magic", "000000000000000000000000000000004ae94ef150cb715fc34bbfef4af2863b", -ERROR_INPUT,
	 NULL},
	{"opens, but to a value encrypted again",
	 "00000000000000000000000000000000085c56b64725363ece1089bd9931e1b58ab78f5aa52d6d9171ac6d7e42a45342",
	 -ERROR_INPUT, NULL},
	{"padding of 0", "00000000000000000000000000000000a03bad576d1a4b68e64dd4eeabc58c0b", -ERROR_INPUT, NULL},
	{"padding of 17", "0000000000000000000000000000000068fa0fd9ee4b43793d8fe4a25c050772", -ERROR_INPUT, NULL},
	{"uneven padding", "0000000000000000000000000000000078638436e3c52be32ab4c25ca01d7caa", -ERROR_INPUT, NULL},
	{"IV alone", "00000000000000000000000000000000", -ERROR_INPUT, NULL},
	{"half a block", "000000000000000000000000000000000000000000000000", -ERROR_INPUT, NULL},
};

static void opens_handmade(void **state)
{
	const __typeof__(handmade[0]) *row = *state;
	static const uint8_t key_bytes[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
	static const char prefix[] = "k8s:enc:aescbc:v1:hand:";
	size_t len;
	uint8_t *sealed = from_hex(row->sealed_hex, &len);
	struct buf value = BUF_INIT(1024);
	struct secret *key = secret_from(key_bytes, sizeof(key_bytes)), *plain = NULL;
	assert_int_equal(buf_append_text(&value, prefix), 0);
	assert_int_equal(buf_append(&value, sealed, len), 0);
	assert_int_equal(etcd_value_open(PROVIDER_AESCBC, key, "", 0, value.data, value.len, &plain), row->rc);
	if (row->rc == 0) {
		assert_int_equal(secret_len(plain), strlen(row->plain));
		assert_memory_equal(secret_data(plain), row->plain, strlen(row->plain));
	}
	secret_free(plain);
	secret_free(key);
	buf_free(&value);
	free(sealed);
}

/* ---- kms v2 ---- */

#define SEED "0123456789abcdef0123456789abcdef"
#define PLAIN "k8s\0a secret value"
#define PLAIN_LEN (sizeof(PLAIN) - 1)

/* By libcrypto's own HKDF. */
static void expand(const uint8_t *seed, size_t seed_len, const uint8_t *info, uint8_t ret[static 32])
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_id(EVP_PKEY_HKDF, NULL);
	size_t len = 32;
	assert_int_equal(EVP_PKEY_derive_init(ctx), 1);
	assert_int_equal(EVP_PKEY_CTX_set_hkdf_mode(ctx, EVP_PKEY_HKDEF_MODE_EXPAND_ONLY), 1);
	assert_int_equal(EVP_PKEY_CTX_set_hkdf_md(ctx, EVP_sha256()), 1);
	assert_int_equal(EVP_PKEY_CTX_set1_hkdf_key(ctx, seed, (int)seed_len), 1);
	assert_int_equal(EVP_PKEY_CTX_add1_hkdf_info(ctx, info, 32), 1);
	assert_int_equal(EVP_PKEY_derive(ctx, ret, &len), 1);
	EVP_PKEY_CTX_free(ctx);
}

static void seal_gcm(const uint8_t *key, const char *etcd_key, struct buf *out)
{
	static const uint8_t nonce[12] = "nonce nonce";
	uint8_t sealed[PLAIN_LEN], tag[16];
	int len, tail;
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	assert_int_equal(EVP_EncryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, key, nonce), 1);
	assert_int_equal(EVP_EncryptUpdate(ctx, NULL, &len, (const uint8_t *)etcd_key, (int)strlen(etcd_key)), 1);
	assert_int_equal(EVP_EncryptUpdate(ctx, sealed, &len, (const uint8_t *)PLAIN, PLAIN_LEN), 1);
	assert_int_equal(EVP_EncryptFinal_ex(ctx, sealed + len, &tail), 1);
	assert_int_equal(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, sizeof(tag), tag), 1);
	EVP_CIPHER_CTX_free(ctx);
	assert_int_equal(buf_append(out, nonce, sizeof(nonce)), 0);
	assert_int_equal(buf_append(out, sealed, sizeof(sealed)), 0);
	assert_int_equal(buf_append(out, tag, sizeof(tag)), 0);
}

static struct buf kms_value(const char *etcd_key, bool seed)
{
	static const uint8_t info[32] = "info of one value";
	struct buf data = BUF_INIT(1024), value = BUF_INIT(4096);
	uint8_t derived[32];
	memcpy(derived, SEED, sizeof(derived));
	if (seed) {
		expand((const uint8_t *)SEED, strlen(SEED), info, derived);
		assert_int_equal(buf_append(&data, info, sizeof(info)), 0);
	}
	seal_gcm(derived, etcd_key, &data);
	assert_int_equal(buf_append_text(&value, "k8s:enc:kms:v2:vault:"), 0);
	assert_int_equal(pb_write_bytes_field(&value, 1, data.data, data.len), 0);
	assert_int_equal(pb_write_bytes_field(&value, 2, "id", 2), 0);
	assert_int_equal(pb_write_bytes_field(&value, 3, "wrapped", 7), 0);
	if (seed)
		assert_int_equal(pb_write_varint_field(&value, 5, 1), 0);
	buf_free(&data);
	return value;
}

static int open_kms(const char *key_text, const char *etcd_key, const struct buf *value, struct secret **ret)
{
	_cleanup_secret_ key = secret_from(key_text, strlen(key_text));
	return etcd_value_open(PROVIDER_KMS, key, etcd_key, strlen(etcd_key), value->data, value->len, ret);
}

static void test_kms(void **state)
{
	(void)state;
	for (int seed = 0; seed < 2; seed++) {
		struct buf value = kms_value("/registry/a", seed);
		_cleanup_secret_ plain = NULL;
		assert_int_equal(open_kms(SEED, "/registry/a", &value, &plain), 0);
		assert_int_equal(secret_len(plain), PLAIN_LEN);
		assert_memory_equal(secret_data(plain), PLAIN, PLAIN_LEN);
		struct secret *none = NULL;
		assert_int_equal(open_kms(SEED, "/registry/b", &value, &none), -ERROR_INPUT);
		assert_int_equal(open_kms("0123456789abcdef0123456789abcdeF", "/registry/a", &value, &none),
				 -ERROR_INPUT);
		assert_int_equal(open_kms("0123456789abcdef", "/registry/a", &value, &none), -ERROR_INPUT);
		assert_int_equal(open_kms("", "/registry/a", &value, &none), -ERROR_INPUT);
		/* A changed bit of what is sealed, or of the key's derivation. */
		size_t start = strlen("k8s:enc:kms:v2:vault:") + 2, sealed = (seed ? 32 : 0) + 12 + PLAIN_LEN + 16;
		for (size_t i = start; i < start + sealed; i++) {
			value.data[i] ^= 1;
			assert_int_equal(open_kms(SEED, "/registry/a", &value, &none), -ERROR_INPUT);
			value.data[i] ^= 1;
		}
		buf_free(&value);
	}
}

int main(void)
{
	const struct CMUnitTest kms[] = {cmocka_unit_test(test_kms)};
	int failed = RUN_ROWS(opens, real_values) + RUN_ROWS(at_another_place, real_values);
	failed +=
		RUN_ROWS(under_another_key, real_values) + RUN_ROWS(changed, real_values) + RUN_ROWS(cut, real_values);
	failed += RUN_ROWS(under_another_provider, real_values) + RUN_ROWS(opens_handmade, handmade);
	failed += cmocka_run_group_tests(kms, NULL, NULL);
	return failed;
}
