/* The trust key: one key, however it is written; nothing that others have or can find out; wiped. */
#include "test_folder.h"

#include "base/text.h"
#include "engine/trust_key.h"
#include "format_support.h"
#include "kube-rekey/encryption_config.h"
#include "trust_key_vectors.h"
#include "wipe_support.h"

static struct secret *secret_of(const char *text)
{
	return secret_from(text, strlen(text));
}

static struct trust_key *parse(const struct secret *content)
{
	_cleanup_error_ err = NULL;
	struct trust_key *key = NULL;
	assert_ok(trust_key_parse("k", content, &key, &err), err);
	return key;
}

static struct trust_key *parse_text(const char *text)
{
	_cleanup_secret_ content = secret_of(text);
	return parse(content);
}

static struct trust_key *parse_raw(void)
{
	_cleanup_secret_ content = secret_from_hex(trust_raw_hex);
	return parse(content);
}

/* --- what is taken --- */

static void test_a_key_in_each_form(void **state)
{
	(void)state;
	for (size_t i = 0; i < ELEMENTS(trust_forms); i++) {
		print_message("%s\n", trust_forms[i].name);
		_cleanup_(trust_key_freep) struct trust_key *key = parse_text(trust_forms[i].text);
		assert_string_equal(trust_key_fingerprint(key), trust_forms[i].fingerprint);
	}
}

static void test_other_line_ends(void **state)
{
	(void)state;
	for (size_t i = 0; i < ELEMENTS(trust_forms); i++) {
		_cleanup_secret_ content = secret_new(2 * strlen(trust_forms[i].text));
		for (const char *at = trust_forms[i].text; *at; at++)
			assert_int_equal(secret_append(content, *at == '\n' ? "\r\n" : at, *at == '\n' ? 2 : 1), 0);
		_cleanup_(trust_key_freep) struct trust_key *key = parse(content);
		assert_string_equal(trust_key_fingerprint(key), trust_forms[i].fingerprint);
	}
}

static void test_random_bytes(void **state)
{
	(void)state;
	_cleanup_(trust_key_freep) struct trust_key *key = parse_raw();
	assert_string_equal(trust_key_fingerprint(key), trust_raw_fingerprint);
	for (int i = 0; i < 100; i++) {
		_cleanup_secret_ content = secret_random(32);
		_cleanup_(trust_key_freep) struct trust_key *other = parse(content);
		assert_string_not_equal(trust_key_fingerprint(other), trust_raw_fingerprint);
	}
}

/* Zeros in it are no ends of text. */
static void test_bytes_with_zeros(void **state)
{
	(void)state;
	_cleanup_secret_ content = secret_from("a\0typed\0text\0with\0zeros\0in\0between", 32);
	_cleanup_(trust_key_freep) struct trust_key *key = parse(content);
	assert_non_null(key);
}

/* As Python computes it (trust_key_vectors.py); another purpose or salt is another key. */
static void test_derived_keys(void **state)
{
	(void)state;
	static const char purpose[] = "kube-rekey sealed key v1";
	for (size_t i = 0; i < ELEMENTS(sealed_vectors); i++) {
		const struct sealed_vector *row = &sealed_vectors[i];
		_cleanup_(trust_key_freep) struct trust_key *key =
			row->from_ec ? parse_text(trust_forms[4].text) : parse_raw();
		_cleanup_secret_ derived = trust_key_derive(key, purpose, row->rotation);
		_cleanup_secret_ expected = secret_from_hex(row->derived_hex);
		_cleanup_secret_ other_salt = trust_key_derive(key, purpose, row->cluster);
		_cleanup_secret_ other_purpose = trust_key_derive(key, "other", row->rotation);
		assert_true(secret_equal(derived, expected));
		assert_false(secret_equal(derived, other_salt));
		assert_false(secret_equal(derived, other_purpose));
	}
}

/* --- what is refused --- */

