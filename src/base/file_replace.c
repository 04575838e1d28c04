/* file_replace of file.h: the new content is whole and durable before the name points to it. */
#include "base/file.h"
#include "base/file_internal.h"
#include "base/text.h"
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <sys/xattr.h>
#include <unistd.h>

#define ACL "system.posix_acl_access"
#define LABEL "security.selinux"
#define XATTR_MAX 65536 /* the kernel's own cap */

struct place {
	char *path; /* without symlinks */
	char *name; /* its last part */
	char *temporary_name;
	char *temporary_path; /* for the words */
	int dir;
	int old; /* -1: nothing there */
	struct stat old_info;
};
#define PLACE_INIT ((struct place){.dir = -1, .old = -1})

static void place_free(struct place *place)
{
	free(place->path);
	free(place->name);
	free(place->temporary_name);
	free(place->temporary_path);
	cleanup_close(&place->dir);
	cleanup_close(&place->old);
}
#define _cleanup_place_ _cleanup_(place_free) struct place

/* The absolute path without symlinks; the file itself need not exist, its directory must. */
static int resolve(const char *path, char **ret, struct error **err)
{
	char real[PATH_MAX];
	struct stat info;
	if (realpath(path, real)) {
		*ret = xstrdup(real);
		return 0;
	}
	if (errno != ENOENT)
		return file_error(err, errno, "finding %s", path);
	if (lstat(path, &info) == 0)
		return error_set(err, ERROR_IO, "finding %s: a symbolic link to a file that does not exist", path);
	_cleanup_free_ char *folder = xstrdup(path), *file = xstrdup(path);
	if (!realpath(dirname(folder), real))
		return file_error(err, errno, "finding the directory of %s", path);
	*ret = xasprintf("%s/%s", text_equal(real, "/") ? "" : real, basename(file));
	return 0;
}

static int place_find(struct place *place, const char *path, struct error **err)
{
	int rc = resolve(path, &place->path, err);
	if (rc < 0)
		return rc;
	place->name = xstrdup(strrchr(place->path, '/') + 1);
	place->temporary_name = xasprintf(".%s.kube-rekey.tmp", place->name);
	place->temporary_path = xasprintf("%.*s%s", (int)(strlen(place->path) - strlen(place->name)), place->path,
					  place->temporary_name);
	return file_open_directory_of(place->path, &place->dir, err);
}

