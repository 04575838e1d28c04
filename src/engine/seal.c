#include "engine/seal.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h> /* before cms.h: it declares the PEM functions only then */
#include <openssl/cms.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

#define CERTIFICATE_MAX (64u << 10)

struct seal {
	X509 *certificate;
	char *name; /* for messages: where it is from */
};

static const char *openssl_words(void)
{
	const char *words = ERR_reason_error_string(ERR_peek_last_error());
	ERR_clear_error();
	return words ? words : "unknown OpenSSL error";
}

int seal_parse(const char *name, const char *pem, struct seal **ret, struct error **err)
{
	size_t len = strlen(pem);
	BIO *bio = len <= CERTIFICATE_MAX ? BIO_new_mem_buf(pem, (int)len) : NULL;
	X509 *certificate = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
	BIO_free(bio);
	if (!certificate)
		return error_set(err, ERROR_INPUT, "%s: no PEM certificate: %s", name, openssl_words());
	_cleanup_(seal_freep) struct seal *seal = xcalloc(1, sizeof(*seal));
	seal->certificate = certificate;
	seal->name = xstrdup(name);
	/* Found out now, before anything is changed, not when the key has to be sealed. */
	_cleanup_secret_ probe = secret_from("probe", 5);
	_cleanup_secret_ sealed = NULL;
	int rc = seal_encrypt(seal, probe, &sealed, err);
	if (rc < 0)
		return rc;
	*ret = steal(seal);
	return 0;
}

int seal_check_end(const struct seal *seal, struct error **err)
{
	if (X509_cmp_current_time(X509_get0_notAfter(seal->certificate)) <= 0)
		return error_set(err, ERROR_INPUT, "%s: the certificate is past its end", seal->name);
	return 0;
}

int seal_open(const char *cert_path, struct seal **ret, struct error **err)
{
	_cleanup_secret_ pem = NULL;
	_cleanup_(seal_freep) struct seal *seal = NULL;
	int rc = file_read(cert_path, CERTIFICATE_MAX, &pem, err);
	if (rc < 0)
		return error_wrap(err, rc, "certificate to seal to");
	rc = seal_parse(cert_path, secret_text(pem), &seal, err);
	if (rc == 0)
		rc = seal_check_end(seal, err);
	if (rc == 0)
		*ret = steal(seal);
	return rc;
}

int seal_encrypt(const struct seal *seal, const struct secret *content, struct secret **ret, struct error **err)
{
	int rc = 0;
	char *bytes = NULL;
	STACK_OF(X509) *recipients = sk_X509_new_null();
	BIO *in = BIO_new_mem_buf(secret_data(content), (int)secret_len(content)), *out = BIO_new(BIO_s_mem());
	CMS_ContentInfo *cms = NULL;
	if (recipients && in && out && sk_X509_push(recipients, seal->certificate) > 0)
		cms = CMS_encrypt(recipients, in, EVP_aes_256_cbc(), CMS_BINARY);
	if (!cms || PEM_write_bio_CMS(out, cms) != 1)
		rc = error_set(err, ERROR_INPUT, "%s: cannot seal to this certificate: %s", seal->name,
			       openssl_words());
	if (rc == 0) {
		long len = BIO_get_mem_data(out, &bytes);
		*ret = secret_from(bytes, (size_t)len);
	}
	CMS_ContentInfo_free(cms);
	BIO_free(in);
	BIO_free(out);
	sk_X509_free(recipients);
	return rc;
}

void seal_free(struct seal *seal)
{
	if (!seal)
		return;
	X509_free(seal->certificate);
	free(seal->name);
	free(seal);
}

void seal_freep(struct seal **seal)
{
	seal_free(*seal);
}
