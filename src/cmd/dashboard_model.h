/* What the page is told: one JSON document, made of what the dashboard knows and of the time. Pure; the page only shows it. All
 * words of others are made printable. Members: docs/dashboard.md. */
#pragma once
#include "base/json_writer.h"
#include "cmd/dashboard_store.h"

#define DASHBOARD_JSON_MAX (4u << 20)

struct dashboard_scene {
	const struct dashboard_store *store;
	const char *server;     /* where the objects come from: a URL, a file */
	const char *invoked_as; /* "kubectl rekey" */
	bool replay;            /* of a record: */
	uint64_t decision, decisions;
	const char *decided_at; /* RFC 3339; NULL */
	uint64_t now, wall;
};
/* One document into `w`. */
void dashboard_model_write(const struct dashboard_scene *scene, struct json_writer *w);
