/* The EncryptionConfiguration: its keys, their order, and the file itself. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "engine/check_internal.h"
#include "engine/journal.h"

#define STRONG_BYTES 32
#define DIFFERENT_MIN 12 /* of 16 random bytes 11 or fewer differ once in 120,000; of 32, never */
#define DIFFERENT_MIN_SHORT 9

/* A path that somebody named is no file yet. */
static bool was_read(const struct check_facts *f)
{
	return f->config_path && !f->config_why;
}

CHECK_JUDGE(configuration_found)
{
	(void)policy;
	if (was_read(f) || (f->config_path && f->config_broken))
		return check_passed("%s", f->config_path);
	if (f->shape)
		return check_passed("as %s reports it", f->shape_source);
	if (f->node && !f->node->encryption_config)
		return check_says(CHECK_FAILED,
				  "write one and give it to each API server: --encryption-provider-config FILE, and "
				  "--encryption-provider-config-automatic-reload=true",
				  "%s: the API server has none, so everything in etcd is plaintext", f->node->source);
	return check_unknown(check_why_no_shape(f));
}

CHECK_JUDGE(configuration_valid)
{
	(void)policy;
	if (f->config_broken)
		return check_says(CHECK_FAILED, "mend it before anything restarts the server", "%s", f->config_why);
	if (!f->shape)
		return check_unknown(check_why_no_shape(f));
	size_t keys = 0;
	for (size_t i = 0; i < f->shape->rule_count; i++)
		keys += f->shape->rules[i].key_count;
	return check_passed("rules: %zu, keys: %zu", f->shape->rule_count, keys);
}

CHECK_JUDGE(key_strength)
{
	struct strings weak = {0}, typed = {0};
	(void)policy;
	if (f->key_count == 0)
		return f->shape && was_read(f) ? check_does_not_apply() : check_unknown(check_why_no_shape(f));
	for (size_t i = 0; i < f->key_count; i++) {
		const struct check_key *key = &f->keys[i];
		size_t least = key->bytes < STRONG_BYTES ? DIFFERENT_MIN_SHORT : DIFFERENT_MIN;
		if (key->typed)
			check_add(&typed, "%s is printable text: somebody typed it", key->label);
		else if (key->different < least)
			check_add(&typed, "%s has only %zu different bytes: it is not random", key->label,
				  key->different);
		else if (key->bytes < STRONG_BYTES)
			check_add(&weak, "%s has %zu bits", key->label, key->bytes * 8);
	}
	if (typed.count > 0) {
		strings_free(&weak);
		return check_of_list(&typed, CHECK_FAILED,
				     "whoever guesses it reads every backup: rotate to a key that kube-rekey makes",
				     NULL);
	}
	return check_of_list(&weak, CHECK_WARNING, "256 bits (32 bytes) are usual: rotate to a new key", NULL);
}

static void add_same_bytes(const struct check_facts *f, struct strings *bad)
{
	for (size_t i = 0; i < f->key_count; i++)
		for (size_t k = 0; k < i; k++)
			if (text_equal(f->keys[i].fingerprint, f->keys[k].fingerprint) &&
			    !text_equal(f->keys[i].label, f->keys[k].label))
				check_add(bad,
					  "%s and %s are the same bytes: going from one to the other was no rotation",
					  f->keys[k].label, f->keys[i].label);
}

/* As agents report it; whether any reports a key. */
static bool add_same_reported(const struct fleet *fleet, struct strings *bad)
{
	bool any = false;
	for (size_t s = 0; s < fleet->count; s++) {
		const struct key_server_status *status = &fleet->servers[s].last->status;
		any = any || status->key_count > 0;
		for (size_t i = 0; i < status->key_count; i++)
			for (size_t k = 0; k < i; k++)
				if (!text_empty(status->keys[i].fingerprint) &&
				    text_equal(status->keys[i].fingerprint, status->keys[k].fingerprint))
					check_add(bad, "%s and %s are the same bytes on %s", status->keys[k].name,
						  status->keys[i].name, fleet->servers[s].last->meta.name);
	}
	return any;
}

/* The same name on two nodes, with other bytes: what one server writes the other takes for garbage. */
static void add_other_bytes(const struct fleet *fleet, struct strings *bad)
{
	for (size_t a = 0; a < fleet->count; a++)
		for (size_t b = 0; b < a; b++) {
			const struct key_server_status *one = &fleet->servers[b].last->status,
						       *two = &fleet->servers[a].last->status;
			for (size_t i = 0; i < one->key_count; i++)
				for (size_t k = 0; k < two->key_count; k++)
					if (text_equal(one->keys[i].provider, two->keys[k].provider) &&
					    text_equal(one->keys[i].name, two->keys[k].name) &&
					    !text_equal(one->keys[i].fingerprint, two->keys[k].fingerprint))
						check_add(bad, "%s/%s is one key on %s and another on %s",
							  one->keys[i].provider, one->keys[i].name,
							  fleet->servers[b].last->meta.name,
							  fleet->servers[a].last->meta.name);
		}
}

