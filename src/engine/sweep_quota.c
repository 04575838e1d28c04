/* etcd's quota: rewriting makes a new revision of everything, and an etcd at its quota takes no writes at all
 * (NOSPACE). */
#include "engine/sweep_internal.h"

#define QUOTA_DEFAULT \
	(UINT64_C(2) << 30) /* etcd's --quota-backend-bytes where it is 0; before 3.6 it does not tell it */
#define QUOTA_STEP 4        /* a larger file shows a larger quota: 8 GiB, which etcd advises at most, ... */
#define STATUS_TIMEOUT (2 * NS_PER_S)
#define FIRST_INTERVAL (500 * NS_PER_MS) /* until the speed is known */
#define INTERVAL_MIN (100 * NS_PER_MS)

/* Sizes are those of files, far from where this overflows. */
static unsigned percent_of(uint64_t part, uint64_t whole)
{
	return (unsigned)(part * 100 / whole);
}

uint64_t sweep_quota_of(uint64_t db_size, uint64_t told)
{
	uint64_t quota = told != 0 ? told : QUOTA_DEFAULT;

	while (told == 0 && quota < db_size && quota <= UINT64_MAX / QUOTA_STEP)
		quota *= QUOTA_STEP;
	return quota;
}

unsigned sweep_quota_pressure(uint64_t db_size, uint64_t in_use, uint64_t quota, bool *ret_file)
{
	unsigned percent, used;

	quota = sweep_quota_of(db_size, quota);
	percent = percent_of(db_size, quota);
	/* Not told by etcd before 3.4: then all of it may be in use. */
	used = percent_of(in_use != 0 ? in_use : db_size, quota);
	*ret_file = percent >= SWEEP_QUOTA_FULL;
	if (percent < SWEEP_QUOTA_PAUSE || (!*ret_file && used < SWEEP_QUOTA_ROOM))
		return 0;
	return percent;
}

char *sweep_quota_words(const char *member, const char *where, unsigned percent, bool file)
{
	return file ? xasprintf("the file of etcd member %s (%s) takes %u%% of its quota: defragment it", member, where,
				percent)
		    : xasprintf("etcd member %s (%s) at %u%% of its quota, until it is compacted", member, where,
				percent);
}

/* How soon to look again: long before what is left would be used up at the speed at which it was used since the
 * last look. */
static uint64_t next_look(struct sweep_quota *quota, uint64_t size, uint64_t limit, uint64_t now)
{
	uint64_t grown = size > quota->size ? size - quota->size : 0, left = limit > size ? limit - size : 0;
	uint64_t passed_ms = (now - quota->looked) / NS_PER_MS + 1, next_ms = SWEEP_QUOTA_INTERVAL / NS_PER_MS;

	if (quota->looked == 0)
		next_ms = FIRST_INTERVAL / NS_PER_MS;
	else if (grown > 0)
		next_ms = left * passed_ms / (4 * grown);
	quota->looked = now;
	quota->size = size;
	if (next_ms > SWEEP_QUOTA_INTERVAL / NS_PER_MS)
		next_ms = SWEEP_QUOTA_INTERVAL / NS_PER_MS;
	if (next_ms < INTERVAL_MIN / NS_PER_MS)
		next_ms = INTERVAL_MIN / NS_PER_MS;
	return now + next_ms * NS_PER_MS;
}

/* New string, or NULL when this member has room. One that does not answer says nothing here. */
static char *look(struct loop *loop, struct etcd *etcd, size_t member, struct sweep_quota *quota)
{
	const struct etcd_member_info *info = etcd_member(etcd, member);
	struct etcd_status status;
	uint64_t size, limit;
	unsigned percent;
	bool file;

	if (etcd_status_fetch(etcd, member, STATUS_TIMEOUT, &status, NULL) < 0)
		return NULL;
	size = status.db_size;
	limit = sweep_quota_of(status.db_size, status.db_size_quota);
	percent = sweep_quota_pressure(status.db_size, status.db_size_in_use, limit, &file);
	etcd_status_free(&status);
	/* Members hold the same: the first that answers sets the pace. */
	if (quota->due == 0)
		quota->due = next_look(quota, size, limit / 100 * SWEEP_QUOTA_FULL, loop_now(loop));
	return percent != 0 ? sweep_quota_words(info->name, info->url, percent, file) : NULL;
}

static void look_at_members(struct loop *loop, struct etcd *etcd, struct sweep_quota *quota)
{
	quota->due = 0;
	free(quota->why);
	quota->why = NULL;
	for (size_t i = 0; quota->why == NULL && i < etcd_member_count(etcd); i++)
		quota->why = look(loop, etcd, i, quota);
	if (quota->due != 0)
		return;
	/* Nobody answered. Where one did before, what was written since may have filled it. */
	if (quota->looked != 0)
		quota->why = xstrdup("no etcd member says how full it is");
	quota->due = loop_now(loop) + (quota->looked != 0 ? FIRST_INTERVAL : SWEEP_QUOTA_INTERVAL);
}

void sweep_quota_init(struct sweep *sweep)
{
	sweep->quotas = xcalloc(sweep->options->etcd_count + 1, sizeof(*sweep->quotas));
}

void sweep_quota_free(struct sweep *sweep)
{
	for (size_t i = 0; i < sweep->options->etcd_count; i++)
		free(sweep->quotas[i].why);
	free(sweep->quotas);
}

void sweep_quota_check(struct sweep *sweep)
{
	const struct sweep_options *o = sweep->options;
	_cleanup_free_ char *told = o->no_room != NULL ? o->no_room(o->arg) : NULL;
	const char *why = told;
	bool looked = o->no_room != NULL;

	/* Meanwhile the call-backs go on writing. A signal is seen by whoever called us. */
	loop_ignore_signals(o->loop, true);
	for (size_t i = 0; i < o->etcd_count; i++) {
		if (loop_now(o->loop) >= sweep->quotas[i].due) {
			look_at_members(o->loop, o->etcds[i], &sweep->quotas[i]);
			looked = true;
		}
		if (why == NULL)
			why = sweep->quotas[i].why;
	}
	loop_ignore_signals(o->loop, false);
	if (!looked || (why == NULL && !sweep->full))
		return;
	/* The server is not away while we do not ask it. */
	sweep->useful = loop_now(o->loop);
	sweep->full = why != NULL;
	free(sweep->waiting);
	sweep->waiting = why != NULL ? xstrdup(why) : NULL;
}
