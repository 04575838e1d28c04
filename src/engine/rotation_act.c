/* The steps: each small, each judged afterwards by what is seen, none believed because it was done. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "engine/aesgcm.h"
#include "engine/retired.h"
#include "engine/rotation_internal.h"

#define FILE_CHECK_INTERVAL NS_PER_S /* between looks at the file during a sweep */
#define FILE_DIFFERS 2               /* such looks, one after the other, that show another file */

/* --- both locks --- */

int rotation_lock(struct rotation *r, struct error **err)
{
	_cleanup_free_ char *path = journal_lock_path(r->target->path);
	int rc = file_lock(path, &r->lock_fd, err);
	if (rc == -ERROR_BUSY) {
		error_clear(err);
		return error_set(err, ERROR_REFUSED, "another kube-rekey is at work on %s", r->target->path);
	}
	if (rc < 0)
		return rc;
	_cleanup_free_ char *holder = kube_lock_holder();
	return kube_lock_take(&r->cluster->kube, holder, &r->lock, err);
}

void rotation_unlock(struct rotation *r)
{
	kube_lock_release(r->lock);
	r->lock = NULL;
	if (r->lock_fd >= 0)
		close(r->lock_fd);
	r->lock_fd = -1;
}

/* --- writing a step --- */

/* The text that a step is made from: the person's own target file once nothing but reading changes up to the end,
 * else the present one. */
static const struct encryption_config *base_of(const struct rotation *r, const struct encryption_config *present,
					       size_t step)
{
	const struct path *path = r->journal->path;
	for (size_t i = step; r->to_config && i + 1 < path->count; i++)
		if (path_changes_write_key(path, i))
			return present;
	return r->to_config ? r->to_config : present;
}

static int make_text(const struct rotation *r, const struct encryption_config *present, size_t step,
		     struct secret **ret, struct error **err)
{
	_cleanup_secret_ random = secret_random(12);
	_cleanup_free_ char *nonce = text_hex(secret_data(random), secret_len(random));
	struct keyring keyring = keys_view(&r->keys);
	return encryption_config_edit(base_of(r, present, step), r->journal->path->steps[step], &keyring, nonce, ret,
				      err);
}

int rotation_rehearse(const struct rotation *r, const struct encryption_config *first, struct error **err)
{
	_cleanup_(encryption_config_freep) struct encryption_config *made = NULL;
	for (size_t step = 1; step < r->journal->path->count; step++) {
		_cleanup_secret_ text = NULL;
		struct encryption_config *next = NULL;
		int rc = make_text(r, made ? made : first, step, &text, err);
		if (rc == 0)
			rc = encryption_config_parse(r->target->path, text, &next, err);
		if (rc < 0) {
			error_set_hint(err, "nothing was changed: step %zu of this rotation could not be written",
				       step);
			return rc;
		}
		encryption_config_free(made);
		made = next;
	}
	return 0;
}

/* Copies of the new keys, which no file that is put back takes away. */
static int hold_new_keys(struct rotation *r, struct error **err)
{
	return r->target->manual
		       ? 0
		       : new_keys_hold(r->held_directory, &r->journal->new_keys, &r->keys, r->journal->rotation, err);
}

int rotation_copy_new_keys(struct rotation *r, struct error **err)
{
	bool made = false;
	for (size_t i = 0; i < r->keys.count; i++) {
		const struct keyring_entry *key = &r->keys.entries[i];
		_cleanup_free_ char *label = xasprintf("%s/%s", provider_name(key->type), key->name);
		_cleanup_free_ char *place = NULL;
		if (!strings_has(&r->journal->new_keys, label))
			continue;
		int rc = new_key_copy(r->new_key_seal, r->options.state_directory, key->type, key->name, key->bytes,
				      &place, err);
		if (rc < 0)
			return rc;
		rotation_note(r, "a sealed copy of the new key is in %s", place);
		made = true;
	}
	r->journal->copied = made;
	return 0;
}

