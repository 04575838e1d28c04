/* What one user of a kubeconfig proves himself with, kept fresh: a token, a token file, an exec plugin, certificate files.
 * Fits http_options' authorize and identity. Refreshing rules: k8s.io/client-go transport (token_source.go,
 * cert_rotation.go) and its exec plugin. */
#pragma once
#include "net/exec_credential.h"

#define CREDENTIALS_TOKEN_FILE_S 60 /* between readings of a token file */
#define CREDENTIALS_CERT_FILE_S 300 /* of certificate files */
#define CREDENTIALS_EXEC_PAUSE_S 10 /* least time between two runs of a plugin */
#define CREDENTIALS_TOKEN_CAP 65536
#define CREDENTIALS_PEM_CAP (1u << 20)

struct credentials_options {
	const char *label;          /* begins messages: `FILE: user "x"` */
	const struct secret *token; /* goes before an exec plugin */
	const char *token_file;     /* goes before token */
	const struct secret *cert_pem, *key_pem;
	const char *cert_file, *key_file; /* where the PEMs are not given */
	const struct exec_plugin *exec;   /* NULL: none */
	struct exec_cluster exec_cluster;
	char *const *environment; /* borrowed: must outlive the credentials */
	bool terminal;
};
struct credentials;
/* Copies; reads token and certificate files once. -ERROR_INPUT, -ERROR_IO, -ERROR_NOT_FOUND naming label and file. */
_must_check_ int credentials_new(const struct credentials_options *options, struct credentials **ret,
				 struct error **err);
void credentials_free(struct credentials *credentials); /* NULL is fine; wipes */
/* Whether there is anything to authorize with, or to present as a certificate. */
bool credentials_have_token(const struct credentials *credentials);
bool credentials_have_identity(const struct credentials *credentials);
/* As http_options.authorize: "Bearer ...", or NULL where a certificate is all there is. A plugin that fails, or a file that
 * cannot be read, is an error only when what there was before is no longer good. `force`: read files now; run the plugin
 * now unless that was just done. `arg` is the struct credentials, here and below. */
int credentials_authorize(void *arg, bool force, struct secret **ret_header_value, struct error **err);
/* As http_options.identity. */
void credentials_identity(void *arg, uint64_t *ret_generation, const struct secret **ret_cert_pem,
			  const struct secret **ret_key_pem);
