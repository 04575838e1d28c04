#include "base/json_read.h"
#include "base/secret.h"
#include "base/text.h"
#include <malloc.h>

/* Doubles hold every whole number up to here. */
#define EXACT_MAX 9007199254740992.0

/* cJSON's free hook gets no size. */
static void wiping_free(void *pointer)
{
	if (pointer)
		secret_wipe(pointer, malloc_usable_size(pointer));
	free(pointer);
}

void json_install_hooks(void)
{
	cJSON_Hooks hooks = {.malloc_fn = xmalloc, .free_fn = wiping_free};
	cJSON_InitHooks(&hooks);
}

/* The deepest nesting, without parsing: cJSON's own limit was chosen when it was compiled. */
static size_t depth_of(const char *text, size_t len)
{
	size_t depth = 0, deepest = 0;
	bool quoted = false;
	for (size_t i = 0; i < len; i++) {
		char c = text[i];
		if (quoted && c == '\\')
			i++;
		else if (c == '"')
			quoted = !quoted;
		else if (!quoted && (c == '[' || c == '{') && ++depth > deepest)
			deepest = depth;
		else if (!quoted && (c == ']' || c == '}') && depth > 0)
			depth--;
	}
	return deepest;
}

static int fail_at(const char *text, size_t at, const char *what, struct error **err)
{
	size_t line = 1, column = 1;
	for (size_t i = 0; i < at; i++) {
		column = text[i] == '\n' ? 1 : column + 1;
		line += text[i] == '\n';
	}
	return error_set(err, ERROR_INPUT, "%s: not JSON at line %zu, column %zu", what, line, column);
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

int json_parse(const char *text, size_t len, const char *what, cJSON **ret, struct error **err)
{
	if (len > JSON_BYTES_MAX)
		return error_set(err, ERROR_LIMIT, "%s: JSON of %zu bytes, more than %u", what, len, JSON_BYTES_MAX);
	if (depth_of(text, len) > JSON_DEPTH_MAX)
		return error_set(err, ERROR_LIMIT, "%s: JSON nested deeper than %d", what, JSON_DEPTH_MAX);
	if (len == 0)
		return fail_at(text, 0, what, err);
	const char *end = text;
	_cleanup_json_ doc = cJSON_ParseWithLengthOpts(text, len, &end, false);
	size_t at = (size_t)(end - text);
	if (!doc)
		return fail_at(text, at, what, err);
	while (at < len && is_space(text[at]))
		at++;
	if (at < len)
		return fail_at(text, at, what, err);
	*ret = steal(doc);
	return 0;
}

const cJSON *json_at(const cJSON *value, ...)
{
	va_list names;
	va_start(names, value);
	const char *name;
	while (value && (name = va_arg(names, const char *)))
		value = cJSON_GetObjectItemCaseSensitive(value, name);
	va_end(names);
	return value;
}

const char *json_text_at(const cJSON *object, const char *member)
{
	return cJSON_GetStringValue(json_at(object, member, NULL));
}

bool json_u64_at(const cJSON *object, const char *member, uint64_t *ret)
{
	const cJSON *value = json_at(object, member, NULL);
	if (cJSON_IsString(value))
		return text_to_u64(value->valuestring, ret) == 0;
	if (!cJSON_IsNumber(value) || !(value->valuedouble >= 0 && value->valuedouble <= EXACT_MAX))
		return false;
	uint64_t number = (uint64_t)value->valuedouble;
	if ((double)number < value->valuedouble)
		return false;
	*ret = number;
	return true;
}

bool json_bool_at(const cJSON *object, const char *member, bool fallback)
{
	const cJSON *value = json_at(object, member, NULL);
	return cJSON_IsBool(value) ? cJSON_IsTrue(value) : fallback;
}

void json_deletep(cJSON **value)
{
	cJSON_Delete(*value);
}
