/* What the controller sees: the rotation that goes on, the agents' reports, and every API server's own /metrics, which
 * must fit together. */
#include "engine/controller_internal.h"

#include <limits.h>
#include <string.h>

#include "base/clock.h"
#include "engine/program_version.h"
#include "engine/quiet.h"

#define MS NS_PER_MS
#define SCRAPE_LIFE (3 * NS_PER_S)
#define SCRAPE_TIMEOUT (5 * NS_PER_S) /* reports get old meanwhile, and people are told nothing */
#define ENDPOINTS_INTERVAL (10 * NS_PER_S)
#define NODES_INTERVAL (10 * NS_PER_S)
#define RESCUE_AGAIN (30 * NS_PER_S) /* until then one that came to nothing comes behind those that may not */

static bool has_all(const struct strings *these, const struct strings *those)
{
	bool all = true;
	for (size_t i = 0; i < those->count; i++)
		all = all && strings_has(these, those->items[i]);
	return all;
}

static void set_unsure(struct controller *c, char *why)
{
	if (c->set_why)
		free(why);
	else
		c->set_why = why;
}

/* --- the set of servers: it only grows --- */

static struct key_rotation_server *in_set(const struct controller *c, const char *name)
{
	for (size_t i = 0; i < c->rotation->status.server_count; i++)
		if (text_equal(c->rotation->status.servers[i].name, name))
			return &c->rotation->status.servers[i];
	return NULL;
}

static struct directed *directed(const struct controller *c, const char *name)
{
	for (size_t i = 0; i < c->server_count; i++)
		if (text_equal(c->servers[i].name, name))
			return &c->servers[i];
	return NULL;
}

static void grow_set(struct controller *c, const char *name, const char *identity)
{
	struct key_rotation_status *status = &c->rotation->status;
	struct key_rotation_server *server = in_set(c, name);
	if (!server) {
		status->servers = xreallocarray(status->servers, status->server_count + 1, sizeof(*status->servers));
		server = &status->servers[status->server_count++];
		*server = (struct key_rotation_server){.name = xstrdup(name)};
	}
	if (identity && !text_equal(server->identity, identity)) {
		free(server->identity);
		server->identity = xstrdup(identity);
	}
}

/* Those that are directed: the set without the forgotten ones. Places stay, for a leader sees it grow only. */
static void follow_set(struct controller *c)
{
	for (size_t i = 0; i < c->rotation->status.server_count; i++) {
		const struct key_rotation_server *server = &c->rotation->status.servers[i];
		if (server->forgotten || directed(c, server->name))
			continue;
		c->servers = xreallocarray(c->servers, c->server_count + 1, sizeof(*c->servers));
		c->servers[c->server_count++] =
			(struct directed){.name = xstrdup(server->name), .canary_step = STEP_NONE};
	}
	for (size_t i = 0; i < c->server_count; i++) {
		free(c->servers[i].loaded_hash);
		c->servers[i].loaded_hash = NULL;
		c->servers[i].scraped = false;
		c->servers[i].metrics = NULL;
	}
}

static int make_key_server(struct controller *c, const char *name, struct error **err)
{
	_cleanup_(key_server_freep) struct key_server *server = key_server_new(name);
	_cleanup_free_ char *body = NULL;
	int rc = key_server_spec_body(server, &body, err);
	if (rc < 0)
		return rc;
	const struct kube_custom_request request = {
		.verb = CUSTOM_CREATE, .collection = KEY_SERVERS_PATH, .body = body};
	rc = kube_custom_fetch(&c->options->cluster->kube, &request, NULL, err);
	return error_forgive(err, rc, ERROR_CONFLICT);
}

static int make_key_servers(struct controller *c, const struct kube_identities *identities, struct error **err)
{
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < identities->count; i++) {
		const char *name = kube_identity_name(&identities->items[i]);
		rc = fleet_find(&c->fleet, name) ? 0 : make_key_server(c, name, err);
	}
	return rc;
}

