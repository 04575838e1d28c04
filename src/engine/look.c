#include "engine/look.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/file.h"
#include "engine/kms_follow.h"

/* --- the file --- */

/* Of a file that is none of the path's: how it differs from what was written last. */
static char *edited_text(const struct journal *journal, const struct config_shape *found, const char *sha256)
{
	const struct journal_hash *written = journal_written(journal, sha256);
	if (!written || written->step < 0 || (size_t)written->step >= journal->path->count)
		return xasprintf("its hash is %s", sha256);
	_cleanup_free_ char *difference = config_shape_difference(journal->path->steps[written->step], found);
	return xasprintf("%s; its hash is %s, and that of step %d as written %s", difference, sha256, written->step,
			 written->sha256);
}

/* The last that was written, for what is read in its place is the pipeline's matter. */
static void take_last(struct look *look, const struct target *target, const struct journal *journal,
		      struct server_observation *ret)
{
	int last = (int)journal->path->count - 1;
	ret->file = FACT_KNOWN;
	ret->file_step = STEP_NONE;
	free(look->deployed);
	look->deployed = NULL;
	/* As the pipeline put it there, where that can be seen. */
	if (file_sha256(target->source, ENCRYPTION_CONFIG_MAX, &look->deployed, NULL) == 0 &&
	    journal_step_of(journal, look->deployed) != last)
		free(steal(look->deployed));
	for (size_t i = journal->hash_count; i > 0 && !look->deployed; i--)
		if (journal->hashes[i - 1].step == last && !journal->hashes[i - 1].pending)
			look->deployed = xstrdup(journal->hashes[i - 1].sha256);
	if (!look->deployed)
		return;
	ret->file_hash = xstrdup(look->deployed);
	ret->file_step = last;
	ret->file_ours = true;
}

static void look_at_file(struct look *look, const struct target *target, const struct journal *journal,
			 struct server_observation *ret)
{
	struct target_content content = {0};
	_cleanup_error_ failed = NULL;
	ret->file_step = STEP_NONE;
	free(look->deployed);
	look->deployed = NULL;
	if (target_read(target, &content, &failed) < 0) {
		ret->why = xstrdup(error_message(failed));
		/* A file that is no configuration was changed by somebody; one that cannot be read says nothing. */
		ret->file = error_code(failed) == ERROR_INPUT ? FACT_KNOWN : FACT_UNKNOWN;
		return;
	}
	ret->file = FACT_KNOWN;
	ret->file_hash = xstrdup(content.sha256);
	ret->file_step = journal_step_of(journal, content.sha256);
	ret->file_ours = ret->file_step != STEP_NONE;
	if (!ret->file_ours)
		ret->file_step = path_find(journal->path, encryption_config_shape(content.config));
	if (ret->file_step == STEP_NONE)
		ret->why = edited_text(journal, encryption_config_shape(content.config), content.sha256);
	/* What a pipeline makes of our bytes must be as new as they are: else what was loaded long ago would pass for
	 * this step. */
	bool known_before = journal_is_older(journal, content.deployed_sha256, content.sha256);
	if (known_before) {
		free(ret->why);
		ret->why = xstrdup("what --as-deployed holds was already seen in this rotation: the pipeline has to "
				   "keep the nonce, or to add something new of its own");
	}
	look->deployed = xstrdup(known_before ? content.sha256 : content.deployed_sha256);
	target_content_free(&content);
}

/* --- what is loaded: servers that show the hash --- */

/* -ERROR_CONFLICT: other bytes are there. */
static int check_rolled_out(const struct target *target, const char *sha256, struct error **err)
{
	_cleanup_free_ char *there = NULL;
	int rc = file_sha256(target->source, ENCRYPTION_CONFIG_MAX, &there, err);
	if (rc < 0 || text_equal(there, sha256))
		return rc;
	return error_set(err, ERROR_CONFLICT, "%s is not what the API server runs: put that back", target->source);
}

/* What a server runs stays loaded when its file is cut short or put back, up to its next start or poll. Of a file that a pipeline
 * writes that is seen here, or else by a reload that failed since. NULL: it stays; else why that is not known. New string. */
static char *why_it_may_not_stay(const struct look *look, const struct target *target,
				 const struct apiserver_metrics *metrics)
{
	if (!target->manual)
		return NULL;
	_cleanup_error_ why = NULL;
	if (look->servers_own)
		return check_rolled_out(target, metrics->loaded_hashes[0], &why) == 0 ? NULL
										      : xstrdup(error_message(why));
	if (metrics->reload_failure_time <= metrics->reload_success_time)
		return NULL;
	return xstrdup(
		"its last reload failed: its file is not what it runs, or was not for a while; put that back, and "
		"restart it if it goes on saying so");
}

