#include <stdio.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json_writer.h"
#include "cmd/fleet_forget.h"
#include "engine/journal.h"

#define FORGET_JSON_MAX (64u << 10)

static int read_journal(const char *config_path, struct journal **ret, struct error **err)
{
	int rc = journal_read(config_path, ret, err);
	if (rc < 0 || *ret)
		return rc;
	rc = error_set(err, ERROR_NOT_FOUND, "no rotation is under way at %s", config_path);
	error_set_hint(err, "the journal lies beside the file that kube-rekey writes: with --target manual that is the "
			    "one in --out DIR");
	return rc;
}

/* A rotation that runs has its journal in memory, and would write over what is said here. */
static int lock(const char *config_path, int *ret_fd, struct error **err)
{
	_cleanup_free_ char *path = journal_lock_path(config_path);
	int rc = file_lock(path, ret_fd, err);
	if (rc != -ERROR_BUSY)
		return rc;
	error_clear(err);
	rc = error_set(err, ERROR_REFUSED, "a rotation is running on %s and would not notice", config_path);
	error_set_hint(err, "stop it first (Ctrl-C or SIGTERM; nothing is lost), say forget, and run the same rotate "
			    "again");
	return rc;
}

static int check_server(const struct options *o, const struct journal *journal, struct error **err)
{
	const char *server = o->arguments[0];
	if (!strings_has(&journal->servers, server)) {
		_cleanup_free_ char *known = strings_join(&journal->servers, ", ");
		return error_set(err, ERROR_INPUT, "rotation %s knows no API server %s (it knows: %s)",
				 journal->rotation, server, known);
	}
	if (o->yes)
		return 0;
	int rc = error_set(err, ERROR_USAGE,
			   "forget %s: if it ever comes back with its old file, what it writes is lost", server);
	error_set_hint(err, "say --yes if it is gone for good");
	return rc;
}

static int forget_server(const struct options *o, struct journal **ret, struct error **err)
{
	_cleanup_(journal_freep) struct journal *journal = NULL;
	int rc = read_journal(o->encryption_config, &journal, err);
	if (rc == 0)
		rc = check_server(o, journal, err);
	if (rc < 0)
		return rc;
	if (!strings_has(&journal->forgotten, o->arguments[0]))
		strings_add(&journal->forgotten, o->arguments[0]);
	rc = journal_write(o->encryption_config, journal, err);
	if (rc < 0)
		return rc;
	*ret = steal(journal);
	return 0;
}

static void print_json(const struct journal *journal, const char *server)
{
	struct json_writer w = JSON_WRITER_INIT(FORGET_JSON_MAX);
	json_object_begin(&w);
	json_member_string(&w, "kind", "Forget");
	json_member_u64(&w, "version", 1);
	json_member_string(&w, "rotation", journal->rotation);
	json_member_string(&w, "server", server);
	json_object_end(&w);
	const char *text = json_text(&w);
	if (text)
		puts(text);
	json_writer_free(&w);
}

int cmd_forget(struct command_context *context, struct error **err)
{
	const struct options *o = &context->options;
	_cleanup_(journal_freep) struct journal *seen = NULL, *journal = NULL;
	if (o->argument_count != 1)
		return error_set(err, ERROR_USAGE, "forget takes the name of one API server");
	if (!o->encryption_config)
		return fleet_forget(context, o->arguments[0], err);
	/* Before the lock, so that a file without a rotation gets none beside it. */
	int lock_fd = -1, rc = read_journal(o->encryption_config, &seen, err);
	if (rc == 0)
		rc = lock(o->encryption_config, &lock_fd, err);
	if (rc == 0)
		rc = forget_server(o, &journal, err);
	if (lock_fd >= 0)
		close(lock_fd);
	if (!journal)
		return rc;
	if (o->json)
		print_json(journal, o->arguments[0]);
	else
		printf("%s no longer counts; the report will say so.\n", o->arguments[0]);
	context->printed_document = true;
	return 0;
}
