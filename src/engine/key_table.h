/* Tables of keys for people: rows of what is under a key, in columns or, where the screen is narrow, one fact a line; and
 * sentences under them. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"

enum tone { TONE_PLAIN, TONE_BOLD, TONE_GOOD, TONE_WARN, TONE_BAD };

struct key_row {
	char *resource; /* "" where it is the one above */
	char *key, *objects, *size, *note;
	enum tone tone; /* of the note */
};
struct key_table {
	struct buf
		out; /* lines end with \n; what is beyond KEY_TABLE_MAX is cut off, all numbers being in the first lines */
	unsigned width;
	bool color;
	struct key_row *rows;
	size_t row_count;
};
#define KEY_TABLE_MAX (1u << 20)
#define KEY_TABLE_ROWS_MAX 16u /* keys shown of one resource */

struct key_table key_table_begin(unsigned width, bool color);
void key_table_clear(struct key_table *table);
/* Takes `key` and `note`. */
void key_table_row(struct key_table *table, const char *resource, char *key, uint64_t objects, uint64_t bytes,
		   char *note, enum tone tone);
/* Lays the rows out, and an empty line; `resource` is the first column's title. */
void key_table_write_rows(struct key_table *table, const char *resource);
/* Words, broken at spaces; what follows the first line is indented as `first` is long. A word longer than the line stays
 * whole: people copy paths and commands. */
void key_table_wrapped(struct key_table *table, enum tone tone, const char *first, const char *text);
/* A sentence with "! " before it, or two blanks for a plain one; made printable. */
void key_table_finding(struct key_table *table, enum tone tone, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
const char *key_table_plural(uint64_t count, const char *one, const char *many);
/* "3 DEK sources", "more than 64 DEK sources"; "" for one. New string. */
struct census_key_sum;
char *key_table_dek_note(const struct census_key_sum *sum);
