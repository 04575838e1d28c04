/* A report is read as it was written, and shown to people with nothing that steers a terminal. */
#include "object_support.h"

#include "engine/rotation_report.h"

static char *file_of(const char *name)
{
	static char text[65536];
	_cleanup_free_ char *path = xasprintf("tests/fuzz/corpus/rotation_report/%s", name);
	FILE *file = fopen(path, "re");
	assert_non_null(file);
	size_t len = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	text[len] = '\0';
	return xstrdup(text);
}

static int parse(const char *text, struct rotation_report **ret, struct error **err)
{
	_cleanup_json_ json = document(text);
	return rotation_report_parse(json, ret, err);
}

static char *json_of(const struct rotation_report *report)
{
	struct json_writer w = JSON_WRITER_INIT(REPORT_JSON_MAX);
	rotation_report_write_json(report, &w);
	char *text = xstrdup(json_text(&w));
	json_writer_free(&w);
	return text;
}

static void read_as_it_was_written(void **state)
{
	_cleanup_free_ char *text = file_of("one_server.json");
	_cleanup_(rotation_report_freep) struct rotation_report *report = NULL;
	struct error *err = NULL;
	(void)state;
	assert_ok(parse(text, &report, &err), err);
	_cleanup_free_ char *again = json_of(report);
	assert_string_equal(again, text);
	assert_int_equal(report->ns, UINT64_C(60250000000));
	assert_int_equal(report->phases[1].phase, PHASE_SETTLE);
}

/* Which key IDs there were, how many values are under them, which labels left: and what is told of that. */
static void old_keys_are_named_by_key_id(void **state)
{
	struct {
		struct rotation_key_id ids[3];
		const char *left[2], *told, *shown;
		bool follows;
		const char *remains;
	} rows[] = {
		{{{0}},
		 {"aescbc/a", "kms/b"},
		 "aescbc/a, kms/b",
		 "aescbc/a, kms/b left the configuration",
		 false,
		 NULL},
		{{{(char[]){"b"}, (char[]){"1"}, 0},
		  {(char[]){"b"}, (char[]){"2"}, 0},
		  {(char[]){"c"}, (char[]){"3"}, 9}},
		 {"kms/b", "aescbc/a"},
		 "kms/b 1, kms/b 2, aescbc/a",
		 "kms/b 1, kms/b 2, aescbc/a left the configuration",
		 false,
		 NULL},
		{{{(char[]){"c"}, (char[]){"1"}, 0}, {(char[]){"c"}, (char[]){"2"}, 4}},
		 {NULL},
		 "kms/c 1",
		 "kms/c 1 is needed for nothing any more",
		 true,
		 "this cluster's etcd needs kms/c, key ID 1, for nothing at revision 7; backups do"},
		/* Values of another provider are under it, another plugin names it, or one of them was not asked. */
		{{{(char[]){"c"}, (char[]){"1"}, 0},
		  {(char[]){"c"}, (char[]){"2"}, 4},
		  {(char[]){"b"}, (char[]){"1"}, 4}},
		 {NULL},
		 "",
		 "new key kms/c.",
		 true,
		 "which key IDs nothing needs any more is not known: kms/b: no answer"},
		{{{(char[]){"c"}, (char[]){"1"}, 0}, {(char[]){"b"}, (char[]){"2"}, 4}},
		 {NULL},
		 "",
		 "new key kms/c.",
		 true,
		 NULL},
	};
	(void)state;
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		struct rotation_report report = {.outcome = (char[]){"Done"}, .key_ids = rows[i].ids};
		while (report.key_id_count < 3 && rows[i].ids[report.key_id_count].name)
			report.key_id_count++;
		for (size_t k = 0; k < ELEMENTS(rows[i].left) && rows[i].left[k]; k++)
			strings_add(&report.old_keys, rows[i].left[k]);
		strings_add(&report.new_keys, "kms/c");
		if (rows[i].remains)
			strings_add(&report.remains, rows[i].remains);
		rotation_report_name_old_keys(&report, rows[i].follows);
		_cleanup_free_ char *told = strings_join(&report.old_keys, ", ");
		_cleanup_free_ char *text = rotation_report_text(&report, false);
		assert_string_equal(told, rows[i].told);
		assert_non_null(strstr(text, rows[i].shown));
		strings_free(&report.old_keys);
		strings_free(&report.new_keys);
		strings_free(&report.remains);
	}
}

