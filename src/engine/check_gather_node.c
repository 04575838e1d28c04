/* This machine: flags, the configuration's file, KMS plugins, a backup. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/file.h"
#include "engine/check_gather_internal.h"
#include "engine/journal.h"
#include "engine/kms_look.h"
#include "engine/snapshot.h"

static char *why_of(const struct error *error, bool api_only, const char *otherwise)
{
	return xstrdup(error ? error_message(error) : api_only ? "only the API is looked at here" : otherwise);
}

static void look_at_flags(const struct check_sources *in, struct check_facts *f)
{
	const struct node_facts *node = in->cluster->has_node ? &in->cluster->node : NULL;
	f->node = node;
	if (!node) {
		f->node_why = why_of(in->node_error, in->api_only,
				     "no kube-apiserver of this cluster was found on this machine: run it on a "
				     "control-plane node, or "
				     "say --apiserver-manifest FILE");
		return;
	}
	f->compaction_known = true;
	f->compaction_interval = node->compaction_interval;
	if (node->from_manifest)
		f->single_file_mount = node->single_file_mount;
	else if (node->process_id && node->encryption_config)
		f->single_file_mount = node_single_file_mount("/proc", node->process_id, node->encryption_config);
}

/* --- the file --- */

static void look_at_key(const struct check_sources *in, const struct config_key *key, struct check_facts *f)
{
	const struct secret *bytes = encryption_config_key(in->config, key->type, key->name);
	bool seen[256] = {false};
	if (!bytes)
		return;
	f->keys = xreallocarray(f->keys, f->key_count + 1, sizeof(*f->keys));
	struct check_key *ret = &f->keys[f->key_count];
	*ret = (struct check_key){.label = config_key_label(key),
				  .fingerprint = xstrdup(key->fingerprint),
				  .bytes = secret_len(bytes),
				  .typed = true};
	for (size_t i = 0; i < f->key_count; i++)
		if (text_equal(f->keys[i].label, ret->label)) { /* of another rule */
			free(ret->label);
			free(ret->fingerprint);
			return;
		}
	for (size_t i = 0; i < ret->bytes; i++) {
		uint8_t byte = secret_data(bytes)[i];
		ret->different += !seen[byte];
		seen[byte] = true;
		ret->typed = ret->typed && isprint(byte);
	}
	f->key_count++;
}

static void stat_file(const struct check_sources *in, struct check_facts *f)
{
	struct stat file, folder;
	_cleanup_free_ char *real = realpath(in->config_path, NULL);
	if (!real || stat(real, &file) < 0)
		return;
	char *slash = strrchr(real, '/');
	*slash = '\0';
	if (stat(*real ? real : "/", &folder) < 0)
		return;
	f->file_mode = file.st_mode;
	f->file_owner = file.st_uid;
	f->folder_mode = folder.st_mode;
	f->file_stated = true;
}

/* One that cannot be read is somebody's to look at: rotate says so, too. */
static void read_journal(const struct check_sources *in, struct check_facts *f)
{
	_cleanup_error_ failed = NULL;
	if (journal_read(in->config_path, &f->journal, &failed) == 0)
		return;
	f->journal = NULL;
	f->journal_why = xstrdup(error_message(failed));
}

static void look_at_file(const struct check_sources *in, struct check_facts *f)
{
	f->config_path = in->config_path ? xstrdup(in->config_path) : NULL;
	f->config_broken = error_code(in->config_error) == ERROR_INPUT;
	if (in->config_error)
		f->config_why = xstrdup(error_message(in->config_error));
	if (!in->config_path)
		return;
	stat_file(in, f);
	read_journal(in, f);
	if (!in->config)
		return;
	f->shape = encryption_config_shape(in->config);
	free(f->shape_source);
	f->shape_source = xstrdup(in->config_path);
	for (size_t r = 0; r < f->shape->rule_count; r++)
		for (size_t k = 0; k < f->shape->rules[r].key_count; k++)
			look_at_key(in, &f->shape->rules[r].keys[k], f);
	if (file_sha256(in->config_path, ENCRYPTION_CONFIG_MAX, &f->file_hash, NULL) < 0)
		f->file_hash = NULL;
}

/* --- KMS --- */

static bool says_the_same(const struct kms_look *looks, size_t count, const struct kms_look *again)
{
	for (size_t i = 0; i < count; i++)
		if (text_equal(looks[i].name, again->name))
			return !looks[i].flaw == !again->flaw &&
			       (again->flaw || text_equal(looks[i].status.key_id, again->status.key_id));
	return false;
}

static void take_look(struct check_facts *f, const struct kms_look *look, const char *where)
{
	bool has_id = !text_empty(look->status.key_id);
	_cleanup_free_ char *hash =
		has_id ? text_sha256_tagged(look->status.key_id, strlen(look->status.key_id)) : NULL;
	check_add_kms(f, look->name, xstrdup(where), look->flaw, hash, look->took);
}

static int look_at_kms(const struct check_sources *in, struct check_facts *f, struct error **err)
{
	struct kms_look *looks = NULL, *again = NULL;
	size_t count = 0, count_again = 0;
	if (!in->config) {
		f->kms_why = xstrdup("plugins are asked on their control-plane node");
		return 0;
	}
	int rc = kms_look(in->cluster->loop, encryption_config_shape(in->config), &looks, &count, err);
	/* Two that answer at one socket in turn name two keys. */
	if (rc == 0)
		rc = kms_look(in->cluster->loop, encryption_config_shape(in->config), &again, &count_again, err);
	for (size_t i = 0; rc == 0 && i < count; i++)
		take_look(f, &looks[i], "plugin on this machine");
	for (size_t i = 0; rc == 0 && i < count_again; i++)
		if (!says_the_same(looks, count, &again[i]))
			take_look(f, &again[i], "plugin on this machine, asked again");
	kms_look_free(looks, count);
	kms_look_free(again, count_again);
	return rc;
}

/* --- a backup --- */

static int look_at_backup(const struct check_sources *in, struct check_facts *f, struct error **err)
{
	struct stat file;
	_cleanup_error_ failed = NULL;
	if (!in->backup)
		return 0;
	f->backup = xstrdup(in->backup);
	const struct snapshot_options options = {
		.path = in->backup, .etcd_prefix = in->cluster->etcd_prefix, .config = in->config};
	int rc = snapshot_census_take(&options, &f->backup_census, &failed);
	if (rc == 0 && stat(in->backup, &file) < 0)
		rc = error_set_errno(&failed, ERROR_IO, errno, "%s", in->backup);
	if (rc == 0)
		f->backup_made = (uint64_t)file.st_mtim.tv_sec * NS_PER_S;
	return check_keep_why(rc, &failed, &f->backup_why, err);
}

int check_gather_node(const struct check_sources *in, struct check_facts *ret, struct error **err)
{
	look_at_flags(in, ret);
	look_at_file(in, ret);
	int rc = look_at_kms(in, ret, err);
	return rc == 0 ? look_at_backup(in, ret, err) : rc;
}
