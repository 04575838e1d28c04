#include "net_server.h"
#include "base/clock.h"
#include "base/json_read.h"
#include "base/text.h"
#include "net/kubeconfig.h"

/* Sections for a file; a test puts what it needs around them. */
#define CLUSTER "clusters: [{name: c, cluster: {server: 'https://10.0.0.1:6443'}}]\n"
#define CONTEXT "contexts: [{name: x, context: {cluster: c, user: u, namespace: team}}]\ncurrent-context: x\n"
#define USER "users: [{name: u, user: {token: secret-token}}]\n"

static struct kubeconfig_options options_for(const char *path)
{
	return (struct kubeconfig_options){.explicit_path = path};
}

static struct kube_access *load(const struct kubeconfig_options *options)
{
	struct kube_access *access = NULL;
	struct error *err = NULL;

	assert_ok(kube_access_load(options, &access, &err), err);
	return access;
}

/* --- one file --------------------------------------------------------------------------------------------------- */

struct file_row {
	const char *name;
	const char *text;
	const char *server;  /* of a good one */
	const char *message; /* else its error; FOLDER stands for the folder */
};
static const struct file_row files[] = {
	{"the least", CLUSTER CONTEXT USER, "https://10.0.0.1:6443", NULL},
	{"with a head", "apiVersion: v1\nkind: Config\npreferences: {}\n" CLUSTER CONTEXT USER, "https://10.0.0.1:6443",
	 NULL},
	{"JSON",
	 "{\"clusters\":[{\"name\":\"c\",\"cluster\":{\"server\":\"https://"
	 "h\"}}],\"contexts\":[{\"name\":\"x\",\"context\":"
	 "{\"cluster\":\"c\",\"user\":\"\"}}],\"current-context\":\"x\"}",
	 "https://h", NULL},
	{"lists without indent",
	 "clusters:\n- name: c\n  cluster:\n    server: https://h\ncontexts:\n- name: x\n  context:\n"
	 "    cluster: c\ncurrent-context: x\n",
	 "https://h", NULL},
	{"no user", CLUSTER "contexts: [{name: x, context: {cluster: c}}]\ncurrent-context: x\n",
	 "https://10.0.0.1:6443", NULL},
	{"no scheme", "clusters: [{name: c, cluster: {server: 'h:80'}}]\n" CONTEXT USER, "http://h:80", NULL},
	{"no scheme, insecure",
	 "clusters: [{name: c, cluster: {server: 'h:80', insecure-skip-tls-verify: true}}]\n" CONTEXT USER,
	 "https://h:80", NULL},
	{"null where nothing is",
	 "clusters: [{name: c, cluster: {server: 'https://h', proxy-url: null, certificate-authority: ''}}]\n" CONTEXT
	 "users: [{name: u, user: null}]\n",
	 "https://h", NULL},
	{"impersonation", CLUSTER CONTEXT "users: [{name: u, user: {token: t, as: jane, as-groups: [a, b]}}]\n",
	 "https://10.0.0.1:6443", NULL},

	{"empty", "", NULL, "FOLDER/config: no current-context"},
	{"not YAML", "clusters: [", NULL, "FOLDER/config:2:1: not YAML: "},
	{"another kind", "kind: Secret\n", NULL, "FOLDER/config:1: kind is not Config: this is no kubeconfig"},
	{"another version", "kind: Config\napiVersion: v2\n", NULL,
	 "FOLDER/config:2: apiVersion is not v1: this is no kubeconfig"},
	{"a list", "[]", NULL, "FOLDER/config:1: a kubeconfig must be a mapping"},
	{"no current context", CLUSTER USER "contexts: [{name: x, context: {cluster: c}}]\n", NULL,
	 "FOLDER/config: no current-context"},
	{"unknown context", CLUSTER USER "current-context: z\n", NULL, "FOLDER/config: no context \"z\""},
	{"unknown cluster", CONTEXT USER, NULL, "FOLDER/config: context \"x\": no cluster \"c\""},
	{"unknown user", CLUSTER CONTEXT, NULL, "FOLDER/config: context \"x\": no user \"u\""},
	{"context without a cluster", "contexts: [{name: x, context: {user: u}}]\ncurrent-context: x\n" USER, NULL,
	 "FOLDER/config: context \"x\" names no cluster"},
	{"no server", "clusters: [{name: c, cluster: {}}]\n" CONTEXT USER, NULL,
	 "FOLDER/config: cluster \"c\": it has no server"},
	{"a name twice", CLUSTER CONTEXT "users:\n- name: u\n- name: u\n", NULL,
	 "FOLDER/config:6: users has \"u\" twice"},
	{"a key twice", CLUSTER CLUSTER, NULL, "FOLDER/config:2: clusters is given twice"},
	{"a nameless user", CLUSTER CONTEXT "users: [{user: {token: t}}]\n", NULL,
	 "FOLDER/config:4: users has an entry without a name"},
	{"a mapping for a list", "users: {u: {token: t}}\n", NULL, "FOLDER/config:1: users must be a list"},
	{"a number for a token", CLUSTER CONTEXT "users: [{name: u, user: {token: 12345}}]\n", NULL,
	 "FOLDER/config:4: token must be a string (put a number or true in quotes)"},
	{"a word for a boolean", "clusters: [{name: c, cluster: {insecure-skip-tls-verify: maybe}}]\n", NULL,
	 "FOLDER/config:1: insecure-skip-tls-verify must be true or false"},
	{"no base64", "clusters: [{name: c, cluster: {certificate-authority-data: '*'}}]\n", NULL,
	 "FOLDER/config:1: certificate-authority-data is no base64"},
	{"no PEM in it",
	 "clusters: [{name: c, cluster: {server: 'https://h', certificate-authority-data: aGk=}}]\n" CONTEXT USER, NULL,
	 "FOLDER/config: cluster \"c\": certificate authority: no PEM certificate in it"},
	{"authority file missing",
	 "clusters: [{name: c, cluster: {server: 'https://h', certificate-authority: ca.crt}}]\n" CONTEXT USER, NULL,
	 "FOLDER/config: cluster \"c\": reading FOLDER/ca.crt: No such file or directory"},
	{"insecure with an authority",
	 "clusters: [{name: c, cluster: {server: 'https://h', certificate-authority: ca.crt, insecure-skip-tls-verify: "
	 "true}}]\n" CONTEXT USER,
	 NULL, "FOLDER/config: cluster \"c\": a certificate authority and insecure-skip-tls-verify exclude each other"},
	{"a token with a line end", CLUSTER CONTEXT "users: [{name: u, user: {token: \"a\\nb\"}}]\n", NULL,
	 "FOLDER/config: user \"u\": the token has control characters in it"},
	{"token file missing", CLUSTER CONTEXT "users: [{name: u, user: {tokenFile: /nonexistent/t}}]\n", NULL,
	 "FOLDER/config: user \"u\": reading /nonexistent/t: No such file or directory"},
	{"certificate without key", CLUSTER CONTEXT "users: [{name: u, user: {client-certificate: c.crt}}]\n", NULL,
	 "FOLDER/config: user \"u\": a client certificate without its key"},
	{"key without certificate", CLUSTER CONTEXT "users: [{name: u, user: {client-key-data: aGk=}}]\n", NULL,
	 "FOLDER/config: user \"u\": a client key without its certificate"},
	{"broken client certificate",
	 CLUSTER CONTEXT "users: [{name: u, user: {client-key-data: aGk=, client-certificate-data: aGk=}}]\n", NULL,
	 "FOLDER/config: user \"u\": client certificate: no PEM certificate in it"},
	{"password", CLUSTER CONTEXT "users: [{name: u, user: {username: a, password: hunter2}}]\n", NULL,
	 "FOLDER/config: user \"u\": username and password are refused by every API server since 1.19"},
	{"auth-provider", CLUSTER CONTEXT "users: [{name: u, user: {auth-provider: {name: gcp}}}]\n", NULL,
	 "FOLDER/config: user \"u\": auth-provider (gcp) is gone from Kubernetes since 1.26"},
	{"groups alone", CLUSTER CONTEXT "users: [{name: u, user: {as-groups: [a]}}]\n", NULL,
	 "FOLDER/config: user \"u\": as-uid and as-groups need as"},
	{"extra", CLUSTER CONTEXT "users: [{name: u, user: {as: a, as-user-extra: {k: [v]}}}]\n", NULL,
	 "FOLDER/config: user \"u\": as-user-extra is not supported"},
	{"a header in a name", CLUSTER CONTEXT "users: [{name: u, user: {as: \"a\\r\\nX: y\"}}]\n", NULL,
	 "FOLDER/config: user \"u\": an impersonated name has control characters in it"},
	{"exec without version", CLUSTER CONTEXT "users: [{name: u, user: {exec: {command: x}}}]\n", NULL,
	 "FOLDER/config: user \"u\": exec has no apiVersion"},
	{"exec without mode",
	 CLUSTER CONTEXT
	 "users: [{name: u, user: {exec: {command: x, apiVersion: client.authentication.k8s.io/v1}}}]\n",
	 NULL, "FOLDER/config: user \"u\": exec of client.authentication.k8s.io/v1 has no interactiveMode"},
	{"exec with a strange mode", CLUSTER CONTEXT "users: [{name: u, user: {exec: {interactiveMode: Perhaps}}}]\n",
	 NULL, "FOLDER/config:4: interactiveMode must be Never, IfAvailable or Always"},
	{"exec with a nameless variable", CLUSTER CONTEXT "users: [{name: u, user: {exec: {env: [{value: x}]}}}]\n",
	 NULL, "FOLDER/config:4: an item of env has no usable name"},
};

