#include "engine/api_servers.h"

#include <math.h>

#include "base/clock.h"

#define SEARCH_PAUSE (NS_PER_S / 2)

/* --- who there is --- */

static void server_free(struct api_server *server)
{
	free(server->name);
	free(server->id_hash);
	free(server->loaded);
	storage_metrics_free(&server->metrics);
	for (size_t i = 0; i < ELEMENTS(server->canaries); i++)
		storage_keys_free(&server->canaries[i]);
}

static bool is_missing(const struct api_server *server)
{
	return server->live && !server->reached;
}

static size_t find_server(const struct api_servers *s, const char *id_hash)
{
	for (size_t i = 0; i < s->server_count; i++)
		if (text_equal(s->servers[i].id_hash, id_hash))
			return i;
	return API_SERVER_NONE;
}

static size_t add_server(struct api_servers *s, const char *name, const char *id_hash)
{
	s->servers = xreallocarray(s->servers, s->server_count + 1, sizeof(*s->servers));
	s->servers[s->server_count] = (struct api_server){.name = xstrdup(name), .id_hash = xstrdup(id_hash)};
	return s->server_count++;
}

void api_server_take_lease(struct api_server *server, const struct kube_identity *lease, uint64_t newest,
			   uint64_t asked, uint64_t now)
{
	bool changed = server->lease_version != lease->resource_version;
	server->renews = changed ? server->leased : server->renews;
	server->lease_since = changed || !server->leased ? now : server->lease_since;
	server->lease_version = lease->resource_version;
	server->lease_looked = asked;
	server->leased = true;
	/* By its own renewal as we see it, for clocks of servers may differ. */
	server->live = lease->renewed_wall + API_LEASE_ALIVE >= newest ||
		       (server->renews && asked < server->lease_since + API_LEASE_ALIVE);
}

/* Refused where it was not before, by a server that starts perhaps; or not answered, which hours of work shall not end by. */
static int list_leases(struct api_servers *s, struct kube_identities *ret, uint64_t *ret_asked, struct error **err)
{
	struct refusals refusals = {0};
	uint64_t failing_since = 0;
	for (;;) {
		*ret_asked = loop_now(s->loop);
		int rc = kube_identities_fetch(s->kube, ret, err);
		uint64_t now = loop_now(s->loop);
		bool refused = refusals_may_pass(&refusals, rc, now);
		bool passes = refused || rc == -ERROR_NETWORK || rc == -ERROR_BUSY;
		failing_since = failing_since ? failing_since : now;
		if (!passes || !s->leases_read || now >= failing_since + s->patience)
			return rc;
		error_clear(err);
		rc = loop_pause(s->loop, SEARCH_PAUSE, err);
		if (rc < 0)
			return rc;
	}
}

/* Who may not read Leases does not know how many servers there are. */
int api_servers_read_leases(struct api_servers *s, bool *ret_news, struct error **err)
{
	struct kube_identities leases = {0};
	_cleanup_error_ failed = NULL;
	uint64_t asked = 0;
	*ret_news = false;
	int rc = list_leases(s, &leases, &asked, &failed);
	free(steal(s->leases_why));
	if (rc == -ERROR_AUTH || rc == -ERROR_NOT_FOUND) {
		s->leases_why = xstrdup(error_message(failed));
		/* Nothing is final by what could not be looked at. */
		*ret_news = s->leases_read;
		s->leases_read = false;
		return 0;
	}
	if (rc < 0) {
		*err = steal(failed);
		return rc;
	}
	s->leases_read = true;
	if (leases.count == 0)
		s->leases_why = xstrdup("there are no identity Leases");
	uint64_t newest = kube_identities_newest(&leases);
	for (size_t i = 0; i < leases.count; i++) {
		const struct kube_identity *lease = &leases.items[i];
		size_t at = find_server(s, lease->id_hash);
		if (at == API_SERVER_NONE) {
			at = add_server(s, kube_identity_name(lease), lease->id_hash);
			*ret_news = true;
		}
		bool was_missing = is_missing(&s->servers[at]);
		api_server_take_lease(&s->servers[at], lease, newest, asked, loop_now(s->loop));
		*ret_news = *ret_news || (is_missing(&s->servers[at]) && !was_missing);
	}
	for (size_t i = 0; i < s->server_count; i++)
		if (s->servers[i].lease_looked != asked)
			s->servers[i].leased = s->servers[i].live = false;
	kube_identities_free(&leases);
	return 0;
}

