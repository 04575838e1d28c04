/* What a KMS plugin answers to Status, and where it is asked. */
#include <stdio.h>
#include "test_support.h"

#include "base/buf.h"
#include "client/kms/kms.h"
#include "format/pbwire.h"

/* Of a message: fields as "1:v2 2:ok 3:key", each text without spaces. */
static int parse(const char *fields, struct kms_status *ret)
{
	_cleanup_buf_ message = BUF_INIT(1u << 20);
	_cleanup_strings_ parts = {0};
	strings_split(&parts, fields, ' ');
	for (size_t i = 0; i < parts.count; i++) {
		const char *text = parts.items[i];
		if (*text != '\0')
			assert_int_equal(
				pb_write_bytes_field(&message, (uint32_t)(text[0] - '0'), text + 2, strlen(text + 2)),
				0);
	}
	return kms_status_parse(message.data, message.len, ret);
}

static const struct {
	const char *name, *fields, *flaw;
} rows[] = {
	{"well", "1:v2 2:ok 3:key", NULL},
	{"of 1.27", "1:v2beta1 2:ok 3:key", NULL},
	{"fields that are not known", "9:more 3:key 1:v2 2:ok", NULL},
	{"the last one counts", "2:bad 1:v2 2:ok 3:other 3:key", NULL},
	{"nothing", "", "healthz is empty, not ok"},
	{"not well", "1:v2 2:vault-is-sealed 3:key", "healthz is vault-is-sealed, not ok"},
	{"Ok", "1:v2 2:Ok 3:key", "healthz is Ok, not ok"},
	{"steers the terminal", "1:v2 2:\x1b[2J 3:key", "healthz is ?[2J, not ok"},
	{"of KMS v1", "1:v1beta1 2:ok 3:key", "version is v1beta1, not v2"},
	{"no version", "2:ok 3:key", "version is empty, not v2"},
	{"no key", "1:v2 2:ok", "it has no key ID"},
	{"empty key", "1:v2 2:ok 3:", "it has no key ID"},
};

static void flaw(void **state)
{
	const __typeof__(rows[0]) *row = *state;
	struct kms_status status;
	assert_int_equal(parse(row->fields, &status), 0);
	_cleanup_free_ char *found = kms_status_flaw(&status);
	if (row->flaw) {
		assert_non_null(found);
		assert_string_equal(found, row->flaw);
	} else {
		assert_null(found);
		assert_string_equal(status.key_id, "key");
	}
	kms_status_free(&status);
}

static void test_long_key_ids(void **state)
{
	static char fields[KMS_ANSWER_MAX];
	struct kms_status status;
	(void)state;
	for (size_t len = KMS_KEY_ID_MAX; len <= KMS_KEY_ID_MAX + 1; len++) {
		int at = snprintf(fields, sizeof(fields), "1:v2 2:ok 3:");
		memset(fields + at, 'k', len);
		fields[(size_t)at + len] = '\0';
		assert_int_equal(parse(fields, &status), 0);
		_cleanup_free_ char *found = kms_status_flaw(&status);
		if (len == KMS_KEY_ID_MAX)
			assert_null(found);
		else
			assert_string_equal(found, "its key ID has 1025 bytes, more than 1024");
		kms_status_free(&status);
	}
}

static void test_unwell(void **state)
{
	static const struct {
		const char *fields;
		bool unwell;
	} said[] = {
		{"1:v2 2:ok 3:k", false}, {"1:v2 2:sealed 3:k", true},  {"1:v2beta1 3:k", true},
		{"1:v2 2:sealed", false}, {"1:v3 2:sealed 3:k", false}, {"1:v3 2:ok 3:k", false},
	};
	(void)state;
	for (size_t i = 0; i < ELEMENTS(said); i++) {
		struct kms_status status;
		assert_int_equal(parse(said[i].fields, &status), 0);
		assert_int_equal(kms_status_is_unwell(&status), said[i].unwell);
		kms_status_free(&status);
	}
}

static void test_rubbish(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
	} broken[] = {
		{"\x0a\x05v2", 4},    /* cut off */
		{"\x0a\x02v\xff", 4}, /* not UTF-8 */
		{"\x12\x03o\0k", 5},  /* a NUL */
		{"HTTP/1.1 400", 12}, /* another protocol */
		{"\xff\xff\xff\xff", 4},
	};
	(void)state;
	for (size_t i = 0; i < ELEMENTS(broken); i++) {
		struct kms_status status;
		assert_int_equal(kms_status_parse((const uint8_t *)broken[i].bytes, broken[i].len, &status),
				 -ERROR_PROTOCOL);
	}
}

static const struct {
	const char *name, *endpoint, *socket, *error;
} endpoints[] = {
	{"a path", "unix:///run/kms.sock", "/run/kms.sock", NULL},
	{"abstract", "unix:///@kms", "@kms", NULL},
	{"TCP", "tcp://127.0.0.1:80", NULL, "KMS endpoint tcp://127.0.0.1:80: not unix:///PATH"},
	{"relative", "unix://kms.sock", NULL, "KMS endpoint unix://kms.sock: not unix:///PATH"},
	{"empty", "", NULL, "KMS endpoint : not unix:///PATH"},
	{"no name", "unix:///", NULL, "KMS endpoint unix:///: not unix:///PATH"},
	{"no abstract name", "unix:///@", NULL, "KMS endpoint unix:///@: not unix:///PATH"},
};

static void endpoint(void **state)
{
	const __typeof__(endpoints[0]) *row = *state;
	_cleanup_free_ char *socket = NULL;
	struct error *err = NULL;
	int rc = kms_socket(row->endpoint, &socket, &err);
	if (row->error) {
		assert_error(rc, err, ERROR_INPUT, row->error);
	} else {
		assert_ok(rc, err);
		assert_string_equal(socket, row->socket);
	}
}

static void test_long_socket(void **state)
{
	char name[200] = "unix:///";
	_cleanup_free_ char *socket = NULL;
	struct error *err = NULL;
	(void)state;
	memset(name + 8, 's', 107);
	assert_int_equal(kms_socket(name, &socket, &err), -ERROR_INPUT);
	error_clear(&err);
	name[8 + 106] = '\0';
	assert_ok(kms_socket(name, &socket, &err), err);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_long_key_ids), cmocka_unit_test(test_unwell),
					   cmocka_unit_test(test_rubbish), cmocka_unit_test(test_long_socket)};
	return RUN_ROWS(flaw, rows) + RUN_ROWS(endpoint, endpoints) + cmocka_run_group_tests(tests, NULL, NULL);
}
