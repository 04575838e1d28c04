/* Whether an etcd is the one behind an API server. A clone of it (restored from the same backup, with the same
 * cluster ID and
 * the same uids) is not, and neither is the right etcd under another prefix. */
#pragma once
#include "client/etcd/etcd.h"
#include "client/kube/object.h"

/* The API server's identity Leases, written each 10 s, are read through it past its cache; one of them must stand
 * in one of
 * the etcds with that very mod_revision. Then the API's own revision must be neither ahead of that etcd nor, read
 * once more,
 * behind it. Without a Lease the Namespace kube-system stands in for it. -ERROR_REFUSED naming the object that shows
 * otherwise; -ERROR_NETWORK and the like when one of the two does not answer. `ret_etcd` (may be NULL): which of
 * the etcds that
 * was. Waits. */
_must_check_ int same_etcd_check(struct kube *kube, struct etcd *const *etcds, size_t etcd_count,
				 const char *etcd_prefix, const struct kube_resources *resources, size_t *ret_etcd,
				 struct error **err);
/* "/registry" of "/registry/", "registry", "/registry"; "" of "/". New string. kube-apiserver does the same to
 * --etcd-prefix. */
char *etcd_prefix_clean(const char *etcd_prefix);
