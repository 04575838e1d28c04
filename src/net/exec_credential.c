#include "net/exec_credential.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/pidfd.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/json_read.h"
#include "base/json_writer.h"

#define GROUP "client.authentication.k8s.io"
#define INFO_CAP 131072 /* of KUBERNETES_EXEC_INFO: the kernel's limit of one string */
#define PEM_CAP 262144  /* of each half of a certificate */
#define TOKEN_CAP 65536
#define TICK_MS 20 /* between looks at a child on a kernel without pidfd_open (before 5.3) */

void exec_plugin_clear(struct exec_plugin *plugin)
{
	free(plugin->api_version);
	free(plugin->command);
	strings_free(&plugin->arguments);
	strings_free(&plugin->environment);
	free(plugin->install_hint);
	*plugin = (struct exec_plugin){0};
}

void exec_credential_clear(struct exec_credential *credential)
{
	secret_free(credential->token);
	secret_free(credential->cert_pem);
	secret_free(credential->key_pem);
	*credential = (struct exec_credential){0};
}

int exec_plugin_check(const struct exec_plugin *plugin, struct error **err)
{
	if (plugin->command == NULL)
		return error_set(err, ERROR_INPUT, "exec has no command");
	if (plugin->api_version == NULL)
		return error_set(err, ERROR_INPUT, "exec has no apiVersion");
	if (strcmp(plugin->api_version, GROUP "/v1") == 0) {
		if (!plugin->interactive_given)
			return error_set(err, ERROR_INPUT, "exec of " GROUP "/v1 has no interactiveMode");
		return 0;
	}
	if (strcmp(plugin->api_version, GROUP "/v1beta1") == 0)
		return 0;
	error_set(err, ERROR_INPUT, "exec has an apiVersion other than " GROUP "/v1 and v1beta1");
	error_set_hint(err, "update the plugin and let it write this user again");
	return -ERROR_INPUT;
}

/* --- what the plugin says --------------------------------------------------------------------------------------- */

static struct secret *take_text(const cJSON *object, const char *member, size_t cap)
{
	const char *text = json_text_at(object, member);
	size_t len = text != NULL ? strlen(text) : 0;

	return len > 0 && len <= cap ? secret_from(text, len) : NULL;
}

bool exec_token_is_usable(const struct secret *token)
{
	const uint8_t *data = secret_data(token);
	size_t i;

	for (i = 0; i < secret_len(token); i++)
		if (data[i] < 0x20 || data[i] == 0x7f)
			return false;
	return true;
}

static int take_status(const cJSON *status, struct exec_credential *credential, struct error **err)
{
	const char *expires = json_text_at(status, "expirationTimestamp");

	credential->token = take_text(status, "token", TOKEN_CAP);
	credential->cert_pem = take_text(status, "clientCertificateData", PEM_CAP);
	credential->key_pem = take_text(status, "clientKeyData", PEM_CAP);
	if ((credential->cert_pem == NULL) != (credential->key_pem == NULL))
		return error_set(err, ERROR_AUTH, "it gave half of a client certificate and key");
	if (credential->token == NULL && credential->cert_pem == NULL)
		return error_set(err, ERROR_AUTH, "it gave neither a token nor a client certificate");
	if (credential->token != NULL && !exec_token_is_usable(credential->token))
		return error_set(err, ERROR_AUTH, "it gave a token with control characters in it");
	if (expires != NULL && clock_parse(expires, &credential->expires) < 0)
		return error_set(err, ERROR_AUTH, "its expirationTimestamp is no time");
	return 0;
}

int exec_credential_parse(const char *api_version, const char *text, size_t len, struct exec_credential *ret,
			  struct error **err)
{
	struct exec_credential credential = {0};
	_cleanup_json_ document = NULL;
	_cleanup_error_ inner = NULL;
	const cJSON *status;
	int rc;

	if (json_parse(text, len, "its output", &document, &inner) < 0)
		return error_set(err, ERROR_AUTH, "it printed no ExecCredential: %s", error_message(inner));
	if (!text_equal(json_text_at(document, "kind"), "ExecCredential"))
		return error_set(err, ERROR_AUTH, "it printed no ExecCredential");
	if (!text_equal(json_text_at(document, "apiVersion"), api_version))
		return error_set(err, ERROR_AUTH, "it answered in another apiVersion than the kubeconfig's %s",
				 api_version);
	status = json_at(document, "status", NULL);
	if (!cJSON_IsObject(status))
		return error_set(err, ERROR_AUTH, "it gave no status");
	rc = take_status(status, &credential, err);
	if (rc < 0) {
		exec_credential_clear(&credential);
		return rc;
	}
	*ret = credential;
	return 0;
}

