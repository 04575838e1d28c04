/* A decision in words: names of servers, keys and objects spelled out; what a person may do about it. */
#include <stdlib.h>
#include <string.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/text.h"
#include "engine/rotation.h"

static const struct server_observation *server_of(const struct decision *d, const struct observation *seen)
{
	return d->server >= 0 && (size_t)d->server < seen->server_count ? &seen->servers[d->server] : NULL;
}

/* "78c2...a1": enough of a hash for a person to compare. */
static char *short_hash(const char *hash)
{
	if (!hash || !text_starts(hash, "sha256:"))
		return xstrdup("unknown");
	return xasprintf("%.4s…%s", hash + 7, hash + strlen(hash) - 2);
}

static char *rule_text(const struct config_rule *rule)
{
	_cleanup_strings_ labels = {0};
	for (size_t k = 0; k < rule->key_count; k++) {
		_cleanup_free_ char *label = config_key_label(&rule->keys[k]);
		strings_add(&labels, label);
	}
	_cleanup_free_ char *joined = strings_join(&labels, ", ");
	return xasprintf("[%s]", joined);
}

static char *step_text(const struct path *path, int step)
{
	_cleanup_strings_ rules = {0};
	if (step < 0 || (size_t)step >= path->count)
		return xstrdup("");
	for (size_t r = 0; r < path->steps[step]->rule_count; r++) {
		_cleanup_free_ char *text = rule_text(&path->steps[step]->rules[r]);
		strings_add(&rules, text);
	}
	return strings_join(&rules, " ");
}

static char *group_text(const struct decision *d, const struct observation *seen)
{
	if (d->group < 0 || (size_t)d->group >= seen->census.group_count)
		return xstrdup("");
	const struct census_group *group = &seen->census.groups[d->group];
	_cleanup_free_ char *count = text_human_count(group->values);
	return xasprintf("%s %s under %s%s%s, for example %s", count,
			 group->resource ? group->resource : "values outside the map",
			 group->unknown ? "no known form" : provider_name(group->type),
			 text_empty(group->name) ? "" : "/", group->name ? group->name : "",
			 group->example ? group->example : "(none named)");
}

/* "14:03:20Z" of a monotonic time: what a person compares with the clock on the wall. */
static char *time_text(uint64_t at, const struct decision_clock *clock)
{
	char text[28];
	clock_format(at > clock->now ? clock->wall + (at - clock->now) : clock->wall - (clock->now - at), 0, text);
	return xstrdup(strchr(text, 'T') + 1);
}

static char *not_loaded_text(const struct server_observation *server, const struct decision_clock *clock)
{
	_cleanup_free_ char *hash = short_hash(server->file_hash);
	if (server->why || !clock->reload_by)
		return xasprintf("%s has not loaded %s yet%s%s", server->name, hash, server->why ? ": " : "",
				 server->why ? server->why : "");
	char by[28];
	clock_format(clock->reload_by, 0, by);
	bool due = clock->reload_by < clock->wall;
	return xasprintf("%s has not loaded %s yet; %s %s%s", server->name, hash,
			 due ? "its reload was due by" : "next reload by", strchr(by, 'T') + 1,
			 due ? " (see that the file's folder is mounted, not the file alone; a restart loads it, too)"
			     : "");
}

static char *settle_text(const struct observation *seen, const struct decision_clock *clock)
{
	uint64_t began = seen->servers[0].loaded_since;
	if (seen->quiet_since > began)
		began = seen->quiet_since;
	_cleanup_free_ char *whole = text_human_duration(seen->settle_time);
	if (seen->quiet_since == 0)
		return xasprintf("%s of settling begin when every member and server answers", whole);
	uint64_t end = began + seen->settle_time;
	_cleanup_free_ char *left = text_human_duration(end > clock->now ? end - clock->now : 0);
	_cleanup_free_ char *until = time_text(end, clock);
	return xasprintf("%s without silence of a server or an etcd member; %s left, until %s", whole, left, until);
}

static char *history_text(uint64_t until, const struct decision_clock *clock)
{
	_cleanup_free_ char *left = text_human_duration(until > clock->now ? until - clock->now : 0);
	_cleanup_free_ char *by = time_text(until, clock);
	return xasprintf("etcd still serves revisions that need the leaving key; the server compacts by %s, within %s "
			 "(--compact: now)",
			 by, left);
}

