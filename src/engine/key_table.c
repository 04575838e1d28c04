#include "engine/key_table.h"

#include <string.h>

#include "base/text.h"
#include "base/utf8.h"
#include "engine/census_internal.h"

#define NARROW 60u /* below: one fact a line instead of columns */
#define WIDTH_MIN 20u
#define RESOURCE_LEAST 14u
#define NAME_MAX_COLUMNS 44u
#define KEY_LEAST 16u     /* columns of a key, however narrow the screen */
#define STACKED_MARGIN 5u /* "  KEY is" */

struct key_table key_table_begin(unsigned width, bool color)
{
	return (struct key_table){
		.out = BUF_INIT(KEY_TABLE_MAX), .width = width < WIDTH_MIN ? WIDTH_MIN : width, .color = color};
}

void key_table_clear(struct key_table *table)
{
	for (size_t i = 0; i < table->row_count; i++) {
		free(table->rows[i].resource);
		free(table->rows[i].key);
		free(table->rows[i].objects);
		free(table->rows[i].size);
		free(table->rows[i].note);
	}
	free(table->rows);
	buf_free(&table->out);
}

/* ---- text ---- */

/* The table has its cap; what is beyond it is cut off, all numbers being in the first lines. */
static void put(struct key_table *table, const char *text, size_t len)
{
	if (buf_append(&table->out, text, len) < 0)
		return;
}

static size_t columns(const char *text)
{
	size_t count = 0;
	while (*text) {
		uint32_t point;
		size_t len = utf8_next(text, strlen(text), &point);
		text += len > 0 ? len : 1;
		count++;
	}
	return count;
}

/* At most so many columns, the cut shown by "…". New string. */
static char *cut(const char *text, size_t max)
{
	if (columns(text) <= max)
		return xstrdup(text);
	const char *at = text;
	for (size_t i = 0; i + 1 < max; i++) {
		uint32_t point;
		size_t len = utf8_next(at, strlen(at), &point);
		at += len > 0 ? len : 1;
	}
	return xasprintf("%.*s…", (int)(at - text), text);
}

/* The same, but what is in the middle goes: of a key ID the end tells it from others (arn:aws:kms:...:key/...). New string. */
static char *cut_middle(const char *text, size_t max)
{
	size_t all = columns(text), tail = max / 2, at = 0;
	if (all <= max)
		return xstrdup(text);
	_cleanup_free_ char *head = cut(text, max - tail);
	const char *end = text;
	while (at++ < all - tail) {
		uint32_t point;
		size_t len = utf8_next(end, strlen(end), &point);
		end += len > 0 ? len : 1;
	}
	return xasprintf("%s%s", head, end);
}

static void put_tone(struct key_table *table, enum tone tone, const char *text)
{
	static const char *const codes[] = {"", "\033[1m", "\033[32m", "\033[33m", "\033[31m"};
	bool shown = table->color && tone != TONE_PLAIN;
	if (shown)
		put(table, codes[tone], strlen(codes[tone]));
	put(table, text, strlen(text));
	if (shown)
		put(table, "\033[0m", 4);
}

static void pad(struct key_table *table, size_t have, size_t want)
{
	for (; have < want; have++)
		put(table, " ", 1);
}

static void put_left(struct key_table *table, enum tone tone, const char *text, size_t want)
{
	put_tone(table, tone, text);
	pad(table, columns(text), want);
}

static void put_right(struct key_table *table, const char *text, size_t want)
{
	pad(table, columns(text), want);
	put(table, text, strlen(text));
}

void key_table_wrapped(struct key_table *table, enum tone tone, const char *first, const char *text)
{
	size_t indent = columns(first), at = indent;
	bool fresh = true;
	put_tone(table, tone, first);
	while (*text) {
		size_t len = strcspn(text, " ");
		_cleanup_free_ char *word = xstrndup(text, len);
		size_t wide = columns(word);
		if (!fresh && at + 1 + wide > table->width) {
			put(table, "\n", 1);
			pad(table, 0, indent);
			at = indent;
			fresh = true;
		}
		if (!fresh)
			put(table, " ", 1);
		put(table, word, len);
		at += wide + !fresh;
		fresh = false;
		text += len + strspn(text + len, " ");
	}
	put(table, "\n", 1);
}

void key_table_finding(struct key_table *table, enum tone tone, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	_cleanup_free_ char *text = xvasprintf(fmt, args);
	va_end(args);
	_cleanup_free_ char *clean = text_printable(text, strlen(text), 4096);
	key_table_wrapped(table, tone, tone == TONE_PLAIN ? "  " : "! ", clean);
}

/* ---- rows ---- */

void key_table_row(struct key_table *table, const char *resource, char *key, uint64_t objects, uint64_t bytes,
		   char *note, enum tone tone)
{
	table->rows = xreallocarray(table->rows, table->row_count + 1, sizeof(*table->rows));
	table->rows[table->row_count++] = (struct key_row){
		.resource = xstrdup(resource),
		.key = key,
		.objects = text_human_count(objects),
		.size = text_human_bytes(bytes),
		.note = note,
		.tone = tone,
	};
}

char *key_table_dek_note(const struct census_key_sum *sum)
{
	if (sum->dek_sources <= 1 && !sum->lumped)
		return xstrdup("");
	return sum->lumped ? xasprintf("more than %zu DEK sources", sum->dek_sources - 1)
			   : xasprintf("%zu DEK sources", sum->dek_sources);
}

