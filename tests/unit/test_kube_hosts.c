/* Where API servers run, by Nodes and pods, against a server that answers as told. */
#include "kube_server.h"
#include "client/kube/kube_hosts.h"
#include "base/json_read.h"
#include "net/loop.h"

static struct loop *loop;
static struct kube_server server;
static struct kube kube;

#define PLAY(...)                                      \
	struct served_answer script[] = {__VA_ARGS__}; \
	kube_server_play(&server, script, ELEMENTS(script))

static void assert_strings(const struct strings *list, const char *joined)
{
	_cleanup_free_ char *text = strings_join(list, " ");

	assert_string_equal(text, joined);
}

static void test_control_planes(void **state)
{
	struct kube_hosts found = {0};
	struct error *err = NULL;

	(void)state;
	PLAY({.status = 200,
	      .body = "{\"metadata\":{},\"items\":[{\"metadata\":{\"name\":\"cp-1\",\"labels\":{"
		      "\"kubernetes.io/hostname\":\"host-1\"}},\"status\":{\"addresses\":["
		      "{\"type\":\"InternalIP\",\"address\":\"10.0.0.1\"},"
		      "{\"type\":\"Hostname\",\"address\":\"host-1\"},"
		      "{\"type\":\"InternalDNS\",\"address\":\"cp-1.example.com\"},"
		      "{\"type\":\"ExternalIP\",\"address\":\"fd00::1\"}]}},"
		      "{\"metadata\":{}},{\"metadata\":{\"name\":\"cp-2\"}}]}"},
	     {.status = 200, .body = "{\"metadata\":{\"continue\":\"x\"},\"items\":[]}"}, {.status = 200, .body = "{}"},
	     {.status = 403, .body = "{\"kind\":\"Status\",\"reason\":\"Forbidden\"}"});
	assert_ok(kube_control_planes_fetch(&kube, &found, &err), err);
	assert_string_equal(server.seen[0].path, "/api/v1/nodes?labelSelector=node-role.kubernetes.io%2Fcontrol-plane");
	assert_int_equal(found.count, 2);
	assert_string_equal(found.items[0].node, "cp-1");
	assert_strings(&found.items[0].names, "host-1 cp-1.example.com");
	assert_strings(&found.items[0].addresses, "10.0.0.1 fd00::1");
	assert_string_equal(found.items[1].node, "cp-2");
	/* What was found stays when the next answer is none. */
	assert_int_equal(kube_control_planes_fetch(&kube, &found, NULL), -ERROR_PROTOCOL);
	assert_int_equal(kube_control_planes_fetch(&kube, &found, NULL), -ERROR_PROTOCOL);
	assert_int_equal(kube_control_planes_fetch(&kube, &found, NULL), -ERROR_AUTH);
	assert_int_equal(found.count, 2);
	kube_hosts_free(&found);
	assert_int_equal(found.count, 0);
}

static void test_pods(void **state)
{
	struct kube_hosts found = {0};
	struct error *err = NULL;

	(void)state;
	PLAY({.status = 200,
	      .body = "{\"metadata\":{},\"items\":[{\"metadata\":{\"name\":\"kube-apiserver-cp-1\"},\"spec\":{"
		      "\"nodeName\":\"cp-1\"},\"status\":{\"hostIP\":\"10.0.0.1\",\"podIP\":\"10.0.0.1\"}},"
		      "{\"metadata\":{\"name\":\"pending\"},\"spec\":{}}]}"},
	     {.status = 200, .body = "{\"metadata\":{},\"items\":[]}"});
	assert_ok(kube_apiserver_pods_fetch(&kube, &found, &err), err);
	assert_string_equal(server.seen[0].path,
			    "/api/v1/namespaces/kube-system/pods?labelSelector=component%3Dkube-apiserver");
	assert_int_equal(found.count, 1);
	assert_string_equal(found.items[0].node, "cp-1");
	assert_strings(&found.items[0].addresses, "10.0.0.1");
	assert_ok(kube_apiserver_pods_fetch(&kube, &found, &err), err);
	assert_int_equal(found.count, 0);
	kube_hosts_free(&found);
}

static int start(void **state)
{
	(void)state;
	json_install_hooks();
	if (loop_new(&loop, NULL) < 0)
		return -1;
	kube_server_start(&server);
	kube = kube_of(&server, loop);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	http_client_free(kube.http);
	loop_free(loop);
	kube_server_stop(&server);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_control_planes), cmocka_unit_test(test_pods)};

	return cmocka_run_group_tests(tests, start, stop);
}
