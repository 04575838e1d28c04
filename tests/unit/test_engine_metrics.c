/* What the controller and the agent show monitoring, as text. */
#include "test_support.h"
#include "base/clock.h"
#include "format/prometheus.h"
#include "serve/engine_metrics.h"

#define HAS(text, line) assert_non_null(strstr(text, "\n" line "\n"))

static struct key_rotation *rotation_of(const char *phase)
{
	struct key_rotation *rotation = key_rotation_new("a");
	struct key_rotation_status *status = &rotation->status;

	rotation->meta.uid = xstrdup("u-a");
	status->phase = xstrdup(phase);
	status->step = 2;
	status->epoch = 7;
	status->progress.total = 100;
	status->progress.done = 40;
	status->progress.per_second = 12;
	status->progress.eta_seconds = 5;
	status->progress.namespace_ = xstrdup("a-namespace");
	status->quarantined.count = 3;
	status->conditions = xcalloc(2, sizeof(*status->conditions));
	status->condition_count = 2;
	status->conditions[0] = (struct key_rotation_condition){
		.type = xstrdup("Converged"), .status = xstrdup("True"), .message = xstrdup("a message")};
	status->conditions[1] =
		(struct key_rotation_condition){.type = xstrdup("Degraded"), .status = xstrdup("False")};
	return rotation;
}

static char *text_of(const struct controller_view *view)
{
	struct metrics_text w = METRICS_TEXT_INIT;
	char *text;

	controller_metrics_write(&w, view);
	text = xstrdup(metrics_text(&w));
	metrics_text_free(&w);
	return text;
}

static void test_a_rotation(void **state)
{
	_cleanup_(key_rotation_freep) struct key_rotation *rotation = rotation_of("Reencrypt");
	const struct controller_view_server servers[] = {
		{.name = "cp-1",
		 .answering = true,
		 .file_step = 2,
		 .loaded_step = 1,
		 .reported = true,
		 .report_age = 1500 * NS_PER_MS,
		 .epoch = 7},
		{.name = "cp-2", .file_step = STEP_NONE, .loaded_step = STEP_NONE},
	};
	const struct controller_view view = {.now = 100 * NS_PER_S,
					     .wall = 1700000000 * NS_PER_S,
					     .leads = true,
					     .turned_at = 98 * NS_PER_S,
					     .turns = 10,
					     .failed_turns = 3,
					     .rotations_done = 1,
					     .events = 5,
					     .failed_events = 2,
					     .rotation = rotation,
					     .servers = servers,
					     .server_count = 2};
	_cleanup_free_ char *text = text_of(&view);

	(void)state;
	HAS(text, "kube_rekey_snapshot_timestamp_seconds 1700000000.000000000");
	HAS(text, "kube_rekey_leader 1");
	HAS(text, "kube_rekey_turns_total{result=\"ok\"} 7");
	HAS(text, "kube_rekey_turns_total{result=\"failed\"} 3");
	HAS(text, "kube_rekey_last_successful_turn_age_seconds 2.000000000");
	HAS(text, "kube_rekey_events_total{result=\"failed\"} 2");
	HAS(text, "kube_rekey_rotations_done_total 1");
	HAS(text, "kube_rekey_rotation_info{rotation=\"a\"} 1");
	HAS(text, "kube_rekey_rotation_phase{phase=\"Reencrypt\"} 1");
	HAS(text, "kube_rekey_rotation_phase{phase=\"Settle\"} 0");
	HAS(text, "kube_rekey_rotation_step 2");
	HAS(text, "kube_rekey_rotation_epoch 7");
	HAS(text, "kube_rekey_rotation_degraded 0");
	HAS(text, "kube_rekey_converged 1");
	HAS(text, "kube_rekey_server_answering{server=\"cp-1\"} 1");
	HAS(text, "kube_rekey_server_answering{server=\"cp-2\"} 0");
	HAS(text, "kube_rekey_server_file_step{server=\"cp-1\"} 2");
	HAS(text, "kube_rekey_server_loaded_step{server=\"cp-1\"} 1");
	HAS(text, "kube_rekey_server_report_age_seconds{server=\"cp-1\"} 1.500000000");
	HAS(text, "kube_rekey_server_epoch{server=\"cp-1\"} 7");
	/* What is not known is not said. */
	assert_null(strstr(text, "step{server=\"cp-2\"}"));
	assert_null(strstr(text, "age_seconds{server=\"cp-2\"}"));
	HAS(text, "kube_rekey_sweep_objects 100");
	HAS(text, "kube_rekey_sweep_objects_done 40");
	HAS(text, "kube_rekey_sweep_objects_per_second 12");
	HAS(text, "kube_rekey_sweep_remaining_seconds 5");
	HAS(text, "kube_rekey_quarantined_objects 3");
	assert_null(strstr(text, "a-namespace"));
	assert_null(strstr(text, "a message"));
}

