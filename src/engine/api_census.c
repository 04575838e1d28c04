#include "engine/api_census.h"

#include <string.h>

#include "base/clock.h"
#include "engine/sweep_judge.h"

#define PAGE 500
#define READ_TIMEOUT (30 * NS_PER_S)
#define TRIES_MAX 4               /* of an object that fails by itself */
#define AGAIN (200 * NS_PER_MS)   /* before the second try; doubled */
#define PATIENCE (120 * NS_PER_S) /* without one useful answer */
#define INVALID_MAX 5             /* windows in a row that a restart or a lost connection spoilt */
#define LOOK (100 * NS_PER_MS)
#define PAUSE NS_PER_S           /* after a refusal, or a list that failed */
#define AWAY_LOOK (3 * NS_PER_S) /* between looks at a Lease that seems to be nobody's */

enum item_state { ITEM_DUE, ITEM_ASKED, ITEM_READ, ITEM_GONE, ITEM_UNREADABLE };
struct item {
	char *namespace_, *name;
	enum item_state state;
	unsigned tries;
	struct refusals refusals;
	uint64_t due;
};
struct items {
	struct item *items;
	size_t count;
};

/* What reads of one resource go through. */
struct work {
	const struct api_census_options *o;
	struct api_census *census;
	struct api_census_resource *r;
	struct items items;
	struct throttle throttle;
	uint64_t *asked;    /* answered reads of this window, by server */
	size_t first, last; /* the window */
	unsigned in_flight;
	uint64_t useful; /* when a server last gave an answer that is of use */
	unsigned splits, invalid;
	int rc; /* no new requests: why */
	struct error *error;
};
/* The request that a connection carries. */
struct errand {
	struct work *work;
	size_t lane, item;
	uint64_t started;
};

static void items_cut(struct items *items, size_t count)
{
	while (items->count > count) {
		struct item *last = &items->items[--items->count];
		free(last->namespace_);
		free(last->name);
	}
}

static void items_free(struct items *items)
{
	items_cut(items, 0);
	free(items->items);
	*items = (struct items){0};
}

static void stop(struct work *w, int rc, struct error **error)
{
	if (w->rc != 0)
		return;
	w->rc = rc;
	w->error = steal(*error);
}

static void name_unreadable(struct work *w, const char *namespace_, const char *name, const char *why)
{
	struct api_census *census = w->census;
	w->r->unreadable++;
	census->unreadable_count++;
	if (census->unreadable_named >= API_CENSUS_UNREADABLE_MAX)
		return;
	census->unreadable =
		xreallocarray(census->unreadable, census->unreadable_named + 1, sizeof(*census->unreadable));
	census->unreadable[census->unreadable_named++] = (struct api_census_object){
		w->r->resource, xstrdup(namespace_), xstrdup(name), text_printable(why, strlen(why), 300)};
}

/* --- names --- */

static int take_name(void *arg, struct kube_list_item *list_item)
{
	struct items *items = arg;
	if (items->count >= API_CENSUS_OBJECTS_MAX)
		return -ERROR_LIMIT;
	if ((items->count & (items->count - 1)) == 0)
		items->items = xreallocarray(items->items, items->count ? 2 * items->count : 1, sizeof(*items->items));
	items->items[items->count++] =
		(struct item){.namespace_ = xstrdup(list_item->namespace_), .name = xstrdup(list_item->name)};
	return 0;
}

static bool is_late(const struct api_census_options *o)
{
	return o->deadline != 0 && loop_now(o->servers->loop) >= o->deadline;
}

/* What a server says of a list that holds what it cannot decrypt, at once and after its restart; and no words of load. */
static bool says_unreadable(const struct error *error)
{
	const char *words = error_message(error);
	return strstr(words, ": 500 ") || strstr(words, "(re)initializing");
}

static bool list_may_pass(const struct work *w, struct refusals *refusals, uint64_t useful, int rc,
			  const struct error *error)
{
	uint64_t now = loop_now(w->o->servers->loop);
	bool refused = refusals_may_pass(refusals, rc, now);
	bool away = rc == -ERROR_NETWORK || rc == -ERROR_BUSY;
	uint64_t patience = says_unreadable(error) ? REFUSALS_LONG : PATIENCE;
	return !is_late(w->o) && (refused || (away && now < useful + patience));
}

