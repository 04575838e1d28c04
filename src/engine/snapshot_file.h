/* An etcd snapshot as a file: the database, and behind it, from `etcdctl snapshot save`, SHA-256 over the database.
 *
 * Format: etcd client/v3/snapshot: such a file's size is 32 more than a multiple of 512; server/etcdserver/api/v3rpc
 * (Maintenance.Snapshot) sends the hash last. A member's own file (member/snap/db) has none. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "base/alloc.h"
#include "base/error.h"

#define SNAPSHOT_HASH_SIZE 32u

struct snapshot_file; /* opaque */
/* -ERROR_NOT_FOUND, -ERROR_IO; -ERROR_INPUT for an empty one and one whose size is no snapshot's. */
_must_check_ int snapshot_file_open(const char *path, struct snapshot_file **ret, struct error **err);
void snapshot_file_free(struct snapshot_file *file); /* NULL is fine */
void snapshot_file_freep(struct snapshot_file **file);
uint64_t snapshot_file_size(const struct snapshot_file *file); /* of the database alone */
bool snapshot_file_has_hash(const struct snapshot_file *file);
/* As bbolt_source wants it; `arg` is the file. -ERROR_IO; -ERROR_CONFLICT where it became shorter meanwhile. */
int snapshot_file_read(void *arg, uint64_t at, uint8_t *to, size_t len, struct error **err);

/* Begins to read the file from its beginning to its end, in a thread of its own whose one hand-over is snapshot_file_check: for
 * its hash, and so that pages in the order of their keys, which is none on the disk, are in memory when they are wanted. */
void snapshot_file_start(struct snapshot_file *file);
/* Waits for the hash: -ERROR_INPUT where it is not the one in the file, else as reading. Without one it ends the reading, and
 * is 0. Once, after start. */
_must_check_ int snapshot_file_check(struct snapshot_file *file, struct error **err);
