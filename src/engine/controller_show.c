/* How the controller is, for monitoring: shown each second by a timer of the loop, so that a long turn shows too, and a loop
 * that does not turn shows by its silence. */
#include "engine/controller_internal.h"

#define SHOW_INTERVAL NS_PER_S

void controller_turned(struct controller *c, bool succeeded, const char *why)
{
	struct controller_show *show = &c->show;
	show->turned = true;
	show->turns++;
	show->failed_turns += !succeeded;
	free(show->not_ready);
	show->not_ready = succeeded ? NULL : xstrdup(why);
	if (succeeded)
		show->turned_at = clock_monotonic();
}

static const char *not_ready(const struct controller *c)
{
	if (!c->show.turned)
		return "it has just begun";
	if (c->show.not_ready)
		return c->show.not_ready;
	return c->lock && !controller_leads(c) ? "the Lease could not be renewed" : NULL;
}

static struct controller_view_server *servers_of(const struct controller *c, uint64_t now)
{
	struct controller_view_server *servers = xcalloc(c->seen.server_count + 1, sizeof(*servers));
	for (size_t i = 0; i < c->seen.server_count; i++) {
		const struct server_observation *seen = &c->seen.servers[i];
		const struct fleet_server *told = fleet_find(&c->fleet, seen->name);
		bool reported = told && told->last->status.beat > 0;
		bool ours = reported && text_equal(told->last->status.rotation, c->rotation->meta.uid);
		servers[i] = (struct controller_view_server){
			.name = seen->name,
			.answering = seen->answering,
			.file_step =
				key_rotation_step(c->rotation, seen->file == FACT_KNOWN ? seen->file_step : STEP_NONE),
			.loaded_step = key_rotation_step(c->rotation,
							 seen->loaded == FACT_KNOWN ? seen->loaded_step : STEP_NONE),
			.reported = reported,
			.report_age = reported && now > told->beat_read_at ? now - told->beat_read_at : 0,
			.epoch = ours ? told->last->status.epoch : 0};
	}
	return servers;
}

static void show(struct controller *c)
{
	uint64_t now = clock_monotonic();
	_cleanup_free_ struct controller_view_server *servers = c->rotation ? servers_of(c, now) : NULL;
	const struct controller_drift *drift = &c->drift;
	bool known = !c->rotation && drift->seen.complete;
	const struct controller_view view = {.options = c->options,
					     .now = now,
					     .wall = clock_wall(),
					     .leads = c->lock && controller_leads(c),
					     .not_ready = not_ready(c),
					     .turned_at = c->show.turned_at,
					     .turns = c->show.turns,
					     .failed_turns = c->show.failed_turns,
					     .rotations_done = c->show.done,
					     .events = c->events.sent,
					     .failed_events = c->events.failed,
					     .rotation = c->rotation,
					     .servers = servers,
					     .server_count = servers ? c->seen.server_count : 0,
					     .census = c->rotation ? &c->census.seen : &drift->seen,
					     .drift = known ? &drift->found : NULL,
					     .drift_since = known ? drift->since : 0,
					     .drifts_ended = drift->ended,
					     .drifts_ended_ns = drift->ended_ns,
					     .fleet = &c->fleet};
	c->options->on_view(c->options->arg, &view);
}

static void on_timer(void *arg)
{
	struct controller *c = arg;
	struct loop *loop = c->options->cluster->loop;
	show(c);
	loop_timer_set(loop, &c->show.timer, loop_now(loop) + SHOW_INTERVAL, on_timer, c);
}

void controller_show_start(struct controller *c)
{
	if (c->options->on_view)
		loop_timer_set(c->options->cluster->loop, &c->show.timer, 0, on_timer, c);
}

void controller_show_stop(struct controller *c)
{
	loop_timer_cancel(c->options->cluster->loop, &c->show.timer);
	free(steal(c->show.not_ready));
}
