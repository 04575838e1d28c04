#include "cmd/complete.h"

#include <string.h>

/* cobra's ShellCompDirective */
enum directive { DIRECTIVE_FILES = 0, DIRECTIVE_NOTHING_ELSE = 4, DIRECTIVE_FOLDERS = 16 };

static void offer(FILE *out, const char *begun, const char *word, const char *help)
{
	if (text_starts(word, begun))
		fprintf(out, "%s\t%s\n", word, help);
}

/* "replace|patch" offers both; the names of files end so in our tables. */
static enum directive offer_values(FILE *out, const char *begun, const char *before, const struct option_text *option)
{
	if (text_equal(option->value, "FILE") || text_equal(option->value, "CERT"))
		return DIRECTIVE_FILES;
	if (text_equal(option->value, "DIR"))
		return DIRECTIVE_FOLDERS;
	_cleanup_strings_ values = {0};
	strings_split(&values, option->value, '|');
	for (size_t i = 0; i < values.count; i++) {
		/* Words in capitals stand for something else. */
		size_t fixed = strcspn(values.items[i], "ABCDEFGHIJKLMNOPQRSTUVWXYZ[.");
		if (fixed == 0)
			continue;
		_cleanup_free_ char *word = xasprintf("%s%.*s", before, (int)fixed, values.items[i]);
		offer(out, begun, word, option->help);
	}
	return DIRECTIVE_NOTHING_ELSE;
}

static bool find_option(unsigned groups, const char *name, size_t len, struct option_text *ret)
{
	for (size_t at = 0; options_next(groups, &at, ret);) {
		bool is_long = strlen(ret->name) == len && strncmp(ret->name, name, len) == 0;
		bool is_short = ret->letter && strlen(ret->letter) == len && strncmp(ret->letter, name, len) == 0;
		if (is_long || is_short)
			return true;
	}
	return false;
}

static void offer_options(FILE *out, const char *begun, unsigned groups)
{
	struct option_text option;
	for (size_t at = 0; options_next(groups, &at, &option);)
		offer(out, begun, option.name, option.help);
}

/* "next|drop", "FILE", "[NAME]" of the command table. */
static enum directive offer_arguments(FILE *out, const char *begun, const struct command *command)
{
	const struct option_text argument = {.value = command->arguments, .help = command->summary};
	return offer_values(out, begun, "", &argument);
}

/* `words`: after the command; the last one is being typed. */
static enum directive complete_command(const struct command *command, char *const *words, size_t count, FILE *out)
{
	const char *begun = words[count - 1], *equals = strchr(begun, '=');
	struct option_text option;
	if (count > 1 && find_option(command->groups, words[count - 2], strlen(words[count - 2]), &option) &&
	    option.value)
		return offer_values(out, begun, "", &option);
	if (begun[0] == '-' && equals) {
		size_t len = (size_t)(equals - begun);
		_cleanup_free_ char *before = xasprintf("%.*s=", (int)len, begun);
		return find_option(command->groups, begun, len, &option) && option.value
			       ? offer_values(out, begun, before, &option)
			       : DIRECTIVE_NOTHING_ELSE;
	}
	if (begun[0] == '-') {
		offer_options(out, begun, command->groups);
		return DIRECTIVE_NOTHING_ELSE;
	}
	return offer_arguments(out, begun, command);
}

/* Before the command stands the command, or what kubectl lets stand there: how the API is reached, and the output. */
static enum directive complete_first(const struct command *commands, size_t count, char *const *words,
				     size_t word_count, FILE *out)
{
	const char *begun = word_count ? words[word_count - 1] : "";
	const char *before = word_count > 1 ? words[word_count - 2] : "";
	struct option_text option;
	if (before[0] == '-' && find_option(~0u, before, strlen(before), &option) && option.value)
		return offer_values(out, begun, "", &option);
	if (begun[0] == '-') {
		offer_options(out, begun, OPTIONS_OUTPUT | OPTIONS_API);
		return DIRECTIVE_NOTHING_ELSE;
	}
	for (size_t i = 0; i < count; i++)
		offer(out, begun, commands[i].name, commands[i].summary);
	return DIRECTIVE_NOTHING_ELSE;
}

void complete(const struct command *commands, size_t count, char *const *words, size_t word_count, FILE *out)
{
	enum directive directive = DIRECTIVE_NOTHING_ELSE;
	size_t typed = word_count ? word_count - 1 : 0, at = options_first_word(words, typed), rest_count = 0;
	if (at == typed) {
		directive = complete_first(commands, count, words, word_count, out);
	} else {
		_cleanup_free_ char **rest = xcalloc(word_count, sizeof(*rest));
		for (size_t i = 0; i < word_count; i++)
			if (i != at)
				rest[rest_count++] = words[i];
		for (size_t i = 0; i < count; i++)
			if (text_equal(commands[i].name, words[at]))
				directive = complete_command(&commands[i], rest, rest_count, out);
	}
	fprintf(out, ":%d\n", directive);
}
