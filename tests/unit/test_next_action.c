/* The decision, by table: what is seen => what is done. Every row begins with a rotation that goes well and says in
 * what its situation differs from that; the whole decision is compared. */
#include "test_support.h"

#include <stdio.h>

#include "rotate/record.h"
#include "shape_support.h"

#define S UINT64_C(1000000000)
#define NOW (100000 * S)
#define SERVERS_MAX 3
#define GROUPS_MAX 4

enum route {
	KEY,
	TURN_ON,
	TURN_ON_ALL,
	DROP_PLAIN,
	RULES,
	WILDCARD,
	TO_KMS,
	TO_A_KMS_KEY,
	KEEP_OLD,
	OTHER_READ_KEY,
	NOTHING,
	FOLLOWING,
	FOLLOWING_TWO,
	SKIPPING,
	SWAPPING,
	DROPPING_FIRST,
	ROUTES
};
static const char *const routes[ROUTES][3] = {
	[KEY] = {"secrets=a", "secrets=b"},          /* a | a,b | b,a | b */
	[TURN_ON] = {"secrets=-", "secrets=k,-"},    /* - | -,k | k,- */
	[TURN_ON_ALL] = {"secrets=-", "secrets=k"},  /* - | -,k | k,- | k */
	[DROP_PLAIN] = {"secrets=k,-", "secrets=k"}, /* k,- | k */
	[RULES] = {"secrets=a; configmaps=a", "secrets=b; configmaps=a"},
	[WILDCARD] = {"secrets=a; *.*=c", "secrets=a; *.*=d"},
	[TO_KMS] = {"secrets=a", "secrets=kms:v"},
	[TO_A_KMS_KEY] = {"secrets=a", "secrets=kms:v@2"},        /* not followed: there is a step */
	[KEEP_OLD] = {"secrets=a", "secrets=b,a"},                /* a | a,b | b,a */
	[OTHER_READ_KEY] = {"secrets=a,c", "secrets=a,b"},        /* a,c | a,b,c | a,b */
	[NOTHING] = {"secrets=a,b", "secrets=a,b"},               /* one configuration, no step */
	[FOLLOWING] = {"secrets=kms:v@2,-", "secrets=kms:v@2,-"}, /* no step either: the KMS moves */
	[FOLLOWING_TWO] = {"secrets=kms:v@2; configmaps=kms:w@1; pods=w",
			   "secrets=kms:v@2; configmaps=kms:w@1; pods=w"},
	/* By hand, since path_make gives no such path. */
	[SKIPPING] = {"secrets=a", "secrets=b,a"},
	[SWAPPING] = {"secrets=a", "secrets=b"},
	[DROPPING_FIRST] = {"secrets=a,b", "secrets=a", "secrets=a,c"},
};

/* What a situation is made of; the pointers of `seen` lead here. */
struct scene {
	struct observation seen;
	struct server_observation servers[SERVERS_MAX];
	struct member_observation members[2];
	struct census_group groups[GROUPS_MAX];
};

typedef void change(struct scene *scene);
#define CHANGES_MAX 6

struct row {
	const char *name;
	enum route route;
	int at; /* every server's file and what it has loaded */
	change *but[CHANGES_MAX];
	struct decision want;
};

/* --- the rotation that goes well --- */

static char *text(const char *words)
{
	return (char *)(uintptr_t)words;
}

static void server_goes_well(struct server_observation *server, int at)
{
	static const char *const hashes[] = {"h0", "h1", "h2", "h3"};
	*server = (struct server_observation){
		.name = text("cp-1"),
		.looked_at = NOW - S,
		.answering = true,
		.version = text("v1.36.3"),
		.file = FACT_KNOWN,
		.file_step = at,
		.file_hash = text(hashes[at]),
		.file_ours = true,
		.written_step = at,
		.loaded = FACT_KNOWN,
		.loaded_step = at,
		.loaded_hash = text(hashes[at]),
		.loaded_is_file = true,
		.evidence = LOADED_BY_HASH,
		.process = 7,
		.loaded_since = NOW - 1000 * S,
		.writes_since = NOW - 1000 * S,
		.reloads_itself = true,
		.canary_step = at,
		.canary_at = NOW - 15 * S,
		.canary_process = 7,
	};
}

