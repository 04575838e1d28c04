#include "engine/node.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/file.h"
#include "base/secret.h"
#include "base/text.h"
#include "format/yaml_tree.h"

#define CMDLINE_MAX (256u << 10)
#define MANIFEST_MAX (1u << 20)

#define PROGRAM "kube-apiserver"
#define DEFAULT_REQUEST_TIMEOUT (60 * NS_PER_S)
#define DEFAULT_COMPACTION_INTERVAL (300 * NS_PER_S)
#define DEFAULT_PORT 6443
#define ARGUMENTS_MAX 4096

void node_facts_free(struct node_facts *facts)
{
	struct strings servers = {facts->etcd_servers, facts->etcd_server_count};
	struct strings overrides = {facts->etcd_overrides, facts->etcd_override_count};
	struct strings host_paths = {facts->host_paths, facts->host_path_count};

	strings_free(&servers);
	strings_free(&overrides);
	strings_free(&host_paths);
	free(facts->source);
	free(facts->encryption_config);
	free(facts->encryption_config_host);
	free(facts->etcd_cacert);
	free(facts->etcd_cert);
	free(facts->etcd_key);
	free(facts->etcd_prefix);
	free(facts->signing_key);
	free(facts->signing_endpoint);
	free(facts->advertise_address);
	free(facts->bind_address);
	*facts = (struct node_facts){0};
}

/* --- flags ------------------------------------------------------------------------------------------------------ */

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash != NULL ? slash + 1 : path;
}

static void set_text(char **to, const char *value)
{
	free(*to);
	*to = value[0] != '\0' ? xstrdup(value) : NULL;
}

/* A list flag of the server: given again it grows. */
static void add_list(char ***items, size_t *count, const char *value)
{
	struct strings list = {*items, *count};
	_cleanup_strings_ parts = {0};
	size_t i;

	strings_split(&parts, value, ',');
	for (i = 0; i < parts.count; i++)
		if (parts.items[i][0] != '\0')
			strings_add(&list, parts.items[i]);
	*items = list.items;
	*count = list.count;
}

struct flag {
	const char *name;
	enum { FLAG_TEXT, FLAG_LIST, FLAG_DURATION, FLAG_NUMBER, FLAG_BOOL } kind;
	size_t offset, count_offset;
};
#define FACT(name, kind, member)                                   \
	{                                                          \
		name, kind, offsetof(struct node_facts, member), 0 \
	}
#define FACT_LIST(name, items, count)                                                                   \
	{                                                                                               \
		name, FLAG_LIST, offsetof(struct node_facts, items), offsetof(struct node_facts, count) \
	}
static const struct flag flags[] = {
	FACT(NODE_FILE_FLAG, FLAG_TEXT, encryption_config),
	FACT("encryption-provider-config-automatic-reload", FLAG_BOOL, automatic_reload),
	FACT_LIST("etcd-servers", etcd_servers, etcd_server_count),
	FACT_LIST("etcd-servers-overrides", etcd_overrides, etcd_override_count),
	FACT("etcd-cafile", FLAG_TEXT, etcd_cacert),
	FACT("etcd-certfile", FLAG_TEXT, etcd_cert),
	FACT("etcd-keyfile", FLAG_TEXT, etcd_key),
	FACT("etcd-prefix", FLAG_TEXT, etcd_prefix),
	FACT("service-account-signing-key-file", FLAG_TEXT, signing_key),
	FACT("service-account-signing-endpoint", FLAG_TEXT, signing_endpoint),
	FACT("request-timeout", FLAG_DURATION, request_timeout),
	FACT("etcd-compaction-interval", FLAG_DURATION, compaction_interval),
	FACT("advertise-address", FLAG_TEXT, advertise_address),
	FACT("bind-address", FLAG_TEXT, bind_address),
	FACT("secure-port", FLAG_NUMBER, secure_port),
};

