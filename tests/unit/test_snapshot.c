/* Backups put together revision by revision: what their census says, and what is no backup. */
#include "test_folder.h"

#include "base/json_read.h"
#include "base/json_writer.h"
#include "bbolt_bytes.h"
#include "engine/snapshot.h"
#include "engine/snapshot_file.h"
#include "etcd_value_vectors.h"

#include <inttypes.h>
#include <openssl/sha.h>
#include <sys/wait.h>

#define X16 "xxxxxxxxxxxxxxxx"
#define UNDER(key) BYTES("k8s:enc:aescbc:v1:" key ":" X16 X16)
#define PLAIN BYTES("k8s\0plain")
#define SECRET(name) "/registry/secrets/default/" name

static void save(const struct buf *db, bool hash)
{
	uint8_t digest[SHA256_DIGEST_LENGTH];
	FILE *file = fopen(in_folder("backup.db"), "we");
	assert_non_null(file);
	SHA256(db->data, db->len, digest);
	assert_int_equal(fwrite(db->data, 1, db->len, file), db->len);
	assert_int_equal(fwrite(digest, 1, sizeof(digest), file), sizeof(digest));
	assert_int_equal(fclose(file), 0);
	if (!hash)
		assert_int_equal(truncate(in_folder("backup.db"), (off_t)db->len), 0);
}

static int take(const char *prefix, const struct encryption_config *config, struct snapshot_census **ret,
		struct error **err)
{
	const struct snapshot_options options = {
		.path = in_folder("backup.db"), .etcd_prefix = prefix ? prefix : "/registry", .config = config};
	return snapshot_census_take(&options, ret, err);
}

/* As assert_error; FILE in the message stands for the backup. */
static void assert_error_of_file(int rc, struct error **err, enum error_code code, const char *message)
{
	const char *file = strstr(message, "FILE");
	_cleanup_free_ char *whole = file ? xasprintf("%.*s%s%s", (int)(file - message), message,
						      in_folder("backup.db"), file + strlen("FILE"))
					  : xstrdup(message);
	assert_error(rc, *err, code, whole);
}

static void say_keys(struct buf *log, const char *title, const struct census_key *keys, size_t count)
{
	say(log, "%s", title);
	for (size_t i = 0; i < count; i++) {
		_cleanup_free_ char *name =
			config_key_label(&(struct config_key){.type = keys[i].provider, .name = keys[i].name});
		say(log, " %s%s%s %llu%s", name, keys[i].key_id[0] ? " " : "", keys[i].key_id,
		    (unsigned long long)keys[i].objects, keys[i].in_config ? "" : " lacking");
	}
}

/* "newest aescbc/a 2 | history aescbc/b 1 | needs ..." and the numbers that are not 0. */
static char *words(const struct snapshot_census *census)
{
	struct buf log = BUF_INIT(1u << 20);
	_cleanup_free_ char *needs = strings_join(&census->needs, ","),
			    *old = strings_join(&census->history_needs, ",");
	const struct {
		const char *name;
		uint64_t value;
	} numbers[] = {
		{"deleted", census->deleted},
		{"unknown", census->unknown},
		{"history unknown", census->history_unknown},
		{"unreadable", census->unreadable},
		{"opened", census->opened},
		{"not opened", census->not_opened},
		{"does not open", census->does_not_open},
		{"outside", census->outside},
		{"outside encrypted", census->outside_encrypted},
		{"too many", census->too_many_keys},
	};
	say(&log, "@%llu ", (unsigned long long)census->revision);
	say_keys(&log, "newest", census->newest, census->newest_count);
	say_keys(&log, " | history", census->history, census->history_count);
	say(&log, " | needs %s | %s", needs, old);
	for (size_t i = 0; i < ELEMENTS(numbers); i++)
		if (numbers[i].value > 0)
			say(&log, " | %s %llu", numbers[i].name, (unsigned long long)numbers[i].value);
	return buf_steal_text(&log);
}

/* ---- counting ---- */

