#include "cmd/dashboard_store.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json_read.h"

#define WORDS_MAX 1024

/* --- lists that forget what is oldest --- */

static void event_free(struct dashboard_event *event)
{
	free(event->uid);
	free(event->rotation);
	free(event->at);
	free(event->reason);
	free(event->note);
}

static void events_free(struct dashboard_events *events)
{
	for (size_t i = 0; i < events->count; i++)
		event_free(&events->items[i]);
	free(events->items);
	*events = (struct dashboard_events){0};
}

static void events_drop(struct dashboard_events *events, size_t at)
{
	event_free(&events->items[at]);
	memmove(&events->items[at], &events->items[at + 1], (--events->count - at) * sizeof(*events->items));
}

/* Takes what `event` points to. Times are all written alike, so their texts are ordered as they are. */
static void events_add(struct dashboard_events *events, struct dashboard_event event, size_t max)
{
	if (events->count == max && strcmp(event.at, events->items[0].at) < 0) {
		event_free(&event);
		return;
	}
	if (events->count == max)
		events_drop(events, 0);
	events->items = xreallocarray(events->items, events->count + 1, sizeof(*events->items));
	size_t at = events->count++;
	for (; at > 0 && strcmp(events->items[at - 1].at, event.at) > 0; at--)
		events->items[at] = events->items[at - 1];
	events->items[at] = event;
}

static void forget_namespaces(struct dashboard_store *store)
{
	for (size_t i = 0; i < store->namespace_count; i++)
		free(store->namespaces[i].name);
	free(store->namespaces);
	store->namespaces = NULL;
	store->namespace_count = store->namespace_now = 0;
}

void dashboard_store_free(struct dashboard_store *store)
{
	for (size_t i = 0; i < DASHBOARD_KINDS; i++) {
		free(store->sources[i].problem);
		free(store->sources[i].broken);
		strings_free(&store->sources[i].listed);
	}
	rotations_free(&store->rotations);
	fleet_free(&store->fleet);
	key_server_free(store->counted);
	events_free(&store->events);
	events_free(&store->notes);
	forget_namespaces(store);
	leader_free(&store->leader);
	free(store->shown);
	free(store->phase);
	*store = (struct dashboard_store){0};
}

/* --- what is seen to pass --- */

static const char *uid_of(const struct key_rotation *rotation)
{
	return rotation->meta.uid ? rotation->meta.uid : "";
}

static void pass_phase(struct dashboard_store *store, const struct key_rotation *rotation, uint64_t wall)
{
	_cleanup_free_ char *phase = rotation_words(rotation);
	const struct key_rotation_condition *why = key_rotation_condition(&rotation->status, "Progressing");
	char at[28];
	if (text_equal(phase, store->phase))
		return;
	clock_format(wall, 1, at);
	events_add(&store->notes,
		   (struct dashboard_event){.rotation = xstrdup(uid_of(rotation)),
					    .at = xstrdup(at),
					    .reason = xstrdup(phase),
					    .note = xstrdup(why && why->message ? why->message : ""),
					    .warning = text_equal(phase, phase_name(PHASE_BLOCKED))},
		   DASHBOARD_NOTES_MAX);
	free(store->phase);
	store->phase = steal(phase);
}

/* Its place; the number of all where it is new. */
static size_t find_namespace(const struct dashboard_store *store, const char *name)
{
	size_t i = 0;
	while (i < store->namespace_count && !text_equal(store->namespaces[i].name, name))
		i++;
	return i;
}

static void begin_namespace(struct dashboard_store *store, const char *name, uint64_t done)
{
	size_t at = find_namespace(store, name);
	if (at == store->namespace_count) {
		if (store->namespace_count == DASHBOARD_NAMESPACES_MAX) {
			free(store->namespaces[0].name);
			memmove(store->namespaces, store->namespaces + 1,
				--store->namespace_count * sizeof(*store->namespaces));
		}
		store->namespaces =
			xreallocarray(store->namespaces, store->namespace_count + 1, sizeof(*store->namespaces));
		at = store->namespace_count++;
		store->namespaces[at] = (struct dashboard_namespace){.name = xstrdup(name)};
	}
	store->namespaces[at].from = done - store->namespaces[at].rewritten;
	store->namespace_now = at;
}

/* The objects say which namespace is at work and how many objects are done in all: what is between is its own. */
static void pass_progress(struct dashboard_store *store, const struct key_rotation *rotation)
{
	const char *name = rotation->status.progress.namespace_;
	uint64_t done = rotation->status.progress.done;
	struct dashboard_namespace *now =
		store->namespace_now < store->namespace_count ? &store->namespaces[store->namespace_now] : NULL;
	if (now && done < now->from + now->rewritten) {
		forget_namespaces(store); /* another sweep */
		now = NULL;
	}
	if (now)
		now->rewritten = done - now->from;
	if (!name)
		store->namespace_now = store->namespace_count;
	else if (!now || !text_equal(now->name, name))
		begin_namespace(store, name, done);
}

