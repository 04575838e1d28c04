#include "engine/fleet_room.h"

#include <stdlib.h>

#include "engine/sweep.h"

#define POINT_SPACING UINT64_C(500000000) /* ns; as many as there are cover FLEET_ROOM_SILENCE */
#define TELLING (UINT64_C(32) << 20)      /* bytes: an etcd that holds so many more has grown */

static struct fleet_bytes less(struct fleet_bytes a, struct fleet_bytes b)
{
	return (struct fleet_bytes){a.known - b.known, a.most - b.most};
}

static void forget_members(struct fleet_written *written)
{
	for (size_t i = 0; i < written->member_count; i++) {
		free(written->members[i].server);
		free(written->members[i].member);
	}
	free(written->members);
	written->members = NULL;
	written->member_count = 0;
}

void fleet_written_begin(struct fleet_written *written, uint64_t now)
{
	forget_members(written);
	written->begun = now;
	written->before = written->all;
	fleet_written_add(written, (struct fleet_bytes){0}, now);
}

void fleet_written_add(struct fleet_written *written, struct fleet_bytes bytes, uint64_t now)
{
	unsigned last = (written->count + FLEET_WRITTEN_POINTS - 1) % FLEET_WRITTEN_POINTS;
	written->all.known = written->before.known + bytes.known;
	written->all.most = written->before.most + bytes.most;
	if (written->count > 0 && now < written->times[last] + POINT_SPACING)
		return;
	written->times[written->count % FLEET_WRITTEN_POINTS] = now;
	written->bytes[written->count % FLEET_WRITTEN_POINTS] = written->all;
	written->count++;
}

struct fleet_bytes fleet_written_since(const struct fleet_written *written, uint64_t at)
{
	unsigned kept = written->count < FLEET_WRITTEN_POINTS ? written->count : FLEET_WRITTEN_POINTS;
	struct fleet_bytes before = {0};
	for (unsigned i = written->count - kept; i < written->count; i++)
		if (written->times[i % FLEET_WRITTEN_POINTS] <= at)
			before = written->bytes[i % FLEET_WRITTEN_POINTS];
	return less(written->all, before);
}

void fleet_written_free(struct fleet_written *written)
{
	forget_members(written);
	*written = (struct fleet_written){0};
}

/* --- what members make of it --- */

static struct fleet_growth *find_place(const struct fleet_written *written, const struct fleet_server *server,
				       size_t nth)
{
	for (size_t i = 0; i < written->member_count; i++) {
		struct fleet_growth *growth = &written->members[i];
		if (growth->nth == nth && text_equal(growth->server, server->last->meta.name))
			return growth;
	}
	return NULL;
}

/* Of the member that is told of in that place now. */
static struct fleet_growth *find_growth(const struct fleet_written *written, const struct fleet_server *server,
					size_t nth)
{
	struct fleet_growth *growth = find_place(written, server, nth);
	return growth && text_equal(growth->member, server->last->status.members[nth].name) ? growth : NULL;
}

/* One place for each, however many names somebody tells there one after the other. */
static struct fleet_growth *make_growth(struct fleet_written *written, const struct fleet_server *server, size_t nth)
{
	struct fleet_growth *growth = find_place(written, server, nth);
	if (!growth) {
		written->members =
			xreallocarray(written->members, written->member_count + 1, sizeof(*written->members));
		growth = &written->members[written->member_count++];
		*growth = (struct fleet_growth){0};
	}
	free(growth->server);
	free(growth->member);
	*growth = (struct fleet_growth){.server = xstrdup(server->last->meta.name),
					.member = xstrdup_or_null(server->last->status.members[nth].name),
					.nth = nth};
	return growth;
}

/* One that was compacted meanwhile is looked at from there on: what it grew by before does not show any more. */
static void see_member(struct fleet_written *written, const struct fleet_server *server, size_t nth)
{
	const struct key_server_member *member = &server->last->status.members[nth];
	struct fleet_growth *growth = find_growth(written, server, nth);
	uint64_t until = written->all.known - fleet_written_since(written, server->sizes_at).known;
	if (growth && server->sizes_at <= growth->told_at)
		return;
	if (!growth)
		growth = make_growth(written, server, nth);
	if (growth->told_at == 0 || member->db_size_in_use < growth->first_in_use) {
		growth->first_file = member->db_size;
		growth->first_in_use = member->db_size_in_use;
		growth->first_written = until;
		growth->file_grew = growth->in_use_grew = false;
	}
	growth->file_grew = growth->file_grew || member->db_size > growth->first_file;
	growth->in_use_grew = growth->in_use_grew || member->db_size_in_use > growth->first_in_use;
	growth->written = until;
	growth->told_at = server->sizes_at;
}

