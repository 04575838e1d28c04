/* Observe, decide, do one small step, observe again; until Done, a person is needed, or we are told to stop. */
#include "engine/rotation.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json_writer.h"
#include "engine/api_servers.h"
#include "engine/rotation_internal.h"
#include "rotate/record.h"

#define LEASE_LOOK (10 * NS_PER_S)   /* between looks that make up one */
#define LEASE_SILENT (60 * NS_PER_S) /* identity Leases are renewed each 10 s */
#define SET_ASK (10 * NS_PER_S)      /* Nodes and pods: servers do not come and go by the second */
#define MEMBERS_ASK (20 * NS_PER_S)
#define KMS_WAIT (5 * NS_PER_S) /* between looks while a KMS is to change its key, or a server to adopt it */
#define COMPACTION_ASK (2 * NS_PER_S)
/* between looks while nothing is expected of a server: its /metrics are large */
#define LOOK_INTERVAL_IDLE (5 * NS_PER_S)
#define GATE_VALID FRESH_LOOK

void rotation_note(const struct rotation *r, const char *fmt, ...)
{
	char text[2048];
	va_list args;
	if (!r->options.on_note)
		return;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	r->options.on_note(r->options.arg, text);
}

void rotation_trouble(struct rotation *r, const char *text)
{
	if (text && !text_equal(text, r->trouble))
		rotation_note(r, "%s", text);
	free(r->trouble);
	r->trouble = text ? xstrdup(text) : NULL;
}

/* --- observing: the set of servers --- */

static void set_unknown(struct rotation *r, const char *why)
{
	free(r->set_why);
	r->set_why = xstrdup(why);
}

void rotation_block(struct rotation *r, char *why)
{
	free(r->blocked);
	r->blocked = why;
}

static size_t count_servers(const struct rotation *r)
{
	size_t known = r->journal->servers.count;
	for (size_t i = 0; i < r->journal->servers.count; i++)
		known -= strings_has(&r->journal->forgotten, r->journal->servers.items[i]);
	return known;
}

static bool has_lease(const struct kube_identities *identities, const char *server)
{
	for (size_t i = 0; i < identities->count; i++)
		if (text_equal(kube_identity_name(&identities->items[i]), server))
			return true;
	return false;
}

/* "cp-1, cp-2 (a control-plane Node)": what no Lease shows is named with its source. */
static char *name_servers(const struct rotation *r, const struct kube_identities *identities)
{
	_cleanup_strings_ names = {0};
	for (size_t i = 0; i < r->journal->servers.count; i++) {
		const char *server = r->journal->servers.items[i];
		const char *source = has_lease(identities, server) ? NULL : server_set_source(&r->set, server);
		_cleanup_free_ char *text = source ? xasprintf("%s (%s)", server, source) : xstrdup(server);
		if (!strings_has(&r->journal->forgotten, server))
			strings_add(&names, text);
	}
	return strings_join(&names, ", ");
}

/* How many servers count; more than one block. */
static size_t judge_count(struct rotation *r, const struct kube_identities *identities)
{
	size_t known = count_servers(r);
	if (known <= 1)
		return known;
	_cleanup_free_ char *names = name_servers(r, identities);
	rotation_block(
		r,
		xasprintf("the cluster has %zu API servers (%s), and this changes the file of one: a server that is "
			  "down counts until kube-rekey forget SERVER --yes says that it is gone for good (or is only "
			  "another name of one of them)",
			  known, names));
	return known;
}

static void ask_others(struct rotation *r)
{
	uint64_t now = loop_now(r->cluster->loop);
	_cleanup_strings_ troubles = {0};
	if (!r->set_looked_at || now >= r->set_looked_at + SET_ASK) {
		r->set_looked_at = now;
		r->set.looks_once = r->options.read_only;
		server_set_look(&r->set, &r->cluster->kube, &troubles);
	}
	for (size_t i = 0; i < troubles.count; i++)
		rotation_note(r, "%s", troubles.items[i]);
	if (server_set_grow(&r->set, &r->journal->forgotten, &r->journal->servers))
		r->set_grew = true;
}

static struct api_server *lease_of(struct rotation *r, const char *name)
{
	for (size_t i = 0; i < r->lease_count; i++)
		if (text_equal(r->leases[i].name, name))
			return &r->leases[i];
	r->leases = xreallocarray(r->leases, r->lease_count + 1, sizeof(*r->leases));
	r->leases[r->lease_count] = (struct api_server){.name = xstrdup(name)};
	return &r->leases[r->lease_count++];
}

