#include "engine/kms_adopted.h"

#include <stdlib.h>
#include <string.h>

#include "engine/canary.h"
#include "engine/kms_look.h"
#include "format/storage_metrics.h"

static const char *const kinds[] = {"secrets", "configmaps"}; /* of canaries */

static int scrape(struct kube *kube, struct storage_metrics *ret, struct error **err)
{
	struct apiserver_metrics metrics = {0};
	_cleanup_(prometheus_reader_freep) struct prometheus_reader *reader = NULL;
	int rc = kube_scrape(kube, &metrics, &reader, err);
	if (rc < 0)
		return rc;
	apiserver_metrics_free(&metrics);
	storage_metrics_free(ret);
	storage_metrics_collect(reader, ret);
	return 0;
}

/* --- which provider writes --- */

static const char *provider_in(const struct config_shape *shape, const char *resource)
{
	const struct config_rule *rule = config_shape_rule(shape, resource);
	return rule && rule->keys[0].type == PROVIDER_KMS && rule->keys[0].kms_version == 2 ? rule->keys[0].name : NULL;
}

static const char *provider_shown(const struct storage_metrics *counts, const char *resource)
{
	const char *shown = storage_write_prefix(counts, resource);
	for (size_t i = 0; shown && i < counts->key_id_count; i++) {
		_cleanup_free_ char *prefix = xasprintf("k8s:enc:kms:v2:%s:", counts->key_ids[i].provider);
		if (text_equal(prefix, shown))
			return counts->key_ids[i].provider;
	}
	return NULL;
}

/* The KMS v2 provider that values of a resource are written with, as far as is known; NULL. */
static char *provider_of(const struct kms_adopted_options *o, const struct storage_metrics *counts,
			 const char *resource)
{
	return xstrdup_or_null(o->shape ? provider_in(o->shape, resource) : provider_shown(counts, resource));
}

/* --- which key it writes with --- */

static int check_provider(const struct kms_adopted_options *o, const struct storage_metrics *counts, const char *name,
			  bool *ret_by_plugin, struct error **err)
{
	struct storage_key named = {0};
	enum storage_evidence evidence = storage_kms_write_key(counts, name, &named);
	int rc = 0;
	*ret_by_plugin = false;
	for (size_t i = 0; rc == 0 && i < o->look_count; i++) {
		const struct kms_look *look = &o->looks[i];
		/* One that is not well may be why somebody rewrites: what it named before has been adopted, or not. */
		if (look->flaw || !text_equal(look->name, name) || !named.hash)
			continue;
		_cleanup_free_ char *hash = text_sha256_tagged(look->status.key_id, strlen(look->status.key_id));
		*ret_by_plugin = !text_equal(hash, named.hash);
		if (*ret_by_plugin)
			rc = error_set(err, ERROR_REFUSED, "the plugin kms/%s names a key that %s was not told of yet",
				       name, o->kube->name);
	}
	if (rc == 0 && evidence == STORAGE_MOVING)
		rc = error_set(err, ERROR_REFUSED, "%s was last seen to write with a key that kms/%s has replaced",
			       o->kube->name, name);
	if (rc == 0 && evidence == STORAGE_UNSEEN)
		rc = error_set(err, ERROR_REFUSED, "which key of kms/%s %s writes with is not seen", name,
			       o->kube->name);
	storage_key_free(&named);
	return rc;
}

/* The kind of canary that this provider writes, as far as is known; NULL. */
static const char *kind_under(const struct kms_adopted_options *o, const struct storage_metrics *counts,
			      const char *name)
{
	for (size_t k = 0; k < ELEMENTS(kinds); k++) {
		_cleanup_free_ char *writer = provider_of(o, counts, kinds[k]);
		if (text_equal(writer, name))
			return kinds[k];
	}
	return NULL;
}

/* Its counters show then which key it is. */
static int show(const struct kms_adopted_options *o, const char *kind, struct storage_metrics *counts,
		struct error **err)
{
	int rc = canary_touch(o->kube, o->kube->name, kind, err);
	if (rc == 0)
		rc = scrape(o->kube, counts, err);
	int removed = canary_remove(o->kube, o->kube->name, kind, rc == 0 ? err : NULL);
	return rc == 0 ? removed : rc;
}

/* Somebody else's write shows the same. */
static int ask_for_a_write(const struct kms_adopted_options *o, const char *resource, const struct error *unseen,
			   struct error **err)
{
	int rc = error_set(err, ERROR_REFUSED,
			   "%s, and no canary could show it: neither secrets nor configmaps are known to be under it",
			   error_message(unseen));
	error_set_hint(
		err,
		"change an object of %s through %s (a label will do), and try again: its counters show then which "
		"key it writes with; it adopts another one within two minutes",
		resource, o->kube->name);
	return rc;
}

static int check_resource(const struct kms_adopted_options *o, struct storage_metrics *counts, const char *resource,
			  struct error **err)
{
	bool by_plugin = false;
	_cleanup_error_ unseen = NULL;
	_cleanup_error_ failed = NULL;
	_cleanup_free_ char *name = provider_of(o, counts, resource);
	int rc = name ? check_provider(o, counts, name, &by_plugin, &unseen) : 0;
	if (rc == 0 || by_plugin) {
		*err = steal(unseen);
		return rc;
	}
	const char *kind = kind_under(o, counts, name);
	if (!kind)
		return ask_for_a_write(o, resource, unseen, err);
	rc = show(o, kind, counts, &failed);
	if (rc == -ERROR_INTERRUPTED) {
		*err = steal(failed);
		return rc;
	}
	if (rc < 0)
		return error_set(err, ERROR_REFUSED, "%s, and no canary could show it: %s", error_message(unseen),
				 error_message(failed));
	return check_provider(o, counts, name, &by_plugin, err);
}

int kms_check_adopted(const struct kms_adopted_options *o, struct error **err)
{
	struct storage_metrics counts = {0};
	int rc = scrape(o->kube, &counts, err);
	for (size_t i = 0; rc == 0 && i < o->resource_count; i++)
		rc = check_resource(o, &counts, o->resources[i]->resource, err);
	storage_metrics_free(&counts);
	return rc;
}
