/* Fields that are called like credentials, in objects that are stored in plaintext: by their names alone, no value is kept.
 *
 * Formats: core/v1 ConfigMap {1 metadata, 2 repeated data {1 key, 2 value}, 3 repeated binaryData}; custom resources in JSON. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_read.h"
#include "engine/check_internal.h"

#define NAME_MAX_SEEN 253
#define DEPTH_MAX 12

/* Letters and digits of its end: "db-password", "DB_PASSWORD" and "dbPassword" alike. */
static const char *const endings[] = {"password",    "passwd",    "passphrase",      "secret",     "token",
				      "apikey",      "secretkey", "accesskey",       "privatekey", "credential",
				      "credentials", "pwd",       "connectionstring"};
static const char *const files[] = {
	".key", ".p12", ".pfx", ".jks", "id_rsa", "id_ed25519", ".keystore", ".dockerconfigjson", "htpasswd"};

bool check_names_credential(const char *field)
{
	char plain[NAME_MAX_SEEN + 1];
	size_t len = 0;
	for (const char *c = field; *c; c++)
		if (len < NAME_MAX_SEEN && isalnum((unsigned char)*c))
			plain[len++] = (char)tolower((unsigned char)*c);
	plain[len] = '\0';
	for (size_t i = 0; i < ELEMENTS(endings); i++)
		if (text_ends(plain, endings[i]))
			return true;
	for (size_t i = 0; i < ELEMENTS(files); i++)
		if (text_ends(field, files[i]))
			return true;
	return false;
}

static char *search(const cJSON *value, const char *path, unsigned depth)
{
	for (const cJSON *each = value->child; each && depth < DEPTH_MAX; each = each->next) {
		_cleanup_free_ char *here = !each->string ? xstrdup(path)
					    : *path       ? xasprintf("%s.%s", path, each->string)
							  : xstrdup(each->string);
		bool told = cJSON_IsString(each) && each->string && !text_empty(each->valuestring) &&
			    check_names_credential(each->string);
		char *found = told ? xstrdup(here) : search(each, here, depth + 1);
		if (found)
			return found;
	}
	return NULL;
}

char *check_credential_in(const struct cJSON *object)
{
	for (const cJSON *each = object->child; each; each = each->next) {
		if (!each->string || text_equal(each->string, "metadata") || text_equal(each->string, "status"))
			continue;
		char *found = search(each, each->string, 0);
		if (found)
			return found;
	}
	return NULL;
}

void check_add_credential(struct check_facts *f, const char *resource, const char *namespace_, const char *name,
			  const char *field)
{
	f->credentials_found++;
	if (f->credential_count == CHECK_CREDENTIALS_MAX)
		return;
	f->credentials = xreallocarray(f->credentials, f->credential_count + 1, sizeof(*f->credentials));
	f->credentials[f->credential_count++] = (struct check_credential){
		xstrdup(resource), text_empty(namespace_) ? xstrdup(name) : xasprintf("%s/%s", namespace_, name),
		text_printable(field, strlen(field), NAME_MAX_SEEN)};
}
