/* Sealed keys: what other code sealed opens, and everything else is refused in the same words. */
#include "test_support.h"

#include "base/buf.h"
#include "base/text.h"
#include "engine/keys.h"
#include "engine/sealed_key.h"
#include "format_support.h"
#include "trust_key_vectors.h"
#include "wipe_support.h"

#define REFUSAL                                                                                                   \
	"sealed key %s: it was not sealed with this trust key for this cluster, rotation, epoch and key, or was " \
	"changed"

/* The trust key of a row. */
static struct trust_key *trust_of(const struct sealed_vector *row)
{
	_cleanup_error_ err = NULL;
	struct trust_key *key = NULL;
	_cleanup_secret_ raw = secret_from_hex(trust_raw_hex);
	_cleanup_secret_ pem = secret_from(trust_forms[4].text, strlen(trust_forms[4].text));
	assert_ok(trust_key_parse("k", row->from_ec ? pem : raw, &key, &err), err);
	return key;
}

static struct trust_key *other_trust(void)
{
	_cleanup_error_ err = NULL;
	struct trust_key *key = NULL;
	_cleanup_secret_ random = secret_random(32);
	assert_ok(trust_key_parse("k", random, &key, &err), err);
	return key;
}

static struct sealed_key_binding binding_of(const struct sealed_vector *row)
{
	return (struct sealed_key_binding){row->cluster, row->rotation, row->epoch,
					   row->type,    row->key_name, row->fingerprint};
}

static void assert_opens(const struct trust_key *trust, const struct sealed_key_binding *binding, const char *text,
			 const struct secret *expected)
{
	_cleanup_error_ err = NULL;
	_cleanup_secret_ opened = NULL;
	assert_ok(sealed_key_open(trust, binding, text, &opened, &err), err);
	assert_true(secret_equal(opened, expected));
}

static void assert_refused(const struct trust_key *trust, const struct sealed_key_binding *binding, const char *text)
{
	struct error *err = NULL;
	struct secret *opened = NULL;
	_cleanup_free_ char *message = xasprintf(REFUSAL, text_empty(binding->name) ? "without a name" : binding->name);
	assert_error(sealed_key_open(trust, binding, text, &opened, &err), err, ERROR_REFUSED, message);
	assert_null(opened);
}

/* --- rows: sealed by Python (trust_key_vectors.py) --- */

static void opens_what_others_sealed(void **state)
{
	const struct sealed_vector *row = *state;
	const struct sealed_key_binding binding = binding_of(row);
	_cleanup_(trust_key_freep) struct trust_key *trust = trust_of(row);
	_cleanup_secret_ expected = secret_from_hex(row->key_hex);
	assert_true(strlen(row->text) <= SEALED_KEY_TEXT_MAX);
	assert_opens(trust, &binding, row->text, expected);
}

static void seals_anew_each_time(void **state)
{
	const struct sealed_vector *row = *state;
	const struct sealed_key_binding binding = binding_of(row);
	_cleanup_error_ err = NULL;
	_cleanup_(trust_key_freep) struct trust_key *trust = trust_of(row);
	_cleanup_secret_ bytes = secret_from_hex(row->key_hex);
	_cleanup_free_ char *first = NULL, *second = NULL;
	assert_ok(sealed_key_seal(trust, &binding, bytes, &first, &err), err);
	assert_ok(sealed_key_seal(trust, &binding, bytes, &second, &err), err);
	assert_int_equal(strlen(first), strlen(row->text));
	assert_memory_equal(first, "A", 1); /* the version */
	assert_string_not_equal(first, second);
	assert_opens(trust, &binding, first, bytes);
	assert_opens(trust, &binding, second, bytes);
}

/* Of the text: no bit is without meaning, those of the padding neither. */
static void any_changed_bit(void **state)
{
	const struct sealed_vector *row = *state;
	const struct sealed_key_binding binding = binding_of(row);
	_cleanup_(trust_key_freep) struct trust_key *trust = trust_of(row);
	_cleanup_free_ char *text = xstrdup(row->text);
	for (size_t bit = 0; bit < 8 * strlen(row->text); bit++) {
		text[bit / 8] = (char)(text[bit / 8] ^ (1 << bit % 8));
		assert_refused(trust, &binding, text);
		text[bit / 8] = (char)(text[bit / 8] ^ (1 << bit % 8));
	}
	assert_string_equal(text, row->text);
}

