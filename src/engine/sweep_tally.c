#include "engine/sweep_tally.h"
#include "base/alloc.h"

#define SLOTS (16u << 10) /* a power of two; a quarter stays free */

enum change {
	NONE,    /* a free slot, or, with a uid, what is not worth remembering any more */
	CREATED, /* not in the snapshot */
	WRITTEN,
	DELETED,
};

struct sweep_change {
	uint64_t uid; /* its hash; 0: the slot was never used */
	uint64_t revision;
	enum change what;
};

void sweep_tally_init(struct sweep_tally *tally, size_t resource_count)
{
	*tally = (struct sweep_tally){.resources = xcalloc(resource_count, sizeof(*tally->resources)),
				      .count = resource_count};
}

void sweep_tally_free(struct sweep_tally *tally)
{
	free(tally->resources);
	free(tally->changes);
}

/* --- what is remembered ----------------------------------------------------------------------------------------- */

/* FNV-1a. UIDs are the server's own random numbers: nobody can choose two that collide. */
static uint64_t hash(const char *uid)
{
	uint64_t found = UINT64_C(0xcbf29ce484222325);

	for (; *uid != '\0'; uid++)
		found = (found ^ (unsigned char)*uid) * UINT64_C(0x100000001b3);
	return found | 1;
}

/* Its slot, or the free one that it would have. */
static struct sweep_change *slot_in(struct sweep_change *changes, uint64_t uid)
{
	for (size_t i = uid >> 1;; i++) {
		struct sweep_change *change = &changes[i % SLOTS];

		if (change->uid == uid || change->uid == 0)
			return change;
	}
}

/* NULL when nothing is remembered. */
static struct sweep_change *slot_of(const struct sweep_tally *tally, uint64_t uid)
{
	return tally->changes == NULL ? NULL : slot_in(tally->changes, uid);
}

/* NULL: nothing more is remembered. */
static struct sweep_change *remember(struct sweep_tally *tally, uint64_t uid)
{
	struct sweep_change *change;

	if (tally->changes == NULL)
		tally->changes = xcalloc(SLOTS, sizeof(*tally->changes));
	change = slot_in(tally->changes, uid);
	if (change->uid == uid)
		return change;
	if (tally->change_count == SWEEP_CHANGES_MAX)
		return NULL;
	tally->change_count++;
	change->uid = uid;
	return change;
}

/* The list shows another revision now, or is over. */
static void forget(struct sweep_tally *tally)
{
	free(tally->changes);
	tally->changes = NULL;
	tally->change_count = 0;
	tally->created = tally->deleted = 0;
}

/* --- lists ------------------------------------------------------------------------------------------------------ */

static bool has_begun(const struct sweep_tally_resource *resource)
{
	return resource->snapshot != 0;
}

static void take(uint64_t *count, uint64_t less)
{
	*count -= less < *count ? less : *count;
}

void sweep_tally_count(struct sweep_tally *tally, size_t index, uint64_t objects)
{
	struct sweep_tally_resource *resource = &tally->resources[index];

	if (has_begun(resource))
		return;
	resource->ahead = objects;
	resource->known = true;
}

bool sweep_tally_item(struct sweep_tally *tally, size_t index, const char *uid, uint64_t *ret_written)
{
	struct sweep_change *change = slot_of(tally, hash(uid));
	enum change what = change != NULL ? change->what : NONE;

	*ret_written = what == WRITTEN ? change->revision : 0;
	if (what != NONE)
		change->what = NONE;
	if (what == DELETED) {
		tally->deleted--;
		return false;
	}
	if (what == CREATED) { /* the list goes on at a newer revision */
		tally->created--;
		tally->others--;
	} else {
		take(&tally->resources[index].ahead, 1);
	}
	tally->listed++;
	return true;
}

void sweep_tally_page(struct sweep_tally *tally, size_t index, uint64_t revision, uint64_t remaining)
{
	struct sweep_tally_resource *resource = &tally->resources[index];

	if (revision != resource->snapshot) {
		/* Those are among the remaining ones now. */
		take(&tally->others, tally->created);
		forget(tally);
		resource->snapshot = revision;
	}
	resource->ahead = remaining;
	take(&resource->ahead, tally->deleted);
	resource->known = true;
}

void sweep_tally_passed(struct sweep_tally *tally, size_t index)
{
	struct sweep_tally_resource *resource = &tally->resources[index];

	forget(tally);
	resource->ahead = 0;
	resource->known = true;
	if (!has_begun(resource))
		resource->snapshot = 1; /* not a list that says which */
}

/* --- events ----------------------------------------------------------------------------------------------------- */

static void before_the_list(struct sweep_tally_resource *resource, enum watch_event_type type)
{
	if (type == WATCH_ADDED)
		resource->ahead++;
	else if (type == WATCH_DELETED)
		take(&resource->ahead, 1);
}

static void created(struct sweep_tally *tally, bool ahead, const char *uid)
{
	struct sweep_change *change = ahead ? remember(tally, hash(uid)) : NULL;

	/* A watch that is begun again may say what it said. */
	if (change != NULL && change->what == CREATED)
		return;
	tally->others++;
	if (change == NULL)
		return;
	change->what = CREATED;
	tally->created++;
}

static void written(struct sweep_tally *tally, const char *uid, uint64_t revision)
{
	struct sweep_change *change = remember(tally, hash(uid));

	if (change == NULL || change->what == CREATED || change->what == DELETED)
		return;
	change->what = WRITTEN;
	change->revision = revision;
}

static void deleted(struct sweep_tally *tally, struct sweep_tally_resource *resource, const char *uid)
{
	struct sweep_change *change = remember(tally, hash(uid));

	if (change == NULL || change->what == DELETED)
		return;
	if (change->what == CREATED) { /* it was in no list */
		change->what = NONE;
		tally->created--;
		return;
	}
	change->what = DELETED;
	tally->deleted++;
	take(&resource->ahead, 1);
}

void sweep_tally_event(struct sweep_tally *tally, size_t index, enum watch_event_type type, bool ahead, const char *uid,
		       uint64_t revision)
{
	struct sweep_tally_resource *resource = &tally->resources[index];

	if (!has_begun(resource)) {
		before_the_list(resource, type);
		return;
	}
	if (revision <= resource->snapshot) /* told late: the list shows it */
		return;
	if (type == WATCH_ADDED)
		created(tally, ahead, uid);
	else if (ahead && type == WATCH_MODIFIED)
		written(tally, uid, revision);
	else if (ahead && type == WATCH_DELETED)
		deleted(tally, resource, uid);
}

/* --- for people ------------------------------------------------------------------------------------------------- */

uint64_t sweep_tally_total(const struct sweep_tally *tally)
{
	uint64_t total = tally->listed + tally->others;

	for (size_t i = 0; i < tally->count; i++) {
		if (!tally->resources[i].known)
			return 0;
		total += tally->resources[i].ahead;
	}
	return total;
}

uint64_t sweep_tally_done(const struct sweep_tally *tally, uint64_t ended)
{
	return tally->others + ended;
}