/* Converged on step `at`, rewritten, settled, a clean census, compacted, read back; one server, one member. */
static void goes_well(struct scene *scene, int at)
{
	*scene = (struct scene){
		.members = {{.name = text("m1"), .answering = true}, {.name = text("m2"), .answering = true}}};
	for (size_t i = 0; i < SERVERS_MAX; i++)
		server_goes_well(&scene->servers[i], at);
	scene->seen = (struct observation){
		.servers_known = FACT_KNOWN,
		.servers = scene->servers,
		.server_count = 1,
		.members_known = FACT_KNOWN,
		.members = scene->members,
		.member_count = 1,
		.quiet_since = NOW - 1000 * S,
		.settled_began = NOW - 1000 * S,
		.settled_ended = NOW - 900 * S,
		.etcd_looked_at = NOW - 2 * S,
		.census = {.begun = NOW - 40 * S,
			   .finished = NOW - 30 * S,
			   .complete = true,
			   .revision = 5,
			   .groups = scene->groups,
			   .compacted = true,
			   .compaction_expected = NOW + 100 * S},
		.sweep = {.step = at, .begun = NOW - 980 * S, .finished = NOW - 950 * S},
		.reads_checked_at = NOW - 20 * S,
		.kms_adopted_at = NOW - 990 * S,
		.history_ended_at = NOW - 50 * S,
		.settle_time = 60 * S,
	};
}

/* --- in what a situation differs --- */

#define CHANGE(name, ...)                 \
	static void name(struct scene *s) \
	{                                 \
		__VA_ARGS__;              \
	}

CHANGE(the_set_is_unknown, s->seen.servers_known = FACT_UNKNOWN)
CHANGE(the_set_is_contradictory, s->seen.servers_known = FACT_CONTRADICTORY)
CHANGE(there_is_no_server, s->seen.server_count = 0)
CHANGE(two_servers, s->seen.server_count = 2)
CHANGE(three_servers, s->seen.server_count = 3)
CHANGE(two_members, s->seen.member_count = 2)
CHANGE(told_to_stop, s->seen.blocked = text("the lock was lost"))

CHANGE(down, s->servers[0].answering = false)
CHANGE(first_goes_on, s->servers[0].file_step++)
CHANGE(second_down, s->servers[1].answering = false)
CHANGE(wrote_a_step_later, s->servers[0].written_step = s->servers[0].file_step + 1)
CHANGE(wrote_what_is_not_known, s->servers[0].written_step = STEP_NONE)
CHANGE(file_unknown, s->servers[0].file = FACT_UNKNOWN)
CHANGE(file_contradictory, s->servers[0].file = FACT_CONTRADICTORY)
CHANGE(second_file_unknown, s->servers[1].file = FACT_UNKNOWN)
CHANGE(file_edited, s->servers[0].file_step = STEP_NONE; s->servers[0].file_ours = false)
CHANGE(second_file_edited, s->servers[1].file_step = STEP_NONE)
CHANGE(second_was_looked_at_long_ago, s->servers[1].looked_at = NOW - 11 * S)
CHANGE(a_rescue_fails_there, s->servers[0].rescue_fails = true)
CHANGE(first_was_looked_at_long_ago, s->servers[0].looked_at = NOW - 11 * S)
CHANGE(first_was_looked_at_10_s_ago, s->servers[0].looked_at = NOW - 10 * S)
CHANGE(second_wrote_a_step_later, s->servers[1].written_step = s->servers[1].file_step + 1)
CHANGE(file_not_ours, s->servers[0].file_ours = false)

