/* What an agent makes of an order, and what a leader sends, by table. Every row begins with an order that is right and
 * says in what its situation differs from that; the whole verdict is compared. */
#include "test_support.h"

#include <stdio.h>

#include "kube-rekey/order.h"
#include "shape_support.h"

#define S UINT64_C(1000000000)
#define NOW (100000 * S)
#define PEERS 2

enum route {
	KEY,
	TURN_ON,
	DROP_READ_KEY,
	OTHER_READ_KEY,
	TO_KMS,
	FOLLOWING,
	STAYING,
	SKIPPING,
	DROPPING_TWICE,
	ROUTES
};
static const char *const routes[ROUTES][3] = {
	[KEY] = {"secrets=a", "secrets=b"},                               /* a | a,b | b,a | b */
	[TURN_ON] = {"secrets=-", "secrets=k,-"},                         /* - | -,k | k,- */
	[DROP_READ_KEY] = {"secrets=a,c", "secrets=a"},                   /* one step */
	[OTHER_READ_KEY] = {"secrets=a,c", "secrets=a,b"},                /* a,c | a,b,c | a,b */
	[SKIPPING] = {"secrets=a", "secrets=b,a"},                        /* by hand: against rule 2 */
	[DROPPING_TWICE] = {"secrets=a,b,c", "secrets=a,b", "secrets=a"}, /* by hand, too */
	[TO_KMS] = {"secrets=a", "secrets=kms:v"},                        /* a | a,v | v,a | v */
	[FOLLOWING] = {"secrets=kms:v@2,a", "secrets=kms:v@2,a"},         /* no step either */
	[STAYING] = {"secrets=a", "secrets=a"}, /* as it is where it was given up before any step */
};

/* What a situation is made of; the pointers lead here. */
struct scene {
	struct order order;
	struct agent_state state;
	struct agent_sight sight;
	struct server_observation own;
	struct peer_sight peers[PEERS];
	struct census_observation census;
	struct census_group groups[2];
	bool keys[4];
};

typedef void change(struct scene *scene);
#define CHANGES_MAX 6

static char *text(const char *words)
{
	return (char *)(uintptr_t)words;
}

static const char *const hashes[] = {"h0", "h1", "h2", "h3"};

static void server_goes_well(struct server_observation *server, int at)
{
	*server = (struct server_observation){.name = text("cp"),
					      .looked_at = NOW - S,
					      .answering = true,
					      .file = FACT_KNOWN,
					      .file_step = at,
					      .file_hash = text(hashes[at]),
					      .file_ours = true,
					      .written_step = at,
					      .loaded = FACT_KNOWN,
					      .loaded_step = at,
					      .loaded_hash = text(hashes[at]),
					      .loaded_is_file = true,
					      .process = 7,
					      .loaded_since = NOW - 1000 * S,
					      .writes_since = NOW - 1000 * S,
					      .reloads_itself = true};
}

/* All servers run step `at`, and the order is to take the next one; at the end of the key rotation, to retire. */
static void goes_well(struct scene *s, int at)
{
	*s = (struct scene){.keys = {true, true, true, true}};
	s->order = (struct order){.rotation = "r1",
				  .epoch = 5,
				  .sequence = 4,
				  .incarnation = "i1",
				  .action = at == 3 ? ORDER_RETIRE : ORDER_WRITE_STEP,
				  .from_step = at,
				  .to_step = at == 3 ? 3 : at + 1,
				  .expect_hash = hashes[at],
				  .beat = 9,
				  .good_for = 40 * S};
	s->state = (struct agent_state){
		.incarnation = "i1", .rotation = "r1", .epoch = 5, .sequence = 3, .written_step = at};
	server_goes_well(&s->own, at);
	for (size_t i = 0; i < PEERS; i++) {
		s->peers[i] = (struct peer_sight){.rotation = "r1",
						  .epoch = 5,
						  .same_keys = true,
						  .same_plugins = true,
						  .quiet_for = 1000 * S,
						  .reported_after = NOW - 2 * S};
		server_goes_well(&s->peers[i].seen, at);
	}
	s->census = (struct census_observation){.begun = NOW - 40 * S,
						.finished = NOW - 30 * S,
						.complete = true,
						.groups = s->groups,
						.compacted = true};
	s->sight = (struct agent_sight){.own = &s->own,
					.path_of = "r1",
					.has_keys = s->keys,
					.plugins_well = true,
					.read_at = NOW - S,
					.beat_at = NOW - 5 * S,
					.peers_known = FACT_KNOWN,
					.peers = s->peers,
					.peer_count = PEERS,
					.census = &s->census,
					.census_settled = true,
					.quiet_since = NOW - 1000 * S,
					.settle_time = 60 * S};
}

/* --- in what a situation differs --- */

#define CHANGE(name, ...)                 \
	static void name(struct scene *s) \
	{                                 \
		__VA_ARGS__;              \
	}

CHANGE(no_order, s->order.rotation = NULL)
CHANGE(of_nothing, s->order.action = ORDER_NONE)
CHANGE(of_a_census, s->order.action = ORDER_CENSUS)
CHANGE(of_a_census_for_a_drop, s->order.action = ORDER_CENSUS; s->order.settled = true)
CHANGE(of_a_canary, s->order.action = ORDER_FIND_CANARY)
CHANGE(of_compacting, s->order.action = ORDER_COMPACT)
CHANGE(for_another_incarnation, s->order.incarnation = "i0")
CHANGE(for_no_incarnation, s->order.incarnation = NULL)
CHANGE(of_a_lower_epoch, s->order.epoch = 4)
CHANGE(of_a_higher_epoch, s->order.epoch = 6)
CHANGE(of_another_rotation, s->order.rotation = "r2")
CHANGE(nothing_acknowledged_yet, s->state.rotation = NULL; s->state.epoch = 0)
CHANGE(the_old_one_is_over, s->sight.rotation_over = true)
CHANGE(no_path_yet, s->sight.path_of = NULL)
CHANGE(the_path_of_another_rotation, s->sight.path_of = "r0")
CHANGE(of_making_keys, s->order.action = ORDER_MAKE_KEY)
CHANGE(at_work, s->sight.at_work = true)
CHANGE(sequence_done, s->state.sequence = 4)
CHANGE(sequence_passed, s->state.sequence = 5)
CHANGE(by_an_abort, s->order.aborted = true)
CHANGE(going_back, s->sight.going_back = true)
CHANGE(aborted, by_an_abort(s); going_back(s))
CHANGE(a_rescue, s->order.rescue = true)

