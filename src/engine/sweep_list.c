/* Pages of objects into the queue: the next one is asked for when the queue is short, and a page flows only while
 * there is room. */
#include "engine/sweep_internal.h"

#define PAGE_BYTES (2u << 20) /* what a page aims at */
#define PAGE_FIRST 20         /* objects, before their size is known */
#define PAGE_MAX 500
#define PAGE_PART 4         /* of a second's worth, where there is a rate: a large page is felt by others */
#define PAGE_PART_OF_ONE 20 /* the same where a list is of one namespace, and a small page costs little */
#define PAGE_GROWTH 5       /* times, from one page to the next: large ones may follow small ones */
/* etcd counts all keys that are left behind a page, and others wait meanwhile: with 45,000 secrets a page of all namespaces was
 * seen to take 11 ms, one of a namespace with 2,250 of them 2. Beyond so many, lists of one namespace each cost less; where a
 * namespace has fewer than these the requests for it would cost more. */
#define COUNTED_MAX 2000
#define IN_A_NAMESPACE_MIN 100
#define QUEUE_SHORT 128               /* objects: a tenth of a second at full speed */
#define LIST_TIMEOUT (600 * NS_PER_S) /* a page waits for room */
#define BACKOFF_MIN (200 * NS_PER_MS)
#define BACKOFF_MAX (30 * NS_PER_S)
#define BROKEN_MAX 6 /* answers in a row that are no list */

void sweep_list_init(struct sweep *sweep)
{
	sweep->lister.limit = PAGE_FIRST;
	sweep->lister.done = sweep->options->named_count > 0;
}

static void forget_page(struct sweep_lister *lister)
{
	free(steal(lister->token));
	lister->patch_page = false;
}

static void forget_last(struct sweep_lister *lister)
{
	free(steal(lister->last_namespace));
	free(steal(lister->last_name));
	lister->repeats = false;
}

void sweep_list_free(struct sweep *sweep)
{
	sweep_list_cancel(sweep);
	forget_page(&sweep->lister);
	forget_last(&sweep->lister);
}

void sweep_list_cancel(struct sweep *sweep)
{
	kube_list_cancel(steal(sweep->lister.call));
	sweep->lister.paused = false;
	sweep->lister.incoming = 0;
}

/* --- units ------------------------------------------------------------------------------------------------------ */

static const struct kube_resource *resource_of(const struct sweep *sweep)
{
	return sweep->options->resources[sweep->lister.resource];
}

static bool only_some(const struct sweep *sweep)
{
	return sweep->options->namespaces != NULL && sweep->options->namespaces->count > 0;
}

static const char *namespace_of(const struct sweep *sweep)
{
	return sweep->lister.each ? sweep->places.items[sweep->lister.at] : NULL;
}

/* Begins the present resource, or the next one that is wanted. */
static void enter_resource(struct sweep *sweep)
{
	struct sweep_lister *lister = &sweep->lister;

	while (lister->resource < sweep->options->resource_count && only_some(sweep) && !resource_of(sweep)->namespaced)
		sweep_tally_passed(&sweep->tally, lister->resource++);
	lister->done = lister->resource >= sweep->options->resource_count;
	lister->each = only_some(sweep);
	lister->at = 0;
	lister->limit = PAGE_FIRST;
}

static void next_unit(struct sweep *sweep)
{
	struct sweep_lister *lister = &sweep->lister;

	forget_page(lister);
	lister->repeats = false;
	if (lister->each && ++lister->at < sweep->places.count)
		return;
	forget_last(lister);
	sweep_tally_passed(&sweep->tally, lister->resource++);
	enter_resource(sweep);
}

/* --- items ------------------------------------------------------------------------------------------------------ */

/* Room is for what is held; an object that is too large for it passes alone. */
static bool is_full(void *arg)
{
	const struct sweep *sweep = arg;

	return sweep->held > 0 && sweep->held + sweep->lister.incoming >= SWEEP_BYTES_IN_FLIGHT;
}

static bool is_full_pausing(void *arg)
{
	struct sweep *sweep = arg;

	sweep->lister.paused = is_full(sweep);
	return sweep->lister.paused;
}

