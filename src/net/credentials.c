#include "net/credentials.h"
#include <ctype.h>
#include "base/clock.h"
#include "base/file.h"
#include "net/tls.h"

#define EARLY (60 * NS_PER_S) /* before a token ends it is fetched anew; less for one that lives shortly */

struct credentials {
	char *label;
	struct secret *token;
	char *token_file;
	uint64_t token_read; /* monotonic */
	struct secret *cert, *key;
	char *cert_file, *key_file;
	uint64_t cert_read;  /* monotonic */
	uint64_t generation; /* of cert and key; 0: there never were any */
	bool has_exec;
	struct exec_plugin plugin;
	struct exec_cluster cluster; /* of the following */
	char *server, *server_name, *proxy_url, *config_json;
	struct secret *ca_pem;
	char *const *environment;
	bool terminal;
	uint64_t exec_ran;     /* monotonic, when the last run ended; 0: never */
	uint64_t exec_expires; /* wall clock; 0: never */
	uint64_t exec_refresh; /* wall clock */
	bool exec_good;        /* it succeeded once */
};

static struct secret *copy_secret(const struct secret *secret)
{
	return secret != NULL ? secret_from(secret_data(secret), secret_len(secret)) : NULL;
}

/* --- files ------------------------------------------------------------------------------------------------------ */

/* Without white space around it, as client-go reads it. */
static int read_token(const char *path, struct secret **ret, struct error **err)
{
	_cleanup_secret_ content = NULL;
	_cleanup_secret_ token = NULL;
	const uint8_t *data;
	size_t begin = 0, end;
	int rc = file_read(path, CREDENTIALS_TOKEN_CAP, &content, err);

	if (rc < 0)
		return rc;
	data = secret_data(content);
	end = secret_len(content);
	while (end > 0 && isspace(data[end - 1]))
		end--;
	while (begin < end && isspace(data[begin]))
		begin++;
	if (begin == end)
		return error_set(err, ERROR_INPUT, "%s: the token file is empty", path);
	token = secret_from(data + begin, end - begin);
	if (!exec_token_is_usable(token))
		return error_set(err, ERROR_INPUT, "%s: the token has control characters in it", path);
	*ret = steal(token);
	return 0;
}

static int refresh_token_file(struct credentials *c, bool force, struct error **err)
{
	uint64_t now = clock_monotonic();
	struct secret *token = NULL;
	int rc;

	if (c->token != NULL && !force && now - c->token_read < CREDENTIALS_TOKEN_FILE_S * NS_PER_S)
		return 0;
	rc = read_token(c->token_file, &token, c->token == NULL ? err : NULL);
	c->token_read = now;
	/* A reading that fails leaves the old token, which may be good still. */
	if (rc < 0)
		return c->token == NULL ? rc : 0;
	secret_free(c->token);
	c->token = token;
	return 0;
}

/* Takes over both. Halves that do not belong together (a file is just being replaced) are refused. */
static int adopt_identity(struct credentials *c, struct secret **cert, struct secret **key, struct error **err)
{
	int rc;

	if (c->generation > 0 && secret_equal(c->cert, *cert) && secret_equal(c->key, *key))
		return 0;
	rc = tls_check_identity(*cert, *key, err);
	if (rc < 0)
		return rc;
	secret_free(c->cert);
	secret_free(c->key);
	c->cert = steal(*cert);
	c->key = steal(*key);
	c->generation++;
	return 0;
}

static int read_certificates(struct credentials *c, struct error **err)
{
	_cleanup_secret_ cert = copy_secret(c->cert);
	_cleanup_secret_ key = copy_secret(c->key);
	int rc;

	if (c->cert_file != NULL) {
		secret_free(steal(cert));
		rc = file_read(c->cert_file, CREDENTIALS_PEM_CAP, &cert, err);
		if (rc < 0)
			return rc;
	}
	if (c->key_file != NULL) {
		secret_free(steal(key));
		rc = file_read(c->key_file, CREDENTIALS_PEM_CAP, &key, err);
		if (rc < 0)
			return rc;
	}
	return adopt_identity(c, &cert, &key, err);
}

