/* A kubeconfig in the test's folder, as the program loads one. */
#pragma once
#include "test_folder.h"

#include "base/text.h"
#include "net/kubeconfig.h"

static inline struct kube_access *access_to(const char *url)
{
	const char *path = in_folder("kubeconfig");
	_cleanup_free_ char *text = xasprintf("apiVersion: v1\nkind: Config\ncurrent-context: c\n"
					      "clusters: [{name: c, cluster: {server: '%s'}}]\n"
					      "users: [{name: u, user: {}}]\n"
					      "contexts: [{name: c, context: {cluster: c, user: u}}]\n",
					      url);
	const struct kubeconfig_options options = {.explicit_path = path};
	struct kube_access *access = NULL;
	struct error *err = NULL;
	put_file(path, text);
	assert_ok(kube_access_load(&options, &access, &err), err);
	return access;
}
