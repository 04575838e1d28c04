/* The annotation goes where it is, else first among the others, else into annotations of its own, first in metadata: on the
 * line below the name of the mapping, above whatever comment its first member has. The result is parsed again and compared, so a mistake in here shows as a refusal. Format: core/v1 Pod. */
#include "format/manifest_edit.h"

#include <string.h>

#include "base/error.h"
#include "base/secret.h"
#include "base/text.h"
#include "format/text_edit.h"
#include "format/yaml_tree.h"

struct manifest {
	const char *name;
	const struct secret *text;
	struct yaml_tree *tree;
	const struct tree_node *metadata, *annotations; /* annotations NULL: none */
};

static void manifest_close(struct manifest *manifest)
{
	yaml_tree_free(manifest->tree);
}
#define _cleanup_manifest_ _cleanup_(manifest_close) struct manifest

static int plainer(const struct manifest *m, const char *what, struct error **err)
{
	int rc = error_set(err, ERROR_INPUT, "%s: %s", m->name, what);
	error_set_hint(err, "write its metadata in a plainer form: one mapping, with annotations as another in it");
	return rc;
}

/* --- reading --- */

static bool is_key(const struct tree_node *node, const char *key)
{
	return node->kind == TREE_SCALAR && text_equal(tree_text(node), key);
}

/* How often a mapping has the key; *ret its last value. */
static unsigned find(const struct tree_node *mapping, const char *key, const struct tree_node **ret)
{
	unsigned times = 0;
	for (size_t i = 0; mapping->kind == TREE_MAPPING && i + 1 < mapping->count; i += 2)
		if (is_key(mapping->items[i], key)) {
			*ret = mapping->items[i + 1];
			times++;
		}
	return times;
}

static const struct tree_node *name_of(const struct tree_node *mapping, const struct tree_node *value)
{
	for (size_t i = 0; i + 1 < mapping->count; i += 2)
		if (mapping->items[i + 1] == value)
			return mapping->items[i];
	return mapping;
}

static int open_manifest(struct manifest *m, struct error **err)
{
	const struct tree_node *kind = NULL;
	int rc = yaml_tree_parse(m->name, m->text, &m->tree, err);
	if (rc < 0)
		return rc;
	const struct tree_node *root = yaml_tree_root(m->tree);
	if (find(root, "kind", &kind) != 1 || !is_key(kind, "Pod") || find(root, "metadata", &m->metadata) != 1 ||
	    m->metadata->kind != TREE_MAPPING || m->metadata->count == 0)
		return plainer(m, "no Pod with metadata", err);
	if (find(m->metadata, "annotations", &m->annotations) > 1 ||
	    (m->annotations && m->annotations->kind != TREE_MAPPING))
		return plainer(m, "its metadata.annotations are no mapping", err);
	return 0;
}

int manifest_annotation(const char *name, const struct secret *text, const char *annotation, char **ret,
			struct error **err)
{
	_cleanup_manifest_ m = {.name = name, .text = text};
	const struct tree_node *value = NULL;
	int rc = open_manifest(&m, err);
	if (rc < 0)
		return rc;
	bool said = m.annotations && find(m.annotations, annotation, &value) > 0 && value->kind == TREE_SCALAR;
	*ret = said ? xstrdup(tree_text(value)) : NULL;
	return 0;
}

/* --- may the text be edited? --- */

static bool is_plain(const struct tree_node *node)
{
	return !node->alias && !node->anchored && !node->merge && text_empty(node->tag);
}

static bool is_plain_mapping(const struct tree_node *mapping)
{
	bool plain = is_plain(mapping);
	for (size_t i = 0; i < mapping->count; i += 2)
		plain = plain && is_plain(mapping->items[i]);
	return plain;
}

static bool has_odd_line_ends(const char *text)
{
	bool odd = strstr(text, "\xc2\x85") || strstr(text, "\xe2\x80\xa8") || strstr(text, "\xe2\x80\xa9");
	for (const char *cr = strchr(text, '\r'); cr; cr = strchr(cr + 1, '\r'))
		odd = odd || cr[1] != '\n';
	return odd;
}

static int check_editable(const struct manifest *m, const char *annotation, struct error **err)
{
	const struct tree_node *value = NULL;
	if (has_odd_line_ends(secret_text(m->text)))
		return plainer(m, "lines that end in CR alone, NEL, LS or PS", err);
	if (!is_plain(yaml_tree_root(m->tree)) || !is_plain_mapping(m->metadata) ||
	    (m->annotations && !is_plain_mapping(m->annotations)))
		return plainer(m, "anchors, aliases or tags about its metadata", err);
	unsigned times = m->annotations ? find(m->annotations, annotation, &value) : 0;
	if (times > 1 || (value && (value->kind != TREE_SCALAR || !is_plain(value))))
		return plainer(m, "an annotation of ours that is said twice, or is no text", err);
	return 0;
}

/* --- editing --- */

static struct secret *content_of(char *text)
{
	struct secret *content = secret_from(text, strlen(text));
	free(text);
	return content;
}

static const char *line_end_of(const char *text)
{
	const char *end = strchr(text, '\n');
	return end && end > text && end[-1] == '\r' ? "\r\n" : "\n";
}

