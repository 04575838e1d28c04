/* The leader election record inside a Lease: read, and written over in place. */
#include "base/clock.h"
#include "base/json_read.h"
#include "client/kube/kube_internal.h"
#include "client/kube/lock.h"

static void set_item(cJSON *object, const char *name, cJSON *value)
{
	if (value == NULL)
		abort();
	/* All of that name: the first one is what counts, here and there. */
	while (cJSON_GetObjectItemCaseSensitive(object, name) != NULL)
		cJSON_DeleteItemFromObjectCaseSensitive(object, name);
	if (!cJSON_AddItemToObject(object, name, value))
		abort();
}

static cJSON *child(cJSON *object, const char *name)
{
	cJSON *found = cJSON_GetObjectItemCaseSensitive(object, name);

	if (cJSON_IsObject(found))
		return found;
	set_item(object, name, cJSON_CreateObject());
	return cJSON_GetObjectItemCaseSensitive(object, name);
}

const char *kube_lease_holder(const cJSON *lease)
{
	const char *holder = json_text_at(json_at(lease, "spec", NULL), "holderIdentity");

	return holder != NULL ? holder : "";
}

char *kube_lease_record(const cJSON *lease)
{
	const cJSON *spec = json_at(lease, "spec", NULL);
	const char *acquired = json_text_at(spec, "acquireTime"), *renewed = json_text_at(spec, "renewTime");
	uint64_t transitions = 0;

	json_u64_at(spec, "leaseTransitions", &transitions);
	return xasprintf("%s %s %s %ju", kube_lease_holder(lease), acquired ? acquired : "", renewed ? renewed : "",
			 (uintmax_t)transitions);
}

uint64_t kube_lease_duration(const cJSON *lease)
{
	uint64_t seconds = LOCK_DURATION_S;

	json_u64_at(json_at(lease, "spec", NULL), "leaseDurationSeconds", &seconds);
	return seconds;
}

cJSON *kube_lease_new(void)
{
	cJSON *lease = cJSON_CreateObject();

	if (lease == NULL)
		abort();
	set_item(lease, "apiVersion", cJSON_CreateString("coordination.k8s.io/v1"));
	set_item(lease, "kind", cJSON_CreateString("Lease"));
	set_item(child(lease, "metadata"), "name", cJSON_CreateString(LOCK_NAME));
	set_item(child(lease, "metadata"), "namespace", cJSON_CreateString(LOCK_NAMESPACE));
	return lease;
}

void kube_lease_claim(cJSON *lease, const char *holder)
{
	cJSON *spec = child(lease, "spec");
	uint64_t transitions = 0;
	char now[28];

	clock_format(clock_wall(), 1, now);
	if (holder[0] != '\0' && strcmp(kube_lease_holder(lease), holder) != 0) {
		/* An int32; where it ends, or was never one, it begins again. */
		transitions = json_u64_at(spec, "leaseTransitions", &transitions) && transitions < INT32_MAX
				      ? transitions + 1
				      : 0;
		set_item(spec, "leaseTransitions", cJSON_CreateNumber((double)transitions));
		set_item(spec, "acquireTime", cJSON_CreateString(now));
	}
	set_item(spec, "holderIdentity", cJSON_CreateString(holder));
	/* Of a Lease given back nobody waits out the rest. */
	set_item(spec, "leaseDurationSeconds", cJSON_CreateNumber(holder[0] != '\0' ? LOCK_DURATION_S : 1));
	set_item(spec, "renewTime", cJSON_CreateString(now));
}
