#include "test_folder.h"
#include "base/file.h"
#include "base/text.h"
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

#define ACL "system.posix_acl_access"
#define DEFAULT_ACL "system.posix_acl_default"

/* The calls that must come in order, and those that can be made to fail, seen in place of the libc's. */
static char calls[200];
static bool directory_sync_fails;
static int acl_errno; /* 0: may be set and removed */

static void note(const char *call)
{
	size_t len = strlen(calls);
	snprintf(calls + len, sizeof(calls) - len, "%s ", call);
}

int fsync(int fd)
{
	struct stat info;
	fstat(fd, &info);
	note(S_ISDIR(info.st_mode) ? "sync-directory" : "sync");
	if (S_ISDIR(info.st_mode) && directory_sync_fails) {
		errno = EIO;
		return -1;
	}
	return (int)syscall(SYS_fsync, fd);
}

int fchown(int fd, uid_t owner, gid_t group)
{
	note("chown");
	return (int)syscall(SYS_fchown, fd, owner, group);
}

int fchmod(int fd, mode_t mode)
{
	note("chmod");
	return (int)syscall(SYS_fchmod, fd, mode);
}

/* Who may read a file is settled while there is nothing to read. */
static int note_acl(int fd, const char *attribute)
{
	struct stat info;
	if (strcmp(attribute, ACL) != 0)
		return 0;
	fstat(fd, &info);
	note(info.st_size == 0 ? "acl" : "acl-late");
	errno = acl_errno;
	return acl_errno ? -1 : 0;
}

int fsetxattr(int fd, const char *attribute, const void *value, size_t len, int flags)
{
	return note_acl(fd, attribute) < 0 ? -1 : (int)syscall(SYS_fsetxattr, fd, attribute, value, len, flags);
}

int fremovexattr(int fd, const char *attribute)
{
	return note_acl(fd, attribute) < 0 ? -1 : (int)syscall(SYS_fremovexattr, fd, attribute);
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
	note("rename");
	return (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, 0);
}

static int replace_setup(void **state)
{
	calls[0] = '\0';
	directory_sync_fails = false;
	acl_errno = 0;
	return make_folder(state);
}
#define replace_test(fn) cmocka_unit_test_setup_teardown(fn, replace_setup, remove_folder)

/* Replaces by "new" what is expected to hold `expected` (NULL: nothing). */
static int replace(const char *path, const char *expected, enum file_replaced *ret, struct error **err)
{
	_cleanup_secret_ content = secret_from("new", 3);
	_cleanup_free_ char *hash = expected ? text_sha256_tagged(expected, strlen(expected)) : NULL;
	return file_replace(path, content, hash, 0640, ret, err);
}

static void assert_replaced(const char *path, const char *expected)
{
	struct error *err = NULL;
	enum file_replaced outcome = FILE_UNCHANGED;
	assert_ok(replace(path, expected, &outcome, &err), err);
	assert_int_equal(outcome, FILE_REPLACED);
	assert_file(path, "new");
	assert_false(path_exists(in_folder(".a.kube-rekey.tmp")));
}

static void test_order(void **state)
{
	(void)state;
	put_file(in_folder("a"), "old");
	assert_replaced(in_folder("a"), "old");
	assert_string_equal(calls, "chown acl chmod sync rename sync-directory ");
}

static void test_keeps_mode_owner_and_group(void **state)
{
	(void)state;
	struct stat before, after;
	put_file(in_folder("a"), "old");
	assert_int_equal(chmod(in_folder("a"), 0604), 0);
	if (geteuid() == 0)
		assert_int_equal(chown(in_folder("a"), 1234, 5678), 0);
	assert_int_equal(stat(in_folder("a"), &before), 0);
	assert_replaced(in_folder("a"), "old");
	assert_int_equal(stat(in_folder("a"), &after), 0);
	assert_int_equal(after.st_mode, before.st_mode);
	assert_int_equal(after.st_uid, before.st_uid);
	assert_int_equal(after.st_gid, before.st_gid);
	assert_int_not_equal(after.st_ino, before.st_ino);
}

