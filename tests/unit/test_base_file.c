#include "test_folder.h"
#include "base/file.h"
#include "base/text.h"
#include <fcntl.h>
#include <sys/file.h>
#include <sys/wait.h>

static void test_read(void **state)
{
	(void)state;
	struct error *err = NULL;
	_cleanup_secret_ content = NULL;
	_cleanup_secret_ linked = NULL;
	put_file(in_folder("a"), "abc");
	assert_int_equal(symlink("a", in_folder("link")), 0);
	assert_ok(file_read(in_folder("a"), 3, &content, &err), err);
	assert_string_equal(secret_text(content), "abc");
	assert_ok(file_read(in_folder("link"), 3, &linked, &err), err);
	assert_true(secret_equal(content, linked));
}

static void test_read_what_grows_in_chunks(void **state)
{
	(void)state;
	struct error *err = NULL;
	_cleanup_secret_ content = NULL;
	_cleanup_free_ char *text = xmalloc(100001);
	memset(text, 'x', 100000);
	text[100000] = '\0';
	put_file(in_folder("a"), text);
	assert_ok(file_read(in_folder("a"), 1 << 20, &content, &err), err);
	assert_string_equal(secret_text(content), text);
	/* /proc gives no size. */
	_cleanup_secret_ status = NULL;
	assert_ok(file_read("/proc/self/status", 1 << 20, &status, &err), err);
	assert_true(secret_len(status) > 0);
}

static void test_read_refuses(void **state)
{
	(void)state;
	struct error *err = NULL;
	struct secret *none = NULL;
	put_file(in_folder("a"), "abcd");
	assert_int_equal(mkfifo(in_folder("fifo"), 0600), 0);
	int rc = file_read(in_folder("a"), 3, &none, &err);
	assert_error_at(rc, err, ERROR_LIMIT, "reading %s: more than 3 bytes", "a");
	rc = file_read(in_folder("b"), 3, &none, &err);
	assert_error_at(rc, err, ERROR_NOT_FOUND, "reading %s: No such file or directory", "b");
	rc = file_read(folder, 3, &none, &err);
	assert_int_equal(rc, -ERROR_IO);
	error_clear(&err);
	rc = file_read(in_folder("fifo"), 3, &none, &err);
	assert_error_at(rc, err, ERROR_IO, "reading %s: not a regular file", "fifo");
	assert_null(none);
}

/* Its other refusals: test_trust_key. */
static void test_read_private(void **state)
{
	(void)state;
	struct error *err = NULL;
	_cleanup_secret_ content = NULL;
	struct secret *none = NULL;
	put_file(in_folder("a"), "abc");
	assert_int_equal(chmod(in_folder("a"), 0640), 0);
	assert_int_equal(file_read_private(in_folder("a"), 3, &none, &err), -ERROR_REFUSED);
	assert_non_null(strstr(error_hint(err), "chmod 600 "));
	assert_null(none);
	error_clear(&err);
	assert_int_equal(chmod(in_folder("a"), 0600), 0);
	assert_ok(file_read_private(in_folder("a"), 3, &content, &err), err);
	assert_string_equal(secret_text(content), "abc");
	assert_error_at(file_read_private(in_folder("a"), 2, &none, &err), err, ERROR_LIMIT,
			"reading %s: more than 2 bytes", "a");
}

