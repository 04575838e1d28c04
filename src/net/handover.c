#include "net/handover.h"
#include <pthread.h>

#define MESSAGE_SIZE 256 /* about what a message without contents costs */

struct handover {
	pthread_mutex_t mutex; /* over the following */
	struct handover_message *first, **end;
	size_t size;
	size_t mark; /* not changed, as those below */
	void (*wake)(void *arg);
	void *arg;
};

struct handover *handover_new(size_t mark, void (*wake)(void *arg), void *arg)
{
	struct handover *handover = xcalloc(1, sizeof(*handover));

	if (pthread_mutex_init(&handover->mutex, NULL) != 0)
		abort();
	handover->end = &handover->first;
	handover->mark = mark;
	handover->wake = wake;
	handover->arg = arg;
	return handover;
}

static void lock(struct handover *handover)
{
	if (pthread_mutex_lock(&handover->mutex) != 0)
		abort();
}

static void unlock(struct handover *handover)
{
	if (pthread_mutex_unlock(&handover->mutex) != 0)
		abort();
}

static struct handover_message *take_all(struct handover *handover, bool *ret_reached)
{
	struct handover_message *first;

	lock(handover);
	first = handover->first;
	*ret_reached = handover->size >= handover->mark;
	handover->first = NULL;
	handover->end = &handover->first;
	handover->size = 0;
	unlock(handover);
	return first;
}

void handover_free(struct handover *handover)
{
	struct handover_message *message, *next;
	bool reached;

	if (handover == NULL)
		return;
	for (message = take_all(handover, &reached); message != NULL; message = next) {
		next = message->next;
		message->free(message);
	}
	pthread_mutex_destroy(&handover->mutex);
	free(handover);
}

bool handover_put(struct handover *handover, struct handover_message *message)
{
	bool below, first;

	message->next = NULL;
	lock(handover);
	first = handover->first == NULL;
	*handover->end = message;
	handover->end = &message->next;
	handover->size += MESSAGE_SIZE + message->size;
	below = handover->size < handover->mark;
	unlock(handover);
	if (first)
		handover->wake(handover->arg);
	return below;
}

bool handover_run(struct handover *handover, void *arg)
{
	struct handover_message *message, *next;
	bool reached;

	for (message = take_all(handover, &reached); message != NULL; message = next) {
		next = message->next;
		message->run(message, arg);
		message->free(message);
	}
	return reached;
}