static void test_file(void **state)
{
	const struct file_row *row = *state;
	struct kubeconfig_options options;
	struct kube_access *access = NULL;
	struct error *err = NULL;
	const char *path, *found;
	_cleanup_free_ char *got = NULL;
	int rc;

	assert_int_equal(make_folder(NULL), 0);
	path = in_folder("config");
	put_file(path, row->text);
	options = options_for(path);
	rc = kube_access_load(&options, &access, &err);
	if (row->server != NULL) {
		assert_ok(rc, err);
		assert_string_equal(kube_access_server(access), row->server);
		assert_string_equal(kube_access_source(access), path);
		kube_access_free(access);
		remove_folder(NULL);
		return;
	}
	assert_true(rc < 0);
	assert_null(access);
	/* The folder's random name, written as FOLDER. */
	got = xstrdup(error_message(err));
	while ((found = strstr(got, folder)) != NULL) {
		char *next = xasprintf("%.*sFOLDER%s", (int)(found - got), got, found + strlen(folder));

		free(got);
		got = next;
	}
	if (!text_starts(got, row->message))
		fail_msg("got \"%s\"", got);
	assert_null(strstr(got, "hunter2"));
	error_free(err);
	remove_folder(NULL);
}

/* --- which files ------------------------------------------------------------------------------------------------ */

