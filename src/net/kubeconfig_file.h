/* One kubeconfig file as data: the entries of its lists with types checked and paths made absolute. No merging, no
 * choice, no I/O. Fields: k8s.io/client-go/tools/clientcmd/api/v1; those that change nothing here are skipped. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include "base/alloc.h"
#include "base/error.h"
#include "base/secret.h"
#include "base/text.h"
#include "net/exec_credential.h"

#define KUBECONFIG_CAP (4u << 20) /* bytes of a file: hundreds of clusters with their certificates */

/* NULL is a field that is missing, null or empty, as for client-go. */
struct kubeconfig_cluster {
	char *name;
	char *server;
	char *certificate_authority;               /* path */
	struct secret *certificate_authority_data; /* decoded */
	bool insecure_skip_tls_verify;
	char *tls_server_name;
	char *proxy_url;
	char *exec_config; /* JSON of the extension client.authentication.k8s.io/exec */
};
struct kubeconfig_user {
	char *name;
	char *client_certificate, *client_key; /* paths */
	struct secret *client_certificate_data, *client_key_data;
	struct secret *token;
	char *token_file;
	char *username;
	struct secret *password;
	char *impersonate, *impersonate_uid; /* as, as-uid */
	struct strings impersonate_groups;
	bool impersonate_extra; /* as-user-extra is not empty */
	bool has_exec;
	struct exec_plugin exec;
	char *auth_provider; /* its name */
};
struct kubeconfig_context {
	char *name;
	char *cluster, *user, *namespace_;
};
struct kubeconfig_file {
	char *path;
	char *current_context;
	struct kubeconfig_cluster *clusters;
	size_t cluster_count;
	struct kubeconfig_user *users;
	size_t user_count;
	struct kubeconfig_context *contexts;
	size_t context_count;
};
/* `path` names the file in messages, and its directory is what relative paths in it are relative to. -ERROR_INPUT with
 * file and line: not YAML, another kind, a value of another type, a name twice in one list, base64 that is none. Never
 * quotes a value. */
_must_check_ int kubeconfig_file_parse(const char *path, const struct secret *text, struct kubeconfig_file **ret,
				       struct error **err);
void kubeconfig_file_free(struct kubeconfig_file *file); /* NULL is fine; wipes */
void kubeconfig_file_freep(struct kubeconfig_file **file);
