/* Flow lists put together from parts: what an edit of `[...]` comes to. */
#pragma once
#include "format/config_span.h"
#include "format/text_edit.h"

/* One item: rendered, or taken from the text. */
struct flow_part {
	struct secret
		*before; /* comments and the white space around them; NULL where the place decides on white space */
	struct secret *core;
	struct secret *after; /* a comment behind its comma; NULL for none */
};
void flow_part_clear(struct flow_part *part); /* wipes and frees the contents */
/* The item of a list, with `nested` edits inside it. */
_must_check_ int flow_part_take(const struct encryption_config *config, const struct flow_list *list, size_t index,
				struct text_edits *nested, struct flow_part *ret, struct error **err);

struct flow_gaps {
	const char *first;   /* white space before the first part */
	const char *between; /* and before the others */
	const char *indent;  /* of a line that a comment makes necessary */
	const char *line_end;
	bool trailing_comma;
	bool line_end_follows; /* the text behind the parts begins with one */
};
/* The parts with commas between them, appended to `out`. -ERROR_LIMIT at its cap. */
_must_check_ int flow_parts_write(const struct flow_part *parts, size_t count, const struct flow_gaps *gaps,
				  struct secret *out);
