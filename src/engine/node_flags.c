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

/* Whoever reads the file now; 0: the one before, which is about to end while its successor answers, or which shows another start
 * because a clock was set. -ERROR_NOT_FOUND: nobody. */
static int find_successor(const struct node_flags *flags, unsigned *ret)
{
	unsigned reader = node_reader_of("/proc", flags->config_path);
	*ret = flags->started != 0 && reader == flags->reader ? 0 : reader;
	return reader == 0 ? -ERROR_NOT_FOUND : 0;
}

static int read_now(const struct node_flags *flags, unsigned *ret_reader, struct node_facts *ret)
{
	*ret_reader = 0;
	if (flags->manifest)
		return node_facts_of_manifest(flags->manifest, ret, NULL);
	int rc = find_successor(flags, ret_reader);
	return rc == 0 && *ret_reader ? node_facts_of_process("/proc", *ret_reader, ret, NULL) : rc;
}

static char *lost_text(const struct node_flags *flags)
{
	if (flags->manifest)
		return xasprintf("the API server was started again, and %s cannot be read now", flags->manifest);
	return xasprintf("the API server was started again, and no process here is seen to read %s now",
			 flags->config_path);
}

char *node_flags_changed(struct node_flags *flags, uint64_t started)
{
	struct node_facts now = {0};
	unsigned reader;
	if ((flags->reader == 0 && !flags->manifest) || started == 0)
		return NULL;
	if (started == flags->started) {
		flags->lost = 0;
		flags->other_file = false;
		return NULL;
	}
	int rc = read_now(flags, &reader, &now);
	flags->lost = rc < 0 ? flags->lost + 1 : 0;
	flags->other_file = rc < 0;
	/* One that has just begun shows itself a moment later. */
	if (flags->lost >= 2)
		return lost_text(flags);
	if (rc < 0 || (reader == 0 && !flags->manifest))
		return NULL;
	const char *flag = node_facts_difference(&flags->taken, &now);
	node_facts_free(&now);
	flags->other_file = text_equal(flag, NODE_FILE_FLAG);
	if (flags->other_file)
		return xasprintf("the API server was started again with another file than %s", flags->config_path);
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
