/* The dashboard over a list of objects of anybody's making, KeyRotations, KeyServers, Events, Leases, and lines of flight records,
 * in any order: what the page gets is one JSON document each time, and steers no screen. */
#include <stdlib.h>
#include <string.h>
#include "base/json_read.h"
#include "base/utf8.h"
#include "cmd/dashboard_model.h"
#include "cmd/dashboard_record.h"

#define S UINT64_C(1000000000)

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void expect_tame(const cJSON *value)
{
	const cJSON *child;
	const char *text = value->valuestring;
	uint32_t point;
	size_t len;

	for (; text && *text; text += len) {
		len = utf8_next(text, strlen(text), &point);
		must(len > 0 && !utf8_is_steering(point));
	}
	cJSON_ArrayForEach(child, value) expect_tame(child);
}

static void expect_page(const struct dashboard_scene *scene)
{
	struct json_writer w = JSON_WRITER_INIT(DASHBOARD_JSON_MAX);
	_cleanup_json_ page = NULL;

	dashboard_model_write(scene, &w);
	if (json_text(&w)) {
		must(json_parse(json_text(&w), w.out.len, "page", &page, NULL) == 0);
		expect_tame(page);
	}
	json_writer_free(&w);
}

static void put(struct dashboard_store *store, const cJSON *item, uint64_t now)
{
	static const char *const kinds[DASHBOARD_KINDS] = {"KeyRotation", "KeyServer", "Event", "Lease"};
	const char *kind = json_text_at(item, "kind");
	_cleanup_(record_freep) struct record *record = NULL;

	for (int i = 0; i < DASHBOARD_KINDS; i++)
		if (text_equal(kind, kinds[i]))
			dashboard_store_put(store, (enum dashboard_kind)i, item, now, now);
	if (text_equal(kind, "Decision") && record_read(item, &record, NULL) == 0)
		dashboard_record_show(store, record, now);
	if (text_equal(kind, "Relist"))
		dashboard_store_relist(store, DASHBOARD_SERVER);
	if (text_equal(kind, "Synced"))
		dashboard_store_synced(store, DASHBOARD_SERVER, now);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dashboard_store store = {0};
	struct dashboard_scene scene = {
		.store = &store, .server = "s", .invoked_as = "kube-rekey", .now = S, .wall = S};
	_cleanup_json_ list = NULL;
	const cJSON *item;

	if (json_parse((const char *)data, size, "objects", &list, NULL) < 0)
		return 0;
	for (int kind = 0; kind < DASHBOARD_KINDS; kind++)
		dashboard_store_watch(&store, (enum dashboard_kind)kind, true, NULL, S);
	cJSON_ArrayForEach(item, list)
	{
		put(&store, item, scene.now);
		expect_page(&scene);
		scene.now += 4 * S;
	}
	dashboard_store_free(&store);
	return 0;
}
