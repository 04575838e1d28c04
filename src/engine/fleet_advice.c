#include "engine/fleet_advice.h"

#include <stddef.h>

#include "base/text.h"

/* clang-format off */
/* What a person may do, by the reason of the condition Degraded or Progressing: of everything that it waits for or is blocked
 * by (next_action.h), and of what goes before there is a path. */
static const struct { const char *reason, *todo; } reasons[] = {
	{"SET_UNKNOWN", "Start the API servers and agents that are down, and see that the controller knows the address of each server "
			"(--apiserver)."},
	{"SERVER_DOWN", "Start the API server that is named, and its agent: one that is down counts, for it may come back with "
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
	{"RESTART_NEEDED", "Restart the API server that is named, no other one, and wait until it is ready."},
	{"CENSUS_INCOMPLETE", "Nothing for a minute: it is tried again. If it lasts, kube-rekey check says which right is missing, or "
			      "what cannot be read."},
	{"UNREADABLE", "Put the missing key back into the configuration as a read key, or delete the values that need it."},
	{"UNKNOWN_VALUES", "Look with kube-rekey census on a control-plane node: such values are unreadable already. Restore or "
			   "delete them."},
	{"DOES_NOT_OPEN", "Restart no API server, and change no file. Look with kube-rekey census --open --probe on a control-plane node: "
			  "what is still served, kube-rekey reencrypt may rescue. The rest restore or delete."},
	{"KMS_UNKNOWN", "Mend the KMS plugin that is named, and restart no API server before: it may not become ready."},
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
	{"TOLD", "Choose one of the ways that are named."},
	{"FindPath", "Before it begins all API servers have to run one configuration, and all agents to report and to have one trust "
		     "key: mend what is named."},
	{"Refused", "What was asked for cannot be carried out: give it up, and ask for another rotation."},
};
/* clang-format on */

const char *fleet_advice(const char *reason)
{
	for (size_t i = 0; i < ELEMENTS(reasons); i++)
		if (text_equal(reasons[i].reason, reason))
			return reasons[i].todo;
	return NULL;
}
