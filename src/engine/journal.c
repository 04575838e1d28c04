#include "engine/journal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json_read.h"
#include "base/json_writer.h"
#include "kube-rekey/observation.h"

#define JOURNAL_VERSION 1
#define ASIDE_MAX 1000

/* Beside the file itself, whatever links lead to it: every command finds the same journal. */
static char *beside(const char *given_path, const char *suffix)
{
	_cleanup_free_ char *real = realpath(given_path, NULL);
	const char *config_path = real ? real : given_path;
	const char *slash = strrchr(config_path, '/');
	int directory = slash ? (int)(slash - config_path + 1) : 0;
	return xasprintf("%.*s.%s.kube-rekey.%s", directory, config_path, config_path + directory, suffix);
}

char *journal_path(const char *config_path)
{
	return beside(config_path, "journal");
}

char *journal_lock_path(const char *config_path)
{
	return beside(config_path, "lock");
}

/* --- writing --- */

static void write_steps(struct json_writer *w, const struct journal *journal)
{
	json_key(w, "path");
	json_array_begin(w);
	for (size_t i = 0; i < journal->path->count; i++)
		config_shape_write_json(journal->path->steps[i], w);
	json_array_end(w);
	json_key(w, "hashes");
	json_array_begin(w);
	for (size_t i = 0; i < journal->hash_count; i++) {
		json_object_begin(w);
		json_member_u64(w, "step", (uint64_t)journal->hashes[i].step);
		json_member_string(w, "sha256", journal->hashes[i].sha256);
		if (journal->hashes[i].pending)
			json_member_bool(w, "pending", true);
		if (journal->hashes[i].rescue)
			json_member_bool(w, "rescue", true);
		if (journal->hashes[i].alone)
			json_member_bool(w, "alone", true);
		json_object_end(w);
	}
	json_array_end(w);
}

void journal_write_json(struct json_writer *w, const struct journal *journal)
{
	json_object_begin(w);
	json_member_string(w, "kind", "RotationJournal");
	json_member_u64(w, "version", JOURNAL_VERSION);
	json_member_string(w, "rotation", journal->rotation);
	json_member_string(w, "started", journal->started);
	if (journal->cluster)
		json_member_string(w, "cluster", journal->cluster);
	write_steps(w, journal);
	json_member_strings(w, "oldKeys", &journal->old_keys);
	json_member_strings(w, "newKeys", &journal->new_keys);
	json_member_strings(w, "servers", &journal->servers);
	json_member_strings(w, "forgotten", &journal->forgotten);
	json_member_strings(w, "keyIDs", &journal->key_ids);
	json_member_bool(w, "kmsMoved", journal->kms_moved);
	json_member_string(w, "request", journal->request);
	json_member_u64(w, "rescues", journal->rescues);
	json_member_u64(w, "alone", journal->alone);
	json_member_u64(w, "objectsBefore", journal->objects_before);
	json_member_bool(w, "retired", journal->retired);
	json_member_bool(w, "newKeysCopied", journal->copied);
	json_member_bool(w, "goingBack", journal->going_back);
	json_object_end(w);
}

int journal_write(const char *config_path, const struct journal *journal, struct error **err)
{
	_cleanup_free_ char *path = journal_path(config_path);
	struct json_writer w = JSON_WRITER_INIT(JOURNAL_MAX);
	journal_write_json(&w, journal);
	const char *text = json_text(&w);
	int rc = text ? 0
		      : error_set(err, ERROR_LIMIT, "%s: the journal would be larger than %u bytes", path, JOURNAL_MAX);
	if (rc == 0) {
		_cleanup_secret_ content = secret_from(text, strlen(text));
		_cleanup_free_ char *before = NULL;
		if (access(path, F_OK) == 0)
			rc = file_sha256(path, JOURNAL_MAX, &before, err);
		enum file_replaced replaced;
		if (rc == 0)
			rc = file_replace(path, content, before, 0600, &replaced, err);
	}
	json_writer_free(&w);
	return rc;
}

