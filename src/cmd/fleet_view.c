#include "cmd/fleet_view.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cmd/fleet_todo.h"
#include "cmd/fleet_view_kms.h"
#include "cmd/rotating.h"

#define WORDS_MAX 1024
#define OTHERS_SHOWN 10

static char *printable(const char *text)
{
	return text_printable_or(text, WORDS_MAX, "-");
}

/* --- which servers --- */

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct viewed_server *)a)->name, ((const struct viewed_server *)b)->name);
}

static const struct key_rotation_server *in_set(const struct key_rotation *rotation, const char *name)
{
	for (size_t i = 0; rotation && i < rotation->status.server_count; i++)
		if (text_equal(rotation->status.servers[i].name, name))
			return &rotation->status.servers[i];
	return NULL;
}

static struct viewed_server view_of(const struct key_rotation *rotation, const struct key_server *server,
				    bool reporting)
{
	const struct key_server_status *status = &server->status;
	bool counted = rotation_counts_steps(rotation, status);
	return (struct viewed_server){.name = server->meta.name,
				      .status = status->beat ? status : NULL,
				      .reporting = reporting,
				      .set = in_set(rotation, server->meta.name),
				      .file_step = counted ? key_rotation_step(rotation, status->file_step) : STEP_NONE,
				      .loaded_step =
					      counted ? key_rotation_step(rotation, status->loaded_step) : STEP_NONE};
}

struct viewed_server *fleet_view_servers(const struct key_rotation *rotation, const struct fleet *fleet,
					 const bool *reports, size_t *ret_count)
{
	size_t in_rotation = rotation ? rotation->status.server_count : 0, count = 0;
	struct viewed_server *servers = xcalloc(fleet->count + in_rotation + 1, sizeof(*servers));
	for (size_t i = 0; i < fleet->count; i++)
		servers[count++] = view_of(rotation, fleet->servers[i].last, reports[i]);
	for (size_t i = 0; i < in_rotation; i++)
		if (!fleet_find(fleet, rotation->status.servers[i].name))
			servers[count++] = (struct viewed_server){.name = rotation->status.servers[i].name,
								  .set = &rotation->status.servers[i],
								  .file_step = STEP_NONE,
								  .loaded_step = STEP_NONE};
	qsort(servers, count, sizeof(*servers), by_name);
	*ret_count = count;
	return servers;
}

/* --- one server --- */

static bool forgotten(const struct viewed_server *server)
{
	return server->set && server->set->forgotten;
}

/* "step 2", "sha256:78c2a1…", "-" */
static char *configuration_words(int step, const char *hash)
{
	if (step != STEP_NONE)
		return xasprintf("step %d", step);
	return text_printable_or(hash, 16, "not known");
}

static char *trouble_words(const struct viewed_server *server)
{
	const struct key_server_status *status = server->status;
	if (!status)
		return xstrdup("no agent has reported from its node");
	if (!server->reporting) {
		_cleanup_free_ char *last = printable(status->heartbeat);
		return xasprintf("its agent does not report; last at %s by its own clock", last);
	}
	_cleanup_free_ char *why = printable(status->why);
	if (!status->answering)
		return xasprintf("does not answer%s%s", status->why ? ": " : "", status->why ? why : "");
	if (status->refuses_file)
		return xstrdup("refuses its file");
	return status->why ? steal(why) : NULL;
}

char *viewed_server_words(const struct viewed_server *server)
{
	if (forgotten(server)) {
		_cleanup_free_ char *who = printable(server->set->forgotten_by);
		_cleanup_free_ char *when = printable(server->set->forgotten_at);
		return xasprintf("forgotten as gone for good, by %s at %s", who, when);
	}
	_cleanup_free_ char *trouble = trouble_words(server);
	if (!server->status)
		return steal(trouble);
	_cleanup_free_ char *file = configuration_words(server->file_step, server->status->file_hash);
	_cleanup_free_ char *loaded = server->status->loaded_is_file
					      ? xstrdup("loaded")
					      : configuration_words(server->loaded_step, server->status->loaded_hash);
	const char *after = server->status->loaded_is_file ? "" : " loaded";
	return xasprintf("%s in its file, %s%s%s%s", file, loaded, after, trouble ? "; " : "", trouble ? trouble : "");
}

