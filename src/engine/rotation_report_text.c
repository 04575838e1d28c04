/* A rotation's report for people. Words may be anybody's: a report is read from a file, too. */
#include "engine/rotation_report.h"

#include <string.h>

#include "engine/rotation.h"

#define REPORT_TEXT_MAX (1u << 20) /* what is beyond is cut off; JSON has it all */
#define WORDS_MAX 4096
#define HEAD_WIDTH 9

__attribute__((format(printf, 3, 4))) static void add_line(struct buf *out, const char *head, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	_cleanup_free_ char *words = xvasprintf(fmt, args);
	va_end(args);
	_cleanup_free_ char *text = text_printable(words, strlen(words), WORDS_MAX);
	(void)!buf_append_format(out, "%-*s%s\n", HEAD_WIDTH, head, text);
}

static void add_lines(struct buf *out, const char *head, const struct strings *lines)
{
	for (size_t i = 0; i < lines->count; i++)
		add_line(out, i == 0 ? head : "", "%s", lines->items[i]);
}

static void add_outside(struct buf *out, const struct rotation_report *report)
{
	uint64_t more = report->outside_count - report->outside.count;
	if (report->outside_count > 0)
		(void)!buf_append_text(out, "In the way, if they are remains:\n");
	for (size_t i = 0; i < report->outside.count; i++) {
		/* For a shell: whole, and without anything that steers a terminal. */
		_cleanup_free_ char *command = decision_etcdctl_del(report->outside.items[i]);
		(void)!buf_append_format(out, "  %s\n", command);
	}
	if (report->outside_count > report->outside.count)
		(void)!buf_append_format(out, "  %s%llu more\n", report->outside.count > 0 ? "and " : "",
					 (unsigned long long)more);
}

static void add_quarantine(struct buf *out, const struct rotation_report *report)
{
	for (size_t i = 0; i < report->quarantine_count; i++) {
		const struct key_rotation_quarantined *q = &report->quarantine[i];
		add_line(out, "Quarantine: ", "%s %s/%s: %s", q->resource ? q->resource : "?",
			 q->namespace_ ? q->namespace_ : "", q->name ? q->name : "?", q->why ? q->why : "?");
	}
}

/* Of a KMS that was followed the configuration names the same provider as before. */
static const char *what_became_of_old(const struct rotation_report *report)
{
	const char *label = report->old_keys.count > 0 ? report->old_keys.items[0] : "";
	_cleanup_free_ char *provider = xstrndup(label, strcspn(label, " "));
	return *label == '\0'                             ? ""
	       : strings_has(&report->new_keys, provider) ? " is needed for nothing any more"
							  : " left the configuration";
}

static void add_outcome(struct buf *out, const struct rotation_report *report)
{
	_cleanup_free_ char *time = text_human_duration(report->ns), *objects = text_human_count(report->objects);
	_cleanup_free_ char *old_keys = strings_join(&report->old_keys, ", "),
			    *new_keys = strings_join(&report->new_keys, ", ");
	_cleanup_free_ char *words =
		text_equal(report->outcome, "Done")
			? xasprintf(" %s objects%s%s%s%s%s.", objects, *new_keys ? "; new key " : "", new_keys,
				    *old_keys ? "; " : "", old_keys, what_became_of_old(report))
			: xstrdup("");
	_cleanup_free_ char *line = xasprintf("%s in %s.%s", report->outcome, time, words);
	_cleanup_free_ char *text = text_printable(line, strlen(line), WORDS_MAX);
	(void)!buf_append_format(out, "%s\n", text);
}

/* --- the whole of it --- */

static void add_servers(struct buf *out, const struct rotation_report *report)
{
	for (size_t i = 0; i < report->server_count; i++) {
		const struct rotation_server *server = &report->servers[i];
		const char *hash = server->loaded_hash;
		add_line(out, i == 0 ? "Servers: " : "", "%s %s%s", server->name ? server->name : "?",
			 server->forgotten ? "forgotten, by a person's word"
			 : hash            ? "loaded "
					   : "(which configuration it has loaded is not known by a hash)",
			 hash && !server->forgotten ? hash : "");
	}
}

static bool same_place(const struct key_rotation_value *a, const struct key_rotation_value *b)
{
	return text_equal(a->resource, b->resource) && text_equal(a->provider, b->provider) &&
	       text_equal(a->name, b->name) && text_equal(a->key_id, b->key_id) && text_equal(a->class, b->class) &&
	       a->kms_version == b->kms_version;
}

static uint64_t values_at(const struct key_rotation_values *values, const struct key_rotation_value *place)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < values->count; i++)
		if (same_place(&values->items[i], place))
			sum += values->items[i].values;
	return sum;
}