static void assert_refused(const struct secret *content, const char *message)
{
	struct error *err = NULL;
	struct trust_key *key = NULL;
	assert_int_equal(trust_key_parse("k", content, &key, &err), -ERROR_INPUT);
	assert_null(key);
	assert_memory_equal(error_message(err), "k: ", 3);
	/* libcrypto's own words stand behind ours. */
	if (text_ends(message, ": "))
		assert_memory_equal(error_message(err) + 3, message, strlen(message));
	else
		assert_string_equal(error_message(err) + 3, message);
	error_free(err);
	assert_int_equal(trust_key_parse("k", content, &key, NULL), -ERROR_INPUT);
}

static void test_what_is_no_private_key(void **state)
{
	(void)state;
	for (size_t i = 0; i < ELEMENTS(trust_refused); i++) {
		print_message("%s\n", trust_refused[i].name);
		_cleanup_secret_ content = secret_of(trust_refused[i].text);
		assert_refused(content, trust_refused[i].message);
	}
}

static void test_what_is_not_random(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
		const char *message;
	} rows[] = {
		{"", 0, "0 bytes, none of them PEM; a trust key is 32 random bytes or a private key in PEM"},
		{"0123456789012345678901234567890", 31,
		 "31 bytes, none of them PEM; a trust key is 32 random bytes or a private key in PEM"},
		{"01234567890123456789012345678901\n", 33,
		 "33 bytes, none of them PEM; a trust key is 32 random bytes or a private key in PEM"},
		{"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 32, "32 equal bytes are not random"},
		{"6f0d8a2f4b1c3e5d7f9a0b2c4d6e8f1\n", 32, "32 characters of text are not random bytes"},
	};
	(void)state;
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		_cleanup_secret_ content = secret_from(rows[i].bytes, rows[i].len);
		assert_refused(content, rows[i].message);
	}
}

/* Each says what to do. */
static void test_hints(void **state)
{
	static const struct {
		const char *content, *hint;
	} rows[] = {
		{"too short", "make one on one node and copy it to the others: head -c 32 /dev/urandom"},
		{"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
		 "give the private key: the file of kube-apiserver's --service-account-signing-key-file, or 32 random "
		 "bytes that all control-plane nodes share"},
		{"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
		 "kube-rekey has no passphrase: decrypt it"},
	};
	(void)state;
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		_cleanup_error_ err = NULL;
		struct trust_key *key = NULL;
		_cleanup_secret_ content = secret_of(rows[i].content);
		assert_int_equal(trust_key_parse("k", content, &key, &err), -ERROR_INPUT);
		assert_string_equal(error_hint(err), rows[i].hint);
	}
}

/* --- the file --- */

static void put_bytes(const char *path, const struct secret *bytes, mode_t mode)
{
	FILE *file = fopen(path, "we");
	assert_non_null(file);
	assert_int_equal(fwrite(secret_data(bytes), 1, secret_len(bytes), file), secret_len(bytes));
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(path, mode), 0);
}

static const char *put_raw(mode_t mode)
{
	_cleanup_secret_ raw = secret_from_hex(trust_raw_hex);
	put_bytes(in_folder("key"), raw, mode);
	return in_folder("key");
}

static void test_a_file_of_its_owner_alone(void **state)
{
	static const mode_t modes[] = {0600, 0400, 0700, 0611};
	(void)state;
	for (size_t i = 0; i < ELEMENTS(modes); i++) {
		_cleanup_error_ err = NULL;
		_cleanup_(trust_key_freep) struct trust_key *key = NULL;
		assert_ok(trust_key_load(put_raw(modes[i]), &key, &err), err);
		assert_string_equal(trust_key_fingerprint(key), trust_raw_fingerprint);
	}
}

