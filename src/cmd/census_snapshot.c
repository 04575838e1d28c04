#include "cmd/census_snapshot.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/json_writer.h"
#include "cmd/session.h"
#include "engine/snapshot.h"

#define SNAPSHOT_JSON_MAX (64u << 20)

static int check_options(const struct options *options, struct error **err)
{
	static const char *const fitting[] = {"--snapshot", "--encryption-config", "--etcd-prefix", "--output",
					      "--open"};
	if (options->argument_count > 0)
		return error_set(err, ERROR_USAGE, "--snapshot reads all of the file: %s does not go with it",
				 options->arguments[0]);
	if (options->open && !options->encryption_config)
		return error_set(err, ERROR_USAGE,
				 "--open needs --encryption-config FILE: keys, and where plugins are");
	const char *other = options_given_beside(options, fitting, ELEMENTS(fitting));
	return other ? error_set(err, ERROR_USAGE, "--snapshot reads a file and no cluster: %s does not go with it",
				 other)
		     : 0;
}

static void show_progress(void *arg, uint64_t values)
{
	struct command_context *context = arg;
	_cleanup_free_ char *read = text_human_count(values);
	screen_running(&context->screen, clock_monotonic(), false, "reading %s: %s revisions",
		       context->options.snapshot, read);
}

static void print(const struct command_context *context, const struct snapshot_census *census)
{
	if (context->options.json) {
		struct json_writer w = JSON_WRITER_INIT(SNAPSHOT_JSON_MAX);
		snapshot_census_write_json(census, &w);
		const char *text = json_text(&w);
		if (text)
			puts(text);
		json_writer_free(&w);
	} else {
		_cleanup_free_ char *table =
			snapshot_census_table(census, context->screen.width, context->screen.color);
		fputs(table, stdout);
	}
	fflush(stdout);
}

int census_snapshot(struct command_context *context, struct error **err)
{
	const struct options *options = &context->options;
	_cleanup_(encryption_config_freep) struct encryption_config *config = NULL;
	_cleanup_(snapshot_census_freep) struct snapshot_census *census = NULL;
	_cleanup_(loop_freep) struct loop *loop = NULL;
	int rc = check_options(options, err);
	if (rc == 0 && options->encryption_config)
		rc = session_read_config(options->encryption_config, &config, NULL, err);
	if (rc == 0 && options->open)
		rc = loop_new(&loop, err);
	if (rc < 0)
		return rc;
	const struct snapshot_options take = {
		.path = options->snapshot,
		.etcd_prefix = options->etcd_prefix ? options->etcd_prefix : "/registry",
		.config = config,
		.loop = loop,
		.on_progress = show_progress,
		.arg = context,
	};
	rc = snapshot_census_take(&take, &census, err);
	screen_clear(&context->screen);
	context->signal = loop ? loop_signal(loop) : 0;
	if (rc < 0)
		return rc;
	print(context, census);
	context->printed_document = true;
	rc = snapshot_census_verdict(census, err);
	return rc == 0 && options->open ? snapshot_census_opened(census, err) : rc;
}
