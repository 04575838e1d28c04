#include "cmd/session_node.h"

#include <ifaddrs.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "cmd/session.h"

#define DEFAULT_MANIFEST "/etc/kubernetes/manifests/kube-apiserver.yaml"

/* --- files --- */

static int facts_from_manifest(const char *path, struct cluster *cluster, struct error **err)
{
	int rc = node_facts_of_manifest(path, &cluster->node, err);
	cluster->has_node = rc == 0;
	return rc;
}

static bool same_path(const char *a, const char *b)
{
	_cleanup_free_ char *real_a = realpath(a, NULL), *real_b = realpath(b, NULL);
	return real_a && real_b && strcmp(real_a, real_b) == 0;
}

/* 2: process `facts` has this very file at the path that it reads. 1: a file of this path, perhaps another one in its
 * own mount namespace. 0: neither. */
static int reads_file(const struct node_facts *facts, const char *config_path)
{
	if (!facts->encryption_config)
		return 0;
	if (node_same_file("/proc", facts->process_id, facts->encryption_config, config_path) == 1)
		return 2;
	return same_path(facts->encryption_config, config_path);
}

/* --- which process is the server that is talked to --- */

static bool same_address(const struct sockaddr *a, const struct sockaddr *b)
{
	if (a->sa_family != b->sa_family)
		return false;
	if (a->sa_family == AF_INET)
		return memcmp(&((const struct sockaddr_in *)a)->sin_addr, &((const struct sockaddr_in *)b)->sin_addr,
			      sizeof(struct in_addr)) == 0;
	return a->sa_family == AF_INET6 &&
	       memcmp(&((const struct sockaddr_in6 *)a)->sin6_addr, &((const struct sockaddr_in6 *)b)->sin6_addr,
		      sizeof(struct in6_addr)) == 0;
}

static bool is_own_address(const struct sockaddr *address)
{
	struct ifaddrs *all = NULL;
	bool found = false;
	if (getifaddrs(&all) < 0)
		return false;
	for (const struct ifaddrs *each = all; each && !found; each = each->ifa_next)
		found = each->ifa_addr && same_address(each->ifa_addr, address);
	freeifaddrs(all);
	return found;
}

static bool is_any(const char *address)
{
	return strcmp(address, "0.0.0.0") == 0 || strcmp(address, "::") == 0;
}

/* Whether `host` is this machine alone, at an address that the process listens at: a load balancer's name leads anywhere. */
static bool is_here(const char *host, const char *bind_address)
{
	const struct addrinfo stream = {.ai_socktype = SOCK_STREAM};
	const struct addrinfo numeric = {.ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM};
	struct addrinfo *addresses = NULL, *bound = NULL;
	bool listens = !bind_address || is_any(bind_address), own = true;
	if (getaddrinfo(host, NULL, &stream, &addresses) != 0)
		return false;
	if (!listens && getaddrinfo(bind_address, NULL, &numeric, &bound) != 0)
		bound = NULL;
	for (const struct addrinfo *each = addresses; each; each = each->ai_next) {
		own = own && is_own_address(each->ai_addr);
		listens = listens || (bound && same_address(bound->ai_addr, each->ai_addr));
	}
	if (bound)
		freeaddrinfo(bound);
	freeaddrinfo(addresses);
	return own && listens;
}

/* Whether the server at `url` is this process: an address of this machine, the process's port, one network for both. Any
 * other kube-apiserver that runs here (kind's, on a laptop) is of another cluster and says nothing of this one. */
static bool serves(const struct node_facts *facts, const char *url)
{
	_cleanup_free_ char *host = NULL;
	uint16_t port = 0;
	return http_url_address(url, &host, &port) && port == facts->secure_port &&
	       is_here(host, facts->bind_address) && node_same_network("/proc", facts->process_id) == 1;
}

