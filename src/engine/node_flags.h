/* What this process took from the flags of the API server on this machine, and whether whoever takes that server's place has
 * them, too. With a longer --request-timeout writes may land later; with another file or etcd, what was proved says nothing. */
#pragma once
#include "engine/node.h"

struct node_flags {
	char *config_path; /* the file that it reads */
	unsigned reader;   /* the process that was found to have them last; 0: none is seen to read that file */
	char *manifest;    /* of its static pod, where no process is seen; NULL: none is known */
	unsigned lost;     /* looks in a row by which nothing told any more */
	bool other_file;   /* as far as is seen: that of the process that runs now */
	struct node_facts taken;
	uint64_t started; /* ms: of that process, as it says itself; 0: not looked at yet */
};
/* Of the process that `facts` name, as it runs now, or of the manifest alone. Of neither nothing is ever said. */
void node_flags_take(const struct node_facts *facts, const char *config_path, struct node_flags *ret);
/* To be asked at each look: the server says that its process started at `started` (ms; 0: it does not say). NULL: it is the
 * same process, or has the same flags; else what has changed, new string, at each look from then on. */
char *node_flags_changed(struct node_flags *flags, uint64_t started);
void node_flags_free(struct node_flags *flags);
