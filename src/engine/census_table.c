/* A census for people: the answer first, what is wrong under it, and what to do about it. */
#include "engine/census_internal.h"

#include <inttypes.h>

#include "base/utf8.h"

#define TABLE_CAP (1u << 20)
#define ROWS_MAX 16u    /* keys shown of one resource */
#define PATHS_SHOWN 10u /* of those outside the map; -o json has 100 */
#define NARROW 60u      /* below: one fact a line instead of columns */
#define NAME_MAX_COLUMNS 44u

enum tone { TONE_PLAIN, TONE_BOLD, TONE_GOOD, TONE_WARN, TONE_BAD };

struct row {
	char *resource; /* "" where it is the one above */
	char *key, *objects, *size, *note;
	enum tone tone;
};
struct table {
	struct buf out;
	unsigned width;
	bool color;
	struct row *rows;
	size_t row_count;
};

static void table_clear(struct table *table)
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
static void put(struct table *table, const char *text, size_t len)
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

static void put_tone(struct table *table, enum tone tone, const char *text)
{
	static const char *const codes[] = {"", "\033[1m", "\033[32m", "\033[33m", "\033[31m"};
	bool shown = table->color && tone != TONE_PLAIN;
	if (shown)
		put(table, codes[tone], strlen(codes[tone]));
	put(table, text, strlen(text));
	if (shown)
		put(table, "\033[0m", 4);
}

static void pad(struct table *table, size_t have, size_t want)
{
	for (; have < want; have++)
		put(table, " ", 1);
}

static void put_left(struct table *table, enum tone tone, const char *text, size_t want)
{
	put_tone(table, tone, text);
	pad(table, columns(text), want);
}

static void put_right(struct table *table, const char *text, size_t want)
{
	pad(table, columns(text), want);
	put(table, text, strlen(text));
}

/* Words, broken at spaces; what follows the first line is indented. A word longer than the line stays whole: people
 * copy
 * paths and commands. */
static void put_wrapped(struct table *table, enum tone tone, const char *first, const char *text)
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

