/* From options to a cluster: kubeconfig, API server, discovery, etcd, and what this node says. */
#pragma once
#include "cmd/command.h"
#include "engine/cluster.h"
#include "kube-rekey/encryption_config.h"

enum session_need {
	SESSION_ETCD = 1 << 0,   /* etcd must be reachable */
	SESSION_CONFIG = 1 << 1, /* the EncryptionConfiguration must be known */
	SESSION_API = 1 << 2,    /* the API alone: what this node has is not looked at */
	/* With several API servers the API alone, and ret->agents: by --target, else if any KeyServer exists. */
	SESSION_AGENTS = 1 << 3,
	/* Of this node and etcd whatever is at hand; of the rest why it is not. The API must answer. */
	SESSION_SURVEY = 1 << 4,
	/* Where the server of the command line does not answer, the one that the kubeconfig names tells of the cluster. */
	SESSION_OTHER = 1 << 5,
};
struct session {
	struct command_context *context;
	struct cluster *cluster;
	bool agents;                      /* the target is the agents */
	char *config_path;                /* NULL when not known */
	char *config_hash;                /* of the bytes that `config` is of, as /metrics show it */
	struct encryption_config *config; /* parsed; NULL when not known or not readable here */
	/* of a survey: why this is not at hand; NULL */
	struct error *node_error, *config_error, *etcd_error;
};
_must_check_ int session_open(struct command_context *context, unsigned needs, struct session *ret, struct error **err);
/* A line that says which target that is, and how it is known. */
void session_tell_target(const struct session *session);
void session_close(struct session *session);
#define _cleanup_session_ _cleanup_(session_close) struct session
/* For what runs for ever: an API server or an etcd that does not answer yet, as after a reboot, is waited for. */
_must_check_ int session_open_patiently(struct command_context *context, unsigned needs, struct session *ret,
					struct error **err);
/* Which kubeconfig the command line and the environment mean; lends their strings. */
struct kubeconfig_options session_kubeconfig(const struct command_context *context);
/* An EncryptionConfiguration as it stands in a file. *ret_hash: "sha256:..." of those bytes; NULL: nobody asks. */
_must_check_ int session_read_config(const char *path, struct encryption_config **ret, char **ret_hash,
				     struct error **err);
/* Monotonic deadline out of --deadline, 0 without one. */
uint64_t session_deadline(const struct command_context *context, const struct session *session);
