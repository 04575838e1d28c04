/* The peers of an agent by table: three servers a, b and c, of which a is the agent's own, all with Leases and reports;
 * every row says what is different. */
#include "test_support.h"

#include "engine/agent_peers.h"

#define S UINT64_C(1000000000)
#define NOW (1000 * S)

struct scene {
	struct key_rotation_server set[4];
	struct kube_identity leases[4];
	struct fleet_server reports[4];
	struct key_server servers[4];
	struct object_key keys[4];
	struct key_rotation_status rotation;
	struct kube_identities identities;
	struct fleet fleet;
	struct agent_peers in;
	struct kms_look own_plugin;
	const struct kms_look *own_plugins[1];
	struct key_server_kms b_reports[2];
};
typedef void change(struct scene *scene);

static char *text(const char *words)
{
	return (char *)(uintptr_t)words;
}

static void goes_well(struct scene *s)
{
	static const char *const names[] = {"a", "b", "c", "d"}, *const leases[] = {"la", "lb", "lc", "ld"};
	*s = (struct scene){0};
	for (size_t i = 0; i < 4; i++) {
		s->set[i] = (struct key_rotation_server){.name = text(names[i]), .identity = text(leases[i])};
		s->leases[i] = (struct kube_identity){.lease_name = text(leases[i]), .hostname = text(names[i])};
		s->keys[i] = (struct object_key){
			.provider = text("aescbc"), .name = text("k"), .fingerprint = text("0123456789ab")};
		s->servers[i] = (struct key_server){.meta.name = text(names[i]),
						    .status = {.answering = true,
							       .beat = 7,
							       .incarnation = text("i"),
							       .rotation = text("r1"),
							       .path_of = text("r1"),
							       .epoch = 5,
							       .trust_key = text("t"),
							       .quiet_milliseconds = 90000,
							       .keys = &s->keys[i],
							       .key_count = 1}};
		s->reports[i] = (struct fleet_server){.last = &s->servers[i],
						      .looked_at = NOW - 2 * S,
						      .landed_after = NOW - 3 * S,
						      .beat_read_at = NOW - S};
	}
	s->rotation = (struct key_rotation_status){.servers = s->set, .server_count = 3};
	s->identities = (struct kube_identities){.items = s->leases, .count = 3};
	s->fleet = (struct fleet){.servers = s->reports, .count = 3};
	s->in = (struct agent_peers){.name = "a",
				     .rotation = &s->rotation,
				     .uid = "r1",
				     .fleet = &s->fleet,
				     .own = &s->servers[0].status,
				     .trust_key = "t",
				     .identities = &s->identities,
				     .now = NOW};
}

#define CHANGE(name, ...)                 \
	static void name(struct scene *s) \
	{                                 \
		__VA_ARGS__;              \
	}
CHANGE(leases_not_known, s->in.identities = NULL)
CHANGE(no_lease, s->identities.count = 0)
CHANGE(c_has_no_lease, s->identities.count = 2)
CHANGE(c_is_forgotten, s->set[2].forgotten = true)
CHANGE(a_is_forgotten, s->set[0].forgotten = true)
CHANGE(c_is_not_in_the_set, s->rotation.server_count = 2)
CHANGE(a_is_not_in_the_set, s->set[0].name = text("z"))
CHANGE(d_has_a_lease, s->identities.count = 4)
CHANGE(d_reports, s->fleet.count = 4)
CHANGE(d_is_in_the_set, s->rotation.server_count = 4)
CHANGE(c_does_not_report, s->fleet.count = 2)
CHANGE(c_has_never_reported, s->servers[2].status.beat = 0)
CHANGE(c_reported_10_s_ago, s->reports[2].beat_read_at = NOW - 10 * S)
CHANGE(c_reported_longer_ago, s->reports[2].beat_read_at = NOW - 10 * S - 1)
CHANGE(the_age_of_its_look_is_not_known, s->reports[2].looked_at = 0)
CHANGE(c_has_another_lease, s->set[2].identity = text("lx"))
CHANGE(c_has_no_identity, s->set[2].identity = NULL)
CHANGE(the_lease_of_c_is_said_to_be_of_b, s->set[1].identity = text("lc"))
CHANGE(d_is_said_to_have_the_lease_of_c, s->set[3].identity = text("lc"))
CHANGE(leases_without_hostnames, s->leases[2].hostname = text(""))
CHANGE(c_is_named_by_its_lease, s->set[2].name = s->servers[2].meta.name = text("lc"))

