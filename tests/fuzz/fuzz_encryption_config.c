/* Any bytes as an EncryptionConfiguration: a refusal names the file and a place and nothing more than one line; what is
 * taken has keys in every rule, its shape survives JSON, and an edit to the same shape changes the nonce alone. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/json_read.h"
#include "base/json_writer.h"
#include "base/secret.h"
#include "kube-rekey/encryption_config.h"

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void check_error(int rc, const struct error *err)
{
	must(rc == -ERROR_INPUT && error_code(err) == ERROR_INPUT);
	must(strncmp(error_message(err), "file:", 5) == 0 || strncmp(error_message(err), "file, as changed:", 17) == 0);
	must(!strchr(error_message(err), '\n'));
}

static void check_json(const struct config_shape *shape)
{
	_cleanup_(config_shape_freep) struct config_shape *again = NULL;
	_cleanup_json_ json = NULL;
	struct json_writer w = JSON_WRITER_INIT(16 * ENCRYPTION_CONFIG_MAX);
	config_shape_write_json(shape, &w);
	const char *text = json_text(&w);
	must(text != NULL);
	/* The reader's caps are lower than the parser's. */
	if (json_parse(text, strlen(text), "shape", &json, NULL) == 0 &&
	    config_shape_from_json(json, &again, NULL) == 0)
		must(config_shape_equal(shape, again));
	json_writer_free(&w);
}

static void check_bytes(const struct encryption_config *config)
{
	const struct config_shape *shape = encryption_config_shape(config);
	must(shape->rule_count > 0);
	for (size_t r = 0; r < shape->rule_count; r++) {
		must(shape->rules[r].key_count > 0 && shape->rules[r].resource_count > 0);
		for (size_t k = 0; k < shape->rules[r].key_count; k++) {
			const struct config_key *key = &shape->rules[r].keys[k];
			const struct secret *bytes = encryption_config_key(config, key->type, key->name);
			char fingerprint[13];
			must((bytes != NULL) == (key->type != PROVIDER_IDENTITY && key->type != PROVIDER_KMS));
			if (!bytes)
				continue;
			key_fingerprint(bytes, fingerprint);
			must(strcmp(fingerprint, key->fingerprint) == 0);
		}
	}
}

static void check_nonce(const struct encryption_config *config)
{
	_cleanup_secret_ first = NULL;
	_cleanup_secret_ second = NULL;
	_cleanup_(encryption_config_freep) struct encryption_config *again = NULL;
	_cleanup_error_ err = NULL;
	int rc = encryption_config_edit(config, encryption_config_shape(config), NULL, "nonce-1", &first, &err);
	if (rc < 0) {
		check_error(rc, err);
		return;
	}
	must(encryption_config_parse("file", first, &again, NULL) == 0);
	must(encryption_config_edit(again, encryption_config_shape(again), NULL, "nonce-2", &second, NULL) == 0);
	must(secret_len(first) <= secret_len(second) + 1 && secret_len(second) <= secret_len(first) + 1);
	must(!secret_equal(first, second));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(encryption_config_freep) struct encryption_config *config = NULL;
	_cleanup_secret_ text = secret_from(data, size);
	_cleanup_error_ err = NULL;
	int rc = encryption_config_parse("file", text, &config, &err);
	if (rc < 0) {
		check_error(rc, err);
		return 0;
	}
	must(secret_equal(encryption_config_text(config), text));
	check_bytes(config);
	check_json(encryption_config_shape(config));
	check_nonce(config);
	return 0;
}
