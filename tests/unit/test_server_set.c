/* The set of API servers, grown by what others than the servers themselves show. */
#include <stdio.h>
#include "kube_server.h"
#include "engine/server_set.h"
#include "base/json_read.h"
#include "net/loop.h"

/* Lists are words; a host is "node" or "node=name=name@address". */
struct set_row {
	const char *name;
	const char *servers, *forgotten; /* known before */
	const char *nodes, *pods, *addresses;
	const char *grown; /* the servers after it */
};
static const struct set_row rows[] = {
	{"nobody else is seen", "cp-1", "", "", "", "", "cp-1"},
	{"the Node is called like its server", "cp-1", "", "cp-1", "cp-1", "10.0.0.1:6443", "cp-1"},
	{"upper case in the host name", "CP-1", "", "cp-1", "", "", "CP-1"},
	{"a Node of another name with the host name as its label", "host-1", "", "node-1=host-1", "node-1", "",
	 "host-1"},
	{"a Node that is the host name with its domain", "cp-1", "", "cp-1.example.com", "", "", "cp-1"},
	{"a host name that is the Node with its domain", "cp-1.example.com", "", "cp-1", "", "", "cp-1.example.com"},
	{"the same word in two domains", "cp.a.example", "", "cp.b.example", "", "", "cp.a.example cp.b.example"},
	{"one host name for two Nodes", "cp", "", "cp.a.example cp.b.example", "", "", "cp cp.b.example"},
	{"two Nodes, the second is the exact one", "cp", "", "cp.a.example cp", "", "", "cp cp.a.example"},
	{"a Node that no server is called like", "host-1", "", "node-1", "node-1", "", "host-1 node-1"},
	{"a second Node", "cp-1", "", "cp-1 cp-2", "cp-1", "", "cp-1 cp-2"},
	{"a second pod whose Node has no label", "cp-1", "", "cp-1", "cp-1 cp-2", "", "cp-1 cp-2"},
	{"two pods on one Node", "cp-1", "", "", "cp-1 cp-2 cp-2", "", "cp-1 cp-2"},
	{"nobody knows a Lease", "", "", "cp-1", "cp-1", "10.0.0.1:6443", "cp-1"},
	{"a forgotten Node", "cp-1 cp-2", "cp-2", "cp-1 cp-2", "cp-2", "", "cp-1 cp-2"},
	{"an address of another interface than the Node's", "cp-1", "", "cp-1@10.0.0.1", "", "192.168.0.1:6443",
	 "cp-1"},
	{"a second address", "cp-1", "", "cp-1@10.0.0.1", "", "10.0.0.1:6443 10.0.0.2:6443", "cp-1 10.0.0.2:6443"},
	{"a second address, IPv6", "cp-1", "", "cp-1@fd00::1", "", "[fd00::2]:6443 [fd00::1]:6443",
	 "cp-1 [fd00::2]:6443"},
	{"two addresses, and none is any Node's", "cp-1", "", "", "", "10.0.0.1:6443 10.0.0.2:6443",
	 "cp-1 10.0.0.2:6443"},
	{"a second address seen before", "cp-1 10.0.0.2:6443", "", "", "", "10.0.0.1:6443 10.0.0.2:6443",
	 "cp-1 10.0.0.2:6443"},
	{"a forgotten address", "cp-1 10.0.0.2:6443", "10.0.0.2:6443", "", "", "10.0.0.1:6443 10.0.0.2:6443",
	 "cp-1 10.0.0.2:6443"},
	{"the address of a forgotten server", "cp-1 cp-2", "cp-2", "cp-1 cp-2@10.0.0.2", "",
	 "10.0.0.1:6443 10.0.0.2:6443", "cp-1 cp-2"},
	{"a forgotten server, but two strange addresses", "cp-1 cp-2", "cp-2", "", "", "10.0.0.1:6443 10.0.0.2:6443",
	 "cp-1 cp-2 10.0.0.2:6443"},
};

