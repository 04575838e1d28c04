#include "format/yaml_tree.h"
#include <stdint.h>
#include <string.h>
#include <yaml.h>
#include "base/error.h"
#include "base/secret.h"

#define ANCHORS_MAX 256

struct offsets {
	size_t *items;
	size_t count, size;
};

struct anchor {
	char *name;
	struct tree_node *node; /* the latest of this name */
};

struct yaml_tree {
	struct tree_node *root;
	struct tree_node **nodes; /* all of them, for freeing */
	size_t node_count;
	size_t weight; /* node_count, and each alias as many again as it stands for */
	struct offsets commas;
	struct anchor *anchors;
	size_t anchor_count;
};

/* What parsing needs beside the tree. */
struct builder {
	struct yaml_tree *tree;
	const char *name;
	const struct secret *text;
	struct offsets bytes;      /* the byte offset of each character; empty while every character is one byte */
	size_t base;               /* 3 behind a byte order mark, which libyaml does not count */
	struct tree_node **dashed; /* the items of all block sequences, in the order of the text */
	size_t dashed_count;
	struct tree_node *open[YAML_TREE_DEPTH_MAX];
	size_t depth;
};

static void offsets_add(struct offsets *list, size_t offset)
{
	if (list->count == list->size) {
		list->size = list->size ? list->size * 2 : 64;
		list->items = xreallocarray(list->items, list->size, sizeof(*list->items));
	}
	list->items[list->count++] = offset;
}

static int fail_at(const struct builder *b, const yaml_mark_t *mark, struct error **err, const char *what)
{
	return error_set(err, ERROR_INPUT, "%s:%zu:%zu: %s", b->name, mark->line + 1, mark->column + 1, what);
}

/* libyaml's words are fixed texts about the grammar: they never quote the document. */
static int fail_parser(const struct builder *b, const yaml_parser_t *parser, struct error **err)
{
	const char *problem = parser->problem ? parser->problem : "unreadable";
	if (parser->error == YAML_READER_ERROR)
		return error_set(err, ERROR_INPUT, "%s:1:1: not UTF-8 text (%s at byte %zu); save the file as UTF-8",
				 b->name, problem, parser->problem_offset);
	return error_set(err, ERROR_INPUT, "%s:%zu:%zu: not YAML: %s; correct the syntax here or just above", b->name,
			 parser->problem_mark.line + 1, parser->problem_mark.column + 1, problem);
}

