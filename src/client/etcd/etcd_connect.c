/* Who the members are, and how each is asked alone. */
#include "base/clock.h"
#include "client/etcd/etcd_internal.h"

#define STATUS "/etcdserverpb.Maintenance/Status"
#define MEMBER_LIST "/etcdserverpb.Cluster/MemberList"

/* --- asking several at once ------------------------------------------------------------------------------------- */

struct probe {
	struct round *round;
	struct etcd_endpoint *endpoint;
	struct grpc_call *call; /* NULL once it is done */
	int rc;
	struct error *error;
	struct buf answer;
};

struct round {
	struct probe *probes;
	size_t count, open;
	bool done;
	uint64_t asked_at;
};

static void on_probed(void *arg, struct grpc_result *result)
{
	struct probe *probe = arg;

	probe->call = NULL;
	probe->rc = result->rc;
	probe->error = steal(result->error);
	probe->answer = *result->message;
	*result->message = (struct buf){0};
	probe->round->done = --probe->round->open == 0;
}

static void round_free(struct round *round)
{
	for (size_t i = 0; i < round->count; i++) {
		grpc_cancel(round->probes[i].call);
		error_free(round->probes[i].error);
		buf_free(&round->probes[i].answer);
	}
	free(round->probes);
}

/* One call to each of the endpoints, all at once; each probe then has its answer or its error. Fails when
 * interrupted. */
static int round_run(struct etcd *etcd, struct etcd_endpoint *const *endpoints, size_t count, const char *method,
		     const struct buf *message, uint64_t timeout, struct round *ret, struct error **err)
{
	ret->asked_at = clock_monotonic();
	ret->probes = xcalloc(count ? count : 1, sizeof(*ret->probes));
	ret->count = ret->open = count;
	ret->done = count == 0;
	for (size_t i = 0; i < count; i++) {
		struct probe *probe = &ret->probes[i];

		probe->round = ret;
		probe->endpoint = endpoints[i];
		probe->call = grpc_start(endpoints[i]->http, &(struct grpc_request){.method = method,
										    .message = message,
										    .timeout = timeout,
										    .max_message = ETCD_ANSWER_MAX,
										    .on_done = on_probed,
										    .arg = probe});
	}
	return loop_run_until(etcd->loop, &ret->done, 0, err);
}

/* --- Status ----------------------------------------------------------------------------------------------------- */

static void take_status(struct probe *probe)
{
	struct etcd_endpoint *endpoint = probe->endpoint;
	struct etcd_status status = {0};

	free(endpoint->why);
	endpoint->why = NULL;
	endpoint->answered = false;
	if (probe->rc == 0)
		probe->rc = etcd_status_parse(probe->answer.data, probe->answer.len, &status);
	if (probe->rc < 0) {
		if (probe->error == NULL)
			error_set(&probe->error, ERROR_PROTOCOL, "%s %s: the answer is none of etcd's", endpoint->url,
				  STATUS);
		endpoint->why = xstrdup(error_message(probe->error));
		return;
	}
	etcd_status_free(&endpoint->status);
	endpoint->status = status;
	endpoint->status_at = probe->round->asked_at;
	endpoint->answered = true;
	etcd_endpoint_saw(endpoint, status.header.member_id);
}

/* ret_rc (may be NULL): what they failed with, if with one thing. */
static int ask_status(struct etcd *etcd, struct etcd_endpoint *const *endpoints, size_t count, int *ret_rc,
		      struct error **err)
{
	const struct buf nothing = {0};
	struct round round = {0};
	int rc, first = 0;

	/* Each on a connection of its own: a balancer that chooses by connection shows itself. */
	for (size_t i = 0; i < count; i++)
		http_client_disconnect(endpoints[i]->http);
	rc = round_run(etcd, endpoints, count, STATUS, &nothing, ETCD_STATUS_TIMEOUT, &round, err);
	for (size_t i = 0; rc == 0 && i < count; i++) {
		int one;

		take_status(&round.probes[i]);
		one = round.probes[i].rc;
		first = first == 0 || first == one ? one : -ERROR_NETWORK;
	}
	if (ret_rc != NULL)
		*ret_rc = first;
	round_free(&round);
	return rc;
}

