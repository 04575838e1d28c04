#include "model.h"
#include "stamps.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"

static unsigned long model_actions[ACTION_DONE + 1], model_reasons[REASON_TOLD + 1];

static const struct scenario *scenario;
static struct path *paths[2];        /* there, and back after an abort */
static int steps[2][SHAPES];         /* which step a shape is */
static enum shape shapes[2][SHAPES]; /* which shape a step is */

static const uint8_t reads_of[SHAPES] = {KEY_A, KEY_A | KEY_B, KEY_A | KEY_B, KEY_B, KEY_A | KEY_B};
static const uint8_t writes_of[SHAPES] = {KEY_A, KEY_A, KEY_B, KEY_B, KEY_A};
static const char *const shape_names[SHAPES] = {"[A]", "[A,B]", "[B,A]", "[B]", "an edited one"};

/* How far the proof by two nonces has come, for the file in known_loaded. */
enum proof { PROOF_NONE, PROOF_WRITTEN, PROOF_ONCE, PROOF_WRITTEN_AGAIN, PROOF_TWICE };

enum broken { BROKEN_NOT, BROKEN_CHANGED_FILE, BROKEN_DONE, BROKEN_TWO_DOWN };

enum event {
	/* servers */
	EVENT_READ,
	EVENT_SET,
	EVENT_STOP,
	EVENT_START,
	/* clients */
	EVENT_WRITE,
	EVENT_LAND_A,
	EVENT_LAND_B,
	EVENT_DIE_A,
	EVENT_DIE_B,
	EVENT_DELETE_A,
	EVENT_DELETE_B,
	/* etcd and time */
	EVENT_SILENT,
	EVENT_ANSWERS,
	EVENT_TICK,
	EVENT_COMPACTED,
	/* those who interfere */
	EVENT_RESTORE,
	EVENT_COPY,
	EVENT_PUT_BACK,
	EVENT_TOUCH,
	EVENT_EDIT,
	EVENT_REFUSE,
	EVENT_ODD_REMOVED,
	/* our process */
	EVENT_LOOK,
	EVENT_ACT,
	EVENT_ACT_QUARANTINE,
	EVENT_ACT_HALF,
	EVENT_DIE,
	EVENT_ABORT,
	EVENT_STALL,
	EVENT_STALE_ACT,
};

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

#define CONTENTS_MAX (6 * SERVERS_MAX + 4)
static size_t contents(struct model_state *s, content *ret[static CONTENTS_MAX])
{
	size_t n = 0;
	for (size_t i = 0; i < scenario->servers; i++) {
		struct model_server *server = &s->servers[i];
		content *of_server[] = {&server->file,    &server->loaded,       &server->worker,
					&server->written, &server->known_loaded, &server->ordered_on};
		memcpy(ret + n, of_server, sizeof(of_server));
		n += ELEMENTS(of_server);
	}
	content *others[] = {&s->copy, &s->stale_basis, &s->stale_expect, &s->pending_expect};
	memcpy(ret + n, others, sizeof(others));
	return n + ELEMENTS(others);
}

static content new_content(struct model_state *s, enum shape shape, bool by_others)
{
	unsigned used = 1, number = 1;
	content *all[CONTENTS_MAX];
	if (scenario->flaws & FLAW_NO_NONCE)
		return (content)((by_others ? 8 + shape : 1 + shape) | shape << 4 | by_others << 7);
	for (size_t i = 0, n = contents(s, all); i < n; i++)
		used |= 1u << number_of(*all[i]);
	while (used & (1u << number))
		number++;
	if (number > 15)
		abort();
	return (content)(number | shape << 4 | by_others << 7);
}

/* Contents are renumbered by their first place, so that only which are equal remains. */
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

/* --- stamps --- */

#define STAMPS_MAX (3 * SERVERS_MAX + 9)
static size_t stamps(struct model_state *s, uint8_t *ret[static STAMPS_MAX])
{
	size_t n = 0;
	for (size_t i = 0; i < scenario->servers; i++) {
		ret[n++] = &s->servers[i].loaded_since;
		ret[n++] = &s->servers[i].writes_since;
		ret[n++] = &s->servers[i].canary_at;
	}
	uint8_t *others[] = {&s->census_at,     &s->sweep_at,    &s->settled_began,
			     &s->settled_ended, &s->quiet_since, &s->back_at,
			     &s->reads_at,      &s->looked_at,   &s->now};
	memcpy(ret + n, others, sizeof(others));
	return n + ELEMENTS(others);
}

static void renumber_stamps(struct model_state *s)
{
	uint8_t *all[STAMPS_MAX];
	size_t n = stamps(s, all);
	stamps_renumber(all, n, s->now, s->settled_ended);
}

/* What forget() asks about the servers' stamps. */
struct span {
	uint8_t first_loaded, last_loaded, last_writes;
	bool all_loaded, all_write;
};

static struct span span_of(const struct model_state *s)
{
	struct span span = {.first_loaded = 255, .all_loaded = true, .all_write = true};
	for (size_t i = 0; i < scenario->servers; i++) {
		const struct model_server *server = &s->servers[i];
		if (server->loaded_since && server->loaded_since < span.first_loaded)
			span.first_loaded = server->loaded_since;
		span.last_loaded = later(span.last_loaded, server->loaded_since);
		span.last_writes = later(span.last_writes, server->writes_since);
		span.all_loaded &= server->loaded_since > 0;
		span.all_write &= server->writes_since > 0;
	}
	return span;
}

