/* Beside a sweep, which may take hours: what the agents report meanwhile, and who joins. It rests upon servers that all run
 * what they ran as it began. Where one of them runs, or is given, something else it ends at once, and the next turn looks at
 * everything: a server of another version drops fields that it does not know, and an older file reads nothing that was
 * rewritten. Of one that is not seen nobody knows that: nothing is rewritten until it is seen again. */
#include "engine/controller_internal.h"

static const struct fleet_server *reported(const struct controller *c, size_t i)
{
	return fleet_find(&c->fleet, c->servers[i].name);
}

void controller_sweep_begins(struct controller *c)
{
	c->sweep_waits = false;
	_cleanup_strings_ names = {0};
	for (size_t i = 0; i < c->server_count; i++)
		strings_add(&names, c->servers[i].name);
	joiners_begin(&c->joiners, &c->options->cluster->kube, &names, clock_monotonic());
	for (size_t i = 0; i < c->server_count; i++) {
		struct directed *server = &c->servers[i];
		const struct key_server_status *status = controller_status(c, i);
		replace_text(&server->swept_with.file, status && status->file_hash ? status->file_hash : "");
		replace_text(&server->swept_with.loaded, status && status->loaded_hash ? status->loaded_hash : "");
		replace_text(&server->swept_with.version, status && status->version ? status->version : "");
		server->swept_with.process = status ? status->process : 0;
	}
}

struct kube *controller_sweeps_through(const struct controller *c)
{
	for (size_t i = 0; i < c->server_count; i++)
		if (c->servers[i].scraped)
			return c->servers[i].kube;
	return NULL;
}

static bool is_another(const char *before, const char *now)
{
	return now && !text_empty(before) && !text_equal(before, now);
}

/* What does not answer, or tells nothing of itself, is another matter. An agent whose KeyServer was deleted has nowhere to
 * report to until the next look makes it again. */
static const char *changed(const struct directed *server, const struct fleet_server *reported)
{
	if (!reported)
		return "its KeyServer is gone";
	const struct key_server_status *status = &reported->last->status;
	if (is_another(server->swept_with.file, status->file_hash))
		return "its file is another one";
	if (is_another(server->swept_with.loaded, status->loaded_hash))
		return "it has loaded another file";
	if (is_another(server->swept_with.version, status->version))
		return "it is of another version";
	return status->process && status->process != server->swept_with.process ? "it was started anew" : NULL;
}

static const char *unseen(const struct fleet_server *server)
{
	if (!fleet_may_be_fresh(server, clock_monotonic()))
		return "the agent on its node has not reported for a while";
	if (!server->last->status.answering)
		return "it does not answer its agent";
	return server->last->status.file_hash ? NULL : "its file cannot be read";
}

/* What is shown of them is no longer what was seen before the sweep. Whether one is not seen. */
static bool any_unseen(struct controller *c)
{
	_cleanup_free_ char *text = NULL;
	for (size_t i = 0; i < c->server_count; i++) {
		const char *why = unseen(reported(c, i));
		if (i < c->seen.server_count)
			c->seen.servers[i].answering = !why;
		if (why && !text)
			text = xasprintf("rewriting waits for %s: %s", c->servers[i].name, why);
	}
	if (!text && joiners_silent(&c->joiners, clock_monotonic()))
		text = xstrdup(
			"rewriting waits: identity Leases cannot be read, and so an API server that joins is not seen");
	if (text || c->sweep_waits)
		controller_trouble(c, text);
	c->sweep_waits = text != NULL;
	return c->sweep_waits;
}

enum sweep_wish controller_sweep_wish(struct controller *c)
{
	if (controller_directs_forgotten(c))
		return SWEEP_GIVE_UP;
	if (c->joiners.joined) {
		controller_note(c, "rewriting is begun anew: %s joined", c->joiners.joined);
		return SWEEP_GIVE_UP;
	}
	for (size_t i = 0; i < c->server_count; i++) {
		const char *why = changed(&c->servers[i], reported(c, i));
		if (!why)
			continue;
		controller_note(c, "rewriting is begun anew: %s: %s", c->servers[i].name, why);
		return SWEEP_GIVE_UP;
	}
	return any_unseen(c) ? SWEEP_HOLD : SWEEP_GO_ON;
}