static int on_item_size(void *arg, uint64_t size)
{
	struct sweep *sweep = arg;

	sweep->lister.incoming = size;
	return 0;
}

/* Whether this one was queued by an earlier try of the same list. */
static bool is_repeated(struct sweep_lister *lister, const struct kube_list_item *item)
{
	if (!lister->repeats || lister->last_name == NULL)
		return false;
	if (sweep_key_compare(item->namespace_, item->name, lister->last_namespace, lister->last_name) <= 0)
		return true;
	lister->repeats = false;
	return false;
}

static void remember_last(struct sweep_lister *lister, const struct kube_list_item *item)
{
	free(lister->last_name);
	lister->last_name = xstrdup(item->name);
	if (text_equal(lister->last_namespace, item->namespace_))
		return;
	free(lister->last_namespace);
	lister->last_namespace = xstrdup(item->namespace_);
}

bool sweep_may_skip(const struct sweep *sweep, size_t resource, uint64_t revision)
{
	const struct sweep_options *o = sweep->options;

	return o->skip_above != NULL && resource < o->resource_count && o->skip_above[resource] != 0 &&
	       revision > o->skip_above[resource];
}

static bool is_skipped(const struct sweep *sweep, const struct kube_list_item *item, uint64_t written)
{
	uint64_t listed;

	return sweep_may_skip(sweep, sweep->lister.resource, written) ||
	       (text_to_u64(item->resource_version, &listed) == 0 &&
		sweep_may_skip(sweep, sweep->lister.resource, listed));
}

static int on_item(void *arg, struct kube_list_item *listed)
{
	struct sweep *sweep = arg;
	struct sweep_lister *lister = &sweep->lister;
	size_t count = sweep_result_index(sweep->result, resource_of(sweep));
	struct sweep_item *item;
	uint64_t written;

	lister->incoming = 0;
	lister->items++;
	lister->bytes += listed->size;
	if (text_empty(listed->name))
		return -ERROR_PROTOCOL;
	if (is_repeated(lister, listed))
		return 0;
	remember_last(lister, listed);
	if (!sweep_tally_item(&sweep->tally, lister->resource, listed->uid, &written))
		return 0;
	if (is_skipped(sweep, listed, written)) {
		sweep_count_end(sweep, count, SWEEP_ENDED_SKIPPED, listed->size);
		return 0;
	}
	item = sweep_item_new(sweep, count, resource_of(sweep), listed->namespace_, listed->name);
	item->place = sweep_place(sweep, item->namespace_);
	free(item->uid);
	item->uid = xstrdup(listed->uid);
	item->resource_version = xstrdup(listed->resource_version);
	item->counted_bytes = listed->size;
	item->by_patch = item->by_patch || listed->object == NULL;
	if (!item->by_patch) {
		item->object = steal(listed->object);
		item->size = listed->size;
		sweep->held += item->size;
	}
	sweep_queue_add(&sweep->ready, item);
	if (!sweep->pumping && (!sweep->wake.armed || sweep->wake.due != 0))
		sweep_wake(sweep, 0);
	return 0;
}

/* --- pages ------------------------------------------------------------------------------------------------------ */

/* The most that a page at this rate may have. */
static uint64_t page_most(uint64_t qps, bool each)
{
	uint64_t part = qps / (each ? PAGE_PART_OF_ONE : PAGE_PART);

	if (qps == 0 || part > PAGE_MAX)
		return PAGE_MAX;
	return part > PAGE_FIRST ? part : PAGE_FIRST;
}

static void adapt(struct sweep_lister *lister, bool metadata_only, uint64_t qps)
{
	uint64_t each, most = page_most(qps, lister->each), wanted = most;

	if (lister->items == 0)
		return;
	each = lister->bytes / lister->items + 1;
	if (!metadata_only)
		wanted = PAGE_BYTES / each;
	if (wanted > (uint64_t)lister->limit * PAGE_GROWTH)
		wanted = (uint64_t)lister->limit * PAGE_GROWTH;
	if (wanted > most)
		wanted = most;
	lister->limit = wanted > 0 ? (unsigned)wanted : 1;
}

static bool is_metadata_only(const struct sweep *sweep)
{
	return sweep->lister.patch_page || sweep_is_patched(sweep->options, resource_of(sweep));
}

