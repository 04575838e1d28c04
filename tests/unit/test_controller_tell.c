/* What is told of a rotation. */
#include "test_support.h"

#include "engine/controller_internal.h"
#include "shape_support.h"

/* Of two servers that answer and run their files. */
static const struct {
	const char *name;
	int steps[2];              /* of their files, on a path; */
	const char *configured[2]; /* or where there is none yet, what their agents report; NULL: nothing */
	bool goes_on, down, not_loaded, unsure, converged;
} rows[] = {
	{"one step", {2, 2}, {NULL, NULL}, .goes_on = true, .converged = true},
	{"a step is under way", {2, 3}, {NULL, NULL}, .goes_on = true},
	{"both files were edited", {STEP_NONE, STEP_NONE}, {NULL, NULL}, .goes_on = true},
	{"one is down", {2, 2}, {NULL, NULL}, .goes_on = true, .down = true},
	{"one has not loaded it", {2, 2}, {NULL, NULL}, .goes_on = true, .not_loaded = true},
	{"there may be another server", {2, 2}, {NULL, NULL}, .goes_on = true, .unsure = true},
	{"before there is a path: one configuration", {0, 0}, {"secrets=a", "secrets=a"}, .converged = true},
	{"before there is a path: two of them", {0, 0}, {"secrets=a", "secrets=a,b"}, .goes_on = false},
	{"before there is a path: one is not known", {0, 0}, {"secrets=a", NULL}, .goes_on = false},
	{"before there is a path: the first is not known", {0, 0}, {NULL, "secrets=a"}, .goes_on = false},
};

static void test_converged(void **state)
{
	const __typeof__(rows[0]) *row = *state;
	struct directed servers[2] = {{.name = (char *)(uintptr_t) "cp-1"}, {.name = (char *)(uintptr_t) "cp-2"}};
	struct server_observation seen[2] = {0};
	struct fleet_server reports[2] = {0};
	struct controller c = {
		.servers = servers,
		.server_count = 2,
		.seen = {.servers = seen, .server_count = 2, .servers_known = row->unsure ? FACT_UNKNOWN : FACT_KNOWN},
		.fleet = {.servers = reports, .count = 2},
		.path = row->goes_on ? path_parse("secrets=a", "secrets=b") : NULL};
	for (size_t i = 0; i < 2; i++) {
		reports[i].last = key_server_new(servers[i].name);
		if (row->configured[i])
			reports[i].last->status.configuration = shape_parse(row->configured[i]);
		seen[i] = (struct server_observation){
			.answering = true, .loaded_since = 7, .file = FACT_KNOWN, .file_step = row->steps[i]};
	}
	seen[1].answering = !row->down;
	seen[1].loaded_since = row->not_loaded ? 0 : 7;
	assert_int_equal(controller_converged(&c), row->converged);
	for (size_t i = 0; i < 2; i++)
		key_server_free(reports[i].last);
	path_free(c.path);
}

static char *text(const char *words)
{
	return (char *)(uintptr_t)words;
}

static struct object_key *key(const char *name)
{
	struct object_key *ret = xcalloc(1, sizeof(*ret));
	*ret = (struct object_key){.provider = xstrdup("aescbc"), .name = xstrdup(name)};
	return ret;
}

/* Of one that was given up it is the new key that left. */
static void test_what_left(void **state)
{
	for (int back = 0; back <= 1; back++) {
		struct controller c = {.rotation = key_rotation_new("r"), .path = path_parse("secrets=a", "secrets=b")};
		struct key_rotation_status *status = &c.rotation->status;
		(void)state;
		status->old_keys = key("a");
		status->new_keys = key("b");
		status->old_key_count = status->new_key_count = 1;
		status->back_from = back ? 1 : STEP_NONE;
		status->after.at = xstrdup("2026-11-22T11:03:20Z");
		status->after.items = xcalloc(2, sizeof(*status->after.items));
		status->after.count = 2;
		status->after.items[0] = (struct key_rotation_value){
			.provider = xstrdup("aescbc"), .name = xstrdup("a"), .class = xstrdup("known"), .values = 5};
		status->after.items[1] = (struct key_rotation_value){
			.provider = xstrdup("aescbc"), .name = xstrdup("b"), .class = xstrdup("known"), .values = 7};
		controller_end_evidence(&c);
		_cleanup_free_ char *text = strings_join(&status->evidence, "; ");
		assert_non_null(
			strstr(text, back ? "12 values, 7 under keys that left" : "12 values, 5 under keys that left"));
		path_free(c.path);
		key_rotation_free(c.rotation);
	}
}

