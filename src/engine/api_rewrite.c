#include "engine/api_rewrite.h"
#include "engine/kms_follow.h"

#include "base/clock.h"

struct run {
	const struct api_rewrite_options *o;
	struct api_rewrite *made;
	uint64_t hurried;
	uint64_t adopted_at;     /* since when every server was seen to write with the present keys */
	struct strings troubles; /* with the canaries of await_move */
	bool swept;              /* objects may have been rewritten */
};

static void add(struct strings *list, char *text)
{
	strings_add(list, text);
	free(text);
}

static void note(const struct run *r, const char *text)
{
	if (r->o->on_note)
		r->o->on_note(r->o->arg, text);
}

/* --- what servers write with --- */

/* Whether every resource has one write key on all servers, as far as they show it; why not, and whether that may come by
 * waiting. */
static int check_write_keys(const struct run *r, bool *ret_proved, bool *ret_comes, char **ret_why)
{
	*ret_proved = true;
	*ret_comes = true;
	for (size_t i = 0; i < r->o->resource_count; i++) {
		_cleanup_write_key_ key = {0};
		const char *name = r->o->resources[i]->resource;
		api_write_key_of(r->o->servers, name, &key);
		if (key.differs || key.moving) {
			_cleanup_free_ char *who = strings_join(&key.unproved, ", ");
			free(*ret_why);
			*ret_why = xasprintf("%s: %s", name, key.differs ? key.why : who);
			*ret_proved = false;
			*ret_comes = true;
			return -ERROR_REFUSED;
		}
		*ret_comes = *ret_comes && (key.missing || (key.known && key.unproved.count == 0));
		if (*ret_proved && (!key.known || key.unproved.count > 0)) {
			_cleanup_free_ char *who = strings_join(&key.unproved, ", ");
			*ret_why = xasprintf("%s: %s", name, key.known ? who : key.why);
			*ret_proved = false;
		}
	}
	return 0;
}

static int write_canaries(struct run *r, bool *ret_proved, bool *ret_comes, char **ret_why, struct error **err)
{
	_cleanup_strings_ troubles = {0};
	*ret_proved = false;
	*ret_comes = true;
	*ret_why = NULL;
	if (r->o->servers->metrics_why)
		return 0;
	int rc = api_canaries_write(r->o->servers, r->o->resources, r->o->resource_count, &troubles, err);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < troubles.count; i++)
		if (!strings_has(&r->made->weaker, troubles.items[i]))
			strings_add(&r->made->weaker, troubles.items[i]);
	rc = check_write_keys(r, ret_proved, ret_comes, ret_why);
	if (rc == 0)
		return 0;
	/* One server undoes what another one does. */
	rc = error_set(err, ERROR_REFUSED, "%s", *ret_why);
	error_set_hint(err, "%s: wait until every server writes with the key that the KMS names",
		       r->swept ? "what was rewritten may have to be rewritten again" : "nothing was rewritten");
	return rc;
}

/* --- waiting for a key of a KMS --- */

static int pause_until(const struct run *r, uint64_t until, const char *text, struct error **err)
{
	const uint64_t deadline = r->o->deadline;
	if (r->o->on_wait)
		r->o->on_wait(r->o->arg, text);
	if (deadline != 0 && loop_now(r->o->cluster->loop) >= deadline)
		return error_set(err, ERROR_DEADLINE, "the deadline passed: %s", text);
	return loop_pause_until(r->o->cluster->loop, deadline != 0 && deadline < until ? deadline : until, err);
}

/* Makes each server ask its KMS. */
static void hurry(struct run *r)
{
	if (!kms_hurry_is_due(&r->hurried, loop_now(r->o->cluster->loop)))
		return;
	for (size_t i = 0; i < r->o->servers->server_count; i++) {
		struct api_lane *lane = api_servers_lane(r->o->servers, i);
		if (lane)
			kms_hurry(&lane->kube);
	}
}

static int read_all(struct run *r, struct api_census **ret, struct error **err)
{
	const struct api_census_options options = {.servers = r->o->servers,
						   .resources = r->o->resources,
						   .resource_count = r->o->resource_count,
						   .speed = r->o->speed,
						   .deadline = r->o->deadline,
						   .on_progress = r->o->on_read,
						   .arg = r->o->arg};
	return api_census_take(&options, ret, err);
}