static const struct {
	const char *name;
	struct db_revision revisions[6];
	size_t count;
	uint64_t compacted;
	const char *prefix;
	const char *words;
	const char *finding; /* NULL: none */
} rows[] = {
	{"one value",
	 {{2, 0, false, SECRET("a"), UNDER("k"), 0}},
	 1,
	 .words = "@2 newest aescbc/k 1 | history | needs aescbc/k | "},
	{"an older one of the same path",
	 {{2, 0, false, SECRET("a"), UNDER("old"), 0}, {3, 0, false, SECRET("a"), UNDER("new"), 0}},
	 2,
	 .words = "@3 newest aescbc/new 1 | history aescbc/old 1 | needs aescbc/new | aescbc/old"},
	{"the same key before and now",
	 {{2, 0, false, SECRET("a"), UNDER("k"), 0}, {3, 0, false, SECRET("a"), UNDER("k"), 0}},
	 2,
	 .words = "@3 newest aescbc/k 1 | history aescbc/k 1 | needs aescbc/k | "},
	{"deleted: its values are history",
	 {{2, 0, false, SECRET("a"), UNDER("k"), 0},
	  {2, 1, false, SECRET("b"), UNDER("l"), 0},
	  {3, 0, true, SECRET("a"), BYTES(""), 0}},
	 3,
	 .words = "@3 newest aescbc/l 1 | history aescbc/k 1 | needs aescbc/l | aescbc/k | deleted 1"},
	{"deleted and made again",
	 {{2, 0, false, SECRET("a"), UNDER("k"), 0},
	  {3, 0, true, SECRET("a"), BYTES(""), 0},
	  {4, 0, false, SECRET("a"), UNDER("l"), 0}},
	 3,
	 .words = "@4 newest aescbc/l 1 | history aescbc/k 1 | needs aescbc/l | aescbc/k"},
	{"deleted and made again in one revision",
	 {{2, 0, false, SECRET("a"), UNDER("k"), 0},
	  {3, 0, true, SECRET("a"), BYTES(""), 0},
	  {3, 1, false, SECRET("a"), UNDER("l"), 0}},
	 3,
	 .words = "@3 newest aescbc/l 1 | history aescbc/k 1 | needs aescbc/l | aescbc/k"},
	{"plaintext needs no key",
	 {{2, 0, false, SECRET("a"), PLAIN, 0}},
	 1,
	 .words = "@2 newest plaintext 1 | history | needs  | "},
	{"compacted behind the last revision",
	 {{2, 0, false, SECRET("a"), PLAIN, 0}},
	 1,
	 9,
	 .words = "@9 newest plaintext 1 | history | needs  | "},
	{"compacted before it",
	 {{8, 0, false, SECRET("a"), PLAIN, 0}},
	 1,
	 3,
	 .words = "@8 newest plaintext 1 | history | needs  | "},
	{"an unknown newest value",
	 {{2, 0, false, SECRET("a"), BYTES("k8s:enc:rot13:v1:k:xxx"), 0}},
	 1,
	 .words = "@2 newest | history | needs  |  | unknown 1",
	 .finding = "1 values are of no known form"},
	{"an empty value",
	 {{2, 0, false, SECRET("a"), BYTES(""), 0}},
	 1,
	 .words = "@2 newest | history | needs  |  | unknown 1",
	 .finding = "1 values are of no known form"},
	{"an unknown one in history is no finding",
	 {{2, 0, false, SECRET("a"), BYTES("rubbish"), 0}, {3, 0, false, SECRET("a"), PLAIN, 0}},
	 2,
	 .words = "@3 newest plaintext 1 | history | needs  |  | history unknown 1"},
	{"outside the prefix",
	 {{2, 0, false, "compact_rev_key", BYTES("5"), 0},
	  {3, 0, false, SECRET("a"), PLAIN, 0},
	  {4, 0, false, "/registryx/a", PLAIN, 0}},
	 3,
	 .words = "@4 newest plaintext 1 | history | needs  |  | outside 2"},
	{"encrypted outside the prefix",
	 {{2, 0, false, "/other/secrets/b", UNDER("k"), 0}, {3, 0, false, SECRET("a"), PLAIN, 0}},
	 2,
	 .words = "@3 newest plaintext 1 | history | needs  |  | outside 1 | outside encrypted 1",
	 .finding = "1 encrypted values do not lie under /registry, for example /other/secrets/b"},
	{"a wrong prefix",
	 {{2, 0, false, SECRET("a"), UNDER("k"), 0}},
	 1,
	 .prefix = "/k8s",
	 .words = "@2 newest | history | needs  |  | outside 1 | outside encrypted 1",
	 .finding = "nothing in FILE lies under /k8s, but /registry/secrets/default/a"},
	{"another prefix",
	 {{2, 0, false, "/k8s/secrets/a", UNDER("k"), 0}},
	 1,
	 .prefix = "k8s/",
	 .words = "@2 newest aescbc/k 1 | history | needs aescbc/k | "},
	{"nothing at all", .count = 0, .words = "@0 newest | history | needs  | ",
	 .finding = "nothing in FILE lies under /registry"},
};

