#include "cmd/check_contexts.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cmd/check_asking.h"
#include "cmd/session.h"

#define FLEET_JSON_MAX (16u << 20)
#define CELL_BYTES_MAX 512
#define WORDS_BYTES_MAX (64u << 10)

struct rows {
	struct check_row *items;
	size_t count;
	struct strings findings; /* over several clusters */
	struct strings notes;    /* likewise, and nothing is wrong with it */
};

static void rows_free(struct rows *rows)
{
	for (size_t i = 0; i < rows->count; i++)
		check_row_free(&rows->items[i]);
	free(rows->items);
	strings_free(&rows->findings);
	strings_free(&rows->notes);
}

/* --- asking --- */

static int ask_all(struct command_context *context, struct rows *rows, struct error **err)
{
	const char *pattern = context->options.contexts;
	const struct kubeconfig_options kubeconfig = session_kubeconfig(context);
	_cleanup_strings_ names = {0}, matching = {0};
	int rc = kube_access_contexts(&kubeconfig, &names, err);
	for (size_t i = 0; i < names.count; i++)
		if (fnmatch(pattern, names.items[i], 0) == 0)
			strings_add(&matching, names.items[i]);
	rows->count = matching.count;
	rows->items = xcalloc(rows->count + 1, sizeof(*rows->items));
	if (rc == 0 && rows->count == 0)
		rc = error_set(err, ERROR_NOT_FOUND, "no context of the kubeconfig matches %s", pattern);
	if (rc == 0)
		rc = check_ask(context, &matching, rows->items, err);
	if (rc < 0)
		return rc;
	check_rows_share(rows->items, rows->count, &rows->findings);
	check_rows_same(rows->items, rows->count, &rows->notes);
	return 0;
}

/* --- showing --- */

static char *share_text(const struct check_row *row, uint64_t part)
{
	if (!row->counted)
		return xstrdup("unknown");
	if (row->values == 0)
		return xstrdup("none stored");
	/* Never rounded up to all. */
	return xasprintf("%u.%u%%", (unsigned)(part * 100 / row->values), (unsigned)(part * 1000 / row->values % 10));
}

enum { COLUMNS = 9 };
static const char *const heads[COLUMNS] = {"CONTEXT",   "VERSION",    "WRITE PROVIDER", "EVIDENCE", "ENCRYPTED",
					   "UNDER KMS", "OLDEST KEY", "FAILED",         "WARNINGS"};

/* "40 d"; "40 d or more", where a key was there before the first census; "40 d to 52 d", between two of them. New string. */
static char *age_text(const struct check_row *row)
{
	if (!row->age_known)
		return xstrdup("unknown");
	_cleanup_free_ char *least = text_human_duration(row->oldest_key * NS_PER_S), *most = NULL;
	if (!row->age_bounded)
		return xasprintf("%s or more", least);
	most = text_human_duration(row->oldest_key_at_most * NS_PER_S);
	return text_equal(least, most) ? steal(least) : xasprintf("%s to %s", least, most);
}

static void cells_of(const struct check_row *row, char *cells[static COLUMNS])
{
	bool reached = row->why == NULL;
	cells[0] = text_printable_or(row->context, CELL_BYTES_MAX, "unknown");
	cells[1] = text_printable_or(row->version, CELL_BYTES_MAX, "unknown");
	cells[2] = text_printable_or(row->write_provider, CELL_BYTES_MAX, "unknown");
	cells[3] = xstrdup(reached ? row->evidence : "not reached");
	cells[4] = share_text(row, row->encrypted);
	cells[5] = share_text(row, row->under_kms);
	cells[6] = age_text(row);
	cells[7] = reached ? xasprintf("%llu", (unsigned long long)row->failed) : xstrdup("unknown");
	cells[8] = reached ? xasprintf("%llu", (unsigned long long)row->warnings) : xstrdup("unknown");
}

