#include "kube-rekey/path.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/text.h"

/* A resource without a rule: stored in plaintext, and read back as such. */
static struct config_key plaintext_key = {.type = PROVIDER_IDENTITY, .name = (char *)""};
static const struct config_rule plaintext_rule = {.keys = &plaintext_key, .key_count = 1};

/* Names, not bytes: what a census can see. */
static bool same_name(const struct config_key *mine, struct key_name key)
{
	return mine->type == key.type && (key.type == PROVIDER_IDENTITY ||
					  (mine->kms_version == key.kms_version && text_equal(mine->name, key.name)));
}

/* The rule in force for a resource or for everything that a wildcard leaves to it. */
static const struct config_rule *effective(const struct config_shape *shape, const char *pattern)
{
	for (size_t r = 0; r < shape->rule_count; r++)
		for (size_t i = 0; i < shape->rules[r].resource_count; i++)
			if (config_pattern_covers(shape->rules[r].resources[i], pattern))
				return &shape->rules[r];
	return &plaintext_rule;
}

static bool covered(const struct config_shape *shape, const char *pattern)
{
	return effective(shape, pattern) != &plaintext_rule;
}

static bool rule_has(const struct config_rule *rule, const struct config_key *key)
{
	for (size_t k = 0; k < rule->key_count; k++)
		if (config_key_equal(&rule->keys[k], key))
			return true;
	return false;
}

static bool rule_has_name(const struct config_rule *rule, struct key_name key)
{
	for (size_t k = 0; k < rule->key_count; k++)
		if (same_name(&rule->keys[k], key))
			return true;
	return false;
}

static bool shape_has_name(const struct config_shape *shape, struct key_name key)
{
	for (size_t r = 0; r < shape->rule_count; r++)
		if (rule_has_name(&shape->rules[r], key))
			return true;
	return false;
}

/* Calls `test` with the rules before and after for each pattern of both shapes; true at the first that says so. */
static bool any_pattern(const struct config_shape *from, const struct config_shape *to,
			bool (*test)(const struct config_rule *before, const struct config_rule *after,
				     const void *arg),
			const void *arg)
{
	const struct config_shape *shapes[] = {from, to};
	for (size_t s = 0; s < ELEMENTS(shapes); s++)
		for (size_t r = 0; r < shapes[s]->rule_count; r++)
			for (size_t i = 0; i < shapes[s]->rules[r].resource_count; i++) {
				const char *pattern = shapes[s]->rules[r].resources[i];
				if (test(effective(from, pattern), effective(to, pattern), arg))
					return true;
			}
	return false;
}

/* --- building --- */

/* Adds a key that only reads: behind the write key and the read keys added before; plaintext goes last. */
static void add_read_key(struct config_rule *rule, const struct config_key *key, size_t *at)
{
	if (rule_has(rule, key))
		return;
	size_t position = key->type == PROVIDER_IDENTITY ? rule->key_count : (*at)++;
	rule->keys = xreallocarray(rule->keys, rule->key_count + 1, sizeof(*rule->keys));
	memmove(rule->keys + position + 1, rule->keys + position, (rule->key_count - position) * sizeof(*rule->keys));
	config_key_copy(&rule->keys[position], key);
	rule->key_count++;
}

/* Writes as `first` does, and reads whatever `other` writes or reads. */
static void take_keys(struct config_rule *rule, const struct config_rule *first, const struct config_rule *other)
{
	size_t at = 1;
	rule->keys = xcalloc(first->key_count, sizeof(*rule->keys));
	for (; rule->key_count < first->key_count; rule->key_count++)
		config_key_copy(&rule->keys[rule->key_count], &first->keys[rule->key_count]);
	for (size_t k = 0; k < other->key_count; k++)
		add_read_key(rule, &other->keys[k], &at);
}

static struct config_rule *append_rule(struct config_shape *shape)
{
	shape->rules = xreallocarray(shape->rules, shape->rule_count + 1, sizeof(*shape->rules));
	shape->rules[shape->rule_count] = (struct config_rule){0};
	return &shape->rules[shape->rule_count++];
}

