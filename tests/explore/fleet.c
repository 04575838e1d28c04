#include "fleet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"

#define NS_PER_STAMP UINT64_C(1000000000)
#define NS_BASE UINT64_C(1000000000000)
#define ROTATION "rotation"

static const struct scenario *scenario;

static const uint8_t reads_of[SHAPES] = {KEY_A, KEY_A | KEY_B, KEY_A | KEY_B, KEY_B, KEY_A | KEY_B};
static const uint8_t writes_of[SHAPES] = {KEY_A, KEY_A, KEY_B, KEY_B, KEY_A};
static const char *const shape_names[SHAPES] = {"[A]", "[A,B]", "[B,A]", "[B]", "edited"};

enum what { WHAT_NOTHING, WHAT_NONE, WHAT_WRITE, WHAT_RETIRE };
enum order_flag {
	FLAG_RESCUE = 1,
	FLAG_ABORTED = 2,
	FLAG_AGED = 4,    /* what it rests upon is older than 60 s, or the agent was started since */
	FLAG_DONE = 8,    /* it was carried out */
	FLAG_PASSED = 16, /* a later one of its epoch was */
	FLAG_OTHER = 32,  /* of another rotation */
	FLAG_LIES = 64,   /* about the step that the file is at */
};

enum asked { ASKED_NOTHING, ASKED_ABORT, ASKED_PROMOTE_AGAIN };

enum broken { BROKEN_NOT, BROKEN_CHANGED_FILE, BROKEN_DONE };

enum event {
	/* servers and clients */
	EVENT_READ,
	EVENT_SET,
	EVENT_STOP,
	EVENT_START,
	EVENT_WRITE,
	EVENT_LAND_A,
	EVENT_LAND_B,
	EVENT_DIE_A,
	EVENT_DIE_B,
	EVENT_COMPACTED,
	/* those who interfere */
	EVENT_COPY,
	EVENT_PUT_BACK,
	EVENT_EDIT,
	EVENT_RESTORE,
	EVENT_ABORT,
	EVENT_PROMOTE_AGAIN,
	EVENT_RESUME,
	EVENT_FORGE,
	/* agents */
	EVENT_TAKE,
	EVENT_RENAME,
	EVENT_RESTART,
	EVENT_WIPE,
	EVENT_ALONE,
	/* controllers */
	EVENT_LOOK,
	EVENT_LOOK_AND_STOP,
	EVENT_TAKEOVER,
	EVENT_WAKE,
	EVENTS,
};

/* How an agent comes to its order. */
enum reading { READ_FRESH, READ_CACHED, READ_AWAY, READ_LATE, READ_LATE_AWAY, READINGS };
/* What its look fails to tell. */
enum glance {
	LOOK_WELL,
	BLIND_FILE,
	BLIND_LOADED,
	BLIND_PEERS,
	BLIND_PEER,
	BLIND_KEYS,
	BLIND_BYTES,
	BLIND_PATH,
	GLANCES
};

static struct {
	unsigned long grounds[GROUND_UNREADABLE + 1], rulings[RULING_REFUSE + 1], dispatches[DISPATCH_SEND + 1];
	unsigned long actions[ACTION_DONE + 1], reasons[REASON_TOLD + 1], orders[ORDER_RETIRE + 1];
} reached;

/* --- the ways --- */

static struct path *forward, *backs[3]; /* back from [A], [A,B], [B,A] */

/* A path, and how steps of it and shapes belong together. */
struct way {
	const struct path *path;
	int reached; /* the shape that a way back begins with; -1 forward */
};

static struct way way_back(int from)
{
	return (struct way){backs[from], from};
}

static struct way way_of_rotation(const struct model_state *s)
{
	return s->back ? way_back(s->back - 1) : (struct way){forward, -1};
}

/* Whatever an agent knows of the rotation when it takes an order: at worst it believes that. */
static struct way way_of_order(const struct model_state *s, const struct model_order *order)
{
	return order->flags & FLAG_ABORTED && s->back ? way_back(s->back - 1) : (struct way){forward, -1};
}

static int step_on(struct way way, enum shape shape)
{
	if (shape == SHAPE_EDITED || (way.reached >= 0 && (int)shape > way.reached))
		return STEP_NONE;
	return way.reached < 0 ? (int)shape : way.reached - (int)shape;
}

static enum shape shape_at(struct way way, int step)
{
	return (enum shape)(way.reached < 0 ? step : way.reached - step);
}

/* --- contents --- */

static unsigned number_of(content c)
{
	return c & 15;
}

static enum shape shape_of(content c)
{
	return (enum shape)((c >> 4) & 7);
}

static bool foreign(content c)
{
	return c & 128;
}

#define CONTENTS_MAX (7 * SERVERS_MAX + 1)
static size_t contents(struct model_state *s, content *ret[static CONTENTS_MAX])
{
	size_t n = 0;
	for (size_t i = 0; i < scenario->servers; i++) {
		struct model_server *server = &s->servers[i];
		content *of_server[] = {&server->file,         &server->loaded,      &server->worker,
					&server->hand.expect,  &server->spec.expect, &server->late.expect,
					&server->asleep.expect};
		memcpy(ret + n, of_server, sizeof(of_server));
		n += ELEMENTS(of_server);
	}
	ret[n++] = &s->copy;
	return n;
}

static content new_content(struct model_state *s, enum shape shape, bool by_others)
{
	unsigned used = 1, number = 1;
	content *all[CONTENTS_MAX];
	if (scenario->flaws & FLAW_NO_NONCE)
		return (content)((1 + shape) | shape << 4 | by_others << 7);
	for (size_t i = 0, n = contents(s, all); i < n; i++)
		used |= 1u << number_of(*all[i]);
	while (used & (1u << number))
		number++;
	if (number > 15)
		abort();
	return (content)(number | shape << 4 | by_others << 7);
}

static void renumber_contents(struct model_state *s)
{
	uint8_t numbers[16] = {0}, next = 1;
	content *all[CONTENTS_MAX];
	if (scenario->flaws & FLAW_NO_NONCE)
		return;
	for (size_t i = 0, n = contents(s, all); i < n; i++) {
		unsigned number = number_of(*all[i]);
		if (*all[i] == 0)
			continue;
		if (numbers[number] == 0)
			numbers[number] = next++;
		*all[i] = (content)((*all[i] & 0xf0) | numbers[number]);
	}
}

/* --- stamps and epochs: only their order counts --- */

static void renumber(uint8_t **all, size_t n)
{
	uint8_t fresh[64] = {0}, next = 0;
	uint64_t present = 0;
	for (size_t i = 0; i < n; i++)
		present |= UINT64_C(1) << (*all[i] & 63);
	for (present &= ~UINT64_C(1); present; present &= present - 1)
		fresh[__builtin_ctzll(present)] = ++next;
	for (size_t i = 0; i < n; i++)
		*all[i] = fresh[*all[i]];
}

static void renumber_stamps(struct model_state *s)
{
	uint8_t *all[2 * SERVERS_MAX + 7];
	size_t n = 0;
	for (size_t i = 0; i < scenario->servers; i++) {
		all[n++] = &s->servers[i].loaded_since;
		all[n++] = &s->servers[i].writes_since;
	}
	uint8_t *others[] = {&s->canary_at, &s->settled_at, &s->sweep_at, &s->census_at,
			     &s->reads_at,  &s->back_at,    &s->now};
	memcpy(all + n, others, sizeof(others));
	renumber(all, n + ELEMENTS(others));
}

static void renumber_epochs(struct model_state *s)
{
	uint8_t *all[5 * SERVERS_MAX + 2];
	size_t n = 0;
	for (size_t i = 0; i < scenario->servers; i++) {
		struct model_server *server = &s->servers[i];
		uint8_t *of_server[] = {&server->epoch, &server->hand.epoch, &server->spec.epoch, &server->late.epoch,
					&server->asleep.epoch};
		memcpy(all + n, of_server, sizeof(of_server));
		n += ELEMENTS(of_server);
	}
	all[n++] = &s->epoch;
	all[n++] = &s->claimed;
	renumber(all, n);
}