/* Keys that were put back by order, by who did it: an order that nobody carried out, or the same one after the death of its
 * controller or its agent, counts for nothing. Those of a server that was forgotten do, as long as its KeyServer is there. */
static unsigned rescues(const struct controller *c)
{
	uint64_t count = 0;
	for (size_t i = 0; i < c->fleet.count; i++) {
		const struct key_server_status *status = &c->fleet.servers[i].last->status;
		if (text_equal(status->path_of, c->rotation->meta.uid) && status->rescues < UINT_MAX - count)
			count += status->rescues;
	}
	return (unsigned)count;
}

/* One that was stopped in order took its Lease with it, perhaps before anybody looked: its Node is still there. */
static void find_nodes(struct controller *c)
{
	const struct key_rotation_status *status = &c->rotation->status;
	const struct strings nobody = {0};
	_cleanup_strings_ names = {0}, troubles = {0};
	uint64_t now = clock_monotonic();
	if (c->hosts_asked == 0 || now >= c->hosts_asked + NODES_INTERVAL) {
		c->hosts_asked = now;
		server_set_look_at_nodes(&c->hosts, &c->options->cluster->kube, &troubles);
	}
	for (size_t i = 0; i < troubles.count; i++)
		controller_note(c, "%s", troubles.items[i]);
	/* No answer, and none that names a server, is no proof that there is no other one: then a person says how many. */
	if (c->rotation->spec.servers == 0 && !c->hosts.nodes_read)
		set_unsure(c,
			   xstrdup("control-plane Nodes could not be listed, and a stopped server may show by its Node "
				   "alone"));
	else if (c->rotation->spec.servers == 0 && c->hosts.nodes.count == 0)
		set_unsure(c,
			   xstrdup("no Node is a control plane's, by which a server that was stopped would be known: "
				   "abort this rotation and ask for one with --servers N"));
	for (size_t i = 0; i < status->server_count; i++)
		strings_add(&names, status->servers[i].name);
	size_t known = names.count;
	server_set_grow(&c->hosts, &nobody, &names);
	for (size_t i = known; i < names.count; i++)
		grow_set(c, names.items[i], NULL);
}

static void find_servers(struct controller *c, const struct kube_identities *identities)
{
	for (size_t i = 0; i < identities->count; i++) {
		const char *name = kube_identity_name(&identities->items[i]);
		const struct key_rotation_server *known = in_set(c, name);
		if (known && known->forgotten)
			set_unsure(c,
				   xasprintf("%s was forgotten as gone for good, but has an identity Lease (%s): it is "
					     "back, or left that behind",
					     name, identities->items[i].lease_name));
		grow_set(c, name, identities->items[i].lease_name);
	}
	for (size_t i = 0; i < c->fleet.count; i++) {
		const struct fleet_server *server = &c->fleet.servers[i];
		const struct key_rotation_server *known = in_set(c, server->last->meta.name);
		/* Agents wait for what it says, too. */
		if (known && known->forgotten && fleet_is_fresh(server, clock_monotonic()))
			set_unsure(c,
				   xasprintf("%s was forgotten as gone for good, but its agent reports", known->name));
		grow_set(c, server->last->meta.name, server->last->status.identity);
	}
	find_nodes(c);
	follow_set(c);
}

/* An order that is not in the KeyServer any more, which somebody deleted or put back, was never sent. */
static void forget_lost_orders(struct controller *c)
{
	for (size_t i = 0; i < c->server_count; i++) {
		struct key_server_spec *sent = &c->servers[i].sent;
		const struct fleet_server *server = fleet_find(&c->fleet, c->servers[i].name);
		const struct key_server_spec *spec = server ? &server->last->spec : NULL;
		if (sent->epoch == 0 ||
		    (spec && text_equal(spec->rotation, c->fence_rotation) && spec->epoch == sent->epoch &&
		     spec->sequence == sent->sequence && text_equal(spec->action ? spec->action : "", sent->action)))
			continue;
		object_release(&key_server_spec_record, sent);
		*sent = (struct key_server_spec){0};
	}
}

