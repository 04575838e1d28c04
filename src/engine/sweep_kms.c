/* A KMS that gets slow: what is rewritten asks it for keys, and so do all others. */
#include "engine/sweep_internal.h"

#include <string.h>

#define SCRAPE_TIMEOUT (2 * NS_PER_S)
#define WORDS_MAX 500

static void tell(const struct sweep *sweep)
{
	const struct sweep_options *o = sweep->options;
	_cleanup_free_ char *words = kms_pace_text(&sweep->kms);
	_cleanup_free_ char *clean = text_printable(words, strlen(words), WORDS_MAX);
	if (o->on_note != NULL)
		o->on_note(o->arg, clean);
}

/* A server that does not answer says nothing; one that lets nobody look is not asked again. */
void sweep_kms_check(struct sweep *sweep)
{
	const struct sweep_options *o = sweep->options;
	struct apiserver_metrics seen = {0};
	if (!o->watch_kms || sweep->kms_hidden || loop_now(o->loop) < sweep->kms_due)
		return;
	sweep->kms_due = loop_now(o->loop) + KMS_PACE_INTERVAL;
	/* Meanwhile the call-backs go on writing. A signal is seen by whoever called us. */
	loop_ignore_signals(o->loop, true);
	int rc = kube_scrape_within(o->kube, SCRAPE_TIMEOUT, &seen, NULL);
	loop_ignore_signals(o->loop, false);
	sweep->kms_hidden = rc == -ERROR_AUTH;
	if (rc == 0 && kms_pace_take(&sweep->kms, &seen))
		tell(sweep);
	apiserver_metrics_free(&seen);
}