/* --- text --- */

static void print_head(FILE *out, const struct key_rotation *rotation)
{
	const struct key_rotation_status *status = &rotation->status;
	_cleanup_free_ char *old_keys = rotation_keys(status->old_keys, status->old_key_count);
	_cleanup_free_ char *new_keys = rotation_keys(status->new_keys, status->new_key_count);
	_cleanup_free_ char *from = printable(old_keys), *to = printable(new_keys);
	fprintf(out, "KeyRotation %s", rotation->meta.name);
	if (status->new_key_count > 0)
		fprintf(out, "   %s -> %s", status->old_key_count ? from : "plaintext", to);
	else if (rotation->spec.follow_kms)
		fputs("   follows the KMS to its next key", out);
	else if (rotation->spec.provider)
		fprintf(out, "   to a new %s key, which is not made yet",
			text_equal(rotation->spec.provider, "same") ? "(of the same kind)" : rotation->spec.provider);
	fputc('\n', out);
}

static void print_path(FILE *out, const struct key_rotation *rotation)
{
	if (rotation->status.step_count == 0)
		return;
	_cleanup_(path_freep) struct path *path = path_of_steps(rotation->status.steps, rotation->status.step_count);
	rotating_print_path(out, path, rotation->status.step);
}

char *rotation_progress_words(const struct key_rotation *rotation, bool told)
{
	_cleanup_free_ char *done = text_human_count(rotation->status.progress.done);
	_cleanup_free_ char *total = text_human_count(rotation->status.progress.total);
	_cleanup_free_ char *left = text_human_duration(rotation->status.progress.eta_seconds * NS_PER_S);
	_cleanup_free_ char *at = printable(rotation->status.progress.namespace_);
	if (rotation->status.progress.total == 0)
		return NULL;
	bool over = rotation_is_over(rotation), at_work = !over && rotation->status.progress.namespace_;
	bool goes_on = !over && rotation->status.progress.done < rotation->status.progress.total;
	_cleanup_free_ char *speed =
		told ? xasprintf(", %llu/s, %s left", (unsigned long long)rotation->status.progress.per_second,
				 rotation->status.progress.eta_seconds ? left : "?")
		     : xstrdup(", and nothing newer is told");
	return xasprintf("%s of %s%s%s%s", done, total, goes_on ? speed : "", at_work ? ", namespace " : "",
			 at_work ? at : "");
}

static void print_progress(FILE *out, const struct key_rotation *rotation, bool told)
{
	_cleanup_free_ char *words = rotation_progress_words(rotation, told);
	if (words)
		fprintf(out, "rewritten  %s\n", words);
}

static void print_quarantine(FILE *out, const struct key_rotation *rotation)
{
	for (size_t i = 0; i < rotation->status.quarantined.item_count; i++) {
		const struct key_rotation_quarantined *q = &rotation->status.quarantined.items[i];
		_cleanup_free_ char *resource = printable(q->resource), *at = printable(q->namespace_),
				    *name = printable(q->name), *why = printable(q->why);
		fprintf(out, "quarantine %s %s%s%s: %s\n", resource, q->namespace_ ? at : "", q->namespace_ ? "/" : "",
			name, why);
	}
	uint64_t more = rotation->status.quarantined.count - rotation->status.quarantined.item_count;
	if (rotation->status.quarantined.count > rotation->status.quarantined.item_count)
		fprintf(out, "quarantine and %llu more\n", (unsigned long long)more);
}

static void print_condition(FILE *out, const char *label, const struct key_rotation_condition *condition)
{
	_cleanup_free_ char *reason = printable(condition->reason), *message = printable(condition->message),
			    *since = printable(condition->last_transition_time), *status = printable(condition->status);
	fprintf(out, "%-10s %s (%s, since %s)%s%s\n", label, status, reason, since,
		text_empty(condition->message) ? "" : ": ", text_empty(condition->message) ? "" : message);
}