/* The flag that an argument names, and the value behind '='. The server takes '_' for '-'. */
static const struct flag *find_flag(const char *argument, const char **ret_value)
{
	size_t len, i, at;

	if (!text_starts(argument, "--"))
		return NULL;
	argument += 2;
	len = strcspn(argument, "=");
	for (i = 0; i < ELEMENTS(flags); i++) {
		const char *name = flags[i].name;

		if (strlen(name) != len)
			continue;
		for (at = 0; at < len && (argument[at] == name[at] || (argument[at] == '_' && name[at] == '-')); at++)
			;
		if (at < len)
			continue;
		*ret_value = argument[len] == '=' ? argument + len + 1 : NULL;
		return &flags[i];
	}
	return NULL;
}

static bool is_true(const char *value)
{
	static const char *const words[] = {"true", "True", "TRUE", "t", "T", "1"};
	size_t i;

	for (i = 0; i < ELEMENTS(words); i++)
		if (strcmp(value, words[i]) == 0)
			return true;
	return false;
}

static int take_value(struct node_facts *facts, const struct flag *flag, const char *value, struct error **err)
{
	char *base = (char *)facts;
	void *to = base + flag->offset;
	int rc = 0;

	switch (flag->kind) {
	case FLAG_TEXT:
		set_text(to, value);
		break;
	case FLAG_LIST:
		add_list(to, (void *)(base + flag->count_offset), value);
		break;
	case FLAG_DURATION:
		rc = text_to_duration(value, to);
		break;
	case FLAG_NUMBER:
		rc = text_to_u64(value, to);
		break;
	case FLAG_BOOL:
		*(bool *)to = is_true(value);
		break;
	}
	return rc < 0 ? error_set(err, ERROR_INPUT, "--%s has a value that the server would refuse", flag->name) : 0;
}

static bool same_list(const struct strings *a, const struct strings *b)
{
	size_t i;

	if (a->count != b->count)
		return false;
	for (i = 0; i < a->count; i++)
		if (strcmp(a->items[i], b->items[i]) != 0)
			return false;
	return true;
}

static bool same_value(const struct flag *flag, const char *a, const char *b)
{
	const void *of_a = a + flag->offset, *of_b = b + flag->offset;

	switch (flag->kind) {
	case FLAG_TEXT:
		return text_equal(*(char *const *)of_a, *(char *const *)of_b);
	case FLAG_LIST: {
		struct strings list_a = {*(char **const *)of_a,
					 *(const size_t *)(const void *)(a + flag->count_offset)};
		struct strings list_b = {*(char **const *)of_b,
					 *(const size_t *)(const void *)(b + flag->count_offset)};

		return same_list(&list_a, &list_b);
	}
	case FLAG_BOOL:
		return *(const bool *)of_a == *(const bool *)of_b;
	case FLAG_DURATION:
	case FLAG_NUMBER:
		break;
	}
	return *(const uint64_t *)of_a == *(const uint64_t *)of_b;
}

const char *node_facts_difference(const struct node_facts *a, const struct node_facts *b)
{
	size_t i;

	for (i = 0; i < ELEMENTS(flags); i++)
		if (strcmp(flags[i].name, NODE_FILE_FLAG) != 0 &&
		    !same_value(&flags[i], (const char *)a, (const char *)b))
			return flags[i].name;
	bool same_file = text_equal(a->encryption_config, b->encryption_config) &&
			 text_equal(a->encryption_config_host, b->encryption_config_host) &&
			 a->single_file_mount == b->single_file_mount;
	return same_file ? NULL : NODE_FILE_FLAG;
}

/* `arguments` are those behind the program. */
static int take_flags(struct node_facts *facts, char *const *arguments, size_t count, struct error **err)
{
	size_t i;
	int rc = 0;

	set_text(&facts->etcd_prefix, "/registry");
	facts->request_timeout = DEFAULT_REQUEST_TIMEOUT;
	facts->compaction_interval = DEFAULT_COMPACTION_INTERVAL;
	facts->secure_port = DEFAULT_PORT;
	for (i = 0; i < count && rc == 0 && strcmp(arguments[i], "--") != 0; i++) {
		const char *value = NULL;
		const struct flag *flag = find_flag(arguments[i], &value);

		if (flag == NULL)
			continue;
		if (value == NULL && flag->kind == FLAG_BOOL)
			value = "true";
		else if (value == NULL && i + 1 < count)
			value = arguments[++i];
		if (value == NULL)
			return error_set(err, ERROR_INPUT, "--%s has no value", flag->name);
		rc = take_value(facts, flag, value, err);
	}
	return rc;
}