/* An agent that has not acknowledged says why, where what it told last is of now. */
static void test_not_acknowledged(void **state)
{
	const struct controller_options options = {0};
	const struct {
		uint64_t looked_at;
		const char *why;
	} told[] = {
		{clock_monotonic(), "the agent of cp-1 has not acknowledged epoch 6: a census is under way"},
		{0, "the agent of cp-1 has not acknowledged epoch 6"},
	};
	(void)state;
	for (size_t i = 0; i < ELEMENTS(told); i++) {
		struct directed server = {.name = text("cp-1"),
					  .sent = {.epoch = 6, .action = text(""), .incarnation = text("i")}};
		struct server_observation seen = {0};
		struct fleet_server report = {.last = key_server_new("cp-1"), .looked_at = told[i].looked_at};
		struct controller c = {.options = &options,
				       .rotation = key_rotation_new("r"),
				       .servers = &server,
				       .server_count = 1,
				       .seen = {.servers = &seen, .server_count = 1},
				       .fleet = {.servers = &report, .count = 1},
				       .fence = {.rotation = "u", .epoch = 6, .aborted = true},
				       .path = path_parse("secrets=a", "secrets=b")};
		struct error *err = NULL;
		bool fenced;
		report.last->status.incarnation = xstrdup("i");
		report.last->status.rotation = xstrdup("u");
		report.last->status.epoch = 5;
		report.last->status.beat = 1;
		report.last->status.why = xstrdup("a census is under way");
		assert_ok(controller_fence(&c, &fenced, &err), err);
		assert_false(fenced);
		assert_string_equal(c.trouble, told[i].why);
		key_server_free(report.last);
		path_free(c.path);
		key_rotation_free(c.rotation);
		free(c.trouble);
		free(c.noted);
	}
}

/* What became of order 7 of epoch 6, which was sent so many seconds ago. */
static const struct rescue_row {
	const char *name;
	bool no_rescue;
	const char *done, *why;
	uint64_t ago;
	bool fails;
} rescues[] = {
	{"nothing is told yet", .ago = 60, .fails = false},
	{"it was carried out", .done = "ok", .ago = 60, .fails = false},
	{"it failed", .done = "failed", .fails = true},
	{"it was refused", .done = "refused", .fails = true},
	{"it waits", .why = "the key is not here", .ago = 5, .fails = false},
	{"it waits for long", .why = "the key is not here", .ago = 60, .fails = true},
	{"it was none, and failed", .no_rescue = true, .done = "failed", .fails = false},
};

static void test_rescue_fails(void **state)
{
	const struct rescue_row *row = *state;
	struct directed server = {.name = text("cp-1"),
				  .sent = {.epoch = 6,
					   .sequence = 7,
					   .action = text("write-step"),
					   .rescue = !row->no_rescue,
					   .incarnation = text("i")},
				  .sent_at = clock_monotonic() - row->ago * UINT64_C(1000000000)};
	struct fleet_server report = {.last = key_server_new("cp-1"), .looked_at = clock_monotonic()};
	struct controller c = {.servers = &server, .server_count = 1, .fleet = {.servers = &report, .count = 1}};
	struct key_server_status *status = &report.last->status;
	status->incarnation = xstrdup("i");
	status->epoch = 6;
	status->sequence = row->done ? 7 : 6;
	status->beat = 1;
	status->why = xstrdup_or_null(row->why);
	if (row->done) {
		status->done.sequence = 7;
		status->done.action = xstrdup("write-step");
		status->done.result = xstrdup(row->done);
	}
	assert_int_equal(controller_rescue_fails(&c, 0), row->fails);
	key_server_free(report.last);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_what_left), cmocka_unit_test(test_not_acknowledged)};
	return RUN_ROWS(test_converged, rows) + RUN_ROWS(test_rescue_fails, rescues) +
	       cmocka_run_group_tests(tests, NULL, NULL);
}