static void refresh_certificates(struct credentials *c, bool force)
{
	uint64_t now = clock_monotonic();

	if (!force && now - c->cert_read < CREDENTIALS_CERT_FILE_S * NS_PER_S)
		return;
	c->cert_read = now;
	/* What there is stays when this fails: the server tells when it is no longer good. */
	if (read_certificates(c, NULL) < 0)
		return;
}

/* --- the plugin ------------------------------------------------------------------------------------------------- */

static bool exec_is_due(const struct credentials *c, bool force)
{
	if (!c->exec_good)
		return true;
	/* One 401 brings many, and a plugin may hand out tokens that have ended. */
	if (clock_monotonic() - c->exec_ran < CREDENTIALS_EXEC_PAUSE_S * NS_PER_S)
		return false;
	return force || (c->exec_expires != 0 && clock_wall() >= c->exec_refresh);
}

static int adopt_credential(struct credentials *c, struct exec_credential *credential, struct error **err)
{
	uint64_t now = clock_wall();
	uint64_t life = credential->expires > now ? credential->expires - now : 0;
	int rc;

	if (credential->cert_pem != NULL) {
		rc = adopt_identity(c, &credential->cert_pem, &credential->key_pem, err);
		if (rc < 0)
			return rc;
	}
	secret_free(c->token);
	c->token = steal(credential->token);
	c->exec_expires = credential->expires;
	c->exec_refresh = credential->expires - (life / 10 < EARLY ? life / 10 : EARLY);
	c->exec_good = true;
	return 0;
}

static int refresh_exec(struct credentials *c, bool force, struct error **err)
{
	struct exec_credential credential = {0};
	_cleanup_error_ error = NULL;
	int rc;

	if (!exec_is_due(c, force))
		return 0;
	rc = exec_credential_run(&c->plugin, &c->cluster, c->environment, c->terminal, 0, &credential, &error);
	c->exec_ran = clock_monotonic();
	if (rc == 0)
		rc = adopt_credential(c, &credential, &error);
	exec_credential_clear(&credential);
	if (rc == 0)
		return 0;
	/* Too early to give up: fetching anew began before the end. */
	if (rc != -ERROR_INTERRUPTED && !force && c->exec_good && clock_wall() < c->exec_expires)
		return 0;
	rc = error_wrap(&error, rc, "%s", c->label);
	if (err != NULL)
		*err = steal(error);
	return rc;
}

/* --- all of them ------------------------------------------------------------------------------------------------ */

static void copy_exec(struct credentials *c, const struct credentials_options *options)
{
	const struct exec_plugin *from = options->exec;
	const struct exec_cluster *cluster = &options->exec_cluster;
	size_t i;

	c->has_exec = true;
	c->plugin = *from;
	c->plugin.api_version = xstrdup_or_null(from->api_version);
	c->plugin.command = xstrdup_or_null(from->command);
	c->plugin.install_hint = xstrdup_or_null(from->install_hint);
	c->plugin.arguments = c->plugin.environment = (struct strings){0};
	for (i = 0; i < from->arguments.count; i++)
		strings_add(&c->plugin.arguments, from->arguments.items[i]);
	for (i = 0; i < from->environment.count; i++)
		strings_add(&c->plugin.environment, from->environment.items[i]);
	c->cluster = (struct exec_cluster){
		.server = c->server = xstrdup_or_null(cluster->server),
		.tls_server_name = c->server_name = xstrdup_or_null(cluster->tls_server_name),
		.proxy_url = c->proxy_url = xstrdup_or_null(cluster->proxy_url),
		.insecure = cluster->insecure,
		.ca_pem = c->ca_pem = copy_secret(cluster->ca_pem),
		.config_json = c->config_json = xstrdup_or_null(cluster->config_json),
	};
}

