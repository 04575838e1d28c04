/* Who is found behind one address: a server that was replaced, and one that refuses /metrics once or for good. */
#include "kube_server.h"
#include "access_support.h"

#include "base/clock.h"
#include "engine/api_servers.h"

static struct kube_server server;
static struct kube kube;

/* What stands behind the address. */
static struct {
	struct {
		const char *name;
		uint64_t age; /* s since its renewal; it is not renewed while we look */
	} leases[2];
	size_t lease_count;
	const char *answers;              /* the name of the one that answers */
	unsigned refuses, leases_refused; /* so many times */
	unsigned leases_asked, metrics_asked;
	char body[4096];
} behind;

static void write_leases(void)
{
	size_t len = (size_t)snprintf(behind.body, sizeof(behind.body), "{\"items\":[");
	for (size_t i = 0; i < behind.lease_count; i++) {
		char renewed[28];
		clock_format(clock_wall() - behind.leases[i].age * NS_PER_S, 6, renewed);
		len += (size_t)snprintf(behind.body + len, sizeof(behind.body) - len,
					"%s{\"metadata\":{\"name\":\"%s\",\"resourceVersion\":\"%zu\"},"
					"\"spec\":{\"renewTime\":\"%s\"}}",
					i ? "," : "", behind.leases[i].name, i + 1, renewed);
	}
	snprintf(behind.body + len, sizeof(behind.body) - len, "]}");
}

static struct served_answer refusal(void)
{
	return (struct served_answer){
		.status = 403,
		.body = "{\"kind\":\"Status\",\"status\":\"Failure\",\"message\":\"not you\",\"code\":403}"};
}

static struct served_answer answer(void *arg, const struct served_request *request)
{
	(void)arg;
	if (text_starts(request->path, "/apis/coordination")) {
		behind.leases_asked++;
		if (behind.leases_refused > 0) {
			behind.leases_refused--;
			return refusal();
		}
		write_leases();
		return (struct served_answer){.status = 200, .body = behind.body};
	}
	behind.metrics_asked++;
	if (behind.refuses > 0) {
		behind.refuses--;
		return refusal();
	}
	_cleanup_free_ char *id = text_sha256_tagged(behind.answers, strlen(behind.answers));
	snprintf(behind.body, sizeof(behind.body),
		 "process_start_time_seconds 1.7e+09\n"
		 "apiserver_encryption_config_controller_automatic_reloads_total{apiserver_id_hash=\"%s\",status="
		 "\"success\"} 1\n",
		 id);
	return (struct served_answer){.status = 200, .type = "text/plain", .body = behind.body};
}

static struct api_servers open_servers(void)
{
	kube_server_play(&server, NULL, 0);
	server.answer = answer;
	return (struct api_servers){.loop = kube.loop, .access = access_to(server.url), .kube = &kube};
}

static void close_servers(struct api_servers *s)
{
	struct kube_access *access = s->access;
	api_servers_free(s);
	kube_access_free(access);
}

static void assert_unreached(const struct api_servers *s, const char *names)
{
	_cleanup_strings_ unreached = {0};
	api_servers_unreached(s, &unreached);
	_cleanup_free_ char *joined = strings_join(&unreached, ", ");
	assert_string_equal(joined, names);
}

static void find(struct api_servers *s)
{
	struct error *err = NULL;
	assert_ok(api_servers_find(s, 1, &err), err);
}

static bool look_again(struct api_servers *s)
{
	struct error *err = NULL;
	bool joined = false, changed = false;
	assert_ok(api_servers_refresh(s, &joined, &err), err);
	assert_ok(api_servers_scrape(s, &changed, &err), err);
	return joined || changed;
}

/* Its Lease stays for an hour, and nobody waits for it so long. */
static void test_replaced(void **state)
{
	(void)state;
	struct api_servers s = open_servers();
	behind = (__typeof__(behind)){.leases = {{"apiserver-old", 1}}, .lease_count = 1, .answers = "apiserver-old"};
	find(&s);
	assert_int_equal(s.server_count, 1);
	assert_unreached(&s, "");
	assert_false(look_again(&s));
	/* Another one took its place: whoever was counted so far was not all. */
	behind.leases[0].age = 100;
	behind.leases[1].name = behind.answers = "apiserver-new";
	behind.lease_count = 2;
	assert_true(look_again(&s));
	assert_int_equal(s.server_count, 2);
	assert_false(s.servers[0].reached);
	assert_true(s.servers[1].reached);
	assert_unreached(&s, "");
	/* It may be a server whose clock is late: it is looked at for a while. */
	assert_true(api_servers_doubtful(&s));
	assert_false(look_again(&s));
	behind.leases[0] = (__typeof__(behind.leases[0])){"apiserver-new", 0};
	behind.lease_count = 1;
	assert_false(look_again(&s));
	assert_false(api_servers_doubtful(&s));
	close_servers(&s);
}

