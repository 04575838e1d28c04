#include "engine/sign.h"

#include <limits.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h> /* before cms.h: it declares the PEM functions only then */
#include <openssl/cms.h>
#include <openssl/x509v3.h>

#include "base/file.h"

#define PEM_FILE_MAX (1u << 20)

static const char *openssl_words(void)
{
	const char *words = ERR_reason_error_string(ERR_peek_last_error());
	ERR_clear_error();
	return words ? words : "unknown OpenSSL error";
}

static void bio_freep(BIO **bio)
{
	BIO_free(*bio);
}

static void cms_freep(CMS_ContentInfo **cms)
{
	CMS_ContentInfo_free(*cms);
}

static void x509_freep(X509 **certificate)
{
	X509_free(*certificate);
}

static void chain_freep(STACK_OF(X509) * *chain)
{
	sk_X509_pop_free(*chain, X509_free);
}

static void key_freep(EVP_PKEY **key)
{
	EVP_PKEY_free(*key);
}

static void store_freep(X509_STORE **store)
{
	X509_STORE_free(*store);
}

static BIO *reader_of(const struct secret *bytes)
{
	BIO *bio = BIO_new_mem_buf(secret_data(bytes), (int)secret_len(bytes));
	if (!bio)
		abort();
	return bio;
}

static BIO *writer(void)
{
	BIO *bio = BIO_new(BIO_s_mem());
	if (!bio)
		abort();
	return bio;
}

static struct secret *taken(BIO *bio)
{
	char *bytes = NULL;
	long len = BIO_get_mem_data(bio, &bytes);
	return secret_from(bytes, (size_t)len);
}

/* No passphrase is ever asked for at a terminal. */
static int no_passphrase(char *buf, int size, int rwflag, void *arg)
{
	(void)buf, (void)size, (void)rwflag, (void)arg;
	return -1;
}

static int read_certificates(const char *path, STACK_OF(X509) * *ret, struct error **err)
{
	_cleanup_secret_ pem = NULL;
	int rc = file_read(path, PEM_FILE_MAX, &pem, err);
	if (rc < 0)
		return rc;
	_cleanup_(bio_freep) BIO *bio = reader_of(pem);
	_cleanup_(chain_freep) STACK_OF(X509) *list = sk_X509_new_null();
	X509 *certificate;
	while ((certificate = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL)))
		if (sk_X509_push(list, certificate) <= 0)
			abort();
	ERR_clear_error(); /* that there is no further one */
	if (sk_X509_num(list) == 0)
		return error_set(err, ERROR_INPUT, "%s: no PEM certificate", path);
	*ret = steal(list);
	return 0;
}

static int read_key(const char *path, EVP_PKEY **ret, struct error **err)
{
	_cleanup_secret_ pem = NULL;
	int rc = file_read_private(path, PEM_FILE_MAX, &pem, err);
	if (rc < 0)
		return rc;
	_cleanup_(bio_freep) BIO *bio = reader_of(pem);
	*ret = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
	return *ret ? 0
		    : error_set(err, ERROR_INPUT, "%s: no PEM private key, or one with a passphrase: %s", path,
				openssl_words());
}

int sign_content(const char *cert_path, const char *key_path, const struct secret *content, struct secret **ret,
		 struct error **err)
{
	_cleanup_(chain_freep) STACK_OF(X509) *chain = NULL;
	_cleanup_(key_freep) EVP_PKEY *key = NULL;
	int rc = read_certificates(cert_path, &chain, err);
	if (rc == 0)
		rc = read_key(key_path, &key, err);
	if (rc < 0)
		return error_wrap(err, rc, "signing");
	_cleanup_(x509_freep) X509 *certificate = sk_X509_shift(chain);
	if (X509_check_private_key(certificate, key) != 1) {
		ERR_clear_error();
		return error_set(err, ERROR_INPUT, "signing: %s is not the key of %s", key_path, cert_path);
	}
	/* Known now, not when somebody checks it. */
	if (X509_check_purpose(certificate, X509_PURPOSE_SMIME_SIGN, 0) != 1) {
		ERR_clear_error();
		return error_set(err, ERROR_INPUT,
				 "signing: %s is not for signing: its extended key usage, where it has one, must have "
				 "emailProtection, and its key usage digitalSignature",
				 cert_path);
	}
	_cleanup_(bio_freep) BIO *in = reader_of(content);
	_cleanup_(bio_freep) BIO *out = writer();
	_cleanup_(cms_freep) CMS_ContentInfo *cms = CMS_sign(certificate, key, chain, in, CMS_BINARY);
	if (!cms || PEM_write_bio_CMS(out, cms) != 1)
		return error_set(err, ERROR_INPUT, "signing by %s: %s", cert_path, openssl_words());
	*ret = taken(out);
	return 0;
}

