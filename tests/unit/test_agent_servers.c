/* Which other API servers an agent may be served by. */
#include "access_support.h"

#include "engine/agent_internal.h"

static char here[] = "cp-1", first[] = "https://127.0.0.1:1", other[] = "https://127.0.0.1:9";

static void reports(struct agent *agent, size_t at, const char *url)
{
	char **reported = &agent->fleet.servers[at].last->status.apiserver;
	free(*reported);
	*reported = xstrdup(url);
	agent_know_servers(agent);
}

static void assert_knows(const struct agent *agent, const char *urls)
{
	_cleanup_strings_ names = {0};
	for (size_t i = 0; i < agent->other_count; i++)
		strings_add(&names, agent->others[i]->name);
	strings_sort_unique(&names);
	_cleanup_free_ char *joined = strings_join(&names, " ");
	assert_string_equal(joined, urls);
}

/* One address for each: what was reported before is not tried any more, unless it serves us, or nothing is reported instead. */
static void test_one_address_for_each(void **state)
{
	(void)state;
	struct error *err = NULL;
	const struct agent_options options = {.node_name = here};
	struct cluster cluster = {.access = access_to(first), .other = other, .kube = {.name = first}};
	assert_ok(loop_new(&cluster.loop, &err), err);
	struct rotation node = {.cluster = &cluster};
	struct agent agent = {.options = &options, .node = &node};
	agent.fleet.servers = xcalloc(3, sizeof(*agent.fleet.servers));
	for (size_t i = 0; i < 3; i++) {
		_cleanup_free_ char *name = xasprintf("cp-%zu", i + 1);
		agent.fleet.servers[agent.fleet.count++].last = key_server_new(name);
	}
	reports(&agent, 0, "https://127.0.0.1:7"); /* its own */
	reports(&agent, 1, "https://127.0.0.1:2");
	reports(&agent, 2, "http://127.0.0.1:3");
	assert_knows(&agent, "https://127.0.0.1:2 https://127.0.0.1:9");
	reports(&agent, 1, "https://127.0.0.1:4");
	assert_knows(&agent, "https://127.0.0.1:4 https://127.0.0.1:9");
	for (size_t i = 0; i < agent.other_count; i++)
		agent.served_by =
			text_equal(agent.others[i]->name, "https://127.0.0.1:4") ? agent.others[i] : agent.served_by;
	reports(&agent, 1, "https://127.0.0.1:5");
	assert_knows(&agent, "https://127.0.0.1:4 https://127.0.0.1:5 https://127.0.0.1:9");
	agent.served_by = NULL;
	reports(&agent, 1, "");
	assert_knows(&agent, "https://127.0.0.1:4 https://127.0.0.1:5 https://127.0.0.1:9");
	reports(&agent, 1, "https://127.0.0.1:6");
	assert_knows(&agent, "https://127.0.0.1:6 https://127.0.0.1:9");
	agent_forget_servers(&agent);
	assert_int_equal(agent.other_count, 0);
	fleet_free(&agent.fleet);
	loop_free(cluster.loop);
	kube_access_free(cluster.access);
}

int main(void)
{
	const struct CMUnitTest tests[] = {folder_test(test_one_address_for_each)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
