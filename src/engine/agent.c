/* Read the order past every cache, look at the node, judge, do one small step, report. */
#include "engine/agent_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "client/kube/custom.h"
#include "client/kube/refusals.h"
#include "engine/asked.h"
#include "engine/intent.h"
#include "engine/retired.h"
#include "engine/key_rotation_fetch.h"

/* Turns come when an order does; at these times, or FLEET_INTERVAL, whatever happens, sooner while something is awaited. */
#define AWAKE_INTERVAL NS_PER_S
#define TURN_SPACING (NS_PER_S / 5)
#define IDENTITY_ASK (10 * NS_PER_S)
#define IDENTITY_GOOD (15 * NS_PER_S)
#define COMPACTION_ASK (2 * NS_PER_S)
#define SIZES_ASK NS_PER_S
#define SIZES_TIMEOUT NS_PER_S
#define READ_TIMEOUT (5 * NS_PER_S)
#define UID_INTERVAL (10 * NS_PER_S)
#define BEGIN_PAUSE (2 * NS_PER_S)

void agent_note(const struct agent *agent, const char *fmt, ...)
{
	char text[1024];
	va_list args;
	if (!agent->options->on_note)
		return;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	agent->options->on_note(agent->options->arg, text);
}

void agent_trouble(struct agent *agent, const char *text)
{
	if (agent->trouble)
		return;
	if (!text_equal(text, agent->noted))
		agent_note(agent, "%s", text);
	free(agent->noted);
	agent->noted = xstrdup(text);
	agent->trouble = xstrdup(text);
}

/* A turn begins. What the one before was noted for is noted again only after a turn without. */
static void forget_trouble(struct agent *agent)
{
	if (!agent->trouble)
		free(steal(agent->noted));
	free(steal(agent->trouble));
}

/* --- what is ordered --- */

static int read_rotation(struct agent *agent, struct kube *kube, struct error **err)
{
	const char *name = agent->self ? agent->self->last->spec.rotation_name : NULL;
	key_rotation_free(steal(agent->rotation));
	if (!name)
		return 0;
	int rc = key_rotation_fetch(kube, name, READ_TIMEOUT, &agent->rotation, err);
	return error_forgive(err, rc, ERROR_NOT_FOUND);
}

static int read_by(struct agent *agent, struct kube *kube, struct error **err)
{
	uint64_t now = clock_monotonic();
	int rc = fleet_read(&agent->fleet, kube, err);
	agent->self = fleet_find(&agent->fleet, agent->options->node_name);
	if (rc == 0)
		rc = read_rotation(agent, kube, err);
	agent->read_at = rc == 0 ? now : 0;
	return rc;
}

static void read_orders(struct agent *agent)
{
	_cleanup_error_ failed = NULL;
	uint64_t now = clock_monotonic();
	int rc = agent_ask(agent, read_by, &failed);
	if (rc == 0) {
		agent_know_servers(agent);
		agent_hear_retired(agent);
		agent->away_since = 0;
		return;
	}
	if (agent->away_since == 0)
		agent->away_since = now;
	_cleanup_free_ char *why = error_with_hint(failed);
	agent_trouble(agent, why);
}

/* The rotation of the state as it is now: *ret NULL where it is gone, or another object has its name. */
static int read_acknowledged(struct agent *agent, struct key_rotation **ret, struct error **err)
{
	int rc = key_rotation_fetch(agent_api(agent), agent->disk.rotation_name, READ_TIMEOUT, ret, err);
	if (rc == -ERROR_NOT_FOUND && !error_hint(*err))
		return error_forgive(err, rc, ERROR_NOT_FOUND);
	if (rc == 0 && !text_equal((*ret)->meta.uid, agent->disk.rotation))
		key_rotation_free(steal(*ret));
	return rc;
}

/* Whether the rotation of the state has ended: it says so, or another object has its name, or none has. */
static bool rotation_over(struct agent *agent)
{
	_cleanup_error_ failed = NULL;
	_cleanup_(key_rotation_freep) struct key_rotation *rotation = NULL;
	if (!agent->disk.rotation)
		return true;
	return read_acknowledged(agent, &rotation, &failed) == 0 && (!rotation || rotation->status.outcome);
}

/* --- the path of the rotation that was acknowledged --- */

static bool same_path(const struct path *a, const struct path *b)
{
	bool same = a->count == b->count;
	for (size_t i = 0; same && i < a->count; i++)
		same = config_shape_equal(a->steps[i], b->steps[i]);
	return same;
}

/* The path that the rotation goes now, forward or back; NULL where it has none that can be gone. */
static struct path *path_now(const struct key_rotation *rotation)
{
	struct path *path = NULL;
	if (rotation->status.step_count == 0 || key_rotation_path(rotation, &path, NULL) < 0)
		return NULL;
	return path;
}

static bool on_this_path(const struct journal *journal, const struct key_rotation *rotation)
{
	_cleanup_(path_freep) struct path *path = path_now(rotation);
	return path && text_equal(journal->rotation, rotation->meta.uid) &&
	       journal->going_back == key_rotation_goes_back(rotation) && same_path(journal->path, path);
}

