#include "engine/old_keys.h"

#include <stdlib.h>
#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/text.h"

#define KEY_FILE_MAX (64u << 10)

int old_keys_policy_parse(const char *text, const char *directory, struct old_keys_policy *ret, struct error **err)
{
	*ret = (struct old_keys_policy){.directory = directory};
	if (text_equal(text, "keep")) {
		ret->fate = OLD_KEY_KEEP;
		return 0;
	}
	if (text_equal(text, "destroy")) {
		ret->fate = OLD_KEY_DESTROY;
		return 0;
	}
	if (!text_starts(text, "seal:") || text[5] == '\0')
		return error_set(err, ERROR_USAGE, "--old-key is keep, destroy or seal:CERTIFICATE, not %s", text);
	ret->fate = OLD_KEY_SEAL;
	return seal_open(text + 5, &ret->seal, err);
}

int old_keys_policy_asked(const char *fate, const char *certificate, const char *directory, struct old_keys_policy *ret,
			  struct error **err)
{
	struct old_keys_policy policy = {.directory = directory, .fate = OLD_KEY_SEAL};
	int rc = 0;
	if (text_equal(fate, "keep"))
		policy.fate = OLD_KEY_KEEP;
	else if (text_equal(fate, "destroy"))
		policy.fate = OLD_KEY_DESTROY;
	else if (text_equal(fate, "seal") && certificate)
		rc = seal_parse("spec.oldKeyCert", certificate, &policy.seal, err);
	else
		rc = error_set(
			err, ERROR_INPUT,
			"spec.oldKey is keep, destroy, or seal with spec.oldKeyCert: what becomes of the old key "
			"is not known");
	if (rc == 0)
		*ret = policy;
	return rc;
}

void old_keys_policy_free(struct old_keys_policy *policy)
{
	seal_free(policy->seal);
	policy->seal = NULL;
}

/* --- which --- */

static bool shape_has(const struct config_shape *shape, const struct config_key *key)
{
	for (size_t r = 0; r < shape->rule_count; r++)
		if (config_rule_find(&shape->rules[r], key->type, key->name))
			return true;
	return false;
}

void old_keys_of_step(const struct path *path, size_t step, struct strings *ret)
{
	const struct config_shape *from = path->steps[step], *to = path->steps[step + 1];
	for (size_t r = 0; r < from->rule_count; r++)
		for (size_t k = 0; k < from->rules[r].key_count; k++) {
			const struct config_key *key = &from->rules[r].keys[k];
			_cleanup_free_ char *label = config_key_label(key);
			if (provider_is_local(key->type) && !shape_has(to, key) && !strings_has(ret, label))
				strings_add(ret, label);
		}
}

/* "aescbc/key1": the type before the first slash, the name behind it. */
bool key_label_split(const char *label, enum provider_type *ret_type, const char **ret_name)
{
	const char *slash = strchr(label, '/');
	_cleanup_free_ char *type = slash ? xstrndup(label, (size_t)(slash - label)) : NULL;
	if (!slash || !provider_from_name(type, ret_type))
		return false;
	*ret_name = slash + 1;
	return true;
}

bool key_label_is_local(const char *label)
{
	enum provider_type type;
	const char *name;
	return key_label_split(label, &type, &name) && provider_is_local(type);
}

/* --- files --- */

/* Any name may be in a configuration; a file's name is its percent-encoded form and never begins with a dot. */
static char *file_of(const char *directory, enum provider_type type, const char *name)
{
	_cleanup_free_ char *escaped = text_url_escape(name);
	return xasprintf("%s/%s-%s.yaml", directory, provider_name(type), escaped);
}

/* "...yaml.cms", "...yaml.2.cms", ... */
static char *sealed_name(const char *path, unsigned number)
{
	return number < 2 ? xasprintf("%s.cms", path) : xasprintf("%s.%u.cms", path, number);
}

/* Of "aescbc-key1.yaml.2.cms", where `base` is "aescbc-key1.yaml"; 0: it is none of its. */
static unsigned number_of(const char *base, const char *entry)
{
	size_t digits = strlen(base) + 1, len = strlen(entry), end = strlen(".cms");
	uint64_t number = 1;
	if (len > digits + end && text_bytes_to_u64(entry + digits, len - digits - end, &number) < 0)
		return 0;
	_cleanup_free_ char *name = sealed_name(base, (unsigned)number);
	return text_equal(name, entry) ? (unsigned)number : 0;
}

/* The highest number that is there, whatever became of those below it; 0: none is. */
static int last_number(const char *path, unsigned *ret, struct error **err)
{
	const char *slash = strrchr(path, '/');
	_cleanup_free_ char *directory = xstrndup(path, (size_t)(slash - path));
	DIR *folder = opendir(directory);
	const struct dirent *entry;
	unsigned last = 0;
	if (!folder && errno != ENOENT)
		return error_set_errno(err, ERROR_IO, errno, "%s", directory);
	while (folder && (entry = readdir(folder))) {
		unsigned number = number_of(slash + 1, entry->d_name);
		last = number > last ? number : last;
	}
	if (folder)
		closedir(folder);
	*ret = last;
	return 0;
}