/* What kubeadm's manifest says was started: no other cluster's server that happens to run here. */
static bool is_started_by(const struct node_facts *manifest, const struct node_facts *facts)
{
	const char *address = manifest->advertise_address;
	bool expanded = address && strchr(address, '$'); /* $(POD_IP): the kubelet's to know */
	return manifest->secure_port == facts->secure_port &&
	       (expanded || text_equal(address, facts->advertise_address));
}

/* The process that reads our file; without one named, the one that kubeadm's manifest started or, without one, that serves
 * what the kubeconfig names. Two that might be it are none. */
static int facts_from_process(const struct command_context *context, const struct node_facts *manifest,
			      struct cluster *cluster, size_t *ret_count, struct error **err)
{
	const char *config_path = context->options.encryption_config;
	_cleanup_(kube_access_freep) struct kube_access *kube = NULL;
	const struct kubeconfig_options kubeconfig = session_kubeconfig(context);
	unsigned pids[NODE_APISERVERS_MAX];
	size_t count = node_find_apiservers("/proc", pids, NODE_APISERVERS_MAX);
	int best = 0, rc = count == 0 || config_path || manifest ? 0 : kube_access_load(&kubeconfig, &kube, err);
	*ret_count = count;
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < count && i < NODE_APISERVERS_MAX; i++) {
		struct node_facts facts = {0};
		if (node_facts_of_process("/proc", pids[i], &facts, NULL) < 0)
			continue;
		int ours = config_path ? reads_file(&facts, config_path)
			   : manifest  ? is_started_by(manifest, &facts)
				       : serves(&facts, kube_access_server(kube));
		bool second = !config_path && ours > 0 && best > 0;
		if (ours > best || second) {
			node_facts_free(&cluster->node);
			cluster->has_node = !second;
		}
		if (ours > best)
			cluster->node = facts;
		else
			node_facts_free(&facts);
		best = ours > best ? ours : best;
	}
	return 0;
}

static void take_manifest(const char *config_path, struct cluster *cluster, struct node_facts *manifest)
{
	if (config_path &&
	    !(manifest->encryption_config_host && same_path(manifest->encryption_config_host, config_path))) {
		node_facts_free(manifest);
		return;
	}
	/* The manifest knows more than the command line (mounts); the process is how it is found out whether that
	 * still holds. */
	if (cluster->has_node) {
		manifest->process_id = cluster->node.process_id;
		/* What it was started with: the manifest may have been edited since. */
		free(manifest->encryption_config);
		manifest->encryption_config = steal(cluster->node.encryption_config);
		if (cluster->node.request_timeout > manifest->request_timeout)
			manifest->request_timeout = cluster->node.request_timeout;
		node_facts_free(&cluster->node);
	}
	cluster->node = *manifest;
	cluster->has_node = true;
}

int session_find_node(const struct command_context *context, struct cluster *cluster, struct error **err)
{
	const struct options *o = &context->options;
	struct cluster manifest = {0};
	size_t count = 0;
	int rc = 0;
	if (o->apiserver_manifest)
		return facts_from_manifest(o->apiserver_manifest, cluster, err);
	if (access(DEFAULT_MANIFEST, R_OK) == 0)
		rc = facts_from_manifest(DEFAULT_MANIFEST, &manifest, err);
	if (rc == 0)
		rc = facts_from_process(context, manifest.has_node ? &manifest.node : NULL, cluster, &count, err);
	/* A manifest that started none of those that run was edited since, or its server is down: what it says is of nobody. */
	bool stale = count > 0 && !cluster->has_node && !o->encryption_config;
	if (rc == 0 && manifest.has_node && !stale)
		take_manifest(o->encryption_config, cluster, &manifest.node);
	else
		node_facts_free(&manifest.node);
	return rc;
}

bool session_node_reads(const struct cluster *cluster, const char *config_path)
{
	return config_path && cluster->has_node && serves(&cluster->node, cluster->kube.name) &&
	       node_reads_file(&cluster->node, config_path) == 1;
}