static int load(struct credentials *c, const struct credentials_options *options, struct error **err)
{
	bool cert = options->cert_pem != NULL || options->cert_file != NULL;
	bool key = options->key_pem != NULL || options->key_file != NULL;
	bool has_static;
	int rc = 0;

	if (cert != key)
		return error_set(err, ERROR_INPUT, "a client %s without its %s", cert ? "certificate" : "key",
				 cert ? "key" : "certificate");
	if (options->token != NULL && !exec_token_is_usable(options->token))
		return error_set(err, ERROR_INPUT, "the token has control characters in it");
	if (cert) {
		c->cert_file = options->cert_pem == NULL ? xstrdup_or_null(options->cert_file) : NULL;
		c->key_file = options->key_pem == NULL ? xstrdup_or_null(options->key_file) : NULL;
		c->cert = copy_secret(options->cert_pem);
		c->key = copy_secret(options->key_pem);
		c->cert_read = clock_monotonic();
		rc = read_certificates(c, err);
	}
	if (rc == 0 && options->token_file != NULL) {
		c->token_file = xstrdup_or_null(options->token_file);
		rc = refresh_token_file(c, true, err);
	} else if (options->token != NULL) {
		c->token = copy_secret(options->token);
	}
	has_static = cert || c->token != NULL;
	/* As client-go: whoever gives something himself means that. */
	if (rc == 0 && options->exec != NULL && !has_static) {
		rc = exec_plugin_check(options->exec, err);
		copy_exec(c, options);
	}
	return rc;
}

int credentials_new(const struct credentials_options *options, struct credentials **ret, struct error **err)
{
	struct credentials *c = xcalloc(1, sizeof(*c));
	int rc;

	c->label = xstrdup(options->label);
	c->environment = options->environment;
	c->terminal = options->terminal;
	rc = load(c, options, err);
	if (rc < 0) {
		rc = error_wrap(err, rc, "%s", options->label);
		credentials_free(c);
		return rc;
	}
	*ret = c;
	return 0;
}

void credentials_free(struct credentials *c)
{
	if (c == NULL)
		return;
	free(c->label);
	secret_free(c->token);
	free(c->token_file);
	secret_free(c->cert);
	secret_free(c->key);
	free(c->cert_file);
	free(c->key_file);
	exec_plugin_clear(&c->plugin);
	free(c->server);
	free(c->server_name);
	free(c->proxy_url);
	free(c->config_json);
	secret_free(c->ca_pem);
	free(c);
}

bool credentials_have_token(const struct credentials *c)
{
	return c->token != NULL || c->has_exec;
}

bool credentials_have_identity(const struct credentials *c)
{
	return c->cert != NULL || c->has_exec;
}

int credentials_authorize(void *arg, bool force, struct secret **ret_header_value, struct error **err)
{
	struct credentials *c = arg;
	struct secret *value;
	int rc = 0;

	if (c->cert_file != NULL || c->key_file != NULL)
		refresh_certificates(c, force);
	if (c->token_file != NULL)
		rc = refresh_token_file(c, force, err);
	else if (c->has_exec)
		rc = refresh_exec(c, force, err);
	if (rc < 0)
		return rc;
	*ret_header_value = NULL;
	if (c->token == NULL)
		return 0;
	value = secret_new(secret_len(c->token) + 7);
	if (secret_append_text(value, "Bearer ") < 0 ||
	    secret_append(value, secret_data(c->token), secret_len(c->token)) < 0)
		abort();
	*ret_header_value = value;
	return 0;
}

void credentials_identity(void *arg, uint64_t *ret_generation, const struct secret **ret_cert_pem,
			  const struct secret **ret_key_pem)
{
	struct credentials *c = arg;

	*ret_generation = c->generation;
	*ret_cert_pem = c->cert;
	*ret_key_pem = c->key;
}
