#include "cmd/check_show.h"

#include <stdio.h>

#define DOCUMENT "docs/troubleshooting.md"
#define RED "\033[31m"
#define YELLOW "\033[33m"
#define GREEN "\033[32m"
#define PLAIN "\033[0m"

static const char *mark_of(enum check_status status, bool color)
{
	switch (status) {
	case CHECK_PASSED:
		return color ? GREEN "√" PLAIN : "√";
	case CHECK_WARNING:
		return color ? YELLOW "‼" PLAIN : "‼";
	case CHECK_FAILED:
		return color ? RED "×" PLAIN : "×";
	case CHECK_UNKNOWN:
	case CHECK_DOES_NOT_APPLY:
		break;
	}
	return "-";
}

/* Why a check was not looked at is often why others were not: each reason stands once, below. */
static size_t reason_of(struct strings *reasons, const char *why)
{
	for (size_t i = 0; i < reasons->count; i++)
		if (text_equal(reasons->items[i], why))
			return i + 1;
	strings_add(reasons, why);
	return reasons->count;
}

static void print_one(const struct check *check, const struct check_result *result, bool color, struct strings *reasons)
{
	const char *mark = mark_of(result->status, color);
	if (result->status == CHECK_PASSED) {
		printf("  %s %s%s%s%s\n", mark, check->title, result->what ? " (" : "",
		       result->what ? result->what : "", result->what ? ")" : "");
	} else if (result->status == CHECK_UNKNOWN) {
		printf("  %s %s: not looked at [%zu]\n", mark, check->title, reason_of(reasons, result->what));
	} else {
		printf("  %s %s\n      %s\n", mark, check->title, result->what);
		if (result->advice)
			printf("      %s\n", result->advice);
		printf("      " DOCUMENT "#%s\n", check->id);
	}
}

void check_show_text(const struct command_context *context, const struct check_report *report)
{
	_cleanup_strings_ reasons = {0};
	const char *group = NULL;
	for (size_t i = 0; i < check_count; i++) {
		if (report->results[i].status == CHECK_DOES_NOT_APPLY)
			continue;
		if (!text_equal(group, checks[i].group))
			printf("%s%s\n", group ? "\n" : "", checks[i].group);
		group = checks[i].group;
		print_one(&checks[i], &report->results[i], context->screen.color, &reasons);
	}
	if (reasons.count > 0)
		printf("\nnot looked at\n");
	for (size_t i = 0; i < reasons.count; i++)
		printf("  [%zu] %s\n", i + 1, reasons.items[i]);
	const unsigned *counts = report->counts;
	printf("\nStatus: %u failed, %u %s, %u passed, %u not looked at\n", counts[CHECK_FAILED], counts[CHECK_WARNING],
	       counts[CHECK_WARNING] == 1 ? "warning" : "warnings", counts[CHECK_PASSED], counts[CHECK_UNKNOWN]);
}

void check_show_json(struct json_writer *w, const struct check_report *report)
{
	json_member_u64(w, "failed", report->counts[CHECK_FAILED]);
	json_member_u64(w, "warnings", report->counts[CHECK_WARNING]);
	json_member_u64(w, "passed", report->counts[CHECK_PASSED]);
	json_member_u64(w, "notLookedAt", report->counts[CHECK_UNKNOWN]);
	json_key(w, "checks");
	json_array_begin(w);
	for (size_t i = 0; i < check_count; i++) {
		const struct check_result *result = &report->results[i];
		_cleanup_free_ char *document = xasprintf(DOCUMENT "#%s", checks[i].id);
		json_object_begin(w);
		json_member_string(w, "check", checks[i].id);
		json_member_string(w, "group", checks[i].group);
		json_member_string(w, "title", checks[i].title);
		json_member_string(w, "status", check_status_name(result->status));
		json_member_string(w, "what", result->what);
		json_member_string(w, "advice", result->advice);
		json_member_string(w, "documentation", document);
		json_object_end(w);
	}
	json_array_end(w);
}

int check_show_verdict(const struct check_report *report, struct error **err)
{
	_cleanup_strings_ failed = {0};
	for (size_t i = 0; i < check_count; i++)
		if (report->results[i].status == CHECK_FAILED)
			strings_add(&failed, checks[i].id);
	if (failed.count == 0)
		return 0;
	_cleanup_free_ char *names = strings_join(&failed, ", ");
	return error_set(err, ERROR_FINDING, "%zu %s failed: %s", failed.count, failed.count == 1 ? "check" : "checks",
			 names);
}
