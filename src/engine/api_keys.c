#include "engine/api_keys.h"

#include "engine/canary.h"

#define CANARY_TRIES 5

static const char *const kinds[] = {"secrets", "configmaps"};
_Static_assert(ELEMENTS(kinds) == ELEMENTS(((struct api_server *)NULL)->canaries), "one canary of each kind");

/* --- the write key --- */

/* By which provider the servers write it: one that has not written any yet has the same configuration. NULL: two differ, or
 * none has. */
static const char *prefix_of(const struct api_servers *s, const char *resource)
{
	const char *only = NULL;
	for (size_t i = 0; i < s->server_count; i++) {
		const char *prefix = storage_write_prefix(&s->servers[i].metrics, resource);
		if (!s->servers[i].reached || !prefix || text_equal(only, prefix))
			continue;
		if (only)
			return NULL;
		only = prefix;
	}
	return only;
}

/* A canary of the kind itself, else one that the same KMS provider wrote: a provider has one key ID at a time. */
static const struct storage_key *canary_of(const struct api_server *server, const char *resource, const char *prefix)
{
	for (size_t k = 0; k < ELEMENTS(kinds); k++)
		if (text_equal(resource, kinds[k]) && server->canaries[k].count == 1)
			return &server->canaries[k].items[0];
	for (size_t k = 0; prefix && k < ELEMENTS(kinds); k++) {
		const struct storage_keys *keys = &server->canaries[k];
		_cleanup_free_ char *own =
			keys->count == 1 ? xasprintf("k8s:enc:kms:v2:%s:", keys->items[0].name) : NULL;
		if (own && *keys->items[0].hash && text_equal(own, prefix))
			return &keys->items[0];
	}
	return NULL;
}

static void take_key(struct api_write_key *write_key, const struct api_server *server, const struct storage_key *key)
{
	if (!write_key->key.provider) {
		storage_key_copy(key, &write_key->key);
		return;
	}
	if (storage_key_same(&write_key->key, key))
		return;
	_cleanup_free_ char *one = storage_key_label(&write_key->key), *other = storage_key_label(key);
	write_key->differs = true;
	free(write_key->why);
	write_key->why = xasprintf("%s writes with %s, and another server with %s", server->name, other, one);
}

static void unproved(struct api_write_key *write_key, const struct api_server *server, const char *why)
{
	_cleanup_free_ char *text = xasprintf("%s %s", server->name, why);
	strings_add(&write_key->unproved, text);
}

/* The KMS may name a later key than the one that a canary was written with a moment ago, or may have done so meanwhile. */
static bool is_outdated(const struct api_server *server, const char *resource, const char *prefix,
			struct storage_key *ret_named)
{
	return storage_write_key(&server->metrics, resource, prefix, ret_named) == STORAGE_MOVING;
}

static void ask_server(const struct api_server *server, const char *resource, const char *prefix,
		       struct api_write_key *ret)
{
	const struct storage_key *canary = canary_of(server, resource, prefix);
	struct storage_key key = {0};
	if (canary && is_outdated(server, resource, prefix, &key)) {
		unproved(ret, server, "writes with a key that the KMS has replaced");
		ret->moving = true;
		take_key(ret, server, &key);
	} else if (canary) {
		take_key(ret, server, canary);
	} else {
		storage_key_free(&key);
		switch (storage_write_key(&server->metrics, resource, prefix, &key)) {
		case STORAGE_UNSEEN:
			unproved(ret, server, "was not seen to write any");
			break;
		case STORAGE_MOVING:
			unproved(ret, server, "was last seen to write with a key that the KMS has replaced");
			ret->moving = true;
			take_key(ret, server, &key);
			break;
		case STORAGE_NAMED:
		case STORAGE_WROTE:
			if (server->reloaded > 0 &&
			    !storage_wrote_since(&server->metrics, resource, &key, server->reloaded))
				unproved(ret, server, "reloaded its configuration since it was last seen to write");
			else
				take_key(ret, server, &key);
		}
	}
	storage_key_free(&key);
}

static void add_once(struct api_write_key *key, char *text)
{
	if (!strings_has(&key->unproved, text))
		strings_add(&key->unproved, text);
	free(text);
}

void api_write_key_add_missing(const struct api_servers *s, struct api_write_key *key)
{
	_cleanup_strings_ unreached = {0};
	api_servers_unreached(s, &unreached);
	key->missing = key->missing || unreached.count > 0;
	for (size_t i = 0; i < unreached.count; i++)
		add_once(key, xasprintf("%s was not reached", unreached.items[i]));
	if (s->leases_why)
		add_once(key, xasprintf("there may be more of them: %s", s->leases_why));
}

