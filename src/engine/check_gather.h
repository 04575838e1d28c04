/* What check judges, read from a cluster and from this machine. What cannot be had is a fact, too: with the reason. */
#pragma once
#include "engine/check.h"
#include "engine/cluster.h"

struct check_sources {
	struct cluster *cluster; /* the API is reachable; etcds only where etcd_why is NULL */
	const char *config_path; /* NULL: not known */
	const struct encryption_config *config;
	const struct error *node_error, *config_error, *etcd_error; /* why that is not at hand; NULL */
	bool api_only;                 /* neither this node nor etcd belong to this cluster, as far as is known */
	const struct strings *servers; /* their URLs; empty: the EndpointSlice's; if none answers, the kubeconfig's */
	const struct trust_key *trust_key;
	const char *trust_key_why; /* NULL: it is at hand */
	const char *backup;        /* NULL: none is named */
	struct census_options census;
	uint64_t wall_now;
};
/* Fills in *ret, which is to be freed whatever comes back. Fails only when interrupted. Waits. */
_must_check_ int check_gather(const struct check_sources *in, struct check_facts *ret, struct error **err);
