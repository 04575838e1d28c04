#include "client/kube/watch.h"
#include "base/clock.h"
#include "base/secret.h"

#define MESSAGE_KEPT_MAX \
	(16u << 10)      /* of the place for messages, which is wiped after each: a larger one is given back */
#define DOUBLINGS_MAX 16 /* of the pause; long before, the longest is reached */

const struct watch_times watch_times = {
	.first_pause = NS_PER_S,
	.longest_pause = 30 * NS_PER_S,
	.short_life = NS_PER_S,
	.good_life = 60 * NS_PER_S,
	.open_within = 30 * NS_PER_S,
	.ping_after = 30 * NS_PER_S,
	.hang_up_after = 45 * NS_PER_S,
	.life = 300 * NS_PER_S,
	.life_spread = 300 * NS_PER_S,
};

enum state {
	PAUSING,    /* until `due` */
	LISTING,    /* WATCH_LIST was given out */
	CONNECTING, /* WATCH_CONNECT likewise */
	OPEN,
};

struct watch {
	const struct watch_handler *handler;
	void *arg;
	const struct watch_times *times;
	bool objects;
	uint64_t chance;
	enum state state;
	bool relist;      /* what comes next is a list, not a watch */
	bool told_relist; /* on_relist was called since the view was lost */
	bool synced;
	bool hang_up; /* to be given out */
	bool pinged;  /* since something was heard */
	bool wants_credentials;
	bool oversized; /* the message under way is dropped */
	unsigned failures;
	char *resource_version;
	uint64_t due;    /* PAUSING: its end; CONNECTING: when it took too long */
	uint64_t opened; /* OPEN */
	uint64_t heard;  /* OPEN: the last time */
	bool had_event;  /* OPEN */
	uint64_t life;   /* ns, of the watch that comes next */
	struct secret *message;
};

