/* What the files of EncryptionConfiguration share: the parsed file, and how an error names a place in it. */
#pragma once
#include <stddef.h>
#include "base/alloc.h"
#include "base/error.h"
#include "base/secret.h"
#include "format/yaml_tree.h"
#include "kube-rekey/encryption_config.h"

/* Bytes of a file while it changes; the result has to be within ENCRYPTION_CONFIG_MAX again. */
#define CONFIG_CHANGED_MAX ((size_t)2 * ENCRYPTION_CONFIG_MAX)

/* Where a key of the shape stands, and its bytes; beside config_rule.keys, same index. */
struct config_place {
	size_t provider;              /* index of its item in `providers:` */
	const struct tree_node *node; /* the item of `keys:`; of identity and kms the item of `providers:` */
	const struct tree_node *name; /* what messages point at */
	struct secret *bytes;         /* NULL for identity and kms */
};

/* One item of `resources:`; beside config_shape.rules, same index. */
struct config_rule_place {
	const struct tree_node *node;
	const struct tree_node *resources; /* the inner list */
	const struct tree_node *providers;
	struct config_place *keys;
};

struct encryption_config {
	char *name;
	bool names_only; /* a key may lack its bytes */
	struct secret *text;
	struct yaml_tree *tree;
	const struct tree_node *rules_node;
	struct config_rule_place *rules;
	struct config_shape *shape;
};

/* "name:line:column: ..." and -ERROR_INPUT. Never hand it text of the file: a key may stand where a name should. */
#define config_error(config, at, err, fmt, ...) \
	error_set(err, ERROR_INPUT, "%s:%zu:%zu: " fmt, (config)->name, (at)->line, (at)->column, ##__VA_ARGS__)
/* A mapping's value of a field, NULL when it has none; merge keys resolved. The mapping was checked by the parser. */
const struct tree_node *config_field(const struct tree_node *mapping, const char *name);
/* What kube-apiserver checks beyond the fields, and what is stricter here; config_check.c. */
_must_check_ int config_check(const struct encryption_config *config, struct error **err);
/* As config_key_equal, and the timeout too: what an edit has to reach. */
bool config_key_same(const struct config_key *a, const struct config_key *b);
bool config_shape_same(const struct config_shape *a, const struct config_shape *b);
