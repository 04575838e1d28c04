#include "client/kube/kube_discovery.h"
#include <ctype.h>

/* Groups that kube-apiserver serves by itself (k8s.io/kubernetes/pkg/controlplane): for who may not read the
 * definitions. */
static const char *const own_groups[] = {
	"",
	"admissionregistration.k8s.io",
	"apiextensions.k8s.io",
	"apiregistration.k8s.io",
	"apps",
	"authentication.k8s.io",
	"authorization.k8s.io",
	"autoscaling",
	"batch",
	"certificates.k8s.io",
	"coordination.k8s.io",
	"discovery.k8s.io",
	"events.k8s.io",
	"extensions",
	"flowcontrol.apiserver.k8s.io",
	"internal.apiserver.k8s.io",
	"networking.k8s.io",
	"node.k8s.io",
	"policy",
	"rbac.authorization.k8s.io",
	"resource.k8s.io",
	"scheduling.k8s.io",
	"storage.k8s.io",
	"storagemigration.k8s.io",
};

/* One resource as any of the formats tells it. */
struct found {
	const char *group, *version, *plural, *kind, *singular;
	bool namespaced;
	const cJSON *verbs, *short_names;
};

static bool has_text(const cJSON *array, const char *text)
{
	const cJSON *item;

	cJSON_ArrayForEach(item, array)
	{
		if (text_equal(cJSON_GetStringValue(item), text))
			return true;
	}
	return false;
}

/* Names go into paths and messages, and stand for keys in etcd. */
static bool is_name(const char *text, bool empty_is_fine)
{
	if (text == NULL || (text[0] == '\0' && !empty_is_fine) || strlen(text) > KUBE_NAME_MAX)
		return false;
	for (; *text != '\0'; text++)
		if ((unsigned char)*text <= ' ' || (unsigned char)*text > '~' || *text == '/' || *text == '%')
			return false;
	return true;
}

static char *lower(const char *text)
{
	char *copy = xstrdup(text);

	for (char *at = copy; *at != '\0'; at++)
		*at = (char)tolower((unsigned char)*at);
	return copy;
}

static void add_short_names(const cJSON *names, struct kube_resource *resource)
{
	const cJSON *name;

	cJSON_ArrayForEach(name, names)
	{
		if (!is_name(cJSON_GetStringValue(name), false) ||
		    resource->short_name_count == DISCOVERY_SHORT_NAMES_MAX)
			continue;
		resource->short_names =
			xreallocarray(resource->short_names, resource->short_name_count + 1, sizeof(char *));
		resource->short_names[resource->short_name_count++] = xstrdup(cJSON_GetStringValue(name));
	}
}

/* A group's resources stand together, so only the last ones are looked through. */
static bool is_known(const struct kube_resources *resources, const struct found *found)
{
	for (size_t i = resources->count; i-- > 0 && text_equal(resources->items[i].group, found->group);)
		if (text_equal(resources->items[i].plural, found->plural))
			return true;
	return false;
}

static int add(struct kube_resources *resources, const struct found *found, struct error **err)
{
	struct kube_resource *resource;

	if (!is_name(found->group, true) || !is_name(found->version, false) || !is_name(found->plural, false) ||
	    !is_name(found->kind, false))
		return error_set(err, ERROR_PROTOCOL,
				 "discovery: a resource whose group, version, name or kind is none");
	if (is_known(resources, found))
		return 0;
	if (resources->count == DISCOVERY_RESOURCES_MAX)
		return error_set(err, ERROR_LIMIT, "discovery: more than %d resources", DISCOVERY_RESOURCES_MAX);
	/* What is allocated is the power of two at or above count, so it needs no field of its own. */
	if ((resources->count & (resources->count - 1)) == 0)
		resources->items = xreallocarray(resources->items, resources->count ? resources->count * 2 : 1,
						 sizeof(*resources->items));
	resource = &resources->items[resources->count++];
	*resource = (struct kube_resource){
		.group = xstrdup(found->group),
		.version = xstrdup(found->version),
		.plural = xstrdup(found->plural),
		.kind = xstrdup(found->kind),
		.singular = is_name(found->singular, false) ? xstrdup(found->singular) : lower(found->kind),
		.api_version =
			found->group[0] ? xasprintf("%s/%s", found->group, found->version) : xstrdup(found->version),
		.resource = found->group[0] ? xasprintf("%s.%s", found->plural, found->group) : xstrdup(found->plural),
		.namespaced = found->namespaced,
		.can_list = has_text(found->verbs, "list"),
		.can_get = has_text(found->verbs, "get"),
		.can_update = has_text(found->verbs, "update"),
		.can_patch = has_text(found->verbs, "patch"),
	};
	add_short_names(found->short_names, resource);
	return 0;
}

