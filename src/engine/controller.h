/* The controller: finds the KeyRotation that goes on, looks at all API servers through their agents and by itself, decides
 * with next_action, and orders or does the next small step. Any number may run: one leads, by the Lease that the command
 * line takes too, and what it orders is fenced. May be killed at any instruction. */
#pragma once
#include "engine/cluster.h"
#include "base/text.h"

struct controller_view; /* controller_view.h */

struct controller_options {
	struct cluster *cluster;     /* etcd is not needed */
	struct web *web;             /* for watches */
	struct kube *const *servers; /* every API server by its own address */
	size_t server_count;
	bool by_endpoints;    /* those addresses are what EndpointSlice default/kubernetes has: it is read again where
			       * they do not fit the servers */
	struct kube *leases;  /* a client of its own for the Lease, which a sweep must not hold up */
	const char *instance; /* unique to this process: the Lease's holder */
	uint64_t settle;
	uint64_t census_interval;                     /* ns, while nothing is rotated; 0: no census is taken then */
	bool has_settle;                              /* --settle; ns. Else the request timeout, at least 15 s */
	const char *record_path;                      /* flight recorder; NULL */
	void (*on_note)(void *arg, const char *text); /* NULL: nobody */
	/* Each second, whatever it is doing; NULL: nobody looks. */
	void (*on_view)(void *arg, const struct controller_view *view);
	void *arg;
};
/* Runs until a signal: -ERROR_INTERRUPTED; or until the Lease is lost to another: -ERROR_REFUSED (begin again to stand
 * by); or, 0, until the API servers have other addresses than these (begin again with those). What may pass is waited
 * for. */
_must_check_ int controller_run(const struct controller_options *options, struct error **err);