/* Where the server's own flags begin: behind the program, which may itself be started by another (go-runner). */
static bool find_program(const struct strings *arguments, size_t *ret)
{
	size_t i;

	for (i = 0; i < arguments->count; i++) {
		if (strcmp(base_name(arguments->items[i]), PROGRAM) != 0)
			continue;
		*ret = i + 1;
		return true;
	}
	return false;
}

int node_facts_from_cmdline(unsigned pid, const char *bytes, size_t len, struct node_facts *ret, struct error **err)
{
	struct node_facts facts = {0};
	_cleanup_strings_ arguments = {0};
	size_t at, first = 0;
	int rc;

	for (at = 0; at < len && arguments.count < ARGUMENTS_MAX; at += strnlen(bytes + at, len - at) + 1)
		strings_add_n(&arguments, bytes + at, strnlen(bytes + at, len - at));
	if (!find_program(&arguments, &first))
		return error_set(err, ERROR_INPUT, "process %u is no " PROGRAM, pid);
	rc = take_flags(&facts, arguments.items + first, arguments.count - first, err);
	if (rc < 0) {
		node_facts_free(&facts);
		return error_wrap(err, rc, "process %u", pid);
	}
	facts.source = xasprintf("process %u", pid);
	facts.process_id = pid;
	facts.encryption_config_host = facts.encryption_config ? xstrdup(facts.encryption_config) : NULL;
	*ret = facts;
	return 0;
}

/* --- the manifest ----------------------------------------------------------------------------------------------- */

static const struct tree_node *member(const struct tree_node *node, const char *key)
{
	size_t i;

	if (node == NULL || node->kind != TREE_MAPPING)
		return NULL;
	for (i = 0; i + 1 < node->count; i += 2)
		if (node->items[i]->kind == TREE_SCALAR && strcmp(tree_text(node->items[i]), key) == 0)
			return node->items[i + 1];
	return NULL;
}

static const char *text_of(const struct tree_node *node, const char *key)
{
	const struct tree_node *value = member(node, key);

	return value != NULL && value->kind == TREE_SCALAR && !tree_is_null(value) ? tree_text(value) : NULL;
}

static size_t list_of(const struct tree_node *node, const char *key, struct tree_node *const **ret)
{
	const struct tree_node *value = member(node, key);

	if (value == NULL || value->kind != TREE_SEQUENCE)
		return 0;
	*ret = value->items;
	return value->count;
}

static void add_arguments(const struct tree_node *container, const char *key, struct strings *ret)
{
	struct tree_node *const *items = NULL;
	size_t count = list_of(container, key, &items), i;

	for (i = 0; i < count && ret->count < ARGUMENTS_MAX; i++)
		if (items[i]->kind == TREE_SCALAR)
			strings_add(ret, tree_text(items[i]));
}

/* Whether a shell is given a line in which the program is but a word. */
static bool is_shell_script(const struct strings *arguments)
{
	size_t i;

	for (i = 0; i < arguments->count; i++)
		if (strpbrk(arguments->items[i], " \n\t") != NULL && strstr(arguments->items[i], PROGRAM) != NULL &&
		    !text_starts(arguments->items[i], "--"))
			return true;
	return false;
}

/* The server's container and its flags. */
static int find_container(const struct tree_node *pod, const struct tree_node **ret, struct strings *ret_arguments,
			  size_t *ret_first, struct error **err)
{
	struct tree_node *const *containers = NULL;
	size_t count = list_of(member(pod, "spec"), "containers", &containers), i;
	bool shell = false;

	for (i = 0; i < count; i++) {
		strings_free(ret_arguments);
		add_arguments(containers[i], "command", ret_arguments);
		add_arguments(containers[i], "args", ret_arguments);
		*ret = containers[i];
		if (find_program(ret_arguments, ret_first))
			return 0;
		shell = shell || is_shell_script(ret_arguments);
		/* The image's own entry point, with flags from here. */
		*ret_first = 0;
		if (text_equal(text_of(containers[i], "name"), PROGRAM) && member(containers[i], "command") == NULL &&
		    ret_arguments->count > 0)
			return 0;
	}
	if (shell)
		return error_set(err, ERROR_INPUT,
				 PROGRAM " is started by a shell script: its flags cannot be read from here");
	return error_set(err, ERROR_INPUT, "no container with a " PROGRAM " command");
}

