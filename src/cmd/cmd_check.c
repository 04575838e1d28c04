#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "cmd/check_contexts.h"
#include "cmd/check_show.h"
#include "cmd/present.h"
#include "cmd/trust_key_file.h"
#include "engine/check_gather.h"

#define CHECK_JSON_MAX (4u << 20)

/* Not every machine that the API is reached from has it. */
static int load_key(const struct options *o, const struct node_facts *node, struct trust_key **ret, struct error **err)
{
	const char *path = trust_key_file(o, node);
	if (!path || (!o->trust_key && access(path, F_OK) != 0))
		return 0;
	return trust_key_load(path, ret, err);
}

struct check_policy check_policy_of(const struct options *o)
{
	struct check_policy policy = {
		.resources = &o->require_resources, .key_id = o->expect_key_id, .max_key_age = o->max_key_age};
	policy.has_provider = o->require_provider && provider_from_name(o->require_provider, &policy.provider);
	return policy;
}

static void show(const struct command_context *context, const struct check_report *report)
{
	if (!context->options.json) {
		check_show_text(context, report);
		return;
	}
	struct json_writer w = JSON_WRITER_INIT(CHECK_JSON_MAX);
	json_object_begin(&w);
	json_member_string(&w, "kind", "Check");
	json_member_u64(&w, "version", 1);
	check_show_json(&w, report);
	json_object_end(&w);
	const char *text = json_text(&w);
	if (text)
		puts(text);
	json_writer_free(&w);
}

static int check_one(struct command_context *context, struct session *session, struct trust_key *key,
		     struct error **err)
{
	const struct options *o = &context->options;
	_cleanup_(check_facts_free) struct check_facts facts = {0};
	_cleanup_(check_report_free) struct check_report report = {0};
	struct check_sources sources = {
		.cluster = session->cluster,
		.config_path = session->config_path,
		.config = session->config,
		.node_error = session->node_error,
		.config_error = session->config_error,
		.etcd_error = session->etcd_error,
		.servers = &o->apiservers,
		.trust_key = key,
		.trust_key_why = key ? NULL
				     : "it is on control-plane nodes (the service-account signing key, or --trust-key "
				       "FILE); only "
				       "kubeadm's upload of it was looked for",
		.backup = o->backup,
		.census = present_census_options(context, session),
		.wall_now = clock_wall(),
	};
	int rc = check_gather(&sources, &facts, err);
	screen_clear(&context->screen);
	if (rc < 0)
		return rc;
	const struct check_policy policy = check_policy_of(o);
	report = check_judge(&facts, &policy);
	show(context, &report);
	context->printed_document = true;
	return check_show_verdict(&report, err);
}

int cmd_check(struct command_context *context, struct error **err)
{
	const struct options *o = &context->options;
	_cleanup_session_ session = {0};
	_cleanup_(trust_key_freep) struct trust_key *key = NULL;
	if (o->argument_count)
		return error_set(err, ERROR_USAGE, "check takes no arguments");
	if (o->contexts)
		return check_contexts(context, err);
	int rc = session_open(context, SESSION_SURVEY, &session, err);
	if (rc == 0)
		rc = load_key(o, &session.cluster->node, &key, err);
	return rc == 0 ? check_one(context, &session, key, err) : rc;
}
