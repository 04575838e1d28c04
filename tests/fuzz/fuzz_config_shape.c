/* A shape in JSON: one that is read is one that could be in force, and is the same after it was written and read. */
#include <stdlib.h>
#include <string.h>
#include "base/json_read.h"
#include "base/json_writer.h"
#include "kube-rekey/encryption_config.h"
#include "valid_utf8.h"

static void must(bool holds)
{
	if (!holds)
		abort();
}

static struct config_shape *read(const char *text, size_t len)
{
	_cleanup_json_ document = NULL;
	_cleanup_error_ err = NULL;
	struct config_shape *shape = NULL;
	if (json_parse(text, len, "shape", &document, NULL) == 0 && config_shape_from_json(document, &shape, &err) < 0)
		must(!shape && strncmp(error_message(err), "shape: ", 7) == 0);
	return shape;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(config_shape_freep) struct config_shape *shape = read((const char *)data, size), *again = NULL;
	if (!shape)
		return 0;
	must(shape->rule_count > 0);
	for (size_t i = 0; i < shape->rule_count; i++)
		must(shape->rules[i].key_count > 0 && shape->rules[i].resource_count > 0);
	struct json_writer w = JSON_WRITER_INIT(JSON_BYTES_MAX);
	config_shape_write_json(shape, &w);
	if (json_text(&w) && valid_utf8(data, size)) {
		again = read(json_text(&w), strlen(json_text(&w)));
		must(again && config_shape_equal(shape, again));
	}
	json_writer_free(&w);
	return 0;
}