static void loaded_by_hash(const struct look *look, const struct apiserver_metrics *metrics,
			   const struct target *target, const struct journal *journal, struct server_observation *ret)
{
	const char *deployed = look->deployed;
	ret->evidence = LOADED_BY_HASH;
	if (metrics->loaded_hash_count > 1) {
		ret->loaded = FACT_CONTRADICTORY;
		free(ret->why);
		ret->why = xstrdup("its metrics show two loaded configurations under one identity: do two servers "
				   "share a host name?");
		return;
	}
	const char *hash = metrics->loaded_hashes[0];
	ret->loaded = FACT_KNOWN;
	ret->loaded_hash = xstrdup(hash);
	ret->loaded_is_file = text_equal(hash, deployed);
	ret->loaded_step = ret->loaded_is_file ? ret->file_step : journal_step_of(journal, hash);
	/* A pipeline's own bytes for it are as good. */
	if (look->last_is_gone && ret->loaded_step != STEP_NONE && ret->loaded_step == ret->file_step)
		ret->loaded_is_file = true;
	/* Any other one is about to leave. */
	bool stays = ret->loaded_step > 0 && (size_t)ret->loaded_step == journal->path->count - 1 &&
		     ret->written_step == ret->loaded_step;
	char *why = stays ? why_it_may_not_stay(look, target, metrics) : NULL;
	if (!why)
		return;
	ret->loaded = FACT_UNKNOWN;
	free(ret->why);
	ret->why = why;
}

/* --- what is loaded: older servers, which count reloads but do not say of what --- */

/* A process that started after the file was put in place has read this file. File times and start times are of this
 * machine's
 * clock and of the server's: a margin for their difference and for the coarse clock of file systems. */
#define START_MARGIN (2 * NS_PER_S)

static uint64_t changed_at(const char *path)
{
	struct stat status;
	if (stat(path, &status) < 0)
		return UINT64_MAX;
	return (uint64_t)status.st_ctim.tv_sec * NS_PER_S + (uint64_t)status.st_ctim.tv_nsec;
}

static bool started_after(const struct apiserver_metrics *metrics, uint64_t changed)
{
	return metrics->has_process_start && changed != UINT64_MAX &&
	       metrics->process_start * (double)NS_PER_S > (double)(changed + START_MARGIN);
}

/* Of the file that the server reads, by its own wall clock; `written` where we put it there. */
static uint64_t file_changed_at(const struct target *target, bool ours, uint64_t written)
{
	if (target->manual)
		return changed_at(target->source);
	return ours ? written : changed_at(target->path);
}

static void loaded_by_reloads(struct look *look, const struct apiserver_metrics *metrics, const struct target *target,
			      uint64_t written, struct server_observation *ret)
{
	ret->evidence = LOADED_BY_RELOADS;
	/* Neither starts nor reloads say anything of a copy. */
	if (!look->servers_own) {
		free(ret->why);
		ret->why = xasprintf("its version shows no loaded hash, and nothing here tells that it reads %s",
				     target->manual ? target->source : target->path);
		return;
	}
	/* A pipeline puts the file in place, at a moment that only the file itself can show. */
	if (target->manual && check_rolled_out(target, look->deployed, NULL) < 0) {
		free(ret->why);
		ret->why = xasprintf("%s is not what %s holds: not rolled out yet (this version shows no loaded hash)",
				     target->source, target->path);
		return;
	}
	bool ours = text_equal(look->written_hash, ret->file_hash);
	if (started_after(metrics, file_changed_at(target, ours, written)) || look->keeps_file) {
		ret->loaded = FACT_KNOWN;
	} else if (ours && look->counters_known && ret->process == look->written_process &&
		   metrics->reload_successes > look->successes) {
		/* The first success may be of what was read before the rename; the second, of a second nonce,
		 * cannot. */
		if (look->nonces >= 2)
			ret->loaded = FACT_KNOWN;
		else
			ret->needs_second_nonce = true;
	} else if (look->reloads_itself && (!ours || ret->process != look->written_process)) {
		/* Or it began at the moment of our write, may have read either file, and has nothing to reload. */
		ret->needs_second_nonce = true;
	}
	if (ret->loaded == FACT_KNOWN) {
		ret->loaded_is_file = true;
		ret->loaded_step = ret->file_step;
	} else if (!ret->why && !ret->needs_second_nonce && look->reloads_itself) {
		ret->why = xstrdup("it was not seen to reload since its file was changed (a restart loads it, too)");
	}
}