/* --- every server's own /metrics --- */

static struct directed *by_id_hash(const struct controller *c, const struct kube_identities *identities,
				   const char *id_hash)
{
	for (size_t i = 0; i < identities->count; i++) {
		const struct kube_identity *identity = &identities->items[i];
		if (text_equal(identity->id_hash, id_hash))
			return directed(c, kube_identity_name(identity));
	}
	return NULL;
}

static uint64_t process_of(const struct apiserver_metrics *metrics)
{
	return metrics->has_process_start ? (uint64_t)(metrics->process_start * 1000.0) : 0;
}

/* Before 1.34 a server tells who it is only once it has reloaded: until then it is the one whose agent, and no other one,
 * reports this very process. Of several that began at the same moment it is the one that reports this very address. */
static struct directed *by_process(const struct controller *c, const char *url, uint64_t process)
{
	struct directed *found = NULL;
	bool several = false;
	for (size_t i = 0; i < c->server_count; i++) {
		const struct fleet_server *server = fleet_find(&c->fleet, c->servers[i].name);
		if (process == 0 || !server || server->last->status.process != process)
			continue;
		if (text_equal(server->last->status.apiserver, url))
			return &c->servers[i];
		several = several || found;
		found = &c->servers[i];
	}
	return several ? NULL : found;
}

static struct directed *identify(const struct controller *c, const char *url, const struct apiserver_metrics *metrics,
				 const struct kube_identities *identities)
{
	if (metrics->id_hash_count == 0 && metrics->loaded_hash_count == 0)
		return by_process(c, url, process_of(metrics));
	return metrics->id_hash_count == 1 ? by_id_hash(c, identities, metrics->id_hashes[0]) : NULL;
}

static void take_metrics(struct controller *c, struct kube *kube, const struct scraped *scraped,
			 const struct kube_identities *identities)
{
	const struct apiserver_metrics *metrics = &scraped->metrics;
	struct directed *server = identify(c, kube->name, metrics, identities);
	if (!server || metrics->contradictory || metrics->loaded_hash_count > 1) {
		set_unsure(
			c,
			xasprintf("%s is no server that an identity Lease names, or two of them%s: each address has to "
				  "lead to one server alone",
				  kube->name,
				  metrics->id_hash_count == 0 ? ", or its agent has not reported this process yet"
							      : ""));
		return;
	}
	if (server->scraped) {
		set_unsure(c, xasprintf("%s and %s are the same server, %s: leave one of the addresses out", kube->name,
					server->kube->name, server->name));
		return;
	}
	server->kube = kube;
	server->scraped = true;
	server->scraped_at = scraped->at;
	server->metrics = metrics;
	server->process = process_of(metrics);
	server->loaded_hash = metrics->loaded_hash_count == 1 ? xstrdup(metrics->loaded_hashes[0]) : NULL;
}

/* What was seen a moment ago will do where the agent goes on saying the same: /metrics is the dearest page of a server. */
static bool still_holds(const struct controller *c, const char *url, const struct scraped *scraped,
			const struct kube_identities *identities)
{
	if (!scraped->good || clock_monotonic() > scraped->at + SCRAPE_LIFE || scraped->metrics.loaded_hash_count > 1)
		return false;
	if (controller_kms_outdates(c, scraped->at))
		return false;
	const struct directed *server = identify(c, url, &scraped->metrics, identities);
	const struct fleet_server *reported = server ? fleet_find(&c->fleet, server->name) : NULL;
	const char *loaded = scraped->metrics.loaded_hash_count == 1 ? scraped->metrics.loaded_hashes[0] : NULL;
	return reported && text_equal(reported->last->status.loaded_hash, loaded) &&
	       reported->last->status.process == process_of(&scraped->metrics);
}

