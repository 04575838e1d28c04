/* Values under KMS v2 taken apart, and what a plugin is asked and answers. */
#include "format_support.h"
#include "etcd_value_vectors.h"

#include "base/text.h"
#include "format/kms_object.h"
#include "format/pbwire.h"

static const struct real_value *real_kms(void)
{
	for (size_t i = 0; i < ELEMENTS(real_values); i++)
		if (real_values[i].provider == PROVIDER_KMS)
			return &real_values[i];
	abort();
}

static bool is(struct kms_bytes bytes, const char *text)
{
	return bytes.len == strlen(text) && memcmp(bytes.at, text, bytes.len) == 0;
}

static void test_real_value(void **state)
{
	(void)state;
	size_t len;
	uint8_t *value = from_hex(real_kms()->value_hex, &len);
	struct kms_object object;
	assert_int_equal(kms_object_parse(value, len, &object), 0);
	assert_true(is(object.key_id, "throw-away-kek-1"));
	assert_true(object.seed);
	assert_int_equal(object.annotation_count, 1);
	assert_non_null(memmem(object.annotations[0].at, object.annotations[0].len, "kube-rekey.dev", 14));
	assert_true(object.dek_source.at > value && object.dek_source.at + object.dek_source.len <= value + len);
	assert_int_equal(object.dek_source.len, 60); /* nonce, seed, tag of that plugin's aesgcm */
	for (size_t cut = 0; cut < len; cut++) {
		uint8_t *exact = xmemdup(value, cut);
		int rc = kms_object_parse(exact, cut, &object);
		/* What is cut off between two fields lacks the type, which is 0 then, or a field that must be there. */
		assert_true(rc == -ERROR_INPUT || (rc == 0 && !object.seed));
		free(exact);
	}
	free(value);
}

/* "k8s:enc:kms:v2:vault:" and fields as "1:data 2:key"; 5:N is the type. */
static int parse(const char *fields, struct buf *value, struct kms_object *ret)
{
	_cleanup_strings_ parts = {0};
	strings_split(&parts, fields, ' ');
	*value = BUF_INIT(1u << 20);
	assert_int_equal(buf_append_text(value, "k8s:enc:kms:v2:vault:"), 0);
	for (size_t i = 0; i < parts.count; i++) {
		const char *text = parts.items[i];
		uint32_t field = *text ? (uint32_t)(text[0] - '0') : 0;
		if (field == 5)
			assert_int_equal(pb_write_varint_field(value, 5, (uint64_t)(text[2] - '0')), 0);
		else if (field)
			assert_int_equal(pb_write_bytes_field(value, field, text + 2, strlen(text + 2)), 0);
	}
	return kms_object_parse(value->data, value->len, ret);
}

static const struct {
	const char *name, *fields;
	int rc;
	bool seed;
} rows[] = {
	{"a key", "1:data 2:id 3:dek", 0, false},
	{"a key by its type", "1:data 2:id 3:dek 5:0", 0, false},
	{"a seed", "1:data 2:id 3:dek 5:1", 0, true},
	{"any order, and what is not known", "5:1 3:dek 9:more 2:id 1:data", 0, true},
	{"the last one counts", "1:other 1:data 2:no 2:id 3:dek", 0, false},
	{"another type", "1:data 2:id 3:dek 5:2", -ERROR_INPUT, false},
	{"no data", "2:id 3:dek", -ERROR_INPUT, false},
	{"no key ID", "1:data 3:dek", -ERROR_INPUT, false},
	{"no DEK source", "1:data 2:id", -ERROR_INPUT, false},
	{"an empty one after one", "1:data 2:id 3:dek 3:", -ERROR_INPUT, false},
	{"nothing", "", -ERROR_INPUT, false},
};

static void row(void **state)
{
	const __typeof__(rows[0]) *it = *state;
	struct kms_object object;
	_cleanup_buf_ value = {0};
	assert_int_equal(parse(it->fields, &value, &object), it->rc);
	if (it->rc < 0)
		return;
	assert_true(is(object.data, "data") && is(object.key_id, "id") && is(object.dek_source, "dek"));
	assert_int_equal(object.seed, it->seed);
}

static void test_other_prefixes(void **state)
{
	(void)state;
	struct kms_object object;
	static const char *const wrong[] = {"", "k8s", "k8s:enc:kms:v2:vault", "k8s:enc:kms:v1:vault:\n\1a\22\1b\32\1c",
					    "k8s:enc:aescbc:v1:a:\n\1a\22\1b\32\1c"};
	for (size_t i = 0; i < ELEMENTS(wrong); i++)
		assert_int_equal(kms_object_parse((const uint8_t *)wrong[i], strlen(wrong[i]), &object), -ERROR_INPUT);
}

