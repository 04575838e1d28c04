/* Signing with a certificate, and checking it. */
#include "test_folder.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "engine/sign.h"

static void write_pem(const char *name, mode_t mode, X509 *certificate, EVP_PKEY *key)
{
	FILE *file = fopen(in_folder(name), "we");
	assert_non_null(file);
	if (certificate)
		assert_int_equal(PEM_write_X509(file, certificate), 1);
	else
		assert_int_equal(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL), 1);
	assert_int_equal(fchmod(fileno(file), mode), 0);
	fclose(file);
}

/* NAME.crt and NAME.key: a certificate that vouches for itself. `usage`: its extended key usage; NULL: none. */
static void make(const char *name, const char *usage)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *certificate = X509_new();
	assert_non_null(key);
	X509_set_version(certificate, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
	X509_gmtime_adj(X509_getm_notBefore(certificate), -60);
	X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC, (const unsigned char *)name,
				   -1, -1, 0);
	X509_set_issuer_name(certificate, X509_get_subject_name(certificate));
	X509_set_pubkey(certificate, key);
	if (usage) {
		X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, NID_ext_key_usage, usage);
		assert_int_equal(X509_add_ext(certificate, extension, -1), 1);
		X509_EXTENSION_free(extension);
	}
	assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
	_cleanup_free_ char *cert_name = xasprintf("%s.crt", name), *key_name = xasprintf("%s.key", name);
	write_pem(cert_name, 0644, certificate, NULL);
	write_pem(key_name, 0600, NULL, key);
	X509_free(certificate);
	EVP_PKEY_free(key);
}

static void signed_and_checked(void **state)
{
	_cleanup_secret_ content = secret_from("a report\nof two lines\n", 22);
	_cleanup_secret_ cms = NULL;
	_cleanup_secret_ read = NULL;
	_cleanup_free_ char *signer = NULL;
	struct error *err = NULL;
	(void)state;
	make("auditor", "emailProtection");
	make("other", NULL);
	assert_ok(sign_content(in_folder("auditor.crt"), in_folder("auditor.key"), content, &cms, &err), err);
	assert_ok(sign_verify("it", cms, &(struct sign_trust){.ca = in_folder("auditor.crt")}, &read, &signer, &err),
		  err);
	assert_true(secret_equal(content, read));
	assert_string_equal(signer, "CN=auditor");
	_cleanup_secret_ none = NULL;
	_cleanup_free_ char *nobody = NULL;
	assert_int_equal(
		sign_verify("it", cms, &(struct sign_trust){.ca = in_folder("other.crt")}, &none, &nobody, &err),
		-ERROR_FINDING);
	error_clear(&err);
	assert_null(none);
	assert_null(nobody);
	assert_int_equal(
		sign_verify("it", content, &(struct sign_trust){.ca = in_folder("other.crt")}, &none, &nobody, &err),
		-ERROR_INPUT);
	error_clear(&err);
	assert_int_equal(
		sign_verify("it", cms, &(struct sign_trust){.ca = in_folder("auditor.key")}, &none, &nobody, &err),
		-ERROR_INPUT);
	error_clear(&err);
}

static int verified(const struct secret *cms, const char *ca, const char *signer)
{
	_cleanup_secret_ read = NULL;
	_cleanup_free_ char *subject = NULL;
	_cleanup_error_ failed = NULL;
	const struct sign_trust trust = {.ca = ca ? in_folder(ca) : NULL, .signer = signer ? in_folder(signer) : NULL};
	int rc = sign_verify("it", cms, &trust, &read, &subject, &failed);
	assert_true((rc == 0) == (subject != NULL));
	return rc;
}

/* Of all whom an authority vouches for it is one; and what calls itself by that one's name is not. */
static void who_must_have_signed(void **state)
{
	_cleanup_secret_ content = secret_from("a report\n", 9);
	_cleanup_secret_ cms = NULL;
	struct error *err = NULL;
	(void)state;
	make("auditor", NULL);
	make("other", NULL);
	assert_ok(sign_content(in_folder("auditor.crt"), in_folder("auditor.key"), content, &cms, &err), err);
	assert_int_equal(verified(cms, NULL, NULL), 0);
	assert_int_equal(verified(cms, NULL, "auditor.crt"), 0);
	assert_int_equal(verified(cms, "auditor.crt", "auditor.crt"), 0);
	assert_int_equal(verified(cms, NULL, "other.crt"), -ERROR_FINDING);
	assert_int_equal(verified(cms, "auditor.crt", "other.crt"), -ERROR_FINDING);
	assert_int_equal(verified(cms, "other.crt", "auditor.crt"), -ERROR_FINDING);
	assert_int_equal(verified(cms, NULL, "auditor.key"), -ERROR_INPUT);
	/* What stands behind the first certificate vouches for nobody. */
	_cleanup_free_ char *both = xasprintf("cd %s && cat other.crt auditor.crt > both.crt", folder);
	assert_int_equal(system(both), 0);
	assert_int_equal(verified(cms, NULL, "both.crt"), -ERROR_FINDING);
	make("auditor", NULL); /* another key under the same name and serial number */
	assert_int_equal(verified(cms, NULL, "auditor.crt"), -ERROR_FINDING);
}

static void who_may_not_sign(void **state)
{
	_cleanup_secret_ content = secret_from("x", 1);
	_cleanup_secret_ cms = NULL;
	struct error *err = NULL;
	(void)state;
	make("auditor", NULL);
	make("server", "serverAuth");
	assert_int_equal(sign_content(in_folder("server.crt"), in_folder("server.key"), content, &cms, &err),
			 -ERROR_INPUT);
	assert_non_null(strstr(error_message(err), "extended key usage"));
	error_clear(&err);
	assert_int_equal(sign_content(in_folder("auditor.crt"), in_folder("server.key"), content, &cms, &err),
			 -ERROR_INPUT);
	error_clear(&err);
	assert_int_equal(sign_content(in_folder("auditor.key"), in_folder("auditor.key"), content, &cms, &err),
			 -ERROR_INPUT);
	error_clear(&err);
	assert_int_equal(chmod(in_folder("auditor.key"), 0640), 0);
	assert_int_equal(sign_content(in_folder("auditor.crt"), in_folder("auditor.key"), content, &cms, &err),
			 -ERROR_REFUSED);
	error_clear(&err);
	assert_null(cms);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		folder_test(signed_and_checked),
		folder_test(who_must_have_signed),
		folder_test(who_may_not_sign),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
