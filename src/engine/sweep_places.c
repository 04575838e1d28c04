/* Which namespaces there are, in the order of keys, and how many objects: for people, and for lists of one
 * namespace each. */
#include "engine/sweep_internal.h"

#define ASK_TIMEOUT (10 * NS_PER_S)
#define PAGE 500
#define COUNTED_LISTS_MAX 100 /* more requests than that are no courtesy any more */

static const struct kube_resource namespaces = {
	.group = "",
	.version = "v1",
	.plural = "namespaces",
	.kind = "Namespace",
	.singular = "namespace",
	.api_version = "v1",
	.resource = "namespaces",
	.can_list = true,
	.can_get = true,
};

int sweep_key_compare(const char *namespace_a, const char *name_a, const char *namespace_b, const char *name_b)
{
	const unsigned char *a = (const unsigned char *)namespace_a, *b = (const unsigned char *)namespace_b;
	int left, right;

	while (*a != '\0' && *a == *b) {
		a++;
		b++;
	}
	if (*a == '\0' && *b == '\0')
		return strcmp(name_a, name_b);
	/* A namespace's end is the slash behind it: "a-b/" comes before "a/". */
	left = *a != '\0' ? *a : '/';
	right = *b != '\0' ? *b : '/';
	return left - right;
}

static int by_key(const void *a, const void *b)
{
	return sweep_key_compare(*(char *const *)a, "", *(char *const *)b, "");
}

static int on_namespace(void *arg, struct kube_list_item *item)
{
	strings_add(arg, item->name);
	return 0;
}

static int find_namespaces(struct sweep *sweep, struct error **err)
{
	_cleanup_free_ char *token = NULL;
	int rc;

	do {
		struct kube_list_options options = {
			.resource = &namespaces,
			.limit = PAGE,
			.continue_token = token,
			.metadata_only = true,
			.timeout = ASK_TIMEOUT,
			.on_item = on_namespace,
			.arg = &sweep->places,
		};
		char *next = NULL;

		rc = kube_list_fetch(sweep->options->kube, &options, &next, NULL, NULL, err);
		free(token);
		token = next;
	} while (rc == 0 && !text_empty(token));
	if (rc < 0)
		strings_free(&sweep->places);
	return rc;
}

static int on_counted(void *arg, struct kube_list_item *item)
{
	uint64_t *count = arg;

	(void)item;
	(*count)++;
	return 0;
}

/* Over all its lists. */
static int count_resource(struct sweep *sweep, size_t index, bool each, size_t lists, struct error **err)
{
	const struct sweep_options *o = sweep->options;
	uint64_t total = 0;

	for (size_t i = 0; i < lists && (!each || o->resources[index]->namespaced); i++) {
		uint64_t remaining = 0, first = 0;
		struct kube_list_options options = {
			.resource = o->resources[index],
			.namespace_ = each ? sweep->places.items[i] : NULL,
			.limit = 1,
			.metadata_only = true,
			.timeout = ASK_TIMEOUT,
			.on_item = on_counted,
			.arg = &first,
		};
		int rc = kube_list_fetch(o->kube, &options, NULL, NULL, &remaining, err);

		if (rc < 0)
			return rc;
		total += first + remaining;
	}
	sweep_tally_count(&sweep->tally, index, total);
	return 0;
}

static int count_objects(struct sweep *sweep, struct error **err)
{
	const struct sweep_options *o = sweep->options;
	bool each = o->namespaces != NULL && o->namespaces->count > 0;
	size_t lists = each ? sweep->places.count : 1;

	if (o->on_progress == NULL || lists * o->resource_count > COUNTED_LISTS_MAX)
		return 0;
	for (size_t i = 0; i < o->resource_count; i++) {
		int rc = count_resource(sweep, i, each, lists, err);

		if (rc < 0)
			return rc;
	}
	return 0;
}

int sweep_places_find(struct sweep *sweep, struct error **err)
{
	const struct sweep_options *o = sweep->options;
	_cleanup_error_ error = NULL;
	int rc = 0;

	/* Named objects are all that there is to do. */
	for (size_t i = 0; (o->named_count > 0 || o->expected != NULL) && i < o->resource_count; i++)
		sweep_tally_count(&sweep->tally, i, o->named_count > 0 ? 0 : o->expected[i]);
	if (o->namespaces != NULL && o->namespaces->count > 0) {
		for (size_t i = 0; i < o->namespaces->count; i++)
			strings_add(&sweep->places, o->namespaces->items[i]);
		strings_sort_unique(&sweep->places);
	} else {
		rc = find_namespaces(sweep, &error);
	}
	if (sweep->places.count > 0)
		qsort(sweep->places.items, sweep->places.count, sizeof(*sweep->places.items), by_key);
	if (rc == 0 && o->expected == NULL && o->named_count == 0)
		rc = count_objects(sweep, &error);
	if (rc != -ERROR_INTERRUPTED)
		return 0;
	if (err != NULL)
		*err = steal(error);
	return rc;
}

size_t sweep_place(const struct sweep *sweep, const char *namespace_)
{
	char *const *found;

	if (sweep->places.count == 0)
		return 0;
	found = bsearch(&namespace_, sweep->places.items, sweep->places.count, sizeof(*sweep->places.items), by_key);
	return found != NULL ? (size_t)(found - sweep->places.items) : sweep->places.count;
}
