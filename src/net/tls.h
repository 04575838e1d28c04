/* TLS material, parsed once for a client and shared by all of its connections: what curl would otherwise parse again,
 * and keep again, for each. */
#pragma once
#include "base/alloc.h"
#include "base/error.h"
#include "base/secret.h"

struct tls_material; /* counted: connections that are being made hold on to what they began with */
struct ssl_ctx_st;

/* `ca_pem` NULL: the system's. Certificate (with its chain) and key come both or not at all. -ERROR_INPUT says which of
 * them is broken, and why; never a byte of it. */
_must_check_ int tls_material_new(const struct secret *ca_pem, const struct secret *cert_pem,
				  const struct secret *key_pem, struct tls_material **ret, struct error **err);
struct tls_material *tls_material_ref(struct tls_material *material);
void tls_material_unref(struct tls_material *material); /* NULL is fine */
/* Another client certificate, the same CA. `old` stays as it is. */
_must_check_ int tls_material_renew(const struct tls_material *old, const struct secret *cert_pem,
				    const struct secret *key_pem, struct tls_material **ret, struct error **err);
/* Whether both are whole and belong together, as tls_material_new says it. */
_must_check_ int tls_check_identity(const struct secret *cert_pem, const struct secret *key_pem, struct error **err);
/* Puts all of it into a context. 0, or -ERROR_IO when OpenSSL refuses. */
_must_check_ int tls_material_apply(struct tls_material *material, struct ssl_ctx_st *context);
/* A context of its own for connections that are not curl's, TLS 1.2 or later: verifies that the server's certificate comes
 * from these authorities and is for `name` (a host name or an IP address); NULL takes any server, as
 * insecure-skip-tls-verify. Freed with SSL_CTX_free. 0, or -ERROR_IO when OpenSSL refuses. */
_must_check_ int tls_client_context(struct tls_material *material, const char *name, struct ssl_ctx_st **ret);
/* When the client certificate ends, seconds since 1970; 0 without one. */
int64_t tls_material_expiry(const struct tls_material *material);
