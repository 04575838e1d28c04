#include "cmd/no_etcd.h"

#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "cmd/no_etcd_show.h"
#include "cmd/rotating.h"
#include "cmd/session.h"
#include "cmd/sweep_show.h"

#define NO_ETCD_JSON_MAX (64u << 20)
#define STATUS_LANES 1

/* What one of these commands works with. */
struct scene {
	struct session session;
	struct api_servers servers;
	const struct kube_resource **resources;
	size_t count;
	struct strings left_out;
	bool whole; /* `resources` are all that servers show to be encrypted */
};

static void scene_close(struct scene *scene)
{
	api_servers_free(&scene->servers);
	free(scene->resources);
	strings_free(&scene->left_out);
	if (scene->session.cluster)
		session_close(&scene->session);
}

/* --- which resources --- */

/* Rewritten by their owners every few seconds, or gone within the hour. */
static const char *const passing[] = {"events", "events.events.k8s.io", "leases.coordination.k8s.io"};

static bool is_passing(const char *name)
{
	for (size_t i = 0; i < ELEMENTS(passing); i++)
		if (text_equal(passing[i], name))
			return true;
	return false;
}

static bool take_resource(struct scene *scene, const char *name)
{
	const struct kube_resource *resource = kube_resources_find(&scene->session.cluster->resources, name);
	if (!resource || resource->aggregated || !resource->can_list || !resource->can_get || !resource->can_patch)
		return false;
	for (size_t i = 0; i < scene->count; i++)
		if (scene->resources[i] == resource)
			return true;
	scene->resources = xreallocarray(scene->resources, scene->count + 1, sizeof(*scene->resources));
	scene->resources[scene->count++] = resource;
	return true;
}

/* What servers show to be encrypted; where they show nothing, what usually is. */
static void choose_by_metrics(struct scene *scene)
{
	_cleanup_strings_ names = {0};
	scene->whole = !scene->servers.metrics_why;
	for (size_t i = 0; i < scene->servers.server_count; i++) {
		const struct api_server *server = &scene->servers.servers[i];
		storage_encrypted_resources(&server->metrics, &names);
		scene->whole = scene->whole && (!server->reached || storage_names_resources(&server->metrics));
	}
	strings_sort_unique(&names);
	if (names.count == 0)
		strings_add(&names, "configmaps");
	if (!strings_has(&names, "secrets"))
		strings_add(&names, "secrets");
	for (size_t i = 0; i < names.count; i++)
		if (is_passing(names.items[i]) || !take_resource(scene, names.items[i]))
			strings_add(&scene->left_out, names.items[i]);
	scene->whole = scene->whole && scene->left_out.count == 0;
}

static int choose(struct scene *scene, const struct strings *asked, struct error **err)
{
	for (size_t i = 0; i < asked->count; i++) {
		if (!take_resource(scene, asked->items[i]))
			return error_set(err, ERROR_INPUT,
					 "the API server serves no resource %s that can be listed, read and patched",
					 asked->items[i]);
	}
	if (asked->count == 0)
		choose_by_metrics(scene);
	return 0;
}

/* --- opening --- */

/* What can be said beside --no-etcd: all else is about etcd, files, or a part of a resource. */
static const char *const fitting[] = {
	"--no-etcd",
	"--output",
	"--kubeconfig",
	"--context",
	"--server",
	"--apiserver-request-timeout",
	"--cluster",
	"--user",
	"--as",
	"--as-group",
	"--request-timeout",
	"--resource",
	"--qps",
	"--mode",
	"--concurrency",
	"--deadline",
	"--all-namespaces",
	"--yes",
	"--settle",
	"--follow-kms",
	"--termination-log",
};

static int scene_open(struct command_context *context, unsigned lanes, struct scene *ret, struct error **err)
{
	const struct options *o = &context->options;
	const char *other = options_given_beside(o, fitting, ELEMENTS(fitting));
	*ret = (struct scene){0};
	if (other)
		return error_set(err, ERROR_USAGE, "%s does not go with --no-etcd", other);
	if (o->argument_count > 0)
		return error_set(err, ERROR_USAGE, "--no-etcd is about whole resources: %s is one object too many",
				 o->arguments[0]);
	int rc = session_open(context, SESSION_API, &ret->session, err);
	if (rc < 0)
		return rc;
	struct cluster *cluster = ret->session.cluster;
	ret->servers = (struct api_servers){
		.loop = cluster->loop, .access = cluster->access, .kube = &cluster->kube, .patience = REFUSALS_LONG};
	rc = api_servers_find(&ret->servers, lanes, err);
	return rc == 0 ? choose(ret, &o->resources, err) : rc;
}

