/* What the files of this folder share. */
#pragma once
#include "base/text.h"
#include "client/etcd/etcd.h"

#define ETCD_CONNECTIONS 4 /* to each endpoint: pages of a census beside probes of their own */
#define ETCD_STATUS_TIMEOUT (5 * NS_PER_S)
#define ETCD_RANGE_TIMEOUT (60 * NS_PER_S)
#define ETCD_ANSWER_MAX (1u << 20)                 /* of a small answer: Status, MemberList, Compact */
#define ETCD_RANGE_BYTES_MAX ((uint64_t)INT32_MAX) /* what etcd itself sends at most in one message; it is never kept */

/* One address and the client that asks it. Given by the user, or a member's own client URL. */
struct etcd_endpoint {
	char *url;
	bool given;
	struct http_client *http;
	uint64_t member_id;        /* who answered last; 0: nobody yet */
	bool balanced;             /* different members have answered from here */
	bool answered;             /* in the last connect */
	struct etcd_status status; /* of its last answer */
	uint64_t status_at;        /* when that was asked for */
	char *why;                 /* it did not answer; NULL */
};

struct etcd_known_member {
	struct etcd_member_info info; /* its strings are these, and the endpoint's URL */
	char *name, *why;
	struct etcd_endpoint *endpoint; /* by which it is asked; NULL: no way known */
};

struct etcd {
	struct loop *loop;
	struct secret *ca_pem, *cert_pem, *key_pem;
	char *label;
	struct etcd_endpoint **endpoints; /* the given ones first; they stay where they are while the etcd lives */
	size_t endpoint_count;
	struct etcd_known_member *members;
	size_t member_count;
	uint64_t cluster_id; /* 0: not connected yet */
	bool membership_certain;
};

/* The endpoint of this address, made where there is none. -ERROR_INPUT. */
_must_check_ int etcd_endpoint_get(struct etcd *etcd, const char *address, bool given, struct etcd_endpoint **ret,
				   struct error **err);
void etcd_forget_members(struct etcd *etcd);
/* Remembers who answered at `endpoint`, and that it was somebody else before. */
void etcd_endpoint_saw(struct etcd_endpoint *endpoint, uint64_t member_id);
/* -ERROR_REFUSED when the answer is another cluster's. */
_must_check_ int etcd_check_header(const struct etcd *etcd, const struct etcd_endpoint *endpoint,
				   const struct etcd_header *header, struct error **err);
/* The ways to ask a member (one at most), or for -1 any of them: those that answered last time first. New array,
 * which may be empty. */
struct etcd_endpoint **etcd_ways(const struct etcd *etcd, int member, size_t *ret_count);
/* Whether asking elsewhere may help. */
bool etcd_may_pass(int rc);
/* One small call over the ways to `member`, until one answers. Waits. *ret_endpoint: who did. */
_must_check_ int etcd_ask(struct etcd *etcd, int member, const char *method, const struct buf *message,
			  uint64_t timeout, struct buf *ret, struct etcd_endpoint **ret_endpoint, struct error **err);
