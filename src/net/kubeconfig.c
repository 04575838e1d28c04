#include "net/kubeconfig.h"
#include <errno.h>
#include <fcntl.h>
#include <strings.h>
#include <unistd.h>
#include "base/file.h"
#include "base/text.h"
#include "net/credentials.h"
#include "net/kubeconfig_file.h"
#include "net/tls.h"

#define SERVICE_ACCOUNT "/var/run/secrets/kubernetes.io/serviceaccount"
#define NAMESPACE_CAP 4096
#define FILES_MAX 64

struct kube_access {
	char *source;
	char *label; /* begins messages: `FILE: cluster "x"` */
	char *server;
	char *named; /* what the kubeconfig itself says; NULL */
	char *namespace_;
	struct secret *ca; /* NULL: the system's */
	bool insecure;
	char *tls_server_name;
	char *proxy_url; /* of the kubeconfig; else the environment's */
	char *const *environment;
	uint64_t request_timeout;
	struct strings headers; /* impersonation */
	struct credentials *credentials;
};

/* The files that are read together; the first that names something decides it. */
struct merged {
	struct kubeconfig_file *files[FILES_MAX];
	size_t count;
};

static void merged_free(struct merged *merged)
{
	size_t i;

	for (i = 0; i < merged->count; i++)
		kubeconfig_file_free(merged->files[i]);
	merged->count = 0;
}

/* Like file_read, but takes pipes too: `--kubeconfig <(decrypt ...)`. */
static int read_any(const char *path, struct secret **ret, struct error **err)
{
	_cleanup_secret_ content = secret_new(KUBECONFIG_CAP);
	uint8_t chunk[8192];
	ssize_t got;
	int fd = open(path, O_RDONLY | O_CLOEXEC), rc = 0;

	if (fd < 0)
		return error_set_errno(err, errno == ENOENT || errno == ENOTDIR ? ERROR_NOT_FOUND : ERROR_IO, errno,
				       "reading the kubeconfig %s", path);
	while (rc == 0 && (got = TEMP_FAILURE_RETRY(read(fd, chunk, sizeof(chunk)))) != 0) {
		if (got < 0)
			rc = error_set_errno(err, ERROR_IO, errno, "reading the kubeconfig %s", path);
		else if (secret_append(content, chunk, (size_t)got) < 0)
			rc = error_set(err, ERROR_LIMIT, "reading the kubeconfig %s: more than %u bytes", path,
				       KUBECONFIG_CAP);
	}
	secret_wipe(chunk, sizeof(chunk));
	close(fd);
	if (rc == 0)
		*ret = steal(content);
	return rc;
}

static int merged_add(struct merged *merged, const char *path, struct error **err)
{
	_cleanup_secret_ content = NULL;
	int rc = read_any(path, &content, err);

	if (rc < 0)
		return rc;
	if (merged->count == FILES_MAX)
		return error_set(err, ERROR_LIMIT, "KUBECONFIG names more than %d files", FILES_MAX);
	rc = kubeconfig_file_parse(path, content, &merged->files[merged->count], err);
	if (rc == 0)
		merged->count++;
	return rc;
}

/* Missing ones are skipped, as kubectl does, but not all of them. */
static int merged_add_list(struct merged *merged, const char *list, struct error **err)
{
	_cleanup_strings_ paths = {0};
	size_t i, j;
	int rc;

	strings_split(&paths, list, ':');
	for (i = 0; i < paths.count; i++) {
		for (j = 0; j < i && strcmp(paths.items[i], paths.items[j]) != 0; j++)
			;
		if (j < i || paths.items[i][0] == '\0')
			continue;
		{
			_cleanup_error_ error = NULL;

			rc = merged_add(merged, paths.items[i], &error);
			if (rc == -ERROR_NOT_FOUND)
				continue;
			if (rc < 0) {
				if (err != NULL)
					*err = steal(error);
				return rc;
			}
		}
	}
	if (merged->count == 0)
		return error_set(err, ERROR_NOT_FOUND, "KUBECONFIG names no file that exists: %s", list);
	return 0;
}

/* 1: something is configured there; 0: no file, or an empty one. */
static int merged_try(struct merged *merged, const char *path, struct error **err)
{
	int rc;

	if (access(path, F_OK) < 0)
		return 0;
	rc = merged_add(merged, path, err);
	if (rc < 0)
		return rc;
	if (merged->files[0]->context_count > 0 || merged->files[0]->cluster_count > 0)
		return 1;
	merged_free(merged);
	return 0;
}