/* Opened once before writing: its attributes are taken from here. */
static int open_old(struct place *place, struct error **err)
{
	place->old = openat(place->dir, place->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (place->old < 0)
		return errno == ENOENT ? 0 : file_error(err, errno, "opening %s", place->path);
	if (fstat(place->old, &place->old_info) != 0)
		return file_error(err, errno, "opening %s", place->path);
	if (!S_ISREG(place->old_info.st_mode))
		return error_set(err, ERROR_IO, "replacing %s: not a regular file", place->path);
	return 0;
}

static int conflict(const struct place *place, const char *what, struct error **err)
{
	int rc = error_set(err, ERROR_CONFLICT, "replacing %s: %s", place->path, what);
	error_set_hint(err, "somebody else changed it; look at it and run the same command again");
	return rc;
}

static int hash_of(int fd, const char *path, char **ret, struct error **err)
{
	_cleanup_secret_ content = NULL;
	int rc = file_read_fd(fd, path, FILE_REPLACE_MAX, &content, err);
	if (rc == 0)
		*ret = text_sha256_tagged(secret_data(content), secret_len(content));
	return rc;
}

/* Looks by name again, since somebody may have replaced it after open_old. */
static int compare_old(const struct place *place, const char *expect_sha256, struct error **err)
{
	_cleanup_close_ fd = openat(place->dir, place->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 && errno != ENOENT)
		return file_error(err, errno, "opening %s", place->path);
	if (fd < 0)
		return expect_sha256 ? conflict(place, "it is gone", err) : 0;
	if (!expect_sha256)
		return conflict(place, "it exists already", err);
	_cleanup_free_ char *hash = NULL;
	int rc = hash_of(fd, place->path, &hash, err);
	if (rc < 0)
		return rc;
	return text_equal(hash, expect_sha256) ? 0 : conflict(place, "its content is not what was read before", err);
}

/* 1, or 0 where there is nothing to keep: `from` has none, or the file system knows none. */
static int copy_xattr(int from, int to, const char *attribute, const char *word, const char *path, struct error **err)
{
	_cleanup_free_ char *value = xcalloc(1, XATTR_MAX);
	ssize_t len = fgetxattr(from, attribute, value, XATTR_MAX);
	if (len < 0)
		return errno == ENODATA || errno == ENOTSUP
			       ? 0
			       : file_error(err, errno, "reading the %s of %s", word, path);
	if (fsetxattr(to, attribute, value, (size_t)len, 0) != 0)
		return file_error(err, errno, "keeping the %s of %s", word, path);
	return 1;
}

/* Without one of the old file none stays: the mask of what the directory gives by default is closed by the 0600 of
 * open(), and would be opened by a chmod to more. */
static int copy_acl(const struct place *place, int to, struct error **err)
{
	int rc = place->old < 0 ? 0 : copy_xattr(place->old, to, ACL, "ACL", place->path, err);
	if (rc == 0 && fremovexattr(to, ACL) != 0 && errno != ENODATA && errno != ENOTSUP)
		return file_error(err, errno, "taking the ACL that its directory gives by default off %s",
				  place->temporary_path);
	if (rc < 0 && err && !error_hint(*err))
		error_set_hint(err, "look at it by getfacl %s; if it need not stay: setfacl -b %s", place->path,
			       place->path);
	return rc < 0 ? rc : 0;
}

/* Who may read it, while there is nothing to read. */
static int copy_readers(const struct place *place, int to, struct error **err)
{
	if (place->old >= 0 && fchown(to, place->old_info.st_uid, place->old_info.st_gid) != 0)
		return file_error(err, errno, "keeping the owner of %s", place->path);
	return copy_acl(place, to, err);
}

/* The mode comes last: chown and writing take set-id bits away, and an ACL its mask into the group's bits. */
static int copy_mode_and_label(const struct place *place, int to, mode_t mode, struct error **err)
{
	if (place->old < 0)
		return fchmod(to, mode) == 0 ? 0 : file_error(err, errno, "setting the mode of %s", place->path);
	if (fchmod(to, place->old_info.st_mode & 07777) != 0)
		return file_error(err, errno, "keeping the mode of %s", place->path);
	int rc = copy_xattr(place->old, to, LABEL, "label", place->path, err);
	return rc < 0 ? rc : 0;
}

static int write_temporary(const struct place *place, const struct secret *content, mode_t mode, struct error **err)
{
	_cleanup_close_ fd =
		openat(place->dir, place->temporary_name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return file_error(err, errno, "making %s", place->temporary_path);
	int rc = copy_readers(place, fd, err);
	if (rc == 0)
		rc = file_write_fd(fd, secret_data(content), secret_len(content), place->temporary_path, err);
	if (rc == 0)
		rc = copy_mode_and_label(place, fd, mode, err);
	if (rc == 0)
		rc = file_sync(fd, place->temporary_path, err);
	return rc;
}

static int rename_over(const struct place *place, struct error **err)
{
	if (renameat(place->dir, place->temporary_name, place->dir, place->name) == 0)
		return 0;
	if (errno != EBUSY)
		return file_error(err, errno, "replacing %s", place->path);
	int rc = error_set(err, ERROR_IO, "replacing %s: the file itself is a mount point (a bind mount of one file)",
			   place->path);
	error_set_hint(err, "mount the directory that holds the file instead of the file alone");
	return rc;
}

/* Everything up to the rename: what fails here leaves the old file as it was. */
static int swap(struct place *place, const struct secret *content, const char *expect_sha256, mode_t mode,
		struct error **err)
{
	int rc = open_old(place, err);
	if (rc == 0)
		rc = file_shred_at(place->dir, place->temporary_name, place->temporary_path, err);
	if (rc < 0)
		return rc;
	rc = write_temporary(place, content, mode, err);
	if (rc == 0)
		rc = compare_old(place, expect_sha256, err);
	if (rc == 0)
		rc = rename_over(place, err);
	/* The first error is the one to tell; a temporary file that cannot be removed is found by the next call. */
	if (rc < 0) {
		int ignored = file_shred_at(place->dir, place->temporary_name, place->temporary_path, NULL);
		(void)ignored;
	}
	return rc;
}

int file_replace(const char *path, const struct secret *content, const char *expect_sha256, mode_t mode,
		 enum file_replaced *ret, struct error **err)
{
	_cleanup_place_ place = PLACE_INIT;
	*ret = FILE_UNCHANGED;
	int rc = place_find(&place, path, err);
	if (rc == 0)
		rc = swap(&place, content, expect_sha256, mode, err);
	if (rc < 0)
		return rc;
	*ret = FILE_REPLACED_NOT_DURABLE;
	rc = file_sync(place.dir, place.path, err);
	if (rc < 0)
		return error_wrap(err, rc, "replaced, but it may come back after a power loss");
	*ret = FILE_REPLACED;
	return 0;
}

int file_shred_aside(const char *path, struct error **err)
{
	_cleanup_place_ place = PLACE_INIT;
	struct stat info;
	/* place_find() would follow it. */
	if (lstat(path, &info) == 0 && !S_ISREG(info.st_mode))
		return error_set(err, ERROR_IO, "removing %s: not a regular file", path);
	int rc = place_find(&place, path, err);
	if (rc < 0)
		return error_forgive(err, rc, ERROR_NOT_FOUND);
	rc = file_shred_at(place.dir, place.temporary_name, place.temporary_path, err);
	if (rc < 0)
		return rc;
	if (renameat(place.dir, place.name, place.dir, place.temporary_name) != 0)
		return errno == ENOENT ? 0 : file_error(err, errno, "removing %s", path);
	/* No zeros under its name after a power failure either. */
	rc = file_sync(place.dir, path, err);
	return rc == 0 ? file_shred_at(place.dir, place.temporary_name, place.temporary_path, err) : rc;
}

/* Never by a link: what is left of one would be wiped with the file itself. -1 and errno. */
static int move_without_replacing(const struct place *place)
{
	int rc = renameat2(place->dir, place->temporary_name, place->dir, place->name, RENAME_NOREPLACE);
	if (rc == 0 || errno != EINVAL)
		return rc;
	/* Not every file system can do that; nobody else writes beside our lock. */
	if (faccessat(place->dir, place->name, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		errno = EEXIST;
	else if (errno == ENOENT)
		return renameat(place->dir, place->temporary_name, place->dir, place->name);
	return -1;
}

int file_back_from_aside(const char *path, const char *sha256, struct error **err)
{
	_cleanup_place_ place = PLACE_INIT;
	int rc = place_find(&place, path, err);
	if (rc < 0)
		return rc;
	_cleanup_close_ fd = openat(place.dir, place.temporary_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return file_error(err, errno, "opening %s", place.temporary_path);
	_cleanup_free_ char *hash = NULL;
	rc = hash_of(fd, place.temporary_path, &hash, err);
	if (rc < 0)
		return rc;
	if (!text_equal(hash, sha256))
		return error_set(err, ERROR_CONFLICT, "%s: other bytes than were moved there", place.temporary_path);
	if (move_without_replacing(&place) != 0)
		return errno == EEXIST ? conflict(&place, "it exists already", err)
				       : file_error(err, errno, "moving %s", place.temporary_path);
	return file_sync(place.dir, place.path, err);
}

int file_remove_leftover(const char *path, struct error **err)
{
	_cleanup_place_ place = PLACE_INIT;
	int rc = place_find(&place, path, err);
	if (rc < 0)
		return error_forgive(err, rc, ERROR_NOT_FOUND);
	return file_shred_at(place.dir, place.temporary_name, place.temporary_path, err);
}
