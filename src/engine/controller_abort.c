/* Giving a rotation up, as a person may ask (spec.aborted): first no older order can be carried out any more, then it is
 * looked how far the servers are, and from there the rotation goes back (path.h), goes forward, or waits for a person's
 * choice. What came of it is in status.backFrom, once and for all, for whoever leads next. */
#include "engine/controller_internal.h"

#include <string.h>

#include "base/clock.h"

#define BEHIND_WAIT (300 * NS_PER_S) /* for what a server lacks that went back to an older file */

static bool asked(const struct controller *c)
{
	return c->rotation->spec.aborted && !key_rotation_goes_back(c->rotation);
}

static void begin_anew(struct controller *c, bool aborted)
{
	c->fence = (struct fence){.rotation = c->fence_rotation, .aborted = aborted, .to_step = STEP_NONE};
}

/* --- how far the servers are --- */

static bool left(const struct path *path, int step)
{
	for (int i = 0; i < step; i++)
		if (path_drops(path, (size_t)i))
			return true;
	return false;
}

static int further(int a, int b)
{
	return a > b ? a : b;
}

/* A server that has, runs or had a configuration without a key of before, by the last that is known of it; NULL: none. */
static const char *without_old_key(const struct controller *c, const struct path *path)
{
	for (size_t i = 0; i < c->server_count; i++) {
		const struct key_server_status *status = controller_status(c, i);
		if (!status || !text_equal(status->path_of, c->rotation->meta.uid))
			continue;
		if (left(path, further(status->written_step, further(status->file_step, status->loaded_step))))
			return c->servers[i].name;
	}
	return NULL;
}

/* Why it cannot be told how far a server is; NULL: it can. New string. */
static char *not_seen(const struct controller *c, size_t i, const struct path *path)
{
	const struct server_observation *seen = &c->seen.servers[i];
	const struct key_server_status *status = controller_status(c, i);
	const char *name = c->servers[i].name;
	if (!seen->answering)
		return xasprintf("%s does not answer%s%s; until it does, or is forgotten (kubectl rekey forget), "
				 "nothing goes back",
				 name, seen->why ? ": " : "", seen->why ? seen->why : "");
	/* What a write or a restart of ours would prove is proved on the way back: files and what was written bound it. */
	bool proved_later = seen->loaded == FACT_UNKNOWN && (seen->needs_second_nonce || seen->restarts);
	if (seen->file != FACT_KNOWN || (seen->loaded != FACT_KNOWN && !proved_later))
		return xasprintf("what %s has is not known%s%s", name, seen->why ? ": " : "",
				 seen->why ? seen->why : "");
	if (seen->file_step == STEP_NONE || (!proved_later && seen->loaded_step == STEP_NONE) ||
	    seen->written_step >= (int)path->count)
		return xasprintf("what %s has is none of this rotation's configurations", name);
	if ((size_t)seen->file_step >= path->count || !status->configuration ||
	    !config_shape_equal(status->configuration, path->steps[seen->file_step]))
		return xasprintf("the agent of %s does not know this rotation's steps yet", name);
	return NULL;
}

/* The furthest step that any file or server has, or was given; STEP_NONE and why it cannot be told. */
static int reached(const struct controller *c, const struct path *path, char **ret_why)
{
	int step = 0;
	if (c->seen.servers_known != FACT_KNOWN) {
		*ret_why = xstrdup(c->set_why ? c->set_why : "no API server is known");
		return STEP_NONE;
	}
	for (size_t i = 0; i < c->seen.server_count; i++) {
		const struct server_observation *seen = &c->seen.servers[i];
		*ret_why = not_seen(c, i, path);
		if (*ret_why)
			return STEP_NONE;
		step = further(step, further(seen->written_step, further(seen->file_step, seen->loaded_step)));
	}
	return step;
}

/* --- what comes of it --- */

static int go_back(struct controller *c, int from, struct error **err)
{
	c->rotation->status.back_from = from;
	c->rotation->status.retired = false;
	/* Whoever has the key reads by it; nobody else needs it any more. */
	controller_forget_sealed(c);
	/* Before it is written: where the answer is lost, the next turn must not go by what was forward. */
	controller_forget_deeds(c);
	int rc = controller_apply(c, err);
	if (rc == 0)
		controller_note(c, "rotation %s goes back from step %d", c->rotation->meta.name, from);
	return rc;
}

