/* Drives a sweep in ways that no command does, for tests/e2e/test_sweep.py: named objects, skip_above, and what progress
 * says on the way.
 *
 * tool_sweep KUBECONFIG replace|patch[+watch][+proved] QPS SKIP_ABOVE RESOURCE[,RESOURCE] [NAMESPACE/NAME]...
 *   +watch: what others do meanwhile is followed. +proved: as if every value were read afterwards. SKIP_ABOVE is of the first
 *   resource.
 * One JSON line on stdout; a failure is "error CODE: message" on stderr and exit 1. */
#include <inttypes.h>
#include <stdio.h>
#include "base/json_read.h"
#include "engine/sweep.h"
#include "net/kubeconfig.h"
#include "net/web.h"

#define CONNECTIONS 17
#define RESOURCES_MAX 2

struct seen {
	unsigned calls, backwards, waits, notes;
	uint64_t grown; /* by how much what is left became more, in all */
	struct sweep_progress last;
};

/* What a person would see go back. */
static void on_progress(void *arg, const struct sweep_progress *progress)
{
	struct seen *seen = arg;

	seen->calls++;
	seen->waits += progress->waiting != NULL;
	if (progress->done < seen->last.done || progress->namespace_index < seen->last.namespace_index ||
	    (progress->total != 0 && progress->done > progress->total))
		seen->backwards++;
	if (seen->last.total != 0 && progress->total - progress->done > seen->last.total - seen->last.done)
		seen->grown += progress->total - progress->done - (seen->last.total - seen->last.done);
	seen->last = *progress;
}

static void on_note(void *arg, const char *text)
{
	struct seen *seen = arg;

	seen->notes++;
	fprintf(stderr, "note: %s\n", text);
}

/* Counts are the first resource's. */
static void print(const struct sweep_result *result, const struct seen *seen)
{
	const struct sweep_count *c = &result->counts[0];

	printf("{\"objects\":%" PRIu64 ",\"rewritten\":%" PRIu64 ",\"current\":%" PRIu64 ",\"skipped\":%" PRIu64
	       ",\"gone\":%" PRIu64 ",\"quarantined\":%" PRIu64 ",\"conflicts\":%" PRIu64
	       ",\"finished\":%d,\"calls\":%u,\"backwards\":%u,\"waits\":%u,\"notes\":%u,\"grown\":%" PRIu64
	       ",\"done\":%" PRIu64 ",\"total\":%" PRIu64 "}\n",
	       c->objects, c->rewritten, c->current, c->skipped, c->gone, c->quarantined, c->conflicts,
	       result->finished >= result->begun, seen->calls, seen->backwards, seen->waits, seen->notes, seen->grown,
	       seen->last.done, seen->last.total);
}

static int find_resources(const struct kube_resources *served, const char *names,
			  const struct kube_resource *ret[RESOURCES_MAX], size_t *ret_count, struct error **err)
{
	_cleanup_strings_ list = {0};

	strings_split(&list, names, ',');
	for (size_t i = 0; i < list.count && i < RESOURCES_MAX; i++) {
		ret[i] = kube_resources_find(served, list.items[i]);
		if (ret[i] == NULL)
			return error_set(err, ERROR_USAGE, "no resource %s", list.items[i]);
		*ret_count = i + 1;
	}
	return 0;
}

static int sweep(struct kube *kube, struct web *web, char **argv, int argc, struct error **err)
{
	struct kube_resources served = {0};
	struct strings missing = {0};
	struct sweep_result *result = NULL;
	struct seen seen = {0};
	size_t named_count = argc > 6 ? (size_t)argc - 6 : 0;
	_cleanup_free_ struct sweep_object *named = xcalloc(named_count + 1, sizeof(*named));
	struct sweep_options options = {.loop = kube->loop,
					.kube = kube,
					.mode = text_starts(argv[2], "patch") ? SWEEP_PATCH : SWEEP_REPLACE,
					.speed = {.concurrency = CONNECTIONS - 1},
					.named = named,
					.named_count = named_count,
					.proved_afterwards = strstr(argv[2], "+proved") != NULL,
					.web = strstr(argv[2], "+watch") != NULL ? web : NULL,
					.on_progress = on_progress,
					.on_note = on_note,
					.arg = &seen};
	const struct kube_resource *resources[RESOURCES_MAX];
	uint64_t skip_above[RESOURCES_MAX] = {0};
	int rc = kube_discover(kube, &served, &missing, err);

	if (rc < 0)
		return rc;
	options.resources = resources;
	options.skip_above = skip_above;
	rc = find_resources(&served, argv[5], resources, &options.resource_count, err);
	if (rc < 0)
		return rc;
	if (text_to_u64(argv[3], &options.speed.qps) < 0 || text_to_u64(argv[4], &skip_above[0]) < 0)
		return error_set(err, ERROR_USAGE, "no number");
	for (size_t i = 0; i < named_count; i++) {
		char *slash = strchr(argv[6 + i], '/');

		*slash = '\0';
		named[i] = (struct sweep_object){resources[0], slash > argv[6 + i] ? argv[6 + i] : NULL, slash + 1};
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
	struct web *web = NULL;
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
		rc = web_start(kube.loop, &web, &err);
	if (rc == 0)
		rc = sweep(&kube, web, argv, argc, &err);
	if (rc < 0)
		fprintf(stderr, "error %s: %s\n", error_code_name(error_code(err)), error_message(err));
	error_free(err);
	web_stop(web);
	http_client_free(kube.http);
	kube_access_free(access);
	loop_free(kube.loop);
	return rc < 0;
}