/* That a server is down is seen without a word; one that does not let us look says why. */
static void scrape(const struct controller *c, struct kube *kube, struct scraped *ret)
{
	_cleanup_error_ failed = NULL;
	apiserver_metrics_free(&ret->metrics);
	ret->metrics = (struct apiserver_metrics){0};
	ret->at = clock_monotonic();
	int rc = kube_scrape_within(kube, SCRAPE_TIMEOUT, &ret->metrics, &failed);
	ret->good = rc == 0;
	if (rc == -ERROR_AUTH && !ret->refused)
		controller_note(c, "%s: %s", kube->name, error_message(failed));
	ret->refused = rc == -ERROR_AUTH;
	ret->slow = rc < 0 && clock_monotonic() >= ret->at + SCRAPE_TIMEOUT;
}

static bool has_lease(const struct kube_identities *identities, const struct kube_identity *lease)
{
	for (size_t i = 0; i < identities->count; i++)
		if (text_equal(identities->items[i].lease_name, lease->lease_name) &&
		    text_equal(kube_identity_name(&identities->items[i]), kube_identity_name(lease)))
			return true;
	return false;
}

/* Scrapes take a while, and a server that joined meanwhile would not be in the set. One whose Lease went meanwhile stays in. */
static int read_leases_again(struct controller *c, const struct kube_identities *before, struct error **err)
{
	struct kube_identities now = {0};
	int rc = kube_identities_fetch(&c->options->cluster->kube, &now, err);
	for (size_t i = 0; rc == 0 && i < now.count; i++)
		if (!has_lease(before, &now.items[i]))
			set_unsure(c, xasprintf("%s joined while the servers were looked at",
						kube_identity_name(&now.items[i])));
	kube_identities_free(&now);
	return rc;
}

static void scrape_all(struct controller *c, const struct kube_identities *identities)
{
	for (size_t i = 0; i < c->options->server_count; i++) {
		struct scraped *scraped = &c->scraped[i];
		if (!still_holds(c, c->options->servers[i]->name, scraped, identities))
			scrape(c, c->options->servers[i], scraped);
		if (scraped->good)
			take_metrics(c, c->options->servers[i], scraped, identities);
	}
	if (c->options->server_count == c->server_count)
		return;
	_cleanup_strings_ names = {0};
	for (size_t i = 0; i < c->server_count; i++)
		strings_add(&names, c->servers[i].name);
	_cleanup_free_ char *all = strings_join(&names, ", ");
	set_unsure(
		c,
		xasprintf(
			"%zu addresses are given, and the cluster has %zu API servers (%s): give one (--apiserver) for "
			"each, and start what is down",
			c->options->server_count, c->server_count, all));
}

/* --- the agents' reports --- */

const struct key_server_status *controller_status(const struct controller *c, size_t index)
{
	const struct fleet_server *server = fleet_find(&c->fleet, c->servers[index].name);
	return server ? &server->last->status : NULL;
}

struct agent_report *controller_reports(const struct controller *c)
{
	struct agent_report *reports = xcalloc(c->server_count + 1, sizeof(*reports));
	for (size_t i = 0; i < c->server_count; i++)
		reports[i] = fleet_report(fleet_find(&c->fleet, c->servers[i].name));
	return reports;
}

/* An agent says that its server answers, and at no address is it found. */
static bool misses_address(const struct controller *c)
{
	for (size_t i = 0; i < c->server_count; i++)
		if (!c->servers[i].scraped && controller_status(c, i) && controller_status(c, i)->answering)
			return true;
	return false;
}

/* A server that stops loses its place there for a while: one address less counts only where there are too many. */
bool controller_servers_moved(struct controller *c)
{
	const struct controller_options *options = c->options;
	_cleanup_strings_ given = {0};
	_cleanup_strings_ urls = {0};
	uint64_t now = clock_monotonic();
	if (!options->by_endpoints || !(c->set_why || misses_address(c)) ||
	    now < c->endpoints_asked + ENDPOINTS_INTERVAL)
		return false;
	c->endpoints_asked = now;
	for (size_t i = 0; i < options->server_count; i++)
		strings_add(&given, options->servers[i]->name);
	if (kube_endpoint_urls_fetch(&options->cluster->kube, &urls, NULL) < 0 || urls.count == 0)
		return false;
	return !has_all(&given, &urls) || (options->server_count > c->server_count && !has_all(&urls, &given));
}

