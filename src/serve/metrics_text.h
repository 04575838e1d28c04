/* Prometheus' text format, version 0.0.4: one family after the other, each with its samples. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"

#define METRICS_TEXT_MAX (16u << 20)

struct metrics_text {
	struct buf out;
	const char *family; /* the one that is open */
	bool failed;        /* the cap was reached */
};
#define METRICS_TEXT_INIT ((struct metrics_text){.out = BUF_INIT(METRICS_TEXT_MAX)})

enum metrics_type { METRICS_COUNTER, METRICS_GAUGE, METRICS_HISTOGRAM };

/* `name` is a literal of ours ([a-z_]), `value` anybody's: it is escaped, and what is no UTF-8 becomes U+FFFD. */
struct metrics_label {
	const char *name, *value;
};

/* Opens a family, also one without samples. `name` is kept until the next. A family is opened once: Prometheus refuses the whole
 * text otherwise. */
void metrics_family(struct metrics_text *w, const char *name, enum metrics_type type, const char *help);
/* A sample of the family that is open. */
void metrics_u64(struct metrics_text *w, const struct metrics_label *labels, size_t count, uint64_t value);
/* Seconds, from ns. */
void metrics_seconds(struct metrics_text *w, const struct metrics_label *labels, size_t count, uint64_t ns);
/* One series of a histogram of times: `buckets[i]` observations were at most `bounds[i]` ns and more than the bound before;
 * buckets[bound_count] counts those above all bounds. `sum` in ns. */
void metrics_histogram(struct metrics_text *w, const struct metrics_label *labels, size_t count, const uint64_t *bounds,
		       const uint64_t *buckets, size_t bound_count, uint64_t sum);
/* The text; NULL when the cap was reached. Owned by the writer, whose `out` may be taken instead. */
const char *metrics_text(const struct metrics_text *w);
void metrics_text_free(struct metrics_text *w);
