/* Which kube-apiserver of this machine is the one that is meant, and what it says. */
#pragma once
#include "cmd/command.h"
#include "engine/cluster.h"

/* Fills cluster->node and has_node: from --apiserver-manifest; else from kubeadm's manifest where this machine has one, and
 * from the process that reads --encryption-config or, without that, was started by the manifest or serves the address in the
 * kubeconfig. Finding none is no error. Errors: a manifest that cannot be read, a kubeconfig that cannot where it has to
 * tell. */
_must_check_ int session_find_node(const struct command_context *context, struct cluster *cluster, struct error **err);
/* Whether the server that is asked is that very process, and reads this file: what stands on this machine may be of another
 * cluster's than the one that the command line names. */
bool session_node_reads(const struct cluster *cluster, const char *config_path);
