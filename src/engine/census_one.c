/* One object in one line. */
#include "engine/census_internal.h"

#include <inttypes.h>

#include "base/clock.h"

#define TRIES 5
#define PAUSE (50 * NS_PER_MS) /* doubled each time */

struct seen {
	bool found, known;
	struct tally tally;
	const char *form; /* what is wrong with an unknown one */
};

static void seen_clear(struct seen *seen)
{
	tally_clear(&seen->tally);
	*seen = (struct seen){0};
}

static int on_value(void *arg, const struct etcd_kv *kv)
{
	struct seen *seen = arg;
	struct etcd_value_info rough = {.provider = kv->info->provider, .kms_version = kv->info->kms_version};
	seen_clear(seen);
	seen->found = true;
	seen->known = kv->info->state == ETCD_VALUE_KNOWN;
	seen->form = kv->info->state == ETCD_VALUE_TRUNCATED ? "a truncated value" : "a value of unknown form";
	census_key_add(tally_key(&seen->tally, seen->known ? kv->info : &rough), kv);
	return 0;
}

static int read_etcd(struct etcd *etcd, const char *key, struct seen *ret, struct error **err)
{
	const struct etcd_range_options options = {
		.request = {.key = key, .key_len = strlen(key)},
		.member = -1,
		.on_kv = on_value,
		.arg = ret,
	};
	seen_clear(ret);
	return etcd_range_fetch(etcd, &options, NULL, err);
}

struct subject {
	const struct census_options *options;
	const struct map_entry *entry;
	const struct kube_resource *resource;
	const char *namespace_, *name;
	char *words, *key;
};

static void subject_clear(struct subject *subject)
{
	free(subject->words);
	free(subject->key);
}

/* Reads both sides until they agree. A server that cannot read the value says 500: then etcd alone speaks. */
static int read_both(const struct subject *subject, struct seen *seen, char **ret_api_words, struct error **err)
{
	const struct census_options *options = subject->options;
	uint64_t pause = PAUSE;
	for (int attempt = 1;; attempt++, pause *= 2) {
		_cleanup_error_ failed = NULL;
		uint64_t revision = 0;
		int api = kube_get_metadata(options->kube, subject->resource, subject->namespace_, subject->name, NULL,
					    &revision, &failed);
		if (api < 0 && api != -ERROR_NOT_FOUND && api != -ERROR_BUSY) {
			if (err)
				*err = steal(failed);
			return api;
		}
		int rc = read_etcd(options->etcds[subject->entry->etcd], subject->key, seen, err);
		if (rc < 0)
			return rc;
		bool same = seen->found && api == 0 && seen->tally.keys[0].newest_revision == revision;
		if (same || (!seen->found && api == -ERROR_NOT_FOUND) ||
		    (seen->found && api == -ERROR_BUSY && attempt == TRIES)) {
			if (api == -ERROR_BUSY)
				*ret_api_words = xstrdup(error_message(failed));
			return 0;
		}
		if (attempt == TRIES && api == -ERROR_BUSY) {
			if (err)
				*err = steal(failed);
			return api;
		}
		if (attempt == TRIES)
			return error_set(err, ERROR_REFUSED, "%s: %s in %s, %s at %s", subject->words,
					 seen->found ? "another revision or a leftover" : "not there",
					 etcd_label(options->etcds[subject->entry->etcd]),
					 api == 0 ? "there" : "not there", options->kube->name);
		rc = loop_pause(options->kube->loop, pause, err);
		if (rc < 0)
			return rc;
	}
}

static char *describe(const struct subject *subject, const struct seen *seen, const char *api_words)
{
	const struct census_key *key = &seen->tally.keys[0];
	const struct config_shape *shape = subject->options->shape;
	const struct config_rule *rule = shape ? config_shape_rule(shape, subject->entry->storage) : NULL;
	_cleanup_free_ char *label = seen->known ? census_key_label(key) : xstrdup(seen->form);
	_cleanup_free_ char *write_key = rule ? config_key_label(&rule->keys[0]) : xstrdup("plaintext");
	_cleanup_free_ char *judgement = NULL;
	if (shape && seen->known && !key->in_config)
		judgement = xstrdup(", which the configuration does not have: unreadable");
	else if (shape && seen->known && !key->write_key)
		judgement = xasprintf(" (stale: the write key is %s)", write_key);
	_cleanup_free_ char *dek = key->dek_source[0] ? xasprintf(" DEK source %s", key->dek_source) : NULL;
	return xasprintf("%s: %s%s%s, written at revision %" PRIu64 ", %" PRIu64 " bytes%s%s", subject->words, label,
			 dek ? dek : "", judgement ? judgement : "", key->newest_revision, key->bytes,
			 api_words ? "; the API server cannot serve it: " : "", api_words ? api_words : "");
}

static int show(struct subject *subject, char **ret_line, struct census_key **ret_key, struct error **err)
{
	_cleanup_(seen_clear) struct seen seen = {0};
	_cleanup_free_ char *api_words = NULL;
	int rc = read_both(subject, &seen, &api_words, err);
	if (rc < 0)
		return rc;
	if (!seen.found)
		return error_set(err, ERROR_NOT_FOUND, "%s does not exist", subject->words);
	const struct config_shape *shape = subject->options->shape;
	if (shape && seen.known)
		census_key_judge(&seen.tally.keys[0], config_shape_rule(shape, subject->entry->storage));
	if (!seen.known)
		seen.tally.keys[0].in_config = false;
	*ret_line = describe(subject, &seen, api_words);
	if (!ret_key)
		return 0;
	*ret_key = xmemdup(&seen.tally.keys[0], sizeof(**ret_key));
	seen.tally.count = 0; /* its texts went along */
	return 0;
}

int census_one(const struct census_options *options, const struct kube_resource *resource, const char *namespace_,
	       const char *name, char **ret_line, struct census_key **ret_key, struct error **err)
{
	_cleanup_(resource_map_free) struct resource_map map = {0};
	_cleanup_(subject_clear) struct subject subject = {.options = options, .resource = resource, .name = name};
	_cleanup_free_ bool *wanted = xcalloc(options->resources->count + 1, sizeof(*wanted));
	wanted[resource - options->resources->items] = true;
	int rc = resource_map_build_some(options->kube, options->etcds, options->etcd_count, options->etcd_prefix,
					 options->resources, wanted, &map, err);
	if (rc < 0)
		return rc;
	if (map.count == 0)
		return error_set(err, ERROR_INPUT, "%s are not stored in etcd", resource->resource);
	subject.entry = &map.entries[0];
	subject.namespace_ = resource->namespaced ? namespace_ : NULL;
	const char *slash = subject.namespace_ ? "/" : "", *space = subject.namespace_ ? subject.namespace_ : "";
	subject.words = xasprintf("%s %s%s%s", resource->singular, space, slash, name);
	subject.key = xasprintf("%s%s%s%s", subject.entry->prefix, space, slash, name);
	return show(&subject, ret_line, ret_key, err);
}
