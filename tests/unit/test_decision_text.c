/* Decisions in words: waits say until when, by the clock on the wall; commands are exact whatever a key is called. */
#include "test_support.h"

#include "base/clock.h"
#include "engine/rotation.h"

#define S NS_PER_S
#define NOW (1000 * S)
#define WALL (UINT64_C(1795345380) * S) /* 2026-11-22T11:03:00Z */

static char name[] = "cp-1", hash[] = "sha256:78c2000000a1";

/* What a wait's words depend upon; times of the monotonic clock but reload_by. */
struct row {
	const char *name;
	enum reason reason;
	uint64_t reload_by, loaded_since, quiet_since, compaction;
	const char *text;
};
static const struct row rows[] = {
	{"not loaded, the reload is near", REASON_NOT_LOADED, WALL + 20 * S, 0, 0, 0,
	 "cp-1 has not loaded 78c2…a1 yet; next reload by 11:03:20Z"},
	{"not loaded, the reload is now", REASON_NOT_LOADED, WALL, 0, 0, 0,
	 "cp-1 has not loaded 78c2…a1 yet; next reload by 11:03:00Z"},
	{"not loaded, the reload is overdue", REASON_NOT_LOADED, WALL - 75 * S, 0, 0, 0,
	 "cp-1 has not loaded 78c2…a1 yet; its reload was due by 11:01:45Z (see that the file's folder is mounted, "
	 "not the file alone; a restart loads it, too)"},
	{"down", REASON_SERVER_DOWN, 0, 0, 0, 0,
	 "cp-1 does not answer; bring it back, or forget it if it is gone for good (kube-rekey forget cp-1 --yes)"},
	{"two versions", REASON_VERSIONS_DIFFER, 0, 0, 0, 0,
	 "cp-1: servers of different versions run (finish the upgrade, or take it back)"},
	{"not loaded, nobody knows when", REASON_NOT_LOADED, 0, 0, 0, 0, "cp-1 has not loaded 78c2…a1 yet"},
	{"settling since the quiet began", REASON_SETTLING, 0, NOW - 20 * S, NOW - 10 * S, 0,
	 "1 min without silence of a server or an etcd member; 50 s left, until 11:03:50Z"},
	{"settling since it was loaded", REASON_SETTLING, 0, NOW - 20 * S, NOW - 90 * S, 0,
	 "1 min without silence of a server or an etcd member; 40 s left, until 11:03:40Z"},
	{"settled, not looked at yet", REASON_SETTLING, 0, NOW - 90 * S, NOW - 90 * S, 0,
	 "1 min without silence of a server or an etcd member; 0 s left, until 11:02:30Z"},
	{"settling that has no beginning", REASON_SETTLING, 0, NOW - 20 * S, 0, 0,
	 "1 min of settling begin when every member and server answers"},
	{"history, over midnight", REASON_HISTORY, 0, 0, 0, NOW + 13 * 3600 * S,
	 "etcd still serves revisions that need the leaving key; the server compacts by 00:03:00Z, within 13 h "
	 "(--compact: now)"},
	{"history, any moment now", REASON_HISTORY, 0, 0, 0, NOW - S,
	 "etcd still serves revisions that need the leaving key; the server compacts by 11:02:59Z, within 0 s "
	 "(--compact: now)"},
};

static void test_waits_say_until_when(void **state)
{
	const struct row *row = *state;
	struct server_observation server = {.name = name, .file_hash = hash, .loaded_since = row->loaded_since};
	struct observation seen = {.servers = &server,
				   .server_count = 1,
				   .quiet_since = row->quiet_since,
				   .settle_time = 60 * S,
				   .census = {.compaction_expected = row->compaction}};
	const struct decision d = {.action = ACTION_WAIT, .reason = row->reason, .member = -1, .group = -1};
	const struct decision_clock clock = {.now = NOW, .wall = WALL, .reload_by = row->reload_by};
	_cleanup_free_ char *text = decision_text(&d, NULL, &seen, &clock);
	assert_string_equal(text, row->text);
}

struct command_row {
	const char *name, *path, *command;
};
static const struct command_row commands[] = {
	{"an ordinary key", "/registry/things/default/one", "etcdctl del '/registry/things/default/one'"},
	{"what a shell would expand", "/a/$HOME `id` \"*\"", "etcdctl del '/a/$HOME `id` \"*\"'"},
	{"a quote", "/a/it's", "etcdctl del $'/a/it\\x27s'"},
	{"a backslash", "/a\\n", "etcdctl del $'/a\\x5cn'"},
	{"what would steer a terminal", "/a/\033[2J\n", "etcdctl del $'/a/\\x1b[2J\\x0a'"},
	{"more than ASCII", "/a/\xc3\xa9", "etcdctl del $'/a/\\xc3\\xa9'"},
};

static void test_commands_are_exact(void **state)
{
	const struct command_row *row = *state;
	_cleanup_free_ char *command = decision_etcdctl_del(row->path);
	assert_string_equal(command, row->command);
}

/* Settling begins again; where all is settled, only the step waits. */
static void test_a_silent_member(void **state)
{
	static char member_name[] = "m3", why[] = "from cp-2: refused";
	struct member_observation member = {.name = member_name, .why = why};
	const struct observation seen = {.members = &member, .member_count = 1};
	struct decision d = {
		.action = ACTION_WAIT, .phase = PHASE_SETTLE, .reason = REASON_MEMBER_SILENT, .server = -1};
	const struct decision_clock clock = {.now = NOW, .wall = WALL};
	(void)state;
	_cleanup_free_ char *settling = decision_text(&d, NULL, &seen, &clock);
	assert_string_equal(settling,
			    "etcd member m3 does not answer (from cp-2: refused); settling begins again when it does");
	member.why = NULL;
	d.phase = PHASE_DROP_OLD_KEY;
	_cleanup_free_ char *settled = decision_text(&d, NULL, &seen, &clock);
	assert_string_equal(settled, "etcd member m3 does not answer (no answer within 5 s); it goes on when it does");
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_a_silent_member)};
	return RUN_ROWS(test_waits_say_until_when, rows) + RUN_ROWS(test_commands_are_exact, commands) +
	       cmocka_run_group_tests(tests, NULL, NULL);
}