static void runs(struct scene *s, size_t i, int step)
{
	s->servers[i].loaded_step = step;
	s->servers[i].loaded_is_file = false;
	s->servers[i].loaded_since = 0;
}
CHANGE(runs_the_step_before, runs(s, 0, s->servers[0].file_step - 1))
CHANGE(runs_the_step_after, runs(s, 0, s->servers[0].file_step + 1))
CHANGE(second_runs_the_step_before, runs(s, 1, s->servers[1].file_step - 1))
CHANGE(runs_step_0, runs(s, 0, 0))
CHANGE(runs_step_2, runs(s, 0, 2))
CHANGE(runs_step_2_unwritten, runs(s, 0, 2); s->servers[0].written_step = STEP_NONE)
CHANGE(runs_step_3, runs(s, 0, 3))
CHANGE(second_runs_step_0, runs(s, 1, 0))
CHANGE(second_runs_step_1, runs(s, 1, 1))
CHANGE(second_of_two_runs_step_0, s->seen.server_count = 2; runs(s, 1, 0))
CHANGE(second_runs_step_2, runs(s, 1, 2))
CHANGE(second_runs_step_3, runs(s, 1, 3))
CHANGE(second_loaded_unknown, s->servers[1].loaded = FACT_UNKNOWN)
CHANGE(runs_another_file_of_this_step, runs(s, 0, s->servers[0].file_step))
CHANGE(says_it_runs_its_file, s->servers[0].loaded_is_file = true; s->servers[0].loaded_since = NOW - 1000 * S)
CHANGE(runs_something_else, runs(s, 0, STEP_NONE))
CHANGE(second_runs_something_else, runs(s, 1, STEP_NONE))
CHANGE(loaded_unknown, runs(s, 0, STEP_NONE); s->servers[0].loaded = FACT_UNKNOWN)
CHANGE(loaded_contradictory, runs(s, 0, STEP_NONE); s->servers[0].loaded = FACT_CONTRADICTORY)
CHANGE(runs_another_file_since_long, s->servers[0].loaded_is_file = false)
CHANGE(not_seen_without_a_break, s->servers[0].loaded_since = 0)
CHANGE(what_it_says_is_contradictory, s->servers[0].loaded = FACT_CONTRADICTORY)
CHANGE(may_not_stay, s->servers[0].loaded = FACT_UNKNOWN)
CHANGE(reloads_by_restart_only, s->servers[0].reloads_itself = false)
static void restarts(struct server_observation *server)
{
	server->reloads_itself = false;
	server->restarts = true;
}
CHANGE(is_restarted_by_its_agent, restarts(&s->servers[0]))
CHANGE(all_are_restarted_by_their_agents, restarts(&s->servers[0]); restarts(&s->servers[1]))
CHANGE(restarts_now, s->servers[0].restarting = true)
CHANGE(second_restarts_now, s->servers[1].restarting = true)
CHANGE(one_reload_seen, s->servers[0].needs_second_nonce = true)
CHANGE(known_by_reloads, s->servers[0].evidence = LOADED_BY_RELOADS)
CHANGE(refuses, s->servers[0].refuses_file = true)
CHANGE(refused_before, s->servers[0].refused_before = true)

static void second_has(struct scene *s, int step)
{
	server_goes_well(&s->servers[1], step);
}
CHANGE(second_has_step_0, second_has(s, 0))
CHANGE(second_has_step_1, second_has(s, 1))
CHANGE(second_has_step_2, second_has(s, 2))
CHANGE(second_has_step_3, second_has(s, 3))
CHANGE(third_has_step_0, server_goes_well(&s->servers[2], 0))
CHANGE(second_not_ours, s->servers[1].file_ours = false)
CHANGE(first_loaded_just_now, s->servers[0].loaded_since = s->servers[0].canary_at = NOW - S)
CHANGE(first_writes_since_just_now, s->servers[0].writes_since = NOW - S)

CHANGE(no_canary, s->servers[0].canary_step = STEP_NONE)
CHANGE(canary_of_the_step_before, s->servers[0].canary_step--)
CHANGE(canary_of_the_step_after, s->servers[0].canary_step++)
CHANGE(canary_before_loading, s->servers[0].canary_at = NOW - 1001 * S)
CHANGE(canary_by_another_process, s->servers[0].canary_process = 6)
CHANGE(no_object_can_be_one, s->servers[0].canary_impossible = true)
CHANGE(second_has_no_canary, s->servers[1].canary_step = STEP_NONE)

