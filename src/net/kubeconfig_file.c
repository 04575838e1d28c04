#include "net/kubeconfig_file.h"
#include <math.h>
#include <strings.h>
#include "base/json_writer.h"
#include "format/yaml_tree.h"

#define EXEC_CONFIG_CAP 65536
#define ENTRIES_MAX 4096
#define EXEC_EXTENSION "client.authentication.k8s.io/exec"

enum field_kind {
	FIELD_TEXT,
	FIELD_PATH, /* made absolute */
	FIELD_SECRET,
	FIELD_BASE64, /* a secret, decoded */
	FIELD_BOOL,
	FIELD_LIST, /* struct strings */
	FIELD_CUSTOM,
};
struct reader;
struct field {
	const char *key;
	enum field_kind kind;
	size_t offset;
	int (*custom)(const struct reader *r, const struct tree_node *node, void *entry, struct error **err);
};
struct reader {
	const char *path;
	char *directory; /* of the file, for relative paths */
};

static int fail(const struct reader *r, const struct tree_node *node, struct error **err, const char *what,
		const char *problem)
{
	return error_set(err, ERROR_INPUT, "%s:%zu: %s %s", r->path, node->line, what, problem);
}

/* A string, as strictly as Go's decoder: a bare number is none. NULL for null and "". */
static int read_text(const struct reader *r, const struct tree_node *node, const char *key, const char **ret,
		     struct error **err)
{
	*ret = NULL;
	if (tree_is_null(node))
		return 0;
	if (node->kind != TREE_SCALAR || (node->style == TREE_PLAIN && !yaml_plain_is_string(tree_text(node))))
		return fail(r, node, err, key, "must be a string (put a number or true in quotes)");
	if (strlen(tree_text(node)) != secret_len(node->text))
		return fail(r, node, err, key, "has a NUL in it");
	if (tree_text(node)[0] != '\0')
		*ret = tree_text(node);
	return 0;
}

static char *absolute_path(const struct reader *r, const char *path)
{
	return path[0] == '/' ? xstrdup(path) : xasprintf("%s/%s", r->directory, path);
}

/* Go's decoder skips line ends. */
static struct secret *without_line_ends(const char *text)
{
	struct secret *clean = secret_new(strlen(text));

	while (*text != '\0') {
		size_t len = strcspn(text, "\r\n");

		if (secret_append(clean, text, len) < 0)
			abort();
		text += len;
		text += strspn(text, "\r\n");
	}
	return clean;
}

static int read_bool(const struct reader *r, const struct tree_node *node, const char *key, bool *ret,
		     struct error **err)
{
	const char *text;

	if (tree_is_null(node))
		return 0;
	if (node->kind == TREE_SCALAR && node->style == TREE_PLAIN) {
		text = tree_text(node);
		*ret = strcasecmp(text, "true") == 0 || strcasecmp(text, "yes") == 0 || strcasecmp(text, "on") == 0;
		if (*ret || strcasecmp(text, "false") == 0 || strcasecmp(text, "no") == 0 ||
		    strcasecmp(text, "off") == 0)
			return 0;
	}
	return fail(r, node, err, key, "must be true or false");
}

static int read_list(const struct reader *r, const struct tree_node *node, const char *key, struct strings *ret,
		     struct error **err)
{
	const char *text;
	size_t i;
	int rc;

	if (tree_is_null(node))
		return 0;
	if (node->kind != TREE_SEQUENCE || node->count > ENTRIES_MAX)
		return fail(r, node, err, key, "must be a list");
	for (i = 0; i < node->count; i++) {
		rc = read_text(r, node->items[i], key, &text, err);
		if (rc < 0)
			return rc;
		strings_add(ret, text != NULL ? text : "");
	}
	return 0;
}

static int read_base64(const struct reader *r, const struct tree_node *node, const char *key, const char *text,
		       struct secret **ret, struct error **err)
{
	_cleanup_secret_ clean = without_line_ends(text);

	if (secret_base64_decode(secret_text(clean), secret_len(clean), ret) < 0)
		return fail(r, node, err, key, "is no base64");
	return 0;
}

