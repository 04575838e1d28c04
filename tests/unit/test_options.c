/* Arguments as kubectl takes them, and what is said of those that nobody takes. */
#include "cmd/options.h"
#include "test_support.h"

#define ALL (OPTIONS_OUTPUT | OPTIONS_API | OPTIONS_SELECT | OPTIONS_SPEED)
#define PARSE(options, err, ...) \
	options_parse((int)ELEMENTS(((char *[]){__VA_ARGS__})), (char *[]){__VA_ARGS__}, ALL, options, err)

static void test_forms(void **state)
{
	struct options o;
	(void)state;
	assert_int_equal(PARSE(&o, NULL, "-ojson", "-nteam-a", "-n", "team-b", "-n=team-c", "--namespace=team-d", "-s",
			       "https://a", "-A", "secret/x"),
			 0);
	assert_true(o.json);
	_cleanup_free_ char *namespaces = strings_join(&o.namespaces, " ");
	assert_string_equal(namespaces, "team-a team-b team-c team-d");
	assert_string_equal(o.server, "https://a");
	assert_true(o.all_namespaces);
	assert_int_equal(o.argument_count, 1);
	assert_string_equal(o.arguments[0], "secret/x");
	options_free(&o);
	assert_int_equal(PARSE(&o, NULL, "-nA=b", "--", "-n"), 0);
	assert_string_equal(o.namespaces.items[0], "A=b");
	assert_string_equal(o.arguments[0], "-n");
	options_free(&o);
}

static void refused(char *argument, const char *words)
{
	struct options o;
	_cleanup_error_ error = NULL;
	assert_int_equal(PARSE(&o, &error, argument), -ERROR_USAGE);
	assert_string_equal(error_message(error), words);
	options_free(&o);
}

static void test_refused(void **state)
{
	(void)state;
	refused("-x", "-x: unknown option");
	refused("-xjson", "-xjson: unknown option");
	refused("-AA", "-AA: unknown option"); /* a flag takes no value */
	refused("--compact", "--compact: this command has no such option");
	refused("-n", "--namespace needs a value: NAMESPACE");
	refused("-oyaml", "-o yaml: there is json, which every reader of YAML takes too, and text without -o");
	refused("--qps=fast", "--qps fast: not a number");
	refused("--all-namespaces=maybe", "--all-namespaces takes no value");
}

/* What only a rotation takes is judged before anything is looked for. */
static void test_of_a_rotation(void **state)
{
	static const struct {
		const char *argument, *words; /* NULL: taken */
	} rows[] = {
		{"--provider=aescbc", NULL},
		{"--provider=aesgcm", NULL},
		{"--provider=secretbox", NULL},
		{"--provider=kms", NULL},
		{"--provider=rot13", "--provider rot13: it is one of aescbc, aesgcm, secretbox, kms"},
		{"--provider=identity", "--provider identity: it is one of aescbc, aesgcm, secretbox, kms"},
		{"--provider=same", "--provider same: it is one of aescbc, aesgcm, secretbox, kms"},
		{"--provider=", "--provider : it is one of aescbc, aesgcm, secretbox, kms"},
		{"--old-key=keep", NULL},
		{"--old-key=destroy", NULL},
		{"--old-key=seal:/nowhere", NULL}, /* which is for whoever reads it to say */
		{"--old-key=burn", "--old-key burn: it is one of keep, seal:CERT, destroy"},
		{"--old-key=seal:", "--old-key seal:: it is one of keep, seal:CERT, destroy"},
		{"--old-key=seal", "--old-key seal: it is one of keep, seal:CERT, destroy"},
		{"--old-key=none", "--old-key none: it is one of keep, seal:CERT, destroy"},
		{"--new-key-copy=none", NULL},
		{"--new-key-copy=seal:a", NULL},
		{"--new-key-copy=paper", "--new-key-copy paper: it is one of seal:CERT, none"},
		{"--new-key-copy=seal:", "--new-key-copy seal:: it is one of seal:CERT, none"},
		{"--new-key-copy=keep", "--new-key-copy keep: it is one of seal:CERT, none"},
		{"--target=agent", "--target agent: it is one of auto, file, agents, manual"},
		{"--apply=restart", "--apply restart: it is one of reload, wait-restart"},
	};
	(void)state;
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		struct options o;
		_cleanup_error_ error = NULL;
		_cleanup_free_ char *argument = xstrdup(rows[i].argument);
		int rc = options_parse(1, &argument, OPTIONS_ROTATE, &o, &error);
		if (rc != (rows[i].words ? -ERROR_USAGE : 0) ||
		    (rows[i].words && !text_equal(error_message(error), rows[i].words)))
			fail_msg("%s: %s", argument, error ? error_message(error) : "taken");
		options_free(&o);
	}
}

