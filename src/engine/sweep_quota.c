/* etcd's quota: rewriting makes a new revision of everything, and an etcd at its quota takes no writes at all (NOSPACE). */
#include "engine/sweep_internal.h"

#define QUOTA_DEFAULT (UINT64_C(2) << 30) /* etcd's --quota-backend-bytes where it is 0 */
#define STATUS_TIMEOUT (2 * NS_PER_S)

/* Sizes are those of files, far from where this overflows. */
static unsigned percent_of(uint64_t part, uint64_t whole)
{
	return (unsigned)(part * 100 / whole);
}

unsigned sweep_quota_pressure(uint64_t db_size, uint64_t in_use, uint64_t quota, bool *ret_file)
{
	unsigned percent;

	if (quota == 0)
		quota = QUOTA_DEFAULT;
	*ret_file = false;
	/* Not told by etcd before 3.4: then the file is all that is known. */
	percent = percent_of(in_use != 0 ? in_use : db_size, quota);
	if (percent >= SWEEP_QUOTA_USED)
		return percent;
	*ret_file = true;
	percent = percent_of(db_size, quota);
	return percent >= SWEEP_QUOTA_FILE ? percent : 0;
}

/* New string, or NULL when this member has room. One that does not answer says nothing here: the API server's own answers do. */
static char *look(const struct sweep *sweep, size_t member)
{
	struct etcd *etcd = sweep->options->etcd;
	const struct etcd_member_info *info = etcd_member(etcd, member);
	struct etcd_status status;
	unsigned percent;
	bool file;

	if (etcd_status_fetch(etcd, member, STATUS_TIMEOUT, &status, NULL) < 0)
		return NULL;
	percent = sweep_quota_pressure(status.db_size, status.db_size_in_use, status.db_size_quota, &file);
	etcd_status_free(&status);
	if (percent == 0)
		return NULL;
	return file ? xasprintf("the file of etcd member %s takes %u%% of its quota: defragment it", info->name,
				percent)
		    : xasprintf("etcd member %s at %u%% of its quota, until it is compacted", info->name, percent);
}

void sweep_quota_check(struct sweep *sweep)
{
	struct loop *loop = sweep->options->loop;
	char *why = NULL;

	if (sweep->options->etcd == NULL || loop_now(loop) < sweep->quota_due)
		return;
	/* Meanwhile the call-backs go on writing. A signal is seen by whoever called us. */
	loop_ignore_signals(loop, true);
	for (size_t i = 0; why == NULL && i < etcd_member_count(sweep->options->etcd); i++)
		why = look(sweep, i);
	loop_ignore_signals(loop, false);
	sweep->quota_due = loop_now(loop) + SWEEP_QUOTA_INTERVAL;
	if (why != NULL || sweep->full) {
		/* The server is not away while we do not ask it. */
		sweep->useful = loop_now(loop);
		sweep->full = why != NULL;
		free(sweep->waiting);
		sweep->waiting = why;
	}
}