/* What has to be on disk before the step: keys that leave by it, and the copy of a key that comes or is about to write. */
static int prepare(struct rotation *r, int from, int to, struct error **err)
{
	const struct path *path = r->journal->path;
	bool drops = from >= 0 && to == from + 1 && path_drops(path, (size_t)from);
	/* A key that an older file brought back after it was retired, or that we put back: it is to be retired again. An agent's
	 * orders say so. */
	if (r->lock && (drops || to + 1 < (int)path->count))
		r->retired = r->journal->retired = false;
	if (from < 0 || to != from + 1)
		return 0;
	int rc = drops ? old_keys_save(&r->old_key, path, (size_t)from, &r->keys, r->journal->rotation, err) : 0;
	if (rc == 0)
		rc = hold_new_keys(r, err);
	if (rc < 0 || !path_changes_write_key(path, (size_t)from))
		return rc;
	if (rotation_new_key_is_alone(r))
		rotation_note(r, "the new key writes from now on, and its only copy is in %s: " ONLY_COPY_RISK,
			      r->target->path);
	return r->new_key_seal && !r->journal->copied ? rotation_copy_new_keys(r, err) : 0;
}

/* The Lease may have been lost while we slept: then somebody else may be deciding. One that is only late (a server that
 * restarts renews nothing) is waited for: *ret_late. An agent has none: its orders are fenced. */
static int still_ours(struct rotation *r, bool *ret_late, struct error **err)
{
	bool held = !r->lock || kube_lock_deadline(r->lock) > clock_monotonic();
	const char *lost_to = held ? NULL : kube_lock_lost_to(r->lock);
	*ret_late = !held && !lost_to;
	rotation_trouble(r, *ret_late ? "the Lease " LOCK_NAMESPACE "/" LOCK_NAME " could not be renewed" : NULL);
	if (!lost_to)
		return 0;
	int rc = error_set(err, ERROR_REFUSED, "the Lease %s/%s was lost%s%s: another kube-rekey may have begun",
			   LOCK_NAMESPACE, LOCK_NAME, *lost_to ? " to " : "", lost_to);
	error_set_hint(err, "nothing was changed without it; run the same command again");
	return rc;
}

/* A key that has to come back and that nobody here holds any more: only a person may have it. */
static int rescue_blocked(struct rotation *r, struct error **err)
{
	rotation_block(r,
		       xasprintf("%s is older than values in etcd or than what was written, and the step that mends it "
				 "cannot be made: %s",
				 r->target->path, error_message(*err)));
	error_clear(err);
	return 0;
}

/* A Rescue that only adds a read key takes nothing from anybody, whoever decides meanwhile; and a server that does not start
 * for want of that key renews no Lease. */
static bool needs_lease(const struct rotation *r, const struct decision *d, int from)
{
	const struct path *path = r->journal->path;
	return !d->rescue || d->to_step != from + 1 || path_drops(path, (size_t)from) ||
	       path_changes_write_key(path, (size_t)from);
}

static int replace(struct rotation *r, const struct decision *d, const struct target_content *present,
		   struct error **err)
{
	_cleanup_secret_ text = NULL;
	/* By its meaning where the bytes are not ours: a comment that somebody added makes no other step of it. */
	int from = journal_step_of(r->journal, present->sha256);
	if (from == STEP_NONE)
		from = path_find(r->journal->path, encryption_config_shape(present->config));
	if (from == STEP_NONE)
		return 0; /* changed since the look: look again */
	bool late = false, lease = needs_lease(r, d, from);
	int rc = still_ours(r, &late, err);
	if (rc < 0 || (late && lease))
		return rc;
	keys_add_config(&r->keys, present->config); /* what was put back may have a key that is forgotten here */
	if (from == 0 && !d->rescue)
		rc = rotation_rehearse(r, present->config, err);
	if (rc == 0)
		rc = prepare(r, from, d->to_step, err);
	if (rc == 0)
		rc = make_text(r, present->config, (size_t)d->to_step, &text, err);
	if (rc == -ERROR_INPUT && d->rescue)
		return rescue_blocked(r, err);
	if (rc < 0)
		return rc;
	_cleanup_free_ char *sha256 = text_sha256_tagged(secret_data(text), secret_len(text));
	/* Before the rename: after a crash between the two, both hashes are known, and what is there tells which it is. */
	journal_add_next(r->journal, d->to_step, sha256, d->rescue, r->alone);
	rc = journal_write(r->target->path, r->journal, err);
	if (rc == 0)
		rc = still_ours(r, &late, err);
	bool swapped = false;
	/* Keys and journal were made durable since the look. */
	if (rc == 0 && !(late && lease) && clock_monotonic() <= d->valid_until) {
		rc = target_write(r->target, text, d->expect_hash, err);
		swapped = rc == 0;
	}
	if (!swapped) /* the journal names one hash more: no harm */
		return rc;
	journal_in_place(r->journal, sha256);
	if (from == d->to_step && r->look.written_hash && !text_equal(present->sha256, r->look.written_hash))
		rotation_note(r,
			      "%s: somebody else writes this file, too: what was written last was not there any more",
			      r->target->path);
	look_wrote(&r->look, sha256, present->sha256, from == d->to_step, clock_monotonic());
	r->look.refused_before = r->look.refused_before || d->reason == REASON_PUT_BACK;
	quiet_again(r->quiet);
	return journal_write(r->target->path, r->journal, err);
}