static struct journal *journal_of_rotation(const struct key_rotation *rotation, struct path *path)
{
	const struct key_rotation_status *status = &rotation->status;
	struct journal *journal = xcalloc(1, sizeof(*journal));
	const struct config_shape *from = path->steps[0], *to = path->steps[path->count - 1];
	journal->rotation = xstrdup(rotation->meta.uid);
	journal->started = xstrdup(status->started_at ? status->started_at : "");
	journal->request = xstrdup(rotation->meta.name);
	intent_old_keys(from, to, &journal->old_keys);
	intent_new_keys(from, to, &journal->new_keys);
	journal->path = path;
	journal->going_back = key_rotation_goes_back(rotation);
	return journal;
}

static void labels_of(const struct config_shape *shape, struct strings *ret)
{
	for (size_t r = 0; r < shape->rule_count; r++)
		for (size_t k = 0; k < shape->rules[r].key_count; k++) {
			_cleanup_free_ char *label = config_key_label(&shape->rules[r].keys[k]);
			strings_add(ret, label);
		}
}

/* The file's bytes count, whatever was under these names before. */
static void take_keys_of(struct rotation *node, const struct encryption_config *config)
{
	_cleanup_strings_ labels = {0};
	labels_of(encryption_config_shape(config), &labels);
	keys_forget(&node->keys, &labels);
	keys_add_config(&node->keys, config);
}

/* A rotation begins with the file as it is, where that is its first configuration. Where the journal was lost with the file's
 * directory, what was written is known all the same; on the way back nothing tells which way that counts. */
static void join(struct agent *agent, struct path *path)
{
	struct rotation *node = agent->node;
	struct target_content content = {0};
	if (target_read(node->target, &content, NULL) < 0) {
		path_free(path);
		return;
	}
	struct journal *journal = journal_of_rotation(agent->rotation, path);
	bool back = key_rotation_goes_back(agent->rotation);
	int first = back ? (int)path->count - 1 : 0;
	if (path_find(path, encryption_config_shape(content.config)) == first)
		journal_add_hash(journal, first, content.sha256, false);
	take_keys_of(node, content.config);
	target_content_free(&content);
	rotation_take_journal(node, journal);
	if (back)
		agent->disk.written_step = STEP_NONE;
	_cleanup_error_ failed = NULL;
	if (rotation_load_kept(node, &failed) < 0)
		agent_trouble(agent, error_message(failed));
}

static int turned(int step, int from)
{
	return step == STEP_NONE || step > from ? STEP_NONE : from - step;
}

/* The same steps, counted the other way; keys that came are those that leave. No step on disk is ever taken for one of the
 * other way: what was written last is not known until the journal is there. */
static int turn_back(struct agent *agent, struct path *back, struct error **err)
{
	struct rotation *node = agent->node;
	struct journal *journal = node->journal;
	int from = (int)back->count - 1;
	int written = agent->disk.written_step;
	/* No file ever had them. */
	int rc = from == 0 ? new_keys_let_go(node->held_directory, &journal->new_keys, err) : 0;
	if (rc < 0)
		return rc;
	strings_free(&journal->old_keys);
	strings_free(&journal->new_keys);
	intent_old_keys(back->steps[0], back->steps[from], &journal->old_keys);
	intent_new_keys(back->steps[0], back->steps[from], &journal->new_keys);
	journal_turn_back(journal, back);
	journal->retired = node->retired = false;
	node->look.ran_step = turned(node->look.ran_step, from);
	agent->disk.written_step = agent->unseen_step = STEP_NONE;
	rc = agent_disk_save(agent->options->state_directory, &agent->disk, err);
	if (rc == 0)
		rc = journal_write(node->target->path, journal, err);
	agent->disk.written_step = turned(written, from);
	return rc == 0 ? agent_disk_save(agent->options->state_directory, &agent->disk, err) : rc;
}

/* Steps that no rotation would go, or other ones than those that were begun with: what it says is nothing to this agent. The
 * way back is reckoned here, over steps that were judged as a whole. */
static bool is_lawful(const struct journal *journal, const struct key_rotation *rotation, const struct path *whole,
		      const struct path *now)
{
	bool begun = text_equal(journal->rotation, rotation->meta.uid);
	return now && path_is_lawful(whole) && (!begun || (!journal->going_back && same_path(journal->path, whole)));
}

/* Then values may be under a key that would be taken away on the way back. */
static bool was_further(const struct agent *agent, int from)
{
	const struct observation *seen = &agent->node->seen;
	const struct server_observation *own = seen->server_count > 0 ? &seen->servers[0] : NULL;
	return agent->disk.written_step > from || (own && (own->file_step > from || own->loaded_step > from));
}

