/* Exec credential plugins: how a kubeconfig's user gets a token or certificate from a program of his cloud.
 * Protocol: client.authentication.k8s.io/v1 and v1beta1; behaviour: k8s.io/client-go/plugin/pkg/client/auth/exec. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "base/alloc.h"
#include "base/error.h"
#include "base/secret.h"
#include "base/text.h"

#define EXEC_OUTPUT_CAP (1u << 20)     /* bytes of a plugin's stdout */
#define EXEC_TIMEOUT_S 60              /* for a plugin that asks nobody */
#define EXEC_INTERACTIVE_TIMEOUT_S 300 /* for one that may ask the person */

enum exec_interactive { EXEC_INTERACTIVE_IF_AVAILABLE, EXEC_INTERACTIVE_NEVER, EXEC_INTERACTIVE_ALWAYS };

/* As the kubeconfig has it. */
struct exec_plugin {
	char *api_version;
	char *command; /* a name to be found in PATH, or a path */
	struct strings arguments;
	struct strings environment; /* "NAME=value", over what the process has */
	char *install_hint;
	bool provide_cluster_info;
	enum exec_interactive interactive;
	bool interactive_given;
};
void exec_plugin_clear(struct exec_plugin *plugin); /* frees the contents */

/* What spec.cluster tells the plugin, where it asks for that. NULL: left out. */
struct exec_cluster {
	const char *server, *tls_server_name, *proxy_url;
	bool insecure;
	const struct secret *ca_pem;
	const char *config_json;
};
struct exec_credential {
	struct secret *token;              /* NULL: none */
	struct secret *cert_pem, *key_pem; /* both or none */
	uint64_t expires;                  /* ns since 1970; 0: not said */
};
void exec_credential_clear(struct exec_credential *credential); /* wipes the contents */

/* Whether it can stand in a header line: no control characters. */
bool exec_token_is_usable(const struct secret *token);
/* The value of NAME in "NAME=value" strings, or NULL. `environment` may be NULL. */
const char *exec_environment_get(char *const *environment, const char *name);

/* Checks what validation in client-go checks: apiVersion, command, interactiveMode. -ERROR_INPUT. */
_must_check_ int exec_plugin_check(const struct exec_plugin *plugin, struct error **err);
/* The plugin's stdout. -ERROR_AUTH: no ExecCredential of this apiVersion, no status, half a certificate, neither token nor
 * certificate, a time that is none. Never quotes the text. */
_must_check_ int exec_credential_parse(const char *api_version, const char *text, size_t len,
				       struct exec_credential *ret, struct error **err);
/* The value of KUBERNETES_EXEC_INFO. New string. */
char *exec_credential_info(const struct exec_plugin *plugin, const struct exec_cluster *cluster, bool interactive);
/* Runs the plugin and waits, at most `timeout` ns (0: the limits above): a process group of its own, killed when that has
 * passed or a signal asks us to stop; stdin is the terminal if `terminal` and it may ask, else empty; stderr is ours, so
 * that the person sees its words. -ERROR_AUTH naming the program; -ERROR_INTERRUPTED. */
_must_check_ int exec_credential_run(const struct exec_plugin *plugin, const struct exec_cluster *cluster,
				     char *const *environment, bool terminal, uint64_t timeout,
				     struct exec_credential *ret, struct error **err);
