/* etcd, and what else a rotation needs before it begins. */
#include <stdlib.h>

#include "base/clock.h"
#include "engine/check_internal.h"
#include "engine/snapshot.h"
#include "engine/sweep.h"

#define REWRITES 2 /* a sweep writes everything once, a repeated one perhaps once more */
#define BACKUP_AGE (24 * 3600 * NS_PER_S)
#define BACKUP_BEHIND 10000         /* revisions */
#define CLOCK_SLACK (60 * NS_PER_S) /* of whatever wrote the file */

CHECK_JUDGE(etcd_members)
{
	struct strings bad = {0};
	_cleanup_strings_ good = {0};
	(void)policy;
	for (size_t i = 0; i < f->member_count; i++) {
		if (f->members[i].why)
			check_add(&bad, "%s: %s", f->members[i].name, f->members[i].why);
		else
			strings_add(&good, f->members[i].name);
	}
	if (f->member_count == 0)
		return check_unknown(f->etcd_why);
	_cleanup_free_ char *all = strings_join(&good, ", ");
	return check_of_list(
		&bad, CHECK_FAILED,
		"a rotation does not settle while a member is silent: bring it back, or remove it from etcd", all);
}

CHECK_JUDGE(etcd_is_ours)
{
	(void)policy;
	if (f->another_etcd)
		return check_says(CHECK_FAILED,
				  "name the etcd of this very API server: --etcd-endpoints, --etcd-prefix", "%s",
				  f->census_why);
	if (!f->census)
		return check_unknown(f->census_why);
	return (struct check_result){CHECK_PASSED, NULL, NULL};
}

static unsigned percent(uint64_t part, uint64_t whole)
{
	return whole ? (unsigned)(part / (whole / 100 + (whole < 100))) : 0;
}

static uint64_t quota_of(const struct check_member *member)
{
	return sweep_quota_of(member->size, member->quota);
}

CHECK_JUDGE(etcd_space)
{
	struct strings bad = {0};
	uint64_t bytes = 0;
	(void)policy;
	if (f->member_count == 0)
		return check_unknown(f->etcd_why);
	for (size_t i = 0; f->census && i < f->census->resource_count; i++)
		if (f->census->resources[i].chosen ||
		    (f->shape && check_write_key(f, f->census->resources[i].entry->storage)))
			bytes += REWRITES * f->census->resources[i].bytes;
	_cleanup_free_ char *need = text_human_bytes(bytes);
	for (size_t i = 0; i < f->member_count; i++) {
		const struct check_member *member = &f->members[i];
		/* Free pages take new values; a file that is full of them is refused writes all the same. */
		if (member->why || (percent(member->in_use + bytes, quota_of(member)) < SWEEP_QUOTA_PAUSE &&
				    percent(member->size, quota_of(member)) < SWEEP_QUOTA_FULL))
			continue;
		_cleanup_free_ char *size = text_human_bytes(member->size), *quota = text_human_bytes(quota_of(member));
		check_add(&bad, "%s has %s of %s, and a rotation writes about %s", member->name, size, quota, need);
	}
	if (bad.count == 0 && (!f->census || !f->census->complete))
		return check_unknown(check_why_no_census(f));
	_cleanup_free_ char *good = xasprintf("a rotation writes about %s", need);
	return check_of_list(
		&bad, CHECK_FAILED,
		"compact and defragment etcd, or raise --quota-backend-bytes: at its quota it takes no writes at all",
		good);
}

CHECK_JUDGE(etcd_fragmentation)
{
	struct strings bad = {0};
	(void)policy;
	if (f->member_count == 0)
		return check_unknown(f->etcd_why);
	for (size_t i = 0; i < f->member_count; i++) {
		const struct check_member *member = &f->members[i];
		/* A small file is nobody's trouble. */
		if (member->why || member->in_use == 0 || member->in_use > member->size / 2 ||
		    percent(member->size, quota_of(member)) < 10)
			continue;
		_cleanup_free_ char *size = text_human_bytes(member->size), *used = text_human_bytes(member->in_use);
		check_add(&bad, "the file of %s is %s, %s of it in use", member->name, size, used);
	}
	return check_of_list(
		&bad, CHECK_WARNING,
		"etcdctl defrag, one member after the other: free pages also keep old ciphertext until then", NULL);
}

