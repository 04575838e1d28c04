#include "client/etcd/etcd_internal.h"
#include "base/clock.h"

static struct secret *copy(const struct secret *secret)
{
	return secret != NULL ? secret_from(secret_data(secret), secret_len(secret)) : NULL;
}

/* An address without a scheme is plain unless there is a CA to check it by. */
static char *url_of(const struct etcd *etcd, const char *address)
{
	size_t len = strlen(address);

	while (len > 0 && address[len - 1] == '/')
		len--;
	if (strstr(address, "://") != NULL)
		return xstrndup(address, len);
	return xasprintf("%s%.*s", etcd->ca_pem != NULL ? "https://" : "http://", (int)len, address);
}

static void endpoint_free(struct etcd_endpoint *endpoint)
{
	if (endpoint == NULL)
		return;
	http_client_free(endpoint->http);
	etcd_status_free(&endpoint->status);
	free(endpoint->url);
	free(endpoint->why);
	free(endpoint);
}

int etcd_endpoint_get(struct etcd *etcd, const char *address, bool given, struct etcd_endpoint **ret,
		      struct error **err)
{
	_cleanup_free_ char *url = url_of(etcd, address);
	struct http_options options = {
		.base_url = url,
		.tls = {.ca_pem = etcd->ca_pem, .cert_pem = etcd->cert_pem, .key_pem = etcd->key_pem},
		.max_connections = ETCD_CONNECTIONS,
		.connect_timeout = ETCD_STATUS_TIMEOUT,
		.http2 = true};
	struct etcd_endpoint *endpoint;
	struct http_client *http;
	int rc;

	for (size_t i = 0; i < etcd->endpoint_count; i++) {
		if (strcmp(etcd->endpoints[i]->url, url) == 0) {
			*ret = etcd->endpoints[i];
			return 0;
		}
	}
	rc = http_client_new(etcd->loop, &options, &http, err);
	if (rc < 0)
		return error_wrap(err, rc, "etcd endpoint");
	endpoint = xcalloc(1, sizeof(*endpoint));
	endpoint->url = steal(url);
	endpoint->given = given;
	endpoint->http = http;
	etcd->endpoints = xreallocarray(etcd->endpoints, etcd->endpoint_count + 1, sizeof(*etcd->endpoints));
	etcd->endpoints[etcd->endpoint_count++] = endpoint;
	*ret = endpoint;
	return 0;
}

int etcd_new(struct loop *loop, const struct etcd_options *options, struct etcd **ret, struct error **err)
{
	_cleanup_(etcd_freep) struct etcd *etcd = xcalloc(1, sizeof(*etcd));
	_cleanup_strings_ urls = {0};

	etcd->loop = loop;
	etcd->ca_pem = copy(options->ca_pem);
	etcd->cert_pem = copy(options->cert_pem);
	etcd->key_pem = copy(options->key_pem);
	if (options->endpoint_count == 0)
		return error_set(err, ERROR_INPUT, "no etcd endpoint was given");
	for (size_t i = 0; i < options->endpoint_count; i++) {
		struct etcd_endpoint *endpoint;
		int rc = etcd_endpoint_get(etcd, options->endpoints[i], true, &endpoint, err);

		if (rc < 0)
			return rc;
		if (!strings_has(&urls, endpoint->url))
			strings_add(&urls, endpoint->url);
	}
	etcd->label = strings_join(&urls, ",");
	*ret = steal(etcd);
	return 0;
}

void etcd_forget_members(struct etcd *etcd)
{
	for (size_t i = 0; i < etcd->member_count; i++) {
		free(etcd->members[i].name);
		free(etcd->members[i].why);
	}
	free(etcd->members);
	etcd->members = NULL;
	etcd->member_count = 0;
}

void etcd_free(struct etcd *etcd)
{
	if (etcd == NULL)
		return;
	etcd_forget_members(etcd);
	for (size_t i = 0; i < etcd->endpoint_count; i++)
		endpoint_free(etcd->endpoints[i]);
	free(etcd->endpoints);
	secret_free(etcd->ca_pem);
	secret_free(etcd->cert_pem);
	secret_free(etcd->key_pem);
	free(etcd->label);
	free(etcd);
}

