/* Ranges and the few other calls, each over another endpoint when one fails. */
#include "base/clock.h"
#include "client/etcd/etcd_internal.h"

#define RANGE "/etcdserverpb.KV/Range"
#define COMPACT "/etcdserverpb.KV/Compact"
#define STATUS "/etcdserverpb.Maintenance/Status"
#define REQUEST_CAP (4 * ETCD_KEY_MAX)
#define SMALL_TIMEOUT (10 * NS_PER_S)

/* --- ranges ----------------------------------------------------------------------------------------------------- */

struct etcd_range_call {
	struct etcd *etcd;
	struct buf message;
	struct etcd_range_reader *reader;
	struct grpc_call *grpc;
	struct etcd_endpoint **ways;
	size_t way_count, way;
	uint64_t timeout, member_id; /* member_id 0: any */
	bool delivered;              /* a kv: from then on another try would deliver it twice */
	struct error *refusal;       /* why the answer is none that was asked for */
	etcd_kv_fn on_kv;
	void (*on_done)(void *arg, struct etcd_range_result *result);
	void *arg;
	struct loop_timer fail;
};

static void range_call_free(struct etcd_range_call *call)
{
	loop_timer_cancel(call->etcd->loop, &call->fail);
	etcd_range_reader_free(call->reader);
	buf_free(&call->message);
	error_free(call->refusal);
	free(call->ways);
	free(call);
}

static int check_range(struct etcd_range_call *call)
{
	struct etcd_endpoint *endpoint = call->ways[call->way];
	const struct etcd_header *header = etcd_range_header(call->reader);
	int rc = etcd_check_header(call->etcd, endpoint, header, &call->refusal);

	if (rc < 0)
		return rc;
	if (header->revision == 0) /* asked for again, it would mean the newest */
		return error_set(&call->refusal, ERROR_PROTOCOL, "%s does not say at which revision it answers",
				 endpoint->url);
	etcd_endpoint_saw(endpoint, header->member_id);
	if (call->member_id == 0 || header->member_id == call->member_id)
		return 0;
	return error_set(&call->refusal, ERROR_PROTOCOL, "%s answers as member %jx, not %jx as before", endpoint->url,
			 (uintmax_t)header->member_id, (uintmax_t)call->member_id);
}

static int on_range_kv(void *arg, const struct etcd_kv *kv)
{
	struct etcd_range_call *call = arg;

	/* etcd sends the header first; a value of another cluster must not be seen at all. */
	if (!call->delivered) {
		int rc = check_range(call);

		if (rc < 0)
			return rc;
		call->delivered = true;
	}
	return call->on_kv != NULL ? call->on_kv(call->arg, kv) : 0;
}

static int on_range_bytes(void *arg, const uint8_t *bytes, size_t len)
{
	struct etcd_range_call *call = arg;

	return etcd_range_feed(call->reader, bytes, len);
}

static int finish_range(struct etcd_range_call *call, struct error **err)
{
	int rc = etcd_range_finish(call->reader);

	if (rc < 0)
		return error_set(err, (enum error_code) - rc, "%s %s: the answer is no whole range",
				 call->ways[call->way]->url, RANGE);
	return check_range(call);
}

static void range_send(struct etcd_range_call *call);

static void finish_with(struct etcd_range_call *call, struct etcd_range_result *result)
{
	if (call->refusal != NULL) {
		error_free(result->error);
		result->error = steal(call->refusal);
	}
	if (result->rc < 0) {
		error_wrap(&result->error, result->rc, "reading etcd");
		error_set_server(&result->error,
				 call->way < call->way_count ? call->ways[call->way]->url : call->etcd->label);
	}
	call->on_done(call->arg, result);
	error_free(result->error);
	range_call_free(call);
}

static void on_range_done(void *arg, struct grpc_result *grpc)
{
	struct etcd_range_call *call = arg;
	struct etcd_range_result result = {.rc = grpc->rc, .error = steal(grpc->error)};

	call->grpc = NULL;
	if (result.rc == 0)
		result.rc = finish_range(call, &result.error);
	call->ways[call->way]->answered = !etcd_may_pass(result.rc);
	if (etcd_may_pass(result.rc) && !call->delivered && call->way + 1 < call->way_count) {
		error_free(result.error);
		call->way++;
		range_send(call);
		return;
	}
	result.header = *etcd_range_header(call->reader);
	if (result.rc == 0) {
		result.more = etcd_range_more(call->reader);
		result.count = etcd_range_count(call->reader);
	}
	finish_with(call, &result);
}