/* --- what is refused --- */

static void forget_found(struct look *look)
{
	free(look->found_hash);
	look->found_hash = NULL;
}

/* Two failures after it was found: the first may be of what stood there before. */
static bool refuses_found(struct look *look, const struct apiserver_metrics *metrics,
			  const struct server_observation *seen)
{
	if (text_equal(look->found_hash, seen->file_hash) && look->found_process == seen->process)
		return metrics->reload_failures >= look->found_failures + 2;
	forget_found(look);
	look->found_hash = xstrdup(seen->file_hash);
	look->found_process = seen->process;
	look->found_failures = metrics->reload_failures;
	return false;
}

/* A restarted process counts from zero: then nothing was refused. What a pipeline has not rolled out was never looked at by
 * the server. */
static bool refuses_file(struct look *look, const struct apiserver_metrics *metrics, bool is_its_file,
			 const struct server_observation *seen)
{
	bool ours = look->counters_known && text_equal(look->written_hash, seen->file_hash);
	bool refusable = seen->file_hash && !seen->loaded_is_file;
	if (refusable && !ours && is_its_file)
		return refuses_found(look, metrics, seen);
	forget_found(look);
	return refusable && ours && metrics->reload_failures > look->failures && seen->process == look->process;
}

/* --- the server --- */

static void look_at_metrics(struct look *look, const struct target *target, const struct journal *journal,
			    uint64_t written, struct server_observation *ret)
{
	struct apiserver_metrics metrics = {0};
	_cleanup_error_ failed = NULL;
	int rc = kube_scrape(look->kube, &metrics, NULL, &failed);
	if (rc == 0)
		rc = kube_version(look->kube, &ret->version, &failed);
	if (rc == 0 && look->restarts)
		rc = kube_ready(look->kube, &failed);
	ret->answering = rc == 0;
	free(look->seen_id_hash);
	look->seen_id_hash = metrics.id_hash_count == 1 ? xstrdup(metrics.id_hashes[0]) : NULL;
	free(look->named_others);
	bool follows = path_follows_kms(journal->path);
	look->named_others = follows ? kms_named_others(journal->path->steps[0], &metrics) : NULL;
	look->may_adopt_another = follows && kms_may_adopt_another(journal->path->steps[0], &metrics);
	if (rc < 0) {
		free(ret->why);
		ret->why = xstrdup(error_message(failed));
		apiserver_metrics_free(&metrics);
		return;
	}
	ret->process = metrics.has_process_start ? (uint64_t)(metrics.process_start * 1000.0) : 0;
	if (look->id_hash && metrics.id_hash_count > 0 && !text_equal(metrics.id_hashes[0], look->id_hash)) {
		ret->loaded = FACT_CONTRADICTORY;
		free(ret->why);
		ret->why = xstrdup("the server that answers has another identity than the Lease names");
	} else if (metrics.contradictory) {
		ret->loaded = FACT_CONTRADICTORY;
		free(ret->why);
		ret->why = xstrdup("its metrics show one series twice with different values");
	} else if (metrics.loaded_hash_count > 0) {
		loaded_by_hash(look, &metrics, target, journal, ret);
	} else if (ret->file_hash) {
		loaded_by_reloads(look, &metrics, target, written, ret);
	}
	if (!metrics.has_process_start && ret->loaded == FACT_KNOWN) {
		ret->loaded = FACT_UNKNOWN; /* a restart would not be seen */
		free(ret->why);
		ret->why = xstrdup("its metrics do not say when it started");
	}
	look->reloads_since = look->process == ret->process && metrics.reload_successes > look->successes_now
				      ? metrics.reload_successes - look->successes_now
				      : 0;
	look->successes_now = metrics.reload_successes;
	look->failures_now = metrics.reload_failures;
	ret->refuses_file = refuses_file(look, &metrics, !target->manual, ret);
	apiserver_metrics_free(&metrics);
}

/* Whether two steps of the path write with the same keys. */
static bool same_write_keys(const struct path *path, int a, int b)
{
	if (a == STEP_NONE || b == STEP_NONE)
		return false;
	for (int step = a < b ? a : b; step < (a < b ? b : a); step++)
		if (path_changes_write_key(path, (size_t)step))
			return false;
	return true;
}

