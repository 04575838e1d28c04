#include "format/watch_event.h"
#include "base/text.h"
#include "format/kube_list.h"

/* Of a string that must be there and be no longer than any of the API's. */
static int read_text(const cJSON *metadata, const char *member, const char **ret)
{
	const char *text = json_text_at(metadata, member);

	if (text_empty(text) || strlen(text) > KUBE_NAME_MAX)
		return -ERROR_PROTOCOL;
	*ret = text;
	return 0;
}

int watch_object_read(const cJSON *json, struct watch_object *ret)
{
	const cJSON *metadata = json_at(json, "metadata", NULL);
	struct watch_object object = {.namespace_ = "", .json = json};

	if (read_text(metadata, "name", &object.name) < 0 || read_text(metadata, "uid", &object.uid) < 0 ||
	    read_text(metadata, "resourceVersion", &object.resource_version) < 0)
		return -ERROR_PROTOCOL;
	if (json_at(metadata, "namespace", NULL) != NULL && read_text(metadata, "namespace", &object.namespace_) < 0)
		return -ERROR_PROTOCOL;
	*ret = object;
	return 0;
}

static int read_type(const cJSON *document, enum watch_event_type *ret)
{
	static const char *const names[] = {
		[WATCH_ADDED] = "ADDED",       [WATCH_MODIFIED] = "MODIFIED", [WATCH_DELETED] = "DELETED",
		[WATCH_BOOKMARK] = "BOOKMARK", [WATCH_ERROR] = "ERROR",
	};
	const char *type = json_text_at(document, "type");
	size_t i;

	for (i = 0; i < ELEMENTS(names); i++) {
		if (!text_equal(type, names[i]))
			continue;
		*ret = (enum watch_event_type)i;
		return 0;
	}
	return -ERROR_PROTOCOL;
}

static int read_content(const cJSON *json, struct watch_event *event)
{
	uint64_t code;

	if (!cJSON_IsObject(json))
		return -ERROR_PROTOCOL;
	switch (event->type) {
	case WATCH_ERROR:
		if (json_u64_at(json, "code", &code) && code <= 999)
			event->code = (unsigned)code;
		return 0;
	case WATCH_BOOKMARK:
		return read_text(json_at(json, "metadata", NULL), "resourceVersion", &event->object.resource_version);
	case WATCH_ADDED:
	case WATCH_MODIFIED:
	case WATCH_DELETED:
		return watch_object_read(json, &event->object);
	}
	return -ERROR_PROTOCOL;
}

int watch_event_parse(const void *bytes, size_t len, struct watch_event *ret)
{
	struct watch_event event = {.code = 0};
	_cleanup_json_ document = NULL;

	if (json_parse(bytes, len, "the event", &document, NULL) < 0 || read_type(document, &event.type) < 0 ||
	    read_content(json_at(document, "object", NULL), &event) < 0)
		return -ERROR_PROTOCOL;
	event.document = steal(document);
	*ret = event;
	return 0;
}

void watch_event_free(struct watch_event *event)
{
	cJSON_Delete(event->document);
	*event = (struct watch_event){.code = 0};
}
