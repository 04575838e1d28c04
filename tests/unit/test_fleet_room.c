/* Whether etcd has room for a sweep, by what agents report of its members. */
#include "test_support.h"

#include "engine/fleet_room.h"

#define S UINT64_C(1000000000)
#define MIB (UINT64_C(1) << 20)
#define NOW (1000 * S)
#define FULL "etcd member m-1 (as the agent of cp-1 tells) at 85% of its quota, until it is compacted"
#define FILLS "etcd member m-1 (as the agent of cp-1 tells) fills so fast that the next report is waited for"
#define MAY_FILL "etcd member m-1 (as the agent of cp-1 tells) may fill before the next report, which is waited for"
#define SILENT "no agent tells how full etcd is (the one of cp-1 did before)"

static char *text(const char *words)
{
	return (char *)(uintptr_t)words;
}

/* All of them known. */
static struct fleet_bytes bytes(uint64_t count)
{
	return (struct fleet_bytes){count, count};
}

#define LATE 500 /* nobody knows yet how long ago it was told */

/* What the agents of cp-1 and cp-2 told of their members, of 100 MiB each, and how many seconds ago; 0: never. */
struct told {
	uint64_t ago;
	uint64_t size, in_use, grows; /* of m-1, in MiB */
	uint64_t second;              /* size of m-2 */
};
static const struct {
	const char *name;
	struct told cp_1, cp_2;
	const char *why;
	uint64_t wrote[3]; /* by the sweep, MiB: up to 10 s ago, 4 s ago, and now */
} rows[] = {
	{"room", {1, 50, 50, 0, 50}, {1, 50, 50, 0, 50}, NULL, {0}},
	{"nobody ever told", {.ago = 0}, {.ago = 0}, NULL, {0}},
	{"full", {1, 85, 85, 0, 50}, {1, 50, 50, 0, 50}, FULL, {0}},
	{"full, and the other agent is of an older version", {1, 85, 85, 0, 50}, {.ago = 0}, FULL, {0}},
	{"only the second agent tells, of the second member",
	 {.ago = 0},
	 {1, 50, 50, 0, 96},
	 "the file of etcd member m-2 (as the agent of cp-2 tells) takes 96% of its quota: defragment it",
	 {0}},
	{"compacted", {1, 85, 45, 0, 50}, {.ago = 0}, NULL, {0}},
	{"a member that did not answer says nothing", {1, 0, 0, 0, 50}, {.ago = 0}, NULL, {0}},
	{"it was full, and others say that it is not", {21, 85, 85, 0, 50}, {1, 50, 50, 0, 50}, NULL, {0}},
	{"one agent is silent, the other never told", {21, 50, 50, 0, 50}, {.ago = 0}, SILENT, {0}},
	{"both are silent",
	 {25, 50, 50, 0, 50},
	 {22, 50, 50, 0, 50},
	 "no agent tells how full etcd is (the one of cp-2 did before)",
	 {0}},
	{"just in time", {20, 50, 50, 0, 50}, {.ago = 0}, NULL, {0}},
	{"how old it is nobody knows yet", {LATE, 50, 50, 0, 50}, {.ago = 0}, SILENT, {0}},
	{"it fills", {5, 60, 60, 3, 50}, {.ago = 0}, NULL, {0}},
	{"so fast that it may be full", {5, 60, 60, 5, 50}, {.ago = 0}, FILLS, {0}},
	{"it fills the room within its file", {5, 60, 20, 5, 50}, {.ago = 0}, NULL, {0}},
	{"and beyond", {5, 60, 30, 5, 50}, {.ago = 0}, FILLS, {0}},
	{"it began to be filled after that", {5, 60, 60, 0, 50}, {.ago = 0}, NULL, {0, 0, 19}},
	{"and may be full", {5, 60, 60, 0, 50}, {.ago = 0}, MAY_FILL, {0, 0, 20}},
	{"what was written before shows", {3, 60, 60, 0, 50}, {.ago = 0}, NULL, {10, 30, 49}},
	{"what was written since then does not", {3, 60, 60, 0, 50}, {.ago = 0}, MAY_FILL, {10, 30, 50}},
	{"it grows by more than what is written", {5, 60, 60, 5, 50}, {.ago = 0}, FILLS, {0, 0, 1}},
	{"an old etcd does not tell what is in use", {1, 85, 0, 0, 50}, {.ago = 0}, FULL, {0}},
};