static int read_field(const struct reader *r, const struct field *field, const struct tree_node *node, void *entry,
		      struct error **err)
{
	void *to = (char *)entry + field->offset;
	const char *text;
	int rc;

	if (field->kind == FIELD_CUSTOM)
		return field->custom(r, node, entry, err);
	if (field->kind == FIELD_BOOL)
		return read_bool(r, node, field->key, to, err);
	if (field->kind == FIELD_LIST)
		return read_list(r, node, field->key, to, err);
	rc = read_text(r, node, field->key, &text, err);
	if (rc < 0 || text == NULL)
		return rc;
	if (field->kind == FIELD_TEXT)
		*(char **)to = xstrdup(text);
	else if (field->kind == FIELD_PATH)
		*(char **)to = absolute_path(r, text);
	else if (field->kind == FIELD_SECRET)
		*(struct secret **)to = secret_from(text, strlen(text));
	else
		rc = read_base64(r, node, field->key, text, to, err);
	return rc;
}

/* The members of `node` that `fields` names, each at most once. What is half read stays in `entry` for the caller to free. */
static int read_fields(const struct reader *r, const struct tree_node *node, const char *what,
		       const struct field *fields, size_t count, void *entry, struct error **err)
{
	uint64_t seen = 0;
	size_t i, f;
	int rc;

	if (tree_is_null(node))
		return 0;
	if (node->kind != TREE_MAPPING)
		return fail(r, node, err, what, "must be a mapping");
	for (i = 0; i + 1 < node->count; i += 2) {
		const struct tree_node *key = node->items[i];

		if (key->merge)
			return fail(r, key, err, what,
				    "has a merge key (<<), which is not supported: write its members out");
		for (f = 0; f < count; f++)
			if (key->kind == TREE_SCALAR && strcmp(tree_text(key), fields[f].key) == 0)
				break;
		if (f == count)
			continue;
		if (seen & UINT64_C(1) << f)
			return fail(r, key, err, fields[f].key, "is given twice");
		seen |= UINT64_C(1) << f;
		rc = read_field(r, &fields[f], node->items[i + 1], entry, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* --- exec ------------------------------------------------------------------------------------------------------- */

struct name_value {
	char *name, *value;
};

static int read_environment(const struct reader *r, const struct tree_node *node, void *entry, struct error **err)
{
	static const struct field fields[] = {
		{"name", FIELD_TEXT, offsetof(struct name_value, name), NULL},
		{"value", FIELD_TEXT, offsetof(struct name_value, value), NULL},
	};
	struct exec_plugin *plugin = entry;
	size_t i;
	int rc = 0;

	if (tree_is_null(node))
		return 0;
	if (node->kind != TREE_SEQUENCE || node->count > ENTRIES_MAX)
		return fail(r, node, err, "env", "must be a list");
	for (i = 0; i < node->count && rc == 0; i++) {
		struct name_value pair = {0};

		rc = read_fields(r, node->items[i], "an item of env", fields, ELEMENTS(fields), &pair, err);
		if (rc == 0 && (pair.name == NULL || strchr(pair.name, '=') != NULL)) {
			rc = fail(r, node->items[i], err, "an item of env", "has no usable name");
		} else if (rc == 0) {
			_cleanup_free_ char *line = xasprintf("%s=%s", pair.name, pair.value ? pair.value : "");

			strings_add(&plugin->environment, line);
			secret_wipe(line, strlen(line));
		}
		if (pair.value != NULL)
			secret_wipe(pair.value, strlen(pair.value));
		free(pair.name);
		free(pair.value);
	}
	return rc;
}

static int read_interactive_mode(const struct reader *r, const struct tree_node *node, void *entry, struct error **err)
{
	struct exec_plugin *plugin = entry;
	const char *text;
	int rc = read_text(r, node, "interactiveMode", &text, err);

	if (rc < 0 || text == NULL)
		return rc;
	plugin->interactive_given = true;
	if (strcmp(text, "Never") == 0)
		plugin->interactive = EXEC_INTERACTIVE_NEVER;
	else if (strcmp(text, "Always") == 0)
		plugin->interactive = EXEC_INTERACTIVE_ALWAYS;
	else if (strcmp(text, "IfAvailable") == 0)
		plugin->interactive = EXEC_INTERACTIVE_IF_AVAILABLE;
	else
		return fail(r, node, err, "interactiveMode", "must be Never, IfAvailable or Always");
	return 0;
}

static int read_exec(const struct reader *r, const struct tree_node *node, void *entry, struct error **err)
{
	static const struct field fields[] = {
		{"apiVersion", FIELD_TEXT, offsetof(struct exec_plugin, api_version), NULL},
		{"command", FIELD_TEXT, offsetof(struct exec_plugin, command), NULL},
		{"args", FIELD_LIST, offsetof(struct exec_plugin, arguments), NULL},
		{"env", FIELD_CUSTOM, 0, read_environment},
		{"installHint", FIELD_TEXT, offsetof(struct exec_plugin, install_hint), NULL},
		{"provideClusterInfo", FIELD_BOOL, offsetof(struct exec_plugin, provide_cluster_info), NULL},
		{"interactiveMode", FIELD_CUSTOM, 0, read_interactive_mode},
	};
	struct kubeconfig_user *user = entry;
	char *command;
	int rc;

	if (tree_is_null(node))
		return 0;
	user->has_exec = true;
	rc = read_fields(r, node, "exec", fields, ELEMENTS(fields), &user->exec, err);
	command = user->exec.command;
	/* A bare name is looked up in PATH; anything else is a file like the others. */
	if (rc == 0 && command != NULL && strchr(command, '/') != NULL) {
		user->exec.command = absolute_path(r, command);
		free(command);
	}
	return rc;
}

/* --- users ------------------------------------------------------------------------------------------------------ */

static int read_auth_provider(const struct reader *r, const struct tree_node *node, void *entry, struct error **err)
{
	static const struct field fields[] = {{"name", FIELD_TEXT, 0, NULL}};
	struct kubeconfig_user *user = entry;
	int rc;

	if (tree_is_null(node))
		return 0;
	rc = read_fields(r, node, "auth-provider", fields, ELEMENTS(fields), &user->auth_provider, err);
	if (rc == 0 && user->auth_provider == NULL)
		user->auth_provider = xstrdup("without a name");
	return rc;
}

static int read_extra(const struct reader *r, const struct tree_node *node, void *entry, struct error **err)
{
	struct kubeconfig_user *user = entry;

	(void)r;
	(void)err;
	user->impersonate_extra = !tree_is_null(node) && node->kind == TREE_MAPPING && node->count > 0;
	return 0;
}

static int read_user(const struct reader *r, const struct tree_node *node, void *entry, struct error **err)
{
#define FIELD(key, kind, member)                                          \
	{                                                                 \
		key, kind, offsetof(struct kubeconfig_user, member), NULL \
	}
	static const struct field fields[] = {
		FIELD("client-certificate", FIELD_PATH, client_certificate),
		FIELD("client-certificate-data", FIELD_BASE64, client_certificate_data),
		FIELD("client-key", FIELD_PATH, client_key),
		FIELD("client-key-data", FIELD_BASE64, client_key_data),
		FIELD("token", FIELD_SECRET, token),
		FIELD("tokenFile", FIELD_PATH, token_file),
		FIELD("username", FIELD_TEXT, username),
		FIELD("password", FIELD_SECRET, password),
		FIELD("as", FIELD_TEXT, impersonate),
		FIELD("as-uid", FIELD_TEXT, impersonate_uid),
		FIELD("as-groups", FIELD_LIST, impersonate_groups),
		{"as-user-extra", FIELD_CUSTOM, 0, read_extra},
		{"exec", FIELD_CUSTOM, 0, read_exec},
		{"auth-provider", FIELD_CUSTOM, 0, read_auth_provider},
	};
#undef FIELD
	return read_fields(r, node, "user", fields, ELEMENTS(fields), entry, err);
}

static void user_clear(struct kubeconfig_user *user)
{
	free(user->name);
	free(user->client_certificate);
	free(user->client_key);
	secret_free(user->client_certificate_data);
	secret_free(user->client_key_data);
	secret_free(user->token);
	free(user->token_file);
	free(user->username);
	secret_free(user->password);
	free(user->impersonate);
	free(user->impersonate_uid);
	strings_free(&user->impersonate_groups);
	exec_plugin_clear(&user->exec);
	free(user->auth_provider);
}

/* --- clusters --------------------------------------------------------------------------------------------------- */

/* A number that JSON has too: neither hexadecimal nor infinite. */
static bool is_json_number(const char *text, double *ret)
{
	char *end;

	if (text[0] == '\0' || text[strspn(text, "-0123456789.eE+")] != '\0')
		return false;
	*ret = strtod(text, &end);
	return *end == '\0' && isfinite(*ret) && fabs(*ret) < 1e15;
}

static void write_scalar(const struct tree_node *node, struct json_writer *w)
{
	const char *text = tree_text(node);
	uint64_t number;
	double fraction;

	if (tree_is_null(node))
		json_null(w);
	else if (node->style != TREE_PLAIN || yaml_plain_is_string(text))
		json_string_n(w, text, secret_len(node->text));
	else if (strcasecmp(text, "true") == 0 || strcasecmp(text, "false") == 0)
		json_bool(w, strcasecmp(text, "true") == 0);
	else if (text_to_u64(text, &number) == 0)
		json_u64(w, number);
	else if (is_json_number(text, &fraction))
		json_fixed(w, fraction, 6);
	else
		json_string(w, text);
}

/* The depth is bounded by the tree's. */
static void write_json(const struct tree_node *node, struct json_writer *w)
{
	size_t i;

	switch (node->kind) {
	case TREE_SCALAR:
		write_scalar(node, w);
		return;
	case TREE_SEQUENCE:
		json_array_begin(w);
		for (i = 0; i < node->count; i++)
			write_json(node->items[i], w);
		json_array_end(w);
		return;
	case TREE_MAPPING:
		json_object_begin(w);
		for (i = 0; i + 1 < node->count; i += 2) {
			if (node->items[i]->kind != TREE_SCALAR)
				continue;
			json_key(w, tree_text(node->items[i]));
			write_json(node->items[i + 1], w);
		}
		json_object_end(w);
		return;
	}
}

struct extension {
	char *name;
	const struct tree_node *value;
};

static int read_extension_value(const struct reader *r, const struct tree_node *node, void *entry, struct error **err)
{
	struct extension *extension = entry;

	(void)r;
	(void)err;
	extension->value = node;
	return 0;
}

/* Of all extensions, the one that an exec plugin may be given. */
static int read_extensions(const struct reader *r, const struct tree_node *node, void *entry, struct error **err)
{
	static const struct field fields[] = {
		{"name", FIELD_TEXT, offsetof(struct extension, name), NULL},
		{"extension", FIELD_CUSTOM, 0, read_extension_value},
	};
	struct kubeconfig_cluster *cluster = entry;
	size_t i;
	int rc = 0;

	if (tree_is_null(node))
		return 0;
	if (node->kind != TREE_SEQUENCE || node->count > ENTRIES_MAX)
		return fail(r, node, err, "extensions", "must be a list");
	for (i = 0; i < node->count && rc == 0; i++) {
		struct json_writer w = JSON_WRITER_INIT(EXEC_CONFIG_CAP);
		struct extension extension = {0};

		rc = read_fields(r, node->items[i], "an extension", fields, ELEMENTS(fields), &extension, err);
		if (rc == 0 && text_equal(extension.name, EXEC_EXTENSION) && extension.value != NULL) {
			write_json(extension.value, &w);
			free(cluster->exec_config);
			cluster->exec_config = json_text(&w) != NULL ? xstrdup(json_text(&w)) : NULL;
			if (cluster->exec_config == NULL)
				rc = fail(r, extension.value, err, EXEC_EXTENSION, "is too large");
		}
		json_writer_free(&w);
		free(extension.name);
	}
	return rc;
}

static int read_cluster(const struct reader *r, const struct tree_node *node, void *entry, struct error **err)
{
#define FIELD(key, kind, member)                                             \
	{                                                                    \
		key, kind, offsetof(struct kubeconfig_cluster, member), NULL \
	}
	static const struct field fields[] = {
		FIELD("server", FIELD_TEXT, server),
		FIELD("certificate-authority", FIELD_PATH, certificate_authority),
		FIELD("certificate-authority-data", FIELD_BASE64, certificate_authority_data),
		FIELD("insecure-skip-tls-verify", FIELD_BOOL, insecure_skip_tls_verify),
		FIELD("tls-server-name", FIELD_TEXT, tls_server_name),
		FIELD("proxy-url", FIELD_TEXT, proxy_url),
		{"extensions", FIELD_CUSTOM, 0, read_extensions},
	};
#undef FIELD
	return read_fields(r, node, "cluster", fields, ELEMENTS(fields), entry, err);
}

static void cluster_clear(struct kubeconfig_cluster *cluster)
{
	free(cluster->name);
	free(cluster->server);
	free(cluster->certificate_authority);
	secret_free(cluster->certificate_authority_data);
	free(cluster->tls_server_name);
	free(cluster->proxy_url);
	free(cluster->exec_config);
}

/* --- the lists of a file ---------------------------------------------------------------------------------------- */

static int read_context(const struct reader *r, const struct tree_node *node, void *entry, struct error **err)
{
	static const struct field fields[] = {
		{"cluster", FIELD_TEXT, offsetof(struct kubeconfig_context, cluster), NULL},
		{"user", FIELD_TEXT, offsetof(struct kubeconfig_context, user), NULL},
		{"namespace", FIELD_TEXT, offsetof(struct kubeconfig_context, namespace_), NULL},
	};

	return read_fields(r, node, "context", fields, ELEMENTS(fields), entry, err);
}

static void context_clear(struct kubeconfig_context *context)
{
	free(context->name);
	free(context->cluster);
	free(context->user);
	free(context->namespace_);
}

/* A list of {name: N, MEMBER: {...}} into an array of structs that begin with their name. */
static int read_named(const struct reader *r, const struct tree_node *node, const char *list,
		      const struct field *fields, size_t size, void **ret, size_t *ret_count, struct error **err)
{
	char *entries;
	size_t i, j;
	int rc;

	if (tree_is_null(node))
		return 0;
	if (node->kind != TREE_SEQUENCE || node->count > ENTRIES_MAX)
		return fail(r, node, err, list, "must be a list");
	*ret = entries = xcalloc(node->count + 1, size);
	for (i = 0; i < node->count; i++) {
		const char *name;

		*ret_count = i + 1;
		rc = read_fields(r, node->items[i], list, fields, 2, entries + i * size, err);
		if (rc < 0)
			return rc;
		name = *(char **)(void *)(entries + i * size);
		if (name == NULL)
			return fail(r, node->items[i], err, list, "has an entry without a name");
		for (j = 0; j < i; j++)
			if (strcmp(*(char **)(void *)(entries + j * size), name) == 0)
				return error_set(err, ERROR_INPUT, "%s:%zu: %s has \"%s\" twice", r->path,
						 node->items[i]->line, list, name);
	}
	return 0;
}

static int read_clusters(const struct reader *r, const struct tree_node *node, void *entry, struct error **err)
{
	static const struct field fields[] = {{"name", FIELD_TEXT, 0, NULL},
					      {"cluster", FIELD_CUSTOM, 0, read_cluster}};
	struct kubeconfig_file *file = entry;

	void *entries = NULL;
	int rc = read_named(r, node, "clusters", fields, sizeof(*file->clusters), &entries, &file->cluster_count, err);

	file->clusters = entries;
	return rc;
}

static int read_users(const struct reader *r, const struct tree_node *node, void *entry, struct error **err)
{
	static const struct field fields[] = {{"name", FIELD_TEXT, 0, NULL}, {"user", FIELD_CUSTOM, 0, read_user}};
	struct kubeconfig_file *file = entry;

	void *entries = NULL;
	int rc = read_named(r, node, "users", fields, sizeof(*file->users), &entries, &file->user_count, err);

	file->users = entries;
	return rc;
}

static int read_contexts(const struct reader *r, const struct tree_node *node, void *entry, struct error **err)
{
	static const struct field fields[] = {{"name", FIELD_TEXT, 0, NULL},
					      {"context", FIELD_CUSTOM, 0, read_context}};
	struct kubeconfig_file *file = entry;

	void *entries = NULL;
	int rc = read_named(r, node, "contexts", fields, sizeof(*file->contexts), &entries, &file->context_count, err);

	file->contexts = entries;
	return rc;
}

/* kind and apiVersion may be missing, as in many hand-written files. */
static int read_kind(const struct reader *r, const struct tree_node *node, void *entry, struct error **err)
{
	const char *text;
	int rc = read_text(r, node, "kind", &text, err);

	(void)entry;
	if (rc == 0 && text != NULL && strcmp(text, "Config") != 0)
		return fail(r, node, err, "kind", "is not Config: this is no kubeconfig");
	return rc;
}

static int read_api_version(const struct reader *r, const struct tree_node *node, void *entry, struct error **err)
{
	const char *text;
	int rc = read_text(r, node, "apiVersion", &text, err);

	(void)entry;
	if (rc == 0 && text != NULL && strcmp(text, "v1") != 0)
		return fail(r, node, err, "apiVersion", "is not v1: this is no kubeconfig");
	return rc;
}

int kubeconfig_file_parse(const char *path, const struct secret *text, struct kubeconfig_file **ret, struct error **err)
{
	static const struct field fields[] = {
		{"kind", FIELD_CUSTOM, 0, read_kind},
		{"apiVersion", FIELD_CUSTOM, 0, read_api_version},
		{"current-context", FIELD_TEXT, offsetof(struct kubeconfig_file, current_context), NULL},
		{"clusters", FIELD_CUSTOM, 0, read_clusters},
		{"users", FIELD_CUSTOM, 0, read_users},
		{"contexts", FIELD_CUSTOM, 0, read_contexts},
	};
	_cleanup_(kubeconfig_file_freep) struct kubeconfig_file *file = xcalloc(1, sizeof(*file));
	const char *slash = strrchr(path, '/');
	struct reader r = {.path = path};
	struct yaml_tree *tree = NULL;
	int rc;

	file->path = xstrdup(path);
	/* An empty file is an empty configuration. */
	if (secret_text(text)[strspn(secret_text(text), " \t\r\n")] == '\0') {
		*ret = steal(file);
		return 0;
	}
	rc = yaml_tree_parse(path, text, &tree, err);
	if (rc < 0)
		return rc;
	r.directory = slash == NULL ? xstrdup(".") : xstrndup(path, slash == path ? 1 : (size_t)(slash - path));
	rc = read_fields(&r, yaml_tree_root(tree), "a kubeconfig", fields, ELEMENTS(fields), file, err);
	yaml_tree_free(tree);
	free(r.directory);
	if (rc < 0)
		return rc;
	*ret = steal(file);
	return 0;
}

void kubeconfig_file_free(struct kubeconfig_file *file)
{
	size_t i;

	if (file == NULL)
		return;
	for (i = 0; i < file->cluster_count; i++)
		cluster_clear(&file->clusters[i]);
	for (i = 0; i < file->user_count; i++)
		user_clear(&file->users[i]);
	for (i = 0; i < file->context_count; i++)
		context_clear(&file->contexts[i]);
	free(file->clusters);
	free(file->users);
	free(file->contexts);
	free(file->path);
	free(file->current_context);
	free(file);
}

void kubeconfig_file_freep(struct kubeconfig_file **file)
{
	kubeconfig_file_free(*file);
}