/* The one that was sealed last; NULL: none. */
static int last_sealed(const char *path, char **ret, struct error **err)
{
	unsigned number = 0;
	int rc = last_number(path, &number, err);
	if (rc == 0)
		*ret = number > 0 ? sealed_name(path, number) : NULL;
	return rc;
}

static int key_file(enum provider_type type, const char *name, const struct secret *bytes, const char *comment,
		    struct secret **ret)
{
	_cleanup_secret_ base64 = secret_base64_encode(secret_data(bytes), secret_len(bytes));
	_cleanup_secret_ text = secret_new(KEY_FILE_MAX);
	_cleanup_free_ char *head = xasprintf("# %s\n"
					      "apiVersion: apiserver.config.k8s.io/v1\n"
					      "kind: EncryptionConfiguration\n"
					      "resources:\n"
					      "- resources: [\"*.*\"]\n"
					      "  providers:\n"
					      "  - %s:\n"
					      "      keys:\n"
					      "      - name: '",
					      comment, provider_name(type));
	int rc = secret_append_text(text, head);
	for (const char *c = name; rc == 0 && *c; c++)
		rc = secret_append_text(text, *c == '\'' ? "''" : (char[]){*c, '\0'});
	if (rc == 0)
		rc = secret_append_text(text, "'\n        secret: ");
	if (rc == 0)
		rc = secret_append(text, secret_data(base64), secret_len(base64));
	if (rc == 0)
		rc = secret_append_text(text, "\n");
	if (rc == 0)
		*ret = steal(text);
	return rc;
}

static int write_new(const char *path, const struct secret *content, struct error **err)
{
	_cleanup_free_ char *before = NULL;
	enum file_replaced replaced;
	if (access(path, F_OK) == 0) {
		int rc = file_sha256(path, KEY_FILE_MAX, &before, err);
		if (rc < 0)
			return rc;
	}
	return file_replace(path, content, before, 0600, &replaced, err);
}

static int load_one(const char *directory, enum provider_type type, const char *name, struct keys *keys,
		    struct error **err)
{
	_cleanup_free_ char *path = file_of(directory, type, name);
	_cleanup_secret_ text = NULL;
	_cleanup_(encryption_config_freep) struct encryption_config *config = NULL;
	if (access(path, F_OK) != 0)
		return 0;
	int rc = file_read(path, KEY_FILE_MAX, &text, err);
	if (rc == 0 && file_is_half_shredded(text))
		return 0; /* killed while retiring it: as good as gone */
	if (rc == 0)
		rc = encryption_config_parse(path, text, &config, err);
	if (rc == 0)
		keys_add_config(keys, config);
	return rc;
}

/* 1: it is there; 0: nothing is. */
static int check_one(const struct old_keys_policy *policy, enum provider_type type, const char *name,
		     const struct keys *keys, struct error **err)
{
	const struct secret *bytes = keys_find(keys, type, name);
	_cleanup_free_ char *path = file_of(policy->directory, type, name);
	_cleanup_keys_ there = {0};
	if (!bytes)
		return 0; /* a run that goes on after it was destroyed or sealed */
	int rc = load_one(policy->directory, type, name, &there, err);
	if (rc < 0)
		return rc;
	const struct secret *old = keys_find(&there, type, name);
	if (old && !secret_equal(old, bytes))
		return error_set(err, ERROR_REFUSED, "%s holds another key of that name: move it away first", path);
	/* Of an earlier rotation, for this key did not leave yet; unless it did, and an older file brought it back. */
	_cleanup_free_ char *sealed = NULL;
	if (policy->fate == OLD_KEY_SEAL && !policy->left_before && !old)
		rc = last_sealed(path, &sealed, err);
	if (sealed)
		return error_set(err, ERROR_REFUSED, "%s holds a sealed key of that name: move it away first", sealed);
	return rc < 0 ? rc : old != NULL;
}

static int save_with_comment(const struct old_keys_policy *policy, enum provider_type type, const char *name,
			     const struct keys *keys, const char *comment, struct error **err)
{
	if (!keys_find(keys, type, name))
		return error_set(err, ERROR_REFUSED,
				 "the bytes of %s/%s are not at hand: it cannot be kept before it leaves",
				 provider_name(type), name);
	int there = check_one(policy, type, name, keys, err);
	if (there != 0)
		return there < 0 ? there : 0;
	_cleanup_free_ char *path = file_of(policy->directory, type, name);
	_cleanup_secret_ content = NULL;
	int rc = key_file(type, name, keys_find(keys, type, name), comment, &content);
	return rc < 0 ? error_set(err, ERROR_LIMIT, "%s: too long", path) : write_new(path, content, err);
}