static void shown_to_people(void **state)
{
	static const char *const wanted[] = {
		"Rotation rekey-20261122T1103Z-3f9a1c, target file, from 2026-11-22T11:03:20Z to "
		"2026-11-22T11:04:20Z\n",
		"Done in 1 min. 23 objects; new key aescbc/rekey-20261122T1103Z-3f9a1c; kms/vault left the "
		"configuration.\n",
		"Proof:   every value in etcd read\n         cp-1 loaded sha256:ab\n",
		"Servers: cp-1 loaded sha256:ab\n         cp-2 forgotten, by a person's word\n",
		"secrets                  kms/vault                                             22           0\n",
		"secrets                  aescbc/rekey-20261122T1103Z-3f9a1c                     0          23\n",
		"(outside)                plaintext                                              9           0  "
		"expected\n",
		"before: revision 100, 2026-11-22T11:03:21Z\n         after: revision 259, 2026-11-22T11:04:10Z\n",
		"Sweep:   secrets: 22 objects, 21 rewritten, 0 left as they were, 2 conflicts, 1 quarantined\n",
		"Key IDs: kms/vault arn:1: 0 values\n",
		"Phases:  Reencrypt       2 s\n",
		"Remains: backups of etcd made before",
		"  etcdctl del '/registry/x/y'\n  and 3 more\n",
		"Quarantine: secrets default/stuck: a webhook said no\n",
		"last Decrypt at 2026-11-20T00:00:00Z, by arn:aws:sts::1:x\n",
		"no Encrypt from 2026-11-19T00:00:00Z to 2026-11-26T00:00:00Z\n",
		"the DEK cache hides use",
	};
	_cleanup_free_ char *text = file_of("one_server.json");
	_cleanup_(rotation_report_freep) struct rotation_report *report = NULL;
	struct error *err = NULL;
	(void)state;
	assert_ok(parse(text, &report, &err), err);
	_cleanup_free_ char *shown = rotation_report_text(report, true), *brief = rotation_report_text(report, false);
	for (size_t i = 0; i < ELEMENTS(wanted); i++)
		if (!strstr(shown, wanted[i]))
			fail_msg("no: %s", wanted[i]);
	assert_non_null(strstr(brief, wanted[1]));
	assert_null(strstr(brief, "Servers:"));
}

static void nothing_steers_a_terminal(void **state)
{
	_cleanup_free_ char *text = file_of("least.json");
	_cleanup_(rotation_report_freep) struct rotation_report *report = NULL;
	struct error *err = NULL;
	(void)state;
	assert_ok(parse(text, &report, &err), err);
	free(report->outcome);
	report->outcome = xstrdup("Done\033[2J");
	free(report->rotation);
	report->rotation = xstrdup("a\rb");
	strings_add(&report->evidence, "well\033]0;x\a\nProof: of nothing");
	_cleanup_free_ char *shown = rotation_report_text(report, true);
	assert_null(strpbrk(shown, "\033\r\a"));
	assert_non_null(strstr(shown, "Proof:   well?]0;x??Proof: of nothing\n"));
	assert_null(strstr(shown, "Values:")); /* of which there is no census */
}