/* Of what the text stands for: another version, nonce, ciphertext, tag. */
static void any_changed_bit_of_its_bytes(void **state)
{
	const struct sealed_vector *row = *state;
	const struct sealed_key_binding binding = binding_of(row);
	_cleanup_(trust_key_freep) struct trust_key *trust = trust_of(row);
	_cleanup_secret_ blob = NULL;
	assert_int_equal(secret_base64_decode(row->text, strlen(row->text), &blob), 0);
	size_t len = secret_len(blob);
	uint8_t *bytes = xmemdup(secret_data(blob), len);
	for (size_t bit = 0; bit < 8 * len; bit++) {
		bytes[bit / 8] = (uint8_t)(bytes[bit / 8] ^ (1 << bit % 8));
		_cleanup_secret_ text = secret_base64_encode(bytes, len);
		assert_refused(trust, &binding, secret_text(text));
		bytes[bit / 8] = (uint8_t)(bytes[bit / 8] ^ (1 << bit % 8));
	}
	free(bytes);
}

static void cut_or_longer(void **state)
{
	const struct sealed_vector *row = *state;
	const struct sealed_key_binding binding = binding_of(row);
	_cleanup_(trust_key_freep) struct trust_key *trust = trust_of(row);
	_cleanup_secret_ blob = NULL;
	assert_int_equal(secret_base64_decode(row->text, strlen(row->text), &blob), 0);
	uint8_t longer[128] = {0};
	memcpy(longer, secret_data(blob), secret_len(blob));
	for (size_t len = 0; len < secret_len(blob) + 20; len++) {
		_cleanup_secret_ text = secret_base64_encode(longer, len);
		if (len != secret_len(blob))
			assert_refused(trust, &binding, secret_text(text));
	}
	for (size_t len = 0; len < strlen(row->text); len++) {
		_cleanup_free_ char *text = xstrndup(row->text, len);
		assert_refused(trust, &binding, text);
	}
	_cleanup_free_ char *twice = xasprintf("%s%s", row->text, row->text), *line = xasprintf("%s\n", row->text);
	assert_refused(trust, &binding, twice);
	assert_refused(trust, &binding, line);
}

static void for_anything_else(void **state)
{
	const struct sealed_vector *row = *state;
	const struct sealed_key_binding bound = binding_of(row);
	_cleanup_(trust_key_freep) struct trust_key *trust = trust_of(row), *other = other_trust();
	struct sealed_key_binding changed[] = {bound, bound, bound, bound, bound, bound,
					       bound, bound, bound, bound, bound};
	size_t n = 0;
	changed[n++].cluster = "0b5a4b0c-8f0f-4c6e-9a55-2f6f7f1f8a12";
	changed[n++].rotation = "6e7d2c1b-3a4f-4e5d-8c9b-0a1b2c3d4e5e";
	changed[n++].epoch++;
	changed[n++].epoch--;
	changed[n++].epoch ^= UINT64_C(1) << 63;
	changed[n++].type = bound.type == PROVIDER_AESCBC ? PROVIDER_AESGCM : PROVIDER_AESCBC;
	changed[n++].type = PROVIDER_KMS;
	changed[n++].type = PROVIDER_IDENTITY;
	changed[n++].name = "rekey-20261122T1103Z-ffffff";
	changed[n++].fingerprint = "000000000000";
	changed[n].cluster = bound.rotation;
	changed[n++].rotation = bound.cluster;
	assert_int_equal(n, ELEMENTS(changed));
	for (size_t i = 0; i < n; i++)
		assert_refused(trust, &changed[i], row->text);
	assert_refused(other, &bound, row->text);
}

/* --- bindings --- */

/* What moves from one field to its neighbour is another binding: lengths are part of it. */
static void test_fields_do_not_run_together(void **state)
{
	(void)state;
	_cleanup_error_ err = NULL;
	_cleanup_(trust_key_freep) struct trust_key *trust = other_trust();
	_cleanup_secret_ bytes = secret_random(32);
	char fingerprint[13];
	key_fingerprint(bytes, fingerprint);
	const struct sealed_key_binding bound = {"ab", "c", 1, PROVIDER_AESCBC, "d", fingerprint};
	const struct sealed_key_binding moved = {"a", "bc", 1, PROVIDER_AESCBC, "d", fingerprint};
	const struct sealed_key_binding same_rotation = {"a", "c", 1, PROVIDER_AESCBC, "bd", fingerprint};
	_cleanup_free_ char *text = NULL;
	assert_ok(sealed_key_seal(trust, &bound, bytes, &text, &err), err);
	assert_opens(trust, &bound, text, bytes);
	assert_refused(trust, &moved, text);
	assert_refused(trust, &same_rotation, text);
}

