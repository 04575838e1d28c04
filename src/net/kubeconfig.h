/* A kubeconfig, done fully: what kubectl would use, and nothing that it would refuse.
 * Semantics: k8s.io/client-go/tools/clientcmd (merging, relative paths) and client.authentication.k8s.io/v1 (exec plugins). */
#pragma once
#include "base/text.h"
#include "net/http.h"

struct kubeconfig_options {
	const char *
		explicit_path; /* --kubeconfig; NULL: $KUBECONFIG's value below, then home/.kube/config, then in-cluster */
	const char *kubeconfig_env;              /* value of KUBECONFIG, or NULL: main hands it over */
	const char *home;                        /* value of HOME, or NULL */
	const char *service_host, *service_port; /* KUBERNETES_SERVICE_HOST/PORT, or NULL */
	const char *service_account_directory;   /* NULL: /var/run/secrets/kubernetes.io/serviceaccount */
	const char *
		fallback_path; /* tried after the above where it exists: /etc/kubernetes/admin.conf on a control-plane node */
	const char *context; /* --context; NULL: current-context */
	const char *server;  /* --server: overrides the cluster's address */
	/* Instead of what the context names, and of what the user says; NULL: as there. */
	const char *cluster, *user, *as;
	const struct strings *as_groups;
	uint64_t request_timeout; /* ns; 0: none but each request's own */
	/* For exec plugins, and HTTPS_PROXY and NO_PROXY where the kubeconfig has no proxy-url; borrowed: it must outlive the
	 * access. NULL: neither. */
	char *const *environment;
	bool interactive; /* stdin is a terminal: plugins may ask */
};
struct kube_access; /* server URL, TLS, credentials with their refreshing, default namespace */
/* -ERROR_INPUT naming file, line or user, also for what is left out on purpose (passwords, auth-provider, as-user-extra);
 * -ERROR_NOT_FOUND when there is nothing to read, or a file that is named is not there. Exec plugins do not run yet: only
 * when a client's first call needs them. */
_must_check_ int kube_access_load(const struct kubeconfig_options *options, struct kube_access **ret,
				  struct error **err);
/* The names of all contexts, added to `ret` in the order of the files, each once. None in a pod. Errors as above. */
_must_check_ int kube_access_contexts(const struct kubeconfig_options *options, struct strings *ret,
				      struct error **err);
void kube_access_free(struct kube_access *access);
void kube_access_freep(struct kube_access **access);
const char *kube_access_server(const struct kube_access *access);
const char *
kube_access_named(const struct kube_access *access); /* as the kubeconfig says it, whatever `server` was; NULL */
const char *kube_access_namespace(const struct kube_access *access);
const char *kube_access_source(const struct kube_access *access); /* for people: the file, or "in-cluster" */
/* A client for the kubeconfig's server, or for another address with the same credentials and CA (each API server of an HA
 * control plane): `url` NULL for the kubeconfig's. `access` must outlive the client. */
_must_check_ int kube_access_client(struct kube_access *access, struct loop *loop, const char *url,
				    unsigned max_connections, struct http_client **ret, struct error **err);