static uint64_t ns(uint8_t stamp)
{
	return stamp ? NS_BASE + stamp * NS_PER_STAMP : 0;
}

/* --- which of equal states stands for all --- */

static const uint8_t turns[6][SERVERS_MAX] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};

static size_t turn_count(void)
{
	return scenario->servers == 3 ? 6 : scenario->servers == 2 ? 2 : 1;
}

static const uint8_t *turn_of(size_t turn)
{
	return turns[scenario->servers == 2 ? turn * 2 : turn];
}

/* What does not change when contents are renumbered. */
static void mask(const struct model_server *server, struct model_server *ret)
{
	*ret = *server;
	content *of_server[] = {&ret->file,        &ret->loaded,      &ret->worker,       &ret->hand.expect,
				&ret->spec.expect, &ret->late.expect, &ret->asleep.expect};
	for (size_t i = 0; i < ELEMENTS(of_server); i++)
		*of_server[i] &= 0xf0;
}

static bool ascending(const struct model_server *masked, const uint8_t *turn)
{
	for (size_t i = 0; i + 1 < scenario->servers; i++)
		if (memcmp(&masked[turn[i]], &masked[turn[i + 1]], sizeof(*masked)) > 0)
			return false;
	return true;
}

static void sort_servers(struct model_state *s)
{
	struct model_server masked[SERVERS_MAX];
	struct model_state best, turned;
	bool any = false;
	for (size_t i = 0; i < scenario->servers; i++)
		mask(&s->servers[i], &masked[i]);
	for (size_t t = 0; t < turn_count(); t++) {
		const uint8_t *turn = turn_of(t);
		if (!ascending(masked, turn))
			continue;
		turned = *s;
		for (size_t i = 0; i < scenario->servers; i++)
			turned.servers[i] = s->servers[turn[i]];
		renumber_contents(&turned);
		if (!any || memcmp(&turned, &best, sizeof(best)) < 0)
			best = turned;
		any = true;
	}
	*s = best;
}

/* --- what is needed, and what was overcome --- */

/* What a server has, is about to have, or may have in a moment. */
static size_t contents_at(const struct model_server *server, enum shape ret[static 4])
{
	size_t n = 0;
	ret[n++] = shape_of(server->file);
	if (server->up)
		ret[n++] = shape_of(server->loaded);
	if (server->worker)
		ret[n++] = shape_of(server->worker);
	if (server->hand.what)
		ret[n++] = (enum shape)server->hand.to;
	return n;
}

/* Whether something is there, or may be written, that somebody cannot read or soon could not. */
static bool at_odds(const struct model_state *s)
{
	uint8_t needed = s->values | s->in_flight | s->history, reads = KEY_A | KEY_B;
	for (size_t i = 0; i < scenario->servers; i++) {
		enum shape here[4];
		for (size_t c = 0, n = contents_at(&s->servers[i], here); c < n; c++) {
			needed |= writes_of[here[c]];
			reads &= reads_of[here[c]];
		}
	}
	return needed & ~reads;
}

/* What somebody put there has been overcome: from here on the nevers hold again without excuse. */
static void recover(struct model_state *s)
{
	for (size_t i = 0; i < scenario->servers; i++) {
		const struct model_server *server = &s->servers[i];
		if (!server->up || server->worker || server->file != server->loaded)
			return;
	}
	s->excused = at_odds(s);
}

/* Stamps that can no longer tell anything but that they are early or late enough. */
static void forget(struct model_state *s)
{
	uint8_t first_loaded = 255, last_loaded = 0, last_writes = 0;
	for (size_t i = 0; i < scenario->servers; i++) {
		struct model_server *server = &s->servers[i];
		if (server->loaded_since && server->loaded_since < first_loaded)
			first_loaded = server->loaded_since;
		if (server->loaded_since > last_loaded)
			last_loaded = server->loaded_since;
		if (server->writes_since > last_writes)
			last_writes = server->writes_since;
	}
	if (s->settled_at < last_writes)
		s->settled_at = 0;
	for (size_t i = 0; i < scenario->servers; i++)
		if (s->servers[i].writes_since)
			s->servers[i].writes_since = 1;
	if (s->canary_at && s->canary_at < first_loaded)
		s->canary_at = 0;
	else if (s->canary_at >= last_loaded)
		s->canary_at = s->canary_at ? s->now : 0;
	if (s->sweep_at && s->sweep_at < first_loaded)
		s->sweep_at = s->sweep_step = 0;
	if (s->reads_at && s->reads_at < first_loaded)
		s->reads_at = 0;
	if (s->census_at && s->census_at < s->back_at)
		s->reads_at = 0;
}

/* An order that lies there and will never be taken tells nothing. */
static void forget_orders(struct model_server *server)
{
	struct model_order *orders[] = {&server->hand, &server->spec, &server->late, &server->asleep};
	for (size_t i = 0; i < ELEMENTS(orders); i++)
		if (orders[i]->what == WHAT_NOTHING)
			*orders[i] = (struct model_order){0};
}

static void normalise(struct model_state *s)
{
	if (s->excused)
		recover(s);
	for (size_t i = 0; i < scenario->servers; i++)
		forget_orders(&s->servers[i]);
	forget(s);
	renumber_stamps(s);
	renumber_epochs(s);
	sort_servers(s);
}

/* --- servers and clients --- */

static uint8_t leaving(const struct model_state *s)
{
	return s->back ? KEY_B : KEY_A;
}

static void write_to_etcd(struct model_state *s, uint8_t keys)
{
	s->values |= keys;
	s->history |= keys;
	s->after_census |= keys;
}

/* Whether anybody looks at it at all. */
static bool counts(const struct model_server *server)
{
	return server->up || !(scenario->flaws & FLAW_FORGET_DOWN);
}

static bool all_up(const struct model_state *s)
{
	for (size_t i = 0; i < scenario->servers; i++)
		if (counts(&s->servers[i]) && !s->servers[i].up)
			return false;
	return true;
}

static bool spend(struct model_state *s, enum budget budget)
{
	if (s->left[budget] == 0)
		return false;
	s->left[budget]--;
	return true;
}

static void seen_anew(struct model_state *s, struct model_server *server)
{
	server->loaded_since = server->up && server->loaded == server->file ? s->now : 0;
}

static void load(struct model_state *s, struct model_server *server, content c)
{
	bool alike = writes_of[shape_of(server->loaded)] == writes_of[shape_of(c)] && !foreign(c);
	s->now++;
	server->loaded = c;
	server->worker = 0;
	seen_anew(s, server);
	if (!alike)
		server->writes_since = s->now;
}

static bool server_event(struct model_state *s, enum event event, struct model_server *server)
{
	switch ((int)event) {
	case EVENT_READ:
		if (!server->up || server->worker || server->file == server->loaded)
			return false;
		if (scenario->workers)
			server->worker = server->file;
		else
			load(s, server, server->file);
		return true;
	case EVENT_SET:
		if (!server->worker)
			return false;
		load(s, server, server->worker);
		return true;
	case EVENT_STOP:
		if (!server->up || !spend(s, BUDGET_STOP))
			return false;
		server->up = server->worker = server->loaded_since = server->writes_since = 0;
		return true;
	case EVENT_START:
		if (server->up)
			return false;
		server->up = 1;
		load(s, server, server->file);
		server->writes_since = s->now;
		return true;
	case EVENT_WRITE:
		if (!server->up || (s->in_flight & writes_of[shape_of(server->loaded)]))
			return false;
		s->in_flight |= writes_of[shape_of(server->loaded)];
		return true;
	}
	return false;
}

static bool land(struct model_state *s, uint8_t key, bool lands)
{
	if (!(s->in_flight & key))
		return false;
	s->in_flight &= (uint8_t)~key;
	if (lands)
		write_to_etcd(s, key);
	return true;
}

