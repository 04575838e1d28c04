/* Whoever looks at the page reads what is done, why it waits and what to do: in every situation of the decision's own table, so in
 * each phase and for each reason. */
#include "test_support.h"
#include "base/json_read.h"
#include "cmd/dashboard_model.h"
#include "cmd/dashboard_record.h"
#include "cmd/fleet_todo.h"
#include "engine/fleet_advice.h"

int decides_all(void);
#define main decides_all
#include "test_next_action.c"
#undef main

/* The page of one situation; everything is followed but who leads, which no decision knows. */
static cJSON *page_of(const struct row *row)
{
	struct scene scene;
	struct dashboard_store store = {0};
	struct json_writer w = JSON_WRITER_INIT(DASHBOARD_JSON_MAX);
	const struct dashboard_scene shown = {
		.store = &store, .server = "https://cp:6443", .invoked_as = "kubectl rekey", .now = NOW};
	goes_well(&scene, row->at);
	for (size_t i = 0; i < CHANGES_MAX && row->but[i]; i++)
		row->but[i](&scene);
	struct path *path = route_path(row->route);
	const struct record record = {.now = NOW, .path = path, .observation = scene.seen, .decision = row->want};
	cJSON *page = NULL;
	dashboard_record_show(&store, &record, NOW);
	dashboard_model_write(&shown, &w);
	assert_int_equal(json_parse(json_text(&w), strlen(json_text(&w)), "page", &page, NULL), 0);
	json_writer_free(&w);
	dashboard_store_free(&store);
	path_free(path);
	return page;
}

static void says_all_three(void **state)
{
	const struct row *row = *state;
	_cleanup_json_ page = page_of(row);
	const cJSON *rotation = json_at(page, "rotation", NULL), *todo = json_at(page, "todo", NULL);
	const char *doing = json_text_at(rotation, "doing"), *why = json_text_at(rotation, "why");
	const char *first = cJSON_GetStringValue(cJSON_GetArrayItem(todo, 0));
	assert_string_equal(json_text_at(rotation, "phase"), phase_name(row->want.phase));
	assert_null(strstr(doing, "does not know"));
	assert_true(strlen(why) > 3);
	assert_null(strstr(why, "(null)"));
	assert_true(strlen(first) > 7);
	assert_null(strstr(first, "docs/operations.md"));
	bool stands = row->want.action == ACTION_WAIT || row->want.action == ACTION_BLOCKED;
	const char *advice = fleet_advice(reason_name(row->want.reason));
	if (stands)
		assert_string_equal(first, advice);
}

/* Nobody is told what to do about what is no wait. */
static void advice_is_for_what_stands(void **state)
{
	(void)state;
	bool stands[REASON_TOLD + 1] = {false};
	for (size_t i = 0; i < ELEMENTS(rows); i++)
		stands[rows[i].want.reason] |=
			rows[i].want.action == ACTION_WAIT || rows[i].want.action == ACTION_BLOCKED;
	for (enum reason reason = 0; reason <= REASON_TOLD; reason++)
		if (stands[reason] != (fleet_advice(reason_name(reason)) != NULL))
			fail_msg("%s", reason_name(reason));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {cmocka_unit_test(advice_is_for_what_stands)};
	json_install_hooks();
	int failed = RUN_ROWS(says_all_three, rows) + cmocka_run_group_tests(tests, NULL, NULL);
	return failed ? 1 : 0;
}