/* The path of the rotation that was acknowledged: begun, or gone back on. */
static int take_path(struct agent *agent, struct error **err)
{
	const struct key_rotation *rotation = agent->rotation;
	const struct journal *journal = agent->node->journal;
	if (!rotation || rotation->status.outcome || rotation->status.step_count == 0 ||
	    on_this_path(journal, rotation) || !text_equal(rotation->meta.uid, agent->disk.rotation))
		return 0;
	_cleanup_(path_freep) struct path *path = path_now(rotation);
	_cleanup_(path_freep) struct path *whole = path_of_steps(rotation->status.steps, rotation->status.step_count);
	if (!is_lawful(journal, rotation, whole, path)) {
		agent_trouble(agent, "refused: the rotation's steps are no path that kube-rekey would go");
		return 0;
	}
	_cleanup_error_ failed = NULL;
	if (asked_leads_there(&rotation->spec, key_rotation_created(rotation), whole, &failed) < 0 ||
	    (!key_rotation_goes_back(rotation) && retired_check(agent->options->state_directory, whole->steps[0],
								whole->steps[whole->count - 1], &failed) < 0) ||
	    agent_take_policy(agent, &failed) < 0 ||
	    old_keys_check(&agent->node->old_key, path, 0, &agent->node->keys, &failed) < 0) {
		agent_trouble(agent, error_message(failed));
		return 0;
	}
	if (!text_equal(journal->rotation, rotation->meta.uid)) {
		join(agent, steal(path));
		return 0;
	}
	if (was_further(agent, (int)path->count - 1)) {
		agent_trouble(agent, "refused: this node was further than the rotation goes back from");
		return 0;
	}
	return turn_back(agent, steal(path), err);
}

/* What a rotation needed on this disk goes with it; retired keys stay as they were treated. */
static int clean_up(struct agent *agent, struct error **err)
{
	struct rotation *node = agent->node;
	struct target_content content = {0};
	int rc = target_clean(node->target, true, err);
	if (rc == 0)
		rc = new_keys_let_go(node->held_directory, &node->journal->new_keys, err);
	if (rc == 0)
		rc = journal_remove(node->target->path, err);
	if (rc == 0)
		rc = target_read(node->target, &content, err);
	if (rc < 0)
		return rc;
	keys_free(&node->keys);
	keys_add_config(&node->keys, content.config);
	rotation_take_journal(node, journal_of_present(encryption_config_shape(content.config), content.sha256));
	target_content_free(&content);
	object_release(&key_server_status_record, &agent->told->status);
	object_defaults(&key_server_status_record, &agent->told->status);
	return 0;
}

/* Whether a rotation is over for this node is told by what was done here, which went before the end that the object tells of:
 * all its keys were retired, on this agent's own census. Else values may need the keys that are held here. */
static int leave(struct agent *agent, struct error **err)
{
	const struct key_rotation *rotation = agent->rotation;
	const struct journal *journal = agent->node->journal;
	if (!rotation || !rotation->status.outcome || !text_equal(journal->rotation, rotation->meta.uid))
		return 0;
	if (journal->retired)
		return clean_up(agent, err);
	_cleanup_free_ char *why = xasprintf("rotation %s is said to be over, and its keys were not retired here: "
					     "copies of them stay in %s",
					     rotation->meta.name, agent->node->held_directory);
	agent_trouble(agent, why);
	return 0;
}

/* The next rotation was ordered before the end of this one was seen, or this one is gone. */
static int leave_late(struct agent *agent, struct error **err)
{
	const struct journal *journal = agent->node->journal;
	if (!agent->disk.rotation || !text_equal(journal->rotation, agent->disk.rotation))
		return 0;
	if (journal->retired)
		return clean_up(agent, err);
	agent_note(agent, "rotation %s was not finished here: copies of its keys stay in %s", agent->disk.rotation_name,
		   agent->node->held_directory);
	return 0;
}

/* --- looking --- */

/* Who is about to take a step looks at once: a server that has just joined counts. */
static void find_identity(struct agent *agent)
{
	struct kube *kube = agent_api(agent);
	struct kube_identities identities = {0};
	const char *id_hash = agent->node->look.seen_id_hash;
	uint64_t now = clock_monotonic();
	if (agent->identity_asked && now < agent->identity_asked + IDENTITY_ASK && !agent->at_work)
		return;
	agent->identity_asked = now;
	if (kube_identities_fetch(kube, &identities, NULL) < 0)
		return;
	kube_identities_free(&agent->identities);
	agent->identities = identities;
	agent->identities_at = now;
	for (size_t i = 0; id_hash && i < identities.count; i++)
		if (text_equal(identities.items[i].id_hash, id_hash)) {
			free(agent->identity);
			agent->identity = xstrdup(identities.items[i].lease_name);
		}
}

static void ask_for_compaction(struct agent *agent)
{
	struct rotation *node = agent->node;
	uint64_t now = clock_monotonic();
	/* Only a rotation waits for it. */
	if (!node->quiet || !node->census || node->census_seen.compacted ||
	    now < node->compaction_asked + COMPACTION_ASK)
		return;
	node->compaction_asked = now;
	if (census_is_compacted(node->census, node->cluster->etcds, node->cluster->etcd_count,
				&node->census_seen.compacted, NULL) < 0)
		node->census_seen.compacted = false;
}

/* For the controller, which does not reach etcd: its sweep must not fill it. What stays old shows by its age. */
static void ask_for_sizes(struct agent *agent)
{
	const struct cluster *cluster = agent->node->cluster;
	uint64_t now = clock_monotonic();
	if (!agent->node->quiet || now < agent->sizes_asked + SIZES_ASK)
		return;
	agent->sizes_asked = now;
	for (size_t e = 0; e < cluster->etcd_count; e++)
		(void)!etcd_ask_statuses(cluster->etcds[e], SIZES_TIMEOUT, NULL);
}

