/* A YAML (or JSON) document as a tree in which every node knows its place in the text by BYTE offsets: libyaml's own
 * marks count characters, which differ as soon as a comment holds an umlaut. Reads only; edits are made on the text.
 *
 * Comments are not nodes: whoever edits finds them between the nodes. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include "base/alloc.h"

struct error;
struct secret;

#define YAML_TREE_DEPTH_MAX 32     /* an EncryptionConfiguration needs 9 */
#define YAML_TREE_NODES_MAX 20000u /* with every alias counted as what it stands for: no "billion laughs" */

enum tree_kind { TREE_SCALAR, TREE_SEQUENCE, TREE_MAPPING };
enum tree_style { TREE_PLAIN, TREE_SINGLE_QUOTED, TREE_DOUBLE_QUOTED, TREE_BLOCK_SCALAR };

struct tree_node {
	enum tree_kind kind;
	enum tree_style style; /* of a scalar */
	bool flow;             /* a collection in {} or [] */
	bool anchored;         /* `&name` stands before it */
	bool alias;            /* this is `*name`: begin and end are the alias's own, the contents are the target's */
	bool merge;            /* plain `<<` */
	const char *tag;       /* "" without one; a tag of YAML's own as "!!str" */
	size_t begin, end; /* bytes; end is behind the last byte of the content, never behind blank lines or comments */
	size_t line, column;      /* from 1, as editors count */
	size_t dash;              /* the '-' of an item of a block sequence; TREE_NOWHERE for every other node */
	struct secret *text;      /* of a scalar, unquoted; owned by the tree */
	struct tree_node **items; /* of a sequence its items; of a mapping key, value, key, value */
	size_t count;
};
#define TREE_NOWHERE ((size_t)-1)

struct yaml_tree;
/* `name` begins the error messages. -ERROR_INPUT: not UTF-8, not YAML, several documents (kube-apiserver would read only
 * the first), too deep, too many nodes. The tree refers to nothing of `text`. */
_must_check_ int yaml_tree_parse(const char *name, const struct secret *text, struct yaml_tree **ret,
				 struct error **err);
const struct tree_node *yaml_tree_root(const struct yaml_tree *tree);
/* The offset of the first ',' between items of flow collections at or behind `from`; TREE_NOWHERE when there is none. */
size_t yaml_tree_comma(const struct yaml_tree *tree, size_t from);
void yaml_tree_free(struct yaml_tree *tree); /* NULL is fine; wipes */

const char *tree_text(const struct tree_node *scalar); /* valid as long as the tree */
/* Whether a plain scalar of this text is a string for kube-apiserver's reader (YAML 1.1 with Go's numbers), and not a
 * number, a boolean or null. */
bool yaml_plain_is_string(const char *text);
/* Whether the node is null: an empty plain scalar, `~`, `null`. */
bool tree_is_null(const struct tree_node *node);
