/* The beginning of a rotation: what is in the file, what was begun before, where it shall go; and every reason not
 * to begin. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "engine/api_servers.h"
#include "engine/intent.h"
#include "engine/kms_look.h"
#include "engine/retired.h"
#include "engine/rotation_internal.h"

#define CLUSTER_TRIES 3
#define CLUSTER_PAUSE (250 * NS_PER_MS) /* doubled each time */

/* --- may it begin at all? --- */

static int refuse_unsure(const struct rotation *r, struct error **err)
{
	const struct node_facts *node = &r->cluster->node;
	int rc;
	if (r->cluster->has_node)
		rc = error_set(err, ERROR_REFUSED, "%s does not tell whether the API server reads %s", node->source,
			       r->target->path);
	else
		rc = error_set(err, ERROR_REFUSED,
			       "nothing on this machine tells that the API server reads %s: no kube-apiserver process "
			       "that names it was seen, and no static-pod manifest",
			       r->target->path);
	error_set_hint(err, "say --apiserver-manifest FILE on its own machine, or --target manual --out DIR from "
			    "anywhere");
	return rc;
}

/* That the server reads the very file that would be replaced must be known, not likely: into a copy of it, all would
 * be written for nobody. */
static int check_same_file(const struct rotation *r, struct error **err)
{
	const struct node_facts *node = &r->cluster->node;
	bool running = node->process_id && node->encryption_config;
	_cleanup_free_ char *mounted = node->from_manifest && node->encryption_config_host
					       ? realpath(node->encryption_config_host, NULL)
					       : NULL;
	if (node->single_file_mount ||
	    (running && node_single_file_mount("/proc", node->process_id, node->encryption_config) == 1)) {
		int rc = error_set(err, ERROR_REFUSED,
				   "%s is mounted into the API server as a single file: it would never see a new one",
				   r->target->path);
		error_set_hint(err, "mount its directory instead (%s), restart the API server, and run this again",
			       node->source);
		return rc;
	}
	if (mounted && strcmp(mounted, r->target->path) != 0) {
		int rc = error_set(err, ERROR_REFUSED, "the API server reads %s, not %s", mounted, r->target->path);
		error_set_hint(err, "say --encryption-config %s", mounted);
		return rc;
	}
	int same = running ? node_same_file("/proc", node->process_id, node->encryption_config, r->target->path)
			   : -ERROR_IO;
	if (same == 0)
		return error_set(err, ERROR_REFUSED,
				 "the API server (process %u) has another file at %s than %s is here", node->process_id,
				 node->encryption_config, r->target->path);
	return same == 1 || mounted ? 0 : refuse_unsure(r, err);
}

static int check_node(const struct rotation *r, struct error **err)
{
	const struct node_facts *node = &r->cluster->node;
	if (r->options.manual &&
	    (node_reads_file(node, r->target->path) == 1 || node_reader_of("/proc", r->target->path) != 0))
		return error_set(err, ERROR_REFUSED,
				 "%s is the file that the API server reads: --out is for another directory",
				 r->target->path);
	if (r->options.manual || r->options.read_only)
		return 0; /* nothing is written into a server's file */
	int rc = check_same_file(r, err);
	if (rc < 0 || node->automatic_reload || r->options.wait_restart || r->options.follow_kms)
		return rc;
	rc = error_set(err, ERROR_REFUSED, "the API server does not reload its encryption configuration by itself");
	error_set_hint(err, "set --encryption-provider-config-automatic-reload=true, or say "
			    "--apply=wait-restart and restart it when told (an agent: --apply static-pod)");
	return rc;
}

/* A server that shows neither hash nor reload counters does not reload by itself, or hides that it does: nothing
 * would ever be proved. */