/* What was reported last counts, however long ago: an order would wait there for whoever comes back. */
char *controller_odd_version(const struct controller *c)
{
	for (size_t i = 0; i < c->server_count; i++) {
		const struct key_server_status *status = controller_status(c, i);
		if (!status || status->beat == 0 || program_version_fits(KUBE_REKEY_VERSION, status->agent_version))
			continue;
		return xasprintf(
			"%s: its agent is kube-rekey %s, and this controller %s: nothing is ordered before they "
			"are of one version (or the agent of the minor version before)",
			c->servers[i].name,
			status->agent_version ? status->agent_version : "of no version that it tells",
			KUBE_REKEY_VERSION);
	}
	return NULL;
}

/* --- all of it --- */

static void doubt(struct server_observation *seen, char *why)
{
	free(seen->why);
	seen->why = why;
}

/* Whether each address that was given is that of a server that answered there. */
static bool all_addresses_answer(const struct controller *c)
{
	size_t answered = 0;
	for (size_t i = 0; i < c->server_count; i++)
		answered += c->servers[i].scraped;
	return answered == c->options->server_count;
}

static bool is_slow(const struct controller *c, const struct directed *server)
{
	for (size_t i = 0; i < c->options->server_count; i++)
		if (c->options->servers[i] == server->kube)
			return c->scraped[i].slow;
	return false;
}

/* The agent's word and the server's own must be the same. */
static void compare(const struct controller *c, const struct directed *server, struct server_observation *seen)
{
	if (!server->scraped) {
		seen->answering = false;
		if (!seen->why)
			seen->why =
				xstrdup(all_addresses_answer(c) ? "none of the given addresses is its own"
					: is_slow(c, server)
						? "its own /metrics did not come within 5 s: it is too busy, or cut off"
						: "its own address does not answer");
		return;
	}
	if (seen->looked_at > server->scraped_at)
		seen->looked_at = server->scraped_at;
	if (!seen->answering || seen->loaded != FACT_KNOWN)
		return;
	bool same = seen->process == server->process && server->process != 0 &&
		    (!server->loaded_hash || text_equal(server->loaded_hash, seen->loaded_hash));
	if (same)
		return;
	seen->loaded = FACT_UNKNOWN;
	doubt(seen, xasprintf("its agent and its own /metrics do not say the same (yet)"));
}

static void note_behind(struct directed *server, const struct server_observation *seen, uint64_t now)
{
	if (!seen->answering || seen->file != FACT_KNOWN || seen->file_step == STEP_NONE)
		return;
	bool behind = seen->file_step < seen->written_step;
	if (!behind || server->behind_since == 0 || server->behind_process != seen->process)
		server->behind_since = behind ? now : 0;
	server->behind_process = seen->process;
}

static void note_file(struct directed *server, const struct server_observation *seen)
{
	if (!seen->file_hash || text_equal(server->file, seen->file_hash))
		return;
	free(server->file);
	server->file = xstrdup(seen->file_hash);
	server->reload_by = clock_wall() + RELOAD_POLL;
}