static char *wait_text(const struct decision *d, const struct observation *seen, const struct decision_clock *clock)
{
	const struct server_observation *server = server_of(d, seen);
	const char *name = server ? server->name : "";
	switch ((int)d->reason) { /* the others have nothing to add to their own words */
	case REASON_NOT_LOADED:
		return server ? not_loaded_text(server, clock) : xstrdup(reason_text(d->reason));
	case REASON_RESTART_NEEDED:
		if (server && server->why)
			return xasprintf("%s: %s; then restart it: it loads its file at start only", name, server->why);
		return xasprintf("restart %s now: it loads its file at start only", name);
	case REASON_SERVER_DOWN:
		return xasprintf("%s does not answer%s%s; bring it back, or forget it if it is gone for good "
				 "(kube-rekey forget %s --yes)",
				 name, server && server->why ? ": " : "", server && server->why ? server->why : "",
				 name);
	case REASON_LOADED_UNKNOWN:
	case REASON_FILE_UNKNOWN:
		return xasprintf("%s: %s%s%s", name, reason_text(d->reason), server && server->why ? ": " : "",
				 server && server->why ? server->why : "");
	case REASON_SET_UNKNOWN:
		return xasprintf("%s%s%s", reason_text(d->reason), seen->servers_why ? ": " : "",
				 seen->servers_why ? seen->servers_why : "");
	case REASON_MEMBER_SILENT:
		return xasprintf("etcd member %s does not answer (%s); %s", seen->members[d->member].name,
				 seen->members[d->member].why ? seen->members[d->member].why : "no answer within 5 s",
				 d->phase == PHASE_SETTLE ? "settling begins again when it does"
							  : "it goes on when it does");
	case REASON_MEMBERS_UNKNOWN:
		return xasprintf("%s%s%s", reason_text(d->reason), seen->members_why ? ": " : "",
				 seen->members_why ? seen->members_why : "");
	case REASON_KMS_UNKNOWN:
		return xasprintf("%s: %s", reason_text(d->reason), seen->kms_why ? seen->kms_why : "");
	case REASON_SETTLING:
		return settle_text(seen, clock);
	case REASON_HISTORY:
		return history_text(seen->census.compaction_expected, clock);
	case REASON_CENSUS_INCOMPLETE:
		return xasprintf("the census is not complete: %s", seen->census.why ? seen->census.why : "unknown");
	default:
		break;
	}
	return xasprintf("%s%s%s", name, *name ? ": " : "", reason_text(d->reason));
}

static char *blocked_text(const struct decision *d, const struct observation *seen)
{
	const struct server_observation *server = server_of(d, seen);
	_cleanup_free_ char *group = group_text(d, seen);
	switch ((int)d->reason) { /* the others have nothing to add to their own words */
	case REASON_TOLD:
		return xstrdup(seen->blocked);
	case REASON_FILE_EDITED:
		return xasprintf("the file of %s was changed by somebody else and is none of this rotation's%s%s",
				 server ? server->name : "the server", server && server->why ? ": " : "",
				 server && server->why ? server->why : "");
	case REASON_QUARANTINED:
		return xasprintf("objects that could not be rewritten still need the leaving key: %s", group);
	case REASON_DOES_NOT_OPEN:
		return xasprintf("%llu values do not open with the key that they name",
				 (unsigned long long)seen->census.does_not_open);
	default:
		return xasprintf("%s%s%s", reason_text(d->reason), *group ? ": " : "", group);
	}
}

const char *decision_reason(const struct decision *d)
{
	bool stands = d->action == ACTION_WAIT || d->action == ACTION_BLOCKED;
	return stands && d->reason != REASON_NONE ? reason_name(d->reason) : action_name(d->action);
}

char *decision_text(const struct decision *d, const struct path *path, const struct observation *seen,
		    const struct decision_clock *clock)
{
	const struct server_observation *server = server_of(d, seen);
	switch (d->action) {
	case ACTION_WAIT:
		return wait_text(d, seen, clock);
	case ACTION_BLOCKED:
		return blocked_text(d, seen);
	case ACTION_WRITE_STEP: {
		_cleanup_free_ char *step = step_text(path, d->to_step);
		return xasprintf("%s: writing step %d %s%s%s%s", server ? server->name : "", d->to_step, step,
				 d->reason == REASON_STEP ? "" : ": ",
				 d->reason == REASON_STEP ? "" : reason_text(d->reason),
				 server && !server->answering ? "; it does not answer" : "");
	}
	case ACTION_CANARY:
		return xasprintf("%s shows its write key by a canary", server ? server->name : "every server");
	case ACTION_REENCRYPT:
		return xstrdup(d->named_only ? "rewriting what the census named" : "rewriting every object");
	case ACTION_CENSUS:
		return xstrdup("reading every value in etcd");
	case ACTION_RESTART:
		return xasprintf("%s is restarted, since it loads its file at start only", server ? server->name : "");
	case ACTION_COMPACT:
		return xstrdup("compacting etcd");
	case ACTION_READ_BACK:
		return xstrdup("reading a sample of each namespace");
	case ACTION_RETIRE:
		return xstrdup("retiring the old key");
	case ACTION_DONE:
		break;
	}
	return xstrdup("done");
}