/* --- connections --- */

static void lane_free(struct api_lane *lane)
{
	http_client_free(lane->http);
}

static void drop_lane(struct api_servers *s, size_t at)
{
	lane_free(&s->lanes[at]);
	s->lanes[at] = s->lanes[--s->lane_count];
}

/* What it counted of writes before is of another configuration. */
static double reloaded(const struct apiserver_metrics *metrics)
{
	if (metrics->reload_success_time > 0)
		return metrics->reload_success_time;
	return metrics->reload_successes > 0 ? INFINITY : 0;
}

static void answered(struct api_server *server, const struct apiserver_metrics *metrics, bool *ret_news)
{
	double reload = reloaded(metrics);
	uint64_t process = metrics->has_process_start ? (uint64_t)(metrics->process_start * 1000.0) : 0;
	bool changed = server->process != process || server->reloaded != reload;
	*ret_news = *ret_news || !server->reached || changed;
	/* Also of one that was lost meanwhile: its canaries were another process's. */
	if (changed)
		for (size_t i = 0; i < ELEMENTS(server->canaries); i++)
			storage_keys_free(&server->canaries[i]);
	server->process = process;
	server->reloaded = reload;
	server->reached = true;
	free(steal(server->loaded));
	if (metrics->loaded_hash_count == 1)
		server->loaded = xstrdup(metrics->loaded_hashes[0]);
}

/* Who answers over this connection. Takes what it shows. */
static int scrape(struct api_servers *s, struct api_lane *lane, bool *ret_news, struct error **err)
{
	struct apiserver_metrics metrics = {0};
	_cleanup_(prometheus_reader_freep) struct prometheus_reader *reader = NULL;
	int rc = kube_scrape(&lane->kube, &metrics, &reader, err);
	if (rc < 0)
		return rc;
	if (metrics.id_hash_count > 1) {
		apiserver_metrics_free(&metrics);
		return error_set(err, ERROR_REFUSED,
				 "%s: one answer of /metrics is of %zu API servers: something puts them together, and "
				 "none can be told from another",
				 s->kube->name, metrics.id_hash_count);
	}
	/* Without an id of its own it is known by its start alone, and no Lease is known to be its. */
	_cleanup_free_ char *start = xasprintf("process of %.0f", metrics.process_start);
	const char *id = metrics.id_hash_count == 1 ? metrics.id_hashes[0] : start;
	size_t at = find_server(s, id);
	if (at == API_SERVER_NONE) {
		_cleanup_free_ char *name = xasprintf("server %.19s", id);
		at = add_server(s, name, id);
		*ret_news = true;
	}
	answered(&s->servers[at], &metrics, ret_news);
	lane->server = at;
	storage_metrics_free(&s->servers[at].metrics);
	storage_metrics_collect(reader, &s->servers[at].metrics);
	apiserver_metrics_free(&metrics);
	return 0;
}

static int open_lane(struct api_servers *s, bool *ret_news, struct error **err)
{
	struct api_lane lane = {.server = API_SERVER_NONE};
	int rc = kube_access_client(s->access, s->loop, NULL, 1, &lane.http, err);
	if (rc < 0)
		return rc;
	lane.kube = (struct kube){.loop = s->loop, .http = lane.http, .name = s->kube->name};
	s->connections++;
	rc = s->metrics_why ? 0 : scrape(s, &lane, ret_news, err);
	if (rc < 0) {
		lane_free(&lane);
		return rc;
	}
	s->lanes = xreallocarray(s->lanes, s->lane_count + 1, sizeof(*s->lanes));
	s->lanes[s->lane_count++] = lane;
	return 0;
}