static void test_sha256(void **state)
{
	(void)state;
	struct error *err = NULL;
	_cleanup_free_ char *hash = NULL;
	put_file(in_folder("a"), "abc");
	assert_ok(file_sha256(in_folder("a"), 3, &hash, &err), err);
	assert_string_equal(hash, "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	char *none = NULL;
	assert_int_equal(file_sha256(in_folder("a"), 2, &none, NULL), -ERROR_LIMIT);
	assert_int_equal(file_sha256(in_folder("b"), 2, &none, NULL), -ERROR_NOT_FOUND);
	assert_null(none);
}

static void test_shred_overwrites_and_removes(void **state)
{
	(void)state;
	struct error *err = NULL;
	_cleanup_free_ char *text = xmalloc(40001);
	memset(text, 'x', 40000);
	text[40000] = '\0';
	put_file(in_folder("a"), text);
	/* A second name keeps the bytes in sight. */
	assert_int_equal(link(in_folder("a"), in_folder("b")), 0);
	assert_ok(file_shred(in_folder("a"), &err), err);
	assert_false(path_exists(in_folder("a")));
	_cleanup_secret_ left = NULL;
	assert_ok(file_read(in_folder("b"), 1 << 20, &left, &err), err);
	memset(text, 0, 40000);
	assert_int_equal(secret_len(left), 40000);
	assert_memory_equal(secret_data(left), text, 40000);
}

static void test_shred_of_nothing_is_fine(void **state)
{
	(void)state;
	struct error *err = NULL;
	assert_ok(file_shred(in_folder("a"), &err), err);
	assert_ok(file_shred(in_folder("no/such/a"), &err), err);
	assert_null(err);
}

static void test_shred_refuses_a_symlink(void **state)
{
	(void)state;
	struct error *err = NULL;
	put_file(in_folder("a"), "abc");
	assert_int_equal(symlink("a", in_folder("link")), 0);
	int rc = file_shred(in_folder("link"), &err);
	assert_error_at(rc, err, ERROR_IO, "removing %s: not a regular file", "link");
	assert_file(in_folder("a"), "abc");
	assert_true(path_exists(in_folder("link")));
}

static void test_shred_of_what_it_cannot_open(void **state)
{
	(void)state;
	if (geteuid() == 0)
		skip(); /* root can open everything */
	struct error *err = NULL;
	put_file(in_folder("a"), "abc");
	assert_int_equal(chmod(in_folder("a"), 0400), 0);
	int rc = file_shred(in_folder("a"), &err);
	assert_error_at(rc, err, ERROR_IO, "removed without overwriting its bytes: overwriting %s: Permission denied",
			"a");
	assert_false(path_exists(in_folder("a")));
}

static mode_t mode_of(const char *path)
{
	struct stat info;
	assert_int_equal(stat(path, &info), 0);
	return info.st_mode & 07777;
}

static void test_make_directory(void **state)
{
	(void)state;
	struct error *err = NULL;
	assert_int_equal(mkdir(in_folder("a"), 0755), 0);
	assert_ok(file_make_directory(in_folder("a/b/c"), &err), err);
	assert_int_equal(mode_of(in_folder("a")), 0755);
	assert_int_equal(mode_of(in_folder("a/b")), 0700);
	assert_int_equal(mode_of(in_folder("a/b/c")), 0700);
	assert_ok(file_make_directory(in_folder("a/b/c"), &err), err);
	assert_ok(file_make_directory(in_folder("a/b/c/"), &err), err);
	put_file(in_folder("f"), "");
	int rc = file_make_directory(in_folder("f"), &err);
	assert_error_at(rc, err, ERROR_IO, "making the directory %s: Not a directory", "f");
	rc = file_make_directory(in_folder("f/g"), &err);
	assert_error_at(rc, err, ERROR_IO, "making the directory %s: Not a directory", "f/g");
}

static void test_lock_excludes(void **state)
{
	(void)state;
	struct error *err = NULL;
	int fd = -1, second = -1;
	assert_ok(file_lock(in_folder("lock"), &fd, &err), err);
	assert_int_equal(mode_of(in_folder("lock")), 0600);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	int rc = file_lock(in_folder("lock"), &second, &err);
	assert_error_at(rc, err, ERROR_BUSY, "locking %s: another kube-rekey holds it", "lock");
	assert_int_equal(second, -1);
	close(fd);
	assert_ok(file_lock(in_folder("lock"), &second, &err), err);
	close(second);
	rc = file_lock(in_folder("no/lock"), &second, &err);
	assert_error_at(rc, err, ERROR_NOT_FOUND, "opening the lock %s: No such file or directory", "no/lock");
}

static void test_lock_goes_with_its_process(void **state)
{
	(void)state;
	struct error *err = NULL;
	pid_t child = fork();
	if (child == 0) {
		int held = -1;
		_exit(file_lock(in_folder("lock"), &held, NULL) == 0 ? 0 : 1);
	}
	int status, fd = -1;
	waitpid(child, &status, 0);
	assert_int_equal(status, 0);
	assert_ok(file_lock(in_folder("lock"), &fd, &err), err);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		folder_test(test_read),
		folder_test(test_read_what_grows_in_chunks),
		folder_test(test_read_refuses),
		folder_test(test_read_private),
		folder_test(test_sha256),
		folder_test(test_shred_overwrites_and_removes),
		folder_test(test_shred_of_nothing_is_fine),
		folder_test(test_shred_refuses_a_symlink),
		folder_test(test_shred_of_what_it_cannot_open),
		folder_test(test_make_directory),
		folder_test(test_lock_excludes),
		folder_test(test_lock_goes_with_its_process),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
