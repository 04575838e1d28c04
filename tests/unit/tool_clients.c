/* Drives src/client against real servers, for tests/e2e/test_clients.py: one command, one JSON document or line on
 * stdout; a failure is "error CODE SERVER OBJECT: message" on stderr and exit 1.
 *
 * tool_clients kube KUBECONFIG [URL] COMMAND ... tool_clients etcd ENDPOINTS CA CERT KEY COMMAND ... ("-" for
 * none) */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include "base/clock.h"
#include "base/json_read.h"
#include "base/json_writer.h"
#include "base/secret.h"
#include "client/etcd/etcd.h"
#include "client/kube/lock.h"
#include "client/kube/object.h"
#include "net/kubeconfig.h"

#define OUT_CAP (64u << 20)
#define IN_FLIGHT 16

static struct loop *loop;

static int fail(struct error *err)
{
	fprintf(stderr, "error %s %s %s: %s\n", error_code_name(error_code(err)),
		error_server(err) ? error_server(err) : "-", error_object(err) ? error_object(err) : "-",
		error_message(err));
	return 1;
}

static double cpu_seconds(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* VmHWM: ru_maxrss begins with what the parent had at the fork. */
static long peak_kib(void)
{
	FILE *file = fopen("/proc/self/status", "re");
	char line[256];
	long kib = 0;

	while (file != NULL && fgets(line, sizeof(line), file) != NULL)
		if (strncmp(line, "VmHWM:", 6) == 0)
			kib = strtol(line + 6, NULL, 10);
	if (file != NULL)
		fclose(file);
	return kib;
}

/* --- API server ------------------------------------------------------------------------------------------------- */

struct kube_tool {
	struct kube kube;
	struct kube_access *access;
};

static const struct kube_resource *find(struct kube *kube, const char *name)
{
	static struct kube_resources resources;
	struct error *err = NULL;

	if (resources.count == 0 && kube_discover(kube, &resources, NULL, &err) < 0)
		exit(fail(err));
	if (kube_resources_find(&resources, name) == NULL) {
		fprintf(stderr, "no resource %s\n", name);
		exit(2);
	}
	return kube_resources_find(&resources, name);
}

static int run_discover(struct kube *kube)
{
	struct kube_resources resources = {0};
	_cleanup_strings_ missing = {0};
	struct error *err = NULL;
	uint64_t begun = clock_monotonic();

	if (kube_discover(kube, &resources, &missing, &err) < 0)
		return fail(err);
	fprintf(stderr, "discovered in %.1f ms\n", (double)(clock_monotonic() - begun) / 1e6);
	for (size_t i = 0; i < resources.count; i++) {
		const struct kube_resource *r = &resources.items[i];

		printf("%s %s %s %s%s%s%s%s%s%s", r->resource, r->api_version, r->kind, r->singular,
		       r->namespaced ? " namespaced" : "", r->can_list ? " list" : "", r->can_update ? " update" : "",
		       r->can_patch ? " patch" : "", r->custom ? " custom" : "", r->aggregated ? " aggregated" : "");
		for (size_t j = 0; j < r->short_name_count; j++)
			printf(" %s", r->short_names[j]);
		printf("\n");
	}
	for (size_t i = 0; i < missing.count; i++)
		printf("missing %s\n", missing.items[i]);
	kube_resources_free(&resources);
	return 0;
}

static int run_facts(struct kube *kube)
{
	struct kube_identities identities = {0};
	struct apiserver_metrics metrics = {0};
	_cleanup_strings_ endpoints = {0};
	_cleanup_free_ char *version = NULL;
	struct error *err = NULL;
	bool may = false;

	if (kube_version(kube, &version, &err) < 0 || kube_identities_fetch(kube, &identities, &err) < 0 ||
	    kube_scrape(kube, &metrics, NULL, &err) < 0 ||
	    kube_may(kube, "update", "", "secrets", "default", &may, &err) < 0)
		return fail(err);
	printf("version %s\nmay %d\nprocess start %.2f\n", version, may, metrics.process_start);
	for (size_t i = 0; i < metrics.loaded_hash_count; i++)
		printf("loaded %s\n", metrics.loaded_hashes[i]);
	for (size_t i = 0; i < metrics.id_hash_count; i++)
		printf("id %s\n", metrics.id_hashes[i]);
	for (size_t i = 0; i < identities.count; i++) {
		const struct kube_identity *id = &identities.items[i];

		printf("identity %s host %s hash %s holder %s peer %s renewed %" PRIu64 "\n", id->lease_name,
		       id->hostname, id->id_hash, id->holder, id->peer_address, id->renewed_wall / NS_PER_S);
	}
	if (kube_endpoints_fetch(kube, &endpoints, &err) < 0) {
		printf("endpoints: %s\n", error_message(err));
		error_free(err);
	}
	for (size_t i = 0; i < endpoints.count; i++)
		printf("endpoint %s\n", endpoints.items[i]);
	apiserver_metrics_free(&metrics);
	kube_identities_free(&identities);
	return 0;
}

/* One rewriting pass without an engine: pages, and IN_FLIGHT writes at once. */
struct job {
	struct job *next;
	struct pass *pass;
	char *namespace_, *name, *uid, *version;
	struct secret *object;
	struct kube_write_call *call;
	uint64_t size;
};
struct pass {
	struct kube *kube;
	const struct kube_resource *resource;
	bool patch, list_only, list_done, done;
	struct kube_list_call *list;
	struct job *queue, **queue_end;
	unsigned in_flight;
	uint64_t queued_bytes, objects, bytes, moved, errors, pauses, cap;
	bool paused;
	char *continue_token;
	struct error *error;
};

static void pass_next(struct pass *pass);

static void job_free(struct job *job)
{
	free(job->namespace_);
	free(job->name);
	free(job->uid);
	free(job->version);
	secret_free(job->object);
	free(job);
}

static void on_written(void *arg, struct kube_write_result *result)
{
	struct job *job = arg;
	struct pass *pass = job->pass;

	pass->in_flight--;
	pass->queued_bytes -= job->size;
	if (result->rc < 0) {
		pass->errors++;
		fprintf(stderr, "status %u sent %d retry_after %" PRIu64 " reinitializing %d\n", result->status,
			result->sent, result->retry_after, result->reinitializing);
		fail(result->error);
	} else if (strcmp(result->resource_version, job->version) != 0) {
		pass->moved++;
	}
	job_free(job);
	pass_next(pass);
	if (pass->paused && pass->queued_bytes < pass->cap / 2) {
		pass->paused = false;
		if (pass->list != NULL)
			kube_list_resume(pass->list);
	}
}

static bool is_full(void *arg)
{
	struct pass *pass = arg;

	if (pass->list_only || pass->queued_bytes < pass->cap)
		return false;
	pass->paused = true;
	pass->pauses++;
	return true;
}

static int on_item(void *arg, struct kube_list_item *item)
{
	struct pass *pass = arg;
	struct job *job;

	pass->objects++;
	pass->bytes += item->size;
	if (pass->list_only)
		return 0;
	job = xcalloc(1, sizeof(*job));
	*job = (struct job){.pass = pass,
			    .namespace_ = xstrdup(item->namespace_),
			    .name = xstrdup(item->name),
			    .uid = xstrdup(item->uid),
			    .version = xstrdup(item->resource_version),
			    .object = steal(item->object),
			    .size = item->size};
	*pass->queue_end = job;
	pass->queue_end = &job->next;
	pass->queued_bytes += job->size;
	pass_next(pass);
	return 0;
}

static void on_listed(void *arg, struct kube_list_result *result)
{
	struct pass *pass = arg;

	pass->list = NULL;
	pass->error = steal(result->error);
	if (result->rc < 0)
		fprintf(stderr, "status %u continue \"%.20s\" retry_after %" PRIu64 " reinitializing %d\n",
			result->status, result->continue_token, result->retry_after, result->reinitializing);
	free(pass->continue_token);
	pass->continue_token = xstrdup(result->rc == 0 ? result->continue_token : "");
	pass->list_done = true;
	pass_next(pass);
}

static void list_page(struct pass *pass, const char *namespace_, unsigned limit)
{
	pass->list_done = false;
	pass->list = kube_list_start(pass->kube, &(struct kube_list_options){.resource = pass->resource,
									     .namespace_ = namespace_,
									     .limit = limit,
									     .continue_token = pass->continue_token,
									     .metadata_only = pass->patch,
									     .item_cap = 16 << 20,
									     .on_item = on_item,
									     .is_full = is_full,
									     .on_done = on_listed,
									     .arg = pass});
}

static void pass_next(struct pass *pass)
{
	while (pass->in_flight < IN_FLIGHT && pass->queue != NULL) {
		struct job *job = pass->queue;

		pass->queue = job->next;
		if (pass->queue == NULL)
			pass->queue_end = &pass->queue;
		pass->in_flight++;
		job->call = pass->patch ? kube_patch_start(pass->kube, pass->resource, job->namespace_, job->name,
							   job->uid, job->version, NULL, 0, on_written, job)
					: kube_put_start(pass->kube, pass->resource, job->namespace_, job->name,
							 job->object, 0, on_written, job);
	}
	pass->done = pass->list_done && pass->in_flight == 0 && pass->queue == NULL;
}

/* MODE put|patch|list|meta, RESOURCE, NAMESPACE or "-", LIMIT, CAP in bytes */
static int run_pass(struct kube *kube, const char *mode, char **argv)
{
	struct pass pass = {.kube = kube, .resource = find(kube, argv[0]), .cap = strtoull(argv[3], NULL, 10)};
	const char *namespace_ = strcmp(argv[1], "-") ? argv[1] : NULL;
	unsigned limit = (unsigned)strtoul(argv[2], NULL, 10);
	double cpu = cpu_seconds();
	uint64_t begun = clock_monotonic();
	struct error *err = NULL;
	double seconds;

	pass.patch = strcmp(mode, "patch") == 0 || strcmp(mode, "meta") == 0;
	pass.list_only = strcmp(mode, "list") == 0 || strcmp(mode, "meta") == 0;
	pass.queue_end = &pass.queue;
	do {
		pass.done = false;
		list_page(&pass, namespace_, limit);
		if (loop_run_until(loop, &pass.done, 0, &err) < 0)
			return fail(err);
		if (pass.error != NULL)
			return fail(pass.error);
	} while (pass.continue_token[0] != '\0');
	seconds = (double)(clock_monotonic() - begun) / 1e9;
	cpu = cpu_seconds() - cpu;
	printf("{\"objects\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"moved\":%" PRIu64 ",\"errors\":%" PRIu64
	       ",\"pauses\":%" PRIu64 ",\"seconds\":%.3f,\"rate\":%.0f,\"cpu_ms_per_object\":%.4f,\"peak_kib\":%ld}\n",
	       pass.objects, pass.bytes, pass.moved, pass.errors, pass.pauses, seconds, (double)pass.objects / seconds,
	       cpu * 1e3 / (double)(pass.objects ? pass.objects : 1), peak_kib());
	free(pass.continue_token);
	return pass.errors ? 1 : 0;
}

struct read {
	bool done;
	struct kube_read_result result;
	char *uid, *version;
};

static void on_read(void *arg, struct kube_read_result *result)
{
	struct read *read = arg;

	read->result = *result;
	read->uid = xstrdup(result->uid);
	read->version = xstrdup(result->resource_version);
	result->error = NULL;
	result->object = NULL;
	read->done = true;
}

/* RESOURCE NAMESPACE NAME [meta] */
static int run_get(struct kube *kube, char **argv)
{
	const struct kube_resource *resource = find(kube, argv[0]);
	const char *namespace_ = strcmp(argv[1], "-") ? argv[1] : NULL;
	struct error *err = NULL;
	struct read read = {0};
	uint64_t version = 0;

	kube_read_start(kube, resource, namespace_, argv[2], argv[3] != NULL, 0, on_read, &read);
	if (loop_run_until(loop, &read.done, 0, &err) < 0)
		return fail(err);
	if (read.result.rc < 0)
		return fail(read.result.error);
	if (kube_get_metadata(kube, resource, namespace_, argv[2], NULL, &version, &err) < 0)
		return fail(err);
	printf("uid %s version %s %" PRIu64 " bytes %zu\n", read.uid, read.version, version,
	       read.result.object ? secret_len(read.result.object) : 0);
	secret_free(read.result.object);
	free(read.uid);
	free(read.version);
	return 0;
}

/* HOLDER SECONDS [keep]: takes the lock, holds it, prints the deadline's distance each second, gives it back */
static int run_lock(struct kube *kube, char **argv)
{
	struct kube_lock *lock = NULL;
	struct error *err = NULL;
	uint64_t begun = clock_monotonic();
	bool never = false;
	long seconds = strtol(argv[1], NULL, 10);

	if (kube_lock_take(kube, argv[0], &lock, &err) < 0)
		return fail(err);
	printf("taken after %.1f s\n", (double)(clock_monotonic() - begun) / 1e9);
	fflush(stdout);
	for (long i = 0; i < seconds; i++) {
		int rc = loop_run_until(loop, &never, clock_monotonic() + NS_PER_S, NULL);
		uint64_t now = clock_monotonic(), deadline = kube_lock_deadline(lock);

		printf("left %.1f lost to %s\n", deadline > now ? (double)(deadline - now) / 1e9 : 0.0,
		       kube_lock_lost_to(lock) ? kube_lock_lost_to(lock) : "nobody");
		fflush(stdout);
		if (rc == -ERROR_INTERRUPTED)
			break;
	}
	if (argv[2] == NULL)
		kube_lock_release(lock);
	return 0;
}

static int run_call(struct kube *kube, char **argv)
{
	_cleanup_json_ answer = NULL;
	struct error *err = NULL;
	char *text;

	if (kube_call(kube, argv[0], argv[1], argv[2], argv[2] ? argv[3] : NULL, &answer, &err) < 0)
		return fail(err);
	text = cJSON_PrintUnformatted(answer);
	printf("%s\n", text);
	free(text);
	return 0;
}

static int run_kube(char **argv)
{
	struct kubeconfig_options options = {.explicit_path = argv[0]};
	struct kube_tool tool = {0};
	struct error *err = NULL;
	const char *url = NULL;
	int rc = 2;

	argv++;
	if (argv[0] != NULL && strncmp(argv[0], "http", 4) == 0)
		url = *argv++;
	if (kube_access_load(&options, &tool.access, &err) < 0 ||
	    kube_access_client(tool.access, loop, url, IN_FLIGHT + 1, &tool.kube.http, &err) < 0)
		return fail(err);
	tool.kube.loop = loop;
	tool.kube.name = "server-a";
	if (strcmp(argv[0], "discover") == 0)
		rc = run_discover(&tool.kube);
	else if (strcmp(argv[0], "facts") == 0)
		rc = run_facts(&tool.kube);
	else if (strcmp(argv[0], "get") == 0)
		rc = run_get(&tool.kube, argv + 1);
	else if (strcmp(argv[0], "lock") == 0)
		rc = run_lock(&tool.kube, argv + 1);
	else if (strcmp(argv[0], "call") == 0)
		rc = run_call(&tool.kube, argv + 1);
	else
		rc = run_pass(&tool.kube, argv[0], argv + 1);
	http_client_free(tool.kube.http);
	kube_access_free(tool.access);
	return rc;
}

/* --- etcd ------------------------------------------------------------------------------------------------------- */

static struct secret *read_pem(const char *path)
{
	struct secret *pem;
	char bytes[65536];
	size_t len;
	FILE *file;

	if (strcmp(path, "-") == 0)
		return NULL;
	file = fopen(path, "re");
	if (file == NULL)
		exit(2);
	len = fread(bytes, 1, sizeof(bytes), file);
	fclose(file);
	pem = secret_from(bytes, len);
	return pem;
}

static int show_members(struct etcd *etcd)
{
	printf("cluster %" PRIx64 " certain %d balancer %d\n", etcd_cluster_id(etcd), etcd_membership_certain(etcd),
	       etcd_behind_balancer(etcd));
	for (size_t i = 0; i < etcd_member_count(etcd); i++) {
		const struct etcd_member_info *m = etcd_member(etcd, i);

		printf("member %s url %s answered %d learner %d revision %" PRIu64 " term %" PRIu64 " size %" PRIu64
		       " quota %" PRIu64 " why %s\n",
		       m->name, m->url ? m->url : "-", m->answered, m->learner, m->revision, m->raft_term, m->db_size,
		       m->db_size_quota, m->why ? m->why : "-");
	}
	return 0;
}

struct scan {
	uint64_t keys, bytes;
	char last[ETCD_KEY_MAX + 2];
	size_t last_len;
};

static int on_kv(void *arg, const struct etcd_kv *kv)
{
	struct scan *scan = arg; /* or what begins with one */

	scan->keys++;
	scan->bytes += kv->value_size;
	memcpy(scan->last, kv->key, kv->key_len);
	scan->last_len = kv->key_len;
	return 0;
}

/* COUNT PREFIX LIMIT: so many scans side by side, and a small read every 10 ms beside them */
struct side {
	struct scan scan;
	struct etcd *etcd;
	struct etcd_range_options options;
	char from[ETCD_KEY_MAX + 2];
	uint8_t end[256];
	unsigned *left;
	bool *done;
};
struct pulse {
	struct etcd *etcd;
	struct loop_timer timer;
	struct etcd_range_call *call;
	uint64_t begun, worst, count;
};

static void on_pulse(void *arg);

static void on_pulse_done(void *arg, struct etcd_range_result *result)
{
	struct pulse *pulse = arg;
	uint64_t took = clock_monotonic() - pulse->begun;

	if (result->rc < 0)
		fail(result->error);
	pulse->call = NULL;
	pulse->count++;
	if (took > pulse->worst)
		pulse->worst = took;
	loop_timer_set(loop, &pulse->timer, clock_monotonic() + 10 * NS_PER_MS, on_pulse, pulse);
}

static void on_pulse(void *arg)
{
	struct pulse *pulse = arg;

	pulse->begun = clock_monotonic();
	pulse->call = etcd_range_start(pulse->etcd, &(struct etcd_range_options){.request = {.key = "k", .key_len = 1},
										 .member = 0,
										 .on_done = on_pulse_done,
										 .arg = pulse});
}

static void side_next(struct side *side);

static void on_side_done(void *arg, struct etcd_range_result *result)
{
	struct side *side = arg;

	if (result->rc < 0)
		fail(result->error);
	if (result->rc < 0 || !result->more) {
		*side->done = --*side->left == 0;
		return;
	}
	memcpy(side->from, side->scan.last, side->scan.last_len);
	side->from[side->scan.last_len] = '\0';
	side->options.request.key_len = side->scan.last_len + 1;
	side_next(side);
}

static void side_next(struct side *side)
{
	etcd_range_start(side->etcd, &side->options);
}

static int run_race(struct etcd *etcd, char **argv)
{
	unsigned count = (unsigned)strtoul(argv[0], NULL, 10), left = count;
	struct side *sides = xcalloc(count, sizeof(*sides));
	struct pulse pulse = {.etcd = etcd};
	uint64_t begun = clock_monotonic(), keys = 0;
	struct error *err = NULL;
	bool done = false;
	double cpu = cpu_seconds();

	on_pulse(&pulse);
	for (unsigned i = 0; i < count; i++) {
		struct side *side = &sides[i];

		*side = (struct side){.etcd = etcd, .left = &left, .done = &done};
		memcpy(side->from, argv[1], strlen(argv[1]));
		side->options = (struct etcd_range_options){
			.request = {.key = side->from,
				    .key_len = strlen(argv[1]),
				    .range_end = side->end,
				    .range_end_len = etcd_prefix_end(argv[1], strlen(argv[1]), side->end),
				    .limit = strtoull(argv[2], NULL, 10)},
			.member = -1,
			.on_kv = on_kv,
			.on_done = on_side_done,
			.arg = side,
		};
		side->options.arg = side;
		side_next(side);
	}
	if (loop_run_until(loop, &done, 0, &err) < 0)
		return fail(err);
	for (unsigned i = 0; i < count; i++)
		keys += sides[i].scan.keys;
	printf("{\"keys\":%" PRIu64 ",\"seconds\":%.3f,\"cpu\":%.3f,\"pulses\":%" PRIu64
	       ",\"worst_pulse_ms\":%.1f,\"peak_kib\":%ld}\n",
	       keys, (double)(clock_monotonic() - begun) / 1e9, cpu_seconds() - cpu, pulse.count,
	       (double)pulse.worst / 1e6, peak_kib());
	etcd_range_cancel(pulse.call);
	loop_timer_cancel(loop, &pulse.timer);
	free(sides);
	return 0;
}

/* PREFIX LIMIT REVISION MEMBER */
static int run_scan(struct etcd *etcd, char **argv)
{
	struct scan scan = {0};
	uint8_t end[256];
	char from[ETCD_KEY_MAX + 2];
	size_t from_len = strlen(argv[0]), end_len = etcd_prefix_end(argv[0], strlen(argv[0]), end);
	struct etcd_range_options options = {.request = {.key = from, .range_end = end, .range_end_len = end_len},
					     .member = (int)strtol(argv[3], NULL, 10),
					     .on_kv = on_kv,
					     .arg = &scan};
	struct etcd_range_result result = {.more = true};
	double cpu = cpu_seconds(), seconds;
	uint64_t begun = clock_monotonic();
	struct error *err = NULL;

	memcpy(from, argv[0], from_len);
	options.request.limit = strtoull(argv[1], NULL, 10);
	options.request.revision = strtoull(argv[2], NULL, 10);
	while (result.more) {
		options.request.key_len = from_len;
		if (etcd_range_fetch(etcd, &options, &result, &err) < 0) {
			fprintf(stderr, "after %" PRIu64 " keys\n", scan.keys);
			return fail(err);
		}
		if (options.request.revision == 0)
			options.request.revision = result.header.revision;
		memcpy(from, scan.last, scan.last_len);
		from[scan.last_len] = '\0';
		from_len = scan.last_len + 1;
	}
	seconds = (double)(clock_monotonic() - begun) / 1e9;
	cpu = cpu_seconds() - cpu;
	printf("{\"keys\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"revision\":%" PRIu64
	       ",\"seconds\":%.3f,\"rate\":%.0f,\"cpu\":%.3f,\"peak_kib\":%ld}\n",
	       scan.keys, scan.bytes, result.header.revision, seconds, (double)scan.keys / seconds, cpu, peak_kib());
	return 0;
}

static int run_etcd(char **argv)
{
	_cleanup_strings_ endpoints = {0};
	_cleanup_secret_ ca = read_pem(argv[1]), *cert = read_pem(argv[2]), *key = read_pem(argv[3]);
	struct etcd_options options = {.ca_pem = ca, .cert_pem = cert, .key_pem = key};
	struct etcd *etcd = NULL;
	struct error *err = NULL;
	bool compacted;
	int rc = 0;

	strings_split(&endpoints, argv[0], ',');
	options.endpoints = (const char *const *)endpoints.items;
	options.endpoint_count = endpoints.count;
	argv += 4;
	if (etcd_new(loop, &options, &etcd, &err) < 0)
		return fail(err);
	if (etcd_connect(etcd, &err) < 0)
		rc = fail(err);
	else if (strcmp(argv[0], "members") == 0)
		rc = show_members(etcd);
	else if (strcmp(argv[0], "again") == 0) { /* connects again each time a line comes */
		char line[16];

		show_members(etcd);
		fflush(stdout);
		while (fgets(line, sizeof(line), stdin) != NULL) {
			if (etcd_connect(etcd, &err) < 0) {
				fail(err);
				error_clear(&err);
			} else {
				show_members(etcd);
			}
			printf(".\n");
			fflush(stdout);
		}
	} else if (strcmp(argv[0], "scan") == 0)
		rc = run_scan(etcd, argv + 1);
	else if (strcmp(argv[0], "race") == 0)
		rc = run_race(etcd, argv + 1);
	else if (strcmp(argv[0], "compact") == 0)
		rc = etcd_compact(etcd, strtoull(argv[1], NULL, 10), &err) < 0 ? fail(err) : 0;
	else if (strcmp(argv[0], "compacted") == 0) {
		if (etcd_is_compacted(etcd, strtoull(argv[1], NULL, 10), &compacted, &err) < 0)
			rc = fail(err);
		else
			printf("%d\n", compacted);
	}
	etcd_free(etcd);
	return rc;
}

int main(int argc, char **argv)
{
	struct error *err = NULL;
	int rc = 64;

	json_install_hooks();
	if (loop_new(&loop, &err) < 0)
		return fail(err);
	if (argc > 3 && strcmp(argv[1], "kube") == 0)
		rc = run_kube(argv + 2);
	else if (argc > 6 && strcmp(argv[1], "etcd") == 0)
		rc = run_etcd(argv + 2);
	loop_free(loop);
	return rc;
}
