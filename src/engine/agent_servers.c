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

/* As the agent on another node reports it now; NULL. */
static const char *url_of(const struct agent *agent, size_t at)
{
	const struct key_server *server = agent->fleet.servers[at].last;
	const char *url = server->status.apiserver;
	bool other = !text_equal(server->meta.name, agent->options->node_name);
	return other && !text_empty(url) && text_starts(url, "https://") ? url : NULL;
}

static bool is_named(const struct agent *agent, const char *url)
{
	bool named = text_equal(agent->node->cluster->other, url);
	for (size_t i = 0; i < agent->fleet.count && !named; i++)
		named = text_equal(url_of(agent, i), url);
	return named;
}

static void forget(struct agent *agent, size_t at)
{
	struct kube *kube = agent->others[at];
	char *name = (char *)(uintptr_t)kube->name; /* a copy of ours */
	agent->others[at] = agent->others[--agent->other_count];
	http_client_free(kube->http);
	free(name);
	free(kube);
}

static bool any_new(const struct agent *agent)
{
	bool any = false;
	for (size_t i = 0; i < agent->fleet.count && !any; i++)
		any = url_of(agent, i) && !is_known(agent, url_of(agent, i));
	return any;
}

void agent_know_servers(struct agent *agent)
{
	/* One address for each server: whoever reports one after the other would make us try them all, each for seconds. Kept where
	 * nothing came instead: reports may be gone for a moment, and then our own server. */
	for (size_t i = any_new(agent) ? agent->other_count : 0; i > 0; i--)
		if (agent->others[i - 1] != agent->served_by && !is_named(agent, agent->others[i - 1]->name))
			forget(agent, i - 1);
	if (agent->node->cluster->other)
		know(agent, agent->node->cluster->other);
	for (size_t i = 0; i < agent->fleet.count; i++)
		if (url_of(agent, i))
			know(agent, url_of(agent, i));
}

void agent_forget_servers(struct agent *agent)
{
	while (agent->other_count > 0)
		forget(agent, agent->other_count - 1);
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
