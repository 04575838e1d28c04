/* Drives watches and serving against real servers, for tests/e2e/test_watch.py. It follows a collection until its standard
 * input ends, or serves; a line of input asks for something.
 *
 * tool_watch watch KUBECONFIG URL|- RESOURCE NAMESPACE|- meta|json
 *   "view": the view, one "NAMESPACE/NAME UID VERSION" a line, sorted, then "end"; "facts": counters as JSON;
 *   "stall MS": the loop does nothing for so long.
 * tool_watch serve LISTEN CERT|- KEY|- ALIVE_MS
 *   "publish SIZE ready|WHY": metrics of about so many bytes; "problem": the certificate's, or "-". */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/json_writer.h"
#include "client/kube/watcher.h"
#include "net/kubeconfig.h"
#include "serve/metrics_text.h"
#include "serve/serve.h"

#define OUT_CAP (64u << 20)

static struct loop *loop;
static struct web *web;

static int fail(struct error *err)
{
	fprintf(stderr, "error %s: %s\n", error_code_name(error_code(err)), error_message(err));
	return 1;
}

/* A status of this process in KiB. */
static long memory_kib(const char *what)
{
	FILE *file = fopen("/proc/self/status", "re");
	char line[256];
	long kib = 0;

	while (file != NULL && fgets(line, sizeof(line), file) != NULL)
		if (strncmp(line, what, strlen(what)) == 0)
			kib = strtol(line + strlen(what), NULL, 10);
	if (file != NULL)
		fclose(file);
	return kib;
}

/* --- lines of input --------------------------------------------------------------------------------------------- */

static struct {
	struct loop_fd ready;
	void (*on_line)(const char *line);
	char text[65536];
	size_t len;
	bool ended;
} input;

static void on_input(void *arg)
{
	ssize_t got = read(STDIN_FILENO, input.text + input.len, sizeof(input.text) - input.len);
	char *end;

	(void)arg;
	if (got <= 0) {
		input.ended = true;
		return;
	}
	input.len += (size_t)got;
	while ((end = memchr(input.text, '\n', input.len)) != NULL) {
		*end = '\0';
		input.on_line(input.text);
		input.len -= (size_t)(end + 1 - input.text);
		memmove(input.text, end + 1, input.len);
	}
	fflush(stdout);
}

static int run(void (*on_line)(const char *line))
{
	struct error *err = NULL;
	int rc;

	input.on_line = on_line;
	fflush(stdout);
	if (loop_watch_fd(loop, &input.ready, STDIN_FILENO, on_input, NULL, &err) < 0)
		return fail(err);
	rc = loop_run_until(loop, &input.ended, 0, NULL);
	loop_unwatch_fd(loop, &input.ready);
	return rc < 0 ? 1 : 0;
}

/* --- watch ------------------------------------------------------------------------------------------------------ */

struct known {
	char *key; /* "NAMESPACE/NAME UID VERSION", of which the first word names it */
	bool seen;
};

static struct {
	struct kube_watch *watch;
	struct known *known; /* sorted */
	size_t count;
	uint64_t relists, events, bookmarks, added, modified, deleted, json;
} view;

