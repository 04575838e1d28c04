/* kube-rekey, also called as `kubectl rekey`: the table of commands, the environment, and the one place that prints
 * an error. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <curl/curl.h>
#include <openssl/crypto.h>
#include <sodium.h>

#include "base/json_read.h"
#include "base/json_writer.h"
#include "cmd/command.h"
#include "cmd/complete.h"
#include "cmd/last_words.h"

#define ERROR_JSON_MAX (64u << 10)
#define ALL_OF_A_CLUSTER (OPTIONS_OUTPUT | OPTIONS_API | OPTIONS_ETCD | OPTIONS_CONFIG)

static const struct command commands[] = {
	{"status", "[NAME]", "what everything is encrypted with, and where a rotation stands", "Changes nothing.",
	 ALL_OF_A_CLUSTER | OPTIONS_SPEED | OPTIONS_ROTATE | OPTIONS_CONFIRM | OPTIONS_NO_ETCD | OPTIONS_KINDS,
	 cmd_status},
	{"census", "[RESOURCE/NAME -n NAMESPACE]", "read every value in etcd and count per key", "Changes nothing.",
	 ALL_OF_A_CLUSTER | OPTIONS_SELECT | OPTIONS_BACKUP | OPTIONS_OPEN | OPTIONS_NO_ETCD | OPTIONS_PACE,
	 cmd_census},
	{"needs", "KEY",
	 "whether a cluster or a backup still needs a key (aescbc/key1, kms/vault, or a KMS's key ID): before it is "
	 "destroyed",
	 "Changes nothing. Exit code 1 where it is needed.", ALL_OF_A_CLUSTER | OPTIONS_FLEET | OPTIONS_BACKUPS,
	 cmd_needs},
	{"check", "",
	 "the preflight: servers, configuration, values, KMS, etcd, permissions; what is wrong, and what to do",
	 "Changes nothing. Reads every Secret and ConfigMap. Exit code 1 where a check failed; warnings do not change "
	 "it.",
	 ALL_OF_A_CLUSTER | OPTIONS_FLEET | OPTIONS_CHECK, cmd_check},
	{"plan", "", "the path of a rotation, its objects and its time", "Changes nothing.",
	 ALL_OF_A_CLUSTER | OPTIONS_FLEET | OPTIONS_SPEED | OPTIONS_ROTATE | OPTIONS_CONFIRM | OPTIONS_WITHOUT,
	 cmd_plan},
	{"rotate", "", "take the cluster to a new key, prove it, and drop the old one",
	 "Changes the EncryptionConfiguration, rewrites objects unchanged, keeps the old key beside. Safe to "
	 "interrupt: the same command goes on. Where agents are: creates a KeyRotation and follows it.",
	 ALL_OF_A_CLUSTER | OPTIONS_SPEED | OPTIONS_ROTATE | OPTIONS_FOLLOW | OPTIONS_CONFIRM | OPTIONS_POD |
		 OPTIONS_NO_ETCD | OPTIONS_KINDS,
	 cmd_rotate},
	{"pause", "[NAME]", "let a rotation of several API servers take no further step", "Changes the KeyRotation.",
	 OPTIONS_OUTPUT | OPTIONS_API, cmd_pause},
	{"resume", "[NAME]", "let it go on", "Changes the KeyRotation.", OPTIONS_OUTPUT | OPTIONS_API, cmd_resume},
	{"abort", "[NAME]", "give it up: its new key is taken away again",
	 "Changes the KeyRotation. Refused when values may be under the new key, unless the old key shall be promoted "
	 "again; and once the old key left a server.",
	 OPTIONS_OUTPUT | OPTIONS_API | OPTIONS_ABORT, cmd_abort},
	{"reencrypt", "", "rewrite objects under the write key, nothing else",
	 "Rewrites objects unchanged. Safe to interrupt.",
	 ALL_OF_A_CLUSTER | OPTIONS_SELECT | OPTIONS_SPEED | OPTIONS_POD | OPTIONS_NO_ETCD, cmd_reencrypt},
	{"gate", "next|drop", "whether the step from the present configuration to --to FILE is allowed now",
	 "Changes nothing but its canary.", ALL_OF_A_CLUSTER | OPTIONS_SPEED | OPTIONS_ROTATE | OPTIONS_CONFIRM,
	 cmd_gate},
	{"forget", "SERVER", "say that an API server is gone for good",
	 "Changes the status of the KeyRotation that is under way; with --encryption-config, the journal beside that "
	 "file.",
	 OPTIONS_CONFIG | OPTIONS_API | OPTIONS_CONFIRM | OPTIONS_OUTPUT, cmd_forget},
	{"agent", "", "stand beside one of several API servers: report, and carry out ordered steps",
	 "Changes the EncryptionConfiguration of its node by single legal steps; keeps old keys in its state "
	 "directory. Safe "
	 "to stop at any moment.",
	 OPTIONS_OUTPUT | OPTIONS_API | OPTIONS_ETCD | OPTIONS_AGENT | OPTIONS_SERVE | OPTIONS_POD, cmd_agent},
	{"controller", "", "direct the rotations that KeyRotation objects ask for",
	 "Orders steps of agents, rewrites objects unchanged. Safe to stop at any moment.",
	 OPTIONS_OUTPUT | OPTIONS_API | OPTIONS_FLEET | OPTIONS_LEAD | OPTIONS_SERVE | OPTIONS_POD, cmd_controller},
	{"report", "[ROTATION]", "what a rotation proved, by which evidence, and what still holds the old key",
	 "Changes nothing. Of one API server's rotations it reads what is kept in the state directory, of several's "
	 "the "
	 "KeyRotation.",
	 OPTIONS_OUTPUT | OPTIONS_API | OPTIONS_REPORT, cmd_report},
	{"dashboard", "[NAME]", "watch a rotation of several API servers in a browser",
	 "Changes nothing. Serves 127.0.0.1 alone, to whoever has the address that it prints.",
	 OPTIONS_OUTPUT | OPTIONS_API | OPTIONS_PAGE, cmd_dashboard},
	{"replay", "FILE", "decide again over a flight record and compare", "Changes nothing.", OPTIONS_OUTPUT,
	 cmd_replay},
	{"manual", "", "the manual page, for man -l -", "Changes nothing.", OPTIONS_NONE, cmd_manual},
	{"version", "", "the version", "Changes nothing.", OPTIONS_OUTPUT, cmd_version},
};

static void print_help(const char *program)
{
	printf("%s rotates the keys that a Kubernetes API server encrypts its data with, while the cluster serves.\n\n"
	       "Usage: %s COMMAND [OPTIONS]\n\nCommands:\n",
	       program, program);
	for (size_t i = 0; i < ELEMENTS(commands); i++)
		printf("  %-10s %s\n", commands[i].name, commands[i].summary);
	printf("\n%s COMMAND --help shows its options. Exit codes: 0 done or current, 1 stale objects or a finding, 2 "
	       "error,\n"
	       "3 refused as unsafe, 4 deadline passed (resumable), 64 usage, 130 or 143 interrupted (resumable).\n",
	       program);
}

static void print_command_help(const char *program, const struct command *command)
{
	printf("%s %s%s%s [OPTIONS]\n%s.\n%s\n\nOptions:\n", program, command->name, *command->arguments ? " " : "",
	       command->arguments, command->summary, command->changes);
	options_help(stdout, command->groups);
}

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < ELEMENTS(commands); i++)
		if (text_equal(commands[i].name, name))
			return &commands[i];
	return NULL;
}

/* Keys and values pass through this process: none of it may end in a core file. */
static void protect_memory(void)
{
	struct rlimit none = {0, 0};
	setrlimit(RLIMIT_CORE, &none);
	prctl(PR_SET_DUMPABLE, 0);
}