/* Without it in the report the controller orders another. */
static void forget_census(struct rotation *node)
{
	census_observation_free(&node->census_seen);
	node->seen.census = node->census_seen; /* lent: what it pointed to is gone */
}

/* Silence is watched for a rotation only: it asks each member of etcd each second. */
static void watch_etcd(struct agent *agent)
{
	struct rotation *node = agent->node;
	if (agent->rotation && !agent->rotation->status.outcome) {
		/* What was found before, while nothing was rotated, is nothing to a rotation. */
		if (!node->quiet)
			forget_census(node);
		rotation_watch(node);
	} else if (agent->read_at != 0 && node->quiet) {
		/* With it goes what etcd had shown: that it went back afterwards, nobody would see. */
		forget_census(node);
		quiet_stop(node->quiet);
		node->quiet = NULL;
	}
}

/* What cannot be noted down now either, the next process finds out again. */
static void note_written(struct agent *agent, int step)
{
	const struct rotation *node = agent->node;
	_cleanup_error_ failed = NULL;
	agent->disk.written_step = step;
	if (agent_disk_save(agent->options->state_directory, &agent->disk, &failed) < 0 ||
	    journal_write(node->target->path, node->journal, &failed) < 0)
		agent_note(agent, "%s", error_message(failed));
}

static bool has_written(const struct journal *journal, int step)
{
	for (size_t i = 0; i < journal->hash_count; i++)
		if (journal->hashes[i].step == step && !journal->hashes[i].pending)
			return true;
	return false;
}

/* A process that died between the swap and its notes of it: the file itself tells that it came to it, and the journal what this
 * node wrote last. The journal's first file is the one that was found here. */
static void find_written(struct agent *agent, const struct server_observation *own)
{
	struct rotation *node = agent->node;
	bool news = journal_in_place(node->journal, own->file_hash);
	const struct journal_hash *last = journal_written(node->journal, own->file_hash);
	bool is_last = last && last != node->journal->hashes && text_equal(last->sha256, own->file_hash);
	/* A journal that is older than what was written says nothing of it. */
	int written = agent->disk.written_step;
	bool knows = is_last && (last->step > written || (last->step < written && has_written(node->journal, written)));
	if ((news || knows) && text_equal(node->journal->rotation, agent->disk.rotation))
		note_written(agent, own->file_step);
}

/* Of the new keys those that the file brought. */
static void hold_new_keys(struct agent *agent)
{
	const struct rotation *node = agent->node;
	const struct journal *journal = node->journal;
	_cleanup_error_ failed = NULL;
	_cleanup_strings_ labels = {0};
	for (size_t i = 0; i < journal->new_keys.count; i++) {
		enum provider_type type;
		const char *name;
		if (key_label_split(journal->new_keys.items[i], &type, &name) && keys_find(&node->keys, type, name))
			strings_add(&labels, journal->new_keys.items[i]);
	}
	if (new_keys_hold(node->held_directory, &labels, &node->keys, journal->rotation, &failed) < 0)
		agent_note(agent, "%s", error_message(failed));
}

/* From now on this node goes on with the file that is there. `written`: how far it was, by what tells it. */
static void adopt(struct agent *agent, struct server_observation *own, int written)
{
	struct rotation *node = agent->node;
	struct target_content content = {0};
	if (target_read(node->target, &content, NULL) == 0 && text_equal(content.sha256, own->file_hash)) {
		take_keys_of(node, content.config);
		journal_add_hash(node->journal, own->file_step, own->file_hash, false);
		own->file_ours = true;
		agent_note(agent, "goes on from the file as it is: it means step %d of the rotation", own->file_step);
		if (written < agent->disk.written_step)
			written = agent->disk.written_step;
		note_written(agent, own->file_step > written ? own->file_step : written);
		hold_new_keys(agent);
	}
	target_content_free(&content);
}

/* A step of the rotation that it follows, and not as this node knows it. */
static bool may_adopt(const struct agent *agent, const struct server_observation *own)
{
	const struct journal *journal = agent->node->journal;
	return !own->file_ours && own->file == FACT_KNOWN && own->file_step != STEP_NONE &&
	       !text_empty(journal->rotation) && text_equal(journal->rotation, agent->disk.rotation);
}

/* What this node told last before this process, of a file of ours: its own disk may have come back from an image since. */
static void remember_report(struct agent *agent)
{
	const struct key_server_status *told = agent->self ? &agent->self->last->status : NULL;
	if (!told || agent->reported.known)
		return;
	agent->reported.known = true;
	if (!told->file_ours || text_empty(told->file_hash) || text_empty(told->path_of))
		return;
	agent->reported.file_hash = xstrdup(told->file_hash);
	agent->reported.path_of = xstrdup(told->path_of);
	agent->reported.written_step = told->written_step;
	agent->reported.going_back = told->going_back;
}

static void take_reported(struct agent *agent, struct server_observation *own)
{
	const struct journal *journal = agent->node->journal;
	bool same = agent->reported.file_hash && text_equal(agent->reported.file_hash, own->file_hash) &&
		    text_equal(agent->reported.path_of, journal->rotation) &&
		    agent->reported.going_back == journal->going_back;
	int written =
		agent->reported.written_step < (int)journal->path->count ? agent->reported.written_step : STEP_NONE;
	if (same && may_adopt(agent, own))
		adopt(agent, own, written);
}