static bool any_missing(const struct api_servers *s)
{
	for (size_t i = 0; i < s->server_count; i++)
		if (is_missing(&s->servers[i]))
			return true;
	return false;
}

/* What may be closed to make room for another try: a second connection of some server. */
static void make_room(struct api_servers *s)
{
	for (size_t i = s->lane_count; s->lane_count >= API_LANES_MAX && i > 0; i--)
		for (size_t k = 0; k < i - 1; k++)
			if (s->lanes[k].server == s->lanes[i - 1].server) {
				drop_lane(s, i - 1);
				break;
			}
}

/* What was proved by metrics so far is no proof by resourceVersions alone. */
static int refused_by_now(const struct api_servers *s, struct error **err)
{
	_cleanup_error_ refused = steal(*err);
	return error_set(err, ERROR_REFUSED, "%s: /metrics was shown at the start, and is refused by now: %s",
			 s->kube->name, error_message(refused));
}

static bool may_pass(int rc)
{
	return rc == -ERROR_NETWORK || rc == -ERROR_BUSY || rc == -ERROR_AUTH;
}

/* Until everybody who is live was met, and there are connections enough; bounded in number and time. One that goes away while we
 * look is not the end of looking, nor is one that cannot ask who we are; what is under way has the time to see a server start. */
static int search(struct api_servers *s, bool *ret_news, struct error **err)
{
	uint64_t begun = loop_now(s->loop), patient = s->began ? begun + s->patience : 0;
	size_t budget = (s->server_count ? s->server_count : 1) * API_CONNECTIONS_EACH;
	budget = budget < API_CONNECTIONS_MAX ? budget : API_CONNECTIONS_MAX;
	for (size_t opened = 0;;) {
		/* Where /metrics is refused there is nobody to be told from another. */
		bool enough = s->lane_count >= s->wanted_lanes && (s->metrics_why || !any_missing(s));
		bool tired = opened >= budget || loop_now(s->loop) >= begun + API_SEARCH_TIME;
		bool waits = loop_now(s->loop) < patient;
		if (enough || (tired && s->lane_count > 0))
			return 0;
		make_room(s);
		int rc = open_lane(s, ret_news, err);
		if (rc < 0 && (!may_pass(rc) || (tired && !waits)))
			return rc == -ERROR_AUTH && s->began ? refused_by_now(s, err) : rc;
		error_clear(err);
		if (rc == 0 || !waits) {
			opened++;
			continue;
		}
		rc = loop_pause(s->loop, SEARCH_PAUSE, err);
		if (rc < 0)
			return rc;
	}
}

/* One Lease and one server that shows no id: they can be nobody else. */
static void match_the_only_one(struct api_servers *s)
{
	if (s->server_count != 2 || s->servers[0].reached || !s->servers[1].reached ||
	    text_starts(s->servers[1].id_hash, "sha256:"))
		return;
	struct api_server *lease = &s->servers[0], *found = &s->servers[1];
	free(found->name);
	free(found->id_hash);
	found->name = steal(lease->name);
	found->id_hash = steal(lease->id_hash);
	found->live = lease->live;
	found->leased = lease->leased;
	found->renews = lease->renews;
	found->lease_version = lease->lease_version;
	found->lease_since = lease->lease_since;
	found->lease_looked = lease->lease_looked;
	server_free(lease);
	*lease = *found;
	s->server_count = 1;
	for (size_t i = 0; i < s->lane_count; i++)
		s->lanes[i].server = s->metrics_why ? API_SERVER_NONE : 0;
}

