/* The machines on which API servers run, or may come back, as the cluster's own objects tell it. */
#pragma once
#include "client/kube/kube.h"

struct kube_host {
	char *node;               /* the Node's name */
	struct strings names;     /* what else it is called: host names, DNS names */
	struct strings addresses; /* without a port */
};
struct kube_hosts {
	struct kube_host *items;
	size_t count;
};
/* Nodes with the label node-role.kubernetes.io/control-plane. What was in *ret is freed on success, untouched
 * otherwise: begin with {0}. Waits. */
_must_check_ int kube_control_planes_fetch(struct kube *kube, struct kube_hosts *ret, struct error **err);
/* Where the pods of kube-system with the label component=kube-apiserver are: one host for each pod that has a Node.
 * *ret as above. Waits. */
_must_check_ int kube_apiserver_pods_fetch(struct kube *kube, struct kube_hosts *ret, struct error **err);
void kube_hosts_free(struct kube_hosts *hosts); /* leaves none */