void api_write_key_of(const struct api_servers *s, const char *resource, struct api_write_key *ret)
{
	const char *prefix = prefix_of(s, resource);
	*ret = (struct api_write_key){0};
	for (size_t i = 0; i < s->server_count; i++)
		if (s->servers[i].reached)
			ask_server(&s->servers[i], resource, prefix, ret);
	api_write_key_add_missing(s, ret);
	ret->known = ret->key.provider && !ret->differs;
	if (!ret->known && !ret->why) {
		_cleanup_free_ char *who = strings_join(&ret->unproved, ", ");
		ret->why = xasprintf("no server was seen to write %s%s%s", resource, *who ? ": " : "", who);
	}
	if (ret->differs)
		storage_key_free(&ret->key);
}

void api_write_key_free(struct api_write_key *key)
{
	storage_key_free(&key->key);
	free(key->why);
	strings_free(&key->unproved);
	*key = (struct api_write_key){0};
}

/* --- canaries --- */

/* Through one server, and what it counted of it. Anything but one key: others wrote meanwhile, or it went elsewhere. */
static int canary_once(struct api_servers *s, size_t at, const char *kind, struct storage_keys *ret, struct error **err)
{
	struct storage_metrics before = s->servers[at].metrics, growth = {0};
	uint64_t process = s->servers[at].process;
	bool news = false;
	struct api_lane *lane = api_servers_lane(s, at);
	s->servers[at].metrics = (struct storage_metrics){0};
	int rc = lane ? canary_touch(&lane->kube, s->servers[at].name, kind, err)
		      : error_set(err, ERROR_NETWORK, "%s cannot be reached any more", s->servers[at].name);
	if (rc == 0)
		rc = api_servers_scrape(s, &news, err);
	if (rc == 0 && s->servers[at].process == process &&
	    storage_metrics_growth(&before, &s->servers[at].metrics, &growth) == 0)
		storage_keys_of(&growth, kind, STORAGE_WRITTEN, ret);
	/* What was counted before it failed is not lost. */
	if (rc < 0 && s->servers[at].metrics.use_count == 0)
		s->servers[at].metrics = before;
	else
		storage_metrics_free(&before);
	storage_metrics_free(&growth);
	return rc;
}

static int canary_through(struct api_servers *s, size_t at, size_t kind, struct strings *ret_troubles,
			  struct error **err)
{
	struct storage_keys seen = {0};
	_cleanup_error_ failed = NULL;
	int rc = 0;
	for (unsigned tries = 0; seen.count != 1 && rc == 0 && s->servers[at].reached && tries < CANARY_TRIES;
	     tries++) {
		storage_keys_free(&seen);
		rc = canary_once(s, at, kinds[kind], &seen, &failed);
	}
	storage_keys_free(&s->servers[at].canaries[kind]);
	if (seen.count == 1)
		s->servers[at].canaries[kind] = seen;
	else
		storage_keys_free(&seen);
	if (rc == -ERROR_INTERRUPTED || rc == -ERROR_REFUSED) {
		*err = steal(failed);
		return rc;
	}
	if (s->servers[at].canaries[kind].count == 1)
		return 0;
	_cleanup_free_ char *text =
		xasprintf("no canary through %s shows what it writes %s with: %s", s->servers[at].name, kinds[kind],
			  failed ? error_message(failed) : "its counters do not tell it from the writes of others");
	strings_add(ret_troubles, text);
	return 0;
}

static bool is_chosen(const struct kube_resource *const *resources, size_t count, const char *kind)
{
	for (size_t i = 0; i < count; i++)
		if (text_equal(resources[i]->resource, kind))
			return true;
	return false;
}

int api_canaries_write(struct api_servers *s, const struct kube_resource *const *resources, size_t count,
		       struct strings *ret_troubles, struct error **err)
{
	bool any = is_chosen(resources, count, "secrets") || is_chosen(resources, count, "configmaps");
	for (size_t i = 0; i < s->server_count; i++)
		for (size_t k = 0; k < ELEMENTS(kinds) && s->servers[i].reached; k++) {
			/* Where neither is asked for, a Secret stands for the provider. */
			if (any ? !is_chosen(resources, count, kinds[k]) : k > 0)
				continue;
			int rc = canary_through(s, i, k, ret_troubles, err);
			if (rc < 0)
				return rc;
		}
	return 0;
}

int api_canaries_delete(struct api_servers *s, struct error **err)
{
	int first = 0;
	for (size_t i = 0; i < s->server_count; i++)
		for (size_t k = 0; k < ELEMENTS(kinds); k++) {
			if (s->servers[i].canaries[k].count == 0)
				continue;
			int rc = canary_remove(s->kube, s->servers[i].name, kinds[k], first == 0 ? err : NULL);
			first = first == 0 ? rc : first;
		}
	return first;
}

/* --- reads --- */

bool api_reads_judge(uint64_t asked, const struct storage_keys *counted, const struct storage_key *key,
		     uint64_t *ret_min, uint64_t *ret_max)
{
	uint64_t right = 0, wrong = 0;
	for (size_t i = 0; i < counted->count; i++)
		*(storage_key_same(&counted->items[i], key) ? &right : &wrong) += counted->items[i].count;
	*ret_min = asked > right ? asked - right : 0;
	*ret_max = wrong < asked ? wrong : asked;
	return right + wrong >= asked;
}
