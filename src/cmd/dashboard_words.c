#include "cmd/dashboard_words.h"

/* clang-format off */
static const struct { const char *phase, *doing; } phases[] = {
	{"", "Nobody has taken it up yet."},
	{"Queued", "It waits until the rotation before it is over."},
	{"Paused", "A person paused it: no step is taken, and nothing is rewritten."},
	{"AddReadKey", "The new key is put into the file of each API server, as a key that only reads."},
	{"AwaitRead", "Each API server has to load the file in which the new key reads, before any writes with it."},
	{"Promote", "The new key becomes the write key in the file of each API server."},
	{"AwaitWrite", "Each API server has to load that file, and to show by a canary that it writes with the new key."},
	{"Reencrypt", "Every object is rewritten, unchanged, so that it is stored under the new key."},
	{"Settle", "Nothing written under the configuration before may still land: for a while no API server and no etcd member "
		   "may fall silent."},
	{"Verify", "Every value in etcd is read and counted by its key: none may need the old one."},
	{"AwaitCompaction", "etcd still serves old revisions, whose values need the old key, until it is compacted."},
	{"DropOldKey", "The old key is taken out of the file of each API server, one after the other, and kept beside it."},
	{"AwaitDrop", "Each API server has to load the file without the old key."},
	{"Rescue", "A key that an API server turned out to need is put back, as one that only reads."},
	{"Blocked", "It takes no step until a person has looked."},
	{"Done", "It is done."},
	{"Aborted", "It was given up."},
};
/* Of a rotation that is blocked, by the reason of its condition Degraded (next_action.h). */
static const struct { const char *reason, *todo; } blocked[] = {
	{"UNREADABLE", "Put the missing key back into the configuration as a read key, or delete the values that need it."},
	{"UNKNOWN_VALUES", "Look with kube-rekey census on a control-plane node: such values are unreadable already. Restore or "
			   "delete them."},
	{"DOES_NOT_OPEN", "Look with kube-rekey census on a control-plane node: such values are unreadable already. Restore or "
			  "delete them."},
	{"QUARANTINED", "Mend or delete the objects under Quarantine: they are in the way."},
	{"OUTSIDE", "No API serves these values: delete them with etcdctl if they are remains; if another program owns them, "
		    "name their prefix in spec.foreignPrefixes of another rotation."},
	{"NOT_LISTED", "Allow the controller the list that Quarantine names."},
	{"NO_COMPACTION", "Compact etcd, or let the API servers do it (--etcd-compaction-interval)."},
	{"FILE_EDITED", "Put back what kube-rekey wrote, and find out who else writes this file."},
	{"FILE_REFUSED", "The log of the API server says why it refuses the file; what ran before runs on."},
	{"RESCUED_TWICE", "Find out who writes this file, configuration management perhaps, and stop it."},
	{"KMS_UNMOVED", "Change the key in your KMS now."},
	{"Refused", "What was asked for cannot be carried out: give it up, and ask for another rotation."},
};
/* clang-format on */

const char *dashboard_doing(const char *phase)
{
	for (size_t i = 0; i < ELEMENTS(phases); i++)
		if (text_equal(phases[i].phase, phase ? phase : ""))
			return phases[i].doing;
	return "This version of the dashboard does not know the phase.";
}

/* --- what to do --- */

/* Takes `sentence`. */
static void add(struct strings *ret, char *sentence)
{
	strings_add(ret, sentence);
	free(sentence);
}

static void add_blocked(const struct key_rotation *rotation, struct strings *ret)
{
	const struct key_rotation_condition *degraded = key_rotation_condition(&rotation->status, "Degraded");
	for (size_t i = 0; i < ELEMENTS(blocked); i++)
		if (degraded && text_equal(degraded->reason, blocked[i].reason)) {
			strings_add(ret, blocked[i].todo);
			return;
		}
	strings_add(ret, "Look at the reason above; docs/operations.md goes by the words of it.");
}

static bool awaits_load(const struct key_rotation *rotation)
{
	static const char *const waits[] = {"AwaitRead", "AwaitWrite", "AwaitDrop"};
	for (size_t i = 0; i < ELEMENTS(waits); i++)
		if (text_equal(rotation->status.phase, waits[i]))
			return true;
	return false;
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
	else if (view->rotation && awaits_load(view->rotation) && !status->loaded_is_file &&
		 !text_equal(status->apply, "static-pod"))
		add(ret, xasprintf("%s loads its file by itself, within a minute or two. If it does not: mount the "
				   "file's folder, not the file alone, or restart that server.",
				   name));
}

void dashboard_todo(const struct fleet_view *view, struct strings *ret)
{
	const struct key_rotation *rotation = view->rotation;
	bool over = rotation && rotation_is_over(rotation);
	if (rotation && !over && text_equal(rotation->status.phase, phase_name(PHASE_BLOCKED)))
		add_blocked(rotation, ret);
	else if (rotation && rotation->status.quarantined.count > 0)
		strings_add(ret, "Mend or delete the objects under Quarantine; they are tried again with each sweep.");
	if (rotation && !over && (text_empty(rotation->status.phase) || fleet_view_nobody_leads(view)))
		strings_add(ret, FLEET_VIEW_START);
	for (size_t i = 0; i < view->server_count && !over; i++)
		add_server(view, &view->servers[i], ret);
	_cleanup_free_ char *next = fleet_view_next(view);
	if (!next || !strings_has(ret, next))
		strings_add(ret, next ? next : "Nothing.");
}
