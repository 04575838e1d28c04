#include "test_support.h"
#include "engine/api_keys.h"

#define KEY(hash)                                                 \
	{                                                         \
		(char *)"kms", (char *)"vault", (char *)(hash), 0 \
	}
static const struct storage_key one = KEY("sha256:1"), two = KEY("sha256:2");

/* --- reads --- */

static const struct {
	const char *name;
	uint64_t asked, right, wrong;
	bool adds_up;
	uint64_t min, max;
} reads[] = {
	{"all under it", 10, 10, 0, true, 0, 0},
	{"all under it, and others read as well", 10, 25, 0, true, 0, 0},
	{"none under it", 10, 0, 10, true, 10, 10},
	{"three are not", 10, 7, 3, true, 3, 3},
	{"three, of ours or of others'", 10, 17, 3, true, 0, 3},
	{"at least two of ours", 10, 8, 30, true, 2, 10},
	{"more counted than asked, none under it", 10, 0, 30, true, 10, 10},
	{"fewer counted than asked: something else answered", 10, 9, 0, false, 1, 0},
	{"nothing asked", 0, 0, 4, true, 0, 0},
};

static void test_reads(void **state)
{
	(void)state;
	for (size_t i = 0; i < ELEMENTS(reads); i++) {
		struct storage_keys keys = {0};
		uint64_t min, max;
		if (reads[i].right)
			storage_keys_add(&keys, &one, reads[i].right);
		if (reads[i].wrong)
			storage_keys_add(&keys, &two, reads[i].wrong);
		bool adds_up = api_reads_judge(reads[i].asked, &keys, &one, &min, &max);
		if (adds_up != reads[i].adds_up || min != reads[i].min || max != reads[i].max)
			fail_msg("%s: %d %llu %llu", reads[i].name, adds_up, (unsigned long long)min,
				 (unsigned long long)max);
		storage_keys_free(&keys);
	}
}

/* --- write keys --- */

#define VAULT "k8s:enc:kms:v2:vault:"

static void server(struct api_server *ret, const char *name, bool wrote, const char *hash)
{
	*ret = (struct api_server){.name = xstrdup(name), .id_hash = xstrdup(name), .live = true, .reached = true};
	ret->metrics.uses = xcalloc(1, sizeof(*ret->metrics.uses));
	ret->metrics.use_count = 1;
	ret->metrics.uses[0] = (struct storage_use){xstrdup("secrets"), xstrdup(VAULT), 1, wrote};
	ret->metrics.key_ids = xcalloc(1, sizeof(*ret->metrics.key_ids));
	ret->metrics.key_id_count = 1;
	ret->metrics.key_ids[0] = (struct storage_key_id){xstrdup("vault"), xstrdup(hash), 1, wrote, wrote ? 5 : 0, 4};
}

/* "KEY; differs; moving; who is not proved" */
static char *said(const struct api_servers *s)
{
	struct api_write_key key;
	api_write_key_of(s, "secrets", &key);
	_cleanup_free_ char *who = strings_join(&key.unproved, ", ");
	char *text = xasprintf("%s%s%s; %s", key.known ? key.key.hash : "-", key.differs ? " differs" : "",
			       key.moving ? " moving" : "", who);
	api_write_key_free(&key);
	return text;
}

static void expect(const struct api_servers *s, const char *wanted)
{
	_cleanup_free_ char *text = said(s);
	assert_string_equal(text, wanted);
}

