#include "cmd/dashboard_words.h"

#include "base/text.h"

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
/* clang-format on */

const char *dashboard_doing(const char *phase)
{
	for (size_t i = 0; i < ELEMENTS(phases); i++)
		if (text_equal(phases[i].phase, phase ? phase : ""))
			return phases[i].doing;
	return "This version of the dashboard does not know the phase.";
}