static void counts(void **state)
{
	const __typeof__(rows[0]) *row = *state;
	assert_int_equal(make_folder(NULL), 0);
	struct buf db = BUF_INIT(DB_SIZE_MAX);
	db_of_etcd(&db, row->revisions, row->count, row->compacted);
	for (unsigned hash = 0; hash < 2; hash++) {
		struct snapshot_census *census = NULL;
		struct error *err = NULL;
		save(&db, hash);
		assert_ok(take(row->prefix, NULL, &census, &err), err);
		_cleanup_free_ char *found = words(census);
		assert_string_equal(found, row->words);
		assert_int_equal(census->has_hash, hash);
		int rc = snapshot_census_verdict(census, &err);
		if (row->finding) {
			assert_error_of_file(rc, &err, ERROR_FINDING, row->finding);
		} else {
			assert_ok(rc, err);
		}
		snapshot_census_free(census);
	}
	buf_free(&db);
	remove_folder(NULL);
}

/* ---- groups ---- */

static void groups_by_path(void **state)
{
	(void)state;
	static const struct {
		const char *path, *group;
		bool exact;
	} paths[] = {
		{"/registry/secrets/default/a", "secrets", true},
		{"/registry/secretsx/default/a", "secretsx", false},
		{"/registry/deployments/default/a", "deployments", false},
		{"/registry/example.com/widgets/default/a", "widgets.example.com", true},
		{"/registry/example.com/widgets", "widgets.example.com", true},
		{"/registry/example.com/gadgets/default/a", "gadgets.example.com", true},
		{"/registry/example.com", "example.com", false},
		{"/registry/masterleases/10.0.0.1", "masterleases", false},
		{"/registry/configmaps/a", "configmaps", true},
		{"/registry/", "", false},
	};
	struct buf db = BUF_INIT(DB_SIZE_MAX);
	struct db_revision revisions[2 * ELEMENTS(paths)];
	for (size_t i = 0; i < ELEMENTS(revisions); i++) /* each twice, among the others */
		revisions[i] = (struct db_revision){i + 2, 0, false, paths[i % ELEMENTS(paths)].path, PLAIN, 0};
	db_of_etcd(&db, revisions, ELEMENTS(revisions), 0);
	save(&db, true);
	struct snapshot_census *census = NULL;
	struct error *err = NULL;
	assert_ok(take(NULL, NULL, &census, &err), err);
	for (size_t i = 0; i < ELEMENTS(paths); i++) {
		size_t objects = 0, found = SIZE_MAX;
		for (size_t k = 0; k < ELEMENTS(paths); k++)
			objects += strcmp(paths[k].group, paths[i].group) == 0;
		for (size_t k = 0; k < census->group_count; k++)
			if (strcmp(census->groups[k].name, paths[i].group) == 0)
				found = k;
		assert_int_not_equal(found, SIZE_MAX);
		const struct snapshot_group *group = &census->groups[found];
		assert_int_equal(group->objects, objects);
		assert_int_equal(group->exact, paths[i].exact);
		assert_int_equal(group->newest[0].objects, objects);
		assert_int_equal(group->history[0].objects, objects);
	}
	assert_int_equal(census->group_count, 9);
	assert_int_equal(census->objects, ELEMENTS(paths));
	snapshot_census_free(census);
	buf_free(&db);
}

