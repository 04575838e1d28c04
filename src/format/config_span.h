/* What text belongs to an item of a list, comments included. The rules are told in config_edit.c. */
#pragma once
#include "format/config_internal.h"

struct text_span {
	size_t begin, end;
};

/* A block item: whole lines, from the first comment line that belongs to it to the end of its last line, line end
 * included: the editor sees to it that the last line has one. -ERROR_INPUT when other things stand on its lines. */
_must_check_ int config_block_span(const struct encryption_config *config, const struct tree_node *list, size_t index,
				   struct text_span *ret, struct error **err);

/* A flow item: what stands before it (white space and comments), itself, and a comment behind it on its last line. */
struct flow_span {
	struct text_span before, core, after;
};

/* A flow list: '[' head, items with commas between, tail ']'. */
struct flow_list {
	struct flow_span *items;
	size_t count;
	struct text_span inner; /* from behind the head to the tail */
	bool trailing_comma;
};
_must_check_ int config_flow_list(const struct encryption_config *config, const struct tree_node *list,
				  struct flow_list *ret, struct error **err);
void config_flow_list_free(struct flow_list *list);

size_t config_line_begin(const struct encryption_config *config, size_t offset);
bool config_span_has(const struct encryption_config *config, struct text_span span, char c);
/* Whether a span of white space and comments holds a comment. */
#define config_span_has_comment(config, span) config_span_has(config, span, '#')
const char *config_line_end(const struct encryption_config *config); /* "\r\n" or "\n", as the first line has it */
/* The column, from 0, of the '-' of a block list's items. */
size_t config_dash_column(const struct encryption_config *config, const struct tree_node *list);
