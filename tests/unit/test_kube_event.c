/* Events: what of one is sent. */
#include "kube_server.h"
#include "base/clock.h"
#include "client/kube/event.h"

static struct kube_server server;
static struct kube kube;

struct heard {
	bool done;
	int rc;
};

static void on_done(void *arg, int rc, unsigned status, cJSON **answer, struct error **error)
{
	(void)status;
	(void)answer;
	(void)error;
	*(struct heard *)arg = (struct heard){.done = true, .rc = rc};
}

static int tell(const struct kube_event *event, const struct served_answer *answer)
{
	struct heard heard = {0};
	struct error *err = NULL;

	kube_server_play(&server, answer, 1);
	kube_event_start(&kube, event, on_done, &heard);
	assert_ok(loop_run_until(kube.loop, &heard.done, clock_monotonic() + 10 * NS_PER_S, &err), err);
	return heard.rc;
}

static const struct served_answer made = {.status = 201, .body = "{}"};
static const struct served_answer refused = {
	.status = 403, .body = "{\"kind\":\"Status\",\"reason\":\"Forbidden\",\"message\":\"no\"}"};

static struct kube_event event_of(const char *note)
{
	return (struct kube_event){.api_version = "kube-rekey.dev/v1alpha1",
				   .kind = "KeyRotation",
				   .name = "a",
				   .uid = "u-a",
				   .instance = "cp-1",
				   .reason = "Promoted",
				   .action = "Promote",
				   .note = note,
				   .wall_now = UINT64_C(1795345400) * NS_PER_S};
}

static void test_event(void **state)
{
	struct kube_event event = event_of("the new key writes");

	(void)state;
	assert_int_equal(tell(&event, &made), 0);
	assert_string_equal(server.seen[0].method, "POST");
	assert_string_equal(server.seen[0].path, "/apis/events.k8s.io/v1/namespaces/default/events");
	assert_string_equal(
		server.seen[0].body,
		"{\"apiVersion\":\"events.k8s.io/v1\",\"kind\":\"Event\",\"metadata\":{\"generateName\":\"a-\","
		"\"namespace\":\"default\"},\"regarding\":{\"apiVersion\":\"kube-rekey.dev/v1alpha1\",\"kind\":"
		"\"KeyRotation\",\"name\":\"a\",\"uid\":\"u-a\"},\"eventTime\":\"2026-11-22T11:03:20.000000Z\","
		"\"reportingController\":\"kube-rekey.dev/controller\",\"reportingInstance\":\"cp-1\",\"reason\":"
		"\"Promoted\",\"action\":\"Promote\",\"note\":\"the new key writes\",\"type\":\"Normal\"}");
}

static void test_long_words(void **state)
{
	char words[2000];
	struct kube_event event = event_of(words);
	_cleanup_json_ body = NULL;

	(void)state;
	memset(words, 'x', sizeof(words));
	words[sizeof(words) - 1] = '\0';
	event.instance = words;
	event.warning = true;
	assert_int_equal(tell(&event, &made), 0);
	assert_int_equal(json_parse(server.seen[0].body, server.seen[0].body_len, "event", &body, NULL), 0);
	assert_int_equal(strlen(json_text_at(body, "note")), 1024);
	assert_int_equal(strlen(json_text_at(body, "reportingInstance")), 128);
	assert_string_equal(json_text_at(body, "type"), "Warning");
}

/* Nothing depends on it, and nobody has to ask. */
static void test_refused(void **state)
{
	struct kube_event event = event_of("no rights");

	(void)state;
	assert_int_equal(tell(&event, &refused), -ERROR_AUTH);
	kube_event_start(&kube, &event, NULL, NULL);
	assert_int_equal(tell(&event, &refused), -ERROR_AUTH);
	kube_custom_cancel(kube_event_start(&kube, &event, NULL, NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_event),
		cmocka_unit_test(test_long_words),
		cmocka_unit_test(test_refused),
	};
	int failed;

	kube = kube_server_open(&server);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	kube_server_close(&server, &kube);
	return failed;
}
