/* KeyRotations as the commands of a person read and change them. */
#pragma once
#include "cmd/session.h"
#include "engine/fleet.h"
#include "engine/key_rotation.h"

struct rotations {
	struct key_rotation **items; /* in the order of their names */
	size_t count;
};
/* All of them, past every cache. Waits. */
_must_check_ int rotations_read(struct kube *kube, struct rotations *ret, struct error **err);
void rotations_free(struct rotations *rotations); /* the contents */
/* The one that is named, or that a person looks for: under way, else queued, else begun last. NULL where there is none. Lent. */
const struct key_rotation *rotations_to_show(const struct rotations *rotations, const char *name);
bool rotation_is_over(const struct key_rotation *rotation);
bool rotation_is_late(const struct key_rotation *rotation); /* it waits for more time */
/* "Done", "Reencrypt", "waits for a controller", "Settle (going back)": in a few words. New string. */
char *rotation_words(const struct key_rotation *rotation);
/* The one that is named, which must not be over, or the only one that is not. Lent. -ERROR_NOT_FOUND, -ERROR_INPUT,
 * -ERROR_USAGE with the names of all that are meant. */
_must_check_ int rotations_under_way(const struct rotations *rotations, const char *name, struct key_rotation **ret,
				     struct error **err);
/* Changes some of the spec of the very object that was read; `spec` is JSON. -ERROR_CONFLICT where it was changed since, as by the
 * controller that tells its progress: it is read, and looked at, again. Waits. */
#define ROTATION_TRIES 20
_must_check_ int rotations_patch(struct kube *kube, const struct key_rotation *rotation, const char *spec,
				 struct error **err);
/* The step from which on a new key writes; STEP_NONE where none does, or the path is not known yet. */
int rotation_promotion(const struct key_rotation *rotation);
/* Whether the steps that a KeyServer reports are counted on the path of this rotation: NULL, one that is over and another one
 * than the server's agent follows have none. */
bool rotation_counts_steps(const struct key_rotation *rotation, const struct key_server_status *status);
/* "secretbox/rekey-...": labels of keys, joined. New string. */
char *rotation_keys(const struct object_key *keys, size_t count);
