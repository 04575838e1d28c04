#include "engine/fleet_room.h"

#include "engine/sweep.h"

static bool tells(const struct fleet_server *server)
{
	return server->last->status.etcd_size_age_milliseconds > 0;
}

/* As if it had grown by so much. */
static unsigned pressure(const struct key_server_member *member, uint64_t more, bool *ret_file)
{
	uint64_t in_use = member->db_size_in_use ? member->db_size_in_use + more : 0;
	uint64_t quota = sweep_quota_of(member->db_size, member->db_quota);
	return sweep_quota_pressure(member->db_size + more, in_use, quota, ret_file);
}

/* A report is some seconds old, and until the next one etcd is filled as fast as before. */
static char *look(const struct fleet_server *server, const struct key_server_member *member, uint64_t passed)
{
	bool file = false;
	unsigned percent = pressure(member, 0, &file);
	uint64_t more = member->db_grows / 1000 * (passed / 1000000);
	if (percent == 0 && (more == 0 || pressure(member, more, &file) == 0))
		return NULL;
	_cleanup_free_ char *by = xasprintf("as the agent of %s tells", server->last->meta.name);
	const char *name = member->name ? member->name : "";
	return percent ? sweep_quota_words(name, by, percent, file)
		       : xasprintf("etcd member %s (%s) fills so fast that the next report is waited for", name, by);
}

static char *look_at_members(const struct fleet_server *server, uint64_t now)
{
	const struct key_server_status *status = &server->last->status;
	char *why = NULL;
	for (size_t i = 0; !why && i < status->member_count; i++)
		if (status->members[i].db_size > 0)
			why = look(server, &status->members[i], now - server->sizes_at);
	return why;
}

char *fleet_room(const struct fleet *fleet, uint64_t now)
{
	const struct fleet_server *silent = NULL;
	bool known = false;
	char *why = NULL;
	for (size_t i = 0; !why && i < fleet->count; i++) {
		const struct fleet_server *server = &fleet->servers[i];
		bool news = server->sizes_at > 0 && now <= server->sizes_at + FLEET_ROOM_SILENCE;
		if (news)
			why = look_at_members(server, now);
		else if (tells(server))
			silent = server;
		known = known || news;
	}
	if (why || known || !silent)
		return why;
	return xasprintf("no agent tells how full etcd is (the one of %s did before)", silent->last->meta.name);
}

bool fleet_room_is_told(const struct fleet *fleet)
{
	bool told = false;
	for (size_t i = 0; i < fleet->count; i++)
		told = told || tells(&fleet->servers[i]);
	return told;
}