static bool compact(struct model_state *s)
{
	if (!s->census_at || s->compacted)
		return false;
	s->history = s->after_census;
	s->compacted = 1;
	return true;
}

static bool etcd_event(struct model_state *s, enum event event)
{
	switch ((int)event) {
	case EVENT_LAND_A:
		return land(s, KEY_A, true);
	case EVENT_LAND_B:
		return land(s, KEY_B, true);
	case EVENT_DIE_A:
		return land(s, KEY_A, false);
	case EVENT_DIE_B:
		return land(s, KEY_B, false);
	case EVENT_COMPACTED:
		return compact(s);
	}
	return false;
}

/* --- orders on their way --- */

static bool same_order(const struct model_order *a, const struct model_order *b)
{
	return a->what == b->what && a->to == b->to && a->expect == b->expect && a->epoch == b->epoch &&
	       a->incarnation == b->incarnation &&
	       ((a->flags ^ b->flags) & (FLAG_RESCUE | FLAG_ABORTED | FLAG_OTHER | FLAG_LIES)) == 0;
}

/* Writes KeyServer.spec. The agent's cache may go on showing what was there before. */
static void send(struct model_state *s, struct model_server *server, struct model_order order, bool kept)
{
	if (same_order(&server->spec, &order) && !(server->spec.flags & (FLAG_DONE | FLAG_PASSED))) {
		server->spec.flags &= (uint8_t)~FLAG_AGED;
		return;
	}
	if (kept && server->spec.what >= WHAT_WRITE && spend(s, BUDGET_LATE))
		server->late = server->spec;
	server->spec = order;
}

static void lose_hand(struct model_server *server)
{
	server->hand = (struct model_order){0};
	server->has_census = 0;
	server->spec.flags |= server->spec.what >= WHAT_WRITE ? FLAG_AGED : 0;
	server->late = (struct model_order){0};
}

/* --- controllers --- */

static void forget_deeds(struct model_state *s)
{
	s->canary_at = s->settled_at = s->sweep_at = s->sweep_step = s->census_at = s->census_values = s->reads_at = 0;
	s->after_census = s->compacted = 0;
}

static void lose_memory(struct model_state *s)
{
	s->now++;
	for (size_t i = 0; i < scenario->servers; i++) {
		struct model_server *server = &s->servers[i];
		seen_anew(s, server);
		server->writes_since = server->up ? s->now : 0;
		server->has_census = 0;
	}
	s->epoch = s->guards = s->guard_to = s->guard_rescue = 0;
	s->fence_aborted = s->back != 0;
	forget_deeds(s);
	s->back_at = 0;
}

static const char *hash_of(content c)
{
	static const char hashes[16][4] = {"h0", "h1", "h2",  "h3",  "h4",  "h5",  "h6",  "h7",
					   "h8", "h9", "h10", "h11", "h12", "h13", "h14", "h15"};
	return hashes[number_of(c)];
}

static const char *incarnation_name(uint8_t incarnation)
{
	static const char *const names[] = {"i0", "i1", "i2", "i3"};
	return names[incarnation & 3];
}

static char *text(const char *words)
{
	return (char *)(uintptr_t)words;
}

static void observe_server(const struct model_state *s, struct way way, const struct model_server *server,
			   struct server_observation *ret)
{
	*ret = (struct server_observation){
		.name = text("cp"),
		.looked_at = ns(s->now),
		.answering = server->up,
		.version = text("v1"),
		.file = FACT_KNOWN,
		.file_step = step_on(way, shape_of(server->file)),
		.file_hash = text(hash_of(server->file)),
		.file_ours = !foreign(server->file),
		.written_step = server->written ? step_on(way, (enum shape)(server->written - 1)) : STEP_NONE,
		.loaded = server->up ? FACT_KNOWN : FACT_UNKNOWN,
		.loaded_step = server->up ? step_on(way, shape_of(server->loaded)) : STEP_NONE,
		.loaded_is_file = server->up && number_of(server->loaded) == number_of(server->file),
		.process = 1,
		.loaded_since = ns(server->loaded_since),
		.writes_since = ns(server->writes_since),
		.reloads_itself = true,
		.canary_step = s->canary_at && server->up ? step_on(way, shape_of(server->loaded)) : STEP_NONE,
		.canary_at = ns(s->canary_at),
		.canary_process = 1,
	};
}

static size_t observe_values(uint8_t keys, struct census_group *groups)
{
	size_t n = 0;
	if (keys & KEY_A)
		groups[n++] = (struct census_group){
			.resource = text("secrets"), .type = PROVIDER_AESCBC, .name = text("a"), .values = 1};
	if (keys & KEY_B)
		groups[n++] = (struct census_group){
			.resource = text("secrets"), .type = PROVIDER_AESCBC, .name = text("b"), .values = 1};
	return n;
}

static bool any_unsettled(const struct model_state *s)
{
	for (size_t i = 0; i < scenario->servers; i++)
		if (s->servers[i].has_census == 1)
			return true;
	return false;
}

static struct census_observation observe_census(const struct model_state *s, struct census_group *groups)
{
	return (struct census_observation){.begun = ns(s->census_at),
					   .finished = ns(s->census_at),
					   .complete = true,
					   .groups = groups,
					   .group_count = observe_values(s->census_values, groups),
					   .compacted = s->compacted,
					   .unsettled = any_unsettled(s),
					   .compaction_expected = UINT64_MAX};
}

/* What an agent took and has lost again counts for nobody. */
static bool all_have_census(const struct model_state *s)
{
	for (size_t i = 0; i < scenario->servers; i++)
		if (!s->servers[i].has_census)
			return false;
	return true;
}

struct seen {
	struct observation observation;
	struct server_observation servers[SERVERS_MAX];
	struct member_observation member;
	struct census_group groups[2];
	struct agent_report reports[SERVERS_MAX];
};

/* Nothing closes the window between the last look before a key is given up and that. */
static bool too_late_to_interfere(const struct model_state *s)
{
	for (size_t i = 0; i < scenario->servers; i++)
		if (s->servers[i].retired || s->servers[i].hand.what == WHAT_RETIRE)
			return true;
	return false;
}

static bool all_retired(const struct model_state *s)
{
	for (size_t i = 0; i < scenario->servers; i++)
		if (!s->servers[i].retired)
			return false;
	return true;
}

static void observe(const struct model_state *s, struct way way, const uint8_t *turn, struct seen *seen)
{
	size_t n = 0;
	*seen = (struct seen){.member = {.name = text("m"), .answering = true}};
	for (size_t i = 0; i < scenario->servers; i++) {
		const struct model_server *server = &s->servers[turn[i]];
		if (!counts(server))
			continue;
		observe_server(s, way, server, &seen->servers[n]);
		seen->reports[n++] = (struct agent_report){.incarnation = incarnation_name(server->incarnation),
							   .rotation = server->epoch ? ROTATION : NULL,
							   .epoch = server->epoch,
							   .beat = 1,
							   .beat_read_at = ns(s->now)};
	}
	seen->observation = (struct observation){
		.servers_known = FACT_KNOWN,
		.servers = seen->servers,
		.server_count = n,
		.members_known = FACT_KNOWN,
		.members = &seen->member,
		.member_count = 1,
		.quiet_since = NS_BASE,
		.settled_began = s->settled_at ? NS_BASE : 0,
		.settled_ended = ns(s->settled_at),
		.etcd_looked_at = ns(s->now),
		.etcd_back_at = ns(s->back_at),
		.sweep = {.step = s->sweep_at ? step_on(way, (enum shape)s->sweep_step) : STEP_NONE,
			  .begun = ns(s->sweep_at),
			  .finished = ns(s->sweep_at)},
		.reads_checked_at = ns(s->reads_at),
		.rescues = s->rescues,
		.retired = all_retired(s),
		.untouched = s->back == SHAPE_A + 1,
		.compact = scenario->blind,
	};
	if (s->census_at && all_have_census(s))
		seen->observation.census = observe_census(s, seen->groups);
}