static void remember_old_keys(struct run *r, const struct api_census *census)
{
	for (size_t i = 0; i < census->resource_count; i++) {
		const struct api_census_resource *resource = &census->resources[i];
		for (size_t k = 0; k < resource->keys.count; k++) {
			char *label = storage_key_label(&resource->keys.items[k]);
			if (strings_has(&r->made->old_keys, label))
				free(label);
			else
				add(&r->made->old_keys, label);
		}
	}
}

/* A key ID moves in the KMS: seen as what is named, long before an idle server writes with it. */
static bool has_moved(const struct run *r)
{
	for (size_t i = 0; i < r->o->resource_count; i++) {
		_cleanup_write_key_ key = {0};
		api_write_key_of(r->o->servers, r->o->resources[i]->resource, &key);
		_cleanup_free_ char *label = key.known ? storage_key_label(&key.key) : NULL;
		if (key.differs || (label && !strings_has(&r->made->old_keys, label)))
			return true;
	}
	return false;
}

/* Of which resource a move would not be noticed, and why; NULL: of none. New string. */
static char *why_unseen(const struct run *r)
{
	for (size_t i = 0; i < r->o->resource_count; i++) {
		_cleanup_write_key_ key = {0};
		const char *name = r->o->resources[i]->resource;
		api_write_key_of(r->o->servers, name, &key);
		bool unseen = !key.known || (key.unproved.count > 0 && !key.missing);
		if (!unseen || key.differs || key.moving)
			continue;
		_cleanup_free_ char *who = strings_join(&key.unproved, ", ");
		return xasprintf("%s: %s", name,
				 r->troubles.count > 0 ? r->troubles.items[0]
				 : key.known           ? who
						       : key.why);
	}
	return NULL;
}

static bool lacks_canary(const struct api_servers *s)
{
	for (size_t i = 0; i < s->server_count; i++) {
		const struct api_server *server = &s->servers[i];
		if (server->reached && server->canaries[0].count == 0 && server->canaries[1].count == 0)
			return true;
	}
	return false;
}

/* An idle server does not show what it writes with, so nothing that the KMS names is another key: a write of ours shows it. */
static int show_write_keys(struct run *r, struct error **err)
{
	_cleanup_free_ char *unseen = why_unseen(r);
	strings_free(&r->troubles);
	if (!unseen || !lacks_canary(r->o->servers))
		return 0;
	return api_canaries_write(r->o->servers, r->o->resources, r->o->resource_count, &r->troubles, err);
}

static int check_followable(const struct run *r, struct error **err)
{
	if (r->o->servers->metrics_why) {
		int rc = error_set(err, ERROR_REFUSED, "which key is in force cannot be seen: %s",
				   r->o->servers->metrics_why);
		error_set_hint(err, "kube-rekey reencrypt --no-etcd rewrites, and proves by resourceVersions alone");
		return rc;
	}
	if (r->o->servers->leases_why) {
		int rc = error_set(err, ERROR_REFUSED, "how many API servers have to follow is not known: %s",
				   r->o->servers->leases_why);
		error_set_hint(err, "it needs the right to get and list leases in kube-system");
		return rc;
	}
	for (size_t i = 0; i < r->o->servers->server_count; i++)
		if (r->o->servers->servers[i].metrics.key_id_count > 0)
			return 0;
	return error_set(
		err, ERROR_REFUSED,
		"no server names a KMS v2 key, and without etcd and the servers' files no other key can be rotated");
}

/* Servers come and go while we wait: whose Lease is not renewed is not waited for. */
static int look_again(const struct run *r, struct error **err)
{
	bool news = false;
	int rc = api_servers_refresh(r->o->servers, &news, err);
	return rc == 0 ? api_servers_scrape(r->o->servers, &news, err) : rc;
}

