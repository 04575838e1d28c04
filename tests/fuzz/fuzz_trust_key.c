/* The file of a trust key, and values of Secrets: what is taken for the key is found in its own bytes again. */
#include <stdlib.h>
#include <string.h>
#include "engine/trust_key.h"

static void must(bool holds)
{
	if (!holds)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char other_bytes[32] = "another key, of which no input\0\1";
	_cleanup_secret_ content = secret_from(data, size);
	_cleanup_secret_ other_content = secret_from(other_bytes, 32);
	_cleanup_(trust_key_freep) struct trust_key *key = NULL, *other = NULL;
	_cleanup_error_ err = NULL;
	must(trust_key_parse("other", other_content, &other, NULL) == 0);
	must(trust_key_is_in(other, data, size) == (size == 32 && memcmp(data, other_bytes, 32) == 0));
	int rc = trust_key_parse("k", content, &key, &err);
	must(rc == 0 || rc == -ERROR_INPUT || rc == -ERROR_LIMIT);
	if (rc < 0) {
		must(!key && strncmp(error_message(err), "k: ", 3) == 0);
		return 0;
	}
	must(strlen(trust_key_fingerprint(key)) == 12);
	must(trust_key_is_in(key, data, size));
	return 0;
}
