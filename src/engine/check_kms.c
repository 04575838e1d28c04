/* KMS v2 providers, as their plugins, the agents beside them and the API servers show them. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "engine/check_internal.h"

#define SLOW (200 * NS_PER_MS) /* a plugin on a Unix socket with its KMS nearby takes some 20 ms */
#define SHORT_HASH 15
#define ADOPTION 120.0 /* s: each server asks its plugin once a minute */

static bool any_kms(const struct config_shape *shape, unsigned version)
{
	for (size_t r = 0; shape && r < shape->rule_count; r++)
		for (size_t k = 0; k < shape->rules[r].key_count; k++)
			if (shape->rules[r].keys[k].type == PROVIDER_KMS &&
			    (version == 0 || shape->rules[r].keys[k].kms_version == version))
				return true;
	return false;
}

/* Whether these questions are about nothing, or cannot be answered; true with the answer in *ret. */
static bool without_kms(const struct check_facts *f, struct check_result *ret)
{
	if (f->kms_count > 0)
		return false;
	if (f->shape && !any_kms(f->shape, 2))
		*ret = check_does_not_apply();
	else
		*ret = check_unknown(f->kms_why ? f->kms_why : "no KMS plugin was seen");
	return true;
}

static bool is_plugin(const struct check_kms *kms)
{
	return text_starts(kms->where, "plugin on ");
}

CHECK_JUDGE(kms_healthy)
{
	struct check_result result;
	struct strings bad = {0};
	bool asked = false;
	(void)policy;
	if (without_kms(f, &result))
		return result;
	for (size_t i = 0; i < f->kms_count; i++) {
		if (f->kms[i].flaw)
			check_add(&bad, "%s, %s: %s", f->kms[i].provider, f->kms[i].where, f->kms[i].flaw);
		asked = asked || is_plugin(&f->kms[i]);
	}
	if (!asked)
		return check_unknown(f->kms_why ? f->kms_why : "plugins are asked on their nodes");
	return check_of_list(&bad, CHECK_FAILED,
			     "what is cached still reads, and a restart of the server would not: mend the plugin first",
			     NULL);
}

static bool went(const struct check_kms *server, const struct check_kms *from, const struct check_kms *to)
{
	return text_equal(server->before_hash, from->key_id_hash) && text_equal(server->key_id_hash, to->key_id_hash);
}

/* Whether a server went from one of these keys to the other a moment ago, so that the rest may be about to. What only a plugin
 * says may be of today or of last year. */
static bool is_moving(const struct check_facts *f, const struct check_kms *one, const struct check_kms *other)
{
	double now = (double)f->wall_now / (double)NS_PER_S;
	for (size_t i = 0; i < f->kms_count; i++) {
		const struct check_kms *server = &f->kms[i];
		double seen = server->named_at > now ? server->named_at : now;
		if (text_equal(server->provider, one->provider) && seen - server->before_at < ADOPTION &&
		    (went(server, one, other) || went(server, other, one)))
			return true;
	}
	return false;
}

CHECK_JUDGE(kms_key_id)
{
	struct check_result result;
	struct strings bad = {0};
	size_t known = 0;
	bool moving = true; /* wherever two differ */
	(void)policy;
	if (without_kms(f, &result))
		return result;
	for (size_t i = 0; i < f->kms_count; i++) {
		const struct check_kms *one = &f->kms[i];
		known += one->key_id_hash != NULL;
		for (size_t k = 0; k < i; k++) {
			const struct check_kms *other = &f->kms[k];
			if (!one->key_id_hash || !other->key_id_hash || !text_equal(one->provider, other->provider) ||
			    text_equal(one->key_id_hash, other->key_id_hash))
				continue;
			moving = moving && is_moving(f, one, other);
			check_add(&bad, "%s: %s says %.*s, %s says %.*s", one->provider, other->where, SHORT_HASH,
				  other->key_id_hash, one->where, SHORT_HASH, one->key_id_hash);
		}
	}
	if (known == 0)
		return check_unknown("no key ID is shown");
	return check_of_list(&bad, moving ? CHECK_WARNING : CHECK_FAILED,
			     "a server takes up to two minutes to adopt a new key ID; after that one plugin is set up "
			     "otherwise: what it encrypts, the others may not decrypt",
			     NULL);
}

static void add_other_ids(const struct check_facts *f, const char *provider, const char *hash, struct strings *bad)
{
	uint64_t values = 0;
	for (size_t i = 0; i < f->census->resource_count; i++)
		for (size_t k = 0; k < f->census->resources[i].key_count; k++) {
			const struct census_key *key = &f->census->resources[i].keys[k];
			if (key->provider != PROVIDER_KMS || key->kms_version != 2 || !text_equal(key->name, provider))
				continue;
			_cleanup_free_ char *under = text_sha256_tagged(key->key_id, strlen(key->key_id));
			if (!text_equal(under, hash))
				values += key->objects;
		}
	_cleanup_free_ char *count = text_human_count(values);
	if (values > 0)
		check_add(bad, "%s values of %s are under another key ID than its plugin names", count, provider);
}

/* Then *ret says so. */
static bool without_values(const struct check_facts *f, struct check_result *ret)
{
	if (without_kms(f, ret))
		return true;
	bool read = f->census && f->census->complete;
	if (!read)
		*ret = check_unknown(check_why_no_census(f));
	return !read;
}

