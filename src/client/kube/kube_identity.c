/* Which API servers there are, as they say it themselves. Formats: coordination.k8s.io/v1 Lease,
 * discovery.k8s.io/v1 EndpointSlice; k8s.io/apiserver and controlplane/reconcilers. */
#include "client/kube/kube_internal.h"
#include "base/clock.h"
#include "base/json_read.h"

#define IDENTITIES_MAX 1000
#define FETCH_TIMEOUT (10 * NS_PER_S) /* one page of small objects */
#define LEASES "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"
#define IDENTITY_LEASES LEASES "?labelSelector=apiserver.kubernetes.io%2Fidentity%3Dkube-apiserver"
#define KUBERNETES_SLICE "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes"

static int fail(const struct kube *kube, const char *object, const char *what, struct error **err)
{
	int rc = error_set(err, ERROR_PROTOCOL, "GET %s: %s", object, what);

	error_set_server(err, kube->name);
	error_set_object(err, object);
	return rc;
}

static char *text_or_empty(const cJSON *object, const char *member)
{
	const char *text = json_text_at(object, member);

	return xstrdup(text != NULL ? text : "");
}

static void identity_free(struct kube_identity *identity)
{
	free(identity->lease_name);
	free(identity->hostname);
	free(identity->id_hash);
	free(identity->uid);
	free(identity->holder);
	free(identity->peer_address);
}

/* NULL, or what is wrong with it. */
static const char *read_identity(const cJSON *lease, struct kube_identity *ret)
{
	const cJSON *metadata = json_at(lease, "metadata", NULL), *spec = json_at(lease, "spec", NULL);
	const char *name = json_text_at(metadata, "name"), *renewed = json_text_at(spec, "renewTime");

	*ret = (struct kube_identity){0};
	if (text_empty(name))
		return "a Lease without a name";
	if (!json_u64_at(metadata, "resourceVersion", &ret->resource_version))
		return "a Lease without a resourceVersion";
	/* One that was never renewed stays 0: long ago. */
	if (renewed != NULL && clock_parse(renewed, &ret->renewed_wall) < 0)
		return "a Lease with a renewTime that is no time";
	ret->lease_name = xstrdup(name);
	ret->id_hash = text_sha256_tagged(name, strlen(name));
	ret->uid = text_or_empty(metadata, "uid");
	ret->holder = text_or_empty(spec, "holderIdentity");
	ret->hostname = text_or_empty(json_at(metadata, "labels", NULL), "kubernetes.io/hostname");
	ret->peer_address =
		text_or_empty(json_at(metadata, "annotations", NULL), "kubernetes.io/peer-advertise-address");
	return NULL;
}

const char *kube_identities_read(const cJSON *list, struct kube_identities *ret)
{
	const cJSON *items = json_at(list, "items", NULL), *item;
	struct kube_identities found = {0};
	const char *flaw = NULL;

	*ret = (struct kube_identities){0};
	if (!cJSON_IsArray(items) || !text_empty(json_text_at(json_at(list, "metadata", NULL), "continue")))
		return "the answer is no whole list";
	cJSON_ArrayForEach(item, items)
	{
		found.items = xreallocarray(found.items, found.count + 1, sizeof(*found.items));
		flaw = found.count >= IDENTITIES_MAX ? "more of them than there can be"
						     : read_identity(item, &found.items[found.count]);
		if (flaw != NULL)
			break;
		found.count++;
	}
	if (flaw != NULL)
		kube_identities_free(&found);
	*ret = found;
	return flaw;
}

static const char identity_leases[] = "identity leases in kube-system";

struct kube_json_call *kube_identities_start(struct kube *kube, uint64_t timeout,
					     void (*on_done)(void *arg, int rc, unsigned status, cJSON **list,
							     struct error **error),
					     void *arg)
{
	const struct kube_json_request request = {.method = "GET",
						  .path = IDENTITY_LEASES,
						  .object = identity_leases,
						  .timeout = timeout,
						  .on_done = on_done,
						  .arg = arg};

	return kube_json_start(kube, &request);
}