static int save_one(const struct old_keys_policy *policy, enum provider_type type, const char *name,
		    const struct keys *keys, const char *rotation, struct error **err)
{
	_cleanup_free_ char *comment = xasprintf(
		"Retired by kube-rekey, rotation %s. Backups of etcd made before it need this key.", rotation);
	return save_with_comment(policy, type, name, keys, comment, err);
}

/* Calls `each` for the local keys that leave by this step. */
static int for_each(const struct old_keys_policy *policy, const struct path *path, size_t step, const struct keys *keys,
		    const char *rotation,
		    int (*each)(const struct old_keys_policy *policy, enum provider_type type, const char *name,
				const struct keys *keys, const char *rotation, struct error **err),
		    struct error **err)
{
	_cleanup_strings_ labels = {0};
	old_keys_of_step(path, step, &labels);
	for (size_t i = 0; i < labels.count; i++) {
		enum provider_type type;
		const char *name;
		int rc = key_label_split(labels.items[i], &type, &name) ? each(policy, type, name, keys, rotation, err)
									: 0;
		if (rc < 0)
			return error_wrap(err, rc, "keeping the old key");
	}
	return 0;
}

static int only_check(const struct old_keys_policy *policy, enum provider_type type, const char *name,
		      const struct keys *keys, const char *rotation, struct error **err)
{
	(void)rotation;
	return check_one(policy, type, name, keys, err);
}

int old_keys_check(const struct old_keys_policy *policy, const struct path *path, size_t step, const struct keys *keys,
		   struct error **err)
{
	int rc = 0;
	for (; rc == 0 && step + 1 < path->count; step++)
		rc = for_each(policy, path, step, keys, NULL, only_check, err);
	return rc;
}

int old_keys_save(const struct old_keys_policy *policy, const struct path *path, size_t step, const struct keys *keys,
		  const char *rotation, struct error **err)
{
	int rc = file_make_directory(policy->directory, err);
	return rc == 0 ? for_each(policy, path, step, keys, rotation, save_one, err) : rc;
}

