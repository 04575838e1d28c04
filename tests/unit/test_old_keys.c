/* What lies there of keys when others of the same name left before them, or when a run was killed in the middle. */
#include "test_folder.h"

#include <fcntl.h>

#include "base/file.h"
#include "certificate_support.h"
#include "engine/old_keys.h"
#include "shape_support.h"

#define HOUR 3600

static struct keys keys;
static struct path *path; /* secrets=b,a -> secrets=b */
static struct strings labels;
static char *pem;

static int begin(void **state)
{
	struct secret *bytes = secret_random(32);
	if (make_folder(state) < 0)
		return -1;
	pem = certificate(HOUR);
	path = path_parse("secrets=b,a", "secrets=b");
	keys_add(&keys, PROVIDER_AESCBC, "a", bytes);
	strings_add(&labels, "aescbc/a");
	secret_free(bytes);
	return mkdir(in_folder("retired"), 0700);
}

static int end(void **state)
{
	free(pem);
	path_free(path);
	keys_free(&keys);
	strings_free(&labels);
	return remove_folder(state);
}

static struct old_keys_policy policy_of(const char *fate)
{
	static char directory[FOLDER_PATH_MAX];
	struct old_keys_policy policy;
	struct error *err = NULL;
	snprintf(directory, sizeof(directory), "%s", in_folder("retired"));
	assert_ok(old_keys_policy_asked(fate, text_equal(fate, "seal") ? pem : NULL, directory, &policy, &err), err);
	return policy;
}

static void save(const char *fate)
{
	_cleanup_(old_keys_policy_free) struct old_keys_policy policy = policy_of(fate);
	struct error *err = NULL;
	assert_ok(old_keys_save(&policy, path, 0, &keys, "r", &err), err);
}

/* What is told of it; "%s" stands for the folder. */
static void retire(const char *fate, const char *told)
{
	_cleanup_(old_keys_policy_free) struct old_keys_policy policy = policy_of(fate);
	_cleanup_strings_ places = {0};
	struct error *err = NULL;
	assert_ok(old_keys_retire(&policy, &labels, &places, &err), err);
	assert_int_equal(places.count, 1);
	const char *at = strstr(places.items[0], folder);
	_cleanup_free_ char *place =
		at ? xasprintf("%.*s%%s%s", (int)(at - places.items[0]), places.items[0], at + strlen(folder))
		   : xstrdup(places.items[0]);
	assert_string_equal(place, told);
}

static void put_earlier(const char *name)
{
	const struct timespec times[] = {{time(NULL) - HOUR, 0}, {time(NULL) - HOUR, 0}};
	put_file(in_folder(name), "earlier");
	assert_int_equal(utimensat(AT_FDCWD, in_folder(name), times, 0), 0);
}

static void put_zeros(const char *name)
{
	FILE *file = fopen(in_folder(name), "we");
	assert_non_null(file);
	assert_int_equal(fwrite("\0\0\0", 1, 3, file), 3);
	assert_int_equal(fclose(file), 0);
}

/* First kept, then sealed when the command was run again: a key that another rotation sealed under this name stays. */
static void test_sealed_beside_an_earlier_one(void **state)
{
	(void)state;
	put_earlier("retired/aescbc-a.yaml.cms");
	save("keep");
	for (int time = 0; time < 2; time++)
		retire("seal", "aescbc/a is sealed in %s/retired/aescbc-a.yaml.2.cms");
	assert_file(in_folder("retired/aescbc-a.yaml.cms"), "earlier");
	assert_false(path_exists(in_folder("retired/aescbc-a.yaml")));
}

/* Killed between the one and the other: what says that it is the same key? Not its time, for clocks go back. */
static void test_sealed_and_not_removed(void **state)
{
	(void)state;
	save("seal");
	put_file(in_folder("retired/aescbc-a.yaml.cms"), "just now");
	retire("seal", "aescbc/a is sealed in %s/retired/aescbc-a.yaml.2.cms");
	assert_file(in_folder("retired/aescbc-a.yaml.cms"), "just now");
	assert_false(path_exists(in_folder("retired/aescbc-a.yaml")));
}

/* Somebody moved some of them away: the newest has the highest number all the same, and what looks like one is none. */
static void test_sealed_behind_a_gap(void **state)
{
	static const char *const others[] = {"aescbc-a.yaml.9.cms.old", "aescbc-a.yaml.+9.cms",
					     "aescbc-a.yaml.09.cms",    "aescbc-a.yaml.99999999999999999999.cms",
					     "aescbc-a.yaml-9.cms",     "aescbc-ab.yaml.9.cms",
					     "aescbc-a.yaml..cms"};
	_cleanup_(old_keys_policy_free) struct old_keys_policy policy = policy_of("seal");
	struct error *err = NULL;
	(void)state;
	put_earlier("retired/aescbc-a.yaml.3.cms");
	for (size_t i = 0; i < ELEMENTS(others); i++) {
		_cleanup_free_ char *name = xasprintf("retired/%s", others[i]);
		put_earlier(name);
	}
	assert_int_equal(old_keys_check(&policy, path, 0, &keys, &err), -ERROR_REFUSED);
	assert_non_null(strstr(error_message(err), "aescbc-a.yaml.3.cms holds a sealed key of that name"));
	error_clear(&err);
	retire("keep", "aescbc/a is sealed in %s/retired/aescbc-a.yaml.3.cms");
	retire("destroy", "aescbc/a is destroyed; a key of that name is sealed in %s/retired/aescbc-a.yaml.3.cms");
	save("keep");
	retire("seal", "aescbc/a is sealed in %s/retired/aescbc-a.yaml.4.cms");
	assert_file(in_folder("retired/aescbc-a.yaml.3.cms"), "earlier");
	assert_false(path_exists(in_folder("retired/aescbc-a.yaml.cms")));
}