static int check_kind(const cJSON *doc, const char *kind, struct error **err)
{
	if (text_equal(json_text_at(doc, "kind"), kind))
		return 0;
	return error_set(err, ERROR_PROTOCOL, "discovery: the answer is no %s", kind);
}

/* --- aggregated discovery --------------------------------------------------------------------------------------- */

static int read_version(const char *group, const cJSON *version, struct kube_resources *ret,
			struct strings *ret_missing, struct error **err)
{
	const char *name = json_text_at(version, "version");
	const cJSON *resource;

	if (!is_name(name, false))
		return error_set(err, ERROR_PROTOCOL, "discovery: group \"%s\" has a version without a name", group);
	/* What it said last may still be there: better than nothing, but no longer known. */
	if (text_equal(json_text_at(version, "freshness"), "Stale")) {
		_cleanup_free_ char *missing = xasprintf("%s/%s", group, name);

		strings_add(ret_missing, missing);
	}
	cJSON_ArrayForEach(resource, json_at(version, "resources", NULL))
	{
		struct found found = {
			.group = group,
			.version = name,
			.plural = json_text_at(resource, "resource"),
			.kind = json_text_at(json_at(resource, "responseKind", NULL), "kind"),
			.singular = json_text_at(resource, "singularResource"),
			.namespaced = text_equal(json_text_at(resource, "scope"), "Namespaced"),
			.verbs = json_at(resource, "verbs", NULL),
			.short_names = json_at(resource, "shortNames", NULL),
		};
		int rc;

		/* A parent that has subresources but no verbs is no resource of its own (pods/exec of an
		 * aggregated server, say). */
		if (found.kind == NULL || cJSON_GetArraySize(found.verbs) == 0)
			continue;
		rc = add(ret, &found, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

int discovery_read_aggregated(const cJSON *doc, struct kube_resources *ret, struct strings *ret_missing,
			      struct error **err)
{
	const cJSON *group, *version;
	int rc = check_kind(doc, "APIGroupDiscoveryList", err);

	if (rc < 0)
		return rc;
	if (!cJSON_IsArray(json_at(doc, "items", NULL)))
		return error_set(err, ERROR_PROTOCOL, "discovery: the APIGroupDiscoveryList has no items");
	cJSON_ArrayForEach(group, json_at(doc, "items", NULL))
	{
		/* The core group has no name. */
		const char *name = json_text_at(json_at(group, "metadata", NULL), "name");

		cJSON_ArrayForEach(version, json_at(group, "versions", NULL))
		{
			rc = read_version(name ? name : "", version, ret, ret_missing, err);
			if (rc < 0)
				return rc;
		}
	}
	return 0;
}

/* --- discovery before 1.26, and behind what does not pass the Accept header on
 * ------------------------------------- */

int discovery_read_groups(const cJSON *doc, struct strings *ret_versions, struct error **err)
{
	const cJSON *group, *version;
	int rc = check_kind(doc, "APIGroupList", err);

	if (rc < 0)
		return rc;
	cJSON_ArrayForEach(group, json_at(doc, "groups", NULL))
	{
		const char *preferred = json_text_at(json_at(group, "preferredVersion", NULL), "groupVersion");

		if (preferred != NULL)
			strings_add(ret_versions, preferred);
		cJSON_ArrayForEach(version, json_at(group, "versions", NULL))
		{
			const char *name = json_text_at(version, "groupVersion");

			if (name != NULL && !text_equal(name, preferred))
				strings_add(ret_versions, name);
		}
		if (ret_versions->count > DISCOVERY_RESOURCES_MAX)
			return error_set(err, ERROR_LIMIT, "discovery: more than %d group versions",
					 DISCOVERY_RESOURCES_MAX);
	}
	return 0;
}

int discovery_read_resources(const cJSON *doc, const char *group_version, struct kube_resources *ret,
			     struct error **err)
{
	const char *slash = strchr(group_version, '/');
	_cleanup_free_ char *group = slash ? xstrndup(group_version, (size_t)(slash - group_version)) : xstrdup("");
	const cJSON *resource;
	int rc = check_kind(doc, "APIResourceList", err);

	if (rc < 0)
		return rc;
	cJSON_ArrayForEach(resource, json_at(doc, "resources", NULL))
	{
		struct found found = {
			.group = group,
			.version = slash ? slash + 1 : group_version,
			.plural = json_text_at(resource, "name"),
			.kind = json_text_at(resource, "kind"),
			.singular = json_text_at(resource, "singularName"),
			.namespaced = json_bool_at(resource, "namespaced", false),
			.verbs = json_at(resource, "verbs", NULL),
			.short_names = json_at(resource, "shortNames", NULL),
		};

		if (found.plural != NULL && strchr(found.plural, '/') != NULL)
			continue; /* a subresource */
		rc = add(ret, &found, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* --- who serves and stores them --------------------------------------------------------------------------------- */

static bool is_available(const cJSON *service)
{
	const cJSON *condition;

	cJSON_ArrayForEach(condition, json_at(service, "status", "conditions", NULL))
	{
		if (text_equal(json_text_at(condition, "type"), "Available"))
			return text_equal(json_text_at(condition, "status"), "True");
	}
	return false;
}

int discovery_read_services(const cJSON *doc, struct strings *ret_aggregated, struct strings *ret_missing,
			    struct error **err)
{
	const cJSON *item;
	int rc = check_kind(doc, "APIServiceList", err);

	if (rc < 0)
		return rc;
	cJSON_ArrayForEach(item, json_at(doc, "items", NULL))
	{
		const cJSON *spec = json_at(item, "spec", NULL);
		_cleanup_free_ char *name = NULL;

		if (!cJSON_IsObject(json_at(spec, "service", NULL)))
			continue; /* kube-apiserver's own, custom resources included */
		if (!is_name(json_text_at(spec, "group"), true) || !is_name(json_text_at(spec, "version"), false))
			return error_set(err, ERROR_PROTOCOL,
					 "discovery: an APIService whose group or version is none");
		if (ret_aggregated->count == DISCOVERY_RESOURCES_MAX)
			return error_set(err, ERROR_LIMIT, "discovery: more than %d APIServices",
					 DISCOVERY_RESOURCES_MAX);
		name = xasprintf("%s/%s", json_text_at(spec, "group"), json_text_at(spec, "version"));
		strings_add(ret_aggregated, name);
		if (!is_available(item))
			strings_add(ret_missing, name);
	}
	return 0;
}

static bool is_own_group(const char *group)
{
	for (size_t i = 0; i < ELEMENTS(own_groups); i++)
		if (strcmp(group, own_groups[i]) == 0)
			return true;
	return false;
}

void discovery_mark(struct kube_resources *resources, const struct strings *aggregated,
		    const struct strings *definitions)
{
	for (size_t i = 0; i < resources->count; i++) {
		struct kube_resource *resource = &resources->items[i];

		resource->aggregated = strings_has(aggregated, resource->api_version);
		if (resource->aggregated)
			continue;
		resource->custom =
			definitions ? strings_has(definitions, resource->resource) : !is_own_group(resource->group);
	}
}

/* --- looking one up --------------------------------------------------------------------------------------------- */

void kube_resources_free(struct kube_resources *resources)
{
	for (size_t i = 0; i < resources->count; i++) {
		struct kube_resource *resource = &resources->items[i];

		free(resource->group);
		free(resource->version);
		free(resource->plural);
		free(resource->kind);
		free(resource->singular);
		free(resource->api_version);
		free(resource->resource);
		for (size_t j = 0; j < resource->short_name_count; j++)
			free(resource->short_names[j]);
		free(resource->short_names);
	}
	free(resources->items);
	*resources = (struct kube_resources){0};
}

/* Whether `name` is `word`, or "word.group" for a resource of a group. */
static bool is_called(const struct kube_resource *resource, const char *word, const char *name)
{
	size_t len = strlen(word);

	if (strncmp(name, word, len) != 0)
		return false;
	if (resource->group[0] == '\0')
		return name[len] == '\0';
	return name[len] == '.' && strcmp(name + len + 1, resource->group) == 0;
}

static bool has_short_name(const struct kube_resource *resource, const char *name)
{
	for (size_t i = 0; i < resource->short_name_count; i++)
		if (is_called(resource, resource->short_names[i], name))
			return true;
	return false;
}

const struct kube_resource *kube_resources_find(const struct kube_resources *resources, const char *name)
{
	/* A plural is never hidden by somebody's singular, nor a singular by a short name. */
	for (size_t i = 0; i < resources->count; i++)
		if (strcmp(resources->items[i].resource, name) == 0)
			return &resources->items[i];
	for (size_t i = 0; i < resources->count; i++)
		if (is_called(&resources->items[i], resources->items[i].singular, name))
			return &resources->items[i];
	for (size_t i = 0; i < resources->count; i++)
		if (has_short_name(&resources->items[i], name))
			return &resources->items[i];
	return NULL;
}
