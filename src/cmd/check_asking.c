#include "cmd/check_asking.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json_read.h"
#include "cmd/check_contexts.h"
#include "cmd/session.h"
#include "engine/check_gather.h"
#include "net/loop.h"

#define ASKED_AT_ONCE 8
#define ROW_BYTES_MAX (1u << 20)
#define END_WAIT NS_PER_S /* for one that was told to end */
#define TICK_US 10000     /* between looks whether it did */

/* --- in the process that asks one --- */

static int ask(const struct session *session, const struct check_policy *policy, struct check_row *row,
	       struct error **err)
{
	struct cluster *cluster = session->cluster;
	_cleanup_(check_facts_free) struct check_facts facts = {0};
	_cleanup_(check_report_free) struct check_report report = {0};
	const struct check_sources sources = {.cluster = cluster,
					      .api_only = true,
					      .trust_key_why = "only the API is looked at here",
					      .wall_now = clock_wall()};
	row->server = xstrdup(cluster->kube.name);
	row->version = xstrdup(cluster->version);
	int rc = check_gather(&sources, &facts, err);
	if (rc < 0)
		return rc;
	report = check_judge(&facts, policy);
	check_row_fill(row, &facts, &report);
	return 0;
}

static int ask_context(const struct command_context *context, const char *name, struct check_row *row,
		       struct error **err)
{
	struct command_context one = *context;
	const struct check_policy policy = check_policy_of(&context->options);
	_cleanup_error_ failed = NULL;
	_cleanup_session_ session = {0};
	row->context = xstrdup(name);
	one.options.context = name;
	int rc = session_open(&one, SESSION_API, &session, &failed);
	if (rc == 0)
		rc = ask(&session, &policy, row, &failed);
	if (rc == -ERROR_INTERRUPTED)
		*err = steal(failed);
	else if (rc < 0)
		row->why = xstrdup(error_message(failed));
	return rc == -ERROR_INTERRUPTED ? rc : 0;
}

static void write_row(int out, const struct check_row *row)
{
	struct json_writer w = JSON_WRITER_INIT(ROW_BYTES_MAX);
	const char *text = object_write(&check_row_record, row, &w, NULL) == 0 ? json_text(&w) : NULL;
	size_t len = text ? strlen(text) : 0;
	while (len > 0) {
		ssize_t put = write(out, text, len);
		if (put < 0 && errno != EINTR)
			break;
		text += put > 0 ? put : 0;
		len -= put > 0 ? (size_t)put : 0;
	}
	json_writer_free(&w);
}

/* Ends with its parent, by SIGTERM alone, so that it ends the plugin of its kubeconfig, too: of Control-C nobody is told twice.
 * That plugin cannot ask a person here: several would ask at once. */
static _Noreturn void answer(const struct command_context *context, const char *name, pid_t parent, int out)
{
	_cleanup_error_ interrupted = NULL;
	struct check_row row = {0};
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	bool ready = setpgid(0, 0) == 0 && prctl(PR_SET_PDEATHSIG, SIGTERM) == 0 && getppid() == parent && null >= 0 &&
		     dup2(null, STDIN_FILENO) >= 0;
	if (ready && ask_context(context, name, &row, &interrupted) == 0)
		write_row(out, &row);
	_exit(0);
}

/* --- in the one that waits for them --- */

struct asking;
struct asker {
	struct asking *asking;
	pid_t pid; /* 0: none */
	int answer_fd;
	struct loop_fd watch;
	struct buf text;
	size_t row;
};
struct asking {
	struct command_context *context;
	const struct strings *names;
	struct check_row *rows;
	struct loop *loop;
	struct asker askers[ASKED_AT_ONCE];
	size_t begun, ended;
	bool one_ended;
};

static int end_process(struct asker *asker)
{
	int status = 0;
	loop_unwatch_fd(asker->asking->loop, &asker->watch);
	close(asker->answer_fd);
	while (waitpid(asker->pid, &status, 0) < 0 && errno == EINTR)
		;
	asker->pid = 0;
	return status;
}

/* One that was told to end; one that does not heed that is killed (to one that did it is nothing). */
static void await_end(const struct asker *asker, uint64_t until)
{
	siginfo_t ended = {0};
	while (waitid(P_PID, (id_t)asker->pid, &ended, WEXITED | WNOHANG | WNOWAIT) == 0 && ended.si_pid == 0 &&
	       clock_monotonic() < until)
		usleep(TICK_US);
	kill(asker->pid, SIGKILL);
}

