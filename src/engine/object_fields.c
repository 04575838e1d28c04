#include "engine/object_fields.h"

#include "base/error.h"
#include "base/json_read.h"
#include "base/utf8.h"
#include "engine/key_api.h"

static const struct object_field key_fields[] = {
	OBJECT_TEXT(struct object_key, provider, "provider", 16),
	OBJECT_TEXT(struct object_key, name, "name", KEY_NAME_MAX),
	OBJECT_TEXT(struct object_key, fingerprint, "fingerprint", KEY_FINGERPRINT_LEN),
	OBJECT_NUMBER(struct object_key, kms_version, "version", 2, 0),
	OBJECT_TEXT(struct object_key, kms_endpoint, "endpoint", 512),
	OBJECT_NUMBER(struct object_key, kms_timeout, "timeoutNs", OBJECT_NUMBER_MAX, 0),
};
const struct object_record object_key_record = {key_fields, ELEMENTS(key_fields), sizeof(struct object_key)};

static const struct object_field sealed_key_fields[] = {
	OBJECT_TEXT(struct object_sealed_key, provider, "provider", 16),
	OBJECT_TEXT(struct object_sealed_key, name, "keyName", KEY_NAME_MAX),
	OBJECT_TEXT(struct object_sealed_key, fingerprint, "fingerprint", KEY_FINGERPRINT_LEN),
	OBJECT_NUMBER(struct object_sealed_key, epoch, "epoch", OBJECT_NUMBER_MAX, 0),
	OBJECT_TEXT(struct object_sealed_key, text, "text", 1024),
};
const struct object_record object_sealed_key_record = {sealed_key_fields, ELEMENTS(sealed_key_fields),
						       sizeof(struct object_sealed_key)};

/* --- fields ----------------------------------------------------------------------------------------------------- */

static void *field_of(const struct object_field *field, void *what)
{
	return (char *)what + field->at;
}

static const void *field_in(const struct object_field *field, const void *what)
{
	return (const char *)what + field->at;
}

/* Pointers of any type, which is why they are copied. */
static void *pointer_in(const struct object_field *field, const void *what)
{
	void *pointer;
	memcpy(&pointer, field_in(field, what), sizeof(pointer));
	return pointer;
}

static void set_pointer(const struct object_field *field, void *what, void *pointer)
{
	memcpy(field_of(field, what), &pointer, sizeof(pointer));
}

static size_t *count_of(const struct object_field *field, void *what)
{
	return (size_t *)(void *)((char *)what + field->count_at);
}

static size_t count_in(const struct object_field *field, const void *what)
{
	return *(const size_t *)(const void *)((const char *)what + field->count_at);
}

/* --- reading ---------------------------------------------------------------------------------------------------- */

static int read_string(const cJSON *json, uint64_t max, char **ret, struct error **err)
{
	if (!cJSON_IsString(json))
		return error_set(err, ERROR_INPUT, "not a text");
	if (json->valuestring[utf8_prefix(json->valuestring, max)])
		return error_set(err, ERROR_LIMIT, "longer than %llu characters", (unsigned long long)max);
	*ret = xstrdup(json->valuestring);
	return 0;
}

static int read_number(const struct object_field *field, const cJSON *object, uint64_t *ret, struct error **err)
{
	if (!json_u64_at(object, field->name, ret) || *ret > field->max)
		return error_set(err, ERROR_INPUT, "not a whole number from 0 to %llu", (unsigned long long)field->max);
	return 0;
}

static int read_step(const struct object_field *field, const cJSON *object, int *ret, struct error **err)
{
	uint64_t step;
	int rc = read_number(field, object, &step, err);
	if (rc == 0)
		*ret = (int)step;
	return rc;
}

static int read_bool(const cJSON *json, bool *ret, struct error **err)
{
	if (!cJSON_IsBool(json))
		return error_set(err, ERROR_INPUT, "neither true nor false");
	*ret = cJSON_IsTrue(json);
	return 0;
}