/* Longer than any key of etcd that a census names, each of its bytes escaped. */
#define COMMAND_MAX (64u << 10)

static bool is_plain(char c)
{
	return c >= ' ' && c <= '~' && c != '\'' && c != '\\';
}

static int append_quoted(struct buf *out, const char *path)
{
	bool plain = true;
	for (const char *c = path; *c; c++)
		plain = plain && is_plain(*c);
	int rc = buf_append_text(out, plain ? "'" : "$'");
	for (const char *c = path; rc == 0 && *c; c++)
		rc = is_plain(*c) ? buf_append(out, c, 1)
				  : buf_append_format(out, "\\x%02x", (unsigned)(unsigned char)*c);
	return rc == 0 ? buf_append_text(out, "'") : rc;
}

char *decision_etcdctl_del(const char *path)
{
	_cleanup_buf_ quoted = BUF_INIT(COMMAND_MAX);
	/* Never a command for half of a key. */
	return xasprintf("etcdctl del %s", append_quoted(&quoted, path) == 0 ? buf_text(&quoted) : "PATH");
}

char *decision_hint(const struct decision *d, const struct observation *seen)
{
	const char *example = d->group >= 0 && (size_t)d->group < seen->census.group_count
				      ? seen->census.groups[d->group].example
				      : NULL;
	_cleanup_free_ char *command = decision_etcdctl_del(example ? example : "PATH");
	switch ((int)d->reason) { /* the others have nothing to add to their own words */
	case REASON_OUTSIDE:
		return xasprintf("no API serves them, so nothing can rewrite them. If they are remains: %s (the report "
				 "and kube-rekey census name more). If another cluster owns them: --foreign-prefix "
				 "PREFIX",
				 command);
	case REASON_NOT_LISTED:
		return xasprintf("allow the list that quarantine names, if one was refused, and run the same command "
				 "again; look at %s before anything is deleted",
				 example ? example : "the paths that the report names");
	case REASON_QUARANTINED:
		return xstrdup("mend or delete the objects named in quarantine, then run the same command again; "
			       "nothing was dropped");
	case REASON_UNKNOWN_VALUES:
		if (d->group >= 0 && (size_t)d->group < seen->census.group_count &&
		    !seen->census.groups[d->group].resource)
			return xstrdup("no API serves them: if another program keeps them in this etcd, say "
				       "--foreign-prefix PREFIX; kube-rekey census names them");
		return xasprintf("such values are unreadable already. Look: kube-rekey census. Delete or restore them: "
				 "%s",
				 command);
	case REASON_DOES_NOT_OPEN:
		return xasprintf("look: kube-rekey census --open --probe. What an API server still serves, kube-rekey "
				 "reencrypt may "
				 "rescue before it reloads its file or restarts; what is unreadable already, delete or "
				 "restore: %s",
				 command);
	case REASON_UNREADABLE:
		return xstrdup("add the missing key to the configuration as a read key, or delete those values, before "
			       "anything else");
	case REASON_NO_COMPACTION:
		return xstrdup("say --compact to let kube-rekey compact etcd, or compact it yourself and run the same "
			       "command again");
	case REASON_FILE_EDITED:
		return xstrdup(
			"put back what kube-rekey wrote, or begin anew from the present file by running rotate again");
	case REASON_FILE_REFUSED:
		return xstrdup("the API server's log says why; the configuration that runs is the one before");
	case REASON_RESCUED_TWICE:
		return xstrdup("find out who writes this file (configuration management?), stop it, and run the same "
			       "command again");
	case REASON_SET_UNKNOWN:
		return xstrdup("say --servers 1 if this is the only API server of the cluster");
	case REASON_STALE:
		return xstrdup("rewrite them first: kube-rekey reencrypt");
	default:
		return NULL;
	}
}
