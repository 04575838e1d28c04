#include "format/text_edit.h"
#include "base/error.h"
#include "base/secret.h"

void text_edits_add(struct text_edits *edits, size_t offset, size_t length, struct secret *content)
{
	size_t at = edits->count;
	edits->items = xreallocarray(edits->items, edits->count + 1, sizeof(*edits->items));
	while (at > 0 && edits->items[at - 1].offset > offset) {
		edits->items[at] = edits->items[at - 1];
		at--;
	}
	edits->items[at] = (struct text_edit){offset, length, content};
	edits->count++;
}

void text_edits_move(struct text_edits *to, struct text_edits *from)
{
	for (size_t i = 0; i < from->count; i++)
		text_edits_add(to, from->items[i].offset, from->items[i].length, from->items[i].content);
	free(from->items);
	*from = (struct text_edits){0};
}

void text_edits_free(struct text_edits *edits)
{
	for (size_t i = 0; i < edits->count; i++)
		secret_free(edits->items[i].content);
	free(edits->items);
	*edits = (struct text_edits){0};
}

int text_edits_apply(const struct secret *text, size_t begin, size_t end, struct text_edits *edits, size_t cap,
		     struct secret **ret, struct error **err)
{
	_cleanup_secret_ out = secret_new(cap);
	const uint8_t *data = secret_data(text);
	size_t at = begin;
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < edits->count; i++) {
		const struct text_edit *edit = &edits->items[i];
		if (edit->offset < at || edit->length > end - edit->offset)
			return error_set(err, ERROR_INPUT,
					 "changes that overlap at byte %zu; write the file in a plainer form",
					 edit->offset);
		rc = secret_append(out, data + at, edit->offset - at);
		if (rc == 0 && edit->content)
			rc = secret_append(out, secret_data(edit->content), secret_len(edit->content));
		at = edit->offset + edit->length;
	}
	if (rc == 0)
		rc = secret_append(out, data + at, end - at);
	if (rc < 0)
		return error_set(err, ERROR_INPUT, "the changed file would be larger than %zu bytes", cap);
	*ret = steal(out);
	return 0;
}