CHANGE(no_census, s->seen.census = (struct census_observation){.groups = s->groups})
CHANGE(census_incomplete, s->seen.census.complete = false)
CHANGE(census_incomplete_just_now, s->seen.census.complete = false; s->seen.census.finished = NOW - 4 * S)
CHANGE(census_incomplete_10_s_ago, s->seen.census.complete = false; s->seen.census.finished = NOW - 10 * S)
CHANGE(census_before_converging, s->seen.census.begun = NOW - 1001 * S; s->seen.census.finished = NOW - 1000 * S)
CHANGE(census_before_settling_ended, s->seen.census.begun = NOW - 901 * S)
CHANGE(census_to_take_anew_and_a_member_silent, s->seen.census.unsettled = true; s->members[0].answering = false)
CHANGE(census_as_it_converged, s->seen.census.begun = NOW - 1000 * S)
CHANGE(census_as_settling_ended, s->seen.census.begun = NOW - 900 * S)
CHANGE(census_is_old, s->seen.census.finished = NOW - 61 * S; s->seen.census.begun = NOW - 70 * S)
CHANGE(census_is_a_minute_old, s->seen.census.finished = NOW - 60 * S; s->seen.census.begun = NOW - 70 * S)

static struct census_group *found(struct scene *s, const char *resource, const char *key, uint64_t values)
{
	struct census_group *group = &s->groups[s->seen.census.group_count++];
	struct config_key parsed = shape_parse_key(key);
	free(parsed.name);
	free(parsed.kms_endpoint);
	*group = (struct census_group){
		.resource = text(resource), .type = parsed.type, .kms_version = parsed.kms_version, .values = values};
	group->name = text(strchr(key, ':') ? strchr(key, ':') + 1 : text_equal(key, "-") ? "" : key);
	return group;
}
CHANGE(secrets_under_a, found(s, "secrets", "a", 3))
CHANGE(three_more_secrets_under_a, found(s, "secrets", "a", 3))
CHANGE(secrets_under_b, found(s, "secrets", "b", 5))
CHANGE(secrets_under_x, found(s, "secrets", "x", 1))
CHANGE(secrets_under_k, found(s, "secrets", "k", 1))
CHANGE(secrets_in_plaintext, found(s, "secrets", "-", 2))
CHANGE(secrets_under_kms, found(s, "secrets", "kms:v", 2))
CHANGE(secrets_under_key_1, found(s, "secrets", "kms:v", 2)->key_id = text("1"))
CHANGE(secrets_under_key_2, found(s, "secrets", "kms:v", 2)->key_id = text("2"))
CHANGE(the_kms_moved, s->seen.kms_moved = true)
CHANGE(adopted_10_s_ago, s->seen.kms_adopted_at = s->servers[0].canary_at = NOW - 10 * S)
CHANGE(history_goes_on, s->seen.history_ended_at = 0)
CHANGE(history_ended_as_settling_did, s->seen.history_ended_at = NOW - 900 * S)
CHANGE(history_ended_since_the_census, s->seen.history_ended_at = NOW - 39 * S)
CHANGE(history_ended_as_the_census_began, s->seen.history_ended_at = NOW - 40 * S)
CHANGE(canary_before_the_census, s->servers[1].canary_at = NOW - 31 * S)
CHANGE(no_canary_since_the_census, s->servers[0].canary_at = NOW - 31 * S)
CHANGE(canary_as_the_census_ended, s->servers[0].canary_at = NOW - 30 * S)
CHANGE(not_adopted, s->seen.kms_adopted_at = 0)
CHANGE(elsewhere_under_key_1, found(s, NULL, "kms:v", 1)->key_id = text("1"))
CHANGE(elsewhere_under_key_2, found(s, NULL, "kms:v", 1)->key_id = text("2"))
CHANGE(elsewhere_under_another_kms, found(s, NULL, "kms:w", 1)->key_id = text("1"))
CHANGE(the_kms_is_not_known, s->seen.kms_why = text("kms/v: sealed"))
CHANGE(secrets_under_kms1, found(s, "secrets", "kms1:v", 1))
CHANGE(no_secrets_under_a, found(s, "secrets", "a", 0))
CHANGE(no_secrets_under_b, found(s, "secrets", "b", 0))
CHANGE(configmaps_under_a, found(s, "configmaps", "a", 2))
CHANGE(configmaps_under_b, found(s, "configmaps", "b", 2))
CHANGE(pods_in_plaintext, found(s, "pods", "-", 9))
CHANGE(pods_under_c, found(s, "pods", "c", 9))
CHANGE(secrets_under_c, found(s, "secrets", "c", 1))
CHANGE(elsewhere_under_a, found(s, NULL, "a", 1))
CHANGE(elsewhere_in_plaintext, found(s, NULL, "-", 1))
CHANGE(foreign_under_a, found(s, NULL, "a", 1)->foreign = true)
CHANGE(expected_under_a, found(s, "ranges", "a", 1)->expected = true)
CHANGE(of_no_known_form, found(s, "secrets", "-", 1)->unknown = true)
CHANGE(foreign_of_no_known_form, struct census_group *g = found(s, NULL, "-", 1); g->unknown = g->foreign = true)
CHANGE(some_do_not_open, s->seen.census.does_not_open = 1)

