/* The memory of retired keys: what is added stays, a key that comes back is refused by name, a file that cannot be
 * understood is never taken for an empty one. */
#include "test_folder.h"

#include "engine/retired.h"
#include "shape_support.h"

#define FILE_NAME "retired-keys"
#define OLD "aaaaaaaaaaaa"
#define NEW "bbbbbbbbbbbb"

/* Each key of a shape by its name's first letter: a has OLD's bytes, all others NEW's. */
static struct config_shape *shape(const char *text)
{
	struct config_shape *shape = shape_parse(text);
	for (size_t r = 0; r < shape->rule_count; r++)
		for (size_t k = 0; k < shape->rules[r].key_count; k++) {
			struct config_key *key = &shape->rules[r].keys[k];
			if (key->fingerprint[0])
				memcpy(key->fingerprint, key->name[0] == 'a' ? OLD : NEW, sizeof(key->fingerprint));
		}
	return shape;
}

static int remember(const char *from_text, const char *to_text, const char *label, struct error **err)
{
	_cleanup_(config_shape_freep) struct config_shape *from = shape(from_text), *to = shape(to_text);
	_cleanup_(path_freep) struct path *path = NULL;
	_cleanup_strings_ labels = {0};
	int rc = path_make(from, to, &path, err);
	strings_add(&labels, label);
	return rc == 0 ? retired_remember(in_folder("state"), path, &labels, err) : rc;
}

static int check(const char *from_text, const char *to_text, struct error **err)
{
	_cleanup_(config_shape_freep) struct config_shape *from = shape(from_text), *to = shape(to_text);
	return retired_check(in_folder("state"), from, to, err);
}

static void put_lines(const char *lines)
{
	assert_int_equal(mkdir(in_folder("state"), 0700), 0);
	put_file(in_folder("state/" FILE_NAME), lines);
}

static void test_nothing_is_remembered_yet(void **state)
{
	(void)state;
	_cleanup_error_ err = NULL;
	assert_ok(check("secrets=b", "secrets=a", &err), err);
	assert_false(path_exists(in_folder("state")));
}

static void test_only_what_leaves_is_remembered(void **state)
{
	(void)state;
	_cleanup_error_ err = NULL;
	struct stat info;
	assert_ok(remember("secrets=a", "secrets=b", "aescbc/a", &err), err);
	assert_file(in_folder("state/" FILE_NAME), OLD " aescbc/a\n");
	assert_int_equal(stat(in_folder("state/" FILE_NAME), &info), 0);
	assert_int_equal(info.st_mode & 07777, 0600);
}

static void test_again_is_fine(void **state)
{
	(void)state;
	_cleanup_error_ err = NULL;
	put_lines(NEW " secretbox/other%20name\n");
	for (unsigned i = 0; i < 2; i++)
		assert_ok(remember("secrets=a", "secrets=c", "aescbc/a", &err), err);
	assert_file(in_folder("state/" FILE_NAME), NEW " secretbox/other%20name\n" OLD " aescbc/a\n");
}

/* A crash in the middle of writing leaves the temporary file, and the old one whole. */
static void test_a_crash_leaves_the_old_file(void **state)
{
	(void)state;
	_cleanup_error_ err = NULL;
	put_lines(NEW " aescbc/c\n");
	put_file(in_folder("state/." FILE_NAME ".kube-rekey.tmp"), "ccc");
	assert_ok(remember("secrets=a", "secrets=b", "aescbc/a", &err), err);
	assert_file(in_folder("state/" FILE_NAME), NEW " aescbc/c\n" OLD " aescbc/a\n");
	assert_false(path_exists(in_folder("state/." FILE_NAME ".kube-rekey.tmp")));
}

static void test_a_retired_key_is_refused(void **state)
{
	(void)state;
	struct error *err = NULL;
	put_lines(OLD " aescbc/key1\n");
	/* Under whatever name and provider it comes back, as a write or a read key. */
	assert_error(check("secrets=b", "secrets=box:again", &err), err, ERROR_REFUSED,
		     "secretbox/again is no new key: its bytes were retired by an earlier rotation (aescbc/key1)");
	assert_error(check("secrets=b", "secrets=b,a", &err), err, ERROR_REFUSED,
		     "aescbc/a is no new key: its bytes were retired by an earlier rotation (aescbc/key1)");
}

