#include "engine/kms_pace.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/text.h"

struct kms_pace_method {
	char *what;
	double seconds;
	uint64_t calls;      /* in all, when it was looked at last */
	uint64_t usual, now; /* ns for each call: of the first ones that were seen, and of the last; 0: not known */
	bool slow;           /* the last ones were */
	unsigned silent;     /* looks since then */
};

static uint64_t mean(double seconds, uint64_t calls)
{
	return seconds > 0 ? (uint64_t)(seconds * (double)NS_PER_S / (double)calls) : 0;
}

/* NULL: there are too many. */
static struct kms_pace_method *method_of(struct kms_pace *pace, const char *what)
{
	for (size_t i = 0; i < pace->count; i++)
		if (text_equal(pace->methods[i].what, what))
			return &pace->methods[i];
	if (pace->count == KMS_PACE_METHODS_MAX)
		return NULL;
	pace->methods = xreallocarray(pace->methods, pace->count + 1, sizeof(*pace->methods));
	pace->methods[pace->count] = (struct kms_pace_method){.what = xstrdup(what)};
	return &pace->methods[pace->count++];
}

/* Whether it was called since the last look, and slowly. */
static bool got_slow(struct kms_pace_method *method, const struct apiserver_kms_calls *seen, bool same_process)
{
	bool same = same_process && method->calls <= seen->calls;
	uint64_t calls = seen->calls - (same ? method->calls : 0);
	double seconds = seen->seconds - (same ? method->seconds : 0);
	method->seconds = seen->seconds;
	method->calls = seen->calls;
	if (calls == 0) {
		method->slow = method->slow && ++method->silent < KMS_PACE_SILENT;
		return false;
	}
	method->now = mean(seconds, calls);
	if (method->usual == 0)
		method->usual = method->now;
	method->slow = method->now > KMS_PACE_TIMES * method->usual + KMS_PACE_SLACK;
	method->silent = 0;
	return method->slow;
}

static const struct kms_pace_method *slowest(const struct kms_pace *pace)
{
	const struct kms_pace_method *found = NULL;
	for (size_t i = 0; i < pace->count; i++)
		if (pace->methods[i].slow && (!found || pace->methods[i].now > found->now))
			found = &pace->methods[i];
	return found;
}

bool kms_pace_take(struct kms_pace *pace, const struct apiserver_metrics *seen)
{
	uint64_t process = (uint64_t)(seen->process_start * 1000.0);
	bool same_process = pace->process == process, slower = false;
	unsigned before = pace->halved;
	pace->process = process;
	for (size_t i = 0; i < seen->kms_call_count; i++) {
		struct kms_pace_method *method = method_of(pace, seen->kms_calls[i].what);
		slower |= method && got_slow(method, &seen->kms_calls[i], same_process);
	}
	if (slower)
		pace->halved += pace->halved < KMS_PACE_HALVED_MAX;
	else if (pace->halved > 0 && !slowest(pace))
		pace->halved--;
	return pace->halved != before;
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

char *kms_pace_text(const struct kms_pace *pace)
{
	const struct kms_pace_method *slow = slowest(pace);
	uint64_t least = slow && slow->usual > NS_PER_MS ? slow->usual : NS_PER_MS; /* that is told */
	_cleanup_free_ char *usual = text_human_duration(least), *now = slow ? text_human_duration(slow->now) : NULL;
	_cleanup_free_ char *why = slow ? xasprintf("%s takes %s, and took %s before", slow->what, now, usual)
					: xstrdup("the KMS is not slow any more");
	return pace->halved > 0 ? xasprintf("%s: rewriting at 1/%u of the speed", why, 1u << pace->halved)
				: xasprintf("%s: rewriting at full speed", why);
}

void kms_pace_free(struct kms_pace *pace)
{
	for (size_t i = 0; i < pace->count; i++)
		free(pace->methods[i].what);
	free(pace->methods);
	*pace = (struct kms_pace){0};
}
