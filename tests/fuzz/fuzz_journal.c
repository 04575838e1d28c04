/* The journal of a rotation: what is read of it is written as it was read, and means the same again. */
#include <stdlib.h>
#include <string.h>
#include "base/json_read.h"
#include "engine/journal.h"
#include "valid_utf8.h"

static void must(bool holds)
{
	if (!holds)
		abort();
}

/* NULL where it would be larger than a journal may be. */
static char *written(const struct journal *journal)
{
	struct json_writer w = JSON_WRITER_INIT(JOURNAL_MAX);
	journal_write_json(&w, journal);
	const char *text = json_text(&w);
	char *ret = text ? xstrdup(text) : NULL;
	json_writer_free(&w);
	return ret;
}

static void check_again(const struct journal *journal)
{
	_cleanup_free_ char *text = written(journal), *again = NULL;
	_cleanup_(journal_freep) struct journal *second = NULL;
	if (!text)
		return;
	must(journal_parse("again", text, strlen(text), &second, NULL) == 0);
	again = written(second);
	must(again && strcmp(text, again) == 0);
	must(second->path->count == journal->path->count && second->hash_count == journal->hash_count);
	for (size_t i = 0; i < journal->path->count; i++)
		must(config_shape_equal(second->path->steps[i], journal->path->steps[i]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(journal_freep) struct journal *journal = NULL;
	_cleanup_error_ err = NULL;
	int rc = journal_parse("j", (const char *)data, size, &journal, &err);
	if (rc < 0) {
		must(!journal && strncmp(error_message(err), "j:", 2) == 0);
		return 0;
	}
	must(journal->path->count > 0 && journal->rotation && journal->started && journal->request);
	for (size_t i = 0; i < journal->hash_count; i++) {
		int step = journal_step_of(journal, journal->hashes[i].sha256);
		must(step >= 0 && (size_t)step < journal->path->count);
	}
	if (valid_utf8(data, size))
		check_again(journal);
	return 0;
}
