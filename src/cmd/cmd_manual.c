#include <stdio.h>

#include "cmd/command.h"

#ifndef KUBE_REKEY_VERSION
#define KUBE_REKEY_VERSION "0.1.0"
#endif

/* Text as roff prints it: a backslash and a hyphen are themselves, and a line does not begin with a request. */
static void put(const char *text)
{
	if (*text == '.' || *text == '\'')
		fputs("\\&", stdout);
	for (; *text; text++) {
		if (*text == '\\')
			fputs("\\e", stdout);
		else if (*text == '-')
			fputs("\\-", stdout);
		else
			fputc(*text, stdout);
	}
}

static void put_bold(const char *text)
{
	fputs("\\fB", stdout);
	put(text);
	fputs("\\fR", stdout);
}

static void put_value(const char *text)
{
	fputs(" \\fI", stdout);
	put(text);
	fputs("\\fR", stdout);
}

static void put_option(const struct option_text *option)
{
	puts(".TP");
	if (option->letter) {
		put_bold(option->letter);
		fputs(", ", stdout);
	}
	put_bold(option->name);
	if (option->value)
		put_value(option->value);
	putchar('\n');
	put(option->help);
	putchar('\n');
}

static void put_command(const struct command *command)
{
	struct option_text option;
	fputs(".SS ", stdout);
	put_bold(command->name);
	if (*command->arguments)
		put_value(command->arguments);
	putchar('\n');
	put(command->summary);
	puts(".\n.PP");
	put(command->changes);
	putchar('\n');
	for (size_t at = 0; options_next(command->groups, &at, &option);)
		put_option(&option);
}

static void put_exit_codes(void)
{
	static const struct {
		const char *code, *meaning;
	} codes[] = {
		{"0", "done, or current"},
		{"1", "stale objects, or a finding"},
		{"2", "error: a file, the network, a server"},
		{"3", "refused as unsafe; the step at hand was not taken"},
		{"4", "the deadline passed; the same command goes on"},
		{"64", "the command line"},
		{"130, 143", "interrupted; the same command goes on"},
	};
	puts(".SH EXIT STATUS");
	for (size_t i = 0; i < ELEMENTS(codes); i++)
		printf(".TP\n.B %s\n%s\n", codes[i].code, codes[i].meaning);
}

int cmd_manual(struct command_context *context, struct error **err)
{
	(void)err;
	printf(".TH KUBE\\-REKEY 1 \"\" \"kube\\-rekey %s\" \"Kubernetes\"\n.SH NAME\n"
	       "kube\\-rekey \\- rotate the keys that a Kubernetes API server encrypts its data with\n"
	       ".SH SYNOPSIS\n.B kube\\-rekey\n.I COMMAND\n[\\fIOPTIONS\\fR]\n.br\n.B kubectl rekey\n.I COMMAND\n"
	       "[\\fIOPTIONS\\fR]\n.SH DESCRIPTION\n"
	       "Rotates the keys of an EncryptionConfiguration while the cluster serves, and proves it: the old key "
	       "leaves only after every value in etcd was read and none is under it, and after every API server was "
	       "seen to run the configuration in which the new key writes. It can be stopped at any moment; the same "
	       "command goes on.\n.SH COMMANDS\n",
	       KUBE_REKEY_VERSION);
	for (size_t i = 0; i < context->command_count; i++)
		put_command(&context->commands[i]);
	put_exit_codes();
	puts(".SH ENVIRONMENT\n.TP\n.B KUBECONFIG\nas for kubectl\n.TP\n.B NO_COLOR\nno colours\n"
	     ".SH SEE ALSO\n.BR kubectl (1),\n.BR etcdctl (1)");
	context->printed_document = true;
	return 0;
}