static const struct kubeconfig_context *find_context(const struct merged *merged, const char *name,
						     const char **ret_path)
{
	size_t f, i;

	for (f = 0; f < merged->count; f++) {
		const struct kubeconfig_file *file = merged->files[f];

		for (i = 0; i < file->context_count; i++) {
			if (strcmp(file->contexts[i].name, name) != 0)
				continue;
			*ret_path = file->path;
			return &file->contexts[i];
		}
	}
	return NULL;
}

static const struct kubeconfig_cluster *find_cluster(const struct merged *merged, const char *name,
						     const char **ret_path)
{
	size_t f, i;

	for (f = 0; f < merged->count; f++) {
		const struct kubeconfig_file *file = merged->files[f];

		for (i = 0; i < file->cluster_count; i++) {
			if (strcmp(file->clusters[i].name, name) != 0)
				continue;
			*ret_path = file->path;
			return &file->clusters[i];
		}
	}
	return NULL;
}

static const struct kubeconfig_user *find_user(const struct merged *merged, const char *name, const char **ret_path)
{
	size_t f, i;

	for (f = 0; f < merged->count; f++) {
		const struct kubeconfig_file *file = merged->files[f];

		for (i = 0; i < file->user_count; i++) {
			if (strcmp(file->users[i].name, name) != 0)
				continue;
			*ret_path = file->path;
			return &file->users[i];
		}
	}
	return NULL;
}

static char *all_paths(const struct merged *merged)
{
	_cleanup_strings_ paths = {0};
	size_t i;

	for (i = 0; i < merged->count; i++)
		strings_add(&paths, merged->files[i]->path);
	return strings_join(&paths, ":");
}

static int choose_context(const struct merged *merged, const char *wanted, const struct kubeconfig_context **ret,
			  const char **ret_path, struct error **err)
{
	const char *name = wanted;
	int rc;
	size_t i;

	for (i = 0; i < merged->count && name == NULL; i++)
		name = merged->files[i]->current_context;
	if (name == NULL) {
		_cleanup_free_ char *paths = all_paths(merged);

		rc = error_set(err, ERROR_INPUT, "%s: no current-context", paths);
		error_set_hint(err, "name one: --context NAME");
		return rc;
	}
	*ret = find_context(merged, name, ret_path);
	if (*ret == NULL) {
		_cleanup_free_ char *paths = all_paths(merged);

		return error_set(err, ERROR_INPUT, "%s: no context \"%s\"", paths, name);
	}
	if ((*ret)->cluster == NULL)
		return error_set(err, ERROR_INPUT, "%s: context \"%s\" names no cluster", *ret_path, name);
	return 0;
}

/* --- from a cluster and a user to an access --------------------------------------------------------------------- */

static int load_authority(struct kube_access *access, const struct kubeconfig_cluster *cluster, struct error **err)
{
	if (cluster->insecure_skip_tls_verify) {
		access->insecure = true;
		if (cluster->certificate_authority != NULL || cluster->certificate_authority_data != NULL)
			return error_set(err, ERROR_INPUT,
					 "a certificate authority and insecure-skip-tls-verify exclude each other");
		return 0;
	}
	if (cluster->certificate_authority_data != NULL) {
		access->ca = secret_from(secret_data(cluster->certificate_authority_data),
					 secret_len(cluster->certificate_authority_data));
		return 0;
	}
	if (cluster->certificate_authority != NULL)
		return file_read(cluster->certificate_authority, CREDENTIALS_PEM_CAP, &access->ca, err);
	return 0;
}

static bool has_scheme(const char *url)
{
	return strstr(url, "://") != NULL;
}

/* As client-go guesses it. */
static char *with_scheme(const struct kube_access *access, const char *server)
{
	return has_scheme(server)
		       ? xstrdup(server)
		       : xasprintf("%s://%s", access->ca != NULL || access->insecure ? "https" : "http", server);
}

/* The PEM is checked now, so that its message names the file. */
static int load_cluster(struct kube_access *access, const struct kubeconfig_cluster *cluster, const char *server,
			struct error **err)
{
	struct tls_material *material = NULL;
	int rc;

	if (server == NULL)
		server = cluster->server;
	if (server == NULL)
		return error_set(err, ERROR_INPUT, "it has no server");
	rc = load_authority(access, cluster, err);
	if (rc < 0)
		return rc;
	if (access->ca != NULL) {
		rc = tls_material_new(access->ca, NULL, NULL, &material, err);
		tls_material_unref(material);
		if (rc < 0)
			return rc;
	}
	access->server = with_scheme(access, server);
	access->named = cluster->server ? with_scheme(access, cluster->server) : NULL;
	access->tls_server_name = cluster->tls_server_name ? xstrdup(cluster->tls_server_name) : NULL;
	access->proxy_url = cluster->proxy_url ? xstrdup(cluster->proxy_url) : NULL;
	return 0;
}

