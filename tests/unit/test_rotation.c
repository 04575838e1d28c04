/* What a rotation of one server makes of what is there when it begins, and what it tells of it. */
#include "test_folder.h"

#include <limits.h>

#include "base/clock.h"
#include "certificate_support.h"
#include "client/kube/kube_internal.h"
#include "engine/rotation_internal.h"
#include "kube_bytes.h"
#include "kube_server.h"
#include "net/loop.h"
#include "shape_support.h"

#define CONFIG(keys)                                                                                                  \
	"apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n" \
	"  providers:\n  - aescbc:\n      keys:\n" keys
#define KEY_A "      - name: a\n        secret: MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\n"
#define OTHER_A "      - name: a\n        secret: YWJjZGVmZ2hpamFiY2RlZmdoaWphYmNkZWZnaGlqYWI=\n"
#define KEY_B "      - name: b\n        secret: YWJjZGVmZ2hpamFiY2RlZmdoaWphYmNkZWZnaGlqYWI=\n"

#define NEVER UINT_MAX
#define OF_ANOTHER "it is of another cluster"
#define UNTOLD "nobody tells which cluster this is"

static struct kube_server server;
static struct cluster cluster;
static char empty[] = "", version[] = "v1", plural[] = "namespaces", kind[] = "Namespace";
static struct kube_resource namespaces = {.group = empty,
					  .version = version,
					  .plural = plural,
					  .kind = kind,
					  .singular = empty,
					  .api_version = version,
					  .resource = plural};

static char *text(const char *words)
{
	return (char *)(uintptr_t)words;
}

/* --- a journal that is there --- */

/* Whoever opens it: with --out, a gate, or beside the server's own file. */
enum role { MANUAL, GATE, OWN };

/* Its cluster is "this" one unless said otherwise, and it knows cp-1 and a forgotten cp-2. */
static const struct {
	const char *name;
	enum role role;
	const char *cluster; /* NULL: of an earlier version, which did not note it down */
	bool of_this_file;
	unsigned busy;   /* times that the server does not tell yet which cluster this is; NEVER: it may not */
	const char *why; /* it is refused; NULL */
	bool inherits;
} rows[] = {
	{"it goes on", MANUAL, "this", true, 0, NULL, true},
	{"it goes on, after a try that failed", MANUAL, "this", true, 1, NULL, true},
	{"of an earlier version", MANUAL, NULL, true, 0, NULL, true},
	{"of an earlier version, of whatever cluster", MANUAL, NULL, true, NEVER, NULL, true},
	{"of another file", MANUAL, "this", false, 0, NULL, true},
	{"of another file, by an earlier version", MANUAL, NULL, false, 0, NULL, true},
	{"of another cluster", MANUAL, "that", true, 0, OF_ANOTHER, false},
	{"of another cluster and another file", MANUAL, "that", false, 0, OF_ANOTHER, false},
	{"perhaps of another cluster", MANUAL, "that", false, NEVER, UNTOLD, false},
	{"a gate", GATE, "this", true, 0, NULL, true},
	{"a gate, by an earlier version", GATE, NULL, true, 0, NULL, true},
	{"a gate, of another cluster", GATE, "that", true, 0, NULL, false},
	{"a gate, perhaps of another cluster", GATE, "that", true, NEVER, UNTOLD, false},
	{"the server's own", OWN, "this", true, 0, NULL, true},
	{"the server's own, of another cluster", OWN, "that", true, 0, OF_ANOTHER, false},
	{"the server's own, perhaps of another cluster", OWN, "that", true, NEVER, NULL, true},
};

static struct served_answer tell_cluster(void *arg, const struct served_request *request)
{
	static struct buf body;
	unsigned *busy = arg;
	if (!text_equal(request->path, "/api/v1/namespaces/kube-system") || *busy == NEVER)
		return (struct served_answer){.status = 403, .body = "{}"};
	if (*busy > 0) {
		(*busy)--;
		return (struct served_answer){.status = 500, .body = "{}"};
	}
	buf_free(&body);
	body = envelope("meta.k8s.io/v1", "PartialObjectMetadata", object_bytes("", "kube-system", "this", "7", NULL));
	return (struct served_answer){.status = 200, .type = KUBE_PROTOBUF, .body = body.data, .len = body.len};
}

static char noted[1000];

static void note(void *arg, const char *text)
{
	(void)arg;
	snprintf(noted, sizeof(noted), "%s", text);
}