static void first_word(size_t wanted, char *const *words)
{
	size_t count = 0;
	while (words[count])
		count++;
	assert_int_equal(options_first_word(words, count), wanted);
}

static void test_first_word(void **state)
{
	(void)state;
	first_word(0, (char *[]){"status", "-o", "json", NULL});
	first_word(2, (char *[]){"--context", "prod", "status", NULL});
	first_word(1, (char *[]){"--context=prod", "status", NULL});
	first_word(3, (char *[]){"-nteam", "-s", "https://a", "status", NULL});
	first_word(1, (char *[]){"--yes", "rotate", NULL}); /* a flag takes no value */
	first_word(1, (char *[]){"--nonsense", "rotate", NULL});
	first_word(2, (char *[]){"--yes", "--context", NULL}); /* none */
	first_word(2, (char *[]){"--context", "prod", NULL});
	first_word(0, (char *[]){NULL});
}

static void test_resources_without_etcd(void **state)
{
	struct options o;
	_cleanup_error_ error = NULL;
	char *with[] = {"--resource", "secrets", "--no-etcd"}, *alone[] = {"--resource=secrets"};
	(void)state;
	assert_int_equal(options_parse(3, with, OPTIONS_KINDS | OPTIONS_NO_ETCD, &o, NULL), 0);
	assert_int_equal(o.resources.count, 1);
	options_free(&o);
	assert_int_equal(options_parse(1, alone, OPTIONS_KINDS | OPTIONS_NO_ETCD, &o, &error), -ERROR_USAGE);
	assert_true(text_starts(error_message(error), "--resource goes with --no-etcd: "));
	options_free(&o);
	assert_int_equal(options_parse(1, alone, OPTIONS_SELECT | OPTIONS_NO_ETCD, &o, NULL), 0);
	options_free(&o);
}

/* Who names two means both: the last one alone would be half an answer. */
static void test_said_twice(void **state)
{
	static const struct {
		unsigned group;
		const char *name;
	} once[] = {{OPTIONS_BACKUPS, "--contexts"},    {OPTIONS_BACKUPS, "--snapshots"},
		    {OPTIONS_BACKUP, "--snapshot"},     {OPTIONS_WITHOUT, "--without-key"},
		    {OPTIONS_CHECK, "--contexts"},      {OPTIONS_CHECK, "--backup"},
		    {OPTIONS_CHECK, "--expect-key-id"}, {OPTIONS_CHECK, "--require-provider"},
		    {OPTIONS_REPORT, "--kms-key-arn"},  {OPTIONS_REPORT, "--verify"},
		    {OPTIONS_REPORT, "--signer"},       {OPTIONS_PAGE, "--replay"}};
	(void)state;
	for (size_t i = 0; i < ELEMENTS(once); i++) {
		struct options o;
		_cleanup_error_ error = NULL;
		_cleanup_free_ char *name = xstrdup(once[i].name), *joined = xasprintf("%s=b", name);
		_cleanup_free_ char *words = xasprintf("%s is said twice: it takes one value", name);
		char *arguments[] = {name, (char *)"a", joined};
		assert_int_equal(options_parse(3, arguments, once[i].group, &o, &error), -ERROR_USAGE);
		assert_string_equal(error_message(error), words);
		options_free(&o);
	}
	struct options o;
	assert_int_equal(PARSE(&o, NULL, "--server", "https://a", "--server", "https://b"), 0);
	assert_string_equal(o.server, "https://b");
	options_free(&o);
}

static void test_one_after_another(void **state)
{
	struct option_text option;
	size_t at = 0, count = 0;
	(void)state;
	while (options_next(OPTIONS_OUTPUT, &at, &option))
		count++;
	assert_int_equal(count, 2); /* -o and -h */
	assert_false(options_next(OPTIONS_OUTPUT, &at, &option));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_forms),
		cmocka_unit_test(test_first_word),
		cmocka_unit_test(test_resources_without_etcd),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_of_a_rotation),
		cmocka_unit_test(test_said_twice),
		cmocka_unit_test(test_one_after_another),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
