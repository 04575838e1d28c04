/* What could be the word that is being typed, out of the same tables as parsing and --help. */
#pragma once
#include <stdio.h>
#include "cmd/command.h"

/* Writes a line for each word that could stand in the place of the last of `words` (perhaps ""): the word, a tab, what it is;
 * then ":4", or ":0" where a file's name is looked for, ":16" for a folder's. The format is cobra's __complete, which kubectl reads from
 * kubectl_complete-rekey (k8s.io/kubectl/pkg/cmd/plugin, github.com/spf13/cobra/completions.go). */
void complete(const struct command *commands, size_t count, char *const *words, size_t word_count, FILE *out);