static void forget_canaries(struct model_state *s)
{
	for (size_t i = 0; i < scenario->servers; i++) {
		struct model_server *server = &s->servers[i];
		/* One that waits for its restart need not show it again; of the others nobody asks before they load. */
		bool runs = server->loaded_since || (scenario->restarts && server->canary_at);
		bool good = runs && server->process_known && server->canary_at >= server->loaded_since;
		server->canary_at = !good ? 0 : server->loaded_since ? server->loaded_since : 1;
		server->canary_shape = good ? server->canary_shape : 0;
	}
}

/* Stamps that can no longer matter are forgotten, and those of which only "not before" matters are moved together:
 * fewer states that differ in nothing. The questions that next_action asks of each stamp are the reason for each line. */
static void forget(struct model_state *s)
{
	forget_canaries(s);
	const struct span span = span_of(s);
	if (s->sweep_at && (s->sweep_at < span.first_loaded || span.first_loaded == 255))
		s->sweep_at = s->sweep_step = s->sweep_finished = s->sweep_quarantined = 0;
	if (!span.all_write || s->settled_ended - later(span.last_writes, s->settled_began) < TICK)
		s->settled_began = s->settled_ended = 0;
	if (s->settled_ended)
		s->settled_began = 1;
	for (size_t i = 0; i < scenario->servers && s->settled_ended; i++)
		s->servers[i].writes_since = 1;
	bool settled = s->settled_ended && span.all_loaded && s->settled_ended - span.last_loaded >= TICK;
	if (s->quiet_since && (settled || !span.all_write || s->quiet_since <= span.last_writes))
		s->quiet_since = 1;
	if (s->reads_at < span.last_loaded || !span.all_loaded)
		s->reads_at = 0;
	else if (s->reads_at && !s->back_at)
		s->reads_at = span.last_loaded;
	if (s->back_at && s->census_at > s->back_at && (!s->reads_at || s->reads_at >= s->back_at))
		s->back_at = 0;
	if (!s->census_at)
		s->after_census = s->compacted = 0;
	else if (s->now - s->census_at >= TICK && (s->census_at < span.first_loaded || span.first_loaded == 255))
		s->census_at = 1;
}

/* What somebody put there has been overcome: from here on the nevers hold again without excuse. */
static void recover(struct model_state *s)
{
	for (size_t i = 0; i < scenario->servers; i++) {
		const struct model_server *server = &s->servers[i];
		uint8_t needed = s->values | s->in_flight | s->history;
		if (!server->up || server->worker || server->file != server->loaded ||
		    server->file != server->written || (needed & ~reads_of[shape_of(server->loaded)]))
			return;
	}
	s->excused = 0;
}

static void normalise(struct model_state *s)
{
	if (s->excused)
		recover(s);
	forget(s);
	renumber_contents(s);
	renumber_stamps(s);
}

/* --- what the world does --- */

static uint8_t leaving(const struct model_state *s)
{
	return s->aborted ? KEY_B : KEY_A;
}

static void write_to_etcd(struct model_state *s, uint8_t keys)
{
	s->values |= keys;
	s->history |= keys;
	s->after_census |= keys;
}

static bool all_up(const struct model_state *s)
{
	for (size_t i = 0; i < scenario->servers; i++)
		if (!s->servers[i].up)
			return false;
	return true;
}

/* The engine probes members and servers all the time, whatever it does otherwise. */
static void silence(struct model_state *s)
{
	if (!(scenario->flaws & FLAW_NO_SILENCE))
		s->quiet_since = 0;
}

static void set_loaded(struct model_server *server, content c)
{
	server->loaded = c;
	server->worker = 0;
	if (server->proof == PROOF_WRITTEN || server->proof == PROOF_WRITTEN_AGAIN)
		server->proof++;
}

static void start(struct model_server *server)
{
	server->up = 1;
	server->loaded = server->file;
	server->worker = 0;
	server->process_known = scenario->flaws & FLAW_NO_PROCESS ? server->process_known : 0;
	server->proof = server->proof != PROOF_NONE && server->known_loaded == server->file ? PROOF_TWICE : PROOF_NONE;
}

