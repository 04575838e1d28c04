#include "engine/quiet.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"

#define SETTLE_LEAST (15 * NS_PER_S)
#define SETTLE_BALANCER (15 * 60 * NS_PER_S)
/* A pause of our own in which a backup may have been put in an etcd's place. */
#define PAUSE_LONG (60 * NS_PER_S)

/* What one etcd has shown: neither goes back in a cluster that was not restored from a backup. */
struct highest {
	uint64_t revision, raft_term;
};

/* One that must not be silent: a member of an etcd, or an API server. */
struct watched {
	struct quiet *quiet;
	size_t etcd, member; /* of a member */
	uint64_t id;
	char *name;
	struct kube *server; /* of a server; NULL for a member */
	bool learner;
	uint64_t asked_at;         /* when the probe under way was sent */
	struct highest asked_with; /* what its etcd had shown by then */
	uint64_t alive_at;         /* when the last probe that was answered was sent: it lived after that */
	unsigned gone; /* probes that met nobody since one was answered: not that a leader is elected, or much to do */
	struct etcd_range_call *range;
	struct http_call *call;
	char *why;
};

struct quiet {
	struct loop *loop;
	struct etcd *const *etcds;
	size_t etcd_count;
	struct kube *const *servers;
	size_t server_count;
	struct highest *highest; /* one per etcd */
	bool *hidden;            /* likewise: see find_hidden */
	struct watched *watched;
	size_t count;
	char *key;
	struct loop_timer timer;
	uint64_t last_tick;
	uint64_t since; /* 0: somebody is silent now */
	uint64_t etcd_back_at;
	uint64_t asked_at; /* of quiet_ask; 0: nobody waits */
	bool answered;     /* by all since then */
	bool changed;      /* the members, since quiet_refresh last said so */
};

uint64_t quiet_settle_time(uint64_t request_timeout, bool behind_balancer)
{
	uint64_t least = behind_balancer ? SETTLE_BALANCER : SETTLE_LEAST;
	return request_timeout > least ? request_timeout : least;
}

static bool silent(const struct watched *w, uint64_t now)
{
	return !w->learner && (w->alive_at == 0 || now > w->alive_at + QUIET_SILENCE);
}

static void probe(struct watched *w, uint64_t now);

static bool all_answered(const struct quiet *quiet)
{
	for (size_t i = 0; i < quiet->count; i++) {
		const struct watched *w = &quiet->watched[i];
		if (!w->server && !w->learner && w->alive_at < quiet->asked_at)
			return false;
	}
	return true;
}

/* It answered a question of before that one: it is asked again. */
static void go_on_asking(struct watched *w)
{
	struct quiet *quiet = w->quiet;
	if (quiet->asked_at == 0)
		return;
	if (w->asked_at < quiet->asked_at)
		probe(w, loop_now(quiet->loop));
	quiet->answered = all_answered(quiet);
}

/* Whether an etcd that answers now did not for a while, none of its voting members: then a backup may have been put in its place, and
 * one whose revisions were bumped (etcdutl snapshot restore --bump-revision) shows in no header. */
static bool was_away(const struct watched *answering)
{
	const struct quiet *quiet = answering->quiet;
	for (size_t i = 0; i < quiet->count; i++) {
		const struct watched *w = &quiet->watched[i];
		if (w->server || w->learner || w->etcd != answering->etcd)
			continue;
		/* One that hangs is as long as several. */
		if (w->gone == 0 || (w->gone < 2 && answering->asked_at < w->alive_at + QUIET_SILENCE))
			return false;
	}
	return true;
}

/* A linearizable read is never below what was known when it was sent; answers of several members may pass one another. */
static void member_answered(void *arg, struct etcd_range_result *result)
{
	struct watched *w = arg;
	w->range = NULL;
	if (result->rc < 0) {
		free(w->why);
		w->why = xstrdup(error_message(result->error));
		/* What stands before it may say so in its own words. */
		bool by_balancer = w->quiet->hidden[w->etcd] && !strstr(w->why, "etcdserver: ");
		w->gone += result->rc == -ERROR_NETWORK || by_balancer;
		go_on_asking(w);
		return;
	}
	if (was_away(w))
		w->quiet->etcd_back_at = loop_now(w->quiet->loop);
	w->gone = 0;
	w->alive_at = w->asked_at;
	struct highest *highest = &w->quiet->highest[w->etcd];
	const struct etcd_header *header = &result->header;
	bool back = header->revision < w->asked_with.revision || header->raft_term < w->asked_with.raft_term;
	if (back)
		w->quiet->etcd_back_at = loop_now(w->quiet->loop);
	if (back || header->revision > highest->revision)
		highest->revision = header->revision;
	if (back || header->raft_term > highest->raft_term)
		highest->raft_term = header->raft_term;
	go_on_asking(w);
}