static void map_characters(struct builder *b)
{
	const uint8_t *data = secret_data(b->text);
	size_t len = secret_len(b->text);
	bool ascii = true;
	b->base = len >= 3 && memcmp(data, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
	for (size_t i = b->base; i < len; i++)
		ascii &= data[i] < 0x80;
	if (ascii)
		return;
	for (size_t i = b->base; i < len; i++) {
		if ((data[i] & 0xc0) != 0x80)
			offsets_add(&b->bytes, i);
	}
}

static size_t byte_at(const struct builder *b, const yaml_mark_t *mark)
{
	if (b->bytes.count == 0)
		return b->base + mark->index;
	return mark->index < b->bytes.count ? b->bytes.items[mark->index] : secret_len(b->text);
}

static void open_parser(const struct builder *b, yaml_parser_t *parser)
{
	if (!yaml_parser_initialize(parser))
		abort(); /* no memory */
	yaml_parser_set_input_string(parser, secret_data(b->text), secret_len(b->text));
}

/* Events do not say where '-' and ',' stand; tokens do, in the order in which the items came. */
static int take_token(struct builder *b, const yaml_token_t *token, size_t *dash, struct error **err)
{
	if (token->type == YAML_FLOW_ENTRY_TOKEN)
		offsets_add(&b->tree->commas, byte_at(b, &token->start_mark));
	if (token->type != YAML_BLOCK_ENTRY_TOKEN)
		return 0;
	if (*dash == b->dashed_count)
		return fail_at(b, &token->start_mark, err, "a '-' without an item; write the list in the usual form");
	b->dashed[(*dash)++]->dash = byte_at(b, &token->start_mark);
	return 0;
}

static int read_punctuation(struct builder *b, struct error **err)
{
	yaml_parser_t parser;
	yaml_token_t token;
	yaml_token_type_t type = YAML_NO_TOKEN;
	size_t dash = 0;
	int rc = 0;
	open_parser(b, &parser);
	while (rc == 0 && type != YAML_STREAM_END_TOKEN) {
		if (!yaml_parser_scan(&parser, &token)) {
			rc = fail_parser(b, &parser, err);
			break;
		}
		type = token.type;
		rc = take_token(b, &token, &dash, err);
		yaml_token_delete(&token);
	}
	yaml_parser_delete(&parser);
	if (rc == 0 && dash != b->dashed_count)
		rc = error_set(err, ERROR_INPUT,
			       "%s:1:1: a list item without its '-'; write the lists in the usual form", b->name);
	return rc;
}

/* The capacity is the next power of two, so it need not be kept. */
static void list_append(struct tree_node ***items, size_t *count, struct tree_node *node)
{
	if ((*count & (*count - 1)) == 0)
		*items = xreallocarray(*items, *count ? *count * 2 : 1, sizeof(void *));
	(*items)[(*count)++] = node;
}

static struct tree_node *node_new(struct builder *b, const yaml_event_t *event, enum tree_kind kind)
{
	struct yaml_tree *tree = b->tree;
	struct tree_node *node = xcalloc(1, sizeof(*node));
	list_append(&tree->nodes, &tree->node_count, node);
	node->kind = kind;
	node->tag = "";
	node->begin = byte_at(b, &event->start_mark);
	node->end = byte_at(b, &event->end_mark);
	node->line = event->start_mark.line + 1;
	node->column = event->start_mark.column + 1;
	node->dash = TREE_NOWHERE;
	return node;
}

/* The tags that mean what the node is anyway are kept apart from those that would change it. */
static const char *tag_name(const yaml_char_t *tag)
{
	static const char *const ours[] = {"!!str", "!!map", "!!seq"};
	if (!tag)
		return "";
	for (size_t i = 0; i < ELEMENTS(ours); i++) {
		if (strncmp((const char *)tag, "tag:yaml.org,2002:", 18) == 0 &&
		    strcmp((const char *)tag + 18, ours[i] + 2) == 0)
			return ours[i];
	}
	return "!";
}

static int set_anchor(struct builder *b, const yaml_event_t *event, const yaml_char_t *name, struct tree_node *node,
		      struct error **err)
{
	struct yaml_tree *tree = b->tree;
	if (!name)
		return 0;
	node->anchored = true;
	for (size_t i = 0; i < tree->anchor_count; i++) {
		if (strcmp(tree->anchors[i].name, (const char *)name) == 0) {
			tree->anchors[i].node = node;
			return 0;
		}
	}
	if (tree->anchor_count == ANCHORS_MAX)
		return fail_at(b, &event->start_mark, err, "more than 256 anchors; write the values out");
	tree->anchors = xreallocarray(tree->anchors, tree->anchor_count + 1, sizeof(*tree->anchors));
	tree->anchors[tree->anchor_count++] = (struct anchor){xstrdup((const char *)name), node};
	return 0;
}

static int place(struct builder *b, const yaml_event_t *event, struct tree_node *node, struct error **err)
{
	b->tree->weight++;
	if (b->tree->weight > YAML_TREE_NODES_MAX)
		return fail_at(b, &event->start_mark, err, "more than 20000 nodes; make the file smaller");
	if (b->depth == 0) {
		b->tree->root = node;
		return 0;
	}
	struct tree_node *parent = b->open[b->depth - 1];
	if (parent->kind == TREE_SEQUENCE && !parent->flow)
		list_append(&b->dashed, &b->dashed_count, node);
	list_append(&parent->items, &parent->count, node);
	return 0;
}

/* The last byte that is no white space: libyaml ends a block scalar behind the blank lines that follow it. */
static size_t trim_end(const struct builder *b, size_t begin, size_t end)
{
	const uint8_t *data = secret_data(b->text);
	while (end > begin &&
	       (data[end - 1] == ' ' || data[end - 1] == '\n' || data[end - 1] == '\r' || data[end - 1] == '\t'))
		end--;
	return end;
}

static int add_scalar(struct builder *b, const yaml_event_t *event, struct error **err)
{
	struct tree_node *node = node_new(b, event, TREE_SCALAR);
	node->text = secret_from(event->data.scalar.value, event->data.scalar.length);
	if (strlen(secret_text(node->text)) != secret_len(node->text))
		return fail_at(b, &event->start_mark, err, "a NUL character in a text; remove it");
	node->tag = tag_name(event->data.scalar.tag);
	int rc = set_anchor(b, event, event->data.scalar.anchor, node, err);
	if (rc < 0)
		return rc;
	switch (event->data.scalar.style) {
	case YAML_SINGLE_QUOTED_SCALAR_STYLE:
		node->style = TREE_SINGLE_QUOTED;
		break;
	case YAML_DOUBLE_QUOTED_SCALAR_STYLE:
		node->style = TREE_DOUBLE_QUOTED;
		break;
	case YAML_LITERAL_SCALAR_STYLE:
	case YAML_FOLDED_SCALAR_STYLE:
		node->style = TREE_BLOCK_SCALAR;
		node->end = trim_end(b, node->begin, node->end);
		break;
	case YAML_ANY_SCALAR_STYLE:
	case YAML_PLAIN_SCALAR_STYLE:
		node->style = TREE_PLAIN;
		node->merge = strcmp(tree_text(node), "<<") == 0;
		break;
	}
	return place(b, event, node, err);
}

static int open_collection(struct builder *b, const yaml_event_t *event, struct error **err)
{
	bool mapping = event->type == YAML_MAPPING_START_EVENT;
	struct tree_node *node = node_new(b, event, mapping ? TREE_MAPPING : TREE_SEQUENCE);
	if (mapping) {
		node->flow = event->data.mapping_start.style == YAML_FLOW_MAPPING_STYLE;
		node->tag = tag_name(event->data.mapping_start.tag);
	} else {
		node->flow = event->data.sequence_start.style == YAML_FLOW_SEQUENCE_STYLE;
		node->tag = tag_name(event->data.sequence_start.tag);
	}
	const yaml_char_t *anchor = mapping ? event->data.mapping_start.anchor : event->data.sequence_start.anchor;
	node->end = 0; /* open: an alias to it would be a loop */
	int rc = set_anchor(b, event, anchor, node, err);
	if (rc == 0)
		rc = place(b, event, node, err);
	if (rc < 0)
		return rc;
	if (b->depth == YAML_TREE_DEPTH_MAX)
		return fail_at(b, &event->start_mark, err,
			       "nested more than 32 deep; an EncryptionConfiguration needs 9");
	b->open[b->depth++] = node;
	return 0;
}

/* A block collection ends with its last child: the parser's own mark lies behind the comments that follow. */
static void close_collection(struct builder *b, const yaml_event_t *event)
{
	if (b->depth == 0)
		abort(); /* the parser's events are balanced */
	struct tree_node *node = b->open[--b->depth];
	if (node->flow)
		node->end = byte_at(b, &event->end_mark);
	/* The pair of `[identity: {}]` is a mapping without braces. */
	bool braces = node->flow && node->end > node->begin && strchr("]}", secret_text(b->text)[node->end - 1]);
	if (!braces && node->count > 0)
		node->end = node->items[node->count - 1]->end;
	if (node->end <= node->begin)
		node->end = node->begin + 1;
}

static size_t weigh(const struct tree_node *node)
{
	size_t weight = 1;
	for (size_t i = 0; i < node->count && weight <= YAML_TREE_NODES_MAX; i++)
		weight += weigh(node->items[i]);
	return weight;
}

static int add_alias(struct builder *b, const yaml_event_t *event, struct error **err)
{
	const struct tree_node *target = NULL;
	for (size_t i = 0; i < b->tree->anchor_count; i++) {
		if (strcmp(b->tree->anchors[i].name, (const char *)event->data.alias.anchor) == 0)
			target = b->tree->anchors[i].node;
	}
	if (!target)
		return fail_at(b, &event->start_mark, err, "an alias without an anchor above it; write the value out");
	if (target->kind != TREE_SCALAR && target->end == 0)
		return fail_at(b, &event->start_mark, err, "an alias inside its own anchor; write the value out");
	struct tree_node *node = node_new(b, event, target->kind);
	node->alias = true;
	node->style = target->style;
	node->flow = target->flow;
	node->tag = target->tag;
	node->merge = target->merge;
	node->text = target->text ? secret_from(secret_data(target->text), secret_len(target->text)) : NULL;
	b->tree->weight += weigh(target);
	if (b->tree->weight > YAML_TREE_NODES_MAX)
		return fail_at(b, &event->start_mark, err,
			       "aliases stand for more than 20000 nodes; write the values out");
	for (size_t i = 0; i < target->count; i++)
		list_append(&node->items, &node->count, target->items[i]);
	return place(b, event, node, err);
}

/* One event; *ret_done after the last one. `---` with nothing behind it ends many files: an empty second document is
 * not read by anybody, one with a content would be silently ignored by kube-apiserver. */
static int take_event(struct builder *b, const yaml_event_t *event, bool *ret_done, struct error **err)
{
	bool second = b->tree->root && b->depth == 0;
	bool empty = event->type == YAML_SCALAR_EVENT && event->data.scalar.length == 0;
	switch (event->type) {
	case YAML_ALIAS_EVENT:
		return second ? fail_at(b, &event->start_mark, err, "a second document") : add_alias(b, event, err);
	case YAML_SCALAR_EVENT:
		if (second && empty)
			return 0;
		/* fall through */
	case YAML_SEQUENCE_START_EVENT:
	case YAML_MAPPING_START_EVENT:
		if (second)
			return fail_at(b, &event->start_mark, err,
				       "a second document, which kube-apiserver would not read; keep one");
		return event->type == YAML_SCALAR_EVENT ? add_scalar(b, event, err) : open_collection(b, event, err);
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		close_collection(b, event);
		return 0;
	case YAML_STREAM_END_EVENT:
		*ret_done = true;
		return 0;
	case YAML_NO_EVENT:
	case YAML_STREAM_START_EVENT:
	case YAML_DOCUMENT_START_EVENT:
	case YAML_DOCUMENT_END_EVENT:
		return 0;
	}
	return 0;
}

static int read_events(struct builder *b, struct error **err)
{
	yaml_parser_t parser;
	yaml_event_t event;
	bool done = false;
	int rc = 0;
	open_parser(b, &parser);
	while (rc == 0 && !done) {
		if (!yaml_parser_parse(&parser, &event)) {
			rc = fail_parser(b, &parser, err);
			break;
		}
		rc = take_event(b, &event, &done, err);
		yaml_event_delete(&event);
	}
	yaml_parser_delete(&parser);
	if (rc == 0 && !b->tree->root)
		rc = error_set(err, ERROR_INPUT, "%s:1:1: empty; an EncryptionConfiguration is needed", b->name);
	return rc;
}

int yaml_tree_parse(const char *name, const struct secret *text, struct yaml_tree **ret, struct error **err)
{
	struct builder b = {.tree = xcalloc(1, sizeof(*b.tree)), .name = name, .text = text};
	const uint8_t *data = secret_data(text);
	int rc;
	if (secret_len(text) >= 2 && (memcmp(data, "\xff\xfe", 2) == 0 || memcmp(data, "\xfe\xff", 2) == 0)) {
		rc = error_set(err, ERROR_INPUT, "%s:1:1: UTF-16 text; save the file as UTF-8", name);
	} else {
		map_characters(&b);
		rc = read_events(&b, err); /* first: it caps depth and size */
		if (rc == 0)
			rc = read_punctuation(&b, err);
	}
	free(b.bytes.items);
	free(b.dashed);
	if (rc < 0)
		yaml_tree_free(b.tree);
	else
		*ret = b.tree;
	return rc;
}

const struct tree_node *yaml_tree_root(const struct yaml_tree *tree)
{
	return tree->root;
}

size_t yaml_tree_comma(const struct yaml_tree *tree, size_t from)
{
	size_t low = 0, high = tree->commas.count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (tree->commas.items[middle] < from)
			low = middle + 1;
		else
			high = middle;
	}
	return low < tree->commas.count ? tree->commas.items[low] : TREE_NOWHERE;
}

