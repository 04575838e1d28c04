#include "cmd/browser.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/text.h"

struct browser {
	char *path;
	pid_t pid;
};

static const char *variable(char *const *environment, const char *name)
{
	size_t len = strlen(name);
	for (; *environment; environment++)
		if (text_starts(*environment, name) && (*environment)[len] == '=')
			return *environment + len + 1;
	return NULL;
}

static bool write_page(const char *path, const char *url)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	FILE *file = fd < 0 ? NULL : fdopen(fd, "w");
	if (!file)
		return false;
	fprintf(file,
		"<!doctype html><meta charset=\"utf-8\"><meta name=\"referrer\" content=\"no-referrer\">"
		"<meta http-equiv=\"refresh\" content=\"0;url=%s\"><a href=\"%s\">The dashboard</a>\n",
		url, url);
	return fclose(file) == 0;
}

/* Our stdout is for whoever started us; and xdg-open must not inherit what we block. */
static bool start(const char *path, char *const *environment, pid_t *ret)
{
	char program[] = "xdg-open";
	char *const arguments[] = {program, (char *)(uintptr_t)path, NULL};
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attributes;
	sigset_t none;
	sigemptyset(&none);
	if (posix_spawn_file_actions_init(&files) != 0)
		return false;
	if (posix_spawnattr_init(&attributes) != 0) {
		posix_spawn_file_actions_destroy(&files);
		return false;
	}
	bool ready = posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0) == 0 &&
		     posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0) == 0 &&
		     posix_spawn_file_actions_addopen(&files, STDERR_FILENO, "/dev/null", O_WRONLY, 0) == 0 &&
		     posix_spawnattr_setsigmask(&attributes, &none) == 0 &&
		     posix_spawnattr_setpgroup(&attributes, 0) == 0 &&
		     posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP) == 0;
	bool started = ready && posix_spawnp(ret, program, &files, &attributes, arguments, environment) == 0;
	posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&files);
	return started;
}

void browser_open(const char *url, char *const *environment, struct browser **ret)
{
	const char *folder = variable(environment, "XDG_RUNTIME_DIR");
	bool display =
		!text_empty(variable(environment, "DISPLAY")) || !text_empty(variable(environment, "WAYLAND_DISPLAY"));
	if (!display || text_empty(folder))
		return;
	struct browser *browser = xcalloc(1, sizeof(*browser));
	browser->path = xasprintf("%s/kube-rekey-dashboard-%ld.html", folder, (long)getpid());
	if (write_page(browser->path, url) && start(browser->path, environment, &browser->pid))
		*ret = browser;
	else
		browser_close(browser);
}

void browser_close(struct browser *browser)
{
	if (!browser)
		return;
	unlink(browser->path);
	/* It ends by itself; what it started is the person's. */
	if (browser->pid > 0)
		waitpid(browser->pid, NULL, WNOHANG);
	free(browser->path);
	free(browser);
}
