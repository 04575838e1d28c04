/* Edits and shapes for tests/e2e/test_config_edits.py, which builds it and compares what comes out with PyYAML.
 *
 *   tool_config_edit shape FILE                          the shape as JSON
 *   tool_config_edit edit FILE TARGET.json NONCE KEY...  the changed text; KEY is type/name=base64
 *
 * Keys on the command line: fine in a test, with keys that protect nothing. */
#include <stdio.h>
#include <string.h>
#include "base/buf.h"
#include "base/json_read.h"
#include "base/json_writer.h"
#include "base/secret.h"
#include "kube-rekey/encryption_config.h"

static struct secret *read_file(const char *path)
{
	struct secret *text = secret_new(4 * ENCRYPTION_CONFIG_MAX);
	FILE *file = fopen(path, "re");
	char chunk[4096];
	size_t len;
	if (!file)
		abort();
	while ((len = fread(chunk, 1, sizeof(chunk), file)) > 0) {
		if (secret_append(text, chunk, len) < 0)
			abort();
	}
	fclose(file);
	return text;
}

static struct keyring_entry parse_key(char *word)
{
	struct keyring_entry entry;
	struct secret *bytes;
	char *slash = strchr(word, '/'), *equals = slash ? strchr(slash, '=') : NULL;
	if (!equals)
		abort();
	*slash = *equals = '\0';
	if (!provider_from_name(word, &entry.type) || secret_base64_decode(equals + 1, strlen(equals + 1), &bytes) < 0)
		abort();
	entry.name = slash + 1;
	entry.bytes = bytes;
	return entry;
}

static int edit(const struct encryption_config *config, char **args, int count, struct error **err)
{
	struct keyring_entry entries[16];
	struct keyring keyring = {entries, 0};
	_cleanup_(config_shape_freep) struct config_shape *to = NULL;
	_cleanup_secret_ target = read_file(args[0]);
	_cleanup_secret_ changed = NULL;
	_cleanup_json_ json = NULL;
	for (int i = 2; i < count && keyring.count < ELEMENTS(entries); i++)
		entries[keyring.count++] = parse_key(args[i]);
	int rc = json_parse(secret_text(target), secret_len(target), args[0], &json, err);
	if (rc == 0)
		rc = config_shape_from_json(json, &to, err);
	if (rc == 0)
		rc = encryption_config_edit(config, to, &keyring, args[1], &changed, err);
	if (rc == 0)
		fwrite(secret_data(changed), 1, secret_len(changed), stdout);
	for (size_t i = 0; i < keyring.count; i++) {
		struct secret *bytes;
		memcpy(&bytes, &entries[i].bytes, sizeof(bytes));
		secret_free(bytes);
	}
	return rc;
}

int main(int argc, char **argv)
{
	_cleanup_(encryption_config_freep) struct encryption_config *config = NULL;
	_cleanup_error_ err = NULL;
	if (argc < 3)
		return 64;
	_cleanup_secret_ text = read_file(argv[2]);
	json_install_hooks();
	int rc = encryption_config_parse(argv[2], text, &config, &err);
	if (rc == 0 && strcmp(argv[1], "shape") == 0) {
		struct json_writer w = JSON_WRITER_INIT(1 << 24);
		config_shape_write_json(encryption_config_shape(config), &w);
		puts(json_text(&w));
		json_writer_free(&w);
	} else if (rc == 0 && argc >= 5) {
		rc = edit(config, argv + 3, argc - 3, &err);
	}
	if (rc < 0)
		fprintf(stderr, "%s\n", error_message(err));
	return rc < 0 ? 2 : 0;
}