static void print_cells(const struct check_row *row, const size_t *widths)
{
	char *cells[COLUMNS];
	cells_of(row, cells);
	for (size_t c = 0; c < COLUMNS; c++) {
		printf("%-*s%s", c + 1 < COLUMNS ? (int)widths[c] : 0, cells[c], c + 1 < COLUMNS ? "  " : "\n");
		free(cells[c]);
	}
}

static void find_widths(const struct rows *rows, size_t widths[static COLUMNS])
{
	for (size_t c = 0; c < COLUMNS; c++)
		widths[c] = strlen(heads[c]);
	for (size_t i = 0; i < rows->count; i++) {
		char *cells[COLUMNS];
		cells_of(&rows->items[i], cells);
		for (size_t c = 0; c < COLUMNS; c++) {
			size_t len = strlen(cells[c]);
			widths[c] = len > widths[c] ? len : widths[c];
			free(cells[c]);
		}
	}
}

/* Names of contexts are in it, which anybody may have written. */
static void print_words(const char *mark, const char *words)
{
	_cleanup_free_ char *printable = text_printable(words, strlen(words), WORDS_BYTES_MAX);
	printf("%s %s\n", mark, printable);
}

static void print_table(const struct rows *rows)
{
	size_t widths[COLUMNS];
	const struct check_totals totals = check_rows_total(rows->items, rows->count);
	find_widths(rows, widths);
	for (size_t c = 0; c < COLUMNS; c++)
		printf("%-*s%s", c + 1 < COLUMNS ? (int)widths[c] : 0, heads[c], c + 1 < COLUMNS ? "  " : "\n");
	for (size_t i = 0; i < rows->count; i++)
		print_cells(&rows->items[i], widths);
	_cleanup_free_ char *values = text_human_count(totals.values), *encrypted = text_human_count(totals.encrypted),
			    *kms = text_human_count(totals.under_kms);
	printf("\n%zu %s, %zu reached; counted in %zu of them: %s values, %s encrypted, %s under KMS\n",
	       totals.clusters, totals.clusters == 1 ? "cluster" : "clusters", totals.reached, totals.counted, values,
	       encrypted, kms);
	for (size_t i = 0; i < rows->count; i++) {
		const struct check_row *row = &rows->items[i];
		_cleanup_free_ char *words = row->why ? xasprintf("%s: %s", row->context, row->why) : NULL;
		if (words)
			print_words("×", words);
	}
	for (size_t i = 0; i < rows->findings.count; i++)
		print_words("×", rows->findings.items[i]);
	for (size_t i = 0; i < rows->notes.count; i++)
		print_words("-", rows->notes.items[i]);
}

static void print_csv_cell(const char *text, bool last)
{
	bool quoted = strpbrk(text, ",\"\r\n") != NULL;
	if (quoted)
		putchar('"');
	for (const char *c = text; *c; c++)
		printf("%s%c", *c == '"' ? "\"" : "", *c);
	printf("%s%s", quoted ? "\"" : "", last ? "\r\n" : ",");
}

/* RFC 4180. */
static void print_csv(const struct rows *rows)
{
	for (size_t c = 0; c < COLUMNS; c++)
		print_csv_cell(heads[c], c + 1 == COLUMNS);
	for (size_t i = 0; i < rows->count; i++) {
		char *cells[COLUMNS];
		cells_of(&rows->items[i], cells);
		for (size_t c = 0; c < COLUMNS; c++) {
			print_csv_cell(cells[c], c + 1 == COLUMNS);
			free(cells[c]);
		}
	}
}

static void write_seconds(struct json_writer *w, const char *key, bool known, uint64_t seconds)
{
	json_key(w, key);
	if (known)
		json_u64(w, seconds);
	else
		json_null(w);
}

