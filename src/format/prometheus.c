#include "format/prometheus.h"

#include <math.h>

#include "base/buf.h"
#include "base/text.h"

#define INDEX_FIRST 256u /* slots; a power of two */

/* One line is parsed where it stands: names and label values are cut out of it by NULs, so nothing is copied before it is
 * known that the series is kept. */
struct line {
	char *at, *end; /* *end is NUL */
	struct prometheus_sample sample;
	struct prometheus_label labels[PROMETHEUS_LABELS_MAX];
};

struct kept {
	struct prometheus_sample sample;
	struct prometheus_label *block; /* what the sample points to: labels, then all texts */
};

struct prometheus_reader {
	const char *const *names;
	struct buf partial; /* the line in hand, as far as it has arrived */
	uint64_t line_number;
	int failed;
	struct kept *kept;
	size_t count, size, bytes;
	uint32_t *index; /* open addressing over `kept`: 0 is free, else position + 1 */
	size_t index_size;
	bool contradictory;
	struct line line;
};

struct prometheus_reader *prometheus_reader_new(const char *const *names)
{
	struct prometheus_reader *reader = xcalloc(1, sizeof(*reader));
	reader->names = names;
	reader->line_number = 1;
	reader->partial = BUF_INIT(PROMETHEUS_LINE_MAX);
	return reader;
}

void prometheus_reader_free(struct prometheus_reader *reader)
{
	if (!reader)
		return;
	for (size_t i = 0; i < reader->count; i++)
		free(reader->kept[i].block);
	free(reader->kept);
	free(reader->index);
	buf_free(&reader->partial);
	free(reader);
}

void prometheus_reader_freep(struct prometheus_reader **reader)
{
	prometheus_reader_free(*reader);
}

const char *prometheus_label(const struct prometheus_sample *sample, const char *name)
{
	for (size_t i = 0; i < sample->label_count; i++)
		if (strcmp(sample->labels[i].name, name) == 0)
			return sample->labels[i].value;
	return NULL;
}

/* ---- the kept series ---- */

static uint64_t hash_text(uint64_t hash, const char *text)
{
	for (; *text; text++)
		hash = (hash ^ (uint8_t)*text) * UINT64_C(0x100000001b3); /* FNV-1a */
	return hash;
}

/* The order of labels does not matter to what a series is: their hashes are added up. */
static uint64_t hash_series(const struct prometheus_sample *sample)
{
	const uint64_t basis = UINT64_C(0xcbf29ce484222325);
	uint64_t hash = hash_text(basis, sample->name);
	for (size_t i = 0; i < sample->label_count; i++)
		hash += hash_text(hash_text(basis, sample->labels[i].name) * 31, sample->labels[i].value);
	return hash ^ hash >> 32;
}

static bool same_series(const struct prometheus_sample *a, const struct prometheus_sample *b)
{
	if (a->label_count != b->label_count || strcmp(a->name, b->name) != 0)
		return false;
	for (size_t i = 0; i < a->label_count; i++)
		if (!text_equal(prometheus_label(b, a->labels[i].name), a->labels[i].value))
			return false;
	return true;
}

/* The slot that the series is in, or the free one where it belongs. */
static uint32_t *find_slot(const struct prometheus_reader *reader, const struct prometheus_sample *sample)
{
	size_t mask = reader->index_size - 1;
	for (size_t at = hash_series(sample) & mask;; at = (at + 1) & mask) {
		uint32_t *slot = &reader->index[at];
		if (*slot == 0 || same_series(&reader->kept[*slot - 1].sample, sample))
			return slot;
	}
}

static void grow(struct prometheus_reader *reader)
{
	if (reader->count < reader->size)
		return;
	reader->size = reader->size ? reader->size * 2 : INDEX_FIRST / 2;
	reader->kept = xreallocarray(reader->kept, reader->size, sizeof(*reader->kept));
	free(reader->index);
	reader->index_size = reader->size * 2;
	reader->index = xcalloc(reader->index_size, sizeof(*reader->index));
	for (size_t i = 0; i < reader->count; i++)
		*find_slot(reader, &reader->kept[i].sample) = (uint32_t)i + 1;
}

static const char *put_text(char **to, const char *text)
{
	size_t size = strlen(text) + 1;
	char *at = memcpy(*to, text, size);
	*to += size;
	return at;
}

static size_t block_size(const struct prometheus_sample *sample)
{
	size_t size = strlen(sample->name) + 1;
	for (size_t i = 0; i < sample->label_count; i++)
		size += sizeof(struct prometheus_label) + strlen(sample->labels[i].name) +
			strlen(sample->labels[i].value) + 2;
	return size;
}

