/* Prometheus text exposition (version 0.0.4), pushed in any pieces, keeping only the series that were asked for.
 * The same series twice with different values is reported (`contradictory`). */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/alloc.h"
#include "base/error.h"

#define PROMETHEUS_LINE_MAX (16u << 10)
#define PROMETHEUS_LABELS_MAX 32u
#define PROMETHEUS_SAMPLES_MAX 20000u    /* kept ones */
#define PROMETHEUS_BYTES_MAX (16u << 20) /* of memory for the kept ones */

struct prometheus_label {
	const char *name, *value;
};
struct prometheus_sample {
	const char *name;
	const struct prometheus_label *labels;
	size_t label_count;
	double value;
};
const char *prometheus_label(const struct prometheus_sample *sample, const char *name); /* NULL when absent */

struct prometheus_reader;
/* `names` (NULL-terminated, must outlive the reader) are the metric names to keep. Lines of other metrics are checked and
 * dropped. A series that comes twice with one value is kept once. */
struct prometheus_reader *prometheus_reader_new(const char *const *names);
/* NULL is fine. */
void prometheus_reader_free(struct prometheus_reader *reader);
void prometheus_reader_freep(struct prometheus_reader **reader);
/* -ERROR_PROTOCOL with the line number for text that is no exposition, -ERROR_LIMIT past a cap. After an
 * error every later call hands the same code back (with a text only the first time). */
_must_check_ int prometheus_feed(struct prometheus_reader *reader, const char *bytes, size_t len, struct error **err);
/* The text ended: -ERROR_PROTOCOL when that was in the middle of a line, whose number may be cut. */
_must_check_ int prometheus_finish(struct prometheus_reader *reader, struct error **err);
size_t prometheus_count(const struct prometheus_reader *reader);
/* Owned by the reader, valid until the next feed; index < count. In the order of the text. */
const struct prometheus_sample *prometheus_at(const struct prometheus_reader *reader, size_t index);
bool prometheus_contradictory(const struct prometheus_reader *reader);
