/* What keeps a rotation from going on though nothing stands in its way: a person paused it, or its deadline passed. */
#include "engine/controller_internal.h"

static uint64_t deadline_of(const struct key_rotation *rotation)
{
	uint64_t began;
	if (rotation->spec.deadline_seconds == 0 || !rotation->status.started_at ||
	    clock_parse(rotation->status.started_at, &began) < 0)
		return UINT64_MAX;
	return began + rotation->spec.deadline_seconds * NS_PER_S;
}

/* The way back is a person's later word. */
static bool is_late(const struct key_rotation *rotation, uint64_t wall)
{
	return wall >= deadline_of(rotation) && !rotation->spec.aborted;
}

/* Whether it ends something that is half done: a step that some server took already, or what mends a file. */
static bool finishes(const struct observation *seen, const struct decision *d)
{
	if (d->action != ACTION_WRITE_STEP)
		return false;
	bool taken = d->rescue || d->reason != REASON_STEP;
	for (size_t i = 0; i < seen->server_count; i++)
		taken = taken || seen->servers[i].file_step == d->to_step;
	return taken;
}

enum hold controller_hold(const struct key_rotation *rotation, const struct observation *seen, const struct decision *d,
			  uint64_t wall)
{
	if (rotation->spec.paused)
		return HOLD_PAUSED;
	if (!is_late(rotation, wall) || (d && (d->action == ACTION_DONE || finishes(seen, d))))
		return HOLD_NOT;
	return HOLD_DEADLINE;
}

const char *hold_reason(enum hold hold)
{
	static const char *const reasons[] = {
		[HOLD_NOT] = "", [HOLD_PAUSED] = "Paused", [HOLD_DEADLINE] = "DeadlineExceeded"};
	return reasons[hold];
}

char *hold_words(const struct key_rotation *rotation, enum hold hold, bool mends)
{
	char at[28];
	if (hold != HOLD_DEADLINE)
		return mends ? xasprintf("paused, though until it goes on a server cannot read some values (kubectl "
					 "rekey resume %s)",
					 rotation->meta.name)
			     : xstrdup("paused");
	clock_format(deadline_of(rotation), 0, at);
	return xasprintf(
		"its deadline passed at %s: it begins nothing more, and may be left like this until it is given more "
		"time (kubectl rekey resume %s)",
		at, rotation->meta.name);
}
