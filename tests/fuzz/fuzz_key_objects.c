/* Our custom resources: what is read of one is written as it was read, and means the same again. */
#include <stdlib.h>
#include <string.h>
#include "base/json_read.h"
#include "engine/key_rotation.h"
#include "engine/key_server.h"
#include "valid_utf8.h"

typedef int (*part_body)(const cJSON *json, bool status, char **ret, struct error **err);

static void must(bool holds)
{
	if (!holds)
		abort();
}

static int rotation_body(const cJSON *json, bool status, char **ret, struct error **err)
{
	_cleanup_(key_rotation_freep) struct key_rotation *rotation = NULL;
	int rc = key_rotation_parse(json, &rotation, err);
	must((rc == 0) == (rotation != NULL));
	if (rc < 0)
		return rc;
	return status ? key_rotation_status_body(rotation, ret, err) : key_rotation_spec_body(rotation, ret, err);
}

static int server_body(const cJSON *json, bool status, char **ret, struct error **err)
{
	_cleanup_(key_server_freep) struct key_server *server = NULL;
	int rc = key_server_parse(json, &server, err);
	must((rc == 0) == (server != NULL));
	if (rc < 0)
		return rc;
	return status ? key_server_status_body(server, ret, err) : key_server_spec_body(server, ret, err);
}

static void check(const cJSON *json, part_body body, bool status, bool text)
{
	_cleanup_free_ char *first = NULL, *second = NULL;
	_cleanup_json_ again = NULL;
	_cleanup_error_ err = NULL;
	int rc = body(json, status, &first, &err);
	must((rc == 0) == (first != NULL) && (rc < 0) == (err != NULL));
	if (rc < 0 || !text)
		return;
	must(json_parse(first, strlen(first), "again", &again, NULL) == 0);
	must(body(again, status, &second, NULL) == 0);
	must(strcmp(first, second) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const part_body bodies[] = {rotation_body, server_body};
	_cleanup_json_ json = NULL;
	/* Bytes that are no text become U+FFFD, which is longer. */
	bool text = valid_utf8(data, size);
	if (json_parse((const char *)data, size, "object", &json, NULL) < 0)
		return 0;
	for (size_t i = 0; i < ELEMENTS(bodies); i++) {
		check(json, bodies[i], false, text);
		check(json, bodies[i], true, text);
	}
	return 0;
}
