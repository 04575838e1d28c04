#include "kube_server.h"
#include "kube_bytes.h"
#include "client/kube/kube_discovery.h"
#include "client/kube/kube_internal.h"

static struct loop *loop;
static struct kube_server server;

static cJSON *parse(const char *text)
{
	struct error *err = NULL;
	cJSON *doc = NULL;

	assert_ok(json_parse(text, strlen(text), "test", &doc, &err), err);
	return doc;
}

#define VERBS "\"verbs\":[\"get\",\"list\",\"update\",\"patch\"]"
static const char api[] = "{\"kind\":\"APIGroupDiscoveryList\",\"items\":[{\"metadata\":{},\"versions\":[{\"version\":"
			  "\"v1\",\"freshness\":\"Current\",\"resources\":["
			  "{\"resource\":\"secrets\",\"responseKind\":{\"group\":\"\",\"version\":\"\",\"kind\":"
			  "\"Secret\"},\"scope\":\"Namespaced\",\"singularResource\":\"secret\"," VERBS "},"
			  "{\"resource\":\"configmaps\",\"responseKind\":{\"kind\":\"ConfigMap\"},\"scope\":"
			  "\"Namespaced\",\"singularResource\":\"configmap\",\"shortNames\":[\"cm\"]," VERBS "},"
			  "{\"resource\":\"nodes\",\"responseKind\":{\"kind\":\"Node\"},\"scope\":\"Cluster\","
			  "\"singularResource\":\"node\"," VERBS "},"
			  "{\"resource\":\"bindings\",\"responseKind\":{\"kind\":\"Binding\"},\"scope\":\"Namespaced\","
			  "\"singularResource\":\"binding\",\"verbs\":[\"create\"]}]}]}]}";
static const char apis[] =
	"{\"kind\":\"APIGroupDiscoveryList\",\"items\":["
	"{\"metadata\":{\"name\":\"autoscaling\"},\"versions\":["
	"{\"version\":\"v2\",\"freshness\":\"Current\",\"resources\":[{\"resource\":\"horizontalpodautoscalers\","
	"\"responseKind\":{\"kind\":\"HorizontalPodAutoscaler\"},\"scope\":\"Namespaced\",\"singularResource\":"
	"\"horizontalpodautoscaler\"," VERBS "}]},"
	"{\"version\":\"v1\",\"freshness\":\"Current\",\"resources\":[{\"resource\":\"horizontalpodautoscalers\","
	"\"responseKind\":{\"kind\":\"HorizontalPodAutoscaler\"},\"scope\":\"Namespaced\",\"singularResource\":"
	"\"horizontalpodautoscaler\"," VERBS "},"
	"{\"resource\":\"olds\",\"responseKind\":{\"kind\":\"Old\"},\"scope\":\"Namespaced\"," VERBS "}]}]},"
	"{\"metadata\":{\"name\":\"example.com\"},\"versions\":[{\"version\":\"v1\",\"freshness\":\"Current\","
	"\"resources\":["
	"{\"resource\":\"widgets\",\"responseKind\":{\"kind\":\"Widget\"},\"scope\":\"Namespaced\","
	"\"singularResource\":\"widget\",\"shortNames\":[\"cm\",\"wg\"]," VERBS "}]}]},"
	"{\"metadata\":{\"name\":\"metrics.k8s.io\"},\"versions\":[{\"version\":\"v1beta1\",\"freshness\":\"Stale\","
	"\"resources\":["
	"{\"resource\":\"pods\",\"responseKind\":{\"kind\":\"PodMetrics\"},\"scope\":\"Namespaced\","
	"\"singularResource\":\"pod\",\"verbs\":[\"get\",\"list\"]}]}]}]}";
static const char services[] =
	"{\"kind\":\"APIServiceList\",\"items\":["
	"{\"spec\":{\"group\":\"apps\",\"version\":\"v1\",\"service\":null}},"
	"{\"spec\":{\"group\":\"metrics.k8s.io\",\"version\":\"v1beta1\",\"service\":{\"name\":\"m\"}},\"status\":{"
	"\"conditions\":[{\"type\":\"Available\",\"status\":\"True\"}]}},"
	"{\"spec\":{\"group\":\"custom.metrics.k8s.io\",\"version\":\"v1\",\"service\":{\"name\":\"m\"}},\"status\":{"
	"\"conditions\":[{\"type\":\"Available\",\"status\":\"False\"}]}}]}";
static const char forbidden[] = "{\"kind\":\"Status\",\"reason\":\"Forbidden\",\"message\":\"no\"}";