static void print_conditions(FILE *out, const struct key_rotation *rotation)
{
	static const struct {
		const char *type, *label;
	} shown[] = {{"Progressing", "progresses"}, {"Converged", "converged"}, {"Degraded", "degraded"}};
	for (size_t i = 0; i < ELEMENTS(shown); i++) {
		const struct key_rotation_condition *condition =
			key_rotation_condition(&rotation->status, shown[i].type);
		if (condition)
			print_condition(out, shown[i].label, condition);
	}
}

static void print_phase(FILE *out, const struct key_rotation *rotation)
{
	_cleanup_free_ char *words = rotation_words(rotation), *phase = printable(words);
	_cleanup_free_ char *started = printable(rotation->status.started_at);
	_cleanup_free_ char *completed = printable(rotation->status.completed_at);
	fprintf(out, "phase      %s%s%s%s%s\n", phase, rotation->status.started_at ? ", begun " : "",
		rotation->status.started_at ? started : "", rotation->status.completed_at ? ", ended " : "",
		rotation->status.completed_at ? completed : "");
}

static void print_leader(FILE *out, const struct fleet_view *view)
{
	_cleanup_free_ char *words = view->leader ? leader_words(view->leader, view->now) : NULL;
	if (words && !rotation_is_over(view->rotation))
		fprintf(out, "controller %s\n", words);
}

static void print_rotation(FILE *out, const struct fleet_view *view)
{
	const struct key_rotation *rotation = view->rotation;
	print_head(out, rotation);
	print_path(out, rotation);
	print_phase(out, rotation);
	print_leader(out, view);
	print_progress(out, rotation, view->told);
	print_conditions(out, rotation);
	print_quarantine(out, rotation);
	for (size_t i = 0; i < rotation->status.evidence.count; i++) {
		_cleanup_free_ char *line = printable(rotation->status.evidence.items[i]);
		fprintf(out, "proof      %s\n", line);
	}
	for (size_t i = 0; i < rotation->status.remains.count; i++) {
		_cleanup_free_ char *line = printable(rotation->status.remains.items[i]);
		fprintf(out, "old keys   %s\n", line);
	}
}

static void print_servers(FILE *out, const struct fleet_view *view)
{
	fprintf(out, "%-20s %-10s %s\n", "SERVER", "VERSION", "STATE");
	for (size_t i = 0; i < view->server_count; i++) {
		const struct viewed_server *server = &view->servers[i];
		_cleanup_free_ char *version = printable(server->status ? server->status->version : NULL);
		_cleanup_free_ char *words = viewed_server_words(server);
		fprintf(out, "%-20s %-10s %s\n", server->name, version, words);
	}
}

/* --- canaries: whose agent found in etcd what was written through which server --- */

char *viewed_server_canary(const struct viewed_server *finder, const char *written_through)
{
	char *words = NULL;
	for (size_t i = 0; finder->status && i < finder->status->canary_count; i++) {
		const struct key_server_canary *canary = &finder->status->canaries[i];
		if (!text_equal(canary->server, written_through))
			continue;
		if (canary->step == STEP_NONE) {
			free(words);
			return xstrdup("not found");
		}
		_cleanup_free_ char *found = xasprintf("step %d", canary->step), *before = words;
		words = !before || text_equal(before, found) ? xstrdup(found) : xstrdup("mixed");
	}
	return words ? words : xstrdup("-");
}

bool fleet_view_any_canary(const struct fleet_view *view)
{
	for (size_t i = 0; i < view->server_count; i++)
		if (view->servers[i].status && view->servers[i].status->canary_count > 0)
			return true;
	return false;
}

static void print_canaries(FILE *out, const struct fleet_view *view)
{
	if (!fleet_view_any_canary(view))
		return;
	fprintf(out, "\n%-20s", "CANARY");
	for (size_t through = 0; through < view->server_count; through++)
		fprintf(out, " through %-12s", view->servers[through].name);
	fputc('\n', out);
	for (size_t finder = 0; finder < view->server_count; finder++) {
		_cleanup_free_ char *label = xasprintf("found by %s", view->servers[finder].name);
		fprintf(out, "%-20s", label);
		for (size_t through = 0; through < view->server_count; through++) {
			_cleanup_free_ char *words =
				viewed_server_canary(&view->servers[finder], view->servers[through].name);
			fprintf(out, " %-20s", words);
		}
		fputc('\n', out);
	}
}

