/* What check reads out of an API server's lists: which webhooks and admission policies see an update, and which fields of a
 * custom resource are called like credentials. The first byte chooses. */
#include <stdlib.h>
#include <string.h>

#include "base/json_read.h"
#include "engine/check_internal.h"
#include "valid_utf8.h"

#define NAME_MAX_SEEN 253 /* as check_credentials.c has it */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct kube_resource secrets = {.group = (char *)"",
					     .plural = (char *)"secrets",
					     .resource = (char *)"secrets"},
				  widgets = {.group = (char *)"example.com",
					     .plural = (char *)"widgets",
					     .resource = (char *)"widgets.example.com"};

static void try_webhooks(const cJSON *list)
{
	const struct kube_resource *const resources[] = {&secrets, &widgets};
	struct check_facts facts = {0};

	check_add_webhooks(list, "Kind", true, resources, ELEMENTS(resources), &facts);
	for (size_t i = 0; i < facts.webhook_count; i++) {
		const struct check_webhook *webhook = &facts.webhooks[i];

		if (strstr(webhook->name, "Kind ") == NULL || webhook->resources.count == 0 ||
		    webhook->resources.count > ELEMENTS(resources))
			abort();
	}
	check_facts_free(&facts);
}

/* What is found is named by a field that is called like a credential; what is printed of it is text. */
static void try_credentials(const cJSON *object)
{
	struct check_facts facts = {0};
	_cleanup_free_ char *field = check_credential_in(object);

	if (field == NULL)
		return;
	/* A path ends with the field's own name; of one beyond the cap not all of it is looked at. */
	if (field[0] == '\0' || (strlen(field) <= NAME_MAX_SEEN && !check_names_credential(field)))
		abort();
	check_add_credential(&facts, "widgets.example.com", "ns", "name", field);
	if (facts.credential_count != 1 ||
	    !valid_utf8((const uint8_t *)facts.credentials[0].field, strlen(facts.credentials[0].field)))
		abort();
	check_facts_free(&facts);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct {
		char choice;
		void (*try)(const cJSON *doc);
	} tries[] = {{'w', try_webhooks}, {'c', try_credentials}};
	_cleanup_json_ doc = NULL;

	if (size == 0 || json_parse((const char *)data + 1, size - 1, "fuzz", &doc, NULL) < 0)
		return 0;
	for (size_t i = 0; i < ELEMENTS(tries); i++)
		if (data[0] == (uint8_t)tries[i].choice)
			tries[i].try(doc);
	return 0;
}
