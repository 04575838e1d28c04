/* The agent beside one API server: reports what is seen from its node, and carries out single legal steps that the
 * controller orders; refuses every other (order.h). Keeps its state in the state directory; may be stopped and begun
 * again at any moment. */
#pragma once
#include "engine/agent_view.h"
#include "engine/rotation.h"
#include "engine/trust_key.h"

struct agent_options {
	struct cluster *cluster; /* `kube` is this node's own API server; the etcds are those beside it */
	struct web *web;         /* for watches */
	const char *config_path, *node_name, *state_directory;
	const char *
		manifest; /* of the server, which loads its file at start only: changed to restart it. NULL: it reloads */
	const struct trust_key *trust;
	void (*on_note)(void *arg, const char *text);              /* what a person should know; may be NULL */
	void (*on_view)(void *arg, const struct agent_view *view); /* each second, whatever it is doing; may be NULL */
	void *arg;
};
/* Runs until a signal: -ERROR_INTERRUPTED. -ERROR_REFUSED where it may not even begin (owner of the file, state directory,
 * no automatic reload). What may pass is waited for. */
_must_check_ int agent_run(const struct agent_options *options, struct error **err);