/* --- documents -------------------------------------------------------------------------------------------------- */

struct bad_row {
	const char *name, *doc, *message;
};
static const struct bad_row bad_rows[] = {
	{"another kind", "{\"kind\":\"Pod\"}", "discovery: the answer is no APIGroupDiscoveryList"},
	{"an array", "[]", "discovery: the answer is no APIGroupDiscoveryList"},
	{"no items", "{\"kind\":\"APIGroupDiscoveryList\"}", "discovery: the APIGroupDiscoveryList has no items"},
	{"a version without a name",
	 "{\"kind\":\"APIGroupDiscoveryList\",\"items\":[{\"metadata\":{\"name\":\"a\"},\"versions\":[{\"resources\":[]"
	 "}]}]}",
	 "discovery: group \"a\" has a version without a name"},
	{"a name with a slash",
	 "{\"kind\":\"APIGroupDiscoveryList\",\"items\":[{\"metadata\":{\"name\":\"a\"},\"versions\":[{\"version\":"
	 "\"v1\",\"resources\":["
	 "{\"resource\":\"x/y\",\"responseKind\":{\"kind\":\"X\"}," VERBS "}]}]}]}",
	 "discovery: a resource whose group, version, name or kind is none"},
	{"a group with a line end",
	 "{\"kind\":\"APIGroupDiscoveryList\",\"items\":[{\"metadata\":{\"name\":\"a\\nb\"},\"versions\":[{\"version\":"
	 "\"v1\",\"resources\":["
	 "{\"resource\":\"x\",\"responseKind\":{\"kind\":\"X\"}," VERBS "}]}]}]}",
	 "discovery: a resource whose group, version, name or kind is none"},
};

static void test_bad(void **state)
{
	const struct bad_row *row = *state;
	_cleanup_json_ doc = parse(row->doc);
	_cleanup_strings_ missing = {0};
	struct kube_resources found = {0};
	struct error *err = NULL;
	int rc = discovery_read_aggregated(doc, &found, &missing, &err);

	assert_error(rc, err, ERROR_PROTOCOL, row->message);
	kube_resources_free(&found);
}

static void test_aggregated(void **state)
{
	_cleanup_json_ doc = parse(apis);
	_cleanup_strings_ missing = {0};
	struct kube_resources found = {0};
	struct error *err = NULL;

	(void)state;
	assert_ok(discovery_read_aggregated(doc, &found, &missing, &err), err);
	assert_int_equal(found.count, 4);
	assert_string_equal(found.items[0].api_version, "autoscaling/v2");
	assert_string_equal(found.items[1].api_version, "autoscaling/v1"); /* only there */
	assert_string_equal(found.items[1].resource, "olds.autoscaling");
	assert_string_equal(found.items[1].singular, "old"); /* of its kind */
	assert_string_equal(found.items[2].resource, "widgets.example.com");
	assert_int_equal(missing.count, 1);
	assert_string_equal(missing.items[0], "metrics.k8s.io/v1beta1");
	kube_resources_free(&found);
}

static void test_marks(void **state)
{
	cJSON *docs[] = {parse(api), parse(apis)};
	_cleanup_json_ list = parse(services);
	_cleanup_strings_ missing = {0}, aggregated = {0}, definitions = {0};
	struct kube_resources found = {0};
	struct error *err = NULL;

	(void)state;
	assert_ok(discovery_read_aggregated(docs[0], &found, &missing, &err), err);
	assert_ok(discovery_read_aggregated(docs[1], &found, &missing, &err), err);
	assert_ok(discovery_read_services(list, &aggregated, &missing, &err), err);
	assert_int_equal(aggregated.count, 2);
	assert_true(strings_has(&missing, "custom.metrics.k8s.io/v1"));
	strings_add(&definitions, "widgets.example.com");
	discovery_mark(&found, &aggregated, &definitions);
	assert_true(kube_resources_find(&found, "widgets.example.com")->custom);
	assert_true(kube_resources_find(&found, "pods.metrics.k8s.io")->aggregated);
	assert_false(kube_resources_find(&found, "pods.metrics.k8s.io")->custom);
	assert_false(kube_resources_find(&found, "secrets")->custom);
	/* Without the definitions the groups that are not Kubernetes' own count as custom. */
	discovery_mark(&found, &aggregated, NULL);
	assert_true(kube_resources_find(&found, "widgets.example.com")->custom);
	assert_false(kube_resources_find(&found, "horizontalpodautoscalers.autoscaling")->custom);
	assert_false(kube_resources_find(&found, "secrets")->custom);
	kube_resources_free(&found);
	cJSON_Delete(docs[0]);
	cJSON_Delete(docs[1]);
}

