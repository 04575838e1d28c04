#include "kms.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "engine/kms_follow.h"
#include "stamps.h"

static unsigned long model_actions[ACTION_DONE + 1], model_reasons[REASON_TOLD + 1];
static const struct scenario *scenario;
static struct path *path; /* [kms/v]: nothing of the file changes */

enum event {
	/* the KMS and the server */
	EVENT_MOVE,
	EVENT_SICK,
	EVENT_WELL,
	EVENT_TOLD,
	EVENT_ADOPT,
	EVENT_RESTART,
	/* clients */
	EVENT_WRITE,
	EVENT_LAND_1,
	EVENT_LAND_2,
	EVENT_LOSE_1,
	EVENT_LOSE_2,
	/* etcd and time */
	EVENT_SILENT,
	EVENT_ANSWERS,
	EVENT_TICK,
	EVENT_COMPACTED,
	/* our process */
	EVENT_LOOK,
	EVENT_LOOK_UNASKED,    /* it was asked a moment ago */
	EVENT_LOOK_UNANSWERED, /* it answers the server, and not us */
	EVENT_ACT,
	EVENT_DIE,
	EVENTS
};

static uint8_t other(uint8_t key)
{
	return KEY_1 + KEY_2 - key;
}

static const char *key_id(uint8_t key)
{
	return key == KEY_1 ? "1" : "2";
}

static bool spend(struct model_state *s, enum budget budget)
{
	if (s->left[budget] == 0)
		return false;
	s->left[budget]--;
	return true;
}

/* --- what the world does --- */

static void write_to_etcd(struct model_state *s, uint8_t keys)
{
	s->values |= keys;
	s->history |= keys;
	s->after_census |= keys;
}

static bool move(struct model_state *s)
{
	if (!spend(s, BUDGET_MOVE))
		return false;
	s->plugin = other(s->plugin);
	return true;
}

static void name(struct model_state *s, uint8_t key)
{
	if (key != s->followed)
		s->other_since_look = s->other_since_adopted = 1;
	s->named_set |= key;
	s->newest = key;
}

/* Each minute, or each 10 s while it is asked whether it is ready. Being told what it knows changes nothing. */
static bool tell(struct model_state *s)
{
	if (s->sick || s->told || (s->newest == s->plugin && s->adopted == s->plugin))
		return false;
	name(s, s->plugin);
	s->told = s->plugin;
	return true;
}

static bool adopt(struct model_state *s)
{
	if (!s->told)
		return false;
	s->adopted = s->told;
	s->told = 0;
	return true;
}

static bool restart(struct model_state *s)
{
	if (s->sick || !spend(s, BUDGET_RESTART))
		return false;
	s->named_set = s->newest = s->told = s->process_known = 0;
	name(s, s->plugin);
	s->adopted = s->plugin;
	s->other_since_look = s->other_since_adopted = 1; /* its metrics are of another process */
	return true;
}

static bool land(struct model_state *s, uint8_t key)
{
	if (!(s->in_flight & key))
		return false;
	s->in_flight &= (uint8_t)~key;
	write_to_etcd(s, key);
	return true;
}

static bool lose(struct model_state *s, uint8_t key)
{
	if (!(s->values & key))
		return false;
	s->values &= (uint8_t)~key;
	return true;
}

static bool compact(struct model_state *s, uint8_t keeps)
{
	if (!s->census_at || (s->history == keeps && s->compacted))
		return false;
	s->history = keeps;
	s->compacted = 1;
	return true;
}

static bool silent(struct model_state *s)
{
	if (s->silent || scenario->no_silence)
		return false;
	s->silent = 1;
	if (!(scenario->flaws & FLAW_NO_SILENCE))
		s->quiet_since = 0;
	return true;
}

/* A write in flight ends within the settle time in which everything answers, and outlives any other. */
static bool tick(struct model_state *s)
{
	if (!s->silent && s->in_flight)
		return false;
	s->now = (uint8_t)(s->now + TICK);
	return true;
}

/* --- our process: looking --- */

static bool may_adopt_another(const struct model_state *s)
{
	return s->newest && s->newest != s->followed;
}

static void doubt(struct model_state *s)
{
	s->adopted_at = s->history_at = s->has_adopted_names = s->lacked = 0;
}

static void begin_again(struct model_state *s)
{
	doubt(s);
	s->settled_began = s->settled_ended = s->canary_at = s->canary_shown = s->reads_at = 0;
	s->sweep_at = s->sweep_finished = s->census_at = s->census_complete = s->census_values = 0;
	s->after_census = s->compacted = 0;
}

