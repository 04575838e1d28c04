/* What rotate, plan, status and gate share: options turned into a rotation, and progress on the screen. */
#pragma once
#include <stdio.h>
#include "cmd/session.h"
#include "engine/rotation.h"

/* The rotation's options out of the command line; strings stay the command line's. */
struct rotation_options rotating_options(struct command_context *context, const struct session *session);
enum sweep_mode rotating_mode(const struct options *options);
/* Call-backs for the screen; arg is the command_context. */
void rotating_show_sweep(void *arg, const struct sweep_progress *progress);
void rotating_show_census(void *arg, uint64_t done, uint64_t total);
void rotating_show_note(void *arg, const char *text);
/* "0  [aescbc/key1, plaintext]" for each step; `here` is marked. */
void rotating_print_path(FILE *out, const struct path *path, int here);
/* Resources that are encrypted now and will not be, in a sentence; new string, NULL: none. */
char *rotating_plaintext_text(const struct path *path);
/* At the end, however it came to it: rc is what the run returned. */
void rotating_print_report(struct command_context *context, const struct rotation_report *report, int rc);
/* "Go on? [y/N]" to whoever sits there. -ERROR_REFUSED where it is not yes, -ERROR_INTERRUPTED. */
_must_check_ int rotating_ask(struct loop *loop, struct error **err);