static void observe_servers(struct controller *c, uint64_t now)
{
	struct observation *seen = &c->seen;
	seen->servers = xcalloc(c->server_count + 1, sizeof(*seen->servers));
	seen->server_count = c->server_count;
	const char *path_of = c->rotation->status.step_count > 0 ? c->fence_rotation : NULL;
	for (size_t i = 0; i < c->server_count; i++) {
		struct directed *server = &c->servers[i];
		struct server_observation *ret = &seen->servers[i];
		fleet_observe(fleet_find(&c->fleet, server->name), server->name, path_of,
			      key_rotation_goes_back(c->rotation), now, ret);
		if (path_of)
			fleet_bound_steps(ret, key_rotation_steps(&c->rotation->status));
		compare(c, server, ret);
		note_behind(server, ret, now);
		note_file(server, ret);
		/* Longer than the order lies there: while it is another one's turn, this one has none. */
		if (controller_rescue_fails(c, i))
			server->rescue_failed_at = now;
		ret->rescue_fails = server->rescue_failed_at > 0 && now < server->rescue_failed_at + RESCUE_AGAIN;
		ret->canary_step = server->canary_at ? server->canary_step : STEP_NONE;
		ret->canary_at = server->canary_at;
		ret->canary_process = server->canary_process;
		ret->canary_impossible = c->path && !canary_possible(c->path);
	}
	seen->untouched = c->rotation->status.back_from == 0;
	seen->servers_known = c->set_why || c->server_count == 0 ? FACT_UNKNOWN : FACT_KNOWN;
	seen->servers_why = c->set_why ? xstrdup(c->set_why) : NULL;
}

/* Silence: what every agent saw beside its server, and all of them together. An etcd that went back, which one saw. */
static void observe_quiet(struct controller *c, uint64_t now)
{
	uint64_t since = 0, looked = UINT64_MAX, back_at = 0;
	bool all = c->server_count > 0;
	for (size_t i = 0; i < c->server_count; i++) {
		const struct fleet_server *server = fleet_find(&c->fleet, c->servers[i].name);
		bool fresh = fleet_is_fresh(server, now);
		uint64_t quiet = fresh && server->last->status.quiet_milliseconds < now / MS
					 ? server->last->status.quiet_milliseconds * MS
					 : 0;
		if (fresh)
			fleet_add_members(server, &c->seen);
		uint64_t back = server ? server->last->status.etcd_back_age_milliseconds : 0;
		/* By the time of reading: rather too late. */
		if (back > 0 && back < server->beat_read_at / MS && server->beat_read_at - back * MS > back_at)
			back_at = server->beat_read_at - back * MS;
		if (quiet == 0 || quiet > server->beat_read_at) {
			all = false;
			continue;
		}
		uint64_t began = server->beat_read_at - quiet;
		since = began > since ? began : since;
		uint64_t until = fleet_seen_until(server);
		looked = until < looked ? until : looked;
	}
	c->seen.etcd_back_at = back_at;
	uint64_t begun = c->census.seen.begun;
	if (begun > 0 && begun <= back_at && begun != c->back_told) {
		controller_note(c, ETCD_BACK_NOTE);
		c->back_told = begun;
	}
	c->seen.quiet_since = all ? since : 0;
	c->seen.etcd_looked_at = all ? looked : 0;
	/* A member that joined since then was never watched. */
	_cleanup_free_ char *members = controller_members(c);
	if (c->seen.members_known == FACT_KNOWN && !text_equal(members, c->settled_members))
		c->settled_began = c->settled_ended = 0;
}

char *controller_members(const struct controller *c)
{
	struct strings names = {0};
	for (size_t i = 0; i < c->seen.member_count; i++)
		strings_add(&names, c->seen.members[i].name);
	char *text = strings_join(&names, " ");
	strings_free(&names);
	return text;
}

static struct census_group group_of(const struct key_server_group *told)
{
	struct census_group group = {.resource = told->resource ? xstrdup(told->resource) : NULL,
				     .kms_version = (unsigned)told->kms_version,
				     .name = xstrdup(told->name ? told->name : ""),
				     .key_id = told->key_id ? xstrdup(told->key_id) : NULL,
				     .values = told->values,
				     .unknown = told->unknown,
				     .foreign = told->foreign,
				     .expected = told->expected,
				     .example = told->example ? xstrdup(told->example) : NULL};
	if (!told->provider || !provider_from_name(told->provider, &group.type))
		group.unknown = true;
	return group;
}

