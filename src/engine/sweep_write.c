/* One object's life: written, read again where it was changed, tried again where the server has too much to do. */
#include "engine/sweep_internal.h"

#define LATER_MIN (200 * NS_PER_MS)
#define REFUSED_LATER NS_PER_S
#define LOAD_WORDS_MAX 100
#define ERROR_TIME (60 * NS_PER_S) /* a 500 for so long, and SWEEP_FAULTS_MAX times, is no load */

/* --- queues ----------------------------------------------------------------------------------------------------- */

void sweep_queue_init(struct sweep_queue *queue)
{
	*queue = (struct sweep_queue){.end = &queue->first};
}

void sweep_queue_add(struct sweep_queue *queue, struct sweep_item *item)
{
	item->next = NULL;
	*queue->end = item;
	queue->end = &item->next;
	queue->count++;
}

static void queue_insert(struct sweep_queue *queue, struct sweep_item **place, struct sweep_item *item)
{
	item->next = *place;
	*place = item;
	if (item->next == NULL)
		queue->end = &item->next;
	queue->count++;
}

static struct sweep_item *queue_take(struct sweep_queue *queue)
{
	struct sweep_item *item = queue->first;

	queue->first = item->next;
	if (queue->first == NULL)
		queue->end = &queue->first;
	item->next = NULL;
	queue->count--;
	return item;
}

void sweep_queue_free(struct sweep_queue *queue)
{
	while (queue->first != NULL)
		sweep_item_free(queue_take(queue));
}

/* Before those that were listed after it. */
static void again(struct sweep_item *item)
{
	queue_insert(&item->sweep->ready, &item->sweep->ready.first, item);
}

static void again_at(struct sweep_item *item, uint64_t due)
{
	struct sweep_queue *later = &item->sweep->later;
	struct sweep_item **place = &later->first;

	item->due = due;
	while (*place != NULL && (*place)->due <= due)
		place = &(*place)->next;
	queue_insert(later, place, item);
}

/* --- items ------------------------------------------------------------------------------------------------------ */

bool sweep_is_patched(const struct sweep_options *options, const struct kube_resource *resource)
{
	if (resource->custom || !resource->can_update || options->mark != NULL)
		return true;
	return options->mode == SWEEP_PATCH && resource->can_patch;
}

struct sweep_item *sweep_item_new(struct sweep *sweep, size_t count, const struct kube_resource *resource,
				  const char *namespace_, const char *name)
{
	struct sweep_item *item = xcalloc(1, sizeof(*item));

	item->sweep = sweep;
	item->count = count;
	item->resource = resource;
	item->namespace_ = xstrdup(namespace_ != NULL ? namespace_ : "");
	item->name = xstrdup(name);
	item->uid = xstrdup("");
	item->by_patch = sweep_is_patched(sweep->options, resource);
	return item;
}

/* Its bytes are of no use any more; values stay no longer than they must. */
static void drop_object(struct sweep_item *item)
{
	if (item->object == NULL)
		return;
	secret_free(steal(item->object));
	item->sweep->held -= item->size;
}

void sweep_item_free(struct sweep_item *item)
{
	drop_object(item);
	free(item->namespace_);
	free(item->name);
	free(item->uid);
	free(item->resource_version);
	free(item);
}

uint64_t sweep_item_most(const struct sweep_item *item)
{
	bool unseen = item->by_patch && item->counted_bytes < SWEEP_PATCHED_MOST;
	return unseen ? SWEEP_PATCHED_MOST : item->counted_bytes;
}

static void end(struct sweep_item *item, enum sweep_end how)
{
	if (how == SWEEP_ENDED_REWRITTEN)
		item->sweep->bytes_most += sweep_item_most(item);
	sweep_count_end(item->sweep, item->count, how, item->counted_bytes);
	sweep_item_free(item);
}

static void quarantine(struct sweep_item *item, const char *why)
{
	sweep_quarantine(item->sweep, item->resource, item->namespace_, item->name, why);
	end(item, SWEEP_ENDED_QUARANTINED);
}

/* --- answers ---------------------------------------------------------------------------------------------------- */

static enum throttle_outcome outcome_of(enum sweep_verdict verdict)
{
	switch (verdict) {
	case SWEEP_DONE:
		return THROTTLE_GOOD;
	case SWEEP_LOAD:
	case SWEEP_AWAY:
	case SWEEP_ERROR:
		return THROTTLE_BUSY;
	case SWEEP_GONE:
	case SWEEP_CONFLICT:
	case SWEEP_FAULT:
	case SWEEP_REFUSED:
	case SWEEP_FATAL:
		return THROTTLE_OTHER;
	}
	abort();
}

static void read_again(struct sweep_item *item)
{
	drop_object(item);
	item->read_first = true;
}