/* Whether the file is at least as far as what was written, and lacks no key that was read then. */
static bool lacks_nothing(const struct server_observation *own, int written, const struct path *path)
{
	if (written == STEP_NONE || own->file_step < written)
		return false;
	for (int step = written; step < own->file_step; step++)
		if (path_drops(path, (size_t)step))
			return false;
	return true;
}

/* A node that comes later, or lost what it knew, goes on with the file that its server runs, where that is of the path: it may
 * be another one's, put there by a person since the new key can be had no other way. And so does one where a person put back
 * in other bytes what was written last, or whose own disk came back from an image of before the last step. What else stands
 * there was edited: a key that a person took away is not put back. */
static void take_running(struct agent *agent, struct server_observation *own)
{
	const struct rotation *node = agent->node;
	int written = agent->disk.written_step;
	bool runs = own->answering && own->loaded == FACT_KNOWN && own->loaded_is_file;
	/* Where nothing shows what it runs, another nonce will: once, for whoever writes there too is not fought. */
	bool may_run = own->answering && own->needs_second_nonce && agent->unseen_step != own->file_step;
	bool wrote_none = node->journal->hash_count == 0 || written == STEP_NONE;
	int last = own->written_step > written ? own->written_step : written;
	bool fits = wrote_none || lacks_nothing(own, last, node->journal->path);
	if (!may_adopt(agent, own) || !(runs || may_run) || !fits)
		return;
	adopt(agent, own, STEP_NONE);
	if (!runs && own->file_ours)
		agent->unseen_step = own->file_step;
}

/* The server, and what is watched anyway. */
static void see(struct agent *agent)
{
	struct rotation *node = agent->node;
	observation_forget(&node->seen);
	agent->looked_at = clock_monotonic();
	node->seen.servers = xcalloc(1, sizeof(*node->seen.servers));
	node->seen.server_count = 1;
	rotation_look_at(node, agent->looked_at);
	agent_see_restart(agent, &node->seen.servers[0]);
	find_written(agent, &node->seen.servers[0]);
	take_reported(agent, &node->seen.servers[0]);
	take_running(agent, &node->seen.servers[0]);
	if (node->quiet)
		quiet_observe(node->quiet, &node->seen);
	node->seen.census = node->census_seen;
}

static void look(struct agent *agent)
{
	struct rotation *node = agent->node;
	watch_etcd(agent);
	ask_for_compaction(agent);
	ask_for_sizes(agent);
	see(agent);
	find_identity(agent);
	if (node->quiet)
		rotation_ask_for_members(node);
}

/* --- judging --- */

static enum fact find_peers(const struct agent *agent, struct peer_sight *ret, size_t *ret_count,
			    bool *ret_plugins_well)
{
	const struct kms_look *plugins[KEY_SERVER_KMS_MAX];
	size_t plugin_count = 0;
	uint64_t now = clock_monotonic();
	bool asked = agent->identities_at && now <= agent->identities_at + IDENTITY_GOOD;
	*ret_plugins_well = agent_plugins(agent, plugins, &plugin_count);
	const struct agent_peers peers = {.name = agent->options->node_name,
					  .uid = agent->rotation->meta.uid,
					  .rotation = &agent->rotation->status,
					  .fleet = &agent->fleet,
					  .own = &agent->self->last->status,
					  .trust_key = trust_key_fingerprint(agent->options->trust),
					  .plugins = plugins,
					  .plugin_count = plugin_count,
					  .identities = asked ? &agent->identities : NULL,
					  .now = now};
	return agent_find_peers(&peers, ret, ret_count);
}

static struct order order_of(const struct key_server_spec *spec)
{
	struct order order = {.rotation = spec->rotation,
			      .epoch = spec->epoch,
			      .sequence = spec->sequence,
			      .incarnation = spec->incarnation,
			      .from_step = spec->from_step,
			      .to_step = spec->step,
			      .expect_hash = spec->expect_hash,
			      .rescue = spec->rescue,
			      .settled = spec->settled,
			      .aborted = spec->aborted,
			      .beat = spec->beat,
			      .good_for = spec->good_for_milliseconds * NS_PER_MS};
	if (text_empty(spec->action) || !order_action_from_name(spec->action, &order.action))
		order.action = ORDER_NONE;
	return order;
}

static uint64_t published_at(const struct agent *agent, uint64_t beat)
{
	return beat > 0 && beat <= agent->beat && beat + AGENT_BEATS > agent->beat
		       ? agent->published[beat % AGENT_BEATS]
		       : 0;
}

static void find_keys(const struct agent *agent, bool *ret)
{
	for (size_t i = 0; i < agent->node->journal->path->count && i < OBJECT_STEPS_MAX; i++)
		ret[i] = agent_has_keys(agent, i);
}

/* By a person's word, or by the servers' own flags: a controller's is none. */
static uint64_t settle_time(const struct agent *agent)
{
	if (agent->rotation && agent->rotation->spec.settle_seconds > 0)
		return agent->rotation->spec.settle_seconds * NS_PER_S;
	return fleet_settle_time(&agent->fleet, agent->node->cluster->request_timeout,
				 agent->node->seen.members_behind_balancer);
}

