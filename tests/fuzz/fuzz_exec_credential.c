/* What an exec plugin prints: whatever is accepted can be used. */
#include "net/exec_credential.h"

#define API_VERSION "client.authentication.k8s.io/v1"

static void must(bool condition)
{
	if (!condition)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct exec_credential credential = {0};
	_cleanup_error_ err = NULL;
	int rc = exec_credential_parse(API_VERSION, (const char *)data, size, &credential, &err);

	if (rc < 0) {
		must(rc == -ERROR_AUTH && error_code(err) == ERROR_AUTH && credential.token == NULL &&
		     credential.cert_pem == NULL);
		return 0;
	}
	must((credential.cert_pem == NULL) == (credential.key_pem == NULL));
	must(credential.token != NULL || credential.cert_pem != NULL);
	must(credential.token == NULL || (secret_len(credential.token) > 0 && exec_token_is_usable(credential.token)));
	exec_credential_clear(&credential);
	return 0;
}
