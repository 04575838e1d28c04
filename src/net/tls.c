#include "net/tls.h"
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <time.h>

struct tls_material {
	unsigned references;
	X509_STORE *store;
	X509 *cert;
	STACK_OF(X509) * chain;
	EVP_PKEY *key;
};

/* OpenSSL's reason for the first error in its queue, which is emptied. */
static const char *reason(void)
{
	const char *text = ERR_reason_error_string(ERR_peek_error());

	ERR_clear_error();
	return text != NULL ? text : "not readable";
}

/* Whether reading stopped because there is no further PEM block; that error is taken off the queue. */
static bool at_end(void)
{
	unsigned long last = ERR_peek_last_error();

	if (ERR_GET_LIB(last) != ERR_LIB_PEM || ERR_GET_REASON(last) != PEM_R_NO_START_LINE)
		return false;
	ERR_clear_error();
	return true;
}

/* No terminal is asked: an encrypted key is refused, as client-go does. */
static int no_password(char *text, int size, int writing, void *arg)
{
	(void)text;
	(void)size;
	(void)writing;
	(void)arg;
	return -1;
}

static BIO *open_pem(const struct secret *pem)
{
	BIO *bio = BIO_new_mem_buf(secret_data(pem), (int)secret_len(pem));

	if (bio == NULL)
		abort();
	ERR_clear_error();
	return bio;
}

/* Every certificate of `pem` into a new list. */
static int read_certificates(const struct secret *pem, const char *what, STACK_OF(X509) * *ret, struct error **err)
{
	BIO *bio = open_pem(pem);
	STACK_OF(X509) *list = sk_X509_new_null();
	X509 *cert;
	int rc = 0;

	while ((cert = PEM_read_bio_X509(bio, NULL, no_password, NULL)) != NULL)
		if (!sk_X509_push(list, cert))
			abort();
	BIO_free(bio);
	if (!at_end())
		rc = error_set(err, ERROR_INPUT, "%s: broken PEM: %s", what, reason());
	else if (sk_X509_num(list) == 0)
		rc = error_set(err, ERROR_INPUT, "%s: no PEM certificate in it", what);
	if (rc < 0) {
		sk_X509_pop_free(list, X509_free);
		return rc;
	}
	*ret = list;
	return 0;
}

static int load_authorities(struct tls_material *material, const struct secret *pem, struct error **err)
{
	STACK_OF(X509) * list;
	int rc, i;

	material->store = X509_STORE_new();
	if (material->store == NULL)
		abort();
	/* As Go does: whatever is in the list is an anchor, an intermediate too. */
	X509_STORE_set_flags(material->store, X509_V_FLAG_TRUSTED_FIRST | X509_V_FLAG_PARTIAL_CHAIN);
	if (pem == NULL) {
		if (X509_STORE_set_default_paths(material->store) != 1)
			return error_set(err, ERROR_IO, "the system's certificate authorities: %s", reason());
		return 0;
	}
	rc = read_certificates(pem, "certificate authority", &list, err);
	if (rc < 0)
		return rc;
	for (i = 0; i < sk_X509_num(list); i++)
		if (X509_STORE_add_cert(material->store, sk_X509_value(list, i)) != 1)
			abort();
	sk_X509_pop_free(list, X509_free);
	return 0;
}

static int load_identity(struct tls_material *material, const struct secret *cert_pem, const struct secret *key_pem,
			 struct error **err)
{
	BIO *bio;
	int rc;

	if (cert_pem == NULL && key_pem == NULL)
		return 0;
	if (cert_pem == NULL || key_pem == NULL)
		return error_set(err, ERROR_INPUT, "a client certificate needs its key, and a key its certificate");
	rc = read_certificates(cert_pem, "client certificate", &material->chain, err);
	if (rc < 0)
		return rc;
	material->cert = sk_X509_shift(material->chain);
	bio = open_pem(key_pem);
	material->key = PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL);
	BIO_free(bio);
	if (material->key == NULL)
		return error_set(err, ERROR_INPUT, "client key: no PEM key in it that can be read without a password");
	if (X509_check_private_key(material->cert, material->key) != 1) {
		ERR_clear_error();
		return error_set(err, ERROR_INPUT, "the client key does not belong to the client certificate");
	}
	return 0;
}