static void test_merging(void **state)
{
	_cleanup_free_ char *first = xstrdup(in_folder("first")), *second = xstrdup(in_folder("second"));
	_cleanup_free_ char *list = xasprintf("/nonexistent:%s::%s:%s", first, second, first);
	struct kubeconfig_options options = {.kubeconfig_env = list, .home = "/nonexistent"};
	_cleanup_(kube_access_freep) struct kube_access *access = NULL;
	_cleanup_free_ char *both = xasprintf("%s:%s", first, second);
	struct error *err = NULL;
	struct kube_access *other = NULL;

	(void)state;
	put_file(first, "clusters: [{name: c, cluster: {server: 'https://first'}}]\ncurrent-context: x\n");
	/* The first that names something decides it, entry by entry. */
	put_file(second, "clusters: [{name: c, cluster: {server: 'https://second', proxy-url: 'http://p'}}, {name: d, "
			 "cluster: {server: 'https://d'}}]\n"
			 "contexts: [{name: x, context: {cluster: c, namespace: team}}, {name: z, context: {cluster: "
			 "d}}]\ncurrent-context: z\n");
	access = load(&options);
	assert_string_equal(kube_access_server(access), "https://first");
	assert_string_equal(kube_access_namespace(access), "team");
	assert_string_equal(kube_access_source(access), both);
	options.context = "z";
	other = load(&options);
	assert_string_equal(kube_access_server(other), "https://d");
	assert_string_equal(kube_access_namespace(other), "default");
	kube_access_free(other);
	options.server = "https://elsewhere:1";
	other = load(&options);
	assert_string_equal(kube_access_server(other), "https://elsewhere:1");
	assert_string_equal(kube_access_named(other), "https://d");
	kube_access_free(other);
	options.kubeconfig_env = "/nonexistent:/also";
	assert_error(kube_access_load(&options, &other, &err), err, ERROR_NOT_FOUND,
		     "KUBECONFIG names no file that exists: /nonexistent:/also");
}