struct row {
	const char *name;
	change *but[4];
	enum fact want;
	size_t peers;
};
/* clang-format off */ /* it would put each field on a line of its own */
static const struct row rows[] = {
	{"all is well", {0}, FACT_KNOWN, 2},
	{"c is down, its Lease is gone", {c_has_no_lease, c_reported_longer_ago}, FACT_KNOWN, 2},
	{"its KeyServer was deleted", {c_has_no_lease, c_does_not_report}, FACT_KNOWN, 2},
	{"the Leases are not known", {leases_not_known}, FACT_UNKNOWN, 2},
	{"there is no Lease at all", {no_lease}, FACT_UNKNOWN, 2},
	{"the set lacks this server", {a_is_not_in_the_set}, FACT_UNKNOWN, 3},
	{"this server is forgotten", {a_is_forgotten}, FACT_UNKNOWN, 2},
	/* Forgotten, and there all the same. */
	{"forgotten and gone", {c_is_forgotten, c_has_no_lease, c_reported_longer_ago}, FACT_KNOWN, 1},
	{"forgotten, never reported", {c_is_forgotten, c_has_no_lease, c_has_never_reported}, FACT_KNOWN, 1},
	{"forgotten, its KeyServer deleted", {c_is_forgotten, c_has_no_lease, c_does_not_report}, FACT_KNOWN, 1},
	{"forgotten, with Lease and reports", {c_is_forgotten}, FACT_UNKNOWN, 1},
	{"forgotten, with a Lease", {c_is_forgotten, c_reported_longer_ago}, FACT_UNKNOWN, 1},
	{"forgotten, it reports", {c_is_forgotten, c_has_no_lease}, FACT_UNKNOWN, 1},
	{"forgotten, it reported 10 s ago", {c_is_forgotten, c_has_no_lease, c_reported_10_s_ago}, FACT_UNKNOWN, 1},
	{"forgotten, a report of unknown age", {c_is_forgotten, c_has_no_lease, the_age_of_its_look_is_not_known}, FACT_UNKNOWN, 1},
	{"forgotten, another one is said to have its Lease", {c_is_forgotten, c_reported_longer_ago, d_is_in_the_set, d_is_said_to_have_the_lease_of_c}, FACT_UNKNOWN, 2},
	/* The set against Leases and reports. */
	{"a server is missing in the set", {c_is_not_in_the_set}, FACT_UNKNOWN, 1},
	{"a server is missing in the set, it has a Lease", {c_is_not_in_the_set, c_does_not_report}, FACT_UNKNOWN, 1},
	{"a server is missing in the set, it reports", {c_is_not_in_the_set, c_has_no_lease}, FACT_UNKNOWN, 1},
	{"a new server has a Lease", {d_has_a_lease}, FACT_UNKNOWN, 2},
	{"a new server reports", {d_reports}, FACT_UNKNOWN, 2},
	{"a new server is in the set", {d_has_a_lease, d_is_in_the_set}, FACT_KNOWN, 3},
	{"another Lease than the set says", {c_has_another_lease}, FACT_UNKNOWN, 2},
	{"the set says no Lease", {c_has_no_identity}, FACT_UNKNOWN, 2},
	{"two servers are said to have one Lease", {the_lease_of_c_is_said_to_be_of_b}, FACT_UNKNOWN, 2},
	{"Leases without a hostname are names", {leases_without_hostnames}, FACT_UNKNOWN, 2},
	{"Leases without a hostname are names, in the set too", {leases_without_hostnames, c_is_named_by_its_lease}, FACT_KNOWN, 2},
};
/* clang-format on */

static void finds(void **state)
{
	const struct row *row = *state;
	struct scene scene;
	struct peer_sight peers[4];
	size_t count = 0;
	goes_well(&scene);
	for (size_t i = 0; i < 4 && row->but[i]; i++)
		row->but[i](&scene);
	assert_int_equal(agent_find_peers(&scene.in, peers, &count), row->want);
	for (size_t i = 0; i < count; i++)
		server_observation_free(&peers[i].seen);
	assert_int_equal(count, row->peers);
}

/* Of b, when a looks. */
static bool keys_are_the_same(change *but)
{
	struct scene scene;
	struct peer_sight peers[4];
	size_t count = 0;
	goes_well(&scene);
	if (but)
		but(&scene);
	agent_find_peers(&scene.in, peers, &count);
	bool same = peers[0].same_keys;
	for (size_t i = 0; i < count; i++)
		server_observation_free(&peers[i].seen);
	return same;
}

CHANGE(other_bytes, s->keys[1].fingerprint = text("ffffffffffff"))
CHANGE(another_name, s->keys[1].fingerprint = text("ffffffffffff"); s->keys[1].name = text("m"))
CHANGE(another_kind, s->keys[1].fingerprint = text("ffffffffffff"); s->keys[1].provider = text("secretbox"))
CHANGE(another_trust_key, s->servers[1].status.trust_key = text("u"))
CHANGE(no_own_report, s->in.own = NULL)

static void keys_of_one_name_must_be_one(void **state)
{
	(void)state;
	assert_true(keys_are_the_same(NULL));
	assert_true(keys_are_the_same(another_name));
	assert_true(keys_are_the_same(another_kind));
	assert_false(keys_are_the_same(other_bytes));
	assert_false(keys_are_the_same(another_trust_key));
	assert_false(keys_are_the_same(no_own_report));
}