static void write_row(struct json_writer *w, const struct check_row *row)
{
	json_object_begin(w);
	json_member_string(w, "context", row->context);
	json_member_string(w, "server", row->server);
	json_member_string(w, "version", row->version);
	json_member_string(w, "clusterUID", row->cluster_uid);
	json_member_string(w, "why", row->why);
	json_member_string(w, "writeProvider", row->write_provider);
	json_member_string(w, "evidence", row->why ? "none" : row->evidence);
	json_key(w, "census");
	if (row->counted) {
		json_object_begin(w);
		json_member_u64(w, "revision", row->revision);
		json_member_u64(w, "values", row->values);
		json_member_u64(w, "encrypted", row->encrypted);
		json_member_u64(w, "underKMS", row->under_kms);
		json_object_end(w);
	} else {
		json_null(w);
	}
	bool exact = row->age_bounded && row->oldest_key == row->oldest_key_at_most;
	write_seconds(w, "oldestKeySeconds", row->age_known && exact, row->oldest_key);
	write_seconds(w, "oldestKeySecondsAtLeast", row->age_known, row->oldest_key);
	write_seconds(w, "oldestKeySecondsAtMost", row->age_known && row->age_bounded, row->oldest_key_at_most);
	json_member_strings(w, "kmsKeyIDHashes", &row->key_ids);
	json_member_u64(w, "failed", row->failed);
	json_member_u64(w, "warnings", row->warnings);
	json_object_end(w);
}

static void print_json(const struct rows *rows)
{
	struct json_writer w = JSON_WRITER_INIT(FLEET_JSON_MAX);
	const struct check_totals totals = check_rows_total(rows->items, rows->count);
	json_object_begin(&w);
	json_member_string(&w, "kind", "FleetCheck");
	json_member_u64(&w, "version", 1);
	json_key(&w, "clusters");
	json_array_begin(&w);
	for (size_t i = 0; i < rows->count; i++)
		write_row(&w, &rows->items[i]);
	json_array_end(&w);
	json_key(&w, "totals");
	json_object_begin(&w);
	json_member_u64(&w, "clusters", totals.clusters);
	json_member_u64(&w, "reached", totals.reached);
	json_member_u64(&w, "counted", totals.counted);
	json_member_u64(&w, "values", totals.values);
	json_member_u64(&w, "encrypted", totals.encrypted);
	json_member_u64(&w, "underKMS", totals.under_kms);
	json_object_end(&w);
	json_member_strings(&w, "findings", &rows->findings);
	json_member_strings(&w, "notes", &rows->notes);
	json_object_end(&w);
	const char *text = json_text(&w);
	if (text)
		puts(text);
	json_writer_free(&w);
}

/* What is of one cluster, or of this machine, says nothing of many. */
static int check_options(const struct options *o, struct error **err)
{
	static const char *const taken[] = {"--contexts",
					    "--kubeconfig",
					    "--output",
					    "--user",
					    "--as",
					    "--as-group",
					    "--request-timeout",
					    "--require-provider",
					    "--require-resource",
					    "--expect-key-id",
					    "--max-key-age"};
	const char *other = options_given_beside(o, taken, ELEMENTS(taken));
	return other ? error_set(err, ERROR_USAGE, "%s does not go with --contexts", other) : 0;
}

int check_contexts(struct command_context *context, struct error **err)
{
	_cleanup_(rows_free) struct rows rows = {0};
	int usage = check_options(&context->options, err);
	if (usage < 0)
		return usage;
	int rc = ask_all(context, &rows, err);
	if (rc < 0)
		return rc;
	if (context->options.json)
		print_json(&rows);
	else if (text_equal(context->options.output, "csv"))
		print_csv(&rows);
	else
		print_table(&rows);
	context->printed_document = true;
	const struct check_totals totals = check_rows_total(rows.items, rows.count);
	if (totals.failing == 0 && rows.findings.count == 0)
		return 0;
	return error_set(err, ERROR_FINDING, "%zu of %zu clusters have findings, or were not reached%s", totals.failing,
			 totals.clusters, rows.findings.count ? "; one KMS key is used by several" : "");
}