static void conflict(struct sweep_item *item)
{
	struct sweep *sweep = item->sweep;

	sweep->result->counts[item->count].conflicts++;
	sweep->conflicts++;
	if (++item->conflicts >= SWEEP_CONFLICTS_MAX) {
		_cleanup_free_ char *why = xasprintf("changed by others each time (%u times)", item->conflicts);

		quarantine(item, why);
		return;
	}
	read_again(item);
	again(item);
}

static void fault(struct sweep_item *item, const char *message, uint64_t now)
{
	if (++item->faults >= SWEEP_FAULTS_MAX) {
		quarantine(item, sweep_words(message));
		return;
	}
	read_again(item);
	again_at(item, now + (LATER_MIN << item->faults));
}

/* A 500: of everything, then it passes; or of this object, then others are written meanwhile. */
static void internal_error(struct sweep_item *item, const char *message, uint64_t now)
{
	struct sweep *sweep = item->sweep;
	unsigned shift;

	if (item->errors++ == 0) {
		item->first_error = now;
		item->written_then = sweep->written;
	}
	if (item->errors >= SWEEP_FAULTS_MAX &&
	    (sweep->written > item->written_then || now >= item->first_error + ERROR_TIME)) {
		quarantine(item, sweep_words(message));
		return;
	}
	read_again(item);
	shift = item->errors < SWEEP_FAULTS_MAX ? item->errors : SWEEP_FAULTS_MAX;
	again_at(item, now + (LATER_MIN << shift));
}

static char *load_text(const struct sweep_answer *answer)
{
	const char *words = sweep_words(answer->message);

	if (answer->status == 0)
		return xstrdup("the server does not answer");
	/* 429 and 503 say it all; a 500 does not. */
	return answer->status != 500 ? xasprintf("%u from the server", answer->status)
				     : text_printable(words, strlen(words), LOAD_WORDS_MAX);
}

/* What is neither success nor conflict. Takes *error. */
static void failed(struct sweep_item *item, enum sweep_verdict verdict, const struct sweep_answer *answer,
		   struct error **error, uint64_t now)
{
	struct sweep *sweep = item->sweep;

	switch (verdict) {
	case SWEEP_GONE:
		end(item, SWEEP_ENDED_GONE);
		return;
	case SWEEP_REFUSED:
		quarantine(item, sweep_words(answer->message));
		return;
	case SWEEP_FAULT:
		fault(item, answer->message, now);
		return;
	case SWEEP_ERROR:
		sweep_hold(sweep, load_text(answer), sweep->throttle.stopped_until, NULL);
		internal_error(item, answer->message, now);
		break;
	case SWEEP_AWAY:
		if (answer->sent)
			read_again(item);
		/* fall through */
	case SWEEP_LOAD:
		sweep_hold(sweep, load_text(answer), sweep->throttle.stopped_until, NULL);
		/* One that is refused for good does not hold up the others meanwhile. */
		if (answer->rc == -ERROR_AUTH)
			again_at(item, now + REFUSED_LATER);
		else
			again(item);
		break;
	case SWEEP_FATAL:
		again(item);
		sweep_stop(sweep, answer->rc, error);
		return;
	case SWEEP_DONE:
	case SWEEP_CONFLICT:
		abort();
	}
	error_free(sweep->last_error);
	sweep->last_error = steal(*error);
}

/* How long a write takes is not learned from reads. */
static enum sweep_verdict ended(struct sweep_item *item, struct sweep_answer *answer, bool was_write,
				uint64_t retry_after, uint64_t now)
{
	struct sweep *sweep = item->sweep;
	answer->just_back = sweep_just_back(sweep, now);
	enum sweep_verdict verdict = sweep_judge(answer);

	if (verdict == SWEEP_AWAY && answer->rc != -ERROR_AUTH)
		sweep->away = now;
	sweep->in_flight--;
	enum throttle_outcome outcome = outcome_of(verdict);
	throttle_ended(&sweep->throttle, outcome == THROTTLE_GOOD && !was_write ? THROTTLE_OTHER : outcome,
		       now - item->started, retry_after, now);
	if (outcome != THROTTLE_BUSY && verdict != SWEEP_FATAL)
		sweep->useful = now;
	return verdict;
}

static void on_write(void *arg, struct kube_write_result *result)
{
	struct sweep_item *item = arg;
	struct sweep *sweep = item->sweep;
	struct sweep_answer answer = {result->rc, result->status, result->sent, error_message(result->error), false};
	uint64_t now = loop_now(sweep->options->loop);
	enum sweep_verdict verdict = ended(item, &answer, true, result->retry_after, now);

	if (verdict == SWEEP_DONE) {
		bool moved = !text_equal(result->resource_version, item->resource_version);

		sweep->written++;
		sweep->result->moved += moved;
		end(item, moved || item->written ? SWEEP_ENDED_REWRITTEN : SWEEP_ENDED_CURRENT);
	} else if (verdict == SWEEP_CONFLICT) {
		conflict(item);
	} else {
		if ((verdict == SWEEP_AWAY && result->rc != -ERROR_AUTH) || verdict == SWEEP_ERROR ||
		    (verdict == SWEEP_FAULT && result->status < 400))
			item->maybe_written = true;
		failed(item, verdict, &answer, &result->error, now);
	}
	sweep_pump(sweep);
}