static bool same_group(const struct census_group *a, const struct census_group *b)
{
	return a->type == b->type && a->kms_version == b->kms_version && a->unknown == b->unknown &&
	       a->foreign == b->foreign && a->expected == b->expected && text_equal(a->resource, b->resource) &&
	       text_equal(a->name, b->name) && text_equal(a->key_id, b->key_id);
}

static void take_group(struct census_observation *census, struct census_group *group)
{
	for (size_t i = 0; i < census->group_count; i++) {
		struct census_group *known = &census->groups[i];
		if (!same_group(known, group))
			continue;
		known->values = group->values > known->values ? group->values : known->values;
		census_group_free(group);
		return;
	}
	census->groups = xreallocarray(census->groups, census->group_count + 1, sizeof(*census->groups));
	census->groups[census->group_count++] = *group;
}

void controller_take_groups(const struct key_server_status *status, struct census_observation *ret)
{
	for (size_t i = 0; i < status->census.group_count; i++) {
		struct census_group group = group_of(&status->census.groups[i]);
		take_group(ret, &group);
	}
}

static const char *why_no_census(const struct controller *c, size_t i)
{
	const struct key_server_status *status = controller_status(c, i);
	switch (controller_outcome(c, i, ORDER_CENSUS, c->census.epoch, c->census.sequence)) {
	case OUTCOME_FAILED:
	case OUTCOME_REFUSED:
		return status->done.message ? status->done.message : "not taken";
	case OUTCOME_OK:
	case OUTCOME_OPEN:
	case OUTCOME_LOST:
		break;
	}
	return "its agent has it no more";
}

/* The longest of all: how long history may stay. 0: nobody compacts. */
static uint64_t compaction_interval(const struct controller *c)
{
	uint64_t longest = 0;
	for (size_t i = 0; i < c->server_count; i++) {
		const struct key_server_status *status = controller_status(c, i);
		uint64_t own = status ? status->compaction_interval_milliseconds * MS : 0;
		longest = own > longest ? own : longest;
	}
	return longest;
}

/* One that all agents took by the last order: what any of them doubts is in doubt, and what any of them found is there, for each
 * reads at a revision of its own. One that an agent no longer has, since it was started anew or because it does not do for the
 * drop, is incomplete: no agent drops a key without its own. */
static void observe_census(struct controller *c, uint64_t now)
{
	struct census_observation whole = {.begun = c->census.sent_at, .complete = true, .compacted = true};
	const struct key_server_status *fullest = NULL, *opener = NULL; /* opener: who opened least */
	bool taken = c->census.seen.begun == whole.begun;
	if (c->census.sequence == 0)
		return;
	for (size_t i = 0; i < c->server_count; i++) {
		const struct key_server_status *status = controller_status(c, i);
		bool good = status && status->census.epoch == c->census.epoch &&
			    status->census.sequence == c->census.sequence;
		if (!good && !taken &&
		    controller_outcome(c, i, ORDER_CENSUS, c->census.epoch, c->census.sequence) == OUTCOME_OPEN)
			goto not_yet;
		if (!good || !status->census.complete) {
			whole.complete = false;
			if (!whole.why)
				whole.why = xasprintf("%s: %s", c->servers[i].name,
						      !good                ? why_no_census(c, i)
						      : status->census.why ? status->census.why
									   : "not taken");
		}
		whole.compacted = whole.compacted && good && status->census.compacted;
		whole.unsettled = whole.unsettled || (good && status->census.unsettled);
		whole.does_not_open = good && status->census.does_not_open > whole.does_not_open
					      ? status->census.does_not_open
					      : whole.does_not_open;
		if (good && (!fullest || (status->census.complete && !fullest->census.complete)))
			fullest = status;
		if (good)
			controller_take_groups(status, &whole);
		if (good && (!opener || status->census.not_opened > opener->census.not_opened))
			opener = status;
	}
	if (opener) {
		whole.opened = opener->census.opened;
		whole.not_opened = opener->census.not_opened;
		whole.why_not_opened = xstrdup_or_null(opener->census.why_not_opened);
	}
	whole.revision = fullest ? fullest->census.revision : 0;
	if (!taken) /* what an agent waited with it for is over */
		controller_trouble(c, NULL);
	uint64_t interval = compaction_interval(c);
	whole.finished = taken ? c->census.seen.finished : now;
	whole.compaction_expected = interval ? whole.finished + 2 * interval + 60 * NS_PER_S : 0;
	census_observation_free(&c->census.seen);
	c->census.seen = whole;
	return;
not_yet: /* the one before stands */
	census_observation_free(&whole);
}

