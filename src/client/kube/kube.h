/* One API server, spoken to through one http_client: errors in its own words, discovery, versions, metrics. */
#pragma once
#include "base/text.h"
#include "format/apiserver_metrics.h"
#include "format/kube_list.h"
#include "net/http.h"

struct kube {
	struct loop *loop;
	struct http_client *http; /* owned by whoever made it */
	const char *name;         /* for messages: "cp-1" or the URL */
};

/* Turns an answer that is no success into an error: the Status' reason and message (made printable, at most 512
 * bytes), or the plain text of a 429 or proxy. 401, 403 -> ERROR_AUTH; 404 -> NOT_FOUND; 409 -> CONFLICT; 410 ->
 * EXPIRED; 429, 5xx -> BUSY; other 4xx -> ERROR_INPUT; a 2xx with a wrong content type -> ERROR_PROTOCOL. `doing`
 * is put before. Returns the code. */
int kube_error(const char *doing, unsigned status, const char *content_type, const void *body, size_t len,
	       struct error **err);
/* Whether a 429 says `storage is (re)initializing`: an unreadable value, not load (kubernetes-facts.md section 9). */
bool kube_is_reinitializing(unsigned status, const void *body, size_t len);

struct kube_resource {
	char *group, *version, *plural, *kind, *singular;
	char *api_version; /* "v1", "apps/v1": the preferred version that has it */
	char *resource;    /* "secrets", "widgets.example.com": as an EncryptionConfiguration names it */
	bool namespaced, can_list, can_get, can_update, can_patch;
	bool custom;     /* served for a CustomResourceDefinition: no protobuf, rewritten by patch */
	bool aggregated; /* served by another API server (APIService with a service): its storage is not ours */
	char **short_names;
	size_t short_name_count;
};
struct kube_resources {
	struct kube_resource *items;
	size_t count;
	bool marked; /* `custom` and `aggregated` are known; else guessed, for APIServices or definitions may not be read */
};
/* All resources that this server serves (no subresources), preferred versions; aggregated groups are marked, and
 * one that is down is named in `ret_missing` ("group/version": resources of it unknown), not an error. Who may not
 * list CustomResourceDefinitions gets every group that is not Kubernetes' own as custom. Waits. */
_must_check_ int kube_discover(struct kube *kube, struct kube_resources *ret, struct strings *ret_missing,
			       struct error **err);
void kube_resources_free(struct kube_resources *resources);
/* As a person names it: "secrets", "secret", "widgets.example.com", "cm"; a bare name is the core group's. NULL:
 * none. An EncryptionConfiguration knows but the first form: compare `resource` there. */
const struct kube_resource *kube_resources_find(const struct kube_resources *resources, const char *name);
/* "/api/v1/namespaces/NS/secrets/NAME", "/apis/apps/v1/deployments"; escaped; namespace_ NULL: all, name NULL: the
 * collection. New string. */
char *kube_path(const struct kube_resource *resource, const char *namespace_, const char *name);

_must_check_ int kube_version(struct kube *kube, char **ret_git_version, struct error **err); /* "v1.36.3" */
/* /readyz: 0, or why it is not ready to serve, in its own words. */
_must_check_ int kube_ready(struct kube *kube, struct error **err);
/* /metrics. `ret_reader` (may be NULL) gets the reader for more questions. */
_must_check_ int kube_scrape(struct kube *kube, struct apiserver_metrics *ret, struct prometheus_reader **ret_reader,
			     struct error **err);
_must_check_ int kube_scrape_within(struct kube *kube, uint64_t timeout, struct apiserver_metrics *ret,
				    struct error **err);

struct kube_identity {
	char *lease_name, *hostname, *id_hash, *uid, *peer_address; /* "" where absent; uid: the Lease's */
	char *holder;                                               /* holderIdentity: another one for each process */
	uint64_t renewed_wall, resource_version;
};
struct kube_identities {
	struct kube_identity *items;
	size_t count;
};
/* The identity Leases of kube-system (label apiserver.kubernetes.io/identity=kube-apiserver), a list without a
 * resourceVersion: as new as etcd, but since 1.31 perhaps from the cache. For a proof that needs etcd itself,
 * kube_get_metadata of one. */
_must_check_ int kube_identities_fetch(struct kube *kube, struct kube_identities *ret, struct error **err);
/* The same without waiting, cancelled by kube_custom_cancel: on_done once, from the loop, with the list as it came. */
struct cJSON;
struct kube_json_call *kube_identities_start(struct kube *kube, uint64_t timeout,
					     void (*on_done)(void *arg, int rc, unsigned status, struct cJSON **list,
							     struct error **error),
					     void *arg);
/* Reads that list. NULL, or what is wrong with it; `ret` is empty then. Pure. */
const char *kube_identities_read(const struct cJSON *list, struct kube_identities *ret);
/* The newest renewTime of all, by their servers' clocks; 0: none. */
uint64_t kube_identities_newest(const struct kube_identities *identities);
void kube_identities_free(struct kube_identities *identities);
/* What its server is called everywhere: the host's name, else the Lease's. Lent. */
const char *kube_identity_name(const struct kube_identity *identity);
/* host:port of each ready address in EndpointSlice default/kubernetes. -ERROR_NOT_FOUND where there is none. */
_must_check_ int kube_endpoints_fetch(struct kube *kube, struct strings *ret, struct error **err);
/* The same as URLs, each once. */
_must_check_ int kube_endpoint_urls_fetch(struct kube *kube, struct strings *ret, struct error **err);
/* Whether we may: SelfSubjectAccessReview. */
_must_check_ int kube_may(struct kube *kube, const char *verb, const char *group, const char *resource,
			  const char *namespace_, bool *ret, struct error **err);
