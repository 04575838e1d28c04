#include "cmd/fleet_todo.h"

/* clang-format off */
/* What a person may do, by the reason of the condition Degraded or Progressing: of everything that it waits for or is blocked
 * by (next_action.h), and of what goes before there is a path. */
static const struct { const char *reason, *todo; } reasons[] = {
	{"SET_UNKNOWN", "Start the API servers and agents that are down, and see that the controller knows the address of each server "
			"(--apiserver)."},
	{"SERVER_DOWN", "Start the API server that is named above, and its agent: one that is down counts, for it may come back with "
			"its old file."},
	{"FILE_UNKNOWN", "Nothing for a minute: an agent takes up a rotation by itself. If it lasts, look at the file of the server "
			 "that is named above, and at the log of its agent."},
	{"FILE_EDITED", "Put back what kube-rekey wrote, and find out who else writes this file."},
	{"FILE_REFUSED", "The log of the API server says why it refuses the file; what ran before runs on. Do not restart it."},
	{"LOADED_UNKNOWN", "Nothing for a minute: the next report may tell it. If it lasts, see that the /metrics of the server that "
			   "is named above can be read, and name its loaded file."},
	{"LOADED_FOREIGN", "Nothing for two minutes: a server loads what lies there by itself. If it comes again, find out who writes "
			   "that file."},
	{"NOT_LOADED", "Nothing for two minutes: a server loads its file by itself (a static pod once the kubelet has restarted it). If "
		       "it does not, mount the file's folder, not the file alone, or restart that server."},
	{"RESTART_NEEDED", "Restart the API server that is named above, no other one, and wait until it is ready."},
	{"CENSUS_INCOMPLETE", "Nothing for a minute: it is tried again. If it lasts, kube-rekey check says which right is missing, or "
			      "what cannot be read."},
	{"UNREADABLE", "Put the missing key back into the configuration as a read key, or delete the values that need it."},
	{"UNKNOWN_VALUES", "Look with kube-rekey census on a control-plane node: such values are unreadable already. Restore or "
			   "delete them."},
	{"DOES_NOT_OPEN", "Look with kube-rekey census on a control-plane node: such values are unreadable already. Restore or "
			  "delete them."},
	{"KMS_UNKNOWN", "Mend the KMS plugin that is named above, and restart no API server before: it may not become ready."},
	{"KMS_UNMOVED", "Change the key in your KMS now."},
	{"QUARANTINED", "Mend or delete the objects under Quarantine: they are in the way."},
	{"OUTSIDE", "No API serves these values: delete them with etcdctl if they are remains; if another program owns them, "
		    "name their prefix in spec.foreignPrefixes of another rotation."},
	{"NOT_LISTED", "Allow the controller the list that Quarantine names."},
	{"VERSIONS_DIFFER", "Finish the upgrade of the API servers, or take it back: nothing is rewritten before."},
	{"SETTLING", "Nothing: a silence of more than 5 s begins it again. If it never ends, find out who falls silent."},
	{"MEMBER_SILENT", "Bring that etcd member back, or take it out of etcd: etcdctl member remove."},
	{"MEMBERS_UNKNOWN", "See to etcd first: it needs a quorum, and the agents its endpoints and certificates."},
	{"HISTORY", "Nothing: the API servers compact etcd by themselves. To have it at once, compact it yourself: etcdctl compact."},
	{"NO_COMPACTION", "Compact etcd, or let the API servers do it (--etcd-compaction-interval)."},
	{"LOOK_TOO_OLD", "Nothing: it looks again. If it lasts, find out why the API servers or etcd take so long to answer."},
	{"UNREADABLE_STEP", "Nothing was written, and no path of kube-rekey's has such a step: keep the controller's log and flight "
			    "record, and report it. Then give it up."},
	{"RESCUED_TWICE", "Find out who writes this file, configuration management perhaps, and stop it."},
	{"TOLD", "Choose one of the ways that are named above."},
	{"FindPath", "Before it begins all API servers have to run one configuration, and all agents to report and to have one trust "
		     "key: mend what is named above."},
	{"Refused", "What was asked for cannot be carried out: give it up, and ask for another rotation."},
};
/* clang-format on */

/* Takes `sentence`. */
static void add(struct strings *ret, char *sentence)
{
	strings_add(ret, sentence);
	free(sentence);
}

const char *fleet_advice(const char *reason)
{
	for (size_t i = 0; i < ELEMENTS(reasons); i++)
		if (text_equal(reasons[i].reason, reason))
			return reasons[i].todo;
	return NULL;
}

/* Of one that says nothing there is nothing above. */
static const char *todo_of(const struct key_rotation_condition *condition)
{
	return condition && !text_empty(condition->message) ? fleet_advice(condition->reason) : NULL;
}

static bool is_blocked(const struct key_rotation *rotation)
{
	return text_equal(rotation->status.phase, phase_name(PHASE_BLOCKED));
}

static void add_reason(const struct key_rotation *rotation, struct strings *ret)
{
	const char *todo = todo_of(key_rotation_condition(&rotation->status, "Degraded"));
	if (!todo)
		todo = todo_of(key_rotation_condition(&rotation->status, "Progressing"));
	if (!todo && is_blocked(rotation))
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