static int check_evidence(const struct rotation *r, struct error **err)
{
	struct apiserver_metrics metrics = {0};
	if (r->options.follow_kms)
		return 0; /* no file is written */
	int rc = r->options.wait_restart ? 0 : kube_scrape(&r->cluster->kube, &metrics, NULL, err);
	bool shows = metrics.loaded_hash_count > 0 || metrics.has_reload_counters;
	bool says = r->cluster->has_node && r->cluster->node.automatic_reload;
	apiserver_metrics_free(&metrics);
	if (rc < 0 || r->options.wait_restart || shows || says)
		return rc;
	rc = error_set(err, ERROR_REFUSED,
		       "the API server shows no sign of reloading its encryption configuration by itself");
	error_set_hint(err, "set --encryption-provider-config-automatic-reload=true, or say --apply=wait-restart and "
			    "restart it when told");
	return rc;
}

/* --- where it goes --- */

static int read_target_configuration(struct rotation *r, struct error **err)
{
	if (!r->options.to_path)
		return 0;
	_cleanup_secret_ text = NULL;
	int rc = file_read(r->options.to_path, ENCRYPTION_CONFIG_MAX, &text, err);
	if (rc == 0)
		rc = encryption_config_parse(r->options.to_path, text, &r->to_config, err);
	if (rc == 0)
		keys_add_config(&r->keys, r->to_config);
	return rc;
}

/* A target file by what it means: a comment more in it asks for nothing else. */
static char *request_of(const struct rotation *r, const struct intent *intent)
{
	if (r->options.follow_kms)
		return xstrdup("follow the KMS");
	if (!r->to_config)
		return intent_text(intent, NULL);
	struct json_writer w = JSON_WRITER_INIT(8 * ENCRYPTION_CONFIG_MAX);
	config_shape_write_json(encryption_config_shape(r->to_config), &w);
	const char *meaning = json_text(&w);
	_cleanup_free_ char *hash = text_sha256(meaning ? meaning : "", meaning ? strlen(meaning) : 0);
	json_writer_free(&w);
	return intent_text(intent, hash);
}

static struct intent intent_of(const struct rotation *r, uint64_t wall)
{
	return (struct intent){.provider = r->options.provider,
			       .kms = r->options.kms,
			       .renew_dek = r->options.renew_dek,
			       .drop_keys = r->options.drop_keys,
			       .drop_identity = r->options.drop_identity,
			       .wall_now = wall};
}

/* By its time, and the file that it began with. */
static void name_by_time(struct journal *journal, uint64_t wall, const char *sha256)
{
	char time[28], compact[16];
	clock_format(wall, 0, time);
	clock_format_compact(wall, compact);
	free(journal->started);
	free(journal->rotation);
	journal->started = xstrdup(time);
	journal->rotation = xasprintf("rekey-%s-%.6s", compact, sha256 + strlen("sha256:"));
}

static void take_servers_of_unbegun(struct rotation *r, struct journal *journal)
{
	if (!r->unbegun)
		return;
	journal->servers = r->unbegun->servers;
	journal->forgotten = r->unbegun->forgotten;
	r->unbegun->servers = r->unbegun->forgotten = (struct strings){0};
}

static int new_journal(struct rotation *r, const struct target_content *content, struct error **err)
{
	uint64_t wall = clock_wall();
	struct intent intent = intent_of(r, wall);
	const struct config_shape *from = encryption_config_shape(content->config);
	_cleanup_(config_shape_freep) struct config_shape *to = NULL;
	_cleanup_(journal_freep) struct journal *journal = xcalloc(1, sizeof(*journal));
	_cleanup_strings_ made = {0};
	int rc = 0;
	if (r->to_config)
		to = config_shape_copy(encryption_config_shape(r->to_config));
	else
		rc = intent_target(from, &intent, &r->keys, &to, &made, err);
	if (rc == 0)
		rc = retired_check(r->options.state_directory, from, to, err);
	if (rc == 0)
		rc = path_make(from, to, &journal->path, err);
	if (rc < 0)
		return rc;
	name_by_time(journal, wall, content->sha256);
	journal->request = request_of(r, &intent);
	journal->cluster = xstrdup_or_null(r->cluster_uid);
	intent_old_keys(from, to, &journal->old_keys);
	intent_new_keys(from, to, &journal->new_keys);
	/* A rotation to a key of ours is named after it. */
	if (made.count > 0 && key_label_is_local(made.items[0])) {
		free(journal->rotation);
		journal->rotation = xstrdup(strchr(made.items[0], '/') + 1);
	}
	take_servers_of_unbegun(r, journal);
	journal_add_hash(journal, 0, content->sha256, false);
	if (!text_equal(content->sha256, content->deployed_sha256))
		journal_add_hash(journal, 0, content->deployed_sha256, false);
	r->journal = steal(journal);
	return 0;
}

