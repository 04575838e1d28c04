/* Where resources live under an API server's URL. */
#include "client/kube/kube_internal.h"

char *kube_path(const struct kube_resource *resource, const char *namespace_, const char *name)
{
	_cleanup_free_ char *plural = text_url_escape(resource->plural);
	_cleanup_free_ char *namespace_part = NULL, *name_part = NULL;
	const char *api = text_empty(resource->group) ? "/api/" : "/apis/";

	if (resource->namespaced && !text_empty(namespace_)) {
		_cleanup_free_ char *escaped = text_url_escape(namespace_);

		namespace_part = xasprintf("/namespaces/%s", escaped);
	}
	if (!text_empty(name)) {
		_cleanup_free_ char *escaped = text_url_escape(name);

		name_part = xasprintf("/%s", escaped);
	}
	return xasprintf("%s%s%s/%s%s", api, resource->api_version, namespace_part ? namespace_part : "", plural,
			 name_part ? name_part : "");
}

char *kube_label(const struct kube_resource *resource, const char *namespace_, const char *name)
{
	bool inside = resource->namespaced && !text_empty(namespace_);

	if (text_empty(name))
		return inside ? xasprintf("%s in %s", resource->resource, namespace_) : xstrdup(resource->resource);
	return xasprintf("%s %s%s%s", resource->resource, inside ? namespace_ : "", inside ? "/" : "", name);
}
