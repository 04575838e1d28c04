#include "test_support.h"
#include "client/kube/kube_internal.h"

#define RESOURCE(group_, api_version_, plural_, namespaced_)                                                   \
	{                                                                                                      \
		.group = (char[]){group_}, .api_version = (char[]){api_version_}, .plural = (char[]){plural_}, \
		.namespaced = namespaced_, .resource = (char[])                                                \
		{                                                                                              \
			plural_                                                                                \
		}                                                                                              \
	}

struct row {
	const char *name;
	struct kube_resource resource;
	const char *namespace_, *object, *path, *label;
};
static struct row rows[] = {
	{"core object", RESOURCE("", "v1", "secrets", true), "team-a", "db", "/api/v1/namespaces/team-a/secrets/db",
	 "secrets team-a/db"},
	{"core collection", RESOURCE("", "v1", "secrets", true), "team-a", NULL, "/api/v1/namespaces/team-a/secrets",
	 "secrets in team-a"},
	{"all namespaces", RESOURCE("", "v1", "secrets", true), NULL, NULL, "/api/v1/secrets", "secrets"},
	{"empty is all", RESOURCE("", "v1", "secrets", true), "", "", "/api/v1/secrets", "secrets"},
	{"a group", RESOURCE("apps", "apps/v1", "deployments", true), "ns", "web",
	 "/apis/apps/v1/namespaces/ns/deployments/web", "deployments ns/web"},
	{"cluster-scoped", RESOURCE("", "v1", "nodes", false), NULL, "n1", "/api/v1/nodes/n1", "nodes n1"},
	{"a namespace that does not apply", RESOURCE("", "v1", "nodes", false), "ns", "n1", "/api/v1/nodes/n1",
	 "nodes n1"},
	{"colons and percent signs",
	 RESOURCE("rbac.authorization.k8s.io", "rbac.authorization.k8s.io/v1", "clusterroles", false), NULL,
	 "system:a%2Fb?c#d", "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Aa%252Fb%3Fc%23d",
	 "clusterroles system:a%2Fb?c#d"},
};

static void test_row(void **state)
{
	const struct row *row = *state;
	_cleanup_free_ char *path = kube_path(&row->resource, row->namespace_, row->object);
	_cleanup_free_ char *label = kube_label(&row->resource, row->namespace_, row->object);

	assert_string_equal(path, row->path);
	assert_string_equal(label, row->label);
}

int main(void)
{
	return RUN_ROWS(test_row, rows);
}
