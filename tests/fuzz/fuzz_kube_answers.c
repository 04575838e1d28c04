/* What an API server's words and objects are made of: a Status in JSON or protobuf, discovery of each generation,
 * one object. The first byte chooses. */
#include "client/kube/kube_discovery.h"
#include "client/kube/kube_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct {
		char choice;
		void (*try)(const uint8_t *data, size_t size);
	} tries[] = {{'s', try_status}, {'d', try_discovery}, {'o', try_object}};

	for (size_t i = 0; size > 0 && i < ELEMENTS(tries); i++)
		if (data[0] == (uint8_t)tries[i].choice)
			tries[i].try(data + 1, size - 1);
	return 0;
}