void yaml_tree_free(struct yaml_tree *tree)
{
	if (!tree)
		return;
	for (size_t i = 0; i < tree->node_count; i++) {
		secret_free(tree->nodes[i]->text);
		free(tree->nodes[i]->items);
		free(tree->nodes[i]);
	}
	for (size_t i = 0; i < tree->anchor_count; i++)
		free(tree->anchors[i].name);
	free(tree->anchors);
	free(tree->nodes);
	free(tree->commas.items);
	free(tree);
}

const char *tree_text(const struct tree_node *scalar)
{
	return scalar->text ? secret_text(scalar->text) : "";
}

/* Go's strconv.ParseInt with base 0 and its reader's own pattern for floats, on `text` without '_'. */
static bool is_number(const char *text)
{
	static const char decimal[] = "0123456789";
	const char *at = text + (*text == '+' || *text == '-');
	if (at[0] == '0' && strchr("xXoObB", at[1]) && at[1]) {
		const char *digits = at[1] == 'x' || at[1] == 'X'   ? "0123456789abcdefABCDEF"
				     : at[1] == 'b' || at[1] == 'B' ? "01"
								    : "01234567";
		size_t count = strspn(at + 2, digits);
		return count > 0 && at[2 + count] == '\0';
	}
	size_t whole = strspn(at, decimal);
	at += whole;
	size_t fraction = 0;
	if (*at == '.') {
		fraction = strspn(at + 1, decimal);
		at += 1 + fraction;
	}
	if (whole + fraction == 0)
		return false;
	if (*at == 'e' || *at == 'E') {
		at += 1 + (at[1] == '+' || at[1] == '-');
		size_t digits = strspn(at, decimal);
		if (digits == 0)
			return false;
		at += digits;
	}
	return *at == '\0';
}

