/* Objects of our custom resources, for those who test them. */
#pragma once
#include <stdio.h>
#include "test_support.h"
#include "base/json_read.h"
#include "base/text.h"

/* A document of tests/fuzz/corpus/key_objects. The caller frees. */
static inline cJSON *sample(const char *name)
{
	_cleanup_free_ char *path = xasprintf("tests/fuzz/corpus/key_objects/%s", name);
	static char text[65536];
	struct error *err = NULL;
	cJSON *json = NULL;
	FILE *file = fopen(path, "re");
	assert_non_null(file);
	size_t len = fread(text, 1, sizeof(text), file);
	fclose(file);
	assert_ok(json_parse(text, len, path, &json, &err), err);
	return json;
}

static inline cJSON *document(const char *text)
{
	struct error *err = NULL;
	cJSON *json = NULL;
	assert_ok(json_parse(text, strlen(text), "document", &json, &err), err);
	return json;
}

/* Everything that is in `expected`, and nothing else, is in `text`. */
static inline void assert_same_json(const char *text, const cJSON *expected)
{
	_cleanup_json_ json = document(text);
	_cleanup_free_ char *a = cJSON_PrintUnformatted(json), *b = cJSON_PrintUnformatted(expected);
	if (!cJSON_Compare(json, expected, true))
		fail_msg("\n%s\nis not\n%s", a, b);
}