static void print_others(FILE *out, const struct fleet_view *view)
{
	size_t shown = 0, others = 0;
	for (size_t i = 0; i < view->all->count; i++) {
		const struct key_rotation *other = view->all->items[i];
		if (view->rotation && text_equal(other->meta.uid, view->rotation->meta.uid))
			continue;
		others++;
		if (shown == OTHERS_SHOWN)
			continue;
		_cleanup_free_ char *words = rotation_words(other), *phase = printable(words);
		fprintf(out, "%s%s: %s\n", shown++ == 0 ? "\nOther KeyRotations\n  " : "  ", other->meta.name, phase);
	}
	if (others > shown)
		fprintf(out, "  and %zu more: kubectl get keyrotations\n", others - shown);
}

bool fleet_view_nobody_leads(const struct fleet_view *view)
{
	return view->rotation && !rotation_is_over(view->rotation) && view->leader &&
	       leader_missing(view->leader, view->now);
}

char *fleet_view_next(const struct fleet_view *view)
{
	const struct key_rotation *rotation = view->rotation;
	if (!rotation)
		return xasprintf("No rotation was asked for. To ask for one: %s rotate", view->invoked_as);
	if (rotation_is_over(rotation))
		return NULL;
	if (rotation->spec.paused || rotation_is_late(rotation))
		return xasprintf("It takes no further step. Go on: %s resume %s", view->invoked_as,
				 rotation->meta.name);
	if (fleet_view_nobody_leads(view))
		return xstrdup(FLEET_VIEW_START);
	if (text_equal(rotation->status.phase, phase_name(PHASE_BLOCKED)))
		return key_rotation_goes_back(rotation) || rotation->spec.aborted
			       ? xstrdup("It goes on by itself once that is mended.")
			       : xasprintf("It goes on by itself once that is mended. To give it up: %s abort %s",
					   view->invoked_as, rotation->meta.name);
	if (key_rotation_goes_back(rotation))
		return xstrdup("It goes back by itself, and may be left alone: the new key leaves, and the old one "
			       "stays.");
	return xasprintf("It goes on by itself, and may be left alone. Pause: %s pause %s", view->invoked_as,
			 rotation->meta.name);
}

/* What is pressing first, and what goes on by itself at the end. */
static void print_todo(FILE *out, const struct fleet_view *view)
{
	_cleanup_strings_ todo = {0};
	if (view->rotation && rotation_is_over(view->rotation))
		return;
	fleet_todo(view, &todo);
	fputc('\n', out);
	for (size_t i = 0; i < todo.count; i++)
		fprintf(out, "%s\n", todo.items[i]);
}

void fleet_view_print(FILE *out, const struct fleet_view *view)
{
	if (view->rotation) {
		print_rotation(out, view);
		fputc('\n', out);
	}
	print_servers(out, view);
	fleet_view_print_kms(out, view);
	print_canaries(out, view);
	print_others(out, view);
	print_todo(out, view);
}

/* --- JSON: the objects as they are, but for sealed keys, which are nobody's business --- */

static int write_rotation(struct json_writer *w, const struct key_rotation *rotation, struct error **err)
{
	json_key(w, "rotation");
	if (!rotation) {
		json_null(w);
		return 0;
	}
	struct key_rotation_status status = rotation->status;
	status.sealed_keys = NULL;
	status.sealed_key_count = 0;
	json_object_begin(w);
	json_member_string(w, "name", rotation->meta.name);
	json_member_string(w, "uid", rotation->meta.uid);
	json_member_u64(w, "generation", rotation->meta.generation);
	json_key(w, "spec");
	int rc = object_write(&key_rotation_spec_record, &rotation->spec, w, err);
	if (rc == 0) {
		json_key(w, "status");
		rc = object_write(&key_rotation_status_record, &status, w, err);
	}
	if (rc < 0)
		return error_wrap(err, rc, "KeyRotation %s", rotation->meta.name);
	json_object_end(w);
	return 0;
}