CHANGE(file_unknown, s->own.file = FACT_UNKNOWN)
CHANGE(file_contradictory, s->own.file = FACT_CONTRADICTORY)
CHANGE(file_of_no_step, s->own.file_step = STEP_NONE)
CHANGE(file_not_ours, s->own.file_ours = false)
CHANGE(expects_nothing, s->order.expect_hash = NULL)
CHANGE(expects_another, s->order.expect_hash = "h9")
CHANGE(says_another_step, s->order.from_step++)

CHANGE(to_step_0, s->order.to_step = 0)
CHANGE(to_step_1, s->order.to_step = 1)
CHANGE(to_step_2, s->order.to_step = 2)
CHANGE(to_step_3, s->order.to_step = 3)
CHANGE(to_no_step, s->order.to_step = STEP_NONE)
CHANGE(to_a_step_beyond, s->order.to_step = 4)
CHANGE(to_the_same, s->order.to_step = s->order.from_step)
CHANGE(a_second_nonce_is_needed, s->own.needs_second_nonce = true)
CHANGE(retires, s->order.action = ORDER_RETIRE)
/* As it is in the middle of a restart of all: each has the next file, none runs it. */
static void of_a_restart(struct scene *s)
{
	s->order.action = ORDER_RESTART;
	s->order.to_step = s->order.from_step;
	s->own.loaded_is_file = false;
	s->own.reloads_itself = false;
	s->own.restarts = true;
	for (size_t i = 0; i < PEERS; i++)
		s->peers[i].seen.loaded_is_file = false;
}
CHANGE(restarts_no_server, s->own.restarts = false)
CHANGE(runs_its_file, s->own.loaded_is_file = true)
CHANGE(restarts_now, s->own.restarting = true)
CHANGE(peer_restarts_now, s->peers[1].seen.restarting = true)
CHANGE(no_keys, s->sight.has_keys = NULL)
CHANGE(no_key_of_step_1, s->keys[1] = false)
CHANGE(no_key_of_step_2, s->keys[2] = false)

CHANGE(plugin_unwell, s->sight.plugins_well = false)
CHANGE(peer_has_another_plugin, s->peers[1].same_plugins = false)

CHANGE(away, s->sight.away = true)
CHANGE(out_of_a_cache, s->sight.read_at = 0)
CHANGE(read_10_s_ago, s->sight.read_at = NOW - 10 * S)
CHANGE(read_longer_ago, s->sight.read_at = NOW - 10 * S - 1)
CHANGE(beat_of_another_process, s->sight.beat_at = 0)
CHANGE(beat_at_its_end, s->sight.beat_at = NOW - 40 * S)
CHANGE(beat_beyond_its_end, s->sight.beat_at = NOW - 40 * S - 1)
CHANGE(good_for_ever, s->order.good_for = 10000 * S)
CHANGE(beat_a_minute_ago, s->sight.beat_at = NOW - 60 * S)
CHANGE(beat_longer_ago, s->sight.beat_at = NOW - 60 * S - 1)

static void runs(struct server_observation *server, int step)
{
	server->loaded_step = step;
	server->loaded_is_file = false;
	server->loaded_since = 0;
}
CHANGE(down, s->own.answering = false)
CHANGE(loaded_unknown, s->own.loaded = FACT_UNKNOWN)
CHANGE(loaded_contradictory, s->own.loaded = FACT_CONTRADICTORY)
CHANGE(runs_step_0, runs(&s->own, 0))
CHANGE(runs_step_1, runs(&s->own, 1))
CHANGE(runs_step_3, runs(&s->own, 3))
CHANGE(runs_something_else, runs(&s->own, STEP_NONE))
CHANGE(refuses_its_file, s->own.refuses_file = true)
CHANGE(runs_step_2, runs(&s->own, 2))
CHANGE(runs_another_file, s->own.loaded_is_file = false)
CHANGE(not_without_a_break, s->own.loaded_since = 0)

CHANGE(peers_unknown, s->sight.peers_known = FACT_UNKNOWN)
CHANGE(peers_contradictory, s->sight.peers_known = FACT_CONTRADICTORY)
CHANGE(no_peers, s->sight.peer_count = 0)
CHANGE(peer_silent, s->peers[1].seen.answering = false)
CHANGE(peer_file_unknown, s->peers[0].seen.file = FACT_UNKNOWN)
CHANGE(peer_loaded_unknown, s->peers[1].seen.loaded = FACT_UNKNOWN)
CHANGE(peer_at_step_0, server_goes_well(&s->peers[1].seen, 0))
CHANGE(peer_at_step_1, server_goes_well(&s->peers[1].seen, 1))
CHANGE(peer_at_step_2, server_goes_well(&s->peers[1].seen, 2))
CHANGE(peer_at_step_3, server_goes_well(&s->peers[1].seen, 3))
CHANGE(peer_edited, s->peers[1].seen.file_step = STEP_NONE)
CHANGE(peer_runs_something_else, runs(&s->peers[1].seen, STEP_NONE))
CHANGE(peer_runs_step_0, runs(&s->peers[1].seen, 0))
CHANGE(peer_runs_step_1, runs(&s->peers[1].seen, 1))
CHANGE(peer_runs_step_2, runs(&s->peers[1].seen, 2))
CHANGE(peer_runs_step_3, runs(&s->peers[1].seen, 3))
CHANGE(peer_runs_another_file, s->peers[1].seen.loaded_is_file = false)
CHANGE(peer_not_without_a_break, s->peers[1].seen.loaded_since = 0)
CHANGE(peer_at_work, s->peers[0].at_work = true)
CHANGE(peer_has_other_keys, s->peers[1].same_keys = false)
CHANGE(peer_behind, s->peers[1].epoch = 4)
CHANGE(peer_ahead, s->peers[0].epoch = 6)
CHANGE(peer_in_another_rotation, s->peers[0].rotation = "r0")