static void test_keeps_the_label(void **state)
{
	(void)state;
	char label[100] = "";
	put_file(in_folder("a"), "old");
	if (setxattr(in_folder("a"), "security.selinux", "system_u:object_r:etc_t:s0", 27, 0) != 0)
		skip(); /* not root, or a file system without labels */
	assert_replaced(in_folder("a"), "old");
	assert_int_equal(getxattr(in_folder("a"), "security.selinux", label, sizeof(label)), 27);
	assert_string_equal(label, "system_u:object_r:etc_t:s0");
}

/* As linux/posix_acl_xattr.h has it: version 2, then little-endian tag, permissions and ID of each entry. */
#define VERSION_2 2, 0, 0, 0
#define ENTRY(tag, permissions, id) \
	tag, 0, permissions, 0, (id)&0xff, (id) >> 8 & 0xff, (id) >> 16 & 0xff, (id) >> 24 & 0xff
#define NO_ID 0xffffffffu
/* user::rw-, user:1234:r--, group::---, mask::r--, other::--- */
static const uint8_t some_acl[] = {
	VERSION_2,
	ENTRY(0x01, 6, NO_ID),
	ENTRY(0x02, 4, 1234u),
	ENTRY(0x04, 0, NO_ID),
	ENTRY(0x10, 4, NO_ID),
	ENTRY(0x20, 0, NO_ID),
};

static void give_acl(const char *path, const char *attribute)
{
	if (setxattr(path, attribute, some_acl, sizeof(some_acl), 0) == 0)
		return;
	assert_int_equal(errno, ENOTSUP);
	print_message("no POSIX ACLs on the file system of %s\n", path);
	skip();
}

static void assert_no_acl(const char *path, mode_t mode)
{
	struct stat info;
	assert_int_equal(getxattr(path, ACL, NULL, 0), -1);
	assert_int_equal(errno, ENODATA);
	assert_int_equal(stat(path, &info), 0);
	assert_int_equal(info.st_mode & 07777, mode);
}

/* One that the directory gives by default takes its place nowhere. */
static void test_keeps_the_acl(void **state)
{
	(void)state;
	uint8_t acl[sizeof(some_acl) + 1];
	struct stat info;
	put_file(in_folder("a"), "old");
	give_acl(in_folder("a"), ACL);
	for (int turn = 0; turn < 2; turn++) {
		assert_replaced(in_folder("a"), turn == 0 ? "old" : "new");
		assert_int_equal(getxattr(in_folder("a"), ACL, acl, sizeof(acl)), sizeof(some_acl));
		assert_memory_equal(acl, some_acl, sizeof(some_acl));
		assert_int_equal(stat(in_folder("a"), &info), 0);
		assert_int_equal(info.st_mode & 07777, 0640);
		give_acl(folder, DEFAULT_ACL);
	}
}

static void test_inherits_no_acl(void **state)
{
	(void)state;
	put_file(in_folder("a"), "old");
	assert_int_equal(chmod(in_folder("a"), 0644), 0);
	give_acl(folder, DEFAULT_ACL);
	assert_replaced(in_folder("a"), "old");
	assert_no_acl(in_folder("a"), 0644);
	assert_replaced(in_folder("b"), NULL);
	assert_no_acl(in_folder("b"), 0640);
}

static void test_new_file_gets_the_mode(void **state)
{
	(void)state;
	struct stat info;
	mode_t mask = umask(077);
	assert_replaced(in_folder("a"), NULL);
	umask(mask);
	assert_int_equal(stat(in_folder("a"), &info), 0);
	assert_int_equal(info.st_mode & 07777, 0640);
}

static void test_symlink_stays_and_its_target_is_replaced(void **state)
{
	(void)state;
	char target[100] = "";
	assert_int_equal(mkdir(in_folder("sub"), 0700), 0);
	put_file(in_folder("sub/b"), "old");
	assert_int_equal(symlink("sub/b", in_folder("a")), 0);
	assert_replaced(in_folder("a"), "old");
	assert_true(readlink(in_folder("a"), target, sizeof(target) - 1) > 0);
	assert_string_equal(target, "sub/b");
	assert_file(in_folder("sub/b"), "new");
}

static void test_dangling_symlink(void **state)
{
	(void)state;
	struct error *err = NULL;
	enum file_replaced outcome = FILE_REPLACED;
	assert_int_equal(symlink("nothing", in_folder("a")), 0);
	int rc = replace(in_folder("a"), NULL, &outcome, &err);
	assert_error_at(rc, err, ERROR_IO, "finding %s: a symbolic link to a file that does not exist", "a");
	assert_int_equal(outcome, FILE_UNCHANGED);
}