static int await_move(struct run *r, struct error **err)
{
	_cleanup_(api_census_freep) struct api_census *census = NULL;
	int rc = check_followable(r, err);
	if (rc == 0)
		rc = show_write_keys(r, err);
	if (rc == 0)
		rc = read_all(r, &census, err);
	if (rc < 0)
		return rc;
	remember_old_keys(r, census);
	if (census->stale_min > 0 || census->unreadable_count > 0)
		return 0;
	while (rc == 0 && !has_moved(r)) {
		_cleanup_free_ char *unseen = why_unseen(r);
		_cleanup_free_ char *text = xasprintf(
			"waits for the KMS to name another key%s%s",
			unseen ? ", and would not notice it of " : ": change it there now", unseen ? unseen : "");
		rc = pause_until(r, loop_now(r->o->cluster->loop) + API_LOOK, text, err);
		hurry(r);
		if (rc == 0)
			rc = look_again(r, err);
		if (rc == 0)
			rc = show_write_keys(r, err);
	}
	return rc;
}

static int await_adoption(struct run *r, struct error **err)
{
	for (unsigned unseen = 0;;) {
		_cleanup_free_ char *why = NULL;
		_cleanup_error_ differ = NULL;
		bool proved, comes = true;
		int rc = look_again(r, &differ);
		if (rc < 0) {
			*err = steal(differ);
			return rc;
		}
		rc = write_canaries(r, &proved, &comes, &why, &differ);
		if (rc < 0 && rc != -ERROR_REFUSED) {
			*err = steal(differ);
			return rc;
		}
		if (rc == 0 && proved) {
			r->adopted_at = loop_now(r->o->cluster->loop);
			return 0;
		}
		/* A canary may be missed among the writes of others, but not each time. */
		unseen = comes ? 0 : unseen + 1;
		if (unseen >= API_UNSEEN_MAX)
			return error_set(err, ERROR_REFUSED,
					 "that every server writes with the new key cannot be seen, however long one "
					 "waits: %s",
					 why);
		hurry(r);
		_cleanup_free_ char *text = xasprintf("waits until every server writes with the new key: %s",
						      why ? why : error_message(differ));
		rc = pause_until(r, loop_now(r->o->cluster->loop) + API_LOOK, text, err);
		if (rc < 0)
			return rc;
	}
}