/* Takes `why`. */
static void fail_row(struct asking *a, size_t at, char *why)
{
	check_row_free(&a->rows[at]);
	a->rows[at] = (struct check_row){.context = xstrdup(a->names->items[at]), .why = why};
}

static void take_row(struct asker *asker)
{
	_cleanup_json_ json = NULL;
	int status = end_process(asker);
	int rc = json_parse(buf_text(&asker->text), asker->text.len, "its answer", &json, NULL);
	if (rc == 0)
		rc = object_read(&check_row_record, json, &asker->asking->rows[asker->row], NULL);
	if (rc < 0)
		fail_row(asker->asking, asker->row,
			 WIFSIGNALED(status)
				 ? xasprintf("the process that asked it was ended by signal %d", WTERMSIG(status))
				 : xstrdup("the process that asked it ended without an answer"));
	buf_free(&asker->text);
	asker->asking->ended++;
	asker->asking->one_ended = true;
}

static void on_answer(void *arg)
{
	struct asker *asker = arg;
	char chunk[4096];
	ssize_t got = read(asker->answer_fd, chunk, sizeof(chunk));
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got > 0 && buf_append(&asker->text, chunk, (size_t)got) == 0)
		return;
	if (got > 0) {
		kill(asker->pid, SIGTERM);
		await_end(asker, clock_monotonic() + END_WAIT);
	}
	take_row(asker);
}

static int begin(struct asking *a, struct asker *asker, struct error **err)
{
	const char *name = a->names->items[a->begun];
	pid_t parent = getpid();
	int fds[2];
	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
		return error_set_errno(err, ERROR_IO, errno, "making a pipe");
	fcntl(fds[1], F_SETFL, 0);
	*asker = (struct asker){.asking = a, .answer_fd = fds[0], .text = BUF_INIT(ROW_BYTES_MAX), .row = a->begun};
	int rc = loop_watch_fd(a->loop, &asker->watch, fds[0], on_answer, asker, err);
	pid_t pid = rc == 0 ? fork() : -1;
	if (pid == 0)
		answer(a->context, name, parent, fds[1]);
	if (rc == 0 && pid < 0)
		rc = error_set_errno(err, ERROR_IO, errno, "starting a process that asks %s", name);
	close(fds[1]);
	if (rc < 0) {
		loop_unwatch_fd(a->loop, &asker->watch);
		close(fds[0]);
		return rc;
	}
	asker->pid = pid;
	a->begun++;
	return 0;
}

static bool any_asks(const struct asking *a)
{
	for (size_t i = 0; i < ASKED_AT_ONCE; i++)
		if (a->askers[i].pid != 0)
			return true;
	return false;
}

/* One that cannot be begun waits for the end of another; where there is none, its row says why. */
static void begin_more(struct asking *a)
{
	for (size_t i = 0; i < ASKED_AT_ONCE && a->begun < a->names->count; i++) {
		_cleanup_error_ failed = NULL;
		if (a->askers[i].pid != 0 || begin(a, &a->askers[i], &failed) == 0)
			continue;
		if (any_asks(a))
			return;
		fail_row(a, a->begun++, xstrdup(error_message(failed)));
		a->ended++;
		a->one_ended = true;
	}
}

static int go_on(struct asking *a, struct error **err)
{
	a->one_ended = false;
	begin_more(a);
	screen_running(&a->context->screen, clock_monotonic(), false, "asked %zu of %zu clusters", a->ended,
		       a->names->count);
	return loop_run_until(a->loop, &a->one_ended, 0, err);
}

static void end_all(struct asking *a)
{
	uint64_t until = clock_monotonic() + END_WAIT;
	for (size_t i = 0; i < ASKED_AT_ONCE; i++)
		if (a->askers[i].pid != 0)
			kill(a->askers[i].pid, SIGTERM);
	for (size_t i = 0; i < ASKED_AT_ONCE; i++)
		if (a->askers[i].pid != 0) {
			await_end(&a->askers[i], until);
			end_process(&a->askers[i]);
			buf_free(&a->askers[i].text);
		}
}

int check_ask(struct command_context *context, const struct strings *names, struct check_row *rows, struct error **err)
{
	struct asking a = {.context = context, .names = names, .rows = rows};
	int rc = loop_new(&a.loop, err);
	while (rc == 0 && a.ended < names->count)
		rc = go_on(&a, err);
	end_all(&a);
	screen_clear(&context->screen);
	if (a.loop)
		context->signal = loop_signal(a.loop);
	loop_free(a.loop);
	return rc;
}
