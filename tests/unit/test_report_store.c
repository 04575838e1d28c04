/* Reports that are kept on a node. */
#include "test_folder.h"

#include "base/json_read.h"
#include "engine/report_store.h"
#include "engine/rotation_internal.h"

static struct rotation_report *report_of(const char *rotation, const char *outcome)
{
	struct rotation_report *report = xcalloc(1, sizeof(*report));
	report->target = xstrdup("file");
	report->outcome = xstrdup(outcome);
	report->rotation = xstrdup(rotation);
	report->started = xstrdup("2026-11-22T11:03:20Z");
	report->finished = xstrdup("2026-11-22T11:04:20Z");
	return report;
}

static void keep(const char *rotation, const char *outcome)
{
	_cleanup_(rotation_report_freep) struct rotation_report *report = report_of(rotation, outcome);
	struct error *err = NULL;
	assert_ok(report_store_keep(folder, report, &err), err);
}

static void kept_replaced_and_found(void **state)
{
	_cleanup_strings_ names = {0};
	_cleanup_(rotation_report_freep) struct rotation_report *found = NULL;
	struct error *err = NULL;
	struct stat info;
	(void)state;
	assert_ok(report_store_list(folder, &names, &err), err);
	assert_int_equal(names.count, 0);
	keep("rekey-b", "Running");
	keep("rekey-a", "Done");
	keep("rekey-b", "Blocked");
	assert_ok(report_store_list(folder, &names, &err), err);
	_cleanup_free_ char *all = strings_join(&names, " ");
	assert_string_equal(all, "rekey-a rekey-b");
	assert_ok(report_store_read(folder, "rekey-b", &found, &err), err);
	assert_string_equal(found->outcome, "Blocked");
	assert_int_equal(stat(in_folder("reports/rekey-b.json"), &info), 0);
	assert_int_equal(info.st_mode & 0777, 0600);
	assert_int_equal(report_store_read(folder, "rekey-c", &found, &err), -ERROR_NOT_FOUND);
	error_clear(&err);
}

static void no_name_leads_elsewhere(void **state)
{
	static const char *const names[] = {"", ".", "../x", "a/b", ".hidden", "-x", "a b", "a\nb"};
	struct rotation_report *found = NULL;
	struct error *err = NULL;
	(void)state;
	for (size_t i = 0; i < ELEMENTS(names); i++) {
		assert_int_equal(report_store_read(folder, names[i], &found, &err), -ERROR_USAGE);
		error_clear(&err);
	}
}

static void a_broken_one_is_named(void **state)
{
	struct rotation_report *found = NULL;
	struct error *err = NULL;
	(void)state;
	keep("rekey-a", "Done");
	FILE *file = fopen(in_folder("reports/rekey-a.json"), "we");
	assert_non_null(file);
	fputs("{\"kind\":\"Census\"}", file);
	fclose(file);
	assert_int_equal(report_store_read(folder, "rekey-a", &found, &err), -ERROR_INPUT);
	assert_non_null(strstr(error_message(err), "reports/rekey-a.json: no RotationReport"));
	error_clear(&err);
}

/* What a rotation began with is told by what its own runs kept, though one died right after that, not by another one's that was
 * called alike. */
static void goes_on_with_its_own(void **state)
{
	static const struct {
		const char *outcome;
		const char *started;
		bool taken;
	} cases[] = {{"Interrupted", "2026-11-22T11:03:20Z", true},
		     {"Done", "2026-11-22T11:03:20Z", true},
		     {"Done", "2026-11-22T11:03:19Z", false}};
	(void)state;
	for (size_t i = 0; i < ELEMENTS(cases); i++) {
		struct error *err = NULL;
		_cleanup_(rotation_report_freep) struct rotation_report *kept = report_of("rekey-a", cases[i].outcome),
									*present = report_of("rekey-a", "Running");
		struct rotation r = {.options.state_directory = folder, .report = present};
		free(kept->started);
		kept->started = xstrdup(cases[i].started);
		kept->before.at = xstrdup("2026-11-22T11:03:20Z");
		assert_ok(report_store_keep(folder, kept, &err), err);
		rotation_report_go_on(&r);
		assert_int_equal(present->before.at != NULL, cases[i].taken);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		folder_test(kept_replaced_and_found),
		folder_test(no_name_leads_elsewhere),
		folder_test(a_broken_one_is_named),
		folder_test(goes_on_with_its_own),
	};
	json_install_hooks();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