/* More groups and keys than are told apart: all are counted, what is beyond as unknown or together. */
static void caps(void **state)
{
	(void)state;
	enum { COUNT = 5000 };
	struct buf db = BUF_INIT(DB_SIZE_MAX);
	struct db_revision *revisions = xcalloc(2 * COUNT, sizeof(*revisions));
	for (size_t i = 0; i < COUNT; i++) {
		char *value = xasprintf("k8s:enc:aescbc:v1:key-%zu:" X16 X16, i);
		revisions[i] = (struct db_revision){i + 2, 0, false, xasprintf("/registry/group-%zu/a", i), PLAIN, 0};
		revisions[COUNT + i] = (struct db_revision){COUNT + i + 2,
							    0,
							    false,
							    xasprintf(SECRET("%zu"), i),
							    {(const uint8_t *)value, strlen(value)},
							    0};
	}
	db_of_etcd(&db, revisions, 2 * COUNT, 0);
	save(&db, true);
	struct snapshot_census *census = NULL;
	struct error *err = NULL;
	assert_ok(take(NULL, NULL, &census, &err), err);
	assert_int_equal(census->objects, 2 * COUNT);
	assert_true(census->too_many_keys);
	assert_int_equal(census->newest_count, CENSUS_KEYS_MAX);
	assert_int_equal(census->unknown, COUNT - CENSUS_KEYS_MAX + COUNT);
	assert_true(census->group_count <= SNAPSHOT_GROUPS_MAX);
	assert_error(snapshot_census_verdict(census, &err), err, ERROR_FINDING, "too many keys to tell them all apart");
	snapshot_census_free(census);
	for (size_t i = 0; i < COUNT; i++) {
		free((void *)(uintptr_t)revisions[i].path);
		free((void *)(uintptr_t)revisions[COUNT + i].path);
		free((void *)(uintptr_t)revisions[COUNT + i].value.at);
	}
	free(revisions);
	buf_free(&db);
}

/* ---- a restore drill ---- */

static struct encryption_config *config_of(const char *text)
{
	struct secret *secret = secret_from(text, strlen(text));
	struct encryption_config *config = NULL;
	struct error *err = NULL;
	assert_ok(encryption_config_parse("config.yaml", secret, &config, &err), err);
	secret_free(secret);
	return config;
}

/* A configuration for secrets with the keys of the real values but `lacking`, and for `key` with other bytes. */
static struct encryption_config *config_with(const char *lacking, const char *spoilt)
{
	struct buf text = BUF_INIT(1u << 16);
	say(&text, "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: "
		   "[secrets]\n"
		   "  providers:\n");
	for (size_t i = 0; i < ELEMENTS(real_values); i++) {
		const struct real_value *real = &real_values[i];
		size_t len;
		if (text_equal(real->name, lacking))
			continue;
		uint8_t *bytes = from_hex(real->key_hex, &len);
		if (text_equal(real->name, spoilt))
			bytes[0] ^= 1;
		struct secret *base64 = secret_base64_encode(bytes, len);
		if (real->provider == PROVIDER_IDENTITY)
			say(&text, "  - identity: {}\n");
		else if (real->provider == PROVIDER_KMS)
			say(&text, "  - kms: {apiVersion: v2, name: vault-1, endpoint: unix:///a.sock}\n");
		else
			say(&text, "  - %s: {keys: [{name: %s, secret: %s}]}\n", provider_name(real->provider),
			    real->name, secret_text(base64));
		secret_free(base64);
		free(bytes);
	}
	struct encryption_config *config = config_of(buf_text(&text));
	buf_free(&text);
	return config;
}

static const struct {
	const char *name, *lacking, *spoilt, *words, *finding;
} drills[] = {
	{"all open", NULL, NULL, "opened 7 | not opened 1", NULL},
	{"a key is missing", "cbc24", NULL, "unreadable 1 | opened 6 | not opened 2",
	 "1 values are under keys that the configuration does not have"},
	{"plaintext may not be read", "identity", NULL, "unreadable 1 | opened 7 | not opened 1",
	 "1 values are under keys that the configuration does not have"},
	{"the KMS provider is missing", "kms", NULL, "unreadable 1 | opened 7 | not opened 1",
	 "1 values are under keys that the configuration does not have"},
	{"other bytes, aesgcm", NULL, "gcm32", "opened 6 | not opened 1 | does not open 1",
	 "1 values do not open with the key that they name, for example /registry/secrets/default/s-gcm32"},
	{"other bytes, secretbox", NULL, "box", "opened 6 | not opened 1 | does not open 1",
	 "1 values do not open with the key that they name, for example /registry/secrets/default/s-box"},
};

