/* etcd's members and room, webhooks, and what we may do. */
#include <stdlib.h>

#include "client/kube/object.h"
#include "engine/canary.h"
#include "engine/check_gather_internal.h"

static void look_at_members(const struct check_sources *in, struct check_facts *f)
{
	for (size_t e = 0; e < in->cluster->etcd_count; e++)
		for (size_t m = 0; m < etcd_member_count(in->cluster->etcds[e]); m++) {
			const struct etcd_member_info *info = etcd_member(in->cluster->etcds[e], m);
			f->members = xreallocarray(f->members, f->member_count + 1, sizeof(*f->members));
			f->members[f->member_count++] = (struct check_member){
				.name = xstrdup(info->name),
				.why = info->answered ? NULL : xstrdup(info->why ? info->why : "it does not answer"),
				.size = info->db_size,
				.in_use = info->db_size_in_use,
				.quota = info->db_size_quota};
		}
}

/* What a rotation rewrites: all that is encrypted, or what most clusters encrypt. */
static size_t find_rewritten(const struct check_sources *in, const struct check_facts *f,
			     const struct kube_resource **ret)
{
	const struct kube_resources *all = &in->cluster->resources;
	size_t count = 0;
	for (size_t i = 0; i < all->count; i++) {
		const struct kube_resource *resource = &all->items[i];
		bool encrypted = f->shape ? config_shape_rule(f->shape, resource->resource) != NULL
					  : text_equal(resource->resource, "secrets") ||
						    text_equal(resource->resource, "configmaps");
		if (encrypted && !resource->aggregated && resource->can_list && resource->can_update)
			ret[count++] = resource;
	}
	return count;
}

static int find_webhooks(const struct check_sources *in, const struct kube_resource *const *rewritten, size_t count,
			 struct check_facts *f, struct error **err)
{
	static const struct {
		const char *plural, *kind;
		bool mutates;
	} rows[] = {
		{"mutatingwebhookconfigurations", "MutatingWebhookConfiguration", true},
		{"validatingwebhookconfigurations", "ValidatingWebhookConfiguration", false},
		{"validatingadmissionpolicies", "ValidatingAdmissionPolicy", false},
		{"mutatingadmissionpolicies", "MutatingAdmissionPolicy", true},
	};
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		_cleanup_json_ list = NULL;
		_cleanup_error_ failed = NULL;
		_cleanup_free_ char *name = xasprintf("%s.admissionregistration.k8s.io", rows[i].plural);
		const struct kube_resource *resource = kube_resources_find(&in->cluster->resources, name);
		if (!resource)
			continue; /* policies: since 1.30, that change: since 1.36 */
		_cleanup_free_ char *path = kube_path(resource, NULL, NULL);
		int rc = kube_call(&in->cluster->kube, "GET", path, NULL, NULL, &list, &failed);
		if (rc == 0)
			check_add_webhooks(list, rows[i].kind, rows[i].mutates, rewritten, count, f);
		free(f->webhooks_why);
		f->webhooks_why = NULL;
		rc = check_keep_why(rc, &failed, &f->webhooks_why, err);
		if (rc < 0 || f->webhooks_why)
			return rc;
	}
	return 0;
}

/* --- permissions --- */

static int may(const struct check_sources *in, struct check_facts *f, const char *verb, const char *group,
	       const char *resource, const char *namespace_, struct error **err)
{
	_cleanup_error_ failed = NULL;
	bool allowed = true;
	if (f->permissions_why)
		return 0;
	int rc = kube_may(&in->cluster->kube, verb, group, resource, namespace_, &allowed, &failed);
	f->permissions_asked++;
	if (!allowed)
		check_add(&f->forbidden, "%s %s%s%s%s%s", verb, resource, *group ? "." : "", group,
			  namespace_ ? " in " : "", namespace_ ? namespace_ : "");
	return check_keep_why(rc, &failed, &f->permissions_why, err);
}

/* A rule without secrets has a ConfigMap for its canary. */
static bool has_other_canary(const struct check_facts *f)
{
	const struct config_rule *rule = f->shape ? config_shape_rule(f->shape, "configmaps") : NULL;
	return !f->shape || (rule && rule != config_shape_rule(f->shape, "secrets"));
}

static int ask_permissions(const struct check_sources *in, const struct kube_resource *const *rewritten, size_t count,
			   struct check_facts *f, struct error **err)
{
	static const char *const verbs[] = {"get", "list", "watch", "update", "patch"};
	static const struct {
		const char *verb, *group, *resource, *namespace_;
	} rows[] = {
		{"list", "", "namespaces", NULL},
		{"create", "", "namespaces", NULL}, /* of the canaries */
		{"create", "", "secrets", CANARY_NAMESPACE},
		{"delete", "", "secrets", CANARY_NAMESPACE},
		{"create", "", "configmaps", CANARY_NAMESPACE}, /* see has_other_canary */
		{"delete", "", "configmaps", CANARY_NAMESPACE},
		{"list", "coordination.k8s.io", "leases", "kube-system"}, /* identity, and the lock */
		{"get", "coordination.k8s.io", "leases", "kube-system"},
		{"create", "coordination.k8s.io", "leases", "kube-system"},
		{"update", "coordination.k8s.io", "leases", "kube-system"},
		{"list", "", "nodes", NULL}, /* which servers there are */
		{"list", "", "pods", "kube-system"},
		{"list", "discovery.k8s.io", "endpointslices", "default"},
		{"list", "apiextensions.k8s.io", "customresourcedefinitions", NULL},
		{"list", "apiregistration.k8s.io", "apiservices", NULL},
	};
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < count; i++)
		for (size_t v = 0; rc == 0 && v < ELEMENTS(verbs); v++)
			rc = may(in, f, verbs[v], rewritten[i]->group, rewritten[i]->plural, NULL, err);
	for (size_t i = 0; rc == 0 && i < ELEMENTS(rows); i++)
		if (!text_equal(rows[i].resource, "configmaps") || has_other_canary(f))
			rc = may(in, f, rows[i].verb, rows[i].group, rows[i].resource, rows[i].namespace_, err);
	for (size_t i = 0; i < f->scrape_count; i++)
		if (f->scrapes[i].forbidden) {
			strings_add(&f->forbidden, "get /metrics");
			break;
		}
	return rc;
}

int check_gather_writes(const struct check_sources *in, struct check_facts *ret, struct error **err)
{
	_cleanup_free_ const struct kube_resource **rewritten =
		xcalloc(in->cluster->resources.count + 1, sizeof(*rewritten));
	look_at_members(in, ret);
	size_t count = find_rewritten(in, ret, rewritten);
	int rc = find_webhooks(in, rewritten, count, ret, err);
	return rc == 0 ? ask_permissions(in, rewritten, count, ret, err) : rc;
}
