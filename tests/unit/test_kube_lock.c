/* The Lease, against a server that keeps one as an API server does: resourceVersions, conflicts, and faults on
 * demand. */
#include "kube_server.h"
#include "base/clock.h"
#include "base/json_read.h"
#include "client/kube/lock.h"

#define LEASE_PATH "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"

static struct loop *loop;
static struct kube_server server;
static struct kube kube;

/* Touched under the server's lock. */
static struct world {
	cJSON *lease;
	unsigned version, writes;
	char *body;
	bool busy_holder;      /* somebody renews it each time that we look */
	bool lose_next_answer; /* of a write that was done */
	unsigned broken;       /* so many 503 */
	unsigned stall_ms;
	bool forbidden;
} world;

static void set_spec(const char *holder, const char *renewed, unsigned duration, unsigned transitions)
{
	_cleanup_free_ char *text = xasprintf("{\"metadata\":{\"name\":\"kube-rekey\",\"namespace\":\"kube-system\","
					      "\"labels\":{\"keep\":\"me\"}},\"spec\":{"
					      "\"holderIdentity\":\"%s\",\"leaseDurationSeconds\":%u,\"acquireTime\":"
					      "\"2026-01-01T00:00:00.000000Z\",\"renewTime\":\"%s\","
					      "\"leaseTransitions\":%u}}",
					      holder, duration, renewed, transitions);
	_cleanup_free_ char *version = xasprintf("%u", ++world.version);
	struct error *err = NULL;

	cJSON_Delete(world.lease);
	assert_ok(json_parse(text, strlen(text), "lease", &world.lease, &err), err);
	cJSON_AddStringToObject(cJSON_GetObjectItem(world.lease, "metadata"), "resourceVersion", version);
}

static struct served_answer answer_text(unsigned status, char *body)
{
	free(world.body);
	world.body = body;
	return (struct served_answer){.status = status, .body = body, .delay_ms = world.stall_ms};
}

static struct served_answer refuse(unsigned status, const char *reason)
{
	return answer_text(status,
			   xasprintf("{\"kind\":\"Status\",\"reason\":\"%s\",\"message\":\"%s\"}", reason, reason));
}

static struct served_answer write_lease(const struct served_request *request)
{
	bool create = strcmp(request->method, "POST") == 0;
	_cleanup_free_ char *version = NULL;
	cJSON *lease = NULL;
	struct error *err = NULL;
	const char *theirs;

	assert_ok(json_parse(request->body, request->body_len, "body", &lease, &err), err);
	theirs = json_text_at(json_at(lease, "metadata", NULL), "resourceVersion");
	if (create ? world.lease != NULL
		   : world.lease != NULL && strcmp(theirs, json_text_at(json_at(world.lease, "metadata", NULL),
									"resourceVersion")) != 0) {
		cJSON_Delete(lease);
		return refuse(409, create ? "AlreadyExists" : "Conflict");
	}
	if (!create && world.lease == NULL) {
		cJSON_Delete(lease);
		return refuse(404, "NotFound");
	}
	world.writes++;
	version = xasprintf("%u", ++world.version);
	cJSON_DeleteItemFromObject(cJSON_GetObjectItem(lease, "metadata"), "resourceVersion");
	cJSON_AddStringToObject(cJSON_GetObjectItem(lease, "metadata"), "resourceVersion", version);
	cJSON_Delete(world.lease);
	world.lease = lease;
	if (world.lose_next_answer) {
		world.lose_next_answer = false;
		return (struct served_answer){.drop = true};
	}
	return answer_text(create ? 201 : 200, cJSON_PrintUnformatted(lease));
}

static struct served_answer answer_world(void *arg, const struct served_request *request)
{
	(void)arg;
	if (strncmp(request->path, LEASE_PATH, strlen(LEASE_PATH)) != 0)
		return refuse(404, "NotFound");
	if (world.forbidden)
		return refuse(403, "Forbidden");
	if (world.broken > 0) {
		world.broken--;
		return refuse(503, "ServiceUnavailable");
	}
	if (strcmp(request->method, "GET") != 0)
		return write_lease(request);
	if (world.lease == NULL)
		return refuse(404, "NotFound");
	if (world.busy_holder) {
		_cleanup_free_ char *renewed = xasprintf("2026-01-01T00:00:%02u.000000Z", world.version % 60);

		set_spec("other", renewed, 15, 0);
	}
	return answer_text(200, cJSON_PrintUnformatted(world.lease));
}

static void begin(void)
{
	kube_server_play(&server, NULL, 0);
	cJSON_Delete(world.lease);
	free(world.body);
	world = (struct world){.version = 10};
	server.answer = answer_world;
}

static void wait_ns(uint64_t ns)
{
	bool never = false;

	(void)!loop_run_until(loop, &never, clock_monotonic() + ns, NULL);
}