static void test_order_of_sources(void **state)
{
	_cleanup_free_ char *explicit_path = xstrdup(in_folder("explicit")), *fallback = xstrdup(in_folder("fallback"));
	_cleanup_free_ char *config = xstrdup(in_folder(".kube/config"));
	struct kubeconfig_options options = {
		.home = folder, .fallback_path = fallback, .service_account_directory = in_folder("sa")};
	struct kube_access *access = NULL;
	struct error *err = NULL;

	(void)state;
	assert_int_equal(kube_access_load(&options, &access, &err), -ERROR_NOT_FOUND);
	assert_true(text_starts(error_message(err), "no kubeconfig: "));
	assert_string_equal(error_hint(err), "give one: --kubeconfig FILE");
	error_clear(&err);
	put_file(fallback, "clusters: [{name: c, cluster: {server: 'https://fallback'}}]\n" CONTEXT USER);
	access = load(&options);
	assert_string_equal(kube_access_server(access), "https://fallback");
	kube_access_free(access);
	/* In a pod. */
	assert_int_equal(mkdir(in_folder("sa"), 0700), 0);
	put_file(in_folder("sa/token"), "pod-token\n");
	options.service_host = "fd00::1";
	options.service_port = "443";
	assert_int_equal(kube_access_load(&options, &access, &err), -ERROR_NOT_FOUND);
	assert_true(text_starts(error_message(err), "in-cluster: reading "));
	error_clear(&err);
	make_authority("ca");
	in_shell("mv ca.crt sa/");
	put_file(in_folder("sa/namespace"), "kube-rekey\n");
	access = load(&options);
	assert_string_equal(kube_access_server(access), "https://[fd00::1]:443");
	assert_string_equal(kube_access_namespace(access), "kube-rekey");
	assert_string_equal(kube_access_source(access), "in-cluster");
	kube_access_free(access);
	options.server = "10.0.0.1:6443";
	access = load(&options);
	assert_string_equal(kube_access_server(access), "https://10.0.0.1:6443");
	assert_string_equal(kube_access_named(access), "https://[fd00::1]:443");
	kube_access_free(access);
	options.server = NULL;
	/* Home goes first, if there is anything in it. */
	assert_int_equal(mkdir(in_folder(".kube"), 0700), 0);
	put_file(config, "apiVersion: v1\nkind: Config\n");
	access = load(&options);
	assert_string_equal(kube_access_source(access), "in-cluster");
	kube_access_free(access);
	put_file(config, "clusters: [{name: c, cluster: {server: 'https://home'}}]\n" CONTEXT USER);
	access = load(&options);
	assert_string_equal(kube_access_server(access), "https://home");
	kube_access_free(access);
	options.explicit_path = explicit_path;
	assert_int_equal(kube_access_load(&options, &access, &err), -ERROR_NOT_FOUND);
	error_clear(&err);
	put_file(explicit_path, "clusters: [{name: c, cluster: {server: 'https://explicit'}}]\n" CONTEXT USER);
	access = load(&options);
	assert_string_equal(kube_access_server(access), "https://explicit");
	kube_access_free(access);
}

