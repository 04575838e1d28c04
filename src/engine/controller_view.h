/* What a controller shows of itself to monitoring. Everything is lent, and valid during the call. */
#pragma once
#include "engine/controller.h"
#include "engine/drift.h"
#include "engine/fleet.h"
#include "engine/key_rotation.h"

struct controller_view_server {
	const char *name;
	bool answering;
	int file_step, loaded_step; /* STEP_NONE: not known, or none of the path's */
	bool reported;              /* its agent has, ever */
	uint64_t report_age;        /* ns since a report was first read */
	uint64_t epoch;             /* that its agent has acknowledged for this rotation; 0: none */
};
struct controller_view {
	const struct controller_options *options;
	uint64_t now, wall; /* monotonic and CLOCK_REALTIME ns */
	bool leads;
	const char *not_ready; /* why it cannot do its work; NULL: it can. No secrets */
	/* A turn: look, decide, do one step; of one that stands by: read the Lease. */
	uint64_t turned_at; /* when one succeeded last; 0: none did */
	uint64_t turns, failed_turns;
	uint64_t rotations_done; /* by this process */
	uint64_t events, failed_events;
	/* the one that goes on, as it is told in its status; NULL: none, and then the following are empty */
	const struct key_rotation *rotation;
	const struct controller_view_server *servers;
	size_t server_count;
	/* the last one of this rotation, or where nothing is rotated, the last that was asked for; finished 0: none */
	const struct census_observation *census;
	/* while nothing is rotated */
	const struct drift *drift; /* NULL: not known */
	uint64_t drift_since;      /* 0: nothing is stale */
	uint64_t drifts_ended, drifts_ended_ns;
	const struct fleet *fleet; /* what agents report */
};
