/* Of several rotations one goes on: which, and what the others are told. */
#include "engine/controller_internal.h"

#include <stdlib.h>
#include <string.h>

static int compare(const char *a, const char *b)
{
	return strcmp(a ? a : "", b ? b : "");
}

/* The one that began, then the older one. Times are all of the API server, as it writes them. */
static int by_turn(const void *a, const void *b)
{
	const struct key_rotation *one = *(struct key_rotation *const *)a, *other = *(struct key_rotation *const *)b;
	bool one_began = one->status.started_at, other_began = other->status.started_at;
	if (one_began != other_began)
		return one_began ? -1 : 1;
	int older = compare(one->meta.created, other->meta.created);
	return older ? older : compare(one->meta.name, other->meta.name);
}

/* Times of ours, which sort as texts. */
static void keep_last(struct rotation_queue *queue, struct key_rotation *rotation)
{
	bool later = !rotation->meta.deleting &&
		     (!queue->over || compare(rotation->status.completed_at, queue->over->status.completed_at) > 0);
	key_rotation_free(later ? queue->over : rotation);
	if (later)
		queue->over = rotation;
}

void queue_add(struct rotation_queue *queue, struct key_rotation *rotation)
{
	if (rotation->status.outcome || rotation->meta.deleting) {
		keep_last(queue, rotation);
		return;
	}
	queue->items = xreallocarray(queue->items, queue->count + 1, sizeof(struct key_rotation *));
	queue->items[queue->count++] = rotation;
	qsort(queue->items, queue->count, sizeof(struct key_rotation *), by_turn);
}

struct key_rotation *queue_take(struct rotation_queue *queue)
{
	if (queue->count == 0)
		return NULL;
	struct key_rotation *first = queue->items[0];
	memmove(queue->items, queue->items + 1, --queue->count * sizeof(struct key_rotation *));
	return first;
}

void queue_free(struct rotation_queue *queue)
{
	for (size_t i = 0; i < queue->count; i++)
		key_rotation_free(queue->items[i]);
	free(queue->items);
	key_rotation_free(queue->over);
	*queue = (struct rotation_queue){0};
}

bool queue_tell(struct key_rotation *rotation, const struct strings *before, uint64_t wall)
{
	_cleanup_free_ char *names = strings_join(before, ", then ");
	_cleanup_free_ char *words = xasprintf("waits for KeyRotation %s", names);
	bool gone = rotation->spec.aborted; /* nothing was begun */
	const char *reason = gone ? "Aborted" : "Queued";
	bool changed = !text_equal(rotation->status.phase, reason);
	replace_text(&rotation->status.phase, reason);
	rotation->status.observed_generation = rotation->meta.generation;
	changed |= condition_set(rotation, "Progressing", false, reason, gone ? "" : words, wall);
	changed |=
		condition_set(rotation, "Complete", gone, reason, gone ? "it was aborted before it began" : "", wall);
	if (gone) {
		char now[28];
		clock_format(wall, 0, now);
		rotation->status.outcome = xstrdup("Aborted");
		replace_text(&rotation->status.completed_at, now);
	}
	return changed;
}

void controller_tell_queued(struct controller *c, struct rotation_queue *queue)
{
	_cleanup_strings_ before = {0};
	strings_add(&before, c->rotation->meta.name);
	for (size_t i = 0; i < queue->count; i++) {
		_cleanup_error_ failed = NULL;
		struct key_rotation *rotation = queue->items[i];
		/* The rotation that goes on does not wait for it: it is told in the next turn. */
		if (queue_tell(rotation, &before, clock_wall()) && controller_apply_to(c, rotation, &failed) < 0 &&
		    error_code(failed) != ERROR_CONFLICT)
			controller_note(c, "KeyRotation %s is not told that it waits: %s", rotation->meta.name,
					error_message(failed));
		if (!rotation->status.outcome)
			strings_add(&before, rotation->meta.name);
	}
}