static void pass(struct dashboard_store *store, uint64_t wall)
{
	const struct key_rotation *rotation = rotations_to_show(&store->rotations, store->name);
	if (!rotation)
		return;
	if (!text_equal(uid_of(rotation), store->shown)) {
		free(store->shown);
		store->shown = xstrdup(uid_of(rotation));
		free(steal(store->phase));
		key_server_free(steal(store->counted));
		forget_namespaces(store);
	}
	pass_phase(store, rotation, wall);
	pass_progress(store, rotation);
}

/* --- objects --- */

static int put_rotation(struct dashboard_store *store, const cJSON *object, struct error **err)
{
	struct key_rotation *rotation = NULL;
	struct rotations *all = &store->rotations;
	int rc = key_rotation_parse(object, &rotation, err);
	if (rc < 0)
		return rc;
	size_t at = 0;
	while (at < all->count && strcmp(all->items[at]->meta.name, rotation->meta.name) < 0)
		at++;
	if (at < all->count && text_equal(all->items[at]->meta.name, rotation->meta.name)) {
		key_rotation_free(all->items[at]);
		all->items[at] = rotation;
		return 0;
	}
	if (all->count == DASHBOARD_ROTATIONS_MAX) {
		key_rotation_free(rotation);
		return error_set(err, ERROR_LIMIT, "there are more than %u KeyRotations", DASHBOARD_ROTATIONS_MAX);
	}
	all->items = xreallocarray(all->items, all->count + 1, sizeof(struct key_rotation *));
	memmove(&all->items[at + 1], &all->items[at], (all->count++ - at) * sizeof(struct key_rotation *));
	all->items[at] = rotation;
	return 0;
}

static void take_beat(struct fleet_server *known, const struct key_server *next, uint64_t now)
{
	const struct key_server_status *before = &known->last->status, *after = &next->status;
	if (before->beat == after->beat && text_equal(before->heartbeat, after->heartbeat))
		return;
	known->beat_read_at = known->looked_at = now;
}

/* Takes `server`, whose place another report has. */
static void let_go(struct dashboard_store *store, struct key_server *server)
{
	bool whole = server->status.census.complete;
	if (whole && (!store->counted || store->counted->status.census.revision <= server->status.census.revision)) {
		key_server_free(store->counted);
		store->counted = server;
		return;
	}
	key_server_free(server);
}

static int put_server(struct dashboard_store *store, const cJSON *object, uint64_t now, struct error **err)
{
	struct key_server *server = NULL;
	struct fleet *fleet = &store->fleet;
	int rc = key_server_parse(object, &server, err);
	if (rc < 0)
		return rc;
	struct fleet_server *known = fleet_find(fleet, server->meta.name);
	if (known) {
		take_beat(known, server, now);
		let_go(store, known->last);
		known->last = server;
		return 0;
	}
	if (fleet->count == KEY_SERVERS_MAX) {
		key_server_free(server);
		return error_set(err, ERROR_LIMIT, "there are more than %u KeyServers", KEY_SERVERS_MAX);
	}
	fleet->servers = xreallocarray(fleet->servers, fleet->count + 1, sizeof(*fleet->servers));
	size_t at = fleet->count++;
	for (; at > 0 && strcmp(fleet->servers[at - 1].last->meta.name, server->meta.name) > 0; at--)
		fleet->servers[at] = fleet->servers[at - 1];
	fleet->servers[at] = (struct fleet_server){.last = server, .beat_read_at = now};
	return 0;
}

static char *words_at(const cJSON *object, const char *member)
{
	const char *text = json_text_at(object, member);
	return text ? text_printable(text, strlen(text), WORDS_MAX) : xstrdup("");
}

static size_t find_event(const struct dashboard_events *events, const char *uid)
{
	size_t i = 0;
	while (i < events->count && !text_equal(events->items[i].uid, uid))
		i++;
	return i;
}

static void put_event(struct dashboard_store *store, const cJSON *object)
{
	const cJSON *meta = json_at(object, "metadata", NULL), *regarding = json_at(object, "regarding", NULL);
	const char *uid = json_text_at(meta, "uid"), *rotation = json_text_at(regarding, "uid");
	const char *at = json_text_at(object, "eventTime");
	if (!uid || !rotation || !text_equal(json_text_at(regarding, "kind"), "KeyRotation"))
		return;
	size_t known = find_event(&store->events, uid);
	if (known < store->events.count)
		events_drop(&store->events, known);
	at = at ? at : json_text_at(meta, "creationTimestamp");
	events_add(&store->events,
		   (struct dashboard_event){.uid = xstrdup(uid),
					    .rotation = xstrdup(rotation),
					    .at = at ? text_printable(at, strlen(at), 64) : xstrdup("-"),
					    .reason = words_at(object, "reason"),
					    .note = words_at(object, "note"),
					    .warning = text_equal(json_text_at(object, "type"), "Warning")},
		   DASHBOARD_EVENTS_MAX);
}