/* Nothing of the file changes: its one configuration is the path. */
static int follow_journal(struct rotation *r, const struct target_content *content, struct error **err)
{
	struct intent intent = intent_of(r, 0);
	r->journal = journal_of_present(encryption_config_shape(content->config), content->sha256);
	name_by_time(r->journal, clock_wall(), content->sha256);
	r->journal->request = request_of(r, &intent);
	r->journal->cluster = xstrdup_or_null(r->cluster_uid);
	take_servers_of_unbegun(r, r->journal);
	return rotation_kms_follow(r, err);
}

/* Whether the keys that the rest of the journal's path needs are at hand. */
static bool keys_at_hand(const struct rotation *r)
{
	for (size_t i = 0; i < r->journal->path->count; i++)
		for (size_t k = 0; k < r->journal->path->steps[i]->rule_count; k++) {
			const struct config_rule *rule = &r->journal->path->steps[i]->rules[k];
			for (size_t j = 0; j < rule->key_count; j++) {
				enum provider_type type = rule->keys[j].type;
				if (provider_is_local(type) && !keys_find(&r->keys, type, rule->keys[j].name))
					return false;
			}
		}
	return true;
}

/* No file of it ever stood in the place of the first: another one may begin instead. */
static bool nothing_was_written(const struct journal *journal)
{
	for (size_t i = 0; i < journal->hash_count; i++)
		if (journal->hashes[i].step > 0 && !journal->hashes[i].pending)
			return false;
	return true;
}

char *rotation_ended_text(const struct rotation *r)
{
	return r->done ? xasprintf("was done at %s", r->done->finished) : xstrdup("had retired its old key");
}

/* The first file is there again: values may be under a key that lies somewhere else, and nobody but this journal knows of. */
static int refuse_without_keys(const struct rotation *r, struct error **err)
{
	const bool manual = r->target->manual;
	_cleanup_free_ char *keys = strings_join(&r->journal->new_keys, ", ");
	_cleanup_free_ char *journal = journal_path(r->target->path);
	_cleanup_free_ char *state = r->done ? rotation_ended_text(r) : xstrdup("is half done");
	int rc = error_set(err, ERROR_REFUSED,
			   "rotation %s %s, its first file is there again, and its new key (%s) is not in %s",
			   r->journal->rotation, state, keys, manual ? r->target->path : r->held_directory);
	error_set_hint(err, "%s; only if kube-rekey census finds no value under that key, remove %s and begin anew",
		       manual ? "put there what it wrote last" : "say the --state-dir that it was begun with", journal);
	return rc;
}

/* One directory for two clusters: the file that lies there may have keys of the other one, and the servers that the journal
 * knows are none of this one's. */
static int check_cluster(const struct rotation *r, struct error **err)
{
	const struct journal *journal = r->journal;
	if (!journal_is_of_another(journal, r->cluster_uid))
		return 0;
	_cleanup_free_ char *path = journal_path(r->target->path);
	int rc = error_set(err, ERROR_REFUSED, "%s is of rotation %s of another cluster", path, journal->rotation);
	if (r->target->manual)
		error_set_hint(
			err,
			"give each cluster its own --out and --state-dir; if that rotation will never go on, and "
			"no value is under a key that is only there, remove %s and %s",
			r->target->path, path);
	else
		error_set_hint(err,
			       "name the kubeconfig of the cluster whose API server reads this file; if it is this "
			       "one, the other was here before: remove %s",
			       path);
	return rc;
}

