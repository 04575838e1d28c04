/* What a repeated sweep may leave alone: objects that were written when nothing older could land any more.
 *
 * Settling ends with a canary through each server, sent when all servers had converged and nothing had been silent for the
 * settle time. So what has a later revision than one of them was written under the write key. Revisions are compared within one
 * resource only, for resources may lie in different etcds. */
#include "engine/controller_internal.h"

void controller_forget_settled_canaries(struct controller *c)
{
	object_release_list(&key_server_canary_record, c->settled_canaries, c->settled_canary_count);
	c->settled_canaries = NULL;
	c->settled_canary_count = 0;
}

void controller_keep_settled_canaries(struct controller *c)
{
	controller_forget_settled_canaries(c);
	c->settled_canaries = steal(c->canary.asked);
	c->settled_canary_count = c->canary.count;
	c->canary.count = 0;
}

uint64_t controller_skip_above(const struct controller *c, const struct decision *d, const char *resource)
{
	uint64_t found = 0;
	/* What is stale though it was left alone once is rewritten the next time. */
	if (c->sweep.step == d->step && c->sweep.begun >= c->settled_ended && c->sweep.finished)
		return 0;
	/* named_only: next_action saw that it is settled. */
	for (size_t i = 0; d->named_only && i < c->settled_canary_count; i++) {
		const struct key_server_canary *canary = &c->settled_canaries[i];
		if (canary->step == d->step && text_equal(canary->resource, resource) &&
		    (found == 0 || canary->revision < found))
			found = canary->revision;
	}
	return found;
}
