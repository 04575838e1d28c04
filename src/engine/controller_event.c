/* Events about a KeyRotation, for kubectl describe: each phase as it begins, and what hinders the rotation once that
 * lasts. They are sent beside the rotation, which never waits for one: one that fails is counted, and the first one named. */
#include "engine/controller_internal.h"

#include <string.h>

#include "client/kube/event.h"

#define PHASE_AGAIN (300 * NS_PER_S)    /* a phase that is come back to sooner is not told again */
#define HINDRANCE_HOLDS (10 * NS_PER_S) /* shorter ones are everyday life */
#define RELOAD_HOLDS (120 * NS_PER_S)   /* a server looks at its file each minute, and may miss it once */
#define WARN_INTERVAL (60 * NS_PER_S)   /* between any two warnings of what hinders */
#define WARN_AGAIN (600 * NS_PER_S)     /* of the same */

/* --- sending --- */

static void on_sent(void *arg, int rc, unsigned status, cJSON **answer, struct error **error)
{
	struct controller_event_call *slot = arg;
	(void)status, (void)answer;
	slot->call = NULL;
	if (rc < 0 && slot->controller->events.failed == 0)
		controller_note(slot->controller, "an event was not told, and others may not be: %s",
				error_message(*error));
	slot->controller->events.sent += rc == 0;
	slot->controller->events.failed += rc < 0;
}

static void send(struct controller *c, const char *reason, const char *action, const char *note, bool warning)
{
	const struct kube_event event = {.api_version = KEY_API_VERSION,
					 .kind = "KeyRotation",
					 .name = c->rotation->meta.name,
					 .uid = c->rotation->meta.uid,
					 .instance = c->options->instance,
					 .reason = reason,
					 .action = action,
					 .note = note,
					 .warning = warning,
					 .wall_now = clock_wall()};
	for (size_t i = 0; i < CONTROLLER_EVENTS; i++) {
		struct controller_event_call *slot = &c->events.calls[i];
		if (slot->call)
			continue;
		slot->controller = c;
		slot->call = kube_event_start(&c->options->cluster->kube, &event, on_sent, slot);
		return;
	}
	c->events.failed++;
}

/* --- phases --- */

/* The last place is of what no decision is named after: Paused, Aborted. */
static size_t phase_index(const char *phase)
{
	size_t i = 0;
	while (i <= PHASE_DONE && !text_equal(phase_name((enum phase)i), phase))
		i++;
	return i;
}

static void tell_phase(struct controller *c, const struct decision *d, const char *phase, const char *words,
		       uint64_t now)
{
	uint64_t *told = &c->events.told[phase_index(phase)];
	if (text_equal(phase, c->events.phase))
		return;
	free(c->events.phase);
	c->events.phase = xstrdup(phase);
	c->show.done += d->action == ACTION_DONE;
	if (*told && now < *told + PHASE_AGAIN && d->action != ACTION_DONE)
		return;
	*told = now;
	send(c, phase, c->path ? action_name(d->action) : "find-path", *words ? words : phase,
	     d->action == ACTION_BLOCKED);
}

/* --- what hinders --- */

/* Numbers that stand by themselves are left out: how long it has been so is no other hindrance. */
static char *without_numbers(const char *text)
{
	char *copy = xstrdup(text), *to = copy;
	for (const char *at = text; *at; at++) {
		bool digit = *at >= '0' && *at <= '9';
		if (!digit || (to != copy && to[-1] != ' '))
			*to++ = *at;
	}
	*to = '\0';
	return copy;
}

/* The server that a decision waits for, or that keeps a rotation from finding its path; NULL: none. */
static const struct server_observation *in_the_way(const struct controller *c, const struct decision *d)
{
	const struct server_observation *server =
		d->server >= 0 && (size_t)d->server < c->seen.server_count ? &c->seen.servers[d->server] : NULL;
	if (server && (d->action == ACTION_WAIT || (d->action == ACTION_WRITE_STEP && !server->answering)))
		return server;
	for (size_t i = 0; !c->path && i < c->seen.server_count; i++)
		if (!c->seen.servers[i].answering)
			return &c->seen.servers[i];
	return NULL;
}

/* "SERVER_DOWN" as events have it: "ServerDown". New string. */
static char *event_word(const char *name)
{
	char *word = xstrdup(name), *to = word;
	bool first = true;
	for (; *name; name++) {
		bool upper = *name >= 'A' && *name <= 'Z';
		if (*name != '_')
			*to++ = upper && !first ? (char)(*name - 'A' + 'a') : *name;
		first = *name == '_';
	}
	*to = '\0';
	return word;
}

static void tell_hindrance(struct controller *c, const struct decision *d, const char *words, uint64_t now)
{
	struct controller_events *events = &c->events;
	const struct server_observation *server = in_the_way(c, d);
	bool down = server && (!c->path || d->action == ACTION_WRITE_STEP);
	enum reason reason = down ? REASON_SERVER_DOWN : d->reason;
	_cleanup_free_ char *word = server ? event_word(reason_name(reason)) : xstrdup("Degraded");
	char *hindrance = server                                      ? xasprintf("%s %s", word, server->name)
			  : c->trouble && d->action != ACTION_BLOCKED ? without_numbers(c->trouble)
								      : NULL;
	if (!text_equal(hindrance, events->hindrance))
		events->hindrance_since = now;
	free(events->hindrance);
	events->hindrance = hindrance;
	uint64_t holds = reason == REASON_NOT_LOADED ? RELOAD_HOLDS : HINDRANCE_HOLDS;
	uint64_t again = text_equal(hindrance, events->warned) ? WARN_AGAIN : WARN_INTERVAL;
	if (!hindrance || now < events->hindrance_since + holds || (events->warned && now < events->warned_at + again))
		return;
	free(events->warned);
	events->warned = xstrdup(hindrance);
	events->warned_at = now;
	send(c, word, "wait", words, true);
}

/* --- both --- */

static void forget(struct controller_events *events)
{
	free(events->rotation);
	free(events->phase);
	free(events->hindrance);
	free(events->warned);
	events->rotation = events->phase = events->hindrance = events->warned = NULL;
	memset(events->told, 0, sizeof(events->told));
}

/* What a leader before told is in the status. */
static void begin(struct controller *c)
{
	const struct key_rotation *rotation = c->rotation;
	if (text_equal(rotation->meta.uid, c->events.rotation))
		return;
	forget(&c->events);
	c->events.rotation = xstrdup(rotation->meta.uid);
	c->events.phase = rotation->status.phase ? xstrdup(rotation->status.phase) : NULL;
}

void controller_event(struct controller *c, const struct decision *d, const char *phase, const char *words,
		      uint64_t now)
{
	begin(c);
	tell_phase(c, d, phase, words, now);
	tell_hindrance(c, d, words, now);
}

void controller_events_stop(struct controller *c)
{
	for (size_t i = 0; i < CONTROLLER_EVENTS; i++)
		kube_custom_cancel(steal(c->events.calls[i].call));
	forget(&c->events);
}