/* --- what the plugin is told ------------------------------------------------------------------------------------ */

static char *with_config(const char *text, const char *config)
{
	/* The writer takes no ready JSON; "null" stands where it goes. */
	static const char mark[] = "\"config\":null";
	const char *at = strstr(text, mark);

	if (at == NULL)
		abort();
	return xasprintf("%.*s\"config\":%s%s", (int)(at - text), text, config, at + sizeof(mark) - 1);
}

static void write_cluster(const struct exec_cluster *cluster, struct json_writer *w)
{
	json_key(w, "cluster");
	json_object_begin(w);
	/* First, so that no other member's text can look like it. */
	if (cluster->config_json != NULL) {
		json_key(w, "config");
		json_null(w);
	}
	json_member_string(w, "server", cluster->server);
	if (cluster->tls_server_name != NULL)
		json_member_string(w, "tls-server-name", cluster->tls_server_name);
	if (cluster->insecure)
		json_member_bool(w, "insecure-skip-tls-verify", true);
	if (cluster->ca_pem != NULL) {
		_cleanup_secret_ encoded =
			secret_base64_encode(secret_data(cluster->ca_pem), secret_len(cluster->ca_pem));

		json_member_string(w, "certificate-authority-data", secret_text(encoded));
	}
	if (cluster->proxy_url != NULL)
		json_member_string(w, "proxy-url", cluster->proxy_url);
	json_object_end(w);
}

char *exec_credential_info(const struct exec_plugin *plugin, const struct exec_cluster *cluster, bool interactive)
{
	struct json_writer w = JSON_WRITER_INIT(INFO_CAP);
	bool told = plugin->provide_cluster_info && cluster != NULL;
	char *text = NULL;

	json_object_begin(&w);
	json_member_string(&w, "kind", "ExecCredential");
	json_member_string(&w, "apiVersion", plugin->api_version);
	json_key(&w, "spec");
	json_object_begin(&w);
	if (told)
		write_cluster(cluster, &w);
	json_member_bool(&w, "interactive", interactive);
	json_object_end(&w);
	json_object_end(&w);
	if (json_text(&w) != NULL)
		text = told && cluster->config_json ? with_config(json_text(&w), cluster->config_json)
						    : xstrdup(json_text(&w));
	json_writer_free(&w);
	/* More than any program could be started with. */
	return text != NULL ? text : xstrdup("");
}

/* --- running it ------------------------------------------------------------------------------------------------- */

const char *exec_environment_get(char *const *environment, const char *name)
{
	size_t len = strlen(name), i;

	for (i = 0; environment != NULL && environment[i] != NULL; i++)
		if (strncmp(environment[i], name, len) == 0 && environment[i][len] == '=')
			return environment[i] + len + 1;
	return NULL;
}

/* The program's file, or NULL. */
static char *find_program(const char *command, char *const *environment)
{
	const char *path = exec_environment_get(environment, "PATH");
	_cleanup_strings_ folders = {0};
	size_t i;

	if (strchr(command, '/') != NULL)
		return access(command, X_OK) == 0 ? xstrdup(command) : NULL;
	strings_split(&folders, path != NULL ? path : "/usr/local/bin:/usr/bin:/bin", ':');
	for (i = 0; i < folders.count; i++) {
		_cleanup_free_ char *file = xasprintf("%s/%s", folders.items[i], command);

		/* As Go: never from the working directory. */
		if (folders.items[i][0] == '/' && access(file, X_OK) == 0)
			return steal(file);
	}
	return NULL;
}

static bool same_variable(const char *a, const char *b)
{
	size_t len = strcspn(a, "=");

	return strcspn(b, "=") == len && memcmp(a, b, len) == 0;
}

/* The process's variables, then the kubeconfig's, then KUBERNETES_EXEC_INFO; later ones replace earlier ones. */
static void make_environment(const struct exec_plugin *plugin, char *const *environment, const char *info,
			     struct strings *ret)
{
	_cleanup_free_ char *info_line = xasprintf("KUBERNETES_EXEC_INFO=%s", info);
	_cleanup_strings_ over = {0};
	size_t i, j;

