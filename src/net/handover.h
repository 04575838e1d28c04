/* The one way in which two threads meet: a queue of messages, from any thread to one that takes them, in order.
 *
 * A message, with all that it points to, belongs to the sender until it is put, then to the queue, then to the receiver:
 * nothing is ever used by two. Each thread that receives has a queue of its own. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include "base/alloc.h"

struct handover;

/* The head of whatever is sent; zero it first. */
struct handover_message {
	struct handover_message *next;                            /* the queue's */
	size_t size;                                              /* bytes that it counts for, beside its own */
	void (*run)(struct handover_message *message, void *arg); /* in the receiver's thread */
	void (*free)(
		struct handover_message *message); /* after run; or alone, in whichever thread, when nobody takes it */
};

/* `mark` is how many bytes may wait; `wake` tells the receiver, in the sender's thread, that there is something (again). */
struct handover *handover_new(size_t mark, void (*wake)(void *arg), void *arg);
void handover_free(struct handover *handover); /* with the messages that nobody took; NULL is fine */
/* False when the mark is reached, the message counted: it is taken all the same, but whoever sends should stop until the
 * receiver, told so by handover_run, says that it goes on. */
bool handover_put(struct handover *handover, struct handover_message *message);
/* Runs and frees all that waits now; for the receiver's thread. True when the mark had been reached. */
bool handover_run(struct handover *handover, void *arg);