static int list_size(const struct object_field *field, const cJSON *json, size_t *ret, struct error **err)
{
	if (!cJSON_IsArray(json))
		return error_set(err, ERROR_INPUT, "not a list");
	size_t count = (size_t)cJSON_GetArraySize(json);
	if (count > field->max)
		return error_set(err, ERROR_LIMIT, "more than %llu items", (unsigned long long)field->max);
	*ret = count;
	return 0;
}

static int read_text(const struct object_field *field, const cJSON *json, void *what, struct error **err)
{
	char *text = NULL;
	int rc = read_string(json, field->max, &text, err);
	if (rc == 0)
		set_pointer(field, what, text);
	return rc;
}

static int read_shape(const struct object_field *field, const cJSON *json, void *what, struct error **err)
{
	struct config_shape *shape;
	int rc = config_shape_from_json(json, &shape, err);
	if (rc == 0)
		set_pointer(field, what, shape);
	return rc;
}

static int read_texts(const struct object_field *field, const cJSON *json, struct strings *ret, struct error **err)
{
	size_t count;
	int rc = list_size(field, json, &count, err);
	const cJSON *item;
	if (rc < 0)
		return rc;
	cJSON_ArrayForEach(item, json)
	{
		_cleanup_free_ char *text = NULL;
		rc = read_string(item, field->text_max, &text, err);
		if (rc < 0)
			return error_wrap(err, rc, "[%zu]", ret->count);
		strings_add(ret, text);
	}
	return 0;
}

static int read_shapes(const struct object_field *field, const cJSON *json, void *what, struct error **err)
{
	size_t count, *filled = count_of(field, what);
	int rc = list_size(field, json, &count, err);
	const cJSON *item;
	if (rc < 0 || count == 0)
		return rc;
	struct config_shape **shapes = xcalloc(count, sizeof(*shapes));
	set_pointer(field, what, shapes);
	cJSON_ArrayForEach(item, json)
	{
		rc = config_shape_from_json(item, &shapes[*filled], err);
		if (rc < 0)
			return error_wrap(err, rc, "[%zu]", *filled);
		++*filled;
	}
	return 0;
}

static int read_list(const struct object_field *field, const cJSON *json, void *what, struct error **err)
{
	size_t count, *filled = count_of(field, what);
	int rc = list_size(field, json, &count, err);
	const cJSON *item;
	if (rc < 0 || count == 0)
		return rc;
	char *items = xcalloc(count, field->record->size);
	set_pointer(field, what, items);
	cJSON_ArrayForEach(item, json)
	{
		/* Counted first: half of it is to be released, too. */
		size_t at = (*filled)++;
		rc = object_read(field->record, item, items + at * field->record->size, err);
		if (rc < 0)
			return error_wrap(err, rc, "[%zu]", at);
	}
	return 0;
}

static int read_present(const struct object_field *field, const cJSON *object, const cJSON *json, void *what,
			struct error **err)
{
	void *ret = field_of(field, what);
	switch (field->kind) {
	case FIELD_TEXT:
		return read_text(field, json, what, err);
	case FIELD_NUMBER:
		return read_number(field, object, ret, err);
	case FIELD_STEP:
		return read_step(field, object, ret, err);
	case FIELD_BOOL:
		return read_bool(json, ret, err);
	case FIELD_TEXTS:
		return read_texts(field, json, ret, err);
	case FIELD_SHAPE:
		return read_shape(field, json, what, err);
	case FIELD_SHAPES:
		return read_shapes(field, json, what, err);
	case FIELD_RECORD:
		return object_read(field->record, json, ret, err);
	case FIELD_LIST:
		return read_list(field, json, what, err);
	}
	abort();
}