/* Whether `path` lies at or below `folder`; what is left behind it. */
static bool below(const char *path, const char *folder, const char **ret_rest)
{
	size_t len = strlen(folder);

	while (len > 0 && folder[len - 1] == '/')
		len--;
	if (strncmp(path, folder, len) != 0 || (path[len] != '/' && path[len] != '\0'))
		return false;
	*ret_rest = path + len;
	return true;
}

/* The mount of `container` that `path` is seen through: the longest. */
static const struct tree_node *find_mount(const struct tree_node *container, const char *path, const char **ret_rest)
{
	struct tree_node *const *mounts = NULL;
	size_t count = list_of(container, "volumeMounts", &mounts), i;
	const struct tree_node *best = NULL;
	const char *rest;

	for (i = 0; i < count; i++) {
		const char *at = text_of(mounts[i], "mountPath");

		if (at == NULL || !below(path, at, &rest))
			continue;
		if (best != NULL && strlen(rest) >= strlen(*ret_rest))
			continue;
		best = mounts[i];
		*ret_rest = rest;
	}
	return best;
}

static const char *host_path_of(const struct tree_node *pod, const char *volume)
{
	struct tree_node *const *volumes = NULL;
	size_t count = list_of(member(pod, "spec"), "volumes", &volumes), i;

	for (i = 0; i < count; i++)
		if (text_equal(text_of(volumes[i], "name"), volume))
			return text_of(member(volumes[i], "hostPath"), "path");
	return NULL;
}

static void take_host_paths(const struct tree_node *pod, struct node_facts *facts)
{
	struct tree_node *const *volumes = NULL;
	size_t count = list_of(member(pod, "spec"), "volumes", &volumes), i;
	struct strings found = {0};

	for (i = 0; i < count; i++) {
		const char *path = text_of(member(volumes[i], "hostPath"), "path");

		if (path != NULL)
			strings_add(&found, path);
	}
	facts->host_paths = found.items;
	facts->host_path_count = found.count;
}

/* `path` of the container on this host; NULL when it is in no hostPath volume. `ret_alone` where it is mounted by
 * itself. */
static char *to_host(const struct tree_node *pod, const struct tree_node *container, const char *path, bool *ret_alone)
{
	const char *rest = "", *folder, *sub;
	const struct tree_node *mount;
	size_t len;

	*ret_alone = false;
	if (path == NULL || path[0] != '/')
		return NULL;
	mount = find_mount(container, path, &rest);
	if (mount == NULL)
		return NULL;
	*ret_alone = rest[0] == '\0';
	folder = host_path_of(pod, text_of(mount, "name"));
	/* An expression is the kubelet's to expand. */
	if (folder == NULL || text_of(mount, "subPathExpr") != NULL)
		return NULL;
	sub = text_of(mount, "subPath");
	for (len = strlen(folder); len > 0 && folder[len - 1] == '/'; len--)
		;
	return xasprintf("%.*s%s%s%s", (int)len, folder, sub != NULL ? "/" : "", sub != NULL ? sub : "", rest);
}

static void to_host_in_place(const struct tree_node *pod, const struct tree_node *container, char **path)
{
	bool alone;
	char *host = to_host(pod, container, *path, &alone);

	free(*path);
	*path = host;
}

static int facts_from_pod(const struct tree_node *pod, struct node_facts *facts, struct error **err)
{
	const struct tree_node *container = NULL;
	_cleanup_strings_ arguments = {0};
	size_t first = 0;
	int rc;

	if (!text_equal(text_of(pod, "kind"), "Pod"))
		return error_set(err, ERROR_INPUT, "no Pod");
	rc = find_container(pod, &container, &arguments, &first, err);
	if (rc == 0)
		rc = take_flags(facts, arguments.items + first, arguments.count - first, err);
	if (rc < 0)
		return rc;
	facts->encryption_config_host = to_host(pod, container, facts->encryption_config, &facts->single_file_mount);
	to_host_in_place(pod, container, &facts->etcd_cacert);
	to_host_in_place(pod, container, &facts->etcd_cert);
	to_host_in_place(pod, container, &facts->etcd_key);
	to_host_in_place(pod, container, &facts->signing_key);
	take_host_paths(pod, facts);
	return 0;
}