static void take_words(const char *text, char separator, struct strings *ret)
{
	_cleanup_strings_ parts = {0};

	strings_split(&parts, text, separator);
	for (size_t i = 0; i < parts.count; i++)
		if (parts.items[i][0] != '\0')
			strings_add(ret, parts.items[i]);
}

static void take_hosts(const char *text, struct kube_hosts *ret)
{
	_cleanup_strings_ words = {0};

	take_words(text, ' ', &words);
	ret->items = xcalloc(words.count + 1, sizeof(*ret->items));
	for (ret->count = 0; ret->count < words.count; ret->count++) {
		struct kube_host *host = &ret->items[ret->count];
		_cleanup_strings_ parts = {0}, names = {0};

		take_words(words.items[ret->count], '@', &parts);
		take_words(parts.items[0], '=', &names);
		host->node = xstrdup(names.items[0]);
		for (size_t i = 1; i < names.count; i++)
			strings_add(&host->names, names.items[i]);
		for (size_t i = 1; i < parts.count; i++)
			strings_add(&host->addresses, parts.items[i]);
	}
}

static void test_row(void **state)
{
	const struct set_row *row = *state;
	struct server_set set = {0};
	_cleanup_strings_ servers = {0}, forgotten = {0};

	take_words(row->servers, ' ', &servers);
	take_words(row->forgotten, ' ', &forgotten);
	take_hosts(row->nodes, &set.nodes);
	take_hosts(row->pods, &set.pods);
	take_words(row->addresses, ' ', &set.addresses);
	bool grew = server_set_grow(&set, &forgotten, &servers);
	_cleanup_free_ char *grown = strings_join(&servers, " ");
	assert_string_equal(grown, row->grown);
	assert_int_equal(grew, strcmp(row->servers, row->grown) != 0);
	assert_false(server_set_grow(&set, &forgotten, &servers)); /* once is enough */
	server_set_free(&set);
}

static void test_sources(void **state)
{
	struct server_set set = {0};

	(void)state;
	take_hosts("cp-1", &set.nodes);
	take_hosts("cp-1 cp-2", &set.pods);
	take_words("10.0.0.3:6443", ' ', &set.addresses);
	assert_string_equal(server_set_source(&set, "cp-1"), "a control-plane Node");
	assert_string_equal(server_set_source(&set, "cp-2"), "the Node of a kube-apiserver pod");
	assert_string_equal(server_set_source(&set, "10.0.0.3:6443"), "an address of EndpointSlice default/kubernetes");
	assert_null(server_set_source(&set, "cp-4"));
	server_set_free(&set);
}

/* --- asking ----------------------------------------------------------------------------------------------------- */

static struct loop *loop;
static struct kube_server server;
static struct kube kube;

#define NODES "{\"metadata\":{},\"items\":[{\"metadata\":{\"name\":\"cp-1\"}}]}"
#define PODS "{\"metadata\":{},\"items\":[{\"spec\":{\"nodeName\":\"cp-2\"}}]}"
#define SLICE "{\"ports\":[{\"name\":\"https\",\"port\":6443}],\"endpoints\":[{\"addresses\":[\"10.0.0.1\"]}]}"
#define FORBIDDEN "{\"kind\":\"Status\",\"reason\":\"Forbidden\",\"message\":\"no\"}"

/* Which answers the three sources give. */
static unsigned nodes_status, pods_status, slice_status;

static struct served_answer answer(void *arg, const struct served_request *request)
{
	bool nodes = text_starts(request->path, "/api/v1/nodes"), pods = strstr(request->path, "/pods") != NULL;
	unsigned status = nodes ? nodes_status : pods ? pods_status : slice_status;

	(void)arg;
	return (struct served_answer){.status = status,
				      .body = status != 200 ? FORBIDDEN
					      : nodes       ? NODES
					      : pods        ? PODS
							    : SLICE};
}