static void drill(void **state)
{
	const __typeof__(drills[0]) *row = *state;
	assert_int_equal(make_folder(NULL), 0);
	struct buf db = BUF_INIT(DB_SIZE_MAX);
	struct db_revision revisions[2 * ELEMENTS(real_values)];
	/* First a value of each path that no key opens: history is not tried. */
	for (size_t i = 0; i < ELEMENTS(real_values); i++) {
		size_t len;
		uint8_t *value = from_hex(real_values[i].value_hex, &len);
		revisions[i] = (struct db_revision){i + 2, 0, false, real_values[i].etcd_key, UNDER("cbc16"), 0};
		revisions[ELEMENTS(real_values) + i] = (struct db_revision){
			ELEMENTS(real_values) + i + 2, 0, false, real_values[i].etcd_key, {value, len}, 0};
	}
	db_of_etcd(&db, revisions, ELEMENTS(revisions), 0);
	save(&db, true);
	struct encryption_config *config = config_with(row->lacking, row->spoilt);
	struct snapshot_census *census = NULL;
	struct error *err = NULL;
	assert_ok(take(NULL, config, &census, &err), err);
	_cleanup_free_ char *found = words(census);
	const char *numbers = strstr(found, "opened");
	numbers = strstr(found, "unreadable") ? strstr(found, "unreadable") : numbers;
	assert_string_equal(numbers, row->words);
	int rc = snapshot_census_verdict(census, &err);
	if (row->finding)
		assert_error(rc, err, ERROR_FINDING, row->finding);
	else
		assert_ok(rc, err);
	snapshot_census_free(census);
	encryption_config_free(config);
	for (size_t i = 0; i < ELEMENTS(real_values); i++)
		free((void *)(uintptr_t)revisions[ELEMENTS(real_values) + i].value.at);
	buf_free(&db);
	remove_folder(NULL);
}

/* Of a path that names its resource the rule of that resource judges; of others, any. */
static void which_rule(void **state)
{
	(void)state;
	struct encryption_config *config =
		config_of("apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n"
			  "- resources: [secrets]\n  providers:\n  - aescbc: {keys: [{name: k, secret: "
			  "MDEyMzQ1Njc4OWFiY2RlZg==}]}\n"
			  "- resources: [deployments.apps]\n  providers:\n"
			  "  - secretbox: {keys: [{name: d, secret: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=}]}\n  "
			  "- identity: {}\n");
	static const struct db_revision revisions[] = {
		{2, 0, false, "/registry/deployments/default/a", UNDER("k"), 0}, /* any rule has it */
		{3, 0, false, "/registry/deployments/default/b", UNDER("x"), 0}, /* none has */
		{4, 0, false, "/registry/configmaps/default/a", UNDER("k"), 0},  /* no rule: plaintext alone */
		{5, 0, false, "/registry/configmaps/default/b", PLAIN, 0},
		{6, 0, false, "/registry/secrets/default/a", PLAIN, 0}, /* its rule has no identity */
		{7, 0, false, "/registry/deployments/default/c", PLAIN, 0},
	};
	struct buf db = BUF_INIT(DB_SIZE_MAX);
	db_of_etcd(&db, revisions, ELEMENTS(revisions), 0);
	save(&db, true);
	struct snapshot_census *census = NULL;
	struct error *err = NULL;
	assert_ok(take(NULL, config, &census, &err), err);
	assert_int_equal(census->unreadable, 3);
	for (size_t i = 0; i < census->group_count; i++)
		assert_int_equal(census->groups[i].unreadable, 1);
	assert_int_equal(census->does_not_open, 1); /* the first */
	snapshot_census_free(census);
	encryption_config_free(config);
	buf_free(&db);
}

/* ---- what is no backup ---- */

