#include "engine/agent_disk.h"

#include <errno.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json_read.h"
#include "engine/object_fields.h"

#define AGENT_FILE_MAX (64u << 10)
#define INCARNATION_BYTES 16

#define DISK struct agent_disk
static const struct object_field disk_fields[] = {
	OBJECT_TEXT(DISK, incarnation, "incarnation", 64),
	OBJECT_TEXT(DISK, rotation, "rotation", 64),
	OBJECT_TEXT(DISK, rotation_name, "rotationName", 253),
	OBJECT_NUMBER(DISK, epoch, "epoch", OBJECT_NUMBER_MAX, 0),
	OBJECT_NUMBER(DISK, sequence, "sequence", OBJECT_NUMBER_MAX, 0),
	OBJECT_STEP(DISK, written_step, "writtenStep"),
	OBJECT_NUMBER(DISK, rescues, "rescues", OBJECT_NUMBER_MAX, 0),
};
#undef DISK
static const struct object_record disk_record = {disk_fields, ELEMENTS(disk_fields), sizeof(struct agent_disk)};

static char *file_of(const char *state_directory)
{
	return xasprintf("%s/agent.json", state_directory);
}

void agent_disk_free(struct agent_disk *disk)
{
	object_release(&disk_record, disk);
}

struct agent_state agent_disk_state(const struct agent_disk *disk)
{
	return (struct agent_state){.incarnation = disk->incarnation,
				    .rotation = disk->rotation,
				    .epoch = disk->epoch,
				    .sequence = disk->sequence,
				    .written_step = disk->written_step};
}

void agent_disk_tell_alone(const struct agent_disk *disk, struct journal *journal)
{
	if (!journal->no_alone || !text_equal(journal->rotation, disk->rotation))
		return;
	journal->alone = disk->rescues < journal->rescues ? (unsigned)disk->rescues : journal->rescues;
	journal->no_alone = false;
}

static int parse(const char *path, const struct secret *content, struct agent_disk *ret, struct error **err)
{
	_cleanup_json_ json = NULL;
	int rc = json_parse(secret_text(content), secret_len(content), path, &json, err);
	if (rc == 0)
		rc = object_read(&disk_record, json, ret, err);
	if (rc == 0 && !ret->incarnation)
		rc = error_set(err, ERROR_INPUT, "%s: it has no incarnation", path);
	return rc < 0 ? error_wrap(err, rc, "the agent's own state") : 0;
}

static int write_file(const char *state_directory, const struct agent_disk *disk, const char *expect,
		      struct error **err)
{
	_cleanup_free_ char *path = file_of(state_directory);
	struct json_writer w = JSON_WRITER_INIT(AGENT_FILE_MAX);
	int rc = object_write(&disk_record, disk, &w, err);
	const char *text = rc == 0 ? json_text(&w) : NULL;
	if (text) {
		_cleanup_secret_ content = secret_from(text, strlen(text));
		enum file_replaced replaced;
		rc = file_replace(path, content, expect, 0600, &replaced, err);
	}
	json_writer_free(&w);
	return rc;
}

int agent_disk_save(const char *state_directory, const struct agent_disk *disk, struct error **err)
{
	_cleanup_free_ char *path = file_of(state_directory), *present = NULL;
	/* One agent has the directory, by its lock. */
	int rc = file_sha256(path, AGENT_FILE_MAX, &present, err);
	return rc == 0 ? write_file(state_directory, disk, present, err) : rc;
}

static int make_new(const char *state_directory, struct agent_disk *ret, struct error **err)
{
	_cleanup_secret_ random = secret_random(INCARNATION_BYTES);
	object_defaults(&disk_record, ret);
	ret->incarnation = text_hex(secret_data(random), secret_len(random));
	int rc = file_make_directory(state_directory, err);
	return rc == 0 ? write_file(state_directory, ret, NULL, err) : rc;
}

char *agent_lock_path(const char *state_directory)
{
	return xasprintf("%s/agent.lock", state_directory);
}

int agent_disk_open(const char *state_directory, struct agent_disk *ret, struct error **err)
{
	_cleanup_free_ char *path = file_of(state_directory);
	_cleanup_secret_ content = NULL;
	*ret = (struct agent_disk){0};
	if (access(path, F_OK) != 0 && errno == ENOENT)
		return make_new(state_directory, ret, err);
	int rc = file_read_private(path, AGENT_FILE_MAX, &content, err);
	return rc == 0 ? parse(path, content, ret, err) : rc;
}
