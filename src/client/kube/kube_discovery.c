/* Asking an API server what it serves. */
#include "client/kube/kube_discovery.h"
#include "client/kube/kube_internal.h"

#define AGGREGATED_ACCEPT                                                       \
	"application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList," \
	"application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json"
#define DEFINITIONS_PAGE 500

static int fetch(struct kube *kube, const char *path, const char *accept, cJSON **ret, struct error **err)
{
	struct kube_json_request request = {.method = "GET", .path = path, .accept = accept};

	return kube_json_fetch(kube, &request, NULL, ret, err);
}

/* Where one question had an answer that cannot be. */
static int name_server(const struct kube *kube, int rc, const char *path, struct error **err)
{
	if (rc < 0) {
		error_wrap(err, rc, "GET %s", path);
		error_set_server(err, kube->name);
	}
	return rc;
}

/* One group version the old way. One that cannot be asked is missing, be it an aggregated server or a group just
 * taken away. */
static int discover_version(struct kube *kube, const char *group_version, struct kube_resources *ret,
			    struct strings *ret_missing, struct error **err)
{
	bool core = strchr(group_version, '/') == NULL;
	_cleanup_free_ char *path = xasprintf("%s/%s", core ? "/api" : "/apis", group_version);
	_cleanup_json_ doc = NULL;
	_cleanup_error_ why = NULL;
	int rc = fetch(kube, path, NULL, &doc, &why);

	if (!core && (rc == -ERROR_BUSY || rc == -ERROR_NOT_FOUND)) {
		strings_add(ret_missing, group_version);
		return 0;
	}
	if (rc < 0) {
		if (err != NULL)
			*err = steal(why);
		return rc;
	}
	return name_server(kube, discovery_read_resources(doc, group_version, ret, err), path, err);
}

static int discover_classic(struct kube *kube, const cJSON *groups, struct kube_resources *ret,
			    struct strings *ret_missing, struct error **err)
{
	_cleanup_strings_ versions = {0};
	int rc = name_server(kube, discovery_read_groups(groups, &versions, err), "/apis", err);

	for (size_t i = 0; rc == 0 && i < versions.count; i++)
		rc = discover_version(kube, versions.items[i], ret, ret_missing, err);
	return rc;
}

/* /api and /apis alike: aggregated where the server can, else group by group. */
static int discover_at(struct kube *kube, const char *path, struct kube_resources *ret, struct strings *ret_missing,
		       struct error **err)
{
	_cleanup_json_ doc = NULL;
	const char *kind;
	int rc = fetch(kube, path, AGGREGATED_ACCEPT, &doc, err);

	if (rc < 0)
		return rc;
	kind = json_text_at(doc, "kind");
	if (text_equal(kind, "APIVersions")) /* of /api: the core group has one version and always will */
		return discover_version(kube, "v1", ret, ret_missing, err);
	if (text_equal(kind, "APIGroupList"))
		return discover_classic(kube, doc, ret, ret_missing, err);
	return name_server(kube, discovery_read_aggregated(doc, ret, ret_missing, err), path, err);
}

static int on_definition(void *arg, struct kube_list_item *item)
{
	struct strings *names = arg;

	if (names->count == DISCOVERY_RESOURCES_MAX)
		return -ERROR_LIMIT;
	strings_add(names, item->name);
	return 0;
}

/* The names of all CustomResourceDefinitions, metadata only: their schemas are large. */
static int list_definitions(struct kube *kube, struct strings *ret, struct error **err)
{
	static char group[] = "apiextensions.k8s.io", version[] = "v1", plural[] = "customresourcedefinitions",
		    api_version[] = "apiextensions.k8s.io/v1", kind[] = "CustomResourceDefinition",
		    name[] = "customresourcedefinitions.apiextensions.k8s.io";
	static const struct kube_resource definitions = {.group = group,
							 .version = version,
							 .plural = plural,
							 .kind = kind,
							 .api_version = api_version,
							 .resource = name};
	_cleanup_free_ char *token = NULL;
	int rc;

	do {
		struct kube_list_options options = {.resource = &definitions,
						    .limit = DEFINITIONS_PAGE,
						    .continue_token = token,
						    .metadata_only = true,
						    .on_item = on_definition,
						    .arg = ret};
		char *next = NULL;

		rc = kube_list_fetch(kube, &options, &next, NULL, NULL, err);
		free(token);
		token = next;
	} while (rc == 0 && !text_empty(token));
	return rc;
}

/* Who may not read them (403), or a server without them (404), leaves the question open; everything else fails. */
static bool stays_open(int rc)
{
	return rc == -ERROR_AUTH || rc == -ERROR_NOT_FOUND;
}

static int mark(struct kube *kube, struct kube_resources *resources, struct strings *ret_missing, struct error **err)
{
	static const char path[] = "/apis/apiregistration.k8s.io/v1/apiservices";
	_cleanup_strings_ aggregated = {0}, definitions = {0};
	_cleanup_json_ services = NULL;
	_cleanup_error_ why = NULL;
	bool definitions_known;
	int rc = fetch(kube, path, NULL, &services, &why);
	bool services_known = rc == 0;

	if (rc == 0)
		rc = name_server(kube, discovery_read_services(services, &aggregated, ret_missing, &why), path, &why);
	if (rc == 0 || stays_open(rc)) {
		error_clear(&why);
		rc = list_definitions(kube, &definitions, &why);
	}
	definitions_known = rc == 0;
	if (rc < 0 && !stays_open(rc)) {
		if (err != NULL)
			*err = steal(why);
		return rc;
	}
	resources->marked = services_known && definitions_known;
	discovery_mark(resources, &aggregated, definitions_known ? &definitions : NULL);
	return 0;
}

int kube_discover(struct kube *kube, struct kube_resources *ret, struct strings *ret_missing, struct error **err)
{
	struct kube_resources found = {0};
	_cleanup_strings_ missing = {0};
	int rc = discover_at(kube, "/api", &found, &missing, err);

	if (rc == 0)
		rc = discover_at(kube, "/apis", &found, &missing, err);
	if (rc == 0)
		rc = mark(kube, &found, &missing, err);
	if (rc < 0) {
		kube_resources_free(&found);
		return rc;
	}
	strings_sort_unique(&missing);
	if (ret_missing != NULL)
		for (size_t i = 0; i < missing.count; i++)
			strings_add(ret_missing, missing.items[i]);
	*ret = found;
	return 0;
}