static void finding(struct table *table, enum tone tone, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void finding(struct table *table, enum tone tone, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	_cleanup_free_ char *text = xvasprintf(fmt, args);
	va_end(args);
	_cleanup_free_ char *clean = text_printable(text, strlen(text), 4096);
	put_wrapped(table, tone, tone == TONE_PLAIN ? "  " : "! ", clean);
}

/* ---- rows ---- */

static void add_row(struct table *table, const char *resource, char *key, uint64_t objects, uint64_t bytes, char *note,
		    enum tone tone)
{
	table->rows = xreallocarray(table->rows, table->row_count + 1, sizeof(*table->rows));
	table->rows[table->row_count++] = (struct row){
		.resource = xstrdup(resource),
		.key = key,
		.objects = text_human_count(objects),
		.size = text_human_bytes(bytes),
		.note = note,
		.tone = tone,
	};
}

static bool same_but_dek(const struct census_key *a, const struct census_key *b)
{
	return a->provider == b->provider && a->kms_version == b->kms_version && strcmp(a->name, b->name) == 0 &&
	       strcmp(a->key_id, b->key_id) == 0;
}

static char *note_of(const struct census *census, const struct census_key *key, size_t dek_sources, bool lumped,
		     enum tone *ret_tone)
{
	_cleanup_free_ char *dek = NULL;
	if (dek_sources > 1 || lumped)
		dek = xasprintf("%s%zu DEK sources", lumped ? "more than " : "",
				lumped ? dek_sources - 1 : dek_sources);
	const char *judgement = "";
	*ret_tone = TONE_PLAIN;
	if (census->shape_known && !key->in_config) {
		judgement = "UNREADABLE";
		*ret_tone = TONE_BAD;
	} else if (census->shape_known && key->write_key) {
		judgement = key->provider == PROVIDER_IDENTITY ? "as configured" : "write key";
		*ret_tone = key->provider == PROVIDER_IDENTITY ? TONE_PLAIN : TONE_GOOD;
	} else if (census->shape_known) {
		judgement = "stale";
		*ret_tone = TONE_WARN;
	}
	return xasprintf("%s%s%s", judgement, dek && judgement[0] ? ", " : "", dek ? dek : "");
}

/* DEK sources of one key ID are one row: their number is what counts. */
static void add_key_rows(struct table *table, const struct census *census, const struct census_resource *resource,
			 const char *name)
{
	size_t shown = 0, more = 0;
	uint64_t more_objects = 0, more_bytes = 0;
	for (size_t i = 0; i < resource->key_count; i++) {
		const struct census_key *key = &resource->keys[i];
		size_t dek_sources = 0;
		uint64_t objects = 0, bytes = 0;
		bool first = true, lumped = false;
		for (size_t other = 0; other < i && first; other++)
			first = !same_but_dek(&resource->keys[other], key);
		for (size_t other = i; first && other < resource->key_count; other++) {
			if (!same_but_dek(&resource->keys[other], key))
				continue;
			objects += resource->keys[other].objects;
			bytes += resource->keys[other].bytes;
			lumped |= resource->keys[other].lumped;
			dek_sources++;
		}
		if (first && shown < ROWS_MAX) {
			enum tone tone;
			char *note = note_of(census, key, dek_sources, lumped, &tone);
			add_row(table, shown == 0 ? name : "", census_key_label(key), objects, bytes, note, tone);
			shown++;
		} else if (first) {
			more++;
			more_objects += objects;
			more_bytes += bytes;
		}
	}
	if (more > 0)
		add_row(table, "", xasprintf("%zu more keys", more), more_objects, more_bytes, xstrdup(""), TONE_WARN);
}

static void add_resource_rows(struct table *table, const struct census *census, const struct census_resource *resource)
{
	const char *name = resource->entry->resource->resource;
	size_t before = table->row_count;
	add_key_rows(table, census, resource, name);
	if (resource->unknown > 0)
		add_row(table, table->row_count == before ? name : "", xstrdup("unknown"), resource->unknown, 0,
			xstrdup("UNKNOWN"), TONE_BAD);
	if (table->row_count == before)
		add_row(table, name, xstrdup("-"), 0, 0,
			xstrdup(resource->entry->proof == MAP_UNPROVED ? "not found" : "no objects"), TONE_PLAIN);
}

static bool only_plaintext(const struct census_resource *resource)
{
	return resource->unknown == 0 && resource->stale == 0 && resource->unreadable == 0 &&
	       (resource->key_count == 0 ||
		(resource->key_count == 1 && resource->keys[0].provider == PROVIDER_IDENTITY));
}

#define RANKS 3u
static unsigned rank_of(const struct census_resource *resource)
{
	const char *name = resource->entry->resource->resource;
	return text_equal(name, "secrets") ? 0 : text_equal(name, "configmaps") ? 1 : 2;
}

static void add_rows(struct table *table, const struct census *census)
{
	uint64_t others = 0, objects = 0, bytes = 0;
	/* In the order of rewriting. */
	for (unsigned rank = 0; rank < RANKS; rank++)
		for (size_t i = 0; i < census->resource_count; i++) {
			if (census->resources[i].chosen && rank_of(&census->resources[i]) == rank)
				add_resource_rows(table, census, &census->resources[i]);
		}
	for (size_t i = 0; i < census->resource_count; i++) {
		const struct census_resource *resource = &census->resources[i];
		if (resource->chosen)
			continue;
		if (!only_plaintext(resource)) {
			add_resource_rows(table, census, resource);
			continue;
		}
		others += resource->objects > 0;
		objects += resource->objects;
		bytes += resource->bytes;
	}
	if (others > 0)
		add_row(table, "all others", xstrdup("plaintext"), objects, bytes,
			xasprintf("%" PRIu64 " resources", others), TONE_PLAIN);
}

/* ---- layouts ---- */

static size_t widest(const struct table *table, size_t member, size_t least, size_t most)
{
	size_t wide = least;
	for (size_t i = 0; i < table->row_count; i++) {
		const char *text = *(char *const *)((const char *)&table->rows[i] + member);
		size_t here = columns(text);
		wide = here > wide ? here : wide;
	}
	return wide < most ? wide : most;
}

static void write_columns(struct table *table)
{
	size_t objects = widest(table, offsetof(struct row, objects), 7, 40),
	       size = widest(table, offsetof(struct row, size), 4, 40);
	size_t note = widest(table, offsetof(struct row, note), 0, 40),
	       names = table->width > objects + size + note + 8 ? table->width - objects - size - note - 8 : 0;
	size_t key = widest(table, offsetof(struct row, key), 3, NAME_MAX_COLUMNS);
	size_t resource = widest(table, offsetof(struct row, resource), 8, NAME_MAX_COLUMNS);
	/* The key names the finding; a resource's name is known from its beginning. */
	if (resource + key > names)
		resource = names > key + 14 ? names - key : 14;
	if (resource + key > names)
		key = names > resource + 16 ? names - resource : 16;
	put_left(table, TONE_BOLD, "RESOURCE", resource + 2);
	put_left(table, TONE_BOLD, "KEY", key + 2);
	pad(table, 7, objects);
	put_tone(table, TONE_BOLD, "OBJECTS");
	pad(table, 4, size + 2);
	put_tone(table, TONE_BOLD, "SIZE");
	put(table, "\n", 1);
	for (size_t i = 0; i < table->row_count; i++) {
		const struct row *row = &table->rows[i];
		_cleanup_free_ char *name = cut(row->resource, resource), *label = cut(row->key, key);
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
}

static void write_stacked(struct table *table)
{
	for (size_t i = 0; i < table->row_count; i++) {
		const struct row *row = &table->rows[i];
		_cleanup_free_ char *name = cut(row->resource, table->width),
				    *label = cut(row->key, table->width > 4 ? table->width - 2 : 2);
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
}

/* ---- findings ---- */

static const char *plural(uint64_t count, const char *one, const char *many)
{
	return count == 1 ? one : many;
}

static void resource_findings(struct table *table, const struct census_resource *resource)
{
	const char *name = resource->entry->resource->resource;
	for (size_t i = 0; i < resource->key_count; i++) {
		const struct census_key *key = &resource->keys[i];
		if (key->in_config)
			continue;
		_cleanup_free_ char *label = census_key_label(key), *count = text_human_count(key->objects);
		finding(table, TONE_BAD,
			"%s: %s %s under %s, which the configuration does not have: no API server with it can read %s, "
			"for example %s",
			name, count, plural(key->objects, "value", "values"), label, plural(key->objects, "it", "them"),
			key->example ? key->example : "");
	}
	_cleanup_free_ char *unknown = text_human_count(resource->unknown),
			    *broken = text_human_count(resource->does_not_open);
	if (resource->unknown > 0)
		finding(table, TONE_BAD, "%s: %s %s truncated or of unknown form, for example %s", name, unknown,
			plural(resource->unknown, "value is", "values are"), resource->unknown_example);
	if (resource->does_not_open > 0)
		finding(table, TONE_BAD, "%s: %s %s not open with the key of that name", name, broken,
			plural(resource->does_not_open, "value does", "values do"));
}

static void outside_findings(struct table *table, const struct census *census)
{
	_cleanup_free_ char *count = text_human_count(census->outside_count),
			    *plain = text_human_count(census->outside_plain);
	_cleanup_free_ char *expected = text_human_count(census->expected_plain);
	if (census->outside_count > 0)
		finding(table, TONE_WARN, "%s %s under no resource that the API server serves:", count,
			plural(census->outside_count, "encrypted value lies", "encrypted values lie"));
	for (size_t i = 0; i < census->outside_named && i < PATHS_SHOWN; i++) {
		const struct census_outside *value = &census->outside[i];
		finding(table, TONE_PLAIN, "%s  %s%s%s", value->path,
			value->unknown ? "unknown form" : provider_name(value->provider), value->name[0] ? "/" : "",
			value->name);
	}
	if (census->outside_count > PATHS_SHOWN)
		finding(table, TONE_PLAIN, "and more (-o json names %d)", CENSUS_OUTSIDE_MAX);
	if (census->outside_plain > 0)
		finding(table, TONE_PLAIN, "%s more %s in plaintext, for example %s", plain,
			plural(census->outside_plain, "value lies outside", "values lie outside"),
			census->outside_plain_example);
	if (census->expected_plain > 0)
		finding(table, TONE_PLAIN, "%s %s the API servers keep for themselves, in plaintext as it must be",
			expected, plural(census->expected_plain, "value that", "values that"));
	for (size_t i = 0; i < census->foreign_key_count; i++) {
		_cleanup_free_ char *label = census_key_label(&census->foreign_keys[i]);
		_cleanup_free_ char *objects = text_human_count(census->foreign_keys[i].objects);
		finding(table, TONE_PLAIN, "under foreign prefixes: %s %s under %s", objects,
			plural(census->foreign_keys[i].objects, "value", "values"), label);
	}
}

static void write_findings(struct table *table, const struct census *census)
{
	_cleanup_free_ char *stale = text_human_count(census->stale);
	if (census->stale > census->unreadable)
		finding(table, TONE_WARN, "%s %s not under the write key of %s resource", stale,
			plural(census->stale, "value is", "values are"), plural(census->stale, "its", "their"));
	for (size_t i = 0; i < census->resource_count; i++)
		resource_findings(table, &census->resources[i]);
	outside_findings(table, census);
	for (size_t i = 0; i < census->notes.count; i++)
		finding(table, TONE_WARN, "%s", census->notes.items[i]);
}

/* What the answer rests on. */
static void write_proof(struct table *table, const struct census *census)
{
	_cleanup_strings_ revisions = {0};
	_cleanup_free_ char *values = text_human_count(census->values), *bytes = text_human_bytes(census->bytes),
			    *took = text_human_duration(census->finished - census->begun);
	for (size_t i = 0; i < census->etcd_count; i++) {
		_cleanup_free_ char *number = text_human_count(census->etcds[i].revision);
		strings_add(&revisions, number);
	}
	_cleanup_free_ char *at = strings_join(&revisions, " and ");
	_cleanup_free_ char *text = xasprintf("%s%s values, %s, read at etcd revision %s in %s%s",
					      census->whole_keyspace ? "The whole keyspace: " : "", values, bytes, at,
					      took, census->complete ? "; proved to be this API server's etcd" : "");
	put_wrapped(table, TONE_PLAIN, "", text);
	if (census->complete)
		return;
	put_wrapped(table, TONE_BAD, "INCOMPLETE: ", census->why ? census->why : "");
}

char *census_table(const struct census *census, unsigned width, bool color)
{
	_cleanup_(table_clear) struct table table = {
		.out = BUF_INIT(TABLE_CAP), .width = width < 20 ? 20 : width, .color = color};
	add_rows(&table, census);
	if (table.width < NARROW)
		write_stacked(&table);
	else
		write_columns(&table);
	put(&table, "\n", 1);
	write_findings(&table, census);
	write_proof(&table, census);
	return buf_steal_text(&table.out);
}