enum glance { ASKED, NOT_ASKED, NOT_ANSWERED };

/* As rotation_kms_take. */
static void ask_plugin(struct model_state *s, enum glance glance)
{
	s->why = s->sick || glance == NOT_ANSWERED;
	if (glance == NOT_ANSWERED) {
		s->lacked = 1;
	} else if (s->sick) {
		doubt(s);
	} else if (s->plugin != s->followed) {
		begin_again(s);
		s->moved = 1;
		s->followed = s->plugin;
		s->other_since_look = s->other_since_adopted = 1;
	}
}

static void look_at_server(struct model_state *s)
{
	if (!s->process_known && s->quiet_since)
		s->quiet_since = s->now;
	if (!s->process_known || !s->loaded_since)
		s->loaded_since = s->now;
	s->process_known = 1;
	s->may_adopt = may_adopt_another(s);
	s->shows = s->named_set && !s->may_adopt;
}

/* As rotation_kms_compare. */
static void compare_names(struct model_state *s)
{
	bool another = s->has_adopted_names && s->shows && s->other_since_adopted;
	if (s->adopted_at && !(scenario->flaws & FLAW_NO_NAMES) && (s->may_adopt || another)) {
		doubt(s);
	} else if (s->adopted_at && s->lacked && !s->why) {
		s->lacked = 0;
		if (!s->has_adopted_names || !s->shows)
			doubt(s);
	}
	s->other_since_look = 0;
}

static void look(struct model_state *s, enum glance glance)
{
	s->now++;
	if (glance != NOT_ASKED)
		ask_plugin(s, glance);
	look_at_server(s);
	if (s->silent && !(scenario->flaws & FLAW_NO_SILENCE))
		s->quiet_since = 0;
	else if (!s->quiet_since)
		s->quiet_since = s->now;
	compare_names(s);
}

/* --- our process: deciding --- */

struct seen {
	struct observation observation;
	struct server_observation server;
	struct member_observation member;
	struct census_group groups[2];
};

static char *text(const char *words)
{
	return (char *)(uintptr_t)words;
}

static size_t observe_values(const struct model_state *s, struct census_group *groups)
{
	size_t n = 0;
	for (uint8_t key = KEY_1; key <= KEY_2; key++)
		if (s->census_values & key)
			groups[n++] = (struct census_group){.resource = text("secrets"),
							    .type = PROVIDER_KMS,
							    .kms_version = 2,
							    .name = text("v"),
							    .key_id = text(key_id(key)),
							    .values = 1};
	return n;
}

static void observe(const struct model_state *s, struct seen *seen)
{
	seen->member = (struct member_observation){.name = text("m"), .answering = !s->silent};
	seen->server = (struct server_observation){.name = text("cp"),
						   .looked_at = ns(s->now),
						   .answering = true,
						   .version = text("v1"),
						   .file = FACT_KNOWN,
						   .file_hash = text("h"),
						   .file_ours = true,
						   .loaded = FACT_KNOWN,
						   .loaded_hash = text("h"),
						   .loaded_is_file = true,
						   .evidence = LOADED_BY_HASH,
						   .process = 1,
						   .loaded_since = ns(s->loaded_since),
						   .writes_since = ns(s->loaded_since),
						   .reloads_itself = true,
						   .canary_step = s->canary_shown ? 0 : STEP_NONE,
						   .canary_at = ns(s->canary_at),
						   .canary_process = 1};
	seen->observation = (struct observation){
		.servers_known = FACT_KNOWN,
		.servers = &seen->server,
		.server_count = 1,
		.members_known = FACT_KNOWN,
		.members = &seen->member,
		.member_count = 1,
		.quiet_since = ns(s->quiet_since),
		.settled_began = ns(s->settled_began),
		.settled_ended = ns(s->settled_ended),
		.etcd_looked_at = ns(s->now),
		.census = {.begun = ns(s->census_at),
			   .finished = ns(s->census_at),
			   .complete = s->census_complete,
			   .groups = seen->groups,
			   .group_count = observe_values(s, seen->groups),
			   .compacted = s->compacted,
			   .compaction_expected = s->census_at ? ns(s->census_at) + COMPACTION : 0},
		.sweep = {.step = s->sweep_at ? 0 : STEP_NONE,
			  .begun = ns(s->sweep_at),
			  .finished = s->sweep_finished ? ns(s->sweep_at) : 0},
		.kms_why = s->why ? text("its plugin is not well") : NULL,
		.kms_adopted_at = ns(s->adopted_at),
		.history_ended_at = ns(s->history_at),
		.kms_moved = s->moved,
		.reads_checked_at = ns(s->reads_at),
		.retired = s->retired,
		.settle_time = SETTLE_TIME,
		.compact = scenario->compact,
	};
}

