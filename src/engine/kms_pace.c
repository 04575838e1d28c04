#include "engine/kms_pace.h"

#include "base/clock.h"

static uint64_t mean(double seconds, uint64_t calls)
{
	return seconds > 0 ? (uint64_t)(seconds * (double)NS_PER_S / (double)calls) : 0;
}

bool kms_pace_take(struct kms_pace *pace, const struct apiserver_metrics *seen)
{
	const struct kms_pace before = *pace;
	pace->process = (uint64_t)(seen->process_start * 1000.0);
	pace->seconds = seen->kms_seconds;
	pace->calls = seen->kms_calls;
	bool same = before.process == pace->process && before.calls <= pace->calls;
	uint64_t calls = pace->calls - (same ? before.calls : 0);
	if (calls == 0)
		return false; /* which says nothing */
	pace->now = mean(pace->seconds - (same ? before.seconds : 0), calls);
	if (pace->usual == 0)
		pace->usual = pace->now;
	if (pace->now > KMS_PACE_TIMES * pace->usual + KMS_PACE_SLACK)
		pace->halved += pace->halved < KMS_PACE_HALVED_MAX;
	else if (pace->halved > 0)
		pace->halved--;
	return pace->halved != before.halved;
}

void kms_pace_slow(const struct kms_pace *pace, struct throttle_options *speed)
{
	if (pace->halved == 0)
		return;
	uint64_t qps = speed->qps >> pace->halved;
	unsigned concurrency = speed->concurrency >> pace->halved;
	if (speed->qps > 0) /* else it is full speed */
		speed->qps = qps > 0 ? qps : 1;
	speed->concurrency = concurrency > 0 ? concurrency : 1;
}