int api_servers_find(struct api_servers *s, unsigned lanes, struct error **err)
{
	bool news = false;
	_cleanup_error_ failed = NULL;
	s->wanted_lanes = lanes < API_LANES_MAX ? lanes : API_LANES_MAX;
	int rc = api_servers_read_leases(s, &news, &failed);
	if (rc == 0)
		rc = search(s, &news, &failed);
	if (rc == -ERROR_AUTH) {
		s->metrics_why = xstrdup(error_message(failed));
		error_clear(&failed);
		rc = search(s, &news, &failed);
	}
	if (rc < 0) {
		*err = steal(failed);
		return rc;
	}
	s->began = true;
	match_the_only_one(s);
	return 0;
}

int api_servers_refresh(struct api_servers *s, bool *ret_news, struct error **err)
{
	_cleanup_error_ failed = NULL;
	int rc = api_servers_read_leases(s, ret_news, &failed);
	if (rc == 0)
		rc = search(s, ret_news, &failed);
	if (rc < 0)
		*err = steal(failed);
	return rc;
}

struct api_lane *api_servers_lane(struct api_servers *s, size_t server)
{
	for (size_t i = 0; i < s->lane_count; i++)
		if (s->lanes[i].server == server)
			return &s->lanes[i];
	return NULL;
}

/* Over each of its connections, until one is still its own. */
static int scrape_server(struct api_servers *s, size_t at, bool *ret_news, struct error **err)
{
	for (size_t i = 0; i < s->lane_count;) {
		if (s->lanes[i].server != at) {
			i++;
			continue;
		}
		_cleanup_error_ failed = NULL;
		int rc = scrape(s, &s->lanes[i], ret_news, &failed);
		if (rc == 0 && s->lanes[i].server == at)
			return 0;
		if (rc == -ERROR_INTERRUPTED || rc == -ERROR_REFUSED) {
			*err = steal(failed);
			return rc;
		}
		if (rc < 0)
			drop_lane(s, i);
		else
			i++;
	}
	return -ERROR_NOT_FOUND;
}

int api_servers_scrape(struct api_servers *s, bool *ret_news, struct error **err)
{
	*ret_news = false;
	for (size_t i = 0; i < s->server_count; i++) {
		if (!s->servers[i].reached)
			continue;
		int rc = scrape_server(s, i, ret_news, err);
		if (rc == -ERROR_NOT_FOUND) {
			error_clear(err);
			s->servers[i].reached = false;
			*ret_news = true;
		} else if (rc < 0) {
			return rc;
		}
	}
	/* Connections that changed hands, and servers that were lost, are looked for again. */
	for (size_t i = s->lane_count; i > 0; i--)
		if (s->lanes[i - 1].server == API_SERVER_NONE)
			drop_lane(s, i - 1);
	return any_missing(s) || s->lane_count < s->wanted_lanes ? search(s, ret_news, err) : 0;
}

int api_servers_same(struct api_servers *s, struct api_lane *lane, bool *ret_same, struct error **err)
{
	size_t server = lane->server;
	uint64_t process = s->servers[server].process;
	bool news = false;
	int rc = scrape(s, lane, &news, err);
	*ret_same = rc == 0 && lane->server == server && s->servers[server].process == process;
	return rc;
}

bool api_servers_doubtful(const struct api_servers *s)
{
	for (size_t i = 0; i < s->server_count; i++) {
		const struct api_server *server = &s->servers[i];
		if (server->leased && !server->live && !server->reached &&
		    server->lease_looked < server->lease_since + API_LEASE_STILL)
			return true;
	}
	return false;
}

void api_servers_unreached(const struct api_servers *s, struct strings *ret)
{
	for (size_t i = 0; !s->metrics_why && i < s->server_count; i++)
		if (is_missing(&s->servers[i]))
			strings_add(ret, s->servers[i].name);
}

void api_servers_free(struct api_servers *s)
{
	for (size_t i = 0; i < s->lane_count; i++)
		lane_free(&s->lanes[i]);
	for (size_t i = 0; i < s->server_count; i++)
		server_free(&s->servers[i]);
	free(s->lanes);
	free(s->servers);
	free(s->leases_why);
	free(s->metrics_why);
	*s = (struct api_servers){0};
}