/* Whether what was read is the object that was meant, then with its present bytes or version. */
static bool take(struct sweep_item *item, struct kube_read_result *result)
{
	if (!text_empty(item->uid) && !text_equal(item->uid, result->uid))
		return false;
	free(item->uid);
	item->uid = xstrdup(result->uid);
	/* A write without an answer may still land after this read. */
	if (item->maybe_written && !text_equal(item->resource_version, result->resource_version))
		item->written = true;
	free(item->resource_version);
	item->resource_version = xstrdup(result->resource_version);
	item->read_first = false;
	if (item->by_patch)
		return true;
	item->object = steal(result->object);
	item->size = secret_len(item->object);
	item->sweep->held += item->size;
	if (item->counted_bytes == 0)
		item->counted_bytes = item->size;
	return true;
}

/* What others wrote meanwhile, as it was read again, needs no writing. */
static bool is_written_already(const struct sweep_item *item)
{
	uint64_t revision;

	return text_to_u64(item->resource_version, &revision) == 0 &&
	       sweep_may_skip(item->sweep, item->count, revision);
}

static void on_read(void *arg, struct kube_read_result *result)
{
	struct sweep_item *item = arg;
	struct sweep *sweep = item->sweep;
	struct sweep_answer answer = {result->rc, result->status, false, error_message(result->error), false};
	uint64_t now = loop_now(sweep->options->loop);
	enum sweep_verdict verdict = ended(item, &answer, false, result->retry_after, now);

	if (verdict == SWEEP_DONE && !take(item, result))
		end(item, SWEEP_ENDED_GONE);
	else if (verdict == SWEEP_DONE && is_written_already(item))
		end(item, item->written ? SWEEP_ENDED_REWRITTEN : SWEEP_ENDED_SKIPPED);
	else if (verdict == SWEEP_DONE)
		again(item);
	else if (verdict == SWEEP_CONFLICT)
		fault(item, answer.message, now);
	else
		failed(item, verdict, &answer, &result->error, now);
	sweep_pump(sweep);
}

/* --- requests --------------------------------------------------------------------------------------------------- */

static void show(struct sweep_item *item)
{
	struct sweep *sweep = item->sweep;

	/* One that is tried again does not take us back. */
	if (item->count < sweep->shown_count || (item->count == sweep->shown_count && item->place < sweep->shown_place))
		return;
	sweep->shown_count = item->count;
	sweep->shown_place = item->place;
	if (text_equal(sweep->shown_namespace, item->namespace_))
		return;
	free(sweep->shown_namespace);
	sweep->shown_namespace = xstrdup(item->namespace_);
}

static void start(struct sweep_item *item, uint64_t now)
{
	struct sweep *sweep = item->sweep;
	struct kube *kube = sweep->options->kube;

	show(item);
	item->started = now;
	sweep->in_flight++;
	throttle_started(&sweep->throttle, now);
	if (item->read_first)
		kube_read_start(kube, item->resource, item->namespace_, item->name, item->by_patch, SWEEP_WRITE_TIMEOUT,
				on_read, item);
	else if (item->by_patch)
		kube_patch_start(kube, item->resource, item->namespace_, item->name, item->uid, item->resource_version,
				 sweep->options->mark, SWEEP_WRITE_TIMEOUT, on_write, item);
	else
		kube_put_start(kube, item->resource, item->namespace_, item->name, item->object, SWEEP_WRITE_TIMEOUT,
			       on_write, item);
}

/* What was named, a few at a time. */
static void feed_named(struct sweep *sweep)
{
	const struct sweep_options *o = sweep->options;

	while (sweep->named < o->named_count && sweep->ready.count < THROTTLE_CONCURRENCY_MAX) {
		const struct sweep_object *object = &o->named[sweep->named++];
		size_t count = sweep_result_index(sweep->result, object->resource);
		struct sweep_item *item =
			sweep_item_new(sweep, count, object->resource, object->namespace_, object->name);

		item->place = sweep_place(sweep, item->namespace_);
		item->read_first = true;
		sweep_queue_add(&sweep->ready, item);
	}
}

void sweep_write_pump(struct sweep *sweep, uint64_t now, uint64_t *ret_again)
{
	*ret_again = UINT64_MAX;
	while (sweep->later.first != NULL && sweep->later.first->due <= now)
		again(queue_take(&sweep->later));
	feed_named(sweep);
	while (sweep->ready.first != NULL && throttle_may_start(&sweep->throttle, now, ret_again)) {
		start(queue_take(&sweep->ready), now);
		*ret_again = UINT64_MAX;
		feed_named(sweep);
	}
	if (sweep->later.first != NULL && sweep->later.first->due < *ret_again)
		*ret_again = sweep->later.first->due;
}