/* The page at `token`; *ret_next: of the next one, or NULL. */
static int list_page(struct work *w, const char *token, char **ret_next, struct error **err)
{
	struct kube_list_options options = {.resource = w->r->resource,
					    .limit = PAGE,
					    .continue_token = token,
					    .metadata_only = true,
					    .on_item = take_name,
					    .arg = &w->items};
	int rc = kube_list_fetch(w->o->servers->kube, &options, ret_next, NULL, NULL, err);
	/* Too old a token: its inconsistent successor goes on, and what was created since is under the write key. */
	if (rc == -ERROR_EXPIRED && !text_empty(*ret_next)) {
		error_clear(err);
		return 0;
	}
	return rc;
}

/* Names alone: what a list says of values is from the server's memory. */
static int list_names(struct work *w, struct error **err)
{
	_cleanup_free_ char *token = NULL;
	struct refusals refusals = {0};
	uint64_t useful = loop_now(w->o->servers->loop);
	for (;;) {
		_cleanup_free_ char *next = NULL;
		size_t before = w->items.count;
		int rc = list_page(w, token, &next, err);
		bool again = list_may_pass(w, &refusals, useful, rc, *err);
		if (rc < 0 && !again)
			return rc;
		if (again) {
			error_clear(err);
			items_cut(&w->items, before);
			rc = loop_pause(w->o->servers->loop, PAUSE, err);
			if (rc < 0)
				return rc;
			continue;
		}
		if (text_empty(next))
			return 0;
		useful = loop_now(w->o->servers->loop);
		free(token);
		token = steal(next);
	}
}

/* --- one window of reads --- */

static void failed(struct work *w, struct item *item, enum sweep_verdict verdict, struct kube_read_result *result,
		   bool may_pass, uint64_t now)
{
	item->state = ITEM_DUE;
	if (may_pass) {
		item->due = now + PAUSE;
		return;
	}
	switch (verdict) {
	case SWEEP_GONE:
		item->state = ITEM_GONE;
		return;
	case SWEEP_FATAL:
		stop(w, result->rc, &result->error);
		return;
	case SWEEP_REFUSED:
		if (result->status == 403) {
			stop(w, result->rc, &result->error);
			return;
		}
		item->tries = TRIES_MAX;
		break;
	case SWEEP_LOAD:
	case SWEEP_AWAY:
		item->due = now + AGAIN;
		if (now > w->useful + PATIENCE)
			stop(w, result->rc, &result->error);
		return;
	case SWEEP_ERROR:
	case SWEEP_FAULT:
	case SWEEP_CONFLICT:
	case SWEEP_DONE:
		item->tries++;
	}
	item->due = now + (AGAIN << item->tries);
	if (item->tries < TRIES_MAX)
		return;
	item->state = ITEM_UNREADABLE;
	name_unreadable(w, item->namespace_, item->name, sweep_words(error_message(result->error)));
}

static void on_read(void *arg, struct kube_read_result *result)
{
	struct errand *errand = arg;
	struct work *w = errand->work;
	struct api_lane *lane = &w->o->servers->lanes[errand->lane];
	struct item *item = &w->items.items[errand->item];
	struct sweep_answer answer = {result->rc, result->status, false, error_message(result->error), false};
	enum sweep_verdict verdict = sweep_judge(&answer);
	uint64_t now = loop_now(w->o->servers->loop);
	bool busy =
		result->rc == -ERROR_AUTH || verdict == SWEEP_LOAD || verdict == SWEEP_AWAY || verdict == SWEEP_ERROR;
	throttle_ended(&w->throttle,
		       verdict == SWEEP_DONE ? THROTTLE_GOOD
		       : busy                ? THROTTLE_BUSY
					     : THROTTLE_OTHER,
		       now - errand->started, result->retry_after, now);
	bool may_pass = refusals_may_pass(&item->refusals, result->rc, now);
	w->in_flight--;
	lane->arg = NULL;
	if (!busy)
		w->useful = now;
	/* Another server may have answered: nobody's count is known to have it. */
	if (result->connected)
		lane->server = API_SERVER_NONE;
	if (verdict == SWEEP_DONE && !result->connected) {
		item->state = ITEM_READ;
		w->asked[lane->server]++;
	} else if (verdict == SWEEP_DONE) {
		item->state = ITEM_DUE;
	} else {
		failed(w, item, verdict, result, may_pass && result->status != 0, now);
	}
	free(errand);
}