static size_t answered(const struct etcd *etcd, struct etcd_endpoint **ret)
{
	size_t count = 0;

	for (size_t i = 0; i < etcd->endpoint_count; i++)
		if (etcd->endpoints[i]->answered)
			ret[count++] = etcd->endpoints[i];
	return count;
}

static int fail_silent(const struct etcd *etcd, int rc, struct error **err)
{
	_cleanup_strings_ whys = {0};
	_cleanup_free_ char *joined = NULL;

	for (size_t i = 0; i < etcd->endpoint_count; i++)
		if (etcd->endpoints[i]->given && etcd->endpoints[i]->why != NULL)
			strings_add(&whys, etcd->endpoints[i]->why);
	joined = strings_join(&whys, "; ");
	rc = error_set(err, rc == -ERROR_AUTH ? ERROR_AUTH : ERROR_NETWORK, "no etcd endpoint answers: %s", joined);
	error_set_server(err, etcd->label);
	return rc;
}

static int fail_mixed(const struct etcd_endpoint *one, const struct etcd_endpoint *other, struct error **err)
{
	int rc = error_set(err, ERROR_REFUSED, "%s and %s belong to different etcd clusters (%jx and %jx)", one->url,
			   other->url, (uintmax_t)one->status.header.cluster_id,
			   (uintmax_t)other->status.header.cluster_id);

	error_set_server(err, other->url);
	error_set_hint(err, "give each etcd cluster its own --etcd-endpoints");
	return rc;
}

/* One etcd is one cluster: what belongs to another one must not even be counted. *ret_id is 0 when no given
 * address answered. */
static int check_given(const struct etcd *etcd, uint64_t *ret_id, struct error **err)
{
	const struct etcd_endpoint *first = NULL;

	*ret_id = 0;
	for (size_t i = 0; i < etcd->endpoint_count; i++) {
		const struct etcd_endpoint *endpoint = etcd->endpoints[i];
		int rc;

		if (!endpoint->given || !endpoint->answered)
			continue;
		rc = etcd_check_header(etcd, endpoint, &endpoint->status.header, err);
		if (rc < 0)
			return rc;
		if (first == NULL)
			first = endpoint;
		*ret_id = first->status.header.cluster_id;
		if (endpoint->status.header.cluster_id != *ret_id)
			return fail_mixed(first, endpoint, err);
	}
	return 0;
}

/* A member's own address may lead elsewhere from here (127.0.0.1): what is not of this cluster is no way into it. */
static void drop_foreign(struct etcd *etcd, uint64_t cluster_id)
{
	for (size_t i = 0; i < etcd->endpoint_count; i++) {
		struct etcd_endpoint *endpoint = etcd->endpoints[i];

		if (!endpoint->answered || endpoint->given || endpoint->status.header.cluster_id == cluster_id)
			continue;
		endpoint->answered = false;
		free(endpoint->why);
		endpoint->why = xstrdup("another etcd cluster answers at its address");
	}
}

/* Every address that we know, twice: the second time only those that answered. */
static int ask_everybody(struct etcd *etcd, struct error **err)
{
	_cleanup_free_ struct etcd_endpoint **endpoints = xcalloc(etcd->endpoint_count, sizeof(struct etcd_endpoint *));
	uint64_t cluster_id = 0;
	int failed = 0, rc = ask_status(etcd, etcd->endpoints, etcd->endpoint_count, &failed, err);
	size_t count;

	if (rc < 0)
		return rc;
	count = answered(etcd, endpoints);
	if (count == 0)
		return fail_silent(etcd, failed, err);
	rc = ask_status(etcd, endpoints, count, NULL, err);
	if (rc == 0)
		rc = check_given(etcd, &cluster_id, err);
	if (rc < 0)
		return rc;
	drop_foreign(etcd, cluster_id != 0 ? cluster_id : etcd->cluster_id);
	return answered(etcd, endpoints) > 0 ? 0 : fail_silent(etcd, -ERROR_NETWORK, err);
}

