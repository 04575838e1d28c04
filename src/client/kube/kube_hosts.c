/* Formats: core/v1 Node and Pod; the labels are kubeadm's, and of every installer since. */
#include "client/kube/kube_hosts.h"
#include "base/json_read.h"
#include "client/kube/kube_internal.h"

#define HOSTS_MAX 1000
#define CONTROL_PLANES "/api/v1/nodes?labelSelector=node-role.kubernetes.io%2Fcontrol-plane"
#define APISERVER_PODS "/api/v1/namespaces/kube-system/pods?labelSelector=component%3Dkube-apiserver"

static void host_free(struct kube_host *host)
{
	free(host->node);
	strings_free(&host->names);
	strings_free(&host->addresses);
}

static void add_text(struct strings *list, const char *text)
{
	if (!text_empty(text) && !strings_has(list, text))
		strings_add(list, text);
}

static bool read_node(const cJSON *node, struct kube_host *ret)
{
	const cJSON *metadata = json_at(node, "metadata", NULL), *address;
	const char *name = json_text_at(metadata, "name");

	*ret = (struct kube_host){0};
	if (text_empty(name))
		return false;
	ret->node = xstrdup(name);
	add_text(&ret->names, json_text_at(json_at(metadata, "labels", NULL), "kubernetes.io/hostname"));
	cJSON_ArrayForEach(address, json_at(node, "status", "addresses", NULL))
	{
		const char *type = json_text_at(address, "type");
		bool is_address = text_equal(type, "InternalIP") || text_equal(type, "ExternalIP");

		add_text(is_address ? &ret->addresses : &ret->names, json_text_at(address, "address"));
	}
	return true;
}

/* One without a Node runs nowhere yet. */
static bool read_pod(const cJSON *pod, struct kube_host *ret)
{
	const char *node = json_text_at(json_at(pod, "spec", NULL), "nodeName");
	const cJSON *status = json_at(pod, "status", NULL);

	*ret = (struct kube_host){0};
	if (text_empty(node))
		return false;
	ret->node = xstrdup(node);
	add_text(&ret->addresses, json_text_at(status, "hostIP"));
	add_text(&ret->addresses, json_text_at(status, "podIP"));
	return true;
}

static int fetch(struct kube *kube, const struct kube_json_request *request,
		 bool (*read_one)(const cJSON *item, struct kube_host *ret), struct kube_hosts *ret, struct error **err)
{
	struct kube_hosts found = {0};
	_cleanup_json_ answer = NULL;
	const cJSON *items, *item;
	int rc = kube_json_fetch(kube, request, NULL, &answer, err);

	if (rc < 0)
		return rc;
	items = json_at(answer, "items", NULL);
	if (!cJSON_IsArray(items) || !text_empty(json_text_at(json_at(answer, "metadata", NULL), "continue")) ||
	    cJSON_GetArraySize(items) > HOSTS_MAX) {
		rc = error_set(err, ERROR_PROTOCOL, "GET %s: the answer is no whole list", request->object);
		error_set_server(err, kube->name);
		error_set_object(err, request->object);
		return rc;
	}
	cJSON_ArrayForEach(item, items)
	{
		found.items = xreallocarray(found.items, found.count + 1, sizeof(*found.items));
		if (read_one(item, &found.items[found.count]))
			found.count++;
	}
	kube_hosts_free(ret);
	*ret = found;
	return 0;
}

int kube_control_planes_fetch(struct kube *kube, struct kube_hosts *ret, struct error **err)
{
	static const struct kube_json_request request = {
		.method = "GET", .path = CONTROL_PLANES, .object = "control-plane nodes"};

	return fetch(kube, &request, read_node, ret, err);
}

int kube_apiserver_pods_fetch(struct kube *kube, struct kube_hosts *ret, struct error **err)
{
	static const struct kube_json_request request = {
		.method = "GET", .path = APISERVER_PODS, .object = "kube-apiserver pods in kube-system"};

	return fetch(kube, &request, read_pod, ret, err);
}

void kube_hosts_free(struct kube_hosts *hosts)
{
	for (size_t i = 0; i < hosts->count; i++)
		host_free(&hosts->items[i]);
	free(hosts->items);
	*hosts = (struct kube_hosts){0};
}