static int read_absent(const struct object_field *field, void *what, struct error **err)
{
	void *ret = field_of(field, what);
	if (field->required)
		return error_set(err, ERROR_INPUT, "missing");
	if (field->kind == FIELD_TEXT && field->fallback)
		set_pointer(field, what, xstrdup(field->fallback));
	else if (field->kind == FIELD_NUMBER)
		*(uint64_t *)ret = field->absent;
	else if (field->kind == FIELD_STEP)
		*(int *)ret = STEP_NONE;
	else if (field->kind == FIELD_RECORD)
		return object_read(field->record, NULL, ret, err);
	return 0;
}

int object_read(const struct object_record *record, const cJSON *json, void *ret, struct error **err)
{
	if (json && !cJSON_IsObject(json))
		return error_set(err, ERROR_INPUT, "not an object");
	for (size_t i = 0; i < record->count; i++) {
		const struct object_field *field = &record->fields[i];
		const cJSON *value = json_at(json, field->name, NULL);
		int rc = value && !cJSON_IsNull(value) ? read_present(field, json, value, ret, err)
						       : read_absent(field, ret, err);
		if (rc < 0)
			return error_wrap(err, rc, "%s", field->name);
	}
	return 0;
}

void object_defaults(const struct object_record *record, void *ret)
{
	/* Nothing was said that could be wrong. */
	if (object_read(record, NULL, ret, NULL) < 0)
		abort();
}

/* --- writing ---------------------------------------------------------------------------------------------------- */

static bool says_nothing(const struct object_record *record, const void *what);

static bool is_absent(const struct object_field *field, const void *what)
{
	const void *from = field_in(field, what);
	switch (field->kind) {
	case FIELD_TEXT:
	case FIELD_SHAPE:
		return !pointer_in(field, what);
	case FIELD_NUMBER:
		return *(const uint64_t *)from == field->absent;
	case FIELD_STEP:
		return *(const int *)from == STEP_NONE;
	case FIELD_BOOL:
		return !*(const bool *)from;
	case FIELD_TEXTS:
		return ((const struct strings *)from)->count == 0;
	case FIELD_SHAPES:
	case FIELD_LIST:
		return count_in(field, what) == 0;
	case FIELD_RECORD:
		return says_nothing(field->record, from);
	}
	abort();
}

static bool says_nothing(const struct object_record *record, const void *what)
{
	for (size_t i = 0; i < record->count; i++)
		if (!is_absent(&record->fields[i], what))
			return false;
	return true;
}

static int write_text(const char *text, uint64_t max, bool cut, struct json_writer *w, struct error **err)
{
	if (!text[utf8_prefix(text, max)]) {
		json_string(w, text);
		return 0;
	}
	if (!cut)
		return error_set(err, ERROR_LIMIT, "longer than %llu characters", (unsigned long long)max);
	_cleanup_free_ char *shorter = xasprintf("%.*s...", (int)utf8_prefix(text, max - 3), text);
	json_string(w, shorter);
	return 0;
}

static int check_count(const struct object_field *field, size_t count, struct error **err)
{
	if (count > field->max)
		return error_set(err, ERROR_LIMIT, "more than %llu items", (unsigned long long)field->max);
	return 0;
}

static int write_texts(const struct object_field *field, const struct strings *list, struct json_writer *w,
		       struct error **err)
{
	int rc = check_count(field, list->count, err);
	if (rc < 0)
		return rc;
	json_array_begin(w);
	for (size_t i = 0; i < list->count; i++) {
		rc = write_text(list->items[i], field->text_max, field->cut, w, err);
		if (rc < 0)
			return error_wrap(err, rc, "[%zu]", i);
	}
	json_array_end(w);
	return 0;
}

static int write_shapes(const struct object_field *field, const void *what, struct json_writer *w, struct error **err)
{
	struct config_shape *const *shapes = pointer_in(field, what);
	size_t count = count_in(field, what);
	int rc = check_count(field, count, err);
	if (rc < 0)
		return rc;
	json_array_begin(w);
	for (size_t i = 0; i < count; i++)
		config_shape_write_json(shapes[i], w);
	json_array_end(w);
	return 0;
}