static void range_send(struct etcd_range_call *call)
{
	etcd_range_reader_reset(call->reader);
	call->grpc = grpc_start(call->ways[call->way]->http, &(struct grpc_request){.method = RANGE,
										    .message = &call->message,
										    .timeout = call->timeout,
										    .max_message = ETCD_RANGE_BYTES_MAX,
										    .on_message = on_range_bytes,
										    .on_done = on_range_done,
										    .arg = call});
}

static void on_no_way(void *arg)
{
	struct etcd_range_call *call = arg;
	struct etcd_range_result result = {0};

	result.rc = error_set(&result.error, ERROR_NETWORK, "no address is known for member %jx",
			      (uintmax_t)call->member_id);
	finish_with(call, &result);
}

struct etcd_range_call *etcd_range_start(struct etcd *etcd, const struct etcd_range_options *options)
{
	struct etcd_range_call *call = xcalloc(1, sizeof(*call));

	call->etcd = etcd;
	call->message = BUF_INIT(REQUEST_CAP);
	call->ways = etcd_ways(etcd, options->member, &call->way_count);
	call->member_id = options->member >= 0 ? etcd->members[options->member].info.id : 0;
	call->timeout = options->timeout ? options->timeout : ETCD_RANGE_TIMEOUT;
	call->reader = etcd_range_reader_new(on_range_kv, call, options->keep_values);
	call->on_kv = options->on_kv;
	call->on_done = options->on_done;
	call->arg = options->arg;
	/* Keys are ours, or came from etcd's own answers below ETCD_KEY_MAX. */
	if (etcd_range_request_write(&call->message, &options->request) < 0)
		abort();
	if (call->way_count > 0)
		range_send(call);
	else
		loop_timer_set(etcd->loop, &call->fail, 0, on_no_way, call);
	return call;
}

void etcd_range_cancel(struct etcd_range_call *call)
{
	if (call == NULL)
		return;
	grpc_cancel(call->grpc);
	range_call_free(call);
}

/* --- waiting for one -------------------------------------------------------------------------------------------- */

struct fetch {
	const struct etcd_range_options *options;
	struct etcd_range_result result;
	bool done;
};

static int on_fetched_kv(void *arg, const struct etcd_kv *kv)
{
	const struct etcd_range_options *options = ((struct fetch *)arg)->options;

	return options->on_kv != NULL ? options->on_kv(options->arg, kv) : 0;
}

static void on_fetched(void *arg, struct etcd_range_result *result)
{
	struct fetch *fetch = arg;

	fetch->done = true;
	fetch->result = *result;
	result->error = NULL;
}

int etcd_range_fetch(struct etcd *etcd, const struct etcd_range_options *options, struct etcd_range_result *ret,
		     struct error **err)
{
	struct fetch fetch = {.options = options};
	struct etcd_range_options copy = *options;
	struct etcd_range_call *call;
	int rc;

	copy.on_kv = on_fetched_kv;
	copy.on_done = on_fetched;
	copy.arg = &fetch;
	call = etcd_range_start(etcd, &copy);
	rc = loop_run_until(etcd->loop, &fetch.done, 0, err);
	if (rc < 0) {
		etcd_range_cancel(call);
		return rc;
	}
	if (fetch.result.rc < 0 && err != NULL)
		*err = steal(fetch.result.error);
	error_free(steal(fetch.result.error));
	fetch.result.error = NULL;
	if (ret != NULL)
		*ret = fetch.result;
	return fetch.result.rc;
}

/* --- small calls ------------------------------------------------------------------------------------------------ */

int etcd_ask(struct etcd *etcd, int member, const char *method, const struct buf *message, uint64_t timeout,
	     struct buf *ret, struct etcd_endpoint **ret_endpoint, struct error **err)
{
	size_t count;
	_cleanup_free_ struct etcd_endpoint **ways = etcd_ways(etcd, member, &count);
	_cleanup_error_ why = NULL;
	int rc = error_set(&why, ERROR_NETWORK, "no address is known for it");

