/* Two writers, one for block style and one for flow, over one model. Style comes from the samples; where there is none,
 * from how kubeadm's documentation writes (block), or from the file's outermost braces (JSON). */
#include "format/config_render.h"
#include <string.h>
#include "format/config_flow.h"
#include "format/config_scalar.h"

#define INDENT_DEFAULT 2

struct renderer {
	const struct encryption_config *config;
	struct secret *out;
	const char *line_end;
	int rc; /* the first failure; nothing is written behind it */
	struct error **err;
};

static void put(struct renderer *r, const void *bytes, size_t len)
{
	if (r->rc == 0)
		r->rc = secret_append(r->out, bytes, len);
}

static void put_text(struct renderer *r, const char *text)
{
	put(r, text, strlen(text));
}

static void put_spaces(struct renderer *r, size_t count)
{
	while (r->rc == 0 && count-- > 0)
		put(r, " ", 1);
}

static const char *text_at(const struct renderer *r, size_t offset)
{
	return secret_text(r->config->text) + offset;
}

/* The blanks at the beginning of the line on which `offset` lies. New string. */
static char *line_indent(const struct encryption_config *config, size_t offset)
{
	const char *line = secret_text(config->text) + config_line_begin(config, offset);
	return xstrndup(line, strspn(line, " \t"));
}

/* JSON without blanks stays so. */
static const char *default_gap(const struct renderer *r)
{
	const struct tree_node *root = yaml_tree_root(r->config->tree);
	return root->flow && root->items[0]->end + 1 == root->items[1]->begin ? "" : " ";
}

/* Quotes as around the file's first field, or its value. */
static enum tree_style default_style(const struct renderer *r, bool field)
{
	const struct tree_node *root = yaml_tree_root(r->config->tree), *node = root->items[0];
	if (!field && root->items[1]->kind == TREE_SCALAR)
		node = root->items[1];
	return node->style;
}

static void put_scalar(struct renderer *r, const struct model *model, bool flow)
{
	enum tree_style style =
		model->sample && model->sample->kind == TREE_SCALAR ? model->sample->style : default_style(r, false);
	if (r->rc == 0)
		r->rc = scalar_write(secret_text(model->text), style, flow, r->out);
}

/* The sample's pair of this field: the index of its key, or `count`. */
static size_t sample_pair(const struct model *mapping, const char *field)
{
	const struct tree_node *sample = mapping->sample;
	size_t i = 0;
	while (i < sample->count && strcmp(tree_text(sample->items[i]), field) != 0)
		i += 2;
	return i;
}

/* The key, its colon, and in `*ret_gap` and `*ret_gap_len` the blanks that the sample has behind it. */
static void put_field(struct renderer *r, const struct model *mapping, const char *field, const char **ret_gap,
		      size_t *ret_gap_len)
{
	const struct tree_node *sample = mapping->sample;
	enum tree_style style = default_style(r, true);
	*ret_gap = default_gap(r);
	*ret_gap_len = strlen(*ret_gap);
	if (sample && sample->count > 0) {
		size_t pair = sample_pair(mapping, field);
		const struct tree_node *key = sample->items[pair < sample->count ? pair : 0];
		const struct tree_node *value = sample->items[pair < sample->count ? pair + 1 : 1];
		const char *colon = text_at(r, key->end);
		style = key->style;
		if (*colon == ':' && value->begin > key->end &&
		    strspn(colon + 1, " \t") == value->begin - key->end - 1) {
			*ret_gap = colon + 1;
			*ret_gap_len = value->begin - key->end - 1;
		}
	}
	if (r->rc == 0)
		r->rc = scalar_write(field, style, true, r->out);
	put_text(r, ":");
}

/* How a flow collection is laid out. */
struct flow_style {
	bool lines;      /* each item on its own line */
	const char *pad; /* behind the opening bracket, on one line */
	size_t pad_len;
	const char *between; /* behind a comma, on one line */
	size_t between_len;
	char *unit; /* what a line inside is indented more by */
};

static bool has_brackets(const struct renderer *r, const struct tree_node *sample)
{
	return sample && sample->flow && sample->count > 0 && strchr("[{", *text_at(r, sample->begin)) != NULL;
}

static char *indent_unit(const struct renderer *r, const struct tree_node *sample)
{
	_cleanup_free_ char *outer = line_indent(r->config, sample->begin),
			    *inner = line_indent(r->config, sample->items[0]->begin);
	size_t len = strlen(outer);
	return strncmp(outer, inner, len) == 0 && inner[len] ? xstrdup(inner + len) : xstrdup("  ");
}