/* Of one that was replaced before we came, too. */
static void test_replaced_before(void **state)
{
	(void)state;
	struct api_servers s = open_servers();
	behind = (__typeof__(behind)){
		.leases = {{"apiserver-old", 100}, {"apiserver-new", 1}}, .lease_count = 2, .answers = "apiserver-new"};
	find(&s);
	assert_unreached(&s, "");
	assert_true(api_servers_doubtful(&s));
	assert_int_equal(behind.metrics_asked, 1);
	close_servers(&s);
}

/* One server in a moment of its start, or behind a webhook that authorizes, refuses once: that says nothing of the others. */
static void test_refused_once(void **state)
{
	(void)state;
	struct api_servers s = open_servers();
	behind = (__typeof__(behind)){
		.leases = {{"apiserver-a", 1}}, .lease_count = 1, .answers = "apiserver-a", .refuses = 1};
	find(&s);
	assert_null(s.metrics_why);
	assert_true(s.servers[0].reached);
	assert_int_equal(behind.metrics_asked, 2);
	/* In the middle: it was lost for a moment, so it counts as another one; and it is found again. */
	behind.refuses = 1;
	assert_true(look_again(&s));
	assert_true(s.servers[0].reached);
	assert_null(s.metrics_why);
	assert_false(look_again(&s));
	close_servers(&s);
}

/* Of all that try, in a moment of the start: what is under way has the time to see that pass. */
static void test_refused_for_a_while(void **state)
{
	(void)state;
	struct api_servers s = open_servers();
	s.patience = 5 * NS_PER_S;
	behind = (__typeof__(behind)){.leases = {{"apiserver-a", 1}}, .lease_count = 1, .answers = "apiserver-a"};
	find(&s);
	unsigned before = behind.metrics_asked;
	behind.refuses = 4;
	uint64_t begun = clock_monotonic();
	assert_true(look_again(&s));
	assert_true(clock_monotonic() >= begun + NS_PER_S);
	assert_true(behind.metrics_asked < before + API_CONNECTIONS_EACH);
	assert_true(s.servers[0].reached);
	assert_null(s.metrics_why);
	close_servers(&s);
}

/* Leases that could be read, for a moment and then for good: what could not be looked at makes nothing final, once. */
static void test_leases_refused(void **state)
{
	(void)state;
	struct error *err = NULL;
	bool news = false;
	struct api_servers s = open_servers();
	s.patience = 2 * NS_PER_S;
	behind = (__typeof__(behind)){.leases = {{"apiserver-a", 1}}, .lease_count = 1, .answers = "apiserver-a"};
	find(&s);
	behind.leases_refused = 2;
	assert_ok(api_servers_refresh(&s, &news, &err), err);
	assert_false(news);
	assert_null(s.leases_why);
	behind.leases_refused = 10000;
	assert_ok(api_servers_refresh(&s, &news, &err), err);
	assert_true(news);
	assert_non_null(s.leases_why);
	unsigned asked = behind.leases_asked;
	assert_ok(api_servers_refresh(&s, &news, &err), err);
	assert_false(news);
	assert_int_equal(behind.leases_asked, asked + 1);
	assert_int_equal(s.server_count, 1);
	close_servers(&s);
}

static void test_refused_for_good(void **state)
{
	struct error *err = NULL;
	bool news = false;
	(void)state;
	struct api_servers s = open_servers();
	behind = (__typeof__(behind)){
		.leases = {{"apiserver-a", 1}}, .lease_count = 1, .answers = "apiserver-a", .refuses = 10000};
	find(&s);
	assert_non_null(strstr(s.metrics_why, "not you"));
	assert_false(s.servers[0].reached);
	assert_int_equal(behind.metrics_asked, API_CONNECTIONS_EACH + 1);
	assert_unreached(&s, ""); /* nobody is told from another */
	close_servers(&s);
	/* From some time on: what was proved by it is no proof by less. */
	s = open_servers();
	behind.refuses = 0;
	find(&s);
	behind.refuses = 10000;
	int rc = api_servers_scrape(&s, &news, &err);
	assert_int_equal(rc, -ERROR_REFUSED);
	assert_non_null(strstr(error_message(err), "/metrics was shown at the start, and is refused by now"));
	assert_null(s.metrics_why);
	error_free(err);
	close_servers(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {folder_test(test_replaced),       folder_test(test_replaced_before),
					   folder_test(test_refused_once),   folder_test(test_refused_for_a_while),
					   folder_test(test_leases_refused), folder_test(test_refused_for_good)};
	kube = kube_server_open(&server);
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	kube_server_close(&server, &kube);
	return failed;
}
