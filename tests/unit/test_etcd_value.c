#include "format_support.h"
#include "etcd_value_vectors.h"

#define X8 "xxxxxxxx"
#define X16 X8 X8
#define X28 X16 X8 "xxxx"
#define X32 X16 X16
#define DATA28 "\x0a\x1c" X28     /* encryptedData under a plain DEK: nonce, tag */
#define DATA60 "\x0a\x3c" X28 X32 /* under a seed: info before them */
#define KEY_ID "\x12\x05kek-1"
#define DEK        \
	"\x1a\x03" \
	"dek"
#define SEED "\x28\x01"
#define ABC        \
	"\x22\x03" \
	"abc"
#define XYZ "\x22\x03xyz"
/* printf dek | sha256sum */
#define DEK_HASH "24400004dc6ef161"
#define V2 "k8s:enc:kms:v2:vault:"
#define KNOWN_V2 "known kms v2 name vault id kek-1 dek " DEK_HASH

static const struct {
	const char *name;
	struct bytes in;
	const char *info;
} rows[] = {
	{"plaintext protobuf", BYTES("k8s\0\x0a\x0cxyz"), "known identity"},
	{"plaintext protobuf, nothing behind its magic", BYTES("k8s\0"), "known identity"},
	{"plaintext JSON", BYTES("{\"kind\":\"Secret\"}"), "known identity"},
	{"plaintext JSON after white space", BYTES(" \t\r\n{"), "known identity"},
	{"white space and no object", BYTES(" \n[1]"), "unknown identity"},
	{"white space alone", BYTES(" \n"), "unknown identity"},
	{"an empty value", BYTES(""), "unknown identity"},
	{"a number, as compact_rev_key has", BYTES("12345"), "unknown identity"},
	{"a NUL", BYTES("\0"), "unknown identity"},
	{"k8s and something else", BYTES("k8sx"), "unknown identity"},
	{"k8s: and something else", BYTES("k8s:abc:"), "unknown identity"},
	{"capitals", BYTES("K8S:ENC:aescbc:v1:k:" X32), "unknown identity"},
	{"cut in the magic", BYTES("k8s"), "truncated identity"},
	{"cut in the encrypted prefix", BYTES("k8s:en"), "truncated identity"},
	{"cut before the provider", BYTES("k8s:enc:"), "truncated identity"},
	{"cut in the provider", BYTES("k8s:enc:aescb"), "truncated identity"},
	{"cut in the version", BYTES("k8s:enc:aescbc:v"), "truncated identity"},
	{"cut in the name: half a name is no name", BYTES("k8s:enc:aescbc:v1:key1"), "truncated aescbc"},
	{"a provider that is none", BYTES("k8s:enc:rot13:v1:k:" X32), "unknown identity"},
	{"a provider that begins like one", BYTES("k8s:enc:aescbc2:v1:k:" X32), "unknown identity"},
	{"a provider with no name", BYTES("k8s:enc::v1:k:" X32), "unknown identity"},
	{"a provider of 17 letters", BYTES("k8s:enc:abcdefghijklmnopq"), "unknown identity"},
	{"a provider with a NUL", BYTES("k8s:enc:kms\0:v1:k:" X32), "unknown identity"},
	{"a version to come", BYTES("k8s:enc:aescbc:v2:k:" X32), "unknown identity"},
	{"a version of kms to come", BYTES("k8s:enc:kms:v3:k:" X32), "unknown identity"},
	{"an empty name", BYTES("k8s:enc:aescbc:v1::" X32), "unknown aescbc"},
	{"a name with a NUL", BYTES("k8s:enc:aescbc:v1:a\0b:" X32), "unknown aescbc"},
	{"aescbc, one block", BYTES("k8s:enc:aescbc:v1:key1:" X32), "known aescbc name key1"},
	{"aescbc, IV alone", BYTES("k8s:enc:aescbc:v1:key1:" X16), "truncated aescbc name key1"},
	{"aescbc, nothing", BYTES("k8s:enc:aescbc:v1:key1:"), "truncated aescbc name key1"},
	{"aescbc, half a block", BYTES("k8s:enc:aescbc:v1:key1:" X32 X8), "truncated aescbc name key1"},
	{"aesgcm, the least", BYTES("k8s:enc:aesgcm:v1:key1:" X28), "known aesgcm name key1"},
	{"aesgcm, a byte less", BYTES("k8s:enc:aesgcm:v1:key1:" X16 X8 "xxx"), "truncated aesgcm name key1"},
	{"secretbox, the least", BYTES("k8s:enc:secretbox:v1:key1:" X32 X8), "known secretbox name key1"},
	{"secretbox, a byte less", BYTES("k8s:enc:secretbox:v1:key1:" X32 "xxxxxxx"), "truncated secretbox name key1"},
	{"kms v1", BYTES("k8s:enc:kms:v1:vault:\0\3dek" X28), "known kms v1 name vault dek " DEK_HASH},
	{"kms v1, cut in the length", BYTES("k8s:enc:kms:v1:vault:\0"), "truncated kms v1 name vault"},
	{"kms v1, cut in the DEK", BYTES("k8s:enc:kms:v1:vault:\0\3de"), "truncated kms v1 name vault"},
	{"kms v1, cut in nonce and tag", BYTES("k8s:enc:kms:v1:vault:\0\3dek" X16), "truncated kms v1 name vault"},
	{"kms v1, no DEK", BYTES("k8s:enc:kms:v1:vault:\0\0" X28), "unknown kms v1 name vault"},
	{"kms v2 under a seed", BYTES(V2 DATA60 KEY_ID DEK SEED), KNOWN_V2},
	{"kms v2 under a DEK, of 1.28 and older", BYTES(V2 DATA28 KEY_ID DEK), KNOWN_V2},
	{"kms v2, fields in another order", BYTES(V2 DEK SEED KEY_ID DATA60), KNOWN_V2},
	{"kms v2 with annotations and a field to come",
	 BYTES(V2 DATA60 KEY_ID DEK "\x22\x03"
				    "abc" SEED "\x32\x01z"),
	 KNOWN_V2 " annotations ba7816bf8f01cfea"},
	{"kms v2 with two annotations", BYTES(V2 DATA60 KEY_ID DEK SEED ABC XYZ),
	 KNOWN_V2 " annotations f080d361735076ae"},
	{"kms v2 with two annotations in another order", BYTES(V2 XYZ DATA60 KEY_ID DEK SEED ABC),
	 KNOWN_V2 " annotations f080d361735076ae"},
	{"kms v2, fields twice: the last one holds", BYTES(V2 "\x12\x03old\x1a\x03old" DATA60 KEY_ID DEK SEED),
	 KNOWN_V2},
	{"kms v2, nothing", BYTES(V2), "truncated kms v2 name vault"},
	{"kms v2, data too short for a seed", BYTES(V2 DATA28 KEY_ID DEK SEED), "truncated kms v2 name vault"},
	{"kms v2, cut in the data", BYTES(V2 "\x0a\x3cxxx"), "truncated kms v2 name vault"},
	{"kms v2, cut behind the data", BYTES(V2 DATA60), "truncated kms v2 name vault"},
	{"kms v2, cut in the key ID", BYTES(V2 DATA60 "\x12\x05kek"), "truncated kms v2 name vault"},
	{"kms v2, cut behind the key ID", BYTES(V2 DATA60 KEY_ID), "truncated kms v2 name vault"},
	{"kms v2, cut in the DEK source",
	 BYTES(V2 DATA60 KEY_ID "\x1a\x03"
				"de"),
	 "truncated kms v2 name vault"},
	{"kms v2, an empty key ID", BYTES(V2 DATA60 "\x12\x00" DEK SEED), "truncated kms v2 name vault"},
	{"kms v2, a key ID with a NUL",
	 BYTES(V2 DATA60 "\x12\x03"
			 "a\0b" DEK SEED),
	 "unknown kms v2 name vault"},
	{"kms v2, a type of DEK source to come", BYTES(V2 DATA60 KEY_ID DEK "\x28\x02"), "unknown kms v2 name vault"},
	{"kms v2, no protobuf", BYTES(V2 DATA60 KEY_ID DEK SEED "\x0f"), "unknown kms v2 name vault"},
};

