/* What is stored: a census where etcd is at hand, and what the API shows of plaintext resources and of Secrets. */
#include <stdlib.h>

#include "client/kube/object.h"
#include "engine/check_gather_internal.h"
#include "format/pbwire.h"

#define PAGE 100
#define OBJECT_MAX (4u << 20) /* etcd takes no object of more than 1.5 MiB, by default */
#define CUSTOM_OBJECTS "25"   /* of one custom resource that are looked into: they are made alike */
#define CUSTOM_RESOURCES 300u
#define FIELD_NAME 1
#define KEY_MAX 253u /* of a ConfigMap's entry */

static int take_census(const struct check_sources *in, struct check_facts *f, struct error **err)
{
	_cleanup_error_ failed = NULL;
	if (in->cluster->etcd_count == 0) {
		f->etcd_why = xstrdup(in->etcd_error ? error_message(in->etcd_error)
				      : in->api_only ? "only the API is looked at here"
						     : "no etcd is known: --etcd-endpoints URL,... names it; on a "
						       "control-plane node it is found");
		f->census_why = xstrdup(f->etcd_why);
		return 0;
	}
	struct census_options options = in->census;
	options.ask_plugins = true; /* those of the configuration that is at hand */
	int rc = census_take(&options, &f->census, &failed);
	f->another_etcd = rc == -ERROR_REFUSED;
	return check_keep_why(rc, &failed, &f->census_why, err);
}

/* --- configmaps --- */

struct reading {
	struct check_facts *f;
	const struct kube_list_item *item;
	struct pb_reader *reader;
	bool told;
	struct secret *key;
};

static enum pb_enter on_field(void *arg, const uint32_t *path, unsigned depth, uint64_t len)
{
	struct reading *r = arg;
	if (depth == 1 && (path[0] == 2 || path[0] == 3))
		return PB_MESSAGE;
	if (depth != 2 || path[1] != FIELD_NAME || len > KEY_MAX)
		return PB_SKIP;
	secret_free(r->key);
	r->key = secret_new(KEY_MAX + 1);
	return PB_BYTES;
}

static int on_bytes(void *arg, const uint32_t *path, unsigned depth, const uint8_t *bytes, size_t len)
{
	struct reading *r = arg;
	(void)path, (void)depth;
	return secret_append(r->key, bytes, len);
}

static int on_bytes_end(void *arg, const uint32_t *path, unsigned depth)
{
	struct reading *r = arg;
	(void)path, (void)depth;
	if (r->told || !check_names_credential(secret_text(r->key)))
		return 0;
	r->told = true; /* an object is one, however many fields it has */
	check_add_credential(r->f, "configmaps", r->item->namespace_, r->item->name, secret_text(r->key));
	return 0;
}

static int on_item(void *arg, struct kube_list_item *item)
{
	struct reading *r = arg;
	r->item = item;
	r->told = false;
	pb_reader_reset(r->reader);
	int rc = pb_feed(r->reader, secret_data(item->object), secret_len(item->object));
	return rc == 0 ? pb_finish(r->reader) : rc;
}

static int read_configmaps(struct kube *kube, const struct kube_resource *configmaps, struct check_facts *f,
			   struct error **err)
{
	static const struct pb_handler handler = {
		.on_field = on_field, .on_bytes = on_bytes, .on_bytes_end = on_bytes_end};
	struct reading r = {.f = f};
	r.reader = pb_reader_new(&handler, &r);
	int rc = kube_list_all(kube, configmaps, PAGE, OBJECT_MAX, on_item, &r, err);
	pb_reader_free(r.reader);
	secret_free(r.key);
	return rc;
}

/* --- custom resources --- */

static int read_custom(struct kube *kube, const struct kube_resource *resource, struct check_facts *f,
		       struct error **err)
{
	_cleanup_json_ list = NULL;
	_cleanup_free_ char *collection = kube_path(resource, NULL, NULL),
			    *path = xasprintf("%s?limit=" CUSTOM_OBJECTS, collection);
	int rc = kube_call(kube, "GET", path, NULL, NULL, &list, err);
	const cJSON *items = rc == 0 ? json_at(list, "items", NULL) : NULL;
	for (const cJSON *item = items ? items->child : NULL; item; item = item->next) {
		_cleanup_free_ char *field = check_credential_in(item);
		const cJSON *meta = json_at(item, "metadata", NULL);
		const char *name = json_text_at(meta, "name");
		if (field)
			check_add_credential(f, resource->resource, json_text_at(meta, "namespace"), name ? name : "?",
					     field);
	}
	return rc;
}

static bool is_looked_into(const struct check_facts *f, const struct kube_resource *resource)
{
	return resource->custom && resource->can_list && !resource->aggregated &&
	       !text_ends(resource->resource, "." KEY_GROUP) && !check_write_key(f, resource->resource);
}

static int find_credentials(const struct check_sources *in, struct check_facts *f, struct error **err)
{
	struct kube *kube = &in->cluster->kube;
	const struct kube_resources *resources = &in->cluster->resources;
	const struct kube_resource *configmaps = kube_resources_find(resources, "configmaps");
	_cleanup_error_ failed = NULL;
	size_t looked = 0;
	int rc = 0;
	if (!f->shape) {
		f->credentials_why = xstrdup(check_why_no_shape(f));
		return 0;
	}
	if (configmaps && !check_write_key(f, "configmaps")) {
		strings_add(&f->plain_resources, "configmaps");
		rc = read_configmaps(kube, configmaps, f, &failed);
	}
	for (size_t i = 0; rc == 0 && i < resources->count; i++) {
		if (!is_looked_into(f, &resources->items[i]))
			continue;
		if (looked++ == CUSTOM_RESOURCES) {
			rc = error_set(&failed, ERROR_LIMIT, "more than %u custom resources", CUSTOM_RESOURCES);
			break;
		}
		strings_add(&f->plain_resources, resources->items[i].resource);
		rc = read_custom(kube, &resources->items[i], f, &failed);
	}
	return check_keep_why(rc, &failed, &f->credentials_why, err);
}

/* --- the trust key --- */

static int search_secrets(const struct check_sources *in, struct check_facts *f, struct error **err)
{
	const struct kube_resource *secrets = kube_resources_find(&in->cluster->resources, "secrets");
	_cleanup_error_ failed = NULL;
	if (in->api_only) {
		f->in_secrets_why =
			xstrdup("only the API is looked at here, and the trust key is on control-plane nodes");
		return 0;
	}
	int rc = secrets ? trust_key_search(&in->cluster->kube, secrets, in->trust_key, &f->in_secrets, &failed)
			 : error_set(&failed, ERROR_PROTOCOL, "%s serves no secrets", in->cluster->kube.name);
	if (in->trust_key_why)
		f->trust_key_why = xstrdup(in->trust_key_why);
	return check_keep_why(rc, &failed, &f->in_secrets_why, err);
}

int check_gather_values(const struct check_sources *in, struct check_facts *ret, struct error **err)
{
	int rc = take_census(in, ret, err);
	if (rc == 0)
		rc = find_credentials(in, ret, err);
	return rc == 0 ? search_secrets(in, ret, err) : rc;
}
