#include "test_folder.h"

#include "engine/journal.h"
#include "kube-rekey/observation.h"
#include "shape_support.h"

static void fill(struct journal *journal, const char *const *hashes)
{
	for (size_t i = 0; hashes[i]; i++)
		journal_add_hash(journal, (int)(hashes[i][0] - '0'), hashes[i], false);
}

/* [a] [a,b] [b,a] [b], with all that a journal needs to be read again. */
static struct journal *whole(const char *const *hashes)
{
	struct journal *journal = xcalloc(1, sizeof(*journal));
	fill(journal, hashes);
	journal->rotation = xstrdup("r");
	journal->started = xstrdup("t");
	journal->request = xstrdup("q");
	journal->path = path_parse("secrets=a", "secrets=b");
	return journal;
}

/* "STEP..." is a hash. One of a pipeline's own stands behind the hash of the file that it was made from. */
static const struct {
	const char *name;
	const char *hashes[6];
	const char *sha256, *present;
	bool older;
} rows[] = {
	{"the present file itself", {"0a", "1a"}, "1a", "1a", false},
	{"a file before it", {"0a", "1a"}, "0a", "1a", true},
	{"one never seen", {"0a", "1a"}, "1x", "1a", false},
	{"what a pipeline made of the present file", {"0a", "1a", "1x"}, "1x", "1a", false},
	{"what it made of an earlier file of the same step", {"0a", "1a", "1x", "2a", "1b"}, "1x", "1b", true},
	{"a present file that is none of ours", {"0a", "1a"}, "1a", "9z", false},
};

static void older(void **state)
{
	const __typeof__(rows[0]) *row = *state;
	struct journal *journal = xcalloc(1, sizeof(*journal));
	fill(journal, row->hashes);
	assert_int_equal(journal_is_older(journal, row->sha256, row->present), row->older);
	journal_free(journal);
}

/* Whoever comes to a journal that names no cluster: it is theirs only if their server runs a file of it. */
static void test_whose(void **state)
{
	static const struct {
		const char *named, *cluster, *loaded; /* NULL: not known */
		const char *then;
		bool news;
	} whose[] = {
		{NULL, "this", "1a", "this", true},    {NULL, "this", "0a", "this", true},
		{NULL, "this", "9z", NULL, false},     {NULL, "this", NULL, NULL, false},
		{NULL, NULL, "1a", NULL, false},       {"that", "this", "1a", "that", false},
		{"this", "this", "1a", "this", false},
	};
	static const char *const hashes[] = {"0a", "1a", NULL};
	(void)state;
	for (size_t i = 0; i < ELEMENTS(whose); i++) {
		struct journal *journal = whole(hashes);
		journal->cluster = xstrdup_or_null(whose[i].named);
		assert_int_equal(journal_take_cluster(journal, whose[i].cluster, whose[i].loaded), whose[i].news);
		assert_true(text_equal(journal->cluster, whose[i].then));
		journal_free(journal);
	}
}

/* At no instant is there no journal. */
static void test_aside(void **state)
{
	_cleanup_error_ err = NULL;
	_cleanup_free_ char *aside = NULL, *second = NULL;
	_cleanup_free_ char *path = journal_path(in_folder("config.yaml"));
	(void)state;
	put_file(path, "{}");
	assert_ok(journal_set_aside(in_folder("config.yaml"), &aside, &err), err);
	assert_true(path_exists(path));
	assert_true(path_exists(aside));
	assert_ok(journal_set_aside(in_folder("config.yaml"), &second, &err), err);
	assert_string_not_equal(aside, second);
}

/* [a] [a,b] [b,a] [b], gone back from [a,b]: a file of before is known by its hash all the same. */
static void test_turned_back(void **state)
{
	static const char *const hashes[] = {"0a", "1a", "1b", "2a", NULL};
	struct journal *journal = whole(hashes), *read = NULL;
	struct path *back = NULL;
	struct error *err = NULL;
	struct json_writer w = JSON_WRITER_INIT(JOURNAL_MAX);
	(void)state;
	assert_ok(path_abort(journal->path, 1, false, &back, &err), err);
	journal_turn_back(journal, back);
	assert_int_equal(journal_step_of(journal, "0a"), 1);
	assert_int_equal(journal_step_of(journal, "1a"), 0);
	assert_int_equal(journal_step_of(journal, "1b"), 0);
	/* It was about to be written, and never was. */
	assert_int_equal(journal_step_of(journal, "2a"), STEP_NONE);
	assert_int_equal(journal->hash_count, 3);
	/* An agent that is started again goes on the same way. */
	journal_write_json(&w, journal);
	assert_ok(journal_parse("j", json_text(&w), strlen(json_text(&w)), &read, &err), err);
	_cleanup_free_ char *path = path_text(read->path);
	assert_string_equal(path, "secrets=a,b -> secrets=a");
	assert_true(read->going_back);
	json_writer_free(&w);
	journal_free(read);
	journal_free(journal);
}

/* However often a step is tried, the journal can be read again; the first file stays known. */
static void test_many_tries(void **state)
{
	struct journal *journal = xcalloc(1, sizeof(*journal));
	char last[16] = "";
	(void)state;
	journal_add_hash(journal, 0, "0first", false);
	for (unsigned i = 0; i < 3 * JOURNAL_HASHES_OF_A_STEP; i++) {
		snprintf(last, sizeof(last), "1try%u", i);
		journal_add_hash(journal, 1, last, false);
	}
	assert_int_equal(journal->hash_count, 1 + JOURNAL_HASHES_OF_A_STEP);
	assert_int_equal(journal_step_of(journal, "0first"), 0);
	assert_int_equal(journal_step_of(journal, last), 1);
	assert_int_equal(journal_step_of(journal, "1try0"), 1);
	assert_int_equal(journal_step_of(journal, "1try1"), STEP_NONE);
	journal_free(journal);
}

