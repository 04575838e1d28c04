/* API servers that join while objects are rewritten, which may take hours: one of another version would lose fields by what is
 * rewritten through an older one, and one that came with an older file reads nothing that was. Identity Leases are asked for
 * beside the sweep; nothing here waits. */
#pragma once
#include "client/kube/custom.h"

#define JOINERS_INTERVAL (UINT64_C(5) * 1000000000) /* ns between looks */
#define JOINERS_SILENCE (UINT64_C(30) * 1000000000) /* without an answer: who joined is not known */

struct joiners {
	struct kube *kube;
	struct strings known;        /* names, as kube_identity_name gives them */
	struct kube_json_call *call; /* under way; NULL */
	uint64_t asked, answered;    /* monotonic ns */
	char *joined;                /* the first that is not known; NULL */
};
/* After a look at all of them, at `now`. `known` is copied. */
void joiners_begin(struct joiners *joiners, struct kube *kube, const struct strings *known, uint64_t now);
/* Asks when it is time to. */
void joiners_look(struct joiners *joiners, uint64_t now);
/* Takes a list as the API answers it; what is none is no answer. Pure. */
void joiners_take(struct joiners *joiners, const cJSON *list, uint64_t now);
bool joiners_silent(const struct joiners *joiners, uint64_t now);
void joiners_end(struct joiners *joiners); /* the contents */
