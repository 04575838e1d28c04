/* Sealed keys: rubbish never opens; what was sealed opens, and not with a bit changed. */
#include <stdlib.h>
#include <string.h>
#include "base/text.h"
#include "engine/sealed_key.h"

#define HEAD 3 /* bytes of an input that choose: provider, length, epoch */

static void must(bool holds)
{
	if (!holds)
		abort();
}

static struct trust_key *trust(void)
{
	static const char bytes[32] = "thirty-two bytes that are fixed\1";
	_cleanup_secret_ content = secret_from(bytes, sizeof(bytes));
	struct trust_key *key = NULL;
	must(trust_key_parse("k", content, &key, NULL) == 0);
	return key;
}

/* None of these texts was sealed under a key that anybody has: it opens by forgery alone. */
static void open_rubbish(const struct trust_key *key, const struct sealed_key_binding *binding, const char *text)
{
	struct secret *opened = NULL;
	_cleanup_error_ err = NULL;
	must(sealed_key_open(key, binding, text, &opened, &err) == -ERROR_REFUSED);
	must(!opened && error_code(err) == ERROR_REFUSED);
}

static void open_changed(const struct trust_key *key, const struct sealed_key_binding *binding, char *text,
			 size_t place)
{
	char *at = text + place % strlen(text);
	*at = (char)(*at ^ (1 << place % 8));
	open_rubbish(key, binding, text);
	*at = (char)(*at ^ (1 << place % 8));
}

static void seal_and_open(const struct trust_key *key, struct sealed_key_binding *binding, const struct secret *bytes,
			  size_t place)
{
	_cleanup_free_ char *text = NULL;
	_cleanup_secret_ opened = NULL;
	char fingerprint[13];
	key_fingerprint(bytes, fingerprint);
	binding->fingerprint = fingerprint;
	int rc = sealed_key_seal(key, binding, bytes, &text, NULL);
	must(rc == (provider_key_fits(binding->type, secret_len(bytes)) ? 0 : -ERROR_INPUT));
	if (rc < 0)
		return;
	must(strlen(text) <= SEALED_KEY_TEXT_MAX);
	must(sealed_key_open(key, binding, text, &opened, NULL) == 0 && secret_equal(opened, bytes));
	open_changed(key, binding, text, place);
	binding->epoch++;
	open_rubbish(key, binding, text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < HEAD)
		return 0;
	_cleanup_(trust_key_freep) struct trust_key *key = trust();
	_cleanup_free_ char *text = xstrndup((const char *)data + HEAD, size - HEAD);
	struct sealed_key_binding binding = {"cluster", "rotation",    data[2], data[0] % (PROVIDER_KMS + 1u),
					     "name",    "0123456789ab"};
	open_rubbish(key, &binding, text);
	if (!text_empty(text) && strlen(text) <= SEALED_KEY_FIELD_MAX)
		binding.name = text;
	size_t len = data[1] % 40;
	_cleanup_secret_ bytes = secret_from(data + HEAD, len < size - HEAD ? len : size - HEAD);
	seal_and_open(key, &binding, bytes, size + data[1]);
	return 0;
}