static int make_store(const char *ca_path, X509_STORE **ret, struct error **err)
{
	_cleanup_(chain_freep) STACK_OF(X509) *authorities = NULL;
	int rc = read_certificates(ca_path, &authorities, err);
	if (rc < 0)
		return rc;
	*ret = X509_STORE_new();
	for (int i = 0; *ret && i < sk_X509_num(authorities); i++)
		if (X509_STORE_add_cert(*ret, sk_X509_value(authorities, i)) != 1)
			abort();
	return *ret ? 0 : error_set(err, ERROR_INPUT, "%s: %s", ca_path, openssl_words());
}

static char *subject_of(CMS_ContentInfo *cms)
{
	STACK_OF(X509) *signers = CMS_get0_signers(cms);
	_cleanup_(bio_freep) BIO *out = writer();
	for (int i = 0; signers && i < sk_X509_num(signers); i++) {
		if (i > 0)
			BIO_puts(out, "; ");
		X509_NAME_print_ex(out, X509_get_subject_name(sk_X509_value(signers, i)), 0, XN_FLAG_RFC2253);
	}
	sk_X509_free(signers);
	_cleanup_secret_ text = taken(out);
	return xstrdup(secret_text(text));
}

/* That of `path` is the only one that is looked at for who signed: one that is in the file, with the same name, is not. */
static int read_signer(const char *path, STACK_OF(X509) * *ret, struct error **err)
{
	_cleanup_(chain_freep) STACK_OF(X509) *list = NULL;
	int rc = read_certificates(path, &list, err);
	if (rc < 0)
		return rc;
	while (sk_X509_num(list) > 1) /* its authorities, as they may stand behind it */
		X509_free(sk_X509_pop(list));
	*ret = steal(list);
	return 0;
}

int sign_verify(const char *name, const struct secret *signed_content, const struct sign_trust *trust,
		struct secret **ret, char **ret_signer, struct error **err)
{
	_cleanup_(store_freep) X509_STORE *store = NULL;
	_cleanup_(chain_freep) STACK_OF(X509) *signer = NULL;
	int rc = trust->ca ? make_store(trust->ca, &store, err) : 0;
	if (rc == 0 && trust->signer)
		rc = read_signer(trust->signer, &signer, err);
	if (rc < 0)
		return rc;
	unsigned flags = CMS_BINARY | (store ? 0 : CMS_NO_SIGNER_CERT_VERIFY) | (signer ? CMS_NOINTERN : 0);
	_cleanup_(bio_freep) BIO *in = reader_of(signed_content);
	_cleanup_(bio_freep) BIO *out = writer();
	_cleanup_(cms_freep) CMS_ContentInfo *cms = PEM_read_bio_CMS(in, NULL, no_passphrase, NULL);
	if (!cms)
		return error_set(err, ERROR_INPUT, "%s: no signed report (PEM CMS): %s", name, openssl_words());
	if (CMS_verify(cms, signer, store, NULL, out, flags) != 1)
		return error_set(err, ERROR_FINDING, "%s: the signature does not hold%s%s: %s", name,
				 signer ? ", or is not that of " : "", signer ? trust->signer : "", openssl_words());
	*ret = taken(out);
	*ret_signer = subject_of(cms);
	return 0;
}