CHANGE(no_census, s->sight.census = NULL)
CHANGE(census_incomplete, s->census.complete = false)
CHANGE(census_as_it_converged, s->census.begun = NOW - 1000 * S)
CHANGE(census_before_converging, s->census.begun = NOW - 1001 * S)
CHANGE(loaded_after_the_census, s->own.loaded_since = NOW - 39 * S)
CHANGE(peer_loaded_after_the_census, s->peers[1].seen.loaded_since = NOW - 39 * S)
CHANGE(etcd_went_back, s->sight.etcd_back_at = NOW - 40 * S)
CHANGE(etcd_went_back_before, s->sight.etcd_back_at = NOW - 41 * S)
CHANGE(not_compacted, s->census.compacted = false)

CHANGE(census_before_settling, s->sight.census_settled = false)
CHANGE(silent_now, s->sight.quiet_since = 0)
CHANGE(quiet_for_a_minute, s->sight.quiet_since = NOW - 60 * S)
CHANGE(quiet_for_less, s->sight.quiet_since = NOW - 60 * S + 1)
CHANGE(loaded_a_minute_before_the_reports, s->own.loaded_since = NOW - 62 * S)
CHANGE(loaded_a_moment_later, s->own.loaded_since = NOW - 62 * S + 1)
CHANGE(peer_loaded_a_minute_before_the_reports, s->peers[1].seen.loaded_since = NOW - 62 * S)
CHANGE(peer_loaded_a_moment_later, s->peers[1].seen.loaded_since = NOW - 62 * S + 1)
CHANGE(loaded_a_minute_ago, s->own.loaded_since = NOW - 60 * S)
CHANGE(loaded_less_than_a_minute_ago, s->own.loaded_since = NOW - 60 * S + 1)
CHANGE(peer_quiet_for_a_minute, s->peers[0].quiet_for = 60 * S)
CHANGE(peer_quiet_for_less, s->peers[0].quiet_for = 60 * S - 1)
CHANGE(when_a_peer_reported_is_not_known, s->peers[1].reported_after = 0)

static struct census_group *found(struct scene *s, const char *resource, const char *key)
{
	struct census_group *group = &s->groups[s->census.group_count++];
	*group = (struct census_group){
		.resource = text(resource), .type = PROVIDER_AESCBC, .name = text(key), .values = 3};
	return group;
}
CHANGE(secrets_under_a, found(s, "secrets", "a"))
CHANGE(secrets_under_b, found(s, "secrets", "b"))
CHANGE(secrets_under_k, found(s, "secrets", "k"))
CHANGE(secrets_under_c, found(s, "secrets", "c"))
CHANGE(secrets_under_x, found(s, "secrets", "x"))
CHANGE(elsewhere_under_a, found(s, NULL, "a"))
CHANGE(foreign_under_a, found(s, "secrets", "a")->foreign = true)
CHANGE(expected_under_a, found(s, "secrets", "a")->expected = true)
CHANGE(none_under_a, found(s, "secrets", "a")->values = 0)
CHANGE(of_no_known_form, found(s, "secrets", "")->unknown = true)

static struct census_group *found_by_kms(struct scene *s, const char *key_id)
{
	struct census_group *group = found(s, "secrets", "v");
	group->type = PROVIDER_KMS;
	group->kms_version = 2;
	group->key_id = text(key_id);
	return group;
}
CHANGE(secrets_under_key_1, found_by_kms(s, "1"))
CHANGE(secrets_under_key_2, found_by_kms(s, "2"))
CHANGE(elsewhere_under_key_1, found_by_kms(s, "1")->resource = NULL)

CHANGE(of_a_rescue_to_step_2, s->order.action = ORDER_WRITE_STEP; s->order.rescue = true; s->order.to_step = 2)
CHANGE(served, s->sight.away_since = 0)
CHANGE(served_59_s_ago, s->sight.away_since = NOW - 60 * S + 1)
CHANGE(wrote_a_step_later, s->state.written_step++)
CHANGE(wrote_step_3, s->state.written_step = 3)
CHANGE(wrote_what_is_not_known, s->state.written_step = STEP_NONE)
CHANGE(helped_before, s->state.rescues = 1)

/* --- an order, and what is made of it --- */

struct row {
	const char *name;
	enum route route;
	int at;
	change *but[CHANGES_MAX];
	struct verdict want;
};

#define VERDICT(ruling_, ground_, ...)                                                                                 \
	{                                                                                                              \
		.ruling = RULING_##ruling_, .ground = GROUND_##ground_, .to_step = STEP_NONE, .peer = -1, .group = -1, \
		__VA_ARGS__                                                                                            \
	}
#define NOTHING(ground) VERDICT(NOTHING, ground)
#define DO(to) VERDICT(CARRY_OUT, ALLOWED, .to_step = to)
#define WAIT(ground, ...) VERDICT(WAIT, ground, __VA_ARGS__)
#define REFUSE(ground, ...) VERDICT(REFUSE, ground, __VA_ARGS__)
/* The last of equal designators holds; -Woverride-init is for accidents. */
#pragma GCC diagnostic ignored "-Wpragmas"
#pragma GCC diagnostic ignored "-Woverride-init"
#pragma GCC diagnostic ignored "-Winitializer-overrides"

#include "order_rows.h"