/* `--kubeconfig <(decrypt config)` */
static void test_pipe(void **state)
{
	int fds[2];
	_cleanup_(kube_access_freep) struct kube_access *access = NULL;
	struct kubeconfig_options options;
	char path[64];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	assert_true(write(fds[1], CLUSTER CONTEXT USER, strlen(CLUSTER CONTEXT USER)) > 0);
	close(fds[1]);
	snprintf(path, sizeof(path), "/dev/fd/%d", fds[0]);
	options = options_for(path);
	access = load(&options);
	assert_string_equal(kube_access_namespace(access), "team");
	close(fds[0]);
}

/* --- against a server ------------------------------------------------------------------------------------------- */

static char *fetch_text(struct http_client *client, const char *path, unsigned status)
{
	_cleanup_response_ response = {0};
	struct error *err = NULL;

	assert_ok(http_fetch(client, &(struct http_request){.method = "GET", .path = path}, &response, &err), err);
	assert_int_equal(response.status, status);
	return xstrdup(buf_text(&response.body));
}

static struct loop *new_loop(void)
{
	struct loop *loop = NULL;
	struct error *err = NULL;

	assert_ok(loop_new(&loop, &err), err);
	return loop;
}

static struct http_client *new_client(struct kube_access *access, struct loop *loop, const char *url)
{
	struct http_client *client = NULL;
	struct error *err = NULL;

	assert_ok(kube_access_client(access, loop, url, 2, &client, &err), err);
	return client;
}

/* The context and a cluster for a test's server, then the user. */
static struct kube_access *access_for(const char *url, const char *cluster, const char *user,
				      struct kubeconfig_options options)
{
	_cleanup_free_ char *text = xasprintf("clusters: [{name: c, cluster: {server: '%s'%s}}]\n" CONTEXT
					      "users: [{name: u, user: {%s}}]\n",
					      url, cluster, user);

	put_file(in_folder("config"), text);
	options.explicit_path = in_folder("config");
	return load(&options);
}

static void test_tokens(void **state)
{
	struct net_server server = net_server_start("http", NULL);
	_cleanup_(loop_freep) struct loop *loop = new_loop();
	struct kubeconfig_options none = {0};
	struct kube_access *access = access_for(server.url, "", "token: good", none);
	struct http_client *client = new_client(access, loop, NULL);

	(void)state;
	free(fetch_text(client, "/auth/good", 200));
	free(fetch_text(client, "/auth/other", 401));
	http_client_free(client);
	kube_access_free(access);
	/* A file: relative to the kubeconfig, before the token, read again after a 401. */
	put_file(in_folder("token"), "  first\n");
	access = access_for(server.url, "", "token: good, tokenFile: token", none);
	client = new_client(access, loop, NULL);
	free(fetch_text(client, "/auth/first", 200));
	put_file(in_folder("token"), "second\n");
	free(fetch_text(client, "/auth/first", 200));
	free(fetch_text(client, "/auth/second", 200));
	/* Gone, or empty: what was read last is used on. */
	assert_int_equal(unlink(in_folder("token")), 0);
	free(fetch_text(client, "/auth/third", 401));
	free(fetch_text(client, "/auth/second", 200));
	http_client_free(client);
	kube_access_free(access);
	net_server_stop(&server);
}

static void test_impersonation_header(void **state)
{
	struct net_server server = net_server_start("http", NULL);
	_cleanup_(loop_freep) struct loop *loop = new_loop();
	struct kubeconfig_options none = {0};
	_cleanup_(kube_access_freep) struct kube_access *access =
		access_for(server.url, "", "token: t, as: jane, as-uid: '7', as-groups: [a, b]", none);
	_cleanup_(http_client_freep) struct http_client *client = new_client(access, loop, NULL);
	_cleanup_free_ char *text = fetch_text(client, "/echo", 200);

	(void)state;
	assert_non_null(strstr(text, "[\"impersonate-user\", \"jane\"], [\"impersonate-uid\", \"7\"], "
				     "[\"impersonate-group\", \"a\"], [\"impersonate-group\", \"b\"]"));
	net_server_stop(&server);
}