static void act_canary(struct model_state *s, bool settle)
{
	if (!all_up(s) || (settle && s->in_flight))
		return;
	s->canary_at = ++s->now;
	for (size_t i = 0; i < scenario->servers; i++)
		if (s->servers[i].up)
			write_to_etcd(s, writes_of[shape_of(s->servers[i].loaded)]);
	if (settle)
		s->settled_at = s->now;
}

static void act_sweep(struct model_state *s, enum shape at, const struct model_server *through)
{
	s->sweep_at = ++s->now;
	s->sweep_step = (uint8_t)at;
	if (!through->up || (s->values & ~reads_of[shape_of(through->loaded)]))
		return;
	uint8_t key = s->values ? writes_of[shape_of(through->loaded)] : 0;
	write_to_etcd(s, key);
	s->values = key;
}

/* Agents wait with one for a drop until nothing is on its way. */
static void act_census(struct model_state *s, bool for_a_drop)
{
	bool settled = !s->in_flight || (scenario->checks & CHECK_SETTLED);
	if (for_a_drop && !settled)
		return;
	s->census_at = ++s->now;
	s->census_values = s->after_census = s->values;
	s->compacted = 0;
	for (size_t i = 0; i < scenario->servers; i++)
		s->servers[i].has_census = settled ? 2 : 1;
	if (!scenario->history)
		compact(s);
}

static void act_ourselves(struct model_state *s, struct way way, const struct decision *d, const uint8_t *turn)
{
	const struct model_server *first = &s->servers[turn[0]];
	if (d->action == ACTION_REENCRYPT)
		act_sweep(s, shape_at(way, d->step), first);
	else if (d->action == ACTION_READ_BACK && all_up(s) && !(s->values & ~reads_of[shape_of(first->loaded)]))
		s->reads_at = ++s->now;
}

/* One key, everywhere. */
static bool done_rightly(const struct model_state *s)
{
	for (size_t i = 0; i < scenario->servers; i++)
		if (shape_of(s->servers[i].loaded) != (s->back ? SHAPE_A : SHAPE_B))
			return false;
	return !((s->values | s->in_flight) & leaving(s));
}

static struct model_order order_to(const struct order *order, struct way way, const struct model_server *server,
				   uint8_t epoch)
{
	bool writes = order->action == ORDER_WRITE_STEP, retires = order->action == ORDER_RETIRE;
	return (struct model_order){
		.what = writes    ? WHAT_WRITE
			: retires ? WHAT_RETIRE
				  : WHAT_NONE,
		.to = (uint8_t)(writes || retires ? shape_at(way, order->to_step) : 0),
		.expect = writes || retires ? server->file : 0,
		.epoch = epoch,
		.incarnation = server->incarnation,
		.flags = (uint8_t)((order->rescue ? FLAG_RESCUE : 0) | (order->aborted ? FLAG_ABORTED : 0))};
}

/* What agents do without looking at files: all at once. */
static bool act_by_agents(struct model_state *s, const struct decision *d, const struct order *order)
{
	if (d->action == ACTION_CENSUS)
		act_census(s, order->settled);
	else if (d->action == ACTION_CANARY)
		act_canary(s, d->phase == PHASE_SETTLE);
	else if (d->action == ACTION_COMPACT)
		compact(s);
	else
		return false;
	return true;
}

/* Everybody's spec: the order for those it is for, nothing for the others. */
static void send_all(struct model_state *s, struct way way, const struct dispatch *dispatch, const uint8_t *turn,
		     bool kept)
{
	const struct order none = order_none(&dispatch->fence);
	for (size_t i = 0; i < scenario->servers; i++) {
		struct model_server *server = &s->servers[turn[i]];
		bool his = dispatch->kind == DISPATCH_SEND && counts(server) &&
			   (dispatch->agent < 0 || dispatch->agent == (int)i);
		send(s, server, order_to(his ? &dispatch->order : &none, way, server, s->epoch), kept);
	}
}

static struct fence fence_of(const struct model_state *s, struct way way)
{
	return (struct fence){.rotation = ROTATION,
			      .aborted = s->fence_aborted,
			      .epoch = s->epoch,
			      .guards = s->guards,
			      .to_step = s->guard_to ? step_on(way, (enum shape)(s->guard_to - 1)) : STEP_NONE,
			      .rescue = s->guard_rescue};
}

static struct dispatch dispatch_of(const struct model_state *s, struct way way, const struct decision *d,
				   const struct seen *seen)
{
	struct fence fence = fence_of(s, way);
	struct agent_report reports[SERVERS_MAX];
	memcpy(reports, seen->reports, sizeof(reports));
	bool guarded = order_is_guarded(way.path, &seen->observation, d, fence.aborted);
	for (size_t i = 0; i < scenario->servers; i++)
		if ((scenario->flaws & FLAW_NO_WAITING) && fence.epoch)
			reports[i].epoch = fence.epoch, reports[i].rotation = ROTATION;
	if (scenario->flaws & FLAW_NO_EPOCHS) {
		fence.epoch = fence.epoch ? fence.epoch : 1;
		fence.guards = guarded;
		fence.to_step = d->to_step;
		fence.rescue = d->rescue;
	}
	return order_from_decision(way.path, &seen->observation, d, &fence, reports, s->claimed);
}

static void remember(struct model_state *s, struct way way, const struct fence *fence)
{
	s->fence_aborted = fence->aborted;
	s->epoch = (uint8_t)fence->epoch;
	s->guards = fence->guards;
	s->guard_to = (uint8_t)(fence->guards && fence->to_step >= 0 ? shape_at(way, fence->to_step) + 1 : 0);
	s->guard_rescue = fence->guards && fence->rescue;
	if (s->claimed < s->epoch)
		s->claimed = s->epoch;
}

static bool counted(void)
{
	return !scenario->rules && !scenario->checks && !scenario->flaws;
}

static struct decision decide(struct model_state *s, struct way way, const uint8_t *turn, struct seen *seen)
{
	observe(s, way, turn, seen);
	return next_action_under(way.path, &seen->observation, ns(s->now),
				 scenario->rules ? scenario->rules : RULES_ALL);
}

static bool stops_before_sending(struct model_state *s, struct way way, const struct dispatch *dispatch,
				 const uint8_t *turn)
{
	if (dispatch->kind != DISPATCH_SEND || dispatch->order.action != ORDER_WRITE_STEP)
		return false;
	struct model_server *server = &s->servers[turn[dispatch->agent]];
	if (server->asleep.what || !spend(s, BUDGET_STALL))
		return false;
	server->asleep = order_to(&dispatch->order, way, server, s->epoch);
	lose_memory(s);
	return true;
}

/* --- giving up, as controller_abort.c does --- */

static enum shape furthest_of(const struct model_server *server)
{
	enum shape furthest = shape_of(server->file);
	if (server->up && shape_of(server->loaded) > furthest)
		furthest = shape_of(server->loaded);
	if (server->written && server->written - 1 > (int)furthest)
		furthest = (enum shape)(server->written - 1);
	return furthest;
}

static bool any_left(const struct model_state *s)
{
	for (size_t i = 0; i < scenario->servers; i++)
		if (furthest_of(&s->servers[i]) == SHAPE_B)
			return true;
	return false;
}

static void begin_anew(struct model_state *s, bool aborted)
{
	s->epoch = s->guards = s->guard_to = s->guard_rescue = 0;
	s->fence_aborted = aborted;
}