static int write_list(const struct object_field *field, const void *what, struct json_writer *w, struct error **err)
{
	const char *items = pointer_in(field, what);
	size_t count = count_in(field, what);
	int rc = check_count(field, count, err);
	if (rc < 0)
		return rc;
	json_array_begin(w);
	for (size_t i = 0; i < count; i++) {
		rc = object_write(field->record, items + i * field->record->size, w, err);
		if (rc < 0)
			return error_wrap(err, rc, "[%zu]", i);
	}
	json_array_end(w);
	return 0;
}

static int write_number(const struct object_field *field, uint64_t number, struct json_writer *w, struct error **err)
{
	if (number > field->max)
		return error_set(err, ERROR_LIMIT, "more than %llu", (unsigned long long)field->max);
	json_u64(w, number);
	return 0;
}

static int write_value(const struct object_field *field, const void *what, struct json_writer *w, struct error **err)
{
	const void *from = field_in(field, what);
	switch (field->kind) {
	case FIELD_TEXT:
		return write_text(pointer_in(field, what), field->max, field->cut, w, err);
	case FIELD_NUMBER:
		return write_number(field, *(const uint64_t *)from, w, err);
	case FIELD_STEP:
		return write_number(field, (uint64_t) * (const int *)from, w, err);
	case FIELD_BOOL:
		json_bool(w, *(const bool *)from);
		return 0;
	case FIELD_TEXTS:
		return write_texts(field, from, w, err);
	case FIELD_SHAPE:
		config_shape_write_json(pointer_in(field, what), w);
		return 0;
	case FIELD_SHAPES:
		return write_shapes(field, what, w, err);
	case FIELD_RECORD:
		return object_write(field->record, from, w, err);
	case FIELD_LIST:
		return write_list(field, what, w, err);
	}
	abort();
}

int object_write(const struct object_record *record, const void *from, struct json_writer *w, struct error **err)
{
	json_object_begin(w);
	for (size_t i = 0; i < record->count; i++) {
		const struct object_field *field = &record->fields[i];
		bool plain = field->kind == FIELD_NUMBER || field->kind == FIELD_BOOL;
		if (!plain && is_absent(field, from))
			continue;
		json_key(w, field->name);
		int rc = write_value(field, from, w, err);
		if (rc < 0)
			return error_wrap(err, rc, "%s", field->name);
	}
	json_object_end(w);
	return 0;
}

/* --- releasing -------------------------------------------------------------------------------------------------- */

static void release_shapes(struct config_shape **shapes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		config_shape_free(shapes[i]);
	free(shapes);
}

void object_release_list(const struct object_record *record, void *items, size_t count)
{
	for (size_t i = 0; i < count; i++)
		object_release(record, (char *)items + i * record->size);
	free(items);
}

static void release_field(const struct object_field *field, void *what)
{
	switch (field->kind) {
	case FIELD_TEXT:
		free(pointer_in(field, what));
		break;
	case FIELD_TEXTS:
		strings_free(field_of(field, what));
		break;
	case FIELD_SHAPE:
		config_shape_free(pointer_in(field, what));
		break;
	case FIELD_SHAPES:
		release_shapes(pointer_in(field, what), count_in(field, what));
		break;
	case FIELD_RECORD:
		object_release(field->record, field_of(field, what));
		break;
	case FIELD_LIST:
		object_release_list(field->record, pointer_in(field, what), count_in(field, what));
		break;
	case FIELD_NUMBER:
	case FIELD_STEP:
	case FIELD_BOOL:
		break;
	}
}

void object_release(const struct object_record *record, void *what)
{
	for (size_t i = 0; i < record->count; i++)
		release_field(&record->fields[i], what);
	memset(what, 0, record->size);
}

/* --- the whole object ------------------------------------------------------------------------------------------- */

