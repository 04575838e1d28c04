/* Sealing to a certificate: OpenSSL CMS EnvelopedData, AES-256-CBC, opened with `openssl cms -decrypt -inform PEM
 * -inkey KEY`. */
#pragma once
#include "base/error.h"
#include "base/secret.h"

struct seal; /* a certificate to seal to */
/* PEM certificate with a public key that can receive (RSA or EC). -ERROR_INPUT for anything else, or one past its
 * end. */
_must_check_ int seal_open(const char *cert_path, struct seal **ret, struct error **err);
/* The same of PEM text; `name` says where it is from. Its end is not looked at: what was good when it was asked for is used
 * to the end of what was asked. */
_must_check_ int seal_parse(const char *name, const char *pem, struct seal **ret, struct error **err);
_must_check_ int seal_check_end(const struct seal *seal, struct error **err); /* -ERROR_INPUT past it */
/* PEM CMS of the content. */
_must_check_ int seal_encrypt(const struct seal *seal, const struct secret *content, struct secret **ret,
			      struct error **err);
void seal_free(struct seal *seal);
void seal_freep(struct seal **seal);