/* A text of the Lease as the server has it now. */
static char *at_server(const char *member)
{
	char *text;

	pthread_mutex_lock(&server.lock);
	text = world.lease ? cJSON_PrintUnformatted(json_at(world.lease, "spec", member, NULL)) : xstrdup("none");
	pthread_mutex_unlock(&server.lock);
	return text;
}

#define assert_at_server(member, expected)                      \
	do {                                                    \
		_cleanup_free_ char *text_ = at_server(member); \
		assert_string_equal(text_, expected);           \
	} while (0)

static void test_create_renew_release(void **state)
{
	struct kube_lock *lock = NULL;
	struct error *err = NULL;
	uint64_t before = clock_monotonic(), deadline;

	(void)state;
	begin();
	assert_ok(kube_lock_take(&kube, "me", &lock, &err), err);
	assert_at_server("holderIdentity", "\"me\"");
	assert_at_server("leaseDurationSeconds", "15");
	assert_at_server("leaseTransitions", "0");
	deadline = kube_lock_deadline(lock);
	/* Counted from before the request was sent. */
	assert_true(deadline >= before + 10 * NS_PER_S && deadline <= clock_monotonic() + 10 * NS_PER_S);
	wait_ns(2500 * NS_PER_MS);
	assert_true(kube_lock_deadline(lock) >= deadline + 2 * NS_PER_S - NS_PER_MS);
	assert_null(kube_lock_lost_to(lock));
	assert_int_equal(world.writes, 2);
	kube_lock_release(lock);
	assert_at_server("holderIdentity", "\"\"");
	assert_at_server("leaseDurationSeconds", "1");
	kube_lock_release(NULL);
}

static void test_free_one(void **state)
{
	struct kube_lock *lock = NULL;
	struct error *err = NULL;

	(void)state;
	begin();
	set_spec("", "2026-01-01T00:00:00.000000Z", 1, 3);
	assert_ok(kube_lock_take(&kube, "me", &lock, &err), err);
	assert_at_server("leaseTransitions", "4");
	pthread_mutex_lock(&server.lock); /* what else stands in it stays */
	assert_string_equal(json_text_at(json_at(world.lease, "metadata", "labels", NULL), "keep"), "me");
	pthread_mutex_unlock(&server.lock);
	kube_lock_release(lock);
}

static void test_held(void **state)
{
	struct kube_lock *lock = NULL;
	struct error *err = NULL;
	uint64_t before = clock_monotonic();

	(void)state;
	begin();
	set_spec("other", "2026-01-01T00:00:00.000000Z", 15, 0);
	world.busy_holder = true;
	assert_int_equal(kube_lock_take(&kube, "me", &lock, &err), -ERROR_BUSY);
	assert_non_null(strstr(error_message(err), "held by \"other\""));
	assert_non_null(error_hint(err));
	assert_true(clock_monotonic() - before < 5 * NS_PER_S);
	error_free(err);
}

static void test_held_for_long(void **state)
{
	struct kube_lock *lock = NULL;

	(void)state;
	begin();
	set_spec("other", "2026-01-01T00:00:00.000000Z", 3600, 0);
	assert_int_equal(kube_lock_take(&kube, "me", &lock, NULL), -ERROR_BUSY);
}

/* Its holder is dead. The times in it do not matter, nor a server that fails meanwhile. */
static void test_expired(void **state)
{
	struct kube_lock *lock = NULL;
	struct error *err = NULL;
	uint64_t before = clock_monotonic();

	(void)state;
	begin();
	set_spec("other", "2999-01-01T00:00:00.000000Z", 3, 7);
	assert_ok(kube_lock_take(&kube, "me", &lock, &err), err);
	assert_true(clock_monotonic() - before >= 3 * NS_PER_S);
	assert_true(clock_monotonic() - before < 6 * NS_PER_S);
	assert_at_server("holderIdentity", "\"me\"");
	assert_at_server("leaseTransitions", "8");
	kube_lock_release(lock);
}

/* The same holder may go on at once: it is us, restarted. */
static void test_ours_already(void **state)
{
	struct kube_lock *lock = NULL;
	struct error *err = NULL;

	(void)state;
	begin();
	set_spec("me", "2026-01-01T00:00:00.000000Z", 15, 7);
	assert_ok(kube_lock_take(&kube, "me", &lock, &err), err);
	assert_at_server("leaseTransitions", "7");
	kube_lock_release(lock);
}

static void test_lost(void **state)
{
	struct kube_lock *lock = NULL;
	struct error *err = NULL;

	(void)state;
	begin();
	assert_ok(kube_lock_take(&kube, "me", &lock, &err), err);
	pthread_mutex_lock(&server.lock);
	set_spec("thief", "2026-01-01T00:00:00.000000Z", 15, 1);
	pthread_mutex_unlock(&server.lock);
	wait_ns(2500 * NS_PER_MS);
	assert_int_equal(kube_lock_deadline(lock), 0);
	assert_string_equal(kube_lock_lost_to(lock), "thief");
	kube_lock_release(lock);
	assert_at_server("holderIdentity", "\"thief\""); /* not ours to give back */
}