/* What kubectl dropped, or we do not do: said, instead of going on as somebody else. */
static int refuse_user(const struct kubeconfig_user *user, struct error **err)
{
	int rc = 0;

	if (user->auth_provider != NULL) {
		rc = error_set(err, ERROR_INPUT, "auth-provider (%s) is gone from Kubernetes since 1.26",
			       user->auth_provider);
		error_set_hint(err, "use the provider's exec plugin instead, for example gke-gcloud-auth-plugin, "
				    "kubelogin, oidc-login");
	} else if (user->username != NULL || user->password != NULL) {
		rc = error_set(err, ERROR_INPUT, "username and password are refused by every API server since 1.19");
		error_set_hint(err, "use a client certificate, a token or an exec plugin");
	} else if (user->impersonate_extra) {
		rc = error_set(err, ERROR_INPUT, "as-user-extra is not supported");
	}
	return rc;
}

static int add_header(struct kube_access *access, const char *name, const char *value, struct error **err)
{
	_cleanup_secret_ bytes = secret_from(value, strlen(value));
	_cleanup_free_ char *line = NULL;

	if (!exec_token_is_usable(bytes))
		return error_set(err, ERROR_INPUT, "an impersonated name has control characters in it");
	line = xasprintf("%s: %s", name, value);
	strings_add(&access->headers, line);
	return 0;
}

/* What is said on the command line goes before the file, word by word, as in client-go. */
static int impersonate(struct kube_access *access, const struct kubeconfig_user *user,
		       const struct kubeconfig_options *options, struct error **err)
{
	const struct strings *groups = options->as_groups != NULL && options->as_groups->count > 0
					       ? options->as_groups
					       : &user->impersonate_groups;
	const char *name = options->as != NULL ? options->as : user->impersonate;
	int rc = 0;
	size_t i;

	if (name == NULL && (user->impersonate_uid != NULL || groups->count > 0))
		return error_set(err, ERROR_INPUT, "as-uid and as-groups need as");
	if (name != NULL)
		rc = add_header(access, "Impersonate-User", name, err);
	if (rc == 0 && user->impersonate_uid != NULL)
		rc = add_header(access, "Impersonate-Uid", user->impersonate_uid, err);
	for (i = 0; i < groups->count && rc == 0; i++)
		rc = add_header(access, "Impersonate-Group", groups->items[i], err);
	return rc;
}

static int load_user(struct kube_access *access, const struct kubeconfig_user *user,
		     const struct kubeconfig_cluster *cluster, const char *label,
		     const struct kubeconfig_options *options, struct error **err)
{
	struct credentials_options credentials = {
		.label = label,
		.token = user->token,
		.token_file = user->token_file,
		.cert_pem = user->client_certificate_data,
		.key_pem = user->client_key_data,
		.cert_file = user->client_certificate,
		.key_file = user->client_key,
		.exec = user->has_exec ? &user->exec : NULL,
		.exec_cluster =
			{
				.server = access->server,
				.tls_server_name = access->tls_server_name,
				.proxy_url = access->proxy_url,
				.insecure = access->insecure,
				.ca_pem = access->ca,
				.config_json = cluster->exec_config,
			},
		.environment = options->environment,
		.terminal = options->interactive,
	};
	int rc = refuse_user(user, err);

	if (rc == 0)
		rc = impersonate(access, user, options, err);
	if (rc < 0)
		return error_wrap(err, rc, "%s", label);
	return credentials_new(&credentials, &access->credentials, err);
}

static int load_merged(const struct merged *merged, const struct kubeconfig_options *options,
		       struct kube_access *access, struct error **err)
{
	static const struct kubeconfig_user nobody;
	const struct kubeconfig_context *context = NULL;
	const struct kubeconfig_cluster *cluster;
	const struct kubeconfig_user *user = &nobody;
	const char *context_path = NULL, *cluster_path = NULL, *user_path, *cluster_name, *user_name;
	_cleanup_free_ char *label = NULL;
	int rc = choose_context(merged, options->context, &context, &context_path, err);

