#include <stdio.h>

#include "base/clock.h"
#include "base/json_writer.h"
#include "cmd/rotating.h"

#define GATE_JSON_MAX (4u << 20)

static int print_answer(const struct command_context *context, bool yes, const char *valid, const char *reason,
			const struct strings *gaps, struct error **err)
{
	if (!context->options.json) {
		if (!yes)
			return 0; /* a no is the error, in words */
		printf("yes, until %s; ask again before each server\n", valid);
		for (size_t i = 0; i < gaps->count; i++)
			printf("  %s\n", gaps->items[i]);
		return 0;
	}
	struct json_writer w = JSON_WRITER_INIT(GATE_JSON_MAX);
	json_object_begin(&w);
	json_member_string(&w, "kind", "Gate");
	json_member_u64(&w, "version", 1);
	json_member_bool(&w, "allowed", yes);
	json_member_string(&w, "validUntil", yes ? valid : NULL);
	json_member_string(&w, "reason", yes ? NULL : reason);
	json_member_strings(&w, "gaps", gaps);
	json_object_end(&w);
	const char *text = json_text(&w);
	int rc = text || !yes ? 0 : error_set(err, ERROR_LIMIT, "the answer is too large to be printed");
	if (text)
		puts(text);
	json_writer_free(&w);
	return rc;
}

int cmd_gate(struct command_context *context, struct error **err)
{
	const struct options *o = &context->options;
	const char *which = o->argument_count == 1 ? o->arguments[0] : NULL;
	_cleanup_session_ session = {0};
	_cleanup_(rotation_freep) struct rotation *rotation = NULL;
	if (!text_equal(which, "next") && !text_equal(which, "drop"))
		return error_set(err, ERROR_USAGE, "gate takes next or drop");
	if (!o->to)
		return error_set(err, ERROR_USAGE, "gate needs --to FILE: the configuration that shall be rolled out");
	int rc = session_open(context, SESSION_ETCD | SESSION_CONFIG, &session, err);
	if (rc < 0)
		return rc;
	struct rotation_options options = rotating_options(context, &session);
	options.read_only = options.open_kms = true;
	rc = rotation_open(&options, &rotation, err);
	uint64_t valid_until = 0;
	if (rc == 0)
		rc = rotation_gate(rotation, text_equal(which, "drop"), &valid_until, err);
	screen_clear(&context->screen);
	if (rc < 0 && rc != -ERROR_REFUSED)
		return rc;
	char valid[28] = "";
	clock_format(valid_until, 0, valid);
	_cleanup_strings_ gaps = {0};
	if (rc == 0)
		rotation_gaps(rotation, &gaps);
	int printed = print_answer(context, rc == 0, valid, err && *err ? error_message(*err) : "", &gaps, err);
	context->printed_document = printed == 0;
	return printed < 0 ? printed : rc;
}
