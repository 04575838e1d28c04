/* A static-pod manifest, and the same bytes as a command line: what is found is complete. */
#include "engine/node.h"

static void must(bool condition)
{
	if (!condition)
		abort();
}

static void check(struct node_facts *facts)
{
	must(facts->source != NULL);
	must(facts->etcd_servers != NULL || facts->etcd_server_count == 0);
	must(facts->encryption_config != NULL || (facts->encryption_config_host == NULL && !facts->single_file_mount));
	for (size_t i = 0; i < facts->etcd_server_count; i++)
		must(facts->etcd_servers[i][0] != '\0');
	node_facts_free(facts);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct node_facts facts = {0};
	_cleanup_error_ err = NULL;
	int rc = node_facts_from_manifest("m.yaml", (const char *)data, size, &facts, &err);

	if (rc == 0)
		check(&facts);
	else
		must(rc == -ERROR_INPUT && strncmp(error_message(err), "m.yaml:", 7) == 0 && facts.source == NULL);
	if (node_facts_from_cmdline(1, (const char *)data, size, &facts, NULL) == 0)
		check(&facts);
	return 0;
}