/* What lies in --out without a journal may have another cluster's keys: it is the beginning of nothing. */
static int check_known(const struct rotation *r, const struct target_content *content, struct error **err)
{
	const struct target *target = r->target;
	_cleanup_free_ char *source = NULL;
	if (!target->manual || r->options.read_only || r->opened_journal)
		return 0;
	int rc = file_sha256(target->source, ENCRYPTION_CONFIG_MAX, &source, err);
	if (rc < 0 || text_equal(source, content->sha256))
		return rc;
	rc = error_set(err, ERROR_REFUSED, "%s belongs to no rotation that is known, and is not what %s holds",
		       target->path, target->source);
	error_set_hint(err,
		       "if no value of any cluster is under a key that is only there (kube-rekey census), remove it; "
		       "--encryption-config names what the API server runs now");
	return rc;
}

/* Whether it was over before this process: what is kept of it says so, or what was removed from --out. *step: that of the present
 * file, else that of its meaning where that is the end, for a comment more begins no second rotation. */
static void find_ended(struct rotation *r, const struct target_content *content, int *step)
{
	int last = (int)r->journal->path->count - 1;
	if (!r->journal->retired)
		return;
	if (*step == STEP_NONE && path_find(r->journal->path, encryption_config_shape(content->config)) == last)
		*step = last;
	r->done = rotation_report_done(r);
	r->cleared = last > 0 && *step != last && target_is_cleared(r->target);
	if (r->cleared)
		*step = last; /* what is read in its place is the pipeline's matter */
	_cleanup_free_ char *ended = rotation_ended_text(r);
	if ((r->done && *step != STEP_NONE) || r->cleared)
		rotation_note(
			r,
			"rotation %s %s, and died while it cleared up: that is finished, where the API server still "
			"runs its last configuration",
			r->journal->rotation, ended);
}

/* An interrupted rotation goes on; one that had not written anything yet, or whose file is not the present one, is
 * not ours to go on with. */
static int adopt_journal(struct rotation *r, const struct target_content *content, struct error **err)
{
	int rc = check_cluster(r, err);
	if (rc < 0)
		return rc;
	struct intent intent = intent_of(r, 0);
	_cleanup_free_ char *request = request_of(r, &intent);
	int step = journal_step_of(r->journal, content->sha256);
	find_ended(r, content, &step);
	/* Where nothing of the file changes, its meaning is enough. */
	if (step == STEP_NONE && path_follows_kms(r->journal->path) &&
	    path_find(r->journal->path, encryption_config_shape(content->config)) == 0) {
		journal_add_hash(r->journal, 0, content->sha256, false);
		step = 0;
	}
	if (step == STEP_NONE) {
		_cleanup_free_ char *keys = strings_join(&r->journal->new_keys, ", ");
		r->pending_journal = xasprintf("an earlier rotation's journal (%s) is set aside: the present file is "
					       "none that it names; its new keys (%s) may lie in %s",
					       r->journal->rotation, keys, r->held_directory);
		r->unbegun = steal(r->journal);
		rotation_report_free(steal(r->done));
		return 0;
	}
	if (step == 0 && !keys_at_hand(r) && !nothing_was_written(r->journal))
		return refuse_without_keys(r, err);
	/* Nothing was written yet and its new key is gone: begin anew, with what is known of the servers. */
	if (step == 0 && !keys_at_hand(r)) {
		r->unbegun = steal(r->journal);
		return 0;
	}
	if (text_equal(request, r->journal->request))
		return 0;
	if (step == 0 && nothing_was_written(r->journal)) {
		r->unbegun = steal(r->journal);
		return 0;
	}
	rc = error_set(err, ERROR_REFUSED, "rotation %s is half done and was asked for otherwise (%s)",
		       r->journal->rotation, r->journal->request);
	error_set_hint(err, "finish it first with the command that began it");
	return rc;
}

/* NULL where there is no journal. */
static int hash_journal(const struct rotation *r, char **ret, struct error **err)
{
	_cleanup_free_ char *path = journal_path(r->target->path);
	*ret = NULL;
	return access(path, F_OK) == 0 ? file_sha256(path, JOURNAL_MAX, ret, err) : 0;
}