	if (rc < 0 || context == NULL)
		return rc;
	cluster_name = options->cluster != NULL ? options->cluster : context->cluster;
	cluster = find_cluster(merged, cluster_name, &cluster_path);
	if (cluster == NULL)
		return error_set(err, ERROR_INPUT, "%s: context \"%s\": no cluster \"%s\"", context_path, context->name,
				 cluster_name);
	user_path = context_path;
	user_name = options->user != NULL ? options->user : context->user;
	if (user_name != NULL)
		user = find_user(merged, user_name, &user_path);
	if (user == NULL)
		return error_set(err, ERROR_INPUT, "%s: context \"%s\": no user \"%s\"", context_path, context->name,
				 user_name);
	access->source = all_paths(merged);
	access->namespace_ = xstrdup(context->namespace_ ? context->namespace_ : "default");
	access->label = xasprintf("%s: cluster \"%s\"", cluster_path, cluster->name);
	rc = load_cluster(access, cluster, options->server, err);
	if (rc < 0)
		return error_wrap(err, rc, "%s", access->label);
	label = xasprintf("%s: user \"%s\"", user_path, user->name ? user->name : "");
	return load_user(access, user, cluster, label, options, err);
}

/* --- in a pod --------------------------------------------------------------------------------------------------- */

static const char *service_account_directory(const struct kubeconfig_options *options)
{
	return options->service_account_directory ? options->service_account_directory : SERVICE_ACCOUNT;
}

static bool is_in_cluster(const struct kubeconfig_options *options)
{
	_cleanup_free_ char *token = xasprintf("%s/token", service_account_directory(options));

	return !text_empty(options->service_host) && !text_empty(options->service_port) && access(token, F_OK) == 0;
}

static int load_in_cluster(const struct kubeconfig_options *options, struct kube_access *access, struct error **err)
{
	const char *directory = service_account_directory(options);
	_cleanup_free_ char *token = xasprintf("%s/token", directory);
	_cleanup_free_ char *authority = xasprintf("%s/ca.crt", directory);
	_cleanup_free_ char *namespace_ = xasprintf("%s/namespace", directory);
	_cleanup_secret_ name = NULL;
	bool ipv6 = strchr(options->service_host, ':') != NULL;
	_cleanup_free_ char *server = xasprintf("https://%s%s%s:%s", ipv6 ? "[" : "", options->service_host,
						ipv6 ? "]" : "", options->service_port);
	struct kubeconfig_cluster cluster = {.server = server, .certificate_authority = authority};
	struct credentials_options credentials = {.label = "in-cluster", .token_file = token};
	int rc;

	access->source = xstrdup("in-cluster");
	access->label = xstrdup("in-cluster");
	rc = load_cluster(access, &cluster, options->server, err);
	if (rc == 0)
		rc = impersonate(access, &(const struct kubeconfig_user){0}, options, err);
	if (rc < 0)
		return error_wrap(err, rc, "in-cluster");
	if (file_read(namespace_, NAMESPACE_CAP, &name, NULL) == 0 && secret_len(name) > 0)
		access->namespace_ = xstrndup(secret_text(name), strcspn(secret_text(name), " \t\r\n"));
	else
		access->namespace_ = xstrdup("default");
	return credentials_new(&credentials, &access->credentials, err);
}

/* --- the whole -------------------------------------------------------------------------------------------------- */

/* 1: files were found; 0: a pod's service account is what there is. */
static int find_files(const struct kubeconfig_options *options, struct merged *merged, struct error **err)
{
	int rc = 0;

	if (!text_empty(options->explicit_path)) {
		rc = merged_add(merged, options->explicit_path, err);
		return rc < 0 ? rc : 1;
	}
	if (!text_empty(options->kubeconfig_env)) {
		rc = merged_add_list(merged, options->kubeconfig_env, err);
		return rc < 0 ? rc : 1;
	}
	if (!text_empty(options->home)) {
		_cleanup_free_ char *path = xasprintf("%s/.kube/config", options->home);

		rc = merged_try(merged, path, err);
	}
	if (rc == 0 && is_in_cluster(options))
		return 0;
	if (rc == 0 && options->fallback_path != NULL)
		rc = merged_try(merged, options->fallback_path, err);
	if (rc != 0)
		return rc;
	rc = error_set(err, ERROR_NOT_FOUND,
		       "no kubeconfig: neither --kubeconfig nor KUBECONFIG is given, ~/.kube/config holds no "
		       "cluster, and this is no pod with a service account");
	error_set_hint(err, "give one: --kubeconfig FILE");
	return rc;
}