int node_facts_from_manifest(const char *path, const char *text, size_t len, struct node_facts *ret, struct error **err)
{
	_cleanup_secret_ copy = secret_from(text, len);
	struct node_facts facts = {0};
	struct yaml_tree *tree = NULL;
	int rc = yaml_tree_parse(path, copy, &tree, err);

	if (rc < 0)
		return rc;
	rc = facts_from_pod(yaml_tree_root(tree), &facts, err);
	yaml_tree_free(tree);
	if (rc < 0) {
		node_facts_free(&facts);
		return error_wrap(err, rc, "%s", path);
	}
	facts.source = xstrdup(path);
	facts.from_manifest = true;
	*ret = facts;
	return 0;
}

/* --- processes -------------------------------------------------------------------------------------------------- */

static bool runs_apiserver(const char *proc, const char *pid)
{
	_cleanup_free_ char *exe = xasprintf("%s/%s/exe", proc, pid);
	_cleanup_free_ char *cmdline = xasprintf("%s/%s/cmdline", proc, pid);
	char target[4096];
	ssize_t len = readlink(exe, target, sizeof(target) - 1);
	char *name;
	int fd;

	if (len > 0) {
		target[len] = '\0';
		name = strrchr(target, '/');
		if (name != NULL && (strcmp(name, "/" PROGRAM) == 0 || strcmp(name, "/" PROGRAM " (deleted)") == 0))
			return true;
	}
	fd = open(cmdline, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	len = read(fd, target, sizeof(target) - 1);
	close(fd);
	if (len <= 0)
		return false;
	target[len] = '\0';
	return strcmp(base_name(target), PROGRAM) == 0;
}

static int compare_pids(const void *a, const void *b)
{
	const unsigned *left = a, *right = b;

	return *left < *right ? -1 : *left > *right;
}

size_t node_find_apiservers(const char *proc, unsigned *ret, size_t max)
{
	DIR *folder = opendir(proc);
	unsigned *found = NULL;
	size_t count = 0;
	struct dirent *entry;
	uint64_t pid;

	if (folder == NULL)
		return 0;
	while ((entry = readdir(folder)) != NULL) {
		if (text_to_u64(entry->d_name, &pid) < 0 || pid == 0 || pid > INT32_MAX ||
		    !runs_apiserver(proc, entry->d_name))
			continue;
		found = xreallocarray(found, count + 1, sizeof(*found));
		found[count++] = (unsigned)pid;
	}
	closedir(folder);
	if (count > 0) {
		qsort(found, count, sizeof(*found), compare_pids);
		memcpy(ret, found, (count < max ? count : max) * sizeof(*found));
	}
	free(found);
	return count;
}

/* `path` as a process with this root would walk it: its absolute symlinks stay inside. */
static int open_in_root(int root, const char *path)
{
	struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT};
	int fd = (int)syscall(SYS_openat2, root, path, &how, sizeof(how));

	if (fd < 0 && errno == ENOSYS) /* before Linux 5.6 */
		fd = openat(root, path + strspn(path, "/"), O_PATH | O_CLOEXEC);
	return fd;
}

int node_reads_file(const struct node_facts *facts, const char *path)
{
	int same = facts->process_id && facts->encryption_config
			   ? node_same_file("/proc", facts->process_id, facts->encryption_config, path)
			   : -ERROR_IO;
	if (same >= 0 || !facts->from_manifest || !facts->encryption_config_host)
		return same;
	_cleanup_free_ char *theirs = realpath(facts->encryption_config_host, NULL), *ours = realpath(path, NULL);
	return theirs && ours ? strcmp(theirs, ours) == 0 : -ERROR_IO;
}