/* A phase of a later version is told by its name, beside the known ones. */
static void test_an_unknown_phase(void **state)
{
	_cleanup_(key_rotation_freep) struct key_rotation *rotation = rotation_of("Queued");
	const struct controller_view view = {.rotation = rotation};
	_cleanup_free_ char *text = text_of(&view);

	(void)state;
	HAS(text, "kube_rekey_rotation_phase{phase=\"Done\"} 0");
	HAS(text, "kube_rekey_rotation_phase{phase=\"Queued\"} 1");
}

static void test_nothing_goes_on(void **state)
{
	const struct controller_view view = {.now = NS_PER_S};
	_cleanup_free_ char *text = text_of(&view);

	(void)state;
	HAS(text, "kube_rekey_leader 0");
	HAS(text, "kube_rekey_rotation_phase{phase=\"Done\"} 0");
	assert_null(strstr(text, "\nkube_rekey_rotation_info{"));
	assert_null(strstr(text, "\nkube_rekey_rotation_step "));
	assert_null(strstr(text, "\nkube_rekey_converged "));
	assert_null(strstr(text, "\nkube_rekey_census_complete "));
	assert_null(strstr(text, "\nkube_rekey_last_successful_turn_age_seconds "));
}

/* Equal labels twice would make Prometheus refuse all of it. */
static void test_census(void **state)
{
	static char secrets[] = "secrets", key[] = "key1", example[] = "/registry/secrets/default/a-secret";
	struct census_group groups[] = {
		{.resource = secrets, .type = PROVIDER_AESCBC, .name = key, .values = 3, .example = example},
		{.resource = secrets, .type = PROVIDER_KMS, .kms_version = 2, .name = key, .values = 9},
		{.resource = secrets, .type = PROVIDER_AESCBC, .name = key, .values = 4},
		{.type = PROVIDER_IDENTITY, .values = 8, .expected = true},
		{.type = PROVIDER_IDENTITY, .values = 1, .unknown = true},
	};
	const struct census_observation census = {
		.finished = 90 * NS_PER_S, .complete = true, .groups = groups, .group_count = 5, .does_not_open = 2};
	_cleanup_(key_rotation_freep) struct key_rotation *rotation = rotation_of("Verify");
	const struct controller_view view = {.now = 100 * NS_PER_S, .rotation = rotation, .census = &census};
	_cleanup_free_ char *text = text_of(&view);
	const char *first;

	(void)state;
	HAS(text, "kube_rekey_census_complete 1");
	HAS(text, "kube_rekey_census_age_seconds 10.000000000");
	HAS(text, "kube_rekey_census_unopened_values 2");
	HAS(text, "kube_rekey_census_values{resource=\"secrets\",provider=\"kms-v2\",key=\"key1\",class=\"known\"} 9");
	HAS(text, "kube_rekey_census_values{resource=\"\",provider=\"identity\",key=\"\",class=\"expected\"} 8");
	HAS(text, "kube_rekey_census_values{resource=\"\",provider=\"identity\",key=\"\",class=\"unknown\"} 1");
	first = strstr(text, "{resource=\"secrets\",provider=\"aescbc\",key=\"key1\",class=\"known\"} 7\n");
	assert_non_null(first);
	assert_null(strstr(strchr(first, '\n'), "provider=\"aescbc\""));
	assert_null(strstr(text, "a-secret"));
}

