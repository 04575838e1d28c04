#include "engine/canary.h"

#include <stdlib.h>
#include <string.h>

#include "base/secret.h"
#include "kube-rekey/observation.h"

#define NAMESPACES "/api/v1/namespaces"

/* The kinds that every cluster has and that rules most often name. */
static const char *const kinds[] = {"secrets", "configmaps"};

static bool ruled(const struct path *path, const char *resource)
{
	for (size_t i = 0; i < path->count; i++)
		if (config_shape_rule(path->steps[i], resource))
			return true;
	return false;
}

/* A ConfigMap says nothing new where the same rule holds for both. */
static bool wanted(const struct path *path, const char *resource)
{
	if (!ruled(path, resource))
		return false;
	if (text_equal(resource, "secrets") || !ruled(path, "secrets"))
		return true;
	for (size_t i = 0; i < path->count; i++)
		if (config_shape_rule(path->steps[i], resource) != config_shape_rule(path->steps[i], "secrets"))
			return true;
	return false;
}

bool canary_possible(const struct path *path)
{
	return wanted(path, "secrets") || wanted(path, "configmaps");
}

bool canary_shows(const struct config_shape *shape, const struct config_rule *rule)
{
	for (size_t k = 0; k < ELEMENTS(kinds); k++)
		if (config_shape_rule(shape, kinds[k]) == rule)
			return true;
	return false;
}

char *canary_gap_text(const struct path *path)
{
	const struct config_shape *last = path->steps[path->count - 1];
	_cleanup_strings_ unproved = {0};
	for (size_t r = 0; r < last->rule_count; r++)
		for (size_t i = 0; !canary_shows(last, &last->rules[r]) && i < last->rules[r].resource_count; i++)
			strings_add(&unproved, last->rules[r].resources[i]);
	strings_sort_unique(&unproved);
	_cleanup_free_ char *names = strings_join(&unproved, ", ");
	return unproved.count == 0
		       ? NULL
		       : xasprintf("no canary for %s: there the loaded configuration alone is the proof (weaker)",
				   names);
}