static int write_server(struct json_writer *w, const struct viewed_server *server, struct error **err)
{
	_cleanup_free_ char *words = viewed_server_words(server);
	struct key_server_status status;
	int rc = 0;
	json_object_begin(w);
	json_member_string(w, "name", server->name);
	json_member_bool(w, "reporting", server->reporting);
	json_member_bool(w, "forgotten", forgotten(server));
	json_member_string(w, "state", words);
	json_key(w, "status");
	if (server->status) {
		status = *server->status;
		status.sealed_keys = NULL;
		status.sealed_key_count = 0;
		rc = object_write(&key_server_status_record, &status, w, err);
	} else {
		json_null(w);
	}
	if (rc < 0)
		return error_wrap(err, rc, "KeyServer %s", server->name);
	json_object_end(w);
	return 0;
}

static void write_others(struct json_writer *w, const struct fleet_view *view)
{
	json_key(w, "others");
	json_array_begin(w);
	for (size_t i = 0; i < view->all->count; i++) {
		const struct key_rotation *other = view->all->items[i];
		if (view->rotation && text_equal(other->meta.uid, view->rotation->meta.uid))
			continue;
		json_object_begin(w);
		json_member_string(w, "name", other->meta.name);
		json_member_string(w, "phase", other->status.phase);
		json_member_string(w, "outcome", other->status.outcome);
		json_object_end(w);
	}
	json_array_end(w);
}

/* `leads`: true where it was seen to renew its Lease, false where none does, null where that is not known. */
static void write_leader(struct json_writer *w, const struct fleet_view *view)
{
	const struct leader *leader = view->leader;
	_cleanup_free_ char *words = leader ? leader_words(leader, view->now) : NULL;
	json_key(w, "controller");
	json_object_begin(w);
	json_key(w, "leads");
	if (leader && leader_renews(leader, view->now))
		json_bool(w, true);
	else if (leader && leader_missing(leader, view->now))
		json_bool(w, false);
	else
		json_null(w);
	json_member_string(w, "words", words);
	json_member_bool(w, "progressIsCurrent", view->told);
	json_object_end(w);
}

int fleet_view_write_json(const struct fleet_view *view, struct json_writer *w, struct error **err)
{
	json_object_begin(w);
	json_member_string(w, "kind", "RotationStatus");
	json_member_u64(w, "version", 1);
	json_member_string(w, "target", "agents");
	int rc = write_rotation(w, view->rotation, err);
	if (rc < 0)
		return rc;
	json_key(w, "servers");
	json_array_begin(w);
	for (size_t i = 0; i < view->server_count; i++) {
		rc = write_server(w, &view->servers[i], err);
		if (rc < 0)
			return rc;
	}
	json_array_end(w);
	write_others(w, view);
	write_leader(w, view);
	json_object_end(w);
	return 0;
}

/* --- findings --- */

char *fleet_view_finding(const struct fleet_view *view)
{
	const struct key_rotation *rotation = view->rotation;
	if (rotation && rotation->status.quarantined.count > 0)
		return xasprintf("%llu objects could not be rewritten",
				 (unsigned long long)rotation->status.quarantined.count);
	if (rotation && !rotation_is_over(rotation) && key_rotation_holds(rotation, "Degraded")) {
		const struct key_rotation_condition *degraded = key_rotation_condition(&rotation->status, "Degraded");
		return xasprintf("KeyRotation %s is degraded: %s", rotation->meta.name,
				 degraded->message ? degraded->message : "no reason is given");
	}
	for (size_t i = 0; i < view->server_count; i++) {
		const struct viewed_server *server = &view->servers[i];
		bool well = server->status && server->reporting && server->status->answering;
		if (forgotten(server) || well)
			continue;
		_cleanup_free_ char *words = trouble_words(server);
		return xasprintf("%s: %s", server->name, words);
	}
	if (rotation && !rotation_is_over(rotation) && view->leader &&
	    (leader_missing(view->leader, view->now) || leader_late(view->leader, view->now))) {
		_cleanup_free_ char *words = leader_words(view->leader, view->now);
		return xasprintf("KeyRotation %s goes on by a controller alone: %s", rotation->meta.name, words);
	}
	return fleet_view_kms_finding(view);
}
