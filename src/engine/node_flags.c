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

/* -ERROR_NOT_FOUND: they cannot be told now. */
static int read_now(struct node_flags *flags, struct node_facts *ret)
{
	if (flags->manifest)
		return node_facts_of_manifest(flags->manifest, ret, NULL) < 0 ? -ERROR_NOT_FOUND : 0;
	unsigned reader = node_reader_of("/proc", flags->config_path);
	flags->lost = reader == 0;
	/* The one before, which is about to end while its successor answers; or a clock was set. */
	if (reader == 0 || (flags->started != 0 && reader == flags->reader) ||
	    node_facts_of_process("/proc", reader, ret, NULL) < 0)
		return -ERROR_NOT_FOUND;
	flags->reader = reader;
	return 0;
}

char *node_flags_changed(struct node_flags *flags, uint64_t started)
{
	struct node_facts now = {0};
	bool told = flags->reader != 0 || flags->manifest;
	if (!told || started == 0 || started == flags->started || read_now(flags, &now) < 0)
		return NULL;
	const char *flag = node_facts_difference(&flags->taken, &now);
	node_facts_free(&now);
	if (flag)
		return xasprintf("the API server was started again with another --%s", flag);
	flags->started = started;
	return NULL;
}

void node_flags_free(struct node_flags *flags)
{
	free(flags->config_path);
	free(flags->manifest);
	node_facts_free(&flags->taken);
}
