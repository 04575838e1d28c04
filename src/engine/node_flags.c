#include "engine/node_flags.h"

#include <stdlib.h>

#include "base/text.h"

void node_flags_take(const struct node_facts *facts, const char *config_path, struct node_flags *ret)
{
	*ret = (struct node_flags){.config_path = xstrdup(config_path)};
	unsigned reader = facts->process_id ? node_reader_of("/proc", config_path) : 0;
	if (reader != 0 && reader == facts->process_id &&
	    node_facts_of_process("/proc", reader, &ret->taken, NULL) == 0)
		ret->reader = reader;
	else if (facts->from_manifest && node_facts_of_manifest(facts->source, &ret->taken, NULL) == 0)
		ret->manifest = xstrdup(facts->source);
}

/* Its flags are read from; 0: it is not seen, as the one before is, which is about to end while its successor answers; and where a
 * clock was set, that one shows another start. */
static unsigned successor(struct node_flags *flags)
{
	unsigned reader = node_reader_of("/proc", flags->config_path);
	flags->lost = reader == 0 ? flags->lost + 1 : 0;
	return flags->started != 0 && reader == flags->reader ? 0 : reader;
}

char *node_flags_changed(struct node_flags *flags, uint64_t started)
{
	struct node_facts now = {0};
	if ((flags->reader == 0 && !flags->manifest) || started == 0 || started == flags->started)
		return NULL;
	unsigned reader = flags->manifest ? 0 : successor(flags);
	/* One that has just begun shows itself a moment later. */
	if (flags->lost >= 2)
		return xasprintf("the API server was started again, and no process here is seen to read %s now",
				 flags->config_path);
	int rc = flags->manifest ? node_facts_of_manifest(flags->manifest, &now, NULL)
		 : reader        ? node_facts_of_process("/proc", reader, &now, NULL)
				 : -ERROR_NOT_FOUND;
	if (rc < 0)
		return NULL;
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
	free(flags->config_path);
	free(flags->manifest);
	node_facts_free(&flags->taken);
}