CHECK_JUDGE(key_names)
{
	struct strings bad = {0};
	(void)policy;
	add_same_bytes(f, &bad);
	bool reported = add_same_reported(&f->fleet, &bad);
	add_other_bytes(&f->fleet, &bad);
	if (bad.count == 0 && f->key_count == 0 && !reported)
		return f->shape && was_read(f) ? check_does_not_apply() : check_unknown(check_why_no_shape(f));
	return check_of_list(&bad, CHECK_FAILED, "take a new key under a new name; never give a name to other bytes",
			     NULL);
}

/* Values of one rule's resources under one of its keys, by the census; false where it was not taken. */
static bool values_under(const struct check_facts *f, const struct config_rule *rule, const struct config_key *key,
			 uint64_t *ret)
{
	*ret = 0;
	if (!check_is_counted(f))
		return false;
	for (size_t i = 0; i < f->census->resource_count; i++) {
		const struct census_resource *resource = &f->census->resources[i];
		if (config_shape_rule(f->shape, resource->entry->storage) != rule)
			continue;
		for (size_t k = 0; k < resource->key_count; k++) {
			const struct census_key *under = &resource->keys[k];
			if (under->provider == key->type && under->kms_version == key->kms_version &&
			    (key->type == PROVIDER_IDENTITY || text_equal(under->name, key->name)))
				*ret += under->objects;
		}
	}
	return true;
}

CHECK_JUDGE(new_key_second)
{
	struct strings bad = {0};
	(void)policy;
	if (!f->shape)
		return check_unknown(check_why_no_shape(f));
	for (size_t r = 0; r < f->shape->rule_count; r++) {
		const struct config_rule *rule = &f->shape->rules[r];
		_cleanup_free_ char *resources = check_resources_of(rule), *write = config_key_label(&rule->keys[0]);
		for (size_t k = 1; k < rule->key_count; k++) {
			uint64_t newer = 0, values = 0;
			if (!check_name_is_newer(rule->keys[k].name, rule->keys[0].name) ||
			    (values_under(f, rule, &rule->keys[k], &newer) && newer > 0))
				continue;
			bool counted = values_under(f, rule, &rule->keys[0], &values);
			_cleanup_free_ char *label = config_key_label(&rule->keys[k]),
					    *number = text_human_count(values),
					    *all = counted ? xasprintf(" (%s values)", number) : xstrdup("");
			check_add(&bad,
				  "%s is not the first in the list of %s: everything is still encrypted with %s%s",
				  label, resources, write, all);
		}
	}
	return check_of_list(
		&bad, CHECK_FAILED,
		"let kube-rekey rotate take it there (--to FILE with the new key first); by hand only when "
		"every server has loaded both",
		NULL);
}

CHECK_JUDGE(unused_key)
{
	struct strings bad = {0};
	bool counted = f->shape != NULL;
	(void)policy;
	for (size_t r = 0; f->shape && r < f->shape->rule_count; r++) {
		const struct config_rule *rule = &f->shape->rules[r];
		for (size_t k = 1; k < rule->key_count; k++) {
			uint64_t values = 0;
			if (rule->keys[k].type == PROVIDER_IDENTITY)
				continue;
			bool known = values_under(f, rule, &rule->keys[k], &values);
			counted = counted && known;
			if (!known || values > 0)
				continue;
			_cleanup_free_ char *label = config_key_label(&rule->keys[k]),
					    *resources = check_resources_of(rule);
			check_add(&bad, "no value of %s is under %s", resources, label);
		}
	}
	if (!counted)
		return check_unknown(!f->shape ? check_why_no_shape(f) : check_why_not_counted(f));
	return check_of_list(
		&bad, CHECK_WARNING,
		"an old key that is needed no more can be used by whoever has it to plant values: kube-rekey "
		"rotate --drop-key NAME proves that it is not needed and takes it away. Backups may need it",
		NULL);
}

CHECK_JUDGE(plaintext_fallback)
{
	struct strings bad = {0}, needed = {0};
	bool counted = f->shape != NULL, any = false;
	(void)policy;
	for (size_t r = 0; f->shape && r < f->shape->rule_count; r++) {
		const struct config_rule *rule = &f->shape->rules[r];
		for (size_t k = 1; k < rule->key_count; k++) {
			uint64_t values = 0;
			if (rule->keys[k].type != PROVIDER_IDENTITY || rule->keys[0].type == PROVIDER_IDENTITY)
				continue;
			any = true;
			_cleanup_free_ char *resources = check_resources_of(rule), *count = NULL;
			bool known = values_under(f, rule, &rule->keys[k], &values);
			counted = counted && known;
			count = text_human_count(values);
			if (known && values > 0)
				check_add(&needed, "%s values of %s are plaintext", count, resources);
			else if (known)
				check_add(&bad, "%s", resources);
		}
	}
	_cleanup_free_ char *still = strings_join(&needed, "; ");
	strings_free(&needed);
	_cleanup_free_ char *idle = strings_join(&bad, "; ");
	strings_free(&bad);
	if (!f->shape || (any && !counted))
		return check_unknown(!f->shape ? check_why_no_shape(f) : check_why_not_counted(f));
	if (*idle)
		return check_says(
			CHECK_WARNING,
			"whoever writes into etcd could plant plaintext: kube-rekey rotate --drop-identity proves "
			"that none is left and takes it away",
			"identity is in the list, and no value needs it: %s", idle);
	return *still ? check_passed("%s", still) : (struct check_result){CHECK_PASSED, NULL, NULL};
}