static void test_a_file_that_others_can_read(void **state)
{
	static const mode_t modes[] = {0640, 0604, 0620, 0602, 0644, 0666};
	(void)state;
	for (size_t i = 0; i < ELEMENTS(modes); i++) {
		struct error *err = NULL;
		struct trust_key *key = NULL;
		_cleanup_free_ char *message = xasprintf("trust key: reading %s: others than its owner may read or "
							 "write it (mode %04o)",
							 in_folder("key"), modes[i]);
		assert_error(trust_key_load(put_raw(modes[i]), &key, &err), err, ERROR_REFUSED, message);
		assert_null(key);
	}
	/* Through a link it is the file that counts. */
	struct trust_key *key = NULL;
	assert_int_equal(symlink("key", in_folder("link")), 0);
	assert_int_equal(trust_key_load(in_folder("link"), &key, NULL), -ERROR_REFUSED);
	assert_string_equal(put_raw(0600), in_folder("key"));
	assert_int_equal(trust_key_load(in_folder("link"), &key, NULL), 0);
	trust_key_free(key);
}

static void test_a_file_of_another_user(void **state)
{
	(void)state;
	struct error *err = NULL;
	struct trust_key *key = NULL;
	if (geteuid() != 0)
		skip(); /* nobody else can give a file away */
	assert_int_equal(chown(put_raw(0600), 12345, 12345), 0);
	assert_error_at(trust_key_load(in_folder("key"), &key, &err), err, ERROR_REFUSED,
			"trust key: reading %s: it belongs to user 12345, who may change it", "key");
	assert_null(key);
}

static void test_what_is_no_file(void **state)
{
	(void)state;
	struct error *err = NULL;
	struct trust_key *key = NULL;
	_cleanup_secret_ large = secret_random(TRUST_KEY_FILE_MAX + 1);
	assert_error_at(trust_key_load(in_folder("none"), &key, &err), err, ERROR_NOT_FOUND,
			"trust key: reading %s: No such file or directory", "none");
	assert_int_equal(mkfifo(in_folder("fifo"), 0600), 0);
	assert_error_at(trust_key_load(in_folder("fifo"), &key, &err), err, ERROR_IO,
			"trust key: reading %s: not a regular file", "fifo");
	assert_int_equal(mkdir(in_folder("directory"), 0755), 0);
	assert_error_at(trust_key_load(in_folder("directory"), &key, &err), err, ERROR_IO,
			"trust key: reading %s: not a regular file", "directory");
	put_bytes(in_folder("large"), large, 0600);
	assert_error_at(trust_key_load(in_folder("large"), &key, &err), err, ERROR_LIMIT,
			"trust key: reading %s: more than 65536 bytes", "large");
	assert_null(key);
}

/* --- the key found elsewhere --- */

static void test_found_in_any_form(void **state)
{
	(void)state;
	for (size_t k = 0; k < ELEMENTS(trust_forms); k++) {
		_cleanup_(trust_key_freep) struct trust_key *key = parse_text(trust_forms[k].text);
		for (size_t i = 0; i < ELEMENTS(trust_forms); i++) {
			const char *text = trust_forms[i].text;
			bool same = strcmp(trust_forms[i].fingerprint, trust_forms[k].fingerprint) == 0;
			assert_int_equal(trust_key_is_in(key, text, strlen(text)), same);
		}
	}
}

static void test_found_among_others(void **state)
{
	(void)state;
	_cleanup_(trust_key_freep) struct trust_key *key = parse_text(trust_forms[0].text);
	_cleanup_secret_ content = secret_new(1 << 20);
	for (size_t i = 0; i < ELEMENTS(trust_refused); i++)
		assert_int_equal(secret_append_text(content, trust_refused[i].text), 0);
	size_t last = ELEMENTS(trust_forms) - 1;
	assert_int_equal(secret_append_text(content, trust_forms[last].text), 0);
	/* trust_refused has rsa and ec keys in "two private keys", but no Ed25519 one. */
	_cleanup_(trust_key_freep) struct trust_key *absent = parse_raw(), *ed = parse_text(trust_forms[last].text);
	assert_true(trust_key_is_in(key, secret_data(content), secret_len(content)));
	assert_true(trust_key_is_in(ed, secret_data(content), secret_len(content)));
	assert_false(trust_key_is_in(absent, secret_data(content), secret_len(content)));
}

