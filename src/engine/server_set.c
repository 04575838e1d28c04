#include "engine/server_set.h"

#include <string.h>
#include <strings.h>

#include "base/clock.h"

static const char *const source_texts[] = {
	[SERVERS_OF_NODES] = "a control-plane Node",
	[SERVERS_OF_PODS] = "the Node of a kube-apiserver pod",
	[SERVERS_OF_ENDPOINTS] = "an address of EndpointSlice default/kubernetes",
};

/* --- looking --- */

static void tell(struct server_set *set, enum server_source source, const char *what, const struct error *failed,
		 struct strings *ret_troubles)
{
	if (set->told[source])
		return;
	set->told[source] = true;
	_cleanup_free_ char *text =
		xasprintf("the set of API servers is known without %s: %s", what, error_message(failed));
	strings_add(ret_troubles, text);
}

static int look_at_nodes(struct server_set *set, struct kube *kube, struct strings *ret_troubles)
{
	_cleanup_error_ failed = NULL;
	int rc = kube_control_planes_fetch(kube, &set->nodes, &failed);
	if (rc < 0)
		tell(set, SERVERS_OF_NODES, "control-plane Nodes", failed, ret_troubles);
	set->nodes_read = set->nodes_read || rc == 0;
	return rc;
}

static bool may_pass(struct server_set *set, enum server_source source, int rc)
{
	bool refused = refusals_may_pass(&set->refusals[source], rc, clock_monotonic());
	return rc == -ERROR_AUTH ? refused && !set->looks_once : rc < 0;
}

void server_set_look_at_nodes(struct server_set *set, struct kube *kube, struct strings *ret_troubles)
{
	set->unsure = may_pass(set, SERVERS_OF_NODES, look_at_nodes(set, kube, ret_troubles));
}

static void look_at_hosts(struct server_set *set, struct kube *kube, struct strings *ret_troubles)
{
	_cleanup_error_ no_pods = NULL;
	int rc = look_at_nodes(set, kube, ret_troubles);
	set->unsure = may_pass(set, SERVERS_OF_NODES, rc);
	/* A pod names its Node alone. What else that is called may come with the next answer, and until then it would
	 * pass for another server. */
	if (set->unsure && !set->nodes_read)
		return;
	rc = kube_apiserver_pods_fetch(kube, &set->pods, &no_pods);
	if (rc < 0)
		tell(set, SERVERS_OF_PODS, "kube-apiserver pods", no_pods, ret_troubles);
	set->unsure = may_pass(set, SERVERS_OF_PODS, rc) || set->unsure;
}

void server_set_look(struct server_set *set, struct kube *kube, struct strings *ret_troubles)
{
	_cleanup_error_ failed = NULL;
	struct strings addresses = {0};
	look_at_hosts(set, kube, ret_troubles);
	int rc = kube_endpoints_fetch(kube, &addresses, &failed);
	if (rc == 0) {
		strings_free(&set->addresses);
		set->addresses = addresses;
	} else if (rc != -ERROR_NOT_FOUND) {
		tell(set, SERVERS_OF_ENDPOINTS, "EndpointSlice default/kubernetes", failed, ret_troubles);
	}
}

/* --- growing --- */

/* "CP-1" and "cp-1". */
static bool same_name(const char *a, const char *b)
{
	return strcasecmp(a, b) == 0;
}

/* "cp-1" and "cp-1.example.com", but not two of different domains. */
static bool same_host_name(const char *a, const char *b)
{
	size_t head = strcspn(a, ".");
	return head == strcspn(b, ".") && strncasecmp(a, b, head) == 0 && (a[head] == '\0') != (b[head] == '\0');
}

static bool is_called(const struct kube_host *host, const char *name, bool (*same)(const char *a, const char *b))
{
	bool is = same(host->node, name);
	for (size_t i = 0; i < host->names.count && !is; i++)
		is = same(host->names.items[i], name);
	return is;
}

static bool is_listed(const struct kube_hosts *hosts, size_t before, const char *node)
{
	for (size_t i = 0; i < before; i++)
		if (text_equal(hosts->items[i].node, node))
			return true;
	return false;
}

/* Hosts, each with the server that it is: an index, or NOBODY yet. */
#define NOBODY SIZE_MAX
struct claims {
	struct {
		const struct kube_host *host;
		size_t server;
	} * items;
	size_t count;
};

