#include "format_support.h"
#include "format/apiserver_metrics.h"
#include "format/storage_metrics.h"

#define USED(resource, type, prefix, n)                                          \
	"apiserver_storage_transformation_operations_total{resource=\"" resource \
	"\",status=\"OK\",transformation_type=\"" type "\",transformer_prefix=\"" prefix "\"} " n "\n"
#define FAILED(resource, prefix, n)                                              \
	"apiserver_storage_transformation_operations_total{resource=\"" resource \
	"\",status=\"Internal\",transformation_type=\"from_storage\",transformer_prefix=\"" prefix "\"} " n "\n"
#define NO_RESOURCE(type, prefix, n)                                                                  \
	"apiserver_storage_transformation_operations_total{status=\"OK\",transformation_type=\"" type \
	"\",transformer_prefix=\"" prefix "\"} " n "\n"
#define KEY_ID(what, type, provider, hash, n)                                                                   \
	"apiserver_envelope_encryption_key_id_hash_" what "{apiserver_id_hash=\"sha256:a\",key_id_hash=\"" hash \
	"\",provider_name=\"" provider "\",transformation_type=\"" type "\"} " n "\n"
#define NAMED(provider, hash, t)                                                                                  \
	"apiserver_envelope_encryption_key_id_hash_status_last_timestamp_seconds{apiserver_id_hash=\"sha256:a\"," \
	"key_id_hash=\"" hash "\",provider_name=\"" provider "\"} " t "\n"
#define ONE "sha256:be297454697812345"
#define TWO "sha256:7c36b0a9ded012345"
#define VAULT "k8s:enc:kms:v2:vault:"

static struct storage_metrics collect(const char *text)
{
	struct storage_metrics metrics;
	struct prometheus_reader *reader = prometheus_reader_new(apiserver_metric_names);
	assert_int_equal(prometheus_feed(reader, text, strlen(text), NULL), 0);
	assert_int_equal(prometheus_finish(reader, NULL), 0);
	storage_metrics_collect(reader, &metrics);
	prometheus_reader_free(reader);
	return metrics;
}

/* "kms/vault sha256:be2974546978=10 plaintext=2" */
static char *keys_text(const struct storage_metrics *metrics, const char *resource, enum storage_direction direction)
{
	struct storage_keys keys;
	struct strings words = {0};
	storage_keys_of(metrics, resource, direction, &keys);
	for (size_t i = 0; i < keys.count; i++) {
		_cleanup_free_ char *label = storage_key_label(&keys.items[i]);
		_cleanup_free_ char *word = xasprintf("%s=%llu", label, (unsigned long long)keys.items[i].count);
		strings_add(&words, word);
	}
	strings_sort_unique(&words);
	char *text = strings_join(&words, ", ");
	storage_keys_free(&keys);
	strings_free(&words);
	return text;
}

static const struct {
	const char *name, *text, *resource, *read, *written;
} rows[] = {
	{"nothing", "up 1\n", "secrets", "", ""},
	{"a local key counts twice, and is one",
	 USED("secrets", "from_storage", "k8s:enc:aescbc:v1:", "3") USED("secrets", "from_storage", "key1:", "3")
		 USED("secrets", "to_storage", "k8s:enc:aescbc:v1:", "1") USED("secrets", "to_storage", "key1:", "1"),
	 "secrets", "aescbc/key1=3", "aescbc/key1=1"},
	{"plaintext is read under a word and written under none",
	 USED("secrets", "from_storage", "identity", "4") USED("secrets", "to_storage", "", "5"), "secrets",
	 "plaintext=4", "plaintext=5"},
	{"of two local providers the keys are not told apart by provider",
	 USED("secrets", "from_storage", "k8s:enc:aescbc:v1:", "1")
		 USED("secrets", "from_storage", "k8s:enc:secretbox:v1:", "1")
			 USED("secrets", "from_storage", "a:", "1") USED("secrets", "from_storage", "b:", "1"),
	 "secrets", "local/a=1, local/b=1", ""},
	{"another resource's", USED("configmaps", "from_storage", "identity", "4"), "secrets", "", ""},
	{"what failed was not read", FAILED("secrets", "k8s:enc:aescbc:v1:", "9") FAILED("secrets", "key1:", "9"),
	 "secrets", "", ""},
	{"KMS v2 by key ID, of the provider that the resource is under",
	 USED("secrets", "from_storage", VAULT, "10") KEY_ID("total", "from_storage", "vault", ONE, "9")
		 KEY_ID("total", "from_storage", "vault", TWO, "1") KEY_ID("total", "from_storage", "other", ONE, "7"),
	 "secrets",
	 "kms/vault "
	 "sha256:7c36b0a9ded0"
	 "=1, kms/vault sha256:be2974546978=9",
	 ""},
	{"KMS v1 names no key", USED("secrets", "from_storage", "k8s:enc:kms:v1:old:", "2"), "secrets", "kms/old=2",
	 ""},
	{"before 1.32 samples name no resource", NO_RESOURCE("from_storage", "identity", "2"), "secrets", "plaintext=2",
	 ""},
};