static void test_found_as_bytes(void **state)
{
	(void)state;
	_cleanup_(trust_key_freep) struct trust_key *key = parse_raw();
	_cleanup_secret_ raw = secret_from_hex(trust_raw_hex);
	uint8_t other[32];
	memcpy(other, secret_data(raw), sizeof(other));
	other[31] ^= 1;
	assert_true(trust_key_is_in(key, secret_data(raw), 32));
	assert_false(trust_key_is_in(key, secret_data(raw), 31));
	assert_false(trust_key_is_in(key, other, 32));
	assert_false(trust_key_is_in(key, "", 0));
}

/* The body of a PEM text with one block. */
static struct secret *der_of(const char *text)
{
	_cleanup_strings_ lines = {0};
	_cleanup_secret_ body = secret_new(strlen(text));
	struct secret *der = NULL;
	strings_split(&lines, text, '\n');
	for (size_t i = 0; i < lines.count; i++)
		if (!text_starts(lines.items[i], "-----"))
			assert_int_equal(secret_append_text(body, lines.items[i]), 0);
	assert_int_equal(secret_base64_decode(secret_text(body), secret_len(body), &der), 0);
	return der;
}

static void test_found_without_pem(void **state)
{
	static const char *const forms[] = {"rsa pkcs8",      "rsa traditional", "ec pkcs8",
					    "ec traditional", "ec explicit",     "ed25519 pkcs8"};
	(void)state;
	_cleanup_(trust_key_freep) struct trust_key *absent = parse_raw();
	for (size_t i = 0; i < ELEMENTS(trust_forms); i++)
		for (size_t k = 0; k < ELEMENTS(forms); k++) {
			if (strcmp(trust_forms[i].name, forms[k]) != 0)
				continue;
			_cleanup_(trust_key_freep) struct trust_key *key = parse_text(trust_forms[i].text);
			_cleanup_secret_ der = der_of(trust_forms[i].text);
			assert_true(trust_key_is_in(key, secret_data(der), secret_len(der)));
			assert_false(trust_key_is_in(absent, secret_data(der), secret_len(der)));
		}
}

/* --- wiping --- */

static void test_wiped(void **state)
{
	(void)state;
	_cleanup_secret_ raw = secret_from_hex(trust_raw_hex);
	uint8_t bytes[32];
	memcpy(bytes, secret_data(raw), sizeof(bytes));
	struct trust_key *key = parse_raw();
	expect_wipes_of(bytes, sizeof(bytes));
	trust_key_free(key);
	assert_int_equal(wiped.count, 1);
	expect_wipes_of(NULL, 0);
	trust_key_free(NULL);
}

static void test_a_derived_key_leaves_no_copy(void **state)
{
	(void)state;
	size_t len;
	uint8_t *derived_bytes = from_hex(sealed_vectors[0].derived_hex, &len);
	_cleanup_(trust_key_freep) struct trust_key *key = parse_raw();
	expect_wipes_of(derived_bytes, len);
	struct secret *derived = trust_key_derive(key, "kube-rekey sealed key v1", sealed_vectors[0].rotation);
	assert_int_equal(wiped.count, 1); /* the one on the stack */
	secret_free(derived);
	assert_int_equal(wiped.count, 2);
	expect_wipes_of(NULL, 0);
	free(derived_bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_key_in_each_form),
		cmocka_unit_test(test_other_line_ends),
		cmocka_unit_test(test_random_bytes),
		cmocka_unit_test(test_bytes_with_zeros),
		cmocka_unit_test(test_derived_keys),
		cmocka_unit_test(test_what_is_no_private_key),
		cmocka_unit_test(test_what_is_not_random),
		cmocka_unit_test(test_hints),
		folder_test(test_a_file_of_its_owner_alone),
		folder_test(test_a_file_that_others_can_read),
		folder_test(test_a_file_of_another_user),
		folder_test(test_what_is_no_file),
		cmocka_unit_test(test_found_in_any_form),
		cmocka_unit_test(test_found_among_others),
		cmocka_unit_test(test_found_as_bytes),
		cmocka_unit_test(test_found_without_pem),
		cmocka_unit_test(test_wiped),
		cmocka_unit_test(test_a_derived_key_leaves_no_copy),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
