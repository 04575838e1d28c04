/* Events of a watch: what is taken has a name, uid and version, and the machine comes to the same however a message is cut. */
#include "client/kube/watch.h"
#include "format/kube_list.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool what)
{
	if (!what)
		abort();
}

static bool is_text(const char *text)
{
	return text != NULL && text[0] != '\0' && strlen(text) <= KUBE_NAME_MAX;
}

static void check_event(const uint8_t *data, size_t size)
{
	struct watch_event event;

	if (watch_event_parse(data, size, &event) < 0)
		return;
	if (event.type == WATCH_ERROR)
		must(event.code <= 999);
	else
		must(is_text(event.object.resource_version));
	if (event.type < WATCH_BOOKMARK)
		must(is_text(event.object.name) && is_text(event.object.uid) && event.object.namespace_ != NULL);
	watch_event_free(&event);
}

static void on_nothing(void *arg)
{
	(void)arg;
}

static void on_listed(void *arg, const struct watch_object *object)
{
	(void)arg;
	(void)object;
}

static void on_event(void *arg, enum watch_event_type type, const struct watch_object *object)
{
	unsigned *sum = arg;

	*sum = *sum * 31 + (unsigned)type + (unsigned)strlen(object->name);
}

/* What the user learnt and the machine became, in one number. */
static unsigned outcome(const uint8_t *data, size_t size, size_t piece)
{
	static const struct watch_handler handler = {
		.on_relist = on_nothing, .on_listed = on_listed, .on_synced = on_nothing, .on_event = on_event};
	unsigned sum = 7;
	uint64_t due, now = 1;
	struct watch *watch = watch_new(&handler, &sum, true, 1, NULL);

	must(watch_next(watch, now, &due) == WATCH_LIST);
	watch_listed(watch, now, "5");
	must(watch_next(watch, now, &due) == WATCH_CONNECT);
	watch_connected(watch, now);
	for (size_t at = 0; at < size; at += piece) {
		size_t len = size - at < piece ? size - at : piece;

		watch_text(watch, now, data + at, len, at + len == size);
	}
	sum = sum * 31 + (unsigned)watch_next(watch, now, &due) + (unsigned)strlen(watch_resource_version(watch));
	sum = sum * 31 + watch_failures(watch) + watch_is_synced(watch);
	watch_free(watch);
	return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool begun;

	if (!begun)
		json_install_hooks();
	begun = true;
	check_event(data, size);
	if (size > 0)
		must(outcome(data, size, size) == outcome(data, size, 3));
	return 0;
}
