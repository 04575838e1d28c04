/* Signing a report: CMS SignedData in PEM with the content in it, so that one file is the whole of it and
 * `openssl cms -verify -inform PEM -in FILE -CAfile CA` checks it and prints the content. */
#pragma once
#include "base/error.h"
#include "base/secret.h"

/* `cert` may have further certificates behind the signer's: they go with it. -ERROR_INPUT for what is no certificate or
 * key, for a key that is another certificate's, and a certificate that is not for signing; -ERROR_REFUSED for a key file that others may read. */
_must_check_ int sign_content(const char *cert_path, const char *key_path, const struct secret *content,
			      struct secret **ret, struct error **err);
/* Who must have signed; files in PEM. NULL: that is not asked. Without both it is only known that nothing was changed
 * since somebody signed. */
struct sign_trust {
	const char *ca;     /* certificates that vouch for the signer's now */
	const char *signer; /* the signer's own, the first one there; its end is looked at with `ca` only */
};
/* The content, when it is as it was signed, by whom `trust` says; `ret_signer` the signer's subject, new string.
 * -ERROR_FINDING when it is not; -ERROR_INPUT for what is no such file. */
_must_check_ int sign_verify(const char *name, const struct secret *signed_content, const struct sign_trust *trust,
			     struct secret **ret, char **ret_signer, struct error **err);
