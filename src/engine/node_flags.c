#include "engine/node_flags.h"

#include <stdlib.h>

#include "base/text.h"

void node_flags_take(const struct node_facts *facts, struct node_flags *ret)
{
	*ret = (struct node_flags){.reader = facts->process_id};
	if (facts->process_id)
		(void)!node_facts_of_process("/proc", facts->process_id, &ret->taken, NULL);
}

char *node_flags_changed(struct node_flags *flags, const char *config_path, uint64_t started)
{
	struct node_facts now = {0};
	if (flags->reader == 0 || started == 0 || started == flags->started)
		return NULL;
	unsigned reader = node_reader_of("/proc", config_path);
	/* The one before, which is about to end while its successor answers; or a clock was set. */
	if (flags->started != 0 && reader == flags->reader)
		return NULL;
	if (reader == 0 || node_facts_of_process("/proc", reader, &now, NULL) < 0)
		return xasprintf("the API server was started again, and no process here is seen to read %s now",
				 config_path);
	const char *flag = node_facts_difference(&flags->taken, &now);
	node_facts_free(&now);
	if (flag)
		return xasprintf("the API server was started again with another --%s", flag);
	flags->reader = reader;
	flags->started = started;
	return NULL;
}

void node_flags_free(struct node_flags *flags)
{
	node_facts_free(&flags->taken);
}