static struct path *route_path(enum route route)
{
	if (route < SKIPPING)
		return path_parse(routes[route][0], routes[route][1]);
	struct path *path = xcalloc(1, sizeof(*path));
	path->steps = xcalloc(ELEMENTS(routes[route]), sizeof(struct config_shape *));
	for (size_t i = 0; i < ELEMENTS(routes[route]) && routes[route][i]; i++)
		path->steps[path->count++] = shape_parse(routes[route][i]);
	return path;
}

static void same_verdict(const struct verdict *got, const struct verdict *want)
{
	assert_string_equal(ground_name(got->ground), ground_name(want->ground));
	assert_int_equal(got->ruling, want->ruling);
	assert_int_equal(got->to_step, want->to_step);
	assert_int_equal(got->peer, want->peer);
	assert_int_equal(got->group, want->group);
}

static void judges(void **state)
{
	const struct row *row = *state;
	struct scene scene;
	struct path *path = route_path(row->route);
	goes_well(&scene, row->at);
	for (size_t i = 0; i < CHANGES_MAX && row->but[i]; i++)
		row->but[i](&scene);
	const struct verdict got = order_judge(path, &scene.order, &scene.state, &scene.sight, NOW);
	path_free(path);
	same_verdict(&got, &row->want);
}

static void helps_alone(void **state)
{
	const struct row *row = *state;
	struct scene scene;
	struct path *path = route_path(row->route);
	goes_well(&scene, row->at);
	scene.sight.away = true;
	scene.sight.away_since = NOW - 60 * S;
	for (size_t i = 0; i < CHANGES_MAX && row->but[i]; i++)
		row->but[i](&scene);
	const struct verdict got = agent_alone(path, &scene.state, &scene.sight, NOW);
	path_free(path);
	same_verdict(&got, &row->want);
}

/* The clock begins at the machine's start: "never" is not a moment ago. */
static void what_never_was_is_not_fresh_just_after_boot(void **state)
{
	(void)state;
	struct scene scene;
	struct path *path = route_path(KEY);
	goes_well(&scene, 2);
	scene.own.loaded_since = scene.peers[0].seen.loaded_since = scene.peers[1].seen.loaded_since = S;
	scene.census.begun = 2 * S;
	scene.sight.read_at = 0;
	scene.sight.beat_at = 3 * S;
	const struct verdict unread = order_judge(path, &scene.order, &scene.state, &scene.sight, 5 * S);
	scene.sight.read_at = 4 * S;
	const struct verdict good = order_judge(path, &scene.order, &scene.state, &scene.sight, 5 * S);
	scene.sight.beat_at = 0;
	const struct verdict old = order_judge(path, &scene.order, &scene.state, &scene.sight, 5 * S);
	path_free(path);
	assert_string_equal(ground_name(unread.ground), "NOT_FRESH");
	assert_string_equal(ground_name(good.ground), "ALLOWED");
	assert_string_equal(ground_name(old.ground), "TOO_OLD");
}

/* --- what a leader sends --- */

struct leader {
	struct observation seen;
	struct server_observation servers[3];
	struct agent_report agents[3];
	struct decision decision;
	struct fence fence;
	uint64_t claimed;
};

typedef void leader_change(struct leader *leader);

struct sent_row {
	const char *name;
	int at;
	leader_change *but[CHANGES_MAX];
	enum dispatch_kind want;
	int agent;
	uint64_t epoch;
	bool guards;
};

#define LEADER_CHANGE(name, ...)           \
	static void name(struct leader *l) \
	{                                  \
		__VA_ARGS__;               \
	}

LEADER_CHANGE(no_epoch_yet, l->fence.epoch = 0)
static void nobody_ever_acknowledged(struct leader *l)
{
	for (size_t i = 0; i < 3; i++)
		l->agents[i].epoch = 0, l->agents[i].rotation = NULL;
	l->claimed = 0;
}
LEADER_CHANGE(fenced_for_the_drop, l->fence.guards = true; l->fence.to_step = 3)
LEADER_CHANGE(fenced_for_a_rescue, l->fence.guards = l->fence.rescue = true)
LEADER_CHANGE(fenced_for_step_1, l->fence.guards = true; l->fence.to_step = 1)
LEADER_CHANGE(to_step_1_without_a_guard, l->fence.to_step = 3)
LEADER_CHANGE(one_has_not_acknowledged, l->agents[1].epoch = 4)
LEADER_CHANGE(one_never_reported, l->agents[2].incarnation = NULL)
LEADER_CHANGE(one_is_in_another_rotation, l->agents[0].rotation = "r0")
LEADER_CHANGE(one_is_ahead, l->agents[2].epoch = 8)
LEADER_CHANGE(claimed_higher, l->claimed = 11)
LEADER_CHANGE(is_aborted, l->fence.aborted = true)
LEADER_CHANGE(decides_to_wait, l->decision.action = ACTION_WAIT)
LEADER_CHANGE(decides_on_a_census, l->decision.action = ACTION_CENSUS; l->decision.server = -1)
LEADER_CHANGE(decides_on_a_canary, l->decision.action = ACTION_CANARY; l->decision.server = 1)
LEADER_CHANGE(decides_to_compact, l->decision.action = ACTION_COMPACT; l->decision.server = -1)
LEADER_CHANGE(decides_to_restart, l->decision.action = ACTION_RESTART; l->decision.to_step = STEP_NONE)
LEADER_CHANGE(decides_to_rewrite, l->decision.action = ACTION_REENCRYPT)
LEADER_CHANGE(decides_to_retire, l->decision.action = ACTION_RETIRE; l->decision.to_step = l->decision.server = -1)
LEADER_CHANGE(decides_on_a_rescue, l->decision.rescue = true; l->decision.phase = PHASE_RESCUE)
LEADER_CHANGE(of_a_server_that_is_down, l->servers[1].answering = false)
LEADER_CHANGE(back_to_step_1, l->decision.to_step = 1)
LEADER_CHANGE(on_to_step_2, l->decision.to_step = 2)
LEADER_CHANGE(it_runs_step_2, l->servers[1].loaded_step = 2)
LEADER_CHANGE(it_runs_step_3, l->servers[1].loaded_step = 3)
LEADER_CHANGE(what_it_runs_is_unknown, l->servers[1].loaded = FACT_UNKNOWN)