/* While nothing is rotated: what a census found, and what agents report of keys and plugins. */
static void test_drift(void **state)
{
	struct drift_resource resources[] = {{"secrets", 3}, {"configmaps", 0}};
	const struct drift drift = {
		.values = 10, .stale = 3, .unreadable = 1, .resources = resources, .resource_count = 2};
	const struct controller_options options = {.census_interval = 60 * NS_PER_S};
	_cleanup_(key_server_freep) struct key_server *server = key_server_new("cp-1");
	struct config_key keys[] = {{.type = PROVIDER_AESCBC, .name = (char[]){"rekey-20261122T1103Z-3f9a1c"}},
				    {.type = PROVIDER_AESCBC, .name = (char[]){"key1"}}};
	struct config_rule rules[] = {
		{.keys = keys, .key_count = 2}, {.keys = keys, .key_count = 1}, {.keys = keys + 1, .key_count = 1}};
	struct config_shape shape = {.rules = rules, .rule_count = 3};
	struct fleet_server servers[] = {{.last = server, .beat_read_at = 90 * NS_PER_S}};
	const struct fleet fleet = {.servers = servers, .count = 1};
	uint64_t made;
	const struct controller_view view = {.options = &options,
					     .now = 100 * NS_PER_S,
					     .wall = UINT64_C(1795345500) * NS_PER_S,
					     .drift = &drift,
					     .drift_since = 40 * NS_PER_S,
					     .drifts_ended = 2,
					     .drifts_ended_ns = 90 * NS_PER_S,
					     .fleet = &fleet};

	(void)state;
	assert_true(key_name_time("rekey-20261122T1103Z-3f9a1c", &made));
	server->status.configuration = &shape;
	server->status.beat = 1;
	server->status.kms = xcalloc(3, sizeof(*server->status.kms));
	server->status.kms_count = 3;
	server->status.kms[0] =
		(struct key_server_kms){.name = xstrdup("vault"), .healthz = xstrdup("ok"), .key_id = xstrdup("key-1")};
	server->status.kms[1] = (struct key_server_kms){.name = xstrdup("slow"), .healthz = xstrdup("no answer")};
	server->status.kms[2] = (struct key_server_kms){.name = xstrdup("slow"), .healthz = xstrdup("ok")};
	_cleanup_free_ char *text = text_of(&view);
	server->status.configuration = NULL;
	_cleanup_free_ char *age =
		xasprintf("kube_rekey_write_key_age_seconds{key=\"aescbc/rekey-20261122T1103Z-3f9a1c\"} %llu.000000000",
			  (unsigned long long)(1795345500 - made / NS_PER_S));
	HAS(text, "kube_rekey_census_interval_seconds 60.000000000");
	HAS(text, "kube_rekey_stale_objects{resource=\"secrets\"} 3");
	HAS(text, "kube_rekey_stale_objects{resource=\"configmaps\"} 0");
	HAS(text, "kube_rekey_unreadable_objects 1");
	HAS(text, "kube_rekey_stale_seconds 60.000000000");
	HAS(text, "kube_rekey_drifts_ended_total 2");
	HAS(text, "kube_rekey_drift_seconds_total 90.000000000");
	HAS(text, "kube_rekey_kms_healthy{server=\"cp-1\",provider=\"vault\"} 1");
	HAS(text, "kube_rekey_kms_healthy{server=\"cp-1\",provider=\"slow\"} 0");
	HAS(text, "kube_rekey_kms_key_info{server=\"cp-1\",provider=\"vault\",key_id=\"key-1\"} 1");
	assert_null(strstr(text, "provider=\"slow\"} 1"));
	assert_null(strstr(text, "provider=\"slow\",key_id"));
	HAS(text, "kube_rekey_agent_silent_seconds{server=\"cp-1\"} 10.000000000");
	const char *line = strstr(text, age);
	assert_non_null(line); /* once, though two rules have it; none of a key that tells no age */
	assert_null(strstr(line + strlen(age), "write_key_age_seconds{"));
	assert_null(strstr(text, "aescbc/key1"));
}

