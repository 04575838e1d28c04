/* One etcd cluster: its members, ranges at a revision, compaction. Read-only but for etcd_compact.
 * Protocol: etcd v3 gRPC (etcdserverpb.KV/Range, KV/Compact, Cluster/MemberList, Maintenance/Status). */
#pragma once
#include "format/etcd_range.h"
#include "net/grpc.h"

struct etcd;
struct strings;

struct etcd_options {
	/* "https://10.0.0.1:2379", also without a scheme: https with a cacert, else http. */
	const char *const *endpoints;
	size_t endpoint_count;
	const struct secret *ca_pem, *cert_pem, *key_pem; /* NULL: plain, or the system's CA */
};
/* Opens nothing yet. -ERROR_INPUT for a broken URL or PEM. */
_must_check_ int etcd_new(struct loop *loop, const struct etcd_options *options, struct etcd **ret, struct error **err);
void etcd_free(struct etcd *etcd);
void etcd_freep(struct etcd **etcd);

/* Asks every endpoint for its Status and one of them for the member list, and gives each member a way to be asked
 * alone: the given endpoint that answered as this member, else its own client URLs. Waits (top of a command).
 * Repeating it is legal and cheap: it is how a changed membership is seen. -ERROR_NETWORK when no endpoint answers
 * (-ERROR_AUTH when all refuse us); -ERROR_REFUSED when endpoints belong to different clusters (names both). An
 * endpoint that does not answer is no error here: its member shows it. */
_must_check_ int etcd_connect(struct etcd *etcd, struct error **err);
/* Whether the last connect had the member list by a linearizable read. Else no quorum answered, the list is what one
 * member remembers, and a member added since may be missing. */
bool etcd_membership_certain(const struct etcd *etcd);
uint64_t etcd_cluster_id(const struct etcd *etcd);
size_t etcd_member_count(const struct etcd *etcd);
struct etcd_member_info {
	uint64_t id;
	const char *name; /* or its first client URL while it has no name */
	const char *url;  /* by which it is asked; NULL: no way known */
	bool learner;
	bool answered;   /* in the last connect, and by this very address */
	const char *why; /* why not; NULL */
	uint64_t revision, raft_term, db_size, db_size_in_use, db_size_quota; /* of its last Status; 0 unknown */
	uint64_t told_at;  /* monotonic ns: when that was asked for; 0: none was answered */
	uint64_t db_grows; /* bytes a second, between that and the one before */
};
/* Asks each member for its Status once more, all at once over the connections that there are, at most `timeout` (ns) long.
 * What the members' info has of it is news where told_at is; who they are, and what `answered` says, stays. Waits.
 * -ERROR_INTERRUPTED alone. */
_must_check_ int etcd_ask_statuses(struct etcd *etcd, uint64_t timeout, struct error **err);
/* Owned by the etcd, valid until the next connect. */
const struct etcd_member_info *etcd_member(const struct etcd *etcd, size_t index);
/* Whether members can only be reached through an address that is not one member's (answers of different members
 * came from it). */
bool etcd_behind_balancer(const struct etcd *etcd);
/* Adds the given addresses that did not answer in the last connect and that no member is asked by, each with what came
 * instead. */
void etcd_silent_endpoints(const struct etcd *etcd, struct strings *ret);
const char *etcd_label(const struct etcd *etcd); /* endpoints joined by ",": for messages */

struct etcd_range_result {
	/* 0 only when the answer was whole; kvs were handed out before that is known. -ERROR_EXPIRED: that
	 * revision is compacted; -ERROR_REFUSED: another cluster answered; -ERROR_PROTOCOL: another member than
	 * the one asked, or no range; -ERROR_NETWORK, -ERROR_BUSY, -ERROR_AUTH, ...; or on_kv's. */
	int rc;
	struct error *error;       /* owned by the call, unless on_done takes it and leaves NULL */
	struct etcd_header header; /* of an answer that broke off too; the asked cluster's once a kv was handed out */
	bool more;
	uint64_t count; /* keys from the first one asked for to the end of the range, whatever the limit */
};
struct etcd_range_call;
struct etcd_range_options {
	struct etcd_range_request request; /* copied with its keys */
	int member;       /* index, or -1: any that answers, another one when it fails before the first kv */
	bool keep_values; /* values whole, for opening */
	uint64_t timeout; /* ns; 0: 60 s */
	etcd_kv_fn on_kv; /* may be NULL */
	void (*on_done)(void *arg, struct etcd_range_result *result); /* once, from the loop */
	void *arg;
};
/* Linearizable unless the request says otherwise. */
struct etcd_range_call *etcd_range_start(struct etcd *etcd, const struct etcd_range_options *options);
/* From call-backs of the loop, not from on_kv (a negative answer of that stops it). NULL is fine. */
void etcd_range_cancel(struct etcd_range_call *call);
/* Waits. `ret` may be NULL; on errors only its header may be filled. on_done of options is ignored. */
_must_check_ int etcd_range_fetch(struct etcd *etcd, const struct etcd_range_options *options,
				  struct etcd_range_result *ret, struct error **err);
/* One member's Status, waiting. */
_must_check_ int etcd_status_fetch(struct etcd *etcd, size_t member, uint64_t timeout, struct etcd_status *ret,
				   struct error **err);
/* Compacts up to `revision` (physical: false). Already compacted further is success. */
_must_check_ int etcd_compact(struct etcd *etcd, uint64_t revision, struct error **err);
/* Whether all history before `revision` is compacted: a Range at revision - 1 answers "compacted". Asked of the
 * cluster of the last connect only: -ERROR_REFUSED else. */
_must_check_ int etcd_is_compacted(struct etcd *etcd, uint64_t revision, bool *ret, struct error **err);