int rotation_same_as_opened(const struct rotation *r, struct error **err)
{
	struct target_content content = {0};
	_cleanup_free_ char *journal = NULL;
	int rc = target_read(r->target, &content, err);
	if (rc == 0)
		rc = hash_journal(r, &journal, err);
	bool same = rc == 0 && text_equal(content.sha256, r->opened_file) && text_equal(journal, r->opened_journal);
	target_content_free(&content);
	if (rc < 0 || same)
		return rc;
	rc = error_set(err, ERROR_REFUSED, "%s or its rotation changed since this command began", r->target->path);
	error_set_hint(err, "nothing was changed by it; run the same command again");
	return rc;
}

static int ask_cluster(struct rotation *r, bool needed, struct error **err)
{
	uint64_t pause = CLUSTER_PAUSE;
	for (int attempt = 1;; attempt++, pause *= 2) {
		_cleanup_error_ failed = NULL;
		int rc = cluster_uid(r->cluster, &r->cluster->kube, &r->cluster_uid, &failed);
		if (rc == 0)
			return 0;
		if (!needed || attempt == CLUSTER_TRIES || (rc != -ERROR_NETWORK && rc != -ERROR_BUSY)) {
			*err = steal(failed);
			return rc;
		}
		rc = loop_pause(r->cluster->loop, pause, err);
		if (rc < 0)
			return rc;
	}
}

/* Which cluster this is must be known where a journal names one. Beside the server's own file that server may lack a key, which
 * may be why we are here, and cannot read it: then nothing is compared. `journal`: NULL where there is none. */
static int know_cluster(struct rotation *r, const struct journal *journal, struct error **err)
{
	const bool named = journal && journal->cluster, own = !r->options.manual && !r->options.read_only;
	_cleanup_error_ failed = NULL;
	int rc = ask_cluster(r, named && !own, &failed);
	if (rc == 0 || !named)
		return 0;
	if (own) {
		rotation_note(r, "whether rotation %s is of this cluster was not compared: %s", journal->rotation,
			      error_message(failed));
		return 0;
	}
	*err = steal(failed);
	return error_wrap(err, rc, "whether rotation %s is of this cluster", journal->rotation);
}

static int find_path(struct rotation *r, struct error **err)
{
	struct target_content content = {0};
	int rc = target_read(r->target, &content, err);
	if (rc == 0)
		rc = hash_journal(r, &r->opened_journal, err);
	if (rc == 0)
		r->opened_file = xstrdup(content.sha256);
	if (rc == 0)
		rc = check_known(r, &content, err);
	/* The gate is asked about two files, whatever was begun with them; but what was said of the servers holds. */
	if (rc == 0)
		rc = journal_read(r->target->path, r->options.read_only ? &r->unbegun : &r->journal, err);
	if (rc == 0)
		rc = know_cluster(r, r->journal ? r->journal : r->unbegun, err);
	if (rc == 0 && r->unbegun && journal_is_of_another(r->unbegun, r->cluster_uid)) {
		journal_free(r->unbegun);
		r->unbegun = NULL;
	}
	if (rc == 0) {
		keys_add_config(&r->keys, content.config);
		if (r->journal)
			rc = rotation_load_kept(r, err);
	}
	if (rc == 0 && r->journal)
		rc = adopt_journal(r, &content, err);
	if (rc == 0 && !r->journal)
		rc = r->options.follow_kms ? follow_journal(r, &content, err) : new_journal(r, &content, err);
	if (rc == 0 && !r->options.read_only && !r->cleared &&
	    path_find(r->journal->path, encryption_config_shape(content.config)) == 0)
		rc = rotation_rehearse(r, content.config, err);
	target_content_free(&content);
	return rc;
}

/* --- what it needs --- */