static struct flow_style flow_style(const struct renderer *r, const struct tree_node *sample)
{
	struct flow_style style = {.pad = "", .between = default_gap(r), .between_len = strlen(default_gap(r))};
	if (!has_brackets(r, sample)) {
		style.unit = xstrdup("  ");
		return style;
	}
	const char *open = text_at(r, sample->begin + 1);
	size_t open_len = sample->items[0]->begin - sample->begin - 1, step = sample->kind == TREE_MAPPING ? 2 : 1;
	style.lines = memchr(open, '\n', open_len) != NULL;
	style.unit = indent_unit(r, sample);
	if (strspn(open, " ") >= open_len) {
		style.pad = open;
		style.pad_len = open_len;
	}
	if (sample->count > step) {
		size_t comma = yaml_tree_comma(r->config->tree, sample->items[step - 1]->end),
		       next = sample->items[step]->begin;
		if (comma < next && strspn(text_at(r, comma + 1), " ") >= next - comma - 1) {
			style.between = text_at(r, comma + 1);
			style.between_len = next - comma - 1;
		}
	}
	return style;
}

static void put_flow(struct renderer *r, const struct model *model, const char *indent);

/* An item of a new flow list as a part: rendered, or taken from the file. */
static void make_part(struct renderer *r, const struct model *item, const char *indent, struct flow_part *ret)
{
	if (item->kind == MODEL_TAKEN) {
		struct flow_list list;
		struct text_edits none = {0};
		r->rc = config_flow_list(r->config, item->taken_list, &list, r->err);
		if (r->rc < 0)
			return;
		r->rc = flow_part_take(r->config, &list, item->taken_index, &none, ret, r->err);
		config_flow_list_free(&list);
		return;
	}
	ret->core = secret_new(CONFIG_CHANGED_MAX);
	struct renderer inner = {.config = r->config, .out = ret->core, .line_end = r->line_end, .err = r->err};
	put_flow(&inner, item, indent);
	r->rc = inner.rc;
}

static void put_flow_list(struct renderer *r, const struct model *list, const char *indent)
{
	struct flow_style style = flow_style(r, list->sample);
	struct flow_part *parts = xcalloc(list->count, sizeof(*parts));
	_cleanup_free_ char *inner = xasprintf("%s%s", indent, style.unit);
	_cleanup_free_ char *line = xasprintf("%s%s", r->line_end, inner);
	_cleanup_free_ char *pad = xstrndup(style.pad, style.pad_len),
			    *between = xstrndup(style.between, style.between_len);
	for (size_t i = 0; r->rc == 0 && i < list->count; i++)
		make_part(r, list->items[i].value, style.lines ? inner : indent, &parts[i]);
	struct flow_gaps gaps = {.first = style.lines ? line : pad,
				 .between = style.lines ? line : between,
				 .indent = inner,
				 .line_end = r->line_end,
				 .line_end_follows = style.lines};
	put_text(r, "[");
	if (r->rc == 0)
		r->rc = flow_parts_write(parts, list->count, &gaps, r->out);
	if (style.lines) {
		put_text(r, r->line_end);
		put_text(r, indent);
	} else {
		put_text(r, pad);
	}
	put_text(r, "]");
	for (size_t i = 0; i < list->count; i++)
		flow_part_clear(&parts[i]);
	free(parts);
	free(style.unit);
}

static void put_flow_mapping(struct renderer *r, const struct model *mapping, const char *indent)
{
	struct flow_style style = flow_style(r, mapping->sample);
	_cleanup_free_ char *inner = xasprintf("%s%s", indent, style.unit);
	bool lines = style.lines && mapping->count > 0;
	put_text(r, "{");
	for (size_t i = 0; i < mapping->count; i++) {
		const char *gap;
		size_t gap_len;
		if (i > 0)
			put_text(r, ",");
		if (lines) {
			put_text(r, r->line_end);
			put_text(r, inner);
		} else {
			put(r, i ? style.between : style.pad, i ? style.between_len : style.pad_len);
		}
		put_field(r, mapping, mapping->items[i].field, &gap, &gap_len);
		put(r, gap, gap_len);
		put_flow(r, mapping->items[i].value, lines ? inner : indent);
	}
	if (lines) {
		put_text(r, r->line_end);
		put_text(r, indent);
	} else if (mapping->count > 0) {
		put(r, style.pad, style.pad_len);
	}
	put_text(r, "}");
	free(style.unit);
}

static void put_flow(struct renderer *r, const struct model *model, const char *indent)
{
	if (model->kind == MODEL_SCALAR)
		put_scalar(r, model, true);
	else if (model->kind == MODEL_MAPPING)
		put_flow_mapping(r, model, indent);
	else
		put_flow_list(r, model, indent);
}

static bool wants_flow(const struct model *model)
{
	if (model->kind != MODEL_MAPPING && model->kind != MODEL_LIST)
		return false;
	return model->count == 0 || (model->sample && model->sample->kind != TREE_SCALAR && model->sample->flow);
}

static void put_block(struct renderer *r, const struct model *model, size_t column);