/* The place of a name among the known; whether it is there. */
static bool find(const char *name, size_t *ret)
{
	size_t low = 0, high = view.count, len = strlen(name);

	while (low < high) {
		size_t middle = (low + high) / 2;
		const char *key = view.known[middle].key;
		size_t key_len = strcspn(key, " ");
		int order = strncmp(key, name, key_len < len ? key_len : len);

		if (order == 0)
			order = key_len < len ? -1 : key_len > len;
		if (order == 0) {
			*ret = middle;
			return true;
		}
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	*ret = low;
	return false;
}

static void set(const struct watch_object *object, bool gone)
{
	_cleanup_free_ char *name = xasprintf("%s/%s", object->namespace_, object->name);
	size_t at;
	bool there = find(name, &at);

	view.json += object->json != NULL;
	if (there) {
		free(view.known[at].key);
		view.count--;
		memmove(view.known + at, view.known + at + 1, (view.count - at) * sizeof(*view.known));
	}
	if (gone)
		return;
	view.known = xreallocarray(view.known, view.count + 1, sizeof(*view.known));
	memmove(view.known + at + 1, view.known + at, (view.count - at) * sizeof(*view.known));
	view.known[at] =
		(struct known){.key = xasprintf("%s %s %s", name, object->uid, object->resource_version), .seen = true};
	view.count++;
}

static void on_relist(void *arg)
{
	(void)arg;
	view.relists++;
	for (size_t i = 0; i < view.count; i++)
		view.known[i].seen = false;
}

static void on_listed(void *arg, const struct watch_object *object)
{
	(void)arg;
	set(object, false);
}

static void on_synced(void *arg)
{
	size_t kept = 0;

	(void)arg;
	for (size_t i = 0; i < view.count; i++) {
		if (view.known[i].seen)
			view.known[kept++] = view.known[i];
		else
			free(view.known[i].key);
	}
	view.count = kept;
}

static void on_event(void *arg, enum watch_event_type type, const struct watch_object *object)
{
	(void)arg;
	view.events++;
	view.added += type == WATCH_ADDED;
	view.modified += type == WATCH_MODIFIED;
	view.deleted += type == WATCH_DELETED;
	set(object, type == WATCH_DELETED);
}

static void on_bookmark(void *arg, const char *resource_version)
{
	(void)arg;
	(void)resource_version;
	view.bookmarks++;
}

static void print_facts(void)
{
	struct json_writer w = JSON_WRITER_INIT(OUT_CAP);

	json_object_begin(&w);
	json_member_bool(&w, "synced", kube_watch_is_synced(view.watch));
	json_key(&w, "problem");
	json_string(&w, kube_watch_problem(view.watch));
	json_member_u64(&w, "objects", view.count);
	json_member_u64(&w, "relists", view.relists);
	json_member_u64(&w, "events", view.events);
	json_member_u64(&w, "added", view.added);
	json_member_u64(&w, "modified", view.modified);
	json_member_u64(&w, "deleted", view.deleted);
	json_member_u64(&w, "bookmarks", view.bookmarks);
	json_member_u64(&w, "json", view.json);
	json_member_u64(&w, "rss", (uint64_t)memory_kib("VmRSS:"));
	json_member_u64(&w, "peak", (uint64_t)memory_kib("VmHWM:"));
	json_object_end(&w);
	puts(json_text(&w));
	json_writer_free(&w);
}

static void on_watch_line(const char *line)
{
	if (strcmp(line, "facts") == 0) {
		print_facts();
		return;
	}
	if (strncmp(line, "stall ", 6) == 0) {
		usleep((useconds_t)strtoul(line + 6, NULL, 10) * 1000);
		return;
	}
	for (size_t i = 0; i < view.count; i++)
		puts(view.known[i].key);
	puts("end");
}

static int run_watch(struct kube *kube, char **argv)
{
	static const struct watch_handler handler = {.on_relist = on_relist,
						     .on_listed = on_listed,
						     .on_synced = on_synced,
						     .on_event = on_event,
						     .on_bookmark = on_bookmark};
	struct kube_watch_options options = {.namespace_ = strcmp(argv[1], "-") == 0 ? NULL : argv[1],
					     .objects = strcmp(argv[2], "json") == 0};
	struct kube_resources resources = {0};
	struct error *err = NULL;
	int rc;

	if (kube_discover(kube, &resources, NULL, &err) < 0)
		return fail(err);
	options.resource = kube_resources_find(&resources, argv[0]);
	if (options.resource == NULL)
		return 2;
	view.watch = kube_watch_start(kube, web, &options, &handler, NULL);
	rc = run(on_watch_line);
	kube_watch_stop(view.watch);
	kube_resources_free(&resources);
	for (size_t i = 0; i < view.count; i++)
		free(view.known[i].key);
	free(view.known);
	return rc;
}

static int watch_main(int argc, char **argv)
{
	struct kubeconfig_options options = {.explicit_path = argv[0]};
	struct http_client *http = NULL;
	struct kube_access *access = NULL;
	struct error *err = NULL;
	struct kube kube;
	int rc;

	if (argc != 5)
		return 64;
	if (kube_access_load(&options, &access, &err) < 0 ||
	    kube_access_client(access, loop, strcmp(argv[1], "-") == 0 ? NULL : argv[1], 4, &http, &err) < 0)
		return fail(err);
	kube = (struct kube){.loop = loop, .http = http, .name = "server-a"};
	rc = run_watch(&kube, argv + 2);
	http_client_free(http);
	kube_access_free(access);
	return rc;
}

/* --- serve ------------------------------------------------------------------------------------------------------ */

static struct serve *serve;

static void publish(size_t size, const char *ready)
{
	struct metrics_text w = METRICS_TEXT_INIT;
	struct metrics_label label = {"name", "a\\b\"c\nd"};

	metrics_family(&w, "kube_rekey_objects", METRICS_GAUGE, "Objects, by \"name\".");
	metrics_u64(&w, &label, 1, size);
	metrics_family(&w, "kube_rekey_filling", METRICS_GAUGE, "To make it long.");
	for (size_t i = 0; w.out.len < size; i++) {
		_cleanup_free_ char *number = xasprintf("%zu", i);

		metrics_u64(&w, &(struct metrics_label){"number", number}, 1, i);
	}
	serve_publish(serve, &w.out, strcmp(ready, "ready") == 0, ready);
	metrics_text_free(&w);
}

static void on_serve_line(const char *line)
{
	if (strncmp(line, "publish ", 8) == 0) {
		char *rest;
		size_t size = strtoul(line + 8, &rest, 10);

		publish(size, rest + 1);
	}
	puts(serve_problem(serve) != NULL ? serve_problem(serve) : "-");
}

static int serve_main(int argc, char **argv)
{
	struct error *err = NULL;
	struct serve_options options;
	int rc;

	if (argc != 4)
		return 64;
	options = (struct serve_options){.listen = argv[0],
					 .cert_file = strcmp(argv[1], "-") == 0 ? NULL : argv[1],
					 .key_file = strcmp(argv[2], "-") == 0 ? NULL : argv[2],
					 .alive_within = strtoul(argv[3], NULL, 10) * NS_PER_MS};
	if (serve_start(web, &options, &serve, &err) < 0)
		return fail(err);
	printf("%u\n", serve_port(serve));
	rc = run(on_serve_line);
	serve_stop(serve);
	return rc;
}

int main(int argc, char **argv)
{
	struct error *err = NULL;
	int rc = 64;

	json_install_hooks();
	if (loop_new(&loop, &err) < 0 || web_start(loop, &web, &err) < 0)
		return fail(err);
	if (argc > 2 && strcmp(argv[1], "watch") == 0)
		rc = watch_main(argc - 2, argv + 2);
	if (argc > 2 && strcmp(argv[1], "serve") == 0)
		rc = serve_main(argc - 2, argv + 2);
	web_stop(web);
	loop_free(loop);
	return rc;
}
