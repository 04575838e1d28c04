/* Starts tests/unit/net_server.py, and certificates for it from the openssl program. */
#pragma once
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
#include "test_support.h"
#include "test_folder.h"
#include "base/file.h"
#include "net/loop.h"

extern char **environ;

struct net_server {
	pid_t pid;
	int in;
	char url[64];
};

static inline struct net_server net_server_run(const char *script, const char *scheme, const char *const *arguments)
{
	const char *argv[16] = {"python3", script};
	struct net_server server = {0};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	char line[16] = "";
	int in[2], out[2];
	size_t i;

	for (i = 0; arguments != NULL && arguments[i] != NULL; i++)
		argv[i + 2] = arguments[i];
	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, in[0], 0);
	posix_spawn_file_actions_adddup2(&actions, out[1], 1);
	posix_spawnattr_init(&attributes);
	assert_int_equal(
		posix_spawnp(&server.pid, "python3", &actions, &attributes, (char *const *)(uintptr_t)argv, environ),
		0);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attributes);
	close(in[0]);
	close(out[1]);
	server.in = in[1];
	for (i = 0; i < sizeof(line) - 1 && read(out[0], line + i, 1) == 1 && line[i] != '\n'; i++)
		;
	close(out[0]);
	if (i == 0)
		fail_msg("%s did not start", script);
	if (line[0] == '0')
		snprintf(server.url, sizeof(server.url), "%s://localhost", scheme);
	else
		snprintf(server.url, sizeof(server.url), "%s://127.0.0.1:%d", scheme, (int)strtoul(line, NULL, 10));
	return server;
}

static inline struct net_server net_server_start(const char *scheme, const char *const *arguments)
{
	return net_server_run("tests/unit/net_server.py", scheme, arguments);
}

static inline void net_server_stop(struct net_server *server)
{
	close(server->in); /* it ends when its standard input does */
	waitpid(server->pid, NULL, 0);
}

/* Runs a shell script in the test's folder. */
static inline void in_shell(const char *script)
{
	_cleanup_free_ char *line = xasprintf("cd '%s' && { %s; } >/dev/null 2>&1", folder, script);

	if (system(line) != 0)
		fail_msg("failed: %s", script);
}

/* ca.crt; NAME.crt and NAME.key signed by it, for `subject_alternatives` ("IP:127.0.0.1,DNS:api.test"). */
static inline void make_authority(const char *name)
{
	_cleanup_free_ char *script = xasprintf("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "
						"-keyout %s.key -out %s.crt -days 2 -subj '/CN=test %s'",
						name, name, name);

	in_shell(script);
}

static inline void make_certificate(const char *authority, const char *name, const char *subject_alternatives)
{
	_cleanup_free_ char *script =
		xasprintf("openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout %s.key -out %s.csr "
			  "-subj '/CN=%s' && "
			  "echo 'subjectAltName=%s' >%s.ext && "
			  "openssl x509 -req -in %s.csr -CA %s.crt -CAkey %s.key -CAcreateserial -days 1 -extfile "
			  "%s.ext -out %s.crt",
			  name, name, name, subject_alternatives, name, name, authority, authority, name, name);

	in_shell(script);
}

static inline struct secret *read_in_folder(const char *name)
{
	struct secret *secret = NULL;
	struct error *err = NULL;

	assert_ok(file_read(in_folder(name), 1 << 20, &secret, &err), err);
	return secret;
}