/* An older file brought back what was sealed a moment ago. */
static void test_left_before(void **state)
{
	_cleanup_(old_keys_policy_free) struct old_keys_policy policy = policy_of("seal");
	struct error *err = NULL;
	(void)state;
	put_earlier("retired/aescbc-a.yaml.cms");
	assert_int_equal(old_keys_check(&policy, path, 0, &keys, &err), -ERROR_REFUSED);
	assert_non_null(strstr(error_message(err), "holds a sealed key of that name"));
	error_clear(&err);
	policy.left_before = true;
	assert_ok(old_keys_check(&policy, path, 0, &keys, &err), err);
	assert_ok(old_keys_save(&policy, path, 0, &keys, "r", &err), err);
	retire("seal", "aescbc/a is sealed in %s/retired/aescbc-a.yaml.2.cms");
}

/* Nobody asked to take away what is sealed, and nobody is told that there is nothing. */
static void test_told_beside_what_is_sealed(void **state)
{
	(void)state;
	put_earlier("retired/aescbc-a.yaml.cms");
	retire("keep", "aescbc/a is sealed in %s/retired/aescbc-a.yaml.cms");
	retire("destroy", "aescbc/a is destroyed; a key of that name is sealed in %s/retired/aescbc-a.yaml.cms");
	assert_int_equal(unlink(in_folder("retired/aescbc-a.yaml.cms")), 0);
	put_earlier("aescbc-a.yaml.cms"); /* by --new-key-copy */
	save("destroy");
	retire("destroy", "aescbc/a is destroyed; a key of that name is sealed in %s/aescbc-a.yaml.cms");
	assert_int_equal(unlink(in_folder("aescbc-a.yaml.cms")), 0);
	retire("destroy", "aescbc/a is destroyed: no copy is left in %s/retired");
	retire("keep", "aescbc/a is not on this machine");
}

/* A copy of a new key takes no other one's place either. */
static void test_copies_of_new_keys(void **state)
{
	static const char *const names[] = {"aescbc-a.yaml.2.cms", "aescbc-a.yaml.3.cms"};
	_cleanup_(old_keys_policy_free) struct old_keys_policy policy = policy_of("seal");
	_cleanup_free_ char *state_directory = xstrdup(folder);
	struct error *err = NULL;
	(void)state;
	put_earlier("aescbc-a.yaml.cms");
	for (size_t i = 0; i < ELEMENTS(names); i++) {
		_cleanup_free_ char *copy = NULL;
		assert_ok(new_key_copy(policy.seal, state_directory, PROVIDER_AESCBC, "a",
				       keys_find(&keys, PROVIDER_AESCBC, "a"), &copy, &err),
			  err);
		assert_string_equal(copy, in_folder(names[i]));
	}
	assert_file(in_folder("aescbc-a.yaml.cms"), "earlier");
}

/* Killed while it was overwritten, after it was sealed or to destroy it: nothing tells which. What was sealed earlier under this
 * name is not told to be this key. */
static void test_half_removed(void **state)
{
	static const char *const fates[] = {"keep", "seal"};
	(void)state;
	for (size_t i = 0; i < 2 * ELEMENTS(fates); i++) {
		put_zeros("retired/aescbc-a.yaml");
		if (i == ELEMENTS(fates))
			put_earlier("retired/aescbc-a.yaml.cms");
		retire(fates[i % ELEMENTS(fates)],
		       i < ELEMENTS(fates)
			       ? "aescbc/a was being removed by a run that was killed, and nothing shows that it was "
				 "sealed"
			       : "aescbc/a was being removed by a run that was killed; a key of that name is sealed in "
				 "%s/retired/aescbc-a.yaml.cms");
		assert_false(path_exists(in_folder("retired/aescbc-a.yaml")));
		assert_false(path_exists(in_folder("retired/aescbc-a.yaml.2.cms")));
	}
	put_zeros("retired/aescbc-a.yaml");
	retire("destroy", "aescbc/a is destroyed; a key of that name is sealed in %s/retired/aescbc-a.yaml.cms");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_sealed_beside_an_earlier_one),
		TEST(test_sealed_and_not_removed),
		TEST(test_sealed_behind_a_gap),
		TEST(test_left_before),
		TEST(test_told_beside_what_is_sealed),
		TEST(test_copies_of_new_keys),
		TEST(test_half_removed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
