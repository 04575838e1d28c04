/* The nonce that makes each file's hash new. */
#pragma once
#include <stdbool.h>
#include "base/alloc.h"

struct secret;
struct error;
/* 1 to 64 printable ASCII characters without blanks. */
bool config_nonce_is_valid(const char *nonce);
/* The text with this nonce and no older one. YAML: a comment line, where an older one stood or else first. A text that
 * begins with '{' or '[' is read as JSON by kube-apiserver, so it gets white space at its end: a line of 96 blanks, for
 * each character of the nonce a line of as many blanks as it is behind ' ' in ASCII, and again a line of 96. */
_must_check_ int config_nonce_set(const struct secret *text, const char *nonce, struct secret **ret,
				  struct error **err);