CHECK_JUDGE(etcd_compaction)
{
	(void)policy;
	if (!f->compaction_known)
		return check_unknown("--etcd-compaction-interval is a flag of the API server: looked for on its node");
	if (f->compaction_interval == 0)
		return check_says(CHECK_WARNING, "rotate with --compact, or no key can leave",
				  "--etcd-compaction-interval is 0: nobody does");
	_cleanup_free_ char *interval = text_human_duration(f->compaction_interval);
	return check_passed("every %s", interval);
}

CHECK_JUDGE(permissions)
{
	struct strings bad = {0};
	(void)policy;
	for (size_t i = 0; i < f->forbidden.count; i++)
		strings_add(&bad, f->forbidden.items[i]);
	if (bad.count == 0 && (f->permissions_why || f->permissions_asked == 0))
		return check_unknown(f->permissions_why);
	_cleanup_free_ char *good = xasprintf("%zu permissions", f->permissions_asked);
	return check_of_list(&bad, CHECK_FAILED, "these are missing; the roles in manifests/base have them", good);
}

CHECK_JUDGE(webhooks)
{
	struct strings bad = {0};
	(void)policy;
	for (size_t i = 0; i < f->webhook_count; i++) {
		_cleanup_free_ char *resources = strings_join(&f->webhooks[i].resources, ", ");
		check_add(&bad, "%s %s updates of %s", f->webhooks[i].name,
			  f->webhooks[i].mutates ? "may change" : "may refuse", resources);
	}
	if (bad.count == 0 && f->webhooks_why)
		return check_unknown(f->webhooks_why);
	return check_of_list(&bad, CHECK_WARNING,
			     "they see every rewritten object: one that is down or refuses old objects puts them into "
			     "quarantine, and the old key stays. Selectors of namespaces were not looked at",
			     NULL);
}

/* A copy has the time at which it was copied. How many revisions a day makes is not known; more than half of all of them, and
 * more than a young cluster has, is hardly one day's. */
static bool is_far_behind(const struct check_facts *f)
{
	uint64_t revision = f->census && f->census->complete ? f->census->revision : 0;
	uint64_t behind = revision > f->backup_census->revision ? revision - f->backup_census->revision : 0;
	return behind > BACKUP_BEHIND && behind > revision / 2;
}

CHECK_JUDGE(backup)
{
	struct strings bad = {0};
	(void)policy;
	if (!f->backup)
		return check_unknown("--backup FILE names it");
	if (f->backup_why)
		return check_says(CHECK_FAILED, "etcdctl snapshot save FILE makes one", "%s", f->backup_why);
	uint64_t age = f->wall_now > f->backup_made ? f->wall_now - f->backup_made : 0;
	_cleanup_free_ char *old = text_human_duration(age);
	const struct snapshot_census *census = f->backup_census;
	if (age > BACKUP_AGE)
		check_add(&bad, "%s is %s old by the file's time", f->backup, old);
	if (f->backup_made > f->wall_now + CLOCK_SLACK)
		check_add(&bad, "%s is dated in the future: how old it is is not known", f->backup);
	_cleanup_error_ flaw = NULL;
	if (snapshot_census_verdict(census, &flaw) < 0)
		strings_add(&bad, error_message(flaw));
	/* The cluster was counted after the backup was read. */
	if (f->census && f->census->complete && census->revision > f->census->revision)
		check_add(
			&bad,
			"it is at revision %llu, and the cluster at %llu: another cluster's, or this one was restored "
			"since",
			(unsigned long long)census->revision, (unsigned long long)f->census->revision);
	if (bad.count == 0 && is_far_behind(f))
		return check_says(
			CHECK_WARNING,
			"a copy of an old backup has the time of the copying: see that it is the one of today",
			"%s is %s old by the file's time, but at revision %llu, and the cluster is at %llu: more than "
			"half of all writes came after it",
			f->backup, old, (unsigned long long)census->revision, (unsigned long long)f->census->revision);
	if (bad.count == 0 && !census->config_known && census->needs.count > 0)
		return check_says(CHECK_UNKNOWN, NULL, "whether the keys that it needs are there: %s",
				  check_why_no_shape(f));
	_cleanup_free_ char *objects = text_human_count(census->objects), *needs = strings_join(&census->needs, ", "),
			    *good = xasprintf("%s old by the file's time, %s values%s%s", old, objects,
					      *needs ? ", needs " : "", needs);
	return check_of_list(&bad, CHECK_FAILED,
			     "etcdctl snapshot save FILE makes a new one; keep the keys that it needs", good);
}