/* --- reading --- */

static int read_strings(const cJSON *document, const char *key, struct strings *list)
{
	const cJSON *array = json_at(document, key, NULL), *item;
	if (!cJSON_IsArray(array))
		return -ERROR_INPUT;
	cJSON_ArrayForEach(item, array)
	{
		if (!cJSON_IsString(item))
			return -ERROR_INPUT;
		strings_add(list, item->valuestring);
	}
	return 0;
}

static int read_path(const cJSON *document, struct journal *journal, struct error **err)
{
	const cJSON *array = json_at(document, "path", NULL), *item;
	if (!cJSON_IsArray(array) || cJSON_GetArraySize(array) < 1)
		return -ERROR_INPUT;
	journal->path = xcalloc(1, sizeof(*journal->path));
	journal->path->steps = xcalloc((size_t)cJSON_GetArraySize(array), sizeof(struct config_shape *));
	cJSON_ArrayForEach(item, array)
	{
		int rc = config_shape_from_json(item, &journal->path->steps[journal->path->count], err);
		if (rc < 0)
			return rc;
		journal->path->count++;
	}
	return 0;
}

static int read_hashes(const cJSON *document, struct journal *journal)
{
	const cJSON *array = json_at(document, "hashes", NULL), *item;
	if (!cJSON_IsArray(array) || cJSON_GetArraySize(array) > JOURNAL_HASHES_MAX)
		return -ERROR_INPUT;
	cJSON_ArrayForEach(item, array)
	{
		uint64_t step;
		const char *sha256 = json_text_at(item, "sha256");
		if (!sha256 || !json_u64_at(item, "step", &step) || step >= journal->path->count)
			return -ERROR_INPUT;
		if (json_bool_at(item, "pending", false))
			journal_add_next(journal, (int)step, sha256, json_bool_at(item, "rescue", false),
					 json_bool_at(item, "alone", false));
		else
			journal_add_hash(journal, (int)step, sha256, false);
	}
	return 0;
}

static char *copy_text(const cJSON *document, const char *key)
{
	const char *text = json_text_at(document, key);
	return text ? xstrdup(text) : NULL;
}

static int read_document(const cJSON *document, struct journal *journal, struct error **err)
{
	uint64_t version = 0, rescues = 0, alone = 0;
	if (!text_equal(json_text_at(document, "kind"), "RotationJournal") ||
	    !json_u64_at(document, "version", &version) || version != JOURNAL_VERSION)
		return error_set(err, ERROR_INPUT, "not a journal of this version of kube-rekey");
	int rc = read_path(document, journal, err);
	if (rc == 0)
		rc = read_hashes(document, journal);
	if (rc == 0)
		rc = read_strings(document, "oldKeys", &journal->old_keys);
	if (rc == 0)
		rc = read_strings(document, "newKeys", &journal->new_keys);
	if (rc == 0)
		rc = read_strings(document, "servers", &journal->servers);
	if (rc == 0)
		rc = read_strings(document, "forgotten", &journal->forgotten);
	if (rc == 0 && json_at(document, "keyIDs", NULL)) /* not in those of earlier versions */
		rc = read_strings(document, "keyIDs", &journal->key_ids);
	journal->kms_moved = json_bool_at(document, "kmsMoved", false);
	journal->rotation = copy_text(document, "rotation");
	journal->started = copy_text(document, "started");
	journal->cluster = copy_text(document, "cluster");
	journal->request = copy_text(document, "request");
	if (rc == 0 && (!journal->rotation || !journal->started || !journal->request ||
			!json_u64_at(document, "rescues", &rescues)))
		rc = -ERROR_INPUT;
	journal->rescues = (unsigned)rescues;
	journal->no_alone = !json_u64_at(document, "alone", &alone); /* not in those of earlier versions */
	journal->alone = (unsigned)alone;
	json_u64_at(document, "objectsBefore", &journal->objects_before);
	journal->retired = json_bool_at(document, "retired", false);
	journal->copied = json_bool_at(document, "newKeysCopied", false);
	journal->going_back = json_bool_at(document, "goingBack", false);
	return rc;
}

