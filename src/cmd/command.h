/* One subcommand: a row of the table in main.c and one function in its own file. */
#pragma once
#include "cmd/options.h"
#include "cmd/screen.h"

struct command;
struct command_context {
	const struct command *commands; /* all of them, for those that tell of themselves */
	size_t command_count;
	struct options options;
	struct screen screen;
	char *const *environment;
	/* out of the environment; main is who reads it */
	const char *kubeconfig_env, *home, *service_host, *service_port;
	const char *invoked_as; /* "kube-rekey" or "kubectl rekey": for hints */
	int signal;             /* that stopped the command; 0 */
	char *outcome;          /* what the command came to, for people: owned; NULL */
	bool printed_document;  /* with -o json: a document went out, an error needs none of its own */
};
struct command {
	const char *name, *arguments, *summary;
	const char *changes; /* what it changes and what never: for --help */
	unsigned groups;
	int (*run)(struct command_context *context, struct error **err);
};
int cmd_check(struct command_context *context, struct error **err);
int cmd_census(struct command_context *context, struct error **err);
int cmd_needs(struct command_context *context, struct error **err);
int cmd_reencrypt(struct command_context *context, struct error **err);
int cmd_rotate(struct command_context *context, struct error **err);
int cmd_plan(struct command_context *context, struct error **err);
int cmd_status(struct command_context *context, struct error **err);
int cmd_gate(struct command_context *context, struct error **err);
int cmd_forget(struct command_context *context, struct error **err);
int cmd_report(struct command_context *context, struct error **err);
int cmd_replay(struct command_context *context, struct error **err);
int cmd_dashboard(struct command_context *context, struct error **err);
int cmd_agent(struct command_context *context, struct error **err);
int cmd_controller(struct command_context *context, struct error **err);
int cmd_pause(struct command_context *context, struct error **err);
int cmd_resume(struct command_context *context, struct error **err);
int cmd_abort(struct command_context *context, struct error **err);
int cmd_manual(struct command_context *context, struct error **err);
int cmd_version(struct command_context *context, struct error **err);
