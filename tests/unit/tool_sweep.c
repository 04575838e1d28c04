/* Drives a sweep in ways that no command does, for tests/e2e/test_sweep.py: named objects, skip_above, and what progress
 * says on the way.
 *
 * tool_sweep KUBECONFIG replace|patch QPS SKIP_ABOVE RESOURCE [NAMESPACE/NAME]...
 * One JSON line on stdout; a failure is "error CODE: message" on stderr and exit 1. */
#include <inttypes.h>
#include <stdio.h>
#include "base/json_read.h"
#include "engine/sweep.h"
#include "net/kubeconfig.h"

#define CONNECTIONS 17

struct seen {
	unsigned calls, backwards, waits;
	struct sweep_progress last;
};

/* What a person would see go back. */
static void on_progress(void *arg, const struct sweep_progress *progress)
{
	struct seen *seen = arg;

	seen->calls++;
	seen->waits += progress->waiting != NULL;
	if (progress->done < seen->last.done || progress->namespace_index < seen->last.namespace_index ||
	    progress->total < seen->last.total || (progress->total != 0 && progress->done > progress->total))
		seen->backwards++;
	seen->last = *progress;
}

static void print(const struct sweep_result *result, const struct seen *seen)
{
	const struct sweep_count *c = &result->counts[0];

	printf("{\"objects\":%" PRIu64 ",\"rewritten\":%" PRIu64 ",\"current\":%" PRIu64 ",\"skipped\":%" PRIu64
	       ",\"gone\":%" PRIu64 ",\"quarantined\":%" PRIu64 ",\"conflicts\":%" PRIu64
	       ",\"finished\":%d,\"calls\":%u,\"backwards\":%u,\"waits\":%u,\"done\":%" PRIu64 ",\"total\":%" PRIu64
	       "}\n",
	       c->objects, c->rewritten, c->current, c->skipped, c->gone, c->quarantined, c->conflicts,
	       result->finished >= result->begun, seen->calls, seen->backwards, seen->waits, seen->last.done,
	       seen->last.total);
}

static int sweep(struct kube *kube, char **argv, int argc, struct error **err)
{
	struct kube_resources served = {0};
	struct strings missing = {0};
	struct sweep_result *result = NULL;
	struct seen seen = {0};
	size_t named_count = argc > 6 ? (size_t)argc - 6 : 0;
	_cleanup_free_ struct sweep_object *named = xcalloc(named_count + 1, sizeof(*named));
	struct sweep_options options = {.loop = kube->loop,
					.kube = kube,
					.mode = text_equal(argv[2], "patch") ? SWEEP_PATCH : SWEEP_REPLACE,
					.speed = {.concurrency = CONNECTIONS - 1},
					.named = named,
					.named_count = named_count,
					.resource_count = 1,
					.on_progress = on_progress,
					.arg = &seen};
	const struct kube_resource *resource;
	int rc = kube_discover(kube, &served, &missing, err);

	if (rc < 0)
		return rc;
	resource = kube_resources_find(&served, argv[5]);
	options.resources = &resource;
	if (resource == NULL || text_to_u64(argv[3], &options.speed.qps) < 0 ||
	    text_to_u64(argv[4], &options.skip_above) < 0)
		return error_set(err, ERROR_USAGE, "no such resource, or no number");
	for (size_t i = 0; i < named_count; i++) {
		char *slash = strchr(argv[6 + i], '/');

		*slash = '\0';
		named[i] = (struct sweep_object){resource, slash > argv[6 + i] ? argv[6 + i] : NULL, slash + 1};
	}
	rc = sweep_run(&options, &result, err);
	print(result, &seen);
	sweep_result_free(result);
	kube_resources_free(&served);
	strings_free(&missing);
	return rc;
}

int main(int argc, char **argv)
{
	struct kubeconfig_options config = {.explicit_path = argc > 5 ? argv[1] : NULL};
	struct kube_access *access = NULL;
	struct kube kube = {.name = "server"};
	struct error *err = NULL;
	int rc;

	if (argc < 6)
		return 64;
	json_install_hooks();
	rc = loop_new(&kube.loop, &err);
	if (rc == 0)
		rc = kube_access_load(&config, &access, &err);
	if (rc == 0)
		rc = kube_access_client(access, kube.loop, NULL, CONNECTIONS, &kube.http, &err);
	if (rc == 0)
		rc = sweep(&kube, argv, argc, &err);
	if (rc < 0)
		fprintf(stderr, "error %s: %s\n", error_code_name(error_code(err)), error_message(err));
	error_free(err);
	http_client_free(kube.http);
	kube_access_free(access);
	loop_free(kube.loop);
	return rc < 0;
}
