/* Which API servers a cluster has, beyond those that say it themselves by an identity Lease: control-plane Nodes, static
 * pods, EndpointSlice default/kubernetes. They only make the set grow: a server whose Lease went when it was stopped
 * may come back with its old file. None of them is good news by itself. */
#pragma once
#include "client/kube/kube_hosts.h"
#include "client/kube/refusals.h"

enum server_source {
	SERVERS_OF_NODES,
	SERVERS_OF_PODS,
	SERVERS_OF_ENDPOINTS,
	SERVER_SOURCES,
};
struct server_set {
	struct kube_hosts nodes, pods;
	struct strings addresses; /* "10.0.0.1:6443" */
	bool nodes_read;
	bool unsure;     /* Nodes or pods could not be listed the last time, and that may pass */
	bool looks_once; /* a refusal is final: nobody asks again */
	struct refusals refusals[SERVER_SOURCES];
	bool told[SERVER_SOURCES]; /* that this source cannot be read */
};
/* Asks all sources once. What one does not answer stays as it was; `ret_troubles` gets a sentence the first time that
 * a source fails. A cluster without the EndpointSlice is fine. Waits. */
void server_set_look(struct server_set *set, struct kube *kube, struct strings *ret_troubles);
/* The same of Nodes alone. */
void server_set_look_at_nodes(struct server_set *set, struct kube *kube, struct strings *ret_troubles);
/* Adds to `servers` (names by identity Leases, and by earlier calls) each server that none of them is: a host by its
 * Node's name, an address where there are more of them than servers that still count. A host is one of `servers` when it
 * is called like it, upper case and domain aside; two hosts are never the same one. Whether it grew. */
bool server_set_grow(const struct server_set *set, const struct strings *forgotten, struct strings *servers);
/* Where a name that it added comes from, for people; NULL when it is not seen now. */
const char *server_set_source(const struct server_set *set, const char *server);
void server_set_free(struct server_set *set);
