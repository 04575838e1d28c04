/* Which API servers a controller is sure of: Leases, addresses, Nodes, KeyServers and what a person says must fit. Where they do
 * not, the rotation waits, and says why. */
#include "kube_server.h"

#include "engine/controller_internal.h"
#include "engine/rotation.h"
#include "shape_support.h"

#define ADDRESSES 2

/* Lists are words. What a row does not say is as it should be: two servers, each seen by all and answering. */
struct look_row {
	const char *name;
	const char *leases, *later; /* identity Leases; as they are read the second time */
	const char *nodes;          /* of control planes */
	unsigned nodes_status;      /* of the answer; 0: 200 */
	bool refused_long;          /* it was the same half a minute ago */
	const char *key_servers;
	const char *known, *forgotten; /* KeyRotation.status.servers */
	const char *behind[ADDRESSES]; /* who answers there; "": nobody */
	uint64_t says;                 /* spec.servers */
	const char *why;               /* NULL: the set is sure */
};
#define BOTH "cp-1 cp-2"
#define THREE                                                                                                      \
	"2 addresses are given, and the cluster has 3 API servers (cp-1, cp-2, cp-3): give one (--apiserver) for " \
	"each, and start what is down"
#define NODES_UNKNOWN "control-plane Nodes could not be listed, and a stopped server may show by its Node alone"
#define NO_NODES                                                                                                    \
	"no Node is a control plane's, by which a server that was stopped would be known: abort this rotation and " \
	"ask "                                                                                                      \
	"for one with --servers N"
static const struct look_row rows[] = {
	{"all is seen", .why = NULL},
	{"they are seen for the first time", .key_servers = "", .known = "", .behind = {"cp-2", "cp-1"}, .why = NULL},
	{"nothing answers at an address: who is there was seen before", .behind = {"cp-1", ""}, .why = NULL},
	{"one stopped, and its Lease is gone: it counts all the same", .leases = "cp-1", .behind = {"cp-1", ""},
	 .why = NULL},
	{"one answers without a Lease", .leases = "cp-1",
	 .why = "two is no server that an identity Lease names, or two of them: each address has to lead to one server "
		"alone"},
	{"no Leases", .leases = "", .why = "no identity Leases name the API servers"},
	{"a third Lease", .leases = "cp-1 cp-2 cp-3", .why = THREE},
	{"a third Node", .nodes = "cp-1 cp-2 cp-3", .why = THREE},
	{"Nodes cannot be listed now", .nodes_status = 503, .why = NODES_UNKNOWN},
	{"Nodes are too many to be listed now", .nodes_status = 429, .why = NODES_UNKNOWN},
	{"Nodes cannot be listed now, but a person says how many servers there are", .nodes_status = 503, .says = 2,
	 .why = NULL},
	{"Nodes may not be listed", .nodes_status = 403, .refused_long = true, .why = NODES_UNKNOWN},
	{"Nodes may not be listed, but a person says how many servers there are", .nodes_status = 403,
	 .refused_long = true, .says = 2, .why = NULL},
	{"no Node is a control plane's", .nodes = "", .why = NO_NODES},
	{"no Node is a control plane's, but a person says how many servers there are", .nodes = "", .says = 2,
	 .why = NULL},
	{"Nodes may not be listed just now", .nodes_status = 403, .why = NODES_UNKNOWN},
	{"a third KeyServer", .key_servers = "cp-1 cp-2 cp-3", .why = THREE},
	{"a third one that was seen before", .known = "cp-1 cp-2 cp-3", .why = THREE},
	{"a third one that was forgotten", .known = "cp-1 cp-2 cp-3", .forgotten = "cp-3", .why = NULL},
	{"a third one that was forgotten, and whose Node and KeyServer are there", .nodes = "cp-1 cp-2 cp-3",
	 .key_servers = "cp-1 cp-2 cp-3", .known = "cp-1 cp-2 cp-3", .forgotten = "cp-3", .why = NULL},
	{"one that was forgotten, and whose address is given", .leases = "cp-1", .forgotten = "cp-2",
	 .behind = {"cp-1", ""},
	 .why = "2 addresses are given, and the cluster has 1 API servers (cp-1): give one (--apiserver) for each, and "
		"start what is down"},
	{"one that was forgotten is back", .forgotten = "cp-2",
	 .why = "cp-2 was forgotten as gone for good, but has an identity Lease (apiserver-cp-2): it is back, or left "
		"that behind"},
	{"one that was forgotten answers", .leases = "cp-1", .forgotten = "cp-2",
	 .why = "two is no server that an identity Lease names, or two of them: each address has to lead to one server "
		"alone"},
	{"one server by two addresses", .behind = {"cp-1", "cp-1"},
	 .why = "two and one are the same server, cp-1: leave one of the addresses out"},
	{"a stranger", .behind = {"cp-1", "cp-9"},
	 .why = "two is no server that an identity Lease names, or two of them: each address has to lead to one server "
		"alone"},
	{"two servers behind one address", .behind = {"cp-1 cp-2", ""},
	 .why = "one is no server that an identity Lease names, or two of them: each address has to lead to one server "
		"alone"},
	{"one joins while the servers are looked at", .later = "cp-1 cp-2 cp-3",
	 .why = "cp-3 joined while the servers were looked at"},
	{"one stops meanwhile", .later = "cp-1", .why = NULL},
	{"as many as a person says", .says = 2, .why = NULL},
	{"a person says more", .says = 3, .why = "spec.servers says 3, and 2 are known"},
	{"a person says fewer", .says = 1, .why = "spec.servers says 1, and 2 are known"},
	{"a person said how many there were, and one was forgotten since", .known = "cp-1 cp-2 cp-3",
	 .forgotten = "cp-3", .says = 3, .why = NULL},
	{"a person says how many are left", .known = "cp-1 cp-2 cp-3", .forgotten = "cp-3", .says = 2, .why = NULL},
};