static int settle(const struct run *r, struct error **err)
{
	uint64_t until = r->adopted_at + r->o->settle;
	while (loop_now(r->o->cluster->loop) < until) {
		int rc = pause_until(r, until, "settles: what was sealed under the key before may still land", err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* --- rewriting --- */

static int pass(struct run *r, enum sweep_mode mode, const char *mark, struct sweep_result **ret, struct error **err)
{
	struct sweep_options options = {.loop = r->o->cluster->loop,
					.kube = &r->o->cluster->kube,
					.resources = r->o->resources,
					.resource_count = r->o->resource_count,
					.mode = mode,
					.mark = mark,
					.speed = r->o->speed,
					.deadline = r->o->deadline,
					.watch_kms = true,
					.on_progress = r->o->on_sweep,
					.on_note = r->o->on_note,
					.arg = r->o->arg};
	r->swept = true;
	/* Over connections of its own: a balancer may lead them to other servers than those of the pass before. */
	http_client_disconnect(r->o->cluster->http);
	return sweep_run(&options, ret, err);
}

/* It was stopped, perhaps, and its Lease is not old yet. */
static int check_all_reached(const struct api_servers *s, struct error **err)
{
	_cleanup_strings_ unreached = {0};
	api_servers_unreached(s, &unreached);
	return unreached.count == 0 ? 0
				    : error_set(err, ERROR_REFUSED, "%s was not reached: its version is not known",
						unreached.items[0]);
}

/* An older server drops fields that it does not know, of whatever it writes. Connections that were closed meanwhile are opened
 * again, and lead anywhere: so of each server that one is asked which is known to be its own, and is the first to be scraped
 * next. Where no server can be told from another, all. */
static int read_versions(struct api_servers *s, struct strings *ret, struct error **err)
{
	bool news = false, same = true;
	int rc = s->metrics_why ? 0 : api_servers_refresh(s, &news, err);
	if (rc == 0 && news)
		return error_set(err, ERROR_REFUSED, "the set of API servers changes");
	if (rc == 0 && !s->metrics_why)
		rc = api_servers_scrape(s, &news, err);
	for (size_t i = 0; rc == 0 && i < s->lane_count; i++) {
		_cleanup_free_ char *version = NULL;
		if (s->lanes[i].server != API_SERVER_NONE && api_servers_lane(s, s->lanes[i].server) != &s->lanes[i])
			continue;
		rc = kube_version(&s->lanes[i].kube, &version, err);
		if (rc == 0)
			strings_add(ret, version);
		/* A connection that was closed in between leads anywhere. */
		if (rc == 0 && s->lanes[i].server != API_SERVER_NONE)
			rc = api_servers_same(s, &s->lanes[i], &same, err);
		if (rc == 0 && !same)
			rc = error_set(err, ERROR_REFUSED, "the set of API servers changes");
	}
	strings_sort_unique(ret);
	return rc == 0 ? check_all_reached(s, err) : rc;
}

static int check_versions(const struct run *r, struct error **err)
{
	_cleanup_strings_ versions = {0};
	uint64_t until = loop_now(r->o->cluster->loop) + API_LEASE_ALIVE + REFUSALS_LONG;
	for (;;) {
		int rc = read_versions(r->o->servers, &versions, err);
		bool passes = rc == -ERROR_AUTH || rc == -ERROR_NETWORK || rc == -ERROR_BUSY || rc == -ERROR_REFUSED;
		if (rc == 0)
			break;
		if (!passes || loop_now(r->o->cluster->loop) >= until)
			return rc;
		_cleanup_free_ char *text = xstrdup(error_message(*err));
		error_clear(err);
		strings_free(&versions);
		rc = pause_until(r, loop_now(r->o->cluster->loop) + API_LOOK, text, err);
		if (rc < 0)
			return rc;
	}
	_cleanup_free_ char *names = strings_join(&versions, " and ");
	if (versions.count <= 1)
		return 0;
	int rc = error_set(err, ERROR_REFUSED,
			   "API servers of %s answer: what is rewritten through an older one may lose fields", names);
	error_set_hint(err, "%s: wait until the upgrade is over",
		       r->swept ? "some may have been before that showed" : "nothing was rewritten");
	return rc;
}

static int check_quarantine(const struct sweep_result *result, struct error **err)
{
	if (result->quarantined == 0)
		return 0;
	const struct sweep_quarantined *first = &result->quarantine[0];
	return error_set(err, ERROR_FINDING, "%llu objects could not be rewritten, for example %s %s%s%s: %s",
			 (unsigned long long)result->quarantined, first->resource->resource, first->namespace_,
			 *first->namespace_ ? "/" : "", first->name, first->why);
}

static int nothing_moved(const struct run *r, struct error **err)
{
	int rc = error_set(err, ERROR_REFUSED,
			   "nothing moved: all is current, or no server has adopted another key yet; without /metrics "
			   "the API does not tell which (%s)",
			   r->o->servers->metrics_why);
	error_set_hint(err, "with the right to GET the non-resource URL /metrics it can be told");
	return rc;
}

/* Patches with nothing, until nothing moves. A first pass that moved nothing was that already where it is known which key each
 * server writes with. */
static int prove_by_versions(struct run *r, struct error **err)
{
	struct api_rewrite *made = r->made;
	bool moved = made->sweep->moved > 0;
	made->quiet = made->sweep->rewritten == 0 && !r->o->servers->metrics_why;
	made->quiet_objects = made->sweep->objects;
	for (made->passes = 0; !made->quiet && made->passes < API_PASSES_MAX; made->passes++) {
		_cleanup_(sweep_result_freep) struct sweep_result *result = NULL;
		int rc = pass(r, SWEEP_PATCH, NULL, &result, err);
		if (rc == 0)
			rc = check_quarantine(result, err);
		if (rc < 0)
			return rc;
		made->quiet = result->rewritten == 0;
		made->quiet_objects = result->objects;
		moved = moved || result->moved > 0;
	}
	if (made->quiet && !moved && r->o->servers->metrics_why)
		return nothing_moved(r, err);
	if (made->quiet)
		return 0;
	int rc = error_set(err, ERROR_FINDING,
			   "objects go on moving, in each of %u passes: two servers write with two keys",
			   made->passes + 1);
	error_set_hint(err,
		       "each undoes what was rewritten through the other: wait until all have the same configuration");
	return rc;
}

/* --- what is said of it --- */

static void tell_servers(struct run *r)
{
	const struct api_servers *s = r->o->servers;
	if (s->metrics_why) {
		_cleanup_strings_ live = {0};
		for (size_t i = 0; i < s->server_count; i++)
			if (s->servers[i].live)
				strings_add(&live, s->servers[i].name);
		_cleanup_free_ char *names = strings_join(&live, ", ");
		add(&r->made->weaker,
		    xasprintf("no key was seen, and no server told from another (%s): %s",
			      live.count ? names : "how many there are is not known", s->metrics_why));
		return;
	}
	if (s->leases_why)
		add(&r->made->weaker, xasprintf("how many API servers there are is not known (%zu were met): %s",
						s->server_count, s->leases_why));
	for (size_t i = 0; i < s->server_count; i++)
		if (!s->servers[i].live && !s->servers[i].reached)
			add(&r->made->weaker,
			    xasprintf("%s has not renewed its Lease for a minute and was not asked: when it starts, it "
				      "reads its configuration anew",
				      s->servers[i].name));
}

static void tell_keys(struct run *r)
{
	for (size_t i = 0; i < r->made->census->resource_count; i++) {
		const struct api_census_resource *resource = &r->made->census->resources[i];
		char *label = storage_key_label(&resource->write_key.key);
		add(&r->made->evidence, xasprintf("fromStorage: %llu %s were read one by one, and each was counted "
						  "under %s by the server that "
						  "was asked (%llu reads of others beside)",
						  (unsigned long long)resource->objects, resource->resource->resource,
						  label, (unsigned long long)resource->others));
		if (!strings_has(&r->made->keys, label))
			strings_add(&r->made->keys, label);
		free(label);
	}
	strings_add(&r->made->proofs, "fromStorage");
}

static void tell_proof(struct run *r, bool counted)
{
	struct api_rewrite *made = r->made;
	_cleanup_strings_ names = {0};
	for (size_t i = 0; i < r->o->servers->server_count; i++) {
		const struct api_server *server = &r->o->servers->servers[i];
		if (server->canaries[0].count > 0 || server->canaries[1].count > 0)
			strings_add(&names, server->name);
	}
	strings_sort_unique(&names);
	if (names.count > 0) {
		_cleanup_free_ char *who = strings_join(&names, ", ");
		add(&made->evidence,
		    xasprintf("canary: a write of ours through each of %s was counted under that key", who));
		strings_add(&made->proofs, "canary");
	}
	if (made->quiet) {
		add(&made->evidence,
		    xasprintf("resourceVersion: %llu objects were patched with nothing, and none moved",
			      (unsigned long long)made->quiet_objects));
		strings_add(&made->proofs, "resourceVersion");
	}
	if (counted)
		tell_keys(r);
	tell_servers(r);
}

/* What values were under before is left; what they are under now stays. */
static void forget_present_keys(struct api_rewrite *made)
{
	struct strings left = {0};
	for (size_t i = 0; i < made->old_keys.count; i++)
		if (!strings_has(&made->keys, made->old_keys.items[i]))
			strings_add(&left, made->old_keys.items[i]);
	strings_free(&made->old_keys);
	made->old_keys = left;
}

/* --- all of it --- */

/* One key ID, and material that changed under it: a new write is all that can be done, and nothing shows what came of it. */
static int forced(struct run *r, struct error **err)
{
	char when[28];
	clock_format(clock_wall(), 0, when);
	int rc = check_versions(r, err);
	if (rc == 0)
		rc = pass(r, SWEEP_PATCH, when, &r->made->sweep, err);
	if (rc == 0)
		rc = check_quarantine(r->made->sweep, err);
	if (rc < 0)
		return rc;
	add(&r->made->evidence,
	    xasprintf("forced: %llu objects were written after %s, each with an annotation (" KUBE_MARK ")",
		      (unsigned long long)r->made->sweep->rewritten, when));
	strings_add(&r->made->weaker,
		    "under which material they are now is not shown by any API: a server that has not "
		    "restarted since the material changed goes on with the DEK that it drew before");
	strings_add(&r->made->proofs, "forced");
	tell_servers(r);
	return 0;
}

/* Rewrites and proves once; *ret_again: a server started anew meanwhile, or was named another key, which is followed, too. */
static int once(struct run *r, bool *ret_again, struct error **err)
{
	struct api_servers *s = r->o->servers;
	_cleanup_free_ char *why = NULL;
	_cleanup_free_ char *why_then = NULL;
	bool proved, comes, news = false;
	*ret_again = true;
	sweep_result_free(steal(r->made->sweep));
	api_census_free(steal(r->made->census));
	/* What the round before proved is none of this one's. */
	r->made->quiet = false;
	r->made->quiet_objects = 0;
	r->made->passes = 0;
	int rc = 0;
	if (r->o->follow)
		rc = await_adoption(r, err);
	else if (!s->metrics_why)
		rc = look_again(r, err);
	if (rc == 0 && !r->o->follow)
		rc = write_canaries(r, &proved, &comes, &why, err);
	if (rc == 0)
		rc = check_versions(r, err);
	if (rc == 0)
		rc = pass(r, r->o->mode, NULL, &r->made->sweep, err);
	if (rc == 0)
		rc = check_quarantine(r->made->sweep, err);
	if (rc == 0)
		rc = prove_by_versions(r, err);
	if (rc == 0 && r->o->follow)
		rc = settle(r, err);
	if (rc < 0 || s->metrics_why)
		return rc;
	/* What servers write with at the end, too: one may have changed its key since. */
	rc = write_canaries(r, &proved, &comes, &why_then, err);
	if (rc == -ERROR_REFUSED && r->o->follow)
		return error_forgive(err, rc, ERROR_REFUSED);
	if (rc == 0)
		rc = read_all(r, &r->made->census, err);
	if (rc == 0)
		rc = api_servers_refresh(s, &news, err);
	*ret_again = rc == 0 && (news || r->made->census->restarted || r->made->census->moved ||
				 (r->o->follow && r->made->census->stale_min > 0));
	return rc;
}

static int run(struct run *r, struct error **err)
{
	bool again = true;
	int rc = 0;
	if (r->o->force)
		return forced(r, err);
	if (r->o->follow)
		rc = await_move(r, err);
	for (unsigned rounds = 0; rc == 0 && again && rounds < API_ROUNDS_MAX; rounds++) {
		if (rounds > 0)
			note(r, "an API server started, joined, reloaded its configuration or was named another key in "
				"the "
				"middle: once more");
		rc = once(r, &again, err);
		again = again && rc == 0 && !r->o->servers->metrics_why;
	}
	if (rc < 0)
		return rc;
	if (again && !(r->made->census && r->made->census->stale_min > 0))
		rc = error_set(err, ERROR_REFUSED,
			       "an API server started, joined, reloaded or was named another key in each of %u rounds",
			       API_ROUNDS_MAX);
	else if (r->made->census)
		rc = api_census_verdict(r->made->census, err);
	/* What was counted proves something only as a whole. */
	tell_proof(r, rc == 0 && r->made->census);
	return rc;
}

/* One that stays harms nobody: it is said, and that is all. */
static void delete_canaries(const struct run *r)
{
	_cleanup_error_ failed = NULL;
	if (api_canaries_delete(r->o->servers, &failed) == 0)
		return;
	_cleanup_free_ char *words = xasprintf("a canary was not deleted: %s", error_message(failed));
	note(r, words);
}

int api_rewrite_run(const struct api_rewrite_options *options, struct api_rewrite **ret, struct error **err)
{
	struct run r = {.o = options, .made = xcalloc(1, sizeof(struct api_rewrite))};
	*ret = r.made;
	int rc = run(&r, err);
	delete_canaries(&r);
	strings_free(&r.troubles);
	if (rc == 0)
		forget_present_keys(r.made);
	else
		strings_free(&r.made->old_keys);
	return rc;
}

void api_rewrite_free(struct api_rewrite *rewrite)
{
	if (!rewrite)
		return;
	sweep_result_free(rewrite->sweep);
	api_census_free(rewrite->census);
	strings_free(&rewrite->proofs);
	strings_free(&rewrite->evidence);
	strings_free(&rewrite->weaker);
	strings_free(&rewrite->keys);
	strings_free(&rewrite->old_keys);
	free(rewrite);
}

void api_rewrite_freep(struct api_rewrite **rewrite)
{
	api_rewrite_free(*rewrite);
}