/* --- members ---------------------------------------------------------------------------------------------------- */

/* The first list among the answers to one round; 1 when there is one. */
static int first_list(struct etcd *etcd, struct round *round, struct etcd_members *ret, struct error **err)
{
	for (size_t i = 0; i < round->count; i++) {
		struct probe *probe = &round->probes[i];
		struct etcd_members members;
		int rc;

		if (probe->rc < 0 || etcd_members_parse(probe->answer.data, probe->answer.len, &members) < 0)
			continue;
		rc = etcd_check_header(etcd, probe->endpoint, &members.header, err);
		if (rc < 0) {
			etcd_members_free(&members);
			return rc;
		}
		etcd_endpoint_saw(probe->endpoint, members.header.member_id);
		*ret = members;
		return 1;
	}
	return 0;
}

/* 1 with a list, 0 when nobody had one. `linearizable` is what etcd calls it: a quorum stands behind the list. */
static int ask_members(struct etcd *etcd, bool linearizable, struct etcd_members *ret, struct error **err)
{
	_cleanup_free_ struct etcd_endpoint **endpoints = xcalloc(etcd->endpoint_count, sizeof(struct etcd_endpoint *));
	uint8_t wanted[] = {1 << 3, 1}; /* MemberListRequest {1 linearizable: true} */
	struct buf message = {.data = wanted, .len = linearizable ? sizeof(wanted) : 0, .cap = sizeof(wanted)};
	size_t count = answered(etcd, endpoints);
	struct round round = {0};
	int rc = round_run(etcd, endpoints, count, MEMBER_LIST, &message, ETCD_STATUS_TIMEOUT, &round, err);

	if (rc == 0)
		rc = first_list(etcd, &round, ret, err);
	round_free(&round);
	return rc;
}

static int list_members(struct etcd *etcd, struct etcd_members *ret, struct error **err)
{
	int rc = ask_members(etcd, true, ret, err);

	etcd->membership_certain = rc > 0;
	if (rc == 0)
		rc = ask_members(etcd, false, ret, err);
	if (rc == 0)
		return error_set(err, ERROR_NETWORK, "%s: no endpoint tells who the members are", etcd->label);
	return rc < 0 ? rc : 0;
}

static struct etcd_endpoint *endpoint_of(const struct etcd *etcd, uint64_t member_id)
{
	for (size_t i = 0; i < etcd->endpoint_count; i++) {
		struct etcd_endpoint *endpoint = etcd->endpoints[i];

		if (endpoint->answered && !endpoint->balanced && endpoint->member_id == member_id)
			return endpoint;
	}
	return NULL;
}

/* Asks the members that no given address leads to at their own addresses. */
static int ask_strays(struct etcd *etcd, const struct etcd_members *members, struct error **err)
{
	struct etcd_endpoint **strays = NULL;
	size_t count = 0;
	int rc;

	for (size_t i = 0; i < members->count; i++) {
		const struct etcd_member *member = &members->items[i];

		for (size_t j = 0; endpoint_of(etcd, member->id) == NULL && j < member->client_url_count; j++) {
			size_t known = etcd->endpoint_count;
			struct etcd_endpoint *endpoint;

			/* An address that is none shows as a member without a way. One that was known has been
			 * asked already. */
			if (etcd_endpoint_get(etcd, member->client_urls[j], false, &endpoint, NULL) < 0 ||
			    etcd->endpoint_count == known)
				continue;
			strays = xreallocarray(strays, count + 1, sizeof(struct etcd_endpoint *));
			strays[count++] = endpoint;
		}
	}
	rc = ask_status(etcd, strays, count, NULL, err);
	free(strays);
	return rc;
}