	for (size_t i = 0; i < count && etcd_may_pass(rc); i++) {
		struct grpc_request request = {
			.method = method, .message = message, .timeout = timeout, .max_message = ETCD_ANSWER_MAX};

		error_clear(&why);
		*ret_endpoint = ways[i];
		rc = grpc_fetch(ways[i]->http, &request, ret, &why);
		ways[i]->answered = !etcd_may_pass(rc);
	}
	if (rc < 0 && err != NULL)
		*err = steal(why);
	return rc;
}

static int fail_answer(const struct etcd_endpoint *endpoint, const char *method, int rc, struct error **err)
{
	rc = error_set(err, (enum error_code) - rc, "%s %s: the answer is none of etcd's", endpoint->url, method);
	error_set_server(err, endpoint->url);
	return rc;
}

int etcd_status_fetch(struct etcd *etcd, size_t member, uint64_t timeout, struct etcd_status *ret, struct error **err)
{
	const struct buf nothing = {0};
	_cleanup_buf_ answer = {0};
	struct etcd_endpoint *endpoint;
	struct etcd_status status;
	int rc = etcd_ask(etcd, (int)member, STATUS, &nothing, timeout ? timeout : ETCD_STATUS_TIMEOUT, &answer,
			  &endpoint, err);

	if (rc < 0)
		return error_wrap(err, rc, "asking etcd member %s", etcd->members[member].info.name);
	rc = etcd_status_parse(answer.data, answer.len, &status);
	if (rc < 0)
		return fail_answer(endpoint, STATUS, rc, err);
	etcd_endpoint_saw(endpoint, status.header.member_id);
	rc = etcd_check_header(etcd, endpoint, &status.header, err);
	if (rc == 0 && status.header.member_id != etcd->members[member].info.id)
		rc = error_set(err, ERROR_PROTOCOL, "%s answers as member %jx, not %jx as before", endpoint->url,
			       (uintmax_t)status.header.member_id, (uintmax_t)etcd->members[member].info.id);
	if (rc < 0) {
		etcd_status_free(&status);
		return rc;
	}
	*ret = status;
	return 0;
}

int etcd_compact(struct etcd *etcd, uint64_t revision, struct error **err)
{
	_cleanup_buf_ message = BUF_INIT(REQUEST_CAP), answer = {0};
	_cleanup_error_ why = NULL;
	struct etcd_endpoint *endpoint;
	struct etcd_header header;
	int rc;

	if (etcd_compact_request_write(&message, revision, false) < 0)
		abort();
	rc = etcd_ask(etcd, -1, COMPACT, &message, SMALL_TIMEOUT, &answer, &endpoint, &why);
	if (rc == -ERROR_EXPIRED)
		return 0; /* compacted further already */
	if (rc == 0)
		rc = etcd_header_parse(answer.data, answer.len, &header) < 0
			     ? fail_answer(endpoint, COMPACT, -ERROR_PROTOCOL, &why)
			     : etcd_check_header(etcd, endpoint, &header, &why);
	if (rc == 0)
		return 0;
	if (err != NULL)
		*err = steal(why);
	return error_wrap(err, rc, "compacting etcd at revision %ju", (uintmax_t)revision);
}

int etcd_is_compacted(struct etcd *etcd, uint64_t revision, bool *ret, struct error **err)
{
	/* Any key: etcd looks at the revision first. "\0" is the smallest there is. */
	struct etcd_range_options options = {
		.request = {.key = "", .key_len = 1, .count_only = true}, .member = -1, .timeout = SMALL_TIMEOUT};
	_cleanup_error_ why = NULL;
	int rc;

	if (revision <= 1) { /* nothing was before the first one */
		*ret = true;
		return 0;
	}
	/* "Compacted" comes without a header, from whichever cluster: so first a read whose answer has one. */
	rc = etcd_range_fetch(etcd, &options, NULL, err);
	if (rc < 0)
		return rc;
	options.request.revision = revision - 1;
	rc = etcd_range_fetch(etcd, &options, NULL, &why);
	if (rc == 0 || rc == -ERROR_EXPIRED) {
		*ret = rc == -ERROR_EXPIRED;
		return 0;
	}
	if (err != NULL)
		*err = steal(why);
	return rc;
}