static struct item *next_due(struct work *w, uint64_t now, uint64_t *ret_again)
{
	for (size_t i = w->first; i < w->last; i++) {
		struct item *item = &w->items.items[i];
		if (item->state != ITEM_DUE)
			continue;
		if (item->due <= now)
			return item;
		*ret_again = item->due < *ret_again ? item->due : *ret_again;
	}
	return NULL;
}

static void start_reads(struct work *w, uint64_t *ret_again)
{
	struct api_servers *s = w->o->servers;
	uint64_t now = loop_now(s->loop);
	for (size_t i = 0; w->rc == 0 && i < s->lane_count; i++) {
		struct api_lane *lane = &s->lanes[i];
		if (lane->arg || lane->server == API_SERVER_NONE || !throttle_may_start(&w->throttle, now, ret_again))
			continue;
		struct item *item = next_due(w, now, ret_again);
		if (!item)
			return;
		struct errand *errand = xcalloc(1, sizeof(*errand));
		*errand = (struct errand){w, i, (size_t)(item - w->items.items), now};
		item->state = ITEM_ASKED;
		lane->arg = errand;
		w->in_flight++;
		throttle_started(&w->throttle, now);
		(void)kube_read_start(&lane->kube, w->r->resource, w->r->resource->namespaced ? item->namespace_ : NULL,
				      item->name, true, READ_TIMEOUT, on_read, errand);
	}
}

static bool any_lane(const struct api_servers *s)
{
	for (size_t i = 0; i < s->lane_count; i++)
		if (s->lanes[i].server != API_SERVER_NONE)
			return true;
	return false;
}

static bool any_due(const struct work *w)
{
	for (size_t i = w->first; i < w->last; i++)
		if (w->items.items[i].state == ITEM_DUE)
			return true;
	return false;
}

static void look_up(struct work *w)
{
	struct error *error = NULL;
	if (loop_signal(w->o->servers->loop) != 0)
		error_set(&error, ERROR_INTERRUPTED, "reading stopped after %llu objects",
			  (unsigned long long)w->census->objects);
	else if (is_late(w->o))
		error_set(&error, ERROR_DEADLINE, "the deadline passed after %llu objects",
			  (unsigned long long)w->census->objects);
	if (error)
		stop(w, -(int)error_code(error), &error);
	error_free(error);
}

/* Until every object of the window was read, is gone or is given up; or until no connection is known any more. */
static void read_window(struct work *w)
{
	struct loop *loop = w->o->servers->loop;
	for (;;) {
		uint64_t again = loop_now(loop) + LOOK;
		look_up(w);
		if (w->rc == 0)
			start_reads(w, &again);
		if (w->in_flight == 0 && (w->rc != 0 || !any_due(w) || !any_lane(w->o->servers)))
			return;
		loop_step(loop, again);
	}
}

/* --- what the counters say of it --- */

/* The last scrapes, as what the next ones are compared with. */
struct marks {
	struct storage_metrics *metrics;
	uint64_t *processes;
	size_t count;
};

static void mark(struct api_servers *s, struct marks *ret)
{
	*ret = (struct marks){xcalloc(s->server_count + 1, sizeof(*ret->metrics)),
			      xcalloc(s->server_count + 1, sizeof(*ret->processes)), s->server_count};
	for (size_t i = 0; i < s->server_count; i++) {
		ret->metrics[i] = s->servers[i].metrics;
		s->servers[i].metrics = (struct storage_metrics){0};
		ret->processes[i] = s->servers[i].process;
	}
}