static void append_resource(struct config_rule *rule, const char *pattern)
{
	rule->resources = xreallocarray(rule->resources, rule->resource_count + 1, sizeof(*rule->resources));
	rule->resources[rule->resource_count++] = xstrdup(pattern);
}

static bool lists(const struct config_rule *rule, const char *pattern)
{
	for (size_t i = 0; i < rule->resource_count; i++)
		if (config_pattern_covers(rule->resources[i], pattern) &&
		    config_pattern_covers(pattern, rule->resources[i]))
			return true;
	return false;
}

/* Patterns that one rule is in force for before, and one afterwards, go the same way. */
static void put_on_its_way(struct config_shape *ways, const struct config_shape *from, const struct config_shape *to,
			   const char *pattern)
{
	struct config_rule *way = NULL;
	for (size_t r = 0; r < ways->rule_count; r++) {
		const char *other = ways->rules[r].resources[0];
		if (effective(from, other) == effective(from, pattern) &&
		    effective(to, other) == effective(to, pattern))
			way = &ways->rules[r];
	}
	if (way && lists(way, pattern))
		return;
	append_resource(way ? way : append_rule(ways), pattern);
}

/* A rule without keys for each way there is. */
static struct config_shape *find_ways(const struct config_shape *from, const struct config_shape *to)
{
	struct config_shape *ways = xcalloc(1, sizeof(*ways));
	const struct config_shape *shapes[] = {from, to};
	for (size_t s = 0; s < ELEMENTS(shapes); s++)
		for (size_t r = 0; r < shapes[s]->rule_count; r++)
			for (size_t i = 0; i < shapes[s]->rules[r].resource_count; i++)
				put_on_its_way(ways, from, to, shapes[s]->rules[r].resources[i]);
	return ways;
}

static bool is_kms_2(const struct config_key *key)
{
	return key->type == PROVIDER_KMS && key->kms_version == 2;
}

static bool rules_differ(const struct config_rule *before, const struct config_rule *after, const void *arg)
{
	(void)arg;
	bool differ = before->key_count != after->key_count || !config_key_equal(&before->keys[0], &after->keys[0]);
	for (size_t k = 0; !differ && k < before->key_count; k++)
		differ = !rule_has(after, &before->keys[k]);
	return differ;
}

/* Of wildcards nobody can say here what they would hide. */
static bool only_names(const struct config_rule *rule)
{
	for (size_t i = 0; i < rule->resource_count; i++)
		if (rule->resources[i][0] == '*')
			return false;
	return true;
}

/* kube-apiserver takes a name of KMS v2 in one rule only. */
static bool have_to_be_one(const struct config_rule *a, const struct config_rule *b)
{
	bool kms = false;
	for (size_t k = 0; k < a->key_count; k++)
		kms = kms || is_kms_2(&a->keys[k]);
	return kms && !rules_differ(a, b, NULL) && only_names(a) && only_names(b);
}

static bool hides(const struct config_rule *rule, const struct config_rule *other)
{
	for (size_t i = 0; i < rule->resource_count; i++)
		for (size_t j = 0; j < other->resource_count; j++)
			if (config_pattern_covers(rule->resources[i], other->resources[j]))
				return true;
	return false;
}

/* Up to where no wildcard before it hides it. */
static void move_up(struct config_shape *shape, size_t rule)
{
	size_t to = 0;
	while (to < rule && !hides(&shape->rules[to], &shape->rules[rule]))
		to++;
	const struct config_rule moved = shape->rules[rule];
	memmove(shape->rules + to + 1, shape->rules + to, (rule - to) * sizeof(*shape->rules));
	shape->rules[to] = moved;
}

static void put_rule(struct config_shape *shape, const struct config_rule *rule)
{
	size_t at = 0;
	while (at < shape->rule_count && !have_to_be_one(&shape->rules[at], rule))
		at++;
	if (at == shape->rule_count)
		take_keys(append_rule(shape), rule, rule);
	for (size_t i = 0; i < rule->resource_count; i++)
		append_resource(&shape->rules[at], rule->resources[i]);
	move_up(shape, at);
}

