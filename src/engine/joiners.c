#include "engine/joiners.h"

#include "base/clock.h"
#include "base/text.h"

#define TIMEOUT (10 * NS_PER_S)

void joiners_begin(struct joiners *joiners, struct kube *kube, const struct strings *known, uint64_t now)
{
	joiners_end(joiners);
	*joiners = (struct joiners){.kube = kube, .asked = now, .answered = now};
	for (size_t i = 0; i < known->count; i++)
		strings_add(&joiners->known, known->items[i]);
}

void joiners_take(struct joiners *joiners, const cJSON *list, uint64_t now)
{
	struct kube_identities identities = {0};
	if (kube_identities_read(list, &identities))
		return;
	joiners->answered = now;
	for (size_t i = 0; i < identities.count && !joiners->joined; i++)
		if (!strings_has(&joiners->known, kube_identity_name(&identities.items[i])))
			joiners->joined = xstrdup(kube_identity_name(&identities.items[i]));
	kube_identities_free(&identities);
}

static void on_leases(void *arg, int rc, unsigned status, cJSON **answer, struct error **error)
{
	struct joiners *joiners = arg;
	(void)status, (void)error; /* the next one tells */
	joiners->call = NULL;
	if (rc == 0)
		joiners_take(joiners, *answer, loop_now(joiners->kube->loop));
}

void joiners_look(struct joiners *joiners, uint64_t now)
{
	if (joiners->call || now < joiners->asked + JOINERS_INTERVAL)
		return;
	joiners->asked = now;
	joiners->call = kube_identities_start(joiners->kube, TIMEOUT, on_leases, joiners);
}

bool joiners_silent(const struct joiners *joiners, uint64_t now)
{
	return now >= joiners->answered + JOINERS_SILENCE;
}

void joiners_end(struct joiners *joiners)
{
	kube_custom_cancel(joiners->call);
	strings_free(&joiners->known);
	free(joiners->joined);
	*joiners = (struct joiners){0};
}
