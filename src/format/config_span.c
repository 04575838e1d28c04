#include "format/config_span.h"
#include <string.h>

static char byte_at(const struct encryption_config *config, size_t offset)
{
	return offset < secret_len(config->text) ? secret_text(config->text)[offset] : '\0';
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

size_t config_line_begin(const struct encryption_config *config, size_t offset)
{
	size_t begin =
		secret_len(config->text) >= 3 && memcmp(secret_data(config->text), "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
	while (offset > begin && byte_at(config, offset - 1) != '\n')
		offset--;
	return offset;
}

/* Behind the line's end. */
static size_t next_line(const struct encryption_config *config, size_t offset)
{
	size_t len = secret_len(config->text);
	while (offset < len && byte_at(config, offset) != '\n')
		offset++;
	return offset < len ? offset + 1 : len;
}

static size_t skip_blanks(const struct encryption_config *config, size_t offset)
{
	while (is_blank(byte_at(config, offset)))
		offset++;
	return offset;
}

bool config_span_has(const struct encryption_config *config, struct text_span span, char c)
{
	return memchr(secret_data(config->text) + span.begin, c, span.end - span.begin) != NULL;
}

const char *config_line_end(const struct encryption_config *config)
{
	const char *text = secret_text(config->text), *end = strchr(text, '\n');
	return end && end > text && end[-1] == '\r' ? "\r\n" : "\n";
}

size_t config_dash_column(const struct encryption_config *config, const struct tree_node *list)
{
	size_t dash = list->items[0]->dash;
	return dash - config_line_begin(config, dash);
}

/* The first of the comment lines that stand directly above the line, with '#' in the column of its '-'. */
static size_t comments_above(const struct encryption_config *config, size_t line, size_t column, size_t limit)
{
	while (line > limit) {
		size_t above = config_line_begin(config, line - 1);
		if (above < limit || skip_blanks(config, above) != above + column ||
		    byte_at(config, above + column) != '#')
			break;
		line = above;
	}
	return line;
}

/* Behind the last of the comment lines below that are indented deeper than the '-': they stand inside the item. */
static size_t comments_below(const struct encryption_config *config, size_t end, size_t column)
{
	size_t len = secret_len(config->text);
	for (size_t line = end; line < len; line = next_line(config, line)) {
		size_t first = skip_blanks(config, line);
		char c = byte_at(config, first);
		if (c == '#' && first - line > column)
			end = next_line(config, line);
		else if (c != '\n' && c != '\r')
			break;
	}
	return end;
}

int config_block_span(const struct encryption_config *config, const struct tree_node *list, size_t index,
		      struct text_span *ret, struct error **err)
{
	const struct tree_node *item = list->items[index];
	size_t line = config_line_begin(config, item->dash), column = item->dash - line;
	if (skip_blanks(config, line) != item->dash)
		return config_error(config, item, err, "a '-' behind other text; begin its line with it");
	/* Above the first item is at last the line that names the list, which is no comment. */
	size_t limit = index > 0 ? next_line(config, list->items[index - 1]->end) : 0;
	size_t end = skip_blanks(config, item->end > item->dash ? item->end : item->dash + 1);
	char c = byte_at(config, end);
	if (c != '#' && c != '\n' && c != '\r' && end < secret_len(config->text))
		return config_error(config, item, err, "an item with other text behind it; give that its own line");
	ret->begin = comments_above(config, line, column, limit);
	ret->end = comments_below(config, next_line(config, end), column);
	return 0;
}

/* Behind a comment on the same line, or `offset` when there is none. */
static size_t comment_end(const struct encryption_config *config, size_t offset, size_t limit)
{
	size_t at = skip_blanks(config, offset);
	if (at >= limit || byte_at(config, at) != '#')
		return offset;
	while (at < limit && byte_at(config, at) != '\n' && byte_at(config, at) != '\r')
		at++;
	return at;
}

int config_flow_list(const struct encryption_config *config, const struct tree_node *list, struct flow_list *ret,
		     struct error **err)
{
	size_t close = list->end - 1, at = comment_end(config, list->begin + 1, close);
	struct flow_list found = {
		.items = xcalloc(list->count, sizeof(*found.items)), .count = list->count, .inner.begin = at};
	for (size_t i = 0; i < list->count; i++) {
		const struct tree_node *item = list->items[i];
		size_t limit = i + 1 < list->count ? list->items[i + 1]->begin : close;
		size_t comma = yaml_tree_comma(config->tree, item->end);
		bool has_comma = comma < limit;
		if (item->begin < at || item->end > limit || (!has_comma && i + 1 < list->count)) {
			config_flow_list_free(&found);
			return config_error(config, item, err,
					    "an item that cannot be told apart; write the list in the usual form");
		}
		/* A comment between an item and its comma is the item's. */
		size_t core_end = has_comma && config_span_has(config, (struct text_span){item->end, comma}, '#')
					  ? comma
					  : item->end;
		size_t behind = has_comma ? comma + 1 : item->end;
		found.items[i].before = (struct text_span){at, item->begin};
		found.items[i].core = (struct text_span){item->begin, core_end};
		at = comment_end(config, behind, limit);
		found.items[i].after = (struct text_span){behind, at};
		found.trailing_comma = has_comma;
	}
	found.inner.end = at;
	*ret = found;
	return 0;
}

void config_flow_list_free(struct flow_list *list)
{
	free(list->items);
	*list = (struct flow_list){0};
}
