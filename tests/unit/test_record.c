#include "test_support.h"

#include "base/json_read.h"
#include "base/text.h"
#include "rotate/record.h"

#define SHAPE(keys) "{\"rules\":[{\"resources\":[\"secrets\"],\"keys\":[" keys "]}]}"
#define KEY_A "{\"provider\":\"aescbc\",\"name\":\"a\",\"fingerprint\":\"aaaaaaaaaaaa\"}"
#define KEY_B "{\"provider\":\"aescbc\",\"name\":\"b\",\"fingerprint\":\"bbbbbbbbbbbb\"}"
#define HEAD "{\"kind\":\"Decision\",\"version\":1,\"path\":[" SHAPE(KEY_A) "," SHAPE(KEY_A "," KEY_B) "]"

static char *text(const char *words)
{
	return xstrdup(words);
}

/* Every field of every struct has a value that is not the one it has when it is missing. */
static struct observation full_observation(void)
{
	struct observation seen = {
		.servers_known = FACT_CONTRADICTORY,
		.servers_why = text("two hashes under one id"),
		.server_count = 1,
		.members_known = FACT_KNOWN,
		.members_why = text("\"quoted\"\n"),
		.member_count = 2,
		.members_behind_balancer = true,
		.quiet_since = UINT64_MAX,
		.settled_began = 2,
		.settled_ended = 3,
		.etcd_back_at = 4,
		.reads_checked_at = 5,
		.history_ended_at = 6,
		.rescues = 6,
		.retired = true,
		.blocked = text("lock lost"),
		.settle_time = 7,
		.compact = true,
	};
	seen.servers = xcalloc(1, sizeof(*seen.servers));
	seen.servers[0] = (struct server_observation){
		.name = text("cp-1"),
		.looked_at = (UINT64_C(1) << 53) + 1, /* a double would lose it */
		.answering = true,
		.why = text("503"),
		.version = text("v1.36.3"),
		.file = FACT_KNOWN,
		.file_step = 1,
		.file_hash = text("sha256:f"),
		.file_ours = true,
		.loaded = FACT_KNOWN,
		.loaded_step = 0,
		.loaded_hash = text("sha256:l"),
		.loaded_is_file = true,
		.evidence = LOADED_BY_RELOADS,
		.needs_second_nonce = true,
		.process = 8,
		.loaded_since = 9,
		.refuses_file = true,
		.reloads_itself = true,
		.restarts = true,
		.restarting = true,
		.canary_step = STEP_NONE,
		.canary_at = 10,
		.canary_process = 11,
		.canary_impossible = true,
	};
	seen.members = xcalloc(2, sizeof(*seen.members));
	seen.members[0] =
		(struct member_observation){.name = text("m1"), .learner = true, .answering = true, .why = text("x")};
	seen.members[1] = (struct member_observation){.name = text("m2")};
	seen.census = (struct census_observation){
		.begun = 12,
		.finished = 13,
		.complete = true,
		.revision = 14,
		.group_count = 1,
		.does_not_open = 15,
		.opened = 17,
		.not_opened = 18,
		.why_not_opened = text("no answer"),
		.compacted = true,
		.unsettled = true,
		.compaction_expected = 16,
		.why = text("page 3"),
	};
	seen.census.groups = xcalloc(1, sizeof(*seen.census.groups));
	seen.census.groups[0] = (struct census_group){
		.resource = text("secrets"),
		.type = PROVIDER_SECRETBOX,
		.name = text("k"),
		.values = 17,
		.unknown = true,
		.foreign = true,
		.expected = true,
		.example = text("/registry/secrets/a/b"),
	};
	seen.sweep = (struct sweep_observation){1, 18, 19, 20, 21, 22};
	return seen;
}

static const struct decision full_decision = {
	.action = ACTION_WRITE_STEP,
	.reason = REASON_BEHIND,
	.phase = PHASE_RESCUE,
	.step = 0,
	.to_step = 1,
	.server = 0,
	.member = 1,
	.group = 0,
	.expect_hash = "sha256:f",
	.named_only = true,
	.rescue = true,
	.due = 23,
};

static int read_text(const char *line, struct record **ret, struct error **err)
{
	_cleanup_json_ json = NULL;
	int rc = json_parse(line, strlen(line), "line", &json, err);
	return rc < 0 ? rc : record_read(json, ret, err);
}

static struct record *must_read(const char *line)
{
	struct error *err = NULL;
	struct record *record = NULL;
	assert_ok(read_text(line, &record, &err), err);
	return record;
}

static char *line_of(const struct record *record)
{
	struct json_writer w = JSON_WRITER_INIT(RECORD_LINE_MAX);
	record_write(&w, record->at, record->path, &record->observation, record->now, &record->decision);
	char *line = xstrdup(json_text(&w));
	json_writer_free(&w);
	return line;
}