static int write_step(struct rotation *r, const struct decision *d, struct error **err)
{
	struct target_content present = {0};
	if (clock_monotonic() > d->valid_until)
		return 0; /* we slept since the look: look again */
	int rc = target_read(r->target, &present, err);
	if (rc == 0 && d->expect_hash && strcmp(present.sha256, d->expect_hash) != 0)
		rc = 0; /* changed since the look: look again */
	else if (rc == 0)
		rc = replace(r, d, &present, err);
	target_content_free(&present);
	if (rc == -ERROR_CONFLICT) {
		error_clear(err); /* likewise, a moment later */
		rc = 0;
	}
	return rc;
}

/* --- canaries and settling --- */

static int need_census_map(struct rotation *r, struct error **err)
{
	return r->census ? 0 : rotation_census_now(r, err);
}

/* The window is judged by next_action: here is only since when nothing was silent, and when the canary was sent. */
static void note_settled(struct rotation *r, uint64_t sent)
{
	struct observation now = {0};
	quiet_observe(r->quiet, &now);
	r->history_ended_at = 0; /* of what was settled before */
	r->settled_began = now.quiet_since;
	r->settled_ended = now.quiet_since ? sent : 0;
	observation_forget(&now);
}

struct canary_options rotation_canary_options(const struct rotation *r)
{
	return (struct canary_options){.kube = &r->cluster->kube,
				       .server = r->look.name,
				       .etcds = r->cluster->etcds,
				       .resources = &r->cluster->resources,
				       .map = r->census ? &r->census->map : NULL,
				       .path = r->journal->path};
}

static int canary(struct rotation *r, const struct decision *d, struct error **err)
{
	_cleanup_error_ failed = NULL;
	int rc = need_census_map(r, err);
	if (rc < 0 || !r->census)
		return rc;
	struct canary_options options = rotation_canary_options(r);
	uint64_t sent = loop_now(r->cluster->loop);
	int step = STEP_NONE;
	if (canary_possible(r->journal->path)) {
		rc = canary_write(&options, d->step, &step, &failed);
		if (rc < 0) {
			rotation_trouble(r, error_message(failed)); /* a refusal is a wait */
			return rc == -ERROR_REFUSED ? error_set(err, ERROR_REFUSED, "%s", error_message(failed)) : 0;
		}
		r->look.canary_step = step;
		r->look.canary_at = sent;
		r->look.canary_process = r->look.process;
	}
	/* Not at once again: each try is a write. */
	bool shown = !canary_possible(r->journal->path) || step == d->step || step == d->step + 1;
	bool follows = path_follows_kms(r->journal->path);
	rotation_trouble(r, follows ? rotation_kms_canary(r, shown)
			    : shown ? NULL
				    : "the canary is under another key than the configuration writes with");
	if (d->phase == PHASE_SETTLE && (step == d->step || !canary_possible(r->journal->path)))
		note_settled(r, sent);
	return 0;
}

/* --- the census --- */

static void forget_stale(void *arg)
{
	struct rotation *r = arg;
	for (size_t i = 0; i < r->stale_count; i++) {
		free(r->stale[i].namespace_);
		free(r->stale[i].name);
	}
	free(r->stale);
	r->stale = NULL;
	r->stale_count = 0;
	r->stale_complete = true;
}