/* Any answer of a server will do, a refusal or a 429 too: it is not stopped. */
static void server_answered(void *arg, struct http_result *result)
{
	struct watched *w = arg;
	w->call = NULL;
	if (result->status != 0) {
		w->alive_at = w->asked_at;
		return;
	}
	free(w->why);
	w->why = xstrdup(error_message(result->error));
}

static void probe(struct watched *w, uint64_t now)
{
	if (w->range || w->call)
		return;
	w->asked_at = now;
	if (w->server) {
		w->call = http_start(w->server->http, &(struct http_request){.method = "GET",
									     .path = "/version",
									     .timeout = QUIET_SILENCE,
									     .max_body = 64u << 10,
									     .on_done = server_answered,
									     .arg = w});
		return;
	}
	const struct quiet *quiet = w->quiet;
	w->asked_with = quiet->highest[w->etcd];
	w->range = etcd_range_start(
		quiet->etcds[w->etcd],
		&(struct etcd_range_options){
			.request = {.key = quiet->key, .key_len = strlen(quiet->key), .keys_only = true, .limit = 1},
			.member = quiet->hidden[w->etcd] ? -1 : (int)w->member,
			.timeout = QUIET_SILENCE,
			.on_done = member_answered,
			.arg = w});
}

static bool any_silent(const struct quiet *quiet, uint64_t now)
{
	for (size_t i = 0; i < quiet->count; i++)
		if (silent(&quiet->watched[i], now))
			return true;
	return false;
}

static struct watched *add(struct quiet *quiet)
{
	struct watched *w = &quiet->watched[quiet->count++];
	*w = (struct watched){.quiet = quiet};
	return w;
}

/* Never moved while probes are under way: they point into it. */
static void watch_all(struct quiet *quiet)
{
	size_t all = quiet->server_count;
	for (size_t e = 0; e < quiet->etcd_count; e++)
		all += etcd_member_count(quiet->etcds[e]);
	quiet->watched = xcalloc(all + 1, sizeof(*quiet->watched));
	quiet->count = 0;
	for (size_t e = 0; e < quiet->etcd_count; e++)
		for (size_t m = 0; m < etcd_member_count(quiet->etcds[e]); m++) {
			const struct etcd_member_info *member = etcd_member(quiet->etcds[e], m);
			struct watched *w = add(quiet);
			w->etcd = e;
			w->member = m;
			w->id = member->id;
			w->learner = member->learner;
			w->name = xstrdup(member->name);
		}
	for (size_t s = 0; s < quiet->server_count; s++)
		add(quiet)->server = quiet->servers[s];
}

static void stop_probes(struct quiet *quiet)
{
	for (size_t i = 0; i < quiet->count; i++) {
		if (quiet->watched[i].range)
			etcd_range_cancel(steal(quiet->watched[i].range));
		if (quiet->watched[i].call)
			http_cancel(steal(quiet->watched[i].call));
	}
}

static void forget_watched(struct quiet *quiet)
{
	for (size_t i = 0; i < quiet->count; i++) {
		free(quiet->watched[i].why);
		free(quiet->watched[i].name);
	}
	free(quiet->watched);
}

/* As the etcds know their members now: whoever connects one of them anew, such as a census, changes that. */
static bool same_members(const struct quiet *quiet)
{
	size_t at = 0;
	for (size_t e = 0; e < quiet->etcd_count; e++)
		for (size_t m = 0; m < etcd_member_count(quiet->etcds[e]); m++, at++) {
			const struct watched *w = at < quiet->count ? &quiet->watched[at] : NULL;
			const struct etcd_member_info *member = etcd_member(quiet->etcds[e], m);
			if (!w || w->server || w->etcd != e || w->id != member->id || w->learner != member->learner)
				return false;
		}
	return at + quiet->server_count == quiet->count;
}

static void take_members(struct quiet *quiet)
{
	if (same_members(quiet))
		return;
	stop_probes(quiet);
	forget_watched(quiet);
	watch_all(quiet);
	quiet->since = 0;
	quiet->changed = true;
}

static void tick(void *arg)
{
	struct quiet *quiet = arg;
	uint64_t now = loop_now(quiet->loop);
	take_members(quiet);
	/* A pause of our own hides theirs: nothing was watched meanwhile. */
	uint64_t pause = quiet->last_tick != 0 ? now - quiet->last_tick : 0;
	bool paused = pause > QUIET_SILENCE;
	if (pause > PAUSE_LONG)
		quiet->etcd_back_at = now;
	quiet->last_tick = now;
	if (any_silent(quiet, now))
		quiet->since = 0;
	else if (quiet->since == 0 || paused)
		quiet->since = now;
	for (size_t i = 0; i < quiet->count; i++)
		probe(&quiet->watched[i], now);
	loop_timer_set(quiet->loop, &quiet->timer, now + QUIET_PROBE_INTERVAL, tick, quiet);
}