static void test_write_key(void **state)
{
	(void)state;
	struct api_servers s = {.servers = xcalloc(2, sizeof(struct api_server)), .server_count = 2};
	server(&s.servers[0], "a", true, one.hash);
	server(&s.servers[1], "b", true, one.hash);
	expect(&s, "sha256:1; ");
	/* Idle since its start: it began with the one key that the KMS has named. */
	s.servers[1].metrics.uses[0].written = 0;
	s.servers[1].metrics.key_ids[0].written_last = 0;
	expect(&s, "sha256:1; ");
	/* It was never named a key by its KMS. */
	s.servers[1].metrics.key_ids[0].named_last = 0;
	expect(&s, "sha256:1; b was not seen to write any");
	/* A canary of ours says more than its counters. */
	storage_keys_add(&s.servers[1].canaries[0], &two, 1);
	expect(&s, "- differs; ");
	storage_keys_free(&s.servers[1].canaries[0]);
	/* One that is alive and was not met. */
	s.servers[1].reached = false;
	expect(&s, "sha256:1; b was not reached");
	s.servers[1].live = false;
	expect(&s, "sha256:1; ");
	/* How many there are is not known. */
	s.leases_why = xstrdup("403");
	expect(&s, "sha256:1; there may be more of them: 403");
	free(steal(s.leases_why));
	/* What was written before a reload says nothing of what is written after it. */
	s.servers[0].reloaded = 5;
	expect(&s, "-; a reloaded its configuration since it was last seen to write");
	s.servers[0].reloaded = 4;
	expect(&s, "sha256:1; ");
	/* Nor does what its KMS names. */
	s.servers[0].metrics.key_ids[0].written_last = 0;
	expect(&s, "-; a reloaded its configuration since it was last seen to write");
	/* A canary is of now. */
	storage_keys_add(&s.servers[0].canaries[0], &one, 1);
	expect(&s, "sha256:1; ");
	storage_keys_free(&s.servers[0].canaries[0]);
	s.servers[0].reloaded = 0;
	s.servers[0].metrics.key_ids[0].written_last = 5;
	/* Named a later key than it wrote with. */
	s.servers[0].metrics.key_ids = xreallocarray(s.servers[0].metrics.key_ids, 2, sizeof(struct storage_key_id));
	s.servers[0].metrics.key_ids[s.servers[0].metrics.key_id_count++] =
		(struct storage_key_id){xstrdup("vault"), xstrdup(two.hash), 0, 0, 0, 9};
	expect(&s, "sha256:2 moving; a was last seen to write with a key that the KMS has replaced");
	storage_keys_add(&s.servers[0].canaries[0], &one, 1);
	expect(&s, "sha256:2 moving; a writes with a key that the KMS has replaced");
	/* The key of the canary is named again: in between it may have adopted the other one, and written with that. */
	s.servers[0].metrics.key_ids[0].named_last = 12;
	expect(&s, "sha256:1 moving; a writes with a key that the KMS has replaced");
	s.servers[0].metrics.key_ids[1].written_last = 10;
	expect(&s, "sha256:1 moving; a writes with a key that the KMS has replaced");
	s.servers[0].metrics.key_ids[0].written_last = 13;
	expect(&s, "sha256:1; ");
	api_servers_free(&s);
}

/* A local key, which counters keep no time of. */
static void test_reloaded_local(void **state)
{
	(void)state;
	struct api_servers s = {.servers = xcalloc(1, sizeof(struct api_server)), .server_count = 1};
	struct storage_metrics *metrics = &s.servers[0].metrics;
	s.servers[0].name = xstrdup("a");
	s.servers[0].reached = true;
	metrics->uses = xcalloc(2, sizeof(*metrics->uses));
	metrics->use_count = 2;
	metrics->uses[0] = (struct storage_use){xstrdup("secrets"), xstrdup("k8s:enc:aescbc:v1:"), 1, 1};
	metrics->uses[1] = (struct storage_use){xstrdup("secrets"), xstrdup("key1:"), 1, 1};
	expect(&s, "; ");
	s.servers[0].reloaded = 1;
	expect(&s, "-; a reloaded its configuration since it was last seen to write");
	api_servers_free(&s);
}

/* --- Leases --- */

#define S UINT64_C(1000000000)
#define STILL (API_LEASE_STILL / S)

/* Looks, in seconds: each at the Lease with this version and renewTime, the newest of all being `newest`. */
static const struct {
	const char *name;
	struct {
		uint64_t at, version, renewed, newest;
	} looks[3];
	size_t count;
	bool live, doubtful;
} leases[] = {
	{"renewed lately", {{100, 1, 500, 505}}, 1, true, false},
	{"old at first sight: perhaps by its clock alone", {{100, 1, 400, 500}}, 1, false, true},
	{"old, and renewed while we look", {{100, 1, 400, 500}, {110, 2, 410, 510}}, 2, true, false},
	{"renewed while we look, and not in this moment",
	 {{100, 1, 400, 500}, {110, 2, 410, 510}, {111, 2, 410, 511}},
	 3,
	 true,
	 false},
	{"old, and not watched long enough", {{100, 1, 400, 500}, {100 + STILL - 1, 1, 400, 520}}, 2, false, true},
	{"old, and nobody renews it", {{100, 1, 400, 500}, {100 + STILL, 1, 400, 520}}, 2, false, false},
	{"renewed once, and long ago", {{100, 1, 400, 500}, {110, 2, 410, 510}, {170, 2, 410, 571}}, 3, false, false},
};

static void test_leases(void **state)
{
	(void)state;
	for (size_t i = 0; i < ELEMENTS(leases); i++) {
		struct api_server one_server = {0};
		struct api_servers s = {.servers = &one_server, .server_count = 1};
		for (size_t k = 0; k < leases[i].count; k++) {
			struct kube_identity lease = {.resource_version = leases[i].looks[k].version,
						      .renewed_wall = leases[i].looks[k].renewed * S};
			uint64_t at = leases[i].looks[k].at * S;
			api_server_take_lease(&one_server, &lease, leases[i].looks[k].newest * S, at, at);
		}
		if (one_server.live != leases[i].live || api_servers_doubtful(&s) != leases[i].doubtful)
			fail_msg("%s: %d %d", leases[i].name, one_server.live, api_servers_doubtful(&s));
		/* One that was reached shows by itself what it does. */
		one_server.reached = true;
		assert_false(api_servers_doubtful(&s));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_reads), cmocka_unit_test(test_write_key),
					   cmocka_unit_test(test_reloaded_local), cmocka_unit_test(test_leases)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
