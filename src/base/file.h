/* Files: bounded reads, and replacement that either happened whole or not at all. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>
#include "base/alloc.h"
#include "base/error.h"
#include "base/secret.h"

/* Reads a whole regular file of at most `cap` bytes (O_CLOEXEC, follows symlinks). -ERROR_NOT_FOUND, -ERROR_IO,
 * -ERROR_LIMIT. */
_must_check_ int file_read(const char *path, size_t cap, struct secret **ret, struct error **err);
/* As file_read, for bytes that only few may know: -ERROR_REFUSED, with what to do, where the file belongs to neither root
 * nor this user, or where group or others may read or write it. */
_must_check_ int file_read_private(const char *path, size_t cap, struct secret **ret, struct error **err);

/* The outcome of file_replace. */
enum file_replaced {
	FILE_UNCHANGED,            /* an error is returned; the old content stands, the temporary file is gone */
	FILE_REPLACED,             /* the new content is durable */
	FILE_REPLACED_NOT_DURABLE, /* renamed, but syncing the directory failed: an error is returned as well */
};
#define FILE_REPLACE_MAX (16u << 20)
/* Replaces `path` (a symlink is resolved first and its target replaced) by `content`: temporary dot-file
 * ".<name>.kube-rekey.tmp" in the same directory (fixed name, O_EXCL; a left-over of a crash is removed first), owner,
 * group, mode, POSIX ACL and SELinux label (if any) of the old file, fsync, compare the old file's SHA-256 with
 * `expect_sha256` ("sha256:<hex>"), rename, fsync of the directory. No ACL comes from the directory.
 * expect_sha256 NULL expects nothing at path: the new file gets mode `mode`, and no ACL.
 * Errors: -ERROR_CONFLICT when what stands there is not what was expected (another hash, nothing, or something where
 * nothing was: somebody changed it), -ERROR_LIMIT when the old file is larger than FILE_REPLACE_MAX, -ERROR_NOT_FOUND
 * without its directory, -ERROR_IO otherwise; message and hint name a bind-mounted file (EBUSY on rename), a read-only
 * directory and a full disk in words. *ret is always set. Two at once on one path need file_lock: between compare and
 * rename there is no other guard. */
_must_check_ int file_replace(const char *path, const struct secret *content, const char *expect_sha256, mode_t mode,
			      enum file_replaced *ret, struct error **err);
/* Removes a left-over temporary file of file_replace for `path`, wiping it first. Nothing there is fine. */
_must_check_ int file_remove_leftover(const char *path, struct error **err);
/* All that are in a directory, whatever they were for. */
_must_check_ int file_remove_leftovers(const char *directory, struct error **err);
/* Overwrites the file's bytes with zeros, syncs, unlinks, syncs the directory. Nothing there is fine; a symlink is
 * refused. Where overwriting fails the file is unlinked all the same and the error says so. */
_must_check_ int file_shred(const char *path, struct error **err);
/* As file_shred, of a file that others read: it leaves its name first, for that of file_replace's temporary file, so that nobody
 * opens zeros; what a crash leaves there, the next call or file_remove_leftover() removes. */
_must_check_ int file_shred_aside(const char *path, struct error **err);
/* Of one that came no further than that: it gets its name back, where its bytes have this hash and nothing has taken the name.
 * -ERROR_CONFLICT else, -ERROR_NOT_FOUND without one, -ERROR_IO. */
_must_check_ int file_back_from_aside(const char *path, const char *sha256, struct error **err);
/* Whether a file's content is what a crash in the middle of file_shred leaves: zeros. */
bool file_is_half_shredded(const struct secret *content);
/* Unlinks a file without secrets and syncs the directory. Nothing there is fine. */
_must_check_ int file_remove(const char *path, struct error **err);
/* "sha256:<hex>" of the file's present bytes. */
_must_check_ int file_sha256(const char *path, size_t cap, char **ret, struct error **err);
/* mkdir -p with 0700 for what is made. */
_must_check_ int file_make_directory(const char *path, struct error **err);
/* An exclusive lock on `path` (created 0600, O_CLOEXEC, flock LOCK_EX | LOCK_NB): fd, or -ERROR_BUSY when held. */
_must_check_ int file_lock(const char *path, int *ret_fd, struct error **err);
