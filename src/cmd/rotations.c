#include "cmd/rotations.h"

#include <stdlib.h>
#include <string.h>

#include "client/kube/custom.h"
#include "kube-rekey/path.h"

#define ROTATIONS_MAX 1000

static int take(void *arg, const cJSON *item, struct error **err)
{
	struct rotations *rotations = arg;
	struct key_rotation *rotation = NULL;
	int rc = key_rotation_parse(item, &rotation, err);
	if (rc < 0)
		return rc;
	rotations->items = xreallocarray(rotations->items, rotations->count + 1, sizeof(struct key_rotation *));
	rotations->items[rotations->count++] = rotation;
	return 0;
}

int rotations_read(struct kube *kube, struct rotations *ret, struct error **err)
{
	struct rotations rotations = {0};
	int rc = kube_custom_list(kube, KEY_ROTATIONS_PATH, ROTATIONS_MAX, take, &rotations, NULL, err);
	if (rc < 0)
		rotations_free(&rotations);
	else
		*ret = rotations;
	return rc;
}

void rotations_free(struct rotations *rotations)
{
	for (size_t i = 0; i < rotations->count; i++)
		key_rotation_free(rotations->items[i]);
	free(rotations->items);
	*rotations = (struct rotations){0};
}

static int compare_text(const char *a, const char *b)
{
	return strcmp(a ? a : "", b ? b : "");
}

/* One that is under way before one that is queued, before those that are over, of which the last. */
static bool shown_before(const struct key_rotation *a, const struct key_rotation *b)
{
	if (rotation_is_over(a) != rotation_is_over(b))
		return !rotation_is_over(a);
	bool a_began = a->status.started_at, b_began = b->status.started_at;
	if (a_began != b_began)
		return a_began;
	return compare_text(a->status.started_at, b->status.started_at) > 0;
}

const struct key_rotation *rotations_to_show(const struct rotations *rotations, const char *name)
{
	const struct key_rotation *chosen = NULL;
	for (size_t i = 0; i < rotations->count; i++) {
		const struct key_rotation *rotation = rotations->items[i];
		if (name ? text_equal(rotation->meta.name, name) : !chosen || shown_before(rotation, chosen))
			chosen = rotation;
	}
	return chosen;
}

int rotations_patch(struct kube *kube, const struct key_rotation *rotation, const char *spec, struct error **err)
{
	_cleanup_free_ char *body = kube_custom_spec_patch(rotation->meta.resource_version, spec);
	const struct kube_custom_request request = {
		.verb = CUSTOM_PATCH, .collection = KEY_ROTATIONS_PATH, .name = rotation->meta.name, .body = body};
	return kube_custom_fetch(kube, &request, NULL, err);
}

bool rotation_is_over(const struct key_rotation *rotation)
{
	return rotation->status.outcome || rotation->meta.deleting;
}

char *rotation_words(const struct key_rotation *rotation)
{
	const struct key_rotation_status *status = &rotation->status;
	if (status->outcome)
		return xstrdup(status->outcome);
	if (rotation->meta.deleting)
		return xstrdup("being deleted");
	const char *phase = text_empty(status->phase) ? "waits for a controller" : status->phase;
	bool paused = text_equal(phase, "Paused"), goes_back = key_rotation_goes_back(rotation);
	const char *asked = goes_back                          ? " (going back)"
			    : rotation->spec.aborted           ? " (abort asked for)"
			    : rotation->spec.paused && !paused ? " (pause asked for)"
							       : "";
	return xasprintf("%s%s", phase, asked);
}

bool rotation_is_late(const struct key_rotation *rotation)
{
	const struct key_rotation_condition *progressing = key_rotation_condition(&rotation->status, "Progressing");
	return progressing && text_equal(progressing->reason, "DeadlineExceeded");
}

static char *names_under_way(const struct rotations *rotations, size_t *ret_count)
{
	_cleanup_strings_ names = {0};
	for (size_t i = 0; i < rotations->count; i++)
		if (!rotation_is_over(rotations->items[i]))
			strings_add(&names, rotations->items[i]->meta.name);
	*ret_count = names.count;
	return strings_join(&names, ", ");
}

static int named(const struct rotations *rotations, const char *name, struct key_rotation **ret, struct error **err)
{
	for (size_t i = 0; i < rotations->count; i++) {
		struct key_rotation *rotation = rotations->items[i];
		if (!text_equal(rotation->meta.name, name))
			continue;
		if (rotation_is_over(rotation)) {
			_cleanup_free_ char *words = rotation_words(rotation);
			return error_set(err, ERROR_INPUT, "KeyRotation %s is over (%s): nothing was changed", name,
					 words);
		}
		*ret = rotation;
		return 0;
	}
	size_t count;
	_cleanup_free_ char *names = names_under_way(rotations, &count);
	int rc = error_set(err, ERROR_NOT_FOUND, "there is no KeyRotation %s", name);
	if (count > 0)
		error_set_hint(err, "under way: %s", names);
	return rc;
}

int rotations_under_way(const struct rotations *rotations, const char *name, struct key_rotation **ret,
			struct error **err)
{
	size_t count;
	if (name)
		return named(rotations, name, ret, err);
	_cleanup_free_ char *names = names_under_way(rotations, &count);
	if (count == 0)
		return error_set(err, ERROR_NOT_FOUND, "no KeyRotation is under way");
	if (count > 1)
		return error_set(err, ERROR_USAGE, "several KeyRotations are under way or queued, say which: %s",
				 names);
	return named(rotations, names, ret, err);
}

int rotation_promotion(const struct key_rotation *rotation)
{
	if (rotation->status.step_count == 0)
		return STEP_NONE;
	_cleanup_(path_freep) struct path *path = path_of_steps(rotation->status.steps, rotation->status.step_count);
	for (size_t i = 0; i + 1 < path->count; i++)
		if (path_changes_write_key(path, i))
			return (int)i + 1;
	return STEP_NONE;
}

bool rotation_counts_steps(const struct key_rotation *rotation, const struct key_server_status *status)
{
	return rotation && !rotation_is_over(rotation) && text_equal(status->path_of, rotation->meta.uid) &&
	       status->going_back == key_rotation_goes_back(rotation);
}

char *rotation_keys(const struct object_key *keys, size_t count)
{
	_cleanup_strings_ labels = {0};
	for (size_t i = 0; i < count; i++) {
		_cleanup_free_ char *label = text_equal(keys[i].provider, "identity")
						     ? xstrdup("plaintext")
						     : xasprintf("%s/%s", keys[i].provider ? keys[i].provider : "?",
								 keys[i].name ? keys[i].name : "?");
		strings_add(&labels, label);
	}
	return strings_join(&labels, ", ");
}