/* A list of one namespace does not say how many objects the next one has; and what was listed before is not behind a page
 * that is all of that. */
static void count_page(struct sweep *sweep, const struct kube_list_result *result)
{
	const struct sweep_lister *lister = &sweep->lister;
	uint64_t revision;

	if (lister->each || lister->repeats || text_to_u64(result->resource_version, &revision) < 0 || revision == 0)
		return;
	if (text_empty(result->continue_token) || result->remaining > 0)
		sweep_tally_page(&sweep->tally, lister->resource, revision, result->remaining);
}

/* Whether what is left of this resource shall be listed by namespace, the present one again: what was queued of it is left out.
 * An object whose namespace is not among the places is in one that is new, under the present write key, or in none: then the
 * API server refuses to change it, and the census tells of it. */
static bool goes_by_namespace(struct sweep *sweep, const struct kube_list_result *result)
{
	struct sweep_lister *lister = &sweep->lister;
	size_t at;

	if (!sweep->options->proved_afterwards || lister->each || lister->last_namespace == NULL ||
	    !resource_of(sweep)->namespaced || result->remaining < COUNTED_MAX)
		return false;
	at = sweep_place(sweep, lister->last_namespace);
	if (at >= sweep->places.count || result->remaining / (sweep->places.count - at) < IN_A_NAMESPACE_MIN)
		return false;
	lister->each = lister->repeats = true;
	lister->at = at;
	return true;
}

static void page_came(struct sweep *sweep, const struct kube_list_result *result)
{
	struct sweep_lister *lister = &sweep->lister;

	sweep->useful = loop_now(sweep->options->loop);
	lister->failures = lister->broken = 0;
	lister->initializing_since = 0;
	adapt(lister, is_metadata_only(sweep), sweep->throttle.options.qps);
	count_page(sweep, result);
	if (text_empty(result->continue_token)) {
		next_unit(sweep);
		return;
	}
	forget_page(lister);
	if (!goes_by_namespace(sweep, result))
		lister->token = xstrdup(result->continue_token);
}

/* None of its objects can be seen: that is not "done". */
static void refuse_unit(struct sweep *sweep, const struct kube_list_result *result)
{
	struct sweep_lister *lister = &sweep->lister;
	const char *namespace_ = namespace_of(sweep);

	if (result->status == 403 && !lister->each && resource_of(sweep)->namespaced && sweep->places.count > 0) {
		/* Perhaps a list of each namespace is allowed. */
		forget_page(lister);
		lister->each = true;
		lister->at = 0;
		return;
	}
	sweep_quarantine(sweep, resource_of(sweep), namespace_ != NULL ? namespace_ : "", "*",
			 sweep_words(error_message(result->error)));
	next_unit(sweep);
}

/* The same page again, after a while. Takes the result's error. */
static void retry_page(struct sweep *sweep, struct kube_list_result *result, uint64_t now)
{
	struct sweep_lister *lister = &sweep->lister;
	uint64_t pause = BACKOFF_MAX;
	char *why;

	if (lister->failures < 8)
		pause = BACKOFF_MIN << lister->failures;
	if (pause > BACKOFF_MAX)
		pause = BACKOFF_MAX;
	if (pause < result->retry_after)
		pause = result->retry_after;
	lister->failures++;
	lister->due = now + pause;
	why = result->status >= 400 ? xasprintf("%u from the server on a list", result->status)
				    : xstrdup("the server does not answer a list");
	sweep_hold(sweep, why, lister->due, &result->error);
}

/* A server that was just started says so too: some patience. */
static void initializing(struct sweep *sweep, struct kube_list_result *result, uint64_t now)
{
	struct sweep_lister *lister = &sweep->lister;

	if (lister->initializing_since == 0)
		lister->initializing_since = now;
	if (now < lister->initializing_since + SWEEP_PATIENCE) {
		retry_page(sweep, result, now);
		/* It asks for a second or so each time; more would waste the patience. */
		lister->due = now + (result->retry_after ? result->retry_after : NS_PER_S);
		return;
	}
	error_wrap(&result->error, -ERROR_BUSY,
		   "the server cannot decrypt a value of this resource and so lists none of it");
	error_set_hint(&result->error, "kube-rekey census names the values whose key is not in the configuration");
	sweep_stop(sweep, -ERROR_BUSY, &result->error);
}

