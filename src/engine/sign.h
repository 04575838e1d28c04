/* Signing a report: CMS SignedData in PEM with the content in it, so that one file is the whole of it and
 * `openssl cms -verify -inform PEM -in FILE -CAfile CA` checks it and prints the content. */
#pragma once
#include "base/error.h"
#include "base/secret.h"

/* `cert` may have further certificates behind the signer's: they go with it. -ERROR_INPUT for what is no certificate or
 * key, for a key that is another certificate's, and a certificate that is not for signing; -ERROR_REFUSED for a key file that others may read. */
_must_check_ int sign_content(const char *cert_path, const char *key_path, const struct secret *content,
			      struct secret **ret, struct error **err);
/* The content, when it was signed by a certificate that `ca_path` (PEM) vouches for now; `ret_signer` its subject, new
 * string. -ERROR_FINDING when it was not, or was changed since; -ERROR_INPUT for what is no such file. */
_must_check_ int sign_verify(const char *name, const struct secret *signed_content, const char *ca_path,
			     struct secret **ret, char **ret_signer, struct error **err);