/* Killed right before the rename: what was about to be written was not, and whoever goes on knows it. */
static void test_pending(void **state)
{
	static const char *const hashes[] = {"0a", "1a", NULL};
	struct journal *journal = whole(hashes), *read = NULL;
	struct error *err = NULL;
	struct json_writer w = JSON_WRITER_INIT(JOURNAL_MAX);
	(void)state;
	journal_add_hash(journal, 2, "2a", true);
	journal_add_hash(journal, 2, "2b", true);
	journal_write_json(&w, journal);
	assert_ok(journal_parse("j", json_text(&w), strlen(json_text(&w)), &read, &err), err);
	assert_int_equal(journal_written_step(read, "1a"), 1);
	assert_int_equal(journal_written_step(read, "0a"), 1); /* put back by somebody */
	assert_int_equal(journal_written_step(read, NULL), 1);
	assert_int_equal(journal_written_step(read, "2a"), 2); /* killed right after the rename */
	assert_false(journal_in_place(read, "1a"));
	assert_true(journal_in_place(read, "2a"));
	assert_false(journal_in_place(read, "2a"));
	assert_int_equal(journal_written_step(read, "1a"), 2);
	assert_int_equal(journal_step_of(read, "2b"), 2);
	json_writer_free(&w);
	journal_free(read);
	journal_free(journal);
}

static struct journal *again(const struct journal *journal)
{
	struct journal *read = NULL;
	struct error *err = NULL;
	struct json_writer w = JSON_WRITER_INIT(JOURNAL_MAX);
	journal_write_json(&w, journal);
	assert_ok(journal_parse("j", json_text(&w), strlen(json_text(&w)), &read, &err), err);
	json_writer_free(&w);
	return read;
}

/* Killed right after the rename of a promotion, and nobody looked since: something may have been written under the new key. */
static void test_promoted(void **state)
{
	static const char *const hashes[] = {"0a", "1a", NULL};
	struct journal *journal = whole(hashes), *read = NULL;
	(void)state;
	assert_false(journal_promoted(journal));
	journal_add_hash(journal, 2, "2a", true);
	assert_true(journal_promoted(journal));
	journal->copied = true;
	journal->cluster = xstrdup("uid");
	read = again(journal);
	assert_true(journal_promoted(read));
	assert_true(read->copied);
	assert_string_equal(read->cluster, "uid");
	journal_free(read);
	journal_free(journal);
}

static void assert_rescues(const struct journal *journal, unsigned rescues, unsigned alone)
{
	assert_int_equal(journal->rescues, rescues);
	assert_int_equal(journal->alone, alone);
}

/* One of an earlier version does not tell how often its agent helped itself. */
static void test_no_alone(void **state)
{
	static const char *const hashes[] = {"0a", "1a", NULL};
	_cleanup_(journal_freep) struct journal *journal = whole(hashes), *read = NULL, *of_before = NULL;
	struct error *err = NULL;
	struct json_writer w = JSON_WRITER_INIT(JOURNAL_MAX);
	(void)state;
	journal_write_json(&w, journal);
	_cleanup_free_ char *text = xstrdup(json_text(&w));
	json_writer_free(&w);
	assert_ok(journal_parse("j", text, strlen(text), &read, &err), err);
	assert_false(read->no_alone);
	memcpy(strstr(text, "\"alone\""), "\"other\"", strlen("\"alone\""));
	assert_ok(journal_parse("j", text, strlen(text), &of_before, &err), err);
	assert_true(of_before->no_alone);
}

/* A key that was about to be put back counts once it is in place, whoever died in between; and on the way back, too. */
static void test_rescues(void **state)
{
	static const char *const hashes[] = {"0a", "1a", NULL};
	_cleanup_(journal_freep) struct journal *journal = whole(hashes), *read = NULL, *back = NULL;
	struct path *way_back = NULL;
	struct error *err = NULL;
	(void)state;
	journal_add_next(journal, 1, "1b", true, false); /* killed before the rename */
	journal_add_next(journal, 1, "1c", true, false);
	journal_add_next(journal, 0, "0b", true, true);
	journal_add_next(journal, 1, "1d", false, false);
	assert_rescues(journal, 0, 0);
	read = again(journal);
	assert_rescues(read, 0, 0);
	assert_false(journal_in_place(read, "1a"));
	assert_true(journal_in_place(read, "1d"));
	assert_rescues(read, 0, 0);
	assert_true(journal_in_place(read, "1c"));
	assert_false(journal_in_place(read, "1c"));
	assert_rescues(read, 1, 0);
	assert_ok(path_abort(read->path, 1, false, &way_back, &err), err);
	journal_turn_back(read, way_back);
	assert_true(journal_in_place(read, "0b"));
	assert_rescues(read, 2, 1);
	back = again(read);
	assert_rescues(back, 2, 1);
	assert_int_equal(journal_step_of(back, "0b"), 1);
	assert_true(journal_in_place(back, "1b"));
	assert_rescues(back, 3, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {folder_test(test_aside),           cmocka_unit_test(test_turned_back),
					   cmocka_unit_test(test_many_tries), cmocka_unit_test(test_pending),
					   cmocka_unit_test(test_promoted),   cmocka_unit_test(test_rescues),
					   cmocka_unit_test(test_no_alone),   cmocka_unit_test(test_whose)};
	return RUN_ROWS(older, rows) + cmocka_run_group_tests(tests, NULL, NULL);
}
