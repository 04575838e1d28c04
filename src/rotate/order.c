/* What an agent makes of an order, and what it does when there is nobody to give one. One question after the other; the
 * first that is not answered well decides. Every function answers true when it has filled in the verdict. */
#include "kube-rekey/order.h"

#include <string.h>

#include "base/text.h"

/* What the file would become by an order. */
enum change {
	ADDS,    /* it reads all that it read, and its server writes as before */
	CHANGES, /* another write key */
	LEAVES,  /* a key leaves the file, or its last copy is given up */
};

struct judge {
	const struct path *path;
	const struct order *order;
	const struct agent_state *state;
	const struct agent_sight *sight;
	uint64_t now;
	unsigned checks;
	enum change change;
	struct verdict *verdict;
};

static bool on(const struct judge *j, enum order_check check)
{
	return j->checks & check;
}

static uint64_t later(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* --- ways to answer --- */

static bool rule(const struct judge *j, enum ruling ruling, enum ground ground)
{
	j->verdict->ruling = ruling;
	j->verdict->ground = ground;
	return true;
}

static bool refuse(const struct judge *j, enum ground ground)
{
	return rule(j, RULING_REFUSE, ground);
}

static bool wait_for(const struct judge *j, enum ground ground)
{
	return rule(j, RULING_WAIT, ground);
}

static bool wait_for_peer(const struct judge *j, size_t peer, enum ground ground)
{
	j->verdict->peer = (int)peer;
	return wait_for(j, ground);
}

/* --- is it for me, and the newest? --- */

static bool new_epoch(const struct judge *j)
{
	bool other = j->state->rotation && !text_equal(j->order->rotation, j->state->rotation);
	if (j->sight->at_work)
		return wait_for(j, GROUND_AT_WORK);
	if (other && !j->sight->rotation_over)
		return wait_for(j, GROUND_ROTATION_OPEN);
	return rule(j, RULING_ACKNOWLEDGE, GROUND_NEW_EPOCH);
}

static bool not_of_this_epoch(const struct judge *j)
{
	if (j->order->epoch > j->state->epoch)
		return new_epoch(j);
	if (!on(j, CHECK_EPOCH))
		return false;
	if (j->order->epoch < j->state->epoch)
		return refuse(j, GROUND_LOWER_EPOCH);
	return !text_equal(j->order->rotation, j->state->rotation) && refuse(j, GROUND_OTHER_ROTATION);
}

static bool nothing_new(const struct judge *j)
{
	if (j->order->action == ORDER_NONE)
		return rule(j, RULING_NOTHING, GROUND_NO_ORDER);
	if (!on(j, CHECK_EPOCH) || j->order->sequence > j->state->sequence)
		return false;
	if (j->order->sequence == j->state->sequence)
		return rule(j, RULING_NOTHING, GROUND_DONE_BEFORE);
	return refuse(j, GROUND_LOWER_SEQUENCE);
}

static bool not_for_us(const struct judge *j)
{
	if (!j->order->rotation)
		return rule(j, RULING_NOTHING, GROUND_NO_ORDER);
	if (on(j, CHECK_INCARNATION) && !text_equal(j->order->incarnation, j->state->incarnation))
		return refuse(j, GROUND_OTHER_INCARNATION);
	if (not_of_this_epoch(j) || nothing_new(j))
		return true;
	return j->sight->at_work && wait_for(j, GROUND_AT_WORK);
}

/* An agent acknowledges a rotation before it knows its path, and an abort before it knows the way back. Keys are made
 * before there is one. */
static bool no_path(const struct judge *j)
{
	if (j->order->action == ORDER_MAKE_KEY)
		return false;
	bool known = text_equal(j->sight->path_of, j->order->rotation) && j->sight->going_back == j->order->aborted;
	return !known && wait_for(j, GROUND_NO_PATH);
}

/* --- is the file the one that the order is about? --- */

static bool other_file(const struct judge *j)
{
	const struct server_observation *own = j->sight->own;
	if (own->file != FACT_KNOWN)
		return wait_for(j, GROUND_FILE_UNKNOWN);
	if (own->file_step == STEP_NONE || !own->file_ours)
		return refuse(j, GROUND_FILE_EDITED);
	if (!on(j, CHECK_HASH))
		return false;
	if (!j->order->expect_hash)
		return refuse(j, GROUND_NO_HASH);
	if (!text_equal(j->order->expect_hash, own->file_hash))
		return refuse(j, GROUND_OTHER_FILE);
	return own->file_step != j->order->from_step && refuse(j, GROUND_OTHER_STEP);
}

/* --- is the step the next one, or a Rescue? --- */

bool server_writes_as(const struct path *path, const struct server_observation *server, size_t step)
{
	return server->loaded == FACT_KNOWN && server->loaded_step != STEP_NONE &&
	       path_writes_alike(path, step, (size_t)server->loaded_step);
}

static bool runs_it(const struct judge *j)
{
	return j->sight->own->loaded == FACT_KNOWN && j->sight->own->loaded_step == j->order->to_step;
}

static enum change change_of(const struct judge *j)
{
	size_t from = (size_t)j->sight->own->file_step, to = (size_t)j->order->to_step;
	/* Given up before any file was changed: there is no key to lose. */
	if (j->order->action == ORDER_RETIRE)
		return j->sight->going_back && j->path->count == 1 ? ADDS : LEAVES;
	/* What its server runs and will go on to run: the file that it refuses is not even one to start with. */
	if (j->order->rescue && runs_it(j) && j->sight->own->refuses_file)
		return ADDS;
	if (!path_keeps_keys(j->path, from, to))
		return LEAVES;
	return path_writes_alike(j->path, from, to) || server_writes_as(j->path, j->sight->own, to) ? ADDS : CHANGES;
}

static bool wrong_rescue(const struct judge *j)
{
	bool forward = j->order->to_step > j->sight->own->file_step;
	if (j->change == LEAVES)
		return refuse(j, GROUND_LOSES_KEY);
	return j->change == CHANGES && forward && refuse(j, GROUND_NOT_NEXT);
}

static bool wrong_next(const struct judge *j)
{
	int from = j->sight->own->file_step, to = j->order->to_step;
	if (to != from + 1 && !(to == from && j->sight->own->needs_second_nonce))
		return refuse(j, GROUND_NOT_NEXT);
	return !path_readable_between(j->path, (size_t)from, (size_t)to) && refuse(j, GROUND_UNREADABLE_STEP);
}

/* What a plugin encrypts with is told by its key ID alone. Where they differ one server may not read what another one
 * writes, so a file names a plugin that the rotation brings once all of them name one key. */
static bool plugins_in_the_way(const struct judge *j)
{
	if (j->order->rescue || !path_brings_any_kms(j->path, (size_t)j->order->to_step))
		return false;
	if (!j->sight->plugins_well)
		return wait_for(j, GROUND_PLUGIN_UNWELL);
	if (j->sight->peers_known != FACT_KNOWN)
		return wait_for(j, GROUND_PEERS_UNKNOWN);
	for (size_t i = 0; i < j->sight->peer_count; i++)
		if (!j->sight->peers[i].same_plugins)
			return wait_for_peer(j, i, GROUND_PLUGINS_DIFFER);
	return false;
}

static bool wrong_step(struct judge *j)
{
	bool retires = j->order->action == ORDER_RETIRE;
	int last = (int)j->path->count - 1;
	/* Where a KMS is followed no file changes. */
	if (!retires && path_follows_kms(j->path))
		return refuse(j, GROUND_NOT_NEXT);
	if (j->order->to_step < 0 || j->order->to_step > last)
		return refuse(j, GROUND_NOT_NEXT);
	j->change = change_of(j);
	if (retires)
		return (j->sight->own->file_step != last || j->order->to_step != last) && refuse(j, GROUND_NOT_NEXT);
	if (on(j, CHECK_STEP) && (j->order->rescue ? wrong_rescue(j) : wrong_next(j)))
		return true;
	bool has_keys = j->sight->has_keys && j->sight->has_keys[j->order->to_step];
	return (!has_keys && wait_for(j, GROUND_NO_KEYS)) || plugins_in_the_way(j);
}

/* --- is the order fresh? --- */

static bool not_fresh(const struct judge *j)
{
	if (!on(j, CHECK_FRESH))
		return false;
	if (j->sight->away)
		return wait_for(j, GROUND_AWAY);
	return (j->sight->read_at == 0 || j->sight->read_at + ORDER_FRESH < j->now) && wait_for(j, GROUND_NOT_FRESH);
}

/* Rule 3d: the controller's look, by this agent's clock. */
static bool too_old(const struct judge *j)
{
	uint64_t good_for = j->order->good_for < FRESH_LOOK ? j->order->good_for : FRESH_LOOK;
	bool old = j->sight->beat_at == 0 || j->sight->beat_at + good_for < j->now;
	return on(j, CHECK_AGE) && old && wait_for(j, GROUND_TOO_OLD);
}

/* --- rule 1: this server, and the others --- */

static bool not_loaded(const struct judge *j)
{
	const struct server_observation *own = j->sight->own;
	if (!on(j, CHECK_LOADED) || j->order->rescue)
		return false;
	if (!own->answering)
		return wait_for(j, GROUND_SERVER_DOWN);
	if (own->loaded != FACT_KNOWN)
		return wait_for(j, GROUND_LOADED_UNKNOWN);
	return (!own->loaded_is_file || own->loaded_since == 0) && wait_for(j, GROUND_NOT_LOADED);
}

static bool peer_clear(const struct server_observation *peer)
{
	return peer->answering && peer->file == FACT_KNOWN && peer->loaded == FACT_KNOWN;
}

/* Before a step: the peer runs the step that is left, or has the next file already. */
static bool peer_is_beside(const struct judge *j, const struct server_observation *peer)
{
	int from = j->sight->own->file_step, to = j->order->to_step;
	if (peer->file_step == from)
		return peer->loaded_is_file && peer->loaded_since > 0;
	return peer->file_step == to && (peer->loaded_step == from || peer->loaded_step == to);
}

static bool reads_one_another(const struct judge *j, int step)
{
	return step != STEP_NONE && path_readable_between(j->path, (size_t)j->order->to_step, (size_t)step);
}

static bool peer_fits(const struct judge *j, const struct server_observation *peer)
{
	if (j->order->rescue)
		return reads_one_another(j, peer->file_step) && reads_one_another(j, peer->loaded_step);
	return peer_is_beside(j, peer);
}

static bool peers_in_the_way(const struct judge *j)
{
	if (!on(j, CHECK_PEERS))
		return false;
	if (j->sight->peers_known != FACT_KNOWN)
		return wait_for(j, GROUND_PEERS_UNKNOWN);
	for (size_t i = 0; i < j->sight->peer_count; i++) {
		const struct peer_sight *peer = &j->sight->peers[i];
		if (!peer_clear(&peer->seen))
			return wait_for_peer(j, i, GROUND_PEERS_UNKNOWN);
		if (!peer_fits(j, &peer->seen))
			return wait_for_peer(j, i, GROUND_PEER_ELSEWHERE);
		if (peer->at_work && j->order->action == ORDER_WRITE_STEP)
			return wait_for_peer(j, i, GROUND_PEER_AT_WORK);
		if (!peer->same_keys)
			return wait_for_peer(j, i, GROUND_KEYS_DIFFER);
	}
	return false;
}

static bool not_acknowledged(const struct judge *j)
{
	bool guarded = j->change == LEAVES || j->order->rescue || j->order->aborted;
	if (!on(j, CHECK_ACKNOWLEDGED) || !guarded)
		return false;
	for (size_t i = 0; i < j->sight->peer_count; i++) {
		const struct peer_sight *peer = &j->sight->peers[i];
		if (peer->epoch != j->order->epoch || !text_equal(peer->rotation, j->order->rotation))
			return wait_for_peer(j, i, GROUND_NOT_ACKNOWLEDGED);
	}
	return false;
}

/* --- restarts: one server at a time --- */

static bool peers_not_ready(const struct judge *j)
{
	if (j->sight->peers_known != FACT_KNOWN)
		return wait_for(j, GROUND_PEERS_UNKNOWN);
	for (size_t i = 0; i < j->sight->peer_count; i++) {
		const struct peer_sight *peer = &j->sight->peers[i];
		if (!peer->seen.answering || peer->seen.restarting)
			return wait_for_peer(j, i, GROUND_PEER_DOWN);
		if (peer->at_work)
			return wait_for_peer(j, i, GROUND_PEER_AT_WORK);
	}
	return false;
}

static bool no_restart(const struct judge *j)
{
	const struct server_observation *own = j->sight->own;
	if (!own->restarts)
		return refuse(j, GROUND_NO_RESTARTS);
	if (own->loaded == FACT_KNOWN && own->loaded_is_file)
		return rule(j, RULING_NOTHING, GROUND_RUNS_IT);
	if (own->restarting)
		return rule(j, RULING_NOTHING, GROUND_RESTARTING);
	/* An old file of ours that somebody put back: what runs may be further. */
	if (own->file_step < j->state->written_step)
		return refuse(j, GROUND_FILE_EDITED);
	/* No restart would mend that. */
	if (own->loaded == FACT_CONTRADICTORY)
		return wait_for(j, GROUND_LOADED_UNKNOWN);
	if (not_fresh(j))
		return true;
	return own->answering ? peers_not_ready(j) : wait_for(j, GROUND_SERVER_DOWN);
}

/* --- rule 3: by this agent's own census --- */

static bool counts(const struct census_group *group)
{
	return group->values > 0 && !group->foreign && !group->expected;
}

static struct key_name key_of(const struct census_group *group)
{
	return (struct key_name){group->type, group->kms_version, group->name, group->key_id};
}

static bool needs_a_leaving_key(const struct judge *j, const struct census_group *group)
{
	bool retires = j->order->action == ORDER_RETIRE;
	size_t end = (size_t)j->order->to_step;
	if (group->unknown || shape_needs_key_of_before(j->path->steps[end], key_of(group)))
		return true;
	for (size_t step = retires ? 0 : (size_t)j->sight->own->file_step; step < end; step++)
		if (path_loses(j->path, step, group->resource, key_of(group)))
			return true;
	return false;
}

/* Since when all servers run the step that is left, by this agent's own looks and the reports that it read. */
static uint64_t converged_since(const struct agent_sight *sight)
{
	const struct server_observation *own = sight->own;
	uint64_t since = own->loaded_since;
	for (size_t i = 0; i < sight->peer_count; i++) {
		const struct server_observation *peer = &sight->peers[i].seen;
		if (peer->file_step == own->file_step)
			since = later(since, peer->loaded_since);
	}
	return since;
}

static bool peer_settled(const struct agent_sight *sight, const struct peer_sight *peer, uint64_t end)
{
	bool runs_it = peer->seen.file_step != sight->own->file_step || peer->seen.loaded_since > 0;
	return runs_it && peer->quiet_for >= sight->settle_time && peer->reported_after >= end;
}

bool order_settled(const struct agent_sight *sight, uint64_t now)
{
	uint64_t end = converged_since(sight) + sight->settle_time;
	if (sight->own->loaded_since == 0 || sight->peers_known != FACT_KNOWN || sight->quiet_since == 0 ||
	    now < later(end, sight->quiet_since + sight->settle_time))
		return false;
	for (size_t i = 0; i < sight->peer_count; i++)
		if (!peer_settled(sight, &sight->peers[i], end))
			return false;
	return true;
}

static bool census_too_early(const struct judge *j)
{
	return on(j, CHECK_SETTLED) && j->order->settled && !order_settled(j->sight, j->now) &&
	       wait_for(j, GROUND_NOT_SETTLED);
}

static bool census_in_the_way(const struct judge *j)
{
	const struct census_observation *census = j->sight->census;
	if (!on(j, CHECK_CENSUS))
		return false;
	if (!census || !census->complete || census->begun < converged_since(j->sight) ||
	    census->begun <= j->sight->etcd_back_at)
		return wait_for(j, GROUND_NO_CENSUS);
	if (on(j, CHECK_SETTLED) && !j->sight->census_settled)
		return wait_for(j, GROUND_NOT_SETTLED);
	for (size_t g = 0; g < census->group_count; g++)
		if (counts(&census->groups[g]) && needs_a_leaving_key(j, &census->groups[g])) {
			j->verdict->group = (int)g;
			return refuse(j, GROUND_STILL_NEEDED);
		}
	return j->order->action != ORDER_RETIRE && !census->compacted && wait_for(j, GROUND_HISTORY);
}

/* --- all of it --- */

static bool not_safe(const struct judge *j)
{
	if (j->change == ADDS)
		return false;
	if (not_fresh(j) || not_loaded(j) || peers_in_the_way(j) || not_acknowledged(j))
		return true;
	return j->change == LEAVES && (too_old(j) || census_in_the_way(j));
}

static void judge(struct judge *j)
{
	bool on_file = j->order->action == ORDER_WRITE_STEP || j->order->action == ORDER_RETIRE;
	if (not_for_us(j) || no_path(j))
		return;
	if (on_file && (other_file(j) || wrong_step(j) || not_safe(j)))
		return;
	if (j->order->action == ORDER_RESTART && (other_file(j) || no_restart(j)))
		return;
	if (census_too_early(j))
		return;
	if (j->order->action == ORDER_WRITE_STEP)
		j->verdict->to_step = j->order->to_step;
	rule(j, RULING_CARRY_OUT, GROUND_ALLOWED);
}

static const struct verdict no_verdict = {.to_step = STEP_NONE, .peer = -1, .group = -1};

struct verdict order_judge_under(const struct path *path, const struct order *order, const struct agent_state *state,
				 const struct agent_sight *sight, uint64_t now, unsigned checks)
{
	struct verdict verdict = no_verdict;
	struct judge j = {path, order, state, sight, now, checks, LEAVES, &verdict};
	judge(&j);
	return verdict;
}

struct verdict order_judge(const struct path *path, const struct order *order, const struct agent_state *state,
			   const struct agent_sight *sight, uint64_t now)
{
	return order_judge_under(path, order, state, sight, now, CHECKS_ALL);
}

/* --- with nobody to give orders --- */

/* Whether a file at the present step may become that of `to`: nothing but read keys is added. */
static bool only_adds(const struct judge *j, int to)
{
	int from = j->sight->own->file_step;
	return to >= 0 && to < (int)j->path->count && path_keeps_keys(j->path, (size_t)from, (size_t)to) &&
	       path_writes_alike(j->path, (size_t)from, (size_t)to);
}

static bool put_back(const struct judge *j, int to, enum ground ground)
{
	bool has_keys = j->sight->has_keys && j->sight->has_keys[to];
	if (j->state->rescues >= ALONE_RESCUES_MAX)
		return refuse(j, GROUND_RESCUED_TWICE);
	if (!has_keys)
		return wait_for(j, GROUND_NO_KEYS);
	j->verdict->to_step = to;
	return rule(j, RULING_CARRY_OUT, ground);
}

static bool not_alone(const struct judge *j)
{
	const struct agent_sight *sight = j->sight;
	if (sight->away_since == 0 || j->now < sight->away_since + ALONE_AFTER)
		return rule(j, RULING_NOTHING, GROUND_SERVED);
	if (sight->at_work)
		return wait_for(j, GROUND_AT_WORK);
	if (sight->own->file != FACT_KNOWN)
		return wait_for(j, GROUND_FILE_UNKNOWN);
	return (sight->own->file_step == STEP_NONE || !sight->own->file_ours) && refuse(j, GROUND_FILE_EDITED);
}

/* An older file was put there: the values that were written since may be under a key that it lacks. */
static bool went_back(const struct judge *j)
{
	int step = j->sight->own->file_step;
	return step < j->state->written_step && only_adds(j, step + 1) && put_back(j, step + 1, GROUND_WENT_BACK);
}

static bool reads(const struct judge *j, int step, const struct census_group *group)
{
	return shape_reads(j->path->steps[step], group->resource, key_of(group));
}

static bool unreadable(const struct judge *j, size_t index)
{
	const struct census_group *group = &j->sight->census->groups[index];
	int step = j->sight->own->file_step;
	if (!counts(group) || group->unknown || reads(j, step, group))
		return false;
	j->verdict->group = (int)index;
	for (int to = step + 1; to >= step - 1; to -= 2)
		if (only_adds(j, to) && reads(j, to, group))
			return put_back(j, to, GROUND_UNREADABLE);
	return wait_for(j, GROUND_NO_READ_KEY);
}

struct verdict agent_alone(const struct path *path, const struct agent_state *state, const struct agent_sight *sight,
			   uint64_t now)
{
	struct verdict verdict = no_verdict;
	const struct judge j = {path, NULL, state, sight, now, CHECKS_ALL, ADDS, &verdict};
	if (not_alone(&j) || went_back(&j))
		return verdict;
	for (size_t g = 0; sight->census && sight->census->complete && g < sight->census->group_count; g++)
		if (unreadable(&j, g))
			return verdict;
	rule(&j, RULING_NOTHING, GROUND_ALL_WELL);
	return verdict;
}