static void marks_free(struct marks *marks)
{
	for (size_t i = 0; i < marks->count; i++)
		storage_metrics_free(&marks->metrics[i]);
	free(marks->metrics);
	free(marks->processes);
}

struct found {
	uint64_t asked, min, max;
	uint64_t total; /* reads of this resource that were counted */
	uint64_t keyed; /* reads by key; under a KMS provider those of its other resources, too */
	bool valid;     /* every server that was asked is the process that was asked */
	bool adds_up;   /* each counted as many reads as it was asked for */
	struct storage_keys keys;
};

static void judge_server(const struct work *w, const struct marks *before, size_t at, struct found *ret)
{
	const struct api_server *server = &w->o->servers->servers[at];
	struct storage_metrics growth = {0};
	struct storage_keys keys = {0};
	uint64_t min, max;
	if (!server->reached || server->process != before->processes[at] ||
	    storage_metrics_growth(&before->metrics[at], &server->metrics, &growth) < 0) {
		ret->valid = false;
		return;
	}
	storage_keys_of(&growth, w->r->resource->resource, STORAGE_READ, &keys);
	uint64_t reads = storage_reads_of(&growth, w->r->resource->resource);
	bool enough = api_reads_judge(w->asked[at], &keys, &w->r->write_key.key, &min, &max);
	ret->adds_up = ret->adds_up && enough && reads >= w->asked[at];
	ret->total += reads;
	ret->asked += w->asked[at];
	ret->min += min;
	ret->max += max;
	for (size_t i = 0; i < keys.count; i++) {
		ret->keyed += keys.items[i].count;
		storage_keys_add(&ret->keys, &keys.items[i], keys.items[i].count);
	}
	storage_keys_free(&keys);
	storage_metrics_free(&growth);
}

/* Others' reads: but where a read of ours went to a server that was not asked, they show it. */
static void judge_unasked(const struct work *w, const struct marks *before, size_t at, struct found *ret)
{
	const struct api_server *server = &w->o->servers->servers[at];
	struct storage_metrics growth = {0};
	if (!server->reached || server->process != before->processes[at] ||
	    storage_metrics_growth(&before->metrics[at], &server->metrics, &growth) < 0)
		return;
	ret->total += storage_reads_of(&growth, w->r->resource->resource);
	storage_metrics_free(&growth);
}

/* Who was told of another key, wrote with it and went back shows nothing of that at the end. Of resources that were read already,
 * too; a server of another process was looked at nowhere else. */
static bool wrote_others(const struct api_census *census, const struct marks *before, const struct api_servers *s)
{
	bool others = false;
	for (size_t i = 0; i < before->count; i++) {
		const struct api_server *server = &s->servers[i];
		struct storage_metrics growth = {0};
		if (!server->reached || server->process != before->processes[i])
			continue; /* told as one that was lost or started anew */
		/* A count that is gone hides what it counted. */
		others = others || storage_metrics_growth(&before->metrics[i], &server->metrics, &growth) < 0;
		for (size_t k = 0; k < census->resource_count; k++) {
			const struct api_census_resource *r = &census->resources[k];
			others = others || (r->write_key.known &&
					    storage_wrote_other(&growth, r->resource->resource, &r->write_key.key));
		}
		storage_metrics_free(&growth);
	}
	return others;
}

static int take_window(struct work *w, size_t first, size_t last, struct found *ret, struct error **err)
{
	struct api_servers *s = w->o->servers;
	struct marks before;
	/* Who joins and leaves within the census shows by its Lease alone. */
	bool joined = false, news = false;
	*ret = (struct found){.valid = true, .adds_up = true};
	for (size_t i = first; i < last; i++)
		if (w->items.items[i].state == ITEM_READ)
			w->items.items[i].state = ITEM_DUE;
	w->first = first;
	w->last = last;
	free(w->asked);
	w->asked = xcalloc(s->server_count + 1, sizeof(*w->asked));
	mark(s, &before);
	read_window(w);
	int rc = w->rc;
	if (rc < 0)
		*err = steal(w->error);
	else
		rc = api_servers_read_leases(s, &joined, err);
	if (rc == 0)
		rc = api_servers_scrape(s, &news, err);
	w->census->restarted = w->census->restarted || joined || news;
	for (size_t i = 0; rc == 0 && i < before.count; i++)
		(w->asked[i] > 0 ? judge_server : judge_unasked)(w, &before, i, ret);
	ret->valid = ret->valid && !any_due(w);
	w->census->moved = w->census->moved || (rc == 0 && wrote_others(w->census, &before, s));
	marks_free(&before);
	return rc;
}