static void test_what_the_present_file_has_is_not_new(void **state)
{
	(void)state;
	_cleanup_error_ err = NULL;
	put_lines(OLD " aescbc/a\n");
	assert_ok(check("secrets=b,a", "secrets=a,b", &err), err);
	assert_ok(check("secrets=b", "secrets=c,-", &err), err);
}

static void test_a_file_that_is_none_of_ours(void **state)
{
	static const char *const broken[] = {"rubbish\n", "aaaa aescbc/a\n", "\n" OLD " aescbc/a\n", OLD "\n", "\n"};
	(void)state;
	put_lines("");
	for (size_t i = 0; i < ELEMENTS(broken); i++) {
		struct error *err = NULL;
		put_file(in_folder("state/" FILE_NAME), broken[i]);
		assert_error_at(check("secrets=b", "secrets=c", &err), err, ERROR_INPUT,
				"which keys were retired: %s:1: not a fingerprint and a key's name",
				"state/" FILE_NAME);
	}
}

static void test_a_file_that_was_cut_short(void **state)
{
	static const char *const broken[] = {"", OLD, OLD " aescbc", NEW " aescbc/c\n" OLD " aescbc/a"};
	(void)state;
	put_lines("");
	for (size_t i = 0; i < ELEMENTS(broken); i++) {
		struct error *err = NULL;
		put_file(in_folder("state/" FILE_NAME), broken[i]);
		assert_error_at(check("secrets=b", "secrets=c", &err), err, ERROR_INPUT,
				"which keys were retired: %s: cut short: it has no last line that ends",
				"state/" FILE_NAME);
		assert_int_equal(remember("secrets=a", "secrets=b", "aescbc/a", NULL), -ERROR_INPUT);
		assert_file(in_folder("state/" FILE_NAME), broken[i]);
	}
}

static void test_bytes_behind_a_nul(void **state)
{
	(void)state;
	struct error *err = NULL;
	put_lines("");
	FILE *file = fopen(in_folder("state/" FILE_NAME), "we");
	assert_non_null(file);
	static const char content[] = "\0" OLD " aescbc/a\n";
	assert_int_equal(fwrite(content, 1, sizeof(content) - 1, file), sizeof(content) - 1);
	assert_int_equal(fclose(file), 0);
	assert_error_at(check("secrets=b", "secrets=a", &err), err, ERROR_INPUT,
			"which keys were retired: %s: not a text", "state/" FILE_NAME);
}

/* --- between agents --- */

static int merge(const char *first, const char *second, struct error **err)
{
	_cleanup_strings_ fingerprints = {0};
	strings_add(&fingerprints, first);
	strings_add(&fingerprints, second);
	return retired_merge(in_folder("state"), "cp-2", &fingerprints, err);
}

static void test_what_others_report_is_remembered(void **state)
{
	(void)state;
	_cleanup_error_ err = NULL;
	_cleanup_strings_ reported = {0}, none = {0};
	assert_ok(retired_list(in_folder("state"), 10, &none, &err), err);
	assert_int_equal(none.count, 0);
	assert_ok(remember("secrets=a", "secrets=b", "aescbc/a", &err), err);
	assert_ok(retired_list(in_folder("state"), 10, &reported, &err), err);
	assert_int_equal(reported.count, 1);
	assert_string_equal(reported.items[0], OLD);
	/* This state directory is lost, and another agent's report makes it whole again. */
	assert_int_equal(unlink(in_folder("state/" FILE_NAME)), 0);
	assert_int_equal(rmdir(in_folder("state")), 0);
	for (unsigned i = 0; i < 2; i++)
		assert_ok(retired_merge(in_folder("state"), "cp-2", &reported, &err), err);
	assert_file(in_folder("state/" FILE_NAME), OLD " reported by cp-2\n");
	assert_error(check("secrets=b", "secrets=a", &err), err, ERROR_REFUSED,
		     "aescbc/a is no new key: its bytes were retired by an earlier rotation (reported by cp-2)");
	/* What is known already stays as it is, until it is retired here too. */
	assert_ok(merge(OLD, NEW, &err), err);
	assert_file(in_folder("state/" FILE_NAME), OLD " reported by cp-2\n" NEW " reported by cp-2\n");
	assert_ok(remember("secrets=a", "secrets=b", "aescbc/a", &err), err);
	assert_file(in_folder("state/" FILE_NAME), OLD " aescbc/a\n" NEW " reported by cp-2\n");
}