static void test_find(void **state)
{
	_cleanup_json_ first = parse(api);
	_cleanup_json_ second = parse(apis);
	_cleanup_strings_ missing = {0};
	struct kube_resources found = {0};
	struct error *err = NULL;

	(void)state;
	assert_ok(discovery_read_aggregated(first, &found, &missing, &err), err);
	assert_ok(discovery_read_aggregated(second, &found, &missing, &err), err);
	assert_string_equal(kube_resources_find(&found, "secrets")->kind, "Secret");
	assert_string_equal(kube_resources_find(&found, "secret")->kind, "Secret");
	assert_string_equal(kube_resources_find(&found, "cm")->kind, "ConfigMap");
	assert_string_equal(kube_resources_find(&found, "cm.example.com")->kind, "Widget");
	assert_string_equal(kube_resources_find(&found, "widget.example.com")->kind, "Widget");
	assert_string_equal(kube_resources_find(&found, "wg.example.com")->kind, "Widget");
	assert_null(kube_resources_find(&found, "widgets")); /* a bare name is the core group's */
	assert_null(kube_resources_find(&found, "secrets.example.com"));
	assert_null(kube_resources_find(&found, "secrets."));
	assert_null(kube_resources_find(&found, ""));
	assert_true(kube_resources_find(&found, "secrets")->can_update);
	assert_false(kube_resources_find(&found, "bindings")->can_list);
	assert_false(kube_resources_find(&found, "nodes")->namespaced);
	kube_resources_free(&found);
}

static void test_classic_documents(void **state)
{
	_cleanup_json_ groups = parse("{\"kind\":\"APIGroupList\",\"groups\":[{\"name\":\"a\",\"versions\":[{"
				      "\"groupVersion\":\"a/v1\"},{\"groupVersion\":"
				      "\"a/v2\"}],\"preferredVersion\":{\"groupVersion\":\"a/v2\"}}]}");
	_cleanup_json_ list =
		parse("{\"kind\":\"APIResourceList\",\"groupVersion\":\"a/"
		      "v2\",\"resources\":[{\"name\":\"xs\",\"singularName\":\"\",\"namespaced\":true,"
		      "\"kind\":\"X\"," VERBS "},{\"name\":\"xs/status\",\"kind\":\"X\",\"verbs\":[\"get\"]}]}");
	_cleanup_strings_ versions = {0};
	struct kube_resources found = {0};
	struct error *err = NULL;

	(void)state;
	assert_ok(discovery_read_groups(groups, &versions, &err), err);
	assert_int_equal(versions.count, 2);
	assert_string_equal(versions.items[0], "a/v2"); /* the preferred one first */
	assert_ok(discovery_read_resources(list, "a/v2", &found, &err), err);
	assert_ok(discovery_read_resources(list, "a/v1", &found, &err), err);
	assert_int_equal(found.count, 1); /* no subresource, and not twice */
	assert_string_equal(found.items[0].api_version, "a/v2");
	assert_string_equal(found.items[0].singular, "x");
	kube_resources_free(&found);
}

/* --- a whole discovery ------------------------------------------------------------------------------------------ */

struct world {
	bool classic, may_not;
	unsigned services_status;
	struct buf definitions;
};

static struct served_answer answer_world(void *arg, const struct served_request *request)
{
	struct world *world = arg;
	const char *path = request->path;

