#include "engine/read_back.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"

#define PAGE 500

/* What a metadata-only list shows of one page, as far as the sample wants it. */
struct sample {
	struct kube *kube;
	const struct kube_resource *resource;
	char *namespace_; /* of the objects taken last */
	unsigned taken;
	struct strings namespaces, names; /* pairs, to be read when the page is complete */
};

static int take(void *arg, struct kube_list_item *item)
{
	struct sample *sample = arg;
	if (!text_equal(sample->namespace_, item->namespace_)) {
		free(sample->namespace_);
		sample->namespace_ = xstrdup(item->namespace_);
		sample->taken = 0;
	}
	if (sample->taken >= READ_BACK_SAMPLE)
		return 0;
	sample->taken++;
	strings_add(&sample->namespaces, item->namespace_);
	strings_add(&sample->names, item->name);
	return 0;
}

static int read_sample(struct sample *sample, struct read_back_result *ret, struct error **err)
{
	for (size_t i = 0; i < sample->names.count; i++) {
		const char *namespace_ = sample->namespaces.items[i], *name = sample->names.items[i];
		_cleanup_error_ failed = NULL;
		int rc = kube_get_metadata(sample->kube, sample->resource, *namespace_ ? namespace_ : NULL, name, NULL,
					   NULL, &failed);
		if (rc == -ERROR_NOT_FOUND)
			/* deleted since the list: a server that cannot read an object says 500 to a plain GET */
			continue;
		/* No answer says nothing about the object; a 500 for it, or an odd answer, does. */
		if (rc == -ERROR_NETWORK || rc == -ERROR_BUSY || rc == -ERROR_INTERRUPTED || rc == -ERROR_AUTH)
			return error_set(err, error_code(failed), "reading back %s %s/%s: %s",
					 sample->resource->resource, namespace_, name, error_message(failed));
		if (rc < 0)
			return error_set(err, ERROR_FINDING, "%s %s/%s cannot be read back: %s",
					 sample->resource->resource, namespace_, name, error_message(failed));
		ret->objects++;
		if (i == 0 || !text_equal(namespace_, sample->namespaces.items[i - 1]))
			ret->namespaces++;
	}
	strings_free(&sample->namespaces);
	strings_free(&sample->names);
	return 0;
}

static int read_resource(struct kube *kube, const struct kube_resource *resource, struct read_back_result *ret,
			 struct error **err)
{
	struct sample sample = {.kube = kube, .resource = resource};
	_cleanup_free_ char *token = NULL;
	int rc;
	do {
		_cleanup_free_ char *next = NULL;
		rc = kube_list_fetch(kube,
				     &(struct kube_list_options){.resource = resource,
								 .limit = PAGE,
								 .continue_token = token,
								 .metadata_only = true,
								 .on_item = take,
								 .arg = &sample},
				     &next, NULL, NULL, err);
		if (rc == 0)
			rc = read_sample(&sample, ret, err);
		free(token);
		token = steal(next);
	} while (rc == 0 && !text_empty(token));
	strings_free(&sample.namespaces);
	strings_free(&sample.names);
	free(sample.namespace_);
	return rc;
}

int read_back(struct kube *kube, const struct kube_resource *const *resources, size_t count,
	      struct read_back_result *ret, struct error **err)
{
	*ret = (struct read_back_result){0};
	for (size_t i = 0; i < count; i++) {
		int rc = resources[i]->can_get ? read_resource(kube, resources[i], ret, err) : 0;
		if (rc < 0)
			return rc;
	}
	return 0;
}