/* Of an etcd behind a balancer no member can be asked alone: then what answers there stands for all of them, which is
 * why its settle time is longer. Decided once, as that time is: members that can be asked are never taken for hidden
 * because they fell silent. */
static void find_hidden(struct quiet *quiet)
{
	quiet->hidden = xcalloc(quiet->etcd_count + 1, sizeof(*quiet->hidden));
	for (size_t e = 0; e < quiet->etcd_count; e++) {
		quiet->hidden[e] = etcd_behind_balancer(quiet->etcds[e]);
		for (size_t m = 0; m < etcd_member_count(quiet->etcds[e]); m++)
			quiet->hidden[e] = quiet->hidden[e] && !etcd_member(quiet->etcds[e], m)->answered;
	}
}

struct quiet *quiet_start(struct loop *loop, struct etcd *const *etcds, size_t etcd_count, struct kube *const *servers,
			  size_t server_count, const char *key)
{
	struct quiet *quiet = xcalloc(1, sizeof(*quiet));
	*quiet = (struct quiet){.loop = loop,
				.etcds = etcds,
				.etcd_count = etcd_count,
				.servers = servers,
				.server_count = server_count,
				.key = xstrdup(key)};
	quiet->highest = xcalloc(etcd_count + 1, sizeof(*quiet->highest));
	find_hidden(quiet);
	watch_all(quiet);
	tick(quiet);
	return quiet;
}

int quiet_ask(struct quiet *quiet, uint64_t timeout, struct error **err)
{
	uint64_t now = clock_monotonic();
	quiet->asked_at = now;
	for (size_t i = 0; i < quiet->count; i++)
		probe(&quiet->watched[i], now);
	quiet->answered = all_answered(quiet);
	int rc = loop_run_until(quiet->loop, &quiet->answered, now + timeout, err);
	quiet->asked_at = 0;
	return error_forgive(err, rc, ERROR_DEADLINE);
}

int quiet_refresh(struct quiet *quiet, bool *ret_changed, struct error **err)
{
	int rc = 0;
	loop_timer_cancel(quiet->loop, &quiet->timer);
	stop_probes(quiet);
	for (size_t e = 0; rc == 0 && e < quiet->etcd_count; e++)
		rc = etcd_connect(quiet->etcds[e], err);
	tick(quiet);
	*ret_changed = quiet->changed;
	quiet->changed = false;
	return rc;
}

void quiet_stop(struct quiet *quiet)
{
	if (!quiet)
		return;
	loop_timer_cancel(quiet->loop, &quiet->timer);
	stop_probes(quiet);
	forget_watched(quiet);
	free(quiet->highest);
	free(quiet->hidden);
	free(quiet->key);
	free(quiet);
}

void quiet_observe(const struct quiet *quiet, struct observation *ret)
{
	uint64_t now = loop_now(quiet->loop);
	size_t members = 0;
	uint64_t oldest = UINT64_MAX;
	ret->members = xcalloc(quiet->count + 1, sizeof(*ret->members));
	for (size_t i = 0; i < quiet->count; i++) {
		const struct watched *w = &quiet->watched[i];
		if (w->server)
			continue;
		if (!w->learner && w->alive_at < oldest)
			oldest = w->alive_at;
		bool answering = w->alive_at != 0 && now <= w->alive_at + QUIET_SILENCE;
		ret->members[members++] = (struct member_observation){
			.name = xstrdup(w->name),
			.learner = w->learner,
			.answering = answering,
			.why = !answering && w->why ? xstrdup(w->why) : NULL,
		};
	}
	ret->member_count = members;
	ret->members_known = members > 0 ? FACT_KNOWN : FACT_UNKNOWN;
	for (size_t e = 0; e < quiet->etcd_count && !ret->members_why; e++)
		if (!etcd_membership_certain(quiet->etcds[e])) {
			ret->members_known = FACT_UNKNOWN;
			ret->members_why =
				xasprintf("%s: no quorum tells who the members are", etcd_label(quiet->etcds[e]));
		}
	/* It may show itself late: by the first answer of another member. */
	for (size_t e = 0; e < quiet->etcd_count; e++)
		ret->members_behind_balancer |= etcd_behind_balancer(quiet->etcds[e]);
	/* Silence that began since the last tick counts at once, and so does another member. */
	ret->quiet_since = any_silent(quiet, now) || !same_members(quiet) ? 0 : quiet->since;
	ret->etcd_looked_at = oldest == UINT64_MAX ? 0 : oldest;
	ret->etcd_back_at = quiet->etcd_back_at;
}

void quiet_again(struct quiet *quiet)
{
	if (quiet->since != 0)
		quiet->since = loop_now(quiet->loop);
}