static void broken(struct sweep *sweep, struct kube_list_result *result, uint64_t now)
{
	if (++sweep->lister.broken >= BROKEN_MAX)
		sweep_stop(sweep, result->rc, &result->error);
	else
		retry_page(sweep, result, now);
}

static void page_failed(struct sweep *sweep, struct kube_list_result *result, uint64_t now)
{
	struct sweep_lister *lister = &sweep->lister;

	bool later = result->rc == -ERROR_BUSY || result->rc == -ERROR_NETWORK;

	lister->repeats = true;
	if (later && (result->status == 0 || result->status > 500 || result->reinitializing))
		sweep->away = now;
	if (result->rc == -ERROR_EXPIRED) {
		/* The token of a 410 goes on behind the same key at a newer revision. Without one, from the
		 * beginning: what was
		 * queued already is left out. */
		forget_page(lister);
		if (!text_empty(result->continue_token))
			lister->token = xstrdup(result->continue_token);
		else
			retry_page(sweep, result, now);
	} else if (result->rc == -ERROR_LIMIT && !is_metadata_only(sweep)) {
		lister->patch_page = true;
	} else if (result->rc == -ERROR_AUTH && result->status != 0 && sweep_just_back(sweep, now)) {
		retry_page(sweep, result, now);
	} else if (result->status == 401 || (result->rc == -ERROR_AUTH && result->status != 403)) {
		sweep_stop(sweep, result->rc, &result->error);
	} else if (result->rc == -ERROR_NOT_FOUND) {
		next_unit(sweep); /* the resource is gone, and its objects with it */
	} else if (result->reinitializing) {
		initializing(sweep, result, now);
	} else if (later) {
		retry_page(sweep, result, now);
	} else if (result->status >= 400) {
		refuse_unit(sweep, result);
	} else {
		broken(sweep, result, now);
	}
}

static void on_page(void *arg, struct kube_list_result *result)
{
	struct sweep *sweep = arg;
	struct sweep_lister *lister = &sweep->lister;

	lister->call = NULL;
	lister->paused = false;
	lister->incoming = 0;
	if (result->rc == 0)
		page_came(sweep, result);
	else
		page_failed(sweep, result, loop_now(sweep->options->loop));
	sweep_pump(sweep);
}

static void ask(struct sweep *sweep)
{
	struct sweep_lister *lister = &sweep->lister;
	bool metadata_only = is_metadata_only(sweep);

	lister->items = lister->bytes = 0;
	lister->call =
		kube_list_start(sweep->options->kube, &(struct kube_list_options){
							      .resource = resource_of(sweep),
							      .namespace_ = namespace_of(sweep),
							      .limit = lister->limit,
							      .continue_token = lister->token,
							      .metadata_only = metadata_only,
							      .item_cap = SWEEP_ITEM_MAX,
							      .timeout = LIST_TIMEOUT,
							      .on_item_size = metadata_only ? NULL : on_item_size,
							      .on_item = on_item,
							      .is_full = is_full_pausing,
							      .on_done = on_page,
							      .arg = sweep,
						      });
}

static bool wants_page(const struct sweep *sweep)
{
	return sweep->lister.call == NULL && !sweep->lister.done && sweep->ready.count < QUEUE_SHORT &&
	       sweep->held < SWEEP_BYTES_IN_FLIGHT / 2;
}

void sweep_list_pump(struct sweep *sweep, uint64_t now)
{
	struct sweep_lister *lister = &sweep->lister;

	if (lister->call != NULL && lister->paused && !is_full(sweep)) {
		lister->paused = false;
		kube_list_resume(lister->call);
	}
	if (wants_page(sweep) && now >= lister->due)
		ask(sweep);
}

uint64_t sweep_list_due(const struct sweep *sweep, uint64_t now)
{
	return wants_page(sweep) && sweep->lister.due > now ? sweep->lister.due : UINT64_MAX;
}

void sweep_list_begin(struct sweep *sweep)
{
	if (!sweep->lister.done)
		enter_resource(sweep);
}
