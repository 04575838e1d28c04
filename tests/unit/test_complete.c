/* What is offered for the word that is being typed. */
#include <stdlib.h>

#include "cmd/complete.h"
#include "test_support.h"

static const struct command commands[] = {
	{"status", "[NAME]", "where it stands", "", OPTIONS_OUTPUT | OPTIONS_API, NULL},
	{"rotate", "", "to a new key", "", OPTIONS_OUTPUT | OPTIONS_ROTATE | OPTIONS_SELECT, NULL},
	{"resume", "[NAME]", "go on", "", OPTIONS_OUTPUT, NULL},
	{"gate", "next|drop", "a step", "", OPTIONS_OUTPUT, NULL},
	{"replay", "FILE", "again", "", OPTIONS_OUTPUT, NULL},
};

/* `last` is the word being typed; NULL words end. */
static char *offered(char *const *words)
{
	char *text = NULL;
	size_t len = 0, count = 0;
	while (words[count])
		count++;
	FILE *out = open_memstream(&text, &len);
	assert_non_null(out);
	complete(commands, ELEMENTS(commands), words, count, out);
	fclose(out);
	return text;
}

#define EXPECT(wanted, ...)                                \
	do {                                               \
		char *const words[] = {__VA_ARGS__, NULL}; \
		char *text = offered(words);               \
		assert_string_equal(text, wanted);         \
		free(text);                                \
	} while (0)

static void test_commands(void **state)
{
	(void)state;
	EXPECT("rotate\tto a new key\nresume\tgo on\nreplay\tagain\n:4\n", "r");
	EXPECT("status\twhere it stands\n:4\n", "status");
	EXPECT(":4\n", "nonsense");
	EXPECT(":4\n", "nonsense", "--out");
	char *all = offered((char *const[]){"", NULL}), *none = offered((char *const[]){NULL});
	assert_string_equal(all, none);
	assert_non_null(strstr(all, "gate\ta step\n"));
	free(all);
	free(none);
}

static void test_options(void **state)
{
	(void)state;
	EXPECT("--output\tprint one JSON document instead of text\n:4\n", "gate", "--ou");
	EXPECT(":4\n", "gate", "--to"); /* an option of others */
	EXPECT("--help\tshow this help\n:4\n", "rotate", "--to", "x.yaml", "--hel");
}

static void test_values(void **state)
{
	(void)state;
	EXPECT("json\tprint one JSON document instead of text\n:4\n", "status", "-o", "");
	EXPECT("--output=json\tprint one JSON document instead of text\n:4\n", "status", "--output=");
	EXPECT("destroy\twhat becomes of the old key (default: keep)\n:4\n", "rotate", "--old-key", "d");
	EXPECT("seal:\twhat becomes of the old key (default: keep)\n:4\n", "rotate", "--old-key", "se");
	EXPECT(":0\n", "rotate", "--to", "some");
	EXPECT(":0\n", "rotate", "--to=some");
	EXPECT(":16\n", "rotate", "--out", "");
	EXPECT(":4\n", "rotate", "-n", "");         /* a namespace: not known here */
	EXPECT(":4\n", "rotate", "--compact=", ""); /* a flag takes none */
	EXPECT(":4\n", "rotate", "--nonsense=x");
}

/* kubectl lets options stand before the command. */
static void test_before_the_command(void **state)
{
	(void)state;
	EXPECT("rotate\tto a new key\nresume\tgo on\nreplay\tagain\n:4\n", "--context", "prod", "r");
	EXPECT("rotate\tto a new key\nresume\tgo on\nreplay\tagain\n:4\n", "--context=prod", "r");
	EXPECT("--context\tcontext of the kubeconfig\n:4\n", "--conte");
	EXPECT(":0\n", "--kubeconfig", "");
	EXPECT(":4\n", "--context", "");
	EXPECT("next\ta step\ndrop\ta step\n:4\n", "--context", "prod", "gate", "");
	EXPECT("json\tprint one JSON document instead of text\n:4\n", "-o", "json", "gate", "-o", "");
}

static void test_arguments(void **state)
{
	(void)state;
	EXPECT("next\ta step\ndrop\ta step\n:4\n", "gate", "");
	EXPECT("drop\ta step\n:4\n", "gate", "--output", "json", "d");
	EXPECT(":0\n", "replay", "flight");
	EXPECT(":4\n", "status", "");
	EXPECT(":4\n", "rotate", "");
	EXPECT(":4\n", "rotate", "--compact", "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_commands),
		cmocka_unit_test(test_options),
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_arguments),
		cmocka_unit_test(test_before_the_command),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