static struct kept copy_sample(const struct prometheus_sample *sample, size_t size)
{
	struct prometheus_label *labels = xmalloc(size);
	char *texts = (char *)(labels + sample->label_count);
	for (size_t i = 0; i < sample->label_count; i++) {
		labels[i].name = put_text(&texts, sample->labels[i].name);
		labels[i].value = put_text(&texts, sample->labels[i].value);
	}
	const char *name = put_text(&texts, sample->name);
	return (struct kept){{name, labels, sample->label_count, sample->value}, labels};
}

static bool same_value(double a, double b)
{
	return a == b || (isnan(a) && isnan(b));
}

static int keep(struct prometheus_reader *reader, const struct prometheus_sample *sample)
{
	grow(reader);
	uint32_t *slot = find_slot(reader, sample);
	if (*slot != 0) {
		reader->contradictory |= !same_value(reader->kept[*slot - 1].sample.value, sample->value);
		return 0;
	}
	size_t size = block_size(sample);
	if (reader->count == PROMETHEUS_SAMPLES_MAX || size > PROMETHEUS_BYTES_MAX - reader->bytes)
		return -ERROR_LIMIT;
	reader->bytes += size;
	reader->kept[reader->count++] = copy_sample(sample, size);
	*slot = (uint32_t)reader->count;
	return 0;
}

static bool wanted(const struct prometheus_reader *reader, const char *name)
{
	for (const char *const *at = reader->names; *at; at++)
		if (strcmp(*at, name) == 0)
			return true;
	return false;
}

/* ---- one line ---- */

static const char too_many_labels[] = "too many labels";

static void skip_blanks(struct line *line)
{
	while (*line->at == ' ' || *line->at == '\t')
		line->at++;
}

static bool is_name_byte(char c, bool first, bool metric)
{
	bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
	return letter || (metric && c == ':') || (!first && c >= '0' && c <= '9');
}

/* The end of a name (of a metric: with colons), or NULL when none begins here. */
static char *name_end(char *at, bool metric)
{
	char *begin = at;
	while (is_name_byte(*at, at == begin, metric))
		at++;
	return at == begin ? NULL : at;
}

/* Takes the escapes out of a label value that begins behind a '"', in place, and cuts it off. False for an escape that the
 * format does not have, and where the closing '"' is missing. */
static bool read_label_value(struct line *line)
{
	char *to = line->at, *from = line->at;
	for (; *from != '"'; from++) {
		if (from == line->end || *from == '\0')
			return false;
		if (*from != '\\') {
			*to++ = *from;
			continue;
		}
		from++;
		if (*from != '\\' && *from != '"' && *from != 'n')
			return false;
		*to++ = *from == 'n' ? '\n' : *from;
	}
	*to = '\0';
	line->at = from + 1;
	return true;
}

static const char *read_label(struct line *line)
{
	struct prometheus_label *label = &line->labels[line->sample.label_count];
	label->name = line->at;
	char *end = name_end(line->at, false);
	if (!end)
		return "a label's name is missing";
	line->at = end;
	skip_blanks(line);
	if (*line->at != '=')
		return "'=' is missing after a label's name";
	*end = '\0';
	line->at++;
	skip_blanks(line);
	if (*line->at++ != '"')
		return "a label's value is not quoted";
	label->value = line->at;
	if (!read_label_value(line))
		return "a label's value does not end or has an unknown escape";
	if (prometheus_label(&line->sample, label->name))
		return "a label is there twice";
	line->sample.label_count++;
	return NULL;
}

/* {name="value",...} with an optional comma at the end. */
static const char *read_labels(struct line *line)
{
	if (*line->at != '{')
		return NULL;
	line->at++;
	skip_blanks(line);
	while (*line->at != '}') {
		if (line->sample.label_count == PROMETHEUS_LABELS_MAX)
			return too_many_labels;
		const char *wrong = read_label(line);
		if (wrong)
			return wrong;
		skip_blanks(line);
		if (*line->at == ',')
			line->at++;
		else if (*line->at != '}')
			return "',' or '}' is missing after a label";
		skip_blanks(line);
	}
	line->at++;
	return NULL;
}

/* Cuts off the word that begins here. */
static char *read_word(struct line *line)
{
	char *word = line->at;
	while (*line->at && *line->at != ' ' && *line->at != '\t')
		line->at++;
	if (line->at < line->end)
		*line->at++ = '\0';
	return word;
}

/* Decimal with an optional exponent; strtod alone would take hexadecimal too. */
static bool looks_decimal(const char *word)
{
	return *word != '\0' && word[strspn(word, "0123456789+-.eE")] == '\0';
}

static bool read_special(const char *word, double *ret)
{
	static const struct {
		const char *text;
		double value;
	} specials[] = {
		{"NaN", NAN},
		{"+Inf", INFINITY},
		{"-Inf", -INFINITY},
		{"Inf", INFINITY},
	};
	for (size_t i = 0; i < ELEMENTS(specials); i++)
		if (strcmp(specials[i].text, word) == 0) {
			*ret = specials[i].value;
			return true;
		}
	return false;
}

