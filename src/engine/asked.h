/* What a KeyRotation asks for, judged before anything is written: by whoever creates it, by the controller, and by each
 * agent, which takes on trust no path that does not lead there. Keys of spec.to go by name; what is in the present
 * configuration is meant by its name, any other is made by an agent. */
#pragma once
#include "engine/key_rotation.h"
#include "kube-rekey/path.h"

/* Whether it can be carried out, as far as the words alone tell. -ERROR_REFUSED for what this version does not do, by name;
 * -ERROR_INPUT for what nobody can do, such as sealing to a certificate that is none or past its end. */
_must_check_ int asked_check(const struct key_rotation_spec *spec, struct error **err);
/* The configuration at the end, from the present one. Keys that are to be made (ret_new: labels) are in it without
 * fingerprint: those of spec.to by their names, those of spec.provider by names that only stand for them.
 * A KMS provider is nothing to be made: it is there by its own name, which for spec.renewDek has `wall` in it, when the
 * object was created (key_rotation_created). -ERROR_REFUSED, -ERROR_USAGE and -ERROR_INPUT, naming the key or resource. */
_must_check_ int asked_target(const struct key_rotation_spec *spec, uint64_t wall, const struct config_shape *from,
			      struct config_shape **ret, struct strings *ret_new, struct error **err);
/* Puts the keys that were made into their places in the target; false where one is not there yet. */
bool asked_put_made(const struct key_rotation_spec *spec, const struct object_sealed_key *made, size_t made_count,
		    const struct strings *new_keys, struct config_shape *to);
/* path_make, for agents: -ERROR_REFUSED where something that is encrypted would be written in plaintext. Whoever may ask
 * for rotations is not to get all values by it. */
_must_check_ int asked_path(const struct config_shape *from, const struct config_shape *to, struct path **ret,
			    struct error **err);
/* Whether the path leads from its beginning to what is asked for, whatever the new keys are. -ERROR_REFUSED. */
_must_check_ int asked_leads_there(const struct key_rotation_spec *spec, uint64_t wall, const struct path *path,
				   struct error **err);
/* spec.to of a file's meaning. */
void asked_take_shape(const struct config_shape *shape, struct key_rotation_spec *ret);