void dashboard_store_put(struct dashboard_store *store, enum dashboard_kind kind, const cJSON *object, uint64_t now,
			 uint64_t wall)
{
	struct dashboard_source *source = &store->sources[kind];
	const char *name = json_text_at(json_at(object, "metadata", NULL), "name");
	_cleanup_error_ error = NULL;
	int rc = 0;
	if (kind == DASHBOARD_ROTATION)
		rc = put_rotation(store, object, &error);
	else if (kind == DASHBOARD_SERVER)
		rc = put_server(store, object, now, &error);
	else if (kind == DASHBOARD_EVENT)
		put_event(store, object);
	else
		leader_put(&store->leader, object, now);
	if (source->listing && name && kind != DASHBOARD_EVENT)
		strings_add(&source->listed, name);
	if (rc < 0 || source->broken) {
		free(source->broken);
		source->broken = rc < 0 ? xstrdup(error_message(error)) : NULL;
	}
	if (kind == DASHBOARD_ROTATION)
		pass(store, wall);
}

static void remove_rotation(struct rotations *all, size_t at)
{
	key_rotation_free(all->items[at]);
	memmove(&all->items[at], &all->items[at + 1], (--all->count - at) * sizeof(struct key_rotation *));
}

static void remove_server(struct fleet *fleet, size_t at)
{
	key_server_free(fleet->servers[at].last);
	memmove(&fleet->servers[at], &fleet->servers[at + 1], (--fleet->count - at) * sizeof(*fleet->servers));
}

/* Events of long ago are gone from the API server, not from the log. */
void dashboard_store_remove(struct dashboard_store *store, enum dashboard_kind kind, const char *name)
{
	for (size_t i = store->rotations.count; kind == DASHBOARD_ROTATION && i-- > 0;)
		if (text_equal(store->rotations.items[i]->meta.name, name))
			remove_rotation(&store->rotations, i);
	for (size_t i = store->fleet.count; kind == DASHBOARD_SERVER && i-- > 0;)
		if (text_equal(store->fleet.servers[i].last->meta.name, name))
			remove_server(&store->fleet, i);
	if (kind == DASHBOARD_LEASE)
		leader_put(&store->leader, NULL, 0); /* of none there is no time */
}

void dashboard_store_relist(struct dashboard_store *store, enum dashboard_kind kind)
{
	store->sources[kind].synced = false;
	store->sources[kind].listing = true;
	strings_free(&store->sources[kind].listed);
}

void dashboard_store_synced(struct dashboard_store *store, enum dashboard_kind kind, uint64_t now)
{
	struct dashboard_source *source = &store->sources[kind];
	for (size_t i = store->rotations.count; kind == DASHBOARD_ROTATION && i-- > 0;)
		if (!strings_has(&source->listed, store->rotations.items[i]->meta.name))
			remove_rotation(&store->rotations, i);
	for (size_t i = store->fleet.count; kind == DASHBOARD_SERVER && i-- > 0;)
		if (!strings_has(&source->listed, store->fleet.servers[i].last->meta.name))
			remove_server(&store->fleet, i);
	if (kind == DASHBOARD_LEASE && source->listed.count == 0)
		leader_put(&store->leader, NULL, now);
	dashboard_store_watch(store, kind, true, NULL, now);
	source->listing = false;
	strings_free(&source->listed);
}

void dashboard_store_watch(struct dashboard_store *store, enum dashboard_kind kind, bool synced, const char *problem,
			   uint64_t now)
{
	struct dashboard_source *source = &store->sources[kind];
	source->synced = synced;
	if (synced)
		source->synced_at = now;
	if (synced && kind == DASHBOARD_LEASE)
		store->leader.asked = true;
	free(source->problem);
	source->problem = problem ? text_printable(problem, strlen(problem), WORDS_MAX) : NULL;
}

void dashboard_store_show(struct dashboard_store *store, struct key_rotation *rotation, struct fleet *fleet,
			  uint64_t now, uint64_t wall)
{
	rotations_free(&store->rotations);
	for (size_t i = 0; i < store->fleet.count; i++)
		let_go(store, steal(store->fleet.servers[i].last));
	fleet_free(&store->fleet);
	store->rotations.items = xcalloc(1, sizeof(struct key_rotation *));
	store->rotations.items[store->rotations.count++] = rotation;
	store->fleet = *fleet;
	*fleet = (struct fleet){0};
	for (int kind = 0; kind <= DASHBOARD_SERVER; kind++)
		dashboard_store_watch(store, (enum dashboard_kind)kind, true, NULL, now);
	pass(store, wall);
}