int journal_parse(const char *path, const char *text, size_t len, struct journal **ret, struct error **err)
{
	_cleanup_json_ document = NULL;
	_cleanup_(journal_freep) struct journal *journal = NULL;
	int rc = json_parse(text, len, path, &document, err);
	if (rc < 0)
		return rc;
	journal = xcalloc(1, sizeof(*journal));
	rc = read_document(document, journal, err);
	if (rc < 0 && err && !*err)
		return error_set(err, ERROR_INPUT, "%s: a field is missing or of the wrong kind", path);
	if (rc < 0)
		return error_wrap(err, rc, "%s", path);
	*ret = steal(journal);
	return 0;
}

int journal_read(const char *config_path, struct journal **ret, struct error **err)
{
	_cleanup_free_ char *path = journal_path(config_path);
	_cleanup_secret_ text = NULL;
	if (access(path, F_OK) != 0) {
		*ret = NULL;
		return 0;
	}
	int rc = file_read(path, JOURNAL_MAX, &text, err);
	return rc < 0 ? rc : journal_parse(path, secret_text(text), secret_len(text), ret, err);
}

/* --- the rest --- */

int journal_set_aside(const char *config_path, char **ret_aside, struct error **err)
{
	_cleanup_free_ char *path = journal_path(config_path);
	for (unsigned n = 1; n < ASIDE_MAX; n++) {
		_cleanup_free_ char *aside = xasprintf("%s.aside-%u", path, n);
		/* link fails where the name is taken, so that nothing set aside earlier is lost */
		if (link(path, aside) == 0) {
			*ret_aside = steal(aside);
			return 0;
		}
	}
	return error_set(err, ERROR_IO, "%s: cannot be set aside: remove the old .aside files", path);
}

int journal_remove(const char *config_path, struct error **err)
{
	_cleanup_free_ char *path = journal_path(config_path);
	/* Nothing in it is secret; and overwritten by half it could not be read any more. */
	return file_remove(path, err);
}

struct journal *journal_of_present(const struct config_shape *shape, const char *sha256)
{
	struct journal *journal = xcalloc(1, sizeof(*journal));
	journal->rotation = xstrdup("");
	journal->started = xstrdup("");
	journal->path = xcalloc(1, sizeof(*journal->path));
	journal->path->steps = xcalloc(1, sizeof(struct config_shape *));
	journal->path->steps[journal->path->count++] = config_shape_copy(shape);
	journal_add_hash(journal, 0, sha256, false);
	return journal;
}

/* A step whose file could not be written is tried again and again, each time with another nonce. What never came to be in
 * place goes first, and the first hash of a step stays: either may be that of the present file. */
static void make_room(struct journal *journal, int step)
{
	size_t count = 0, oldest = SIZE_MAX, pending = SIZE_MAX;
	for (size_t i = 0; i < journal->hash_count; i++) {
		if (journal->hashes[i].step != step)
			continue;
		if (++count == 2)
			oldest = i;
		if (count > 1 && journal->hashes[i].pending && pending == SIZE_MAX)
			pending = i;
	}
	if (count < JOURNAL_HASHES_OF_A_STEP)
		return;
	if (pending != SIZE_MAX)
		oldest = pending;
	free(journal->hashes[oldest].sha256);
	journal->hash_count--;
	memmove(&journal->hashes[oldest], &journal->hashes[oldest + 1],
		(journal->hash_count - oldest) * sizeof(*journal->hashes));
}

void journal_add_hash(struct journal *journal, int step, const char *sha256, bool pending)
{
	make_room(journal, step);
	journal->hashes = xreallocarray(journal->hashes, journal->hash_count + 1, sizeof(*journal->hashes));
	journal->hashes[journal->hash_count++] =
		(struct journal_hash){.step = step, .sha256 = xstrdup(sha256), .pending = pending};
}