uint64_t controller_settle_rule(const struct controller *c)
{
	return fleet_settle_time(&c->fleet, c->options->cluster->request_timeout, c->seen.members_behind_balancer);
}

static uint64_t settle_time(const struct controller *c)
{
	if (c->rotation->spec.settle_seconds > 0)
		return c->rotation->spec.settle_seconds * NS_PER_S;
	return c->options->has_settle ? c->options->settle : controller_settle_rule(c);
}

/* Who reports, and who leads what. */
static int read_servers(struct controller *c, struct kube_identities *ret, struct error **err)
{
	int rc = fleet_read(&c->fleet, &c->options->cluster->kube, err);
	if (rc == 0)
		rc = kube_identities_fetch(&c->options->cluster->kube, ret, err);
	if (rc == 0)
		rc = make_key_servers(c, ret, err);
	return rc;
}

int controller_look_for_servers(struct controller *c, struct error **err)
{
	struct kube_identities identities = {0};
	int rc = read_servers(c, &identities, err);
	kube_identities_free(&identities);
	return rc;
}

/* Those that are gone for good do not count. */
static size_t count_known(const struct controller *c)
{
	size_t count = 0;
	for (size_t i = 0; i < c->rotation->status.server_count; i++)
		count += !c->rotation->status.servers[i].forgotten;
	return count;
}

int controller_look(struct controller *c, struct error **err)
{
	struct kube_identities identities = {0};
	int rc = read_servers(c, &identities, err);
	free(c->set_why);
	c->set_why = NULL;
	if (rc == 0 && identities.count == 0)
		set_unsure(c, xstrdup("no identity Leases name the API servers"));
	if (rc == 0) {
		find_servers(c, &identities);
		scrape_all(c, &identities);
		/* Again: scrapes take a while, and a report is known to be no older than the list before the one that it is in. */
		rc = fleet_read(&c->fleet, &c->options->cluster->kube, err);
	}
	if (rc == 0)
		rc = read_leases_again(c, &identities, err);
	kube_identities_free(&identities);
	if (rc < 0)
		return rc;
	size_t known = count_known(c);
	/* What was said counted those that were forgotten since, or did not. */
	uint64_t said = c->rotation->spec.servers;
	if (said && (said < known || said > c->rotation->status.server_count))
		set_unsure(c, xasprintf("spec.servers says %llu, and %zu are known",
					(unsigned long long)c->rotation->spec.servers, known));
	forget_lost_orders(c);
	/* The census is lent: it outlives many looks. */
	c->seen.census = (struct census_observation){0};
	observation_free_contents(&c->seen);
	c->seen = (struct observation){0};
	uint64_t now = clock_monotonic();
	observe_servers(c, now);
	observe_quiet(c, now);
	observe_census(c, now);
	c->seen.census = c->census.seen;
	c->seen.sweep = c->sweep;
	c->seen.settled_began = c->settled_began;
	c->seen.settled_ended = c->settled_ended;
	c->seen.reads_checked_at = c->reads_checked_at;
	unsigned put_back = rescues(c);
	if (c->rotation->status.rescues < put_back)
		c->rotation->status.rescues = put_back;
	c->seen.rescues = key_rotation_rescues(&c->rotation->status);
	c->seen.retired = c->rotation->status.retired;
	c->seen.settle_time = settle_time(c);
	c->seen.compact = c->rotation->spec.compact;
	return 0;
}