int node_same_file(const char *proc, unsigned pid, const char *seen, const char *host_path)
{
	_cleanup_free_ char *name = xasprintf("%s/%u/root", proc, pid);
	int root = open(name, O_PATH | O_CLOEXEC | O_DIRECTORY), fd, rc = -ERROR_IO;
	struct stat there, here;

	if (root < 0)
		return -ERROR_IO;
	fd = open_in_root(root, seen);
	/* A file that is missing on one side is not the other's. */
	if ((fd < 0 && errno == ENOENT) || (stat(host_path, &here) < 0 && errno == ENOENT))
		rc = 0;
	else if (fd >= 0 && stat(host_path, &here) == 0 && fstat(fd, &there) == 0)
		rc = there.st_dev == here.st_dev && there.st_ino == here.st_ino;
	if (fd >= 0)
		close(fd);
	close(root);
	return rc;
}

int node_same_network(const char *proc, unsigned pid)
{
	_cleanup_free_ char *their_name = xasprintf("%s/%u/ns/net", proc, pid);
	_cleanup_free_ char *our_name = xasprintf("%s/self/ns/net", proc);
	struct stat theirs, ours;

	if (stat(their_name, &theirs) < 0 || stat(our_name, &ours) < 0)
		return -ERROR_IO;
	return theirs.st_dev == ours.st_dev && theirs.st_ino == ours.st_ino;
}

int node_facts_of_manifest(const char *path, struct node_facts *ret, struct error **err)
{
	_cleanup_secret_ text = NULL;
	int rc = file_read(path, MANIFEST_MAX, &text, err);

	return rc < 0 ? rc : node_facts_from_manifest(path, secret_text(text), secret_len(text), ret, err);
}

int node_facts_of_process(const char *proc, unsigned pid, struct node_facts *ret, struct error **err)
{
	_cleanup_free_ char *cmdline = xasprintf("%s/%u/cmdline", proc, pid);
	_cleanup_secret_ bytes = NULL;
	int rc = file_read(cmdline, CMDLINE_MAX, &bytes, err);

	return rc < 0 ? rc : node_facts_from_cmdline(pid, secret_text(bytes), secret_len(bytes), ret, err);
}

unsigned node_reader_of(const char *proc, const char *path)
{
	unsigned pids[NODE_APISERVERS_MAX], reader = 0;
	size_t count = node_find_apiservers(proc, pids, NODE_APISERVERS_MAX);
	size_t i;

	for (i = 0; i < count && i < NODE_APISERVERS_MAX && reader == 0; i++) {
		struct node_facts facts = {0};

		if (node_facts_of_process(proc, pids[i], &facts, NULL) < 0)
			continue;
		if (facts.encryption_config != NULL &&
		    node_same_file(proc, pids[i], facts.encryption_config, path) == 1)
			reader = pids[i];
		node_facts_free(&facts);
	}
	return reader;
}

/* A mount point of mountinfo, where space, tab, newline and backslash stand as \ooo. In place. */
static void unescape(char *text)
{
	char *to = text;

	while (*text != '\0') {
		if (text[0] == '\\' && text[1] >= '0' && text[1] <= '3' && text[2] >= '0' && text[2] <= '7' &&
		    text[3] >= '0' && text[3] <= '7') {
			*to++ = (char)((text[1] - '0') << 6 | (text[2] - '0') << 3 | (text[3] - '0'));
			text += 4;
		} else {
			*to++ = *text++;
		}
	}
	*to = '\0';
}

int node_single_file_mount(const char *proc, unsigned pid, const char *path)
{
	_cleanup_free_ char *name = xasprintf("%s/%u/mountinfo", proc, pid);
	FILE *file = fopen(name, "re");
	char *line = NULL;
	size_t size = 0;
	int found = 0;

	if (file == NULL)
		return -ERROR_IO;
	/* "36 35 98:0 /root /mount/point options ...": proc(5) */
	while (!found && getline(&line, &size, file) > 0) {
		_cleanup_strings_ fields = {0};

		strings_split(&fields, line, ' ');
		if (fields.count < 6)
			continue;
		unescape(fields.items[4]);
		found = strcmp(fields.items[4], path) == 0;
	}
	free(line);
	fclose(file);
	return found;
}