static bool server_event(struct model_state *s, enum event event, struct model_server *server)
{
	bool reloads = server->up && !scenario->no_reload;
	switch ((int)event) {
	case EVENT_READ:
		if (!reloads || server->worker || server->refused || server->file == server->loaded)
			return false;
		server->worker = server->file;
		return true;
	case EVENT_SET:
		if (!server->up || !server->worker)
			return false;
		set_loaded(server, server->worker);
		return true;
	case EVENT_STOP:
		if (!server->up || (scenario->no_stops && (!scenario->no_reload || scenario->restarts)))
			return false;
		/* No silence: it may be up again before it was one. What tells is that the process is another. */
		server->up = server->worker = 0;
		return true;
	case EVENT_START:
		if (server->up || server->refused)
			return false;
		start(server);
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

static bool lose(struct model_state *s, uint8_t key)
{
	if (!(s->values & key))
		return false;
	s->values &= (uint8_t)~key;
	return true;
}

/* A write in flight ends, this way or that, within the settle time in which everything answers. It outlives any time in
 * which something does not: the bytes lie in the socket of a stopped member. */
static bool passes(const struct model_state *s)
{
	return s->silent || !all_up(s) || !s->in_flight;
}

static bool tick(struct model_state *s)
{
	if (!passes(s))
		return false;
	s->now = (uint8_t)(s->now + TICK);
	s->stale_old = s->stale ? 1 : 0;
	return true;
}

static bool compact(struct model_state *s, uint8_t keeps)
{
	if (s->history == keeps && (s->compacted || !s->census_at))
		return false;
	s->history = keeps;
	s->compacted = s->census_at ? 1 : 0;
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
	case EVENT_DELETE_A:
		return lose(s, KEY_A);
	case EVENT_DELETE_B:
		return lose(s, KEY_B);
	case EVENT_SILENT:
		if (s->silent || scenario->no_silence)
			return false;
		s->silent = 1;
		silence(s);
		return true;
	case EVENT_ANSWERS:
		if (!s->silent)
			return false;
		s->silent = 0;
		return true;
	case EVENT_TICK:
		return tick(s);
	case EVENT_COMPACTED:
		return s->census_at && compact(s, s->after_census);
	}
	return false;
}

/* --- those who interfere --- */

static bool spend(struct model_state *s, enum budget budget)
{
	if (s->left[budget] == 0 || s->retired)
		return false;
	s->left[budget]--;
	return true;
}

static void replace_file(struct model_state *s, struct model_server *server, content c)
{
	server->file = c;
	server->refused = 0;
	s->interfered = 1;
	if (reads_of[shape_of(c)] != (KEY_A | KEY_B))
		s->excused = 1;
}

/* A backup from when everything was under the leaving key. It takes longer than 60 s to restore one. */
static bool restore(struct model_state *s)
{
	if (!spend(s, BUDGET_RESTORE))
		return false;
	s->values = s->history = s->after_census = leaving(s);
	s->compacted = 0;
	s->interfered = 1;
	silence(s);
	s->now = (uint8_t)(s->now + TICK);
	s->stale_old = s->stale ? 1 : 0;
	if (!(scenario->flaws & FLAW_NO_REVISION))
		s->etcd_restored = s->etcd_seen;
	for (size_t i = 0; i < scenario->servers; i++)
		if (!(reads_of[shape_of(s->servers[i].file)] & reads_of[shape_of(s->servers[i].loaded)] & leaving(s)))
			s->excused = 1;
	return true;
}

static bool interference(struct model_state *s, enum event event, struct model_server *server)
{
	switch ((int)event) {
	case EVENT_RESTORE:
		return restore(s);
	case EVENT_COPY:
		if (s->copy == server->file || !spend(s, BUDGET_COPY))
			return false;
		s->copy = server->file;
		return true;
	case EVENT_PUT_BACK:
		if (server->file == s->copy || (scenario->undoes && !foreign(server->file)) ||
		    !spend(s, BUDGET_PUT_BACK))
			return false;
		replace_file(s, server, s->copy);
		return true;
	case EVENT_TOUCH:
		if (!spend(s, BUDGET_EDIT))
			return false;
		replace_file(s, server, new_content(s, shape_of(server->file), true));
		return true;
	case EVENT_EDIT:
		if (!spend(s, BUDGET_EDIT))
			return false;
		replace_file(s, server, new_content(s, SHAPE_EDITED, true));
		return true;
	case EVENT_REFUSE:
		if (server->refused || server->worker || server->file == server->loaded || !server->up ||
		    !spend(s, BUDGET_REFUSE))
			return false;
		server->refused = 1;
		s->interfered = 1;
		return true;
	case EVENT_ODD_REMOVED:
		if (s->odd == ODD_NONE)
			return false;
		s->odd = ODD_NONE;
		return true;
	}
	return false;
}

/* --- our process: looking --- */

static void look_at_process(struct model_state *s, struct model_server *server)
{
	if (!server->process_known && s->quiet_since)
		s->quiet_since = s->now;
	if (!server->process_known)
		server->loaded_since = server->writes_since = server->replaced = 0;
	server->process_known = 1;
}

static void look_at_loaded(struct model_state *s, struct model_server *server)
{
	bool same = server->known_loaded == server->loaded;
	bool followed = server->replaced && server->loaded == server->written &&
			writes_of[shape_of(server->known_loaded)] == writes_of[shape_of(server->loaded)];
	if (server->loaded != server->file)
		server->loaded_since = 0;
	else if (!same || !server->loaded_since)
		server->loaded_since = s->now;
	if ((!same && !followed) || !server->writes_since)
		server->writes_since = s->now;
	server->replaced = server->replaced && same;
	server->known_loaded = server->loaded;
}

static void look_at_reloads(struct model_state *s, struct model_server *server)
{
	if (server->known_loaded != server->file)
		server->proof = PROOF_NONE;
	server->known_loaded = server->file;
	if (server->proof != PROOF_TWICE)
		server->loaded_since = server->writes_since = 0;
	else if (!server->loaded_since)
		server->loaded_since = server->writes_since = s->now;
}

static void look_at_server(struct model_state *s, struct model_server *server, enum glance glance)
{
	if (!server->up || glance == BLIND_FILE || glance == BLIND_LOADED) {
		server->loaded_since = server->writes_since = 0;
		server->replaced = 0;
		if (!scenario->by_reloads)
			server->known_loaded = 0;
		return;
	}
	look_at_process(s, server);
	if (scenario->by_reloads)
		look_at_reloads(s, server);
	else
		look_at_loaded(s, server);
}

static void look(struct model_state *s, enum glance glance)
{
	s->now++;
	for (size_t i = 0; i < scenario->servers; i++)
		look_at_server(s, &s->servers[i], glance);
	if (!all_up(s) || s->silent)
		silence(s);
	else if (!s->quiet_since)
		s->quiet_since = s->now;
	if (s->etcd_restored)
		s->back_at = s->now;
	s->etcd_restored = 0;
	s->etcd_seen = 1;
}

/* --- our process: deciding --- */

static const char *hash_of(content c)
{
	static const char hashes[16][4] = {"h0", "h1", "h2",  "h3",  "h4",  "h5",  "h6",  "h7",
					   "h8", "h9", "h10", "h11", "h12", "h13", "h14", "h15"};
	return hashes[number_of(c)];
}

static int step_of(const struct model_state *s, content c)
{
	return c ? steps[s->aborted][shape_of(c)] : STEP_NONE;
}

/* next_action takes it all as const; the strings are never freed. */
static char *text(const char *words)
{
	return (char *)(uintptr_t)words;
}

struct seen {
	struct observation observation;
	struct server_observation servers[SERVERS_MAX];
	struct member_observation member;
	struct census_group groups[4];
	enum glance glance;
	uint8_t looked_at;
};

/* What the look showed to be loaded; 0 when it did not. */
static content loaded_seen(const struct model_server *server, enum glance glance)
{
	if (!server->up || glance == BLIND_FILE || glance == BLIND_LOADED)
		return 0;
	if (!scenario->by_reloads)
		return server->loaded;
	return server->proof == PROOF_TWICE ? server->file : 0;
}

static void observe_server(const struct model_state *s, size_t i, struct seen *seen)
{
	const struct model_server *server = &s->servers[i];
	const content loaded = loaded_seen(server, seen->glance);
	seen->servers[i] = (struct server_observation){
		.name = text("cp"),
		.looked_at = ns(seen->looked_at),
		.answering = server->up,
		.version = text(i > 0 && seen->glance == BLIND_VERSIONS ? "v2" : "v1"),
		.file = seen->glance == BLIND_FILE ? FACT_UNKNOWN : FACT_KNOWN,
		.file_step = step_of(s, server->file),
		.file_hash = text(hash_of(server->file)),
		.file_ours = !foreign(server->file),
		.written_step = step_of(s, server->written),
		.loaded = loaded ? FACT_KNOWN : FACT_UNKNOWN,
		.loaded_step = step_of(s, loaded),
		.loaded_hash = text(hash_of(loaded)),
		.loaded_is_file = loaded && number_of(loaded) == number_of(server->file),
		.evidence = scenario->by_reloads ? LOADED_BY_RELOADS : LOADED_BY_HASH,
		.needs_second_nonce = scenario->by_reloads && server->up &&
				      (server->proof == PROOF_NONE || server->proof == PROOF_ONCE),
		.process = 1,
		.loaded_since = ns(server->loaded_since),
		.writes_since = ns(server->writes_since),
		.refuses_file = server->refused,
		.refused_before = server->refused_before,
		.reloads_itself = !scenario->no_reload,
		.restarts = scenario->restarts,
		.canary_step = server->canary_at ? steps[s->aborted][server->canary_shape] : STEP_NONE,
		.canary_at = ns(server->canary_at),
		.canary_process = 1,
	};
}

static size_t observe_values(const struct model_state *s, struct census_group *groups)
{
	size_t n = 0;
	if (s->census_values & KEY_A)
		groups[n++] = (struct census_group){
			.resource = text("secrets"), .type = PROVIDER_AESCBC, .name = text("a"), .values = 1};
	if (s->census_values & KEY_B)
		groups[n++] = (struct census_group){
			.resource = text("secrets"), .type = PROVIDER_AESCBC, .name = text("b"), .values = 1};
	if (s->census_odd == ODD_OUTSIDE)
		groups[n++] = (struct census_group){
			.type = PROVIDER_AESCBC, .name = text(s->aborted ? "b" : "a"), .values = 1};
	if (s->census_odd == ODD_HIDDEN)
		groups[n++] = (struct census_group){.resource = text("secrets"),
						    .type = PROVIDER_AESCBC,
						    .name = text(s->aborted ? "b" : "a"),
						    .values = 1};
	if (s->census_odd == ODD_UNKNOWN_FORM)
		groups[n++] = (struct census_group){.unknown = true, .values = 1};
	return n;
}

static void observe(const struct model_state *s, struct seen *seen)
{
	seen->member = (struct member_observation){.name = text("m"), .answering = !s->silent};
	for (size_t i = 0; i < scenario->servers; i++)
		observe_server(s, i, seen);
	seen->observation = (struct observation){
		.servers_known = seen->glance == BLIND_SET ? FACT_UNKNOWN : FACT_KNOWN,
		.servers = seen->servers,
		.server_count = scenario->servers,
		.members_known = seen->glance == BLIND_MEMBERS ? FACT_UNKNOWN : FACT_KNOWN,
		.members = &seen->member,
		.member_count = 1,
		.quiet_since = ns(s->quiet_since),
		.settled_began = ns(s->settled_began),
		.settled_ended = ns(s->settled_ended),
		.etcd_looked_at = ns(seen->looked_at),
		.etcd_back_at = ns(s->back_at),
		.census = {.begun = ns(s->census_at),
			   .finished = ns(s->census_at),
			   .complete = s->census_complete,
			   .groups = seen->groups,
			   .group_count = observe_values(s, seen->groups),
			   .does_not_open = s->census_odd == ODD_DOES_NOT_OPEN,
			   .compacted = s->compacted,
			   .compaction_expected = s->census_at ? ns(s->census_at) + COMPACTION : 0},
		.sweep = {.step = s->sweep_at ? s->sweep_step : STEP_NONE,
			  .begun = ns(s->sweep_at),
			  .finished = s->sweep_finished ? ns(s->sweep_at) : 0,
			  .quarantined = s->sweep_quarantined},
		.reads_checked_at = ns(s->reads_at),
		.rescues = s->rescues,
		.retired = s->retired,
		.blocked = seen->glance == BLIND_TOLD ? text("the lock was lost") : NULL,
		.settle_time = SETTLE_TIME,
		.compact = scenario->compact,
	};
}

/* Looks, and decides; the state is as after the look. */
static struct decision decide(struct model_state *s, enum glance glance)
{
	static struct seen seen;
	look(s, glance);
	seen.glance = glance;
	seen.looked_at = s->now;
	if (glance == LOOK_SLOWLY)
		s->now = (uint8_t)(s->now + TICK);
	observe(s, &seen);
	unsigned rules = scenario->rules ? scenario->rules : RULES_ALL;
	struct decision d = next_action_under(paths[s->aborted], &seen.observation, ns(s->now), rules);
	s->looked_at = d.valid_until != UINT64_MAX ? seen.looked_at : 0;
	return d;
}

/* Done, and all is as seen: one key, everywhere. */
static bool done_rightly(const struct model_state *s)
{
	for (size_t i = 0; i < scenario->servers; i++)
		if (shape_of(s->servers[i].loaded) != (s->aborted ? SHAPE_A : SHAPE_B))
			return false;
	return !((s->values | s->in_flight) & leaving(s)) && s->retired;
}

static void count(const struct decision *decision)
{
	if (scenario->rules || scenario->flaws)
		return;
	model_actions[decision->action]++;
	model_reasons[decision->reason]++;
}

static bool acts(const struct decision *d)
{
	return d->action != ACTION_WAIT && d->action != ACTION_BLOCKED && d->action != ACTION_DONE;
}

static void take_order(struct model_state *s, const struct decision *d)
{
	bool writes = d->action == ACTION_WRITE_STEP;
	s->pending = (uint8_t)(d->action + 1);
	s->pending_settle = d->phase == PHASE_SETTLE;
	s->pending_to = (uint8_t)(writes                          ? (int)shapes[s->aborted][d->to_step]
				  : d->action == ACTION_REENCRYPT ? d->step
								  : 0);
	s->pending_server = (uint8_t)(writes || d->action == ACTION_RESTART ? d->server : 0);
	s->pending_rescue = d->rescue;
	s->pending_limited = d->valid_until != UINT64_MAX;
	for (size_t i = 0; i < scenario->servers; i++)
		if ((writes && i == s->pending_server) || d->action == ACTION_RETIRE)
			s->servers[i].ordered_on = s->servers[i].file;
	s->pending_expect = writes && d->expect_hash ? s->servers[s->pending_server].file : 0;
}

static bool look_event(struct model_state *s, enum glance glance)
{
	if (s->pending || (glance == LOOK_SLOWLY && !passes(s)))
		return false;
	const struct decision d = decide(s, glance);
	count(&d);
	if (d.action == ACTION_DONE && !done_rightly(s))
		s->broken = BROKEN_DONE;
	if (acts(&d))
		take_order(s, &d);
	return true;
}

/* --- our process: acting --- */

static void write_file(struct model_state *s, struct model_server *server, enum shape to, content basis, content expect)
{
	bool blindly = scenario->flaws & FLAW_SWAP_BLINDLY;
	if (expect && number_of(expect) != number_of(server->file) && !blindly)
		return;
	if (server->file != basis && !blindly)
		s->broken = BROKEN_CHANGED_FILE;
	bool again =
		shape_of(server->file) == to && server->known_loaded == server->file && server->proof == PROOF_ONCE;
	server->replaced = server->known_loaded == server->file && server->loaded_since > 0 && !scenario->by_reloads;
	server->refused_before |= server->refused;
	server->refused = 0;
	server->file = server->written = new_content(s, to, false);
	if (scenario->by_reloads) {
		server->known_loaded = server->file;
		server->proof = again ? PROOF_WRITTEN_AGAIN : PROOF_WRITTEN;
	}
}

static bool too_late(const struct model_state *s)
{
	return s->pending_limited && ns(s->now) > ns(s->looked_at) + FRESH_LOOK && !(scenario->flaws & FLAW_OLD_ORDERS);
}

static void act_canary(struct model_state *s)
{
	if (!all_up(s) || s->silent)
		return;
	for (size_t i = 0; i < scenario->servers; i++) {
		struct model_server *server = &s->servers[i];
		server->canary_at = s->now;
		server->canary_shape = (uint8_t)shape_of(server->loaded);
		write_to_etcd(s, writes_of[server->canary_shape]);
	}
	if (!s->pending_settle || !s->quiet_since)
		return;
	s->settled_began = s->quiet_since;
	s->settled_ended = s->now;
}

/* Through the first server, under what it has loaded now. */
static void act_sweep(struct model_state *s, enum event how)
{
	const struct model_server *server = &s->servers[0];
	uint8_t write_key = writes_of[shape_of(server->loaded)], reads = reads_of[shape_of(server->loaded)];
	s->sweep_at = s->now;
	s->sweep_step = s->pending_to;
	s->sweep_finished = server->up && !s->silent && how != EVENT_ACT_HALF;
	s->sweep_quarantined = how == EVENT_ACT_QUARANTINE || (s->values & ~reads);
	if (!server->up || s->values == 0)
		return;
	write_to_etcd(s, write_key);
	if (how == EVENT_ACT_HALF)
		s->in_flight |= write_key;
	if (s->sweep_finished && !s->sweep_quarantined)
		s->values = write_key;
}

static void act_census(struct model_state *s)
{
	s->census_at = s->now;
	s->census_complete = !s->silent;
	s->census_values = s->after_census = s->values;
	s->census_odd = s->odd;
	s->compacted = 0;
}

static void act_retire(struct model_state *s)
{
	for (size_t i = 0; i < scenario->servers; i++)
		if (s->servers[i].file != s->servers[i].ordered_on)
			return;
	if (!too_late(s))
		s->retired = 1;
}

static void forget_order(struct model_state *s)
{
	s->pending = s->pending_server = s->pending_to = s->pending_settle = 0;
	s->pending_rescue = s->pending_limited = s->pending_expect = 0;
	for (size_t i = 0; i < scenario->servers; i++)
		s->servers[i].ordered_on = 0;
	s->looked_at = 0;
}

static void act_write(struct model_state *s)
{
	struct model_server *server = &s->servers[s->pending_server];
	content before = server->file;
	if (too_late(s))
		return;
	write_file(s, server, (enum shape)s->pending_to, server->ordered_on, s->pending_expect);
	if (s->pending_rescue && server->file != before)
		s->rescues = (uint8_t)(s->rescues < 2 ? s->rescues + 1 : 2);
}

static bool act(struct model_state *s, enum event how)
{
	enum action action = (enum action)(s->pending - 1);
	bool sweeps = s->pending && action == ACTION_REENCRYPT;
	if (!s->pending || (how != EVENT_ACT && !sweeps) ||
	    (how == EVENT_ACT_QUARANTINE && !spend(s, BUDGET_QUARANTINE)))
		return false;
	s->interfered |= how == EVENT_ACT_QUARANTINE;
	s->now++;
	switch (action) {
	case ACTION_WRITE_STEP:
		act_write(s);
		break;
	case ACTION_CANARY:
		act_canary(s);
		break;
	case ACTION_REENCRYPT:
		act_sweep(s, how);
		break;
	case ACTION_CENSUS:
		act_census(s);
		break;
	case ACTION_COMPACT:
		compact(s, s->census_at ? s->after_census : s->values);
		break;
	case ACTION_READ_BACK:
		if (all_up(s) && !(s->values & ~reads_of[shape_of(s->servers[0].loaded)]))
			s->reads_at = s->now;
		break;
	case ACTION_RETIRE:
		act_retire(s);
		break;
	case ACTION_RESTART:
		for (size_t i = 0; i < scenario->servers; i++)
			if (!s->servers[i].up)
				s->broken = BROKEN_TWO_DOWN;
		s->servers[s->pending_server].up = s->servers[s->pending_server].worker = 0;
		break;
	case ACTION_WAIT:
	case ACTION_BLOCKED:
	case ACTION_DONE:
		break;
	}
	forget_order(s);
	return true;
}

/* All that it has not written down is gone. */
static void lose_memory(struct model_state *s)
{
	forget_order(s);
	for (size_t i = 0; i < scenario->servers; i++) {
		struct model_server *server = &s->servers[i];
		server->known_loaded = server->process_known = server->loaded_since = server->writes_since = 0;
		server->canary_at = server->canary_shape = server->proof = server->refused_before = server->replaced =
			0;
	}
	s->census_at = s->census_complete = s->census_values = s->census_odd = 0;
	s->sweep_at = s->sweep_step = s->sweep_finished = s->sweep_quarantined = 0;
	s->settled_began = s->settled_ended = s->quiet_since = s->etcd_seen = s->etcd_restored = s->back_at =
		s->reads_at = 0;
}

static bool stall(struct model_state *s)
{
	if (s->pending != ACTION_WRITE_STEP + 1 || s->stale || !spend(s, BUDGET_STALL))
		return false;
	s->stale = 1;
	s->stale_server = s->pending_server;
	s->stale_to = s->pending_to;
	s->stale_old = 0;
	s->stale_basis = s->servers[s->pending_server].ordered_on;
	s->stale_expect = s->pending_expect;
	lose_memory(s);
	return true;
}

/* Another process than the one whose memory this is, so that one cannot know. */
static bool stale_act(struct model_state *s)
{
	if (!s->stale)
		return false;
	struct model_server *server = &s->servers[s->stale_server];
	content known = server->known_loaded, file = server->file;
	uint8_t refused_before = server->refused_before;
	uint8_t replaced = server->replaced;
	write_file(s, server, (enum shape)s->stale_to, s->stale_basis, s->stale_expect);
	server->known_loaded = known;
	server->refused_before = refused_before;
	server->replaced = replaced && server->file == file;
	s->stale = s->stale_server = s->stale_to = s->stale_old = s->stale_basis = s->stale_expect = 0;
	return true;
}

static bool process_event(struct model_state *s, enum event event, unsigned how)
{
	switch ((int)event) {
	case EVENT_LOOK:
		return look_event(s, (enum glance)how);
	case EVENT_ACT:
	case EVENT_ACT_QUARANTINE:
	case EVENT_ACT_HALF:
		return act(s, event);
	case EVENT_DIE:
		lose_memory(s);
		return true;
	case EVENT_ABORT:
		if (!spend(s, BUDGET_ABORT))
			return false;
		s->aborted = 1;
		lose_memory(s);
		return true;
	case EVENT_STALL:
		return stall(s);
	case EVENT_STALE_ACT:
		return stale_act(s);
	}
	return false;
}

/* --- all of it --- */

/* An event is its kind and, above, a server or how a look goes. */
static bool happen(struct model_state *s, unsigned event)
{
	enum event kind = (enum event)(event & 63);
	unsigned which = event >> 6;
	bool happened;
	if (kind <= EVENT_WRITE)
		happened = server_event(s, kind, &s->servers[which]);
	else if (kind <= EVENT_COMPACTED)
		happened = etcd_event(s, kind);
	else if (kind <= EVENT_ODD_REMOVED)
		happened = interference(s, kind, &s->servers[which]);
	else
		happened = process_event(s, kind, which);
	if (happened)
		normalise(s);
	return happened;
}

static unsigned ways(enum event kind)
{
	if (kind <= EVENT_WRITE || (kind >= EVENT_COPY && kind <= EVENT_REFUSE))
		return (unsigned)scenario->servers;
	if (kind == EVENT_LOOK)
		return scenario->blind ? GLANCES : 2;
	return 1;
}

void model_successors(const struct model_state *state, model_visit *visit, void *arg)
{
	for (enum event kind = 0; kind <= EVENT_STALE_ACT; kind++)
		for (unsigned which = 0; which < ways(kind); which++) {
			unsigned event = (unsigned)kind | which << 6;
			struct model_state next = *state;
			if (happen(&next, event) && memcmp(&next, state, sizeof(next)) != 0)
				visit(&next, event, arg);
		}
}

/* What the world does next where it helps; false when there is nothing to do. */
static bool helpful_event(const struct model_state *s, unsigned *event)
{
	static const enum event of_etcd[] = {EVENT_LAND_A, EVENT_LAND_B, EVENT_ANSWERS, EVENT_ODD_REMOVED};
	static const enum event of_servers[] = {EVENT_START, EVENT_SET, EVENT_READ};
	struct model_state next = *s;
	for (size_t e = 0; e < ELEMENTS(of_etcd); e++)
		if (happen(&next, *event = of_etcd[e]))
			return true;
	for (unsigned i = 0; i < scenario->servers; i++) {
		for (size_t e = 0; e < ELEMENTS(of_servers); e++)
			if (happen(&next, *event = (unsigned)of_servers[e] | i << 6))
				return true;
		const struct model_server *server = &s->servers[i];
		if (scenario->no_reload && !scenario->restarts && server->file != server->loaded &&
		    happen(&next, *event = (unsigned)EVENT_STOP | i << 6))
			return true;
	}
	return false;
}

/* What we do next, and what time does, once the world is at rest. */
static enum helped next_of_ours(const struct model_state *s, unsigned *event)
{
	struct model_state looked = *s, later_on = *s;
	*event = s->pending ? EVENT_ACT : EVENT_LOOK;
	if (s->pending)
		return HELPED;
	const struct decision d = decide(&looked, LOOK_WELL);
	looked.looked_at = 0;
	normalise(&looked);
	if (d.action == ACTION_DONE)
		return HELPED_END;
	if (acts(&d) || memcmp(&looked, s, sizeof(looked)) != 0)
		return HELPED;
	bool compaction = d.reason == REASON_HISTORY || d.reason == REASON_NO_COMPACTION;
	bool person = d.action == ACTION_BLOCKED && (s->interfered || scenario->person);
	*event = compaction ? EVENT_COMPACTED : EVENT_TICK;
	if ((compaction || !person) && happen(&later_on, *event) && memcmp(&later_on, s, sizeof(later_on)) != 0)
		return HELPED;
	return person ? HELPED_PERSON : HELPED_STUCK;
}

enum helped model_helped(const struct model_state *s, struct model_state *next, unsigned *event)
{
	enum helped helped = HELPED;
	if (!helpful_event(s, event)) {
		if (!all_up(s))
			return HELPED_PERSON; /* it cannot start with the file that it refuses */
		helped = next_of_ours(s, event);
	}
	*next = *s;
	return helped == HELPED && !happen(next, *event) ? HELPED_STUCK : helped;
}

const char *model_broken(const struct model_state *s)
{
	if (s->broken == BROKEN_CHANGED_FILE)
		return "an order was carried out on a file that had changed since";
	if (s->broken == BROKEN_TWO_DOWN)
		return "a server was restarted while another one was down";
	if (s->broken == BROKEN_DONE)
		return "it said Done and was not";
	if (s->retired && ((s->values | s->in_flight) & leaving(s)))
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
	struct config_shape *shape = xcalloc(1, sizeof(*shape));
	static const char *const names[] = {"a", "b"};
	static const int first[] = {0, 0, 1, 1}, keys[] = {1, 2, 2, 1};
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

static struct path *make_path(bool back)
{
	struct config_shape *a = make_shape(SHAPE_A), *b = make_shape(SHAPE_B);
	struct path *path = NULL;
	if (!scenario->skips_a_step && path_make(back ? b : a, back ? a : b, &path, NULL) < 0)
		abort();
	if (!path) {
		path = xcalloc(1, sizeof(*path));
		path->steps = xcalloc(3, sizeof(struct config_shape *));
		path->steps[path->count++] = make_shape(back ? SHAPE_B : SHAPE_A);
		path->steps[path->count++] = make_shape(back ? SHAPE_AB : SHAPE_BA);
		path->steps[path->count++] = make_shape(back ? SHAPE_A : SHAPE_B);
	}
	config_shape_free(a);
	config_shape_free(b);
	return path;
}

void model_begin(const struct scenario *begun)
{
	scenario = begun;
	for (size_t back = 0; back < 2; back++) {
		path_free(paths[back]);
		paths[back] = make_path(back);
		for (enum shape shape = 0; shape < SHAPES; shape++)
			steps[back][shape] = STEP_NONE;
		for (enum shape shape = 0; shape < SHAPE_EDITED; shape++) {
			struct config_shape *wanted = make_shape(shape);
			int step = path_find(paths[back], wanted);
			config_shape_free(wanted);
			steps[back][shape] = step;
			if (step >= 0)
				shapes[back][step] = shape;
		}
	}
}

size_t model_initial(struct model_state *ret, size_t max)
{
	struct model_state s = {.values = KEY_A, .history = KEY_A, .now = 1};
	memcpy(s.left, scenario->budgets, sizeof(scenario->budgets));
	for (size_t i = 0; i < scenario->servers; i++)
		s.servers[i].up = 1;
	for (size_t i = 0; i < scenario->servers; i++)
		s.servers[i].file = s.servers[i].loaded = s.servers[i].written = s.copy = 1 | SHAPE_A << 4;
	size_t n = 0;
	for (enum odd odd = ODD_NONE; odd <= ODD_DOES_NOT_OPEN && n < max; odd++) {
		if (odd != ODD_NONE && !scenario->odd)
			break;
		s.odd = (uint8_t)odd;
		normalise(&s);
		ret[n++] = s;
	}
	return n;
}

/* The paths here are of files: that a KMS moves, kms.c has. */
static bool out_of_reach(enum reason reason)
{
	return reason == REASON_KMS_UNKNOWN || reason == REASON_KMS_UNMOVED || reason == REASON_LAST_CANARY;
}

bool model_reached(void)
{
	bool good = true;
	for (enum action a = 0; a <= ACTION_DONE; a++) {
		printf("%12lu  %s\n", model_actions[a], action_name(a));
		good &= model_actions[a] > 0;
	}
	for (enum reason r = 0; r <= REASON_TOLD; r++) {
		printf("%12lu  %s\n", model_reasons[r], reason_name(r));
		good &= model_reasons[r] > 0 || out_of_reach(r);
	}
	if (!good)
		printf("something above was never decided\n");
	return good;
}

/* --- telling --- */

static const char *const event_names[] = {
	[EVENT_READ] = "a server's worker reads its file",
	[EVENT_SET] = "a server's worker sets what it had read",
	[EVENT_STOP] = "a server stops",
	[EVENT_START] = "a server starts with its file",
	[EVENT_WRITE] = "a client writes through a server",
	[EVENT_LAND_A] = "a write under A lands",
	[EVENT_LAND_B] = "a write under B lands",
	[EVENT_DIE_A] = "a write under A dies on its way",
	[EVENT_DIE_B] = "a write under B dies on its way",
	[EVENT_DELETE_A] = "clients delete all values under A",
	[EVENT_DELETE_B] = "clients delete all values under B",
	[EVENT_SILENT] = "a member of etcd stops",
	[EVENT_ANSWERS] = "the member goes on",
	[EVENT_TICK] = "a minute passes",
	[EVENT_COMPACTED] = "etcd is compacted at the census' revision",
	[EVENT_RESTORE] = "etcd is restored from a backup",
	[EVENT_COPY] = "somebody keeps a copy of the file",
	[EVENT_PUT_BACK] = "somebody puts the kept file back",
	[EVENT_TOUCH] = "somebody changes a comment in the file",
	[EVENT_EDIT] = "somebody edits the file",
	[EVENT_REFUSE] = "a server refuses its file",
	[EVENT_ODD_REMOVED] = "a person sees to the odd value",
	[EVENT_LOOK] = "we look",
	[EVENT_ACT] = "we do it",
	[EVENT_ACT_QUARANTINE] = "we do it, but some objects are refused",
	[EVENT_ACT_HALF] = "we do half of it",
	[EVENT_DIE] = "our process dies",
	[EVENT_ABORT] = "the rotation is aborted",
	[EVENT_STALL] = "our process is stopped, another is started",
	[EVENT_STALE_ACT] = "the stopped process carries out its order",
};

static const char *set_name(uint8_t keys)
{
	static const char *const names[] = {"-", "A", "B", "A,B"};
	return names[keys & 3];
}

void model_tell(const struct model_state *before, unsigned event, const struct model_state *after, char *ret,
		size_t size)
{
	enum event kind = (enum event)(event & 63);
	char decided[128] = "";
	if (kind == EVENT_LOOK) {
		struct model_state looked = *before;
		const struct decision d = decide(&looked, (enum glance)(event >> 6));
		snprintf(decided, sizeof(decided), ": %s %s%s%s", action_name(d.action), reason_name(d.reason),
			 d.action == ACTION_WRITE_STEP ? " to " : "",
			 d.action == ACTION_WRITE_STEP ? shape_names[shapes[before->aborted][d.to_step]] : "");
	} else if (event >> 6) {
		snprintf(decided, sizeof(decided), " (%u)", event >> 6);
	}
	int n = snprintf(ret, size, "%-52s |", event_names[kind]);
	if (decided[0])
		n = snprintf(ret, size, "%s%-*s |", event_names[kind], (int)(52 - strlen(event_names[kind])), decided);
	for (size_t i = 0; i < scenario->servers && n > 0 && (size_t)n < size; i++) {
		const struct model_server *server = &after->servers[i];
		n += snprintf(ret + n, size - (size_t)n, " file %s#%u runs %s#%u%s%s;",
			      shape_names[shape_of(server->file)], number_of(server->file),
			      server->up ? shape_names[shape_of(server->loaded)] : "nothing",
			      server->up ? number_of(server->loaded) : 0, server->worker ? " worker has " : "",
			      server->worker ? shape_names[shape_of(server->worker)] : "");
	}
	if (n > 0 && (size_t)n < size)
		snprintf(ret + n, size - (size_t)n, " values %s in flight %s history %s%s", set_name(after->values),
			 set_name(after->in_flight), set_name(after->history), after->retired ? " retired" : "");
}
