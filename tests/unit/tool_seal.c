/* Keys sealed and opened under any trust key, for tests/e2e/test_fleet.py; a failure is its message on stderr and exit 1.
 *
 * tool_seal FILE CLUSTER ROTATION EPOCH PROVIDER NAME     seals 32 random bytes: their fingerprint and the text, a line each
 * tool_seal FILE CLUSTER ROTATION EPOCH PROVIDER NAME FINGERPRINT TEXT       opens that, and tells nothing of it */
#include <stdio.h>
#include "base/text.h"
#include "engine/sealed_key.h"

static int fail(struct error *err)
{
	fprintf(stderr, "%s\n", error_message(err));
	error_free(err);
	return 1;
}

static int seal(const struct trust_key *trust, struct sealed_key_binding binding, struct error **err)
{
	_cleanup_secret_ bytes = secret_random(32);
	_cleanup_free_ char *text = NULL;
	char fingerprint[13];

	key_fingerprint(bytes, fingerprint);
	binding.fingerprint = fingerprint;
	int rc = sealed_key_seal(trust, &binding, bytes, &text, err);
	if (rc == 0)
		printf("%s\n%s\n", fingerprint, text);
	return rc;
}

int main(int argc, char **argv)
{
	_cleanup_(trust_key_freep) struct trust_key *trust = NULL;
	_cleanup_secret_ opened = NULL;
	struct error *err = NULL;

	if (argc != 7 && argc != 9)
		return 64;
	struct sealed_key_binding binding = {.cluster = argv[2], .rotation = argv[3], .name = argv[6]};
	if (text_to_u64(argv[4], &binding.epoch) < 0 || !provider_from_name(argv[5], &binding.type))
		return 64;
	if (trust_key_load(argv[1], &trust, &err) < 0)
		return fail(err);
	if (argc == 7)
		return seal(trust, binding, &err) < 0 ? fail(err) : 0;
	binding.fingerprint = argv[7];
	return sealed_key_open(trust, &binding, argv[8], &opened, &err) < 0 ? fail(err) : 0;
}