	for (i = 0; i < plugin->environment.count; i++)
		strings_add(&over, plugin->environment.items[i]);
	strings_add(&over, info_line);
	for (i = 0; environment != NULL && environment[i] != NULL; i++) {
		for (j = 0; j < over.count && !same_variable(environment[i], over.items[j]); j++)
			;
		if (j == over.count)
			strings_add(ret, environment[i]);
	}
	for (i = 0; i < over.count; i++) {
		for (j = i + 1; j < over.count && !same_variable(over.items[i], over.items[j]); j++)
			;
		if (j == over.count)
			strings_add(ret, over.items[i]);
	}
}

static char **vector(const char *first, const struct strings *list)
{
	char **items = xcalloc(list->count + 2, sizeof(*items));
	size_t count = 0, i;

	if (first != NULL)
		items[count++] = xstrdup(first);
	for (i = 0; i < list->count; i++)
		items[count++] = xstrdup(list->items[i]);
	return items;
}

static void vector_free(char **items)
{
	size_t i;

	for (i = 0; items[i] != NULL; i++) {
		secret_wipe(items[i], strlen(items[i])); /* arguments and variables may be passwords */
		free(items[i]);
	}
	free(items);
}

struct child {
	pid_t pid;
	int out;       /* its stdout */
	bool terminal; /* it has the terminal */
	bool reaped;
	int status;
};

/* Which process group may use the terminal. */
static void give_terminal(pid_t group)
{
	sigset_t set, old;

	sigemptyset(&set);
	sigaddset(&set, SIGTTOU);
	pthread_sigmask(SIG_BLOCK, &set, &old);
	tcsetpgrp(STDIN_FILENO, group);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

static int spawn(const char *file, char **arguments, char **environment, bool interactive, struct child *ret,
		 struct error **err)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t none, standard;
	int fds[2], rc;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return error_set_errno(err, ERROR_IO, errno, "making a pipe");
	sigemptyset(&none);
	sigemptyset(&standard);
	sigaddset(&standard, SIGPIPE);
	if (posix_spawn_file_actions_init(&actions) != 0 || posix_spawnattr_init(&attributes) != 0)
		abort();
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	posix_spawnattr_setpgroup(&attributes, 0);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawnattr_setsigdefault(&attributes, &standard);
	if (!interactive)
		posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, fds[1], STDOUT_FILENO);
	rc = posix_spawn(&ret->pid, file, &actions, &attributes, arguments, environment);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attributes);
	close(fds[1]);
	if (rc != 0) {
		close(fds[0]);
		return error_set_errno(err, ERROR_AUTH, rc, "starting it");
	}
	ret->out = fds[0];
	fcntl(ret->out, F_SETFL, O_NONBLOCK);
	ret->terminal = interactive && tcgetpgrp(STDIN_FILENO) == getpgrp();
	if (ret->terminal)
		give_terminal(ret->pid);
	return 0;
}

/* Whatever is in the pipe: 1 at its end, 0 when more may come, negative on errors. */
static int drain(int fd, struct secret *output, struct error **err)
{
	uint8_t chunk[4096];
	ssize_t got;
	int rc = 0;

	while (rc == 0 && (got = read(fd, chunk, sizeof(chunk))) != 0) {
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			break;
		if (secret_append(output, chunk, (size_t)got) < 0)
			rc = error_set(err, ERROR_AUTH, "it printed more than %u bytes", EXEC_OUTPUT_CAP);
	}
	secret_wipe(chunk, sizeof(chunk));
	if (rc < 0)
		return rc;
	return got == 0;
}

static bool has_ended(struct child *child)
{
	if (!child->reaped && waitpid(child->pid, &child->status, WNOHANG) == child->pid)
		child->reaped = true;
	return child->reaped;
}

/* Until the child has ended (a grandchild may hold its stdout for ever). `stop` shows a signal that waits for us. */
static int collect(struct child *child, int pidfd, int stop, uint64_t deadline, struct secret *output,
		   struct error **err)
{
	bool at_end = false;
	int rc;