static void look(struct server_set *set, unsigned nodes, unsigned pods, unsigned slice, const char *troubles)
{
	_cleanup_strings_ found = {0};

	nodes_status = nodes;
	pods_status = pods;
	slice_status = slice;
	server_set_look(set, &kube, &found);
	_cleanup_free_ char *text = strings_join(&found, "; ");
	assert_string_equal(text, troubles);
}

static void refused_long_ago(struct server_set *set)
{
	for (size_t i = 0; i < SERVER_SOURCES; i++)
		set->refusals[i].since = 1;
}

static void test_look(void **state)
{
	struct server_set set = {0};

	(void)state;
	look(&set, 200, 200, 200, "");
	assert_int_equal(set.nodes.count, 1);
	assert_int_equal(set.pods.count, 1);
	assert_int_equal(set.addresses.count, 1);
	assert_false(set.unsure);
	/* Said once each; what was seen stays. */
	look(&set, 403, 403, 403,
	     "the set of API servers is known without control-plane Nodes: GET control-plane nodes: 403 Forbidden: no; "
	     "the set of API servers is known without kube-apiserver pods: GET kube-apiserver pods in kube-system: "
	     "403 Forbidden: no; "
	     "the set of API servers is known without EndpointSlice default/kubernetes: GET "
	     "endpointslices.discovery.k8s.io default/kubernetes: 403 Forbidden: no");
	assert_true(set.unsure); /* a server that starts refuses everybody */
	look(&set, 403, 403, 403, "");
	assert_true(set.unsure);
	assert_int_equal(set.nodes.count + set.pods.count + set.addresses.count, 3);
	refused_long_ago(&set);
	look(&set, 403, 403, 403, "");
	assert_false(set.unsure); /* rights do not come by waiting longer than a start */
	look(&set, 200, 403, 200, "");
	look(&set, 403, 403, 200, "");
	assert_true(set.unsure);
	server_set_free(&set);
}

static void test_look_without_slice(void **state)
{
	struct server_set set = {0};

	(void)state;
	look(&set, 200, 200, 404, "");
	server_set_free(&set);
}

/* What else a Node is called may come with the next answer: its pod is not another server until then. */
static void test_look_pods_after_nodes(void **state)
{
	struct server_set set = {0};

	(void)state;
	look(&set, 500, 200, 200,
	     "the set of API servers is known without control-plane Nodes: GET control-plane nodes: 500 Forbidden: no");
	assert_int_equal(set.pods.count, 0);
	assert_true(set.unsure);
	look(&set, 200, 200, 200, "");
	assert_int_equal(set.pods.count, 1);
	assert_false(set.unsure);
	look(&set, 200, 500, 200,
	     "the set of API servers is known without kube-apiserver pods: GET kube-apiserver pods in kube-system: 500 "
	     "Forbidden: no");
	assert_true(set.unsure);
	server_set_free(&set);
}

static void test_look_pods_without_nodes(void **state)
{
	struct server_set set = {0};

	(void)state;
	look(&set, 403, 200, 200,
	     "the set of API servers is known without control-plane Nodes: GET control-plane nodes: 403 Forbidden: no");
	assert_int_equal(set.pods.count, 0);
	assert_true(set.unsure);
	refused_long_ago(&set);
	look(&set, 403, 200, 200, "");
	assert_int_equal(set.pods.count, 1);
	assert_false(set.unsure);
	server_set_free(&set);
}

static int start(void **state)
{
	(void)state;
	json_install_hooks();
	if (loop_new(&loop, NULL) < 0)
		return -1;
	kube_server_start(&server);
	server.answer = answer;
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
	const struct CMUnitTest looks[] = {
		cmocka_unit_test(test_look),
		cmocka_unit_test(test_look_without_slice),
		cmocka_unit_test(test_look_pods_after_nodes),
		cmocka_unit_test(test_look_pods_without_nodes),
		cmocka_unit_test(test_sources),
	};

	return RUN_ROWS(test_row, rows) + cmocka_run_group_tests(looks, start, stop);
}