CHANGE(not_swept, s->seen.sweep = (struct sweep_observation){.step = STEP_NONE})
CHANGE(sweep_interrupted, s->seen.sweep.finished = 0)
CHANGE(swept_at_another_step, s->seen.sweep.step--)
CHANGE(swept_before_converging, s->seen.sweep.begun = NOW - 1001 * S)
CHANGE(swept_as_it_converged, s->seen.sweep.begun = NOW - 1000 * S)
CHANGE(swept_as_settling_ended, s->seen.sweep.begun = NOW - 900 * S; s->seen.sweep.finished = NOW - 700 * S)
CHANGE(swept_after_settling, s->seen.sweep.begun = NOW - 800 * S; s->seen.sweep.finished = NOW - 700 * S)
CHANGE(swept_after_the_census, s->seen.sweep.begun = NOW - 20 * S; s->seen.sweep.finished = NOW - 10 * S)
CHANGE(swept_just_now, s->seen.sweep.begun = NOW - 5 * S; s->seen.sweep.finished = NOW - 2 * S)
CHANGE(swept_as_the_census_ended, s->seen.sweep.begun = NOW - 30 * S; s->seen.sweep.finished = NOW - 10 * S)
CHANGE(three_quarantined, s->seen.sweep.quarantined = 3)
CHANGE(two_quarantined, s->seen.sweep.quarantined = 2)
CHANGE(versions_differ, s->servers[1].version = text("v1.35.1"))
CHANGE(versions_unknown, s->servers[0].version = s->servers[1].version = NULL)

CHANGE(not_settled, s->seen.settled_began = s->seen.settled_ended = 0)
CHANGE(settled_before_converging, s->seen.settled_began = NOW - 1100 * S; s->seen.settled_ended = NOW - 941 * S)
CHANGE(settled_a_while_after_converging, s->seen.settled_began = NOW - 1100 * S; s->seen.settled_ended = NOW - 940 * S)
CHANGE(settled_too_short, s->seen.settled_ended = NOW - 941 * S)
CHANGE(settled_later, s->seen.settled_began = NOW - 959 * S)
CHANGE(members_unknown, s->seen.members_known = FACT_UNKNOWN)
CHANGE(no_members, s->seen.member_count = 0)
CHANGE(member_silent, s->members[0].answering = false)
CHANGE(second_member_silent, s->members[1].answering = false)
CHANGE(second_member_is_a_learner, s->members[1].learner = true)
CHANGE(not_quiet, s->seen.quiet_since = 0)
CHANGE(quiet_for_10_s, s->seen.quiet_since = NOW - 10 * S)
CHANGE(quiet_for_60_s, s->seen.quiet_since = NOW - 60 * S)
CHANGE(quiet_for_half_a_second_less, s->seen.quiet_since = NOW - 59 * S - S / 2)
CHANGE(loaded_10_s_ago,
       s->servers[0].loaded_since = s->servers[0].writes_since = s->servers[0].canary_at = NOW - 10 * S)