static const struct sent_row sent_rows[] = {
	{"a new leader begins an epoch", 0, {no_epoch_yet}, DISPATCH_NEW_EPOCH, -1, 6, false},
	{"the first leader begins the first",
	 0,
	 {no_epoch_yet, nobody_ever_acknowledged},
	 DISPATCH_NEW_EPOCH,
	 -1,
	 1,
	 false},
	{"even before a wait", 0, {no_epoch_yet, decides_to_wait}, DISPATCH_NEW_EPOCH, -1, 6, false},
	{"a read key is added without waiting for anybody", 0, {one_has_not_acknowledged}, DISPATCH_SEND, 1, 5, false},
	{"a promotion, too", 1, {0}, DISPATCH_SEND, 1, 5, false},
	{"a key leaves: a new epoch first", 2, {0}, DISPATCH_NEW_EPOCH, -1, 6, true},
	{"one was made for another step", 2, {fenced_for_step_1}, DISPATCH_NEW_EPOCH, -1, 6, true},
	{"one was made for this step, but guards nothing",
	 2,
	 {to_step_1_without_a_guard},
	 DISPATCH_NEW_EPOCH,
	 -1,
	 6,
	 true},
	{"one was made for a rescue", 2, {fenced_for_the_drop, fenced_for_a_rescue}, DISPATCH_NEW_EPOCH, -1, 6, true},
	{"it is acknowledged by all", 2, {fenced_for_the_drop}, DISPATCH_SEND, 1, 5, true},
	{"it is not by one", 2, {fenced_for_the_drop, one_has_not_acknowledged}, DISPATCH_WAIT, 1, 5, true},
	{"one never reported", 2, {fenced_for_the_drop, one_never_reported}, DISPATCH_WAIT, 2, 5, true},
	{"one acknowledged in another rotation",
	 2,
	 {fenced_for_the_drop, one_is_in_another_rotation},
	 DISPATCH_WAIT,
	 0,
	 5,
	 true},
	{"somebody has a higher epoch", 0, {one_is_ahead}, DISPATCH_NEW_EPOCH, -1, 9, false},
	{"the rotation names a higher one still", 0, {one_is_ahead, claimed_higher}, DISPATCH_NEW_EPOCH, -1, 12, false},
	{"the highest is of an agent, the rotation's went back",
	 0,
	 {no_epoch_yet, one_is_ahead},
	 DISPATCH_NEW_EPOCH,
	 -1,
	 9,
	 false},
	{"a wait is nothing for agents", 0, {decides_to_wait}, DISPATCH_NOTHING, -1, 5, false},
	{"nor is rewriting", 2, {decides_to_rewrite}, DISPATCH_NOTHING, -1, 5, false},
	{"a census is for all", 0, {decides_on_a_census}, DISPATCH_SEND, -1, 5, false},
	{"a canary is for all", 2, {decides_on_a_canary}, DISPATCH_SEND, -1, 5, false},
	{"compacting is for all", 2, {decides_to_compact}, DISPATCH_SEND, -1, 5, false},
	{"a restart is for one", 2, {decides_to_restart, one_has_not_acknowledged}, DISPATCH_SEND, 1, 5, false},
	{"after an abort it waits for all",
	 2,
	 {is_aborted, decides_to_restart, one_has_not_acknowledged},
	 DISPATCH_WAIT,
	 1,
	 5,
	 false},
	{"retiring needs a new epoch", 3, {decides_to_retire}, DISPATCH_NEW_EPOCH, -1, 6, true},
	{"an abort waits for all, whatever the decision",
	 0,
	 {is_aborted, decides_to_wait, one_has_not_acknowledged},
	 DISPATCH_WAIT,
	 1,
	 5,
	 false},
	{"an abort's epoch is good for all of it", 0, {is_aborted}, DISPATCH_SEND, 1, 5, false},
	{"a rescue that adds a read key waits for nobody",
	 0,
	 {decides_on_a_rescue, one_has_not_acknowledged},
	 DISPATCH_SEND,
	 1,
	 5,
	 false},
	{"of a server that is down neither",
	 0,
	 {decides_on_a_rescue, of_a_server_that_is_down, one_has_not_acknowledged},
	 DISPATCH_SEND,
	 1,
	 5,
	 false},
	{"nor one by which it writes as its file says, whatever it runs",
	 0,
	 {decides_on_a_rescue, what_it_runs_is_unknown, one_has_not_acknowledged},
	 DISPATCH_SEND,
	 1,
	 5,
	 false},
	{"nor one to what runs",
	 0,
	 {decides_on_a_rescue, on_to_step_2, it_runs_step_2, one_has_not_acknowledged},
	 DISPATCH_SEND,
	 1,
	 5,
	 false},
	{"nor one to what writes as what runs",
	 0,
	 {decides_on_a_rescue, on_to_step_2, it_runs_step_3, one_has_not_acknowledged},
	 DISPATCH_SEND,
	 1,
	 5,
	 false},
	{"unless it is not known what runs",
	 0,
	 {decides_on_a_rescue, on_to_step_2, it_runs_step_2, what_it_runs_is_unknown},
	 DISPATCH_NEW_EPOCH,
	 -1,
	 6,
	 true},
	{"a rescue by which a write key changes waits for all",
	 2,
	 {decides_on_a_rescue, back_to_step_1, fenced_for_step_1, fenced_for_a_rescue, one_has_not_acknowledged},
	 DISPATCH_WAIT,
	 1,
	 5,
	 true},
	{"it needs an epoch of its own",
	 2,
	 {decides_on_a_rescue, back_to_step_1, fenced_for_step_1},
	 DISPATCH_NEW_EPOCH,
	 -1,
	 6,
	 true},
	{"of a server that is down as well",
	 2,
	 {decides_on_a_rescue, of_a_server_that_is_down, back_to_step_1},
	 DISPATCH_NEW_EPOCH,
	 -1,
	 6,
	 true},
	{"no rescue, though that server is down", 2, {of_a_server_that_is_down}, DISPATCH_NEW_EPOCH, -1, 6, true},
};