static struct kube_server servers[ADDRESSES];
static struct kube kubes[ADDRESSES];
static const struct look_row *row;
static unsigned leases_read;

static const char *or_both(const char *said)
{
	return said ? said : BOTH;
}

static void words_of(const char *text, struct strings *ret)
{
	if (!text_empty(text))
		strings_split(ret, text, ' ');
}

/* A list of what `each` makes of a word. */
static char *list_of(const char *words, char *(*each)(const char *word))
{
	_cleanup_strings_ names = {0}, items = {0};

	words_of(words, &names);
	for (size_t i = 0; i < names.count; i++) {
		_cleanup_free_ char *item = each(names.items[i]);
		strings_add(&items, item);
	}
	_cleanup_free_ char *joined = strings_join(&items, ",");
	return xasprintf("{\"metadata\":{\"resourceVersion\":\"1\"},\"items\":[%s]}", joined);
}

static char *lease(const char *name)
{
	return xasprintf("{\"metadata\":{\"name\":\"apiserver-%s\",\"resourceVersion\":\"1\","
			 "\"labels\":{\"kubernetes.io/hostname\":\"%s\"}},\"spec\":{}}",
			 name, name);
}

static char *node(const char *name)
{
	return xasprintf("{\"metadata\":{\"name\":\"%s\"}}", name);
}

static char *key_server(const char *name)
{
	return xasprintf(
		"{\"apiVersion\":\"kube-rekey.dev/v1alpha1\",\"kind\":\"KeyServer\",\"metadata\":{\"name\":\"%s\","
		"\"uid\":\"u\",\"resourceVersion\":\"1\"}}",
		name);
}

static char *metrics(const char *names)
{
	_cleanup_strings_ words = {0}, lines = {0};

	words_of(names, &words);
	strings_add(&lines, "process_start_time_seconds 1.7e+09\n");
	for (size_t i = 0; i < words.count; i++) {
		_cleanup_free_ char *identity = xasprintf("apiserver-%s", words.items[i]);
		_cleanup_free_ char *id = text_sha256_tagged(identity, strlen(identity));
		_cleanup_free_ char *line = xasprintf(
			"apiserver_encryption_config_controller_automatic_reloads_total{apiserver_id_hash=\"%s\","
			"status=\"success\"} 1\n",
			id);
		strings_add(&lines, line);
	}
	return strings_join(&lines, "");
}

/* Each answer stays until the next one. */
static struct served_answer answer(void *arg, const struct served_request *request)
{
	static char *body[ADDRESSES];
	size_t at = (size_t)((struct kube_server *)arg - servers);
	const char *behind = row->behind[at] ? row->behind[at] : at == 0 ? "cp-1" : "cp-2";