static struct verdict judge(struct agent *agent, const struct key_server_spec *spec)
{
	const struct rotation *node = agent->node;
	struct order order = order_of(spec);
	struct agent_state state = agent_disk_state(&agent->disk);
	struct peer_sight peers[KEY_SERVERS_MAX];
	bool has_keys[OBJECT_STEPS_MAX] = {false};
	struct agent_sight sight = {.own = &node->seen.servers[0],
				    .path_of = agent->rotation && on_this_path(node->journal, agent->rotation)
						       ? agent->rotation->meta.uid
						       : NULL,
				    .going_back = node->journal->going_back,
				    .has_keys = has_keys,
				    .away = agent->read_at == 0,
				    .away_since = agent->away_since,
				    .read_at = agent->read_at,
				    .beat_at = published_at(agent, spec->beat),
				    .peers = peers,
				    .census = node->census_seen.finished ? &node->census_seen : NULL,
				    .census_settled = agent_census_settled(agent),
				    .etcd_back_at = node->seen.etcd_back_at,
				    .quiet_since = node->seen.quiet_since,
				    .settle_time = settle_time(agent)};
	find_keys(agent, has_keys);
	if (order.epoch > state.epoch && !text_equal(order.rotation, state.rotation))
		sight.rotation_over = rotation_over(agent);
	sight.peers_known = agent->rotation && agent->self
				    ? find_peers(agent, peers, &sight.peer_count, &sight.plugins_well)
				    : FACT_UNKNOWN;
	struct verdict verdict = order_judge(node->journal->path, &order, &state, &sight, clock_monotonic());
	agent->settled = order_settled(&sight, clock_monotonic());
	for (size_t i = 0; i < sight.peer_count; i++)
		server_observation_free(&peers[i].seen);
	return verdict;
}

/* --- acting --- */

static void forget_done(struct agent *agent)
{
	struct key_server_status *told = &agent->told->status;
	free(steal(told->done.action));
	free(steal(told->done.result));
	free(steal(told->done.message));
	told->done.sequence = 0;
	agent->done_begun = 0;
}

static void tell_done(struct agent *agent, const struct key_server_spec *spec, const char *result, const char *message)
{
	struct key_server_status *told = &agent->told->status;
	forget_done(agent);
	told->done.sequence = spec->sequence;
	told->done.action = xstrdup(spec->action ? spec->action : "");
	told->done.result = xstrdup(result);
	told->done.message = message ? xstrdup(message) : NULL;
}

static int acknowledge(struct agent *agent, const struct key_server_spec *spec, struct error **err)
{
	struct agent_disk *disk = &agent->disk;
	bool other = !text_equal(disk->rotation, spec->rotation);
	int rc = other ? leave_late(agent, err) : 0;
	if (rc < 0)
		return rc;
	free(disk->rotation);
	free(disk->rotation_name);
	disk->rotation = xstrdup(spec->rotation);
	disk->rotation_name = xstrdup(spec->rotation_name ? spec->rotation_name : "");
	disk->epoch = spec->epoch;
	disk->sequence = 0;
	forget_done(agent); /* numbers begin again with an epoch */
	if (other) {
		disk->written_step = agent->unseen_step = STEP_NONE;
		disk->rescues = 0;
	}
	return agent_disk_save(agent->options->state_directory, disk, err);
}

/* While every value is read, which may take minutes, the server is seen and told of as always: a silent agent is one whose
 * server may be down. */
void agent_tell_meanwhile(void *arg)
{
	struct agent *agent = arg;
	_cleanup_error_ interrupted = NULL; /* seen by what is waited for, too */
	(void)!agent_ask_kms(agent, false, &interrupted);
	see(agent);
	agent->busy = agent_busy_words(agent->node->census_calls);
	/* The next report tells it, where this one fails. */
	(void)!agent_publish(agent, NULL);
	free(steal(agent->busy));
}

static bool reads_values(const struct key_server_spec *spec)
{
	return text_equal(spec->action, order_action_name(ORDER_CENSUS)) ||
	       text_equal(spec->action, order_action_name(ORDER_FIND_CANARY));
}

static int carry_out(struct agent *agent, const struct key_server_spec *spec, const struct verdict *verdict,
		     struct error **err)
{
	struct loop *loop = agent->node->cluster->loop;
	_cleanup_error_ failed = NULL;
	uint64_t begun = clock_monotonic();
	if (reads_values(spec))
		loop_call_between(loop, FLEET_INTERVAL, agent_tell_meanwhile, agent);
	int rc = agent_carry_out(agent, spec, verdict, &failed);
	loop_call_between(loop, 0, NULL, NULL);
	if (rc == -ERROR_INTERRUPTED) {
		*err = steal(failed);
		return rc;
	}
	if (rc < 0)
		agent_note(agent, "order %s: %s", spec->action, error_message(failed));
	agent->view.orders.ok += rc == 0;
	agent->view.orders.failed += rc < 0;
	tell_done(agent, spec, rc == 0 ? "ok" : "failed", rc == 0 ? NULL : error_message(failed));
	agent->done_begun = begun;
	agent->disk.sequence = spec->sequence;
	return agent_disk_save(agent->options->state_directory, &agent->disk, err);
}