CHANGE(file_loaded_10_s_ago, s->servers[0].loaded_since = s->servers[0].canary_at = NOW - 10 * S)
CHANGE(not_compacted, s->seen.census.compacted = false)
CHANGE(an_agent_had_not_settled, s->seen.census.unsettled = true)
CHANGE(asked_to_compact, s->seen.compact = true)
CHANGE(compaction_soon, s->seen.census.compaction_expected = NOW + S / 4)
CHANGE(compaction_now, s->seen.census.compaction_expected = NOW)
CHANGE(compaction_overdue, s->seen.census.compaction_expected = NOW - 1)
CHANGE(compaction_off, s->seen.census.compaction_expected = 0)
CHANGE(looked_a_minute_ago, s->servers[0].looked_at = NOW - 60 * S)
CHANGE(looked_too_long_ago, s->servers[0].looked_at = NOW - 60 * S - 1)
CHANGE(second_looked_too_long_ago, s->servers[1].looked_at = NOW - 61 * S)
CHANGE(etcd_looked_at_too_long_ago, s->seen.etcd_looked_at = NOW - 61 * S)
CHANGE(etcd_never_looked_at, s->seen.etcd_looked_at = 0)
CHANGE(etcd_went_back, s->seen.etcd_back_at = NOW - 35 * S)
CHANGE(etcd_went_back_before_the_census, s->seen.etcd_back_at = NOW - 41 * S)
CHANGE(etcd_went_back_as_the_census_began, s->seen.etcd_back_at = NOW - 40 * S)
CHANGE(etcd_went_back_after_the_reads, s->seen.etcd_back_at = NOW - 15 * S; s->seen.census.begun = NOW - 12 * S)

CHANGE(rescued_once, s->seen.rescues = 1)
CHANGE(rescued_twice, s->seen.rescues = 2)
CHANGE(not_read_back, s->seen.reads_checked_at = 0)
CHANGE(read_back_before_converging, s->seen.reads_checked_at = NOW - 1001 * S)
CHANGE(read_back_as_it_converged, s->seen.reads_checked_at = NOW - 1000 * S)
CHANGE(retired, s->seen.retired = true)
CHANGE(given_up_untouched, s->seen.untouched = true)

/* --- what is wanted --- */

#define ANY_TIME UINT64_MAX
#define GOOD_UNTIL (NOW + 58 * S) /* etcd was looked at 2 s ago */
#define NOBODY .server = -1, .member = -1, .group = -1
/* The last of equal designators holds; -Woverride-init is for accidents. */
#pragma GCC diagnostic ignored "-Wpragmas"
#pragma GCC diagnostic ignored "-Woverride-init"
#pragma GCC diagnostic ignored "-Winitializer-overrides"
#define DECISION(action_, phase_, reason_, ...)                                                                        \
	{                                                                                                              \
		.action = ACTION_##action_, .phase = PHASE_##phase_, .reason = REASON_##reason_, .to_step = STEP_NONE, \
		.step = STEP_NONE, NOBODY, .valid_until = ANY_TIME, __VA_ARGS__                                        \
	}
#define WAIT(phase_, reason_, ...) DECISION(WAIT, phase_, reason_, .due = NOW + S, __VA_ARGS__)
#define BLOCKED_BY(reason_, ...) DECISION(BLOCKED, BLOCKED, reason_, .due = NOW + S, __VA_ARGS__)
#define DO(action_, phase_, reason_, ...) DECISION(action_, phase_, reason_, .due = NOW, __VA_ARGS__)
#define WRITE(phase_, reason_, step_, to_, ...)                                                                \
	DO(WRITE_STEP, phase_, reason_, .step = step_, .to_step = to_, .server = 0, .expect_hash = "h" #step_, \
	   __VA_ARGS__)
