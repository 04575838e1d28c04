/* What the controller and the agent tell monitoring, as Prometheus text. Each name and its meaning: docs/reference.md.
 * Labels are names of API servers, resources and keys (bounded by KEY_SERVERS_MAX and KEY_SERVER_GROUPS_MAX), and words of
 * ours; the one rotation that goes on is named once. Never a namespace or an object, never a secret. */
#pragma once
#include "engine/agent_view.h"
#include "engine/controller_view.h"
#include "net/http.h"
#include "serve/metrics_text.h"

/* Calls of one client: `use` a word of ours, `server` its address. Pairs of both are unique. */
struct request_source {
	const char *use, *server;
	const struct http_counts *counts;
};

void controller_metrics_write(struct metrics_text *w, const struct controller_view *view);
void agent_metrics_write(struct metrics_text *w, const struct agent_view *view);
void request_metrics_write(struct metrics_text *w, const struct request_source *sources, size_t count);
/* One family with one sample. */
void metrics_gauge(struct metrics_text *w, const char *name, const char *help, uint64_t value);
/* By which its age can be told, and what it is that says it. */
void process_metrics_write(struct metrics_text *w, uint64_t wall_now);