int tls_material_new(const struct secret *ca_pem, const struct secret *cert_pem, const struct secret *key_pem,
		     struct tls_material **ret, struct error **err)
{
	struct tls_material *material = xcalloc(1, sizeof(*material));
	int rc;

	material->references = 1;
	rc = load_authorities(material, ca_pem, err);
	if (rc == 0)
		rc = load_identity(material, cert_pem, key_pem, err);
	ERR_clear_error();
	if (rc < 0) {
		tls_material_unref(material);
		return rc;
	}
	*ret = material;
	return 0;
}

static int with_identity(X509_STORE *store, const struct secret *cert_pem, const struct secret *key_pem,
			 struct tls_material **ret, struct error **err)
{
	struct tls_material *material = xcalloc(1, sizeof(*material));
	int rc;

	material->references = 1;
	material->store = store;
	if (store != NULL)
		X509_STORE_up_ref(store);
	rc = load_identity(material, cert_pem, key_pem, err);
	ERR_clear_error();
	if (rc < 0) {
		tls_material_unref(material);
		return rc;
	}
	*ret = material;
	return 0;
}

int tls_material_renew(const struct tls_material *old, const struct secret *cert_pem, const struct secret *key_pem,
		       struct tls_material **ret, struct error **err)
{
	return with_identity(old->store, cert_pem, key_pem, ret, err);
}

int tls_check_identity(const struct secret *cert_pem, const struct secret *key_pem, struct error **err)
{
	struct tls_material *material = NULL;
	int rc = with_identity(NULL, cert_pem, key_pem, &material, err);

	tls_material_unref(material);
	return rc;
}

struct tls_material *tls_material_ref(struct tls_material *material)
{
	material->references++;
	return material;
}

void tls_material_unref(struct tls_material *material)
{
	if (material == NULL || --material->references > 0)
		return;
	X509_STORE_free(material->store);
	X509_free(material->cert);
	sk_X509_pop_free(material->chain, X509_free);
	EVP_PKEY_free(material->key);
	free(material);
}

int tls_material_apply(struct tls_material *material, struct ssl_ctx_st *context)
{
	/* The store for verifying alone goes before the context's own, which curl (7.87 and later) replaces after this by one
	 * that it cached for whichever client came first. */
	if (SSL_CTX_set1_verify_cert_store(context, material->store) != 1)
		return -ERROR_IO;
	if (material->cert == NULL)
		return 0;
	if (SSL_CTX_use_cert_and_key(context, material->cert, material->key, material->chain, 1) != 1)
		return -ERROR_IO;
	return 0;
}

/* In the place of the whole verification. */
static int accept_any(X509_STORE_CTX *chain, void *arg)
{
	(void)arg;
	X509_STORE_CTX_set_error(chain, X509_V_OK);
	return 1;
}

static int expect_name(SSL_CTX *context, const char *name)
{
	X509_VERIFY_PARAM *param = SSL_CTX_get0_param(context);

	if (X509_VERIFY_PARAM_set1_ip_asc(param, name) == 1)
		return 0;
	ERR_clear_error();
	X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	/* An empty name would mean any. */
	if (name[0] == '\0' || X509_VERIFY_PARAM_set1_host(param, name, 0) != 1)
		return -ERROR_IO;
	return 0;
}

int tls_client_context(struct tls_material *material, const char *name, struct ssl_ctx_st **ret)
{
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());
	int rc = 0;

	if (context == NULL)
		abort();
	if (SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) != 1)
		rc = -ERROR_IO;
	if (rc == 0)
		rc = tls_material_apply(material, context);
	SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
	if (name == NULL)
		SSL_CTX_set_cert_verify_callback(context, accept_any, NULL);
	else if (rc == 0)
		rc = expect_name(context, name);
	ERR_clear_error();
	if (rc < 0) {
		SSL_CTX_free(context);
		return rc;
	}
	*ret = context;
	return 0;
}

int64_t tls_material_expiry(const struct tls_material *material)
{
	struct tm tm;

	if (material->cert == NULL || ASN1_TIME_to_tm(X509_get0_notAfter(material->cert), &tm) != 1)
		return 0;
	return timegm(&tm);
}
