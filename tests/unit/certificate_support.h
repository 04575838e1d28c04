/* Certificates to seal to. */
#pragma once
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include "test_support.h"

/* A self-signed certificate that runs out in so many seconds. New string. */
static inline char *certificate(long seconds)
{
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048);
	X509 *cert = X509_new();
	BIO *out = BIO_new(BIO_s_mem());
	char *bytes;
	assert_non_null(key);
	X509_gmtime_adj(X509_getm_notBefore(cert), -7200);
	X509_gmtime_adj(X509_getm_notAfter(cert), seconds);
	X509_set_pubkey(cert, key);
	assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
	assert_int_equal(PEM_write_bio_X509(out, cert), 1);
	long len = BIO_get_mem_data(out, &bytes);
	char *pem = xstrndup(bytes, (size_t)len);
	BIO_free(out);
	X509_free(cert);
	EVP_PKEY_free(key);
	return pem;
}
