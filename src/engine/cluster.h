/* One cluster as a command reaches it: its API server, its etcds, what they serve, and what this node says. Made
 * once by src/cmd,
 * read by the engine. */
#pragma once
#include "client/etcd/etcd.h"
#include "client/kube/kube.h"
#include "engine/node.h"
#include "net/kubeconfig.h"

struct cluster {
	struct loop *loop;
	struct kube_access *access;
	struct http_client *http;
	struct kube kube;
	const char
		*other; /* address of another of its API servers, or of a balancer before them; NULL: none is known */
	char *version;  /* of the API server: "v1.36.3"; NULL where it did not answer */
	struct kube_resources resources;
	struct strings missing_groups; /* served by nobody right now */
	/* what was served before a refresh: reports still point into it */
	struct kube_resources *earlier;
	size_t earlier_count;
	struct etcd **etcds;
	size_t etcd_count; /* connected; 0: only the API is reachable */
	char *etcd_prefix; /* "/registry" */
	struct node_facts node;
	bool has_node;                /* what this machine says of its kube-apiserver */
	uint64_t request_timeout;     /* ns; the server's, or upstream's default of 60 s */
	bool request_timeout_assumed; /* it is the default because nothing here tells */
	uint64_t compaction_interval; /* ns; upstream's default of 5 min where unknown; 0: off */
	struct strings foreign_prefixes;
};
/* Discovery once more. *ret_changed: a resource is served that was not, or not any more; then the new set is in
 * force. Waits. */
_must_check_ int cluster_refresh_resources(struct cluster *cluster, bool *ret_changed, struct error **err);
/* By what clusters are told apart: the uid of Namespace kube-system, as `kube` has it, which is one of the cluster's servers. New
 * string. Waits. */
_must_check_ int cluster_uid(const struct cluster *cluster, struct kube *kube, char **ret, struct error **err);
void cluster_free(struct cluster *cluster); /* frees the contents and the struct; NULL is fine */
void cluster_freep(struct cluster **cluster);