static int open_seals(struct rotation *r, struct error **err)
{
	const struct rotation_options *o = &r->options;
	r->retired_directory = xasprintf("%s/retired", o->state_directory);
	r->held_directory = xasprintf("%s/rotating", o->state_directory);
	int rc = old_keys_policy_parse(o->old_key ? o->old_key : "keep", r->retired_directory, &r->old_key, err);
	if (rc < 0 || !o->new_key_copy || text_equal(o->new_key_copy, "none"))
		return rc;
	if (!text_starts(o->new_key_copy, "seal:"))
		return error_set(err, ERROR_USAGE, "--new-key-copy is none or seal:CERTIFICATE, not %s",
				 o->new_key_copy);
	return seal_open(o->new_key_copy + strlen("seal:"), &r->new_key_seal, err);
}

/* `path` as a folder, with the symlinks of what exists of it followed: "/srv/keys/". */
static char *real_folder(const char *path)
{
	size_t len = strlen(path);
	for (;;) {
		_cleanup_free_ char *head = len > 0 ? xstrndup(path, len) : xstrdup(path[0] == '/' ? "/" : ".");
		_cleanup_free_ char *real = realpath(head, NULL);
		const char *rest = path + len + strspn(path + len, "/");
		if (real)
			return xasprintf("%s%s%s/", text_equal(real, "/") ? "" : real, *rest ? "/" : "", rest);
		if (len == 0)
			return xasprintf("%s/", path);
		while (len > 0 && path[len - 1] == '/')
			len--;
		while (len > 0 && path[len - 1] != '/')
			len--;
	}
}

static bool lies_in(const char *folder, const char *path)
{
	_cleanup_free_ char *above = real_folder(folder);
	return text_starts(path, above);
}

/* Retired keys may not lie where the server's files are: those directories are mounted, copied and watched. */
static int check_state_directory(const struct rotation *r, struct error **err)
{
	if (r->options.read_only)
		return 0; /* the gate keeps none */
	const struct node_facts *node = &r->cluster->node;
	_cleanup_free_ char *state = real_folder(r->options.state_directory);
	_cleanup_free_ char *beside =
		xstrndup(r->target->path, (size_t)(strrchr(r->target->path, '/') - r->target->path));
	if (lies_in(beside, state) || lies_in("/etc/kubernetes/manifests", state))
		return error_set(err, ERROR_REFUSED,
				 "--state-dir %s lies beside the server's own files, where old keys must not be kept",
				 r->options.state_directory);
	for (size_t i = 0; i < node->host_path_count; i++)
		if (lies_in(node->host_paths[i], state))
			return error_set(err, ERROR_REFUSED,
					 "--state-dir %s lies in %s, which the API server's pod mounts: old keys must "
					 "not be kept there",
					 r->options.state_directory, node->host_paths[i]);
	return 0;
}

static uint64_t settle_time(const struct rotation *r)
{
	bool behind_balancer = false;
	for (size_t i = 0; i < r->cluster->etcd_count; i++)
		behind_balancer = behind_balancer || etcd_behind_balancer(r->cluster->etcds[i]);
	return r->options.has_settle ? r->options.settle
				     : quiet_settle_time(r->cluster->request_timeout, behind_balancer);
}

static int open_target(struct rotation *r, struct error **err)
{
	const struct rotation_options *o = &r->options;
	if (o->manual)
		return target_manual(o->config_path, o->out, o->as_deployed, o->out_seal, o->state_directory,
				     &r->target, err);
	if (!o->read_only)
		return target_file(o->config_path, &r->target, err);
	int rc = target_looked_at(o->config_path, &r->target, err);
	if (rc == 0 && o->as_deployed)
		r->target->as_deployed = xstrdup(o->as_deployed);
	return rc;
}

static struct rotation *rotation_new(const struct rotation_options *options)
{
	struct rotation *r = xcalloc(1, sizeof(*r));
	r->options = *options;
	r->cluster = options->cluster;
	r->lock_fd = -1;
	r->began = loop_now(r->cluster->loop);
	r->sweep.step = STEP_NONE;
	r->servers[0] = &r->cluster->kube;
	for (size_t i = 0; i < r->cluster->foreign_prefixes.count; i++)
		strings_add(&r->foreign_prefixes, r->cluster->foreign_prefixes.items[i]);
	return r;
}