	free(body[at]);
	body[at] = NULL;
	if (text_equal(request->path, "/metrics")) {
		body[at] = metrics(behind);
		return (struct served_answer){
			.status = 200, .type = "text/plain", .body = body[at], .drop = text_empty(behind)};
	}
	if (text_equal(request->method, "POST"))
		body[at] = key_server("made");
	else if (text_starts(request->path, "/apis/coordination"))
		body[at] = list_of(leases_read++ && row->later ? row->later : or_both(row->leases), lease);
	else if (text_starts(request->path, "/api/v1/nodes"))
		body[at] = list_of(or_both(row->nodes), node);
	else
		body[at] = list_of(or_both(row->key_servers), key_server);
	unsigned status = text_equal(request->method, "POST") ? 201 : 200;
	if (row->nodes_status && text_starts(request->path, "/api/v1/nodes"))
		status = row->nodes_status;
	return (struct served_answer){.status = status, .body = body[at]};
}

static struct key_rotation *rotation_of(const struct look_row *it)
{
	struct key_rotation *rotation = key_rotation_new("r");
	struct key_rotation_status *status = &rotation->status;
	_cleanup_strings_ known = {0}, forgotten = {0};

	words_of(or_both(it->known), &known);
	words_of(it->forgotten, &forgotten);
	rotation->spec.servers = it->says;
	status->servers = xcalloc(known.count + 1, sizeof(*status->servers));
	for (size_t i = 0; i < known.count; i++)
		status->servers[status->server_count++] = (struct key_rotation_server){
			.name = xstrdup(known.items[i]), .forgotten = strings_has(&forgotten, known.items[i])};
	return rotation;
}

static void close_controller(struct controller *c)
{
	for (size_t i = 0; i < c->server_count; i++) {
		free(c->servers[i].name);
		free(c->servers[i].loaded_hash);
	}
	free(c->servers);
	for (size_t i = 0; i < ADDRESSES; i++)
		apiserver_metrics_free(&c->scraped[i].metrics);
	free(c->scraped);
	fleet_free(&c->fleet);
	observation_free_contents(&c->seen);
	server_set_free(&c->hosts);
	key_rotation_free(c->rotation);
	path_free(c->path);
	free(c->set_why);
}

static void test_look(void **state)
{
	struct cluster cluster = {.kube = kubes[0]};
	struct kube *const addresses[ADDRESSES] = {&kubes[0], &kubes[1]};
	const struct controller_options options = {
		.cluster = &cluster, .servers = addresses, .server_count = ADDRESSES};
	struct error *err = NULL;

	row = *state;
	leases_read = 0;
	for (size_t i = 0; i < ADDRESSES; i++) {
		kube_server_play(&servers[i], NULL, 0);
		servers[i].arg = &servers[i];
		servers[i].answer = answer;
	}
	struct controller c = {.options = &options,
			       .rotation = rotation_of(row),
			       .scraped = xcalloc(ADDRESSES, sizeof(*c.scraped)),
			       .path = path_parse("secrets=a", "secrets=b")};
	c.hosts.refusals[SERVERS_OF_NODES].since = row->refused_long;
	assert_ok(controller_look(&c, &err), err);
	assert_true(text_equal(c.set_why, row->why));
	assert_true(text_equal(c.seen.servers_why, row->why));
	assert_int_equal(c.seen.servers_known, row->why ? FACT_UNKNOWN : FACT_KNOWN);
	uint64_t now = clock_monotonic();
	struct decision d = next_action(c.path, &c.seen, now);
	assert_int_equal(d.action, ACTION_WAIT); /* at least for the agents, none of which has reported */
	assert_int_equal(d.reason, row->why ? REASON_SET_UNKNOWN : REASON_SERVER_DOWN);
	const struct decision_clock clock = {.now = now, .wall = clock_wall()};
	_cleanup_free_ char *text = decision_text(&d, c.path, &c.seen, &clock);
	if (row->why)
		assert_non_null(strstr(text, row->why));
	close_controller(&c);
}

int main(void)
{
	static const char *const names[ADDRESSES] = {"one", "two"};

	kubes[0] = kube_server_open(&servers[0]);
	kube_server_start(&servers[1]);
	kubes[1] = kube_of(&servers[1], kubes[0].loop);
	for (size_t i = 0; i < ADDRESSES; i++)
		kubes[i].name = names[i];
	int failed = RUN_ROWS(test_look, rows);
	http_client_free(kubes[1].http);
	kube_server_stop(&servers[1]);
	kube_server_close(&servers[0], &kubes[0]);
	return failed;
}