static void test_agent(void **state)
{
	struct kms_look kms[] = {{.name = (char[]){"vault"}, .took = 1500 * NS_PER_MS},
				 {.name = (char[]){"slow"}, .took = 3 * NS_PER_S, .flaw = (char[]){"no answer"}}};
	const struct agent_view view = {.now = 10 * NS_PER_S,
					.reported_at = 9 * NS_PER_S,
					.answering = true,
					.file_step = 1,
					.loaded_step = STEP_NONE,
					.epoch = 4,
					.orders = {.ok = 6, .failed = 1, .refused = 2},
					.kms = kms,
					.kms_count = 2};
	struct metrics_text w = METRICS_TEXT_INIT;
	const char *text;

	(void)state;
	agent_metrics_write(&w, &view);
	text = metrics_text(&w);
	HAS(text, "kube_rekey_agent_report_age_seconds 1.000000000");
	HAS(text, "kube_rekey_agent_server_answering 1");
	HAS(text, "kube_rekey_agent_file_step 1");
	assert_null(strstr(text, "\nkube_rekey_agent_loaded_step "));
	HAS(text, "kube_rekey_agent_epoch 4");
	HAS(text, "kube_rekey_agent_orders_total{result=\"ok\"} 6");
	HAS(text, "kube_rekey_agent_orders_total{result=\"failed\"} 1");
	HAS(text, "kube_rekey_agent_orders_total{result=\"refused\"} 2");
	HAS(text, "kube_rekey_agent_kms_healthy{provider=\"vault\"} 1");
	HAS(text, "kube_rekey_agent_kms_healthy{provider=\"slow\"} 0");
	HAS(text, "kube_rekey_agent_kms_status_seconds{provider=\"vault\"} 1.500000000");
	metrics_text_free(&w);
}

static void test_requests(void **state)
{
	const struct http_counts counts = {.failed = 2,
					   .status = {[2] = 5, [4] = 1},
					   .buckets = {4, 0, 3, [HTTP_LATENCY_BOUNDS] = 1},
					   .sum = NS_PER_S};
	const struct request_source sources[] = {{"work", "https://a", &counts}, {"lease", "https://a", &counts}};
	struct metrics_text w = METRICS_TEXT_INIT;
	const char *text;

	(void)state;
	request_metrics_write(&w, sources, 2);
	text = metrics_text(&w);
	HAS(text, "kube_rekey_requests_total{use=\"work\",server=\"https://a\",code=\"none\"} 2");
	HAS(text, "kube_rekey_requests_total{use=\"work\",server=\"https://a\",code=\"2xx\"} 5");
	HAS(text, "kube_rekey_requests_total{use=\"lease\",server=\"https://a\",code=\"4xx\"} 1");
	HAS(text, "kube_rekey_request_duration_seconds_bucket{use=\"work\",server=\"https://a\",le=\"0.002000000\"} 4");
	HAS(text, "kube_rekey_request_duration_seconds_bucket{use=\"work\",server=\"https://a\",le=\"0.010000000\"} 7");
	HAS(text, "kube_rekey_request_duration_seconds_count{use=\"work\",server=\"https://a\"} 8");
	metrics_text_free(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_rotation),      cmocka_unit_test(test_an_unknown_phase),
		cmocka_unit_test(test_nothing_goes_on), cmocka_unit_test(test_census),
		cmocka_unit_test(test_drift),           cmocka_unit_test(test_agent),
		cmocka_unit_test(test_requests),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
