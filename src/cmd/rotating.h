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