static void test_room(void **state)
{
	const __typeof__(rows[0]) *row = *state;
	static const char *const names[] = {"cp-1", "cp-2"};
	const struct told *told[] = {&row->cp_1, &row->cp_2};
	struct key_server servers[2];
	struct key_server_member members[2][2];
	struct fleet_server listed[2];
	for (size_t i = 0; i < 2; i++) {
		members[i][0] = (struct key_server_member){.name = text("m-1"),
							   .db_size = told[i]->size * MIB,
							   .db_size_in_use = told[i]->in_use * MIB,
							   .db_quota = 100 * MIB,
							   .db_grows = told[i]->grows * MIB};
		members[i][1] = (struct key_server_member){.name = text("m-2"),
							   .db_size = told[i]->second * MIB,
							   .db_size_in_use = told[i]->second * MIB,
							   .db_quota = 100 * MIB};
		servers[i] = (struct key_server){.meta.name = text(names[i]),
						 .status = {.members = members[i],
							    .member_count = told[i]->ago ? 2 : 0,
							    .etcd_size_age_milliseconds = told[i]->ago ? 1 : 0}};
		bool known = told[i]->ago && told[i]->ago != LATE;
		listed[i] = (struct fleet_server){.last = &servers[i], .sizes_at = known ? NOW - told[i]->ago * S : 0};
	}
	const struct fleet fleet = {.servers = listed, .count = 2};
	struct fleet_written written = {0};
	fleet_written_add(&written, bytes(row->wrote[0] * MIB), NOW - 10 * S);
	fleet_written_add(&written, bytes(row->wrote[1] * MIB), NOW - 4 * S);
	fleet_written_add(&written, bytes(row->wrote[2] * MIB), NOW);
	_cleanup_free_ char *why = fleet_room(&fleet, &written, NOW);
	if (row->why) {
		assert_non_null(why);
		assert_string_equal(why, row->why);
	} else {
		assert_null(why);
	}
	assert_int_equal(fleet_room_is_told(&fleet), row->cp_1.ago || row->cp_2.ago);
}

/* A point each half second, of more of them than are kept: what is asked for is never too little. */
static void test_written(void **state)
{
	struct fleet_written written = {0};
	(void)state;
	assert_int_equal(fleet_written_since(&written, 0).known, 0);
	for (uint64_t i = 0; i <= 1000; i++)
		fleet_written_add(&written, (struct fleet_bytes){i, 2 * i}, NOW + i * S / 10);
	assert_int_equal(fleet_written_since(&written, NOW).known, 1000); /* not known any more */
	assert_int_equal(fleet_written_since(&written, NOW + 90 * S).known, 100);
	assert_int_equal(fleet_written_since(&written, NOW + 90 * S).most, 200);
	assert_int_equal(fleet_written_since(&written, NOW + 80 * S + S / 5).known, 200);
	assert_int_equal(fleet_written_since(&written, NOW + 100 * S).known, 0);
	assert_int_equal(fleet_written_since(&written, NOW + 80 * S - 1).known, 205);
	assert_true(FLEET_WRITTEN_POINTS * S / 2 > FLEET_ROOM_SILENCE);
	/* The next sweep begins: what was written before it is not told yet. */
	fleet_written_begin(&written, NOW + 101 * S);
	fleet_written_add(&written, bytes(7), NOW + 102 * S);
	assert_int_equal(fleet_written_since(&written, NOW + 90 * S).known, 107);
	assert_int_equal(fleet_written_since(&written, NOW + 90 * S).most, 207);
	assert_int_equal(fleet_written_since(&written, NOW + 101 * S).known, 7);
	fleet_written_free(&written);
	assert_int_equal(fleet_written_since(&written, 0).known, 0);
}