/* Whether they are renewed, servers' clocks compared with one another and ours with none of them. */
static void look_at_leases(struct rotation *r, const struct kube_identities *identities, uint64_t asked)
{
	uint64_t newest = kube_identities_newest(identities);
	for (size_t i = 0; i < identities->count; i++) {
		struct api_server *lease = lease_of(r, kube_identity_name(&identities->items[i]));
		/* While etcd was away nobody renewed anything, and we saw nothing. */
		if (lease->leased && asked > lease->lease_looked + LEASE_LOOK)
			lease->lease_since = asked;
		api_server_take_lease(lease, &identities->items[i], newest, asked, loop_now(r->cluster->loop));
	}
}

/* Not where it stood still under our eyes, whatever its own clock says. */
static bool is_alive(struct rotation *r, const struct kube_identity *identity)
{
	const struct api_server *lease = lease_of(r, kube_identity_name(identity));
	return lease->live && loop_now(r->cluster->loop) < lease->lease_since + API_LEASE_STILL;
}

/* The only one there is: by our eyes where it was seen to be renewed, else by our clock. */
static bool is_silent(struct rotation *r, const struct kube_identity *ours)
{
	const struct api_server *lease = lease_of(r, kube_identity_name(ours));
	return loop_now(r->cluster->loop) > lease->lease_since + LEASE_SILENT ||
	       (!lease->renews && clock_wall() > ours->renewed_wall + LEASE_SILENT);
}

/* The set only grows: a Lease that vanishes is a server that is down until a person says that it is gone. */
static void take_identities(struct rotation *r, const struct kube_identities *identities)
{
	const struct kube_identity *ours = NULL;
	const char *back = NULL; /* a server that was forgotten, and is alive */
	for (size_t i = 0; i < identities->count; i++) {
		const struct kube_identity *identity = &identities->items[i];
		if (strings_has(&r->journal->forgotten, kube_identity_name(identity))) {
			if (is_alive(r, identity))
				back = kube_identity_name(identity);
			continue;
		}
		if (!strings_has(&r->journal->servers, kube_identity_name(identity))) {
			strings_add(&r->journal->servers, kube_identity_name(identity));
			r->set_grew = true;
		}
		ours = identity;
	}
	ask_others(r);
	size_t known = judge_count(r, identities);
	if (back) {
		_cleanup_free_ char *why =
			xasprintf("%s was forgotten as gone for good, but renews its identity Lease", back);
		r->set_known = false;
		set_unknown(r, why);
		return;
	}
	if (!ours || known != 1)
		return;
	/* Its Lease goes with a server that is stopped in order: then a Node or a pod alone would name it. */
	r->set_named = r->set_named || r->set.nodes.count > 0 || r->set.pods.count > 0;
	if (!r->set_named && r->options.servers == 0 && r->set.unsure) {
		r->set_known = false;
		set_unknown(r,
			    "control-plane Nodes and kube-apiserver pods could not be listed, by which a server that "
			    "was stopped would be known: say --servers 1 if it is the only API server");
		return;
	}
	if (!r->set_named && r->options.servers == 0)
		rotation_block(
			r,
			xasprintf("identity Leases name %s alone, and no control-plane Node or kube-apiserver pod is "
				  "there that would name a server that was stopped: say --servers 1 if it is the only "
				  "API server",
				  kube_identity_name(ours)));
	if (r->options.servers > 1)
		rotation_block(r, xasprintf("--servers %llu, but the cluster shows one API server",
					    (unsigned long long)r->options.servers));
	r->set_known = true;
	r->set_seen_at = loop_now(r->cluster->loop);
	free(r->look.name);
	r->look.name = xstrdup(kube_identity_name(ours));
	free(r->look.id_hash);
	r->look.id_hash = xstrdup(ours->id_hash);
	if (is_silent(r, ours)) {
		r->set_known = false;
		set_unknown(r,
			    "the only identity Lease was not renewed within a minute of now, by this machine's clock: "
			    "does the server that answers have one?");
	}
}

static void observe_set(struct rotation *r)
{
	struct kube_identities identities = {0};
	_cleanup_error_ failed = NULL;
	uint64_t asked = loop_now(r->cluster->loop);
	int rc = kube_identities_fetch(&r->cluster->kube, &identities, &failed);
	bool silent = rc == 0 || rc == -ERROR_AUTH; /* no Lease names a server */
	if (rc == 0 && identities.count > 0) {
		look_at_leases(r, &identities, asked);
		take_identities(r, &identities);
	} else if (r->options.servers == 1 && silent) {
		ask_others(r);
		/* A person's word, unless another is seen. */
		r->set_known = judge_count(r, &identities) <= 1;
		r->set_seen_at = loop_now(r->cluster->loop);
	} else if (!r->set_known || loop_now(r->cluster->loop) > r->set_seen_at + FRESH_LOOK) {
		r->set_known = false; /* seen once is not seen now: another may have joined */
		set_unknown(r, rc < 0 ? error_message(failed)
				      : "no identity Leases: say --servers 1 if there is but one API server");
	}
	kube_identities_free(&identities);
}