static void test_relative_path(void **state)
{
	(void)state;
	char before[4096];
	assert_non_null(getcwd(before, sizeof(before)));
	assert_int_equal(chdir(folder), 0);
	put_file("a", "old");
	assert_replaced("a", "old");
	assert_replaced("b", NULL);
	assert_int_equal(chdir(before), 0);
}

static void test_leftover_of_a_crash_is_removed_first(void **state)
{
	(void)state;
	put_file(in_folder("a"), "old");
	put_file(in_folder(".a.kube-rekey.tmp"), "half of a k");
	assert_int_equal(link(in_folder(".a.kube-rekey.tmp"), in_folder("seen")), 0);
	assert_replaced(in_folder("a"), "old");
	struct stat info;
	assert_int_equal(stat(in_folder("seen"), &info), 0);
	assert_int_equal(info.st_size, 11);
	assert_file(in_folder("seen"), "");
}

/* Nothing but the error: the file is as it was and the temporary file is gone. */
static void assert_conflict(const char *expected, const char *what, const char *left)
{
	struct error *err = NULL;
	enum file_replaced outcome = FILE_REPLACED;
	int rc = replace(in_folder("a"), expected, &outcome, &err);
	assert_string_equal(error_hint(err), "somebody else changed it; look at it and run the same command again");
	_cleanup_free_ char *message = xasprintf("replacing %s: %s", in_folder("a"), what);
	assert_error(rc, err, ERROR_CONFLICT, message);
	assert_int_equal(outcome, FILE_UNCHANGED);
	assert_false(path_exists(in_folder(".a.kube-rekey.tmp")));
	assert_int_equal(path_exists(in_folder("a")), left != NULL);
	if (left)
		assert_file(in_folder("a"), left);
}

static void test_conflicts(void **state)
{
	(void)state;
	assert_conflict("old", "it is gone", NULL);
	put_file(in_folder("a"), "other");
	assert_conflict("old", "its content is not what was read before", "other");
	assert_conflict(NULL, "it exists already", "other");
	assert_conflict("", "its content is not what was read before", "other");
}

static void test_old_file_beyond_the_cap(void **state)
{
	(void)state;
	struct error *err = NULL;
	enum file_replaced outcome;
	put_file(in_folder("a"), "");
	assert_int_equal(truncate(in_folder("a"), FILE_REPLACE_MAX + 1), 0);
	int rc = replace(in_folder("a"), "", &outcome, &err);
	assert_error_at(rc, err, ERROR_LIMIT, "reading %s: more than 16777216 bytes", "a");
}

static void test_not_a_file(void **state)
{
	(void)state;
	struct error *err = NULL;
	enum file_replaced outcome;
	assert_int_equal(mkdir(in_folder("a"), 0700), 0);
	int rc = replace(in_folder("a"), NULL, &outcome, &err);
	assert_error_at(rc, err, ERROR_IO, "replacing %s: not a regular file", "a");
}

static void test_no_directory(void **state)
{
	(void)state;
	struct error *err = NULL;
	enum file_replaced outcome;
	int rc = replace(in_folder("no/a"), NULL, &outcome, &err);
	assert_error_at(rc, err, ERROR_NOT_FOUND, "finding the directory of %s: No such file or directory", "no/a");
}

static void test_failed_directory_sync_is_its_own_outcome(void **state)
{
	(void)state;
	struct error *err = NULL;
	enum file_replaced outcome = FILE_UNCHANGED;
	put_file(in_folder("a"), "old");
	directory_sync_fails = true;
	int rc = replace(in_folder("a"), "old", &outcome, &err);
	assert_error_at(rc, err, ERROR_IO,
			"replaced, but it may come back after a power loss: syncing %s to disk: Input/output error",
			"a");
	assert_int_equal(outcome, FILE_REPLACED_NOT_DURABLE);
	assert_file(in_folder("a"), "new");
}

