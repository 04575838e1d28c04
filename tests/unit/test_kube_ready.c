/* Whether a server is ready to serve, in its own words. */
#include "kube_server.h"

static struct kube_server server;
static struct kube kube;

static const struct {
	const char *name;
	struct served_answer answer;
	const char *why; /* NULL: it is */
} rows[] = {
	{"ready", {.status = 200, .type = "text/plain", .body = "ok"}, NULL},
	{"a check fails",
	 {.status = 500,
	  .type = "text/plain",
	  .body = "[+]ping ok\n[-]poststarthook/rbac failed: reason withheld\n[-]etcd failed\nreadyz check failed\n"},
	 "it is not ready: [-]poststarthook/rbac failed: reason withheld"},
	{"no check is named",
	 {.status = 503, .type = "text/plain", .body = "apiserver is shutting down"},
	 "GET /readyz: 503: apiserver is shutting down"},
};

static void test_ready(void **state)
{
	const __typeof__(rows[0]) *row = *state;
	struct error *err = NULL;
	kube_server_play(&server, &row->answer, 1);
	int rc = kube_ready(&kube, &err);
	kube_server_play(&server, NULL, 0);
	if (!row->why) {
		assert_ok(rc, err);
		return;
	}
	assert_true(rc < 0);
	assert_string_equal(error_message(err), row->why);
	error_free(err);
}

int main(void)
{
	kube = kube_server_open(&server);
	int failed = RUN_ROWS(test_ready, rows);
	kube_server_close(&server, &kube);
	return failed;
}