/* Names of objects are lower-case DNS labels: whatever else a server's name has becomes '-'. */
static char *object_name(const char *server)
{
	/* Two servers never share one, however long and alike their names are. */
	_cleanup_free_ char *hash = text_sha256(server, strlen(server));
	char *name = xasprintf("canary-%.44s-%.8s", server, hash);
	for (char *c = name; *c; c++)
		if (!((*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9')))
			*c = '-';
	return name;
}

static char *object_body(const char *kind, const char *name)
{
	uint8_t nonce[12];
	_cleanup_secret_ random = secret_random(sizeof(nonce));
	_cleanup_free_ char *hex = text_hex(secret_data(random), secret_len(random));
	bool is_secret = text_equal(kind, "secrets");
	return xasprintf("{\"apiVersion\":\"v1\",\"kind\":\"%s\",\"metadata\":{\"name\":\"%s\",\"labels\":"
			 "{\"app.kubernetes.io/managed-by\":\"kube-rekey\"}},\"%s\":{\"nonce\":\"%s\"}}",
			 is_secret ? "Secret" : "ConfigMap", name, is_secret ? "stringData" : "data", hex);
}

static int make_namespace(struct kube *kube, const char *query, struct error **err)
{
	_cleanup_free_ char *path = xasprintf(NAMESPACES "%s", query);
	_cleanup_error_ failed = NULL;
	int rc = kube_call(kube, "POST", path,
			   "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"" CANARY_NAMESPACE
			   "\",\"labels\":{\"app.kubernetes.io/managed-by\":\"kube-rekey\"}}}",
			   NULL, NULL, &failed);
	if (rc == 0 || rc == -ERROR_CONFLICT)
		return 0;
	return error_set(err, error_code(failed), "namespace " CANARY_NAMESPACE " for the canary: %s",
			 error_message(failed));
}

/* The namespace is there where the manifests were applied, and then we may have no right to make one. */
static int make_object(struct kube *kube, const char *collection, const char *body, cJSON **ret, struct error **err)
{
	int rc = kube_call(kube, "POST", collection, body, NULL, ret, err);
	if (rc != -ERROR_NOT_FOUND)
		return rc;
	error_clear(err);
	rc = make_namespace(kube, "", err);
	return rc < 0 ? rc : kube_call(kube, "POST", collection, body, NULL, ret, err);
}

/* Updates the object, or makes it (with its namespace) the first time. */
static int put_object(struct kube *kube, const char *kind, const char *name, uint64_t *ret_revision, struct error **err)
{
	_cleanup_free_ char *collection = xasprintf(NAMESPACES "/" CANARY_NAMESPACE "/%s", kind);
	_cleanup_free_ char *path = xasprintf("%s/%s", collection, name);
	_cleanup_free_ char *body = object_body(kind, name);
	_cleanup_json_ answer = NULL;
	_cleanup_error_ failed = NULL;
	int rc = kube_call(kube, "PATCH", path, body, "application/merge-patch+json", &answer, &failed);
	if (rc == -ERROR_NOT_FOUND) {
		error_clear(&failed);
		rc = make_object(kube, collection, body, &answer, &failed);
	}
	if (rc < 0)
		return error_set(err, error_code(failed), "canary %s/%s: %s", CANARY_NAMESPACE, name,
				 error_message(failed));
	const char *version = json_text_at(json_at(answer, "metadata", NULL), "resourceVersion");
	if (!version || text_to_u64(version, ret_revision) < 0)
		return error_set(err, ERROR_PROTOCOL, "canary %s/%s: the answer has no resourceVersion",
				 CANARY_NAMESPACE, name);
	return 0;
}

static const struct map_entry *entry_of(const struct canary_options *o, const char *kind)
{
	for (size_t i = 0; i < o->map->count; i++)
		if (text_equal(o->map->entries[i].resource->resource, kind))
			return &o->map->entries[i];
	return NULL;
}

struct found {
	uint64_t revision;
	struct etcd_value_info info;
};

static int take_kv(void *arg, const struct etcd_kv *kv)
{
	struct found *found = arg;
	found->revision = kv->mod_revision;
	found->info = *kv->info;
	return 0;
}

static int find_in_etcd(const struct canary_options *o, const char *kind, const char *name, uint64_t revision,
			struct found *ret, struct error **err)
{
	const struct map_entry *entry = entry_of(o, kind);
	if (!entry)
		return error_set(err, ERROR_REFUSED, "it is not known where %s lie in etcd", kind);
	_cleanup_free_ char *key = xasprintf("%s" CANARY_NAMESPACE "/%s", entry->prefix, name);
	int rc = etcd_range_fetch(
		o->etcds[entry->etcd],
		&(struct etcd_range_options){/* As that server wrote it, whoever wrote it since. */
					     .request = {.key = key, .key_len = strlen(key), .revision = revision},
					     .member = -1,
					     .on_kv = take_kv,
					     .arg = ret},
		NULL, err);
	if (rc < 0)
		return rc;
	if (ret->revision != revision)
		return error_set(err, ERROR_REFUSED,
				 "the canary that %s wrote at revision %llu is not in etcd at %s: is this etcd the one "
				 "behind it?",
				 o->server, (unsigned long long)revision, key);
	return 0;
}

/* Which steps of the path would have written a canary like this: one bit each (a path has at most 4 steps). */
static uint64_t steps_writing(const struct path *path, const char *kind, const struct etcd_value_info *info)
{
	const struct key_name key = {info->provider, info->kms_version, info->name, info->key_id};
	uint64_t steps = 0;
	for (size_t i = 0; i < path->count && i < 64; i++)
		if (info->state == ETCD_VALUE_KNOWN && shape_writes(path->steps[i], kind, key))
			steps |= UINT64_C(1) << i;
	return steps;
}

static int nearest(uint64_t steps, int expect)
{
	for (int distance = 0; distance < 64; distance++) {
		int below = expect - distance, above = expect + distance;
		if (below >= 0 && (steps >> below & 1))
			return below;
		if (above < 64 && (steps >> above & 1))
			return above;
	}
	return STEP_NONE;
}

void canary_marks_free(struct canary_mark *marks, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(steal(marks[i].name));
}

int canary_put(const struct canary_options *o, struct canary_mark ret[static CANARY_MARKS_MAX], size_t *ret_count,
	       struct error **err)
{
	size_t count = 0;
	for (size_t k = 0; k < ELEMENTS(kinds); k++) {
		if (!wanted(o->path, kinds[k]))
			continue;
		struct canary_mark *mark = &ret[count++];
		*mark = (struct canary_mark){.resource = kinds[k], .name = object_name(o->server)};
		int rc = put_object(o->kube, kinds[k], mark->name, &mark->revision, err);
		if (rc < 0) {
			canary_marks_free(ret, count);
			return rc;
		}
	}
	*ret_count = count;
	return 0;
}

int canary_find(const struct canary_options *o, const struct canary_mark *marks, size_t count, int expect_step,
		int *ret_step, char **ret_key_id, struct error **err)
{
	uint64_t steps = UINT64_MAX;
	_cleanup_free_ char *key_id = NULL;
	for (size_t i = 0; i < count; i++) {
		struct found found = {0};
		int rc = find_in_etcd(o, marks[i].resource, marks[i].name, marks[i].revision, &found, err);
		if (rc < 0)
			return rc;
		steps &= steps_writing(o->path, marks[i].resource, &found.info);
		free(key_id);
		key_id = *found.info.key_id ? xstrdup(found.info.key_id) : NULL;
	}
	*ret_step = nearest(steps, expect_step);
	if (ret_key_id)
		*ret_key_id = steal(key_id);
	return 0;
}

int canary_write(const struct canary_options *o, int expect_step, int *ret_step, struct error **err)
{
	struct canary_mark marks[CANARY_MARKS_MAX];
	size_t count = 0;
	int rc = canary_put(o, marks, &count, err);
	if (rc == 0)
		rc = canary_find(o, marks, count, expect_step, ret_step, NULL, err);
	canary_marks_free(marks, count);
	return rc;
}

int canary_try(const struct canary_options *o, struct error **err)
{
	_cleanup_free_ char *name = object_name(o->server);
	_cleanup_free_ char *get = xstrdup(NAMESPACES "/" CANARY_NAMESPACE);
	_cleanup_error_ missing = NULL;
	/* Nothing can be tried in a namespace that is not there yet: try to make that instead. */
	if (kube_call(o->kube, "GET", get, NULL, NULL, NULL, &missing) < 0)
		return make_namespace(o->kube, "?dryRun=All", err);
	for (size_t k = 0; k < ELEMENTS(kinds); k++) {
		if (!wanted(o->path, kinds[k]))
			continue;
		_cleanup_free_ char *path = xasprintf(NAMESPACES "/" CANARY_NAMESPACE "/%s?dryRun=All", kinds[k]);
		_cleanup_free_ char *body = object_body(kinds[k], name);
		_cleanup_error_ failed = NULL;
		int rc = kube_call(o->kube, "POST", path, body, NULL, NULL, &failed);
		if (rc < 0 && rc != -ERROR_CONFLICT)
			return error_set(err, error_code(failed), "canary %s/%s: %s", CANARY_NAMESPACE, name,
					 error_message(failed));
	}
	return 0;
}

int canary_touch(struct kube *kube, const char *server, const char *kind, struct error **err)
{
	_cleanup_free_ char *name = object_name(server);
	uint64_t revision;
	return put_object(kube, kind, name, &revision, err);
}

int canary_remove(struct kube *kube, const char *server, const char *kind, struct error **err)
{
	_cleanup_free_ char *name = object_name(server);
	_cleanup_free_ char *path = xasprintf(NAMESPACES "/" CANARY_NAMESPACE "/%s/%s", kind, name);
	return error_forgive(err, kube_call(kube, "DELETE", path, NULL, NULL, NULL, err), ERROR_NOT_FOUND);
}

int canary_delete(const struct canary_options *o, struct error **err)
{
	for (size_t k = 0; k < ELEMENTS(kinds); k++) {
		int rc = wanted(o->path, kinds[k]) ? canary_remove(o->kube, o->server, kinds[k], err) : 0;
		if (rc < 0)
			return rc;
	}
	return 0;
}