static void test_newest_are_reported(void **state)
{
	(void)state;
	_cleanup_error_ err = NULL;
	_cleanup_strings_ reported = {0};
	/* What others invent never hides what was retired here. */
	put_lines("cccccccccccc aescbc/c\n" OLD " aescbc/a\n" NEW " reported by cp-2\n");
	assert_ok(retired_list(in_folder("state"), 2, &reported, &err), err);
	assert_int_equal(reported.count, 2);
	assert_string_equal(reported.items[0], "cccccccccccc");
	assert_string_equal(reported.items[1], OLD);
	strings_free(&reported);
	assert_ok(retired_list(in_folder("state"), 3, &reported, &err), err);
	assert_int_equal(reported.count, 3);
	assert_string_equal(reported.items[0], NEW);
}

static void test_what_is_no_fingerprint_is_passed_over(void **state)
{
	static const char *const broken[] = {"", "rubbish", OLD " a\n" NEW, OLD "a", "AAAAAAAAAAAA", "aaaaaaaaaaa\n"};
	(void)state;
	put_lines(NEW " aescbc/c\n");
	for (size_t i = 0; i < ELEMENTS(broken); i++) {
		struct error *err = NULL;
		assert_ok(merge(NEW, broken[i], &err), err);
		assert_file(in_folder("state/" FILE_NAME), NEW " aescbc/c\n");
	}
}

/* Others never fill the memory: there is room for one's own, and what would not be read again is not written. */
static void test_more_than_is_remembered(void **state)
{
	(void)state;
	_cleanup_error_ err = NULL;
	_cleanup_strings_ heard = {0};
	for (unsigned who = 0; who < RETIRED_HEARD_MAX / RETIRED_HEARD_OF_ONE + 2; who++) {
		_cleanup_free_ char *name = xasprintf("cp-%u", who);
		_cleanup_strings_ fingerprints = {0};
		for (unsigned i = 0; i < RETIRED_HEARD_OF_ONE + 10; i++) {
			_cleanup_free_ char *fingerprint = xasprintf("%04x%08x", who, i);
			strings_add(&fingerprints, fingerprint);
		}
		assert_ok(retired_merge(in_folder("state"), name, &fingerprints, &err), err);
		strings_free(&heard);
		assert_ok(retired_list(in_folder("state"), SIZE_MAX, &heard, &err), err);
		size_t most = (size_t)(who + 1) * RETIRED_HEARD_OF_ONE;
		assert_int_equal(heard.count, most < RETIRED_HEARD_MAX ? most : RETIRED_HEARD_MAX);
	}
	assert_ok(remember("secrets=a", "secrets=b", "aescbc/a", &err), err);
	assert_int_equal(check("secrets=b", "secrets=a", NULL), -ERROR_REFUSED);
}

static void test_one_key_from_elsewhere(void **state)
{
	(void)state;
	struct error *err = NULL;
	_cleanup_(config_shape_freep) struct config_shape *keys = shape("secrets=a,b,-");
	const struct config_key *retired = &keys->rules[0].keys[0], *fresh = &keys->rules[0].keys[1];
	assert_ok(retired_check_key(in_folder("state"), retired, &err), err);
	put_lines(OLD " aescbc/key1\n");
	assert_error(retired_check_key(in_folder("state"), retired, &err), err, ERROR_REFUSED,
		     "aescbc/a is no new key: its bytes were retired by an earlier rotation (aescbc/key1)");
	assert_ok(retired_check_key(in_folder("state"), fresh, &err), err);
	assert_ok(retired_check_key(in_folder("state"), &keys->rules[0].keys[2], &err), err);
	put_file(in_folder("state/" FILE_NAME), "rubbish\n");
	assert_error_at(retired_check_key(in_folder("state"), fresh, &err), err, ERROR_INPUT,
			"which keys were retired: %s:1: not a fingerprint and a key's name", "state/" FILE_NAME);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		folder_test(test_nothing_is_remembered_yet),
		folder_test(test_only_what_leaves_is_remembered),
		folder_test(test_again_is_fine),
		folder_test(test_a_crash_leaves_the_old_file),
		folder_test(test_a_retired_key_is_refused),
		folder_test(test_what_the_present_file_has_is_not_new),
		folder_test(test_a_file_that_is_none_of_ours),
		folder_test(test_a_file_that_was_cut_short),
		folder_test(test_bytes_behind_a_nul),
		folder_test(test_what_others_report_is_remembered),
		folder_test(test_newest_are_reported),
		folder_test(test_what_is_no_fingerprint_is_passed_over),
		folder_test(test_more_than_is_remembered),
		folder_test(test_one_key_from_elsewhere),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