static void begin_looking(struct rotation *r)
{
	const char *read = r->target->manual ? r->target->source : r->target->path;
	r->look = (struct look){.kube = &r->cluster->kube,
				.poll = RELOAD_POLL,
				.canary_step = STEP_NONE,
				.name = xstrdup(r->cluster->kube.name),
				.reloads_itself = !r->options.wait_restart,
				.keeps_file = r->options.follow_kms,
				.servers_own = node_reads_file(&r->cluster->node, read) == 1};
	r->reads_own = r->look.servers_own;
	node_flags_take(&r->cluster->node, read, &r->flags);
	rotation_report_begin(r);
}

static int check_asked(const struct rotation_options *o, struct error **err)
{
	if (o->follow_kms &&
	    (o->to_path || o->provider || o->renew_dek || o->drop_identity || o->drop_keys->count > 0 || o->manual))
		return error_set(err, ERROR_USAGE,
				 "--follow-kms changes no configuration: it excludes --to, --provider, --renew-dek, "
				 "--drop-key, --drop-identity and --target manual");
	if (o->to_path && (o->provider || o->renew_dek))
		return error_set(err, ERROR_USAGE, "--to and %s exclude each other",
				 o->provider ? "--provider" : "--renew-dek");
	if (o->as_deployed && !o->manual && !o->read_only)
		return error_set(err, ERROR_USAGE, "--as-deployed goes with --target manual --out DIR, and with gate");
	if ((o->kms.name || o->kms.endpoint || o->kms.timeout) && !text_equal(o->provider, "kms"))
		return error_set(err, ERROR_USAGE,
				 "--kms-name, --kms-endpoint and --kms-timeout go with --provider kms");
	return 0;
}

/* A server that finds nobody at a socket takes no configuration that names it: told before one is written. */
static int check_plugins(const struct rotation *r, struct error **err)
{
	const struct path *path = r->journal->path;
	struct kms_look *looks = NULL;
	size_t count = 0;
	if (r->options.manual || r->options.read_only)
		return 0; /* they are beside a server, on its machine */
	int rc = kms_look(r->cluster->loop, path->steps[path->count - 1], &looks, &count, err);
	for (size_t i = 0; rc == 0 && i < count; i++) {
		_cleanup_free_ char *label = xasprintf("kms/%s", looks[i].name);
		if (looks[i].flaw && strings_has(&r->journal->new_keys, label))
			rc = error_set(err, ERROR_REFUSED, "%s: %s", label, looks[i].flaw);
	}
	kms_look_free(looks, count);
	return rc;
}

int rotation_open(const struct rotation_options *options, struct rotation **ret, struct error **err)
{
	_cleanup_(rotation_freep) struct rotation *r = rotation_new(options);
	int rc = check_asked(options, err);
	if (rc == 0)
		rc = open_target(r, err);
	if (rc == 0)
		rc = check_node(r, err);
	if (rc == 0)
		rc = check_state_directory(r, err);
	if (rc == 0)
		rc = open_seals(r, err);
	if (rc == 0)
		rc = read_target_configuration(r, err);
	if (rc == 0)
		rc = find_path(r, err);
	if (rc == 0)
		rc = check_evidence(r, err);
	/* Keys that left already may be sealed or destroyed by now, as asked. */
	int here = rc == 0 ? rotation_position(r) : STEP_NONE;
	if (rc == 0)
		/* What was put back to be read since may have been sealed before. */
		r->old_key.left_before = r->journal->retired || r->journal->rescues > 0;
	if (rc == 0 && !r->options.read_only)
		rc = old_keys_check(&r->old_key, r->journal->path, here < 0 ? 0 : (size_t)here, &r->keys, err);
	if (rc == 0 && here == 0)
		rc = check_plugins(r, err);
	if (rc < 0)
		return rc;
	r->rescues_before = r->journal->rescues;
	r->settle_time = settle_time(r);
	begin_looking(r);
	*ret = steal(r);
	return 0;
}