static void reads(void **state)
{
	const __typeof__(rows[0]) *row = *state;
	assert_events(value_events, row->in.at, row->in.len, row->info);
}

static void reads_real(void **state)
{
	const struct real_value *row = *state;
	static const char *const providers[] = {"identity", "aescbc", "aesgcm", "secretbox"};
	size_t len;
	uint8_t *value = from_hex(row->value_hex, &len);
	char *expected = xasprintf("known %s name %s", providers[row->provider % 4], row->name);
	if (row->provider == PROVIDER_IDENTITY)
		assert_events(value_events, value, len, "known identity");
	else if (row->provider == PROVIDER_KMS)
		assert_events(value_events, value, len,
			      "known kms v2 name vault-1 id throw-away-kek-1 dek fc5732f6aa23a453 annotations "
			      "a814e8e738788b11");
	else
		assert_events(value_events, value, len, expected);
	free(expected);
	free(value);
}

/* No cut of a real value is taken for plaintext, for another key, or, up to where the key is named, for whole. */
static void cut_anywhere(void **state)
{
	const struct real_value *row = *state;
	size_t len;
	uint8_t *value = from_hex(row->value_hex, &len);
	char *whole = events_of(value_events, value, len, len);
	for (size_t cut = 0; cut < len; cut++) {
		char *text = events_of(value_events, value, cut, cut);
		if (strncmp(text, "known", 5) == 0) /* but for its annotations, which stand last */
			assert_memory_equal(text, whole, strlen(text));
		free(text);
	}
	free(whole);
	free(value);
}

