#include "engine/read_back.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"

#define PAGE 500
#define TRIES 4 /* of an object that is answered with 500: a moment's trouble of etcd looks like that, too */
#define TRY_INTERVAL NS_PER_S

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

/* What came of one GET. */
struct answer {
	bool done;
	int rc;
	unsigned status;
	struct error *error;
};

static void take_answer(void *arg, struct kube_read_result *result)
{
	struct answer *answer = arg;
	answer->done = true;
	answer->rc = result->rc;
	answer->status = result->status;
	answer->error = steal(result->error);
}

/* A plain GET, which reads etcd. */
static int get(struct sample *sample, const char *namespace_, const char *name, unsigned *ret_status,
	       struct error **err)
{
	struct answer answer = {0};
	struct kube_read_call *call = kube_read_start(sample->kube, sample->resource, *namespace_ ? namespace_ : NULL,
						      name, true, 0, take_answer, &answer);
	int rc = loop_run_until(sample->kube->loop, &answer.done, 0, err);
	if (rc < 0) {
		kube_read_cancel(call);
		return rc;
	}
	*ret_status = answer.status;
	if (answer.rc < 0 && err)
		*err = steal(answer.error);
	error_free(answer.error);
	return answer.rc;
}

/* -ERROR_FINDING for an object that the server cannot read: it says 500, again and again. 429 and 503 say nothing about
 * the object, nor does silence. */
static int read_object(struct sample *sample, const char *namespace_, const char *name, struct error **err)
{
	_cleanup_error_ failed = NULL;
	unsigned status = 0;
	int rc = get(sample, namespace_, name, &status, &failed);
	for (unsigned tried = 1; rc == -ERROR_BUSY && status == 500 && tried < TRIES; tried++) {
		error_clear(&failed);
		rc = loop_pause(sample->kube->loop, TRY_INTERVAL, &failed);
		if (rc == 0)
			rc = get(sample, namespace_, name, &status, &failed);
	}
	if (rc == 0 || rc == -ERROR_NOT_FOUND)
		return rc;
	bool unsaid = (rc == -ERROR_BUSY && status != 500) || rc == -ERROR_NETWORK || rc == -ERROR_INTERRUPTED ||
		      rc == -ERROR_AUTH;
	if (unsaid)
		return error_set(err, error_code(failed), "reading back %s %s/%s: %s", sample->resource->resource,
				 namespace_, name, error_message(failed));
	rc = error_set(err, ERROR_FINDING, "%s %s/%s cannot be read back: %s", sample->resource->resource, namespace_,
		       name, error_message(failed));
	error_set_hint(err, "the old key is kept as it is; when the object can be read again, run the same command "
			    "again");
	return rc;
}

static int read_sample(struct sample *sample, struct read_back_result *ret, struct error **err)
{
	for (size_t i = 0; i < sample->names.count; i++) {
		const char *namespace_ = sample->namespaces.items[i], *name = sample->names.items[i];
		int rc = read_object(sample, namespace_, name, err);
		if (rc == -ERROR_NOT_FOUND)
			/* deleted since the list: a server that cannot read an object says 500 to a plain GET */
			continue;
		if (rc < 0)
			return rc;
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