static int not_adding_up(const struct work *w, const struct found *found, struct error **err)
{
	int rc =
		error_set(err, ERROR_REFUSED,
			  "the servers were asked for %llu %s and counted %llu reads of them: what they count proves "
			  "nothing here",
			  (unsigned long long)found->asked, w->r->resource->resource, (unsigned long long)found->total);
	error_set_hint(err,
		       "a proxy that spreads the requests of one connection would do that: name the API servers' own "
		       "address (--server)");
	return rc;
}

static void take_found(struct work *w, size_t first, const struct found *found)
{
	struct api_census_resource *r = w->r;
	bool clean = r->write_key.known && found->max == 0;
	r->objects += found->asked;
	r->stale_min += r->write_key.known ? found->min : 0;
	r->stale_max += r->write_key.known ? found->max : found->asked;
	r->others += found->total > found->asked ? found->total - found->asked : 0;
	r->counted = r->counted && found->adds_up;
	w->census->objects += found->asked;
	if (clean && found->asked > 0 && found->adds_up)
		storage_keys_add(&r->keys, &r->write_key.key, found->asked);
	for (size_t i = 0; !clean && i < found->keys.count; i++)
		storage_keys_add(&r->keys, &found->keys.items[i], found->keys.items[i].count);
	if (r->write_key.known && found->asked == 1 && found->min == 1 && found->adds_up &&
	    r->stale_named.count < API_CENSUS_NAMED) {
		const struct item *item = &w->items.items[first];
		_cleanup_free_ char *name =
			xasprintf("%s%s%s", item->namespace_, *item->namespace_ ? "/" : "", item->name);
		strings_add(&r->stale_named, name);
	}
	if (w->o->on_progress)
		w->o->on_progress(w->o->arg, r->resource->resource, r->objects, w->items.count);
}

/* Of those that servers did not count at all there may be no rule, and of those that they counted in part, something else
 * answered. */
static bool is_decided(const struct work *w, const struct found *found)
{
	return !w->r->write_key.known || !found->adds_up || found->max == 0 ||
	       (found->min == found->max && found->keyed == found->asked);
}

static int count_range(struct work *w, size_t first, size_t last, struct error **err)
{
	for (;;) {
		struct found found;
		int rc = take_window(w, first, last, &found, err);
		bool name = found.max > 0 && found.adds_up && w->r->write_key.known &&
			    w->r->stale_named.count < API_CENSUS_NAMED;
		bool again = rc == 0 && found.valid && (!is_decided(w, &found) || (name && last - first > 1)) &&
			     w->splits < API_CENSUS_SPLITS;
		if (rc == 0 && found.valid && !found.adds_up && found.total > 0)
			rc = not_adding_up(w, &found, err);
		else if (rc == 0 && found.valid && !again)
			take_found(w, first, &found);
		storage_keys_free(&found.keys);
		if (rc < 0 || (found.valid && !again))
			return rc;
		if (!found.valid && ++w->invalid > INVALID_MAX)
			return error_set(err, ERROR_REFUSED,
					 "connections or servers do not last long enough to tell which server counted "
					 "what (%u times in a row)",
					 w->invalid);
		if (!found.valid)
			continue;
		w->invalid = 0;
		w->splits++;
		if (last - first == 1)
			continue;
		size_t middle = first + (last - first) / 2;
		rc = count_range(w, first, middle, err);
		return rc < 0 ? rc : count_range(w, middle, last, err);
	}
}

/* --- all of it --- */