#define RESCUE(reason_, to_, hash_, ...) \
	DO(WRITE_STEP, RESCUE, reason_, .to_step = to_, .server = 0, .expect_hash = hash_, .rescue = true, __VA_ARGS__)

#include "next_action_rows.h"

/* --- running a row --- */

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

static char *decision_line(const struct decision *d)
{
	return xasprintf("%s %s %s step %d to %d server %d member %d group %d expect %s%s%s due %+.2f s until %s%.2f s",
			 action_name(d->action), phase_name(d->phase), reason_name(d->reason), d->step, d->to_step,
			 d->server, d->member, d->group, d->expect_hash ? d->expect_hash : "-",
			 d->named_only ? " named" : "", d->rescue ? " rescue" : "",
			 ((double)d->due - (double)NOW) / (double)S, d->valid_until == ANY_TIME ? "any time " : "",
			 d->valid_until == ANY_TIME ? 0 : ((double)d->valid_until - (double)NOW) / (double)S);
}

static void decides(void **state)
{
	const struct row *row = *state;
	struct scene scene;
	struct path *path = route_path(row->route);
	goes_well(&scene, row->at);
	for (size_t i = 0; i < CHANGES_MAX && row->but[i]; i++)
		row->but[i](&scene);
	const struct decision got = next_action(path, &scene.seen, NOW);
	const char *difference = decision_difference(&got, &row->want);
	if (!difference && got.valid_until != row->want.valid_until)
		difference = "until when it is good";
	_cleanup_free_ char *got_text = decision_line(&got), *want_text = decision_line(&row->want);
	if (difference)
		print_error("differs in %s\n  got    %s\n  wanted %s\n", difference, got_text, want_text);
	path_free(path);
	assert_null(difference);
}

/* --- the table as a whole --- */

static void every_action_and_reason_is_wanted_twice(void **state)
{
	(void)state;
	unsigned actions[ACTION_DONE + 1] = {0}, reasons[REASON_TOLD + 1] = {0}, few = 0;
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		actions[rows[i].want.action]++;
		reasons[rows[i].want.reason]++;
	}
	for (enum action a = 0; a <= ACTION_DONE; a++)
		if (actions[a] < 2)
			print_error("%u rows want %s\n", few++, action_name(a));
	for (enum reason r = 0; r <= REASON_TOLD; r++)
		if (reasons[r] < 2)
			print_error("%u rows want %s\n", (few++, reasons[r]), reason_name(r));
	assert_int_equal(few, 0);
}

static void every_phase_has_a_row(void **state)
{
	(void)state;
	for (enum phase phase = 0; phase <= PHASE_DONE; phase++) {
		size_t found_rows = 0;
		for (size_t i = 0; i < ELEMENTS(rows); i++)
			found_rows += rows[i].want.phase == phase;
		if (found_rows == 0)
			print_error("no row wants %s\n", phase_name(phase));
		assert_true(found_rows > 0);
	}
}

static void names_are_told_apart(void **state)
{
	(void)state;
	for (enum phase a = 0; a <= PHASE_DONE; a++)
		for (enum phase b = 0; b < a; b++)
			assert_string_not_equal(phase_name(a), phase_name(b));
	for (enum action a = 0; a <= ACTION_DONE; a++)
		for (enum action b = 0; b < a; b++)
			assert_string_not_equal(action_name(a), action_name(b));
	for (enum reason a = 0; a <= REASON_TOLD; a++)
		for (enum reason b = 0; b < a; b++)
			assert_string_not_equal(reason_name(a), reason_name(b));
	for (enum reason r = REASON_SET_UNKNOWN; r < REASON_TOLD; r++)
		assert_true(strlen(reason_text(r)) > 8);
}