static int refuse_without_metrics(const struct scene *scene, const char *what, struct error **err)
{
	if (!scene->servers.metrics_why)
		return 0;
	int rc = error_set(err, ERROR_REFUSED, "%s: %s", what, scene->servers.metrics_why);
	error_set_hint(err, "it needs the right to GET the non-resource URL /metrics; kube-rekey reencrypt --no-etcd "
			    "can do without, and proves less");
	return rc;
}

static void print_json(struct json_writer *w, struct command_context *context)
{
	const char *text = json_text(w);
	if (text)
		puts(text);
	json_writer_free(w);
	context->printed_document = true;
}

/* --- census --- */

static void show_read(void *arg, const char *resource, uint64_t done, uint64_t total)
{
	struct command_context *context = arg;
	_cleanup_free_ char *read = text_human_count(done), *all = text_human_count(total);
	screen_running(&context->screen, clock_monotonic(), false, "%-15s reading %s one by one: %s of %s", "Verify",
		       resource, read, all);
}

static int census_of(struct command_context *context, struct scene *scene, struct error **err)
{
	const struct options *o = &context->options;
	_cleanup_(api_census_freep) struct api_census *census = NULL;
	const struct api_census_options options = {
		.servers = &scene->servers,
		.resources = scene->resources,
		.resource_count = scene->count,
		.speed = {.qps = o->qps, .concurrency = (unsigned)o->concurrency},
		.deadline = session_deadline(context, &scene->session),
		.on_progress = show_read,
		.arg = context,
	};
	int rc = api_census_take(&options, &census, err);
	screen_clear(&context->screen);
	if (rc < 0)
		return rc;
	if (o->json) {
		struct json_writer w = JSON_WRITER_INIT(NO_ETCD_JSON_MAX);
		const struct strings proof = {(char *[]){(char *)"fromStorage"}, 1};
		json_object_begin(&w);
		json_member_string(&w, "kind", "Census");
		json_member_string(&w, "strength", "api");
		json_member_strings(&w, "evidence", &proof);
		no_etcd_write_servers(&w, &scene->servers);
		no_etcd_write_census(&w, census);
		json_member_strings(&w, "leftOut", &scene->left_out);
		json_object_end(&w);
		print_json(&w, context);
	} else {
		no_etcd_print_census(&scene->servers, census, &scene->left_out);
		context->printed_document = true;
	}
	return api_census_verdict(census, err);
}

int no_etcd_census(struct command_context *context, struct error **err)
{
	_cleanup_(scene_close) struct scene scene = {0};
	int rc = scene_open(context, (unsigned)context->options.concurrency, &scene, err);
	if (rc == 0)
		rc = refuse_without_metrics(&scene, "which key values are under cannot be counted without writing",
					    err);
	return rc == 0 ? census_of(context, &scene, err) : rc;
}

/* --- status --- */

static int status_verdict(const struct scene *scene, struct error **err)
{
	_cleanup_strings_ unreached = {0};
	api_servers_unreached(&scene->servers, &unreached);
	int rc = refuse_without_metrics(scene, "what API servers write with cannot be seen", err);
	if (rc < 0)
		return rc;
	_cleanup_free_ char *names = strings_join(&unreached, ", ");
	if (unreached.count > 0)
		return error_set(err, ERROR_FINDING,
				 "%s was not reached in %u connections, though its Lease is renewed", names,
				 scene->servers.connections);
	for (size_t i = 0; i < scene->count; i++) {
		_cleanup_write_key_ key = {0};
		api_write_key_of(&scene->servers, scene->resources[i]->resource, &key);
		if (key.differs)
			return error_set(err, ERROR_FINDING, "%s: %s", scene->resources[i]->resource, key.why);
	}
	return 0;
}

int no_etcd_status(struct command_context *context, struct error **err)
{
	_cleanup_(scene_close) struct scene scene = {0};
	int rc = scene_open(context, STATUS_LANES, &scene, err);
	if (rc < 0)
		return rc;
	if (context->options.json) {
		struct json_writer w = JSON_WRITER_INIT(NO_ETCD_JSON_MAX);
		const struct strings proof = {(char *[]){(char *)"metrics"}, scene.servers.metrics_why ? 0 : 1};
		json_object_begin(&w);
		json_member_string(&w, "kind", "Status");
		json_member_u64(&w, "version", 1);
		json_member_string(&w, "strength", "api");
		json_member_strings(&w, "evidence", &proof);
		no_etcd_write_servers(&w, &scene.servers);
		no_etcd_write_keys(&w, &scene.servers, scene.resources, scene.count);
		json_member_strings(&w, "leftOut", &scene.left_out);
		json_object_end(&w);
		print_json(&w, context);
	} else {
		no_etcd_print_status(&scene.servers, scene.resources, scene.count);
		context->printed_document = true;
	}
	return status_verdict(&scene, err);
}

/* --- rewriting --- */