static void what_was_written_is_read_back(void **state)
{
	(void)state;
	struct record *minimal = must_read(HEAD "}");
	struct observation seen = full_observation();
	struct json_writer w = JSON_WRITER_INIT(RECORD_LINE_MAX);
	record_write(&w, "2026-11-22T11:03:00Z", minimal->path, &seen, 99, &full_decision);
	struct record *again = must_read(json_text(&w));
	_cleanup_free_ char *line = line_of(again);

	assert_string_equal(line, json_text(&w));
	assert_string_equal(again->at, "2026-11-22T11:03:00Z");
	assert_int_equal(again->now, 99);
	assert_int_equal(again->path->count, 2);
	assert_true(config_shape_equal(again->path->steps[1], minimal->path->steps[1]));
	assert_null(decision_difference(&again->decision, &full_decision));
	assert_true(again->observation.servers[0].looked_at == (UINT64_C(1) << 53) + 1);
	assert_true(again->observation.quiet_since == UINT64_MAX);
	assert_int_equal(again->observation.servers[0].canary_step, STEP_NONE);
	assert_int_equal(again->observation.servers[0].file_step, 1);
	assert_string_equal(again->observation.members_why, "\"quoted\"\n");
	assert_int_equal(again->observation.census.groups[0].type, PROVIDER_SECRETBOX);
	assert_null(again->observation.members[1].why);

	json_writer_free(&w);
	observation_free_contents(&seen);
	record_free(again);
	record_free(minimal);
}

static void what_is_missing_is_not_known(void **state)
{
	(void)state;
	struct record *record = must_read(HEAD ",\"observation\":{\"servers\":[{}],\"census\":{\"groups\":[{}]}}}");
	const struct server_observation *server = &record->observation.servers[0];
	assert_int_equal(record->observation.servers_known, FACT_UNKNOWN);
	assert_int_equal(server->file_step, STEP_NONE);
	assert_int_equal(server->canary_step, STEP_NONE);
	assert_int_equal(server->loaded, FACT_UNKNOWN);
	assert_false(server->answering);
	assert_null(record->observation.census.groups[0].resource);
	record_free(record);
}

static void an_unknown_member_is_passed_over(void **state)
{
	(void)state;
	struct record *record =
		must_read(HEAD ",\"new\":[{}],\"observation\":{\"newer\":1,\"rescues\":3},\"decision\":{\"x\":null}}");
	assert_int_equal(record->observation.rescues, 3);
	record_free(record);
}

static void replay_decides_again(void **state)
{
	(void)state;
	struct record *record = must_read(HEAD ",\"now\":\"5\",\"observation\":{\"blocked\":\"lock lost\"}}");
	struct decision again = record_replay(record);
	assert_int_equal(again.action, ACTION_BLOCKED);
	assert_int_equal(again.reason, REASON_TOLD);
	assert_string_equal(decision_difference(&again, &record->decision), "action");
	record_free(record);
}

static void each_field_of_a_decision_is_compared(void **state)
{
	(void)state;
	struct decision other[] = {
		full_decision, full_decision, full_decision, full_decision, full_decision, full_decision,
		full_decision, full_decision, full_decision, full_decision, full_decision, full_decision,
	};
	static const char *const names[] = {"action", "reason", "phase",      "step",      "toStep", "server",
					    "member", "group",  "expectHash", "namedOnly", "rescue", "due"};
	other[0].action = ACTION_DONE;
	other[1].reason = REASON_NONE;
	other[2].phase = PHASE_DONE;
	other[3].step = 7;
	other[4].to_step = 7;
	other[5].server = 7;
	other[6].member = 7;
	other[7].group = 7;
	other[8].expect_hash = NULL;
	other[9].named_only = false;
	other[10].rescue = false;
	other[11].due = 7;
	for (size_t i = 0; i < ELEMENTS(other); i++)
		assert_string_equal(decision_difference(&full_decision, &other[i]), names[i]);
	assert_null(decision_difference(&full_decision, &full_decision));
}

/* --- what is refused --- */