int old_keys_load(const char *directory, const struct strings *labels, struct keys *keys, struct error **err)
{
	for (size_t i = 0; i < labels->count; i++) {
		enum provider_type type;
		const char *name;
		if (!key_label_split(labels->items[i], &type, &name))
			continue;
		int rc = load_one(directory, type, name, keys, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* --- their end --- */

/* Never over what was sealed before: that is another rotation's, and perhaps another key's. Who was killed after it, and
 * before the plain file was gone, seals once more. */
static int seal_anew(const struct seal *seal, const char *path, const struct secret *content, char **ret,
		     struct error **err)
{
	_cleanup_secret_ sealed = NULL;
	_cleanup_free_ char *place = NULL;
	enum file_replaced replaced;
	unsigned last = 0;
	int rc = last_number(path, &last, err);
	if (rc == 0)
		rc = seal_encrypt(seal, content, &sealed, err);
	if (rc < 0)
		return rc;
	place = sealed_name(path, last + 1);
	rc = file_replace(place, sealed, NULL, 0600, &replaced, err);
	if (rc == 0)
		*ret = steal(place);
	return rc;
}

static int seal_file(const struct seal *seal, const char *path, char **ret, struct error **err)
{
	_cleanup_secret_ content = NULL;
	int rc = file_read(path, KEY_FILE_MAX, &content, err);
	if (rc == 0)
		rc = seal_anew(seal, path, content, ret, err);
	return rc == 0 ? file_shred(path, err) : rc;
}

/* A run was killed while overwriting it, sealed before or not: 1, now it is gone. */
static int finish_removing(const char *path, struct error **err)
{
	_cleanup_secret_ content = NULL;
	if (access(path, F_OK) != 0)
		return 0;
	int rc = file_read(path, KEY_FILE_MAX, &content, err);
	if (rc < 0 || !file_is_half_shredded(content))
		return rc;
	rc = file_shred(path, err);
	return rc < 0 ? rc : 1;
}

/* A sealed copy that nobody asked to be taken away: in the directory, or (from when the key was new) in the one above. */
static int sealed_copy(const char *directory, enum provider_type type, const char *name, char **ret, struct error **err)
{
	const char *slash = strrchr(directory, '/');
	_cleanup_free_ char *path = file_of(directory, type, name);
	int rc = last_sealed(path, ret, err);
	if (rc < 0 || *ret || !slash)
		return rc;
	_cleanup_free_ char *parent = xstrndup(directory, (size_t)(slash - directory));
	_cleanup_free_ char *above = file_of(parent, type, name);
	return last_sealed(above, ret, err);
}

static char *destroyed_text(const char *label, const char *directory, const char *sealed)
{
	return sealed ? xasprintf("%s is destroyed; a key of that name is sealed in %s", label, sealed)
		      : xasprintf("%s is destroyed: no copy is left in %s", label, directory);
}

static char *kept_text(const char *label, const char *path, const char *sealed)
{
	return access(path, F_OK) == 0 ? xasprintf("%s lies in %s (mode 0600)", label, path)
	       : sealed                ? xasprintf("%s is sealed in %s", label, sealed)
				       : xasprintf("%s is not on this machine", label);
}

static char *sealed_text(const char *label, const char *path, const char *sealed)
{
	return sealed ? xasprintf("%s is sealed in %s", label, sealed)
		      : xasprintf("%s is neither in %s nor sealed beside it: somebody took it away", label, path);
}

static char *removed_text(const char *label, const char *sealed)
{
	return sealed ? xasprintf("%s was being removed by a run that was killed; a key of that name is sealed in %s",
				  label, sealed)
		      : xasprintf("%s was being removed by a run that was killed, and nothing shows that it was sealed",
				  label);
}

static int retire_one(const struct old_keys_policy *policy, const char *label, struct strings *ret_places,
		      struct error **err)
{
	enum provider_type type;
	const char *name;
	if (!key_label_split(label, &type, &name))
		return 0;
	_cleanup_free_ char *path = file_of(policy->directory, type, name);
	_cleanup_free_ char *place = NULL, *sealed = NULL;
	int rc = 0, removed = policy->fate == OLD_KEY_DESTROY ? 0 : finish_removing(path, err);
	if (removed < 0)
		return removed;
	switch (policy->fate) {
	case OLD_KEY_KEEP:
		rc = last_sealed(path, &sealed, err);
		place = removed ? removed_text(label, sealed) : kept_text(label, path, sealed);
		break;
	case OLD_KEY_SEAL:
		rc = access(path, F_OK) == 0 ? seal_file(policy->seal, path, &sealed, err)
					     : last_sealed(path, &sealed, err);
		place = removed ? removed_text(label, sealed) : sealed_text(label, path, sealed);
		break;
	case OLD_KEY_DESTROY:
		rc = file_shred(path, err);
		if (rc == 0)
			rc = sealed_copy(policy->directory, type, name, &sealed, err);
		place = destroyed_text(label, policy->directory, sealed);
		break;
	}
	if (rc == 0)
		strings_add(ret_places, place);
	return rc;
}

int old_keys_retire(const struct old_keys_policy *policy, const struct strings *labels, struct strings *ret_places,
		    struct error **err)
{
	for (size_t i = 0; i < labels->count; i++) {
		int rc = retire_one(policy, labels->items[i], ret_places, err);
		if (rc < 0)
			return error_wrap(err, rc, "retiring %s", labels->items[i]);
	}
	return 0;
}

int new_keys_hold(const char *directory, const struct strings *labels, const struct keys *keys, const char *rotation,
		  struct error **err)
{
	const struct old_keys_policy policy = {.directory = directory};
	_cleanup_free_ char *comment =
		xasprintf("New in rotation %s of kube-rekey, which removes this when it is done.", rotation);
	int rc = file_make_directory(directory, err);
	if (rc == 0)
		/* Of a run that was killed while it held a key that was then never used: nobody will finish that. */
		rc = file_remove_leftovers(directory, err);
	for (size_t i = 0; rc == 0 && i < labels->count; i++) {
		enum provider_type type;
		const char *name;
		if (key_label_split(labels->items[i], &type, &name) && provider_is_local(type))
			rc = save_with_comment(&policy, type, name, keys, comment, err);
	}
	return rc < 0 ? error_wrap(err, rc, "holding the new key") : 0;
}

int new_keys_let_go(const char *directory, const struct strings *labels, struct error **err)
{
	for (size_t i = 0; i < labels->count; i++) {
		enum provider_type type;
		const char *name;
		if (!key_label_split(labels->items[i], &type, &name))
			continue;
		_cleanup_free_ char *path = file_of(directory, type, name);
		int rc = file_shred(path, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

int new_key_copy(const struct seal *seal, const char *directory, enum provider_type type, const char *name,
		 const struct secret *bytes, char **ret_path, struct error **err)
{
	_cleanup_free_ char *path = file_of(directory, type, name);
	_cleanup_secret_ content = NULL;
	int rc = key_file(type, name, bytes, "A copy of this key, sealed by kube-rekey.", &content);
	if (rc < 0)
		return error_set(err, ERROR_LIMIT, "%s: too long", path);
	rc = file_make_directory(directory, err);
	if (rc == 0)
		rc = seal_anew(seal, path, content, ret_path, err);
	return rc < 0 ? error_wrap(err, rc, "sealed copy of the new key") : 0;
}