/* What goes one way has a rule of its own: it writes as by `from`, or `promoted` as by `to`, and reads what either writes or
 * reads. */
static struct config_shape *between(const struct config_shape *from, const struct config_shape *to, bool promoted)
{
	_cleanup_(config_shape_freep) struct config_shape *ways = find_ways(from, to);
	struct config_shape *shape = xcalloc(1, sizeof(*shape));
	for (size_t r = 0; r < ways->rule_count; r++) {
		struct config_rule *way = &ways->rules[r];
		const struct config_rule *before = effective(from, way->resources[0]);
		const struct config_rule *after = effective(to, way->resources[0]);
		take_keys(way, promoted ? after : before, promoted ? before : after);
		put_rule(shape, way);
	}
	return shape;
}

static void push(struct path *path, struct config_shape *shape)
{
	if (path->count > 0 && config_shape_equal(path->steps[path->count - 1], shape)) {
		config_shape_free(shape);
		return;
	}
	path->steps = xreallocarray(path->steps, path->count + 1, sizeof(struct config_shape *));
	path->steps[path->count++] = shape;
}

/* A step that would change only the order of read keys, or how rules are written down, is none. */
static void push_between(struct path *path, struct config_shape *shape, const struct config_shape *to)
{
	if (any_pattern(path->steps[path->count - 1], shape, rules_differ, NULL) &&
	    any_pattern(shape, to, rules_differ, NULL))
		push(path, shape);
	else
		config_shape_free(shape);
}

static int check_resources(const struct config_shape *from, const struct config_shape *to, struct error **err)
{
	for (size_t r = 0; r < from->rule_count; r++)
		for (size_t i = 0; i < from->rules[r].resource_count; i++) {
			const char *pattern = from->rules[r].resources[i];
			if (covered(to, pattern))
				continue;
			int rc = error_set(err, ERROR_REFUSED,
					   "the target configuration has no rule for %s, which the present one has",
					   pattern);
			error_set_hint(err,
				       "to decrypt %s on purpose, give it a rule whose first provider is identity: {}",
				       pattern);
			return rc;
		}
	return 0;
}

static const struct config_key *other_bytes(const struct config_shape *shape, const struct config_key *key)
{
	for (size_t r = 0; r < shape->rule_count; r++)
		for (size_t k = 0; k < shape->rules[r].key_count; k++) {
			const struct config_key *mine = &shape->rules[r].keys[k];
			if (mine->type == key->type && text_equal(mine->name, key->name) &&
			    !config_key_equal(mine, key))
				return mine;
		}
	return NULL;
}

static int check_names(const struct config_shape *from, const struct config_shape *to, struct error **err)
{
	for (size_t r = 0; r < to->rule_count; r++)
		for (size_t k = 0; k < to->rules[r].key_count; k++) {
			const struct config_key *key = &to->rules[r].keys[k];
			if (!other_bytes(from, key) && !other_bytes(to, key))
				continue;
			int rc = error_set(err, ERROR_REFUSED, "the key name %s/%s stands for two different keys",
					   provider_name(key->type), key->name);
			error_set_hint(err, "a stored value names its key by name alone: give the new key a new name");
			return rc;
		}
	return 0;
}

static bool has_label(const struct config_shape *shape, const struct config_key *key)
{
	return shape_has_name(shape, (struct key_name){key->type, key->kms_version, key->name, NULL});
}

static const struct config_key *same_bytes(const struct config_shape *shape, const struct config_key *key)
{
	for (size_t r = 0; r < shape->rule_count; r++)
		for (size_t k = 0; k < shape->rules[r].key_count; k++)
			if (shape->rules[r].keys[k].fingerprint[0] &&
			    text_equal(shape->rules[r].keys[k].fingerprint, key->fingerprint))
				return &shape->rules[r].keys[k];
	return NULL;
}