static int act(struct agent *agent, bool *ret_acted, struct error **err)
{
	const struct key_server_spec *spec = agent->self ? &agent->self->last->spec : NULL;
	if (!spec || agent->read_at == 0)
		return 0;
	struct verdict verdict = judge(agent, spec);
	agent->awaits = verdict.ruling == RULING_WAIT;
	switch (verdict.ruling) {
	case RULING_ACKNOWLEDGE:
		return acknowledge(agent, spec, err);
	case RULING_CARRY_OUT:
		/* Nothing can be sealed yet. */
		if (!agent->cluster_uid && text_equal(spec->action, order_action_name(ORDER_MAKE_KEY)))
			break;
		*ret_acted = true;
		return carry_out(agent, spec, &verdict, err);
	case RULING_REFUSE:
		if (agent->told->status.done.sequence != spec->sequence ||
		    !text_equal(agent->told->status.done.result, "refused")) {
			agent->view.orders.refused++;
			agent_note(agent, "order %s refused: %s", spec->action ? spec->action : "none",
				   ground_text(verdict.ground));
		}
		tell_done(agent, spec, "refused", ground_text(verdict.ground));
		/* What others did not see is looked for again, by all. */
		if (verdict.ground == GROUND_STILL_NEEDED)
			forget_census(agent->node);
		break;
	case RULING_WAIT:
		if (verdict.ground == GROUND_NO_CENSUS)
			forget_census(agent->node); /* it does not do for the drop */
		agent_trouble(agent, ground_text(verdict.ground));
		break;
	case RULING_NOTHING:
		break;
	}
	return 0;
}

/* With nobody to give orders. */
static int help_itself(struct agent *agent, bool *ret_acted, struct error **err)
{
	const struct rotation *node = agent->node;
	struct agent_state state = agent_disk_state(&agent->disk);
	_cleanup_error_ failed = NULL;
	bool has_keys[OBJECT_STEPS_MAX] = {false};
	const struct agent_sight sight = {.own = &node->seen.servers[0],
					  .has_keys = has_keys,
					  .away = true,
					  .away_since = agent->away_since,
					  .census = node->census_seen.finished ? &node->census_seen : NULL};
	if (agent->read_at != 0)
		return 0;
	state.rescues = node->journal->alone;
	find_keys(agent, has_keys);
	struct verdict verdict = agent_alone(node->journal->path, &state, &sight, clock_monotonic());
	bool stuck = verdict.ruling == RULING_WAIT || verdict.ruling == RULING_REFUSE;
	if (stuck && verdict.ground != agent->alone)
		agent_note(agent, "no API server serves orders, and this agent can do nothing: %s",
			   ground_text(verdict.ground));
	agent->alone = verdict.ground;
	*ret_acted = verdict.ruling == RULING_CARRY_OUT;
	int rc = *ret_acted ? agent_put_back(agent, &verdict, &failed) : 0;
	if (rc == -ERROR_INTERRUPTED)
		return error_set(err, ERROR_INTERRUPTED, "interrupted");
	if (rc < 0)
		agent_note(agent, "putting a read key back: %s", error_message(failed));
	return 0;
}

/* --- the loop --- */

static int read_cluster_uid(struct agent *agent, struct kube *kube, struct error **err)
{
	return cluster_uid(agent->node->cluster, kube, &agent->cluster_uid, err);
}

/* What seals and opens keys needs; everything else goes on while nobody can tell. */
static void know_cluster(struct agent *agent)
{
	_cleanup_error_ failed = NULL;
	uint64_t now = clock_monotonic();
	if (agent->cluster_uid || agent->away_since != 0 || now < agent->uid_due)
		return;
	agent->uid_due = now + UID_INTERVAL;
	/* Whoever tells it need not be who gives the orders. */
	struct kube *served_by = agent->served_by;
	int rc = agent_ask(agent, read_cluster_uid, &failed);
	agent->served_by = served_by;
	if (rc == 0)
		return;
	_cleanup_free_ char *why = error_with_hint(failed);
	agent_trouble(agent, why);
}

/* Who may not ask at all has been set up wrongly; a server that has just started refuses everybody for a while. */
static int may_ask(struct agent *agent, struct error **err)
{
	struct refusals refusals = {0};
	for (;;) {
		int rc = agent_ask(agent, read_cluster_uid, err);
		bool refused = refusals_may_pass(&refusals, rc, clock_monotonic());
		bool away = rc == -ERROR_NETWORK || rc == -ERROR_BUSY;
		if (!away && !refused)
			return rc;
		error_clear(err);
		if (away)
			return 0;
		rc = loop_pause(agent->node->cluster->loop, BEGIN_PAUSE, err);
		if (rc < 0)
			return rc;
	}
}

