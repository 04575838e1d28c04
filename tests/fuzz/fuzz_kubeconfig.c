/* A kubeconfig file: whatever is accepted is complete, and its paths are absolute. */
#include "base/json_read.h"
#include "net/kubeconfig_file.h"

static void must(bool condition)
{
	if (!condition)
		abort();
}

static bool is_absolute(const char *path)
{
	return path == NULL || path[0] == '/';
}

static void check_cluster(const struct kubeconfig_cluster *cluster)
{
	_cleanup_json_ json = NULL;

	must(cluster->name != NULL && is_absolute(cluster->certificate_authority));
	must(cluster->server == NULL || cluster->server[0] != '\0');
	if (cluster->exec_config != NULL)
		must(json_parse(cluster->exec_config, strlen(cluster->exec_config), "config", &json, NULL) !=
		     -ERROR_INPUT);
}

static void check_user(const struct kubeconfig_user *user)
{
	const struct exec_plugin *plugin = &user->exec;
	struct exec_cluster cluster = {.server = "https://h"};

	must(user->name != NULL && is_absolute(user->client_certificate) && is_absolute(user->client_key) &&
	     is_absolute(user->token_file));
	must(user->token == NULL || secret_len(user->token) > 0);
	if (plugin->command != NULL && strchr(plugin->command, '/') != NULL)
		must(plugin->command[0] == '/');
	for (size_t i = 0; i < plugin->environment.count; i++)
		must(strchr(plugin->environment.items[i], '=') != NULL);
	if (user->has_exec && exec_plugin_check(plugin, NULL) == 0)
		free(exec_credential_info(plugin, &cluster, false));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_secret_ text = secret_from(data, size);
	_cleanup_(kubeconfig_file_freep) struct kubeconfig_file *file = NULL;
	_cleanup_error_ err = NULL;
	int rc = kubeconfig_file_parse("/folder/config", text, &file, &err);

	if (rc < 0) {
		must(file == NULL && error_code(err) == (enum error_code) - rc);
		must(strncmp(error_message(err), "/folder/config:", 15) == 0 &&
		     strchr(error_message(err), '\n') == NULL);
		return 0;
	}
	must(err == NULL);
	for (size_t i = 0; i < file->cluster_count; i++)
		check_cluster(&file->clusters[i]);
	for (size_t i = 0; i < file->user_count; i++)
		check_user(&file->users[i]);
	for (size_t i = 0; i < file->context_count; i++)
		must(file->contexts[i].name != NULL);
	return 0;
}