/* Whoever has the bytes of the old one would read on, and what is told of it at the end would be of the new one. */
static int check_bytes(const struct config_shape *from, const struct config_shape *to, struct error **err)
{
	for (size_t r = 0; r < to->rule_count; r++)
		for (size_t k = 0; k < to->rules[r].key_count; k++) {
			const struct config_key *key = &to->rules[r].keys[k];
			const struct config_key *twin = has_label(from, key) ? NULL : same_bytes(from, key);
			if (!twin)
				continue;
			int rc = error_set(err, ERROR_REFUSED, "the new key %s/%s is the bytes of %s/%s: no rotation",
					   provider_name(key->type), key->name, provider_name(twin->type), twin->name);
			error_set_hint(err, "give it bytes of its own: head -c 32 /dev/urandom | base64");
			return rc;
		}
	return 0;
}

static const struct config_rule *earlier_rule(const struct config_shape *shape, size_t rule,
					      const struct config_key *key)
{
	for (size_t r = 0; r < rule; r++)
		if (rule_has(&shape->rules[r], key))
			return &shape->rules[r];
	return NULL;
}

/* What of a rule comes under the key by this path; NULL: nothing. */
static const char *newcomer(const struct config_shape *from, const struct config_shape *to,
			    const struct config_rule *rule, const struct config_key *key)
{
	for (size_t i = 0; i < rule->resource_count; i++)
		if (rule_has(effective(to, rule->resources[i]), key) &&
		    !rule_has(effective(from, rule->resources[i]), key))
			return rule->resources[i];
	return NULL;
}

static int refuse_two_rules(const struct config_shape *from, const struct config_shape *to, const struct config_rule *a,
			    const struct config_rule *b, const struct config_key *key, struct error **err)
{
	const char *joins = newcomer(from, to, b, key);
	joins = joins ? joins : newcomer(from, to, a, key);
	int rc = error_set(err, ERROR_REFUSED,
			   "kms/%s would stand in the rules of %s and of %s for a while, which kube-apiserver refuses",
			   key->name, a->resources[0], b->resources[0]);
	if (joins)
		error_set_hint(err,
			       "in the target give %s a rule of its own, and there the plugin another name: its "
			       "endpoint may be the same",
			       joins);
	else
		error_set_hint(err,
			       "rotate twice: first to a target in which one rule has both, under another key, and "
			       "then to this one");
	return rc;
}

/* What comes under a plugin that others are under already needs a rule of its own until all servers read it, and so does what
 * leaves it alone. */
static int check_kms_names(const struct config_shape *from, const struct config_shape *to,
			   const struct config_shape *step, struct error **err)
{
	for (size_t r = 1; r < step->rule_count; r++)
		for (size_t k = 0; k < step->rules[r].key_count; k++) {
			const struct config_key *key = &step->rules[r].keys[k];
			const struct config_rule *earlier = earlier_rule(step, r, key);
			if (is_kms_2(key) && earlier)
				return refuse_two_rules(from, to, earlier, &step->rules[r], key, err);
		}
	return 0;
}

int path_make(const struct config_shape *from, const struct config_shape *to, struct path **ret, struct error **err)
{
	int rc = check_resources(from, to, err);
	if (rc == 0)
		rc = check_names(from, to, err);
	if (rc == 0)
		rc = check_bytes(from, to, err);
	if (rc < 0)
		return rc;
	_cleanup_(path_freep) struct path *path = xcalloc(1, sizeof(*path));
	push(path, config_shape_copy(from));
	push_between(path, between(from, to, false), to);
	push_between(path, between(from, to, true), to);
	push(path, config_shape_copy(to));
	for (size_t step = 0; step < path->count; step++) {
		rc = check_kms_names(from, to, path->steps[step], err);
		if (rc < 0)
			return rc;
	}
	for (size_t step = 0; step + 1 < path->count; step++)
		if (!path_step_readable(path, step))
			return error_set(err, ERROR_REFUSED,
					 "no safe way to the target configuration: step %zu would break reading",
					 step + 1);
	*ret = steal(path);
	return 0;
}

static bool encrypts(const struct config_shape *shape, const char *pattern)
{
	const struct config_rule *rule = config_shape_rule(shape, pattern);
	return rule && rule->keys[0].type != PROVIDER_IDENTITY;
}