/* Both have a plugin that the rotation brings, and b another one, too. */
static void have_plugins(struct scene *s)
{
	s->own_plugins[0] = &s->own_plugin;
	s->own_plugin =
		(struct kms_look){.name = text("v"), .endpoint = text("unix:///v"), .status = {.key_id = text("1")}};
	s->b_reports[0] = (struct key_server_kms){
		.name = text("w"), .endpoint = text("unix:///w"), .healthz = text("ok"), .key_id = text("9")};
	s->b_reports[1] = (struct key_server_kms){
		.name = text("v"), .endpoint = text("unix:///v"), .healthz = text("ok"), .key_id = text("1")};
	s->servers[1].status.kms = s->b_reports;
	s->servers[1].status.kms_count = 2;
	s->in.plugins = s->own_plugins;
	s->in.plugin_count = 1;
}
CHANGE(b_has_another_key, s->b_reports[1].key_id = text("2"))
CHANGE(b_has_another_socket, s->b_reports[1].endpoint = text("unix:///x"))
CHANGE(b_is_not_well, s->b_reports[1].healthz = text("sealed"))
CHANGE(b_has_not_told, s->servers[1].status.kms_count = 1)
CHANGE(a_is_not_well, s->own_plugin.flaw = text("sealed"))
CHANGE(b_told_10_s_ago, s->reports[1].looked_at = NOW - 10 * S)
CHANGE(b_told_longer_ago, s->reports[1].looked_at = NOW - 10 * S - 1)
CHANGE(when_b_told_is_not_known, s->reports[1].looked_at = 0)
CHANGE(b_never_told, s->reports[1].last = &s->servers[3])
CHANGE(none_is_brought, s->in.plugin_count = 0; s->b_reports[1].key_id = text("2"))

static bool plugins_are_the_same(change *but)
{
	struct scene scene;
	struct peer_sight peers[4];
	size_t count = 0;
	goes_well(&scene);
	have_plugins(&scene);
	if (but)
		but(&scene);
	agent_find_peers(&scene.in, peers, &count);
	bool same = peers[0].same_plugins;
	for (size_t i = 0; i < count; i++)
		server_observation_free(&peers[i].seen);
	return same;
}

static void plugins_must_name_one_key(void **state)
{
	(void)state;
	assert_true(plugins_are_the_same(NULL));
	assert_true(plugins_are_the_same(b_told_10_s_ago));
	assert_true(plugins_are_the_same(none_is_brought));
	assert_false(plugins_are_the_same(b_has_another_key));
	assert_false(plugins_are_the_same(b_has_another_socket));
	assert_false(plugins_are_the_same(b_is_not_well));
	assert_false(plugins_are_the_same(b_has_not_told));
	assert_false(plugins_are_the_same(a_is_not_well));
	assert_false(plugins_are_the_same(b_told_longer_ago));
	assert_false(plugins_are_the_same(when_b_told_is_not_known));
	assert_false(plugins_are_the_same(b_never_told));
}

CHANGE(b_told_of_silence, s->servers[1].status.quiet_milliseconds = 0)
CHANGE(b_told_nonsense, s->servers[1].status.quiet_milliseconds = UINT64_MAX)

/* Of b: as its report says it, and after the list that did not have that yet; nothing of an old report. */
static void silence_is_as_others_report_it(void **state)
{
	static const struct {
		change *but;
		uint64_t quiet_for, reported_after;
	} told[] = {
		{NULL, 90 * S, NOW - 3 * S},         {b_told_10_s_ago, 90 * S, NOW - 3 * S},
		{b_told_of_silence, 0, NOW - 3 * S}, {b_told_nonsense, 0, NOW - 3 * S},
		{b_told_longer_ago, 0, 0},           {when_b_told_is_not_known, 0, 0},
	};
	(void)state;
	for (size_t i = 0; i < ELEMENTS(told); i++) {
		struct scene scene;
		struct peer_sight peers[4];
		size_t count = 0;
		goes_well(&scene);
		if (told[i].but)
			told[i].but(&scene);
		agent_find_peers(&scene.in, peers, &count);
		assert_int_equal(peers[0].quiet_for, told[i].quiet_for);
		assert_int_equal(peers[0].reported_after, told[i].reported_after);
		for (size_t p = 0; p < count; p++)
			server_observation_free(&peers[p].seen);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {cmocka_unit_test(keys_of_one_name_must_be_one),
						  cmocka_unit_test(plugins_must_name_one_key),
						  cmocka_unit_test(silence_is_as_others_report_it)};
	int failed = RUN_ROWS(finds, rows) + cmocka_run_group_tests(tests, NULL, NULL);
	return failed ? 1 : 0;
}