static void take_stale(void *arg, const struct kube_resource *resource, const char *namespace_, const char *name)
{
	struct rotation *r = arg;
	if (r->stale_count == STALE_NAMED_MAX) {
		r->stale_complete = false;
		return;
	}
	if (r->stale_count % 64 == 0)
		r->stale = xreallocarray(r->stale, r->stale_count + 64, sizeof(*r->stale));
	r->stale[r->stale_count++] =
		(struct sweep_object){resource, namespace_ ? xstrdup(namespace_) : NULL, xstrdup(name)};
}

uint64_t rotation_objects(const struct rotation *r)
{
	const struct path *path = r->journal->path;
	uint64_t objects = 0;
	for (size_t i = 0; r->census && i < r->census->resource_count; i++) {
		const struct census_resource *resource = &r->census->resources[i];
		if (config_shape_rule(path->steps[0], resource->entry->storage) ||
		    config_shape_rule(path->steps[path->count - 1], resource->entry->storage))
			objects += resource->objects;
	}
	return objects;
}

static void census_failed(struct rotation *r, const char *why)
{
	uint64_t now = loop_now(r->cluster->loop);
	census_observation_free(&r->census_seen);
	r->census_seen = (struct census_observation){.begun = now, .finished = now, .why = xstrdup(why)};
	r->seen.census = r->census_seen; /* lent: what it pointed to is gone */
	rotation_trouble(r, why);
}

/* Discovery again after the census (rule 3b): a resource that came to be served meanwhile was not in the map. */
static int same_resources(struct rotation *r, struct census **census, struct error **err)
{
	bool changed = false;
	int rc = cluster_refresh_resources(r->cluster, &changed, err);
	if (rc == 0 && changed)
		rc = error_set(err, ERROR_CONFLICT, "the API server serves other resources than before the census");
	if (rc < 0) {
		census_free(*census);
		*census = NULL;
	}
	return rc;
}

/* A file that names a plugin that is followed may gain a comment; what a pipeline has of ours may be cleared away already. */
static const struct config_shape *shape_of_now(const struct rotation *r, const struct target_content *present)
{
	const struct path *path = r->journal->path;
	if (path_follows_kms(path))
		return path->steps[0];
	return r->cleared ? path->steps[path->count - 1] : encryption_config_shape(present->config);
}

int rotation_census_now(struct rotation *r, struct error **err)
{
	struct target_content present = {0};
	struct census *census = NULL;
	_cleanup_error_ failed = NULL;
	bool changed = false;
	rotation_watch(r);
	int rc = quiet_refresh(r->quiet, &changed, &failed);
	if (changed)
		r->settled_began = r->settled_ended = 0;
	if (rc == 0)
		rc = target_read(r->target, &present, &failed);
	forget_stale(r);
	if (rc == 0) {
		struct census_options options = {
			.loop = r->cluster->loop,
			.kube = &r->cluster->kube,
			.etcds = r->cluster->etcds,
			.etcd_count = r->cluster->etcd_count,
			.etcd_prefix = r->cluster->etcd_prefix,
			.resources = &r->cluster->resources,
			.shape = shape_of_now(r, &present),
			.path = r->journal->path,
			.open_with = present.config,
			/* Beside whoever hands files to others there are none. */
			.ask_plugins = r->options.open_kms && !r->target->manual,
			.calls = &r->census_calls,
			.tell_key_ids = r->tell_key_ids,
			.whole_keyspace = true,
			.foreign_prefixes = &r->foreign_prefixes,
			.go_on_when_compacted = r->settled_ended != 0,
			.on_progress = r->options.on_census,
			.arg = r->options.arg,
			.on_stale = take_stale,
			.stale_arg = r,
			.on_again = forget_stale,
			.again_arg = r,
		};
		rc = census_take(&options, &census, &failed);
		r->census_calls = 0;
	}
	target_content_free(&present);
	if (rc == 0)
		rc = same_resources(r, &census, &failed);
	if (rc == -ERROR_REFUSED || rc == -ERROR_INTERRUPTED) {
		error_free(*err);
		*err = steal(failed);
		return rc;
	}
	if (rc < 0) {
		census_failed(r, error_message(failed));
		return 0;
	}
	census_free(r->census);
	r->census = census;
	census_observation_free(&r->census_seen);
	census_observe(census, &r->census_seen);
	rotation_kms_seen(r);
	rotation_report_census(r);
	uint64_t interval = r->cluster->compaction_interval;
	r->census_seen.compaction_expected = interval ? census->finished + 2 * interval + 60 * NS_PER_S : 0;
	r->seen.census = r->census_seen;
	r->compaction_asked = 0;
	rotation_trouble(r, census->complete ? NULL : census->why);
	if (r->journal->objects_before == 0)
		r->journal->objects_before = rotation_objects(r);
	return aesgcm_check(&r->journal->new_keys, rotation_objects(r), r->options.allow_aesgcm, err);
}