static void test_keys(void **state)
{
	(void)state;
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		struct storage_metrics metrics = collect(rows[i].text);
		_cleanup_free_ char *read = keys_text(&metrics, rows[i].resource, STORAGE_READ);
		_cleanup_free_ char *written = keys_text(&metrics, rows[i].resource, STORAGE_WRITTEN);
		if (!text_equal(read, rows[i].read) || !text_equal(written, rows[i].written))
			fail_msg("%s: %s | %s", rows[i].name, read, written);
		storage_metrics_free(&metrics);
	}
}

static void test_growth(void **state)
{
	(void)state;
	struct storage_metrics before = collect(USED("secrets", "from_storage", VAULT, "10")
							KEY_ID("total", "from_storage", "vault", ONE, "10"));
	struct storage_metrics after = collect(USED("secrets", "from_storage", VAULT, "15")
						       KEY_ID("total", "from_storage", "vault", ONE, "11")
							       KEY_ID("total", "from_storage", "vault", TWO, "4")),
			       growth;
	assert_int_equal(storage_metrics_growth(&before, &after, &growth), 0);
	_cleanup_free_ char *grown = keys_text(&growth, "secrets", STORAGE_READ);
	assert_string_equal(grown, "kms/vault sha256:7c36b0a9ded0=4, kms/vault sha256:be2974546978=1");
	assert_int_equal(storage_reads_of(&growth, "secrets"), 5);
	assert_int_equal(storage_reads_of(&growth, "configmaps"), 0);
	storage_metrics_free(&growth);
	/* Another process, or a series that the server forgot. */
	struct storage_metrics none = collect("up 1\n");
	assert_int_equal(storage_metrics_growth(&after, &before, &growth), -ERROR_CONFLICT);
	assert_int_equal(storage_metrics_growth(&before, &none, &growth), -ERROR_CONFLICT);
	storage_metrics_free(&before);
	storage_metrics_free(&after);
	storage_metrics_free(&none);
}