static void test_remove_leftover(void **state)
{
	(void)state;
	struct error *err = NULL;
	put_file(in_folder(".a.kube-rekey.tmp"), "x");
	put_file(in_folder(".b.kube-rekey.tmp"), "x");
	assert_int_equal(symlink("a", in_folder("link")), 0);
	put_file(in_folder("a"), "x");
	assert_ok(file_remove_leftover(in_folder("link"), &err), err);
	assert_false(path_exists(in_folder(".a.kube-rekey.tmp")));
	assert_true(path_exists(in_folder("a")));
	assert_ok(file_remove_leftover(in_folder("a"), &err), err);
	/* The file itself need not be there. */
	assert_ok(file_remove_leftover(in_folder("b"), &err), err);
	assert_false(path_exists(in_folder(".b.kube-rekey.tmp")));
	assert_ok(file_remove_leftover(in_folder("no/a"), &err), err);
	assert_null(err);
}

static void test_shred_aside(void **state)
{
	(void)state;
	struct error *err = NULL;
	char bytes[3] = "xxx";
	put_file(in_folder("a"), "abc");
	put_file(in_folder(".a.kube-rekey.tmp"), "of a crash");
	int fd = open(in_folder("a"), O_RDONLY);
	assert_true(fd >= 0);
	assert_ok(file_shred_aside(in_folder("a"), &err), err);
	assert_false(path_exists(in_folder("a")));
	assert_false(path_exists(in_folder(".a.kube-rekey.tmp")));
	assert_int_equal(read(fd, bytes, sizeof(bytes)), sizeof(bytes));
	assert_memory_equal(bytes, "\0\0\0", sizeof(bytes));
	close(fd);
	/* What a crash left, whose name is gone. */
	put_file(in_folder(".a.kube-rekey.tmp"), "x");
	assert_ok(file_shred_aside(in_folder("a"), &err), err);
	assert_false(path_exists(in_folder(".a.kube-rekey.tmp")));
	assert_ok(file_shred_aside(in_folder("no/a"), &err), err);
	put_file(in_folder("b"), "x");
	assert_int_equal(symlink("b", in_folder("to-b")), 0);
	int rc = file_shred_aside(in_folder("to-b"), &err);
	assert_error_at(rc, err, ERROR_IO, "removing %s: not a regular file", "to-b");
	assert_file(in_folder("b"), "x");
}

static void test_back_from_aside(void **state)
{
	(void)state;
	struct error *err = NULL;
	_cleanup_free_ char *hash = text_sha256_tagged("abc", 3);
	int rc = file_back_from_aside(in_folder("a"), hash, &err);
	assert_error_at(rc, err, ERROR_NOT_FOUND, "opening %s: No such file or directory", ".a.kube-rekey.tmp");
	put_file(in_folder(".a.kube-rekey.tmp"), "ab\0");
	rc = file_back_from_aside(in_folder("a"), hash, &err);
	assert_error_at(rc, err, ERROR_CONFLICT, "%s: other bytes than were moved there", ".a.kube-rekey.tmp");
	put_file(in_folder(".a.kube-rekey.tmp"), "abc");
	put_file(in_folder("a"), "x");
	rc = file_back_from_aside(in_folder("a"), hash, &err);
	assert_error_at(rc, err, ERROR_CONFLICT, "replacing %s: it exists already", "a");
	assert_file(in_folder("a"), "x");
	assert_int_equal(unlink(in_folder("a")), 0);
	assert_ok(file_back_from_aside(in_folder("a"), hash, &err), err);
	assert_file(in_folder("a"), "abc");
	assert_false(path_exists(in_folder(".a.kube-rekey.tmp")));
}

/* Mounts are made in a namespace of this process alone. */
static bool may_mount(void)
{
	static int answer = -1;
	if (answer < 0)
		answer = geteuid() == 0 && unshare(CLONE_NEWNS) == 0 &&
			 mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) == 0;
	return answer;
}

static void assert_fails_with_hint(const char *message, const char *hint)
{
	struct error *err = NULL;
	enum file_replaced outcome = FILE_REPLACED;
	int rc = replace(in_folder("a"), "old", &outcome, &err);
	assert_int_equal(outcome, FILE_UNCHANGED);
	assert_string_equal(error_hint(err), hint);
	assert_error(rc, err, ERROR_IO, message);
	assert_file(in_folder("a"), "old");
	assert_false(path_exists(in_folder(".a.kube-rekey.tmp")));
}