const char *key_table_plural(uint64_t count, const char *one, const char *many)
{
	return count == 1 ? one : many;
}

/* ---- layouts ---- */

static size_t widest(const struct key_table *table, size_t member, size_t least, size_t most)
{
	size_t wide = least;
	for (size_t i = 0; i < table->row_count; i++) {
		const char *text = *(char *const *)((const char *)&table->rows[i] + member);
		size_t here = columns(text);
		wide = here > wide ? here : wide;
	}
	return wide < most ? wide : most;
}

/* ---- keys that do not fit ---- */

/* The first row of this key. */
static size_t first_row(const struct key_table *table, size_t row)
{
	size_t i = 0;
	while (strcmp(table->rows[i].key, table->rows[row].key) != 0)
		i++;
	return i;
}

/* At most `max` columns; of two keys that are cut to the same words the second has " (2)" behind it. New string. */
static char *key_label(const struct key_table *table, size_t row, size_t max)
{
	const char *key = table->rows[row].key;
	char *label = cut_middle(key, max);
	size_t before = 0, alike = 0, mine = first_row(table, row);
	for (size_t i = 0; columns(key) > max && i < table->row_count; i++) {
		_cleanup_free_ char *other = cut_middle(table->rows[i].key, max);
		if (i == mine || first_row(table, i) != i || strcmp(other, label) != 0)
			continue;
		alike++;
		before += i < mine;
	}
	if (alike == 0)
		return label;
	free(label);
	_cleanup_free_ char *shorter = cut_middle(key, max - 4);
	return xasprintf("%s (%zu)", shorter, before + 1);
}

/* Each of them whole, to be copied. */
static void write_cut_keys(struct key_table *table, size_t max)
{
	bool any = false;
	for (size_t i = 0; i < table->row_count; i++) {
		if (columns(table->rows[i].key) <= max || first_row(table, i) != i)
			continue;
		_cleanup_free_ char *label = key_label(table, i, max);
		_cleanup_free_ char *line = xasprintf("%s  %s is\n", any ? "" : "\n", label);
		put(table, line, strlen(line));
		any = true;
		key_table_wrapped(table, TONE_PLAIN, "    ", table->rows[i].key);
	}
}

static void write_columns(struct key_table *table, const char *title)
{
	size_t objects = widest(table, offsetof(struct key_row, objects), 7, 40),
	       size = widest(table, offsetof(struct key_row, size), 4, 40);
	size_t note = widest(table, offsetof(struct key_row, note), 0, 40),
	       names = table->width > objects + size + note + 8 ? table->width - objects - size - note - 8 : 0;
	size_t key = widest(table, offsetof(struct key_row, key), 3, SIZE_MAX);
	size_t resource = widest(table, offsetof(struct key_row, resource), columns(title), NAME_MAX_COLUMNS);
	/* The key names the finding; a resource's name is known from its beginning. */
	size_t least = resource < RESOURCE_LEAST ? resource : RESOURCE_LEAST;
	if (resource + key > names)
		resource = names > key + least ? names - key : least;
	if (resource + key > names)
		key = names > resource + KEY_LEAST ? names - resource : KEY_LEAST;
	put_left(table, TONE_BOLD, title, resource + 2);
	put_left(table, TONE_BOLD, "KEY", key + 2);
	pad(table, 7, objects);
	put_tone(table, TONE_BOLD, "OBJECTS");
	pad(table, 4, size + 2);
	put_tone(table, TONE_BOLD, "SIZE");
	put(table, "\n", 1);
	for (size_t i = 0; i < table->row_count; i++) {
		const struct key_row *row = &table->rows[i];
		_cleanup_free_ char *name = cut(row->resource, resource), *label = key_label(table, i, key);
		put_left(table, TONE_PLAIN, name, resource + 2);
		put_left(table, TONE_PLAIN, label, key + 2);
		put_right(table, row->objects, objects);
		put_right(table, row->size, size + 2);
		if (row->note[0]) {
			put(table, "  ", 2);
			put_tone(table, row->tone, row->note);
		}
		put(table, "\n", 1);
	}
	write_cut_keys(table, key);
}

static void write_stacked(struct key_table *table)
{
	for (size_t i = 0; i < table->row_count; i++) {
		const struct key_row *row = &table->rows[i];
		_cleanup_free_ char *name = cut(row->resource, table->width),
				    *label = key_label(table, i, table->width - STACKED_MARGIN);
		if (row->resource[0]) {
			put_tone(table, TONE_BOLD, name);
			put(table, "\n", 1);
		}
		put(table, "  ", 2);
		put(table, label, strlen(label));
		put(table, "\n    ", 5);
		put(table, row->objects, strlen(row->objects));
		put(table, ", ", 2);
		put(table, row->size, strlen(row->size));
		if (row->note[0]) {
			put(table, ", ", 2);
			put_tone(table, row->tone, row->note);
		}
		put(table, "\n", 1);
	}
	write_cut_keys(table, table->width - STACKED_MARGIN);
}

void key_table_write_rows(struct key_table *table, const char *resource)
{
	if (table->width < NARROW)
		write_stacked(table);
	else
		write_columns(table, resource);
	put(table, "\n", 1);
}