/* The blanks before the first key of a block mapping, which begins its line. */
static int indent_of(const struct manifest *m, const struct tree_node *mapping, int *ret, struct error **err)
{
	const char *text = secret_text(m->text);
	size_t at = mapping->items[0]->begin, begin = at;
	while (begin > 0 && text[begin - 1] == ' ')
		begin--;
	if (begin > 0 && text[begin - 1] != '\n')
		return plainer(m, "metadata that begin in the middle of a line", err);
	*ret = (int)(at - begin);
	return 0;
}

/* A first member for `mapping`, whose name is one of `parent`. */
static int add_first(const struct manifest *m, const struct tree_node *parent, const struct tree_node *mapping,
		     const char *annotation, const char *value, struct text_edits *edits, struct error **err)
{
	bool within = mapping == m->metadata;
	int indent = 0;
	if (mapping->flow) {
		const char *more = mapping->count > 0 ? ", " : "";
		char *text = within ? xasprintf("\"annotations\": {\"%s\": \"%s\"}%s", annotation, value, more)
				    : xasprintf("\"%s\": \"%s\"%s", annotation, value, more);
		text_edits_add(edits, mapping->begin + 1, 0, content_of(text));
		return 0;
	}
	int rc = indent_of(m, mapping, &indent, err);
	if (rc < 0)
		return rc;
	const char *all = secret_text(m->text), *end = line_end_of(all);
	const char *line = strchr(all + name_of(parent, mapping)->end, '\n');
	if (!line)
		return plainer(m, "metadata that begin in the middle of a line", err);
	char *text = within ? xasprintf("%*sannotations:%s%*s%s: \"%s\"%s", indent, "", end, indent + 2, "", annotation,
					value, end)
			    : xasprintf("%*s%s: \"%s\"%s", indent, "", annotation, value, end);
	text_edits_add(edits, (size_t)(line + 1 - all), 0, content_of(text));
	return 0;
}

static int plan(const struct manifest *m, const char *annotation, const char *value, struct text_edits *edits,
		struct error **err)
{
	const struct tree_node *present = NULL;
	if (!m->annotations)
		return add_first(m, yaml_tree_root(m->tree), m->metadata, annotation, value, edits, err);
	if (find(m->annotations, annotation, &present) == 0)
		return add_first(m, m->metadata, m->annotations, annotation, value, edits, err);
	if (present->begin == present->end)
		return plainer(m, "an annotation of ours without a value", err);
	text_edits_add(edits, present->begin, present->end - present->begin, content_of(xasprintf("\"%s\"", value)));
	return 0;
}

/* --- comparing what is meant --- */

static bool same(const struct tree_node *a, const struct tree_node *b)
{
	if (a->kind != b->kind || a->count != b->count || !text_equal(a->tag, b->tag))
		return false;
	if (a->kind == TREE_SCALAR)
		return (a->style == TREE_PLAIN) == (b->style == TREE_PLAIN) && text_equal(tree_text(a), tree_text(b));
	for (size_t i = 0; i < a->count; i++)
		if (!same(a->items[i], b->items[i]))
			return false;
	return true;
}

/* The members of both but those named `but`, in their order; `but` may be in one alone. */
static bool same_members(const struct tree_node *a, const struct tree_node *b, const char *but)
{
	size_t i = 0, k = 0;
	for (;;) {
		if (i < a->count && is_key(a->items[i], but))
			i += 2;
		if (k < b->count && is_key(b->items[k], but))
			k += 2;
		if (i >= a->count || k >= b->count)
			return i >= a->count && k >= b->count;
		if (!same(a->items[i], b->items[k]) || !same(a->items[i + 1], b->items[k + 1]))
			return false;
		i += 2;
		k += 2;
	}
}

static int verify(const struct manifest *before, const struct secret *text, const char *annotation, const char *value,
		  struct error **err)
{
	static const struct tree_node none = {.kind = TREE_MAPPING};
	_cleanup_free_ char *name = xasprintf("%s, as changed", before->name);
	_cleanup_manifest_ now = {.name = name, .text = text};
	const struct tree_node *found = NULL;
	int rc = open_manifest(&now, err);
	if (rc < 0)
		return rc;
	const struct tree_node *had = before->annotations ? before->annotations : &none;
	bool good = now.annotations && find(now.annotations, annotation, &found) == 1 &&
		    text_equal(tree_text(found), value) && found->style == TREE_DOUBLE_QUOTED &&
		    same_members(had, now.annotations, annotation) &&
		    same_members(before->metadata, now.metadata, "annotations") &&
		    same_members(yaml_tree_root(before->tree), yaml_tree_root(now.tree), "metadata");
	return good ? 0 : plainer(before, "an edit of this text would not mean the same", err);
}

int manifest_annotate(const char *name, const struct secret *text, const char *annotation, const char *value,
		      struct secret **ret, struct error **err)
{
	_cleanup_manifest_ m = {.name = name, .text = text};
	_cleanup_secret_ edited = NULL;
	struct text_edits edits = {0};
	int rc = open_manifest(&m, err);
	if (rc == 0)
		rc = check_editable(&m, annotation, err);
	if (rc == 0)
		rc = plan(&m, annotation, value, &edits, err);
	if (rc == 0)
		rc = text_edits_apply(text, 0, secret_len(text), &edits, MANIFEST_MAX, &edited, err);
	text_edits_free(&edits);
	if (rc == 0)
		rc = verify(&m, edited, annotation, value, err);
	if (rc == 0)
		*ret = steal(edited);
	return rc;
}
