/* What an agent shows of itself to monitoring. Everything is lent, and valid during the call. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "engine/kms_look.h"

struct agent_view {
	uint64_t now, wall;    /* monotonic and CLOCK_REALTIME ns */
	const char *not_ready; /* why it cannot do its work; NULL: it can. No secrets */
	uint64_t reported_at;  /* when the API server took a report last; 0: it never did */
	/* as of the last turn */
	bool answering;
	int file_step, loaded_step; /* STEP_NONE: not known, or none of the path's */
	uint64_t epoch;
	struct {
		uint64_t ok, failed, refused; /* by this process */
	} orders;
	const struct kms_look *kms; /* what the plugins of the file said when they were asked last */
	size_t kms_count;
};
