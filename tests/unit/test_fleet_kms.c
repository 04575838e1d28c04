/* What the plugins beside three servers come to, by table. Each row says what the third one, b, reports. */
#include "test_support.h"

#include "engine/fleet_kms.h"
#include "engine/key_server.h"

#define UNKNOWN "kms/vault on b: it is not known which key it encrypts with"
#define VAULT "unix:///vault.sock"

static const struct {
	const char *name, *provider, *endpoint, *healthz, *key_id;
	const char *doubt; /* NULL: all name key 1 */
} rows[] = {
	{"the same", "vault", VAULT, "ok", "1", NULL},
	{"another key ID", "vault", VAULT, "ok", "2", "kms/vault encrypts with key ID 1 on a, and with 2 on b"},
	{"one of another case", "vault", VAULT, "ok", "1 ", "kms/vault encrypts with key ID 1 on a, and with 1  on b"},
	{"what would garble a screen", "vault", VAULT, "ok", "\x1b[2J",
	 "kms/vault encrypts with key ID 1 on a, and with ?[2J on b"},
	{"not well", "vault", VAULT, "healthz is sealed, not ok", NULL, "kms/vault on b: healthz is sealed, not ok"},
	{"not well, whatever key it names", "vault", VAULT, "sealed", "1", "kms/vault on b: sealed"},
	{"no health", "vault", VAULT, NULL, "1", UNKNOWN},
	{"no key ID", "vault", VAULT, "ok", NULL, UNKNOWN},
	{"an empty one", "vault", VAULT, "ok", "", UNKNOWN},
	{"another provider", "cloud", VAULT, "ok", "1", "the agent of b has not told what its plugin kms/vault says"},
	{"another plugin", "vault", "unix:///cloud.sock", "ok", "1",
	 "the agent of b has not told what its plugin kms/vault says"},
	{"nothing", NULL, NULL, NULL, NULL, "the agent of b has not told what its plugin kms/vault says"},
};

static struct key_server_kms report(const char *name, const char *endpoint, const char *healthz, const char *key_id)
{
	return (struct key_server_kms){.name = (char *)(uintptr_t)name,
				       .endpoint = (char *)(uintptr_t)endpoint,
				       .healthz = (char *)(uintptr_t)healthz,
				       .version = (char *)(uintptr_t) "v2",
				       .key_id = (char *)(uintptr_t)key_id};
}

static void come_to(void **state)
{
	const __typeof__(rows[0]) *row = *state;
	struct key_server_kms first[] = {report("other", "unix:///o.sock", "ok", "9"),
					 report("vault", VAULT, "ok", "1")};
	struct key_server_kms last = report(row->provider, row->endpoint, row->healthz, row->key_id);
	const struct key_server_status well = {.kms = first, .kms_count = 2},
				       b = {.kms = &last, .kms_count = row->provider != NULL};
	const struct kms_witness witnesses[] = {{"a", &well}, {"c", &well}, {"b", &b}};
	const char *key_id = NULL;
	_cleanup_free_ char *doubt = fleet_kms_doubt(witnesses, ELEMENTS(witnesses), "vault", VAULT, &key_id);
	if (row->doubt)
		assert_string_equal(doubt, row->doubt);
	else
		assert_null(doubt);
	if (row->doubt)
		assert_null(key_id);
	else
		assert_string_equal(key_id, "1");
}

/* Each row says what the third one reports: whether all name key 1, or named it until an answer lacked. */
static const struct {
	const char *name, *provider, *endpoint, *healthz, *key_id, *last;
	bool lacks;
} lacking[] = {
	{"well", "vault", VAULT, "ok", "1", NULL, true},
	{"no answer", "vault", VAULT, "timed out", NULL, "1", true},
	{"no answer, and it named another key", "vault", VAULT, "timed out", NULL, "2", false},
	{"no answer, and it never named one", "vault", VAULT, "timed out", NULL, NULL, false},
	{"well, with another key", "vault", VAULT, "ok", "2", "1", false},
	{"well, with none", "vault", VAULT, "ok", NULL, "1", false},
	{"no health", "vault", VAULT, NULL, NULL, NULL, false},
	{"another provider", "cloud", VAULT, "ok", "1", NULL, false},
	{"another plugin", "vault", "unix:///cloud.sock", "timed out", NULL, "1", false},
	{"nothing", NULL, NULL, NULL, NULL, NULL, false},
};

static void lacks(void **state)
{
	const __typeof__(lacking[0]) *row = *state;
	struct key_server_kms first = report("vault", VAULT, "ok", "1");
	struct key_server_kms last = report(row->provider, row->endpoint, row->healthz, row->key_id);
	last.last_key_id = (char *)(uintptr_t)row->last;
	const struct key_server_status well = {.kms = &first, .kms_count = 1},
				       b = {.kms = &last, .kms_count = row->provider != NULL};
	const struct kms_witness witnesses[] = {{"a", &well}, {"c", &well}, {"b", &b}};
	assert_int_equal(fleet_kms_lacks(witnesses, ELEMENTS(witnesses), "vault", VAULT, "1"), row->lacks);
	assert_false(fleet_kms_lacks(witnesses, ELEMENTS(witnesses), "vault", VAULT, ""));
	assert_false(fleet_kms_lacks(witnesses, ELEMENTS(witnesses), "vault", VAULT, NULL));
	assert_false(fleet_kms_lacks(witnesses, 0, "vault", VAULT, "1"));
}

static void test_nobody(void **state)
{
	const struct kms_witness silent = {"a", NULL};
	const char *key_id = NULL;
	(void)state;
	_cleanup_free_ char *none = fleet_kms_doubt(&silent, 0, "vault", VAULT, &key_id);
	assert_string_equal(none, "no agent has told what its plugin kms/vault says");
	_cleanup_free_ char *one = fleet_kms_doubt(&silent, 1, "vault", VAULT, &key_id);
	assert_string_equal(one, "the agent of a has not told what its plugin kms/vault says");
	assert_null(key_id);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_nobody)};
	return RUN_ROWS(come_to, rows) + RUN_ROWS(lacks, lacking) + cmocka_run_group_tests(tests, NULL, NULL);
}