static int open_rotation(enum role role, struct rotation **ret, struct error **err)
{
	static char config[FOLDER_PATH_MAX], to[FOLDER_PATH_MAX], out[FOLDER_PATH_MAX], state[FOLDER_PATH_MAX];
	static const struct strings none;
	snprintf(config, sizeof(config), "%s/server/config.yaml", folder);
	snprintf(to, sizeof(to), "%s/to.yaml", folder);
	snprintf(out, sizeof(out), "%s/out", folder);
	snprintf(state, sizeof(state), "%s/state", folder);
	cluster.has_node = role == OWN;
	cluster.node = (struct node_facts){0};
	if (role == OWN)
		cluster.node = (struct node_facts){
			.source = text("a manifest"), .from_manifest = true, .encryption_config_host = config};
	const struct rotation_options options = {.cluster = &cluster,
						 .config_path = config,
						 .to_path = to,
						 .drop_keys = &none,
						 .manual = role == MANUAL,
						 .read_only = role == GATE,
						 .out = out,
						 .wait_restart = true,
						 .state_directory = state,
						 .on_note = note};
	noted[0] = '\0';
	return rotation_open(&options, ret, err);
}

static int put_files(void)
{
	int rc = make_folder(NULL);
	if (rc == 0)
		rc = mkdir(in_folder("server"), 0700);
	put_file(in_folder("server/config.yaml"), CONFIG(KEY_A));
	put_file(in_folder("to.yaml"), CONFIG(KEY_B));
	return rc == 0 ? mkdir(in_folder("out"), 0700) : rc;
}

static void refuse(const __typeof__(rows[0]) *row, int rc, struct error *err, const char *path, const char *rotation)
{
	if (text_equal(row->why, OF_ANOTHER)) {
		_cleanup_free_ char *words = xasprintf("%s is of rotation %s of another cluster", path, rotation);
		assert_error(rc, err, ERROR_REFUSED, words);
		return;
	}
	_cleanup_free_ char *words = xasprintf("whether rotation %s is of this cluster: ", rotation);
	assert_int_equal(rc, -ERROR_AUTH);
	assert_true(text_starts(error_message(err), words));
	error_free(err);
}

static void adopts(void **state)
{
	const __typeof__(rows[0]) *row = *state;
	_cleanup_(rotation_freep) struct rotation *first = NULL, *second = NULL;
	struct error *err = NULL;
	unsigned busy = row->busy;
	assert_int_equal(put_files(), 0);
	server.arg = &busy;
	server.answer = tell_cluster;
	assert_ok(open_rotation(row->role, &first, &err), err);
	busy = row->busy;
	struct journal *journal = first->journal;
	free(journal->cluster);
	journal->cluster = xstrdup_or_null(row->cluster);
	strings_add(&journal->servers, "cp-1");
	strings_add(&journal->servers, "cp-2");
	strings_add(&journal->forgotten, "cp-2");
	if (!row->of_this_file)
		journal->hashes[0].sha256[strlen("sha256:")] = 'x';
	const char *file = in_folder(row->role == MANUAL ? "out/config.yaml" : "server/config.yaml");
	assert_ok(journal_write(file, journal, &err), err);
	int rc = open_rotation(row->role, &second, &err);
	if (row->why) {
		_cleanup_free_ char *path = journal_path(file);
		refuse(row, rc, err, path, journal->rotation);
	} else {
		assert_ok(rc, err);
		assert_int_equal(strings_has(&second->journal->servers, "cp-2"), row->inherits);
		assert_int_equal(strings_has(&second->journal->forgotten, "cp-2"), row->inherits);
		/* One that goes on is of this cluster only if it says so; who begins anew knows. */
		const char *now = row->role == GATE || !row->of_this_file ? "this" : row->cluster;
		assert_true(text_equal(second->journal->cluster, now));
		assert_int_equal(strstr(noted, "was not compared") != NULL, row->busy == NEVER && row->cluster);
	}
	kube_server_play(&server, NULL, 0);
	assert_int_equal(remove_folder(NULL), 0);
}

/* --- what lies in --out --- */

/* Without a journal nobody knows whose keys it has. */
static void test_a_file_without_a_journal(void **state)
{
	_cleanup_(rotation_freep) struct rotation *r = NULL;
	struct error *err = NULL;
	(void)state;
	assert_int_equal(put_files(), 0);
	put_file(in_folder("out/config.yaml"), CONFIG(KEY_B KEY_A));
	_cleanup_free_ char *words = xasprintf("%s belongs to no rotation that is known, and is not what %s holds",
					       in_folder("out/config.yaml"), in_folder("server/config.yaml"));
	assert_error(open_rotation(MANUAL, &r, &err), err, ERROR_REFUSED, words);
	/* The same names say nothing of the bytes. */
	put_file(in_folder("out/config.yaml"), CONFIG(OTHER_A));
	assert_error(open_rotation(MANUAL, &r, &err), err, ERROR_REFUSED, words);
	assert_null(r);
	put_file(in_folder("out/config.yaml"), CONFIG(KEY_A));
	assert_ok(open_rotation(MANUAL, &r, &err), err);
	assert_int_equal(remove_folder(NULL), 0);
}

/* --- which servers there are --- */

