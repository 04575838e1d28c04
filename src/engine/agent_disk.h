/* What an agent keeps from one process to the next: STATE_DIR/agent.json, mode 0600, replaced atomically. Who it is, and
 * how far the orders went that it acknowledged; see agent_state in order.h. */
#pragma once
#include "base/alloc.h"
#include "base/error.h"
#include "engine/journal.h"
#include "kube-rekey/order.h"

struct agent_disk {
	char *incarnation, *rotation, *rotation_name;
	uint64_t epoch, sequence;
	int written_step;
	uint64_t rescues; /* by this agent alone, as earlier versions counted them here */
};
/* Reads it; where there is none, a new incarnation, on disk. -ERROR_INPUT for a file that is none of ours: an agent that
 * does not know what it acknowledged must not act. */
_must_check_ int agent_disk_open(const char *state_directory, struct agent_disk *ret, struct error **err);
/* Held by the agent that works with the directory, as long as it does. New string. */
char *agent_lock_path(const char *state_directory);
_must_check_ int agent_disk_save(const char *state_directory, const struct agent_disk *disk, struct error **err);
void agent_disk_free(struct agent_disk *disk); /* the contents */
/* Where the rotation's journal is of an earlier version it counts what the agent then counted. */
void agent_disk_tell_alone(const struct agent_disk *disk, struct journal *journal);
/* Lends its strings. The journal, not the disk, counts rescues: 0. */
struct agent_state agent_disk_state(const struct agent_disk *disk);