/* Goes back from the furthest that any server has, or waits for a person. */
static void choose_way(struct model_state *s)
{
	enum shape furthest = SHAPE_A;
	struct path *back = NULL;
	for (size_t i = 0; i < scenario->servers; i++) {
		const struct model_server *server = &s->servers[i];
		if (!server->up || furthest_of(server) == SHAPE_EDITED)
			return;
		furthest = furthest_of(server) > furthest ? furthest_of(server) : furthest;
	}
	if (path_abort(forward, furthest, s->aborted == ASKED_PROMOTE_AGAIN, &back, NULL) < 0)
		return;
	path_free(back);
	s->back = (uint8_t)(furthest + 1);
	forget_deeds(s);
}

/* Whether that is all of the turn. */
static bool turn_back(struct model_state *s, const uint8_t *turn, bool kept)
{
	const struct decision nothing = {.action = ACTION_WAIT, .step = STEP_NONE, .to_step = STEP_NONE, .server = -1};
	struct way way = way_of_rotation(s);
	struct seen seen;
	if (s->back)
		return false;
	if (!s->aborted || any_left(s)) {
		if (s->fence_aborted)
			begin_anew(s, false);
		return false;
	}
	if (decide(s, way, turn, &seen).rescue) {
		if (s->fence_aborted)
			begin_anew(s, false);
		return false;
	}
	if (!s->fence_aborted)
		begin_anew(s, true);
	const struct dispatch dispatch = dispatch_of(s, way, &nothing, &seen);
	if (counted())
		reached.dispatches[dispatch.kind]++;
	remember(s, way, &dispatch.fence);
	send_all(s, way, &dispatch, turn, kept);
	if (dispatch.kind == DISPATCH_NOTHING)
		choose_way(s);
	return true;
}

/* Those that count in front, so that a place among what was observed is a place in the turn. */
static void counted_first(const struct model_state *s, const uint8_t *turn, uint8_t ret[static SERVERS_MAX])
{
	size_t n = 0;
	for (size_t i = 0; i < scenario->servers; i++)
		if (counts(&s->servers[turn[i]]))
			ret[n++] = turn[i];
	for (size_t i = 0; i < scenario->servers; i++)
		if (!counts(&s->servers[turn[i]]))
			ret[n++] = turn[i];
}

static bool look(struct model_state *s, const uint8_t *given, bool stops, bool kept)
{
	struct seen seen;
	uint8_t turn[SERVERS_MAX];
	counted_first(s, given, turn);
	if (turn_back(s, turn, kept))
		return !stops;
	struct way way = way_of_rotation(s);
	const struct decision d = decide(s, way, turn, &seen);
	const struct dispatch dispatch = dispatch_of(s, way, &d, &seen);
	if (counted()) {
		reached.actions[d.action]++;
		reached.reasons[d.reason]++;
		reached.dispatches[dispatch.kind]++;
		if (dispatch.kind == DISPATCH_SEND)
			reached.orders[dispatch.order.action]++;
	}
	if (stops)
		return stops_before_sending(s, way, &dispatch, turn);
	if (d.action == ACTION_DONE && !done_rightly(s))
		s->broken = BROKEN_DONE;
	remember(s, way, &dispatch.fence);
	send_all(s, way, &dispatch, turn, kept);
	if (dispatch.kind == DISPATCH_SEND)
		act_by_agents(s, &d, &dispatch.order);
	if (dispatch.kind == DISPATCH_NOTHING)
		act_ourselves(s, way, &d, turn);
	return true;
}

static bool wake(struct model_state *s, struct model_server *server)
{
	if (!server->asleep.what)
		return false;
	send(s, server, server->asleep, true);
	server->asleep = (struct model_order){0};
	return true;
}

/* Servers that are equal need not change places. */
static bool turn_is_another(const struct model_state *s, const uint8_t *turn)
{
	for (size_t i = 0; i < scenario->servers; i++)
		for (size_t j = i + 1; j < scenario->servers; j++)
			if (turn[i] > turn[j] &&
			    memcmp(&s->servers[turn[i]], &s->servers[turn[j]], sizeof(s->servers[0])) == 0)
				return false;
	return true;
}

static bool controller_event(struct model_state *s, enum event event, unsigned which)
{
	unsigned turns_here = (unsigned)turn_count();
	switch ((int)event) {
	case EVENT_LOOK:
		return turn_is_another(s, turn_of(which % turns_here)) &&
		       look(s, turn_of(which % turns_here), false, which / turns_here);
	case EVENT_LOOK_AND_STOP:
		return s->left[BUDGET_STALL] && turn_is_another(s, turn_of(which)) &&
		       look(s, turn_of(which), true, false);
	case EVENT_TAKEOVER:
		if (!spend(s, BUDGET_TAKEOVER))
			return false;
		lose_memory(s);
		return true;
	case EVENT_WAKE:
		return wake(s, &s->servers[which]);
	}
	return false;
}

/* --- agents --- */

struct agent_look {
	struct server_observation own;
	struct peer_sight peers[SERVERS_MAX];
	struct census_observation census;
	struct census_group groups[2];
	struct agent_sight sight;
};

static void look_at_peers(const struct model_state *s, size_t i, struct way way, enum glance glance,
			  struct agent_look *ret)
{
	size_t n = 0;
	for (size_t p = 0; p < scenario->servers; p++) {
		if (p == i || !counts(&s->servers[p]))
			continue;
		struct peer_sight *peer = &ret->peers[n++];
		*peer = (struct peer_sight){.rotation = ROTATION,
					    .epoch = s->servers[p].epoch,
					    .at_work = s->servers[p].hand.what != WHAT_NOTHING,
					    .same_keys = glance != BLIND_KEYS};
		observe_server(s, way, &s->servers[p], &peer->seen);
		if (glance == BLIND_PEER)
			peer->seen.file = FACT_UNKNOWN;
	}
	ret->sight.peers = ret->peers;
	ret->sight.peer_count = n;
	ret->sight.peers_known = glance == BLIND_PEERS ? FACT_UNKNOWN : FACT_KNOWN;
}

static void look_as_agent(const struct model_state *s, size_t i, struct way way, const struct model_order *order,
			  enum reading reading, enum glance glance, struct agent_look *ret)
{
	static const bool all_keys[] = {true, true, true, true};
	bool away = reading == READ_AWAY || reading == READ_LATE_AWAY, fresh = reading == READ_FRESH;
	observe_server(s, way, &s->servers[i], &ret->own);
	if (glance == BLIND_FILE)
		ret->own.file = FACT_UNKNOWN;
	if (glance == BLIND_LOADED)
		ret->own.loaded = FACT_UNKNOWN;
	ret->census = observe_census(s, ret->groups);
	ret->sight = (struct agent_sight){
		.own = &ret->own,
		.path_of = glance == BLIND_PATH ? NULL : ROTATION,
		.going_back = way.reached >= 0,
		.at_work = s->servers[i].hand.what != WHAT_NOTHING,
		.has_keys = glance == BLIND_BYTES ? NULL : all_keys,
		.rotation_over = false,
		.away = away,
		.away_since = away ? 1 : 0,
		.read_at = fresh ? ns(s->now) : 0,
		.beat_at = order && order->flags & FLAG_AGED ? 0 : ns(s->now),
		.census = s->servers[i].has_census ? &ret->census : NULL,
		.census_settled = s->servers[i].has_census == 2,
		.etcd_back_at = ns(s->back_at),
	};
	look_at_peers(s, i, way, glance, ret);
}