/* Of what `named` names: the first configuration, or the last, which may take something out of a wildcard. */
static bool stays_encrypted(const struct config_shape *from, const struct config_shape *to,
			    const struct config_shape *named)
{
	for (size_t r = 0; r < named->rule_count; r++)
		for (size_t i = 0; i < named->rules[r].resource_count; i++) {
			const char *pattern = named->rules[r].resources[i];
			if (encrypts(from, pattern) && !encrypts(to, pattern))
				return false;
		}
	return true;
}

static bool keeps_encrypting(const struct path *path)
{
	const struct config_shape *from = path->steps[0], *to = path->steps[path->count - 1];
	return stays_encrypted(from, to, from) && stays_encrypted(from, to, to);
}

int path_abort(const struct path *path, size_t reached, bool promote_again, struct path **ret, struct error **err)
{
	for (size_t step = 0; step < reached; step++) {
		if (path_drops(path, step))
			return error_set(err, ERROR_REFUSED,
					 "a key may have left some server already: the rotation can only go forward");
		if (!path_changes_write_key(path, step) || promote_again)
			continue;
		int rc = error_set(err, ERROR_REFUSED,
				   "values may be under the new key already: it cannot just be taken away again");
		error_set_hint(err, "go forward, or let the old key be promoted again");
		return rc;
	}
	_cleanup_(path_freep) struct path *back = xcalloc(1, sizeof(*back));
	for (size_t step = reached + 1; step-- > 0;)
		push(back, config_shape_copy(path->steps[step]));
	if (!keeps_encrypting(back))
		return error_set(
			err, ERROR_REFUSED,
			"the servers encrypt already, and would write plaintext again: the rotation can only go "
			"forward");
	*ret = steal(back);
	return 0;
}

bool path_is_lawful(const struct path *path)
{
	_cleanup_(path_freep) struct path *made = NULL;
	const struct config_shape *from = path->steps[0], *to = path->steps[path->count - 1];
	bool same = path_make(from, to, &made, NULL) == 0 && made->count == path->count;
	for (size_t i = 0; same && i < path->count; i++)
		same = config_shape_equal(made->steps[i], path->steps[i]);
	return same && keeps_encrypting(path);
}

static bool writes_by(const struct config_shape *shape, const struct config_key *key)
{
	for (size_t r = 0; r < shape->rule_count; r++) {
		const struct config_key *first = &shape->rules[r].keys[0];
		if (first->type == key->type && first->kms_version == key->kms_version &&
		    text_equal(first->name, key->name))
			return true;
	}
	return false;
}

bool path_brings_kms(const struct path *path, size_t step, const struct config_key *key)
{
	const struct config_shape *first = path->steps[0], *shape = path->steps[step];
	const struct key_name name = {key->type, key->kms_version, key->name, NULL};
	if (key->type != PROVIDER_KMS || !shape_has_name(shape, name))
		return false;
	return !shape_has_name(first, name) || (writes_by(shape, key) && !writes_by(first, key));
}

bool path_brings_any_kms(const struct path *path, size_t step)
{
	const struct config_shape *shape = path->steps[step];
	for (size_t r = 0; r < shape->rule_count; r++)
		for (size_t k = 0; k < shape->rules[r].key_count; k++)
			if (path_brings_kms(path, step, &shape->rules[r].keys[k]))
				return true;
	return false;
}

struct path *path_of_steps(struct config_shape *const *steps, size_t count)
{
	struct path *path = xcalloc(1, sizeof(*path));
	path->steps = xcalloc(count, sizeof(struct config_shape *));
	for (; path->count < count; path->count++)
		path->steps[path->count] = config_shape_copy(steps[path->count]);
	return path;
}

void path_free(struct path *path)
{
	if (!path)
		return;
	for (size_t i = 0; i < path->count; i++)
		config_shape_free(path->steps[i]);
	free(path->steps);
	free(path);
}

void path_freep(struct path **path)
{
	path_free(*path);
}

/* --- questions --- */