static void test_incomplete_bindings(void **state)
{
	(void)state;
	_cleanup_(trust_key_freep) struct trust_key *trust = other_trust();
	_cleanup_secret_ bytes = secret_random(32);
	char fingerprint[13], long_name[SEALED_KEY_FIELD_MAX + 2];
	memset(long_name, 'x', sizeof(long_name));
	long_name[sizeof(long_name) - 1] = '\0';
	key_fingerprint(bytes, fingerprint);
	const struct sealed_key_binding rows[] = {
		{NULL, "r", 1, PROVIDER_AESCBC, "n", fingerprint},
		{"", "r", 1, PROVIDER_AESCBC, "n", fingerprint},
		{"c", NULL, 1, PROVIDER_AESCBC, "n", fingerprint},
		{"c", "", 1, PROVIDER_AESCBC, "n", fingerprint},
		{"c", "r", 1, PROVIDER_AESCBC, NULL, fingerprint},
		{"c", "r", 1, PROVIDER_AESCBC, "", fingerprint},
		{"c", "r", 1, PROVIDER_AESCBC, "n", NULL},
		{"c", "r", 1, PROVIDER_AESCBC, "n", ""},
		{"c", "r", 1, PROVIDER_AESCBC, long_name, fingerprint},
	};
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		struct error *err = NULL;
		char *text = NULL;
		assert_error(sealed_key_seal(trust, &rows[i], bytes, &text, &err), err, ERROR_INPUT,
			     "sealing a key: its cluster, rotation, name or fingerprint is missing or too long");
		assert_null(text);
		struct secret *opened = NULL;
		assert_int_equal(sealed_key_open(trust, &rows[i], sealed_vectors[0].text, &opened, NULL),
				 -ERROR_REFUSED);
		assert_null(opened);
	}
	long_name[SEALED_KEY_FIELD_MAX] = '\0';
	const struct sealed_key_binding longest = {long_name,          long_name, UINT64_MAX,
						   PROVIDER_SECRETBOX, long_name, fingerprint};
	_cleanup_error_ err = NULL;
	_cleanup_free_ char *text = NULL;
	assert_ok(sealed_key_seal(trust, &longest, bytes, &text, &err), err);
	assert_opens(trust, &longest, text, bytes);
}

static void test_other_bytes_are_not_sealed(void **state)
{
	static const struct {
		enum provider_type type;
		size_t len;
	} rows[] = {{PROVIDER_AESCBC, 0},     {PROVIDER_AESCBC, 15},   {PROVIDER_AESGCM, 33}, {PROVIDER_SECRETBOX, 16},
		    {PROVIDER_SECRETBOX, 24}, {PROVIDER_IDENTITY, 32}, {PROVIDER_KMS, 32},    {PROVIDER_AESCBC, 4096}};
	(void)state;
	_cleanup_(trust_key_freep) struct trust_key *trust = other_trust();
	struct error *err = NULL;
	char *text = NULL;
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		_cleanup_secret_ bytes = secret_random(rows[i].len);
		char fingerprint[13];
		key_fingerprint(bytes, fingerprint);
		const struct sealed_key_binding binding = {"c", "r", 1, rows[i].type, "n", fingerprint};
		assert_error(sealed_key_seal(trust, &binding, bytes, &text, &err), err, ERROR_INPUT,
			     "sealing key n: these are not its bytes");
	}
	_cleanup_secret_ bytes = secret_random(32);
	const struct sealed_key_binding binding = {"c", "r", 1, PROVIDER_AESCBC, "n", "000000000000"};
	assert_error(sealed_key_seal(trust, &binding, bytes, &text, &err), err, ERROR_INPUT,
		     "sealing key n: these are not its bytes");
	assert_null(text);
}

/* What an agent with the trust key sealed against the rules: authentic, and refused all the same. */
static void test_authentic_and_wrong(void **state)
{
	(void)state;
	assert_int_equal(ELEMENTS(sealed_wrong), 2);
	_cleanup_(trust_key_freep) struct trust_key *trust = trust_of(&sealed_vectors[0]);
	for (size_t i = 0; i < ELEMENTS(sealed_wrong); i++) {
		const struct sealed_key_binding binding = binding_of(&sealed_wrong[i]);
		assert_refused(trust, &binding, sealed_wrong[i].text);
	}
}

