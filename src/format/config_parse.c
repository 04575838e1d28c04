/* From text to shape, key bytes and places. Fields are as strict as in kube-apiserver: unknown and doubled ones are
 * refused, a number where a text belongs too. What stands behind the fields is checked in config_check.c.
 *
 * A message never quotes the file: people put keys where names belong. */
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/text.h"
#include "format/config_internal.h"

#define MERGE_DEPTH_MAX 16
#define FIELD_NAME_SHOWN_MAX 20 /* shorter than any base64 key without padding */

void key_fingerprint(const struct secret *bytes, char ret[static 13])
{
	static const char message[] = "kube-rekey key fingerprint v1";
	uint8_t digest[EVP_MAX_MD_SIZE];
	unsigned len = 0;
	if (!HMAC(EVP_sha256(), secret_data(bytes), (int)secret_len(bytes), (const uint8_t *)message, strlen(message),
		  digest, &len))
		abort();
	_cleanup_free_ char *hex = text_hex(digest, 6);
	memcpy(ret, hex, 13);
}

/* A field of a mapping: what the parser expects, and what it found. */
struct field {
	const char *name;
	const struct tree_node *value;
};

static int unknown_field(const struct encryption_config *config, const struct tree_node *key, const char *what,
			 struct error **err)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
	const char *name = key->kind == TREE_SCALAR ? tree_text(key) : "";
	size_t len = strlen(name);
	if (len > 0 && len < FIELD_NAME_SHOWN_MAX && strspn(name, plain) == len)
		return config_error(config, key, err,
				    "unknown field \"%s\" in %s, which kube-apiserver refuses; correct or remove it",
				    name, what);
	return config_error(config, key, err, "unknown field in %s, which kube-apiserver refuses; correct or remove it",
			    what);
}

static int read_fields(const struct encryption_config *config, const struct tree_node *mapping, const char *what,
		       struct field *fields, size_t count, unsigned depth, struct error **err);