static void test_bind_mounted_file(void **state)
{
	(void)state;
	if (!may_mount())
		skip();
	put_file(in_folder("outside"), "old");
	put_file(in_folder("a"), "");
	assert_int_equal(mount(in_folder("outside"), in_folder("a"), "none", MS_BIND, NULL), 0);
	_cleanup_free_ char *message =
		xasprintf("replacing %s: the file itself is a mount point (a bind mount of one file)", in_folder("a"));
	assert_fails_with_hint(message, "mount the directory that holds the file instead of the file alone");
	assert_int_equal(umount(in_folder("a")), 0);
}

static void test_read_only_directory(void **state)
{
	(void)state;
	if (!may_mount())
		skip();
	put_file(in_folder("a"), "old");
	assert_int_equal(mount(folder, folder, "none", MS_BIND, NULL), 0);
	assert_int_equal(mount("none", folder, "none", MS_BIND | MS_REMOUNT | MS_RDONLY, NULL), 0);
	_cleanup_free_ char *message = xasprintf("making %s: Read-only file system", in_folder(".a.kube-rekey.tmp"));
	assert_fails_with_hint(message, "the directory is read-only here: mount it writable, or run where it is");
	assert_int_equal(umount2(folder, MNT_DETACH), 0);
}

static void test_full_disk(void **state)
{
	(void)state;
	if (!may_mount())
		skip();
	assert_int_equal(mount("none", folder, "tmpfs", 0, "size=16k"), 0);
	put_file(in_folder("a"), "old");
	int fd = open(in_folder("filler"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	char page[4096] = "";
	while (write(fd, page, sizeof(page)) > 0)
		;
	close(fd);
	_cleanup_free_ char *message = xasprintf("writing %s: No space left on device", in_folder(".a.kube-rekey.tmp"));
	assert_fails_with_hint(message,
			       "the disk is full: free some space on this file system and run the same command again");
	assert_int_equal(umount(folder), 0);
}

static void test_acl_that_cannot_be_kept(void **state)
{
	(void)state;
	put_file(in_folder("a"), "old");
	acl_errno = EPERM;
	_cleanup_free_ char *inherited = xasprintf("taking the ACL that its directory gives by default off %s: "
						   "Operation not permitted",
						   in_folder(".a.kube-rekey.tmp"));
	assert_fails_with_hint(inherited, "this user may not do that: run as the owner of the file, usually root");
	give_acl(in_folder("a"), ACL);
	acl_errno = EINVAL;
	_cleanup_free_ char *kept = xasprintf("keeping the ACL of %s: Invalid argument", in_folder("a"));
	_cleanup_free_ char *hint = xasprintf("look at it by getfacl %s; if it need not stay: setfacl -b %s",
					      in_folder("a"), in_folder("a"));
	assert_fails_with_hint(kept, hint);
	assert_null(strstr(calls, "rename"));
}

static void test_file_system_without_acls(void **state)
{
	(void)state;
	put_file(in_folder("a"), "old");
	acl_errno = ENOTSUP;
	assert_replaced(in_folder("a"), "old");
	assert_replaced(in_folder("b"), NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		replace_test(test_order),
		replace_test(test_keeps_mode_owner_and_group),
		replace_test(test_keeps_the_label),
		replace_test(test_keeps_the_acl),
		replace_test(test_inherits_no_acl),
		replace_test(test_new_file_gets_the_mode),
		replace_test(test_symlink_stays_and_its_target_is_replaced),
		replace_test(test_dangling_symlink),
		replace_test(test_relative_path),
		replace_test(test_leftover_of_a_crash_is_removed_first),
		replace_test(test_conflicts),
		replace_test(test_old_file_beyond_the_cap),
		replace_test(test_not_a_file),
		replace_test(test_no_directory),
		replace_test(test_failed_directory_sync_is_its_own_outcome),
		replace_test(test_remove_leftover),
		replace_test(test_shred_aside),
		replace_test(test_back_from_aside),
		replace_test(test_bind_mounted_file),
		replace_test(test_read_only_directory),
		replace_test(test_full_disk),
		replace_test(test_acl_that_cannot_be_kept),
		replace_test(test_file_system_without_acls),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