/* --- an agent's node --- */

int rotation_load_kept(struct rotation *r, struct error **err)
{
	int rc = old_keys_load(r->old_key.directory, &r->journal->old_keys, &r->keys, err);
	if (rc == 0)
		rc = old_keys_load(r->held_directory, &r->journal->new_keys, &r->keys, err);
	/* On the way back the key that leaves is the one that was held as new. */
	if (rc == 0 && r->journal->going_back)
		rc = old_keys_load(r->held_directory, &r->journal->old_keys, &r->keys, err);
	return rc;
}

static int read_node(struct rotation *r, struct error **err)
{
	struct target_content content = {0};
	int rc = target_read(r->target, &content, err);
	if (rc == 0)
		rc = journal_read(r->target->path, &r->journal, err);
	if (rc == 0) {
		keys_add_config(&r->keys, content.config);
		if (!r->journal)
			r->journal = journal_of_present(encryption_config_shape(content.config), content.sha256);
		rc = rotation_load_kept(r, err);
	}
	target_content_free(&content);
	return rc;
}

/* By what this machine says: the server may be down, and what it answers is looked at each turn. */
static int check_node_of_agent(struct rotation *r, struct error **err)
{
	int rc = check_node(r, err);
	if (rc == 0)
		rc = check_state_directory(r, err);
	if (rc == 0)
		rc = open_seals(r, err);
	return rc == 0 ? read_node(r, err) : rc;
}

int rotation_open_node(struct cluster *cluster, const char *config_path, const char *state_directory, bool restarts,
		       struct rotation **ret, struct error **err)
{
	const struct rotation_options options = {.cluster = cluster,
						 .config_path = config_path,
						 .state_directory = state_directory,
						 .wait_restart = restarts,
						 .open_kms = true};
	_cleanup_(rotation_freep) struct rotation *r = rotation_new(&options);
	int rc = target_file(config_path, &r->target, err);
	if (rc == 0)
		rc = check_node_of_agent(r, err);
	if (rc < 0)
		return rc;
	begin_looking(r);
	r->look.restarts = restarts;
	*ret = steal(r);
	return 0;
}

void rotation_take_journal(struct rotation *r, struct journal *journal)
{
	journal_free(r->journal);
	r->journal = journal;
	r->retired = journal->retired;
	r->look.refused_before = false; /* another rotation's file */
}

void rotation_free(struct rotation *r)
{
	if (!r)
		return;
	rotation_unlock(r);
	quiet_stop(r->quiet);
	target_free(r->target);
	journal_free(r->journal);
	keys_free(&r->keys);
	encryption_config_free(r->to_config);
	free(r->retired_directory);
	free(r->held_directory);
	old_keys_policy_free(&r->old_key);
	strings_free(&r->foreign_prefixes);
	seal_free(r->new_key_seal);
	if (r->record)
		fclose(r->record);
	free(r->pending_journal);
	free(r->cluster_uid);
	free(r->opened_file);
	free(r->opened_journal);
	journal_free(r->unbegun);
	look_free(&r->look);
	server_set_free(&r->set);
	free(r->set_why);
	for (size_t i = 0; i < r->lease_count; i++)
		free(r->leases[i].name);
	free(r->leases);
	free(r->blocked);
	node_flags_free(&r->flags);
	free(r->flags_changed);
	free(r->trouble);
	free(r->kms_why);
	free(r->kms_named);
	free(r->kms_untold);
	strings_free(&r->kms_named_ids);
	strings_free(&r->kms_named_by);
	observation_forget(&r->seen);
	census_free(r->census);
	census_observation_free(&r->census_seen);
	for (size_t i = 0; i < r->stale_count; i++) {
		free(r->stale[i].namespace_);
		free(r->stale[i].name);
	}
	free(r->stale);
	rotation_report_free(r->report);
	rotation_report_free(r->done);
	free(r);
}

void rotation_freep(struct rotation **rotation)
{
	rotation_free(*rotation);
}