static void take_history(struct model_state *s, struct seen *seen)
{
	struct config_key *followed = &path->steps[0]->rules[0].keys[0];
	uint64_t ended_at = ns(s->history_at);
	followed->kms_key_id = text(key_id(s->followed));
	if (!kms_take_history(path->steps[0], &seen->observation, ns(s->now), &ended_at))
		doubt(s);
	else if (ended_at != ns(s->history_at))
		s->history_at = s->now;
}

static struct decision decide(struct model_state *s, enum glance glance)
{
	static struct seen seen;
	look(s, glance);
	observe(s, &seen);
	take_history(s, &seen);
	observe(s, &seen);
	unsigned rules = scenario->rules ? scenario->rules : RULES_ALL;
	return next_action_under(path, &seen.observation, ns(s->now), rules);
}

static bool acts(const struct decision *d)
{
	return d->action != ACTION_WAIT && d->action != ACTION_BLOCKED && d->action != ACTION_DONE;
}

static bool look_event(struct model_state *s, enum glance glance)
{
	if (s->pending || (glance == NOT_ANSWERED && !spend(s, BUDGET_UNANSWERED)))
		return false;
	const struct decision d = decide(s, glance);
	if (!scenario->rules && !scenario->flaws) {
		model_actions[d.action]++;
		model_reasons[d.reason]++;
	}
	/* What nobody knows of any more the key of before is destroyed by. */
	uint8_t needed = s->values | s->in_flight | s->history | s->adopted;
	if (d.action == ACTION_DONE && (needed & ~s->followed))
		s->broken = 1;
	if (acts(&d)) {
		s->pending = (uint8_t)(d.action + 1);
		s->pending_settle = d.phase == PHASE_SETTLE;
	}
	return true;
}

/* --- our process: acting --- */

/* As rotation_kms_canary: names are those of the look before it. */
static void act_canary(struct model_state *s)
{
	if (s->silent)
		return;
	bool shown = s->adopted == s->followed;
	write_to_etcd(s, s->adopted);
	s->canary_at = s->now;
	s->canary_shown = shown;
	if (!shown || s->may_adopt) {
		doubt(s);
	} else if (!s->adopted_at) {
		s->adopted_at = s->now;
		s->lacked = 0;
		s->has_adopted_names = s->shows;
		s->other_since_adopted = s->other_since_look;
		s->quiet_since = s->quiet_since ? s->now : 0;
	}
	if (!s->pending_settle || !shown)
		return;
	s->history_at = 0;
	s->settled_began = s->quiet_since;
	s->settled_ended = s->quiet_since ? s->now : 0;
}

static void act_sweep(struct model_state *s)
{
	s->sweep_at = s->now;
	s->sweep_finished = !s->silent;
	if (s->values == 0)
		return;
	write_to_etcd(s, s->adopted);
	if (s->sweep_finished)
		s->values = s->adopted;
}

static void act_census(struct model_state *s)
{
	s->census_at = s->now;
	s->census_complete = !s->silent;
	s->census_values = s->after_census = s->values;
	s->moved |= (s->values & ~s->followed) != 0; /* something is stored under another key */
	s->compacted = 0;
}

static bool act(struct model_state *s)
{
	if (!s->pending)
		return false;
	s->now++;
	switch ((int)s->pending - 1) {
	case ACTION_CANARY:
		act_canary(s);
		break;
	case ACTION_REENCRYPT:
		act_sweep(s);
		break;
	case ACTION_CENSUS:
		act_census(s);
		break;
	case ACTION_COMPACT:
		compact(s, s->after_census);
		break;
	case ACTION_READ_BACK:
		s->reads_at = s->now;
		break;
	case ACTION_RETIRE:
		s->retired = 1;
		break;
	default:
		abort(); /* no file is written where none changes */
	}
	s->pending = s->pending_settle = 0;
	return true;
}

static bool die(struct model_state *s)
{
	if (!spend(s, BUDGET_DEATH))
		return false;
	begin_again(s);
	s->why = s->process_known = s->may_adopt = s->shows = s->loaded_since = s->quiet_since = 0;
	s->pending = s->pending_settle = 0;
	s->other_since_look = s->other_since_adopted = 0;
	return true;
}