/* --- the sweep --- */

/* A file that is put back from outside lacks the key that is being written with: nobody but us sees that. */
static enum sweep_wish while_the_file_stands(void *arg, struct throttle_options *speed)
{
	struct rotation *r = arg;
	uint64_t now = loop_now(r->cluster->loop);
	(void)speed;
	joiners_look(&r->joiners, now);
	if (r->joiners.joined)
		return SWEEP_GIVE_UP;
	/* Of a pipeline's file the server's metrics tell. */
	if (r->target->manual || now < r->file_checked_at + FILE_CHECK_INTERVAL)
		return SWEEP_GO_ON;
	r->file_checked_at = now;
	_cleanup_free_ char *sha256 = NULL;
	bool same = file_sha256(r->target->path, ENCRYPTION_CONFIG_MAX, &sha256, NULL) == 0 &&
		    text_equal(sha256, r->seen.servers[0].file_hash);
	/* One that is being written, or that could not be read once, is looked at again. */
	r->file_differed = same ? 0 : r->file_differed + 1;
	return r->file_differed < FILE_DIFFERS ? SWEEP_GO_ON : SWEEP_GIVE_UP;
}

static void show_sweep(void *arg, const struct sweep_progress *progress)
{
	const struct rotation *r = arg;
	if (r->options.on_sweep)
		r->options.on_sweep(r->options.arg, progress);
}

static void note_sweep(void *arg, const char *text)
{
	rotation_note(arg, "%s", text);
}

/* By the last census, for each of `resources`; NULL where there was none. */
static uint64_t *expected_objects(const struct census *census, const struct kube_resource *const *resources,
				  size_t count)
{
	if (!census)
		return NULL;
	uint64_t *expected = xcalloc(count, sizeof(*expected));
	for (size_t i = 0; i < census->resource_count; i++)
		for (size_t k = 0; k < count; k++)
			if (census->resources[i].entry->resource == resources[k])
				expected[k] += census->resources[i].objects;
	return expected;
}

static int reencrypt(struct rotation *r, const struct decision *d, struct error **err)
{
	size_t count = 0;
	const struct config_shape *shape = r->journal->path->steps[d->step];
	_cleanup_free_ const struct kube_resource **resources = sweep_resources(shape, &r->cluster->resources, &count);
	struct sweep_result *result = NULL;
	r->file_differed = 0;
	_cleanup_free_ uint64_t *expected = expected_objects(r->census, resources, count);
	struct sweep_options options = {
		.loop = r->cluster->loop,
		.kube = &r->cluster->kube,
		.resources = resources,
		.resource_count = count,
		.mode = r->options.mode,
		.speed = r->options.speed,
		.deadline = r->options.deadline,
		.etcds = r->cluster->etcds,
		.etcd_count = r->cluster->etcd_count,
		.watch_kms = config_shape_has_kms(shape),
		.proved_afterwards = !d->named_only,
		.expected = expected,
		.wish = while_the_file_stands,
		.on_progress = show_sweep,
		.on_note = note_sweep,
		.arg = r,
	};
	if (d->named_only && r->stale_complete && r->stale_count > 0) {
		options.named = r->stale;
		options.named_count = r->stale_count;
	}
	joiners_begin(&r->joiners, &r->cluster->kube, &r->journal->servers, loop_now(r->cluster->loop));
	int rc = sweep_run(&options, &result, err);
	_cleanup_free_ char *joined = steal(r->joiners.joined);
	joiners_end(&r->joiners);
	if (result) {
		r->sweep = (struct sweep_observation){.step = d->step,
						      .begun = result->begun,
						      .finished = result->finished,
						      .rewritten = result->rewritten,
						      .quarantined = result->quarantined,
						      .skipped = result->objects - result->rewritten};
		rotation_report_sweep(r, result);
	}
	sweep_result_free(result);
	if (rc == -ERROR_CONFLICT) {
		error_clear(err); /* look again */
		_cleanup_free_ char *why = joined ? xasprintf("%s joined", joined) : xstrdup("the file changed");
		_cleanup_free_ char *text = xasprintf("the sweep was stopped: %s meanwhile", why);
		rotation_trouble(r, text);
		rc = 0;
	}
	return rc;
}

