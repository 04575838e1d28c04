#include "engine/same_etcd.h"

#include <inttypes.h>

#include "base/clock.h"
#include "engine/etcd_probe.h"

#define TRIES 6                 /* a Lease may be renewed between the two reads, not six times in a row */
#define PAUSE (20 * NS_PER_MS)  /* doubled each time */
#define LEASES_MAX 8            /* tried; any one of them proves it */
#define FOREIGN_PREFIXES_MAX 64 /* looked at to find out where the Lease stands instead */

char *etcd_prefix_clean(const char *etcd_prefix)
{
	while (*etcd_prefix == '/')
		etcd_prefix++;
	size_t len = strlen(etcd_prefix);
	while (len > 0 && etcd_prefix[len - 1] == '/')
		len--;
	return len == 0 ? xstrdup("") : xasprintf("/%.*s", (int)len, etcd_prefix);
}

/* What is looked for, and what was seen of it last. */
struct witness {
	struct kube *kube;
	struct etcd *const *etcds;
	size_t etcd_count;
	const char *prefix; /* clean */
	const struct kube_resource *resource;
	const char *namespace_, *name;        /* namespace_ NULL: cluster-scoped */
	char *path;                           /* of the key behind the prefix: "/leases/kube-system/..." */
	char *words;                          /* "lease kube-system/..." */
	uint64_t api_revision, etcd_revision; /* of the object; etcd's 0: not there */
	size_t etcd;                          /* where it was found */
};

static void witness_clear(struct witness *witness)
{
	free(witness->path);
	free(witness->words);
}

static int look(struct witness *witness, bool *ret_same, struct error **err)
{
	int rc = kube_get_metadata(witness->kube, witness->resource, witness->namespace_, witness->name, NULL,
				   &witness->api_revision, err);
	_cleanup_free_ char *key = xasprintf("%s%s", witness->prefix, witness->path);
	witness->etcd_revision = 0;
	*ret_same = false;
	for (size_t i = 0; rc == 0 && i < witness->etcd_count && !*ret_same; i++) {
		struct etcd_probe probe;
		rc = etcd_probe_key(witness->etcds[i], key, &probe, err);
		if (rc < 0 || !probe.found)
			continue;
		witness->etcd_revision = probe.mod_revision;
		witness->etcd = i;
		*ret_same = probe.mod_revision == witness->api_revision;
	}
	return rc;
}

/* Another API server's etcd often has the very same object under another prefix: then say so. */
static int find_prefix(const struct witness *witness, char **ret, struct error **err)
{
	_cleanup_free_ char *start = xstrdup("");
	for (int i = 0; i < FOREIGN_PREFIXES_MAX; i++) {
		_cleanup_free_ char *key = NULL, *other = NULL, *candidate = NULL;
		struct etcd_probe probe;
		int rc = etcd_probe_first(witness->etcds[0], start, "", &key, err);
		if (rc < 0 || !key)
			return rc;
		const char *slash = strchr(key[0] == '/' ? key + 1 : key, '/');
		size_t len = slash ? (size_t)(slash - key) : strlen(key);
		other = xstrndup(key, len);
		candidate = xasprintf("%s%s", other, witness->path);
		rc = etcd_probe_key(witness->etcds[0], candidate, &probe, err);
		if (rc < 0)
			return rc;
		if (probe.found && probe.mod_revision == witness->api_revision) {
			*ret = steal(other);
			return 0;
		}
		free(start);
		/* Behind everything that begins like this: '0' follows '/'. A key without a slash: behind itself. */
		start = slash ? xasprintf("%s0", other) : xasprintf("%s\001", key);
	}
	return 0;
}

static char *all_labels(const struct witness *witness)
{
	_cleanup_strings_ labels = {0};
	for (size_t i = 0; i < witness->etcd_count; i++)
		strings_add(&labels, etcd_label(witness->etcds[i]));
	return strings_join(&labels, " and ");
}

static int refuse(const struct witness *witness, struct error **err)
{
	_cleanup_free_ char *labels = NULL, *prefix = NULL;
	if (witness->etcd_revision > 0)
		return error_set(err, ERROR_REFUSED,
				 "%s is not the etcd behind %s: %s has resourceVersion %" PRIu64 " there and %" PRIu64
				 " here",
				 etcd_label(witness->etcds[witness->etcd]), witness->kube->name, witness->words,
				 witness->api_revision, witness->etcd_revision);
	labels = all_labels(witness);
	int rc = find_prefix(witness, &prefix, NULL);
	if (rc == 0 && prefix) {
		rc = error_set(err, ERROR_REFUSED, "%s stands in %s under %s/, not under %s/", witness->words, labels,
			       prefix, witness->prefix);
		error_set_hint(err, "--etcd-prefix %s", prefix);
		return rc;
	}
	rc = error_set(err, ERROR_REFUSED,
		       "%s is not the etcd behind %s: %s has resourceVersion %" PRIu64
		       " there and does not exist here under %s/",
		       labels, witness->kube->name, witness->words, witness->api_revision, witness->prefix);
	error_set_hint(err, "give the --etcd-servers of the kube-apiserver as --etcd-endpoints, and its --etcd-prefix");
	return rc;
}