/* --- all of it --- */

static void normalise(struct model_state *s)
{
	uint8_t *all[] = {&s->adopted_at, &s->history_at,    &s->loaded_since,  &s->canary_at,   &s->census_at,
			  &s->sweep_at,   &s->settled_began, &s->settled_ended, &s->quiet_since, &s->reads_at,
			  &s->now};
	if (!s->adopted_at)
		s->other_since_adopted = 0;
	stamps_renumber(all, ELEMENTS(all), s->now, s->settled_ended);
}

static bool world_event(struct model_state *s, enum event event)
{
	switch ((int)event) {
	case EVENT_MOVE:
		return move(s);
	case EVENT_SICK:
		if (s->sick || !spend(s, BUDGET_SICK))
			return false;
		s->sick = 1;
		return true;
	case EVENT_WELL:
		if (!s->sick)
			return false;
		s->sick = 0;
		return true;
	case EVENT_TOLD:
		return tell(s);
	case EVENT_ADOPT:
		return adopt(s);
	case EVENT_RESTART:
		return restart(s);
	case EVENT_WRITE:
		if (s->in_flight & s->adopted)
			return false;
		s->in_flight |= s->adopted;
		return true;
	case EVENT_LAND_1:
		return land(s, KEY_1);
	case EVENT_LAND_2:
		return land(s, KEY_2);
	case EVENT_LOSE_1:
		return lose(s, KEY_1);
	case EVENT_LOSE_2:
		return lose(s, KEY_2);
	case EVENT_SILENT:
		return silent(s);
	case EVENT_ANSWERS:
		if (!s->silent)
			return false;
		s->silent = 0;
		return true;
	case EVENT_TICK:
		return tick(s);
	case EVENT_COMPACTED:
		return compact(s, s->after_census);
	}
	return false;
}

static bool happen(struct model_state *s, unsigned event)
{
	bool happened = event == EVENT_LOOK              ? look_event(s, ASKED)
			: event == EVENT_LOOK_UNASKED    ? look_event(s, NOT_ASKED)
			: event == EVENT_LOOK_UNANSWERED ? look_event(s, NOT_ANSWERED)
			: event == EVENT_ACT             ? act(s)
			: event == EVENT_DIE             ? die(s)
							 : world_event(s, (enum event)event);
	if (happened)
		normalise(s);
	return happened;
}

void model_successors(const struct model_state *state, model_visit *visit, void *arg)
{
	for (unsigned event = 0; event < EVENTS; event++) {
		struct model_state next = *state;
		if (happen(&next, event) && memcmp(&next, state, sizeof(next)) != 0)
			visit(&next, event, arg);
	}
}

enum helped model_helped(const struct model_state *s, struct model_state *next, unsigned *event)
{
	static const enum event helpful[] = {EVENT_WELL,   EVENT_ADOPT,  EVENT_TOLD,
					     EVENT_LAND_1, EVENT_LAND_2, EVENT_ANSWERS};
	*next = *s;
	for (size_t e = 0; e < ELEMENTS(helpful); e++)
		if (happen(next, *event = helpful[e]))
			return HELPED;
	*event = s->pending ? EVENT_ACT : EVENT_LOOK;
	if (s->pending)
		return happen(next, *event) ? HELPED : HELPED_STUCK;
	struct model_state looked = *s;
	const struct decision d = decide(&looked, ASKED);
	normalise(&looked);
	if (d.action == ACTION_DONE)
		return HELPED_END;
	if (acts(&d) || memcmp(&looked, s, sizeof(looked)) != 0)
		return happen(next, *event) ? HELPED : HELPED_STUCK;
	/* It moved and moved back, and nobody saw it: whoever asked for this has to move it. */
	if (d.reason == REASON_KMS_UNMOVED && s->left[BUDGET_MOVE] == 0)
		return HELPED_PERSON;
	bool compaction = d.reason == REASON_HISTORY || d.reason == REASON_NO_COMPACTION;
	*event = d.reason == REASON_KMS_UNMOVED ? EVENT_MOVE : compaction ? EVENT_COMPACTED : EVENT_TICK;
	return happen(next, *event) && memcmp(next, s, sizeof(*next)) != 0 ? HELPED : HELPED_STUCK;
}

const char *model_broken(const struct model_state *s)
{
	return s->broken ? "it said that nothing needs the key of before, and something does" : NULL;
}