static struct verdict judge(const struct model_state *s, size_t i, const struct model_order *given,
			    enum reading reading, enum glance glance)
{
	static const enum order_action actions[] = {ORDER_NONE, ORDER_NONE, ORDER_WRITE_STEP, ORDER_RETIRE};
	const struct model_server *server = &s->servers[i];
	const struct way way = way_of_order(s, given);
	struct agent_look agent;
	look_as_agent(s, i, way, given, reading, glance, &agent);
	const struct agent_state state = {.incarnation = incarnation_name(server->incarnation),
					  .rotation = server->epoch ? ROTATION : NULL,
					  .epoch = server->epoch,
					  .sequence = 10,
					  .written_step = agent.own.written_step};
	int to = step_on(way, (enum shape)given->to);
	int from = given->what == WHAT_RETIRE ? to : step_on(way, shape_of(given->expect));
	const struct order order = {.rotation = given->what == WHAT_NOTHING ? NULL
						: given->flags & FLAG_OTHER ? "other"
									    : ROTATION,
				    .epoch = given->epoch,
				    .sequence = given->flags & FLAG_PASSED ? 9
						: given->flags & FLAG_DONE ? 10
									   : 11,
				    .incarnation = incarnation_name(given->incarnation),
				    .action = actions[given->what],
				    .from_step = given->flags & FLAG_LIES ? from + 1 : from,
				    .to_step = to,
				    .expect_hash = given->expect ? hash_of(given->expect) : NULL,
				    .rescue = given->flags & FLAG_RESCUE,
				    .aborted = given->flags & FLAG_ABORTED,
				    .beat = 1,
				    .good_for = FRESH_LOOK};
	return order_judge_under(way.path, &order, &state, &agent.sight, ns(s->now), CHECKS_ALL & ~scenario->checks);
}

static void count_verdict(const struct verdict *verdict)
{
	if (scenario->checks || scenario->flaws)
		return;
	reached.grounds[verdict->ground]++;
	reached.rulings[verdict->ruling]++;
}

static bool take(struct model_state *s, size_t i, enum reading reading, enum glance glance)
{
	struct model_server *server = &s->servers[i];
	const struct model_order order = reading >= READ_LATE ? server->late : server->spec;
	if (reading >= READ_LATE && !order.what)
		return false;
	const struct verdict verdict = judge(s, i, &order, reading, glance);
	count_verdict(&verdict);
	if (verdict.ruling == RULING_ACKNOWLEDGE)
		server->epoch = order.epoch;
	else if (verdict.ruling == RULING_CARRY_OUT && order.what >= WHAT_WRITE && !server->hand.what)
		server->hand = order;
	else
		return false;
	return true;
}

/* Orders of this epoch that came before the one that was carried out are passed. */
static void mark_done(struct model_server *server, const struct model_order *done)
{
	struct model_order *there[] = {&server->late, &server->spec};
	bool found = false;
	for (size_t i = ELEMENTS(there); i-- > 0;) {
		if (!there[i]->what || there[i]->epoch != done->epoch)
			continue;
		if (same_order(there[i], done))
			there[i]->flags |= FLAG_DONE;
		else if (found)
			there[i]->flags |= FLAG_PASSED;
		found |= same_order(there[i], done);
	}
}

static void put_file(struct model_state *s, struct model_server *server, enum shape to)
{
	server->file = new_content(s, to, false);
	server->written = (uint8_t)(to + 1);
	seen_anew(s, server);
}

static bool rename_file(struct model_state *s, struct model_server *server)
{
	const struct model_order hand = server->hand;
	bool as_expected = hand.expect && number_of(hand.expect) == number_of(server->file);
	if (!hand.what)
		return false;
	server->hand = (struct model_order){0};
	if (!as_expected && !(scenario->checks & CHECK_HASH))
		return true;
	if (!as_expected)
		s->broken = BROKEN_CHANGED_FILE;
	if (hand.what == WHAT_RETIRE)
		server->retired = hand.flags & FLAG_ABORTED ? KEY_B : KEY_A;
	else
		put_file(s, server, (enum shape)hand.to);
	if (hand.flags & FLAG_RESCUE)
		s->rescues = (uint8_t)(s->rescues < 3 ? s->rescues + 1 : 3);
	mark_done(server, &hand);
	return true;
}

static bool wipe(struct model_state *s, struct model_server *server)
{
	if (!spend(s, BUDGET_WIPE))
		return false;
	lose_hand(server);
	server->epoch = server->written = server->rescued = 0;
	server->incarnation++;
	s->interfered = 1;
	return true;
}

static bool help_alone(struct model_state *s, size_t i, bool served)
{
	struct model_server *server = &s->servers[i];
	const struct way way = way_of_rotation(s);
	struct agent_look agent;
	if (server->retired || !spend(s, BUDGET_ALONE))
		return false;
	look_as_agent(s, i, way, NULL, served ? READ_CACHED : READ_AWAY, LOOK_WELL, &agent);
	const struct agent_state state = {.written_step = agent.own.written_step, .rescues = server->rescued};
	const struct verdict verdict = agent_alone(way.path, &state, &agent.sight, ns(s->now));
	count_verdict(&verdict);
	if (verdict.ruling != RULING_CARRY_OUT)
		return false;
	put_file(s, server, shape_at(way, verdict.to_step));
	server->rescued = 1;
	s->interfered = 1;
	return true;
}

static bool agent_event(struct model_state *s, enum event event, unsigned which)
{
	size_t i = which % scenario->servers;
	struct model_server *server = &s->servers[i];
	unsigned how = which / (unsigned)scenario->servers;
	switch ((int)event) {
	case EVENT_TAKE:
		return take(s, i, (enum reading)(how % READINGS), (enum glance)(how / READINGS));
	case EVENT_RENAME:
		return rename_file(s, server);
	case EVENT_RESTART:
		if (!spend(s, BUDGET_RESTART))
			return false;
		lose_hand(server);
		return true;
	case EVENT_WIPE:
		return wipe(s, server);
	case EVENT_ALONE:
		return help_alone(s, i, how);
	}
	return false;
}

/* --- those who interfere --- */

static void replace_file(struct model_state *s, struct model_server *server, content c)
{
	server->file = c;
	seen_anew(s, server);
	s->interfered = 1;
	s->excused |= at_odds(s);
}

/* A backup from before the rotation; it takes longer than 60 s to restore one. */
static bool restore(struct model_state *s)
{
	if (!spend(s, BUDGET_RESTORE))
		return false;
	s->now++;
	s->values = s->history = s->after_census = leaving(s);
	s->in_flight = s->claimed = s->compacted = 0;
	s->back_at = s->now;
	s->interfered = 1;
	for (size_t i = 0; i < scenario->servers; i++) {
		struct model_server *server = &s->servers[i];
		server->spec = (struct model_order){0};
		server->late.flags |= server->late.what ? FLAG_AGED : 0;
		server->hand.flags |= server->hand.what ? FLAG_AGED : 0;
	}
	s->excused |= at_odds(s);
	return true;
}

/* Whoever may write KeyServers: the right incarnation and a new epoch, else anything that an order can say. */
static bool forge(struct model_state *s, size_t i, unsigned how)
{
	struct model_server *server = &s->servers[i];
	enum shape to = (enum shape)(how & 3);
	bool lies = how & 64;
	if ((lies && (how & 56)) || !spend(s, BUDGET_FORGE))
		return false;
	uint8_t highest = s->claimed;
	for (size_t a = 0; a < scenario->servers; a++)
		highest = s->servers[a].epoch > highest ? s->servers[a].epoch : highest;
	server->spec = (struct model_order){
		.what = WHAT_WRITE,
		.to = (uint8_t)to,
		.expect = how & 8 ? 0 : server->file,
		.epoch = (uint8_t)(how & 16 ? server->epoch : highest + 1),
		.incarnation = server->incarnation,
		.flags = (uint8_t)((how & 4 ? FLAG_RESCUE : 0) | (how & 32 ? FLAG_OTHER : 0) | (lies ? FLAG_LIES : 0))};
	s->interfered = 1;
	return true;
}

