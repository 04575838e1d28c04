#include "cmd/dashboard_replay.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/json_read.h"
#include "cmd/dashboard_record.h"

#define WHOLE (60 * NS_PER_S) /* what is in the file at the start takes no longer */
#define LONGEST NS_PER_S      /* between two decisions */
#define LOOK_INTERVAL NS_PER_S

struct dashboard_replay {
	struct loop *loop;
	struct loop_timer timer;
	const char *name;
	FILE *file;
	struct buf line; /* as far as it is written */
	struct dashboard_store *store;
	uint64_t shown, known; /* decisions; known: at the start, then as shown */
	uint64_t pace;
	char *at;
	void (*on_change)(void *arg);
	void *arg;
};

/* 0, with what is written of a line by now. *ret_whole: it has its end. */
static int read_line(struct dashboard_replay *r, bool *ret_whole, struct error **err)
{
	int c;
	while ((c = getc(r->file)) != EOF && c != '\n')
		if (buf_append(&r->line, &(uint8_t){(uint8_t)c}, 1) < 0)
			return error_set(err, ERROR_LIMIT, "%s: a line is longer than %u bytes", r->name,
					 RECORD_LINE_MAX);
	if (ferror(r->file))
		return error_set_errno(err, ERROR_IO, errno, "%s", r->name);
	clearerr(r->file);
	*ret_whole = c == '\n';
	return 0;
}

/* 1: it was shown; 0: it is not written to its end. */
static int show_line(struct dashboard_replay *r, bool whole, struct error **err)
{
	_cleanup_free_ char *what = xasprintf("%s:%llu", r->name, (unsigned long long)r->shown + 1);
	_cleanup_json_ document = NULL;
	_cleanup_(record_freep) struct record *record = NULL;
	int rc = json_parse(buf_text(&r->line), r->line.len, what, &document, err);
	if (rc < 0 && !whole) {
		error_clear(err);
		return 0;
	}
	buf_reset(&r->line);
	if (rc < 0)
		return rc;
	rc = record_read(document, &record, err);
	if (rc < 0)
		return rc;
	dashboard_record_show(r->store, record, clock_monotonic());
	free(r->at);
	r->at = record->at ? xstrdup(record->at) : NULL;
	r->shown++;
	if (r->known < r->shown)
		r->known = r->shown;
	return 1;
}

/* 1: one more was shown. */
static int next(struct dashboard_replay *r, struct error **err)
{
	bool whole = false;
	int rc = read_line(r, &whole, err);
	if (rc < 0 || r->line.len == 0)
		return rc;
	return show_line(r, whole, err);
}

static void on_timer(void *arg)
{
	struct dashboard_replay *r = arg;
	_cleanup_error_ error = NULL;
	int rc = next(r, &error);
	if (rc < 0) {
		for (int kind = 0; kind <= DASHBOARD_SERVER; kind++)
			dashboard_store_watch(r->store, (enum dashboard_kind)kind, false, error_message(error),
					      clock_monotonic());
		r->on_change(r->arg);
		return;
	}
	if (rc > 0)
		r->on_change(r->arg);
	uint64_t wait = rc > 0 && r->shown < r->known ? r->pace : rc > 0 ? 0 : LOOK_INTERVAL;
	loop_timer_set(r->loop, &r->timer, clock_monotonic() + wait, on_timer, r);
}

static int count_lines(struct dashboard_replay *r, struct error **err)
{
	int c, last = '\n';
	for (; (c = getc(r->file)) != EOF; last = c)
		r->known += last == '\n';
	if (ferror(r->file) || fseek(r->file, 0, SEEK_SET) < 0)
		return error_set_errno(err, ERROR_IO, errno, "%s", r->name);
	r->pace = r->known ? WHOLE / r->known : LONGEST;
	if (r->pace > LONGEST)
		r->pace = LONGEST;
	return 0;
}

int dashboard_replay_start(struct loop *loop, const char *name, struct dashboard_store *store,
			   void (*on_change)(void *arg), void *arg, struct dashboard_replay **ret, struct error **err)
{
	FILE *file = fopen(name, "re");
	if (!file)
		return error_set_errno(err, errno == ENOENT ? ERROR_NOT_FOUND : ERROR_IO, errno, "%s", name);
	struct dashboard_replay *r = xcalloc(1, sizeof(*r));
	*r = (struct dashboard_replay){.loop = loop,
				       .name = name,
				       .file = file,
				       .line = BUF_INIT(RECORD_LINE_MAX),
				       .store = store,
				       .on_change = on_change,
				       .arg = arg};
	int rc = count_lines(r, err);
	if (rc == 0)
		rc = next(r, err);
	if (rc < 0) {
		dashboard_replay_stop(r);
		return rc;
	}
	loop_timer_set(loop, &r->timer, clock_monotonic() + r->pace, on_timer, r);
	*ret = r;
	return 0;
}

void dashboard_replay_place(const struct dashboard_replay *replay, struct dashboard_scene *scene)
{
	scene->replay = true;
	scene->decision = replay->shown;
	scene->decisions = replay->known;
	scene->decided_at = replay->at;
}

void dashboard_replay_stop(struct dashboard_replay *r)
{
	if (!r)
		return;
	loop_timer_cancel(r->loop, &r->timer);
	fclose(r->file);
	buf_free(&r->line);
	free(r->at);
	free(r);
}
