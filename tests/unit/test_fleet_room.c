/* Whether etcd has room for a sweep, by what agents report of its members. */
#include "test_support.h"

#include "engine/fleet_room.h"

#define S UINT64_C(1000000000)
#define MIB (UINT64_C(1) << 20)
#define NOW (1000 * S)
#define FULL "etcd member m-1 (as the agent of cp-1 tells) at 85% of its quota, until it is compacted"
#define SILENT "no agent tells how full etcd is (the one of cp-1 did before)"

static char *text(const char *words)
{
	return (char *)(uintptr_t)words;
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
} rows[] = {
	{"room", {1, 50, 50, 0, 50}, {1, 50, 50, 0, 50}, NULL},
	{"nobody ever told", {.ago = 0}, {.ago = 0}, NULL},
	{"full", {1, 85, 85, 0, 50}, {1, 50, 50, 0, 50}, FULL},
	{"full, and the other agent is of an older version", {1, 85, 85, 0, 50}, {.ago = 0}, FULL},
	{"only the second agent tells, of the second member",
	 {.ago = 0},
	 {1, 50, 50, 0, 96},
	 "the file of etcd member m-2 (as the agent of cp-2 tells) takes 96% of its quota: defragment it"},
	{"compacted", {1, 85, 45, 0, 50}, {.ago = 0}, NULL},
	{"a member that did not answer says nothing", {1, 0, 0, 0, 50}, {.ago = 0}, NULL},
	{"it was full, and others say that it is not", {21, 85, 85, 0, 50}, {1, 50, 50, 0, 50}, NULL},
	{"one agent is silent, the other never told", {21, 50, 50, 0, 50}, {.ago = 0}, SILENT},
	{"both are silent",
	 {25, 50, 50, 0, 50},
	 {22, 50, 50, 0, 50},
	 "no agent tells how full etcd is (the one of cp-2 did before)"},
	{"just in time", {20, 50, 50, 0, 50}, {.ago = 0}, NULL},
	{"how old it is nobody knows yet", {LATE, 50, 50, 0, 50}, {.ago = 0}, SILENT},
	{"it fills", {5, 60, 60, 3, 50}, {.ago = 0}, NULL},
	{"so fast that it may be full",
	 {5, 60, 60, 5, 50},
	 {.ago = 0},
	 "etcd member m-1 (as the agent of cp-1 tells) fills so fast that the next report is waited for"},
	{"it fills the room within its file", {5, 60, 20, 5, 50}, {.ago = 0}, NULL},
	{"and beyond",
	 {5, 60, 30, 5, 50},
	 {.ago = 0},
	 "etcd member m-1 (as the agent of cp-1 tells) fills so fast that the next report is waited for"},
	{"an old etcd does not tell what is in use", {1, 85, 0, 0, 50}, {.ago = 0}, FULL},
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
	_cleanup_free_ char *why = fleet_room(&fleet, NOW);
	if (row->why) {
		assert_non_null(why);
		assert_string_equal(why, row->why);
	} else {
		assert_null(why);
	}
	assert_int_equal(fleet_room_is_told(&fleet), row->cp_1.ago || row->cp_2.ago);
}

int main(void)
{
	return RUN_ROWS(test_room, rows);
}