static const char *read_value(struct line *line)
{
	char *word = read_word(line), *end;
	if (read_special(word, &line->sample.value))
		return NULL;
	if (!looks_decimal(word))
		return "the value is not a number";
	line->sample.value = strtod(word, &end);
	if (*end != '\0' || isinf(line->sample.value))
		return "the value is not a number";
	return NULL;
}

/* Milliseconds since 1970; only its form matters to us. */
static const char *read_timestamp(struct line *line)
{
	uint64_t ignored;
	skip_blanks(line);
	if (line->at == line->end)
		return NULL;
	const char *word = read_word(line);
	if (text_to_u64(word + (*word == '-'), &ignored) < 0)
		return "the timestamp is not a number";
	skip_blanks(line);
	return line->at == line->end ? NULL : "something stands behind the timestamp";
}

/* NULL, or what is wrong with the line. Leaves sample.name NULL on a line without one. */
static const char *read_line(struct line *line)
{
	line->sample = (struct prometheus_sample){.labels = line->labels};
	skip_blanks(line);
	if (line->at == line->end || *line->at == '#')
		return NULL;
	char *name = line->at, *end = name_end(line->at, true);
	if (!end)
		return "a metric's name is missing";
	line->at = end;
	skip_blanks(line);
	bool blank = line->at > end;
	const char *wrong = NULL;
	if (*line->at == '{')
		wrong = read_labels(line);
	else if (!blank)
		wrong = "a blank or '{' is missing after the metric's name";
	if (wrong)
		return wrong;
	*end = '\0';
	skip_blanks(line);
	wrong = read_value(line);
	if (!wrong)
		wrong = read_timestamp(line);
	line->sample.name = name;
	return wrong;
}

/* `text` is NUL-terminated at len and may be written to. */
static int take_line(struct prometheus_reader *reader, char *text, size_t len, struct error **err)
{
	struct line *line = &reader->line;
	line->at = text;
	line->end = text + len;
	const char *wrong = memchr(text, '\0', len) ? "it has a NUL" : read_line(line);
	if (wrong)
		return error_set(err, wrong == too_many_labels ? ERROR_LIMIT : ERROR_PROTOCOL,
				 "line %llu of the metrics: %s", (unsigned long long)reader->line_number, wrong);
	if (!line->sample.name || !wanted(reader, line->sample.name))
		return 0;
	if (keep(reader, &line->sample) < 0)
		return error_set(err, ERROR_LIMIT, "line %llu of the metrics: more than %u series or %u bytes to keep",
				 (unsigned long long)reader->line_number, PROMETHEUS_SAMPLES_MAX, PROMETHEUS_BYTES_MAX);
	return 0;
}

static int take_partial(struct prometheus_reader *reader, const char *bytes, size_t len, struct error **err)
{
	if (buf_append(&reader->partial, bytes, len) < 0)
		return error_set(err, ERROR_LIMIT, "line %llu of the metrics: longer than %u bytes",
				 (unsigned long long)reader->line_number, PROMETHEUS_LINE_MAX);
	return 0;
}

/* Each line goes through `partial`: one short copy, and a place where it can be cut up. */
static int feed(struct prometheus_reader *reader, const char *bytes, size_t len, struct error **err)
{
	while (len > 0) {
		const char *newline = memchr(bytes, '\n', len);
		size_t piece = newline ? (size_t)(newline - bytes) : len;
		int rc = take_partial(reader, bytes, piece, err);
		if (rc < 0 || !newline)
			return rc;
		if (reader->partial.len > 0)
			rc = take_line(reader, (char *)reader->partial.data, reader->partial.len, err);
		if (rc < 0)
			return rc;
		buf_reset(&reader->partial);
		reader->line_number++;
		bytes += piece + 1;
		len -= piece + 1;
	}
	return 0;
}

int prometheus_feed(struct prometheus_reader *reader, const char *bytes, size_t len, struct error **err)
{
	if (reader->failed == 0)
		reader->failed = feed(reader, bytes, len, err);
	return reader->failed;
}

int prometheus_finish(struct prometheus_reader *reader, struct error **err)
{
	if (reader->failed == 0 && reader->partial.len > 0)
		reader->failed = error_set(err, ERROR_PROTOCOL, "line %llu of the metrics is cut off",
					   (unsigned long long)reader->line_number);
	return reader->failed;
}

size_t prometheus_count(const struct prometheus_reader *reader)
{
	return reader->count;
}

const struct prometheus_sample *prometheus_at(const struct prometheus_reader *reader, size_t index)
{
	return &reader->kept[index].sample;
}

bool prometheus_contradictory(const struct prometheus_reader *reader)
{
	return reader->contradictory;
}