int kube_identities_fetch(struct kube *kube, struct kube_identities *ret, struct error **err)
{
	struct kube_json_request request = {
		.method = "GET", .path = IDENTITY_LEASES, .object = identity_leases, .timeout = FETCH_TIMEOUT};
	_cleanup_json_ answer = NULL;
	const char *flaw;
	int rc = kube_json_fetch(kube, &request, NULL, &answer, err);

	if (rc < 0)
		return rc;
	flaw = kube_identities_read(answer, ret);
	return flaw != NULL ? fail(kube, identity_leases, flaw, err) : 0;
}

uint64_t kube_identities_newest(const struct kube_identities *identities)
{
	uint64_t newest = 0;
	for (size_t i = 0; i < identities->count; i++)
		newest = identities->items[i].renewed_wall > newest ? identities->items[i].renewed_wall : newest;
	return newest;
}

void kube_identities_free(struct kube_identities *identities)
{
	for (size_t i = 0; i < identities->count; i++)
		identity_free(&identities->items[i]);
	free(identities->items);
	*identities = (struct kube_identities){0};
}

/* --- endpoints -------------------------------------------------------------------------------------------------- */

/* The port named https, else the only one; 0 without. */
static uint64_t https_port(const cJSON *ports)
{
	const cJSON *port;
	uint64_t number = 0;

	cJSON_ArrayForEach(port, ports)
	{
		if (text_equal(json_text_at(port, "name"), "https") || cJSON_GetArraySize(ports) == 1)
			json_u64_at(port, "port", &number);
	}
	return number <= UINT16_MAX ? number : 0;
}

static void add_addresses(const cJSON *endpoint, uint64_t port, struct strings *ret)
{
	const cJSON *address;

	cJSON_ArrayForEach(address, json_at(endpoint, "addresses", NULL))
	{
		const char *host = cJSON_GetStringValue(address);
		_cleanup_free_ char *whole = NULL;

		if (text_empty(host))
			continue;
		whole = xasprintf(strchr(host, ':') ? "[%s]:%u" : "%s:%u", host, (unsigned)port);
		if (!strings_has(ret, whole))
			strings_add(ret, whole);
	}
}

const char *kube_endpoints_read(const cJSON *slice, struct strings *ret)
{
	const cJSON *endpoint;
	uint64_t port = https_port(json_at(slice, "ports", NULL));

	if (port == 0)
		return "it has no port named https";
	cJSON_ArrayForEach(endpoint, json_at(slice, "endpoints", NULL))
	{
		/* Absent counts as ready, says the API. */
		if (json_bool_at(json_at(endpoint, "conditions", NULL), "ready", true))
			add_addresses(endpoint, port, ret);
	}
	return NULL;
}

int kube_endpoints_fetch(struct kube *kube, struct strings *ret, struct error **err)
{
	static const char object[] = "endpointslices.discovery.k8s.io default/kubernetes";
	struct kube_json_request request = {.method = "GET", .path = KUBERNETES_SLICE, .object = object};
	_cleanup_json_ answer = NULL;
	const char *flaw;
	int rc = kube_json_fetch(kube, &request, NULL, &answer, err);

	if (rc < 0)
		return rc;
	flaw = kube_endpoints_read(answer, ret);
	return flaw != NULL ? fail(kube, object, flaw, err) : 0;
}

int kube_endpoint_urls_fetch(struct kube *kube, struct strings *ret, struct error **err)
{
	_cleanup_strings_ addresses = {0};
	int rc = kube_endpoints_fetch(kube, &addresses, err);
	size_t i;

	for (i = 0; rc == 0 && i < addresses.count; i++) {
		_cleanup_free_ char *url = xasprintf("https://%s", addresses.items[i]);

		if (!strings_has(ret, url))
			strings_add(ret, url);
	}
	return rc;
}

const char *kube_identity_name(const struct kube_identity *identity)
{
	return text_empty(identity->hostname) ? identity->lease_name : identity->hostname;
}
