/* What a phase came to, in one line, once it is over. */
#include <stdlib.h>
#include <string.h>

#include "engine/rotation_internal.h"

static char *short_hash(const char *hash)
{
	return hash && strlen(hash) > 12 ? xasprintf("%.4s…%s", hash + strlen("sha256:"), hash + strlen(hash) - 2)
					 : xstrdup("it");
}

static char *loaded_text(const struct rotation *r)
{
	const struct server_observation *server = r->seen.server_count ? &r->seen.servers[0] : NULL;
	if (!server || server->loaded != FACT_KNOWN || !server->loaded_is_file)
		return xstrdup("waited for the server");
	_cleanup_free_ char *hash = short_hash(server->file_hash);
	return xasprintf("%s loaded %s%s", server->name, hash,
			 server->evidence == LOADED_BY_HASH ? "" : " (weaker evidence: a start or reloads since)");
}

static char *swept_text(const struct rotation *r)
{
	_cleanup_free_ char *rewritten = text_human_count(r->sweep.rewritten);
	_cleanup_free_ char *quarantined = text_human_count(r->sweep.quarantined);
	return xasprintf("%s objects rewritten%s%s%s", rewritten, r->sweep.quarantined ? ", " : "",
			 r->sweep.quarantined ? quarantined : "", r->sweep.quarantined ? " quarantined" : "");
}

static char *verified_text(const struct rotation *r)
{
	if (!r->census || !r->census->complete)
		return xstrdup("no complete census yet");
	uint64_t values = 0;
	for (size_t i = 0; i < r->census->resource_count; i++)
		values += r->census->resources[i].objects;
	values += r->census->outside_plain + r->census->expected_plain + r->census->outside_count;
	_cleanup_free_ char *count = text_human_count(values), *old_keys = strings_join(&r->journal->old_keys, ", ");
	uint64_t left = 0;
	for (size_t g = 0; g < r->census_seen.group_count; g++) {
		const struct census_group *group = &r->census_seen.groups[g];
		_cleanup_free_ char *label = xasprintf("%s/%s", provider_name(group->type), group->name);
		left += group->type != PROVIDER_IDENTITY && strings_has(&r->journal->old_keys, label) ? group->values
												      : 0;
	}
	return *old_keys ? xasprintf("%s values read at revision %llu: %llu under %s", count,
				     (unsigned long long)r->census->revision, (unsigned long long)left, old_keys)
			 : xasprintf("%s values read at revision %llu: %llu stale", count,
				     (unsigned long long)r->census->revision, (unsigned long long)r->census->stale);
}

static char *wrote_text(const struct rotation *r)
{
	int step = journal_written_step(r->journal, r->seen.server_count ? r->seen.servers[0].file_hash : NULL);
	return step != STEP_NONE ? xasprintf("%s wrote step %d", r->look.name, step) : xstrdup("nothing written");
}

char *rotation_phase_text(const struct rotation *r, enum phase phase)
{
	switch (phase) {
	case PHASE_ADD_READ_KEY:
	case PHASE_PROMOTE:
	case PHASE_DROP_OLD_KEY:
	case PHASE_RESCUE:
		return wrote_text(r);
	case PHASE_AWAIT_WRITE: {
		_cleanup_free_ char *loaded = loaded_text(r);
		return r->look.canary_at ? xasprintf("%s, canary under its write key", loaded) : xstrdup(loaded);
	}
	case PHASE_AWAIT_READ:
	case PHASE_AWAIT_DROP:
		return loaded_text(r);
	case PHASE_REENCRYPT:
		return swept_text(r);
	case PHASE_SETTLE: {
		_cleanup_free_ char *time = text_human_duration(r->settle_time);
		return xasprintf("%s without silence of %s or an etcd member, canary under its write key", time,
				 r->look.name);
	}
	case PHASE_VERIFY:
		return verified_text(r);
	case PHASE_AWAIT_COMPACTION:
		return xstrdup("etcd is compacted past the census");
	case PHASE_BLOCKED:
	case PHASE_DONE:
		break;
	}
	return xstrdup("");
}