/* The very trouble that shall be mended may keep Nodes and pods from being listed. */
static struct served_answer lists_fail(void *arg, const struct served_request *request)
{
	static char body[1024];
	char now[28];
	(void)arg;
	if (!strstr(request->path, "/leases"))
		return (struct served_answer){.status = 500, .body = "{}"};
	clock_format(clock_wall(), 6, now);
	snprintf(body, sizeof(body),
		 "{\"metadata\":{},\"items\":[{\"metadata\":{\"name\":\"apiserver-x\",\"resourceVersion\":\"5\","
		 "\"labels\":"
		 "{\"kubernetes.io/hostname\":\"cp-1\"}},\"spec\":{\"renewTime\":\"%s\"}}]}",
		 now);
	return (struct served_answer){.status = 200, .body = body};
}

static void test_nodes_that_cannot_be_listed(void **state)
{
	_cleanup_(rotation_freep) struct rotation *r = NULL;
	const struct observation *seen;
	struct decision decision;
	struct error *err = NULL;
	(void)state;
	assert_int_equal(put_files(), 0);
	server.answer = lists_fail;
	assert_ok(open_rotation(GATE, &r, &err), err);
	assert_ok(rotation_look(r, &seen, &decision, &err), err);
	assert_int_equal(decision.reason, REASON_SET_UNKNOWN);
	_cleanup_free_ char *words = rotation_decision_text(r, &decision);
	assert_non_null(strstr(words, "could not be listed"));
	assert_non_null(strstr(words, "say --servers 1 if it is the only API server"));
	kube_server_play(&server, NULL, 0);
	assert_int_equal(remove_folder(NULL), 0);
}

/* --- copies of new keys --- */

static bool told_of_only_copy(struct rotation *r)
{
	rotation_report_begin(r);
	rotation_report_end(r, "Failed");
	bool told = false;
	for (size_t i = 0; i < r->report->remains.count; i++)
		told = told || strstr(r->report->remains.items[i], "the only copy of the new key");
	rotation_report_free(r->report);
	r->report = NULL;
	return told;
}

/* One of two new keys cannot be copied: there is no file of so long a name. What was asked for is not what was done. */
static void test_a_copy_that_failed(void **state)
{
	static char name[300];
	_cleanup_free_ char *pem = certificate(3600), *label = NULL;
	_cleanup_secret_ bytes = secret_random(32);
	struct target target = {.path = text("/config.yaml")};
	struct journal journal = {
		.rotation = text("r"), .started = text("t"), .path = path_parse("secrets=a", "secrets=b,box:c")};
	struct rotation r = {.cluster = &cluster, .target = &target, .journal = &journal, .lock_fd = -1};
	struct error *err = NULL;
	(void)state;
	assert_int_equal(make_folder(NULL), 0);
	memset(name, 'n', sizeof(name) - 1);
	label = xasprintf("aescbc/%s", name);
	r.options.state_directory = folder;
	assert_ok(seal_parse("cert", pem, &r.new_key_seal, &err), err);
	keys_add(&r.keys, PROVIDER_AESCBC, "b", bytes);
	keys_add(&r.keys, PROVIDER_AESCBC, name, bytes);
	strings_add(&journal.new_keys, "aescbc/b");
	strings_add(&journal.new_keys, label);
	journal_add_hash(&journal, (int)journal.path->count - 1, "sha256:ab", false);
	assert_int_equal(rotation_copy_new_keys(&r, &err), -ERROR_IO);
	error_clear(&err);
	assert_false(journal.copied);
	assert_false(rotation_new_key_is_alone(&r)); /* one is asked for */
	assert_true(told_of_only_copy(&r));
	strings_free(&journal.new_keys);
	assert_ok(rotation_copy_new_keys(&r, &err), err);
	assert_false(journal.copied); /* none was to be made */
	strings_add(&journal.new_keys, "aescbc/b");
	assert_ok(rotation_copy_new_keys(&r, &err), err);
	assert_true(journal.copied);
	assert_false(told_of_only_copy(&r));
	strings_free(&journal.new_keys);
	for (size_t i = 0; i < journal.hash_count; i++)
		free(journal.hashes[i].sha256);
	free(journal.hashes);
	path_free(journal.path);
	keys_free(&r.keys);
	seal_free(r.new_key_seal);
	assert_int_equal(remove_folder(NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_file_without_a_journal),
		cmocka_unit_test(test_nodes_that_cannot_be_listed),
		cmocka_unit_test(test_a_copy_that_failed),
	};
	cluster.kube = kube_server_open(&server);
	cluster.loop = cluster.kube.loop;
	cluster.resources = (struct kube_resources){.items = &namespaces, .count = 1};
	cluster.etcd_prefix = text("/registry");
	int failed = RUN_ROWS(adopts, rows) + cmocka_run_group_tests(tests, NULL, NULL);
	kube_server_close(&server, &cluster.kube);
	return failed;
}
