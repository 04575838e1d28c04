#include <stdio.h>

#include "cmd/command.h"
#include "engine/journal.h"
#include "base/file.h"

int cmd_forget(struct command_context *context, struct error **err)
{
	const struct options *o = &context->options;
	_cleanup_(journal_freep) struct journal *journal = NULL;
	if (o->argument_count != 1)
		return error_set(err, ERROR_USAGE, "forget takes the name of one API server");
	if (!o->encryption_config)
		return error_set(err, ERROR_USAGE,
				 "forget needs --encryption-config FILE: the rotation's journal lies beside it");
	const char *server = o->arguments[0];
	int rc = journal_read(o->encryption_config, &journal, err);
	if (rc < 0)
		return rc;
	if (!journal)
		return error_set(err, ERROR_NOT_FOUND, "no rotation is under way at %s", o->encryption_config);
	if (!strings_has(&journal->servers, server)) {
		_cleanup_free_ char *known = strings_join(&journal->servers, ", ");
		return error_set(err, ERROR_INPUT, "rotation %s knows no API server %s (it knows: %s)",
				 journal->rotation, server, known);
	}
	if (!o->yes) {
		rc = error_set(err, ERROR_USAGE,
			       "forget %s: if it ever comes back with its old file, what it writes is lost", server);
		error_set_hint(err, "say --yes if it is gone for good");
		return rc;
	}
	if (!strings_has(&journal->forgotten, server))
		strings_add(&journal->forgotten, server);
	rc = journal_write(o->encryption_config, journal, err);
	if (rc == 0 && !o->json)
		printf("%s no longer counts; the report will say so.\n", server);
	return rc;
}