/* A member that did not answer: by which address it may once it is back, and what came instead. */
static void set_silent(struct etcd *etcd, const struct etcd_member *member, struct etcd_known_member *known)
{
	const char *why = "it has no address of its own yet";

	for (size_t i = 0; i < member->client_url_count; i++) {
		struct etcd_endpoint *endpoint = NULL;

		if (etcd_endpoint_get(etcd, member->client_urls[i], false, &endpoint, NULL) < 0) {
			why = "its address is none that can be asked";
			continue;
		}
		if (endpoint->answered) {
			why = endpoint->balanced ? "different members answer at its address"
						 : "another member answers at its address";
			continue;
		}
		known->endpoint = endpoint;
		why = endpoint->why != NULL ? endpoint->why : "it was not asked";
		break;
	}
	known->why = xstrdup(why);
	known->info.why = known->why;
}

static uint64_t growth(const struct etcd_member_info *before, uint64_t size, uint64_t at)
{
	if (before->told_at == 0 || at <= before->told_at || size <= before->db_size)
		return 0;
	return (size - before->db_size) * 1000 / ((at - before->told_at) / NS_PER_MS + 1);
}

static void set_status(const struct etcd_endpoint *endpoint, struct etcd_member_info *info)
{
	const struct etcd_status *status = &endpoint->status;

	info->db_grows = growth(info, status->db_size, endpoint->status_at);
	info->told_at = endpoint->status_at;
	info->revision = status->header.revision;
	info->raft_term = status->header.raft_term;
	info->db_size = status->db_size;
	info->db_size_in_use = status->db_size_in_use;
	info->db_size_quota = status->db_size_quota;
}

static void set_member(struct etcd *etcd, const struct etcd_member *member, struct etcd_known_member *known)
{
	known->info = (struct etcd_member_info){.id = member->id, .learner = member->learner};
	if (!text_empty(member->name))
		known->name = xstrdup(member->name);
	else
		known->name = member->client_url_count > 0 ? xstrdup(member->client_urls[0])
							   : xasprintf("%jx", (uintmax_t)member->id);
	known->info.name = known->name;
	known->endpoint = endpoint_of(etcd, member->id);
	known->info.answered = known->endpoint != NULL;
	if (known->endpoint != NULL)
		set_status(known->endpoint, &known->info);
	else
		set_silent(etcd, member, known);
	known->info.url = known->endpoint != NULL ? known->endpoint->url : NULL;
}

int etcd_connect(struct etcd *etcd, struct error **err)
{
	struct etcd_members members = {0};
	int rc = ask_everybody(etcd, err);

	if (rc == 0)
		rc = list_members(etcd, &members, err);
	if (rc == 0)
		rc = ask_strays(etcd, &members, err);
	if (rc == 0) {
		drop_foreign(etcd, members.header.cluster_id);
		etcd->cluster_id = members.header.cluster_id;
		etcd_forget_members(etcd);
		etcd->members = xcalloc(members.count ? members.count : 1, sizeof(*etcd->members));
		etcd->member_count = members.count;
		for (size_t i = 0; i < members.count; i++)
			set_member(etcd, &members.items[i], &etcd->members[i]);
	}
	etcd_members_free(&members);
	return rc;
}

int etcd_ask_statuses(struct etcd *etcd, uint64_t timeout, struct error **err)
{
	const struct buf nothing = {0};
	struct round round = {0};
	_cleanup_free_ struct etcd_endpoint **ways = xcalloc(etcd->member_count + 1, sizeof(struct etcd_endpoint *));
	size_t count = 0;
	int rc;

	for (size_t i = 0; i < etcd->member_count; i++)
		if (etcd->members[i].endpoint != NULL)
			ways[count++] = etcd->members[i].endpoint;
	rc = round_run(etcd, ways, count, STATUS, &nothing, timeout, &round, err);
	for (size_t i = 0; rc == 0 && i < count; i++)
		take_status(&round.probes[i]);
	for (size_t i = 0; rc == 0 && i < etcd->member_count; i++) {
		struct etcd_known_member *known = &etcd->members[i];
		const struct etcd_endpoint *way = known->endpoint;

		if (way != NULL && way->status_at == round.asked_at && way->status.header.member_id == known->info.id &&
		    way->status.header.cluster_id == etcd->cluster_id)
			set_status(way, &known->info);
	}
	round_free(&round);
	return rc;
}