int kube_access_load(const struct kubeconfig_options *options, struct kube_access **ret, struct error **err)
{
	_cleanup_(kube_access_freep) struct kube_access *access = xcalloc(1, sizeof(*access));
	struct merged merged = {.count = 0};
	int rc;

	access->environment = options->environment;
	access->request_timeout = options->request_timeout;
	rc = find_files(options, &merged, err);
	if (rc > 0)
		rc = load_merged(&merged, options, access, err);
	else if (rc == 0)
		rc = load_in_cluster(options, access, err);
	merged_free(&merged);
	if (rc < 0)
		return rc;
	*ret = steal(access);
	return 0;
}

int kube_access_contexts(const struct kubeconfig_options *options, struct strings *ret, struct error **err)
{
	struct merged merged = {.count = 0};
	int rc = find_files(options, &merged, err);
	size_t f, i;

	for (f = 0; f < merged.count && rc > 0; f++)
		for (i = 0; i < merged.files[f]->context_count; i++)
			if (!strings_has(ret, merged.files[f]->contexts[i].name))
				strings_add(ret, merged.files[f]->contexts[i].name);
	merged_free(&merged);
	return rc < 0 ? rc : 0;
}

void kube_access_free(struct kube_access *access)
{
	if (access == NULL)
		return;
	free(access->source);
	free(access->label);
	free(access->server);
	free(access->named);
	free(access->namespace_);
	secret_free(access->ca);
	free(access->tls_server_name);
	free(access->proxy_url);
	strings_free(&access->headers);
	credentials_free(access->credentials);
	free(access);
}

void kube_access_freep(struct kube_access **access)
{
	kube_access_free(*access);
}

const char *kube_access_server(const struct kube_access *access)
{
	return access->server;
}

const char *kube_access_named(const struct kube_access *access)
{
	return access->named;
}

const char *kube_access_namespace(const struct kube_access *access)
{
	return access->namespace_;
}

const char *kube_access_source(const struct kube_access *access)
{
	return access->source;
}

/* Go's rule: this machine is never reached through a proxy of the environment. */
static bool is_loopback(const char *url)
{
	const char *host = strstr(url, "://");

	host = host != NULL ? host + 3 : url;
	return text_starts(host, "127.") || text_starts(host, "[::1]") ||
	       (text_starts(host, "localhost") && strchr(":/", host[9]) != NULL);
}

static const char *either(char *const *environment, const char *upper, const char *lower)
{
	const char *value = exec_environment_get(environment, upper);

	if (text_empty(value))
		value = exec_environment_get(environment, lower);
	return text_empty(value) ? NULL : value;
}

static void choose_proxy(const struct kube_access *access, const char *url, struct http_options *options,
			 char **ret_proxy)
{
	const char *proxy = access->proxy_url;

	if (proxy == NULL && !is_loopback(url)) {
		if (text_starts(url, "https"))
			proxy = either(access->environment, "HTTPS_PROXY", "https_proxy");
		else
			proxy = either(access->environment, "HTTP_PROXY", "http_proxy");
		options->no_proxy = either(access->environment, "NO_PROXY", "no_proxy");
	}
	if (proxy == NULL)
		return;
	/* Go lets a SOCKS proxy resolve the name; curl calls that socks5h. */
	if (text_starts(proxy, "socks5://"))
		*ret_proxy = xasprintf("socks5h%s", proxy + strlen("socks5"));
	else
		*ret_proxy = has_scheme(proxy) ? xstrdup(proxy) : xasprintf("http://%s", proxy);
	options->proxy_url = *ret_proxy;
}

int kube_access_client(struct kube_access *access, struct loop *loop, const char *url, unsigned max_connections,
		       struct http_client **ret, struct error **err)
{
	_cleanup_free_ char *proxy = NULL;
	char **headers = xcalloc(access->headers.count + 1, sizeof(*headers));
	struct http_options options = {
		.base_url = url != NULL ? url : access->server,
		.tls = {.ca_pem = access->ca, .server_name = access->tls_server_name, .insecure = access->insecure},
		.max_connections = max_connections,
		.headers = (const char *const *)headers,
		.timeout = access->request_timeout,
		.authorize = credentials_authorize,
		.authorize_arg = access->credentials,
	};
	int rc;

	if (access->headers.count > 0)
		memcpy(headers, access->headers.items, access->headers.count * sizeof(*headers));
	if (credentials_have_identity(access->credentials))
		options.identity = credentials_identity;
	choose_proxy(access, options.base_url, &options, &proxy);
	rc = http_client_new(loop, &options, ret, err);
	free(headers);
	return rc < 0 ? error_wrap(err, rc, "%s", access->label) : 0;
}