/* Values may be under the new key: only a person can say which way. `no`: why there is but one. */
static void offer(struct controller *c, const char *no)
{
	const char *name = c->rotation->meta.name;
	_cleanup_free_ char *back =
		c->rotation->spec.promote_old_key
			? xasprintf("It cannot go back either: %s", no)
			: xasprintf("To have the old key write again, everything rewritten under it, and then the new "
				    "one "
				    "taken away: spec.promoteOldKey (kubectl rekey abort %s --promote-old-key)",
				    name);
	free(c->seen.blocked);
	c->seen.blocked =
		xasprintf("the new key writes on an API server, or was about to: values may be under it, so it "
			  "cannot just be taken away. %s. To go forward: spec.aborted false (kubectl rekey resume "
			  "%s)",
			  back, name);
}

static void go_forward(struct controller *c, const char *server)
{
	if (c->fence.aborted)
		begin_anew(c, false);
	controller_remark(
		c, xasprintf("an abort was asked for, but the old key left %s already, so the only way is forward",
			     server));
}

/* All have acknowledged that nothing of before is carried out any more. */
static int choose(struct controller *c, const struct path *path, bool *ret_waits, struct error **err)
{
	_cleanup_free_ char *why = NULL;
	_cleanup_(path_freep) struct path *back = NULL;
	_cleanup_error_ no = NULL;
	int from = reached(c, path, &why);
	controller_trouble(c, why);
	*ret_waits = true;
	if (why)
		return 0;
	if (path_abort(path, (size_t)from, c->rotation->spec.promote_old_key, &back, &no) == 0)
		return go_back(c, from, err);
	*ret_waits = false;
	offer(c, error_message(no)); /* what left is seen in the next turn */
	return 0;
}

/* Whether the next step of a server whose file went back across one by which another key writes only adds a read key. */
static bool brings_key(const struct controller *c, const struct path *path, const struct decision *now)
{
	const struct server_observation *seen = now->server >= 0 ? &c->seen.servers[now->server] : NULL;
	return seen && now->action == ACTION_WRITE_STEP && !now->rescue && seen->file_ours && seen->file_step >= 0 &&
	       now->to_step == seen->file_step + 1 && c->servers[now->server].behind_since > 0 &&
	       !path_drops(path, (size_t)seen->file_step) && !path_changes_write_key(path, (size_t)seen->file_step);
}

/* Whether the next census, the first one since a server's file went back, is to tell what it needs. */
static bool census_first(const struct controller *c, const struct decision *now)
{
	bool looks = now->action == ACTION_CENSUS || now->reason == REASON_CENSUS_INCOMPLETE;
	for (size_t i = 0; looks && i < c->server_count; i++)
		if (c->servers[i].behind_since > 0 && c->seen.census.begun < c->servers[i].behind_since)
			return true;
	return false;
}

/* Whether a server may lack a key that was written with: one by which another key writes was given, and an older file is there. What
 * comes of that comes soon, or a person's word is not kept waiting for it. */
static bool may_lack_key(const struct controller *c, const struct path *path, const struct decision *now)
{
	for (size_t i = 0; i < c->seen.server_count; i++) {
		const struct server_observation *seen = &c->seen.servers[i];
		if (clock_monotonic() > c->servers[i].behind_since + BEHIND_WAIT)
			continue;
		for (int step = seen->file_step; step >= 0 && step < seen->written_step && step + 1 < (int)path->count;
		     step++)
			if (path_changes_write_key(path, (size_t)step))
				return census_first(c, now) || brings_key(c, path, now);
	}
	return false;
}

int controller_turn_back(struct controller *c, bool *ret_waits, struct error **err)
{
	const struct key_rotation_status *status = &c->rotation->status;
	bool fenced = false;
	*ret_waits = false;
	controller_remark(c, NULL);
	if (!asked(c) || c->rotation->spec.paused) {
		/* Taken back, which a person may while nothing has come of it. */
		if (c->fence.aborted && !key_rotation_goes_back(c->rotation))
			begin_anew(c, false);
		return 0;
	}
	_cleanup_(path_freep) struct path *path = path_of_steps(status->steps, status->step_count);
	const char *server = without_old_key(c, path);
	if (server) {
		go_forward(c, server);
		return 0;
	}
	/* Nothing of an abort is carried out before all have acknowledged it, and one of them may be dead: a server that lacks
	 * a read key, or may lack one, does not wait for that. */
	const struct decision now = next_action(c->path, &c->seen, clock_monotonic());
	if ((now.rescue && !c->seen.servers[now.server].rescue_fails) || may_lack_key(c, path, &now)) {
		if (c->fence.aborted)
			begin_anew(c, false);
		controller_remark(c, xstrdup("an abort was asked for, and a server's read key comes first"));
		return 0;
	}
	if (!c->fence.aborted)
		begin_anew(c, true);
	controller_remark(c, xstrdup("an abort was asked for"));
	int rc = controller_fence(c, &fenced, err);
	*ret_waits = rc == 0;
	return rc == 0 && fenced ? choose(c, path, ret_waits, err) : rc;
}
