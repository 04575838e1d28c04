/* What an API server's words and objects are made of: a Status in JSON or protobuf, discovery of each generation,
 * one object, Leases and EndpointSlices, Nodes and pods. The first byte chooses. */
#include "client/kube/kube_discovery.h"
#include "client/kube/kube_hosts.h"
#include "client/kube/kube_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int __wrap_kube_json_fetch(struct kube *kube, const struct kube_json_request *request, unsigned *ret_status,
			   cJSON **ret, struct error **err);

static struct {
	const uint8_t *data;
	size_t size;
} answered;

static void try_status(const uint8_t *data, size_t size)
{
	struct kube_status status = {0};
	struct error *err = NULL;

	if (kube_status_parse(data, size, &status))
		kube_status_free(&status);
	kube_error("x", 500, "application/json", data, size, &err);
	if (strlen(error_message(err)) > 700)
		abort();
	error_free(err);
	kube_is_reinitializing(429, data, size);
}

static void try_discovery(const uint8_t *data, size_t size)
{
	struct kube_resources resources = {0};
	struct strings versions = {0}, missing = {0}, aggregated = {0};
	cJSON *doc = NULL;

	if (json_parse((const char *)data, size, "fuzz", &doc, NULL) < 0)
		return;
	(void)!discovery_read_aggregated(doc, &resources, &missing, NULL);
	(void)!discovery_read_groups(doc, &versions, NULL);
	(void)!discovery_read_resources(doc, "apps/v1", &resources, NULL);
	(void)!discovery_read_services(doc, &aggregated, &missing, NULL);
	discovery_mark(&resources, &aggregated, NULL);
	for (size_t i = 0; i < resources.count; i++) {
		free(kube_path(&resources.items[i], "ns", "name"));
		if (kube_resources_find(&resources, resources.items[i].resource) == NULL)
			abort();
	}
	kube_resources_free(&resources);
	strings_free(&versions);
	strings_free(&missing);
	strings_free(&aggregated);
	cJSON_Delete(doc);
}

/* In one piece and byte by byte it must come to the same. */
static void try_object(const uint8_t *data, size_t size)
{
	struct kube_object_reader *whole = kube_object_reader_new("Secret", true),
				  *pieces = kube_object_reader_new("Secret", true);
	struct secret *object;
	int one = kube_object_feed(whole, data, size), two = 0;

	for (size_t i = 0; i < size && two == 0; i++)
		two = kube_object_feed(pieces, data + i, 1);
	if (one == 0)
		one = kube_object_finish(whole);
	if (two == 0)
		two = kube_object_finish(pieces);
	if (one != two || (one == 0 && strcmp(kube_object_uid(whole), kube_object_uid(pieces)) != 0))
		abort();
	object = kube_object_steal(whole);
	if (one < 0 && object != NULL)
		abort();
	secret_free(object);
	kube_object_reader_free(whole);
	kube_object_reader_free(pieces);
}

static void try_servers(const uint8_t *data, size_t size)
{
	struct kube_identities identities = {0};
	struct strings addresses = {0};
	_cleanup_json_ doc = NULL;

	if (json_parse((const char *)data, size, "fuzz", &doc, NULL) < 0)
		return;
	if (kube_identities_read(doc, &identities) != NULL && identities.count > 0)
		abort();
	for (size_t i = 0; i < identities.count; i++)
		if (identities.items[i].lease_name[0] == '\0' || strlen(identities.items[i].id_hash) != 71)
			abort();
	kube_identities_free(&identities);
	if (kube_endpoints_read(doc, &addresses) != NULL && addresses.count > 0)
		abort();
	strings_free(&addresses);
}

/* What we write into a Lease is what is read from it, by us and by a server. */
static void check_claim(cJSON *lease, const char *holder)
{
	_cleanup_free_ char *before = kube_lease_record(lease), *after = NULL, *text = NULL, *sent = NULL;
	_cleanup_json_ again = NULL;

	kube_lease_claim(lease, holder);
	after = kube_lease_record(lease);
	if (strcmp(kube_lease_holder(lease), holder) != 0 || strcmp(before, after) == 0)
		abort();
	text = cJSON_PrintUnformatted(lease);
	if (text == NULL || json_parse(text, strlen(text), "again", &again, NULL) < 0)
		abort();
	sent = kube_lease_record(again);
	if (strcmp(sent, after) != 0 || kube_lease_duration(again) != (holder[0] != '\0' ? 15 : 1))
		abort();
}

static void try_lease(const uint8_t *data, size_t size)
{
	_cleanup_json_ lease = NULL;

	if (json_parse((const char *)data, size, "fuzz", &lease, NULL) < 0 || !cJSON_IsObject(lease))
		return;
	check_claim(lease, "us");
	check_claim(lease, "");
}

/* In place of the fetch (cmake/tests.cmake), since only what waits for the answer reads it. */
int __wrap_kube_json_fetch(struct kube *kube, const struct kube_json_request *request, unsigned *ret_status,
			   cJSON **ret, struct error **err)
{
	(void)kube;
	if (ret_status)
		*ret_status = 200;
	return json_parse((const char *)answered.data, answered.size, request->object, ret, err);
}

static void check_hosts(const struct kube_hosts *hosts)
{
	for (size_t i = 0; i < hosts->count; i++) {
		const struct kube_host *host = &hosts->items[i];

		if (host->node[0] == '\0' || strings_has(&host->names, "") || strings_has(&host->addresses, ""))
			abort();
	}
}

static void try_hosts(const uint8_t *data, size_t size)
{
	struct kube kube = {.name = "fuzz"};
	struct kube_hosts hosts = {0};

	answered.data = data;
	answered.size = size;
	if (kube_control_planes_fetch(&kube, &hosts, NULL) < 0 && hosts.count > 0)
		abort();
	check_hosts(&hosts);
	/* What was found before is freed. */
	(void)!kube_apiserver_pods_fetch(&kube, &hosts, NULL);
	check_hosts(&hosts);
	kube_hosts_free(&hosts);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct {
		char choice;
		void (*try)(const uint8_t *data, size_t size);
	} tries[] = {{'s', try_status},  {'d', try_discovery}, {'o', try_object},
		     {'i', try_servers}, {'l', try_lease},     {'h', try_hosts}};

	for (size_t i = 0; size > 0 && i < ELEMENTS(tries); i++)
		if (data[0] == (uint8_t)tries[i].choice)
			tries[i].try(data + 1, size - 1);
	return 0;
}