#define DAMAGED "; the file is damaged; use another copy"
static const struct {
	const char *name;
	struct db_revision revision; /* the only one */
	size_t at;                   /* a byte of it that changes, 0: none */
	uint8_t to;
	size_t size; /* of the file; 0: as it is */
	bool hash;
	enum error_code code;
	const char *message;
} broken[] = {
	{"a wrong hash",
	 {2, 0, false, SECRET("a"), PLAIN, 0},
	 3 * DB_PAGE + 200,
	 1,
	 .hash = true,
	 .code = ERROR_INPUT,
	 .message = "FILE: its SHA-256 is not the one at its end: it was changed or damaged since it was made; use "
		    "another copy"},
	{"a wrong hash says more than where",
	 {2, 0, false, SECRET("a"), PLAIN, 0},
	 3 * DB_PAGE,
	 1,
	 .hash = true,
	 .code = ERROR_INPUT,
	 .message = "FILE: its SHA-256 is not the one at its end: it was changed or damaged since it was made; use "
		    "another copy"},
	{"a damaged page",
	 {2, 0, false, SECRET("a"), PLAIN, 0},
	 3 * DB_PAGE,
	 1,
	 .code = ERROR_INPUT,
	 .message = "FILE: page 3: it says that it is page 1" DAMAGED},
	{"empty", .size = SIZE_MAX, .code = ERROR_INPUT, .message = "FILE: it is empty: use another copy"},
	{"an odd size",
	 {2, 0, false, SECRET("a"), PLAIN, 0},
	 .size = 4 * DB_PAGE - 7,
	 .code = ERROR_INPUT,
	 .message =
		 "FILE: its 4089 bytes are neither whole pages nor whole pages and a hash: it is no snapshot of etcd, "
		 "or cut off; use another copy (unpacked)"},
	{"half of a hash",
	 {2, 0, false, SECRET("a"), PLAIN, 0},
	 .hash = true,
	 .size = 4 * DB_PAGE + 16,
	 .code = ERROR_INPUT,
	 .message =
		 "FILE: its 4112 bytes are neither whole pages nor whole pages and a hash: it is no snapshot of etcd, "
		 "or cut off; use another copy (unpacked)"},
	{"cut off at a page",
	 {2, 0, false, SECRET("a"), PLAIN, 0},
	 .size = 3 * DB_PAGE,
	 .code = ERROR_INPUT,
	 .message = "FILE: it is cut off: 3 of 4 pages are there; use another copy"},
	{"no database",
	 {2, 0, false, SECRET("a"), PLAIN, 0},
	 .size = 512,
	 .at = 16,
	 .to = 1,
	 .code = ERROR_INPUT,
	 .message = "FILE: it is no bbolt database as etcd and etcdctl write it: it does not begin as one (unpack it "
		    "first if it is compressed); use another copy"},
	{"a revision without its mark",
	 {2, 0, false, SECRET("a"), PLAIN, 0},
	 3 * DB_PAGE + 32 + 8,
	 '-',
	 .code = ERROR_INPUT,
	 .message = "FILE: page 3: a key that is no revision of etcd" DAMAGED},
	{"a revision below nothing",
	 {2, 0, false, SECRET("a"), PLAIN, 0},
	 3 * DB_PAGE + 32,
	 0x80,
	 .code = ERROR_INPUT,
	 .message = "FILE: page 3: a key that is no revision of etcd" DAMAGED},
	{"a tombstone with another mark",
	 {2, 0, true, SECRET("a"), PLAIN, 0},
	 3 * DB_PAGE + 32 + 17,
	 'u',
	 .code = ERROR_INPUT,
	 .message = "FILE: page 3: a key that is no revision of etcd" DAMAGED},
	{"a bucket where a revision should be",
	 {2, 0, false, SECRET("a"), PLAIN, 0},
	 3 * DB_PAGE + 16,
	 1,
	 .code = ERROR_INPUT,
	 .message = "FILE: page 3: a key that is no revision of etcd" DAMAGED},
	{"a value of another revision",
	 {2, 0, false, SECRET("a"), PLAIN, 7},
	 .code = ERROR_INPUT,
	 .message = "FILE: page 3: revision 2 holds no KeyValue of it" DAMAGED},
	{"a value without a path",
	 {2, 0, false, "", PLAIN, 0},
	 .code = ERROR_INPUT,
	 .message = "FILE: page 3: revision 2 holds no KeyValue of it" DAMAGED},
	{"a value that is no protobuf",
	 {2, 0, false, SECRET("a"), PLAIN, 0},
	 3 * DB_PAGE + 32 + 17,
	 7,
	 .code = ERROR_INPUT,
	 .message = "FILE: page 3: revision 2 holds no KeyValue of it" DAMAGED},
	{"a path that goes on behind the value",
	 {2, 0, false, SECRET("a"), PLAIN, 0},
	 3 * DB_PAGE + 32 + 18,
	 99,
	 .code = ERROR_INPUT,
	 .message = "FILE: page 3: revision 2 holds no KeyValue of it" DAMAGED},
};