static int take_resource(struct api_census *census, const struct api_census_options *o, size_t at, struct error **err)
{
	struct work w = {.o = o, .census = census, .r = &census->resources[at], .useful = loop_now(o->servers->loop)};
	throttle_init(&w.throttle, &o->speed, w.useful);
	w.r->resource = o->resources[at];
	w.r->counted = true;
	api_write_key_of(o->servers, w.r->resource->resource, &w.r->write_key);
	_cleanup_error_ refused = NULL;
	int rc = list_names(&w, &refused);
	/* A list that the server cannot make, of objects that it cannot decrypt perhaps: a finding, not the end. */
	if (rc == -ERROR_BUSY && !is_late(o) && says_unreadable(refused)) {
		name_unreadable(&w, "", "*", error_message(refused));
		rc = 0;
	} else if (rc < 0 && is_late(o)) {
		rc = error_set(err, ERROR_DEADLINE, "the deadline passed while %s were listed",
			       w.r->resource->resource);
	} else if (rc < 0) {
		*err = steal(refused);
	}
	for (size_t first = 0; rc == 0 && first < w.items.count; first += API_CENSUS_WINDOW) {
		size_t last = first + API_CENSUS_WINDOW;
		rc = count_range(&w, first, last < w.items.count ? last : w.items.count, err);
	}
	for (size_t i = 0; i < w.items.count; i++)
		w.r->gone += w.items.items[i].state == ITEM_GONE;
	census->stale_min += w.r->stale_min;
	census->stale_max += w.r->stale_max;
	free(w.asked);
	error_free(w.error);
	items_free(&w.items);
	return rc;
}

/* What was written under another key while objects were read is not all among what was read. */
static bool has_moved(const struct api_servers *s, const struct api_census_resource *r)
{
	_cleanup_write_key_ now = {0};
	api_write_key_of(s, r->resource->resource, &now);
	return r->write_key.known && (!now.known || now.moving || !storage_key_same(&now.key, &r->write_key.key));
}

/* Who joined meanwhile was not asked anything; and who seemed to be away is, once its Lease stood still for a while. */
static int look_for_others(struct api_census *census, const struct api_census_options *o, struct error **err)
{
	struct marks before;
	int rc;
	mark(o->servers, &before);
	for (;;) {
		bool news = false;
		rc = api_servers_refresh(o->servers, &news, err);
		census->restarted = census->restarted || news;
		if (rc < 0 || o->servers->leases_why || !api_servers_doubtful(o->servers))
			break;
		if (is_late(o)) {
			rc = error_set(err, ERROR_DEADLINE,
				       "the deadline passed before it was known whether a server is away");
			break;
		}
		rc = loop_pause(o->servers->loop, AWAY_LOOK, err);
		if (rc < 0)
			break;
	}
	bool news = false;
	if (rc == 0)
		rc = api_servers_scrape(o->servers, &news, err);
	census->moved = census->moved || (rc == 0 && wrote_others(census, &before, o->servers));
	marks_free(&before);
	census->restarted = census->restarted || news;
	for (size_t i = 0; i < census->resource_count; i++) {
		census->moved = census->moved || has_moved(o->servers, &census->resources[i]);
		api_write_key_add_missing(o->servers, &census->resources[i].write_key);
	}
	return rc;
}

int api_census_take(const struct api_census_options *o, struct api_census **ret, struct error **err)
{
	_cleanup_(api_census_freep) struct api_census *census = xcalloc(1, sizeof(*census));
	bool news = false;
	census->begun = loop_now(o->servers->loop);
	census->resources = xcalloc(o->resource_count + 1, sizeof(*census->resources));
	int rc = api_servers_scrape(o->servers, &news, err);
	for (size_t i = 0; rc == 0 && i < o->resource_count; i++) {
		census->resource_count = i + 1;
		rc = take_resource(census, o, i, err);
	}
	if (rc == 0)
		rc = look_for_others(census, o, err);
	if (rc < 0)
		return rc;
	census->finished = loop_now(o->servers->loop);
	*ret = steal(census);
	return 0;
}