static void leads_well(struct leader *l, int at)
{
	*l = (struct leader){.claimed = 5};
	for (size_t i = 0; i < 3; i++) {
		server_goes_well(&l->servers[i], at);
		l->agents[i] = (struct agent_report){
			.incarnation = "i1", .rotation = "r1", .epoch = 5, .beat = 20 + i, .beat_read_at = NOW - 3 * S};
	}
	l->seen = (struct observation){.servers_known = FACT_KNOWN, .servers = l->servers, .server_count = 3};
	l->fence = (struct fence){.rotation = "r1", .epoch = 5, .sequence = 6, .to_step = STEP_NONE};
	l->decision = (struct decision){.action = ACTION_WRITE_STEP,
					.phase = PHASE_PROMOTE,
					.step = at,
					.to_step = at + 1,
					.server = 1,
					.valid_until = NOW + 20 * S};
}

static void sends(void **state)
{
	const struct sent_row *row = *state;
	struct leader l;
	struct path *path = route_path(KEY);
	leads_well(&l, row->at);
	for (size_t i = 0; i < CHANGES_MAX && row->but[i]; i++)
		row->but[i](&l);
	struct fence before = l.fence;
	const struct dispatch got = order_from_decision(path, &l.seen, &l.decision, &l.fence, l.agents, l.claimed);
	path_free(path);
	assert_int_equal(got.kind, row->want);
	assert_int_equal(got.agent, row->agent);
	assert_int_equal(got.fence.epoch, row->epoch);
	assert_int_equal(got.fence.guards, row->guards);
	assert_int_equal(got.fence.sequence, got.kind == DISPATCH_SEND        ? before.sequence + 1
					     : got.kind == DISPATCH_NEW_EPOCH ? 0
									      : before.sequence);
	if (got.kind == DISPATCH_NEW_EPOCH) {
		assert_int_equal(got.fence.to_step, l.decision.to_step);
		assert_int_equal(got.fence.rescue, l.decision.rescue);
	}
	if (got.kind != DISPATCH_SEND)
		return;
	assert_string_equal(got.order.rotation, "r1");
	assert_int_equal(got.order.epoch, row->epoch);
	assert_int_equal(got.order.sequence, got.fence.sequence);
	assert_int_equal(got.order.rescue, l.decision.rescue);
	assert_int_equal(got.order.aborted, l.fence.aborted);
}

static struct dispatch dispatch_at(struct leader *l, int at, leader_change *first, leader_change *second)
{
	struct path *path = route_path(KEY);
	leads_well(l, at);
	first(l);
	if (second)
		second(l);
	struct dispatch got = order_from_decision(path, &l->seen, &l->decision, &l->fence, l->agents, l->claimed);
	path_free(path);
	return got;
}

static void an_order_to_write_is_addressed(void **state)
{
	(void)state;
	struct leader l;
	struct dispatch got = dispatch_at(&l, 2, fenced_for_the_drop, NULL);
	assert_int_equal(got.order.action, ORDER_WRITE_STEP);
	assert_int_equal(got.order.from_step, 2);
	assert_int_equal(got.order.to_step, 3);
	order_address(&got.order, &l.servers[1], &l.agents[1], l.decision.valid_until);
	assert_string_equal(got.order.incarnation, "i1");
	assert_string_equal(got.order.expect_hash, "h2");
	assert_int_equal(got.order.beat, 21);
	assert_int_equal(got.order.good_for, 23 * S);
	order_address(&got.order, &l.servers[1], &l.agents[1], NOW - 3 * S);
	assert_int_equal(got.order.good_for, 0);
	order_address(&got.order, &l.servers[1], &l.agents[1], NOW - 4 * S);
	assert_int_equal(got.order.good_for, 0);
}

static void an_order_to_retire_is_addressed(void **state)
{
	(void)state;
	struct leader l;
	struct path *path = route_path(KEY);
	leads_well(&l, 3);
	decides_to_retire(&l);
	l.fence.guards = true;
	struct dispatch got = order_from_decision(path, &l.seen, &l.decision, &l.fence, l.agents, l.claimed);
	path_free(path);
	assert_int_equal(got.kind, DISPATCH_SEND);
	assert_int_equal(got.agent, -1);
	assert_int_equal(got.order.from_step, 3);
	assert_int_equal(got.order.to_step, 3);
	order_address(&got.order, &l.servers[0], &l.agents[0], l.decision.valid_until);
	assert_string_equal(got.order.expect_hash, "h3");
	assert_int_equal(got.order.beat, 20);
}

static void an_order_to_restart_is_addressed(void **state)
{
	(void)state;
	struct leader l;
	struct dispatch got = dispatch_at(&l, 2, decides_to_restart, NULL);
	order_address(&got.order, &l.servers[1], &l.agents[1], UINT64_MAX);
	assert_int_equal(got.order.action, ORDER_RESTART);
	assert_int_equal(got.order.from_step, 2);
	assert_int_equal(got.order.to_step, 2);
	assert_string_equal(got.order.expect_hash, "h2");
}

static void an_order_that_touches_no_file_names_none(void **state)
{
	(void)state;
	struct leader l;
	struct dispatch got = dispatch_at(&l, 0, decides_on_a_census, NULL);
	order_address(&got.order, &l.servers[1], &l.agents[1], UINT64_MAX);
	assert_string_equal(got.order.incarnation, "i1");
	assert_null(got.order.expect_hash);
	assert_int_equal(got.order.to_step, STEP_NONE);
	assert_int_equal(got.order.good_for, 0);
}