static void refuses(void **state)
{
	const __typeof__(broken[0]) *row = *state;
	assert_int_equal(make_folder(NULL), 0);
	struct buf db = BUF_INIT(DB_SIZE_MAX);
	db_of_etcd(&db, &row->revision, row->revision.path ? 1 : 0, 0);
	save(&db, row->hash);
	if (row->at > 0) {
		FILE *file = fopen(in_folder("backup.db"), "r+e");
		assert_non_null(file);
		assert_int_equal(fseek(file, (long)row->at, SEEK_SET), 0);
		assert_int_equal(fputc(row->to, file), row->to);
		assert_int_equal(fclose(file), 0);
	}
	if (row->size > 0)
		assert_int_equal(truncate(in_folder("backup.db"), row->size == SIZE_MAX ? 0 : (off_t)row->size), 0);
	struct snapshot_census *census = NULL;
	struct error *err = NULL;
	int rc = take(NULL, NULL, &census, &err);
	assert_error_of_file(rc, &err, row->code, row->message);
	assert_null(census);
	buf_free(&db);
	remove_folder(NULL);
}

static void no_file(void **state)
{
	(void)state;
	struct snapshot_census *census = NULL;
	struct error *err = NULL;
	assert_error_at(take(NULL, NULL, &census, &err), err, ERROR_NOT_FOUND, "reading %s: No such file or directory",
			"backup.db");
	assert_int_equal(mkdir(in_folder("backup.db"), 0700), 0);
	assert_error_at(take(NULL, NULL, &census, &err), err, ERROR_IO, "reading %s: not a regular file", "backup.db");
	assert_int_equal(rmdir(in_folder("backup.db")), 0);
	assert_int_equal(mkfifo(in_folder("backup.db"), 0600), 0);
	assert_error_at(take(NULL, NULL, &census, &err), err, ERROR_IO, "reading %s: not a regular file", "backup.db");
	snapshot_census_free(NULL);
}

/* ---- memory ---- */

#define MANY 200000u

/* Peak resident bytes since the last reset; 0 where the kernel does not tell. */
static uint64_t peak(bool reset)
{
	char line[256];
	uint64_t kib = 0;
	FILE *file = fopen("/proc/self/clear_refs", "we");
	if (reset && (!file || fputs("5", file) < 0 || fflush(file) != 0)) {
		if (file)
			fclose(file);
		return 0;
	}
	if (file)
		fclose(file);
	file = fopen("/proc/self/status", "re");
	while (file && fgets(line, sizeof(line), file)) {
		if (text_starts(line, "VmHWM:"))
			(void)!sscanf(line, "VmHWM: %" SCNu64, &kib);
	}
	if (file)
		fclose(file);
	return kib * 1024;
}

