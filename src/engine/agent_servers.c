/* By which API server an agent is served: its own, and where that cannot, whichever of the others can. Their addresses are
 * what the kubeconfig names and what their agents reported; each has to show a certificate of the cluster, as its own does.
 * What they serve is judged like every order. */
#include "engine/agent_internal.h"

static struct kube *own(const struct agent *agent)
{
	return &agent->node->cluster->kube;
}

static bool is_known(const struct agent *agent, const char *url)
{
	for (size_t i = 0; i < agent->other_count; i++)
		if (text_equal(agent->others[i]->name, url))
			return true;
	return text_equal(own(agent)->name, url);
}

static void know(struct agent *agent, const char *url)
{
	struct cluster *cluster = agent->node->cluster;
	struct http_client *http = NULL;
	if (agent->other_count == KEY_SERVERS_MAX || is_known(agent, url) ||
	    kube_access_client(cluster->access, cluster->loop, url, 2, &http, NULL) < 0)
		return;
	struct kube *kube = xcalloc(1, sizeof(*kube));
	*kube = (struct kube){.loop = cluster->loop, .http = http, .name = xstrdup(url)};
	agent->others[agent->other_count++] = kube;
}

void agent_know_servers(struct agent *agent)
{
	if (agent->node->cluster->other)
		know(agent, agent->node->cluster->other);
	for (size_t i = 0; i < agent->fleet.count; i++) {
		const struct key_server *server = agent->fleet.servers[i].last;
		const char *url = server->status.apiserver;
		if (!text_equal(server->meta.name, agent->options->node_name) && !text_empty(url) &&
		    text_starts(url, "https://"))
			know(agent, url);
	}
}

void agent_forget_servers(struct agent *agent)
{
	for (size_t i = 0; i < agent->other_count; i++) {
		struct kube *kube = agent->others[i];
		char *name = (char *)(uintptr_t)kube->name; /* a copy of ours */
		http_client_free(kube->http);
		free(name);
		free(kube);
	}
	agent->other_count = 0;
}

struct kube *agent_api(const struct agent *agent)
{
	return agent->served_by ? agent->served_by : own(agent);
}

int agent_ask(struct agent *agent, int (*ask)(struct agent *agent, struct kube *kube, struct error **err),
	      struct error **err)
{
	bool own_answers = agent->node->seen.server_count > 0 && agent->node->seen.servers[0].answering;
	struct kube *first = own_answers ? own(agent) : agent_api(agent);
	int rc = ask(agent, first, err);
	if (rc == 0)
		agent->served_by = first;
	if (rc == 0 || rc == -ERROR_INTERRUPTED)
		return rc;
	for (size_t i = 0; i <= agent->other_count; i++) {
		struct kube *next = i < agent->other_count ? agent->others[i] : own(agent);
		int other = next == first ? -ERROR_NETWORK : ask(agent, next, NULL);
		if (other < 0)
			continue;
		error_clear(err);
		agent->served_by = next;
		return 0;
	}
	return rc;
}