static bool interference(struct model_state *s, enum event event, unsigned which)
{
	struct model_server *server = &s->servers[which % scenario->servers];
	switch ((int)event) {
	case EVENT_COPY:
		if (!scenario->copies || !s->left[BUDGET_PUT_BACK] || s->copy == server->file || foreign(server->file))
			return false;
		s->copy = server->file;
		return true;
	case EVENT_PUT_BACK:
		if (server->file == s->copy || too_late_to_interfere(s) || !spend(s, BUDGET_PUT_BACK))
			return false;
		replace_file(s, server, s->copy);
		return true;
	case EVENT_EDIT:
		if (too_late_to_interfere(s) || !spend(s, BUDGET_EDIT))
			return false;
		replace_file(s, server, new_content(s, SHAPE_EDITED, true));
		return true;
	case EVENT_RESTORE:
		return !too_late_to_interfere(s) && restore(s);
	case EVENT_ABORT:
		if (s->aborted || too_late_to_interfere(s) || !spend(s, BUDGET_ABORT))
			return false;
		s->aborted = ASKED_ABORT;
		return true;
	case EVENT_PROMOTE_AGAIN:
	case EVENT_RESUME:
		if (s->aborted != ASKED_ABORT || s->back)
			return false;
		s->aborted = event == EVENT_RESUME ? ASKED_NOTHING : ASKED_PROMOTE_AGAIN;
		return true;
	case EVENT_FORGE:
		return forge(s, which % scenario->servers, which / (unsigned)scenario->servers);
	}
	return false;
}

/* --- all of it --- */

static bool happen(struct model_state *s, unsigned event)
{
	enum event kind = (enum event)(event & 31);
	unsigned which = event >> 5;
	bool happened;
	if (kind <= EVENT_WRITE)
		happened = server_event(s, kind, &s->servers[which]);
	else if (kind <= EVENT_COMPACTED)
		happened = etcd_event(s, kind);
	else if (kind <= EVENT_FORGE)
		happened = interference(s, kind, which);
	else if (kind <= EVENT_ALONE)
		happened = agent_event(s, kind, which);
	else
		happened = controller_event(s, kind, which);
	if (happened)
		normalise(s);
	return happened;
}

static unsigned ways(const struct model_state *s, enum event kind)
{
	unsigned servers = (unsigned)scenario->servers, all_turns = (unsigned)turn_count();
	switch (kind) {
	case EVENT_LAND_A:
	case EVENT_LAND_B:
	case EVENT_DIE_A:
	case EVENT_DIE_B:
	case EVENT_COMPACTED:
	case EVENT_RESTORE:
	case EVENT_ABORT:
	case EVENT_PROMOTE_AGAIN:
	case EVENT_RESUME:
	case EVENT_TAKEOVER:
		return 1;
	case EVENT_TAKE:
		return servers * READINGS * (scenario->blind ? GLANCES : 1);
	case EVENT_FORGE:
		return s->left[BUDGET_FORGE] ? servers * 128 : 0;
	case EVENT_LOOK:
		return all_turns * (s->left[BUDGET_LATE] ? 2 : 1);
	case EVENT_LOOK_AND_STOP:
		return all_turns;
	case EVENT_ALONE:
		return s->left[BUDGET_ALONE] ? servers * 2 : 0;
	case EVENT_READ:
	case EVENT_SET:
	case EVENT_STOP:
	case EVENT_START:
	case EVENT_WRITE:
	case EVENT_COPY:
	case EVENT_PUT_BACK:
	case EVENT_EDIT:
	case EVENT_RENAME:
	case EVENT_RESTART:
	case EVENT_WIPE:
	case EVENT_WAKE:
	case EVENTS:
		break;
	}
	return servers;
}

void model_successors(const struct model_state *state, model_visit *visit, void *arg)
{
	for (enum event kind = 0; kind < EVENTS; kind++)
		for (unsigned which = 0; which < ways(state, kind); which++) {
			unsigned event = (unsigned)kind | which << 5;
			struct model_state next = *state;
			if (happen(&next, event) && memcmp(&next, state, sizeof(next)) != 0)
				visit(&next, event, arg);
		}
}

/* Tries an event, and whether it changes anything. */
static bool moves(const struct model_state *s, unsigned event)
{
	struct model_state next = *s;
	return happen(&next, event) && memcmp(&next, s, sizeof(next)) != 0;
}

enum helped model_helped(const struct model_state *s, struct model_state *next, unsigned *event)
{
	static const enum event helping[] = {EVENT_LAND_A, EVENT_LAND_B, EVENT_START, EVENT_SET,          EVENT_READ,
					     EVENT_RENAME, EVENT_TAKE,   EVENT_LOOK,  EVENT_PROMOTE_AGAIN};
	struct model_state looked = *s;
	struct seen seen;
	for (size_t e = 0; e < ELEMENTS(helping); e++)
		for (unsigned which = 0; which < scenario->servers; which++) {
			*event = (unsigned)helping[e] | (helping[e] == EVENT_PROMOTE_AGAIN ? 0 : which << 5);
			if (!moves(s, *event))
				continue;
			*next = *s;
			return happen(next, *event) ? HELPED : HELPED_STUCK;
		}
	const struct decision d = decide(&looked, way_of_rotation(&looked), turns[0], &seen);
	if (d.action == ACTION_DONE)
		return HELPED_END;
	*event = EVENT_COMPACTED;
	*next = *s;
	if (happen(next, *event))
		return HELPED;
	return d.action == ACTION_BLOCKED && s->interfered ? HELPED_PERSON : HELPED_STUCK;
}

const char *model_broken(const struct model_state *s)
{
	if (s->broken == BROKEN_CHANGED_FILE)
		return "an order was carried out on a file that had changed since";
	if (s->broken == BROKEN_DONE)
		return "it said Done and was not";
	for (size_t i = 0; i < scenario->servers; i++)
		if ((s->values | s->in_flight) & s->servers[i].retired)
			return "a key was retired that a value is under, or one that can still land";
	if (s->excused)
		return NULL;
	for (size_t i = 0; i < scenario->servers; i++) {
		const struct model_server *server = &s->servers[i];
		uint8_t reads = reads_of[shape_of(server->loaded)];
		if (server->up && (s->values & ~reads))
			return "a server cannot read a value";
		if (server->up && (s->history & ~reads))
			return "a server cannot read a revision that it still has to serve";
	}
	return NULL;
}

/* --- beginning --- */

static struct config_shape *make_shape(enum shape which)
{
	static const char *const names[] = {"a", "b"};
	static const int first[] = {0, 0, 1, 1}, keys[] = {1, 2, 2, 1};
	struct config_shape *shape = xcalloc(1, sizeof(*shape));
	shape->rule_count = 1;
	shape->rules = xcalloc(1, sizeof(*shape->rules));
	struct config_rule *rule = &shape->rules[0];
	rule->resources = xcalloc(1, sizeof(*rule->resources));
	rule->resources[rule->resource_count++] = xstrdup("secrets");
	rule->key_count = (size_t)keys[which];
	rule->keys = xcalloc(rule->key_count, sizeof(*rule->keys));
	for (size_t k = 0; k < rule->key_count; k++) {
		size_t key = (size_t)(first[which] + (int)k) % 2;
		rule->keys[k] = (struct config_key){.type = PROVIDER_AESCBC, .name = xstrdup(names[key])};
		memset(rule->keys[k].fingerprint, names[key][0], sizeof(rule->keys[k].fingerprint) - 1);
	}
	return shape;
}

void model_begin(const struct scenario *begun)
{
	scenario = begun;
	if (forward)
		return;
	struct config_shape *a = make_shape(SHAPE_A), *b = make_shape(SHAPE_B);
	if (path_make(a, b, &forward, NULL) < 0)
		abort();
	for (size_t i = 0; i < ELEMENTS(backs); i++)
		if (path_abort(forward, i, true, &backs[i], NULL) < 0)
			abort();
	config_shape_free(a);
	config_shape_free(b);
}

size_t model_initial(struct model_state *ret, size_t max)
{
	struct model_state s = {.values = KEY_A, .history = KEY_A, .now = 1};
	memcpy(s.left, scenario->budgets, sizeof(scenario->budgets));
	for (size_t i = 0; i < scenario->servers; i++) {
		struct model_server *server = &s.servers[i];
		*server = (struct model_server){.up = 1, .written = SHAPE_A + 1, .loaded_since = 1, .writes_since = 1};
		server->file = server->loaded = 1 | SHAPE_A << 4;
	}
	if (scenario->budgets[BUDGET_PUT_BACK])
		s.copy = 1 | SHAPE_A << 4;
	normalise(&s);
	ret[0] = s;
	return max > 0 ? 1 : 0;
}