CHECK_JUDGE(kms_values)
{
	struct check_result result;
	struct strings bad = {0};
	_cleanup_strings_ seen = {0};
	(void)policy;
	if (without_values(f, &result))
		return result;
	/* What a plugin says is newer than what a server has adopted. */
	for (int plugins = 1; plugins >= 0; plugins--)
		for (size_t i = 0; i < f->kms_count; i++) {
			const struct check_kms *kms = &f->kms[i];
			if (!kms->key_id_hash || strings_has(&seen, kms->provider) || (plugins && !is_plugin(kms)))
				continue;
			strings_add(&seen, kms->provider);
			add_other_ids(f, kms->provider, kms->key_id_hash, &bad);
		}
	if (seen.count == 0)
		return check_unknown("no key ID is shown");
	return check_of_list(&bad, CHECK_FAILED,
			     "kube-rekey rotate --follow-kms rewrites them, before the old key is disabled", NULL);
}

/* The sets of annotations that values of one key are under; "" is one, too. */
static void add_annotations(const struct census_resource *resource, const struct census_key *of, struct strings *ret)
{
	for (size_t k = 0; k < resource->key_count; k++) {
		const struct census_key *key = &resource->keys[k];
		if (key->provider == PROVIDER_KMS && key->kms_version == 2 && !key->lumped &&
		    text_equal(key->name, of->name) && text_equal(key->key_id, of->key_id) &&
		    !strings_has(ret, key->annotations))
			strings_add(ret, key->annotations);
	}
}

static void add_materials(const struct check_facts *f, const struct census_key *of, struct strings *seen,
			  struct strings *bad)
{
	_cleanup_strings_ sets = {0};
	_cleanup_free_ char *label = census_key_label(of);
	if (strings_has(seen, label))
		return;
	strings_add(seen, label);
	for (size_t i = 0; i < f->census->resource_count; i++)
		add_annotations(&f->census->resources[i], of, &sets);
	if (sets.count > 1)
		check_add(bad, "values under %s have %zu sets of annotations", label, sets.count);
}

CHECK_JUDGE(kms_material)
{
	struct check_result result;
	struct strings bad = {0};
	_cleanup_strings_ seen = {0};
	const struct census_key *lumped = NULL; /* of whose annotations nothing is known */
	const struct census_key *silent = NULL; /* whose plugin writes none */
	(void)policy;
	if (without_values(f, &result))
		return result;
	for (size_t i = 0; i < f->census->resource_count; i++)
		for (size_t k = 0; k < f->census->resources[i].key_count; k++) {
			const struct census_key *key = &f->census->resources[i].keys[k];
			if (key->provider != PROVIDER_KMS || key->kms_version != 2)
				continue;
			add_materials(f, key, &seen, &bad);
			lumped = key->lumped ? key : lumped;
			silent = text_empty(key->annotations) ? key : silent;
		}
	if (bad.count == 0 && lumped) {
		_cleanup_free_ char *label = census_key_label(lumped);
		_cleanup_free_ char *why = xasprintf("values under %s have more than %d data encryption keys: the "
						     "annotations of the rest were not looked at",
						     label, CENSUS_DEK_SOURCES_MAX);
		return check_unknown(why);
	}
	if (bad.count == 0 && silent) {
		_cleanup_free_ char *label = census_key_label(silent);
		_cleanup_free_ char *why =
			xasprintf("values under %s carry no annotations, by which alone another material of the "
				  "same key ID would show",
				  label);
		return check_unknown(why);
	}
	return check_of_list(
		&bad, CHECK_WARNING,
		"where the plugin names a version of the key there, the older one is still needed: kube-rekey "
		"rotate --renew-dek takes everything to the present one",
		NULL);
}

CHECK_JUDGE(kms_latency)
{
	struct check_result result;
	struct strings bad = {0};
	_cleanup_strings_ good = {0};
	(void)policy;
	if (without_kms(f, &result))
		return result;
	for (size_t i = 0; i < f->kms_count; i++) {
		if (f->kms[i].took == 0 || f->kms[i].flaw)
			continue;
		_cleanup_free_ char *took = text_human_duration(f->kms[i].took);
		check_add(f->kms[i].took > SLOW ? &bad : &good, "%s answers Status in %s", f->kms[i].provider, took);
	}
	for (size_t i = 0; i < f->scrape_count; i++) {
		const struct check_scrape *scrape = &f->scrapes[i];
		if (scrape->kms_calls == 0)
			continue;
		uint64_t mean = (uint64_t)(scrape->kms_seconds * (double)NS_PER_S / (double)scrape->kms_calls);
		_cleanup_free_ char *took = text_human_duration(mean);
		check_add(mean > SLOW ? &bad : &good, "%s waited %s for a call on average", check_scrape_name(scrape),
			  took);
	}
	_cleanup_free_ char *all = strings_join(&good, ", ");
	if (bad.count == 0 && good.count == 0)
		return check_unknown(f->kms_why ? f->kms_why : "no call to a plugin was timed");
	return check_of_list(
		&bad, CHECK_WARNING,
		"each start and reload of a server waits for it once for each DEK; past the provider's timeout "
		"(3s by default) reads fail",
		all);
}

CHECK_JUDGE(kms_v1)
{
	(void)policy;
	if (!f->shape)
		return check_unknown(check_why_no_shape(f));
	if (any_kms(f->shape, 1))
		return check_says(
			CHECK_WARNING, "go to KMS v2: kube-rekey rotate --provider kms",
			"the configuration has a KMS v1 provider: deprecated since 1.28, off by default since 1.29, "
			"and it shows no key ID");
	return any_kms(f->shape, 0) ? (struct check_result){CHECK_PASSED, NULL, NULL} : check_does_not_apply();
}