static void add_host(struct claims *claims, const struct kube_host *host)
{
	claims->items = xreallocarray(claims->items, claims->count + 1, sizeof(*claims->items));
	claims->items[claims->count].host = host;
	claims->items[claims->count++].server = NOBODY;
}

static void add_hosts(struct claims *claims, const struct server_set *set)
{
	for (size_t i = 0; i < set->nodes.count; i++)
		add_host(claims, &set->nodes.items[i]);
	for (size_t i = 0; i < set->pods.count; i++) {
		const char *node = set->pods.items[i].node;
		if (!is_listed(&set->nodes, set->nodes.count, node) && !is_listed(&set->pods, i, node))
			add_host(claims, &set->pods.items[i]);
	}
}

static bool is_claimed(const struct claims *claims, size_t server)
{
	for (size_t i = 0; i < claims->count; i++)
		if (claims->items[i].server == server)
			return true;
	return false;
}

static void claim(struct claims *claims, const struct strings *servers, bool (*same)(const char *a, const char *b))
{
	for (size_t i = 0; i < claims->count; i++)
		for (size_t s = 0; s < servers->count && claims->items[i].server == NOBODY; s++)
			if (is_called(claims->items[i].host, servers->items[s], same) && !is_claimed(claims, s))
				claims->items[i].server = s;
}

static void claim_or_add(struct claims *claims, struct strings *servers)
{
	claim(claims, servers, same_name);
	claim(claims, servers, same_host_name);
	for (size_t i = 0; i < claims->count; i++) {
		if (claims->items[i].server != NOBODY)
			continue;
		claims->items[i].server = servers->count;
		strings_add(servers, claims->items[i].host->node);
	}
}

static bool is_address_of(const struct kube_host *host, const char *address)
{
	const char *port = strrchr(address, ':');
	bool bracket = address[0] == '[';
	size_t len = port ? (size_t)(port - address) - 2 * bracket : strlen(address);
	for (size_t i = 0; i < host->addresses.count; i++)
		if (strlen(host->addresses.items[i]) == len &&
		    strncmp(host->addresses.items[i], address + bracket, len) == 0)
			return true;
	return false;
}

/* The server that has this address, as far as hosts tell; NULL. */
static const char *owner_of(const struct claims *claims, const struct strings *servers, const char *address)
{
	for (size_t i = 0; i < claims->count; i++)
		if (is_address_of(claims->items[i].host, address))
			return servers->items[claims->items[i].server];
	return NULL;
}

/* An address has no name to compare (that of a Node may be another interface's): only that there are more of them than
 * servers says anything, and any of the strange ones then stands for the server that is missing. */
static void grow_by_addresses(const struct server_set *set, const struct claims *claims,
			      const struct strings *forgotten, struct strings *servers)
{
	_cleanup_strings_ strange = {0};
	size_t live = 0, known = 0;
	for (size_t i = 0; i < servers->count; i++)
		known += !strings_has(forgotten, servers->items[i]);
	for (size_t i = 0; i < set->addresses.count; i++) {
		const char *address = set->addresses.items[i], *owner = owner_of(claims, servers, address);
		if (strings_has(forgotten, address) || (owner && strings_has(forgotten, owner)))
			continue;
		live++;
		if (!owner && !strings_has(servers, address))
			strings_add(&strange, address);
	}
	for (size_t i = strange.count; i > 0 && live > known; i--, known++)
		strings_add(servers, strange.items[i - 1]);
}

bool server_set_grow(const struct server_set *set, const struct strings *forgotten, struct strings *servers)
{
	size_t before = servers->count;
	struct claims claims = {0};
	add_hosts(&claims, set);
	claim_or_add(&claims, servers);
	grow_by_addresses(set, &claims, forgotten, servers);
	free(claims.items);
	return servers->count > before;
}

const char *server_set_source(const struct server_set *set, const char *server)
{
	if (is_listed(&set->nodes, set->nodes.count, server))
		return source_texts[SERVERS_OF_NODES];
	if (is_listed(&set->pods, set->pods.count, server))
		return source_texts[SERVERS_OF_PODS];
	return strings_has(&set->addresses, server) ? source_texts[SERVERS_OF_ENDPOINTS] : NULL;
}

void server_set_free(struct server_set *set)
{
	kube_hosts_free(&set->nodes);
	kube_hosts_free(&set->pods);
	strings_free(&set->addresses);
	*set = (struct server_set){0};
}