/* The lines of an item of another list, shifted as a whole: YAML does not mind, in block scalars neither. */
static void put_taken_lines(struct renderer *r, const struct model *item, size_t column)
{
	struct text_span span;
	r->rc = config_block_span(r->config, item->taken_list, item->taken_index, &span, r->err);
	if (r->rc < 0)
		return;
	size_t from = config_dash_column(r->config, item->taken_list);
	const char *at = text_at(r, span.begin), *end = text_at(r, span.end);
	while (at < end) {
		const char *next = (const char *)memchr(at, '\n', (size_t)(end - at)) + 1;
		size_t blanks = strspn(at, " ");
		bool empty = at[blanks] == '\n' || at[blanks] == '\r';
		if (!empty && column > from)
			put_spaces(r, column - from);
		if (!empty && column < from)
			at += blanks < from - column ? blanks : from - column;
		put(r, at, (size_t)(next - at));
		at = next;
	}
}

/* "- " and the item. The blanks behind the '-' are the sample's. */
static void put_block_item(struct renderer *r, const struct model *item, const struct tree_node *sample, size_t column)
{
	if (r->rc == 0 && item->kind == MODEL_TAKEN) {
		put_taken_lines(r, item, column);
		return;
	}
	size_t gap = 1;
	if (sample && !sample->flow && sample->count > 0) {
		const char *behind = text_at(r, sample->items[0]->dash + 1);
		size_t blanks = strspn(behind, " ");
		gap = blanks > 0 && !strchr("\r\n#&*!", behind[blanks]) ? blanks : 1;
	}
	put_spaces(r, column);
	put_text(r, "-");
	put_spaces(r, gap);
	put_block(r, item, column + 1 + gap);
}

/* How much deeper than its key a list's '-' or a mapping's first key stands. */
static size_t child_indent(const struct renderer *r, const struct model *mapping, const struct model *child)
{
	const struct tree_node *rule = r->config->rules[0].node, *sample = mapping->sample, *value = child->sample;
	bool list = child->kind == MODEL_LIST;
	if (list && (!sample || !value || value->flow)) {
		/* As the providers of the file's first rule stand to their key. */
		sample = rule;
		value = r->config->rules[0].providers;
	}
	for (size_t i = 0; sample && value && !value->flow && i + 1 < sample->count; i += 2) {
		if (sample->items[i + 1] != value || value->count == 0 || sample->flow)
			continue;
		size_t key = sample->items[i]->column - 1;
		size_t inner = list ? config_dash_column(r->config, value) : value->items[0]->column - 1;
		if (inner > key || (list && inner == key))
			return inner - key;
	}
	return INDENT_DEFAULT;
}

static void put_block_field(struct renderer *r, const struct model *mapping, const struct model_item *field,
			    size_t column)
{
	const struct model *value = field->value;
	const char *gap;
	size_t gap_len;
	put_field(r, mapping, field->field, &gap, &gap_len);
	if (value->kind == MODEL_SCALAR || wants_flow(value)) {
		if (gap_len > 0)
			put(r, gap, gap_len);
		else
			put_text(r, " ");
		put_block(r, value, column);
		return;
	}
	size_t inner = column + child_indent(r, mapping, value);
	put_text(r, r->line_end);
	if (value->kind == MODEL_MAPPING)
		put_spaces(r, inner);
	put_block(r, value, inner);
}

/* The cursor stands at `column`; of a list's first item at the beginning of a line. Ends behind a line end. */
static void put_block(struct renderer *r, const struct model *model, size_t column)
{
	if (model->kind == MODEL_SCALAR) {
		put_scalar(r, model, false);
		put_text(r, r->line_end);
	} else if (wants_flow(model)) {
		_cleanup_free_ char *indent =
			model->sample ? line_indent(r->config, model->sample->begin) : xstrdup("");
		put_flow(r, model, indent);
		put_text(r, r->line_end);
	} else if (model->kind == MODEL_LIST) {
		for (size_t i = 0; i < model->count; i++)
			put_block_item(r, model->items[i].value, model->sample, column);
	} else {
		for (size_t i = 0; i < model->count; i++) {
			if (i > 0)
				put_spaces(r, column);
			put_block_field(r, model, &model->items[i], column);
		}
	}
}

static int finish(struct renderer *r, struct secret **ret)
{
	if (r->rc == 0) {
		*ret = r->out;
		return 0;
	}
	secret_free(r->out);
	if (r->rc == -ERROR_LIMIT)
		return error_set(r->err, ERROR_INPUT, "%s: the changed file would be larger than 2 MiB",
				 r->config->name);
	return r->rc;
}

int config_render_lines(const struct encryption_config *config, const struct tree_node *list, const struct model *item,
			struct secret **ret, struct error **err)
{
	struct renderer r = {.config = config,
			     .out = secret_new(CONFIG_CHANGED_MAX),
			     .line_end = config_line_end(config),
			     .err = err};
	put_block_item(&r, item, list, config_dash_column(config, list));
	return finish(&r, ret);
}

int config_render_flow(const struct encryption_config *config, const struct model *item, const char *indent,
		       struct secret **ret, struct error **err)
{
	struct renderer r = {.config = config,
			     .out = secret_new(CONFIG_CHANGED_MAX),
			     .line_end = config_line_end(config),
			     .err = err};
	put_flow(&r, item, indent);
	return finish(&r, ret);
}
