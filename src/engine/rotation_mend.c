/* An older file was put over ours while nobody was there, and the API server cannot start for want of a key, or lets nobody
 * begin: the read key is added again from what this machine has. */
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "engine/agent_disk.h"
#include "engine/rotation_internal.h"

/* The step whose file lies there, byte for byte as it was left, when a new key may have been written with since and the next step
 * only adds a read key; else STEP_NONE. Before that no value can be under a new key: who put an older file there may have meant
 * it. */
static int step_behind(const struct journal *journal, const struct target_content *present)
{
	int step = journal_step_of(journal, present->sha256);
	int written = journal_written_step(journal, present->sha256);
	bool behind = step != STEP_NONE && step < written && journal_promoted(journal);
	bool adds = behind && !journal->going_back && !path_drops(journal->path, (size_t)step) &&
		    !path_changes_write_key(journal->path, (size_t)step);
	return adds ? step : STEP_NONE;
}

static int make_text(const struct journal *journal, const struct target_content *present, int to,
		     const char *state_directory, struct secret **ret, struct error **err)
{
	_cleanup_keys_ keys = {0};
	_cleanup_free_ char *held = xasprintf("%s/rotating", state_directory),
			    *retired = xasprintf("%s/retired", state_directory);
	_cleanup_secret_ random = secret_random(12);
	_cleanup_free_ char *nonce = text_hex(secret_data(random), secret_len(random));
	keys_add_config(&keys, present->config);
	int rc = old_keys_load(held, &journal->new_keys, &keys, err);
	if (rc == 0)
		rc = old_keys_load(retired, &journal->old_keys, &keys, err);
	if (rc < 0)
		return rc;
	const struct keyring keyring = keys_view(&keys);
	return encryption_config_edit(present->config, journal->path->steps[to], &keyring, nonce, ret, err);
}

static int put_in_place(const struct target *target, struct journal *journal, const struct target_content *present,
			int to, const struct secret *text, struct error **err)
{
	_cleanup_free_ char *sha256 = text_sha256_tagged(secret_data(text), secret_len(text));
	journal_add_next(journal, to, sha256, true, false);
	int rc = journal_write(target->path, journal, err);
	if (rc == 0)
		rc = target_write(target, text, present->sha256, err);
	if (rc == 0 && journal_in_place(journal, sha256))
		rc = journal_write(target->path, journal, err);
	return rc;
}

/* Under the lock. */
static int mend(const struct target *target, const char *state_directory, char **ret_text, struct error **err)
{
	_cleanup_(journal_freep) struct journal *journal = NULL;
	_cleanup_secret_ text = NULL;
	struct target_content present = {0};
	bool read =
		journal_read(target->path, &journal, NULL) == 0 && journal && target_read(target, &present, NULL) == 0;
	int step = read ? step_behind(journal, &present) : STEP_NONE;
	int rc = step == STEP_NONE ? 0 : make_text(journal, &present, step + 1, state_directory, &text, err);
	if (rc == 0 && text)
		rc = put_in_place(target, journal, &present, step + 1, text, err);
	target_content_free(&present);
	if (rc < 0)
		return error_wrap(err, rc, "%s is older than what rotation %s wrote, and its read key was not added",
				  target->path, journal->rotation);
	if (text)
		*ret_text = xasprintf("%s was older than what rotation %s wrote: the read key that it lacked was added",
				      target->path, journal->rotation);
	return text ? 1 : 0;
}

int rotation_mend_alone(const char *config_path, const char *state_directory, char **ret_text, struct error **err)
{
	_cleanup_(target_freep) struct target *target = NULL;
	int lock = -1, agents = -1;
	if (target_file(config_path, &target, NULL) < 0)
		return 0;
	/* Whoever has one of them is at work on the file: an agent, which does this itself, or another command. */
	_cleanup_free_ char *lock_path = journal_lock_path(target->path);
	_cleanup_free_ char *agents_path = agent_lock_path(state_directory);
	if (file_lock(lock_path, &lock, NULL) < 0)
		return 0;
	bool stands = access(agents_path, F_OK) == 0 && file_lock(agents_path, &agents, NULL) == -ERROR_BUSY;
	int rc = stands ? 0 : mend(target, state_directory, ret_text, err);
	if (agents >= 0)
		close(agents);
	close(lock);
	return rc;
}