static struct screen find_screen(void)
{
	struct winsize size = {0};
	const char *term = getenv("TERM");
	bool dumb = text_equal(term, "dumb");
	struct screen screen = {.width = 80};
	screen.live = isatty(STDERR_FILENO) && !dumb;
	screen.color = isatty(STDOUT_FILENO) && !dumb && text_empty(getenv("NO_COLOR"));
	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20)
		screen.width = size.ws_col;
	return screen;
}

static void print_error_json(const struct error *error)
{
	struct json_writer w = JSON_WRITER_INIT(ERROR_JSON_MAX);
	json_object_begin(&w);
	json_member_string(&w, "kind", "Error");
	json_member_u64(&w, "version", 1);
	json_member_string(&w, "code", error_code_name(error_code(error)));
	json_member_string(&w, "message", error_message(error));
	json_member_string(&w, "server", error_server(error));
	json_member_string(&w, "object", error_object(error));
	json_member_string(&w, "hint", error_hint(error));
	json_object_end(&w);
	const char *text = json_text(&w);
	if (text)
		puts(text);
	json_writer_free(&w);
}

/* "refused: MESSAGE", and a second line with the hint. New string. */
static char *error_words(const struct error *error)
{
	enum error_code code = error_code(error);
	const char *word = code == ERROR_REFUSED                                 ? "refused"
			   : code == ERROR_DEADLINE || code == ERROR_INTERRUPTED ? "stopped"
										 : "error";
	const char *hint = error_hint(error);
	return xasprintf("%s: %s%s%s\n", word, error_message(error), hint ? "\n  " : "", hint ? hint : "");
}