static void show_wait(void *arg, const char *text)
{
	struct command_context *context = arg;
	screen_running(&context->screen, clock_monotonic(), false, "%-15s %s", "Await", text);
}

static void write_rewrite(struct json_writer *w, const struct scene *scene, const struct api_rewrite *made, bool follow,
			  const char *why)
{
	json_object_begin(w);
	json_member_string(w, "kind", follow ? "RotationReport" : "ReencryptReport");
	json_member_u64(w, "version", 1);
	json_member_string(w, "outcome", why ? "Stopped" : "Done");
	json_member_string(w, "why", why);
	json_member_string(w, "strength", "api");
	json_member_strings(w, "proofs", &made->proofs);
	json_member_strings(w, "evidence", &made->evidence);
	json_member_strings(w, "weaker", &made->weaker);
	json_member_strings(w, "writeKeys", &made->keys);
	if (follow)
		no_etcd_write_new_key(w, why ? NULL : made->census);
	json_member_strings(w, "oldKeys", scene->whole ? &made->old_keys : &(struct strings){0});
	json_key(w, "sweep");
	json_object_begin(w);
	if (made->sweep)
		sweep_show_json(w, made->sweep);
	json_object_end(w);
	json_member_u64(w, "passes", made->passes);
	no_etcd_write_servers(w, &scene->servers);
	no_etcd_write_census(w, made->census);
	json_member_strings(w, "leftOut", &scene->left_out);
	json_object_end(w);
}

static int rewrite(struct command_context *context, struct scene *scene, bool follow, struct error **err)
{
	const struct options *o = &context->options;
	_cleanup_(api_rewrite_freep) struct api_rewrite *made = NULL;
	const struct api_rewrite_options options = {
		.cluster = scene->session.cluster,
		.servers = &scene->servers,
		.resources = scene->resources,
		.resource_count = scene->count,
		/* Whoever has no file here needs no values either. */
		.mode = text_equal(o->mode, "replace") ? SWEEP_REPLACE : SWEEP_PATCH,
		.force = text_equal(o->mode, "force"),
		.speed = {.qps = o->qps, .concurrency = (unsigned)o->concurrency},
		.deadline = session_deadline(context, &scene->session),
		.follow = follow,
		.settle = o->has_settle ? o->settle : scene->session.cluster->request_timeout,
		.on_sweep = rotating_show_sweep,
		.on_read = show_read,
		.on_wait = show_wait,
		.on_note = rotating_show_note,
		.arg = context,
	};
	int rc = api_rewrite_run(&options, &made, err);
	screen_clear(&context->screen);
	if (o->json) {
		struct json_writer w = JSON_WRITER_INIT(NO_ETCD_JSON_MAX);
		write_rewrite(&w, scene, made, follow, rc < 0 ? error_message(*err) : NULL);
		print_json(&w, context);
	} else if (made->sweep || made->evidence.count > 0) {
		_cleanup_strings_ names = {0};
		for (size_t i = 0; i < scene->count; i++)
			strings_add(&names, scene->resources[i]->resource);
		no_etcd_print_rewrite(made, &names, scene->whole, &scene->left_out, rc == 0);
		context->printed_document = true;
	}
	return rc;
}

int no_etcd_reencrypt(struct command_context *context, struct error **err)
{
	_cleanup_(scene_close) struct scene scene = {0};
	int rc = scene_open(context, (unsigned)context->options.concurrency, &scene, err);
	return rc == 0 ? rewrite(context, &scene, false, err) : rc;
}

static int check_rotatable(const struct command_context *context, struct error **err)
{
	const struct options *o = &context->options;
	if (!o->follow_kms || text_equal(o->mode, "force")) {
		int rc = error_set(err, ERROR_REFUSED,
				   "without etcd nothing can prove that no value needs a key, so none may leave a "
				   "configuration file: --no-etcd rotates by --follow-kms alone");
		error_set_hint(err,
			       "after a change in the KMS: rotate --no-etcd --follow-kms; to rewrite under the present "
			       "key: reencrypt --no-etcd");
		return rc;
	}
	if (o->yes || (isatty(STDIN_FILENO) && isatty(STDERR_FILENO)))
		return 0;
	return error_set(err, ERROR_USAGE, "rotate rewrites objects: say --yes where nobody can be asked");
}

int no_etcd_rotate(struct command_context *context, struct error **err)
{
	_cleanup_(scene_close) struct scene scene = {0};
	int rc = check_rotatable(context, err);
	if (rc == 0)
		rc = scene_open(context, (unsigned)context->options.concurrency, &scene, err);
	if (rc == 0 && !context->options.yes)
		rc = rotating_ask(scene.session.cluster->loop, err);
	return rc == 0 ? rewrite(context, &scene, true, err) : rc;
}