static void test_annotations_have_a_cap(void **state)
{
	(void)state;
	_cleanup_buf_ fields = BUF_INIT(1u << 20);
	struct kms_object object;
	assert_int_equal(buf_append_text(&fields, "1:data 2:id 3:dek"), 0);
	for (unsigned i = 0; i < KMS_ANNOTATIONS_MAX; i++)
		assert_int_equal(buf_append_format(&fields, " 4:%u", i), 0);
	_cleanup_buf_ value = {0};
	assert_int_equal(parse(buf_text(&fields), &value, &object), 0);
	assert_int_equal(object.annotation_count, KMS_ANNOTATIONS_MAX);
	assert_int_equal(buf_append_text(&fields, " 4:more"), 0);
	_cleanup_buf_ beyond = {0};
	assert_int_equal(parse(buf_text(&fields), &beyond, &object), -ERROR_LIMIT);
}

static void test_request(void **state)
{
	(void)state;
	struct kms_object object;
	_cleanup_buf_ value = {0}, out = BUF_INIT(KMS_REQUEST_MAX), small = BUF_INIT(8);
	assert_int_equal(parse("1:data 2:id 3:dek 4:ab 4:c", &value, &object), 0);
	assert_int_equal(kms_decrypt_request_write(&out, &object), 0);
	assert_int_equal(kms_decrypt_request_name(&out, "u"), 0);
	/* 1 ciphertext, 3 key_id, 4 annotations, 2 uid */
	static const char want[] = "\n\3dek\32\2id\"\2ab\"\1c\22\1u";
	assert_int_equal(out.len, sizeof(want) - 1);
	assert_memory_equal(out.data, want, out.len);
	assert_int_equal(kms_decrypt_request_write(&small, &object), -ERROR_LIMIT);
}

/* kube-apiserver writes the map in any order: equal requests ask for one key, and are asked once. */
static void test_annotations_in_any_order(void **state)
{
	static const char *const orders[] = {"4:ab 4:a 4:b", "4:a 4:b 4:ab", "4:b 4:ab 4:a"};
	_cleanup_buf_ first = BUF_INIT(KMS_REQUEST_MAX);
	(void)state;
	for (size_t i = 0; i < ELEMENTS(orders); i++) {
		struct kms_object object;
		_cleanup_buf_ value = {0}, out = BUF_INIT(KMS_REQUEST_MAX);
		_cleanup_free_ char *fields = xasprintf("1:data 2:id 3:dek %s", orders[i]);
		assert_int_equal(parse(fields, &value, &object), 0);
		assert_int_equal(kms_decrypt_request_write(i == 0 ? &first : &out, &object), 0);
		if (i == 0)
			continue;
		assert_int_equal(out.len, first.len);
		assert_memory_equal(out.data, first.data, out.len);
	}
}

static void test_answer(void **state)
{
	(void)state;
	const struct {
		struct bytes bytes;
		const char *plain;
	} answers[] = {
		{BYTES("\n\3key"), "key"},
		{BYTES("\22\1x\n\3old\n\3key"), "key"},
		{BYTES(""), NULL},
		{BYTES("\n\0"), NULL},
		{BYTES("\n\3ol"), NULL},
		{BYTES("\22\3key"), NULL},
		{BYTES("\n\3old\n\0"), NULL},
	};
	for (size_t i = 0; i < ELEMENTS(answers); i++) {
		_cleanup_secret_ plain = NULL;
		int rc = kms_decrypt_answer_parse(answers[i].bytes.at, answers[i].bytes.len, &plain);
		assert_int_equal(rc, answers[i].plain ? 0 : -ERROR_PROTOCOL);
		if (answers[i].plain)
			assert_string_equal(secret_text(plain), answers[i].plain);
	}
	uint8_t long_one[KMS_DECRYPTED_MAX + 4] = {'\n', 0x81, 0x20}; /* a byte more than may be kept */
	_cleanup_secret_ plain = NULL;
	assert_int_equal(kms_decrypt_answer_parse(long_one, sizeof(long_one), &plain), -ERROR_PROTOCOL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_real_value),
		cmocka_unit_test(test_other_prefixes),
		cmocka_unit_test(test_annotations_have_a_cap),
		cmocka_unit_test(test_request),
		cmocka_unit_test(test_annotations_in_any_order),
		cmocka_unit_test(test_answer),
	};
	int failed = RUN_ROWS(row, rows);
	return failed + cmocka_run_group_tests(tests, NULL, NULL);
}