/* A rule that is off is what only the exploration asks for; next_action itself has all of them. */
struct off {
	const char *name;
	unsigned rules;
	enum route route;
	int at;
	change *but;
	enum reason with, without;
	int step;
};
static const struct off offs[] = {
	{"LOADED: a server is down", RULE_LOADED, KEY, 0, down, REASON_SERVER_DOWN, REASON_STEP, 0},
	{"LOADED: what it runs is unknown", RULE_LOADED, KEY, 1, loaded_unknown, REASON_LOADED_UNKNOWN, REASON_STEP, 1},
	{"LOADED: [a,b] is not loaded", RULE_LOADED, KEY, 1, runs_the_step_before, REASON_NOT_LOADED, REASON_STEP, 1},
	{"LOADED: it runs [b,a]", RULE_LOADED, KEY, 0, runs_step_2_unwritten, REASON_BEHIND, REASON_STEP, 0},
	{"LOADED: it runs [a] behind a drop", RULE_LOADED, KEY, 3, runs_step_0, REASON_BEHIND, REASON_RETIRE, 3},
	{"LOADED: another server runs [a]", RULE_LOADED, KEY, 2, second_of_two_runs_step_0, REASON_BEHIND, REASON_STEP,
	 2},
	{"LOADED: no canary", RULE_LOADED, KEY, 2, no_canary, REASON_CANARY_MISSING, REASON_STEP, 2},
	{"READABLE", RULE_READABLE, SKIPPING, 0, no_secrets_under_a, REASON_UNREADABLE_STEP, REASON_STEP, 0},
	{"READABLE: FRESH still sees a write key leave", RULE_READABLE, SWAPPING, 0, no_secrets_under_a,
	 REASON_UNREADABLE_STEP, REASON_UNREADABLE_STEP, 0},
	{"READABLE and FRESH", RULE_READABLE | RULE_FRESH, SWAPPING, 0, no_secrets_under_a, REASON_UNREADABLE_STEP,
	 REASON_STEP, 0},
	{"SETTLED", RULE_SETTLED, KEY, 2, not_settled, REASON_SETTLING, REASON_STEP, 2},
	{"SETTLED: a member is silent now", RULE_SETTLED, KEY, 2, census_to_take_anew_and_a_member_silent,
	 REASON_MEMBER_SILENT, REASON_SETTLED_CENSUS, 2},
	{"CENSUS", RULE_CENSUS, KEY, 2, census_before_settling_ended, REASON_SETTLED_CENSUS, REASON_STEP, 2},
	{"HISTORY", RULE_HISTORY, KEY, 2, not_compacted, REASON_HISTORY, REASON_STEP, 2},
	{"FRESH", RULE_FRESH, KEY, 2, looked_too_long_ago, REASON_LOOK_TOO_OLD, REASON_STEP, 2},
};

static void can_be_switched_off(void **state)
{
	const struct off *row = *state;
	struct scene scene;
	struct path *path = route_path(row->route);
	goes_well(&scene, row->at);
	row->but(&scene);
	const struct decision on = next_action(path, &scene.seen, NOW);
	const struct decision off = next_action_under(path, &scene.seen, NOW, RULES_ALL & ~row->rules);
	assert_string_equal(reason_name(on.reason), reason_name(row->with));
	assert_string_equal(reason_name(off.reason), reason_name(row->without));
	assert_int_equal(off.step, row->step);
	path_free(path);
}

static void without_fences_no_hash_is_expected(void **state)
{
	(void)state;
	struct scene scene;
	struct path *path = route_path(KEY);
	goes_well(&scene, 0);
	assert_null(next_action_under(path, &scene.seen, NOW, RULES_ALL & ~(unsigned)RULE_FENCED).expect_hash);
	path_free(path);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_action_and_reason_is_wanted_twice),
		cmocka_unit_test(every_phase_has_a_row),
		cmocka_unit_test(names_are_told_apart),
		cmocka_unit_test(without_fences_no_hash_is_expected),
	};
	int failed = RUN_ROWS(decides, rows) + RUN_ROWS(can_be_switched_off, offs) +
		     cmocka_run_group_tests(tests, NULL, NULL);
	return failed ? 1 : 0; /* 256 of them would be an exit status of 0 */
}
