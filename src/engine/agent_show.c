/* How the agent is, for monitoring: shown each second by a timer of the loop, so that a long order shows too, and a loop
 * that does not turn shows by its silence. */
#include "engine/agent_internal.h"

#include "base/clock.h"

#define SHOW_INTERVAL NS_PER_S

void agent_turned(struct agent *agent, bool said)
{
	const struct server_observation *seen = &agent->node->seen.servers[0];
	struct agent_view *view = &agent->view;
	bool works = agent->read_at != 0 && said;
	agent->turned = true;
	free(agent->not_ready);
	agent->not_ready = works ? NULL : xstrdup(agent->trouble ? agent->trouble : "its report was not taken");
	if (agent->self && said)
		view->reported_at = clock_monotonic();
	view->answering = seen->answering;
	view->file_step = seen->file == FACT_KNOWN ? seen->file_step : STEP_NONE;
	view->loaded_step = seen->loaded == FACT_KNOWN ? seen->loaded_step : STEP_NONE;
	view->epoch = agent->disk.epoch;
}

static void on_timer(void *arg)
{
	struct agent *agent = arg;
	struct loop *loop = agent->options->cluster->loop;
	struct agent_view view = agent->view;
	view.now = clock_monotonic();
	view.wall = clock_wall();
	view.kms = agent->kms;
	view.kms_count = agent->kms_count;
	view.not_ready = agent->turned ? agent->not_ready : "it has just begun";
	agent->options->on_view(agent->options->arg, &view);
	loop_timer_set(loop, &agent->show, loop_now(loop) + SHOW_INTERVAL, on_timer, agent);
}

void agent_show_start(struct agent *agent)
{
	agent->view.file_step = agent->view.loaded_step = STEP_NONE;
	if (agent->options->on_view)
		loop_timer_set(agent->options->cluster->loop, &agent->show, 0, on_timer, agent);
}

void agent_show_stop(struct agent *agent)
{
	loop_timer_cancel(agent->options->cluster->loop, &agent->show);
	free(steal(agent->not_ready));
}