static const struct object_field meta_fields[] = {
	OBJECT_TEXT(struct object_meta, name, "name", 253),
	OBJECT_TEXT(struct object_meta, uid, "uid", 253),
	OBJECT_TEXT(struct object_meta, resource_version, "resourceVersion", 253),
	OBJECT_TEXT(struct object_meta, created, "creationTimestamp", 64),
	OBJECT_NUMBER(struct object_meta, generation, "generation", OBJECT_NUMBER_MAX, 0),
};
static const struct object_record meta_record = {meta_fields, ELEMENTS(meta_fields), sizeof(struct object_meta)};

static int read_meta(const cJSON *metadata, struct object_meta *ret, struct error **err)
{
	int rc = object_read(&meta_record, metadata, ret, err);
	if (rc == 0 && text_empty(ret->name))
		rc = error_set(err, ERROR_INPUT, "name: missing");
	ret->deleting = json_text_at(metadata, "deletionTimestamp") != NULL;
	return rc < 0 ? error_wrap(err, rc, "metadata") : 0;
}

static int read_part(const cJSON *json, const char *part, const struct object_record *record, void *ret,
		     struct error **err)
{
	const cJSON *value = json_at(json, part, NULL);
	int rc = object_read(record, cJSON_IsNull(value) ? NULL : value, ret, err);
	return rc < 0 ? error_wrap(err, rc, "%s", part) : 0;
}

int object_read_whole(const cJSON *json, const char *kind, struct object_meta *ret_meta,
		      const struct object_record *spec, void *ret_spec, const struct object_record *status,
		      void *ret_status, struct error **err)
{
	if (!text_equal(json_text_at(json, "apiVersion"), KEY_API_VERSION) ||
	    !text_equal(json_text_at(json, "kind"), kind))
		return error_set(err, ERROR_INPUT, "not a %s of " KEY_API_VERSION, kind);
	int rc = read_meta(json_at(json, "metadata", NULL), ret_meta, err);
	if (rc == 0)
		rc = read_part(json, "spec", spec, ret_spec, err);
	if (rc == 0)
		rc = read_part(json, "status", status, ret_status, err);
	if (rc < 0) {
		_cleanup_free_ char *name =
			ret_meta->name ? text_printable(ret_meta->name, strlen(ret_meta->name), 253) : xstrdup("?");
		return error_wrap(err, rc, "%s %s", kind, name);
	}
	return 0;
}

void object_meta_release(struct object_meta *meta)
{
	object_release(&meta_record, meta);
}

static void write_meta(const struct object_meta *meta, struct json_writer *w)
{
	json_object_begin(w);
	json_member_string(w, "name", meta->name);
	if (meta->uid)
		json_member_string(w, "uid", meta->uid);
	if (meta->resource_version)
		json_member_string(w, "resourceVersion", meta->resource_version);
	json_object_end(w);
}

int object_body(const char *kind, const struct object_meta *meta, const char *part, const struct object_record *record,
		const void *from, char **ret, struct error **err)
{
	struct json_writer w = JSON_WRITER_INIT(OBJECT_BYTES_MAX);
	json_object_begin(&w);
	json_member_string(&w, "apiVersion", KEY_API_VERSION);
	json_member_string(&w, "kind", kind);
	json_key(&w, "metadata");
	write_meta(meta, &w);
	json_key(&w, part);
	int rc = object_write(record, from, &w, err);
	if (rc < 0) {
		json_writer_free(&w);
		return error_wrap(err, rc, "%s %s: %s", kind, meta->name, part);
	}
	json_object_end(&w);
	const char *text = json_text(&w);
	if (text)
		*ret = xstrdup(text);
	else
		rc = error_set(err, ERROR_LIMIT, "%s %s: %s of more than %u bytes", kind, meta->name, part,
			       OBJECT_BYTES_MAX);
	json_writer_free(&w);
	return rc;
}