/* --- the end --- */

static int compact(struct rotation *r, struct error **err)
{
	bool late = false;
	int rc = still_ours(r, &late, err);
	if (rc < 0 || late)
		return rc;
	_cleanup_error_ failed = NULL;
	for (size_t e = 0; rc == 0 && e < r->cluster->etcd_count; e++)
		rc = etcd_compact(r->cluster->etcds[e], r->census->etcds[e].revision, &failed);
	r->compaction_asked = 0;
	if (rc < 0 && rc != -ERROR_NETWORK && rc != -ERROR_BUSY)
		return error_set(err, error_code(failed), "compacting etcd: %s", error_message(failed));
	rotation_trouble(r, rc < 0 ? error_message(failed) : NULL);
	return 0;
}

static int read_sample(struct rotation *r, const struct decision *d, struct error **err)
{
	size_t count = 0;
	struct read_back_result result;
	_cleanup_free_ const struct kube_resource **resources =
		sweep_resources(r->journal->path->steps[d->step], &r->cluster->resources, &count);
	uint64_t began = loop_now(r->cluster->loop);
	int rc = read_back(&r->cluster->kube, resources, count, &result, err);
	bool refused = refusals_may_pass(&r->read_refusals, rc, clock_monotonic());
	if (rc == -ERROR_NETWORK || rc == -ERROR_BUSY || refused) {
		rotation_trouble(r, error_message(*err));
		error_clear(err);
		return 0;
	}
	if (rc < 0)
		return rc;
	r->reads_checked_at = began;
	_cleanup_free_ char *line =
		xasprintf("%llu objects in %llu namespaces read back past every cache",
			  (unsigned long long)result.objects, (unsigned long long)result.namespaces);
	strings_add(&r->report->evidence, line);
	return 0;
}

static int retire(struct rotation *r, const struct decision *d, struct error **err)
{
	_cleanup_strings_ labels = {0};
	bool late = false;
	int rc = still_ours(r, &late, err);
	if (rc < 0 || late || clock_monotonic() > d->valid_until)
		return rc;
	for (size_t i = 0; i + 1 < r->journal->path->count; i++)
		old_keys_of_step(r->journal->path, i, &labels);
	strings_free(&r->report->remains); /* of an earlier time, if what was retired came back */
	/* Remembered before it is gone, whatever stops us in between. */
	rc = retired_remember(r->options.state_directory, r->journal->path, &labels, err);
	if (rc == 0)
		rc = old_keys_retire(&r->old_key, &labels, &r->report->remains, err);
	/* It may have been the new key of a rotation that was set aside. */
	if (rc == 0)
		rc = new_keys_let_go(r->held_directory, &labels, err);
	if (rc < 0)
		return rc;
	keys_forget(&r->keys, &labels);
	r->retired = r->journal->retired = r->old_key.left_before = true;
	return journal_write(r->target->path, r->journal, err);
}

int rotation_act(struct rotation *r, const struct decision *d, struct error **err)
{
	switch (d->action) {
	case ACTION_WRITE_STEP:
		return write_step(r, d, err);
	case ACTION_CANARY:
		return canary(r, d, err);
	case ACTION_REENCRYPT:
		return reencrypt(r, d, err);
	case ACTION_CENSUS:
		return rotation_census_now(r, err);
	case ACTION_COMPACT:
		return compact(r, err);
	case ACTION_READ_BACK:
		return read_sample(r, d, err);
	case ACTION_RETIRE:
		return retire(r, d, err);
	case ACTION_RESTART: /* an agent's; here a person does it */
	case ACTION_WAIT:
	case ACTION_BLOCKED:
	case ACTION_DONE:
		break;
	}
	return 0;
}
