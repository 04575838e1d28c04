#include "format/config_flow.h"
#include <string.h>

void flow_part_clear(struct flow_part *part)
{
	secret_free(part->before);
	secret_free(part->core);
	secret_free(part->after);
	*part = (struct flow_part){0};
}

static struct secret *copy_span(const struct encryption_config *config, struct text_span span)
{
	return secret_from(secret_data(config->text) + span.begin, span.end - span.begin);
}

int flow_part_take(const struct encryption_config *config, const struct flow_list *list, size_t index,
		   struct text_edits *nested, struct flow_part *ret, struct error **err)
{
	const struct flow_span *span = &list->items[index];
	struct secret *core = NULL;
	int rc = text_edits_apply(config->text, span->core.begin, span->core.end, nested, CONFIG_CHANGED_MAX, &core,
				  err);
	if (rc < 0)
		return rc;
	ret->core = core;
	ret->before = config_span_has_comment(config, span->before) ? copy_span(config, span->before) : NULL;
	ret->after = span->after.end > span->after.begin ? copy_span(config, span->after) : NULL;
	return 0;
}

/* A comment needs a line end behind it, wherever its item moved. */
static int write_line_break(const struct flow_gaps *gaps, struct secret *out)
{
	int rc = secret_append_text(out, gaps->line_end);
	return rc < 0 ? rc : secret_append_text(out, gaps->indent);
}

static int write_before(const struct flow_part *part, const struct flow_gaps *gaps, const char *blanks,
			bool after_comment, struct secret *out)
{
	bool breaks = part->before ? secret_text(part->before)[0] == '\n' || secret_text(part->before)[0] == '\r'
				   : strchr(blanks, '\n') != NULL;
	int rc = after_comment && !breaks ? write_line_break(gaps, out) : 0;
	if (rc == 0 && part->before)
		return secret_append(out, secret_data(part->before), secret_len(part->before));
	return rc < 0 || (after_comment && !breaks) ? rc : secret_append_text(out, blanks);
}

int flow_parts_write(const struct flow_part *parts, size_t count, const struct flow_gaps *gaps, struct secret *out)
{
	bool after_comment = false;
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < count; i++) {
		rc = write_before(&parts[i], gaps, i == 0 ? gaps->first : gaps->between, after_comment, out);
		if (rc == 0)
			rc = secret_append(out, secret_data(parts[i].core), secret_len(parts[i].core));
		if (rc == 0 && (i + 1 < count || gaps->trailing_comma))
			rc = secret_append_text(out, ",");
		after_comment = parts[i].after != NULL;
		if (rc == 0 && after_comment)
			rc = secret_append(out, secret_data(parts[i].after), secret_len(parts[i].after));
	}
	if (rc == 0 && after_comment && !gaps->line_end_follows)
		rc = write_line_break(gaps, out);
	return rc;
}
