/* One annotation of a Pod's manifest: read, and changed in place. Every other byte of the file stays: comments, order and
 * formatting. YAML or JSON, as the kubelet reads them. */
#pragma once
#include "base/alloc.h"

struct error;
struct secret;

#define MANIFEST_MAX (1u << 20)
/* The value of `annotation`, a new string; NULL where the manifest has none. `name` begins the words. -ERROR_INPUT: no YAML,
 * no Pod. */
_must_check_ int manifest_annotation(const char *name, const struct secret *text, const char *annotation, char **ret,
				     struct error **err);
/* The text with it. `annotation` and `value` are printable ASCII without quotes and backslashes. The result is parsed again and
 * must mean the same but for this annotation; where that cannot be had by an edit of the text (anchors and aliases about
 * metadata, a name said twice, line ends that YAML knows and people do not), -ERROR_INPUT says what to write plainer. */
_must_check_ int manifest_annotate(const char *name, const struct secret *text, const char *annotation,
				   const char *value, struct secret **ret, struct error **err);