/* The paths here keep rule 2, and each of their two keys is beside every step that lacks it; servers load their files by
 * themselves, and stop when they like to: test_order and test_next_action have the others. */
static bool out_of_reach(enum ground ground)
{
	return ground == GROUND_UNREADABLE_STEP || ground == GROUND_NO_READ_KEY || ground == GROUND_NO_RESTARTS ||
	       ground == GROUND_RUNS_IT || ground == GROUND_RESTARTING || ground == GROUND_PEER_DOWN ||
	       /* no path here brings a KMS: test_order and the end-to-end tests have that */
	       ground == GROUND_PLUGIN_UNWELL || ground == GROUND_PLUGINS_DIFFER;
}

static bool tell_reached(unsigned long times, const char *name)
{
	printf("%12lu  %s\n", times, name);
	return times > 0;
}

bool model_reached(void)
{
	static const char *const rulings[] = {"nothing", "carry out", "acknowledge", "wait", "refuse"};
	static const char *const dispatches[] = {"nothing for agents", "new epoch", "not acknowledged", "sent"};
	bool good = true;
	for (enum ruling r = 0; r <= RULING_REFUSE; r++)
		good &= tell_reached(reached.rulings[r], rulings[r]);
	for (enum ground g = 0; g <= GROUND_UNREADABLE; g++)
		good &= tell_reached(reached.grounds[g], ground_name(g)) || out_of_reach(g);
	for (enum dispatch_kind k = 0; k <= DISPATCH_SEND; k++)
		good &= tell_reached(reached.dispatches[k], dispatches[k]);
	/* New keys are made before there is a path. */
	for (enum order_action a = ORDER_WRITE_STEP; a <= ORDER_RETIRE; a++)
		good &= tell_reached(reached.orders[a], order_action_name(a)) || a == ORDER_MAKE_KEY ||
			a == ORDER_RESTART;
	for (enum action a = 0; a <= ACTION_DONE; a++)
		good &= tell_reached(reached.actions[a], action_name(a)) || a == ACTION_RESTART;
	/* What one server, or a look of the controller that fails, is needed for is model.h's. */
	for (enum reason reason = 0; reason <= REASON_TOLD; reason++)
		if (reached.reasons[reason])
			tell_reached(reached.reasons[reason], reason_name(reason));
	if (!good)
		printf("something above was never decided\n");
	return good;
}

/* --- telling --- */

static const char *const event_names[EVENTS] = {
	[EVENT_READ] = "a server reads its file",
	[EVENT_SET] = "a server sets what it had read",
	[EVENT_STOP] = "a server stops",
	[EVENT_START] = "a server starts with its file",
	[EVENT_WRITE] = "a client writes through a server",
	[EVENT_LAND_A] = "a write under A lands",
	[EVENT_LAND_B] = "a write under B lands",
	[EVENT_DIE_A] = "a write under A dies on its way",
	[EVENT_DIE_B] = "a write under B dies on its way",
	[EVENT_COMPACTED] = "etcd is compacted at the census' revision",
	[EVENT_COPY] = "somebody keeps a copy of a file",
	[EVENT_PUT_BACK] = "somebody puts the kept file there",
	[EVENT_EDIT] = "somebody edits a file",
	[EVENT_RESTORE] = "etcd is restored from a backup",
	[EVENT_ABORT] = "an abort is asked for",
	[EVENT_PROMOTE_AGAIN] = "a person has the old key promoted again",
	[EVENT_RESUME] = "a person takes the abort back",
	[EVENT_FORGE] = "somebody forges an order",
	[EVENT_TAKE] = "an agent judges its order",
	[EVENT_RENAME] = "an agent carries out what it has in hand",
	[EVENT_RESTART] = "an agent is killed and started",
	[EVENT_WIPE] = "an agent's state is wiped",
	[EVENT_ALONE] = "an agent helps itself",
	[EVENT_LOOK] = "the controller looks",
	[EVENT_LOOK_AND_STOP] = "the controller looks and is stopped",
	[EVENT_TAKEOVER] = "another controller takes over",
	[EVENT_WAKE] = "the stopped controller sends its order",
};

static const char *set_name(uint8_t keys)
{
	static const char *const names[] = {"-", "A", "B", "A,B"};
	return names[keys & 3];
}

static void tell_decision(const struct model_state *before, unsigned event, char *ret, size_t size)
{
	enum event kind = (enum event)(event & 31);
	unsigned which = event >> 5;
	if (kind == EVENT_LOOK || kind == EVENT_LOOK_AND_STOP) {
		static const char *const kinds[] = {"", ", new epoch", ", not acknowledged", ", sent"};
		struct model_state looked = *before;
		struct seen seen;
		if (turn_back(&looked, turn_of(which % turn_count()), false)) {
			snprintf(ret, size, ": to turn back");
			return;
		}
		const struct way way = way_of_rotation(&looked);
		const struct decision d = decide(&looked, way, turn_of(which % turn_count()), &seen);
		const struct dispatch dispatch = dispatch_of(&looked, way, &d, &seen);
		snprintf(ret, size, ": %s %s%s%s%s", action_name(d.action), reason_name(d.reason),
			 d.action == ACTION_WRITE_STEP ? " to " : "",
			 d.action == ACTION_WRITE_STEP ? shape_names[shape_at(way, d.to_step)] : "",
			 kinds[dispatch.kind]);
	} else if (kind == EVENT_TAKE) {
		static const char *const readings[] = {"", " (cached)", " (away)", " (late)", " (late, away)"};
		size_t i = which % scenario->servers;
		enum reading reading = (enum reading)(which / scenario->servers % READINGS);
		const struct model_server *server = &before->servers[i];
		const struct verdict v = judge(before, i, reading >= READ_LATE ? &server->late : &server->spec, reading,
					       (enum glance)(which / scenario->servers / READINGS));
		snprintf(ret, size, "%s: %s", readings[reading], ground_name(v.ground));
	}
}

static int tell_order(const char *name, const struct model_order *order, char *ret, size_t size)
{
	if (order->what < WHAT_WRITE)
		return 0;
	return snprintf(ret, size, " %s %s%s#%u e%u", name, order->what == WHAT_RETIRE ? "retire " : "",
			shape_names[order->to], number_of(order->expect), order->epoch);
}

void model_tell(const struct model_state *before, unsigned event, const struct model_state *after, char *ret,
		size_t size)
{
	char what[160], decided[96] = "";
	tell_decision(before, event, decided, sizeof(decided));
	snprintf(what, sizeof(what), "%s%s", event_names[event & 31], decided);
	int n = snprintf(ret, size, "%-66s |", what);
	for (size_t i = 0; i < scenario->servers && n > 0 && (size_t)n < size; i++) {
		const struct model_server *server = &after->servers[i];
		n += snprintf(ret + n, size - (size_t)n, " %s#%u%s%s e%u%s", shape_names[shape_of(server->file)],
			      number_of(server->file), server->up ? " runs " : " down",
			      server->up ? shape_names[shape_of(server->loaded)] : "", server->epoch,
			      server->worker ? " reading" : "");
		const struct model_order *orders[] = {&server->spec, &server->late, &server->hand, &server->asleep};
		static const char *const names[] = {"order", "late", "hand", "asleep"};
		for (size_t o = 0; o < ELEMENTS(orders) && (size_t)n < size; o++)
			n += tell_order(names[o], orders[o], ret + n, size - (size_t)n);
		if ((size_t)n < size)
			n += snprintf(ret + n, size - (size_t)n, ";");
	}
	if (n > 0 && (size_t)n < size)
		snprintf(ret + n, size - (size_t)n, " values %s in flight %s", set_name(after->values),
			 set_name(after->in_flight));
}
