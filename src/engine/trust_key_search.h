/* Secrets of the API that hold the trust key: what is in one, etcd has, and everybody who may read it. Cluster API keeps a
 * cluster's signing key so (<cluster>-sa), kubeadm uploads it for joining nodes (kube-system/kubeadm-certs). */
#pragma once
#include "client/kube/kube.h"
#include "engine/trust_key.h"

struct trust_key_finding {
	char *namespace_, *name, *entry; /* entry: of its data */
	bool sealed; /* kubeadm's, under its certificate key: by the name alone, for what is inside cannot be seen */
};
struct trust_key_search {
	struct trust_key_finding *findings;
	size_t count;
	uint64_t secrets; /* that were read */
};
/* Reads every Secret, one page after the other; `ret` is to be freed whatever comes back. Without a key (NULL) only
 * kubeadm's is found. Waits. */
_must_check_ int trust_key_search(struct kube *kube, const struct kube_resource *secrets, const struct trust_key *key,
				  struct trust_key_search *ret, struct error **err);
void trust_key_search_free(struct trust_key_search *search); /* the contents */