bool yaml_plain_is_string(const char *text)
{
	static const char *const words[] = {
		"",     "~",     "null",  "Null",  "NULL",  "y",     "Y",     "yes",   "Yes",   "YES",
		"true", "True",  "TRUE",  "on",    "On",    "ON",    "n",     "N",     "no",    "No",
		"NO",   "false", "False", "FALSE", "off",   "Off",   "OFF",   ".nan",  ".NaN",  ".NAN",
		".inf", ".Inf",  ".INF",  "+.inf", "+.Inf", "+.INF", "-.inf", "-.Inf", "-.INF", "<<",
	};
	for (size_t i = 0; i < ELEMENTS(words); i++) {
		if (strcmp(text, words[i]) == 0)
			return false;
	}
	if (!strchr("+-.0123456789", text[0]))
		return true;
	/* A number has at most a sign, digits, '.', an exponent: what is longer is a string, so that the copy stays small. */
	char digits[64];
	size_t count = 0;
	for (const char *at = text; *at; at++) {
		if (*at == '_')
			continue;
		if (count == sizeof(digits) - 1)
			break;
		digits[count++] = *at;
	}
	digits[count] = '\0';
	bool number = is_number(digits);
	secret_wipe(digits, sizeof(digits));
	return !number;
}

bool tree_is_null(const struct tree_node *node)
{
	if (node->kind != TREE_SCALAR || node->style != TREE_PLAIN || node->tag[0])
		return false;
	const char *text = tree_text(node);
	return strcmp(text, "") == 0 || strcmp(text, "~") == 0 || strcasecmp(text, "null") == 0;
}