static void print_error(struct command_context *context, const struct error *error)
{
	_cleanup_free_ char *words = error_words(error);
	screen_clear(&context->screen);
	if (context->options.json && !context->printed_document)
		print_error_json(error);
	fputs(words, stderr);
}

/* What Kubernetes shows of the container: the error, if that is how it ended, and what was done. */
static void leave_last_words(const struct command_context *context, const struct error *error)
{
	_cleanup_free_ char *words = error ? error_words(error) : xstrdup("");
	_cleanup_free_ char *text = xasprintf("%s%s", words, context->outcome ? context->outcome : "");
	_cleanup_error_ failed = NULL;
	if (last_words_write(context->options.termination_log, text, &failed) < 0)
		fprintf(stderr, "note: no termination message was left: %s\n", error_message(failed));
}

static int run(struct command_context *context, const struct command *command, int argc, char **argv)
{
	_cleanup_error_ error = NULL;
	int rc = options_parse(argc, argv, command->groups, &context->options, &error);
	if (rc == 0 && context->options.help) {
		print_command_help(context->invoked_as, command);
		return 0;
	}
	context->screen.quiet = context->options.json;
	if (rc == 0)
		rc = command->run(context, &error);
	if (rc < 0)
		print_error(context, error);
	if (command->groups & OPTIONS_POD)
		leave_last_words(context, error);
	if (rc == -ERROR_INTERRUPTED && context->signal == SIGINT)
		return 128 + SIGINT;
	return rc < 0 ? error_exit_status(error_code(error)) : 0;
}

/* A shell asks what could be the next word: `kube-rekey __complete WORD...`; kubectl asks under a name of its own. */
static bool is_asked_to_complete(const char *base, int argc, char **argv)
{
	return text_equal(base, "kubectl_complete-rekey") || (argc > 1 && text_equal(argv[1], "__complete"));
}

int main(int argc, char **argv, char **environment)
{
	const char *slash = strrchr(argv[0], '/'), *base = slash ? slash + 1 : argv[0];
	struct command_context context = {
		.environment = environment,
		.kubeconfig_env = getenv("KUBECONFIG"),
		.home = getenv("HOME"),
		.service_host = getenv("KUBERNETES_SERVICE_HOST"),
		.service_port = getenv("KUBERNETES_SERVICE_PORT"),
		.commands = commands,
		.command_count = ELEMENTS(commands),
		.invoked_as = text_starts(base, "kubectl-") ? "kubectl rekey" : "kube-rekey",
	};
	if (is_asked_to_complete(base, argc, argv)) {
		int from = text_equal(base, "kubectl_complete-rekey") ? 1 : 2;
		complete(commands, ELEMENTS(commands), argv + from, (size_t)(argc > from ? argc - from : 0), stdout);
		return 0;
	}
	protect_memory();
	json_install_hooks();
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0 || sodium_init() < 0) {
		fprintf(stderr, "error: libcurl or libsodium cannot start\n");
		return 2;
	}
	context.screen = find_screen();
	size_t at = options_first_word(argv + 1, (size_t)argc - 1) + 1; /* of the command */
	bool asks_help = argc >= 2 && (text_equal(argv[1], "--help") || text_equal(argv[1], "-h"));
	bool help = at < (size_t)argc && text_equal(argv[at], "help");
	if (argc < 2 || (asks_help && at >= (size_t)argc) || (help && at + 1 >= (size_t)argc)) {
		print_help(context.invoked_as);
		return argc < 2 ? 64 : 0;
	}
	if (help)
		at++;
	const char *name = at < (size_t)argc ? argv[at] : argv[1];
	const struct command *command = find_command(text_equal(name, "--version") ? "version" : name);
	if (!command) {
		fprintf(stderr, "error: %s is no command; see %s --help\n", name, context.invoked_as);
		return 64;
	}
	if (help) {
		print_command_help(context.invoked_as, command);
		return 0;
	}
	/* What stands before the command stands behind it. */
	_cleanup_free_ char **words = xcalloc((size_t)argc, sizeof(*words));
	size_t count = 0;
	for (size_t i = 1; i < (size_t)argc; i++)
		if (i != at)
			words[count++] = argv[i];
	if (at >= (size_t)argc) /* --version */
		count = 0;
	int status = run(&context, command, (int)count, words);
	options_free(&context.options);
	free(context.outcome);
	screen_free(&context.screen);
	curl_global_cleanup();
	return status;
}