int path_find(const struct path *path, const struct config_shape *shape)
{
	for (size_t i = path->count; i-- > 0;)
		if (config_shape_equal(path->steps[i], shape))
			return (int)i;
	return -1;
}

static bool write_keys_differ(const struct config_rule *before, const struct config_rule *after, const void *arg)
{
	(void)arg;
	return !config_key_equal(&before->keys[0], &after->keys[0]);
}

bool path_changes_write_key(const struct path *path, size_t step)
{
	return step + 1 < path->count && !path_writes_alike(path, step, step + 1);
}

static bool loses_a_key(const struct config_rule *before, const struct config_rule *after, const void *arg)
{
	(void)arg;
	for (size_t k = 0; k < before->key_count; k++)
		if (!rule_has(after, &before->keys[k]))
			return true;
	return false;
}

bool path_drops(const struct path *path, size_t step)
{
	return step + 1 < path->count && !path_keeps_keys(path, step, step + 1);
}

static bool loses_this_key(const struct config_rule *before, const struct config_rule *after, const void *arg)
{
	const struct key_name *key = arg;
	return rule_has_name(before, *key) && !rule_has_name(after, *key);
}

bool path_loses(const struct path *path, size_t step, const char *resource, struct key_name key)
{
	if (step + 1 >= path->count)
		return false;
	const struct config_shape *from = path->steps[step], *to = path->steps[step + 1];
	if (key.type != PROVIDER_IDENTITY && shape_has_name(from, key) && !shape_has_name(to, key))
		return true;
	if (resource)
		return loses_this_key(effective(from, resource), effective(to, resource), &key);
	return key.type != PROVIDER_IDENTITY && any_pattern(from, to, loses_this_key, &key);
}

bool shape_reads(const struct config_shape *shape, const char *resource, struct key_name key)
{
	return resource ? rule_has_name(effective(shape, resource), key) : shape_has_name(shape, key);
}

bool shape_writes(const struct config_shape *shape, const char *resource, struct key_name key)
{
	const struct config_key *write_key = &effective(shape, resource)->keys[0];
	return same_name(write_key, key) && (!write_key->kms_key_id || text_equal(write_key->kms_key_id, key.key_id));
}

bool shape_needs_key_of_before(const struct config_shape *shape, struct key_name key)
{
	for (size_t r = 0; key.key_id && r < shape->rule_count; r++) {
		const struct config_key *writer = &shape->rules[r].keys[0];
		if (writer->kms_key_id && same_name(writer, key) && !text_equal(writer->kms_key_id, key.key_id))
			return true;
	}
	return false;
}

bool path_follows_kms(const struct path *path)
{
	const struct config_shape *shape = path->steps[0];
	for (size_t r = 0; path->count == 1 && r < shape->rule_count; r++)
		if (shape->rules[r].keys[0].kms_key_id)
			return true;
	return false;
}

bool path_keeps_keys(const struct path *path, size_t from, size_t to)
{
	return !any_pattern(path->steps[from], path->steps[to], loses_a_key, NULL);
}

bool path_writes_alike(const struct path *path, size_t a, size_t b)
{
	return !any_pattern(path->steps[a], path->steps[b], write_keys_differ, NULL);
}

static bool breaks_reading(const struct config_rule *before, const struct config_rule *after, const void *arg)
{
	(void)arg;
	return !rule_has(after, &before->keys[0]) || !rule_has(before, &after->keys[0]);
}

bool path_readable_between(const struct path *path, size_t a, size_t b)
{
	return !any_pattern(path->steps[a], path->steps[b], breaks_reading, NULL);
}

bool path_step_readable(const struct path *path, size_t step)
{
	return step + 1 >= path->count || path_readable_between(path, step, step + 1);
}

static bool write_key_leaves(const struct config_rule *before, const struct config_rule *after, const void *arg)
{
	(void)arg;
	return !rule_has(after, &before->keys[0]);
}

bool path_step_drops_write_key(const struct path *path, size_t step)
{
	return step + 1 < path->count && any_pattern(path->steps[step], path->steps[step + 1], write_key_leaves, NULL);
}
