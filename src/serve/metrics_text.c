#include "serve/metrics_text.h"
#include <inttypes.h>
#include "base/clock.h"
#include "base/error.h"
#include "base/utf8.h"

static void put(struct metrics_text *w, const void *bytes, size_t len)
{
	if (!w->failed && buf_append(&w->out, bytes, len) < 0)
		w->failed = true;
}

static void put_text(struct metrics_text *w, const char *text)
{
	put(w, text, strlen(text));
}

/* Backslashes and line ends, and quotes where the text stands in some. */
static void put_escaped(struct metrics_text *w, const char *text, bool quoted)
{
	const char *end = text + strlen(text);
	uint32_t point;

	while (text < end) {
		size_t len = utf8_next(text, (size_t)(end - text), &point);

		if (len == 0) {
			put_text(w, "\xef\xbf\xbd");
			text++;
			continue;
		}
		if (*text == '\n')
			put_text(w, "\\n");
		else if (*text == '\\' || (quoted && *text == '"'))
			put(w, (char[]){'\\', *text}, 2);
		else
			put(w, text, len);
		text += len;
	}
}

void metrics_family(struct metrics_text *w, const char *name, enum metrics_type type, const char *help)
{
	static const char *const types[] = {
		[METRICS_COUNTER] = "counter", [METRICS_GAUGE] = "gauge", [METRICS_HISTOGRAM] = "histogram"};

	w->family = name;
	put_text(w, "# HELP ");
	put_text(w, name);
	put_text(w, " ");
	put_escaped(w, help, false);
	put_text(w, "\n# TYPE ");
	put_text(w, name);
	put_text(w, " ");
	put_text(w, types[type]);
	put_text(w, "\n");
}

static void put_label(struct metrics_text *w, const char *name, const char *value, bool first)
{
	put_text(w, first ? "{" : ",");
	put_text(w, name);
	put_text(w, "=\"");
	put_escaped(w, value, true);
	put_text(w, "\"");
}

/* `bound`: the label le, which a bucket has; NULL: none. */
static void put_sample(struct metrics_text *w, const char *suffix, const struct metrics_label *labels, size_t count,
		       const char *bound, const char *value)
{
	size_t i;

	put_text(w, w->family);
	put_text(w, suffix);
	for (i = 0; i < count; i++)
		put_label(w, labels[i].name, labels[i].value, i == 0);
	if (bound != NULL)
		put_label(w, "le", bound, count == 0);
	put_text(w, count > 0 || bound != NULL ? "} " : " ");
	put_text(w, value);
	put_text(w, "\n");
}

static char *number_text(uint64_t value)
{
	return xasprintf("%" PRIu64, value);
}

static char *seconds_text(uint64_t ns)
{
	return xasprintf("%" PRIu64 ".%09" PRIu64, ns / NS_PER_S, ns % NS_PER_S);
}

void metrics_u64(struct metrics_text *w, const struct metrics_label *labels, size_t count, uint64_t value)
{
	_cleanup_free_ char *text = number_text(value);

	put_sample(w, "", labels, count, NULL, text);
}

void metrics_seconds(struct metrics_text *w, const struct metrics_label *labels, size_t count, uint64_t ns)
{
	_cleanup_free_ char *text = seconds_text(ns);

	put_sample(w, "", labels, count, NULL, text);
}

void metrics_histogram(struct metrics_text *w, const struct metrics_label *labels, size_t count, const uint64_t *bounds,
		       const uint64_t *buckets, size_t bound_count, uint64_t sum)
{
	_cleanup_free_ char *sum_text = seconds_text(sum);
	uint64_t total = 0;
	size_t i;

	for (i = 0; i <= bound_count; i++) {
		_cleanup_free_ char *bound = i < bound_count ? seconds_text(bounds[i]) : xstrdup("+Inf");
		_cleanup_free_ char *text = number_text(total += buckets[i]);

		put_sample(w, "_bucket", labels, count, bound, text);
	}
	put_sample(w, "_sum", labels, count, NULL, sum_text);
	{
		_cleanup_free_ char *text = number_text(total);

		put_sample(w, "_count", labels, count, NULL, text);
	}
}

const char *metrics_text(const struct metrics_text *w)
{
	return w->failed ? NULL : buf_text(&w->out);
}

void metrics_text_free(struct metrics_text *w)
{
	buf_free(&w->out);
	*w = METRICS_TEXT_INIT;
}