/* splitmix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators". */
static uint64_t next_chance(struct watch *watch)
{
	uint64_t z = watch->chance += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static uint64_t chance_below(struct watch *watch, uint64_t limit)
{
	return limit > 0 ? next_chance(watch) % limit : 0;
}

static struct secret *new_message(const struct watch *watch)
{
	return secret_new(watch->objects ? WATCH_OBJECT_EVENT_MAX : WATCH_METADATA_EVENT_MAX);
}

static void clear_message(struct watch *watch)
{
	watch->oversized = false;
	if (secret_len(watch->message) <= MESSAGE_KEPT_MAX) {
		secret_reset(watch->message);
		return;
	}
	secret_free(watch->message);
	watch->message = new_message(watch);
}

struct watch *watch_new(const struct watch_handler *handler, void *arg, bool objects, uint64_t chance,
			const struct watch_times *times)
{
	struct watch *watch = xcalloc(1, sizeof(*watch));

	watch->handler = handler;
	watch->arg = arg;
	watch->objects = objects;
	watch->chance = chance;
	watch->times = times != NULL ? times : &watch_times;
	watch->relist = true;
	watch->message = new_message(watch);
	return watch;
}

void watch_free(struct watch *watch)
{
	if (watch == NULL)
		return;
	free(watch->resource_version);
	secret_free(watch->message);
	free(watch);
}

const char *watch_resource_version(const struct watch *watch)
{
	return watch->resource_version != NULL ? watch->resource_version : "";
}

unsigned watch_seconds(const struct watch *watch)
{
	return (unsigned)(watch->life / NS_PER_S);
}

bool watch_is_synced(const struct watch *watch)
{
	return watch->synced;
}

bool watch_is_open(const struct watch *watch)
{
	return watch->state == OPEN;
}

unsigned watch_failures(const struct watch *watch)
{
	return watch->failures;
}

bool watch_wants_credentials(const struct watch *watch)
{
	return watch->wants_credentials;
}

/* --- what comes after an end ------------------------------------------------------------------------------------ */

/* Between half and all of a time that doubles with each failure in a row; none without a failure. */
static uint64_t next_pause(struct watch *watch)
{
	uint64_t pause;

	if (watch->failures == 0)
		return 0;
	pause = watch->times->first_pause << (watch->failures < DOUBLINGS_MAX ? watch->failures - 1 : DOUBLINGS_MAX);
	if (pause > watch->times->longest_pause)
		pause = watch->times->longest_pause;
	return pause - chance_below(watch, pause / 2 + 1);
}

static void begin_pause(struct watch *watch, uint64_t now, uint64_t at_least)
{
	uint64_t pause = next_pause(watch);

	watch->state = PAUSING;
	watch->due = now + (pause > at_least ? pause : at_least);
	clear_message(watch);
}

static void lose_view(struct watch *watch)
{
	watch->relist = true;
	watch->synced = false;
	if (watch->told_relist)
		return;
	watch->told_relist = true;
	watch->handler->on_relist(watch->arg);
}

/* Whether the watch that is open now ends as it should: it brought something, or lived. */
static void judge_life(struct watch *watch, uint64_t now)
{
	uint64_t lived = now - watch->opened;

	if (lived >= watch->times->good_life)
		watch->failures = 0;
	if (!watch->had_event && lived < watch->times->short_life)
		watch->failures++;
}

/* Our own end of a connection that is still there. */
static void hang_up(struct watch *watch, uint64_t now)
{
	watch->hang_up = true;
	begin_pause(watch, now, 0);
}

/* --- lists ------------------------------------------------------------------------------------------------------ */

static void set_version(struct watch *watch, const char *resource_version)
{
	char *copy = xstrdup(resource_version);

	free(watch->resource_version);
	watch->resource_version = copy;
}

void watch_list_item(struct watch *watch, const struct watch_object *object)
{
	if (watch->state == LISTING)
		watch->handler->on_listed(watch->arg, object);
}

void watch_listed(struct watch *watch, uint64_t now, const char *resource_version)
{
	if (watch->state != LISTING)
		return;
	if (resource_version[0] == '\0') { /* nowhere to go on from */
		watch_list_failed(watch, now, 0, 0);
		return;
	}
	set_version(watch, resource_version);
	watch->relist = watch->told_relist = false;
	watch->synced = true;
	watch->state = PAUSING;
	watch->due = now;
	watch->handler->on_synced(watch->arg);
}

void watch_list_failed(struct watch *watch, uint64_t now, unsigned status, uint64_t retry_after)
{
	if (watch->state != LISTING)
		return;
	watch->wants_credentials = status == 401;
	watch->failures++;
	watch->told_relist = false; /* what it named so far is void */
	begin_pause(watch, now, retry_after);
}

/* --- watches ---------------------------------------------------------------------------------------------------- */

void watch_connected(struct watch *watch, uint64_t now)
{
	if (watch->state != CONNECTING)
		return;
	watch->state = OPEN;
	watch->opened = watch->heard = now;
	watch->had_event = watch->pinged = watch->wants_credentials = false;
}

/* The view is lost by our own decision. */
static void drop(struct watch *watch, uint64_t now)
{
	lose_view(watch);
	hang_up(watch, now);
}

static void take_error(struct watch *watch, uint64_t now, unsigned code)
{
	if (code == 410)
		judge_life(watch, now);
	else
		watch->failures++;
	drop(watch, now);
}

static void take_event(struct watch *watch, uint64_t now, struct watch_event *event)
{
	if (event->type == WATCH_ERROR) {
		take_error(watch, now, event->code);
		return;
	}
	watch->had_event = true;
	set_version(watch, event->object.resource_version);
	if (event->type == WATCH_BOOKMARK) {
		if (watch->handler->on_bookmark != NULL)
			watch->handler->on_bookmark(watch->arg, event->object.resource_version);
		return;
	}
	if (!watch->objects)
		event->object.json = NULL;
	watch->handler->on_event(watch->arg, event->type, &event->object);
}

static void take_message(struct watch *watch, uint64_t now)
{
	struct watch_event event;
	int rc = watch->oversized ? -ERROR_LIMIT
				  : watch_event_parse(secret_data(watch->message), secret_len(watch->message), &event);

	clear_message(watch);
	if (rc < 0) {
		watch->failures++;
		drop(watch, now);
		return;
	}
	take_event(watch, now, &event);
	watch_event_free(&event);
}

static void heard(struct watch *watch, uint64_t now)
{
	watch->heard = now;
	watch->pinged = false;
}

void watch_text(struct watch *watch, uint64_t now, const void *bytes, size_t len, bool last)
{
	if (watch->state != OPEN)
		return;
	heard(watch, now);
	/* The rest of a message that is too large is not waited for: it may have no end. */
	if (secret_append(watch->message, bytes, len) < 0)
		watch->oversized = true;
	if (last || watch->oversized)
		take_message(watch, now);
}

void watch_pong(struct watch *watch, uint64_t now)
{
	if (watch->state == OPEN)
		heard(watch, now);
}

void watch_ended(struct watch *watch, uint64_t now, unsigned status)
{
	if (watch->state == OPEN)
		judge_life(watch, now);
	else if (watch->state == CONNECTING)
		watch->failures++;
	else
		return;
	watch->wants_credentials = status == 401;
	/* 404: the kind itself is gone, or is served no longer in this version; the list says so. */
	if (status == 410 || status == 404)
		lose_view(watch);
	begin_pause(watch, now, 0);
}

/* --- time ------------------------------------------------------------------------------------------------------- */

static enum watch_do end_pause(struct watch *watch, uint64_t now)
{
	if (watch->relist) {
		lose_view(watch);
		watch->state = LISTING;
		return WATCH_LIST;
	}
	watch->state = CONNECTING;
	watch->due = now + watch->times->open_within;
	watch->life = watch->times->life + chance_below(watch, watch->times->life_spread + 1);
	return WATCH_CONNECT;
}

static enum watch_do mind_silence(struct watch *watch, uint64_t now, uint64_t *ret_due)
{
	if (now - watch->heard >= watch->times->hang_up_after) {
		if (now - watch->opened >= watch->times->good_life)
			watch->failures = 0;
		watch->failures++;
		hang_up(watch, now);
		return WATCH_NOTHING;
	}
	if (!watch->pinged && now - watch->heard >= watch->times->ping_after) {
		watch->pinged = true;
		return WATCH_PING;
	}
	*ret_due = watch->heard + (watch->pinged ? watch->times->hang_up_after : watch->times->ping_after);
	return WATCH_NOTHING;
}

enum watch_do watch_next(struct watch *watch, uint64_t now, uint64_t *ret_due)
{
	enum watch_do what = WATCH_NOTHING;

	*ret_due = UINT64_MAX;
	if (watch->state == OPEN)
		what = mind_silence(watch, now, ret_due);
	if (watch->state == CONNECTING && now >= watch->due) {
		watch->failures++;
		hang_up(watch, now);
	}
	if (watch->hang_up) {
		watch->hang_up = false;
		return WATCH_HANG_UP;
	}
	if (watch->state == PAUSING && now >= watch->due)
		return end_pause(watch, now);
	if (watch->state == PAUSING || watch->state == CONNECTING)
		*ret_due = watch->due;
	return what;
}