static bool told_before(const struct key_rotation_values *values, size_t end, const struct key_rotation_value *place)
{
	for (size_t i = 0; i < end; i++)
		if (same_place(&values->items[i], place))
			return true;
	return false;
}

static char *key_label(const struct key_rotation_value *value)
{
	if (text_equal(value->class, "unknown"))
		return xstrdup("of no known form");
	if (!value->provider || text_equal(value->provider, "identity"))
		return xstrdup("plaintext");
	return xasprintf("%s/%s%s%s", value->provider, value->name ? value->name : "?", value->key_id ? " key ID " : "",
			 value->key_id ? value->key_id : "");
}

static void add_value(struct buf *out, const struct rotation_report *report, const struct key_rotation_value *value)
{
	_cleanup_free_ char *label = key_label(value);
	_cleanup_free_ char *before = text_human_count(values_at(&report->before, value)),
			    *after = text_human_count(values_at(&report->after, value));
	bool known = text_equal(value->class, "known") || text_equal(value->class, "unknown");
	add_line(out, "", "%-24s %-44s %11s %11s%s%s", value->resource ? value->resource : "(outside)", label,
		 report->before.at ? before : "?", report->after.at ? after : "?", known ? "" : "  ",
		 known ? "" : value->class);
}

static void add_values(struct buf *out, const struct rotation_report *report)
{
	const struct key_rotation_values *before = &report->before, *after = &report->after;
	if (!before->at && !after->at)
		return;
	add_line(out, "Values: ", "%-24s %-44s %11s %11s", "in etcd", "under", "before", "after");
	for (size_t i = 0; i < before->count; i++)
		if (!told_before(before, i, &before->items[i]))
			add_value(out, report, &before->items[i]);
	for (size_t i = 0; i < after->count; i++)
		if (!told_before(after, i, &after->items[i]) && !told_before(before, before->count, &after->items[i]))
			add_value(out, report, &after->items[i]);
	if (before->at)
		add_line(out, "", "before: revision %llu, %s", (unsigned long long)before->revision, before->at);
	if (after->at)
		add_line(out, "", "after: revision %llu, %s", (unsigned long long)after->revision, after->at);
}

static void add_resources(struct buf *out, const struct rotation_report *report)
{
	for (size_t i = 0; i < report->resource_count; i++) {
		const struct rotation_resource *r = &report->resources[i];
		_cleanup_free_ char *objects = text_human_count(r->objects),
				    *rewritten = text_human_count(r->rewritten),
				    *skipped = text_human_count(r->skipped),
				    *conflicts = text_human_count(r->conflicts),
				    *quarantined = text_human_count(r->quarantined);
		add_line(out, i == 0 ? "Sweep:   " : "",
			 "%s: %s objects, %s rewritten, %s left as they were, %s conflicts, %s quarantined",
			 r->resource ? r->resource : "?", objects, rewritten, skipped, conflicts, quarantined);
	}
}

static void add_key_ids(struct buf *out, const struct rotation_report *report)
{
	for (size_t i = 0; i < report->key_id_count; i++) {
		_cleanup_free_ char *objects = text_human_count(report->key_ids[i].objects);
		add_line(out, i == 0 ? "Key IDs: " : "", "kms/%s %s: %s values", report->key_ids[i].name,
			 report->key_ids[i].key_id, objects);
	}
}

static void add_phases(struct buf *out, const struct rotation_report *report)
{
	for (size_t i = 0; i < report->phase_count; i++) {
		_cleanup_free_ char *time = text_human_duration(report->phases[i].ns);
		add_line(out, i == 0 ? "Phases:  " : "", "%-15s %s", phase_name(report->phases[i].phase), time);
	}
}

char *rotation_report_text(const struct rotation_report *report, bool whole)
{
	struct buf out = BUF_INIT(REPORT_TEXT_MAX);
	if (whole)
		add_line(&out, "Rotation ", "%s, target %s, from %s to %s", report->rotation, report->target,
			 report->started, report->finished);
	add_outcome(&out, report);
	add_lines(&out, "Proof:", &report->evidence);
	if (whole) {
		add_servers(&out, report);
		add_values(&out, report);
		add_resources(&out, report);
		add_key_ids(&out, report);
		add_phases(&out, report);
	}
	add_lines(&out, "Remains:", &report->remains);
	add_outside(&out, report);
	add_quarantine(&out, report);
	if (report->cloudtrail) {
		_cleanup_strings_ lines = {0};
		cloudtrail_tell(report->cloudtrail, &lines);
		add_lines(&out, "CloudTrail, a supporting fact:\n         ", &lines);
	}
	return buf_steal_text(&out);
}
