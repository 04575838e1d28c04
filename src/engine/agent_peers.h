/* The other API servers of a rotation, as an agent sees them (order.h). Sans-I/O: of what was read. */
#pragma once
#include "client/kube/kube.h"
#include "engine/fleet.h"
#include "engine/key_rotation.h"
#include "engine/kms_look.h"

struct agent_peers {
	const char *name; /* of the own node */
	const struct key_rotation_status *rotation;
	const char *uid; /* the rotation's: on its path steps are counted */
	const struct fleet *fleet;
	const struct key_server_status *own;   /* last report; NULL: none */
	const char *trust_key;                 /* own fingerprint */
	const struct kms_look *const *plugins; /* of this node, that the rotation brings */
	size_t plugin_count;
	const struct kube_identities *identities; /* all Leases, read a moment ago; NULL: not */
	uint64_t now;
};
/* All others that are not forgotten, those that are down included: up to KEY_SERVERS_MAX, with room for them, each to be
 * freed by server_observation_free; the other strings are lent. FACT_KNOWN when the rotation's set, the identity Leases
 * and the reports are the same servers. */
enum fact agent_find_peers(const struct agent_peers *in, struct peer_sight *ret, size_t *ret_count);