/* --as, --as-group, --cluster and --user go before what the kubeconfig says. */
static void test_said_beside_the_kubeconfig(void **state)
{
	struct net_server server = net_server_start("http", NULL);
	_cleanup_(loop_freep) struct loop *loop = new_loop();
	_cleanup_strings_ groups = {0};
	_cleanup_free_ char *config = xasprintf(
		"clusters: [{name: c, cluster: {server: 'https://c'}}, {name: d, cluster: {server: '%s'}}]\n" CONTEXT
		"users: [{name: u, user: {token: t}}, {name: v, user: {token: w, as: jane, as-groups: [a]}}]\n",
		server.url);
	struct kubeconfig_options said = {
		.explicit_path = in_folder("config"), .cluster = "d", .user = "v", .as = "bob", .as_groups = &groups};
	struct kube_access *access = NULL;
	struct error *err = NULL;

	(void)state;
	strings_add(&groups, "x");
	strings_add(&groups, "y");
	put_file(in_folder("config"), config);
	access = load(&said);
	struct http_client *client = new_client(access, loop, NULL);
	_cleanup_free_ char *text = fetch_text(client, "/echo", 200);
	assert_non_null(strstr(text, "[\"impersonate-user\", \"bob\"], [\"impersonate-group\", \"x\"], "
				     "[\"impersonate-group\", \"y\"]"));
	assert_non_null(strstr(text, "Bearer w"));
	http_client_free(client);
	kube_access_free(access);
	said.user = "nobody";
	assert_int_equal(kube_access_load(&said, &access, &err), -ERROR_INPUT);
	assert_non_null(strstr(error_message(err), "context \"x\": no user \"nobody\""));
	error_clear(&err);
	said.user = NULL;
	said.as = NULL;
	assert_int_equal(kube_access_load(&said, &access, &err), -ERROR_INPUT);
	assert_non_null(strstr(error_message(err), "as-groups need as"));
	error_clear(&err);
	said.cluster = "none";
	assert_int_equal(kube_access_load(&said, &access, &err), -ERROR_INPUT);
	assert_non_null(strstr(error_message(err), "context \"x\": no cluster \"none\""));
	error_clear(&err);
	net_server_stop(&server);
}

/* Counts its runs in a file; the token is the number. */
#define COUNTING_PLUGIN                                                                               \
	"#!/bin/sh\n"                                                                                 \
	"cd \"$(dirname \"$0\")\"; echo run >>runs; n=$(wc -l <runs)\n"                               \
	"echo '{\"kind\":\"ExecCredential\",\"apiVersion\":\"client.authentication.k8s.io/v1beta1\"," \
	"\"status\":{\"token\":\"'$n'\"'$MORE'}}'\n"

static size_t runs(void)
{
	FILE *file = fopen(in_folder("runs"), "re");
	size_t count = 0;
	int c;

	if (file == NULL)
		return 0;
	while ((c = fgetc(file)) != EOF)
		count += c == '\n';
	fclose(file);
	return count;
}

#define EXEC                                                                                                     \
	"exec: {apiVersion: client.authentication.k8s.io/v1beta1, command: ./plugin, env: [{name: MORE, value: " \
	"'%s'}]}"

static void test_exec_plugin(void **state)
{
	struct net_server server = net_server_start("http", NULL);
	_cleanup_(loop_freep) struct loop *loop = new_loop();
	struct kubeconfig_options options = {.environment = environ};
	_cleanup_free_ char *user = xasprintf(EXEC, "");
	struct kube_access *access;
	struct http_client *client;

	(void)state;
	put_file(in_folder("plugin"), COUNTING_PLUGIN);
	assert_int_equal(chmod(in_folder("plugin"), 0700), 0);
	access = access_for(server.url, "", user, options);
	client = new_client(access, loop, NULL);
	assert_int_equal(runs(), 0);
	free(fetch_text(client, "/auth/1", 200));
	free(fetch_text(client, "/auth/1", 200));
	assert_int_equal(runs(), 1);
	/* A 401 right after a run does not run it again: it would be run for each call. */
	free(fetch_text(client, "/auth/2", 401));
	assert_int_equal(runs(), 1);
	http_client_free(client);
	kube_access_free(access);
	/* Expired from the beginning, and still not run for each call. */
	free(user);
	user = xasprintf(EXEC, ",\"expirationTimestamp\":\"2001-02-03T04:05:06Z\"");
	access = access_for(server.url, "", user, options);
	client = new_client(access, loop, NULL);
	free(fetch_text(client, "/auth/2", 200));
	free(fetch_text(client, "/auth/2", 200));
	assert_int_equal(runs(), 2);
	http_client_free(client);
	kube_access_free(access);
	net_server_stop(&server);
}