static const struct {
	const char *name, *text, *prefix;
	enum storage_evidence evidence;
	const char *label;
} write_rows[] = {
	{"it has written nothing", "up 1\n", NULL, STORAGE_UNSEEN, NULL},
	{"one local key",
	 USED("secrets", "to_storage", "k8s:enc:aescbc:v1:", "1") USED("secrets", "to_storage", "key1:", "1"), NULL,
	 STORAGE_WROTE, "aescbc/key1"},
	{"two local keys: which was last is not told",
	 USED("secrets", "to_storage", "k8s:enc:aescbc:v1:", "2") USED("secrets", "to_storage", "key1:", "1")
		 USED("secrets", "to_storage", "key2:", "1"),
	 NULL, STORAGE_UNSEEN, NULL},
	{"two providers", USED("secrets", "to_storage", "", "2") USED("secrets", "to_storage", VAULT, "1"), NULL,
	 STORAGE_UNSEEN, NULL},
	{"KMS, written and named",
	 USED("secrets", "to_storage", VAULT, "1") NAMED("vault", ONE, "5")
		 KEY_ID("last_timestamp_seconds", "to_storage", "vault", ONE, "6"),
	 NULL, STORAGE_WROTE, "kms/vault sha256:be2974546978"},
	{"the later of two that it wrote with",
	 USED("secrets", "to_storage", VAULT, "2") NAMED("vault", ONE, "5") NAMED("vault", TWO, "15")
		 KEY_ID("last_timestamp_seconds", "to_storage", "vault", ONE, "6")
			 KEY_ID("last_timestamp_seconds", "to_storage", "vault", TWO, "16"),
	 NULL, STORAGE_WROTE, "kms/vault sha256:7c36b0a9ded0"},
	{"named is not adopted",
	 USED("secrets", "to_storage", VAULT, "2") NAMED("vault", ONE, "5") NAMED("vault", TWO, "15")
		 KEY_ID("last_timestamp_seconds", "to_storage", "vault", ONE, "16"),
	 NULL, STORAGE_MOVING, "kms/vault sha256:7c36b0a9ded0"},
	{"another one was named since it wrote, and it goes back: it may have adopted that meanwhile",
	 USED("secrets", "to_storage", VAULT, "2") NAMED("vault", ONE, "15") NAMED("vault", TWO, "10")
		 KEY_ID("last_timestamp_seconds", "to_storage", "vault", ONE, "6"),
	 NULL, STORAGE_MOVING, "kms/vault sha256:be2974546978"},
	{"another one was named since, of another provider",
	 USED("secrets", "to_storage", VAULT, "2") NAMED("vault", ONE, "15") NAMED("other", TWO, "10")
		 KEY_ID("last_timestamp_seconds", "to_storage", "vault", ONE, "6"),
	 NULL, STORAGE_WROTE, "kms/vault sha256:be2974546978"},
	{"another one was named before",
	 USED("secrets", "to_storage", VAULT, "2") NAMED("vault", ONE, "15") NAMED("vault", TWO, "5")
		 KEY_ID("last_timestamp_seconds", "to_storage", "vault", ONE, "6"),
	 NULL, STORAGE_WROTE, "kms/vault sha256:be2974546978"},
	{"idle since its start, by the prefix of another server", NAMED("vault", ONE, "5"), VAULT, STORAGE_NAMED,
	 "kms/vault sha256:be2974546978"},
	{"idle, and the key moved: it may have the first one still", NAMED("vault", ONE, "5") NAMED("vault", TWO, "6"),
	 VAULT, STORAGE_UNSEEN, NULL},
	{"reads alone", USED("secrets", "from_storage", VAULT, "2") NAMED("vault", ONE, "5"), NULL, STORAGE_UNSEEN,
	 NULL},
};

static void test_write_key(void **state)
{
	(void)state;
	for (size_t i = 0; i < ELEMENTS(write_rows); i++) {
		struct storage_metrics metrics = collect(write_rows[i].text);
		struct storage_key key;
		enum storage_evidence evidence = storage_write_key(&metrics, "secrets", write_rows[i].prefix, &key);
		_cleanup_free_ char *label = key.provider ? storage_key_label(&key) : NULL;
		if (evidence != write_rows[i].evidence || !text_equal(label, write_rows[i].label))
			fail_msg("%s: %d %s", write_rows[i].name, evidence, label ? label : "-");
		storage_key_free(&key);
		storage_metrics_free(&metrics);
	}
}

static const struct {
	const char *name, *text;
	double since;
	bool wrote;
} since_rows[] = {
	{"after it",
	 USED("secrets", "to_storage", VAULT, "1") KEY_ID("last_timestamp_seconds", "to_storage", "vault", ONE, "6"), 5,
	 true},
	{"before it",
	 USED("secrets", "to_storage", VAULT, "1") KEY_ID("last_timestamp_seconds", "to_storage", "vault", ONE, "6"), 6,
	 false},
	{"with another key of it",
	 USED("secrets", "to_storage", VAULT, "1") KEY_ID("last_timestamp_seconds", "to_storage", "vault", TWO, "6"), 5,
	 false},
	{"another resource of the same provider may have been it",
	 USED("secrets", "to_storage", VAULT, "1") USED("configmaps", "to_storage", VAULT, "1")
		 KEY_ID("last_timestamp_seconds", "to_storage", "vault", ONE, "6"),
	 5, false},
	{"another resource was read by it",
	 USED("secrets", "to_storage", VAULT, "1") USED("configmaps", "from_storage", VAULT, "1")
		 KEY_ID("last_timestamp_seconds", "to_storage", "vault", ONE, "6"),
	 5, true},
	{"samples name no resource",
	 NO_RESOURCE("to_storage", VAULT, "1") KEY_ID("last_timestamp_seconds", "to_storage", "vault", ONE, "6"), 5,
	 false},
};

