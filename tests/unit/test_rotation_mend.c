/* An older file is there, and no server answers: whether the read key that it lacks is added from what lies on the disk. */
#include "test_folder.h"

#include "base/file.h"
#include "engine/journal.h"
#include "engine/old_keys.h"
#include "engine/rotation.h"
#include "kube-rekey/encryption_config.h"

#define CONFIG(keys)                                                                                                  \
	"apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n" \
	"  providers:\n  - aescbc:\n      keys:\n" keys
#define KEY_A "      - name: a\n        secret: MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\n"
#define KEY_B "      - name: b\n        secret: YWJjZGVmZ2hpamFiY2RlZmdoaWphYmNkZWZnaGlqYWI=\n"

/* Hashes: "STEP" in place, "STEP?" about to be. */
static const struct {
	const char *name;
	const char *hashes[4];
	bool mended;
} rows[] = {
	{"the read key alone was there", {"1"}, false},
	{"promoted", {"1", "2"}, true},
	{"killed after the rename of the promotion, and nobody has looked since", {"1", "2?"}, true},
	{"dropped", {"1", "2", "3"}, true},
	{"killed before the read key was in place", {"1?"}, false},
};

static struct encryption_config *parse(const char *text)
{
	_cleanup_secret_ content = secret_from(text, strlen(text));
	struct encryption_config *config = NULL;
	struct error *err = NULL;
	assert_ok(encryption_config_parse("test", content, &config, &err), err);
	return config;
}

static struct journal *journal_of(const struct encryption_config *from, const struct encryption_config *to,
				  const char *const *hashes)
{
	struct journal *journal = xcalloc(1, sizeof(*journal));
	struct error *err = NULL;
	_cleanup_free_ char *sha256 = NULL;
	journal->rotation = xstrdup("r");
	journal->started = xstrdup("t");
	journal->request = xstrdup("q");
	strings_add(&journal->new_keys, "aescbc/b");
	strings_add(&journal->old_keys, "aescbc/a");
	assert_ok(path_make(encryption_config_shape(from), encryption_config_shape(to), &journal->path, &err), err);
	assert_ok(file_sha256(in_folder("config.yaml"), ENCRYPTION_CONFIG_MAX, &sha256, &err), err);
	journal_add_hash(journal, 0, sha256, false);
	for (size_t i = 0; i < ELEMENTS(rows[0].hashes) && hashes[i]; i++)
		journal_add_hash(journal, hashes[i][0] - '0', hashes[i], strchr(hashes[i], '?') != NULL);
	return journal;
}

static void mends(void **state)
{
	const __typeof__(rows[0]) *row = *state;
	struct error *err = NULL;
	assert_int_equal(make_folder(NULL), 0);
	{
		_cleanup_(encryption_config_freep) struct encryption_config *from = parse(CONFIG(KEY_A)),
									    *to = parse(CONFIG(KEY_B));
		_cleanup_free_ char *state_directory = xasprintf("%s/state", folder),
				    *held = xasprintf("%s/rotating", state_directory), *text = NULL;
		_cleanup_keys_ keys = {0};
		put_file(in_folder("config.yaml"), CONFIG(KEY_A));
		_cleanup_(journal_freep) struct journal *journal = journal_of(from, to, row->hashes);
		keys_add_config(&keys, to);
		assert_ok(new_keys_hold(held, &journal->new_keys, &keys, "r", &err), err);
		assert_ok(journal_write(in_folder("config.yaml"), journal, &err), err);
		int rc = rotation_mend_alone(in_folder("config.yaml"), state_directory, &text, &err);
		assert_null(err);
		assert_int_equal(rc, row->mended);
		_cleanup_secret_ content = NULL;
		assert_ok(file_read(in_folder("config.yaml"), ENCRYPTION_CONFIG_MAX, &content, &err), err);
		_cleanup_(encryption_config_freep) struct encryption_config *there = parse(secret_text(content));
		assert_int_equal(path_find(journal->path, encryption_config_shape(there)), row->mended);
	}
	assert_int_equal(remove_folder(NULL), 0);
}

int main(void)
{
	return RUN_ROWS(mends, rows);
}
