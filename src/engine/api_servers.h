/* The API servers behind one address, where nothing but that address can be reached: fresh connections are opened until each
 * server that renews its identity Lease has shown its /metrics over one of them. A connection stays with its server (a
 * balancer hands on connections, not requests), so what is asked over it is asked of that server; one that was opened
 * again is no proof of anything until it was scraped again. */
#pragma once
#include "client/kube/kube.h"
#include "client/kube/object.h"
#include "client/kube/refusals.h"
#include "format/storage_metrics.h"
#include "net/kubeconfig.h"

/* Of connections for one search: enough for a balancer that chooses at random. */
#define API_CONNECTIONS_EACH 24 /* times the number of servers, */
#define API_CONNECTIONS_MAX 256 /* and never more */
#define API_SEARCH_TIME (UINT64_C(120) * 1000000000)
#define API_LANES_MAX 64
/* Of servers by the clock of the one that renewed last: ours may differ. */
#define API_LEASE_ALIVE (UINT64_C(60) * 1000000000)
/* A server renews every 10 s. One whose Lease is not renewed so long while we look is away, whatever its clock says. */
#define API_LEASE_STILL (UINT64_C(25) * 1000000000)
#define API_SERVER_NONE SIZE_MAX

struct api_server {
	char *name;    /* for people: its host, else its Lease, else what it showed */
	char *id_hash; /* "sha256:..."; "" where it shows none */
	bool live;     /* its Lease was renewed lately */
	/* Of the Lease, as it was read last. */
	bool leased, renews;                 /* it is there; it was seen to be renewed since `lease_since` */
	uint64_t lease_version, lease_since; /* since when this version is seen; monotonic */
	uint64_t lease_looked;               /* when it was looked at last */
	bool reached;
	uint64_t process; /* its start, ms since 1970; 0: not shown */
	char *loaded;     /* hash of the configuration in force; NULL: not shown */
	double reloaded;  /* its last reload since its start, s since 1970; 0: none; INFINITY: it does not tell when */
	struct storage_metrics metrics;
	/* What it writes secrets and configmaps with, as a write of ours showed; none: not tried, or not seen. */
	struct storage_keys canaries[2];
};
struct api_lane {
	struct http_client *http;
	struct kube kube;
	size_t server; /* API_SERVER_NONE: not known any more */
	void *arg;     /* whoever works with it */
};
struct api_servers {
	struct loop *loop;
	struct kube_access *access;
	struct kube *kube; /* the address, for what any server may answer */
	struct api_server *servers;
	size_t server_count;
	struct api_lane *lanes;
	size_t lane_count, wanted_lanes;
	unsigned connections; /* opened in all */
	char *leases_why;     /* they cannot be read; NULL */
	bool leases_read;     /* they could once */
	char *metrics_why;    /* /metrics was refused from the start: no server can be told from another; NULL */
	/* ns that a search has for servers that fail or refuse, once they were found; 0: such a try counts as one more connection */
	uint64_t patience;
	bool began; /* they were found: whether /metrics is allowed is known */
};
/* Finds them, with at least `lanes` connections. 0 also where servers are missing, Leases or /metrics are refused: see the
 * fields. Waits. -ERROR_NETWORK and the like when nobody answers; -ERROR_INTERRUPTED. */
_must_check_ int api_servers_find(struct api_servers *s, unsigned lanes, struct error **err);
/* Reads Leases again. *ret_news: the set grew, or one that was taken for dead is not. Waits. */
_must_check_ int api_servers_read_leases(struct api_servers *s, bool *ret_news, struct error **err);
/* Reads Leases again, and looks for who is live and was not reached. *ret_news: the set grew, one that was taken for dead
 * is not, or a process is another one. -ERROR_REFUSED as below. Waits. */
_must_check_ int api_servers_refresh(struct api_servers *s, bool *ret_news, struct error **err);
/* Scrapes each server that was reached, over a connection of its own. One that cannot be found again is no longer `reached`.
 * *ret_news: another process or another configuration than before, or another set. -ERROR_REFUSED where /metrics is refused by
 * now. Waits. */
_must_check_ int api_servers_scrape(struct api_servers *s, bool *ret_news, struct error **err);
/* Scrapes over this connection alone: whether it is still the server and the process that it was. */
_must_check_ int api_servers_same(struct api_servers *s, struct api_lane *lane, bool *ret_same, struct error **err);
/* A connection of that server; NULL: none. */
struct api_lane *api_servers_lane(struct api_servers *s, size_t server);
/* Names of servers that are live and were not reached; none where /metrics is refused, for there nobody is told from another. */
/* Whether a Lease of a server that was not reached is old, and was not looked at long enough to say that nobody renews it. */
bool api_servers_doubtful(const struct api_servers *s);
/* Takes one Lease as it was read between `asked` and `now` (monotonic); `newest`: the newest renewTime of all. Pure. */
void api_server_take_lease(struct api_server *server, const struct kube_identity *lease, uint64_t newest,
			   uint64_t asked, uint64_t now);
void api_servers_unreached(const struct api_servers *s, struct strings *ret);
void api_servers_free(struct api_servers *s); /* the contents */