/* JSON keeps text alone: no command is made of a path that lost a byte to it. */
static void paths_that_were_no_text(void **state)
{
	_cleanup_free_ char *text = file_of("least.json");
	_cleanup_(rotation_report_freep) struct rotation_report *report = NULL;
	struct error *err = NULL;
	char *at = strstr(text, "\"phases\":[]");
	(void)state;
	assert_non_null(at);
	_cleanup_free_ char *changed = xasprintf("%.*s%s%s", (int)(at - text), text,
						 "\"outside\":[{\"path\":\"/r/\xef\xbf\xbd\"},{\"path\":\"/r/\xfd\"},"
						 "{\"path\":\"/r/x\"}],\"outsideCount\":3,",
						 at);
	assert_ok(parse(changed, &report, &err), err);
	_cleanup_free_ char *shown = rotation_report_text(report, true);
	assert_non_null(strstr(shown, "In the way, if they are remains:\n  etcdctl del '/r/x'\n  and 2 more\n"));
}

struct bad {
	const char *name, *from, *to, *words;
};
static const struct bad bad[] = {
	{"another kind", "RotationReport", "Census", "no RotationReport of version 1"},
	{"another version", "\"version\":1", "\"version\":2", "no RotationReport of version 1"},
	{"a weaker proof", "\"strength\":\"etcd\"", "\"strength\":\"api\"", "its strength is not etcd"},
	{"a strength that is none", "\"strength\":\"etcd\"", "\"strength\":7", "its strength is not etcd"},
	{"no rotation", "\"rotation\":\"a\"", "\"rotation\":\"\"", "rotation, outcome or target is missing"},
	{"a number for a text", "\"target\":\"agents\"", "\"target\":7", "target: not a text"},
	{"no time", "\"finished\":\"2026-11-22T11:03:20Z\"", "\"finished\":\"now\"", "started or finished is no time"},
	{"no seconds", "0.000", "-1", "seconds: not a number"},
	{"endless", "0.000", "1e99", "seconds: not a number"},
	{"a phase of nobody", "\"phases\":[]", "\"phases\":[{\"phase\":\"Sleep\",\"seconds\":1}]",
	 "a phase that this version does not know"},
	{"phases that are none", "\"phases\":[]", "\"phases\":7", "phases: not a list"},
	{"outside without a path", "\"phases\":[]", "\"phases\":[],\"outside\":[{}]", "a value without a path"},
	{"a key ID without a name", "\"phases\":[]", "\"phases\":[],\"keyIDs\":[{}]", "keyIDs: one without a name"},
	{"CloudTrail of no key", "\"phases\":[]", "\"phases\":[],\"cloudtrail\":{}", "cloudtrail: no key"},
};

static void no_report(void **state)
{
	const struct bad *row = *state;
	_cleanup_free_ char *text = file_of("least.json");
	_cleanup_(rotation_report_freep) struct rotation_report *report = NULL;
	struct error *err = NULL;
	char *at = strstr(text, row->from);
	assert_non_null(at);
	_cleanup_free_ char *changed = xasprintf("%.*s%s%s", (int)(at - text), text, row->to, at + strlen(row->from));
	assert_int_equal(parse(changed, &report, &err), -ERROR_INPUT);
	if (!strstr(error_message(err), row->words))
		fail_msg("%s", error_message(err));
	error_clear(&err);
}

/* Reports of before it was written. */
static void without_a_strength(void **state)
{
	_cleanup_free_ char *text = file_of("least.json");
	static const char member[] = "\"strength\":\"etcd\",";
	char *at = strstr(text, member);
	_cleanup_(rotation_report_freep) struct rotation_report *report = NULL;
	struct error *err = NULL;
	(void)state;
	assert_non_null(at);
	memmove(at, at + strlen(member), strlen(at + strlen(member)) + 1);
	assert_ok(parse(text, &report, &err), err);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(read_as_it_was_written),  cmocka_unit_test(old_keys_are_named_by_key_id),
		cmocka_unit_test(shown_to_people),         cmocka_unit_test(nothing_steers_a_terminal),
		cmocka_unit_test(paths_that_were_no_text), cmocka_unit_test(without_a_strength),
	};
	json_install_hooks();
	return RUN_ROWS(no_report, bad) + cmocka_run_group_tests(tests, NULL, NULL);
}
