/* Which webhooks and admission policies see an update of what a rotation rewrites.
 *
 * Formats: admissionregistration.k8s.io/v1, {Mutating,Validating}WebhookConfiguration.webhooks[].rules[] and
 * {Mutating,Validating}AdmissionPolicy.spec.matchConstraints.resourceRules[]: operations, apiGroups, resources with "*" for all. */
#include <stdlib.h>

#include "base/json_read.h"
#include "engine/check_internal.h"

static bool lists(const cJSON *list, const char *wanted)
{
	for (const cJSON *each = list ? list->child : NULL; each; each = each->next)
		if (cJSON_IsString(each) &&
		    (text_equal(each->valuestring, "*") || text_equal(each->valuestring, wanted) ||
		     text_equal(each->valuestring, "*/*")))
			return true;
	return false;
}

static bool sees(const cJSON *rules, const struct kube_resource *resource)
{
	for (const cJSON *rule = rules ? rules->child : NULL; rule; rule = rule->next)
		if (lists(json_at(rule, "operations", NULL), "UPDATE") &&
		    lists(json_at(rule, "apiGroups", NULL), resource->group) &&
		    lists(json_at(rule, "resources", NULL), resource->plural))
			return true;
	return false;
}

static void judge(const cJSON *rules, const char *label, bool mutates, const struct kube_resource *const *resources,
		  size_t resource_count, struct check_facts *f)
{
	struct strings seen = {0};
	for (size_t i = 0; i < resource_count; i++)
		if (sees(rules, resources[i]))
			strings_add(&seen, resources[i]->resource);
	if (seen.count == 0)
		return;
	f->webhooks = xreallocarray(f->webhooks, f->webhook_count + 1, sizeof(*f->webhooks));
	f->webhooks[f->webhook_count++] = (struct check_webhook){xstrdup(label), seen, mutates};
}

void check_add_webhooks(const struct cJSON *list, const char *kind, bool mutates,
			const struct kube_resource *const *resources, size_t resource_count, struct check_facts *f)
{
	const cJSON *items = json_at(list, "items", NULL);
	for (const cJSON *item = items ? items->child : NULL; item; item = item->next) {
		const char *name = json_text_at(json_at(item, "metadata", NULL), "name");
		const cJSON *hooks = json_at(item, "webhooks", NULL);
		_cleanup_free_ char *whole = xasprintf("%s %s", kind, name ? name : "?");
		judge(json_at(item, "spec", "matchConstraints", "resourceRules", NULL), whole, mutates, resources,
		      resource_count, f);
		for (const cJSON *hook = hooks ? hooks->child : NULL; hook; hook = hook->next) {
			const char *own = json_text_at(hook, "name");
			_cleanup_free_ char *label = xasprintf("%s of %s", own ? own : "?", whole);
			judge(json_at(hook, "rules", NULL), label, mutates, resources, resource_count, f);
		}
	}
}