void fleet_written_see(struct fleet_written *written, const struct fleet *fleet, uint64_t now)
{
	for (size_t i = 0; i < fleet->count; i++) {
		const struct fleet_server *server = &fleet->servers[i];
		bool news = server->sizes_at > written->begun && now <= server->sizes_at + FLEET_ROOM_SILENCE;
		for (size_t m = 0; news && m < server->last->status.member_count; m++)
			if (server->last->status.members[m].db_size > 0)
				see_member(written, server, m);
	}
}

/* What may have been added since it was told: all that may have been written, but to an etcd that holds nothing of it, or a file
 * that has room for it. Both are seen by this, that it does not grow while enough is written. */
static uint64_t added(const struct fleet_growth *growth, bool grew, struct fleet_bytes since)
{
	return growth && !grew && growth->written - growth->first_written >= TELLING ? 0 : since.most;
}

/* --- whether there is room --- */

static uint64_t higher(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static bool tells(const struct fleet_server *server)
{
	return server->last->status.etcd_size_age_milliseconds > 0;
}

/* As if it had grown by so much. */
static unsigned pressure(const struct key_server_member *member, uint64_t more_file, uint64_t more_in_use,
			 bool *ret_file)
{
	uint64_t in_use = member->db_size_in_use ? member->db_size_in_use + more_in_use : 0;
	uint64_t quota = sweep_quota_of(member->db_size, member->db_quota);
	return sweep_quota_pressure(higher(member->db_size + more_file, in_use), in_use, quota, ret_file);
}

/* A report is some seconds old, and until the next one etcd is filled as fast as before, or faster by what is written. */
static char *look(const struct fleet_server *server, size_t nth, const struct fleet_written *written, uint64_t now)
{
	const struct key_server_member *member = &server->last->status.members[nth];
	const struct fleet_growth *growth = find_growth(written, server, nth);
	const struct fleet_bytes since = fleet_written_since(written, server->sizes_at);
	bool file = false;
	unsigned percent = pressure(member, 0, 0, &file);
	uint64_t by_speed = member->db_grows / 1000 * ((now - server->sizes_at) / 1000000);
	uint64_t in_file = higher(by_speed, added(growth, growth && growth->file_grew, since));
	uint64_t in_use = higher(by_speed, added(growth, growth && growth->in_use_grew, since));
	if (percent == 0 && pressure(member, in_file, in_use, &file) == 0)
		return NULL;
	_cleanup_free_ char *by = xasprintf("as the agent of %s tells", server->last->meta.name);
	const char *name = member->name ? member->name : "";
	if (percent)
		return sweep_quota_words(name, by, percent, file);
	return xasprintf("etcd member %s (%s) %s", name, by,
			 pressure(member, by_speed, by_speed, &file)
				 ? "fills so fast that the next report is waited for"
				 : "may fill before the next report, which is waited for");
}

static char *look_at_members(const struct fleet_server *server, const struct fleet_written *written, uint64_t now)
{
	const struct key_server_status *status = &server->last->status;
	char *why = NULL;
	for (size_t i = 0; !why && i < status->member_count; i++)
		if (status->members[i].db_size > 0)
			why = look(server, i, written, now);
	return why;
}

char *fleet_room(const struct fleet *fleet, const struct fleet_written *written, uint64_t now)
{
	const struct fleet_server *silent = NULL;
	bool known = false;
	char *why = NULL;
	for (size_t i = 0; !why && i < fleet->count; i++) {
		const struct fleet_server *server = &fleet->servers[i];
		bool news = server->sizes_at > 0 && now <= server->sizes_at + FLEET_ROOM_SILENCE;
		if (news)
			why = look_at_members(server, written, now);
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
