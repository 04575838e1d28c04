/* A static-pod manifest, and the same bytes as a command line: what is found is complete. An annotation of it is changed, and
 * then says what it was given, however often. */
#include "base/secret.h"
#include "base/text.h"
#include "engine/node.h"
#include "format/manifest_edit.h"

#define ANNOTATION "kube-rekey.dev/replaces-process"

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

static struct secret *annotated(const struct secret *text, const char *value)
{
	struct secret *changed = NULL;
	if (manifest_annotate("m.yaml", text, ANNOTATION, value, &changed, NULL) < 0)
		return NULL;
	_cleanup_free_ char *said = NULL;
	must(manifest_annotation("m.yaml", changed, ANNOTATION, &said, NULL) == 0 && text_equal(said, value));
	return changed;
}

static void check_annotation(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *said = NULL;
	_cleanup_secret_ text = secret_from(data, size);
	(void)!manifest_annotation("m.yaml", text, ANNOTATION, &said, NULL);
	_cleanup_secret_ once = annotated(text, "7");
	_cleanup_secret_ twice = once ? annotated(once, "12") : NULL;
	must(!once || twice);
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
	check_annotation(data, size);
	return 0;
}