void etcd_freep(struct etcd **etcd)
{
	etcd_free(*etcd);
}

void etcd_endpoint_saw(struct etcd_endpoint *endpoint, uint64_t member_id)
{
	if (member_id == 0)
		return;
	if (endpoint->member_id != 0 && endpoint->member_id != member_id)
		endpoint->balanced = true;
	endpoint->member_id = member_id;
}

int etcd_check_header(const struct etcd *etcd, const struct etcd_endpoint *endpoint, const struct etcd_header *header,
		      struct error **err)
{
	int rc;

	if (etcd->cluster_id == 0 || header->cluster_id == etcd->cluster_id)
		return 0;
	rc = error_set(err, ERROR_REFUSED, "%s answers for etcd cluster %jx, not %jx as before", endpoint->url,
		       (uintmax_t)header->cluster_id, (uintmax_t)etcd->cluster_id);
	error_set_server(err, endpoint->url);
	return rc;
}

/* A given address may be back; a member's own one only helps while it answers. */
static void add_ways(const struct etcd *etcd, bool answered, struct etcd_endpoint **ways, size_t *count)
{
	for (size_t i = 0; i < etcd->endpoint_count; i++) {
		struct etcd_endpoint *endpoint = etcd->endpoints[i];

		if (endpoint->answered == answered && (answered || endpoint->given))
			ways[(*count)++] = endpoint;
	}
}

struct etcd_endpoint **etcd_ways(const struct etcd *etcd, int member, size_t *ret_count)
{
	struct etcd_endpoint **ways = xcalloc(etcd->endpoint_count, sizeof(struct etcd_endpoint *));

	*ret_count = 0;
	if (member < 0) {
		add_ways(etcd, true, ways, ret_count);
		add_ways(etcd, false, ways, ret_count);
		return ways;
	}
	if ((size_t)member >= etcd->member_count)
		abort();
	if (etcd->members[member].endpoint != NULL)
		ways[(*ret_count)++] = etcd->members[member].endpoint;
	return ways;
}

bool etcd_may_pass(int rc)
{
	return rc == -ERROR_NETWORK || rc == -ERROR_BUSY;
}

/* --- what is known ---------------------------------------------------------------------------------------------- */

uint64_t etcd_cluster_id(const struct etcd *etcd)
{
	return etcd->cluster_id;
}

size_t etcd_member_count(const struct etcd *etcd)
{
	return etcd->member_count;
}

const struct etcd_member_info *etcd_member(const struct etcd *etcd, size_t index)
{
	if (index >= etcd->member_count)
		abort();
	return &etcd->members[index].info;
}

bool etcd_membership_certain(const struct etcd *etcd)
{
	return etcd->membership_certain;
}

const char *etcd_label(const struct etcd *etcd)
{
	return etcd->label;
}

static bool is_a_members(const struct etcd *etcd, const struct etcd_endpoint *endpoint)
{
	for (size_t i = 0; i < etcd->member_count; i++)
		if (etcd->members[i].endpoint == endpoint)
			return true;
	return false;
}

void etcd_silent_endpoints(const struct etcd *etcd, struct strings *ret)
{
	for (size_t i = 0; i < etcd->endpoint_count; i++) {
		const struct etcd_endpoint *endpoint = etcd->endpoints[i];
		_cleanup_free_ char *words = NULL;

		if (!endpoint->given || endpoint->answered || is_a_members(etcd, endpoint))
			continue;
		words = xasprintf("%s (%s)", endpoint->url, endpoint->why != NULL ? endpoint->why : "it was not asked");
		strings_add(ret, words);
	}
}

/* A balancer hides members: what answers from it is now this one, now that one. */
bool etcd_behind_balancer(const struct etcd *etcd)
{
	bool balanced = false, hidden = false;

	for (size_t i = 0; i < etcd->endpoint_count; i++)
		balanced = balanced || etcd->endpoints[i]->balanced;
	for (size_t i = 0; i < etcd->member_count; i++)
		hidden = hidden || !etcd->members[i].info.answered;
	return balanced && hidden;
}