/* --- observing: everything --- */

void observation_forget(struct observation *seen)
{
	/* The census is lent: it outlives many looks. */
	seen->census = (struct census_observation){0};
	observation_free_contents(seen);
	*seen = (struct observation){0};
}

void rotation_watch(struct rotation *r)
{
	if (r->quiet)
		return;
	_cleanup_free_ char *key = xasprintf("%s/namespaces/kube-system", r->cluster->etcd_prefix);
	r->quiet = quiet_start(r->cluster->loop, r->cluster->etcds, r->cluster->etcd_count, r->servers, 1, key);
}

static void ask_for_compaction(struct rotation *r)
{
	uint64_t now = loop_now(r->cluster->loop);
	_cleanup_error_ failed = NULL;
	if (!r->census || r->census_seen.compacted || !r->settled_ended || now < r->compaction_asked + COMPACTION_ASK)
		return;
	r->compaction_asked = now;
	if (census_is_compacted(r->census, r->cluster->etcds, r->cluster->etcd_count, &r->census_seen.compacted,
				&failed) < 0)
		r->census_seen.compacted = false;
}

/* A member that is silent may have been removed from its etcd: that is how a person ends the wait for one that is gone. */
void rotation_ask_for_members(struct rotation *r)
{
	uint64_t now = loop_now(r->cluster->loop);
	bool doubt = r->seen.members_known != FACT_KNOWN;
	for (size_t m = 0; m < r->seen.member_count; m++)
		doubt = doubt || (!r->seen.members[m].answering && !r->seen.members[m].learner);
	if (!doubt || now < r->members_asked + MEMBERS_ASK)
		return;
	bool changed = false;
	_cleanup_error_ failed = NULL;
	r->members_asked = now;
	(void)!quiet_refresh(r->quiet, &changed, &failed); /* the members that were known go on being watched */
	if (changed)
		r->settled_began = r->settled_ended = 0;
}

void rotation_look_at(struct rotation *r, uint64_t now)
{
	struct server_observation *seen = &r->seen.servers[0];
	look_at(&r->look, r->target, r->journal, now, clock_wall(), seen);
	free(r->flags_changed);
	r->flags_changed = node_flags_changed(&r->flags, seen->process);
	/* A pipeline may lead its server to another file. */
	if (r->target->manual && r->flags.other_file)
		free(steal(r->flags_changed));
	bool own = r->reads_own && !r->flags.other_file;
	if (own == r->look.servers_own)
		return;
	/* Started with another file, it has not loaded this one, whatever its start and reloads would tell of it. */
	r->look.servers_own = own;
	server_observation_free(seen);
	look_at(&r->look, r->target, r->journal, now, clock_wall(), seen);
}

int rotation_check_flags(const struct rotation *r, struct error **err)
{
	if (!r->flags_changed)
		return 0;
	int rc = error_set(err, ERROR_REFUSED, "%s", r->flags_changed);
	error_set_hint(err, "nothing is lost; started again, this takes the flags anew and goes on");
	return rc;
}

/* Why what was read is read again. */
static void note_back(const struct rotation *r, uint64_t before)
{
	if (r->seen.etcd_back_at > before && r->census_seen.begun > 0 && r->census_seen.begun <= r->seen.etcd_back_at)
		rotation_note(r, ETCD_BACK_NOTE);
}

void rotation_observe(struct rotation *r)
{
	uint64_t before = r->seen.etcd_back_at;
	observation_forget(&r->seen);
	rotation_watch(r);
	observe_set(r);
	rotation_kms_observe(r);
	ask_for_compaction(r);
	struct observation *seen = &r->seen;
	seen->servers = xcalloc(1, sizeof(*seen->servers));
	seen->server_count = 1;
	rotation_look_at(r, loop_now(r->cluster->loop));
	seen->servers[0].canary_impossible = !canary_possible(r->journal->path);
	seen->servers_known = r->set_known ? FACT_KNOWN : FACT_UNKNOWN;
	seen->servers_why = r->set_known || !r->set_why ? NULL : xstrdup(r->set_why);
	quiet_observe(r->quiet, seen);
	note_back(r, before);
	rotation_ask_for_members(r);
	/* A balancer may show itself late, by the first answer of another member. */
	if (seen->members_behind_balancer && !r->options.has_settle)
		r->settle_time = quiet_settle_time(r->cluster->request_timeout, true);
	seen->settled_began = r->settled_began;
	seen->settled_ended = r->settled_ended;
	seen->census = r->census_seen;
	seen->sweep = r->sweep;
	seen->kms_why = r->kms_why ? xstrdup(r->kms_why) : NULL;
	seen->kms_moved = r->journal->kms_moved;
	rotation_kms_compare(r);
	rotation_kms_take_history(r, seen);
	seen->kms_adopted_at = r->kms_adopted_at;
	seen->history_ended_at = r->history_ended_at;
	seen->reads_checked_at = r->reads_checked_at;
	seen->rescues = r->journal->rescues - r->rescues_before;
	seen->retired = r->retired;
	seen->blocked = r->blocked ? xstrdup(r->blocked) : NULL;
	seen->settle_time = r->settle_time;
	seen->compact = r->options.compact;
}

