/* etcd's RangeResponse and friends, taken apart while they arrive.
 *
 * Format: etcd api/etcdserverpb/rpc.proto and mvccpb/kv.proto: RangeResponse {1 header {1 cluster_id, 2 member_id, 3 revision,
 * 4 raft_term}, 2 repeated KeyValue {1 key, 2 create_revision, 3 mod_revision, 4 version, 5 value, 6 lease}, 3 more, 4 count}. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/alloc.h"
#include "base/buf.h"
#include "kube-rekey/etcd_value.h"

#define ETCD_KEY_MAX 4096u             /* longer keys are named by their first bytes and counted unknown */
#define ETCD_VALUE_OPEN_MAX (8u << 20) /* largest value kept whole for opening; etcd's own request limit is 1.5 MiB */
#define ETCD_MEMBERS_MAX 64u           /* etcd's advice is at most 7 */
#define ETCD_URLS_MAX 32u              /* of one member */
#define ETCD_TEXT_MAX 4096u            /* a name, URL or version */

struct etcd_header {
	uint64_t cluster_id, member_id, revision, raft_term;
};

struct etcd_kv {
	const char *key;
	size_t key_len; /* valid during the callback only; NUL-terminated, may contain any byte */
	uint64_t mod_revision, create_revision;
	uint64_t value_size;
	/* What the value is under; unknown where values were not asked for (keys_only). */
	const struct etcd_value_info *info;
	/* The whole value where asked for (keep_values) and not above ETCD_VALUE_OPEN_MAX, else NULL, 0; wiped after the
	 * callback. */
	const uint8_t *value;
	size_t value_len;
};
typedef int (*etcd_kv_fn)(void *arg, const struct etcd_kv *kv); /* negative stops the parse */

struct etcd_range_reader; /* `arg` must outlive it */
struct etcd_range_reader *etcd_range_reader_new(etcd_kv_fn on_kv, void *arg, bool keep_values);
void etcd_range_reader_free(struct etcd_range_reader *reader); /* NULL is fine */
void etcd_range_reader_reset(struct etcd_range_reader *reader);
/* -ERROR_PROTOCOL for bytes that are no RangeResponse, or the callback's; every later call hands the same error back
 * until reset. Callbacks come before it is known that the page is whole: only etcd_range_finish says that. */
_must_check_ int etcd_range_feed(struct etcd_range_reader *reader, const uint8_t *bytes, size_t len);
/* -ERROR_PROTOCOL when cut off or without a header. */
_must_check_ int etcd_range_finish(struct etcd_range_reader *reader);
const struct etcd_header *etcd_range_header(const struct etcd_range_reader *reader);
bool etcd_range_more(const struct etcd_range_reader *reader);
uint64_t etcd_range_count(const struct etcd_range_reader *reader); /* of the whole range at that revision */

/* Requests. 0 or -ERROR_LIMIT. */
struct etcd_range_request {
	const void *key;
	size_t key_len;
	const void *range_end;
	size_t range_end_len;                        /* 0: the single key */
	uint64_t limit, revision;                    /* 0: no limit; the newest */
	uint64_t min_mod_revision, max_mod_revision; /* 0: not used */
	bool serializable, keys_only, count_only;
};
_must_check_ int etcd_range_request_write(struct buf *out, const struct etcd_range_request *request);
_must_check_ int etcd_compact_request_write(struct buf *out, uint64_t revision, bool physical); /* CompactionRequest */
/* The end of the range of all keys that start with `prefix`: last byte plus one; "\0" when there is none. `ret` has room for
 * len + 1. Returns its length. */
size_t etcd_prefix_end(const void *prefix, size_t len, uint8_t *ret);

/* Unary answers small enough to keep: MemberList, Status, Compact. Each 0; -ERROR_PROTOCOL for other bytes, one without a
 * header, or a NUL in a text; -ERROR_LIMIT past a cap above. `ret` is untouched on failure; its _free leaves it empty. */
struct etcd_member {
	uint64_t id;
	char *name;
	char **client_urls;
	size_t client_url_count;
	bool learner;
};
struct etcd_members {
	struct etcd_header header;
	struct etcd_member *items;
	size_t count;
};
/* MemberListResponse */
_must_check_ int etcd_members_parse(const uint8_t *bytes, size_t len, struct etcd_members *ret);
void etcd_members_free(struct etcd_members *members);
struct etcd_status {
	struct etcd_header header;
	char *version;
	uint64_t db_size, leader, raft_index, db_size_in_use, db_size_quota;
	bool learner;
};
/* StatusResponse */
_must_check_ int etcd_status_parse(const uint8_t *bytes, size_t len, struct etcd_status *ret);
void etcd_status_free(struct etcd_status *status);
/* The header of any answer, CompactionResponse for one. */
_must_check_ int etcd_header_parse(const uint8_t *bytes, size_t len, struct etcd_header *ret);