static void name_of(size_t size, const char *expected)
{
	struct buf value = BUF_INIT(4096);
	char name[ETCD_VALUE_NAME_MAX + 2];
	memset(name, 'n', sizeof(name));
	assert_int_equal(buf_append_text(&value, "k8s:enc:aesgcm:v1:"), 0);
	assert_int_equal(buf_append(&value, name, size), 0);
	assert_int_equal(buf_append_text(&value, ":" X28), 0);
	char *text = events_of(value_events, value.data, value.len, value.len);
	assert_memory_equal(text, expected, strlen(expected));
	free(text);
	must_not_depend_on_cuts(value_events, value.data, value.len);
	buf_free(&value);
}

static void the_longest_name(void **state)
{
	(void)state;
	name_of(ETCD_VALUE_NAME_MAX, "known aesgcm name nnnn");
}

static void a_longer_name_is_unknown(void **state)
{
	(void)state;
	name_of(ETCD_VALUE_NAME_MAX + 1, "unknown aesgcm");
}

static void key_id_of(size_t size, const char *expected)
{
	struct buf value = BUF_INIT(4096);
	char id[ETCD_VALUE_KEY_ID_MAX + 1];
	memset(id, 'i', sizeof(id));
	assert_int_equal(buf_append_text(&value, V2 DATA60), 0);
	assert_int_equal(pb_write_bytes_field(&value, 2, id, size), 0);
	assert_int_equal(buf_append_text(&value, DEK SEED), 0);
	char *text = events_of(value_events, value.data, value.len, value.len);
	assert_memory_equal(text, expected, strlen(expected));
	free(text);
	must_not_depend_on_cuts(value_events, value.data, value.len);
	buf_free(&value);
}

static void the_longest_key_id(void **state)
{
	(void)state;
	key_id_of(ETCD_VALUE_KEY_ID_MAX, "known kms v2 name vault id iiii");
}

static void a_longer_key_id_is_unknown(void **state)
{
	(void)state;
	key_id_of(ETCD_VALUE_KEY_ID_MAX + 1, "unknown kms v2 name vault");
}

/* Gigabytes of value cost no memory and no time: the pieces are not looked at. */
static void a_huge_value(void **state)
{
	(void)state;
	static uint8_t piece[1u << 20];
	struct etcd_value_reader *reader = etcd_value_reader_new();
	const struct bytes head = BYTES("k8s:enc:aescbc:v1:key1:");
	etcd_value_reader_feed(reader, head.at, head.len);
	for (unsigned i = 0; i < 1u << 20; i++)
		etcd_value_reader_feed(reader, piece, sizeof(piece));
	assert_int_equal(etcd_value_reader_end(reader)->state, ETCD_VALUE_KNOWN);
	etcd_value_reader_free(reader);
	etcd_value_reader_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_longest_name),   cmocka_unit_test(a_longer_name_is_unknown),
		cmocka_unit_test(the_longest_key_id), cmocka_unit_test(a_longer_key_id_is_unknown),
		cmocka_unit_test(a_huge_value),
	};
	int failed = RUN_ROWS(reads, rows) + RUN_ROWS(reads_real, real_values) + RUN_ROWS(cut_anywhere, real_values);
	return failed + cmocka_run_group_tests(tests, NULL, NULL);
}