/* --- telling --- */

static int open_record(struct rotation *r, struct error **err)
{
	if (!r->options.record_path)
		return 0;
	int fd = open(r->options.record_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	r->record = fd < 0 ? NULL : fdopen(fd, "a");
	return r->record ? 0 : error_set_errno(err, ERROR_IO, errno, "flight recorder %s", r->options.record_path);
}

static void write_record(const struct rotation *r, const struct decision *d, uint64_t now)
{
	if (!r->record)
		return;
	char at[28];
	clock_format(clock_wall(), 0, at);
	struct json_writer w = JSON_WRITER_INIT(RECORD_LINE_MAX);
	record_write(&w, at, r->journal->path, &r->seen, now, d);
	const char *line = json_text(&w);
	if (line)
		fprintf(r->record, "%s\n", line);
	fflush(r->record);
	json_writer_free(&w);
}

/* A file that was there when this process began should be loaded one poll later, too. */
static uint64_t reload_by(const struct rotation *r, const struct decision_clock *clock)
{
	const char *hash = r->seen.server_count > 0 ? r->seen.servers[0].file_hash : NULL;
	if (!hash || r->target->manual || !r->look.reloads_itself)
		return 0;
	bool written = text_equal(hash, r->look.written_hash);
	uint64_t since = written ? r->look.written_at : r->began;
	return written || text_equal(hash, r->opened_file) ? clock->wall - (clock->now - since) + r->look.poll : 0;
}

char *rotation_decision_text(const struct rotation *r, const struct decision *d)
{
	struct decision_clock clock = {.now = loop_now(r->cluster->loop), .wall = clock_wall()};
	clock.reload_by = reload_by(r, &clock);
	return decision_text(d, r->journal->path, &r->seen, &clock);
}

static void tell(struct rotation *r, const struct decision *d, uint64_t now)
{
	write_record(r, d, now);
	if (r->in_phase && r->phase != d->phase && r->options.on_phase) {
		_cleanup_free_ char *came_to = rotation_phase_text(r, r->phase);
		r->options.on_phase(r->options.arg, r->phase, came_to, now - r->phase_began);
	}
	if (!r->in_phase || r->phase != d->phase)
		r->phase_began = now;
	rotation_report_phase(r, d->phase, now);
	if (!r->options.on_decision)
		return;
	_cleanup_free_ char *text = rotation_decision_text(r, d);
	_cleanup_free_ char *whole = r->trouble ? xasprintf("%s (%s)", text, r->trouble) : xstrdup(text);
	r->options.on_decision(r->options.arg, d, &r->seen, whole);
}

/* --- deciding --- */

static struct decision decide(struct rotation *r)
{
	rotation_observe(r);
	uint64_t now = loop_now(r->cluster->loop);
	struct decision d = next_action(r->journal->path, &r->seen, now);
	tell(r, &d, now);
	return d;
}

static int blocked(struct rotation *r, const struct decision *d, struct error **err)
{
	_cleanup_free_ char *text = rotation_decision_text(r, d);
	_cleanup_free_ char *hint = decision_hint(d, &r->seen);
	if ((d->reason == REASON_OUTSIDE || d->reason == REASON_NOT_LISTED) && d->group >= 0)
		rotation_report_outside(r, d);
	int rc = error_set(err, reason_is_of_objects(d->reason) ? ERROR_FINDING : ERROR_REFUSED, "%s", text);
	if (hint)
		error_set_hint(err, "%s", hint);
	return rc;
}

/* Only a server that is expected to load its file is looked at each second. */
static uint64_t next_look(const struct rotation *r, const struct decision *d)
{
	/* Each try is a write, and the KMS a person's matter. */
	if (path_follows_kms(r->journal->path) && (d->action == ACTION_CANARY || d->reason == REASON_KMS_UNMOVED))
		return loop_now(r->cluster->loop) + KMS_WAIT;
	bool idle = d->reason == REASON_SETTLING || d->reason == REASON_HISTORY || d->reason == REASON_MEMBER_SILENT;
	uint64_t now = loop_now(r->cluster->loop);
	uint64_t due = d->due > now ? d->due : now + POLL_INTERVAL / 10;
	if (!idle)
		return due;
	/* Not past the moment for which the decision waits. */
	uint64_t settled = r->seen.quiet_since > r->seen.servers[0].loaded_since ? r->seen.quiet_since
										 : r->seen.servers[0].loaded_since;
	settled += r->settle_time;
	if (d->reason == REASON_SETTLING && settled > now && settled < now + LOOK_INTERVAL_IDLE)
		return settled;
	return d->reason == REASON_HISTORY ? now + COMPACTION_ASK : now + LOOK_INTERVAL_IDLE;
}

static int wait(struct rotation *r, const struct decision *d, struct error **err)
{
	uint64_t due = next_look(r, d);
	if (r->options.deadline && due > r->options.deadline)
		due = r->options.deadline;
	int rc = loop_pause_until(r->cluster->loop, due, err);
	if (rc < 0 || !r->options.deadline || loop_now(r->cluster->loop) < r->options.deadline)
		return rc;
	_cleanup_free_ char *text = rotation_decision_text(r, d);
	rc = error_set(err, ERROR_DEADLINE, "the deadline passed while waiting: %s%s%s%s", text, r->trouble ? " (" : "",
		       r->trouble ? r->trouble : "", r->trouble ? ")" : "");
	error_set_hint(err, "it is safe to leave it like this; the same command goes on");
	return rc;
}

/* A pipeline's own bytes for a file of ours are a hash of this rotation, too. */
static bool take_deployed(struct rotation *r)
{
	const struct server_observation *server = &r->seen.servers[0];
	if (!server->file_ours || !r->look.deployed || journal_step_of(r->journal, r->look.deployed) != STEP_NONE)
		return false;
	journal_add_hash(r->journal, server->file_step, r->look.deployed, false);
	return true;
}

/* What the server was seen to run; NULL: that is not known. */
static const char *running(const struct server_observation *server)
{
	if (server->loaded_hash)
		return server->loaded_hash;
	return server->loaded == FACT_KNOWN && server->loaded_is_file ? server->file_hash : NULL;
}

/* A server seen once counts from then on, and a hash seen once is never again news, whatever becomes of this process. */
static int keep_seen(struct rotation *r, struct error **err)
{
	if (r->lock_fd < 0)
		return 0;
	unsigned rescues = r->journal->rescues;
	bool in_place = journal_in_place(r->journal, r->seen.servers[0].file_hash);
	r->rescues_before += r->journal->rescues - rescues; /* of a process that died before it could note it down */
	bool deployed = take_deployed(r);
	/* By whatever cluster an earlier version's journal is found. */
	bool ours = journal_take_cluster(r->journal, r->cluster_uid, running(&r->seen.servers[0]));
	if (!deployed && !in_place && !ours && !r->set_grew && !r->kms_news)
		return 0;
	r->set_grew = r->kms_news = false;
	return journal_write(r->target->path, r->journal, err);
}

static int look_and_decide(struct rotation *r, struct decision *ret, struct error **err)
{
	if (loop_signal(r->cluster->loop))
		return error_set(err, ERROR_INTERRUPTED, "stopped by a signal; nothing is lost");
	if (r->options.deadline && loop_now(r->cluster->loop) >= r->options.deadline)
		return error_set(err, ERROR_DEADLINE, "the deadline passed; the same command goes on");
	*ret = decide(r);
	int rc = keep_seen(r, err);
	/* A server that lacks a read key does not wait for that. */
	return rc == 0 && !ret->rescue ? rotation_check_flags(r, err) : rc;
}

/* What failed and may pass is tried again, not at once. */
static int carry_out(struct rotation *r, const struct decision *d, struct error **err)
{
	int rc = d->action == ACTION_WAIT ? 0 : rotation_act(r, d, err);
	return rc == 0 && (d->action == ACTION_WAIT || r->trouble) ? wait(r, d, err) : rc;
}

static int run(struct rotation *r, struct error **err)
{
	for (;;) {
		struct decision d = {0};
		int rc = look_and_decide(r, &d, err);
		if (rc < 0 || d.action == ACTION_DONE)
			return rc;
		rc = d.action == ACTION_BLOCKED ? blocked(r, &d, err) : carry_out(r, &d, err);
		if (rc < 0)
			return rc;
	}
}

/* --- public --- */

int rotation_look(struct rotation *r, const struct observation **ret, struct decision *ret_decision, struct error **err)
{
	(void)err;
	rotation_observe(r);
	*ret = &r->seen;
	*ret_decision = next_action(r->journal->path, &r->seen, loop_now(r->cluster->loop));
	return 0;
}

int rotation_try_canary(struct rotation *r, struct error **err)
{
	struct canary_options options = rotation_canary_options(r);
	return canary_possible(r->journal->path) ? canary_try(&options, err) : 0;
}

int rotation_take_census(struct rotation *r, struct error **err)
{
	int rc = rotation_census_now(r, err);
	if (rc == 0 && !r->census)
		return error_set(err, ERROR_NETWORK, "no census: %s", r->trouble ? r->trouble : "etcd does not answer");
	return rc;
}

static void forget_canaries(struct rotation *r)
{
	_cleanup_error_ failed = NULL;
	struct canary_options options = rotation_canary_options(r);
	if (canary_delete(&options, &failed) < 0)
		rotation_note(r, "the canaries in namespace %s were not deleted: %s", CANARY_NAMESPACE,
			      error_message(failed));
}

static const char *outcome(int rc)
{
	switch (-rc) {
	case 0:
		return "Done";
	case ERROR_FINDING:
		return "Blocked";
	case ERROR_REFUSED:
		return "Refused";
	case ERROR_DEADLINE:
		return "Deadline";
	case ERROR_INTERRUPTED:
		return "Interrupted";
	default:
		return "Failed";
	}
}

static int begin(struct rotation *r, struct error **err)
{
	_cleanup_free_ char *aside = NULL;
	int rc = open_record(r, err);
	if (rc == 0)
		rc = target_make_place(r->target, err);
	if (rc == 0)
		rc = rotation_lock(r, err);
	/* Both were read before the lock was ours, perhaps long before: a person was asked in between. */
	if (rc == 0)
		rc = rotation_same_as_opened(r, err);
	/* Of one that was done nothing is put back into --out before the server was looked at. */
	if (rc == 0 && !r->done && !r->cleared)
		rc = target_clean(r->target, false, err);
	if (rc == 0 && r->pending_journal) {
		rc = journal_set_aside(r->target->path, &aside, err);
		if (rc == 0)
			rotation_note(r, "%s (%s)", r->pending_journal, aside);
	}
	/* Asked for when the new key had written already: late, and not never. */
	if (rc == 0 && r->new_key_seal && !r->journal->copied && journal_promoted(r->journal))
		rc = rotation_copy_new_keys(r, err);
	else if (rc == 0 && r->new_key_seal && r->journal->copied)
		rotation_note(r, "a sealed copy of the new key was made before; no other one is, whatever certificate "
				 "is named now");
	if (rc == 0 && r->cluster->request_timeout_assumed && !r->options.has_settle)
		rotation_note(r, "nothing here tells the API server's --request-timeout: its default of 1 min is taken "
				 "(else say --apiserver-request-timeout)");
	/* On disk before anything is refused: `forget` needs a journal to write into. */
	return rc == 0 ? journal_write(r->target->path, r->journal, err) : rc;
}

static bool runs_the_end(const struct rotation *r)
{
	const struct server_observation *server = &r->seen.servers[0];
	int last = (int)r->journal->path->count - 1;
	bool known = r->seen.servers_known == FACT_KNOWN && !r->blocked && server->loaded == FACT_KNOWN;
	/* What lies in --out, if anything, no server runs. */
	return known && server->loaded_step == last && (r->target->manual || server->file_step == last);
}

/* Whether the file is still the one that the last look saw; of a pipeline's, a look at the server tells. */
static bool still_in_place(struct rotation *r)
{
	_cleanup_free_ char *sha256 = NULL;
	if (r->target->manual) {
		rotation_observe(r);
		return runs_the_end(r) && r->seen.servers[0].loaded_is_file;
	}
	return file_sha256(r->target->path, ENCRYPTION_CONFIG_MAX, &sha256, NULL) == 0 &&
	       text_equal(sha256, r->seen.servers[0].file_hash);
}

static int clear_up(struct rotation *r, struct error **err)
{
	/* Linked or mounted meanwhile to where the server looks: then it is no more ours to remove. */
	bool taken = r->target->manual && node_reader_of("/proc", r->target->path) != 0;
	int rc = taken ? 0 : target_clean(r->target, true, err);
	if (rc == 0 && !r->target->manual)
		rc = new_keys_let_go(r->held_directory, &r->journal->new_keys, err);
	return rc == 0 ? journal_remove(r->target->path, err) : rc;
}

/* *ret_again: an older file was put over ours at the very end, and the new key's only other copy is here. The report that says Done
 * is kept before anything is removed: whoever dies leaves it, or a journal to go on with, or both. */
static int end(struct rotation *r, bool *ret_again, struct error **err)
{
	forget_canaries(r);
	rotation_kms_ask_last(r);
	*ret_again = !still_in_place(r);
	if (*ret_again)
		return 0;
	rotation_report_end(r, outcome(0));
	rotation_report_keep(r);
	*ret_again = !still_in_place(r);
	if (!*ret_again)
		return clear_up(r, err);
	rotation_report_begin(r);
	rotation_report_go_on(r);
	return 0;
}

static int run_to_the_end(struct rotation *r, struct error **err)
{
	bool again = true;
	int rc = 0;
	while (rc == 0 && again) {
		rc = run(r, err);
		if (rc == 0)
			rc = end(r, &again, err);
	}
	return rc;
}

/* --- one that was done before this process --- */

/* What a rotation would do now: for a gate, what the pipeline has not done. */
static char *left_to_do(const struct rotation *r, const struct decision *d)
{
	if (d->action == ACTION_WAIT || d->action == ACTION_BLOCKED)
		return rotation_decision_text(r, d);
	if (d->reason == REASON_STALE && r->census)
		return xasprintf("%llu values are not under the write key", (unsigned long long)r->census->stale);
	return xstrdup(reason_text(d->reason));
}

static bool runs_another(const struct rotation *r)
{
	return r->seen.servers_known == FACT_KNOWN && r->seen.servers[0].loaded == FACT_KNOWN && !r->blocked &&
	       !runs_the_end(r);
}

static bool only_looks(const struct decision *d)
{
	return d->action == ACTION_WAIT || d->action == ACTION_CENSUS || d->action == ACTION_CANARY ||
	       d->action == ACTION_READ_BACK;
}

/* Whoever was killed between moving it aside and wiping it left the last configuration whole: it may be the only one. */
static bool is_back_whole(struct rotation *r)
{
	const struct journal *journal = r->journal;
	bool back = false;
	for (size_t i = 0; i < journal->hash_count && !back; i++)
		back = journal->hashes[i].step == (int)journal->path->count - 1 &&
		       file_back_from_aside(r->target->path, journal->hashes[i].sha256, NULL) == 0;
	if (!back)
		return false;
	rotation_note(r, "%s was not wiped yet, and is there again", r->target->path);
	r->cleared = r->look.last_is_gone = false;
	return true;
}

/* Whether it is as it ended is proved as that end was, since an older file may have been put there for a while, and values
 * written by it; but nothing is done for it. *ret_why, new string: what there would be to do; NULL: nothing. */
static int prove_still(struct rotation *r, char **ret_why, struct error **err)
{
	for (;;) {
		struct decision d = {0};
		int rc = look_and_decide(r, &d, err);
		if (rc < 0)
			return rc;
		/* It may be wanted again; where nothing is read in its place, it is. */
		bool wanted = r->cleared || r->seen.servers[0].file != FACT_KNOWN;
		if (wanted && r->seen.servers[0].loaded != FACT_KNOWN && is_back_whole(r))
			continue;
		/* Whatever it has loaded since, a census tells more than a sweep. */
		if (d.action == ACTION_REENCRYPT && r->census_seen.begun < r->seen.servers[0].loaded_since) {
			rc = rotation_census_now(r, err);
			if (rc < 0)
				return rc;
			continue;
		}
		if (runs_another(r)) {
			*ret_why = xstrdup("the API server is not seen to run its last configuration now");
			return 0;
		}
		if (d.action == ACTION_RETIRE || d.action == ACTION_DONE)
			return 0;
		if (!only_looks(&d)) {
			*ret_why = left_to_do(r, &d);
			return 0;
		}
		rc = carry_out(r, &d, err);
		if (rc < 0)
			return rc;
	}
}

/* What would be written from here on is older than what it ended with. */
static int refuse_cleared(const struct rotation *r, const char *why, struct error **err)
{
	_cleanup_free_ char *ended = rotation_ended_text(r), *journal = journal_path(r->target->path);
	int rc = error_set(err, ERROR_REFUSED, "rotation %s %s, and %s", r->journal->rotation, ended, why);
	if (runs_another(r))
		error_set_hint(err,
			       "put its last configuration back; if another one is meant, and kube-rekey census finds "
			       "every value readable with it, remove %s: the next run begins anew",
			       journal);
	else
		error_set_hint(err, "mend that (kube-rekey census tells more), and run the same command again");
	return rc;
}

/* Only clearing up is left, as far as the API server is seen to be where it was: *ret_over. Else it goes on like any other, where
 * what it ended with is at hand. */
static int finish(struct rotation *r, bool *ret_over, struct error **err)
{
	*ret_over = false;
	if (!r->done && !r->cleared)
		return 0;
	_cleanup_free_ char *why = NULL;
	r->look.last_is_gone = r->cleared;
	int rc = prove_still(r, &why, err);
	if (rc < 0)
		return rc;
	if (!why) {
		forget_canaries(r);
		rotation_report_take_done(r);
		rotation_report_keep(r);
		*ret_over = still_in_place(r);
	}
	if (*ret_over)
		return clear_up(r, err);
	if (!why) {
		why = xstrdup("the file was changed just now");
		rotation_report_begin(r);
		rotation_report_go_on(r);
		r->done = rotation_report_done(r);
	}
	/* Though another one was read in its place all the while: it is to be put there again. */
	if (!is_back_whole(r) && r->cleared)
		return refuse_cleared(r, why, err);
	rotation_note(r, "%s: all is proved again", why);
	rotation_report_free(steal(r->done));
	return target_clean(r->target, false, err);
}

int rotation_run(struct rotation *r, struct rotation_report **ret_report, struct error **err)
{
	bool over = false;
	int rc = begin(r, err);
	if (rc == 0)
		rotation_report_go_on(r);
	if (rc == 0)
		rc = finish(r, &over, err);
	if (rc == 0 && !over)
		rc = run_to_the_end(r, err);
	/* Wherever it was met. */
	if (rc == -ERROR_INTERRUPTED)
		error_set_hint(err, "nothing is lost; the same command goes on");
	/* One whose end was told stays so, though clearing up failed. */
	bool told = r->told;
	rotation_report_end(r, outcome(rc));
	if (!told)
		rotation_report_keep(r);
	*ret_report = r->report;
	r->report = NULL;
	rotation_unlock(r);
	return rc;
}

static int gate_no(struct rotation *r, const struct decision *d, struct error **err)
{
	_cleanup_free_ char *text = left_to_do(r, d);
	_cleanup_free_ char *hint = decision_hint(d, &r->seen);
	int rc = error_set(err, ERROR_REFUSED, "no: %s", text);
	if (hint)
		error_set_hint(err, "%s", hint);
	return rc;
}

/* The gate answers for the one step from the present configuration to the next: what a rotation would wait for, it
 * waits for too, up to
 * its deadline, since settling can only be proved by watching. */
static int gate(struct rotation *r, bool drop, uint64_t *ret_valid_until, struct error **err)
{
	bool drops = r->journal->path->count > 1 && path_drops(r->journal->path, 0);
	if (r->journal->path->count != 2 || drops != drop)
		return error_set(err, ERROR_REFUSED, "%s",
				 r->journal->path->count == 1 ? "no: both configurations mean the same"
				 : r->journal->path->count > 2
					 ? "no: between these two configurations lie more steps: see kube-rekey plan"
				 : drops ? "no: a key leaves by this step: ask gate drop"
					 : "no: no key leaves by this step: ask gate next");
	for (;;) {
		struct decision d = decide(r);
		int rc = rotation_check_flags(r, err);
		if (rc < 0)
			return rc;
		/* That a second nonce is wanted says nothing of the step, which was taken already. */
		if (d.action == ACTION_WRITE_STEP && d.to_step == 1 && d.reason != REASON_SECOND_NONCE) {
			uint64_t now = loop_now(r->cluster->loop);
			uint64_t left = d.valid_until > now ? d.valid_until - now : 0;
			*ret_valid_until = clock_wall() + (left < GATE_VALID ? left : GATE_VALID);
			return 0;
		}
		bool may_do = d.action == ACTION_CANARY || d.action == ACTION_CENSUS || d.action == ACTION_COMPACT;
		/* That a Lease is renewed shows by a second look, which the first one of a clock that is ahead wants. */
		bool another_look =
			d.reason == REASON_SET_UNKNOWN && loop_now(r->cluster->loop) < r->began + API_LEASE_STILL;
		bool may_wait = d.action == ACTION_WAIT &&
				(d.reason == REASON_SETTLING || d.reason == REASON_HISTORY || another_look);
		if (!may_do && !may_wait)
			return gate_no(r, &d, err);
		rc = may_do ? rotation_act(r, &d, err) : 0;
		if (rc == 0 && (may_wait || r->trouble))
			rc = wait(r, &d, err);
		if (rc == -ERROR_DEADLINE) {
			error_clear(err);
			return gate_no(r, &d, err);
		}
		if (rc < 0)
			return rc;
	}
}

int rotation_gate(struct rotation *r, bool drop, uint64_t *ret_valid_until, struct error **err)
{
	int rc = gate(r, drop, ret_valid_until, err);
	if (r->look.canary_at)
		forget_canaries(r);
	return rc;
}

const struct path *rotation_path(const struct rotation *r)
{
	return r->journal->path;
}

const struct journal *rotation_journal(const struct rotation *r)
{
	return r->journal;
}

const struct census *rotation_census(const struct rotation *r)
{
	return r->census;
}

int rotation_position(const struct rotation *r)
{
	struct target_content content = {0};
	int step = STEP_NONE;
	if (r->cleared)
		return (int)r->journal->path->count - 1;
	if (target_read(r->target, &content, NULL) == 0)
		step = path_find(r->journal->path, encryption_config_shape(content.config));
	target_content_free(&content);
	return step;
}

uint64_t rotation_settle_time(const struct rotation *r)
{
	return r->settle_time;
}