static void forget_ran(struct look *look)
{
	look->loaded_since = look->writes_since = 0;
	free(look->ran_file);
	free(look->ran_hash);
	look->ran_file = look->ran_hash = NULL;
}

/* Whether what runs now is the file that we put in the place of the very one that ran before: then nothing ran in
 * between. */
static bool swapped(const struct look *look, const struct path *path, const struct server_observation *ret)
{
	return look->ran_file && text_equal(ret->file_hash, look->written_hash) &&
	       text_equal(look->replaced_hash, look->ran_file) &&
	       same_write_keys(path, look->ran_step, ret->loaded_step);
}

static void runs_its_file(struct look *look, const struct path *path, uint64_t now,
			  const struct server_observation *ret)
{
	bool same = text_equal(look->ran_file, ret->file_hash);
	if (!same && !swapped(look, path, ret))
		look->writes_since = 0;
	if (!same)
		look->loaded_since = 0;
	look->loaded_since = look->loaded_since ? look->loaded_since : now;
	look->writes_since = look->writes_since ? look->writes_since : now;
	free(look->ran_file);
	free(look->ran_hash);
	look->ran_file = xstrdup(ret->file_hash);
	look->ran_hash = ret->loaded_hash ? xstrdup(ret->loaded_hash) : NULL;
	look->ran_step = ret->loaded_step;
}

static void compare_with_before(struct look *look, const struct path *path, uint64_t now,
				struct server_observation *ret)
{
	/* More reloads than the one that was waited for: something else ran in between, and may have written. */
	bool same_file = text_equal(look->ran_file, ret->file_hash) && ret->loaded_is_file;
	if (look->process != ret->process || look->reloads_since > (same_file ? 0 : 1))
		forget_ran(look);
	look->process = ret->process;
	if (ret->loaded == FACT_KNOWN && ret->loaded_is_file) {
		runs_its_file(look, path, now, ret);
	} else {
		look->loaded_since = 0;
		/* Still the file from before, until it loads the present one; anything else may have written with
		 * other keys. */
		if (ret->loaded != FACT_UNKNOWN && !text_equal(ret->loaded_hash, look->ran_hash))
			forget_ran(look);
	}
	ret->loaded_since = look->loaded_since;
	ret->writes_since = look->writes_since;
}

void look_at(struct look *look, const struct target *target, const struct journal *journal, uint64_t now,
	     uint64_t wall_now, struct server_observation *ret)
{
	*ret = (struct server_observation){.name = xstrdup(look->name),
					   .looked_at = now,
					   .loaded_step = STEP_NONE,
					   .reloads_itself = look->reloads_itself,
					   .restarts = look->restarts};
	ret->refused_before = look->refused_before;
	if (look->last_is_gone)
		take_last(look, target, journal, ret);
	else
		look_at_file(look, target, journal, ret);
	ret->written_step = journal_written_step(journal, ret->file_hash);
	/* By the present wall clock, as the server's start is. */
	uint64_t written = look->written_at ? wall_now - (now - look->written_at) : UINT64_MAX;
	look_at_metrics(look, target, journal, written, ret);
	/* The scrape may have taken a while: what it shows holds from its end on. */
	if (ret->answering)
		compare_with_before(look, journal->path, loop_now(look->kube->loop), ret);
	ret->canary_step = look->canary_at ? look->canary_step : STEP_NONE;
	ret->canary_at = look->canary_at;
	ret->canary_process = look->canary_process;
}

void look_wrote(struct look *look, const char *sha256, const char *replaced, bool same_step, uint64_t now)
{
	/* Of what somebody else put there in between a reload may come, too. */
	look->nonces = same_step && text_equal(replaced, look->written_hash) ? look->nonces + 1 : 1;
	look->successes = look->successes_now;
	look->failures = look->failures_now;
	look->counters_known = true;
	look->written_process = look->process;
	look->written_at = now;
	free(look->written_hash);
	look->written_hash = xstrdup(sha256);
	free(look->replaced_hash);
	look->replaced_hash = xstrdup(replaced);
}

void look_free(struct look *look)
{
	free(look->name);
	free(look->deployed);
	free(look->id_hash);
	free(look->seen_id_hash);
	free(look->named_others);
	free(look->ran_file);
	free(look->ran_hash);
	forget_found(look);
	free(look->replaced_hash);
	free(look->written_hash);
}