/* --- beginning, and telling --- */

void model_begin(const struct scenario *begun)
{
	scenario = begun;
	if (path)
		return;
	struct config_shape *shape = xcalloc(1, sizeof(*shape));
	shape->rule_count = 1;
	shape->rules = xcalloc(1, sizeof(*shape->rules));
	shape->rules->resources = xcalloc(1, sizeof(*shape->rules->resources));
	shape->rules->resources[shape->rules->resource_count++] = xstrdup("secrets");
	shape->rules->keys = xcalloc(1, sizeof(*shape->rules->keys));
	shape->rules->keys[shape->rules->key_count++] = (struct config_key){.type = PROVIDER_KMS,
									    .kms_version = 2,
									    .name = xstrdup("v"),
									    .kms_endpoint = xstrdup("unix:///v"),
									    .kms_key_id = text(key_id(KEY_1))};
	path = xcalloc(1, sizeof(*path));
	path->steps = xcalloc(1, sizeof(struct config_shape *));
	path->steps[path->count++] = shape;
}

size_t model_initial(struct model_state *ret, size_t max)
{
	struct model_state s = {.plugin = KEY_1,
				.adopted = KEY_1,
				.named_set = KEY_1,
				.newest = KEY_1,
				.values = KEY_1,
				.history = KEY_1,
				.followed = KEY_1,
				.now = 1};
	memcpy(s.left, scenario->budgets, sizeof(s.left));
	ret[0] = s;
	return max > 0;
}

/* All else model.c has. */
static bool of_a_kms(enum reason reason)
{
	return reason == REASON_KMS_UNKNOWN || reason == REASON_KMS_UNMOVED || reason == REASON_LAST_CANARY;
}

bool model_reached(void)
{
	bool good = true;
	for (enum action a = 0; a <= ACTION_DONE; a++)
		if (model_actions[a] > 0)
			printf("%12lu  %s\n", model_actions[a], action_name(a));
	for (enum reason r = 0; r <= REASON_TOLD; r++) {
		if (model_reasons[r] > 0 || of_a_kms(r))
			printf("%12lu  %s\n", model_reasons[r], reason_name(r));
		good &= model_reasons[r] > 0 || !of_a_kms(r);
	}
	if (!good)
		printf("something above was never decided\n");
	return good;
}

static const char *const event_names[EVENTS] = {
	[EVENT_MOVE] = "the KMS changes its key",
	[EVENT_SICK] = "the plugin is not well",
	[EVENT_WELL] = "the plugin is well again",
	[EVENT_TOLD] = "the server is told of a key",
	[EVENT_ADOPT] = "the server adopts it",
	[EVENT_RESTART] = "the server is started again",
	[EVENT_WRITE] = "a client writes",
	[EVENT_LAND_1] = "a write under 1 lands",
	[EVENT_LAND_2] = "a write under 2 lands",
	[EVENT_LOSE_1] = "clients delete all values under 1",
	[EVENT_LOSE_2] = "clients delete all values under 2",
	[EVENT_SILENT] = "a member of etcd stops",
	[EVENT_ANSWERS] = "the member goes on",
	[EVENT_TICK] = "a minute passes",
	[EVENT_COMPACTED] = "etcd is compacted at the census' revision",
	[EVENT_LOOK] = "we look",
	[EVENT_LOOK_UNASKED] = "we look, and do not ask the plugin",
	[EVENT_LOOK_UNANSWERED] = "we look, and the plugin does not answer",
	[EVENT_ACT] = "we do it",
	[EVENT_DIE] = "our process dies",
};

void model_tell(const struct model_state *before, unsigned event, const struct model_state *after, char *ret,
		size_t size)
{
	static const char *const sets[] = {"-", "1", "2", "1,2"};
	char decided[64] = "";
	if (event >= EVENT_LOOK && event <= EVENT_LOOK_UNANSWERED) {
		struct model_state looked = *before;
		const struct decision d = decide(&looked, (enum glance)(event - EVENT_LOOK));
		snprintf(decided, sizeof(decided), ": %s %s", action_name(d.action), reason_name(d.reason));
	}
	snprintf(ret, size, "%s%-*s | KMS %s, server %s; values %s in flight %s history %s%s", event_names[event],
		 (int)(64 - strlen(event_names[event])), decided, key_id(after->plugin), key_id(after->adopted),
		 sets[after->values], sets[after->in_flight], sets[after->history], after->retired ? " retired" : "");
}
