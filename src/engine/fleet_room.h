/* Whether etcd has room for what a sweep writes, by what the agents report: the controller itself does not reach etcd. Members
 * hold the same, so one agent that tells of each etcd is enough. Pure. */
#pragma once
#include "engine/fleet.h"

#define FLEET_ROOM_SILENCE UINT64_C(20000000000) /* ns: how full etcd was longer ago shows nothing */

/* Bytes as far as they are known, and at most: of what is patched only the metadata are seen. */
struct fleet_bytes {
	uint64_t known, most;
};
/* What a member came to while a sweep wrote, from the first to the last time that it was told. */
struct fleet_growth {
	char *server, *member; /* who told, of whom */
	size_t nth;            /* of those that it told of */
	uint64_t first_file, first_in_use, told_at;
	uint64_t first_written, written; /* as far as is known, until these two */
	bool file_grew, in_use_grew;
};
/* What the sweeps of a rotation have written so far, and when: reports tell of it some seconds later. {0} before the first. */
#define FLEET_WRITTEN_POINTS 64
struct fleet_written {
	uint64_t times[FLEET_WRITTEN_POINTS];
	struct fleet_bytes bytes[FLEET_WRITTEN_POINTS], all, before; /* before: by sweeps before this one */
	unsigned count;
	uint64_t begun;               /* this one */
	struct fleet_growth *members; /* as told since then */
	size_t member_count;
};
void fleet_written_begin(struct fleet_written *written, uint64_t now);
void fleet_written_add(struct fleet_written *written, struct fleet_bytes bytes,
		       uint64_t now);                                                     /* bytes: by this sweep */
struct fleet_bytes fleet_written_since(const struct fleet_written *written, uint64_t at); /* rather too much */
/* What came of it, by reports that were read. */
void fleet_written_see(struct fleet_written *written, const struct fleet *fleet, uint64_t now);
void fleet_written_free(struct fleet_written *written); /* its contents; {0} then */

/* NULL: there is room, or no agent ever told, being older than what it would have to tell. Else why a sweep must pause, who says
 * so, and what ends it: a member is too full, or may be by now; or those who told are silent. New string. */
char *fleet_room(const struct fleet *fleet, const struct fleet_written *written, uint64_t now);
/* Whether any agent has ever told. */
bool fleet_room_is_told(const struct fleet *fleet);
