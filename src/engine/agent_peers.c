/* The other API servers of a rotation, as an agent may count on them: what KeyRotation.status says of the set is held
 * against the identity Leases, which each server renews itself, and against the reports of all agents. */
#include "engine/agent_peers.h"

#include "base/clock.h"
#include "base/text.h"
#include "engine/fleet_kms.h"

static bool same_keys(const struct agent_peers *in, const struct key_server_status *peer)
{
	const struct key_server_status *own = in->own;
	if (!own || !text_equal(peer->trust_key, in->trust_key))
		return false;
	for (size_t i = 0; i < own->key_count; i++)
		for (size_t k = 0; k < peer->key_count; k++)
			if (text_equal(own->keys[i].provider, peer->keys[k].provider) &&
			    text_equal(own->keys[i].name, peer->keys[k].name) &&
			    !text_equal(own->keys[i].fingerprint, peer->keys[k].fingerprint))
				return false;
	return true;
}

/* An old report says nothing of them; a key ID that this node's plugin does not name is nobody's. */
static bool same_plugins(const struct agent_peers *in, const struct fleet_server *peer)
{
	if (peer->looked_at == 0 || in->now > peer->looked_at + FLEET_SILENCE)
		return false;
	for (size_t i = 0; i < in->plugin_count; i++) {
		const struct kms_witness it = {"", &peer->last->status};
		const char *key_id = NULL;
		_cleanup_free_ char *doubt =
			fleet_kms_doubt(&it, 1, in->plugins[i]->name, in->plugins[i]->endpoint, &key_id);
		if (doubt || in->plugins[i]->flaw || !text_equal(key_id, in->plugins[i]->status.key_id))
			return false;
	}
	return true;
}

static uint64_t quiet_for(const struct key_server_status *status)
{
	return status->quiet_milliseconds < UINT64_MAX / NS_PER_MS ? status->quiet_milliseconds * NS_PER_MS : 0;
}

static void see(const struct agent_peers *in, const char *name, struct peer_sight *ret)
{
	const struct fleet_server *server = fleet_find(in->fleet, name);
	struct agent_report report = fleet_report(server);
	*ret = (struct peer_sight){.rotation = report.rotation,
				   .epoch = report.epoch,
				   .at_work = server && server->last->status.at_work,
				   .same_plugins = server && same_plugins(in, server),
				   .same_keys = server && same_keys(in, &server->last->status)};
	if (fleet_is_fresh(server, in->now)) {
		ret->quiet_for = quiet_for(&server->last->status);
		ret->reported_after = server->landed_after;
	}
	fleet_observe(server, name, in->uid, in->rotation->back_from != STEP_NONE, in->now, &ret->seen);
	fleet_bound_steps(&ret->seen, key_rotation_steps(in->rotation));
}

static const struct key_rotation_server *in_set(const struct agent_peers *in, const char *name)
{
	for (size_t i = 0; i < in->rotation->server_count; i++)
		if (text_equal(in->rotation->servers[i].name, name))
			return &in->rotation->servers[i];
	return NULL;
}

/* A Lease that is there is one that counts: who renewed it when, only clocks of others could tell. */
static bool leases_match(const struct agent_peers *in)
{
	for (size_t i = 0; i < in->identities->count; i++) {
		const struct kube_identity *lease = &in->identities->items[i];
		const char *name = kube_identity_name(lease);
		const struct key_rotation_server *server = in_set(in, name);
		if (!server || server->forgotten || !text_equal(server->identity, lease->lease_name))
			return false;
	}
	return in->identities->count > 0;
}

/* Every report is of a server of the set; and none that is forgotten has just reported: only a person can forget one that
 * is gone for good, and whoever writes that of a server that is there wants it to be passed over. */
static bool reports_match(const struct agent_peers *in)
{
	for (size_t i = 0; i < in->fleet->count; i++) {
		const struct fleet_server *reporter = &in->fleet->servers[i];
		const struct key_rotation_server *server = in_set(in, reporter->last->meta.name);
		bool reports = reporter->last->status.beat > 0 && in->now <= reporter->beat_read_at + FLEET_SILENCE;
		if (!server || (server->forgotten && reports))
			return false;
	}
	return true;
}

enum fact agent_find_peers(const struct agent_peers *in, struct peer_sight *ret, size_t *ret_count)
{
	const struct key_rotation_server *own = in_set(in, in->name);
	for (size_t i = 0; i < in->rotation->server_count; i++) {
		const struct key_rotation_server *server = &in->rotation->servers[i];
		if (!server->forgotten && !text_equal(server->name, in->name))
			see(in, server->name, &ret[(*ret_count)++]);
	}
	bool match = own && !own->forgotten && in->identities && leases_match(in) && reports_match(in);
	return match ? FACT_KNOWN : FACT_UNKNOWN;
}
