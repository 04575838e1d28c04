#include "cmd/rotating.h"

#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json_writer.h"

#define ANSWER_INTERVAL (100 * NS_PER_MS) /* between looks for an answer */

enum sweep_mode rotating_mode(const struct options *options)
{
	return text_equal(options->mode, "patch") ? SWEEP_PATCH : SWEEP_REPLACE;
}

struct rotation_options rotating_options(struct command_context *context, const struct session *session)
{
	const struct options *o = &context->options;
	return (struct rotation_options){
		.cluster = session->cluster,
		.config_path = session->config_path,
		.provider = o->provider,
		.kms = {o->kms_name, o->kms_endpoint, o->kms_timeout},
		.renew_dek = o->renew_dek,
		.follow_kms = o->follow_kms,
		.to_path = o->to,
		.drop_keys = &o->drop_keys,
		.drop_identity = o->drop_identity,
		.manual = text_equal(o->target, "manual"),
		.out = o->out,
		.out_seal = o->out_seal,
		.as_deployed = o->as_deployed,
		.wait_restart = text_equal(o->apply, "wait-restart"),
		.servers = o->servers,
		.old_key = o->old_key,
		.new_key_copy = o->new_key_copy,
		.state_directory = o->state_dir ? o->state_dir : DEFAULT_STATE_DIRECTORY,
		.mode = rotating_mode(o),
		.speed = {.qps = o->qps, .concurrency = (unsigned)o->concurrency},
		.settle = o->settle,
		.has_settle = o->has_settle,
		.compact = o->compact,
		.allow_aesgcm = o->allow_aesgcm,
		.deadline = session_deadline(context, session),
		.record_path = o->record,
		.on_sweep = rotating_show_sweep,
		.on_census = rotating_show_census,
		.on_note = rotating_show_note,
		.arg = context,
	};
}

void rotating_show_sweep(void *arg, const struct sweep_progress *p)
{
	struct command_context *context = arg;
	unsigned per_mille = p->total ? (unsigned)(p->done * 1000 / (p->total > p->done ? p->total : p->done)) : 0;
	_cleanup_free_ char *bar = screen_bar(per_mille, 20);
	_cleanup_free_ char *done = text_human_count(p->done), *total = text_human_count(p->total),
			    *left = text_human_duration(p->eta);
	screen_running(&context->screen, clock_monotonic(), false, "%-15s %s  %s of %s   %llu/s   %s left   %s%s%s%s%s",
		       "Reencrypt", bar, done, total, (unsigned long long)p->per_second, p->eta ? left : "?",
		       p->resource, p->namespace_ ? " ns " : "", p->namespace_ ? p->namespace_ : "",
		       p->waiting ? "   waits: " : "", p->waiting ? p->waiting : "");
}

void rotating_show_census(void *arg, uint64_t done, uint64_t total)
{
	struct command_context *context = arg;
	_cleanup_free_ char *read = text_human_count(done), *all = text_human_count(total);
	screen_running(&context->screen, clock_monotonic(), false, "%-15s reading etcd: %s of %s values", "Verify",
		       read, all);
}

void rotating_show_note(void *arg, const char *text)
{
	struct command_context *context = arg;
	screen_line(&context->screen, "  note: %s", text);
}

static char *rule_keys(const struct config_rule *rule)
{
	_cleanup_strings_ labels = {0};
	for (size_t k = 0; k < rule->key_count; k++) {
		_cleanup_free_ char *label = config_key_label(&rule->keys[k]);
		strings_add(&labels, label);
	}
	return strings_join(&labels, ", ");
}

static void print_step(FILE *out, const struct config_shape *shape, size_t number, bool here)
{
	if (shape->rule_count == 0)
		fprintf(out, "  %zu  (no rules: plaintext)%s\n", number, here ? "   <- here" : "");
	for (size_t r = 0; r < shape->rule_count; r++) {
		const struct config_rule *rule = &shape->rules[r];
		struct strings names = {rule->resources, rule->resource_count};
		_cleanup_free_ char *resources = strings_join(&names, ","), *keys = rule_keys(rule);
		if (r == 0)
			fprintf(out, "  %zu  ", number);
		else
			fprintf(out, "     ");
		fprintf(out, "%s [%s]%s\n", resources, keys, here && r == 0 ? "   <- here" : "");
	}
}

void rotating_print_path(FILE *out, const struct path *path, int here)
{
	for (size_t i = 0; i < path->count; i++)
		print_step(out, path->steps[i], i, (int)i == here);
}

/* A path gives up no resource in silence: what was encrypted has a rule in its last step, too. */
char *rotating_plaintext_text(const struct path *path)
{
	const struct config_shape *first = path->steps[0], *last = path->steps[path->count - 1];
	_cleanup_strings_ resources = {0};
	for (size_t r = 0; r < last->rule_count; r++)
		for (size_t i = 0;
		     last->rules[r].keys[0].type == PROVIDER_IDENTITY && i < last->rules[r].resource_count; i++) {
			const struct config_rule *before = config_shape_rule(first, last->rules[r].resources[i]);
			if (before && before->keys[0].type != PROVIDER_IDENTITY)
				strings_add(&resources, last->rules[r].resources[i]);
		}
	_cleanup_free_ char *names = strings_join(&resources, ", ");
	return *names ? xasprintf("Afterwards %s will be in etcd, and in each backup of it, in PLAINTEXT.", names)
		      : NULL;
}

void rotating_print_report(struct command_context *context, const struct rotation_report *report, int rc)
{
	free(context->outcome);
	context->outcome = rotation_report_text(report, false);
	if (context->options.json) {
		struct json_writer w = JSON_WRITER_INIT(REPORT_JSON_MAX);
		rotation_report_write_json(report, &w);
		const char *text = json_text(&w);
		if (text)
			puts(text);
		json_writer_free(&w);
		context->printed_document = true;
	} else if (rc == 0 || report->quarantine_count > 0 || report->remains.count > 0 || report->outside.count > 0)
		fputs(context->outcome, stdout);
	fflush(stdout);
}

/* The loop takes the signals: Control-C at the question is an answer, too. */
static int wait_for_answer(struct loop *loop, struct error **err)
{
	struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
	int rc = 0;
	while (rc == 0 && poll(&in, 1, 0) == 0)
		rc = loop_pause(loop, ANSWER_INTERVAL, err);
	return rc;
}

/* On stderr: stdout is the report's. */
int rotating_ask(struct loop *loop, struct error **err)
{
	fprintf(stderr, "Go on? [y/N] ");
	fflush(stderr);
	int rc = wait_for_answer(loop, err);
	if (rc < 0)
		return error_wrap(err, rc, "not begun");
	char answer[16] = "";
	if (fgets(answer, sizeof(answer), stdin) && (answer[0] == 'y' || answer[0] == 'Y'))
		return 0;
	return error_set(err, ERROR_REFUSED, "not begun, as you said; nothing was changed");
}
