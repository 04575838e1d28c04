#include "cmd/leader.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/json_read.h"
#include "base/text.h"
#include "client/kube/custom.h"
#include "client/kube/lock.h"

#define LOOK_TIMEOUT (5 * NS_PER_S)
#define REFUSED_PAUSE (30 * NS_PER_S)
#define WORDS_MAX 1024

static void forget(struct leader *leader)
{
	free(steal(leader->holder));
	free(steal(leader->renewed));
	leader->renewed_at = 0;
}

void leader_free(struct leader *leader)
{
	forget(leader);
	free(leader->problem);
	*leader = (struct leader){0};
}

static char *words_at(const cJSON *object, const char *member)
{
	return text_printable_or(json_text_at(object, member), WORDS_MAX, "");
}

void leader_put(struct leader *leader, const cJSON *lease, uint64_t now)
{
	const cJSON *spec = json_at(lease, "spec", NULL);
	leader->asked = true;
	leader->looked_at = now;
	free(steal(leader->problem));
	if (!lease) {
		forget(leader);
		return;
	}
	char *renewed = words_at(spec, "renewTime");
	if (!leader->renewed)
		leader->seen_at = now;
	else if (!text_equal(leader->renewed, renewed))
		leader->renewed_at = now;
	free(leader->holder);
	free(leader->renewed);
	leader->holder = words_at(spec, "holderIdentity");
	leader->renewed = renewed;
}

void leader_unknown(struct leader *leader, const char *problem)
{
	leader->asked = false;
	free(leader->problem);
	leader->problem = problem ? text_printable_or(problem, WORDS_MAX, "") : NULL;
}

int leader_look(struct leader *leader, struct kube *kube, struct error **err)
{
	const struct kube_custom_request request = {
		.verb = CUSTOM_GET, .collection = LOCK_LEASES, .name = LOCK_NAME, .timeout = LOOK_TIMEOUT};
	_cleanup_json_ lease = NULL;
	_cleanup_error_ failed = NULL;
	if (leader->refused_at > 0 && clock_monotonic() < leader->refused_at + REFUSED_PAUSE)
		return 0;
	int rc = kube_custom_fetch(kube, &request, &lease, &failed);
	if (rc == -ERROR_INTERRUPTED) {
		*err = steal(failed);
		return rc;
	}
	if (rc == 0 || rc == -ERROR_NOT_FOUND)
		leader_put(leader, lease, clock_monotonic());
	else
		leader_unknown(leader, error_message(failed));
	leader->refused_at = rc == -ERROR_AUTH ? clock_monotonic() : 0;
	return 0;
}

static uint64_t silence(const struct leader *leader, uint64_t now)
{
	uint64_t since = leader->renewed_at ? leader->renewed_at : leader->seen_at;
	return now > since ? now - since : 0;
}

bool leader_missing(const struct leader *leader, uint64_t now)
{
	if (!leader->asked)
		return false;
	return !leader->renewed || text_empty(leader->holder) || silence(leader, now) > LEADER_SILENCE;
}

bool leader_late(const struct leader *leader, uint64_t now)
{
	return leader->asked && !leader_missing(leader, now) && silence(leader, now) >= LEADER_LATE;
}

bool leader_renews(const struct leader *leader, uint64_t now)
{
	return leader->asked && leader->renewed_at > 0 && !leader_missing(leader, now) && !leader_late(leader, now);
}

char *leader_words(const struct leader *leader, uint64_t now)
{
	if (!leader->asked)
		return xasprintf("whether one leads is not known%s%s", leader->problem ? ": " : "",
				 leader->problem ? leader->problem : "");
	if (!leader->renewed)
		return xstrdup("none has ever led here");
	if (text_empty(leader->holder))
		return xstrdup("none leads now");
	_cleanup_free_ char *age = text_human_duration(silence(leader, now) / NS_PER_S * NS_PER_S);
	if (leader_missing(leader, now))
		return xasprintf(
			"none leads now: %s has not renewed its Lease for %s, and what is shown is what it left",
			leader->holder, age);
	if (leader_late(leader, now))
		return xasprintf("%s leads by its Lease, which was not seen to be renewed for %s", leader->holder, age);
	return xasprintf("%s leads", leader->holder);
}