static int begin(struct agent *agent, struct error **err)
{
	_cleanup_free_ char *lock = agent_lock_path(agent->options->state_directory);
	int rc = rotation_open_node(agent->options->cluster, agent->options->config_path,
				    agent->options->state_directory, agent->options->manifest != NULL, &agent->node,
				    err);
	if (rc == 0)
		rc = file_make_directory(agent->options->state_directory, err);
	if (rc == 0)
		rc = file_lock(lock, &agent->lock_fd, err);
	if (rc == -ERROR_BUSY) {
		error_clear(err);
		rc = error_set(err, ERROR_REFUSED, "another agent is at work with %s", agent->options->state_directory);
	}
	if (rc == 0)
		rc = target_clean(agent->node->target, false, err);
	if (rc == 0)
		rc = agent_check_manifest(agent, err);
	if (rc == 0)
		rc = agent_disk_open(agent->options->state_directory, &agent->disk, err);
	if (rc == 0)
		rc = agent_read_retired(agent, err);
	if (rc < 0)
		return rc;
	agent_disk_tell_alone(&agent->disk, agent->node->journal);
	agent_know_servers(agent);
	return may_ask(agent, err);
}

/* An order on the file that may be carried out in this turn. */
static bool has_order(const struct agent *agent)
{
	const struct key_server_spec *spec = agent->self ? &agent->self->last->spec : NULL;
	enum order_action action;
	return spec && agent->read_at && spec->epoch == agent->disk.epoch && spec->sequence > agent->disk.sequence &&
	       spec->action && order_action_from_name(spec->action, &action) &&
	       (action == ORDER_WRITE_STEP || action == ORDER_RETIRE || action == ORDER_RESTART);
}

static int publish(struct agent *agent, bool *ret_said, struct error **err)
{
	_cleanup_error_ failed = NULL;
	int rc = agent->self ? agent_publish(agent, &failed) : 0;
	*ret_said = agent->self && rc == 0;
	_cleanup_free_ char *why = rc < 0 ? error_with_hint(failed) : NULL;
	if (why)
		agent_trouble(agent, why);
	return rc == -ERROR_INTERRUPTED ? error_set(err, ERROR_INTERRUPTED, "interrupted") : 0;
}

static int turn(struct agent *agent, struct error **err)
{
	forget_trouble(agent);
	read_orders(agent);
	remember_report(agent);
	know_cluster(agent);
	int rc = leave(agent, err);
	if (rc < 0)
		return rc;
	agent_take_asked(agent);
	rc = take_path(agent, err);
	if (rc < 0)
		return rc;
	agent_take_keys(agent);
	/* Of two agents that take a step one at least sees the other: each says so first, and reads afterwards. */
	agent->at_work = has_order(agent);
	rc = agent_ask_kms(agent, agent->at_work, err);
	if (rc < 0)
		return rc;
	agent_follow_kms(agent);
	bool said = true, acted = false;
	agent->awaits = false;
	look(agent);
	/* Whoever keeps an agent running starts another one, which takes them anew. */
	rc = rotation_check_flags(agent->node, err);
	if (rc == 0 && agent->at_work) {
		rc = publish(agent, &said, err);
		if (rc == 0)
			read_orders(agent);
	}
	if (rc == 0 && said)
		rc = act(agent, &acted, err);
	if (rc == 0)
		rc = help_itself(agent, &acted, err);
	if (rc == 0)
		rc = agent_take_asked_census(agent, err);
	agent->at_work = false;
	/* What was done shows in the report that tells of it. */
	if (acted)
		look(agent);
	if (rc == 0)
		rc = publish(agent, &said, err);
	if (rc == 0)
		agent_turned(agent, said || !agent->self);
	return rc;
}

static bool is_awake(const struct agent *agent)
{
	const struct observation *seen = &agent->node->seen;
	bool rotates = agent->rotation && !agent->rotation->status.outcome;
	bool joined = rotates && on_this_path(agent->node->journal, agent->rotation);
	return agent->read_at == 0 || (rotates && (agent->awaits || !joined || !seen->servers[0].loaded_is_file));
}

static void agent_close(struct agent *agent)
{
	agent_show_stop(agent);
	agent_forget_servers(agent);
	rotation_free(agent->node);
	agent_disk_free(&agent->disk);
	fleet_free(&agent->fleet);
	key_rotation_free(agent->rotation);
	key_server_free(agent->told);
	free(agent->reported.file_hash);
	free(agent->reported.path_of);
	strings_free(&agent->retired);
	kms_look_free(agent->kms, agent->kms_count);
	wake_stop(agent->wake);
	free(agent->cluster_uid);
	free(agent->identity);
	kube_identities_free(&agent->identities);
	free(agent->trouble);
	free(agent->noted);
	if (agent->lock_fd >= 0)
		close(agent->lock_fd);
}

int agent_run(const struct agent_options *options, struct error **err)
{
	_cleanup_(agent_close) struct agent agent = {.options = options,
						     .lock_fd = -1,
						     .unseen_step = STEP_NONE,
						     .told = key_server_new(options->node_name)};
	agent_show_start(&agent);
	int rc = begin(&agent, err);
	if (rc == 0)
		agent.wake = wake_start(options->cluster, options->web, options->node_name);
	while (rc == 0) {
		uint64_t begun = clock_monotonic();
		rc = turn(&agent, err);
		const char *news = rc == 0 && agent.read_at ? wake_news(agent.wake) : NULL;
		if (news)
			agent_note(&agent, "%s: orders are looked for every few seconds instead", news);
		if (rc == 0)
			rc = wake_wait(agent.wake, begun + TURN_SPACING,
				       begun + (is_awake(&agent) ? AWAKE_INTERVAL : FLEET_INTERVAL), err);
	}
	return rc;
}