/* In a process of its own, which takes its memory with it. */
static void save_many(void)
{
	pid_t child = fork();
	if (child == 0) {
		struct buf db = BUF_INIT(DB_SIZE_MAX);
		struct db_entry *entries = xcalloc(MANY, sizeof(*entries));
		for (unsigned i = 0; i < MANY; i++) {
			struct db_revision revision = {i + 2, 0, false, xasprintf(SECRET("%u"), i), UNDER("k"), 0};
			entries[i] =
				(struct db_entry){db_revision_key(i + 2, 0, false), db_key_value(&revision), false};
		}
		/* A page has at most 65,535 elements: leaves of 20,000 below a branch. */
		enum { EACH = 20000 };
		uint64_t children[MANY / EACH], next = 4;
		for (size_t i = 0; i < ELEMENTS(children); i++) {
			children[i] = next;
			next += db_leaf(&db, next, entries + i * EACH, EACH);
		}
		struct bytes key = db_bucket(3);
		const struct db_entry top = {BYTES("key"), key, true};
		db_branch(&db, 3, children, ELEMENTS(children));
		db_leaf(&db, 2, &top, 1);
		db_meta(&db, 0, 0, 2, next);
		db_meta(&db, 1, 1, 2, next);
		save(&db, true);
		_exit(0);
	}
	int status = -1;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void memory(void **state)
{
	(void)state;
	const char *preload = getenv("LD_PRELOAD");
	bool under_valgrind = preload && strstr(preload, "vgpreload");
	if (RUNNING_UNDER_ASAN || under_valgrind || peak(true) == 0)
		skip();
	save_many();
	uint64_t before = peak(true);
	struct snapshot_census *census = NULL;
	struct error *err = NULL;
	assert_ok(take(NULL, NULL, &census, &err), err);
	uint64_t grown = peak(false) - before;
	assert_int_equal(census->objects, MANY);
	assert_in_range(grown, 1, (4u << 20) + 16 * MANY); /* libraries and the rest of the program take up to 11 MiB */
	snapshot_census_free(census);
}

/* ---- for people and for programs ---- */

static void shows(void **state)
{
	(void)state;
	static const struct db_revision revisions[] = {
		{2, 0, false, SECRET("a"), UNDER("old"), 0},     {3, 0, false, SECRET("a"), UNDER("new"), 0},
		{4, 0, false, SECRET("b"), UNDER("gone"), 0},    {5, 0, true, SECRET("b"), BYTES(""), 0},
		{6, 0, false, "/registry/pods/p/a", PLAIN, 0},   {7, 0, false, "/registry/pods/p/a", PLAIN, 0},
		{8, 0, false, "/registry/leases/l/a", PLAIN, 0},
	};
	struct buf db = BUF_INIT(DB_SIZE_MAX);
	db_of_etcd(&db, revisions, ELEMENTS(revisions), 1);
	save(&db, false);
	struct snapshot_census *census = NULL;
	struct error *err = NULL;
	assert_ok(take(NULL, NULL, &census, &err), err);
	_cleanup_free_ char *table = snapshot_census_table(census, 80, false);
	const char *expected = "BY PATH     KEY          OBJECTS  SIZE\n"
			       "secrets     aescbc/new         1  54 B\n"
			       "            aescbc/gone        0   0 B  1 in history\n"
			       "            aescbc/old         0   0 B  1 in history\n"
			       "all others  plaintext          2  18 B  +1 in history, 2 paths\n"
			       "\n"
			       "! the file has no hash of its own: copied from a running member? etcdctl\n"
			       "  snapshot save writes one behind it\n"
			       "3 objects, 72 B, at etcd revision 8. In history since revision 1: 3 older\n"
			       "values, 118 B; 1 path was deleted. 4.0 KiB read in ";
	assert_true(text_starts(table, expected) || (printf("%s\n", table), false));
	assert_true(text_ends(table,
			      "This backup needs key aescbc/new. Its history, which a restored cluster does not\n"
			      "serve, is also under aescbc/gone and aescbc/old.\n") ||
		    (printf("%s\n", table), false));

	struct json_writer w = JSON_WRITER_INIT(1u << 20);
	snapshot_census_write_json(census, &w);
	cJSON *json = cJSON_Parse(json_text(&w));
	assert_non_null(json);
	assert_string_equal(cJSON_GetObjectItemCaseSensitive(json, "kind")->valuestring, "SnapshotCensus");
	assert_string_equal(cJSON_GetObjectItemCaseSensitive(json, "hash")->valuestring, "absent");
	assert_int_equal(cJSON_GetObjectItemCaseSensitive(json, "revision")->valueint, 8);
	assert_int_equal(cJSON_GetObjectItemCaseSensitive(json, "compactedRevision")->valueint, 1);
	const cJSON *needs = cJSON_GetObjectItemCaseSensitive(json, "needs");
	assert_int_equal(cJSON_GetArraySize(needs), 1);
	assert_string_equal(cJSON_GetArrayItem(needs, 0)->valuestring, "aescbc/new");
	assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(json, "historyNeeds")), 2);
	const cJSON *newest = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(json, "newest"), 1);
	assert_string_equal(cJSON_GetObjectItemCaseSensitive(newest, "provider")->valuestring, "aescbc");
	assert_int_equal(cJSON_GetObjectItemCaseSensitive(newest, "objects")->valueint, 1);
	cJSON_Delete(json);
	json_writer_free(&w);
	snapshot_census_free(census);
	buf_free(&db);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		folder_test(groups_by_path), folder_test(caps),    folder_test(which_rule),
		folder_test(memory),         folder_test(no_file), folder_test(shows),
	};
	int failed = RUN_ROWS(counts, rows) + RUN_ROWS(drill, drills) + RUN_ROWS(refuses, broken);
	return failed + cmocka_run_group_tests(tests, NULL, NULL);
}
