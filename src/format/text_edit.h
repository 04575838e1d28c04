/* Edits of a text: spans replaced by other contents. Whoever plans them sees one unchanging text; applying them is dull. */
#pragma once
#include <stddef.h>
#include "base/alloc.h"

struct secret;
struct error;

struct text_edit {
	size_t offset, length;  /* of the text that goes */
	struct secret *content; /* what comes; NULL for nothing */
};

struct text_edits {
	struct text_edit *items;
	size_t count;
};

/* Takes the content. At one offset, what was added first comes first. */
void text_edits_add(struct text_edits *edits, size_t offset, size_t length, struct secret *content);
void text_edits_move(struct text_edits *to, struct text_edits *from); /* appends all; `from` is empty afterwards */
void text_edits_free(struct text_edits *edits);                       /* wipes; leaves an empty list */
/* The part [begin, end) of the text with the edits, all of which lie in it, applied. -ERROR_INPUT when two overlap or
 * the result would pass `cap` bytes. */
_must_check_ int text_edits_apply(const struct secret *text, size_t begin, size_t end, struct text_edits *edits,
				  size_t cap, struct secret **ret, struct error **err);