/* One that tells what is wrong must not wait for silence. */
static void a_census_for_a_drop_is_told_apart(void **state)
{
	(void)state;
	struct leader l;
	struct path *path = route_path(KEY);
	leads_well(&l, 2);
	decides_on_a_census(&l);
	for (enum reason reason = 0; reason <= REASON_TOLD; reason++) {
		l.decision.reason = reason;
		const struct dispatch got =
			order_from_decision(path, &l.seen, &l.decision, &l.fence, l.agents, l.claimed);
		assert_int_equal(got.order.settled, reason == REASON_SETTLED_CENSUS || reason == REASON_FINAL_CENSUS);
	}
	l.decision = (struct decision){.action = ACTION_CANARY, .reason = REASON_FINAL_CENSUS, .server = -1};
	const struct dispatch got = order_from_decision(path, &l.seen, &l.decision, &l.fence, l.agents, l.claimed);
	assert_int_equal(got.kind, DISPATCH_SEND);
	assert_false(got.order.settled);
	path_free(path);
}

static void withdrawing_carries_the_epoch(void **state)
{
	(void)state;
	const struct fence fence = {.rotation = "r1", .epoch = 7, .aborted = true};
	const struct order none = order_none(&fence);
	assert_int_equal(none.action, ORDER_NONE);
	assert_int_equal(none.epoch, 7);
	assert_string_equal(none.rotation, "r1");
	assert_true(none.aborted);
	assert_int_equal(none.to_step, STEP_NONE);
}

static void an_order_is_not_sent_twice_unless_it_was_carried_out(void **state)
{
	(void)state;
	const struct agent_report agent = {.incarnation = "i1", .rotation = "r1", .epoch = 5, .sequence = 3};
	const struct order out = {.rotation = "r1",
				  .epoch = 5,
				  .sequence = 4,
				  .incarnation = "i1",
				  .action = ORDER_WRITE_STEP,
				  .from_step = 1,
				  .to_step = 2,
				  .expect_hash = "h1",
				  .beat = 3,
				  .good_for = 2};
	struct order wanted = out;
	wanted.sequence = 5;
	wanted.beat = 4;
	wanted.good_for = 9;
	assert_true(order_is_out(&out, &wanted, &agent));
#define OTHER(field, value)                                       \
	do {                                                      \
		struct order other = wanted;                      \
		other.field = value;                              \
		assert_false(order_is_out(&out, &other, &agent)); \
	} while (0)
	OTHER(rotation, "r2");
	OTHER(epoch, 6);
	OTHER(incarnation, "i2");
	OTHER(action, ORDER_RETIRE);
	OTHER(from_step, 0);
	OTHER(to_step, 3);
	OTHER(expect_hash, "h2");
	OTHER(rescue, true);
	OTHER(settled, true);
	OTHER(aborted, true);
	struct agent_report done = agent;
	done.sequence = 4;
	assert_false(order_is_out(&out, &wanted, &done));
	done.epoch = 4;
	assert_true(order_is_out(&out, &wanted, &done));
	struct order none = out;
	none.action = ORDER_NONE;
	done.epoch = 5;
	assert_true(order_is_out(&none, &none, &done));
}

/* --- what came of an order: number 4 of epoch 5, to take a census --- */

#define TOLD(action, result) .done_action = (action), .done_result = (result)
struct told {
	const char *name;
	struct agent_report agent;
	enum outcome want;
};
/* clang-format off */ /* it would put each field on a line of its own */
static const struct told told_rows[] = {
	{"not acknowledged yet", {.incarnation = "i1", .epoch = 4, .sequence = 9}, OUTCOME_OPEN},
	{"acknowledged", {.incarnation = "i1", .epoch = 5, .sequence = 3}, OUTCOME_OPEN},
	{"another one told", {.incarnation = "i1", .epoch = 5, .sequence = 3, .done = 3, TOLD("census", "ok")}, OUTCOME_OPEN},
	{"done", {.incarnation = "i1", .epoch = 5, .sequence = 4, .done = 4, TOLD("census", "ok")}, OUTCOME_OK},
	{"failed", {.incarnation = "i1", .epoch = 5, .sequence = 4, .done = 4, TOLD("census", "failed")}, OUTCOME_FAILED},
	{"refused", {.incarnation = "i1", .epoch = 5, .sequence = 3, .done = 4, TOLD("census", "refused")}, OUTCOME_REFUSED},
	{"in words of another version", {.incarnation = "i1", .epoch = 5, .sequence = 4, .done = 4, TOLD("census", "?")}, OUTCOME_FAILED},
	{"done, and what came of it is lost", {.incarnation = "i1", .epoch = 5, .sequence = 4}, OUTCOME_LOST},
	{"a later one done", {.incarnation = "i1", .epoch = 5, .sequence = 5, .done = 5, TOLD("census", "ok")}, OUTCOME_LOST},
	{"this number was another order", {.incarnation = "i1", .epoch = 5, .sequence = 4, .done = 4, TOLD("find-canary", "ok")}, OUTCOME_LOST},
	{"this number of another epoch", {.incarnation = "i1", .epoch = 4, .sequence = 4, .done = 4, TOLD("census", "ok")}, OUTCOME_OPEN},
	{"a newer epoch", {.incarnation = "i1", .epoch = 6}, OUTCOME_LOST},
	{"a newer epoch, this number of it", {.incarnation = "i1", .epoch = 6, .sequence = 4, .done = 4, TOLD("census", "ok")}, OUTCOME_LOST},
	{"a new state directory", {.incarnation = "i2"}, OUTCOME_LOST},
	{"a new state directory, acknowledged", {.incarnation = "i2", .epoch = 5}, OUTCOME_LOST},
	{"no report any more", {0}, OUTCOME_LOST},
};
/* clang-format on */

