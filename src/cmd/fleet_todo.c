#include "cmd/fleet_todo.h"

#include <string.h>

#include "engine/fleet_advice.h"

/* Takes `sentence`. */
static void add(struct strings *ret, char *sentence)
{
	strings_add(ret, sentence);
	free(sentence);
}

/* Of one that says nothing there is nothing above, and one that says it already needs it no second time. */
static const char *todo_of(const struct key_rotation_condition *condition)
{
	const char *todo = condition && !text_empty(condition->message) ? fleet_advice(condition->reason) : NULL;
	return todo && !strstr(condition->message, todo) ? todo : NULL;
}

static bool is_blocked(const struct key_rotation *rotation)
{
	return text_equal(rotation->status.phase, phase_name(PHASE_BLOCKED));
}

static bool is_advised(const struct key_rotation *rotation)
{
	const struct key_rotation_condition *degraded = key_rotation_condition(&rotation->status, "Degraded");
	return degraded && !text_empty(degraded->message) && fleet_advice(degraded->reason);
}

static void add_reason(const struct key_rotation *rotation, struct strings *ret)
{
	const char *todo = todo_of(key_rotation_condition(&rotation->status, "Degraded"));
	if (!todo)
		todo = todo_of(key_rotation_condition(&rotation->status, "Progressing"));
	if (!todo && is_blocked(rotation) && !is_advised(rotation))
		todo = "Look at the reason above; docs/operations.md goes by the words of it.";
	if (todo)
		strings_add(ret, todo);
}

static void add_server(const struct fleet_view *view, const struct viewed_server *server, struct strings *ret)
{
	const char *name = server->name, *program = view->invoked_as;
	const struct key_server_status *status = server->status;
	if (server->set && server->set->forgotten)
		return;
	if (!status)
		add(ret, xasprintf("Start the agent beside %s; if that server is gone for good: %s forget %s", name,
				   program, name));
	else if (!server->reporting)
		add(ret, xasprintf("Look at the agent beside %s: it does not report. If that server is gone for good: "
				   "%s forget %s",
				   name, program, name));
	else if (!status->answering)
		add(ret, xasprintf("Bring %s back; if it is gone for good: %s forget %s", name, program, name));
	else if (status->refuses_file)
		add(ret, xasprintf("The log of %s says why it refuses its file; what ran before runs on.", name));
}

void fleet_todo(const struct fleet_view *view, struct strings *ret)
{
	const struct key_rotation *rotation = view->rotation;
	bool over = rotation && rotation_is_over(rotation);
	if (rotation && !over)
		add_reason(rotation, ret);
	if (rotation && rotation->status.quarantined.count > 0 && (over || !is_blocked(rotation)))
		strings_add(ret, "Mend or delete the objects under Quarantine; they are tried again with each sweep.");
	if (rotation && !over && (text_empty(rotation->status.phase) || fleet_view_nobody_leads(view)))
		strings_add(ret, FLEET_VIEW_START);
	for (size_t i = 0; i < view->server_count && !over; i++)
		add_server(view, &view->servers[i], ret);
	_cleanup_free_ char *next = fleet_view_next(view);
	if (!next || !strings_has(ret, next))
		strings_add(ret, next ? next : "Nothing.");
}