void journal_add_next(struct journal *journal, int step, const char *sha256, bool rescue, bool alone)
{
	journal_add_hash(journal, step, sha256, true);
	struct journal_hash *next = &journal->hashes[journal->hash_count - 1];
	next->rescue = rescue;
	next->alone = alone;
}

bool journal_in_place(struct journal *journal, const char *sha256)
{
	bool news = false;
	for (size_t i = 0; i < journal->hash_count; i++) {
		struct journal_hash *hash = &journal->hashes[i];
		if (!hash->pending || !text_equal(hash->sha256, sha256))
			continue;
		journal->rescues += hash->rescue;
		journal->alone += hash->alone;
		hash->pending = hash->rescue = hash->alone = false;
		news = true;
	}
	return news;
}

bool journal_is_of_another(const struct journal *journal, const char *cluster)
{
	return journal->cluster && cluster && !text_equal(journal->cluster, cluster);
}

bool journal_take_cluster(struct journal *journal, const char *cluster, const char *loaded)
{
	if (journal->cluster || !cluster || !loaded || journal_step_of(journal, loaded) == STEP_NONE)
		return false;
	journal->cluster = xstrdup(cluster);
	return true;
}

const struct journal_hash *journal_written(const struct journal *journal, const char *present)
{
	for (size_t i = journal->hash_count; i-- > 0;)
		if (!journal->hashes[i].pending || text_equal(journal->hashes[i].sha256, present))
			return &journal->hashes[i];
	return NULL;
}

int journal_written_step(const struct journal *journal, const char *present)
{
	const struct journal_hash *written = journal_written(journal, present);
	return written ? written->step : STEP_NONE;
}

bool journal_is_older(const struct journal *journal, const char *sha256, const char *present)
{
	size_t at = journal->hash_count;
	while (at > 0 && !text_equal(journal->hashes[at - 1].sha256, present))
		at--;
	for (size_t i = 0; i + 1 < at; i++)
		if (text_equal(journal->hashes[i].sha256, sha256))
			return true;
	return false;
}

int journal_step_of(const struct journal *journal, const char *sha256)
{
	for (size_t i = journal->hash_count; i-- > 0;)
		if (text_equal(journal->hashes[i].sha256, sha256))
			return journal->hashes[i].step;
	return STEP_NONE;
}

bool journal_promoted(const struct journal *journal)
{
	for (size_t i = 0; i < journal->hash_count; i++)
		for (int step = 0; step < journal->hashes[i].step; step++)
			if (path_changes_write_key(journal->path, (size_t)step))
				return true;
	return false;
}

void journal_turn_back(struct journal *journal, struct path *back)
{
	int from = (int)back->count - 1;
	size_t kept = 0;
	for (size_t i = 0; i < journal->hash_count; i++) {
		struct journal_hash *hash = &journal->hashes[i];
		if (hash->step > from) {
			free(hash->sha256);
			continue;
		}
		hash->step = from - hash->step;
		journal->hashes[kept++] = *hash;
	}
	journal->hash_count = kept;
	path_free(journal->path);
	journal->path = back;
	journal->going_back = true;
}

void journal_free(struct journal *journal)
{
	if (!journal)
		return;
	for (size_t i = 0; i < journal->hash_count; i++)
		free(journal->hashes[i].sha256);
	free(journal->hashes);
	path_free(journal->path);
	strings_free(&journal->old_keys);
	strings_free(&journal->new_keys);
	strings_free(&journal->servers);
	strings_free(&journal->forgotten);
	strings_free(&journal->key_ids);
	free(journal->rotation);
	free(journal->started);
	free(journal->cluster);
	free(journal->request);
	free(journal);
}

void journal_freep(struct journal **journal)
{
	journal_free(*journal);
}