	for (;;) {
		struct pollfd fds[3] = {{.fd = stop, .events = POLLIN},
					{.fd = pidfd, .events = POLLIN},
					{.fd = at_end ? -1 : child->out, .events = POLLIN}};
		bool ended = has_ended(child);
		uint64_t now = clock_monotonic();
		int wait;

		rc = at_end ? 1 : drain(child->out, output, err);
		if (rc < 0 || ended)
			return rc < 0 ? rc : 0;
		at_end = rc > 0;
		if (now >= deadline)
			return error_set(err, ERROR_AUTH, "it had not ended when its time was up");
		wait = (int)((deadline - now) / NS_PER_MS) + 1;
		if (pidfd < 0 && wait > TICK_MS)
			wait = TICK_MS;
		if (poll(fds, ELEMENTS(fds), wait) > 0 && fds[0].revents != 0)
			return error_set(err, ERROR_INTERRUPTED, "interrupted while it ran");
	}
}

/* A descriptor that shows whether SIGTERM or SIGINT waits for us. Not read: the loop takes the signal. */
static int watch_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void child_end(struct child *child, bool kill_it)
{
	if (kill_it) {
		kill(-child->pid, SIGKILL);
		if (!child->reaped)
			waitpid(child->pid, &child->status, 0);
	}
	close(child->out);
	if (child->terminal)
		give_terminal(getpgrp());
}

static int judge_exit(int status, struct error **err)
{
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	if (WIFSIGNALED(status))
		return error_set(err, ERROR_AUTH, "it was ended by SIG%s",
				 sigabbrev_np(WTERMSIG(status)) ? sigabbrev_np(WTERMSIG(status)) : "?");
	return error_set(err, ERROR_AUTH, "it failed with exit status %d", WEXITSTATUS(status));
}

static int run(const char *file, char **arguments, char **environment, bool interactive, uint64_t timeout,
	       struct secret *output, struct error **err)
{
	uint64_t deadline = clock_monotonic() + timeout;
	struct child child = {0};
	int rc, pidfd, stop;

	rc = spawn(file, arguments, environment, interactive, &child, err);
	if (rc < 0)
		return rc;
	pidfd = pidfd_open(child.pid, 0);
	stop = watch_signals();
	rc = collect(&child, pidfd, stop, deadline, output, err);
	child_end(&child, rc < 0);
	if (stop >= 0)
		close(stop);
	if (pidfd >= 0)
		close(pidfd);
	return rc < 0 ? rc : judge_exit(child.status, err);
}

static int run_plugin(const struct exec_plugin *plugin, const struct exec_cluster *cluster, char *const *environment,
		      bool interactive, uint64_t timeout, struct secret *output, struct error **err)
{
	_cleanup_free_ char *file = find_program(plugin->command, environment);
	_cleanup_free_ char *info = NULL;
	_cleanup_strings_ variables = {0};
	char **argv, **envp;
	int rc;

	if (file == NULL) {
		rc = error_set(err, ERROR_AUTH, "it was not found, or may not be run");
		if (plugin->install_hint != NULL) {
			_cleanup_free_ char *hint =
				text_printable(plugin->install_hint, strlen(plugin->install_hint), 1000);

			error_set_hint(err, "%s", hint);
		}
		return rc;
	}
	info = exec_credential_info(plugin, cluster, interactive);
	make_environment(plugin, environment, info, &variables);
	argv = vector(plugin->command, &plugin->arguments);
	envp = vector(NULL, &variables);
	rc = run(file, argv, envp, interactive, timeout, output, err);
	vector_free(argv);
	vector_free(envp);
	return rc;
}

int exec_credential_run(const struct exec_plugin *plugin, const struct exec_cluster *cluster, char *const *environment,
			bool terminal, uint64_t timeout, struct exec_credential *ret, struct error **err)
{
	_cleanup_secret_ output = secret_new(EXEC_OUTPUT_CAP);
	bool interactive = terminal && plugin->interactive != EXEC_INTERACTIVE_NEVER;
	int rc;

	if (!terminal && plugin->interactive == EXEC_INTERACTIVE_ALWAYS)
		return error_set(err, ERROR_AUTH,
				 "exec plugin \"%s\" must ask a person, and standard input is no terminal",
				 plugin->command);
	if (timeout == 0)
		timeout = (interactive ? EXEC_INTERACTIVE_TIMEOUT_S : EXEC_TIMEOUT_S) * NS_PER_S;
	rc = run_plugin(plugin, cluster, environment, interactive, timeout, output, err);
	if (rc == 0)
		rc = exec_credential_parse(plugin->api_version, secret_text(output), secret_len(output), ret, err);
	if (rc < 0)
		return error_wrap(err, rc, "exec plugin \"%s\"", plugin->command);
	return 0;
}