static void tells_what_came_of_it(void **state)
{
	const struct told *row = *state;
	const struct order order = {
		.rotation = "r1", .epoch = 5, .sequence = 4, .incarnation = "i1", .action = ORDER_CENSUS};
	assert_int_equal(order_outcome(&order, &row->agent), row->want);
}

/* --- the tables as a whole --- */

static unsigned few_of(unsigned count, const char *name)
{
	if (count >= 2)
		return 0;
	print_error("%u rows want %s\n", count, name);
	return 1;
}

static void every_ruling_and_ground_is_wanted_twice(void **state)
{
	(void)state;
	unsigned grounds[GROUND_UNREADABLE + 1] = {0}, rulings[RULING_REFUSE + 1] = {0}, few = 0;
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		grounds[rows[i].want.ground]++;
		rulings[rows[i].want.ruling]++;
	}
	for (size_t i = 0; i < ELEMENTS(alone_rows); i++)
		grounds[alone_rows[i].want.ground]++;
	for (enum ground g = 0; g <= GROUND_UNREADABLE; g++)
		few += few_of(grounds[g], ground_name(g));
	for (enum ruling r = 0; r <= RULING_REFUSE; r++)
		few += few_of(rulings[r], "a ruling");
	assert_int_equal(few, 0);
}

static void names_are_told_apart(void **state)
{
	(void)state;
	enum order_action action = ORDER_NONE;
	for (enum ground a = 0; a <= GROUND_UNREADABLE; a++) {
		assert_true(strlen(ground_text(a)) > 8);
		for (enum ground b = 0; b < a; b++)
			assert_string_not_equal(ground_name(a), ground_name(b));
	}
	for (enum order_action a = 0; a <= ORDER_RETIRE; a++) {
		assert_true(order_action_from_name(order_action_name(a), &action));
		assert_int_equal(action, a);
	}
	assert_false(order_action_from_name("drop", &action));
	assert_int_equal(action, ORDER_RETIRE);
}

/* What only the exploration asks for: order_judge itself has all checks. */
struct off {
	const char *name;
	unsigned checks;
	int at;
	change *but[CHANGES_MAX];
	enum ground with, without;
};
static const struct off offs[] = {
	{"INCARNATION", CHECK_INCARNATION, 0, {for_another_incarnation}, GROUND_OTHER_INCARNATION, GROUND_ALLOWED},
	{"EPOCH", CHECK_EPOCH, 0, {of_a_lower_epoch}, GROUND_LOWER_EPOCH, GROUND_ALLOWED},
	{"EPOCH: sequence", CHECK_EPOCH, 0, {sequence_passed}, GROUND_LOWER_SEQUENCE, GROUND_ALLOWED},
	{"HASH", CHECK_HASH, 0, {expects_another}, GROUND_OTHER_FILE, GROUND_ALLOWED},
	{"STEP", CHECK_STEP, 0, {to_step_2}, GROUND_NOT_NEXT, GROUND_ALLOWED},
	{"FRESH", CHECK_FRESH, 1, {away}, GROUND_AWAY, GROUND_ALLOWED},
	{"LOADED", CHECK_LOADED, 1, {down}, GROUND_SERVER_DOWN, GROUND_ALLOWED},
	{"PEERS", CHECK_PEERS, 1, {peer_at_step_0}, GROUND_PEER_ELSEWHERE, GROUND_ALLOWED},
	{"ACKNOWLEDGED", CHECK_ACKNOWLEDGED, 2, {peer_behind}, GROUND_NOT_ACKNOWLEDGED, GROUND_ALLOWED},
	{"AGE", CHECK_AGE, 2, {beat_of_another_process}, GROUND_TOO_OLD, GROUND_ALLOWED},
	{"CENSUS", CHECK_CENSUS, 2, {no_census}, GROUND_NO_CENSUS, GROUND_ALLOWED},
	{"SETTLED", CHECK_SETTLED, 2, {census_before_settling}, GROUND_NOT_SETTLED, GROUND_ALLOWED},
	{"SETTLED: a census",
	 CHECK_SETTLED,
	 2,
	 {of_a_census_for_a_drop, silent_now},
	 GROUND_NOT_SETTLED,
	 GROUND_ALLOWED},
};

static void can_be_switched_off(void **state)
{
	const struct off *row = *state;
	struct scene scene;
	struct path *path = route_path(KEY);
	goes_well(&scene, row->at);
	for (size_t i = 0; i < CHANGES_MAX && row->but[i]; i++)
		row->but[i](&scene);
	const struct verdict on = order_judge(path, &scene.order, &scene.state, &scene.sight, NOW);
	const struct verdict off =
		order_judge_under(path, &scene.order, &scene.state, &scene.sight, NOW, CHECKS_ALL & ~row->checks);
	path_free(path);
	assert_string_equal(ground_name(on.ground), ground_name(row->with));
	assert_string_equal(ground_name(off.ground), ground_name(row->without));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_ruling_and_ground_is_wanted_twice),
		cmocka_unit_test(names_are_told_apart),
		cmocka_unit_test(what_never_was_is_not_fresh_just_after_boot),
		cmocka_unit_test(an_order_to_write_is_addressed),
		cmocka_unit_test(an_order_to_retire_is_addressed),
		cmocka_unit_test(an_order_to_restart_is_addressed),
		cmocka_unit_test(an_order_that_touches_no_file_names_none),
		cmocka_unit_test(a_census_for_a_drop_is_told_apart),
		cmocka_unit_test(withdrawing_carries_the_epoch),
		cmocka_unit_test(an_order_is_not_sent_twice_unless_it_was_carried_out),
	};
	int failed = RUN_ROWS(judges, rows) + RUN_ROWS(helps_alone, alone_rows) + RUN_ROWS(sends, sent_rows) +
		     RUN_ROWS(can_be_switched_off, offs) + RUN_ROWS(tells_what_came_of_it, told_rows) +
		     cmocka_run_group_tests(tests, NULL, NULL);
	return failed ? 1 : 0; /* 256 of them would be an exit status of 0 */
}