	if (strcmp(path, "/api") == 0)
		return (struct served_answer){
			.status = 200,
			.body = world->classic ? "{\"kind\":\"APIVersions\",\"versions\":[\"v1\"]}" : api};
	if (strcmp(path, "/apis") == 0 && world->classic)
		return (struct served_answer){.status = 200,
					      .body = "{\"kind\":\"APIGroupList\",\"groups\":[{\"name\":\"apps\","
						      "\"versions\":[{\"groupVersion\":\"apps/v1\"}]},"
						      "{\"name\":\"metrics.k8s.io\",\"versions\":[{\"groupVersion\":"
						      "\"metrics.k8s.io/v1beta1\"}]}]}"};
	if (strcmp(path, "/apis") == 0)
		return (struct served_answer){.status = 200, .body = apis};
	if (strcmp(path, "/api/v1") == 0)
		return (struct served_answer){.status = 200,
					      .body = "{\"kind\":\"APIResourceList\",\"resources\":[{\"name\":"
						      "\"secrets\",\"singularName\":\"secret\","
						      "\"namespaced\":true,\"kind\":\"Secret\"," VERBS "}]}"};
	if (strcmp(path, "/apis/apps/v1") == 0)
		return (struct served_answer){.status = 200,
					      .body = "{\"kind\":\"APIResourceList\",\"resources\":[{\"name\":"
						      "\"deployments\",\"namespaced\":true,"
						      "\"kind\":\"Deployment\"," VERBS "}]}"};
	if (strcmp(path, "/apis/metrics.k8s.io/v1beta1") == 0)
		return (struct served_answer){.status = 503, .type = "text/plain", .body = "service unavailable"};
	if (world->may_not)
		return (struct served_answer){.status = 403, .body = forbidden};
	if (text_starts(path, "/apis/apiregistration.k8s.io/v1/apiservices"))
		return (struct served_answer){.status = world->services_status, .body = services};
	if (text_starts(path, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions?limit=500"))
		return (struct served_answer){.status = 200,
					      .type = KUBE_PROTOBUF,
					      .body = world->definitions.data,
					      .len = world->definitions.len};
	return (struct served_answer){.status = 404, .body = "{}"};
}

static int discover(struct world *world, struct kube_resources *found, struct strings *missing, struct error **err)
{
	static const char *const names[] = {"widgets.example.com"};
	struct kube kube = kube_of(&server, loop);
	int rc;

	world->definitions = list_bytes("PartialObjectMetadataList", names, 1, "", NULL);
	if (world->services_status == 0)
		world->services_status = 200;
	kube_server_play(&server, NULL, 0);
	server.arg = world;
	server.answer = answer_world;
	rc = kube_discover(&kube, found, missing, err);
	http_client_free(kube.http);
	kube_server_play(&server, NULL, 0);
	buf_free(&world->definitions);
	return rc;
}

static void test_whole(void **state)
{
	struct world world = {0};
	struct kube_resources found = {0};
	_cleanup_strings_ missing = {0};
	struct error *err = NULL;

	(void)state;
	assert_ok(discover(&world, &found, &missing, &err), err);
	assert_int_equal(found.count, 8);
	assert_true(kube_resources_find(&found, "widgets.example.com")->custom);
	assert_true(kube_resources_find(&found, "pods.metrics.k8s.io")->aggregated);
	assert_int_equal(missing.count, 2);
	assert_string_equal(missing.items[0], "custom.metrics.k8s.io/v1");
	assert_string_equal(missing.items[1], "metrics.k8s.io/v1beta1");
	kube_resources_free(&found);
}

static void test_without_rights(void **state)
{
	struct world world = {.may_not = true};
	struct kube_resources found = {0};
	_cleanup_strings_ missing = {0};
	struct error *err = NULL;

	(void)state;
	assert_ok(discover(&world, &found, &missing, &err), err);
	assert_true(kube_resources_find(&found, "widgets.example.com")->custom);
	assert_false(kube_resources_find(&found, "secrets")->custom);
	kube_resources_free(&found);
}

static void test_classic(void **state)
{
	struct world world = {.classic = true};
	struct kube_resources found = {0};
	_cleanup_strings_ missing = {0};
	struct error *err = NULL;

	(void)state;
	assert_ok(discover(&world, &found, &missing, &err), err);
	assert_int_equal(found.count, 2);
	assert_string_equal(found.items[1].resource, "deployments.apps");
	assert_true(strings_has(&missing, "metrics.k8s.io/v1beta1"));
	kube_resources_free(&found);
}

/* What fails for another reason than missing rights is no small matter. */
static void test_services_broken(void **state)
{
	struct world world = {.services_status = 500};
	struct kube_resources found = {0};
	_cleanup_strings_ missing = {0};
	struct error *err = NULL;
	int rc = discover(&world, &found, &missing, &err);

	(void)state;
	assert_int_equal(rc, -ERROR_BUSY);
	assert_string_equal(error_server(err), "cp-1");
	assert_int_equal(found.count, 0);
	error_free(err);
}

static int set_up(void **state)
{
	struct error *err = NULL;

	(void)state;
	assert_ok(loop_new(&loop, &err), err);
	kube_server_start(&server);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	kube_server_stop(&server);
	loop_free(loop);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_aggregated), cmocka_unit_test(test_marks),
		cmocka_unit_test(test_find),       cmocka_unit_test(test_classic_documents),
		cmocka_unit_test(test_whole),      cmocka_unit_test(test_without_rights),
		cmocka_unit_test(test_classic),    cmocka_unit_test(test_services_broken),
	};

	json_install_hooks();
	return RUN_ROWS(test_bad, bad_rows) + cmocka_run_group_tests(tests, set_up, tear_down);
}