/* One member of 100 MiB, told of 10 s ago (or not) and 3 s ago, beside a sweep: sizes of its file, what of them is in use, and
 * what was written until then and until now at most, in MiB. Half of that is known. */
static const struct {
	const char *name;
	uint64_t file[2], in_use[2], most[3];
	const char *why;
} growths[] = {
	{"told once: all that may have been written", {0, 50}, {0, 50}, {0, 30, 60}, MAY_FILL},
	{"told once, and there is room for that", {0, 50}, {0, 50}, {0, 30, 59}, NULL},
	{"it grew by less than that, but the next may be larger", {50, 60}, {50, 60}, {0, 64, 84}, MAY_FILL},
	{"it grew, and there is room", {50, 60}, {50, 60}, {0, 64, 83}, NULL},
	{"nothing of it is there", {79, 79}, {79, 79}, {0, 64, 114}, NULL},
	{"not enough was written to tell", {79, 79}, {79, 79}, {0, 63, 113}, MAY_FILL},
	{"its file has room for it", {90, 90}, {10, 15}, {0, 64, 84}, NULL},
	{"its file has, but it is half full by then", {90, 90}, {10, 35}, {0, 64, 84}, MAY_FILL},
	{"it was compacted meanwhile", {70, 70}, {60, 30}, {0, 40, 80}, MAY_FILL},
};

static void test_growth(void **state)
{
	const __typeof__(growths[0]) *row = *state;
	struct key_server_member member = {.name = text("m-1"), .db_quota = 100 * MIB};
	struct key_server server = {.meta.name = text("cp-1"),
				    .status = {.members = &member, .member_count = 1, .etcd_size_age_milliseconds = 1}};
	struct fleet_server listed = {.last = &server};
	const struct fleet fleet = {.servers = &listed, .count = 1};
	struct fleet_written written = {0};
	fleet_written_begin(&written, NOW - 12 * S);
	for (size_t i = 0; i < 2; i++) {
		uint64_t at = NOW - (i ? 3 : 10) * S;
		member.db_size = row->file[i] * MIB;
		member.db_size_in_use = row->in_use[i] * MIB;
		fleet_written_add(&written, (struct fleet_bytes){row->most[i] * MIB / 2, row->most[i] * MIB}, at);
		listed.sizes_at = at;
		for (int again = 0; again < 2; again++)
			fleet_written_see(&written, &fleet, at + S);
	}
	fleet_written_add(&written, (struct fleet_bytes){row->most[2] * MIB / 2, row->most[2] * MIB}, NOW);
	_cleanup_free_ char *why = fleet_room(&fleet, &written, NOW);
	fleet_written_free(&written);
	assert_true(text_equal(why, row->why));
}

/* What was told before it began, or too long ago to know what was written by then, shows nothing. */
static void test_growth_of_before(void **state)
{
	struct key_server_member member = {.name = text("m-1"), .db_size = MIB};
	struct key_server server = {.meta.name = text("cp-1"), .status = {.members = &member, .member_count = 1}};
	struct fleet_server listed = {.last = &server, .sizes_at = NOW};
	const struct fleet fleet = {.servers = &listed, .count = 1};
	struct fleet_written written = {0};
	(void)state;
	fleet_written_begin(&written, NOW);
	fleet_written_see(&written, &fleet, NOW);
	assert_int_equal(written.member_count, 0);
	listed.sizes_at = NOW + S;
	fleet_written_see(&written, &fleet, NOW + S + FLEET_ROOM_SILENCE + 1);
	assert_int_equal(written.member_count, 0);
	fleet_written_see(&written, &fleet, NOW + S + FLEET_ROOM_SILENCE);
	assert_int_equal(written.member_count, 1);
	fleet_written_begin(&written, NOW + 2 * S);
	assert_int_equal(written.member_count, 0);
	fleet_written_free(&written);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_written), cmocka_unit_test(test_growth_of_before)};
	return RUN_ROWS(test_room, rows) + RUN_ROWS(test_growth, growths) + cmocka_run_group_tests(tests, NULL, NULL);
}