static void test_rubbish(void **state)
{
	static const char *const texts[] = {"",     "A",        "AQ==", "AAAA", "\xff\xff\xff\xff", "not base64 at all",
					    "====", "{\"v\":1}"};
	(void)state;
	const struct sealed_key_binding binding = binding_of(&sealed_vectors[0]);
	_cleanup_(trust_key_freep) struct trust_key *trust = trust_of(&sealed_vectors[0]);
	for (size_t i = 0; i < ELEMENTS(texts); i++)
		assert_refused(trust, &binding, texts[i]);
}

/* What steers a terminal does not get there by a key's name. */
static void test_names_are_shown_plainly(void **state)
{
	(void)state;
	struct error *err = NULL;
	struct secret *opened = NULL;
	struct sealed_key_binding binding = binding_of(&sealed_vectors[0]);
	_cleanup_(trust_key_freep) struct trust_key *trust = trust_of(&sealed_vectors[0]);
	_cleanup_free_ char *message = xasprintf(REFUSAL, "a?[2Jb");
	binding.name = "a\x1b[2Jb";
	assert_error(sealed_key_open(trust, &binding, sealed_vectors[0].text, &opened, &err), err, ERROR_REFUSED,
		     message);
}

/* --- wiping --- */

static void test_the_key_leaves_no_copy(void **state)
{
	(void)state;
	const struct sealed_vector *row = &sealed_vectors[0];
	struct sealed_key_binding binding = binding_of(row);
	_cleanup_(trust_key_freep) struct trust_key *trust = trust_of(row);
	size_t len;
	uint8_t *bytes = from_hex(row->key_hex, &len);
	struct secret *opened = NULL;
	expect_wipes_of(bytes, len);
	assert_int_equal(sealed_key_open(trust, &binding, row->text, &opened, NULL), 0);
	assert_int_equal(wiped.count, 1); /* the one on the stack */
	secret_free(opened);
	assert_int_equal(wiped.count, 2);
	/* Opened, and found to be another key: the bytes that were opened go as well. */
	binding = binding_of(&sealed_wrong[0]);
	opened = NULL;
	uint8_t *wrong = from_hex(sealed_wrong[0].key_hex, &len);
	expect_wipes_of(wrong, len);
	assert_int_equal(sealed_key_open(trust, &binding, sealed_wrong[0].text, &opened, NULL), -ERROR_REFUSED);
	assert_int_equal(wiped.count, 2);
	expect_wipes_of(NULL, 0);
	free(wrong);
	free(bytes);
}

static void test_the_derived_key_is_wiped(void **state)
{
	(void)state;
	const struct sealed_vector *row = &sealed_vectors[0];
	const struct sealed_key_binding binding = binding_of(row);
	_cleanup_(trust_key_freep) struct trust_key *trust = trust_of(row);
	_cleanup_secret_ bytes = secret_from_hex(row->key_hex);
	_cleanup_secret_ opened = NULL;
	_cleanup_free_ char *text = NULL;
	size_t len;
	uint8_t *derived = from_hex(row->derived_hex, &len);
	expect_wipes_of(derived, len);
	assert_int_equal(sealed_key_open(trust, &binding, row->text, &opened, NULL), 0);
	assert_int_equal(wiped.count, 2); /* the one on the stack, and the secret */
	assert_int_equal(sealed_key_seal(trust, &binding, bytes, &text, NULL), 0);
	assert_int_equal(wiped.count, 4);
	expect_wipes_of(NULL, 0);
	free(derived);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fields_do_not_run_together),
		cmocka_unit_test(test_incomplete_bindings),
		cmocka_unit_test(test_other_bytes_are_not_sealed),
		cmocka_unit_test(test_authentic_and_wrong),
		cmocka_unit_test(test_rubbish),
		cmocka_unit_test(test_names_are_shown_plainly),
		cmocka_unit_test(test_the_key_leaves_no_copy),
		cmocka_unit_test(test_the_derived_key_is_wiped),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	failed += RUN_ROWS(opens_what_others_sealed, sealed_vectors);
	failed += RUN_ROWS(seals_anew_each_time, sealed_vectors);
	failed += RUN_ROWS(any_changed_bit, sealed_vectors);
	failed += RUN_ROWS(any_changed_bit_of_its_bytes, sealed_vectors);
	failed += RUN_ROWS(cut_or_longer, sealed_vectors);
	failed += RUN_ROWS(for_anything_else, sealed_vectors);
	return failed;
}