/* `<<: *a` or `<<: [*a, *b]`. Go's strict reader takes a field that is given twice that way for a duplicate. */
static int read_merge(const struct encryption_config *config, const struct tree_node *value, const char *what,
		      struct field *fields, size_t count, unsigned depth, struct error **err)
{
	if (depth == MERGE_DEPTH_MAX)
		return config_error(config, value, err, "merge keys nested too deeply; write the fields out");
	if (value->kind != TREE_SEQUENCE)
		return read_fields(config, value, what, fields, count, depth + 1, err);
	for (size_t i = 0; i < value->count; i++) {
		int rc = read_fields(config, value->items[i], what, fields, count, depth + 1, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int read_fields(const struct encryption_config *config, const struct tree_node *mapping, const char *what,
		       struct field *fields, size_t count, unsigned depth, struct error **err)
{
	if (mapping->kind != TREE_MAPPING || (mapping->tag[0] && strcmp(mapping->tag, "!!map") != 0))
		return config_error(config, mapping, err, "%s is not a mapping; write it as fields and values", what);
	for (size_t i = 0; i < mapping->count; i += 2) {
		const struct tree_node *key = mapping->items[i], *value = mapping->items[i + 1];
		size_t f = 0;
		if (key->merge) {
			int rc = read_merge(config, value, what, fields, count, depth, err);
			if (rc < 0)
				return rc;
			continue;
		}
		while (f < count && (key->kind != TREE_SCALAR || strcmp(fields[f].name, tree_text(key)) != 0))
			f++;
		if (f == count)
			return unknown_field(config, key, what, err);
		if (fields[f].value)
			return config_error(config, key, err, "field \"%s\" twice in %s; remove one", fields[f].name,
					    what);
		fields[f].value = value;
	}
	return 0;
}

const struct tree_node *config_field(const struct tree_node *mapping, const char *name)
{
	for (size_t i = 0; i + 1 < mapping->count; i += 2) {
		const struct tree_node *key = mapping->items[i], *value = mapping->items[i + 1], *found = NULL;
		if (!key->merge) {
			if (strcmp(tree_text(key), name) == 0)
				return value;
			continue;
		}
		if (value->kind == TREE_MAPPING)
			found = config_field(value, name);
		for (size_t j = 0; !found && value->kind == TREE_SEQUENCE && j < value->count; j++)
			found = config_field(value->items[j], name);
		if (found)
			return found;
	}
	return NULL;
}

/* Missing and null are the same to kube-apiserver. *ret NULL then. */
static int read_text(const struct encryption_config *config, const struct field *field, const char **ret,
		     struct error **err)
{
	const struct tree_node *node = field->value;
	*ret = NULL;
	if (!node || tree_is_null(node))
		return 0;
	if (node->kind != TREE_SCALAR || (node->tag[0] && strcmp(node->tag, "!!str") != 0))
		return config_error(config, node, err, "\"%s\" is not a text; write it as one", field->name);
	if (node->style == TREE_PLAIN && !node->tag[0] && !yaml_plain_is_string(tree_text(node)))
		return config_error(config, node, err,
				    "\"%s\" is read as a number or boolean, not as a text; put it in quotes",
				    field->name);
	*ret = tree_text(node);
	return 0;
}

static int read_required(const struct encryption_config *config, const struct tree_node *owner,
			 const struct field *field, const char *what, const char **ret, struct error **err)
{
	int rc = read_text(config, field, ret, err);
	if (rc == 0 && text_empty(*ret))
		rc = config_error(config, field->value ? field->value : owner, err, "%s without \"%s\"; add it", what,
				  field->name);
	return rc;
}

/* Names end up in etcd before a ':' and in messages. */
static int check_name(const struct encryption_config *config, const struct tree_node *node, const char *name,
		      struct error **err)
{
	if (strlen(name) > 1024)
		return config_error(config, node, err, "a name of more than 1024 bytes; shorten it");
	for (const char *at = name; *at; at++) {
		if (*at == ':')
			return config_error(config, node, err,
					    "a name with ':', which ends the name in etcd's values; use another");
		if ((unsigned char)*at < 0x20 || *at == 0x7f)
			return config_error(config, node, err,
					    "a name with a control character or line end; remove that");
	}
	return 0;
}

static int read_list(const struct encryption_config *config, const struct tree_node *owner, const struct field *field,
		     const char *what, struct error **err)
{
	const struct tree_node *list = field->value;
	if (!list || tree_is_null(list) || (list->kind == TREE_SEQUENCE && list->count == 0))
		return config_error(config, list ? list : owner, err, "%s without an item in \"%s\"; add one", what,
				    field->name);
	if (list->kind != TREE_SEQUENCE || (list->tag[0] && strcmp(list->tag, "!!seq") != 0))
		return config_error(config, list, err, "\"%s\" is not a list; write its items with '-'", field->name);
	return 0;
}

/* Go's decoder does not mind bits behind the last byte that are not 0 ("AB==" is "AA=="); ours does. */
static int append_canonical(struct secret *joined, const char *text, size_t len)
{
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	size_t padding = len >= 3 ? (size_t)(text[len - 1] == '=') + (text[len - 1] == '=' && text[len - 2] == '=') : 0;
	const char *last = padding ? strchr(alphabet, text[len - 1 - padding]) : NULL;
	if (!last || !*last)
		return secret_append(joined, text, len);
	size_t value = (size_t)(last - alphabet);
	int rc = secret_append(joined, text, len - 1 - padding);
	if (rc == 0)
		rc = secret_append(joined, &alphabet[padding == 2 ? value & 0x30 : value & 0x3c], 1);
	if (rc == 0)
		rc = secret_append(joined, "==", padding);
	return rc;
}

/* Go's decoder passes over line ends inside base64, so a key may be a block scalar. */
static int decode(const char *text, struct secret **ret)
{
	_cleanup_secret_ lines = secret_new(ENCRYPTION_CONFIG_MAX);
	_cleanup_secret_ joined = secret_new(ENCRYPTION_CONFIG_MAX);
	while (*text) {
		size_t len = strcspn(text, "\r\n");
		int rc = secret_append(lines, text, len);
		if (rc < 0)
			return rc;
		text += len + strspn(text + len, "\r\n");
	}
	int rc = append_canonical(joined, secret_text(lines), secret_len(lines));
	if (rc < 0)
		return rc;
	return secret_base64_decode(secret_text(joined), secret_len(joined), ret);
}

static int parse_bytes(const struct encryption_config *config, const struct tree_node *node, const struct field *field,
		       struct config_key *key, struct config_place *place, struct error **err)
{
	const char *text;
	int rc = read_required(config, node, field, "a key", &text, err);
	if (rc < 0)
		return rc;
	if (decode(text, &place->bytes) < 0)
		return config_error(config, field->value, err,
				    "\"secret\" is not base64; encode the key's bytes again");
	size_t len = secret_len(place->bytes);
	if (!provider_key_fits(key->type, len))
		return config_error(config, field->value, err, "a key of %zu bytes; %s needs %s", len,
				    provider_name(key->type), key->type == PROVIDER_SECRETBOX ? "32" : "16, 24 or 32");
	key_fingerprint(place->bytes, key->fingerprint);
	return 0;
}

static bool is_absent(const struct tree_node *node)
{
	return !node || tree_is_null(node) || (node->kind == TREE_SCALAR && tree_text(node)[0] == '\0');
}

/* One item of `keys:`. */
static int parse_key(const struct encryption_config *config, const struct tree_node *node, struct config_key *key,
		     struct config_place *place, struct error **err)
{
	struct field fields[] = {{"name", NULL}, {"secret", NULL}};
	const char *name;
	int rc = read_fields(config, node, "a key", fields, ELEMENTS(fields), 0, err);
	if (rc == 0)
		rc = read_required(config, node, &fields[0], "a key", &name, err);
	if (rc == 0)
		rc = check_name(config, fields[0].value, name, err);
	if (rc == 0 && !(config->names_only && is_absent(fields[1].value)))
		rc = parse_bytes(config, node, &fields[1], key, place, err);
	if (rc < 0)
		return rc;
	key->name = xstrdup(name);
	place->node = node;
	place->name = fields[0].value;
	return 0;
}

/* Decimal only: what YAML 1.1 makes of 010 or 1_000 is not what people expect. 0 is no size for KMS v1. */
static int check_cache_size(const struct encryption_config *config, const struct tree_node *node, unsigned version,
			    struct error **err)
{
	uint64_t size;
	if (!node || tree_is_null(node))
		return 0;
	if (version != 1)
		return config_error(config, node, err,
				    "\"cachesize\" is for KMS v1 only, kube-apiserver refuses it; remove it");
	const char *text = tree_text(node);
	if (node->kind != TREE_SCALAR || node->style != TREE_PLAIN || node->tag[0] ||
	    text_to_u64(text + (*text == '-'), &size) < 0 || text[*text == '-'] == '0' || size > INT32_MAX)
		return config_error(config, node, err,
				    "\"cachesize\" is not a decimal number other than 0; correct it");
	return 0;
}

static int parse_kms_version(const struct encryption_config *config, const struct field *field, struct config_key *key,
			     struct error **err)
{
	const char *version;
	int rc = read_text(config, field, &version, err);
	if (rc < 0)
		return rc;
	if (text_empty(version) || strcmp(version, "v1") == 0) /* kube-apiserver's default */
		key->kms_version = 1;
	else if (strcmp(version, "v2") == 0)
		key->kms_version = 2;
	else
		return config_error(config, field->value, err,
				    "a KMS \"apiVersion\" that is neither v1 nor v2; correct it");
	return 0;
}

static int parse_kms_timeout(const struct encryption_config *config, const struct field *field, struct config_key *key,
			     struct error **err)
{
	const char *timeout;
	int rc = read_text(config, field, &timeout, err);
	if (rc < 0)
		return rc;
	key->kms_timeout = 3 * NS_PER_S;
	if (timeout &&
	    (text_to_duration(timeout, &key->kms_timeout) < 0 || key->kms_timeout == 0 || key->kms_timeout > INT64_MAX))
		return config_error(config, field->value, err, "\"timeout\" is not a duration above 0; write it as 3s");
	return 0;
}

static int parse_kms_endpoint(const struct encryption_config *config, const struct tree_node *node,
			      const struct field *field, struct config_key *key, struct error **err)
{
	const char *endpoint;
	int rc = read_required(config, node, field, "a kms provider", &endpoint, err);
	if (rc < 0)
		return rc;
	for (const char *at = endpoint; *at; at++) {
		if ((unsigned char)*at <= 0x20 || *at == 0x7f)
			return config_error(config, field->value, err,
					    "a blank or control character in \"endpoint\"; remove it");
	}
	if (strncasecmp(endpoint, "unix:", 5) != 0)
		return config_error(
			config, field->value, err,
			"an \"endpoint\" that does not begin with unix:, as kube-apiserver wants; correct it");
	key->kms_endpoint = xstrdup(endpoint);
	return 0;
}

static int parse_kms(const struct encryption_config *config, const struct tree_node *node, struct config_key *key,
		     struct config_place *place, struct error **err)
{
	struct field fields[] = {
		{"apiVersion", NULL}, {"name", NULL}, {"cachesize", NULL}, {"endpoint", NULL}, {"timeout", NULL}};
	const char *name;
	int rc = read_fields(config, node, "a kms provider", fields, ELEMENTS(fields), 0, err);
	if (rc == 0)
		rc = parse_kms_version(config, &fields[0], key, err);
	if (rc == 0)
		rc = read_required(config, node, &fields[1], "a kms provider", &name, err);
	if (rc == 0)
		rc = check_name(config, fields[1].value, name, err);
	if (rc == 0)
		rc = check_cache_size(config, fields[2].value, key->kms_version, err);
	if (rc == 0)
		rc = parse_kms_endpoint(config, node, &fields[3], key, err);
	if (rc == 0)
		rc = parse_kms_timeout(config, &fields[4], key, err);
	if (rc < 0)
		return rc;
	key->name = xstrdup(name);
	place->name = fields[1].value;
	return 0;
}

/* A rule while it grows: the flattened list of its keys. */
struct growing_rule {
	struct config_rule *rule;
	struct config_rule_place *place;
};

static struct config_key *add_key(struct growing_rule *g, enum provider_type type, size_t provider,
				  const struct tree_node *node, struct config_place **ret_place)
{
	size_t count = g->rule->key_count++;
	g->rule->keys = xreallocarray(g->rule->keys, count + 1, sizeof(*g->rule->keys));
	g->place->keys = xreallocarray(g->place->keys, count + 1, sizeof(*g->place->keys));
	g->rule->keys[count] = (struct config_key){.type = type};
	g->place->keys[count] = (struct config_place){.provider = provider, .node = node, .name = node};
	*ret_place = &g->place->keys[count];
	return &g->rule->keys[count];
}

static int parse_keys(const struct encryption_config *config, const struct tree_node *node, enum provider_type type,
		      size_t provider, struct growing_rule *g, struct error **err)
{
	struct field fields[] = {{"keys", NULL}};
	int rc = read_fields(config, node, "a provider", fields, ELEMENTS(fields), 0, err);
	if (rc == 0)
		rc = read_list(config, node, &fields[0], "a provider", err);
	for (size_t i = 0; rc == 0 && i < fields[0].value->count; i++) {
		struct config_place *place;
		struct config_key *key = add_key(g, type, provider, node, &place);
		rc = parse_key(config, fields[0].value->items[i], key, place, err);
	}
	return rc;
}

static int parse_identity(const struct encryption_config *config, const struct tree_node *value, struct config_key *key,
			  struct error **err)
{
	key->name = xstrdup("");
	return read_fields(config, value, "the identity provider", NULL, 0, 0, err);
}

/* One item of `providers:`. */
static int parse_provider(const struct encryption_config *config, const struct tree_node *node, size_t index,
			  struct growing_rule *g, struct error **err)
{
	struct field fields[] = {
		{"identity", NULL}, {"aescbc", NULL}, {"aesgcm", NULL}, {"secretbox", NULL}, {"kms", NULL}};
	struct config_place *place;
	size_t found = 0, count = 0;
	int rc = read_fields(config, node, "an item of \"providers\"", fields, ELEMENTS(fields), 0, err);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < ELEMENTS(fields); i++) {
		if (!fields[i].value)
			continue;
		count++;
		found = i;
	}
	if (count != 1)
		return config_error(config, node, err, "an item of \"providers\" with %s; %s",
				    count ? "more than one provider" : "no provider",
				    count ? "give each its own '-'"
					  : "name aescbc, aesgcm, secretbox, kms or identity");
	if (tree_is_null(fields[found].value))
		return config_error(config, fields[found].value, err,
				    "provider \"%s\" without a value; write {} or its fields", fields[found].name);
	enum provider_type type;
	if (!provider_from_name(fields[found].name, &type))
		abort();
	if (type != PROVIDER_IDENTITY && type != PROVIDER_KMS)
		return parse_keys(config, fields[found].value, type, index, g, err);
	struct config_key *key = add_key(g, type, index, node, &place);
	if (type == PROVIDER_IDENTITY)
		return parse_identity(config, fields[found].value, key, err);
	return parse_kms(config, fields[found].value, key, place, err);
}

static int parse_resources(const struct encryption_config *config, const struct tree_node *list,
			   struct config_rule *rule, struct error **err)
{
	rule->resources = xcalloc(list->count, sizeof(*rule->resources));
	for (size_t i = 0; i < list->count; i++) {
		struct field item = {"resources", list->items[i]};
		const char *text;
		int rc = read_required(config, list, &item, "an item", &text, err);
		if (rc < 0)
			return rc;
		rule->resources[rule->resource_count++] = xstrdup(text);
	}
	return 0;
}

/* One item of the outer `resources:`. */
static int parse_rule(const struct encryption_config *config, const struct tree_node *node, struct growing_rule *g,
		      struct error **err)
{
	struct field fields[] = {{"resources", NULL}, {"providers", NULL}};
	int rc = read_fields(config, node, "an item of \"resources\"", fields, ELEMENTS(fields), 0, err);
	if (rc == 0)
		rc = read_list(config, node, &fields[0], "a rule", err);
	if (rc == 0)
		rc = read_list(config, node, &fields[1], "a rule", err);
	if (rc == 0)
		rc = parse_resources(config, fields[0].value, g->rule, err);
	if (rc < 0)
		return rc;
	g->place->node = node;
	g->place->resources = fields[0].value;
	g->place->providers = fields[1].value;
	for (size_t i = 0; rc == 0 && i < fields[1].value->count; i++)
		rc = parse_provider(config, fields[1].value->items[i], i, g, err);
	return rc;
}

/* The second pair is a mistake in old documentation that kube-apiserver honours to this day (1.36). */
static int check_kind(const struct encryption_config *config, const struct field *kind, const struct field *version,
		      const struct tree_node *root, struct error **err)
{
	static const char *const accepted[][2] = {{"EncryptionConfiguration", "apiserver.config.k8s.io/v1"},
						  {"EncryptionConfig", "v1"}};
	const char *is_kind, *is_version;
	int rc = read_required(config, root, kind, "the file", &is_kind, err);
	if (rc == 0)
		rc = read_required(config, root, version, "the file", &is_version, err);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < ELEMENTS(accepted); i++) {
		if (strcmp(is_kind, accepted[i][0]) == 0 && strcmp(is_version, accepted[i][1]) == 0)
			return 0;
	}
	bool wrong_kind = strcmp(is_kind, accepted[0][0]) != 0;
	return config_error(config, wrong_kind ? kind->value : version->value, err,
			    "not kind EncryptionConfiguration of apiVersion apiserver.config.k8s.io/v1; name the right "
			    "file or correct it");
}

static int parse_rules(struct encryption_config *config, struct error **err)
{
	struct field fields[] = {{"kind", NULL}, {"apiVersion", NULL}, {"resources", NULL}};
	const struct tree_node *root = yaml_tree_root(config->tree);
	int rc = read_fields(config, root, "the file", fields, ELEMENTS(fields), 0, err);
	if (rc == 0)
		rc = check_kind(config, &fields[0], &fields[1], root, err);
	if (rc == 0)
		rc = read_list(config, root, &fields[2], "the file", err);
	if (rc < 0)
		return rc;
	config->rules_node = fields[2].value;
	config->rules = xcalloc(config->rules_node->count, sizeof(*config->rules));
	config->shape->rules = xcalloc(config->rules_node->count, sizeof(*config->shape->rules));
	for (size_t i = 0; rc == 0 && i < config->rules_node->count; i++) {
		config->shape->rule_count++;
		struct growing_rule g = {&config->shape->rules[i], &config->rules[i]};
		rc = parse_rule(config, config->rules_node->items[i], &g, err);
	}
	return rc;
}

static int parse(const char *name, const struct secret *text, bool names_only, struct encryption_config **ret,
		 struct error **err)
{
	if (secret_len(text) > ENCRYPTION_CONFIG_MAX)
		return error_set(err, ERROR_INPUT, "%s: larger than 1 MiB; that is no EncryptionConfiguration", name);
	_cleanup_(encryption_config_freep) struct encryption_config *config = xcalloc(1, sizeof(*config));
	config->name = xstrdup(name);
	config->names_only = names_only;
	config->text = secret_from(secret_data(text), secret_len(text));
	config->shape = xcalloc(1, sizeof(*config->shape));
	int rc = yaml_tree_parse(name, text, &config->tree, err);
	if (rc == 0)
		rc = parse_rules(config, err);
	if (rc == 0)
		rc = config_check(config, err);
	if (rc == 0)
		*ret = steal(config);
	return rc;
}

int encryption_config_parse(const char *name, const struct secret *text, struct encryption_config **ret,
			    struct error **err)
{
	return parse(name, text, false, ret, err);
}

int encryption_config_parse_names(const char *name, const struct secret *text, struct config_shape **ret,
				  struct error **err)
{
	_cleanup_(encryption_config_freep) struct encryption_config *config = NULL;
	int rc = parse(name, text, true, &config, err);
	if (rc == 0)
		*ret = config_shape_copy(config->shape);
	return rc;
}

const struct config_shape *encryption_config_shape(const struct encryption_config *config)
{
	return config->shape;
}

const struct secret *encryption_config_text(const struct encryption_config *config)
{
	return config->text;
}

const struct secret *encryption_config_key(const struct encryption_config *config, enum provider_type type,
					   const char *name)
{
	for (size_t i = 0; i < config->shape->rule_count; i++) {
		const struct config_rule *rule = &config->shape->rules[i];
		const struct config_key *key = config_rule_find(rule, type, name);
		if (key)
			return config->rules[i].keys[key - rule->keys].bytes;
	}
	return NULL;
}

void encryption_config_free(struct encryption_config *config)
{
	if (!config)
		return;
	for (size_t i = 0; config->rules && i < config->shape->rule_count; i++) {
		for (size_t j = 0; j < config->shape->rules[i].key_count; j++)
			secret_free(config->rules[i].keys[j].bytes);
		free(config->rules[i].keys);
	}
	free(config->rules);
	config_shape_free(config->shape);
	yaml_tree_free(config->tree);
	secret_free(config->text);
	free(config->name);
	free(config);
}

void encryption_config_freep(struct encryption_config **config)
{
	encryption_config_free(*config);
}