/* The renewal landed, its answer did not: still ours, and renewed again. */
static void test_lost_answer(void **state)
{
	struct kube_lock *lock = NULL;
	struct error *err = NULL;
	uint64_t deadline;

	(void)state;
	begin();
	assert_ok(kube_lock_take(&kube, "me", &lock, &err), err);
	deadline = kube_lock_deadline(lock);
	world.lose_next_answer = true;
	wait_ns(4500 * NS_PER_MS);
	assert_null(kube_lock_lost_to(lock));
	assert_true(kube_lock_deadline(lock) > deadline);
	kube_lock_release(lock);
	assert_at_server("holderIdentity", "\"\"");
}

/* Taking it, likewise: the next look finds our name. */
static void test_lost_answer_to_the_taking(void **state)
{
	struct kube_lock *lock = NULL;
	struct error *err = NULL;

	(void)state;
	begin();
	set_spec("", "2026-01-01T00:00:00.000000Z", 1, 0);
	world.lose_next_answer = true;
	/* The first request's failure is reported: nothing was seen yet. The same command again finds its own name. */
	if (kube_lock_take(&kube, "me", &lock, NULL) < 0)
		assert_ok(kube_lock_take(&kube, "me", &lock, &err), err);
	assert_at_server("holderIdentity", "\"me\"");
	kube_lock_release(lock);
}

static void test_deleted(void **state)
{
	struct kube_lock *lock = NULL;
	struct error *err = NULL;
	uint64_t deadline;

	(void)state;
	begin();
	assert_ok(kube_lock_take(&kube, "me", &lock, &err), err);
	deadline = kube_lock_deadline(lock);
	pthread_mutex_lock(&server.lock);
	cJSON_Delete(steal(world.lease));
	pthread_mutex_unlock(&server.lock);
	wait_ns(2500 * NS_PER_MS);
	assert_at_server("holderIdentity", "\"me\"");
	assert_true(kube_lock_deadline(lock) > deadline);
	kube_lock_release(lock);
}

/* A server that fails for a while costs time, not the Lease; the deadline stays where it was. */
static void test_server_away(void **state)
{
	struct kube_lock *lock = NULL;
	struct error *err = NULL;
	uint64_t deadline;

	(void)state;
	begin();
	assert_ok(kube_lock_take(&kube, "me", &lock, &err), err);
	deadline = kube_lock_deadline(lock);
	world.broken = 2;
	wait_ns(2500 * NS_PER_MS);
	assert_int_equal(kube_lock_deadline(lock), deadline);
	wait_ns(2500 * NS_PER_MS);
	assert_true(kube_lock_deadline(lock) > deadline);
	kube_lock_release(lock);
}

static void test_refused(void **state)
{
	struct kube_lock *lock = NULL;
	struct error *err = NULL;
	int rc;

	(void)state;
	begin();
	world.forbidden = true;
	rc = kube_lock_take(&kube, "me", &lock, &err);
	assert_error(rc, err, ERROR_AUTH, "GET lease kube-system/kube-rekey: 403 Forbidden: Forbidden");
	begin();
	world.broken = 1;
	assert_int_equal(kube_lock_take(&kube, "me", &lock, NULL), -ERROR_BUSY);
}

/* A server that does not answer cannot hold up the end of the program. */
static void test_release_is_short(void **state)
{
	struct kube_lock *lock = NULL;
	struct error *err = NULL;
	uint64_t before;

	(void)state;
	begin();
	assert_ok(kube_lock_take(&kube, "me", &lock, &err), err);
	world.stall_ms = 3500;
	before = clock_monotonic();
	kube_lock_release(lock);
	assert_true(clock_monotonic() - before < 3 * NS_PER_S);
}

static int set_up(void **state)
{
	struct error *err = NULL;

	(void)state;
	assert_ok(loop_new(&loop, &err), err);
	kube_server_start(&server);
	kube = kube_of(&server, loop);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	http_client_free(kube.http);
	kube_server_stop(&server);
	begin();
	loop_free(loop);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_create_renew_release),
		cmocka_unit_test(test_free_one),
		cmocka_unit_test(test_held),
		cmocka_unit_test(test_held_for_long),
		cmocka_unit_test(test_expired),
		cmocka_unit_test(test_ours_already),
		cmocka_unit_test(test_lost),
		cmocka_unit_test(test_lost_answer),
		cmocka_unit_test(test_lost_answer_to_the_taking),
		cmocka_unit_test(test_deleted),
		cmocka_unit_test(test_server_away),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_release_is_short),
	};

	json_install_hooks();
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