struct refusal {
	const char *name;
	const char *line;
	const char *message;
	enum error_code code;
};
static const struct refusal refusals[] = {
	{"another kind", "{\"kind\":\"Census\",\"version\":1}", "record: not a Decision of version 1", ERROR_INPUT},
	{"a newer version", "{\"kind\":\"Decision\",\"version\":2}", "record: not a Decision of version 1",
	 ERROR_INPUT},
	{"no object", "[]", "record: not a Decision of version 1", ERROR_INPUT},
	{"no path", "{\"kind\":\"Decision\",\"version\":1}", "record: member \"path\" has no step", ERROR_INPUT},
	{"a path that is no array", "{\"kind\":\"Decision\",\"version\":1,\"path\":3}",
	 "record: member \"path\" is not an array", ERROR_INPUT},
	{"a step that is no shape", "{\"kind\":\"Decision\",\"version\":1,\"path\":[{}]}",
	 "record: path[0]: shape: rules is not a list of 1 to 1024 items", ERROR_INPUT},
	{"too many steps", "{\"kind\":\"Decision\",\"version\":1,\"path\":[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]}",
	 "record: member \"path\" has 17 elements, more than 16", ERROR_LIMIT},
	{"a text that is a number", HEAD ",\"observation\":{\"blocked\":1}}",
	 "record: member \"blocked\" is not what it should be", ERROR_INPUT},
	{"a truth that is a text", HEAD ",\"observation\":{\"retired\":\"true\"}}",
	 "record: member \"retired\" is not what it should be", ERROR_INPUT},
	{"a time that is negative", HEAD ",\"now\":-1}", "record: member \"now\" is not what it should be",
	 ERROR_INPUT},
	{"a count beyond an unsigned", HEAD ",\"observation\":{\"rescues\":4294967296}}",
	 "record: member \"rescues\" is not what it should be", ERROR_INPUT},
	{"an index with a fraction", HEAD ",\"decision\":{\"step\":0.5}}",
	 "record: member \"step\" is not what it should be", ERROR_INPUT},
	{"an index below none", HEAD ",\"decision\":{\"step\":-2}}", "record: member \"step\" is not what it should be",
	 ERROR_INPUT},
	{"an index that is a text", HEAD ",\"decision\":{\"step\":\"1\"}}",
	 "record: member \"step\" is not what it should be", ERROR_INPUT},
	{"an action that has no name here", HEAD ",\"decision\":{\"action\":\"jump\"}}",
	 "record: member \"action\" is not what it should be", ERROR_INPUT},
	{"a fact that is a number", HEAD ",\"observation\":{\"serversKnown\":1}}",
	 "record: member \"serversKnown\" is not what it should be", ERROR_INPUT},
	{"servers that are no array", HEAD ",\"observation\":{\"servers\":{}}}",
	 "record: member \"servers\" is not an array", ERROR_INPUT},
	{"a server that is no object", HEAD ",\"observation\":{\"servers\":[{},1]}}",
	 "record: servers[1]: member \"\" is not an object", ERROR_INPUT},
	{"a census that is no object", HEAD ",\"observation\":{\"census\":1}}",
	 "record: member \"census\" is not an object", ERROR_INPUT},
	{"a file at a step beyond the path", HEAD ",\"observation\":{\"servers\":[{\"fileStep\":2}]}}",
	 "record: servers[0] is at a step that the path does not have", ERROR_INPUT},
	{"loaded a step beyond the path", HEAD ",\"observation\":{\"servers\":[{},{\"loadedStep\":2}]}}",
	 "record: servers[1] is at a step that the path does not have", ERROR_INPUT},
};

static void is_refused(void **state)
{
	const struct refusal *row = *state;
	struct error *err = NULL;
	struct record *record = NULL;
	int rc = read_text(row->line, &record, &err);
	assert_null(record);
	assert_error(rc, err, row->code, row->message);
}

static void more_servers_than_the_cap_are_refused(void **state)
{
	(void)state;
	_cleanup_buf_ line = BUF_INIT(1 << 16);
	assert_int_equal(buf_append_text(&line, HEAD ",\"observation\":{\"servers\":[{}"), 0);
	for (size_t i = 0; i < RECORD_SERVERS_MAX; i++)
		assert_int_equal(buf_append_text(&line, ",{}"), 0);
	assert_int_equal(buf_append_text(&line, "]}}"), 0);
	struct error *err = NULL;
	struct record *record = NULL;
	int rc = read_text(buf_text(&line), &record, &err);
	assert_error(rc, err, ERROR_LIMIT, "record: member \"servers\" has 257 elements, more than 256");
}

static void freeing_nothing_is_fine(void **state)
{
	(void)state;
	struct observation empty = {0};
	observation_free_contents(&empty);
	record_free(NULL);
	struct observation full = full_observation();
	observation_free_contents(&full);
	assert_memory_equal(&full, &empty, sizeof(empty));
}

int main(void)
{
	json_install_hooks();
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_written_is_read_back),
		cmocka_unit_test(what_is_missing_is_not_known),
		cmocka_unit_test(an_unknown_member_is_passed_over),
		cmocka_unit_test(replay_decides_again),
		cmocka_unit_test(each_field_of_a_decision_is_compared),
		cmocka_unit_test(more_servers_than_the_cap_are_refused),
		cmocka_unit_test(freeing_nothing_is_fine),
	};
	return RUN_ROWS(is_refused, refusals) + cmocka_run_group_tests(tests, NULL, NULL);
}