CHECK_JUDGE(single_file_mount)
{
	(void)policy;
	if (f->single_file_mount < 0 || !f->node)
		return check_unknown(f->node_why ? f->node_why : "which mounts the API server has is seen on its node");
	if (f->single_file_mount > 0)
		return check_says(CHECK_FAILED, "mount its directory instead, and restart the server",
				  "%s is mounted by itself: a file that takes its place is never seen by the server",
				  f->node->encryption_config);
	return (struct check_result){CHECK_PASSED, NULL, NULL};
}

CHECK_JUDGE(file_permissions)
{
	struct strings bad = {0};
	(void)policy;
	if (!f->file_stated)
		return check_unknown(check_why_no_shape(f));
	if (f->file_mode & 077)
		check_add(&bad, "%s has mode %04o", f->config_path, f->file_mode & 07777);
	if (f->file_owner != 0)
		check_add(&bad, "%s belongs to user %u", f->config_path, f->file_owner);
	if ((f->folder_mode & 022) && !(f->folder_mode & 01000))
		check_add(&bad, "others may replace it: its directory has mode %04o", f->folder_mode & 07777);
	return check_of_list(&bad, CHECK_FAILED,
			     "chown root and chmod 600; who could read it has the keys: consider a rotation", NULL);
}

static struct check_result judge_journal(const struct check_facts *f)
{
	const struct journal *journal = f->journal;
	bool unsure = journal->cluster && !f->cluster_uid;
	if (journal_is_of_another(journal, f->cluster_uid)) {
		_cleanup_free_ char *path = journal_path(f->config_path);
		return check_says(
			CHECK_WARNING,
			"rotate refuses beside it: remove the journal if that cluster was here before; else give "
			"each cluster its own --out and --state-dir",
			"%s is of rotation %s of another cluster, begun at %s", path, journal->rotation,
			journal->started);
	}
	return check_says(CHECK_WARNING,
			  "go on with the command that began it; kube-rekey status shows where it stands",
			  "%s, begun at %s%s%s", journal->rotation, journal->started,
			  unsure ? "; whether it is of this cluster is not known: " : "",
			  !unsure              ? ""
			  : f->cluster_uid_why ? f->cluster_uid_why
					       : "nothing here tells");
}

CHECK_JUDGE(rotation_half_done)
{
	(void)policy;
	if (f->journal)
		return judge_journal(f);
	if (f->journal_why)
		return check_unknown(f->journal_why);
	if (!f->file_stated) /* its journal would lie beside it */
		return check_unknown(check_why_no_shape(f));
	return (struct check_result){CHECK_PASSED, NULL, NULL};
}

/* --- what names tell --- */

#define OUR_PREFIX "rekey-"
#define OUR_STAMP 14 /* "20261122T1103Z" */
#define DIGITS_MAX 16

static bool all_digits(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (text[i] < '0' || text[i] > '9')
			return false;
	return len > 0;
}

/* The digits at the end of a name, dashes between them left out, or those of the time that is in one of ours; how long the
 * part before them is. */
static size_t number_of(const char *name, char digits[static DIGITS_MAX + 1])
{
	size_t begin = strlen(name), count = 0;
	uint64_t made;
	if (key_name_time(name, &made)) {
		const char *stamp = name + strlen(OUR_PREFIX);
		memcpy(digits, stamp, 8);
		memcpy(digits + 8, stamp + 9, 4);
		digits[12] = '\0';
		return strlen(OUR_PREFIX);
	}
	while (begin > 0 && (all_digits(name + begin - 1, 1) ||
			     (name[begin - 1] == '-' && begin > 1 && all_digits(name + begin - 2, 1))))
		begin--;
	for (size_t i = begin; name[i]; i++)
		if (name[i] != '-' && count < DIGITS_MAX)
			digits[count++] = name[i];
	digits[count] = '\0';
	return begin;
}

static bool is_date(const char *digits)
{
	return strlen(digits) >= 6 && text_starts(digits, "20");
}

bool check_name_is_newer(const char *name, const char *than)
{
	uint64_t one = 0, other = 0;
	char a[DIGITS_MAX + 1], b[DIGITS_MAX + 1];
	size_t stem = number_of(name, a), other_stem = number_of(than, b);
	if (is_date(a) && is_date(b)) /* perhaps one of months, the other of minutes */
		return strncmp(a, b, strlen(a) < strlen(b) ? strlen(a) : strlen(b)) > 0;
	return stem == other_stem && strncmp(name, than, stem) == 0 && text_to_u64(a, &one) == 0 &&
	       text_to_u64(b, &other) == 0 && one > other;
}