static int compare_by(const struct witness *witness, const struct kube_resource *resource, struct error **err)
{
	struct api_first before, after;
	struct etcd_probe probe;
	struct etcd *etcd = witness->etcds[witness->etcd];
	int rc = api_probe_first(witness->kube, resource, 0, &before, err);
	if (rc == 0)
		rc = etcd_probe_key(etcd, "compact_rev_key", &probe, err);
	if (rc == 0)
		rc = api_probe_first(witness->kube, resource, 0, &after, err);
	if (rc < 0)
		return rc;
	if (before.revision <= probe.revision && probe.revision <= after.revision)
		return 0;
	return error_set(err, ERROR_REFUSED,
			 "%s is not the etcd behind %s: the API server is at revision %" PRIu64
			 ", this etcd at %" PRIu64,
			 etcd_label(etcd), witness->kube->name, after.revision, probe.revision);
}

/* A clone that stands still has the same objects until one of them is written again: then the revisions differ. */
static int compare_revisions(const struct witness *witness, const struct kube_resources *resources, struct error **err)
{
	_cleanup_error_ failed = NULL;
	const struct kube_resource *other = kube_resources_find(resources, "namespaces");
	int rc = compare_by(witness, witness->resource, &failed);
	/* One unreadable value breaks its whole list. */
	if (rc == -ERROR_BUSY && other && other != witness->resource)
		return compare_by(witness, other, err);
	if (err)
		*err = steal(failed);
	return rc;
}

/* 1: proved; 0: the object is gone, ask another. */
static int prove(struct witness *witness, const struct kube_resources *resources, struct error **err)
{
	uint64_t pause = PAUSE;
	for (int attempt = 1;; attempt++, pause *= 2) {
		_cleanup_error_ failed = NULL;
		bool same;
		int rc = look(witness, &same, &failed);
		if (rc == -ERROR_NOT_FOUND)
			return 0;
		if (rc < 0) {
			if (err)
				*err = steal(failed);
			return rc;
		}
		if (same) {
			rc = compare_revisions(witness, resources, err);
			return rc < 0 ? rc : 1;
		}
		if (attempt == TRIES)
			return refuse(witness, err);
		rc = loop_pause(witness->kube->loop, pause, err);
		if (rc < 0)
			return rc;
	}
}

static int prove_by(const struct witness *like, const char *resource, const char *namespace_, const char *name,
		    const struct kube_resources *resources, size_t *ret_etcd, struct error **err)
{
	_cleanup_(witness_clear) struct witness witness = *like;
	witness.resource = kube_resources_find(resources, resource);
	if (!witness.resource)
		return 0;
	witness.namespace_ = namespace_;
	witness.name = name;
	witness.path = xasprintf("/%s/%s%s%s", witness.resource->plural, namespace_ ? namespace_ : "",
				 namespace_ ? "/" : "", name);
	witness.words = xasprintf("%s %s%s%s", witness.resource->singular, namespace_ ? namespace_ : "",
				  namespace_ ? "/" : "", name);
	int rc = prove(&witness, resources, err);
	if (rc > 0 && ret_etcd)
		*ret_etcd = witness.etcd;
	return rc;
}

int same_etcd_check(struct kube *kube, struct etcd *const *etcds, size_t etcd_count, const char *etcd_prefix,
		    const struct kube_resources *resources, size_t *ret_etcd, struct error **err)
{
	_cleanup_free_ char *prefix = etcd_prefix_clean(etcd_prefix);
	_cleanup_(kube_identities_free) struct kube_identities identities = {0};
	_cleanup_error_ failed = NULL;
	struct witness like = {.kube = kube, .etcds = etcds, .etcd_count = etcd_count, .prefix = prefix};
	int rc = kube_identities_fetch(kube, &identities, &failed);
	/* No rights, or a Lease that cannot be read: the Namespace does as well. */
	if (rc < 0 && rc != -ERROR_AUTH && rc != -ERROR_NOT_FOUND && rc != -ERROR_BUSY) {
		if (err)
			*err = steal(failed);
		return rc;
	}
	for (size_t i = 0; rc == 0 && i < identities.count && i < LEASES_MAX; i++) {
		int proved = prove_by(&like, "leases.coordination.k8s.io", "kube-system",
				      identities.items[i].lease_name, resources, ret_etcd, err);
		if (proved != 0)
			return proved < 0 ? proved : 0;
	}
	rc = prove_by(&like, "namespaces", NULL, "kube-system", resources, ret_etcd, err);
	if (rc != 0)
		return rc < 0 ? rc : 0;
	return error_set(
		err, ERROR_REFUSED,
		"%s has neither an identity Lease nor the Namespace kube-system: nothing shows that %s is its etcd",
		kube->name, etcd_label(etcds[0]));
}