static void test_wrote_since(void **state)
{
	(void)state;
	const struct storage_key key = {(char *)"kms", (char *)"vault", (char *)ONE, 0};
	const struct storage_key local = {(char *)"aescbc", (char *)"key1", (char *)"", 0};
	for (size_t i = 0; i < ELEMENTS(since_rows); i++) {
		struct storage_metrics metrics = collect(since_rows[i].text);
		if (storage_wrote_since(&metrics, "secrets", &key, since_rows[i].since) != since_rows[i].wrote)
			fail_msg("%s", since_rows[i].name);
		assert_false(storage_wrote_since(&metrics, "secrets", &local, 0));
		storage_metrics_free(&metrics);
	}
}

static const struct {
	const char *name, *text;
	bool other;
} other_rows[] = {
	{"nothing", "up 1\n", false},
	{"with it", USED("secrets", "to_storage", VAULT, "1") KEY_ID("total", "to_storage", "vault", ONE, "1"), false},
	{"with another key ID, too",
	 USED("secrets", "to_storage", VAULT, "2") KEY_ID("total", "to_storage", "vault", ONE, "1")
		 KEY_ID("total", "to_storage", "vault", TWO, "1"),
	 true},
	{"read with another one",
	 USED("secrets", "to_storage", VAULT, "2") KEY_ID("total", "to_storage", "vault", ONE, "2")
		 KEY_ID("total", "from_storage", "vault", TWO, "1"),
	 false},
	{"as plaintext", USED("secrets", "to_storage", "identity", "1"), true},
	{"another resource as plaintext", USED("configmaps", "to_storage", "identity", "1"), false},
	{"samples name no resource: it may have been another one",
	 NO_RESOURCE("to_storage", "identity", "1") NO_RESOURCE("to_storage", VAULT, "1")
		 KEY_ID("total", "to_storage", "vault", ONE, "1"),
	 false},
	{"samples name no resource, and it is the same provider",
	 NO_RESOURCE("to_storage", VAULT, "1") KEY_ID("total", "to_storage", "vault", TWO, "1"), true},
};

static void test_wrote_other(void **state)
{
	(void)state;
	const struct storage_key key = {(char *)"kms", (char *)"vault", (char *)ONE, 0};
	const struct storage_key local = {(char *)"aescbc", (char *)"key1", (char *)"", 0};
	for (size_t i = 0; i < ELEMENTS(other_rows); i++) {
		struct storage_metrics metrics = collect(other_rows[i].text);
		if (storage_wrote_other(&metrics, "secrets", &key) != other_rows[i].other)
			fail_msg("%s", other_rows[i].name);
		storage_metrics_free(&metrics);
	}
	/* A scrape between its own count and its provider's. */
	struct storage_metrics half = collect(USED("secrets", "to_storage", "key1:", "1"));
	struct storage_metrics two =
		collect(USED("secrets", "to_storage", "key1:", "1") USED("secrets", "to_storage", "key2:", "1"));
	assert_false(storage_wrote_other(&half, "secrets", &local));
	assert_true(storage_wrote_other(&two, "secrets", &local));
	storage_metrics_free(&half);
	storage_metrics_free(&two);
}

static void test_names_resources(void **state)
{
	(void)state;
	struct storage_metrics named = collect(USED("secrets", "to_storage", VAULT, "1"));
	struct storage_metrics unnamed = collect(NO_RESOURCE("to_storage", VAULT, "1")), none = collect("up 1\n");
	assert_true(storage_names_resources(&named));
	assert_false(storage_names_resources(&unnamed));
	assert_false(storage_names_resources(&none));
	storage_metrics_free(&named);
	storage_metrics_free(&unnamed);
	storage_metrics_free(&none);
}

static void test_resources(void **state)
{
	(void)state;
	struct storage_metrics metrics = collect(
		USED("secrets", "from_storage", VAULT, "1") USED("configmaps", "from_storage", "identity", "1")
			USED("widgets.example.com", "to_storage", VAULT, "1") NO_RESOURCE("from_storage", VAULT, "1"));
	struct strings names = {0};
	storage_encrypted_resources(&metrics, &names);
	_cleanup_free_ char *text = strings_join(&names, " ");
	assert_string_equal(text, "secrets widgets.example.com");
	strings_free(&names);
	storage_metrics_free(&metrics);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_growth),
		cmocka_unit_test(test_write_key),
		cmocka_unit_test(test_resources),
		cmocka_unit_test(test_wrote_since),
		cmocka_unit_test(test_wrote_other),
		cmocka_unit_test(test_names_resources),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
