/* How many objects a sweep has to deal with, and how many it is done with, while others create, change and delete some.
 *
 * Known are counts alone, never all objects: of a resource whose list has not begun, how many there are; of the one whose list
 * goes on, how many of its snapshot are left (every page of a list shows the revision of the first one, until that is compacted;
 * what was created since is not in it, what was deleted since is). Of what others changed ahead of that list some are
 * remembered, by uid. What is not known, because a watch missed it or others changed too much, makes the counts less exact and
 * is put right by the next page; nothing else rests on them.
 *
 * Our own writes move objects that were listed already, and create and delete none: so whose an event is need not be asked. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include "format/watch_event.h"

/* Remembered at once; 24 bytes each. */
#define SWEEP_CHANGES_MAX (12u << 10)

struct sweep_tally {
	struct sweep_tally_resource {
		uint64_t ahead;    /* objects that are to be listed */
		uint64_t snapshot; /* revision that the list shows; 0: it has not begun */
		bool known;        /* ahead is a count, not a guess */
	} * resources;             /* in the order of rewriting */
	size_t count;
	uint64_t listed; /* objects of the sweep */
	uint64_t others; /* objects that others created since their list began: the sweep has nothing to do for them */
	/* In the snapshot of the list that goes on, ahead of it: */
	uint64_t created; /* not there, of `others` */
	uint64_t deleted; /* there, not counted in `ahead` any more */
	struct sweep_change *changes;
	size_t change_count;
};

void sweep_tally_init(struct sweep_tally *tally, size_t resource_count);
void sweep_tally_free(struct sweep_tally *tally);

/* So many objects of a resource there are; of no interest once its list began. */
void sweep_tally_count(struct sweep_tally *tally, size_t index, uint64_t objects);
/* An object was listed that was not listed before. False: it was deleted since, nothing is to be done. *ret_written: revision of
 * the last write by others that is known, 0 without one. */
bool sweep_tally_item(struct sweep_tally *tally, size_t index, const char *uid, uint64_t *ret_written);
/* A page of all namespaces came whole: of which revision, and how many objects are behind it. */
void sweep_tally_page(struct sweep_tally *tally, size_t index, uint64_t revision, uint64_t remaining);
/* The list is over. */
void sweep_tally_passed(struct sweep_tally *tally, size_t index);
/* ADDED, MODIFIED or DELETED at that revision. `ahead`: of what was listed last. */
void sweep_tally_event(struct sweep_tally *tally, size_t index, enum watch_event_type type, bool ahead, const char *uid,
		       uint64_t revision);

/* Of what there is to do, and what is done when the sweep itself has ended `ended` of `listed`. Total 0: not known. */
uint64_t sweep_tally_total(const struct sweep_tally *tally);
uint64_t sweep_tally_done(const struct sweep_tally *tally, uint64_t ended);