static void test_exec_plugin_fails(void **state)
{
	struct net_server server = net_server_start("http", NULL);
	_cleanup_(loop_freep) struct loop *loop = new_loop();
	struct kubeconfig_options options = {.environment = environ};
	_cleanup_(kube_access_freep) struct kube_access *access = access_for(
		server.url, "",
		"exec: {apiVersion: client.authentication.k8s.io/v1beta1, command: no-such, installHint: get it}",
		options);
	_cleanup_(http_client_freep) struct http_client *client = new_client(access, loop, NULL);
	_cleanup_free_ char *message = xasprintf(
		"%s: user \"u\": exec plugin \"no-such\": it was not found, or may not be run", in_folder("config"));
	struct http_response response;
	struct error *err = NULL;
	int rc = http_fetch(client, &(struct http_request){.method = "GET", .path = "/plain"}, &response, &err);

	(void)state;
	assert_string_equal(error_hint(err), "get it");
	assert_error(rc, err, ERROR_AUTH, message);
	net_server_stop(&server);
}

static void test_certificates(void **state)
{
	_cleanup_(loop_freep) struct loop *loop = new_loop();
	struct kubeconfig_options none = {.environment = environ};
	_cleanup_free_ char *cert = xstrdup(in_folder("server.crt")), *key = xstrdup(in_folder("server.key"));
	_cleanup_free_ char *ca = xstrdup(in_folder("ca.crt")), *text = NULL, *localhost = NULL;
	struct net_server server;
	struct kube_access *access;
	struct http_client *client;

	(void)state;
	make_authority("ca");
	make_certificate("ca", "server", "DNS:api.test");
	make_certificate("ca", "first", "DNS:x");
	make_certificate("ca", "second", "DNS:x");
	server = net_server_start("https", (const char *[]){"--tls", cert, key, "--client-ca", ca, NULL});
	/* Files, relative, and a name for TLS. */
	in_shell("cp first.crt c.crt; cp first.key c.key");
	access = access_for(server.url, ", certificate-authority: ca.crt, tls-server-name: api.test",
			    "client-certificate: c.crt, client-key: c.key", none);
	client = new_client(access, loop, NULL);
	text = fetch_text(client, "/client", 200);
	assert_string_equal(text, "first");
	/* Read again when the server says 401. */
	in_shell("cp second.crt c.crt; cp second.key c.key");
	free(fetch_text(client, "/auth/x", 401));
	free(text);
	text = fetch_text(client, "/client", 200);
	assert_string_equal(text, "second");
	/* The same access for another address. */
	http_client_free(client);
	localhost = xasprintf("https://localhost:%s", strrchr(server.url, ':') + 1);
	client = new_client(access, loop, localhost);
	free(text);
	text = fetch_text(client, "/client", 200);
	assert_string_equal(text, "second");
	http_client_free(client);
	kube_access_free(access);
	/* From a plugin. */
	put_file(
		in_folder("plugin"),
		"#!/bin/sh\ncd \"$(dirname \"$0\")\"\npem() { awk '{printf \"%s\\\\n\", $0}' $1; }\n"
		"echo '{\"kind\":\"ExecCredential\",\"apiVersion\":\"client.authentication.k8s.io/v1beta1\",\"status\":"
		"{\"clientCertificateData\":\"'\"$(pem first.crt)\"'\",\"clientKeyData\":\"'\"$(pem "
		"first.key)\"'\"}}'\n");
	assert_int_equal(chmod(in_folder("plugin"), 0700), 0);
	access = access_for(server.url, ", certificate-authority: ca.crt, tls-server-name: api.test",
			    "exec: {apiVersion: client.authentication.k8s.io/v1beta1, command: ./plugin}", none);
	client = new_client(access, loop, NULL);
	free(text);
	text = fetch_text(client, "/client", 200);
	assert_string_equal(text, "first");
	http_client_free(client);
	kube_access_free(access);
	net_server_stop(&server);
}

/* --- proxies ---------------------------------------------------------------------------------------------------- */

struct proxy_row {
	const char *name;
	const char *server;
	const char *cluster;     /* more members of it */
	const char *environment; /* one variable, or NULL */
	bool proxied;            /* the test's server, as proxy, answers */
};
/* PORT is that of the test's server. */
static const struct proxy_row proxies[] = {
	{"none", "http://kube-rekey.invalid", "", NULL, false},
	{"the kubeconfig's", "http://kube-rekey.invalid", ", proxy-url: 'http://127.0.0.1:PORT'", NULL, true},
	{"the environment's", "http://kube-rekey.invalid", "", "HTTP_PROXY=http://127.0.0.1:PORT", true},
	{"without a scheme", "http://kube-rekey.invalid", "", "http_proxy=127.0.0.1:PORT", true},
	{"that of another scheme", "http://kube-rekey.invalid", "", "HTTPS_PROXY=http://127.0.0.1:PORT", false},
	{"the kubeconfig's goes first", "http://kube-rekey.invalid", ", proxy-url: 'http://127.0.0.1:PORT'",
	 "HTTP_PROXY=http://127.0.0.1:1", true},
	{"loopback has none", "http://127.0.0.1:1", "", "HTTP_PROXY=http://127.0.0.1:PORT", false},
	{"localhost has none", "http://localhost:1", "", "HTTP_PROXY=http://127.0.0.1:PORT", false},
};

static char *with_port(const char *text, const char *port)
{
	const char *at = strstr(text, "PORT");

	return at == NULL ? xstrdup(text) : xasprintf("%.*s%s%s", (int)(at - text), text, port, at + 4);
}

static void test_proxy(void **state)
{
	const struct proxy_row *row = *state;
	struct net_server server = net_server_start("http", NULL);
	_cleanup_(loop_freep) struct loop *loop = new_loop();
	_cleanup_free_ char *cluster = with_port(row->cluster, strrchr(server.url, ':') + 1);
	_cleanup_free_ char *variable =
		with_port(row->environment ? row->environment : "X=1", strrchr(server.url, ':') + 1);
	char *environment[] = {variable, NULL};
	struct kubeconfig_options options = {.environment = environment};
	_cleanup_(kube_access_freep) struct kube_access *access = NULL;
	_cleanup_(http_client_freep) struct http_client *client = NULL;
	_cleanup_response_ response = {0};
	int rc;

	assert_int_equal(make_folder(NULL), 0);
	access = access_for(row->server, cluster, "token: t", options);
	client = new_client(access, loop, NULL);
	/* curl's own look into the environment must find nothing to follow. */
	setenv("http_proxy", "http://127.0.0.1:1", 1);
	rc = http_fetch(client, &(struct http_request){.method = "GET", .path = "/plain"}, &response, NULL);
	unsetenv("http_proxy");
	assert_int_equal(rc == 0 && response.status == 200, row->proxied);
	net_server_stop(&server);
	remove_folder(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		folder_test(test_merging),
		folder_test(test_order_of_sources),
		cmocka_unit_test(test_pipe),
		folder_test(test_tokens),
		folder_test(test_impersonation_header),
		folder_test(test_said_beside_the_kubeconfig),
		folder_test(test_exec_plugin),
		folder_test(test_exec_plugin_fails),
		folder_test(test_certificates),
	};

	json_install_hooks();
	return cmocka_run_group_tests(tests, NULL, NULL) + RUN_ROWS(test_file, files) + RUN_ROWS(test_proxy, proxies);
}
